"""Steps on a sparse table: those on the dense one, in every bit where no sum is kept in parts, for any number of threads."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import numpy as np
import pytest

import glassprop as gp
from glassprop.core import layout, passes, workspace
from glassprop.core.network import ByInputs
from glassprop.core.passes import outputs_of
from glassprop.core.plan import FORWARD, TRAIN
from glassprop.core.sparse import MET, TURNED, SparseTable
from glassprop.core.threads import run_in_threads
from glassprop.core.workspace import Workspace

ROWS, BATCH, EPOCHS = 173, 70, 3  # a last batch of 33 rows, a row more than a panel of float32


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """As many threads as are asked for, however small the work; how many there were at each call."""
    counts: list[int] = []

    def run_and_note(function: Any, threads: int, team: np.ndarray) -> int:
        counts.append(threads)
        return run_in_threads(function, threads, team)

    monkeypatch.setattr(passes, "THREADED_FROM", 0)
    monkeypatch.setattr(workspace, "FLOPS_FOR_THREADS", 1e-9)
    monkeypatch.setattr(workspace, "run_in_threads", run_and_note)
    return counts


def sparse(X: np.ndarray) -> SparseTable:
    rows, columns = np.nonzero(X)
    starts = np.searchsorted(rows, np.arange(len(X) + 1))
    return SparseTable(starts.astype(np.int64), columns.astype(np.int64), X[rows, columns], X.shape[1])


def table(inputs: int, density: float, dtype: str, rows: int = ROWS) -> np.ndarray:
    rng = np.random.default_rng(inputs)
    X = rng.normal(size=(rows, inputs)) * (rng.uniform(size=(rows, inputs)) < density)
    X[[3, 9, rows - 1]] = 0  # rows of nothing, the one that fills up the last panel among them
    X[:, inputs // 2] = 0
    return X.astype(dtype)


def trained(network: gp.Network, X: np.ndarray | SparseTable, threads: int = 1, weights: bool = False) -> list[np.ndarray]:
    """Parameters, optimizer state and history after some epochs with validation."""
    rng = np.random.default_rng(0)
    Y = rng.normal(size=(ROWS, network.layers[-1])).astype(X.dtype)
    w = rng.uniform(0, 2, ROWS).astype(X.dtype) if weights else None
    held = table(network.layers[0], 0.02, str(X.dtype), rows=41)
    steps = -(-ROWS // BATCH)
    theta = network.initialize(seed=1).astype(X.dtype).theta
    work = Workspace(
        network, theta, X, Y, w, batch_size=BATCH, optimizer=gp.Adam(0.01), threads=threads, at_once=True, seed=5,
        validation=(sparse(held) if isinstance(X, SparseTable) else held, Y[:41], None),
        order_epochs=EPOCHS, steps=EPOCHS * steps, epochs=EPOCHS,
    )  # fmt: skip
    for epoch in range(EPOCHS):
        work["order"][epoch] = rng.permutation(ROWS)
    work["rates"][:] = 0.01
    assert work.run(0, EPOCHS * steps, TRAIN) == EPOCHS * steps
    history = work["history"].view(np.float64)
    return [theta, work["state"], history]


NETWORKS = {
    "one layer": ((130, 4), {}),
    "odd widths": ((77, 6, 2), {"activation": "tanh"}),
    "penalties": ((200, 12, 8, 2), {"l2": 0.1, "l1": 0.01}),
    "dropout": ((64, 10, 2), {"dropout": 0.4}),
    "more inputs than a square": ((33, 34, 2), {"activation": "gelu"}),
    "blocks at once": ((1100, 64, 2), {}),
}


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("density", [0.0, 0.01, 0.3, 1.0])
@pytest.mark.parametrize("name", NETWORKS)
def test_training_is_that_of_the_dense_table(name: str, density: float, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the gradient of the dense one adds up all columns in the rows' order."""
    monkeypatch.setattr(layout, "few_columns", lambda columns, dtype: 0)
    layers, options = NETWORKS[name]
    network = gp.Network(layers, **options)
    X = table(layers[0], density, dtype)
    for mine, dense in zip(trained(network, sparse(X)), trained(network, X), strict=True):
        np.testing.assert_array_equal(mine, dense)


