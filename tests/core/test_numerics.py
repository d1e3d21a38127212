"""The edges of the floating-point numbers: saturation, NaN and infinity, row weights of zero, precision, padding."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import cases
import glassprop as gp
from glassprop.core import plan
from glassprop.core.update import OPTIMIZERS

DTYPES = ("float64", "float32")
HUGE = {"float64": 1e300, "float32": 1e30}


def one_weight(g: Any, network: gp.Network, dtype: str) -> gp.Parameters:
    """Parameters of a network (1, outputs) whose pre-activations for x = 1 are g."""
    return gp.Parameters.from_arrays([np.atleast_2d(g)], [np.zeros(network.layers[-1])], dtype=dtype)


def passes(network: gp.Network, parameters: gp.Parameters, X: Any, Y: Any, weights: Any = None) -> gp.Backward:
    return gp.backward(network, parameters, gp.forward(network, parameters, X), Y, weights)


# --- no overflow for any finite pre-activation ---------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("size", [50.0, 100.0, 700.0, 1e4, None])
def test_binary_cross_entropy_of_any_pre_activation(size: float | None, sign: int, dtype: str) -> None:
    g = sign * (size or HUGE[dtype])
    network = gp.Network((1, 1), loss="binary_cross_entropy")
    for y in (0.0, 1.0):
        back = passes(network, one_weight(g, network, dtype), np.ones((1, 1), dtype), [y])
        wanted = max(g, 0) - g * y + math.log1p(math.exp(-min(abs(g), 700.0)))
        assert back.loss == pytest.approx(wanted, rel=1e-6 if dtype == "float32" else 1e-14, abs=1e-37)
        assert back.delta[0].item() == pytest.approx(float(g > 0) - y, abs=1e-20)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [50.0, 100.0, 700.0, 1e4, None])
def test_cross_entropy_of_any_pre_activation(size: float | None, dtype: str) -> None:
    top = size or HUGE[dtype]
    network = gp.Network((1, 3), loss="cross_entropy")
    parameters = one_weight([top, -top, 0.0], network, dtype)
    for y, wanted in ((0, 0.0), (1, 2 * top), (2, top)):
        back = passes(network, parameters, np.ones((1, 1), dtype), [y])
        assert back.loss == pytest.approx(wanted, rel=1e-6, abs=1e-20)
        np.testing.assert_allclose(back.delta[0][0], np.eye(3)[0] - np.eye(3)[y], atol=1e-20)


@pytest.mark.parametrize("dtype", DTYPES)
def test_cross_entropy_does_not_mind_a_common_shift(dtype: str) -> None:
    network = gp.Network((1, 3), loss="cross_entropy")
    small, shifted = (one_weight(np.array([1.0, 2.0, 4.0]) + shift, network, dtype) for shift in (0, 1024))
    X = np.ones((1, 1), dtype)
    assert passes(network, small, X, [1]).loss == passes(network, shifted, X, [1]).loss


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [50.0, 100.0, 700.0, 1e4, None])
def test_poisson_of_any_pre_activation(size: float | None, dtype: str) -> None:
    network = gp.Network((1, 1), loss="poisson")
    limit = {"float64": 709.0, "float32": 88.0}[dtype]
    for g in (size or HUGE[dtype], -(size or HUGE[dtype])):
        for y in (0.0, 3.0):
            fwd = gp.forward(network, one_weight(g, network, dtype), np.ones((1, 1), dtype))
            back = gp.backward(network, one_weight(g, network, dtype), fwd, [y])
            assert np.isfinite([back.loss, back.delta[0].item(), fwd.output.item(), back.dW[0].item()]).all()
            if abs(g) < limit:
                assert back.loss == pytest.approx(math.exp(g) - y * g, rel=1e-5 if dtype == "float32" else 1e-13)
            elif g > 0:  # saturated at the largest power of two
                assert fwd.output.item() == pytest.approx(2.0 ** {"float64": 1023, "float32": 127}[dtype], rel=0.1)
            else:
                assert back.loss == pytest.approx(-y * g, rel=1e-6, abs=1e-37)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("loss", ["poisson", "binary_cross_entropy", "cross_entropy"])
def test_linked_losses_behind_huge_weights(loss: str, dtype: str) -> None:
    """A whole network, with pre-activations of the output of some 1e30 (1e300)."""
    case = cases.case((3, 4, 3), loss=loss, rows=20, weighted=True).of(dtype)
    case.parameters.W[1][...] *= HUGE[dtype]
    fwd, back = case.passes()
    assert np.abs(fwd.g[1]).max() > HUGE[dtype] / 100
    for array in (*fwd.h, back.delta[1]):
        assert np.isfinite(array).all()
    assert not np.isnan(back.loss)
    if loss != "poisson":  # whose sums over outputs and rows, each of the largest number, cannot be represented
        assert np.isfinite([back.loss, *back.gradient.theta]).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", cases.HIDDEN)
def test_no_hidden_activation_makes_nan_of_a_finite_pre_activation(activation: str, dtype: str) -> None:
    network = gp.Network((1, 1, 1), activation)
    top = float(np.finfo(dtype).max) / 4
    for g in (1e3, 1e10, HUGE[dtype], top):
        for sign in (1, -1):
            # the second weight is so small that the output, and with it the loss, stays representable
            W = [[[sign * g]], [[1 / g]]]
            parameters = gp.Parameters.from_arrays(W, [[0.0], [0.0]], dtype=dtype)
            back = passes(network, parameters, np.ones((1, 1), dtype), [0.0])
            assert np.isfinite(back.loss), (g * sign, back.loss)
            assert np.isfinite(back.gradient.theta).all(), (g * sign, back.gradient.theta)


# --- NaN and infinity survive --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("loss", cases.LOSSES)
def test_nan_in_any_parameter_reaches_the_loss_and_the_gradient(loss: str, dtype: str) -> None:
    for activation in cases.HIDDEN:
        for layer, name in ((0, "W"), (0, "b"), (1, "W"), (1, "b")):
            case = cases.case((3, 4, 2), activation=activation, loss=loss).of(dtype)
            getattr(case.parameters, name)[layer].flat[-1] = np.nan
            _, back = case.passes()
            assert np.isnan(back.loss), (activation, name, layer)
            assert np.isnan(back.gradient_norm), (activation, name, layer)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("loss", cases.LOSSES)
def test_infinity_in_a_parameter_reaches_the_loss(loss: str, dtype: str) -> None:
    """Of activations that grow: at infinity the others have their limits, as they should."""
    for activation in ("identity", "relu", "leaky_relu", "elu", "selu", "gelu", "silu", "mish", "softplus"):
        case = cases.case((3, 4, 2), activation=activation, loss=loss, seed=4).of(dtype)
        case.parameters.b[0][1] = np.inf
        assert not np.isfinite(case.passes()[1].loss), activation
    case.parameters.b[0][1] = 0
    case.parameters.b[1][:] = np.inf
    assert not np.isfinite(case.passes()[1].loss)


@pytest.mark.parametrize("dtype", DTYPES)
def test_nan_in_a_penalised_weight(dtype: str) -> None:
    case = cases.case((3, 4, 2), l1=0.1, l2=0.1).of(dtype)
    case.parameters.W[0][0, 0] = np.nan
    assert np.isnan(case.passes()[1].loss)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_step_that_is_not_finite_is_not_taken(dtype: str) -> None:
    """The run stops before the step, with parameters and state as they were, and says at which."""
    case = cases.case((3, 4, 2), rows=12).of(dtype)
    good = cases.train(case.rows(np.arange(8)), gp.Adam(0.01), 4, 1)
    parameters = case.parameters.copy()
    memory = cases.workspace(replace(case, parameters=parameters), gp.Adam(0.01), 4, 1)
    memory["X"][9, 1] = np.nan  # in the third batch
    assert memory.run(0, 3, plan.TRAIN) == 2
    assert memory.progress["status"][0] == plan.DIVERGED
    np.testing.assert_array_equal(parameters.theta, good.parameters.theta)
    np.testing.assert_array_equal(memory["state"], [part.theta for part in good.state])


# --- weights of zero, label smoothing ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("loss", cases.LOSSES)
def test_rows_without_weight_contribute_nothing(loss: str, dtype: str) -> None:
    """Even where their loss overflows."""
    case = cases.case((3, 5, 2), activation="relu", loss=loss, rows=40, weighted=True, l2=0.1).of(dtype)
    out = np.arange(40) % 3 == 1
    case.weights[out] = 0
    case.X[out] *= {"float64": 1e160, "float32": 1e20}[dtype]
    _, back = case.passes()
    _, wanted = case.rows(~out).passes()
    tolerance = 1e-13 if dtype == "float64" else 1e-5
    assert back.loss == pytest.approx(wanted.loss, rel=tolerance)
    assert cases.difference(back.gradient.theta, wanted.gradient.theta) < tolerance
    assert not any(delta[out].any() for delta in back.delta)


def test_label_smoothing_by_hand() -> None:
    """Targets of 0.95 and 0.05 with pre-activations (0, 1000): 0.95 · 1000, and one of 0.9 with 1000: 0.1 · 1000."""
    network = gp.Network((1, 2), loss=gp.Loss("cross_entropy", label_smoothing=0.1))
    back = passes(network, one_weight([0.0, 1000.0], network, "float64"), [[1.0]], [0])
    assert back.loss == pytest.approx(950.0, rel=1e-14)
    np.testing.assert_allclose(back.delta[0], [[-0.95, 0.95]], rtol=1e-14)
    network = gp.Network((1, 1), loss=gp.Loss("binary_cross_entropy", label_smoothing=0.2))
    back = passes(network, one_weight(1000.0, network, "float64"), [[1.0]], [1.0])
    assert back.loss == pytest.approx(100.0, rel=1e-14)
    np.testing.assert_allclose(back.delta[0], [[0.1]], rtol=1e-14)


@pytest.mark.parametrize("loss", ["binary_cross_entropy", "cross_entropy"])
def test_label_smoothing_of_zero_is_none(loss: str) -> None:
    case = cases.case((3, 4, 2), loss=loss, options={"label_smoothing": 0.0})
    plain = gp.Network((3, 4, 2), "tanh", loss=loss)
    assert case.passes()[1].loss == replace(case, network=plain).passes()[1].loss


# --- precision -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "wanted"), [
    ("float64", "float64"), ("float32", "float32"), ("float16", "float32"), ("int64", "float32"), ("uint8", "float32"),
    ("bool", "float32"),
])  # fmt: skip
def test_inputs_decide_the_precision(kind: str, wanted: str) -> None:
    case = cases.case((3, 4, 2))
    X = (case.X > 0).astype(kind)
    fwd = gp.forward(case.network, case.parameters, X)
    back = gp.backward(case.network, case.parameters, fwd, case.Y, np.ones(5, np.float16))
    new = gp.update(case.parameters, back, learning_rate=0.1)
    arrays = [fwd.output, *fwd.g, *fwd.h, *back.delta, *back.dW, *back.db, new.theta]
    assert {array.dtype.name for array in arrays} == {wanted}
    assert case.parameters.dtype == np.float64  # as it was


def test_python_numbers_are_float64() -> None:
    case = cases.case((3, 4, 2))
    assert gp.forward(case.network, case.parameters, case.X.tolist()).output.dtype == np.float64


def test_single_precision_is_computed_in_single_precision() -> None:
    case = cases.case((3, 20, 2), rows=30)
    (double, single) = (case.of(dtype).passes()[1] for dtype in DTYPES)
    for a, b in zip(single.dW, double.dW, strict=True):
        assert 1e-9 < cases.difference(a, b) < 1e-5


def test_either_precision_takes_parameters_of_the_other() -> None:
    case = cases.case((3, 20, 2))
    for dtype in DTYPES:
        mixed = gp.forward(case.network, case.parameters.astype("float32"), case.X.astype(dtype))
        same = gp.forward(case.network, case.parameters.astype(dtype), case.X.astype(dtype))  # its numbers fit into float32
        np.testing.assert_array_equal(mixed.output, same.output)


@pytest.mark.parametrize("value", [1e30, 1e-22])
def test_the_norm_of_gradients_whose_squares_float32_cannot_hold(value: float) -> None:
    network = gp.Network((1, 2))
    parameters = network.initialize(0, dtype="float32")
    parameters.theta[:] = 0
    X = np.ones((1, 1), np.float32)
    back = gp.backward(network, parameters, gp.forward(network, parameters, X), np.full((1, 2), value, np.float32))
    assert back.gradient_norm == pytest.approx(2 * value, rel=1e-6)  # two weights and two biases of that gradient


@pytest.mark.parametrize(("dtype", "g"), [("float32", -60.0), ("float64", -60.0), ("float64", -600.0)])
def test_poisson_of_tiny_outputs(dtype: str, g: float) -> None:
    """Of an output activation that is not the loss's own: logarithm and reciprocal are those of h, which is e^g here."""
    network = gp.Network((1, 1), output_activation="softplus", loss="poisson")
    parameters = gp.Parameters.from_arrays([[[g]]], [[0.0]], dtype)
    X = np.ones((1, 1), dtype)
    back = gp.backward(network, parameters, gp.forward(network, parameters, X), np.ones((1, 1), dtype))
    assert back.loss == pytest.approx(-g, rel=1e-6)
    assert back.db[0][0] == pytest.approx(-1, rel=1e-5)


