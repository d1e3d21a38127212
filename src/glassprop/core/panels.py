"""How a batch lies in memory, in panels of rows, and moving rows in and out.

It knows memory, not arithmetic.

P: ``[panel][unit][width]``, the layout of every activation and error term: `width` rows of the batch (128 bytes) side by side,
so that the batch is the vector dimension of all products. Q: ``[unit block][panel][row][width]``, the same numbers with `width`
units side by side, the right operand of dW. Both are made of width × width squares, so that P becomes Q by register transposes.
Numbers of units are rounded up to whole squares in P and Q, whose padding may hold anything finite: no product reads units that
are not there, and columns of dW beyond them are not stored. Rows of the last panel beyond the batch repeat the batch's last row
(zeros might be a point where a user's own φ is not finite), with error terms of zero. Products leave out whole vectors of them
(`tile.columns_taken`), and a gradient is summed over the batch's rows, and at most three beyond (`quads.py`).

Where products are of bfloat16, their operands are kept in pairs, two rounded numbers in the place of one of float32: numbers of
a square, half of it apart, so that pairing is a matter of whole vectors (`bfloat16.pair_lines`). So are they where the matrix
unit multiplies float32, but in three parts, the pairs of each part behind those of the one before.
"""

from __future__ import annotations

import numpy as np

from glassprop.core.jit import ZERO, at, call_kernel, inner, panel_width, shift, stay_apart, within
from glassprop.core.network import panel_columns, round_up
from glassprop.core.plan import BACKWARD
from glassprop.core.processor import prefetch
from glassprop.core.threads import SLOT
from glassprop.core.vectors import copy_part, copy_row, fill_rest, lanes_of, largest_bits, part_of, transpose_strip


