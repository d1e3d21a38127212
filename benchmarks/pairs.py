"""Two ways of doing the same, timed in turn; rounds beside which the machine was slow do not count.

It does not know what is timed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

from glassprop.bench.peak import measure_peak
from glassprop.bench.statistics import steady


@dataclass(frozen=True)
class Round:
    """Seconds of both ways, and the lower of the FMA rates (GFLOP/s, all threads) just before and just after them."""

    first: float
    second: float
    peak: float


@dataclass(frozen=True)
class Comparison:
    """What the rounds that count come to."""

    first: float  # median seconds
    second: float
    gain: float  # first ÷ second, the median of each round's
    rounds: int
    taken: int  # rounds, those that do not count among them


def compare(first: Callable[[], float], second: Callable[[], float], threads: int, rounds: int, most: int = 1) -> Comparison:
    """Take `rounds` rounds; where not all count, more, up to `most` times as many. Each way gives the seconds it took."""
    found: list[Round] = []
    kept: list[Round] = []
    while len(kept) < rounds and len(found) < most * rounds:
        before = measure_peak(threads)
        seconds = first(), second()
        found.append(Round(*seconds, min(before, measure_peak(threads))))
        kept = steady(found, max(each.peak for each in found))
    return Comparison(
        median(each.first for each in kept),
        median(each.second for each in kept),
        median(each.first / each.second for each in kept),
        len(kept),
        len(found),
    )
