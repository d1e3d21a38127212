"""What `train` is given, checked and split: training rows, validation rows, row orders.

It copies no training rows: a validation fraction is kept out by row numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from numbers import Real
from typing import Any

import numpy as np

from glassprop.core.arrays import check_inputs, check_targets, check_weights, weigh_nothing
from glassprop.core.network import Network
from glassprop.core.randomness import draw_orders

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
        return self.X.shape[0] if self.chosen is None else len(self.chosen)


class Once:
    """Checks of arrays that networks share: each is converted once, and checked once for all that ask the same of it."""

    def __init__(self) -> None:
        self._given: list[Any] = []  # kept, or another array might come to have the same id
        self._ready: dict[tuple, Any] = {}
        self._passed: set[tuple] = set()

    def __call__(self, wanted: tuple, check: Callable, given: Any, *arguments: Any) -> Any:
        """``check(given, *arguments)``; `wanted` is what the check goes by that is not among the arguments."""
        key = (id(given), *arguments)
        if (key, wanted) not in self._passed:
            self._given.append(given)
            self._ready[key] = check(self._ready.get(key, given), *arguments)
            self._passed.add((key, wanted))
        return self._ready[key]


def check_data(
    network: Network,
    X: Any,
    Y: Any,
    weights: Any,
    validation: Any,
    seed: int,
    rows: Any = None,
    once: Once | None = None,
    dtype: str | None = None,
) -> Data:
    """Check and split; `validation` is None, a fraction, or (X, Y) or (X, Y, weights); `rows` are those to train on."""
    once = once or Once()
    X = once((network.layers[0],), partial(check_inputs, network), X, dtype, "X")
    targets = (network.layers[-1], network.loss.name)
    Y = once(targets, partial(check_targets, network), Y, len(X), X.dtype, "Y")
    weights = once((), check_weights, weights, len(X), X.dtype, "weights")
    chosen = once((), check_rows, rows, len(X))
    own = Y if chosen is None else Y[chosen]
    by_class = network.loss.targets == "distribution" and Y.shape[1] == 1
    if by_class and np.all(own[0] == own):
        raise ValueError(f"Y must hold at least two classes to learn from; all {len(own)} rows are of class {int(own[0, 0])}")
    if weights is not None and chosen is not None and weigh_nothing(weights[chosen]):
        raise ValueError("weights must not all be 0 in the rows to train on")
    if isinstance(validation, Real):

        def split(X: np.ndarray, fraction: float, seed: int, by_class: bool, *_: int) -> tuple[np.ndarray, Rows]:
            held = held_out_rows(len(own), fraction, seed, own[:, 0] if by_class else None)
            rest = np.delete(np.arange(len(own)), held)
            if chosen is not None:
                held, rest = chosen[held], chosen[rest]
            if weights is not None and (weigh_nothing(weights[held]) or weigh_nothing(weights[rest])):
                raise ValueError(
                    "weights must not all be 0 in the rows held out for validation, nor in the others; try another seed"
                )
            return rest, (X[held], Y[held], None if weights is None else weights[held])

        arrays = id(Y), id(weights), id(chosen)  # kept by `once`, or another array might come to have the same
        rest, held = once((), split, X, float(validation), seed, by_class, *arrays)
        return Data(X, Y, weights, rest, held)
    if validation is None:
        return Data(X, Y, weights, chosen, None)
    if not isinstance(validation, tuple) or len(validation) not in (2, 3):
        raise TypeError(f"validation must be a fraction, (X, Y) or (X, Y, weights); got {type(validation).__name__}")
    Xv = once((network.layers[0],), partial(check_inputs, network), validation[0], X.dtype, "validation X")
    Yv = once(targets, partial(check_targets, network), validation[1], len(Xv), X.dtype, "validation Y")
    wv = validation[2] if len(validation) == 3 else None
    return Data(X, Y, weights, chosen, (Xv, Yv, once((), check_weights, wv, len(Xv), X.dtype, "validation weights")))


def check_rows(rows: Any, count: int) -> np.ndarray | None:
    """Numbers of the rows to train on, of a table of `count`: a copy of the numbers given, or where a mask is true; or None."""
    if rows is None:
        return None
    array = np.asarray(rows)
    if array.ndim != 1 or array.dtype.kind not in "iub":
        got = f"{array.dtype} of shape {array.shape}" if isinstance(rows, np.ndarray) else repr(rows)
        raise ValueError(f"rows of a network must be one-dimensional, row numbers or truth values; got {got}")
    if array.dtype.kind == "b":
        if len(array) != count:
            raise ValueError(f"rows must be a truth value for each of the {count} rows of X; got {len(array)}")
        array = np.flatnonzero(array)
    if len(array) == 0:
        raise ValueError("rows must name at least one row of X; got none")
    wrong = array[(array < 0) | (array >= count)]
    if len(wrong):
        raise ValueError(f"rows must be numbers from 0 to {count - 1}, as X has {count} rows; got {wrong[0]}")
    return array.astype(np.int64)  # the core reads where they point


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
    """The order of rows in every epoch: a function of (seed, epoch)."""

    def __init__(self, data: Data, seed: int, shuffle: bool) -> None:
        self._unshuffled = np.arange(data.rows) if data.chosen is None else data.chosen
        self._seed, self._shuffle = seed, shuffle
        self.needed = shuffle or data.chosen is not None  # else rows are taken as they lie

    def write(self, epoch: int, out: np.ndarray) -> None:
        """Write the row numbers of epochs from `epoch` on into `out`, (epochs, rows)."""
        if self._shuffle:
            draw_orders(out, self._unshuffled, self._seed, epoch)
        else:
            out[:] = self._unshuffled

    def of(self, epoch: int) -> np.ndarray:
        """The row numbers of `epoch`, (rows,)."""
        out = np.empty((1, len(self._unshuffled)), np.int64)
        self.write(epoch, out)
        return out[0]
