"""Odd uses of the estimators: parameters put in their place, calls that fail, Ctrl-C, what callbacks see, weights of 0."""

from __future__ import annotations

import numpy as np
import pandas
import pytest
from scipy.sparse import csr_array
from sklearn import config_context, neural_network
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris, make_multilabel_classification
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.metrics import accuracy_score, make_scorer, r2_score

import glassprop as gp
from glassprop import MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, Y = load_iris(return_X_y=True)
LABELS = np.array(["a", "b", "c"])[Y]
X_REG, Y_REG = load_diabetes(return_X_y=True)
SOLVERS = pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])


def small(**given):
    return MLPClassifier(**{"hidden_layer_sizes": 5, "max_iter": 4, "random_state": 0} | given)


# --- parameters put in their place ---


@pytest.mark.parametrize("rows", [3, 6, 100_000])
@pytest.mark.parametrize("table", [np.asarray, csr_array, pandas.DataFrame])
def test_weights_of_other_shapes_than_the_rows_are_refused(rows, table):
    model = small().fit(X, Y)
    model.coefs_[0] = np.ones((rows, 5))
    with pytest.raises(ValueError, match=f"X must have {rows} columns, as the network has inputs; got 4"):
        model.predict_proba(table(X[:1].copy()))


def test_weights_may_be_lists():
    model = small().fit(X, Y)
    expected = model.predict_proba(X)
    model.coefs_ = [W.tolist() for W in model.coefs_]
    np.testing.assert_array_equal(model.predict_proba(X), expected)


# --- calls that fail ---


@pytest.mark.parametrize("wrong", ["classes", "rows", "early_stopping"])
def test_a_first_partial_fit_that_fails_leaves_nothing(wrong):
    model = small(early_stopping=wrong == "early_stopping")
    rows = np.where(np.arange(4) == 1, np.nan, X) if wrong == "rows" else X
    with pytest.raises(ValueError):
        model.partial_fit(rows, Y, classes=[0, 1] if wrong == "classes" else [0, 1, 2])
    assert not [name for name in vars(model) if name.endswith("_") and not name.endswith("__")]
    with pytest.raises(NotFittedError):
        model.predict(X)
    model.set_params(early_stopping=False).partial_fit(X, Y, classes=[0, 1, 2]).predict(X)


def test_missing_values_are_named_wherever_rows_are_given():
    spoilt = X.copy()
    spoilt[3, 2] = np.nan
    model = small().fit(X, Y)
    for call in (model.predict, model.predict_proba, model.predict_log_proba):
        with pytest.raises(ValueError, match="The first is in row 3, column 2"):
            call(spoilt)
    for call in (model.score, model.explain, model.partial_fit):
        with pytest.raises(ValueError, match="The first is in row 3, column 2"):
            call(spoilt, Y)
    with pytest.raises(ValueError, match="The first is in row 3, column 2"):
        model.fit(X, Y, eval_set=(spoilt, Y))


def test_none_in_a_list_is_a_missing_value_in_predictions_too():
    rows = X[:5].tolist()
    rows[3][2] = None
    for call in (small().fit(X, Y).predict, MLPRegressor(max_iter=1).fit(X, Y).predict):
        with pytest.raises(ValueError, match="The first is in row 3, column 2"):
            call(rows)


@pytest.mark.parametrize(("kind", "missing"), [("Float64", pandas.NA), (object, None), (object, np.nan)])
def test_missing_values_of_every_kind_are_named(kind, missing):
    frame = pandas.DataFrame(X, columns=list("abcd")).astype(kind)
    frame.loc[3, "c"] = missing
    with pytest.raises(ValueError, match="The first is in row 3, column 'c'"):
        small().fit(frame, Y)


def test_lbfgs_refuses_what_it_would_leave_out():
    for name, given in {
        "gradient_clip": {"gradient_clip": 1e-3},
        "a schedule": {"learning_rate": gp.Cosine(0.1, steps=9)},
    }.items():
        with pytest.raises(ValueError, match=f"{name}.* needs a solver that goes by epochs"):
            small(solver="lbfgs", **given).fit(X, Y)


# --- classes that some rows lack ---


