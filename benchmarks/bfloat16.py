"""Products of bfloat16 beside those of float32: the speed of a step, and the test error on MNIST."""

from __future__ import annotations

import time
from functools import partial

import numpy as np

import glassprop as gp
from benchmarks import mnist, surroundings
from benchmarks.pairs import compare
from benchmarks.surroundings import data_folder, markdown, say
from glassprop.bench.compare import processors
from glassprop.bench.tasks import TASKS, load, read_mnist
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
    found = compare(*(partial(timed, precision, epochs) for precision in PRECISIONS), threads, rounds)
    single, half = 1e6 * found.first, 1e6 * found.second
    say(f"bfloat16: {name}, {threads} threads: {single:.0f} µs, {half:.0f} µs, {found.gain:.2f} times")
    return {
        "task": task.shape, "threads": threads, "float32": single, "bf16": half, "gain": found.gain, "rounds": found.rounds,
    }  # fmt: skip


def measure(
    rounds: int = ROUNDS, seconds: float = SECONDS, tasks: tuple[str, ...] = ("medium", "wide", "large")
) -> dict | None:
    """Steps and MNIST; None where the processor multiplies no bfloat16, no MNIST where the data are absent."""
    if not has_bfloat16():
        return None
    lines = [_steps(name, threads, rounds, seconds) for name in tasks for threads in sorted({1, processors()})]
    errors, folder = {}, data_folder("mnist")
    if folder is not None:
        train, test = read_mnist(folder, "train"), read_mnist(folder, "t10k")
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


def statement(figures: dict) -> str:
    """The line under the table."""
    return surroundings.statement(surroundings.machine(), max(line["threads"] for line in figures["lines"]))
