"""Central differences in float64: the gradient of the objective once more, from nothing but the core's loss.

It knows the objective as a function of the flat vector theta, and nothing of layers or of how gradients are computed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np

from glassprop.core.arrays import check_inputs, check_parameters, check_targets, check_weights
from glassprop.core.network import Network, Parameters
from glassprop.core.passes import threads_pay
from glassprop.core.plan import BACKWARD, FORWARD, LOSS, UPDATE
from glassprop.core.update import SGD
from glassprop.core.workspace import Workspace

EPSILON = float(np.finfo(np.float64).eps)
FIRST_STEP = 1e-3  # times max(1, |θ|); for two extrapolated differences rounding and truncation are both small there
SHRINK = 8.0  # from one try at an entry to the next, where the differences of the last did not agree
LAST_STEP = 1e-8  # below it rounding is all there is
ENOUGH = 1e-9  # relative uncertainty at which no smaller step is tried
NOISE = 4.0 * EPSILON  # of the loss, relative: rounding of sums over rows and layers


class Function(Protocol):
    """A function of the flat vector of its ``parameters``, which are changed in place."""

    parameters: Parameters

    def __call__(self) -> float: ...


class Objective:
    """The objective of one batch as a function of its parameters, in float64, without dropout unless a step is given.

    Its memory is laid out once. Change ``parameters`` in place and call it again.

    Parameters
    ----------
    network : Network
    parameters : Parameters
        Copied, in float64.
    X : array, (rows, inputs)
    Y : array, (rows, outputs) or (rows,)
    weights : array, (rows,), optional
        Row weights.
    dropout : (int, int), optional
        Seed and number of the step whose units are dropped.

    Attributes
    ----------
    X : ndarray, (rows, inputs)
        As the core reads it, in float64: a copy only where the one given was not.

    Raises
    ------
    ValueError, TypeError
        As `glassprop.forward` and `glassprop.backward`.

    Examples
    --------
    >>> import glassprop as gp
    >>> from glassprop.glass.differences import Objective
    >>> objective = Objective(gp.Network((1, 1)), gp.Parameters.from_arrays([[[3.0]]], [[0.0]]), [[1.0]], [1.0])
    >>> objective()
    2.0
    >>> objective.gradient().W[0]
    array([[2.]])
    """

    def __init__(
        self,
        network: Network,
        parameters: Parameters,
        X: Any,
        Y: Any,
        weights: Any = None,
        dropout: tuple[int, int] | None = None,
    ) -> None:
        check_parameters(network, parameters)
        X = check_inputs(network, X, np.float64)
        Y, weights = check_targets(network, Y, len(X), X.dtype), check_weights(weights, len(X), X.dtype)
        self.network, self.parameters = network, parameters.astype(np.float64)
        threads = None if threads_pay(network, X) else 1
        self.X = X
        seed, self._step = dropout or (0, 0)
        self._work = Workspace(
            network, self.parameters.theta, X, Y, weights, batch_size=len(X), threads=threads, seed=seed,
            optimizer=SGD() if dropout else None,
        )  # fmt: skip
        self._work.set(first_step=self._step, rates=np.zeros(1))
        self._always = UPDATE if dropout else 0  # a step of length zero: dropout acts in training alone
        # the penalties are added where the gradient is: without any, the backward pass can be left out
        self._parts = FORWARD | LOSS | (BACKWARD if network.l2 or network.l1 else 0)

    def __call__(self) -> float:
        """The objective at ``parameters`` as they are now."""
        self._work.run(self._step, self._step + 1, self._parts | self._always)
        return float(self._work.progress["loss"][0])

    def gradient(self) -> Parameters:
        """Its gradient there, by the core's backward pass; a copy."""
        self._work.run(self._step, self._step + 1, FORWARD | LOSS | BACKWARD | self._always)
        return self.parameters.with_theta(self._work["gradient"].copy())


class Differences(NamedTuple):
    """Slopes by central differences, one for each entry asked for."""

    slope: np.ndarray  # (entries,)
    uncertainty: np.ndarray  # (entries,): by how much the slope may be off, from rounding and from the function's bend
    step: np.ndarray  # (entries,): the largest distance from θ that the slope was taken from
    kink: np.ndarray  # (entries,) bool: the slopes to the left and to the right differ; there is no derivative


