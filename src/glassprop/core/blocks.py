"""Blocks of parameters: a block's gradient, made the objective's, and the update rule on it. What threads share out.

A block is some units of a layer with all their inputs, in one piece or more: threads share out pieces, and take as many at a
time as the cache holds. It knows parameters as ranges of flat vectors; what the gradient is backward.py says, and what a rule
does update.py.
"""

from __future__ import annotations

import math

import numpy as np

from glassprop.core.backward import ZERO, bias_gradient, block_gradient
from glassprop.core.elementary import expm1
from glassprop.core.forward import own_parts
from glassprop.core.jit import at, call_kernel, inner, inner_sum, like, shift, stay_apart, widest_vectors, within
from glassprop.core.threads import share

ADDED_UP = 1024  # numbers, at most, of which sums are kept in their own precision


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
    stay_apart(n)
    squares = 0.0
    for i in range(n):
        squares += np.float64(x[i]) * np.float64(x[i])
    return squares


@within
def beyond(squares):
    """Whether a sum of squares in float32 may have lost numbers, too large or too small to be squared there."""
    return not 1e-26 < squares < math.inf


@inner_sum
def penalty_of(W, n, l2, l1):
    """l2/2 Σ W² + l1 Σ |W| in float64, as `squares_of`."""
    stay_apart(n)
    penalty = 0.0
    for i in range(n):
        w = np.float64(W[i])
        penalty += 0.5 * np.float64(l2) * w * w + np.float64(l1) * abs(w)
    return penalty


@inner_sum
def scale_and_penalize(plan, dW, W, n, factor):
    """dW := factor dW + the penalties' gradient; returns Σ dW², added up in the precision of dW, and l2/2 Σ W² + l1 Σ |W|."""
    stay_apart(n)
    of_mass = factor if plan.as_scikit_learn else like(1, factor)
    l2, l1 = like(plan.l2, factor) * of_mass, like(plan.l1, factor) * of_mass
    squares, W_squares, W_sizes = like(0, factor), like(0, factor), like(0, factor)
    for i in range(n):
        w = W[i]
        x = dW[i] * factor + (l2 * w + (l1 if w > 0 else (-l1 if w < 0 else l1 * w)))
        dW[i] = x
        squares += x * x
        W_squares += w * w
        W_sizes += abs(w)
    if beyond(np.float64(W_squares)):
        return squares, penalty_of(W, n, l2, l1)
    return squares, 0.5 * np.float64(l2) * np.float64(W_squares) + np.float64(l1) * np.float64(W_sizes)


@within
def squares_or_again(x, n, squares):
    """Σ x², of which `squares` is what its precision made, in float64."""
    return squares_of(x, n) if beyond(np.float64(squares)) else np.float64(squares)


@within
def _finish_piece(plan, layer, start, units, place, scale, unit):
    factor, n = like(scale, unit), units * layer.stride
    W, dW = at(plan.theta, layer.W + start * layer.stride, unit), at(plan.gradient, place, unit)
    db = at(plan.gradient, layer.b + start, unit)
    squares, penalty = squares_or_again(db, units, scale_numbers(db, units, factor)), 0.0
    for first in range(0, n, ADDED_UP):
        x, count = shift(dW, first), min(ADDED_UP, n - first)
        if plan.l2 != 0 or plan.l1 != 0:
            numbers, part = scale_and_penalize(plan, x, shift(W, first), count, factor)
            penalty += part
        else:
            numbers = scale_numbers(x, count, factor)
        squares += squares_or_again(x, count, numbers)
    return squares, penalty


@inner
def finish_block(plan, layer, start, units, place, scale, sums, unit):
    """A block of dW, whose memory begins at `place`, and its db: times `scale` (1/Σ w), W's plus the penalties' gradient.

    Leaves the sum of their squares and l2/2 Σ W² + l1 Σ |W| of every piece in `sums`, and returns where the next block's go.
    Padding, where all is zero, goes along.
    """
    stop, piece = start + units, layer.piece
    while start < stop:
        n = min(piece, stop - start)
        squares, penalty = _finish_piece(plan, layer, start, n, place, scale, unit)
        sums[0], sums[1] = squares, penalty
        start, place, sums = start + n, place + n * layer.stride, shift(sums, 2)
    return sums


@inner
def multiply(x, n, factor):
    """x := factor x."""
    stay_apart(n)
    for i in range(n):
        x[i] *= factor


