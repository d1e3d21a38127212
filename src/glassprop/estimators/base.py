"""What MLPClassifier and MLPRegressor share: parameters and data checked, a fit begun or continued.

It holds no loop and no formulas: epochs.py and lbfgs.py call the core.
"""

from __future__ import annotations

import functools
import warnings
from abc import abstractmethod
from collections.abc import Callable
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from scipy.sparse import issparse
from sklearn.base import BaseEstimator
from sklearn.callback import CallbackSupportMixin
from sklearn.utils import check_random_state, column_or_1d
from sklearn.utils._param_validation import Interval, InvalidParameterError, Options, StrOptions
from sklearn.utils.validation import _check_sample_weight, validate_data

from glassprop.core.activations import Activation
from glassprop.core.arrays import check_targets, check_weights, core_array, weigh_nothing
from glassprop.core.losses import Loss
from glassprop.core.network import Network, Parameters
from glassprop.core.update import Optimizer
from glassprop.errors import nearest
from glassprop.estimators.callbacks import EveryEpoch, Listeners
from glassprop.estimators.draws import RowOrders, held_out_rows, starting_parameters
from glassprop.estimators.epochs import EpochLoop
from glassprop.estimators.handover import SeenInside
from glassprop.estimators.judge import Judge, frame_of
from glassprop.estimators.lbfgs import fit_lbfgs
from glassprop.estimators.memory import Memory, memory_of_call, settings_of
from glassprop.estimators.outputs import SPARSE, Outputs, naming_gaps, plain
from glassprop.estimators.settings import (
    ACTIVATION_NAMES,
    OUT_ACTIVATIONS,
    SOLVER_NAMES,
    WITH_CONSTANTS,
    by_owner,
    constants_of,
    core_activations,
    starting_activations,
    with_constants,
)
from glassprop.estimators.sparse import training_table
from glassprop.estimators.undo import Undo
from glassprop.training.data import Data, Rows

_IN_WORDS: dict[type, str] = {  # how scikit-learn's messages are to call them
    Activation: "a glassprop.Activation",
    Loss: "a glassprop.Loss",
    Optimizer: "an update rule such as glassprop.SGD(0.1)",
}


