"""The reference against what is known without it: central differences, a published example, closed forms.

It does not test glassprop.
"""

import itertools
import math
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

import reference as ref

HIDDEN = [name for name in ref.ACTIVATIONS if name != "exp"]
POSITIVE = ["sigmoid", "softplus", "exp"]
PLAIN = ["half_squared_error", "absolute_error", "huber", "quantile"]
OUTPUTS = (  # (loss, output activation): every link, then every plain chain rule
    [(loss, None) for loss in ref.LOSSES]
    + [(loss, phi) for loss in PLAIN for phi in ref.ACTIVATIONS if phi != "identity"]
    + [(loss, phi) for loss in ["poisson", "cross_entropy"] for phi in POSITIVE]
    + [("binary_cross_entropy", ref.ACTIVATIONS["sigmoid"])]  # a pair of functions is never fused
)
OPTIONS = {
    "huber": {"delta": 0.7},
    "quantile": {"quantile": 0.8},
    "binary_cross_entropy": {"label_smoothing": 0.1},
    "cross_entropy": {"label_smoothing": 0.1},
}
WEIGHTS = [0.5, 2.0, 0.0, 1.25, 3.0]


def start(layers: Sequence[int], seed: int) -> ref.Parameters:
    rng = random.Random(seed)
    W = [[[rng.gauss(0.0, 0.7) for _ in range(n)] for _ in range(m)] for m, n in itertools.pairwise(layers)]
    return ref.Parameters(W, [[rng.gauss(0.0, 0.3) for _ in range(n)] for n in layers[1:]])


def table(network: ref.Network, seed: int, rows: int = 5) -> tuple[ref.Matrix, list[Any]]:
    rng = random.Random(seed)
    X = [[rng.gauss(0.0, 1.0) for _ in range(network.layers[0])] for _ in range(rows)]
    K = network.layers[-1]
    if network.loss == "cross_entropy":
        return X, [rng.randrange(K) for _ in range(rows)]
    if network.loss == "binary_cross_entropy":
        return X, [[float(rng.randrange(2)) for _ in range(K)] for _ in range(rows)]
    if network.loss == "poisson":
        return X, [[float(rng.randrange(4)) for _ in range(K)] for _ in range(rows)]
    return X, [[rng.gauss(0.0, 1.0) for _ in range(K)] for _ in range(rows)]


def loss_at(network: ref.Network, theta: ref.Parameters, X: ref.Matrix, Y: list[Any], weights: Any, dropout: Any) -> float:
    return ref.objective(network, theta, ref.forward(network, theta, X, dropout), Y, weights)


def gradient_error(network: ref.Network, weights: Any = None, dropout: Any = None, seed: int = 3) -> float:
    """Largest difference between backward and central differences, relative to the largest entry of the gradient."""
    theta = start(network.layers, seed)
    X, Y = table(network, seed + 1)
    back = ref.backward(network, theta, ref.forward(network, theta, X, dropout), Y, weights)
    gradient = [G[i] for G, i, _, _ in ref.cells(ref.Parameters(back.dW, back.db))]
    step, worst = 1e-5, 0.0
    for (values, i, _, _), G in zip(ref.cells(theta), gradient, strict=True):
        middle = values[i]
        values[i] = middle + step
        above = loss_at(network, theta, X, Y, weights, dropout)
        values[i] = middle - step
        below = loss_at(network, theta, X, Y, weights, dropout)
        values[i] = middle
        worst = max(worst, abs((above - below) / (2.0 * step) - G))
    return worst / max(map(abs, gradient))


@pytest.mark.parametrize("loss", ref.LOSSES)
@pytest.mark.parametrize("activation", HIDDEN)
def test_gradient_of_every_activation_and_loss(activation: str, loss: str) -> None:
    network = ref.Network((2, 3, 3, 2), (activation, activation), loss=loss, options=OPTIONS.get(loss, {}))
    assert gradient_error(network) < 1e-8


