"""The score of held-out rows at every epoch's end. It knows outputs and targets, not training."""

from __future__ import annotations

import copy
import inspect
from numbers import Real
from typing import Any

import numpy as np
from sklearn.utils import _safe_indexing

from glassprop.core.network import Network, Parameters
from glassprop.core.plan import FORWARD, OUTPUT
from glassprop.core.workspace import Workspace
from glassprop.estimators.sparse import core_table
from glassprop.training.data import Rows

ROWS_AT_A_TIME = 512


def one_eval_set(eval_set: Any, X: Any, y: Any, sample_weight: Any) -> Any:
    """The rows to judge by, which `fit` is given as one or one by one; None where there are none.

    Raises
    ------
    TypeError
        Where both are given, or X without y or the reverse.
    """
    if X is None and y is None and sample_weight is None:
        return eval_set
    if eval_set is not None:
        raise TypeError("rows to judge by are eval_set=(X, y), or X_val and y_val; got both")
    if X is None or y is None:
        raise TypeError(f"X_val and y_val are given together; {'X_val' if X is None else 'y_val'} is missing")
    return (X, y, sample_weight)


def frame_of(X: Any, rows: np.ndarray | None = None) -> Any:
    """Rows of a data frame, all by default, for a scorer that goes by the names of columns; None where X is none."""
    kind = type(X)
    if kind.__name__ != "DataFrame" or kind.__module__.split(".")[0] not in ("pandas", "polars"):
        return None
    return X if rows is None else _safe_indexing(X, rows)


class Judge:
    """The score of held-out rows, for the parameters as they are when it is asked.

    Parameters
    ----------
    model : estimator
        Its `scoring` decides; None asks its own ``_score_outputs``: accuracy or R².
    network : Network
    parameters : Parameters
        Those that training changes in place.
    rows : (X, Y, weights)
    shown : (frame or None, array)
        What a scorer takes: X where it was given as a data frame; and targets as a person gave them, (rows,) or
        (rows, outputs).
    """

    def __init__(self, model: Any, network: Network, parameters: Parameters, rows: Rows, shown: tuple[Any, Any]) -> None:
        self._model, self._parameters, self._rows, (self._frame, self._labels) = model, parameters, rows, shown
        self._batches = -(-rows[0].shape[0] // ROWS_AT_A_TIME)
        self._scorer = None
        if model.scoring is None:
            X = core_table(rows[0], parameters.dtype)
            self._work = Workspace(network, parameters.theta, X, batch_size=ROWS_AT_A_TIME, output=True)
        else:
            from sklearn.metrics import check_scoring

            self._scorer = check_scoring(model, model.scoring)
            self._named = {} if rows[2] is None or not takes_weights(self._scorer) else {"sample_weight": rows[2]}

    def __call__(self) -> float:
        """The score, higher is better; NaN where outputs are not finite."""
        X, Y, weights = self._rows
        if self._scorer is not None:
            fitted = copy.copy(self._model)
            fitted._show(self._parameters)
            if self._frame is None:
                fitted.__dict__.pop("feature_names_in_", None)  # these rows have none
            else:
                X = self._frame
            return self._finite(self._scorer(fitted, X, self._labels, **self._named))
        self._work.run(0, self._batches, FORWARD | OUTPUT)
        outputs = self._work["output"]
        return float(self._model._score_outputs(outputs, Y, weights)) if np.isfinite(outputs).all() else float("nan")

    def _finite(self, score: Any) -> float:
        if np.ndim(score) == 0 and isinstance(score, (Real, np.ndarray)) and np.isfinite(float(score)):
            return float(score)
        raise ValueError(f"scoring must give a finite number; {self._model.scoring!r} gave {score!r}")


def takes_weights(scorer: Any) -> bool:
    """Whether a scorer takes row weights: a function of its own, or the metric that scikit-learn's scorer asks.

    A scorer of scikit-learn's may have been told to leave them alone.
    """
    if hasattr(scorer, "get_metadata_routing") and scorer.get_metadata_routing().score.requests.get("sample_weight") is False:
        return False
    try:
        parameters = inspect.signature(getattr(scorer, "_score_func", scorer)).parameters.values()
    except ValueError:  # of some builtins nobody knows
        return False
    return any(each.name == "sample_weight" or each.kind is each.VAR_KEYWORD for each in parameters)
