"""Moment: what a training step starts from; and the runs of the compiled core from which an explanation reads its numbers.

It holds no formulas: every number here is one that the core left in memory.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from glassprop.core.activations import Activation
from glassprop.core.arrays import check_parameters
from glassprop.core.losses import Loss
from glassprop.core.network import Network, Parameters
from glassprop.core.panels import read_panels
from glassprop.core.plan import BACKWARD, FORWARD, LOSS, UPDATE
from glassprop.core.schedules import learning_rates
from glassprop.core.update import SGD, Optimizer
from glassprop.core.workspace import Workspace

_ITSELF = Activation("h", lambda g: g, lambda g: 1.0)  # an output on which any loss may stand unlinked, with h = g
FAR_BELOW = -1e30  # a target that every output exceeds, so that |y − h| has the slope 1


@dataclass(frozen=True)
class Moment:
    """The parameters, the optimizer's state and the rows from which a step starts. Arrays are as the core takes them.

    Attributes
    ----------
    network : Network
    parameters : Parameters
        Their precision is that of all arrays.
    X : ndarray, (rows, inputs)
    Y : ndarray, (rows, outputs) or (rows, 1)
    weights : ndarray, (rows,), or None
    optimizer : Optimizer
    state : ndarray, (2, parameters.theta.size)
    step : int
        From zero.
    seed : int or None
        Of dropout; None: without dropout.
    paired : bool
        Products multiply bfloat16, of parameters in float32; see `multiplied`.
    """

    network: Network
    parameters: Parameters
    X: np.ndarray
    Y: np.ndarray
    weights: np.ndarray | None
    optimizer: Optimizer
    state: np.ndarray
    step: int = 0
    seed: int | None = None
    paired: bool = False

    def multiplied(self, numbers: np.ndarray) -> np.ndarray:
        """W, h or δ as they stand in products: in float64, rounded to bfloat16 where that is what is multiplied."""
        return to_bfloat16(numbers) if self.paired else numbers.astype(np.float64, copy=False)

    @cached_property
    def rate(self) -> float:
        """η of the step."""
        return float(learning_rates(self.optimizer.learning_rate, self.step, self.step + 1)[0])

    @property
    def drops(self) -> bool:
        """Whether dropout acts."""
        return self.seed is not None and any(self.network.dropout)

    @property
    def dropping(self) -> tuple[int, int] | None:
        """Seed and step number of the dropout that acts."""
        return (self.seed or 0, self.step) if self.drops else None

    @cached_property
    def passes(self) -> Passes:
        """Forward and backward pass as the step makes them, with the gradient as it is before clipping."""
        return Passes(self, self._run(SGD(), 0.0))  # a step of length zero: dropout acts in training alone

    def check(self) -> None:
        """Raise where a number is not finite, or too large for the rule: the core does not take such a step."""
        passes, most = self.passes, self.optimizer.most_norm(self.parameters.dtype)
        if not (math.isfinite(passes.objective) and passes.gradient_norm <= most):
            raise ValueError(
                f"the step cannot be explained: {passes.not_finite()}; the learning rate may have been too high, or the inputs "
                "not standardised"
            )

    @cached_property
    def after(self) -> After:
        """The step itself."""
        work = self._run(self.optimizer, self.rate)
        parameters = self.parameters.with_theta(work["theta"])
        return After(parameters, work["state"], self.parameters.with_theta(work["gradient"]))

    @cached_property
    def following(self) -> Moment:
        """The moment after the step, with the same rows."""
        return replace(self, parameters=self.after.parameters, state=self.after.state, step=self.step + 1)

    @cached_property
    def bare(self) -> Network:
        """The network, without dropout where it does not act."""
        return self.network if self.drops else changed(self.network, dropout=0.0)

    def _run(self, optimizer: Optimizer, rate: float) -> Workspace:
        theta, rows = self.parameters.copy().theta, len(self.X)
        work = Workspace(
            self.bare,
            theta,
            self.X,
            self.Y,
            self.weights,
            batch_size=rows,
            optimizer=optimizer,
            seed=self.seed or 0,
            keep_g=True,
            paired=self.paired,
        )
        work["state"][...] = self.state
        work.set(first_step=self.step, rates=np.array([rate]))
        work.run(self.step, self.step + 1, FORWARD | LOSS | BACKWARD | UPDATE)
        return work


@dataclass(frozen=True)
class After:
    """What a step leaves: parameters, the rule's state, and the gradient that the rule was given."""

    parameters: Parameters
    state: np.ndarray
    used: Parameters


