"""The single compiled entry: steps i..j of training, or any part of one step, for every network of a precision.

A step: gather rows, forward, loss, backward, update. It is a pure function of parameters, optimizer state, rows and step
number; what is random is drawn outside or follows from (seed, step). `training` calls it with a long range, everything that
looks inside with a range of one. Nothing is allocated here.
"""

from __future__ import annotations

import math

import numpy as np

from glassprop.core.jit import (
    ONE,
    ZERO,
    at,
    call_kernel,
    entry,
    hidden,
    inner,
    inner_sum,
    like,
    panel_width,
    shift,
    within,
)
from glassprop.core.layout import SPLIT_ROWS
from glassprop.core.panels import note_largest, scatter_rows
from glassprop.core.plan import (
    BACKWARD,
    DIVERGED,
    EPOCHS,
    FORWARD,
    LOSS,
    NOTE,
    OUTPUT,
    PATIENCE_SPENT,
    RAN,
    UPDATE,
)  # fmt: skip
from glassprop.core.processor import FLUSH, float_mode, set_float_mode
from glassprop.core.threads import SLOT, meet, meet_at_the_end, share
from glassprop.core.vectors import fill_rest, from_bits


@within
def _gather_targets(plan, layers, Y, classes, weights, order, start, stop, first, last, sums, one):
    """Targets of panels first..last into P, class numbers spread out and labels smoothed; row weights beside them.

    Leaves Σ w of panel p in ``sums[2 p + 1]``.
    """
    top, width = layers[-1], panel_width(one)
    given, numbers = at(weights, 0, one), at(order, 0, ZERO)
    keep, share_of_all = like(plan.keep, one), like(plan.share, one)
    for p in range(first, last):
        base, mass = start + p * width, 0.0
        count = min(width, stop - base)
        row_weights = at(plan.scratch, plan.batch_weights + p * width, one)
        fill_rest(one, row_weights, 0)
        fill_rest(like(0, one), row_weights, count)
        panel = at(plan.scratch, plan.targets + p * top.padded * width, one)
        own_class = at(plan.scratch, plan.losses + p * width, one)  # of each row, until its loss is known
        for i in range(count):
            row = numbers[base + i] if order else base + i
            if classes:
                own_class[i] = at(Y, row, one)[0]
            else:
                line = at(Y, row * top.units, one)
                place = i
                for o in range(top.units):
                    panel[place] = line[o] * keep + share_of_all
                    place = hidden(place + width)  # vectors would be scattered, which takes five times as long
            if weights:
                row_weights[i] = given[row]
                mass += np.float64(row_weights[i])
        for o in range(top.units if classes else 0):
            for i in range(hidden(width)):
                panel[o * width + i] = share_of_all + (keep if own_class[i] == like(o, one) else like(0, one))
        sums[2 * p + 1] = mass if weights else np.float64(count)


@inner_sum
def _weighted_sum(losses, weights, n):
    """Σ w ℓ in float64. A row without weight is not there, whatever its loss."""
    total = 0.0
    for r in range(n):
        total += np.float64(weights[r]) * np.float64(losses[r]) if weights[r] != 0 else 0.0
    return total


@within
def _panel_losses(plan, layers, first, last, sums, thread, one):
    """Σ over rows of w_r ℓ_r of panel p into ``sums[2 p]``, with δ_L = w_r ∂ℓ_r/∂g_L left in scratch."""
    top, width, scratch = layers[-1], panel_width(one), plan.scratch
    for panel in range(first, last):
        here = panel * top.padded * width
        g, h, delta = at(scratch, top.g + here, one), at(scratch, top.h + here, one), at(scratch, top.delta + here, one)
        y = at(scratch, plan.targets + here, one)
        row_weights = at(scratch, plan.batch_weights + panel * width, one)
        losses = at(scratch, plan.losses + panel * width, one)
        call_kernel(plan.loss, (g, h, y, row_weights, delta, losses, top.units, at(plan.loss_constants, 0, 1.0)))
        if top.dphi != 0:
            call_kernel(top.dphi, (at(scratch, top.z + here, one), delta, top.units * width))
        note_largest(plan, delta, top.units * width, thread, 1)
        sums[2 * panel] = _weighted_sum(losses, row_weights, width)


def batch_losses(plan, layers, Y, classes, weights, order, start, stop, first, last, sums, thread, one):
    """Losses, weights and δ_L of panels first..last of the batch in rows start..stop, from what the forward pass has left."""
    _gather_targets(plan, layers, Y, classes, weights, order, start, stop, first, last, sums, one)
    _panel_losses(plan, layers, first, last, sums, thread, one)


@within
def _add_up(sums, pairs):
    """Both sums over `pairs` pairs of partial sums, in their order, whichever threads they come from."""
    one, other = 0.0, 0.0
    for i in range(pairs):
        one += sums[2 * i]
        other += sums[2 * i + 1]
    return one, other


