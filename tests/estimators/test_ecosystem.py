"""The estimators among scikit-learn's tools: its checks of estimators, searches, pipelines, routing, pickles, callbacks."""

from __future__ import annotations

import pickle
import subprocess
import sys

import numpy as np
import pandas
import pytest
from sklearn import config_context
from sklearn.base import clone
from sklearn.callback import ProgressBar, ScoringMonitor
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_diabetes, load_iris
from sklearn.model_selection import GridSearchCV, cross_val_score, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.utils.estimator_checks import check_estimator

import glassprop as gp
from glassprop import MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

IRIS, DIABETES = load_iris(return_X_y=True, as_frame=True), load_diabetes(return_X_y=True)


@pytest.mark.parametrize("Estimator", [MLPClassifier, MLPRegressor])
def test_scikit_learns_checks(Estimator):
    """All of them, with no expected failures; skipped are only those that are not about this estimator."""
    results = check_estimator(Estimator(), on_skip=None)
    skipped = {result["check_name"] for result in results if result["status"] == "skipped"}
    assert skipped <= {"check_array_api_input", "check_classifiers_multilabel_output_format_decision_function"}
    assert len(results) > 50
    assert {result["status"] for result in results} <= {"passed", "skipped"}


def test_search_in_two_processes():
    grid = {"mlpclassifier__alpha": [1e-4, 1.0], "mlpclassifier__solver": ["adam", "sgd"]}
    network = make_pipeline(StandardScaler(), MLPClassifier((10,), max_iter=30, learning_rate_init=0.01, random_state=0))
    alone = GridSearchCV(network, grid, cv=3).fit(*IRIS)
    beside = GridSearchCV(network, grid, cv=3, n_jobs=2).fit(*IRIS)
    assert alone.best_params_ == beside.best_params_
    np.testing.assert_array_equal(alone.cv_results_["mean_test_score"], beside.cv_results_["mean_test_score"])
    assert beside.score(*IRIS) > 0.8


def test_constants_of_rules_and_schedules_are_searched():
    rule = gp.AdamW(gp.Cosine(0.02, steps=100))
    network = make_pipeline(StandardScaler(), MLPClassifier((10,), solver=rule, max_iter=10, random_state=0))
    grid = {"mlpclassifier__solver__weight_decay": [0.0, 3.0], "mlpclassifier__solver__learning_rate__steps": [20, 300]}
    found = GridSearchCV(network, grid, cv=3, n_jobs=2).fit(*IRIS)
    assert len({*found.cv_results_["mean_test_score"]}) > 1
    for results in range(4):
        asked = found.cv_results_["params"][results]
        decay, steps = (asked[name] for name in grid)
        other = gp.AdamW(gp.Cosine(0.02, steps=steps), weight_decay=decay)
        alone = cross_val_score(clone(network).set_params(mlpclassifier__solver=other), *IRIS, cv=3)
        assert alone.mean() == found.cv_results_["mean_test_score"][results]
    assert rule == gp.AdamW(gp.Cosine(0.02, steps=100))


def test_constants_are_parameters_by_their_paths():
    model = MLPRegressor(solver=gp.SGD(gp.Exponential(0.1, 0.5)), learning_rate=gp.Cosine(0.1, 50))
    assert model.get_params()["solver__learning_rate__decay"] == 0.5
    assert not any("__" in name for name in model.get_params(deep=False))
    assert clone(model).get_params() == model.get_params()
    model.set_params(solver__learning_rate__decay=0.9, solver__momentum=0.5, learning_rate__steps=9, alpha=1)
    assert (model.solver, model.learning_rate) == (gp.SGD(gp.Exponential(0.1, 0.9), momentum=0.5), gp.Cosine(0.1, 9))
    assert model.alpha == 1
    model.set_params(solver__learning_rate__steps=3, solver__learning_rate=gp.Cosine(0.5, 2), solver=gp.Adam())
    assert model.solver == gp.Adam(gp.Cosine(0.5, 3))  # the owner first, as in scikit-learn


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"solver__beta3": 1}, r"Invalid parameter 'beta3' of solver=Adam\(.*Valid parameters are: .*'beta1'"),
        (
            {"solver__learning_rate__steps": 1},
            "solver__learning_rate__steps is a constant of a schedule such as glassprop.Cosine",
        ),
        ({"solver": "sgd", "solver__momentum": 0.5}, "solver__momentum is a constant of a rule .* got solver='sgd'"),
        ({"solver__beta1": 1.5}, "beta1 of Adam must"),
        ({"unknown": 1}, "Invalid parameter 'unknown' for estimator"),
    ],
)
def test_what_is_no_constant(change, message):
    with pytest.raises((ValueError, AttributeError), match=message):
        MLPRegressor(solver=gp.Adam(0.01)).set_params(**change)


