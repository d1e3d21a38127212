"""Table of update rules: from a gradient to new parameters.

It knows flat vectors, not layers. A rule's kernel is one loop over a contiguous block of parameters θ with gradient G and up to
two vectors of state, all of one length. t = step + 1 counts from one, η is the learning rate of the step (times the layer's
factor).

For every rule, before the rule's own step: gradients are clipped to the global norm `clip_norm` (penalties included in the
norm), and decoupled `weight_decay` λ takes W := W − η λ W, on weights, not on biases (Loshchilov and Hutter 2019).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

import numpy as np

from glassprop.core.elementary import multiply_add
from glassprop.core.jit import kernel, like, separate_pointers, shift, within
from glassprop.core.roots import inverse_roots
from glassprop.core.schedules import check_learning_rate, keep_plain_numbers
from glassprop.core.vectors import LINE, new_line
from glassprop.errors import is_number, names_arguments

# A kernel's constants, float64: 0: η; 1, 2: 1 − β1^t and 1 − β2^t (read by Adam alone); 3: t; 4 to 7: the rule's own;
# 8, 9: ln β1, ln β2.


def _sgd(theta, gradient, v, unused, n, constants):
    separate_pointers(n)
    eta, mu, nesterov = like(constants[0], theta[0]), like(constants[4], theta[0]), constants[5] != 0
    if nesterov:
        for i in range(n):
            v[i] = multiply_add(mu, v[i], -eta * gradient[i])
            theta[i] += multiply_add(mu, v[i], -eta * gradient[i])
    elif mu != 0:
        for i in range(n):
            v[i] = multiply_add(mu, v[i], -eta * gradient[i])
            theta[i] += v[i]
    else:
        for i in range(n):
            theta[i] -= eta * gradient[i]


@within
def _by_root(theta, step, s, inverse, correction, epsilon, start, count):
    """θ := θ − step / (√s · correction + ε) for `count` parameters, at most LINE; a step is a vector and its rate."""
    vector, rate = step
    if count == LINE:
        inverse_roots(shift(s, start), inverse, correction, epsilon)
    else:
        for i in range(count):
            inverse[i] = s[start + i]
        inverse_roots(inverse, inverse, correction, epsilon)
    for i in range(count):
        theta[start + i] -= rate * vector[start + i] * inverse[i]


@within
def _rmsprop_line(theta, gradient, s, inverse, eta, rho, fresh, epsilon, start, count):
    for i in range(count):
        g = gradient[start + i]
        s[start + i] = multiply_add(rho, s[start + i], fresh * g * g)
    _by_root(theta, (gradient, eta), s, inverse, like(1, eta), epsilon, start, count)


def _rmsprop(theta, gradient, s, unused, n, constants):
    separate_pointers(n)
    eta, rho, epsilon = like(constants[0], theta[0]), like(constants[4], theta[0]), like(constants[5], theta[0])
    fresh, inverse = like(1 - constants[4], theta[0]), new_line(theta)
    for start in range(0, n - LINE + 1, LINE):
        _rmsprop_line(theta, gradient, s, inverse, eta, rho, fresh, epsilon, start, LINE)
    if n % LINE > 0:  # or the slow unit would be asked for roots that nobody wants
        _rmsprop_line(theta, gradient, s, inverse, eta, rho, fresh, epsilon, n - n % LINE, n % LINE)


@within
def _sign(x):
    """1, −1 or 0; the product of two numbers might vanish where that of their signs does not. NaN stays NaN."""
    zero = like(0, x)
    return like(1, x) if x > zero else (like(-1, x) if x < zero else x)


def _rprop(theta, gradient, previous, d, n, constants):
    separate_pointers(n)
    eta, shrink, grow = like(constants[0], theta[0]), like(constants[4], theta[0]), like(constants[5], theta[0])
    smallest, largest = like(constants[6], theta[0]), like(constants[7], theta[0])
    zero = like(0, eta)
    first = constants[3] == 1
    for i in range(n):
        step = eta if first else d[i]
        g = gradient[i]
        agreement = _sign(g) * _sign(previous[i])
        longer, shorter = step * grow, step * shrink
        if agreement > zero:
            step = longer if longer < largest else largest
        if agreement < zero:
            step = shorter if shorter > smallest else smallest
            g = zero
        theta[i] -= step if g > zero else (-step if g < zero else g)
        previous[i] = g
        d[i] = step


def _adagrad(theta, gradient, s, unused, n, constants):
    separate_pointers(n)
    eta, epsilon, one, inverse = like(constants[0], theta[0]), like(constants[4], theta[0]), like(1, theta[0]), new_line(theta)
    for start in range(0, n - LINE + 1, LINE):
        _rmsprop_line(theta, gradient, s, inverse, eta, one, one, epsilon, start, LINE)
    if n % LINE > 0:
        _rmsprop_line(theta, gradient, s, inverse, eta, one, one, epsilon, n - n % LINE, n % LINE)


@within
def _adam_line(theta, gradient, m, v, inverse, rate, beta1, beta2, fresh1, fresh2, correction, epsilon, start, count):
    for i in range(count):
        g = gradient[start + i]
        m[start + i] = multiply_add(beta1, m[start + i], fresh1 * g)
        v[start + i] = multiply_add(beta2, v[start + i], fresh2 * g * g)
    _by_root(theta, (m, rate), v, inverse, correction, epsilon, start, count)


def _adam(theta, gradient, m, v, n, constants):
    separate_pointers(n)
    beta1, beta2, hat = like(constants[4], theta[0]), like(constants[5], theta[0]), constants[7] != 0
    epsilon = like(constants[6] / math.sqrt(constants[2]) if hat else constants[6], theta[0])
    fresh1, fresh2 = like(1 - constants[4], theta[0]), like(1 - constants[5], theta[0])
    rate = like(constants[0] / constants[1], theta[0])
    correction, inverse = like(1 / math.sqrt(constants[2]), theta[0]), new_line(theta)
    for start in range(0, n - LINE + 1, LINE):
        _adam_line(theta, gradient, m, v, inverse, rate, beta1, beta2, fresh1, fresh2, correction, epsilon, start, LINE)
    if n % LINE > 0:
        start, count = n - n % LINE, n % LINE
        _adam_line(theta, gradient, m, v, inverse, rate, beta1, beta2, fresh1, fresh2, correction, epsilon, start, count)


def _sum(theta, gradient, total, unused, n, constants):
    separate_pointers(n)
    eta = like(constants[0], theta[0])
    for i in range(n):
        total[i] += eta * gradient[i]


@dataclass(frozen=True, kw_only=True)
class _Rule:
    """What all rules share. See the module for the order in which clipping, decay and the rule act."""

    weight_decay: float = 0.0
    clip_norm: float | None = None
    layer_factors: tuple[float, ...] | None = None

    kernel_body: ClassVar[Callable]
    name: ClassVar[str]
    states: ClassVar[tuple[str, ...]]  # what the state vectors are called
    ranges: ClassVar[dict[str, tuple[float, float]]] = {}  # own constants in the kernel's order, with open upper bounds
    _formula: ClassVar[str] = ""
    at_rest: ClassVar[bool] = True  # state stays zero where the gradient always was, as in padding
    betas: ClassVar[tuple[str, ...]] = ()  # constants that need bias correction
    squares: ClassVar[bool] = False  # the state holds squares of the gradient
    learning_rate: Any

    def __post_init__(self) -> None:
        keep_plain_numbers(self)
        check_learning_rate(self.learning_rate)
        shared = {"weight_decay": (0.0, math.inf)} | ({} if self.clip_norm is None else {"clip_norm": (0.0, math.inf)})
        for name, (low, high) in (self.ranges | shared).items():
            value = getattr(self, name)
            if not is_number(value):
                raise TypeError(f"{name} of {type(self).__name__} must be a number; got {value!r}")
            open_below = name in ("epsilon", "clip_norm", "shrink", "smallest")
            if not (low < value if open_below else low <= value) or not value < high:
                sign = ">" if open_below else "≥"
                raise ValueError(f"{name} of {type(self).__name__} must be {sign} {low:g} and < {high:g}; got {value!r}")
        if self.layer_factors is not None:
            try:
                factors = tuple(float(factor) for factor in self.layer_factors)
            except (TypeError, ValueError):
                raise TypeError(
                    f"layer_factors of {type(self).__name__} must be numbers, one for each layer; got {self.layer_factors!r}"
                ) from None
            if not all(0 <= factor < math.inf for factor in factors):
                raise ValueError(f"layer_factors of {type(self).__name__} must be at least 0; got {self.layer_factors!r}")
            object.__setattr__(self, "layer_factors", factors)

    @classmethod
    def kernel(cls, dtype: np.dtype) -> int:
        """Address of the rule's compiled kernel."""
        key = (cls.kernel_body.__name__, np.dtype(dtype).name)
        if key not in _addresses:
            _addresses[key] = kernel(cls.kernel_body, cls.kernel_body.__name__, dtype, "ppppnc")
        return _addresses[key]

    @property
    def formula(self) -> str:
        """The rule's assignments, in the order in which they are made."""
        return self._formula

    def constants(self) -> np.ndarray:
        """The rule's own constants as its kernel reads them."""
        return np.array([float(getattr(self, name)) for name in self.ranges], np.float64)

    def most_norm(self, dtype: Any) -> float:
        """The largest norm of a gradient that is taken: beyond it, its squares might not be finite where the state holds them.

        The norm is a sum in float64. A gradient that is clipped is taken as such.
        """
        root = math.sqrt(np.finfo(dtype).max)
        return root if self.squares and (self.clip_norm or math.inf) > root else float(np.finfo(np.float64).max)

    def describe(self) -> dict[str, Any]:
        """Name and arguments, as data; a schedule as its own dict, a user's function by name."""
        result: dict[str, Any] = {"name": self.name}
        for item in fields(self):
            value = getattr(self, item.name)
            if callable(value):
                arguments = (
                    {f.name: getattr(value, f.name) for f in fields(value)} if hasattr(value, "__dataclass_fields__") else {}
                )
                value = {"name": getattr(value, "__name__", type(value).__name__), **arguments}
            result[item.name] = list(value) if isinstance(value, tuple) else value
        return result


