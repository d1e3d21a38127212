"""``glassprop explain``: one training step with every number, of a saved model on a table, or from nothing but numbers.

It reads what was given; glass does the rest.
"""

from __future__ import annotations

import json as json_text
import math
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from glassprop.cli import options
from glassprop.cli.output import plural
from glassprop.core.losses import LOSSES
from glassprop.core.update import OPTIMIZERS
from glassprop.errors import is_number, unknown_name
from glassprop.glass.explanation import ENDINGS

if TYPE_CHECKING:
    from glassprop.cli.models import Fitted
    from glassprop.cli.rows import Batch
    from glassprop.core.network import Network, Parameters
    from glassprop.glass.explanation import Explanation

FORMATS = tuple(dict.fromkeys(ENDINGS[ending] for ending in (".txt", ".md", ".tex", ".html", ".json")))
RULE_OPTIONS = ("optimizer", "learning_rate", "momentum", "nesterov", "weight_decay", "clip_norm")
#: What a model and its table say.
OWN = (
    "layers", "activation", "output_activation", "loss", "delta", "quantile", "label_smoothing", "l2", "l1", "weights", "seed",
    "input",
)  # fmt: skip
MODEL, NUMBERS, SHOWN = "A model and a table", "Nothing but numbers", "What is shown"

Model = Annotated[Path | None, typer.Argument(metavar="[MODEL", help="Model file.", show_default=False)]
Table = Annotated[
    str | None, typer.Argument(metavar="TABLE]", help="CSV file with the target, or sklearn:NAME.", show_default=False)
]


def _option(*names: str, help: str, panel: str, metavar: str | None = None, least: int | None = None) -> Any:
    return typer.Option(*names, help=help, rich_help_panel=panel, metavar=metavar, min=least)


Row = Annotated[
    int | None, _option("--row", help="Row of the table, from 0; default: the first of --rows, or 0.", panel=MODEL, least=0)
]
Rows = Annotated[
    str | None,
    _option("--rows", help="The batch of the step: 0,3,5 or 0:32 (without the last); default: the row alone.", panel=MODEL,
            metavar="NUMBERS"),
]  # fmt: skip
Layers = Annotated[str | None, _option("--layers", help="All sizes, with commas: 2,3,1.", panel=NUMBERS, metavar="SIZES")]
Activation = Annotated[
    str, _option("--activation", help="One, or one per hidden layer with commas.", panel=NUMBERS, metavar="NAMES")
]
OutputActivation = Annotated[
    str | None, _option("--output-activation", help="Instead of the loss's own.", panel=NUMBERS, metavar="NAME")
]
LossName = Annotated[str, _option("--loss", help=f"{', '.join(LOSSES)}.", panel=NUMBERS, metavar="NAME")]
Delta = Annotated[float | None, _option("--delta", help="Of huber.", panel=NUMBERS)]
QuantileOption = Annotated[float | None, _option("--quantile", help="Of the loss quantile.", panel=NUMBERS)]
LabelSmoothing = Annotated[float | None, _option("--label-smoothing", help="Of the cross-entropies.", panel=NUMBERS)]
L2 = Annotated[float, _option("--l2", help="Penalty l2/2 Σ W².", panel=NUMBERS)]
L1 = Annotated[float, _option("--l1", help="Penalty l1 Σ |W|.", panel=NUMBERS)]
WeightsFile = Annotated[
    Path | None,
    _option("--weights", help='JSON file {"W": [W1, W2], "b": \\[b1, b2]}, each W as rows of (fan_in, fan_out). Default: drawn '
            "by --seed.", panel=NUMBERS, metavar="FILE"),
]  # fmt: skip
Seed = Annotated[int, _option("--seed", help="Of starting weights, where none are given.", panel=NUMBERS, least=0)]
Input = Annotated[str | None, _option("--input", help="The row's inputs, with commas.", panel=NUMBERS, metavar="NUMBERS")]
Target = Annotated[
    str | None,
    _option("--target", "-t", help="The row's targets, with commas; for cross_entropy a class number will do. Of an "
            "estimator: the column to predict.", panel=NUMBERS, metavar="NUMBERS"),
]  # fmt: skip
OptimizerName = Annotated[
    str | None,
    _option("--optimizer", help=f"{', '.join(OPTIMIZERS)}; default sgd, or an estimator's own, as it goes on.",
            panel=options.TRAINING, metavar="NAME"),
]  # fmt: skip
Step = Annotated[
    int | None,
    _option("--step", help="Number of the step, from 0, for bias correction; default 0, or the one that comes next.",
            panel=options.TRAINING, least=0),
]  # fmt: skip
Steps = Annotated[int, _option("--steps", help="So many steps, one after another.", panel=SHOWN, least=1)]
Neurons = Annotated[int, _option("--neurons", help="Of larger layers show so many neurons.", panel=SHOWN, least=1)]
Full = Annotated[bool, _option("--full", help="Show every neuron.", panel=SHOWN)]
Digits = Annotated[int, _option("--digits", help="Significant digits.", panel=SHOWN, least=1)]
Format = Annotated[
    str | None,
    _option("--format", help=f"{', '.join(FORMATS)}; default: by the ending of --out, else text.", panel=options.OUTPUT,
            metavar="NAME"),
]  # fmt: skip
Out = Annotated[Path | None, _option("--out", "-o", help="File; else standard output.", panel=options.OUTPUT, metavar="FILE")]


