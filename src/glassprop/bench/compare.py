"""The comparison: a process for every competitor, samples taken in turn, the machine's peak beside each. It prints nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from glassprop.bench.peak import measure_peak
from glassprop.bench.peers import PEERS, environment
from glassprop.bench.statistics import Sample, best_peer, highest_peak, ratios, steady, summary
from glassprop.bench.tasks import TASKS, Task, missing

PAUSE = 0.1  # seconds after a sample: threads that wait by spinning have gone to sleep by then
Say = Callable[[str], None]


class Failed(RuntimeError):
    """A competitor's process ended before it should."""


class Worker:
    """The process of one competitor at one task."""

    def __init__(self, name: str, task: Task, threads: int) -> None:
        self.name = name
        threads = PEERS[name].process_threads(threads)
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 (closed in `end`)
        path = Path(__file__).with_name("worker.py")
        command = [sys.executable, str(path), name, task.name, str(threads)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True, env=environment(threads)
        )
        try:
            self.facts: dict[str, Any] = self._answer()["ready"]
        except BaseException:
            self.kill()
            raise

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._errors.seek(0)
            told = self._errors.read().strip().splitlines()
            raise Failed(told[-1] if told else "it ended without a word")
        return json.loads(line)

    def sample(self, measure: Callable[[], float]) -> Sample:
        """One training, with the machine's peak just before and after it."""
        assert self._process.stdin is not None
        before = measure()
        with suppress(BrokenPipeError):  # its last words are in what is read next
            self._process.stdin.write("go\n")
            self._process.stdin.flush()
        answer = self._answer()
        time.sleep(PAUSE)
        return Sample(answer["seconds"], answer["steps"], answer["epochs"], min(before, measure()))

    def end(self) -> int:
        """Let it end; its peak memory in bytes."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            return self._answer()["peak_bytes"]
        finally:
            self.kill()

    def kill(self) -> None:
        """End it at once, if it still runs."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            if stream is not None:
                with suppress(BrokenPipeError):
                    stream.close()


def hold_to(count: int) -> None:
    """Hold the calling thread, and the workers that it starts, to so many processors."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[-count:]))


def processors() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def compare(name: str, peers: Sequence[str], threads: int, rounds: int, say: Say) -> dict[str, Any]:
    """Every competitor at the task `name`, in turn, `rounds` times over; more often where most samples are discarded.

    Returns
    -------
    dict
        ``task``, ``threads``, ``peak_gflops``, ``figures`` by competitor (see `statistics.summary`), ``best_peer``,
        ``ratio``, ``ratios``, and ``left_out``: why, by competitor.
    """
    task, where = TASKS[name], f"{name}, {threads} thread{'s' * (threads > 1)}"
    left_out = {peer: reason for peer in peers if (reason := PEERS[peer].absent() or PEERS[peer].refuses(task, threads))}
    for peer, reason in left_out.items():
        say(f"{where}: {peer} is left out: {reason}")
    workers: dict[str, Worker] = {}
    samples: dict[str, list[Sample]] = {}
    memory: dict[str, int] = {}

    def fail(peer: str, problem: Failed) -> None:
        left_out[peer] = str(problem)
        say(f"{name}: {peer} is left out: {problem}")
        if peer in workers:
            workers.pop(peer).kill()

    def measure() -> float:
        return measure_peak(threads, task.dtype)

    try:
        for peer in peers:
            if peer not in left_out:
                say(f"{where}: {peer} gets ready")
                try:
                    workers[peer] = Worker(peer, task, threads)
                except Failed as problem:
                    fail(peer, problem)
        for turn in range(2 * rounds):
            peak = highest_peak(samples)
            lacking = [peer for peer in workers if turn < rounds or len(steady(samples[peer], peak)) <= rounds // 2]
            if lacking:
                say(f"{where}: round {turn + 1} of {rounds}{', as many were discarded' * (turn >= rounds)}")
            for peer in lacking:
                try:
                    samples.setdefault(peer, []).append(workers[peer].sample(measure))
                except Failed as problem:
                    fail(peer, problem)
        facts = {peer: worker.facts for peer, worker in workers.items()}
        for peer, worker in list(workers.items()):
            try:
                memory[peer] = worker.end()
            except Failed as problem:
                fail(peer, problem)
                del facts[peer]
    finally:
        for worker in workers.values():
            worker.kill()
    return _result(task, threads, samples, facts, memory) | {"left_out": left_out}


def _result(
    task: Task, threads: int, samples: dict[str, list[Sample]], facts: dict[str, dict[str, Any]], memory: dict[str, int]
) -> dict[str, Any]:
    peak = highest_peak(samples)
    figures = {}
    for peer in facts:
        own = {key: facts[peer][key] for key in ("form", "import_seconds", "first_fit_seconds")}
        figures[peer] = summary(samples[peer], peak, task.flops) | own | {"peak_bytes": memory[peer]}
    countable = [peer for peer in figures if PEERS[peer].same_training]
    best, every = best_peer(figures, countable), ratios(figures)
    ratio = {"best_peer": best, "ratio": every.get(best), "ratios": every}
    return {"task": task.name, "threads": threads, "peak_gflops": peak, "figures": figures} | ratio


def compare_all(
    names: Sequence[str], peers: Sequence[str], threads: Sequence[int], rounds: int, say: Say
) -> Iterator[dict[str, Any]]:
    """`compare` for each task and number of threads in turn; tasks whose data are not here are left out, which is said."""
    own = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
    for count in threads:
        try:
            hold_to(count)
            for name in names:
                if reason := missing(TASKS[name]):
                    say(f"{name}: left out: {reason}")
                    continue
                yield compare(name, peers, count, rounds, say)
        finally:
            if own:
                os.sched_setaffinity(0, own)
