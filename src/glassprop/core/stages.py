"""Machine code of a precision: the stages of a step as kernels, and who compiles them and the entry in a first run.

A second process does a part of it, which then lies on disk for this one. Where anything is wrong with that process, this one
compiles all by itself.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from glassprop.core.backward import backward
from glassprop.core.blocks import gradient, update, update_by_columns
from glassprop.core.forward import forward
from glassprop.core.in_place import add_dots, multiply_in_place
from glassprop.core.jit import available_threads, compile_entry, keeps_code, kernel, must_compile
from glassprop.core.layout import LAYER
from glassprop.core.panels import gather_rows
from glassprop.core.parts import (
    multiply_by_columns,
    multiply_by_rows,
    pair_block,
    pair_errors,
    pair_input,
    pair_units,
)
from glassprop.core.plan import BATCH, PLAN, PROGRESS
from glassprop.core.portions import add_by_columns, add_by_rows
from glassprop.core.sparse import collect_columns, gather_sparse_rows, multiply_rows
from glassprop.core.step import batch_losses, run

#: The stages of a step, but for those needed last: kernels by the name of their address in the plan, and their arguments in the
#: letters of `kernel`.
STAGES: dict[str, tuple[Callable, str]] = {
    "do_gather": (gather_rows, "PLBu"),
    "do_forward": (forward, "PLBu"),
    "do_losses": (batch_losses, "PLBu"),
    "do_update": (update, "PLBu"),
    "do_backward": (backward, "PLBu"),
}
#: Those that a second process compiles in a first run, and then the entry: they are needed last.
LAST_STAGES: dict[str, tuple[Callable, str]] = {
    "do_gradient": (gradient, "PLBu"),
}
#: Those of a sparse X, in place of the ones above or beside them.
SPARSE_STAGES: dict[str, tuple[Callable, str]] = {
    "do_gather": (gather_sparse_rows, "PLBu"),
    "do_collect": (collect_columns, "PLBu"),
}
#: Those of its predictions.
ROW_STAGES: dict[str, tuple[Callable, str]] = {
    "do_gather": (multiply_rows, "PLBu"),
}
#: That of sums of the gradient, which read it by columns, too.
COLUMN_STAGES: dict[str, tuple[Callable, str]] = {
    "do_update": (update_by_columns, "PLBu"),
}
#: Those of predictions that read X where it lies, and of single rows.
IN_PLACE_STAGES: dict[str, tuple[Callable, str]] = {
    "do_gather": (multiply_in_place, "PLBu"),
    "add_dots": (add_dots, "PRRBnnu"),
}
#: Those of operands in parts of bfloat16, within the ones above.
PARTS_STAGES: dict[str, tuple[Callable, str]] = {
    "do_pair_input": (pair_input, "PRBppnnnu"),
    "do_pair_units": (pair_units, "PRBnnnu"),
    "do_pair_errors": (pair_errors, "PRBu"),
    "do_pair_block": (pair_block, "PRBnnpu"),
    "do_rows": (multiply_by_rows, "PRRBnnnnu"),
    "do_columns": (multiply_by_columns, "PRRBnnnnu"),
}
#: Those of products in portions of numbers as they are.
PORTION_STAGES: dict[str, tuple[Callable, str]] = {
    "add_rows": (add_by_rows, "PRRBnnnnu"),
    "add_columns": (add_by_columns, "PRRBnnnnu"),
}
_TABLES = {
    "": STAGES,
    "last": LAST_STAGES,
    "sparse": SPARSE_STAGES,
    "rows": ROW_STAGES,
    "columns": COLUMN_STAGES,
    "in_place": IN_PLACE_STAGES,
    "parts": PARTS_STAGES,
    "portions": PORTION_STAGES,
}
_RECORDS = {"P": PLAN, "L": [LAYER], "R": LAYER, "B": BATCH}
_stages: dict[tuple[str, str], dict[str, int]] = {}
_prepared: set[str] = set()  # precisions
_second: list[subprocess.Popen[bytes]] = []  # the second process, while it is at work
LONGEST = 120  # seconds that it is waited for


def stages(dtype: np.dtype, of: str = "") -> dict[str, int]:
    """Address of every stage, by its name in the plan; or of those that a table of their own adds or changes."""
    key = np.dtype(dtype).name, of
    if key not in _stages:
        _stages[key] = {
            stage: kernel(body, f"{stage}-{of}" if of else stage, dtype, takes, records=_RECORDS)
            for stage, (body, takes) in _TABLES[of].items()
        }
    return _stages[key]


def _arguments(dtype: np.dtype) -> tuple[Any, ...]:
    """What the entry is called with in a precision, as far as the compiler looks at it."""
    return np.zeros(1, PLAN), np.zeros(1, PROGRESS), np.zeros(1, LAYER), np.zeros(1, BATCH), 0, 0, 0, 0, dtype.type(1)


def will_compile(dtype: np.dtype) -> bool:
    """Whether the next call in this precision has to compile first, since machine code is neither in memory nor on disk."""
    return must_compile(run, *_arguments(dtype))


def prepare(dtype: np.dtype) -> None:
    """Before the first use of a precision: where it has to be compiled, say so in one line, and start the second process."""
    if dtype.name in _prepared:
        return
    _prepared.add(dtype.name)
    if will_compile(dtype):
        print("glassprop: compiling for this machine, once; it takes a few seconds", file=sys.stderr, flush=True)
        if available_threads() > 1 and keeps_code(run):
            _start_second(f"from glassprop.core.stages import compile_last; compile_last({dtype.name!r})")


def last_stages(dtype: np.dtype) -> dict[str, int]:
    """The stages that are needed last, which another process may be compiling, when all else is there; and the entry."""
    while _second:
        process = _second.pop()
        try:
            process.wait(LONGEST)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    if (dtype.name, "last") not in _stages:
        stages(dtype, "last")
        compile_entry(run, *_arguments(dtype))  # here, where Ctrl-C is heard, and not in several threads at once
    return stages(dtype, "last")


def compile_last(name: str) -> None:
    """What the second process does for a precision."""
    dtype = np.dtype(name)
    stages(dtype, "last")
    compile_entry(run, *_arguments(dtype))


def _start_second(statement: str) -> None:
    interpreter = sys.executable or ""
    if getattr(sys, "frozen", False) or not os.path.basename(interpreter).lower().startswith("python"):
        return  # it would start the whole application again
    silent = subprocess.DEVNULL
    try:
        code = f"import sys; sys.path[:] = {sys.path!r}; {statement}"
        _second.append(subprocess.Popen([interpreter, "-c", code], stdin=silent, stdout=silent, stderr=silent))
    except OSError:  # no memory for it, or no right to start it
        pass
