"""Where the measurements run: the data, one thread, and what a table has to state. It measures nothing."""

from __future__ import annotations

import datetime
import os
import platform
import sys
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS", "NUMBA_NUM_THREADS")


def one_thread() -> None:
    """Hold this process, and those that it starts, to one thread. Call it before numpy is imported."""
    os.environ.update(dict.fromkeys(THREADS, "1"))


def data_root() -> Path:
    """The folder of all data sets, which may be absent."""
    given = os.environ.get("GLASSPROP_DATA")
    return Path(given) if given else ROOT.parent / "shared" / "data"


def data_folder(name: str) -> Path | None:
    """The folder of a data set, below GLASSPROP_DATA or ../shared/data; None, said on standard error, where it is absent."""
    folder = data_root() / name
    if folder.is_dir():
        return folder
    say(f"no data: {name}/ is in neither the folder named by GLASSPROP_DATA nor ../shared/data; its figures stay as they are")
    return None


def say(text: str) -> None:
    """Progress, which belongs on standard error."""
    print(text, file=sys.stderr, flush=True)


def machine() -> dict[str, str]:
    """What every table states about where and when it was measured."""
    from glassprop.bench.machine import processor  # imports numpy

    packages = {name: version(name) for name in ("glassprop", "numba", "numpy")}
    return {"processor": processor(), "python": platform.python_version(), **packages, "date": str(datetime.date.today())}


def statement(facts: dict[str, str], threads: int = 1) -> str:
    """The line under a table of measurements on so many threads, and on fewer, perhaps."""
    share = "one thread" if threads == 1 else f"up to {threads} threads"
    packages = ", ".join(f"{name} {facts[name]}" for name in ("glassprop", "numba", "numpy"))
    return f"*Measured on {facts['date']}, {share} of {facts['processor']}; Python {facts['python']}, {packages}.*"


def markdown(header: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """A table in Markdown, numbers to the right of the first column."""
    header = list(header)
    lines = [header, ["---"] + ["--:"] * (len(header) - 1), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)
