"""Forward pass: g = h W + b, then h = φ(g), layer by layer; partner of backward.py, which mirrors it.

It knows one layer and one batch at a time, nothing of losses.
"""

from __future__ import annotations

import numpy as np

from glassprop.core.jit import ONE, ZERO, at, call_kernel, inner, like, panel_width, shift, stay_apart, within
from glassprop.core.matrix_unit import enter_matrix_unit, leave_matrix_unit
from glassprop.core.panels import fill_places, note_largest, panel_to_units, parts_in, wants_q
from glassprop.core.plan import UPDATE
from glassprop.core.randomness import dropout_key, mix
from glassprop.core.sparse import lines_of_panel
from glassprop.core.threads import meet, meet_at_the_end, take_units
from glassprop.core.tile import columns_taken


@inner
def drop(plan, layer, batch, panel, source, target, first_unit, last_unit):
    """h = keep · φ(g) / (1 − rate) for units of one panel, in training; else h = φ(g).

    Unit u of row r stays where the hash of r · units + u says so. Forward it takes φ(g) to h; backward, the same call takes
    ∂L/∂h to ∂L/∂φ(g).
    """
    stay_apart(panel)
    width, units = panel_width(source), layer.units
    rate = layer.dropout if batch.stages & UPDATE else 0.0
    first_row, key = panel * width, dropout_key(plan.seed, batch.step, layer.number)
    threshold = np.uint64(np.ceil(rate * 16777216.0))
    scale = like(1.0 / (1.0 - rate), source[0])
    for u in range(first_unit, last_unit):
        for r in range(width):
            z = mix(key + np.uint64((first_row + r) * units + u))
            i = u * width + r
            # selected, not multiplied by 0: infinity times 0 would be NaN in a unit that is not there
            target[i] = source[i] * scale if (z >> np.uint64(40)) >= threshold else like(0, scale)


@inner
def activate(layer, g, a, z, n, slopes):
    """φ(g) of `n` numbers into a, which may be g; and where `slopes` are wanted now, φ′(g) into z, which may be g."""
    if slopes and layer.both != 0:
        if layer.z != layer.g:
            for i in range(n):
                z[i] = g[i]
        call_kernel(layer.both, (z, a, n))
        return
    if layer.g != layer.a:
        for i in range(n):
            a[i] = g[i]
    call_kernel(layer.phi, (a, n))


@within
def _finish_panel(plan, layer, batch, panel, start, rows, whole, one):
    """What is made of g of `rows` units from `start`, of one panel: h, and h as the next layer and the gradient read it."""
    width, scratch = panel_width(one), plan.scratch
    here, above = (panel * layer.padded + start) * width, parts_in(batch, layer.parts_above)
    g, a, z = at(scratch, layer.g + here, one), at(scratch, layer.a + here, one), at(scratch, layer.z + here, one)
    if layer.phi != 0 and not whole:
        activate(layer, g, a, z, rows * width, layer.slope_stages & batch.stages)
    if layer.dropout > 0:
        h, panel_of_a = shift(at(scratch, layer.h + here, one), -start * width), shift(a, -start * width)
        drop(plan, layer, batch, panel, panel_of_a, h, start, start + rows)
    if not whole:
        note_largest(plan, batch, at(scratch, layer.h + here, one), rows * width, 0)
    if above != 0:
        call_kernel(plan.do_pair_units, (plan, layer, batch, start, rows, panel, one))
    elif wants_q(layer, batch):
        panel_to_units(plan, layer, start, rows, panel, min(width, batch.rows - panel * width), one)


@inner
def layer_forward(plan, below, layer, batch, one):
    """g = h_below W + b and h = φ(g) for one layer and this thread's panels of the batch.

    Where all threads do this together and share out units: for those it takes, in all panels. Of the first layer, g may be
    there already, or the input sparse. Partner: `backward.layer_backward`.
    """
    width, scratch, parts = panel_width(one), plan.scratch, parts_in(batch, layer.parts)
    listed, ready = (plan.listed_product, plan.by_rows) if layer.number == 1 else (ZERO, ZERO)
    product, lines, row, column = listed if listed != 0 else plan.product, below.units, layer.stride, ONE
    # an output with its loss's own link, which may be softmax, a function of all units
    whole = layer.phi != 0 and layer.dphi == 0
    start, end, turn, low, high = ZERO, layer.units, ZERO, batch.first, batch.last
    shared = batch.together != 0 and layer.by_units != 0
    if shared:
        meet(plan)
        low, high = ZERO, batch.together
        start, end, turn = take_units(plan, layer.units, layer.resident_rows, width, batch.thread, turn)
    in_portions = layer.parts == 0 and layer.input_portion < below.units and high - low > 1
    while start < end:  # a range of this step would divide by it
        rows = min(layer.resident_rows, end - start)
        W, b = at(plan.theta, layer.W + start * row, one), at(plan.theta, layer.b + start, one)
        if parts != 0:
            call_kernel(plan.do_rows, (plan, below, layer, batch, start, rows, low, high, one))
        elif in_portions:
            call_kernel(plan.add_rows, (plan, below, layer, batch, start, rows, low, high, one))
        elif layer.dots != 0 and low < high:
            call_kernel(plan.add_dots, (plan, below, layer, batch, start, rows, one))
        for panel in range(low, high):
            g = at(scratch, layer.g + (panel * layer.padded + start) * width, one)
            h_below = at(scratch, below.h + panel * below.padded * width, one)
            if listed != 0:
                column, lines = lines_of_panel(plan, below, panel)
            if ready == 0 and parts == 0 and layer.dots == 0 and not in_portions:
                columns = width if listed != 0 else columns_taken(min(width, batch.rows - panel * width), rows, one)
                left = g, width, rows, columns, W, ZERO, row, column
                call_kernel(product, (*left, h_below, ZERO, b, ONE, lines, lines, b, ZERO))
                fill_places(g, rows, columns)
            _finish_panel(plan, layer, batch, panel, start, rows, whole, one)
        start += rows
        if shared:
            start, end, turn = take_units(plan, layer.units, layer.resident_rows, width, batch.thread, turn)
    if shared:
        meet_at_the_end(plan, batch.thread)
    for panel in range(batch.first, batch.last if whole else batch.first):
        here = panel * layer.padded * width
        g, a = at(scratch, layer.g + here, one), at(scratch, layer.a + here, one)
        activate(layer, g, a, g, layer.units * width, ZERO)


def forward(plan, layers, batch, one):
    """g_l and h_l of all layers for this thread's panels of the batch. Partner: `backward.backward`."""
    enter_matrix_unit(batch.parts)
    for l in range(1, layers.size):
        layer_forward(plan, layers[l - 1], layers[l], batch, one)
    leave_matrix_unit(batch.parts)
