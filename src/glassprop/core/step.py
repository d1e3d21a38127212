"""The single compiled entry: steps i..j of training, or any part of one step, for every network of a precision.

A step: gather rows, forward, loss, backward, update. It is a pure function of parameters, optimizer state, rows and step
number; what is random is drawn outside or follows from (seed, step). `training` calls it with a long range, everything that
looks inside with a range of one. Nothing is allocated here.
"""

from __future__ import annotations

import math
import sys

import numpy as np

from glassprop.core.backward import backward, finish_gradient
from glassprop.core.forward import forward
from glassprop.core.jit import at, call_kernel, entry, inner, like, must_compile, panel_width
from glassprop.core.network import Network, aligned_zeros, panel_columns, round_up
from glassprop.core.panels import gather_rows, lay_out, new_scratch, scatter_rows
from glassprop.core.update import Optimizer

# Parts of a step, to be added together.
FORWARD, LOSS, BACKWARD, UPDATE, EPOCHS, NOTE, OUTPUT = 1, 2, 4, 8, 16, 32, 64
TRAIN = FORWARD | LOSS | BACKWARD | UPDATE | EPOCHS  # with NOTE where the core itself watches the loss
# Why a call ended before its last step.
RAN, DIVERGED, PATIENCE_SPENT = 0, 1, 2

#: What a run is, in one record. Arrays are addresses; those that may be absent are 0 then.
PLAN = np.dtype(
    [
        *((name, np.int64) for name in (
            "rows", "batch_size", "validation_rows", "validation_batch",
            "classes", "validation_classes",  # 1 where targets are (rows, 1) class numbers for several outputs
            "seed",  # of dropout
            "first_step",  # step of rates[0]
            "first_epoch",  # epoch of order[0] and history[0]
            "patience",  # epochs without improvement after which to stop; 0: never
            "loss", "rule",  # kernels
            "theta_size",
            "theta", "gradient",  # (theta_size,)
            "state",  # (2, theta_size)
            "best",  # (theta_size,): theta of the best epoch
            "scratch",
            "X", "Y", "weights",  # (rows, inputs), (rows, outputs or 1), (rows,) or absent
            "validation_X", "validation_Y", "validation_weights",
            "order",  # (epochs, rows) int64 row numbers, or absent: rows in their own order
            "rates",  # float64, learning rate of each step
            "constants", "loss_constants",  # float64, of the rule's and the loss's kernel
            "history",  # (epochs,) EPOCH
            "output",  # (rows, outputs) or absent
            "targets", "batch_weights", "losses", "zero",  # offsets in scratch, see panels.Layout
        )),
        *((name, np.float64) for name in (
            "keep", "share",  # label smoothing: y := keep y + share
            "l2", "l1", "weight_decay",
            "clip_norm",  # 0: no clipping
            "tolerance",  # by how much the monitored value must fall to count as improved
        )),
    ],
    align=True,
)  # fmt: skip

#: What a run has come to, in one record: with parameters and optimizer state, all that continuing needs.
PROGRESS = np.dtype(
    [
        ("step", np.int64),  # steps done
        ("status", np.int64),
        ("loss", np.float64),  # of the last batch, penalty included
        ("gradient_norm", np.float64),
        ("loss_sum", np.float64),  # of the epoch so far
        ("weight_sum", np.float64),
        ("norm_sum", np.float64),
        (
            "monitored",
            np.float64,
        ),  # value of the last epoch: validation loss, or loss where there is no validation, or minus the score
        ("best", np.float64),  # lowest so far
        ("best_epoch", np.int64),  # epochs done when it was reached
        ("stale", np.int64),  # epochs since it fell by more than the tolerance
    ],
    align=True,
)

#: One row of history per epoch, all float64.
EPOCH = np.dtype([(name, np.float64) for name in ("loss", "validation_loss", "learning_rate", "gradient_norm")])


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
        call_kernel(plan.loss, g, h, y, row_weights, delta, losses, top.units, at(plan.loss_constants, 0, 1.0))
        if top.dphi != 0:
            z = at(scratch, top.z + here, unit)
            call_kernel(top.dphi, z, delta, z, z, z, z, top.units * width, at(plan.constants, 0, 1.0))
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
        call_kernel(plan.rule, theta, gradient, first, second, theta, theta, layer.size, constants)


@inner
def _validation_loss(plan, layers, unit):
    """Weighted mean over validation rows of the row's loss, without dropout or penalty."""
    total, mass = 0.0, 0.0
    off = plan.validation_rows * 0  # a 0 that is not a literal, which would compile everything below once more
    for start in range(0, plan.validation_rows, plan.validation_batch):
        stop = min(start + plan.validation_batch, plan.validation_rows)
        panels = gather_rows(plan.validation_X, off, start, stop, plan.scratch, layers[0], unit)
        forward(plan.scratch, plan.theta, layers, plan.constants, panels, off, off, plan.seed, start, unit)
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
            forward(scratch, plan.theta, layers, plan.constants, panels, parts & BACKWARD, training, plan.seed, step, unit)
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
            backward(
                scratch,
                plan.theta,
                plan.gradient,
                layers,
                plan.constants,
                panels,
                rows,
                plan.zero,
                training,
                plan.seed,
                step,
                unit,
            )
            squares, penalty = finish_gradient(plan.theta, plan.gradient, layers, scale, plan.l2, plan.l1, unit)
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


# --- from Python ---------------------------------------------------------------------------------------------------------

_ready: set[np.dtype] = set()  # precisions whose machine code is there


