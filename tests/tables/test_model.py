"""A model answers in labels and units, finds columns by name, and is the same after save and load."""

import math

import numpy as np
import pandas as pd
import polars
import pytest
from sklearn import metrics
from sklearn.neural_network import MLPClassifier

import glassprop as gp
from glassprop.interop.safetensors import write_model
from glassprop.tables.model import Model, load, save
from glassprop.tables.preparation import prepare
from glassprop.tables.reading import read_table

RNG = np.random.default_rng(0)


def fit(table, target="y", epochs=40, dtype="float32", **options):
    """A model of all rows."""
    ready = prepare(table, target, dtype=dtype, **options)
    network = ready.network((8,), activation="tanh", dropout=0.1, l2=1e-4, l1=1e-5)
    run = gp.train(network, ready.train.X, ready.train.Y, epochs=epochs, seed=0, optimizer=gp.Adam(0.02))
    return Model(network, run.parameters, ready.preparation, {"note": "ü"})


def numbers(rows=200):
    """y = 3 a − 2 b + 100, in units far from 1."""
    table = pd.DataFrame({"a": RNG.normal(1000, 50, rows), "b": RNG.normal(size=rows)})
    return table.assign(y=3 * table.a - 2 * table.b + 100)


@pytest.fixture(scope="module")
def iris():
    return read_table("sklearn:iris")


@pytest.fixture(scope="module")
def classifier(iris):
    return fit(iris, "target")


@pytest.fixture(scope="module")
def regressor():
    return fit(numbers())


def test_labels(iris, classifier):
    labels = classifier.predict(iris)
    assert set(labels) <= {"setosa", "versicolor", "virginica"}
    shares = classifier.predict_proba(iris)
    assert shares.shape == (150, 3)
    np.testing.assert_allclose(shares.sum(1), 1)
    assert (np.array(classifier.preparation.classes)[shares.argmax(1)] == labels).all()
    scores = classifier.evaluate(iris)
    assert scores["accuracy"] == metrics.accuracy_score(iris.target, labels) > 0.9
    assert scores["log_loss"] == pytest.approx(metrics.log_loss(iris.target, shares))
    base = classifier.baseline(iris)
    assert base["accuracy"] == pytest.approx(1 / 3)
    assert base["log_loss"] == pytest.approx(np.log(3))


def test_units(regressor):
    table = numbers(50)
    predicted, scores = regressor.predict(table), regressor.evaluate(table)
    assert predicted.shape == (50,)
    assert predicted.dtype == np.float64
    assert scores["r2"] == pytest.approx(metrics.r2_score(table.y, predicted))
    assert scores["r2"] > 0.9
    assert scores["rmse"] == pytest.approx(metrics.root_mean_squared_error(table.y, predicted))
    base = regressor.baseline(table)
    assert base["rmse"] == pytest.approx(np.sqrt(np.mean((table.y - regressor.preparation.center) ** 2)))
    with pytest.raises(ValueError, match="the model predicts numbers, not classes: it has no probabilities"):
        regressor.predict_proba(table)


def test_two_classes_by_one_output_or_two():
    table = numbers(80)
    table["y"] = np.where(table.y > table.y.median(), "high", "low")
    for loss in ("binary_cross_entropy", "cross_entropy"):
        model = fit(table, loss=loss)
        shares, scores = model.predict_proba(table), model.evaluate(table)
        assert shares.shape == (80, 2)
        assert scores["accuracy"] == metrics.accuracy_score(table.y, model.predict(table)) > 0.9
        assert scores["roc_auc"] == pytest.approx(metrics.roc_auc_score(table.y, shares[:, 1]))
        assert model.evaluate(table[table.y == "low"])["roc_auc"] is None


def test_quantile_and_poisson_have_scores_of_their_own():
    table = numbers(100)
    model = fit(table, loss=gp.Loss("quantile", quantile=0.9), epochs=100)
    assert 0.75 < np.mean(table.y <= model.predict(table)) <= 1
    expected = metrics.mean_pinball_loss(table.y, model.predict(table), alpha=0.9)
    assert model.evaluate(table)["mean_pinball_loss"] == pytest.approx(expected)
    best = min(metrics.mean_pinball_loss(table.y, np.full(len(table), constant), alpha=0.9) for constant in table.y)
    assert model.baseline(table)["mean_pinball_loss"] == pytest.approx(best, rel=0.2)  # that of the training rows
    table["y"] = RNG.poisson(np.exp(table.b / 2))
    model = fit(table, loss="poisson")
    assert (model.predict(table) > 0).all()
    assert model.evaluate(table)["mean_poisson_deviance"] < model.baseline(table)["mean_poisson_deviance"]


