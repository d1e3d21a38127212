"""A user's own loss: value and slope against reference.py, in both precisions, by hand and in training."""

from __future__ import annotations

import math
import pickle
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numba
import numpy as np
import pytest

import cases
import glassprop as gp
import reference as ref
from glassprop.core import jit, losses
from tests.core.test_against_reference import HUNDRED_STEPS, ONE_STEP
from tests.core.test_gradients import TOLERANCE, numeric_error

Pair = tuple[Callable[[Any, Any], Any], Callable[[Any, Any], Any]]


def log_cosh(h: float, y: float) -> float:
    return math.log(math.cosh(h - y))


def log_cosh_slope(h: float, y: float) -> float:
    return math.tanh(h - y)


#: name: (value, slope), and the outputs on which it stands.
PAIRS: dict[str, tuple[Pair, tuple[str | None, ...]]] = {
    "log_cosh": ((log_cosh, log_cosh_slope), (None, "tanh", "softplus")),
    "integers and branches": (
        (lambda h, y: 2 * (h - y) ** 2 if h > y else 3 * (h - y) ** 2, lambda h, y: 4 * (h - y) if h > y else 6 * (h - y)),
        (None, "sigmoid", "exp"),
    ),
    "gamma": ((lambda h, y: abs(y) / h + math.log(h), lambda h, y: (h - abs(y)) / (h * h)), ("exp", "softplus", "sigmoid")),
    "relative": ((lambda h, y: 0.5 * ((h - y) / y) ** 2, lambda h, y: (h - y) / y**2), (None, "gelu")),
}
LOSSES = {name: gp.Loss(name, value=value, slope=slope) for name, ((value, slope), _) in PAIRS.items()}
PLACES = [(name, output) for name, (_, outputs) in PAIRS.items() for output in outputs]


def own(name: str, layers: tuple[int, ...] = (3, 4, 2), output: str | None = None, **described: Any) -> cases.Case:
    """A case with a user's loss, for both."""
    case = cases.case(layers, output_activation=output, **described)
    given: dict[str, Any] = {
        "output_activation": output, "l2": case.network.l2, "l1": case.network.l1, "dropout": list(case.network.dropout)
    }  # fmt: skip
    mine = gp.Network(layers, list(case.network.activations), loss=LOSSES[name], **given)
    return replace(case, network=mine, twin=replace(case.twin, loss=PAIRS[name][0]))


@pytest.mark.parametrize(("name", "output"), PLACES)
def test_one_step(name: str, output: str | None) -> None:
    for rows in (1, 15, 17, 33):
        for penalty in cases.PENALTIES.values():
            case = own(name, output=output, rows=rows, weighted=rows > 1, **penalty)
            for dtype, tolerance in ONE_STEP.items():
                passes = case.of(dtype).passes()
                assert passes[1].gradient.dtype == dtype
                found = cases.pass_differences(passes, case.reference_passes())
                assert max(found.values()) < tolerance, (rows, dtype, found)


@pytest.mark.parametrize("rule", cases.RULES)
@pytest.mark.parametrize("dtype", HUNDRED_STEPS)
def test_many_steps(rule: str, dtype: str) -> None:
    case = own("log_cosh", (3, 6, 5, 2), rows=35, weighted=True, l2=0.02, dropout=[0.3, 0.2])
    mine, twin = cases.rules(rule, clip_norm=0.5)
    orders = cases.row_orders(35, 25)
    got = cases.train(case.of(dtype), mine, 9, 25, orders, seed=3)
    parameters, _, epochs = cases.reference_train(case, twin, 9, 25, orders, seed=3)
    assert cases.parameter_difference(got.parameters, parameters) < HUNDRED_STEPS[dtype]
    assert cases.difference(got.losses, epochs) < HUNDRED_STEPS[dtype]


@pytest.mark.parametrize(("name", "output"), PLACES)
def test_objective_and_gradient_are_of_one_function(name: str, output: str | None) -> None:
    assert numeric_error(own(name, (3, 4, 3, 2), output, weighted=True, l2=0.1)) < TOLERANCE


@pytest.mark.parametrize("spoilt", [lambda s: 1.001 * s, lambda s: 0.999 * s, lambda s: -s])
def test_a_wrong_slope_is_caught(spoilt: Callable[[float], float]) -> None:
    case, change = own("log_cosh", (3, 4, 3, 2)), jit.scalar(spoilt)
    wrong = gp.Loss("wrong", value=log_cosh, slope=lambda h, y: change(math.tanh(h - y)))
    assert numeric_error(replace(case, network=gp.Network(case.network.layers, "tanh", loss=wrong))) > 1000 * TOLERANCE