@pytest.mark.parametrize("rule", sorted(OPTIMIZERS))
@pytest.mark.parametrize("hidden", [(), (600,)], ids=["one layer", "blocks at once"])
def test_a_step_is_refused_where_the_rule_takes_squares_that_overflow(rule: str, hidden: tuple[int, ...]) -> None:
    network = gp.Network((40, *hidden, 3), activation="identity", loss="absolute_error")
    X, Y = np.full((64, 40), 1e20, np.float32), np.zeros((64, 3), np.float32)
    optimizer = OPTIMIZERS[rule](1e-30)
    given = {"epochs": 1, "batch_size": 64, "seed": 0, "precision": "float32"}
    before = network.initialize(0, dtype="float32")
    if optimizer.squares:
        with pytest.warns(
            gp.DivergenceWarning, match="diverged at step 0 .*: the square of the gradient, which is largest in layer"
        ):
            run = gp.train(network, X, Y, optimizer=optimizer, **given)
        np.testing.assert_array_equal(run.parameters.theta, before.theta)
        clipped = gp.train(network, X, Y, optimizer=OPTIMIZERS[rule](1e-3, clip_norm=1.0), **given)
        assert not np.array_equal(clipped.parameters.theta, before.theta)
    else:
        assert not gp.train(network, X, Y, optimizer=optimizer, **given).diverged


