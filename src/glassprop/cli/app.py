"""The application that holds the commands."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from typing import Annotated

import typer

from glassprop.cli import reader_gone
from glassprop.cli.bench import bench
from glassprop.cli.check import check
from glassprop.cli.diagnose import diagnose
from glassprop.cli.evaluate import evaluate
from glassprop.cli.explain import explain
from glassprop.cli.info import info
from glassprop.cli.predict import predict
from glassprop.cli.replay import replay
from glassprop.cli.train import train


def _interruptible(command: Callable[..., int]) -> Callable[..., int]:
    """The command, ended by Ctrl-C with one line and exit code 130, or by a closed pipe; typer itself would say nothing."""

    @wraps(command)
    def run(*given: object, **named: object) -> int:
        try:
            return command(*given, **named)
        except KeyboardInterrupt:
            print("glassprop: error: interrupted", file=sys.stderr)
            return 130
        except BrokenPipeError:
            return reader_gone()

    return run


app = typer.Typer(
    help="Train multilayer perceptrons on tables, judge them on rows they have not seen, predict, and see inside.",
    epilog="Exit codes: 0 done, 1 diverged or found wrong, 2 misuse, 130 interrupted.",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (train, evaluate, predict, explain, check, diagnose, replay, info, bench):
    app.command()(_interruptible(command))


@app.callback(invoke_without_command=True)
def _version(
    context: typer.Context, version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False
) -> None:
    if version:
        from glassprop import __version__

        print(f"glassprop {__version__}")
    elif context.invoked_subcommand is None:
        print(context.get_help())
