"""JAX at a task: a whole epoch in one jitted scan over the rows' order, in whichever of four forms is the fastest here."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree

from glassprop.bench.peers import Peer

if TYPE_CHECKING:
    from glassprop.bench.tasks import Rows, Start, Task

Form = tuple[str, bool, int]  # what updates, whether W is stored (fan_out, fan_in), steps unrolled in the scan
FORMS: dict[str, Form] = {
    "optax.adam": ("optax", False, 1),
    "optax.adam, unroll 4": ("optax", False, 4),
    "Adam by hand, W transposed": ("hand", True, 1),
    "Adam by hand on one vector, unroll 4": ("vector", False, 4),
}
TRIAL_SECONDS = 0.3


def objective(unravel: Callable, turned: bool, loss: str, penalty: float, parameters: Any, X: Any, Y: Any) -> Any:
    """Mean loss of a batch, penalty included; from whatever `unravel` makes layers of."""
    layers = unravel(parameters)
    h = outputs(layers, turned, X)
    if loss == "cross_entropy":
        value = -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(h), Y[:, None], axis=1))
    else:
        value = 0.5 * jnp.mean(jnp.sum((h - Y) ** 2, axis=1))
    return value + 0.5 * penalty * sum(jnp.sum(W * W) for W, _ in layers) if penalty else value


def outputs(layers: Any, turned: bool, h: Any) -> Any:
    """The outputs of a ReLU network."""
    for l, (W, b) in enumerate(layers):
        h = (h @ W.T if turned else h @ W) + b
        h = jax.nn.relu(h) if l < len(layers) - 1 else h
    return h


def _adam(t: Any, p: Any, m: Any, v: Any, g: Any) -> tuple:
    """Kingma and Ba 2015, with the settings of ``optax.adam(1e-3)``."""
    m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
    return p - 1e-3 * (m / (1 - 0.9**t)) / (jnp.sqrt(v / (1 - 0.999**t)) + 1e-8), m, v


class Jax(Peer):
    """Parameters and optimizer state are donated, data lie on the device; rows that fill no batch are left out of an epoch."""

    def __init__(self, task: Task, rows: Rows, threads: int, form: str = "") -> None:
        super().__init__(task, rows, threads)
        jax.config.update("jax_enable_x64", task.dtype == "float64")
        self.X, self.Y = jax.device_put(rows.X), jax.device_put(rows.Y)
        self.optimizer = optax.adam(1e-3)
        self.fixed = bool(form)
        self._take(form or next(iter(FORMS)))

    def _take(self, form: str) -> None:
        self.form = form
        self.update, self.turned, self.unroll = FORMS[form]
        self.unravel: Callable = lambda parameters: parameters
        self.compiled: Any = None

    def restart(self, start: Start) -> None:
        layers = [(jnp.array(np.ascontiguousarray(W.T) if self.turned else W), jnp.array(b)) for W, b in start]
        if self.update == "optax":
            self.state: Any = (layers, self.optimizer.init(layers))
            return
        parameters: Any = layers
        if self.update == "vector":
            parameters, unravel = ravel_pytree(layers)
            self.unravel = self.unravel if self.compiled else unravel
        zeros = [jax.tree.map(jnp.zeros_like, parameters) for _ in range(2)]
        self.state = (parameters, *zeros, jnp.zeros((), layers[0][0].dtype))

    def _step(self, X: Any, Y: Any, state: Any, chosen: Any) -> tuple:
        loss = partial(objective, self.unravel, self.turned, self.task.loss, self.task.alpha / self.task.batch)
        value, gradient = jax.value_and_grad(loss)(state[0], X[chosen], Y[chosen])
        if self.update == "optax":
            updates, optimizer_state = self.optimizer.update(gradient, state[1], state[0])
            return (optax.apply_updates(state[0], updates), optimizer_state), value
        *old, t = state
        leaves, shape = zip(*(jax.tree.flatten(tree) for tree in (*old, gradient)), strict=True)
        new = [_adam(t + 1, *each) for each in zip(*leaves, strict=True)]
        return (*(jax.tree.unflatten(shape[0], part) for part in zip(*new, strict=True)), t + 1), value

    def _epoch(self, state: Any, X: Any, Y: Any, order: Any) -> tuple:
        state, losses = jax.lax.scan(partial(self._step, X, Y), state, order, unroll=self.unroll)
        return state, jnp.mean(losses)

    def train_epoch(self, order: np.ndarray) -> Any:
        steps, batch = self.task.steps, min(self.task.batch, len(order))
        table = order[: steps * batch].astype(np.int32).reshape(steps, batch)
        if self.compiled is None:
            self.compiled = jax.jit(self._epoch, donate_argnums=0)
        self.state, loss = self.compiled(self.state, self.X, self.Y, table)
        return loss

    def settle(self, start: Start) -> None:
        """Try the forms and stay with the fastest."""
        seconds = {}
        for form in () if self.fixed else FORMS:
            self._take(form)
            self.restart(start)
            self.train(1)
            times: list[float] = []
            begun = time.perf_counter()
            while not times or time.perf_counter() - begun < TRIAL_SECONDS:
                before = time.perf_counter()
                self.train(1)
                times.append(time.perf_counter() - before)
            seconds[form] = sorted(times)[len(times) // 2]
        if seconds:
            self._take(min(seconds, key=seconds.__getitem__))
            self.restart(start)
            self.train(1)

    def _layers(self) -> Any:
        return self.unravel(self.state[0])

    def predict(self, X: np.ndarray) -> np.ndarray:
        return np.asarray(jax.jit(outputs, static_argnums=1)(self._layers(), self.turned, X))

    def weights(self) -> Start:
        return [(np.asarray(W.T if self.turned else W), np.asarray(b)) for W, b in self._layers()]
