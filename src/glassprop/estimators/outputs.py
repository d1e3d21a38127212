"""The fitted parameters of an estimator, and the outputs that it predicts by.

`coefs_` and `intercepts_` are views of the vector that the core takes, so that a prediction copies no parameters, and a weight
that a person changes in place is the weight that predicts. It knows nothing of fitting.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
from scipy.sparse import coo_array, csr_array, csr_matrix, issparse
from sklearn.utils.validation import check_is_fitted, validate_data

from glassprop.core.network import ByInputs, Network, Parameters
from glassprop.core.passes import outputs_of
from glassprop.estimators.settings import OUT_ACTIVATIONS, core_activations, most_threads
from glassprop.estimators.sparse import core_table

SPARSE = ["csr", "csc"]
LOSSES = {shown: loss for loss, shown in OUT_ACTIVATIONS.items()}  # one whose link is this output activation


def of_numbers(array: Any) -> bool:
    """Whether it is a table, or a vector, that scikit-learn's checks would hand back as it is, if its numbers are finite."""
    numbers = array.data if type(array) in (csr_array, csr_matrix) else array
    return type(numbers) is np.ndarray and numbers.dtype in (np.float64, np.float32) and 0 not in array.shape


def plain(array: Any) -> bool:
    """Whether it is one, and they are."""
    if not of_numbers(array):
        return False
    numbers = array if type(array) is np.ndarray else array.data
    with np.errstate(over="ignore", invalid="ignore"):
        return math.isfinite(numbers.sum())


def table_of(X: Any, names: Any) -> Any:
    """The table that scikit-learn's checks would make of X without a word, where that can be told soon; else None.

    Whether the numbers of a dense one are finite is not asked: the core will. `names` are the columns' names, where the
    estimator was fitted to a table that has them.
    """
    kind = type(X)
    if names is not None:
        is_frame = kind.__name__ == "DataFrame" and kind.__module__.split(".")[0] == "pandas"
        if not is_frame or not np.array_equal(X.columns, names):
            return None
        if not all(isinstance(kind, np.dtype) for kind in X.dtypes.to_numpy()):  # sparse columns are warned of, or stay so
            return None
        X = X.to_numpy()
    elif kind is list:
        try:
            X = np.asarray(X)
        except ValueError:  # rows of several lengths
            return None
    whole = type(X) is np.ndarray and X.dtype.kind in "iu" and X.size > 0
    return X if whole or (of_numbers if type(X) is np.ndarray else plain)(X) else None


@contextmanager
def naming_gaps(X: Any) -> Iterator[None]:
    """Where scikit-learn's checks complain of missing values in X, say in which row and column."""
    try:
        yield
    except ValueError as error:
        place = _first_gap(X) if "contains NaN" in str(error) and "Input X" in str(error) else ""
        if not place:
            raise
        raise ValueError(
            f"{error}\nThe first is in {place}. Leave such rows out, or fill them in: "
            "make_pipeline(SimpleImputer(add_indicator=True), StandardScaler(), this estimator)."
        ) from None


def _first_gap(X: Any) -> str:
    """Where the first missing value of a table is, in words; empty where that cannot be told."""
    try:
        if issparse(X):
            X = coo_array(X)
            row, column = min(zip(*(places[X.data != X.data].tolist() for places in X.coords), strict=True))
        else:
            from pandas import isna

            row, column = np.argwhere(isna(np.asarray(X)))[0]
    except (TypeError, ValueError, IndexError):
        return ""
    names = getattr(X, "columns", None)
    return f"row {row}, column {names[column]!r}" if names is not None else f"row {row}, column {column}"


