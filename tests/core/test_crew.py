"""How many threads work together: as many as gain, whatever else runs on the machine; it changes no number."""

from __future__ import annotations

import itertools
import math
import threading
import time

import numpy as np
import pytest

import cases
import glassprop as gp
from glassprop.core import crew, workspace
from glassprop.core.crew import Crew
from glassprop.core.plan import FORWARD, OUTPUT


def lead(crew: Crew, seconds: float, pace: dict[int, float], share: float) -> list[int]:
    """Sizes over time, where a step of n threads takes ``pace[n]`` seconds, they have `share` of it, and a call 0.2 s."""
    sizes, passed = [], 0.0
    while passed < seconds:
        size = crew.size
        steps = min(crew.steps(), int(0.2 / pace[size]))
        taken = steps * pace[size]
        crew.learn(steps, taken, share * size * taken)
        sizes.append(size)
        passed += taken
    return sizes


def test_threads_that_have_their_time_stay() -> None:
    assert set(lead(Crew(4), 60.0, {4: 1e-3}, 0.98)) == {4}


def test_half_as_many_are_tried_where_others_have_the_processors_and_stay_if_they_gain() -> None:
    team = Crew(4)
    sizes = lead(team, 0.3, {4: 10e-3, 2: 3e-3, 1: 1e-3}, 0.5)
    assert [size for size, _ in itertools.groupby(sizes)] == [4, 2]
    lead(team, 3.0, {4: 10e-3, 2: 3e-3, 1: 1e-3}, 0.5)
    assert team.size == 1
    # the machine is free again
    lead(team, 3.0, {4: 0.3e-3, 2: 0.6e-3, 1: 1e-3}, 0.98)
    assert team.size == 4


def test_trials_that_gain_nothing_are_rare_and_short() -> None:
    team = Crew(2)
    pace = {2: 1e-3, 1: 1.5e-3}
    sizes = lead(team, 60.0, pace, 0.5)
    trials = [len(list(group)) for size, group in itertools.groupby(sizes) if size == 1]
    assert trials == [1] * len(trials)
    assert sum(trials) * crew.TRIAL * pace[1] / pace[2] < 0.01 * 60
    assert 6 <= len(trials) <= 10  # after 0, 0.5, 1, 2, 4, 8, 16 seconds, and so on
    assert team.size == 2


def test_the_first_window_is_short_and_starts_no_trial() -> None:
    """How long a step takes is not known yet, and memory is touched for the first time."""
    team = Crew(2)
    for size in (2, 1):
        assert team.steps() == crew.FIRST_STEPS
        team.learn(crew.FIRST_STEPS, 0.04, 0.04)
        assert team.size == size
    assert team.steps() == pytest.approx(crew.TRIAL * crew.FIRST_STEPS / 0.04)


def test_short_windows_are_judged_together() -> None:
    """Starting threads took much of each. While others are there, windows stay short: the next steps may take much longer."""
    team, steps, seconds = Crew(2), crew.FIRST_STEPS, crew.LEAST / 4
    for _ in range(7):
        team.learn(steps, seconds, seconds)
        assert (team.size, team.steps()) == (2, steps)
    team.learn(steps, seconds, seconds)
    assert team.size == 1


def test_one_window_in_which_time_was_lacking_changes_nothing() -> None:
    """The system may have started a thread on the processor of another."""
    team = Crew(2)
    for worked in (0.04, 0.02, 0.04, 0.04, 0.02):
        team.learn(20, 0.02, worked)
        assert team.size == 2
    team.learn(8, 0.008, 0.008)  # with the next one, a window
    team.learn(12, 0.017, 0.017)
    assert team.size == 1
    team.learn(20, 0.0185, 0.0185)  # less than in the slower of the two windows, not than in the faster one
    assert team.size == 2