def test_cross_validation_with_several_scores():
    found = cross_validate(
        MLPRegressor(solver="lbfgs", alpha=10, max_iter=300, random_state=0),
        *DIABETES, cv=3, scoring=["r2", "neg_mean_absolute_error"], return_estimator=True,
    )  # fmt: skip
    assert found["test_r2"].min() > 0.3
    assert len(found["estimator"]) == 3
    network = MLPClassifier(max_iter=50, random_state=0)
    assert set(cross_validate(network, *IRIS, scoring=["roc_auc_ovr", "neg_log_loss"])) >= {"test_roc_auc_ovr"}


def test_a_pipeline_over_columns_of_several_kinds_keeps_names():
    X, y = IRIS
    X = X.assign(place=np.where(np.arange(150) % 3, "wood", "field"))
    parts = make_column_transformer((OneHotEncoder(sparse_output=False), ["place"]), remainder=StandardScaler())
    model = make_pipeline(parts, MLPClassifier(max_iter=100, random_state=0)).set_output(transform="pandas").fit(X, y)
    assert model.score(X, y) > 0.9
    assert list(model[-1].feature_names_in_) == list(parts.get_feature_names_out())
    assert list(model[-1].feature_names_in_)[:2] == ["onehotencoder__place_field", "onehotencoder__place_wood"]


def test_weights_are_routed():
    X, y = IRIS
    weights = np.where(y == 2, 0.0, 1.0)
    with config_context(enable_metadata_routing=True):
        network = MLPClassifier(max_iter=60, random_state=0).set_fit_request(sample_weight=True)
        network.set_score_request(sample_weight=True)
        model = make_pipeline(StandardScaler().set_fit_request(sample_weight=False), network).fit(X, y, sample_weight=weights)
        found = cross_validate(network, X, y, params={"sample_weight": weights}, cv=3)
    assert set(model.predict(X)) <= {0, 1}
    assert found["test_score"].min() > 0.8
    with config_context(enable_metadata_routing=True), pytest.raises(ValueError, match="not explicitly set"):
        cross_validate(MLPClassifier(), X, y, params={"sample_weight": weights})


@pytest.mark.parametrize("Estimator", [MLPClassifier, MLPRegressor])
def test_a_pickle_predicts_and_continues_to_the_bit(Estimator):
    X, y = IRIS
    model = Estimator(max_iter=5, random_state=0).fit(X, y)
    loaded = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))
    for each in (model, loaded):
        each.partial_fit(X, y)
    np.testing.assert_array_equal(loaded.coefs_[0], model.coefs_[0])


def test_a_clone_has_parameters_only():
    model = MLPClassifier(3, max_iter=5, dropout=0.1, random_state=0).fit(*IRIS)
    copied = clone(model)
    assert copied.get_params() == model.get_params()
    assert not hasattr(copied, "coefs_")
    assert repr(copied) == "MLPClassifier(dropout=0.1, hidden_layer_sizes=3, max_iter=5, random_state=0)"


