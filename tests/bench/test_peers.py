"""The peers compute what glassprop computes: same start, same rows in the same order, same parameters afterwards."""

import ctypes
from dataclasses import replace

import numpy as np
import pytest

import glassprop as gp
from glassprop.bench import tasks
from glassprop.bench.ours import Glassprop
from glassprop.bench.peers import PEERS
from glassprop.bench.tasks import Rows, Task, draw_start
from glassprop.training.data import Data, RowOrder

TASK = Task("few", (5, 16, 8, 3), 8, 48)
CLASSES = replace(TASK, loss="cross_entropy", dtype="float64", alpha=0.5)
EPOCHS, SEED = 2, 3


def rows_of(task):
    draw = np.random.default_rng(0)
    X = draw.normal(size=(task.rows, task.layers[0])).astype(task.dtype)
    Y = draw.integers(3, size=task.rows) if task.loss == "cross_entropy" else draw.normal(size=(task.rows, 3))
    return Rows(X, Y if task.loss == "cross_entropy" else Y.astype(task.dtype))


def expected(task, rows, start):
    network = gp.Network(task.layers, loss=task.loss, l2=task.alpha / task.batch)
    parameters = gp.Parameters.from_arrays(*zip(*start, strict=True))
    run = gp.train(network, *rows[:2], parameters=parameters, epochs=EPOCHS, batch_size=task.batch, seed=SEED, threads=1)
    return run.parameters, run.history.loss


def agrees(weights, parameters, start, tolerance=1e-4):
    for l, (W, b) in enumerate(weights):
        np.testing.assert_allclose(W, parameters.W[l], rtol=tolerance, atol=tolerance)
        np.testing.assert_allclose(b, parameters.b[l], rtol=tolerance, atol=tolerance)
        assert np.abs(W - start[l][0]).max() > 1e-3  # it has moved by more than it may differ


def trains_alike(peer, task, rows):
    start = draw_start(task, 1)
    parameters, losses = expected(task, rows, start)
    order = RowOrder(Data(*rows[:2], None, None, None), SEED, True)
    for _ in range(2):  # the second time from the start, as between samples
        peer.restart(start)
        for epoch in range(EPOCHS):
            last = float(peer.train_epoch(order.of(epoch)))
    agrees(peer.weights(), parameters, start)
    return last, losses[-1]


@pytest.fixture
def jax_peer():
    jax = pytest.importorskip("jax")
    pytest.importorskip("optax")
    from glassprop.bench import jax_peer

    before = jax.config.jax_enable_x64
    yield jax_peer
    jax.config.update("jax_enable_x64", before)


@pytest.mark.parametrize(("task", "form"), [(TASK, 1), (TASK, 3), (CLASSES, 0), (CLASSES, 2)])
def test_jax_trains_alike_in_every_form(jax_peer, task, form):
    rows = rows_of(task)
    peer = jax_peer.Jax(task, rows, 1, list(jax_peer.FORMS)[form])
    loss, ours = trains_alike(peer, task, rows)
    assert loss == pytest.approx(ours, rel=1e-3)
    np.testing.assert_allclose(peer.predict(rows.X).shape, (task.rows, 3))


def test_jax_stays_with_its_fastest_form(jax_peer, monkeypatch):
    monkeypatch.setattr(jax_peer, "TRIAL_SECONDS", 0.001)
    monkeypatch.setattr(jax_peer, "FORMS", dict(list(jax_peer.FORMS.items())[:1]))
    peer = jax_peer.Jax(TASK, rows_of(TASK), 1)
    peer.settle(draw_start(TASK, 1))
    assert peer.form in jax_peer.FORMS
    peer.train(1)