@pytest.mark.parametrize(("loss", "output_activation"), OUTPUTS)
def test_gradient_of_every_output(loss: str, output_activation: Any) -> None:
    network = ref.Network((2, 3, 3), ("tanh",), output_activation, loss, OPTIONS.get(loss, {}))
    assert gradient_error(network, WEIGHTS) < 1e-8


@pytest.mark.parametrize("layers", [(3, 2), (2, 4, 1), (2, 3, 4, 3, 2), (2, 2, 3, 2, 3, 2)])
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_gradient_with_penalties_and_dropout(layers: tuple[int, ...], weights: Any) -> None:
    hidden = len(layers) - 2
    network = ref.Network(layers, ["silu"] * hidden, l1=0.03, l2=0.2, dropout=[0.3] * hidden)
    assert gradient_error(network, weights, dropout=(7, 11)) < 1e-8


def test_a_derivative_wrong_by_a_thousandth_is_caught() -> None:
    right = ref.Network((2, 3, 2), [(math.tanh, ref.sech2)])
    wrong = ref.Network((2, 3, 2), [(math.tanh, lambda g: 1.001 * ref.sech2(g))])
    assert gradient_error(right) < 1e-8
    assert gradient_error(wrong) > 1e-5


def test_rows_without_weight_leave_the_penalty() -> None:
    network = ref.Network((2, 3, 2), ["tanh"], l2=0.5)
    theta = start(network.layers, 0)
    X, Y = table(network, 1)
    back = ref.backward(network, theta, ref.forward(network, theta, X), Y, [0.0] * 5)
    assert back.loss == ref.penalty(network, theta)
    assert back.dW == [[[0.5 * w for w in row] for row in W] for W in theta.W]


def test_class_numbers_are_indicator_rows() -> None:
    network = ref.Network((2, 3), loss="cross_entropy", options={"label_smoothing": 0.3})
    assert ref.target_row(network, 1) == ref.target_row(network, [1]) == ref.target_row(network, [0.0, 1.0, 0.0])
    assert ref.target_row(network, 1) == pytest.approx([0.1, 0.8, 0.1], rel=1e-15)


@pytest.mark.parametrize("g", [-1e6, -800.0, -40.0, 0.0, 40.0, 800.0, 1e6])
@pytest.mark.parametrize("activation", HIDDEN)
def test_activations_are_finite_far_out(activation: str, g: float) -> None:
    phi, dphi = ref.ACTIVATIONS[activation]
    assert math.isfinite(phi(g))
    assert -0.2 < dphi(g) < 1.2 * ref.SELU_ALPHA


@pytest.mark.parametrize(("loss", "y"), [("binary_cross_entropy", 1.0), ("cross_entropy", 0)])
def test_fused_losses_keep_their_digits_far_out(loss: str, y: float) -> None:
    one_output = loss == "binary_cross_entropy"
    network = ref.Network((1, 1 if one_output else 2), loss=loss)
    for z, expected in [(800.0, 0.0), (50.0, math.exp(-50.0)), (-50.0, 50.0), (-800.0, 800.0)]:
        value, delta = ref.row_loss(network, [z] if one_output else [z, 0.0], y)
        assert value == pytest.approx(expected, rel=1e-15)
        assert delta[0] == pytest.approx(-1.0 if z < 0.0 else 0.0, abs=1e-15)


def test_mix_is_splitmix64() -> None:
    first_outputs = {0: 0xE220A8397B1DCDAF, 1234567: 6457827717110365317}  # of the published generator with these seeds
    assert {seed: ref.mix(seed) for seed in first_outputs} == first_outputs


def test_dropout_drops_its_rate_and_keeps_the_mean() -> None:
    factors = ref.dropout_factors(0.3, seed=5, step=2, layer=1, rows=200, units=50)
    assert {k for row in factors for k in row} == {0.0, 1.0 / (1.0 - 0.3)}
    assert sum(map(sum, factors)) / 10_000 == pytest.approx(1.0, abs=0.03)
    assert factors != ref.dropout_factors(0.3, seed=5, step=3, layer=1, rows=200, units=50)
    assert factors != ref.dropout_factors(0.3, seed=5, step=2, layer=2, rows=200, units=50)
    assert ref.dropout_factors(0.0, 5, 2, 1, rows=3, units=2) == [[1.0, 1.0]] * 3


