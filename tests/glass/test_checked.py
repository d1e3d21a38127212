"""Central differences beside the gradients of an explanation, and the verdict."""

from __future__ import annotations

import numpy as np
import pytest

import cases
import glassprop as gp
from glassprop.glass import checked
from glassprop.glass.tails import Tails
from tests.glass.test_explain import explained, mazur


@pytest.mark.parametrize("loss", cases.LOSSES)
def test_every_gradient_has_its_difference(loss):
    case = cases.case((3, 4, 2), loss=loss, weighted=True, l2=0.1)
    step = explained(case, row=1)
    assert step.check.passed
    assert (step.check.entries, step.check.shown) == (26, 26)
    for layer in step.layers:
        for tensor in (layer.weights, layer.biases):
            np.testing.assert_allclose(tensor.difference, tensor.gradient, atol=1e-8 * np.abs(tensor.gradient).max())


def test_float32_is_held_to_what_it_can():
    step = explained(cases.case((5, 6, 3), loss="cross_entropy").of("float32"))
    assert step.check.passed
    assert 1e-9 < step.check.error < 1e-4


@pytest.mark.parametrize("offset", [0.0, 100.0])
def test_float32_of_which_residuals_leave_little_is_no_mistake(offset):
    """Outputs near 1 or 100 whose residuals are 1e-4: as much as their rounding may come to is worked out."""
    rng = np.random.default_rng(0)
    X, network = rng.normal(size=(40, 3)), gp.Network((3, 8, 1), activation="tanh")
    parameters = network.initialize(0)
    Y = gp.forward(network, parameters, X).output + 1e-4 * rng.normal(size=(40, 1))
    parameters.b[1][0] += offset
    given = [array.astype("float32") for array in (X, Y + offset)]
    check = gp.explain(network, parameters.astype("float32"), *given).steps[0].check
    assert check.passed, check.verdict
    assert check.error > 1e-4
    sloped = gp.Activation("sloped", np.tanh, lambda h: 1.5 * (1 - h * h), "h")
    wrong = gp.explain(gp.Network((3, 8, 1), activation=sloped), parameters.astype("float32"), *given).steps[0].check
    assert not wrong.passed


def test_a_wrong_slope_is_told():
    """φ′ too large by 0.1 %."""
    bent = gp.Activation("bent", lambda g: g + g * g / 9, lambda g: 1.001 * (1 + 2 * g / 9))
    network = gp.Network((2, 3, 1), activation=bent)
    explanation = gp.explain(network, network.initialize(0), [[0.5, -1.0]], [1.0])
    check = explanation.steps[0].check
    assert not check.passed
    assert check.wrong == 9
    assert check.verdict.startswith("Wrong: 9 gradients differ from their central differences, by up to 1.0e-03; 13 of the 13")
    assert check.verdict in explanation.to_text(width=200)


def test_a_wrong_slope_of_the_loss_is_told():
    wrong = gp.Loss("wrong", value=lambda h, y: (h - y) ** 4, slope=lambda h, y: 4.004 * (h - y) ** 3)
    network = gp.Network((2, 3, 1), activation="tanh", loss=wrong)
    check = gp.explain(network, network.initialize(0), [[0.5, -1.0]], [1.0]).steps[0].check
    assert not check.passed
    assert check.verdict.startswith("Wrong: 13 gradients differ from their central differences, by up to 1.0e-03")


def test_kinks_are_recognised():
    """A ReLU of g = 0: no derivative, neither right nor wrong."""
    network = gp.Network((1, 2, 1), activation="relu")
    parameters = gp.Parameters.from_arrays([[[1.0, 1.0]], [[1.0], [1.0]]], [[-1.0, 0.5], [0.0]])
    check = gp.explain(network, parameters, [[1.0]], [3.0]).steps[0].check
    assert check.passed
    assert check.kinks == 2
    assert "2 more lie on a kink" in check.verdict


def digits(rows=128):
    """A step of a network of the usual size, and the differences and gradients shown of its weights and biases."""
    rng = np.random.default_rng(0)
    network = gp.Network((784, 300, 100, 10), loss="cross_entropy")
    step = gp.explain(network, network.initialize(0), rng.random((rows, 784)), rng.integers(0, 10, rows)).steps[0]
    tensors = [tensor for layer in step.layers for tensor in (layer.weights, layer.biases)]
    return step, *(np.concatenate([getattr(t, name).ravel() for t in tensors]) for name in ("difference", "gradient"))


