"""exp and its relatives, in plain arithmetic that the compiler turns into vectors; NaN stays NaN.

It knows numbers, not activations. Accurate to 1 (exp), 2 (expm1, sigmoid, log, log1p) and 3
(tanh) units in the last place: tests/core/test_elementary.py.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from glassprop.core.jit import FLAGS, like, scalar

# ln 2 in two parts (Cody and Waite, Software Manual for the Elementary Functions, 1980): n * LN2_HIGH is exact in both
# precisions.
LN2_HIGH = 0.693359375
LN2_LOW = -2.121944400546905827679e-4
LOG2_E = 1.4426950408889634074
SQRT_TWO = 1.41421356237309504880


@intrinsic
def multiply_add(typingctx, a, b, c):
    """``a * b + c``, rounded once.

    Of ``a * b + c * d`` the compiler may round either product by itself, and does not choose alike for all numbers of a loop.
    """

    def codegen(context, builder, sig, args):
        return builder.fma(*args)

    return c(a, b, c), codegen


def _extreme(of_two: str) -> Any:
    @intrinsic
    def extreme(typingctx, a, b):
        def codegen(context, builder, sig, args):
            number = args[0].type
            name = f"llvm.{of_two}.f{sig.return_type.bitwidth}"
            function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(number, [number, number]), name)
            return builder.call(function, args, fastmath=("nsz",))

        return a(a, a), codegen

    return extreme


#: The larger and the smaller of two numbers, NaN where one is; of two zeros either. A choice, ``b if a < b else a``, becomes a
#: store by a mask where `a` was in its place before, which takes AMD's processors without AVX-512 20 cycles.
larger, smaller = _extreme("maximum"), _extreme("minimum")


def polynomial(single: list[float], double: list[float]) -> Any:
    """The function of one number that is a polynomial, given by its coefficients, highest first, for either precision.

    Of a single coefficient it is a constant.
    """

    @intrinsic
    def of(typingctx, x):
        def codegen(context, builder, sig, args):
            first, *others = (args[0].type(number) for number in (single if x is types.float32 else double))
            for number in others:
                first = builder.fadd(builder.fmul(first, args[0], flags=[*FLAGS]), number, flags=[*FLAGS])
            return first

        return x(x), codegen

    return of


_top = polynomial([127 * 0.6931], [1023 * 0.6931])  # within 2**127, within 2**1023
# In the sum of this and a whole number n, the last bits are those of n + the exponent's bias: there ones are counted.
_in_ones = polynomial([1.5 * 2.0**23 + 127], [1.5 * 2.0**52 + 1023])
# Expansions in Chebyshev polynomials, by mpmath's `chebyfit` in 60 digits; with the largest relative errors that they leave in
# the function on the left, in float32 and in float64.
# exp(r) = 1 + r + r² p(r) for |r| up to ln(2)/2: 9.8e-9, 1.7e-17
_of_exp = polynomial(
    [0.00139261769, 0.00836317367, 0.0416665547, 0.16666577, 0.5],
    [
        2.51003767988125e-08, 2.762007713646922e-07, 2.7557268478279004e-06, 2.480152131972762e-05, 0.00019841269863041851,
        0.0013888888917198419, 0.008333333333330065, 0.04166666666662416, 0.16666666666666669, 0.5000000000000001,
    ],
)  # fmt: skip
# log((1 + s)/(1 - s)) = 2 (s + s³ p(s²)) for s up to 1/3: 9.6e-10, 7.2e-18
_of_log = polynomial(
    [0.116121646, 0.108532879, 0.14296179, 0.199998532, 0.333333337],
    [
        0.08082022805971766, 0.04400369243072337, 0.06000536404795356, 0.06657072104827468, 0.07692785032479312,
        0.09090894718066429, 0.11111111358713932, 0.1428571428355438, 0.20000000000007292, 0.3333333333333333,
    ],
)  # fmt: skip
# (1 + 2x) exp(x²) erfc(x) / 2 in t = (x - 3.75)/(x + 3.75), x at least 0: 1.0e-8, 2.4e-16. The expansion of Shepherd and
# Laframboise 1981 (Mathematics of Computation 36), computed anew.
_of_tail = polynomial(
    [
        -0.000110127847, 0.000197801389, 0.000832664255, -0.00492135854, 0.0142098926, -0.0293242149, 0.0461430996,
        -0.0544068515, 0.0411396138, 0.00179309922, -0.0701203495, 0.618756295,
    ],
    [
        -1.3102910441407378e-09, -9.783442643751317e-10, 1.5981689645002262e-08, 9.398807899439293e-09, -1.2426448479132636e-07,
        -2.5428398959068495e-08, 8.709598434667384e-07, -4.896256345970452e-07, -5.718995852580755e-06, 1.1193780017922626e-05,
        2.5823248823967388e-05, -0.00014507767556197306, 0.00014685719480063007, 0.0008778130825991261, -0.004873289842909373,
        0.014181138686021378, -0.029346699288162647, 0.04615216058214708, -0.05440196507123269, 0.041138369244997114,
        0.0017927077427397683, -0.07012029929277262, 0.6187563154189137,
    ],
)  # fmt: skip


@intrinsic
def _power_of_two(typingctx, ones):
    """2**n from n + `_in_ones`, whose last bits are moved to where the exponent stands; 0 of minus the largest exponent."""

    def codegen(context, builder, sig, args):
        integer, below = (ir.IntType(32), 23) if sig.return_type is types.float32 else (ir.IntType(64), 52)
        return builder.bitcast(builder.shl(builder.bitcast(args[0], integer), integer(below)), args[0].type)

    return ones(ones), codegen


def _bits_and_exponent(builder, x):
    """Of a normal number x > 0 the bits, the n with x / 2**n in [√½, √2), and how many bits stand below those of n."""
    single = isinstance(x.type, ir.FloatType)
    integer, below, root = (ir.IntType(32), 23, 0x3F3504F3) if single else (ir.IntType(64), 52, 0x3FE6A09E667F3BCD)
    bits = builder.bitcast(x, integer)
    return bits, builder.ashr(builder.sub(bits, integer(root)), integer(below)), integer(below)  # root: the bits of √½


@intrinsic
def _exponent(typingctx, x):
    """n with x / 2**n in [√½, √2), of a normal number x > 0."""

    def codegen(context, builder, sig, args):
        return builder.sitofp(_bits_and_exponent(builder, args[0])[1], args[0].type)

    return x(x), codegen


@intrinsic
def _mantissa(typingctx, x):
    """x / 2**n in [√½, √2), of a normal number x > 0."""

    def codegen(context, builder, sig, args):
        bits, n, below = _bits_and_exponent(builder, args[0])
        return builder.bitcast(builder.sub(bits, builder.shl(n, below)), args[0].type)

    return x(x), codegen


@scalar
def _reduced_expm1(x):
    """q and 2**n with exp(x) = (1 + q) 2**n, |x - n ln 2| at most ln(2)/2, of x up to `_top`; below -`_top` 2**n is 0."""
    bottom = -_top(x)
    x = bottom if x < bottom else x
    ones = x * like(LOG2_E, x) + _in_ones(x)  # rounded to a whole number; of NaN the polynomial is NaN
    n = ones - _in_ones(x)
    r = (x - n * like(LN2_HIGH, x)) - n * like(LN2_LOW, x)
    q = _of_exp(r) * r * r + r
    return q, _power_of_two(ones)


@scalar
def _held(x):
    return _top(x) if x > _top(x) else x


@scalar
def exp_to_one(x):
    """exp(x) of an x of at most 0; 0 where it would be too small for a normal number."""
    q, power = _reduced_expm1(x)
    return power + q * power


@scalar
def exp(x):
    """exp(x), 0 where it would be too small for a normal number, and held at 2**127 (2**1023) where it would overflow."""
    return exp_to_one(_held(x))


@scalar
def expm1(x):
    """exp(x) - 1 without cancellation near zero."""
    q, power = _reduced_expm1(_held(x))
    return q * power + (power - like(1, x))


@scalar
def _log_of_quotient(s):
    """log((1 + s)/(1 - s)) for s of at most 1/3."""
    z = s * s
    return like(2, s) * (s + s * z * _of_log(z))


@scalar
def log(x):
    """log(x) of a normal number x > 0, n ln 2 + log m with m = x / 2**n in [√½, √2); NaN for infinity."""
    n, m = _exponent(x), _mantissa(x)
    near_one = _log_of_quotient((m - like(1, x)) / (m + like(1, x)))
    return n * like(LN2_HIGH, x) + (near_one + n * like(LN2_LOW, x)) + (x - x)


@scalar
def log1p_of_unit(x):
    """log(1 + x) for 0 <= x <= 1."""
    return _log_of_quotient(x / (like(2, x) + x))


@scalar
def tanh(x):
    """tanh(x) = -e / (2 + e) with e = expm1(-2|x|), with the sign of x."""
    e = expm1(like(-2, x) * abs(x))
    t = -e / (like(2, x) + e)
    return -t if x < like(0, x) else t


@scalar
def normal_cdf(g):
    """Φ(g), the chance that a standard normal number is below g, with relative accuracy in the lower tail too: x = |g|/√2."""
    size = abs(g)
    t = (size - like(3.75 * SQRT_TWO, g)) / (size + like(3.75 * SQRT_TWO, g))
    tail = exp_to_one(like(-0.5, g) * g * g) * _of_tail(t) / (like(1, g) + like(SQRT_TWO, g) * size)
    return like(1, g) - tail if g > like(0, g) else tail


@scalar
def sigmoid(x):
    """1 / (1 + exp(-x)), from exp(-|x|), so that both tails keep their relative accuracy."""
    e = exp_to_one(-abs(x))
    one = like(1, x)
    return (one if x >= like(0, x) else e) / (one + e)
