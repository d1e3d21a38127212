"""What scikit-learn's own tests hold its MLP to, held here too."""

from __future__ import annotations

import warnings

import joblib
import numpy as np
import pandas
import pytest
from scipy.sparse import csr_array, csr_matrix
from sklearn.datasets import load_digits, load_iris, make_classification, make_multilabel_classification, make_regression
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import PoissonRegressor, Ridge
from sklearn.preprocessing import minmax_scale, scale

from glassprop import SGD, Activation, Adam, MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X_IRIS, Y_IRIS = load_iris(return_X_y=True)
X_REG, Y_REG = make_regression(n_samples=200, n_features=10, bias=20.0, noise=100.0, random_state=7)
Y_REG = scale(Y_REG)
BOTH = pytest.mark.parametrize("Estimator", [MLPClassifier, MLPRegressor])
ACTIVATIONS = ["identity", "logistic", "tanh", "relu"]


def digits(classes):
    X, y = load_digits(n_class=classes, return_X_y=True)
    return minmax_scale(X[:200]), y[:200]


def test_alpha_shrinks_weights():
    sums = [
        [np.abs(W).sum() for W in MLPClassifier(10, alpha=alpha, random_state=1).fit(*digits(2)).coefs_] for alpha in (0, 1)
    ]
    assert all(np.greater(*sums))


def test_a_step_worked_out_by_hand():
    """x = (0.6, 0.8, 0.7), y = 0, two sigmoid units, η = 0.1, α = 0.1: one step of gradient descent."""
    model = MLPClassifier(
        2, "logistic", solver="sgd", learning_rate_init=0.1, alpha=0.1, max_iter=1, momentum=0, random_state=1
    )
    x, W, b = np.array([0.6, 0.8, 0.7]), [np.array([[0.1, 0.2], [0.3, 0.1], [0.5, 0.0]]), np.array([[0.1], [0.2]])], [0.1, 1.0]
    model.partial_fit(x[None], [0], classes=[0, 1])
    model.coefs_, model.intercepts_ = [w.copy() for w in W], [np.full(2, 0.1), np.ones(1)]
    model.partial_fit(x[None], [0])
    h = 1 / (1 + np.exp(-(x @ W[0] + b[0])))
    delta_2 = 1 / (1 + np.exp(-(h @ W[1] + b[1])))
    delta_1 = W[1][:, 0] * delta_2 * h * (1 - h)
    np.testing.assert_allclose(model.coefs_[0], W[0] - 0.1 * (np.outer(x, delta_1) + 0.1 * W[0]), rtol=1e-12)
    np.testing.assert_allclose(model.coefs_[1], W[1] - 0.1 * (np.outer(h, delta_2) + 0.1 * W[1]), rtol=1e-12)
    np.testing.assert_allclose(model.intercepts_[0], 0.1 - 0.1 * delta_1, rtol=1e-12)
    np.testing.assert_allclose(model.intercepts_[1], 1.0 - 0.1 * delta_2, rtol=1e-12)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("classes", [2, 3])
def test_lbfgs_classifies(classes, activation):
    X, y = digits(classes)
    model = MLPClassifier(50, activation, solver="lbfgs", max_iter=150, random_state=1).fit(X[:150], y[:150])
    assert model.score(X[:150], y[:150]) > 0.95
    predicted = model.predict(X[150:])
    assert (predicted.shape, predicted.dtype.kind) == ((len(X) - 150,), "i")


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_lbfgs_regresses(activation):
    model = MLPRegressor("squared_error", 50, activation, solver="lbfgs", max_iter=200, tol=1e-3, random_state=1)
    assert model.fit(X_REG, Y_REG).score(X_REG, Y_REG) > (0.80 if activation == "identity" else 0.98)


