"""Estimators saved and loaded as data: the same in every bit, and a clear word about what cannot be saved or read."""

from __future__ import annotations

import json
import math
import pickle
import re

import numpy as np
import pandas
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from sklearn.datasets import load_diabetes, load_iris
from sklearn.exceptions import NotFittedError
from sklearn.metrics import make_scorer, recall_score
from sklearn.preprocessing import LabelBinarizer, StandardScaler

import glassprop as gp
from glassprop import MLPClassifier, MLPRegressor
from glassprop.estimators.labels import ColumnsBinarizer
from glassprop.estimators.memory import Memory

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, Y = load_iris(return_X_y=True)
X_REG, Y_REG = load_diabetes(return_X_y=True)
BOTH = pytest.mark.parametrize("Estimator", [MLPClassifier, MLPRegressor])


def assert_same(one, other, where="model"):
    """Of the same types and in every bit the same, through and through."""
    assert type(one) is type(other), where
    if isinstance(one, np.ndarray):
        assert one.dtype == other.dtype, where
        np.testing.assert_array_equal(one, other, where)
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), where
        for i, (mine, theirs) in enumerate(zip(one, other, strict=True)):
            assert_same(mine, theirs, f"{where}[{i}]")
    elif isinstance(one, dict):
        assert list(one) == list(other) or set(one) == set(other), where
        for name, value in one.items():
            assert_same(value, other[name], f"{where}.{name}")
    elif isinstance(one, np.random.RandomState):
        assert_same(one.get_state(), other.get_state(), where)
    elif isinstance(one, MLPClassifier | MLPRegressor | LabelBinarizer | ColumnsBinarizer | Memory):
        mine, theirs = ({name: value for name, value in vars(each).items() if name != "_ready"} for each in (one, other))
        assert_same(mine, theirs, where)
    else:
        np.testing.assert_equal(one, other, where)


def through_a_file(model, folder, **options):
    path = folder / "model.safetensors"
    gp.save(model, path)
    return gp.load(path, **options)


def assert_predicts_the_same(one, other, X):
    np.testing.assert_array_equal(one.predict(X), other.predict(X))
    for method in ("predict_proba", "predict_log_proba") if isinstance(one, MLPClassifier) else ():
        np.testing.assert_array_equal(np.hstack(getattr(one, method)(X)), np.hstack(getattr(other, method)(X)))


# --- round trips ---


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("given", [
    {},
    {"solver": "sgd", "early_stopping": True, "warm_start": True},
    {"solver": "lbfgs", "alpha": np.float64(0.25), "tol": np.float32(0.5)},
    {"solver": "rprop", "hidden_layer_sizes": [4, 3], "activation": ["tanh", "gelu"], "n_iter_no_change": np.inf},
    {"solver": gp.AdamW(gp.Cosine(0.01, steps=9), layer_factors=(1.0, 0.5)), "dropout": [0.25], "weight_decay": 0.1},
    {"learning_rate": gp.OneCycle(0.01, steps=20), "hidden_layer_sizes": (), "random_state": None},
    {"activation": gp.ACTIVATIONS["selu"], "solver": "adagrad", "random_state": np.random.RandomState(3), "warm_start": True},
    {"hidden_layer_sizes": np.array([4, 3]), "early_stopping": True, "scoring": "neg_log_loss", "validation_fraction": 0.3},
], ids=lambda given: ", ".join(given) or "defaults")  # fmt: skip
@BOTH
def test_everything_comes_back(Estimator, given, dtype, tmp_path):
    if Estimator is MLPRegressor and "scoring" in given:
        given = given | {"scoring": "r2", "loss": gp.Loss("huber", delta=2.5)}
    given = {"random_state": 0, "max_iter": 3, "hidden_layer_sizes": 5} | given
    model = Estimator(**given).fit(X.astype(dtype), Y)
    loaded = through_a_file(model, tmp_path)
    known = pickle.loads(pickle.dumps(model))
    if given["random_state"] is None:
        known.__dict__.pop("_random_state")  # the process's own, which nothing goes by
    if isinstance(given["hidden_layer_sizes"], np.ndarray):
        known.hidden_layer_sizes = [4, 3]
    known.set_params(**{name: value.item() for name, value in known.get_params().items() if isinstance(value, np.generic)})
    assert_same(vars(known), vars(known))
    assert_same(known, loaded)
    assert_predicts_the_same(model, loaded, X.astype(dtype))
    assert loaded._ready.parameters.W[0] is loaded.coefs_[0]


