"""PyTorch at a task: rows gathered by `index_select`, fused Adam; eager, or with the step's loss and gradient compiled."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from glassprop.bench.peers import Peer

if TYPE_CHECKING:
    from glassprop.bench.tasks import Rows, Start, Task


class Eager(Peer):
    """An ordinary training loop."""

    def __init__(self, task: Task, rows: Rows, threads: int) -> None:
        super().__init__(task, rows, threads)
        torch.set_num_threads(threads)
        self.X, self.Y = torch.from_numpy(rows.X), torch.from_numpy(rows.Y)
        parts: list[torch.nn.Module] = []
        for fan_in, fan_out in pairwise(task.layers):
            parts += [torch.nn.Linear(fan_in, fan_out, dtype=self.X.dtype), torch.nn.ReLU()]
        self.model = torch.nn.Sequential(*parts[:-1])
        self.loss = self._loss

    def _loss(self, X: Any, Y: Any) -> Any:
        h = self.model(X)
        if self.task.loss == "cross_entropy":
            value = torch.nn.functional.cross_entropy(h, Y)
        else:
            value = 0.5 * (h - Y).square().sum(dim=1).mean()
        if self.task.alpha:
            weights = (parameter for parameter in self.model.parameters() if parameter.ndim == 2)
            value = value + 0.5 * self.task.alpha / self.task.batch * sum(W.square().sum() for W in weights)
        return value

    def restart(self, start: Start) -> None:
        with torch.no_grad():
            for layer, (W, b) in zip(self.model[::2], start, strict=True):
                layer.weight.copy_(torch.from_numpy(np.ascontiguousarray(W.T)))
                layer.bias.copy_(torch.from_numpy(b))
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-3, fused=True)

    def train_epoch(self, order: np.ndarray) -> Any:
        total, batches = 0.0, torch.from_numpy(order).split(self.task.batch)
        for chosen in batches:
            self.optimizer.zero_grad(set_to_none=True)
            loss = self.loss(self.X.index_select(0, chosen), self.Y.index_select(0, chosen))
            loss.backward()
            self.optimizer.step()
            total = total + loss.detach() if self.task.end == "stale" else loss.detach()
        return total / len(batches) if self.task.end == "stale" else total

    def predict(self, X: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return self.model(torch.from_numpy(X)).numpy()

    def weights(self) -> Start:
        layers = [(layer.weight.detach().numpy().T, layer.bias.detach().numpy()) for layer in self.model[::2]]
        return [(W.copy(), b.copy()) for W, b in layers]


class Compiled(Eager):
    """Loss and gradient by `torch.compile`, which needs a C++ compiler."""

    def __init__(self, task: Task, rows: Rows, threads: int) -> None:
        super().__init__(task, rows, threads)
        self.loss = torch.compile(self._loss, dynamic=False)
