"""Table of what is commonly wrong with a gradient, and how that looks beside central differences.

It knows numbers of tensors, not how they were computed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from glassprop.core.network import Network

ALIKE = 1e-5  # relative to the largest of a tensor
FAR = 10.0  # times as far as from what it looks like, a gradient must be from what it should be


class Sample(NamedTuple):
    """Entries of one tensor's gradient beside their central differences."""

    name: str
    own: np.ndarray  # the whole tensor of the gradient
    chosen: np.ndarray  # (entries,): places in it, raveled
    theta: np.ndarray  # (entries,): the parameters there
    mine: np.ndarray  # (entries,): the gradient there
    slope: np.ndarray  # (entries,): the central differences
    judged: np.ndarray  # (entries,) bool

    @property
    def factor(self) -> float:
        """By which the differences come closest to the gradient."""
        mine, slope = self.mine[self.judged], self.slope[self.judged]
        return float(slope @ mine / (slope @ slope)) if slope.any() else 0.0

    def resembles(self, other: np.ndarray, mine: np.ndarray | None = None) -> bool:
        """Whether the gradient, or `mine` made of it, is `other`, (entries,), and much rather so than what it should be."""
        off = np.abs(self.mine - self.slope)[self.judged].max()
        apart = np.abs((self.mine if mine is None else mine) - other)[self.judged].max()
        return bool(apart <= min(ALIKE * np.abs(other[self.judged]).max(), off / FAR))


def _transposed(sample: Sample, rows: int, network: Network) -> bool:
    shape = sample.own.shape
    turned = sample.own.T.ravel()[sample.chosen] if len(shape) == 2 and shape[0] == shape[1] > 1 else None
    return turned is not None and sample.resembles(sample.slope, turned)


def _without_penalty(sample: Sample, rows: int, network: Network) -> bool:
    penalty = network.l2 * sample.theta + network.l1 * np.sign(sample.theta)
    return sample.name.startswith("W") and sample.resembles(sample.slope - penalty)


def _by_rows(sample: Sample, rows: int, network: Network) -> bool:
    factor = sample.factor
    return rows > 1 and min(abs(factor * rows - 1), abs(factor / rows - 1)) < ALIKE and _by_factor(sample, rows, network)


def _by_factor(sample: Sample, rows: int, network: Network) -> bool:
    return sample.factor != 0 and abs(sample.factor - 1) > ALIKE and sample.resembles(sample.factor * sample.slope)


class Look(NamedTuple):
    """A mistake: whether a wrong tensor looks like it, and what to say after "the gradient of W1, b1 "."""

    seen: Callable[[Sample, int, Network], bool]
    told: str  # {factor} and {rows} are filled in


#: The first that fits a wrong tensor is told.
LOOKS: tuple[Look, ...] = (
    Look(lambda sample, rows, network: not sample.own.any(), "is 0 throughout: it has been forgotten"),
    Look(_transposed, "is transposed"),
    Look(_without_penalty, "lacks that of the penalty"),
    Look(lambda sample, rows, network: sample.resembles(-sample.slope), "has the wrong sign"),
    Look(_by_rows, "is {factor} times what it should be: the mean over {rows} rows was not taken, or taken twice"),
    Look(_by_factor, "is {factor} times what it should be: look for a constant factor"),
)


def describe(samples: list[Sample], wrong: list[bool], rows: int, network: Network) -> list[str]:
    """What is wrong, in sentences: tensors that look alike together, and what looks like nothing known by where it is."""
    told: dict[str, list[str]] = {}
    unknown = []
    for sample in (sample for sample, bad in zip(samples, wrong, strict=True) if bad):
        look = next((look for look in LOOKS if look.seen(sample, rows, network)), None)
        if look is None:
            unknown.append(sample.name)
        else:
            told.setdefault(look.told.format(factor=f"{sample.factor:.6g}", rows=rows), []).append(sample.name)
    sentences = [
        f"the gradient of {'all parameters' if len(names) == len(samples) else ', '.join(names)} {text}"
        for text, names in told.items()
    ]
    return sentences + ([_place(unknown, wrong, network)] if unknown else [])


def _place(unknown: list[str], wrong: list[bool], network: Network) -> str:
    """Where the mistake must be, from which tensors are wrong; these are in the order W1, b1, W2 ..."""
    top, last = int(unknown[-1][1:]), len(network.layers) - 1
    if all(wrong[: 2 * top]) and top == last:
        return "all layers are wrong: look at the loss, its slope, and φ′ of the output"
    if all(wrong[: 2 * top]):
        below = "layer 1 is wrong" if top == 1 else f"layers 1 to {top} are wrong"
        return (
            f"{below} and what is above is right: δ goes wrong on its way from layer {top + 1} to layer {top}. Look at "
            f"W{top + 1}, which may be used transposed or after its update, and at φ′ of layer {top}, "
            f"{network.activations[top - 1].name!r}"
        )
    names = ", ".join(unknown)
    if not any(name.startswith("b") for name in unknown):
        return f"the gradient of {names} is wrong, and that of the biases right: look at h δᵀ, and at the penalty"
    return f"the gradient of {names} is wrong in no way that is known"
