"""A user's own functions, of an activation or a loss: what they must be, and what is said where they are not.

It compiles nothing, and does not know what the functions stand for.
"""

from __future__ import annotations

import dis
from collections.abc import Container, Mapping
from typing import Any


def check_own(kind: str, name: str, takes: str, functions: Mapping[str, Any], built_in: Container[str]) -> None:
    """Raise unless a row of a user's own has a name and functions that a compiled loop can call.

    Parameters
    ----------
    kind, name : str
        "activation" or "loss", and how it is called.
    takes : str
        What its functions take, in words.
    functions : mapping of str to callable
        By the argument that they came as.
    built_in : container of str
        Names that are taken.

    Raises
    ------
    ValueError
        Where the name is taken.
    TypeError
        Where the name is no text, or a function is not callable or raises something itself.
    """
    if not isinstance(name, str):
        raise TypeError(f"name of {'an' if kind == 'activation' else 'a'} {kind} must be a text; got {name!r}")
    if name in built_in:
        raise ValueError(f"name {name!r} belongs to a built-in {kind}; choose another")
    for argument, function in functions.items():
        if not callable(function):
            raise TypeError(f"{argument} of {kind} {name!r} must be a function of {takes}; got {function!r}")
        code = getattr(getattr(function, "py_func", function), "__code__", None)
        if code and any(instruction.opname == "RAISE_VARARGS" for instruction in dis.get_instructions(code)):
            raise TypeError(
                f"{argument} of {kind} {name!r} must raise nothing, since compiled loops hear no exceptions; "
                "where it has no value, let it return NaN"
            )


def cannot_be_compiled(which: str, takes: str, error: Exception) -> TypeError:
    """The error for a function that the compiler refuses, with the first line of what it says that tells something."""
    told = (line.strip() for line in str(error).splitlines())
    reason = next((line for line in told if line and not line.startswith(("Failed in", "During:", "File "))), "")
    reason, *_ = reason.split(": %")  # LLVM's own words for the value
    return TypeError(
        f"{which} cannot be compiled: it must be a function of {takes} in the Python that Numba understands "
        f"({reason or type(error).__name__})"
    )
