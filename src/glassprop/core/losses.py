"""Table of losses: output link, loss of a row, slope; and the penalties' formula.

It knows outputs and targets, not layers. A row of the table holds the value and the slope together, so that they cannot drift
apart: in the output h for any output activation, and in the pre-activation g for the loss's own link, where the stable form
(no overflow for any finite g) and the fused error term δ = ∂ℓ/∂g are known.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from glassprop.core.activations import Activation
from glassprop.core.elementary import exp, log1p_of_unit, single
from glassprop.core.jit import kernel, like, panel_width, scalar, separate_pointers
from glassprop.core.vectors import new_line
from glassprop.errors import unknown_name

_Scalar = Callable[[Any, Any, Any, Any], Any]
_EPSILON_32, _EPSILON_64 = (float(np.finfo(dtype).eps) for dtype in ("float32", "float64"))


@dataclass(frozen=True)
class _Row:
    """One loss. The scalar functions take (g, h, y, constant) of one output; the row's loss is their sum over outputs."""

    name: str
    link: str
    value: _Scalar  # ℓ, from h and y
    slope: _Scalar  # ∂ℓ/∂h
    linked: tuple[_Scalar, _Scalar] | None = None  # ℓ and ∂ℓ/∂g behind the link; None where that is the identity, or softmax
    printed: _Scalar | None = None  # ℓ behind the link as scikit-learn prints it, where it prints another number
    option: tuple[str, float] | None = None  # name and default of its constant
    domain: str = "any"  # outputs it accepts: "any", "positive", "unit"
    targets: str = "any"  # targets it accepts: "any", "nonnegative", "unit", "distribution"
    formula: str = ""
    slope_formula: str = ""  # ∂ℓ/∂h of one output


def _half_squared_error(g, h, y, c):
    return like(0.5, h) * (y - h) * (y - h)


def _half_squared_error_slope(g, h, y, c):
    return h - y


def _absolute_error(g, h, y, c):
    return abs(y - h)


def _absolute_error_slope(g, h, y, c):
    zero = like(0, h)
    r = h - y
    # the last branch is r itself, so that NaN stays NaN
    return like(1, h) if r > zero else (like(-1, h) if r < zero else r)


def _huber(g, h, y, c):
    r = abs(h - y)
    return like(0.5, h) * r * r if r <= c else c * (r - like(0.5, h) * c)


def _huber_slope(g, h, y, c):
    r = h - y
    return c if r > c else (-c if r < -c else r)


def _quantile(g, h, y, c):
    return c * (y - h) if y > h else (like(1, h) - c) * (h - y)


def _quantile_slope(g, h, y, c):
    zero = like(0, h)
    r = h - y
    return like(1, h) - c if r > zero else (-c if r < zero else r)


def _smallest(h):
    """h, but not below what a logarithm or a quotient stands."""
    tiny = like(1e-37, h)
    return tiny if h < tiny else h


_smallest = scalar(_smallest)


def _poisson(g, h, y, c):
    return h - y * like(math.log(_smallest(h)), h)


def _poisson_slope(g, h, y, c):
    return like(1, h) - y / _smallest(h)


def _poisson_linked(g, h, y, c):
    return exp(g) - y * g


def _poisson_printed(g, h, y, c):
    # half the Poisson deviance: 0 where h = y
    return h - y + (y * like(math.log(_smallest(y) / _smallest(h)), h) if y > like(0, h) else like(0, h))


def _binary_cross_entropy(g, h, y, c):
    one = like(1, h)
    return -(y * like(math.log(_smallest(h)), h) + (one - y) * like(math.log(_smallest(one - h)), h))


def _binary_cross_entropy_slope(g, h, y, c):
    return (h - y) / _smallest(h * (like(1, h) - h))


def _binary_cross_entropy_linked(g, h, y, c):
    return (g if g > like(0, g) else like(0, g)) - g * y + log1p_of_unit(exp(-abs(g)))


def _clipped(h):
    """A probability held between ε and 1 − ε, the precision's own ε."""
    epsilon, one = like(_EPSILON_32 if single(h) else _EPSILON_64, h), like(1, h)
    h = epsilon if h < epsilon else h
    return one - epsilon if h > one - epsilon else h


_clipped = scalar(_clipped)


def _binary_cross_entropy_printed(g, h, y, c):
    p, one = _clipped(h), like(1, h)
    return -(y * like(math.log(p), h) + (one - y) * like(math.log(one - p), h))


def _cross_entropy(g, h, y, c):
    return -y * like(math.log(_smallest(h)), h)


def _cross_entropy_slope(g, h, y, c):
    return -y / _smallest(h)


def _output_minus_target(g, h, y, c):
    return h - y


