"""gp.explain of activations and losses of one's own: by their formulas where these can be read, else by name."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

import cases
import glassprop as gp
import reference as ref
from tests.glass.test_explain import assert_equations_hold, assert_step_is_the_references, explained


def test_an_activation_of_ones_own_without_a_formula():
    snake = gp.Activation("snake", lambda g: g + g * g / 7, lambda g: 1 + 2 * g / 7)
    network = gp.Network((2, 3, 1), activation=snake)
    step = gp.explain(network, network.initialize(0), [[0.5, -1.0]], [1.0]).steps[0]
    np.testing.assert_allclose(step.layers[0].slope, 1 + 2 * step.layers[0].g / 7, rtol=1e-15)
    assert "snake(g₁,₁)" in gp.explain(network, network.initialize(0), [[0.5, -1.0]], [1.0]).to_text()


@pytest.mark.parametrize(("formula", "slope"), [("∫g dg", "g g"), ("g + ½ g²", "1 + q"), ("g +", "|g")])
def test_formulas_that_cannot_be_read_are_left_out(formula, slope):
    own = gp.Activation("own", lambda g: g + g * g / 2, lambda g: 1 + g, formula=formula, slope=slope)
    network = gp.Network((2, 3, 1), activation=own)
    explanation = gp.explain(network, network.initialize(0), [[0.5, -1.0]], [1.0])
    assert bool(explanation.steps[0].layers[0].formula) == (formula == "g + ½ g²")
    assert bool(explanation.steps[0].layers[0].slope_formula) == (slope == "g g")
    assert explanation.to_html()


LOG_COSH = (lambda h, y: math.log(math.cosh(h - y)), lambda h, y: math.tanh(h - y))


def with_own_loss(output, **formulas):
    case = cases.case((3, 4, 2), output_activation=output, weighted=True, l2=0.1)
    own = gp.Loss("log_cosh", value=LOG_COSH[0], slope=LOG_COSH[1], **formulas)
    network = gp.Network((3, 4, 2), "tanh", output, own, l2=0.1)
    return replace(case, network=network, twin=replace(case.twin, loss=LOG_COSH))


@pytest.mark.parametrize("formula", ["log cosh(h − y)", ""])
@pytest.mark.parametrize("slope", ["tanh(h − y)", ""])
@pytest.mark.parametrize("output", [None, "softplus"])
def test_a_loss_of_ones_own(output, formula, slope):
    case = with_own_loss(output, formula=formula, slope_formula=slope)
    step = explained(case, row=1, optimizer=gp.SGD(0.1))
    assert_step_is_the_references(step, case, ref.Optimizer("sgd", 0.1))
    assert_equations_hold(step)
    h, y = step.layers[-1].h, step.loss.y
    np.testing.assert_allclose(step.loss.terms, np.log(np.cosh(h - y)), rtol=1e-12)
    np.testing.assert_allclose(step.layers[-1].above, np.tanh(h - y), rtol=1e-12)
    explanation = gp.explain(case.network, case.parameters, case.X, case.Y, weights=case.weights, row=1)
    for text in (explanation.to_text(), explanation.to_latex(), explanation.to_markdown(), explanation.to_html()):
        assert ("log_cosh(h, y) is a loss of your own" in text.replace("\\", "")) == (not formula)
    text = explanation.to_text()
    assert ("ℓ₁ = log(cosh(h₂,₁ − y₁)) = log(cosh(" if formula else "ℓ₁ = log_cosh(h₂,₁, y₁) = log_cosh(") in text
    if output:
        assert ("∂ℓ/∂h₂,₁ = tanh(h₂,₁ − y₁) = tanh(" in text) == bool(slope)
    else:
        assert ("δ₂,₁ = w tanh(h₂,₁ − y₁) = " if slope else "δ₂,₁ = w ∂ℓ/∂h₂,₁ = ") in text


def test_a_loss_of_ones_own_in_many_outputs():
    """Those that are not shown are added up by the core, too."""
    rng, own = np.random.default_rng(0), gp.Loss("log_cosh", value=LOG_COSH[0], slope=LOG_COSH[1])
    network, X, Y = gp.Network((3, 20), loss=own), rng.normal(size=(4, 3)), rng.normal(size=(4, 20))
    step = gp.explain(network, network.initialize(0), X, Y, row=2, neurons=5).steps[0]
    assert len(step.loss.terms) == 5
    assert step.loss.rest + step.loss.terms.sum() == pytest.approx(step.loss.row, rel=1e-12)
    assert step.check.passed
    assert_equations_hold(step)


@pytest.mark.parametrize(("formula", "slope"), [("∫h dh", "h q"), ("log cosh(h − y)", "1 + q"), ("h +", "tanh(h − y)")])
def test_formulas_of_a_loss_that_cannot_be_read_are_left_out(formula, slope):
    step = explained(with_own_loss(None, formula=formula, slope_formula=slope))
    assert bool(step.loss.formula) == (formula == "log cosh(h − y)")
    assert bool(step.loss.slope_formula) == bool(step.loss.linked_formula) == (slope == "tanh(h − y)")
    assert_equations_hold(step)
