"""Numbers as pairs of bfloat16, the operands of products: rounded, or in three parts that add up to them.

It knows pointers and counts, nothing of products or layers.
"""

from __future__ import annotations

import ctypes
import functools
import sys

from llvmlite import ir
from llvmlite.binding import initialize_native_asmparser
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from glassprop.core.jit import PANEL_BYTES, host_features, inner, panel_width, shift, stay_apart, within
from glassprop.core.processor import ARM
from glassprop.core.vectors import VECTOR_BYTES, first_of, index, load, splat, vector_of

_CAPABILITIES, _BFLOAT16 = 26, 1 << 14  # getauxval(AT_HWCAP2) & HWCAP2_BF16 of Linux on Arm


class BFloat(ir.Type):
    """LLVM's bfloat, which llvmlite does not know."""

    def __str__(self) -> str:
        return "bfloat"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, BFloat)

    def __hash__(self) -> int:
        return hash(BFloat)


def has_bfloat16() -> bool:
    """Whether this machine's code may hold products of bfloat16: AVX-512's or Arm's."""
    return _arm_has_bfloat16() if ARM else VECTOR_BYTES == 64 and "avx512bf16" in host_features()


def check_bfloat16() -> None:
    """Raise unless this machine's code may hold them: the compiler would end the process."""
    if not has_bfloat16():
        raise ValueError(
            "precision 'bf16' needs a processor with products of bfloat16, AVX-512's (avx512_bf16) or Arm's (FEAT_BF16), which "
            "this one lacks, or which Numba is told not to use: take 'float32'"
        )


@functools.cache
def _arm_has_bfloat16() -> bool:
    """What the system says; the compiler may not know."""
    system = ctypes.CDLL(None)
    if sys.platform == "linux":
        return bool(system.getauxval(_CAPABILITIES) & _BFLOAT16)
    if sys.platform == "darwin":
        answer, size = ctypes.c_int(0), ctypes.c_size_t(4)
        system.sysctlbyname(b"hw.optional.arm.FEAT_BF16", ctypes.byref(answer), ctypes.byref(size), None, 0)
        return answer.value == 1
    return False


def multiply_pairs(builder, vector):
    """A function that emits ``sums + left * right``, of a pair `left` and a vector of pairs: each sum takes both products.

    The compiler knows Arm's instruction only where it is told of the processor that has it, the assembler always.
    """
    if ARM:
        initialize_native_asmparser()
        kind = ir.FunctionType(vector, [vector, vector.element, vector])
        code = ".arch_extension bf16\nbfdot $0.4s, $3.8h, $2.2h[0]"
        return lambda left, right, sums: builder.asm(kind, code, "=w,0,w,w", [sums, left, right], False)
    halves = ir.VectorType(BFloat(), 2 * vector.count)
    kind = ir.FunctionType(vector, [vector, halves, halves])
    dot = cgutils.get_or_insert_function(builder.module, kind, f"llvm.x86.avx512bf16.dpbf16ps.{32 * vector.count}")
    return lambda left, right, sums: builder.call(
        dot, [sums, builder.bitcast(splat(builder, left, vector), halves), builder.bitcast(right, halves)]
    )


@intrinsic(prefer_literal=True)
def _pair_vectors(typingctx, low, high, count, half, target, parts):
    """16 pairs of bfloat16 from 16 numbers each at `low` and at `high`, `half` numbers further.

    `count` numbers are there from `low` on; the others count as 0 and are not read. In one part they are rounded to nearest,
    ties to even. Of three the second is what rounding took from the number, cut off, the third what was cut off, `half` further
    each. Of 24 bits each holds 8, so that nothing is left. That takes fewer instructions than rounding by the processor's.
    """
    signature = types.void(low, low, types.int64, types.int64, low, parts)

    def codegen(context, builder, sig, args):
        low, high, count, half, target, _ = args
        vector, lanes = vector_of(sig.args[0])
        bits = ir.VectorType(ir.IntType(32), lanes)
        upper, below, tie = (ir.Constant(bits, [word] * lanes) for word in (0xFFFF0000, 16, 0x8000))

        def store(part, start, pairs):
            place = builder.gep(target, [builder.add(builder.mul(half, index(part)), index(start))])
            builder.store(builder.bitcast(pairs, vector), builder.bitcast(place, vector.as_pointer()), align=4)

        def round_both(start, *numbers):
            halves, words = ir.VectorType(BFloat(), lanes), ir.VectorType(ir.IntType(16), lanes)
            rounded = [builder.bitcast(builder.fptrunc(number, halves), words) for number in numbers]
            order = [ir.IntType(32)(lane) for i in range(lanes) for lane in (i, lanes + i)]
            order = ir.Constant(ir.VectorType(ir.IntType(32), 2 * lanes), order)
            store(0, start, builder.shuffle_vector(*rounded, order))

        def split_both(start, *numbers):
            for part in range(3):
                words = [builder.bitcast(number, bits) for number in numbers]
                if part == 0:
                    words = [builder.add(word, tie) for word in words]
                store(part, start, builder.or_(builder.lshr(words[0], below), builder.and_(words[1], upper)))
                kept = [builder.bitcast(builder.and_(word, upper), vector) for word in words]
                numbers = [builder.fsub(number, part) for number, part in zip(numbers, kept, strict=True)]

        pair = round_both if sig.args[5].literal_value == 1 else split_both
        beyond = builder.sub(count, half)
        starts = range(0, PANEL_BYTES // 8, lanes)
        with builder.if_else(builder.icmp_signed(">=", beyond, index(starts.stop))) as (whole, cut):
            with whole:
                for start in starts:
                    pair(start, *(load(builder, pointer, index(start), vector, 4) for pointer in (low, high)))
            with cut:
                for start in starts:
                    there = [
                        first_of(builder, builder.gep(pointer, [index(start)]), builder.sub(number, index(start)), vector)
                        for pointer, number in ((low, count), (high, beyond))
                    ]
                    pair(start, *there)
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
