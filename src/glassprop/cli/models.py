"""A model file as the commands see it: tables in; answers, scores and batches out, whatever kind of model it holds.

Three kinds differ in what they know of a table: a model of `train`, an estimator, a network alone. It prints nothing.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from glassprop.cli import options
from glassprop.cli.output import plural, shorten
from glassprop.core.network import Network, Parameters
from glassprop.core.update import Optimizer
from glassprop.tables.columns import check_column, column_of, matrix, narrowed, numbers
from glassprop.tables.metrics import Scores, best_constant, constant_name, short_number
from glassprop.tables.model import Model, load, row_weights, scores_of
from glassprop.tables.preparation import Preparation, class_numbers
from glassprop.tables.reading import default_target
from glassprop.training.described import optimizer_of


class Judged(NamedTuple):
    """Scores beside those of answers that look at no input."""

    target: list[str]
    scores: Scores
    baseline: Scores
    against: str  # what the baseline answers


class Arrays(NamedTuple):
    """Rows of a table as the core takes them."""

    X: np.ndarray  # (rows, inputs), in the precision of the model's parameters
    Y: np.ndarray  # (rows, outputs), or (rows,) class numbers
    weights: np.ndarray | None  # (rows,)


def open_model(path: str | os.PathLike[str], table: str = "", target: str | None = None) -> Fitted:
    """What a file holds, for a table by its name and the columns that ``--target`` names."""
    model = load(path)
    named = None if target is None else options.read_names("--target", target)
    if isinstance(model, Model) and model.preparation is not None:
        own = [model.preparation.target]
        if target != own[0] and named not in (None, own):
            raise ValueError(f"--target must be left out, or name the model's own column {own[0]!r}; got {target!r}")
        return FittedModel(model, model.preparation)
    fitted = FittedNetwork(model) if isinstance(model, Model) else FittedEstimator(model)
    ready = default_target(table) if fitted.answers in (1, None) else None
    fitted.target = [ready] if named is None and ready is not None else named
    return fitted


class Fitted(ABC):
    """A fitted model, and what it knows of a table."""

    network: Network
    parameters: Parameters
    extra: dict[str, Any]  # whatever else the file holds, as JSON has it
    preparation: Preparation | None = None
    task = ""
    row_note = ""  # what has been done to the numbers of a row

    @property
    def training(self) -> dict[str, Any]:
        """How it was trained, where that is stored."""
        return self.extra.get("training") or {}

    @abstractmethod
    def predictions(self, table: pd.DataFrame, proba: bool) -> pd.DataFrame:
        """A column of predictions for each target; for `proba` one for each class, too."""

    @abstractmethod
    def judge(self, table: pd.DataFrame, weights: str | None) -> Judged:
        """Scores on a table that holds the target."""

    @abstractmethod
    def arrays(self, table: pd.DataFrame) -> Arrays:
        """Inputs and targets."""

    @abstractmethod
    def names(self, table: pd.DataFrame) -> tuple[list[str], list[str] | None]:
        """What inputs and outputs stand for."""

    def penalised(self, mass: float) -> Network:
        """The network with the penalties of a step on rows whose weights add up to `mass`."""
        return self.network

    @property
    def step_options(self) -> dict[str, Any]:
        """Options of the step that comes next, where they are known."""
        return {}

    def rule(self) -> tuple[Optimizer | None, int]:
        """The update rule that it was trained with, and the rows of a step."""
        rule = self.training.get("optimizer")
        return optimizer_of(rule) if rule else None, int(self.training.get("batch_size") or 32)


class FittedModel(Fitted):
    """A model of `train`: it knows columns, classes and units."""

    row_note = ", standardised"
    preparation: Preparation

    def __init__(self, model: Model, preparation: Preparation) -> None:
        self.model, self.preparation = model, preparation
        self.network, self.parameters, self.extra = model.network, model.parameters, model.extra
        self.task = preparation.task

    def predictions(self, table: pd.DataFrame, proba: bool) -> pd.DataFrame:
        result = pd.DataFrame({self.preparation.target: self.model.predict(table)})
        if proba:
            shares = self.model.predict_proba(table)
            for number, label in enumerate(self.preparation.classes):
                result[f"probability_{label}"] = shares[:, number]
        return result

    def judge(self, table: pd.DataFrame, weights: str | None) -> Judged:
        scores, baseline = self.model.evaluate(table, weights), self.model.baseline(table, weights)
        return Judged([self.preparation.target], scores, baseline, self.preparation.baseline_text(self.network.loss))

    def arrays(self, table: pd.DataFrame) -> Arrays:
        preparation, dtype = self.preparation, self.parameters.dtype
        preparation.check(table)
        return Arrays(preparation.inputs_of(table, dtype), preparation.targets_of(table, dtype), None)

    def names(self, table: pd.DataFrame) -> tuple[list[str], list[str] | None]:
        target, classes = self.preparation.target, self.preparation.classes
        answers = [target] if self.network.layers[-1] == 1 else [f"{target} = {label}" for label in classes]
        return list(self.preparation.inputs), answers


class ByPlace(Fitted):
    """What two kinds share that were made of arrays: inputs are found by name where there are names, else by their place."""

    why = "the model was saved without a table"
    target: list[str] | None = None  # columns to predict, where they were named
    input_names: list[str] | None = None
    answers: int | None = None  # columns to predict; None where that is not known

    def columns(self, table: pd.DataFrame, wanted: bool, weights: str | None = None) -> tuple[list[str], list[str]]:
        """The input columns and, where they are `wanted`, the columns to predict; else none."""
        every, count = [str(name) for name in table.columns if str(name) != weights], self.network.layers[0]
        for name in (self.target or ()) if wanted else ():
            check_column(table, name, "--target")
        inputs = self.input_names
        if both := set(inputs or ()) & set(self.target or ()):
            raise ValueError(f"--target must be another column than the inputs; got {', '.join(sorted(both))}")
        rest = [name for name in every if name not in (self.target or ()) and name not in (inputs or ())]
        if inputs is None:
            inputs, rest = (rest[:count], rest[count:]) if wanted and self.target is None else (rest, [])
            if len(inputs) != count or (wanted and self.target is None and not rest):
                if wanted and self.target is not None:
                    beside = f"{plural(count, 'column')} of inputs beside --target {', '.join(self.target)}"
                    raise ValueError(f"{self.why}: this one must hold {beside}; it has {len(inputs)}")
                raise ValueError(
                    f"{self.why}: this one must hold {plural(count, 'column')} of inputs"
                    + (", then those of the targets" if wanted else "")
                    + f"; it has {len(every)}"
                    + (" (--target names columns that are no inputs)" if len(every) > count and self.target is None else "")
                )
        if not wanted:
            return inputs, []
        targets = rest if self.target is None else self.target
        self.check_count(targets, f"beside its inputs the table has {shorten(rest) or 'none'}")
        return inputs, targets

    def check_count(self, targets: Sequence[str], found: str = "") -> None:
        """Raise unless these are as many columns as the model predicts; `found` is what there is where none were named."""
        if self.answers not in (None, len(targets)):
            what = "the column" if self.answers == 1 else f"the {self.answers} columns"
            got = f"got {', '.join(self.target)}" if self.target else found
            raise ValueError(f"--target must name {what} to predict; {got}")


class FittedNetwork(ByPlace):
    """A network alone: numbers in, its outputs out."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.network, self.parameters, self.extra = model.network, model.parameters, model.extra

    def predictions(self, table: pd.DataFrame, proba: bool) -> pd.DataFrame:
        outputs = self.model.predict(self._numbers(table, self.columns(table, wanted=False)[0]))
        return pd.DataFrame(outputs, columns=[f"output_{o}" for o in range(1, outputs.shape[1] + 1)])

    def judge(self, table: pd.DataFrame, weights: str | None) -> Judged:
        return Judged([], self.model.evaluate(table), {}, "")  # which says why not

    def arrays(self, table: pd.DataFrame) -> Arrays:
        X, Y = (self._numbers(table, names) for names in self.columns(table, wanted=True))
        return Arrays(X, Y, None)

    def _numbers(self, table: pd.DataFrame, names: list[str]) -> np.ndarray:
        return narrowed(matrix(table, names), names, self.parameters.dtype, table)

    def names(self, table: pd.DataFrame) -> tuple[list[str], list[str] | None]:
        return self.columns(table, wanted=True)[0], None


