"""What `train` is given, checked and split: training rows, validation rows, row orders.

It copies no training rows: a validation fraction is kept out by row numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from glassprop.core.arrays import check_inputs, check_targets, check_weights
from glassprop.core.network import Network

Rows = tuple[np.ndarray, np.ndarray, np.ndarray | None]  # X, Y, weights


@dataclass(frozen=True)
class Data:
    """Checked arrays in the computing precision."""

    X: np.ndarray  # (rows, inputs)
    Y: np.ndarray  # (rows, outputs) or (rows, 1) class numbers
    weights: np.ndarray | None  # (rows,)
    chosen: np.ndarray | None  # numbers of the rows trained on; None: all
    validation: Rows | None

    @property
    def rows(self) -> int:
        """Number of rows trained on."""
        return len(self.X if self.chosen is None else self.chosen)


def check_data(network: Network, X: Any, Y: Any, weights: Any, validation: Any, seed: int) -> Data:
    """Check and split; `validation` is None, a fraction, or (X, Y) or (X, Y, weights)."""
    X = check_inputs(network, X)
    Y = check_targets(network, Y, len(X), X.dtype)
    weights = check_weights(weights, len(X), X.dtype)
    by_class = network.loss.targets == "distribution" and Y.shape[1] == 1
    if by_class and np.all(Y[0] == Y):
        raise ValueError(f"Y must hold at least two classes to learn from; all {len(Y)} rows are of class {int(Y[0, 0])}")
    if validation is None:
        return Data(X, Y, weights, None, None)
    if isinstance(validation, (int, float)):
        held = held_out_rows(len(X), validation, seed, Y[:, 0] if by_class else None)
        chosen = np.delete(np.arange(len(X)), held)
        if weights is not None and not (weights[held].any() and weights[chosen].any()):
            raise ValueError(
                "weights must not all be 0 in the rows held out for validation, nor in the others; try another seed"
            )
        return Data(X, Y, weights, chosen, (X[held], Y[held], None if weights is None else weights[held]))
    if not isinstance(validation, tuple) or len(validation) not in (2, 3):
        raise TypeError(f"validation must be a fraction, (X, Y) or (X, Y, weights); got {type(validation).__name__}")
    Xv = check_inputs(network, validation[0], X.dtype, "validation X")
    Yv = check_targets(network, validation[1], len(Xv), X.dtype, "validation Y")
    wv = check_weights(validation[2] if len(validation) == 3 else None, len(Xv), X.dtype, "validation weights")
    return Data(X, Y, weights, None, (Xv, Yv, wv))


def held_out_rows(rows: int, fraction: float, seed: int, classes: np.ndarray | None = None) -> np.ndarray:
    """Sorted numbers of the rows to hold out: drawn by `seed`, from every class in proportion where `classes` are given."""
    if not 0 < fraction < 1:
        raise ValueError(f"validation must be a fraction between 0 and 1; got {fraction!r}")
    count = min(max(round(rows * fraction), 1), rows - 1)
    if rows < 2:
        raise ValueError("validation by a fraction needs at least 2 rows; got 1")
    order = np.random.default_rng([seed, 1]).permutation(rows)
    if classes is not None:
        # a row's place within its class, as a share of the class: sorted by it, every prefix holds all classes in proportion
        by_class = order[np.argsort(classes[order], kind="stable")]
        _, starts, sizes = np.unique(classes[by_class], return_index=True, return_counts=True)
        place = (np.arange(rows) - np.repeat(starts, sizes) + 0.5) / np.repeat(sizes, sizes)
        order = by_class[np.argsort(place, kind="stable")]
    return np.sort(order[:count])


class RowOrder:
    """The order of rows in every epoch: a pure function of (seed, epoch), by NumPy's Philox with the epoch in its counter."""

    def __init__(self, data: Data, seed: int, shuffle: bool) -> None:
        self._chosen, self._rows, self._shuffle = data.chosen, data.rows, shuffle
        self._bits = np.random.Philox(key=seed)
        self._generator = np.random.Generator(self._bits)
        self._start = self._bits.state

    @property
    def needed(self) -> bool:
        """False where rows are taken as they lie."""
        return self._shuffle or self._chosen is not None

    def write(self, epoch: int, out: np.ndarray) -> None:
        """Write the row numbers of `epoch` into `out`, (rows,)."""
        out[:] = np.arange(self._rows) if self._chosen is None else self._chosen
        if self._shuffle:
            self._start["state"]["counter"][3] = epoch
            self._bits.state = self._start
            self._generator.shuffle(out)
