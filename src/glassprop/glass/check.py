"""Are gradients right? Each beside its central difference, and where they part, what the mistake looks like.

The gradient comes from the core's backward pass or from whoever asks, the differences from differences.py, and judge.py sets
the one beside the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from glassprop.core.arrays import check_targets
from glassprop.core.network import Network, Parameters
from glassprop.errors import is_whole, names_arguments
from glassprop.glass.checked import Entries, differences_of
from glassprop.glass.differences import Differences, Objective
from glassprop.glass.judge import WRONG, Judged, judge
from glassprop.glass.looks import Sample, describe
from glassprop.glass.moment import check_by_name, network_of
from glassprop.glass.slopes import wrong_slopes
from glassprop.glass.tails import Tails


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
        The difference between gradient and central difference of the worst entry, over the largest magnitude of either in the
        tensor; of the entries judged, 0 where there are none.
    allowed : float
        What it may be there, from rounding and kinks, likewise; more is not right.
    worst : tuple of int
        The entry: the one farthest beyond what is allowed, or, where none is, of the largest difference.
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
    allowed: float
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
        titles = ("", "shape", "judged", "on kinks", "error", "allowed", "gradient", "difference")
        rows = [titles, *(_row(tensor) for tensor in self.tensors)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        padded = [[f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True)] for row in rows]
        verdicts = ["verdict", *(tensor.verdict for tensor in self.tensors)]
        lines = ["  ".join([*row, verdict]) for row, verdict in zip(padded, verdicts, strict=True)]
        return "\n".join([*lines, "", self.verdict, *(f"- {finding}" for finding in self.findings)])

    __repr__ = __str__

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain data."""
        facts = {"passed": self.passed, "verdict": self.verdict, "loss": self.loss, "error": self.error}
        return facts | {"findings": list(self.findings), "tensors": [asdict(tensor) for tensor in self.tensors]}


def _row(t: TensorCheck) -> tuple[str, ...]:
    """Of the table, but for the verdict."""
    shape, judged = " × ".join(map(str, t.shape)), f"{t.judged:,} of {t.entries:,}"
    numbers = f"{t.error:.1e}", f"{t.allowed:.1e}", f"{t.gradient:.7g}", f"{t.difference:.7g}"
    return t.name, shape, judged, f"{t.kinks:,}", *numbers


