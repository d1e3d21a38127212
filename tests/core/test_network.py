"""Networks as values, and starting weights: their spread, their seeds, and what each activation starts with."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest

import glassprop as gp

VARIANCE = {"glorot": lambda m, n: 2 / (m + n), "he": lambda m, n: 2 / m, "lecun": lambda m, n: 1 / m}


def first_weights(method: str | None, fan_in: int, fan_out: int, seed: int | None = 0, activation: str = "tanh") -> np.ndarray:
    return np.array(gp.Network((fan_in, fan_out, 1), activation).initialize(seed, method).W[0])


@pytest.mark.parametrize("shape", [(200, 300), (300, 100)])
@pytest.mark.parametrize("family", VARIANCE)
def test_spread(family: str, shape: tuple[int, int]) -> None:
    """Sixty thousand draws: a deviation of 2 % would be seven standard errors."""
    sigma = math.sqrt(VARIANCE[family](*shape))
    uniform, normal = (first_weights(f"{family}_{kind}", *shape) for kind in ("uniform", "normal"))
    for W in (uniform, normal):
        assert abs(W.mean()) < 5 * sigma / math.sqrt(W.size)
        assert W.std() == pytest.approx(sigma, rel=0.02)
    bound = sigma * math.sqrt(3)
    assert 0.999 * bound < np.abs(uniform).max() <= bound
    assert (np.abs(normal) > bound).mean() == pytest.approx(math.erfc(math.sqrt(1.5)), abs=0.01)


@pytest.mark.parametrize("shape", [(40, 40), (40, 17), (17, 40), (1, 5), (5, 1)])
def test_orthogonal(shape: tuple[int, int]) -> None:
    W = first_weights("orthogonal", *shape)
    product = W.T @ W if shape[0] >= shape[1] else W @ W.T
    np.testing.assert_allclose(product, np.eye(min(shape)), atol=1e-14)


def test_zeros_and_biases() -> None:
    assert not gp.Network((3, 4, 2)).initialize(method="zeros").theta.any()
    for method in gp.INITIALIZERS:
        assert not any(b.any() for b in gp.Network((3, 4, 2)).initialize(method=method).b)


@pytest.mark.parametrize("method", [None, *gp.INITIALIZERS])
def test_seeds(method: str | None) -> None:
    first = first_weights(method, 5, 7)
    np.testing.assert_array_equal(first, first_weights(method, 5, 7))
    np.testing.assert_array_equal(first, first_weights(method, 5, 7, np.int64(0)))
    if method != "zeros":
        assert not np.array_equal(first, first_weights(method, 5, 7, 1))
        assert not np.array_equal(first_weights(method, 5, 7, None), first_weights(method, 5, 7, None))
    single = gp.Network((5, 7, 1), "tanh").initialize(0, method, "float32")
    np.testing.assert_array_equal(single.W[0], first.astype(np.float32))


@pytest.mark.parametrize("activation", [name for name, row in gp.ACTIVATIONS.items() if not row.output_only])
def test_the_activation_decides(activation: str) -> None:
    he = ("relu", "leaky_relu", "elu", "gelu", "silu", "mish", "softplus")
    method = "lecun_normal" if activation == "selu" else "he_uniform" if activation in he else "glorot_uniform"
    np.testing.assert_array_equal(
        first_weights(None, 5, 7, activation=activation), first_weights(method, 5, 7, activation=activation)
    )


def test_networks_are_values() -> None:
    def make(**changed: object) -> gp.Network:
        return gp.Network(**{"layers": (3, 4, 2), "activation": "tanh", "loss": "huber"} | changed)

    assert make() == make(layers=[3, 4, 2], activation=["tanh"], output_activation="identity", loss=gp.Loss("huber"))
    assert hash(make()) == hash(make(dropout=[0.0]))
    different = [{"l2": 0.1}, {"l1": 0.1}, {"dropout": 0.1}, {"activation": "relu"}, {"layers": (3, 5, 2)},
                 {"loss": gp.Loss("huber", delta=2)}, {"output_activation": "tanh"}]  # fmt: skip
    assert len({make(), *(make(**changed) for changed in different)}) == 1 + len(different)
    assert make() != "a network"
    assert make().n_parameters == 3 * 4 + 4 + 4 * 2 + 2
    for changed in different:
        network = make(**changed)
        assert pickle.loads(pickle.dumps(network)) == network


def test_networks_show_what_they_are() -> None:
    text = (
        "Network((3, 4, 5, 2), activation=['relu', 'tanh'], output_activation='sigmoid', loss='binary_cross_entropy', l2=0.1)"
    )
    assert repr(gp.Network((3, 4, 5, 2), ["relu", "tanh"], loss="binary_cross_entropy", l2=0.1)) == text
    network = gp.Network((3, 2), loss=gp.Loss("cross_entropy", label_smoothing=0.1))
    assert repr(network) == "Network((3, 2), output_activation='softmax', loss=Loss('cross_entropy', label_smoothing=0.1))"
    shown = "Network((3, 4, 2), activation='relu', output_activation='identity', loss='half_squared_error', dropout=[0.5])"
    assert repr(gp.Network((3, 4, 2), dropout=0.5)) == shown
    assert repr(gp.Parameters((3, 2), "float32")) == "Parameters((3, 2), dtype='float32')"


def test_built_in_activations_travel_as_themselves() -> None:
    for row in gp.ACTIVATIONS.values():
        assert pickle.loads(pickle.dumps(row)) is row


def test_cross_entropy_needs_two_outputs() -> None:
    with pytest.raises(ValueError, match="loss 'cross_entropy' needs at least two outputs; for one use 'binary_cross_entropy'"):
        gp.Network((4, 8, 1), loss="cross_entropy")
