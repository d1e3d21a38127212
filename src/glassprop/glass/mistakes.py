"""Table of mistakes in a training step: what each would make of the parameters.

Steps here are wrong on purpose. They start from the core's forward and backward pass, and where the core makes the mistake when
it is given another gradient or setting, it does; only what it cannot do wrong is written out, in NumPy.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from glassprop.core.network import Network, Parameters
from glassprop.core.passes import Backward, backward, forward, update
from glassprop.core.schedules import learning_rates
from glassprop.core.update import Adam, Optimizer
from glassprop.glass.slopes import slope_and_values


@dataclass(frozen=True)
class Step:
    """One step of a rule on a batch, in float64. Vectors are flat, like ``theta``."""

    network: Network
    before: Parameters
    X: np.ndarray  # (rows, inputs)
    Y: np.ndarray  # (rows, outputs) or (rows, 1)
    weights: np.ndarray | None  # (rows,)
    optimizer: Optimizer
    state: np.ndarray  # (2, theta.size), before the step
    number: int  # from zero

    @cached_property
    def forward(self) -> Any:
        """The core's forward pass."""
        return forward(self.network, self.before, self.X)

    @cached_property
    def back(self) -> Backward:
        """The core's backward pass."""
        return backward(self.network, self.before, self.forward, self.Y, self.weights)

    @property
    def G(self) -> np.ndarray:
        """The gradient, penalties included."""
        return self.back.gradient.theta

    @property
    def theta(self) -> np.ndarray:
        """The parameters before."""
        return self.before.theta

    @cached_property
    def is_weight(self) -> np.ndarray:
        """1 where theta holds a weight, 0 for biases and padding."""
        mask = self.before.with_theta(np.zeros_like(self.theta))
        for W in mask.W:
            W[...] = 1
        return mask.theta

    @cached_property
    def is_parameter(self) -> np.ndarray:
        """True where theta holds a parameter, not padding."""
        mask = self.before.with_theta(np.zeros_like(self.theta))
        for array in (*mask.W, *mask.b):
            array[...] = 1
        return mask.theta == 1

    @property
    def penalty(self) -> np.ndarray:
        """The penalties' share of the gradient."""
        return (self.network.l2 * self.theta + self.network.l1 * np.sign(self.theta)) * self.is_weight

    @property
    def mass(self) -> float:
        """Rows, or the sum of their weights: what the mean divides by."""
        return float(len(self.X) if self.weights is None else self.weights.sum())

    @cached_property
    def eta(self) -> np.ndarray:
        """The learning rate of every parameter."""
        rate = float(learning_rates(self.optimizer.learning_rate, self.number, self.number + 1)[0])
        rates = self.before.with_theta(np.full_like(self.theta, rate))
        for W, b, factor in zip(rates.W, rates.b, self.optimizer.layer_factors or (), strict=False):
            W *= factor
            b *= factor
        return rates.theta

    @property
    def clipped(self) -> np.ndarray:
        """The gradient as the rule takes it."""
        norm, limit = self.back.gradient_norm, self.optimizer.clip_norm
        return self.G if limit is None or norm <= limit else self.G * (limit / norm)

    @property
    def decayed(self) -> np.ndarray:
        """The parameters after decoupled decay, before the rule."""
        return self.theta * (1 - self.eta * self.optimizer.weight_decay * self.is_weight)

    def after(self, G: np.ndarray | None = None, number: int | None = None, **changes: Any) -> np.ndarray:
        """theta after the core's step, with another gradient, step number or setting of the rule where one is given."""
        back = self.back
        if G is not None:
            back = copy.copy(back)
            back.gradient = self.before.with_theta(np.ascontiguousarray(G))
            back.gradient_norm = float(np.sqrt(G @ G))
        rule: Any = replace(self.optimizer, **changes) if changes else self.optimizer
        number = self.number if number is None else number
        return update(self.before, back, optimizer=rule, state=self.state.copy(), step=number).theta

    def gradient_with(self, weights: list[np.ndarray], slopes: bool = True) -> np.ndarray:
        """The gradient where δ goes down through other weights, or without φ′."""
        network, delta = self.network, self.back.delta[-1]
        wrong = self.before.with_theta(self.G.copy())
        for l in range(len(network.activations) - 1, -1, -1):
            delta = delta @ weights[l + 1].T
            if slopes:
                delta = delta * slope_and_values(network.activations[l], self.forward.g[l].ravel())[0].reshape(delta.shape)
            below = self.X if l == 0 else self.forward.h[l - 1]
            wrong.W[l][...] = below.T @ delta / self.mass
            wrong.b[l][...] = delta.sum(0) / self.mass
        penalty = self.before.with_theta(self.penalty)
        for W, P in list(zip(wrong.W, penalty.W, strict=True))[:-1]:
            W += P
        return wrong.theta


