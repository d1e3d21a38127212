"""Estimators in the shell: their labels, their columns, their scores, their next step."""

import io
import json

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_array
from sklearn import metrics
from sklearn.datasets import load_diabetes, load_iris

import glassprop as gp
from glassprop import MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

IRIS, NUMBER = load_iris(return_X_y=True, as_frame=True)
IRIS.columns = ["a", "b", "c", "d"]
KIND = np.array(["setosa", "versicolor", "virginica"])[NUMBER]
SIZE = np.where(IRIS.a > 6, "large", "small")
DIABETES, PROGRESS = load_diabetes(return_X_y=True, as_frame=True)

# By name: the estimator's class, its inputs, what it learns, by columns, in the table
CASES = {
    "text": (MLPClassifier, IRIS, {"kind": KIND}),
    "two classes": (MLPClassifier, IRIS, {"size": SIZE}),
    "truth values": (MLPClassifier, IRIS, {"large": IRIS.a.to_numpy() > 6}),
    "numbers as classes": (MLPClassifier, IRIS, {"kind": NUMBER.to_numpy() + 5.0}),
    "several labels": (MLPClassifier, IRIS, {name: (name == KIND).astype(int) for name in ("setosa", "virginica")}),
    "several columns": (MLPClassifier, IRIS, {"kind": KIND, "size": SIZE}),
    "a number": (MLPRegressor, DIABETES, {"progress": PROGRESS.to_numpy() / 100}),
    "several numbers": (MLPRegressor, IRIS[["a", "b"]], {"c": IRIS.c.to_numpy(), "d": IRIS.d.to_numpy()}),
}
ALL = pytest.mark.parametrize("case", CASES)


class Fit:
    """An estimator of a case, its file, and a file of its table, the target's columns last."""

    def __init__(self, folder, case, named=True, **options):
        Estimator, self.X, self.answers = CASES[case]
        y = np.column_stack(list(self.answers.values()))
        self.y = y[:, 0] if y.shape[1] == 1 else y
        given = {"hidden_layer_sizes": 5, "max_iter": 30, "learning_rate_init": 0.01, "random_state": 0} | options
        self.given = self.X if named else self.X.to_numpy()
        self.model = Estimator(**given).fit(self.given, self.y)
        self.file, self.table = folder / "model.safetensors", folder / "table.csv"
        gp.save(self.model, self.file)
        self.frame = self.X.assign(**self.answers)
        self.frame.to_csv(self.table, index=False)

    @property
    def targets(self):
        return list(self.answers)


@pytest.fixture
def fit(tmp_path):
    return lambda *given, **options: Fit(tmp_path, *given, **options)


def read(text):
    return pd.read_csv(io.StringIO(text))


# --- predict -------------------------------------------------------------------------------------------------------------


@ALL
@pytest.mark.parametrize("named", [True, False])
def test_predictions_are_the_estimators_own(run, fit, tmp_path, case, named):
    fitted = fit(case, named)
    ended = run("predict", fitted.file, fitted.table, "--target", ",".join(fitted.targets))
    assert (ended.code, ended.err) == (0, "")
    found = read(ended.out)
    assert list(found.columns) == fitted.targets
    wanted = fitted.model.predict(fitted.given).reshape(len(found), -1)
    for number, name in enumerate(fitted.targets):
        if isinstance(fitted.model, MLPRegressor):
            assert found[name].to_numpy() == pytest.approx(wanted[:, number], rel=1e-15)
        else:
            assert found[name].tolist() == wanted[:, number].tolist()
    fitted.X.to_csv(tmp_path / "bare.csv", index=False)
    again = read(run("predict", fitted.file, tmp_path / "bare.csv").out)
    assert list(again.columns) == (
        ["prediction"] if len(fitted.targets) == 1 else [f"prediction_{i + 1}" for i in range(len(fitted.targets))]
    )
    np.testing.assert_array_equal(again.to_numpy(), found.to_numpy())


