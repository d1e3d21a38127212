"""The single compiled entry: steps i..j of training, or any part of one step, for every network of a precision.

A step: gather rows, forward, loss, backward, update. It is a pure function of parameters, optimizer state, rows and step
number; what is random is drawn outside or follows from (seed, step). `training` calls it with a long range, everything that
looks inside with a range of one. Nothing is allocated here.
"""

from __future__ import annotations

import math

import numpy as np

from glassprop.core.jit import (
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
    TURN,
    UPDATE,
)  # fmt: skip
from glassprop.core.processor import FLUSH, float_mode, set_float_mode
from glassprop.core.threads import SLOT, meet, meet_at_the_end, share
from glassprop.core.vectors import fill_rest, from_bits


@within
def _gather_targets(plan, layers, Y, classes, weights, order, start, stop, first, last, sums, unit):
    """Targets of panels first..last into P, class numbers spread out and labels smoothed; row weights beside them.

    Leaves Σ w of panel p in ``sums[2 p + 1]``.
    """
    top, width = layers[-1], panel_width(unit)
    given, numbers = at(weights, 0, unit), at(order, 0, start * 0)
    keep, share_of_all = like(plan.keep, unit), like(plan.share, unit)
    for p in range(first, last):
        base, mass = start + p * width, 0.0
        count = min(width, stop - base)
        row_weights = at(plan.scratch, plan.batch_weights + p * width, unit)
        fill_rest(unit, row_weights, 0)
        fill_rest(like(0, unit), row_weights, count)
        panel = at(plan.scratch, plan.targets + p * top.padded * width, unit)
        own_class = at(plan.scratch, plan.losses + p * width, unit)  # of each row, until its loss is known
        for i in range(count):
            row = numbers[base + i] if order else base + i
            if classes:
                own_class[i] = at(Y, row, unit)[0]
            else:
                line = at(Y, row * top.units, unit)
                place = i
                for o in range(top.units):
                    panel[place] = line[o] * keep + share_of_all
                    place = hidden(place + width)  # vectors would be scattered, which takes five times as long
            if weights:
                row_weights[i] = given[row]
                mass += np.float64(row_weights[i])
        for o in range(top.units if classes else 0):
            for i in range(hidden(width)):
                panel[o * width + i] = share_of_all + (keep if own_class[i] == like(o, unit) else like(0, unit))
        sums[2 * p + 1] = mass if weights else np.float64(count)


@inner_sum
def _weighted_sum(losses, weights, n):
    """Σ w ℓ in float64. A row without weight is not there, whatever its loss."""
    total = 0.0
    for r in range(n):
        total += np.float64(weights[r]) * np.float64(losses[r]) if weights[r] != 0 else 0.0
    return total


@within
def _panel_losses(plan, layers, first, last, sums, thread, unit):
    """Σ over rows of w_r ℓ_r of panel p into ``sums[2 p]``, with δ_L = w_r ∂ℓ_r/∂g_L left in scratch."""
    top, width, scratch = layers[-1], panel_width(unit), plan.scratch
    for panel in range(first, last):
        here = panel * top.padded * width
        g, h, delta = at(scratch, top.g + here, unit), at(scratch, top.h + here, unit), at(scratch, top.delta + here, unit)
        y = at(scratch, plan.targets + here, unit)
        row_weights = at(scratch, plan.batch_weights + panel * width, unit)
        losses = at(scratch, plan.losses + panel * width, unit)
        call_kernel(plan.loss, (g, h, y, row_weights, delta, losses, top.units, at(plan.loss_constants, 0, 1.0)))
        if top.dphi != 0:
            call_kernel(top.dphi, (at(scratch, top.z + here, unit), delta, top.units * width))
        note_largest(plan, delta, top.units * width, thread, 1)
        sums[2 * panel] = _weighted_sum(losses, row_weights, width)


def batch_losses(plan, layers, Y, classes, weights, order, start, stop, first, last, sums, thread, unit):
    """Losses, weights and δ_L of panels first..last of the batch in rows start..stop, from what the forward pass has left."""
    _gather_targets(plan, layers, Y, classes, weights, order, start, stop, first, last, sums, unit)
    _panel_losses(plan, layers, first, last, sums, thread, unit)


@within
def _add_up(sums, pairs):
    """Both sums over `pairs` pairs of partial sums, in their order, whichever threads they come from."""
    one, other = 0.0, 0.0
    for i in range(pairs):
        one += sums[2 * i]
        other += sums[2 * i + 1]
    return one, other


