"""Blocks of parameters: a block's gradient, made the objective's, and the update rule on it. What threads share out.

A block is some units of a layer with some of their inputs. It knows parameters as ranges of flat vectors; what the gradient is
backward.py says, and what a rule does update.py.
"""

from __future__ import annotations

import math

import numpy as np

from glassprop.core.backward import ONE, ZERO, bias_gradient, block_gradient
from glassprop.core.elementary import expm1
from glassprop.core.jit import at, call_kernel, inner, inner_sum, like, panel_width, within
from glassprop.core.panels import BLOCK_PANELS, BLOCK_ROWS
from glassprop.core.threads import share


@inner_sum
def scale_numbers(x, n, factor):
    """x := factor x; returns Σ x², added up in the precision of x."""
    squares = like(0, factor)
    for i in range(n):
        scaled = x[i] * factor
        x[i] = scaled
        squares += scaled * scaled
    return squares


@inner_sum
def squares_of(x, n):
    """Σ x² in float64, which holds the squares of all numbers of float32."""
    squares = 0.0
    for i in range(n):
        squares += np.float64(x[i]) * np.float64(x[i])
    return squares


@within
def beyond(squares):
    """Whether a sum of squares in float32 may have lost numbers, too large or too small to be squared there."""
    return not 1e-26 < squares < math.inf


@inner_sum
def penalize(dW, W, n, l2, l1):
    """Add the penalties' gradient to dW; returns l2/2 Σ W² + l1 Σ |W|."""
    penalty = 0.0
    for i in range(n):
        w = W[i]
        sign = l1 if w > 0 else (-l1 if w < 0 else l1 * w)
        dW[i] += l2 * w + sign
        penalty += np.float64(like(0.5, w) * l2 * w * w + l1 * abs(w))
    return penalty


@inner
def finish(plan, dW, W, n, factor, unit):
    """`n` numbers of dW: times `factor` (1/Σ w), plus the penalties'. Returns Σ dW² and l2/2 Σ W² + l1 Σ |W|."""
    squares, penalty = np.float64(scale_numbers(dW, n, factor)), 0.0
    if plan.l2 != 0 or plan.l1 != 0:
        share = factor if plan.as_scikit_learn else unit
        penalty = penalize(dW, W, n, like(plan.l2, unit) * share, like(plan.l1, unit) * share)
        squares = squares_of(dW, n)
    elif beyond(squares):
        squares = squares_of(dW, n)
    return squares, penalty


@inner
def finish_block(plan, below, layer, start, units, first, columns, scale, unit):
    """`finish` for one block of dW, and with its first columns for db; W and dW lie alike."""
    factor, width = like(scale, unit), panel_width(unit)
    place = layer.W + start * layer.stride + first * width
    lines, length = units, min(columns * width, below.units - first * width)
    if length == below.units:  # whole rows, with the padding between them, where all is zero
        lines, length = ONE, units * layer.stride
    squares, penalty = 0.0, 0.0
    for line in range(lines):
        here = place + line * layer.stride
        part, fine = finish(plan, at(plan.gradient, here, unit), at(plan.theta, here, unit), length, factor, unit)
        squares += part
        penalty += fine
    if first == 0:
        db = at(plan.gradient, layer.b + start, unit)
        part = np.float64(scale_numbers(db, units, factor))
        squares += squares_of(db, units) if beyond(part) else part
    return squares, penalty


@within
def apply(plan, place, n, shrink, keep, constants, unit):
    """The rule's kernel on `n` parameters from `place` on; before it, gradient times `shrink`, parameters times `keep`."""
    theta, dtheta = at(plan.theta, place, unit), at(plan.gradient, place, unit)
    if shrink != unit:
        for i in range(n):
            dtheta[i] *= shrink
    if keep != unit:
        for i in range(n):
            theta[i] *= keep
    first, second = at(plan.state, place, unit), at(plan.state, plan.theta_size + place, unit)
    call_kernel(plan.rule, (theta, dtheta, first, second, n, constants))


def gradient(plan, layers, panels, depth, scale, sums, training, thread, unit):
    """This thread's blocks of the objective's gradient; squares and penalties of every block into `sums`."""
    width, paired = panel_width(unit), training != 0 and plan.paired_product != 0
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
                block_gradient(plan, below, layer, start, units, first, stop - first, panels, depth, paired, unit)
                if c == 0:
                    bias_gradient(plan, layer, start, units, panels, unit)
                squares, penalty = finish_block(plan, below, layer, start, units, first, stop - first, scale, unit)
                sums[2 * (done + c * row_blocks + r)] = squares
                sums[2 * (done + c * row_blocks + r) + 1] = penalty
        done += column_blocks * row_blocks


def update(plan, layers, norm, rate, t, thread, unit):
    """New parameters of this thread's units from the whole gradient: clip, decay, then the rule's kernel, layer by layer."""
    constants = at(plan.constants + thread * plan.constants_stride, 0, 1.0)
    constants[1], constants[2], constants[3] = -expm1(t * constants[8]), -expm1(t * constants[9]), t
    clip = plan.clip_norm > 0 and norm > plan.clip_norm
    shrink = like(plan.clip_norm / norm, unit) if clip else unit
    for l in range(1, layers.size):
        layer = layers[l]
        mine, others = share((layer.units + BLOCK_ROWS - 1) // BLOCK_ROWS, thread, plan.threads)
        start, stop = mine * BLOCK_ROWS, min(others * BLOCK_ROWS, layer.units)
        constants[0] = rate * layer.rate_factor
        keep = like(1.0 - constants[0] * plan.weight_decay, unit) if plan.weight_decay > 0 else unit
        place, n = layer.W + start * layer.stride, (stop - start) * layer.stride
        if keep == unit and stop - start == layer.units:
            apply(plan, place, layer.size, shrink, keep, constants, unit)
        elif stop > start:
            apply(plan, place, n, shrink, keep, constants, unit)
            apply(plan, layer.b + start, stop - start, shrink, unit, constants, unit)