def test_row_weights_by_column_or_array(iris, classifier):
    table = iris.assign(w=np.arange(150.0))
    by_column, by_array = classifier.evaluate(table, "w"), classifier.evaluate(table, np.arange(150.0))
    assert by_column == by_array != classifier.evaluate(table)
    assert classifier.baseline(table, "w")["accuracy"] == pytest.approx(np.arange(50).sum() / np.arange(150).sum())
    with pytest.raises(ValueError, match="weights must be a column of the table; got 'v'"):
        classifier.evaluate(table, "v")


# --- columns -------------------------------------------------------------------------------------------------------------


def test_columns_are_found_by_name(iris, classifier):
    expected = classifier.predict_proba(iris)
    shuffled = iris[iris.columns[::-1]].assign(extra="text")
    np.testing.assert_array_equal(classifier.predict_proba(shuffled), expected)
    inputs = iris.drop(columns="target")
    np.testing.assert_array_equal(classifier.predict_proba(inputs), expected)
    np.testing.assert_array_equal(classifier.predict_proba(inputs.to_numpy()), expected)
    np.testing.assert_array_equal(classifier.predict_proba(iris.set_index(iris.index + 7)), expected)


def test_frames_of_polars(iris, classifier):
    frame = polars.DataFrame(iris[iris.columns[::-1]].to_dict("list"))
    np.testing.assert_array_equal(classifier.predict_proba(frame), classifier.predict_proba(iris))
    assert classifier.evaluate(frame) == classifier.evaluate(iris)
    assert classifier.baseline(frame) == classifier.baseline(iris)


def test_missing_columns_are_named(iris, classifier):
    with pytest.raises(
        ValueError, match=r"the table lacks the column 'petal width \(cm\)'; it has sepal length \(cm\), .*, target$"
    ):
        classifier.predict(iris.drop(columns="petal width (cm)"))
    with pytest.raises(
        ValueError,
        match=r"the table lacks 4 of the 4 columns wanted: 'sepal length \(cm\)', .*'petal width \(cm\)'; it has target$",
    ):
        classifier.predict(iris[["target"]])
    with pytest.raises(ValueError, match=r"the table lacks the column 'target' \(the target\); it has sepal length"):
        classifier.evaluate(iris.drop(columns="target"))
    other = pd.DataFrame({"target": ["good"], "weight": [1.0]})  # of another model: its classes are not what is wrong
    with pytest.raises(ValueError, match=r"lacks 4 of the 5 columns wanted: 'sepal length \(cm\)', .*; it has target, weight$"):
        classifier.evaluate(other)
    with pytest.raises(ValueError, match=r"lacks the column 'target' \(the target\)"):
        classifier.baseline(iris.drop(columns="target"))
    assert classifier.baseline(iris[["target"]])["accuracy"] > 0


def test_cells_that_are_no_numbers(iris, classifier):
    with pytest.raises(ValueError, match=r"column 'sepal width \(cm\)' must hold numbers; it holds 'wide' in row 1.*: turn it"):
        classifier.predict(iris.assign(**{"sepal width (cm)": "wide"}))
    with pytest.raises(ValueError, match=r"column 'sepal width \(cm\)' has 150 missing values, the first in row 1"):
        classifier.predict(iris.assign(**{"sepal width (cm)": np.nan}))
    with pytest.raises(ValueError, match="the table has no rows"):
        classifier.predict(iris.iloc[:0])


def test_arrays_of_another_shape(classifier):
    with pytest.raises(ValueError, match=r"table must be \(rows, 4\), or a data frame; got shape \(2, 3\)"):
        classifier.predict(np.zeros((2, 3)))
    with pytest.raises(ValueError, match="table must hold numbers; got <U1"):
        classifier.predict(np.full((2, 4), "x"))
    with pytest.raises(ValueError, match="X must be finite"):
        classifier.predict(np.full((2, 4), np.nan))


def test_classes_that_the_model_does_not_know(iris, classifier):
    table = iris.assign(target=["setosa"] * 149 + ["tulip"])
    with pytest.raises(
        ValueError,
        match=r"column 'target' holds 'tulip' in row 150.*, which is none of the model's classes: 'setosa'",
    ):
        classifier.evaluate(table)


def test_classes_are_recognised_as_whole_numbers_and_as_text():
    table = numbers(60)
    table["y"] = (table.y > table.y.median()).astype(int)
    model = fit(table)
    assert model.predict(table).dtype.kind == "i"
    for other in (table.y.astype(float), table.y.astype(str), table.y == 1):
        assert model.evaluate(table.assign(y=other)) == model.evaluate(table)
    text = fit(table.assign(y=table.y.map({0: "1", 1: "x"})))
    assert text.evaluate(table[table.y == 0].assign(y=1))["accuracy"] > 0.5


