"""Warnings of the package, and the wording of complaints about names."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class CompileNotice(UserWarning):
    """Compiled code cannot be kept on disk."""


class DivergenceWarning(UserWarning):
    """Training was stopped because numbers ceased to be finite."""


def unknown_name(argument: str, got: object, valid: Iterable[str]) -> ValueError:
    """The error for a name that is not in a table: the argument, what it got, what it wants, and the nearest valid name."""
    names = list(valid)
    near = difflib.get_close_matches(str(got).lower(), names, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return ValueError(f"{argument} must be one of {', '.join(map(repr, names))}; got {got!r}{hint}")