@pytest.mark.parametrize("case", [case for case in CASES if CASES[case][0] is MLPClassifier])
def test_probabilities(run, fit, case):
    fitted = fit(case)
    found = read(run("predict", fitted.file, fitted.table, "--target", ",".join(fitted.targets), "--proba").out)
    shares = fitted.model.predict_proba(fitted.X)
    if case == "several labels":
        wanted = {f"probability_{name}_{label}": shares[:, number] if label else 1 - shares[:, number]
                  for number, name in enumerate(fitted.targets) for label in (0, 1)}  # fmt: skip
    elif case == "several columns":
        wanted = {f"probability_{name}_{label}": part[:, number]
                  for name, classes, part in zip(fitted.targets, fitted.model.classes_, shares, strict=True)
                  for number, label in enumerate(classes)}  # fmt: skip
    else:
        wanted = {f"probability_{label}": shares[:, number] for number, label in enumerate(fitted.model.classes_)}
    assert list(found.columns) == [*fitted.targets, *wanted]
    for name, numbers in wanted.items():
        np.testing.assert_allclose(found[name], numbers, rtol=1e-14)


def test_a_single_class(run, fit, monkeypatch):
    monkeypatch.setitem(CASES, "single", (MLPClassifier, IRIS, {"kind": np.array(["x"] * 150)}))
    fitted = fit("single", max_iter=1)
    found = read(run("predict", fitted.file, fitted.table, "--proba").out)
    assert list(found.columns) == ["prediction", "probability_x"]
    assert json.loads(run("evaluate", fitted.file, fitted.table, "--json").out)["metrics"]["accuracy"] == 1
    assert run("check", fitted.file, fitted.table).code == 0


def test_labels_that_were_sparse(run, fit):
    fitted = fit("several labels")
    wanted = run("predict", fitted.file, fitted.table).out
    gp.save(fitted.model.fit(fitted.X, csr_array(fitted.y)), fitted.file)
    assert run("predict", fitted.file, fitted.table).out == wanted


def test_numbers_have_no_probabilities(refused, fit):
    fitted = fit("a number")
    assert refused("predict", fitted.file, fitted.table, "--proba").endswith("numbers, not classes: it has no probabilities")


def test_columns_are_found_by_name(run, refused, fit, tmp_path):
    fitted = fit("text")
    wanted = run("predict", fitted.file, fitted.table).out
    other = tmp_path / "other.csv"
    fitted.frame[fitted.frame.columns[::-1]].assign(more="text").to_csv(other, index=False)
    assert run("predict", fitted.file, other).out == wanted
    fitted.X.drop(columns="b").to_csv(other, index=False)
    assert refused("predict", fitted.file, other) == "the table lacks the column 'b'; it has a, c, d"


def test_without_names_the_place_counts(run, refused, fit, tmp_path):
    fitted = fit("text", named=False)
    why = "the estimator was fitted without column names: this one must hold 4 columns of inputs"
    hint = " (--target names columns that are no inputs)"
    assert refused("predict", fitted.file, fitted.table) == f"{why}; it has 5{hint}"
    few = tmp_path / "few.csv"
    fitted.X[["a", "b"]].to_csv(few, index=False)
    assert refused("predict", fitted.file, few) == f"{why}; it has 2"
    assert refused("evaluate", fitted.file, few) == f"{why}, then those of the targets; it has 2"
    first = tmp_path / "first.csv"
    fitted.frame[["kind", *fitted.X.columns]].to_csv(first, index=False)
    assert run("evaluate", fitted.file, first, "-t", "kind").out == run("evaluate", fitted.file, fitted.table).out.replace(
        str(fitted.table), str(first)
    )