@pytest.mark.parametrize("dtype", ONE_STEP)
@pytest.mark.parametrize("rows", [5, 17, 40])
def test_rows_that_are_not_there_have_no_slope(rows: int, dtype: str) -> None:
    """Of a target of 0 the slope is infinite: in rows without weight, and where the last panel is filled up."""
    case = own("relative", rows=rows)
    gone = np.arange(rows) % 3 == 1
    case.Y[gone] = 0
    weighted = replace(case, weights=np.where(gone, 0.0, 1.0)).of(dtype).passes()[1]
    alone = case.rows(~gone)
    found = cases.differences(weighted.dW + weighted.db, [*alone.reference_passes()[1].dW, *alone.reference_passes()[1].db])
    assert found < ONE_STEP[dtype]


# --- training ------------------------------------------------------------------------------------------------------------


def fit(case: cases.Case, epochs: int = 12, **given: Any) -> gp.Run:
    return gp.train(
        case.network, case.X, case.Y, epochs=epochs, **{"batch_size": 8, "seed": 1, "optimizer": gp.Adam(0.01)} | given
    )


@pytest.mark.parametrize("dtype", ONE_STEP)
def test_training_stops_by_its_validation_loss(dtype: str) -> None:
    case = own("log_cosh", rows=60).of(dtype)
    held = case.rows(np.arange(40, 60))
    run = fit(case.rows(np.arange(40)), 200, validation=(held.X, held.Y), patience=3)
    assert "the validation loss did not improve for 3 epochs" in run.stopped
    found = replace(held, parameters=run.parameters).reference_passes()[1].loss
    assert run.history.validation_loss[run.best_epoch - 1] == pytest.approx(found, rel=ONE_STEP[dtype])


def test_same_bits_stopped_and_continued_by_any_number_of_threads_and_side_by_side() -> None:
    case = own("log_cosh", (3, 200, 200, 2), rows=200, dropout=[0.1, 0.1])
    whole = fit(case, 4, batch_size=100, threads=1).parameters.theta
    for run in (
        fit(case, 1, batch_size=100).resume(3),
        fit(case, 4, batch_size=100, threads=3),
        *gp.train_many(case.network, case.X, case.Y, seed=[1], epochs=4, batch_size=100, optimizer=gp.Adam(0.01)),
    ):
        np.testing.assert_array_equal(run.parameters.theta, whole)


def test_a_copy_of_a_built_in_loss_trains_alike() -> None:
    case = own("log_cosh", rows=50)
    mine = gp.Loss("mine", value=lambda h, y: 0.5 * (y - h) * (y - h), slope=lambda h, y: h - y)
    one, other = (fit(replace(case, network=gp.Network((3, 4, 2), "tanh", loss=loss))) for loss in (mine, "half_squared_error"))
    np.testing.assert_allclose(one.parameters.theta, other.parameters.theta, rtol=1e-12)
    np.testing.assert_allclose(one.history.loss, other.history.loss, rtol=1e-12)


def test_no_value_ends_training_with_a_message() -> None:
    case = own("log_cosh", rows=20)
    no_value = gp.Loss("no_value", value=lambda h, y: math.sqrt(0.02 - abs(h - y)), slope=lambda h, y: -1.0)
    with pytest.warns(
        gp.DivergenceWarning, match="diverged at step 0 .*the loss, from the outputs of layer 2, ceased to be fin"
    ):
        fit(replace(case, network=gp.Network((3, 4, 2), loss=no_value)))
    no_slope = gp.Loss("no_slope", value=lambda h, y: h, slope=lambda h, y: math.nan)
    with pytest.warns(gp.DivergenceWarning, match=r"diverged at step 0 .*the gradient of layer 2 ceased to be finite"):
        fit(replace(case, network=gp.Network((3, 4, 2), loss=no_slope)))


# --- as a value ----------------------------------------------------------------------------------------------------------


def test_a_loss_is_what_it_is_made_of() -> None:
    mine = gp.Loss("mine", value=log_cosh, slope=log_cosh_slope, formula="log cosh(h − y)", slope_formula="tanh(h − y)")
    same = gp.Loss("mine", value=log_cosh, slope=log_cosh_slope, formula="Σ log cosh(h − y)", slope_formula="tanh(h − y)")
    assert mine == same
    assert hash(mine) == hash(same)
    assert (mine.link, mine.targets, mine.formula) == ("identity", "any", "Σ log cosh(h − y)")
    others = [gp.Loss("mine", value=log_cosh, slope=log_cosh), gp.Loss("mine", value=log_cosh, slope=log_cosh_slope), "mine"]
    assert mine not in others
    assert gp.Network((2, 1), loss=mine) == gp.Network((2, 1), loss=same) != gp.Network((2, 1), loss=others[1])
    assert repr(mine) == "Loss('mine', value=log_cosh, slope=log_cosh_slope)"
    assert repr(gp.Network((2, 1), loss=mine)) == "Network((2, 1), output_activation='identity', loss='mine')"
    assert mine.own
    assert not gp.Loss("huber").own


