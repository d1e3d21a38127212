"""Blocks of parameters: a block's gradient, made the objective's, and the update rule on it. What threads share out.

A block is some units of a layer with all their inputs, in one piece or more: threads share out pieces, and take as many at a
time as the cache holds. It knows parameters as ranges of flat vectors; what the gradient is backward.py says, and what a rule
does update.py.
"""

from __future__ import annotations

import math

import numpy as np

from glassprop.core.backward import bias_gradient, block_gradient
from glassprop.core.elementary import expm1
from glassprop.core.jit import ONE, ZERO, at, call_kernel, inner, inner_sum, like, shift, stay_apart, widest_vectors, within
from glassprop.core.matrix_unit import enter_matrix_unit, leave_matrix_unit
from glassprop.core.panels import packed_of
from glassprop.core.sparse import sum_columns
from glassprop.core.threads import owner_in_turn, share, take

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
def _add_l2(dW, W, n, factor, l2):
    """dW := factor dW + l2 W; returns Σ dW² and Σ W²."""
    squares, W_squares = like(0, factor), like(0, factor)
    for i in range(n):
        w = W[i]
        x = dW[i] * factor + l2 * w
        dW[i] = x
        squares += x * x
        W_squares += w * w
    return squares, W_squares


@inner_sum
def _add_l2_and_l1(dW, W, n, factor, l2, l1):
    """dW := factor dW + l2 W + l1 sign(W), NaN where W is; returns Σ dW², Σ W² and Σ |W|."""
    squares, W_squares, W_sizes = like(0, factor), like(0, factor), like(0, factor)
    for i in range(n):
        w = W[i]
        x = dW[i] * factor + (l2 * w + (l1 if w > 0 else (-l1 if w < 0 else l1 * w)))
        dW[i] = x
        squares += x * x
        W_squares += w * w
        W_sizes += abs(w)
    return squares, W_squares, W_sizes


@inner
def scale_and_penalize(plan, dW, W, n, factor):
    """dW := factor dW + the penalties' gradient; returns Σ dW², added up in the precision of dW, and l2/2 Σ W² + l1 Σ |W|."""
    stay_apart(n)
    of_mass = factor if plan.as_scikit_learn else like(1, factor)
    l2, l1, W_sizes = like(plan.l2, factor) * of_mass, like(plan.l1, factor) * of_mass, like(0, factor)
    if plan.l1 == 0:  # a third of the instructions
        squares, W_squares = _add_l2(dW, W, n, factor, l2)
    else:
        squares, W_squares, W_sizes = _add_l2_and_l1(dW, W, n, factor, l2, l1)
    if beyond(np.float64(W_squares)):
        return squares, penalty_of(W, n, l2, l1)
    return squares, 0.5 * np.float64(l2) * np.float64(W_squares) + np.float64(l1) * np.float64(W_sizes)


@within
def squares_or_again(x, n, squares):
    """Σ x², of which `squares` is what its precision made, in float64."""
    return squares_of(x, n) if beyond(np.float64(squares)) else np.float64(squares)


@within
def _finish_piece(plan, layer, start, units, dW, db, scale, one):
    factor, n, W = like(scale, one), units * layer.stride, at(plan.theta, layer.W + start * layer.stride, one)
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
def finish_block(plan, layer, start, units, dW, db, scale, sums, one):
    """A block of dW and its db: times `scale` (1/Σ w), W's plus the penalties' gradient.

    Leaves the sum of their squares and l2/2 Σ W² + l1 Σ |W| of every piece in `sums`. Padding, where all is zero, goes along.
    """
    done = ZERO
    while done < units:  # a range of this step would divide by it
        n = min(layer.piece, units - done)
        piece, biases = shift(dW, done * layer.stride), shift(db, done)
        sums[0], sums[1] = _finish_piece(plan, layer, start + done, n, piece, biases, scale, one)
        done, sums = done + n, shift(sums, 2)


@inner
def multiply(x, n, factor):
    """x := factor x."""
    stay_apart(n)
    for i in range(n):
        x[i] *= factor


@inner
def apply(plan, place, dtheta, n, shrink, keep, constants, one):
    """The rule's kernel on `n` parameters from `place` on, with their gradient.

    Before it, gradient times `shrink`, parameters times `keep`.
    """
    theta = at(plan.theta, place, one)
    if shrink != one:
        multiply(dtheta, n, shrink)
    if keep != one:
        multiply(theta, n, keep)
    first, second = at(plan.state, place, one), at(plan.state, plan.theta_size + place, one)
    call_kernel(plan.rule, (theta, dtheta, first, second, n, constants))


@within
def own_constants(plan, batch):
    """This thread's constants of the rule."""
    return at(plan.constants + batch.thread * plan.constants_stride, 0, 1.0)


@within
def rule_constants(plan, batch):
    """The same for the update of this step; the learning rate is set layer by layer."""
    constants, t = own_constants(plan, batch), batch.step + 1
    constants[1], constants[2], constants[3] = -expm1(t * constants[8]), -expm1(t * constants[9]), t
    return constants