def test_a_ready_table_knows_its_target(run, tmp_path):
    for X in (IRIS, IRIS.set_axis(load_iris().feature_names, axis=1)):
        model, path = MLPClassifier(5, max_iter=3, random_state=0), tmp_path / "m"
        gp.save(model.fit(X if X is not IRIS else X.to_numpy(), KIND), path)
        assert run("predict", path, "sklearn:iris").out.splitlines()[:2] == ["target", model.predict(X.iloc[[0]].to_numpy()
            if X is IRIS else X.iloc[[0]])[0]]  # fmt: skip
        assert run("evaluate", path, "sklearn:iris").code == 0
    many = MLPRegressor(hidden_layer_sizes=3, max_iter=2).fit(X, IRIS[["a", "b"]])
    gp.save(many, path)
    assert run("predict", path, "sklearn:iris").out.startswith("prediction_1,prediction_2\n")


# --- evaluate ------------------------------------------------------------------------------------------------------------


@ALL
@pytest.mark.parametrize("weighted", [False, True])
def test_scores(run, fit, case, weighted):
    fitted = fit(case)
    weights = np.random.default_rng(0).uniform(0.5, 1, len(fitted.X)) if weighted else None
    if weighted:
        fitted.frame.assign(w=weights).to_csv(fitted.table, index=False)
    ended = run("evaluate", fitted.file, fitted.table, "--json", *(("--weights", "w") if weighted else ()))
    assert (ended.code, ended.err) == (0, "")
    said = json.loads(ended.out)
    assert said["target"] == (fitted.targets if len(fitted.targets) > 1 else fitted.targets[0])
    assert said["task"] == ("classification" if isinstance(fitted.model, MLPClassifier) else "regression")
    found, model, y, options = said["metrics"], fitted.model, fitted.y, {"sample_weight": weights}
    if isinstance(model, MLPRegressor):
        predicted = model.predict(fitted.X)
        assert found["r2"] == pytest.approx(model.score(fitted.X, y, weights))
        assert found["rmse"] == pytest.approx(metrics.root_mean_squared_error(y, predicted, **options))
        assert found["mae"] == pytest.approx(metrics.mean_absolute_error(y, predicted, **options))
        assert said["baseline"]["r2"] == pytest.approx(0, abs=1e-12)
        return
    assert found["accuracy"] == pytest.approx(model.score(fitted.X, y, weights))
    shares = model.predict_proba(fitted.X)
    if case == "several labels":
        assert found["roc_auc"] == pytest.approx(metrics.roc_auc_score(y, shares, **options))
    elif case == "several columns":
        each = [metrics.log_loss(y[:, i], shares[i], labels=model.classes_[i], **options) for i in range(2)]
        assert found["log_loss"] == pytest.approx(np.mean(each))
    else:
        assert found["log_loss"] == pytest.approx(metrics.log_loss(y, shares, **options))
        most = max(np.average(y == label, weights=weights) for label in model.classes_)
        assert said["baseline"]["accuracy"] == pytest.approx(most)
    assert ("roc_auc" in found) == (case in ("two classes", "truth values", "several labels"))


def test_scores_in_words(run, fit):
    fitted = fit("two classes")
    out = run("evaluate", fitted.file, fitted.table).out
    assert out.startswith(f"model     {fitted.file}: classification of 'size'\ntable     {fitted.table}: 150 rows\n")
    assert "(always 'small', the most frequent here)" in out
    fitted = fit("several numbers")
    out = run("evaluate", fitted.file, fitted.table).out
    assert "regression of 'c', 'd'\n" in out
    assert "(always the mean here, 3.758, 1.199)" in out


def test_a_loss_has_its_score(run, fit):
    for loss, score in ((gp.Loss("quantile", quantile=0.9), "mean_pinball_loss"), ("poisson", "mean_poisson_deviance")):
        fitted = fit("a number", loss=loss)
        found = json.loads(run("evaluate", fitted.file, fitted.table, "--json").out)["metrics"]
        options = {"alpha": 0.9} if score == "mean_pinball_loss" else {}
        assert found[score] == pytest.approx(getattr(metrics, score)(fitted.y, fitted.model.predict(fitted.X), **options))