def test_it_travels_by_its_functions() -> None:
    mine = gp.Loss("mine", value=log_cosh, slope=log_cosh_slope, formula="log cosh(h − y)")
    mine.kernel(gp.ACTIVATIONS["identity"], np.dtype("float64"))
    for loss in (mine, gp.Loss("quantile", quantile=0.9), gp.Loss("poisson")):
        assert pickle.loads(pickle.dumps(loss)) == loss
    assert not pickle.loads(pickle.dumps(mine))._own_addresses
    nameless = gp.Loss("mine", value=lambda h, y: h - y, slope=lambda h, y: 1.0)
    with pytest.raises((pickle.PicklingError, AttributeError), match="lambda"):
        pickle.dumps(nameless)


def test_two_of_one_name_are_two() -> None:
    found = []
    for factor in (2.0, 3.0):
        loss = gp.Loss("twice", value=lambda h, y, factor=factor: factor * h, slope=lambda h, y, factor=factor: factor)
        network, parameters = gp.Network((1, 1), loss=loss), gp.Parameters.from_arrays([[[1.0]]], [[0.0]])
        back = gp.backward(network, parameters, gp.forward(network, parameters, [[1.0]]), [0.0])
        found.append((back.loss, back.db[0].item()))
    assert found == [(2.0, 2.0), (3.0, 3.0)]


