"""What tests/test_docs.py cannot run of docs/coming-from-scikit-learn.md: Optuna and MLflow, played by stand-ins."""

from __future__ import annotations

import contextlib
import re
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest
from sklearn.datasets import load_iris
from sklearn.exceptions import ConvergenceWarning

from benchmarks import estimators
from glassprop import MLPClassifier, MLPRegressor

PAGE = Path(__file__).parents[2] / "docs" / "coming-from-scikit-learn.md"
X, Y = load_iris(return_X_y=True)


def block(word):
    """The page's piece of Python that holds `word`."""
    blocks = [b for b in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S) if not b.startswith(">>>")]
    (found,) = [b for b in blocks if word in b]
    return found


class Trial:
    """A trial that has seen enough after three epochs."""

    def __init__(self):
        self.reported = []

    def suggest_float(self, name, low, high, log):
        return 1e-3

    def report(self, value, step):
        self.reported.append((step, value))

    def should_prune(self):
        return len(self.reported) == 3


def test_pruning():
    class TrialPruned(Exception):
        pass

    names = {"MLPClassifier": MLPClassifier, "X": X, "y": Y, "optuna": SimpleNamespace(TrialPruned=TrialPruned)}
    exec(block("trial.should_prune"), names)
    trial = Trial()
    with pytest.raises(TrialPruned):
        names["objective"](trial)
    assert [step for step, _ in trial.reported] == [1, 2, 3]
    assert all(0 <= score <= 1 for _, score in trial.reported)


def test_metrics_of_every_epoch():
    logged = []
    mlflow = SimpleNamespace(
        start_run=contextlib.nullcontext,
        log_params=logged.append,
        log_metrics=lambda metrics, step: logged.append((step, metrics)),
    )
    names = {"MLPRegressor": MLPRegressor, "X": X, "y": Y, "mlflow": mlflow}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        exec(block("mlflow.log_metrics"), names)
    assert [entry[0] for entry in logged[1:]] == [1, 2, 3, 4, 5]
    assert [entry[1]["loss"] for entry in logged[1:]] == names["model"].loss_curve_


def test_every_keyword_of_the_page_is_a_parameter():
    table = PAGE.read_text().split("## What was refused there")[1].split("```")[0]
    parameters = {*MLPClassifier().get_params(), *MLPRegressor().get_params()}
    named = {name for cell in re.findall(r"^\| (.*?) \|", table, re.M) for name in re.findall(r"`(\w+)`", cell)}
    assert named - parameters == {"set_callbacks"}
    own = parameters - {*__import__("sklearn.neural_network").neural_network.MLPRegressor().get_params()}
    assert own <= named


def test_the_benchmark_compares_the_two(capsys):
    warnings.simplefilter("ignore", ConvergenceWarning)
    line = estimators.compare("iris, defaults", (X, Y), rounds=1, threads=1)
    assert line["mine"] > 0
    assert line["gain"] == pytest.approx(line["theirs"] / line["mine"])
    assert "| iris, defaults, 100 epochs | 1 |" in estimators.section({"lines": [line], "rounds": 1})
