"""gp.train: what it learns, how it stops, what it reports."""

from __future__ import annotations

import os
import signal
import threading
import time

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.metrics import accuracy_score, balanced_accuracy_score

import glassprop as gp
import reference as ref
from glassprop.core.workspace import Workspace
from glassprop.training.data import held_out_rows


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    return X / 16, y


@pytest.fixture(scope="module")
def plane():
    rng = np.random.default_rng(3)
    X = rng.normal(size=(50, 3))
    return X, np.sin(X @ [1.0, -2.0, 0.5])[:, None] + 0.1 * X[:, :1]


def test_learns_digits(digits):
    X, y = digits
    unseen = np.arange(len(y)) % 4 == 0
    run = gp.train(gp.Network((64, 64, 10), loss="cross_entropy"), X[~unseen], y[~unseen], epochs=40, seed=0)
    assert accuracy_score(y[unseen], run.predict(X[unseen]).argmax(1)) > 0.97
    assert run.history.loss[-1] < 0.1 < run.history.loss[0]
    assert run.stopped == "40 epochs done"
    assert list(run.history.epoch) == list(range(1, 41))


def test_learns_two_classes_with_one_output():
    X, y = load_breast_cancer(return_X_y=True)
    X = (X - X.mean(0)) / X.std(0)
    run = gp.train(gp.Network((30, 16, 1), loss="binary_cross_entropy"), X[:400], y[:400], epochs=60, seed=0)
    assert accuracy_score(y[400:], run.predict(X[400:])[:, 0] > 0.5) > 0.94


def test_history_is_that_of_the_slow_reference(plane):
    """Loss, gradient norm and parameters of every epoch, over batches in the run's own order, the tail included."""
    X, Y = plane
    network = gp.Network((3, 5, 1), activation="tanh", l2=0.01)
    run = gp.train(network, X, Y, optimizer=gp.SGD(0.1, momentum=0.9), epochs=3, batch_size=16, seed=5, shuffle=False)
    start = network.initialize(5)
    theirs = ref.Network((3, 5, 1), activations=["tanh"], l2=0.01)
    batches = [list(range(i, min(i + 16, 50))) for i in range(0, 50, 16)]
    after, _, losses = ref.train(
        theirs,
        ref.Parameters([w.tolist() for w in start.W], [b.tolist() for b in start.b]),
        X.tolist(),
        Y.tolist(),
        batches * 3,
        ref.Optimizer("sgd", 0.1, {"momentum": 0.9}),
    )
    per_epoch = np.reshape(losses, (3, 4)) @ np.array([16, 16, 16, 2]) / 50
    np.testing.assert_allclose(run.history.loss, per_epoch, rtol=1e-12)
    for mine, other in zip(run.parameters.W + run.parameters.b, after.W + after.b, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-11, atol=1e-13)


def test_every_epoch_takes_every_row_once_in_a_new_order(plane):
    """With one weight, a linear output and a learning rate of nearly 0, the batch losses tell which rows were taken."""
    from glassprop.training.data import RowOrder, check_data

    data = check_data(gp.Network((3, 1)), *plane, None, 0.2, 7)
    order, again = RowOrder(data, 7, True), RowOrder(data, 7, True)
    epochs = np.empty((3, 40), np.int64)
    order.write(0, epochs)
    for e in range(3):
        assert epochs[e].tolist() == ref.row_order(data.chosen.tolist(), 7, e)
        assert sorted(epochs[e]) == sorted(data.chosen)
    assert not np.array_equal(epochs[0], epochs[1])
    assert np.array_equal(again.of(2), epochs[2])  # without epochs 0 and 1


def test_every_order_of_rows_is_as_likely():
    """All 24 orders of 4 rows over 24,000 epochs: χ² with 23 degrees of freedom stays below 50 in 99.9 % of seeds."""
    from glassprop.core.randomness import draw_orders

    orders = np.empty((24_000, 4), np.int64)
    draw_orders(orders, np.arange(4), 5, 0)
    _, counts = np.unique(orders, axis=0, return_counts=True)
    assert len(counts) == 24
    assert ((counts - 1000.0) ** 2 / 1000).sum() < 50


