"""``glassprop evaluate``: scores of a saved model on a table with the target, beside a baseline."""

from __future__ import annotations

from glassprop.cli import options
from glassprop.cli.output import plural, print_json, print_line, print_scores


def evaluate(
    model: options.ModelFile, table: options.Table, weights: options.Weights = None, json: options.Json = False
) -> int:
    """Score a model on a table that holds the target.

    Example: glassprop evaluate model.safetensors unseen.csv
    """
    from glassprop.tables.model import load_model
    from glassprop.tables.reading import read_table

    fitted, rows = load_model(model), read_table(table)
    scores, baseline = fitted.evaluate(rows, weights), fitted.baseline(rows, weights)
    preparation = fitted.preparation
    assert preparation is not None
    if json:
        print_json(
            {"model": str(model), "table": table, "target": preparation.target, "task": preparation.task, "rows": len(rows)}
            | {"metrics": scores, "baseline": baseline}
        )
        return 0
    print_line("model", f"{model}: {preparation.task} of {preparation.target!r}")
    print_line("table", f"{table}: {plural(len(rows), 'row')}")
    print_scores(scores, baseline, "scores", f"({preparation.baseline_text()})")
    return 0
