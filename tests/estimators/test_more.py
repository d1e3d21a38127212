"""What glassprop's estimators have beyond scikit-learn's."""

from __future__ import annotations

import math
import pickle
import sys
import types
import warnings

import joblib
import numpy as np
import pandas
import polars
import pytest
from scipy.sparse import csr_matrix
from sklearn import config_context
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_iris
from sklearn.exceptions import FitFailedWarning
from sklearn.metrics import f1_score, log_loss, make_scorer, mean_absolute_error, mean_pinball_loss
from sklearn.model_selection import KFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import compute_sample_weight

import glassprop as gp
from glassprop import MLPClassifier, MLPRegressor
from glassprop.estimators import outputs

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X_IRIS, Y_IRIS = load_iris(return_X_y=True)
X_REG, Y_REG = load_diabetes(return_X_y=True)
X_REG, Y_REG = X_REG / X_REG.std(0), (Y_REG - Y_REG.mean()) / Y_REG.std()
BOTH = pytest.mark.parametrize("Estimator", [MLPClassifier, MLPRegressor])


def equal(one, other):
    return all(
        np.array_equal(a, b) for a, b in zip(one.coefs_ + one.intercepts_, other.coefs_ + other.intercepts_, strict=True)
    )


@BOTH
def test_defaults_change_nothing(Estimator):
    given = {"max_iter": 5, "random_state": 0}
    extra = {"dropout": 0.0, "weight_decay": None, "l1": 0.0, "gradient_clip": None, "scoring": None, "n_jobs": 1}
    if Estimator is MLPClassifier:
        extra |= {"label_smoothing": 0.0, "class_weight": None}
    assert equal(Estimator(**given).fit(X_IRIS, Y_IRIS), Estimator(**given, **extra).fit(X_IRIS, Y_IRIS))


# --- activations, solvers, penalties ---


@pytest.mark.parametrize("activation", ["gelu", "silu", "leaky_relu", "sigmoid"])
def test_activations_of_the_core(activation):
    model = MLPClassifier(activation=activation, random_state=0, max_iter=100, learning_rate_init=0.01).fit(X_IRIS, Y_IRIS)
    assert model.score(X_IRIS, Y_IRIS) > 0.9


def test_one_activation_for_each_layer():
    given = {"hidden_layer_sizes": (8, 8), "random_state": 0, "max_iter": 5}
    mixed = MLPClassifier(activation=["tanh", "relu"], **given).fit(X_IRIS, Y_IRIS)
    same = MLPClassifier(activation=["tanh", "tanh"], **given).fit(X_IRIS, Y_IRIS)
    assert not equal(mixed, same)
    assert equal(same, MLPClassifier(activation="tanh", **given).fit(X_IRIS, Y_IRIS))


def bent(g):
    return math.tanh(g) + g / 10


def bent_slope(g):
    return 1.1 - math.tanh(g) ** 2


def test_an_activation_of_ones_own_also_pickled():
    own = gp.Activation("bent", bent, bent_slope)
    model = MLPClassifier(8, own, random_state=0, max_iter=100, learning_rate_init=0.01).fit(X_IRIS, Y_IRIS)
    assert model.score(X_IRIS, Y_IRIS) > 0.9
    h = model.coefs_[0].T @ X_IRIS[0] + model.intercepts_[0]
    g = model.coefs_[1].T @ (np.tanh(h) + h / 10) + model.intercepts_[1]
    np.testing.assert_allclose(np.log(model.predict_proba(X_IRIS[:1])[0] / np.exp(g)).std(), 0, atol=1e-12)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).predict_proba(X_IRIS), model.predict_proba(X_IRIS))


def quartic(h, y):
    return (h - y) ** 4 / 4


def quartic_slope(h, y):
    return (h - y) ** 3


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_a_loss_of_ones_own_also_pickled(solver):
    given = {"hidden_layer_sizes": 8, "solver": solver, "random_state": 0, "max_iter": 60}
    copied = gp.Loss("copied", value=lambda h, y: (h - y) ** 2 / 2, slope=lambda h, y: h - y)
    mine, usual = (MLPRegressor(loss, **given).fit(X_REG, Y_REG) for loss in (copied, "squared_error"))
    np.testing.assert_allclose(mine.predict(X_REG), usual.predict(X_REG), rtol=1e-6, atol=1e-6)
    assert mine.loss_ == pytest.approx(usual.loss_, rel=1e-6)
    own = MLPRegressor(gp.Loss("quartic", value=quartic, slope=quartic_slope), **given)
    model = clone(own).fit(X_REG, Y_REG)
    assert not equal(model, usual)
    penalty = 0.0001 / 2 * sum((W**2).sum() for W in model.coefs_) / len(Y_REG)
    there = np.mean(quartic(model.predict(X_REG), Y_REG)) + penalty
    assert solver == "adam" or model.loss_ == pytest.approx(there, rel=1e-9)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).predict(X_REG), model.predict(X_REG))
    assert model.explain(X_REG, Y_REG, row=3).steps[0].loss.name == "quartic"


@pytest.mark.parametrize(
    "solver", ["rmsprop", "rprop", "adagrad", "adamw", gp.RMSprop(0.01), gp.Adam(gp.Exponential(0.05, 0.9))]
)
def test_update_rules_of_the_core(solver):
    model = MLPClassifier(solver=solver, learning_rate_init=0.01, random_state=0, max_iter=80).fit(X_IRIS, Y_IRIS)
    assert model.score(X_IRIS, Y_IRIS) > 0.85


