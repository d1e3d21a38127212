"""Warnings of the package, what counts as a number, and the wording of complaints about names."""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Callable, Iterable
from functools import wraps
from numbers import Integral, Real
from typing import Any, TypeVar

_Callable = TypeVar("_Callable", bound=Callable[..., Any])


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
    # arguments
    "layers": "hiddenlayersizes hidden units",
    "l2": "alpha weightdecay",
    "method": "init initializer",
    "optimizer": "solver lr learningrate learningrateinit momentum weightdecay",
    "learning_rate": "lr eta learningrateinit stepsize alpha",
    "epsilon": "eps",
    "clip_norm": "gradientclip maxnorm",
    "steps": "tmax",
    "epochs": "maxiter niter iterations",
    "seed": "randomstate",
    "weights": "sampleweight",
    "validation": "evalset",
    "patience": "earlystopping nochange niternochange",
    "tolerance": "mindelta",
    "progress": "verbose",
    "threads": "njobs workers",
}


def is_number(value: object) -> bool:
    """Whether it is a real number, Python's or NumPy's, and no truth value."""
    return isinstance(value, Real) and not isinstance(value, bool)


def is_whole(value: object) -> bool:
    """Whether it is a whole number, Python's or NumPy's, and no truth value."""
    return isinstance(value, Integral) and not isinstance(value, bool)


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


def names_arguments(function: _Callable) -> _Callable:
    """The function or class, which answers an argument that it does not have with the nearest that it has.

    Python itself tells only the wrong name. Signatures stay as they are, for `help`, editors and type checkers.
    """
    if isinstance(function, type):
        function.__init__ = names_arguments(function.__init__)  # type: ignore[misc]
        return function

    @wraps(function)
    def call(*given: Any, **named: Any) -> Any:
        try:
            return function(*given, **named)
        except TypeError:
            valid = [name for name in inspect.signature(function).parameters if name != "self"]
            wrong = next((name for name in named if name not in valid), None)
            if wrong is None:
                raise
            owner = function.__qualname__.removesuffix(".__init__")
            told = str(unknown_name(f"an argument of {owner}", wrong, valid))
            if nearest(wrong, valid) == "'optimizer'":  # what it was called is inside of it
                told = told.removesuffix("?") + ", such as optimizer=gp.Adam(learning_rate=0.01)?"
            raise TypeError(told) from None

    return call  # type: ignore[return-value]
