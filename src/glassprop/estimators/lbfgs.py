"""L-BFGS: SciPy's minimiser over the whole table, with loss and gradient of the compiled core.

It holds no formulas. The two are of one function, for several outputs too: scikit-learn's gradient of the squared error is
then that of `n_outputs` times the loss it goes by.
"""

from __future__ import annotations

import threading
from functools import cached_property
from types import SimpleNamespace
from typing import Any

import numpy as np
from scipy.linalg.blas import daxpy
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import ThreadpoolController

from glassprop.core.network import ByInputs, Network, Parameters
from glassprop.core.plan import BACKWARD, FORWARD, LOSS, UPDATE
from glassprop.core.sparse import SparseTable
from glassprop.core.update import GradientSum
from glassprop.core.workspace import Workspace
from glassprop.estimators.callbacks import Listeners
from glassprop.estimators.settings import most_threads
from glassprop.estimators.sparse import by_columns, core_table
from glassprop.training.data import Data
from glassprop.training.loop import Epoch

EVALUATE = FORWARD | LOSS | BACKWARD | UPDATE
# Rows of a batch, at least: h and δ stay in the cache, and memory does not grow with the table. And how many numbers each input
# has in a batch of a sparse one, on average: a gradient of inputs without any would cost more than its rows.
ROWS_AT_ONCE, NAMED = 256, 4
STOPPED = 99  # SciPy's status where a callback has stopped it


def fit_lbfgs(model: Any, network: Network, data: Data, parameters: Parameters, listeners: Listeners) -> Warning | None:
    """Minimise from `parameters` on, in place; sets the model's ``loss_`` and ``n_iter_``. Iterations are told as epochs.

    Returns
    -------
    Warning or None
        What to warn of afterwards: why the minimiser gave up, or that Ctrl-C ended it and the last iteration is kept.

    Raises
    ------
    ValueError
        Where parameters cease to be finite.
    """
    from scipy.optimize import minimize

    objective = _Objective(network, data, parameters, model.n_jobs)
    reached = SimpleNamespace(x=pack(parameters), fun=None, nit=0, status=STOPPED)

    def tell(intermediate_result: Any) -> None:
        reached.x, reached.fun, reached.nit = intermediate_result.x.copy(), float(intermediate_result.fun), reached.nit + 1
        if listeners:
            unpack(reached.x, parameters)
            model._show(parameters.astype(np.float64))  # for whoever looks at the estimator meanwhile
            model.n_iter_, model.loss_ = reached.nit, float(intermediate_result.fun)
            if listeners.whole_epoch(Epoch(
                epoch=reached.nit, loss=float(intermediate_result.fun), validation_loss=np.nan, score=np.nan,
                learning_rate=np.nan, gradient_norm=np.nan, seconds=np.nan, parameters=parameters.copy(),
            ), parameters):  # fmt: skip
                raise StopIteration

    options = {"maxfun": model.max_fun, "maxiter": model.max_iter, "gtol": model.tol}
    interrupted = None
    with _ONE_THREAD:
        try:
            found = minimize(objective, reached.x, method="L-BFGS-B", jac=objective.gradient, options=options, callback=tell)
        except KeyboardInterrupt:
            found, interrupted = reached, UserWarning("Training interrupted by user.")
        unpack(found.x, parameters)
        if not np.isfinite(parameters.theta).all():
            raise ValueError(
                "Solver produced non-finite parameter weights. The input data may contain large values and need to be "
                "preprocessed."
            )
        model.loss_ = objective.reported(found.x, found.fun)
    model.n_iter_ = min(int(found.nit), model.max_iter)
    if found.status in (0, STOPPED):
        return interrupted
    at_most = model.n_iter_ == model.max_iter
    more = f"\nIncrease the number of iterations to improve the convergence (max_iter={model.max_iter:d})." if at_most else ""
    return ConvergenceWarning(
        f"lbfgs failed to converge after {model.n_iter_} iteration(s) (status={found.status}):\n{found.message}\n{more}\n"
        "You might also want to scale the data as shown in:\n    https://scikit-learn.org/stable/modules/preprocessing.html"
    )


class _OneThread:
    """BLAS has one thread while anybody is in here.

    Its threads would keep a processor busy for a while after each of the minimiser's products, and the core's would wait. And
    sums of long vectors would have other bits for another number of threads.
    """

    def __init__(self) -> None:
        self._lock, self._inside = threading.Lock(), 0

    @cached_property
    def _libraries(self) -> ThreadpoolController:
        return ThreadpoolController()  # looking for them takes a millisecond or two

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._limits = self._libraries.limit(limits=1, user_api="blas")
            self._inside += 1

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:  # whoever leaves last, where several fits are at work at once
                self._limits.restore_original_limits()