def test_a_rule_that_is_given_is_the_rule_that_is_named():
    given = {"random_state": 0, "max_iter": 5}
    named = MLPRegressor(solver="sgd", learning_rate_init=0.01, **given).fit(X_REG, Y_REG)
    assert equal(named, MLPRegressor(solver=gp.SGD(0.01, momentum=0.9, nesterov=True), **given).fit(X_REG, Y_REG))
    assert not equal(named, MLPRegressor(solver=gp.SGD(0.01), **given).fit(X_REG, Y_REG))


def test_schedules():
    rates = []
    model = MLPRegressor(learning_rate=gp.Cosine(0.01, steps=9), batch_size=150, random_state=0, max_iter=3)
    model.set_callbacks(lambda epoch: rates.append(epoch.learning_rate)).fit(X_REG, Y_REG)
    assert rates == [gp.Cosine(0.01, steps=9)(step) for step in (2, 5, 8)]
    linear = MLPRegressor(learning_rate=lambda step: 0.01 / (step + 1), random_state=0, max_iter=3)
    inverse = MLPRegressor(learning_rate=gp.InverseScaling(0.01, power=1), random_state=0, max_iter=3)
    assert equal(linear.fit(X_REG, Y_REG), inverse.fit(X_REG, Y_REG))


def test_dropout_decay_penalties_and_clipping_act():
    plain = MLPRegressor(random_state=0, max_iter=20, learning_rate_init=0.01).fit(X_REG, Y_REG)
    for name, value in {"dropout": 0.5, "weight_decay": 0.5, "l1": 3.0, "gradient_clip": 1e-3}.items():
        changed = MLPRegressor(random_state=0, max_iter=20, learning_rate_init=0.01, **{name: value}).fit(X_REG, Y_REG)
        assert not equal(plain, changed), name
    size = {name: np.abs(MLPRegressor(random_state=0, max_iter=60, learning_rate_init=0.01, **options).fit(X_REG, Y_REG)
                         .coefs_[0]).sum() for name, options in {"none": {}, "decay": {"weight_decay": 0.5}, "l1": {"l1": 5.0}}
            .items()}  # fmt: skip
    assert size["decay"] < size["none"]
    assert size["l1"] < size["none"]


def test_l1_is_divided_by_the_rows_as_alpha_is():
    model = MLPRegressor("squared_error", (), solver="lbfgs", alpha=0, l1=2.0, tol=1e-9, random_state=0)
    X, y = np.array([[0.0], [1.0], [2.0], [3.0]]), np.array([0.0, 1.0, 2.0, 3.0])
    model.fit(X, y)
    # ½ mean (x (1 − w))² about the mean has variance 5/4: 5/4 (1 − w) = 2/4
    assert model.coefs_[0][0, 0] == pytest.approx(1 - (2 / 4) / (5 / 4), rel=1e-4)


# --- losses and weights ---


@pytest.mark.parametrize(("loss", "scored"), [
    ("absolute_error", mean_absolute_error),
    (gp.Loss("quantile", quantile=0.9), lambda y, p: mean_pinball_loss(y, p, alpha=0.9)),
])  # fmt: skip
def test_a_loss_is_what_is_made_small(loss, scored):
    given = {"alpha": 0.0, "random_state": 0, "max_iter": 300, "learning_rate_init": 0.01, "hidden_layer_sizes": 10}
    own = MLPRegressor(loss, **given).fit(X_REG, Y_REG)
    squared = MLPRegressor(**given).fit(X_REG, Y_REG)
    assert scored(Y_REG, own.predict(X_REG)) < scored(Y_REG, squared.predict(X_REG))
    assert own.loss_ == pytest.approx(scored(Y_REG, own.predict(X_REG)), rel=0.05)


def test_huber_with_a_wide_margin_is_the_squared_error():
    given = {"random_state": 0, "max_iter": 5}
    wide = MLPRegressor(gp.Loss("huber", delta=1e6), **given).fit(X_REG, Y_REG)
    assert equal(wide, MLPRegressor(**given).fit(X_REG, Y_REG))
    assert not equal(wide, MLPRegressor("huber", **given).fit(X_REG, Y_REG))


def test_losses_of_classes_are_not_for_the_regressor():
    with pytest.raises(ValueError, match=r"loss of a regressor must be one of squared_error, .*; got Loss"):
        MLPRegressor(gp.Loss("binary_cross_entropy")).fit(X_IRIS, Y_IRIS > 0)


def test_parameters_that_are_objects_go_through_clones_and_processes():
    network = MLPRegressor(
        gp.Loss("huber", delta=2.0), solver=gp.Adam(0.01), learning_rate=gp.Cosine(0.01, 100), random_state=0
    )
    alone, beside = (cross_val_score(network, X_REG, Y_REG, cv=2, n_jobs=jobs) for jobs in (None, 2))
    np.testing.assert_array_equal(alone, beside)


def test_targets_that_a_loss_cannot_take():
    with pytest.raises(ValueError, match="y must be at least 0 for loss 'poisson'; got -1"):
        MLPRegressor("poisson").fit([[1.0], [2.0]], [-1, 2])


def test_label_smoothing_holds_probabilities_from_the_ends():
    given = {"random_state": 0, "max_iter": 400, "learning_rate_init": 0.02}
    sharp = MLPClassifier(**given).fit(X_IRIS, Y_IRIS).predict_proba(X_IRIS).max(1).mean()
    smooth = MLPClassifier(label_smoothing=0.3, **given).fit(X_IRIS, Y_IRIS).predict_proba(X_IRIS).max(1).mean()
    assert smooth < 0.85 < sharp


