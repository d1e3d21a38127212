"""Operands in parts of bfloat16: how they are made where numbers come in, and the products of layers that have them.

It knows one layer and some panels. What it holds are kernels, compiled when a network has such layers. Partner, for numbers as
they are: portions.py.
"""

from __future__ import annotations

import numpy as np

from glassprop.core.bfloat16 import pair_lines, pair_rows
from glassprop.core.jit import ONE, ZERO, at, call_kernel, inner, panel_width, shift, stay_apart, within
from glassprop.core.panels import (
    fill_places,
    note_rows,
    pack_columns,
    packed_of,
    paired_square,
    product_of,
    transpose_panel,
    wants_q,
)  # fmt: skip
from glassprop.core.vectors import fill_rest

MOST_LINES = np.int64(16)  # that are called for with a product of tiles: more keep it waiting


@inner
def _pair_squares(plan, layer, batch, p, lines, q, block, panel, one):
    """A square of P, and of Q if that is wanted, in pairs: of units for the layer above, of rows for the gradient.

    Of one part those of rows take the first half of the square's own place, of three so much of a larger one.
    """
    stay_apart(lines)
    width, parts = panel_width(one), layer.parts_above
    place = layer.h_pairs + panel * plan.pairs_of_panel + block * (width // 2) * parts * width
    pair_lines(p, lines, at(plan.scratch, place, one), parts)
    if wants_q(layer, batch):
        place = layer.q_pairs + (block * plan.most_panels + panel) * paired_square(parts, one)
        pair_lines(q, width, at(plan.scratch, place, one), parts)


def pair_input(plan, layer, batch, q, p, next_block, count, panel, one):
    """P and pairs from Q of one panel of the input; of three parts a single square of P is enough."""
    width = panel_width(one)
    next_square = width * width if layer.parts_above != 3 else ZERO
    for block in range(layer.padded // width):
        columns = min(width, layer.units - block * width)
        here, there = shift(p, block * next_square), shift(q, block * next_block)
        transpose_panel(there, width, here, width, count, columns)
        fill_places(here, columns, count)
        note_rows(plan, batch, here, columns * width)
        _pair_squares(plan, layer, batch, here, columns, there, block, panel, one)


def pair_units(plan, layer, batch, start, units, panel, one):
    """`panels.panel_to_units` for operands in parts: pairs of h, and of its Q if that is wanted."""
    width = panel_width(one)
    square = width * width
    for u in range(0, units, width):
        block, lines = (start + u) // width, min(width, units - u)
        own = layer.q + (block * plan.most_panels + panel) * square
        q = at(plan.scratch, own, one)
        if layer.parts_above == 3:
            q = shift(packed_of(plan, batch, one), plan.packed_size - square)
        p = at(plan.scratch, layer.h + (panel * layer.padded + start + u) * width, one)
        if wants_q(layer, batch):
            transpose_panel(p, width, q, width, lines, width)
        _pair_squares(plan, layer, batch, p, lines, q, block, panel, one)


def pair_errors(plan, layer, batch, one):
    """δ of this thread's panels in pairs of units, for the layer below."""
    width = panel_width(one)
    for panel in range(batch.first, batch.last):
        delta = at(plan.scratch, layer.delta + panel * layer.padded * width, one)
        target = at(plan.scratch, plan.delta_pairs + panel * plan.pairs_of_panel, one)
        pair_lines(delta, layer.units, target, layer.parts)


def pair_block(plan, layer, batch, start, units, target, one):
    """δ of `units` units from `start` in pairs of rows, for a block of the gradient: [panel][unit][pair]."""
    width, parts = panel_width(one), layer.parts
    row = parts * width // 2
    for panel in range(batch.panels):
        delta = at(plan.scratch, layer.delta + (panel * layer.padded + start) * width, one)
        pair_rows(delta, width, units, width, shift(target, panel * units * row), row, parts)


@within
def lines_called_for(rows, parts, one):
    """Lines of the next panel, or block of Q, that the matrix unit calls for with every product of its tiles, of so many rows.

    All of the next panel's portion comes while this one's is multiplied. Whole panels would be too much for the cache.
    """
    return min(MOST_LINES, parts * panel_width(one) * panel_width(one) // rows)


def multiply_by_rows(plan, below, layer, batch, start, rows, low, high, one):
    """g of `rows` units from `start` for panels low..high: a portion of these rows of W after the other."""
    width, done, parts, packed = panel_width(one), ZERO, layer.parts, packed_of(plan, batch, one)
    product, portion, row = product_of(plan, parts), layer.input_portion, layer.portion_row
    W, b = at(plan.theta, layer.W + start * layer.stride, one), at(plan.theta, layer.b + start, one)
    biases, bias_row = shift(packed, layer.resident_rows * row), width // 2
    for i in range(rows):  # each so many times; what is too much the next one writes over
        fill_rest(b[i], shift(biases, i * bias_row), 0)
    ahead = lines_called_for(rows, parts, one) if portion < below.pairs else ZERO
    while done < below.pairs:
        pairs = min(portion, below.pairs - done)
        pair_rows(shift(W, 2 * done), layer.stride, rows, min(2 * pairs, below.units - 2 * done), packed, row, parts)
        for panel in range(low, high):
            g = at(plan.scratch, layer.g + (panel * layer.padded + start) * width, one)
            h = at(plan.scratch, below.h_pairs + panel * plan.pairs_of_panel + parts * done * width, one)
            left = g, width, rows, width, packed, ZERO, row, ONE
            call_kernel(product, (*left, h, ZERO, biases, bias_row, pairs, pairs, shift(h, plan.pairs_of_panel), ahead))
        done, bias_row = done + pairs, -ONE


def multiply_by_columns(plan, below, layer, batch, start, rows, low, high, one):
    """∂L/∂h of `rows` units from `start` for panels low..high: a portion of these columns of W after the other.

    Columns of W are made contiguous at the end of what they take in pairs, which so do not overtake them.
    """
    width, done, parts, packed = panel_width(one), ZERO, layer.parts, packed_of(plan, batch, one)
    product, portion, row = product_of(plan, parts), layer.unit_portion, layer.packed_row
    W, zero, sum_row = at(plan.theta, layer.W + start, one), at(plan.scratch, plan.zero, one), ZERO
    numbers = shift(packed, parts // 2 * portion)
    ahead = lines_called_for(rows, parts, one) if portion < layer.pairs else ZERO
    while done < layer.pairs:
        pairs = min(portion, layer.pairs - done)
        depth = min(2 * pairs, layer.units - 2 * done)
        pack_columns(shift(W, 2 * done * layer.stride), layer.stride, rows, depth, numbers, row)
        pair_rows(numbers, row, rows, depth, packed, row, parts)
        for panel in range(low, high):
            delta = at(plan.scratch, below.delta + (panel * below.padded + start) * width, one)
            above = at(plan.scratch, plan.delta_pairs + panel * plan.pairs_of_panel + parts * done * width, one)
            left = delta, width, rows, width, packed, ZERO, row, ONE
            call_kernel(product, (*left, above, ZERO, zero, sum_row, pairs, pairs, shift(above, plan.pairs_of_panel), ahead))
        done, sum_row = done + pairs, -ONE
