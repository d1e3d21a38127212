"""Sparse tables: the numbers of dense ones in every bit, without the memory that the dense table would take."""

from __future__ import annotations

import copy
import pickle
import tracemalloc

import numpy as np
import pytest
from scipy.sparse import csc_array, csc_matrix, csr_array, csr_matrix, random_array
from sklearn.datasets import load_digits

import glassprop as gp
from glassprop import MLPClassifier, MLPRegressor
from glassprop.estimators import sparse

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, Y = load_digits(return_X_y=True)
X, Y = X[:431], Y[:431]
LARGE = random_array((40_000, 500), density=0.01, rng=0, dtype=np.float64)
DENSE_BYTES = 40_000 * 500 * 8

CASES = {
    "defaults": {},
    "early stopping": {"early_stopping": True},
    "early stopping by a score": {"early_stopping": True, "scoring": "neg_log_loss", "shuffle": False},
    "no shuffle": {"shuffle": False},
    "dropout": {"dropout": 0.3, "batch_size": 64},
    "sgd": {"solver": "sgd", "learning_rate": "invscaling", "batch_size": 10},
    "a schedule": {"learning_rate": gp.Cosine(0.01, steps=9)},
    "one batch": {"batch_size": 431, "alpha": 1.0},
}


@pytest.fixture
def kept_sparse(monkeypatch):
    """However many numbers a table has that are not 0."""
    for name in ("DENSE_FROM", "LBFGS_DENSE_FROM"):
        monkeypatch.setattr(sparse, name, np.inf)


