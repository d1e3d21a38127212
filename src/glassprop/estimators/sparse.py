"""Sparse tables: dense as a whole where that is small, else some steps at a time. It knows rows, not what is done with them.

The numbers are those of the dense table in every bit: the core is given the same rows in the same order.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy.sparse import issparse

from glassprop.core.arrays import core_array
from glassprop.core.workspace import Workspace
from glassprop.training.data import Data

WHOLE_BYTES = 2**28  # of a dense table, up to which it is made dense once and for all to be trained on
CHUNK_BYTES = 2**25  # of rows that are dense at a time, or one batch (for prediction: one row) where that is more


def training_table(X: Any, by_steps: bool) -> Any:
    """X as it is trained on: dense, or by rows where it is sparse, large, and may be taken some steps at a time."""
    if by_steps and issparse(X) and X.shape[0] * X.shape[1] * X.dtype.itemsize > WHOLE_BYTES:
        return X.tocsr()
    return core_array(X.toarray() if issparse(X) else X, X.dtype)


def dense_parts(X: Any) -> Iterator[np.ndarray]:
    """X itself, or the rows of a sparse X, some at a time."""
    if not issparse(X):
        yield X
        return
    by_row, rows = X.tocsr(), max(1, CHUNK_BYTES // (X.shape[1] * X.dtype.itemsize))
    for start in range(0, X.shape[0], rows):
        yield by_row[start : start + rows].toarray()


class Chunks:
    """The rows of some steps after another of an epoch, dense, as the core finds them.

    Parameters
    ----------
    data : Data
        With a sparse X.
    batch_size : int
    """

    def __init__(self, data: Data, batch_size: int) -> None:
        self._data, self._batch_size = data, batch_size
        self._X: Any = data.X
        self.steps = max(1, CHUNK_BYTES // (batch_size * data.X.shape[1] * data.X.dtype.itemsize))
        self.order = np.zeros(data.rows, np.int64)  # row numbers of the epoch that has begun

    def hand_in(self, work: Workspace, first: int, last: int) -> None:
        """Make the rows of steps `first` to `last` (exclusive) of the epoch those that the core reads."""
        places = slice(first * self._batch_size, last * self._batch_size)
        numbers, data = self.order[places], self._data
        work["order"][0, places] = np.arange(len(numbers))
        work.set(X=self._X[numbers].toarray(), Y=data.Y[numbers])
        if data.weights is not None:
            work.set(weights=data.weights[numbers])
