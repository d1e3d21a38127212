"""In which precision training computes; bfloat16 products, held against the same roundings in float64."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits

import cases
import glassprop as gp
from glassprop.core import bfloat16, layout, matrix_unit, plan, tile, workspace

# fewer units than a vector, odd numbers, one panel and several, a layer above one block
SHAPES = [((3, 5, 2), 7), ((1, 1, 1), 1), ((20, 64, 1), 32), ((33, 70, 41, 3), 65), ((64, 300, 257, 10), 130), ((40, 3), 200)]


def rounded(x: np.ndarray) -> np.ndarray:
    """To the nearest number of bfloat16, ties to even, in float64."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000).astype(np.uint32).view(np.float32).astype(np.float64)


def by_hand(case: cases.Case, rounding: Any) -> list[np.ndarray]:
    """Gradients of W_1, b_1, W_2, ... of the mean half squared error of tanh layers, with operands of products rounded."""
    W, b = case.parameters.W, case.parameters.b
    h = [case.X]
    for l in range(len(W)):
        g = rounding(h[-1]) @ rounding(W[l]) + b[l]
        h.append(np.tanh(g) if l < len(W) - 1 else g)
    delta, gradients = h[-1] - case.Y, []
    for l in reversed(range(len(W))):
        gradients[:0] = [rounding(h[l]).T @ rounding(delta) / len(case.X), delta.sum(0) / len(case.X)]
        if l:
            delta = rounding(delta) @ rounding(W[l]).T * (1 - h[l] ** 2)
    return gradients


def one_step(case: cases.Case, threads: int = 1) -> list[np.ndarray]:
    """The same from the core, in a step that hardly moves."""
    theta = case.parameters.copy().theta
    memory = workspace.Workspace(
        case.network, theta, case.X, case.Y, batch_size=len(case.X), optimizer=gp.SGD(1e-9), threads=threads, paired=True
    )
    memory["rates"][:] = 1e-9
    memory.run(0, 1, plan.TRAIN)
    gradient = case.parameters.with_theta(memory["gradient"])
    return [part for pair in zip(gradient.W, gradient.b, strict=True) for part in pair]