class FittedEstimator(ByPlace):
    """An estimator: it knows its labels, and the names of its inputs if it was fitted on a data frame; not its target's."""

    why = "the estimator was fitted without column names"
    answers: int

    def __init__(self, model: Any) -> None:
        from glassprop.estimators.described import describe_estimator

        self.model = model
        self.network, self.parameters, facts, _ = describe_estimator(model)
        names, classes = getattr(model, "feature_names_in_", None), getattr(model, "classes_", None)
        self.input_names = None if names is None else [str(name) for name in names]
        self.task = "regression" if classes is None else "classification"
        self.classes = [] if classes is None else self._classes_by_column(classes)
        self.answers = len(self.classes) or self.network.layers[-1]
        self.extra = {"task": self.task, "classes": self.classes, "estimator": facts}

    @property
    def about(self) -> str:
        """What it predicts, in words."""
        several = f" of {self.answers} columns" if self.answers > 1 else ""
        if not self.classes:
            return self.task + several
        count = "" if several else f"{plural(len(self.classes[0]), 'class', 'classes')}: "
        return f"{self.task}{several} ({count}{'; '.join(map(shorten, self.classes))})"

    def _classes_by_column(self, classes: Any) -> list[list[Any]]:
        """The classes of each column to predict."""
        if isinstance(classes, list):
            return [column.tolist() for column in classes]
        outputs = self.network.layers[-1]
        if outputs > 1 and self.model.out_activation_ == "logistic":  # each of several labels, or none
            return [[0, 1]] * outputs
        return [classes.tolist()]

    def _inputs(self, table: pd.DataFrame, names: list[str]) -> Any:
        values = matrix(table, names)
        return values if self.input_names is None else pd.DataFrame(values, columns=names)

    def _answers(self, inputs: Any) -> np.ndarray:
        """Predictions, (rows, columns to predict)."""
        from scipy.sparse import issparse

        found = self.model.predict(inputs)
        found = found.toarray() if issparse(found) else found
        return found[:, None] if found.ndim == 1 else found

    def _shares(self, inputs: Any) -> list[np.ndarray]:
        """The probabilities of the classes of each column, (rows, classes)."""
        found = self.model.predict_proba(inputs)
        if isinstance(found, list):
            return found
        if len(self.classes) > 1:
            return [np.column_stack([1 - column, column]) for column in found.T]
        return [found[:, : len(self.classes[0])]]  # there are two where one class only was seen

    def predictions(self, table: pd.DataFrame, proba: bool) -> pd.DataFrame:
        if proba and not self.classes:
            raise ValueError("the model predicts numbers, not classes: it has no probabilities")
        inputs = self._inputs(table, self.columns(table, wanted=False)[0])
        several = self.answers != 1
        names = self.target or ([f"prediction_{number + 1}" for number in range(self.answers)] if several else ["prediction"])
        self.check_count(names)
        result = pd.DataFrame(dict(zip(names, self._answers(inputs).T, strict=True)))
        for name, classes, shares in zip(names, self.classes, self._shares(inputs), strict=True) if proba else ():
            for number, label in enumerate(classes):
                result[f"probability_{name}_{label}" if several else f"probability_{label}"] = shares[:, number]
        return result

    def judge(self, table: pd.DataFrame, weights: str | None) -> Judged:
        names, targets = self.columns(table, wanted=True, weights=weights)
        inputs, truth, w = self._inputs(table, names), self._truth(table, targets), row_weights(table, weights)
        if self.classes:
            answers = self._shares(inputs)
            shares = [
                np.bincount(column, w, len(classes)) / np.sum(np.ones(len(table)) if w is None else w)
                for column, classes in zip(truth.T, self.classes, strict=True)
            ]
            constant = [np.tile(each, (len(table), 1)) for each in shares]
            usual = [classes[int(np.argmax(each))] for classes, each in zip(self.classes, shares, strict=True)]
            against = f"always {', '.join(map(repr, usual))}, the most frequent here"
        else:
            answers = list(self._answers(inputs).T)
            quantile = self.network.loss.options.get("quantile")
            best = [best_constant(column, quantile, w) for column in truth.T]
            constant = [np.full(len(table), number) for number in best]
            against = f"always {constant_name(quantile)} here, {', '.join(map(short_number, best))}"
        return Judged(targets, self._scores(truth, answers, w), self._scores(truth, constant, w), against)

    def _scores(self, truth: np.ndarray, answers: Sequence[np.ndarray], weights: np.ndarray | None) -> Scores:
        """The means of the columns' scores; but a row is right where all of its labels are, as in the estimator's score."""
        each = [
            scores_of(self.network.loss, self.task, column, answer, weights)
            for column, answer in zip(truth.T, answers, strict=True)
        ]
        scores: Scores = {}
        for name in each[0]:
            values = [column.get(name) for column in each]
            known = [value for value in values if value is not None]
            scores[name] = float(np.mean(known)) if len(known) == len(each) else None
        if self.classes:
            right = [answer.argmax(1) == column for column, answer in zip(truth.T, answers, strict=True)]
            scores["accuracy"] = float(np.average(np.all(right, axis=0), weights=weights))
        return scores

    def _truth(self, table: pd.DataFrame, targets: list[str]) -> np.ndarray:
        """Class numbers, or numbers, (rows, columns to predict)."""
        if not self.classes:
            columns = [numbers(column_of(table, name), name, "this model predicts numbers") for name in targets]
        else:
            given = zip(targets, self.classes, strict=True)
            columns = [class_numbers(column_of(table, name), name, classes) for name, classes in given]
        return np.column_stack(columns)

    def arrays(self, table: pd.DataFrame) -> Arrays:
        from glassprop.estimators.handover import batch_of

        names, targets = self.columns(table, wanted=True)
        truth = self._truth(table, targets)
        y = self._labels(truth) if self.classes else truth
        X = narrowed(matrix(table, names), names, self.parameters.dtype, table)
        given = X if self.input_names is None else pd.DataFrame(X, columns=names)
        return Arrays(*batch_of(self.model, given, y[:, 0] if y.shape[1] == 1 else y))

    def _labels(self, truth: np.ndarray) -> np.ndarray:
        """Class numbers as labels, which the estimator takes."""
        classes = self.model.classes_
        if not isinstance(classes, list):
            return truth if self.answers > 1 else classes[truth]  # each of several labels is 0 or 1
        return np.stack([each[column] for each, column in zip(classes, truth.T, strict=True)], axis=1)

    def names(self, table: pd.DataFrame) -> tuple[list[str], list[str] | None]:
        inputs, targets = self.columns(table, wanted=True)
        outputs = self.network.layers[-1]
        if len(targets) == outputs:
            return inputs, targets
        labels = [f"{name} = {label}" for name, classes in zip(targets, self.classes, strict=True) for label in classes]
        return inputs, labels if len(labels) == outputs else None

    def penalised(self, mass: float) -> Network:
        from glassprop.estimators.handover import batch_network

        return batch_network(self.model, mass)

    @property
    def step_options(self) -> dict[str, Any]:
        from glassprop.estimators.handover import step_options

        return step_options(self.model, self.parameters.dtype)

    def rule(self) -> tuple[Optimizer | None, int]:
        from glassprop.estimators.handover import rows_of_step

        return self.step_options.get("optimizer"), rows_of_step(self.model)
