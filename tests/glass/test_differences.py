"""Central differences against the slow reference's gradient, at kinks, and where rounding or kinks make them inexact."""

import numpy as np
import pytest

import cases
import glassprop as gp
from glassprop.core import passes, workspace
from glassprop.glass.differences import FIRST_STEP, Objective, central_differences, entry_numbers


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


@pytest.mark.parametrize("where", [*np.linspace(0.02, 0.98, 25), 4 / 9, 1 / 3, 1 / 6])
def test_a_kink_anywhere_within_the_first_step_leaves_the_slope_right(where):
    """At 4/9 of the step the two extrapolations agree, and both are wrong: second differences tell."""
    network = gp.Network((1, 1, 1), activation="relu", loss="absolute_error")  # with nothing in it that bends
    for side in (1, -1):
        parameters = gp.Parameters.from_arrays([[[1.0]], [[1.0]]], [[side * where * FIRST_STEP], [0.0]])
        objective = Objective(network, parameters, [[0.0]], [-1.0])
        found = central_differences(objective, entry_numbers(parameters).b[0])
        assert abs(found.slope[0] - objective.gradient().b[0][0]) <= found.uncertainty[0] < 1e-9
        assert not found.kink[0]


def test_each_row_has_the_step_that_suits_it():
    """2000 rows, kinks at every distance: no step suits them all, and none of their slopes is inexact."""
    network, rng = gp.Network((1, 1, 1), activation="relu"), np.random.default_rng(0)
    parameters = gp.Parameters.from_arrays([[[1.0]], [[1.0]]], [[0.0], [0.0]])
    X = rng.choice([-1, 1], 2000) * 10.0 ** rng.uniform(-7, -2, 2000)
    objective = Objective(network, parameters, X[:, None], rng.normal(size=2000))
    found, wanted = central_differences(objective, entry_numbers(parameters).b[0]), objective.gradient().b[0][0]
    assert not found.kink[0]
    assert abs(found.slope[0] - wanted) <= found.uncertainty[0] < 1e-7 * abs(wanted)


def wholly(objective):
    """Central differences of all entries, and the core's gradient."""
    places = all_entries(objective).astype(int)
    return central_differences(objective, places), objective.gradient().theta[places]


@pytest.mark.parametrize("rows", [1, 400])
@pytest.mark.parametrize("offset", [1.0, 1e3, 1e5])
def test_rounding_within_the_network_is_part_of_the_uncertainty(offset, rows):
    """Of rows that are all alike, so that none makes up for another: what is left of outputs and targets nearly the same."""
    for seed in range(40):
        rng, network = np.random.default_rng(seed), gp.Network((6, 8, 1), activation="tanh")
        parameters, X = network.initialize(seed), rng.normal(size=(1, 6))
        parameters.b[1][0] += offset
        Y = gp.forward(network, parameters, X).output + 10.0 ** -rng.integers(0, 7) * rng.normal(size=(1, 1))
        found, wanted = wholly(Objective(network, parameters, X.repeat(rows, 0), Y.repeat(rows, 0)))
        assert (np.abs(found.slope - wanted) <= found.uncertainty).all()


def test_the_logarithm_of_a_probability_near_1_is_known_to_its_last_place():
    network = gp.Network((1, 2), loss="cross_entropy")  # 1 - 1e-13
    found, wanted = wholly(Objective(network, gp.Parameters.from_arrays([[[15.0, -15.0]]], [[0.0, 0.0]]), [[1.0]], [0]))
    assert (np.abs(found.slope - wanted) <= found.uncertainty).all()
    assert not found.kink.any()


def test_where_the_longest_steps_leave_the_domain_shorter_ones_do():
    root = gp.Activation("root", lambda g: g**0.5, lambda h: 0.5 / h, reads="h")
    network = gp.Network((1, 1, 1), activation=root)
    parameters = gp.Parameters.from_arrays([[[1.0]], [[1.0]]], [[0.0], [0.0]])
    found, wanted = wholly(Objective(network, parameters, [[5e-4]], [1.0]))
    assert np.isfinite(found.uncertainty).all()
    assert (np.abs(found.slope - wanted) <= np.minimum(found.uncertainty, 1e-7 * np.abs(wanted).max())).all()


@pytest.mark.parametrize("dropout", [None, (3, 7)])
@pytest.mark.parametrize("options", [{}, {"l2": 0.1, "l1": 0.02}])
def test_the_parts_add_up_to_the_objective(options, dropout):
    case = cases.case((3, 4, 2), rows=21, weighted=True, dropout=[0.4], **options)
    objective = Objective(case.network, case.parameters, case.X, case.Y, case.weights, dropout)
    parts = objective.parts()
    assert len(parts) == 22
    assert parts.sum() == pytest.approx(objective(), rel=1e-14)
    assert (parts[-1] > 0) == bool(options)
    fwd = gp.forward(case.network, case.parameters, case.X)
    if dropout is None:
        assert objective() == pytest.approx(
            gp.backward(case.network, case.parameters, fwd, case.Y, case.weights).loss, rel=1e-14
        )


def test_a_row_that_weighs_nothing_adds_nothing_whatever_its_loss():
    parameters = gp.Parameters.from_arrays([[[1.0]]], [[0.0]])
    objective = Objective(gp.Network((1, 1)), parameters, [[1.0], [1e200]], [0.0, 0.0], [1.0, 0.0])
    assert objective.parts().tolist() == [0.5, 0.0, 0.0]
    found = central_differences(objective, all_entries(objective))
    assert found.slope == pytest.approx([1.0, 1.0], rel=1e-9)


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