_addresses: dict[tuple[str, str], int] = {}


@names_arguments
@dataclass(frozen=True)
class SGD(_Rule):
    """θ := θ − η G; with momentum μ: v := μ v − η G, θ := θ + v; Nesterov's: θ := θ + μ v − η G with the new v.

    The velocity holds the learning rate of its own steps, as in Sutskever et al. 2013 and scikit-learn; PyTorch multiplies
    the whole velocity by the present one. The two agree where η is constant.
    """

    learning_rate: Any = 0.01
    momentum: float = 0.0
    nesterov: bool = False

    name: ClassVar = "sgd"
    kernel_body: ClassVar = staticmethod(_sgd)
    states: ClassVar = ("v",)
    ranges: ClassVar = {"momentum": (0.0, 1.0)}

    @property
    def formula(self) -> str:
        if self.momentum == 0 and not self.nesterov:
            return "θ := θ − η G"
        return "v := μ v − η G; " + ("θ := θ + μ v − η G" if self.nesterov else "θ := θ + v")

    def constants(self) -> np.ndarray:
        return np.array([self.momentum, float(self.nesterov)])


@names_arguments
@dataclass(frozen=True)
class RMSprop(_Rule):
    """s := ρ s + (1 − ρ) G²; θ := θ − η G / (√s + ε). Tieleman and Hinton 2012; ε outside the root, as in PyTorch."""

    learning_rate: Any = 1e-3
    rho: float = 0.9
    epsilon: float = 1e-8

    name: ClassVar = "rmsprop"
    kernel_body: ClassVar = staticmethod(_rmsprop)
    states: ClassVar = ("s",)
    squares: ClassVar = True
    ranges: ClassVar = {"rho": (0.0, 1.0), "epsilon": (0.0, math.inf)}
    _formula: ClassVar = "s := ρ s + (1 − ρ) G²; θ := θ − η G / (√s + ε)"


