"""L-BFGS goes through its table in batches: loss and gradient of all rows, and no memory for all of a dense one."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from scipy.sparse import csr_array, random_array
from sklearn.datasets import load_diabetes

from glassprop import MLPRegressor
from glassprop.core import workspace
from glassprop.estimators import lbfgs, sparse
from glassprop.estimators.sparse import core_table

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
    monkeypatch.setattr(sparse, "DENSE_FROM", np.inf)
    models = []
    for rows in (31, 10_000):
        monkeypatch.setattr(lbfgs, "ROWS_AT_ONCE", rows)
        models.append(fitted(table, **penalties))
    assert models[0].loss_ == pytest.approx(models[1].loss_, rel=1e-9)
    for one, other in zip(models[0].coefs_ + models[0].intercepts_, models[1].coefs_ + models[1].intercepts_, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-7 * np.abs(other).max())


def test_the_same_bits_on_two_threads(monkeypatch):
    for flops in ("FLOPS_FOR_THREADS", "FLOPS_PER_SHARER"):
        monkeypatch.setattr(workspace, flops, 1e-9)
    one, two = fitted(n_jobs=1), fitted(n_jobs=2)
    assert one.loss_ == two.loss_
    np.testing.assert_array_equal(one.coefs_[0], two.coefs_[0])


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


def test_a_batch_whose_numbers_overflow_ends_it():
    wild = np.where(np.arange(len(X))[:, None] == 400, 1e200, X)
    model = MLPRegressor(solver="lbfgs", hidden_layer_sizes=5, max_iter=20, random_state=0).fit(wild, Y[:, 0])
    assert (model.loss_, model.n_iter_) == (np.inf, 0)
    assert np.isfinite(model.coefs_[0]).all()