# --- what the core cannot do wrong ---------------------------------------------------------------------------------------


def _adam(
    step: Step, inside: bool = False, corrected: bool = True, uncorrected_epsilon: bool = False, fresh: float | None = None
) -> np.ndarray:
    rule: Any = step.optimizer
    t, G = step.number + 1, step.clipped
    m = rule.beta1 * step.state[0] + (1 - rule.beta1 if fresh is None else fresh) * G
    v = rule.beta2 * step.state[1] + (1 - rule.beta2) * G * G
    first, second = (1 - rule.beta1**t, 1 - rule.beta2**t) if corrected else (1.0, 1.0)
    if uncorrected_epsilon:
        return step.decayed - step.eta * np.sqrt(second) / first * m / (np.sqrt(v) + rule.epsilon)
    root = np.sqrt(v / second + rule.epsilon) if inside else np.sqrt(v / second) + rule.epsilon
    return step.decayed - step.eta * (m / first) / root


def _root_inside(step: Step) -> np.ndarray:
    rule: Any = step.optimizer
    keep, fresh = (rule.rho, 1 - rule.rho) if rule.name == "rmsprop" else (1.0, 1.0)
    s = keep * step.state[0] + fresh * step.clipped**2
    return step.decayed - step.eta * step.clipped / np.sqrt(s + rule.epsilon)


def _momentum(step: Step, fresh: float) -> np.ndarray:
    rule: Any = step.optimizer
    return step.decayed + rule.momentum * step.state[0] - fresh * step.eta * step.clipped


def _first_of_adam(step: Step) -> np.ndarray:
    return step.decayed - step.eta * step.clipped / (np.abs(step.clipped) + Adam().epsilon)


def _without_biases(step: Step) -> np.ndarray:
    return step.after(step.G * step.is_weight)


def _updated_weights(step: Step) -> np.ndarray:
    return step.after(step.gradient_with(step.before.with_theta(step.after()).W))


def _transposed(step: Step) -> np.ndarray:
    return step.after(step.gradient_with([W.T if W.shape[0] == W.shape[1] else W for W in step.before.W]))


def _has(name: str) -> Callable[[Step], bool]:
    """Whether the rule has such a setting, and it is not 0."""
    return lambda step: bool(getattr(step.optimizer, name, 0))


def _always(step: Step) -> bool:
    return True


def _is_adam(step: Step) -> bool:
    return isinstance(step.optimizer, Adam)


def _is_sgd(step: Step) -> bool:
    return step.optimizer.name == "sgd"


def _is_squared(step: Step) -> bool:
    return step.network.loss.name == "half_squared_error"


def _is_deep(step: Step) -> bool:
    return len(step.network.layers) > 2


def _has_square(step: Step) -> bool:
    return any(a == b for a, b in zip(step.network.layers[1:], step.network.layers[2:], strict=False))


def _has_penalty(step: Step) -> bool:
    return bool(step.network.l2 or step.network.l1)


class Mistake(NamedTuple):
    """A mistake: what it is, when it can be made, and theta after a step with it."""

    name: str
    possible: Callable[[Step], bool]
    theta: Callable[[Step], np.ndarray]


def _data(step: Step, factor: float) -> np.ndarray:
    """The step with the loss, but not the penalty, times a factor."""
    return step.after((step.G - step.penalty) * factor + step.penalty)


def _decay(step: Step) -> float:
    return step.optimizer.weight_decay


