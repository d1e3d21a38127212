"""The gradient against central differences of the loss, over hidden activations, losses, outputs, row weights and penalties.

Steps of eps^(1/3) max(1, |θ|); the error of a tensor is the norm of the difference over the norm of the gradient. Kinks (of φ,
of the loss, of |W|) are avoided by leaving out rows that lie within 1/1000 of one, a hundred times what a step can move; that
few are left out is asserted. Every entry of every tensor is checked.
"""

from __future__ import annotations

import functools
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import cases
import glassprop as gp
from glassprop.core import plan

TOLERANCE = 1e-7
MARGIN = 1e-3
KINKS: dict[str, Any] = {  # distance of residuals from a kink of the loss
    "absolute_error": abs,
    "quantile": abs,
    "huber": lambda r: abs(abs(r) - cases.OPTIONS["huber"]["delta"]),
}


def numeric_error(case: cases.Case, optimizer: Any = None, step: int = 0) -> float:
    """The largest relative error of a tensor of the core's gradient. With an `optimizer` of rate 0: of training step `step`."""
    case = replace(case, parameters=case.parameters.copy())
    memory = cases.workspace(case, optimizer or gp.SGD(), len(case.X), step + 1)
    memory["rates"][:] = 0
    parts = plan.FORWARD | plan.LOSS | plan.BACKWARD | (plan.UPDATE if optimizer else 0)

    def loss() -> float:
        memory.run(step, step + 1, parts)
        return float(memory.progress["loss"][0])

    loss()
    gradient = case.parameters.with_theta(memory["gradient"].copy())
    worst, tensors = 0.0, case.parameters.W + case.parameters.b
    for theta, wanted in zip(tensors, gradient.W + gradient.b, strict=True):
        found = np.empty_like(wanted)
        for place in np.ndindex(theta.shape):
            middle = theta[place]
            h = np.finfo(float).eps ** (1 / 3) * max(1.0, abs(middle))
            theta[place] = middle + h
            above, up = loss(), theta[place]
            theta[place] = middle - h
            below, down = loss(), theta[place]
            theta[place] = middle
            found[place] = (above - below) / (up - down)
        worst = max(worst, float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted)))
    return worst


@functools.cache
def _far_from_kinks(activation: str, loss: str, output_activation: str, weighted: bool) -> cases.Case:
    """Ten rows of twelve, none of them near a kink. The penalty does not matter here."""
    case = cases.case(
        (3, 4, 3, 3), activation=activation, loss=loss, output_activation=output_activation, rows=12, weighted=weighted, seed=1
    )
    fwd = gp.forward(case.network, case.parameters, case.X)
    names = [row.name for row in (*case.network.activations, case.network.output_activation)]
    keep = np.ones(12, bool)
    for name, g in zip(names, fwd.g, strict=True):
        if name not in (*cases.SMOOTH, "exp", "softmax"):
            keep &= np.abs(g).min(1) > MARGIN
    if loss in KINKS:
        keep &= KINKS[loss](fwd.output - case.Y).min(1) > MARGIN
    assert min(np.abs(W).min() for W in case.parameters.W) > MARGIN  # |W|
    assert keep.sum() >= 10
    return case.rows(np.flatnonzero(keep)[:10])


def outputs(loss: str) -> list[str]:
    return [name for name, row in gp.ACTIVATIONS.items() if gp.Loss(loss).accepts(row, built_in=True)]


@pytest.mark.parametrize("loss", cases.LOSSES)
@pytest.mark.parametrize("activation", cases.HIDDEN)
def test_every_activation_loss_output_weighting_and_penalty(activation: str, loss: str) -> None:
    found = {}
    for output_activation in outputs(loss):
        for weighted in (False, True):
            case = _far_from_kinks(activation, loss, output_activation, weighted)
            for name, amounts in cases.PENALTIES.items():
                network = gp.Network(case.network.layers, activation, output_activation, case.network.loss, **amounts)
                found[output_activation, weighted, name] = numeric_error(replace(case, network=network))
    worst = max(found, key=found.__getitem__)
    assert found[worst] < TOLERANCE, (worst, found[worst])


@pytest.mark.parametrize("layers", [(3, 2), (2, 4, 1), (2, 3, 4, 3, 2), (2, 2, 17, 3, 4, 2)])
@pytest.mark.parametrize("loss", cases.LOSSES)
def test_depths(layers: tuple[int, ...], loss: str) -> None:
    if loss == "cross_entropy" and layers[-1] == 1:
        layers = (*layers[:-1], 2)
    case = cases.case(layers, activation="mish", loss=loss, rows=18, weighted=True, l2=0.1)
    fwd = gp.forward(case.network, case.parameters, case.X)
    if loss in KINKS:
        case = case.rows(KINKS[loss](fwd.output - case.Y).min(1) > MARGIN)
    assert len(case.X) >= 16
    assert numeric_error(case) < TOLERANCE


