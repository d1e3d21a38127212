"""The register tile of every matrix product.

It knows pointers and strides, nothing of layers.

A tile computes `rows` rows of one panel (128 bytes of columns) of a product::

    C[r, :] = bias[r] + sum over k of A[r, k] * B[k, :]

with its accumulators in registers from the first product to the last: no packing, one broadcast load per row and k, one
fused multiply-add per vector, and no vectors without columns. All other machine code of the package is what LLVM makes of
ordinary loops.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from glassprop.core.bfloat16 import check_bfloat16, multiply_pairs
from glassprop.core.jit import PANEL_BYTES, ZERO, hide, inner, kernel, panel_width, shift, within
from glassprop.core.matrix_unit import has_matrix_unit, pairs_product, split_product
from glassprop.core.processor import ARM, call_for
from glassprop.core.vectors import (
    INDEX,
    STORES_BY_MASKS,
    VECTOR_BYTES,
    first_lanes,
    fma_of,
    index,
    lanes_of,
    load,
    loop,
    loop_if_any,
    masked_store,
    numbers_in,
    splat,
    store_first,
    vector_of,
    vector_pointer,
)  # fmt: skip

SECOND_LEVEL = 1  # of the nearness of memory that is called for
# Rows of the main tile: 12 rows of 2 vectors leave room in 32 registers, 6 rows of 2 in the 16 of AVX2 and SSE. The higher it
# is, the less often B is read, from the second-level cache where it is long.
MAIN_ROWS = 12 if VECTOR_BYTES == 64 or ARM else 6
# Products of the main tile in one turn of its loop. With AVX2 a turn of one is 12 FMAs and 13 other instructions: more than a
# core begins in their time that another thread uses, too. And the end of a loop of 32 turns is not foreseen (Zen 3).
AT_ONCE = 4 if VECTOR_BYTES == 32 else 1


def _multiply_add(builder, vector):
    """A function that emits ``sums + left * right``, of a number and a vector."""
    fma = fma_of(builder, vector)
    return lambda left, right, sums: fma(splat(builder, left, vector), right, sums)


def _row_finder(builder, rows, a_row, align):
    """A function that emits the address of row `r` of A, below that of row 0: what a load computes by itself.

    r is an odd number times a power of two, so that few multiples of the stride wait in registers. They are hidden, as row 0
    is: the compiler would take an addition for each row and product, on the ports that multiply.
    """
    a_row = hide(builder, a_row, stay=True)  # a tile of another height need not know its multiples
    multiples = {odd: hide(builder, builder.mul(a_row, index(odd * align))) for odd in range(1, rows, 2)}

    def place_of(row_0, r):
        if r == 0:
            return row_0
        power = r & -r
        return builder.add(row_0, builder.shl(multiples[r // power], index(power.bit_length() - 1)))

    return place_of


def _following(builder, first, row, rows, align):
    """Emit pointers to as many rows, `row` elements apart, each found from the one before.

    The compiler would compute multiples of the stride in advance, for all tiles, and keep them in memory.
    """
    step, places = builder.mul(row, index(align)), [first]
    for _ in range(1, rows):
        place = hide(builder, builder.add(builder.ptrtoint(places[-1], INDEX), step))
        places.append(builder.inttoptr(place, first.type))
    return places


def _first_sums(builder, places, align, vectors, adding):
    """Emit what the sums of a tile begin with, row by row: what is in C, or the bias in every column."""
    if adding:
        return [load(builder, place, index(first), kind, align) for place in places for first, kind in vectors]
    numbers = [builder.load(place) for place in places]
    return [splat(builder, number, kind) for number in numbers for _, kind in vectors]


def _store(builder, sums, c, c_row, columns, align, vectors):
    """Emit the stores of a tile: to each row of C its vectors, of which only the first `columns` columns are there."""

    def store_rows(store):
        for r, row in enumerate(_following(builder, c, c_row, len(sums) // len(vectors), align)):
            for v, (first, vector) in enumerate(vectors):
                store(sums[r * len(vectors) + v], vector_pointer(builder, row, index(first), vector), v)

    with builder.if_else(builder.icmp_signed(">=", columns, index(_columns_of(vectors)))) as (whole, cut):
        with whole:
            store_rows(lambda value, place, v: builder.store(value, place, align=align))
        with cut:
            left = [builder.sub(columns, index(first)) for first, _ in vectors]
            if STORES_BY_MASKS:  # row by row: fewer addresses wait in registers
                masks = [first_lanes(builder, left[v], vector.count) for v, (_, vector) in enumerate(vectors)]
                store_rows(lambda value, place, v: masked_store(builder, value, place, align, masks[v]))
            else:
                rows = _following(builder, c, c_row, len(sums) // len(vectors), align)
                for v, (first, _) in enumerate(vectors):
                    places = [builder.gep(row, [index(first)]) for row in rows]
                    store_first(builder, sums[v :: len(vectors)], places, left[v], align)


def _vectors_of(vector, halves):
    """First column and type of the vectors that cover so many half vectors of columns: the last is a half one, perhaps."""
    whole, lanes = halves // 2, vector.count
    vectors = [(v * lanes, vector) for v in range(whole)]
    return vectors + [(whole * lanes, ir.VectorType(vector.element, lanes // 2))] * (halves % 2)


def _columns_of(vectors):
    return sum(vector.count for _, vector in vectors)


def _in_turns(builder, count, sums, size, at_once, add):
    """Emit ``sums = add(k, sums)`` for all k below `count`, in turns of `at_once` after those that are left over.

    Of several times `size` sums for each part of them by turns.
    """
    if at_once == 1:
        return loop(builder, count, sums, add)
    turns, rest = builder.sdiv(count, index(at_once)), builder.srem(count, index(at_once))

    def add_some(turn, sums):
        first, sums = builder.add(builder.mul(turn, index(at_once)), rest), list(sums)
        for i in range(at_once):
            part = slice(i * size % len(sums), i * size % len(sums) + size)
            sums[part] = add(builder.add(first, index(i)), sums[part], i)
        return sums

    sums = loop_if_any(builder, rest, sums[:size], add) + sums[size:]
    return loop_if_any(builder, turns, sums, add_some)


def _make_tile(rows: int, halves: int, paired: bool, listed: bool, calling: bool, adding: bool) -> Any:
    """The intrinsic for a tile of `rows` rows and so many half vector registers of columns; see `product_kernel`."""
    # an FMA takes four cycles and two begin in each: sums of a single row would wait for themselves, so each is kept in parts
    parts = 16 // halves if rows == 1 else 1
    at_once = AT_ONCE if rows == MAIN_ROWS and halves == HALVES else parts

    @intrinsic
    def tile(
        typingctx, c, c_row, columns, a, a_segment, a_row, a_k, b, b_segment, bias, bias_row, depth, segment, ahead, ahead_k
    ):
        size = types.int64
        signature = types.void(c, size, size, c, size, size, size, c, size, c, size, size, size, c, size)

        def codegen(context, builder, sig, args):
            c, c_row, columns, a, a_segment, a_row, a_k, b, b_segment, bias, bias_row, depth, segment, ahead, ahead_k = args
            vector, _ = vector_of(sig.args[0])
            width = PANEL_BYTES * 8 // sig.args[0].dtype.bitwidth
            align = sig.args[0].dtype.bitwidth // 8
            vectors = _vectors_of(vector, halves)
            multiply_add = [(multiply_pairs if paired else _multiply_add)(builder, kind) for _, kind in vectors]
            columns_of_a = builder.inttoptr(a_k, INDEX.as_pointer())
            place_of = _row_finder(builder, rows, a_row, align)
            places = _following(builder, *((c, c_row) if adding else (bias, bias_row)), rows, align)
            start = _first_sums(builder, places, align, vectors, adding)
            start += [ir.Constant(x.type, None) for x in start] * (parts - 1)

            def add_segment(done, carried):
                a_block, b_block, ahead_block, *sums = carried
                left = builder.sub(depth, done)
                count = builder.select(builder.icmp_signed("<", left, segment), left, segment)

                def add_product(k, sums, turn=0):
                    if calling and rows == MAIN_ROWS and turn % 2 == 0:
                        call_for(builder, builder.gep(ahead_block, [builder.mul(k, ahead_k)]), SECOND_LEVEL)
                    column = builder.load(builder.gep(columns_of_a, [k])) if listed else builder.mul(k, a_k)
                    line = builder.mul(k, index(width))
                    right = [load(builder, b_block, builder.add(line, index(first)), kind, align) for first, kind in vectors]
                    row_0 = hide(builder, builder.ptrtoint(builder.gep(a_block, [column]), INDEX))
                    results = []
                    for r in range(rows):
                        left = builder.load(builder.inttoptr(place_of(row_0, r), a.type))
                        for v in range(len(vectors)):
                            results.append(multiply_add[v](left, right[v], sums[r * len(vectors) + v]))
                    return results

                sums = _in_turns(builder, count, sums, rows * len(vectors), at_once, add_product)
                steps = (a_block, a_segment), (b_block, b_segment), (ahead_block, builder.mul(segment, ahead_k))
                return [builder.gep(place, [step]) for place, step in steps] + sums

            sums = loop(builder, depth, [a, b, ahead, *start], add_segment, segment)[3:]
            while len(sums) > rows * len(vectors):
                half = len(sums) // 2
                sums = [builder.fadd(x, y) for x, y in zip(sums[:half], sums[half:], strict=True)]
            _store(builder, sums, c, c_row, columns, align, vectors)
            return context.get_dummy_value()

        return signature, codegen

    return tile


# Half vectors of columns of a panel that one tile covers, at most, and their bytes.
HALVES = 2 * min(2, PANEL_BYTES // VECTOR_BYTES)
STRIPE_BYTES = HALVES * VECTOR_BYTES // 2
# Whether half a vector is worth a tile of its own: AMD's Zen 4 takes half the time for 32 bytes that it takes for 64.
TAKES_HALVES = VECTOR_BYTES == 64


_stripe_width = numbers_in(STRIPE_BYTES)
_PARTS = PANEL_BYTES // VECTOR_BYTES * (2 if TAKES_HALVES else 1)  # of a panel's columns


@within
def columns_taken(count, rows, one):
    """How many columns of a panel of C a product is asked for, where only the first `count` matter: what its main tile can."""
    part = panel_width(one) // _PARTS
    return panel_width(one) if rows < MAIN_ROWS else (count + part - 1) // part * part


# Panel rows of sums, at most, that wait in registers while rows of a table are added up.
SUMS_AT_ONCE = VECTOR_BYTES // 16


@intrinsic
def add_listed_rows(typingctx, sums, units, factors, rows, count, table):
    """sums[u] += Σ over n of factors[n] times table[rows[n], u], for all `units` of a table's row: whole panel rows."""
    size = types.int64
    signature = types.void(sums, size, sums, types.CPointer(size), size, sums)

    def codegen(context, builder, sig, args):
        sums, units, factors, rows, count, table = args
        vector, lanes = vector_of(sig.args[0])
        align, multiply_add = sig.args[0].dtype.bitwidth // 8, _multiply_add(builder, vector)

        def add_up(first, vectors):
            places, here = [index(v * lanes) for v in range(vectors)], builder.gep(table, [first])

            def add_row(n, totals):
                row = builder.gep(here, [builder.mul(builder.load(builder.gep(rows, [n])), units)])
                factor = builder.load(builder.gep(factors, [n]))
                return [
                    multiply_add(factor, load(builder, row, place, vector, align), total)
                    for place, total in zip(places, totals, strict=True)
                ]

            target = builder.gep(sums, [first])
            totals = loop_if_any(builder, count, [load(builder, target, place, vector, align) for place in places], add_row)
            for place, total in zip(places, totals, strict=True):
                builder.store(total, vector_pointer(builder, target, place, vector), align=align)
            return []

        done, panel_rows = index(0), SUMS_AT_ONCE
        while panel_rows:
            vectors = panel_rows * PANEL_BYTES // VECTOR_BYTES
            times, step = builder.sdiv(builder.sub(units, done), index(vectors * lanes)), index(vectors * lanes)

            def some(i, _, begin=done, step=step, vectors=vectors):
                return add_up(builder.add(begin, builder.mul(i, step)), vectors)

            loop_if_any(builder, times, [], some)
            done, panel_rows = builder.add(done, builder.mul(times, step)), panel_rows // 2
        return context.get_dummy_value()

    return signature, codegen


