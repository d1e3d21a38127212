"""``glassprop train``: from a table to a saved model, with scores on rows it was not trained on.

It puts together what tables, training and interop do.
"""

from __future__ import annotations

import json as json_text
import os
import re
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from glassprop.cli import options
from glassprop.cli.output import (
    describe_loss,
    describe_network,
    going_on_unread,
    held_out,
    plural,
    print_json,
    print_line,
    print_scores,
    shorten,
)
from glassprop.cli.settings import check_link, loss_of, update_rule
from glassprop.errors import unknown_name

if TYPE_CHECKING:
    import pandas as pd

    from glassprop.core.network import Network, Parameters
    from glassprop.core.update import Optimizer
    from glassprop.tables.model import Model
    from glassprop.tables.preparation import Prepared
    from glassprop.training.run import Run

# Measured on nine tables of 150 to 10,000 rows over several splits: with few rows a better model comes from training on all of
# them with a penalty and a falling learning rate than from giving some up for stopping; with many, stopping saves time.
FEWEST_ROWS_TO_VALIDATE = 5000
PATIENCE = 20
PENALTY = 3.0  # l2 times the rows trained on: weights are held as by a normal prior of variance 1/3


def train(
    table: options.Table,
    *,
    target: options.Target = None,
    weights: options.Weights = None,
    ignore: options.Ignore = "",
    out: options.Out,
    history: options.History = None,
    record: options.Record = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    layers: options.Layers = "64,64",
    activation: options.ActivationNames = None,
    output_activation: options.OutputActivation = None,
    loss: options.LossName = None,
    delta: options.Delta = None,
    quantile: options.QuantileOption = None,
    label_smoothing: options.LabelSmoothing = None,
    l2: options.L2 = None,
    l1: options.L1 = 0.0,
    dropout: options.Dropout = None,
    init: options.Init = None,
    optimizer: options.OptimizerName = "adam",
    learning_rate: options.LearningRate = None,
    momentum: options.Momentum = None,
    nesterov: options.Nesterov = False,
    weight_decay: options.WeightDecay = None,
    clip_norm: options.ClipNorm = None,
    schedule: options.Schedule = "cosine",
    precision: options.Precision = "float32",
    epochs: options.Epochs = 200,
    batch_size: options.BatchSize = 32,
    patience: options.Patience = None,
    seed: options.Seed = 0,
    validation: options.Validation = None,
    test: options.Test = 0.2,
) -> int:
    """Train a network on a table of numbers, score it on rows it was not trained on, and save it.

    Example: glassprop train data.csv --target price --out model.safetensors
    """
    asked = SimpleNamespace(**locals())
    with going_on_unread():
        return _train(asked)


def _train(asked: SimpleNamespace) -> int:
    from glassprop.core.initializers import INITIALIZERS
    from glassprop.files import check_apart, check_writable, write_atomically
    from glassprop.tables.model import Model, save, training_facts
    from glassprop.tables.preparation import prepare
    from glassprop.tables.reading import read_table
    from glassprop.training.record import check_folder
    from glassprop.training.run import check_precision

    check_apart({"--out": asked.out, "--history": asked.history}, {"the table": asked.table})
    for path in (asked.out, asked.history):
        if path is not None:
            check_writable(path)
    if asked.init not in (None, *INITIALIZERS):
        raise unknown_name("init", asked.init, INITIALIZERS)
    asked.dtype = check_precision(asked.precision)
    asked.sizes = _hidden_layers(asked)
    rows = read_table(asked.table)
    asked.target = _target(asked, rows)
    _settle_validation(asked, len(rows))
    ignored, loss = options.read_names("--ignore", asked.ignore, [*map(str, rows.columns)]), loss_of(asked, rows)
    ready = prepare(
        rows, asked.target, loss=loss, weights=asked.weights, ignore=ignored, validation=asked.validation, test=asked.test,
        seed=asked.seed, dtype=asked.dtype,
    )  # fmt: skip
    network, optimizer = _network(asked, ready), _optimizer(asked, len(ready.train.rows))
    start = network.initialize(asked.seed, asked.init, asked.dtype)
    if not (asked.json or asked.quiet):
        _announce(asked, ready, network, len(rows))
    if asked.record is not None:
        check_folder(asked.record)
        write_atomically(asked.record / "table.json", json_text.dumps(_table_facts(asked, ready, rows)).encode())
    run = _run(asked, ready, network, start, optimizer)
    model = Model(network, run.parameters, ready.preparation)
    facts = training_facts(run) | {"batch_size": asked.batch_size, "patience": asked.patience, "init": asked.init}
    facts |= {
        "table": str(asked.table),
        "rows": _rows(ready),
        "fractions": {"test": asked.test, "validation": asked.validation},
    }
    facts |= {"weights": asked.weights, "reason": ready.reason} | _scores(model, ready, rows, asked.weights)
    model.extra["training"] = facts
    save(model, asked.out)
    if asked.history is not None:
        write_atomically(asked.history, _history_csv(run).encode())
    _report(asked, model, run)
    if run.interrupted:
        print(f"glassprop: interrupted: the model is saved as {asked.out}", file=sys.stderr)
        return 130
    return 1 if run.diverged else 0


