"""Forward pass: g = h W + b, then h = φ(g), layer by layer; partner of backward.py, which mirrors it.

It knows one layer and one batch at a time, nothing of losses.
"""

from __future__ import annotations

import numpy as np

from glassprop.core.jit import at, call_kernel, inner, like, panel_width, shift
from glassprop.core.panels import panel_to_units, resident_rows

# numba: an int64 that is a variable, not a literal type, keeps helpers from being compiled once more for each literal
ZERO, ONE = np.int64(0), np.int64(1)

NO_KEY = np.uint64(0)

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)


@inner
def mix(x):
    """splitmix64 (Steele, Lea and Flood 2014): a well-mixed function of 64 bits."""
    x = x + _GOLDEN
    x = (x ^ (x >> np.uint64(30))) * _MIX_1
    x = (x ^ (x >> np.uint64(27))) * _MIX_2
    return x ^ (x >> np.uint64(31))


@inner
def dropout_key(seed, step, l):
    """The key from which the dropout of layer `l` at `step` follows."""
    return mix(mix(mix(np.uint64(seed)) + np.uint64(step)) + np.uint64(l))


@inner
def drop(source, target, first_unit, last_unit, units, first_row, rate, key):
    """h = keep · φ(g) / (1 − rate) for units of one panel. Unit u of row r stays where the hash of r · units + u says so.

    Forward it takes φ(g) to h; backward, the same call takes ∂L/∂h to ∂L/∂φ(g).
    """
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
def layer_forward(plan, below, layer, first, last, depth, rate, drop_key, unit):
    """g = h_below W + b and h = φ(g) for one layer and panels first..last, units dropped at `rate`.

    `depth`, where it is not 0, is how many rows of a panel the backward pass will want. Partner: `backward.layer_backward`.
    """
    width, scratch = panel_width(unit), plan.scratch
    step = resident_rows(below.units, width)
    if layer.phi != 0 and layer.dphi == 0:  # an output with its loss's own link, which may be softmax: a function of all units
        step = layer.units
    for start in range(0, layer.units, step):
        rows = min(step, layer.units - start)
        W, b = at(plan.theta, layer.W + start * layer.stride, unit), at(plan.theta, layer.b + start, unit)
        for panel in range(first, last):
            here = (panel * layer.padded + start) * width
            h_below = at(scratch, below.h + panel * below.padded * width, unit)
            g, a = at(scratch, layer.g + here, unit), at(scratch, layer.a + here, unit)
            call_kernel(
                plan.product, (g, width, rows, width, W, ZERO, layer.stride, ONE, h_below, ZERO, b, ONE, ONE, below.units)
            )
            if layer.phi != 0:
                if layer.g != layer.a:
                    for i in range(rows * width):
                        a[i] = g[i]
                call_kernel(layer.phi, (a, rows * width))
            if layer.dropout > 0:
                h, whole = shift(at(scratch, layer.h + here, unit), -start * width), shift(a, -start * width)
                drop(whole, h, start, start + rows, layer.units, panel * width, rate, drop_key)
            if depth > 0:
                panel_to_units(plan, layer, start, rows, panel, depth, unit)


@inner
def forward(plan, layers, first, last, depth, training, step, unit):
    """g_l and h_l of all layers for panels first..last of the rows in layer 0; dropout acts in training.

    `depth` is as for `layer_forward`. Partner: `backward.backward`.
    """
    top = layers.size - 1
    for l in range(1, top + 1):
        rate = layers[l].dropout if training else 0.0
        key = dropout_key(plan.seed, step, l) if rate > 0 else NO_KEY
        layer_forward(plan, layers[l - 1], layers[l], first, last, depth if l < top else ZERO, rate, key, unit)