@pytest.mark.parametrize("task", [TASK, CLASSES], ids=["squares", "classes"])
def test_torch_trains_alike(task):
    torch = pytest.importorskip("torch")
    from glassprop.bench import torch_peer

    threads = torch.get_num_threads()
    try:
        rows, task = rows_of(task), replace(task, end="stale")  # which needs the epoch's mean loss
        peer = torch_peer.Eager(task, rows, 1)
        loss, ours = trains_alike(peer, task, rows)
        assert loss == pytest.approx(ours, rel=1e-3)
        assert peer.predict(rows.X).shape == (task.rows, 3)
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("end", ["stale", ""])
def test_torch_tells_the_mean_of_all_batches_where_the_fit_ends_by_it(end):
    """Of the last one, too, which rows left over have made a smaller one. Else that one's own, and nothing is added up."""
    torch = pytest.importorskip("torch")
    from glassprop.bench import torch_peer

    threads = torch.get_num_threads()
    try:
        task = replace(TASK, rows=52, end=end)
        rows, losses = rows_of(task), []
        peer = torch_peer.Eager(task, rows, 1)
        peer.restart(draw_start(task, 1))
        peer.loss = lambda X, Y: losses.append(peer._loss(X, Y)) or losses[-1]
        told = float(peer.train_epoch(np.arange(52)))
        each = [loss.item() for loss in losses]
        assert len(each) == 7
        assert told == pytest.approx(np.mean(each) if end else each[-1])
    finally:
        torch.set_num_threads(threads)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of what Keras imports
def test_keras_trains_alike(monkeypatch):
    """It draws its own row orders; with all rows in one batch they do not matter."""
    pytest.importorskip("jax")
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    pytest.importorskip("keras")
    from glassprop.bench import keras_peer

    task = replace(TASK, batch=TASK.rows)
    rows, start = rows_of(task), draw_start(task, 1)
    peer = keras_peer.Keras(task, rows, 1)
    for _ in range(2):
        peer.restart(start)
        peer.train(EPOCHS)
    weights = peer.model.get_weights()
    agrees(list(zip(weights[::2], weights[1::2], strict=True)), expected(task, rows, start)[0], start)


def test_scikit_learn_and_fann_learn():
    task = replace(TASK, rows=480)
    X = rows_of(task).X
    rows = Rows(X, np.tanh(X[:, :3]))
    variance = rows.Y.var()
    sklearn = PEERS["sklearn"].make(task, rows, 1)
    sklearn.restart(draw_start(task, 1))
    sklearn.train(40)
    assert ((sklearn.predict(X) - rows.Y) ** 2).mean() < 0.5 * variance
    if PEERS["fann"].absent():
        pytest.skip("libfloatfann is not installed: scikit-learn alone was checked")
    fann = PEERS["fann"].make(task, rows, 1)
    fann.restart(draw_start(task, 1))
    fann.fann.fann_set_learning_rate(fann.network, ctypes.c_float(0.5))
    losses = [fann.train_epoch(np.random.default_rng(i).permutation(task.rows)) for i in range(30)]
    assert losses[-1] < 0.8 * losses[0]


def test_whole_fits_end_where_they_should():
    classes = (np.arange(120) % 3).astype(np.int64)
    X = np.eye(3, dtype=np.float32)[classes] + np.random.default_rng(0).normal(size=(120, 3)).astype(np.float32) / 20
    rows = Rows(X, classes, X, classes)
    task = Task("easy", (3, 16, 3), 8, 120, "accuracy", 50, "cross_entropy")
    for name in ("glassprop", "sklearn"):
        peer = PEERS[name].make(task, rows, 1)
        peer.restart(draw_start(task, 0))
        assert 1 < peer.fit() < 50
        assert peer.accuracy() >= tasks.ACCURACY
    ours = Glassprop(replace(task, end="epochs"), rows, 1)
    ours.restart(draw_start(task, 0))
    assert ours.fit() == 50
    assert Glassprop(replace(task, end="stale"), rows, 1).task.end == "stale"


def test_operations_of_a_step_as_counted_by_hand():
    task = tasks.TASKS["medium"]
    forward = 64 * 256 + 256 * 256 + 256 * 10
    backward = 256 * 256 + 256 * 10
    assert task.flops == 2 * 128 * (2 * forward + backward)


def test_what_takes_part_where():
    large, digits, small = (tasks.TASKS[name] for name in ("large", "digits", "small"))
    assert "minutes" in PEERS["fann"].refuses(large, 1)
    assert PEERS["fann"].refuses(small, 2)
    assert PEERS["keras"].refuses(digits, 1)
    assert PEERS["jax-one"].refuses(small, 1)
    assert not PEERS["jax-one"].refuses(small, 2)
    assert PEERS["jax-one"].process_threads(2) == 1
    assert not PEERS["sklearn"].refuses(digits, 2)
    assert "mnist" in tasks.missing(replace(tasks.TASKS["mnist"])) or tasks.missing(tasks.TASKS["mnist"]) == ""
