"""Learning rate as a function of the step, counted from zero.

It knows step numbers, not data: steps in an epoch are ``ceil(rows / batch_size)``. A number is a constant rate, and any Python
function ``f(step) -> rate`` is a schedule too.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import numpy as np

from glassprop.errors import is_number, names_arguments


def keep_plain_numbers(record: Any) -> None:
    """Put Python's own numbers in place of NumPy's in a frozen record: what is written as data must be plain."""
    for item in fields(record):
        value = getattr(record, item.name)
        if isinstance(value, np.generic):
            object.__setattr__(record, item.name, value.item())


def _check_numbers(owner: object, *names: str) -> None:
    for name in names:
        value = getattr(owner, name)
        if not is_number(value):
            raise TypeError(f"{name} of {type(owner).__name__} must be a number; got {value!r}")


def _check_positive(owner: object, *names: str) -> None:
    _check_numbers(owner, *names)
    for name in names:
        value = getattr(owner, name)
        if not (value > 0 and math.isfinite(value)):
            raise ValueError(f"{name} of {type(owner).__name__} must be greater than 0; got {value!r}")


@names_arguments
@dataclass(frozen=True)
class InverseScaling:
    """η_s = η / (s + 1)^power.

    Examples
    --------
    >>> import glassprop as gp
    >>> gp.InverseScaling(0.1, power=0.5)(3)
    0.05
    """

    learning_rate: float
    power: float = 0.5

    # η₀ is the argument learning_rate, s the number of the step
    formula: ClassVar[str] = "η₀ / (s + 1)^power"

    def __post_init__(self) -> None:
        keep_plain_numbers(self)
        _check_positive(self, "learning_rate", "power")

    def __call__(self, step: Any) -> Any:
        return self.learning_rate / (step + 1) ** self.power


@names_arguments
@dataclass(frozen=True)
class Exponential:
    """η_s = η · decay^(s / steps): `decay` is the factor over `steps` steps.

    Examples
    --------
    >>> import glassprop as gp
    >>> gp.Exponential(0.1, decay=0.5, steps=100)(200)
    0.025
    """

    learning_rate: float
    decay: float
    steps: float = 1

    formula: ClassVar[str] = "η₀ decay^(s / steps)"

    def __post_init__(self) -> None:
        keep_plain_numbers(self)
        _check_positive(self, "learning_rate", "decay", "steps")

    def __call__(self, step: Any) -> Any:
        return self.learning_rate * self.decay ** (step / self.steps)


@names_arguments
@dataclass(frozen=True)
class Cosine:
    """Rises in a line over `warmup` steps to η, then falls along half a cosine to `final` at `steps`, where it stays.

    Loshchilov and Hutter 2017, SGDR. ``η_s = η (s + 1) / warmup`` for s < warmup, then
    ``final + (η − final) (1 + cos π u) / 2`` with ``u = min((s − warmup) / (steps − warmup), 1)``.

    Examples
    --------
    >>> import glassprop as gp
    >>> gp.Cosine(0.1, steps=100)(50)
    0.05
    """

    learning_rate: float
    steps: int
    warmup: int = 0
    final: float = 0.0

    formula: ClassVar[str] = (
        "η₀ (s + 1) / warmup if s < warmup else final + ½ (η₀ − final) (1 + cos(π u)), "
        "u = min((s − warmup) / (steps − warmup), 1)"
    )

    def __post_init__(self) -> None:
        keep_plain_numbers(self)
        _check_positive(self, "learning_rate", "steps")
        _check_numbers(self, "warmup", "final")
        if not 0 <= self.warmup < self.steps:
            raise ValueError(f"warmup of Cosine must be at least 0 and below steps={self.steps!r}; got {self.warmup!r}")
        if not 0 <= self.final <= self.learning_rate:
            raise ValueError(f"final of Cosine must lie between 0 and learning_rate={self.learning_rate!r}; got {self.final!r}")

    def __call__(self, step: Any) -> Any:
        u = np.minimum((step - self.warmup) / (self.steps - self.warmup), 1.0)
        fall = self.final + (self.learning_rate - self.final) * (1 + np.cos(np.pi * u)) / 2
        rate = np.where(np.less(step, self.warmup), self.learning_rate * (step + 1) / max(self.warmup, 1), fall)
        return rate if np.ndim(step) else float(rate)


@names_arguments
@dataclass(frozen=True)
class OneCycle:
    """Rises along half a cosine from ``start · η`` to η, and falls along another to ``final · η`` at `steps`, where it stays.

    Smith and Topin 2018, Super-convergence. The rise takes ``rise · steps`` steps. Momentum is not cycled.

    Examples
    --------
    >>> import glassprop as gp
    >>> gp.OneCycle(0.1, steps=100, rise=0.3)(30)
    0.1
    """

    learning_rate: float
    steps: int
    start: float = 0.04
    final: float = 1e-4
    rise: float = 0.3

    formula: ClassVar[str] = (
        "η₀ (start + ½ (1 − start) (1 − cos(π s / top))) if s < top else η₀ (final + ½ (1 − final) (1 + cos(π u))), "
        "u = min((s − top) / (steps − top), 1), top = rise steps"
    )

    def __post_init__(self) -> None:
        keep_plain_numbers(self)
        _check_positive(self, "learning_rate", "steps")
        _check_numbers(self, "start", "final", "rise")
        for name in ("start", "final", "rise"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} of OneCycle must lie between 0 and 1; got {getattr(self, name)!r}")

    def __call__(self, step: Any) -> Any:
        top, eta = self.rise * self.steps, self.learning_rate
        up = np.minimum(step / top, 1.0) if top > 0 else np.ones_like(step, float)
        down = np.clip((step - top) / (self.steps - top), 0.0, 1.0) if top < self.steps else np.zeros_like(step, float)
        rising = eta * (self.start + (1 - self.start) * (1 - np.cos(np.pi * up)) / 2)
        falling = eta * (self.final + (1 - self.final) * (1 + np.cos(np.pi * down)) / 2)
        rate = np.where(np.less(step, top), rising, falling)
        return rate if np.ndim(step) else float(rate)


Schedule = InverseScaling | Exponential | Cosine | OneCycle
SCHEDULES: dict[str, type] = {
    "inverse_scaling": InverseScaling,
    "exponential": Exponential,
    "cosine": Cosine,
    "one_cycle": OneCycle,
}


def check_learning_rate(value: Any) -> None:
    """Raise unless `value` is a positive number, a schedule, or a function of the step."""
    if callable(value):
        return
    if not is_number(value):
        raise TypeError(f"learning_rate must be a number, a schedule or a function of the step; got {value!r}")
    if not (value > 0 and math.isfinite(value)):
        raise ValueError(f"learning_rate must be greater than 0; got {value!r}")


def learning_rates(value: float | Schedule | Callable[[int], float], first: int, last: int) -> np.ndarray:
    """η of steps `first` to `last` (exclusive), float64.

    Raises
    ------
    ValueError
        Where a user's function gives something that is not a finite number of at least 0; names the step.
    """
    if isinstance(value, Schedule):
        return np.asarray(value(np.arange(first, last, dtype=np.float64)), np.float64)
    if not callable(value):
        return np.full(last - first, float(value))
    rates = np.empty(last - first)
    for i, step in enumerate(range(first, last)):
        rate = value(step)
        if not isinstance(rate, (int, float, np.integer, np.floating)) or not (rate >= 0 and math.isfinite(rate)):
            raise ValueError(
                f"learning_rate must give a finite number of at least 0 for every step; got {rate!r} at step {step}"
            )
        rates[i] = rate
    return rates
