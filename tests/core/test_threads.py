"""Threads change no bit: whatever the shapes, every number is computed by one thread, in one order."""

from __future__ import annotations

import os
import threading
import time
from typing import Any

import numpy as np
import pytest

import cases
import glassprop as gp
from glassprop.core import layout, passes, threads, workspace
from glassprop.core.jit import PANEL_BYTES
from glassprop.core.plan import BACKWARD, FORWARD, LOSS, UPDATE
from glassprop.core.threads import MEETING, TAKEN, run_in_threads


@pytest.fixture
def any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many threads as are asked for, however small the step."""
    for flops in ("FLOPS_FOR_THREADS", "FLOPS_PER_SHARER"):
        monkeypatch.setattr(workspace, flops, 1e-9)


# layers, rows, batch size, and what is asked of the network: panels full and not, shares empty, layers above one block
SHAPES: list[tuple[tuple[int, ...], int, int, dict[str, Any]]] = [
    ((3, 5, 2), 70, 70, {"activation": "relu"}),
    ((3, 5, 2), 70, 33, {"activation": "tanh", "l2": 0.1}),
    ((40, 100, 33, 3), 200, 96, {"activation": "relu", "loss": "cross_entropy", "weighted": True}),
    ((20, 64, 1), 150, 128, {"activation": "gelu", "dropout": [0.3]}),
    ((300, 70, 300, 10), 130, 128, {"activation": "elu", "l1": 0.01, "dropout": [0.2, 0.4]}),
    ((600, 40, 1), 64, 64, {"activation": "sigmoid", "loss": "binary_cross_entropy"}),
    ((32,) + (64,) * 8 + (1,), 200, 64, {"activation": "relu"}),
    ((64, 400, 400, 10), 256, 128, {"activation": "relu"}),
    ((4, 1), 500, 256, {}),
    # one panel, threads that have none, and validation rows of several panels
    ((30, 300, 200, 4), 90, 32, {"activation": "relu", "loss": "cross_entropy", "dropout": [0.2, 0.0]}),
    # units shared out, not panels: two layers, and an output whose softmax is of all units
    ((100, 330, 260, 3), 150, 64, {"activation": "gelu", "dropout": [0.3, 0.1]}),
    ((200, 280), 110, 64, {"loss": "cross_entropy"}),
]


def by_units(layers: tuple[int, ...], batch_size: int, threads: int) -> list[int]:
    """For each layer, whether threads share out its units."""
    table = layout.lay_out(gp.Network(layers), np.dtype(np.float32), batch_size, threads=threads)
    return table.layers["by_units"].tolist()


@pytest.mark.usefixtures("any_work")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: "-".join(str(n) for n in shape[0]))
def test_the_same_bits_for_any_number_of_threads(shape: tuple, dtype: str) -> None:
    layers, rows, batch_size, asked = shape
    case = cases.case(layers, rows=rows, **asked).of(dtype)
    held = cases.case(layers, rows=77, seed=5, **asked).of(dtype)
    runs = [
        gp.train(
            case.network, case.X, case.Y, weights=case.weights, validation=(held.X, held.Y), epochs=4, batch_size=batch_size,
            optimizer=gp.Adam(0.01, clip_norm=0.5, weight_decay=0.01), seed=3, threads=threads, parameters=case.parameters,
        )
        for threads in (1, 2, 3, 7, 16)
    ]  # fmt: skip
    for run in runs[1:]:
        np.testing.assert_array_equal(run.parameters.theta, runs[0].parameters.theta)
        for column in ("loss", "validation_loss", "gradient_norm"):
            np.testing.assert_array_equal(run.history[column], runs[0].history[column])


def test_threads_share_out_units_where_that_moves_less() -> None:
    """All of W for some panels, or some of W for all panels: W larger than what the batch has in inputs and units."""

    assert by_units((784, 800, 10), 128, 2) == [0, 1, 0]
    assert by_units((784, 2048, 2048, 10), 512, 4) == [0, 1, 1, 0]
    assert by_units((64, 256, 256, 10), 128, 2) == [0, 0, 0, 0]
    assert by_units((784, 800, 10), 128, 1) == [0, 0, 0]


def test_threads_share_out_units_where_there_are_too_few_panels() -> None:
    """Unless the product is so small that the meetings before and after it would take longer."""

    assert by_units((64, 256, 256, 10), 128, 4) == [0, 0, 0, 0]
    assert by_units((64, 256, 256, 10), 128, 8) == [0, 0, 1, 0]
    assert by_units((64, 256, 256, 10), 512, 8) == [0, 0, 0, 0]  # sixteen panels
    assert by_units((784, 100, 10), 32, 2) == [0, 1, 0]
    assert by_units((64, 64, 10), 32, 2) == [0, 0, 0]


@pytest.mark.usefixtures("any_work")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_thread_takes_what_others_have_not_come_to(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of two does nothing but come to the meetings: the other, whose the batch's one panel is, does all of the work."""

    def one_and_an_idler(function: Any, threads: int, team: np.ndarray) -> int:
        reached: list[int] = []
        worker = threading.Thread(target=lambda: reached.append(function(1)))
        worker.start()
        while worker.is_alive():
            if team[MEETING] % 2:  # somebody waits
                team[TAKEN] = 0
                team[MEETING] += 1
        return reached[0]

    found = []
    for number, start in ((1, run_in_threads), (2, one_and_an_idler)):
        monkeypatch.setattr(workspace, "run_in_threads", start)
        case = cases.case((100, 330, 260, 3), rows=96, activation="gelu", dropout=[0.3, 0.1], l2=0.1).of(dtype)
        panel = PANEL_BYTES // case.X.itemsize
        memory = cases.workspace(case, gp.Adam(0.01), panel, 2, threads=number, at_once=True)
        assert memory.layers["by_units"].tolist() == [0, number - 1, number - 1, 0]
        memory.run(0, 6, FORWARD | LOSS | BACKWARD | UPDATE)
        found.append(case.parameters.theta)
    np.testing.assert_array_equal(*found)


