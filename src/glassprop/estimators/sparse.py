"""Sparse tables, from SciPy's form to the core's. It knows rows, not what is done with them."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.sparse import csr_array, issparse

from glassprop.core.arrays import core_array
from glassprop.core.sparse import SparseTable

DENSE_FROM = 0.08  # share of numbers that are not 0, from which on dense products are faster
DENSE_BYTES = 2**28  # if it takes no more than this


def training_table(X: Any) -> Any:
    """X as it is trained on: as the core takes it where it is dense or to be made dense; else by rows."""
    if not issparse(X):
        return core_array(X, X.dtype)
    numbers = X.shape[0] * X.shape[1]
    if X.nnz >= DENSE_FROM * numbers and numbers * X.dtype.itemsize <= DENSE_BYTES:
        return core_array(X.toarray(), X.dtype)
    return csr_array(X)


def core_table(X: Any, dtype: Any, sparse: bool | None = None) -> np.ndarray | SparseTable:
    """X as the core takes it: sparse if asked for, or as it is."""
    if not (issparse(X) if sparse is None else sparse):
        return core_array(X.toarray() if issparse(X) else X, dtype)
    X = csr_array(X)
    X.check_format()  # the core writes where the indices point
    if not X.has_canonical_format:  # columns of a row ascending, none twice
        X = X.copy()
        X.sum_duplicates()
    return SparseTable(X.indptr.astype(np.int64), X.indices.astype(np.int64), core_array(X.data, dtype), X.shape[1])