def test_class_weights_are_row_weights():
    given = {"random_state": 0, "max_iter": 5}
    y = np.where(np.arange(150) < 110, "many", "few")
    weights = np.where(y == "few", 150 / 80, 150 / 220)
    balanced = MLPClassifier(class_weight="balanced", **given).fit(X_IRIS, y)
    assert equal(balanced, MLPClassifier(**given).fit(X_IRIS, y, sample_weight=weights))
    named = MLPClassifier(class_weight={"few": 150 / 80, "many": 150 / 220}, **given)
    assert equal(balanced, named.fit(X_IRIS, y, sample_weight=np.ones(150)))
    with pytest.raises(ValueError, match="class_weight='balanced' needs all rows at once: call fit with it before"):
        MLPClassifier(class_weight="balanced").partial_fit(X_IRIS, y, classes=["few", "many"])


def of_class(y, weights):
    return np.array([weights[label] for label in y])


@pytest.mark.parametrize("way", ["in memory", "pickle", "file"])
def test_balanced_weights_are_those_of_the_classes_that_fit_was_given(way, tmp_path):
    given = {"random_state": 0, "max_iter": 5, "hidden_layer_sizes": 5}
    y = np.where(np.arange(150) < 110, "many", "few")
    by_class = {"few": 150 / 80, "many": 150 / 220}
    judged = X_IRIS[100:], y[100:]  # of which there are as few of the other
    balanced = MLPClassifier(class_weight="balanced", **given).fit(X_IRIS, y, eval_set=judged)
    named = MLPClassifier(class_weight=by_class, **given).fit(X_IRIS, y, eval_set=judged)
    weighted = MLPClassifier(**given)
    weighted.fit(X_IRIS, y, sample_weight=of_class(y, by_class), eval_set=(*judged, of_class(judged[1], by_class)))
    assert balanced.validation_loss_curve_ == named.validation_loss_curve_ == weighted.validation_loss_curve_
    if way == "pickle":
        balanced = pickle.loads(pickle.dumps(balanced))
    elif way == "file":
        gp.save(balanced, tmp_path / "model")
        balanced = gp.load(tmp_path / "model")
    steps = [model.explain(X_IRIS[105:115], y[105:115]).steps[0] for model in (balanced, named)]
    np.testing.assert_array_equal(steps[0].layers[0].weights.new, steps[1].layers[0].weights.new)
    assert equal(balanced.partial_fit(X_IRIS[:50], y[:50]), named.partial_fit(X_IRIS[:50], y[:50]))


def test_balanced_weights_of_several_columns():
    given = {"random_state": 0, "max_iter": 5, "hidden_layer_sizes": 5}
    for y in (np.eye(3, dtype=int)[Y_IRIS], np.column_stack([Y_IRIS, X_IRIS[:, 0] > 6])):
        balanced = MLPClassifier(class_weight="balanced", **given).fit(X_IRIS, y, eval_set=(X_IRIS[:80], y[:80]))
        weights = compute_sample_weight("balanced", y)
        weighted = MLPClassifier(**given).fit(X_IRIS, y, weights, eval_set=(X_IRIS[:80], y[:80], weights[:80]))
        assert equal(balanced, weighted)
        assert balanced.validation_loss_curve_ == weighted.validation_loss_curve_


def test_a_fit_anew_forgets_what_balanced_the_classes_before():
    model = MLPClassifier(5, class_weight="balanced", max_iter=1, random_state=0).fit(X_IRIS, Y_IRIS)
    model.set_params(class_weight=None).fit(X_IRIS, Y_IRIS)
    with pytest.raises(ValueError, match="class_weight='balanced' needs all rows at once"):
        model.set_params(class_weight="balanced").partial_fit(X_IRIS, Y_IRIS)


@pytest.mark.parametrize(("weights", "message"), [
    (np.zeros(150), "Sample weights must contain at least one non-zero number"),
    (np.full(150, -1.0), "sample_weight must be at least 0; got -1"),
])  # fmt: skip
def test_weights_that_are_none(weights, message):
    with pytest.raises(ValueError, match=message):
        MLPClassifier().fit(X_IRIS, Y_IRIS, sample_weight=weights)


# --- judging epochs ---


@pytest.mark.parametrize("scoring", ["neg_log_loss", make_scorer(f1_score, average="macro"), "roc_auc_ovr"])
def test_any_scorer_stops_training(scoring):
    X = pandas.DataFrame(X_IRIS, columns=["a", "b", "c", "d"])  # names that the held-out rows inside do not have
    labels = np.array(["x", "y", "z"])[Y_IRIS]
    model = MLPClassifier(early_stopping=True, scoring=scoring, random_state=0, max_iter=300, learning_rate_init=0.02)
    model.fit(X, labels)
    assert model.best_validation_score_ == max(model.validation_scores_)
    assert len(set(model.validation_scores_)) > 3


def half_right(model, X, y):
    return float((model.predict(X) == y)[::2].mean())


def weighted_accuracy(model, X, y, sample_weight=None):
    return model.score(X, y, None if sample_weight is None else sample_weight)


