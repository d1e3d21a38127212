"""Cost is linear: in rows, and in the length of a run. One thread, the network of the task medium, sizes taken in turn."""

from __future__ import annotations

import time
from statistics import median

import numpy as np

import glassprop as gp
from benchmarks.surroundings import markdown, say
from glassprop.bench.tasks import TASKS

ROWS, EPOCHS = 6400, 4
SIZES = ((1, 1), (2, 1), (5, 1), (10, 1), (1, 10))  # multiples of rows and of epochs
ROUNDS = 5


def measure(rows: int = ROWS, epochs: int = EPOCHS, rounds: int = ROUNDS) -> dict:
    """Median seconds of each size, multiples of the first, nanoseconds for a row in an epoch."""
    task = TASKS["medium"]
    draw = np.random.default_rng(0)
    most = max(times for times, _ in SIZES) * rows
    X, Y = (draw.standard_normal((most, n), np.float32) for n in (task.layers[0], task.layers[-1]))
    network = gp.Network(task.layers)

    def train(times_rows: int, times_epochs: int) -> float:
        chosen = slice(times_rows * rows)
        begun = time.perf_counter()
        gp.train(network, X[chosen], Y[chosen], epochs=times_epochs * epochs, batch_size=task.batch, seed=0, threads=1)
        return time.perf_counter() - begun

    train(1, 1)
    samples = [[train(*size) for size in SIZES] for _ in range(rounds)]
    seconds = [median(column) for column in zip(*samples, strict=True)]
    figures = []
    for (times_rows, times_epochs), taken in zip(SIZES, seconds, strict=True):
        size = {"rows": times_rows * rows, "epochs": times_epochs * epochs}
        work = size["rows"] * size["epochs"]
        figures.append(size | {"seconds": taken, "times_first": taken / seconds[0], "row_epoch_ns": 1e9 * taken / work})
        say(f"linear: {size['rows']} rows, {size['epochs']} epochs: {taken:.3f} s")
    return {"sizes": figures}


def section(figures: dict) -> str:
    """Words and table."""
    rows = [
        (f"{size['rows']:,}", size["epochs"], f"{size['seconds']:.3f} s", f"× {size['times_first']:.2f}",
         f"{size['row_epoch_ns']:.0f} ns")
        for size in figures["sizes"]
    ]  # fmt: skip
    task = TASKS["medium"]
    words = f"Seconds of `train`, setting up included; {task.shape}, float32, median of {ROUNDS}, sizes taken in turn."
    return f"{words}\n\n{markdown(('rows', 'epochs', 'time', 'of the first line', 'a row in an epoch'), rows)}"