class Workspace:
    """The memory of a run: arrays by name, and the records through which the compiled entry sees them.

    Parameters
    ----------
    network : Network
    theta : ndarray
        Flat parameters, float32 or float64, which decide the precision; updated in place.
    X : ndarray, (rows, inputs)
    Y : ndarray, (rows, outputs) or (rows, 1), optional
    weights : ndarray, (rows,), optional
        All as `arrays.py` prepares them, in the precision of `theta`.
    batch_size : int
    rows : int, optional
        How many rows an epoch's order names, where that is not all of X.
    optimizer : rule, optional
        None where nothing will be updated.
    validation : (X, Y, weights), optional
    seed : int
        Of dropout.
    order_epochs, steps, epochs : int
        Room for row orders (0: rows in their own order), learning rates and rows of history of one call.
    keep_best, keep_g, output : bool
        Room for the best parameters, for the pre-activations of all layers, for the outputs of all rows.
    """

    def __init__(
        self,
        network: Network,
        theta: np.ndarray,
        X: np.ndarray,
        Y: np.ndarray | None = None,
        weights: np.ndarray | None = None,
        *,
        batch_size: int,
        rows: int | None = None,
        optimizer: Optimizer | None = None,
        validation: tuple[np.ndarray, np.ndarray, np.ndarray | None] | None = None,
        seed: int = 0,
        order_epochs: int = 0,
        steps: int = 1,
        epochs: int = 1,
        keep_best: bool = False,
        keep_g: bool = False,
        output: bool = False,
    ) -> None:
        dtype, rows, outputs = theta.dtype, rows or len(X), network.layers[-1]
        batch_size = min(batch_size, rows)
        layout = lay_out(network, dtype, batch_size, keep_g)
        self.unit = dtype.type(1)
        self.layers, self.plan, self.progress = layout.layers, np.zeros(1, PLAN), np.zeros(1, PROGRESS)
        self.progress["best"] = math.inf
        held: tuple[np.ndarray | None, ...] = validation or (None, None, None)
        self.arrays: dict[str, np.ndarray | None] = {
            "theta": theta,
            "gradient": aligned_zeros(theta.size, dtype),
            "state": aligned_zeros((2, theta.size), dtype) if optimizer else None,
            "best": theta.copy() if keep_best else None,
            "scratch": new_scratch(layout, dtype),
            "X": X,
            "Y": Y,
            "weights": weights,
            "validation_X": held[0],
            "validation_Y": held[1],
            "validation_weights": held[2],
            "order": np.zeros((order_epochs, rows), np.int64) if order_epochs else None,
            "rates": np.zeros(steps),
            "constants": np.zeros(12),
            "loss_constants": np.array([network.loss.constant]),
            "history": np.zeros(epochs, EPOCH),
            "output": np.zeros((rows, outputs), dtype) if output else None,
        }
        by_class, smoothing = network.loss.targets == "distribution", network.loss.label_smoothing
        self.set(
            **{name: array for name, array in self.arrays.items() if array is not None},
            rows=rows,
            batch_size=batch_size,
            validation_batch=round_up(batch_size, panel_columns(dtype)),
            validation_rows=0 if held[0] is None else len(held[0]),
            classes=by_class and outputs > 1 and Y is not None and Y.shape[1] == 1,
            validation_classes=by_class and outputs > 1 and held[1] is not None and held[1].shape[1] == 1,
            seed=seed,
            loss=network.loss.kernel(network.output_activation, dtype),
            theta_size=theta.size,
            keep=1.0 - smoothing,
            share=smoothing / (outputs if by_class else 2),  # for a yes or no, half the smoothing each
            l2=network.l2,
            l1=network.l1,
            targets=layout.targets,
            batch_weights=layout.weights,
            losses=layout.losses,
            zero=layout.zero,
        )
        if optimizer:
            self._take(optimizer)

    def _take(self, optimizer: Optimizer) -> None:
        own = optimizer.constants()
        self["constants"][4 : 4 + own.size] = own
        self.set(
            rule=optimizer.kernel(self.unit.dtype), weight_decay=optimizer.weight_decay, clip_norm=optimizer.clip_norm or 0.0
        )
        for l, factor in enumerate(optimizer.layer_factors or (), start=1):
            self.layers[l]["rate_factor"] = factor

    def __getitem__(self, name: str) -> np.ndarray:
        array = self.arrays[name]
        assert array is not None, name
        return array

    def set(self, **values: float | np.ndarray) -> None:
        """Write into the plan; an array is kept, and its address written."""
        for name, value in values.items():
            if isinstance(value, np.ndarray):
                self.arrays[name] = value
                value = value.ctypes.data
            self.plan[name] = value

    def note(self, value: float, epochs_done: int) -> bool:
        """Judge an epoch by `value` (lower is better) in place of its loss; True when patience is spent."""
        self.progress["monitored"] = value
        spe = -(-int(self.plan["rows"][0]) // int(self.plan["batch_size"][0]))
        self.run(epochs_done * spe - 1, epochs_done * spe, NOTE)
        return bool(self.progress["status"][0] == PATIENCE_SPENT)

    def run(self, first: int, last: int, parts: int) -> int:
        """Call the compiled entry; see `run`. The first call on a machine says in one line that it compiles."""
        if self.unit.dtype not in _ready:
            _ready.add(self.unit.dtype)
            if must_compile(run, self.unit):
                print("glassprop: compiling for this machine, once; it takes a few seconds", file=sys.stderr, flush=True)
        return int(run(self.plan, self.progress, self.layers, first, last, parts, self.unit))
