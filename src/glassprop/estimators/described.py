"""A fitted estimator as plain data and arrays, and back: what files hold of it. It executes nothing it reads.

With its parameters and its network, which model files hold anyway, it is all that predicting and continuing go by. Callbacks
and metadata requests are not in it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils.validation import check_is_fitted

from glassprop.core.activations import ACTIVATIONS, Activation
from glassprop.core.losses import Loss
from glassprop.core.network import Network, Parameters
from glassprop.core.schedules import Schedule
from glassprop.core.update import OPTIMIZERS
from glassprop.estimators.classifier import MLPClassifier
from glassprop.estimators.labels import SEVERAL, ColumnsBinarizer
from glassprop.estimators.memory import Memory, settings_of
from glassprop.estimators.outputs import LOSSES
from glassprop.estimators.regressor import MLPRegressor
from glassprop.training.described import describe_schedule, optimizer_of, schedule_of

Tensors = dict[str, np.ndarray]

ESTIMATORS: dict[str, type] = {"MLPClassifier": MLPClassifier, "MLPRegressor": MLPRegressor}
COUNTS = ("n_features_in_", "n_outputs_", "n_layers_", "n_iter_", "t_", "_no_improvement_count")
NUMBERS = ("loss_", "best_loss_", "best_validation_score_")
CURVES = ("loss_curve_", "validation_loss_curve_", "validation_scores_")  # float64, NaN where an epoch diverged
GENERATOR = "MT19937"
GENERATOR_WORDS = 624


def describe_estimator(model: Any) -> tuple[Network, Parameters, dict[str, Any], Tensors]:
    """A fitted estimator as its network, its parameters, plain data, and arrays.

    Raises
    ------
    NotFittedError
    TypeError
        Where a parameter or a label is no data, as a function is; the message says which.
    """
    check_is_fitted(model)
    parameters, fitted = model._parameters(), vars(model)
    tensors: Tensors = {}
    facts: dict[str, Any] = {
        "class": type(model).__name__,
        "parameters": {name: _data(name, value) for name, value in model.get_params(deep=False).items()},
        "fitted": {name: _data(name, fitted[name]) for name in (*COUNTS, *NUMBERS) if name in fitted},
        "out_activation": model.out_activation_,
        "curves": {name: fitted[name] is not None for name in CURVES if name in fitted},
        "criterion": fitted.get("_criterion"),
    }
    tensors |= {name: np.array(fitted[name], np.float64) for name, is_there in facts["curves"].items() if is_there}
    if "feature_names_in_" in fitted:
        facts["feature_names"] = [str(name) for name in model.feature_names_in_]
    if "classes_" in fitted:
        facts["labels"] = _describe_labels(model._label_binarizer, tensors)
    if "_by_inputs" in fitted:
        facts["by_inputs"] = bool(model._by_inputs)
    if "_balanced" in fitted:
        facts["balanced"] = _data("class_weight", model._balanced)
    generator = fitted.get("_random_state") if isinstance(model.random_state, int | np.integer) else model.random_state
    if isinstance(generator, np.random.RandomState):
        facts["random_state"] = _describe_generator(generator, tensors)
    if isinstance(fitted.get("_optimizer"), Memory) and model._optimizer.fits(parameters):
        facts["memory"] = _describe_memory(model._optimizer, parameters, tensors)
    return model._network(parameters.layers), parameters, facts, tensors


def estimator_of(
    network: Network,
    parameters: Parameters,
    facts: Mapping[str, Any],
    tensors: Mapping[str, np.ndarray],
    activations: Mapping[str, Activation] | None = None,
    losses: Mapping[str, Loss] | None = None,
) -> Any:
    """The estimator that `describe_estimator` described; `activations` and `losses` are a user's own by name.

    Raises
    ------
    KeyError, TypeError, ValueError, AttributeError
        Where it is no description of an estimator.
    """
    generator = _generator_of(facts["random_state"], tensors) if "random_state" in facts else None
    known = ({**ACTIVATIONS, **(activations or {})}, losses or {})
    given = {name: _value(value, known, generator) for name, value in facts["parameters"].items()}
    model = ESTIMATORS[facts["class"]](**given)
    model._validate_params()
    fitted = vars(model)
    fitted.update({name: int(facts["fitted"][name]) for name in COUNTS if name in facts["fitted"]})
    fitted.update({name: _number(facts["fitted"][name]) for name in NUMBERS if name in facts["fitted"]})
    fitted.update({name: _curve(tensors[name]) if is_there else None for name, is_there in facts["curves"].items()})
    if (fitted["n_features_in_"], fitted["n_outputs_"], fitted["n_layers_"]) != (
        network.layers[0], network.layers[-1], len(network.layers)
    ):  # fmt: skip
        raise ValueError(f"its numbers of inputs, outputs and layers are not those of its network {network.layers}")
    if facts["out_activation"] not in {*LOSSES, "identity"}:
        raise ValueError(f"it has no output activation {facts['out_activation']!r}")
    fitted["out_activation_"] = facts["out_activation"]
    if facts["criterion"] is not None:
        fitted["_criterion"] = str(facts["criterion"])
    if "feature_names" in facts:
        fitted["feature_names_in_"] = np.array([str(name) for name in facts["feature_names"]], object)
    if "labels" in facts:
        fitted["_label_binarizer"] = _binarizer_of(facts["labels"], network.layers[-1], tensors)
        fitted["classes_"] = fitted["_label_binarizer"].classes_
    if "balanced" in facts:
        fitted["_balanced"] = _value(facts["balanced"], known, None)
    if generator is not None:
        fitted["_random_state"] = generator
    if "by_inputs" in facts:
        fitted["_by_inputs"] = bool(facts["by_inputs"])
    model._show(parameters)
    if "memory" in facts:
        settings = {name: _value(facts["memory"]["settings"][name], known, generator) for name in settings_of(model)}
        fitted["_optimizer"] = _memory_of(facts["memory"], settings, parameters, tensors)
    return model


# --- parameters of the constructor ---------------------------------------------------------------------------------------


def _data(name: str, value: Any) -> Any:
    """A parameter's value as JSON holds it; what JSON has no word for is a dict with one."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"float": repr(value)}
    if isinstance(value, tuple):
        return {"tuple": [_data(name, each) for each in value]}
    if isinstance(value, list | np.ndarray):
        return [_data(name, each) for each in value]
    if isinstance(value, dict):
        return {"dict": [[_data(name, each) for each in pair] for pair in value.items()]}
    if isinstance(value, Activation):
        return {"activation": value.name}
    if isinstance(value, Loss):
        return {"loss": {"name": value.name, **value.options}}
    if isinstance(value, np.random.RandomState):
        return {"random_state": None}  # its state is stored beside
    if isinstance(value, Schedule):
        return {"schedule": describe_schedule(value)}
    if type(value) in OPTIMIZERS.values() and not _is_function(value.learning_rate):
        return {"rule": value.describe()}
    raise TypeError(
        f"a file holds data, not code: {name} is {value!r}, which it cannot hold; change it before saving "
        f"(set_params({name}=...)), or keep the whole estimator with pickle, among those you trust"
    )


