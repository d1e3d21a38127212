"""What a solver carries from one call of `fit` or `partial_fit` to the next, and what becomes of it where parameters changed.

It knows vectors and names, not rows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import numpy as np

from glassprop.core.network import Network, Parameters, aligned_zeros
from glassprop.core.passes import check_factors
from glassprop.core.update import Optimizer
from glassprop.estimators.settings import RATE_PARAMETERS, RULE_PARAMETERS, schedule, starting_rate, update_rule

ROW_PARAMETERS = ("random_state", "validation_fraction")  # by which rows are held out


@dataclass
class Memory:
    """What a solver carries from one call to the next: with the random state, all of it."""

    settings: dict[str, Any]  # RULE_PARAMETERS and ROW_PARAMETERS of the estimator, as they were when it began
    learning_rate: float
    state: np.ndarray  # (2, theta.size), the update rule's vectors
    steps: int = 0  # done in all calls
    seed: int = 0  # of dropout
    network: Network | None = None  # of the last `partial_fit`, with its workspace
    # for continuing a fit, kept where warm_start asks for it:
    order: np.ndarray | None = None  # row numbers as in the last epoch
    held: np.ndarray | None = None  # rows held out
    # where coefs_ are the best parameters and not the last:
    theta: np.ndarray | None = None  # the last
    left: np.ndarray | None = None  # coefs_ as the call left them

    @property
    def by(self) -> SimpleNamespace:
        """The settings as attributes, as an estimator has them."""
        return SimpleNamespace(**self.settings)

    def changed(self, names: tuple[str, ...], settings: dict[str, Any]) -> bool:
        """Whether any of these is another in `settings`."""
        return any(self.settings[name] != settings[name] for name in names)

    @property
    def rule(self) -> str:
        """The name of the update rule."""
        solver = self.settings["solver"]
        return solver.name if isinstance(solver, Optimizer) else solver

    def fits(self, parameters: Parameters) -> bool:
        """Whether its vectors are of the shape and the precision of these."""
        theta = parameters.theta
        return self.state.shape == (2, theta.size) and self.state.dtype == theta.dtype

    def last_behind(self, shown: Parameters) -> np.ndarray | None:
        """The last parameters, where those of `coefs_` are still what an earlier call left in their place."""
        same = self.left is not None and np.array_equal(self.left, shown.theta)
        return self.theta if same else None

    def next_rule(self) -> Optimizer:
        """The update rule with the learning rate of the next step."""
        rule = update_rule(self.by)
        return replace(rule, learning_rate=schedule(self.by, rule) or self.learning_rate)


def settings_of(model: Any) -> dict[str, Any]:
    """The parameters of an estimator that a memory goes by."""
    return {name: getattr(model, name) for name in (*RULE_PARAMETERS, *ROW_PARAMETERS)}


def memory_of_call(model: Any, parameters: Parameters, left: Memory | None, incremental: bool) -> Memory:
    """A copy of what an earlier call left, or a new memory where that does not fit rule and parameters.

    `partial_fit` keeps rule and learning rate, as scikit-learn does; `fit` goes by the estimator's parameters as they are, and
    what none of them changes goes on. The earlier memory stays as it is: a call may fail.
    """
    settings = settings_of(model)
    if left is not None and incremental:
        settings |= {name: left.settings[name] for name in RULE_PARAMETERS}
    by = SimpleNamespace(**settings)
    rule, state = update_rule(by), aligned_zeros((2, parameters.theta.size), parameters.dtype)
    check_factors(rule, parameters.layers)
    memory = Memory(settings, starting_rate(by, rule), state)
    reseeded = True
    if left is not None and left.fits(parameters) and left.rule == rule.name:
        state[...] = left.state
        rate = memory.learning_rate if left.changed(RATE_PARAMETERS, settings) else left.learning_rate
        memory = replace(left, settings=settings, learning_rate=rate, state=state)
        reseeded = left.changed(("random_state",), settings) and not incremental
        if left.changed(ROW_PARAMETERS, settings):
            memory.order = memory.held = None
    if reseeded and np.any(model.dropout):
        memory.seed = int(model._random_state.randint(2**31))
    return memory
