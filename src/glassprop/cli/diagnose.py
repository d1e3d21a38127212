"""``glassprop diagnose``: what is wrong with a saved model, layer by layer and in words."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from glassprop.cli import options
from glassprop.cli.output import plural, print_json, print_line

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from glassprop.cli.models import Fitted

Plot = Annotated[
    Path | None,
    typer.Option("--plot", metavar="FILE", rich_help_panel=options.OUTPUT, help="Picture: a .png, .svg or .pdf file."),
]


def diagnose(
    model: options.ModelFile,
    table: options.Table,
    target: options.TargetColumns = None,
    plot: Plot = None,
    json: options.Json = False,
) -> int:
    """Measure a model layer by layer on a table, and say what is wrong and what to try. Exit code 1 when something is.

    With the table it was trained on, rows held out then are told from rows trained on.

    Example: glassprop diagnose model.safetensors data.csv --plot layers.png
    """
    from glassprop.cli.models import open_model
    from glassprop.cli.rows import read_batch
    from glassprop.files import check_apart
    from glassprop.glass.diagnose import diagnose as diagnose_network
    from glassprop.tables.reading import read_table

    check_apart({"--plot": plot}, {"the model": model, "the table": table})
    check_picture("--plot", plot)
    fitted, rows = open_model(model, table, target), read_table(table)
    batch, (rule, size) = read_batch(fitted, rows), fitted.rule()
    trained, held = _parts(fitted, rows)
    validation = None if held is None else (batch.X[held], batch.Y[held])
    step = min(size, len(trained)) / len(rows)
    ended = str(fitted.training.get("stopped") or "")
    found = diagnose_network(
        fitted.penalised(step * batch.mass), fitted.parameters, batch.X[trained], batch.Y[trained],
        weights=None if batch.weights is None else batch.weights[trained], validation=validation, optimizer=rule,
        batch_size=size, diverged=ended if ended.startswith("diverged") else "",
    )  # fmt: skip
    if plot is not None:
        save_picture(found.plot(), plot)
    if json:
        print_json({"model": str(model), "table": table, "rows": len(trained)} | found.as_dict())
        return 0 if found else 1
    print_line("model", str(model))
    apart = "" if held is None else f" it was trained on, {len(held):,} held out then"
    print_line("table", f"{table}: {plural(len(trained), 'row')}{apart}")
    print(f"\n{found}")
    if plot is not None:
        print(f"\nwrote {plot}")
    return 0 if found else 1


def _parts(fitted: Fitted, table: pd.DataFrame) -> tuple[np.ndarray, np.ndarray | None]:
    """Rows trained on and rows held out, where this is the table of the training; else all rows."""
    import numpy as np

    from glassprop.cli.rows import parts_of_training

    parts = parts_of_training(fitted, table)
    if not parts:
        return np.arange(len(table)), None
    held = np.sort(np.concatenate([parts["validation"], parts["test"]]))
    return parts["train"], held if len(held) else None


def check_picture(option: str, path: Path | None) -> None:
    """Raise unless a picture can be written there."""
    from glassprop.files import check_writable

    if path is None:
        return
    if path.suffix.lower() not in (".png", ".svg", ".pdf"):
        raise ValueError(f"{option} must be a file name that ends in .png, .svg or .pdf; got {str(path)!r}")
    check_writable(path)


def save_picture(drawn: Any, path: Path) -> None:
    """Write a figure, whole or not at all."""
    import io

    from glassprop.files import write_atomically

    memory = io.BytesIO()
    drawn.savefig(memory, format=path.suffix.lower().removeprefix("."), dpi=120)
    write_atomically(path, memory.getvalue())
