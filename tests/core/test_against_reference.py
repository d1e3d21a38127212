"""forward, backward, update and whole runs of the compiled core against reference.py.

Differences are relative to the largest magnitude of the tensor in question (cases.difference). Asked for: 1e-12 in float64
after one step, 1e-9 after 100; reached on the machine this was written on: 4e-15 and 2e-14. In float32, 1e-5 and 1e-4.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import cases
import glassprop as gp
import reference as ref
from glassprop.core import layout, plan
from glassprop.core.schedules import learning_rates

ONE_STEP = {"float64": 1e-12, "float32": 1e-5}
HUNDRED_STEPS = {"float64": 1e-9, "float32": 1e-4}
WIDTHS = (1, 15, 16, 17, 31, 32, 33, 65)  # panels are 16 wide in float64, 32 in float32
BATCHES = (1, 5, 16, 17, 32, 33, 50)


def assert_passes_agree(case: cases.Case, dtype: str, note: object = "") -> None:
    found = cases.pass_differences(case.of(dtype).passes(), case.reference_passes())
    assert max(found.values()) < ONE_STEP[dtype], (note, dtype, found)


def states(rule: str, parameters: gp.Parameters, state: np.ndarray, wanted: list[ref.Parameters]) -> float:
    """Difference of the rule's state vectors. Plain SGD keeps none; the reference keeps one that it never reads."""
    if rule == "sgd":
        return 0.0
    return max(
        cases.parameter_difference(parameters.with_theta(mine), theirs) for mine, theirs in zip(state, wanted, strict=False)
    )


def assert_runs_agree(case: cases.Case, rule: str, dtype: str, batch_size: int, epochs: int, **options: Any) -> None:
    """Train both and compare parameters, state and the history of losses."""
    shared = {name: options.pop(name) for name in ("clip_norm", "weight_decay", "layer_factors") if name in options}
    rates = {name: options.pop(name) for name in ("learning_rate", "reference_rate") if name in options}
    mine, twin = cases.rules(rule, **rates, **shared)
    got = cases.train(case.of(dtype), mine, batch_size, epochs, **options)
    parameters, state, losses = cases.reference_train(case, twin, batch_size, epochs, **options)
    found = {
        "parameters": cases.parameter_difference(got.parameters, parameters),
        "state": states(rule, got.parameters, np.array([part.theta for part in got.state]), state),
        "losses": cases.difference(got.losses, losses),
    }
    assert max(found.values()) < HUNDRED_STEPS[dtype], (case.network, rule, dtype, found)


# --- one step ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ONE_STEP)
@pytest.mark.parametrize(
    ("units", "rows", "by_sums"),
    [(1, 3, True), (2, 15, False), (2, 16, True), (10, 90, True), (16, 128, True), (17, 200, False)],
)
def test_gradients_of_narrow_layers_are_sums_of_rows(units: int, rows: int, by_sums: bool, dtype: str) -> None:
    case = cases.case((5, 35, units), rows=rows)
    assert (rows >= layout.lay_out(case.network, np.dtype(dtype), rows).layers["q_rows"][1]) == by_sums
    assert_passes_agree(case, dtype)


@pytest.mark.parametrize("loss", cases.LOSSES)
@pytest.mark.parametrize("activation", cases.HIDDEN)
def test_every_activation_loss_rule_and_penalty(activation: str, loss: str) -> None:
    for penalty, amounts in cases.PENALTIES.items():
        case = cases.case((3, 4, 2), activation=activation, loss=loss, weighted=True, **amounts)
        wanted = case.reference_passes()
        gradient = ref.Parameters(wanted[1].dW, wanted[1].db)
        updated = {rule: ref.update(cases.lists(case.parameters), gradient, cases.rules(rule)[1]) for rule in cases.RULES}
        for dtype, tolerance in ONE_STEP.items():
            here = case.of(dtype)
            passes = here.passes()
            found = cases.pass_differences(passes, wanted)
            for rule, (parameters, state) in updated.items():
                mine = np.zeros((2, here.parameters.theta.size), dtype)
                new = gp.update(here.parameters, passes[1], optimizer=cases.rules(rule)[0], state=mine)
                found[rule] = cases.parameter_difference(new, parameters)
                found[f"state of {rule}"] = states(rule, new, mine, list(state.values()))
            assert max(found.values()) < tolerance, (penalty, dtype, found)


