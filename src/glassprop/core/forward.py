"""Forward pass: g = h W + b, then h = φ(g), layer by layer; partner of backward.py, which mirrors it.

It knows one layer and one batch at a time, nothing of losses.
"""

from __future__ import annotations

import numpy as np

from glassprop.core.jit import ONE, ZERO, at, call_kernel, inner, like, panel_width, shift, stay_apart, within
from glassprop.core.matrix_unit import enter_matrix_unit, leave_matrix_unit
from glassprop.core.panels import fill_places, note_largest, own_parts, panel_to_units
from glassprop.core.plan import BACKWARD
from glassprop.core.randomness import dropout_key, mix
from glassprop.core.sparse import lines_of_panel
from glassprop.core.threads import meet, meet_at_the_end, take_units
from glassprop.core.tile import columns_taken

NO_KEY = np.uint64(0)


@inner
def drop(source, target, first_unit, last_unit, units, first_row, rate, key):
    """h = keep · φ(g) / (1 − rate) for units of one panel. Unit u of row r stays where the hash of r · units + u says so.

    Forward it takes φ(g) to h; backward, the same call takes ∂L/∂h to ∂L/∂φ(g).
    """
    stay_apart(units)
    width = panel_width(source)
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
def _finish_panel(plan, layer, panel, start, rows, count, wanted, slopes, whole, above, rate, drop_key, thread, one):
    """What is made of g of `rows` units from `start`, of one panel: h, and h as the next layer and the gradient read it."""
    width, scratch = panel_width(one), plan.scratch
    here = (panel * layer.padded + start) * width
    g, a, z = at(scratch, layer.g + here, one), at(scratch, layer.a + here, one), at(scratch, layer.z + here, one)
    if layer.phi != 0 and not whole:
        activate(layer, g, a, z, rows * width, slopes)
    if layer.dropout > 0:
        h, panel_of_a = shift(at(scratch, layer.h + here, one), -start * width), shift(a, -start * width)
        drop(panel_of_a, h, start, start + rows, layer.units, panel * width, rate, drop_key)
    if not whole:
        note_largest(plan, at(scratch, layer.h + here, one), rows * width, thread, 0)
    if above != 0:
        call_kernel(plan.do_pair_units, (plan, layer, start, rows, panel, wanted, above, thread, one))
    elif wanted != 0:
        panel_to_units(plan, layer, start, rows, panel, count, one)


@within
def layer_forward(
    plan, below, layer, first, last, together, batch_rows, wanted, slopes, parts, above, listed, ready, rate, key, thread, one
):
    """g = h_below W + b and h = φ(g) for one layer and panels first..last of a batch, units dropped at `rate`.

    Where all threads do this `together`, for a batch of so many panels, and share out units: for those it takes, in all panels.

    Where h is `wanted`, the gradient will ask for it in Q; where `slopes` is not 0, δ will be asked for; operands are made of
    so many `parts` of bfloat16, if any, `above` those of the layer above; `listed`, where it is not 0, is the product for a
    sparse input; where `ready` is not 0, g is there.
    Partner: `backward.layer_backward`.
    """
    width, scratch = panel_width(one), plan.scratch
    product, lines, row, column = plan.product, below.units, layer.stride, ONE
    if listed != 0:
        product = listed
    # an output with its loss's own link, which may be softmax, a function of all units
    whole = layer.phi != 0 and layer.dphi == 0
    start, end, turn, low, high = ZERO, layer.units, ZERO, first, last
    shared = together != 0 and layer.by_units != 0
    if shared:
        meet(plan)
        low, high = ZERO, together
        start, end, turn = take_units(plan, layer.units, layer.resident_rows, width, thread, turn)
    in_portions = layer.parts == 0 and layer.input_portion < below.units and high - low > 1
    while start < end:  # a range of this step would divide by it
        rows = min(layer.resident_rows, end - start)
        W, b = at(plan.theta, layer.W + start * row, one), at(plan.theta, layer.b + start, one)
        if parts != 0:
            call_kernel(plan.do_rows, (plan, below, layer, start, rows, low, high, parts, thread, one))
        elif in_portions:
            call_kernel(plan.add_rows, (plan, below, layer, start, rows, low, high, thread, one))
        elif layer.dots != 0 and low < high:
            call_kernel(plan.add_dots, (plan, below, layer, start, rows, thread, one))
        for panel in range(low, high):
            count = min(width, batch_rows - panel * width)
            g = at(scratch, layer.g + (panel * layer.padded + start) * width, one)
            h_below = at(scratch, below.h + panel * below.padded * width, one)
            if listed != 0:
                column, lines = lines_of_panel(plan, below, panel)
            if ready == 0 and parts == 0 and layer.dots == 0 and not in_portions:
                columns = width if listed != 0 else columns_taken(count, rows, one)
                left = g, width, rows, columns, W, ZERO, row, column
                call_kernel(product, (*left, h_below, ZERO, b, ONE, lines, lines, b, ZERO))
                fill_places(g, rows, columns)
            _finish_panel(plan, layer, panel, start, rows, count, wanted, slopes, whole, above, rate, key, thread, one)
        start += rows
        if shared:
            start, end, turn = take_units(plan, layer.units, layer.resident_rows, width, thread, turn)
    if shared:
        meet_at_the_end(plan, thread)
    for panel in range(first, last if whole else first):
        here = panel * layer.padded * width
        g, a = at(scratch, layer.g + here, one), at(scratch, layer.a + here, one)
        activate(layer, g, a, g, layer.units * width, ZERO)


def forward(plan, layers, first, last, together, batch_rows, slopes, training, parts, step, thread, one):
    """g_l and h_l of all layers for panels first..last of the `batch_rows` rows in layer 0; dropout acts in training.

    `together` is as for `layer_forward`; `slopes` are stages of the step: δ_L goes with LOSS, all else with BACKWARD.
    Partner: `backward.backward`.
    """
    top = layers.size - 1
    enter_matrix_unit(parts)
    for l in range(1, top + 1):
        rate = layers[l].dropout if training else 0.0
        key = dropout_key(plan.seed, step, l) if rate > 0 else NO_KEY
        own = own_parts(layers[l], parts)
        wanted = ZERO if l == top or layers[l + 1].sums != 0 else slopes & BACKWARD
        layer_forward(
            plan,
            layers[l - 1],
            layers[l],
            first,
            last,
            together,
            batch_rows,
            wanted,
            slopes if l == top else slopes & BACKWARD,
            own,
            own_parts(layers[l + 1], parts) if l < top else ZERO,
            plan.listed_product if l == 1 else ZERO,
            plan.by_rows if l == 1 else ZERO,
            rate,
            key,
            thread,
            one,
        )
    leave_matrix_unit(parts)
