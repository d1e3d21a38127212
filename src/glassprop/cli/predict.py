"""``glassprop predict``: predictions of a saved model for the rows of a table, as CSV."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from glassprop.cli import options
from glassprop.cli.output import plural, print_json

if TYPE_CHECKING:
    import pandas as pd

    from glassprop.tables.model import Model


def predict(
    model: options.ModelFile,
    table: options.Table,
    out: options.PredictionsFile = None,
    proba: options.Proba = False,
    json: options.Json = False,
) -> int:
    """Predict every row of a table, in its order. Columns are found by name; the target may be absent.

    Example: glassprop predict model.safetensors new.csv --out predictions.csv
    """
    from glassprop.files import check_apart, check_writable, write_atomically
    from glassprop.tables.model import load_model
    from glassprop.tables.reading import read_table

    check_apart({"--out": out}, {"the model": model, "the table": table})
    if out is not None:
        check_writable(out)
    predictions = predictions_table(load_model(model), read_table(table), proba)
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


def predictions_table(model: Model, table: pd.DataFrame, proba: bool) -> pd.DataFrame:
    """A column of predictions named as the target; for `proba` one for each class, too; outputs of a model without a table."""
    import pandas as pd

    from glassprop.tables.columns import matrix

    if model.preparation is None:
        outputs = model.predict(matrix(table, [str(name) for name in table.columns]))
        return pd.DataFrame(outputs, columns=[f"output_{o}" for o in range(1, outputs.shape[1] + 1)])
    result = pd.DataFrame({model.preparation.target: model.predict(table)})
    if proba:
        shares = model.predict_proba(table)
        for number, label in enumerate(model.preparation.classes):
            result[f"probability_{label}"] = shares[:, number]
    return result
