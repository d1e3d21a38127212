"""Two ways timed in turn: which rounds count, and what they come to."""

import pytest

from benchmarks import pairs


@pytest.fixture
def peaks(monkeypatch):
    """What the machine's peak is found to be before and after each round."""
    found = []
    monkeypatch.setattr(pairs, "measure_peak", lambda threads: found.pop(0))
    return found


def taken(*seconds):
    """A way that takes so long, one time after another."""
    left = iter(seconds)
    return lambda: next(left)


def test_rounds_beside_which_the_machine_was_slow_do_not_count(peaks):
    peaks += [100, 100, 89, 100, 100, 89, 90, 90]  # before the second round, after the third
    found = pairs.compare(taken(2.0, 50.0, 60.0, 4.0), taken(1.0, 1.0, 1.0, 1.0), 1, 4)
    assert (found.first, found.second) == (3.0, 1.0)
    assert (found.rounds, found.taken) == (2, 4)


def test_a_round_that_was_the_fastest_does_not_count_beside_faster_ones(peaks):
    peaks += [80, 80, 100, 100]
    assert pairs.compare(taken(9.0, 2.0), taken(1.0, 1.0), 1, 2).first == 2.0


def test_more_rounds_are_taken_in_place_of_those_that_do_not_count(peaks):
    peaks += [100, 100, 80, 80, 100, 100, 100, 100]
    found = pairs.compare(taken(1.0, 9.0, 1.0, 1.0), taken(1.0, 1.0, 1.0, 1.0), 1, 2, most=4)
    assert (found.first, found.rounds, found.taken) == (1.0, 2, 3)


def test_they_end_where_the_machine_is_never_steady(peaks):
    peaks += [100, 100, *[50] * 10]
    found = pairs.compare(taken(*range(1, 7)), taken(*[1.0] * 6), 1, 2, most=3)
    assert (found.first, found.rounds, found.taken) == (1, 1, 6)


def test_the_gain_is_the_median_of_each_rounds(peaks):
    peaks += [100] * 6
    found = pairs.compare(taken(1.0, 10.0, 6.0), taken(1.0, 2.0, 3.0), 1, 3)
    assert (found.first, found.second, found.gain) == (6.0, 2.0, 2.0)  # not 6 ÷ 2
