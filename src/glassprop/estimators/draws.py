"""scikit-learn's random draws, in its order: starting weights, rows held out, the order of rows in every epoch.

It knows numbers of rows and layers, not data. Specification: ``sklearn.neural_network._multilayer_perceptron``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from glassprop.core.network import Parameters


def starting_parameters(
    random_state: np.random.RandomState, layers: Sequence[int], activations: Sequence[str], dtype: Any
) -> Any:
    """Weights and then biases of each layer, uniform within Glorot and Bengio's bound, or √(1/3) of it with a sigmoid."""
    parameters = Parameters(layers, dtype)
    for W, b, activation in zip(parameters.W, parameters.b, activations, strict=True):
        bound = math.sqrt((2.0 if activation == "sigmoid" else 6.0) / sum(W.shape))
        W[...] = random_state.uniform(-bound, bound, W.shape)
        b[...] = random_state.uniform(-bound, bound, b.shape)
    return parameters


def held_out_rows(
    random_state: np.random.RandomState, rows: int, fraction: float, classes: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the rows to train on and of those held out: from every class in proportion, where `classes` are given.

    Raises
    ------
    ValueError
        Where fewer than two rows would be held out, or a class has a single row.
    """
    from sklearn.model_selection import train_test_split

    train, held = train_test_split(np.arange(rows), random_state=random_state, test_size=fraction, stratify=classes)
    if len(held) < 2:
        raise ValueError("The validation set is too small. Increase 'validation_fraction' or the size of your dataset.")
    return train, held


class RowOrders:
    """The order of rows in one epoch after another: each shuffles the one before.

    Parameters
    ----------
    random_state : RandomState
    rows : int or ndarray
        How many rows there are, or the numbers of those to train on in the order to begin with.
    shuffle : bool
    """

    def __init__(self, random_state: np.random.RandomState, rows: int | np.ndarray, shuffle: bool) -> None:
        self.needed = shuffle or not isinstance(rows, int)  # else rows are taken as they lie
        self.order: np.ndarray = np.arange(rows) if isinstance(rows, int) else rows
        self._random_state, self._shuffle = random_state, shuffle
        self._places = np.arange(len(self.order))

    def write(self, out: np.ndarray) -> None:
        """Write the row numbers of the next epoch into `out`, (rows,)."""
        if self._shuffle:
            places = self._places.copy()
            self._random_state.shuffle(places)
            self.order = self.order[places]
        out[:] = self.order
