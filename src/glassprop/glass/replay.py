"""Back to any step of a recorded run, bit for bit, by training from the nearest checkpoint before it with the same minibatches.

It reads what training/record.py wrote, and takes steps by the core alone. What a step looks like, explain shows.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from glassprop.core.activations import Activation
from glassprop.core.arrays import check_inputs, check_targets, check_weights
from glassprop.core.losses import Loss
from glassprop.core.network import Network, Parameters
from glassprop.core.plan import BACKWARD, DIVERGED, FORWARD, LOSS, PROGRESS, UPDATE
from glassprop.errors import is_whole, names_arguments
from glassprop.files import missing_file, write_atomically
from glassprop.glass.explain import explain_moments
from glassprop.glass.explanation import Explanation
from glassprop.glass.moment import Moment
from glassprop.training.data import Data, RowOrder
from glassprop.training.described import UnknownOwn, network_of, optimizer_of
from glassprop.training.loop import HISTORY, Loop, Settings
from glassprop.training.record import FORMAT_VERSION, checkpoints, fingerprint, read_tensors, step_of
from glassprop.training.run import Run, check_precision

STEP = FORWARD | LOSS | BACKWARD | UPDATE
ENTRY = re.compile(r"\s*([Wb])(\d+)\[\s*(\d+)\s*(?:,\s*(\d+)\s*)?\]\s*")
LAST_STEPS = 50  # shown before a divergence


@dataclass(frozen=True)
class Watched:
    """One weight or bias through many steps.

    Attributes
    ----------
    name : str
    steps : numpy.recarray
        ``step``, ``value`` before the step, ``gradient`` as the rule was given it (after clipping), ``change`` by the step, and
        the batch's ``loss``.
    """

    name: str
    steps: np.recarray

    def to_csv(self, path: str | os.PathLike[str] | None = None) -> Any:
        """As CSV, every number in full: a text, or, where `path` is given, a file."""
        lines = [self.steps.dtype.names or (), *(map(repr, row.tolist()) for row in self.steps)]
        text = "".join(",".join(line) + "\n" for line in lines)
        return text if path is None else write_atomically(path, text.encode())

    def plot(self) -> Any:
        """A matplotlib figure: value, gradient and change by step."""
        from glassprop.glass.pictures import draw_watched

        return draw_watched(self.name, self.steps)


class Replay:
    """A recorded run, to go back to. Made by `replay`.

    Attributes
    ----------
    network : Network
    optimizer : update rule
    steps, epochs : int
        How far it came.
    steps_per_epoch : int
    diverged : bool
    stopped : str
        Why it ended.
    table_rows : ndarray or None
        Where the rows of X come from a larger table: their numbers in it, which are then shown.
    """

    def __init__(self, folder: Path, facts: dict[str, Any], settings: Settings, data: Data) -> None:
        self.folder, self._settings, self._data = folder, settings, data
        self.table_rows: np.ndarray | None = None
        self.network, self.optimizer = settings.network, settings.optimizer
        self.steps, self.epochs, self.stopped, self.diverged = (facts[n] for n in ("steps", "epochs", "stopped", "diverged"))
        self.steps_per_epoch = -(-data.rows // settings.batch_size)
        if (last := step_of(checkpoints(folder)[-1])) > self.steps:  # nobody has written how it ended
            self.steps, self.epochs, self.diverged = last, last // self.steps_per_epoch, False
            self.stopped = f"broken off; its last checkpoint is that of step {last:,}"

    def __repr__(self) -> str:
        taken = f"{self.steps:,} steps in {self.epochs:,} epochs"
        return f"Replay({os.fspath(self.folder)!r}: {self.network}, {taken}; {self.stopped})"

    def at(self, step: int) -> Run:
        """The run as it was before `step` (from 0), to the bit: its last parameters, its rule's state.

        Continued by ``resume``, it takes the same steps again. Which parameters were best until then is forgotten.
        """
        return self._to(self._check(step)).run

    def moment(self, step: int) -> tuple[Moment, np.ndarray]:
        """What `step` starts from, and the numbers in the table of the rows of its minibatch."""
        return self._moment(self._to(self._check(step)))

    def explain(
        self,
        step: int,
        row: int = 0,
        *,
        steps: int = 1,
        neurons: int = 10,
        full: bool = False,
        names: Mapping[str, Any] | None = None,
        progress: bool = False,
    ) -> Explanation:
        """The step with every number, as `explain` shows it, dropout included.

        Parameters
        ----------
        step : int
            From 0; the one after the last is that which the run would have taken next, and is said to be so.
        row : int
            Of its minibatch, from 0.
        steps, neurons, full, progress : as of `explain`
        names : mapping, optional
            ``input_names`` and ``output_names`` as of `explain`.

        Raises
        ------
        ValueError
            Where there is no such step or row.
        """
        loop = self._to(self._check(step))

        def moments() -> Any:
            while True:
                moment, rows = self._moment(loop)
                rows = rows if self.table_rows is None else self.table_rows[rows]
                end = "" if loop.step < self.steps else ", in a step that the run did not take"
                yield moment, f"row {{}} of the table, in epoch {loop.step // self.steps_per_epoch + 1}{end}", rows
                self._take(loop, loop.step + 1)

        return explain_moments(moments(), steps, row, None if full else neurons, dict(names or {}), True, progress)

    def watch(self, name: str, first: int = 0, last: int | None = None) -> Watched:
        """Follow one weight or bias through steps `first` to `last` (exclusive).

        Parameters
        ----------
        name : str
            As ``"W1[3,7]"`` or ``"b2[0]"``: layers from 1, entries from 0, W as (fan_in, fan_out).
        first, last : int
            None: to the end.

        Raises
        ------
        ValueError
            Where there is no such entry or no such step.
        """
        tensor, place = self._entry(name)
        last = self.steps if last is None else self._check(last, "last")
        loop, rows = self._to(self._check(first, "first")), []
        if first >= last:
            raise ValueError(f"last must be greater than first, {first}; got {last}")
        theta, gradient = (
            getattr(loop.run.parameters.with_theta(loop.work[part]), tensor[0]) for part in ("theta", "gradient")
        )
        loop.work.set(at_once=0)  # the gradient is wanted as a whole
        l = int(tensor[1:]) - 1
        for step in range(first, last):
            value = theta[l][place]
            self._take(loop, step + 1)
            rows.append((step, value, gradient[l][place], theta[l][place] - value, loop.work.progress["loss"][0]))
        kinds = [("step", np.int64), *((part, np.float64) for part in ("value", "gradient", "change", "loss"))]
        return Watched(name.replace(" ", ""), np.rec.array(rows, dtype=kinds))

    def divergence(self) -> np.recarray:
        """The last steps before the one where numbers ceased to be finite: ``step``, ``loss``, ``gradient_norm``.

        The last row is that step itself, which was not taken.

        Raises
        ------
        ValueError
            Where the run did not diverge.
        """
        if not self.diverged:
            raise ValueError(f"the run did not diverge: {self.stopped}")
        loop, rows = self._to(max(0, self.steps - LAST_STEPS)), []
        for step in range(loop.step, self.steps + 1):
            self._take(loop, step + 1, refused=step == self.steps)
            rows.append((step, *(float(loop.work.progress[name][0]) for name in ("loss", "gradient_norm"))))
        return np.rec.array(rows, dtype=[("step", np.int64), ("loss", np.float64), ("gradient_norm", np.float64)])

    # --- inside ----------------------------------------------------------------------------------------------------------

    def _check(self, step: Any, name: str = "step") -> int:
        """A step that was taken, or that would come next."""
        if not is_whole(step) or not 0 <= step <= self.steps:
            told = f"{self.steps}, the step that would come after those of the run"
            raise ValueError(f"{name} must be a whole number from 0 to {told}; got {step!r}")
        return int(step)

    def _entry(self, name: str) -> tuple[str, tuple[int, ...]]:
        layers = self.network.layers
        found = ENTRY.fullmatch(name) if isinstance(name, str) else None
        if not found:
            example = f'"W1[{layers[0] - 1},{layers[1] - 1}]" or "b1[{layers[1] - 1}]"'
            raise ValueError(f"the entry must be written as {example}, layers from 1, entries from 0; got {name!r}")
        kind, layer, *numbers = found.groups()
        place = tuple(int(number) for number in numbers if number is not None)
        if not 1 <= int(layer) < len(layers):
            raise ValueError(f"{name}: the network has layers 1 to {len(layers) - 1}")
        shape = (layers[int(layer) - 1], layers[int(layer)])[0 if kind == "W" else 1 :]
        if len(place) != len(shape) or any(i >= size for i, size in zip(place, shape, strict=True)):
            last = f"{kind}{layer}[{','.join(str(size - 1) for size in shape)}]"
            raise ValueError(f'{name}: {kind}{layer} is of shape {shape}, entries from 0; the last is "{last}"')
        return kind + layer, place

    def _to(self, step: int) -> Loop:
        """The run's memory before `step`."""
        path = [path for path in checkpoints(self.folder) if step_of(path) <= step][-1]
        network, dtype = self.network, self._data.X.dtype
        tensors = read_tensors(path)
        like = Parameters(network.layers, dtype)
        beginning = np.zeros((2, like.theta.size), dtype) if step_of(path) == 0 else None
        theta, state = tensors.get("theta"), tensors.get("state", beginning)
        if theta is None or state is None or theta.shape != like.theta.shape or theta.dtype != dtype:
            raise ValueError(f"{os.fspath(path)}: not a checkpoint of this run, or of another version of glassprop")
        like.theta[:] = theta
        run = Run(self._settings, self._data, like.theta)
        run._checkpoint = {"state": state, "best": theta.copy(), "progress": _progress(step_of(path))}
        loop = Loop(run, max(1, -(-(self.steps + 1) // self.steps_per_epoch)))
        self._take(loop, step)
        run._theta, run.parameters = loop.work["theta"], run.parameters.with_theta(loop.work["theta"].copy())
        run._checkpoint = {"state": loop.work["state"], "best": run.parameters.theta.copy(), "progress": _progress(step)}
        run.history = self._history()[: step // self.steps_per_epoch].view(np.recarray)
        return loop

    def _take(self, loop: Loop, until: int, refused: bool = False) -> None:
        """Take the steps up to `until`, with the run's minibatches and dropout."""
        while loop.step < until:
            epoch = loop.step // self.steps_per_epoch
            last = min(until, (epoch + 1) * self.steps_per_epoch)
            loop._prepare(epoch, epoch + 1, last)
            loop.step = loop.work.run(loop.step, last, STEP)
            if loop.work.progress["status"][0] == DIVERGED:
                if refused:
                    return
                raise ValueError(f"step {loop.step} was not finite, as in the run; no step follows it")

    def _moment(self, loop: Loop) -> tuple[Moment, np.ndarray]:
        settings, data, step = self._settings, self._data, loop.step
        epoch, within = divmod(step, self.steps_per_epoch)
        numbers = RowOrder(data, settings.seed, settings.shuffle).of(epoch)
        rows = numbers[within * settings.batch_size : (within + 1) * settings.batch_size].copy()
        weights = None if data.weights is None else data.weights[rows]
        parameters = loop.run.parameters.with_theta(loop.work["theta"].copy())
        moment = Moment(
            self.network, parameters, data.X[rows], data.Y[rows], weights, self.optimizer, loop.work["state"].copy(), step,
            settings.seed, settings.precision == "bf16",
        )  # fmt: skip
        return moment, rows

    def _history(self) -> np.recarray:
        path = self.folder / "history.safetensors"
        columns = read_tensors(path) if path.exists() else {}
        told = len(columns.get("epoch", ()))
        history: Any = np.recarray(max(told, self.epochs), HISTORY)  # more where a run was broken off
        history["epoch"] = np.arange(len(history)) + 1
        for name in (HISTORY.names or ())[1:]:
            history[name] = np.append(columns.get(name, np.full(told, np.nan)), np.full(len(history) - told, np.nan))
        return history


@names_arguments
def replay(
    folder: str | os.PathLike[str],
    X: Any,
    Y: Any,
    *,
    weights: Any = None,
    activations: Mapping[str, Activation] | None = None,
    losses: Mapping[str, Loss] | None = None,
    learning_rate: Any = None,
) -> Replay:
    """Open what ``train(..., record=folder)`` left, with the same data, to go back to any of its steps.

    Parameters
    ----------
    folder : path
    X : array, (rows, inputs)
    Y : array, (rows, outputs) or (rows,)
        The table that was trained on, rows held out for validation included where a fraction was.
    weights : array, (rows,), optional
        Row weights, where there were any.
    activations : mapping of str to Activation, optional
        Your own activations by name, where the network has any.
    losses : mapping of str to Loss, optional
        Your own loss by its name, where the network has one.
    learning_rate : function of the step, optional
        Your own, where the rule had one: a folder holds no code.

    Returns
    -------
    Replay

    Raises
    ------
    FileNotFoundError, ValueError
        Where there is no recorded run, it is damaged, or the data are not those of the run: the message says in what.

    Examples
    --------
    >>> import tempfile
    >>> import glassprop as gp
    >>> X, Y, folder = [[0, 0], [0, 1], [1, 0], [1, 1]], [0, 1, 1, 0], tempfile.mkdtemp()
    >>> network = gp.Network((2, 8, 1), activation="tanh", loss="binary_cross_entropy", dropout=0.1)
    >>> run = gp.train(network, X, Y, epochs=30, batch_size=2, seed=0, record=folder)
    >>> recorded = gp.replay(folder, X, Y)
    >>> recorded
    Replay(...: Network((2, 8, 1), ...), 60 steps in 30 epochs; 30 epochs done)
    >>> before = recorded.at(37)            # the run as it was before step 37, to the bit
    >>> len(recorded.watch("W1[0,3]").steps)
    60
    """
    path = Path(folder)
    facts = _facts(path)
    try:
        network = network_of(facts["network"], activations, losses)
        optimizer = optimizer_of(facts["optimizer"], learning_rate)
        recorded, rows = facts["data"], facts["rows"]
        X, Y, weights = _same_data(network, recorded, X, Y, weights)
        chosen = read_tensors(path / "rows.safetensors")["chosen"] if (path / "rows.safetensors").exists() else None
        if optimizer is None:
            name = facts["optimizer"]["learning_rate"]["name"]
            raise ValueError(f"learning_rate must be given: the run had a function of its author's, {name!r}")
        check_precision(facts["precision"])
        settings = Settings(
            network, optimizer, facts["batch_size"], facts["seed"], facts["shuffle"], 0, 0.0, None, False, (), False, None,
            facts["precision"],
        )  # fmt: skip
        if not checkpoints(path) or step_of(checkpoints(path)[0]) != 0:
            raise ValueError(f"{os.fspath(folder)}: its first checkpoint is missing")
        data = Data(X, Y, weights, chosen, None)
        if data.rows != rows:
            raise ValueError(f"{os.fspath(folder)}: names {data.rows} rows to train on in place of {rows}")
        return Replay(path, facts, settings, data)
    except UnknownOwn as error:
        what, argument = error.hint
        raise ValueError(f"{os.fspath(folder)}: uses {what}: give {argument}") from None
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{os.fspath(folder)}: its run.json is damaged ({type(error).__name__}: {error})") from None


def _facts(path: Path) -> dict[str, Any]:
    if not path.is_dir():
        raise missing_file(path, "recorded run")
    if not (path / "run.json").exists():
        raise ValueError(f"{os.fspath(path)}: not a recorded run (it holds no run.json); train with record={os.fspath(path)!r}")
    try:
        facts = json.loads((path / "run.json").read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{os.fspath(path)}: its run.json is damaged ({error})") from None
    if not isinstance(facts, dict) or facts.get("format") != "glassprop-run":
        raise ValueError(f"{os.fspath(path)}: not a recorded run of glassprop")
    if facts.get("format_version") != FORMAT_VERSION:
        raise ValueError(
            f"{os.fspath(path)}: recorded in format {facts.get('format_version')}; this one reads {FORMAT_VERSION}"
        )
    return facts


def _same_data(network: Network, recorded: dict[str, Any], X: Any, Y: Any, weights: Any) -> tuple[Any, Any, Any]:
    """The arrays as training had them; raise where they are others."""
    dtype = np.dtype(recorded["X"]["dtype"])
    X = check_inputs(network, X, dtype)
    Y = check_targets(network, Y, len(X), dtype)
    weights = check_weights(weights, len(X), dtype)
    for name, array in (("X", X), ("Y", Y), ("weights", weights)):
        was, found = recorded[name], fingerprint(array)
        if was == found:
            continue
        if was is None or found is None:
            raise ValueError(f"{name} must be given: the run had some" if found is None else f"{name}: the run had none")
        if was["shape"] != found["shape"]:
            before, now = tuple(was["shape"]), tuple(found["shape"])
            raise ValueError(f"the data have changed: {name} was of shape {before}, and is of {now}")
        raise ValueError(f"the data have changed: {name} holds other numbers than when the run was recorded")
    return X, Y, weights


def _progress(step: int) -> np.ndarray:
    progress = np.zeros(1, PROGRESS)
    progress["step"], progress["best"] = step, np.inf
    return progress
