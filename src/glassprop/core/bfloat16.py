"""Numbers as pairs of bfloat16, the operands of products: rounded, or in three parts that add up to them.

It knows pointers and counts, nothing of products or layers.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from glassprop.core.jit import host_features, inner, shift, stay_apart, within
from glassprop.core.vectors import VECTOR_BYTES, first_of, index, load, vector_of


class BFloat(ir.Type):
    """LLVM's bfloat, which llvmlite does not know."""

    def __str__(self) -> str:
        return "bfloat"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, BFloat)

    def __hash__(self) -> int:
        return hash(BFloat)


def has_bfloat16() -> bool:
    """Whether this machine's code may hold products of bfloat16 (AVX-512's)."""
    return VECTOR_BYTES == 64 and "avx512bf16" in host_features()


@intrinsic(prefer_literal=True)
def _pair_vectors(typingctx, low, high, count, half, target, parts):
    """A vector of pairs of bfloat16, rounded to nearest, from a vector each at `low` and at `high`, `half` numbers further.

    `count` numbers are there from `low` on; the others count as 0 and are not read. Of several `parts` the second are what
    rounding took from the numbers, rounded in turn, and so on, `half` further each.
    """
    signature = types.void(low, low, types.int64, types.int64, low, parts)

    def codegen(context, builder, sig, args):
        if not has_bfloat16() or sig.args[0].dtype is not types.float32:  # no plan has pairs there
            return context.get_dummy_value()
        low, high, count, half, target, _ = args
        vector, lanes = vector_of(sig.args[0])
        halves = ir.VectorType(BFloat(), 2 * lanes)
        name = "llvm.x86.avx512bf16.cvtne2ps2bf16.512"
        round_off = cgutils.get_or_insert_function(builder.module, ir.FunctionType(halves, [vector, vector]), name)
        order = [lane for i in range(lanes) for lane in (i, lanes + i)]
        order = ir.Constant(ir.VectorType(ir.IntType(32), 2 * lanes), [ir.IntType(32)(lane) for lane in order])
        words, bits = ir.VectorType(ir.IntType(16), 2 * lanes), ir.VectorType(ir.IntType(32), lanes)

        def pair(first, second):
            for part in range(sig.args[5].literal_value):
                rounded = builder.bitcast(builder.call(round_off, [second, first]), words)
                pairs = builder.bitcast(builder.shuffle_vector(rounded, ir.Constant(words, ir.Undefined), order), bits)
                place = builder.gep(target, [builder.mul(half, index(part))])
                builder.store(builder.bitcast(pairs, vector), builder.bitcast(place, vector.as_pointer()), align=4)
                low_half, high_half = ir.Constant(bits, [16] * lanes), ir.Constant(bits, [0xFFFF0000] * lanes)
                first = builder.fsub(first, builder.bitcast(builder.shl(pairs, low_half), vector))
                second = builder.fsub(second, builder.bitcast(builder.and_(pairs, high_half), vector))

        beyond = builder.sub(count, half)
        with builder.if_else(builder.icmp_signed(">=", beyond, index(lanes))) as (whole, cut):
            with whole:
                pair(*(load(builder, pointer, index(0), vector, 4) for pointer in (low, high)))
            with cut:
                pair(first_of(builder, low, count, vector), first_of(builder, high, beyond, vector))
        return context.get_dummy_value()

    return signature, codegen


@inner
def pair_up(source, count, half, target, parts):
    """Pairs of bfloat16 (source[i], source[half + i]) for i below `half`, a multiple of 16; 0 for numbers from `count` on.

    `target` may be `source`. Which numbers make a pair is free, as long as both operands of a product agree. Of 3 `parts` each
    number becomes the sum of three: of 24 bits each holds 8. The second pairs lie `half` further, the third `half` beyond them.
    """
    stay_apart(count)
    for i in range(0, half, 16):
        low, high, place = shift(source, i), shift(source, half + i), shift(target, i)
        if parts == 1:
            _pair_vectors(low, high, count - i, half, place, 1)
        else:
            _pair_vectors(low, high, count - i, half, place, 3)


@within
def pair_rows(W, stride, rows, depth, half, target, target_row, parts):
    """Rows of W, `depth` long, as rows of `half` pairs, or of so many for each of `parts`; `target` may be W."""
    for r in range(rows):
        pair_up(shift(W, r * stride), depth, half, shift(target, r * target_row), parts)