@pytest.mark.parametrize(("scoring", "weighted"), [
    (half_right, False), ("neg_max_error", False), (make_scorer(lambda y, found: float((y == found).mean())), False),
    (weighted_accuracy, True), (lambda model, X, y, **named: model.score(X, y, **named), True), ("accuracy", True),
], ids=lambda value: getattr(value, "__name__", str(value)))  # fmt: skip
def test_row_weights_are_for_scorers_that_take_them(scoring, weighted):
    given = {"random_state": 0, "max_iter": 5, "early_stopping": True, "scoring": scoring, "validation_fraction": 0.4}
    weights = np.where(Y_IRIS == 1, 9.0, 1.0)
    model = MLPClassifier(class_weight={0: 1.0, 1: 9.0, 2: 1.0}, **given).fit(X_IRIS, Y_IRIS)
    same = MLPClassifier(**given).fit(X_IRIS, Y_IRIS, weights)
    assert model.validation_scores_ == same.validation_scores_
    alike = [MLPClassifier(**given).fit(X_IRIS, Y_IRIS, factor * np.ones(150)).validation_scores_ for factor in (1, 2)]
    assert alike[0] == alike[1]
    if weighted:
        judged = X_IRIS[::2], Y_IRIS[::2]
        scores = [MLPClassifier(**given).fit(X_IRIS, Y_IRIS, weights, eval_set=(*judged, w)).validation_scores_
                  for w in (np.ones(75), weights[::2])]  # fmt: skip
        assert scores[0] != scores[1]


def test_an_evaluation_set_is_judged_and_the_best_weights_come_back():
    train, held = np.arange(150) % 3 > 0, np.arange(150) % 3 == 0
    labels = np.array(["x", "y", "z"])[Y_IRIS]
    given = {"random_state": 0, "max_iter": 40, "learning_rate_init": 0.05}
    model = MLPClassifier(early_stopping=True, scoring="neg_log_loss", **given)
    model.fit(X_IRIS[train], labels[train], eval_set=(X_IRIS[held], labels[held]))
    told = -log_loss(labels[held], model.predict_proba(X_IRIS[held]))
    assert told == pytest.approx(model.best_validation_score_, rel=1e-9) == pytest.approx(max(model.validation_scores_))
    assert len(model.validation_loss_curve_) == model.n_iter_
    assert -model.validation_loss_curve_[3] == pytest.approx(model.validation_scores_[3], rel=1e-9)
    only_told = MLPClassifier(**given).fit(X_IRIS[train], labels[train], eval_set=(X_IRIS[held], labels[held]))
    assert equal(only_told, MLPClassifier(**given).fit(X_IRIS[train], labels[train]))  # training took no notice
    assert len(only_told.validation_loss_curve_) == only_told.n_iter_


@pytest.mark.parametrize(("eval_set", "error", "message"), [
    (X_IRIS, TypeError, r"eval_set must be \(X, y\) or \(X, y, sample_weight\); got ndarray"),
    ((X_IRIS,), TypeError, "got 1 of them"),
    ((X_IRIS[:, :3], Y_IRIS), ValueError, "X has 3 features, but MLPClassifier is expecting 4 features"),
    ((X_IRIS, Y_IRIS + 1), ValueError, r"`y` has classes not in `self\.classes_`"),
])  # fmt: skip
def test_wrong_evaluation_sets(eval_set, error, message):
    with pytest.raises(error, match=message):
        MLPClassifier().fit(X_IRIS, Y_IRIS, eval_set=eval_set)


@pytest.mark.parametrize("wrong", [{"dropout": 0.1}, {"weight_decay": 0.1}])
def test_what_goes_by_epochs_is_refused_with_lbfgs(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} needs a solver that goes by epochs"):
        MLPClassifier(solver="lbfgs", **wrong).fit(X_IRIS, Y_IRIS)
    with pytest.raises(ValueError, match="eval_set needs a solver that goes by epochs"):
        MLPClassifier(solver="lbfgs").fit(X_IRIS, Y_IRIS, eval_set=(X_IRIS, Y_IRIS))


def test_iterations_of_lbfgs_are_told_too():
    losses = []

    def watch(epoch):
        losses.append(epoch.loss)
        return epoch.epoch == 5

    model = MLPClassifier(solver="lbfgs", random_state=0).set_callbacks(watch).fit(X_IRIS, Y_IRIS)
    assert model.n_iter_ == 5
    assert len(losses) == 5
    assert losses == sorted(losses, reverse=True)


# --- exact continuation ---


CONTINUED = {
    "plain": {},
    "early stopping": {"early_stopping": True, "batch_size": 20},
    "dropout": {"dropout": 0.3, "batch_size": 64},
    "no shuffle": {"shuffle": False},
    "no shuffle, early stopping": {"shuffle": False, "early_stopping": True},
    "adaptive": {"solver": "sgd", "learning_rate": "adaptive", "tol": 0.05, "n_iter_no_change": 2},
    "invscaling": {"solver": "sgd", "learning_rate": "invscaling", "learning_rate_init": 0.1},
    "schedule": {"solver": "rmsprop", "learning_rate": gp.Cosine(0.01, steps=20)},
}


@pytest.mark.parametrize("way", ["in memory", "pickle", "joblib", "file"])
@pytest.mark.parametrize("case", CONTINUED)
@BOTH
def test_ten_epochs_twice_are_twenty(Estimator, case, way, tmp_path):
    given = {"random_state": 0, "warm_start": True} | CONTINUED[case]
    whole = Estimator(max_iter=20, **given).fit(X_IRIS, Y_IRIS)
    parts = Estimator(max_iter=10, **given).fit(X_IRIS, Y_IRIS)
    if way == "pickle":
        parts = pickle.loads(pickle.dumps(parts))
    elif way == "joblib":
        joblib.dump(parts, tmp_path / "model")
        parts = joblib.load(tmp_path / "model")
    elif way == "file":
        gp.save(parts, tmp_path / "model")
        parts = gp.load(tmp_path / "model")
    parts.fit(X_IRIS, Y_IRIS)
    assert equal(whole, parts)
    assert whole.loss_curve_ == parts.loss_curve_
    assert whole.validation_scores_ == parts.validation_scores_
    assert whole.t_ == parts.t_


