"""The objective and the bookkeeping of scikit-learn's MLP, as the core keeps them for the estimators."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import log_loss, mean_poisson_deviance, mean_squared_error

import cases
import glassprop as gp
import reference as ref
from glassprop.core import plan


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("loss", ["cross_entropy", "half_squared_error", "binary_cross_entropy"])
def test_penalties_are_divided_by_the_weight_of_the_batch_at_hand(loss, weighted):
    """Against the reference, whose network has another penalty in every step: batches of 7, 7 and 4 rows."""
    case = cases.case((3, 5, 4), loss=loss, options={}, rows=18, weighted=weighted, l2=0.4, l1=0.1)
    mine, twin = cases.rules("adam with epsilon hat")
    mine_case = replace(case, parameters=case.parameters.copy())
    memory = cases.workspace(mine_case, mine, 7, 2, as_scikit_learn=True)
    memory.run(0, 6, plan.TRAIN)

    theta, state, epochs = cases.lists(case.parameters), None, []
    for epoch in range(2):
        told = []
        for batch in (range(7), range(7, 14), range(14, 18)):
            w = None if case.weights is None else case.weights[batch].tolist()
            mass = len(batch) if w is None else sum(w)
            network = replace(case.twin, l2=0.4 / mass, l1=0.1 / mass)
            fwd = ref.forward(network, theta, [case.X[r].tolist() for r in batch])
            back = ref.backward(network, theta, fwd, [case.Y[r].tolist() for r in batch], w)
            penalty = back.loss - ref.backward(replace(network, l2=0, l1=0), theta, fwd, case.Y[batch].tolist(), w).loss
            data = (back.loss - penalty) / (4 if loss == "half_squared_error" else 1)  # the mean over outputs
            told.append((data + penalty) * len(batch))
            step = 3 * epoch + len(told) - 1
            theta, state = ref.update(theta, ref.Parameters(back.dW, back.db), twin, state, step)
        epochs.append(sum(told) / 18)
    assert cases.parameter_difference(mine_case.parameters, theta) < 1e-12
    assert memory["history"]["loss"] == pytest.approx(epochs, rel=1e-12)


PRINTED = {  # loss: (outputs, targets, what scikit-learn makes of targets and outputs)
    "binary_cross_entropy": (1, [0.0, 1.0, 1.0, 0.0], lambda y, h: log_loss(y, np.hstack([1 - h, h]))),
    "cross_entropy": (3, [0, 2, 2, 1], lambda y, h: log_loss(y, h, labels=[0, 1, 2])),
    "poisson": (1, [0.0, 1.0, 4.0, 2.0], lambda y, h: mean_poisson_deviance(y, h) / 2),
    "half_squared_error": (2, [[0.0, 1.0]] * 4, lambda y, h: mean_squared_error(y, h) / 2),
}


@pytest.mark.parametrize("size", [1.0, 60.0])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("loss", PRINTED)
def test_losses_are_printed_as_scikit_learn_prints_them(loss, dtype, size):
    """`size` 60 makes probabilities of 1e-50 and of 1 - 1e-50, which scikit-learn clips."""
    if loss == "poisson":
        size /= 20
    outputs, Y, expected = PRINTED[loss]
    network = gp.Network((1, outputs), loss=loss)
    parameters = gp.Parameters.from_arrays([size * np.array([[1.0, -1.0, 0.5][:outputs]])], [np.zeros(outputs)])
    X, Y = np.array([[1.0], [-1.0], [0.3], [2.0]], dtype), np.array(Y)
    case = cases.Case(network, None, parameters.astype(dtype), X, Y, None)
    memory = cases.workspace(case, gp.SGD(0.1), 4, 1, as_scikit_learn=True)
    memory.run(0, 1, plan.FORWARD | plan.LOSS)
    h = gp.forward(network, parameters, X).output
    assert memory.progress["loss"][0] == pytest.approx(expected(Y, h), rel=1e-12 if dtype == "float64" else 1e-5)


def test_steps_on_other_rows_are_counted_by_bias_correction_and_dropout():
    case = cases.case((3, 8, 2), dropout=[0.4], rows=12)
    whole = replace(case, parameters=case.parameters.copy())
    cases.workspace(whole, gp.Adam(0.1), 4, 2, seed=5).run(0, 6, plan.TRAIN)
    parts = replace(case, parameters=case.parameters.copy())
    first = cases.workspace(parts, gp.Adam(0.1), 4, 1, seed=5)
    first.run(0, 3, plan.TRAIN)
    second = cases.workspace(parts, gp.Adam(0.1), 4, 1, seed=5)
    second.set(state=first["state"], earlier_steps=3)
    second.run(0, 3, plan.TRAIN)
    np.testing.assert_array_equal(parts.parameters.theta, whole.parameters.theta)
