"""A score of the validation rows at every epoch's end: scikit-learn's scorers by name, or a function.

It knows predictions and targets, not training.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from glassprop.core.network import Network, Parameters
from glassprop.core.passes import predict
from glassprop.errors import unknown_name


def find_scorer(scoring: Any) -> Callable:
    """The scorer of a name, or the function that was given; see `make_scorer` for what is raised."""
    if isinstance(scoring, str):
        from sklearn.metrics import get_scorer, get_scorer_names

        if scoring not in get_scorer_names():
            raise unknown_name("scoring", scoring, get_scorer_names())
        return get_scorer(scoring)
    if not callable(scoring):
        raise TypeError(f"scoring must be a scorer's name or a function; got {scoring!r}")
    return scoring


def make_scorer(
    scoring: Any, network: Network, X: np.ndarray, Y: np.ndarray, lock: AbstractContextManager, threads: int | None
) -> Callable[[Parameters], float]:
    """A function of the parameters that gives the score of validation rows; higher is better.

    Parameters
    ----------
    scoring : str or callable
        A scorer's name (``sklearn.metrics.get_scorer_names()``), a scorer ``f(estimator, X, y)``, or a function
        ``f(y_true, y_predicted)`` of class numbers, or of outputs where the loss is not a cross-entropy.
    network : Network
    X : ndarray, (rows, inputs)
    Y : ndarray, (rows, outputs) or (rows, 1)
    lock : lock
        Held while the scorer runs, which need not be made for several threads.
    threads : int or None
        Of a prediction, at most.

    Raises
    ------
    ValueError
        For an unknown name, with the nearest; or, when called, where the rows cannot be scored so.
    TypeError
        Where `scoring` is neither.
    """
    scorer = find_scorer(scoring)
    model = _as_estimator(network, X)
    truth = model.labels(Y)
    takes_model = isinstance(scoring, str) or len(_required_arguments(scorer)) == 3

    def score(parameters: Parameters) -> float:
        model.outputs = predict(network, parameters, X, threads=threads)
        try:
            with lock:
                value = scorer(model, X, truth) if takes_model else scorer(truth, model.predict(X))
        except (AttributeError, TypeError, ValueError) as error:
            raise ValueError(f"scoring {scoring!r} cannot judge these validation rows: {error}") from error
        if not isinstance(value, (int, float, np.integer, np.floating)) or not np.isfinite(value):
            raise ValueError(f"scoring must give a finite number; {scoring!r} gave {value!r} for the validation rows")
        return float(value)

    return score


def _required_arguments(function: Callable) -> list[inspect.Parameter]:
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [p for p in inspect.signature(function).parameters.values() if p.kind in kinds and p.default is p.empty]


def _as_estimator(network: Network, X: np.ndarray) -> Any:
    """What scikit-learn's scorers ask questions of: an estimator that answers for the validation rows alone."""
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin

    classifies = network.loss.targets in ("distribution", "unit")
    several = network.loss.targets == "unit" and network.layers[-1] > 1

    class Answers(ClassifierMixin if classifies else RegressorMixin, BaseEstimator):  # type: ignore[misc]
        outputs: np.ndarray
        classes_ = np.arange(max(network.layers[-1], 2))
        fitted_ = True

        def labels(self, Y: np.ndarray) -> np.ndarray:
            if not classifies:
                return Y[:, 0] if Y.shape[1] == 1 else Y
            if network.loss.targets == "distribution":
                return (Y[:, 0] if Y.shape[1] == 1 and network.layers[-1] > 1 else Y.argmax(1)).astype(np.int64)
            return (Y > 0.5).astype(np.int64) if several else (Y[:, 0] > 0.5).astype(np.int64)

        def predict(self, X: np.ndarray) -> np.ndarray:
            if network.loss.targets == "distribution":
                return self.outputs.argmax(1)
            return self.labels(self.outputs)

        def predict_proba(self, X: np.ndarray) -> np.ndarray:
            if not classifies:
                raise AttributeError("a regressor has no predict_proba")
            one = self.outputs
            return np.hstack([1 - one, one]) if one.shape[1] == 1 else one / one.sum(1, keepdims=True) if not several else one

    return Answers()