def test_a_continued_fit_takes_weights_that_were_put_in_its_place():
    model = MLPClassifier(5, solver="sgd", momentum=0, random_state=0, warm_start=True, early_stopping=True, max_iter=1)
    model.fit(X_IRIS, Y_IRIS)
    model.coefs_, model.intercepts_ = [np.zeros((4, 5)), np.zeros((5, 3))], [np.zeros(5), np.zeros(3)]
    model.fit(X_IRIS, Y_IRIS)
    assert not model.coefs_[0].any()  # ReLU at 0 learns nothing


def test_a_continued_fit_has_the_layers_it_had():
    model = MLPClassifier(5, warm_start=True, max_iter=1).fit(X_IRIS, Y_IRIS)
    with pytest.raises(
        ValueError, match=r"with the layers it has, \(4, 5, 3\); hidden_layer_sizes and data ask for \(4, 6, 3\)"
    ):
        model.set_params(hidden_layer_sizes=6).fit(X_IRIS, Y_IRIS)


# --- tables, threads, glass ---


def test_missing_values_are_named_with_their_column():
    table = pandas.DataFrame(X_IRIS, columns=["sepal length", "sepal width", "petal length", "petal width"])
    table.iloc[7, 2] = np.nan
    with pytest.raises(
        ValueError, match=r"(?s)Input X contains NaN.*The first is in row 7, column 'petal length'\. .*SimpleImputer"
    ):
        MLPClassifier().fit(table, Y_IRIS)
    with pytest.raises(ValueError, match="The first is in row 7, column 2"):
        MLPClassifier().fit(table.to_numpy(), Y_IRIS)


@pytest.mark.parametrize("early_stopping", [False, True])
def test_threads_change_no_number(early_stopping):
    given = {"hidden_layer_sizes": (256, 256), "max_iter": 3, "random_state": 0, "early_stopping": early_stopping}
    models = [MLPClassifier(n_jobs=n_jobs, **given).fit(X_IRIS, Y_IRIS) for n_jobs in (None, 1, 2, -1)]
    assert all(equal(models[0], model) for model in models[1:])


def test_names_of_polars_are_kept():
    table = polars.DataFrame(X_IRIS, schema=["a", "b", "c", "d"])
    model = MLPClassifier(5, max_iter=3, random_state=0).fit(table, polars.Series(Y_IRIS))
    assert list(model.feature_names_in_) == ["a", "b", "c", "d"]
    plain = MLPClassifier(5, max_iter=3, random_state=0).fit(X_IRIS, Y_IRIS)
    np.testing.assert_array_equal(model.predict_proba(table), plain.predict_proba(X_IRIS))
    with pytest.raises(ValueError, match="feature names should match"):
        model.predict(table.select(["b", "a", "c", "d"]))
    gap = table.with_columns(polars.when(polars.col("c") > 5).then(None).otherwise(polars.col("c")).alias("c"))
    with pytest.raises(ValueError, match="The first is in row 83, column 'c'"):
        model.fit(gap, Y_IRIS)


def test_explaining_is_handed_over(monkeypatch):
    glass, given = types.ModuleType("glassprop.glass"), {}
    glass.explain = types.ModuleType("glassprop.glass.explain")
    glass.explain.explain = lambda *arguments, **named: given.update(named, arguments=arguments) or "explained"
    monkeypatch.setitem(sys.modules, "glassprop.glass", glass)
    monkeypatch.setitem(sys.modules, "glassprop.glass.explain", glass.explain)
    table = pandas.DataFrame(X_IRIS, columns=["a", "b", "c", "d"])
    model = MLPClassifier(5, max_iter=3, alpha=0.3, random_state=0).fit(table, np.array(["x", "y", "z"])[Y_IRIS])
    assert model.explain(table[:6], ["x"] * 6, row=2) == "explained"
    network, parameters, X, Y = given["arguments"]
    assert (network.layers, network.l2, given["row"]) == ((4, 5, 3), 0.3 / 6, 2)
    assert (given["input_names"], given["output_names"]) == (["a", "b", "c", "d"], ["x", "y", "z"])
    assert (given["step"], given["optimizer"].name, given["state"].shape) == (3, "adam", (2, parameters.theta.size))
    np.testing.assert_allclose(gp.forward(network, parameters, X).output, model.predict_proba(table[:6]), rtol=1e-12)
    assert Y.tolist() == [[0.0]] * 6


@pytest.mark.parametrize("given", [
    {}, {"solver": "sgd"}, {"solver": "sgd", "learning_rate": "invscaling"}, {"learning_rate": gp.Cosine(0.1, steps=20)},
    {"solver": "sgd", "learning_rate": "adaptive", "tol": 10.0, "n_iter_no_change": 1}, {"class_weight": "balanced"},
], ids=str)  # fmt: skip
def test_the_step_explained_is_the_one_that_partial_fit_takes(given):
    model = MLPClassifier(5, alpha=0.1, max_iter=5, random_state=0, shuffle=False, **given).fit(X_IRIS, Y_IRIS)
    model.set_params(learning_rate_init=0.5, beta_1=0.5, momentum=0.5)  # which a fit would go by
    rows = slice(40, 60)
    step = model.explain(X_IRIS[rows], Y_IRIS[rows], row=2).steps[0]
    model.partial_fit(X_IRIS[rows], Y_IRIS[rows])
    for layer, W, b in zip(step.layers, model.coefs_, model.intercepts_, strict=True):
        np.testing.assert_allclose(layer.weights.new, W, rtol=1e-12)
        np.testing.assert_allclose(layer.biases.new, b, rtol=1e-12)


