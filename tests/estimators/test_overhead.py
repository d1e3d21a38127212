"""What estimators take beside the core: short fits, predictions of few rows; whose weights predict; threads, memory."""

from __future__ import annotations

import copy
import gc
import pickle
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from statistics import median

import numpy as np
import pandas
import pytest
from scipy.sparse import issparse
from sklearn import neural_network
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_digits
from threadpoolctl import threadpool_limits

import glassprop as gp
from glassprop import MLPClassifier, MLPRegressor
from glassprop.core import passes, workspace
from glassprop.core.workspace import Workspace
from glassprop.estimators import outputs
from glassprop.estimators.sparse import core_table

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, Y = load_digits(return_X_y=True)
TABLES = {"MLPClassifier": (X / 16, Y), "MLPRegressor": load_diabetes(return_X_y=True)}
ASKED = [(kind, "predict") for kind in TABLES] + [("MLPClassifier", "predict_proba"), ("MLPClassifier", "predict_log_proba")]
MOST = {"fit": 1.5, "predictions": 1.0}  # times as long as scikit-learn; measured: 0.5 to 0.9 and 0.15 to 0.45


@pytest.fixture
def model():
    return MLPClassifier(20, random_state=0, max_iter=5).fit(X / 16, Y)


def probabilities(model, X):
    """Softmax(relu(X W + b) W + b)."""
    h = X
    for number, (W, b) in enumerate(zip(model.coefs_, model.intercepts_, strict=True)):
        h = (np.maximum(h, 0) if number else h) @ W + b
    shares = np.exp(h - h.max(1, keepdims=True))
    return shares / shares.sum(1, keepdims=True)


def assert_predicts_by_its_weights(model):
    for rows in (1, 40, 600):
        np.testing.assert_allclose(model.predict_proba(X[:rows] / 16), probabilities(model, X[:rows] / 16), rtol=1e-9)


# --- time, of the processor: other programs do not count ---


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(("kind", "method"), ASKED)
def test_a_few_rows_take_no_longer_than_scikit_learns(kind, method, dtype):
    X, y = TABLES[kind]
    X, ratios = X.astype(dtype), {}
    both = [getattr(getattr(module, kind)(max_iter=5, random_state=0).fit(X, y), method) for module in (gp, neural_network)]

    def seconds(function, rows):
        begun = time.thread_time()
        for _ in range(5):
            function(rows)
        return time.thread_time() - begun

    with threadpool_limits(1):
        for count in (1, 100):
            rows = X[:count].copy()
            found = [[seconds(function, rows) for function in both] for _ in range(41)]
            ratios[count] = median(mine / theirs for mine, theirs in found[1:])
    assert max(ratios.values()) < MOST["predictions"], ratios


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("kind", TABLES)
def test_a_fit_of_one_epoch_takes_no_longer_than_scikit_learns(kind, early_stopping):
    found = []

    def seconds(module):
        one_thread = {"n_jobs": 1} if module is gp else {}
        model = getattr(module, kind)(max_iter=1, random_state=0, early_stopping=early_stopping, **one_thread)
        begun = time.thread_time()
        model.fit(*TABLES[kind])
        return time.thread_time() - begun

    with threadpool_limits(1):  # else threads that wait for more of scikit-learn's products take the processor
        for _ in range(21):
            mine, theirs = (seconds(module) for module in (gp, neural_network))
            found.append(mine / theirs)
    assert median(found[1:]) < MOST["fit"]


@pytest.mark.parametrize("kind", TABLES)
def test_making_one_only_keeps_what_it_is_given(kind, monkeypatch):
    Estimator = getattr(gp, kind)
    monkeypatch.setattr(Estimator, "_get_param_names", None)  # reads signatures, which takes longer than all the rest
    made = vars(Estimator(alpha=0.5))
    assert made["alpha"] == 0.5
    assert "self" not in made


# --- whose weights ---


def test_rows_alone_are_the_rows_of_a_table(model):
    whole, logarithms = model.predict_proba(X), model.predict_log_proba(X)
    for rows in (1, 2, 15, 16, 17, 31, 100, 511, 512, 513, 1100):
        np.testing.assert_array_equal(model.predict_proba(X[:rows]), whole[:rows])
        np.testing.assert_array_equal(model.predict_log_proba(X[-rows:]), logarithms[-rows:])
        np.testing.assert_array_equal(model.predict(X[:rows]), whole[:rows].argmax(1))


