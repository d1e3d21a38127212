"""Backward pass: δ of the layer below, layer by layer, then ∂L/∂W = h δᵀ and ∂L/∂b = δ; mirrors forward.py.

It knows layers and one batch at a time, nothing of losses: δ of the output has been written by the loss's kernel. Error terms
belong to panels of the batch, gradients to blocks of units: between the two all threads meet.
"""

from __future__ import annotations

import numpy as np

from glassprop.core.forward import ONE, ZERO, drop, dropout_key
from glassprop.core.jit import at, call_kernel, inner, inner_sum, like, panel_width, shift
from glassprop.core.panels import BLOCK_PANELS, BLOCK_ROWS, pack_columns, resident_rows
from glassprop.core.threads import share
from glassprop.core.tile import sum_panels


@inner
def layer_backward(plan, below, layer, first, last, rate, drop_key, thread, unit):
    """δ_below = (W δ) ⊙ φ′(g_below) for panels first..last, with the units dropped that were dropped forward.

    Partner: `forward.layer_forward`.
    """
    width, scratch = panel_width(unit), plan.scratch
    zero, packed = at(scratch, plan.zero, unit), at(scratch, plan.packed + thread * plan.packed_size, unit)
    pack = layer.packed_row > 0 and last - first > 1
    step = resident_rows(layer.units, width)
    for start in range(0, below.units, step):
        rows = min(step, below.units - start)
        W, row, column = at(plan.theta, layer.W + start, unit), ONE, layer.stride
        if pack:
            pack_columns(W, layer.stride, rows, layer.units, packed, layer.packed_row)
            W, row, column = packed, layer.packed_row, ONE
        for panel in range(first, last):
            here = (panel * below.padded + start) * width
            delta, above = at(scratch, below.delta + here, unit), at(scratch, layer.delta + panel * layer.padded * width, unit)
            call_kernel(plan.product, (delta, width, rows, W, ZERO, row, column, above, ZERO, zero, ZERO, ONE, layer.units))
            if below.dropout > 0:
                whole = shift(delta, -start * width)
                drop(whole, whole, start, start + rows, below.units, panel * width, rate, drop_key)
            if below.dphi != 0:
                call_kernel(below.dphi, (at(scratch, below.z + here, unit), delta, rows * width))


@inner
def backward(plan, layers, first, last, training, step, thread, unit):
    """δ_l from δ_L down, for panels first..last; dropout acts in training. Partner: `forward.forward`."""
    for l in range(layers.size - 1, 1, -1):
        rate, key = layers[l - 1].dropout if training else 0.0, dropout_key(plan.seed, step, l - 1)
        layer_backward(plan, layers[l - 1], layers[l], first, last, rate, key, thread, unit)


@inner
def block_gradient(plan, below, layer, start, rows, first, columns, panels, depth, unit):
    """One block of dW = Σ_rows δ h_belowᵀ: units start..start + rows, `columns` panels of inputs from panel `first` on.

    These are sums over rows of the batch, not yet means. Partner: the product in `forward.layer_forward`.
    """
    width, scratch = panel_width(unit), plan.scratch
    delta, zero = at(scratch, layer.delta + start * width, unit), at(scratch, plan.zero, unit)
    for block in range(first, first + columns):
        dW = at(plan.gradient, layer.W + start * layer.stride + block * width, unit)
        right = at(scratch, below.q + block * panels * width * width, unit)
        call_kernel(
            plan.product,
            (dW, layer.stride, rows, delta, layer.padded * width, width, ONE, right, width * width, zero, ZERO, panels, depth),
        )


@inner
def bias_gradient(plan, layer, start, rows, panels, unit):
    """db = Σ_rows δ of units start..start + rows."""
    width = panel_width(unit)
    delta, db = at(plan.scratch, layer.delta + start * width, unit), at(plan.gradient, layer.b + start, unit)
    for u in range(rows):
        db[u] = sum_panels(shift(delta, u * width), layer.padded * width, panels)


@inner_sum
def finish(dW, W, n, scale, l2, l1, penalize):
    """`n` numbers of the gradient: times `scale` (1/Σ w), plus the penalties' part where they are weights to `penalize`.

    Returns the sum of squares, and of l2/2 W² + l1 |W|.
    """
    squares, penalty = 0.0, 0.0
    if penalize:
        for i in range(n):
            w = W[i]
            sign = l1 if w > 0 else (-l1 if w < 0 else l1 * w)
            dW[i] = dW[i] * scale + (l2 * w + sign)
            penalty += np.float64(like(0.5, w) * l2 * w * w + l1 * abs(w))
    else:
        for i in range(n):
            dW[i] *= scale
    for i in range(n):
        squares += np.float64(dW[i]) * np.float64(dW[i])
    return squares, penalty


@inner
def finish_block(plan, layer, start, rows, first, columns, scale, unit):
    """`finish` for one block of dW, and with its first columns for db."""
    factor, l2, l1 = like(scale, unit), like(plan.l2, unit), like(plan.l1, unit)
    width, penalize = panel_width(unit), plan.l2 != 0 or plan.l1 != 0
    lines, length, place = rows, columns * width, layer.W + start * layer.stride + first * width
    if length == layer.stride:
        lines, length = ONE, rows * length
    squares, penalty = 0.0, 0.0
    for line in range(lines):
        here = place + line * layer.stride
        part, fine = finish(at(plan.gradient, here, unit), at(plan.theta, here, unit), length, factor, l2, l1, penalize)
        squares += part
        penalty += fine
    if first == 0:
        db = at(plan.gradient, layer.b + start, unit)
        part, fine = finish(db, db, rows, factor, l2, l1, False)
        squares += part
    return squares, penalty


@inner
def gradient(plan, layers, panels, rows, scale, sums, thread, unit):
    """This thread's blocks of the objective's gradient; squares and penalties of every block into `sums`.

    Returns how many blocks all threads have.
    """
    width = panel_width(unit)
    depth = width if panels > 1 else rows  # a single panel need not be summed beyond its rows
    done = ZERO
    for l in range(layers.size - 1, 0, -1):
        below, layer = layers[l - 1], layers[l]
        inputs = below.padded // width
        column_blocks = (inputs + BLOCK_PANELS - 1) // BLOCK_PANELS
        row_blocks = (layer.units + BLOCK_ROWS - 1) // BLOCK_ROWS
        mine, others = share(row_blocks, thread, plan.threads)
        # columns outermost: a block of h stays in the cache while all δ pass
        for c in range(column_blocks):
            first, stop = share(inputs, c, column_blocks)
            for r in range(mine, others):
                start = r * BLOCK_ROWS
                units = min(BLOCK_ROWS, layer.units - start)
                block_gradient(plan, below, layer, start, units, first, stop - first, panels, depth, unit)
                if c == 0:
                    bias_gradient(plan, layer, start, units, panels, unit)
                squares, penalty = finish_block(plan, layer, start, units, first, stop - first, scale, unit)
                sums[2 * (done + c * row_blocks + r)] = squares
                sums[2 * (done + c * row_blocks + r) + 1] = penalty
        done += column_blocks * row_blocks
    return done