def _make_rows(tile_rows: int, halves: int, *kind: bool) -> Any:
    """Compute rows `r` to the last multiple of `tile_rows` in one stripe of C, and return the row after them."""
    tile = _make_tile(tile_rows, halves, *kind)

    @inner
    def compute_rows(
        r, rows, c, c_row, columns, a, a_segment, a_row, a_k, b, b_segment, bias, bias_row, depth, segment, ahead, ahead_k
    ):
        while rows - r >= tile_rows:
            target, left, start = shift(c, r * c_row), shift(a, r * a_row), shift(bias, r * bias_row)
            coming = shift(ahead, r // tile_rows * depth * ahead_k)
            tile(
                target,
                c_row,
                columns,
                left,
                a_segment,
                a_row,
                a_k,
                b,
                b_segment,
                start,
                bias_row,
                depth,
                segment,
                coming,
                ahead_k,
            )
            r += tile_rows
        return r

    return compute_rows


def _make_product(paired: bool, listed: bool, calling: bool, adding: bool) -> Any:
    kind = paired, listed, calling, adding
    main_rows, rows_4, rows_2, rows_1 = (_make_rows(n, HALVES, *kind) for n in (MAIN_ROWS, 4, 2, 1))
    rows_8 = _make_rows(8, HALVES, *kind) if MAIN_ROWS > 8 else rows_4  # or nothing is left for it
    # the main tile of fewer columns: a gradient's last ones, or all that a table has; sparse ones have many
    fewer = not listed
    halves = fewer and TAKES_HALVES
    narrow_rows = _make_rows(MAIN_ROWS, HALVES // 2, *kind) if fewer else main_rows
    half_rows, wider_rows = (_make_rows(MAIN_ROWS, n, *kind) if halves else narrow_rows for n in (1, 3))

    def product_panel(
        c, c_row, rows, columns, a, a_segment, a_row, a_k, b, b_segment, bias, bias_row, depth, segment, ahead, ahead_k
    ):
        """The first `columns` columns of a panel of C (rows, width) = bias + A B, in tiles of rows; see the module's formula.

        The `depth` products of a sum come in segments of `segment`, of which the last may be shorter. Product k of the first
        takes ``A[r, k]`` from ``a + r*a_row + k*a_k`` and ``B[k, :]`` from ``b + k*width``; those of each further segment lie
        `a_segment` and `b_segment` behind. ``bias[r]`` lies at ``bias + r*bias_row`` (a `bias_row` of 0 repeats one number),
        row r of C at ``c + r*c_row``. Strides count elements.

        Meanwhile the main tile may call for memory from `ahead` on, `ahead_k` elements further with each of its products.
        """
        stripe, vector = _stripe_width(c), lanes_of(c)
        for column in range(0, columns, stripe):
            cs, bs, left = shift(c, column), shift(b, column), columns - column
            r = ZERO
            rest = cs, c_row, left, a, a_segment, a_row, a_k, bs, b_segment, bias, bias_row, depth, segment, ahead, ahead_k
            # asked here: a call with nothing to do costs a tenth of a tiny network's step
            if rows >= MAIN_ROWS:
                if halves and left <= vector // 2:
                    r = half_rows(r, rows, *rest)
                elif fewer and left <= vector:
                    r = narrow_rows(r, rows, *rest)
                elif halves and left <= vector + vector // 2:
                    r = wider_rows(r, rows, *rest)
                else:
                    r = main_rows(r, rows, *rest)
            if rows - r >= 8:
                r = rows_8(r, rows, *rest)
            if rows - r >= 4:
                r = rows_4(r, rows, *rest)
            if rows - r >= 2:
                r = rows_2(r, rows, *rest)
            if rows > r:
                r = rows_1(r, rows, *rest)

    return product_panel


_ARGUMENTS = "pnnnpnnnpnpnnnpn"  # of all products, see `kernel`
_addresses: dict[str, int] = {}


def product_kernel(
    dtype: np.dtype, paired: bool = False, listed: bool = False, calling: bool = False, adding: bool = False
) -> int:
    """Address of the compiled product: compiled by itself, since the optimiser would meet it again in every caller.

    Of `paired` operands every element of A and of B is two numbers of bfloat16 in the place of one of float32, and k counts
    pairs. Of a `listed` A, `a_k` is the address of a list of int64: ``A[r, k]`` lies at ``a + r*a_row + list[k]``. Only a
    `calling` product calls for memory ahead. An `adding` one begins with what is in C, read in whole vectors, in place
    of biases.
    """
    if paired:
        check_bfloat16()
    kinds = {"paired": paired, "listed": listed, "calling": calling, "adding": adding}
    name = "-".join(["product", np.dtype(dtype).name, *(kind for kind, is_so in kinds.items() if is_so)])
    if paired and has_matrix_unit():
        name = "product-matrix-unit"
    if name not in _addresses:
        body = pairs_product if name == "product-matrix-unit" else _make_product(*kinds.values())
        _addresses[name] = kernel(body, name, dtype, _ARGUMENTS)
    return _addresses[name]


def split_product_kernel() -> int:
    """Address of the matrix unit's product of numbers of float32 in three parts, see `matrix_unit.split_product`."""
    if "split" not in _addresses:
        _addresses["split"] = kernel(split_product, "product-split", np.dtype(np.float32), _ARGUMENTS)
    return _addresses["split"]