def test_networks_share_its_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where several compile at once; and with another output nothing is compiled again."""
    calls: list[str] = []
    kernel = losses.kernel
    monkeypatch.setattr(losses, "kernel", lambda *a, **k: calls.append(a[1]) or kernel(*a, **k))
    mine = gp.Loss("mine", value=log_cosh, slope=log_cosh_slope)
    for output in (None, "tanh"):
        network = gp.Network((3, 4, 1), output_activation=output, loss=mine)
        gp.train_many(network, np.eye(3), np.ones(3), seed=[0, 1, 2, 3], epochs=1, threads=4)
    assert calls == ["mine", "mine"]  # its value alone, and both


# --- what is no loss -----------------------------------------------------------------------------------------------------


def raises(h: float, y: float) -> float:
    if y < 0:
        raise ValueError("no value")
    return h


WANTED = "must be a function of the numbers h and y; got"
BAD: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "no slope": ({"value": log_cosh}, TypeError, f"slope of loss 'mine' {WANTED} None"),
    "no value": ({"slope": log_cosh}, TypeError, f"value of loss 'mine' {WANTED} None"),
    "a formula alone": ({"formula": "h − y"}, TypeError, f"value of loss 'mine' {WANTED} None"),
    "no function": ({"value": log_cosh, "slope": 3}, TypeError, f"slope of loss 'mine' {WANTED} 3"),
    "raises": ({"value": raises, "slope": log_cosh}, TypeError,
        "value of loss 'mine' must raise nothing, since compiled loops hear no exceptions; where it has no value, let it "
        "return NaN"),
    "a name that is taken": ({"name": "huber", "value": log_cosh, "slope": log_cosh}, ValueError,
        "name 'huber' belongs to a built-in loss; choose another"),
    "no name": ({"name": 3, "value": log_cosh, "slope": log_cosh}, TypeError, "name of a loss must be a text; got 3"),
    "an option": ({"value": log_cosh, "slope": log_cosh, "delta": 1.0}, TypeError, "loss 'mine' has no option 'delta'"),
    "no formula": ({"value": log_cosh, "slope": log_cosh, "formula": 3}, TypeError,
        "formula of loss 'mine' must be a text; got 3"),
    "no formula of its slope": ({"value": log_cosh, "slope": log_cosh, "slope_formula": b"h"}, TypeError,
        "slope_formula of loss 'mine' must be a text; got b'h'"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_loss(name: str) -> None:
    given, kind, message = BAD[name]
    with pytest.raises(kind, match=f"^{re.escape(message)}$"):
        gp.Loss(**{"name": "mine"} | given)


@pytest.mark.parametrize("which", ["value", "slope"])
@pytest.mark.parametrize(("function", "reason"), [
    (lambda h: h, "too many positional arguments"),
    (lambda h, y, z: h, "missing a required argument: 'z'"),
    (lambda h, y: [h], "Cannot cast list"),
    (lambda h, y: (h, y), "Cannot cast UniTuple"),
    (lambda h, y: "far", "Cannot cast unicode_type to float[36][24]"),
    (lambda h, y: None, "Cannot cast none"),
    (lambda h, y: h + 1j, "Cannot cast complex128"),
    (lambda h, y: input(h), "Untyped global name 'input'"),
    (lambda h, y: unknown_name_in_here + h, "NameError: name 'unknown_name_in_here' is not defined"),  # noqa: F821
])  # fmt: skip
def test_what_cannot_be_compiled(function: Any, reason: str, which: str) -> None:
    mine = gp.Loss("mine", **{"value": log_cosh, "slope": log_cosh_slope} | {which: function})
    message = rf"^{which} of loss 'mine' cannot be compiled: it must be a function of the numbers h and y in the Python that "
    with pytest.raises(TypeError, match=message + rf"Numba understands \(.*{reason}.*\)$"):
        gp.train(gp.Network((2, 1), loss=mine), [[1.0, 2.0]], [1.0], epochs=1)


def test_both_wrong_names_the_first() -> None:
    mine = gp.Loss("mine", value=lambda h, y: [h], slope=lambda h: h)
    with pytest.raises(TypeError, match=r"^value of loss 'mine' .*Cannot cast list"):
        gp.train(gp.Network((2, 1), loss=mine), [[1.0, 2.0]], [1.0], epochs=1)


def test_outputs_on_which_it_cannot_stand() -> None:
    with pytest.raises(
        ValueError, match=r"^output_activation for loss 'log_cosh' must be one of 'identity', .*; got 'softmax'$"
    ):
        gp.Network((2, 3), output_activation="softmax", loss=LOSSES["log_cosh"])
    unbuilt = gp.Activation("unbuilt", lambda g: g / 2, lambda g: 0.5)
    network = gp.Network((1, 1), output_activation=unbuilt, loss=LOSSES["log_cosh"])
    parameters = gp.Parameters.from_arrays([[[2.0]]], [[0.0]])
    back = gp.backward(network, parameters, gp.forward(network, parameters, [[1.0]]), [0.0])
    assert back.loss == pytest.approx(math.log(math.cosh(1)), rel=1e-15)
    assert back.db[0][0] == pytest.approx(math.tanh(1) / 2, rel=1e-15)


def test_numbas_own_functions_and_numpys_are_functions() -> None:
    twin = ref.Network((2, 1), loss=(math.hypot, lambda h, y: h / math.hypot(h, y)))
    mine = gp.Loss("distance", value=np.hypot, slope=jit.scalar(lambda h, y: h / math.hypot(h, y)))
    case = cases.case((2, 1), rows=3)
    case = replace(case, network=gp.Network((2, 1), loss=mine), twin=twin)
    assert max(cases.pass_differences(case.passes(), case.reference_passes()).values()) < ONE_STEP["float64"]


@numba.njit
def strict_root(x: float) -> float:
    if x < 0:
        raise ValueError
    return math.sqrt(x)


TABLE = np.array([1.0, 2.0, 3.0])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_where_a_users_function_fails_its_value_is_nan_and_others_are_as_they_should_be(dtype: str) -> None:
    """Compiled loops hear no exceptions: what came after the failing number would be what was there before."""
    X, parameters = (
        np.array([[0.0], [-9.0], [1.0], [2.0], [77.0]], dtype),
        gp.Parameters.from_arrays([[[1.0]]] * 2, [[0.0]] * 2),
    )
    looked_up = gp.Activation("looked_up", lambda g: TABLE[int(g)], lambda g: strict_root(g), reads="g")
    network = gp.Network((1, 1, 1), looked_up)
    fwd = gp.forward(network, parameters, X)
    np.testing.assert_array_equal(fwd.output[:, 0], [1, np.nan, 2, 3, np.nan])
    fwd = gp.forward(network, parameters, X[[0, 2, 3]])
    back = gp.backward(network, parameters, fwd, [0.0, 0.0, 0.0])
    np.testing.assert_allclose(back.delta[0][:, 0], [0, 2, 3 * math.sqrt(2)], rtol=1e-6)
    rooted = gp.Loss("rooted", value=lambda h, y: strict_root(h - y), slope=lambda h, y: strict_root(h))
    network, parameters = gp.Network((1, 1), loss=rooted), gp.Parameters.from_arrays([[[1.0]]], [[0.0]])
    back = gp.backward(network, parameters, gp.forward(network, parameters, X[[1, 2, 4]]), [0.0, 0.0, 0.0])
    assert math.isnan(back.loss)
    np.testing.assert_allclose(back.delta[0][:, 0], [np.nan, 1, math.sqrt(77)], rtol=1e-6)
