"""Rows of a table as a saved model's network takes them: inputs and targets. It prints nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple
from zlib import crc32

import numpy as np

from glassprop.cli import options

if TYPE_CHECKING:
    import pandas as pd

    from glassprop.cli.models import Fitted


class Batch(NamedTuple):
    """Some rows of a table."""

    X: np.ndarray  # (rows, inputs), in the precision of the model's parameters
    Y: np.ndarray  # (rows, outputs), or (rows,) class numbers
    weights: np.ndarray | None  # (rows,)
    rows: np.ndarray  # their numbers in the table, from 0

    @property
    def mass(self) -> float:
        """Σ w."""
        return len(self.X) if self.weights is None else float(self.weights.sum())


def read_batch(model: Fitted, table: pd.DataFrame, row: int | None = None, rows: str | None = None, most: int = 0) -> Batch:
    """The row that ``--row`` names, or those of ``--rows``; else the first `most`, or all for 0."""
    from glassprop.tables.columns import some_rows

    numbers = chosen_rows(len(table), row, rows, most)
    return Batch(*model.arrays(some_rows(table, numbers)), numbers)


def parts_of_training(model: Fitted, table: pd.DataFrame) -> dict[str, np.ndarray]:
    """The numbers of the rows that were trained on, held out for stopping and for scores; none where this is another table.

    It is that of the training where the rows that were drawn then have the means and deviations that the model knows.
    """
    from glassprop.tables.columns import matrix, spread
    from glassprop.tables.preparation import split_rows

    preparation, training = model.preparation, model.training
    counts, fractions = training.get("rows") or {}, training.get("fractions") or {}
    if preparation is None or not counts or sum(counts.values()) != len(table):
        return {}
    classes = preparation.truth_of(table) if preparation.task == "classification" else None
    train, validation, test = split_rows(len(table), fractions["test"], fractions["validation"], training["seed"], classes)
    means, scales = spread(matrix(table, preparation.inputs)[train])
    apart = np.maximum(np.abs(means - preparation.means), np.abs(scales - preparation.scales))
    if (apart > 1e-9 * (np.abs(means) + scales)).any():  # another machine rounds in another order
        return {}
    return {"train": train, "validation": validation, "test": test}


def fingerprints(table: pd.DataFrame, inputs: Sequence[str], target: str, weights: str | None) -> dict[str, int]:
    """A checksum of every part of a table that training reads, to tell later which of them has changed."""
    from glassprop.tables.columns import column_of, matrix

    found = {
        "inputs": crc32(matrix(table, inputs).data),
        "target": crc32(column_of(table, target).to_csv(index=False).encode()),
    }
    return found | ({} if weights is None else {"weights": crc32(matrix(table, [weights]).data)})


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
        if last and int(first or 0) >= int(last):
            one = f"{int(first or 0)}:{int(first or 0) + 1}"
            raise ValueError(f"--rows FIRST:LAST is without the last, and {rows!r} names no row; {one} does")
    else:
        numbers = np.array(options.read_list("--rows", rows, int, "row numbers"), np.int64)
    wrong = numbers[(numbers < 0) | (numbers >= count)]
    if len(wrong) or not len(numbers):
        got = wrong[0] if len(wrong) else repr(rows)
        raise ValueError(
            f"--row{'s' if row is None else ''} must be from 0 to {count - 1}, as the table has {count} rows; got {got}"
        )
    return numbers
