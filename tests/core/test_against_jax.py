"""The objective written in JAX, and its automatic differentiation, against forward and backward of the core, in float64.

The formulas here are jax.nn's and jax.scipy's, not those of reference.py: a third, independent statement of the same functions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import cases
import glassprop as gp

jax = pytest.importorskip("jax")
jnp = jax.numpy

TOLERANCE = 1e-10


@pytest.fixture(autouse=True, scope="module")
def _double_precision() -> Iterator[None]:
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", before)


ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
    "identity": lambda g: g,
    "sigmoid": jax.nn.sigmoid,
    "tanh": jnp.tanh,
    "relu": jax.nn.relu,
    "leaky_relu": jax.nn.leaky_relu,
    "elu": jax.nn.elu,
    "selu": jax.nn.selu,
    "gelu": lambda g: jax.nn.gelu(g, approximate=False),
    "silu": jax.nn.silu,
    "mish": jax.nn.mish,
    "softplus": jax.nn.softplus,
    "softsign": jax.nn.soft_sign,
    "exp": jnp.exp,
    "softmax": jax.nn.softmax,
}


def _smooth_labels(y: Any, case: cases.Case) -> Any:
    s = case.network.loss.label_smoothing
    if case.network.loss.name == "binary_cross_entropy":
        return y * (1 - s) + s / 2
    outputs = case.network.layers[-1]
    return jax.nn.one_hot(y, outputs, dtype=jnp.float64) * (1 - s) + s / outputs


def _row_losses(case: cases.Case, g: Any, h: Any, y: Any) -> Any:
    """(rows,): g, h are those of the output layer."""
    name, constant = case.network.loss.name, case.network.loss.constant
    linked = case.network.output_activation.name == case.network.loss.link
    if name == "half_squared_error":
        each = jnp.square(h - y) / 2
    elif name == "absolute_error":
        each = jnp.abs(h - y)
    elif name == "huber":
        r = jnp.abs(h - y)
        each = jnp.where(r <= constant, r**2 / 2, constant * (r - constant / 2))
    elif name == "quantile":
        each = jnp.maximum(constant * (y - h), (constant - 1) * (y - h))
    elif name == "poisson":
        each = jnp.exp(g) - y * g if linked else h - jax.scipy.special.xlogy(y, h)
    elif name == "binary_cross_entropy":
        y = _smooth_labels(y, case)
        each = -y * jax.nn.log_sigmoid(g) - (1 - y) * jax.nn.log_sigmoid(-g)
    else:
        each = -_smooth_labels(y, case) * (jax.nn.log_softmax(g) if linked else jnp.log(h))
    return each.sum(1)


def objective(case: cases.Case, W: list[Any], b: list[Any], bumps: list[Any]) -> Any:
    """The loss; `bumps`, all zero, are added to the pre-activations: the gradient by them is δ / Σ w."""
    h = case.X
    phis = [*case.network.activations, case.network.output_activation]
    for W_l, b_l, bump, phi in zip(W, b, bumps, phis, strict=True):
        g = h @ W_l + b_l + bump
        h = ACTIVATIONS[phi.name](g)
    weights = np.ones(len(case.X)) if case.weights is None else case.weights
    data = weights @ _row_losses(case, g, h, case.Y) / weights.sum()
    return data + sum(case.network.l2 / 2 * jnp.sum(w * w) + case.network.l1 * jnp.sum(jnp.abs(w)) for w in W)


def assert_agree(case: cases.Case, note: object = "", network: gp.Network | None = None, compiled: bool = False) -> None:
    """Compare; with `network`, glassprop's numbers are those of another one."""
    fwd, back = (replace(case, network=network) if network else case).passes()
    W, b = ([jnp.asarray(np.array(a)) for a in arrays] for arrays in (case.parameters.W, case.parameters.b))
    zeros = [jnp.asarray(np.zeros(g.shape)) for g in fwd.g]
    differentiate = jax.value_and_grad(lambda *theta: objective(case, *theta), argnums=(0, 1, 2))
    # operation by operation, JAX compiles once for each shape; as a whole, once for each case
    loss, (dW, db, delta) = (jax.jit(differentiate) if compiled else differentiate)(W, b, zeros)
    mass = len(case.X) if case.weights is None else case.weights.sum()
    found = {
        "loss": cases.difference([back.loss], [loss]),
        "dW": cases.differences(back.dW, dW),
        "db": cases.differences(back.db, db),
        "delta": cases.differences(back.delta, [d * mass for d in delta]),
    }
    assert max(found.values()) < TOLERANCE, (case.network, note, found)


@pytest.mark.parametrize("loss", cases.LOSSES)
@pytest.mark.parametrize("activation", cases.HIDDEN)
def test_every_activation_loss_and_penalty(activation: str, loss: str) -> None:
    for penalty, amounts in cases.PENALTIES.items():
        assert_agree(cases.case((3, 5, 4, 3), activation=activation, loss=loss, rows=7, weighted=True, **amounts), penalty)


@pytest.mark.parametrize("loss", cases.LOSSES)
def test_every_output_activation(loss: str) -> None:
    for name, row in gp.ACTIVATIONS.items():
        if gp.Loss(loss).accepts(row, built_in=True):
            assert_agree(cases.case((3, 5, 3), loss=loss, output_activation=name, rows=7))


@pytest.mark.parametrize(("layers", "rows"), [((3, 2), 1), ((17, 33, 3), 35), ((2, 3, 4, 5, 6, 3), 16)])
def test_depths_and_widths(layers: tuple[int, ...], rows: int) -> None:
    case = cases.case(layers, activation="mish", loss="cross_entropy", rows=rows, weighted=True, l2=0.1)
    assert_agree(case, compiled=True)


def test_the_table_of_activations_is_all_there() -> None:
    assert set(ACTIVATIONS) == set(gp.ACTIVATIONS)


def test_a_wrong_gradient_is_found() -> None:
    """The comparison itself: the loss with a constant wrong by a thousandth."""
    case = cases.case((3, 5, 3), loss="quantile", rows=7)
    assert_agree(case)
    wrong = gp.Network((3, 5, 3), "tanh", loss=gp.Loss("quantile", quantile=cases.OPTIONS["quantile"]["quantile"] * 1.001))
    with pytest.raises(AssertionError, match="'db'"):
        assert_agree(case, network=wrong)
