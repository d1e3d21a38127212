"""Tables of mostly zeros, and the lines of a batch in which anything stands: the first layer's products skip the rest.

It knows rows of X and how they lie as operands, not what is multiplied with them. Of P and Q of the input (panels.py) only some
lines are kept here, and lists of them: of a panel, the inputs that are not 0 in all its rows; of a block of `width` inputs, the
rows of the batch that are not 0 in all of them. Lists are ascending, so that sums add the same numbers in the same order as
those of the dense table. A list is never empty: a line of zeros stands in it then.

Predictions need no lines: of each row, as many rows of Wᵀ are added up as it has numbers. They lie there where W does so by
inputs (network.ByInputs); else W is turned around. Steps of training cannot, since W is another after each. Sums of gradients
over many batches can (`sum_columns`): for each column of X, as many rows of δ are added up as it has numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from glassprop.core.jit import ONE, ZERO, at, panel_width, shift, within
from glassprop.core.network import aligned_zeros, panel_columns
from glassprop.core.panels import note_largest, rows_to_panels, transpose_panel
from glassprop.core.row_sums import sum_rows
from glassprop.core.threads import meet, share
from glassprop.core.tile import add_listed_rows
from glassprop.core.vectors import trailing_zeros

# Numbers of Wᵀ that stay in the second-level cache while all rows of a batch meet them. Where more than one in so many of their
# inputs has a number in the batch, all are turned around: reading on costs less than looking for the others.
TURNED, MET = 1 << 18, 8


@dataclass(frozen=True, eq=False)
class SparseTable:
    """The numbers that are not 0: of row r, ``values[starts[r]:starts[r + 1]]`` in those columns, ascending, none twice."""

    starts: np.ndarray  # (rows + 1,) int64
    columns: np.ndarray  # int64
    values: np.ndarray  # of the computing precision
    inputs: int

    @classmethod
    def of(cls, X: np.ndarray) -> SparseTable:
        """All numbers of a table, zeros among them."""
        rows, inputs = X.shape
        return cls(np.arange(rows + 1) * inputs, np.tile(np.arange(inputs), rows), np.ascontiguousarray(X).ravel(), inputs)

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def dtype(self) -> np.dtype:
        return self.values.dtype

    def most(self, rows: int) -> int:
        """How many numbers so many rows can hold at most."""
        return int(np.sort(np.diff(self.starts))[-rows:].sum())

    def rows_for_turning(self) -> int:
        """How many hold so many numbers that turning W around is little beside what is done with it: eight of each input."""
        return 8 * len(self) * self.inputs // max(self.values.size, 1)

    def addresses(self) -> np.ndarray:
        """What the core takes for the address of X."""
        return np.array([self.starts.ctypes.data, self.columns.ctypes.data, self.values.ctypes.data], np.int64)


class Lines(NamedTuple):
    """How many there may be."""

    panel: int  # in a panel
    blocks: int  # in the blocks of inputs of a thread

    def hold(self, others: Lines) -> bool:
        """Whether there is room for so many others."""
        return others.panel <= self.panel and others.blocks <= self.blocks

    def with_some_more(self, inputs: int) -> Lines:
        """Room for those of another table of the same kind, too."""
        return Lines(min(inputs, self.panel + self.panel // 4), self.blocks + self.blocks // 4)


def room_for_lines(tables: Sequence[SparseTable], batch_size: int, width: int) -> Lines:
    """What batches of these need at most; the first table is trained on, others predicted."""
    inputs = tables[0].inputs
    of_panel = max(table.most(width) for table in tables)
    return Lines(max(1, min(inputs, of_panel)), tables[0].most(batch_size) + -(-inputs // width))


def new_lists(inputs: int, lines: tuple[int, int], panels: int, threads: int, width: int) -> dict[str, Any]:
    """Memory for the lists, by its name in the plan."""
    return {
        "lines": np.zeros(panels * lines[0], np.int64),
        "line_counts": np.zeros(panels, np.int64),
        "block_lines": np.zeros(threads * lines[1], np.int64),
        "block_table": np.zeros(2 * -(-inputs // width), np.int64),
        "share_lines": lines[1],
        "seen": np.zeros(threads * -(-inputs // 64), np.int64),
        "places": np.zeros(threads * inputs, np.int64),
    }


def new_turned(inputs: int, units: int, panels: int, threads: int, dtype: np.dtype) -> dict[str, Any]:
    """Memory for rows of Wᵀ, each of so many `units` in whole squares, by its name in the plan."""
    width = panel_columns(dtype)
    blocks = min(-(-inputs // width), max(1, TURNED // (units * width)))
    return {
        "turned": aligned_zeros(threads * blocks * width * units, dtype),
        "turned_inputs": blocks * width,
        "seen": np.zeros(threads * -(-blocks * width // 64), np.int64),
        "places": np.zeros(2 * panels * width, np.int64),
    }


@within
def _table_of(batch, one):
    addresses = at(batch.X, 0, ZERO)
    return at(addresses[0], 0, ZERO), at(addresses[1], 0, ZERO), at(addresses[2], 0, one)


@within
def _clear(line, width):
    for i in range(width):
        line[i] = 0


def gather_sparse_rows(plan, layers, batch, one):
    """`panels.gather_rows` for a sparse X: the lines of panels, and the inputs that they are of."""
    starts, columns, values = _table_of(batch, one)
    layer, order, numbers, width = layers[0], batch.order, at(batch.order, 0, ZERO), panel_width(one)
    words = (layer.units + 63) // 64
    seen, place = at(plan.seen, batch.thread * words, ZERO), at(plan.places, batch.thread * layer.units, ZERO)
    for panel in range(batch.first, batch.last):
        base = batch.start + panel * width
        count, lines = min(width, batch.stop - base), ZERO
        inputs = at(plan.lines, panel * layer.padded, ZERO)
        p = at(plan.scratch, layer.h + panel * layer.padded * width, one)
        for i in range(count):
            row = numbers[base + i] if order else base + i
            for n in range(starts[row], starts[row + 1]):
                j = columns[n]
                seen[j >> 6] |= ONE << (j & 63)
        for word in range(words):
            bits = seen[word]
            seen[word] = 0
            while bits != 0:
                j = (word << 6) + trailing_zeros(bits)
                bits &= bits - 1
                inputs[lines], place[j] = j, lines
                lines += 1
        if lines == 0:
            inputs[0], lines = 0, ONE
        _clear(p, lines * width)
        for i in range(width):  # the last row stands for those beyond the batch, see panels.py
            row = base + min(i, count - 1)
            row = numbers[row] if order else row
            for n in range(starts[row], starts[row + 1]):
                p[place[columns[n]] * width + i] = values[n]
        at(plan.line_counts, panel, ZERO)[0] = lines
        note_largest(plan, batch, p, lines * width, 0)


@within
def _first_from(columns, low, high, wanted):
    """The first place from `low` on, or `high`, where the ascending columns are at least `wanted`."""
    while low < high:
        middle = (low + high) // 2
        if columns[middle] < wanted:
            low = middle + 1
        else:
            high = middle
    return low


@within
def _turn_all(W, stride, units, inputs, turned, padded):
    """Rows of Wᵀ of all these inputs, each the weights of an input to all units, `padded` from one to the next."""
    width = panel_width(W)
    some = width // 2  # rows of W, which the processor reads ahead
    whole = units // some * some
    for u in range(0, whole, some):
        for i in range(0, inputs, width):
            columns, target = min(width, inputs - i), shift(turned, i * padded + u)
            transpose_panel(shift(W, u * stride + i), stride, target, padded, some, columns)
    for u in range(whole, units):
        for i in range(inputs):
            turned[i * padded + u] = W[u * stride + i]


@within
def _turn_met(W, stride, units, met, words, turned, padded):
    """Rows of Wᵀ of those inputs that are `met`, a bit for each."""
    for word in range(words):
        bits = met[word]
        while bits != 0:
            i = (word << 6) + trailing_zeros(bits)
            bits &= bits - 1
            source, target = shift(W, i), shift(turned, i * padded)
            for u in range(units):
                target[u] = source[u * stride]


@within
def _add_turned_rows(plan, layers, batch, begin, end, one):
    """Add up rows of Wᵀ for rows begin..end of the batch, of W as it lies unit by unit.

    It is turned around for as many inputs at a time as the cache holds, all of them or those in which any of the rows has a
    number, and all rows meet them before the next. Of each row ``numbers`` holds where its numbers of these inputs begin, and
    where they end.
    """
    starts, columns, values = _table_of(batch, one)
    starts = shift(starts, batch.start)
    layer, inputs, some = layers[1], layers[0].units, plan.turned_inputs
    W, stride, padded = at(plan.theta, layer.W, one), layer.stride, layer.padded
    words = (some + 63) // 64
    turned, met = at(plan.turned, batch.thread * some * padded, one), at(plan.seen, batch.thread * words, ZERO)
    numbers, sums = at(plan.places, ZERO, ZERO), at(plan.scratch, layer.delta, one)
    for i in range(begin, end):
        numbers[2 * i + 1] = starts[i]
    for low in range(ZERO, inputs, some):
        count = ZERO
        for word in range(words):
            met[word] = 0
        for i in range(begin, end):
            n, after = numbers[2 * i + 1], starts[i + 1]
            numbers[2 * i] = n
            while n < after and columns[n] < low + some:
                j = columns[n] - low
                count += ~(met[j >> 6] >> (j & 63)) & 1
                met[j >> 6] |= ONE << (j & 63)
                n += 1
            numbers[2 * i + 1] = n
        here = min(some, inputs - low)
        if count * MET > here:
            _turn_all(shift(W, low), stride, layer.units, here, turned, padded)
        else:
            _turn_met(shift(W, low), stride, layer.units, met, words, turned, padded)
        table = shift(turned, -low * padded)
        for i in range(begin, end):
            n, count = numbers[2 * i], numbers[2 * i + 1] - numbers[2 * i]
            add_listed_rows(shift(sums, i * padded), padded, shift(values, n), shift(columns, n), count, table)


def multiply_rows(plan, layers, batch, one):
    """g of the first layer for this thread's panels of the batch, rows of X in their own order; rows beyond as in panels.py.

    Sums of a row are b and, for each of its numbers, a row of Wᵀ.
    """
    starts, columns, values = _table_of(batch, one)
    layer, width, b = layers[1], panel_width(one), at(plan.theta, layers[1].b, one)
    padded, table = layer.padded, at(plan.theta, layer.W, one)
    begin, end = batch.first * width, min(batch.last * width, batch.rows)
    sums = at(plan.scratch, layer.delta, one)  # nobody asks for δ
    for i in range(begin, end):
        for u in range(layer.units):
            sums[i * padded + u] = b[u]
    if layer.by_inputs == 0:
        _add_turned_rows(plan, layers, batch, begin, end, one)
    else:
        for i in range(begin, end):
            n = starts[batch.start + i]
            count = starts[batch.start + i + 1] - n
            add_listed_rows(shift(sums, i * padded), padded, shift(values, n), shift(columns, n), count, table)
    rows_to_panels(plan, layer, batch, one)


@within
def sum_columns(plan, layers, batch, one):
    """Σ of gradients of the first layer, whose W lies by inputs: total += X_batchᵀ δ, and that of b += Σ_rows δ.

    `plan.columns` is X by columns: row b · inputs + j of that table holds column j of batch b, and it names rows of the batch.
    """
    addresses = at(plan.columns, 0, ZERO)
    starts, numbers, values = at(addresses[0], 0, ZERO), at(addresses[1], 0, ZERO), at(addresses[2], 0, one)
    layer, inputs, width = layers[1], layers[0].units, panel_width(one)
    padded, delta = layer.padded, at(plan.scratch, layer.delta, one)
    rows = at(plan.scratch, layer.h, one)  # δ row by row: the deeper layers have read h
    for panel in range(batch.first, batch.last):
        here = panel * padded * width
        for u in range(0, padded, width):
            transpose_panel(shift(delta, here + u * width), width, shift(rows, here + u), padded, width, width)
    meet(plan)
    starts, total = shift(starts, batch.start // plan.batch_size * inputs), at(plan.state, layer.W, one)
    low, high = share(inputs, batch.thread, plan.threads)
    for j in range(low, high):
        n, count = starts[j], starts[j + 1] - starts[j]
        if count > 0:
            add_listed_rows(shift(total, j * layer.stride), padded, shift(values, n), shift(numbers, n), count, rows)
    if batch.thread == 0:
        db, total, ones = (
            at(plan.gradient, layer.b, one),
            at(plan.state, layer.b, one),
            at(plan.scratch, plan.zero + width, one),
        )
        sum_rows(delta, padded * width, layer.units, ones, ZERO, ONE, batch.panels, db, ZERO)
        for u in range(layer.units):
            total[u] += db[u]


def collect_columns(plan, layers, batch, one):
    """The lines of this thread's blocks of inputs for a batch, and where the error terms of their rows lie in a panel of P."""
    starts, columns, values = _table_of(batch, one)
    layer, order, numbers, width = layers[0], batch.order, at(batch.order, 0, ZERO), panel_width(one)
    start, stop = batch.start, batch.stop
    low, high = share((layer.units + width - 1) // width, batch.thread, plan.threads)
    table, places = at(plan.block_table, 0, ZERO), at(plan.block_lines, 0, ZERO)  # (first line, lines) of every block
    for block in range(low, high):
        table[2 * block + 1] = 0
    for i in range(start, stop):
        row, before = numbers[i] if order else i, -ONE
        for n in range(_first_from(columns, starts[row], starts[row + 1], low * width), starts[row + 1]):
            block = columns[n] // width
            if block >= high:
                break
            if block != before:
                table[2 * block + 1] += 1
            before = block
    line = batch.thread * plan.share_lines
    for block in range(low, high):
        table[2 * block] = line
        line += max(ONE, table[2 * block + 1])
        table[2 * block + 1] = 0
    q = at(plan.scratch, layer.q, one)
    for i in range(start, stop):
        row, before, line = numbers[i] if order else i, -ONE, ZERO
        place = (i - start) // width * layers[1].padded * width + (i - start) % width
        for n in range(_first_from(columns, starts[row], starts[row + 1], low * width), starts[row + 1]):
            block = columns[n] // width
            if block >= high:
                break
            if block != before:
                line = table[2 * block] + table[2 * block + 1]
                table[2 * block + 1] += 1
                places[line] = place
                _clear(shift(q, line * width), width)
            before = block
            q[line * width + columns[n] - block * width] = values[n]
    for block in range(low, high):
        if table[2 * block + 1] == 0:
            places[table[2 * block]], table[2 * block + 1] = 0, 1
            _clear(shift(q, table[2 * block] * width), width)


@within
def lines_of_panel(plan, layer, panel):
    """Address of the list of inputs of a panel's lines, and their number."""
    return plan.lines + panel * layer.padded * 8, at(plan.line_counts, panel, panel)[0]


@within
def lines_of_block(plan, layer, block, one):
    """Address of the list of places of a block's lines, their number, and the first line."""
    table = at(plan.block_table, 2 * block, block)
    width = panel_width(one)
    return plan.block_lines + table[0] * 8, table[1], at(plan.scratch, layer.q + table[0] * width, one)