def changed_in_place(model):
    model.coefs_[0][:, 3] = 0
    model.intercepts_[1][2] += 1


def one_put_in_the_list(model):
    model.coefs_[1] = 2 * model.coefs_[1]


def all_put_in_their_place(model):
    model.coefs_, model.intercepts_ = [W[:, ::-1].copy() for W in model.coefs_], [b / 2 for b in model.intercepts_]


def put_in_their_place_and_changed(model):
    all_put_in_their_place(model)
    model.predict(X)
    model.coefs_[0][:, 3] = 0
    model.intercepts_[1][2] += 1


def fewer_layers(model):
    model.coefs_, model.intercepts_ = [np.linspace(-1, 1, 640).reshape(64, 10)], [np.zeros(10)]


def more_units(model):
    model.coefs_ = [np.linspace(-1, 1, 640).reshape(64, 10), np.linspace(0, 1, 100).reshape(10, 10)]
    model.intercepts_ = [np.ones(10), np.zeros(10)]


@pytest.mark.parametrize("way", ["fitted", "pickled", "copied"])
@pytest.mark.parametrize("change", [
    changed_in_place, one_put_in_the_list, all_put_in_their_place, put_in_their_place_and_changed, fewer_layers, more_units,
])  # fmt: skip
def test_weights_that_are_changed_are_the_weights_that_predict(model, change, way):
    if way != "fitted":
        model = pickle.loads(pickle.dumps(model)) if way == "pickled" else copy.copy(model)
    before = model.predict_proba(X / 16)
    assert_predicts_by_its_weights(model)
    change(model)
    assert_predicts_by_its_weights(model)
    assert not np.allclose(model.predict_proba(X / 16), before)


def test_weights_that_were_unpickled_or_copied_are_not_copied_for_every_prediction(model):
    for each in (model, pickle.loads(pickle.dumps(model)), copy.copy(model), copy.deepcopy(model)):
        each.predict(X)
        assert all(np.shares_memory(W, each._ready.parameters.theta) for W in each.coefs_ + each.intercepts_)


def test_weights_that_were_put_in_by_hand():
    model = MLPRegressor("squared_error", ())
    model.coefs_, model.intercepts_ = [np.array([[1.0], [2.0]])], [np.array([0.5])]
    model.n_features_in_, model.out_activation_ = 2, "identity"
    for each in (model, pickle.loads(pickle.dumps(model)), copy.copy(model)):
        assert each.predict(np.array([[1.0, 1.0]])) == [3.5]


def test_a_table_without_the_names_it_was_fitted_with():
    model = MLPClassifier(5, max_iter=1).fit(pandas.DataFrame(X).rename(columns=str), Y)
    with pytest.warns(UserWarning, match="X does not have valid feature names"):
        model.predict(X[:1])


def frame(rows):
    return pandas.DataFrame(rows).rename(columns=str)


PLAIN = [
    np.asfortranarray,
    np.ndarray.tolist,
    lambda rows: rows.astype(np.int16),
    frame,
    lambda rows: frame(rows.astype(int)),
    lambda rows: frame(rows).astype({"3": int}),
]


@pytest.mark.parametrize("made", PLAIN)
def test_nothing_is_asked_of_a_plain_table(made, model, monkeypatch):
    if isinstance(made(X[:1]), pandas.DataFrame):
        model = MLPClassifier(20, random_state=0, max_iter=5).fit(frame(X), Y)
    expected = model.predict_proba(frame(X[:5]) if hasattr(model, "feature_names_in_") else X[:5])
    monkeypatch.setattr(outputs, "validate_data", None)
    np.testing.assert_array_equal(model.predict_proba(made(X[:5])), expected)


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        (frame(X)[:2].rename(columns={"3": "c"}), "feature names should match"),
        (frame(X)[:2][[*map(str, range(63, -1, -1))]], "must be in the same order"),
        (frame(X)[:2].iloc[:, :9], "feature names should match"),
        (frame(X)[:2].mask(X[:2] > 8), "Input X contains NaN"),
        (frame(X)[:0], "minimum of 1 is required"),
    ],
)
def test_frames_that_do_not_fit(wrong, text):
    model = MLPClassifier(5, max_iter=1).fit(frame(X), Y)
    with pytest.raises(ValueError, match=text):
        model.predict(wrong)