@pytest.mark.filterwarnings("default::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(("Estimator", "table"), [(MLPClassifier, digits(3)), (MLPRegressor, (X_REG, Y_REG))])
def test_max_fun_ends_lbfgs(Estimator, table):
    model = Estimator(hidden_layer_sizes=50, solver="lbfgs", max_iter=150, max_fun=10, tol=0.0, random_state=1)
    with pytest.warns(ConvergenceWarning, match="lbfgs failed to converge"):
        model.fit(*table)
    assert model.n_iter_ <= 10


def test_lbfgs_of_several_outputs_finds_the_minimum_of_what_it_says():
    """Without a hidden layer that is ridge regression, whose minimum is known: value and gradient are of one function."""
    X, Y = make_regression(n_samples=60, n_features=5, n_targets=3, noise=5.0, random_state=0)
    Y /= 50
    model = MLPRegressor("squared_error", (), solver="lbfgs", alpha=7.0, tol=1e-10, max_iter=1000, random_state=0).fit(X, Y)
    ridge = Ridge(alpha=7.0).fit(X, Y)
    np.testing.assert_allclose(model.coefs_[0], ridge.coef_.T, rtol=1e-4)
    np.testing.assert_allclose(model.intercepts_[0], ridge.intercept_, rtol=1e-4)
    mean_over_outputs = np.mean((ridge.predict(X) - Y) ** 2) / 2 + 7.0 * (ridge.coef_**2).sum() / 2 / 60
    assert model.loss_ == pytest.approx(mean_over_outputs, rel=1e-6)


@pytest.mark.parametrize("schedule", ["invscaling", "constant"])
def test_a_warm_start_goes_on_with_the_learning_rate(schedule):
    X, y = [[3, 2], [1, 6], [5, 6], [-2, -4]], [1, 1, 1, 0]
    model = MLPClassifier(4, solver="sgd", learning_rate=schedule, max_iter=1, power_t=0.25, warm_start=True)
    rates = [model.fit(X, y)._optimizer.learning_rate for _ in range(2)]
    assert rates[1] == (0.001 if schedule == "constant" else 0.001 / (8 + 1) ** 0.25)


def test_several_labels():
    X, Y = make_multilabel_classification(n_samples=50, random_state=0, return_indicator=True)
    given = {"hidden_layer_sizes": 50, "alpha": 1e-5, "random_state": 0, "activation": "logistic", "learning_rate_init": 0.2}
    assert MLPClassifier(solver="lbfgs", max_iter=150, **given).fit(X, Y).score(X, Y) > 0.97
    model = MLPClassifier(solver="sgd", **given)
    for _ in range(100):
        model.partial_fit(X, Y, classes=[0, 1, 2, 3, 4])
    assert model.score(X, Y) > 0.9
    probabilities = model.predict_proba(X)
    assert probabilities.shape == Y.shape
    assert np.abs(probabilities.sum(1) - 1).max() > 1e-5  # each label has a probability of its own
    np.testing.assert_array_equal(probabilities > 0.5, model.predict(X))
    assert MLPClassifier(early_stopping=True).fit(X, Y).predict(X).shape == Y.shape


def test_several_outputs():
    X, Y = make_regression(n_samples=200, n_targets=5, random_state=11)
    model = MLPRegressor("squared_error", 50, solver="lbfgs", max_iter=200, tol=1e-2, random_state=1).fit(X, Y)
    assert model.score(X, Y) > 0.9
    assert model.predict(X).shape == Y.shape


def test_partial_fit_wants_the_classes_first_and_the_same_ones_later():
    model = MLPClassifier(solver="sgd")
    with pytest.raises(ValueError, match="classes must be passed on the first call to partial_fit"):
        model.partial_fit([[3, 2]], [0])
    model.partial_fit([[3, 2]], [0], classes=[0, 1])
    with pytest.raises(ValueError, match="not the same as on last call"):
        model.partial_fit([[3, 2]], [0], classes=[1, 2])
    with pytest.raises(ValueError, match=r"`y` has classes not in `self\.classes_`"):
        model.partial_fit([[3, 2]], [7])


@pytest.mark.parametrize("classes", [2, 3])
def test_epochs_by_partial_fit_are_those_of_fit(classes):
    X, y = digits(classes)
    given = {"solver": "sgd", "random_state": 1, "alpha": 1e-5, "learning_rate_init": 0.2, "shuffle": False}
    whole = MLPClassifier(max_iter=100, tol=0, n_iter_no_change=np.inf, **given).fit(X, y)
    model = MLPClassifier(**given)
    for _ in range(100):
        model.partial_fit(X, y, classes=np.unique(y))
    assert all(np.array_equal(a, b) for a, b in zip(model.coefs_, whole.coefs_, strict=True))
    assert model.score(X, y) > 0.95


def test_partial_fit_learns_classes_that_come_later():
    model = MLPClassifier(random_state=0)
    model.partial_fit([[1], [2], [3]], ["a", "b", "c"], classes=["a", "b", "c", "d"])
    model.partial_fit([[4]], ["d"])
    assert model.score([[1], [2], [3], [4]], ["a", "b", "c", "d"]) > 0


@BOTH
def test_partial_fit_is_not_there_with_lbfgs(Estimator):
    assert not hasattr(Estimator(solver="lbfgs"), "partial_fit")
    with pytest.raises(AttributeError, match="has no attribute 'partial_fit'") as caught:
        Estimator(solver="lbfgs").partial_fit([[3, 2]], [0])
    assert "lbfgs is not stochastic" in str(caught.value.__cause__)


def test_a_step_to_infinity_is_an_error():
    draw = np.random.RandomState(0)
    X, y = draw.uniform(-1e150, 1e150, (10, 2)), draw.uniform(-1e150, 1e150, 10)
    with pytest.raises(ValueError, match=r"Solver produced non-finite parameter weights\. The input data may contain large"):
        MLPRegressor().fit(X, y)


def test_a_run_that_diverges_with_early_stopping_ends_with_the_best_parameters():
    model = MLPRegressor("squared_error", 100, "identity", solver="sgd", learning_rate_init=1, max_iter=20, early_stopping=True,
                         random_state=0)  # fmt: skip
    with pytest.warns(ConvergenceWarning, match="ceased to be finite at step"):
        model.fit(X_IRIS, Y_IRIS)
    assert np.isnan(model.validation_scores_[-1])
    assert isinstance(model.validation_scores_[-1], float)
    assert all(np.isfinite(W).all() for W in model.coefs_)
    assert len(model.validation_scores_) == len(model.loss_curve_) == model.n_iter_


def test_probabilities_of_two_and_of_three_classes():
    for classes in (2, 3):
        X, y = digits(classes)
        model = MLPClassifier(5, activation="logistic", random_state=1).fit(X, y)
        probabilities, logarithms = model.predict_proba(X), model.predict_log_proba(X)
        assert probabilities.shape == (len(X), classes)
        np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-12)
        np.testing.assert_allclose(np.exp(logarithms), probabilities, rtol=1e-12)
        np.testing.assert_array_equal(model.classes_[probabilities.argmax(1)], model.predict(X))


