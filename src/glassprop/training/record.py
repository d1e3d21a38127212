"""What a run leaves on disk while it trains: its settings, fingerprints of its data, and a checkpoint now and then.

A step is a function of parameters, state, rows and its number, so that any can be rebuilt from a checkpoint before it, which is
the affair of glass/replay.py. Every file is safe from a power cut before training goes on. A folder holds data only:

    run.json                    settings, fingerprints, how it ended
    rows.safetensors            numbers of the rows trained on, where not all are
    step-000001374.safetensors  theta and (but at step 0) the rule's state before that step, as they lie in memory
    history.safetensors         a column for each number, when training is over
"""

from __future__ import annotations

import json
import os
import time
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from glassprop.files import flush_folder, write_atomically
from glassprop.training.described import describe_network

if TYPE_CHECKING:
    from glassprop.core.workspace import Workspace
    from glassprop.training.run import Run

FORMAT_VERSION = 2  # 1: row orders by NumPy's generator
SHARE = 0.01  # of the time, that writing checkpoints may take
MOST = 64  # checkpoints kept; then every second one is dropped, and they become half as frequent


def check_folder(record: Any) -> str | None:
    """The folder to record in, as a path; raise where it holds a run already or cannot be written."""
    if record is None:
        return None
    if not isinstance(record, (str, os.PathLike)):
        raise TypeError(f"record must be the path of a folder; got {type(record).__name__}")
    path = Path(record)
    if (path / "run.json").exists():
        raise ValueError(f"record: {os.fspath(path)!r} holds a recorded run already; choose another folder, or remove it first")
    if path.exists() and not path.is_dir():
        raise ValueError(f"record must be a folder; {os.fspath(path)!r} is a file")
    if not path.exists():
        path.mkdir(parents=True)
        flush_folder(path.parent)
    if not os.access(path, os.W_OK):
        raise PermissionError(f"{os.fspath(path)}: may not be written; choose another place")
    return os.path.abspath(path)


def fingerprint(array: np.ndarray | None) -> dict[str, Any] | None:
    """Shape, type and CRC-32 of an array: enough to tell that it has changed, at the speed of memory."""
    if array is None:
        return None
    return {"shape": list(array.shape), "dtype": array.dtype.name, "crc32": zlib.crc32(array.data)}


class Recorder:
    """Writes the folder of one run."""

    def __init__(self, run: Run, work: Workspace) -> None:
        self.run, self.work, self.folder = run, work, Path(run._settings.record or "")
        self.kept = [step_of(path) for path in checkpoints(self.folder)]
        self.due = self.pause = 0.0
        data = run._data
        self.data = {name: fingerprint(getattr(data, name)) for name in ("X", "Y", "weights")}
        if run._checkpoint is None:
            if data.chosen is not None:
                self._write("rows.safetensors", {"chosen": data.chosen})
            self.describe()
        self.checkpoint()

    def note(self) -> None:
        """Called after every call of the core: write a checkpoint if it is time for one."""
        if time.perf_counter() >= self.due:
            self.checkpoint()

    def finish(self) -> None:
        """Write how it ended."""
        self._keep()
        history = self.run.history
        self._write("history.safetensors", {name: np.ascontiguousarray(history[name]) for name in history.dtype.names or ()})
        self.describe()
        flush_folder(self.folder)

    def checkpoint(self) -> None:
        """Write parameters and state as they are now, safe from a power cut, and decide when to do so next."""
        begun = time.perf_counter()
        self._keep()
        flush_folder(self.folder)
        ended = time.perf_counter()
        self.pause = max(self.pause, (ended - begun) / SHARE)
        self.due = ended + self.pause

    def _keep(self) -> None:
        step = int(self.work.progress["step"][0])
        if step in self.kept:
            return
        state = {"state": self.work["state"]} if step else {}  # which is zero in the beginning
        self._write(name_of(step), {"theta": self.work["theta"]} | state)
        self.kept.append(step)
        if len(self.kept) > MOST:
            for dropped in self.kept[1:-1:2]:
                (self.folder / name_of(dropped)).unlink(missing_ok=True)
            self.kept = [self.kept[0], *self.kept[2:-1:2], self.kept[-1]]
            self.pause *= 2

    def describe(self) -> None:
        """Write run.json."""
        run, settings = self.run, self.run._settings
        facts = {
            "format": "glassprop-run",
            "format_version": FORMAT_VERSION,
            "network": describe_network(settings.network),
            "optimizer": settings.optimizer.describe(),
            "batch_size": settings.batch_size,
            "seed": settings.seed,
            "shuffle": settings.shuffle,
            "precision": settings.precision,
            "rows": run._data.rows,
            "data": self.data,
            "steps": int(self.work.progress["step"][0]),
            "epochs": run.epochs,
            "stopped": run.stopped,
            "diverged": run.diverged,
        }
        write_atomically(self.folder / "run.json", json.dumps(facts, indent=1, ensure_ascii=False).encode(), flush=False)

    def _write(self, name: str, tensors: dict[str, np.ndarray]) -> None:
        from safetensors.numpy import save

        write_atomically(self.folder / name, save(tensors), flush=False)


def name_of(step: int) -> str:
    """The file of a checkpoint."""
    return f"step-{step:09d}.safetensors"


def step_of(path: Path) -> int:
    """The step of a checkpoint's file."""
    return int(path.stem.removeprefix("step-"))


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in a folder, in the order of their steps."""
    return sorted(folder.glob("step-*.safetensors"), key=step_of)


def read_tensors(path: Path) -> dict[str, np.ndarray]:
    """The tensors of one of the folder's files."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        return dict(load(path.read_bytes()))
    except SafetensorError as error:
        raise ValueError(f"{os.fspath(path)}: damaged or cut short: {error}") from None
