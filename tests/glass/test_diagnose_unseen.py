"""diagnose on tables that no threshold of its rules was chosen on: healthy fits raise no alarm, planted pathologies are found.

All but the last two fits and the last plant were written down before any of them was run. At the first try none of the 27 fits
raised an alarm, and 23 of 24 plants were found. The one that was not, of steps too large, had killed ReLUs and not diverged; it
was replaced. With five other seeds 5 of 135 fits raised an alarm. Two of these were wrong, of held-out rows that were harder to
any network: now the gap between rows is less that of constant outputs. Three were right: twice a tenth of the learning rate led
to a fifth of the loss, once rows held out lost nearly twice as much. The last two fits are of a loss that goes below 0, of
which every fit was called overfitted before.
"""

from __future__ import annotations

import gzip
import math
import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest

import glassprop as gp
from benchmarks import surroundings

DATA = surroundings.data_root()
NEEDED = ("uci-regression", "letter", "mnist", "proben1", "california-housing", "diamonds")
MOST_ROWS = 2000

pytestmark = pytest.mark.skipif(
    not all((DATA / name).is_dir() for name in NEEDED),
    reason="the tables are in neither the folder that GLASSPROP_DATA names nor ../shared/data",
)

# --- tables: inputs and targets as they are published, at most 2000 rows -------------------------------------------------


def _uci(name: str) -> tuple[np.ndarray, np.ndarray]:
    file = np.load(DATA / "uci-regression" / f"{name}.npz")
    return file["X"], file["y"][:, None]


def _letter() -> tuple[np.ndarray, np.ndarray]:
    rows = np.loadtxt(DATA / "letter" / "letter-recognition.data", dtype=str, delimiter=",")
    return rows[:, 1:].astype(float), np.unique(rows[:, 0], return_inverse=True)[1]


def _mnist() -> tuple[np.ndarray, np.ndarray]:
    def numbers(kind: str, head: int) -> np.ndarray:
        return np.frombuffer(gzip.decompress((DATA / "mnist" / f"t10k-{kind}-ubyte.gz").read_bytes()), np.uint8, offset=head)

    return numbers("images-idx3", 16).reshape(-1, 784).astype(float), numbers("labels-idx1", 8).astype(int)


def _proben1(name: str) -> tuple[np.ndarray, np.ndarray]:
    lines = gzip.decompress((DATA / "proben1" / f"{name}.dt.gz").read_bytes()).decode().splitlines()
    outputs = sum(int(line.split("=")[1]) for line in lines[2:4])
    rows = np.array([line.split() for line in lines[7:]], float)
    classes = lines[3].startswith("real_out=0")
    return rows[:, :-outputs], rows[:, -outputs:].argmax(1) if classes else rows[:, -outputs:]


def _csv(name: str, inputs: list[str], target: str) -> tuple[np.ndarray, np.ndarray]:
    import pandas as pd

    table = pd.read_csv(DATA / name)[[*inputs, target]].dropna().to_numpy(float)
    return table[:, :-1], table[:, -1:]


HOUSING = ["longitude", "latitude", "housing_median_age", "total_rooms", "total_bedrooms", "population", "households"]
TABLES: dict[str, Callable[[], tuple[np.ndarray, np.ndarray]]] = {
    **{name: lambda name=name: _uci(name) for name in ("concrete", "kin8nm", "power-plant", "wine-quality-red")},
    "naval": lambda: _uci("naval-propulsion-plant"),
    "letter": _letter,
    "mnist": _mnist,
    **{
        name: lambda name=name: _proben1(name)
        for name in ("cancer1", "diabetes1", "gene1", "glass1", "heart1", "heartc1", "building1", "flare1")
    },
    "california": lambda: _csv("california-housing/housing.csv", [*HOUSING, "median_income"], "median_house_value"),
    "diamonds": lambda: _csv("diamonds/diamonds.csv", ["carat", "depth", "table", "x", "y", "z"], "price"),
}


@cache
def raw(name: str) -> tuple[np.ndarray, np.ndarray]:
    X, Y = TABLES[name]()
    rows = np.random.default_rng(0).permutation(len(X))[:MOST_ROWS]
    return X[rows], Y[rows]


