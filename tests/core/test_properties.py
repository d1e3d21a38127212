"""What holds for every network, batch and precision, tried on networks drawn by hypothesis (the same ones in every run)."""

from __future__ import annotations

import pickle
from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import cases
import glassprop as gp
from glassprop.core import plan
from glassprop.core.passes import predict

ROUNDING = {"float64": 1e-12, "float32": 1e-4}

often = settings(max_examples=60, deadline=None, derandomize=True, database=None)
seldom = settings(often, max_examples=20)

widths = st.one_of(st.integers(1, 6), st.integers(14, 18), st.integers(30, 34))


@st.composite
def drawn(draw: Any, **fixed: Any) -> cases.Case:
    """A case of any shape, activations, loss and precision."""
    loss = fixed.pop("loss", None) or draw(st.sampled_from(cases.LOSSES))
    layers = [draw(widths) for _ in range(draw(st.integers(2, 5)))]
    if loss == "cross_entropy":
        layers[-1] += 1
    described = {
        "activation": [draw(st.sampled_from(cases.HIDDEN)) for _ in layers[1:-1]],
        "rows": draw(st.one_of(st.integers(1, 6), st.integers(14, 18), st.integers(30, 34), st.integers(47, 66))),
        "seed": draw(st.integers(0, 2**32)),
        "weighted": draw(st.booleans()),
        "l1": draw(st.sampled_from([0.0, 0.01])),
        "l2": draw(st.sampled_from([0.0, 0.1])),
    }
    return cases.case(layers, loss=loss, **described | fixed).of(draw(st.sampled_from(["float64", "float32"])))


def agree(a: gp.Backward, b: gp.Backward) -> bool:
    """Loss and gradient up to rounding."""
    bound = ROUNDING[a.gradient.dtype.name]
    # of the whole vector: a single bias may be a sum that is nearly 0
    return cases.difference([a.loss], [b.loss]) < bound and cases.difference(a.gradient.theta, b.gradient.theta) < bound


