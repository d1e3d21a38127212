"""``glassprop replay``: back to a step of a recorded run, to the bit; one weight through all steps; where it diverged."""

from __future__ import annotations

import json as json_text
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from glassprop.cli import options
from glassprop.cli.diagnose import check_picture, save_picture
from glassprop.cli.explain import Digits, Format, Full, Neurons, Out, Steps, find_format, show_explanation
from glassprop.cli.output import describe_network, plural, print_json, print_line

if TYPE_CHECKING:
    import pandas as pd

    from glassprop.glass.replay import Replay

FINDS = ("divergence",)
OF_A_STEP = ("row", "steps", "neurons", "full", "digits", "format")
_PANEL = "Where to go"
Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="What train --record left.", show_default=False)]
TableAgain = Annotated[
    str | None, typer.Option("--table", metavar="TABLE", rich_help_panel=_PANEL, help="The table, where it lies elsewhere now.")
]
Step = Annotated[
    int | None, typer.Option("--step", min=0, metavar="NUMBER", rich_help_panel=_PANEL, help="A step, from 0: explain it.")
]
Row = Annotated[
    int, typer.Option("--row", min=0, metavar="NUMBER", rich_help_panel=_PANEL, help="Row of its minibatch, from 0.")
]
Watch = Annotated[
    str | None,
    typer.Option("--watch", metavar="ENTRY", rich_help_panel=_PANEL,
                 help="Follow one parameter through every step: W1\\[3,7] or b2\\[0], layers from 1, entries from 0."),
]  # fmt: skip
Find = Annotated[
    str | None, typer.Option("--find", metavar="NAME", rich_help_panel=_PANEL, help="divergence: the step where it went wrong.")
]
Plot = Annotated[
    Path | None,
    typer.Option("--plot", metavar="FILE", rich_help_panel=options.OUTPUT, help="Picture of --watch: .png, .svg or .pdf."),
]


def replay(
    context: typer.Context,
    folder: Folder,
    table: TableAgain = None,
    step: Step = None,
    row: Row = 0,
    watch: Watch = None,
    find: Find = None,
    steps: Steps = 1,
    neurons: Neurons = 10,
    full: Full = False,
    digits: Digits = 6,
    format: Format = None,
    out: Out = None,
    plot: Plot = None,
    json: options.Json = False,
) -> int:
    """Go back to any step of a recorded run, to the bit, and show it; without a step, say what was recorded.

    Examples: glassprop replay runs/first --step 1374 --row 17;
    glassprop replay runs/first --watch "W1[3,7]" --out w.csv --plot w.png
    """
    asked = SimpleNamespace(**locals())
    from glassprop.errors import unknown_name
    from glassprop.files import check_apart, check_writable

    given = [name for name in ("step", "watch", "find") if getattr(asked, name) is not None]
    if len(given) > 1:
        raise ValueError(f"give one of --step, --watch and --find; got --{' and --'.join(given)}")
    if find is not None and find not in FINDS:
        raise unknown_name("--find", find, FINDS)
    if step is None and (lost := options.given(context, *OF_A_STEP)):
        raise ValueError(f"{' and '.join(lost)} {'go' if len(lost) > 1 else 'goes'} with --step, the step to explain")
    if plot is not None and watch is None:
        raise ValueError("--plot goes with --watch")
    if out is not None and not given:
        raise ValueError("--out goes with --step, --watch or --find")
    check_apart({"--out": out, "--plot": plot}, {})
    check_picture("--plot", plot)
    if out is not None:
        check_writable(out)
    recorded, names = _open(asked)
    if watch is not None:
        return _watch(asked, recorded)
    if find is not None:
        return _divergence(asked, recorded)
    return _say(asked, recorded) if step is None else _explain(asked, recorded, names)


