"""gp.train_many: every run to the bit what it is alone, and what happens to all when something happens to one."""

from __future__ import annotations

import os
import signal
import threading
import time
import tracemalloc

import numpy as np
import pytest
from sklearn.datasets import load_digits

import glassprop as gp
from glassprop.core import activations
from glassprop.core.workspace import Workspace
from glassprop.training import data as data_module

SMALL = gp.Network((64, 12, 10), loss="cross_entropy")
DROPOUT = gp.Network((64, 20, 10), loss="cross_entropy", dropout=0.2, l2=1e-4)
DEEP = gp.Network((64, 9, 7, 10), activation="tanh", loss="cross_entropy")
HALF = np.arange(300) % 2 == 0
FOLDS = [np.flatnonzero(np.arange(300) % 3 != fold) for fold in range(3)]
MIXED = np.random.default_rng(5).integers(0, 300, 170)  # unsorted, some twice
WEIGHTS = np.random.default_rng(6).uniform(0.5, 2, 300)


@pytest.fixture(scope="module", params=["float32", "float64"])
def table(request):
    X, y = load_digits(return_X_y=True)
    return (X[:300] / 16).astype(request.param), y[:300]


@pytest.fixture(scope="module")
def held_out():
    X, y = load_digits(return_X_y=True)
    return X[300:420] / 16, y[300:420]


@pytest.fixture(scope="module")
def plane():
    X = np.random.default_rng(3).normal(size=(50, 3))
    return X, np.sin(X @ [1.0, -2.0, 0.5])[:, None]


LINE = gp.Network((3, 4, 1))


def alone(k, X, y, arguments):
    """`gp.train` with the k-th network's settings on its rows, copied."""
    own = {name: value[k] if isinstance(value, list) else value for name, value in arguments.items() if name != "threads"}
    rows = own.pop("rows", None)
    if rows is not None:
        X, y = X[rows], y[rows]
        if own.get("weights") is not None:
            own["weights"] = own["weights"][rows]
    return gp.train(own.pop("network", SMALL), X, y, **own)


def same(a: gp.Run, b: gp.Run) -> None:
    assert np.array_equal(a.parameters.theta, b.parameters.theta)
    assert np.array_equal(a._theta, b._theta)
    assert (a.best_epoch, a.stopped, a.seed, a.optimizer) == (b.best_epoch, b.stopped, b.seed, b.optimizer)
    for name in a.history.dtype.names:
        if name != "seconds":
            assert np.array_equal(a.history[name], b.history[name], equal_nan=True), name


