"""What MLPClassifier and MLPRegressor share: parameters and data checked, a fit begun or continued.

It holds no loop and no formulas: epochs.py and lbfgs.py call the core.
"""

from __future__ import annotations

import functools
from abc import abstractmethod
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from scipy.sparse import coo_array, issparse
from sklearn.base import BaseEstimator
from sklearn.callback import CallbackSupportMixin
from sklearn.utils import check_random_state, column_or_1d
from sklearn.utils._param_validation import Interval, InvalidParameterError, Options, StrOptions
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from glassprop.core.activations import Activation
from glassprop.core.arrays import check_targets, check_weights, core_array
from glassprop.core.losses import Loss
from glassprop.core.network import Network, Parameters
from glassprop.core.passes import check_factors
from glassprop.core.update import Optimizer
from glassprop.errors import nearest
from glassprop.estimators.callbacks import EveryEpoch, Listeners
from glassprop.estimators.draws import RowOrders, held_out_rows, starting_parameters
from glassprop.estimators.epochs import EpochLoop, Memory
from glassprop.estimators.handover import explain
from glassprop.estimators.judge import Judge
from glassprop.estimators.lbfgs import fit_lbfgs
from glassprop.estimators.outputs import SPARSE, Outputs, plain
from glassprop.estimators.settings import ACTIVATION_NAMES, OUT_ACTIVATIONS, SOLVER_NAMES, core_activations, update_rule
from glassprop.estimators.sparse import training_table
from glassprop.training.data import Data, Rows


