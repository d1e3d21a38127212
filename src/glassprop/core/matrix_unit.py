"""Products by the matrix unit of some processors (Intel's AMX), in place of the register tile's.

Its registers are tiles of 16 rows of 64 bytes; one instruction multiplies 16 × 16 pairs of bfloat16 by 16 × 16 pairs and adds
the sums, in float32, to 16 × 16 numbers. Pairs lie in memory as the register tile reads them (panels.py), which is how the unit
wants them.

It multiplies float32, too. Of the 24 bits of a number bfloat16 holds 8, so that every number is the sum of three, exactly; six
of the nine products of their parts give the product of two numbers to a unit in the last place, in half the time of FMAs. Sums
are of 32 products each before they are added up, and so better than those of FMAs one after another. This holds for numbers
from 1e-33 to 3.38e38: of smaller ones the last parts are 0; larger ones are rounded to infinity, and that leaves NaN.

It knows pointers and strides, nothing of layers.
"""

from __future__ import annotations

import ctypes
import functools
import sys
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from glassprop.core.bfloat16 import has_bfloat16
from glassprop.core.jit import PANEL_BYTES, ZERO, host_features, panel_width, shift, within
from glassprop.core.processor import prefetch_far
from glassprop.core.vectors import INDEX

TILE = 16  # rows of a tile, and numbers or pairs in each
_LINE = 64  # bytes of a tile's row, and of the description of all tiles
# Which tiles are what: sums of two blocks of rows by two of columns; two blocks of rows of A; two of columns of B.
_UPPER = (0, 1, 4)  # the tiles of the upper block of rows, which may be short
_ASK_FOR_UNIT, _TILE_DATA = 0x1023, 18  # arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) of Linux
_ARCH_PRCTL = 158


@functools.cache
def has_matrix_unit() -> bool:
    """Whether this machine's code may hold the unit's instructions, and this process may run them: Linux wants to be asked."""
    if not (has_bfloat16() and {"amx-tile", "amx-bf16"} <= host_features() and sys.platform == "linux"):
        return False
    return ctypes.CDLL(None).syscall(_ARCH_PRCTL, _ASK_FOR_UNIT, _TILE_DATA) == 0


def _emit(builder, name, *arguments):
    kind = ir.FunctionType(ir.VoidType(), [value.type for value in arguments])
    builder.call(cgutils.get_or_insert_function(builder.module, kind, f"llvm.x86.{name}"), arguments)


def _tile(kind):
    return ir.IntType(8)(kind.literal_value)