@pytest.mark.parametrize("classes", [None, np.repeat([0, 1, 2], [70, 20, 10])])
def test_held_out_rows(classes):
    held = held_out_rows(100, 0.2, 1, classes)
    assert len(set(held)) == 20
    if classes is not None:
        assert np.bincount(classes[held]).tolist() == [14, 4, 2]
    assert np.array_equal(held, held_out_rows(100, 0.2, 1, classes))
    assert not np.array_equal(held, held_out_rows(100, 0.2, 2, classes))


def test_validation_rows_are_not_trained_on_and_judged_without_penalty_and_dropout(digits):
    X, y = digits
    network = gp.Network((64, 16, 10), loss="cross_entropy", l2=0.1, dropout=0.3)
    held = held_out_rows(len(X), 0.25, 4, y)
    run = gp.train(network, X, y, epochs=3, seed=4, validation=0.25)
    rest = np.delete(np.arange(len(X)), held)
    plain = gp.Network((64, 16, 10), loss="cross_entropy")
    assert run.best_epoch == 3
    back = gp.backward(plain, run.parameters, gp.forward(plain, run.parameters, X[held]), y[held])
    assert run.history.validation_loss[-1] == pytest.approx(back.loss, rel=1e-12)
    # rows that were held out do not matter for what is learned
    spoiled = X.copy()
    spoiled[held] = 0
    other = gp.train(network, spoiled, y, epochs=3, seed=4, validation=0.25, restore_best=False)
    assert np.array_equal(other.parameters.theta, run.parameters.theta)
    assert len(rest) + len(held) == len(X)


def test_best_parameters_are_restored_and_patience_stops(digits):
    X, y = digits
    network = gp.Network((64, 64, 10), loss="cross_entropy")
    arguments = {"optimizer": gp.Adam(0.02), "epochs": 200, "seed": 1, "validation": (X[900:], y[900:]), "patience": 8}
    run = gp.train(network, X[:200], y[:200], **arguments)
    losses = run.history.validation_loss
    assert run.epochs < 200
    assert run.best_epoch == 1 + losses.argmin() == run.epochs - 8
    assert run.stopped == f"the validation loss did not improve for 8 epochs; the best was epoch {run.best_epoch}"
    back = gp.backward(network, run.parameters, gp.forward(network, run.parameters, X[900:]), y[900:])
    assert back.loss == pytest.approx(losses.min(), rel=1e-12)
    last = gp.train(network, X[:200], y[:200], restore_best=False, **arguments)
    assert not np.array_equal(last.parameters.theta, run.parameters.theta)


def test_tolerance_counts_small_improvements_as_none(plane):
    run = gp.train(gp.Network((3, 4, 1)), *plane, epochs=50, seed=0, validation=0.3, patience=2, tolerance=1e6)
    assert run.epochs == 2 + 1  # the first epoch improves on infinity


@pytest.mark.parametrize(
    "scoring",
    ["accuracy", "neg_log_loss", "roc_auc_ovr", balanced_accuracy_score, lambda model, X, y: (model.predict(X) == y).mean()],
    ids=["accuracy", "neg_log_loss", "roc_auc_ovr", "metric", "scorer"],
)
def test_scoring_decides(digits, scoring):
    X, y = digits
    network = gp.Network((64, 8, 10), loss="cross_entropy")
    run = gp.train(network, X[:500], y[:500], epochs=6, seed=0, validation=(X[500:], y[500:]), scoring=scoring)
    assert np.isfinite(run.history.score).all()
    assert run.best_epoch == 1 + run.history.score.argmax()
    if scoring == "accuracy":
        best = accuracy_score(y[500:], run.predict(X[500:]).argmax(1))
        assert best == run.history.score.max()