@pytest.mark.parametrize("rule", ["adam", "rmsprop", "adagrad"])
def test_a_gradient_whose_square_overflows_moves_nothing_and_makes_no_nan(rule: str) -> None:
    network = gp.Network((40, 3))
    parameters = network.initialize(0, dtype="float32")
    X = np.ones((1, 40), np.float32)
    back = gp.backward(network, parameters, gp.forward(network, parameters, X), np.full((1, 3), 1e30, np.float32))
    new = gp.update(parameters, back, optimizer=OPTIMIZERS[rule]())
    np.testing.assert_array_equal(new.theta, parameters.theta)


def test_rprop_sees_the_signs_of_gradients_whose_product_vanishes() -> None:
    network = gp.Network((1, 1))
    parameters = network.initialize(0, dtype="float32")
    parameters.theta[:] = 0
    X, Y = np.ones((1, 1), np.float32), np.full((1, 1), 1e-25, np.float32)
    back = gp.backward(network, parameters, gp.forward(network, parameters, X), Y)
    state = np.zeros((2, parameters.theta.size), np.float32)
    for step in range(2):
        gp.update(parameters, back, optimizer=gp.Rprop(0.01), state=state, step=step)
    assert parameters.with_theta(state[1]).b[0][0] == pytest.approx(0.012)  # the second step is longer


