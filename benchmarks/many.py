"""Many networks at once: 32 of the task small, one after another and side by side, samples taken in turn."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import numpy as np

import glassprop as gp
from benchmarks import surroundings
from benchmarks.pairs import compare
from benchmarks.surroundings import markdown, say
from glassprop.bench.compare import processors
from glassprop.bench.tasks import TASKS

NETWORKS, ROWS, EPOCHS, ROUNDS = 32, 2000, (50, 200), 9


def measure(networks: int = NETWORKS, rows: int = ROWS, epochs: tuple[int, ...] = EPOCHS, rounds: int = ROUNDS) -> dict:
    """Median seconds of both ways; rounds beside which the machine had not all its cores do not count."""
    task, cores = TASKS["small"], processors()
    draw = np.random.default_rng(0)
    X, Y = (draw.standard_normal((rows, n), np.float32) for n in (task.layers[0], task.layers[-1]))
    network, seeds = gp.Network(task.layers), list(range(networks))

    def one_by_one(count: int) -> None:
        for seed in seeds:
            gp.train(network, X, Y, epochs=count, batch_size=task.batch, seed=seed, threads=1)

    def side_by_side(count: int) -> None:
        gp.train_many(network, X, Y, epochs=count, batch_size=task.batch, seed=seeds, threads=cores)

    def timed(way: Callable[[int], None], count: int) -> float:
        begun = time.perf_counter()
        way(count)
        return time.perf_counter() - begun

    one_by_one(1)
    lines = []
    for count in epochs:
        found = compare(partial(timed, one_by_one, count), partial(timed, side_by_side, count), cores, rounds)
        alone, together = found.first, found.second
        lines.append(
            {"epochs": count, "one_by_one": alone, "side_by_side": together, "gain": found.gain, "rounds": found.rounds}
        )
        say(f"many: {count} epochs: {alone:.3f} s one by one, {together:.3f} s side by side, {found.gain:.2f} times")
    return {"cores": cores, "networks": networks, "rows": rows, "lines": lines}


def section(figures: dict) -> str:
    """Words and table."""
    task = TASKS["small"]
    words = (
        f"{figures['networks']} networks {task.shape}, {figures['rows']:,} rows: `train` in a loop on one thread, and "
        f"`train_many` on {figures['cores']} cores; medians, the gain of each round."
    )
    rows = [
        (line["epochs"], f"{line['one_by_one']:.3f} s", f"{line['side_by_side']:.3f} s", f"× {line['gain']:.2f}")
        for line in figures["lines"]
    ]
    return f"{words}\n\n{markdown(('epochs', 'one by one', 'side by side', 'throughput'), rows)}"


def statement(figures: dict) -> str:
    """The line under the table."""
    return surroundings.statement(surroundings.machine(), figures["cores"])
