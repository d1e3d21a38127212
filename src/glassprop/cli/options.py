"""The options of the commands: how each is spelt and explained, and how lists are read. It knows no defaults."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from glassprop.core.activations import HIDDEN
from glassprop.core.initializers import INITIALIZERS
from glassprop.core.losses import LOSSES
from glassprop.core.update import OPTIMIZERS

SCHEDULES = ("constant", "inverse_scaling", "exponential", "cosine", "one_cycle")

_Value = TypeVar("_Value")


def _option(*names: str, help: str, panel: str, metavar: str | None = None, least: int | None = None) -> Any:
    return typer.Option(*names, help=help, rich_help_panel=panel, metavar=metavar, min=least)


TABLE, NETWORK, TRAINING, ROWS, OUTPUT = "Table", "Network", "Training", "Rows held out", "Output"

Table = Annotated[
    str,
    typer.Argument(
        metavar="TABLE",
        help="CSV file with a line of column names, - for standard input, or sklearn:NAME.",
        show_default=False,
    ),
]
ModelFile = Annotated[Path, typer.Argument(metavar="MODEL", help="Model file.", show_default=False)]
Row = Annotated[int | None, _option("--row", help="One row of the table, counted from 0.", panel=TABLE, metavar="NUMBER")]
Rows = Annotated[
    str | None, _option("--rows", help="Several: 0,3,5 or 0:100 (without the last).", panel=TABLE, metavar="NUMBERS")
]
Json = Annotated[bool, _option("--json", help="Print one JSON object and nothing else.", panel=OUTPUT)]
Quiet = Annotated[bool, _option("--quiet", "-q", help="Print nothing but errors.", panel=OUTPUT)]
TargetColumns = Annotated[
    str | None,
    _option("--target", "-t", help="Column to predict, of models that do not know it: estimators; several with commas.",
            panel=TABLE, metavar="NAMES"),
]  # fmt: skip
Weights = Annotated[str | None, _option("--weights", help="Column of row weights.", panel=TABLE, metavar="NAME")]
PredictionsFile = Annotated[
    Path | None,
    _option("--out", "-o", help="CSV file for the predictions; else standard output.", panel=OUTPUT, metavar="FILE"),
]
Proba = Annotated[bool, _option("--proba", help="Add a column of probabilities for each class.", panel=OUTPUT)]

Target = Annotated[
    str | None, _option("--target", "-t", help="Column to predict (for sklearn:NAME: target).", panel=TABLE, metavar="NAME")
]
Ignore = Annotated[
    str,
    _option("--ignore", help="Columns to leave out, with commas; those with commas in quotes.", panel=TABLE, metavar="NAMES"),
]
Out = Annotated[Path, _option("--out", "-o", help="File for the model.", panel=OUTPUT, metavar="MODEL")]
History = Annotated[
    Path | None,
    _option("--history", help="CSV file for loss, validation loss ... of every epoch.", panel=OUTPUT, metavar="FILE"),
]
Record = Annotated[
    Path | None,
    _option("--record", help="Folder to record in, for glassprop replay: any step can be gone back to.", panel=OUTPUT,
            metavar="FOLDER"),
]  # fmt: skip

Layers = Annotated[
    str, _option("--layers", help="Sizes of hidden layers, with commas; none for none.", panel=NETWORK, metavar="SIZES")
]
ActivationNames = Annotated[
    str | None,
    _option(
        "--activation", help=f"One, or one per hidden layer with commas; default relu: {', '.join(HIDDEN)}.", panel=NETWORK,
        metavar="NAMES",
    ),
]  # fmt: skip
OutputActivation = Annotated[
    str | None, _option("--output-activation", help="Instead of the loss's own.", panel=NETWORK, metavar="NAME")
]
_LOSS_RULE = (
    "Default: cross_entropy for a target of text, truth values or few different whole numbers, else half_squared_error."
)
LossName = Annotated[str | None, _option("--loss", help=f"{', '.join(LOSSES)}. {_LOSS_RULE}", panel=NETWORK, metavar="NAME")]
Delta = Annotated[float | None, _option("--delta", help="Of huber, in standard deviations of the target.", panel=NETWORK)]
QuantileOption = Annotated[float | None, _option("--quantile", help="Of the loss quantile, between 0 and 1.", panel=NETWORK)]
LabelSmoothing = Annotated[float | None, _option("--label-smoothing", help="Of the cross-entropies, from 0.", panel=NETWORK)]
L2 = Annotated[float | None, _option("--l2", help="Penalty l2/2 Σ W²; default 3/rows trained on.", panel=NETWORK)]
L1 = Annotated[float, _option("--l1", help="Penalty l1 Σ |W|.", panel=NETWORK)]
Dropout = Annotated[
    str | None,
    _option("--dropout", help="One rate, or one per hidden layer with commas; default 0.", panel=NETWORK, metavar="RATES"),
]
Init = Annotated[
    str | None,
    _option(
        "--init", help=f"Starting weights; default: by activation. {', '.join(INITIALIZERS)}.", panel=NETWORK, metavar="NAME"
    ),
]

OptimizerName = Annotated[str, _option("--optimizer", help=f"{', '.join(OPTIMIZERS)}.", panel=TRAINING, metavar="NAME")]
LearningRate = Annotated[float | None, _option("--learning-rate", "--lr", help="Default: the optimizer's own.", panel=TRAINING)]
Momentum = Annotated[float | None, _option("--momentum", help="Of sgd, from 0 to 1.", panel=TRAINING)]
Nesterov = Annotated[bool, _option("--nesterov", help="Nesterov's momentum, of sgd.", panel=TRAINING)]
WeightDecay = Annotated[float | None, _option("--weight-decay", help="Decoupled; default 0, for adamw 0.01.", panel=TRAINING)]
ClipNorm = Annotated[float | None, _option("--clip-norm", help="Largest norm of the gradient.", panel=TRAINING)]
Schedule = Annotated[
    str, _option("--schedule", help=f"Learning rate over all epochs: {', '.join(SCHEDULES)}.", panel=TRAINING, metavar="NAME")
]
Precision = Annotated[
    str,
    _option(
        "--precision",
        "--dtype",
        help="float32, float64 or bf16: float32, but for products of bfloat16 in training, on processors that have them.",
        panel=TRAINING,
        metavar="NAME",
    ),
]
Epochs = Annotated[int, _option("--epochs", help="At most.", panel=TRAINING, least=1)]
BatchSize = Annotated[int, _option("--batch-size", help="Rows of a step.", panel=TRAINING, least=1)]
Seed = Annotated[
    int, _option("--seed", help="Of the split, the starting weights, the row order, dropout.", panel=TRAINING, least=0)
]
Patience = Annotated[
    int | None,
    _option(
        "--patience",
        help="Epochs without a better validation loss to stop after; default 20, 0: never.",
        panel=TRAINING,
        least=0,
    ),
]
Validation = Annotated[
    float | None,
    _option(
        "--validation",
        help="Fraction to stop by, of what --test leaves; default 0, but 0.1 from 5000 rows or with --patience.",
        panel=ROWS,
        metavar="FRACTION",
    ),
]
Test = Annotated[float, _option("--test", help="Fraction never trained on, for the scores.", panel=ROWS, metavar="FRACTION")]


def given(context: typer.Context, *names: str) -> list[str]:
    """Which of these options stand on the command line, as they are written there."""
    there = [name for name in names if getattr(context.get_parameter_source(name), "name", "") == "COMMANDLINE"]
    return [f"--{name.replace('_', '-')}" for name in there]


def read_list(argument: str, text: str, kind: Callable[[str], _Value], what: str) -> list[_Value]:
    """The parts of a text with commas, each read by `kind`."""
    parts = [part.strip() for part in text.split(",")]
    wanted = f"{argument} must be {what}, with commas between them; got {text!r}"
    if "" in parts and len(parts) > 1:
        raise ValueError(f"{wanted}, where one is empty")
    try:
        return [kind(part) for part in parts if part]
    except ValueError:
        raise ValueError(wanted) from None


def read_names(argument: str, text: str, columns: Sequence[str] = ()) -> list[str]:
    """Names of columns with commas between them; those with commas or quotes are quoted as in a CSV file.

    They are taken to the letter, but spaces around one that is none of `columns` are left out where it then is.
    """
    try:
        names, trimmed = (next(csv.reader([text], skipinitialspace=skip, strict=True), []) for skip in (False, True))
    except csv.Error as error:
        raise ValueError(
            f"{argument} must be names of columns with commas between them, those with commas in quotes, as 'a,\"b, c\"' "
            f"({error}); got {text!r}"
        ) from None
    if "" in names:
        raise ValueError(f"{argument} must be names of columns with commas between them; got {text!r}, where one is empty")
    pairs = zip(names if len(names) == len(trimmed) else trimmed, trimmed, strict=True)  # a quote may follow a space
    return [bare.strip() if name not in columns and bare.strip() in columns else name for name, bare in pairs]
