"""An explanation as a document of titles, notes, equations and tables, which all forms but the page walk through.

It chooses what is said in which order; it neither computes nor typesets.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from glassprop.glass import equations as eq
from glassprop.glass.explanation import Effect, Explanation, Step
from glassprop.glass.formula import Equation, Expr, Num, Sym, sym

MOST_LINES = 40  # of one layer's gradients; larger layers have them in the table of the update alone


@dataclass(frozen=True)
class Title:
    """A heading; level 1 is that of the document."""

    text: str
    level: int


@dataclass(frozen=True)
class Note:
    """A sentence."""

    text: str


@dataclass(frozen=True)
class Lines:
    """Equations that belong together."""

    equations: tuple[Equation, ...]


@dataclass(frozen=True)
class Table:
    """Columns with a heading each; cells are formulas, numbers or words."""

    header: tuple[Expr | str, ...]
    rows: tuple[tuple[Expr | str, ...], ...]


Block = Title | Note | Lines | Table


def outline(explanation: Explanation) -> Iterator[Block]:
    """The whole explanation, block by block."""
    for step in explanation.steps:
        yield from _step(step, len(explanation.steps) > 1)


def _step(step: Step, several: bool) -> Iterator[Block]:
    name = "-".join(map(str, step.layer_sizes))
    yield Title(step_name(step) if several or step.step else f"One training step of a {name} network", 1)
    for text in about(step):
        yield Note(text)
    yield from _forward(step)
    yield from _loss(step)
    yield from _backward(step)
    yield from _update(step)
    yield from _effect(step)
    yield from _check(step)


def step_name(step: Step) -> str:
    """Which step it is, as it is numbered everywhere: by ``--step``, in a record, in formulas."""
    return f"Training step {step.step}, counted from 0"


def about(step: Step) -> list[str]:
    """What the step is, in sentences."""
    rows = "one row" if step.rows == 1 else f"row {step.row} of a batch of {step.rows} rows, counted from 0"
    text = f"{step.network}; {rows}" + (f" ({step.row_name})" if step.row_name else "") + f"; computed in {step.dtype}."
    notes = [text]
    if step.bfloat16:
        notes.append(
            "Products are of bfloat16: W, h and δ stand in them rounded to 8 significant bits, as the core multiplied them, "
            "and are added up in float32; everything else has its numbers in full."
        )
    if not step.whole:
        notes.append(
            "Of large layers the neurons that matter most for this row are shown, by |h δ|, with totals of the rest; "
            "every number is that of the whole network."
        )
    if step.dropout == "left out":
        notes.append("Dropout is left out.")
    if step.dropout == "acts":
        notes.append("Dropout acts: m is 0 where a neuron is left out of this step, and 1/(1 − p) where it is not.")
    return notes


def _named(names: tuple[str, ...], symbols: list[Sym], values: list[float], title: str) -> Iterator[Block]:
    if names:
        rows = tuple((symbol, name, Num(value)) for symbol, name, value in zip(symbols, names, values, strict=True))
        yield Table((title, "name", "value"), rows)


def neurons(step: Step, l: int) -> str:
    """How many neurons a layer has and how many are shown."""
    layer = step.layers[l - 1]
    count = f"{layer.size} neuron" + ("s" if layer.size > 1 else "")
    return count if len(layer.units) == layer.size else f"{len(layer.units)} of {count} shown"


def layer_title(step: Step, l: int) -> str:
    """Layer, function and size."""
    return f"Layer {l}: {step.layers[l - 1].name}, {neurons(step, l)}"


def _forward(step: Step) -> Iterator[Block]:
    yield Title("1  Forward", 2)
    first = step.layers[0]
    yield from _named(step.input_names, [eq.below(step, 1, i) for i in range(len(first.inputs))], step.x.tolist(), "input")
    for l, layer in enumerate(step.layers, start=1):
        yield Title(layer_title(step, l), 3)
        yield Lines(tuple(eq.layer_forward(step, l)))
        for j in range(len(layer.units)):
            yield Lines((eq.pre_activation(step, l, j), eq.activation(step, l, j)))


def _loss(step: Step) -> Iterator[Block]:
    yield Title("2  Loss", 2)
    outputs = step.layers[-1]
    targets = [sym("y", number + 1) for number in outputs.units]
    yield from _named(step.output_names, targets, step.loss.y.tolist(), "target")
    yield Lines((eq.loss_formula(step),))
    for text in loss_notes(step):
        yield Note(text)
    lines = [eq.loss_term(step, o) for o in range(len(outputs.units))]
    if outputs.size > 1:
        lines.append(eq.row_loss(step))
    yield Lines(tuple(lines))
    if eq.batch_matters(step):
        yield Lines((eq.objective(step),))


def loss_notes(step: Step) -> list[str]:
    """Constants and weights in the formulas of the loss, in sentences."""
    loss = step.loss
    notes = [f"{letter} = {value:g}." for letter, value in loss.options.items()]
    if not loss.formula:
        notes.append(f"{loss.name}(h, y) is a loss of your own, without a formula that could be shown.")
    if loss.smoothing:
        notes.append(f"The targets are smoothed by {loss.smoothing:g}.")
    if loss.weight != 1 or loss.weight_sum != step.rows:
        notes.append(f"The row's weight w is {loss.weight:g}, the sum over the batch {loss.weight_sum:g}.")
    return notes


def _backward(step: Step) -> Iterator[Block]:
    yield Title("3  Backward", 2)
    for l in range(len(step.layers), 0, -1):
        layer = step.layers[l - 1]
        yield Title(layer_title(step, l), 3)
        yield Lines(tuple(eq.layer_backward(step, l)))
        for j in range(len(layer.units)):
            yield Lines(tuple(eq.error_terms(step, l, j)))
        entries = _entries(step, l)
        lines = [eq.gradients(step, l, i, j) for i, j in entries]
        if sum(map(len, lines)) <= MOST_LINES:
            yield Lines(tuple(line for group in lines for line in group))
        else:
            yield Note("For example:")
            yield Lines(tuple(lines[0]))
            yield Note("The gradients of this layer are in the table of the update.")


def _entries(step: Step, l: int) -> list[tuple[int | None, int]]:
    """The weights shown of a layer, then its biases."""
    layer = step.layers[l - 1]
    inputs: list[int | None] = [*range(len(layer.inputs)), None]
    return [(i, j) for i in inputs for j in range(len(layer.units))]


def _update(step: Step) -> Iterator[Block]:
    rule = step.rule
    yield Title("4  Update", 2)
    yield Note(rule_text(step))
    yield Lines(tuple(eq.rule_equations(step)))
    given = tuple(line for line in (eq.schedule(step), eq.clipping(step)) if line is not None)
    if given:
        yield Lines(given)
    for l, layer in enumerate(step.layers, start=1):
        factor = f", learning rate {layer.learning_rate:g}" if layer.learning_rate != rule.learning_rate else ""
        yield Title(f"Layer {l}{factor}", 3)
        moved = np.argwhere(layer.weights.gradient)  # a weight that does not move shows little
        i, j = moved[0].tolist() if len(moved) else (0, 0)
        yield Lines(tuple(eq.updates(step, l, i, j)))
        yield _update_table(step, l)


def rule_text(step: Step) -> str:
    """The rule, its learning rate and constants in words."""
    rule = step.rule
    constants = {letter: value for letter, value in rule.constants.items() if letter in rule.formula}
    letters = [f"{letter} = {value:g}" for letter, value in constants.items()]
    if rule.weight_decay:
        letters.append(f"λ = {rule.weight_decay:g}, of weights alone")
    if rule.clip_norm is not None:
        letters.append(f"clip_norm = {rule.clip_norm:g}, with a gradient of norm {rule.gradient_norm:.6g}")
    rate = f"η = {rule.learning_rate:.9g}" + (f" in step {step.step} of {rule.schedule}" if rule.schedule else "")
    return f"{rule.name}: " + ", ".join([rate, *letters]) + "."


def _update_table(step: Step, l: int) -> Table:
    layer = step.layers[l - 1]
    letters = list(layer.weights.after)
    header: list[Expr | str] = ["parameter", "old", eq.by(eq.L, sym("θ"))]
    header += [sym(letter) for letter in letters] + [eq.DELTA_T, "new"]
    rows: list[tuple[Expr | str, ...]] = []
    for i, j in _entries(step, l):
        tensor, place = eq.tensor_of(step, l, i), j if i is None else (i, j)
        numbers = [tensor.old, tensor.gradient, *tensor.after.values(), tensor.step, tensor.new]
        rows.append((eq.parameter(step, l, i, j), *(Num(float(array[place])) for array in numbers)))
    return Table(tuple(header), tuple(rows))


def _effect(step: Step) -> Iterator[Block]:
    yield Title("5  What it did", 2)
    yield Note("Before and after the step, and the change beside what the gradient promises to first order, Σ ∂/∂θ Δθ.")
    effects: list[tuple[Expr, Effect]] = [(eq.L_ROW, step.row_effect)]
    if eq.batch_matters(step):
        effects.append((eq.L, step.batch_effect))
    rows = tuple(
        (symbol, Num(effect.before), Num(effect.after), Num(effect.change), Num(effect.predicted)) for symbol, effect in effects
    )
    yield Table(("loss", "before", "after", "change", "promised"), rows)


def _check(step: Step) -> Iterator[Block]:
    if step.check is None:
        return
    yield Title("6  Is it right?", 2)
    yield Note(step.check.verdict)
    rows: list[tuple[Expr | str, ...]] = []
    for l in range(1, len(step.layers) + 1):
        for i, j in _entries(step, l):
            tensor, place = eq.tensor_of(step, l, i), j if i is None else (i, j)
            if tensor.difference is None or np.isnan(tensor.difference[place]):
                continue
            pair = Num(float(tensor.gradient[place])), Num(float(tensor.difference[place]))
            rows.append((eq.parameter(step, l, i, j), *pair, Num(abs(pair[0].value - pair[1].value))))
    yield Table(("parameter", eq.by(eq.L, sym("θ")), "central difference", "apart"), tuple(rows))
