"""Central differences in float64: the gradient of the objective once more, from nothing but the core's loss.

It knows the objective as a sum of parts, one for every row and one for the penalty, each a function of the flat vector theta,
and nothing of layers or of how gradients are computed.
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
from glassprop.glass.moment import row_losses

EPSILON = float(np.finfo(np.float64).eps)
FIRST_STEP = 1e-3  # times max(1, |θ|); for two extrapolated differences rounding and truncation are both small there
SHRINK = 8.0  # from one try at an entry to the next, where the differences of some rows did not agree
LAST_STEP = 1e-8  # below it rounding is all there is
ENOUGH = 1e-10  # of the largest slope met: what kinks and bends may put a slope off by and no smaller step is tried
NOISE = 4.0 * EPSILON  # of a part, relative: rounding of sums over layers
ROUNDED = 12.0  # times noise / h: by how much noise may put off a slope extrapolated from differences at h, h/2 and h/4
DRAWS = 4  # of parameters an ulp away, to see how much the rounding of products moves each part


class Function(Protocol):
    """A sum of parts, functions of the flat vector of its ``parameters``, which are changed in place.

    A part is what one row adds to the objective, or a penalty. It has few kinks; the sum over many rows has them everywhere.
    """

    parameters: Parameters

    def parts(self) -> np.ndarray: ...  # (parts,)
    def noise(self) -> np.ndarray: ...  # (parts,): by how much rounding may put off each


class Penalty:
    """The penalties of some parameters, by the core: the objective of a row that weighs nothing."""

    def __init__(self, network: Network, theta: np.ndarray) -> None:
        self._work: Workspace | None = None
        if network.l2 or network.l1:
            layers = network.layers
            alone = Network(layers, "identity", "identity", "absolute_error", l2=network.l2, l1=network.l1)
            nothing = np.zeros((1, layers[0])), np.zeros((1, layers[-1])), np.zeros(1)
            self._work = Workspace(alone, theta, *nothing, batch_size=1)

    def __call__(self) -> float:
        """The penalties as theta is now; 0 without any."""
        if self._work is None:
            return 0.0
        self._work.run(0, 1, FORWARD | LOSS | BACKWARD)  # penalties are added where the gradient is
        return float(self._work.progress["loss"][0])


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
        self._shares = (np.ones(len(X)) if weights is None else weights) / (len(X) if weights is None else weights.sum() or 1.0)
        self._penalty = Penalty(network, self.parameters.theta)
        self._noise: np.ndarray | None = None

    def __call__(self) -> float:
        """The objective at ``parameters`` as they are now."""
        self._work.run(self._step, self._step + 1, FORWARD | LOSS | self._always)
        return float(self._work.progress["loss"][0]) + self._penalty()

    def parts(self) -> np.ndarray:
        """What every row adds to the objective, and the penalty, (rows + 1,)."""
        self._work.run(self._step, self._step + 1, FORWARD | LOSS | self._always)
        parts, losses = np.zeros(len(self._shares) + 1), row_losses(self._work, len(self._shares))
        # a row that weighs nothing adds nothing, be its loss infinite
        np.multiply(losses, self._shares, out=parts[:-1], where=self._shares != 0)
        parts[-1] = self._penalty()
        return parts

    def noise(self) -> np.ndarray:
        """By how much rounding may put off each part, (rows + 1,), as of the first time it is asked for."""
        if self._noise is None:
            noise = rounding_noise(self)
            if self.network.loss.targets == "distribution":  # the logarithm of a softmax's output, which is known to ε at best
                noise[:-1] += NOISE * self._shares
            self._noise = noise
        return self._noise

    def gradient(self) -> Parameters:
        """Its gradient there, by the core's backward pass; a copy."""
        self._work.run(self._step, self._step + 1, FORWARD | LOSS | BACKWARD | self._always)
        return self.parameters.with_theta(self._work["gradient"].copy())


class Differences(NamedTuple):
    """Slopes by central differences, one for each entry asked for."""

    slope: np.ndarray  # (entries,)
    uncertainty: np.ndarray  # (entries,): by how much the slope may be off, from rounding and from the function's bend
    step: np.ndarray  # (entries,): the shortest of the steps tried
    kink: np.ndarray  # (entries,) bool: the slopes to the left and to the right differ; there is no derivative


def entry_numbers(parameters: Parameters) -> Parameters:
    """The place of every weight and bias in ``theta`` of the same shapes in float64: ``entry_numbers(p).W[0][3, 7]`` is one."""
    own = parameters.astype(np.float64)
    return own.with_theta(np.arange(own.theta.size))


def rounding_noise(function: Function) -> np.ndarray:
    """By how much rounding may put off each part, (parts,): of its own size, and as parameters move that are an ulp away."""
    middle, theta = function.parts(), function.parameters.theta
    own, rng, noise = theta.copy(), np.random.default_rng(0), NOISE * np.abs(middle)
    for _ in range(DRAWS):
        theta[:] = own * (1 + EPSILON * rng.choice((-1, 1), theta.size))
        noise = np.maximum(noise, np.abs(function.parts() - middle))
    theta[:] = own
    return noise


