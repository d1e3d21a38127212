"""Table of activations: φ and φ′.

It knows numbers, not layers. A row says what its slope is computed from: the pre-activation g, or the activation h = φ(g),
which training keeps anyway. Write a row's functions with `like(constant, x)`, so that float32 stays float32.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from glassprop.core.elementary import exp, exp_to_one, expm1, larger, log1p_of_unit, normal_cdf, sigmoid, smaller, tanh
from glassprop.core.jit import hidden, kernel, like, own_scalar, panel_width, scalar, separate_pointers
from glassprop.core.own import cannot_be_compiled, check_own
from glassprop.core.vectors import new_line
from glassprop.errors import unknown_name


@dataclass(frozen=True)
class Activation:
    """An activation function φ with its derivative, for hidden layers or the output.

    Parameters
    ----------
    name : str
        How it is called in descriptions and in files.
    phi : callable
        ``phi(g)``: a function of one number, in the Python that Numba compiles (arithmetic, ``if``, ``math``). It raises
        nothing: compiled loops hear no exceptions. Where it has no value it returns NaN, which ends training with a message;
        where it fails (a place that an array does not have, a function of yours that raises), NaN is its value, too.
    dphi : callable
        Its derivative: of g, or of h = φ(g) where `reads` is ``"h"``.
    reads : {"g", "h"}
        The argument of `dphi`.
    formula, slope : str
        φ and φ′ as they are printed.

    Raises
    ------
    ValueError
        Where `name` is that of a built-in activation.
    TypeError
        Where `name` is no text; `phi` or `dphi` is not callable, raises something itself, or (on first use) cannot be compiled.

    Examples
    --------
    >>> import glassprop as gp
    >>> bent = gp.Activation("bent", lambda g: ((g * g + 1) ** 0.5 - 1) / 2 + g, lambda g: g / (2 * (g * g + 1) ** 0.5) + 1)
    >>> gp.Network((2, 3, 1), activation=bent).activations[0].name
    'bent'
    """

    name: str
    phi: Callable[[Any], Any]
    dphi: Callable[[Any], Any]
    reads: Literal["g", "h"] = "g"
    formula: str = ""
    slope: str = ""
    output_only: bool = False
    positive: bool = False  # φ > 0 everywhere, as a loss with a logarithm needs
    _addresses: dict[str, int] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        functions = {"phi": self.phi, "dphi": self.dphi}
        check_own("activation", self.name, "one number", functions, globals().get("ACTIVATIONS", ()))
        if self.reads not in ("g", "h"):
            raise unknown_name("reads", self.reads, ("g", "h"))

    def __reduce__(self) -> tuple:
        # a built-in row is itself wherever it arrives; addresses of machine code must never travel to another process
        if self.built_in:
            return (get_activation, (self.name, "output_activation"))
        return (Activation, (self.name, self.phi, self.dphi, self.reads, self.formula, self.slope))

    @property
    def built_in(self) -> bool:
        """Whether it is a row of the table."""
        return ACTIVATIONS.get(self.name) is self

    def kernel(self, which: Literal["phi", "dphi", "both"], dtype: np.dtype) -> int:
        """Address of a compiled kernel for blocks of `dtype`.

        ``"phi"``: h := φ(h). ``"dphi"``: δ := δ ⊙ φ′(z). ``"both"``: h := φ(z), z := φ′(z), where φ′ reads g: most
        of what the two are computed from they have in common, and the backward pass is left with a product, δ := δ ⊙ z. For
        the table alone: what a user's own φ shares with its φ′ might be rounded otherwise than in φ by itself.
        """
        key = f"{which}-{np.dtype(dtype).name}"
        if key not in self._addresses:
            body: Callable
            if self.name == "softmax":
                body = _softmax
            elif self.name == "relu" and which == "dphi":
                body = _gate
            elif which == "both":
                body = _both_kernel(scalar(self.phi), scalar(self.dphi))
            else:
                compiled = scalar if self.built_in else own_scalar
                body = _phi_kernel(compiled(self.phi)) if which == "phi" else _dphi_kernel(compiled(self.dphi))
            try:
                self._addresses[key] = kernel(
                    body, f"{self.name}-{which}", dtype, "pn" if which == "phi" else "ppn", cached=self.built_in
                )
            except Exception as error:
                if self.built_in:
                    raise
                raise cannot_be_compiled(f"{which} of activation {self.name!r}", "one number", error) from error
        return self._addresses[key]


def _phi_kernel(phi):
    def phi_kernel(h, n):
        separate_pointers(n)
        for i in range(n):
            h[i] = phi(h[i])

    return phi_kernel


def _dphi_kernel(dphi):
    def dphi_kernel(z, delta, n):
        separate_pointers(n)
        for i in range(n):
            delta[i] *= dphi(z[i])

    return dphi_kernel


def _gate(h, delta, n):
    """δ := δ ⊙ φ′ of ReLU, chosen in place of multiplied, as in PyTorch: that is less work, and 0 of an infinite δ is 0."""
    separate_pointers(n)
    for i in range(n):
        delta[i] = delta[i] if h[i] > like(0, h[0]) else like(0, h[0])


def _both_kernel(phi, dphi):
    def both_kernel(z, h, n):
        separate_pointers(n)
        for i in range(n):
            g = z[i]
            h[i] = phi(g)
            z[i] = dphi(g)

    return both_kernel


def _softmax(h, n):
    """h_o = exp(g_o - max g) / Σ exp(g - max g) for each row, a column of the panel (outputs, width); h holds g before."""
    separate_pointers(n)
    width = panel_width(h)
    rows, top, total = hidden(width), new_line(h), new_line(h)
    for r in range(rows):
        top[r], total[r] = h[r], like(0, h[0])
    for i in range(width, n, width):
        for r in range(rows):
            top[r] = larger(h[i + r], top[r])
    for i in range(0, n, width):
        for r in range(rows):
            h[i + r] -= top[r]
    for i in range(n):  # in a loop of its own, which becomes vectors
        h[i] = exp_to_one(h[i])
    for i in range(0, n, width):
        for r in range(rows):
            total[r] += h[i + r]
    for r in range(rows):
        total[r] = like(1, h[0]) / total[r]
    for i in range(0, n, width):
        for r in range(rows):
            h[i + r] *= total[r]


# --- the functions of the table: φ of g, then φ′ of g or of h ------------------------------------------------------------

SELU_ALPHA = 1.6732632423543772848170429916717  # Klambauer et al. 2017, Self-Normalizing Neural Networks
SELU_LAMBDA = 1.0507009873554804934193349852946
LEAK = 0.01
DENSITY_0 = 1 / math.sqrt(2 * math.pi)


def _identity(g):
    return g


def _identity_slope(h):
    return like(1, h)


def _sigmoid_slope(h):
    return h * (like(1, h) - h)


def _tanh_slope(h):
    return (like(1, h) - h) * (like(1, h) + h)


def _relu(g):
    return larger(g, like(0, g))


def _relu_slope(h):
    return like(1, h) if h > like(0, h) else like(0, h)


def _leaky_relu(g):
    return larger(g, like(0, g)) + like(LEAK, g) * smaller(g, like(0, g))


def _leaky_relu_slope(h):
    return like(1, h) if h > like(0, h) else like(LEAK, h)


def _elu(g):
    return larger(g, like(0, g)) + expm1(smaller(g, like(0, g)))


def _elu_slope(h):
    return like(1, h) if h > like(0, h) else h + like(1, h)


def _selu(g):
    return like(SELU_LAMBDA, g) * (larger(g, like(0, g)) + like(SELU_ALPHA, g) * expm1(smaller(g, like(0, g))))


def _selu_slope(h):
    return like(SELU_LAMBDA, h) if h > like(0, h) else h + like(SELU_LAMBDA * SELU_ALPHA, h)


def _gelu(g):
    return g * normal_cdf(g)


def _gelu_slope(g):
    return normal_cdf(g) + g * like(DENSITY_0, g) * exp_to_one(like(-0.5, g) * g * g)


def _silu(g):
    return g * sigmoid(g)


def _silu_slope(g):
    s = sigmoid(g)
    return s * (like(1, g) + g * (like(1, g) - s))


def _mish_parts(g):
    """t = tanh(log(1 + eᵍ)), 1 − t without cancellation, and σ(g), by a single division.

    With u = eᵍ, t is n / (n + rest), n = u (u + 2), rest = 2; both divided by u² where u is large.
    """
    e, one, two, positive = exp_to_one(-abs(g)), like(1, g), like(2, g), g > like(0, g)
    n = one + two * e if positive else e * (e + two)
    rest, sum_of_two = two * e * e if positive else two, one + e
    inverse = one / ((n + rest) * sum_of_two)
    share = sum_of_two * inverse
    return n * share, rest * share, (one if positive else e) * ((n + rest) * inverse)


_mish_parts = scalar(_mish_parts)


def _mish(g):
    t, _, _ = _mish_parts(g)
    return g * t


def _mish_slope(g):
    t, rest, sigma = _mish_parts(g)
    return t + g * sigma * rest * (like(1, g) + t)  # 1 - t² = (1 - t)(1 + t)


def _softplus(g):
    return (g if g > like(0, g) else like(0, g)) + log1p_of_unit(exp_to_one(-abs(g)))


def _softsign(g):
    return g / (like(1, g) + abs(g))


def _softsign_slope(h):
    rest = like(1, h) - abs(h)
    return rest * rest


def _exp(g):
    return exp(g)


#: Every activation by name; the last two stand on the output only, as links of a loss.
ACTIVATIONS: dict[str, Activation] = {
    row.name: row
    for row in (
        Activation("identity", _identity, _identity_slope, "h", "g", "1"),
        Activation("sigmoid", sigmoid, _sigmoid_slope, "h", "1/(1 + e⁻ᵍ)", "h (1 − h)", positive=True),
        Activation("tanh", tanh, _tanh_slope, "h", "tanh g", "1 − h²"),
        Activation("relu", _relu, _relu_slope, "h", "max(g, 0)", "1 if h > 0 else 0"),
        Activation("leaky_relu", _leaky_relu, _leaky_relu_slope, "h", "g if g > 0 else 0.01 g", "1 if h > 0 else 0.01"),
        Activation("elu", _elu, _elu_slope, "h", "g if g > 0 else eᵍ − 1", "1 if h > 0 else h + 1"),
        Activation("selu", _selu, _selu_slope, "h", "λ (g if g > 0 else α (eᵍ − 1))", "λ if h > 0 else h + λ α"),
        Activation("gelu", _gelu, _gelu_slope, "g", "g Φ(g)", "Φ(g) + g Φ′(g)"),
        Activation("silu", _silu, _silu_slope, "g", "g σ(g)", "σ(g) (1 + g (1 − σ(g)))"),
        Activation("mish", _mish, _mish_slope, "g", "g tanh(log(1 + eᵍ))", "t + g σ(g) (1 − t²), t = tanh(log(1 + eᵍ))"),
        Activation("softplus", _softplus, sigmoid, "g", "log(1 + eᵍ)", "σ(g)", positive=True),
        Activation("softsign", _softsign, _softsign_slope, "h", "g/(1 + |g|)", "(1 − |h|)²"),
        Activation("exp", _exp, _identity, "h", "eᵍ", "h", output_only=True, positive=True),
        Activation("softmax", _exp, _identity, "h", "eᵍ/Σ eᵍ", "", output_only=True, positive=True),
    )
}

HIDDEN = tuple(name for name, row in ACTIVATIONS.items() if not row.output_only)


def get_activation(value: str | Activation, argument: str = "activation") -> Activation:
    """The row for a name; an `Activation` is returned as it is."""
    if isinstance(value, Activation):
        return value
    if not isinstance(value, str):
        raise TypeError(f"{argument} must be a name or a glassprop.Activation; got {value!r}")
    if value not in ACTIVATIONS:
        raise unknown_name(argument, value, ACTIVATIONS if argument == "output_activation" else HIDDEN)
    return ACTIVATIONS[value]


def multiply_kernel(dtype: np.dtype) -> int:
    """Address of the kernel δ := δ ⊙ z, for slopes that ``"both"`` has left."""
    name = np.dtype(dtype).name
    if name not in _multiply:
        _multiply[name] = kernel(_dphi_kernel(scalar(_identity)), "multiply", dtype, "ppn")
    return _multiply[name]


_multiply: dict[str, int] = {}
