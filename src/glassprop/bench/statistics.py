"""What samples come to: which ones count, medians, ratios, shares of the peak. It measures nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Protocol, TypeVar

STEADY = 0.9  # of the run's highest FMA rate that must be seen beside a sample for it to count


@dataclass(frozen=True)
class Sample:
    """One timed training, and the lower of the FMA rates (GFLOP/s, all its threads) just before and just after it."""

    seconds: float
    steps: int
    epochs: int
    peak: float

    @property
    def step_us(self) -> float:
        """Microseconds a step."""
        return 1e6 * self.seconds / self.steps


class Timed(Protocol):
    """What is timed, with the FMA rate beside it: a `Sample`, say."""

    @property
    def peak(self) -> float:
        """GFLOP/s, all its threads."""


AnyTimed = TypeVar("AnyTimed", bound=Timed)


def steady(samples: Sequence[AnyTimed], peak: float) -> list[AnyTimed]:
    """The samples beside which the machine ran at `STEADY` of `peak` at least."""
    return [sample for sample in samples if sample.peak >= STEADY * peak]


def highest_peak(samples: Mapping[str, Sequence[Sample]]) -> float:
    """The highest FMA rate beside any sample."""
    return max((sample.peak for every in samples.values() for sample in every), default=0.0)


def summary(samples: Sequence[Sample], peak: float, flops: int) -> dict[str, Any]:
    """Figures of one competitor, of its steady samples, or of all, where none is steady; `flops` of a step.

    Examples
    --------
    >>> figures = summary([Sample(1.0, 1000, 10, 99.0), Sample(3.0, 1000, 10, 50.0)], peak=100.0, flops=50_000_000)
    >>> figures["step_us"], figures["gflops"], figures["of_peak"], figures["discarded"]
    (1000.0, 50.0, 0.5, 1)
    """
    kept = steady(samples, peak) or samples
    step = median(sample.step_us for sample in kept)
    gflops = flops / step / 1e3
    return {
        "step_us": step,
        "best_us": min(sample.step_us for sample in kept),
        "fit_seconds": median(sample.seconds for sample in kept),
        "epochs": median(sample.epochs for sample in kept),
        "gflops": gflops,
        "of_peak": gflops / peak,
        "samples": len(samples),
        "discarded": len(samples) - len(kept),
        "unsteady": not steady(samples, peak),
    }


def best_peer(figures: Mapping[str, Mapping[str, Any]], countable: Iterable[str]) -> str:
    """The fastest of `countable` that took part, by the median; an empty text where none did."""
    taking_part = [name for name in countable if name in figures and name != "glassprop"]
    return min(taking_part, key=lambda name: figures[name]["step_us"], default="")


def ratios(figures: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Each competitor's median over glassprop's: above 1, glassprop is faster."""
    if "glassprop" not in figures:
        return {}
    ours = figures["glassprop"]["step_us"]
    return {name: found["step_us"] / ours for name, found in figures.items() if name != "glassprop"}