def test_schedules_at_their_corners() -> None:
    close: dict[str, Any] = {"rel": 1e-14}
    assert [ref.inverse_scaling(s, 0.8) for s in (0, 3)] == pytest.approx([0.8, 0.4], **close)
    assert [ref.exponential(s, 0.8, 0.25, steps=10) for s in (0, 5, 10)] == pytest.approx([0.8, 0.4, 0.2], **close)
    rates = [ref.cosine(s, 0.8, 12, warmup=4, final=0.2) for s in (0, 3, 4, 8, 12, 99)]
    assert rates == pytest.approx([0.2, 0.8, 0.8, 0.5, 0.2, 0.2], **close)
    rates = [ref.one_cycle(s, 0.8, 20, start=0.25, final=0.125, rise=0.5) for s in (0, 5, 10, 15, 20, 99)]
    assert rates == pytest.approx([0.2, 0.5, 0.8, 0.45, 0.1, 0.1], **close)


@pytest.mark.parametrize(
    ("rule", "options", "moves"),
    [  # of the gradients 2, 4, -1, -3 with eta = 1/2, worked out by hand
        ("sgd", {}, [-1.0, -2.0, 0.5, 1.5]),
        ("sgd", {"momentum": 0.5}, [-1.0, -2.5, -0.75, 1.125]),
        ("sgd", {"momentum": 0.5, "nesterov": True}, [-1.5, -3.25, 0.125, 2.0625]),
        ("rprop", {}, [-0.5, -0.6, 0.0, 0.3]),
        ("rprop", {"largest": 0.55, "shrink": 0.1, "smallest": 0.2}, [-0.5, -0.55, 0.0, 0.2]),
        ("rmsprop", {"rho": 0.5, "epsilon": 0.0}, [-1 / 2**0.5, -2 / 3, 0.5 / 5**0.5, 1.5 / 7**0.5]),
        ("rmsprop", {"rho": 0.0, "epsilon": 3.0}, [-1 / 5, -2 / 7, 0.5 / 4, 1.5 / 6]),
        ("adagrad", {"epsilon": 0.0}, [-0.5, -2 / 20**0.5, 0.5 / 21**0.5, 1.5 / 30**0.5]),
        (
            "adam",
            {"beta1": 0.5, "beta2": 0.5, "epsilon": 0.0},
            [-0.5, -5 / 3 / 12**0.5, -3 / 7 / (40 / 7) ** 0.5, 3 / 5 / (112 / 15) ** 0.5],
        ),
        ("adam", {"beta1": 0.0, "beta2": 0.0, "epsilon": 3.0}, [-1 / 5, -2 / 7, 0.5 / 4, 1.5 / 6]),
        (
            "adam",  # v is 2, 9, 5, 7 and 1 − β2^t is 1/2, 3/4, 7/8, 15/16
            {"beta1": 0.0, "beta2": 0.5, "epsilon": 3.0, "epsilon_hat": True},
            [
                -(0.5**0.5) / (2**0.5 + 3),
                -2 * 0.75**0.5 / (3 + 3),
                0.5 * 0.875**0.5 / (5**0.5 + 3),
                1.5 * (15 / 16) ** 0.5 / (7**0.5 + 3),
            ],
        ),
    ],
)
def test_update_rules_by_hand(rule: str, options: dict[str, Any], moves: list[float]) -> None:
    optimizer = ref.Optimizer(rule, 0.5, options)
    theta, state = ref.Parameters([[[0.0]]], [[0.0]]), None
    for step, (G, move) in enumerate(zip([2.0, 4.0, -1.0, -3.0], moves, strict=True)):
        new, state = ref.update(theta, ref.Parameters([[[G]]], [[G]]), optimizer, state, step)
        assert new.W[0][0][0] - theta.W[0][0][0] == pytest.approx(move, rel=1e-14, abs=1e-15)
        theta = new


