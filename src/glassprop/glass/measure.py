"""What is measured of a network and its data before it is judged: layer by layer, and as trials of other learning rates.

It judges nothing; rules.py does. All numbers are of the compiled core's passes, steps and short trainings.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from glassprop.core.activations import Activation
from glassprop.core.arrays import check_inputs, check_targets, check_weights
from glassprop.core.network import Network, Parameters
from glassprop.core.passes import Backward, Forward, backward, forward, update
from glassprop.core.schedules import learning_rates
from glassprop.core.update import Optimizer, Rprop
from glassprop.errors import DivergenceWarning
from glassprop.glass.moment import losses_and_slopes
from glassprop.glass.slopes import slope_and_values
from glassprop.training.run import train

MOST_ROWS = 2000  # looked at, drawn by seed 0
TRIAL_STEPS = 200
FACTORS = (0.1, 1.0, 10.0)  # of the learning rate; and higher ones where the loss hardly moves
GAIN = 0.1  # of the baseline's loss, that a learning rate must change in a few steps
HIGHEST = 1.0  # the learning rate from which on no higher one is tried
FLAT = 0.05  # of an activation's steepest slope: below it a neuron is saturated
DEAD = 1e-6  # likewise: below it on all rows nothing reaches the weights
UNHEARD = 0.01  # of what the layer's most telling neuron does to the layer above: below it a neuron is useless
SAME = 1e-3  # relative difference of two neurons' incoming weights


@dataclass(frozen=True)
class LayerFacts:
    """One layer on the rows looked at.

    Attributes
    ----------
    layer, units : int
        Counted from one; neurons.
    activation : str
    g_mean, g_std, h_mean, h_std : float
        Over all rows and neurons.
    dead : float
        Share of neurons whose φ′ is 0 on every row.
    saturated : float
        Share of rows and neurons where φ′ of a bounded φ is below 5 % of its largest.
    delta : float
        Root of the mean over rows of Σ δ².
    gradient, weight : float
        Root mean square of ∂L/∂W and of W.
    update : float or None
        Length of the rule's step of W over the length of W; None where no rule is known.
    duplicates : float
        Share of neurons with the same incoming weights and bias as another.
    useless : float
        Share of neurons, not dead, whose h varies so little, or whose outgoing weights are so small, that they move the layer
        above by less than 1 % of what the most telling one does.
    """

    layer: int
    units: int
    activation: str
    g_mean: float
    g_std: float
    h_mean: float
    h_std: float
    dead: float
    saturated: float
    delta: float
    gradient: float
    weight: float
    update: float | None
    duplicates: float
    useless: float


class Trial(NamedTuple):
    """Losses after some steps more."""

    trained: float  # on the two thirds of the rows that these steps were taken on
    held: float  # on the others


@dataclass(frozen=True)
class Facts:
    """All that the rules judge by."""

    network: Network
    layers: tuple[LayerFacts, ...]
    input_means: np.ndarray  # (inputs,)
    input_stds: np.ndarray  # (inputs,)
    target_mean: float
    target_std: float  # the largest of the outputs, and its mean
    loss: float  # without penalty
    baseline: float  # the same of the best constant outputs
    floor: float  # the same of outputs that are the targets: 0 for most losses
    validation_loss: float | None  # likewise
    validation_baseline: float | None  # of the same constant outputs on the validation rows, which may be harder to predict
    learning_rate: float | None  # the highest
    trials: dict[float, Trial]  # by the multiple of the learning rate, 0 for no steps; empty where no rule is known
    history: np.recarray | None
    stopped: str  # why training ended, where it diverged
    restored: bool  # whether the parameters are those of the best epoch


@dataclass(frozen=True)
class Subject:
    """What is looked at, checked, in float64."""

    network: Network
    parameters: Parameters
    X: np.ndarray
    Y: np.ndarray
    weights: np.ndarray | None
    validation: tuple | None  # (X, Y) or (X, Y, weights)
    optimizer: Optimizer | None
    state: np.ndarray | None  # (2, theta.size)
    step: int
    batch_size: int
    history: np.recarray | None = None
    stopped: str = ""
    restored: bool = False


def measure(subject: Subject) -> Facts:
    """Measure a subject on at most 2000 of its rows."""
    network, parameters, weights = subject.network, subject.parameters, subject.weights
    rows = some_rows(len(subject.X))
    X, Y, w = subject.X[rows], subject.Y[rows], None if weights is None else weights[rows]
    if w is not None and not w.any():
        w = None
    fwd = forward(network, parameters, X)
    back = backward(network, parameters, fwd, Y, w)
    rate = _highest_rate(subject)
    spread = _targets(network, subject.Y)
    constant, floor = _best_constant(network, Y, w), _floor(network, Y)
    loss, baseline = _loss(network, parameters, X, Y, w), _constant_loss(*constant, Y, w)
    validation = validation_baseline = None
    if subject.validation is not None:
        validation = _loss(network, parameters, *subject.validation)
        validation_baseline = _constant_loss(*constant, *subject.validation[1:])
    unmoved = GAIN * (max(baseline, loss) - floor)
    trials = {} if rate is None or subject.stopped else _trials(subject, X, Y, w, rate, unmoved)
    return Facts(
        network, _layers(subject, fwd, back, rate), X.mean(0), X.std(0), *spread, loss, baseline, floor, validation,
        validation_baseline, rate, trials, subject.history, subject.stopped, subject.restored,
    )  # fmt: skip


def some_rows(count: int) -> np.ndarray:
    """Numbers of the rows that are looked at, of so many."""
    if count <= MOST_ROWS:
        return np.arange(count)
    return np.sort(np.random.default_rng(0).choice(count, MOST_ROWS, replace=False))


def _plain(network: Network) -> Network:
    """The network without penalties and dropout."""
    hidden = list(network.activations) or "identity"
    return Network(network.layers, hidden, network.output_activation, network.loss)


def _loss(network: Network, parameters: Parameters, X: Any, Y: Any, weights: Any = None) -> float:
    plain = _plain(network)
    X = check_inputs(plain, X, np.float64)
    return backward(plain, parameters, forward(plain, parameters, X), Y, weights).loss


def _by_class(network: Network, Y: np.ndarray) -> bool:
    return network.loss.targets == "distribution" and Y.shape[1] == 1


def _targets(network: Network, Y: np.ndarray) -> tuple[float, float]:
    means, stds = Y.mean(0), Y.std(0)
    widest = int(stds.argmax())
    return float(means[widest]), float(stds[widest])


def _floor(network: Network, Y: np.ndarray) -> float:
    """The loss of outputs that are the targets: there are losses that go below 0."""
    if network.loss.targets in ("distribution", "unit"):
        return 0.0
    losses, _ = losses_and_slopes(network.loss, Y.ravel(), Y.ravel())
    losses = losses[np.isfinite(losses)]
    return float(losses.mean()) * Y.shape[1] if len(losses) else -np.inf


def _constant_loss(bias: Network, constant: Parameters, Y: Any, weights: Any = None) -> float:
    """The loss of constant outputs; infinite where there is none."""
    loss = _loss(bias, constant, np.zeros((len(Y), 1)), Y, weights)
    return loss if np.isfinite(loss) else np.inf


def _best_constant(network: Network, Y: np.ndarray, w: np.ndarray | None) -> tuple[Network, Parameters]:
    """The best constant outputs: of a bias alone, at the link's inverse of the mean (or median, or quantile)."""
    loss, outputs = network.loss, network.layers[-1]
    if loss.own:
        return _trained_constant(network, Y, w)
    if _by_class(network, Y):
        constant = np.bincount(Y[:, 0].astype(int), w, minlength=outputs) / (len(Y) if w is None else w.sum())
    elif loss.name in ("absolute_error", "quantile"):
        quantile = loss.options.get("quantile", 0.5)
        constant = np.quantile(Y, quantile, axis=0, weights=w, method="inverted_cdf")  # no other method takes weights
    else:
        constant = np.average(Y, axis=0, weights=w)
    smoothing = loss.label_smoothing
    constant = (1 - smoothing) * constant + smoothing / max(outputs, 2) if smoothing else constant
    inverse: dict[str, Callable] = {
        "identity": lambda p: p,
        "exp": lambda p: np.log(np.maximum(p, 1e-12)),
        "softmax": lambda p: np.log(np.maximum(p, 1e-12)),
        "sigmoid": lambda p: np.log(np.maximum(p, 1e-12) / np.maximum(1 - p, 1e-12)),
    }
    return Network((1, outputs), loss=loss), Parameters.from_arrays([np.zeros((1, outputs))], [inverse[loss.link](constant)])