@within
def decay(plan, rate, one):
    """By what weights are multiplied before the rule acts."""
    return like(1.0 - rate * plan.weight_decay, one) if plan.weight_decay > 0 else one


@within
def own_rows(layers, l, thread, threads):
    """First piece of layer `l` that is this thread's, and its first and last (exclusive) rows of W.

    Of pieces that cannot be shared out evenly the last thread has one more in the output layer, which often is a single one,
    and one less in the others.
    """
    layer = layers[l]
    first, last = share(layer.pieces, thread, threads, threads - 1 if l < layers.size - 1 else ZERO)
    return first, first * layer.piece, min(last * layer.piece, layer.units)


@within
def _clear_padding(dW, layer, below, units):
    """Zeros behind each of `units` rows of dW, in memory that has held rows of other lengths."""
    for u in range(units):
        row = shift(dW, u * layer.stride)
        for i in range(below.units, layer.stride):
            row[i] = like(0, row[i])


def gradient(plan, layers, batch, one):
    """This thread's pieces of the objective's gradient, a block at a time; squares and penalties of each into `plan.sums`.

    Where it acts at once, the rule takes each block as soon as it is there, all blocks of a thread use the same memory, and a
    thread that is done goes on with what others have not come to. Where the rule comes later it would have to fetch that from
    there.
    """
    widest_vectors(ONE)
    # a logarithm's powers are a tenth of a tiny network's step, where the rule comes later
    constants = rule_constants(plan, batch) if batch.at_once else own_constants(plan, batch)
    shared, sums = batch.at_once and plan.threads > 1, at(plan.sums, 2 * plan.most_panels, 1.0)
    enter_matrix_unit(batch.parts)
    for turn in range(plan.threads if shared else 1):
        owner = owner_in_turn(turn, batch.thread, plan.threads)
        lot = take(plan, owner) if shared else ZERO
        passed = done = ZERO  # lots of the owner, and pieces of all, in layers that have been gone through
        for l in range(layers.size - 1, 0, -1):
            below, layer = layers[l - 1], layers[l]
            constants[0] = batch.rate * layer.rate_factor
            keep = decay(plan, constants[0], one)
            first, begin, end = own_rows(layers, l, owner, plan.threads)
            rows = layer.block * layer.piece
            start, place = begin, done + first
            if shared:
                start, place = begin + (lot - passed) * rows, done + first + (lot - passed) * layer.block
            while start < end:
                units, here = min(rows, end - start), layer.W + start * layer.stride
                dW, db = at(plan.gradient, here, one), at(plan.gradient, layer.b + start, one)
                if batch.at_once:
                    dW = packed_of(plan, batch, one)
                block_gradient(plan, below, layer, batch, start, units, dW, one)
                bias_gradient(plan, layer, batch, start, units, db, one)
                if batch.at_once:
                    _clear_padding(dW, layer, below, units)
                finish_block(plan, layer, start, units, dW, db, batch.scale, shift(sums, 2 * place), one)
                if batch.at_once:
                    apply(plan, here, dW, units * layer.stride, one, keep, constants, one)
                    apply(plan, layer.b + start, db, units, one, one, constants, one)
                start, place = start + rows, place + layer.block
                if shared:
                    lot = take(plan, owner)
                    start, place = begin + (lot - passed) * rows, done + first + (lot - passed) * layer.block
            if shared:
                passed += (end - begin + rows - 1) // rows
            done += layer.pieces
    leave_matrix_unit(batch.parts)


def update(plan, layers, batch, one):
    """New parameters of this thread's units from the whole gradient: clip, decay, then the rule's kernel, layer by layer."""
    widest_vectors(ONE)
    constants = rule_constants(plan, batch)
    clip = plan.clip_norm > 0 and batch.norm > plan.clip_norm
    shrink = like(plan.clip_norm / batch.norm, one) if clip else one
    if plan.alike and plan.threads == 1:  # padding, where all is zero, goes along
        constants[0] = batch.rate
        apply(plan, ZERO, at(plan.gradient, 0, one), plan.theta_size, shrink, one, constants, one)
        return
    for l in range(1, layers.size):
        layer = layers[l]
        _, start, stop = own_rows(layers, l, batch.thread, plan.threads)
        constants[0] = batch.rate * layer.rate_factor
        keep = decay(plan, constants[0], one)
        place, biases = layer.W + start * layer.stride, layer.b + start
        if stop > start:
            apply(plan, place, at(plan.gradient, place, one), (stop - start) * layer.stride, shrink, keep, constants, one)
            apply(plan, biases, at(plan.gradient, biases, one), stop - start, shrink, one, constants, one)


_update = within(update)


def update_by_columns(plan, layers, batch, one):
    """The same of a sparse X by columns: of the first layer, which has no pieces, the total of its gradient."""
    _update(plan, layers, batch, one)
    sum_columns(plan, layers, batch, one)
