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
def _gather_targets(plan, top, batch, one):
    """Targets of this thread's panels into P, class numbers spread out and labels smoothed; row weights beside them.

    Leaves Σ w of panel p in ``batch.sums[2 p + 1]``.
    """
    width, Y, classes, weights, order = panel_width(one), batch.Y, batch.classes, batch.weights, batch.order
    given, numbers, sums = at(weights, 0, one), at(order, 0, ZERO), at(batch.sums, 0, 1.0)
    keep, share_of_all = like(plan.keep, one), like(plan.share, one)
    for p in range(batch.first, batch.last):
        base, mass = batch.start + p * width, 0.0
        count = min(width, batch.stop - base)
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
def _panel_losses(plan, top, batch, one):
    """Σ over rows of w_r ℓ_r of panel p into ``batch.sums[2 p]``, with δ_L = w_r ∂ℓ_r/∂g_L left in scratch."""
    width, scratch, sums = panel_width(one), plan.scratch, at(batch.sums, 0, 1.0)
    for panel in range(batch.first, batch.last):
        here = panel * top.padded * width
        g, h, delta = at(scratch, top.g + here, one), at(scratch, top.h + here, one), at(scratch, top.delta + here, one)
        y = at(scratch, plan.targets + here, one)
        row_weights = at(scratch, plan.batch_weights + panel * width, one)
        losses = at(scratch, plan.losses + panel * width, one)
        call_kernel(plan.loss, (g, h, y, row_weights, delta, losses, top.units, at(plan.loss_constants, 0, 1.0)))
        if top.dphi != 0:
            call_kernel(top.dphi, (at(scratch, top.z + here, one), delta, top.units * width))
        note_largest(plan, batch, delta, top.units * width, 1)
        sums[2 * panel] = _weighted_sum(losses, row_weights, width)


def batch_losses(plan, layers, batch, one):
    """Losses, weights and δ_L of this thread's panels of the batch, from what the forward pass has left."""
    _gather_targets(plan, layers[-1], batch, one)
    _panel_losses(plan, layers[-1], batch, one)


@within
def _add_up(sums, pairs):
    """Both sums over `pairs` pairs of partial sums, in their order, whichever threads they come from."""
    one, other = 0.0, 0.0
    for i in range(pairs):
        one += sums[2 * i]
        other += sums[2 * i + 1]
    return one, other


@within
def _may_act_at_once(plan, batch, loss, one):
    """1 where no gradient of the batch can overflow, before or after it is scaled: the rule need not see all of it first.

    No sum over rows exceeds their number times the largest |h|, or the 1 that stands for it in db, times the largest |δ|. A
    penalty of at most a tenth of a finite weight does not overflow. (Its value may, in float64, for a weight above 1e154.)
    """
    if plan.at_once == 0 or not math.isfinite(loss):
        return ZERO
    h = delta = ZERO
    for thread in range(plan.threads):
        bits = at(plan.largest, SLOT * thread, ZERO)
        h, delta = max(h, bits[0]), max(delta, bits[1])
    largest_h = np.float64(from_bits(h, one))
    largest_h = 1.0 if largest_h < 1.0 else largest_h  # NaN compares false and stays
    bound = largest_h * np.float64(from_bits(delta, one)) * batch.rows * max(1.0, batch.scale)
    penalty = max(plan.l2, plan.l1) * (batch.scale if plan.as_scikit_learn else 1.0)
    return np.int64(bound < plan.bound and penalty <= 0.1)


@within
def _parts(plan, rows, training):
    """In how many parts of bfloat16 the operands of products are kept: none, 1 for products of bfloat16, 3 for float32's."""
    if training != 0 and plan.paired_product != 0:
        return ONE
    return np.int64(3) if plan.split_product != 0 and rows >= SPLIT_ROWS else ZERO


