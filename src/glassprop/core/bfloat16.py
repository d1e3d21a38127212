"""Numbers as pairs of bfloat16, the operands of products: rounded, or in three parts that add up to them.

It knows pointers and counts, nothing of products or layers.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from glassprop.core.jit import host_features, inner, panel_width, shift, stay_apart, within
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
    """A vector of pairs of bfloat16 from a vector each at `low` and at `high`, `half` numbers further.

    `count` numbers are there from `low` on; the others count as 0 and are not read. In one part they are rounded to nearest,
    ties to even. Of three the second is what rounding took from the number, cut off, the third what was cut off, `half` further
    each. Of 24 bits each holds 8, so that nothing is left. That takes fewer instructions than rounding by the processor's.
    """
    signature = types.void(low, low, types.int64, types.int64, low, parts)

    def codegen(context, builder, sig, args):
        if not has_bfloat16() or sig.args[0].dtype is not types.float32:  # no plan has pairs there
            return context.get_dummy_value()
        low, high, count, half, target, _ = args
        vector, lanes = vector_of(sig.args[0])
        bits = ir.VectorType(ir.IntType(32), lanes)
        upper, below, tie = (ir.Constant(bits, [word] * lanes) for word in (0xFFFF0000, 16, 0x8000))

        def store(part, pairs):
            place = builder.gep(target, [builder.mul(half, index(part))])
            builder.store(builder.bitcast(pairs, vector), builder.bitcast(place, vector.as_pointer()), align=4)

        def round_both(first, second):
            halves, words = ir.VectorType(BFloat(), 2 * lanes), ir.VectorType(ir.IntType(16), 2 * lanes)
            name = "llvm.x86.avx512bf16.cvtne2ps2bf16.512"
            convert = cgutils.get_or_insert_function(builder.module, ir.FunctionType(halves, [vector, vector]), name)
            order = [ir.IntType(32)(lane) for i in range(lanes) for lane in (i, lanes + i)]
            order = ir.Constant(ir.VectorType(ir.IntType(32), 2 * lanes), order)
            rounded = builder.bitcast(builder.call(convert, [second, first]), words)
            store(0, builder.bitcast(builder.shuffle_vector(rounded, ir.Constant(words, ir.Undefined), order), bits))

        def split_both(*numbers):
            for part in range(3):
                words = [builder.bitcast(number, bits) for number in numbers]
                if part == 0:
                    words = [builder.add(word, tie) for word in words]
                store(part, builder.or_(builder.lshr(words[0], below), builder.and_(words[1], upper)))
                kept = [builder.bitcast(builder.and_(word, upper), vector) for word in words]
                numbers = [builder.fsub(number, part) for number, part in zip(numbers, kept, strict=True)]

        pair = round_both if sig.args[5].literal_value == 1 else split_both
        beyond = builder.sub(count, half)
        with builder.if_else(builder.icmp_signed(">=", beyond, index(lanes))) as (whole, cut):
            with whole:
                pair(*(load(builder, pointer, index(0), vector, 4) for pointer in (low, high)))
            with cut:
                pair(first_of(builder, low, count, vector), first_of(builder, high, beyond, vector))
        return context.get_dummy_value()

    return signature, codegen


@within
def _pair(low, high, count, half, target, parts):
    if parts == 1:
        _pair_vectors(low, high, count, half, target, 1)
    else:
        _pair_vectors(low, high, count, half, target, 3)


@inner
def pair_rows(W, stride, rows, depth, target, target_row, parts):
    """Pairs of bfloat16 of rows of W, `depth` long: of each 16 numbers with the 16 after them, and so on; zeros beyond.

    Pairs of the second of 3 `parts` lie behind the 16 of the first, and so on. Each number is the sum of its parts. `target`
    may be W, or as far before it as it needs to stay behind what is read. Which numbers make a pair is free, as long as both
    operands of a product agree.
    """
    stay_apart(rows)
    width = panel_width(W)
    half, whole = width // 2, depth // width * width
    for r in range(rows):
        source, pairs = shift(W, r * stride), shift(target, r * target_row)
        for i in range(0, whole, width):
            _pair(shift(source, i), shift(source, i + half), width, half, shift(pairs, i // 2 * parts), parts)
        if whole < depth:
            rest = shift(source, whole)
            _pair(rest, shift(rest, half), depth - whole, half, shift(pairs, whole // 2 * parts), parts)


@inner
def pair_lines(source, lines, target, parts):
    """The same of panel rows, number by number: 16 of `lines` panel rows with the 16 after them, and so on."""
    stay_apart(lines)
    width = panel_width(source)
    half = width * width // 2
    while lines > 0:
        for i in range(0, half, width // 2):
            _pair(shift(source, i), shift(source, half + i), lines * width - i, half, shift(target, i), parts)
        source, target, lines = shift(source, 2 * half), shift(target, parts * half), lines - width