def test_logarithms_of_probabilities_that_are_0_in_the_computer():
    for classes in (2, 3):
        model = MLPClassifier((), random_state=0, max_iter=2).fit([[0.0], [1.0], [2.0]], np.arange(3) % classes)
        model.coefs_[0][:] = 0
        model.coefs_[0][0, -1] = 2000.0
        model.intercepts_[0][:] = 0
        wanted = [0.0, -2000.0] if classes == 2 else [0.0, 0.0, -2000.0]
        found = model.predict_log_proba([[-1.0]])[0]
        assert found == pytest.approx(wanted if classes == 2 else np.array(wanted) - np.log(2), rel=1e-12, abs=1e-12)
        assert model.predict_log_proba([[1.0]])[0][0] == pytest.approx(-2000)


def test_shuffling_draws_another_order():
    X, y = make_regression(n_samples=50, n_features=5, random_state=0)
    for shuffle, same in ((True, False), (False, True)):
        models = [MLPRegressor(max_iter=1, batch_size=1, random_state=seed, shuffle=shuffle) for seed in (0, 1)]
        for model in models:
            model.partial_fit(X, y)
        start = [np.zeros((5, 100)), np.zeros(100)], [np.zeros((100, 1)), np.zeros(1)]
        for model in models:  # from one start, so that only the order differs
            model.coefs_, model.intercepts_ = [start[0][0] + 0.1, start[1][0] + 0.1], [start[0][1] + 0.1, start[1][1] + 0.1]
            model._optimizer = None
            model.partial_fit(X, y)
        assert np.array_equal(models[0].coefs_[0], models[1].coefs_[0]) is same


