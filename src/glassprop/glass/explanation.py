"""Explanation: every number of a training step, as plain data at full precision, and the forms in which it can be had.

It computes nothing (trace.py) and sets nothing in type. Layers, neurons and steps are counted here as in arrays, from zero;
what is printed counts layers and neurons from one, as in the formulas.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from glassprop.errors import is_whole, unknown_name


@dataclass(frozen=True)
class Tensor:
    """The chosen entries of one parameter tensor in the step: weights (inputs, units) or biases (units,)."""

    old: np.ndarray
    share: np.ndarray  # h δ of the row; of a bias δ
    others: np.ndarray  # Σ h δ of the other rows of the batch
    penalty: np.ndarray  # λ₂ W + λ₁ sign W
    gradient: np.ndarray  # ∂L/∂θ = (share + others) / Σ w + penalty
    used: np.ndarray  # the gradient as the rule sees it: clipped, where it is
    decayed: np.ndarray  # θ after weight decay, before the rule
    before: dict[str, np.ndarray]  # the rule's state by its letters
    after: dict[str, np.ndarray]
    new: np.ndarray
    difference: np.ndarray | None = None  # central-difference gradient; NaN where none was taken

    @property
    def step(self) -> np.ndarray:
        """new − old."""
        return self.new - self.old


@dataclass(frozen=True)
class Layer:
    """One layer's numbers for the row: of the chosen neurons, with totals of the rest."""

    name: str  # of φ
    formula: str  # φ and φ′, in the notation of the core's table; empty for a user's own that has none
    slope_formula: str
    size: int  # neurons in all
    size_below: int
    units: tuple[int, ...]  # numbers of the chosen neurons
    inputs: tuple[int, ...]  # numbers of the chosen neurons of the layer below, or of the chosen inputs
    below: np.ndarray  # (inputs,): h of the layer below, or x; in bfloat16, where that is multiplied
    rest: np.ndarray  # (units,): Σ W h over the neurons below that were not chosen
    g: np.ndarray  # (units,)
    h: np.ndarray  # (units,)
    kept: np.ndarray | None  # (units,): what dropout multiplies φ(g) by; None without
    slope: np.ndarray | None  # (units,): φ′; None where δ is computed in one with the loss
    above: np.ndarray  # (units,): ∂ℓ/∂h, of a hidden layer Σ W δ over the layer above
    rest_above: np.ndarray  # (units,): the part of it from neurons above that were not chosen
    delta: np.ndarray  # (units,)
    learning_rate: float  # of the layer
    weights: Tensor
    biases: Tensor
    exponentials: float = 0.0  # softmax: Σ e^g over the outputs that were not chosen
    rounded_weights: np.ndarray | None = None  # (inputs, units): W and δ in bfloat16, where that is multiplied
    rounded_delta: np.ndarray | None = None  # (units,)

    @property
    def factors(self) -> np.ndarray:
        """(inputs, units): W as it stands in products."""
        return self.weights.old if self.rounded_weights is None else self.rounded_weights

    @property
    def delta_factors(self) -> np.ndarray:
        """(units,): δ as it stands in products."""
        return self.delta if self.rounded_delta is None else self.rounded_delta


@dataclass(frozen=True)
class RowLoss:
    """The loss of the row, and the objective of the batch."""

    name: str
    formula: str
    slope_formula: str
    linked_formula: str  # δ where it is computed in one with the output's φ
    options: dict[str, float]
    smoothing: float  # of labels
    y: np.ndarray  # (outputs chosen,): targets, smoothed
    terms: np.ndarray  # (outputs chosen,): their parts of ℓ
    rest: float  # of ℓ, from outputs that were not chosen
    row: float  # ℓ
    mass: float  # Σ y
    weight: float  # w of the row
    weight_sum: float  # Σ w of the batch
    others: float  # Σ w ℓ of the other rows
    penalty: float
    objective: float  # L = Σ w ℓ / Σ w + penalty


@dataclass(frozen=True)
class Rule:
    """The update rule as it acts in this step."""

    name: str
    formula: str
    constants: dict[str, float]  # by their letters in the formula
    states: tuple[str, ...]
    learning_rate: float  # of the step, before the layers' factors
    schedule: str  # how the learning rate follows from the step; empty for a constant one
    schedule_formula: str  # in the notation of the core's tables; empty for one's own function
    schedule_constants: dict[str, float]  # by their letters in it, with the step s
    gradient_norm: float
    clip_norm: float | None
    clips: bool
    weight_decay: float
    arguments: dict[str, Any]  # as it was made


@dataclass(frozen=True)
class Effect:
    """What the step did to a loss, beside what the gradient promised."""

    before: float
    after: float
    predicted: float  # Σ ∂L/∂θ Δθ over all parameters

    @property
    def change(self) -> float:
        """after − before."""
        return self.after - self.before


