"""glassprop at a task: one call of `train`, with everything that it sets up, checks and records."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

import glassprop as gp
from glassprop.bench.peers import Peer
from glassprop.bench.tasks import ACCURACY, PATIENCE, TOLERANCE
from glassprop.core.passes import predict

if TYPE_CHECKING:
    from glassprop.bench.tasks import Rows, Start, Task


class Glassprop(Peer):
    """Training begins anew with every call of `train`."""

    def __init__(self, task: Task, rows: Rows, threads: int) -> None:
        super().__init__(task, rows, threads)
        self.network = gp.Network(task.layers, loss=task.loss, l2=task.alpha / task.batch)

    def restart(self, start: Start) -> None:
        self.start = gp.Parameters.from_arrays(*zip(*start, strict=True))

    def train(self, epochs: int, **more: Any) -> None:
        self.run = gp.train(
            self.network, self.rows.X, self.rows.Y, parameters=self.start, optimizer=gp.Adam(1e-3), epochs=epochs,
            batch_size=self.task.batch, seed=int(self.draw.integers(2**31)), threads=self.threads, **more,
        )  # fmt: skip

    def fit(self) -> int:
        if self.task.end == "accuracy":
            X, Y = self.rows.X_test, self.rows.Y_test

            def reached(epoch: gp.Epoch) -> bool:
                return bool((predict(self.network, epoch.parameters, X).argmax(axis=1) == Y).mean() >= ACCURACY)

            self.train(self.task.epochs, callbacks=reached)
        else:
            stale = {"patience": PATIENCE, "tolerance": TOLERANCE} if self.task.end == "stale" else {}
            self.train(self.task.epochs, **stale)
        return self.run.epochs

    def predict(self, X: np.ndarray) -> np.ndarray:
        return self.run.predict(X)

    def weights(self) -> Start:
        return list(zip(self.run.parameters.W, self.run.parameters.b, strict=True))
