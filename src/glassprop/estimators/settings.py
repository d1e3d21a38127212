"""From scikit-learn's words to the core's: activations, losses, update rules.

It knows names and numbers, not data. What it does not translate is refused by the core itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any, ClassVar

from glassprop.core.activations import HIDDEN, Activation
from glassprop.core.losses import Loss
from glassprop.core.schedules import Schedule
from glassprop.core.update import OPTIMIZERS, SGD, Adam, Optimizer

#: scikit-learn's name for what the core calls otherwise.
CORE_ACTIVATIONS = {"logistic": "sigmoid"}
ACTIVATION_NAMES = frozenset({*HIDDEN, *CORE_ACTIVATIONS})

#: The regressor's losses by scikit-learn's name.
CORE_LOSSES = {
    "squared_error": "half_squared_error",
    "absolute_error": "absolute_error",
    "huber": "huber",
    "quantile": "quantile",
    "poisson": "poisson",
}

#: scikit-learn's name of an output activation, for the loss whose link it is.
OUT_ACTIVATIONS = {"binary_cross_entropy": "logistic", "cross_entropy": "softmax", "poisson": "exp"}


class _AnyMomentum(SGD):
    """SGD with a momentum of 1 too, which scikit-learn allows."""

    ranges: ClassVar = {"momentum": (0.0, math.inf)}


def _betas(model: Any) -> tuple[float, float, float]:
    return float(model.beta_1), float(model.beta_2), float(model.epsilon)


#: Update rules whose constants are parameters of the estimator; the others take the core's own.
_RULES: dict[str, Callable[[Any, float], Optimizer]] = {
    "sgd": lambda model, rate: _AnyMomentum(rate, momentum=float(model.momentum), nesterov=model.nesterovs_momentum),
    "adam": lambda model, rate: Adam(rate, *_betas(model), epsilon_hat=True),
    "adamw": lambda model, rate: OPTIMIZERS["adamw"](rate, *_betas(model)),  # type: ignore[call-arg, arg-type]
}

SOLVER_NAMES = frozenset({"lbfgs", *OPTIMIZERS})

#: Parameters of the estimator that say where the learning rate starts, and all by which a solver steps.
RATE_PARAMETERS = ("solver", "learning_rate", "learning_rate_init")
RULE_PARAMETERS = (
    *RATE_PARAMETERS, "power_t", "momentum", "nesterovs_momentum", "beta_1", "beta_2", "epsilon", "weight_decay",
    "gradient_clip",
)  # fmt: skip

#: Parameters whose value may have constants of its own.
WITH_CONSTANTS = ("solver", "learning_rate")


def constants_of(owner: Any) -> dict[str, Any]:
    """The constants of an update rule or a schedule by scikit-learn's paths, with those of the rule's own schedule."""
    if not is_dataclass(owner) or isinstance(owner, type):
        return {}
    found = {item.name: getattr(owner, item.name) for item in fields(owner) if item.init}
    for name in WITH_CONSTANTS:
        found |= {f"{name}__{constant}": value for constant, value in constants_of(found.get(name)).items()}
    return found


def by_owner(values: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Values by paths, `solver__weight_decay`, as values by constant for each owner; names without one belong to ''."""
    found: dict[str, dict[str, Any]] = {}
    for path, value in values.items():
        owner, inside, constant = path.partition("__")
        found.setdefault(owner if inside else "", {})[constant if inside else path] = value
    return found


def with_constants(owner: Any, values: dict[str, Any], name: str) -> Any:
    """An update rule or schedule with other constants, by paths; the one that is given stays as it is.

    Raises
    ------
    ValueError
        Where what `name` names has no such constants.
    """
    known = constants_of(owner)
    if not known:
        kind = (
            "a schedule such as glassprop.Cosine" if name.endswith("learning_rate") else "a rule such as glassprop.Adam(1e-3)"
        )
        raise ValueError(f"{name}__{next(iter(values))} is a constant of {kind}, given as {name}; got {name}={owner!r}")
    inside = by_owner(values)
    direct = inside.pop("", {})
    for wrong in (constant for constant in (*direct, *inside) if constant not in known):
        valid = [constant for constant in known if "__" not in constant]
        raise ValueError(f"Invalid parameter {wrong!r} of {name}={owner!r}. Valid parameters are: {valid!r}.")
    changed = replace(owner, **direct)
    deeper = {inner: with_constants(getattr(changed, inner), of, f"{name}__{inner}") for inner, of in inside.items()}
    return replace(changed, **deeper)


def update_rule(model: Any) -> Optimizer:
    """The update rule that the estimator's `solver` names, with its constants; a rule that is given is taken as it is.

    Of the estimator, it goes by RULE_PARAMETERS alone.
    """
    if isinstance(model.solver, Optimizer):
        rule = model.solver
    else:
        make = _RULES.get(model.solver) or (lambda _, rate: OPTIMIZERS[model.solver](rate))  # type: ignore[call-arg]
        rule = make(model, float(model.learning_rate_init))
    shared = {"weight_decay": model.weight_decay, "clip_norm": model.gradient_clip}
    given: dict[str, Any] = {name: float(value) for name, value in shared.items() if value is not None}
    return replace(rule, **given)


def most_threads(n_jobs: int | None) -> int | None:
    """The bound that `n_jobs` sets on the core's threads; None where there is none."""
    return None if n_jobs is None or n_jobs < 0 else int(n_jobs)


def starting_rate(model: Any, rule: Optimizer) -> float:
    """The learning rate to begin with, where it is a number."""
    return float(model.learning_rate_init if callable(rule.learning_rate) else rule.learning_rate)


def schedule(model: Any, rule: Optimizer) -> Schedule | Callable[[int], float] | None:
    """The learning rate where it is a function of the step, or None where it is a number that epochs may change."""
    for value in (model.learning_rate, rule.learning_rate):
        if callable(value):
            return value
    return None


def changes_by_epoch(model: Any) -> str:
    """How epochs change the learning rate: constant, invscaling or adaptive. With Adam they do not, as in scikit-learn."""
    named = isinstance(model.learning_rate, str) and isinstance(model.solver, str) and model.solver != "adam"
    return model.learning_rate if named else "constant"


def core_activations(value: Any, hidden: int) -> list[str | Activation]:
    """One activation for each hidden layer, by the core's names."""
    several = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value] * hidden
    if len(several) != hidden:
        raise ValueError(f"activation must be one or one for each of the {hidden} hidden layers; got {len(several)}")
    return [CORE_ACTIVATIONS.get(each, each) if isinstance(each, str) else each for each in several]


def starting_activations(value: Any, hidden: int) -> list[str]:
    """For each layer of weights, the activation within whose bound they start.

    The output takes that of the last hidden layer; without one, it takes what `activation` would give it, as in scikit-learn.
    """
    named = core_activations(value, hidden)
    last = (named or core_activations(value or "relu", 1))[-1]
    return [each if isinstance(each, str) else each.name for each in (*named, last)]


def core_loss(value: str | Loss) -> Loss:
    """The core's loss for the regressor's `loss`."""
    if isinstance(value, Loss) and not value.own and value.name not in CORE_LOSSES.values():
        raise ValueError(f"loss of a regressor must be one of {', '.join(CORE_LOSSES)}; got {value!r}, which is of classes")
    return value if isinstance(value, Loss) else Loss(CORE_LOSSES[value])
