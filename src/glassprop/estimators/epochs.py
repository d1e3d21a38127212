"""scikit-learn's loop over epochs, on the compiled core.

It decides when to stop, as scikit-learn does, and holds no formulas. A call of the core never goes beyond the first epoch after
which training could stop, so that nothing is undone and no random number drawn too many.
"""

from __future__ import annotations

import time
import warnings
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from glassprop.core.network import Network, Parameters
from glassprop.core.passes import IDLE_BYTES
from glassprop.core.plan import DIVERGED, EPOCH, TRAIN
from glassprop.core.schedules import learning_rates
from glassprop.core.sparse import SparseTable
from glassprop.core.update import Optimizer
from glassprop.core.workspace import Workspace
from glassprop.estimators.callbacks import Listeners
from glassprop.estimators.draws import RowOrders
from glassprop.estimators.judge import Judge
from glassprop.estimators.memory import Memory
from glassprop.estimators.settings import changes_by_epoch, most_threads, schedule, update_rule
from glassprop.estimators.sparse import core_table
from glassprop.training.data import Data
from glassprop.training.loop import ORDER_ENTRIES, Epoch, Pace

LOWEST_ADAPTIVE_RATE = 1e-6
PARTIAL_FIT = "partial_fit"  # whose workspace a network keeps


