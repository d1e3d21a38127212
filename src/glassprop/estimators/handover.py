"""From an estimator to `glass`: the network, the parameters and the rows of a training step.

It explains nothing itself, and imports `glass` only when it is asked to.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
from scipy.sparse import issparse

from glassprop.core.network import Network
from glassprop.estimators.memory import Memory
from glassprop.estimators.settings import update_rule
from glassprop.training.data import Rows


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
    X, Y, weights = batch_of(model, X, y, sample_weight)
    parameters = model._parameters(X.dtype)
    network = batch_network(model, len(X) if weights is None else float(weights.sum()))
    names = {"input_names": model.__dict__.get("feature_names_in_")}
    if isinstance(getattr(model, "classes_", None), np.ndarray) and len(model.classes_) == parameters.layers[-1]:
        names["output_names"] = [str(label) for label in model.classes_]
    given = {name: list(value) for name, value in names.items() if value is not None}
    options = given | step_options(model, X.dtype) | options
    return glass.explain(network, parameters, X, Y, row=row, weights=weights, **options)


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