def test_explaining_without_glass(monkeypatch):
    monkeypatch.setitem(sys.modules, "glassprop.glass", None)
    model = MLPClassifier(5, max_iter=1).fit(X_IRIS, Y_IRIS)
    for module, name in (("explain", "explain"), ("diagnose", "diagnose"), ("check", "check_gradients")):
        monkeypatch.setitem(sys.modules, f"glassprop.glass.{module}", None)
        with pytest.raises(ImportError, match=rf"{name} needs the package glassprop\.glass"):
            getattr(model, name)(X_IRIS, Y_IRIS)


# --- several columns of labels ---

COLUMNS = np.column_stack(
    [np.array(["setosa", "versicolor", "virginica"], dtype=object)[Y_IRIS], np.where(X_IRIS[:, 0] > 6, "l", "s")]
)


def test_several_columns_of_labels():
    given = {"random_state": 0, "max_iter": 500, "learning_rate_init": 0.02, "tol": 1e-3}
    model = MLPClassifier(**given).fit(X_IRIS, COLUMNS)
    assert [list(classes) for classes in model.classes_] == [["setosa", "versicolor", "virginica"], ["l", "s"]]
    assert model.predict(X_IRIS).shape == (150, 2)
    assert model.score(X_IRIS, COLUMNS) > 0.9
    assert model.score(X_IRIS, COLUMNS) == (model.predict(X_IRIS) == COLUMNS).all(1).mean()
    probabilities, logarithms = model.predict_proba(X_IRIS), model.predict_log_proba(X_IRIS)
    assert [p.shape for p in probabilities] == [(150, 3), (150, 2)]
    for p, logarithm, classes, column in zip(probabilities, logarithms, model.classes_, model.predict(X_IRIS).T, strict=True):
        np.testing.assert_allclose(p.sum(1), 1)
        np.testing.assert_allclose(np.exp(logarithm), p, rtol=1e-9)
        np.testing.assert_array_equal(classes[p.argmax(1)], column)
    stopped = MLPClassifier(early_stopping=True, **given).fit(X_IRIS, COLUMNS)
    assert 0 < stopped.best_validation_score_ <= 1
    again = model.set_params(warm_start=True, max_iter=1).fit(X_IRIS, COLUMNS).partial_fit(X_IRIS, COLUMNS)
    assert again.score(X_IRIS, COLUMNS) > 0.8


@pytest.mark.parametrize("form", ["frame", "objects", "categories", "polars", "lists"])
def test_columns_of_texts_beside_columns_of_numbers(form, tmp_path):
    long, small = X_IRIS[:, 0] > 6, np.where(X_IRIS[:, 1] > 3, "l", "s").astype(object)
    frame = pandas.DataFrame({"kind": Y_IRIS + 3, "size": small, "long": long})
    y = {
        "frame": frame, "objects": frame.to_numpy(object), "categories": frame.astype({"size": "category"}),
        "polars": polars.DataFrame({name: frame[name].tolist() for name in frame}),
        "lists": frame.to_numpy(object).tolist(),
    }[form]  # fmt: skip
    given = {"random_state": 0, "max_iter": 300, "learning_rate_init": 0.02}
    model = MLPClassifier(**given, class_weight="balanced").fit(X_IRIS, y, eval_set=(X_IRIS, y))
    assert [classes.tolist() for classes in model.classes_] == [[3, 4, 5], ["l", "s"], [False, True]]
    assert [classes.dtype.kind for classes in model.classes_] == ["i", "O", "b"]
    assert model.score(X_IRIS, y) == (model.predict(X_IRIS) == frame.to_numpy(object)).all(1).mean() > 0.8
    assert model.partial_fit(X_IRIS, y).score(X_IRIS, y) > 0.8
    gp.save(model, tmp_path / "model.safetensors")
    loaded = gp.load(tmp_path / "model.safetensors")
    assert [classes.dtype for classes in loaded.classes_] == [classes.dtype for classes in model.classes_]
    numbers = MLPClassifier(**given, class_weight="balanced").fit(X_IRIS, np.c_[Y_IRIS, small == "s", long] * 2)
    assert equal(numbers, MLPClassifier(**given, class_weight="balanced").fit(X_IRIS, y))
    with pytest.raises(ValueError, match=r"`y` has classes not in `self.classes_` in column 0: \[9\]"):
        model.partial_fit(X_IRIS, frame.assign(kind=9))
    with pytest.raises(TypeError, match="labels of one column must be all texts or all numbers; got 'x' and 1"):
        model.fit(X_IRIS, frame.assign(size=["x", 1] * 75))


TABLES_OF_TWO_NUMBERS = {
    "1 and 2": np.column_stack([Y_IRIS > 0, Y_IRIS > 1]) + 1,
    "0 and 2": np.column_stack([Y_IRIS > 0, Y_IRIS > 1]) * 2,
    "-1 and 1": np.column_stack([Y_IRIS > 0, Y_IRIS > 1]) * 2.0 - 1,
    "two alike": np.full((150, 2), 5),
}


@pytest.mark.parametrize("case", TABLES_OF_TWO_NUMBERS)
def test_tables_of_other_numbers_than_0_and_1_have_classes_in_each_column(case):
    y = TABLES_OF_TWO_NUMBERS[case]
    model = MLPClassifier(random_state=0, max_iter=300, learning_rate_init=0.02).fit(X_IRIS, y)
    assert [list(classes) for classes in model.classes_] == [sorted(set(column)) for column in y.T]
    assert model.score(X_IRIS, y) == (model.predict(X_IRIS) == y).all(1).mean() > 0.9
    assert set(np.unique(model.predict(X_IRIS))) == set(np.unique(y))
    with pytest.raises(ValueError, match="partial_fit needs the classes of each column"):
        MLPClassifier().partial_fit(X_IRIS, y)


