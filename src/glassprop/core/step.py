"""The single compiled entry: steps i..j of training, or any part of one step, for every network of a precision.

A step: gather rows, forward, loss, backward, update. It is a pure function of parameters, optimizer state, rows and step
number; what is random is drawn outside or follows from (seed, step). `training` calls it with a long range, everything that
looks inside with a range of one. Nothing is allocated here.
"""

from __future__ import annotations

import math

import numpy as np

from glassprop.core.backward import backward, finish_gradient
from glassprop.core.forward import forward
from glassprop.core.jit import at, call_kernel, entry, inner, like, panel_width
from glassprop.core.panels import gather_rows, scatter_rows
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


@inner
def _gather_targets(plan, layers, Y, classes, weights, order, start, stop, panels, unit):
    """Targets of a batch into P, class numbers spread out and labels smoothed; row weights beside them. Returns Σ w."""
    top, width = layers[-1], panel_width(unit)
    row_weights, given = at(plan.scratch, plan.batch_weights, unit), at(weights, 0, unit)
    numbers = at(order, 0, start)
    keep, share = like(plan.keep, unit), like(plan.share, unit)
    total = 0.0
    for i in range(panels * width):
        panel = at(plan.scratch, plan.targets + (i // width) * top.padded * width + i % width, unit)
        if start + i < stop:
            row = numbers[start + i] if order else start + i
            if classes:
                for o in range(top.units):
                    panel[o * width] = share
                panel[np.int64(at(Y, row, unit)[0]) * width] += keep
            else:
                line = at(Y, row * top.units, unit)
                for o in range(top.units):
                    panel[o * width] = line[o] * keep + share
            row_weights[i] = given[row] if weights else unit
            total += np.float64(row_weights[i])
        else:
            row_weights[i] = 0
    return total


@inner
def _batch_loss(plan, layers, rows, panels, unit):
    """Σ over rows of w_r ℓ_r, with δ_L = w_r ∂ℓ_r/∂g_L left in scratch."""
    top, width, scratch = layers[-1], panel_width(unit), plan.scratch
    total = 0.0
    for panel in range(panels):
        here = panel * top.padded * width
        g, h, delta = at(scratch, top.g + here, unit), at(scratch, top.h + here, unit), at(scratch, top.delta + here, unit)
        y = at(scratch, plan.targets + here, unit)
        row_weights = at(scratch, plan.batch_weights + panel * width, unit)
        losses = at(scratch, plan.losses + panel * width, unit)
        call_kernel(plan.loss, (g, h, y, row_weights, delta, losses, top.units, at(plan.loss_constants, 0, 1.0)))
        if top.dphi != 0:
            call_kernel(top.dphi, (at(scratch, top.z + here, unit), delta, top.units * width))
        for r in range(min(width, rows - panel * width)):
            if row_weights[r] != 0:  # a row without weight is not there, whatever its loss
                total += np.float64(row_weights[r]) * np.float64(losses[r])
    return total


@inner
def _update(plan, layers, norm, rate, t, unit):
    """New parameters from the gradient: clip, decay, then the rule's kernel, layer by layer."""
    constants = at(plan.constants, 0, 1.0)
    constants[1] = 1.0 - constants[4] ** t
    constants[2] = 1.0 - constants[5] ** t
    constants[3] = t
    if plan.clip_norm > 0 and norm > plan.clip_norm:
        scale = like(plan.clip_norm / norm, unit)
        gradient = at(plan.gradient, 0, unit)
        for i in range(plan.theta_size):
            gradient[i] *= scale
    for l in range(1, layers.size):
        layer = layers[l]
        constants[0] = rate * layer.rate_factor
        theta = at(plan.theta, layer.W, unit)
        if plan.weight_decay > 0:
            keep = like(1.0 - constants[0] * plan.weight_decay, unit)
            for i in range(layer.units * layer.stride):
                theta[i] *= keep
        gradient = at(plan.gradient, layer.W, unit)
        first, second = at(plan.state, layer.W, unit), at(plan.state, plan.theta_size + layer.W, unit)
        call_kernel(plan.rule, (theta, gradient, first, second, layer.size, constants))


@inner
def _validation_loss(plan, layers, unit):
    """Weighted mean over validation rows of the row's loss, without dropout or penalty."""
    total, mass = 0.0, 0.0
    off = plan.validation_rows * 0  # a 0 that is not a literal, which would compile everything below once more
    for start in range(0, plan.validation_rows, plan.validation_batch):
        stop = min(start + plan.validation_batch, plan.validation_rows)
        panels = gather_rows(plan.validation_X, off, start, stop, plan.scratch, layers[0], unit)
        forward(plan, layers, panels, off, off, start, unit)
        mass += _gather_targets(
            plan, layers, plan.validation_Y, plan.validation_classes, plan.validation_weights, off, start, stop, panels, unit
        )
        total += _batch_loss(plan, layers, stop - start, panels, unit)
    return total / mass


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


@entry
def run(plans, progress, layers, first, last, parts, unit):
    """Run the `parts` of steps `first` to `last` (exclusive); return the number of the step that follows.

    Stops before a step whose loss or gradient is not finite: parameters and state are then those before that step. Steps are
    counted from the start of training; step s takes batch ``s % steps`` of epoch ``s // steps``. NOTE is a part of its
    own, so that a caller who scores epochs can set the monitored value in `progress` and note it afterwards.
    """
    plan, now = plans[0], progress[0]
    batch, scratch = plan.batch_size, plan.scratch
    steps_per_epoch = (plan.rows + batch - 1) // batch
    training = parts & UPDATE
    now.status = RAN
    mass = 0.0
    for step in range(first, last):
        epoch = step // steps_per_epoch
        start = (step - epoch * steps_per_epoch) * batch
        stop = min(start + batch, plan.rows)
        rows = stop - start
        panels = (rows + panel_width(unit) - 1) // panel_width(unit)
        order = plan.order + (epoch - plan.first_epoch) * plan.rows * 8 if plan.order else plan.order
        if parts & FORWARD:
            gather_rows(plan.X, order, start, stop, scratch, layers[0], unit)
            forward(plan, layers, panels, parts & BACKWARD, training, step, unit)
        if parts & OUTPUT:
            scatter_rows(scratch, layers[-1], start, stop, plan.output, unit)
        if parts & LOSS:
            mass = _gather_targets(plan, layers, plan.Y, plan.classes, plan.weights, order, start, stop, panels, unit)
            total = _batch_loss(plan, layers, rows, panels, unit)
            now.loss = total / mass if mass > 0 else 0.0
            now.loss_sum += total
            now.weight_sum += mass
        if parts & BACKWARD:
            scale = 1.0 / mass if mass > 0 else 0.0
            backward(plan, layers, panels, rows, training, step, unit)
            squares, penalty = finish_gradient(plan, layers, scale, unit)
            now.loss += penalty
            now.loss_sum += penalty * mass
            now.gradient_norm = math.sqrt(squares)
            if not (math.isfinite(now.loss) and math.isfinite(now.gradient_norm)):
                now.status = DIVERGED
                return step
            now.norm_sum += now.gradient_norm
        if parts & UPDATE:
            rate = at(plan.rates, step - plan.first_step, 1.0)[0]
            _update(plan, layers, now.gradient_norm, rate, step + 1, unit)
        now.step = step + 1
        if parts & EPOCHS and stop == plan.rows:
            row = at(plan.history, 4 * (epoch - plan.first_epoch), 1.0)
            row[0] = now.loss_sum / now.weight_sum
            row[1] = _validation_loss(plan, layers, unit) if plan.validation_rows > 0 else np.nan
            row[2] = at(plan.rates, step - plan.first_step, 1.0)[0]
            row[3] = now.norm_sum / steps_per_epoch
            now.loss_sum, now.weight_sum, now.norm_sum = 0.0, 0.0, 0.0
            now.monitored = row[1] if plan.validation_rows > 0 else row[0]
        if parts & NOTE and stop == plan.rows and note_epoch(plan, now, now.monitored, epoch + 1, unit):
            now.status = PATIENCE_SPENT
            return step + 1
    return last
