"""From an estimator to `glass`: the network, the parameters and the rows of a training step.

It explains nothing itself, and imports `glass` only when it is asked to.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
from scipy.sparse import issparse

from glassprop.core.network import Network
from glassprop.estimators.epochs import Memory
from glassprop.estimators.settings import update_rule


def explain(model: Any, X: Any, y: Any, row: int, sample_weight: Any, options: dict[str, Any]) -> Any:
    """What ``glassprop.explain`` makes of one step of the estimator's own solver on these rows.

    Raises
    ------
    ImportError
        Where glassprop comes without `glass`.
    """
    try:
        glass = importlib.import_module("glassprop.glass.explain")
    except ModuleNotFoundError as error:
        raise ImportError("explain needs the package glassprop.glass, which this installation of glassprop lacks") from error
    X, y = model._check_arrays(X, y, reset=False)
    X = X.toarray() if issparse(X) else X  # every number is shown
    X, Y, weights = model._rows(X, y, sample_weight, incremental=True)
    parameters = model._parameters(X.dtype)
    own, mass = model._network(parameters.layers), len(X) if weights is None else float(weights.sum())
    network = Network(  # alpha and l1 are divided by the Σ w of the batch
        own.layers, own.activations, own.output_activation, own.loss, own.l2 / mass, own.l1 / mass, own.dropout
    )
    memory = model.__dict__.get("_optimizer")
    if model.solver != "lbfgs":
        options = {"optimizer": update_rule(model)} | options
        if isinstance(memory, Memory) and memory.state.dtype == X.dtype:
            options = {"state": memory.state, "step": memory.steps} | options
    names = {"input_names": model.__dict__.get("feature_names_in_")}
    if isinstance(getattr(model, "classes_", None), np.ndarray) and len(model.classes_) == parameters.layers[-1]:
        names["output_names"] = [str(label) for label in model.classes_]
    given = {name: list(value) for name, value in names.items() if value is not None}
    return glass.explain(network, parameters, X, Y, row=row, weights=weights, **(given | options))
