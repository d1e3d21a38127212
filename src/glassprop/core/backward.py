"""Backward pass: ∂L/∂W = h δᵀ, ∂L/∂b = δ, then δ of the layer below, layer by layer; mirrors forward.py.

It knows one layer and one batch at a time, nothing of losses: δ of the output has been written by the loss's kernel.
"""

from __future__ import annotations

import numpy as np

from glassprop.core.forward import ONE, ZERO, drop, dropout_key
from glassprop.core.jit import at, call_kernel, inner, inner_sum, like, panel_width, shift
from glassprop.core.tile import sum_panels


@inner
def layer_gradient(plan, below, layer, panels, rows, unit):
    """dW = Σ_rows δ h_belowᵀ and db = Σ_rows δ: sums, not yet means. Partner: the product in `forward.layer_forward`."""
    delta, q, zero = at(plan.scratch, layer.delta, unit), at(plan.scratch, below.q, unit), at(plan.scratch, plan.zero, unit)
    width = panel_width(unit)
    panel = layer.padded * width
    # a single panel need not be summed beyond its rows
    depth = width if panels > 1 else rows
    for block in range(below.padded // width):
        dW, right = at(plan.gradient, layer.W + block * width, unit), shift(q, block * panels * width * width)
        call_kernel(
            plan.product,
            (dW, layer.stride, layer.units, delta, panel, width, ONE, right, width * width, zero, ZERO, panels, depth),
        )
    db = at(plan.gradient, layer.b, unit)
    for u in range(layer.units):
        db[u] = sum_panels(shift(delta, u * width), panel, panels)


@inner
def layer_backward(plan, below, layer, panels, rate, drop_key, unit):
    """δ_below = (W δ) ⊙ φ′(g_below), with the units dropped that were dropped forward. Partner: `forward.layer_forward`."""
    width, scratch = panel_width(unit), plan.scratch
    W, zero = at(plan.theta, layer.W, unit), at(scratch, plan.zero, unit)
    for panel in range(panels):
        here = panel * below.padded * width
        delta, above = at(scratch, below.delta + here, unit), at(scratch, layer.delta + panel * layer.padded * width, unit)
        call_kernel(
            plan.product, (delta, width, below.units, W, ZERO, ONE, layer.stride, above, ZERO, zero, ZERO, ONE, layer.units)
        )
        if below.dropout > 0:
            drop(delta, delta, below.units, panel * width, rate, drop_key)
        if below.dphi != 0:
            call_kernel(below.dphi, (at(scratch, below.z + here, unit), delta, below.units * width))


@inner
def backward(plan, layers, panels, rows, training, step, unit):
    """Sums over rows of dW_l and db_l, and δ_l, from δ_L down; dropout acts in training. Partner: `forward.forward`."""
    for l in range(layers.size - 1, 0, -1):
        layer_gradient(plan, layers[l - 1], layers[l], panels, rows, unit)
        if l > 1:
            rate, key = layers[l - 1].dropout if training else 0.0, dropout_key(plan.seed, step, l - 1)
            layer_backward(plan, layers[l - 1], layers[l], panels, rate, key, unit)


@inner_sum
def finish_gradient(plan, layers, scale, unit):
    """The objective's gradient from the sums over rows: times `scale` (1/Σ w), plus the penalties' on weights.

    Returns the squared norm of the gradient and the penalty l2/2 Σ W² + l1 Σ |W|.
    """
    squares, penalty = 0.0, 0.0
    factor, l2, l1 = like(scale, unit), like(plan.l2, unit), like(plan.l1, unit)
    for l in range(1, layers.size):
        layer = layers[l]
        dW, W = at(plan.gradient, layer.W, unit), at(plan.theta, layer.W, unit)
        if plan.l2 != 0 or plan.l1 != 0:
            total = 0.0
            for i in range(layer.units * layer.stride):
                w = W[i]
                sign = l1 if w > 0 else (-l1 if w < 0 else l1 * w)
                dW[i] = dW[i] * factor + (l2 * w + sign)
                total += np.float64(like(0.5, w) * l2 * w * w + l1 * abs(w))
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