def explain(
    context: typer.Context,
    model: Model = None,
    table: Table = None,
    *,
    row: Row = None,
    rows: Rows = None,
    layers: Layers = None,
    activation: Activation = "sigmoid",
    output_activation: OutputActivation = None,
    loss: LossName = "half_squared_error",
    delta: Delta = None,
    quantile: QuantileOption = None,
    label_smoothing: LabelSmoothing = None,
    l2: L2 = 0.0,
    l1: L1 = 0.0,
    weights: WeightsFile = None,
    seed: Seed = 0,
    input: Input = None,
    target: Target = None,
    optimizer: OptimizerName = None,
    learning_rate: options.LearningRate = None,
    momentum: options.Momentum = None,
    nesterov: options.Nesterov = False,
    weight_decay: options.WeightDecay = None,
    clip_norm: options.ClipNorm = None,
    step: Step = None,
    steps: Steps = 1,
    neurons: Neurons = 10,
    full: Full = False,
    digits: Digits = 6,
    format: Format = None,
    out: Out = None,
    json: options.Json = False,
) -> int:
    """Show one training step with every number: forward, loss, backward, update, and what it did.

    Examples: glassprop explain model.safetensors data.csv --row 3;
    glassprop explain --layers 2,2,1 --input 1,0 --target 1
    """
    return _explain(SimpleNamespace(**locals()))


def _explain(asked: SimpleNamespace) -> int:
    from glassprop.files import check_apart, check_writable

    form = find_format(asked)
    read = {"the model": asked.model, "the table": asked.table, "--weights": asked.weights}
    check_apart({"--out": asked.out}, {name: path for name, path in read.items() if path is not None})
    if asked.out is not None:
        check_writable(asked.out)
    explanation = _from_model(asked) if asked.model is not None else _from_numbers(asked)
    return show_explanation(asked, explanation, form)


def show_explanation(asked: SimpleNamespace, explanation: Explanation, form: str) -> int:
    """Write or print it as was asked for; the exit code: 1 where a gradient is wrong."""
    from glassprop.files import write_atomically

    if asked.out is not None:
        write_atomically(asked.out, explanation.to(form, asked.digits).encode())
        if not asked.json:
            print(f"wrote {asked.out}")
    if asked.json:
        print(explanation.to_json())
    elif asked.out is None and form == "text":
        _show(explanation, asked.digits)
    elif asked.out is None:
        sys.stdout.write(explanation.to(form, asked.digits))
    return 0 if all(step.check is None or step.check.passed or not step.check.wrong for step in explanation.steps) else 1


