"""The commands, one file each, and how they end: with exit code 0 done, 1 diverged or found wrong, 2 misuse or 130 interrupted.

What ends otherwise than done says why in one line. It knows terminals, not the algorithm.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence
from typing import Any

from glassprop.errors import CompileNotice, DivergenceWarning


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code.

    Parameters
    ----------
    arguments : sequence of str, optional
        None takes those of the process.

    Examples
    --------
    >>> from glassprop.cli import main
    >>> main(["evaluate", "no-such-model.safetensors", "sklearn:iris"])
    2
    """
    given = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    with warnings.catch_warnings():
        for category in (CompileNotice, DivergenceWarning):
            warnings.simplefilter("always", category)
        warnings.showwarning = _one_line  # type: ignore[assignment]
        try:
            from glassprop.cli.app import app  # takes long enough to be interrupted

            code = app(args=given, prog_name="glassprop", standalone_mode=False)
            sys.stdout.flush()
            return code or 0
        except BrokenPipeError:
            return reader_gone()
        except KeyboardInterrupt:
            _complain("interrupted")
            return 130
        except (ValueError, TypeError, OSError, MemoryError) as error:
            _complain(_reason(error))
        except Exception as error:
            if isinstance(error.__cause__, KeyboardInterrupt):  # typer turns it into an exception of its own
                _complain("interrupted")
                return 130
            if not hasattr(error, "format_message"):  # typer's own complaints about the command line have it
                raise
            context = getattr(error, "ctx", None)
            command = context.command_path if context else "glassprop"
            _complain(f"{error.format_message()} (see {command} --help)")
        return 2


def reader_gone() -> int:
    """The exit code where whoever read our output has seen enough: that of tools which end by the signal."""
    drop(sys.stdout)
    return 141


def drop(stream: Any) -> None:
    """Let all go nowhere that a stream is given, and what it has not written yet."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _reason(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    if isinstance(error, MemoryError):
        return "there is not enough memory" + (f": {error}" if str(error) else "")
    return str(error)


def _complain(text: str, kind: str = "error") -> None:
    print(f"glassprop: {kind}: {' '.join(text.split())}", file=sys.stderr)


def _one_line(message: Warning | str, *where: Any) -> None:
    _complain(str(message), "warning")