def _moving(name):
    """An intrinsic that moves tile number `tile` from or to memory, where its rows lie `row` elements apart."""

    @intrinsic(prefer_literal=True)
    def move(typingctx, tile, pointer, row):
        def codegen(context, builder, sig, args):
            place = builder.bitcast(args[1], ir.IntType(8).as_pointer())
            stride = builder.mul(args[2], INDEX(sig.args[1].dtype.bitwidth // 8))
            _emit(builder, name, _tile(sig.args[0]), place, stride)
            return context.get_dummy_value()

        return types.void(tile, pointer, types.int64), codegen

    return move


_load_tile, _store_tile = _moving("tileloadd64"), _moving("tilestored64")


@intrinsic(prefer_literal=True)
def _multiply_tiles(typingctx, sums, left, right):
    """sums += left right."""

    def codegen(context, builder, sig, args):
        _emit(builder, "tdpbf16ps", *(_tile(kind) for kind in sig.args))
        return context.get_dummy_value()

    return types.void(sums, left, right), codegen


@intrinsic(prefer_literal=True)
def _zero_tile(typingctx, tile):
    def codegen(context, builder, sig, args):
        _emit(builder, "tilezero", _tile(sig.args[0]))
        return context.get_dummy_value()

    return types.void(tile), codegen


@within
def _zero_sums():
    _zero_tile(0)
    _zero_tile(1)
    _zero_tile(2)
    _zero_tile(3)


@intrinsic
def _shape_tiles(typingctx, rows):
    """Say how large the tiles are, which makes them zero: 16 lines of 64 bytes, and those of the upper block `rows` lines."""

    def codegen(context, builder, sig, args):
        if not has_matrix_unit():
            return context.get_dummy_value()
        byte, shapes = ir.IntType(8), []
        for count in range(1, TILE + 1):  # palette 1; bytes of a line of each tile, of 16 that there might be; lines
            of_tiles = [count if tile in _UPPER else TILE for tile in range(8)]
            shapes += [1, *[0] * (TILE - 1), *[_LINE, 0] * 8, *[0] * 16, *of_tiles, *[0] * 8]
        table = ir.Constant(ir.ArrayType(byte, TILE * _LINE), shapes)
        place = cgutils.global_constant(builder, "tile_shapes", table)
        place.align = _LINE
        first = builder.bitcast(place, byte.as_pointer())
        _emit(builder, "ldtilecfg", builder.gep(first, [builder.mul(builder.sub(args[0], INDEX(1)), INDEX(_LINE))]))
        return context.get_dummy_value()

    return types.void(types.int64), codegen


@intrinsic
def _release_tiles(typingctx):
    def codegen(context, builder, sig, args):
        if has_matrix_unit():
            _emit(builder, "tilerelease")
        return context.get_dummy_value()

    return types.void(), codegen


@within
def enter_matrix_unit(parts):
    """Make the unit ready for products of operands in so many parts, if any: a thread does so once for many of them."""
    if parts != 0:
        _shape_tiles(TILE)


@within
def leave_matrix_unit(parts):
    """Leave the unit as it was found: what lies in it would have to be saved whenever threads take turns."""
    if parts != 0:
        _release_tiles()


@intrinsic
def _new_square(typingctx, pointer):
    """Room for a square of a panel's width, for as long as the calling function runs."""

    def codegen(context, builder, sig, args):
        numbers = (PANEL_BYTES * 8 // sig.args[0].dtype.bitwidth) ** 2
        place = cgutils.alloca_once(builder, ir.ArrayType(context.get_value_type(sig.return_type.dtype), numbers))
        place.align = _LINE
        return builder.bitcast(place, context.get_value_type(sig.return_type))

    return pointer(pointer), codegen


@within
def _multiply_two(two):
    """Add to the sums what tiles 4 and 5 of A and 6 and 7 of B hold."""
    _multiply_tiles(0, 4, 6)
    _multiply_tiles(1, 4, 7)
    if two:
        _multiply_tiles(2, 5, 6)
        _multiply_tiles(3, 5, 7)


@within
def _load_left(a, a_row, two):
    _load_tile(4, a, a_row)
    if two:
        _load_tile(5, shift(a, TILE * a_row), a_row)


@within
def _load_right(b, width):
    _load_tile(6, b, width)
    _load_tile(7, shift(b, TILE), width)


@within
def _add_products(left, a_row, right, width, two):
    """Add the products of up to 32 rows and 16 pairs of A and 32 columns of B to the sums."""
    _load_left(left, a_row, two)
    _load_right(right, width)
    _multiply_two(two)


@within
def _add_split_products(left, a_row, right, width, two):
    """The same of numbers in three parts: six products, in an order with few loads and with the largest at the end.

    Those of second with third parts are left out, 2⁻²⁴ of the product or less.
    """
    _load_left(shift(left, 2 * TILE), a_row, two)  # third part by first
    _load_right(right, width)
    _multiply_two(two)
    _load_left(shift(left, TILE), a_row, two)  # second by first
    _multiply_two(two)
    _load_right(shift(right, TILE * width), width)  # second by second
    _multiply_two(two)
    _load_left(left, a_row, two)  # first by second
    _multiply_two(two)
    _load_right(shift(right, 2 * TILE * width), width)  # first by third
    _multiply_two(two)
    _load_right(right, width)  # first by first
    _multiply_two(two)


def _moving_sums(move):
    """A function that moves the sums from or to `place`, where rows lie `row` elements apart, blocks of columns `column`."""

    @within
    def move_sums(place, column, row, two):
        move(0, place, row)
        move(1, shift(place, column), row)
        if two:
            move(2, shift(place, TILE * row), row)
            move(3, shift(place, TILE * row + column), row)

    return move_sums


_load_sums, _store_sums = _moving_sums(_load_tile), _moving_sums(_store_tile)


def _make_product(split: bool) -> Any:
    parts = 3 if split else 1

    def product_panel(
        c, c_row, rows, columns, a, a_segment, a_row, a_k, b, b_segment, bias, bias_row, depth, segment, ahead, ahead_k
    ):
        """As `tile.product_kernel` says, for pairs of bfloat16, between `enter_matrix_unit` and `leave_matrix_unit`.

        Pairs of a segment of a row of A lie side by side, 16 or a multiple; where numbers are in parts, every 16 pairs of one
        part lie before those of the next. The bias of a row is there 16 times (`bias_row` is 16), or there is none (0), or sums
        start with what is in C (-1). From `ahead` on, `ahead_k` lines are called for with every 16 pairs, of numbers in parts.
        """
        width, square, r = panel_width(c), _new_square(c), ZERO
        while r < rows:
            two, count = rows - r >= 2 * TILE, min(rows - r, TILE)
            if count < TILE:
                _shape_tiles(count)
            count += TILE if two else 0
            target = shift(c, r * c_row)
            if bias_row < 0:
                _load_sums(target, TILE, c_row, two)
            elif bias_row == 0:
                _zero_sums()
            else:
                _load_sums(shift(bias, r * bias_row), 0, bias_row, two)
            left, right, done = shift(a, r * a_row), b, ZERO
            while done < depth:  # a range of this step would divide by it
                for k in range(0, min(segment, depth - done) * parts, TILE * parts):
                    if split:
                        for _ in range(ahead_k):
                            prefetch_far(ahead)
                            ahead = shift(ahead, TILE)
                        _add_split_products(shift(left, k), a_row, shift(right, k * width), width, two)
                    else:
                        _add_products(shift(left, k), a_row, shift(right, k * width), width, two)
                left, right, done = shift(left, a_segment), shift(right, b_segment), done + segment
            if columns == width:
                _store_sums(target, TILE, c_row, two)
            else:
                _store_sums(square, TILE, width, two)
                for i in range(count):
                    for j in range(columns):
                        target[i * c_row + j] = square[i * width + j]
            if count < TILE:
                _shape_tiles(TILE)
            r += count

    return product_panel


pairs_product, split_product = _make_product(False), _make_product(True)