def find_format(asked: SimpleNamespace) -> str:
    """The form by --format, else by the ending of --out, else text; --digits is checked, too."""
    if not 1 <= asked.digits <= 17:
        raise ValueError(f"--digits must be from 1 to 17; got {asked.digits}")
    if asked.format is not None and asked.format not in FORMATS:
        raise unknown_name("--format", asked.format, FORMATS)
    if asked.format is not None or asked.out is None:
        return str(asked.format or "text")
    ending = asked.out.suffix.lower()
    if ending not in ENDINGS:
        raise ValueError(
            f"--out must end in one of {', '.join(ENDINGS)}, or --format say what to write; got {str(asked.out)!r}"
        )
    return ENDINGS[ending]


def _show(explanation: Explanation, digits: int) -> None:
    """Text for where it goes: a terminal's width and colours, or plain lines."""
    from rich.console import Console

    console = Console()
    color = console.is_terminal and not console.no_color
    sys.stdout.write(explanation.to_text(digits, console.width if console.is_terminal else 100, color))


# --- a model and a table -------------------------------------------------------------------------------------------------


def _from_model(asked: SimpleNamespace) -> Explanation:
    from glassprop.cli.models import open_model
    from glassprop.glass.explain import explain as explain_step
    from glassprop.tables.reading import read_table

    if foreign := options.given(asked.context, *OWN):
        goes = "go" if len(foreign) > 1 else "goes"
        raise ValueError(f"{' and '.join(foreign)} {goes} with numbers alone; the model {str(asked.model)!r} has its own")
    if asked.table is None:
        raise ValueError(f"a table must be given after the model {str(asked.model)!r}: its rows are explained")
    fitted, table = open_model(asked.model, asked.table, asked.target), read_table(asked.table)
    batch, place = _batch(asked, fitted, table)
    inputs, answers = fitted.names(table)
    return explain_step(
        fitted.penalised(batch.mass), fitted.parameters, batch.X, batch.Y, weights=batch.weights, row=place, steps=asked.steps,
        neurons=asked.neurons, full=asked.full, input_names=inputs, output_names=answers,
        row_name=f"row {batch.rows[place]} of {asked.table}{fitted.row_note}", progress=not asked.json,
        **_step(asked, fitted),
    )  # fmt: skip


def _batch(asked: SimpleNamespace, fitted: Fitted, table: Any) -> tuple[Batch, int]:
    """The rows of the step, and which of them is explained."""
    from glassprop.cli.rows import read_batch

    if asked.rows is None:
        return read_batch(fitted, table, asked.row or 0), 0
    batch = read_batch(fitted, table, rows=asked.rows)
    row = batch.rows[0] if asked.row is None else asked.row
    if row not in batch.rows:
        raise ValueError(f"--row must be one of --rows {asked.rows}; got {row}")
    return batch, int(np.argmax(batch.rows == row))


def _step(asked: SimpleNamespace, fitted: Fitted) -> dict[str, Any]:
    """Rule, state and number of the step: those that were asked for, else those that come next."""
    own = not any(getattr(asked, name) for name in RULE_OPTIONS) and fitted.step_options
    return (own or {"optimizer": _rule(asked)}) | ({} if asked.step is None else {"step": asked.step})


def _rule(asked: SimpleNamespace) -> Any:
    from glassprop.cli.settings import update_rule

    return update_rule(SimpleNamespace(**vars(asked) | {"schedule": "constant", "optimizer": asked.optimizer or "sgd"}), 1)


# --- nothing but numbers -------------------------------------------------------------------------------------------------