@pytest.fixture(params=["vectors", "matrix unit"])
def unit(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """What multiplies: vectors, or the matrix unit of processors that have one."""
    if request.param == "vectors":
        for module in (tile, layout):
            monkeypatch.setattr(module, "has_matrix_unit", lambda: False)
    elif not matrix_unit.has_matrix_unit():
        pytest.skip("this processor has no matrix unit (amx_bf16)")
    return str(request.param)


@cases.needs_bfloat16
@pytest.mark.parametrize(("layers", "rows"), SHAPES)
def test_products_are_those_of_rounded_numbers(layers: tuple[int, ...], rows: int, unit: str) -> None:
    case = cases.case(layers, rows=rows, activation="tanh").of("float32")
    right, unrounded, found = by_hand(case, rounded), by_hand(case, np.float64), one_step(case)
    for a, b in zip(found, right, strict=True):
        # a number that rounds the other way, because h or δ differs in the last place of float32, changes by 2^-8 of itself
        assert np.linalg.norm(a - b) < 3e-4 * np.linalg.norm(b)
    away = max(np.linalg.norm(a - b) / np.linalg.norm(b) for a, b in zip(found, unrounded, strict=True))
    assert 5e-4 < away < 5e-2


@cases.needs_bfloat16
def test_a_sum_is_kept_in_float32(unit: str) -> None:
    """1 + 3000 times 2^-9: bfloat16 would stop at 1."""
    network = gp.Network((3001, 1))
    parameters = gp.Parameters.from_arrays([np.full((3001, 1), 2.0**-9)], [np.zeros(1)], dtype="float32")
    parameters.W[0][0] = 1
    memory = workspace.Workspace(
        network, parameters.theta, np.ones((1, 3001), np.float32), np.zeros((1, 1), np.float32), batch_size=1,
        optimizer=gp.SGD(1e-9), paired=True, output=True,
    )  # fmt: skip
    memory.run(0, 1, plan.TRAIN | plan.OUTPUT)
    assert memory["output"].item() == 1 + 3000 / 512


@cases.needs_bfloat16
@pytest.mark.parametrize(("layers", "rows"), SHAPES)
def test_the_same_bits_for_any_number_of_threads(
    layers: tuple[int, ...], rows: int, unit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workspace, "FLOPS_FOR_THREADS", 1e-9)
    case = cases.case(layers, rows=rows, activation="relu", dropout=[0.2] * (len(layers) - 2)).of("float32")
    one, three = (
        gp.train(case.network, case.X, case.Y, epochs=5, batch_size=96, seed=0, precision="bf16", threads=threads)
        for threads in (1, 3)
    )
    np.testing.assert_array_equal(one.parameters.theta, three.parameters.theta)
    np.testing.assert_array_equal(one.history.loss, three.history.loss)


@cases.needs_bfloat16
def test_weights_are_kept_in_float32_and_validation_is_of_float32() -> None:
    X, y = load_digits(return_X_y=True)
    network = gp.Network((64, 100, 10), loss="cross_entropy")
    runs = [
        gp.train(network, X[:1200] / 16, y[:1200], epochs=30, seed=0, validation=(X[1200:] / 16, y[1200:]), precision=precision)
        for precision in ("float32", "bf16")
    ]
    accuracies = [(run.predict((X[1200:] / 16).astype("float32")).argmax(1) == y[1200:]).mean() for run in runs]
    assert min(accuracies) > 0.92
    assert abs(accuracies[0] - accuracies[1]) < 0.01
    half = runs[1]
    assert half.parameters.dtype == np.float32
    assert np.mean(half.parameters.W[0] != rounded(half.parameters.W[0])) > 0.9
    best = half.history.validation_loss[half.best_epoch - 1]
    fwd = gp.forward(network, half.parameters, (X[1200:] / 16).astype("float32"))
    assert best == pytest.approx(gp.backward(network, half.parameters, fwd, y[1200:]).loss, rel=1e-6)


@cases.needs_bfloat16
def test_resuming_and_many_networks_keep_the_precision() -> None:
    case = cases.case((6, 40, 2), rows=90, activation="tanh")
    whole = gp.train(case.network, case.X, case.Y, epochs=6, seed=1, precision="bf16")
    halves = gp.train(case.network, case.X, case.Y, epochs=3, seed=1, precision="bf16").resume(3)
    one, two = gp.train_many(case.network, case.X, case.Y, epochs=6, seed=1, precision=["bf16", "float32"])
    np.testing.assert_array_equal(whole.parameters.theta, halves.parameters.theta)
    np.testing.assert_array_equal(whole.parameters.theta, one.parameters.theta)
    assert (one.parameters.theta != two.parameters.theta).any()


@cases.needs_bfloat16
def test_what_is_not_finite_survives_rounding(unit: str) -> None:
    case = cases.case((4, 8, 1), rows=40, activation="relu")
    with pytest.warns(gp.DivergenceWarning, match="ceased to be finite"):
        run = gp.train(case.network, case.X, case.Y, optimizer=gp.SGD(1e30), epochs=20, seed=0, precision="bf16")
    assert run.diverged


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_a_precision_is_as_if_the_data_had_it(precision: str) -> None:
    case = cases.case((3, 20, 2), rows=50)
    other = "float32" if precision == "float64" else "float64"
    data, X = [case.X.astype(other), case.Y.astype(other)], case.X.astype(other).astype(precision)
    asked = gp.train(case.network, *data, validation=0.2, epochs=3, seed=0, precision=precision)
    given = gp.train(case.network, X, data[1], validation=0.2, epochs=3, seed=0)
    assert asked.parameters.dtype == precision
    np.testing.assert_array_equal(asked.parameters.theta, given.parameters.theta)


def test_a_processor_without_bfloat16_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bfloat16, "has_bfloat16", lambda: False)
    with pytest.raises(ValueError, match="precision 'bf16' needs a processor with products of bfloat16, AVX-512's"):
        gp.train(gp.Network((1, 1)), [[1.0], [2.0]], [1.0, 2.0], precision="bf16")


def test_a_run_that_comes_from_another_machine_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    run = gp.train(gp.Network((2, 1)), [[1.0, 0.0], [2.0, 1.0]], [1.0, 2.0], epochs=1, seed=0, precision="float32")
    run._settings = replace(run._settings, precision="bf16")  # as from a pickle
    monkeypatch.setattr(bfloat16, "has_bfloat16", lambda: False)
    for call in (lambda: run.resume(1), lambda: gp.explain(run)):
        with pytest.raises(ValueError, match="precision 'bf16' needs a processor with products of bfloat16"):
            call()


@pytest.mark.parametrize(("precision", "hint"), [("bf61", "; did you mean 'bf16'?"), (16, ""), (["bf16"], "")])
def test_a_precision_that_is_not_there(precision: Any, hint: str) -> None:
    message = rf"precision must be one of 'float32', 'float64', 'bf16'; got .*{hint.replace('?', '.')}$"
    with pytest.raises(ValueError, match=message):
        gp.train(gp.Network((1, 1)), [[1.0], [2.0]], [1.0, 2.0], precision=precision)


def test_where_numba_may_not_use_it_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bfloat16, "ARM", False)
    monkeypatch.setattr(bfloat16, "host_features", lambda: frozenset({"avx512f"}))
    assert not bfloat16.has_bfloat16()
