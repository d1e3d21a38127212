"""``glassprop info``: what is in a model file, or in a table."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from glassprop.cli import options
from glassprop.cli.output import describe_loss, describe_network, plural, print_json, print_line, shorten

Source = Annotated[str, typer.Argument(metavar="MODEL|TABLE", help="Model file, CSV file or sklearn:NAME.", show_default=False)]


def info(source: Source, json: options.Json = False) -> int:
    """Say what is in a model file (network, columns, how it was trained) or in a table (columns, gaps).

    Example: glassprop info model.safetensors
    """
    from glassprop.interop.safetensors import is_safetensors

    if source.endswith(".safetensors") or is_safetensors(source):
        _model(source, json)
    else:
        _table(source, json)
    return 0


def _model(source: str, json: bool) -> None:
    from glassprop.cli.models import FittedEstimator, open_model
    from glassprop.training.described import describe_network as description
    from glassprop.training.progress import loss_label

    model = open_model(source)
    preparation, training = model.preparation, model.training
    if json:
        about = {
            "network": description(model.network),
            "n_parameters": model.network.n_parameters,
            "dtype": model.parameters.dtype.name,
        }
        print_json({"model": source} | about | {"preparation": preparation and preparation.describe()} | model.extra)
        return
    size = Path(source).stat().st_size
    print_line("model", f"{source}: {plural(size, 'byte')}, {model.parameters.dtype.name}")
    print_line("network", describe_network(model.network))
    print_line("loss", describe_loss(model.network.loss))
    if preparation is not None:
        because = f" (because {training['reason']})" if training.get("reason") else ""
        kind = f" ({plural(len(preparation.classes), 'class', 'classes')}: {shorten(preparation.classes)})"
        print_line("task", f"{preparation.task} of {preparation.target!r}" + (kind if preparation.classes else "") + because)
        print_line("inputs", f"{len(preparation.inputs)}: {shorten(preparation.inputs)}")
    elif isinstance(model, FittedEstimator):
        estimator, names = model.model, model.input_names
        print_line("estimator", " ".join(repr(estimator).split()) + f", fitted in {plural(estimator.n_iter_, 'epoch')}")
        print_line("task", model.about)
        print_line("inputs", f"{model.network.layers[0]}" + (f": {shorten(names)}" if names else ", without names"))
    else:
        print_line("inputs", f"{model.network.layers[0]}, without names: the model was saved without a table")
    for name, value in training.items():
        if value is not None and name != "reason":
            shown = loss_label(model.network) if name == "loss" else name.replace("_", " ")
            print(f"  {shown:<17}{_told(name, value)}")


def _table(source: str, json: bool) -> None:
    from glassprop.tables.reading import read_table

    table = read_table(source)
    columns = [
        {"name": name, "type": str(values.dtype), "distinct": int(values.nunique()), "missing": int(values.isna().sum())}
        for name, values in table.items()
    ]
    if json:
        print_json({"table": source, "rows": len(table), "columns": columns})
        return
    print_line("table", f"{source}: {plural(len(table), 'row')}, {plural(len(columns), 'column')}")
    width = max(len(str(column["name"])) for column in columns)
    print(f"  {'column':<{max(width, 6)}}  {'type':<10}{'distinct':>10}{'missing':>10}")
    for column in columns:
        print(f"  {column['name']:<{max(width, 6)}}  {column['type']:<10}{column['distinct']:>10}{column['missing']:>10}")


def _told(name: str, value: Any) -> str:
    if name == "optimizer" and isinstance(value, dict):
        return _optimizer(value)
    return "none" if name == "patience" and not value else _flat(value)


def _optimizer(facts: dict[str, Any]) -> str:
    """As ``adam, learning rate cosine from 0.001 over 1500 steps, beta1 0.9``; what is off is left out."""
    parts = [f"{facts.get('name')}, learning rate {_learning_rate(facts.get('learning_rate'))}"]
    for name, value in facts.items():
        if value and name not in ("name", "learning_rate"):
            parts.append(name.replace("_", " ") + ("" if value is True else f" {_flat(value)}"))
    return ", ".join(parts)


def _learning_rate(rate: Any) -> str:
    if not isinstance(rate, dict):
        return _flat(rate)
    name = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", str(rate.get("name"))).lower()
    text = f"{name} from {_flat(rate.get('learning_rate'))}" + (f" over {rate['steps']} steps" if rate.get("steps") else "")
    others = {key: value for key, value in rate.items() if key not in ("name", "learning_rate", "steps") and value}
    return text + (f" ({_flat(others)})" if others else "")


def _flat(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_flat(part)}" for name, part in value.items() if part is not None)
    return f"{value:.6g}" if isinstance(value, float) else str(value)