_ROWS: dict[str, _Row] = {
    row.name: row
    for row in (
        _Row("half_squared_error", "identity", _half_squared_error, _half_squared_error_slope, formula="½ Σ (y − h)²",
             slope_formula="h − y"),
        _Row("absolute_error", "identity", _absolute_error, _absolute_error_slope, formula="Σ |y − h|",
             slope_formula="sign(h − y)"),
        _Row("huber", "identity", _huber, _huber_slope, option=("delta", 1.0),
             formula="Σ ½ r² if |r| ≤ κ else κ (|r| − ½ κ), r = h − y",
             slope_formula="r if |r| ≤ κ else κ sign(r), r = h − y"),
        _Row("quantile", "identity", _quantile, _quantile_slope, option=("quantile", 0.5),
             formula="Σ q max(y − h, 0) + (1 − q) max(h − y, 0)",
             slope_formula="1 − q if h > y else −q if h < y else 0"),
        _Row("poisson", "exp", _poisson, _poisson_slope, (_poisson_linked, _output_minus_target),
             _poisson_printed, domain="positive", targets="nonnegative", formula="Σ h − y log h",
             slope_formula="1 − y/h"),
        _Row("binary_cross_entropy", "sigmoid", _binary_cross_entropy, _binary_cross_entropy_slope,
             (_binary_cross_entropy_linked, _output_minus_target), _binary_cross_entropy_printed,
             option=("label_smoothing", 0.0), domain="unit", targets="unit", formula="−Σ y log h + (1 − y) log(1 − h)",
             slope_formula="(h − y)/(h (1 − h))"),
        _Row("cross_entropy", "softmax", _cross_entropy, _cross_entropy_slope, option=("label_smoothing", 0.0),
             domain="positive", targets="distribution", formula="−Σ y log h",
             slope_formula="−y/h"),
    )
}  # fmt: skip

LOSSES = tuple(_ROWS)


class Loss:
    """A loss by name, with its constant where it has one.

    Parameters
    ----------
    name : str
        One of ``glassprop.LOSSES``.
    **options : float
        ``delta`` > 0 for ``huber`` (default 1), ``quantile`` in (0, 1) for ``quantile`` (default 0.5), ``label_smoothing`` in
        [0, 1) for the two cross-entropies (default 0).

    Raises
    ------
    ValueError
        For an unknown name or a constant out of its range.
    TypeError
        For an option that this loss does not have.

    Notes
    -----
    ====================== ========== ========================== ===============================================
    name                   link       loss of a row              targets
    ====================== ========== ========================== ===============================================
    half_squared_error     identity   ½ Σ (y − h)²               any numbers
    absolute_error         identity   Σ \\|y − h\\|                any numbers
    huber                  identity   Huber 1964                 any numbers
    quantile               identity   Koenker and Bassett 1978   any numbers
    poisson                exp        Σ h − y log h              numbers ≥ 0
    binary_cross_entropy   sigmoid    −Σ y log h + (1−y)log(1−h) numbers in [0, 1], one or several per row
    cross_entropy          softmax    −Σ y log h                 class numbers, or rows of probabilities
    ====================== ========== ========================== ===============================================

    Examples
    --------
    >>> import glassprop as gp
    >>> gp.Network((4, 8, 1), loss=gp.Loss("quantile", quantile=0.9)).loss
    Loss('quantile', quantile=0.9)
    """

    def __init__(self, name: str, **options: float) -> None:
        if name not in _ROWS:
            raise unknown_name("loss", name, LOSSES)
        row = _ROWS[name]
        known, default = row.option or (None, 0.0)
        for option in options:
            if option != known:
                raise TypeError(f"loss {name!r} has no option {option!r}" + (f"; it has {known!r}" if known else ""))
        given = options.get(known, default) if known else 0.0
        if isinstance(given, bool) or not isinstance(given, (int, float, np.integer, np.floating)):
            raise TypeError(f"{known} of loss {name!r} must be a number; got {given!r}")
        constant = float(given)
        valid = {
            "delta": constant > 0 and math.isfinite(constant),
            "quantile": 0 < constant < 1,
            "label_smoothing": 0 <= constant < 1,
        }
        if known and not valid[known]:
            wanted = {"delta": "greater than 0", "quantile": "between 0 and 1", "label_smoothing": "at least 0 and below 1"}
            raise ValueError(f"{known} of loss {name!r} must be {wanted[known]}; got {options[known]!r}")
        self._row, self.name, self.constant = row, name, constant
        self.options: dict[str, float] = {known: constant} if known else {}

    def __repr__(self) -> str:
        row = self._row
        shown = "".join(f", {k}={v:g}" for k, v in self.options.items() if row.option and v != row.option[1])
        return f"Loss({self.name!r}{shown})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Loss) and (self.name, self.options) == (other.name, other.options)

    def __hash__(self) -> int:
        return hash((self.name, self.constant))

    @property
    def link(self) -> str:
        """Name of the output activation it goes with."""
        return self._row.link

    @property
    def formula(self) -> str:
        """The loss of a row, as it is printed."""
        return self._row.formula

    @property
    def slope_formula(self) -> str:
        """∂ℓ/∂h of one output, as it is printed; behind a link other than the identity δ is h − y."""
        return self._row.slope_formula

    @property
    def targets(self) -> str:
        """Kind of targets: any, nonnegative, unit, distribution."""
        return self._row.targets

    @property
    def label_smoothing(self) -> float:
        """Share of every target that is spread over the classes."""
        return self.options.get("label_smoothing", 0.0)

    def accepts(self, activation: Activation, built_in: bool) -> bool:
        """Whether `activation` may stand on the output: a user's own always may, at the user's risk."""
        if activation.name == self.link or not built_in:
            return True
        if activation.output_only and activation.name != "exp":
            return False
        return {"any": True, "positive": activation.positive, "unit": activation.name == "sigmoid"}[self._row.domain]

    def kernel(self, output_activation: Activation, dtype: np.dtype, as_scikit_learn: bool = False) -> int:
        """Address of the kernel for this loss on that output: row losses, and error terms w ∂ℓ/∂g or (unlinked) w ∂ℓ/∂h.

        `as_scikit_learn` gives row losses as scikit-learn prints them, of log losses with probabilities clipped to [ε, 1 − ε];
        error terms are the same.
        """
        linked = output_activation.name == self.link
        form = ("printed" if as_scikit_learn else "linked") if linked else "plain"
        key = (self.name, form, np.dtype(dtype).name)
        if key not in _addresses:
            if linked and self.name == "cross_entropy":
                body = _cross_entropy_kernel(as_scikit_learn)
            else:
                value, slope = (linked and self._row.linked) or (self._row.value, self._row.slope)
                if form == "printed" and self._row.printed:
                    value = self._row.printed
                body = _loss_kernel(scalar(value), scalar(slope))
            _addresses[key] = kernel(body, f"{self.name}-{form}", dtype, "ppppppnc")
        return _addresses[key]