@within
def _may_act_at_once(plan, loss, rows, scale, one):
    """1 where no gradient of the batch can overflow, before or after it is scaled: the rule need not see all of it first.

    No sum over rows exceeds their number times the largest |h|, or the 1 that stands for it in db, times the largest |δ|. A
    penalty of at most a tenth of a finite weight does not overflow. (Its value may, in float64, for a weight above 1e154.)
    """
    if plan.at_once == 0 or not math.isfinite(loss):
        return ZERO
    h = delta = ZERO
    for thread in range(plan.threads):
        bits = at(plan.largest, SLOT * thread, rows)
        h, delta = max(h, bits[0]), max(delta, bits[1])
    largest_h = np.float64(from_bits(h, one))
    largest_h = 1.0 if largest_h < 1.0 else largest_h  # NaN compares false and stays
    bound = largest_h * np.float64(from_bits(delta, one)) * rows * max(1.0, scale)
    penalty = max(plan.l2, plan.l1) * (scale if plan.as_scikit_learn else 1.0)
    return np.int64(bound < plan.bound and penalty <= 0.1)


@within
def _parts(plan, rows, training):
    """In how many parts of bfloat16 the operands of products are kept: none, 1 for products of bfloat16, 3 for float32's."""
    if training != 0 and plan.paired_product != 0:
        return ONE
    return np.int64(3) if plan.split_product != 0 and rows >= SPLIT_ROWS else ZERO