def test_sparse_columns_of_a_frame_are_not_plain(monkeypatch):
    """One of them is warned of; a frame of nothing else stays sparse."""
    rows, sparse = frame(X)[:3], pandas.SparseDtype(float, 0.0)
    model = MLPClassifier(5, max_iter=1).fit(frame(X), Y)
    expected = model.predict(rows)
    with pytest.warns(UserWarning, match="sparse columns"):
        np.testing.assert_array_equal(model.predict(rows.astype({"3": sparse})), expected)
    seen = []
    monkeypatch.setattr(outputs, "core_table", lambda X, dtype: seen.append(issparse(X)) or core_table(X, dtype))
    np.testing.assert_array_equal(model.predict(rows.astype(sparse)), expected)
    assert seen == [True]


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ([[1.0, 2.0], [3.0]], "inhomogeneous"),
        ([[1.0, 2.0]], "expecting 64 features"),
        (X[0].tolist(), "Expected 2D array"),
        ([], "Expected 2D array"),
        (X[:1].astype(int)[:, :3], "expecting 64 features"),
        ([["a"] * 64], "not compatible with arrays of bytes/strings"),
    ],
)
def test_lists_and_whole_numbers_that_do_not_fit(model, wrong, text):
    with pytest.raises(ValueError, match=text):
        model.predict(wrong)


def test_weights_that_are_not_finite_are_refused(model):
    model.coefs_ = [np.full((64, 20), np.nan), model.coefs_[1]]
    with pytest.raises(ValueError, match=r"W\[0\] must be finite"):
        model.predict(X)
    with pytest.raises(ValueError, match=r"W\[0\] must be finite"):
        pickle.loads(pickle.dumps(model)).predict(X)


def test_an_activation_that_is_changed_is_the_one_that_predicts(model):
    model.predict(X)
    model.set_params(activation=["identity"])
    h = X @ model.coefs_[0] + model.intercepts_[0]
    expected = (h @ model.coefs_[1] + model.intercepts_[1]).argmax(1)
    np.testing.assert_array_equal(model.predict(X), expected)


def test_precisions(model):
    assert model.predict_proba(X[:3].astype(np.float32)).dtype == np.float64
    small = MLPClassifier(20, random_state=0, max_iter=5).fit((X / 16).astype(np.float32), Y)
    assert small.predict_proba(X[:3].astype(np.float32)).dtype == np.float32
    assert small.predict_proba(X[:3]).dtype == np.float64
    np.testing.assert_allclose(small.predict_proba(X[:3] / 16), probabilities(small, X[:3] / 16), rtol=1e-9)
    np.testing.assert_array_equal(small.predict(X.astype(int)), small.predict(X))


def test_a_table_whose_sum_overflows_is_finite(model):
    rows = np.where(np.arange(64) < 2, 1.5e308, np.zeros((2, 1)))
    assert model.predict(rows).shape == (2,)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused(model, wrong):
    rows = X[:3].copy()
    rows[1, 5] = wrong
    with pytest.raises(ValueError, match="Input X contains"):
        model.predict(rows)


# --- threads, memory, pickles ---


def test_several_threads_at_once():
    small, large = X / 16, np.tile(X / 16, (3, 1))
    classifier = MLPClassifier(20, random_state=0, max_iter=5).fit(small, Y)
    regressor = MLPRegressor(hidden_layer_sizes=(30, 30), random_state=0, max_iter=5).fit(small, Y)
    tasks = [
        (function, table[start : start + rows].astype(dtype))
        for table, rows in ((small, 1), (small, 33), (large, 700), (large, 5000))
        for start in range(0, 120, 20)
        for dtype in (np.float64, np.float32)
        for function in (classifier.predict, classifier.predict_log_proba, regressor.predict)
    ]
    expected = [function(rows) for function, rows in tasks]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(5):
            found = list(pool.map(lambda task: task[0](task[1]), tasks))
            for one, other in zip(found, expected, strict=True):
                np.testing.assert_array_equal(one, other)


