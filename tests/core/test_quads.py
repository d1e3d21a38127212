"""A gradient's last few columns, four in a vector, held against NumPy."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import pytest

import cases
import glassprop as gp
from glassprop.core import quads
from glassprop.core.jit import PANEL_BYTES, at, call_kernel


@numba.njit
def call(kernel: int, c: Any, c_row: int, rows: int, columns: int, a: Any, b: Any, depth: int, one: Any) -> None:
    panels = (at(a.ctypes.data, 0, one), a.shape[1] * a.shape[2], at(b.ctypes.data, 0, one), b.shape[1] * b.shape[2])
    call_kernel(kernel, (at(c.ctypes.data, 0, one), c_row, rows, columns, *panels, depth))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rows", [1, 3, 4, 7, 8, 9, 13, 24])
def test_products(dtype: str, rows: int) -> None:
    """Every number of columns, and of rows of the batch about whole panels; nothing is written beside them."""
    kind = np.dtype(dtype)
    width, one = PANEL_BYTES // kind.itemsize, kind.type(1)
    rng = np.random.default_rng(rows)
    for depth in (1, 2, 5, width - 1, width, width + 3, 3 * width):
        panels = -(-depth // width)
        a, b = (rng.standard_normal((panels, lines, width)).astype(kind) for lines in (rows, width))
        a.reshape(panels, rows, width)[-1, :, depth - (panels - 1) * width :] = 0  # as error terms beyond the batch are
        for columns in range(1, 2 * quads.COLUMNS + 1):
            c = np.full((rows, width), 7, kind)
            call(quads.quad_kernel(kind), c, width, rows, columns, a, b, depth, one)
            wanted = np.einsum("pur,pjr->uj", a.astype(float), b[:, :columns].astype(float))
            np.testing.assert_allclose(c[:, :columns], wanted, atol=1e-4 if kind == np.float32 else 1e-12)
            assert (c[:, columns:] == 7).all()


@pytest.mark.parametrize(
    ("dtype", "half", "taken"),
    [
        ("float32", 1.0, {*range(1, 9), *range(17, 25)}),
        ("float32", 0.5, {*range(1, 5), *range(17, 21)}),
        ("float64", 1.0, {*range(1, 5), *range(9, 13), *range(17, 21), *range(25, 29)}),
        ("float64", 0.5, set()),
    ],
)
def test_which_columns(dtype: str, half: float, taken: set[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Those beyond whole vectors, where fewer multiplications are left than half a vector takes."""
    monkeypatch.setattr(quads, "VECTOR_BYTES", 64)
    monkeypatch.setattr(quads, "COLUMNS", 4)
    monkeypatch.setattr(quads, "HALF_A_VECTOR", half)
    found = {columns: quads.few_columns(columns, np.dtype(dtype)) for columns in range(1, 33)}
    assert {columns for columns, few in found.items() if few} == taken
    assert all(few == columns % (64 // np.dtype(dtype).itemsize) for columns, few in found.items() if few)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_a_layer_leaves_to_them(dtype: str) -> None:
    case = cases.case((20, 40, 33, 2), rows=40).of(dtype)
    memory = cases.workspace(case, gp.SGD(), 20, 1)
    few = [quads.few_columns(inputs, np.dtype(dtype)) for inputs in (20, 40)]
    assert memory.layers["few_columns"].tolist() == [0, *few, 0]  # the last: sums of rows
    assert memory.plan["quads"][0] == (quads.quad_kernel(np.dtype(dtype)) if any(few) else 0)
    whole = cases.workspace(cases.case((16, 32, 2), rows=40).of(dtype), gp.SGD(), 20, 1)
    assert whole.plan["quads"][0] == 0


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("float64", 1e-12)])
@pytest.mark.parametrize("inputs", [1, 3, 4, 5, 8, 9, 12, 18, 20, 24])
def test_gradients_of_narrow_tables(dtype: str, tolerance: float, inputs: int) -> None:
    case = cases.case((inputs, 9, 4, 2), rows=40, activation="tanh", weighted=True)
    found = cases.pass_differences(case.of(dtype).passes(), case.reference_passes())
    assert max(found.values()) < tolerance, found