class EpochLoop:
    """The calls of the core that take an estimator through its epochs.

    Parameters
    ----------
    model : estimator
        Its fitted attributes are kept up to date at every epoch's end.
    network : Network
    data : Data
    parameters : Parameters
        Where to start; trained in place.
    memory : Memory
        Brought up to date in the end.
    orders : RowOrders
    judge : Judge, optional
        The score by which to stop; None stops by the training loss.
    listeners : Listeners, optional
        Told of every epoch; None is a `partial_fit`, whose single epoch is no end.
    """

    def __init__(
        self, model: Any, network: Network, data: Data, parameters: Parameters, memory: Memory, orders: RowOrders,
        judge: Judge | None, listeners: Listeners | None,
    ) -> None:  # fmt: skip
        self.model, self.data, self.parameters, self.memory = model, data, parameters, memory
        self.orders, self.judge, self.listeners = orders, judge, listeners
        rows, batch_size = data.rows, batch_rows(model.batch_size, data.rows)
        self.per = -(-rows // batch_size)  # steps in an epoch
        one = listeners is None or listeners or judge
        most = 1 if one else min(model.max_iter, model.n_iter_no_change + 1)
        self.room = int(max(1, min(most, ORDER_ENTRIES // rows)))
        self.by = memory.by
        rule = update_rule(self.by)
        self.schedule, self.changes = schedule(self.by, rule), changes_by_epoch(self.by)
        self.work = self._workspace(network, rule, batch_size)
        self.work.set(state=memory.state, earlier_steps=memory.steps, seed=memory.seed)
        self.pace = Pace(batch_size, network.n_parameters)
        self.step, self.stopped, self.begun = 0, False, time.perf_counter()
        self.warning: Warning | None = None

    def _workspace(self, network: Network, rule: Optimizer, batch_size: int) -> Workspace:
        """That of the `partial_fit` before, if this is one of the same kind, or a new one."""
        model, data, theta, order = self.model, self.data, self.parameters.theta, self.room if self.orders.needed else 0
        threads = most_threads(model.n_jobs)
        X, held, self.idle = core_table(data.X, theta.dtype), data.validation, network.idle.setdefault((PARTIAL_FIT,), [])
        self.kind = rule, data.rows, batch_size, theta.dtype, threads, order, data.Y.shape, data.weights is None
        if self.listeners is None:
            while self.idle:
                kind, work = self.idle.pop()
                if kind == self.kind and work.holds(X):
                    work.begin_anew(theta, X, data.Y, data.weights)
                    return work
        validation = None if held is None else (core_table(held[0], theta.dtype, isinstance(X, SparseTable)), *held[1:])
        return Workspace(
            network, theta, X, data.Y, data.weights,
            rows=data.rows, batch_size=batch_size, optimizer=rule, validation=validation,
            order_epochs=order, steps=self.room * self.per, epochs=self.room,
            threads=threads, as_scikit_learn=True, at_once=True,
        )  # fmt: skip

    def _keep_workspace(self) -> None:
        """For the next `partial_fit`: to make one takes longer than a step of a small network."""
        if self.work["scratch"].nbytes <= IDLE_BYTES:
            self.work.let_go()
            self.idle.append((self.kind, self.work))

    def run(self, epochs: int) -> Warning | None:
        """Train for so many epochs, or until something stops it; Ctrl-C keeps what was learned. What to warn of afterwards."""
        model = self.model
        model.n_iter_ = 0
        try:
            while model.n_iter_ < epochs and not self.stopped:
                self._call(epochs - model.n_iter_)
            if not self.stopped and self.listeners is not None:
                self.warning = ConvergenceWarning(
                    f"Stochastic Optimizer: Maximum iterations ({epochs:d}) reached and the optimization hasn't converged yet."
                )
        except KeyboardInterrupt:
            self._collect()
            self.warning = UserWarning("Training interrupted by user.")
        self.memory.steps += self.step
        if model.warm_start:
            self.memory.order = self.orders.order
        if self.listeners is None:
            self._keep_workspace()
        return self.warning

    def _call(self, epochs: int) -> None:
        """One call of the core, over at most so many epochs."""
        begun, per, model = time.perf_counter(), self.per, self.model
        epoch, within = divmod(self.step, per)
        patience = model.n_iter_no_change + 1 - model._no_improvement_count
        last = self.pace.last(self.step, per, int(max(1, min(self.room, epochs, patience))))
        if not within:
            if self.listeners:
                self.listeners.begin_epoch()
            if self.orders.needed:
                for e in range(epoch, -(-last // per)):
                    self.orders.write(self.work["order"][e - epoch])
        self.work["rates"][: last - self.step] = self._rates(epoch, last)
        self.work.set(first_step=self.step, first_epoch=epoch)
        first = self.step
        self.work.run(first, last, TRAIN)
        seconds = time.perf_counter() - begun
        self._collect()
        self.pace.measured(self.step - first, seconds)
        if self.work.progress["status"][0] == DIVERGED:
            self._diverged()

    def _rates(self, epoch: int, last: int) -> np.ndarray:
        """Learning rates of the steps up to `last`; an epoch that begins within the call has that of its own time."""
        done = self.memory.steps
        if self.schedule is not None:
            return learning_rates(self.schedule, done + self.step, done + last)
        rates = np.full(last - self.step, self.memory.learning_rate)
        if self.changes == "invscaling":
            for e in range(epoch + 1, -(-last // self.per)):
                seen = self.model.t_ + (e - epoch) * self.data.rows
                rates[e * self.per - self.step : (e + 1) * self.per - self.step] = self._inverse_scaling(seen)
        return rates

    def _inverse_scaling(self, rows_seen: int) -> float:
        return float(self.by.learning_rate_init) / (rows_seen + 1) ** self.by.power_t

    def _collect(self) -> None:
        """Note the step that the core has reached, even where Ctrl-C ended its call, and close the epochs that are done."""
        self.step = int(self.work.progress["step"][0])
        while self.model.n_iter_ < self.step // self.per:
            row = self.work["history"][self.model.n_iter_ - int(self.work.plan["first_epoch"][0])]
            self._close(row, self.judge() if self.judge else None)

    def _close(self, row: Any, score: float | None) -> None:
        """The bookkeeping at an epoch's end."""
        model = self.model
        model.n_iter_ += 1
        model.t_ += self.data.rows
        model.loss_ = float(row["loss"])
        model.loss_curve_.append(model.loss_)
        if self.data.validation:
            model.validation_loss_curve_.append(float(row["validation_loss"]))
        if model.verbose:
            print(f"Iteration {model.n_iter_}, loss = {model.loss_:.8f}")
        self._note(score)
        if self.changes == "invscaling":
            self.memory.learning_rate = self._inverse_scaling(model.t_)
        if model._no_improvement_count > model.n_iter_no_change:
            self._patience_spent()
        if self.listeners:
            if not self.judge:
                model._show(self.parameters)  # for whoever looks at the estimator meanwhile; those judged best are there
            self.stopped |= self.listeners.end_epoch(self._record(row), self.parameters)

    def _note(self, score: float | None) -> None:
        """Judge the epoch by its score or else by its loss, and count those in a row that were no better."""
        model = self.model
        if score is None:
            worse = model.loss_ > model.best_loss_ - model.tol
            model.best_loss_ = min(model.best_loss_, model.loss_)
        else:
            model.validation_scores_.append(score)
            if model.verbose:
                print(f"Validation score: {score:f}")
            worse = score < model.best_validation_score_ + model.tol
            if score > model.best_validation_score_:
                model.best_validation_score_ = score
                model._show(self.parameters)
        model._no_improvement_count = model._no_improvement_count + 1 if worse else 0

    def _patience_spent(self) -> None:
        """Stop, or go on with a lower learning rate."""
        model, memory = self.model, self.memory
        what = "Validation score" if self.judge else "Training loss"
        text = f"{what} did not improve more than tol={model.tol:f} for {model.n_iter_no_change:d} consecutive epochs."
        self.stopped = self.changes != "adaptive" or memory.learning_rate <= LOWEST_ADAPTIVE_RATE
        if not self.stopped:
            memory.learning_rate /= 5.0
            model._no_improvement_count = 0
            text += f" Setting learning rate to {memory.learning_rate:f}"
        else:
            text += " Learning rate too small. Stopping." if self.changes == "adaptive" else " Stopping."
        if model.verbose:
            print(text)

    def _record(self, row: Any) -> Epoch:
        """What a function that listens is told."""
        model, now = self.model, time.perf_counter()
        seconds, self.begun = now - self.begun, now
        score = model.validation_scores_[-1] if self.judge else np.nan
        numbers = {name: float(row[name]) for name in ("loss", "validation_loss", "learning_rate", "gradient_norm")}
        return Epoch(epoch=model.n_iter_, score=score, seconds=seconds, parameters=self.parameters.copy(), **numbers)

    def _diverged(self) -> None:
        """The core has refused a step since its loss or gradient was not finite."""
        epoch = self.step // self.per + 1
        advice = "The input data may contain large values and need to be preprocessed."
        place = (
            f"Loss, gradient or its square ceased to be finite at step {self.step} (epoch {epoch}): lower learning_rate_init."
        )
        if not self.judge:
            raise ValueError(f"Solver produced non-finite parameter weights. {advice} {place}")
        self._close(np.full(1, np.nan, EPOCH)[0], float("nan"))
        self.stopped = True
        self.warning = ConvergenceWarning(f"{place} The best parameters so far are kept. {advice}")


def batch_rows(batch_size: Any, rows: int) -> int:
    """Rows of a batch for the estimator's `batch_size`, "auto" or a number."""
    if isinstance(batch_size, str):
        return min(200, rows)
    if batch_size > rows:
        warnings.warn("Got `batch_size` less than 1 or larger than sample size. It is going to be clipped", stacklevel=8)
    return int(min(batch_size, rows))
