"""Columns of a data frame as arrays of numbers, or an error that names the column, the row and what to do.

It knows one column or matrix at a time, not what is learned from it. Messages count rows from 1, below the line of names.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from glassprop.errors import nearest

#: Attributes of frames (``frame.attrs``): texts in a file that were taken for missing values, by column; and where rows of a
#: larger table are, their numbers there.
READ_AS_MISSING, ROWS = "read_as_missing", "rows_of_table"


def with_pandas(table: Any) -> Any:
    """A frame of polars as one of pandas, which all else takes; anything else as it is."""
    if type(table).__module__.split(".")[0] != "polars":
        return table
    import pandas as pd

    return pd.DataFrame({name: table[name].to_numpy() for name in table.columns})


def as_list(names: Sequence[str]) -> str:
    """Names of columns as --ignore takes them: with commas between them, and quoted where they hold any."""
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(names)
    return line.getvalue()


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
        near, spaced = nearest(name, names), _but_for_spaces([name], names)
        hint = spaced or (f", did you mean {near}?" if near else "")
        raise ValueError(f"{argument} must be a column of the table; got {name!r}{hint}; it has {names_there(names)}")


def check_columns(table: Any, inputs: Sequence[str], target: str | None = None) -> None:
    """Raise unless the table has all the columns; the message names those that are missing, and those that are there."""
    names = {str(column): None for column in table.columns}  # looked up fast, and in order
    wanted = [*([] if target is None else [target]), *inputs]
    absent = [repr(name) + " (the target)" * (name == target) for name in wanted if name not in names]
    if absent:
        which = f"{len(absent)} of the {len(wanted)} columns wanted:" if len(absent) > 1 else "the column"
        shown = ", ".join(absent[:5]) + (" ..." if len(absent) > 5 else "")
        spaced = _but_for_spaces([name for name in wanted if name not in names], list(names))
        raise ValueError(f"the table lacks {which} {shown}{spaced}; it has {names_there(list(names))}")


def _but_for_spaces(absent: Sequence[str], names: Sequence[str]) -> str:
    """Which of the names are the same as one that is absent but for spaces around them; else nothing."""
    bare = {name.strip() for name in absent}
    near = [repr(name) for name in names if name.strip() in bare]
    return f" (spaces count: there is {', '.join(near[:5])})" if near else ""


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
    labels = {str(label): place for place, label in enumerate(table.columns)}
    places = np.array([labels[name] for name in names], np.int64)
    dtypes = table.dtypes.tolist()
    plain = np.array([_is_plain(dtypes[place]) for place in places], bool)
    result = np.empty((len(table), len(names)))
    result[:, plain] = _plain_numbers(table, places[plain])
    plain[plain] = np.isfinite(result[:, plain]).all(0)  # the others are complained about below
    if not plain.all():
        check_all_complete(table, names)
    texts = [name for name, place in zip(names, places, strict=True) if not _is_numeric(dtypes[place])]
    if len(texts) > 1:
        advice += f"; {len(texts)} columns hold text: {as_list(texts)}"
    for i in np.flatnonzero(~plain).tolist():
        result[:, i] = numbers(table.iloc[:, places[i]], names[i], advice)
    return result


def _plain_numbers(table: Any, places: np.ndarray) -> np.ndarray:
    """Columns of plain numbers as float64, (rows, columns), at once: one by one, thousands would take most of the time."""
    if not len(places):
        return np.empty((len(table), 0))
    chosen = table if np.array_equal(places, np.arange(len(table.columns))) else table.iloc[:, places]
    return chosen.to_numpy(np.float64)


def numbers(column: Any, name: str, advice: str) -> np.ndarray:
    """A column as float64, (rows,); raises for text, missing values and infinity. Truth values count as 0 and 1."""
    import pandas as pd

    series = pd.Series(column)
    check_complete(column, name)
    if not _is_numeric(series):
        series = _parsed(column, series, name, advice)
    if pd.api.types.is_complex_dtype(series):
        raise ValueError(f"column {name!r} must hold real numbers; it holds {series.dtype}")
    values = series.to_numpy(np.float64)
    if not np.isfinite(values).all():
        row = row_text(int(np.argmax(~np.isfinite(values))), column)
        raise ValueError(
            f"column {name!r} holds infinity in {row}, or a number too large for float64: correct it, or leave the row out"
        )
    return values


def _parsed(column: Any, series: Any, name: str, advice: str) -> Any:
    """The numbers that texts are."""
    import pandas as pd

    try:
        parsed = pd.to_numeric(series, errors="coerce")
    except OverflowError:  # of whole numbers, which Python has of any size
        parsed = pd.to_numeric(series.astype(str), errors="coerce").astype(np.float64)
    if parsed.isna().any():
        row = int(np.argmax(parsed.isna().to_numpy()))
        raise ValueError(
            f"column {name!r} must hold numbers; it holds {short(series.iloc[row])} in {row_text(row, column)}: "
            f"{with_point(series.iloc[row]) or advice}"
        )
    return parsed


def narrowed(values: np.ndarray, names: Sequence[str], dtype: Any, rows: Any = None) -> np.ndarray:
    """Columns of float64, (rows,) or (rows, columns), as `dtype`; raises for a number that it does not hold.

    `rows` is the table that they are of, or their numbers there.
    """
    with np.errstate(over="ignore"):
        result = values.astype(dtype)
    if not np.isfinite(result).all():
        row, *column = np.argwhere(~np.isfinite(result))[0].tolist()
        where = row_text(int(rows[row])) if isinstance(rows, np.ndarray) else row_text(row, rows)
        precision = np.dtype(dtype).name
        single = precision == "float32"
        advice = "leave the row out, or train with --precision float64" if single else "or leave the row out"
        raise ValueError(
            f"column {names[sum(column)]!r} holds a number in {where} that is too large for a network in {precision}: correct "
            f"it, {advice}"
        )
    return result


def row_text(number: int, table: Any = None) -> str:
    """A row by its number from 0, as messages name it; of some rows of a larger table (`some_rows`), by its number there."""
    numbers = getattr(table, "attrs", {}).get(ROWS)
    return f"row {(number if numbers is None else numbers[number]) + 1} (counted from 1 below the column names)"


def some_rows(table: Any, numbers: np.ndarray) -> Any:
    """The rows of a frame that have these numbers, from 0, by which messages go on to name them."""
    chosen = table.iloc[numbers]
    chosen.attrs[ROWS] = numbers
    return chosen


def check_all_complete(table: Any, names: Sequence[str]) -> None:
    """Raise where values are missing in any of the columns, and name all of these."""
    labels = {str(label): place for place, label in enumerate(table.columns)}
    having = set(with_gaps(table, np.unique([labels[name] for name in names])))
    gaps = [name for name in names if labels[name] in having]
    if gaps:
        others = f"; {len(gaps)} columns have missing values: {as_list(gaps)}" if len(gaps) > 1 else ""
        check_complete(table.iloc[:, labels[gaps[0]]], gaps[0], others)


def with_gaps(table: Any, places: np.ndarray) -> list[int]:
    """At which of these places columns have missing values."""
    dtypes = table.dtypes.tolist()
    plain = np.array([_is_plain(dtypes[place]) for place in places], bool)
    missing = np.zeros(len(dtypes), bool)
    missing[places[plain]] = np.isnan(_plain_numbers(table, places[plain])).any(0)
    missing[places[~plain]] = table.iloc[:, places[~plain]].isna().any().to_numpy(bool)
    return [int(place) for place in np.flatnonzero(missing)]


def check_complete(column: Any, name: str, others: str = "") -> None:
    """Raise where values are missing."""
    import pandas as pd

    gaps = pd.isna(column).to_numpy()
    if gaps.any():
        count, first = int(gaps.sum()), row_text(int(np.argmax(gaps)), column)
        texts = getattr(column, "attrs", {}).get(READ_AS_MISSING, {}).get(name, [])
        read = f" ({' and '.join(map(repr, texts))} {'are' if len(texts) > 1 else 'is'} read as missing)" if texts else ""
        raise ValueError(
            f"column {name!r} has {count} missing value{'s' if count > 1 else ''}{read}, the first in {first}: "
            f"fill in or leave out such rows or the column{', or write another word' if texts else ''}{others}"
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


def _is_plain(dtype: Any) -> bool:
    """Whether columns of it are real numbers or truth values as NumPy has them."""
    return isinstance(dtype, np.dtype) and dtype.kind in "fiub"


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
