"""A first run: what a second process compiles for it, and that it does without where there is none."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from glassprop.core import stages

F32 = np.dtype("float32")


class Recorder:
    """Stands for subprocess.Popen."""

    def __init__(self, takes: float = 0.0, error: type[Exception] | None = None) -> None:
        self.takes, self.error, self.calls, self.waited = takes, error, [], []
        self.killed = False

    def __call__(self, command: list[str], **options: Any) -> Recorder:
        self.calls.append(command)
        if self.error:
            raise self.error
        return self

    def wait(self, longest: float | None = None) -> int:
        self.waited.append(longest)
        if longest is not None and self.takes > longest:
            raise subprocess.TimeoutExpired("python", longest)
        return 0

    def kill(self) -> None:
        self.killed = True


@pytest.fixture
def first_run(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Nothing is compiled, and there are two processors."""
    monkeypatch.setattr(stages, "_prepared", set())
    monkeypatch.setattr(stages, "_second", [])
    monkeypatch.setattr(stages, "will_compile", lambda dtype: True)
    monkeypatch.setattr(stages, "available_threads", lambda: 2)
    monkeypatch.setattr(stages, "keeps_code", lambda entry: True)
    monkeypatch.setattr(sys, "executable", "/somewhere/python3")
    return monkeypatch


def started(patch: pytest.MonkeyPatch, process: Recorder | None = None) -> Recorder:
    process = process or Recorder()
    patch.setattr(stages.subprocess, "Popen", process)
    for _ in range(2):  # once for each precision
        stages.prepare(F32)
    return process


def test_a_second_process_helps_a_first_run(first_run: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    process = started(first_run)
    ((interpreter, _, code),) = process.calls
    assert interpreter == "/somewhere/python3"
    assert code.endswith("from glassprop.core.stages import compile_last; compile_last('float32')")
    assert capsys.readouterr().err == "glassprop: compiling for this machine, once; it takes a few seconds\n"
    assert stages.last_stages(F32) == stages.stages(F32, "last")
    assert process.waited == [stages.LONGEST]
    stages.last_stages(F32)
    assert len(process.waited) == 1


@pytest.mark.parametrize(
    "change",
    [
        lambda patch: patch.setattr(stages, "will_compile", lambda dtype: False),
        lambda patch: patch.setattr(stages, "available_threads", lambda: 1),
        lambda patch: patch.setattr(stages, "keeps_code", lambda entry: False),
        lambda patch: patch.setattr(sys, "frozen", True, raising=False),
        lambda patch: patch.setattr(sys, "executable", "/usr/bin/uwsgi"),
        lambda patch: patch.setattr(sys, "executable", None),
    ],
    ids=["compiled", "one processor", "no disk", "an application", "an embedded interpreter", "an unknown one"],
)
def test_there_is_no_second_process_where_it_could_not_help(change: Any, first_run: pytest.MonkeyPatch) -> None:
    change(first_run)
    assert not started(first_run).calls
    assert stages.last_stages(F32)


def test_a_second_process_that_cannot_be_started_is_not_missed(first_run: pytest.MonkeyPatch) -> None:
    assert len(started(first_run, Recorder(error=PermissionError)).calls) == 1
    assert stages.last_stages(F32)


def test_a_second_process_that_does_not_end_is_not_waited_for_for_ever(first_run: pytest.MonkeyPatch) -> None:
    process = started(first_run, Recorder(takes=1e9))
    assert stages.last_stages(F32)
    assert process.killed
    assert process.waited == [stages.LONGEST, None]


@pytest.mark.parametrize("helps", [True, False])
def test_the_machine_code_of_a_second_process_is_used(helps: bool, tmp_path: Path) -> None:
    """From an empty folder. Without one, or where it fails, everything is compiled here."""
    code = (
        "import numpy as np, glassprop as gp; from glassprop.core import jit, stages, step;"
        "start = stages._start_second;"
        f"stages._start_second = start if {helps} else lambda statement: start('raise SystemExit(1)');"
        "X = np.zeros((8, 2), 'float32'); gp.train(gp.Network((2, 3, 1)), X, X[:, 0], epochs=1, seed=0);"
        "hits = {d.py_func.__name__: sum(d.stats.cache_hits.values()) for d in [step.run, *jit._kernels]};"
        "print(hits['run'], hits['gradient'], hits['forward'])"
    )
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path), "NUMBA_NUM_THREADS": "2"}
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=environment)
    assert done.stdout.split() == (["1", "1", "0"] if helps else ["0", "0", "0"])
    assert done.stderr == "glassprop: compiling for this machine, once; it takes a few seconds\n"


def test_the_entry_is_there_before_threads_need_it() -> None:
    """In either precision: it would be compiled in several threads at once, where Ctrl-C is not heard."""
    code = (
        "import numpy as np; from glassprop.core import step, workspace; from glassprop import Network;"
        "make = lambda dtype: workspace.Workspace(Network((2, 1)), np.zeros(64, dtype), np.zeros((8, 2), dtype), batch_size=8);"
        "counts = [(make(dtype), len(step.run.signatures))[1] for dtype in ('float64', 'float32', 'float64')]; print(*counts)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["1", "2", "2"]


@pytest.mark.parametrize("table", stages._TABLES)
def test_stages_take_records_and_not_long_lists(table: str) -> None:
    """Those of a step the plan, the table of layers and the batch; those within them one or two layers, and a place."""
    for name, (body, takes) in stages._TABLES[table].items():
        assert len(takes) == len(inspect.signature(body).parameters) <= 9
        if table in ("parts", "portions") or name == "add_dots":
            assert takes.startswith(("PRB", "PRRB"))
        else:
            assert takes == "PLBu"