@dataclass(frozen=True)
class Check:
    """How the gradients shown compare with central differences."""

    passed: bool
    entries: int  # judged
    shown: int
    kinks: int  # entries on a kink, where there is no derivative
    wrong: int
    error: float  # the largest difference, over the largest gradient shown of its tensor
    bfloat16: float = 0.0  # by how much rounding to it may put off a gradient, likewise; 0 where that is not multiplied
    left_out: int = 0  # gradients shown without a difference: the smallest ones, where all would take too long

    @property
    def verdict(self) -> str:
        """The answer in a sentence."""
        kinks = f"; {self.kinks} more lie on a kink, where there is no derivative" if self.kinks else ""
        left_out = f"; {self.left_out:,} of the smallest have none, which would take too long" if self.left_out else ""
        if not self.entries:
            return f"Undecided: no gradient could be judged by a central difference{kinks}{left_out}."
        room = f", where bfloat16's 8 bits may put it off by {self.bfloat16:.1e}" if self.bfloat16 else ""
        judged = f"{self.entries} of the {self.shown} gradients shown were judged{kinks}{left_out}."
        if not self.passed:
            error = f"by up to {self.error:.1e}{room}"
            return f"Wrong: {self.wrong} gradients differ from their central differences, {error}; {judged}"
        return (
            f"Right: no gradient differs from its central difference by more than {self.error:.1e}, relatively{room}; {judged}"
        )


@dataclass(frozen=True)
class Step:
    """One training step, seen from one of its rows."""

    network: str
    layer_sizes: tuple[int, ...]
    dtype: str
    step: int
    row: int  # in the batch
    rows: int  # of the batch
    row_name: str  # where the row comes from, in words; may be empty
    l2: float
    l1: float
    dropout: str  # "none", "acts", or "left out"
    x: np.ndarray  # (inputs chosen,)
    layers: tuple[Layer, ...]
    loss: RowLoss
    rule: Rule
    row_effect: Effect
    batch_effect: Effect
    input_names: tuple[str, ...]  # of the chosen inputs and outputs; may be empty
    output_names: tuple[str, ...]
    check: Check | None = None
    bfloat16: bool = False  # products multiply W, h and δ rounded to it

    @property
    def whole(self) -> bool:
        """Whether every neuron is shown."""
        return all(len(layer.units) == layer.size and len(layer.inputs) == layer.size_below for layer in self.layers)


@dataclass(frozen=True)
class Explanation:
    """One training step as a person would work it by hand, or several; made by `glassprop.explain`.

    Attributes
    ----------
    steps : tuple of Step
        The numbers, one for each step: plain data, at full precision.

    Notes
    -----
    ``print(explanation)`` shows it as text; notebooks show it as formulas. `digits` of the methods below are significant ones.
    """

    steps: tuple[Step, ...]

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain data: dicts, lists, numbers at full precision, texts. What is not finite is None."""
        return {"steps": [_plain(step) for step in self.steps]}

    def to_json(self, indent: int | None = None) -> str:
        """One JSON object of what `as_dict` gives."""
        return json.dumps(self.as_dict(), allow_nan=False, ensure_ascii=False, indent=indent)

    def to_text(self, digits: int = 6, width: int = 100, color: bool = False) -> str:
        """Lines of text of at most `width` letters, in colours of a terminal where `color` is true."""
        from glassprop.glass.text import to_text

        return to_text(self, _checked(digits), width, color)

    def to_markdown(self, digits: int = 6) -> str:
        """Markdown with formulas in LaTeX between dollars."""
        from glassprop.glass.markup import to_markdown

        return to_markdown(self, _checked(digits))

    def to_latex(self, digits: int = 6) -> str:
        """A LaTeX document that compiles by itself."""
        from glassprop.glass.markup import to_latex

        return to_latex(self, _checked(digits))

    def to_html(self, digits: int = 6) -> str:
        """One page for a browser that needs nothing else: the network drawn, with every step of the calculation."""
        from glassprop.glass.page import to_html

        return to_html(self, _checked(digits))

    def save(self, path: str | os.PathLike[str], digits: int = 6) -> None:
        """Write to a file, in the form that its name ends in: .html, .md, .tex, .json or .txt.

        Raises
        ------
        ValueError
            For another ending.
        OSError
            Where the file cannot be written.
        """
        ending = Path(path).suffix.lower()
        if ending not in ENDINGS:
            raise unknown_name("the ending of path", ending, ENDINGS)
        Path(path).write_text(self.to(ENDINGS[ending], digits), encoding="utf-8")

    def to(self, form: str, digits: int = 6) -> str:
        """One of the forms by name: text, markdown, latex, html, json."""
        if form not in ENDINGS.values():
            raise unknown_name("format", form, ENDINGS.values())
        return self.to_json(indent=1) + "\n" if form == "json" else str(getattr(self, f"to_{form}")(digits))

    def __str__(self) -> str:
        return self.to_text()

    def __repr__(self) -> str:
        step = self.steps[0]
        several = f"{len(self.steps)} steps from " if len(self.steps) > 1 else ""
        return f"Explanation({several}step {step.step}, row {step.row} of {step.rows}; {step.network})"

    def _repr_html_(self) -> str:
        from glassprop.glass.markup import to_notebook

        return to_notebook(self)


#: Endings of file names, and the forms that they stand for.
ENDINGS = {".html": "html", ".md": "markdown", ".tex": "latex", ".json": "json", ".txt": "text"}


def _checked(digits: Any) -> int:
    if not is_whole(digits) or not 1 <= digits <= 17:
        raise ValueError(f"digits must be a whole number from 1 to 17, those of a double; got {digits!r}")
    return int(digits)


def _plain(value: Any) -> Any:
    """Dataclasses, arrays and tuples as dicts, lists and numbers."""
    if dataclasses.is_dataclass(value):
        return {item.name: _plain(getattr(value, item.name)) for item in dataclasses.fields(value)}
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, dict):
        return {str(name): _plain(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
