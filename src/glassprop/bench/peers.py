"""Table of competitors, glassprop among them, and what they have in common. It imports none of them."""

from __future__ import annotations

import ctypes.util
import importlib
import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from math import inf
from typing import TYPE_CHECKING, Any

from glassprop.bench.tasks import ACCURACY, PATIENCE, TOLERANCE

if TYPE_CHECKING:
    import numpy as np

    from glassprop.bench.tasks import Rows, Start, Task


class Peer(ABC):
    """A competitor at a task. After construction it can train; the first epoch may compile."""

    form = ""  # which of its forms is the one that runs, where it has several

    def __init__(self, task: Task, rows: Rows, threads: int) -> None:
        import numpy as np

        self.task, self.rows, self.threads = task, rows, threads
        self.draw = np.random.default_rng(1)

    @abstractmethod
    def restart(self, start: Start) -> None:
        """Take these parameters, and an optimizer that has not run yet."""

    def settle(self, start: Start) -> None:
        """After the first fit and before samples: choose among forms, where there are several."""
        return

    def train_epoch(self, order: np.ndarray) -> Any:
        """An epoch over the rows in this order; a loss, as a number or what becomes one, that is known when it is over.

        Where the task's fit ends by it, which is "stale", it is the mean of the epoch's batches. Else it is only waited for,
        and may be the last batch's: adding up would be timed, too.
        """
        raise NotImplementedError

    def train(self, epochs: int) -> None:
        """So many epochs, each in a new order of rows, and wait for the end."""
        for _ in range(epochs):
            loss = self.train_epoch(self.draw.permutation(len(self.rows.X)))
        float(loss)

    def predict(self, X: np.ndarray) -> np.ndarray:
        """The outputs, before softmax, say."""
        raise NotImplementedError

    def weights(self) -> Start:
        """The present parameters."""
        raise NotImplementedError

    def fit(self) -> int:
        """The task's whole fit; how many epochs it took."""
        if self.task.end == "epochs":
            self.train(self.task.epochs)
            return self.task.epochs
        if self.task.end == "accuracy":
            return self.count_epochs(lambda: self.train(1))
        best, stale = inf, 0
        for epoch in range(1, self.task.epochs + 1):
            loss = float(self.train_epoch(self.draw.permutation(len(self.rows.X))))
            stale = stale + 1 if loss > best - TOLERANCE else 0
            best = min(best, loss)
            if stale >= PATIENCE:
                return epoch
        return self.task.epochs

    def count_epochs(self, train_epoch: Callable[[], Any]) -> int:
        """Train epochs until the test accuracy is reached; how many."""
        for epoch in range(1, self.task.epochs + 1):
            train_epoch()
            if self.accuracy() >= ACCURACY:
                return epoch
        return self.task.epochs

    def accuracy(self) -> float:
        """Share of the test rows whose class has the largest output."""
        assert self.rows.X_test is not None
        return float((self.predict(self.rows.X_test).argmax(axis=1) == self.rows.Y_test).mean())


@dataclass(frozen=True)
class Competitor:
    """A row of the table: where its `Peer` is, and what it needs. All names as a person reads and writes them."""

    name: str
    place: str  # module and class
    title: str
    imports: tuple[str, ...] = ()  # what an ordinary program imports, timed in a fresh process
    packages: tuple[str, ...] = ()  # whose versions are stated
    library: str = ""  # of C, instead of a Python package
    by_default: bool = True  # in a short run, too; else its compiler takes half a minute for every task
    ends: tuple[str, ...] = ("", "epochs", "accuracy", "stale")
    dtypes: tuple[str, ...] = ("float32", "float64")
    most_flops: float = inf  # of a step; above, an epoch would take minutes
    threads: bool = True  # whether it can use several
    held_to_one: bool = False  # in a comparison on several threads, this is the form that uses one of them
    same_training: bool = True  # whether it does the very same arithmetic; else it is shown, not counted as the best peer

    def process_threads(self, threads: int) -> int:
        """The threads of its process in a comparison on `threads`."""
        return 1 if self.held_to_one else threads

    def absent(self) -> str:
        """Why it cannot run here, or an empty text."""
        lost = [name for name in self.imports if find_spec(name.partition(".")[0]) is None]
        if lost:
            return f"{' and '.join(lost)} {'is' if len(lost) == 1 else 'are'} not installed"
        if self.library and ctypes.util.find_library(self.library) is None:
            return f"lib{self.library} is not installed"
        return ""

    def refuses(self, task: Task, threads: int) -> str:
        """Why it does not take part in a task, or an empty text."""
        if task.end not in self.ends or task.dtype not in self.dtypes:
            return "it has no such fit"
        if task.flops > self.most_flops:
            return "an epoch would take minutes"
        if self.held_to_one and threads == 1:
            return "on one thread it is the form without that limit"
        return "it uses one thread" if threads > 1 and not self.threads else ""

    def versions(self) -> dict[str, str]:
        """Versions of its packages."""
        from importlib.metadata import version

        return {name: version(name) for name in self.packages}

    def make(self, task: Task, rows: Rows, threads: int) -> Peer:
        """It, at a task."""
        module, name = self.place.split(":")
        return getattr(importlib.import_module(f"glassprop.bench.{module}"), name)(task, rows, threads)


PEERS: dict[str, Competitor] = {
    row.name: row
    for row in (
        Competitor("glassprop", "ours:Glassprop", "glassprop", ("glassprop",), ("glassprop", "numba", "numpy")),
        Competitor("jax", "jax_peer:Jax", "JAX, epoch in one scan", ("jax", "optax"), ("jax", "optax")),
        Competitor("jax-one", "jax_peer:Jax", "JAX, held to one thread", ("jax", "optax"), held_to_one=True),
        Competitor("torch", "torch_peer:Eager", "PyTorch, fused Adam", ("torch",), ("torch",)),
        Competitor("torch-compile", "torch_peer:Compiled", "PyTorch, torch.compile", ("torch",), by_default=False),
        Competitor("keras", "keras_peer:Keras", "Keras 3 on JAX", ("keras", "jax"), ("keras",),
                   ends=("", "epochs", "accuracy")),
        Competitor("sklearn", "sklearn_peer:Sklearn", "scikit-learn", ("sklearn.neural_network",), ("scikit-learn",)),
        Competitor("fann", "fann_peer:Fann", "FANN, gradient descent", library="floatfann", ends=("", "epochs"),
                   dtypes=("float32",), most_flops=1e8, threads=False, same_training=False),
    )
}  # fmt: skip


def installed_peers(short: bool = True) -> list[str]:
    """The competitors that can run here; of a short run, those that start soon."""
    return [name for name, row in PEERS.items() if not row.absent() and (row.by_default or not short)]


def environment(threads: int) -> dict[str, str]:
    """The environment of a competitor's process: one thread throughout, or what each takes by itself."""
    names = ("OMP", "OPENBLAS", "MKL", "VECLIB_MAXIMUM", "NUMBA", "NUMEXPR")
    limits = [f"{name}_THREADS" if name.endswith("MAXIMUM") else f"{name}_NUM_THREADS" for name in names]
    # what was set to hold a BLAS to some kernel would hold the peers back
    dropped = {*limits, "OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "XLA_FLAGS", "PYTHONWARNINGS"}
    result = {name: value for name, value in os.environ.items() if name not in dropped}
    result |= {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONWARNINGS": "ignore"}
    if threads < (os.cpu_count() or 1):
        result |= dict.fromkeys(limits, str(threads))
    if threads == 1:
        result["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    return result
