"""Memory of training: parameters, gradient, optimizer state, the best parameters, one minibatch's scratch; no copy of X."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

import glassprop as gp
from glassprop.core.matrix_unit import has_matrix_unit
from glassprop.core.workspace import Workspace


def peak_of(network: gp.Network, X: np.ndarray, Y: np.ndarray, **settings: object) -> int:
    """Most bytes that `train` holds at a time, beyond what there was."""
    gp.train(network, X[:100], Y[:100], epochs=1, seed=0)  # what is made once for a process
    tracemalloc.start()
    try:
        gp.train(network, X, Y, epochs=2, seed=0, **settings)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_table_is_not_copied(dtype: str) -> None:
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(20_000, 200)).astype(dtype), rng.normal(size=(20_000, 1)).astype(dtype)
    orders = 2 * len(X) * 8
    peak = peak_of(gp.Network((200, 8, 1)), X, Y, batch_size=64)
    assert peak < orders + X.nbytes / 5
    held_out = peak_of(gp.Network((200, 8, 1)), X, Y, batch_size=64, validation=0.1)
    assert held_out < orders + X.nbytes * (0.1 + 1 / 5)  # validation rows are taken out


def test_a_workspace_is_parameters_gradient_state_and_one_batch() -> None:
    network, batch = gp.Network((784, 2048, 2048, 10), activation="relu"), 512
    theta = network.initialize(0, dtype="float32").theta
    X, Y = np.zeros((batch, 784), np.float32), np.zeros((batch, 10), np.float32)
    work = Workspace(network, theta, X, Y, batch_size=batch, optimizer=gp.Adam(), keep_best=True)
    assert theta.size < 1.02 * network.n_parameters  # the padding
    vectors = sum(work[name].nbytes for name in ("theta", "gradient", "state", "best"))
    assert vectors == 5 * theta.nbytes
    units = 2 * (784 + 2048 + 2048) + (2048 + 2048) + 4 * 10  # P and Q; δ; g, h, δ and targets of the output
    if has_matrix_unit():  # operands in three parts take half as much again
        units += 1.5 * (2 * (784 + 2048) + (2048 + 2048))
    own = sum(array.nbytes for array in work.arrays.values() if array is not None) - vectors - X.nbytes - Y.nbytes
    assert own < 1.1 * units * batch * 4 + 2**20  # and W's columns, turned around
