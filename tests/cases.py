"""What the tests of the core share: one network, its parameters and rows, for glassprop and for reference.py; and comparing.

It draws nothing that is not seeded. All numbers of a case fit into float32, so that both precisions have the same exact answer.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

import glassprop as gp
import reference as ref
from glassprop.core import plan
from glassprop.core.arrays import check_inputs, check_targets, check_weights
from glassprop.core.bfloat16 import has_bfloat16
from glassprop.core.schedules import learning_rates
from glassprop.core.workspace import Workspace

needs_bfloat16 = pytest.mark.skipif(not has_bfloat16(), reason="this processor multiplies no bfloat16 (avx512_bf16)")
HIDDEN = tuple(name for name, row in gp.ACTIVATIONS.items() if not row.output_only)
SMOOTH = ("identity", "sigmoid", "tanh", "gelu", "silu", "mish", "softplus")  # the rest have a kink at 0, in φ or in φ′
LOSSES = tuple(gp.LOSSES)
# Odd constants: with a quantile of 1/2 or 0.8, say, the gradient of a bias can be a sum that is 0 but for rounding.
OPTIONS: dict[str, dict[str, float]] = {
    "huber": {"delta": 0.71},
    "quantile": {"quantile": 0.731},
    "binary_cross_entropy": {"label_smoothing": 0.13},
    "cross_entropy": {"label_smoothing": 0.13},
}
PENALTIES: dict[str, dict[str, float]] = {"none": {}, "l2": {"l2": 0.05}, "l1": {"l1": 0.02}, "both": {"l2": 0.03, "l1": 0.01}}


@dataclass(frozen=True)
class Case:
    """A network, its parameters and some rows, twice."""

    network: gp.Network
    twin: ref.Network  # of reference.py
    parameters: gp.Parameters  # float64
    X: np.ndarray  # (rows, inputs), float64
    Y: np.ndarray  # (rows, outputs) float64, or (rows,) class numbers
    weights: np.ndarray | None  # (rows,), float64

    def of(self, dtype: Any) -> Case:
        """The same numbers in another precision; class numbers stay as they are."""
        weights = None if self.weights is None else self.weights.astype(dtype)
        Y = self.Y if self.Y.ndim == 1 else self.Y.astype(dtype)
        return replace(self, parameters=self.parameters.astype(dtype), X=self.X.astype(dtype), Y=Y, weights=weights)

    def rows(self, chosen: Any) -> Case:
        """The case with some of its rows."""
        weights = None if self.weights is None else self.weights[chosen]
        return replace(self, X=self.X[chosen], Y=self.Y[chosen], weights=weights)

    def passes(self) -> tuple[gp.Forward, gp.Backward]:
        """glassprop's forward and backward pass."""
        fwd = gp.forward(self.network, self.parameters, self.X)
        return fwd, gp.backward(self.network, self.parameters, fwd, self.Y, self.weights)

    def reference_passes(self) -> tuple[ref.Forward, ref.Backward]:
        """Those of the reference."""
        theta, Y = lists(self.parameters), self.Y.tolist()
        weights = None if self.weights is None else self.weights.tolist()
        fwd = ref.forward(self.twin, theta, self.X.tolist())
        return fwd, ref.backward(self.twin, theta, fwd, Y, weights)


def networks(
    layers: Sequence[int],
    activation: str | Sequence[str] = "tanh",
    output_activation: str | None = None,
    loss: str = "half_squared_error",
    options: dict[str, float] | None = None,
    dropout: Sequence[float] = (),
    **penalties: float,
) -> tuple[gp.Network, ref.Network]:
    """One network for both."""
    names = [activation] * (len(layers) - 2) if isinstance(activation, str) else list(activation)
    options = OPTIONS.get(loss, {}) if options is None else options
    rates = list(dropout) or [0.0] * (len(layers) - 2)
    mine = gp.Network(layers, names, output_activation, gp.Loss(loss, **options), dropout=rates, **penalties)
    return mine, ref.Network(tuple(layers), names, output_activation, loss, options, dropout=tuple(dropout), **penalties)


def single(array: np.ndarray) -> np.ndarray:
    """The numbers rounded to float32, in float64."""
    return array.astype(np.float32).astype(np.float64)


