"""The calls of the core that take a run forward.

It decides when the core runs and for how long: about five calls a second whatever the size of the network, and one at every
epoch's end only where a callback or a score needs Python. It holds no formulas.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from glassprop.core.network import Network, Parameters
from glassprop.core.panels import read_panels
from glassprop.core.plan import DIVERGED, EPOCH, NOTE, PATIENCE_SPENT, TRAIN
from glassprop.core.schedules import learning_rates
from glassprop.core.update import Optimizer
from glassprop.core.workspace import Workspace
from glassprop.training.data import RowOrder
from glassprop.training.progress import Line, ProgressLine, loss_label
from glassprop.training.record import Recorder
from glassprop.training.scoring import make_scorer

if TYPE_CHECKING:
    from glassprop.training.run import Run

SECONDS_PER_CALL = 0.2
ORDER_ENTRIES = 2_000_000  # row numbers drawn ahead for one call, at most (or one epoch's)

HISTORY = np.dtype(
    [
        ("epoch", np.int64),
        *((name, np.float64) for name in ("loss", "validation_loss", "score", "learning_rate", "gradient_norm", "seconds")),
    ]
)


@dataclass(frozen=True)
class Epoch:
    """What a callback is told at an epoch's end: the epoch's row of history, and a copy of the parameters."""

    epoch: int
    loss: float
    validation_loss: float
    score: float
    learning_rate: float
    gradient_norm: float
    seconds: float
    parameters: Parameters


Callback = Callable[[Epoch], Any]


@dataclass(frozen=True)
class Settings:
    """What a run was asked for, all of which continuing needs again."""

    network: Network
    optimizer: Optimizer
    batch_size: int
    seed: int
    shuffle: bool
    patience: int
    tolerance: float
    scoring: Any
    restore_best: bool
    callbacks: tuple[Callback, ...]
    progress: bool
    threads: int | None
    precision: str | None
    record: str | None = None  # folder


@dataclass(frozen=True)
class Company:
    """What runs trained side by side have in common; a run alone is in a company of its own."""

    threads: int | None  # of each run
    stop: threading.Event = field(
        default_factory=threading.Event
    )  # set: end as Ctrl-C does, after the present call of the core
    lock: Any = field(default_factory=threading.Lock)  # held while the caller's own functions run, and what compiles


class Pace:
    """How far a call of the core goes: about a fifth of a second, in whole epochs where it holds any, by the speed so far."""

    def __init__(self, batch_size: int, n_parameters: int) -> None:
        self.steps_per_second = 3e10 / (6 * batch_size * n_parameters + 3e4)  # a low guess, until it is measured

    def last(self, step: int, steps_per_epoch: int, most_epochs: int) -> int:
        """The step before which a call that begins at `step` ends."""
        epoch, within = divmod(step, steps_per_epoch)
        wanted = max(1, int(self.steps_per_second * SECONDS_PER_CALL))
        whole = min(wanted // steps_per_epoch, most_epochs)
        if within == 0 and whole:
            return (epoch + whole) * steps_per_epoch
        return min(step + wanted, (epoch + 1) * steps_per_epoch)

    def measured(self, steps: int, seconds: float) -> None:
        """Learn from a call."""
        self.steps_per_second = min((steps + 1) / seconds, 8 * self.steps_per_second)


class Loop:
    """The calls of the core that take a run forward."""

    def __init__(self, run: Run, epochs: int, company: Company | None = None) -> None:
        self.run, self.epochs, settings, data = run, epochs, run._settings, run._data
        self.company = company or Company(settings.threads)
        self.steps_per_epoch = -(-data.rows // settings.batch_size)
        self.order = RowOrder(data, settings.seed, settings.shuffle)
        # without Python in between, one call may hold several epochs
        self.every_epoch = bool(settings.callbacks) or settings.scoring is not None
        room = 1 if self.every_epoch else max(1, min(ORDER_ENTRIES // data.rows, epochs - run.epochs))
        self.work = Workspace(
            settings.network, run._theta, data.X, data.Y, data.weights,
            rows=data.rows, batch_size=settings.batch_size, optimizer=settings.optimizer, validation=data.validation,
            seed=settings.seed, order_epochs=room if self.order.needed else 0, steps=room * self.steps_per_epoch, epochs=room,
            keep_best=True, threads=self.company.threads, paired=settings.precision == "bf16", at_once=True,
        )  # fmt: skip
        self.work.set(patience=settings.patience, tolerance=settings.tolerance)
        self.room, self.ordered = room, -1
        self.score = None
        if settings.scoring is not None:
            assert data.validation is not None
            self.score = make_scorer(
                settings.scoring, settings.network, *data.validation[:2], self.company.lock, self.company.threads
            )
        if run._checkpoint:
            for name in ("state", "best"):
                self.work[name][...] = run._checkpoint[name]
            self.work.progress[:] = run._checkpoint["progress"]
            if self.work.progress["status"][0] == PATIENCE_SPENT:
                self.work.progress["stale"] = 0
        self.step = int(self.work.progress["step"][0])
        self.seconds = 0.0  # of the epoch that has begun
        self.pace = Pace(settings.batch_size, settings.network.n_parameters)
        self.recorder = Recorder(run, self.work) if settings.record else None

    def advance(self, line: Line | None = None) -> None:
        """Train until all epochs are done, or something stops it; leave the run finished."""
        run, epochs = self.run, self.epochs
        line = line or ProgressLine(run._settings.progress, run.epochs, epochs)
        run.stopped, run.interrupted = f"{epochs} epochs done", False
        try:
            stop = self._epoch_end() if self.every_epoch and run.epochs > run._judged else ""
            while self.step < epochs * self.steps_per_epoch and not stop:
                if self.company.stop.is_set():
                    raise KeyboardInterrupt
                stop = self._call()
                row = run.history[-1] if run.epochs else None
                what = loss_label(run.network)
                numbers = {} if row is None else {what: row.loss, "validation": row.validation_loss, "score": row.score}
                line.show(self.step / self.steps_per_epoch, epochs, **numbers)
            run.stopped = stop or run.stopped
        except KeyboardInterrupt:
            run.interrupted = True
            self._collect(0.0)
            learned = f"interrupted in epoch {run.epochs + 1}; what was learned is kept"
            run.stopped = learned if self.step else "interrupted before the first step"
        finally:
            line.close()
            self._finish()

    def _call(self) -> str:
        """One call of the core; why training is over, or an empty text."""
        begun, per = time.perf_counter(), self.steps_per_epoch
        epoch = self.step // per
        last = self.pace.last(self.step, per, min(self.room, self.epochs - epoch))
        self._prepare(epoch, -(-last // per), last)
        parts = TRAIN | (0 if self.score else NOTE)
        reached = self.work.run(self.step, last, parts)
        seconds = time.perf_counter() - begun
        self.pace.measured(reached - self.step, seconds)
        first, self.step = self.step, reached
        self._collect(seconds, first)
        if self.recorder:
            self.recorder.note()
        status = int(self.work.progress["status"][0])
        if status == DIVERGED:
            return self._diverged()
        if reached % per == 0 and self.every_epoch and reached > first:
            return self._epoch_end()
        return self._patience_text() if status == PATIENCE_SPENT else ""

    def _prepare(self, epoch: int, until_epoch: int, last: int) -> None:
        """Hand in the row orders and learning rates of the next call."""
        if self.order.needed and not (self.step % self.steps_per_epoch and self.ordered == epoch):
            self.order.write(epoch, self.work["order"][: until_epoch - epoch])
        self.ordered = epoch
        rates = learning_rates(self.run.optimizer.learning_rate, self.step, last)
        self.work["rates"][: rates.size] = rates
        self.work.set(first_step=self.step, first_epoch=epoch)

    def _collect(self, seconds: float, first: int | None = None) -> None:
        """Take the epochs that the core has finished into history; time is shared out by steps."""
        run, per = self.run, self.steps_per_epoch
        reached = int(self.work.progress["step"][0])
        self.step = reached
        done, had = reached // per, run.epochs
        each = seconds / max(reached - (reached if first is None else first), 1)
        if done == had:
            self.seconds += seconds
            return
        rows: Any = np.recarray(done - had, HISTORY)
        source = self.work["history"][had - int(self.work.plan["first_epoch"][0]) :][: done - had]
        for name in EPOCH.names or ():
            rows[name] = source[name]
        rows.epoch = np.arange(had + 1, done + 1)
        rows.score = np.nan
        rows.seconds = each * per
        begun = reached if first is None else first
        rows["seconds"][0] = self.seconds + each * ((had + 1) * per - begun)
        self.seconds = each * (reached - done * per)
        run.history = np.concatenate([run.history, rows]).view(np.recarray)

    def _epoch_end(self) -> str:
        """Score the epoch, tell the callbacks; why training is over, or an empty text."""
        run, row = self.run, self.run.history[-1]
        spent = self.work.progress["status"][0] == PATIENCE_SPENT
        if self.score and np.isnan(row.score):  # else Ctrl-C came after it
            score = self.score(run.parameters)
            spent = self.work.note(-score, run.epochs)
            row.score = score
        for callback in run._settings.callbacks:
            event = Epoch(**{name: row[name].item() for name in HISTORY.names or ()}, parameters=run.parameters.copy())
            with self.company.lock:
                answer = callback(event)
            if isinstance(answer, (bool, np.bool_)) and answer:
                run._judged = run.epochs
                return f"stopped by a callback after epoch {run.epochs}"
        run._judged = run.epochs
        return self._patience_text() if spent else ""

    def _patience_text(self) -> str:
        patience, best = self.run._settings.patience, int(self.work.progress["best_epoch"][0])
        what = "score" if self.score else "validation loss" if self.run._data.validation else "loss"
        enough = f" by more than {tolerance:g}" if (tolerance := self.run._settings.tolerance) else ""
        return f"the {what} did not improve{enough} for {patience} epochs; the best was epoch {best}"

    def _diverged(self) -> str:
        """Say at which step and in which layer numbers ceased to be finite."""
        self.run.diverged = True
        epoch = self.step // self.steps_per_epoch + 1
        return (
            f"diverged at step {self.step} (epoch {epoch}): {self._not_finite()} ceased to be finite; "
            "the best parameters so far are kept; try a lower learning rate, clip_norm, or standardised inputs"
        )

    def _not_finite(self) -> str:
        """What was not finite first in the step that the core has refused, in words."""
        work, settings = self.work, self.run._settings
        first = self.step % self.steps_per_epoch * settings.batch_size
        rows = min(settings.batch_size, self.run._data.rows - first)
        for l, layer in enumerate(work.layers[1:], start=1):
            if not np.isfinite(read_panels(work["scratch"], int(layer["h"]), int(layer["units"]), rows)).all():
                return f"the activations of layer {l}"
        if not np.isfinite(work.progress["loss"][0]):
            return f"the loss, from the outputs of layer {len(work.layers) - 1},"
        blocks = [work["gradient"][int(b["W"]) : int(b["W"] + b["size"])] for b in work.layers[1:]]
        for l in range(len(blocks), 0, -1):  # as the error terms travel
            if not np.isfinite(blocks[l - 1]).all():
                return f"the gradient of layer {l}"
        largest = 1 + int(np.argmax([np.abs(block).max() for block in blocks]))
        what = "square" if np.isfinite(work.progress["gradient_norm"][0]) else "norm"
        return f"the {what} of the gradient, which is largest in layer {largest},"

    def _finish(self) -> None:
        """Leave in the run its parameters, and all that continuing needs."""
        run, work = self.run, self.work
        if not self.every_epoch:
            run._judged = run.epochs
        run._theta = work["theta"]
        run._checkpoint = {"state": work["state"], "best": work["best"], "progress": work.progress}
        use_best = run.diverged or (run._data.validation is not None and run._settings.restore_best and run.best_epoch > 0)
        theta = work["best"] if use_best else work["theta"]
        run.parameters = run.parameters.with_theta(theta.copy())
        if self.recorder:
            self.recorder.finish()