def test_windows_grow_where_nobody_else_is_there() -> None:
    team = Crew(2)
    team.learn(crew.FIRST_STEPS, 1e-4, 2e-4)
    assert team.steps() == crew.GROWTH * crew.FIRST_STEPS
    team.learn(1000, 0.025, 0.05)
    assert team.steps() == 1000 * crew.GROWTH
    assert team.size == 2


def test_windows_grow_while_starting_threads_takes_most_of_them() -> None:
    team = Crew(2)
    for windows in range(3):
        steps = team.steps()
        assert steps == crew.FIRST_STEPS * crew.GROWTH**windows
        team.learn(steps, 1e-4 + 1e-6 * steps, 1e-4 + 2e-6 * steps)
    assert team.size == 2


@pytest.mark.parametrize("layers", [(40, 130, 70, 3), (100, 330, 260, 3)])  # panels shared out, and units
def test_a_run_whose_threads_come_and_go_has_the_same_bits(layers: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Patience that ends at a window's last step ends the run there, too."""
    for flops in ("FLOPS_FOR_THREADS", "FLOPS_PER_SHARER"):
        monkeypatch.setattr(workspace, flops, 1e-9)
    used: list[int] = []

    class Restless(Crew):
        def steps(self) -> int:
            self.size = 1 + len(used) % self.most
            used.append(self.size)
            return 1 + len(used) % 3

        def learn(self, steps: int, seconds: float, worked: float) -> None:
            assert steps > 0
            assert 0 <= worked < 1 + 8 * seconds

    case = cases.case(layers, rows=220, activation="gelu", dropout=[0.2, 0.0])
    asked = {"validation": 0.3, "epochs": 60, "batch_size": 64, "seed": 0, "patience": 3, "optimizer": gp.Adam(0.05)}
    one = gp.train(case.network, case.X, case.Y, threads=1, **asked)
    monkeypatch.setattr(workspace, "Crew", Restless)
    several = gp.train(case.network, case.X, case.Y, threads=3, **asked)
    assert set(used) == {1, 2, 3}
    assert one.epochs == several.epochs < 60
    np.testing.assert_array_equal(one.parameters.theta, several.parameters.theta)
    np.testing.assert_array_equal(one.history.validation_loss, several.history.validation_loss)


def test_a_call_in_windows_goes_on_where_the_one_before_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    for flops in ("FLOPS_FOR_THREADS", "FLOPS_PER_SHARER"):
        monkeypatch.setattr(workspace, flops, 1e-9)
    memory = cases.workspace(cases.case((5, 70, 1), rows=640), gp.SGD(), 64, 10, threads=2)
    asked: list[tuple[int, int, int]] = []
    monkeypatch.setattr(memory, "_run", lambda first, last, parts, threads: asked.append((first, last, parts)) or last)
    assert memory.run(0, 100, FORWARD | OUTPUT) == 100
    firsts, lasts, parts = zip(*asked, strict=True)
    assert (firsts[0], *lasts[:-1]) == firsts
    assert len(asked) > 1
    assert set(parts) == {FORWARD | OUTPUT}


def test_threads_are_judged_by_their_own_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not by that of the process, in which other runs are at work, too."""
    told: list[tuple[float, float]] = []

    class Listening(Crew):
        def learn(self, steps: int, seconds: float, worked: float) -> None:
            told.append((seconds, worked))

    monkeypatch.setattr(workspace, "Crew", Listening)
    for flops in ("FLOPS_FOR_THREADS", "FLOPS_PER_SHARER"):
        monkeypatch.setattr(workspace, flops, 1e-9)
    memory = cases.workspace(cases.case((5, 70, 1), rows=640), gp.SGD(), 64, 10, threads=2)
    monkeypatch.setattr(workspace, "run", lambda *rest: time.sleep(0.05) or 100)
    busy = threading.Thread(target=lambda: [math.sqrt(x) for x in range(3_000_000)])
    busy.start()
    memory.run(0, 100, FORWARD)
    busy.join()
    assert all(worked < 0.02 < seconds for seconds, worked in told)