def start(layers: Sequence[int], seed: int = 0) -> gp.Parameters:
    """Weights of a size that keeps pre-activations near 1, and biases that are not zero."""
    rng = np.random.default_rng([seed, 1])
    sizes = list(itertools.pairwise(layers))
    W = [single(rng.normal(0.0, 0.9 / np.sqrt(m), (m, n))) for m, n in sizes]
    return gp.Parameters.from_arrays(W, [single(rng.normal(0.0, 0.3, n)) for _, n in sizes])


def case(layers: Sequence[int], *, rows: int = 5, seed: int = 0, weighted: bool = False, **described: Any) -> Case:
    """A case with targets that suit its loss."""
    mine, twin = networks(layers, **described)
    rng = np.random.default_rng([seed, 2])
    X = single(rng.normal(size=(rows, layers[0])))
    outputs, kind = layers[-1], mine.loss.targets
    if kind == "distribution":
        Y = rng.integers(0, outputs, rows)
    elif kind == "unit":
        Y = rng.integers(0, 2, (rows, outputs)).astype(np.float64)
    elif kind == "nonnegative":
        Y = rng.poisson(1.5, (rows, outputs)).astype(np.float64)
    else:
        Y = single(rng.normal(size=(rows, outputs)))
    weights = single(rng.uniform(0.3, 2.0, rows)) if weighted else None
    return Case(mine, twin, start(layers, seed), X, Y, weights)


def lists(parameters: gp.Parameters) -> ref.Parameters:
    """Parameters as the reference takes them."""
    return ref.Parameters([W.tolist() for W in parameters.W], [b.tolist() for b in parameters.b])


# --- update rules: a name, then the same rule for both -------------------------------------------------------------------

_RULES: dict[str, tuple[Callable[..., Any], str, dict[str, Any], float]] = {
    "sgd": (gp.SGD, "sgd", {}, 0.1),
    "momentum": (gp.SGD, "sgd", {"momentum": 0.8}, 0.03),
    "nesterov": (gp.SGD, "sgd", {"momentum": 0.7, "nesterov": True}, 0.03),
    "rmsprop": (gp.RMSprop, "rmsprop", {"rho": 0.85, "epsilon": 1e-6}, 0.003),
    "rprop": (gp.Rprop, "rprop", {"shrink": 0.6, "grow": 1.1, "smallest": 1e-4, "largest": 0.05}, 0.01),
    "adagrad": (gp.Adagrad, "adagrad", {"epsilon": 1e-7}, 0.03),
    "adam": (gp.Adam, "adam", {"beta1": 0.8, "beta2": 0.98, "epsilon": 1e-6}, 0.01),
    "adam with epsilon hat": (gp.Adam, "adam", {"epsilon": 1e-3, "epsilon_hat": True}, 0.01),
    "adamw": (gp.AdamW, "adam", {}, 0.01),
}
RULES = tuple(_RULES)


def rules(name: str, learning_rate: Any = None, reference_rate: Any = None, **shared: Any) -> tuple[Any, ref.Optimizer]:
    """The rule for glassprop and for the reference; `shared` is clip_norm, weight_decay, layer_factors."""
    make, twin, options, usual = _RULES[name]
    rate = learning_rate or usual
    decay = {"weight_decay": 0.01} | shared if name == "adamw" else shared
    return make(rate, **options, **shared), ref.Optimizer(twin, reference_rate or rate, options, **decay)


# --- training ------------------------------------------------------------------------------------------------------------


@dataclass
class Trained:
    """What some epochs came to."""

    parameters: gp.Parameters
    state: list[gp.Parameters]
    losses: np.ndarray  # (epochs,): weighted mean of the batches' objectives
    rates: np.ndarray  # (epochs,): learning rate of the last step of each


def row_orders(rows: int, epochs: int, seed: int = 0) -> np.ndarray:
    """A row order for each epoch, (epochs, rows)."""
    rng = np.random.default_rng([seed, 3])
    return np.array([rng.permutation(rows) for _ in range(epochs)])


