"""Vectors of LLVM's, built by hand where no loop becomes them: parts of them, transposes, the largest of many. Only this file,
row_sums.py, roots.py, bfloat16.py, tile.py and quads.py build any.

It knows pointers and strides, nothing of products or layers.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.cpython.unsafe.numbers import trailing_zeros as trailing_zeros
from numba.extending import intrinsic

from glassprop.core.jit import PANEL_BYTES, host_vector_bytes

VECTOR_BYTES = host_vector_bytes()
# Whether a part of a vector is stored by a mask. AVX2 has masks as well, but on AMD's processors such a store takes 20 cycles.
STORES_BY_MASKS = VECTOR_BYTES == 64
INDEX = ir.IntType(64)
ONE = INDEX(1)


def index(value: int) -> ir.Constant:
    return ir.Constant(INDEX, value)


def vector_of(pointer_type: types.CPointer) -> tuple[ir.VectorType, int]:
    element = ir.FloatType() if pointer_type.dtype is types.float32 else ir.DoubleType()
    lanes = VECTOR_BYTES * 8 // pointer_type.dtype.bitwidth
    return ir.VectorType(element, lanes), lanes


def splat(builder, value, vector):
    one = builder.insert_element(ir.Constant(vector, ir.Undefined), value, ir.IntType(32)(0))
    return builder.shuffle_vector(
        one, ir.Constant(vector, ir.Undefined), ir.Constant(ir.VectorType(ir.IntType(32), vector.count), None)
    )


def vector_pointer(builder, pointer, offset, vector):
    return builder.bitcast(builder.gep(pointer, [offset]), vector.as_pointer())


def load(builder, pointer, offset, vector, align):
    return builder.load(vector_pointer(builder, pointer, offset, vector), align=align)


def first_lanes(builder, count, lanes):
    """A mask of the first `count` of `lanes` lanes."""
    lane = ir.VectorType(ir.IntType(32), lanes)
    count = splat(builder, builder.trunc(count, lane.element), lane)
    return builder.icmp_signed("<", ir.Constant(lane, list(range(lanes))), count)


def masked_store(builder, value, place, align, mask):
    kind = f"v{value.type.count}f{32 if isinstance(value.type.element, ir.FloatType) else 64}"
    function = ir.FunctionType(ir.VoidType(), [value.type, place.type, ir.IntType(32), mask.type])
    store = cgutils.get_or_insert_function(builder.module, function, f"llvm.masked.store.{kind}.p0")
    builder.call(store, [value, place, ir.IntType(32)(align), mask])


def _store_lanes(builder, value, place, size, align):
    """Store the first `size` lanes of `value`."""
    part = builder.shuffle_vector(value, value, ir.Constant(ir.VectorType(ir.IntType(32), size), list(range(size))))
    builder.store(part, builder.bitcast(place, part.type.as_pointer()), align=align)


def store_first(builder, values, places, count, align):
    """Store the first `count` lanes of each of `values`, all of them or none where it is too large or below 0.

    Without masks it stores as many as each binary digit of `count` says, the largest first, and moves the others down.
    """
    lanes = values[0].type.count
    if STORES_BY_MASKS:
        mask = first_lanes(builder, count, lanes)
        for value, place in zip(values, places, strict=True):
            masked_store(builder, value, vector_pointer(builder, place, index(0), value.type), align, mask)
        return
    count = builder.select(builder.icmp_signed("<", count, index(0)), index(0), count)
    count, size = builder.select(builder.icmp_signed(">", count, index(lanes)), index(lanes), count), lanes
    while size:
        stored, before = builder.and_(count, index(-2 * size)), builder.block
        down = ir.Constant(ir.VectorType(ir.IntType(32), lanes), [(lane + size) % lanes for lane in range(lanes)])
        with builder.if_then(builder.icmp_signed("!=", builder.and_(count, index(size)), index(0))):
            for value, place in zip(values, places, strict=True):
                _store_lanes(builder, value, builder.gep(place, [stored]), size, align)
            moved, inside = [builder.shuffle_vector(value, value, down) for value in values], builder.block
        merged = [builder.phi(value.type) for value in values]
        for phi, value, other in zip(merged, values, moved, strict=True):
            phi.add_incoming(value, before)
            phi.add_incoming(other, inside)
        values, size = merged, size // 2


def first_of(builder, pointer, count, vector):
    """A vector of the first `count` numbers at `pointer`, 0 beyond them; memory beyond them is not read."""
    bits = 32 if isinstance(vector.element, ir.FloatType) else 64
    place, mask = builder.bitcast(pointer, vector.as_pointer()), first_lanes(builder, count, vector.count)
    kind = ir.FunctionType(vector, [place.type, ir.IntType(32), mask.type, vector])
    masked_load = cgutils.get_or_insert_function(builder.module, kind, f"llvm.masked.load.v{vector.count}f{bits}.p0")
    return builder.call(masked_load, [place, ir.IntType(32)(bits // 8), mask, ir.Constant(vector, None)])


def loop(builder, count, carried, body, step=ONE):
    """Emit ``for i in range(0, count, step): carried = body(i, carried)`` for a count above 0; return what is carried out."""
    before = builder.block
    head = builder.append_basic_block("loop")
    after = builder.append_basic_block("done")
    builder.branch(head)
    builder.position_at_end(head)
    i = builder.phi(INDEX)
    i.add_incoming(index(0), before)
    phis = [builder.phi(value.type) for value in carried]
    for phi, value in zip(phis, carried, strict=True):
        phi.add_incoming(value, before)
    results = body(i, phis)
    following = builder.add(i, step)
    last = builder.block
    i.add_incoming(following, last)
    for phi, value in zip(phis, results, strict=True):
        phi.add_incoming(value, last)
    builder.cbranch(builder.icmp_signed("<", following, count), head, after)
    builder.position_at_end(after)
    return results


def loop_if_any(builder, count, carried, body):
    """`loop` for a count that may be 0."""
    before = builder.block
    with builder.if_then(builder.icmp_signed(">", count, index(0))):
        results = loop(builder, count, carried, body)
        inside = builder.block
    merged = [builder.phi(value.type) for value in carried]
    for phi, value, result in zip(merged, carried, results, strict=True):
        phi.add_incoming(value, before)
        phi.add_incoming(result, inside)
    return merged


@intrinsic
def fill_rest(typingctx, value, target, count):
    """`value` in a panel row from number `count` on."""

    def codegen(context, builder, sig, args):
        value, target, count = args
        vector, lanes = vector_of(sig.args[1])
        align = sig.args[1].dtype.bitwidth // 8
        width, values = PANEL_BYTES // align, splat(builder, value, vector)
        if STORES_BY_MASKS:
            for start in range(0, width, lanes):
                rest = builder.not_(first_lanes(builder, builder.sub(count, index(start)), lanes))
                masked_store(builder, values, vector_pointer(builder, target, index(start), vector), align, rest)
            return context.get_dummy_value()
        rest, size = builder.sub(index(width), count), width
        while size:  # as in `store_first`, but all lanes are alike
            place = builder.gep(target, [builder.add(count, builder.and_(rest, index(-2 * size)))])
            with builder.if_then(builder.icmp_signed("!=", builder.and_(rest, index(size)), index(0))):
                for start in range(0, size, lanes):
                    _store_lanes(builder, values, builder.gep(place, [index(start)]), min(size, lanes), align)
            size //= 2
        return context.get_dummy_value()

    return types.void(target.dtype, target, types.int64), codegen


@intrinsic
def copy_row(typingctx, source, target):
    """Copy as many numbers as a panel row has."""
    signature = types.void(source, source)

    def codegen(context, builder, sig, args):
        vector, lanes = vector_of(sig.args[0])
        align = sig.args[0].dtype.bitwidth // 8
        starts = [index(start) for start in range(0, PANEL_BYTES // align, lanes)]
        for start, values in [(start, load(builder, args[0], start, vector, align)) for start in starts]:
            builder.store(values, vector_pointer(builder, args[1], start, vector), align=align)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def copy_part(typingctx, source, count, target):
    """Copy `count` numbers, fewer than a panel row has, and zeros after them up to a whole number of vectors."""
    signature = types.void(source, types.int64, source)

    def codegen(context, builder, sig, args):
        vector, lanes = vector_of(sig.args[0])
        for start in range(0, PANEL_BYTES * 8 // sig.args[0].dtype.bitwidth, lanes):
            left = builder.sub(args[1], index(start))
            with builder.if_then(builder.icmp_signed(">", left, index(0))):
                values = first_of(builder, builder.gep(args[0], [index(start)]), left, vector)
                builder.store(
                    values, vector_pointer(builder, args[2], index(start), vector), align=sig.args[0].dtype.bitwidth // 8
                )
        return context.get_dummy_value()

    return signature, codegen


PART = 16  # bytes: the columns of a strip that is transposed


@intrinsic
def transpose_strip(typingctx, source, source_row, target, target_row):
    """Transpose a strip of as many rows as a vector has lanes, and as many columns as 16 bytes hold.

    Loads find the parts of rows, as many rows apart as a part has numbers; registers transpose within these.
    """
    signature = types.void(source, types.int64, source, types.int64)

    def codegen(context, builder, sig, args):
        source, source_row, target, target_row = args
        vector, lanes = vector_of(sig.args[0])
        align = sig.args[0].dtype.bitwidth // 8
        columns = PART // align
        parts = [builder.gep(source, [builder.mul(source_row, index(r))]) for r in range(lanes)]
        rows = [gather_parts(builder, parts[first::columns], vector, align) for first in range(columns)]
        for r, row in enumerate(transpose_groups(builder, rows)):
            builder.store(row, vector_pointer(builder, target, builder.mul(target_row, index(r)), vector), align=align)
        return context.get_dummy_value()

    return signature, codegen


def transpose_groups(builder, rows):
    """Transpose within groups of as many lanes as there are vectors, two or four."""
    columns, unit = len(rows), 1
    while unit < columns:
        rows = [
            builder.shuffle_vector(rows[i], rows[i + unit], _interleaved(rows[0].type.count, columns, unit, high))
            for block in range(0, columns, 2 * unit)
            for i in range(block, block + unit)
            for high in (0, 1)
        ]
        unit *= 2
    return rows


def gather_parts(builder, places, vector, align):
    """A vector of the part at each of `places`."""
    group = vector.count // len(places)
    part = ir.VectorType(vector.element, group)
    values = [builder.load(builder.bitcast(place, part.as_pointer()), align=align) for place in places]
    if len(values) == 1:
        return values[0]
    bits = 32 if isinstance(vector.element, ir.FloatType) else 64
    kind = ir.FunctionType(vector, [vector, part, INDEX])
    name = f"llvm.vector.insert.v{vector.count}f{bits}.v{group}f{bits}"
    insert = cgutils.get_or_insert_function(builder.module, kind, name)
    result = ir.Constant(vector, ir.Undefined)
    for i, value in enumerate(values):
        result = builder.call(insert, [result, value, index(i * group)])
    return result


def _interleaved(lanes, group, unit, high):
    """Lanes of two vectors by turns, `unit` of each, within groups of lanes: of the lower half of each group, or the higher."""
    order = [(i // unit % 2) * lanes + i // (2 * unit) * unit + i % unit + high * group // 2 for i in range(group)]
    return ir.Constant(
        ir.VectorType(ir.IntType(32), lanes), [ir.IntType(32)(start + i) for start in range(0, lanes, group) for i in order]
    )


def numbers_in(size: int) -> Any:
    """An intrinsic: how many numbers of the type that `pointer` points to `size` bytes hold (a constant to the compiler)."""

    @intrinsic
    def count_of(typingctx, pointer):
        count = size * 8 // pointer.dtype.bitwidth

        def codegen(context, builder, sig, args):
            return context.get_constant(types.int64, count)

        return types.int64(pointer), codegen

    return count_of


lanes_of, part_of = numbers_in(VECTOR_BYTES), numbers_in(PART)


def fma_of(builder, vector):
    """A function that emits ``a * b + c``."""
    bits = 32 if isinstance(vector.element, ir.FloatType) else 64
    name = f"llvm.fma.v{vector.count}f{bits}"
    function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(vector, [vector] * 3), name)
    return lambda *arguments: builder.call(function, arguments)


@intrinsic
def largest_bits(typingctx, source, count):
    """The largest magnitude of `count` numbers, whole panel rows and at least one, as its bits: these have the numbers' order.

    Infinity, and then NaN, are larger than all numbers.
    """
    signature = types.int64(source, types.int64)

    def codegen(context, builder, sig, args):
        vector, lanes = vector_of(sig.args[0])
        bits = sig.args[0].dtype.bitwidth
        words = ir.VectorType(ir.IntType(bits), lanes)
        mask = ir.Constant(words, [(1 << (bits - 1)) - 1] * lanes)
        chains = PANEL_BYTES // VECTOR_BYTES

        def larger(a, b):
            return builder.select(builder.icmp_unsigned(">", a, b), a, b)

        def body(i, so_far):
            line = builder.mul(i, index(chains * lanes))
            found = [load(builder, args[0], builder.add(line, index(c * lanes)), vector, bits // 8) for c in range(chains)]
            return [larger(builder.and_(builder.bitcast(x, words), mask), most) for x, most in zip(found, so_far, strict=True)]

        most = loop(builder, builder.sdiv(args[1], index(chains * lanes)), [ir.Constant(words, None)] * chains, body)
        while len(most) > 1:
            most = [larger(a, b) for a, b in zip(most[::2], most[1::2], strict=True)]
        result, step = most[0], lanes // 2
        while step:
            turned = ir.Constant(
                ir.VectorType(ir.IntType(32), lanes), [ir.IntType(32)((i + step) % lanes) for i in range(lanes)]
            )
            result = larger(result, builder.shuffle_vector(result, result, turned))
            step //= 2
        return (
            builder.zext(builder.extract_element(result, ir.IntType(32)(0)), INDEX)
            if bits < 64
            else builder.extract_element(result, ir.IntType(32)(0))
        )

    return signature, codegen


@intrinsic
def from_bits(typingctx, bits, one):
    """The number of the type of `one` that `largest_bits` tells of."""
    signature = one(types.int64, one)

    def codegen(context, builder, sig, args):
        word = ir.IntType(sig.args[1].bitwidth)
        low = builder.trunc(args[0], word) if word.width < 64 else args[0]
        return builder.bitcast(low, context.get_value_type(sig.args[1]))

    return signature, codegen


LINE = 64  # numbers that are taken at a time where a few are kept aside


@intrinsic
def new_line(typingctx, pointer):
    """Room for LINE numbers of the type that `pointer` points to, for as long as the calling function runs."""

    def codegen(context, builder, sig, args):
        place = cgutils.alloca_once(builder, ir.ArrayType(context.get_value_type(sig.return_type.dtype), LINE))
        return builder.bitcast(place, context.get_value_type(sig.return_type))

    return pointer(pointer), codegen
