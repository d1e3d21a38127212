"""The gradients of an explained step beside their central differences (differences.py), and a verdict."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from glassprop.core.network import Parameters
from glassprop.glass.check import KINKED, RIGHT
from glassprop.glass.differences import Objective, central_differences, entry_numbers
from glassprop.glass.explanation import Check, Layer, Step, Tensor
from glassprop.glass.moment import Moment

FLOPS = 2e10  # that a check may take, about a second; beyond it the smaller gradients are left out
LOSSES_PER_ENTRY = 8  # three differences of two losses each, and now and then a second try
FEWEST = 12  # entries looked at however large the network is


class _Entries(NamedTuple):
    """All entries shown, in the order of layers, weights before biases."""

    numbers: np.ndarray  # their places in theta, in float64
    gradient: np.ndarray
    scale: np.ndarray  # largest gradient shown of their tensor


def with_check(moment: Moment, step: Step) -> Step:
    """The step with central differences of the objective beside the gradients shown, largest first if there are too many.

    Dropout must not act: the objective is a function of the parameters alone.
    """
    objective = Objective(moment.bare, moment.parameters, moment.X, moment.Y, moment.weights)
    entries = _entries(step, entry_numbers(objective.parameters))
    flops = LOSSES_PER_ENTRY * 2 * len(moment.X) * moment.network.n_parameters
    most = max(FEWEST, int(FLOPS / flops))
    taken = np.sort(np.argsort(-np.abs(entries.gradient), kind="stable")[:most])
    found = central_differences(objective, entries.numbers[taken])
    differences = np.full(len(entries.numbers), np.nan)
    differences[taken] = found.slope
    apart, scale = np.abs(found.slope - entries.gradient[taken]), entries.scale[taken]
    tolerance = RIGHT if moment.parameters.dtype == np.float64 else KINKED  # float32 itself is no better
    known = ~found.kink & (found.uncertainty <= KINKED * scale)
    wrong = known & (apart > np.maximum(found.uncertainty, tolerance * scale))
    errors = np.divide(apart, scale, out=np.zeros_like(apart), where=scale > 0)[known]
    check = Check(
        passed=not wrong.any() and bool(known.any()),
        entries=int(known.sum()),
        shown=len(entries.numbers),
        kinks=int(found.kink.sum()),
        wrong=int(wrong.sum()),
        error=float(errors.max(initial=0.0)),
    )
    return replace(step, layers=_with_differences(step.layers, differences), check=check)


def _tensors(layers: tuple[Layer, ...]) -> list[Tensor]:
    return [tensor for layer in layers for tensor in (layer.weights, layer.biases)]


def _entries(step: Step, numbers: Parameters) -> _Entries:
    places = []
    for layer, W, b in zip(step.layers, numbers.W, numbers.b, strict=True):
        places += [W[np.ix_(layer.inputs, layer.units)].ravel(), b[list(layer.units)]]
    gradients = [tensor.gradient.ravel() for tensor in _tensors(step.layers)]
    scales = [np.full(gradient.size, np.abs(gradient).max()) for gradient in gradients]
    return _Entries(np.concatenate(places).astype(np.int64), np.concatenate(gradients), np.concatenate(scales))


def _with_differences(layers: tuple[Layer, ...], differences: np.ndarray) -> tuple[Layer, ...]:
    result, at = [], 0
    for layer in layers:
        parts = []
        for tensor in (layer.weights, layer.biases):
            parts.append(replace(tensor, difference=differences[at : at + tensor.old.size].reshape(tensor.old.shape)))
            at += tensor.old.size
        result.append(replace(layer, weights=parts[0], biases=parts[1]))
    return tuple(result)