LABELS = {
    "integers": Y,
    "small integers": Y.astype(np.int8),
    "booleans": Y > 0,
    "floats": np.array([0.0, 1.0, 2.0])[Y],
    "text": np.array(["setosa", "versicolor", "virginica"])[Y],
    "wide text": np.array(["setosa", "versicolor", "virginica"]).astype("<U40")[Y],
    "objects": np.array(["ä", "ö", "ü"], dtype=object)[Y],
    "two objects": np.array(["no", "yes", "yes"], dtype=object)[Y],
    "other byte order": Y.astype(">i4"),
    "several yes and no": np.eye(3, dtype=int)[Y],
    "several columns": np.column_stack([np.array(["a", "b", "c"], dtype=object)[Y], np.where(X[:, 0] > 6, "l", "s")]),
    "several columns of numbers": np.column_stack([Y, Y % 2 + 5]),
}


@pytest.mark.parametrize("kind", LABELS)
def test_labels(kind, tmp_path):
    y = LABELS[kind]
    model = MLPClassifier(5, max_iter=3, random_state=0, warm_start=True).fit(X, y)
    loaded = through_a_file(model, tmp_path)
    assert_same([*map(list, model.classes_)] if y.ndim > 1 and isinstance(model.classes_, list) else list(model.classes_),
                [*map(list, loaded.classes_)] if y.ndim > 1 and isinstance(model.classes_, list) else list(loaded.classes_)
                )  # fmt: skip
    assert_predicts_the_same(model, loaded, X)
    assert loaded.predict(X[:1]).dtype.kind == model.predict(X[:1]).dtype.kind
    assert_same(model.fit(X, y).coefs_, loaded.fit(X, y).coefs_)


def test_names_and_weights(tmp_path):
    table = pandas.DataFrame(X, columns=["länge", "b", "c", "d"])
    weights = {"a": 0.5, "b": 1, "c": 2.0}
    model = MLPClassifier(5, max_iter=3, class_weight=weights, random_state=0).fit(table, np.array(["a", "b", "c"])[Y])
    loaded = through_a_file(model, tmp_path)
    assert_same(model, loaded)
    assert_predicts_the_same(model, loaded, table)
    with pytest.raises(ValueError, match="feature names should match"):
        loaded.predict(table.rename(columns={"b": "e"}))


def test_weights_as_a_person_changed_them_are_saved(tmp_path):
    model = MLPClassifier(5, max_iter=3, random_state=0, warm_start=True).fit(X, Y)
    model.coefs_[0][:, 2] = 0
    assert_predicts_the_same(model, through_a_file(model, tmp_path), X)
    model.coefs_ = [2 * W for W in model.coefs_]
    loaded = through_a_file(model, tmp_path)
    assert_predicts_the_same(model, loaded, X)
    assert_same(model.fit(X, Y).coefs_, loaded.fit(X, Y).coefs_)


def test_a_run_that_diverged(tmp_path):
    given = {"solver": "sgd", "learning_rate_init": 1e3, "early_stopping": True, "random_state": 0, "max_iter": 30}
    model = MLPRegressor(**given).fit(X_REG * 100, Y_REG)
    assert np.isnan(model.loss_)
    loaded = through_a_file(model, tmp_path)
    assert_same(model, loaded)


# --- continuing ---


@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs", "rmsprop", "rprop", "adagrad", "adamw"])
@BOTH
def test_a_loaded_estimator_goes_on_as_the_saved_one(Estimator, solver, tmp_path):
    data = (X, Y) if Estimator is MLPClassifier else (X_REG, Y_REG)
    model = Estimator(solver=solver, max_iter=4, random_state=np.random.RandomState(1), warm_start=True).fit(*data)
    loaded = through_a_file(model, tmp_path)
    for each in (model, loaded):
        each.fit(*data)
        if solver != "lbfgs":
            each.partial_fit(*data)
    assert_same(model, loaded)


def test_what_a_solver_left_is_saved_where_it_fits_the_weights(tmp_path):
    model = MLPClassifier(5, max_iter=3, random_state=0).fit(X, Y)
    model.set_params(hidden_layer_sizes=6, solver="lbfgs").fit(X, Y)
    assert_same(model, through_a_file(model, tmp_path))
    model = MLPClassifier(5, max_iter=3, random_state=0).fit(X, Y)
    model.coefs_, model.intercepts_ = [np.ones((4, 7)), np.ones((7, 3))], [np.ones(7), np.ones(3)]
    loaded = through_a_file(model, tmp_path)
    assert_predicts_the_same(model, loaded, X)
    for each in (model, loaded):
        assert each.set_params(hidden_layer_sizes=7).explain(X, Y).steps[0].layers[0].size == 7
        each.partial_fit(X, Y)
    assert_same(model.coefs_, loaded.coefs_)