def _open(asked: SimpleNamespace) -> tuple[Replay, dict[str, Any]]:
    """The run with its table, read and prepared as for training; and what inputs and outputs are called."""
    from glassprop.core.losses import Loss
    from glassprop.files import missing_file
    from glassprop.glass.replay import replay as open_run
    from glassprop.tables.columns import check_columns
    from glassprop.tables.preparation import prepare
    from glassprop.tables.reading import read_table

    if not asked.folder.exists():
        raise missing_file(asked.folder, "recorded run")
    path = asked.folder / "table.json"
    if not path.exists():
        raise ValueError(f"{asked.folder}: holds no run that glassprop train --record made; one made in Python is gp.replay's")
    try:
        facts = json_text.loads(path.read_text(encoding="utf-8"))
        loss, source = Loss(facts["loss"].pop("name"), **facts["loss"]), asked.table or facts["table"]
        given = {name: facts[name] for name in ("target", "weights", "validation", "test", "seed", "dtype")}
        inputs, classes = facts["inputs"], facts["classes"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: damaged ({type(error).__name__}: {error})") from None
    if str(source) == "-" and asked.table is None:
        raise ValueError(f"{asked.folder}: its table came from standard input: name a file that holds it by --table")
    try:
        rows, own = read_table(source), [*inputs, given["target"], *([given["weights"]] if given["weights"] else [])]
        check_columns(rows, own)
        if (had := facts.get("rows", len(rows))) != len(rows):
            raise ValueError(f"the table has changed: it had {plural(had, 'row')}, and has {len(rows):,}")
        labels = {str(label): label for label in rows.columns}
        ready = prepare(rows[[labels[name] for name in own]], loss=loss, **given)
        try:
            recorded = open_run(asked.folder, ready.train.X, ready.train.Y, weights=ready.train.weights)
        except ValueError:
            _check_unchanged(facts, rows)
            raise
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from None
    recorded.table_rows = ready.train.rows
    target = ready.preparation.target
    outputs = [f"{target} = {label}" for label in classes] if recorded.network.layers[-1] > 1 else [target]
    asked.source = source
    return recorded, {"input_names": inputs, "output_names": outputs}


def _check_unchanged(facts: dict[str, Any], rows: pd.DataFrame) -> None:
    """Raise where the table holds other numbers than when the run was recorded, and say in which part."""
    from glassprop.cli.rows import fingerprints

    found = fingerprints(rows, facts["inputs"], facts["target"], facts["weights"])
    other = [name for name, was in (facts.get("fingerprints") or {}).items() if was != found.get(name)]
    if other:
        what = "numbers" if "target" not in other or not facts["classes"] else "values"
        parts = " and ".join(f"its {name}" for name in other)
        raise ValueError(f"the table has changed: {parts} {'holds' if other == ['target'] else 'hold'} other {what}")


def _say(asked: SimpleNamespace, recorded: Replay) -> int:
    facts = {"folder": str(asked.folder), "table": asked.source, "steps": recorded.steps, "epochs": recorded.epochs}
    facts |= {"steps_per_epoch": recorded.steps_per_epoch, "diverged": recorded.diverged, "stopped": recorded.stopped}
    if asked.json:
        print_json(facts | {"optimizer": recorded.optimizer.describe()})
        return 0
    print_line("run", f"{asked.folder}, of {asked.source}, which is unchanged")
    print_line("network", describe_network(recorded.network))
    print_line("steps", f"0 to {recorded.steps - 1:,}, {recorded.steps_per_epoch:,} in an epoch" if recorded.steps else "none")
    print_line("ended", recorded.stopped)
    return 0


def _explain(asked: SimpleNamespace, recorded: Replay, names: dict[str, Any]) -> int:
    form = find_format(asked)
    shown = recorded.explain(
        asked.step, asked.row, steps=asked.steps, neurons=asked.neurons, full=asked.full, names=names, progress=not asked.json
    )
    return show_explanation(asked, shown, form)


def _watch(asked: SimpleNamespace, recorded: Replay) -> int:
    watched = recorded.watch(asked.watch)
    if asked.plot is not None:
        save_picture(watched.plot(), asked.plot)
    return _rows(asked, watched.to_csv(), watched.steps, {"entry": watched.name})


def _divergence(asked: SimpleNamespace, recorded: Replay) -> int:
    steps = recorded.divergence()
    if not (asked.json or asked.out):
        print_line("diverged", recorded.stopped)
        print(f"\n{'step':>10}{'loss':>14}{'norm of gradient':>20}")
        for row in steps[-12:]:
            print(f"{row.step:>10}{row.loss:>14.6g}{row.gradient_norm:>20.6g}")
        if recorded.steps:
            print(f"\nglassprop replay {asked.folder} --step {recorded.steps - 1} explains the last step that was taken")
        return 0
    lines = [",".join(steps.dtype.names or ()), *(",".join(map(repr, row.tolist())) for row in steps)]
    return _rows(asked, "\n".join(lines) + "\n", steps, {"diverged_at": recorded.steps, "reason": recorded.stopped})


def _rows(asked: SimpleNamespace, text: str, steps: Any, facts: dict[str, Any]) -> int:
    """A row for each step, as CSV in a file or on standard output, or as JSON."""
    import numpy as np

    from glassprop.files import write_atomically

    if asked.out is not None:
        write_atomically(asked.out, text.encode())
    if asked.json:
        columns = {name: [v if np.isfinite(v) else None for v in steps[name].tolist()] for name in steps.dtype.names or ()}
        print_json(facts | columns)
    elif asked.out is None and asked.plot is None:
        sys.stdout.write(text)
    else:
        written = ", ".join(str(path) for path in (asked.out, asked.plot) if path is not None)
        print(f"wrote {plural(len(steps), 'step')} to {written}")
    return 0
