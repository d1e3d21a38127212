"""Reciprocals of square roots, which update rules divide by. It knows numbers, not rules."""

from __future__ import annotations

import math

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from glassprop.core.vectors import LINE, VECTOR_BYTES, fma_of, index, load, splat, vector_of, vector_pointer


@intrinsic
def inverse_roots(typingctx, source, target, factor, summand):
    """target := 1 / (factor √x + summand) for LINE numbers x of `source`, which are at least 0; of infinity it is 0.

    Roots and divisions share one slow unit of the processor. AVX-512 has estimates of 1/x and 1/√x, good to 14 bits, which
    steps of Newton's double, beside that unit: to a unit or two in the last place. s ≈ √x and h ≈ 1/(2√x) improve together
    (Markstein 1990). All vectors take a step before the next one: by itself each would wait 70 cycles. A summand of 0 counts
    as the smallest normal number there.
    """
    signature = types.void(source, source, source.dtype, source.dtype)

    def codegen(context, builder, sig, args):
        source, target, factor, summand = args
        vector, lanes = vector_of(sig.args[0])
        bits = sig.args[0].dtype.bitwidth
        fma, smallest = fma_of(builder, vector), 2.0**-126 if bits == 32 else 2.0**-1022
        factor, summand = splat(builder, factor, vector), splat(builder, summand, vector)

        def each(emit, *lists):
            return [emit(*values) for values in zip(*lists, strict=True)]

        def constant(value):
            return ir.Constant(vector, [value] * lanes)

        def at_least_smallest(x):
            return builder.select(builder.fcmp_ordered("<", x, constant(smallest)), constant(smallest), x)  # NaN stays

        def estimate(name, x):
            kind = ir.FunctionType(vector, [vector, vector, ir.IntType(lanes)])
            name = f"llvm.x86.avx512.{name}14.p{'s' if bits == 32 else 'd'}.512"
            guess = cgutils.get_or_insert_function(builder.module, kind, name)
            return builder.call(guess, [x, ir.Constant(vector, None), ir.IntType(lanes)((1 << lanes) - 1)])

        def by_the_slow_unit(x):
            kind = ir.FunctionType(vector, [vector])
            root = builder.call(cgutils.get_or_insert_function(builder.module, kind, f"llvm.sqrt.v{lanes}f{bits}"), [x])
            return builder.fdiv(constant(1.0), fma(root, factor, summand))

        def by_estimates(xs, least):
            guess = [estimate("rsqrt", at_least_smallest(x)) for x in xs]  # of 0 it would be infinity
            s, h = each(builder.fmul, xs, guess), [builder.fmul(g, constant(0.5)) for g in guess]
            wrong = each(lambda s, h: fma(builder.fneg(s), h, constant(0.5)), s, h)
            s, h = each(fma, s, wrong, s), each(fma, h, wrong, h)  # 27 bits of both
            if bits == 64:
                missing = each(lambda s, x: fma(builder.fneg(s), s, x), s, xs)
                s = each(fma, missing, h, s)  # 54 bits
            total = [fma(root, factor, least) for root in s]
            r = [estimate("rcp", t) for t in total]
            for _ in range(bits // 32):
                wrong = each(lambda t, r: fma(builder.fneg(t), r, constant(1.0)), total, r)
                r = each(fma, wrong, r, r)
            finite = [builder.fcmp_unordered("!=", x, constant(math.inf)) for x in xs]
            return [builder.select(f, inverse, constant(0.0)) for f, inverse in zip(finite, r, strict=True)]

        places = [index(start) for start in range(0, LINE, lanes)]
        xs = [load(builder, source, place, vector, bits // 8) for place in places]
        if VECTOR_BYTES == 64:
            inverses = by_estimates(xs, at_least_smallest(summand))
        else:
            inverses = [by_the_slow_unit(x) for x in xs]
        for place, inverse in zip(places, inverses, strict=True):
            builder.store(inverse, vector_pointer(builder, target, place, vector), align=bits // 8)
        return context.get_dummy_value()

    return signature, codegen