@inner
def _validate(plan, layers, sums, thread, one):
    """This thread's panels of the validation rows, without dropout or penalty: losses and weights into `sums`."""
    width = panel_width(one)
    parts = _parts(plan, plan.validation_rows, ZERO)
    low, high = share(plan.most_panels, thread, plan.threads)  # panels of scratch that are this thread's
    if high == low:
        return
    validators = min(plan.threads, plan.most_panels)  # by the number of their panel, where each has one at most
    mine, others = share((plan.validation_rows + width - 1) // width, thread if validators == plan.threads else low, validators)
    for v in range(mine, others, high - low):
        last = low + min(high - low, others - v)
        start, stop = (v - low) * width, plan.validation_rows
        here = shift(sums, 2 * (v - low))
        call_kernel(plan.do_gather, (plan, plan.validation_X, ZERO, start, stop, layers, low, last, ZERO, parts, thread, one))
        call_kernel(plan.do_forward, (plan, layers, low, last, ZERO, stop - start, ZERO, ZERO, parts, start, thread, one))
        Y, classes, weights = plan.validation_Y, plan.validation_classes, plan.validation_weights
        call_kernel(plan.do_losses, (plan, layers, Y, classes, weights, ZERO, start, stop, low, last, here, thread, one))


@inner
def _close_epoch(plan, now, layers, epoch, steps_per_epoch, rate, one):
    """The epoch's row of history, from what has been summed up, and the value by which it is judged."""
    row = at(plan.history, 4 * (epoch - plan.first_epoch), 1.0)
    row[0] = now.loss_sum / now.weight_sum
    row[1] = np.nan
    if plan.validation_rows > 0:
        width = panel_width(one)
        total, mass = _add_up(at(plan.sums, 0, 1.0), (plan.validation_rows + width - 1) // width)
        row[1] = plan.loss_scale * total / mass
    row[2] = rate
    row[3] = now.norm_sum / steps_per_epoch
    now.loss_sum, now.weight_sum, now.norm_sum = 0.0, 0.0, 0.0
    now.monitored = row[1] if plan.validation_rows > 0 else row[0]


@inner
def note_epoch(plan, now, value, epochs_done, one):
    """Keep the parameters where `value` is the lowest so far; 1 when patience is spent."""
    now.stale = 0 if value < now.best - plan.tolerance else now.stale + 1
    if value < now.best:
        now.best = value
        now.best_epoch = epochs_done
        theta, best = at(plan.theta, 0, one), at(plan.best, 0, one)
        for i in range(plan.theta_size):
            best[i] = theta[i]
    return 1 if plan.patience > 0 and now.stale >= plan.patience else 0


@inner
def _end_epoch(plan, now, layers, epoch, steps_per_epoch, rate, stages, thread, one):
    """Validate, write the epoch's row of history, note it: the stages that are asked for. All threads have met when it ends."""
    leader = thread == 0
    if stages & EPOCHS and plan.validation_rows > 0:
        _validate(plan, layers, at(plan.sums, 0, 1.0), thread, one)
        meet(plan)
    if leader and stages & EPOCHS:
        _close_epoch(plan, now, layers, epoch, steps_per_epoch, rate, one)
    if leader and stages & NOTE and note_epoch(plan, now, now.monitored, epoch + 1, one):
        now.status = PATIENCE_SPENT
    meet(plan)


@within
def _by_panels(plan, layers, order, start, stop, stages, parts, t, thread, one):
    """What panels of the batch are shared out for: rows, forward, outputs, losses and δ, as far as the stages ask for them."""
    width, training = panel_width(one), stages & UPDATE
    panels = (stop - start + width - 1) // width
    low, high = share(panels, thread, plan.threads)
    together = panels if plan.threads > 1 else ZERO
    if plan.at_once != 0:
        for i in range(2):
            at(plan.largest, SLOT * thread + i, start)[0] = 0
    if stages & FORWARD:
        wanted, slopes = stages & BACKWARD, stages & (LOSS | BACKWARD)
        call_kernel(plan.do_gather, (plan, plan.X, order, start, stop, layers, low, high, wanted, parts, thread, one))
        call_kernel(plan.do_forward, (plan, layers, low, high, together, stop - start, slopes, training, parts, t, thread, one))
    if stages & OUTPUT:
        scatter_rows(plan.scratch, layers[-1], start, stop, plan.output, low, high, one)
    if stages & LOSS:
        Y, classes, weights, sums = plan.Y, plan.classes, plan.weights, at(plan.sums, 0, 1.0)
        call_kernel(plan.do_losses, (plan, layers, Y, classes, weights, order, start, stop, low, high, sums, thread, one))
    if stages & BACKWARD:
        if plan.do_collect != 0:
            call_kernel(plan.do_collect, (plan, layers, order, start, stop, thread, one))
        call_kernel(plan.do_backward, (plan, layers, low, high, together, stop - start, training, parts, t, thread, one))


@within
def _note_losses(plan, now, rows, panels, leader):
    """The batch's loss without penalty, its Σ w, and the factor with which both count in the epoch; noted by the leader."""
    total, mass = _add_up(at(plan.sums, 0, 1.0), panels)
    total *= plan.loss_scale
    loss = total / mass if mass > 0 else 0.0
    per_mass = rows / mass if plan.as_scikit_learn and mass > 0 else 1.0
    if leader:
        now.loss = loss
        now.loss_sum += total * per_mass
        now.weight_sum += mass * per_mass
    return loss, mass, per_mass


@within
def _note_gradient(plan, now, loss, weight, leader):
    """The batch's loss with the penalty, and the norm of the gradient; noted by the leader, the penalty with `weight`."""
    squares, penalty = _add_up(at(plan.sums, 2 * plan.most_panels, 1.0), plan.pieces)
    if leader:
        now.loss = loss + penalty
        now.loss_sum += penalty * weight
        now.gradient_norm = math.sqrt(squares)
    return loss + penalty, math.sqrt(squares)


@inner
def _steps(plan, now, layers, first, last, stages, thread, one):
    """See `run`."""
    batch, leader, width, training = plan.batch_size, thread == 0, panel_width(one), stages & UPDATE
    steps_per_epoch = (plan.rows + batch - 1) // batch
    loss, norm, mass, per_mass = now.loss, now.gradient_norm, 0.0, 1.0
    if not meet(plan):
        return first
    if leader:
        now.status = RAN
    for step in range(first, last):
        epoch = step // steps_per_epoch
        start = (step - epoch * steps_per_epoch) * batch
        stop = min(start + batch, plan.rows)
        rows, panels = stop - start, (stop - start + width - 1) // width
        parts = _parts(plan, rows, training)
        order = plan.order + (epoch - plan.first_epoch) * plan.rows * 8 if plan.order else plan.order
        t = plan.earlier_steps + step  # what the rule and dropout go by
        _by_panels(plan, layers, order, start, stop, stages, parts, t, thread, one)
        meet(plan)
        if stages & LOSS:
            loss, mass, per_mass = _note_losses(plan, now, rows, panels, leader)
        rate = at(plan.rates, step - plan.first_step, 1.0)[0] if training or stages & EPOCHS else 0.0
        at_once = ZERO
        if stages & BACKWARD:
            scale = 1.0 / mass if mass > 0 else 0.0
            if training:
                at_once = _may_act_at_once(plan, loss, rows, scale, one)
            sums = at(plan.sums, 2 * plan.most_panels, 1.0)
            call_kernel(plan.do_gradient, (plan, layers, panels, rows, scale, sums, parts, at_once, rate, t + 1, thread, one))
            meet_at_the_end(plan, thread)
            loss, norm = _note_gradient(plan, now, loss, mass * per_mass, leader)
            if not (math.isfinite(loss) and math.isfinite(norm)):
                if leader:
                    now.status = DIVERGED
                return step
            if leader:
                now.norm_sum += norm
        if training and not at_once:
            call_kernel(plan.do_update, (plan, layers, norm, rate, t + 1, thread, one))
        if leader:
            now.step = step + 1
        meet(plan)
        if stop == plan.rows and stages & (EPOCHS | NOTE):
            _end_epoch(plan, now, layers, epoch, steps_per_epoch, rate, stages, thread, one)
            if now.status == PATIENCE_SPENT:
                return step + 1
    return last


@entry
def run(plans, progress, layers, first, last, stages, thread, one):
    """Run the `stages` of steps `first` to `last` (exclusive); return the number of the step that follows.

    Called by `plan.threads` threads at once, each with its number; thread 0 alone writes `progress`. Stops before a step whose
    loss or gradient is not finite: parameters and state are then those before that step. Steps are counted from the start of
    training; step s takes batch ``s % steps`` of epoch ``s // steps``. NOTE is a part of its own, so that a caller who scores
    epochs can set the monitored value in `progress` and note it afterwards.
    """
    mode = float_mode()
    set_float_mode(mode | FLUSH)
    reached = _steps(plans[0], progress[0], layers, first, last, stages, thread, one)
    set_float_mode(mode)
    return reached
