"""exp, expm1, log1p, tanh and sigmoid of the core in both precisions: accuracy, tails, zeros, NaN and saturation.

Distances are counted in units in the last place (ulp) of the right number. What is tested is what runs: the kernels of the
activation table, whose loops the compiler vectorises, by way of a network of one weight of 1; expm1 is elu's below zero.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from decimal import Decimal, localcontext
from typing import Any

import numba
import numpy as np
import pytest

import glassprop as gp
from glassprop.core import elementary, roots, vectors
from glassprop.core.jit import at

DTYPES = ("float64", "float32")
RANGE = {"float64": 708.0, "float32": 87.0}  # within it exp is a normal number
LIMITS = {"float64": (2.0**-1022, 2.0**1023), "float32": (2.0**-126, 2.0**127)}  # powers of 2 in the normal range


# The right values, in 45 decimal digits: the functions of `math` are themselves wrong by up to two units in the last place.


def exp(x: float) -> Decimal:
    return Decimal(x).exp()


def expm1(x: float) -> Decimal:
    d = Decimal(x)
    return d.exp() - 1 if abs(x) > 1e-8 else d + d * d / 2 + d * d * d / 6


def log1p(x: float) -> Decimal:
    d = Decimal(x)
    return (1 + d).ln() if x > 1e-8 else d - d * d / 2 + d * d * d / 3


def tanh(x: float) -> Decimal:
    if abs(x) > 50:
        return Decimal(math.copysign(1, x))
    e = expm1(2 * x)
    return e / (e + 2)


def sigmoid(x: float) -> Decimal:
    return 1 / (1 + exp(-x))


@pytest.fixture(autouse=True)
def _digits() -> Iterator[None]:
    with localcontext() as context:
        context.prec = 45
        yield


def apply(activation: str, x: np.ndarray) -> np.ndarray:
    """φ of every number, by the compiled core."""
    network = gp.Network((1, 1), output_activation=activation)
    parameters = gp.Parameters.from_arrays([[[1.0]]], [[0.0]], dtype=x.dtype)
    return gp.forward(network, parameters, x[:, None]).output[:, 0]


@functools.cache
def _mapped(function: Any) -> Any:
    @numba.njit(error_model="numpy")
    def mapped(x: np.ndarray) -> np.ndarray:
        result = np.empty_like(x)
        for i in range(len(x)):
            result[i] = function(x[i])
        return result

    return mapped


def scalars(function: Callable[[float], float], x: np.ndarray) -> np.ndarray:
    """A compiled function of one number, called for each by a compiled loop, since Python cannot call it."""
    result = _mapped(function)(x)
    assert all(str(s.args[0]) == str(s.return_type) for s in function.nopython_signatures)  # float32 stays float32
    return result


def ulps(got: np.ndarray, x: np.ndarray, right: Callable[[float], Decimal]) -> float:
    """The largest distance from the right value in units of its last place."""
    assert got.dtype == x.dtype
    worst = 0.0
    for mine, number in zip(got, x, strict=True):
        wanted = right(float(number))
        unit = np.spacing(abs(x.dtype.type(wanted)))
        worst = max(worst, float(abs(Decimal(float(mine)) - wanted) / Decimal(float(unit))))
    return worst


def numbers(dtype: str, low: float, high: float, count: int = 1500) -> np.ndarray:
    """Evenly spread, as many between -4 and 4, and as many by order of magnitude down to 1e-30, within [low, high]."""
    rng = np.random.default_rng(0)
    size = 10 ** rng.uniform(-30, math.log10(max(abs(low), abs(high))), count) * rng.choice([-1, 1], count)
    x = np.concatenate([rng.uniform(low, high, count), rng.uniform(-4, 4, count), size])
    return x[(x >= low) & (x <= high)].astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("name", "right", "most"), [("exp", exp, 1.1), ("expm1", expm1, 2), ("tanh", tanh, 3), ("sigmoid", sigmoid, 2.2)]
)
def test_within_a_few_units_in_the_last_place(name: str, right: Callable[[float], Decimal], most: float, dtype: str) -> None:
    x = numbers(dtype, -RANGE[dtype], RANGE[dtype])
    assert ulps(scalars(getattr(elementary, name), x), x, right) < most
    x = x[x < 0] if name == "expm1" else x
    assert ulps(apply("elu" if name == "expm1" else name, x), x, right) < most


@pytest.mark.parametrize("dtype", DTYPES)
def test_log1p_between_0_and_1(dtype: str) -> None:
    x = numbers(dtype, 0, 1)
    x = np.concatenate([x, np.array([0, 1, 1e-30], dtype)])
    assert ulps(scalars(elementary.log1p_of_unit, x), x, log1p) < 2


@pytest.mark.parametrize("dtype", DTYPES)
def test_log_of_normal_numbers(dtype: str) -> None:
    x = np.abs(numbers(dtype, -1e30, 1e30))
    near_one = 1 + np.concatenate([numbers(dtype, -0.3, 0.5), np.array([0.0, -1e-7, 1e-7])]).astype(dtype)
    powers = np.array([*LIMITS[dtype], 0.5, 2, math.sqrt(0.5), np.nextafter(math.sqrt(0.5), 0), math.sqrt(2)], dtype)
    x = np.concatenate([x, near_one, powers])
    assert ulps(scalars(elementary.log, x), x, lambda v: Decimal(v).ln()) < 2
    assert scalars(elementary.log, np.array([1.0], dtype)) == 0
    assert np.isnan(scalars(elementary.log, np.array([np.nan, np.inf], dtype))).all()


@pytest.mark.parametrize(("dtype", "absolute", "relative"), [("float64", 4.5e-16, 4e-13), ("float32", 2e-7, 1e-4)])
def test_normal_cdf(dtype: str, absolute: float, relative: float) -> None:
    """In the lower tail, too; there the rounding of g² itself costs g²/2 units."""
    lowest = -37.0 if dtype == "float64" else -12.0
    x = np.concatenate([numbers(dtype, lowest, 9), np.array([0, -1e-30, lowest], dtype)])
    right = np.array([math.erfc(-float(v) * math.sqrt(0.5)) / 2 for v in x])
    got = scalars(elementary.normal_cdf, x)
    assert np.abs(got - right).max() < absolute
    assert np.abs(got / right - 1).max() < relative


@pytest.mark.parametrize("name", ["exp", "expm1", "tanh"])
def test_as_math_has_it(name: str) -> None:
    x = numbers("float64", -708, 708)
    np.testing.assert_array_max_ulp(scalars(getattr(elementary, name), x), [getattr(math, name)(v) for v in x], 4)


@pytest.mark.parametrize("dtype", DTYPES)
def test_exactly_at_zero(dtype: str) -> None:
    x = np.array([0.0, -0.0], dtype)
    for name, at_zero in (("exp", 1), ("elu", 0), ("tanh", 0), ("sigmoid", 0.5)):
        assert apply(name, x).tolist() == [at_zero] * 2, name
    assert scalars(elementary.expm1, x).tolist() == [0, 0]


@pytest.mark.parametrize("dtype", DTYPES)
def test_tiny_numbers_are_kept(dtype: str) -> None:
    """expm1(x) and tanh(x) are x itself near zero, down to the smallest normal number."""
    tiny = LIMITS[dtype][0]
    x = np.array([tiny, -tiny, 1e-30, -1e-30, 1e-12, -1e-12], dtype)
    assert scalars(elementary.expm1, x) == pytest.approx(x, rel=1e-6 if dtype == "float32" else 1e-11, abs=0)
    assert apply("tanh", x) == pytest.approx(x, rel=1e-6 if dtype == "float32" else 1e-11, abs=0)


@pytest.mark.parametrize("dtype", DTYPES)
def test_saturation_is_finite(dtype: str) -> None:
    """exp stops short of overflow and becomes 0 at the other end; what is made of it takes its limits."""
    high = LIMITS[dtype][1]
    x = np.array([RANGE[dtype] + 5, 1e4, 1e30, float(np.finfo(dtype).max), np.inf], dtype)
    with np.errstate(over="raise", invalid="raise"):
        top, bottom = scalars(elementary.exp, x).astype(np.float64), scalars(elementary.exp, -x).astype(np.float64)
    assert ((top > 0.9 * high) & (top <= high)).all()
    assert bottom.tolist() == [0] * 5
    assert np.isfinite(scalars(elementary.expm1, x)).all()
    assert scalars(elementary.expm1, -x).tolist() == [-1] * 5
    assert scalars(elementary.tanh, x).tolist() == [1] * 5
    assert scalars(elementary.tanh, -x).tolist() == [-1] * 5
    assert scalars(elementary.sigmoid, x).tolist() == [1] * 5
    assert scalars(elementary.sigmoid, -x).tolist() == [0] * 5


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["exp", "expm1", "log1p_of_unit", "normal_cdf", "tanh", "sigmoid"])
def test_nan_stays_nan(name: str, dtype: str) -> None:
    x = np.array([np.nan, -np.nan], dtype)
    assert np.isnan(scalars(getattr(elementary, name), x)).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["exp", "elu", "tanh", "sigmoid"])
def test_nan_stays_nan_among_other_numbers(name: str, dtype: str) -> None:
    """In the vectorised loop: the weight is NaN, so every pre-activation is."""
    network = gp.Network((1, 33), output_activation=name)
    parameters = network.initialize(0, dtype=dtype)
    parameters.W[0][:, ::3] = np.nan
    output = gp.forward(network, parameters, np.ones((5, 1), dtype)).output
    assert np.isnan(output[:, ::3]).all()
    assert np.isfinite(np.delete(output, np.s_[::3], axis=1)).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_neighbours_are_in_order(dtype: str) -> None:
    """Where the argument is reduced (odd multiples of ln 2 / 2), no step downward of more than rounding."""
    edges = (np.arange(-40, 40) + 0.5) * math.log(2)
    for name in ("exp", "tanh", "sigmoid"):
        for edge in edges:
            x = np.array([edge], dtype)
            around = np.concatenate([np.nextafter(x, -np.inf, dtype=dtype), x, np.nextafter(x, np.inf, dtype=dtype)])
            y = scalars(getattr(elementary, name), around).astype(np.float64)
            assert (np.diff(y) >= -2 * np.spacing(np.abs(y[:2]).astype(dtype))).all(), (name, edge)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", [name for name in gp.ACTIVATIONS if name != "softmax"])
def test_activations_far_out(name: str, dtype: str) -> None:
    """φ and φ′ of every activation are finite for every pre-activation that exp does not leave the range for; φ′ is bounded."""
    half = [0.0, 1e-30, 1.0, 20.0, 80.0, 87.0, 100.0, 700.0, 1e4, 1e18, float(np.finfo(dtype).max) / 4]
    x = np.array([*half, *(-number for number in half)], dtype)
    network = gp.Network((1, 1), output_activation=name)
    parameters = gp.Parameters.from_arrays([[[1.0]]], [[0.0]], dtype=dtype)
    fwd = gp.forward(network, parameters, x[:, None])
    assert np.isfinite(fwd.output).all()
    slope = gp.backward(network, parameters, fwd, fwd.output - 1).delta[0]  # residuals of 1, up to rounding
    assert np.isfinite(slope).all()
    if name != "exp":
        assert (np.abs(slope) < 2).all()


# --- roots of update rules -----------------------------------------------------------------------------------------------


@numba.njit
def _inverse_roots(source, target, factor, summand):
    roots.inverse_roots(at(source, 0, factor), at(target, 0, factor), factor, summand)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_inverse_roots_are_good_to_two_units_in_the_last_place(dtype: str) -> None:
    """Over all powers of ten; factor and summand as Adam has them."""
    rng, eps, top = np.random.default_rng(0), np.finfo(dtype).eps, 37 if dtype == "float32" else 307
    x = (rng.uniform(1, 10, (100, vectors.LINE)) * 10.0 ** rng.integers(-top, top, (100, vectors.LINE))).astype(dtype)
    for factor, summand in ((1.0, 0.0), (31.6, 1e-8), (1.0, 1e-8)):
        factor, summand = np.dtype(dtype).type(factor), np.dtype(dtype).type(summand)
        for row in x:
            out = np.empty_like(row)
            _inverse_roots(row.ctypes.data, out.ctypes.data, factor, summand)
            right = 1 / (np.longdouble(factor) * np.sqrt(row.astype(np.longdouble)) + summand)
            assert np.abs(out / right - 1).max() < 2 * eps


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_inverse_roots_of_what_is_not_a_usual_number(dtype: str) -> None:
    x = np.full(vectors.LINE, 4, dtype)
    x[:4] = 0, np.inf, np.nan, np.finfo(dtype).tiny
    tiny = float(np.finfo(dtype).tiny)
    for summand in (0.0, 0.5):
        out = np.empty_like(x)
        _inverse_roots(x.ctypes.data, out.ctypes.data, x.dtype.type(1), x.dtype.type(summand))
        assert out[0] == 1 / summand if summand else out[0] >= 1 / tiny
        assert out[1] == 0
        assert np.isnan(out[2])
        assert out[3] == pytest.approx(1 / (np.sqrt(tiny) + summand), rel=4 * float(np.finfo(dtype).eps))
        np.testing.assert_allclose(out[4:], 1 / (2 + summand), rtol=2 * np.finfo(dtype).eps)
