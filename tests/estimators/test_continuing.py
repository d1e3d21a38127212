"""Fits that go on: from memory that may not be written to, after calls that failed, with parameters that changed."""

from __future__ import annotations

import copy
import pickle
import warnings

import joblib
import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.exceptions import ConvergenceWarning

import glassprop as gp
from glassprop import MLPClassifier, MLPRegressor
from glassprop.core.workspace import Workspace
from glassprop.estimators import epochs

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, Y = load_iris(return_X_y=True)
LARGE = np.where(np.arange(150)[:, None] < 100, X, 1e300)  # finite for two batches of 50
BOTH = pytest.mark.parametrize("Estimator", [MLPClassifier, MLPRegressor])
SMALL = {"hidden_layer_sizes": 5, "max_iter": 3, "random_state": 0, "warm_start": True}
PLAIN = SMALL | {"solver": "sgd", "momentum": 0.0, "shuffle": False, "max_iter": 1, "learning_rate_init": 0.1, "alpha": 0.0}


def equal(one, other):
    return all(
        np.array_equal(a, b) for a, b in zip(one.coefs_ + one.intercepts_, other.coefs_ + other.intercepts_, strict=True)
    )


def facts(value):
    """All that is in it, as plain lists that do not change with it."""
    if isinstance(value, np.ndarray):
        return [value.dtype.str, value.tolist()]
    if isinstance(value, np.random.RandomState):
        return facts(value.get_state())
    if isinstance(value, list | tuple):
        return [facts(each) for each in value]
    if isinstance(value, dict):
        return {name: facts(each) for name, each in value.items() if name != "_ready"}
    return facts(vars(value)) if hasattr(value, "__dict__") and not callable(value) else value


# --- memory that may not be written to ---


@pytest.mark.parametrize("method", ["partial_fit", "fit"])
@pytest.mark.parametrize("given", [{}, {"early_stopping": True}, {"solver": "sgd"}], ids=str)
@BOTH
def test_a_model_mapped_from_disk_goes_on(Estimator, given, method, tmp_path):
    model = Estimator(**SMALL, **given).fit(X, Y)
    joblib.dump(model, tmp_path / "model")
    mapped = joblib.load(tmp_path / "model", mmap_mode="r")
    assert not mapped._optimizer.state.flags.writeable
    for each in (model, mapped):
        getattr(each.set_params(early_stopping=each.early_stopping and method == "fit"), method)(X, Y)
    assert equal(model, mapped)


def test_bytes_that_hold_a_pickle_stay_as_they_are():
    buffers = []
    model = MLPClassifier(**SMALL).fit(X, Y)
    data = pickle.dumps(model, protocol=5, buffer_callback=buffers.append)
    held = [bytes(buffer.raw()) for buffer in buffers]
    before = [bytes(bytearray(each)) for each in held]
    loaded = pickle.loads(data, buffers=held).partial_fit(X, Y)
    assert held == before
    assert equal(loaded, model.partial_fit(X, Y))


def test_a_shallow_copy_goes_on_alone():
    model = MLPClassifier(**SMALL).fit(X, Y)
    other, alone = copy.copy(model), copy.deepcopy(model)
    other.partial_fit(X, Y)
    assert equal(model.partial_fit(X, Y), alone.partial_fit(X, Y))


# --- calls that fail ---


def raises(epoch):
    if epoch.epoch == 2:
        raise RuntimeError("enough")


FAILING = {
    "another number of outputs": lambda model: model.partial_fit(X, np.column_stack([Y, Y])),
    "other columns": lambda model: model.partial_fit(X[:, :3], Y),
    "no number": lambda model: model.partial_fit(np.where(X > 7, np.nan, X), Y),
    "divergence in partial_fit": lambda model: model.partial_fit(LARGE, Y),
    "divergence in fit": lambda model: model.fit(LARGE, Y),
    "divergence in a new fit": lambda model: model.set_params(warm_start=False).fit(LARGE, Y),
    "a callback": lambda model: model.set_callbacks(raises).fit(X, Y),
    "layers": lambda model: model.set_params(hidden_layer_sizes=6).fit(X, Y),
    "rows to judge by": lambda model: model.fit(X, Y, eval_set=(X, np.column_stack([Y, Y]))),
    "weights": lambda model: model.partial_fit(X, Y, sample_weight=np.full(150, -1.0)),
    "a step to explain": lambda model: model.explain(X, np.column_stack([Y, Y])),
    "lbfgs": lambda model: model.set_params(solver="lbfgs", tol=0.0).set_callbacks(raises).fit(X, Y),
}


