"""Sparse tables, from SciPy's form to the core's. It knows rows, not what is done with them."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.sparse import csc_array, csr_array, issparse

from glassprop.core.arrays import core_array
from glassprop.core.sparse import SparseTable

# Share of numbers that are not 0, from which on dense products are faster: in steps, and in sums of the gradient for L-BFGS.
DENSE_FROM, LBFGS_DENSE_FROM = 0.08, 0.25
DENSE_BYTES = 2**28  # if it takes no more than this


def training_table(X: Any, solver: Any = "adam") -> Any:
    """X as a solver goes through it: as the core takes it where it is dense or to be made dense; else by rows."""
    if not issparse(X):
        return core_array(X, X.dtype)
    numbers, dense_from = X.shape[0] * X.shape[1], LBFGS_DENSE_FROM if solver == "lbfgs" else DENSE_FROM
    if X.nnz >= dense_from * numbers and numbers * X.dtype.itemsize <= DENSE_BYTES:
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


def by_columns(table: SparseTable, batch_size: int) -> SparseTable:
    """The table batch by batch, and of each batch column by column: its row b · inputs + j holds that column, named by rows."""
    rows = csr_array((table.values, table.columns, table.starts), (len(table), table.inputs))
    batches = [csc_array(rows[start : start + batch_size]) for start in range(0, len(table), batch_size)]
    counts = [np.diff(batch.indptr) for batch in batches]
    return SparseTable(
        np.concatenate([[0], *counts]).cumsum(dtype=np.int64),
        np.concatenate([batch.indices for batch in batches], dtype=np.int64),
        np.concatenate([batch.data for batch in batches]),
        batch_size,
    )
