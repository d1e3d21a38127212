"""What commands print: one JSON object, or lines of a label and a text, and tables of scores. It computes nothing."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from glassprop.cli import drop
from glassprop.core.losses import Loss
from glassprop.core.network import Network
from glassprop.tables.metrics import Scores, short_number

WIDTH = 10


class _GoesOn:
    """A stream whose reader may go away: what is written then is dropped."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            return int(self._stream.write(text))
        except BrokenPipeError:
            drop(self._stream)
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except BrokenPipeError:
            drop(self._stream)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def going_on_unread() -> Iterator[None]:
    """Let long work come to its end where nobody reads any longer what is printed, as before ``| head -1``."""
    streams = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = given = tuple(map(_GoesOn, streams))
    try:
        yield
    finally:
        for stream in given:
            stream.flush()
        sys.stdout, sys.stderr = streams


def print_json(value: Mapping[str, Any]) -> None:
    """One JSON object on standard output."""
    print(json.dumps(value, allow_nan=False, ensure_ascii=False))


def print_line(label: str, text: str) -> None:
    """A label and a text."""
    print(f"{label:<{WIDTH}}{text}", flush=True)  # at once, through a pipe too


def print_scores(scores: Scores, baseline: Scores, where: str, against: str) -> None:
    """Scores beside those of the baseline."""
    print(f"\n{where:<24}{'model':>10}{'baseline':>12}   {against}")
    for name, value in scores.items():
        print(f"  {name:<22}{short_number(value):>10}{short_number(baseline[name]):>12}")


def held_out(counts: Mapping[str, int]) -> str:
    """What the rows of a table that were not trained on are for, after the number of those that were."""
    parts = [(counts[name], why) for name, why in (("validation", "stopping"), ("test", "scores"))]
    return "".join(f"; {count:,} held out for {why}" for count, why in parts if count)


def describe_network(network: Network) -> str:
    """Layers and functions on one line."""
    names = [row.name for row in network.activations]
    hidden = names[:1] if len(set(names)) == 1 else names
    text = "-".join(map(str, network.layers)) + (f" {', '.join(hidden)};" if hidden else "")
    text += f" output {network.output_activation.name}; {network.n_parameters:,} parameters"
    for name in ("l2", "l1"):
        text += f"; {name} {getattr(network, name):g}" if getattr(network, name) else ""
    if any(network.dropout):
        text += f"; dropout {', '.join(f'{rate:g}' for rate in network.dropout)}"
    return text


def describe_loss(loss: Loss) -> str:
    """Name and constant."""
    return loss.name + "".join(f", {name.replace('_', ' ')} {value:g}" for name, value in loss.options.items() if value)


def shorten(items: Iterable[Any], limit: int = 6) -> str:
    """The first few."""
    every = [str(item) for item in items]
    return ", ".join(every[:limit]) + (" ..." if len(every) > limit else "")


def plural(count: int, what: str, several: str = "") -> str:
    """A count and a noun."""
    return f"{count:,} {what if count == 1 else several or what + 's'}"
