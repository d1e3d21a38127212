"""Tables from files and by name, as pandas data frames. It knows files, not what a column means for training."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import os
import re
import sys
import zlib
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from glassprop.errors import unknown_name
from glassprop.files import missing_file
from glassprop.tables.columns import READ_AS_MISSING, row_text, with_gaps, without_names

if TYPE_CHECKING:
    import pandas as pd

#: Tables that come with scikit-learn, read as ``sklearn:NAME``.
READY = ("iris", "wine", "breast_cancer", "digits", "diabetes")
READY_PREFIX = "sklearn:"
READY_TARGET = "target"
STANDARD_INPUT = "-"
#: What files of tables are called.
ENDINGS = (".csv", ".tsv", ".txt", ".gz")


def read_table(source: str | os.PathLike[str]) -> pd.DataFrame:
    """Read a table with a line of column names.

    Parameters
    ----------
    source : str or path
        A CSV file in UTF-8 (separated by commas, semicolons, tabs or bars; ``.gz`` too), ``-`` for one on standard input, or
        ``sklearn:NAME`` for a table that comes with scikit-learn: iris, wine, breast_cancer, digits, diabetes. Their target
        column is called ``target``.

    Returns
    -------
    pandas.DataFrame

    Raises
    ------
    FileNotFoundError
        Where there is no such file.
    ValueError
        Where the file is empty, has no rows or is not a CSV file, or there is no ready table of that name.

    Examples
    --------
    >>> from glassprop.tables.reading import read_table
    >>> read_table("sklearn:iris").shape
    (150, 5)
    """
    name = os.fspath(source)
    if name.startswith(READY_PREFIX):
        return _ready_table(name.removeprefix(READY_PREFIX))
    if name == STANDARD_INPUT:
        return _read_csv(name, sys.stdin.buffer.read())
    if not Path(name).exists():
        if name in READY:
            raise FileNotFoundError(f"{name}: no such file; did you mean {READY_PREFIX + name!r}?")
        raise missing_file(name, endings=ENDINGS)
    if Path(name).is_dir():
        raise IsADirectoryError(f"{name}: is a folder; give a CSV file")
    data = Path(name).read_bytes()
    return _read_csv(name, _unpacked(name, data) if name.endswith(".gz") else data)


def default_target(source: str | os.PathLike[str]) -> str | None:
    """The target column of a ready table; None for a file, where only its owner knows."""
    return READY_TARGET if os.fspath(source).startswith(READY_PREFIX) else None


def _ready_table(name: str) -> pd.DataFrame:
    if name not in READY:
        raise unknown_name("a table from scikit-learn", name, READY)
    from sklearn import datasets

    bunch = getattr(datasets, f"load_{name}")(as_frame=True)
    table = bunch.frame
    labels = [str(label) for label in bunch.get("target_names", ())]
    if labels and not all(label.isdecimal() for label in labels):
        table[READY_TARGET] = [labels[number] for number in bunch.target]
    return table


def _unpacked(name: str, data: bytes) -> bytes:
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        reason = str(error).removeprefix("Compressed file ").strip() or "it is empty"
        raise ValueError(f"{name}: not a whole gzip file ({reason})") from None


def _read_csv(name: str, data: bytes) -> pd.DataFrame:
    import pandas as pd

    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise ValueError(f'{name}: not a CSV file in UTF-8 (it is in UTF-16, Excel\'s "Unicode text"); save it as UTF-8')
    if b"\0" in data[:65536]:
        raise ValueError(f"{name}: not a CSV file (it holds bytes that are not text)")
    try:
        header = data[:65536].partition(b"\n")[0].decode("utf-8-sig", errors="replace")
        if re.match(r'\s*[\[{]\s*([\[{"]|$)', header):
            raise ValueError(f"{name}: not a CSV file (it looks like JSON)")
        separator = _separator(header)
        table = pd.read_csv(io.BytesIO(data), sep=separator, low_memory=False)
        first = pd.read_csv(io.BytesIO(data), sep=separator, header=None, nrows=1, dtype=str, keep_default_na=False)
    except pd.errors.EmptyDataError:
        raise ValueError(f"{name}: the file is empty; a table has a line of column names and rows below it") from None
    except pd.errors.ParserError as error:
        reason = str(error).split("C error: ")[-1].strip().replace("saw", "found")
        raise ValueError(f"{name}: not a CSV table ({reason})") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{name}: not a CSV file in UTF-8 ({error.reason} at byte {error.start}); save it as UTF-8") from None
    if not isinstance(table.index, pd.RangeIndex):
        raise ValueError(f"{name}: not a CSV table (the rows have more fields than the first line has column names)")
    _check_names(name, first.iloc[0].tolist())
    if table.iloc[:, -1].isna().any():
        _check_lengths(name, data, separator, len(table.columns))
    if table.empty:
        raise ValueError(f"{name}: the table has no rows, only column names")
    table.columns = table.columns.astype(str)
    _keep_read_as_missing(table, data, separator)
    return table


def _keep_read_as_missing(table: pd.DataFrame, data: bytes, separator: str) -> None:
    """Note the texts, such as None, that pandas takes for missing values: one may be the name of a class."""
    import pandas as pd

    places = with_gaps(table, np.arange(len(table.columns)))
    if not places:
        return
    fields = pd.read_csv(io.BytesIO(data), sep=separator, usecols=places, dtype=str, keep_default_na=False)
    found = {}
    for number, place in enumerate(places):
        texts = fields.iloc[:, number][table.iloc[:, place].isna().to_numpy()].unique()
        found[str(table.columns[place])] = [text for text in texts if text]
    table.attrs[READ_AS_MISSING] = {name: texts for name, texts in found.items() if texts}


def _check_names(file: str, names: list[str]) -> None:
    """pandas would call the second of two columns a ``a.1``."""
    for name in names:
        if name and names.count(name) > 1:
            advice = without_names(names) or "; rename all but one"
            raise ValueError(f"{file}: {names.count(name)} columns are named {name!r}{advice}")


def _check_lengths(file: str, data: bytes, separator: str, columns: int) -> None:
    """pandas would call the fields that a row lacks missing values."""
    lines = csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""), delimiter=separator)
    rows = (fields for fields in lines if any(field.strip() for field in fields) or len(fields) > 1)
    with suppress(csv.Error):  # a field too long for it, which pandas has read
        for number, fields in enumerate(rows, -1):
            if len(fields) < columns:
                has = f"{row_text(number)} has {len(fields)} of the {columns} fields"
                raise ValueError(f"{file}: {has}: fill it up, or leave it out")


def _separator(header: str) -> str:
    """The separator that occurs most often in the first line, outside quotes; a comma where none does."""
    bare = re.sub(r'"[^"]*"', "", header)
    return max(",;\t|", key=bare.count)