@pytest.mark.usefixtures("any_work")
@pytest.mark.parametrize("rule", cases.RULES)
def test_the_same_bits_for_every_rule(rule: str) -> None:
    case = cases.case((10, 70, 40, 2), rows=100, activation="relu")
    optimizer = cases.rules(rule)[0]
    one, several = (
        gp.train(
            case.network, case.X, case.Y, optimizer=optimizer, batch_size=64, epochs=5, seed=0, threads=n,
            parameters=case.parameters,
        )
        for n in (1, 3)
    )  # fmt: skip
    np.testing.assert_array_equal(one.parameters.theta, several.parameters.theta)


@pytest.mark.usefixtures("any_work")
def test_patience_and_divergence_end_all_threads_at_the_same_step() -> None:
    case = cases.case((5, 40, 1), rows=128, activation="tanh")
    ends = [
        gp.train(case.network, case.X, case.Y, batch_size=64, epochs=500, seed=0, patience=2, threads=n, validation=0.3)
        for n in (1, 2)
    ]
    assert ends[0].epochs == ends[1].epochs < 500
    with pytest.warns(gp.DivergenceWarning):
        ends = [
            gp.train(case.network, case.X, case.Y, batch_size=64, epochs=500, seed=0, optimizer=gp.SGD(1e6), threads=n)
            for n in (1, 2)
        ]
    assert ends[0].diverged
    assert ends[0].stopped == ends[1].stopped
    np.testing.assert_array_equal(ends[0].parameters.theta, ends[1].parameters.theta)


def test_the_work_decides_how_many_threads_there_are() -> None:
    def threads(layers: tuple[int, ...], batch_size: int, most: int | None = 2, width: int = 32) -> int:
        return workspace.useful_threads(gp.Network(layers), batch_size, width, most)

    assert threads((2, 8, 1), 4) == threads((20, 64, 1), 32) == 1
    assert threads((64, 256, 256, 10), 128) == threads((784, 2048, 2048, 10), 512) == 2
    assert threads((64, 256, 256, 10), 128, 1) == 1
    assert threads((64, 100, 10), 200, 64, 16) == 4  # of 13 panels in float64
    # many small layers: threads would wait for one another in each
    assert threads((32, *[64] * 8, 1), 64, 64) == 1
    assert threads((32, *[64] * 8, 1), 64, 64, 16) == 2
    assert threads((64, 64, 64, 64, 64, 10), 128) == 2
    # a single panel of rows
    assert threads((784, 2048, 2048, 10), 32) == 2
    assert threads((784, 2048, 2048, 10), 32, 100) == 64  # squares of units
    assert threads((64, 256, 256, 10), 32) == 1
    # more threads than panels
    assert threads((64, 256, 256, 10), 128, 64) == 7
    assert threads((784, 2048, 2048, 10), 512, None) >= 1


def test_packing_for_the_backward_product_changes_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    case = cases.case((8, 420, 390, 3), rows=96, activation="relu").of("float32")
    assert cases.workspace(case, gp.SGD(), 96, 1).layers[2]["packed_row"] > 0
    found = []
    for least in (layout.PACK_FROM, 10**9):
        monkeypatch.setattr(layout, "PACK_FROM", least)
        found.append(cases.train(case, gp.SGD(0.01), 96, 3).parameters.theta)
    np.testing.assert_array_equal(*found)


