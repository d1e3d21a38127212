"""Warnings of the package, and the wording of complaints about names."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable


class CompileNotice(UserWarning):
    """Compiled code cannot be kept on disk."""


class DivergenceWarning(UserWarning):
    """Training was stopped because numbers ceased to be finite."""


#: By our name, what other libraries and papers call the same: in small letters, without "_" and a "loss" at the end.
ELSEWHERE = {
    "half_squared_error": "mse meansquarederror squarederror rmse l2",
    "absolute_error": "mae meanabsoluteerror l1",
    "huber": "smoothl1",
    "quantile": "pinball",
    "poisson": "poissonnll",
    "cross_entropy": "ce categoricalcrossentropy sparsecategoricalcrossentropy softmaxcrossentropy softmax nll log",
    "binary_cross_entropy": "bce bcewithlogits sigmoidcrossentropy log logistic",
    "identity": "linear none",
    "sigmoid": "logistic",
    "leaky_relu": "lrelu",
    "silu": "swish",
    "glorot_uniform": "xavier xavieruniform glorot",
    "glorot_normal": "xaviernormal",
    "he_uniform": "kaiming kaiminguniform he",
    "he_normal": "kaimingnormal",
    "lecun_uniform": "lecun",
}


def unknown_name(argument: str, got: object, valid: Iterable[str]) -> ValueError:
    """The error for a name that is not in a table: the argument, what it got, what it wants, and the nearest valid name."""
    names = list(valid)
    near = nearest(got, names)
    hint = f"; did you mean {near}?" if near else ""
    return ValueError(f"{argument} must be one of {', '.join(map(repr, names))}; got {got!r}{hint}")


def nearest(got: object, valid: Iterable[str]) -> str:
    """The valid names that mean what `got` means elsewhere, or the one that is spelt most like it; empty where none is."""
    names = list(valid)
    plain = re.sub(r"[\W_]|loss$", "", str(got).lower())
    same = [name for name in names if plain in ELSEWHERE.get(name, "").split()]
    if not same:
        small = {name.lower(): name for name in names}
        same = [small[near] for near in difflib.get_close_matches(str(got).lower(), small, n=1)]
    return " or ".join(map(repr, same))
