"""check_gradients: right gradients pass, each planted mistake is caught and named."""

import json
import math
import re

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer

import cases
import glassprop as gp
from glassprop.glass import checked

X = np.random.default_rng(0).normal(size=(12, 3))
Y = np.random.default_rng(1).normal(size=(12, 3))
SQUARE = gp.Network((3, 3, 3, 3), activation="tanh", l2=0.05)


@pytest.fixture
def parameters():
    return cases.start(SQUARE.layers)


@pytest.fixture
def gradient(parameters):
    return gp.backward(SQUARE, parameters, gp.forward(SQUARE, parameters, X), Y).gradient


def check(parameters, gradient=None, network=SQUARE, **given):
    return gp.check_gradients(network, parameters, X, Y, gradient=gradient, **given)


@pytest.mark.parametrize("loss", cases.LOSSES)
@pytest.mark.parametrize("activation", ["relu", "elu", "gelu"])
def test_the_core_passes(activation, loss):
    case = cases.case((5, 8, 6, 3), activation=activation, loss=loss, rows=60, weighted=True, l2=0.01)
    report = gp.check_gradients(case.network, case.parameters, case.X, case.Y, weights=case.weights)
    assert report, report
    assert report.verdict.startswith("right: the largest relative error of ")
    assert report.error < 1e-7


def test_a_thousand_rows_through_relus_pass():
    network = gp.Network((20, 64, 64, 1))
    rng = np.random.default_rng(0)
    report = gp.check_gradients(network, network.initialize(0), rng.normal(size=(1000, 20)), rng.normal(size=1000), entries=20)
    assert report, report