def test_weights_of_some_classes_and_rows_without_them():
    model = small(class_weight={"a": 1.0, "b": 2.0}).fit(X, LABELS)
    some = LABELS != "b"
    weights = np.where(LABELS == "b", 2.0, 1.0)
    by_row = small().fit(X, LABELS, weights)
    for one, other in zip(model.coefs_, by_row.coefs_, strict=True):
        np.testing.assert_array_equal(one, other)
    model.partial_fit(X[some], LABELS[some])
    model.explain(X[some], LABELS[some])
    model.fit(X, LABELS, eval_set=(X[some], LABELS[some]))
    with pytest.raises(ValueError, match="class_weight has 'z', but the labels are 'a', 'b', 'c'"):
        small(class_weight={"a": 1.0, "z": 2.0}).fit(X, LABELS)


# --- scores ---


def test_wrong_scores_of_several_labels_are_refused_as_scikit_learn_does():
    rows, labels = make_multilabel_classification(150, n_classes=4, random_state=0)
    mine, theirs = small().fit(rows, labels), neural_network.MLPClassifier(5, max_iter=4, random_state=0).fit(rows, labels)
    assert mine.score(rows, labels) == theirs.score(rows, labels)
    ones = np.ones(150)
    for weights in (ones * np.nan, ones[1:], ones[:, None] * ones):
        for model in (theirs, mine):
            with pytest.raises(ValueError):
                model.score(rows, labels, weights)
    for model in (theirs, mine):
        with pytest.raises(ValueError):
            model.score(rows, labels.astype(str))
    several = small().fit(X, np.c_[LABELS, LABELS])
    for weights in (ones * np.nan, ones[1:], ones * 0):
        with pytest.raises(ValueError):
            several.score(X, np.c_[LABELS, LABELS], weights)


def outcome(call, *given):
    """What a call returns, or the kind of what it raises."""
    try:
        return call(*given)
    except Exception as error:
        return type(error)


@pytest.mark.parametrize(
    "labels", [LABELS, Y, Y == 0, Y.astype(float), LABELS.astype(object), Y.astype("uint8")], ids=lambda y: y.dtype.str
)
def test_scores_of_labels_are_those_of_the_metric(labels):
    """Which it asks itself where labels are plain."""
    model = small().fit(X, labels)
    others = (
        labels[::-1],
        labels.astype(str),
        Y + 5,
        np.full(150, np.nan),
        [*labels],
        labels[:, None],
        labels[:149],
        np.c_[labels, labels],
    )
    for y in (labels, *others):
        assert outcome(model.score, X, y) == outcome(lambda y: accuracy_score(y, model.predict(X)), y)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.UndefinedMetricWarning")
def test_scores_of_numbers_are_those_of_the_metric(outputs, dtype):
    rows, numbers = X_REG.astype(dtype), np.column_stack([Y_REG, Y_REG[::-1], X_REG[:, 0]])[:, :outputs].astype(dtype)
    numbers = numbers[:, 0] if outputs == 1 else numbers
    model = MLPRegressor(hidden_layer_sizes=5, max_iter=4, random_state=0).fit(rows, numbers)
    others = (
        np.zeros_like(numbers),
        numbers.astype("float64"),
        numbers.astype(int),
        numbers * np.nan,
        [*numbers],
        numbers[:, None],
    )
    for y in (numbers, *others):
        found = outcome(model.score, rows, y)
        assert found == outcome(lambda y: r2_score(y, model.predict(rows)), y)
    for few in (0, 1, 2):
        found = outcome(model.score, rows[:few], numbers[:few])
        expected = outcome(lambda y, few=few: r2_score(y, model.predict(rows[:few])), numbers[:few])
        assert found == expected or (np.isnan(found) and np.isnan(expected))


def test_rows_held_out_must_weigh_something():
    for scoring in (None, "accuracy"):
        model = small(early_stopping=True, scoring=scoring)
        with pytest.raises(ValueError, match="rows held out must not all have a weight of 0"):
            model.fit(X, Y, np.arange(150) == 0)