def workspace(
    case: Case, optimizer: Any, batch_size: int, epochs: int, orders: np.ndarray | None = None, seed: int = 0, **options: Any
) -> Any:
    """The core's memory for so many epochs of the case in the precision of its parameters, which it updates in place."""
    dtype, rows = case.parameters.dtype, len(case.X)
    steps = epochs * -(-rows // batch_size)
    X = check_inputs(case.network, case.X, dtype)
    Y = check_targets(case.network, case.Y, rows, dtype)
    weights = check_weights(case.weights, rows, dtype)
    memory = Workspace(
        case.network, case.parameters.theta, X, Y, weights, batch_size=batch_size, optimizer=optimizer, seed=seed,
        order_epochs=0 if orders is None else epochs, steps=steps, epochs=epochs, **options,
    )  # fmt: skip
    if orders is not None:
        memory["order"][...] = orders
    memory["rates"][...] = learning_rates(optimizer.learning_rate, 0, steps)
    return memory


def train(case: Case, optimizer: Any, batch_size: int, epochs: int, orders: np.ndarray | None = None, seed: int = 0) -> Trained:
    """Epochs of the compiled core, in one call."""
    case = replace(case, parameters=case.parameters.copy())
    memory = workspace(case, optimizer, batch_size, epochs, orders, seed)
    last = len(memory["rates"])
    assert memory.run(0, last, plan.TRAIN) == last
    history = memory["history"]
    state = [case.parameters.with_theta(vector) for vector in memory["state"]]
    return Trained(case.parameters, state, history["loss"].copy(), history["learning_rate"].copy())


def reference_train(
    case: Case, optimizer: ref.Optimizer, batch_size: int, epochs: int, orders: np.ndarray | None = None, seed: int = 0
) -> tuple[ref.Parameters, list[ref.Parameters], np.ndarray]:
    """The same by the reference: parameters, state, and the epochs' losses."""
    rows = len(case.X)
    orders = np.tile(np.arange(rows), (epochs, 1)) if orders is None else orders
    batches = [order[i : i + batch_size].tolist() for order in orders for i in range(0, rows, batch_size)]
    weights = None if case.weights is None else case.weights.tolist()
    X, Y, theta = case.X.tolist(), case.Y.tolist(), lists(case.parameters)
    parameters, state, losses = ref.train(case.twin, theta, X, Y, batches, optimizer, weights=weights, seed=seed)
    masses = np.array([len(batch) if weights is None else sum(weights[r] for r in batch) for batch in batches])
    of_epochs = (np.array(losses) * masses).reshape(epochs, -1).sum(1) / masses.reshape(epochs, -1).sum(1)
    return parameters, [state[letter] for letter in ref.RULES[optimizer.rule][1]], of_epochs


# --- comparing -----------------------------------------------------------------------------------------------------------


def difference(got: Any, wanted: Any) -> float:
    """The largest difference, relative to the largest magnitude of the tensor wanted.

    Relative to each entry would ask of an entry that is nearly 0, a sum of large terms, more than its terms can give.
    """
    got, wanted = np.asarray(got, np.float64), np.asarray(wanted, np.float64)
    assert got.shape == wanted.shape
    worst, size = float(np.abs(got - wanted).max()), float(np.abs(wanted).max())
    if worst == 0:
        return 0.0
    return worst / size if size > 0 and np.isfinite(worst) else np.inf


def differences(got: Iterable[Any], wanted: Iterable[Any]) -> float:
    """The largest of the differences of tensors in two lists."""
    return max(difference(a, b) for a, b in zip(got, wanted, strict=True))


def parameter_difference(got: gp.Parameters, wanted: ref.Parameters) -> float:
    """The largest difference of weights and biases of any layer."""
    return max(differences(got.W, wanted.W), differences(got.b, wanted.b))


def pass_differences(mine: tuple[gp.Forward, gp.Backward], wanted: tuple[ref.Forward, ref.Backward]) -> dict[str, float]:
    """The differences of everything that a forward and a backward pass leave, by name."""
    (fwd, back), (ref_fwd, ref_back) = mine, wanted
    norm = ref.gradient_norm(ref.Parameters(ref_back.dW, ref_back.db))
    return {
        "g": differences(fwd.g, ref_fwd.g),
        "h": differences(fwd.h, ref_fwd.h),
        "loss": difference([back.loss], [ref_back.loss]),
        "delta": differences(back.delta, ref_back.delta),
        "dW": differences(back.dW, ref_back.dW),
        "db": differences(back.db, ref_back.db),
        "gradient_norm": difference([back.gradient_norm], [norm]),
    }
