"""Training: epochs over a table, with validation, stopping, history and exact continuation.

What a person calls and gets back; loop.py does the work. It holds no formulas.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from glassprop.core.arrays import check_parameters
from glassprop.core.bfloat16 import check_bfloat16
from glassprop.core.network import Network, Parameters
from glassprop.core.passes import check_factors, predict
from glassprop.core.update import Adam, Optimizer, check_optimizer
from glassprop.errors import DivergenceWarning, is_number, is_whole, names_arguments, unknown_name
from glassprop.training.data import Data, Once, check_data
from glassprop.training.loop import HISTORY, Callback, Epoch, Loop, Settings
from glassprop.training.record import check_folder
from glassprop.training.scoring import find_scorer

__all__ = ["Epoch", "Run", "train"]


class Run:
    """What training came to. Made by `train`.

    Attributes
    ----------
    network : Network
    parameters : Parameters
        The best ones where there are validation data (and `restore_best`), or where training diverged; else the last ones.
    history : numpy.recarray
        One row per epoch: ``epoch`` (from 1), ``loss`` (the objective, penalty included, as it was descended: the mean over the
        epoch's minibatches before each update), ``validation_loss`` (without penalty and dropout), ``score``,
        ``learning_rate`` (of the last step), ``gradient_norm`` (mean over steps, before clipping), ``seconds``. What there was
        not is NaN. ``pandas.DataFrame(run.history)`` is a table.
    epochs : int
        Whole epochs done.
    best_epoch : int
        The epoch whose parameters were best by validation (else by training) loss or score; 0 before the first.
    stopped : str
        Why training ended.
    diverged, interrupted : bool
        Whether it ended for that.
    optimizer, seed
        As used; the seed that was drawn where None was given.
    """

    def __init__(self, settings: Settings, data: Data, theta: np.ndarray) -> None:
        self._settings, self._data = settings, data
        self.history = np.recarray(0, HISTORY)
        self.stopped, self.diverged, self.interrupted = "", False, False
        self._theta = theta
        self._checkpoint: dict[str, np.ndarray] | None = None
        self._judged = 0  # epochs that have been scored, and that callbacks were told of: Ctrl-C may come before
        self.parameters = Parameters(settings.network.layers, theta.dtype).with_theta(theta)

    network = property(lambda self: self._settings.network)
    optimizer = property(lambda self: self._settings.optimizer)
    seed = property(lambda self: self._settings.seed)

    @property
    def epochs(self) -> int:
        """Whole epochs done."""
        return len(self.history)

    @property
    def best_epoch(self) -> int:
        """The epoch whose parameters were best."""
        return int(self._checkpoint["progress"]["best_epoch"][0]) if self._checkpoint else 0

    def predict(self, X: Any) -> np.ndarray:
        """The outputs h_L, (rows, outputs), for X, (rows, inputs)."""
        return predict(self.network, self.parameters, X)

    @names_arguments
    def resume(self, epochs: int = 100, callbacks: Iterable[Callback] | None = None, progress: bool | None = None) -> Run:
        """Train for up to `epochs` more, exactly as if training had never stopped; this run is left as it is.

        Training goes on from the last parameters, not from the best ones that `parameters` may hold. Where `patience` had ended
        it, patience is counted anew, and may end it again.

        Parameters
        ----------
        epochs : int
        callbacks, progress : optional
            In place of those given to `train`.

        Raises
        ------
        ValueError
            Where `epochs` is below 1, or the run diverged: its last parameters lead nowhere.
        """
        if self.diverged:
            raise ValueError(
                "a run that diverged cannot be resumed; train again, with parameters=run.parameters and a lower learning rate"
            )
        settings = replace(
            self._settings,
            callbacks=self._settings.callbacks if callbacks is None else _check_callbacks(callbacks),
            progress=self._settings.progress if progress is None else progress,
        )
        following = Run(settings, self._data, self._theta.copy())
        following.history, following._checkpoint = self.history.copy(), self._checkpoint
        following._judged = self._judged
        return _trained(following, self.epochs + _whole("epochs", epochs))

    def __repr__(self) -> str:
        last = f", loss {self.history.loss[-1]:.4g}" if self.epochs else ""
        return f"Run({self.network}, {self.epochs} epochs{last}; {self.stopped})"


@names_arguments
def train(
    network: Network,
    X: Any,
    Y: Any,
    *,
    parameters: Parameters | None = None,
    optimizer: Optimizer | None = None,
    epochs: int = 100,
    batch_size: int = 32,
    seed: int | None = None,
    weights: Any = None,
    shuffle: bool = True,
    validation: Any = None,
    patience: int | None = None,
    tolerance: float = 0.0,
    scoring: str | Callable | None = None,
    restore_best: bool = True,
    callbacks: Callback | Sequence[Callback] | None = (),
    progress: bool = False,
    threads: int | None = None,
    precision: str | None = None,
    record: str | os.PathLike[str] | None = None,
) -> Run:
    """Train a network by backpropagation on a table in memory.

    Parameters
    ----------
    network : Network
        Layers, activations, loss, penalties, dropout.
    X : array, (rows, inputs)
        float64 is computed in float64, everything else in float32. Not copied where it is so already.
    Y : array, (rows, outputs), or (rows,) for one output or for class numbers
    parameters : Parameters, optional
        Where to start, copied; None draws starting weights by `seed`.
    optimizer : update rule, optional
        Such as ``glassprop.SGD(0.1, momentum=0.9)``; None is ``Adam(1e-3)``.
    epochs : int
        Passes over the rows, at most.
    batch_size : int
        Rows of a step; the last batch of an epoch may be smaller, and is trained on too. More than there are takes all.
    seed : int, optional
        Of starting weights, row order, dropout and the validation split. Same seed, same machine: same bits. None draws one.
    weights : array, (rows,), optional
        Row weights.
    shuffle : bool
        New row order in every epoch.
    validation : float or (X, Y) or (X, Y, weights), optional
        A fraction of the rows to hold out (in proportion for classes), or rows of their own.
    patience : int, optional
        Stop when the validation loss (or score; without validation data the loss) has not improved for so many epochs.
    tolerance : float
        By how much it must improve to count.
    scoring : str or callable, optional
        Judge epochs by this score of the validation rows instead of the loss: a scikit-learn scorer's name, a scorer, or a
        function of (y_true, y_predicted), class numbers where the loss is a cross-entropy; higher is better.
    restore_best : bool
        With validation data, end with the parameters of the best epoch.
    callbacks : function or list of functions, optional
        Each is given an `Epoch` after every epoch; training stops where one returns True.
    progress : bool
        Show a progress bar on standard error.
    threads : int, optional
        Use as many at most; None: as many as there are processors (or as ``NUMBA_NUM_THREADS`` says). How many are used follows
        from the work in a step; the result is the same to the bit for any number.
    precision : {"float32", "float64", "bf16"}, optional
        In which to compute, whatever X is; None goes by X. ``"bf16"`` is float32 but for the products of training steps, which
        multiply numbers rounded to bfloat16 (8 bits) and add up in float32: one and a half times to twice as fast in large
        networks, on processors with AVX-512's or Arm's products of it.
    record : path, optional
        A folder in which to leave what `replay` needs to go back to any step: settings, fingerprints of the data, checkpoints
        now and then, each on the disk before training goes on. It takes some milliseconds, and about 1 % of the time.

    Returns
    -------
    Run

    Raises
    ------
    ValueError, TypeError
        Where data or settings cannot be trained on; the message names the argument, what it got and what it wants.

    Warns
    -----
    DivergenceWarning
        Where a loss or gradient ceased to be finite; training stops before that step and keeps the best parameters so far.

    Notes
    -----
    Ctrl-C ends training after the present fifth of a second and keeps what was learned.

    Examples
    --------
    >>> import glassprop as gp
    >>> network = gp.Network((2, 8, 1), activation="tanh", loss="binary_cross_entropy")
    >>> run = gp.train(network, [[0, 0], [0, 1], [1, 0], [1, 1]], [0, 1, 1, 0], optimizer=gp.Adam(0.05), epochs=300, seed=0)
    >>> run.predict([[0, 1], [1, 1]]).round().tolist()
    [[1.0], [0.0]]
    """
    return _trained(*prepare(
        network, X, Y, parameters=parameters, optimizer=optimizer, epochs=epochs, batch_size=batch_size, seed=seed,
        weights=weights, shuffle=shuffle, validation=validation, patience=patience, tolerance=tolerance, scoring=scoring,
        restore_best=restore_best, callbacks=callbacks, progress=progress, threads=threads, precision=precision, record=record,
    ))  # fmt: skip


def prepare(
    network: Network, X: Any, Y: Any, *, parameters: Any, optimizer: Any, epochs: Any, batch_size: Any, seed: Any, weights: Any,
    shuffle: bool, validation: Any, patience: Any, tolerance: float, scoring: Any, restore_best: bool, callbacks: Any,
    progress: bool, threads: Any, precision: Any, rows: Any = None, once: Once | None = None, record: Any = None,
) -> tuple[Run, int]:  # fmt: skip
    """Check what `train` or `train_many` was given; a run that has not begun, and how many epochs it is to have.

    `rows` are the rows of X to train on, None for all of them; `once` is shared by runs on the same arrays.
    """
    if not isinstance(network, Network):
        raise TypeError(f"network must be a glassprop.Network; got {type(network).__name__}")
    epochs, batch_size = _whole("epochs", epochs), _whole("batch_size", batch_size)
    if optimizer is not None:
        check_optimizer(optimizer)
    if seed is None:
        seed = int(np.random.SeedSequence().generate_state(1, np.uint64)[0] >> np.uint64(1))
    if not is_whole(seed) or not 0 <= seed < 2**63:
        raise ValueError(f"seed must be a whole number from 0 to 2**63 - 1; got {seed!r}")
    if scoring is not None:
        if validation is None:
            raise ValueError("scoring needs validation data; give validation=(X, Y) or a fraction")
        find_scorer(scoring)
    if not (is_number(tolerance) and tolerance >= 0):
        raise ValueError(f"tolerance must be at least 0; got {tolerance!r}")
    dtype = check_precision(precision)
    data = check_data(network, X, Y, weights, validation, int(seed), rows, once, dtype)
    if parameters is None:
        parameters = network.initialize(int(seed))
    check_parameters(network, parameters)
    settings = Settings(
        network, optimizer or Adam(), min(batch_size, data.rows), int(seed), _flag("shuffle", shuffle),
        0 if patience is None else _whole("patience", patience), float(tolerance), scoring,
        _flag("restore_best", restore_best), _check_callbacks(callbacks), _flag("progress", progress),
        None if threads is None else _whole("threads", threads), precision, check_folder(record),
    )  # fmt: skip
    check_factors(settings.optimizer, network.layers)
    return Run(settings, data, parameters.astype(data.X.dtype).theta), epochs


def check_precision(precision: Any) -> str | None:
    """The type that arrays are to have; None goes by the data."""
    dtypes = {"float32": "float32", "float64": "float64", "bf16": "float32"}
    if precision is None:
        return None
    if not isinstance(precision, str) or precision not in dtypes:
        raise unknown_name("precision", precision, dtypes)
    if precision == "bf16":
        check_bfloat16()
    return dtypes[precision]


def _trained(run: Run, epochs: int) -> Run:
    """The run, after so many epochs; the caller of `train` or `resume` is told where it diverged."""
    Loop(run, epochs).advance()
    if run.diverged:
        warnings.warn(run.stopped, DivergenceWarning, stacklevel=4)
    return run


def _whole(name: str, value: Any) -> int:
    if not is_whole(value):
        raise TypeError(f"{name} must be a whole number; got {value!r}")
    if value < 1:
        raise ValueError(f"{name} must be at least 1; got {value}")
    return int(value)


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be True or False; got {value!r}")
    return bool(value)


def _check_callbacks(callbacks: Any) -> tuple[Callback, ...]:
    if callbacks is None:
        return ()
    several = (callbacks,) if callable(callbacks) or not isinstance(callbacks, Iterable) else tuple(callbacks)
    for callback in several:
        if not callable(callback):
            raise TypeError(f"callbacks must be functions of an epoch; got {callback!r}")
    return several
