"""The gradients of an explained step beside their central differences (differences.py), and a verdict."""

from __future__ import annotations

import time
from dataclasses import replace
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np

from glassprop.core.network import Parameters
from glassprop.glass.differences import Differences, Objective, central_differences
from glassprop.glass.explanation import Check, Layer, Step, Tensor
from glassprop.glass.judge import judge
from glassprop.glass.moment import Moment
from glassprop.glass.tails import Tails
from glassprop.training.progress import ProgressLine

FLOPS = 6e12  # that a check may take, about a minute; beyond it the smaller gradients are left out
LOSSES_PER_ENTRY = 10  # three differences of two losses each, and where kinks are near a second try
FLOAT32 = 1e-4  # of the largest of a tensor: by how much a gradient computed in float32 may be off
DRAWS = 16  # of what rounding may do to a gradient: of bfloat16's, of 413 steps, 8 missed what it did in 3
BITS, SINGLE = 2.0**-8, 2.0**-23  # as much as two factors of 8 and 24 significant bits together may be off, relatively
FEWEST = 12  # entries looked at however large the network is
PATIENCE = 1.0  # seconds, after which a person wants to know how far it is


class Entries(NamedTuple):
    """Entries of tensors, in the order of layers, weights before biases."""

    layer: np.ndarray  # from 1
    unit: np.ndarray
    source: np.ndarray  # neuron of the layer below, or -1 of a bias
    gradient: np.ndarray
    tensor: np.ndarray  # its number among those of the step


def with_check(moment: Moment, step: Step, progress: bool = False) -> Step:
    """The step with central differences of the objective beside the gradients shown, largest first if there are too many.

    The units that the step drops are dropped in all of them.
    """
    entries = _entries(step)
    tails = Tails(moment.bare, moment.parameters, moment.X, moment.Y, moment.weights, moment.dropping)
    taken = _affordable(tails, entries)
    looked = Entries(*(column[taken] for column in entries))
    found = differences_of(tails, looked, progress)
    differences = np.full(len(entries.gradient), np.nan)
    differences[taken] = found.slope
    if moment.parameters.dtype == np.float64:
        judged = judge(looked.gradient, found, looked.tensor)
    else:
        judged = judge(looked.gradient, found, looked.tensor, FLOAT32, _rounded(moment, step)[taken])
    known, wrong = judged.known, judged.wrong
    check = Check(
        passed=not wrong.any() and bool(known.any()),
        entries=int(known.sum()),
        shown=len(entries.gradient),
        kinks=int(found.kink.sum()),
        wrong=int(wrong.sum()),
        error=float(judged.errors.max(initial=0.0)),
        bfloat16=float(judged.room.max(initial=0.0)) if moment.paired else 0.0,
        left_out=len(entries.gradient) - len(taken),
    )
    return replace(step, layers=_with_differences(step.layers, differences), check=check)


def _rounded(moment: Moment, step: Step) -> np.ndarray:
    """By how much the 24 bits of float32, or bfloat16's 8, may put off each gradient shown.

    Twice the most that any of its tensor moves, in float64, where weights and inputs are moved at random by up to what the two
    factors of a product are rounded by, and biases by what their sum is; and as much of its own products h δ.
    """
    X = moment.X.astype(np.float64)
    objective = Objective(moment.bare, moment.parameters, X, moment.Y, moment.weights, moment.dropping)
    off, right = BITS if moment.paired else SINGLE, _shown(step, objective.gradient())
    factors, biases = (objective.X, *objective.parameters.W), objective.parameters.b
    moving = [(now, now.copy(), off) for now in factors] + [(now, now.copy(), SINGLE) for now in biases]
    rng, moved = np.random.default_rng(0), [0.0] * len(right)
    for _ in range(DRAWS):
        for now, own, far in moving:
            now[...] = own * (1 + far * rng.uniform(-1, 1, own.shape))
        others = _shown(step, objective.gradient())
        moved = [max(far, float(np.abs(a - b).max())) for far, a, b in zip(moved, others, right, strict=True)]
    room = [np.full(part.size, 2 * far) for far, part in zip(moved, right, strict=True)]
    for l, layer in enumerate(step.layers):
        h, delta = np.abs(moment.passes.h[l][:, layer.inputs]), np.abs(moment.passes.delta[l][:, layer.units])
        room[2 * l] += off * (h.T @ delta).ravel() / step.loss.weight_sum
    return np.concatenate(room)


