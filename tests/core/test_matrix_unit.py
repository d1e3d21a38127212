"""The processor's matrix unit: products of bfloat16, and of float32 in three parts, held against exact sums and reference.py.

Products of pairs by vectors are here, too: both kernels are called in the same way.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numba
import numpy as np
import pytest

import cases
import glassprop as gp
from glassprop.core import bfloat16, layout, matrix_unit, tile
from glassprop.core.jit import at, call_kernel, inner
from glassprop.core.workspace import Workspace

needs_unit = pytest.mark.skipif(not matrix_unit.has_matrix_unit(), reason="this processor has no matrix unit (amx_bf16)")
KINDS = [
    pytest.param("vectors", marks=cases.needs_bfloat16),
    pytest.param("unit", marks=needs_unit),
    pytest.param("parts", marks=needs_unit),
]


@pytest.fixture
def all_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The unit multiplies all layers, however small, of batches of layout.SPLIT_ROWS rows and more."""
    monkeypatch.setattr(layout, "SPLIT_FROM", 2)


# --- one product -------------------------------------------------------------------------------------------------------


def in_parts(x: np.ndarray, parts: int) -> np.ndarray:
    """(..., pairs, 2) numbers as (..., parts, pairs) pairs of bfloat16 in words, rounded to nearest."""
    result = []
    for _ in range(parts):
        bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
        bits = (bits + 0x7FFF + (bits >> 16 & 1)) & np.uint32(0xFFFF0000)
        result.append((bits >> 16).astype(np.uint16).view(np.uint32)[..., 0])
        x = x - bits.view(np.float32)
    return np.stack(result, axis=-2).view(np.float32)


@numba.njit
def _call(address, c, a, b, bias, c_row, rows, columns, a_segment, a_row, b_segment, depth, segment, bias_row, unit):
    left = at(c, 0, unit), c_row, rows, columns, at(a, 0, unit), a_segment, a_row, 1
    start = at(bias, 0, unit)
    matrix_unit.enter_matrix_unit(bias_row * 0 + 1)
    call_kernel(address, (*left, at(b, 0, unit), b_segment, start, bias_row, depth, segment, start, 0))
    matrix_unit.leave_matrix_unit(bias_row * 0 + 1)


