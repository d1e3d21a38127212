"""What lies where in the memory of a batch: the table of layers, and into what portions products and threads take them.

It knows numbers of elements; panels.py is what lies there.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from glassprop.core.activations import Activation, multiply_kernel
from glassprop.core.matrix_unit import has_matrix_unit
from glassprop.core.network import Network, aligned_zeros, layer_offsets, panel_columns, round_up, row_stride
from glassprop.core.plan import BACKWARD, LOSS
from glassprop.core.quads import few_columns

#: One row for each layer, with row 0 for the input h_0 = x. Offsets count elements of theta (W, b) or of scratch (the rest).
LAYER = np.dtype(
    [
        ("number", np.int64),  # l
        ("units", np.int64),  # fan_out; of the row before: fan_in
        ("padded", np.int64),  # units in whole squares: a panel of P is padded * width elements
        ("W", np.int64),  # (units, stride) in theta
        ("stride", np.int64),
        ("by_inputs", np.int64),  # 1: W is (inputs, stride), see network.ByInputs
        ("b", np.int64),  # (units,)
        ("packed_row", np.int64),  # stride of Wᵀ when it is turned around for the backward product; 0: it is not
        ("parts", np.int64),  # of the operands of products: 1 in bfloat16, 3 of float32 for the matrix unit, 0: as they are
        ("parts_above", np.int64),  # of the layer that reads h
        ("q_rows", np.int64),  # of a batch: with fewer dW of the layer above reads h in Q, with as many it is sums of rows of h
        ("slope_stages", np.int64),  # of a step, that will ask for φ′
        ("portion_row", np.int64),  # stride of a portion of W, in all parts of its pairs if in parts; 0: it is taken as it is
        ("pairs", np.int64),  # of units, in whole vectors; h and δ of two units lie in the place of one number
        ("input_portion", np.int64),  # inputs, in pairs if in parts, that its product takes for all panels before the next
        ("unit_portion", np.int64),  # the same of units, in the backward product
        ("dots", np.int64),  # 1: its product for a single row is a dot product for each row of W
        ("size", np.int64),  # elements of W and b together, from W on
        ("by_units", np.int64),  # 1: threads share out the units that its products compute, each for all panels
        ("few_columns", np.int64),  # of dW, the last ones, that are taken four at a time
        ("piece", np.int64),  # rows of W in a piece of dW: what threads share out, and what partial sums are of
        ("pieces", np.int64),
        ("block", np.int64),  # pieces that a thread takes at a time
        ("resident_rows", np.int64),  # of W, that stay in the second-level cache while they meet all panels
        ("resident_columns", np.int64),  # the same of columns, in the backward product
        ("g", np.int64),  # P: pre-activations; the same as a where they are not kept
        ("a", np.int64),  # P: φ(g); the same as h where there is no dropout
        ("h", np.int64),  # P: what the next layer reads
        ("q", np.int64),  # Q of h
        ("q_pairs", np.int64),  # Q in pairs of rows; the same place if they have one part, else of other squares
        ("delta", np.int64),  # P: error terms
        ("delta_row", np.int64),  # stride of a block's δ, put together in rows of the batch for dW; 0: it stays in panels
        ("h_pairs", np.int64),  # [panel][pair][row] of h: layers take turns at two places
        ("z", np.int64),  # P: what the kernel of φ′ reads: a, or slopes that the forward pass has left, in place of g if it may
        ("phi", np.int64),  # addresses of kernels; 0 is the identity
        ("both", np.int64),  # φ and the slopes, of built-in activations where φ′ reads g; 0: φ alone
        ("dphi", np.int64),
        ("dropout", np.float64),
        ("rate_factor", np.float64),  # of the learning rate
    ],
    align=True,
)


PIECE_NUMBERS = 512  # of W, at least, in a piece of dW, where the layer has as many: partial sums of fewer would take longer
# Rows of W in a piece, and at most in a block of them; bytes of a block that has more than a piece, at most: half of what the
# second-level cache holds. The register tile's rows, 12 or 6, divide 48, and the 96 below. The matrix unit, which waits for Q
# from memory, takes few and high blocks, of whole tiles of its own.
PIECE_ROWS, BLOCK_ROWS, BLOCK_BYTES = 8, 48, 1 << 19
MATRIX_UNIT_PIECE_ROWS, MATRIX_UNIT_BLOCK_ROWS, MATRIX_UNIT_BLOCK_BYTES = 16, 224, 3 << 19
MATRIX_UNIT_RESIDENT = 8192
# Numbers in a row of W, and pairs of them of the matrix unit's float32, from which on it is taken in portions, of so many at
# most; rows of W, at most, that are taken at a time then, and else.
PORTIONS_FROM, PAIR_PORTIONS_FROM, PORTION, PORTION_ROWS, RESIDENT_ROWS = 1024, 512, 256, 256, 96
AT_ONCE_FROM = 1 << 16  # parameters, from which on the rule takes a block as soon as its gradient is there
# Units and inputs of a layer, and rows of a batch, from which on the matrix unit multiplies its float32: splitting costs, too.
SPLIT_FROM, SPLIT_ROWS = 128, 64
RESIDENT = 4096  # panel rows (128 bytes each) of W that stay in the second-level cache while they meet all panels
# Inputs of a layer, and panels of a batch, from which on a block's δ is put together in rows for dW; rows of a batch at a time.
JOINED_FROM, JOINED_PANELS, JOINED_ROWS = 64, 3, 512
ANY_ROWS = np.iinfo(np.int64).max  # more than any batch has
MOST_SUMS = 16  # units of a layer, up to which sums of rows of h cost less than h in Q
ROWS_OF_SUMS = 8  # of a batch, for each of these units: the sums of lanes cost the same for any batch
MEETING_FLOPS = 1e6  # of a product, which a thread could do while it meets the others before and after it
DOTS_FROM = 1 << 14  # numbers of W from which on predictions of a single row are dot products
# Inputs, and inputs for each unit, from which on predictions of more rows than a panel has read X where it lies; and what of W
# meets these rows at a time: inputs, and panels of units.
IN_PLACE_FROM, IN_PLACE_PER_UNIT, IN_PLACE_INPUTS, IN_PLACE_PANELS = 1024, 4, 256, 8
PACK_FROM = 4096  # panel rows of W from which on it pays to turn it around before the backward product


def resident(depth: int, width: int, lines: int, most: int) -> int:
    """How many rows of W, each `depth` long, to take at a time: as many as fill `lines`, in whole squares, from 32 on."""
    return max(32, min(most, lines * width // depth // 32 * 32))


def portion(depth: int, rows: int, parts: int) -> int:
    """How much of the depth of a product of so many `rows` is taken at a time, in pairs if in parts: all, or equal portions.

    In portions, a panel of the batch meets more rows of W while it is in the cache; sums go to memory and back for that. The
    register tile takes the last of an odd number of rows by itself, and adds it up in an order that portions would change."""
    if parts == 3:
        whole = depth < PAIR_PORTIONS_FROM
    else:
        whole = parts == 1 or depth < PORTIONS_FROM or rows <= RESIDENT_ROWS or rows % 2 == 1
    return depth if whole else round_up(-(-depth // -(-depth // PORTION)), 16)


def joins_rows(inputs: int, rows: int, panels: int) -> bool:
    """Whether δ of a batch is put together in rows for dW: if it is for some rows, then for more, as memory is laid out."""
    return rows > JOINED_ROWS or (inputs >= JOINED_FROM and panels >= JOINED_PANELS)


def piece_rows(units: int, stride: int, by_matrix_unit: bool = False) -> int:
    """Rows of W in a piece of dW: the least number, or as often that as holds `PIECE_NUMBERS`; the same for any threads."""
    least = MATRIX_UNIT_PIECE_ROWS if by_matrix_unit else PIECE_ROWS
    return min(round_up(-(-PIECE_NUMBERS // stride), least), units)


def block_pieces(pieces: int, piece: int, row_bytes: int, by_matrix_unit: bool = False) -> int:
    """Pieces that a thread takes at a time, of its `pieces`: as many as fit the cache, and each time as many."""
    rows, room = (MATRIX_UNIT_BLOCK_ROWS, MATRIX_UNIT_BLOCK_BYTES) if by_matrix_unit else (BLOCK_ROWS, BLOCK_BYTES)
    most = max(1, min(rows, room // row_bytes) // piece)
    return -(-pieces // -(-pieces // most))


Row = dict[str, Any]  # of the table of layers, while it is filled in: a field of a NumPy record takes longer to ask


class Layout(NamedTuple):
    """The layer table for one network, precision and largest batch, and the length of its scratch memory."""

    layers: np.ndarray
    scratch_size: int
    targets: int  # P (outputs, width) of the targets
    weights: int  # row weights (panels * width)
    losses: int  # row losses (panels * width)
    zero: int  # a panel row of zeros, and one of ones
    packed: int  # W in columns, portions or pairs, a square of Q, a row of h; a block of dW and its δ: for each thread
    packed_size: int  # elements of a share
    delta_pairs: int  # [panel][pair][row] of the δ that goes down
    pairs_of_panel: int  # elements from one panel of h or δ in pairs to the next
    pieces: int  # pieces of dW in all layers
    parts: int  # of bfloat16 that operands of products are kept in, at most
    few_columns: bool  # whether of any dW some are taken four at a time
    in_portions: bool  # whether any product takes a portion of W at a time, of numbers as they are
    joins_again: bool  # whether a batch may have more rows than are put together at a time


def lay_out(
    network: Network,
    dtype: np.dtype,
    batch_size: int,
    keep_g: bool = False,
    threads: int = 1,
    paired: bool = False,
    lines: tuple[int, int] | None = None,
    backward: bool = True,
    by_inputs: bool = False,
    in_place: bool = False,
) -> Layout:
    """Lay out scratch memory for batches of up to `batch_size` rows.

    `keep_g` keeps the pre-activations of all layers, for showing them; otherwise only those that some φ′ or the loss reads.
    `paired` makes room for operands in bfloat16. `lines`, of a sparse input: of a panel and of a thread's blocks, at most.
    Without a `backward` pass there is no room for what only that reads or writes; only then may X be read `in_place`, with a
    line for a sparse input's. Where W of the first layer lies `by_inputs` it is nothing that threads share out.
    """
    width = panel_columns(dtype)
    panels = -(-batch_size // width)
    table: list[Row] = [dict.fromkeys(LAYER.names or (), 0) for _ in network.layers]
    end = 0

    def claim(units: int) -> int:
        nonlocal end
        start, end = end, end + round_up(units, width) * panels * width
        return start

    offsets = layer_offsets(network.layers, dtype, by_inputs)
    activations = (None, *network.activations, network.output_activation)
    dropout = 0.0, *network.dropout, 0.0
    packed_size = 0
    parts = layer_parts(network, dtype, batch_size, paired, lines is not None)
    for l, (units, activation) in enumerate(zip(network.layers, activations, strict=True)):
        row, is_output = table[l], l == len(network.layers) - 1
        row |= {"number": l, "units": units, "padded": round_up(units, width), "dropout": dropout[l], "rate_factor": 1.0}
        row["slope_stages"] = LOSS | BACKWARD if is_output else BACKWARD
        if l == 0 and lines:
            row["padded"], row["h"], row["q"] = lines[0], end, end + lines[0] * panels * width
            end = row["q"] + threads * lines[1] * width
            continue
        row["parts"], row["parts_above"] = parts[l], above = parts[l], 0 if is_output else parts[l + 1]
        in_q = units if (backward and not is_output) or (l == 0 and above) else int(l == 0)  # or a square, to gather rows in
        _take_h(row, in_q, above == 3 and backward, claim, width)
        if activation is None:
            continue
        row["W"], row["stride"], row["b"] = offsets[l - 1]
        row["by_inputs"] = by_inputs and l == 1
        row["size"] = units * (offsets[l - 1][1] + 1)
        if backward or (lines and l == 1):  # `sparse.multiply_rows` and `in_place.multiply_in_place` add up there
            row["delta"] = claim(units)
        share = _share_out(row, table[l - 1], l, network, batch_size, dtype, threads, backward, l == 1 and lines is not None)
        if in_place:
            share = max(share, _share_in_place(row, table[l - 1], l, batch_size, width))
        packed_size = max(packed_size, share)
        if row["dropout"]:
            row["a"] = row["g"] = row["z"] = claim(units)
        _take_activation(row, activation, is_output and activation.name == network.loss.link, keep_g or is_output, claim, dtype)
    packed_size = round_up(packed_size, width) + (width * width if 3 in parts and backward else 0)  # a square of Q, to be split
    most = max(max(parts[l : l + 2]) * row["pairs"] for l, row in enumerate(table))
    places = [claim(most) for _ in range(2)]
    for l, row in enumerate(table):
        row["h_pairs"] = places[l % 2]
    targets, weights, losses, zero = (claim(units) for units in (network.layers[-1], 1, 1, 1))
    of_panel, size = round_up(most, width) * width, end + threads * packed_size
    layers, joins = np.array([tuple(row.values()) for row in table], LAYER), batch_size > JOINED_ROWS
    return Layout(
        layers, size, targets, weights, losses, zero, end, packed_size, places[1], of_panel,
        pieces=sum(row["pieces"] for row in table), parts=max(parts), in_portions=any(map(_in_portions, table, table[1:])),
        few_columns=any(row["few_columns"] for row in table), joins_again=joins and any(row["delta_row"] for row in table),
    )  # fmt: skip


def _in_portions(below: Row, row: Row) -> bool:
    """Whether a layer's products take a portion of W at a time, of numbers as they are."""
    return row["parts"] == 0 and (row["input_portion"] < below["units"] or row["unit_portion"] < row["units"])


