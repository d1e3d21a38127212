"""Same random_state, same numbers: glassprop's estimators beside scikit-learn's own, in float64."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy.sparse import csc_matrix, csr_matrix
from sklearn import neural_network
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_iris, make_multilabel_classification
from sklearn.exceptions import ConvergenceWarning, UndefinedMetricWarning
from sklearn.metrics import r2_score
from sklearn.preprocessing import LabelBinarizer

import glassprop as gp
from glassprop.estimators.labels import fit_binarizer

TABLES = {
    "digits": load_digits(return_X_y=True),
    "cancer": load_breast_cancer(return_X_y=True),  # not scaled: probabilities of 1e-200, which scikit-learn clips
    "iris": load_iris(return_X_y=True),
    "multilabel": make_multilabel_classification(n_samples=300, random_state=0),
    "diabetes": load_diabetes(return_X_y=True),
}
DRAW = np.random.default_rng(0)
X_DIABETES, Y_DIABETES = TABLES["diabetes"][0], TABLES["diabetes"][1] / 77
TABLES["several outputs"] = X_DIABETES, np.column_stack([Y_DIABETES, Y_DIABETES**2 / 9, np.sin(Y_DIABETES)])
TABLES["counts"] = X_DIABETES, DRAW.poisson(Y_DIABETES)
TABLES["scaled diabetes"] = X_DIABETES, Y_DIABETES - Y_DIABETES.mean()
REGRESSION = {"diabetes", "several outputs", "counts", "scaled diabetes"}


def pair(table, **parameters):
    """Both estimators, not fitted; both quiet about epochs running out."""
    name = "MLPRegressor" if table in REGRESSION else "MLPClassifier"
    given = {"random_state": 3, "hidden_layer_sizes": (20,), "max_iter": 20} | parameters
    return getattr(gp, name)(**given), getattr(neural_network, name)(**given)


def fitted(model, *arguments, method="fit", **named):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return getattr(model, method)(*arguments, **named)


def difference(got, wanted):
    """The largest difference of any two numbers, relative to the wanted one."""
    got, wanted = np.asarray(got, np.float64), np.asarray(wanted, np.float64)
    assert got.shape == wanted.shape
    scale = np.where(wanted == 0, 1, np.abs(wanted))
    return float(np.max(np.abs(got - wanted) / scale, initial=0))


def assert_same(mine, theirs, tolerance=1e-6):
    for name in ("coefs_", "intercepts_"):
        assert max(map(difference, getattr(mine, name), getattr(theirs, name))) < tolerance, name
    for name in ("loss_curve_", "validation_scores_", "loss_", "best_loss_", "best_validation_score_"):
        if getattr(theirs, name, None) is None:
            assert getattr(mine, name, None) is None, name
        else:
            assert difference(getattr(mine, name), getattr(theirs, name)) < tolerance, name
    for name in ("n_iter_", "t_", "n_layers_", "n_outputs_", "out_activation_", "n_features_in_"):
        assert getattr(mine, name) == getattr(theirs, name), name


@pytest.mark.parametrize("alpha", [1e-4, 1.0])
@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("activation", ["relu", "tanh", "logistic", "identity"])
@pytest.mark.parametrize("solver", ["adam", "sgd"])
@pytest.mark.parametrize("table", ["digits", "diabetes", "cancer", "multilabel"])
def test_twenty_epochs(table, solver, activation, early_stopping, shuffle, alpha):
    given = {"solver": solver, "activation": activation, "shuffle": shuffle, "alpha": alpha}
    mine, theirs = pair(table, early_stopping=early_stopping, **given)
    assert_same(fitted(mine, *TABLES[table]), fitted(theirs, *TABLES[table]))


CASES = {  # what differs from the defaults
    "small batches": ("digits", {"batch_size": 32}),
    "a batch of one row left over": ("iris", {"batch_size": 149}),
    "no hidden layer": ("digits", {"hidden_layer_sizes": ()}),
    "no hidden layer, logistic": ("digits", {"hidden_layer_sizes": (), "activation": "logistic"}),
    "no hidden layer, logistic, numbers": (
        "scaled diabetes", {"hidden_layer_sizes": (), "activation": "logistic", "solver": "sgd"},
    ),
    "two hidden layers": ("iris", {"hidden_layer_sizes": [12, 5], "activation": "tanh"}),
    "one number of units": ("iris", {"hidden_layer_sizes": 7}),
    "patience spent": ("iris", {"tol": 1e-2, "max_iter": 2000}),
    "to convergence": ("iris", {"max_iter": 3000}),
    "early stopping to the end": ("iris", {"max_iter": 3000, "early_stopping": True, "validation_fraction": 0.3}),
    "tol of 0": ("iris", {"tol": 0.0, "n_iter_no_change": 1, "max_iter": 60, "learning_rate_init": 0.1}),
    "adaptive": ("scaled diabetes", {"solver": "sgd", "learning_rate": "adaptive", "max_iter": 300, "tol": 1e-3,
                                     "n_iter_no_change": 3, "learning_rate_init": 0.05}),
    "adaptive by score": ("scaled diabetes", {"solver": "sgd", "learning_rate": "adaptive", "max_iter": 300, "tol": 1e-3,
                                              "n_iter_no_change": 3, "learning_rate_init": 0.05, "early_stopping": True}),
    "invscaling": ("scaled diabetes", {"solver": "sgd", "learning_rate": "invscaling", "power_t": 0.3, "max_iter": 40,
                                       "learning_rate_init": 0.5}),
    "adam knows no adaptive": ("iris", {"learning_rate": "adaptive", "tol": 0.1, "max_iter": 60}),
    "momentum": ("scaled diabetes", {"solver": "sgd", "nesterovs_momentum": False, "momentum": 0.7}),
    "no momentum": ("scaled diabetes", {"solver": "sgd", "momentum": 0}),
    "all momentum": ("scaled diabetes", {"solver": "sgd", "momentum": 1}),
    "betas": ("iris", {"beta_1": 0.5, "beta_2": 0.6, "epsilon": 1e-2}),
    "counts": ("counts", {"loss": "poisson", "batch_size": 50}),
    "several outputs": ("several outputs", {}),
    "several outputs by score": ("several outputs", {"early_stopping": True}),
    "one random state": ("iris", {"random_state": 0}),
}  # fmt: skip


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_other_parameters(case, weighted):
    table, parameters = CASES[case]
    X, y = TABLES[table]
    weights = np.random.default_rng(1).uniform(0, 3, len(X)) if weighted else None
    mine, theirs = pair(table, **parameters)
    assert_same(fitted(mine, X, y, sample_weight=weights), fitted(theirs, X, y, sample_weight=weights))


@pytest.mark.parametrize("container", [csr_matrix, csc_matrix])
def test_sparse_tables(container):
    X, y = TABLES["digits"]
    mine, theirs = pair("digits", early_stopping=True)
    fitted(mine, container(X), y)
    assert_same(mine, fitted(theirs, container(X), y))
    np.testing.assert_allclose(mine.predict_proba(container(X)), theirs.predict_proba(container(X)), rtol=1e-9)
    np.testing.assert_array_equal(mine.predict_proba(container(X)), mine.predict_proba(X))


@pytest.mark.parametrize("early_stopping", [False, True])
def test_labels_of_text(early_stopping):
    X, y = TABLES["iris"]
    y = np.array(["setosa", "versicolor", "virginica"], dtype=object)[y]
    mine, theirs = pair("iris", early_stopping=early_stopping)
    fitted(mine, X, y)
    assert_same(mine, fitted(theirs, X, y))
    np.testing.assert_array_equal(mine.predict(X), theirs.predict(X))
    np.testing.assert_array_equal(mine.classes_, theirs.classes_)


@pytest.mark.parametrize("table", ["iris", "cancer", "multilabel"])
def test_probabilities_and_labels(table):
    X, y = TABLES[table]
    mine, theirs = pair(table, max_iter=50)
    fitted(mine, X, y), fitted(theirs, X, y)
    np.testing.assert_allclose(mine.predict_proba(X), theirs.predict_proba(X), rtol=1e-6)
    np.testing.assert_array_equal(mine.predict(X), theirs.predict(X))
    assert mine.score(X, y) == theirs.score(X, y)
    with np.errstate(divide="ignore"):
        wanted = theirs.predict_log_proba(X)
    finite = np.isfinite(wanted)
    np.testing.assert_allclose(mine.predict_log_proba(X)[finite], wanted[finite], rtol=1e-4)
    assert np.isfinite(mine.predict_log_proba(X)).all()


@pytest.mark.parametrize(("table", "parameters"), [
    ("iris", {}), ("scaled diabetes", {"solver": "sgd", "learning_rate": "invscaling"}), ("iris", {"batch_size": 40}),
])  # fmt: skip
def test_partial_fit_after_partial_fit_and_after_fit(table, parameters):
    X, y = TABLES[table]
    for begin in ("fit", "partial_fit"):
        mine, theirs = pair(table, **parameters)
        for model in (mine, theirs):
            classes = {"classes": np.unique(y)} if table == "iris" and begin == "partial_fit" else {}
            fitted(model, X, y, method=begin, **classes)
            for start in (0, 30, 50):  # other rows, and another number of them
                fitted(model, X[start:], y[start:], method="partial_fit")
        assert_same(mine, theirs)


CHANGES = {
    "rate": ({"solver": "sgd"}, {"learning_rate_init": 0.3}),
    "momentum": ({"solver": "sgd"}, {"momentum": 0.2, "nesterovs_momentum": False}),
    "power": ({"solver": "sgd", "learning_rate": "invscaling"}, {"power_t": 0.9, "learning_rate_init": 0.3}),
    "schedule": ({"solver": "sgd"}, {"learning_rate": "invscaling"}),
    "betas": ({}, {"beta_1": 0.1, "beta_2": 0.2, "epsilon": 1e-2, "learning_rate_init": 0.1}),
    "solver": ({}, {"solver": "sgd"}),
    "others": ({}, {"alpha": 1.0, "batch_size": 40, "shuffle": False, "random_state": 8}),
}


@pytest.mark.parametrize("case", CHANGES)
def test_partial_fit_keeps_the_rule_it_began_with_and_takes_up_other_parameters(case):
    X, y = TABLES["iris"]
    given, change = CHANGES[case]
    mine, theirs = pair("iris", **given)
    for model in (mine, theirs):
        fitted(model, X, y)
        for _ in range(3):
            fitted(model.set_params(**change), X, y, method="partial_fit")
    assert_same(mine, theirs)


@pytest.mark.parametrize("early_stopping", [False, True])
def test_a_generator_that_is_handed_in_is_drawn_from_as_often(early_stopping):
    X, y = TABLES["iris"]
    states = [np.random.RandomState(5), np.random.RandomState(5)]
    for model, state in zip(pair("iris"), states, strict=True):
        fitted(model.set_params(random_state=state, tol=1e-2, max_iter=500, early_stopping=early_stopping), X, y)
        assert model.n_iter_ < 500
    assert states[0].randint(2**31) == states[1].randint(2**31)


LBFGS = {
    "no hidden layer, logistic": ("cancer", {"hidden_layer_sizes": (), "activation": "logistic"}, 1e-5),
    "no hidden layer, logistic, numbers": ("scaled diabetes", {"hidden_layer_sizes": (), "activation": "logistic"}, 1e-5),
    "classes": ("iris", {}, 1e-5),
    "two classes": ("cancer", {}, 1e-5),
    "several labels": ("multilabel", {"activation": "tanh"}, 1e-5),
    "numbers": ("scaled diabetes", {"max_iter": 30}, 1e-5),
    "counts": ("counts", {"loss": "poisson", "max_iter": 15}, 1e-4),
}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("case", LBFGS)
def test_lbfgs(case, weighted):
    table, parameters, tolerance = LBFGS[case]
    X, y = TABLES[table]
    X = (X - X.mean(0)) / X.std(0)
    weights = np.random.default_rng(1).uniform(0.5, 2, len(X)) if weighted else None
    mine, theirs = pair(table, **{"solver": "lbfgs", "max_iter": 10, **parameters})
    assert_same(fitted(mine, X, y, sample_weight=weights), fitted(theirs, X, y, sample_weight=weights), tolerance)


@pytest.mark.parametrize("table", ["iris", "scaled diabetes"])
def test_lbfgs_leaves_float64(table):
    X, y = TABLES[table]
    X = ((X - X.mean(0)) / X.std(0)).astype(np.float32)
    mine, theirs = pair(table, solver="lbfgs", max_iter=10)
    assert_same(fitted(mine, X, y), fitted(theirs, X, y), 0.01)
    for model in (mine, theirs):
        assert {a.dtype for a in model.coefs_ + model.intercepts_} == {np.dtype(np.float64)}
        assert fitted(model.set_params(warm_start=True), X, y).coefs_[0].dtype == np.float64


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize("begin", ["f4", "f8"])
def test_a_model_keeps_its_precision(begin, method):
    X, y = TABLES["iris"]
    for model in pair("iris", warm_start=True):
        fitted(model, X.astype(begin), y)
        fitted(model, X.astype("f8" if begin == "f4" else "f4"), y, method=method)
        assert {a.dtype for a in model.coefs_ + model.intercepts_} == {np.dtype(begin)}


@pytest.mark.parametrize("dtype", [np.float16, np.longdouble, np.int8, bool])
def test_predictions_for_tables_of_other_numbers(dtype):
    X, y = TABLES["digits"]
    mine, theirs = pair("digits")
    for model in (fitted(mine, X / 16, y), fitted(theirs, X / 16, y)):
        assert model.predict_proba((X / 16).astype(dtype)).shape == (len(X), 10)
    np.testing.assert_allclose(
        *(model.predict_proba((X / 16).astype(dtype)).astype(float) for model in (mine, theirs)), rtol=1e-6
    )
    np.testing.assert_array_equal(*(model.predict((X / 16).astype(dtype)) for model in (mine, theirs)))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("outputs", [1, 3])
def test_the_score_of_a_regressor_is_scikit_learns_to_the_bit(outputs, weighted, dtype):
    draw = np.random.default_rng(0)
    for rows in (1, 2, 7, 300):
        Y, guess = draw.normal(1e3, 1, (2, rows, outputs)).astype(dtype)
        weights = draw.uniform(0, 3, rows).astype(dtype) if weighted else None
        guess[:, 0] = np.where(rows == 7, Y[:, 0], guess[:, 0])  # one that is all right
        same = np.where(np.arange(outputs) == 0, Y.dtype.type(4), Y)  # and one whose targets are all the same
        for truth, told in ((Y, guess), (same, guess), (same, same)):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UndefinedMetricWarning)
                mine = gp.MLPRegressor()._score_outputs(told, truth, weights)
                np.testing.assert_equal(mine, r2_score(truth, told, sample_weight=weights))


@pytest.mark.parametrize("dtype", ["i1", "i8", "u2", "?", ">i4"])
def test_labels_are_found_as_scikit_learn_finds_them(dtype):
    for y in (np.array([5, 1, 3, 3, 1, 0, 0, 7], dtype), np.array([4, 2, 4], dtype), np.array([1, 1], dtype)):
        mine, theirs = fit_binarizer(y), LabelBinarizer().fit(y)
        assert mine.classes_.dtype == theirs.classes_.dtype
        assert repr(vars(mine)) == repr(vars(theirs))


def test_float32_is_computed_in_float32():
    X, y = TABLES["digits"]
    mine, theirs = pair("digits")
    X = X.astype(np.float32)
    assert_same(fitted(mine, X, y), fitted(theirs, X, y), 0.02)
    assert {a.dtype for a in mine.coefs_ + mine.intercepts_} == {np.dtype(np.float32)}
    assert mine.predict_proba(X).dtype == np.float32


def test_every_parameter_has_scikit_learns_default_and_place():
    for name in ("MLPClassifier", "MLPRegressor"):
        mine, theirs = getattr(gp, name)(), getattr(neural_network, name)()
        shared = theirs.get_params()
        assert {key: value for key, value in mine.get_params().items() if key in shared} == shared
        first = [code.co_varnames[1 : 1 + code.co_argcount - 1] for code in (type(m).__init__.__code__ for m in (mine, theirs))]
        assert first[0] == first[1]