OUTPUTS = [
    (loss, name)
    for loss in cases.LOSSES
    for name, row in gp.ACTIVATIONS.items()
    if gp.Loss(loss).accepts(row, built_in=True) and name != gp.Loss(loss).link
]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("loss", "output_activation"), OUTPUTS)
def test_every_other_output_activation(loss: str, output_activation: str, weighted: bool) -> None:
    case = cases.case((3, 4, 3), loss=loss, output_activation=output_activation, weighted=weighted, rows=7)
    for dtype in ONE_STEP:
        assert_passes_agree(case, dtype)


def test_outputs_are_all_there() -> None:
    # 4 losses of any output with 13 activations, poisson 3, cross_entropy 4, binary_cross_entropy 1; less 7 links
    assert len(OUTPUTS) == 4 * 13 + 3 + 4 + 1 - 7


@pytest.mark.parametrize("loss", cases.LOSSES)
def test_naming_the_link_is_the_same_as_leaving_it_out(loss: str) -> None:
    case = cases.case((3, 4, 3), loss=loss)
    named = cases.networks((3, 4, 3), loss=loss, output_activation=gp.Loss(loss).link)[0]
    fwd, back = case.passes()
    other = gp.backward(named, case.parameters, gp.forward(named, case.parameters, case.X), case.Y)
    assert (other.loss, fwd.network) == (back.loss, named)
    np.testing.assert_array_equal(other.gradient.theta, back.gradient.theta)


@pytest.mark.parametrize(("name", "options"), [
    ("huber", {}), ("huber", {"delta": 0.2}), ("quantile", {}), ("quantile", {"quantile": 0.9}),
    ("binary_cross_entropy", {}), ("binary_cross_entropy", {"label_smoothing": 0.3}),
    ("cross_entropy", {}), ("cross_entropy", {"label_smoothing": 0.3}),
])  # fmt: skip
def test_options_of_losses(name: str, options: dict[str, float]) -> None:
    case = cases.case((3, 4, 3), loss=name, options=options, rows=7, weighted=True)
    for dtype in ONE_STEP:
        assert_passes_agree(case, dtype)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_rows_of_probabilities(smoothing: float) -> None:
    case = cases.case((3, 4, 3), loss="cross_entropy", options={"label_smoothing": smoothing}, rows=7)
    shares = np.random.default_rng(0).dirichlet(np.ones(3), 7)
    shares[0] *= 1.0009  # within what is accepted
    assert_passes_agree(replace(case, Y=shares), "float64")


@pytest.mark.parametrize("place", ["inputs", "hidden", "outputs", "all"])
@pytest.mark.parametrize("width", WIDTHS)
def test_widths_across_panels(width: int, place: str) -> None:
    layers = {"inputs": (width, 3, 2), "hidden": (3, width, 2), "outputs": (3, 2, width), "all": (width, width, width)}[place]
    for dtype in ONE_STEP:
        assert_passes_agree(cases.case(layers, activation="elu", rows=18, weighted=True, l2=0.1), dtype, layers)


@pytest.mark.parametrize("dtype", ONE_STEP)
@pytest.mark.parametrize("units", [12, 37])
def test_gradients_of_every_number_of_inputs(units: int, dtype: str) -> None:
    """A tile of the gradient has as many vectors, or halves of them, as its columns fill."""
    for inputs in range(1, 67):
        assert_passes_agree(cases.case((inputs, units, 2), rows=33), dtype, inputs)


@pytest.mark.parametrize("dtype", ONE_STEP)
def test_every_number_of_rows(dtype: str) -> None:
    """A product leaves out what the batch does not fill of its last panel, in layers of 12 units and more."""
    for rows in range(1, 67):
        assert_passes_agree(cases.case((5, 13, 26, 3), activation="tanh", rows=rows, weighted=True), dtype, rows)


@pytest.mark.parametrize("loss", ["huber", "poisson", "binary_cross_entropy", "cross_entropy"])
@pytest.mark.parametrize("rows", BATCHES)
def test_batch_sizes_in_one_step(rows: int, loss: str) -> None:
    for weighted in (False, True):
        case = cases.case((4, 17, 3), activation="tanh", loss=loss, rows=rows, weighted=weighted)
        for dtype in ONE_STEP:
            assert_passes_agree(case, dtype)


