"""L-BFGS goes through its table in batches: loss and gradient of all rows, and no memory for all of a dense one."""

from __future__ import annotations

import tracemalloc
from contextlib import ExitStack

import numpy as np
import pytest
from scipy.sparse import csr_array, issparse, random_array
from sklearn.datasets import load_diabetes
from sklearn.neural_network import MLPRegressor as Peer
from threadpoolctl import threadpool_info

from glassprop import MLPRegressor
from glassprop.core import workspace
from glassprop.estimators import lbfgs, sparse
from glassprop.estimators.sparse import core_table, training_table

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, Y = load_diabetes(return_X_y=True)
X, Y = X / X.std(0), np.column_stack([Y, Y[::-1]]) / Y.std()


def fitted(table=np.asarray, **given):
    weights = np.random.default_rng(0).uniform(0, 2, len(X))
    weights[10:90] = 0  # a whole batch, and more
    parameters = {"solver": "lbfgs", "hidden_layer_sizes": 12, "activation": "tanh", "max_iter": 5, "random_state": 0}
    return MLPRegressor(**parameters | given).fit(table(X), Y, sample_weight=weights)


@pytest.mark.parametrize("table", [np.asarray, csr_array])
@pytest.mark.parametrize("penalties", [{"alpha": 0.0}, {"alpha": 3.0, "l1": 0.5}], ids=str)
def test_batches_add_up_to_the_table(penalties, table, monkeypatch):
    monkeypatch.setattr(sparse, "LBFGS_DENSE_FROM", np.inf)
    models = []
    for rows in (31, 10_000):
        monkeypatch.setattr(lbfgs, "ROWS_AT_ONCE", rows)
        models.append(fitted(table, **penalties))
    assert models[0].loss_ == pytest.approx(models[1].loss_, rel=1e-9)
    for one, other in zip(models[0].coefs_ + models[0].intercepts_, models[1].coefs_ + models[1].intercepts_, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-7 * np.abs(other).max())


@pytest.mark.parametrize("units", [12, 1000])  # of so many weights BLAS shares out sums
@pytest.mark.parametrize("table", [np.asarray, csr_array])
def test_the_same_bits_on_two_threads(table, units, monkeypatch):
    monkeypatch.setattr(sparse, "LBFGS_DENSE_FROM", np.inf)
    for flops in ("FLOPS_FOR_THREADS", "FLOPS_PER_SHARER"):
        monkeypatch.setattr(workspace, flops, 1e-9)
    one, two = (fitted(table, n_jobs=threads, hidden_layer_sizes=units) for threads in (1, 2))
    assert one.loss_ == two.loss_
    for mine, other in zip(one.coefs_ + one.intercepts_, two.coefs_ + two.intercepts_, strict=True):
        np.testing.assert_array_equal(mine, other)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("hidden", [(), (1,), (12,), (40, 20)])
@pytest.mark.parametrize("rows", [1, 100, 700])
def test_a_sparse_table_gives_what_a_dense_one_does(rows, hidden, dtype, monkeypatch):
    """Column by column: some hold nothing in a batch, some nothing at all, as some rows do."""
    monkeypatch.setattr(lbfgs, "NAMED", 1)  # several batches
    sparse_table = random_array((rows, 70), density=0.05, rng=1, dtype=dtype, format="csr")
    targets = np.column_stack([sparse_table.sum(axis=1), sparse_table @ np.linspace(-1, 1, 70)])
    given = {"hidden_layer_sizes": hidden, "activation": "tanh", "solver": "lbfgs", "max_iter": 4, "random_state": 0, "l1": 0.1}
    dense = MLPRegressor(**given).fit(sparse_table.toarray(), targets)
    by_columns = MLPRegressor(**given).fit(sparse_table, targets)
    tolerance = 1e-10 if dtype == "float64" else 1e-4
    assert by_columns.loss_ == pytest.approx(dense.loss_, rel=tolerance)
    for one, other in zip(by_columns.coefs_ + by_columns.intercepts_, dense.coefs_ + dense.intercepts_, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=tolerance * max(1, np.abs(other).max()))