_addresses: dict[tuple[str, str, str], int] = {}

# A loss kernel works on one panel: g, h, y and delta are (outputs, width), w and losses (width,), n is the number of outputs.


def _loss_kernel(value, delta_of):
    def loss_kernel(g, h, y, w, delta, losses, n, constants):
        c = like(constants[0], h[0])
        width = panel_width(h)
        for r in range(width):
            losses[r] = like(0, h[0])
        for o in range(n):
            for r in range(width):
                i = o * width + r
                losses[r] += value(g[i], h[i], y[i], c)
                delta[i] = w[r] * delta_of(g[i], h[i], y[i], c)

    return loss_kernel


def _cross_entropy_kernel(clipped):
    """See `_loss_kernel`; where `clipped`, with probabilities of at least ε."""

    def cross_entropy_kernel(g, h, y, w, delta, losses, n, constants):
        """ℓ = Σ_o y_o (log Σ exp(g) − g_o), δ = h Σ y − y, for softmax outputs h: log Σ exp(g − max g) is −log max h."""
        separate_pointers(n)
        width = panel_width(h)
        largest = -like(math.log(_clipped(like(0, h[0]))), h[0])
        top, most, mass, chosen = new_line(h), new_line(h), new_line(h), new_line(h)
        for r in range(width):
            top[r], most[r], mass[r], chosen[r] = g[r], h[r], like(0, h[0]), like(0, h[0])
        for o in range(1, n):
            for r in range(width):
                # written so that NaN, which compares false, stays
                top[r] = top[r] if g[o * width + r] <= top[r] else g[o * width + r]
                most[r] = most[r] if h[o * width + r] <= most[r] else h[o * width + r]
        for o in range(n):
            for r in range(width):
                target = y[o * width + r]
                mass[r] += target
                # 0 times a difference that has overflowed would be NaN
                chosen[r] += target * (g[o * width + r] - top[r]) if target != 0 else like(0, target)
        for r in range(width):
            losses[r] = -mass[r] * like(math.log(most[r]), h[0]) - chosen[r]
            if clipped and losses[r] > largest:
                losses[r] = largest
        for o in range(n):
            for r in range(width):
                delta[o * width + r] = w[r] * (h[o * width + r] * mass[r] - y[o * width + r])

    return cross_entropy_kernel


def get_loss(value: str | Loss) -> Loss:
    """The loss for a name; a `Loss` is returned as it is."""
    if isinstance(value, Loss):
        return value
    if not isinstance(value, str):
        raise TypeError(f"loss must be a name or a glassprop.Loss; got {value!r}")
    return Loss(value)