# --- padding -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layers", [(3, 4, 2), (17, 33, 5), (1, 1), (512, 3, 2), (16, 32, 16)])
def test_padding_stays_zero(layers: tuple[int, ...], dtype: str) -> None:
    """Elements of the flat vectors that no view covers, after training with all that could touch them."""
    hidden = len(layers) - 2
    case = cases.case(layers, activation="sigmoid", dropout=[0.2] * hidden, rows=37, weighted=True, l1=0.01, l2=0.1).of(dtype)
    covered = np.zeros(case.parameters.theta.size, bool)
    places = case.parameters.with_theta(np.arange(covered.size).astype(np.float64 if dtype == "float64" else np.float32))
    for view in (*places.W, *places.b):
        covered[view.astype(int)] = True
    assert covered.sum() == case.network.n_parameters
    for rule in cases.RULES:
        optimizer = cases.rules(rule, clip_norm=0.3, weight_decay=0.1)[0]
        parameters = case.parameters.copy()
        memory = cases.workspace(replace(case, parameters=parameters), optimizer, 18, 6, cases.row_orders(37, 6))
        memory.run(0, 18, plan.TRAIN)
        assert parameters.theta[covered].all()
        for name in ("theta", "gradient"):
            assert not memory[name][~covered].any(), (rule, name)
        # the second half may serve no purpose; a step size of Rprop's is no number of a parameter either
        assert not memory["state"][0][~covered].any(), rule
        if rule != "rprop":
            assert not memory["state"][1][~covered].any(), rule