def test_one_generator_stays_one(tmp_path):
    generator = np.random.RandomState(1)
    generator.normal()  # whose second number is kept for the next call
    loaded = through_a_file(MLPRegressor(max_iter=2, random_state=generator).fit(X, Y), tmp_path)
    assert loaded.random_state is loaded._random_state
    assert loaded.random_state.normal() == generator.normal()


def test_callbacks_are_left_out(tmp_path):
    told = []
    model = MLPRegressor(max_iter=2, random_state=0, warm_start=True).set_callbacks(lambda epoch: told.append(epoch)).fit(X, Y)
    loaded = through_a_file(model, tmp_path)
    assert len(told) == 2
    loaded.fit(X, Y)
    assert len(told) == 2
    assert_same(model.fit(X, Y).coefs_, loaded.coefs_)


# --- what cannot be saved ---


def bent(g):
    return g + g * g / 10


def bent_slope(g):
    return 1 + g / 5


def test_an_activation_of_ones_own_is_handed_in_again(tmp_path):
    own = gp.Activation("bent", bent, bent_slope)
    model = MLPClassifier(5, own, max_iter=2, random_state=0, warm_start=True).fit(X, Y)
    loaded = through_a_file(model, tmp_path, activations={"bent": own})
    assert loaded.activation is own
    assert_predicts_the_same(model, loaded, X)
    assert_same(model.fit(X, Y).coefs_, loaded.fit(X, Y).coefs_)
    with pytest.raises(ValueError, match=r"uses the activation 'bent', which is not built in.*activations=\{'bent': your"):
        gp.load(tmp_path / "model.safetensors")


def test_a_loss_of_ones_own_is_handed_in_again(tmp_path):
    own = gp.Loss("log_cosh", value=lambda h, y: math.log(math.cosh(h - y)), slope=lambda h, y: math.tanh(h - y))
    model = MLPRegressor(own, 5, max_iter=2, random_state=0).fit(X, X[:, 0])
    loaded = through_a_file(model, tmp_path, losses={"log_cosh": own})
    assert loaded.loss is own
    assert_predicts_the_same(model, loaded, X)
    with pytest.raises(ValueError, match=r"uses the loss 'log_cosh', which is not built in.*losses=\{'log_cosh': your"):
        gp.load(tmp_path / "model.safetensors")


@pytest.mark.parametrize(("given", "name"), [
    ({"learning_rate": lambda step: 0.01}, "learning_rate"),
    ({"solver": gp.Adam(lambda step: 0.01)}, "solver"),
    ({"scoring": make_scorer(recall_score, average="macro"), "early_stopping": True}, "scoring"),
])  # fmt: skip
def test_functions_are_refused(given, name, tmp_path):
    path = tmp_path / "m"
    path.write_text("old")
    model = MLPClassifier(5, max_iter=2, random_state=0, **given).fit(X, Y)
    with pytest.raises(TypeError, match=rf"a file holds data, not code: {name} is .*; change it .*set_params\({name}=\.\.\.\)"):
        gp.save(model, path)
    assert path.read_text() == "old"
    assert [each.name for each in tmp_path.iterdir()] == ["m"]


class Own(MLPRegressor):
    """Somebody's own estimator, whose attributes are unknown."""


@pytest.mark.parametrize(("make", "error", "message"), [
    (lambda: MLPClassifier(), NotFittedError, "This MLPClassifier instance is not fitted yet"),
    (lambda: Own(max_iter=1).fit(X, Y), TypeError, "a fitted MLPClassifier or MLPRegressor; got .*Own"),
    (lambda: StandardScaler().fit(X), TypeError, "a fitted MLPClassifier or MLPRegressor; got sklearn.StandardScaler"),
    (lambda: MLPRegressor(max_iter=1, random_state=np.random.RandomState(np.random.PCG64(1))).fit(X, Y), TypeError,
     "random_state must be of MT19937 to be saved, NumPy's own; got PCG64"),
    (lambda: MLPClassifier(max_iter=1).fit(X, np.array(["2020", "2021", "2022"], "M8[Y]")[Y]), TypeError,
     "labels must be text or numbers to be saved, of 64 bits at most; got array"),
    pytest.param(lambda: MLPClassifier(max_iter=1).fit(X, Y.astype(np.longdouble)), TypeError, "64 bits at most; got array",
                 marks=pytest.mark.skipif(np.dtype(np.longdouble).itemsize == 8, reason="float64 by another name")),
])  # fmt: skip
def test_what_cannot_be_saved(make, error, message, tmp_path):
    with pytest.raises(error, match=message):
        gp.save(make(), tmp_path / "m")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        gp.save(MLPRegressor(max_iter=1).fit(X, Y), tmp_path / "no" / "m")