@names_arguments
@dataclass(frozen=True)
class Rprop(_Rule):
    """Each parameter moves by its own step d against the sign of its gradient; made for the whole table as one batch.

    d starts at η. Where G keeps its sign, d := min(d · grow, largest); where it changes, d := max(d · shrink, smallest) and
    G := 0. Then θ := θ − sign(G) d. Riedmiller and Braun 1993, in the variant without weight back-tracking, as in PyTorch. A
    schedule has no effect after the first step.
    """

    learning_rate: Any = 0.01
    shrink: float = 0.5
    grow: float = 1.2
    smallest: float = 1e-6
    largest: float = 50.0

    name: ClassVar = "rprop"
    kernel_body: ClassVar = staticmethod(_rprop)
    states: ClassVar = ("previous", "d")
    at_rest: ClassVar = False
    ranges: ClassVar = {"shrink": (0.0, 1.0), "grow": (1.0, math.inf), "smallest": (0.0, math.inf), "largest": (0.0, math.inf)}
    _formula: ClassVar = (
        "d := min(d · grow, largest) if G · previous > 0 else max(d · shrink, smallest) if G · previous < 0 else d; "
        "G := 0 if G · previous < 0 else G; previous := G; θ := θ − sign(G) d"
    )


@names_arguments
@dataclass(frozen=True)
class Adagrad(_Rule):
    """s := s + G²; θ := θ − η G / (√s + ε). Duchi, Hazan and Singer 2011."""

    learning_rate: Any = 0.01
    epsilon: float = 1e-10

    name: ClassVar = "adagrad"
    kernel_body: ClassVar = staticmethod(_adagrad)
    states: ClassVar = ("s",)
    squares: ClassVar = True
    ranges: ClassVar = {"epsilon": (0.0, math.inf)}
    _formula: ClassVar = "s := s + G²; θ := θ − η G / (√s + ε)"