# --- below the smallest normal number ------------------------------------------------------------------------------------


def test_what_decays_becomes_zero() -> None:
    """Numbers below the smallest normal one are slow on many processors; only the core flushes them, not the caller."""
    case = cases.case((2, 3, 1), rows=4).of("float32")
    case.X[:] = 0  # no gradient of the first layer's weights: their velocity only decays
    memory = cases.workspace(case, gp.SGD(1e-3, momentum=0.5), 4, 60)
    velocity = case.parameters.with_theta(memory["state"][0])
    velocity.W[0][:] = 1e-30
    memory.run(0, 60, plan.TRAIN)  # to 1e-48; the smallest number of float32 is 1e-45
    assert (velocity.W[0] == 0).all()
    memory["state"][0][:] = 0
    velocity.W[0][:] = 1e-30
    memory.run(0, 30, plan.TRAIN)
    assert (velocity.W[0] == 0).all()  # 1e-39 is below the smallest normal one
    tiny = np.float32(1e-40)
    assert tiny * np.float32(1) == tiny != 0


@pytest.mark.parametrize("weighted", [False, True])
def test_a_row_without_weight_has_no_slope_even_where_that_is_infinite(weighted: bool) -> None:
    """poisson with an output of 0: in rows that fill up the last panel with what earlier targets were, or of weight 0."""
    network = gp.Network((1, 1), output_activation="softplus", loss="poisson")
    parameters = gp.Parameters.from_arrays([[[1.0]]], [[0.0]], "float32")
    X, Y, weights = np.ones((40, 1), np.float32), np.full((40, 1), 50.0, np.float32), np.ones(40)
    X[39], Y[32:] = -200, 0
    if weighted:
        X[38], Y[38], weights[38] = -200, 1000, 0
    run = gp.train(
        network, X, Y, weights=weights if weighted else None, parameters=parameters, optimizer=gp.SGD(1e-6), batch_size=32,
        epochs=1, shuffle=False, seed=0,
    )  # fmt: skip
    assert not run.diverged


@pytest.mark.parametrize("loss", ["half_squared_error", "cross_entropy"])
def test_a_row_without_weight_has_no_slope_even_where_its_outputs_are_nan(loss: str) -> None:
    network = gp.Network((1, 2), loss=loss)
    parameters = gp.Parameters.from_arrays([[[1e30, -1e30]]], [[0.0, 0.0]], "float32")
    fwd = gp.forward(network, parameters, np.array([[1e-30], [3e38]], np.float32))
    assert not np.isfinite(fwd.output[1]).all()
    back = gp.backward(network, parameters, fwd, [[0.0, 1.0]] * 2, [1.0, 0.0])
    assert np.isfinite(back.gradient.theta).all()