@pytest.mark.parametrize("table", [np.asarray, csr_array])
def test_a_gradient_that_overflows_in_the_first_layer_alone_ends_it(table, monkeypatch):
    monkeypatch.setattr(sparse, "LBFGS_DENSE_FROM", np.inf)
    model = MLPRegressor(hidden_layer_sizes=5, activation="tanh", solver="lbfgs", max_iter=1, random_state=0, warm_start=True)
    model.fit(table(X), Y[:, 0])
    model.coefs_[0][:] = 0  # g is 0 whatever X is, and so is the gradient of the layer above
    wild = X.copy()
    wild[400] *= 1e200
    model.fit(table(wild), Y[:, 0])
    assert (model.loss_, model.n_iter_) == (np.inf, 0)
    assert not model.coefs_[0].any()


@pytest.mark.parametrize("hidden", [(30,), (20, 10)])
def test_a_sparse_table_gives_what_scikit_learn_makes_of_it(hidden):
    sparse_table = random_array((900, 400), density=0.02, rng=0, format="csr")
    target = sparse_table[:, :200].sum(axis=1)
    given = {"hidden_layer_sizes": hidden, "solver": "lbfgs", "max_iter": 6, "random_state": 0, "tol": 0}
    mine, theirs = (kind(**given).fit(sparse_table, target) for kind in (MLPRegressor, Peer))
    assert mine.loss_ == pytest.approx(theirs.loss_, rel=1e-9)
    assert mine.n_iter_ == theirs.n_iter_
    for one, other in zip(mine.coefs_ + mine.intercepts_, theirs.coefs_ + theirs.intercepts_, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-7)


def test_blas_has_one_thread_until_the_last_of_several_fits_has_ended():
    def threads():
        return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}

    before = threads()
    with lbfgs._ONE_THREAD:
        assert threads() == {1}
        second = ExitStack()
        second.enter_context(lbfgs._ONE_THREAD)
    assert threads() == {1}
    second.close()
    assert threads() == before


def test_up_to_a_quarter_of_numbers_it_goes_number_by_number():
    for density, kept in ((0.2, True), (0.3, False)):
        table = random_array((100, 100), density=density, rng=0, format="csr")
        assert issparse(training_table(table, "lbfgs")) == kept
        assert not issparse(training_table(table))


def test_the_loss_is_not_computed_again(monkeypatch):
    """Unless it is reported otherwise than it is minimised: half the squared error of several outputs."""
    asked = []
    whole = lbfgs._Objective._loss_and_gradient
    monkeypatch.setattr(lbfgs._Objective, "_loss_and_gradient", lambda self, x: asked.append(x.copy()) or whole(self, x))
    for target, again in ((Y[:, 0], 0), (Y, 1)):
        asked.clear()
        model = MLPRegressor(hidden_layer_sizes=5, solver="lbfgs", max_iter=3, random_state=0).fit(X, target)
        assert sum(np.array_equal(one, other) for i, one in enumerate(asked) for other in asked[:i]) == again
        assert model.loss_ == pytest.approx(((model.predict(X) - target) ** 2).mean() / 2, rel=1e-3)


def test_a_batch_of_a_sparse_table_names_every_input_a_few_times():
    for density, rows in ((0.5, 256), (0.01, 400), (0.0001, 40_000)):
        table = core_table(random_array((50_000, 100), density=density, rng=0, format="csr"), np.float64)
        assert lbfgs.rows_at_once(table) == pytest.approx(rows, rel=1e-3)
    assert lbfgs.rows_at_once(X) == 256


def test_the_table_is_not_copied():
    X = np.random.default_rng(0).normal(size=(40_000, 50))
    model = MLPRegressor(hidden_layer_sizes=8, solver="lbfgs", max_iter=1, random_state=0)
    model.fit(X[:300], X[:300, 0])  # what is made once for a process
    tracemalloc.start()
    try:
        model.fit(X, X[:, 0])
        assert tracemalloc.get_traced_memory()[1] < X.nbytes / 5
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("table", [np.asarray, csr_array])
def test_a_batch_whose_numbers_overflow_ends_it(table, monkeypatch):
    monkeypatch.setattr(sparse, "LBFGS_DENSE_FROM", np.inf)
    wild = table(np.where(np.arange(len(X))[:, None] == 400, 1e200, X))
    model = MLPRegressor(solver="lbfgs", hidden_layer_sizes=5, max_iter=20, random_state=0).fit(wild, Y[:, 0])
    assert (model.loss_, model.n_iter_) == (np.inf, 0)
    assert np.isfinite(model.coefs_[0]).all()