_ONE_THREAD = _OneThread()


def rows_at_once(table: np.ndarray | SparseTable) -> int:
    """Rows of a batch: of a sparse table as many as name every input a few times, if those are more."""
    if isinstance(table, np.ndarray):
        return ROWS_AT_ONCE
    return max(ROWS_AT_ONCE, NAMED * table.inputs * len(table) // max(table.values.size, 1))


class _Objective:
    """Loss and gradient over all rows of the table, added up batch by batch; `parameters` are set to where it is asked."""

    _x = np.empty(0)  # where it was asked last

    def __init__(self, network: Network, data: Data, parameters: Parameters, n_jobs: int | None) -> None:
        table = core_table(data.X, parameters.dtype)
        batch_size = min(data.rows, rows_at_once(table))
        columns = by_columns(table, batch_size) if isinstance(table, SparseTable) else None
        if columns is not None:
            parameters = ByInputs.of(parameters)
        weights = np.ones(data.rows) if data.weights is None else data.weights
        masses = np.add.reduceat(weights, np.arange(0, data.rows, batch_size), dtype=np.float64)
        self.work = Workspace(
            network, parameters.theta, table, data.Y, data.weights, batch_size=batch_size, optimizer=GradientSum(),
            steps=len(masses), at_once=columns is None, as_scikit_learn=True,
            by_inputs=columns is not None, columns=columns,
            threads=most_threads(n_jobs),
        )  # fmt: skip
        self.parameters, self.total = parameters, parameters.with_theta(self.work["state"][0])
        self._batches, self._mass = len(masses), float(masses.sum())
        self._reported_scale = float(self.work.plan["loss_scale"][0])
        self._l2, self._l1 = network.l2 / self._mass, network.l1 / self._mass
        self._weights = sum(W.size for W in parameters.W)
        # what is minimised is what the gradient is of; penalties are of the table, not of a batch
        self.work.set(loss_scale=1.0, as_scikit_learn=0, l2=0.0, l1=0.0, rates=masses)

    def __call__(self, x: np.ndarray) -> float:
        with np.errstate(over="ignore", invalid="ignore"):
            self._x, (loss, self._gradient) = x, self._loss_and_gradient(x)
            if not (np.isfinite(loss) and np.isfinite(self._gradient @ self._gradient)):
                loss, self._gradient = np.inf, np.full(x.size, np.nan)
        return loss

    def gradient(self, x: np.ndarray) -> np.ndarray:
        """Of where the loss was last asked for, as a rule, since SciPy asks for both."""
        if not np.array_equal(x, self._x):
            self(x)
        return self._gradient

    def _loss_and_gradient(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        unpack(x, self.parameters)
        self.total.theta[:] = 0
        self.work.progress["loss_sum"] = 0
        if self.work.run(0, self._batches, EVALUATE) < self._batches:  # a loss or a gradient's norm is not finite
            return np.inf, x
        loss, gradient = float(self.work.progress["loss_sum"][0]) / self._mass, pack(self.total, self._mass)
        W, dW = x[: self._weights], gradient[: self._weights]
        if self._l2:
            loss += self._l2 / 2 * float(W @ W)
            daxpy(W, dW, a=self._l2)  # in place
        if self._l1:
            loss += self._l1 * float(np.abs(W).sum())
            dW += self._l1 * np.sign(W)
        return loss, gradient

    def reported(self, x: np.ndarray, minimized: float | None) -> float:
        """The loss as scikit-learn prints it, where it prints another than what was `minimized`, or that is not known."""
        if minimized is not None and self._reported_scale == 1:
            return float(minimized)
        self.work.set(loss_scale=self._reported_scale)
        return self(x)


def pack(parameters: Parameters, divisor: float = 1.0) -> np.ndarray:
    """All weights and then all biases in one vector of float64, as scikit-learn has them, divided by some number."""
    arrays = (*parameters.W, *parameters.b)
    x, start = np.empty(sum(array.size for array in arrays)), 0
    for array in arrays:
        np.divide(array, divisor, out=x[start : start + array.size].reshape(array.shape), dtype=np.float64)
        start += array.size
    return x


def unpack(x: np.ndarray, parameters: Parameters) -> None:
    """Write what `pack` packed into `parameters`."""
    start = 0
    for array in (*parameters.W, *parameters.b):
        array[...] = x[start : start + array.size].reshape(array.shape)
        start += array.size