@names_arguments
@dataclass(frozen=True)
class Adam(_Rule):
    """m := β1 m + (1 − β1) G; v := β2 v + (1 − β2) G²; θ := θ − η m̂ / (√v̂ + ε), m̂ = m/(1 − β1^t), v̂ = v/(1 − β2^t).

    Kingma and Ba 2015, algorithm 1, as in PyTorch and optax. With `epsilon_hat`, ε is the ε̂ of their section 2, added to the
    root of the uncorrected v as in scikit-learn: ε̂ / √(1 − β2^t) takes the place of ε.
    """

    learning_rate: Any = 1e-3
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    epsilon_hat: bool = False

    name: ClassVar = "adam"
    kernel_body: ClassVar = staticmethod(_adam)
    states: ClassVar = ("m", "v")
    squares: ClassVar = True
    ranges: ClassVar = {"beta1": (0.0, 1.0), "beta2": (0.0, 1.0), "epsilon": (0.0, math.inf)}
    betas: ClassVar = ("beta1", "beta2")

    @property
    def formula(self) -> str:
        moments = "m := β₁ m + (1 − β₁) G; v := β₂ v + (1 − β₂) G²; m̂ := m / (1 − β₁^t); v̂ := v / (1 − β₂^t)"
        return f"{moments}; θ := θ − η m̂ / (√v̂ + {'ε / √(1 − β₂^t)' if self.epsilon_hat else 'ε'})"

    def constants(self) -> np.ndarray:
        return np.append(super().constants(), float(self.epsilon_hat))


@names_arguments
@dataclass(frozen=True)
class AdamW(Adam):
    """Adam with decoupled weight decay λ = 0.01 unless told otherwise. Loshchilov and Hutter 2019.

    Weights decay, biases do not; PyTorch's AdamW decays whatever parameters it is given.
    """

    weight_decay: float = field(default=0.01, kw_only=True)

    name: ClassVar = "adamw"


@dataclass(frozen=True)
class GradientSum(_Rule):
    """total := total + η G, and θ stays: the gradient of more rows than a batch has, for L-BFGS. η is a batch's Σ w."""

    learning_rate: Any = 1.0

    name: ClassVar = "sum"
    kernel_body: ClassVar = staticmethod(_sum)
    states: ClassVar = ("total",)


#: Every update rule by name.
OPTIMIZERS: dict[str, type[_Rule]] = {rule.name: rule for rule in (SGD, RMSprop, Rprop, Adagrad, Adam, AdamW)}
Optimizer = _Rule


def check_optimizer(value: Any) -> None:
    """Raise unless it is an update rule, made and not only named."""
    if not isinstance(value, Optimizer):
        made = f"; write glassprop.{value.__name__}()" if isinstance(value, type) and issubclass(value, Optimizer) else ""
        raise TypeError(f"optimizer must be an update rule such as glassprop.Adam(1e-3); got {value!r}{made}")
