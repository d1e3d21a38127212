"""Networks and update rules as plain data, and back: what files hold of them. It executes nothing it reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from glassprop.core.activations import ACTIVATIONS, Activation
from glassprop.core.losses import LOSSES, Loss
from glassprop.core.network import Network
from glassprop.core.schedules import SCHEDULES, Schedule
from glassprop.core.update import OPTIMIZERS, Optimizer


class UnknownOwn(Exception):
    """An activation or a loss that is neither built in nor given: which of the two, and its name."""

    @property
    def hint(self) -> tuple[str, str]:
        """What it is, and the argument that hands it in."""
        kind, name = self.args
        several = "losses" if kind == "loss" else "activations"
        return f"the {kind} {name!r}", f"{several}={{{name!r}: your glassprop.{kind.capitalize()}}}"


def describe_network(network: Network) -> dict[str, Any]:
    """A network as plain data, activations and loss by name."""
    return {
        "layers": list(network.layers),
        "activations": [row.name for row in network.activations],
        "output_activation": network.output_activation.name,
        "loss": {"name": network.loss.name, **network.loss.options},
        "l2": network.l2,
        "l1": network.l1,
        "dropout": list(network.dropout),
    }


def network_of(
    description: Mapping[str, Any],
    activations: Mapping[str, Activation] | None = None,
    losses: Mapping[str, Loss] | None = None,
) -> Network:
    """The network; `activations` and `losses` are a user's own by name, since a description holds names, not code.

    Raises
    ------
    UnknownOwn
        With the name of one that is neither built in nor given.
    KeyError, TypeError, ValueError
        Where it is no description of a network.
    """
    known: dict[str, str | Activation] = {name: row.name for name, row in ACTIVATIONS.items()}
    known.update(activations or {})

    def find(name: str) -> str | Activation:
        if name not in known:
            raise UnknownOwn("activation", name)
        return known[name]

    options = dict(description["loss"])
    name = options.pop("name")
    loss = Loss(name, **options) if name in LOSSES else (losses or {}).get(name)
    if loss is None:
        raise UnknownOwn("loss", name)
    return Network(
        description["layers"],
        activation=[find(name) for name in description["activations"]],
        output_activation=find(description["output_activation"]),
        loss=loss,
        l2=description["l2"],
        l1=description["l1"],
        dropout=description["dropout"],
    )


_SCHEDULES = {schedule.__name__: schedule for schedule in SCHEDULES.values()}


def describe_schedule(schedule: Schedule) -> dict[str, Any]:
    """A schedule as plain data, by the name of its class."""
    return {"name": type(schedule).__name__, **asdict(schedule)}


def schedule_of(description: Mapping[str, Any]) -> Schedule | None:
    """The schedule; None where it is a function that only its author has.

    Raises
    ------
    KeyError, TypeError, ValueError
        Where it is no description of a schedule.
    """
    arguments = dict(description)
    schedule = _SCHEDULES.get(arguments.pop("name"))
    return None if schedule is None else schedule(**arguments)


def optimizer_of(description: Mapping[str, Any], learning_rate: Any = None) -> Optimizer | None:
    """The rule; None where its learning rate is a function that only its author has, and none is given in its place.

    Raises
    ------
    KeyError, TypeError, ValueError
        Where it is no description of a rule.

    Examples
    --------
    >>> import glassprop as gp
    >>> from glassprop.training.described import optimizer_of
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
        arguments["learning_rate"] = schedule_of(rate)
        if arguments["learning_rate"] is None:
            return None
    return rule(**arguments)