@pytest.mark.parametrize("way", FAILING)
@pytest.mark.parametrize("given", [{}, {"solver": "sgd", "learning_rate": "invscaling"}], ids=str)
def test_a_call_that_fails_leaves_the_model_as_it_was(way, given, tmp_path):
    model = MLPRegressor("squared_error", batch_size=50, shuffle=False, **SMALL, **given).fit(X, Y)
    fitted = {name for name in vars(model) if name not in model.get_params()}
    before, other = facts({name: vars(model)[name] for name in fitted}), copy.deepcopy(model)
    with pytest.raises((ValueError, RuntimeError)):
        FAILING[way](model)
    now = {name: value for name, value in vars(model).items() if name not in {*model.get_params(), "_skl_callbacks"}}
    assert facts(now) == before
    model.set_params(**other.get_params()).set_callbacks()
    gp.save(model, tmp_path / "model")
    assert equal(gp.load(tmp_path / "model"), other)
    assert equal(model.partial_fit(X, Y), other.partial_fit(X, Y))


def test_a_warm_fit_that_fails_draws_its_random_numbers_again():
    model = MLPClassifier(**SMALL, early_stopping=True).fit(X, Y)
    other = copy.deepcopy(model)
    with pytest.raises(RuntimeError, match="enough"):
        model.set_callbacks(raises).fit(X, Y)
    assert model.validation_scores_ == other.validation_scores_
    assert equal(model.set_callbacks().fit(X, Y), other.fit(X, Y))


@BOTH
def test_a_first_fit_that_fails_leaves_nothing(Estimator):
    model = Estimator(**SMALL).set_callbacks(raises)
    with pytest.raises(RuntimeError, match="enough"):
        model.fit(X, Y)
    assert set(vars(model)) == {*model.get_params(), "_skl_callbacks"}


# --- Ctrl-C and warnings ---


def test_steps_before_ctrl_c_are_counted(monkeypatch):
    class Interrupted(Workspace):
        def run(self, first, last, parts):
            super().run(first, first + 2, parts)
            raise KeyboardInterrupt

    given = SMALL | {"batch_size": 150, "max_iter": 2}
    whole = MLPClassifier(**given).fit(X, Y)
    monkeypatch.setattr(epochs, "Workspace", Interrupted)
    with pytest.warns(UserWarning, match=r"Training interrupted by user\."):
        model = MLPClassifier(**given | {"max_iter": 10}).fit(X, Y)
    monkeypatch.undo()
    assert (model.n_iter_, model._optimizer.steps) == (2, 2)
    assert equal(model.partial_fit(X, Y), whole.partial_fit(X, Y))


def test_partial_fit_says_nothing_of_max_iter():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        MLPClassifier(max_iter=1).partial_fit(X, Y, classes=[0, 1, 2])


@pytest.mark.parametrize("given", [{}, {"early_stopping": True}, {"solver": "lbfgs", "tol": 0.0}], ids=str)
@BOTH
def test_a_warning_that_is_an_error_comes_when_all_is_kept(Estimator, given):
    whole, model = Estimator(**SMALL, **given).fit(X, Y), Estimator(**SMALL, **given)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ConvergenceWarning):
            model.fit(X, Y)
    assert equal(model, whole)
    assert equal(model.fit(X, Y), whole.fit(X, Y))


def test_warnings_name_the_line_that_called():
    calls = {
        "Maximum iterations": lambda: MLPClassifier(**SMALL).fit(X, Y),
        "lbfgs failed": lambda: MLPClassifier(solver="lbfgs", tol=0.0, max_iter=1).fit(X, Y),
        "going to be clipped": lambda: MLPClassifier(batch_size=151).partial_fit(X, Y, classes=[0, 1, 2]),
    }
    for message, call in calls.items():
        with pytest.warns(UserWarning, match=message) as told:
            call()
        assert [each.filename for each in told] == [__file__]


# --- parameters that changed ---


def moved(model):
    """How far another epoch moves the weights."""
    before = [W.copy() for W in model.coefs_]
    model.fit(X, Y)
    return np.concatenate([(W - old).ravel() for W, old in zip(model.coefs_, before, strict=True)])


@pytest.mark.parametrize("change", [
    {"learning_rate_init": 0.3}, {"solver": gp.SGD(0.3)},
    {"learning_rate": gp.Exponential(0.3, decay=1.0)},
], ids=str)  # fmt: skip
def test_a_new_learning_rate_takes_effect_in_the_next_warm_fit(change):
    model = MLPRegressor(**PLAIN).fit(X, Y)
    other = copy.deepcopy(model).set_params(**change)
    np.testing.assert_allclose(moved(other), 3 * moved(model), rtol=1e-6, atol=1e-12)


