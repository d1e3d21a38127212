"""What one `partial_fit` leaves for the next, in memory that holds no addresses when it travels; and its time."""

from __future__ import annotations

import copy
import gc
import pickle
import time
import weakref
from statistics import median

import numpy as np
import pytest
from scipy.sparse import csr_array, random_array
from sklearn import neural_network
from threadpoolctl import threadpool_info, threadpool_limits

import glassprop as gp
from glassprop.core import workspace
from glassprop.core.workspace import Workspace
from glassprop.estimators import epochs

rng = np.random.default_rng(0)
X, Y = rng.normal(size=(60, 8)), rng.normal(size=60)
CLASSES = rng.integers(0, 3, 60)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Rows of every workspace that is made."""
    rows: list[int] = []

    def make(*arguments: object, **settings: object) -> Workspace:
        rows.append(settings["rows"])
        return Workspace(*arguments, **settings)

    monkeypatch.setattr(epochs, "Workspace", make)
    return rows


def regressor(**given: object) -> gp.MLPRegressor:
    return gp.MLPRegressor(hidden_layer_sizes=(9, 5), random_state=3, **given)


def forget(model: gp.MLPRegressor | gp.MLPClassifier) -> None:
    """Leave no workspace behind."""
    model._optimizer.network.idle.clear()


def same(one: object, other: object) -> None:
    assert one.loss_curve_ == other.loss_curve_
    for name in ("coefs_", "intercepts_"):
        for a, b in zip(getattr(one, name), getattr(other, name), strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("given", [{}, {"dropout": 0.3}, {"solver": "sgd", "learning_rate": "invscaling"}, {"batch_size": 7}])
def test_a_workspace_that_is_used_again_changes_no_bit(given: dict, made: list[int]) -> None:
    kept, anew = regressor(**given), regressor(**given)
    for i in range(6):
        rows = slice(5 * i, 5 * i + 30)
        kept.partial_fit(X[rows], Y[rows])
        anew.partial_fit(X[rows].copy(), Y[rows].copy())
        forget(anew)
    same(kept, anew)
    assert len(made) == 1 + 6


def test_sparse_tables(made: list[int]) -> None:
    """Of like density they share a workspace; one for which there is no room gets its own."""
    tables = [csr_array(random_array((40, 300), density=density, rng=rng)) for density in (0.03, 0.02, 0.03, 0.06, 0.03)]
    kept, anew = regressor(), regressor()
    for table in tables:
        kept.partial_fit(table, Y[:40])
        anew.partial_fit(table.copy(), Y[:40])
        forget(anew)
    same(kept, anew)
    assert len(made) == 2 + len(tables)


def test_weights_classes_and_float32() -> None:
    both = [gp.MLPClassifier(hidden_layer_sizes=9, random_state=3) for _ in range(2)]
    for i in range(4):
        rows, weights = slice(10 * i, 10 * i + 20), rng.uniform(0.5, 2, 20)
        for model in both:
            model.partial_fit(X[rows].astype("float32"), CLASSES[rows], classes=[0, 1, 2], sample_weight=weights)
        forget(both[1])
    same(*both)


def test_other_kinds_of_calls_get_a_workspace_of_their_own(made: list[int]) -> None:
    model, anew = regressor(), regressor()
    rows = X[:20]
    calls = [(rows, Y[:20]), (X[:25], Y[:25]), (rows, Y[:20]), (rows, np.stack([Y[:20]], 1)[:, 0]), (rows, Y[:20])]
    for i, call in enumerate(calls):
        weights = np.ones(len(call[1])) if i == 4 else None
        for each in (model, anew):
            each.partial_fit(*call, weights)
        forget(anew)
    same(model, anew)
    assert made == [20, 20, 25, 25, 20, 20, 20, 20, 20]  # of both by turns, but at the fourth call
    changed = regressor().partial_fit(rows, Y[:20])
    changed.alpha = 3.0  # another network
    plain = regressor().partial_fit(rows, Y[:20])
    plain.alpha = 3.0
    forget(plain)
    same(changed.partial_fit(rows, Y[:20]), plain.partial_fit(rows, Y[:20]))


@pytest.mark.parametrize("way", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_copy_goes_on_by_itself(way: object) -> None:
    model = regressor().partial_fit(X, Y)
    other = way(model)
    for each in (model, other, model, other):
        each.partial_fit(X, Y)
    same(model, other)
    plain = regressor()
    for _ in range(3):
        plain.partial_fit(X, Y)
        forget(plain)
    same(model, plain)


def test_a_pickle_holds_no_workspace() -> None:
    model = regressor().partial_fit(X, Y)
    size = len(pickle.dumps(model))
    forget(model)
    assert len(pickle.dumps(model)) == size


def test_a_call_that_fails_leaves_everything_as_it_was() -> None:
    model, plain = (regressor(learning_rate_init=0.1).partial_fit(X, Y) for _ in range(2))
    with pytest.raises(ValueError, match="non-finite"), np.errstate(all="ignore"):
        model.partial_fit(X * 1e200, Y)
    same(model.partial_fit(X, Y), plain.partial_fit(X, Y))


def test_rows_are_let_go() -> None:
    model, rows = regressor(), X.copy()
    gone = weakref.ref(rows)
    model.partial_fit(rows, Y)
    del rows
    gc.collect()
    assert gone() is None


def test_large_ones_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(epochs, "IDLE_BYTES", 1000)
    model = regressor().partial_fit(X, Y)
    assert not model._optimizer.network.idle[epochs.PARTIAL_FIT,]


def test_a_call_of_little_work_starts_no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    started, run_in_threads = [], workspace.run_in_threads
    monkeypatch.setattr(workspace, "available_threads", lambda: 2)
    monkeypatch.setattr(workspace, "run_in_threads", lambda f, n, team: started.append(n) or run_in_threads(f, n, team))
    gp.MLPRegressor(random_state=0).partial_fit(rng.normal(size=(200, 64)), rng.normal(size=200))
    gp.MLPRegressor(hidden_layer_sizes=(300, 300), random_state=0).partial_fit(rng.normal(size=(400, 64)), rng.normal(size=400))
    assert started == [1, 2]


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_products_of_the_minimiser_take_no_processor_from_threads_of_the_core(n_jobs: int, monkeypatch) -> None:
    for flops in ("FLOPS_FOR_THREADS", "FLOPS_PER_SHARER"):
        monkeypatch.setattr(workspace, flops, 1e-9)
    found = []

    def look(epoch: gp.Epoch) -> None:
        found.append({part["num_threads"] for part in threadpool_info() if part["user_api"] == "blas"})

    with threadpool_limits(2, "blas"):
        model = regressor(solver="lbfgs", max_iter=3, n_jobs=n_jobs)
        model.set_callbacks(look)
        with pytest.warns(Warning, match="lbfgs failed"):
            model.fit(X, Y)
        assert found == [{1}] * 3
        assert all(part["num_threads"] == 2 for part in threadpool_info() if part["user_api"] == "blas")


def test_it_takes_no_longer_than_scikit_learns() -> None:
    """Of 32 rows; the bar leaves room for a machine that is busy."""
    both = [module.MLPRegressor(random_state=0).partial_fit(X, Y) for module in (gp, neural_network)]

    def seconds(model: object) -> float:
        begun = time.thread_time()
        for _ in range(5):
            model.partial_fit(X[:32], Y[:32])
        return time.thread_time() - begun

    with threadpool_limits(1):
        ratios = [seconds(both[0]) / seconds(both[1]) for _ in range(31)]
    assert median(ratios[1:]) < 1