def test_in_networks_of_the_usual_size_every_gradient_shown_has_its_difference():
    step, differences, gradients = digits()
    assert step.check.passed
    assert step.check.shown == len(differences) == 330
    assert step.check.left_out == 0
    assert np.isfinite(differences).all()
    assert np.abs(differences - gradients).max() < 1e-6 * np.abs(gradients).max()
    assert "none" not in step.check.verdict


def test_what_is_shown_of_the_largest_networks_can_be_checked():
    """784-2048-2048-10 with 512 rows."""
    network = gp.Network((784, 2048, 2048, 10), loss="cross_entropy")
    shared = Tails(network, gp.Parameters(network.layers, "float32"), np.zeros((512, 784), "float32"), np.zeros(512))
    each = [shared.flops(l) for l in (1, 2, 3)]
    assert checked.LOSSES_PER_ENTRY * 110 * sum(each) < checked.FLOPS


def test_beyond_the_limit_the_largest_are_checked(monkeypatch):
    monkeypatch.setattr(checked, "FLOPS", 4e9)
    step, differences, gradients = digits()
    taken = np.isfinite(differences)
    assert 12 < taken.sum() < 330
    assert np.abs(gradients[taken]).min() >= np.abs(gradients[~taken]).max()
    assert step.check.left_out == 330 - taken.sum()
    assert step.check.passed
    ending = f"; {step.check.left_out} of the smallest have none, which would take too long."
    assert step.check.verdict.endswith(ending)
    monkeypatch.setattr(checked, "FLOPS", 0.0)
    assert np.isfinite(digits()[1]).sum() == checked.FEWEST


def test_a_check_that_takes_long_is_seen_if_asked_for(capsys, monkeypatch):
    monkeypatch.setattr(checked, "PATIENCE", 0.0)
    mazur()
    assert capsys.readouterr() == ("", "")
    mazur(progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert "gradient 12/12" in err
    monkeypatch.setattr(checked, "PATIENCE", 60.0)
    mazur(progress=True)
    assert capsys.readouterr().err == ""


def test_it_can_be_left_out():
    assert mazur(check=False).steps[0].check is None
    assert "Is it right?" not in mazur(check=False).to_text()
    text = mazur().to_text()
    assert "Is it right?" in text
    assert "Right: no gradient differs from its central difference by more than" in text.replace("\n", " ")


@pytest.mark.parametrize("layers", [(3, 5, 2), (30, 400, 2)])
def test_a_gradient_of_zeros_that_should_not_be_is_wrong(layers):
    """Nothing of its tensor tells how large it should be but the central differences."""
    lost = gp.Activation("lost", lambda g: g + g * g / 9, lambda g: 0 * g)
    network, rng = gp.Network(layers, activation=lost), np.random.default_rng(0)
    check = gp.explain(network, network.initialize(), rng.normal(size=(6, layers[0])), rng.normal(size=(6, 2))).steps[0].check
    assert not check.passed
    assert check.wrong > 0


@pytest.mark.parametrize(("dtype", "most"), [("float64", 1e-7), ("float32", 1e-4)])
@pytest.mark.parametrize("options", [{}, {"l2": 0.1, "l1": 0.02}])
@pytest.mark.parametrize("layers", [(3, 5, 4, 2), (30, 200, 60, 2)])
def test_a_step_with_dropout_is_checked_with_the_units_that_it_drops(layers, options, dtype, most, tmp_path):
    network, rng = gp.Network(layers, activation="tanh", dropout=0.4, **options), np.random.default_rng(0)
    X, Y = rng.normal(size=(60, layers[0])).astype(dtype), rng.normal(size=(60, 2)).astype(dtype)
    gp.train(network, X, Y, epochs=3, batch_size=20, seed=0, record=tmp_path / "run")
    step = gp.replay(tmp_path / "run", X, Y).explain(7).steps[0]
    assert step.dropout == "acts"
    assert step.check.passed
    assert step.check.entries == step.check.shown
    assert step.check.error < most
