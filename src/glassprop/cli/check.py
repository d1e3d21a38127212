"""``glassprop check``: whether the gradients of a saved model are right, on rows of a table."""

from __future__ import annotations

from typing import Annotated

import typer

from glassprop.cli import options
from glassprop.cli.output import plural, print_json, print_line

MOST_ROWS = 100

Entries = Annotated[
    str,
    typer.Option("--entries", metavar="NUMBER", rich_help_panel="Check", help="Entries of each tensor, drawn; or all."),
]
CheckSeed = Annotated[int, typer.Option("--seed", min=0, rich_help_panel="Check", help="Of the entries that are drawn.")]


def check(
    model: options.ModelFile,
    table: options.Table,
    row: options.Row = None,
    rows: options.Rows = None,
    target: options.TargetColumns = None,
    entries: Entries = "100",
    seed: CheckSeed = 0,
    json: options.Json = False,
) -> int:
    """Check every gradient against central differences of the loss, in float64. Exit code 1 when one is wrong.

    Example: glassprop check model.safetensors data.csv --rows 0:50
    """
    from glassprop.cli.models import open_model
    from glassprop.cli.rows import read_batch
    from glassprop.glass.check import check_gradients
    from glassprop.tables.reading import read_table

    if entries != "all" and not (entries.isdecimal() and int(entries) > 0):
        raise ValueError(f"--entries must be a whole number of at least 1, or all; got {entries!r}")
    fitted = open_model(model, table, target)
    batch = read_batch(fitted, read_table(table), row, rows, MOST_ROWS)
    many = None if entries == "all" else int(entries)
    report = check_gradients(
        fitted.penalised(batch.mass), fitted.parameters, batch.X, batch.Y, weights=batch.weights, entries=many, seed=seed,
        progress=not json,
    )  # fmt: skip
    if json:
        print_json({"model": str(model), "table": table, "rows": len(batch.rows)} | report.as_dict())
    else:
        print_line("model", f"{model}")
        first = ", the first" if row is None and rows is None else ""
        print_line("table", f"{table}: {plural(len(batch.rows), 'row')}{first} as one batch, loss {report.loss:.6g}")
        print(f"\n{report}")
    return 0 if report else 1
