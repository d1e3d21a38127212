"""Pictures of what diagnose and replay found, by matplotlib, which is imported when one is drawn. It computes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from glassprop.glass.measure import Facts

COLOURS = ("#1f6feb", "#d1580a", "#2c8a4b", "#8250df")


def figure(rows: int, columns: int, width: float, height: float) -> tuple[Any, Any]:
    """A figure that belongs to nobody's screen, and its axes (rows, columns)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(drawn)
    axes = drawn.subplots(rows, columns, squeeze=False)
    for one in axes.ravel():
        one.spines[["top", "right"]].set_visible(False)
        one.grid(axis="y", alpha=0.25)
    return drawn, axes


def draw_diagnosis(facts: Facts) -> Any:
    """Panels: what flows forward, what flows back and how much weights move, neurons, and the history, or else the trials."""
    panels = [_forward, _backward, _neurons]
    if facts.history is not None and len(facts.history):
        panels.append(_history)
    elif facts.trials:
        panels.append(_trials)
    drawn, axes = figure(2, 2, 10, 8) if len(panels) == 4 else figure(1, 3, 14, 4.5)
    for draw, one in zip(panels, axes.ravel(), strict=True):
        draw(one, facts)
    return drawn


def _name(axes: Any, title: str) -> None:
    """The panel's title, and between it and the panel what its colours mean: there no number lies beneath."""
    axes.set_title(title, pad=24)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4, fontsize=8, frameon=False, columnspacing=1.2)


def _depth(axes: Any, facts: Facts) -> np.ndarray:
    layers, names, told = np.arange(1, len(facts.layers) + 1), [], ""
    for layer in facts.layers:  # a name is told where it changes: there is little room
        names.append(f"{layer.layer}\n{layer.activation}" if layer.activation != told else f"{layer.layer}")
        told = layer.activation
    axes.set_xticks(layers, names, fontsize=8)
    axes.set_xlim(0.5, len(layers) + 0.5)
    axes.set_xlabel("layer")
    return layers


def _series(facts: Facts, name: str) -> np.ndarray:
    return np.array([getattr(layer, name) for layer in facts.layers], float)  # None becomes NaN


def _forward(axes: Any, facts: Facts) -> None:
    layers = _depth(axes, facts)
    for shift, name, colour in ((-0.08, "g", COLOURS[0]), (0.08, "h", COLOURS[1])):
        axes.errorbar(
            layers + shift, _series(facts, f"{name}_mean"), _series(facts, f"{name}_std"), fmt="o", capsize=4, color=colour,
            label=name,
        )  # fmt: skip
    _name(axes, "Forward: mean and spread of g and h")


def _backward(axes: Any, facts: Facts) -> None:
    layers = _depth(axes, facts)
    series = [("delta", "δ of a row"), ("gradient", "∂L/∂W"), ("weight", "W"), ("update", "length of ΔW over W")]
    for (name, label), colour in zip(series, COLOURS, strict=True):
        values = _series(facts, name)
        if not (values > 0).any():
            continue
        axes.plot(layers, np.where(values > 0, values, np.nan), "o-", color=colour, label=label)
    axes.set_yscale("log")
    _name(axes, "Backward: root mean squares, and a step")


def _neurons(axes: Any, facts: Facts) -> None:
    layers = _depth(axes, facts)
    names = {"dead": "dead", "saturated": "flat", "duplicates": "same", "useless": "useless"}  # as the table has them
    for i, ((name, label), colour) in enumerate(zip(names.items(), COLOURS, strict=True)):
        axes.bar(layers + 0.18 * (i - 1.5), 100 * _series(facts, name), 0.18, color=colour, label=label)
    axes.set_ylim(0, 100)
    axes.set_ylabel("%")
    if not any(_series(facts, name).any() for name in names):
        axes.text(0.5, 0.5, "none", transform=axes.transAxes, ha="center", color="grey")
    _name(axes, "Neurons that do nothing, or the same")


def _history(axes: Any, facts: Facts) -> None:
    history = facts.history
    assert history is not None
    axes.plot(history.epoch, history.loss, color=COLOURS[0], label="training")
    if np.isfinite(history.validation_loss).any():
        axes.plot(history.epoch, history.validation_loss, color=COLOURS[1], label="validation")
    axes.axhline(facts.baseline, color="grey", ls=":", label="best constant outputs")
    positive = history.loss[np.isfinite(history.loss)]
    if len(positive) and 0 < 10 * positive.min() < positive.max():
        axes.set_yscale("log")
    axes.set_xlabel("epoch")
    _name(axes, "Loss")


def _trials(axes: Any, facts: Facts) -> None:
    """By learning rate the losses that some steps more lead to; they diverge where there is no mark."""
    assert facts.learning_rate is not None
    before, *trials = sorted(facts.trials.items())
    rates = [factor * facts.learning_rate for factor, _ in trials]
    for name, label, colour in (("trained", "rows of these steps", COLOURS[0]), ("held", "other rows", COLOURS[1])):
        losses = np.array([getattr(trial, name) for _, trial in trials])
        axes.plot(rates, np.where(np.isfinite(losses), losses, np.nan), "o-", color=colour, label=label)
    axes.axhline(before[1].held, color="grey", ls=":", label="without them, other rows")
    axes.set_xscale("log")
    axes.set_xlabel("learning rate")
    _name(axes, "Loss after some steps more")


def draw_watched(name: str, steps: np.recarray) -> Any:
    """Three panels above one another: value, gradient and change of one parameter by step."""
    drawn, axes = figure(3, 1, 9, 7)
    titles = (("value", name), ("gradient", f"∂L/∂{name}, as the rule was given it"), ("change", "change by the step"))
    for one, (column, title), colour in zip(axes[:, 0], titles, COLOURS, strict=False):
        one.plot(steps.step, steps[column], color=colour, lw=0.8)
        one.set_title(title)
    axes[-1, 0].set_xlabel("step")
    return drawn
