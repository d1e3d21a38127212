"""Rows of a table as a saved model's network takes them: inputs and targets. It prints nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from glassprop.cli import options

if TYPE_CHECKING:
    import pandas as pd

    from glassprop.tables.model import Model


class Batch(NamedTuple):
    """Some rows of a table."""

    X: np.ndarray  # (rows, inputs), in the precision of the model's parameters
    Y: np.ndarray  # (rows, outputs), or (rows,) class numbers
    rows: np.ndarray  # their numbers in the table, from 0


def read_batch(model: Model, table: pd.DataFrame, row: int | None = None, rows: str | None = None, most: int = 0) -> Batch:
    """The row that ``--row`` names, or those of ``--rows``; else the first `most`, or all for 0."""
    from glassprop.tables.columns import matrix

    numbers = chosen_rows(len(table), row, rows, most)
    part = table.iloc[numbers]
    preparation, network, dtype = model.preparation, model.network, model.parameters.dtype
    if preparation is not None:
        preparation.check(part)
        Y = preparation.truth_of(part)
        if preparation.task == "regression":
            Y = (Y - preparation.target_mean) / preparation.target_scale
        return Batch(preparation.inputs_of(part, dtype), Y.astype(dtype), numbers)
    values, inputs = matrix(part, [str(name) for name in table.columns]).astype(dtype), network.layers[0]
    if values.shape[1] <= inputs:
        raise ValueError(
            f"the model was saved without a table: this one must hold {inputs} columns of inputs, then those of the targets; "
            f"it has {values.shape[1]}"
        )
    return Batch(np.ascontiguousarray(values[:, :inputs]), np.ascontiguousarray(values[:, inputs:]), numbers)


def chosen_rows(count: int, row: int | None, rows: str | None, most: int = 0) -> np.ndarray:
    """Row numbers, from 0, of a table of `count` rows."""
    if row is not None and rows is not None:
        raise ValueError("give --row or --rows, not both")
    if row is not None:
        rows = str(row)
    if rows is None:
        return np.arange(min(count, most or count))
    if ":" in rows:
        first, last = (part.strip() for part in rows.split(":", 1))
        if any(part and not part.isdecimal() for part in (first, last)):
            raise ValueError(f"--rows must be numbers with commas, or FIRST:LAST without the last; got {rows!r}")
        numbers: Any = np.arange(count)[int(first or 0) : int(last or count)]
    else:
        numbers = np.array(options.read_list("--rows", rows, int, "row numbers"), np.int64)
    wrong = numbers[(numbers < 0) | (numbers >= count)]
    if len(wrong) or not len(numbers):
        got = wrong[0] if len(wrong) else repr(rows)
        raise ValueError(
            f"--row{'s' if row is None else ''} must be from 0 to {count - 1}, as the table has {count} rows; got {got}"
        )
    return numbers