@inner
def apply(plan, place, source, n, shrink, keep, constants, unit):
    """The rule's kernel on `n` parameters from `place` on, whose gradient lies from `source` on.

    Before it, gradient times `shrink`, parameters times `keep`.
    """
    theta, dtheta = at(plan.theta, place, unit), at(plan.gradient, source, unit)
    if shrink != unit:
        multiply(dtheta, n, shrink)
    if keep != unit:
        multiply(theta, n, keep)
    first, second = at(plan.state, place, unit), at(plan.state, plan.theta_size + place, unit)
    call_kernel(plan.rule, (theta, dtheta, first, second, n, constants))


@within
def own_constants(plan, thread):
    """This thread's constants of the rule."""
    return at(plan.constants + thread * plan.constants_stride, 0, 1.0)


@within
def rule_constants(plan, t, thread):
    """The same for update number `t`; the learning rate is set layer by layer."""
    constants = own_constants(plan, thread)
    constants[1], constants[2], constants[3] = -expm1(t * constants[8]), -expm1(t * constants[9]), t
    return constants


@within
def decay(plan, rate, unit):
    """By what weights are multiplied before the rule acts."""
    return like(1.0 - rate * plan.weight_decay, unit) if plan.weight_decay > 0 else unit


@within
def own_rows(layers, l, thread, threads):
    """First piece of layer `l` that is this thread's, and its first and last (exclusive) rows of W.

    Of pieces that cannot be shared out evenly the last thread has one more in the output layer, which often is a single one,
    and one less in the others.
    """
    layer = layers[l]
    first, last = share(layer.pieces, thread, threads, threads - 1 if l < layers.size - 1 else threads * 0)
    return first, first * layer.piece, min(last * layer.piece, layer.units)


def gradient(plan, layers, panels, depth, scale, sums, parts, at_once, rate, t, thread, unit):
    """This thread's pieces of the objective's gradient, a block at a time; squares and penalties of every piece into `sums`.

    Where `at_once`, the rule takes each block as soon as it is there, and all blocks of a layer use the memory of the first.
    """
    widest_vectors(thread)
    done = ZERO
    # a logarithm's powers are a tenth of a tiny network's step, where the rule comes later
    constants = rule_constants(plan, t, thread) if at_once else own_constants(plan, thread)
    for l in range(layers.size - 1, 0, -1):
        below, layer, listed = layers[l - 1], layers[l], plan.listed_product if l == 1 else ZERO
        constants[0] = rate * layer.rate_factor
        keep = decay(plan, constants[0], unit)
        first, begin, end = own_rows(layers, l, thread, plan.threads)
        start, pieces = begin, shift(sums, 2 * (done + first))
        while start < end:
            units, here = min(layer.block, end - start), layer.W + start * layer.stride
            place = layer.W + begin * layer.stride if at_once else here
            block_gradient(
                plan, below, layer, start, units, place, panels, depth, at_once, own_parts(layer, parts), listed, unit
            )
            bias_gradient(plan, layer, start, units, panels, unit)
            pieces = finish_block(plan, layer, start, units, place, scale, pieces, unit)
            if at_once:
                apply(plan, here, place, units * layer.stride, unit, keep, constants, unit)
            start += units
        if at_once and begin < end:
            biases = layer.b + begin
            apply(plan, biases, biases, end - begin, unit, unit, constants, unit)
        done += layer.pieces


def update(plan, layers, norm, rate, t, thread, unit):
    """New parameters of this thread's units from the whole gradient: clip, decay, then the rule's kernel, layer by layer."""
    widest_vectors(thread)
    constants = rule_constants(plan, t, thread)
    clip = plan.clip_norm > 0 and norm > plan.clip_norm
    shrink = like(plan.clip_norm / norm, unit) if clip else unit
    if plan.alike and plan.threads == 1:  # padding, where all is zero, goes along
        constants[0] = rate
        apply(plan, ZERO, ZERO, plan.theta_size, shrink, unit, constants, unit)
        return
    for l in range(1, layers.size):
        layer = layers[l]
        _, start, stop = own_rows(layers, l, thread, plan.threads)
        constants[0] = rate * layer.rate_factor
        keep = decay(plan, constants[0], unit)
        place, biases = layer.W + start * layer.stride, layer.b + start
        if stop > start:
            apply(plan, place, place, (stop - start) * layer.stride, shrink, keep, constants, unit)
            apply(plan, biases, biases, stop - start, shrink, unit, constants, unit)
