"""``glassprop evaluate``: scores of a saved model on a table with the target, beside a baseline."""

from __future__ import annotations

from glassprop.cli import options
from glassprop.cli.output import plural, print_json, print_line, print_scores


def evaluate(
    model: options.ModelFile,
    table: options.Table,
    target: options.TargetColumns = None,
    weights: options.Weights = None,
    json: options.Json = False,
) -> int:
    """Score a model on a table that holds the target.

    Example: glassprop evaluate model.safetensors unseen.csv
    """
    from glassprop.cli.models import open_model
    from glassprop.tables.reading import read_table

    fitted, rows = open_model(model, table, target), read_table(table)
    judged = fitted.judge(rows, weights)
    if json:
        named = judged.target[0] if len(judged.target) == 1 else judged.target
        print_json(
            {"model": str(model), "table": table, "target": named, "task": fitted.task, "rows": len(rows)}
            | {"metrics": judged.scores, "baseline": judged.baseline}
        )
        return 0
    print_line("model", f"{model}: {fitted.task} of {', '.join(map(repr, judged.target))}")
    print_line("table", f"{table}: {plural(len(rows), 'row')}")
    print_scores(judged.scores, judged.baseline, "scores", f"({judged.against})")
    return 0