def central_differences(objective: Function, entries: Any, told: Callable[[], None] | None = None) -> Differences:
    """∂L/∂θ of some entries of theta, each row by the step that suits it.

    (ℓ(θ + s) − ℓ(θ − s)) / 2s of every part ℓ for s = h, h/2, h/4 is extrapolated twice to s = 0 (Richardson 1911). Where the
    two results differ by more than rounding explains, a kink lies near or the function bends much: then this part is tried
    with smaller h (Ridders 1982). Parts are added up when each has its slope: with a thousand rows, of which each has a kink or
    two within h, their sum has kinks at every distance, and differences of it agree by chance.

    The two agree by chance, too, where a part's kink lies at 4/9 h. Second differences tell: S(s) = (ℓ(θ + s) − 2 ℓ(θ) +
    ℓ(θ − s)) / s. Wherever a kink lies, the two results' difference and |S(h) − 10 S(h/2) + 16 S(h/4)| / 14 together are no
    less than what the slope is off by; without one they are of fourth and fifth order in h. A kink at θ itself is one where S
    does not shrink with s.

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
    rows: list[tuple[float, float, float, bool]] = []
    here, largest = (objective.parts(), objective.noise()), 0.0
    alike = np.unique(here[0], return_inverse=True)[1]  # of equal rows one number
    for entry in np.asarray(entries, np.int64).ravel().tolist():
        rows.append(_one_entry(objective, entry, here, alike, largest))
        largest = max(largest, abs(rows[-1][0]))
        if told is not None:
            told()
    slope, uncertainty, step, kink = zip(*rows, strict=True) if rows else ((), (), (), ())
    return Differences(np.array(slope, float), np.array(uncertainty, float), np.array(step, float), np.array(kink, bool))


class _Slopes(NamedTuple):
    """Of every part the slope in one entry, each (parts,)."""

    slope: np.ndarray
    beyond: np.ndarray  # by how much the slope may be off, from kinks and bends: what rounding does not explain
    rounding: np.ndarray  # by how much rounding may put it off
    kink: np.ndarray  # bool

    def by_chance(self, alike: np.ndarray) -> float:
        """By how much rounding may put off the sum: equal rows round alike, that of others adds up as chance has it."""
        together = np.bincount(alike, self.rounding)
        return float(np.sqrt(together @ together))

    def improve(self, other: _Slopes) -> None:
        """Take the other's where they are surer. A kink beside θ looks like one at θ to steps longer than the way to it."""
        surer = np.where(other.kink == self.kink, other.beyond + other.rounding < self.beyond + self.rounding, self.kink)
        for own, better in zip(self, other, strict=True):
            own[surer] = better[surer]


def _one_entry(
    objective: Function, entry: int, here: tuple[np.ndarray, np.ndarray], alike: np.ndarray, largest: float
) -> tuple[float, float, float, bool]:
    """Slope, uncertainty, shortest step and kink of one entry, every part by the best of the steps tried."""
    theta = objective.parameters.theta
    place = float(theta[entry])
    step = FIRST_STEP * max(1.0, abs(place))
    try:
        best = _with_step(objective, entry, place, step, here)
        while step / SHRINK >= LAST_STEP:
            enough = max(ENOUGH * max(largest, abs(best.slope.sum())), best.by_chance(alike))
            if best.beyond.sum() <= enough and not best.kink.any():
                break
            step /= SHRINK
            best.improve(_with_step(objective, entry, place, step, here))
    finally:
        theta[entry] = place
    uncertainty = float(best.beyond.sum()) + best.by_chance(alike)
    return float(best.slope.sum()), uncertainty, step, bool(best.kink.any())


def _with_step(objective: Function, entry: int, place: float, step: float, here: tuple[np.ndarray, np.ndarray]) -> _Slopes:
    """Extrapolated from differences at step, step/2 and step/4."""
    theta, (middle, noise), slopes, bends = objective.parameters.theta, here, [], []
    largest = np.abs(middle)
    with np.errstate(invalid="ignore", over="ignore"):
        for s in (step, step / 2, step / 4):
            theta[entry] = place + s
            up, above = theta[entry] - place, objective.parts() - middle  # the distance that rounding has left of s
            theta[entry] = place - s
            down, below = place - theta[entry], middle - objective.parts()
            slopes.append((above + below) / (up + down))
            bends.append(above / up - below / down)
            largest = np.maximum(largest, np.maximum(np.abs(middle + above), np.abs(middle - below)))
        coarse, fine = (4 * slopes[1] - slopes[0]) / 3, (4 * slopes[2] - slopes[1]) / 3
        apart, unlike = np.abs(fine - coarse), np.abs(bends[0] - 10 * bends[1] + 16 * bends[2])
        # where a loss is nearly 0 at θ, its slope is not at θ ± s, and rounding moves it as far as that is steep
        steeper = np.sqrt(np.divide(largest, np.abs(middle), out=np.ones(len(middle)), where=middle != 0))
        rounding = ROUNDED * np.maximum(noise * steeper, NOISE * largest) / step
        beyond = np.maximum(apart + unlike / 14 - rounding, 0.0)
        kink = np.abs(bends[2]) > np.maximum(0.6 * np.abs(bends[0]), 4 * rounding)
    unknown = ~np.isfinite(beyond)
    fine[unknown], beyond[unknown], rounding[unknown] = 0.0, np.inf, 0.0
    return _Slopes(fine, beyond, rounding, kink)
