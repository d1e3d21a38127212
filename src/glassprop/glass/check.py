"""Are gradients right? Each beside its central difference, and where they part, what the mistake looks like.

It judges numbers. The gradient comes from the core's backward pass or from whoever asks; the differences from differences.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from glassprop.core.arrays import check_targets
from glassprop.core.network import Network, Parameters
from glassprop.errors import names_arguments
from glassprop.glass.differences import Differences, Objective, central_differences, entry_numbers
from glassprop.glass.looks import Sample, describe
from glassprop.glass.slopes import wrong_slopes

RIGHT, KINKED, WRONG = 1e-7, 1e-4, 1e-2  # the usual thresholds, Karpathy's notes to CS231n, "Gradient checks"


@dataclass(frozen=True)
class TensorCheck:
    """How one parameter tensor fared.

    Attributes
    ----------
    name : str
        As W1 or b1, counted from one.
    shape : tuple of int
    entries, judged, kinks : int
        Entries looked at; those judged; those on a kink, where there is no derivative. Neither judged nor on a kink are entries
        whose central difference is too inexact: the gradient is too small beside the loss, or kinks lie too close by.
    error : float
        The largest difference between gradient and central difference, over the largest magnitude of either in the tensor; of
        the entries judged, 0 where there are none.
    worst : tuple of int
        The entry where it is.
    gradient, difference : float
        The two numbers there.
    verdict : str
        right, doubtful, wrong; kink where all entries lie on one, small where the gradient is too small to be measured.
    """

    name: str
    shape: tuple[int, ...]
    entries: int
    judged: int
    kinks: int
    error: float
    worst: tuple[int, ...]
    gradient: float
    difference: float
    verdict: str


@dataclass(frozen=True)
class GradientCheck:
    """What `check_gradients` found; true where nothing is wrong.

    Attributes
    ----------
    tensors : tuple of TensorCheck
        W1, b1, W2 ...
    findings : tuple of str
        What is wrong and what it looks like, the likeliest first.
    loss : float
        The objective there.
    """

    tensors: tuple[TensorCheck, ...]
    findings: tuple[str, ...]
    loss: float

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong, and something could be judged."""
        verdicts = {tensor.verdict for tensor in self.tensors}
        return "right" in verdicts and not verdicts & {"wrong", "doubtful"} and not self.findings

    @property
    def error(self) -> float:
        """The largest error of a tensor."""
        return max(tensor.error for tensor in self.tensors)

    @property
    def verdict(self) -> str:
        """The answer in a sentence."""
        judged = sum(tensor.judged for tensor in self.tensors)
        if self.passed:
            return f"right: the largest relative error of {judged:,} entries is {self.error:.1e}"
        if not any(tensor.verdict in ("right", "wrong", "doubtful") for tensor in self.tensors):
            return "undecided: every entry lies on a kink or is too small to be measured"
        if all(tensor.verdict in ("right", "kink", "small") for tensor in self.tensors):
            return "wrong: the gradient of these rows is right, but not the slope of an activation or the loss elsewhere"
        bad = [tensor.name for tensor in self.tensors if tensor.verdict in ("wrong", "doubtful")]
        return f"wrong in {', '.join(bad)}: the largest relative error is {self.error:.1e}"

    def __bool__(self) -> bool:
        return self.passed

    def __str__(self) -> str:
        head = f"{'':<6}{'shape':>12}{'judged':>14}{'on kinks':>10}{'error':>10}{'gradient':>15}{'difference':>15}  verdict"
        lines = []
        for t in self.tensors:
            shape, judged = " × ".join(map(str, t.shape)), f"{t.judged:,} of {t.entries:,}"
            numbers = f"{t.error:>10.1e}{t.gradient:>15.7g}{t.difference:>15.7g}"
            lines.append(f"{t.name:<6}{shape:>12}{judged:>14}{t.kinks:>10,}{numbers}  {t.verdict}")
        return "\n".join([head, *lines, "", self.verdict, *(f"- {finding}" for finding in self.findings)])

    __repr__ = __str__

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain data."""
        facts = {"passed": self.passed, "verdict": self.verdict, "loss": self.loss, "error": self.error}
        return facts | {"findings": list(self.findings), "tensors": [asdict(tensor) for tensor in self.tensors]}


@names_arguments
def check_gradients(
    network: Network,
    parameters: Parameters,
    X: Any,
    Y: Any,
    *,
    weights: Any = None,
    gradient: Parameters | None = None,
    entries: int | None = 100,
    seed: int = 0,
) -> GradientCheck:
    """Check the gradient of a batch against central differences of its loss, in float64, without dropout.

    A tensor is right where its error (see `TensorCheck`) is at most 1e-7; where kinks of a piecewise-linear activation or loss
    lie so close that the central differences themselves are less exact, as much as these may be off, up to 1e-4. It is wrong
    from 1e-2 on, and doubtful between, which fails, too. Slopes of activations and of a loss that are not built in are
    checked by themselves, so that a wrong one is named.

    Parameters
    ----------
    network : Network
    parameters : Parameters
    X : array, (rows, inputs)
    Y : array, (rows, outputs) or (rows,)
    weights : array, (rows,), optional
        Row weights.
    gradient : Parameters, optional
        A gradient from elsewhere, of the mean over rows plus the penalty; None checks the core's own.
    entries : int, optional
        Entries of each tensor, drawn by `seed`; None checks all.
    seed : int

    Returns
    -------
    GradientCheck
        Printed, a table and a verdict; true where it passes.

    Raises
    ------
    ValueError, TypeError
        Where data, parameters and network do not fit, or the loss is not finite.

    Examples
    --------
    >>> import glassprop as gp
    >>> network = gp.Network((2, 3, 1), activation="tanh")
    >>> X, Y = [[0.5, -1.0], [1.0, 2.0]], [1.0, -1.0]
    >>> bool(gp.check_gradients(network, network.initialize(seed=0), X, Y))
    True

    Half of the right gradient is found out:

    >>> back = gp.backward(network, network.initialize(seed=0), gp.forward(network, network.initialize(seed=0), X), Y)
    >>> back.gradient.theta[:] /= 2
    >>> print(gp.check_gradients(network, network.initialize(seed=0), X, Y, gradient=back.gradient).findings[0])
    the gradient of all parameters is 0.5 times what it should be: the mean over 2 rows was not taken, or taken twice
    """
    _check_count("entries", entries, 1)
    _check_count("seed", seed, 0)
    objective = Objective(network, parameters, X, Y, weights)
    loss = objective()
    if not np.isfinite(loss):
        raise ValueError(f"the loss at these parameters must be finite to be differentiated; it is {loss}")
    given = objective.gradient() if gradient is None else _as_gradient(gradient, network)
    rng = np.random.default_rng(int(seed or 0))
    tensors, samples = [], []
    places = entry_numbers(given)
    for (name, own), (_, numbers) in zip(named_tensors(given), named_tensors(places), strict=True):
        chosen = np.arange(own.size)
        if entries is not None and own.size > entries:
            chosen = np.sort(rng.choice(own.size, entries, replace=False))
        found = central_differences(objective, numbers.ravel()[chosen])
        samples.append(_sample(name, own, chosen, objective.parameters.theta[numbers.ravel()[chosen]], found))
        tensors.append(_judge(samples[-1], found))
    wrong = [tensor.verdict in ("wrong", "doubtful") for tensor in tensors]
    slopes = wrong_slopes(network, parameters, X, check_targets(network, Y, len(np.asarray(X)), np.float64))
    findings = slopes + describe(samples, wrong, len(np.asarray(X)), network)
    return GradientCheck(tuple(tensors), tuple(findings), loss)


def named_tensors(parameters: Parameters) -> Iterator[tuple[str, np.ndarray]]:
    """W1, b1, W2 ... with their arrays."""
    for l, (W, b) in enumerate(zip(parameters.W, parameters.b, strict=True), 1):
        yield f"W{l}", W
        yield f"b{l}", b


def _check_count(name: str, value: Any, least: int) -> None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least):
        raise ValueError(f"{name} must be a whole number of at least {least}, or None; got {value!r}")


def _as_gradient(gradient: Any, network: Network) -> Parameters:
    if not isinstance(gradient, Parameters):
        raise TypeError(
            f"gradient must be a glassprop.Parameters, as Parameters.from_arrays(dW, db) makes; got {type(gradient).__name__}"
        )
    if gradient.layers != network.layers:
        raise ValueError(f"gradient must be of the network's layers {network.layers}; got {gradient.layers}")
    return gradient.astype(np.float64)


# --- one tensor ----------------------------------------------------------------------------------------------------------


def _sample(name: str, own: np.ndarray, chosen: np.ndarray, theta: np.ndarray, found: Differences) -> Sample:
    mine = own.ravel()[chosen]
    scale = float(np.maximum(np.abs(mine), np.abs(found.slope))[~found.kink].max(initial=0.0))
    known = found.uncertainty <= KINKED * scale if scale > 0 else np.isfinite(found.uncertainty)
    return Sample(name, own, chosen, theta, mine, found.slope, known & ~found.kink, scale)


def _judge(sample: Sample, found: Differences) -> TensorCheck:
    name, own, chosen, _, mine, slope, judged, scale = sample
    worst, error, verdict = 0, 0.0, "kink" if found.kink.all() else "small"
    if judged.any():
        apart = np.where(judged, np.abs(mine - slope), 0.0)
        beyond = np.maximum(apart - np.maximum(found.uncertainty, RIGHT * scale), 0.0)  # what rounding cannot explain
        worst = int(np.lexsort((apart, beyond))[-1])
        error = float(apart[worst] / scale) if scale > 0 else 0.0
        verdict = "right" if beyond[worst] == 0 else "wrong" if error >= WRONG else "doubtful"
    place = tuple(int(i) for i in np.unravel_index(chosen[worst], own.shape))
    return TensorCheck(
        name, tuple(own.shape), len(chosen), int(judged.sum()), int(found.kink.sum()),
        error, place, float(mine[worst]), float(slope[worst]), verdict,
    )  # fmt: skip
