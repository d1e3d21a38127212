"""Predictions that read rows of a wide X where they lie: they are not gathered into panels first.

It knows layers and one batch at a time. Rows of X take the place of rows of W in the register tile, and a portion of W,
turned around, that of a panel: sums are those of `forward.layer_forward`, in the same order but for the last of an odd
number of units. A single row meets one row of W after another, each read from end to end, in deeper layers, too.
Partner, for sparse rows: sparse.py.
"""

from __future__ import annotations

import numpy as np

from glassprop.core.jit import ONE, ZERO, at, call_kernel, inner_sum, like, panel_width, shift, within
from glassprop.core.layout import IN_PLACE_INPUTS, IN_PLACE_PANELS
from glassprop.core.panels import fill_places, pack_columns, packed_of, rows_to_panels
from glassprop.core.threads import SLOT
from glassprop.core.tile import columns_taken
from glassprop.core.vectors import copy_part, copy_row, largest_bits

BEYOND = np.iinfo(np.int64).max  # of the bits of any number


@inner_sum
def _dot(w, h, n):
    total = like(0, w[0])
    for k in range(n):
        total += w[k] * h[k]
    return total


@within
def _add_dots(plan, layer, h, inputs, start, rows, one):
    """g of `rows` units from `start` for a batch of one row, whose h below lies at `h`."""
    W, b = at(plan.theta, layer.W + start * layer.stride, one), at(plan.theta, layer.b + start, one)
    g, width = at(plan.scratch, layer.g + start * panel_width(one), one), panel_width(one)
    for u in range(rows):
        g[u * width] = b[u] + _dot(shift(W, u * layer.stride), h, inputs)
    fill_places(g, rows, ONE)


def add_dots(plan, below, layer, batch, start, rows, one):
    """g of `rows` units from `start` for a batch of one row."""
    h, line = at(plan.scratch, below.h, one), packed_of(plan, batch, one)
    for k in range(below.units):
        line[k] = h[k * panel_width(one)]
    _add_dots(plan, layer, line, below.units, start, rows, one)


@within
def _pack_portion(W, layer, start, end, done, depth, packed):
    """W of units start..end and `depth` inputs from `done` on: of a panel's width of units after the other, input by input."""
    width = panel_width(W)
    for u in range(start, end, width):
        count, target = min(width, end - u), shift(packed, (u - start) * IN_PLACE_INPUTS)
        if layer.by_inputs == 0:
            pack_columns(shift(W, u * layer.stride + done), layer.stride, depth, count, target, width)
            continue
        for k in range(depth):
            source = shift(W, (done + k) * layer.stride + u)
            if count == width:
                copy_row(source, shift(target, k * width))
            else:
                copy_part(source, count, shift(target, k * width))


@within
def _ask_of_rows(plan, batch, rows, row, count, depth):
    """Note whether `depth` numbers of `count` rows are finite, where that will be asked; they are read soon afterwards."""
    if plan.asks_of_rows == 0:
        return
    largest, whole = at(plan.largest, SLOT * batch.thread, ZERO), depth // panel_width(rows) * panel_width(rows)
    for i in range(count):
        line = shift(rows, i * row)
        if whole > 0:
            largest[0] = max(largest[0], largest_bits(line, whole))
        for k in range(whole, depth):
            if line[k] - line[k] != 0:  # infinity and NaN
                largest[0] = BEYOND


def multiply_in_place(plan, layers, batch, one):
    """g of the first layer for this thread's panels of the batch, rows of X in their own order; rows beyond as in panels.py.

    A portion of W, of some units and inputs, meets all these rows before the next one; sums stay in the second-level cache.
    """
    layer, inputs, width = layers[1], layers[0].units, panel_width(one)
    begin, end = batch.first * width, min(batch.last * width, batch.rows)
    if begin >= end:
        return
    rows, padded = at(batch.X, (batch.start + begin) * inputs, one), layer.padded
    if plan.batch_size == 1 and layer.by_inputs == 0:
        _ask_of_rows(plan, batch, rows, inputs, ONE, inputs)
        _add_dots(plan, layer, rows, inputs, ZERO, layer.units, one)
        return
    W, b, zero = at(plan.theta, layer.W, one), at(plan.theta, layer.b, one), at(plan.scratch, plan.zero, one)
    sums = at(plan.scratch, layer.delta + begin * padded, one)  # nobody asks for δ
    packed, count = packed_of(plan, batch, one), end - begin
    pairs = count // 2 * 2
    last_row, last_sums = shift(rows, pairs * inputs), shift(sums, pairs * padded)
    for i in range(count + count % 2):
        for u in range(layer.units):
            sums[i * padded + u] = b[u]
    for low in range(0, layer.units, IN_PLACE_PANELS * width):
        high = min(low + IN_PLACE_PANELS * width, layer.units)
        for done in range(0, inputs, IN_PLACE_INPUTS):
            depth = min(IN_PLACE_INPUTS, inputs - done)
            if low == 0:
                _ask_of_rows(plan, batch, shift(rows, done), inputs, count, depth)
            _pack_portion(W, layer, low, high, done, depth, packed)
            for u in range(low, high, width):
                columns = columns_taken(min(width, high - u), pairs, one)
                right = shift(packed, (u - low) * IN_PLACE_INPUTS), ZERO, zero, ZERO, depth, depth, zero, ZERO
                if pairs > 0:
                    left = shift(sums, u), padded, pairs, columns, shift(rows, done), ZERO, inputs, ONE
                    call_kernel(plan.adding_product, (*left, *right))
                if pairs < count:  # the last row twice: the tile would add up a single one in another order
                    left = shift(last_sums, u), padded, np.int64(2), width, shift(last_row, done), ZERO, ZERO, ONE
                    call_kernel(plan.adding_product, (*left, *right))
    rows_to_panels(plan, layer, batch, one)
