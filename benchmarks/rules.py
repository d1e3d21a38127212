"""What other precisions, activations, losses and update rules cost beside ReLU, half squared error and Adam in float32.

Each is timed right after the reference, several times over; the figure is the median of these pairs. One thread.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

import numpy as np

import glassprop as gp
from benchmarks.surroundings import markdown, say
from glassprop.bench.peak import measure_peak
from glassprop.bench.tasks import TASKS
from glassprop.core.activations import HIDDEN

SECONDS, ROUNDS, BAR = 0.1, 7, 0.7
TASK_NAMES = ("medium", "small")


@dataclass(frozen=True)
class Rule:
    """What differs from the reference."""

    kind: str = "reference"
    name: str = "ReLU, half squared error, Adam, float32"
    dtype: str = "float32"
    activation: str = "relu"
    loss: str = "half_squared_error"
    optimizer: Any = gp.Adam(1e-3)  # noqa: RUF009 (frozen)
    outputs: int = 0  # instead of the task's own


def rules() -> list[Rule]:
    """Every row of the package's tables, once."""
    optimizers = {
        "SGD": gp.SGD(1e-3),
        "SGD, momentum": gp.SGD(1e-3, momentum=0.9),
        "SGD, Nesterov": gp.SGD(1e-3, momentum=0.9, nesterov=True),
        "RMSprop": gp.RMSprop(1e-4),
        "Rprop": gp.Rprop(1e-6, largest=1e-5),  # made for whole tables: with minibatches its steps would grow for ever
        "Adagrad": gp.Adagrad(1e-3),
        "AdamW": gp.AdamW(1e-3),
    }
    return [
        Rule("precision", "float64", dtype="float64"),
        *(Rule("activation", name, activation=name) for name in HIDDEN if name != "relu"),
        *(Rule("loss", name, loss=name, outputs=2 * (name == "cross_entropy")) for name in gp.LOSSES if name != Rule.loss),
        *(Rule("update rule", name, optimizer=rule) for name, rule in optimizers.items()),
    ]


class _Timer:
    """A rule at a task: times of a step."""

    def __init__(self, rule: Rule, task_name: str, seconds: float) -> None:
        self.task, self.rule = TASKS[task_name], rule
        layers = self.task.layers if rule.outputs <= self.task.layers[-1] else (*self.task.layers[:-1], rule.outputs)
        self.network = gp.Network(layers, activation=rule.activation, loss=rule.loss)
        self.flops = replace(self.task, layers=layers).flops
        draw = np.random.default_rng(0)
        self.X = draw.standard_normal((self.task.rows, layers[0])).astype(rule.dtype)
        self.Y = draw.uniform(size=(self.task.rows, layers[-1])).astype(rule.dtype)  # a target for any of the losses
        if rule.loss == "cross_entropy":
            self.Y /= self.Y.sum(axis=1, keepdims=True)
        self.epochs = 1
        self.step_us()
        self.epochs = max(1, round(seconds / (1e-6 * self.step_us() * self.task.steps)))

    def step_us(self) -> float:
        """Microseconds a step, of one sample."""
        begun = time.perf_counter()
        run = gp.train(
            self.network, self.X, self.Y, optimizer=self.rule.optimizer, epochs=self.epochs, batch_size=self.task.batch,
            seed=0, threads=1,
        )  # fmt: skip
        taken = time.perf_counter() - begun
        if run.diverged:
            raise RuntimeError(f"{self.rule.name} diverged at {self.task.name}: {run.stopped}")
        return 1e6 * taken / (self.epochs * self.task.steps)


def compare(rule: Rule, task_name: str, seconds: float = SECONDS, rounds: int = ROUNDS) -> dict[str, float]:
    """Microseconds a step, and the speed as a fraction of the reference's: raw, and each of its own precision's peak."""
    timer, reference = (_Timer(r, task_name, seconds) for r in (rule, Rule(outputs=rule.outputs)))
    pairs = [(reference.step_us(), timer.step_us()) for _ in range(rounds)]
    speed = median(theirs / own for theirs, own in pairs)
    peaks = 1.0
    if rule.dtype != "float32":
        peaks = median(measure_peak(1, "float32") / measure_peak(1, rule.dtype) for _ in range(rounds))
    return {"step_us": median(own for _, own in pairs), "speed": speed, "speed_of_peak": speed * peaks}


def measure(task_names: tuple[str, ...] = TASK_NAMES, seconds: float = SECONDS, rounds: int = ROUNDS) -> dict:
    """Every rule at every task."""
    figures: dict = {"rules": {}}
    for rule in rules():
        found = {name: compare(rule, name, seconds, rounds) for name in task_names}
        figures["rules"][rule.name] = {"kind": rule.kind} | found
        say(f"rules: {rule.name}: " + ", ".join(f"{name} {found[name]['speed']:.2f}" for name in task_names))
    figures["reached"] = all(found[name]["speed_of_peak"] >= BAR for found in figures["rules"].values() for name in task_names)
    return figures


def section(figures: dict) -> str:
    """Words and table."""
    names = [name for name in TASK_NAMES if all(name in found for found in figures["rules"].values())]
    rows = []
    for rule, found in figures["rules"].items():
        cells = []
        for name in names:
            text = f"{100 * found[name]['speed']:.0f} %"
            if found["kind"] == "precision":
                text += f"; of its peak {100 * found[name]['speed_of_peak']:.0f} %"
            cells += [f"{found[name]['step_us']:.3g}", text]
        rows.append((found["kind"], rule, *cells))
    header = ["", "instead of ReLU, half squared error, Adam, float32"]
    for name in names:
        header += [f"{name}: µs a step", "speed left"]
    words = (
        f"Speed as a fraction of the reference's, which is timed right before each; median of {ROUNDS} pairs; at least "
        f"{100 * BAR:.0f} % is aimed at. A float64 vector holds half as many numbers, so its fraction is also given of each "
        "precision's own peak."
    )
    return f"{words}\n\n{markdown(header, rows)}"
