"""What stands between a table and a network: columns standardised, classes numbered, and the way back.

It knows the columns, the classes and the units of one target, learnt from the training rows alone; not the network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from glassprop.core.losses import Loss, get_loss
from glassprop.core.network import Network
from glassprop.errors import is_whole
from glassprop.tables.columns import (
    check_all_complete,
    check_column,
    check_columns,
    check_complete,
    check_frame,
    column_of,
    distinct,
    matrix,
    narrowed,
    numbers,
    row_text,
    short,
    spread,
    with_point,
)
from glassprop.tables.metrics import best_constant, constant_name, short_number
from glassprop.training.data import held_out_rows

CLASS_LOSSES = ("cross_entropy", "binary_cross_entropy")
STANDARDISED_LOSSES = ("half_squared_error", "absolute_error", "huber", "quantile")
MOST_CLASSES = 20  # whole numbers are taken for classes up to here,
CLASS_SHARE = 0.05  # and up to this share of the rows


@dataclass(frozen=True)
class Preparation:
    """How rows of a table become inputs and targets, and outputs become predictions. All of it is plain data.

    Attributes
    ----------
    inputs : tuple of str
        The input columns, in the network's order.
    means, scales : tuple of float
        An input is (value − mean) / scale.
    target : str
    task : {"classification", "regression"}
    classes : tuple
        In the order of the outputs; empty for regression.
    class_shares : tuple of float
        Their shares of the training rows.
    target_mean, target_scale : float
        A regression target is (value − mean) / scale for the network.
    center : float
        Mean of the target over the training rows, for the quantile loss its quantile; 0 for classification.
    """

    inputs: tuple[str, ...]
    means: tuple[float, ...]
    scales: tuple[float, ...]
    target: str
    task: str
    classes: tuple[Any, ...] = ()
    class_shares: tuple[float, ...] = ()
    target_mean: float = 0.0
    target_scale: float = 1.0
    center: float = 0.0

    def __post_init__(self) -> None:
        if not len(self.inputs) == len(self.means) == len(self.scales):
            raise ValueError(f"{len(self.inputs)} inputs need as many means and scales")

    def check(self, table: Any) -> None:
        """Raise unless the table has the target and all inputs: of a table for another model, all is named at once."""
        check_frame(table)
        check_columns(table, self.inputs, self.target)

    def inputs_of(self, table: Any, dtype: Any) -> np.ndarray:
        """(rows, inputs) for the network, from a data frame (columns by name) or an array (columns in order)."""
        if hasattr(table, "columns"):
            return narrowed(standardised(matrix(table, self.inputs), self.means, self.scales), self.inputs, dtype, table)
        values = np.asarray(table)
        if values.ndim != 2 or values.shape[1] != len(self.inputs):
            raise ValueError(f"table must be (rows, {len(self.inputs)}), or a data frame; got shape {values.shape}")
        if values.dtype.kind not in "fiub":
            raise ValueError(f"table must hold numbers; got {values.dtype}")
        return standardised(values, self.means, self.scales).astype(dtype)

    def truth_of(self, table: Any) -> np.ndarray:
        """The target column: class numbers, or numbers in their own units."""
        check_frame(table)
        check_columns(table, (), self.target)
        column = column_of(table, self.target)
        if self.task == "regression":
            return numbers(column, self.target, "this model predicts numbers")
        return class_numbers(column, self.target, self.classes)

    def targets_of(self, table: Any, dtype: Any) -> np.ndarray:
        """The target column as the network is to learn it, (rows,): class numbers, or numbers standardised."""
        truth = self.truth_of(table)
        if self.task == "classification":
            return truth.astype(dtype)
        return narrowed(standardised(truth, self.target_mean, self.target_scale), [self.target], dtype, table)

    def baseline_text(self, loss: Loss) -> str:
        """What the baseline of `Model.baseline` answers."""
        if self.task == "regression":
            return f"always {constant_name(loss.options.get('quantile'))}, {short_number(self.center)}"
        return f"always {self.classes[int(np.argmax(self.class_shares))]!r}"

    def describe(self) -> dict[str, Any]:
        """As plain data, for files."""
        return asdict(self)

    @classmethod
    def from_description(cls, description: dict[str, Any]) -> Preparation:
        """The reverse of `describe`."""
        values = {item.name: description[item.name] for item in fields(cls)}
        arguments: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
        return cls(**arguments)


@dataclass(frozen=True)
class Part:
    """Rows of a table as training takes them."""

    rows: np.ndarray  # their numbers in the table
    X: np.ndarray  # (rows, inputs)
    Y: np.ndarray  # (rows,): class numbers, or standardised numbers
    weights: np.ndarray | None  # (rows,)


@dataclass(frozen=True)
class Prepared:
    """A table made ready: its parts, the loss, and what was decided.

    Attributes
    ----------
    preparation : Preparation
    loss : Loss
    train : Part
    validation, test : Part or None
        Rows held out; None where the fraction is 0.
    reason : str
        Why the task is what it is.
    """

    preparation: Preparation
    loss: Loss
    train: Part
    validation: Part | None
    test: Part | None
    reason: str

    def network(self, hidden: Sequence[int] = (64, 64), **options: Any) -> Network:
        """A network with these hidden layers for the table; `options` as of `Network`."""
        classes = len(self.preparation.classes)
        outputs = classes if self.loss.name == "cross_entropy" else 1
        return Network((len(self.preparation.inputs), *hidden, outputs), loss=self.loss, **options)


def prepare(
    table: Any,
    target: str,
    *,
    loss: str | Loss | None = None,
    weights: str | None = None,
    ignore: Sequence[str] = (),
    validation: float = 0.0,
    test: float = 0.0,
    seed: int = 0,
    dtype: Any = "float32",
) -> Prepared:
    """Make a table of numbers ready for training.

    Input columns are standardised by mean and standard deviation of the training rows; classes are numbered in sorted order; a
    number to predict is standardised for half_squared_error, absolute_error, huber and quantile.

    Parameters
    ----------
    table : data frame
        Columns of numbers without gaps; the target may be text.
    target : str
        The column to predict.
    loss : str or Loss, optional
        None decides by the target: cross_entropy for text, truth values, two whole numbers, or few (at most 20, and at most 5 %
        of the rows); half_squared_error otherwise.
    weights : str, optional
        A column of row weights.
    ignore : sequence of str
        Columns to leave out.
    validation, test : float
        Fractions of the rows held out: for stopping, and for judging. Drawn by `seed`, from every class in proportion.
        `validation` is of what `test` leaves.
    dtype : dtype
        float32 or float64.

    Raises
    ------
    ValueError
        For columns that are not there, hold text or have gaps, a target with one value only, too few rows.

    Examples
    --------
    >>> import glassprop as gp
    >>> from glassprop.tables.model import Model
    >>> from glassprop.tables.preparation import prepare
    >>> from glassprop.tables.reading import read_table
    >>> table = read_table("sklearn:iris")
    >>> ready = prepare(table, "target", test=0.2)
    >>> run = gp.train(ready.network((16,)), ready.train.X, ready.train.Y, epochs=50, seed=0)
    >>> model = Model(run.network, run.parameters, ready.preparation)
    >>> model.evaluate(table.iloc[ready.test.rows])["accuracy"] > 0.8
    True
    """
    check_frame(table)
    check_column(table, target, "target")
    for name, argument in ((weights, "weights"), *((name, "ignore") for name in ignore)):
        if name is not None:
            check_column(table, name, argument)
            if name == target:
                raise ValueError(f"{argument} must be another column than the target {target!r}")
    inputs = [str(name) for name in table.columns if str(name) not in (target, weights, *ignore)]
    if not inputs:
        raise ValueError("the table has no input columns: all are target, weights or ignored")
    check_all_complete(table, [target, *([] if weights is None else [weights]), *inputs])
    task, chosen, reason = decide_task(column_of(table, target), target, loss)
    values = matrix(table, inputs, "leave it out (--ignore), or turn it into numbers first")
    row_weights = None if weights is None else _weights(column_of(table, weights), weights)
    classes: list[Any] = []
    if task == "classification":
        classes, truth = _classes(column_of(table, target), target, chosen)
    else:
        truth = _target_numbers(column_of(table, target), target, chosen)
    parts = split_rows(len(table), test, validation, seed, truth if task == "classification" else None)
    train = parts[0]
    _check_left(truth[train], len(table), classes)
    means, scales = spread(values[train])
    details: dict[str, Any] = {}
    if task == "classification":
        shares = np.bincount(truth[train], minlength=len(classes)) / len(train)
        details = {"classes": tuple(classes), "class_shares": tuple(shares.tolist())}
    else:
        mean, scale = (float(number[0]) for number in spread(truth[train][:, None]))
        details = {"center": best_constant(truth[train], chosen.options.get("quantile"))}
        if chosen.name in STANDARDISED_LOSSES:
            details |= {"target_mean": mean, "target_scale": scale}
            truth = standardised(truth, mean, scale)
    preparation = Preparation(tuple(inputs), tuple(means.tolist()), tuple(scales.tolist()), target, task, **details)

    def part(rows: np.ndarray) -> Part | None:
        if not len(rows):
            return None
        X = narrowed(standardised(values[rows], means, scales), inputs, dtype, rows)
        Y = narrowed(truth[rows], [target], dtype, rows)
        return Part(rows, X, Y, None if row_weights is None else narrowed(row_weights[rows], [str(weights)], dtype, rows))

    first = part(train)
    assert first is not None
    return Prepared(preparation, chosen, first, part(parts[1]), part(parts[2]), reason)


def standardised(values: np.ndarray, means: Any, scales: Any) -> np.ndarray:
    """(value − mean) / scale, by column; infinity where float64 does not hold it, which `narrowed` complains about."""
    with np.errstate(over="ignore"):
        return (values - np.asarray(means)) / np.asarray(scales)


def class_numbers(column: Any, name: str, classes: Sequence[Any]) -> np.ndarray:
    """The number among `classes`, (rows,), of each label in a column; raises for a label that is none of them."""
    check_complete(column, name)
    found, codes = distinct(column)
    places = {value: number for number, value in enumerate(classes)}
    if found and isinstance(found[0], str) != isinstance(classes[0], str):
        places = {str(value): number for value, number in places.items()}
        found = [str(value) for value in found]
    unknown = [value for value in found if value not in places]
    if unknown:
        row = int(np.argmax(codes == found.index(unknown[0])))
        shown = ", ".join(repr(value) for value in classes[:10]) + (" ..." if len(classes) > 10 else "")
        raise ValueError(
            f"column {name!r} holds {unknown[0]!r} in {row_text(row, column)}, which is none of the model's classes: {shown}"
        )
    return np.array([places[value] for value in found], np.int64)[codes]


def decide_task(column: Any, name: str, loss: str | Loss | None) -> tuple[str, Loss, str]:
    """Task, loss and the reason: by the loss where it is given, else by the target column."""
    import pandas as pd

    check_complete(column, name)
    series = pd.Series(column)
    if loss is not None:
        chosen = get_loss(loss)
        return "classification" if chosen.name in CLASS_LOSSES else "regression", chosen, f"the loss is {chosen.name}"
    classify, regress = get_loss("cross_entropy"), get_loss("half_squared_error")
    if pd.api.types.is_bool_dtype(series):
        return "classification", classify, f"{name!r} holds truth values"
    if not pd.api.types.is_numeric_dtype(series):
        return "classification", classify, f"{name!r} holds text"
    whole = numbers(series, name, "") % 1 == 0
    count = int(series.nunique())
    if whole.all() and count <= max(2, min(MOST_CLASSES, CLASS_SHARE * len(series))):
        return "classification", classify, f"{name!r} holds {count} different whole numbers"
    return "regression", regress, f"{name!r} holds {count} different numbers"


def split_rows(
    rows: int, test: float, validation: float, seed: int, classes: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sorted row numbers of training, validation and test part."""
    if not is_whole(seed) or seed < 0:
        raise ValueError(f"seed must be a whole number of at least 0; got {seed!r}")
    for argument, fraction in (("test", test), ("validation", validation)):
        if not 0 <= fraction < 1:
            raise ValueError(f"{argument} must be a fraction, at least 0 and below 1; got {fraction!r}")
    if rows < 1 + (test > 0) + (validation > 0):
        raise ValueError(
            f"the table has {rows} row{'s' if rows > 1 else ''}: too few to hold any out; set test and validation to 0"
        )
    rest, parts = np.arange(rows), []
    for fraction in (test, validation):
        held = np.arange(0)
        if fraction:
            held = held_out_rows(len(rest), fraction, seed, None if classes is None else classes[rest])
        parts.append(rest[held])
        rest = np.delete(rest, held)
    return rest, parts[1], parts[0]


