"""Products that take a portion of W at a time: the bits of those that take all of it, for any number of threads."""

from __future__ import annotations

import numpy as np
import pytest

import cases
import glassprop as gp
from glassprop.core import layout, plan, workspace
from glassprop.core.arrays import check_targets
from glassprop.core.workspace import Workspace

NEVER = 1 << 40


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Portions of 32 numbers for up to 64 rows, in small layers too, and none of them in parts for the matrix unit."""
    for name, value in {
        "PORTIONS_FROM": 60, "PORTION": 32, "PORTION_ROWS": 64, "RESIDENT_ROWS": 32, "PACK_FROM": 1, "SPLIT_FROM": NEVER,
    }.items():  # fmt: skip
        monkeypatch.setattr(layout, name, value)
    monkeypatch.setattr(layout, "AT_ONCE_FROM", 1)
    monkeypatch.setattr(workspace, "FLOPS_FOR_THREADS", 1e-9)


def trained(case: cases.Case, threads: int) -> Workspace:
    theta = case.parameters.theta.copy()
    Y = check_targets(case.network, case.Y, len(case.X), theta.dtype)
    memory = Workspace(
        case.network, theta, case.X, Y, None, batch_size=90, optimizer=gp.Adam(), steps=6, epochs=3, seed=1, at_once=True,
        threads=threads,
    )  # fmt: skip
    memory["rates"][:] = 0.01
    memory.run(0, 6, plan.TRAIN)
    return memory


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_bits_of_whole_products(dtype: str, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    case = cases.case((70, 130, 98, 3), rows=150, activation="tanh", dropout=[0.2, 0.1]).of(dtype)
    in_portions, outputs = trained(case, threads), gp.forward(case.network, case.parameters, case.X).h[-1]
    table = in_portions.layers
    assert (table["input_portion"][1:3] < table["units"][:2]).all()
    assert table["unit_portion"][2] < table["units"][2]
    assert in_portions.plan["add_rows"][0]
    monkeypatch.setattr(layout, "PORTIONS_FROM", NEVER)
    case = cases.case((70, 130, 98, 3), rows=150, activation="tanh", dropout=[0.2, 0.1]).of(dtype)
    whole = trained(case, 1)
    assert not whole.plan["add_rows"][0]
    np.testing.assert_array_equal(in_portions["theta"], whole["theta"])
    np.testing.assert_array_equal(in_portions["state"], whole["state"])
    np.testing.assert_array_equal(outputs, gp.forward(case.network, case.parameters, case.X).h[-1])


@pytest.mark.parametrize(
    ("depth", "rows", "parts", "taken"),
    [(2048, 256, 0, 32), (70, 256, 0, 32), (59, 256, 0, 59), (2048, 255, 0, 2048), (2048, 32, 0, 2048), (2048, 256, 1, 2048)],
)
def test_where_portions_pay(depth: int, rows: int, parts: int, taken: int) -> None:
    """In deep products of many rows; and of an even number, since the tile adds up a row that is left over in its own order."""
    assert layout.portion(depth, rows, parts) == taken


def test_large_networks_take_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    found = layout.lay_out(gp.Network((784, 2048, 2048, 10)), np.dtype("float64"), 512)
    assert found.layers["input_portion"].tolist() == [0, 784, 256, 2048]
    assert found.layers["unit_portion"].tolist() == [0, 2048, 256, 10]
    assert found.in_portions
    assert not layout.lay_out(gp.Network((784, 800, 10)), np.dtype("float64"), 512).in_portions
    assert not layout.lay_out(gp.Network((2048, 800, 10)), np.dtype("float64"), 512, lines=(100, 100)).in_portions