def test_a_pickle_holds_the_weights_once_and_a_clone_none(model):
    before = len(pickle.dumps(model))
    model.predict(X)
    assert len(pickle.dumps(model)) == before
    size = sum(array.nbytes for array in model.coefs_ + model.intercepts_)
    assert before < 3 * size + 40_000  # and the two moments of Adam
    assert "_ready" in vars(model)
    assert "_ready" not in vars(clone(model))


def test_a_prediction_leaves_the_table_to_go(model):
    rows = X.copy()
    gone = weakref.ref(rows)
    model.predict(rows)
    del rows
    gc.collect()
    assert gone() is None


def test_what_a_network_keeps_between_predictions_is_bounded(monkeypatch):
    network, wide, wider = (gp.Network((4, hidden, 2)) for hidden in (5, 3000, 300_000))
    rows = np.ones((3, 4))
    for each in (network, wide, wider):
        passes.predict(each, each.initialize(0), rows)
    for each in (network, wide):  # in batches of as many rows as may be kept
        assert [len(kept) for kept in each.idle.values()] == [1]
    assert [len(kept) for kept in wider.idle.values()] == [0]
    monkeypatch.setattr(passes, "MOST_IDLE", 0)
    network.idle.clear()
    passes.predict(network, network.initialize(0), rows)
    assert [len(kept) for kept in network.idle.values()] == [0]
    for copied in (pickle.loads(pickle.dumps(network)), copy.deepcopy(network)):
        assert copied == network
        assert copied.idle == {}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("layers", [(20_000, 5), (20_000, 200, 2), (30, 20_000, 1), (300, 7000, 300)])
def test_memory_for_a_table_of_many_columns_is_kept(layers, dtype):
    """Batches hold as many rows as memory that may be kept; made anew each time, it would take longer than the prediction."""
    network = gp.Network(layers)
    parameters = network.initialize(0, dtype=dtype)
    rows = np.random.default_rng(0).normal(size=(700, layers[0])).astype(dtype)
    found = passes.predict(network, parameters, rows, threads=1)
    assert [work["scratch"].nbytes <= passes.IDLE_BYTES for kept in network.idle.values() for work in kept] == [True]
    by_hand = np.asarray(rows, np.float64)
    for l, (W, b) in enumerate(zip(parameters.W, parameters.b, strict=True)):
        by_hand = by_hand @ np.asarray(W, np.float64) + b
        by_hand = np.maximum(by_hand, 0) if l < len(layers) - 2 else by_hand
    tolerance = 1e-11 if dtype == "float64" else 1e-3
    np.testing.assert_allclose(found, by_hand, rtol=tolerance, atol=tolerance)


def test_what_is_kept_serves_as_many_threads_again(monkeypatch):
    """And tables of many sizes leave few kinds of memory."""
    monkeypatch.setattr(passes, "THREADED_FROM", 0)
    for flops in ("FLOPS_FOR_THREADS", "FLOPS_PER_SHARER"):
        monkeypatch.setattr(workspace, flops, 1e-9)
    made = []
    monkeypatch.setattr(passes, "Workspace", lambda *args, **settings: made.append(settings) or Workspace(*args, **settings))
    network = gp.Network((4, 50, 2))
    parameters, rows = network.initialize(0), np.random.default_rng(0).normal(size=(1100, 4))
    for n in (512, 700, 1100, 1100):
        for threads in (1, 2):
            found = passes.predict(network, parameters, rows[:n], threads=threads)
            np.testing.assert_array_equal(found[:512], passes.predict(network, parameters, rows[:512], threads=1))
    for n in (100, 200, 120, 129):
        passes.predict(network, parameters, rows[:n], threads=2)
    assert [settings["batch_size"] for settings in made] == [512, 512, 128, 256]
    assert [kept[0].crew.most for kept in network.idle.values()] == [1, 2, 2, 2]
    assert [len(kept) for kept in network.idle.values()] == [1] * 4


def test_parameters_that_are_not_contiguous():
    network = gp.Network((4, 5, 2))
    parameters = network.initialize(0)
    spread = np.zeros(2 * parameters.theta.size)
    spread[::2] = parameters.theta
    rows = np.linspace(0, 1, 12).reshape(3, 4)
    expected = passes.predict(network, parameters, rows)
    np.testing.assert_array_equal(passes.predict(network, parameters.with_theta(spread[::2]), rows), expected)