# --- files ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", ["text", "numbers", "truth"])
def test_saved_and_loaded(tmp_path, kind, dtype):
    table = numbers(60)
    if kind != "numbers":
        table["y"] = table.y > table.y.median() if kind == "truth" else np.where(table.y > table.y.median(), "ja", "nö")
    model, path = fit(table, dtype=dtype, epochs=5), tmp_path / "m.safetensors"
    save(model, path)
    loaded = load(path)
    assert loaded.network == model.network
    assert loaded.preparation == model.preparation
    assert loaded.extra == {"note": "ü"}
    assert loaded.parameters.dtype == dtype
    np.testing.assert_array_equal(loaded.predict(table), model.predict(table))
    assert loaded.predict(table).dtype == model.predict(table).dtype
    assert loaded.evaluate(table) == model.evaluate(table)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_run_is_saved_without_a_table(tmp_path, dtype):
    X = RNG.normal(size=(20, 3)).astype(dtype)
    run = gp.train(gp.Network((3, 4, 2)), X, X[:, :2], epochs=3, seed=5)
    save(run, tmp_path / "m")
    model = load(tmp_path / "m")
    np.testing.assert_array_equal(model.predict(X), run.predict(X))
    assert model.preparation is None
    facts = model.extra["training"]
    assert (facts["seed"], facts["epochs"], facts["optimizer"]["name"]) == (5, 3, "adam")
    for ask in (model.evaluate, model.baseline, model.predict_proba):
        with pytest.raises(ValueError, match="the model was saved without a table"):
            ask(X)


def test_what_cannot_be_saved(tmp_path):
    with pytest.raises(TypeError, match=r"model must be a glassprop.Model, what glassprop.train .*; got glassprop.Network"):
        save(gp.Network((1, 1)), tmp_path / "m")
    with pytest.raises(TypeError, match=r"got sklearn.MLPClassifier"):  # of that name, too
        save(MLPClassifier(), tmp_path / "m")


def test_a_users_activation(tmp_path):
    bent = gp.Activation("bent", lambda g: g * g, lambda g: 2 * g)
    network = gp.Network((2, 3, 1), bent)
    save(Model(network, network.initialize()), tmp_path / "m")
    with pytest.raises(ValueError, match="uses the activation 'bent', which is not built in"):
        load(tmp_path / "m")
    assert load(tmp_path / "m", {"bent": bent}).network == network


def test_a_users_loss(tmp_path):
    own = gp.Loss("own", value=lambda h, y: (h - y) ** 4, slope=lambda h, y: 4 * (h - y) ** 3)
    run = gp.train(gp.Network((1, 3, 1), loss=own), [[0.0], [1.0]], [1.0, 0.0], epochs=2, seed=0)
    save(run, tmp_path / "m")
    with pytest.raises(ValueError, match="uses the loss 'own', which is not built in"):
        load(tmp_path / "m")
    model = load(tmp_path / "m", losses={"own": own})
    assert model.network == run.network
    np.testing.assert_array_equal(model.predict([[0.5]]), run.predict([[0.5]]))
    with pytest.raises(TypeError, match=r"^losses must be a dict of names and glassprop.Loss; got str for 'own'$"):
        load(tmp_path / "m", losses={"own": "huber"})


@pytest.mark.parametrize("damage", [{"inputs": ["a"]}, {"inputs": 3}, {"means": None}, {"scales": [1.0]}])
def test_a_damaged_preparation(tmp_path, regressor, damage):
    extra = {"preparation": regressor.preparation.describe() | damage}
    write_model(tmp_path / "m", regressor.network, regressor.parameters, extra)
    with pytest.raises(ValueError, match=r"m: not a glassprop model \(its preparation is damaged: "):
        load(tmp_path / "m")


def test_a_preparation_of_another_network(regressor):
    network = gp.Network((3, 1))
    with pytest.raises(ValueError, match="preparation must fit the network's 3 inputs and 1 outputs; it has 2 input columns"):
        Model(network, network.initialize(), regressor.preparation)


@pytest.mark.parametrize(
    ("activations", "got"),
    [(["snake"], "list"), ({"snake": math.sin}, "builtin_function_or_method for 'snake'"), ({1: "relu"}, "str for 1")],
)
def test_activations_that_are_none(tmp_path, activations, got):
    network = gp.Network((2, 3, 1))
    save(Model(network, network.initialize(seed=0)), tmp_path / "m")
    with pytest.raises(TypeError, match=f"^activations must be a dict of names and glassprop.Activation; got {got}$"):
        load(tmp_path / "m", activations)
