"""Backward pass: δ of the layer below, layer by layer, then ∂L/∂W = h δᵀ and ∂L/∂b = δ; mirrors forward.py.

It knows layers and one batch at a time, nothing of losses: δ of the output has been written by the loss's kernel. Error terms
belong to panels of the batch, gradients to blocks of units: between the two all threads meet.
"""

from __future__ import annotations

from glassprop.core.forward import drop
from glassprop.core.jit import ONE, ZERO, at, call_kernel, inner, like, panel_width, shift, within
from glassprop.core.layout import JOINED_ROWS, joins_rows
from glassprop.core.matrix_unit import enter_matrix_unit, leave_matrix_unit
from glassprop.core.panels import note_largest, pack_columns, packed_of, paired_square, parts_in, product_of
from glassprop.core.parts import lines_called_for
from glassprop.core.portions import numbers_called_for
from glassprop.core.processor import prefetch
from glassprop.core.row_sums import sum_rows
from glassprop.core.sparse import lines_of_block
from glassprop.core.threads import meet, meet_at_the_end, take_units
from glassprop.core.tile import MAIN_ROWS, columns_taken
from glassprop.core.vectors import copy_row, fill_rest

FAR = 1 << 20  # numbers of a layer, from which on its gradient is not in the cache when it is written
FAR_Q = 1 << 18  # numbers of h in Q, from which on a block's are called for while those of the one before are multiplied

_joins_rows = within(joins_rows)


@within
def _finish_panel(plan, below, batch, panel, start, rows, one):
    """δ of `rows` units from `start`, of one panel, from ∂L/∂h."""
    width = panel_width(one)
    here = (panel * below.padded + start) * width
    delta = at(plan.scratch, below.delta + here, one)
    if below.dropout > 0:
        whole = shift(delta, -start * width)
        drop(plan, below, batch, panel, whole, whole, start, start + rows)
    if below.dphi != 0:
        call_kernel(below.dphi, (at(plan.scratch, below.z + here, one), delta, rows * width))
    note_largest(plan, batch, delta, rows * width, 1)


@inner
def layer_backward(plan, below, layer, batch, one):
    """δ_below = (W δ) ⊙ φ′(g_below) for this thread's panels of the batch, with the units dropped that were dropped forward.

    Where threads share out units, for those of the layer below that it takes, and all panels. Partner: `forward.layer_forward`.
    """
    width, scratch, parts = panel_width(one), plan.scratch, parts_in(batch, layer.parts)
    zero, packed = at(scratch, plan.zero, one), packed_of(plan, batch, one)
    if parts != 0:
        call_kernel(plan.do_pair_errors, (plan, layer, batch, one))
    start, end, turn, low, high = ZERO, below.units, ZERO, batch.first, batch.last
    shared = batch.together != 0 and layer.by_units != 0
    if shared:
        meet(plan)
        low, high = ZERO, batch.together
        start, end, turn = take_units(plan, below.units, layer.resident_columns, width, batch.thread, turn)
    turns = parts == 0 and layer.packed_row > 0 and high - low > 1
    in_portions = turns and layer.parts == 0 and layer.unit_portion < layer.units
    # of operands in parts there is room for a portion, and batches too small for parts would need it for whole columns
    pack = turns and layer.packed_row >= layer.units
    while start < end:
        rows = min(layer.resident_columns, end - start)
        W, row, column = at(plan.theta, layer.W + start, one), ONE, layer.stride
        if parts != 0:
            call_kernel(plan.do_columns, (plan, below, layer, batch, start, rows, low, high, one))
        elif in_portions:
            call_kernel(plan.add_columns, (plan, below, layer, batch, start, rows, low, high, one))
        elif pack:
            pack_columns(W, layer.stride, rows, layer.units, packed, layer.packed_row)
            W, row, column = packed, layer.packed_row, ONE
        for panel in range(low, high):
            delta = at(scratch, below.delta + (panel * below.padded + start) * width, one)
            above = at(scratch, layer.delta + panel * layer.padded * width, one)
            if parts == 0 and not in_portions:
                columns = columns_taken(min(width, batch.rows - panel * width), rows, one)
                left = delta, width, rows, columns, W, ZERO, row, column
                call_kernel(plan.product, (*left, above, ZERO, zero, ZERO, layer.units, layer.units, zero, ZERO))
                for u in range(rows if columns < width else ZERO):
                    fill_rest(like(0, one), shift(delta, u * width), columns)
            _finish_panel(plan, below, batch, panel, start, rows, one)
        start += rows
        if shared:
            start, end, turn = take_units(plan, below.units, layer.resident_columns, width, batch.thread, turn)
    if shared:
        meet_at_the_end(plan, batch.thread)


def backward(plan, layers, batch, one):
    """δ_l from δ_L down, for this thread's panels of the batch. Partner: `forward.forward`."""
    enter_matrix_unit(batch.parts)
    for l in range(layers.size - 1, 1, -1):
        layer_backward(plan, layers[l - 1], layers[l], batch, one)
    leave_matrix_unit(batch.parts)


@within
def rule_reads(plan, first, n, done, one):
    """Where a rule that has read `done` numbers goes on, of `n` in each of its vectors, θ and state, from `first` on."""
    vector = done // n
    place = first + done - vector * n
    return at(plan.theta, place, one) if vector == 0 else at(plan.state, (vector - 1) * plan.theta_size + place, one)