def assert_equal(one, other):
    for mine, theirs in zip(one.coefs_ + one.intercepts_, other.coefs_ + other.intercepts_, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert one.loss_curve_ == other.loss_curve_
    assert one.validation_scores_ == other.validation_scores_


@pytest.mark.parametrize("container", [csr_matrix, csc_matrix, csr_array, csc_array])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_fits_of_sparse_tables_are_those_of_dense_ones(case, weighted, container, kept_sparse):
    weights = np.random.default_rng(0).uniform(0, 2, len(X)) if weighted else None
    given = {"hidden_layer_sizes": 12, "batch_size": 100, "max_iter": 4, "random_state": 0, "warm_start": True} | CASES[case]
    dense, by_rows = MLPClassifier(**given), MLPClassifier(**given)
    for _ in range(2):
        dense.fit(X, Y, sample_weight=weights)
        by_rows.fit(container(X), Y, sample_weight=weights)
        assert_equal(dense, by_rows)
    if not dense.early_stopping:
        dense.partial_fit(X, Y, sample_weight=weights)
        by_rows.partial_fit(container(X), Y, sample_weight=weights)
        assert_equal(dense, by_rows)


def test_numbers_and_single_precision(kept_sparse):
    told, table = [], csr_matrix(X.astype(np.float32))
    models = [MLPRegressor(max_iter=3, batch_size=50, random_state=0) for _ in range(2)]
    models[1].set_callbacks(lambda epoch: told.append(epoch.loss))
    for model, rows in zip(models, (table.toarray(), table), strict=True):
        model.fit(rows, np.column_stack([Y, Y**2]), eval_set=(table, np.column_stack([Y, Y**2])))
    assert_equal(*models)
    assert models[0].validation_loss_curve_ == models[1].validation_loss_curve_
    assert told == models[0].loss_curve_
    assert models[1].coefs_[0].dtype == np.float32


def peak_of(function, *arguments):
    """Most bytes that it holds at a time, and what it returns."""
    tracemalloc.start()
    try:
        found = function(*arguments)
        return tracemalloc.get_traced_memory()[1], found
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("early_stopping", [False, True])
def test_training_on_a_sparse_table_takes_no_dense_one(early_stopping):
    model = MLPRegressor(hidden_layer_sizes=8, random_state=0, max_iter=1, early_stopping=early_stopping)
    peak, _ = peak_of(model.fit, LARGE.tocsr(), np.arange(40_000.0))
    assert peak < DENSE_BYTES / 10


def test_predicting_a_sparse_table_takes_no_dense_one():
    model = MLPRegressor(hidden_layer_sizes=8, random_state=0, max_iter=1).fit(LARGE.tocsr()[:300], np.arange(300.0))
    expected = model.predict(LARGE.tocsr()[:5000].toarray())
    for container in (LARGE.tocsr(), csc_matrix(LARGE)):
        peak, found = peak_of(model.predict, container)
        np.testing.assert_array_equal(found[:5000], expected)
        assert peak < DENSE_BYTES / 10


def test_tables_with_few_zeros_are_made_dense(monkeypatch):
    """Where that takes little memory: dense products are faster then."""
    assert isinstance(sparse.training_table(csr_matrix(X)), np.ndarray)
    assert not isinstance(sparse.training_table(LARGE.tocsr()), np.ndarray)
    monkeypatch.setattr(sparse, "DENSE_BYTES", X.nbytes - 1)
    assert not isinstance(sparse.training_table(csr_matrix(X)), np.ndarray)


def test_numbers_may_stand_in_any_order_and_in_parts(kept_sparse):
    rows, columns = np.nonzero(X)
    values = X[rows, columns]
    backwards = csr_matrix((np.tile(values[::-1] / 2, 2), (np.tile(rows[::-1], 2), np.tile(columns[::-1], 2))), X.shape)
    jumbled = csr_matrix((backwards.data.copy(), backwards.indices.copy(), backwards.indptr.copy()), X.shape)
    for start, stop in zip(jumbled.indptr[:-1], jumbled.indptr[1:], strict=True):
        jumbled.indices[start:stop] = jumbled.indices[start:stop][::-1]
        jumbled.data[start:stop] = jumbled.data[start:stop][::-1]
    jumbled.has_sorted_indices = jumbled.has_canonical_format = False
    before = jumbled.indices.copy()
    given = {"hidden_layer_sizes": 12, "max_iter": 2, "random_state": 0}
    assert_equal(MLPClassifier(**given).fit(X, Y), MLPClassifier(**given).fit(jumbled, Y))
    np.testing.assert_array_equal(jumbled.indices, before)  # a table is left as it was


def test_a_step_on_a_sparse_table_is_explained():
    table = LARGE.tocsr()[:40]
    model = MLPRegressor(hidden_layer_sizes=4, random_state=0, max_iter=1).fit(table, np.arange(40.0))
    for explained in (model.explain(table, np.arange(40.0), row=3), gp.explain(model, X=table, Y=np.arange(40.0), row=3)):
        dense = model.explain(table.toarray(), np.arange(40.0), row=3)
        np.testing.assert_array_equal(explained.steps[0].layers[0].g, dense.steps[0].layers[0].g)


def test_a_missing_number_is_named():
    table = LARGE.tocsr()[:40].copy()
    table.data[-1] = np.nan
    row, column = (places[-1] for places in table.tocoo().coords)
    with pytest.raises(ValueError, match=f"The first is in row {row}, column {column}"):
        MLPRegressor().fit(table, np.arange(40.0))


def test_one_batch_of_all_rows_of_a_wide_table_takes_memory_for_its_numbers():
    """Not for rows times inputs, which no machine may have."""
    rows, inputs, rng = 100_000, 1_000_000, np.random.default_rng(0)
    table = csr_array((rng.normal(size=rows), rng.integers(0, inputs, rows), np.arange(rows + 1)), (rows, inputs))
    MLPRegressor(hidden_layer_sizes=1, solver="lbfgs", max_iter=1).fit(table, rng.normal(size=rows))


@pytest.mark.parametrize("column", [-1, 500, 50_000_000])
def test_columns_that_are_not_there_are_refused(column):
    table, model = LARGE.tocsr()[:40].copy(), MLPRegressor(hidden_layer_sizes=2, max_iter=1)
    model.fit(table, np.arange(40.0))
    table.indices[3] = column
    for method, given in ((model.predict, (table,)), (model.fit, (table, np.arange(40.0)))):
        with pytest.raises(ValueError, match="indices"):
            method(*given)


def test_weights_of_a_sparse_table_lie_by_inputs(tmp_path):
    """Where a prediction of few rows finds them together: until the next dense table, wherever the estimator goes."""
    X = random_array((60, 300), density=0.02, rng=np.random.default_rng(0), format="csr")
    y = np.arange(60) % 3
    model = MLPClassifier((7,), max_iter=3, random_state=0).fit(X, y)
    saved = tmp_path / "model.safetensors"
    gp.save(model, saved)
    for each in (model, pickle.loads(pickle.dumps(model)), copy.deepcopy(model), gp.load(saved), copy.copy(model)):
        assert each.coefs_[0].shape == (300, 7)
        assert each.coefs_[0].strides[1] == each.coefs_[0].itemsize
        for rows in (X, X[:1], X.toarray(), X[:2].toarray()):
            np.testing.assert_allclose(each.predict_proba(rows), model.predict_proba(X)[: rows.shape[0]], rtol=1e-12)
    before = model.predict_proba(X)
    model.coefs_[0][X.indices[0]] += 10  # in place, and seen at once
    assert (model.predict_proba(X) != before)[0].all()
    assert model.partial_fit(X, y).coefs_[0].strides[1] == 8
    assert model.partial_fit(X.toarray(), y).coefs_[0].strides[0] == 8
    np.testing.assert_allclose(model.predict_proba(X), model.predict_proba(X.toarray()), rtol=1e-12)