class BaseMLP(Outputs, SeenInside, CallbackSupportMixin, BaseEstimator):
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

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Parameters by name, as of any estimator of scikit-learn.

        Parameters
        ----------
        deep : bool
            Also the constants of an update rule or a schedule that is given, by paths such as ``solver__weight_decay`` and
            ``solver__learning_rate__steps``.

        Returns
        -------
        dict
        """
        found = super().get_params(deep)
        for name in WITH_CONSTANTS if deep else ():
            found |= {f"{name}__{constant}": value for constant, value in constants_of(found[name]).items()}
        return found

    def set_params(self, **params: Any) -> Any:
        """Set parameters by the names of ``get_params``. A rule or schedule is replaced by one with the new constants.

        Raises
        ------
        ValueError
            For a name that is no parameter, or a value that an update rule or a schedule refuses.
        """
        constants = {path: value for path, value in params.items() if path.startswith(tuple(f"{n}__" for n in WITH_CONSTANTS))}
        super().set_params(**{name: value for name, value in params.items() if name not in constants})
        for name, values in by_owner(constants).items():
            setattr(self, name, with_constants(getattr(self, name), values, name))
        return self

    def _validate_params(self) -> None:
        """As scikit-learn does, by names that a person knows, and with the nearest valid one for a name that is misspelt."""
        try:
            super()._validate_params()
        except InvalidParameterError as error:
            text = str(error)
            for kind, words in _IN_WORDS.items():
                text = text.replace(f"an instance of '{kind.__module__}.{kind.__qualname__}'", words)
            name = next(name for name in self._parameter_constraints if f"The '{name}' parameter" in text)
            value, constraints = getattr(self, name), self._parameter_constraints[name]
            near = nearest(value, [option for c in constraints if isinstance(c, StrOptions) for option in c.options])
            if isinstance(value, type) and issubclass(value, tuple(c for c in constraints if isinstance(c, type))):
                near = f"an instance, {value.__name__}(...)"
            raise InvalidParameterError(f"{text} Did you mean {near}?" if near else text) from None

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

    def _row_weights(self, y: Any, sample_weight: Any, whole: bool) -> Any:
        return sample_weight

    def _classes_to_stratify(self, Y: np.ndarray) -> np.ndarray | None:
        return None

    # --- fitting ---

    def _fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        incremental: bool = False,
        eval_set: Any = None,
        begin: Callable[[], None] | None = None,
    ) -> Any:
        """Train, or leave everything as it was where that fails; warn when all is kept, for a warning may be made an error.

        What is to `begin` it is undone with it.
        """
        own = self.warm_start and not incremental and isinstance(self.random_state, Integral)  # a generator that goes on
        with Undo(self, self.__dict__.get("_random_state") if own else None):
            if begin is not None:
                begin()
            warning = self._train((X, y, sample_weight), incremental, eval_set)
        if warning is not None:
            warnings.warn(warning, stacklevel=4)
        return self

    def _train(self, given: tuple[Any, Any, Any], incremental: bool, eval_set: Any) -> Warning | None:
        """What to warn of afterwards."""
        hidden = self._hidden_layers()
        first = not hasattr(self, "coefs_") or not (self.warm_start or incremental)
        X, y = self._validate_input(*given[:2], incremental, reset=first)
        Y, outputs = self._targets(y)
        layers = (X.shape[1], *hidden, outputs)
        network = self._network(layers)
        self._by_inputs = issparse(X)
        left = None if first else self.__dict__.get("_optimizer")
        goes_on = not (first or incremental) and isinstance(self.random_state, Integral) and hasattr(self, "_random_state")
        if not goes_on or (left is not None and left.changed(("random_state",), settings_of(self))):
            self._random_state = check_random_state(self.random_state)
        if first:
            self.__dict__.pop("_optimizer", None)
            self.n_iter_ = self.t_ = 0
            self.n_layers_ = len(layers)
            self.out_activation_ = OUT_ACTIVATIONS.get(network.loss.name, "identity")
            activations = starting_activations(self.activation, len(hidden))
            self._show(starting_parameters(self._random_state, layers, activations, X.dtype))
        parameters = self._parameters()
        if parameters.layers != layers:
            raise ValueError(
                f"a fit is continued with the layers it has, {parameters.layers}; hidden_layer_sizes and data ask for {layers}"
            )
        self.n_outputs_ = outputs
        table = self._rows(network, (X, y, given[2]), Y, parameters.dtype, whole=not incremental)
        listeners = None if incremental else Listeners(self, *given)
        if self.solver == "lbfgs":
            assert listeners is not None  # partial_fit is not there
            self._refuse_what_goes_by_epochs(eval_set)
            warning = fit_lbfgs(self, network, Data(*table, None, None), parameters, listeners)
            self._show(parameters.astype(np.float64))  # as SciPy returns them
        else:
            memory = self._optimizer = memory_of_call(self, parameters, left, incremental)
            if left is not None and left.network == network:
                network = left.network  # with the workspace of the call before
            memory.network = network if incremental else None
            warning = self._go_by_epochs(network, table, (given[0], y), parameters, memory, listeners, first, eval_set)
        if listeners is not None:
            listeners.end()
        return warning

    def _check_arrays(self, X: Any, y: Any, reset: bool) -> tuple[Any, Any]:
        """As scikit-learn checks them: nothing is asked of a plain table and targets that are as they should be."""
        ready = type(y) is np.ndarray and (y.ndim == 1 or (y.ndim == 2 and y.shape[1] > 1))
        if ready and (y.dtype.kind in "biu" or plain(y)) and plain(X) and X.ndim == 2 and X.shape[0] == len(y):
            if reset:
                self.n_features_in_ = X.shape[1]
                self.__dict__.pop("feature_names_in_", None)
            if self.__dict__.get("n_features_in_") == X.shape[1] and "feature_names_in_" not in self.__dict__:
                return X, y
        numbers: dict[str, Any] = {"dtype": (np.float64, np.float32), "y_numeric": self._y_numeric}
        with naming_gaps(X):
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
        activations = core_activations(self.activation, len(layers) - 2)
        dropout = float(self.dropout) if isinstance(self.dropout, Real) else self.dropout
        return Network(layers, activations, loss=self._core_loss(), dropout=dropout, l2=float(self.alpha), l1=float(self.l1))

    def _rows(
        self, network: Network, given: tuple[Any, Any, Any], Y: np.ndarray, dtype: Any, whole: bool = False, name: str = "y"
    ) -> Rows:
        """X, Y and weights as the core takes them; but X sparse, where `training_table` leaves it so.

        Given are X and y as they were checked, and row weights; Y are the targets of y. `whole`: all rows to learn from.
        """
        X, y, sample_weight = given
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, X)
        weights = check_weights(self._row_weights(y, sample_weight, whole), X.shape[0], dtype, "sample_weight")
        X = training_table(X, self.solver)
        return X if issparse(X) else core_array(X, dtype), check_targets(network, Y, X.shape[0], dtype, name), weights

    def _refuse_what_goes_by_epochs(self, eval_set: Any) -> None:
        asked = {
            "eval_set": eval_set is not None,
            "dropout": np.any(self.dropout),
            "weight_decay": self.weight_decay,
            "gradient_clip": self.gradient_clip,
            "a schedule as learning_rate": callable(self.learning_rate),
        }
        for name in (name for name, value in asked.items() if value):
            raise ValueError(f"{name} needs a solver that goes by epochs, such as 'adam'; got solver='lbfgs'")

    def _go_by_epochs(
        self,
        network: Network,
        table: Rows,
        given: tuple[Any, Any],
        parameters: Parameters,
        memory: Memory,
        listeners: Listeners | None,
        first: bool,
        eval_set: Any,
    ) -> Warning | None:
        incremental = listeners is None
        if self.early_stopping and incremental:
            raise ValueError("partial_fit does not support early_stopping=True")
        last = None if incremental else memory.last_behind(parameters)
        if last is not None:
            parameters.theta[:] = last
        self._begin_history(first)
        data, orders, shown = self._rows_by_epoch(network, table, given, memory, incremental, eval_set)
        judge = Judge(self, network, parameters, data.validation, shown) if self.early_stopping and data.validation else None
        loop = EpochLoop(self, network, data, parameters, memory, orders, judge, listeners)
        warning = loop.run(1 if incremental else self.max_iter)
        if judge is None:
            self._show(parameters)
        best = judge is not None and self.warm_start
        memory.theta, memory.left = (parameters.theta, self._parameters(parameters.dtype).theta) if best else (None, None)
        return warning

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
        self, network: Network, table: Rows, given: tuple[Any, Any], memory: Memory, incremental: bool, eval_set: Any
    ) -> tuple[Data, RowOrders, Any]:
        """Rows to train on and rows to judge by, their orders, and the judged ones as they were `given`."""
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
        validation, shown = None, None
        if held is not None:
            validation = (X[held], Y[held], None if weights is None else weights[held])
            shown = frame_of(given[0], held), given[1][held]
        elif eval_set is not None:
            validation, shown = self._eval_rows(network, eval_set, Y.dtype)
        if validation is not None and validation[2] is not None and weigh_nothing(validation[2]):
            raise ValueError("the rows held out must not all have a weight of 0: nothing can be judged by them")
        if validation is not None and self.__dict__.get("validation_loss_curve_") is None:
            self.validation_loss_curve_ = []
        data = Data(X, Y, weights, order if held is not None else None, validation)
        return data, RowOrders(self._random_state, rows if order is None else order, self.shuffle), shown

    def _eval_rows(self, network: Network, eval_set: Any, dtype: Any) -> tuple[Rows, Any]:
        if not isinstance(eval_set, (tuple, list)) or len(eval_set) not in (2, 3):
            got = f"{len(eval_set)} of them" if isinstance(eval_set, (tuple, list)) else type(eval_set).__name__
            raise TypeError(f"eval_set must be (X, y) or (X, y, sample_weight); got {got}")
        X, y = self._check_arrays(eval_set[0], eval_set[1], reset=False)
        Y, _ = self._targets(y)
        rows = self._rows(network, (X, y, eval_set[2] if len(eval_set) == 3 else None), Y, dtype, name="y of eval_set")
        return rows, (frame_of(eval_set[0]), y)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


def goes_by_epochs(model: BaseMLP) -> bool:
    """Whether `partial_fit` is there; raises the reason where it is not."""
    if model.solver == "lbfgs":
        raise AttributeError(f"partial_fit is only available for stochastic optimizers. {model.solver} is not stochastic.")
    return True