def _is_function(rate: Any) -> bool:
    return callable(rate) and not isinstance(rate, Schedule)


def _value(data: Any, known: tuple[Mapping[str, Activation], Mapping[str, Loss]], generator: Any) -> Any:
    """What `_data` made data of."""
    if isinstance(data, list):
        return [_value(each, known, generator) for each in data]
    if not isinstance(data, dict):
        return data
    ((kind, held),) = data.items()
    if kind == "tuple":
        return tuple(_value(each, known, generator) for each in held)
    if kind == "dict":
        return {_value(key, known, generator): _value(value, known, generator) for key, value in held}
    if kind == "random_state":
        return generator
    read: dict[str, Any] = {
        "float": float,
        "activation": known[0].__getitem__,
        "loss": lambda held: (
            known[1].get(held["name"]) or Loss(held["name"], **{name: value for name, value in held.items() if name != "name"})
        ),
        "schedule": schedule_of,
        "rule": optimizer_of,
    }
    return read[kind](held)


def _number(data: Any) -> float | None:
    return None if data is None else float(data["float"] if isinstance(data, dict) else data)


def _curve(values: np.ndarray) -> list[float]:
    if values.ndim != 1 or values.dtype != np.float64:
        raise ValueError(f"a curve must be float64 of one dimension; it is {values.dtype} of {values.shape}")
    return values.tolist()


# --- labels --------------------------------------------------------------------------------------------------------------


def _describe_labels(binarizer: Any, tensors: Tensors) -> dict[str, Any]:
    several = binarizer.y_type_ == SEVERAL
    columns = binarizer.classes_ if several else [binarizer.classes_]
    facts: dict[str, Any] = {"kind": binarizer.y_type_, "columns": []}
    if not several:
        facts["sparse"] = bool(binarizer.sparse_input_)
    for number, classes in enumerate(columns):
        if classes.dtype.kind in "biuf" and classes.dtype.itemsize <= 8:  # a file knows no longer numbers
            tensors[f"classes{number}"] = classes
            facts["columns"].append(None)
        elif classes.dtype.kind in "OU" and all(isinstance(label, str | bool | int | float) for label in classes):
            facts["columns"].append({"dtype": classes.dtype.str, "labels": [_data("classes_", label) for label in classes]})
        else:
            raise TypeError(f"labels must be text or numbers to be saved, of 64 bits at most; got {classes!r}")
    return facts