def test_tol_ends_training():
    model = MLPClassifier(tol=0.5, max_iter=3000, solver="sgd", random_state=0).fit([[3, 2], [1, 6]], [1, 0])
    assert model.max_iter > model.n_iter_


def test_verbose_says_what_scikit_learn_says(capsys):
    X, y = [[3, 2], [1, 6]], [1, 0]
    given = {"tol": 0.5, "max_iter": 3000, "solver": "sgd", "verbose": 10, "hidden_layer_sizes": 2, "random_state": 0}
    first = MLPClassifier(**given).fit(X, y)
    told = capsys.readouterr().out.splitlines()
    assert told[0] == f"Iteration 1, loss = {first.loss_curve_[0]:.8f}"
    assert told[-1] == "Training loss did not improve more than tol=0.500000 for 10 consecutive epochs. Stopping."
    MLPClassifier(learning_rate="adaptive", **given).fit(X, y)
    told = capsys.readouterr().out
    assert "consecutive epochs. Setting learning rate to 0.000200\n" in told
    assert told.endswith("consecutive epochs. Learning rate too small. Stopping.\n")
    MLPClassifier(**given | {"early_stopping": True, "max_iter": 2}).fit(X_IRIS, Y_IRIS)
    assert "Validation score: 0." in capsys.readouterr().out


@BOTH
def test_early_stopping(Estimator):
    X, y = digits(2)
    model = Estimator(tol=0.2, max_iter=3000, solver="sgd", early_stopping=True, random_state=0).fit(X[:100], y[:100])
    assert model.max_iter > model.n_iter_
    assert model.best_loss_ is None
    scores, best = model.validation_scores_, model.best_validation_score_
    assert max(scores) == best
    assert best + 0.2 > max(scores[-2:])
    model = Estimator(tol=0.2, max_iter=3000, solver="sgd", random_state=0).fit(X[:100], y[:100])
    assert model.validation_scores_ is model.best_validation_score_ is None
    assert model.best_loss_ == min(model.loss_curve_)


def test_adaptive_rates_end_below_a_millionth():
    model = MLPClassifier(tol=0.5, max_iter=3000, solver="sgd", learning_rate="adaptive").fit([[3, 2], [1, 6]], [1, 0])
    assert model.max_iter > model.n_iter_
    assert model._optimizer.learning_rate < 1e-6


@pytest.mark.parametrize("labels", [[0] * 75 + [1] * 75, [0] * 50 + [1] * 50 + [3] * 50, np.arange(150) % 4])
def test_a_warm_start_wants_the_same_classes(labels):
    model = MLPClassifier(2, solver="lbfgs", warm_start=True, random_state=42, tol=1e-2).fit(X_IRIS, Y_IRIS)
    model.fit(X_IRIS, np.sort(np.arange(150) % 3))
    with pytest.raises(ValueError, match=r"warm_start can only be used .* Previously got \[0 1 2\], `y` has"):
        model.fit(X_IRIS, labels)


