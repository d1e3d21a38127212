"""scikit-learn at a task: `fit` of its own multilayer perceptron, which draws starting weights and row orders itself."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier, MLPRegressor

from glassprop.bench.peers import Peer

if TYPE_CHECKING:
    from glassprop.bench.tasks import Rows, Start, Task


class Sklearn(Peer):
    """Nothing stops a fit early but the end "stale", which is scikit-learn's default."""

    def __init__(self, task: Task, rows: Rows, threads: int) -> None:
        super().__init__(task, rows, threads)
        self.Y = rows.Y[:, 0] if rows.Y.ndim == 2 and rows.Y.shape[1] == 1 else rows.Y

    def _make(self, epochs: int) -> Any:
        if self.task.end == "stale":
            return MLPClassifier(random_state=int(self.draw.integers(2**31)))  # its defaults are the task
        kind = MLPClassifier if self.task.loss == "cross_entropy" else MLPRegressor
        return kind(
            hidden_layer_sizes=self.task.layers[1:-1], solver="adam", alpha=self.task.alpha, batch_size=self.task.batch,
            max_iter=epochs, tol=0.0, n_iter_no_change=10**9, random_state=int(self.draw.integers(2**31)),
        )  # fmt: skip

    def restart(self, start: Start) -> None:
        self.model: Any = None

    def train(self, epochs: int) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # that the epochs asked for are over
            self.model = self._make(epochs).fit(self.rows.X, self.Y)

    def fit(self) -> int:
        if self.task.end != "accuracy":
            self.train(self.task.epochs)
            return self.model.n_iter_
        self.model = self._make(1)
        classes = np.arange(self.task.layers[-1])
        return self.count_epochs(lambda: self.model.partial_fit(self.rows.X, self.Y, classes=classes))

    def predict(self, X: np.ndarray) -> np.ndarray:
        return self.model.predict_proba(X) if self.task.loss == "cross_entropy" else self.model.predict(X)
