"""An explanation as one page for a browser: the network drawn, and for everything in it the formulas with their numbers.

The page (templates/) draws and steps; here it gets its numbers, and its formulas as MathML. Nothing is fetched from anywhere.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

import numpy as np

from glassprop.glass import equations as eq
from glassprop.glass.explanation import Effect, Explanation, Step
from glassprop.glass.formula import Equation, Expr, Num, equation, product, work_out
from glassprop.glass.outline import about, loss_notes, neurons, rule_text, step_name
from glassprop.glass.typeset import MathML, Plain

PHASES = {"forward": "Forward", "loss": "Loss", "backward": "Backward", "update": "Update", "result": "Result"}
SAID = {
    "forward": "Every neuron adds up what it reads, each number times its weight, and its bias: g. Its function makes h of it, "
    "which the next layer reads.",
    "loss": "How far the outputs are from their targets, as one number.",
    "output": "How the loss changes with g of each output is its error term δ. A weight's gradient is what it reads, times δ.",
    "backward": "The error terms travel back over the same weights. A neuron adds up its paths and multiplies by the slope of "
    "its function: δ. A weight's gradient is what it reads, times δ.",
    "update": "Every weight and every bias takes a step against its gradient.",
    "result": "The step is taken. What it did to the loss, beside what the gradient promised to first order.",
}
FEW = 4  # neurons of a layer whose formulas are shown with it
MANY = 20  # rows of a table that is shown only when it is asked for
DRAWN = 4  # significant digits of what colours and widths follow from


def to_html(explanation: Explanation, digits: int) -> str:
    """The page; `digits` are significant ones."""
    from jinja2 import Environment, PackageLoader

    environment = Environment(loader=PackageLoader("glassprop.glass"), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    first = explanation.steps[0]
    name = "-".join(map(str, first.layer_sizes))
    data = json.dumps(page_data(explanation, digits), ensure_ascii=False, separators=(",", ":"))
    alone = step_name(first) if first.step else f"One training step of a {name} network"
    return environment.get_template("page.html").render(
        title=alone if len(explanation.steps) == 1 else f"Training a {name} network",
        notes=about(first),
        phases=PHASES,
        steps=len(explanation.steps),
        data=data.replace("</", "<\\/"),
    )


def page_data(explanation: Explanation, digits: int) -> dict[str, Any]:
    """All that the page draws and shows."""
    first = explanation.steps[0]
    return {
        "columns": _columns(first),
        "stages": _stages(first),
        "steps": [_Writer(step, digits).data() for step in explanation.steps],
    }


def _columns(step: Step) -> list[dict[str, Any]]:
    """The inputs, then the layers: their neurons' letters, and how many are not shown."""
    first, last = step.layers[0], len(step.layers)
    names = step.input_names or [""] * len(first.inputs)
    columns = [
        {
            "title": "inputs",
            "more": first.size_below - len(first.inputs),
            "nodes": [["x", str(number + 1), name] for number, name in zip(first.inputs, names, strict=True)],
        }
    ]
    for l, layer in enumerate(step.layers, start=1):
        names = step.output_names if l == last and step.output_names else [""] * len(layer.units)
        nodes = [["h", f"{l},{number + 1}", name] for number, name in zip(layer.units, names, strict=True)]
        columns.append({"title": f"layer {l}", "about": layer.name, "more": layer.size - len(layer.units), "nodes": nodes})
    return columns


def _stages(step: Step) -> list[dict[str, Any]]:
    """What is gone through by the arrow keys: panel, phase, layer, title."""
    layers = range(1, len(step.layers) + 1)
    stages = [{"phase": "forward", "layer": l, "panel": f"layer-{l}", "title": f"Forward: layer {l}"} for l in layers]
    stages.append({"phase": "loss", "layer": len(step.layers), "panel": "loss", "title": "Loss"})
    for l in reversed(layers):
        stages.append({"phase": "backward", "layer": l, "panel": f"layer-{l}", "title": f"Backward: layer {l}"})
    stages.append({"phase": "update", "layer": 0, "panel": "update", "title": "Update"})
    stages.append({"phase": "result", "layer": 0, "panel": "result", "title": "Result"})
    return stages