def test_clipping_decay_and_layer_factors() -> None:
    theta = ref.Parameters([[[10.0]], [[10.0]]], [[10.0], [10.0]])
    gradient = ref.Parameters([[[2.0]], [[2.0]]], [[2.0], [2.0]])  # of length 4
    optimizer = ref.Optimizer("sgd", 0.5, clip_norm=2.0, weight_decay=0.1, layer_factors=[1.0, 0.5])
    new, _ = ref.update(theta, gradient, optimizer)
    assert new == ref.Parameters([[[9.0]], [[9.5]]], [[9.5], [9.75]])
    new, _ = ref.update(theta, gradient, replace(optimizer, clip_norm=4.0, weight_decay=0.0, layer_factors=None))
    assert new == ref.Parameters([[[9.0]], [[9.0]]], [[9.0], [9.0]])


@pytest.mark.parametrize("rule", ref.RULES)
def test_training_learns_and_continues(rule: str) -> None:
    network = ref.Network((2, 4, 2), ["tanh"], loss="cross_entropy", l2=1e-4, dropout=[0.1])
    optimizer = ref.Optimizer(rule, lambda step: ref.cosine(step, 0.02, 40, warmup=5), clip_norm=5.0)
    theta = start(network.layers, 0)
    X, _ = table(network, 1, rows=20)
    Y = [int(x[0] > x[1]) for x in X]
    batches = [list(range(20))[s % 4 :: 3] for s in range(40)]  # of 7, 6, 6 and 6 rows
    whole, whole_state, losses = ref.train(network, theta, X, Y, batches, optimizer, seed=9)
    half, state, first = ref.train(network, theta, X, Y, batches[:17], optimizer, seed=9)
    rest, rest_state, last = ref.train(network, half, X, Y, batches[17:], optimizer, state=state, first_step=17, seed=9)
    assert (rest, rest_state, first + last) == (whole, whole_state, losses)
    assert loss_at(network, whole, X, Y, None, None) < loss_at(network, theta, X, Y, None, None)
    assert theta == start(network.layers, 0)


def test_the_2_2_2_example_of_mazur() -> None:
    """https://mattmazur.com/2015/03/17/a-step-by-step-backpropagation-example/, with the biases updated too."""
    network = ref.Network((2, 2, 2), ["sigmoid"], "sigmoid")
    theta = ref.Parameters([[[0.15, 0.25], [0.20, 0.30]], [[0.40, 0.50], [0.45, 0.55]]], [[0.35, 0.35], [0.60, 0.60]])
    X, Y = [[0.05, 0.10]], [[0.01, 0.99]]
    printed: dict[str, Any] = {"rel": 0.0, "abs": 0.5001e-12}  # twelve decimals
    back = ref.backward(network, theta, ref.forward(network, theta, X), Y)
    assert back.loss == pytest.approx(0.298371108760, **printed)
    assert back.delta[1][0] == pytest.approx([0.138498561629, -0.038098236517], **printed)
    assert back.delta[0][0] == pytest.approx([0.008771354689, 0.009954254705], **printed)
    new, _, losses = ref.train(network, theta, X, Y, [[0]], ref.Optimizer("sgd", 0.5))
    assert losses == [back.loss]
    columns = [[list(column) for column in zip(*W, strict=True)] for W in new.W]
    assert columns[1][0] == pytest.approx([0.358916479718, 0.408666186076], **printed)
    assert columns[1][1] == pytest.approx([0.511301270239, 0.561370121108], **printed)
    assert columns[0][0] == pytest.approx([0.149780716133, 0.199561432266], **printed)
    assert columns[0][1] == pytest.approx([0.249751143632, 0.299502287265], **printed)
    assert new.b[0] == pytest.approx([0.345614322655, 0.345022872647], **printed)
    assert new.b[1] == pytest.approx([0.530750719186, 0.619049118258], **printed)
    assert loss_at(network, new, X, Y, None, None) == pytest.approx(0.280471446791, **printed)
    new.b = theta.b  # the article leaves the biases
    assert loss_at(network, new, X, Y, None, None) == pytest.approx(0.291027773694, **printed)
