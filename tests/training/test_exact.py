"""Same seed, same bits: twice, with and without onlookers, in another process, and when training is continued."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from sklearn.datasets import load_digits

import glassprop as gp

RULES = [
    gp.SGD(0.05),
    gp.SGD(0.05, momentum=0.9, nesterov=True),
    gp.RMSprop(1e-3),
    gp.Rprop(1e-3),
    gp.Adagrad(0.02),
    gp.Adam(1e-3, clip_norm=0.5, layer_factors=(1.0, 0.5)),
    gp.AdamW(1e-3, weight_decay=0.1),
]
SCHEDULES = [
    gp.InverseScaling(1e-2),
    gp.Exponential(1e-2, decay=0.9, steps=20),
    gp.Cosine(1e-2, steps=90, warmup=10),
    gp.OneCycle(1e-2, steps=90),
    lambda step: 1e-2 / (1 + step % 7),
]


@pytest.fixture(scope="module", params=["float32", "float64"])
def table(request):
    X, y = load_digits(return_X_y=True)
    return (X[:300] / 16).astype(request.param), y[:300]


def network(dropout=0.2):
    return gp.Network((64, 20, 10), loss="cross_entropy", dropout=dropout, l2=1e-4)


def same(a: gp.Run, b: gp.Run) -> None:
    assert np.array_equal(a.parameters.theta, b.parameters.theta)
    assert np.array_equal(a._theta, b._theta)
    assert a.best_epoch == b.best_epoch
    for name in a.history.dtype.names:
        if name != "seconds":
            assert np.array_equal(a.history[name], b.history[name], equal_nan=True), name


@pytest.mark.parametrize("optimizer", [*RULES, *map(gp.Adam, SCHEDULES)])
def test_continuing_is_exact(table, optimizer):
    arguments = {"optimizer": optimizer, "seed": 3, "batch_size": 32, "validation": 0.2}
    whole = gp.train(network(), *table, epochs=9, **arguments)
    same(whole, gp.train(network(), *table, epochs=4, **arguments).resume(5))
    same(whole, gp.train(network(), *table, epochs=1, **arguments).resume(1).resume(3).resume(4))


def test_a_run_can_be_continued_twice(table):
    run = gp.train(network(), *table, epochs=2, seed=0)
    before = run.parameters.theta.copy()
    same(run.resume(2), run.resume(2))
    assert np.array_equal(run.parameters.theta, before)
    assert run.epochs == 2


def test_continuing_with_a_score_and_patience(table):
    arguments = {"seed": 3, "validation": 0.3, "scoring": "accuracy", "patience": 50}
    whole = gp.train(network(), *table, epochs=8, **arguments)
    same(whole, gp.train(network(), *table, epochs=3, **arguments).resume(5))


def test_continuing_after_patience_goes_on(table):
    run = gp.train(network(), *table, epochs=500, seed=3, validation=0.3, patience=1, optimizer=gp.Adam(0.1))
    assert run.epochs < 500
    assert run.resume(3).epochs > run.epochs


def test_onlookers_change_nothing(table, capfd):
    plain = gp.train(network(), *table, epochs=5, seed=1, validation=0.2)
    same(plain, gp.train(network(), *table, epochs=5, seed=1, validation=0.2))
    same(plain, gp.train(network(), *table, epochs=5, seed=1, validation=0.2, progress=True))
    same(plain, gp.train(network(), *table, epochs=5, seed=1, validation=0.2, callbacks=lambda epoch: None))


def test_other_seeds_give_other_bits_and_a_drawn_seed_is_told(table):
    one, two = (gp.train(network(), *table, epochs=1) for _ in range(2))
    assert one.seed != two.seed
    assert not np.array_equal(one.parameters.theta, two.parameters.theta)
    same(one, gp.train(network(), *table, epochs=1, seed=one.seed))


def test_pieces_of_a_call_do_not_matter(table, monkeypatch):
    """However the core's calls are cut, the bits are the same."""
    from glassprop.training import loop

    plain = gp.train(network(), *table, epochs=4, seed=1, validation=0.2)
    monkeypatch.setattr(loop, "SECONDS_PER_CALL", 1e-9)  # a call for every step
    same(plain, gp.train(network(), *table, epochs=4, seed=1, validation=0.2))


PROGRAM = """
import sys, numpy as np, glassprop as gp
from sklearn.datasets import load_digits
X, y = load_digits(return_X_y=True)
network = gp.Network((64, 20, 10), loss="cross_entropy", dropout=0.2, l2=1e-4)
run = gp.train(network, (X[:300] / 16).astype(sys.argv[1]), y[:300], epochs=5, seed=1, validation=0.2)
sys.stdout.write(run.parameters.theta.tobytes().hex())
"""


def test_another_process_gives_the_same_bits(table):
    dtype = table[0].dtype.name
    there = subprocess.run([sys.executable, "-c", PROGRAM, dtype], capture_output=True, text=True, check=True).stdout
    here = gp.train(network(), *table, epochs=5, seed=1, validation=0.2)
    assert bytes.fromhex(there) == here.parameters.theta.tobytes()


@pytest.mark.parametrize("where", ["score", "callback", "second callback"])
def test_ctrl_c_while_an_epoch_is_judged_resumes_exactly(where, table):
    """The epoch is in the history then, but has no score, or callbacks do not know of it."""
    pressed, seen = [], []

    def press(at):
        if at == where and len(seen) == 5 and not pressed:
            pressed.append(at)
            raise KeyboardInterrupt

    def scoring(y, found):
        seen.append(len(seen))
        press("score")
        return -float(np.abs(y[:, None] - found).mean())

    def training():
        pressed.clear()
        seen.clear()
        told = []

        def first(epoch):
            press("callback")
            told.append((epoch.epoch, epoch.score))

        given = {"validation": 0.3, "patience": 4, "batch_size": 50, "optimizer": gp.Adam(0.01), "seed": 1, "shuffle": False}
        return given | {"scoring": scoring, "callbacks": [first, lambda epoch: press("second callback")]}, told

    X, y = table
    net = gp.Network((64, 8, 1))
    asked, told = training()
    pressed.append("not this time")
    whole = gp.train(net, X, y / 10, epochs=12, **asked)
    asked, told_again = training()
    run = gp.train(net, X, y / 10, epochs=12, **asked)
    assert run.interrupted
    assert run.epochs == 5
    if where != "score":
        seen.append(5)
    more = run.resume(12 - run.epochs)
    same(whole, more)
    assert dict(told) == dict(told_again)
