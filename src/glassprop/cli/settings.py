"""Loss and update rule, from the options of a command. It prints nothing."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from glassprop.errors import unknown_name

if TYPE_CHECKING:
    import pandas as pd

    from glassprop.core.losses import Loss
    from glassprop.core.update import Optimizer

OPTION_LOSSES = {
    "delta": ("huber",),
    "quantile": ("quantile",),
    "label_smoothing": ("cross_entropy", "binary_cross_entropy"),
}
FADE = 0.01  # the share of the learning rate that the schedule "exponential" ends at


def loss_of(asked: SimpleNamespace, rows: pd.DataFrame) -> Loss | None:
    """The loss that was asked for; None where the target is to decide."""
    from glassprop.core.losses import LOSSES, Loss

    given = {
        name: getattr(asked, name) for name in ("delta", "quantile", "label_smoothing") if getattr(asked, name) is not None
    }
    if asked.loss is None:
        if not given:
            return None
        asked.loss = OPTION_LOSSES[next(iter(given))][0]
        _check_target(asked, rows, next(iter(given)))
    for name in given:
        if asked.loss in LOSSES and asked.loss not in OPTION_LOSSES[name]:
            raise ValueError(f"{_goes_with(name)}; the loss is {asked.loss}")
    loss = Loss(asked.loss, **given)
    check_link(asked, loss)
    return loss


def check_link(asked: SimpleNamespace, loss: Loss) -> None:
    """Raise where the outputs are not to be those that a loss is made for."""
    from glassprop.core.activations import ACTIVATIONS

    if loss.link not in ("identity", asked.output_activation) and asked.output_activation in ACTIVATIONS:
        raise ValueError(
            f"--output-activation {asked.output_activation} does not go with the loss {loss.name}, whose outputs are those of "
            f"{loss.link}: leave it out"
        )


def _check_target(asked: SimpleNamespace, rows: pd.DataFrame, option: str) -> None:
    """Raise where the loss that an option stands for cannot go with the target."""
    from glassprop.tables.columns import check_column
    from glassprop.tables.preparation import decide_task

    check_column(rows, asked.target, "target")
    column = rows[asked.target]
    task, _, reason = decide_task(column, asked.target, None)
    if option == "label_smoothing":
        fits = task == "classification"
    else:
        fits = column.dtype.kind in "iuf"
    if not fits:
        raise ValueError(f"{_goes_with(option)}; {reason}")


def _goes_with(option: str) -> str:
    losses = OPTION_LOSSES[option]
    return f"--{option.replace('_', '-')} goes with " + (f"the loss {losses[0]}" if len(losses) == 1 else "the cross-entropies")


def update_rule(asked: SimpleNamespace, steps: int) -> Optimizer:
    """The update rule, its schedule over so many steps."""
    from glassprop.core.update import OPTIMIZERS

    if asked.optimizer not in OPTIMIZERS:
        raise unknown_name("optimizer", asked.optimizer, OPTIMIZERS)
    given = {
        name: getattr(asked, name) for name in ("momentum", "weight_decay", "clip_norm") if getattr(asked, name) is not None
    }
    given |= {"nesterov": True} if asked.nesterov else {}
    for name in ("momentum", "nesterov"):
        if name in given and asked.optimizer != "sgd":
            raise ValueError(f"--{name} goes with --optimizer sgd; got {asked.optimizer!r}")
    if asked.learning_rate is not None and not 0 < asked.learning_rate < math.inf:
        raise ValueError(f"--learning-rate must be greater than 0; got {asked.learning_rate:g}")
    rule: Any = OPTIMIZERS[asked.optimizer]
    rate = rule().learning_rate if asked.learning_rate is None else asked.learning_rate
    return rule(learning_rate=_schedule(asked.schedule, rate, steps), **given)


def _schedule(name: str, rate: float, steps: int) -> Any:
    from glassprop.core.schedules import Cosine, Exponential, InverseScaling, OneCycle

    makers: dict[str, Callable[[], Any]] = {
        "constant": lambda: rate,
        "inverse_scaling": lambda: InverseScaling(rate),
        "exponential": lambda: Exponential(rate, decay=FADE, steps=steps),
        "cosine": lambda: Cosine(rate, steps=steps),
        "one_cycle": lambda: OneCycle(rate, steps=steps),
    }
    if name not in makers:
        raise unknown_name("schedule", name, makers)
    return makers[name]()
