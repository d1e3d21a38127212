"""The register tile of every matrix product, and what else has to be said in vectors: transposes, sums over panels,
reciprocals. The only file that builds LLVM vectors.

It knows pointers and strides, nothing of layers.

A tile computes `rows` rows of one panel (128 bytes of columns) of a product::

    C[r, :] = bias[r] + sum over o, k of A[o, r, k] * B[o, k, :]

with its accumulators in registers from the first product to the last: no packing, one broadcast load per row and k, one
fused multiply-add per vector. All other machine code of the package is what LLVM makes of ordinary loops.
"""

from __future__ import annotations

import platform
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from glassprop.core.jit import PANEL_BYTES, host_vector_bytes, inner, kernel, shift

VECTOR_BYTES = host_vector_bytes()
# Rows of the main tile: 8 rows of 2 vectors leave room in 32 registers, 6 rows of 2 in the 16 of AVX2 and SSE.
MAIN_ROWS = 8 if VECTOR_BYTES == 64 or platform.machine().lower() in ("arm64", "aarch64") else 6
_INDEX = ir.IntType(64)


def _index(value: int) -> ir.Constant:
    return ir.Constant(_INDEX, value)


def _vector(pointer_type: types.CPointer) -> tuple[ir.VectorType, int]:
    element = ir.FloatType() if pointer_type.dtype is types.float32 else ir.DoubleType()
    lanes = VECTOR_BYTES * 8 // pointer_type.dtype.bitwidth
    return ir.VectorType(element, lanes), lanes


def _splat(builder, value, vector):
    one = builder.insert_element(ir.Constant(vector, ir.Undefined), value, ir.IntType(32)(0))
    return builder.shuffle_vector(
        one, ir.Constant(vector, ir.Undefined), ir.Constant(ir.VectorType(ir.IntType(32), vector.count), None)
    )


def _vector_pointer(builder, pointer, offset, vector):
    return builder.bitcast(builder.gep(pointer, [offset]), vector.as_pointer())


def _load(builder, pointer, offset, vector, align):
    return builder.load(_vector_pointer(builder, pointer, offset, vector), align=align)


def _first_lanes(builder, count, lanes):
    """A mask of the first `count` of `lanes` lanes."""
    lane = ir.VectorType(ir.IntType(32), lanes)
    count = _splat(builder, builder.trunc(count, lane.element), lane)
    return builder.icmp_signed("<", ir.Constant(lane, list(range(lanes))), count)


def _masked_store(builder, value, place, align, mask):
    kind = f"v{value.type.count}f{32 if isinstance(value.type.element, ir.FloatType) else 64}"
    function = ir.FunctionType(ir.VoidType(), [value.type, place.type, ir.IntType(32), mask.type])
    store = cgutils.get_or_insert_function(builder.module, function, f"llvm.masked.store.{kind}.p0")
    builder.call(store, [value, place, ir.IntType(32)(align), mask])


def _loop(builder, count, carried, body):
    """Emit ``for i in range(count): carried = body(i, carried)`` for a count of at least one; return what is carried out."""
    before = builder.block
    head = builder.append_basic_block("loop")
    after = builder.append_basic_block("done")
    builder.branch(head)
    builder.position_at_end(head)
    i = builder.phi(_INDEX)
    i.add_incoming(_index(0), before)
    phis = [builder.phi(value.type) for value in carried]
    for phi, value in zip(phis, carried, strict=True):
        phi.add_incoming(value, before)
    results = body(i, phis)
    following = builder.add(i, _index(1))
    last = builder.block
    i.add_incoming(following, last)
    for phi, value in zip(phis, results, strict=True):
        phi.add_incoming(value, last)
    builder.cbranch(builder.icmp_signed("<", following, count), head, after)
    builder.position_at_end(after)
    return results