@pytest.mark.parametrize("scoring", ["r2", "neg_root_mean_squared_error"])
def test_scoring_of_regression(plane, scoring):
    run = gp.train(gp.Network((3, 8, 1)), *plane, epochs=5, seed=0, validation=0.3, scoring=scoring, patience=3)
    assert np.isfinite(run.history.score).all()


def test_scoring_of_yes_and_no():
    X, y = load_breast_cancer(return_X_y=True)
    network = gp.Network((30, 4, 1), loss="binary_cross_entropy")
    for scoring in ("roc_auc", "f1", "average_precision"):
        run = gp.train(network, X / X.std(0), y, epochs=3, seed=0, validation=0.3, scoring=scoring)
        assert np.isfinite(run.history.score).all()


def test_callbacks_see_every_epoch_and_may_stop(plane):
    seen = []

    def watch(epoch: gp.Epoch) -> bool:
        seen.append(epoch)
        return epoch.epoch == 4

    run = gp.train(gp.Network((3, 4, 1)), *plane, epochs=50, seed=0, callbacks=watch)
    assert [e.epoch for e in seen] == [1, 2, 3, 4]
    assert run.stopped == "stopped by a callback after epoch 4"
    assert [e.loss for e in seen] == list(run.history.loss)
    assert np.array_equal(seen[-1].parameters.theta, run.parameters.theta)
    assert not np.array_equal(seen[0].parameters.theta, run.parameters.theta)  # a copy, not a window


def test_a_callback_may_stop_with_a_truth_value_of_numpy_but_not_with_any_answer(plane):
    stopped = gp.train(gp.Network((3, 4, 1)), *plane, epochs=9, seed=0, callbacks=lambda epoch: np.float64(epoch.epoch) > 2)
    assert stopped.epochs == 3
    assert gp.train(gp.Network((3, 4, 1)), *plane, epochs=9, seed=0, callbacks=lambda epoch: epoch.loss).epochs == 9


@pytest.mark.parametrize("scoring", [None, "r2"])
def test_callbacks_see_the_epoch_on_which_patience_ends(plane, scoring):
    seen = []
    arguments = {"validation": 0.3, "patience": 2, "tolerance": 1e6, "scoring": scoring}
    run = gp.train(gp.Network((3, 4, 1)), *plane, epochs=50, seed=0, callbacks=lambda e: seen.append(e.epoch), **arguments)
    assert run.epochs == 3
    assert seen == [1, 2, 3]


