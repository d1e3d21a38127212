"""Table of losses: output link, loss of a row, slope; and the penalties' formula.

It knows outputs and targets, not layers. A row of the table holds the value and the slope together, so that they cannot drift
apart: in the output h for any output activation, and in the pre-activation g for the loss's own link, where the stable form
(no overflow for any finite g) and the fused error term δ = ∂ℓ/∂g are known.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from glassprop.core.activations import Activation
from glassprop.core.elementary import exp, exp_to_one, larger, log, log1p_of_unit, polynomial, smaller
from glassprop.core.jit import kernel, like, own_scalar, scalar
from glassprop.core.loss_kernels import clipped, cross_entropy_kernel, own_kernel, plain_kernel
from glassprop.core.own import cannot_be_compiled, check_own
from glassprop.errors import is_number, unknown_name

_Scalar = Callable[..., Any]


@dataclass(frozen=True)
class _Row:
    """One loss. The scalar functions take (g, h, y, constant) of one output; the row's loss is their sum over outputs.

    Those of a user's own loss take (h, y) alone.
    """

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


# A reciprocal of it is finite still.
_tiny = polynomial([1e-37], [1e-300])


def _smallest(h):
    """h, but not below what a logarithm or a quotient stands."""
    tiny = _tiny(h)
    return tiny if h < tiny else h


_smallest = scalar(_smallest)


def _poisson(g, h, y, c):
    return h - y * log(_smallest(h))


def _poisson_slope(g, h, y, c):
    return like(1, h) - y / _smallest(h)


def _poisson_linked(g, h, y, c):
    return exp(g) - y * g


def _poisson_printed(g, h, y, c):
    # half the Poisson deviance: 0 where h = y; y/h in two steps, of which none overflows
    one = like(1, h)
    quotient = log(_smallest(y) / larger(h, one)) - log(smaller(_smallest(h), one))
    return h - y + (y * quotient if y > like(0, h) else like(0, h))


def _binary_cross_entropy(g, h, y, c):
    one = like(1, h)
    return -(y * log(_smallest(h)) + (one - y) * log(_smallest(one - h)))


def _binary_cross_entropy_slope(g, h, y, c):
    return (h - y) / _smallest(h * (like(1, h) - h))


def _binary_cross_entropy_linked(g, h, y, c):
    return (g if g > like(0, g) else like(0, g)) - g * y + log1p_of_unit(exp_to_one(-abs(g)))


def _binary_cross_entropy_printed(g, h, y, c):
    p, one = clipped(h), like(1, h)
    return -(y * log(p) + (one - y) * log(one - p))


def _cross_entropy(g, h, y, c):
    return -y * log(_smallest(h))


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
_OWN_TAKES = "the numbers h and y"


def _own_row(name: str, value: Any, slope: Any, formula: str, slope_formula: str) -> _Row:
    """A row of a user's own, checked; a formula of one output is made that of a row."""
    check_own("loss", name, _OWN_TAKES, {"value": value, "slope": slope}, _ROWS)
    for argument, text in (("formula", formula), ("slope_formula", slope_formula)):
        if not isinstance(text, str):
            raise TypeError(f"{argument} of loss {name!r} must be a text; got {text!r}")
    formula = f"Σ {formula}" if formula and "Σ" not in formula else formula
    return _Row(name, "identity", value, slope, formula=formula, slope_formula=slope_formula)