DEPTHS = {
    1: ((3, 2), []),
    2: ((3, 5, 2), ["gelu"]),
    3: ((3, 5, 4, 2), ["relu", "tanh"]),
    4: ((3, 17, 4, 5, 2), ["mish", "sigmoid", "identity"]),
    5: ((3, 4, 6, 5, 18, 2), ["silu", "softplus", "leaky_relu", "softsign"]),
}


@pytest.mark.parametrize("depth", DEPTHS)
def test_depths(depth: int) -> None:
    layers, activations = DEPTHS[depth]
    for loss in cases.LOSSES:
        case = cases.case(layers, activation=activations, loss=loss, rows=19, weighted=True, l1=0.01, l2=0.02)
        for dtype in ONE_STEP:
            assert_passes_agree(case, dtype, loss)


def test_passes_by_hand_leave_dropout_out() -> None:
    case = cases.case((3, 5, 4, 2), dropout=[0.5, 0.3])
    for dtype in ONE_STEP:
        assert_passes_agree(case, dtype)


def test_a_users_activation_that_is_not_finite_at_zero() -> None:
    """The last panel of a batch is filled up with rows; one of zeros, with biases of zero, would give 0 · ∞ here."""
    root = gp.Activation("root", lambda g: math.sqrt(abs(g)), lambda g: math.copysign(0.5, g) / math.sqrt(abs(g)))
    pair = (lambda g: math.sqrt(abs(g)), lambda g: math.copysign(0.5, g) / math.sqrt(abs(g)))
    for rows, layers in itertools.product((1, 5, 17), ((3, 4, 2), (3, 14, 13, 2))):
        case = cases.case(layers, rows=rows)
        for b in case.parameters.b:
            b[:] = 0
        twin = ref.Network(layers, [pair] * (len(layers) - 2))
        assert_passes_agree(replace(case, network=gp.Network(layers, root), twin=twin), "float64", (rows, layers))


# --- many steps --------------------------------------------------------------------------------------------------------

# every pair of (rule, activation), (rule, loss), (rule, penalty) and (activation, loss)
_cycle = list(cases.PENALTIES) * 100
COVER = sorted(
    {(rule, activation, "half_squared_error", "both") for rule in cases.RULES for activation in cases.HIDDEN}
    | {(rule, "tanh", loss, "l2") for rule in cases.RULES for loss in cases.LOSSES}
    | {(rule, "silu", "huber", penalty) for rule in cases.RULES for penalty in cases.PENALTIES}
    | {
        (cases.RULES[(i + j) % len(cases.RULES)], activation, loss, _cycle[i + 2 * j])
        for i, activation in enumerate(cases.HIDDEN)
        for j, loss in enumerate(cases.LOSSES)
    }
)


@pytest.mark.parametrize("rule", cases.RULES)
def test_a_hundred_steps(rule: str) -> None:
    """34 epochs of 13 rows in batches of 5, 5 and 3, each epoch in an order of its own."""
    orders = cases.row_orders(13, 34)
    for _, activation, loss, penalty in (row for row in COVER if row[0] == rule):
        case = cases.case((3, 4, 2), activation=activation, loss=loss, rows=13, weighted=True, **cases.PENALTIES[penalty])
        assert_runs_agree(case, rule, "float64", 5, 34, orders=orders)


@pytest.mark.parametrize("activation", cases.HIDDEN)
@pytest.mark.parametrize("rule", cases.RULES)
def test_a_hundred_steps_in_single_precision(rule: str, activation: str) -> None:
    # rprop takes whole steps by the sign of a gradient, which rounding can turn: ten epochs
    case = cases.case((3, 4, 2), activation=activation, rows=13)
    assert_runs_agree(case, rule, "float32", 5, 10 if rule == "rprop" else 34)


@pytest.mark.parametrize("batch_size", BATCHES)
def test_batches_and_their_tails(batch_size: int) -> None:
    """50 rows, three epochs: tails of 50 mod batch_size rows, in one panel and in several."""
    case = cases.case((4, 17, 3), activation=["tanh"], loss="cross_entropy", rows=50, weighted=True, l2=0.01)
    for dtype in ONE_STEP:
        assert_runs_agree(case, "momentum", dtype, batch_size, 3, orders=cases.row_orders(50, 3))


