"""What estimators and loaded models show of themselves: as much as their networks do when everything is given by hand."""

from __future__ import annotations

import numpy as np
import pandas
import pytest
from scipy.sparse import csr_array, random_array
from sklearn.datasets import load_diabetes, load_wine

import glassprop as gp
from glassprop import MLPClassifier, MLPRegressor
from glassprop.glass.measure import MOST_ROWS, some_rows

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, Y = load_wine(return_X_y=True)
X = (X - X.mean(0)) / X.std(0)
LABELS = np.array(["a", "b", "c"])[Y]
WEIGHTS = np.random.default_rng(0).uniform(0, 2, len(X))
WINE = gp.Network((13, 5, 3), loss="cross_entropy")


def fitted(**given):
    return MLPClassifier(**{"hidden_layer_sizes": 5, "max_iter": 6, "random_state": 0, "batch_size": 50} | given).fit(X, LABELS)


def parameters_of(model):
    return gp.Parameters.from_arrays(model.coefs_, model.intercepts_)


def by_function(model, X, y, sample_weight, **named):
    return gp.diagnose(model, X=X, Y=y, weights=sample_weight, **named)


@pytest.mark.parametrize("by", [MLPClassifier.diagnose, by_function])
def test_an_estimator_is_diagnosed_as_its_network_is(by):
    model = fitted(alpha=0.5)
    found = by(model, X[:120], LABELS[:120], sample_weight=WEIGHTS[:120], validation=(X[120:], LABELS[120:]))
    network = gp.Network((13, 5, 3), loss="cross_entropy", l2=0.5 / (50 * WEIGHTS[:120].mean()))
    expected = gp.diagnose(
        network, parameters_of(model), X[:120], Y[:120], weights=WEIGHTS[:120], validation=(X[120:], Y[120:]),
        optimizer=model._optimizer.next_rule(), batch_size=50,
    )  # fmt: skip
    assert found.as_dict() == expected.as_dict()
    assert found.facts.learning_rate == pytest.approx(0.001)


def test_a_step_has_as_many_rows_as_scikit_learn_gives_it():
    for asked, rows in (("auto", 178), (30, 30)):
        found = fitted(batch_size=asked, alpha=100.0, hidden_layer_sizes=()).diagnose(X, LABELS)
        one = gp.Network((13, 3), loss="cross_entropy", l2=100 / rows)
        model = fitted(batch_size=asked, alpha=100.0, hidden_layer_sizes=())
        rule = model._optimizer.next_rule()
        assert found.as_dict() == gp.diagnose(one, parameters_of(model), X, Y, optimizer=rule, batch_size=rows).as_dict()


def test_of_a_sparse_table_only_the_rows_that_are_looked_at_are_made_dense():
    table = random_array((50_000, 2000), density=0.001, rng=0, format="csr")
    target = np.asarray(table.sum(axis=1))
    model = MLPRegressor(hidden_layer_sizes=3, max_iter=2, random_state=0).fit(table, target)
    rows = some_rows(50_000)
    assert len(rows) == MOST_ROWS
    found = model.diagnose(csr_array(table), list(target), sample_weight=np.arange(50_000.0))
    assert found.as_dict() == model.diagnose(table[rows].toarray(), target[rows], sample_weight=rows.astype(float)).as_dict()


@pytest.mark.parametrize("table", [np.asarray, csr_array, pandas.DataFrame])
def test_an_estimators_gradients_are_checked(table):
    model = fitted(alpha=3.0, activation="tanh")
    for found in (
        model.check_gradients(table(X), LABELS, sample_weight=WEIGHTS, entries=None),
        gp.check_gradients(model, X=table(X), Y=LABELS, weights=WEIGHTS, entries=None),
    ):
        assert found
        expected = gp.check_gradients(
            gp.Network((13, 5, 3), activation="tanh", loss="cross_entropy", l2=3 / WEIGHTS.sum()), parameters_of(model), X, Y,
            weights=WEIGHTS, entries=None,
        )  # fmt: skip
        assert str(found) == str(expected)
    wrong = parameters_of(model)
    assert not model.check_gradients(X, LABELS, gradient=wrong)


def test_what_lbfgs_left_is_diagnosed_without_a_rule():
    found = fitted(solver="lbfgs").diagnose(X, LABELS)
    assert found.facts.learning_rate is None
    assert not found.facts.trials


def test_runs_and_loaded_models_have_parameters_of_their_own(tmp_path):
    run = gp.train(WINE, X, Y, epochs=3, seed=0)
    gp.save(run, tmp_path / "wine.safetensors")
    loaded = gp.load(tmp_path / "wine.safetensors")
    expected = str(gp.check_gradients(WINE, run.parameters, X, Y))
    assert str(gp.check_gradients(run, X=X, Y=Y)) == str(gp.check_gradients(loaded, X=X, Y=Y)) == expected
    assert str(gp.diagnose(loaded, X=X, Y=Y)) == str(gp.diagnose(WINE, run.parameters, X, Y))


def test_refusals():
    model, run = fitted(), gp.train(WINE, X, Y, epochs=1, seed=0)
    for function in (gp.diagnose, gp.check_gradients, gp.explain):
        with pytest.raises(TypeError, match=rf"give X and Y by name: {function.__name__}\(model, X=X, Y=y\)"):
            function(model, X, LABELS)
    with pytest.raises(ValueError, match="optimizer must not be given beside an estimator"):
        gp.diagnose(model, X=X, Y=LABELS, optimizer=gp.SGD(0.1))
    with pytest.raises(TypeError, match=r"validation must be \(X, Y\)"):
        model.diagnose(X, LABELS, validation=0.2)
    with pytest.raises(TypeError, match="parameters are the Run's own; give X and Y by name"):
        gp.check_gradients(run, X, Y)
    with pytest.raises(TypeError, match="Y must be given: the rows of the batch"):
        gp.check_gradients(run, X=X)
    for ask in ("diagnose", "check_gradients", "explain"):
        with pytest.raises(ValueError, match="not fitted yet"):
            getattr(MLPClassifier(), ask)(X, LABELS)
        with pytest.raises(ValueError, match="X has 4 features, but MLPClassifier is expecting 13"):
            getattr(model, ask)(X[:, :4], LABELS)


def test_numbers_are_diagnosed_too():
    rows, numbers = load_diabetes(return_X_y=True)
    found = MLPRegressor(max_iter=20, random_state=0).fit(rows, numbers).diagnose(rows, numbers)
    assert [finding.name for finding in found.findings[:2]] == ["unscaled inputs", "target scale"]