@cache
def standard(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Inputs, and targets that are numbers, with mean 0 and standard deviation 1; the pixels of MNIST from 0 to 1."""
    X, Y = raw(name)
    return (X / 255 if name == "mnist" else _standard(X)), Y if Y.ndim == 1 else _standard(Y)


def _standard(array: np.ndarray) -> np.ndarray:
    spread = array.std(0)
    return (array - array.mean(0)) / np.where(spread > 1e-9 * np.abs(array.mean(0)), spread, 1)


def network(name: str, hidden: tuple[int, ...], **given: Any) -> gp.Network:
    X, Y = raw(name)
    outputs = int(Y.max()) + 1 if Y.ndim == 1 else Y.shape[1]
    return gp.Network(
        (X.shape[1], *hidden, outputs), **{"loss": "cross_entropy" if Y.ndim == 1 else "half_squared_error"} | given
    )


def fit(
    name: str, hidden: tuple[int, ...] = (), optimizer: Any = None, *, X: Any = None, Y: Any = None, **given: Any
) -> gp.Run:
    """A fit with a fifth of the rows held out, stopped early."""
    described = {key: given.pop(key) for key in ("activation", "l2", "l1", "dropout", "loss") if key in given}
    made = given.pop("network", None) or network(name, hidden, **described)
    table = (standard(name)[0], raw(name)[1]) if given.pop("raw", False) else standard(name)
    given = {"epochs": 60, "validation": 0.2, "patience": 15} | given
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", gp.DivergenceWarning)
        return gp.train(made, table[0] if X is None else X, table[1] if Y is None else Y, optimizer=optimizer, seed=0, **given)


# --- healthy -------------------------------------------------------------------------------------------------------------

LOG_COSH = gp.Loss("log_cosh", value=lambda h, y: math.log(math.cosh(h - y)), slope=lambda h, y: math.tanh(h - y))
HEALTHY: list[tuple[str, tuple[int, ...], Any, dict[str, Any]]] = [
    ("concrete", (50,), gp.Adam(0.005), {"epochs": 100}),
    ("concrete", (32, 32), gp.Adam(0.003), {"activation": "gelu", "epochs": 100}),
    ("concrete", (32,), gp.Adam(0.005), {"loss": gp.Loss("quantile", quantile=0.9), "epochs": 100}),
    ("kin8nm", (50,), gp.Adam(0.003), {}),
    ("kin8nm", (64, 64), gp.AdamW(0.002), {"activation": "silu"}),
    ("power-plant", (50,), gp.Adam(0.003), {}),
    ("power-plant", (20,), gp.SGD(0.02, momentum=0.9), {"activation": "tanh"}),
    ("power-plant", (30,), gp.Adam(0.003), {"loss": LOG_COSH, "activation": "softplus"}),
    ("wine-quality-red", (50,), gp.Adam(0.001), {"l2": 0.01}),
    ("wine-quality-red", (16,), gp.SGD(0.01, momentum=0.9), {"activation": "tanh", "l2": 0.01}),
    ("naval", (50,), gp.Adam(0.003), {}),
    ("naval", (32, 32), gp.RMSprop(0.001), {"activation": "elu"}),
    ("letter", (100,), gp.Adam(0.003), {}),
    ("letter", (64, 64), gp.SGD(0.05, momentum=0.9, nesterov=True), {"activation": "leaky_relu"}),
    ("mnist", (100,), gp.Adam(0.001), {"dropout": 0.2, "epochs": 20}),
    ("mnist", (64, 32), gp.SGD(0.1), {"activation": "tanh", "epochs": 20}),
    ("cancer1", (8,), gp.Rprop(0.01), {"activation": "sigmoid", "batch_size": 1000, "epochs": 100}),
    ("cancer1", (16,), gp.Adam(0.003), {"l2": 0.01}),
    ("diabetes1", (16,), gp.Adam(0.002), {"l2": 0.01}),
    ("gene1", (20,), gp.Adam(0.002), {"dropout": 0.3}),
    ("glass1", (16,), gp.Adam(0.005), {"activation": "tanh", "l2": 0.01, "epochs": 100}),
    ("heart1", (8,), gp.Adam(0.003), {"l2": 0.02}),
    ("heartc1", (8,), gp.Adagrad(0.05), {"activation": "softsign", "l2": 0.02}),
    ("building1", (16,), gp.Adam(0.005), {"activation": "sigmoid"}),
    ("flare1", (8,), gp.Adam(0.002), {"l2": 0.02}),
    ("california", (64, 64), gp.Adam(gp.Cosine(0.003, steps=3000)), {"loss": "huber"}),
    ("diamonds", (32,), gp.Adam(0.003), {}),
    ("wine-quality-red", (16,), gp.Adam(0.003), {"loss": "poisson", "l2": 0.01, "raw": True}),
    ("concrete", (32,), gp.Adam(0.003), {"loss": "poisson", "raw": True, "epochs": 100}),
]


@pytest.mark.parametrize(("name", "hidden", "optimizer", "given"), HEALTHY)
def test_healthy_fits_raise_no_alarm(name: str, hidden: tuple[int, ...], optimizer: Any, given: dict[str, Any]) -> None:
    found = gp.diagnose(fit(name, hidden, optimizer, **given))
    assert found, found
    assert found.loss < 0.98 * found.baseline, "not a fit at all"


# --- planted -------------------------------------------------------------------------------------------------------------


def changed_start(
    name: str, hidden: tuple[int, ...], change: Callable[[gp.Parameters], None], optimizer: Any, **given: Any
) -> gp.Run:
    """A fit from starting weights that were changed."""
    made = network(name, hidden, **{key: given.pop(key) for key in ("activation",) if key in given})
    start = made.initialize(0)
    change(start)
    return fit(name, (), optimizer, network=made, parameters=start, **given)


def grown(factor: float, first: bool = False) -> Callable[[gp.Parameters], None]:
    def change(start: gp.Parameters) -> None:
        for W in start.W[:1] if first else start.W:
            W *= factor

    return change


def far_below(start: gp.Parameters) -> None:
    start.b[0][: 3 * len(start.b[0]) // 4] = -30


def alike(start: gp.Parameters) -> None:
    start.W[0][...] = start.W[0][:, :1]
    start.W[1][...] = start.W[1][:, :1]
    start.W[2][...] = start.W[2][:1]


PLANTED: dict[str, tuple[str, Callable[[], gp.Run]]] = {
    "eight layers of sigmoids": ("vanishing gradients",
        lambda: fit("mnist", (32,) * 8, gp.SGD(0.1), activation="sigmoid", epochs=10)),
    "ten layers of tanh from small weights": ("vanishing gradients",
        lambda: changed_start("letter", (32,) * 10, grown(0.2), gp.SGD(0.1), activation="tanh", epochs=5)),
    "large weights": ("exploding gradients",
        lambda: changed_start("letter", (64,) * 6, grown(4), gp.SGD(1e-12), epochs=1)),
    "biases far below 0": ("dead ReLUs", lambda: changed_start("letter", (64, 64), far_below, gp.Adam(0.003))),
    "ReLUs driven out": ("dead ReLUs", lambda: fit("gene1", (64, 64), gp.SGD(3.0), epochs=30)),
    "large weights into sigmoids": ("saturated neurons",
        lambda: changed_start("mnist", (64,), grown(40, first=True), gp.SGD(0.05), activation="sigmoid", epochs=10)),
    "raw inputs into tanh": ("saturated neurons",
        lambda: fit("california", (32,), gp.Adam(0.003), X=raw("california")[0], activation="tanh", epochs=10)),
    "Adam at 0.5": ("learning rate too high", lambda: fit("letter", (64,), gp.Adam(0.5), epochs=10)),
    "Adam at 0.3, numbers": ("learning rate too high", lambda: fit("kin8nm", (64,), gp.Adam(0.3), epochs=10)),
    "SGD at 0.0001": ("learning rate too low", lambda: fit("kin8nm", (50,), gp.SGD(1e-4), epochs=10)),
    "Adam at 0.000003": ("learning rate too low", lambda: fit("mnist", (64,), gp.Adam(3e-6), epochs=10)),
    "raw inputs": ("unscaled inputs", lambda: fit("concrete", (50,), gp.Adam(0.003), X=raw("concrete")[0])),
    "raw inputs, one around 1013": ("unscaled inputs",
        lambda: fit("power-plant", (50,), gp.Adam(0.003), X=raw("power-plant")[0])),
    "pixels from 0 to 255": ("unscaled inputs", lambda: fit("mnist", (64,), gp.Adam(0.003), X=raw("mnist")[0], epochs=10)),
    "inputs far too small": ("unscaled inputs",
        lambda: fit("heart1", (16,), gp.Adam(0.003), X=0.01 * standard("heart1")[0], epochs=20)),
    "years for ages": ("unscaled inputs",
        lambda: fit("diabetes1", (16,), gp.Adam(0.003), X=standard("diabetes1")[0] + np.r_[np.zeros(7), 2000.0])),
    "prices": ("target scale", lambda: fit("diamonds", (32,), gp.Adam(0.003), Y=raw("diamonds")[1])),
    "strengths": ("target scale", lambda: fit("california", (32,), gp.Adam(0.003), Y=raw("california")[1], epochs=10)),
    "a decay of 0.01": ("target scale", lambda: fit("naval", (32,), gp.Adam(0.003), Y=raw("naval")[1], epochs=20)),
    "neurons that start alike": ("duplicated neurons",
        lambda: changed_start("letter", (32, 32), alike, gp.SGD(0.1), activation="tanh", epochs=5)),
    "a strong penalty": ("useless neurons",
        lambda: fit("heart1", (64,), gp.Adam(gp.Cosine(0.02, steps=6000)), activation="tanh", l1=0.02, epochs=200,
                    patience=None)),
    "learnt by heart": ("overfitting",
        lambda: fit("diabetes1", (128,), gp.Adam(0.01), epochs=200, patience=None, restore_best=False)),
    "learnt by heart, numbers": ("overfitting",
        lambda: fit("wine-quality-red", (100, 100), gp.Adam(0.003), epochs=100, patience=None, restore_best=False)),
    "a step too far": ("divergence", lambda: fit("california", (), gp.SGD(0.1), X=raw("california")[0], epochs=20)),
    "learnt by heart, counts": ("overfitting",
        lambda: fit("wine-quality-red", (100, 100), gp.Adam(0.003), Y=raw("wine-quality-red")[1], loss="poisson", epochs=100,
                    patience=None, restore_best=False)),
}  # fmt: skip


@pytest.mark.parametrize("name", PLANTED)
def test_what_is_planted_is_found(name: str) -> None:
    wanted, plant = PLANTED[name]
    assert wanted in [finding.name for finding in gp.diagnose(plant()).findings]
