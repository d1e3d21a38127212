"""Table of tasks: networks and data that every competitor trains on alike. It imports NumPy at most, and that late."""

from __future__ import annotations

import os
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np

    Start = list[tuple[np.ndarray, np.ndarray]]  # W (fan_in, fan_out) and b (fan_out,) of each layer


class Rows(NamedTuple):
    """What is trained on, and what is tested on where a task has it."""

    X: np.ndarray  # (rows, inputs)
    Y: np.ndarray  # (rows, outputs), or (rows,) class numbers
    X_test: np.ndarray | None = None
    Y_test: np.ndarray | None = None


@dataclass(frozen=True)
class Task:
    """A network of ReLU units, a batch size and an end: Adam at 1e-3 in all of them, without penalty unless it says so."""

    name: str
    layers: tuple[int, ...]
    batch: int
    rows: int
    end: str = ""  # "": as many epochs as fill a sample; else a whole fit: "epochs", "accuracy" or "stale"
    epochs: int = 0  # of a whole fit, at most
    loss: str = "half_squared_error"
    dtype: str = "float32"
    alpha: float = 0.0  # scikit-learn's penalty: alpha/2 Σ W² / rows of the batch
    bars: tuple[float, float] = (0.0, 0.0)  # best peer's time / ours that is aimed at: one thread, two
    peak_bar: float = 0.0  # fraction of the machine's peak that is aimed at on one thread

    @property
    def steps(self) -> int:
        """Whole batches of an epoch; the rows left over are trained on where a competitor can."""
        return max(1, self.rows // self.batch)

    @property
    def flops(self) -> int:
        """Floating-point operations of a step's matrix products: h W, Δᵀ h and, but for the first layer, Δ Wᵀ."""
        weights = [a * b for a, b in pairwise(self.layers)]
        return 2 * self.batch * (3 * sum(weights) - weights[0])

    @property
    def shape(self) -> str:
        """Layers and batch, in words."""
        sizes = "-".join(map(str, self.layers)).replace("-".join(["64"] * 8), "64×8")
        return f"{sizes}, {self.batch}"


ACCURACY = 0.98  # at which the end "accuracy" is reached
TOLERANCE, PATIENCE = 1e-4, 10  # of the end "stale": scikit-learn's own

TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task("tiny", (2, 8, 1), 4, 2048, bars=(5, 5)),
        Task("small", (20, 64, 1), 32, 16384, bars=(3, 3)),
        Task("medium", (64, 256, 256, 10), 128, 12800, bars=(1.6, 1.8), peak_bar=0.83),
        Task("wide", (784, 800, 10), 128, 12800, bars=(1.35, 1.4), peak_bar=0.83),
        Task("large", (784, 2048, 2048, 10), 512, 10240, bars=(1.25, 1.25), peak_bar=0.87),
        Task("deep", (32, *[64] * 8, 1), 64, 12800, bars=(2, 2)),
        Task("digits", (64, 100, 10), 200, 1797, "stale", 200, "cross_entropy", "float64", 1e-4, bars=(5, 5)),
        Task("kin8nm", (8, 50, 1), 128, 7373, "epochs", 400),
        Task("mnist", (784, 300, 100, 10), 128, 60000, "accuracy", 30, "cross_entropy"),
    )
}
SYNTHETIC = tuple(name for name, task in TASKS.items() if not task.end)


def missing(task: Task) -> str:
    """Why the data of a task are not here, or an empty text. GLASSPROP_DATA names the folder of files."""
    needed = {"kin8nm": "uci-regression/kin8nm.npz", "mnist": "mnist/train-images-idx3-ubyte.gz"}.get(task.name)
    if needed is None or (_folder() / needed).exists():
        return ""
    return f"{needed} is not in the folder that GLASSPROP_DATA names"


def load(task: Task) -> Rows:
    """The rows of a task, in its precision."""
    import numpy as np

    real = {"digits": _digits, "kin8nm": _kin8nm, "mnist": _mnist}.get(task.name)
    if real is not None:
        return real()
    draw = np.random.default_rng(0)
    X, Y = (draw.standard_normal((task.rows, n), np.float32) for n in (task.layers[0], task.layers[-1]))
    return Rows(X.astype(task.dtype), Y.astype(task.dtype))


def draw_start(task: Task, seed: int) -> Start:
    """Starting weights by He et al. 2015, uniform; biases of zero."""
    import numpy as np

    draw = np.random.default_rng(seed)
    shapes = list(pairwise(task.layers))
    weights = [((6 / shape[0]) ** 0.5 * draw.uniform(-1, 1, shape)).astype(task.dtype) for shape in shapes]
    return [(W, np.zeros(W.shape[1], W.dtype)) for W in weights]


def _folder() -> Path:
    return Path(os.environ.get("GLASSPROP_DATA") or ".")


def _digits() -> Rows:
    """scikit-learn's digits, as it lies there: whole numbers up to 16 in float64."""
    from sklearn.datasets import load_digits

    return Rows(*load_digits(return_X_y=True))


def _kin8nm() -> Rows:
    """The training rows of the first split, standardised, float32."""
    import numpy as np

    with np.load(_folder() / "uci-regression" / "kin8nm.npz") as table:
        kept = ~table["is_test"][0]
        X, y = table["X"][kept].astype(np.float64), table["y"][kept, None].astype(np.float64)
    X, y = ((a - a.mean(axis=0)) / a.std(axis=0) for a in (X, y))
    return Rows(X.astype(np.float32), y.astype(np.float32))


def read_mnist(folder: Path, which: str) -> tuple[np.ndarray, np.ndarray]:
    """Images as rows of 784 numbers from 0 to 1, float32, and their classes; `which` is "train" or "t10k"."""
    import gzip

    import numpy as np

    def read(name: str, offset: int) -> np.ndarray:
        with gzip.open(folder / f"{which}-{name}-ubyte.gz") as file:
            return np.frombuffer(file.read(), np.uint8, offset=offset)

    images, classes = read("images-idx3", 16), read("labels-idx1", 8)
    return images.reshape(len(classes), 784).astype(np.float32) / 255, classes.astype(np.int64)


def _mnist() -> Rows:
    return Rows(*(array for which in ("train", "t10k") for array in read_mnist(_folder() / "mnist", which)))