# --- what was asked for --------------------------------------------------------------------------------------------------


def _target(asked: SimpleNamespace, rows: pd.DataFrame) -> str:
    from glassprop.tables.columns import names_there
    from glassprop.tables.reading import default_target

    target = asked.target or default_target(asked.table)
    if target is None:
        raise ValueError(f"--target must name the column to predict; the table has {names_there(list(rows.columns))}")
    return target


def _hidden_layers(asked: SimpleNamespace) -> list[int]:
    none = asked.layers.strip().lower() in ("", "none")
    for name in ("activation", "dropout") if none else ():
        if getattr(asked, name) is not None:
            raise ValueError(f"--{name} is of hidden layers, and --layers {asked.layers.strip() or repr('')} leaves none")
    return [] if none else options.read_list("layers", asked.layers, int, "whole numbers")


def _settle_validation(asked: SimpleNamespace, rows: int) -> None:
    if asked.validation is None:
        asked.validation = 0.1 if asked.patience or rows >= FEWEST_ROWS_TO_VALIDATE else 0.0
    if asked.patience and not asked.validation:
        raise ValueError("--patience needs rows to judge by; give --validation a fraction above 0")
    if asked.patience is None:
        asked.patience = PATIENCE if asked.validation else 0


def _network(asked: SimpleNamespace, ready: Prepared) -> Network:
    check_link(asked, ready.loss)
    names = options.read_list("activation", "relu" if asked.activation is None else asked.activation, str, "names")
    rates = options.read_list("dropout", "0" if asked.dropout is None else asked.dropout, float, "rates")
    l2 = PENALTY / len(ready.train.rows) if asked.l2 is None else asked.l2
    return ready.network(
        asked.sizes, activation=names[0] if len(names) == 1 else names, output_activation=asked.output_activation, l2=l2,
        l1=asked.l1, dropout=rates[0] if len(rates) == 1 else rates,
    )  # fmt: skip


