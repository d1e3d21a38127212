"""Which samples count, and what they come to."""

import pytest

from glassprop.bench.statistics import Sample, best_peer, highest_peak, ratios, steady, summary


def samples(*seconds_and_peaks):
    return [Sample(seconds, 1000, 10, peak) for seconds, peak in seconds_and_peaks]


def test_samples_beside_a_slow_machine_do_not_count():
    taken = samples((1.0, 100.0), (9.0, 89.9), (2.0, 90.0))
    assert [sample.seconds for sample in steady(taken, 100.0)] == [1.0, 2.0]
    found = summary(taken, 100.0, 10**6)
    assert found["step_us"] == pytest.approx(1500)
    assert found["best_us"] == pytest.approx(1000)
    assert (found["samples"], found["discarded"], found["unsteady"]) == (3, 1, False)


def test_where_all_are_slow_all_count_and_it_is_said():
    found = summary(samples((1.0, 50.0), (3.0, 50.0)), 100.0, 10**6)
    assert found["step_us"] == pytest.approx(2000)
    assert found["unsteady"]
    assert found["discarded"] == 0


def test_operations_a_second():
    found = summary(samples((1.0, 100.0)), 100.0, flops=25_000_000)  # in 1 ms
    assert found["gflops"] == pytest.approx(25)
    assert found["of_peak"] == pytest.approx(0.25)


def test_ratios_are_of_medians_and_the_best_peer_is_the_fastest():
    figures = {name: {"step_us": us} for name, us in (("glassprop", 2.0), ("jax", 5.0), ("torch", 9.0), ("fann", 1.0))}
    assert ratios(figures) == {"jax": 2.5, "torch": 4.5, "fann": 0.5}
    assert best_peer(figures, ["glassprop", "jax", "torch"]) == "jax"
    assert best_peer({"glassprop": figures["glassprop"]}, ["glassprop", "jax"]) == ""
    assert ratios({"jax": figures["jax"]}) == {}


def test_the_highest_peak_of_all():
    assert highest_peak({"a": samples((1, 5.0)), "b": samples((1, 7.0), (1, 6.0))}) == 7.0
    assert highest_peak({}) == 0.0