@within
def _may_act_at_once(plan, loss, rows, scale, unit):
    """1 where no gradient of the batch can overflow, before or after it is scaled: the rule need not see all of it first.

    No sum over rows exceeds their number times the largest |h|, or the 1 that stands for it in db, times the largest |δ|. A
    penalty of at most a tenth of a finite weight does not overflow. (Its value may, in float64, for a weight above 1e154.)
    """
    if plan.at_once == 0 or not math.isfinite(loss):
        return rows * 0
    h = delta = rows * 0
    for thread in range(plan.threads):
        bits = at(plan.largest, SLOT * thread, rows)
        h, delta = max(h, bits[0]), max(delta, bits[1])
    largest_h = np.float64(from_bits(h, unit))
    largest_h = 1.0 if largest_h < 1.0 else largest_h  # NaN compares false and stays
    bound = largest_h * np.float64(from_bits(delta, unit)) * rows * max(1.0, scale)
    penalty = max(plan.l2, plan.l1) * (scale if plan.as_scikit_learn else 1.0)
    return np.int64(bound < plan.bound and penalty <= 0.1)


@within
def _operands(plan, rows, training):
    """In how many parts of bfloat16 the operands of products are kept: none, 1 for products of bfloat16, 3 for float32's."""
    if training != 0 and plan.paired_product != 0:
        return rows * 0 + 1
    return rows * 0 + (3 if plan.split_product != 0 and rows >= SPLIT_ROWS else 0)