def test_a_rule_with_another_rate_takes_effect_and_keeps_its_state():
    model = MLPRegressor(**PLAIN | {"solver": gp.Adam(0.01), "max_iter": 5}).fit(X, Y)
    other = copy.deepcopy(model).set_params(solver=gp.Adam(0.02), max_iter=1)
    np.testing.assert_allclose(moved(other), 2 * moved(model.set_params(max_iter=1)), rtol=1e-6, atol=1e-12)


def test_a_rate_that_was_lowered_stays_so_until_another_is_asked_for():
    given = PLAIN | {"learning_rate": "adaptive", "tol": 10.0, "n_iter_no_change": 1, "max_iter": 8}
    model = MLPRegressor(**given).fit(X, Y)
    lowered = model._optimizer.learning_rate
    assert lowered < 0.1
    model.set_params(max_iter=1, momentum=0.5, alpha=0.1).fit(X, Y)
    assert model._optimizer.learning_rate in (lowered, lowered / 5)
    model.set_params(learning_rate_init=0.05).fit(X, Y)
    assert model._optimizer.learning_rate in (0.05, 0.05 / 5)


def test_constants_of_the_rule_take_effect_in_the_next_warm_fit():
    model = MLPRegressor(**PLAIN | {"solver": "adam"}).fit(X, Y)
    for change in ({"beta_1": 0.1}, {"beta_2": 0.1}, {"epsilon": 0.1}, {"weight_decay": 0.5}, {"gradient_clip": 1e-3}):
        other = copy.deepcopy(model).set_params(**change)
        assert not equal(other.fit(X, Y), copy.deepcopy(model).fit(X, Y)), change


@pytest.mark.parametrize("early_stopping", [False, True])
def test_a_new_random_state_is_drawn_from_in_the_next_warm_fit(early_stopping):
    model = MLPClassifier(**SMALL | {"batch_size": 10}, dropout=0.2, early_stopping=early_stopping).fit(X, Y)
    number, generator = copy.deepcopy(model).set_params(random_state=7), copy.deepcopy(model)
    generator.set_params(random_state=np.random.RandomState(7))
    assert equal(number.fit(X, Y), generator.fit(X, Y))
    assert number.loss_curve_ != model.fit(X, Y).loss_curve_
    if early_stopping:
        assert not np.array_equal(number._optimizer.held, model._optimizer.held)


def test_a_new_validation_fraction_holds_out_other_rows_in_the_next_warm_fit():
    model = MLPClassifier(**SMALL, early_stopping=True).fit(X, Y)
    assert len(model._optimizer.held) == 15
    assert len(model.set_params(validation_fraction=0.4).fit(X, Y)._optimizer.held) == 60


# --- weights that changed ---


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("method", ["partial_fit", "fit"])
def test_weights_that_were_changed_in_place_are_trained_on(method, early_stopping):
    model = MLPClassifier(**PLAIN | {"early_stopping": early_stopping}).fit(X, Y).set_params(early_stopping=False)
    model.coefs_[0][...] = 0  # of ReLUs, which learn nothing there
    model.intercepts_[0][...] = 0
    getattr(model, method)(X, Y)
    assert not model.coefs_[0].any()
    assert model.coefs_[1].any()


@pytest.mark.parametrize("way", ["in memory", "pickle", "file"])
def test_weights_that_are_the_best_and_were_changed_in_place_are_trained_on(way, tmp_path):
    model = MLPClassifier(**PLAIN | {"early_stopping": True, "max_iter": 5}).fit(X, Y)
    model.coefs_[0][...] = 0
    model.intercepts_[0][...] = 0
    if way == "pickle":
        model = pickle.loads(pickle.dumps(model))
    elif way == "file":
        gp.save(model, tmp_path / "model")
        model = gp.load(tmp_path / "model")
    trained = []  # coefs_ are the best
    model.set_callbacks(lambda epoch: trained.append(epoch.parameters)).fit(X, Y)
    assert len(trained) == 5
    assert not any(parameters.W[0].any() for parameters in trained)


# --- precision ---


@pytest.mark.parametrize("method", ["partial_fit", "fit"])
@pytest.mark.parametrize("first", ["f4", "f8"])
@BOTH
def test_a_model_keeps_its_precision_and_its_state(Estimator, first, method):
    other = "f8" if first == "f4" else "f4"
    exact = X.astype("f4")  # the same numbers in both
    model, same = (Estimator(**SMALL).fit(exact.astype(first), Y) for _ in range(2))
    getattr(model, method)(exact.astype(other), Y)
    getattr(same, method)(exact.astype(first), Y)
    assert model.coefs_[0].dtype == np.dtype(first)
    assert equal(model, same)
    assert model._optimizer.steps == same._optimizer.steps > 3