@pytest.mark.parametrize("batch_size", [20, 40, 57])
def test_tails_that_fill_less_of_their_panel_than_the_batch_before(batch_size: int) -> None:
    """What a batch has left where the next has no rows must not count."""
    case = cases.case((4, 17, 13, 3), activation="tanh", rows=61, weighted=True)
    for dtype in ONE_STEP:
        assert_runs_agree(case, "momentum", dtype, batch_size, 3, orders=cases.row_orders(61, 3))


def test_a_batch_larger_than_the_table_is_the_table() -> None:
    case = cases.case((3, 4, 2), rows=7)
    mine, twin = cases.rules("adam")
    got = cases.train(case, mine, 64, 5)
    assert cases.parameter_difference(got.parameters, cases.reference_train(case, twin, 7, 5)[0]) < 1e-12


@pytest.mark.parametrize("rule", cases.RULES)
@pytest.mark.parametrize("depth", DEPTHS)
def test_everything_at_once(depth: int, rule: str) -> None:
    """100 steps: dropout, row weights, penalties, row orders, tails, a schedule, clipping, weight decay, layer factors."""
    layers, activations = DEPTHS[depth]
    rates = [0.25, 0.1, 0.4, 0.0][: len(activations)]
    case = cases.case(
        layers, activation=activations, dropout=rates, loss="half_squared_error", rows=11, weighted=True, l1=0.002, l2=0.01
    )
    eta = cases.rules(rule)[0].learning_rate
    assert_runs_agree(
        case, rule, "float64", 4, 34, orders=cases.row_orders(11, 34), seed=2**40 + 5, clip_norm=0.5, weight_decay=0.03,
        layer_factors=[1.0, 0.5, 2.0, 0.0, 1.5][:depth], learning_rate=gp.Cosine(eta, steps=90, warmup=7, final=eta / 10),
        reference_rate=lambda step: ref.cosine(step, eta, 90, 7, eta / 10),
    )  # fmt: skip


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 0.9])
def test_dropout(rate: float, dtype: str) -> None:
    for seed in (0, 1, 2**62 + 12345):
        case = cases.case((3, 33, 18, 2), activation=["relu", "gelu"], dropout=[rate, rate / 2], rows=21)
        assert_runs_agree(case, "sgd", dtype, 17, 3, seed=seed, learning_rate=0.02)


def test_clipping_acts_only_beyond_its_norm() -> None:
    case = cases.case((3, 4, 2), rows=9, l2=0.5)
    norm = case.passes()[1].gradient_norm
    for clip_norm in (norm / 3, norm * 3):
        for dtype in ONE_STEP:
            assert_runs_agree(case, "sgd", dtype, 9, 1, clip_norm=clip_norm)
    free, loose = (cases.train(case, gp.SGD(0.1, clip_norm=c), 9, 1) for c in (None, norm * 3))
    np.testing.assert_array_equal(free.parameters.theta, loose.parameters.theta)
    tight = cases.train(case, gp.SGD(0.1, clip_norm=norm / 3), 9, 1)
    moved = np.linalg.norm(tight.parameters.theta - case.parameters.theta)
    assert moved == pytest.approx(0.1 * norm / 3, rel=1e-12)


def test_a_layer_factor_of_zero_freezes_the_layer() -> None:
    case = cases.case((3, 4, 2), rows=9)
    got = cases.train(case, gp.Adam(0.1, layer_factors=(0.0, 1.0), weight_decay=0.1), 4, 5).parameters
    np.testing.assert_array_equal(got.W[0], case.parameters.W[0])
    np.testing.assert_array_equal(got.b[0], case.parameters.b[0])
    assert not np.any(got.W[1] == case.parameters.W[1])


def test_weight_decay_spares_biases() -> None:
    """Rows without any weight leave a gradient of zero, and so the decay alone."""
    case = cases.case((3, 4, 2), rows=4, weighted=True)
    parameters = case.parameters.copy()
    memory = cases.workspace(replace(case, parameters=parameters), gp.SGD(0.1, weight_decay=0.5), 4, 1)
    memory["weights"][:] = 0
    memory.run(0, 1, plan.TRAIN)
    for l in range(2):
        np.testing.assert_array_equal(parameters.W[l], case.parameters.W[l] * (1 - 0.1 * 0.5))
        np.testing.assert_array_equal(parameters.b[l], case.parameters.b[l])


