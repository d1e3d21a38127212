"""The figures as rows of text, for the terminal and for Markdown. It measures nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from glassprop.bench.peers import PEERS
from glassprop.bench.tasks import TASKS

Result = dict[str, Any]  # what `compare` returns
Table = tuple[list[str], list[list[str]]]  # header, rows


def columns(results: Iterable[Result]) -> list[str]:
    """The competitors that took part in any result, in the order of their table."""
    taking_part = {name for result in results for name in result["figures"]}
    return [name for name in PEERS if name in taking_part]


def step_table(results: Sequence[Result]) -> Table:
    """Microseconds a step of every competitor, and what glassprop's come to; a row for each task and number of threads."""
    chosen = [result for result in results if not TASKS[result["task"]].end]
    names = columns(chosen)
    titles = [PEERS[name].title for name in names]
    rows = []
    for result in chosen:
        task, ours = TASKS[result["task"]], result["figures"].get("glassprop")
        cells = [_microseconds(result["figures"].get(name)) for name in names]
        of_peak = f"{ours['gflops']:.1f}, {100 * ours['of_peak']:.0f} %" if ours else "–"
        rows.append([f"{task.name}: {task.shape}", str(result["threads"]), *cells, ratio_text(result), of_peak])
    return ["task: layers, batch", "threads", *titles, "best peer ÷ glassprop", "GFLOP/s, of peak"], rows


def fit_table(results: Sequence[Result]) -> Table:
    """Seconds and epochs of whole fits; the ratio is of the time of an epoch, since luck decides when a fit ends."""
    chosen = [result for result in results if TASKS[result["task"]].end]
    names = columns(chosen)
    rows = []
    for result in chosen:
        task = TASKS[result["task"]]
        cells = [_fit(result["figures"].get(name)) for name in names]
        rows.append([f"{task.name}: {task.shape}", str(result["threads"]), *cells, ratio_text(result)])
    return ["fit: layers, batch", "threads", *(PEERS[name].title for name in names), "best peer ÷ glassprop"], rows


def long_table(results: Sequence[Result]) -> Table:
    """A row for each task, number of threads and competitor: narrow enough for a terminal."""
    rows = []
    for result in results:
        for name in columns([result]):
            found, ratio = result["figures"][name], result["ratios"].get(name)
            gflops = f"{found['gflops']:.2f}, {100 * found['of_peak']:.0f} %"
            mark = " unsteady" if found["unsteady"] else ""
            times = "" if ratio is None else f"{ratio:.2f}"
            rows.append([result["task"], str(result["threads"]), name, _microseconds(found) + mark, times, gflops])
    return ["task", "threads", "competitor", "µs a step (best)", "÷ glassprop", "GFLOP/s, of peak"], rows


def wait_table(results: Sequence[Result], task: str) -> Table:
    """Import, first fit and memory of every competitor at `task`, in the first result that has it."""
    result = next((result for result in results if result["task"] == task), None)
    rows = []
    for name, found in result["figures"].items() if result else ():
        memory = f"{found['peak_bytes'] / 1e6:.0f} MB" if found["peak_bytes"] else "–"
        form = f" ({found['form']})" if found["form"] else ""
        waits = [f"{found[key]:.2f} s" for key in ("import_seconds", "first_fit_seconds")]
        rows.append([PEERS[name].title + form, *waits, memory])
    return [f"at the task {task}", "import", "first epoch, with what it compiles or loads", "peak memory of the process"], rows


def ratio_text(result: Result) -> str:
    """The ratio, whose it is, and a mark where the machine was never seen at its speed."""
    if result["ratio"] is None:
        return "–"
    unsteady = " (unsteady)" if any(found["unsteady"] for found in result["figures"].values()) else ""
    return f"{result['ratio']:.2f} ({result['best_peer']}){unsteady}"


def _microseconds(found: dict[str, Any] | None) -> str:
    return f"{_three(found['step_us'])} ({_three(found['best_us'])})" if found else "–"


def _fit(found: dict[str, Any] | None) -> str:
    return f"{found['fit_seconds']:.2f} s, {found['epochs']:.0f}" if found else "–"


def _three(value: float) -> str:
    """Three digits."""
    return f"{value:,.{max(0, 2 - len(str(int(value))) + 1)}f}" if value >= 1 else f"{value:.2f}"