def entry_numbers(parameters: Parameters) -> Parameters:
    """The place of every weight and bias in ``theta`` of the same shapes in float64: ``entry_numbers(p).W[0][3, 7]`` is one."""
    own = parameters.astype(np.float64)
    return own.with_theta(np.arange(own.theta.size))


def central_differences(objective: Function, entries: Any, told: Callable[[], None] | None = None) -> Differences:
    """∂L/∂θ of some entries of theta, each by the step that suits it.

    (L(θ + s) − L(θ − s)) / 2s for s = h, h/2, h/4 is extrapolated twice to s = 0 (Richardson 1911). Where the two results
    differ by more than rounding explains, a kink lies near or the function bends much: then with smaller h (Ridders 1982). A
    kink at θ itself is known by a difference of the slopes to the left and to the right that does not shrink with s.

    Parameters
    ----------
    objective : Function
        Such as an `Objective`; its parameters are left as they were.
    entries : array of int, (entries,)
        Places in ``objective.parameters.theta``; see `entry_numbers`. Neighbours in a tensor should follow one another.
    told : function, optional
        Called after every entry.

    Returns
    -------
    Differences

    Examples
    --------
    >>> import glassprop as gp
    >>> from glassprop.glass.differences import Objective, central_differences, entry_numbers
    >>> objective = Objective(gp.Network((1, 1)), gp.Parameters.from_arrays([[[3.0]]], [[0.0]]), [[1.0]], [1.0])
    >>> found = central_differences(objective, entry_numbers(objective.parameters).W[0].ravel())
    >>> found.slope.round(9).tolist()
    [2.0]
    """
    theta, middle, relative, rows = objective.parameters.theta, objective(), FIRST_STEP, []
    for entry in np.asarray(entries, np.int64).ravel().tolist():
        size = max(1.0, abs(float(theta[entry])))
        found = _one_entry(objective, entry, middle, relative * size)
        # the next entry's kinks lie about as near as this one's
        relative = min(FIRST_STEP, SHRINK * found[2] / size)
        rows.append(found)
        if told is not None:
            told()
    slope, uncertainty, step, kink = zip(*rows, strict=True) if rows else ((), (), (), ())
    return Differences(np.array(slope, float), np.array(uncertainty, float), np.array(step, float), np.array(kink, bool))


def _one_entry(objective: Function, entry: int, middle: float, step: float) -> tuple[float, float, float, bool]:
    """Slope, uncertainty, step and kink of one entry, with the first steps that do, or the best of all tried."""
    theta = objective.parameters.theta
    here, tries = theta[entry], []
    try:
        while step > LAST_STEP:
            slope, uncertainty, _, kink = found = _with_step(objective, entry, here, step, middle)
            tries.append(found)
            if not kink and uncertainty <= max(ENOUGH * abs(slope), 2 * _rounding(middle, step)):
                return found
            step /= SHRINK
    finally:
        theta[entry] = here
    # a kink beside θ looks like one at θ until the step is shorter than the way to it
    return min(tries, key=lambda found: (found[3], found[1]))


def _rounding(loss: float, step: float) -> float:
    """By how much rounding of the loss puts off the slope that `_with_step` extrapolates from steps down to step/4."""
    return 12 * NOISE * abs(loss) / step


def _with_step(objective: Function, entry: int, here: float, step: float, middle: float) -> tuple[float, float, float, bool]:
    theta, slopes, jumps, largest = objective.parameters.theta, [], [], abs(middle)
    for s in (step, step / 2, step / 4):
        theta[entry] = here + s
        up, above = theta[entry] - here, objective()  # the distance that rounding has left of s
        theta[entry] = here - s
        down, below = here - theta[entry], objective()
        slopes.append((above - below) / (up + down))
        jumps.append((above - middle) / up - (middle - below) / down)
        largest = max(largest, abs(above), abs(below))
    rounding = _rounding(largest, step)
    coarse, fine = (4 * slopes[1] - slopes[0]) / 3, (4 * slopes[2] - slopes[1]) / 3
    # of a smooth function the second is a quarter of the first; of a kink at θ the two are one
    kink = abs(jumps[2]) > max(0.6 * abs(jumps[0]), 4 * rounding)
    uncertainty = abs(fine - coarse) + rounding
    return fine, uncertainty if np.isfinite(uncertainty) else np.inf, step, bool(kink)