class Ready:
    """What a prediction needs beside rows, kept between two of them: parameters as the core takes them, and networks."""

    def __init__(self, parameters: Parameters) -> None:
        self.parameters = parameters
        self._networks: dict[tuple, Network] = {}

    def __reduce__(self) -> tuple:
        return (_nothing, ())  # a pickle holds the parameters once, and no addresses

    def parameters_of(self, coefs: list[np.ndarray], intercepts: list[np.ndarray]) -> Parameters:
        """Those of these arrays: their views, or else arrays that a person put in their place."""
        own, given = self.parameters, [*coefs, *intercepts]
        views = [*own.W, *own.b]
        same = len(views) == len(given) and all(
            view is array or np.array_equal(view, array) for view, array in zip(views, given, strict=True)
        )
        if not same:
            self.parameters = own = Parameters.from_arrays(coefs, intercepts)
        return own

    def network(self, layers: tuple[int, ...], activation: Any, output: str) -> Network:
        """The network of these activations, by scikit-learn's names."""
        key = layers, tuple(activation) if isinstance(activation, list) else activation, output
        if key not in self._networks:
            activations = core_activations(activation, len(layers) - 2)
            self._networks[key] = Network(layers, activations, loss=LOSSES.get(output, "half_squared_error"))
        return self._networks[key]


def _nothing() -> None:
    """What is left of a `Ready` in a pickle or a deep copy."""


class Outputs:
    """What an estimator predicts by; it is one of the bases of both."""

    coefs_: list[np.ndarray]
    intercepts_: list[np.ndarray]
    out_activation_: str
    activation: Any
    n_jobs: int | None

    def _parameters(self, dtype: Any = None) -> Parameters:
        return Parameters.from_arrays(self.coefs_, self.intercepts_, dtype)

    def _shown(self, parameters: Parameters) -> dict[str, Any]:
        """Fitted attributes with a copy of the parameters, by inputs where a sparse table is learnt from."""
        own = ByInputs.of(parameters) if self.__dict__.get("_by_inputs") else parameters.copy()
        return {"coefs_": [*own.W], "intercepts_": [*own.b], "_ready": Ready(own)}

    def _show(self, parameters: Parameters) -> None:
        self.__dict__.update(self._shown(parameters))

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[misc]
        if "coefs_" not in state or state.get("_ready") is not None:  # a shallow copy has the arrays of what it was copied from
            return
        try:
            self._show(self._parameters())
        except (TypeError, ValueError):  # what was put into coefs_ is complained about where it is used
            return

    def _checked_rows(self, X: Any) -> Any:
        """X as scikit-learn checks it before a prediction."""
        check_is_fitted(self)
        with naming_gaps(X):
            checked = validate_data(self, X, accept_sparse=SPARSE, reset=False)
            if checked.dtype.kind == "O":  # a list with None in it, whose numbers are not asked; an array's are
                checked = validate_data(self, checked, accept_sparse=SPARSE, reset=False)
            return checked

    def _outputs(self, X: Any, g: list[np.ndarray] | None = None) -> np.ndarray:
        """h_L of every row of X, (rows, outputs); g_L is added to `g`, if it is given.

        X is checked as scikit-learn does; but nothing is asked in advance of a plain table that is as it should be.
        """
        fitted, given, refuse = self.__dict__, X, None
        X = table_of(given, fitted.get("feature_names_in_")) if "coefs_" in fitted else None
        if X is None or X.ndim != 2 or X.shape[1] != fitted.get("n_features_in_"):
            X = self._checked_rows(given)
        elif type(X) is np.ndarray:
            refuse = partial(self._checked_rows, given)
        ready = self.__dict__.get("_ready") or Ready(self._parameters())
        parameters = ready.parameters_of(self.coefs_, self.intercepts_)
        network = ready.network(parameters.layers, self.activation, self.out_activation_)
        dtype = np.float32 if np.result_type(X.dtype, parameters.dtype) == np.float32 else np.float64
        before = None
        if g is not None:
            g.append(before := np.empty((X.shape[0], network.layers[-1]), dtype))
        return outputs_of(network, parameters, core_table(X, dtype), threads=most_threads(self.n_jobs), g=before, refuse=refuse)