class _Writer:
    """Writes one step: numbers for the drawing, and a panel of HTML for everything that can be chosen."""

    def __init__(self, step: Step, digits: int) -> None:
        self.step, self.mathml, self.plain, self.short = step, MathML(digits), Plain(digits), Plain(3)

    def data(self) -> dict[str, Any]:
        """Everything of the step."""
        step = self.step
        h = [step.x, *(layer.h for layer in step.layers)]
        empty = np.zeros(len(step.x))
        nodes = {
            "h": h,
            "delta": [empty, *(layer.delta for layer in step.layers)],
            "step": [empty, *(layer.biases.step for layer in step.layers)],
        }
        tensors = {name: [getattr(layer.weights, name) for layer in step.layers] for name in ("old", "gradient", "step", "new")}
        return {
            "name": str(step.step),
            "values": {name: [_drawn(column) for column in columns] for name, columns in nodes.items()},
            "shown": {name: [self.brief(column) for column in columns] for name, columns in nodes.items()},
            "targets": self.brief(step.loss.y),
            "loss": self.short.number(step.loss.row),
            "after": self.short.number(step.row_effect.after),
            "edges": {name: [_drawn(tensor) for tensor in layers] for name, layers in tensors.items()},
            "weights": {name: [self.labels(tensor) for tensor in layers] for name, layers in tensors.items()},
            "panels": self.panels(),
        }

    def brief(self, numbers: Iterable[float]) -> list[str]:
        """Numbers as they stand in the drawing."""
        return [self.short.number(float(value)) for value in numbers]

    def labels(self, tensor: np.ndarray) -> list[list[str]]:
        """Numbers beside the lines of small layers; none where they would not find room."""
        return [self.brief(row) for row in tensor] if max(tensor.shape) <= FEW else []

    def panels(self) -> dict[str, str]:
        """HTML by the name of what is chosen."""
        step = self.step
        panels = {"loss": self.loss_panel(), "update": self.update_panel(), "result": self.result_panel()}
        for i in range(len(step.x)):
            panels[f"n-0-{i}"] = self.input_panel(i)
        for l, layer in enumerate(step.layers, start=1):
            panels[f"layer-{l}"] = self.layer_panel(l)
            for j in range(len(layer.units)):
                panels[f"n-{l}-{j}"] = self.neuron_panel(l, j)
                for i in range(len(layer.inputs)):
                    panels[f"e-{l}-{i}-{j}"] = self.weight_panel(l, i, j)
        return panels

    # --- panels ---

    def input_panel(self, i: int) -> str:
        x = eq.below(self.step, 1, i)
        name = f"<p>{escape(self.step.input_names[i])}</p>" if self.step.input_names else ""
        return self.title("Input", x) + name + self.lines([equation(x, Num(float(self.step.x[i])))])

    def neuron_panel(self, l: int, j: int) -> str:
        step, last = self.step, l == len(self.step.layers)
        name = f"<p>{escape(step.output_names[j])}</p>" if last and step.output_names else ""
        parts = [
            self.title("Output" if last else "Neuron", eq.unit(step, "h", l, j)) + name,
            self.section("forward", self.lines([eq.pre_activation(step, l, j), eq.activation(step, l, j)])),
        ]
        if last:
            parts.append(self.section("loss", self.lines([eq.loss_term(step, j)])))
        parts.append(
            self.section(
                "backward",
                self.lines([*eq.error_terms(step, l, j), *eq.gradients(step, l, None, j)]) + self.difference(l, None, j),
            )
        )
        parts.append(self.section("update", self.lines(eq.updates(step, l, None, j)), "Update of its bias"))
        return "".join(parts) + "<h4>Its weights</h4>" + self.weights_table(l, j)

    def weights_table(self, l: int, j: int) -> str:
        step, weights = self.step, self.step.layers[l - 1].weights
        rows = []
        for i in range(len(step.layers[l - 1].inputs)):
            numbers = [weights.old[i, j], weights.gradient[i, j], weights.new[i, j]]
            rows.append((self.button(f"e-{l}-{i}-{j}", eq.parameter(step, l, i, j)), *self.numbers(numbers)))
        return self.table(("weight", "old", "gradient", "new"), rows)

    def weight_panel(self, l: int, i: int, j: int) -> str:
        step, layer = self.step, self.step.layers[l - 1]
        here, h = eq.parameter(step, l, i, j), eq.below(step, l, i)
        numbers = product(Num(float(layer.factors[i, j])), Num(float(layer.below[i])))
        term = equation(product(here, h), numbers, Num(work_out(numbers)))
        ends = f"<p>from {self.button(f'n-{l - 1}-{i}', h)} to {self.button(f'n-{l}-{j}', eq.unit(step, 'h', l, j))}</p>"
        return (
            self.title("Weight", here)
            + ends
            + self.section("forward", self.lines([term]), "Forward: its part of g")
            + self.section(
                "backward", self.lines(eq.gradients(step, l, i, j)) + self.difference(l, i, j), "Backward: its gradient"
            )
            + self.section("update", self.lines(eq.updates(step, l, i, j)))
        )

    def difference(self, l: int, i: int | None, j: int) -> str:
        """The central difference, where there is one."""
        difference, place = eq.tensor_of(self.step, l, i).difference, j if i is None else (i, j)
        if difference is None or np.isnan(difference[place]):
            return ""
        return f"<p>central difference: {self.plain.number(float(difference[place]))}</p>"

    def layer_panel(self, l: int) -> str:
        step, layer = self.step, self.step.layers[l - 1]
        last = l == len(step.layers)
        units = range(len(layer.units))
        forward = self.said("forward") + self.lines(eq.layer_forward(step, l))
        backward = self.said("output" if last else "backward") + self.lines(eq.layer_backward(step, l))
        if len(units) <= FEW:
            forward += self.lines(line for j in units for line in (eq.pre_activation(step, l, j), eq.activation(step, l, j)))
            backward += self.lines(line for j in units for line in eq.error_terms(step, l, j))
        if len(units) * (len(layer.inputs) + 1) <= FEW * FEW:
            entries: list[tuple[int | None, int]] = [(i, j) for i in range(len(layer.inputs)) for j in units]
            entries += [(None, j) for j in units]
            backward += self.lines(line for i, j in entries for line in eq.gradients(step, l, i, j))
        forward += self.layer_table(l, ("g", "h"), layer.g, layer.h)
        backward += self.layer_table(l, ("δ", "∂L/∂b"), layer.delta, layer.biases.gradient)
        head = f"<h3>Layer {l}: {escape(layer.name)}</h3><p>{escape(neurons(step, l))}</p>"
        return head + self.section("forward", forward, alone=True) + self.section("backward", backward, alone=True)

    def layer_table(self, l: int, header: Sequence[str], *columns: np.ndarray) -> str:
        step = self.step
        rows = [
            (self.button(f"n-{l}-{j}", eq.unit(step, "h", l, j)), *self.numbers(numbers))
            for j, numbers in enumerate(zip(*columns, strict=True))
        ]
        return self.table(("neuron", *header), rows)

    def loss_panel(self) -> str:
        step = self.step
        lines = [eq.loss_term(step, o) for o in range(len(step.layers[-1].units))]
        if step.layers[-1].size > 1:
            lines.append(eq.row_loss(step))
        if eq.batch_matters(step):
            lines.append(eq.objective(step))
        notes = "".join(f"<p>{escape(text)}</p>" for text in loss_notes(step))
        body = self.said("loss") + self.lines([eq.loss_formula(step)]) + notes + self.lines(lines)
        return f"<h3>Loss: {escape(step.loss.name.replace('_', ' '))}</h3>" + self.section("loss", body, "")

    def update_panel(self) -> str:
        step = self.step
        given = [line for line in (eq.schedule(step), eq.clipping(step)) if line is not None]
        lines = eq.rule_equations(step) + given
        body = self.said("update") + f"<p>{escape(rule_text(step))}</p>" + self.lines(lines)
        rows = []
        for l, layer in enumerate(step.layers, start=1):
            for tensor, name in ((layer.weights, "W"), (layer.biases, "b")):
                sizes = [np.abs(tensor.gradient).max(), np.abs(tensor.step).max()]
                rows.append((f"<math>{self.mathml(eq.sym(name, l))}</math>", *self.numbers(sizes)))
        body += self.table(("largest of those shown", "|gradient|", "|step|"), rows)
        return "<h3>Update</h3>" + self.section("update", body + "<p>Choose a weight or a neuron to see its step.</p>", "")

    def result_panel(self) -> str:
        step = self.step
        effects: list[tuple[str, Effect]] = [("ℓ of the row", step.row_effect)]
        if eq.batch_matters(step):
            effects.append(("L of the batch", step.batch_effect))
        columns = [self.numbers([effect.before, effect.after, effect.change, effect.predicted]) for _, effect in effects]
        rows = list(zip(("before", "after", "change", "promised"), *columns, strict=True))
        body = self.said("result") + self.table(("", *(name for name, _ in effects)), rows)
        return "<h3>What it did</h3>" + self.section("result", body, "") + self.check_section()

    def check_section(self) -> str:
        step = self.step
        if step.check is None:
            return ""
        rows = []
        for l, layer in enumerate(step.layers, start=1):
            for i in (*range(len(layer.inputs)), None):
                for j in range(len(layer.units)):
                    tensor, place = eq.tensor_of(step, l, i), j if i is None else (i, j)
                    if tensor.difference is None or np.isnan(tensor.difference[place]):
                        continue
                    name = f"n-{l}-{j}" if i is None else f"e-{l}-{i}-{j}"
                    numbers = [tensor.gradient[place], tensor.difference[place]]
                    rows.append((self.button(name, eq.parameter(step, l, i, j)), *self.numbers(numbers)))
        table = self.table(("parameter", "gradient", "central difference"), rows)
        if len(rows) > MANY:
            table = f"<details><summary>{len(rows)} gradients and their differences</summary>{table}</details>"
        return f"<h3>Is it right?</h3><p>{escape(step.check.verdict)}</p>{table}"

    # --- pieces ---

    def title(self, kind: str, symbol: Expr) -> str:
        return f"<h3>{kind} <math>{self.mathml(symbol)}</math></h3>"

    def said(self, what: str) -> str:
        return f"<p>{SAID[what]}</p>"

    def lines(self, equations: Iterable[Equation]) -> str:
        return "".join(f'<p class="eq">{self.mathml.equation(line)}</p>' for line in equations)

    def section(self, phase: str, body: str, title: str | None = None, alone: bool = False) -> str:
        """A part of a panel; one that is `alone` is seen in its phase only."""
        kind = ' class="alone"' if alone else ""
        head = PHASES[phase] if title is None else title
        return f'<section data-phase="{phase}"{kind}>' + (f"<h4>{head}</h4>" if head else "") + f"{body}</section>"

    def numbers(self, values: Iterable[float]) -> list[str]:
        return [self.plain.number(float(value)) for value in values]

    def button(self, name: str, symbol: Expr) -> str:
        return f'<button data-go="{name}"><math>{self.mathml(symbol)}</math></button>'

    def table(self, header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
        head = "".join(f"<th>{title}</th>" for title in header)
        body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
        return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _drawn(array: np.ndarray) -> Any:
    """Numbers as exactly as a drawing needs them."""
    return [_drawn(row) for row in array] if array.ndim > 1 else [float(f"{value:.{DRAWN}g}") for value in array]
