"""``glassprop predict``: predictions of a saved model for the rows of a table, as CSV."""

from __future__ import annotations

import sys
from typing import Any

from glassprop.cli import options
from glassprop.cli.output import plural, print_json


def predict(
    model: options.ModelFile,
    table: options.Table,
    target: options.TargetColumns = None,
    out: options.PredictionsFile = None,
    proba: options.Proba = False,
    json: options.Json = False,
) -> int:
    """Predict every row of a table, in its order. Columns are found by name; the target may be absent.

    An estimator that was fitted without names takes the table's columns in order, but that of --target.

    Example: glassprop predict model.safetensors new.csv --out predictions.csv
    """
    from glassprop.cli.models import open_model
    from glassprop.files import check_apart, check_writable, write_atomically
    from glassprop.tables.reading import read_table

    check_apart({"--out": out}, {"the model": model, "the table": table})
    if out is not None:
        check_writable(out)
    predictions = open_model(model, table, target).predictions(read_table(table), proba)
    text = predictions.to_csv(index=False, lineterminator="\n")
    if out is not None:
        write_atomically(out, text.encode())
    if json:
        facts: dict[str, Any] = {"model": str(model), "table": table, "rows": len(predictions)}
        rows = predictions.to_dict("list")
        print_json(facts | ({"out": str(out)} if out is not None else {"predictions": rows}))
    elif out is None:
        sys.stdout.write(text)
    else:
        print(f"wrote {plural(len(predictions), 'prediction')} to {out}")
    return 0