@inner
def _validate(plan, layers, batch, one):
    """This thread's panels of the validation rows, without dropout or penalty: losses and weights into `plan.sums`."""
    width = panel_width(one)
    low, high = share(plan.most_panels, batch.thread, plan.threads)  # panels of scratch that are this thread's
    if high == low:
        return
    validators = min(plan.threads, plan.most_panels)  # by the number of their panel, where each has one at most
    own = batch.thread if validators == plan.threads else low
    mine, others = share((plan.validation_rows + width - 1) // width, own, validators)
    batch.X, batch.Y, batch.weights = plan.validation_X, plan.validation_Y, plan.validation_weights
    batch.classes, batch.order, batch.stages, batch.together = plan.validation_classes, ZERO, FORWARD, ZERO
    batch.parts, batch.stop = _parts(plan, plan.validation_rows, ZERO), plan.validation_rows
    for v in range(mine, others, high - low):
        batch.first, batch.last = low, low + min(high - low, others - v)
        batch.start, batch.sums = (v - low) * width, plan.sums + 16 * (v - low)
        batch.rows = batch.stop - batch.start
        call_kernel(plan.do_gather, (plan, layers, batch, one))
        call_kernel(plan.do_forward, (plan, layers, batch, one))
        call_kernel(plan.do_losses, (plan, layers, batch, one))


@inner
def _close_epoch(plan, now, epoch, steps_per_epoch, rate, one):
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
def _end_epoch(plan, now, layers, batch, stages, epoch, steps_per_epoch, one):
    """Validate, write the epoch's row of history, note it: the stages that are asked for. All threads have met when it ends."""
    leader = batch.thread == 0
    if stages & EPOCHS and plan.validation_rows > 0:
        _validate(plan, layers, batch, one)
        meet(plan)
    if leader and stages & EPOCHS:
        _close_epoch(plan, now, epoch, steps_per_epoch, batch.rate, one)
    if leader and stages & NOTE and note_epoch(plan, now, now.monitored, epoch + 1, one):
        now.status = PATIENCE_SPENT
    meet(plan)


@within
def _take_rows(plan, batch, stages, step, steps_per_epoch, one):
    """The rows of a step, and what is asked of them, into this thread's record."""
    epoch = step // steps_per_epoch
    batch.stages, batch.step = stages, plan.earlier_steps + step
    batch.X, batch.Y, batch.weights, batch.classes, batch.sums = plan.X, plan.Y, plan.weights, plan.classes, plan.sums
    batch.order = plan.order + (epoch - plan.first_epoch) * plan.rows * 8 if plan.order else plan.order
    batch.start = (step - epoch * steps_per_epoch) * plan.batch_size
    batch.stop = min(batch.start + plan.batch_size, plan.rows)
    batch.rows = batch.stop - batch.start
    batch.panels = (batch.rows + panel_width(one) - 1) // panel_width(one)
    batch.first, batch.last = share(batch.panels, batch.thread, plan.threads)
    batch.together = batch.panels if plan.threads > 1 else ZERO
    batch.parts = _parts(plan, batch.rows, stages & UPDATE)
    batch.at_once = ZERO
    batch.rate = at(plan.rates, step - plan.first_step, 1.0)[0] if stages & (UPDATE | EPOCHS) else 0.0


@within
def _by_panels(plan, layers, batch, one):
    """What panels of the batch are shared out for: rows, forward, outputs, losses and δ, as far as the stages ask for them."""
    stages = batch.stages
    if plan.at_once != 0:
        for i in range(2):
            at(plan.largest, SLOT * batch.thread + i, ZERO)[0] = 0
    if stages & FORWARD:
        call_kernel(plan.do_gather, (plan, layers, batch, one))
        call_kernel(plan.do_forward, (plan, layers, batch, one))
    if stages & OUTPUT:
        scatter_rows(plan, layers[-1], batch, one)
    if stages & LOSS:
        call_kernel(plan.do_losses, (plan, layers, batch, one))
    if stages & BACKWARD:
        if plan.do_collect != 0:
            call_kernel(plan.do_collect, (plan, layers, batch, one))
        call_kernel(plan.do_backward, (plan, layers, batch, one))


@within
def _note_losses(plan, now, batch, leader):
    """The batch's loss without penalty, its Σ w, and the factor with which both count in the epoch; noted by the leader."""
    total, mass = _add_up(at(plan.sums, 0, 1.0), batch.panels)
    total *= plan.loss_scale
    loss = total / mass if mass > 0 else 0.0
    per_mass = batch.rows / mass if plan.as_scikit_learn and mass > 0 else 1.0
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
def _steps(plan, now, layers, batch, first, last, stages, one):
    """See `run`."""
    leader = batch.thread == 0
    steps_per_epoch = (plan.rows + plan.batch_size - 1) // plan.batch_size
    loss, mass, per_mass = now.loss, 0.0, 1.0
    batch.norm = now.gradient_norm
    if not meet(plan):
        return first
    if leader:
        now.status = RAN
    for step in range(first, last):
        _take_rows(plan, batch, stages, step, steps_per_epoch, one)
        _by_panels(plan, layers, batch, one)
        meet(plan)
        if stages & LOSS:
            loss, mass, per_mass = _note_losses(plan, now, batch, leader)
        if stages & BACKWARD:
            batch.scale = 1.0 / mass if mass > 0 else 0.0
            if stages & UPDATE:
                batch.at_once = _may_act_at_once(plan, batch, loss, one)
            call_kernel(plan.do_gradient, (plan, layers, batch, one))
            meet_at_the_end(plan, batch.thread)
            loss, batch.norm = _note_gradient(plan, now, loss, mass * per_mass, leader)
            if not (math.isfinite(loss) and batch.norm <= plan.most_norm):  # NaN compares false
                if leader:
                    now.status = DIVERGED
                return step
            if leader:
                now.norm_sum += batch.norm
        if stages & UPDATE and not batch.at_once:
            call_kernel(plan.do_update, (plan, layers, batch, one))
        if leader:
            now.step = step + 1
        meet(plan)
        if batch.stop == plan.rows and stages & (EPOCHS | NOTE):
            _end_epoch(plan, now, layers, batch, stages, step // steps_per_epoch, steps_per_epoch, one)
            if now.status == PATIENCE_SPENT:
                return step + 1
    return last


@entry
def run(plans, progress, layers, batches, first, last, stages, thread, one):
    """Run the `stages` of steps `first` to `last` (exclusive); return the number of the step that follows.

    Called by `plan.threads` threads at once, each with its number; thread 0 alone writes `progress`. Stops before a step whose
    loss or gradient is not finite, or the square of the gradient where the rule takes it: parameters and state are then those
    before that step. Steps are counted from the start of training; step s takes batch ``s % steps`` of epoch ``s // steps``.
    NOTE is a part of its own, so that a caller who scores epochs can set the monitored value in `progress` and note it
    afterwards.
    """
    mode, batch = float_mode(), batches[thread]
    set_float_mode(mode | FLUSH)
    batch.thread = thread
    reached = _steps(plans[0], progress[0], layers, batch, first, last, stages, one)
    set_float_mode(mode)
    return reached
