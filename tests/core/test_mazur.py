"""The 2-2-2 example known from Mazur's article, forward, backward and one update, at 1e-11.

https://mattmazur.com/2015/03/17/a-step-by-step-backpropagation-example/. The article leaves the biases as they are; here they
are updated too. The numbers have twelve decimals and come from reference.py, not from the article, whose error after one
update, .291027924, is not what double precision gives.
"""

from __future__ import annotations

import numpy as np
import pytest

import glassprop as gp

X, Y = np.array([[0.05, 0.10]]), np.array([[0.01, 0.99]])
NETWORK = gp.Network((2, 2, 2), activation="sigmoid", output_activation="sigmoid", loss="half_squared_error")


def start() -> gp.Parameters:
    W1, W2 = np.array([[0.15, 0.25], [0.20, 0.30]]), np.array([[0.40, 0.50], [0.45, 0.55]])
    return gp.Parameters.from_arrays([W1, W2], [[0.35, 0.35], [0.60, 0.60]])


def assert_printed(got: object, wanted: object) -> None:
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-11)


def loss_of(parameters: gp.Parameters) -> float:
    return gp.backward(NETWORK, parameters, gp.forward(NETWORK, parameters, X), Y).loss


def test_forward() -> None:
    fwd = gp.forward(NETWORK, start(), X)
    assert_printed(fwd.g[0], [[0.3775, 0.3925]])
    assert_printed(fwd.h[0], [[0.593269992107, 0.596884378260]])
    assert_printed(fwd.g[1], [[1.105905967060, 1.224921404096]])
    assert_printed(fwd.output, [[0.751365069552, 0.772928465321]])


def test_backward() -> None:
    back = gp.backward(NETWORK, start(), gp.forward(NETWORK, start(), X), Y)
    assert_printed(back.loss, 0.298371108760)
    assert_printed(back.delta[1], [[0.138498561629, -0.038098236517]])
    assert_printed(back.delta[0], [[0.008771354689, 0.009954254705]])
    assert_printed(back.db[1], back.delta[1][0])
    assert_printed(back.dW[0], np.outer(X, back.delta[0]))


def test_update() -> None:
    parameters = start()
    new = gp.update(parameters, gp.backward(NETWORK, parameters, gp.forward(NETWORK, parameters, X), Y), learning_rate=0.5)
    assert_printed(new.W[1].T, [[0.358916479718, 0.408666186076], [0.511301270239, 0.561370121108]])
    assert_printed(new.W[0].T, [[0.149780716133, 0.199561432266], [0.249751143632, 0.299502287265]])
    # The first is often given as .345614322657; .35 - .5 * .008771354689... is .345614322655.
    assert_printed(new.b[0], [0.345614322655, 0.345022872647])
    assert_printed(new.b[1], [0.530750719186, 0.619049118258])
    assert_printed(loss_of(new), 0.280471446791)
    for b, old in zip(new.b, parameters.b, strict=True):
        b[:] = old
    assert_printed(loss_of(new), 0.291027773694)  # with the biases left as they were


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-11), ("float32", 1e-6)])
def test_three_updates(dtype: str, tolerance: float) -> None:
    parameters = start().astype(dtype)
    x, y = X.astype(dtype), Y.astype(dtype)
    for _ in range(3):
        back = gp.backward(NETWORK, parameters, gp.forward(NETWORK, parameters, x), y)
        assert back.gradient.dtype == dtype
        parameters = gp.update(parameters, back, optimizer=gp.SGD(0.5))
    assert loss_of(parameters.astype("float64")) == pytest.approx(0.242935433354, abs=tolerance)
