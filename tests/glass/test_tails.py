"""The objective as a function of some parameters alone, held against the whole network's."""

from __future__ import annotations

import numpy as np
import pytest

import cases
import glassprop as gp
from glassprop.glass import checked, tails
from glassprop.glass.differences import Objective, central_differences, entry_numbers
from glassprop.glass.explain import _by_hand as by_hand
from glassprop.glass.tails import Tails
from tests.glass.test_explain import explained

DEPTHS = [(3, 2), (3, 4, 2), (3, 5, 4, 2), (2, 4, 3, 5, 2)]


@pytest.fixture
def split(monkeypatch):
    """However little there is to compute, only what depends on the parameters is run."""
    monkeypatch.setattr(tails, "LITTLE", 0.0)


def entries_of(layers):
    """Layer, neuron and source of every entry, and its place in theta: weights before biases."""
    numbers = entry_numbers(gp.Parameters(layers))
    rows = []
    for l, (W, b) in enumerate(zip(numbers.W, numbers.b, strict=True), start=1):
        rows += [(l, j, i, W[i, j]) for i in range(W.shape[0]) for j in range(W.shape[1])]
        rows += [(l, j, -1, b[j]) for j in range(len(b))]
    return np.array(rows).astype(np.int64).T


def both(case, seed=None):
    """Central differences of all entries, of shares and of the whole."""
    layers, units, sources, places = entries_of(case.network.layers)
    if seed is not None:
        order = np.random.default_rng(seed).permutation(len(layers))
        layers, units, sources, places = (column[order] for column in (layers, units, sources, places))
    whole = central_differences(Objective(case.network, case.parameters, case.X, case.Y, case.weights), places)
    found = np.full((3, len(places)), np.nan)
    for function, numbers, members in Tails(case.network, case.parameters, case.X, case.Y, case.weights).shares(
        layers, units, sources
    ):
        assert np.isnan(found[0, members]).all()  # each has one turn
        part = central_differences(function, numbers)
        found[:, members] = part.slope, part.uncertainty, part.kink
    return found, whole


def assert_the_same(found, whole):
    slope, uncertainty, kink = found
    np.testing.assert_array_equal(kink.astype(bool), whole.kink)
    clear = ~whole.kink
    assert clear.mean() > 0.9
    assert (np.abs(slope - whole.slope) <= uncertainty + whole.uncertainty)[clear].all()
    assert np.abs(slope - whole.slope)[clear].max() < 1e-9 * np.abs(whole.slope).max()


@pytest.mark.parametrize("layers", DEPTHS)
@pytest.mark.parametrize("penalty", cases.PENALTIES)
@pytest.mark.parametrize("loss", cases.LOSSES)
def test_losses_penalties_and_depths(loss, penalty, layers, split):
    case = cases.case(layers, loss=loss, rows=6, weighted=True, **cases.PENALTIES[penalty])
    assert_the_same(*both(case, seed=1))


@pytest.mark.parametrize("activation", cases.SMOOTH)
def test_activations(activation, split):
    assert_the_same(*both(cases.case((3, 6, 5, 2), activation=activation, rows=40, l2=0.1)))


def test_mixed_and_own_activations(split):
    bent = gp.Activation("bent", lambda g: g + g * g / 9, lambda g: 1 + 2 * g / 9)
    case = cases.case((3, 6, 5, 2), activation=["tanh", "softplus"], output_activation="sigmoid", rows=20)
    assert_the_same(*both(case))
    network = gp.Network((3, 6, 5, 2), [bent, "silu"], loss="absolute_error", l1=0.01)
    assert_the_same(*both(cases.replace(case, network=network)))


def test_kinks_of_a_layer_below_are_seen_above(split):
    """b of a ReLU at g = 0, in the first of three layers."""
    network = gp.Network((1, 2, 2, 1), activation="relu")
    W = [[[1.0, 1.0]], [[1.0, 0.4], [0.3, 1.0]], [[1.0], [1.0]]]
    parameters = gp.Parameters.from_arrays(W, [[-1.0, 0.5], [0.1, 0.2], [0.0]])
    check = gp.explain(network, parameters, [[1.0]], [3.0]).steps[0].check
    assert check.kinks == 2
    assert check.passed


def test_small_networks_are_run_as_a_whole():
    case = cases.case((3, 4, 2))
    assert Tails(case.network, case.parameters, case.X, case.Y).whole
    large = cases.case((30, 400, 2))
    assert not Tails(large.network, large.parameters, large.X, large.Y).whole


def test_what_was_given_is_left_alone(split):
    case = cases.case((3, 4, 3, 2))
    X, theta = case.X.copy(), case.parameters.theta.copy()
    both(case)
    np.testing.assert_array_equal(case.X, X)
    np.testing.assert_array_equal(case.parameters.theta, theta)


def test_a_wrong_slope_in_the_first_of_three_layers_is_told(split):
    """φ′ too large by 0.1 %: what lies below is wrong, what lies above is right."""
    bent = gp.Activation("bent", lambda g: g + g * g / 9, lambda g: 1.001 * (1 + 2 * g / 9))
    network = gp.Network((2, 3, 4, 1), activation=[bent, "tanh"])
    check = gp.explain(network, network.initialize(0), [[0.5, -1.0]], [1.0]).steps[0].check
    assert not check.passed
    assert check.wrong == 9


@pytest.mark.parametrize("penalties", [{"l2": 0.1}, {"l1": 0.01}])
def test_a_penalty_forgotten_in_the_gradient_is_told(penalties, split):
    """The gradient of one objective, held against another."""
    case, without = cases.case((3, 4, 2), **penalties), cases.case((3, 4, 2))
    moment, _, _ = next(by_hand(case.network, case.parameters, case.X, case.Y, None, None, None, None))
    check = checked.with_check(moment, explained(without, check=False)).check
    assert not check.passed
    assert check.wrong == case.network.n_parameters - 6  # of which 6 are biases, without a penalty