def _make_tile(rows: int, vectors: int) -> Any:
    """The intrinsic for a tile of `rows` rows and `vectors` vector registers of columns."""

    @intrinsic
    def tile(typingctx, c, c_row, columns, a, a_outer, a_row, a_k, b, b_outer, bias, bias_row, outer, inner_count):
        size = types.int64
        signature = types.void(c, size, size, c, size, size, size, c, size, c, size, size, size)

        def codegen(context, builder, sig, args):
            c, c_row, columns, a, a_outer, a_row, a_k, b, b_outer, bias, bias_row, outer, inner_count = args
            vector, lanes = _vector(sig.args[0])
            width = PANEL_BYTES * 8 // sig.args[0].dtype.bitwidth
            align = sig.args[0].dtype.bitwidth // 8
            name = f"llvm.fma.v{lanes}f{sig.args[0].dtype.bitwidth}"
            fma = cgutils.get_or_insert_function(builder.module, ir.FunctionType(vector, [vector] * 3), name)
            start = []
            for r in range(rows):
                value = builder.load(builder.gep(bias, [builder.mul(bias_row, _index(r))]))
                start += [_splat(builder, value, vector)] * vectors

            def outer_body(o, sums):
                a_block = builder.gep(a, [builder.mul(o, a_outer)])
                b_block = builder.gep(b, [builder.mul(o, b_outer)])

                def inner_body(k, sums):
                    column = builder.mul(k, a_k)
                    line = builder.mul(k, _index(width))
                    right = [
                        _load(builder, b_block, builder.add(line, _index(v * lanes)), vector, align) for v in range(vectors)
                    ]
                    results = []
                    for r in range(rows):
                        left = builder.load(builder.gep(a_block, [builder.add(column, builder.mul(a_row, _index(r)))]))
                        left = _splat(builder, left, vector)
                        for v in range(vectors):
                            results.append(builder.call(fma, [left, right[v], sums[r * vectors + v]]))
                    return results

                return _loop(builder, inner_count, sums, inner_body)

            sums = _loop(builder, outer, start, outer_body)
            places = [
                _vector_pointer(builder, c, builder.add(builder.mul(c_row, _index(r)), _index(v * lanes)), vector)
                for r in range(rows)
                for v in range(vectors)
            ]
            with builder.if_else(builder.icmp_signed(">=", columns, _index(vectors * lanes))) as (whole, cut):
                with whole:
                    for value, place in zip(sums, places, strict=True):
                        builder.store(value, place, align=align)
                with cut:
                    masks = [_first_lanes(builder, builder.sub(columns, _index(v * lanes)), lanes) for v in range(vectors)]
                    for i, (value, place) in enumerate(zip(sums, places, strict=True)):
                        _masked_store(builder, value, place, align, masks[i % vectors])
            return context.get_dummy_value()

        return signature, codegen

    return tile