@pytest.mark.parametrize("name", ["penalties", "blocks at once"])
def test_any_number_of_threads_computes_the_same(name: str, started: list[int]) -> None:
    layers, options = NETWORKS[name]
    network, X = gp.Network(layers, **options), table(layers[0], 0.02, "float64")
    alone = trained(network, sparse(X), 1, weights=True)
    for threads in (2, 3):
        started.clear()
        for mine, other in zip(trained(network, sparse(X), threads, weights=True), alone, strict=True):
            np.testing.assert_array_equal(mine, other)
        assert max(started) == threads


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-13), ("float32", 1e-4)])
@pytest.mark.parametrize("layers", [(90, 1), (90, 5, 1), (90, 3), (130, 4), (33, 34, 2), (196, 12, 8, 2)])
def test_sums_kept_in_parts_differ_by_rounding_alone(layers: tuple[int, ...], dtype: str, tolerance: float) -> None:
    """A row left over by the tiles, dW of a single unit, and that of a dense table's last few columns."""
    network, X = gp.Network(layers), table(layers[0], 0.1, dtype)
    for mine, dense in zip(trained(network, sparse(X)), trained(network, X), strict=True):
        np.testing.assert_allclose(mine, dense, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("density", [0.0, 0.001, 0.05, 1.0])
@pytest.mark.parametrize("layers", [(150, 8, 2), (150, 70, 2), (150, 36), (35, 16), (1, 4)])
def test_predictions_are_those_of_the_dense_table(
    layers: tuple[int, ...], density: float, dtype: str, started: list[int]
) -> None:
    network, X = gp.Network(layers), table(layers[0], density, dtype, rows=1100)
    parameters = network.initialize(seed=0).astype(X.dtype)
    parameters.b[0][...] = 0.5
    dense = outputs_of(network, parameters, X, threads=1)
    for threads in (1, 2):
        started.clear()
        g = np.empty((1100, layers[-1]), X.dtype)
        for given in (None, g):
            np.testing.assert_array_equal(outputs_of(network, parameters, sparse(X), threads=threads, g=given), dense)
        assert max(started) == threads
        assert np.abs(g).max() > 0


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(("density", "rows"), [(0.02, 700), (0.0001, 700), (0.01, 11)])
def test_predictions_by_more_rows_of_a_turned_W_than_the_cache_holds(
    density: float, rows: int, dtype: str, started: list[int]
) -> None:
    """All of them, or those of the inputs in which any row has a number."""
    network, X = gp.Network((9000, 40)), table(9000, density, dtype, rows)
    parameters, mine = network.initialize(seed=0).astype(X.dtype), sparse(X)
    assert TURNED < 9000 * 40
    assert X.any(axis=0).mean() > 0.9 if density == 0.02 else 0 < X.any(axis=0).mean() < 1 / MET
    dense = outputs_of(network, parameters, X, threads=1)
    for threads in (1, 2):
        started.clear()
        np.testing.assert_array_equal(outputs_of(network, parameters, mine, threads=threads), dense)
        assert max(started) == threads


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("layers", [(700, 40, 2), (700, 37), (520, 130, 3), (35, 16), (1, 4)])
def test_predictions_by_a_W_that_lies_by_inputs(layers: tuple[int, ...], dtype: str, started: list[int]) -> None:
    """Of a sparse table, and of a dense one: of few rows, of a panel, of many, by portions of W and where it is no more."""
    network, X = gp.Network(layers), table(layers[0], 0.05, dtype, rows=300)
    parameters = network.initialize(seed=0).astype(X.dtype)
    parameters.b[0][...] = 0.5
    by_inputs = ByInputs.of(parameters)
    tolerance = 1e-13 if dtype == "float64" else 2e-6
    for mine, other in zip(by_inputs.W + by_inputs.b, parameters.W + parameters.b, strict=True):
        np.testing.assert_array_equal(mine, other)
    whole = outputs_of(network, parameters, X, threads=1)
    for threads in (1, 2):
        started.clear()
        for rows in (1, passes.FEW, passes.FEW + 1, 16, 33, 300):
            found = outputs_of(network, by_inputs, sparse(X[:rows]), threads=threads)
            np.testing.assert_array_equal(found, outputs_of(network, parameters, sparse(X[:rows]), threads=threads))
            found = outputs_of(network, by_inputs, X[:rows], threads=threads)
            np.testing.assert_allclose(found, whole[:rows], rtol=tolerance, atol=tolerance)
            own = by_inputs.astype("float64" if dtype == "float32" else "float32")
            assert own.by_inputs
            found = outputs_of(network, own, X[:rows].astype(own.dtype), threads=threads)
            np.testing.assert_allclose(found, whole[:rows], rtol=2e-6, atol=2e-6)
        assert max(started) == threads


def test_memory_for_a_turned_W_serves_the_next_table_and_the_next_weights() -> None:
    network = gp.Network((150, 70, 2))
    for seed, rows in ((0, 400), (1, 12), (2, 500)):
        parameters, X = network.initialize(seed=seed), table(150, 0.05, "float64", rows=rows)
        mine = sparse(X)
        gone = weakref.ref(mine.values)
        np.testing.assert_array_equal(outputs_of(network, parameters, mine), outputs_of(network, parameters, X))
        del mine
        gc.collect()
        assert gone() is None
    assert [len(kept) for key, kept in network.idle.items() if key[-1]] == [1]


def test_only_lines_that_hold_something_are_multiplied() -> None:
    """What makes it fast: of a panel, the inputs that are not 0 in all of its rows."""
    X = table(500, 0.01, "float64", rows=16)
    network = gp.Network((500, 4))
    theta = network.initialize(seed=0).astype(np.float64).theta
    work = Workspace(network, theta, sparse(X), X[:, :4].copy(), batch_size=16)
    work.run(0, 1, FORWARD)
    inputs = np.flatnonzero(X.any(axis=0))
    count = int(work["line_counts"][0])
    assert count == len(inputs) < 100
    np.testing.assert_array_equal(work["lines"][:count], inputs)
    lines = work["scratch"][int(work.layers[0]["h"]) :][: count * 16].reshape(count, 16)
    np.testing.assert_array_equal(lines, X[:, inputs].T)


def test_validation_rows_are_of_the_same_kind() -> None:
    network, X = gp.Network((9, 1)), table(9, 0.5, "float64")
    theta, Y = network.initialize().theta, X[:, :1].copy()
    for one, other in ((sparse(X), X), (X, sparse(X))):
        with pytest.raises(TypeError, match="validation rows must be sparse where X is"):
            Workspace(network, theta, one, Y, batch_size=9, validation=(other, Y, None))
