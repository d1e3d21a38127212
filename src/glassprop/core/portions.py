"""Products of large layers, which take a portion of W at a time, put together in one place.

It knows one layer and some panels. What it holds are kernels, compiled when a network has such layers. Partner, for operands in
parts of bfloat16: parts.py.
"""

from __future__ import annotations

from glassprop.core.jit import ONE, ZERO, at, call_kernel, panel_width, shift, within
from glassprop.core.panels import pack_columns, packed_of
from glassprop.core.tile import MAIN_ROWS


@within
def numbers_called_for(rows, one):
    """How many numbers further the register tile calls for memory with each product, so that as much comes as it reads."""
    return panel_width(one) // max(ONE, rows // MAIN_ROWS) + ONE


def add_by_rows(plan, below, layer, batch, start, rows, low, high, one):
    """g of `rows` units from `start` for panels low..high: a portion of these rows of W after the other."""
    width, done, packed = panel_width(one), ZERO, packed_of(plan, batch, one)
    product, row, ahead = plan.product, layer.portion_row, numbers_called_for(rows, one)
    W, b = at(plan.theta, layer.W + start * layer.stride, one), at(plan.theta, layer.b + start, one)
    while done < below.units:
        depth = min(layer.input_portion, below.units - done)
        for r in range(rows):
            source, target = shift(W, r * layer.stride + done), shift(packed, r * row)
            for k in range(depth):
                target[k] = source[k]
        for panel in range(low, high):
            g = at(plan.scratch, layer.g + (panel * layer.padded + start) * width, one)
            h = at(plan.scratch, below.h + (panel * below.padded + done) * width, one)
            left = g, width, rows, width, packed, ZERO, row, ONE
            call_kernel(product, (*left, h, ZERO, b, ONE, depth, depth, shift(h, below.padded * width), ahead))
        done, product = done + depth, plan.adding_product


def add_by_columns(plan, below, layer, batch, start, rows, low, high, one):
    """∂L/∂h of `rows` units from `start` for panels low..high: a portion of these columns of W after the other."""
    width, done, packed = panel_width(one), ZERO, packed_of(plan, batch, one)
    product, row, ahead = plan.product, layer.packed_row, numbers_called_for(rows, one)
    W, zero = at(plan.theta, layer.W + start, one), at(plan.scratch, plan.zero, one)
    while done < layer.units:
        depth = min(layer.unit_portion, layer.units - done)
        pack_columns(shift(W, done * layer.stride), layer.stride, rows, depth, packed, row)
        for panel in range(low, high):
            delta = at(plan.scratch, below.delta + (panel * below.padded + start) * width, one)
            above = at(plan.scratch, layer.delta + (panel * layer.padded + done) * width, one)
            left = delta, width, rows, width, packed, ZERO, row, ONE
            call_kernel(product, (*left, above, ZERO, zero, ZERO, depth, depth, shift(above, layer.padded * width), ahead))
        done, product = done + depth, plan.adding_product