class BaseMLP(Outputs, CallbackSupportMixin, BaseEstimator):
    """Base of both estimators: see MLPClassifier and MLPRegressor."""

    loss_curve_: list[float]
    validation_loss_curve_: list[float] | None
    validation_scores_: list[float] | None
    best_validation_score_: float | None

    _y_numeric: ClassVar[bool]
    _parameter_constraints: ClassVar[dict] = {
        "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
        "activation": [StrOptions(set(ACTIVATION_NAMES)), Activation, list, tuple],
        "solver": [StrOptions(set(SOLVER_NAMES)), Optimizer],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "learning_rate": [StrOptions({"constant", "invscaling", "adaptive"}), callable],
        "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
        "power_t": [Interval(Real, 0, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "shuffle": ["boolean"],
        "random_state": ["random_state"],
        "tol": [Interval(Real, 0, None, closed="left")],
        "verbose": ["verbose"],
        "warm_start": ["boolean"],
        "momentum": [Interval(Real, 0, 1, closed="both")],
        "nesterovs_momentum": ["boolean"],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="left")],
        "beta_1": [Interval(Real, 0, 1, closed="left")],
        "beta_2": [Interval(Real, 0, 1, closed="left")],
        "epsilon": [Interval(Real, 0, None, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left"), Options(Real, {np.inf})],
        "max_fun": [Interval(Integral, 1, None, closed="left")],
        # beyond scikit-learn's
        "dropout": [Interval(Real, 0, 1, closed="left"), list, tuple],
        "weight_decay": [Interval(Real, 0, None, closed="left"), None],
        "l1": [Interval(Real, 0, None, closed="left")],
        "gradient_clip": [Interval(Real, 0, None, closed="neither"), None],
        "scoring": [str, callable, None],
        "n_jobs": [Interval(Integral, None, -1, closed="right"), Interval(Integral, 1, None, closed="left"), None],
    }

    def _take(self, values: dict[str, Any]) -> None:
        """Keep the parameters as they were given; scikit-learn reads their names from the signature of ``__init__``."""
        self.__dict__.update({name: value for name, value in values.items() if name != "self"})

    @classmethod
    @functools.cache  # signatures are slow to read, and asked for in every fit
    def _get_param_names(cls) -> list[str]:
        return super()._get_param_names()

    def _validate_params(self) -> None:
        """As scikit-learn does, and for a misspelt name the nearest valid one."""
        try:
            super()._validate_params()
        except InvalidParameterError as error:
            name = next(name for name in self._parameter_constraints if f"The '{name}' parameter" in str(error))
            valid = [option for c in self._parameter_constraints[name] if isinstance(c, StrOptions) for option in c.options]
            near = nearest(getattr(self, name), valid)
            if not near:
                raise
            raise InvalidParameterError(f"{error} Did you mean {near}?") from None

    def set_callbacks(self, *callbacks: Any) -> Any:
        """Set callbacks for the next fits, in place of earlier ones.

        Parameters
        ----------
        *callbacks : callback or function
            Of scikit-learn's protocol, such as ``sklearn.callback.ProgressBar()``; or functions that are given an
            ``glassprop.Epoch`` after every epoch, and stop training by returning True.

        Returns
        -------
        self
        """
        plain = (callable(callback) and not hasattr(callback, "on_fit_task_end") for callback in callbacks)
        return super().set_callbacks(*(EveryEpoch(c) if p else c for c, p in zip(callbacks, plain, strict=True)))

    def explain(self, X: Any, y: Any, row: int = 0, *, sample_weight: Any = None, **options: Any) -> Any:
        """One training step of the fitted network on these rows, with all its numbers, as ``glassprop.explain`` shows it.

        Parameters
        ----------
        X : array-like, (rows, inputs)
            The batch of the step.
        y : array-like, (rows,) or (rows, outputs)
            Its targets, as `fit` takes them.
        row : int
            The row whose calculation is shown, from zero.
        sample_weight : array-like, (rows,), optional
        **options
            Others of ``glassprop.explain``. The update rule, its state and the number of the step are the estimator's own
            unless given.

        Returns
        -------
        Explanation

        Raises
        ------
        ImportError
            Where glassprop comes without its package `glass`.
        """
        check_is_fitted(self)
        return explain(self, X, y, row, sample_weight, options)

    # --- what the two differ in ---

    @abstractmethod
    def _core_loss(self) -> Loss: ...

    @abstractmethod
    def _validate_input(self, X: Any, y: Any, incremental: bool, reset: bool) -> tuple[Any, Any]: ...

    @abstractmethod
    def _targets(self, y: Any) -> tuple[np.ndarray, int]:
        """Targets as the core takes them, and the number of outputs."""

    @abstractmethod
    def _score_outputs(self, outputs: np.ndarray, Y: np.ndarray, weights: np.ndarray | None) -> float: ...

    def _row_weights(self, y: Any, sample_weight: Any, incremental: bool) -> Any:
        return sample_weight

    def _classes_to_stratify(self, Y: np.ndarray) -> np.ndarray | None:
        return None

    # --- fitting ---

    def _fit(self, X: Any, y: Any, sample_weight: Any = None, incremental: bool = False, eval_set: Any = None) -> Any:
        given, hidden = (X, y, sample_weight), self._hidden_layers()
        first = not hasattr(self, "coefs_") or not (self.warm_start or incremental)
        X, y = self._checked(X, y, incremental, reset=first)
        table = self._rows(X, y, sample_weight, incremental)
        layers = (X.shape[1], *hidden, self.n_outputs_)
        network = self._network(layers)
        if first or incremental or not isinstance(self.random_state, Integral) or not hasattr(self, "_random_state"):
            self._random_state = check_random_state(self.random_state)
        if first:
            self.n_iter_ = self.t_ = 0
            self.n_layers_ = len(layers)
            self.out_activation_ = OUT_ACTIVATIONS.get(network.loss.name, "identity")
            self._show(starting_parameters(self._random_state, layers, [row.name for row in network.activations], X.dtype))
        parameters = self._parameters(X.dtype)
        if parameters.layers != layers:
            raise ValueError(
                f"a fit is continued with the layers it has, {parameters.layers}; hidden_layer_sizes and data ask for {layers}"
            )
        listeners = None if incremental else Listeners(self, *given)
        if self.solver == "lbfgs":
            assert listeners is not None  # partial_fit is not there
            self._refuse_what_goes_by_epochs(eval_set)
            fit_lbfgs(self, network, Data(*table, None, None), parameters, listeners)
            self._show(parameters)
        else:
            self._go_by_epochs(network, table, y, parameters, listeners, first, eval_set)
        if listeners is not None:
            listeners.end()
        return self

    def _checked(self, X: Any, y: Any, incremental: bool, reset: bool) -> tuple[Any, Any]:
        """As scikit-learn checks them; where values are missing, the message says in which column."""
        try:
            return self._validate_input(X, y, incremental, reset)
        except ValueError as error:
            place = _first_gap(X) if "contains NaN" in str(error) and "Input X" in str(error) else ""
            if not place:
                raise
            raise ValueError(
                f"{error}\nThe first is in {place}. Leave such rows out, or fill them in: "
                "make_pipeline(SimpleImputer(add_indicator=True), StandardScaler(), this estimator)."
            ) from None

    def _check_arrays(self, X: Any, y: Any, reset: bool) -> tuple[Any, Any]:
        """As scikit-learn checks them: nothing is asked of a plain table and targets that are as they should be."""
        vector = type(y) is np.ndarray and y.ndim == 1 and (y.dtype.kind in "biu" or plain(y))
        if reset and vector and plain(X) and X.ndim == 2 and len(X) == len(y):
            self.n_features_in_ = X.shape[1]
            self.__dict__.pop("feature_names_in_", None)
            return X, y
        numbers: dict[str, Any] = {"dtype": (np.float64, np.float32), "y_numeric": self._y_numeric}
        X, y = validate_data(self, X, y, accept_sparse=SPARSE, multi_output=True, reset=reset, **numbers)
        return X, column_or_1d(y, warn=True) if y.ndim == 2 and y.shape[1] == 1 else y

    def _hidden_layers(self) -> tuple[int, ...]:
        sizes = self.hidden_layer_sizes
        sizes = list(sizes) if hasattr(sizes, "__iter__") else [sizes]
        if any(size <= 0 for size in sizes):
            raise ValueError(f"hidden_layer_sizes must be > 0, got {sizes}.")
        return tuple(sizes)

    def _network(self, layers: tuple[int, ...]) -> Network:
        """The core's network; `alpha` and `l1` are divided by the Σ w of each batch, see Workspace."""
        activations, penalties = core_activations(self.activation, len(layers) - 2), {"l2": self.alpha, "l1": self.l1}
        return Network(layers, activations, loss=self._core_loss(), dropout=self.dropout, **penalties)

    def _rows(self, X: Any, y: Any, sample_weight: Any, incremental: bool) -> Rows:
        """X, Y and weights as the core takes them; but X sparse, where `training_table` leaves it so."""
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, X)
        weights = check_weights(self._row_weights(y, sample_weight, incremental), X.shape[0], X.dtype, "sample_weight")
        Y, self.n_outputs_ = self._targets(y)
        network = self._network((X.shape[1], *self._hidden_layers(), self.n_outputs_))
        return training_table(X), check_targets(network, Y, X.shape[0], X.dtype, "y"), weights

    def _refuse_what_goes_by_epochs(self, eval_set: Any) -> None:
        asked = {"eval_set": eval_set is not None, "dropout": np.any(self.dropout), "weight_decay": self.weight_decay}
        for name in (name for name, value in asked.items() if value):
            raise ValueError(f"{name} needs a solver that goes by epochs, such as 'adam'; got solver='lbfgs'")

    def _go_by_epochs(
        self,
        network: Network,
        table: Rows,
        y: Any,
        parameters: Parameters,
        listeners: Listeners | None,
        first: bool,
        eval_set: Any,
    ) -> None:
        incremental = listeners is None
        if self.early_stopping and incremental:
            raise ValueError("partial_fit does not support early_stopping=True")
        memory = self._memory(parameters, continues=not first)
        if memory.theta is not None and memory.left is self.coefs_ and not incremental:
            parameters.theta[:] = memory.theta
        self._begin_history(first)
        data, orders, labels = self._rows_by_epoch(table, y, memory, incremental, eval_set)
        judge = Judge(self, network, parameters, data.validation, labels) if self.early_stopping and data.validation else None
        EpochLoop(self, network, data, parameters, memory, orders, judge, listeners).run(1 if incremental else self.max_iter)
        if judge is None:
            self._show(parameters)
        memory.left = self.coefs_

    def _memory(self, parameters: Parameters, continues: bool) -> Memory:
        """What an earlier call left, where that still fits; or a new memory."""
        rule, left = update_rule(self), self.__dict__.get("_optimizer")
        check_factors(rule, parameters.layers)
        state = np.zeros((2, parameters.theta.size), parameters.dtype)
        if continues and isinstance(left, Memory) and left.fits(rule.name, state):
            return left
        seed = int(self._random_state.randint(2**31)) if np.any(self.dropout) else 0
        rate = self.learning_rate_init if callable(rule.learning_rate) else rule.learning_rate
        memory = Memory(rule.name, float(rate), state, seed=seed)
        self._optimizer = memory
        return memory

    def _begin_history(self, first: bool) -> None:
        criterion = "score" if self.early_stopping else "loss"
        if first or not hasattr(self, "loss_curve_"):
            self.loss_curve_, self.validation_loss_curve_, self._criterion = [], None, None
        if self.__dict__.get("_criterion") != criterion:
            self._criterion, self._no_improvement_count = criterion, 0
            by_score = criterion == "score"
            self.validation_scores_, self.best_validation_score_ = ([], -np.inf) if by_score else (None, None)
            self.best_loss_ = None if by_score else np.inf

    def _rows_by_epoch(
        self, table: Rows, y: Any, memory: Memory, incremental: bool, eval_set: Any
    ) -> tuple[Data, RowOrders, Any]:
        """Rows to train on and rows to judge by, their orders, and the judged rows' targets as they were given."""
        X, Y, weights = table
        splits = self.early_stopping and eval_set is None
        order, held = memory.order, memory.held
        known, rows = 0 if order is None else len(order) + (0 if held is None else len(held)), X.shape[0]
        if not self.warm_start or incremental or known != rows or (held is not None) != splits:
            order, held = None, None  # nothing to go on with
            if splits:
                classes = self._classes_to_stratify(Y)
                order, held = held_out_rows(self._random_state, rows, self.validation_fraction, classes)
        memory.held = held if self.warm_start else None
        validation, labels = None, None
        if held is not None:
            validation, labels = (X[held], Y[held], None if weights is None else weights[held]), y[held]
        elif eval_set is not None:
            validation, labels = self._eval_rows(eval_set, X.dtype)
        if validation is not None and self.__dict__.get("validation_loss_curve_") is None:
            self.validation_loss_curve_ = []
        data = Data(X, Y, weights, order if held is not None else None, validation)
        return data, RowOrders(self._random_state, rows if order is None else order, self.shuffle), labels

    def _eval_rows(self, eval_set: Any, dtype: Any) -> tuple[Rows, Any]:
        if not isinstance(eval_set, (tuple, list)) or len(eval_set) not in (2, 3):
            got = f"{len(eval_set)} of them" if isinstance(eval_set, (tuple, list)) else type(eval_set).__name__
            raise TypeError(f"eval_set must be (X, y) or (X, y, sample_weight); got {got}")
        outputs = self.n_outputs_
        X, y = self._check_arrays(eval_set[0], eval_set[1], reset=False)
        X, Y, weights = self._rows(X, y, eval_set[2] if len(eval_set) == 3 else None, incremental=True)
        if self.n_outputs_ != outputs:
            raise ValueError(f"y of eval_set must have {outputs} outputs as y has; got {self.n_outputs_}")
        X = X if issparse(X) else core_array(X, dtype)
        return (X, core_array(Y, dtype), None if weights is None else core_array(weights, dtype)), y

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


def goes_by_epochs(model: BaseMLP) -> bool:
    """Whether `partial_fit` is there; raises the reason where it is not."""
    if model.solver == "lbfgs":
        raise AttributeError(f"partial_fit is only available for stochastic optimizers. {model.solver} is not stochastic.")
    return True


def _first_gap(X: Any) -> str:
    """Where the first missing value of a table is, in words; empty where that cannot be told."""
    try:
        if issparse(X):
            X = coo_array(X)
            row, column = min(zip(*(places[X.data != X.data].tolist() for places in X.coords), strict=True))
        else:
            values = np.asarray(X)
            row, column = np.argwhere(values != values)[0]  # NaN alone differs from itself
    except (TypeError, ValueError, IndexError):
        return ""
    names = getattr(X, "columns", None)
    return f"row {row}, column {names[column]!r}" if names is not None else f"row {row}, column {column}"