@within
def _join_rows(delta, panel, rows, joined, row, units):
    """δ of `units` units for so many rows of the batch, from panels into rows that go through all of these, `row` apart."""
    width = panel_width(delta)
    for p in range((rows + width - 1) // width):
        source, target = shift(delta, p * panel), shift(joined, p * width)
        for u in range(units):
            copy_row(shift(source, u * width), shift(target, u * row))


@inner
def _products_of_block(plan, below, layer, batch, start, units, dW, done, one):
    """The products of a block of dW for rows of the batch from row `done` on; returns for how many.

    For the first rows they are set, for others added to.
    """
    width, scratch, panels, parts = panel_width(one), plan.scratch, batch.panels, parts_in(batch, layer.parts)
    product, row, panel, depth, segment = plan.product, width, layer.padded * width, batch.rows, width
    listed = plan.listed_product if layer.number == 1 else ZERO
    delta, q, square = at(scratch, layer.delta + start * width, one), below.q, width * width
    left, left_segment, rows = delta, panel, batch.rows  # of dW = left · right
    if parts != 0:
        product, segment, q, square = product_of(plan, parts), width // 2, below.q_pairs, paired_square(parts, one)
        row, depth = parts * segment, panels * segment
        left, left_segment = shift(packed_of(plan, batch, one), plan.packed_size - panels * units * row), units * row
        call_kernel(plan.do_pair_block, (plan, layer, batch, start, units, left, one))
    elif layer.delta_row != 0 and _joins_rows(below.units, batch.rows, panels):
        row, rows = layer.delta_row, min(JOINED_ROWS, batch.rows - done)
        depth, segment, left = rows, rows, shift(packed_of(plan, batch, one), plan.packed_size - units * row)
        _join_rows(shift(delta, done // width * panel), panel, rows, left, row, units)
    zero = at(scratch, plan.zero, one)
    far = layer.size > FAR and plan.at_once == 0
    blocks, n = (below.units + width - 1) // width, units * layer.stride
    # with each product, something of the next block of Q
    coming, ahead_k = ZERO, lines_called_for(units, parts, one) if parts == 3 else numbers_called_for(units, one)
    if batch.at_once and parts != 3:
        product = plan.calling_product
        if below.padded * panels * width < FAR_Q and done + rows == batch.rows:
            # what the rule will read afterwards is called for evenly: it would wait for all of it at once
            coming = n * plan.rule_vectors // blocks
            ahead_k = -(-coming // (max(ONE, units // MAIN_ROWS) * depth))
    for block in range(blocks):
        target = shift(dW, block * width)
        for u in range(units if far else 0):  # call for what will be written: rows lie far apart
            prefetch(shift(target, u * layer.stride))
            prefetch(shift(target, u * layer.stride + width // 2))
        columns_here = min(width, below.units - block * width)
        if listed != 0:
            places, count, right = lines_of_block(plan, below, block, one)
            C, operands = (target, layer.stride, units, columns_here), (delta, ZERO, row, places, right, ZERO)
            call_kernel(listed, (*C, *operands, zero, ZERO, count, count, zero, ZERO))
            continue
        right = at(scratch, q + block * plan.most_panels * square + done * width, one)
        ahead = shift(right, plan.most_panels * square)
        if coming != 0:
            ahead = rule_reads(plan, layer.W + start * layer.stride, n, block * coming, one)
        few = layer.few_columns if block == blocks - 1 else ZERO
        if few < columns_here:
            C, operands = (target, layer.stride, units, columns_here - few), (left, left_segment, row, ONE, right, square)
            chosen = product if done == 0 else plan.adding_product
            call_kernel(chosen, (*C, *operands, zero, ZERO, depth, segment, ahead, ahead_k))
        if few != 0 and done == 0:
            lines = at(scratch, below.h + (below.units - few) * width, one)
            C = shift(target, columns_here - few), layer.stride, units, few
            call_kernel(plan.quads, (*C, delta, panel, lines, below.padded * width, batch.rows))
    return rows


@inner
def block_gradient(plan, below, layer, batch, start, units, dW, one):
    """One block of dW = Σ_rows δ h_belowᵀ: units start..start + units.

    These are sums over rows of the batch, not yet means. Partner: the product in `forward.layer_forward`.
    """
    if batch.rows >= below.q_rows and (layer.number > 1 or plan.listed_product == 0):
        width = panel_width(one)
        h, delta = at(plan.scratch, below.h, one), at(plan.scratch, layer.delta + start * width, one)
        sizes = below.padded * width, below.units
        sum_rows(h, *sizes, delta, layer.padded * width, units, batch.panels, dW, layer.stride)
        return
    done = ZERO
    while done < batch.rows:
        done += _products_of_block(plan, below, layer, batch, start, units, dW, done, one)


@within
def bias_gradient(plan, layer, batch, start, units, db, one):
    """db = Σ_rows δ of units start..start + units."""
    width = panel_width(one)
    delta, ones = at(plan.scratch, layer.delta + start * width, one), at(plan.scratch, plan.zero + width, one)
    sum_rows(delta, layer.padded * width, units, ones, ZERO, ONE, batch.panels, db, ZERO)
