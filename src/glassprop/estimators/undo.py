"""A call that fails leaves the estimator as it was. It knows attributes, not what they are."""

from __future__ import annotations

from typing import Any

import numpy as np


class Undo:
    """A context in which an estimator is fitted: where that raises, all attributes become what they were before.

    Lists may have grown meanwhile, and a generator may have been drawn from; other values are replaced, not changed.

    Parameters
    ----------
    model : estimator
    generator : RandomState, optional
        The estimator's own; one that a person has handed in is left alone.
    """

    def __init__(self, model: Any, generator: np.random.RandomState | None) -> None:
        self._model, self._generator = model, generator

    def __enter__(self) -> None:
        self._before = dict(vars(self._model))
        self._lengths = [(value, len(value)) for value in self._before.values() if isinstance(value, list)]
        self._drawn: Any = self._generator and self._generator.get_state()

    def __exit__(self, failure: type[BaseException] | None, *_: object) -> None:
        if failure is None:
            return
        attributes = vars(self._model)
        for name in attributes.keys() - self._before.keys():
            if "callback" not in name:  # scikit-learn ends those of this call itself
                del attributes[name]
        attributes.update(self._before)
        for value, length in self._lengths:
            del value[length:]
        if self._generator is not None:
            self._generator.set_state(self._drawn)