@pytest.mark.usefixtures("any_work")
def test_a_thread_that_never_comes_lets_the_others_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C between the start of the others and the call of the core must not leave them waiting."""
    case = cases.case((5, 40, 1), rows=64)
    memory = cases.workspace(case, gp.SGD(), 64, 1, threads=2)
    start = case.parameters.theta.copy()

    def interrupted(function: Any, threads: int, team: np.ndarray) -> int:
        def first_interrupted(thread: int) -> int:
            if thread == 0:
                raise KeyboardInterrupt
            return function(thread)

        return run_in_threads(first_interrupted, threads, team)

    monkeypatch.setattr(workspace, "run_in_threads", interrupted)
    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        memory.run(0, 1, 15)
    assert threading.active_count() == before
    np.testing.assert_array_equal(case.parameters.theta, start)


@pytest.mark.usefixtures("any_work")
def test_what_is_raised_in_another_thread_is_raised_here(monkeypatch: pytest.MonkeyPatch) -> None:
    case = cases.case((5, 40, 1), rows=64)
    memory = cases.workspace(case, gp.SGD(), 64, 1, threads=2)

    def broken(function: Any, threads: int, team: np.ndarray) -> int:
        def second_broken(thread: int) -> int:
            if thread == 1:
                raise MemoryError("in the other thread")
            return function(thread)

        return run_in_threads(second_broken, threads, team)

    monkeypatch.setattr(workspace, "run_in_threads", broken)
    with pytest.raises(MemoryError, match="in the other thread"):
        memory.run(0, 1, 15)


@pytest.mark.usefixtures("any_work")
@pytest.mark.skipif(os.name == "nt", reason="waiting threads do not sleep there: no sleep is shorter than a millisecond")
def test_a_thread_that_waits_for_long_sleeps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else it would keep a processor from the thread that it waits for, while others have that one's."""
    case = cases.case((5, 40, 1), rows=64)
    memory = cases.workspace(case, gp.SGD(), 64, 1, threads=2)
    memory.run(0, 1, 15)  # compiles
    awake: list[float] = []

    def late(function: Any, threads: int, team: np.ndarray) -> int:
        def second_late(thread: int) -> int:
            if thread == 1:
                time.sleep(0.3)
                return function(thread)
            begun = time.thread_time()
            reached = function(thread)
            awake.append(time.thread_time() - begun)
            return reached

        return run_in_threads(second_late, threads, team)

    monkeypatch.setattr(workspace, "run_in_threads", late)
    memory.run(0, 1, 15)
    assert awake[0] < 0.15


@pytest.mark.usefixtures("any_work")
@pytest.mark.parametrize("rows", [1, 33, 512, 700, 1100])
def test_predictions_have_the_same_bits_for_any_number_of_threads(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passes, "THREADED_FROM", 0)
    started: list[int] = []
    monkeypatch.setattr(workspace, "run_in_threads", lambda f, n, team: started.append(n) or run_in_threads(f, n, team))
    case = cases.case((7, 40, 30, 3), rows=rows, activation="tanh").of("float32")
    one, three = (passes.predict(case.network, case.parameters, case.X, threads=threads) for threads in (1, 3))
    np.testing.assert_array_equal(one, three)
    assert started == [1, min(3, max(2, -(-rows // 32)))]  # panels of rows, or 40 units of a single one


def test_a_small_prediction_starts_no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[int] = []
    monkeypatch.setattr(workspace, "run_in_threads", lambda f, n, team: started.append(n) or run_in_threads(f, n, team))
    monkeypatch.setattr(workspace, "available_threads", lambda: 2)
    network = gp.Network((64, 256, 256, 10))
    for rows in (256, 1024):
        passes.predict(network, network.initialize(0), np.zeros((rows, 64), np.float32))
    assert started == [1, 2]


@pytest.mark.parametrize("threads", [0, -1, 1.5, True, "2"])
def test_threads_must_be_a_whole_number(threads: Any) -> None:
    with pytest.raises((ValueError, TypeError), match="threads"):
        gp.train(gp.Network((1, 1)), [[1.0], [2.0]], [1.0, 2.0], threads=threads)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system lets no thread choose its processor")
def test_threads_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where others of the team run nobody stays, but may come back there. A system that forbids it is left alone."""
    asked: list[set[int]] = []
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2})
    monkeypatch.setattr(os, "sched_setaffinity", lambda pid, processors: asked.append(set(processors)))

    def parted(taken: set[int], *numbers: int) -> set[int]:
        asked.clear()
        left = iter(numbers)
        monkeypatch.setattr(threads, "_processor_number", lambda: lambda: next(left))
        threads.part(taken)
        return taken

    assert (parted(set(), 1, 1), asked) == ({1}, [])
    assert (parted({0}, 1, 1), asked) == ({0, 1}, [])
    assert (parted({0, 1}, 1, 2), asked) == ({0, 1, 2}, [{2}, {0, 1, 2}])
    assert (parted({0, 1, 2}, 1, 1), asked) == ({0, 1, 2}, [])

    def forbidden(*arguments: Any) -> None:
        raise PermissionError

    for call in ("sched_setaffinity", "sched_getaffinity"):
        monkeypatch.setattr(os, call, forbidden)
        assert parted({1}, 1, 1) == {1}


def test_every_thread_parts_from_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first one, too: it is woken where the thread that it has started runs."""
    who: list[int] = []
    monkeypatch.setattr(threads, "part", lambda taken: who.append(threading.get_ident()))
    assert run_in_threads(lambda thread: thread, 3, threads.new_team(3)) == 0
    assert len(who) == 3
    assert threading.get_ident() in who