@dataclass
class Passes:
    """What forward and backward pass left in memory, in float64: lists by layer of arrays (rows, units)."""

    moment: Moment
    work: Workspace
    g: list[np.ndarray] = field(init=False)
    h: list[np.ndarray] = field(init=False)  # after dropout; h[0] are the inputs, so that h[l] belongs to g[l - 1]
    delta: list[np.ndarray] = field(init=False)

    def __post_init__(self) -> None:
        rows = len(self.moment.X)
        for name in ("g", "h", "delta"):
            setattr(self, name, [self._panels(int(row[name]), int(row["units"]), rows) for row in self.work.layers[1:]])
        self.h.insert(0, self.moment.X.astype(np.float64))
        self.targets = self._panels(int(self.work.plan["targets"][0]), self.moment.network.layers[-1], rows)
        self.losses = row_losses(self.work, rows)
        self.objective = float(self.work.progress["loss"][0])
        self.gradient_norm = float(self.work.progress["gradient_norm"][0])
        self.gradient = self.moment.parameters.with_theta(self.work["gradient"])

    def _panels(self, offset: int, units: int, rows: int) -> np.ndarray:
        return read_panels(self.work["scratch"], offset, units, rows).astype(np.float64)

    @cached_property
    def kept(self) -> list[np.ndarray]:
        """What dropout multiplied φ(g) by, (rows, units) of each hidden layer: 0 or 1/(1 − p)."""
        moment = self.moment
        halves = Network(moment.network.layers, "sigmoid", dropout=list(moment.network.dropout))  # of weights 0: φ(0) is 1/2
        nothing = Parameters(halves.layers, moment.parameters.dtype)
        targets = np.zeros((len(moment.X), halves.layers[-1]), nothing.dtype)
        twin = replace(moment, network=halves, parameters=nothing, Y=targets, weights=None)
        return [2 * h for h in twin.passes.h[1:-1]]

    @property
    def penalty(self) -> float:
        """l2/2 Σ W² + l1 Σ |W|, as the objective has it beyond the rows' losses: of a batch whose rows weigh nothing."""
        if self.moment.network.l2 == 0 and self.moment.network.l1 == 0:
            return 0.0
        return self.objective - self.without_penalty.objective

    @cached_property
    def without_penalty(self) -> Passes:
        """The same passes for the network without penalties: its gradient is the mean over the rows."""
        if self.moment.network.l2 == 0 and self.moment.network.l1 == 0:
            return self
        return replace(self.moment, network=changed(self.moment.network, l2=0.0, l1=0.0)).passes

    def not_finite(self) -> str:
        """What is not finite first, in words."""
        for l, h in enumerate(self.h[1:], start=1):
            if not np.isfinite(h).all():
                return f"the activations of layer {l} are not finite"
        if not math.isfinite(self.objective):
            return "the loss is not finite"
        return f"the {'square of the ' if math.isfinite(self.gradient_norm) else ''}gradient is not finite"


def to_bfloat16(numbers: np.ndarray) -> np.ndarray:
    """The nearest numbers of 8 significant bits, of two equally near the even one, in float64: as the core has them."""
    bits = np.ascontiguousarray(numbers, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000).astype(np.uint32).view(np.float32).astype(np.float64)


def changed(network: Network, **changes: Any) -> Network:
    """The network with some of its arguments replaced."""
    arguments: dict[str, Any] = {
        "activation": list(network.activations), "output_activation": network.output_activation, "loss": network.loss,
        "l2": network.l2, "l1": network.l1, "dropout": list(network.dropout),
    }  # fmt: skip
    return Network(network.layers, **(arguments | changes))


# --- one layer alone: parts of the loss, and slopes, by the kernels that training uses -----------------------------------


