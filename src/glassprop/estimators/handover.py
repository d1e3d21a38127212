"""From an estimator to `glass`: the network, the parameters and the rows of a training step.

It explains and measures nothing itself, and imports `glass` only when it is asked to.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
from scipy.sparse import csr_array, issparse
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import check_is_fitted

from glassprop.core.network import Network, Parameters
from glassprop.estimators.memory import Memory
from glassprop.estimators.settings import update_rule
from glassprop.training.data import Rows


class SeenInside:
    """What an estimator can show of itself; it is one of the bases of both."""

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
        X, Y, weights = batch_of(self, X, y, sample_weight)
        parameters: Parameters = self._parameters(X.dtype)  # type: ignore[attr-defined]
        names = {"input_names": self.__dict__.get("feature_names_in_")}
        classes = self.__dict__.get("classes_")
        if isinstance(classes, np.ndarray) and len(classes) == parameters.layers[-1]:
            names["output_names"] = [str(label) for label in classes]
        given = {name: list(value) for name, value in names.items() if value is not None}
        options = given | step_options(self, X.dtype) | options
        network = batch_network(self, _mass(X, weights))
        return _from_glass("explain", "explain")(network, parameters, X, Y, row=row, weights=weights, **options)

    def diagnose(self, X: Any, y: Any, *, sample_weight: Any = None, validation: Any = None) -> Any:
        """What is wrong with the fitted network, and what to try, as ``glassprop.diagnose`` says it.

        Parameters
        ----------
        X : array-like or sparse matrix, (rows, inputs)
            Rows that it was trained on, of which at most 2000 are looked at.
        y : array-like, (rows,) or (rows, outputs)
            Their targets, as `fit` takes them.
        sample_weight : array-like, (rows,), optional
        validation : (X, y) or (X, y, sample_weight), optional
            Rows that it was not trained on.

        Returns
        -------
        Diagnosis
            Printed, a table of the layers and the findings; true where nothing is wrong.

        Raises
        ------
        ImportError
            Where glassprop comes without its package `glass`.

        Examples
        --------
        >>> from glassprop import MLPRegressor
        >>> from sklearn.datasets import load_diabetes
        >>> X, y = load_diabetes(return_X_y=True)
        >>> model = MLPRegressor(tol=1e3, random_state=0).fit(X, y)
        >>> for finding in model.diagnose(X, y).findings[:2]:
        ...     print(f"{finding.name}: {finding.facts}")
        unscaled inputs: no input has a standard deviation above 0.048
        target scale: targets have mean 152 and standard deviation 77
        """
        check_is_fitted(self)
        diagnose = _from_glass("diagnose", "diagnose")
        X, Y, weights = batch_of(self, *_some_rows(X, y, sample_weight))
        if isinstance(validation, tuple) and len(validation) in (2, 3):  # else glass says what it must be
            validation = batch_of(self, *_some_rows(*validation))
        size = min(rows_of_step(self), len(X))
        return diagnose(
            batch_network(self, size / len(X) * _mass(X, weights)), self._parameters(X.dtype),  # type: ignore[attr-defined]
            X, Y, weights=weights, validation=validation, optimizer=step_options(self, X.dtype).get("optimizer"),
            batch_size=size,
        )  # fmt: skip

    def check_gradients(self, X: Any, y: Any, *, sample_weight: Any = None, **options: Any) -> Any:
        """Check the gradient of these rows, as one batch, against central differences, by ``glassprop.check_gradients``.

        Parameters
        ----------
        X : array-like, (rows, inputs)
        y : array-like, (rows,) or (rows, outputs)
            Their targets, as `fit` takes them.
        sample_weight : array-like, (rows,), optional
        **options
            Others of ``glassprop.check_gradients``.

        Returns
        -------
        GradientCheck
            Printed, a table and a verdict; true where it passes.

        Raises
        ------
        ImportError
            Where glassprop comes without its package `glass`.
        """
        check_is_fitted(self)
        X, Y, weights = batch_of(self, X, y, sample_weight)
        network, parameters = batch_network(self, _mass(X, weights)), self._parameters(X.dtype)  # type: ignore[attr-defined]
        return _from_glass("check", "check_gradients")(network, parameters, X, Y, weights=weights, **options)


def _from_glass(module: str, name: str) -> Any:
    try:
        return getattr(importlib.import_module(f"glassprop.glass.{module}"), name)
    except ModuleNotFoundError as error:
        raise ImportError(f"{name} needs the package glassprop.glass, which this installation of glassprop lacks") from error


def _some_rows(X: Any, y: Any, sample_weight: Any = None) -> tuple[Any, Any, Any]:
    """Of a sparse table as many rows as are looked at, which will be made dense."""
    if not issparse(X):
        return X, y, sample_weight
    X, rows = csr_array(X), _from_glass("measure", "some_rows")(X.shape[0])
    return X[rows], _safe_indexing(y, rows), None if sample_weight is None else _safe_indexing(sample_weight, rows)


def _mass(X: np.ndarray, weights: np.ndarray | None) -> float:
    """Σ w of these rows."""
    return len(X) if weights is None else float(weights.sum())


def batch_of(model: Any, X: Any, y: Any, sample_weight: Any = None) -> Rows:
    """X, targets and row weights as the core takes them, in the precision of the parameters, in which a fit would go on."""
    X, y = model._check_arrays(X, y, reset=False)
    X = X.toarray() if issparse(X) else X  # every number is shown
    parameters = model._parameters()
    return model._rows(model._network(parameters.layers), (X, y, sample_weight), model._targets(y)[0], parameters.dtype)


def batch_network(model: Any, mass: float) -> Network:
    """The network of a step on a batch: `alpha` and `l1` are divided by its Σ w."""
    own = model._network(tuple(model._parameters().layers))
    return Network(own.layers, own.activations, own.output_activation, own.loss, own.l2 / mass, own.l1 / mass, own.dropout)


def step_options(model: Any, dtype: Any) -> dict[str, Any]:
    """The update rule of the step that `partial_fit` would take next; its state and its number, too, where they fit."""
    if model.solver == "lbfgs":
        return {}
    memory = model.__dict__.get("_optimizer")
    if not isinstance(memory, Memory) or not memory.fits(model._parameters(dtype)):
        return {"optimizer": update_rule(model)}
    return {"optimizer": memory.next_rule(), "state": memory.state, "step": memory.steps}


def rows_of_step(model: Any) -> int:
    """How many rows a step takes, if there are as many."""
    return 200 if model.batch_size == "auto" else int(model.batch_size)