VECTORS = min(2, PANEL_BYTES // VECTOR_BYTES)
STRIPE_BYTES = VECTORS * VECTOR_BYTES  # columns of a panel that one tile covers


@intrinsic
def _stripe_width(typingctx, pointer):
    width = STRIPE_BYTES * 8 // pointer.dtype.bitwidth

    def codegen(context, builder, sig, args):
        return context.get_constant(types.int64, width)

    return types.int64(pointer), codegen


def _make_rows(tile_rows: int) -> Any:
    """Compute rows `r` to the last multiple of `tile_rows` in one stripe of C, and return the row after them."""
    tile = _make_tile(tile_rows, VECTORS)

    @inner
    def compute_rows(r, rows, c, c_row, columns, a, a_outer, a_row, a_k, b, b_outer, bias, bias_row, outer, inner_count):
        while rows - r >= tile_rows:
            left, start = shift(a, r * a_row), shift(bias, r * bias_row)
            tile(
                shift(c, r * c_row), c_row, columns, left, a_outer, a_row, a_k, b, b_outer, start, bias_row, outer, inner_count
            )
            r += tile_rows
        return r

    return compute_rows


_main_rows, _rows_4, _rows_2, _rows_1 = (_make_rows(n) for n in (MAIN_ROWS, 4, 2, 1))


def product_panel(c, c_row, rows, columns, a, a_outer, a_row, a_k, b, b_outer, bias, bias_row, outer, inner_count):
    """The first `columns` columns of a panel of C (rows, width) = bias + A B, in tiles of rows; see the module's formula.

    ``A[o, r, k]`` lies at ``a + o*a_outer + r*a_row + k*a_k``, ``B[o, k, :]`` at ``b + o*b_outer + k*width``, ``bias[r]`` at
    ``bias + r*bias_row`` (a `bias_row` of 0 repeats one number), row r of C at ``c + r*c_row``. Strides count elements.
    """
    stripe = _stripe_width(c)
    for column in range(0, columns, stripe):
        cs, bs, left = shift(c, column), shift(b, column), columns - column
        r = rows * 0
        r = _main_rows(r, rows, cs, c_row, left, a, a_outer, a_row, a_k, bs, b_outer, bias, bias_row, outer, inner_count)
        r = _rows_4(r, rows, cs, c_row, left, a, a_outer, a_row, a_k, bs, b_outer, bias, bias_row, outer, inner_count)
        r = _rows_2(r, rows, cs, c_row, left, a, a_outer, a_row, a_k, bs, b_outer, bias, bias_row, outer, inner_count)
        r = _rows_1(r, rows, cs, c_row, left, a, a_outer, a_row, a_k, bs, b_outer, bias, bias_row, outer, inner_count)


_addresses: dict[str, int] = {}


def product_kernel(dtype: np.dtype) -> int:
    """Address of the compiled `product_panel`: compiled by itself, since the optimiser would meet it again in every caller."""
    name = np.dtype(dtype).name
    if name not in _addresses:
        _addresses[name] = kernel(product_panel, "product", dtype, "pnnnpnnnpnpnnn")
    return _addresses[name]


@intrinsic
def transpose_square(typingctx, source, source_row, target, target_row):
    """Transpose a square of as many rows as a vector has lanes, in registers."""
    signature = types.void(source, types.int64, source, types.int64)

    def codegen(context, builder, sig, args):
        source, source_row, target, target_row = args
        vector, lanes = _vector(sig.args[0])
        align = sig.args[0].dtype.bitwidth // 8
        rows = [_load(builder, source, builder.mul(source_row, _index(r)), vector, align) for r in range(lanes)]
        # Butterflies: at each stage rows i and i+step swap their off-diagonal blocks of `step` columns.
        step = lanes // 2
        while step:
            low = [c if c & step == 0 else lanes + c - step for c in range(lanes)]
            high = [c + step if c & step == 0 else lanes + c for c in range(lanes)]
            for i in range(lanes):
                if i & step == 0:
                    pair = rows[i], rows[i + step]
                    for row, mask in ((i, low), (i + step, high)):
                        indices = ir.Constant(ir.VectorType(ir.IntType(32), lanes), [ir.IntType(32)(m) for m in mask])
                        rows[row] = builder.shuffle_vector(*pair, indices)
            step //= 2
        for r in range(lanes):
            builder.store(rows[r], _vector_pointer(builder, target, builder.mul(target_row, _index(r)), vector), align=align)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def lanes_of(typingctx, pointer):
    """Lanes of a vector register for the element type of `pointer` (a constant to the compiler)."""
    lanes = VECTOR_BYTES * 8 // pointer.dtype.bitwidth

    def codegen(context, builder, sig, args):
        return context.get_constant(types.int64, lanes)

    return types.int64(pointer), codegen


@intrinsic
def sum_panels(typingctx, source, panel_stride, panels):
    """Sum of one panel row (all its columns) over `panels` panels: vertical vector sums, one horizontal sum at the end."""
    signature = source.dtype(source, types.int64, types.int64)

    def codegen(context, builder, sig, args):
        source, panel_stride, panels = args
        vector, lanes = _vector(sig.args[0])
        vectors = PANEL_BYTES // VECTOR_BYTES
        align = sig.args[0].dtype.bitwidth // 8

        def body(p, sums):
            block = builder.gep(source, [builder.mul(p, panel_stride)])
            return [builder.fadd(s, _load(builder, block, _index(v * lanes), vector, align)) for v, s in enumerate(sums)]

        sums = _loop(builder, panels, [ir.Constant(vector, None)] * vectors, body)
        while len(sums) > 1:
            sums = [builder.fadd(x, y) for x, y in zip(sums[::2], sums[1::2], strict=True)]
        total, step = sums[0], lanes // 2
        while step:
            mask = ir.Constant(ir.VectorType(ir.IntType(32), lanes), [ir.IntType(32)((i + step) % lanes) for i in range(lanes)])
            total = builder.fadd(total, builder.shuffle_vector(total, total, mask))
            step //= 2
        return builder.extract_element(total, ir.IntType(32)(0))

    return signature, codegen


LINE = 64  # numbers that `reciprocals` takes at a time


@intrinsic
def new_line(typingctx, pointer):
    """Room for LINE numbers of the type that `pointer` points to, for as long as the calling function runs."""

    def codegen(context, builder, sig, args):
        place = cgutils.alloca_once(builder, ir.ArrayType(context.get_value_type(sig.return_type.dtype), LINE))
        return builder.bitcast(place, context.get_value_type(sig.return_type))

    return pointer(pointer), codegen


@intrinsic
def reciprocals(typingctx, line):
    """x := 1/x for LINE numbers of at least 0; 1/0 = ∞, 1/∞ = 0.

    Division and square root share one slow unit of the processor; where AVX-512 has an estimate of 1/x, good to 14 bits, one
    step of Newton's, r := r + r (1 − x r), makes it good to one unit in the last place of float32, beside that unit.
    """

    def codegen(context, builder, sig, args):
        vector, lanes = _vector(sig.args[0])
        align = sig.args[0].dtype.bitwidth // 8
        estimate = VECTOR_BYTES == 64 and sig.args[0].dtype is types.float32
        one = ir.Constant(vector, [1.0] * lanes)
        for start in range(0, LINE, lanes):
            x = _load(builder, args[0], _index(start), vector, align)
            if estimate:
                mask = ir.Constant(ir.IntType(16), 0xFFFF)
                guess = cgutils.get_or_insert_function(
                    builder.module, ir.FunctionType(vector, [vector, vector, ir.IntType(16)]), "llvm.x86.avx512.rcp14.ps.512"
                )
                fma = cgutils.get_or_insert_function(builder.module, ir.FunctionType(vector, [vector] * 3), "llvm.fma.v16f32")
                r = builder.call(guess, [x, ir.Constant(vector, None), mask])
                wrong = builder.call(fma, [builder.fneg(x), r, one])
                better = builder.call(fma, [wrong, r, r])
                r = builder.select(builder.fcmp_ordered("ord", wrong, wrong), better, r)  # of 0 and ∞ the estimate is exact
            else:
                r = builder.fdiv(one, x)
            builder.store(r, _vector_pointer(builder, args[0], _index(start), vector), align=align)
        return context.get_dummy_value()

    return types.void(line), codegen