@pytest.mark.parametrize("output_activation", outputs("cross_entropy"))
def test_shares_that_do_not_quite_sum_to_1(output_activation: str) -> None:
    """A thousandth more or less is accepted; the gradient is still that of the loss."""
    case = cases.case((3, 4, 3), loss="cross_entropy", output_activation=output_activation)
    shares = np.random.default_rng(0).dirichlet(np.ones(3), 5) * np.array([[1.0009], [0.9991], [1.0], [1.0005], [0.9995]])
    assert numeric_error(replace(case, Y=shares)) < TOLERANCE


@pytest.mark.parametrize("step", [0, 3])
@pytest.mark.parametrize("activation", cases.SMOOTH)
def test_dropout(activation: str, step: int) -> None:
    """With the units of one step left out, the gradient is that of the smaller network."""
    case = cases.case((3, 6, 5, 2), activation=activation, dropout=[0.3, 0.5], rows=9, l2=0.01)
    assert numeric_error(case, gp.SGD(), step) < TOLERANCE


# --- a user's functions, and whether errors are found ------------------------------------------------------------------


def _swish2(g: float) -> float:
    return g / (1 + math.exp(-2 * g))


def _swish2_slope(g: float) -> float:
    s = 1 / (1 + math.exp(-2 * g))
    return s + 2 * g * s * (1 - s)


USERS = {
    "of g": (_swish2, _swish2_slope, "g"),
    "of h": (lambda g: math.atan(g), lambda h: math.cos(h) ** 2, "h"),
    "integers and branches": (lambda g: 0 if g < -9 else g * g * 2, lambda g: 0 if g < -9 else 4 * g, "g"),
}


def _with_user(case: cases.Case, activation: gp.Activation, place: str) -> cases.Case:
    hidden, output = (activation, None) if place == "hidden" else ("tanh", activation)
    return replace(case, network=gp.Network(case.network.layers, hidden, output, case.network.loss))


@pytest.mark.parametrize("place", ["hidden", "output"])
@pytest.mark.parametrize("name", USERS)
def test_a_users_activation(name: str, place: str) -> None:
    phi, dphi, reads = USERS[name]
    case = _with_user(cases.case((3, 4, 3, 2)), gp.Activation("users", phi, dphi, reads), place)
    assert numeric_error(case) < TOLERANCE


@pytest.mark.parametrize("loss", ["half_squared_error", "poisson", "binary_cross_entropy", "cross_entropy"])
def test_a_users_output_activation_with_a_loss_of_a_small_domain(loss: str) -> None:
    """Between 0.05 and 0.95, as every loss can take it."""
    phi, dphi = lambda g: 0.5 + 0.9 * math.atan(g) / math.pi, lambda g: 0.9 / math.pi / (1 + g * g)
    squashed = gp.Activation("squashed", phi, dphi)
    assert numeric_error(_with_user(cases.case((3, 4, 3, 2), loss=loss), squashed, "output")) < TOLERANCE


@pytest.mark.parametrize("place", ["hidden", "output"])
@pytest.mark.parametrize("factor", [1.001, 0.999])
def test_a_derivative_wrong_by_a_thousandth_is_caught(factor: float, place: str) -> None:
    wrong = gp.Activation("wrong", math.tanh, lambda g: factor * (1 - math.tanh(g) ** 2))
    right = gp.Activation("right", math.tanh, lambda g: 1 - math.tanh(g) ** 2)
    case = cases.case((3, 4, 3, 2))
    assert numeric_error(_with_user(case, right, place)) < TOLERANCE
    assert numeric_error(_with_user(case, wrong, place)) > 1000 * TOLERANCE


@pytest.mark.parametrize("what", ["W", "b"])
def test_one_wrong_entry_is_caught(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The checker, not the core: one entry of the gradient off by a thousandth."""
    case = cases.case((3, 4, 2))
    usual = gp.Parameters.with_theta

    def spoilt(self: gp.Parameters, theta: np.ndarray) -> gp.Parameters:
        result = usual(self, theta)
        largest = np.unravel_index(np.abs(getattr(result, what)[0]).argmax(), getattr(result, what)[0].shape)
        getattr(result, what)[0][largest] *= 1.001
        return result

    monkeypatch.setattr(gp.Parameters, "with_theta", spoilt)
    assert numeric_error(case) > 1000 * TOLERANCE