def _shown(step: Step, gradient: Parameters) -> list[np.ndarray]:
    """What is shown of a gradient, tensor by tensor."""
    parts = []
    for layer, W, b in zip(step.layers, gradient.W, gradient.b, strict=True):
        parts += [W[np.ix_(layer.inputs, layer.units)].ravel(), b[list(layer.units)]]
    return parts


def _affordable(tails: Tails, entries: Entries) -> np.ndarray:
    """The entries that are looked at: those of the largest gradients."""
    flops = [0.0, *(LOSSES_PER_ENTRY * tails.flops(l) for l in range(1, len(tails.network.layers)))]
    order = np.argsort(-np.abs(entries.gradient), kind="stable")
    cost = np.cumsum(np.array(flops)[entries.layer[order]])
    return np.sort(order[: max(FEWEST, int((cost <= FLOPS).sum()))])


def differences_of(tails: Tails, entries: Entries, progress: bool = False) -> Differences:
    """Central differences of these entries; `progress` shows on standard error how far it is, where it takes long."""
    parts: list[Differences] = []
    order = []
    with _Line(progress, len(entries.gradient)) as line:
        for function, places, members in tails.shares(entries.layer, entries.unit, entries.source):
            parts.append(central_differences(function, places, line.one_more))
            order.append(members)
    back = np.argsort(np.concatenate(order))
    return Differences(*(np.concatenate(column)[back] for column in zip(*parts, strict=True)))


class _Line:
    """How many gradients have been looked at, on standard error, where it takes long and is asked for."""

    def __init__(self, shown: bool, total: int) -> None:
        self._line: ProgressLine | None = None
        self._done, self._total, self._due = 0, total, time.perf_counter() + PATIENCE if shown else float("inf")

    def one_more(self) -> None:
        """Another one is done."""
        self._done += 1
        if self._line is None and time.perf_counter() >= self._due:
            self._line = ProgressLine(True, self._done, self._total, "gradient")
        if self._line is not None:
            self._line.show(self._done, self._total)

    def __enter__(self) -> _Line:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        if self._line is not None:
            self._line.close()


def _tensors(layers: tuple[Layer, ...]) -> list[Tensor]:
    return [tensor for layer in layers for tensor in (layer.weights, layer.biases)]


def _entries(step: Step) -> Entries:
    places: list[Any] = []
    for l, layer in enumerate(step.layers, start=1):
        units, inputs = np.array(layer.units), np.array(layer.inputs)
        count, each = units.size, inputs.size
        places.append((np.full((each + 1) * count, l), np.tile(units, each + 1), np.repeat([*inputs, -1], count)))
    layers, units, sources = (np.concatenate(column) for column in zip(*places, strict=True))
    gradients = [tensor.gradient.ravel() for tensor in _tensors(step.layers)]
    tensors = [np.full(gradient.size, number) for number, gradient in enumerate(gradients)]
    return Entries(layers, units, sources, np.concatenate(gradients), np.concatenate(tensors))


def _with_differences(layers: tuple[Layer, ...], differences: np.ndarray) -> tuple[Layer, ...]:
    result, at = [], 0
    for layer in layers:
        parts = []
        for tensor in (layer.weights, layer.biases):
            parts.append(replace(tensor, difference=differences[at : at + tensor.old.size].reshape(tensor.old.shape)))
            at += tensor.old.size
        result.append(replace(layer, weights=parts[0], biases=parts[1]))
    return tuple(result)
