"""From a moment of training to the numbers that are shown: which neurons, their terms, and totals of the rest.

What the core left in memory is picked out and put in order here; beyond products of two such numbers and their sums nothing is
computed, and nothing is rounded.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np

from glassprop.core.activations import SELU_ALPHA, SELU_LAMBDA
from glassprop.core.losses import Loss
from glassprop.core.schedules import Schedule
from glassprop.glass.explanation import Effect, Layer, RowLoss, Rule, Step, Tensor
from glassprop.glass.moment import Moment, loss_slopes, loss_terms, slopes
from glassprop.glass.notation import readable

#: Letters of constants in the formulas of the core's tables, where they are not called as in Python.
LETTERS = {
    "momentum": "μ",
    "rho": "ρ",
    "beta1": "β₁",
    "beta2": "β₂",
    "epsilon": "ε",
    "delta": "κ",
    "quantile": "q",
    "learning_rate": "η₀",
}
#: Constants in the formulas of activations.
CONSTANTS = {"selu": {"λ": SELU_LAMBDA, "α": SELU_ALPHA}}

Chosen = list[np.ndarray]  # for the inputs, then for each layer: numbers of the neurons shown


def choose(moment: Moment, row: int, most: int | None) -> Chosen:
    """All neurons of layers of up to `most` (None: of any size); of larger ones those with the largest |h δ| for the row.

    Of inputs, whose δ training does not need, x is weighed with the error that reaches it, W δ.
    """
    passes = moment.passes
    delta = [layer[row] for layer in passes.delta]
    first = moment.parameters.W[0].astype(np.float64) @ delta[0]
    chosen = []
    for h, error in zip((layer[row] for layer in passes.h), (first, *delta), strict=True):
        if most is None or len(h) <= most:
            chosen.append(np.arange(len(h)))
        else:
            chosen.append(np.sort(np.argsort(-np.abs(h * error), kind="stable")[:most]))
    return chosen


def trace(moment: Moment, row: int, chosen: Chosen, names: dict[str, Any]) -> Step:
    """The numbers of the step as seen from one row of its batch.

    Parameters
    ----------
    moment : Moment
    row : int
        Of the batch.
    chosen : list of ndarray
        See `choose`.
    names : dict
        ``row_name``, ``input_names``, ``output_names`` of all inputs and outputs.
    """
    network, passes = moment.network, moment.passes
    layers = tuple(_layer(moment, row, chosen, l) for l in range(1, len(network.layers)))
    return Step(
        network=repr(network),
        layer_sizes=network.layers,
        dtype=moment.parameters.dtype.name,
        bfloat16=moment.paired,
        step=moment.step,
        row=row,
        rows=len(moment.X),
        row_name=names["row_name"],
        l2=network.l2,
        l1=network.l1,
        dropout="acts" if moment.drops else "left out" if any(network.dropout) else "none",
        x=passes.h[0][row, chosen[0]],
        layers=layers,
        loss=_loss(moment, row, chosen[-1]),
        rule=_rule(moment),
        row_effect=_row_effect(moment, row),
        batch_effect=_batch_effect(moment),
        input_names=_named(names["input_names"], chosen[0]),
        output_names=_named(names["output_names"], chosen[-1]),
    )


def _named(names: Any, chosen: np.ndarray) -> tuple[str, ...]:
    return tuple(str(names[i]) for i in chosen) if names is not None else ()


# --- layers --------------------------------------------------------------------------------------------------------------


def _layer(moment: Moment, row: int, chosen: Chosen, l: int) -> Layer:
    """Layer l, counted from 1."""
    network, passes, dtype = moment.network, moment.passes, moment.parameters.dtype
    inputs, units = chosen[l - 1], chosen[l]
    last = l == len(network.layers) - 1
    activation = network.output_activation if last else network.activations[l - 1]
    W, h = moment.multiplied(moment.parameters.W[l - 1]), moment.multiplied(passes.h[l - 1][row])
    g, delta = passes.g[l - 1][row], passes.delta[l - 1][row]
    unseen = np.setdiff1d(np.arange(len(h)), inputs)
    known = ("g", "h", *CONSTANTS.get(activation.name, ()))
    linked = last and activation.name == network.loss.link
    if last:
        above, rest_above = _output_error(moment, row, units, linked), np.zeros(len(units))
    else:
        paths = moment.multiplied(moment.parameters.W[l][units]) * moment.multiplied(passes.delta[l][row])
        hidden = np.setdiff1d(np.arange(paths.shape[1]), chosen[l + 1])
        above, rest_above = paths.sum(1), paths[:, hidden].sum(1)
    with np.errstate(over="ignore"):
        exponentials = np.exp(np.delete(g, units)).sum() if activation.name == "softmax" else 0.0
    return Layer(
        name=activation.name,
        formula=activation.formula if readable(activation.formula, known) else "",
        slope_formula=activation.slope if readable(activation.slope, known) else "",
        size=network.layers[l],
        size_below=network.layers[l - 1],
        units=tuple(units.tolist()),
        inputs=tuple(inputs.tolist()),
        below=h[inputs],
        rest=h[unseen] @ W[np.ix_(unseen, units)],
        g=g[units],
        h=passes.h[l][row, units],
        kept=passes.kept[l - 1][row, units] if moment.drops and not last else None,
        slope=None if linked else slopes(activation, g[units], dtype),
        above=above,
        rest_above=rest_above,
        delta=delta[units],
        learning_rate=moment.rate * _factor(moment, l),
        weights=_tensor(moment, row, l, units, inputs),
        biases=_tensor(moment, row, l, units, None),
        exponentials=float(exponentials),
        rounded_weights=W[np.ix_(inputs, units)] if moment.paired else None,
        rounded_delta=moment.multiplied(delta[units]) if moment.paired else None,
    )


def _output_error(moment: Moment, row: int, units: np.ndarray, linked: bool) -> np.ndarray:
    """∂ℓ/∂h of the chosen outputs; 0 where it is never computed, since δ has a form of its own."""
    passes = moment.passes
    if linked and not moment.network.loss.own:
        return np.zeros(len(units))
    y, h = passes.targets[row], passes.h[-1][row]
    return loss_slopes(moment.network.loss, h, y, moment.parameters.dtype)[units]


def _factor(moment: Moment, l: int) -> float:
    factors = moment.optimizer.layer_factors
    return 1.0 if factors is None else factors[l - 1]


def _tensor(moment: Moment, row: int, l: int, units: np.ndarray, inputs: np.ndarray | None) -> Tensor:
    """The chosen weights of layer l, or where `inputs` is None its biases."""
    passes, after, network = moment.passes, moment.after, moment.network
    delta = passes.delta[l - 1][:, units]
    h = np.ones((len(delta), 1))
    if inputs is not None:  # a gradient of biases is a sum, not a product
        h, delta = moment.multiplied(passes.h[l - 1][:, inputs]), moment.multiplied(delta)
    others = np.delete(np.arange(len(delta)), row)

    def of(vector: np.ndarray) -> np.ndarray:
        parameters = moment.parameters.with_theta(vector)
        return (parameters.b[l - 1][units] if inputs is None else parameters.W[l - 1][np.ix_(inputs, units)]).astype(np.float64)

    def shaped(product: np.ndarray) -> np.ndarray:
        return product[0] if inputs is None else product

    old, rate, decay = of(moment.parameters.theta), moment.rate * _factor(moment, l), moment.optimizer.weight_decay
    letters = moment.optimizer.states if _keeps_state(moment) else ()
    return Tensor(
        old=old,
        share=shaped(np.outer(h[row], delta[row])),
        others=shaped(h[others].T @ delta[others]),
        penalty=np.zeros_like(old) if inputs is None else network.l2 * old + network.l1 * np.sign(old),
        gradient=of(passes.gradient.theta),
        used=of(after.used.theta),
        decayed=old if inputs is None or decay == 0 else (1 - rate * decay) * old,
        before={letter: of(vector) for letter, vector in zip(letters, moment.state, strict=False)},
        after={letter: of(vector) for letter, vector in zip(letters, after.state, strict=False)},
        new=of(after.parameters.theta),
    )


def _keeps_state(moment: Moment) -> bool:
    """Plain gradient descent has room for a velocity that it does not use."""
    return any(f"{letter} :=" in moment.optimizer.formula for letter in moment.optimizer.states)


# --- loss, rule, effect --------------------------------------------------------------------------------------------------


def _loss(moment: Moment, row: int, outputs: np.ndarray) -> RowLoss:
    network, passes = moment.network, moment.passes
    loss: Loss = network.loss
    y, g = passes.targets[row], passes.g[-1][row]
    weights = _weights(moment)
    terms = loss_terms(network, g, y, outputs, moment.parameters.dtype)
    unseen = np.setdiff1d(np.arange(len(y)), outputs)
    others = np.delete(np.arange(len(weights)), row)
    return RowLoss(
        name=loss.name,
        formula=_readable(loss, loss.formula),
        slope_formula=_readable(loss, loss.slope_formula),
        linked_formula=_readable(loss, loss.slope_formula) if loss.link == "identity" else "h − y",
        options={LETTERS[name]: value for name, value in loss.options.items() if name in LETTERS},
        smoothing=loss.label_smoothing,
        y=y[outputs],
        terms=terms,
        rest=float(loss_terms(network, g, y, unseen, moment.parameters.dtype).sum()) if len(unseen) else 0.0,
        row=float(passes.losses[row]),
        mass=float(y.sum()),
        weight=float(weights[row]),
        weight_sum=float(weights.sum()),
        others=_weighted(weights[others], passes.losses[others]),
        penalty=passes.penalty,
        objective=passes.objective,
    )


def _readable(loss: Loss, formula: str) -> str:
    """A loss's formula; empty where it is a user's own and not in the notation."""
    return formula if not loss.own or readable(formula, ("h", "y")) else ""


def _weights(moment: Moment) -> np.ndarray:
    return np.ones(len(moment.X)) if moment.weights is None else moment.weights.astype(np.float64)


def _weighted(weights: np.ndarray, losses: np.ndarray) -> float:
    """Σ w ℓ; a row without weight is not there, whatever its loss."""
    return float(weights[weights > 0] @ losses[weights > 0])


def _rule(moment: Moment) -> Rule:
    optimizer, norm = moment.optimizer, moment.passes.gradient_norm
    rate = optimizer.learning_rate
    clip = optimizer.clip_norm
    constants = {LETTERS.get(name, name): float(getattr(optimizer, name)) for name in optimizer.ranges}
    return Rule(
        name=optimizer.name,
        formula=optimizer.formula,
        constants=constants | {"t": moment.step + 1.0},
        states=optimizer.states if _keeps_state(moment) else (),
        learning_rate=moment.rate,
        schedule=""
        if not callable(rate)
        else repr(rate)
        if isinstance(rate, Schedule)
        else getattr(rate, "__name__", repr(rate)),
        schedule_formula=rate.formula if isinstance(rate, Schedule) else "",
        schedule_constants=_schedule_constants(rate, moment.step) if isinstance(rate, Schedule) else {},
        gradient_norm=norm,
        clip_norm=clip,
        clips=clip is not None and norm > clip,
        weight_decay=optimizer.weight_decay,
        arguments=optimizer.describe(),
    )


def _schedule_constants(schedule: Schedule, step: int) -> dict[str, float]:
    arguments = {item.name: float(getattr(schedule, item.name)) for item in fields(schedule)}
    return {LETTERS.get(name, name): value for name, value in arguments.items()} | {"s": float(step)}


def _row_effect(moment: Moment, row: int) -> Effect:
    """ℓ of the row; its gradient is h δᵀ over the row's weight."""
    passes, after = moment.passes, moment.following.passes
    weight, predicted = _weights(moment)[row], 0.0
    for l, (new, old) in enumerate(zip(moment.after.parameters.W, moment.parameters.W, strict=True)):
        bias = moment.after.parameters.b[l].astype(np.float64) - moment.parameters.b[l]
        h, delta = (moment.multiplied(numbers[l][row]) for numbers in (passes.h, passes.delta))
        predicted += float(h @ (new.astype(np.float64) - old) @ delta + bias @ passes.delta[l][row])
    return Effect(float(passes.losses[row]), float(after.losses[row]), predicted / weight if weight > 0 else 0.0)


def _batch_effect(moment: Moment) -> Effect:
    """L of the batch."""
    passes, after = moment.passes, moment.following.passes
    step = moment.after.parameters.theta.astype(np.float64) - moment.parameters.theta
    return Effect(passes.objective, after.objective, float(passes.gradient.theta.astype(np.float64) @ step))