@names_arguments
def check_gradients(
    network: Any,
    parameters: Parameters | None = None,
    X: Any = None,
    Y: Any = None,
    *,
    weights: Any = None,
    gradient: Parameters | None = None,
    entries: int | None = 100,
    seed: int = 0,
    progress: bool = False,
) -> GradientCheck:
    """Check the gradient of a batch against central differences of its loss, in float64, without dropout.

    A tensor is right where its error (see `TensorCheck`) is at most 1e-7; where rounding of the loss, or kinks close by, leave
    the central differences themselves less exact, as much as these may be off, up to 1e-4. It is wrong from 1e-2 on, and
    doubtful between, which fails, too. Slopes of activations and of a loss that are not built in are checked by themselves, so
    that a wrong one is named.

    Parameters
    ----------
    network : Network, Run, loaded model or estimator
        All but the first have parameters of their own.
    parameters : Parameters
    X : array, (rows, inputs)
    Y : array, (rows, outputs) or (rows,)
        Of an estimator, X and Y are what its `fit` takes.
    weights : array, (rows,), optional
        Row weights.
    gradient : Parameters, optional
        A gradient from elsewhere, of the mean over rows plus the penalty; None checks the core's own.
    entries : int, optional
        Entries of each tensor, drawn by `seed`; None checks all.
    seed : int
    progress : bool
        Show a progress bar on standard error where it takes more than a second.

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
    if hasattr(network, "check_gradients"):
        check_by_name("check_gradients", parameters, X, Y)
        options = {"gradient": gradient, "entries": entries, "seed": seed, "progress": progress}
        return network.check_gradients(X, Y, sample_weight=weights, **options)
    network, parameters = network_of(network, parameters)
    if X is None or Y is None:
        raise TypeError(f"{'X' if X is None else 'Y'} must be given: the rows of the batch, with their targets")
    objective = Objective(network, parameters, X, Y, weights)
    loss = objective()
    if not np.isfinite(loss):
        raise ValueError(f"the loss at these parameters must be finite to be differentiated; it is {loss}")
    given = objective.gradient() if gradient is None else _as_gradient(gradient, network)
    rng = np.random.default_rng(int(seed or 0))
    named = list(named_tensors(given))
    chosen = [_drawn(own.size, entries, rng) for _, own in named]
    looked = _entries(given, chosen)
    found = differences_of(Tails(network, parameters, X, Y, weights), looked, progress)
    judged = judge(looked.gradient, found, looked.tensor)
    tensors, samples = [], []
    for number, ((name, own), places, (_, theta)) in enumerate(
        zip(named, chosen, named_tensors(objective.parameters), strict=True)
    ):
        mine = looked.tensor == number
        own_found, own_judged = Differences(*(a[mine] for a in found)), Judged(*(a[mine] for a in judged))
        gradients = looked.gradient[mine]
        samples.append(Sample(name, own, places, theta.ravel()[places], gradients, own_found.slope, own_judged.known))
        tensors.append(_verdict(samples[-1], own_found, own_judged))
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
    if value is not None and (not is_whole(value) or value < least):
        raise ValueError(f"{name} must be a whole number of at least {least}, or None; got {value!r}")


def _as_gradient(gradient: Any, network: Network) -> Parameters:
    if not isinstance(gradient, Parameters):
        raise TypeError(
            f"gradient must be a glassprop.Parameters, as Parameters.from_arrays(dW, db) makes; got {type(gradient).__name__}"
        )
    if gradient.layers != network.layers:
        raise ValueError(f"gradient must be of the network's layers {network.layers}; got {gradient.layers}")
    return gradient.astype(np.float64)


# --- entries and tensors -------------------------------------------------------------------------------------------------


def _drawn(size: int, entries: int | None, rng: np.random.Generator) -> np.ndarray:
    """Places in a raveled tensor: all, or so many."""
    if entries is None or size <= entries:
        return np.arange(size)
    return np.sort(rng.choice(size, entries, replace=False))


def _entries(gradient: Parameters, chosen: list[np.ndarray]) -> Entries:
    """The entries at these places of each tensor."""
    columns: list[tuple[np.ndarray, ...]] = []
    for number, ((_, own), places) in enumerate(zip(named_tensors(gradient), chosen, strict=True)):
        source, unit = np.divmod(places, own.shape[-1]) if own.ndim == 2 else (np.full(len(places), -1), places)
        columns.append((np.full(len(places), number // 2 + 1), unit, source, own.ravel()[places], np.full(len(places), number)))
    return Entries(*(np.concatenate(column) for column in zip(*columns, strict=True)))


def _verdict(sample: Sample, found: Differences, judged: Judged) -> TensorCheck:
    worst, error, verdict = 0, 0.0, "kink" if found.kink.all() else "small"
    if judged.known.any():
        beyond = np.where(judged.known, np.maximum(judged.apart - judged.allowed, 0.0), -1.0)
        worst = int(np.lexsort((judged.apart, beyond))[-1])
        error = float(judged.errors[worst])
        verdict = "wrong" if judged.wrong[worst] and error >= WRONG else "doubtful" if judged.wrong[worst] else "right"
    place = tuple(int(i) for i in np.unravel_index(sample.chosen[worst], sample.own.shape))
    return TensorCheck(
        sample.name, tuple(sample.own.shape), len(sample.chosen), int(judged.known.sum()), int(found.kink.sum()),
        error, float(judged.room[worst]), place, float(sample.mine[worst]), float(sample.slope[worst]), verdict,
    )  # fmt: skip
