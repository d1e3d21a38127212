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
    """Panels: what flows forward, what flows back and how much weights move, neurons, and the history where there is one."""
    drawn, axes = figure(2, 2, 10, 7)
    _forward(axes[0, 0], facts)
    _backward(axes[0, 1], facts)
    _neurons(axes[1, 0], facts)
    if facts.history is not None and len(facts.history):
        _history(axes[1, 1], facts)
    else:
        axes[1, 1].set_visible(False)
    return drawn


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
    axes.set_title("Forward: mean and spread of g and h")
    axes.legend(frameon=False)


def _backward(axes: Any, facts: Facts) -> None:
    layers = _depth(axes, facts)
    series = [("delta", "δ of a row"), ("gradient", "∂L/∂W"), ("weight", "W"), ("update", "length of ΔW over W")]
    for (name, label), colour in zip(series, COLOURS, strict=True):
        values = _series(facts, name)
        if not (values > 0).any():
            continue
        axes.plot(layers, np.where(values > 0, values, np.nan), "o-", color=colour, label=label)
    axes.set_yscale("log")
    axes.set_title("Backward: root mean squares, and a step")
    axes.legend(fontsize=8, framealpha=0.8, edgecolor="none")


def _neurons(axes: Any, facts: Facts) -> None:
    layers = _depth(axes, facts)
    names = ("dead", "saturated", "duplicates", "useless")
    for i, (name, colour) in enumerate(zip(names, COLOURS, strict=True)):
        axes.bar(layers + 0.18 * (i - 1.5), 100 * _series(facts, name), 0.18, color=colour, label=name)
    axes.set_ylim(0, 100)
    axes.set_ylabel("%")
    if not any(_series(facts, name).any() for name in names):
        axes.text(0.5, 0.5, "none", transform=axes.transAxes, ha="center", color="grey")
    axes.set_title("Neurons that do nothing, or the same")
    axes.legend(frameon=False)


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
    axes.set_title("Loss")
    axes.legend(frameon=False)


def draw_watched(name: str, steps: np.recarray) -> Any:
    """Three panels above one another: value, gradient and change of one parameter by step."""
    drawn, axes = figure(3, 1, 9, 7)
    titles = (("value", name), ("gradient", f"∂L/∂{name}, as the rule was given it"), ("change", "change by the step"))
    for one, (column, title), colour in zip(axes[:, 0], titles, COLOURS, strict=False):
        one.plot(steps.step, steps[column], color=colour, lw=0.8)
        one.set_title(title)
    axes[-1, 0].set_xlabel("step")
    return drawn