@pytest.mark.parametrize("asked", [True, False])
def test_a_scorer_that_is_told_to_leave_weights_alone_does(asked):
    weights = np.where(Y == 0, 100.0, 1.0)
    with config_context(enable_metadata_routing=True):
        scorer = make_scorer(accuracy_score).set_score_request(sample_weight=asked)
        model = small(early_stopping=True, scoring=scorer).fit(X, Y, eval_set=(X, Y, weights))
    best = accuracy_score(Y, model.predict(X), sample_weight=weights if asked else None)
    assert model.best_validation_score_ == pytest.approx(best)


# --- Ctrl-C, and what callbacks see ---


@SOLVERS
def test_ctrl_c_keeps_what_was_learned(solver):
    def interrupt(epoch):
        if epoch.epoch == 3:
            raise KeyboardInterrupt

    model = small(solver=solver, max_iter=20).set_callbacks(interrupt)
    with pytest.warns(UserWarning, match="Training interrupted by user"):
        model.fit(X, Y)
    assert model.n_iter_ == 3
    for one, other in zip(model.coefs_, small(solver=solver, max_iter=3).fit(X, Y).coefs_, strict=True):
        np.testing.assert_array_equal(one, other)


@SOLVERS
def test_who_looks_at_the_estimator_meanwhile_sees_it_as_it_is(solver):
    seen = []
    model = small(solver=solver, max_iter=6)
    model.set_callbacks(lambda epoch: seen.append((model.n_iter_, model.score(X, Y), model.coefs_[0].copy())))
    model.fit(X, Y)
    for epochs, score, W in seen:
        alone = small(solver=solver, max_iter=epochs).fit(X, Y)
        np.testing.assert_array_equal(alone.coefs_[0], W)
        assert alone.score(X, Y) == score
    assert [epochs for epochs, *_ in seen] == [*range(1, 7)]


def test_an_epoch_that_diverges_is_counted_and_told(capsys):
    told = []
    model = MLPRegressor(
        hidden_layer_sizes=5, activation="identity", solver="sgd", learning_rate_init=1e3, early_stopping=True, max_iter=60,
        random_state=0, verbose=True,
    ).set_callbacks(told.append)  # fmt: skip
    with pytest.warns(ConvergenceWarning, match="ceased to be finite"):
        model.fit(X_REG, Y_REG)
    curves = model.loss_curve_, model.validation_scores_, model.validation_loss_curve_, told
    assert [len(curve) for curve in curves] == [model.n_iter_] * 4
    assert np.isnan([told[-1].loss, model.validation_loss_curve_[-1]]).all()
    assert model.t_ % model.n_iter_ == 0
    assert f"Iteration {model.n_iter_}, loss = nan\nValidation score: nan\n" in capsys.readouterr().out


def test_why_lbfgs_gave_up_is_said_as_scikit_learn_says_it():
    rows, y = load_breast_cancer(return_X_y=True)
    said = []
    for module in (gp, neural_network):
        with pytest.warns(ConvergenceWarning) as warned:
            module.MLPClassifier(5, solver="lbfgs", max_iter=6, random_state=0).fit(rows / rows.std(0), y)
        said.append(str(warned[0].message))
    assert said[0] == said[1]


@pytest.mark.parametrize(("dtype", "g", "count"), [(np.float32, -80.0, 1e6), (np.float64, -680.0, 1e20)])
def test_the_deviance_of_counts_far_above_what_is_predicted(dtype, g, count):
    """y / h overflows, its logarithm does not."""
    X, y = np.ones((4, 1), dtype), np.full(4, count)
    model = MLPRegressor(
        hidden_layer_sizes=(), loss="poisson", alpha=0, warm_start=True, max_iter=1, learning_rate_init=1e-9, random_state=0
    )
    model.fit(X, np.ones(4))
    model.coefs_[0][:], model.intercepts_[0][:] = g, 0
    assert model.partial_fit(X, y).loss_ == pytest.approx(count * (np.log(count) - g - 1), rel=1e-5)


@pytest.mark.parametrize("max_iter", [True, np.int64(3)])
def test_whole_numbers_of_any_kind_are_told_as_scikit_learn_tells_them(max_iter):
    told = []
    for kind in (MLPClassifier, neural_network.MLPClassifier):
        with pytest.warns(ConvergenceWarning) as warned:
            kind(max_iter=max_iter, random_state=0).fit(X, Y)
        told.append(str(warned[0].message))
    assert told[0] == told[1]