# --- inside --------------------------------------------------------------------------------------------------------------


def _lowest(values: np.ndarray) -> str:
    return f"{values.min():g} in {row_text(int(values.argmin()))}"


def _check_left(truth: np.ndarray, rows: int, classes: Sequence[Any]) -> None:
    if len(truth) == rows or truth.min() < truth.max():
        return
    left = "1 row is" if len(truth) == 1 else f"{len(truth)} rows are"
    alike = f", all of {classes[int(truth[0])]!r}" if classes else f", all {truth[0]:g}"
    raise ValueError(
        f"{left} left of {rows} to train on{alike if len(truth) > 1 else ''}, too few to learn from: hold out fewer "
        "(--test 0 for none), or give more rows"
    )


def _weights(column: Any, name: str) -> np.ndarray:
    values = numbers(column, name, "row weights are numbers of at least 0")
    if values.min() < 0:
        raise ValueError(f"column {name!r} must hold row weights of at least 0; it holds {_lowest(values)}")
    return values


def _classes(column: Any, name: str, loss: Loss) -> tuple[list[Any], np.ndarray]:
    found, codes = distinct(column)
    if len(found) == 1:
        hint = "" if isinstance(found[0], str) else "; to predict numbers choose the loss half_squared_error"
        raise ValueError(f"column {name!r} must hold at least two classes; all {len(codes)} rows are {found[0]!r}{hint}")
    if len(found) > max(2, len(codes) / 2):
        kind, advice = "numbers", "for regression choose the loss half_squared_error"
        if isinstance(found[0], str):
            kind, advice = f"texts, such as {short(found[0])}", max(map(with_point, found)) or "is it an identifier?"
        raise ValueError(
            f"column {name!r} cannot be learnt as classes: its {len(codes)} rows hold {len(found)} different {kind}: {advice}"
        )
    if loss.name == "binary_cross_entropy" and len(found) > 2:
        raise ValueError(
            f"loss 'binary_cross_entropy' needs a target of two classes; {name!r} has {len(found)}: use 'cross_entropy'"
        )
    return found, codes


def _target_numbers(column: Any, name: str, loss: Loss) -> np.ndarray:
    values = numbers(column, name, f"the loss {loss.name!r} needs a number to predict; for classes choose 'cross_entropy'")
    if values.min() == values.max():
        raise ValueError(f"column {name!r} must vary to be predicted; all {len(values)} rows are {values[0]:g}")
    if loss.targets == "nonnegative" and values.min() < 0:
        raise ValueError(f"column {name!r} must be at least 0 for loss {loss.name!r}; it holds {_lowest(values)}")
    return values
