"""Predictions that read rows of X where they lie, held against NumPy in float64 and against those that gather rows."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

import glassprop as gp
from glassprop.core import layout, passes, workspace
from glassprop.core.network import ByInputs, panel_columns

UNITS = (1, 5, 31, 32, 33, 100, 270)  # of the first layer: within a panel, a whole one, more than are taken at a time


def made(layers: tuple[int, ...], rows: int, dtype: str) -> tuple[gp.Network, gp.Parameters, np.ndarray]:
    rng = np.random.default_rng(sum(layers) + rows)
    W = [(rng.standard_normal(pair) / pair[0] ** 0.5).astype(dtype) for pair in pairwise(layers)]
    b = [rng.standard_normal(units).astype(dtype) for units in layers[1:]]
    X = rng.standard_normal((rows, layers[0])).astype(dtype)
    return gp.Network(layers), gp.Parameters.from_arrays(W, b), X


def outputs(parameters: gp.Parameters, X: np.ndarray) -> np.ndarray:
    """In float64, of ReLU units."""
    h, last = X.astype(float), len(parameters.W) - 1
    for l, (W, b) in enumerate(zip(parameters.W, parameters.b, strict=True)):
        h = h @ W.astype(float) + b.astype(float)
        h = h if l == last else np.maximum(h, 0)
    return h


def close(found: np.ndarray, wanted: np.ndarray) -> None:
    tolerance = {"float32": 2e-5, "float64": 1e-13}[found.dtype.name]
    np.testing.assert_allclose(found, wanted, rtol=tolerance, atol=tolerance * np.abs(wanted).max())


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads for predictions of any size."""
    monkeypatch.setattr(passes, "THREADED_FROM", 0.0)
    monkeypatch.setattr(workspace, "FLOPS_FOR_THREADS", 1e-9)


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("by_inputs", [False, True])
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("units", UNITS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_wide_tables(dtype: str, units: int, threads: int, by_inputs: bool) -> None:
    """Inputs in whole portions and not, rows in whole panels and tiles and not, in one batch and two."""
    for inputs, rows in ((1280, 33), (1281, 70), (1100, 600), (1295, 512)):
        network, parameters, X = made((inputs, units, 3), rows, dtype)
        own = ByInputs.of(parameters) if by_inputs else parameters
        close(passes.predict(network, own, X, threads=threads), outputs(parameters, X))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("units", [8, 32, 100, 270])
def test_the_bits_of_gathered_rows(dtype: str, units: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of even numbers of units: of gathered rows the tile adds up the last of an odd number in parts."""
    monkeypatch.setattr(layout, "SPLIT_FROM", 1 << 40)
    for rows in (66, 67, 513):
        network, parameters, X = made((1300, units, 3), rows, dtype)
        assert layout.reads_in_place(network, X.dtype, len(X), 512)
        gathered = gp.forward(network, parameters, X).output
        np.testing.assert_array_equal(passes.predict(network, parameters, X), gathered)


@pytest.mark.parametrize("layers", [(300, 70, 2), (90, 200, 200, 3), (5000, 1), (20, 3, 6000, 1), (1301, 100, 5)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_single_row(dtype: str, layers: tuple[int, ...]) -> None:
    network, parameters, X = made(layers, 3, dtype)
    for row in range(3):
        close(passes.predict(network, parameters, X[row : row + 1]), outputs(parameters, X[row : row + 1]))


@pytest.mark.parametrize("layers", [(30, 20_000, 1, 20_000, 1), (40, 20_000, 1), (3, 200, 300, 2)])
def test_a_single_row_in_threads(layers: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Some of which have nothing to do in layers of one unit, or one input."""
    monkeypatch.setattr(passes, "THREADED_FROM", 0.0)
    for flops in ("FLOPS_FOR_THREADS", "FLOPS_PER_SHARER"):
        monkeypatch.setattr(workspace, flops, 1e-9)
    network, parameters, X = made(layers, 60, "float32")
    for row in X:
        alone = passes.predict(network, parameters, row[None], threads=1)
        for _ in range(3):
            np.testing.assert_array_equal(passes.predict(network, parameters, row[None], threads=4), alone)


@pytest.mark.usefixtures("eager")
def test_the_bits_do_not_follow_from_threads_for_which_batches_are_smaller() -> None:
    network, parameters, X = made((2000, 101, 44_000), 65, "float32")
    one, two = (passes.predict(network, parameters, X, threads=threads) for threads in (1, 2))
    np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_is_read_in_place(dtype: str) -> None:
    """Wide tables, of more rows than a panel has, and single rows of large layers."""

    def in_place(rows: int, *layers: int) -> bool:
        return layout.reads_in_place(gp.Network(layers), np.dtype(dtype), rows, 512)

    panel = panel_columns(np.dtype(dtype))
    assert in_place(panel + 1, 2000, 60, 1)
    assert not in_place(panel, 2000, 60, 1)
    assert not in_place(500, 800, 60, 1)
    assert not in_place(500, 2000, 1999, 1)
    assert in_place(1, 2000, 60, 1)
    assert in_place(1, 3, 5, 4000, 1)
    assert not in_place(1, 64, 100, 10)


def test_no_room_for_panels_of_the_table() -> None:
    network, parameters, X = made((9000, 20, 1), 400, "float32")
    passes.predict(network, parameters, X, threads=1)
    [[work]] = network.idle.values()
    assert work["scratch"].nbytes < X.nbytes / 10
