"""Products of bfloat16 beside those of float32: the speed of a step, and the test error on MNIST."""

from __future__ import annotations

import time
from statistics import median

import numpy as np

import glassprop as gp
from benchmarks import mnist
from benchmarks.surroundings import data_folder, markdown, say
from glassprop.bench.compare import processors
from glassprop.bench.peak import measure_peak
from glassprop.bench.statistics import STEADY
from glassprop.bench.tasks import TASKS, load
from glassprop.core.bfloat16 import has_bfloat16

PRECISIONS = ("float32", "bf16")
ROUNDS, SECONDS = 7, 3.0  # samples of each precision, and about how long one is in float32
MNIST = "784-800-10, cross-entropy"


def _steps(name: str, threads: int, rounds: int, seconds: float) -> dict:
    """Microseconds a step at a task of `speed` in both precisions: medians of samples in turn, but those of a slow machine."""
    task = TASKS[name]
    rows, network = load(task), gp.Network(task.layers, loss=task.loss)
    start = network.initialize(dtype="float32")

    def timed(precision: str, epochs: int) -> float:
        begun = time.perf_counter()
        gp.train(
            network, rows.X, rows.Y, parameters=start, epochs=epochs, batch_size=task.batch, seed=0, threads=threads,
            precision=precision,
        )  # fmt: skip
        return (time.perf_counter() - begun) / (task.steps * epochs)

    epochs = max(1, round(seconds / (task.steps * min(timed("float32", 1) for _ in range(2)))))
    timed("bf16", 1)
    found = [(measure_peak(threads), *(timed(precision, epochs) for precision in PRECISIONS)) for _ in range(rounds)]
    highest = max(line[0] for line in found)
    kept = [line for line in found if line[0] >= STEADY * highest]
    single, half = (median(column) * 1e6 for column in list(zip(*kept, strict=True))[1:])
    gain = median(a / b for _, a, b in kept)
    say(f"bfloat16: {name}, {threads} threads: {single:.0f} µs, {half:.0f} µs, {gain:.2f} times")
    return {"task": task.shape, "threads": threads, "float32": single, "bf16": half, "gain": gain, "rounds": len(kept)}


def measure(
    rounds: int = ROUNDS, seconds: float = SECONDS, tasks: tuple[str, ...] = ("medium", "wide", "large")
) -> dict | None:
    """Steps and MNIST; None where the processor multiplies no bfloat16, no MNIST where the data are absent."""
    if not has_bfloat16():
        return None
    lines = [_steps(name, threads, rounds, seconds) for name in tasks for threads in sorted({1, processors()})]
    errors, folder = {}, data_folder("mnist")
    if folder is not None:
        train, test = mnist.read(folder, "train"), mnist.read(folder, "t10k")
        for precision in PRECISIONS:
            runs = [mnist.fit(train, mnist.NETWORKS[MNIST][0], seed, precision=precision) for seed in range(mnist.SEEDS)]
            errors[precision] = [mnist.error(run, test) for run in runs]
            say(f"bfloat16: MNIST in {precision}: {', '.join(f'{e:.2f} %' for e in errors[precision])}")
    return {"lines": lines, "errors": errors}


def section(figures: dict) -> str:
    """Words and table."""
    words = "Microseconds a step, ReLU, Adam; medians of samples taken in turn, the gain of each round."
    rows = [
        (line["task"], line["threads"], f"{line['float32']:,.0f}", f"{line['bf16']:,.0f}", f"× {line['gain']:.2f}")
        for line in figures["lines"]
    ]
    text = f"{words}\n\n{markdown(('layers, batch', 'threads', 'float32', 'bf16', 'speed'), rows)}"
    if figures["errors"]:
        told = [f"{name} {np.mean(e):.2f} % ({', '.join(f'{x:.2f}' for x in e)})" for name, e in figures["errors"].items()]
        text += f"\n\nMNIST, test error of {MNIST}, as in the README: {'; '.join(told)}."
    return text
