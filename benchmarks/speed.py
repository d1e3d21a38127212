"""Speed beside the peers, by `glassprop.bench`: every task, one thread and all cores, one table and one picture."""

from __future__ import annotations

import os
from pathlib import Path

from benchmarks.surroundings import data_root, markdown, say
from glassprop.bench.compare import compare_all, processors
from glassprop.bench.machine import describe_machine, machine_facts
from glassprop.bench.peers import PEERS, installed_peers
from glassprop.bench.show import columns, fit_table, step_table, wait_table
from glassprop.bench.tasks import SYNTHETIC, TASKS

ROUNDS, FIT_ROUNDS = 5, 3
PICTURE = Path("docs") / "speed.png"  # beside the document
WAITS = ("small", "large")


def measure(tasks: tuple[str, ...] = tuple(TASKS), peers: tuple[str, ...] = (), rounds: int = ROUNDS) -> dict:
    """Every task with every competitor that is installed, first on one thread, then on all cores."""
    os.environ.setdefault("GLASSPROP_DATA", str(data_root()))
    names = [*(peers or installed_peers(short=False))]
    threads = list(dict.fromkeys((1, processors())))
    fits = [name for name in tasks if name not in SYNTHETIC]
    results = [*compare_all([name for name in tasks if name in SYNTHETIC], names, threads, rounds, say)]
    results += compare_all(fits, names, threads, min(rounds, FIT_ROUNDS), say)
    reached = {f"{r['task']}, {r['threads']}": reaches(r) for r in results}
    return {"machine": machine_facts(names), "results": results, "reached": reached}


def bar(result: dict) -> float:
    """The ratio that is aimed at; 0 where there is none."""
    bars = TASKS[result["task"]].bars
    return bars[0] if result["threads"] == 1 else bars[1] if result["threads"] == 2 else 0.0


def reaches(result: dict) -> bool:
    """Whether ratio and share of the peak are what is aimed at."""
    share = TASKS[result["task"]].peak_bar if result["threads"] == 1 else 0.0
    ours = result["figures"].get("glassprop", {"of_peak": 0.0})
    return (result["ratio"] or 0.0) >= bar(result) and ours["of_peak"] >= share


def statement(figures: dict) -> str:
    """The line under the tables."""
    return f"*{describe_machine(figures['machine'])}*"


def section(figures: dict) -> str:
    """Words and tables for the README."""
    results = figures["results"]
    header, rows = step_table(results)
    chosen = [result for result in results if result["task"] in SYNTHETIC]
    rows = [[*row, f"{bar(result):g}" if bar(result) else "–"] for row, result in zip(rows, chosen, strict=True)]
    peaks = ", ".join(f"{peak:.0f} GFLOP/s on {n} thread{'s' * (n > 1)}" for n, peak in _peaks(results).items())
    words = (
        "Microseconds a training step, median (best): ReLU, half squared error, Adam, float32, rows shuffled in every epoch "
        "and gathered from memory. Each competitor has its own process, samples are taken in turn, and a sample beside which "
        f"the machine was slow does not count. *Of peak*: share of a loop of vector FMAs timed beside samples, {peaks}. JAX "
        "runs in the fastest of four forms. FANN knows neither Adam nor ReLU: it is shown, and does not count as the best peer."
    )
    fits = (
        "Whole fits, seconds and epochs: scikit-learn's digits with `MLPClassifier`'s defaults, in float64; kin8nm for 400 "
        "epochs; MNIST to 98 % test accuracy. Luck decides at which epoch a fit ends, so the ratio is of the time of an epoch."
    )
    parts = [
        words,
        markdown([*header, "aimed at"], rows),
        "![Time a step of every competitor, as multiples of glassprop's](docs/speed.png)",
    ]
    if fit_rows := fit_table(results)[1]:
        parts += [fits, markdown(fit_table(results)[0], fit_rows)]
    for task in WAITS:
        if waits := wait_table(results, task)[1]:
            parts.append(markdown(wait_table(results, task)[0], waits))
    absent = "; ".join(f"{row.title}: {reason}" for row in PEERS.values() if (reason := row.absent()))
    words = "mlpack is not among them: its Python package has no multilayer perceptron"
    parts.append(f"{words}. Not installed: {absent}." if absent else f"{words}.")
    return "\n\n".join(parts)


def draw(figures: dict, folder: Path) -> None:
    """The picture: for every task, each competitor's time a step over glassprop's."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    results = [result for result in figures["results"] if "glassprop" in result["figures"]]
    counts = list(dict.fromkeys(result["threads"] for result in results))
    figure, panels = pyplot.subplots(1, len(counts), figsize=(11, 4.4), sharex=True, squeeze=False, layout="constrained")
    names = [name for name in columns(results) if name != "glassprop"]
    for panel, threads in zip(panels[0], counts, strict=True):
        chosen = [result for result in results if result["threads"] == threads]
        panel.axvline(1, color="black", linewidth=2)
        for number, name in enumerate(names):
            points = [(result["ratios"][name], y) for y, result in enumerate(chosen) if name in result["ratios"]]
            if points:
                hollow = "none" if not PEERS[name].same_training else f"C{number}"
                panel.scatter(*zip(*points, strict=True), s=45, color=f"C{number}", facecolor=hollow, label=PEERS[name].title)
        panel.set(xscale="log", title=f"{threads} thread{'s' * (threads > 1)}", xlabel="time of a step ÷ glassprop's")
        panel.set_yticks(range(len(chosen)), [result["task"] for result in chosen])
        panel.invert_yaxis()
        panel.grid(axis="x", alpha=0.3)
    shown = {label: handle for panel in panels[0] for handle, label in zip(*panel.get_legend_handles_labels(), strict=True)}
    figure.legend(shown.values(), shown.keys(), loc="outside lower center", ncols=4, frameon=False)
    (folder / PICTURE).parent.mkdir(exist_ok=True)
    figure.savefig(folder / PICTURE, dpi=120)
    pyplot.close(figure)


def _peaks(results: list[dict]) -> dict[int, float]:
    """The highest FMA rate in float32 for each number of threads."""
    peaks: dict[int, float] = {}
    for result in results:
        if TASKS[result["task"]].dtype == "float32":
            peaks[result["threads"]] = max(peaks.get(result["threads"], 0.0), result["peak_gflops"])
    return peaks