SCHEDULES: dict[str, tuple[Any, Callable[[int], float]]] = {
    "constant": (0.03, lambda s: 0.03),
    "inverse_scaling": (gp.InverseScaling(0.1, power=0.7), lambda s: ref.inverse_scaling(s, 0.1, 0.7)),
    "exponential": (gp.Exponential(0.1, decay=0.5, steps=30), lambda s: ref.exponential(s, 0.1, 0.5, 30)),
    "cosine": (gp.Cosine(0.1, steps=80), lambda s: ref.cosine(s, 0.1, 80)),
    "cosine, warm": (gp.Cosine(0.1, steps=80, warmup=9, final=0.01), lambda s: ref.cosine(s, 0.1, 80, 9, 0.01)),
    "one_cycle": (gp.OneCycle(0.1, steps=80), lambda s: ref.one_cycle(s, 0.1, 80)),
    "one_cycle, all": (gp.OneCycle(0.1, 80, 0.1, 0.02, rise=0.45), lambda s: ref.one_cycle(s, 0.1, 80, 0.1, 0.02, 0.45)),
    "a function": (lambda step: 0.1 / (1 + step % 7), lambda s: 0.1 / (1 + s % 7)),
}  # fmt: skip


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules(name: str) -> None:
    mine, twin = SCHEDULES[name]
    wanted = [twin(step) for step in range(100)]
    # the cosine's last rates are differences of nearly equal numbers: relative to the largest
    assert cases.difference(learning_rates(mine, 0, 100), wanted) < 1e-15 * 4
    assert cases.difference(learning_rates(mine, 40, 100), wanted[40:]) < 1e-15 * 4
    if callable(mine):
        assert cases.difference([mine(step) for step in range(100)], wanted) < 1e-15 * 4
    case = cases.case((3, 4, 2), rows=11)
    assert_runs_agree(case, "momentum", "float64", 4, 30, learning_rate=mine, reference_rate=twin)
    got = cases.train(case, gp.SGD(mine), 4, 30)
    assert cases.difference(got.rates, [twin(3 * epoch + 2) for epoch in range(30)]) < 1e-15 * 4


# --- updates by hand -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", cases.RULES)
def test_updates_by_hand_are_the_steps_of_a_run(rule: str) -> None:
    """forward, backward, update, ten times, give the bits that ten steps of the core in one call give."""
    case = cases.case((3, 4, 2), activation="gelu", rows=6, weighted=True, l2=0.1)
    optimizer = cases.rules(rule, gp.Exponential(0.02, decay=0.5, steps=5), clip_norm=0.4)[0]
    for dtype in ONE_STEP:
        here = case.of(dtype)
        parameters, state = here.parameters, np.zeros((2, here.parameters.theta.size), dtype)
        for step in range(10):
            back = replace(here, parameters=parameters).passes()[1]
            parameters = gp.update(parameters, back, optimizer=optimizer, state=state, step=step)
        got = cases.train(here, optimizer, 6, 10)
        np.testing.assert_array_equal(parameters.theta, got.parameters.theta)
        np.testing.assert_array_equal(state, [part.theta for part in got.state])


def test_an_update_leaves_the_old_parameters_alone() -> None:
    case = cases.case((3, 4, 2))
    before = case.parameters.theta.copy()
    back = case.passes()[1]
    gradient = back.gradient.theta.copy()
    gp.update(case.parameters, back, optimizer=gp.Adam(0.1, clip_norm=0.01, weight_decay=0.1))
    np.testing.assert_array_equal(case.parameters.theta, before)
    np.testing.assert_array_equal(back.gradient.theta, gradient)


def test_update_with_a_learning_rate_is_gradient_descent() -> None:
    case = cases.case((3, 4, 2))
    back = case.passes()[1]
    new = gp.update(case.parameters, back, learning_rate=0.5)
    for W, old, dW in zip(new.W, case.parameters.W, back.dW, strict=True):
        np.testing.assert_allclose(W, old - 0.5 * dW, rtol=0, atol=1e-15)


@pytest.mark.parametrize("classes", [129, 300])
def test_softmax_is_over_all_outputs(classes: int) -> None:
    """Also where there are more than the forward pass takes at a time."""
    case = cases.case((3, 4, classes), loss="cross_entropy", rows=3)
    for dtype in ONE_STEP:
        assert_passes_agree(case, dtype)