def _optimizer(asked: SimpleNamespace, rows: int) -> Optimizer:
    """The update rule; a schedule's length follows from epochs, rows and batch size."""
    return update_rule(asked, max(asked.epochs * -(-rows // max(asked.batch_size, 1)), 1))


# --- doing it ------------------------------------------------------------------------------------------------------------


def _run(asked: SimpleNamespace, ready: Prepared, network: Network, start: Parameters, optimizer: Optimizer) -> Run:
    from glassprop.core.stages import will_compile
    from glassprop.training.run import train as train_network

    asked.compiles = will_compile(start.dtype)
    part, held = ready.train, ready.validation
    return train_network(
        network, part.X, part.Y, weights=part.weights, parameters=start, optimizer=optimizer,
        epochs=asked.epochs, batch_size=asked.batch_size, seed=asked.seed,
        validation=None if held is None else (held.X, held.Y, held.weights),
        patience=asked.patience or None, progress=not (asked.json or asked.quiet), precision=asked.precision,
        record=asked.record,
    )  # fmt: skip


def _table_facts(asked: SimpleNamespace, ready: Prepared, rows: pd.DataFrame) -> dict[str, Any]:
    """What a replay needs to make the same arrays of the table again, to name their columns, and to say what has changed."""
    from glassprop.cli.rows import fingerprints

    names = ("target", "weights", "validation", "test", "seed", "dtype")
    preparation, loss = ready.preparation, {"name": ready.loss.name, **ready.loss.options}
    shown: dict[str, Any] = {"inputs": list(preparation.inputs), "classes": list(preparation.classes)}
    table = asked.table if asked.table == "-" or asked.table.startswith("sklearn:") else os.path.abspath(asked.table)
    shown |= {"rows": len(rows), "fingerprints": fingerprints(rows, preparation.inputs, asked.target, asked.weights)}
    return {"table": table, "loss": loss} | {name: getattr(asked, name) for name in names} | shown


def _scores(model: Model, ready: Prepared, table: pd.DataFrame, weights: str | None) -> dict[str, Any]:
    """Scores on the test rows; where there are none, on those held out for stopping, or trained on."""
    where, part = next((name, part) for name, part in _parts(ready).items() if part is not None)
    rows = table.iloc[part.rows]
    return {"scored_on": where, "metrics": model.evaluate(rows, weights), "baseline": model.baseline(rows, weights)}


def _parts(ready: Prepared) -> dict[str, Any]:
    return {"test": ready.test, "validation": ready.validation, "train": ready.train}


def _rows(ready: Prepared) -> dict[str, int]:
    return {name: 0 if part is None else len(part.rows) for name, part in _parts(ready).items()}


def _history_csv(run: Run) -> str:
    import pandas as pd

    return pd.DataFrame(run.history).to_csv(index=False, lineterminator="\n")


# --- saying it -----------------------------------------------------------------------------------------------------------


def _announce(asked: SimpleNamespace, ready: Prepared, network: Network, rows: int) -> None:
    preparation, counts = ready.preparation, _rows(ready)
    print_line(
        "table", f"{asked.table}: {plural(rows, 'row')}, {plural(len(preparation.inputs), 'input')}, target {asked.target!r}"
    )
    number = plural(len(preparation.classes), "class", "classes")
    classes = f" into {number} ({shorten(map(repr, preparation.classes))})" if preparation.classes else ""
    print_line("task", f"{preparation.task}{classes}, as {ready.reason}")
    doubtful = asked.loss is None and preparation.classes and not isinstance(preparation.classes[0], (str, bool))
    print_line("loss", describe_loss(ready.loss) + (" (for regression: --loss half_squared_error)" if doubtful else ""))
    print_line("rows", f"{counts['train']:,} to train on{held_out(counts)}")
    if asked.weights is not None:
        print_line("weights", repr(asked.weights))
    _announce_doubtful(ready)
    print_line("network", describe_network(network))


def _announce_doubtful(ready: Prepared) -> None:
    """Input columns that a table has often by oversight, with how to leave them out."""
    constant = np.ptp(ready.train.X, axis=0) == 0
    unnamed = [re.fullmatch(r"Unnamed: \d+", name) is not None for name in ready.preparation.inputs]
    for label, doubtful, why in (
        ("constant", constant, "the same in all rows trained on, which says nothing to the network"),
        ("unnamed", unnamed, "without a name in the file, perhaps row numbers"),
    ):
        names = [name for name, one in zip(ready.preparation.inputs, doubtful, strict=True) if one]
        if names:
            print_line(label, f"{shorten(map(repr, names))}: {why} (--ignore leaves columns out)")


def _report(asked: SimpleNamespace, model: Model, run: Run) -> None:
    facts = model.extra["training"]
    if asked.json:
        about = {"model": str(asked.out), "target": asked.target, "task": model.preparation and model.preparation.task}
        print_json(
            about
            | {"n_parameters": model.network.n_parameters}
            | facts
            | {"diverged": run.diverged, "interrupted": run.interrupted}
        )
        return
    if asked.quiet:
        return
    stopped = "the run diverged: the best parameters before are kept" if run.diverged else run.stopped
    print_line("training", f"{stopped}; {facts['seconds']:.2f} s" + (" (compiling included)" if asked.compiles else ""))
    where = {"test": "test rows", "validation": "validation rows", "train": "rows it was trained on"}[facts["scored_on"]]
    assert model.preparation is not None
    against = model.preparation.baseline_text(model.network.loss)
    print_scores(facts["metrics"], facts["baseline"], f"scores on {where}", f"({against})")
    print()
    print_line(
        "saved", f"{asked.out} ({plural(os.path.getsize(asked.out), 'byte')})" + (f", {asked.history}" if asked.history else "")
    )
