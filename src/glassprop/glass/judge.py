"""Which gradients are wrong beside their central differences: the one judge of check_gradients and of explain.

It knows numbers and the tensor each belongs to, nothing of networks.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from glassprop.glass.differences import Differences

RIGHT, WRONG = 1e-7, 1e-2  # the usual thresholds, Karpathy's notes to CS231n, "Gradient checks"
INEXACT = 1e-4  # of the largest: a central difference that may be off by more is none to judge by


class Judged(NamedTuple):
    """What is found of each entry, (entries,)."""

    scale: np.ndarray  # the largest gradient or central difference of its tensor
    known: np.ndarray  # bool: whether it can be judged
    apart: np.ndarray  # gradient from central difference
    allowed: np.ndarray  # by how much the two may differ

    @property
    def wrong(self) -> np.ndarray:
        """Those that differ by more than what may be, (entries,) bool."""
        return self.known & (self.apart > self.allowed)

    @property
    def errors(self) -> np.ndarray:
        """Relative to the largest of the tensor; 0 where that is 0 or nothing is known."""
        return self._relative(self.apart)

    @property
    def room(self) -> np.ndarray:
        """What is allowed, likewise."""
        return self._relative(self.allowed)

    def _relative(self, numbers: np.ndarray) -> np.ndarray:
        return np.divide(numbers, self.scale, out=np.zeros(len(numbers)), where=self.known & (self.scale > 0))


def judge(
    gradient: np.ndarray, found: Differences, tensor: np.ndarray, least: float = RIGHT, own: float | np.ndarray = 0.0
) -> Judged:
    """Set gradients beside their central differences.

    Parameters
    ----------
    gradient : ndarray, (entries,)
    found : Differences
        Of the same entries.
    tensor : array of int, (entries,)
        The number of the tensor that each belongs to.
    least : float
        What may always differ, of the largest of the tensor.
    own : float or ndarray, (entries,)
        By how much each gradient itself may be off, from the precision that it was computed in.

    Returns
    -------
    Judged
        An entry on a kink has no derivative and is not judged, nor is one whose difference, or whose gradient, says nothing.
    """
    clear = ~found.kink
    largest = np.zeros(int(tensor.max(initial=-1)) + 1)
    np.maximum.at(largest, tensor[clear], np.maximum(np.abs(gradient), np.abs(found.slope))[clear])
    scale = largest[tensor]
    exact = np.maximum(least * scale, own)
    known = clear & np.where(scale > 0, found.uncertainty <= INEXACT * scale, np.isfinite(found.uncertainty))
    known &= (exact < scale) | (scale == 0)
    return Judged(scale, known, np.abs(gradient - found.slope), np.maximum(found.uncertainty, exact))