def test_the_target_must_be_told(run, refused, fit, tmp_path):
    fitted = fit("text")
    fitted.frame.assign(more=1).to_csv(fitted.table, index=False)
    asked = ("evaluate", fitted.file, fitted.table)
    assert refused(*asked) == "--target must name the column to predict; beside its inputs the table has kind, more"
    assert run(*asked, "--target", "kind").code == 0
    assert "--target must be a column of the table; got 'kid', did you mean 'kind'?" in refused(*asked, "--target", "kid")
    assert refused(*asked, "--target", "a") == "--target must be another column than the inputs; got a"
    assert refused(*asked, "--target", "kind,more") == "--target must name the column to predict; got kind, more"
    fitted.X.to_csv(fitted.table, index=False)
    assert refused(*asked) == "--target must name the column to predict; beside its inputs the table has none"
    fitted = fit("several numbers")
    asked = ("--target", "c")
    message = "--target must name the 2 columns to predict; got c"
    assert refused("evaluate", fitted.file, fitted.table, *asked) == message
    assert refused("predict", fitted.file, fitted.table, *asked) == message


def test_an_unknown_label_is_named(refused, fit):
    fitted = fit("several columns")
    fitted.frame.loc[3, "size"] = "huge"
    fitted.frame.to_csv(fitted.table, index=False)
    message = (
        "column 'size' holds 'huge' in row 4 (counted from 1 below the column names), which is none of the model's classes"
    )
    assert message in refused("evaluate", fitted.file, fitted.table)


def test_a_model_that_knows_its_target(run, refused, tmp_path):
    path = tmp_path / "m"
    run("train", "sklearn:iris", "--layers", "3", "--epochs", "2", "--out", path, "--quiet")
    assert run("evaluate", path, "sklearn:iris", "--target", "target").code == 0
    message = "--target must be left out, or name the model's own column 'target'; got 'kind'"
    for command in ("evaluate", "predict", "check", "diagnose", "explain"):
        assert refused(command, path, "sklearn:iris", "--target", "kind") == message


# --- info, check, diagnose, explain --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("case", "task"), [
    ("text", "classification (3 classes: setosa, versicolor, virginica)"),
    ("numbers as classes", "classification (3 classes: 5.0, 6.0, 7.0)"),
    ("several labels", "classification of 2 columns (0, 1; 0, 1)"),
    ("several columns", "classification of 2 columns (setosa, versicolor, virginica; large, small)"),
    ("a number", "regression"),
    ("several numbers", "regression of 2 columns"),
])  # fmt: skip
def test_info(run, fit, case, task):
    fitted = fit(case)
    out = run("info", fitted.file).out
    assert f"task      {task}\n" in out
    assert f"\nestimator {' '.join(repr(fitted.model).split())}, fitted in {fitted.model.n_iter_} epochs\n" in out
    assert f"\ninputs    {fitted.X.shape[1]}: {', '.join(fitted.X.columns[:6])}" in out
    said = json.loads(run("info", fitted.file, "--json").out)
    assert said["task"] == task.split()[0]
    assert said["estimator"]["parameters"]["max_iter"] == 30
    assert len(said["classes"]) == (len(fitted.targets) if isinstance(fitted.model, MLPClassifier) else 0)
    assert "inputs    " + str(fitted.X.shape[1]) + ", without names\n" in run("info", fit(case, named=False).file).out


@ALL
def test_gradients_are_checked(run, fit, case):
    fitted = fit(case, activation="tanh", alpha=5.0)
    ended = run("check", fitted.file, fitted.table, "--rows", "30:90", "--json")
    assert (ended.code, ended.err) == (0, "")
    wanted = fitted.model.explain(fitted.given[30:90], fitted.y[30:90], check=False).steps[0].loss
    assert wanted.penalty > 1e-3
    assert json.loads(ended.out)["loss"] == pytest.approx(wanted.objective, rel=1e-12)