# --- files that are none ---


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The file of a classifier that can be continued."""
    path = tmp_path_factory.mktemp("saved") / "model.safetensors"
    given = {"early_stopping": True, "warm_start": True, "solver": gp.Adam(0.01), "random_state": 0}
    gp.save(MLPClassifier(5, max_iter=2, **given).fit(X, np.array(["a", "b", "c"], dtype=object)[Y]), path)
    return path


def change(path, folder, facts, tensors):
    """A copy of the file in which facts of the estimator (by a path with dots) and tensors are others; None leaves one out."""
    with safe_open(path, framework="numpy") as file:
        metadata = dict(file.metadata())
    about = json.loads(metadata["model"])
    for name, value in facts.items():
        held = about["extra"]["estimator"]
        *places, last = name.split(".")
        for place in places:
            held = held[int(place) if place.isdecimal() else place]
        held.pop(last) if value is None else held.__setitem__(last, value)
    others = {name: value for name, value in (load_file(path) | tensors).items() if value is not None}
    save_file(others, folder / "m", metadata | {"model": json.dumps(about)})
    return folder / "m"


def test_the_changes_below_start_from_a_good_file(saved, tmp_path):
    assert_same(gp.load(saved), gp.load(change(saved, tmp_path, {}, {})))


@pytest.mark.parametrize(("facts", "tensors", "why"), [
    ({"class": "Popen"}, {}, "'Popen'"),
    ({"parameters": None}, {}, "'parameters'"),
    ({"parameters.shell": True}, {}, "unexpected keyword argument 'shell'"),
    ({"parameters.alpha": -1}, {}, "The 'alpha' parameter of MLPClassifier must be a float in the range [0.0, inf). Got -1"),
    ({"parameters.solver": {"code": "1"}}, {}, "'code'"),
    ({"parameters.solver": {"rule": {"name": "adam", "learning_rate": {"name": "system"}}}}, {}, "Got None"),
    ({"parameters.solver": {"rule": {"name": "adam"}}}, {}, "'learning_rate'"),
    ({"parameters.solver": {"a": 1, "b": 2}}, {}, "too many values"),
    ({"fitted.n_features_in_": 5}, {}, "its numbers of inputs, outputs and layers are not those of its network (4, 5, 3)"),
    ({"fitted.n_outputs_": None}, {}, "'n_outputs_'"),
    ({"fitted.t_": "x"}, {}, "invalid literal"),
    ({"out_activation": "tanh"}, {}, "it has no output activation 'tanh'"),
    ({"labels.columns": []}, {}, "its 0 classes are not those of 3 outputs"),
    ({"labels.columns": [{"dtype": "<f8", "labels": [1, 2, 3]}]}, {}, "labels that are written out are text or objects"),
    ({"random_state.pos": 10_000}, {}, "its random state is none"),
    ({}, {"random_state": np.zeros(3, np.uint32)}, "its random state is none"),
    ({}, {"random_state": None}, "'random_state'"),
    ({"memory.settings": None}, {}, "'settings'"),
    ({"memory.settings.beta_1": None}, {}, "'beta_1'"),
    ({"memory.settings.solver": "Popen"}, {}, "'Popen'"),
    ({}, {"order": np.arange(135) + 10**9}, "its row numbers must be each of those of a table once"),
    ({}, {"held": np.zeros(15, np.int64)}, "its row numbers must be each of those of a table once"),
    ({}, {"state1_W1": np.zeros((5, 4))}, "the tensor state1_W1 must be of (4, 5); it is (5, 4)"),
    ({}, {"state2_b2": None}, "'state2_b2'"),
    ({}, {"loss_curve_": np.zeros((2, 2))}, "a curve must be float64 of one dimension; it is float64 of (2, 2)"),
])  # fmt: skip
def test_damaged_files(saved, tmp_path, facts, tensors, why):
    path = change(saved, tmp_path, facts, tensors)
    with pytest.raises(ValueError, match=re.escape(f"{path}: not a glassprop model (its estimator is damaged: ")) as caught:
        gp.load(path)
    assert why in str(caught.value)


def test_row_numbers_that_are_no_whole_numbers(saved, tmp_path):
    with pytest.raises(ValueError, match="its row numbers must be each of those of a table once"):
        gp.load(change(saved, tmp_path, {}, {"order": load_file(saved)["order"].astype(float)}))
