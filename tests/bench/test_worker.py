"""A competitor's process: what it answers, and what is said when it fails."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from glassprop.bench import compare, peers, tasks
from glassprop.bench.compare import Failed, Worker
from glassprop.bench.statistics import Sample


def test_it_answers_ready_samples_and_memory():
    worker = Worker("sklearn", tasks.TASKS["tiny"], 1)
    try:
        assert worker.facts["first_fit_seconds"] > 0
        assert worker.facts["import_seconds"] > 0
        peaks = iter((7.0, 5.0))
        sample = worker.sample(lambda: next(peaks))
        assert sample.peak == 5.0  # the lower of before and after
        assert sample.steps == sample.epochs * 512
        assert sample.seconds > 0
        assert worker.end() > 10_000_000
    finally:
        worker.kill()


def test_its_last_words_are_the_reason():
    with pytest.raises(Failed, match="KeyError: 'nonsense'"):
        Worker("fann", tasks.Task("nonsense", (2, 1), 1, 1), 1)


def test_a_peers_process_does_not_hold_glassprops_compiler():
    code = "import sys; sys.path.pop(0); import worker; worker._bare_package(); import glassprop.bench.peers as p; "
    code += "print(sorted({'numba', 'glassprop.core', 'numpy'} & set(sys.modules)), len(p.PEERS) > 3)"
    folder = Path(compare.__file__).parent
    code = code.replace("sys.path.pop(0)", f"sys.path.insert(0, {str(folder)!r})")
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert told.strip() == "[] True"


def test_environment(monkeypatch):
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    monkeypatch.setenv("OPENBLAS_L2_SIZE", "1")
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    one, all_cores = peers.environment(1), peers.environment(2)
    for environment in (one, all_cores):
        assert not {"OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"} & set(environment)
        assert environment["KERAS_BACKEND"] == "jax"
    assert one["OMP_NUM_THREADS"] == one["OPENBLAS_NUM_THREADS"] == "1"
    assert "multi_thread_eigen=false" in one["XLA_FLAGS"]
    assert "OMP_NUM_THREADS" not in all_cores
    assert "XLA_FLAGS" not in all_cores


class FakeWorker:
    """Answers at once; the third sample of "torch" is its end."""

    taken: list[str] = []  # noqa: RUF012

    def __init__(self, name, task, threads):
        if name == "keras":
            raise Failed("no backend")
        self.name, self.facts = name, {"form": "", "import_seconds": 1.0, "first_fit_seconds": 2.0}

    def sample(self, measure):
        self.taken.append(self.name)
        if self.name == "torch" and self.taken.count("torch") == 3:
            raise Failed("killed")
        slow = self.name == "sklearn" and self.taken.count("sklearn") <= 2
        return Sample({"glassprop": 1.0, "jax": 3.0}.get(self.name, 4.0), 1000, 10, 50.0 if slow else 100.0)

    def end(self):
        return 10**6

    def kill(self):
        pass


def test_samples_are_taken_in_turn_and_who_fails_is_left_out(monkeypatch):
    monkeypatch.setattr(compare, "Worker", FakeWorker)
    monkeypatch.setattr(FakeWorker, "taken", [])
    monkeypatch.setattr(peers.Competitor, "absent", lambda self: "not here" if self.name == "fann" else "")
    told = []
    names = ["glassprop", "jax", "torch", "keras", "sklearn", "fann"]
    result = compare.compare("small", names, 1, 3, told.append)
    assert FakeWorker.taken[:8] == ["glassprop", "jax", "torch", "sklearn"] * 2
    assert FakeWorker.taken.count("sklearn") == 4  # until more than half are steady
    assert FakeWorker.taken.count("glassprop") == 3
    assert result["left_out"] == {"keras": "no backend", "torch": "killed", "fann": "not here"}
    assert any("torch is left out: killed" in text for text in told)
    assert set(result["figures"]) == {"glassprop", "jax", "sklearn"}
    assert (result["best_peer"], result["ratio"]) == ("jax", pytest.approx(3.0))
    assert result["figures"]["sklearn"]["discarded"] == 2


def test_absent_data_are_said(monkeypatch, tmp_path):
    monkeypatch.setenv("GLASSPROP_DATA", str(tmp_path))
    told, own = [], os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    assert [*compare.compare_all(["mnist"], ["glassprop"], [1], 1, told.append)] == []
    assert "GLASSPROP_DATA" in told[0]
    if own:
        assert os.sched_getaffinity(0) == own
