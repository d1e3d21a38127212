"""Columns of a data frame as arrays of numbers, or an error that names the column, the row and what to do.

It knows one column or matrix at a time, not what is learned from it. Messages count rows from 1, below the line of names.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from glassprop.errors import nearest


def with_pandas(table: Any) -> Any:
    """A frame of polars as one of pandas, which all else takes; anything else as it is."""
    if type(table).__module__.split(".")[0] != "polars":
        return table
    import pandas as pd

    return pd.DataFrame({name: table[name].to_numpy() for name in table.columns})


def check_frame(table: Any) -> None:
    """Raise unless `table` is a data frame with rows and without two columns of one name."""
    if not hasattr(table, "columns"):
        raise TypeError(f"table must be a data frame (see glassprop.tables.reading.read_table); got {type(table).__name__}")
    if len(table) == 0:
        raise ValueError("the table has no rows")
    names = [str(name) for name in table.columns]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the table has two columns named {twice!r}; rename one")


def check_column(table: Any, name: str, argument: str) -> None:
    """Raise unless the table has the column, with the nearest name."""
    names = [str(column) for column in table.columns]
    if name not in names:
        near = nearest(name, names)
        hint = f", did you mean {near}?" if near else ""
        raise ValueError(f"{argument} must be a column of the table; got {name!r}{hint}; it has {names_there(names)}")


def check_columns(table: Any, inputs: Sequence[str], target: str | None = None) -> None:
    """Raise unless the table has all the columns; the message names those that are missing, and those that are there."""
    names = {str(column): None for column in table.columns}  # looked up fast, and in order
    wanted = [*([] if target is None else [target]), *inputs]
    absent = [repr(name) + " (the target)" * (name == target) for name in wanted if name not in names]
    if absent:
        which = f"{len(absent)} of the {len(wanted)} columns wanted:" if len(absent) > 1 else "the column"
        shown = ", ".join(absent[:5]) + (" ..." if len(absent) > 5 else "")
        raise ValueError(f"the table lacks {which} {shown}; it has {names_there(list(names))}")


def names_there(names: Sequence[str]) -> str:
    """The columns of a table, for the end of a message; with what to do where there is no line of names."""
    shown = names if len(names) <= 20 else [*names[:19], f"... ({len(names)} columns)"]
    return ", ".join(shown) + without_names(names)


def without_names(names: Sequence[str]) -> str:
    """What to do where most names of columns are numbers; else nothing."""
    advice = "; these look like numbers of a first row: put a line of column names above it"
    return advice if sum(map(_is_number, names)) > len(names) / 2 else ""


def column_of(table: Any, name: str) -> Any:
    """The column of this name, whose label may be a number."""
    return table[next(label for label in table.columns if str(label) == name)]


def matrix(table: Any, names: Sequence[str], advice: str = "turn it into numbers first") -> np.ndarray:
    """The named columns as float64, (rows, columns); raises for columns that are missing, hold text, or have gaps."""
    check_frame(table)
    check_columns(table, names)
    labels = {str(label): label for label in table.columns}
    check_all_complete(table, names)
    texts = [name for name in names if not _is_numeric(table[labels[name]])]
    if len(texts) > 1:
        advice += f"; {len(texts)} columns hold text: {','.join(texts)}"
    result = np.empty((len(table), len(names)))
    for i, name in enumerate(names):
        result[:, i] = numbers(table[labels[name]], name, advice)
    return result


def numbers(column: Any, name: str, advice: str) -> np.ndarray:
    """A column as float64, (rows,); raises for text, missing values and infinity. Truth values count as 0 and 1."""
    import pandas as pd

    series = pd.Series(column)
    if not _is_numeric(series):
        check_complete(series, name)
        parsed = pd.to_numeric(series, errors="coerce")
        if parsed.isna().any():
            row = int(np.argmax(parsed.isna().to_numpy()))
            raise ValueError(
                f"column {name!r} must hold numbers; it holds {short(series.iloc[row])} in {row_text(row)}: "
                f"{with_point(series.iloc[row]) or advice}"
            )
        series = parsed
    if pd.api.types.is_complex_dtype(series):
        raise ValueError(f"column {name!r} must hold real numbers; it holds {series.dtype}")
    check_complete(series, name)
    values = series.to_numpy(np.float64)
    if not np.isfinite(values).all():
        row = int(np.argmax(~np.isfinite(values)))
        raise ValueError(f"column {name!r} holds infinity in {row_text(row)}: correct it, or leave the row out")
    return values


def row_text(number: int) -> str:
    """A row by its number from 0, as messages name it."""
    return f"row {number + 1} (counted from 1 below the column names)"


def check_all_complete(table: Any, names: Sequence[str]) -> None:
    """Raise where values are missing in any of the columns, and name all of these."""
    columns = {str(label): table[label] for label in table.columns if str(label) in names}
    gaps = [name for name in names if columns[name].isna().any()]
    if gaps:
        others = f"; {len(gaps)} columns have missing values: {','.join(gaps)}" if len(gaps) > 1 else ""
        check_complete(columns[gaps[0]], gaps[0], others)


def check_complete(column: Any, name: str, others: str = "") -> None:
    """Raise where values are missing."""
    import pandas as pd

    gaps = pd.isna(column).to_numpy()
    if gaps.any():
        count, first = int(gaps.sum()), row_text(int(np.argmax(gaps)))
        raise ValueError(
            f"column {name!r} has {count} missing value{'s' if count > 1 else ''}, the first in {first}: "
            f"fill in or leave out such rows or the column{others}"
        )


def distinct(column: Any) -> tuple[list[Any], np.ndarray]:
    """The distinct values of a column, sorted, as Python's own numbers or text; and each row's place among them."""
    import pandas as pd

    series = pd.Series(column)
    whole = pd.api.types.is_float_dtype(series) and (series == series.round()).all()
    if whole and series.abs().max() < 2**63:
        series = series.astype(np.int64)
    codes, values = pd.factorize(series)
    found: list[Any] = [value.item() if isinstance(value, np.generic) else value for value in values]
    found = [value if isinstance(value, (int, float, str)) else str(value) for value in found]
    order = sorted(range(len(found)), key=lambda i: (isinstance(found[i], str), found[i]))
    rank = np.empty(len(found), np.int64)
    rank[order] = np.arange(len(found))
    return [found[i] for i in order], rank[codes]


def _is_numeric(column: Any) -> bool:
    from pandas.api import types

    return types.is_numeric_dtype(column) or types.is_bool_dtype(column)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def with_point(value: object) -> str:
    """What to do with a text that is a number but for commas, in decimals or between thousands; else nothing."""
    text = str(value)
    commas = "," in text and _is_number(text.replace(",", ""))
    return "write numbers as 1000.5, with a decimal point and without commas" if commas else ""


def short(value: object) -> str:
    """A value as messages show it."""
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "...'"


def spread(values: Iterable[float] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of every column of (rows, columns); 1 for the deviation of a constant column.

    Rounding leaves a constant column a deviation of a few units in the last place: below that it counts as constant.
    """
    array = np.asarray(values, np.float64)
    peak = np.abs(array).max(0)
    peak[peak == 0] = 1.0  # columns are brought to [-1, 1] first: squares of huge numbers overflow
    scaled = array / peak
    mean, deviation = scaled.mean(0), scaled.std(0)
    constant = deviation <= 10 * np.finfo(np.float64).eps * np.sqrt(len(array)) * np.maximum(np.abs(mean), deviation)
    return mean * peak, np.where(constant, 1.0, deviation * peak)