class Loss:
    """A loss by name, with its constant where it has one; or one of your own, by its value and slope.

    Parameters
    ----------
    name : str
        One of ``glassprop.LOSSES``, or a name for your own.
    value : callable, optional
        Of your own ``value(h, y)``: the loss of one output h with its target y; the loss of a row is their sum over outputs. A
        function of two numbers, in the Python that Numba compiles (arithmetic, ``if``, ``math``). It raises nothing: compiled
        loops hear no exceptions. Where it has no value it returns NaN, which ends training with a message; where it fails (a
        place that an array does not have, a function of yours that raises), NaN is its value, too.
    slope : callable, optional
        Of your own ``slope(h, y)``: its derivative in h, a function of the same kind.
    formula, slope_formula : str
        Both as they are printed, in the letters h and y.
    **options : float
        ``delta`` > 0 for ``huber`` (default 1), ``quantile`` in (0, 1) for ``quantile`` (default 0.5), ``label_smoothing`` in
        [0, 1) for the two cross-entropies (default 0).

    Raises
    ------
    ValueError
        For an unknown name, one's own loss under the name of a built-in one, or a constant out of its range.
    TypeError
        For an option that this loss does not have; where `value` or `slope` is missing, no function, raises something itself,
        or (on first use) cannot be compiled.

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
    your own               identity   Σ value(h, y)              any numbers
    ====================== ========== ========================== ===============================================

    Examples
    --------
    >>> import math
    >>> import glassprop as gp
    >>> gp.Network((4, 8, 1), loss=gp.Loss("quantile", quantile=0.9)).loss
    Loss('quantile', quantile=0.9)
    >>> mine = gp.Loss("log_cosh", value=lambda h, y: math.log(math.cosh(h - y)), slope=lambda h, y: math.tanh(h - y))
    >>> network, parameters = gp.Network((1, 1), loss=mine), gp.Parameters.from_arrays([[[1.0]]], [[0.0]])
    >>> back = gp.backward(network, parameters, gp.forward(network, parameters, [[2.0]]), [1.0])
    >>> f"{back.loss:.6f}, {back.db[0][0]:.6f}"        # log cosh 1, tanh 1
    '0.433781, 0.761594'
    """

    def __init__(
        self,
        name: str,
        *,
        value: Callable[[Any, Any], Any] | None = None,
        slope: Callable[[Any, Any], Any] | None = None,
        formula: str = "",
        slope_formula: str = "",
        **options: float,
    ) -> None:
        if value is not None or slope is not None or formula or slope_formula:
            row = _own_row(name, value, slope, formula, slope_formula)
        elif name not in _ROWS:
            raise unknown_name("loss", name, LOSSES)
        else:
            row = _ROWS[name]
        known, default = row.option or (None, 0.0)
        for option in options:
            if option != known:
                raise TypeError(f"loss {name!r} has no option {option!r}" + (f"; it has {known!r}" if known else ""))
        given = options.get(known, default) if known else 0.0
        if not is_number(given):
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
        self._own_addresses: dict[str, int] = {}

    def __reduce__(self) -> tuple:
        # what it was made of: addresses of machine code must never travel to another process
        return (partial(Loss, self.name, **(self._own_arguments() | self.options)), ())

    def _own_arguments(self) -> dict[str, Any]:
        names = ("value", "slope", "formula", "slope_formula") if self.own else ()
        return {name: getattr(self._row, name) for name in names}

    def __repr__(self) -> str:
        row = self._row
        shown = "".join(f", {k}={v:g}" for k, v in self.options.items() if row.option and v != row.option[1])
        if self.own:
            functions = {"value": row.value, "slope": row.slope}
            shown = "".join(f", {k}={getattr(f, '__name__', repr(f))}" for k, f in functions.items())
        return f"Loss({self.name!r}{shown})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Loss) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash((self.name, self.constant))

    def _key(self) -> tuple:
        return (self.name, self.options, self._own_arguments())

    @property
    def own(self) -> bool:
        """Whether it is a user's own."""
        return self.name not in _ROWS

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
        if self.own:
            return self._own_kernel(np.dtype(dtype))
        linked = output_activation.name == self.link
        form = ("printed" if as_scikit_learn else "linked") if linked else "plain"
        key = (self.name, form, np.dtype(dtype).name)
        if key not in _addresses:
            if linked and self.name == "cross_entropy":
                body = cross_entropy_kernel(as_scikit_learn)
            else:
                value, slope = (linked and self._row.linked) or (self._row.value, self._row.slope)
                if form == "printed" and self._row.printed:
                    value = self._row.printed
                body = plain_kernel(scalar(value), scalar(slope))
            _addresses[key] = kernel(body, f"{self.name}-{form}", dtype, "ppppppnc")
        return _addresses[key]

    def _own_kernel(self, dtype: np.dtype) -> int:
        """The same of a user's own loss, whose sources the cache on disk cannot follow."""
        if dtype.name not in self._own_addresses:
            value, slope = self._row.value, self._row.slope
            for which, other in (("value", value), ("slope", slope)):  # the value by itself first, so that who fails is named
                body = own_kernel(own_scalar(value), own_scalar(other))
                try:
                    address = kernel(body, self.name, dtype, "ppppppnc", cached=False)
                except Exception as error:
                    raise cannot_be_compiled(f"{which} of loss {self.name!r}", _OWN_TAKES, error) from error
            self._own_addresses[dtype.name] = address
        return self._own_addresses[dtype.name]


_addresses: dict[tuple[str, str, str], int] = {}


def get_loss(value: str | Loss) -> Loss:
    """The loss for a name; a `Loss` is returned as it is."""
    if isinstance(value, Loss):
        return value
    if not isinstance(value, str):
        raise TypeError(f"loss must be a name or a glassprop.Loss; got {value!r}")
    return Loss(value)