def test_importing_glassprop_does_not_import_scikit_learn():
    code = (
        "import sys, glassprop; assert 'MLPClassifier' in dir(glassprop); assert 'sklearn' not in sys.modules;"
        "from glassprop import MLPClassifier, MLPRegressor; assert 'sklearn' in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stderr == ""


# --- callbacks -------------------------------------------------------------------------------------------------------------


class Recorder:
    """A callback of scikit-learn's protocol that writes down what it is told; it stops training after `last` epochs."""

    def __init__(self, last=100):
        self.told, self.last, self.predicted = [], last, []

    def setup(self, estimator, context):
        self.told.append("setup")

    def teardown(self, estimator, context):
        self.told.append("teardown")

    def on_fit_task_begin(self, estimator, context, *, X=None, y=None):
        self.told.append(f"{context.task_name} {context.task_id} begins with {len(X)} rows")

    def on_fit_task_end(self, estimator, context, *, X=None, y=None, metadata=None, fitted_estimator=None):
        self.told.append(f"{context.task_name} {context.task_id} ends")
        self.predicted.append(fitted_estimator.predict(X))
        return context.task_name == "epoch" and context.task_id + 1 == self.last


def test_the_protocol_of_callbacks():
    X, y = IRIS
    callback = Recorder(last=2)
    model = MLPClassifier(max_iter=10, random_state=0).set_callbacks(callback).fit(X, y)
    assert callback.told == [
        "setup", "fit 0 begins with 150 rows",
        "epoch 0 begins with 150 rows", "epoch 0 ends", "epoch 1 begins with 150 rows", "epoch 1 ends",
        "fit 0 ends", "teardown",
    ]  # fmt: skip
    assert model.n_iter_ == 2
    one_epoch = MLPClassifier(max_iter=1, random_state=0).fit(X, y)
    np.testing.assert_array_equal(callback.predicted[0], one_epoch.predict(X))
    np.testing.assert_array_equal(callback.predicted[-1], model.predict(X))


def test_callbacks_change_no_number():
    X, y = IRIS
    plain = MLPClassifier(max_iter=10, random_state=0).fit(X, y)
    watched = MLPClassifier(max_iter=10, random_state=0).set_callbacks(Recorder(), lambda epoch: None).fit(X, y)
    np.testing.assert_array_equal(plain.coefs_[0], watched.coefs_[0])
    assert plain.loss_curve_ == watched.loss_curve_


def test_scores_of_every_epoch():
    X, y = IRIS
    monitor = ScoringMonitor(scoring="accuracy")
    model = MLPClassifier(max_iter=5, random_state=0).set_callbacks(monitor).fit(X, y)
    log = pandas.DataFrame(monitor.get_logs().data)
    assert (log.task_name == "epoch").sum() == 5
    assert log[log.task_name == "epoch"].accuracy.iloc[-1] == model.score(X, y)


def test_a_progress_bar(capsys):
    MLPClassifier(max_iter=5, random_state=0).set_callbacks(ProgressBar()).fit(*IRIS)
    assert "MLPClassifier - fit" in capsys.readouterr().out


def test_a_plain_function_is_told_of_every_epoch_and_may_stop():
    told = []

    def watch(epoch):
        told.append((epoch.epoch, epoch.loss, epoch.seconds, epoch.learning_rate))
        return epoch.epoch == 3

    model = MLPRegressor(max_iter=10, random_state=0).set_callbacks(watch).fit(*DIABETES)
    assert [epoch for epoch, *_ in told] == [1, 2, 3]
    assert [loss for _, loss, *_ in told] == model.loss_curve_
    assert all(seconds > 0 and rate == 0.001 for *_, seconds, rate in told)
    assert clone(model).fit(*DIABETES).n_iter_ == 3  # as scikit-learn's own callbacks, it goes with a clone


def test_what_is_no_callback():
    with pytest.raises(TypeError, match="callbacks must be instances following the FitCallback protocol"):
        MLPClassifier().set_callbacks("print")


def test_callbacks_in_a_search():
    monitor = ScoringMonitor(scoring="accuracy")
    network = MLPClassifier(max_iter=2, random_state=0).set_callbacks(monitor)
    assert len(cross_val_score(network, *IRIS, cv=3)) == 3
    assert len(monitor.get_logs(select="all")) == 3