CASES = {
    "seeds": {"seed": [0, 1, 2, 3, 4]},
    "dropout": {"network": DROPOUT, "seed": [5, 6, 7]},
    "optimizers": {"optimizer": [gp.SGD(0.1, momentum=0.9), gp.Adam(gp.Cosine(1e-2, steps=40)), None], "seed": 1},
    "learning rates of the user": {"optimizer": [gp.Adam(lambda s: 0.01 / (1 + s)), gp.SGD(lambda s: 0.1)], "seed": 1},
    "networks": {"network": [SMALL, DEEP, DROPOUT], "seed": 2},
    "parameters": {"parameters": [SMALL.initialize(8), None, SMALL.initialize(9)], "seed": 2},
    "batches and epochs": {"batch_size": [7, 32, 1000], "epochs": [2, 5, 3], "shuffle": [True, False, True], "seed": 2},
    "rows of masks": {"rows": [HALF, ~HALF, None], "seed": 2},
    "rows of folds": {"rows": FOLDS, "seed": [4, 5, 6]},
    "rows in any order": {"rows": [MIXED, MIXED[::-1].astype(np.uint16)], "seed": 2, "shuffle": [True, False]},
    "rows for all": {"rows": MIXED, "seed": [1, 2]},
    "a fraction": {"validation": [0.2, 0.3, None], "seed": 3},
    "a fraction of rows": {"rows": [FOLDS[0], MIXED, HALF], "validation": 0.25, "seed": 3},
    "weights": {"weights": WEIGHTS, "rows": [*FOLDS, None], "seed": 3, "validation": 0.2},
    "own weights": {"weights": [WEIGHTS, None, WEIGHTS[::-1]], "rows": MIXED, "seed": 3},
    "patience": {"patience": [1, 3, None], "tolerance": [0.5, 0.0, 0.0], "validation": 0.3, "epochs": 30, "seed": 3},
    "scores": {"scoring": ["accuracy", "neg_log_loss", None], "validation": 0.3, "seed": 3},
    "last parameters": {"restore_best": [True, False], "validation": 0.3, "optimizer": gp.Adam(0.3), "epochs": 9, "seed": 3},
    "callbacks": {"callbacks": [lambda epoch: epoch.epoch == 2, (print, lambda epoch: epoch.epoch == 1), ()], "seed": 3},
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_each_is_to_the_bit_what_it_is_alone(table, case):
    arguments = {"epochs": 4, **CASES[case]}
    runs = gp.train_many(arguments.get("network", SMALL), *table, **{k: v for k, v in arguments.items() if k != "network"})
    assert len(runs) == max(len(value) for value in arguments.values() if isinstance(value, list))
    for k, run in enumerate(runs):
        same(run, alone(k, *table, arguments))


def test_validation_rows_of_their_own(table, held_out):
    """One tuple for all, or a list with one for each; what is written as float64 is computed in the table's precision."""
    folds = [(table[0][~HALF], table[1][~HALF]), (*held_out, np.r_[np.ones(60), np.zeros(60)])]
    for validation in (held_out, folds):
        arguments = {"validation": validation, "rows": [HALF, FOLDS[0]], "seed": 1, "epochs": 6, "patience": 2}
        for k, run in enumerate(gp.train_many(SMALL, *table, **arguments)):
            same(run, alone(k, *table, arguments))


@pytest.mark.parametrize("threads", [1, 2, 3, 8, None])
def test_the_number_of_threads_does_not_matter(table, threads):
    arguments = {"seed": [0, 1, 2, 3, 4], "rows": MIXED, "validation": 0.2, "epochs": 3, "batch_size": 150}
    for k, run in enumerate(gp.train_many(DROPOUT, *table, threads=threads, **arguments)):
        same(run, alone(k, *table, {"network": DROPOUT, **arguments}))


def test_each_is_a_run_like_any_other(table):
    arguments = {"seed": [3, 4], "rows": FOLDS[:2], "validation": 0.2}
    whole = gp.train_many(DROPOUT, *table, epochs=7, **arguments)
    for k, run in enumerate(gp.train_many(DROPOUT, *table, epochs=3, **arguments)):
        same(run.resume(4), whole[k])
        assert np.array_equal(run.resume(4).predict(table[0]), whole[k].predict(table[0]))


def test_without_a_seed_each_network_draws_its_own(plane):
    runs = gp.train_many([LINE, LINE, LINE], *plane, epochs=1)
    assert len({run.seed for run in runs}) == 3
    same(runs[2], gp.train(LINE, *plane, epochs=1, seed=runs[2].seed))


# --- the data -----------------------------------------------------------------------------------------------------------


def test_the_data_are_checked_and_converted_once(table, held_out, monkeypatch):
    calls = []
    for name in ("check_inputs", "check_targets", "check_weights", "check_rows"):
        check = getattr(data_module, name)
        monkeypatch.setattr(data_module, name, lambda *a, c=check, n=name: calls.append((n, a[-1])) or c(*a))
    X, y = table
    given = {"weights": WEIGHTS, "rows": HALF, "validation": held_out}
    runs = gp.train_many([SMALL, DEEP] * 3, X.astype("f2"), y, epochs=1, seed=0, **given)
    assert len(calls) == len(set(calls)) == 7  # two tables of X, Y and weights, and the rows
    for name in ("X", "Y", "weights", "chosen"):
        assert all(getattr(run._data, name) is getattr(runs[0]._data, name) for run in runs)
    assert all(run._data.validation[0] is runs[0]._data.validation[0] for run in runs)


def test_networks_that_ask_for_other_targets_are_checked_anew(table):
    """What passed for one loss need not for another; what was converted is not converted again."""
    X, y = table
    ten = np.eye(10)[y]
    runs = gp.train_many([SMALL, gp.Network((64, 5, 10))], X, ten, epochs=1, seed=0)
    assert runs[0]._data.Y is runs[1]._data.Y
    with pytest.raises(ValueError, match=r"Y must be of shape \(rows, 1\); got \(300, 10\)") as raised:
        gp.train_many([SMALL, gp.Network((64, 5, 1))], X, ten, epochs=1, seed=0)
    assert raised.value.__notes__ == ["raised for network 1 of train_many, counted from 0"]


def test_the_table_is_not_copied():
    X = np.random.default_rng(0).normal(size=(20_000, 100))
    Y = X[:, :1].copy()
    rows = [np.flatnonzero(np.arange(20_000) % 5 != fold) for fold in range(5)]
    tracemalloc.start()
    runs = gp.train_many(gp.Network((100, 2, 1)), X, Y, rows=rows, epochs=1, seed=0, batch_size=500)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert all(run._data.X is X and run._data.Y is Y for run in runs)
    # the truth values by which it is found to be finite, and the row numbers; the rows of one fold would be four fifths
    assert peak < X.nbytes / 2


def test_row_numbers_are_a_copy(plane):
    """The core reads where they point, so nobody may change them afterwards."""
    rows = np.arange(25)
    run = gp.train_many(LINE, *plane, rows=[rows], epochs=1, seed=0)[0]
    rows[:] = 2**40
    same(run.resume(2), gp.train(LINE, plane[0][:25], plane[1][:25], epochs=3, seed=0))


# --- side by side -------------------------------------------------------------------------------------------------------


def test_as_many_networks_as_threads_are_under_way_at_a_time(plane):
    """Two learning rates that wait for each other: one after the other they would wait for ever."""
    meeting = threading.Barrier(2, timeout=30)

    def rate(step: int) -> float:
        if step == 0:
            meeting.wait()
        return 0.01

    runs = gp.train_many(LINE, *plane, optimizer=[gp.SGD(rate)] * 6, epochs=2, threads=2)
    assert [run.epochs for run in runs] == [2] * 6


@pytest.mark.parametrize(("networks", "threads", "each"), [(2, 5, 2), (3, 2, 1), (1, 3, 3), (4, 4, 1)])
def test_fewer_networks_than_threads_share_them(table, monkeypatch, networks, threads, each):
    used, crew = set(), set()
    run = Workspace.run
    monkeypatch.setattr("glassprop.core.workspace.FLOPS_FOR_THREADS", 1.0)

    def watched(self, *arguments):
        used.add(self.crew.most)
        crew.add(threading.get_ident())
        return run(self, *arguments)

    monkeypatch.setattr(Workspace, "run", watched)
    gp.train_many(SMALL, *table, seed=list(range(networks)), batch_size=300, epochs=30, threads=threads)
    assert used == {each}
    assert 1 <= len(crew) <= min(networks, threads)
    assert threading.main_thread().ident not in crew


def test_callbacks_and_scorers_are_called_one_at_a_time(plane):
    inside, met = [], []

    def alone_in_here(*arguments: object) -> float:
        inside.append(None)
        time.sleep(0.001)
        met.append(len(inside))
        inside.pop()
        return float(len(met))

    gp.train_many(
        LINE, *plane, seed=[0, 1, 2, 3], epochs=8, validation=0.3, callbacks=alone_in_here, scoring=alone_in_here, threads=4
    )
    assert met == [1] * (2 * 4 * 8)


def test_an_activation_is_compiled_once(plane, monkeypatch):
    """Whoever comes first compiles, the others wait."""
    calls = []
    kernel = activations.kernel
    monkeypatch.setattr(activations, "kernel", lambda *a, **k: calls.append(a[1]) or kernel(*a, **k))
    network = gp.Network((3, 4, 1), activation=gp.Activation("cube", lambda g: g**3, lambda g: 3 * g * g))
    gp.train_many(network, *plane, seed=[0, 1, 2, 3], epochs=1, threads=4, optimizer=gp.SGD(1e-4))
    assert sorted(calls) == ["cube-dphi", "cube-phi"]


def test_the_callers_context_holds_in_the_threads(plane):
    seen = []
    with np.errstate(divide="raise"):
        gp.train_many(
            LINE, *plane, seed=[0, 1], epochs=1, callbacks=lambda epoch: seen.append(np.geterr()["divide"]), threads=2
        )
    assert seen == ["raise", "raise"]


def test_one_bar_for_all(plane, capfd):
    gp.train_many(LINE, *plane, seed=[0, 1, 2], epochs=3, patience=1, tolerance=9.0, progress=True)
    captured = capfd.readouterr()
    assert captured.out == ""
    assert "network 3/3" in captured.err  # although patience ended them early
    assert "epoch" not in captured.err
    gp.train_many(LINE, *plane, seed=[0, 1], epochs=3)
    assert capfd.readouterr().err == ""


# --- when something happens to one --------------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [1, 2])
def test_ctrl_c_ends_all_and_keeps_what_they_learned(table, threads):
    arguments = {"seed": [0, 1, 2, 3, 4], "epochs": [2, 10**6, 10**6, 2, 10**6]}
    gp.train(DROPOUT, *table, epochs=1)  # compiled before the clock runs
    timer = threading.Timer(0.8, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    begun = time.perf_counter()
    runs = gp.train_many(DROPOUT, *table, threads=threads, **arguments)
    assert time.perf_counter() - begun < 0.8 + 3
    timer.join()
    assert [run.interrupted for run in runs] == [False, True, True, True, True]
    assert runs[0].stopped == "2 epochs done"
    assert runs[threads].stopped.startswith(f"interrupted in epoch {runs[threads].epochs + 1}; what was learned is kept")
    for run in runs[1 + threads :]:
        assert run.stopped == "interrupted before the first step"
        assert (run.epochs, run.best_epoch) == (0, 0)
        assert np.array_equal(run.predict(table[0]), run.predict(table[0]))
    for k, run in enumerate(runs):
        same(run.resume(2), gp.train(DROPOUT, *table, seed=k, epochs=run.epochs + 2))


def test_ctrl_c_that_reaches_a_callback_ends_all(plane):
    def press(epoch: gp.Epoch) -> None:
        if epoch.epoch == 3:
            raise KeyboardInterrupt

    runs = gp.train_many(LINE, *plane, seed=[0, 1, 2], epochs=10**6, callbacks=[None, press, ()], threads=2)
    assert [run.interrupted for run in runs] == [True] * 3
    assert (runs[1].epochs, runs[2].epochs) == (3, 0)


def test_one_that_diverges_warns_with_its_number_and_the_others_go_on(plane):
    optimizer = [gp.SGD(0.01), gp.SGD(1e30), gp.SGD(0.02), gp.SGD(1e20)]
    with pytest.warns(gp.DivergenceWarning) as caught:
        runs = gp.train_many(gp.Network((3, 8, 1), activation="leaky_relu"), *plane, optimizer=optimizer, seed=0, epochs=20)
    assert [str(warning.message) for warning in caught] == [f"network {k}: {runs[k].stopped}" for k in (1, 3)]
    assert {warning.filename for warning in caught} == {__file__}
    assert [run.diverged for run in runs] == [False, True, False, True]
    assert (runs[0].epochs, runs[2].epochs) == (20, 20)
    assert not any(run.interrupted for run in runs)


@pytest.mark.parametrize("where", ["callbacks", "scoring", "optimizer"])
def test_what_one_raises_stops_all_and_is_raised(plane, where):
    calls = []

    def fail(*arguments: object) -> float:
        calls.append(None)
        if len(calls) > 3:
            raise ZeroDivisionError("of the caller")
        return 0.5

    good = {"callbacks": (), "scoring": "r2", "optimizer": gp.SGD(0.01)}[where]
    bad = gp.SGD(fail) if where == "optimizer" else fail
    begun = time.perf_counter()
    with pytest.raises(ZeroDivisionError, match="of the caller") as raised:
        gp.train_many(LINE, *plane, validation=0.3, epochs=10**6, seed=0, threads=2, **{where: [good, bad, good]})
    assert time.perf_counter() - begun < 10
    assert len(calls) == 4
    assert raised.value.__notes__ == ["raised for network 1 of train_many, counted from 0"]


def test_a_warning_raised_as_an_error_in_a_thread_is_raised(plane):
    def complain(epoch: gp.Epoch) -> None:
        np.float64(1) / np.float64(0)

    with pytest.raises(RuntimeWarning, match="divide by zero"):
        gp.train_many(LINE, *plane, seed=[0, 1], epochs=3, callbacks=complain)


# --- what a person may get wrong ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message", "number"),
    [
        ({}, r"train_many needs a list with a value for each network, such as seed=\[0, 1, 2\]; got none", None),
        (
            {"seed": [0, 1, 2], "optimizer": [gp.SGD(0.1), gp.Adam()], "epochs": [1, 2, 3]},
            r"lists must be of one length, with a value for each network; got optimizer 2, epochs 3, seed 3; a sequence",
            None,
        ),
        ({"seed": []}, r"seed must hold a value for each network; it is empty", None),
        ({"seed": [0, -1]}, r"seed must be a whole number from 0 to 2\*\*63 - 1; got -1", 1),
        ({"epochs": [1, 1, 0]}, r"epochs must be at least 1; got 0", 2),
        ({"network": [LINE, gp.Network((2, 1))]}, r"X must have 2 columns, as the network has inputs; got 3", 1),
        ({"scoring": [None, "acuracy"], "validation": 0.3}, r"scoring must be one of .*; did you mean 'accuracy'", 1),
        ({"seed": [0], "threads": 0}, r"threads must be at least 1; got 0", 0),
        ({"rows": [HALF]}, r"rows must be a truth value for each of the 50 rows of X; got 300", 0),
        ({"rows": [[0, 1], [0, 50]]}, r"rows must be numbers from 0 to 49, as X has 50 rows; got 50", 1),
        ({"rows": [[0, 1], [-1, 5]]}, r"rows must be numbers from 0 to 49, as X has 50 rows; got -1", 1),
        ({"rows": [np.arange(0)]}, r"rows must name at least one row of X; got none", 0),
        ({"rows": [np.zeros(50, bool)]}, r"rows must name at least one row of X; got none", 0),
        ({"rows": [3, 4]}, r"rows of a network must be one-dimensional, row numbers or truth values; got 3", 0),
        ({"rows": [np.ones(3)]}, r"rows of a network must be .*; got float64 of shape \(3,\)", 0),
        (
            {"rows": [[0, 1], [2, 3]], "weights": np.r_[1.0, np.zeros(49)]},
            r"weights must not all be 0 in the rows to train on",
            1,
        ),
    ],
)  # fmt: skip
def test_values(plane, arguments, message, number):
    with pytest.raises(ValueError, match=message) as raised:
        gp.train_many(**{"network": LINE, "X": plane[0], "Y": plane[1], **arguments})
    notes = [] if number is None else [f"raised for network {number} of train_many, counted from 0"]
    assert getattr(raised.value, "__notes__", []) == notes


def test_rows_of_one_class_are_refused(table):
    X, y = table
    with pytest.raises(ValueError, match=r"Y must hold at least two classes to learn from; all \d+ rows are of class 7"):
        gp.train_many(SMALL, X, y, rows=[y < 7, y == 7])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"network": [LINE, "line"]}, r"network must be a glassprop.Network; got str"),
        ({"validation": [0.5, "half"]}, r"validation must be a fraction, \(X, Y\) or \(X, Y, weights\); got str"),
        ({"seed": [0], "threads": 1.5}, r"threads must be a whole number; got 1.5"),
        ({"callbacks": [print, 3]}, r"callbacks must be functions of an epoch; got 3"),
        ({"seed": [0, 1], "scoring": 3, "validation": 0.3}, r"scoring must be a scorer's name or a function; got 3"),
    ],
)
def test_types(plane, arguments, message):
    with pytest.raises(TypeError, match=message):
        gp.train_many(**{"network": LINE, "X": plane[0], "Y": plane[1], "epochs": 1, **arguments})


@pytest.mark.parametrize("wrong", [{"epochs": [1, 0]}, {"scoring": ["r2", "r3"], "validation": 0.3}], ids=str)
def test_all_is_checked_before_anything_is_trained(plane, wrong):
    seen = []
    with pytest.raises(ValueError, match="must be"):
        gp.train_many(LINE, *plane, seed=[0, 1], callbacks=seen.append, **wrong)
    assert seen == []


def test_rows_held_out_are_copied_once_for_each_seed():
    X = np.random.default_rng(0).normal(size=(40, 3)).astype("f")
    runs = gp.train_many(gp.Network((3, 2, 1)), X, X[:, 0], seed=[0, 0, 1], validation=0.2, epochs=1)
    first, second, other = (run._data.validation[0] for run in runs)
    assert first is second
    assert not np.array_equal(first, other)