@often
@given(drawn(), st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(case: cases.Case, random: Any) -> None:
    order = list(range(len(case.X)))
    random.shuffle(order)
    (fwd, back), (other_fwd, other_back) = case.passes(), case.rows(order).passes()
    assert agree(other_back, back)
    assert cases.differences(other_fwd.h, [h[order] for h in fwd.h]) < ROUNDING[case.X.dtype.name]
    assert cases.differences(other_back.delta, [delta[order] for delta in back.delta]) < ROUNDING[case.X.dtype.name]


@often
@given(drawn(weighted=False), st.data())
def test_a_weight_of_two_is_the_row_twice(case: cases.Case, data: st.DataObject) -> None:
    times = data.draw(st.lists(st.integers(0, 3), min_size=len(case.X), max_size=len(case.X)).filter(any))
    repeated = case.rows(np.repeat(np.arange(len(case.X)), times))
    assert agree(replace(case, weights=np.array(times, float)).passes()[1], repeated.passes()[1])


@often
@given(drawn(weighted=True), st.sampled_from([0.001, 0.25, 3.0, 1000.0]))
def test_the_scale_of_weights_does_not_matter(case: cases.Case, scale: float) -> None:
    back, scaled = case.passes()[1], replace(case, weights=case.weights * scale).passes()[1]
    assert agree(scaled, back)
    assert cases.differences(scaled.delta, [delta * scale for delta in back.delta]) < ROUNDING[case.X.dtype.name]


@often
@given(drawn())
def test_weights_of_one_are_none(case: cases.Case) -> None:
    one, none = (replace(case, weights=weights).passes()[1] for weights in (np.ones(len(case.X)), None))
    np.testing.assert_array_equal(one.gradient.theta, none.gradient.theta)
    assert one.loss == none.loss


@seldom
@given(drawn())
def test_a_batch_is_its_rows(case: cases.Case) -> None:
    """Forward of a batch is forward of each row; its loss and gradient are the weighted means of theirs."""
    fwd, back = case.passes()
    rows = [case.rows([r]).passes() for r in range(len(case.X))]
    bound = ROUNDING[case.X.dtype.name]
    for l in range(len(fwd.h)):
        assert cases.difference(np.concatenate([f.g[l] for f, _ in rows]), fwd.g[l]) < bound
        assert cases.difference(np.concatenate([f.h[l] for f, _ in rows]), fwd.h[l]) < bound
    weights = np.ones(len(rows)) if case.weights is None else case.weights
    assert cases.difference([np.average([b.loss for _, b in rows], weights=weights)], [back.loss]) < bound
    mean = np.average([b.gradient.theta for _, b in rows], axis=0, weights=weights)
    assert cases.difference(mean, back.gradient.theta) < bound


@often
@given(drawn(), st.integers(1, 70))
def test_predictions_do_not_depend_on_the_batch_size(case: cases.Case, batch_size: int) -> None:
    whole = gp.forward(case.network, case.parameters, case.X).output
    in_parts = predict(case.network, case.parameters, case.X, batch_size)
    assert cases.difference(in_parts, whole) < ROUNDING[case.X.dtype.name]


@often
@given(drawn(), st.data())
def test_hidden_units_can_change_places(case: cases.Case, data: st.DataObject) -> None:
    layers = case.network.layers
    assume(len(layers) > 2)
    l = data.draw(st.integers(0, len(layers) - 3))
    order = np.array(data.draw(st.permutations(range(layers[l + 1]))))
    W, b = [np.array(w) for w in case.parameters.W], [np.array(v) for v in case.parameters.b]
    W[l], b[l], W[l + 1] = W[l][:, order], b[l][order], W[l + 1][order]
    moved = replace(case, parameters=gp.Parameters.from_arrays(W, b))
    assert cases.difference([moved.passes()[1].loss], [case.passes()[1].loss]) < ROUNDING[case.X.dtype.name]


@often
@given(drawn())
def test_pre_activations_are_products(case: cases.Case) -> None:
    fwd = gp.forward(case.network, case.parameters, case.X)
    h = case.X
    for l, (W, b) in enumerate(zip(case.parameters.W, case.parameters.b, strict=True)):
        assert cases.difference(fwd.g[l], h @ W + b) < ROUNDING[case.X.dtype.name]
        h = fwd.h[l]
    assert fwd.output is fwd.h[-1]


@often
@given(drawn())
def test_gradients_are_products(case: cases.Case) -> None:
    """Without a penalty: ∂L/∂W = h δᵀ and ∂L/∂b = δ, summed over rows, over Σ w."""
    plain = gp.Network(case.network.layers, case.network.activations, case.network.output_activation, case.network.loss)
    fwd, back = replace(case, network=plain).passes()
    mass = len(case.X) if case.weights is None else case.weights.astype(float).sum()
    below = [case.X, *fwd.h[:-1]]
    bound = ROUNDING[case.X.dtype.name] * 10
    for h, delta, dW, db in zip(below, back.delta, back.dW, back.db, strict=True):
        # relative to the sum of the sizes of what is summed, which may cancel
        assert (np.abs(dW - h.T @ delta / mass) <= bound * (np.abs(h).T @ np.abs(delta) / mass) + 1e-30).all()
        assert (np.abs(db - delta.sum(0) / mass) <= bound * (np.abs(delta).sum(0) / mass) + 1e-30).all()


@often
@given(drawn())
def test_nothing_handed_in_is_changed(case: cases.Case) -> None:
    before = [np.array(a) for a in (case.X, case.Y, case.parameters.theta)]
    first = case.passes()
    again = case.passes()
    for array, old in zip((case.X, case.Y, case.parameters.theta), before, strict=True):
        np.testing.assert_array_equal(array, old)
    np.testing.assert_array_equal(first[1].gradient.theta, again[1].gradient.theta)  # same numbers, same bits


# --- parameters ----------------------------------------------------------------------------------------------------------


@often
@given(drawn())
def test_parameters_survive_a_round_trip(case: cases.Case) -> None:
    old = case.parameters
    for new in (
        gp.Parameters.from_arrays(old.W, old.b, dtype=old.dtype),
        gp.Parameters.from_arrays([np.array(W) for W in old.W], [np.array(b) for b in old.b]),
        gp.Parameters.from_arrays([W.tolist() for W in old.W], [b.tolist() for b in old.b], dtype=old.dtype),
        old.copy(),
        pickle.loads(pickle.dumps(old)),
        old.astype("float64").astype("float32").astype(old.dtype),  # all its numbers fit into float32
    ):
        assert (new.layers, new.dtype) == (old.layers, old.dtype)
        np.testing.assert_array_equal(new.theta, old.theta)
        assert not np.shares_memory(new.theta, old.theta)
        assert [W.shape for W in new.W] == list(zip(old.layers[:-1], old.layers[1:], strict=True))
        assert [b.shape for b in new.b] == [(n,) for n in old.layers[1:]]


@often
@given(drawn(), st.data())
def test_views_write_through(case: cases.Case, data: st.DataObject) -> None:
    """What is written to W and b is what is computed with, and touches nothing else."""
    parameters = case.parameters
    l = data.draw(st.integers(0, len(parameters.W) - 1))
    before = [np.array(a) for a in (*parameters.W, *parameters.b)]
    place = tuple(data.draw(st.integers(0, n - 1)) for n in parameters.W[l].shape)
    parameters.W[l][place] = 7
    parameters.b[l][place[1]] = -7
    before[l][place] = 7
    before[len(parameters.W) + l][place[1]] = -7
    for array, wanted in zip((*parameters.W, *parameters.b), before, strict=True):
        np.testing.assert_array_equal(array, wanted)
    assert np.count_nonzero(parameters.theta) == sum(map(np.count_nonzero, before))
    fwd = gp.forward(case.network, parameters, case.X)
    h = fwd.h[l - 1] if l else case.X
    assert cases.difference(fwd.g[l], h @ before[l] + before[len(parameters.W) + l]) < ROUNDING[case.X.dtype.name]


# --- training ------------------------------------------------------------------------------------------------------------


@seldom
@given(drawn(), st.sampled_from(cases.RULES), st.integers(1, 40), st.data())
def test_a_run_in_pieces_is_the_run(case: cases.Case, rule: str, batch_size: int, data: st.DataObject) -> None:
    """Bit for bit, wherever it is cut."""
    dropout = [0.2] * (len(case.network.layers) - 2)
    network = gp.Network(case.network.layers, case.network.activations, loss=case.network.loss, dropout=dropout)
    case = replace(case, network=network)
    orders = cases.row_orders(len(case.X), 4)
    optimizer = cases.rules(rule, 1e-3)[0]
    whole = cases.train(case, optimizer, batch_size, 4, orders, seed=3)
    parameters = case.parameters.copy()
    memory = cases.workspace(replace(case, parameters=parameters), optimizer, batch_size, 4, orders, seed=3)
    last = len(memory["rates"])
    cuts = sorted(data.draw(st.sets(st.integers(0, last), max_size=4)))
    for first, stop in zip([0, *cuts], [*cuts, last], strict=True):
        assert memory.run(first, stop, plan.TRAIN) == stop
    np.testing.assert_array_equal(parameters.theta, whole.parameters.theta)
    np.testing.assert_array_equal(memory["state"], [part.theta for part in whole.state])
    np.testing.assert_array_equal(memory["history"]["loss"], whole.losses)


@seldom
@given(drawn(), st.integers(1, 40))
def test_a_row_order_is_the_rows_in_that_order(case: cases.Case, batch_size: int) -> None:
    orders = cases.row_orders(len(case.X), 1, seed=5)
    optimizer = gp.SGD(1e-3, momentum=0.5)
    ordered = cases.train(case, optimizer, batch_size, 1, orders)
    moved = cases.train(case.rows(orders[0]), optimizer, batch_size, 1)
    np.testing.assert_array_equal(ordered.parameters.theta, moved.parameters.theta)


@seldom
@given(drawn(loss="half_squared_error"))
def test_a_small_step_downhill_lowers_the_loss(case: cases.Case) -> None:
    case = case.of("float64")
    back = case.passes()[1]
    assume(back.gradient_norm > 1e-3)
    new = gp.update(case.parameters, back, learning_rate=1e-6 / back.gradient_norm)
    assert replace(case, parameters=new).passes()[1].loss < back.loss