@pytest.mark.parametrize("y", [
    np.column_stack([Y_IRIS + 1, (X_IRIS[:, 0] > 6) + 1]), np.column_stack([Y_IRIS, X_IRIS[:, 0] > 6]),
], ids=["from 1", "from 0"])  # fmt: skip
def test_every_fold_of_several_columns_is_fitted_and_scored(y):
    order = np.argsort(Y_IRIS, kind="stable")  # each fold leaves one class out of the first column
    with warnings.catch_warnings():
        warnings.simplefilter("error", FitFailedWarning)
        found = cross_val_score(MLPClassifier(max_iter=100, random_state=0), X_IRIS[order], y[order], cv=KFold(3))
    assert np.isfinite(found).all()


def test_a_sparse_table_of_labels_holds_those_that_are_there():
    y = np.eye(3, dtype=int)[Y_IRIS]
    given = {"hidden_layer_sizes": 5, "max_iter": 5, "random_state": 0}
    assert equal(MLPClassifier(**given).fit(X_IRIS, csr_matrix(2 * y)), MLPClassifier(**given).fit(X_IRIS, y))


@pytest.mark.parametrize("y", [Y_IRIS, COLUMNS[:, :1], COLUMNS[:140]])
def test_scores_of_other_labels_than_were_fitted(y):
    model = MLPClassifier(5, max_iter=1).fit(X_IRIS, COLUMNS)
    with pytest.raises(ValueError, match=r"y must have a label for each row and column, \(150, 2\); got shape \(1"):
        model.score(X_IRIS, y)


def test_early_stopping_judges_by_what_is_predicted_where_there_is_one_class():
    X = np.random.default_rng(0).normal(size=(40, 3))
    model = MLPClassifier(5, early_stopping=True, max_iter=3, random_state=3, activation="identity", learning_rate_init=1e-9)
    model.fit(X, np.full(40, "only"))
    assert model.predict_proba(X)[:, 1].max() > 0.5
    assert set(model.predict(X)) == {"only"}
    assert model.validation_scores_ == [1.0] * 3


def test_wrong_columns_of_labels():
    model = MLPClassifier(max_iter=2, warm_start=True).fit(X_IRIS, COLUMNS)
    with pytest.raises(ValueError, match="y must have 2 columns of labels"):
        model.fit(X_IRIS, np.hstack([COLUMNS, COLUMNS]))
    other = COLUMNS.copy()
    other[3, 1] = "m"
    with pytest.raises(ValueError, match=r"`y` has classes not in .* in column 1: .*m"):
        model.fit(X_IRIS, other)
    with pytest.raises(
        ValueError, match=r"partial_fit needs the classes of each column, classes=\[\[...\], \[...\]\], or a call"
    ):
        MLPClassifier().partial_fit(X_IRIS, COLUMNS)


def test_partial_fit_is_told_the_classes_of_each_column(tmp_path):
    y = pandas.DataFrame({"kind": Y_IRIS + 3, "size": np.where(X_IRIS[:, 1] > 3, "l", "s")})
    classes = [[5, 4, 3], ["s", "m", "l"]]
    model = MLPClassifier(learning_rate_init=0.02, random_state=0).partial_fit(X_IRIS[:9], y[:9], classes=classes)
    assert [each.tolist() for each in model.classes_] == [[3, 4, 5], ["l", "m", "s"]]
    model.partial_fit(X_IRIS[:2], np.array([[3, "l"]] * 2, dtype=object), classes=classes)
    for _ in range(200):
        model.partial_fit(X_IRIS, y)
    assert model.score(X_IRIS, y) > 0.8
    assert [each.shape for each in model.predict_proba(X_IRIS)] == [(150, 3), (150, 3)]
    gp.save(model, tmp_path / "model.safetensors")
    assert (gp.load(tmp_path / "model.safetensors").predict(X_IRIS) == model.predict(X_IRIS)).all()
    numbers = MLPClassifier(random_state=0).partial_fit(X_IRIS, np.c_[Y_IRIS, Y_IRIS > 0], classes=[range(3), np.arange(2)])
    assert numbers.partial_fit(X_IRIS, np.c_[Y_IRIS > 0, Y_IRIS > 1]).predict(X_IRIS).dtype.kind == "i"


@pytest.mark.parametrize("classes", [[[3, 4], ["l", "s"]], [3, 4, 5], [[3, 4, 5]]])
def test_classes_of_columns_stay_what_they_were(classes):
    y = pandas.DataFrame({"kind": Y_IRIS + 3, "size": np.where(X_IRIS[:, 1] > 3, "l", "s")})
    model = MLPClassifier(random_state=0).partial_fit(X_IRIS, y, classes=[[3, 4, 5], ["l", "s"]])
    with pytest.raises(ValueError, match=r"classes must be those of the calls before, \[\[3, 4, 5\], \['l', 's'\]\]; got"):
        model.partial_fit(X_IRIS, y, classes=classes)
    with pytest.raises(ValueError, match=r"`y` has classes not in `self.classes_` in column 1: .*m"):
        model.partial_fit(X_IRIS, y.assign(size="m"))
    with pytest.raises(ValueError, match=r"classes must be those of the calls before, \[0, 1, 2\]; got"):
        MLPClassifier(max_iter=1).fit(X_IRIS, Y_IRIS).partial_fit(X_IRIS, Y_IRIS, classes=[[0, 1, 2], [0, 1]])