def _trained_constant(network: Network, Y: np.ndarray, w: np.ndarray | None) -> tuple[Network, Parameters]:
    """The same of a loss of which nothing is known: the bias is trained."""
    bias = Network((1, network.layers[-1]), output_activation=network.output_activation, loss=network.loss)
    start, X = bias.initialize(method="zeros"), np.zeros((len(Y), 1))
    if network.output_activation.name == "identity":
        start.b[0][:] = np.median(Y, axis=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DivergenceWarning)
        run = train(bias, X, Y, weights=w, parameters=start, optimizer=Rprop(), epochs=TRIAL_STEPS, batch_size=len(Y), seed=0)
    return bias, run.parameters


# --- layers --------------------------------------------------------------------------------------------------------------


def _layers(subject: Subject, fwd: Forward, back: Backward, rate: float | None) -> tuple[LayerFacts, ...]:
    network, parameters = subject.network, subject.parameters
    after = None if rate is None else _one_step(subject, rate)
    result = []
    for l, (W, b, activation) in enumerate(
        zip(parameters.W, parameters.b, (*network.activations, network.output_activation), strict=True)
    ):
        g, h, last = fwd.g[l], fwd.h[l], l == len(parameters.W) - 1
        dead = np.zeros(W.shape[1], bool)
        saturated = useless = duplicates = 0.0
        if not last:
            dead, saturated = _slopes(activation, g)
            told = h.std(0) * np.linalg.norm(parameters.W[l + 1], axis=1)  # by how much it moves the layer above
            useless = float(((told <= UNHEARD * told.max()) & ~dead).mean())
            duplicates = _duplicates(np.vstack([W, b]))
        step = None if after is None else float(np.linalg.norm(after.W[l] - W)) / max(float(np.linalg.norm(W)), 1e-300)
        result.append(LayerFacts(
            l + 1, W.shape[1], activation.name, float(g.mean()), float(g.std()), float(h.mean()), float(h.std()),
            float(dead.mean()), saturated, float(np.sqrt((back.delta[l] ** 2).sum(1).mean())), _rms(back.dW[l]), _rms(W),
            step, duplicates, useless,
        ))  # fmt: skip
    return tuple(result)