def _output_alone(activation: Activation | str, loss: Loss | str, W: Any, X: Any, Y: Any, dtype: Any) -> Any:
    """Row losses (rows,) and δ (rows, units) of a network of one layer without biases.

    W is (1, units) and X is ones, or the other way round, so that g is exactly what was given.
    """
    W, X, Y = (np.ascontiguousarray(array, dtype) for array in (W, X, Y))
    network, units = Network((1, W.shape[1]), output_activation=activation, loss=loss), W.shape[1]
    theta = Parameters.from_arrays([W], [np.zeros(units)], dtype).theta
    work = Workspace(network, theta, X, Y, batch_size=len(X), keep_g=True)
    work.run(0, 1, FORWARD | LOSS)
    delta = read_panels(work["scratch"], int(work.layers[1]["delta"]), units, len(X))
    return row_losses(work, len(X)), delta.astype(np.float64)


def row_losses(work: Workspace, rows: int) -> np.ndarray:
    """ℓ of every row of the batch, before weights: panel after panel, a number a row."""
    first = int(work.plan["losses"][0])
    return work["scratch"][first : first + rows].astype(np.float64)


ONE = np.ones((1, 1))


def slopes(activation: Activation, g: np.ndarray, dtype: Any) -> np.ndarray:
    """φ′ at some pre-activations: δ of outputs above their targets, since |y − h| has the slope 1 there."""
    return _output_alone(activation, "absolute_error", g[None], ONE, np.full((1, len(g)), FAR_BELOW), dtype)[1][0]


def loss_slopes(loss: Loss, h: np.ndarray, y: np.ndarray, dtype: Any) -> np.ndarray:
    """∂ℓ/∂h of one row's outputs: δ of an output whose φ is the identity."""
    return _output_alone(_ITSELF, _unsmoothed(loss), h[None], ONE, y[None], dtype)[1][0]


def losses_and_slopes(loss: Loss, h: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """ℓ and ∂ℓ/∂h of outputs, each a row of its own, in float64."""
    losses, delta = _output_alone(_ITSELF, _unsmoothed(loss), ONE, h[:, None], y[:, None], np.float64)
    return losses, delta[:, 0]


def loss_terms(network: Network, g: np.ndarray, y: np.ndarray, chosen: np.ndarray, dtype: Any) -> np.ndarray:
    """The parts of one row's loss that belong to the chosen outputs."""
    loss, phi = _unsmoothed(network.loss), network.output_activation
    if loss.targets != "distribution":
        return _output_alone(phi, loss, ONE, g[chosen, None], y[chosen, None], dtype)[0]
    terms = np.zeros(len(chosen))
    present = np.flatnonzero(y[chosen])
    if len(present):  # of a row of class o the loss is −log h_o
        logs, _ = _output_alone(phi, loss, g[None], np.ones((len(present), 1)), chosen[present, None], dtype)
        terms[present] = y[chosen[present]] * logs
    return terms


def _unsmoothed(loss: Loss) -> Loss:
    """The loss for targets that have been smoothed already."""
    if not loss.label_smoothing:
        return loss
    options: dict[str, Any] = {name: value for name, value in loss.options.items() if name != "label_smoothing"}
    return Loss(loss.name, **options)


def network_of(model: Any, parameters: Parameters | None) -> tuple[Network, Parameters]:
    """The network and its parameters, which a run or a loaded model has itself."""
    if isinstance(getattr(model, "parameters", None), Parameters):
        if parameters is not None:
            raise TypeError(f"parameters are the {type(model).__name__}'s own; give X and Y by name, or a network with others")
        model, parameters = model.network, model.parameters
    if not isinstance(model, Network):
        raise TypeError(f"model must be a glassprop.Network, with parameters, or a Run; got {type(model).__name__}")
    if parameters is None:
        raise TypeError("parameters must be given with a network")
    check_parameters(model, parameters)
    return model, parameters


def check_by_name(function: str, parameters: Any, X: Any, Y: Any) -> None:
    """Raise unless an estimator's rows are given, and by name: they do not come third and fourth."""
    if parameters is not None or X is None or Y is None:
        raise TypeError(f"of an estimator, whose parameters are its own, give X and Y by name: {function}(model, X=X, Y=y)")