@pytest.mark.filterwarnings("default::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("solver", ["sgd", "adam", "lbfgs"])
@BOTH
def test_a_warm_start_has_all_its_iterations(Estimator, solver):
    model = Estimator(solver=solver, warm_start=True, max_iter=10, n_iter_no_change=np.inf, random_state=0)
    for iterations in (10, 20):
        with pytest.warns(ConvergenceWarning):
            model.set_params(max_iter=iterations).fit(X_IRIS, Y_IRIS)
        assert model.n_iter_ == iterations


@pytest.mark.parametrize("patience", [2, 5, 50])
def test_n_iter_no_change(patience):
    X, y = digits(2)
    model = MLPClassifier(tol=0.01, max_iter=3000, solver="sgd", n_iter_no_change=patience, random_state=0).fit(X, y)
    assert model._no_improvement_count == patience + 1
    assert model.n_iter_ < 3000


def test_endless_patience():
    X, y = digits(2)
    model = MLPClassifier(tol=1e9, max_iter=500, solver="sgd", n_iter_no_change=np.inf).fit(X[:50], y[:50])
    assert model.n_iter_ == 500
    assert model._no_improvement_count == 499


def test_early_stopping_takes_rows_from_both_classes():
    with pytest.raises(ValueError, match=r"The least populated classes in y have only 1 member.*\['True'\]"):
        MLPClassifier(early_stopping=True).fit([[1, 2], [2, 3], [3, 4], [4, 5]], [0, 0, 0, 1])


def test_too_few_rows_to_hold_out():
    X, y = make_regression(n_samples=2, n_features=5, random_state=0)
    with pytest.raises(ValueError, match="The validation set is too small"):
        MLPRegressor(early_stopping=True, random_state=0).fit(X, y)


def test_precisions_agree():
    X, y = load_digits(return_X_y=True)
    for Estimator, tolerance in ((MLPClassifier, 1e-2), (MLPRegressor, 5e-4)):
        given = {"alpha": 1e-5, "hidden_layer_sizes": (5, 3), "random_state": 1, "max_iter": 100, "tol": 1e-3}
        wide, narrow = Estimator(**given).fit(X[:300], y[:300]), Estimator(**given).fit(X[:300].astype("f4"), y[:300])
        method = "predict_proba" if Estimator is MLPClassifier else "predict"
        np.testing.assert_allclose(
            getattr(narrow, method)(X[300:].astype("f4")), getattr(wide, method)(X[300:]), rtol=tolerance
        )
        assert getattr(narrow, method)(X[300:].astype("f4")).dtype == np.float32
        assert getattr(narrow, method)(X[300:]).dtype == np.float64  # as float64 rows ask for


def test_learning_goes_on_after_loading(tmp_path):
    model = MLPRegressor("squared_error", 42, random_state=42, learning_rate_init=0.01, max_iter=200).fit([[2]], [4])
    joblib.dump(model, tmp_path / "model.joblib")
    loaded = joblib.load(tmp_path / "model.joblib")
    for _ in range(200):
        loaded.partial_fit([[2]], [1])
    assert loaded.predict([[2]]) == pytest.approx([1], rel=1e-4)


@BOTH
def test_partial_fit_goes_without_early_stopping(Estimator):
    model = Estimator(early_stopping=True, random_state=0, max_iter=5).fit(X_IRIS, Y_IRIS)
    with pytest.raises(ValueError, match="partial_fit does not support early_stopping=True"):
        model.partial_fit(X_IRIS, Y_IRIS)


def test_weights_of_one_change_nothing():
    X, y = make_regression(n_samples=100, n_features=2, n_informative=2, random_state=42)
    given = {"hidden_layer_sizes": 10, "early_stopping": True, "tol": 1e-2, "learning_rate_init": 0.01, "batch_size": 10}
    one = MLPRegressor(random_state=42, **given).fit(X, y, sample_weight=np.ones(100))
    other = MLPRegressor(random_state=42, **given).fit(X, y)
    np.testing.assert_array_equal(one.predict(X), other.predict(X))


def test_poisson_without_hidden_layers_is_the_linear_model():
    X = np.linspace(0, 1, 100)[:, None]
    y = np.random.default_rng(0).poisson(np.exp(X[:, 0] + 1))
    linear = PoissonRegressor(alpha=0, tol=1e-9).fit(X, y)
    model = MLPRegressor("poisson", (), alpha=0, solver="lbfgs", tol=1e-9, random_state=0).fit(X, y)
    np.testing.assert_allclose(model.predict(X), linear.predict(X), rtol=1e-4)
    other = MLPRegressor("squared_error", (), alpha=0, solver="lbfgs", tol=1e-9, random_state=0).fit(X, y)
    assert not np.allclose(other.predict(X), linear.predict(X), rtol=1e-4)


def test_ctrl_c_keeps_what_was_learned():
    epochs = []

    def interrupt(epoch):
        epochs.append(epoch)
        if epoch.epoch == 3:
            raise KeyboardInterrupt

    model = MLPClassifier(max_iter=10, random_state=0).set_callbacks(interrupt)
    with pytest.warns(UserWarning, match=r"Training interrupted by user\."):
        model.fit(X_IRIS, Y_IRIS)
    assert model.n_iter_ == len(model.loss_curve_) == len(epochs) == 3
    np.testing.assert_array_equal(model.coefs_[0], epochs[-1].parameters.W[0])


def test_batches_larger_than_the_table_are_clipped():
    with pytest.warns(UserWarning, match="It is going to be clipped"):
        model = MLPClassifier(batch_size=1000, max_iter=3, random_state=0).fit(X_IRIS, Y_IRIS)
    other = MLPClassifier(batch_size=150, max_iter=3, random_state=0).fit(X_IRIS, Y_IRIS)
    np.testing.assert_array_equal(model.coefs_[0], other.coefs_[0])


WRONG = {
    "no units": ({"hidden_layer_sizes": (5, -1)}, "hidden_layer_sizes must be > 0"),
    "activation": ({"activation": "ghost"}, "The 'activation' parameter of MLPClassifier must be"),
    "alpha": ({"alpha": -1}, r"The 'alpha' parameter of MLPClassifier must be a float in the range \[0.0, inf\)"),
    "momentum": ({"momentum": 2}, "The 'momentum' parameter of MLPClassifier must be"),
    "solver": ({"solver": "hadoken"}, "The 'solver' parameter of MLPClassifier must be"),
    "learning_rate": ({"learning_rate": "converge"}, "The 'learning_rate' parameter of MLPClassifier must be"),
    "batch_size": ({"batch_size": 0}, "The 'batch_size' parameter of MLPClassifier must be"),
    "dropout": ({"dropout": 1.0}, "The 'dropout' parameter of MLPClassifier must be"),
    "an activation too few": (
        {"activation": ["relu", "tanh"]},
        "activation must be one or one for each of the 1 hidden layers",
    ),
    "a misspelt name": ({"activation": "rellu"}, r"Got 'rellu' instead\. Did you mean 'relu'\?"),
    "a factor too many": (
        {"solver": Adam(layer_factors=(1, 1, 1))},
        "layer_factors must be one for each of the 2",
    ),
    "n_jobs": ({"n_jobs": 0}, "The 'n_jobs' parameter of MLPClassifier must be"),
    "a class of rules": (
        {"solver": SGD},
        r"or an update rule such as glassprop\.SGD\(0\.1\)\. Got .* Did you mean an instance, SGD\(\.\.\.\)\?",
    ),
    "a class of activations": ({"activation": Activation}, r"a glassprop\.Activation.* Did you mean an instance, Activation\("),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_parameters(wrong):
    parameters, message = WRONG[wrong]
    with pytest.raises(ValueError, match=message):
        MLPClassifier(**parameters).fit(X_IRIS, Y_IRIS)


TRUTH_VALUES = [
    *((name, True) for name in ("alpha", "l1", "learning_rate_init", "epsilon", "weight_decay", "gradient_clip", "momentum")),
    *((name, False) for name in ("beta_1", "beta_2", "dropout", "label_smoothing")),
]


@pytest.mark.parametrize(("name", "value"), TRUTH_VALUES)
def test_truth_values_are_numbers_as_in_scikit_learn(name, value):
    for solver in ("adam", "sgd"):
        one, other = (
            MLPClassifier(3, solver=solver, max_iter=2, random_state=0, **{name: each}).fit(X_IRIS, Y_IRIS)
            for each in (value, float(value))
        )
        np.testing.assert_array_equal(one.coefs_[0], other.coefs_[0])


def test_feature_names_are_kept_in_early_stopping():
    X = pandas.DataFrame(np.random.RandomState(0).randn(10, 2), columns=["height", "width"])
    for Estimator in (MLPClassifier, MLPRegressor):
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            model = Estimator(early_stopping=True, validation_fraction=0.2, tol=10.0).fit(X, pandas.Series(np.ones(10)))
        assert list(model.feature_names_in_) == ["height", "width"]
        with pytest.raises(ValueError, match="feature names should match"):
            model.predict(X.rename(columns={"height": "length"}))


def test_a_table_without_names_forgets_those_of_the_fit_before():
    for Estimator in (MLPClassifier, MLPRegressor):
        model = Estimator(hidden_layer_sizes=3, max_iter=2, random_state=0).fit(
            pandas.DataFrame(X_IRIS, columns=list("abcd")), Y_IRIS
        )
        model.fit(X_IRIS[:, :2], Y_IRIS)
        assert not hasattr(model, "feature_names_in_")
        assert model.n_features_in_ == 2


@pytest.mark.parametrize(("wrong", "message"), [
    (np.nan, "contains NaN"), (np.inf, "contains infinity"), ("rows", "inconsistent numbers of samples"),
])  # fmt: skip
@pytest.mark.parametrize("place", ["X", "y"])
@pytest.mark.parametrize("form", [np.asarray, csr_array, csr_matrix])
def test_what_is_wrong_in_a_plain_table_is_refused_as_scikit_learn_does(form, place, wrong, message):
    X, y = X_IRIS.copy(), Y_IRIS.astype(float)
    if wrong == "rows":
        X, y = (X[1:], y) if place == "X" else (X, y[1:])
    else:
        (X if place == "X" else y)[3] = wrong
    for Estimator in (MLPClassifier, MLPRegressor):
        with pytest.raises(ValueError, match=message):
            Estimator(hidden_layer_sizes=3, max_iter=2).fit(form(X), y)


@pytest.mark.parametrize("form", [np.asarray, csr_array, csr_matrix])
def test_wrong_rows_to_predict_are_refused_as_scikit_learn_does(form):
    X = X_IRIS.copy()
    X[7, 2] = np.nan
    for Estimator in (MLPClassifier, MLPRegressor):
        model = Estimator(hidden_layer_sizes=3, max_iter=2).fit(form(X_IRIS), Y_IRIS)
        for wrong, message in ((X, "Input X contains NaN"), (X_IRIS[:, :3], "X has 3 features"), (X[:0], "0 sample")):
            with pytest.raises(ValueError, match=message):
                model.predict(form(wrong))


def test_early_stopping_with_labels_of_text():
    X, y = make_classification(n_samples=200, n_features=10, n_classes=3, n_informative=5, random_state=42)
    model = MLPClassifier(early_stopping=True, max_iter=50, random_state=42)
    model.fit(X, np.array(["class_a", "class_b", "class_c"], dtype=object)[y])
    assert len(model.validation_scores_) == model.n_iter_
    assert np.isfinite(model.validation_scores_).all()
