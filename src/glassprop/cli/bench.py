"""``glassprop bench``: how fast training is on this machine, beside the peers that are installed."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from glassprop.cli import options
from glassprop.cli.output import print_json

if TYPE_CHECKING:
    from glassprop.bench.show import Table

_PANEL = "What is measured"
Tasks = Annotated[
    str | None,
    typer.Option("--task", metavar="NAMES", rich_help_panel=_PANEL, help="tiny, small, medium, wide, large, deep (these by "
                 "default), digits, kin8nm, mnist; with commas."),
]  # fmt: skip
Peers = Annotated[
    str | None,
    typer.Option("--peer", metavar="NAMES", rich_help_panel=_PANEL, help="jax, jax-one, torch, torch-compile, keras, sklearn, "
                 "fann; with commas. Default: those that are installed, but torch-compile."),
]  # fmt: skip
Threads = Annotated[
    str, typer.Option("--threads", metavar="NUMBERS", rich_help_panel=_PANEL, help="Numbers with commas; all: every core.")
]
Rounds = Annotated[int, typer.Option("--rounds", min=1, rich_help_panel=_PANEL, help="Samples of each competitor.")]


def bench(
    task: Tasks = None, peer: Peers = None, threads: Threads = "1,all", rounds: Rounds = 3, json: options.Json = False
) -> int:
    """Time training steps beside the peers that are installed, in turn, each in a process of its own.

    Ctrl-C ends it and shows what was measured until then.

    Example: glassprop bench --task small,medium --peer jax,torch --threads 1
    """
    from glassprop.bench.compare import compare_all, processors
    from glassprop.bench.machine import describe_machine, machine_facts
    from glassprop.bench.peers import PEERS, installed_peers
    from glassprop.bench.show import long_table, wait_table
    from glassprop.bench.tasks import SYNTHETIC, TASKS

    tasks = _names("--task", task, TASKS) if task is not None else list(SYNTHETIC)
    peers = _names("--peer", peer, PEERS) if peer is not None else installed_peers()
    absent = {name: reason for name in peers if (reason := PEERS[name].absent())}
    if absent:
        raise ValueError("; ".join(f"--peer {name}: {reason}" for name, reason in absent.items()))
    peers = ["glassprop", *(name for name in peers if name != "glassprop")]
    counts = _counts(threads, processors())

    facts = machine_facts(peers)
    results: list[dict[str, Any]] = []
    code = 0
    try:
        results.extend(compare_all(tasks, peers, counts, rounds, lambda text: print(text, file=sys.stderr, flush=True)))
    except KeyboardInterrupt:
        if not results:
            raise
        code = 130
    if json:
        print_json({"machine": facts, "results": results})
        return code
    for table in (long_table(results), wait_table(results, tasks[0])):
        _print_table(table)
    print("Medians; of whole fits, too, the ratio is of the time of a step. " + describe_machine(facts))
    return code


def _names(argument: str, given: str, known: Iterable[str]) -> list[str]:
    from glassprop.errors import unknown_name

    names = [name.strip() for name in given.split(",")]
    for name in names:
        if name not in known:
            raise unknown_name(argument, name, known)
    return list(dict.fromkeys(names))


def _counts(given: str, cores: int) -> list[int]:
    """Numbers of threads: "all" is `cores`; each once."""
    counts = []
    for word in given.split(","):
        number = cores if word.strip() == "all" else int(word) if word.strip().isdecimal() else 0
        if not 1 <= number <= cores:
            raise ValueError(f"--threads must be numbers from 1 to {cores}, or all, with commas between them; got {given!r}")
        counts.append(number)
    return list(dict.fromkeys(counts))


def _print_table(table: Table) -> None:
    from rich.console import Console
    from rich.table import Table as RichTable

    header, rows = table
    if not rows:
        return
    shown = RichTable()
    for number, title in enumerate(header):
        shown.add_column(title, justify="right" if number else "left")
    for row in rows:
        shown.add_row(*row)
    Console().print(shown)
