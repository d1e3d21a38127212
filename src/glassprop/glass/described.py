"""Update rules from their description as data: the reverse of ``optimizer.describe()``. It executes nothing it reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from glassprop.core.schedules import SCHEDULES
from glassprop.core.update import OPTIMIZERS, Optimizer

_SCHEDULES = {schedule.__name__: schedule for schedule in SCHEDULES.values()}


def optimizer_of(description: Mapping[str, Any], learning_rate: Any = None) -> Optimizer | None:
    """The rule; None where its learning rate is a function that only its author has, and none is given in its place.

    Raises
    ------
    KeyError, TypeError, ValueError
        Where it is no description of a rule.

    Examples
    --------
    >>> import glassprop as gp
    >>> from glassprop.glass.described import optimizer_of
    >>> rule = gp.Adam(gp.Cosine(0.01, steps=100), clip_norm=1.0)
    >>> optimizer_of(rule.describe()) == rule
    True
    """
    arguments: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in description.items()
    }
    rule: Any = OPTIMIZERS[arguments.pop("name")]
    rate = arguments["learning_rate"]
    if learning_rate is not None:
        arguments["learning_rate"] = learning_rate
    elif isinstance(rate, Mapping):
        given = dict(rate)
        schedule = _SCHEDULES.get(given.pop("name"))
        if schedule is None:
            return None
        arguments["learning_rate"] = schedule(**given)
    return rule(**arguments)