# --- rows to judge by, one by one ---


def test_rows_to_judge_by_go_through_a_pipeline():
    rows = np.arange(150) % 3 == 0
    weights = np.linspace(1, 2, rows.sum())
    given = {"random_state": 0, "max_iter": 5, "early_stopping": True}
    scaler = StandardScaler().fit(X_IRIS[~rows])
    asked = MLPClassifier(**given)
    asked.fit(scaler.transform(X_IRIS[~rows]), Y_IRIS[~rows], eval_set=(scaler.transform(X_IRIS[rows]), Y_IRIS[rows], weights))
    with config_context(enable_metadata_routing=True):
        model = MLPClassifier(**given).set_fit_request(X_val=True, y_val=True, sample_weight_val=True)
        pipeline = make_pipeline(StandardScaler(), model, transform_input=["X_val"])
        pipeline.fit(X_IRIS[~rows], Y_IRIS[~rows], X_val=X_IRIS[rows], y_val=Y_IRIS[rows], sample_weight_val=weights)
    assert pipeline[-1].validation_loss_curve_ == asked.validation_loss_curve_
    assert pipeline[-1].validation_scores_ == asked.validation_scores_


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"X_val": X_REG}, "X_val and y_val are given together; y_val is missing"),
        ({"y_val": Y_REG, "sample_weight_val": Y_REG}, "X_val and y_val are given together; X_val is missing"),
        ({"X_val": X_REG, "y_val": Y_REG, "eval_set": (X_REG, Y_REG)}, "eval_set=.*, or X_val and y_val; got both"),
    ],
)
def test_rows_to_judge_by_are_whole_and_given_once(given, message):
    with pytest.raises(TypeError, match=message):
        MLPRegressor().fit(X_REG, Y_REG, **given)


# --- n_jobs, scores, labels ---


def test_n_jobs_bounds_the_threads_of_predictions(monkeypatch):
    asked = []
    whole = outputs.outputs_of
    monkeypatch.setattr(outputs, "outputs_of", lambda *given, **named: asked.append(named["threads"]) or whole(*given, **named))
    model = MLPClassifier(max_iter=2, random_state=0).fit(X_IRIS, Y_IRIS)
    for n_jobs in (None, -1, 1, np.int64(2)):
        model.set_params(n_jobs=n_jobs).predict(X_IRIS)
    assert asked == [None, None, 1, 2]


@pytest.mark.parametrize("given_eval_set", [False, True])
@pytest.mark.parametrize("frame", [pandas.DataFrame, polars.DataFrame])
def test_a_scorer_may_go_by_the_names_of_columns(frame, given_eval_set):
    seen = []

    def quality(model, X, y):
        seen.append((type(X), [*X.columns], np.asarray(X["width"])))
        return model.score(X, y)

    X = frame(dict(zip(["length", "width", "a", "b"], X_IRIS.T, strict=True)))
    given = {"early_stopping": True, "max_iter": 4, "random_state": 0}
    judged = {"eval_set": (X, Y_IRIS)} if given_eval_set else {}
    named = MLPClassifier(scoring=quality, **given).fit(X, Y_IRIS, **judged)
    plain = MLPClassifier(**given).fit(X, Y_IRIS, **judged)
    assert named.validation_scores_ == plain.validation_scores_
    assert all(kind is frame and names == ["length", "width", "a", "b"] for kind, names, _ in seen)
    assert len(seen) == 4
    assert {len(column) for *_, column in seen} == {150 if given_eval_set else 15}


@pytest.mark.parametrize("score", [np.nan, -np.inf, "0.5", None, np.ones(2), 1j])
def test_a_scorer_gives_a_finite_number(score):
    def quality(model, X, y):
        return score

    with pytest.raises(ValueError, match=r"scoring must give a finite number; .*quality.* gave"):
        MLPRegressor(early_stopping=True, scoring=quality).fit(X_REG, Y_REG)


@pytest.mark.parametrize(
    ("weights", "several", "message"),
    [
        ({0: -1}, False, "class_weight of 0 must be a finite number, at least 0; got -1"),
        ({0: 1, 1: np.inf}, False, "class_weight of 1 must be a finite number, at least 0; got inf"),
        ({0: "1"}, False, "class_weight of 0 must be a finite number, at least 0; got '1'"),
        ({5: 1}, False, "class_weight has 5, but the labels are 0, 1, 2"),
        ([{0: 1}], False, "class_weight must be 'balanced' or a dict; got"),
        ([{0: 1}], True, "class_weight must be 'balanced' or a list with a dict for each of the 2 columns of labels; got"),
        ([{0: 1}, {4: 1}], True, "class_weight has 4, but the labels in column 1 are 0, 1"),
        ([{0: 1}, {0: np.nan}], True, "class_weight of 0 in column 1 must be"),
    ],
)
def test_wrong_class_weights_are_named(weights, several, message):
    y = np.c_[Y_IRIS, Y_IRIS == 1] if several else Y_IRIS
    with pytest.raises(ValueError, match=message):
        MLPClassifier(class_weight=weights).fit(X_IRIS, y)


@pytest.mark.parametrize("form", [list, np.array, pandas.Series, lambda y: np.array(y, dtype=object)])
def test_labels_are_for_the_classifier(form):
    with pytest.raises(ValueError, match="y must be numbers, and holds texts"):
        MLPRegressor().fit(X_IRIS, form(["a", "b", "c"] * 50))
