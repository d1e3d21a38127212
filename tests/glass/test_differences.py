"""Central differences against the slow reference's gradient, at kinks, and where rounding or kinks make them inexact."""

import numpy as np
import pytest

import cases
import glassprop as gp
from glassprop.core import passes, workspace
from glassprop.glass.differences import Objective, central_differences, entry_numbers


def all_entries(objective):
    numbers = entry_numbers(objective.parameters)
    return np.concatenate([array.ravel() for array in (*numbers.W, *numbers.b)])


def both(case):
    """Central differences of all entries, and the reference's gradient."""
    objective = Objective(case.network, case.parameters, case.X, case.Y, case.weights)
    found = central_differences(objective, all_entries(objective))
    _, back = case.reference_passes()
    return found, np.concatenate([np.ravel(a) for a in (*back.dW, *back.db)])


@pytest.mark.parametrize("penalty", cases.PENALTIES)
@pytest.mark.parametrize("loss", cases.LOSSES)
def test_slopes_are_those_of_the_reference(loss, penalty):
    case = cases.case((3, 4, 3, 2), loss=loss, rows=6, weighted=True, **cases.PENALTIES[penalty])
    found, wanted = both(case)
    assert not found.kink.any()
    assert np.abs(found.slope - wanted).max() < 1e-10 * np.abs(wanted).max()


@pytest.mark.parametrize("activation", cases.HIDDEN)
def test_the_uncertainty_covers_the_error_and_is_small(activation):
    case = cases.case((3, 6, 5, 2), activation=activation, rows=40)
    found, wanted = both(case)
    clear = ~found.kink
    assert clear.mean() > 0.9
    assert (np.abs(found.slope - wanted) <= found.uncertainty + 1e-16)[clear].all()
    assert found.uncertainty[clear].max() < 1e-6 * np.abs(wanted).max()


def test_the_step_shrinks_until_no_kink_lies_within():
    # the unit's kink lies 1e-5 from b: longer steps see it, and would give 1/2 and something
    network = gp.Network((1, 1, 1), activation="relu")
    parameters = gp.Parameters.from_arrays([[[1.0]], [[1.0]]], [[1e-5], [0.0]])
    objective = Objective(network, parameters, [[0.0]], [-1.0])
    found = central_differences(objective, entry_numbers(parameters).b[0])
    assert not found.kink[0]
    assert found.step[0] < 1e-5
    assert found.slope[0] == pytest.approx(1.00001, rel=1e-9)


def test_a_kink_at_the_entry_itself_is_known():
    network = gp.Network((1, 2, 1), activation="relu")
    parameters = gp.Parameters.from_arrays([[[1.0, 1.0]], [[1.0], [1.0]]], [[0.0, 0.3], [0.0]])
    objective = Objective(network, parameters, [[0.0]], [-1.0])
    found = central_differences(objective, entry_numbers(parameters).b[0])
    assert found.kink.tolist() == [True, False]


def test_many_kinks_close_by_leave_the_slopes_right():
    """5000 rows of a ReLU network with inputs in the thousands: a step of 1e-3 crosses dozens of kinks."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(5000, 4)) * [1, 1, 1000, 1]
    network = gp.Network((4, 8, 1))
    objective = Objective(network, network.initialize(0), X, X[:, 0])
    found, wanted = central_differences(objective, all_entries(objective)), objective.gradient()
    wanted = np.concatenate([np.ravel(a) for a in (*wanted.W, *wanted.b)])
    assert found.step.min() < 2e-4
    assert not found.kink.any()
    assert (np.abs(found.slope - wanted) <= found.uncertainty).all()


def test_the_objective_is_left_as_it_was():
    case = cases.case((3, 4, 2))
    objective = Objective(case.network, case.parameters, case.X, case.Y)
    before = objective.parameters.theta.copy()
    central_differences(objective, all_entries(objective))
    assert np.array_equal(objective.parameters.theta, before)
    assert objective.parameters.theta is not case.parameters.theta


def test_no_entries_no_slopes():
    case = cases.case((3, 4, 2))
    assert central_differences(Objective(case.network, case.parameters, case.X, case.Y), []).slope.shape == (0,)


@pytest.mark.parametrize("l2", [0.0, 0.1])
def test_several_threads_give_the_same_bits(l2, monkeypatch):
    rng = np.random.default_rng(0)
    network = gp.Network((64, 128, 10), loss="cross_entropy", l2=l2)
    X, Y = rng.random((256, 64)), rng.integers(0, 10, 256)
    one = Objective(network, network.initialize(0), X, Y)
    monkeypatch.setattr(passes, "THREADED_FROM", 1.0)
    monkeypatch.setattr(workspace, "available_threads", lambda: 3)
    three = Objective(network, network.initialize(0), X, Y)
    assert (one._work.crew.most, three._work.crew.most) == (1, 3)
    for _ in range(100):
        for objective in (one, three):
            objective.parameters.b[1][0] += 0.1
        assert three() == one()


def test_rows_that_several_threads_would_share_are_added_up_whole():
    rng = np.random.default_rng(0)
    network = gp.Network((64, 128, 10), loss="cross_entropy")
    X, Y = rng.random((256, 64)), rng.integers(0, 10, 256)
    objective = Objective(network, network.initialize(0), X, Y)
    for _ in range(20):
        objective.parameters.b[1][0] += 0.1
        fwd = gp.forward(network, objective.parameters, X)
        assert objective() == gp.backward(network, objective.parameters, fwd, Y).loss