def multiply(
    kind: str, a: np.ndarray, b: np.ndarray, bias: np.ndarray | None, columns: int, C: np.ndarray, monkeypatch: Any
) -> None:
    """The first columns of C = bias + Σ_o a_o b_o, of a (outer, rows, pairs, 2) and b (outer, pairs, 32, 2); nothing else.

    Without a bias, C += that; a bias of one number is 0.
    """
    outer, rows, pairs, _ = a.shape
    parts = 3 if kind == "parts" else 1
    A, B = in_parts(a, parts), in_parts(b.transpose(0, 2, 1, 3), parts)  # (outer, rows or 32, parts, pairs)
    A, B = (np.moveaxis(x.reshape(*x.shape[:3], pairs // 16, 16), 3, 2) for x in (A, B))  # 16 pairs of each part, and so on
    B = np.ascontiguousarray(np.moveaxis(B, 1, -1))
    beyond = np.full(A.size + 16 * parts * pairs, np.nan, np.float32)  # what lies behind A is not finite
    beyond[: A.size] = A.ravel()
    if kind == "vectors":
        monkeypatch.setattr(tile, "has_matrix_unit", lambda: False)
    address = tile.split_product_kernel() if kind == "parts" else tile.product_kernel(np.dtype("float32"), paired=True)
    biases = np.repeat(np.zeros(1, np.float32) if bias is None else bias, 16)
    bias_row = -1 if bias is None else 16 * int(bias.size > 1)
    places = (array.ctypes.data for array in (C, beyond, B, biases))
    strides = rows * parts * pairs, parts * pairs, parts * pairs * 32
    _call(address, *places, C.shape[1], rows, columns, *strides, outer * pairs, pairs, bias_row, np.float32(1))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rows", [1, 15, 16, 17, 31, 32, 33, 48, 63, 100])
@pytest.mark.parametrize(("outer", "pairs", "columns"), [(1, 16, 32), (3, 16, 32), (1, 64, 7), (2, 32, 16), (1, 16, 25)])
def test_a_product_writes_what_it_should_and_nothing_else(
    kind: str, rows: int, outer: int, pairs: int, columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Small whole numbers: every sum is exact, also in one part."""
    rng = np.random.default_rng(rows)
    a, b = (rng.integers(-8, 9, shape).astype(np.float32) for shape in ((outer, rows, pairs, 2), (outer, pairs, 32, 2)))
    for bias in (np.zeros(1, np.float32), rng.integers(-8, 9, rows).astype(np.float32))[: 1 + (rows > 1)]:
        C = np.full((rows + 1, 40), 1000, np.float32)
        multiply(kind, a, b, bias, columns, C, monkeypatch)
        right = np.einsum("orkp,okcp->rc", a, b) + (bias[:, None] if rows == bias.size else bias)
        np.testing.assert_array_equal(C[:rows, :columns], right[:, :columns])
        assert (C[rows:] == 1000).all()
        assert (C[:, columns:] == 1000).all()


@needs_unit
@pytest.mark.parametrize("kind", ["unit", "parts"])
@pytest.mark.parametrize("rows", [1, 16, 31, 64])
def test_a_product_is_added_to_what_is_there(kind: str, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(rows)
    a, b = (rng.integers(-8, 9, shape).astype(np.float32) for shape in ((2, rows, 16, 2), (2, 16, 32, 2)))
    C = rng.integers(-8, 9, (rows + 1, 40)).astype(np.float32)
    right = C.copy()
    right[:rows, :32] += np.einsum("orkp,okcp->rc", a, b)
    multiply(kind, a, b, None, 32, C, monkeypatch)
    np.testing.assert_array_equal(C, right)


@needs_unit
def test_a_product_of_numbers_in_parts_is_one_of_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """A single product is right to a unit in the last place, 2⁻²³ of it. In one part it is off by 2⁻⁸."""
    rng = np.random.default_rng(0)
    a, b = np.zeros((1, 64, 16, 2), np.float32), np.zeros((1, 16, 32, 2), np.float32)
    a[0, :, 5, 1], b[0, 5, :, 1] = rng.normal(size=64) * 10.0 ** rng.integers(-9, 9, 64), rng.normal(size=32) * 1e3
    right = np.einsum("orkp,okcp->rc", a.astype(np.float64), b.astype(np.float64))
    off = {}
    for kind in ("parts", "unit"):
        C = np.zeros((64, 32), np.float32)
        multiply(kind, a, b, np.zeros(1, np.float32), 32, C, monkeypatch)
        off[kind] = np.abs(C / right - 1).max()
    assert off["parts"] < 2.0**-23
    assert off["unit"] > 2.0**-9


@needs_unit
def test_sums_in_parts_are_better_than_those_of_fused_products(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(1, 32, 512, 2)).astype(np.float32), rng.normal(size=(1, 512, 32, 2)).astype(np.float32)
    right = np.einsum("orkp,okcp->rc", a.astype(np.float64), b.astype(np.float64))
    C, chain = np.zeros((32, 32), np.float32), np.zeros((32, 32), np.float32)
    multiply("parts", a, b, np.zeros(1, np.float32), 32, C, monkeypatch)
    for k in range(512):
        for p in range(2):  # what an FMA does: one rounding, after the sum
            exact = a[0, :, k, p].astype(np.float64)[:, None] * b[0, k, :, p].astype(np.float64)
            chain = (chain + exact).astype(np.float32)
    assert np.linalg.norm(C - right) < 0.8 * np.linalg.norm(chain - right)


@inner
def _pair(source, count, target, parts, unit):
    bfloat16.pair_rows(at(source, 0, unit), count, count // count, count, at(target, 0, unit), count, parts)


@inner
def _pair_panel(source, lines, target, parts, unit):
    bfloat16.pair_lines(at(source, 0, unit), lines, at(target, 0, unit), parts)


@numba.njit
def _paired(source, count, target, parts, lines, unit):
    if lines:
        _pair_panel(source, count // 32, target, parts, unit)
    else:
        _pair(source, count, target, parts, unit)


@cases.needs_bfloat16
@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize("lines", [False, True])
@pytest.mark.parametrize("blocks", [1.0, 0.03, 0.5, 0.53, 0.97, 1.03, 3.0, 3.47])
def test_parts_add_up_to_the_number(blocks: float, lines: bool, parts: int) -> None:
    """Three to the bit, ±0 and the largest numbers among them; a single one is the nearest number of bfloat16.

    Numbers of a row make pairs with those 16 further, panel rows with those 16 further; each part lies behind the one before.
    """
    half = 16 * 32 if lines else 16
    count = round(2 * half * blocks)
    count = max(32, count // 32 * 32) if lines else count
    rng = np.random.default_rng(count)
    x = (rng.normal(size=count) * 10.0 ** rng.integers(-20, 30, count)).astype(np.float32)
    x[0], x[count // 2], x[-1] = np.float32(-3.3e38), np.float32(-0.0), 0.0
    source = np.append(x, np.full(64, np.nan, np.float32))  # not read
    whole = -(-count // (2 * half))
    size = whole * parts * half
    target = np.full(size + 8, 7, np.float32)
    _paired(source.ctypes.data, count, target.ctypes.data, parts, lines, np.float32(1))
    assert (target[size:] == 7).all()
    words = target[:size].view(np.uint32).reshape(whole, parts, half)
    numbers = np.stack([(words << 16).view(np.float32), (words & 0xFFFF0000).view(np.float32)], axis=2)
    numbers = np.moveaxis(numbers, 1, 0).reshape(parts, -1)
    assert not numbers[:, count:].any()
    if parts == 3:
        np.testing.assert_array_equal(numbers.sum(0)[:count], x)
        assert (np.abs(numbers[1, :count]) <= np.abs(x) * 2.0**-8).all()  # the first is a nearest one, too
    else:
        padded = np.zeros(whole * 2 * half, np.float32)
        padded[:count] = x
        pairs = np.moveaxis(padded.reshape(whole, 2, half), 1, 2)
        np.testing.assert_array_equal(words, in_parts(pairs, 1).view(np.uint32))


@cases.needs_bfloat16
@pytest.mark.parametrize("parts", [1, 3])
def test_a_row_makes_room_for_its_pairs_as_it_goes(parts: int) -> None:
    """Written over the numbers themselves, or as far before them as three parts are longer."""
    x = np.random.default_rng(parts).normal(size=96).astype(np.float32)
    apart, room = np.zeros(144, np.float32), np.zeros(144, np.float32)
    room[48 * (parts // 2) :][:96] = x
    _paired(x.ctypes.data, 96, apart.ctypes.data, parts, False, np.float32(1))
    _paired(room.ctypes.data + 4 * 48 * (parts // 2), 96, room.ctypes.data, parts, False, np.float32(1))
    np.testing.assert_array_equal(room.view(np.uint32)[: 48 * parts], apart.view(np.uint32)[: 48 * parts])


# --- steps -------------------------------------------------------------------------------------------------------------


@needs_unit
@pytest.mark.parametrize(
    ("layers", "rows"),
    [((3, 5, 2), 64), ((33, 70, 41, 3), 65), ((64, 300, 257, 10), 130), ((40, 3), 200), ((7, 33, 64, 1), 97)],
)
def test_passes_in_parts_agree_with_the_reference(layers: tuple[int, ...], rows: int, all_in_parts: None) -> None:
    case = cases.case(layers, rows=rows, activation="tanh")
    found = cases.pass_differences(case.of("float32").passes(), case.reference_passes())
    assert max(found.values()) < 1e-6, found


@needs_unit
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("most", [16, 32, 48])
def test_portions_of_the_depth_add_up(most: int, threads: int, all_in_parts: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of inputs in the forward product, of units in the backward one; the last portion is a short one."""
    monkeypatch.setattr(layout, "PAIR_PORTIONS_FROM", most)
    monkeypatch.setattr(layout, "PORTION", most)
    monkeypatch.setattr("glassprop.core.workspace.FLOPS_FOR_THREADS", 1e-9)
    case = cases.case((130, 300, 257, 3), rows=130, activation="gelu", dropout=[0.3, 0.1])
    table = layout.lay_out(case.network, np.dtype("float32"), 130).layers
    assert (table["input_portion"][1:] < table["pairs"][:-1]).all()
    assert table["unit_portion"][2] < table["pairs"][2]
    found = cases.pass_differences(case.of("float32").passes(), case.reference_passes())
    assert max(found.values()) < 1e-6, found
    asked = {"epochs": 2, "batch_size": 65, "seed": 0, "precision": "float32", "threads": threads}
    portions = gp.train(case.network, case.X, case.Y, **asked)
    monkeypatch.setattr(layout, "PAIR_PORTIONS_FROM", 1 << 20)
    whole = gp.train(case.network, case.X, case.Y, **asked)
    assert cases.difference(portions.parameters.theta, whole.parameters.theta) < 1e-5


@needs_unit
@pytest.mark.parametrize("threads", [2, 3])
@pytest.mark.parametrize("at_once_from", [1, 1 << 40])
def test_runs_in_parts_have_the_same_bits_for_any_number_of_threads(
    threads: int, at_once_from: int, all_in_parts: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And whether the rule acts block by block or afterwards; with a last batch that is too small for parts."""
    monkeypatch.setattr("glassprop.core.workspace.FLOPS_FOR_THREADS", 1e-9)
    case = cases.case((40, 130, 70, 3), rows=220, activation="gelu", dropout=[0.2, 0.0]).of("float32")
    runs = []
    for count, least in ((1, 1 << 40), (threads, at_once_from)):
        monkeypatch.setattr("glassprop.core.layout.AT_ONCE_FROM", least)
        runs.append(gp.train(case.network, case.X, case.Y, validation=0.3, epochs=4, batch_size=64, seed=0, threads=count))
    np.testing.assert_array_equal(runs[0].parameters.theta, runs[1].parameters.theta)
    np.testing.assert_array_equal(runs[0].history.validation_loss, runs[1].history.validation_loss)


@needs_unit
def test_a_run_in_parts_is_that_of_whole_numbers_to_rounding(all_in_parts: None, monkeypatch: pytest.MonkeyPatch) -> None:
    case = cases.case((30, 100, 40, 4), rows=300, activation="tanh", loss="cross_entropy").of("float32")
    asked = {"epochs": 10, "batch_size": 70, "seed": 3, "optimizer": gp.SGD(0.05, momentum=0.9)}
    parts = gp.train(case.network, case.X, case.Y, **asked)
    monkeypatch.setattr(layout, "has_matrix_unit", lambda: False)
    whole = gp.train(case.network, case.X, case.Y, **asked)
    assert (parts.parameters.theta != whole.parameters.theta).any()
    assert cases.difference(parts.parameters.theta, whole.parameters.theta) < 1e-5
    assert cases.difference(parts.history.loss, whole.history.loss) < 1e-5


@needs_unit
def test_large_layers_are_multiplied_by_the_unit_and_others_are_not() -> None:
    large = layout.SPLIT_FROM
    network = gp.Network((large, large, large - 1, large, 2 * large, 1))
    parameters = gp.Parameters.from_arrays(
        [np.zeros(shape) for shape in zip(network.layers, network.layers[1:], strict=False)],
        [np.zeros(n) for n in network.layers[1:]], np.float32,
    )  # fmt: skip

    def parts(rows: int, dtype: str = "float32", **asked: bool) -> list[int]:
        X = np.zeros((rows, large), dtype)
        return Workspace(network, parameters.astype(dtype).theta, X, batch_size=rows, **asked).layers["parts"].tolist()

    assert parts(layout.SPLIT_ROWS) == [0, 3, 0, 0, 3, 0]
    assert parts(layout.SPLIT_ROWS, paired=True) == [0, 1, 1, 1, 1, 1]
    assert not any(parts(layout.SPLIT_ROWS - 1))
    assert not any(parts(layout.SPLIT_ROWS, "float64"))


@needs_unit
def test_what_is_not_finite_is_found_in_parts(all_in_parts: None) -> None:
    case = cases.case((4, 80, 3), rows=100, activation="relu")
    with pytest.warns(gp.DivergenceWarning, match="ceased to be finite"):
        run = gp.train(case.network, case.X, case.Y, optimizer=gp.SGD(1e30), epochs=20, seed=0, precision="float32")
    assert run.diverged
    broken = replace(case.of("float32"), parameters=case.parameters.astype("float32"))
    broken.parameters.W[1][2, 1] = np.nan
    assert np.isnan(gp.forward(broken.network, broken.parameters, broken.X).output[:, 1]).all()


# --- machines ----------------------------------------------------------------------------------------------------------


def test_a_machine_that_hides_its_matrix_unit_multiplies_vectors(monkeypatch: pytest.MonkeyPatch) -> None:
    matrix_unit.has_matrix_unit.cache_clear()
    monkeypatch.setattr(matrix_unit, "host_features", lambda: bfloat16.host_features() - {"amx-tile"})
    try:
        assert not matrix_unit.has_matrix_unit()
    finally:
        matrix_unit.has_matrix_unit.cache_clear()


@needs_unit
def test_a_system_that_refuses_the_matrix_unit_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Linux has room for the unit's registers only for processes that ask, and not for all of them."""
    matrix_unit.has_matrix_unit.cache_clear()
    monkeypatch.setattr(matrix_unit, "_TILE_DATA", 99)
    try:
        assert not matrix_unit.has_matrix_unit()
    finally:
        matrix_unit.has_matrix_unit.cache_clear()


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    ("layers", "rows", "batch"),
    [
        ((64, 200, 1000, 10), 104, 64),
        ((40, 128, 993, 10), 168, 128),
        ((64, 256, 2048, 2), 97, 64),
        ((20, 200, 1000, 1), 240, 200),
    ],
)
def test_a_last_batch_too_small_for_the_unit(layers, rows, batch, threads):
    """Where the unit takes a portion of W at a time, there is no room for whole columns of W for the register tile."""
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(rows, layers[0])).astype("f"), rng.normal(size=(rows, layers[-1])).astype("f")
    given = {"epochs": 2, "batch_size": batch, "seed": 0, "optimizer": gp.SGD(0.01), "threads": threads}
    found, exact = (gp.train(gp.Network(layers, "tanh"), X, Y, precision=p, **given) for p in ("float32", "float64"))
    begin = gp.Network(layers, "tanh").initialize(seed=0)
    for W, wanted, before in zip(found.parameters.W, exact.parameters.W, begin.W, strict=True):
        moved = np.abs(wanted - before).max()
        np.testing.assert_allclose(W, wanted, atol=1e-3 * moved, rtol=1e-6)