@pytest.mark.parametrize("activation", ["relu", "selu"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_trained_networks_whose_gradients_are_small_pass(activation, seed):
    """Beside a loss that is 50 times theirs, 569 rows with a kink at every distance."""
    X, y = load_breast_cancer(return_X_y=True)
    X = (X - X.mean(0)) / X.std(0)
    network = gp.Network((30, 64, 64, 2), activation=activation, loss="cross_entropy")
    run = gp.train(network, X, y, epochs=100, seed=seed)
    report = gp.check_gradients(network, run.parameters, X, y, entries=40)
    assert report, report
    assert all(tensor.judged == tensor.entries for tensor in report.tensors)
    assert report.error < 1e-7


def test_explain_judges_as_check_gradients_does():
    case = cases.case((5, 8, 3), activation="relu", loss="cross_entropy", rows=60)
    X, Y = case.X, case.Y
    check = gp.explain(case.network, case.parameters, X, Y, full=True).steps[0].check
    report = gp.check_gradients(case.network, case.parameters, X, Y, entries=None)
    assert check.entries == sum(tensor.judged for tensor in report.tensors)
    assert check.error == pytest.approx(report.error, rel=1e-3)
    lost = gp.Network((5, 8, 3), activation=gp.Activation("lost", np.tanh, lambda h: 1.001 * (1 - h * h), "h"))
    check = gp.explain(lost, case.parameters, X, np.ones((60, 3)), full=True).steps[0].check
    report = gp.check_gradients(lost, case.parameters, X, np.ones((60, 3)), entries=None)
    assert check.entries == sum(tensor.judged for tensor in report.tensors)
    assert not check.passed
    assert not report
    assert check.error == pytest.approx(report.error, rel=1e-3)


def test_float32_parameters_are_checked_in_float64():
    assert check(cases.start(SQUARE.layers).astype(np.float32))


# --- planted mistakes ----------------------------------------------------------------------------------------------------


def off_by_a_thousandth(g, p):
    g.W[1] *= 1.001


def one_entry_off(g, p):
    g.W[1][0, np.abs(g.W[1][0]).argmax()] *= 1.05


def transposed_gradient(g, p):
    g.W[1][...] = g.W[1].T.copy()


def missing_mean(g, p):
    for array in (*g.W, *g.b):
        array *= len(X)


def mean_taken_twice(g, p):
    g.theta[:] /= len(X)


def wrong_sign(g, p):
    g.theta[:] *= -1


def forgotten_bias(g, p):
    for b in g.b:
        b[...] = 0


def forgotten_penalty(g, p):
    for dW, W in zip(g.W, p.W, strict=True):
        dW -= 0.05 * W


def transposed_weight(g, p):
    """δ_2 = W_3ᵀ δ_3 instead of W_3 δ_3, and all that follows from it, written out."""
    fwd = gp.forward(SQUARE, p, X)
    delta = gp.backward(SQUARE, p, fwd, Y).delta[2]
    for l in (1, 0):
        W = p.W[l + 1] if l == 1 else p.W[l + 1].T
        delta = (delta @ W) * (1 - fwd.h[l] ** 2)
        below = fwd.h[l - 1] if l else X
        g.W[l][...] = below.T @ delta / len(X) + 0.05 * p.W[l]
        g.b[l][...] = delta.mean(0)


MISTAKES = {
    off_by_a_thousandth: "the gradient of W2 is 1.001 times what it should be: look for a constant factor",
    one_entry_off: "the gradient of W2 is wrong, and that of the biases right: look at h δᵀ",
    transposed_gradient: "the gradient of W2 is transposed",
    missing_mean: "the gradient of all parameters is 12 times what it should be: the mean over 12 rows was not taken",
    mean_taken_twice: "the gradient of all parameters is 0.0833333 times what it should be: the mean over 12 rows",
    wrong_sign: "the gradient of all parameters has the wrong sign",
    forgotten_bias: "the gradient of b1, b2, b3 is 0 throughout: it has been forgotten",
    forgotten_penalty: "the gradient of W1, W2, W3 lacks that of the penalty",
    transposed_weight: "layers 1 to 2 are wrong and what is above is right: δ goes wrong on its way from layer 3 to layer 2",
}


@pytest.mark.parametrize("plant", MISTAKES, ids=lambda plant: plant.__name__)
def test_mistakes_in_a_gradient_handed_in_are_caught_and_named(parameters, gradient, plant):
    assert check(parameters, gradient)
    plant(gradient, parameters)
    report = check(parameters, gradient)
    assert not report
    assert report.findings[0].startswith(MISTAKES[plant]), report
    assert len(report.findings) == 1, report


@pytest.mark.parametrize("l2", [0.0, 1e-9])
def test_what_looks_like_no_known_mistake_is_not_said_to_be_one(l2):
    """Off by 1e-6 of the largest here and there: no factor, and no penalty that there is not, or that is smaller."""
    network, start = gp.Network(SQUARE.layers, activation="tanh", l2=l2), cases.start(SQUARE.layers)
    given = gp.backward(network, start, gp.forward(network, start, X), Y).gradient
    given.W[1] += 1e-6 * np.abs(given.W[1]).max() * np.random.default_rng(0).choice([-1, 1], given.W[1].shape)
    report = check(start, given, network)
    assert [tensor.verdict for tensor in report.tensors] == ["right", "right", "doubtful", "right", "right", "right"]
    assert report.findings == ("the gradient of W2 is wrong, and that of the biases right: look at h δᵀ, and at the penalty",)


def test_a_factor_is_never_said_to_be_1(parameters, gradient):
    gradient.W[1] *= 1 + 3e-6
    report = check(parameters, gradient)
    assert not report
    assert "times what it should be" not in report.findings[0]


def test_wrong_everywhere_points_to_the_loss(parameters, gradient):
    gradient.theta[:] = np.where(gradient.theta, gradient.theta**2, 0)
    assert check(parameters, gradient).findings[0].startswith("all layers are wrong: look at the loss")


@pytest.mark.parametrize("reads", ["g", "h"])
def test_an_activation_with_a_slope_off_by_a_thousandth_is_named(reads, parameters):
    slope = (lambda g: 1.001 * (1 - np.tanh(g) ** 2)) if reads == "g" else (lambda h: 1.001 * (1 - h * h))
    own = gp.Activation("almost_tanh", np.tanh, slope, reads=reads)
    report = check(parameters, network=gp.Network(SQUARE.layers, activation=["relu", own]))
    assert not report
    assert report.findings[0].startswith("φ′ of activation 'almost_tanh' is not the slope of its φ: at g = ")
    right = gp.Activation("really_tanh", np.tanh, lambda h: 1 - h * h, reads="h")
    assert check(parameters, network=gp.Network(SQUARE.layers, activation=["relu", right]))


def test_a_slope_that_is_wrong_where_no_row_comes_by_is_found_too(parameters):
    own = gp.Activation("bad_tail", lambda g: g * 1.0, lambda g: 1.0 if g > -2.9 else 2.0)
    network = gp.Network(SQUARE.layers, activation=own)
    start = cases.start(SQUARE.layers)
    start.theta[:] *= 0.01
    report = check(start, network=network)
    assert {tensor.verdict for tensor in report.tensors} == {"right"}
    assert not report
    assert "'bad_tail'" in report.findings[0]
    assert (
        report.verdict == "wrong: the gradient of these rows is right, but not the slope of an activation or the loss elsewhere"
    )


def test_an_activation_of_ones_own_with_a_kink_is_right(parameters):
    own = gp.Activation("hinge", lambda g: g if g > 0 else 0.3 * g, lambda g: 1.0 if g > 0 else 0.3)
    assert check(parameters, network=gp.Network(SQUARE.layers, activation=own))


def test_an_output_activation_is_checked_too(parameters):
    own = gp.Activation("cube", lambda g: g * g * g, lambda g: 2 * g * g)
    report = check(parameters, network=gp.Network(SQUARE.layers, activation="tanh", output_activation=own))
    assert not report
    assert "'cube'" in report.findings[0]


def log_cosh(h, y):
    return math.log(math.cosh(h - y))


@pytest.mark.parametrize("output", [None, "softplus", "tanh"])
@pytest.mark.parametrize(
    ("slope", "look"),
    [
        (lambda h, y: 1.001 * math.tanh(h - y), "1.001 times what it should be"),
        (lambda h, y: -math.tanh(h - y), "the wrong sign"),
        (lambda h, y: math.tanh(h - y) / 2, "0.5 times what it should be"),
        (lambda h, y: math.tanh(h), "all layers are wrong: look at the loss"),
    ],
)
def test_a_loss_with_a_wrong_slope_is_named(slope, look, output, parameters):
    own = gp.Loss("almost_log_cosh", value=log_cosh, slope=slope)
    report = check(parameters, network=gp.Network(SQUARE.layers, "tanh", output, own))
    assert not report
    assert report.verdict.startswith("wrong in W1, b1, W2")
    assert report.findings[0].startswith("the slope of loss 'almost_log_cosh' is not that of its value: at h = "), report
    assert look in report.findings[1]
    assert len(report.findings) == 2
    right = gp.Loss("really_log_cosh", value=log_cosh, slope=lambda h, y: math.tanh(h - y))
    assert check(parameters, network=gp.Network(SQUARE.layers, "tanh", output, right))


def test_a_loss_that_is_wrong_where_no_row_comes_by_is_found_too(parameters):
    own = gp.Loss("bad_tail", value=log_cosh, slope=lambda h, y: math.tanh(h - y) if h > -2.9 else -2.0)
    start = cases.start(SQUARE.layers)
    start.theta[:] *= 0.01
    report = check(start, network=gp.Network(SQUARE.layers, loss=own))
    assert {tensor.verdict for tensor in report.tensors} == {"right"}
    assert not report
    assert "'bad_tail'" in report.findings[0]
    assert "the slope of an activation or the loss elsewhere" in report.verdict


@pytest.mark.parametrize(
    ("value", "slope", "output"),
    [
        (lambda h, y: 0.3 * abs(h - y), lambda h, y: math.copysign(0.3, h - y), None),
        (lambda h, y: max(h - y, 0.0) ** 2, lambda h, y: 2 * max(h - y, 0.0), None),
        (lambda h, y: abs(y) / h + math.log(h), lambda h, y: (h - abs(y)) / (h * h), "exp"),
        (lambda h, y: -math.log(h * (1 - h)), lambda h, y: (2 * h - 1) / (h * (1 - h)), "sigmoid"),
    ],
)
def test_losses_of_ones_own_with_kinks_or_small_domains_are_right(value, slope, output, parameters):
    report = check(parameters, network=gp.Network(SQUARE.layers, "tanh", output, gp.Loss("own", value=value, slope=slope)))
    assert report, report


def test_a_large_target_makes_no_slope_wrong(parameters):
    own = gp.Loss("own", value=lambda h, y: (h - y) ** 2, slope=lambda h, y: 2 * (h - y))
    report = gp.check_gradients(gp.Network(SQUARE.layers, loss=own), parameters, X, 1e4 * Y + 1e5)
    assert report, report


# --- what cannot be judged -----------------------------------------------------------------------------------------------


def test_entries_on_kinks_are_told_and_not_judged():
    network = gp.Network((1, 2, 1))
    parameters = gp.Parameters.from_arrays([[[1.0, 1.0]], [[1.0], [1.0]]], [[0.0, 0.3], [0.0]])
    report = gp.check_gradients(network, parameters, [[0.0]], [-1.0])
    assert report
    by_name = {tensor.name: tensor for tensor in report.tensors}
    assert (by_name["b1"].entries, by_name["b1"].judged, by_name["b1"].kinks) == (2, 1, 1)


def test_where_nothing_can_be_judged_nothing_passes():
    network = gp.Network((1, 1), loss="absolute_error")
    parameters = gp.Parameters.from_arrays([[[1.0]]], [[0.0]])
    report = gp.check_gradients(network, parameters, [[1.0]], [1.0])
    assert not report
    assert report.verdict.startswith("undecided")


def test_a_gradient_too_small_to_be_measured_is_said_to_be_so():
    network = gp.Network((1, 1, 1), activation="sigmoid")
    parameters = gp.Parameters.from_arrays([[[1.0]], [[1e-16]]], [[0.0], [0.0]])
    report = gp.check_gradients(network, parameters, [[0.5]], [1.0])
    assert report
    assert [tensor.verdict for tensor in report.tensors] == ["small", "small", "right", "right"]


# --- how it is asked and told --------------------------------------------------------------------------------------------


def test_entries_are_drawn_by_seed_and_none_takes_all():
    network = gp.Network((3, 20, 1), activation="tanh")
    start = network.initialize(0)
    target = Y[:, :1]
    some = gp.check_gradients(network, start, X, target, entries=7, seed=1)
    assert [tensor.entries for tensor in some.tensors] == [7, 7, 7, 1]
    assert some == gp.check_gradients(network, start, X, target, entries=7, seed=1)
    assert some != gp.check_gradients(network, start, X, target, entries=7, seed=2)
    assert [t.entries for t in gp.check_gradients(network, start, X, target, entries=None).tensors] == [60, 20, 20, 1]


def test_the_table_and_the_data(parameters, gradient):
    wrong_sign(gradient, parameters)
    report = check(parameters, gradient)
    text = str(report)
    assert text.splitlines()[1].startswith("W1")
    assert "wrong in W1, b1, W2, b2, W3, b3: the largest relative error is 2.0e+00" in text
    data = json.loads(json.dumps(report.as_dict()))
    assert data["passed"] is False
    assert [tensor["name"] for tensor in data["tensors"]] == ["W1", "b1", "W2", "b2", "W3", "b3"]


def test_the_columns_of_the_table_stay_apart():
    network = gp.Network((64, 64, 1), activation="tanh")
    rng = np.random.default_rng(0)
    text = str(gp.check_gradients(network, network.initialize(0), rng.normal(size=(4, 64)), rng.normal(size=4), entries=None))
    cells = [re.split(r" {2,}", line.strip()) for line in text.splitlines()[1:5]]
    assert {len(row) for row in cells} == {9}
    assert cells[0][:3] == ["W1", "64 × 64", "4,096 of 4,096"]
    assert len({len(line.rstrip("abcdefghijklmnopqrstuvwxyz")) for line in text.splitlines()[:5]}) == 1


def test_more_is_allowed_only_where_the_difference_is_less_exact():
    network = gp.Network((3, 4, 1), activation="tanh")
    start = network.initialize(0)
    report = gp.check_gradients(network, start, X, Y[:, :1])
    assert [tensor.allowed for tensor in report.tensors] == [pytest.approx(1e-7)] * 4
    fitted = gp.forward(network, start, X).output + 1e-9 * Y[:, :1]  # of which the last place of h is a part in ten million
    report = gp.check_gradients(network, start, X, fitted)
    assert report
    assert all(1.1e-7 < tensor.allowed <= 1e-4 for tensor in report.tensors)
    assert report.tensors[0].allowed == report.as_dict()["tensors"][0]["allowed"]


def test_a_check_that_takes_long_is_seen_if_asked_for(parameters, capsys, monkeypatch):
    monkeypatch.setattr(checked, "PATIENCE", 0.0)
    check(parameters)
    assert capsys.readouterr() == ("", "")
    check(parameters, progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert "gradient 36/36" in err


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"entries": 0}, ValueError, "entries must be a whole number of at least 1, or None; got 0"),
        ({"entries": 1.5}, ValueError, "entries must be a whole number"),
        ({"seed": -1}, ValueError, "seed must be a whole number of at least 0"),
        ({"gradient": [1.0]}, TypeError, "gradient must be a glassprop.Parameters, as Parameters.from_arrays"),
        ({"gradient": gp.Parameters((3, 3))}, ValueError, r"gradient must be of the network's layers \(3, 3, 3, 3\)"),
        ({"weights": [1.0]}, ValueError, "weights must be one number for each of the 12 rows"),
    ],
)
def test_refusals(parameters, given, error, message):
    with pytest.raises(error, match=message):
        check(parameters, **given)


def test_a_loss_that_is_not_finite_is_refused(parameters):
    parameters.b[2][:] = np.inf
    with pytest.raises(ValueError, match="the loss at these parameters must be finite"):
        check(parameters)