#: Of several that explain a step equally well the first is named.
MISTAKES: tuple[Mistake, ...] = (
    Mistake("nothing was changed", _always, lambda s: s.theta.copy()),
    Mistake("the sign of the gradient is wrong: the step goes uphill", _always, lambda s: s.after(-s.G)),
    Mistake("the gradient is the sum over the rows, not their mean", lambda s: s.mass != 1, lambda s: _data(s, s.mass)),
    Mistake("the mean over the rows was taken twice", lambda s: s.mass != 1, lambda s: _data(s, 1 / s.mass)),
    Mistake("the squared error was taken without its ½", _is_squared, lambda s: _data(s, 2.0)),
    Mistake("the squared error is the mean over outputs, too, and without its ½, as PyTorch's MSELoss",
            lambda s: _is_squared(s) and s.network.layers[-1] > 2, lambda s: _data(s, 2 / s.network.layers[-1])),
    Mistake("the loss is the mean over outputs, too", lambda s: s.network.layers[-1] > 1,
            lambda s: _data(s, 1 / s.network.layers[-1])),
    Mistake("the gradient of the biases was forgotten", _always, _without_biases),
    Mistake("φ′ of the hidden layers was left out", _is_deep, lambda s: s.after(s.gradient_with(s.before.W, slopes=False))),
    Mistake("δ went down through weights used transposed", _has_square, _transposed),
    Mistake("δ went down through weights that had been updated already", _is_deep, _updated_weights),
    Mistake("the penalty was left out", _has_penalty, lambda s: s.after(s.G - s.penalty)),
    Mistake("the penalty l2/2 Σ W² was taken without its ½", lambda s: s.network.l2 > 0,
            lambda s: s.after(s.G + s.network.l2 * s.theta * s.is_weight)),
    Mistake("the penalty was put on the biases, too", lambda s: s.network.l2 > 0,
            lambda s: s.after(s.G + s.network.l2 * s.theta * (1 - s.is_weight))),
    Mistake("decoupled weight decay was used where the penalty l2 was meant", lambda s: s.network.l2 > 0,
            lambda s: s.after(s.G - s.penalty, weight_decay=s.optimizer.weight_decay + s.network.l2)),
    Mistake("the gradient was not clipped", _has("clip_norm"), lambda s: s.after(clip_norm=None)),
    Mistake("the weight decay was left out", _has("weight_decay"), lambda s: s.after(weight_decay=0.0)),
    Mistake("L2 was used where decoupled weight decay was meant: λ W was added to the gradient", _has("weight_decay"),
            lambda s: s.after(s.G + _decay(s) * s.theta * s.is_weight, weight_decay=0.0)),
    Mistake("L2 was used where decoupled weight decay was meant, for the biases, too", _has("weight_decay"),
            lambda s: s.after(s.G + _decay(s) * s.theta, weight_decay=0.0)),
    Mistake("the biases decayed, too, as by PyTorch's AdamW of all parameters", _has("weight_decay"),
            lambda s: s.after() - s.eta * _decay(s) * s.theta * (1 - s.is_weight)),
    Mistake("the weight decay was not multiplied by the learning rate", _has("weight_decay"),
            lambda s: s.after(weight_decay=0.0) - _decay(s) * s.theta * s.is_weight),
    Mistake("ε stands inside the root", _is_adam, lambda s: _adam(s, inside=True)),
    Mistake("the bias correction was left out", _is_adam, lambda s: _adam(s, corrected=False)),
    Mistake("β1 and β2 are swapped", _is_adam,
            lambda s: s.after(beta1=s.optimizer.beta2, beta2=s.optimizer.beta1)),  # type: ignore[attr-defined]
    Mistake("ε was added to the root of the uncorrected v, as by scikit-learn", _is_adam,
            lambda s: _adam(s, uncorrected_epsilon=True)),
    Mistake("m was not multiplied by 1 − β1", _is_adam, lambda s: _adam(s, fresh=1.0)),
    Mistake("the bias correction is one step ahead", _is_adam, lambda s: s.after(number=s.number + 1)),
    Mistake("ε stands inside the root", lambda s: s.optimizer.name in ("rmsprop", "adagrad"), _root_inside),
    Mistake("ρ and 1 − ρ are swapped", _has("rho"), lambda s: s.after(rho=1 - s.optimizer.rho)),  # type: ignore[attr-defined]
    Mistake("the momentum was left out", _has("momentum"), lambda s: s.after(momentum=0.0, nesterov=False)),
    Mistake("the momentum is not Nesterov's", _has("nesterov"), lambda s: s.after(nesterov=False)),
    Mistake("the momentum is Nesterov's",
            lambda s: _has("momentum")(s) and not _has("nesterov")(s), lambda s: s.after(nesterov=True)),
    Mistake("the gradient was multiplied by 1 − μ", _has("momentum"),
            lambda s: _momentum(s, 1 - s.optimizer.momentum)),  # type: ignore[attr-defined]
    Mistake("the step is one of plain gradient descent", lambda s: not _is_sgd(s), lambda s: s.decayed - s.eta * s.clipped),
    Mistake("the step is one of Adam", lambda s: _is_sgd(s) and s.number == 0, _first_of_adam),
)  # fmt: skip