def read_panels(scratch: np.ndarray, offset: int, units: int, rows: int) -> np.ndarray:
    """A copy, (rows, units), of a P buffer."""
    width = panel_columns(scratch.dtype)
    panels, padded = -(-rows // width), round_up(units, width)
    block = scratch[offset : offset + panels * padded * width].reshape(panels, padded, width)
    return np.ascontiguousarray(block[:, :units].transpose(0, 2, 1).reshape(panels * width, units)[:rows])


@inner
def transpose_panel(source, source_row, target, target_row, rows, columns):
    """Transpose (rows, columns) of a width × width square, or as much more as makes whole vectors and parts of them."""
    for i in range(0, rows, lanes_of(source)):
        for j in range(0, columns, part_of(source)):
            transpose_strip(shift(source, i * source_row + j), source_row, shift(target, j * target_row + i), target_row)


@within
def parts_in(batch, parts):
    """In how many parts the operands of a layer's products are in this batch, of a layer that may have so many."""
    return parts if parts == batch.parts else ZERO


@within
def packed_of(plan, batch, one):
    """This thread's share of `packed`."""
    return at(plan.scratch, plan.packed + batch.thread * plan.packed_size, one)


@within
def product_of(plan, parts):
    """The product of operands in so many parts of bfloat16."""
    return plan.paired_product if parts == 1 else plan.split_product


@within
def paired_square(parts, one):
    """Elements from one square of Q in pairs of rows to the next."""
    square = panel_width(one) * panel_width(one)
    return square if parts == 1 else parts * square // 2


@within
def wants_q(layer, batch):
    """Whether the gradient will ask for the layer's h in Q."""
    return batch.stages & BACKWARD != 0 and batch.rows < layer.q_rows


@inner
def panel_to_units(plan, layer, start, units, panel, count, one):
    """Q of h from one panel of P, for `units` units from `start`, where a square begins: from [unit][row] to [row][unit].

    `count` is how many rows the batch has in it.
    """
    stay_apart(units)
    width = panel_width(one)
    for u in range(0, units, width):
        place = (start + u) // width * plan.most_panels + panel
        p = at(plan.scratch, layer.h + (panel * layer.padded + start + u) * width, one)
        q = at(plan.scratch, layer.q + place * width * width, one)
        transpose_panel(p, width, q, width, min(width, units - u), count)


@inner
def _note_larger(pointer, count, so_far):
    stay_apart(count)
    so_far[0] = max(so_far[0], largest_bits(pointer, count))


@within
def note_largest(plan, batch, pointer, count, which):
    """Note in `plan.largest` the largest of `count` numbers of panel rows, of h (0) or of δ (1), where that will be asked."""
    if plan.at_once != 0:
        _note_larger(pointer, count, at(plan.largest, SLOT * batch.thread + which, np.int64(0)))


@within
def note_rows(plan, batch, pointer, count):
    """The same of rows of X, where anything will be asked of them."""
    if plan.asks_of_rows + plan.at_once != 0:
        _note_larger(pointer, count, at(plan.largest, SLOT * batch.thread, np.int64(0)))


@within
def fill_places(p, lines, count):
    """Fill panel rows from number `count` on with the number before."""
    for u in range(lines if count < panel_width(p) else 0):
        line = shift(p, u * panel_width(p))
        fill_rest(line[count - 1], line, count)


def gather_rows(plan, layers, batch, one):
    """This thread's panels of the batch, rows of X in the given order, into P and Q of the input.

    Places in P beyond the batch are filled with the last row; in Q they keep the finite numbers that they held, which error
    terms of zero multiply. Where Q is not wanted, one square of it serves all. Where operands of products are in three parts of
    bfloat16, these are all that is kept, and the memory of one panel, and of one square of P, serves all; those of Q are made
    where they are wanted. While a square is gathered, the next one is called for from memory.
    """
    layer, X, order, width = layers[0], batch.X, batch.order, panel_width(one)
    square, inputs, parts, numbers = width * width, layer.units, parts_in(batch, layer.parts_above), at(order, 0, ZERO)
    blocks, last_row = layer.padded // width, plan.rows - 1
    next_block = plan.most_panels * square if wants_q(layer, batch) or parts != 0 else ZERO
    for panel in range(batch.first, batch.last):
        base, place = batch.start + panel * width, panel if parts != 3 else batch.first
        count = min(width, batch.stop - base)
        q, p = at(plan.scratch, layer.q + place * square, one), at(plan.scratch, layer.h + place * layer.padded * width, one)
        for block in range(blocks):
            columns, here = min(width, inputs - block * width), shift(q, block * next_block)
            for i in range(count):
                row, after = numbers[base + i] if order else base + i, block * width + width
                if block == blocks - 1:  # a row of the next batch, perhaps; without an order, beyond the table, perhaps
                    ahead, after = base + i + width, ZERO
                    coming = at(X, (numbers[min(ahead, last_row)] if order else ahead) * inputs, one)
                else:
                    coming = at(X, row * inputs + after, one)
                prefetch(coming)
                prefetch(shift(coming, width // 2))
                prefetch(shift(coming, width - 1))  # X begins anywhere on a line, 128 bytes of it touch three
                source, target = at(X, row * inputs + block * width, one), shift(here, i * width)
                if columns == width:
                    copy_row(source, target)
                else:
                    copy_part(source, columns, target)
            if parts == 0:
                transpose_panel(here, width, shift(p, block * square), width, count, columns)
        if parts != 0:
            call_kernel(plan.do_pair_input, (plan, layer, batch, q, p, next_block, count, panel, one))
            continue
        fill_places(p, inputs, count)
        note_rows(plan, batch, p, inputs * width)


@inner
def pack_columns(W, stride, rows, depth, packed, packed_row):
    """Columns 0..rows of W (depth, stride), which lie `stride` apart, into rows of `packed`, where they are contiguous."""
    stay_apart(rows)
    width = panel_width(W)
    whole, half = depth // width * width, width // 2
    for k in range(0, whole, width):
        for i in range(min(width, depth - width - k)):  # the next rows lie pages apart, where the processor does not look
            for r in range(0, rows, half):
                prefetch(shift(W, (k + width + i) * stride + r))
        for r in range(0, rows, width):
            transpose_panel(shift(W, k * stride + r), stride, shift(packed, r * packed_row + k), packed_row, width, width)
    for k in range(whole, depth):
        for r in range(rows):
            packed[r * packed_row + k] = W[k * stride + r]


@within
def rows_to_panels(plan, layer, batch, one):
    """g of this thread's panels, from rows, which lie where nobody asks for δ."""
    width, padded = panel_width(one), layer.padded
    for panel in range(batch.first, batch.last):
        here = panel * padded * width
        g, rows = at(plan.scratch, layer.g + here, one), at(plan.scratch, layer.delta + here, one)
        for u in range(0, padded, width):
            transpose_panel(shift(rows, u), padded, shift(g, u * width), width, width, width)
        fill_places(g, layer.units, min(width, batch.rows - panel * width))


@inner
def scatter_rows(plan, layer, batch, one):
    """The outputs h_L of this thread's panels, from P into the batch's rows of `plan.output` (rows, outputs)."""
    p, target = at(plan.scratch, layer.h, one), at(plan.output, batch.start * layer.units, one)
    width = panel_width(p)
    for i in range(batch.first * width, min(batch.last * width, batch.rows)):
        panel = shift(p, (i // width) * layer.padded * width + i % width)
        for j in range(layer.units):
            target[i * layer.units + j] = panel[j * width]
