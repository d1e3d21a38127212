"""Rows to predict that are not finite: whichever way the core reads them, they are refused as scikit-learn refuses them."""

from __future__ import annotations

import re

import numpy as np
import pandas
import pytest
from scipy.sparse import csr_array
from sklearn import config_context, neural_network

import glassprop as gp
from glassprop import MLPRegressor
from glassprop.core.passes import predict

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

# Columns, and rows to predict: gathered; read in place, with a few columns beyond whole vectors; dot products.
READ = {"gathered": (37, (1, 2, 5, 33, 600)), "in place": (1050, (2, 40, 131, 700)), "single row": (2060, (1,))}
CASES = [(way, rows) for way, (_, counts) in READ.items() for rows in counts]


def fitted(columns, dtype, kind=MLPRegressor, sparse=False):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((60, columns)).astype(dtype)
    model = kind(hidden_layer_sizes=8, max_iter=1, random_state=0, activation="tanh")
    return model.fit(csr_array(X) if sparse else X, X[:, 0]), rng.standard_normal((700, columns)).astype(dtype)


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("way", "rows"), CASES)
def test_they_are_refused_wherever_they_are(way, rows, dtype, sparse, monkeypatch):
    """`sparse`: an estimator that has learnt from a sparse table holds W by inputs, and reads dense rows otherwise."""
    monkeypatch.setattr("glassprop.core.passes.THREADED_FROM", 0)  # by several threads, where there are rows for them
    model, X = fitted(READ[way][0], dtype, sparse=sparse)
    X = X[:rows]
    expected = model.predict(X)
    last, column = rows - 1, X.shape[1] - 1
    for value, *place in (np.nan, 0, 0), (np.inf, last, column), (-np.inf, rows // 2, column // 2), (np.nan, 0, column):
        spoilt = X.copy()
        spoilt[tuple(place)] = value
        with pytest.raises(ValueError, match="Input X contains " + ("NaN" if np.isnan(value) else "infinity")):
            model.predict(spoilt)
        np.testing.assert_array_equal(model.predict(X), expected)  # nothing is left of it


@pytest.mark.parametrize("columns", [5, 1100])
def test_the_message_is_scikit_learns_and_names_the_column(columns):
    model, X = fitted(columns, np.float64)
    theirs, _ = fitted(columns, np.float64, neural_network.MLPRegressor)
    X[3, 4] = np.nan
    with pytest.raises(ValueError) as expected:
        theirs.predict(X)
    with pytest.raises(ValueError, match=re.escape("The first is in row 3, column 4.")) as found:
        model.predict(X)
    assert str(found.value).startswith(str(expected.value))

    frame = pandas.DataFrame(X).rename(columns="c{}".format)
    model.fit(frame.fillna(0), np.arange(len(frame)))
    with pytest.raises(ValueError, match=re.escape("The first is in row 3, column 'c4'.")):
        model.predict(frame)


def test_whoever_assumes_finite_numbers_is_not_contradicted():
    model, X = fitted(1100, np.float64)
    X[3, 4] = np.nan
    with config_context(assume_finite=True):
        outputs = model.predict(X)
    assert np.flatnonzero(np.isnan(outputs)).tolist() == [3]


@pytest.mark.parametrize(("columns", "rows"), [(37, 1), (37, 600), (1050, 131), (2060, 1), (130, 200)])
def test_the_networks_own_predictions_refuse_them_too(columns, rows):
    network = gp.Network((columns, 130 if columns == 130 else 8, 1))  # one for the matrix unit, where there is one
    parameters = network.initialize(seed=0)
    X = np.random.default_rng(0).standard_normal((rows, columns)).astype(np.float32)
    expected = predict(network, parameters, X)
    spoilt = X.copy()
    spoilt[rows // 2, columns - 1] = np.inf
    with pytest.raises(ValueError, match=rf"X must be finite; it holds infinity in row {rows // 2}, column {columns - 1}:"):
        predict(network, parameters, spoilt)
    np.testing.assert_array_equal(predict(network, parameters, X), expected)
