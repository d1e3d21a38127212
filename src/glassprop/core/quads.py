"""A gradient's last few columns, four in a vector.

It knows pointers and strides, nothing of layers.

The register tile multiplies a whole vector of columns, of which there may be four: of a table of 20 inputs in float32 it takes
32, on processors where half a vector takes as long. Here a vector holds four columns for as many rows of the batch as 16 bytes
hold::

    C[u, j] = sum over rows r of A[u, r] * B[j, r]

both operands in P. Parts of 16 bytes of four lines of B make one vector, that of A is repeated in another; each lane adds up
every fourth row of the batch, or every second in float64.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from llvmlite.binding import get_host_cpu_name
from numba import types
from numba.extending import intrinsic

from glassprop.core.jit import PANEL_BYTES, ZERO, kernel, panel_width, shift
from glassprop.core.vectors import (
    PART,
    VECTOR_BYTES,
    fma_of,
    gather_parts,
    index,
    load,
    loop,
    store_first,
    transpose_groups,
    vector_of,
)

COLUMNS = VECTOR_BYTES // PART  # of a vector
# Of a vector's time, what the register tile takes for at most half of its columns: AMD's Zen 4 adds up 32 bytes at a time.
HALF_A_VECTOR = 0.5 if get_host_cpu_name() == "znver4" else 1.0


def _store(builder, sums, places, columns, align):
    """Emit the stores of a vector of columns, the first `columns` of them: of each of `sums` its columns to one of `places`."""
    lanes = sums[0].type.count
    part = lanes // COLUMNS
    # of as many rows of C as a part has numbers: a lane for each column and row, then for each row and column
    turned = [column * part + row for row in range(part) for column in range(COLUMNS)]
    order = ir.Constant(ir.VectorType(ir.IntType(32), lanes), turned)
    for first in range(0, len(sums), part):
        group = transpose_groups(builder, sums[first : first + part])
        while len(group) > 1:
            half = len(group) // 2
            group = [builder.fadd(x, y) for x, y in zip(group[:half], group[half:], strict=True)]
        total = builder.shuffle_vector(group[0], group[0], order)
        for i, place in enumerate(places[first : first + part]):
            own = ir.Constant(ir.VectorType(ir.IntType(32), COLUMNS), [i * COLUMNS + j for j in range(COLUMNS)])
            store_first(builder, [builder.shuffle_vector(total, total, own)], [place], columns, align)


def _make_tile(rows: int, vectors: int, clamped: bool) -> Any:
    """The intrinsic for `rows` rows of C and so many vectors of columns; a clamped one repeats the last of the rows left."""

    @intrinsic
    def tile(typingctx, c, c_row, left, columns, a, a_panel, b, b_panel, depth):
        size = types.int64
        signature = types.void(c, size, size, size, c, size, c, size, size)

        def codegen(context, builder, sig, args):
            c, c_row, left, columns, a, a_panel, b, b_panel, depth = args
            vector, lanes = vector_of(sig.args[0])
            align, part = sig.args[0].dtype.bitwidth // 8, lanes // COLUMNS
            width, kind = PANEL_BYTES // align, ir.VectorType(vector.element, part)
            fma = fma_of(builder, vector)
            repeated = ir.Constant(ir.VectorType(ir.IntType(32), lanes), [i % part for i in range(lanes)])
            numbers = [index(u) for u in range(rows)]
            if clamped:
                last = builder.sub(left, index(1))
                numbers = [builder.select(builder.icmp_signed("<", u, last), u, last) for u in numbers]
            lines = [builder.mul(u, index(width)) for u in numbers]

            def add_panel(panel, carried):
                here, there = builder.gep(a, [builder.mul(panel, a_panel)]), builder.gep(b, [builder.mul(panel, b_panel)])
                rest = builder.sub(depth, builder.mul(panel, index(width)))
                count = builder.select(builder.icmp_signed("<", rest, index(width)), rest, index(width))

                def add_rows(k, sums):
                    right = []
                    for v in range(vectors):
                        starts = [builder.add(k, index((v * COLUMNS + j) * width)) for j in range(COLUMNS)]
                        right.append(gather_parts(builder, [builder.gep(there, [start]) for start in starts], vector, align))
                    results = []
                    for u, line in enumerate(lines):
                        numbers = load(builder, here, builder.add(line, k), kind, align)
                        factor = builder.shuffle_vector(numbers, numbers, repeated)
                        results += [fma(factor, right[v], sums[u * vectors + v]) for v in range(vectors)]
                    return results

                return loop(builder, count, carried, add_rows, index(part))

            panels = builder.sdiv(builder.add(depth, index(width - 1)), index(width))
            sums = loop(builder, panels, [ir.Constant(vector, None)] * (rows * vectors), add_panel)
            places = [builder.gep(c, [builder.mul(u, c_row)]) for u in numbers]
            for v in range(vectors):
                here = [builder.gep(place, [index(v * COLUMNS)]) for place in places]
                _store(builder, sums[v::vectors], here, builder.sub(columns, index(v * COLUMNS)), align)
            return context.get_dummy_value()

        return signature, codegen

    return tile


_eight_of_one, _eight_of_two = (_make_tile(8, vectors, False) for vectors in (1, 2))
_rest_of_one, _rest_of_two = (_make_tile(4, vectors, True) for vectors in (1, 2))


def _quads(c, c_row, rows, columns, a, a_panel, b, b_panel, depth):
    """C, `rows` rows of at most eight columns, `c_row` apart; panels of A and B lie `a_panel` and `b_panel` apart."""
    done = ZERO
    while done < rows:
        left = rows - done
        target, lines = shift(c, done * c_row), shift(a, done * panel_width(a))
        rest = left, columns, lines, a_panel, b, b_panel, depth
        if columns > COLUMNS:
            if left >= 8:
                _eight_of_two(target, c_row, *rest)
            else:
                _rest_of_two(target, c_row, *rest)
        elif left >= 8:
            _eight_of_one(target, c_row, *rest)
        else:
            _rest_of_one(target, c_row, *rest)
        done += 8 if left >= 8 else 4


_addresses: dict[str, int] = {}


def quad_kernel(dtype: np.dtype) -> int:
    """Address of the compiled product."""
    name = f"quads-{np.dtype(dtype).name}"
    if name not in _addresses:
        _addresses[name] = kernel(_quads, name, dtype, "pnnnpnpnn")
    return _addresses[name]


def few_columns(columns: int, dtype: np.dtype) -> int:
    """How many of a gradient's columns are taken so: those beyond whole vectors, where that takes less time."""
    left = columns % (VECTOR_BYTES // dtype.itemsize)
    vectors, rows = -(-left // COLUMNS), PART // dtype.itemsize
    return left if VECTOR_BYTES == 64 and 0 < vectors <= 2 and vectors / rows < HALF_A_VECTOR else 0
