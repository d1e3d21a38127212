"""Keras 3 on JAX at a task: `fit`, compiled, with its own shuffling."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from glassprop.bench.peers import Peer

if TYPE_CHECKING:
    from glassprop.bench.tasks import Rows, Start, Task


STEPS = 64  # in one call of what is compiled: half the time of `tiny` and `small`


def _half_squared_error(Y: Any, h: Any) -> Any:
    return 0.5 * keras.ops.sum(keras.ops.square(h - Y), axis=-1)


class Keras(Peer):
    """`fit` draws its row orders itself."""

    def __init__(self, task: Task, rows: Rows, threads: int) -> None:
        super().__init__(task, rows, threads)
        keras.config.set_floatx(task.dtype)
        *hidden, last = task.layers[1:]
        layers = [keras.layers.Dense(units, activation="relu") for units in hidden]
        self.model = keras.Sequential([keras.Input((task.layers[0],)), *layers, keras.layers.Dense(last)])
        crossed = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        loss = crossed if task.loss == "cross_entropy" else _half_squared_error
        self.model.compile(keras.optimizers.Adam(1e-3, epsilon=1e-8), loss=loss, jit_compile=True, steps_per_execution=STEPS)

    def restart(self, start: Start) -> None:
        self.model.set_weights([array for layer in start for array in layer])
        for variable in self.model.optimizer.variables:
            if variable.name != "learning_rate":
                variable.assign(np.zeros(variable.shape, variable.dtype))

    def train(self, epochs: int) -> None:
        self.model.fit(self.rows.X, self.rows.Y, batch_size=self.task.batch, epochs=epochs, shuffle=True, verbose=0)

    def predict(self, X: np.ndarray) -> np.ndarray:
        return np.asarray(self.model.predict(X, batch_size=1000, verbose=0))
