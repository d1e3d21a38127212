"""Backward pass: ∂L/∂W = h δᵀ, ∂L/∂b = δ, then δ of the layer below, layer by layer; mirrors forward.py.

It knows one layer and one batch at a time, nothing of losses: δ of the output has been written by the loss's kernel.
"""

from __future__ import annotations

import numpy as np

from glassprop.core.forward import ONE, ZERO, drop, dropout_key
from glassprop.core.jit import at, call_kernel, inner, inner_sum, like, panel_width, shift
from glassprop.core.tile import product_panel, sum_panels


@inner
def layer_gradient(scratch, gradient, below, layer, panels, rows, zero, unit):
    """dW = Σ_rows δ h_belowᵀ and db = Σ_rows δ: sums, not yet means. Partner: the product in `forward.layer_forward`."""
    delta, q = at(scratch, layer.delta, unit), at(scratch, below.q, unit)
    width = panel_width(q)
    panel = layer.padded * width
    # a single panel need not be summed beyond its rows
    depth = width if panels > 1 else rows
    for block in range(below.padded // width):
        product_panel(
            at(gradient, layer.W + block * width, unit), layer.stride, layer.units, delta, panel, width, ONE,
            shift(q, block * panels * width * width), width * width, at(scratch, zero, unit), ZERO, panels, depth,
        )  # fmt: skip
    db = at(gradient, layer.b, unit)
    for u in range(layer.units):
        db[u] = sum_panels(shift(delta, u * width), panel, panels)


@inner
def layer_backward(scratch, theta, below, layer, constants, panels, zero, rate, drop_key, unit):
    """δ_below = (W δ) ⊙ φ′(g_below), with the units dropped that were dropped forward. Partner: `forward.layer_forward`."""
    width = panel_width(unit)
    for panel in range(panels):
        here = panel * below.padded * width
        delta = at(scratch, below.delta + here, unit)
        product_panel(
            delta, width, below.units, at(theta, layer.W, unit), ZERO, ONE, layer.stride,
            at(scratch, layer.delta + panel * layer.padded * width, unit), ZERO, at(scratch, zero, unit), ZERO, ONE,
            layer.units,
        )  # fmt: skip
        if below.dropout > 0:
            drop(delta, delta, below.units, panel * width, rate, drop_key)
        if below.dphi != 0:
            z = at(scratch, below.z + here, unit)
            call_kernel(below.dphi, z, delta, z, z, z, z, below.units * width, at(constants, ZERO, 1.0))


@inner
def backward(scratch, theta, gradient, layers, constants, panels, rows, zero, training, seed, step, unit):
    """Sums over rows of dW_l and db_l, and δ_l, from δ_L down; dropout acts in training. Partner: `forward.forward`."""
    for l in range(layers.size - 1, 0, -1):
        layer_gradient(scratch, gradient, layers[l - 1], layers[l], panels, rows, zero, unit)
        if l > 1:
            rate, key = layers[l - 1].dropout if training else 0.0, dropout_key(seed, step, l - 1)
            layer_backward(scratch, theta, layers[l - 1], layers[l], constants, panels, zero, rate, key, unit)


@inner_sum
def finish_gradient(theta, gradient, layers, scale, l2, l1, unit):
    """The objective's gradient from the sums over rows: times `scale` (1/Σ w), plus the penalties' on weights.

    Returns the squared norm of the gradient and the penalty l2/2 Σ W² + l1 Σ |W|.
    """
    squares = 0.0
    penalty = 0.0
    for l in range(1, layers.size):
        layer = layers[l]
        dW, W = at(gradient, layer.W, unit), at(theta, layer.W, unit)
        factor, two, one = like(scale, dW[0]), like(l2, dW[0]), like(l1, dW[0])
        if l2 != 0 or l1 != 0:
            total = 0.0
            for i in range(layer.units * layer.stride):
                w = W[i]
                sign = one if w > 0 else (-one if w < 0 else one * w)
                dW[i] = dW[i] * factor + (two * w + sign)
                total += np.float64(like(0.5, w) * two * w * w + one * abs(w))
            penalty += total
            for i in range(layer.units * layer.stride, layer.size):
                dW[i] *= factor
        else:
            for i in range(layer.size):
                dW[i] *= factor
        part = 0.0
        for i in range(layer.size):
            part += np.float64(dW[i]) * np.float64(dW[i])
        squares += part
    return squares, penalty