def test_row_weights_count_rows(digits):
    """Weight 2 is the row twice, weight 0 is the row left out (whole table as one batch)."""
    X, y = digits[0][:60], digits[1][:60]
    network = gp.Network((64, 6, 10), loss="cross_entropy", activation="tanh")
    weights = np.r_[np.full(20, 2.0), np.ones(20), np.zeros(20)]
    one = gp.train(network, X, y, weights=weights, epochs=5, batch_size=100, seed=0, shuffle=False)
    rows = np.r_[np.arange(20), np.arange(20), np.arange(20, 40)]
    two = gp.train(network, X[rows], y[rows], epochs=5, batch_size=100, seed=0, shuffle=False)
    np.testing.assert_allclose(one.parameters.W[0], two.parameters.W[0], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(one.history.loss, two.history.loss, rtol=1e-9)


def test_float32_in_float32_out(digits):
    X, y = digits
    network = gp.Network((64, 8, 10), loss="cross_entropy")
    single = gp.train(network, X.astype(np.float32), y, epochs=2, seed=0)
    double = gp.train(network, X, y, epochs=2, seed=0)
    assert (single.parameters.dtype, single.predict(X.astype("f4")).dtype) == (np.float32, np.float32)
    np.testing.assert_allclose(single.parameters.W[0], double.parameters.W[0], atol=1e-3)
    integers = gp.train(network, (X * 16).astype(np.int64), y, epochs=1, seed=0)
    assert integers.parameters.dtype == np.float32


def test_data_is_not_copied(digits):
    X, y = np.ascontiguousarray(digits[0]), digits[1].astype(float)[:, None]
    run = gp.train(gp.Network((64, 4, 10), loss="cross_entropy"), X, y, epochs=1, seed=0, validation=0.2)
    assert run._data.X is X
    assert run._data.Y is y


def test_read_only_data_of_a_data_frame():
    import pandas as pd

    frame = pd.DataFrame({"a": [0.0, 1.0, 0.0, 1.0], "b": [0.0, 0.0, 1.0, 1.0]})
    run = gp.train(gp.Network((2, 2, 1)), frame, pd.Series([0.0, 1.0, 1.0, 0.0]), epochs=1, seed=0)
    assert run.predict(frame).shape == (4, 1)


# --- stopping by itself, by hand ----------------------------------------------------------------------------------------


def test_divergence_stops_at_the_step_names_the_layer_and_keeps_the_best(plane):
    X, Y = plane
    network = gp.Network((3, 8, 8, 1), activation="leaky_relu")
    with pytest.warns(gp.DivergenceWarning, match=r"diverged at step \d+ \(epoch \d+\): .* layer \d") as caught:
        run = gp.train(network, X, Y, optimizer=gp.SGD(2.0), epochs=500, batch_size=10, seed=0)
    assert caught[0].filename == __file__
    assert run.diverged
    assert run.stopped == str(caught[0].message)
    assert all(np.isfinite(w).all() for w in run.parameters.W)
    failed = int(run.stopped.split("step ")[1].split()[0])
    assert run.epochs == failed // 5
    # one step less is fine, and ends with the parameters that the refused step would have changed
    with pytest.raises(ValueError, match="diverged cannot be resumed"):
        run.resume(1)


def test_a_resumed_run_that_diverges_warns_its_caller(plane):
    run = gp.train(gp.Network((3, 8, 1)), *plane, optimizer=gp.SGD(lambda step: 1e30 if step > 9 else 0.01), epochs=2, seed=0)
    with pytest.warns(gp.DivergenceWarning) as caught:
        assert run.resume(8).diverged
    assert caught[0].filename == __file__


@pytest.mark.parametrize(("layer", "where"), [(0, "the activations of layer 1"), (1, "the activations of layer 2")])
def test_divergence_names_the_layer_where_it_begins(plane, layer, where):
    network = gp.Network((3, 4, 4, 1))
    parameters = network.initialize(0)
    parameters.b[layer][:] = np.inf
    with pytest.warns(gp.DivergenceWarning, match=f"step 0 .*{where}"):
        run = gp.train(network, *plane, parameters=parameters, epochs=1, seed=0)
    assert run.epochs == 0


def test_divergence_of_the_gradient_alone_is_seen(plane):
    """The loss is finite, δ overflows on its way down: the step is refused before anything changes."""
    network = gp.Network((3, 4, 1), activation="identity", loss="absolute_error")
    parameters = network.initialize(0)
    parameters.W[1][:] = 1e308
    parameters.W[0][:] = 0
    X = np.full((50, 3), 1e10)
    with pytest.warns(gp.DivergenceWarning, match="the gradient of layer 1"):
        run = gp.train(network, X, plane[1], parameters=parameters, epochs=1, seed=0)
    assert np.array_equal(run.parameters.W[1], parameters.W[1])


def test_ctrl_c_keeps_what_was_learned_and_resuming_is_exact(digits):
    X, y = digits
    network = gp.Network((64, 32, 10), loss="cross_entropy", dropout=0.1)
    timer = threading.Timer(0.7, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    run = gp.train(network, X, y, epochs=1_000_000, seed=2)
    timer.join()
    assert run.interrupted
    assert run.stopped.startswith("interrupted in epoch")
    assert run.epochs > 5
    more = run.resume(3)
    whole = gp.train(network, X, y, epochs=run.epochs + 3, seed=2)
    assert np.array_equal(more.parameters.theta, whole.parameters.theta)
    assert np.array_equal(more.history.loss, whole.history.loss)


def test_ctrl_c_in_the_middle_of_an_epoch_resumes_exactly(plane, monkeypatch):
    from glassprop.training import loop

    monkeypatch.setattr(loop, "SECONDS_PER_CALL", 1e-9)  # a call for every step
    pressed = []

    def rate(number: int) -> float:
        if number == 17 and not pressed:
            pressed.append(number)
            raise KeyboardInterrupt
        return 0.01

    arguments = {"optimizer": gp.Adam(rate), "batch_size": 10, "seed": 2}
    run = gp.train(gp.Network((3, 8, 1)), *plane, epochs=9, **arguments)
    assert run.stopped == "interrupted in epoch 4; what was learned is kept"
    assert run.epochs == 3
    more = run.resume(6)
    whole = gp.train(gp.Network((3, 8, 1)), *plane, epochs=9, **arguments)
    assert np.array_equal(more.parameters.theta, whole.parameters.theta)
    assert np.array_equal(more.history.loss, whole.history.loss)


def test_ctrl_c_before_the_first_step_says_so(plane):
    def rate(number: int) -> float:
        raise KeyboardInterrupt

    network = gp.Network((3, 8, 1))
    run = gp.train(network, *plane, optimizer=gp.Adam(rate), epochs=9, seed=2)
    assert run.stopped == "interrupted before the first step"
    assert np.array_equal(run.parameters.theta, network.initialize(2).theta)


def test_python_is_entered_about_five_times_a_second_and_nothing_is_allocated(monkeypatch, plane):
    from numba.core.runtime import _nrt_python, rtsys

    _nrt_python.memsys_enable_stats()
    calls, allocations = [], []
    inner = Workspace.run

    def counted(*arguments):
        before, begun = rtsys.get_allocation_stats().alloc, time.perf_counter()
        result = inner(*arguments)
        calls.append(time.perf_counter() - begun)
        allocations.append(rtsys.get_allocation_stats().alloc - before)
        return result

    gp.train(gp.Network((3, 8, 1)), *plane, epochs=1, seed=0)  # what the first call of a process does is not counted
    monkeypatch.setattr(Workspace, "run", counted)
    X, Y = plane
    begun = time.perf_counter()
    run = gp.train(gp.Network((3, 8, 1)), X, Y, epochs=500_000, batch_size=10, seed=0, validation=0.2)
    seconds = time.perf_counter() - begun
    assert run.epochs == 500_000
    assert sum(calls) > 0.5, "the machine has become too fast for this test: give it more epochs"
    # growing towards a fifth of a second takes a few short calls; row orders are drawn for 50,000 epochs of 40 rows at most
    assert len(calls) <= 10 + max(6 * seconds, 500_000 / 50_000)
    assert set(allocations) == {0}


def test_memory_does_not_grow(plane):
    import resource

    X, Y = plane
    network = gp.Network((3, 8, 1))
    run = gp.train(network, X, Y, epochs=2_000, seed=0)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(10):
        run = run.resume(1_000)
    history = run.history.nbytes // 1024
    # kilobytes on Linux; the history of 12,000 epochs is 0.6 MB, and is copied when a run is resumed
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 4 * history + 1024


def test_progress_is_shown_on_standard_error(capfd, plane):
    gp.train(gp.Network((3, 4, 1)), *plane, epochs=3, seed=0, validation=0.2, progress=True)
    captured = capfd.readouterr()
    assert captured.out == ""
    assert "epoch 3/3" in captured.err
    assert "  validation 0." in captured.err
    gp.train(gp.Network((3, 4, 1)), *plane, epochs=3, seed=0)
    assert capfd.readouterr().err == ""


def test_repr_of_a_run(plane):
    run = gp.train(gp.Network((3, 4, 1)), *plane, epochs=2, seed=0)
    assert repr(run).startswith("Run(Network((3, 4, 1)")
    assert "2 epochs" in repr(run)