def _from_numbers(asked: SimpleNamespace) -> Explanation:
    from glassprop.core.arrays import check_targets
    from glassprop.core.losses import Loss
    from glassprop.core.network import Network
    from glassprop.glass.explain import explain as explain_step

    for name in ("row", "rows"):
        if getattr(asked, name) is not None:
            raise ValueError(f"--{name} goes with a model and a table")
    for name in ("layers", "input", "target"):
        if getattr(asked, name) is None:
            raise ValueError(f"--{name} must be given; or name a model and a table: glassprop explain MODEL TABLE")
    sizes = options.read_list("--layers", asked.layers, int, "whole numbers")
    names = options.read_list("--activation", asked.activation, str, "names")
    given = {name: getattr(asked, name) for name in ("delta", "quantile", "label_smoothing")}
    network = Network(
        sizes, activation=names[0] if len(names) == 1 else names, output_activation=asked.output_activation,
        loss=Loss(asked.loss, **{name: value for name, value in given.items() if value is not None}), l2=asked.l2, l1=asked.l1,
    )  # fmt: skip
    x, y = (_numbers(f"--{name}", getattr(asked, name)) for name in ("input", "target"))
    if len(x) != sizes[0]:
        raise ValueError(f"--input must be {plural(sizes[0], 'number')}, as --layers says; got {len(x)}")
    classes = network.loss.targets == "distribution" and len(y) == 1
    if len(y) != sizes[-1] and not classes:
        either = "a class number or " if network.loss.targets == "distribution" else ""
        raise ValueError(f"--target must be {either}{plural(sizes[-1], 'number')}, as --layers says; got {len(y)}")
    check_targets(network, y if classes else [y], 1, "float64", "--target")
    parameters = network.initialize(asked.seed) if asked.weights is None else _read_weights(asked.weights, network)
    return explain_step(
        network, parameters, [x], y if classes else [y], optimizer=_rule(asked), step=asked.step, steps=asked.steps,
        neurons=asked.neurons, full=asked.full, progress=not asked.json,
    )  # fmt: skip


def _numbers(argument: str, text: str) -> list[float]:
    found = options.read_list(argument, text, float, "numbers")
    if not all(map(math.isfinite, found)):
        raise ValueError(f"{argument} must be finite numbers, of float64 at most; got {text!r}")
    return found


def _read_weights(path: Path, network: Network) -> Parameters:
    from glassprop.core.network import Parameters
    from glassprop.files import missing_file

    wanted = '{"W": [W1, W2, ...], "b": [b1, b2, ...]}, each W as rows of (fan_in, fan_out)'
    if not path.exists():
        raise missing_file(path, endings=(".json",))
    try:
        content = json_text.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json_text.JSONDecodeError) as error:
        raise ValueError(f"{os.fspath(path)}: not a JSON file ({error}); it must hold {wanted}") from None
    if not isinstance(content, dict) or not all(isinstance(content.get(name), list) for name in ("W", "b")):
        raise ValueError(f"{os.fspath(path)}: must hold {wanted}")
    try:
        _check_numbers(content["W"], "W", 3)
        _check_numbers(content["b"], "b", 2)
        parameters = Parameters.from_arrays(content["W"], content["b"], "float64")
    except (TypeError, ValueError) as error:
        raise ValueError(f"{os.fspath(path)}: {error}; it must hold {wanted}") from None
    if parameters.layers != network.layers:
        found, asked = (",".join(map(str, layers)) for layers in (parameters.layers, network.layers))
        raise ValueError(f"{os.fspath(path)}: its weights are of layers {found}; --layers says {asked}")
    return parameters


def _check_numbers(given: Any, name: str, depth: int) -> None:
    """Raise where lists in lists, so many deep, hold anything but numbers, or the rows of a matrix are of several lengths."""
    if depth == 0:
        if not is_number(given):
            raise ValueError(f"{name} must be a number; it is {json_text.dumps(given)}")
        return
    if not isinstance(given, list):
        raise ValueError(f"{name} must be a list; it is {json_text.dumps(given)}")
    for number, part in enumerate(given):
        _check_numbers(part, f"{name}[{number}]", depth - 1)
        if name.startswith("W[") and depth == 2 and len(part) != len(given[0]):
            raise ValueError(f"{name}[{number}] must be as long as {name}[0], {len(given[0])}; it holds {len(part)}")
