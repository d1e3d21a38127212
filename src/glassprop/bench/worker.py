"""The process of one competitor at one task: ``python worker.py NAME TASK THREADS``. It answers in lines of JSON.

First comes ``{"ready": ...}``: seconds of import and first fit. Then for every line ``go`` on standard input it trains once
and answers ``{"seconds": ..., "steps": ..., "epochs": ...}``. At the input's end it says ``{"peak_bytes": ...}`` and ends.
While it waits it does nothing. It is run as a file, so that a peer's process does not hold glassprop's compiler, too.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any, TextIO

SAMPLE_SECONDS = 0.5


def _bare_package() -> None:
    """Let ``glassprop.bench`` be imported without the rest of the package."""
    package = ModuleType("glassprop")
    package.__path__ = [str(Path(__file__).resolve().parents[1])]
    sys.modules["glassprop"] = package


def _peak_bytes() -> int:
    """The most memory that this process has held; 0 where the system does not tell."""
    status = Path("/proc/self/status")
    if status.exists():  # Linux: ru_maxrss would begin with that of the process that started this one
        return next((1024 * int(line.split()[1]) for line in status.open() if line.startswith("VmHWM")), 0)
    try:
        import resource
    except ImportError:  # not a Unix
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def _own_output() -> TextIO:
    """Standard output for this protocol alone; what libraries print goes to standard error."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    return answers


def _prepare(name: str, task_name: str, threads: int) -> tuple[Any, Any, dict[str, Any]]:
    begun = time.perf_counter()
    from glassprop.bench.peers import PEERS  # for glassprop itself, this is the import
    from glassprop.bench.tasks import TASKS, draw_start, load

    for module in PEERS[name].imports:
        importlib.import_module(module)
    imported = time.perf_counter()
    task = TASKS[task_name]
    rows, start = load(task), draw_start(task, 0)
    prepared = time.perf_counter()
    peer = PEERS[name].make(task, rows, threads)
    peer.restart(start)
    peer.train(1)
    first = time.perf_counter()
    peer.settle(start)
    if rows.X_test is not None:
        peer.predict(rows.X_test)
    epochs = 0 if task.end else _epochs_of_a_sample(peer)
    facts = {"import_seconds": imported - begun, "first_fit_seconds": first - prepared, "form": peer.form}
    return peer, task, facts | {"epochs": epochs}


def _epochs_of_a_sample(peer: Any) -> int:
    """How many epochs take about `SAMPLE_SECONDS`, by runs of growing length: the first ones may be slow."""
    epochs = 1
    while True:
        begun = time.perf_counter()
        peer.train(epochs)
        share = (time.perf_counter() - begun) / SAMPLE_SECONDS
        if share > 0.25:
            return max(1, round(epochs / share))
        epochs *= max(2, min(10, int(0.5 / share)))


def _sample(peer: Any, task: Any, epochs: int, start: Any) -> dict[str, Any]:
    """Train once from the start: so many epochs, or the task's whole fit."""
    peer.restart(start)
    begun = time.perf_counter()
    if task.end:
        epochs = peer.fit()
    else:
        peer.train(epochs)
    return {"seconds": time.perf_counter() - begun, "epochs": epochs, "steps": epochs * task.steps}


def main(name: str, task_name: str, threads: str) -> None:
    """Answer until the input ends."""
    answers = _own_output()
    if threads == "1" and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    if name != "glassprop":
        _bare_package()
    peer, task, facts = _prepare(name, task_name, int(threads))
    from glassprop.bench.tasks import draw_start

    print(json.dumps({"ready": facts}), file=answers)
    for number, line in enumerate(sys.stdin):
        if line.strip() == "go":
            print(json.dumps(_sample(peer, task, facts["epochs"], draw_start(task, number))), file=answers)
    print(json.dumps({"peak_bytes": _peak_bytes()}), file=answers)


if __name__ == "__main__":
    sys.path[:] = sys.path[1:]  # else the files beside this one would be modules of their own
    main(*sys.argv[1:])