@inner
def _validate(plan, layers, sums, thread, unit):
    """This thread's panels of the validation rows, without dropout or penalty: losses and weights into `sums`."""
    width = panel_width(unit)
    off = plan.validation_rows * 0
    operands = _operands(plan, plan.validation_rows, off)
    low, high = share(plan.most_panels, thread, plan.threads)  # panels of scratch that are this thread's
    if high == low:
        return
    validators = min(plan.threads, plan.most_panels)  # by the number of their panel, where each has one at most
    mine, others = share((plan.validation_rows + width - 1) // width, thread if validators == plan.threads else low, validators)
    for v in range(mine, others, high - low):
        last = low + min(high - low, others - v)
        start, stop = (v - low) * width, plan.validation_rows
        here = shift(sums, 2 * (v - low))
        call_kernel(plan.do_gather, (plan, plan.validation_X, off, start, stop, layers, low, last, off, operands, thread, unit))
        call_kernel(plan.do_forward, (plan, layers, low, last, off, stop - start, off, off, operands, start, thread, unit))
        Y, classes, weights = plan.validation_Y, plan.validation_classes, plan.validation_weights
        call_kernel(plan.do_losses, (plan, layers, Y, classes, weights, off, start, stop, low, last, here, thread, unit))


@inner
def _close_epoch(plan, now, layers, epoch, steps_per_epoch, rate, unit):
    """The epoch's row of history, from what has been summed up, and the value by which it is judged."""
    row = at(plan.history, 4 * (epoch - plan.first_epoch), 1.0)
    row[0] = now.loss_sum / now.weight_sum
    row[1] = np.nan
    if plan.validation_rows > 0:
        width = panel_width(unit)
        total, mass = _add_up(at(plan.sums, 0, 1.0), (plan.validation_rows + width - 1) // width)
        row[1] = plan.loss_scale * total / mass
    row[2] = rate
    row[3] = now.norm_sum / steps_per_epoch
    now.loss_sum, now.weight_sum, now.norm_sum = 0.0, 0.0, 0.0
    now.monitored = row[1] if plan.validation_rows > 0 else row[0]


@inner
def note_epoch(plan, now, value, epochs_done, unit):
    """Keep the parameters where `value` is the lowest so far; 1 when patience is spent."""
    now.stale = 0 if value < now.best - plan.tolerance else now.stale + 1
    if value < now.best:
        now.best = value
        now.best_epoch = epochs_done
        theta, best = at(plan.theta, 0, unit), at(plan.best, 0, unit)
        for i in range(plan.theta_size):
            best[i] = theta[i]
    return 1 if plan.patience > 0 and now.stale >= plan.patience else 0


@inner
def _end_epoch(plan, now, layers, epoch, steps_per_epoch, rate, parts, thread, unit):
    """Validate, write the epoch's row of history, note it: the parts that are asked for. All threads have met when it ends."""
    leader = thread == 0
    if parts & EPOCHS and plan.validation_rows > 0:
        _validate(plan, layers, at(plan.sums, 0, 1.0), thread, unit)
        meet(plan)
    if leader and parts & EPOCHS:
        _close_epoch(plan, now, layers, epoch, steps_per_epoch, rate, unit)
    if leader and parts & NOTE and note_epoch(plan, now, now.monitored, epoch + 1, unit):
        now.status = PATIENCE_SPENT
    meet(plan)


@within
def _by_panels(plan, layers, order, start, stop, parts, operands, t, thread, unit):
    """What panels of the batch are shared out for: rows, forward, outputs, losses and δ, as far as the parts ask for them."""
    width, training = panel_width(unit), parts & UPDATE
    panels = (stop - start + width - 1) // width
    low, high = share(panels, thread, plan.threads)
    together = panels if plan.threads > 1 else panels * 0
    if plan.at_once != 0:
        for i in range(2):
            at(plan.largest, SLOT * thread + i, start)[0] = 0
    if parts & FORWARD:
        wanted, slopes = parts & BACKWARD, parts & (LOSS | BACKWARD)
        call_kernel(plan.do_gather, (plan, plan.X, order, start, stop, layers, low, high, wanted, operands, thread, unit))
        call_kernel(
            plan.do_forward, (plan, layers, low, high, together, stop - start, slopes, training, operands, t, thread, unit)
        )
    if parts & OUTPUT:
        scatter_rows(plan.scratch, layers[-1], start, stop, plan.output, low, high, unit)
    if parts & LOSS:
        Y, classes, weights, sums = plan.Y, plan.classes, plan.weights, at(plan.sums, 0, 1.0)
        call_kernel(plan.do_losses, (plan, layers, Y, classes, weights, order, start, stop, low, high, sums, thread, unit))
    if parts & BACKWARD:
        if plan.do_collect != 0:
            call_kernel(plan.do_collect, (plan, layers, order, start, stop, thread, unit))
        call_kernel(plan.do_backward, (plan, layers, low, high, together, stop - start, training, operands, t, thread, unit))


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
def _steps(plan, now, layers, first, last, parts, thread, unit):
    """See `run`."""
    batch, leader, width, training = plan.batch_size, thread == 0, panel_width(unit), parts & UPDATE
    steps_per_epoch = (plan.rows + batch - 1) // batch
    loss, norm, mass, per_mass = now.loss, now.gradient_norm, 0.0, 1.0
    if not meet(plan):
        return first
    if leader:
        now.status = RAN
    if parts & TURN:
        call_kernel(plan.do_turn, (plan, layers, thread, unit))
        meet(plan)
    for step in range(first, last):
        epoch = step // steps_per_epoch
        start = (step - epoch * steps_per_epoch) * batch
        stop = min(start + batch, plan.rows)
        rows, panels = stop - start, (stop - start + width - 1) // width
        operands = _operands(plan, rows, training)
        order = plan.order + (epoch - plan.first_epoch) * plan.rows * 8 if plan.order else plan.order
        t = plan.earlier_steps + step  # what the rule and dropout go by
        _by_panels(plan, layers, order, start, stop, parts, operands, t, thread, unit)
        meet(plan)
        if parts & LOSS:
            loss, mass, per_mass = _note_losses(plan, now, rows, panels, leader)
        rate = at(plan.rates, step - plan.first_step, 1.0)[0] if training or parts & EPOCHS else 0.0
        at_once = start * 0
        if parts & BACKWARD:
            scale = 1.0 / mass if mass > 0 else 0.0
            if training:
                at_once = _may_act_at_once(plan, loss, rows, scale, unit)
            sums = at(plan.sums, 2 * plan.most_panels, 1.0)
            call_kernel(
                plan.do_gradient, (plan, layers, panels, rows, scale, sums, operands, at_once, rate, t + 1, thread, unit)
            )
            meet_at_the_end(plan, thread)
            loss, norm = _note_gradient(plan, now, loss, mass * per_mass, leader)
            if not (math.isfinite(loss) and math.isfinite(norm)):
                if leader:
                    now.status = DIVERGED
                return step
            if leader:
                now.norm_sum += norm
        if training and not at_once:
            call_kernel(plan.do_update, (plan, layers, norm, rate, t + 1, thread, unit))
        if leader:
            now.step = step + 1
        meet(plan)
        if stop == plan.rows and parts & (EPOCHS | NOTE):
            _end_epoch(plan, now, layers, epoch, steps_per_epoch, rate, parts, thread, unit)
            if now.status == PATIENCE_SPENT:
                return step + 1
    return last


@entry
def run(plans, progress, layers, first, last, parts, thread, unit):
    """Run the `parts` of steps `first` to `last` (exclusive); return the number of the step that follows.

    Called by `plan.threads` threads at once, each with its number; thread 0 alone writes `progress`. Stops before a step whose
    loss or gradient is not finite: parameters and state are then those before that step. Steps are counted from the start of
    training; step s takes batch ``s % steps`` of epoch ``s // steps``. NOTE is a part of its own, so that a caller who scores
    epochs can set the monitored value in `progress` and note it afterwards.
    """
    mode = float_mode()
    set_float_mode(mode | FLUSH)
    reached = _steps(plans[0], progress[0], layers, first, last, parts, thread, unit)
    set_float_mode(mode)
    return reached