def test_weights_of_classes_count(run, fit):
    heavy = {"setosa": 0.5, "versicolor": 1, "virginica": 3}
    fitted = fit("text", class_weight=heavy, solver="sgd", batch_size=30, alpha=20.0)
    weights = np.array([heavy[label] for label in KIND])
    mean = weights.mean()  # a batch of 30 has 30 times that on average
    parameters = gp.Parameters.from_arrays(fitted.model.coefs_, fitted.model.intercepts_)
    said = json.loads(run("check", fitted.file, fitted.table, "--rows", "0:150", "--json").out)
    assert said["loss"] == pytest.approx(fitted.model.explain(IRIS, KIND, check=False).steps[0].loss.objective, rel=1e-12)
    network = gp.Network((4, 5, 3), loss="cross_entropy", l2=20.0 / (30 * mean))
    options = {"weights": weights, "optimizer": gp.SGD(0.01, momentum=0.9, nesterov=True), "batch_size": 30}
    wanted = gp.diagnose(network, parameters, IRIS.to_numpy(), NUMBER.to_numpy(), **options).as_dict()
    said = json.loads(run("diagnose", fitted.file, fitted.table, "--json").out)
    assert said["loss"] == pytest.approx(wanted["loss"])
    for mine, theirs in zip(said["layers"], wanted["layers"], strict=True):
        assert mine["update"] == pytest.approx(theirs["update"], rel=1e-9)


def test_diagnose_knows_the_solver(run, fit):
    fitted = fit("text", solver="sgd", batch_size=20, alpha=3.0)
    said = json.loads(run("diagnose", fitted.file, fitted.table, "--json").out)
    network = gp.Network((4, 5, 3), loss="cross_entropy", l2=3.0 / 20)
    rule = gp.SGD(0.01, momentum=0.9, nesterov=True)
    parameters = gp.Parameters.from_arrays(fitted.model.coefs_, fitted.model.intercepts_)
    found = gp.diagnose(network, parameters, IRIS.to_numpy(), NUMBER.to_numpy(), optimizer=rule, batch_size=20)
    assert {name: said[name] for name in found.as_dict()} == found.as_dict()
    fitted = fit("text", solver="lbfgs")
    assert json.loads(run("diagnose", fitted.file, fitted.table, "--json").out)["learning_rate"] is None


@pytest.mark.parametrize(
    "options", [{}, {"class_weight": {"setosa": 0.5, "versicolor": 1, "virginica": 2}}, {"solver": "lbfgs"}]
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_step_explained_is_the_estimators_next(run, fit, options, dtype):
    fitted = fit("text", **options)
    model = fitted.model.fit(IRIS.astype(dtype), KIND)
    gp.save(model, fitted.file)
    asked = ("explain", fitted.file, fitted.table, "--rows", "40:60", "--row", "55", "--json")
    said = json.loads(run(*asked).out)
    rows = IRIS.iloc[40:60].astype(model.coefs_[0].dtype)  # lbfgs leaves float64
    names = {"output_names": [f"kind = {label}" for label in model.classes_], "row_name": f"row 55 of {fitted.table}"}
    assert said == model.explain(rows, KIND[40:60], row=15, **names).as_dict()
    if not options:
        assert said["steps"][0]["step"] == model.n_iter_  # of one batch each
    other = json.loads(run(*asked, "--learning-rate", "0.5").out)["steps"][0]
    assert (other["rule"]["name"], other["step"], other["rule"]["learning_rate"]) == ("sgd", 0, 0.5)
    assert json.loads(run(*asked, "--step", "7").out)["steps"][0]["step"] == 7


@pytest.mark.parametrize("case", ["several labels", "several columns", "two classes", "several numbers"])
def test_outputs_have_names(run, fit, case):
    fitted = fit(case)
    step = json.loads(run("explain", fitted.file, fitted.table, "--row", "3", "--json").out)["steps"][0]
    wanted = [f"kind = {label}" for label in np.unique(KIND)] + ["size = large", "size = small"]
    assert step["output_names"] == (wanted if case == "several columns" else fitted.targets)
    assert step["input_names"] == list(fitted.X.columns)
