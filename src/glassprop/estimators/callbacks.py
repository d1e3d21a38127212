"""scikit-learn's callback protocol around the epochs of a fit, and plain functions in it.

It knows when a callback is told what, not what is trained.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from glassprop.core.network import Parameters
from glassprop.training.loop import Epoch


class EveryEpoch:
    """A plain function as a callback of scikit-learn's protocol: given an `Epoch` after every epoch, it stops training by True.

    Parameters
    ----------
    function : callable
        As ``glassprop.train`` takes it.
    """

    def __init__(self, function: Callable[[Epoch], Any]) -> None:
        self.function = function

    def setup(self, estimator: Any, context: Any) -> None:
        """Nothing is needed before a fit."""

    def teardown(self, estimator: Any, context: Any) -> None:
        """Nor after it."""

    def on_fit_task_begin(self, estimator: Any, context: Any) -> None:
        """Nor before an epoch."""

    def on_fit_task_end(self, estimator: Any, context: Any) -> bool:
        """Call the function where an epoch has ended; the end of the whole fit is none."""
        epoch = estimator.__dict__.get("_epoch")
        answer = self.function(epoch) if epoch is not None else False
        return isinstance(answer, (bool, np.bool_)) and bool(answer)


class Listeners:
    """The callbacks that are set on an estimator, during one fit.

    Parameters
    ----------
    model : estimator
    X, y, sample_weight : array-like
        As they were given to `fit`: callbacks may score them.
    """

    def __init__(self, model: Any, X: Any, y: Any, sample_weight: Any) -> None:
        metadata = {} if sample_weight is None else {"sample_weight": sample_weight}
        self._model, self._given = model, {"estimator": model, "X": X, "y": y, "metadata": metadata}
        self._fit = model._init_callback_context(max_subtasks=model.max_iter)
        self._fit.call_on_fit_task_begin(**self._given)

    def __bool__(self) -> bool:
        return bool(self._model.__dict__.get("_skl_callbacks"))

    def begin_epoch(self) -> None:
        """Tell that an epoch begins."""
        self._epoch = self._fit.subcontext(task_name="epoch")
        self._epoch.call_on_fit_task_begin(**self._given)

    def end_epoch(self, record: Epoch, parameters: Parameters) -> bool:
        """Tell that it has ended; whether a callback wants training to stop."""
        self._model._epoch = record
        try:
            return self._epoch.call_on_fit_task_end(
                **self._given, reconstruction_attributes=lambda: self._model._shown(parameters)
            )
        finally:
            del self._model._epoch

    def whole_epoch(self, record: Epoch, parameters: Parameters) -> bool:
        """Tell of an epoch that is known when it is over; whether a callback wants training to stop."""
        self.begin_epoch()
        return self.end_epoch(record, parameters)

    def end(self) -> None:
        """Tell that the fit has ended."""
        self._fit.call_on_fit_task_end(**self._given, reconstruction_attributes=dict)
