"""``glassprop evaluate``: scores of a saved model on a table with the target, beside a baseline."""

from __future__ import annotations

import shlex

from glassprop.cli import options
from glassprop.cli.output import held_out, plural, print_json, print_line, print_scores


def evaluate(
    model: options.ModelFile,
    table: options.Table,
    target: options.TargetColumns = None,
    weights: options.Weights = None,
    json: options.Json = False,
) -> int:
    """Score a model on a table that holds the target.

    With the table it was trained on, rows that were held out then are scored by themselves, too.

    Example: glassprop evaluate model.safetensors unseen.csv
    """
    from glassprop.cli.models import open_model
    from glassprop.cli.rows import parts_of_training
    from glassprop.tables.reading import read_table

    fitted, rows = open_model(model, table, target), read_table(table)
    judged, parts = fitted.judge(rows, weights), parts_of_training(fitted, rows)
    held = next((name for name in ("test", "validation") if len(parts.get(name, ()))), "")  # as `train` judged it
    apart = fitted.judge(rows.iloc[parts[held]], weights) if held else None
    if json:
        named = judged.target[0] if len(judged.target) == 1 else judged.target
        print_json(
            {"model": str(model), "table": table, "target": named, "task": fitted.task, "rows": len(rows)}
            | {"rows_trained_on": len(parts["train"]) if parts else None, "metrics": judged.scores, "baseline": judged.baseline}
            | {"held_out": apart and {"rows": len(parts[held]), "metrics": apart.scores, "baseline": apart.baseline}}
        )
        return 0
    counts = {name: len(part) for name, part in parts.items()}
    told = f": {counts['train']:,} it was trained on{held_out(counts)}" if parts else ""
    print_line("model", f"{model}: {fitted.task} of {', '.join(map(repr, judged.target))}")
    print_line("table", f"{table}: {plural(len(rows), 'row')}{told}")
    if (own := fitted.training.get("weights")) and weights is None:
        print_line("weights", f"left out, where training used the column {own!r} (--weights {shlex.quote(own)})")
    if apart is not None:
        print_scores(apart.scores, apart.baseline, f"scores on {held} rows", f"({apart.against})")
    print_scores(judged.scores, judged.baseline, "scores on all rows" if parts else "scores", f"({judged.against})")
    return 0
