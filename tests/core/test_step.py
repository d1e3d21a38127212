"""The entry's record of epochs: validation loss against reference.py, the best parameters, patience."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import cases
import glassprop as gp
import reference as ref
from glassprop.core import plan
from glassprop.core.arrays import check_inputs, check_targets, check_weights
from glassprop.core.workspace import Workspace


def watched(case: cases.Case, held_out: cases.Case, epochs: int, **plan: float) -> Workspace:
    """Memory for epochs in batches of 4 that keep the best parameters by the loss of the rows held out."""
    dtype, rows = case.parameters.dtype, len(case.X)
    steps = epochs * -(-rows // 4)
    memory = Workspace(
        case.network, case.parameters.theta, check_inputs(case.network, case.X, dtype),
        check_targets(case.network, case.Y, rows, dtype), batch_size=4, optimizer=gp.SGD(), steps=steps, epochs=epochs,
        keep_best=True,
        validation=(
            check_inputs(case.network, held_out.X, dtype), check_targets(case.network, held_out.Y, len(held_out.X), dtype),
            check_weights(held_out.weights, len(held_out.X), dtype),
        ),
    )  # fmt: skip
    memory["rates"][:] = 0.05
    memory.set(**plan)
    return memory


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("loss", cases.LOSSES)
def test_the_validation_loss_has_no_penalty_and_no_dropout(loss: str, weighted: bool) -> None:
    case = cases.case((3, 5, 3), loss=loss, rows=11, l1=0.1, l2=0.1, dropout=[0.4])
    for rows in (1, 17, 50):
        held_out = cases.case((3, 5, 3), loss=loss, rows=rows, seed=1, weighted=weighted)
        for dtype, tolerance in (("float64", 1e-12), ("float32", 1e-5)):
            here = case.of(dtype)
            memory = watched(here, held_out.of(dtype), 1)
            memory.run(0, 3, plan.TRAIN)
            theta = cases.lists(here.parameters)  # after the epoch
            fwd = ref.forward(held_out.twin, theta, held_out.X.tolist())
            weights = held_out.weights.tolist() if weighted else None
            wanted = ref.objective(held_out.twin, theta, fwd, held_out.Y.tolist(), weights)
            assert cases.difference(memory["history"]["validation_loss"], [wanted]) < tolerance


def test_the_best_parameters_are_kept_and_patience_ends_the_run() -> None:
    """Eight rows of noise are learnt by heart: the loss of the rows held out soon rises."""
    case = cases.case((3, 20, 2), rows=8)
    held_out = cases.case((3, 20, 2), rows=30, seed=1)
    memory = watched(case, held_out, 400, patience=5)
    stopped = memory.run(0, 800, plan.TRAIN | plan.NOTE)
    now, epochs = memory.progress[0], stopped // 2
    losses = memory["history"]["validation_loss"][:epochs]
    assert now["status"] == plan.PATIENCE_SPENT
    assert epochs == now["best_epoch"] + 5 < 400
    assert (now["best"], now["best_epoch"], now["stale"]) == (losses.min(), losses.argmin() + 1, 5)
    again = cases.case((3, 20, 2), rows=8)
    watched(again, held_out, 400).run(0, 2 * int(now["best_epoch"]), plan.TRAIN)
    np.testing.assert_array_equal(memory["best"], again.parameters.theta)
    assert not np.array_equal(memory["best"], case.parameters.theta)


def test_an_improvement_within_the_tolerance_does_not_count_but_is_kept() -> None:
    case = cases.case((3, 4, 2), rows=8)
    memory = watched(case, case, 50, patience=3, tolerance=1e6)
    assert memory.run(0, 100, plan.TRAIN | plan.NOTE) == 2 * 4  # the first epoch is better than infinity
    assert memory.progress["best_epoch"][0] == 4
    assert memory["history"]["validation_loss"][:4].tolist() == sorted(memory["history"]["validation_loss"][:4], reverse=True)


@pytest.mark.parametrize("parts", [plan.FORWARD, plan.FORWARD | plan.LOSS | plan.BACKWARD])
def test_parts_of_a_step_leave_parameters_alone(parts: int) -> None:
    case = cases.case((3, 4, 2), rows=8)
    before = case.parameters.theta.copy()
    memory = cases.workspace(case, gp.Adam(), 4, 1)
    assert memory.run(0, 2, parts) == 2
    np.testing.assert_array_equal(case.parameters.theta, before)
    assert not memory["state"].any()


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_batch_without_weight_leaves_the_penalty(dtype: str) -> None:
    """The second of two batches: its step is that of the penalty alone, and the epoch's loss that of the first batch."""
    case = cases.case((3, 4, 2), rows=8, weighted=True, l2=0.5).of(dtype)
    case.weights[4:] = 0
    first = cases.train(case.rows(np.arange(4)), gp.SGD(0.1), 4, 1)
    both = cases.train(case, gp.SGD(0.1), 4, 1)
    bound = 1e-13 if dtype == "float64" else 1e-6
    for W, old in zip(both.parameters.W, first.parameters.W, strict=True):
        assert cases.difference(W, old * (1 - 0.1 * 0.5)) < bound
    for b, old in zip(both.parameters.b, first.parameters.b, strict=True):
        np.testing.assert_array_equal(b, old)
    assert both.losses.tolist() == first.losses.tolist()


def test_targets_as_a_column_or_a_vector_are_the_same() -> None:
    for loss, outputs in (("cross_entropy", 3), ("binary_cross_entropy", 1), ("huber", 1)):
        case = cases.case((3, 4, outputs), loss=loss, rows=20)
        column, vector = (replace(case, Y=case.Y.reshape(shape)) for shape in ((20, 1), (20,)))
        got = [cases.train(c, gp.SGD(0.1), 6, 2).parameters.theta for c in (column, vector)]
        np.testing.assert_array_equal(*got)