def _rms(array: np.ndarray) -> float:
    return float(np.sqrt((array**2).mean()))


def _slopes(activation: Activation, g: np.ndarray) -> tuple[np.ndarray, float]:
    """Which neurons are dead, and the share of rows and neurons that are saturated."""
    slope = np.abs(slope_and_values(activation, g.ravel())[0].reshape(g.shape))
    grid = np.abs(slope_and_values(activation, np.linspace(-5, 5, 101))[0])
    far = np.abs(slope_and_values(activation, np.array([-20.0, 20.0]))[0])
    steepest = float(np.nanmax(grid))
    dead = slope.max(0) <= DEAD * steepest
    bounded = bool((far < FLAT * steepest).all())
    return dead, float((slope < FLAT * steepest).mean()) if bounded else 0.0


def _duplicates(incoming: np.ndarray) -> float:
    """Share of columns that are the same as another column."""
    size = np.linalg.norm(incoming, axis=0)
    order = np.argsort(size)
    columns, size, same = incoming[:, order], size[order], np.zeros(incoming.shape[1], bool)
    for i in range(len(size) - 1):  # neighbours by length; equal columns are neighbours
        if np.linalg.norm(columns[:, i] - columns[:, i + 1]) <= SAME * size[i + 1]:
            same[i] = same[i + 1] = True
    return float(same.mean())


# --- steps and trials ----------------------------------------------------------------------------------------------------


def _highest_rate(subject: Subject) -> float | None:
    if subject.optimizer is None:
        return None
    rate = subject.optimizer.learning_rate
    # of a schedule all of it, but of a person's own function no step that was not taken
    return float(learning_rates(rate, 0, max(subject.step, int(getattr(rate, "steps", 1)), 1)).max())


def _one_step(subject: Subject, rate: float) -> Parameters:
    """The parameters after one step of a minibatch, with the state that there is."""
    rows = np.random.default_rng(0).permutation(len(subject.X))[: subject.batch_size]
    w = None if subject.weights is None or not subject.weights[rows].any() else subject.weights[rows]
    fwd = forward(subject.network, subject.parameters, subject.X[rows])
    back = backward(subject.network, subject.parameters, fwd, subject.Y[rows], w)
    rule: Any = replace(subject.optimizer, learning_rate=rate)  # type: ignore[type-var]
    state = None if subject.state is None else subject.state.copy()
    return update(subject.parameters, back, optimizer=rule, state=state, step=subject.step if state is not None else 0)


def _trials(
    subject: Subject, X: np.ndarray, Y: np.ndarray, w: np.ndarray | None, rate: float, unmoved: float
) -> dict[float, Trial]:
    """Some steps more on two thirds of the rows with other learning rates, up to one that changes the loss of the others."""
    network, order = subject.network, np.random.default_rng(1).permutation(len(X))
    held, rest = order[: len(X) // 3], order[len(X) // 3 :]
    if len(held) < 10 or (_by_class(network, Y) and len(np.unique(Y[rest])) < 2) or w is not None:
        return {}
    steps_per_epoch = -(-len(rest) // subject.batch_size)
    epochs = max(1, min(20, round(TRIAL_STEPS / steps_per_epoch)))

    def losses(parameters: Parameters) -> Trial:
        return Trial(*(_loss(network, parameters, X[part], Y[part]) for part in (rest, held)))

    def after_steps(factor: float) -> Trial:
        rule: Any = replace(subject.optimizer, learning_rate=rate * factor)  # type: ignore[type-var]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DivergenceWarning)
            run = train(
                network, X[rest], Y[rest], parameters=subject.parameters, optimizer=rule, epochs=epochs,
                batch_size=subject.batch_size, seed=0,
            )  # fmt: skip
        return Trial(np.inf, np.inf) if run.diverged else losses(run.parameters)

    found = {0.0: losses(subject.parameters)} | {factor: after_steps(factor) for factor in FACTORS}
    highest = FACTORS[-1]
    while abs(found[highest].held - found[1.0].held) < unmoved < np.inf and rate * highest < HIGHEST:
        highest *= 10
        found[highest] = after_steps(highest)
    return found


def checked(network: Network, X: Any, Y: Any, weights: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """X, Y and weights in float64."""
    X = check_inputs(network, X, np.float64)
    return X, check_targets(network, Y, len(X), X.dtype), check_weights(weights, len(X), X.dtype)
