"""exp and its relatives, in plain arithmetic that the compiler turns into vectors; NaN stays NaN.

It knows numbers, not activations. Accurate to 1 (exp), 2 (expm1, sigmoid, log, log1p) and 3
(tanh) units in the last place: tests/core/test_elementary.py.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from glassprop.core.jit import like, scalar

# ln 2 in two parts (Cody and Waite, Software Manual for the Elementary Functions, 1980): n * LN2_HIGH is exact in both
# precisions.
LN2_HIGH = 0.693359375
LN2_LOW = -2.121944400546905827679e-4
LOG2_E = 1.4426950408889634074
SQRT_HALF = 0.70710678118654752440


@intrinsic
def _largest_exponent(typingctx, x):
    exponent = 127 if x is types.float32 else 1023

    def codegen(context, builder, sig, args):
        return context.get_constant(sig.return_type, exponent)

    return x(x), codegen


@intrinsic
def single(typingctx, x):
    """Whether x is a float32, for which shorter polynomials do (to the compiler a constant)."""
    single = x is types.float32

    def codegen(context, builder, sig, args):
        return context.get_constant(types.boolean, single)

    return types.boolean(x), codegen


@intrinsic
def _round(typingctx, x):
    """Nearest whole number."""

    def codegen(context, builder, sig, args):
        kind = args[0].type
        nearest = builder.module.declare_intrinsic("llvm.rint", [kind], ir.FunctionType(kind, [kind]))
        return builder.call(nearest, args)

    return x(x), codegen


@intrinsic
def _power_of_two(typingctx, n):
    """2**n for a whole number n within the normal range, by writing n into the exponent bits."""

    def codegen(context, builder, sig, args):
        single = sig.return_type is types.float32
        integer = ir.IntType(32 if single else 64)
        # NaN compares false, becomes 0 here, and comes back through the polynomial that this factor multiplies.
        finite = builder.select(builder.fcmp_ordered("ord", args[0], args[0]), args[0], ir.Constant(args[0].type, 0.0))
        biased = builder.add(builder.fptosi(finite, integer), integer(127 if single else 1023))
        return builder.bitcast(builder.shl(biased, integer(23 if single else 52)), args[0].type)

    return n(n), codegen


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
    """q and 2**n with exp(x) = (1 + q) 2**n, |x - n ln 2| at most ln(2)/2. x is kept where the result is finite and normal."""
    limit = _largest_exponent(x)
    top = limit * like(0.6931, x)
    bottom = -top
    x = top if x > top else x
    x = bottom if x < bottom else x
    n = _round(x * like(LOG2_E, x))
    r = (x - n * like(LN2_HIGH, x)) - n * like(LN2_LOW, x)
    # Taylor's series: the first term left out is below 4e-18 of the result (5e-9 in float32)
    if single(x):
        q = like(1 / 5040, x)
    else:
        q = like(1 / 6227020800, x)
        q = q * r + like(1 / 479001600, x)
        q = q * r + like(1 / 39916800, x)
        q = q * r + like(1 / 3628800, x)
        q = q * r + like(1 / 362880, x)
        q = q * r + like(1 / 40320, x)
        q = q * r + like(1 / 5040, x)
    q = q * r + like(1 / 720, x)
    q = q * r + like(1 / 120, x)
    q = q * r + like(1 / 24, x)
    q = q * r + like(1 / 6, x)
    q = q * r + like(0.5, x)
    q = q * r * r + r
    return q, _power_of_two(n)


@scalar
def exp(x):
    """exp(x), 0 where it would be too small for a normal number, and held at 2**127 (2**1023) where it would overflow."""
    q, power = _reduced_expm1(x)
    return power + q * power


@scalar
def expm1(x):
    """exp(x) - 1 without cancellation near zero."""
    q, power = _reduced_expm1(x)
    return q * power + (power - like(1, x))


@scalar
def _log_of_quotient(s):
    """log((1 + s)/(1 - s)) = 2 (s + s³/3 + s⁵/5 + ...) for s of at most 1/3."""
    z = s * s
    # the first term left out is below 1e-17 of the result (2e-9 in float32)
    if single(s):
        p = like(1 / 17, s)
    else:
        p = like(1 / 33, s)
        p = p * z + like(1 / 31, s)
        p = p * z + like(1 / 29, s)
        p = p * z + like(1 / 27, s)
        p = p * z + like(1 / 25, s)
        p = p * z + like(1 / 23, s)
        p = p * z + like(1 / 21, s)
        p = p * z + like(1 / 19, s)
        p = p * z + like(1 / 17, s)
    p = p * z + like(1 / 15, s)
    p = p * z + like(1 / 13, s)
    p = p * z + like(1 / 11, s)
    p = p * z + like(1 / 9, s)
    p = p * z + like(1 / 7, s)
    p = p * z + like(1 / 5, s)
    p = p * z + like(1 / 3, s)
    return like(2, s) * (s + s * z * p)


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
    """Φ(g), the chance that a standard normal number is below g, with relative accuracy in the lower tail too.

    (1 + 2x) exp(x²) erfc(x), x = |g|/√2, as a polynomial in t = (x - 3.75)/(x + 3.75): the expansion of Shepherd and
    Laframboise 1981 (Mathematics of Computation 36), computed anew to degree 22, where its relative error is 2.4e-16, and
    for float32 to degree 11, where it is 1.0e-8.
    """
    x = abs(g) * like(SQRT_HALF, g)
    t = (x - like(3.75, g)) / (x + like(3.75, g))
    if single(g):
        p = like(-0.000220255693, g)
        p = p * t + like(0.000395602779, g)
        p = p * t + like(0.00166532851, g)
        p = p * t + like(-0.00984271709, g)
        p = p * t + like(0.0284197852, g)
        p = p * t + like(-0.0586484298, g)
        p = p * t + like(0.0922861993, g)
        p = p * t + like(-0.108813703, g)
        p = p * t + like(0.0822792277, g)
        p = p * t + like(0.00358619844, g)
        p = p * t + like(-0.140240699, g)
        p = p * t + like(1.23751259, g)
    else:
        p = like(-2.6205820882814757e-09, g)
        p = p * t + like(-1.9566885287502633e-09, g)
        p = p * t + like(3.1963379290004525e-08, g)
        p = p * t + like(1.8797615798878585e-08, g)
        p = p * t + like(-2.485289695826527e-07, g)
        p = p * t + like(-5.085679791813699e-08, g)
        p = p * t + like(1.7419196869334767e-06, g)
        p = p * t + like(-9.792512691940904e-07, g)
        p = p * t + like(-1.143799170516151e-05, g)
        p = p * t + like(2.238756003584525e-05, g)
        p = p * t + like(5.1646497647934776e-05, g)
        p = p * t + like(-0.0002901553511239461, g)
        p = p * t + like(0.00029371438960126015, g)
        p = p * t + like(0.0017556261651982521, g)
        p = p * t + like(-0.009746579685818746, g)
        p = p * t + like(0.028362277372042756, g)
        p = p * t + like(-0.058693398576325294, g)
        p = p * t + like(0.09230432116429416, g)
        p = p * t + like(-0.10880393014246538, g)
        p = p * t + like(0.08227673848999423, g)
        p = p * t + like(0.0035854154854795366, g)
        p = p * t + like(-0.14024059858554525, g)
        p = p * t + like(1.2375126308378275, g)
    tail = like(0.5, g) * exp(like(-0.5, g) * g * g) * p / (like(1, g) + like(2, g) * x)
    return like(1, g) - tail if g > like(0, g) else tail


@scalar
def sigmoid(x):
    """1 / (1 + exp(-x)), from exp(-|x|), so that both tails keep their relative accuracy."""
    e = exp(-abs(x))
    one = like(1, x)
    return (one if x >= like(0, x) else e) / (one + e)