def _binarizer_of(facts: Mapping[str, Any], outputs: int, tensors: Mapping[str, np.ndarray]) -> Any:
    columns = [
        tensors[f"classes{number}"] if column is None else _text(column) for number, column in enumerate(facts["columns"])
    ]
    count = sum(len(classes) for classes in columns)
    if count != outputs and not (facts["kind"] == "binary" and outputs == 1 and count <= 2):
        raise ValueError(f"its {count} classes are not those of {outputs} outputs")
    binarizer: Any = ColumnsBinarizer()
    if facts["kind"] == SEVERAL:
        binarizer.classes_ = columns
        return binarizer
    binarizer = LabelBinarizer()
    binarizer.y_type_, binarizer.sparse_input_, (binarizer.classes_,) = str(facts["kind"]), bool(facts["sparse"]), columns
    return binarizer


def _text(column: Mapping[str, Any]) -> np.ndarray:
    dtype = np.dtype(column["dtype"])
    if dtype.kind not in "OU":
        raise ValueError(f"labels that are written out are text or objects; not {dtype}")
    return np.array([_value(label, ({}, {}), None) for label in column["labels"]], dtype)


# --- what continuing goes by ---------------------------------------------------------------------------------------------


def _describe_generator(generator: np.random.RandomState, tensors: Tensors) -> dict[str, Any]:
    state: Any = generator.get_state(legacy=False)
    if state["bit_generator"] != GENERATOR:
        raise TypeError(f"random_state must be of {GENERATOR} to be saved, NumPy's own; got {state['bit_generator']}")
    tensors["random_state"] = state["state"]["key"]
    return {"pos": int(state["state"]["pos"]), "has_gauss": int(state["has_gauss"]), "gauss": float(state["gauss"])}


def _generator_of(facts: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> np.random.RandomState:
    key, pos = tensors["random_state"], int(facts["pos"])
    if key.shape != (GENERATOR_WORDS,) or key.dtype != np.uint32 or not 0 <= pos <= GENERATOR_WORDS:
        raise ValueError("its random state is none")  # NumPy itself would read beyond the end
    generator = np.random.RandomState(0)
    generator.set_state({
        "bit_generator": GENERATOR, "state": {"key": key, "pos": pos},
        "has_gauss": int(facts["has_gauss"]), "gauss": float(facts["gauss"]),
    })  # fmt: skip
    return generator


def _describe_memory(memory: Memory, parameters: Parameters, tensors: Tensors) -> dict[str, Any]:
    vectors = {"state1": memory.state[0], "state2": memory.state[1], "last": memory.last_behind(parameters)}
    for prefix, vector in vectors.items():
        if vector is not None:
            shaped = parameters.with_theta(vector)
            for l, (W, b) in enumerate(zip(shaped.W, shaped.b, strict=True), 1):
                tensors[f"{prefix}_W{l}"], tensors[f"{prefix}_b{l}"] = np.ascontiguousarray(W), b
    rows = {"order": memory.order, "held": memory.held}
    tensors |= {name: numbers for name, numbers in rows.items() if numbers is not None}
    return {
        "settings": {name: _data(name, value) for name, value in memory.settings.items()},
        "learning_rate": memory.learning_rate,
        "steps": memory.steps,
        "seed": memory.seed,
    }


def _memory_of(
    facts: Mapping[str, Any], settings: dict[str, Any], parameters: Parameters, tensors: Mapping[str, np.ndarray]
) -> Memory:
    order, held = tensors.get("order"), tensors.get("held")
    rows = np.concatenate([numbers for numbers in (order, held) if numbers is not None] or [np.zeros(0, np.int64)])
    if rows.dtype != np.int64 or not np.array_equal(np.sort(rows), np.arange(len(rows))):
        raise ValueError("its row numbers must be each of those of a table once")  # the core reads where they point
    state = np.stack([_vector(prefix, parameters.layers, tensors) for prefix in ("state1", "state2")])
    theta = _vector("last", parameters.layers, tensors) if "last_W1" in tensors else None
    memory = Memory(
        settings, float(facts["learning_rate"]), state, steps=int(facts["steps"]), seed=int(facts["seed"]),
        order=order, held=held, theta=theta, left=None if theta is None else parameters.theta.copy(),
    )  # fmt: skip
    memory.next_rule()  # or the settings are none
    return memory


def _vector(prefix: str, layers: tuple[int, ...], tensors: Mapping[str, np.ndarray]) -> np.ndarray:
    """The flat vector whose layers are tensors of this prefix."""
    parameters = Parameters(layers, tensors[f"{prefix}_W1"].dtype)
    for l, (W, b) in enumerate(zip(parameters.W, parameters.b, strict=True), 1):
        for name, view in ((f"{prefix}_W{l}", W), (f"{prefix}_b{l}", b)):
            if tensors[name].shape != view.shape:
                raise ValueError(f"the tensor {name} must be of {view.shape}; it is {tensors[name].shape}")
            view[...] = tensors[name]
    return parameters.theta