def _take_h(row: Row, in_q: int, in_three_parts: bool, claim: Callable[[int], int], width: int) -> None:
    """Room for a layer's h: in P, in Q for so many units, and in Q in three parts, where these are wanted."""
    units = row["units"]
    row["h"] = row["a"] = row["g"] = row["z"] = claim(units)
    row["pairs"] = round_up(-(-units // 2), width // 2)
    if in_q:  # beside three parts for batches too small for them, and for rows of the input on their way into parts
        row["q"] = row["q_pairs"] = claim(in_q)
    if in_three_parts:
        row["q_pairs"] = claim(3 * round_up(units, width) // 2)


def takes_blocks(network: Network) -> bool:
    """Whether the gradient is taken in blocks, as the cache holds them: of a smaller network all of it may wait there."""
    return network.n_parameters >= AT_ONCE_FROM


def layer_parts(network: Network, dtype: np.dtype, batch_size: int, paired: bool, sparse: bool) -> list[int]:
    """Of every layer, and of the input, in how many parts of bfloat16 the operands of its products are kept.

    It follows from layers and batch: a step that is taken again has the same bits.
    """
    large = [dtype == np.float32 and batch_size >= SPLIT_ROWS and min(pair) >= SPLIT_FROM for pair in pairwise(network.layers)]
    by_matrix_unit = not paired and any(large) and has_matrix_unit()
    parts = [3 * int(by_matrix_unit and is_large) or int(paired) for is_large in large]
    return [0, 0, *parts[1:]] if sparse else [0, *parts]


def reads_in_place(network: Network, dtype: np.dtype, rows: int, batch_size: int) -> bool:
    """Whether predictions of so many rows, in batches, read X where it lies, of a W that lies unit by unit.

    It does not follow from the threads, for which batches may be of other sizes: sums have the same bits for any number.
    """
    layers = network.layers
    if rows == 1:
        return max(a * b for a, b in pairwise(layers)) >= DOTS_FROM
    wide = layers[0] >= max(IN_PLACE_FROM, IN_PLACE_PER_UNIT * layers[1]) and rows > panel_columns(dtype)
    return wide and layer_parts(network, dtype, min(rows, batch_size), paired=False, sparse=False)[1] == 0


def shares_units(units: int, below: int, inputs: int, batch_size: int, width: int, threads: int) -> bool:
    """Whether threads share out the units of a product, of the layer or of that `below`, or the panels of the batch.

    A thread reads all of W for its panels, or all panels for its part of W: what is less, unless it leaves the busiest thread
    with more to do than the meetings take.
    """
    of_panels, of_units = (-(-n // threads) / n for n in (-(-batch_size // width), -(-min(units, below) // width)))
    worth = MEETING_FLOPS / (2 * batch_size * units * inputs)
    return of_panels > of_units + worth or (units * inputs > batch_size * (units + inputs) and of_units < 1.25 * of_panels)


def _share_out(
    row: Row, below: Row, l: int, network: Network, batch_size: int, dtype: np.dtype, threads: int, backward: bool, sparse: bool
) -> int:
    """How layer `l` is taken: its gradient in blocks, W in parts; returns what a thread's share of `packed` must hold of it."""
    width, units, inputs, parts = panel_columns(dtype), row["units"], below["units"], row["parts"]
    single, few = parts != 1 and units == 1, parts != 1 and units <= MOST_SUMS
    # the rows of X are in Q anyway
    below["q_rows"] = 0 if single else (ROWS_OF_SUMS * units if few and l > 1 else ANY_ROWS)
    if backward and not (sparse or parts or single):
        row["few_columns"] = few_columns(inputs, dtype)
    row["by_units"] = threads > 1 and shares_units(units, inputs if l > 1 else units, inputs, batch_size, width, threads)
    by_matrix_unit = parts > 0 and has_matrix_unit()
    stride = row["stride"]
    row["piece"] = units if few else piece_rows(units, stride, by_matrix_unit)
    row["pieces"] = 0 if row["by_inputs"] else -(-units // row["piece"])
    of_thread = max(1, -(-row["pieces"] // threads))
    row["block"] = (
        block_pieces(of_thread, row["piece"], stride * dtype.itemsize, by_matrix_unit) if takes_blocks(network) else of_thread
    )
    packs = l > 1 and (parts > 0 or units * inputs >= PACK_FROM * width)
    whole = (below["pairs"], row["pairs"]) if parts else (inputs, units)
    # of a sparse input, lines are taken, or rows of Wᵀ
    taken = whole[0] if sparse else portion(whole[0], units, parts)
    portions = taken, portion(whole[1], inputs, parts) if packs else whole[1]
    row["input_portion"], row["unit_portion"] = portions
    most = [RESIDENT_ROWS if taken == n else PORTION_ROWS for taken, n in zip(portions, whole, strict=True)]
    depths, room = [max(1, parts) * n for n in portions], MATRIX_UNIT_RESIDENT if by_matrix_unit else RESIDENT
    row["resident_rows"], row["resident_columns"] = (resident(depths[i], width, room, most[i]) for i in range(2))
    if parts or portions[0] < whole[0]:
        row["portion_row"] = row_stride(depths[0], width)
    if packs:
        row["packed_row"] = row_stride(round_up(max(2 * portions[1], depths[1]) if parts else portions[1], width), width)
    # with the biases of these rows, each half a panel row long
    forward = row["resident_rows"] * (row["portion_row"] + width // 2) + width if row["portion_row"] else 0
    if not backward:
        return forward
    rows, panels = row["block"] * row["piece"], -(-batch_size // width)
    if joins_rows(inputs, batch_size, panels) and not (sparse or parts or single):
        row["delta_row"] = row_stride(min(panels * width, JOINED_ROWS), width)
    # and its δ, in pairs or in rows of the batch
    block = round_up(rows * stride, width) + rows * (parts * panels * (width // 2) + row["delta_row"])
    return max(forward, row["resident_columns"] * row["packed_row"], block)


def _share_in_place(row: Row, below: Row, l: int, batch_size: int, width: int) -> int:
    """How layer `l` is taken where X is read in place; a thread's share of `packed`: of a portion of W, or a row of h."""
    if l == 1:
        return IN_PLACE_INPUTS * min(row["padded"], IN_PLACE_PANELS * width)
    row["dots"] = batch_size == 1 and row["units"] * row["stride"] >= DOTS_FROM
    return row["dots"] * below["units"]


def _take_activation(
    row: Row, activation: Activation, linked: bool, keep_g: bool, claim: Callable[[int], int], dtype: np.dtype
) -> None:
    """The kernels of a layer's φ and φ′, and room for what these read; `linked`, of an output whose loss has φ′ in its δ."""
    units, plain = row["units"], activation.name == "identity"
    if not plain and (keep_g or activation.reads == "g"):
        row["g"] = claim(units)
    row["z"] = row["g"] if activation.reads == "g" else row["a"]
    if activation.reads == "g" and activation.built_in and not (plain or linked):
        row["z"] = claim(units) if keep_g else row["g"]
        row["both"], row["dphi"] = activation.kernel("both", dtype), multiply_kernel(dtype)
    elif not (plain or linked):
        row["dphi"] = activation.kernel("dphi", dtype)
    row["phi"] = 0 if plain else activation.kernel("phi", dtype)


def new_scratch(layout: Layout, dtype: np.dtype) -> np.ndarray:
    """Scratch memory, all zero (the padding must be) but for the panel row of ones."""
    scratch, width = aligned_zeros(layout.scratch_size, dtype), panel_columns(dtype)
    scratch[layout.zero + width : layout.zero + 2 * width] = 1
    return scratch
