"""Bad input to the core: the whole message, which names the argument, what it got, what it wants, the nearest valid name."""

from __future__ import annotations

import copy
import json
import math
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import cases
import glassprop as gp
from glassprop.core.schedules import learning_rates

NETWORK = gp.Network((2, 3, 2), "tanh")
PARAMETERS = NETWORK.initialize(0)
X = np.arange(8.0).reshape(4, 2)
Y = np.ones((4, 2))
NAN = np.where(np.arange(8).reshape(4, 2) == 5, np.nan, 1.0)
INFINITE = np.where(np.arange(8).reshape(4, 2) == 6, -np.inf, 1.0)


def forward(X: Any, network: gp.Network = NETWORK, parameters: Any = PARAMETERS) -> gp.Forward:
    return gp.forward(network, parameters, X)


def backward(Y: Any, weights: Any = None, loss: str | None = None, outputs: int = 2) -> gp.Backward:
    network = gp.Network((2, 3, outputs), "tanh", loss=loss) if loss else NETWORK
    parameters = network.initialize(0)
    return gp.backward(network, parameters, gp.forward(network, parameters, X), Y, weights)


def update(**arguments: Any) -> gp.Parameters:
    back = arguments.pop("back", None) or backward(Y)
    return gp.update(arguments.pop("parameters", PARAMETERS), back, **arguments)


class SparseLike:
    """Stands for a SciPy matrix, which is known by its module."""


SparseLike.__module__ = "scipy.sparse._csr"


class FrameLike:
    """A table with column names, as pandas and polars have."""

    columns = ("age", "height")

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return NAN


NAMES = "'identity', 'sigmoid', 'tanh', 'relu', 'leaky_relu', 'elu', 'selu', 'gelu', 'silu', 'mish', 'softplus', 'softsign'"
LOSSES = "'half_squared_error', 'absolute_error', 'huber', 'quantile', 'poisson', 'binary_cross_entropy', 'cross_entropy'"
INITIALIZERS = (
    "'glorot_uniform', 'glorot_normal', 'he_uniform', 'he_normal', 'lecun_uniform', 'lecun_normal', 'orthogonal', 'zeros'"
)

# what is done, the kind of error, its message
Bad = tuple[Callable[[], Any], type[Exception], str]


def check(bad: Bad) -> None:
    call, kind, message = bad
    with pytest.raises(kind) as caught:
        call()
    assert type(caught.value) is kind
    assert str(caught.value) == message


ARRAYS: dict[str, Bad] = {
    "a vector": (lambda: forward([1.0, 2.0]), ValueError,
        "X must have two dimensions, (rows, 2); got shape (2,); one row of numbers is written X[None]"),
    "a number": (lambda: forward(3.0), ValueError, "X must have two dimensions, (rows, 2); got shape ()"),
    "three dimensions": (lambda: forward(np.ones((1, 2, 3))), ValueError,
        "X must have two dimensions, (rows, 2); got shape (1, 2, 3)"),
    "no rows": (lambda: forward(np.ones((0, 2))), ValueError, "X must have at least one row; it is empty, of shape (0, 2)"),
    "columns": (lambda: forward(np.ones((4, 3))), ValueError, "X must have 2 columns, as the network has inputs; got 3"),
    "NaN": (lambda: forward(NAN), ValueError,
        "X must be finite; it holds NaN in row 2, column 1: leave such rows out or fill them in first"),
    "NaN under a name": (lambda: forward(FrameLike()), ValueError,
        "X must be finite; it holds NaN in row 2, column height: leave such rows out or fill them in first"),
    "infinity": (lambda: forward(INFINITE), ValueError,
        "X must be finite; it holds infinity in row 3, column 0: leave such rows out or fill them in first"),
    "text": (lambda: forward([["a", "b"]]), ValueError,
        "X must hold numbers; it holds 'a' in row 0, column 0"),
    "text among numbers": (lambda: forward(np.array([[1.0, 2.0], [3.0, "?"]], object)), ValueError,
        "X must hold numbers; it holds '?' in row 1, column 1"),
    "nothing": (lambda: forward([[None, 1.0]]), ValueError,
        "X must be finite; it holds NaN in row 0, column 0: leave such rows out or fill them in first"),
    "dates": (lambda: forward(np.array([["2020-01-01", "2020-01-02"]], "M8[D]")), TypeError,
        "X must hold numbers; got datetime64[D]"),
    "complex": (lambda: forward([[1j, 2.0]]), TypeError, "X must hold real numbers; got complex128"),
    "sparse": (lambda: forward(SparseLike()), TypeError, "X must be a dense array; got a sparse one (call .toarray())"),
    "columns of Y": (lambda: backward(np.ones((4, 3))), ValueError, "Y must be of shape (rows, 2); got (4, 3)"),
    "a vector for two outputs": (lambda: backward(np.ones(4)), ValueError, "Y must be of shape (rows, 2); got (4,)"),
    "rows of Y": (lambda: backward(np.ones((3, 2))), ValueError, "Y must have as many rows as the inputs, 4; got 3"),
    "NaN in Y": (lambda: backward(NAN), ValueError,
        "Y must be finite; it holds NaN in row 2, column 1: leave such rows out or fill them in first"),
    "text in Y": (lambda: backward([["a", "b"]] * 4), ValueError,
        "Y must hold numbers; it holds 'a' in row 0, column 0; classes are numbered by "
        "numpy.unique(labels, return_inverse=True)"),
    "a class too high": (lambda: backward([0, 1, 2, 0], loss="cross_entropy"), ValueError,
        "Y must hold class numbers from 0 to 1 for 2 outputs; got 2"),
    "a class below 0": (lambda: backward([0, 1, -1, 0], loss="cross_entropy"), ValueError,
        "Y must hold class numbers from 0 to 1 for 2 outputs; got -1"),
    "half a class": (lambda: backward([[0], [1], [0.5], [0]], loss="cross_entropy"), ValueError,
        "Y must hold class numbers from 0 to 1 for 2 outputs; got 0.5"),
    "classes' shape": (lambda: backward(np.ones((4, 3)), loss="cross_entropy"), ValueError,
        "Y must be of shape (rows,) of class numbers or (rows, 2); got (4, 3)"),
    "probabilities": (lambda: backward(np.full((4, 2), 0.7), loss="cross_entropy"), ValueError,
        "Y must hold class numbers or rows of probabilities that sum to 1 for loss 'cross_entropy'"),
    "probabilities below 0": (lambda: backward([[2.0, -1.0]] * 4, loss="cross_entropy"), ValueError,
        "Y must hold class numbers or rows of probabilities that sum to 1 for loss 'cross_entropy'"),
    "counts": (lambda: backward(-Y, loss="poisson"), ValueError, "Y must be at least 0 for loss 'poisson'; got -1"),
    "yes or no": (lambda: backward(3 * Y, loss="binary_cross_entropy"), ValueError,
        "Y must lie between 0 and 1 for loss 'binary_cross_entropy'; got 3"),
    "yes or no, below": (lambda: backward(Y - 1.5, loss="binary_cross_entropy"), ValueError,
        "Y must lie between 0 and 1 for loss 'binary_cross_entropy'; got -0.5"),
    "weights' shape": (lambda: backward(Y, np.ones(3)), ValueError,
        "weights must be one number for each of the 4 rows; got shape (3,)"),
    "weights of columns": (lambda: backward(Y, np.ones((4, 1))), ValueError,
        "weights must be one number for each of the 4 rows; got shape (4, 1)"),
    "weights below 0": (lambda: backward(Y, [1, 1, -2, 1]), ValueError, "weights must be at least 0; got -2"),
    "no weight": (lambda: backward(Y, np.zeros(4)), ValueError, "weights must not all be 0"),
    "NaN in weights": (lambda: backward(Y, [1, math.nan, 1, 1]), ValueError,
        "weights must be finite; it holds NaN in row 1: leave such rows out or fill them in first"),
    "not parameters": (lambda: forward(X, parameters=[[1.0]]), TypeError,
        "parameters must be a glassprop.Parameters (see Parameters.from_arrays); got list"),
    "other layers": (lambda: forward(X, parameters=gp.Parameters((2, 4, 2))), ValueError,
        "parameters must be of the network's layers (2, 3, 2); got (2, 4, 2)"),
}  # fmt: skip


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays(name: str) -> None:
    check(ARRAYS[name])


def test_rows_of_different_length() -> None:
    with pytest.raises(ValueError, match=r"^X must be a rectangular array; its rows differ in length \(setting an array"):
        forward([[1.0, 2.0], [1.0]])


def test_numbers_too_large_for_single_precision() -> None:
    """Y and the weights are computed in the precision of X."""
    fwd = forward(X.astype(np.float32))
    bad = "must be finite; it holds infinity in row 0"
    with pytest.raises(ValueError, match=f"^Y {bad}, column 0"):
        gp.backward(NETWORK, PARAMETERS, fwd, Y * 1e300)
    with pytest.raises(ValueError, match=f"^weights {bad}:"):
        gp.backward(NETWORK, PARAMETERS, fwd, Y, np.full(4, 1e300))


def test_what_is_allowed() -> None:
    """Near misses of the errors above."""
    forward(X.astype(object))
    forward(np.asfortranarray(X))
    forward(X[::-1])
    backward([0, 1, 1, 0], loss="cross_entropy")
    backward(np.array([[0], [1], [1], [0]], np.uint8), loss="cross_entropy")
    backward([[0.3, 0.7]] * 4, loss="cross_entropy")
    backward([True, False, True, False], loss="binary_cross_entropy", outputs=1)
    backward(np.ones(4), outputs=1, loss="huber")
    backward(Y, [0, 0, 0, 1])
    gp.Network((np.int64(2), 3), l2=np.float32(0.5), dropout=np.float32(0.5))
    gp.Network([4, 3, 3, 2], ["relu", gp.ACTIVATIONS["tanh"]], dropout=(0.1, 0))
    gp.Network((4, 2), [], dropout=[])


def test_strided_arrays_are_read_rightly() -> None:
    large = np.zeros((8, 4))
    large[::2, ::2] = X
    np.testing.assert_array_equal(forward(large[::2, ::2]).output, forward(X).output)
    np.testing.assert_array_equal(forward(np.asfortranarray(X)).output, forward(X).output)


# --- network -------------------------------------------------------------------------------------------------------------

NETWORKS: dict[str, Bad] = {
    "layers": (lambda: gp.Network(3), TypeError, "layers must be the sizes (inputs, hidden ..., outputs); got 3"),
    "one layer": (lambda: gp.Network((3,)), ValueError, "layers must have at least two sizes, inputs and outputs; got (3,)"),
    "half a unit": (lambda: gp.Network((3, 2.5, 1)), TypeError, "layers must be whole numbers; got 2.5 in (3, 2.5, 1)"),
    "truth": (lambda: gp.Network((3, True)), TypeError, "layers must be whole numbers; got True in (3, True)"),
    "no units": (lambda: gp.Network((3, 0, 1)), ValueError, "layers must be at least 1; got 0 in (3, 0, 1)"),
    "a misspelling": (lambda: gp.Network((3, 2, 1), "rleu"), ValueError,
        f"activation must be one of {NAMES}; got 'rleu'; did you mean 'relu'?"),
    "another": (lambda: gp.Network((3, 2, 1), "Softpluss"), ValueError,
        f"activation must be one of {NAMES}; got 'Softpluss'; did you mean 'softplus'?"),
    "a name like none": (lambda: gp.Network((3, 2, 1), "xyzzy"), ValueError, f"activation must be one of {NAMES}; got 'xyzzy'"),
    "of no hidden layer": (lambda: gp.Network((3, 1), "rleu"), ValueError,
        f"activation must be one of {NAMES}; got 'rleu'; did you mean 'relu'?"),
    "in a list": (lambda: gp.Network((3, 2, 2, 1), ["relu", "sigmoyd"]), ValueError,
        f"activation must be one of {NAMES}; got 'sigmoyd'; did you mean 'sigmoid'?"),
    "no name": (lambda: gp.Network((3, 2, 1), 7), TypeError, "activation must be a name or a glassprop.Activation; got 7"),
    "too few": (lambda: gp.Network((3, 2, 2, 1), ["relu"]), ValueError,
        "activation must be one name or one for each of the 2 hidden layers; got 1"),
    "output only": (lambda: gp.Network((3, 2, 1), "exp"), ValueError, "activation 'exp' can stand on the output only"),
    "output misspelt": (lambda: gp.Network((3, 1), output_activation="soft_max"), ValueError,
        f"output_activation must be one of {NAMES}, 'exp', 'softmax'; got 'soft_max'; did you mean 'softmax'?"),
    "no output name": (lambda: gp.Network((3, 1), output_activation=3), TypeError,
        "output_activation must be a name or a glassprop.Activation; got 3"),
    "probabilities of tanh": (lambda: gp.Network((3, 1), output_activation="tanh", loss="binary_cross_entropy"), ValueError,
        "output_activation for loss 'binary_cross_entropy' must be one of 'sigmoid'; got 'tanh'"),
    "rates of relu": (lambda: gp.Network((3, 1), output_activation="relu", loss="poisson"), ValueError,
        "output_activation for loss 'poisson' must be one of 'sigmoid', 'softplus', 'exp'; got 'relu'"),
    "classes of identity": (lambda: gp.Network((3, 2), output_activation="identity", loss="cross_entropy"), ValueError,
        "output_activation for loss 'cross_entropy' must be one of 'sigmoid', 'softplus', 'exp', 'softmax'; got 'identity'"),
    "softmax alone": (lambda: gp.Network((3, 2), output_activation="softmax"), ValueError,
        f"output_activation for loss 'half_squared_error' must be one of {NAMES}, 'exp'; got 'softmax'"),
    "l2": (lambda: gp.Network((3, 1), l2=-1), ValueError, "l2 must be at least 0 and finite; got -1"),
    "l2 without end": (lambda: gp.Network((3, 1), l2=math.inf), ValueError, "l2 must be at least 0 and finite; got inf"),
    "l1": (lambda: gp.Network((3, 1), l1=math.nan), ValueError, "l1 must be at least 0 and finite; got nan"),
    "l1 in words": (lambda: gp.Network((3, 1), l1="small"), TypeError, "l1 must be a number; got 'small'"),
    "dropout": (lambda: gp.Network((3, 2, 1), dropout=1.0), ValueError, "dropout must be at least 0 and below 1; got 1.0"),
    "dropout of nothing": (lambda: gp.Network((3, 1), dropout=2), ValueError, "dropout must be at least 0 and below 1; got 2"),
    "dropout's kind": (lambda: gp.Network((3, 2, 1), dropout="half"), TypeError, "dropout must be a number; got 'half'"),
    "no dropout": (lambda: gp.Network((3, 2, 1), dropout=None), TypeError, "dropout must be a number; got None"),
    "dropouts": (lambda: gp.Network((3, 2, 2, 1), dropout=[0.1]), ValueError,
        "dropout must be one rate or one for each of the 2 hidden layers; got 1"),
    "frozen": (lambda: setattr(NETWORK, "l2", 1.0), AttributeError, "a Network is frozen; make a new one to change l2"),
    "a way to start": (lambda: NETWORK.initialize(method="he_norm"), ValueError,
        f"method must be one of {INITIALIZERS}; got 'he_norm'; did you mean 'he_normal'?"),
    "a seed below 0": (lambda: NETWORK.initialize(-1), ValueError,
        "seed must be a whole number of at least 0, or None; got -1"),
    "a seed in words": (lambda: NETWORK.initialize("one"), ValueError,
        "seed must be a whole number of at least 0, or None; got 'one'"),
    "dtype": (lambda: NETWORK.initialize(dtype="float16"), ValueError, "dtype must be float32 or float64; got 'float16'"),
    "no dtype": (lambda: gp.Parameters((2, 1), "float99"), ValueError, "dtype must be float32 or float64; got 'float99'"),
    "no arrays": (lambda: gp.Parameters.from_arrays([], []), ValueError,
        "W and b must have one array for each layer; got 0 and 0"),
    "a bias missing": (lambda: gp.Parameters.from_arrays([np.ones((2, 1))], []), ValueError,
        "W and b must have one array for each layer; got 1 and 0"),
    "a bias too long": (lambda: gp.Parameters.from_arrays([np.ones((2, 1))], [np.ones(2)]), ValueError,
        "W[0] must be (fan_in, fan_out) and b[0] (fan_out,); got (2, 1) and (2,)"),
    "flat weights": (lambda: gp.Parameters.from_arrays([np.ones(2)], [np.ones(2)]), ValueError,
        "W[0] must be (fan_in, fan_out) and b[0] (fan_out,); got (2,) and (2,)"),
    "layers that do not meet": (
        lambda: gp.Parameters.from_arrays([np.ones((2, 3)), np.ones((4, 1))], [np.ones(3), np.ones(1)]), ValueError,
        "W[1] must have 3 rows, the outputs of the layer before; got 4"),
    "weights in words": (lambda: gp.Parameters.from_arrays([[["a"]]], [[1.0]]), TypeError,
        "W[0] must hold real numbers; got <U1"),
    "NaN in a bias": (lambda: gp.Parameters.from_arrays([[[1.0]]], [[math.nan]]), ValueError,
        "b[0] must be finite; it holds NaN or infinity in float64"),
}  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
def test_networks(name: str) -> None:
    check(NETWORKS[name])


# --- losses and activations ----------------------------------------------------------------------------------------------


def raises(g: float) -> float:
    if g < 0:
        raise ValueError("no value")
    return g


TABLES: dict[str, Bad] = {
    "loss misspelt": (lambda: gp.Loss("hubber"), ValueError,
        f"loss must be one of {LOSSES}; got 'hubber'; did you mean 'huber'?"),
    "loss of a network": (lambda: gp.Network((2, 1), loss="cross_entropi"), ValueError,
        f"loss must be one of {LOSSES}; got 'cross_entropi'; did you mean 'cross_entropy'?"),
    "loss's kind": (lambda: gp.Network((2, 1), loss=1), TypeError, "loss must be a name or a glassprop.Loss; got 1"),
    "option": (lambda: gp.Loss("huber", quantile=0.5), TypeError, "loss 'huber' has no option 'quantile'; it has 'delta'"),
    "no options": (lambda: gp.Loss("poisson", delta=0.5), TypeError, "loss 'poisson' has no option 'delta'"),
    "delta": (lambda: gp.Loss("huber", delta=0), ValueError, "delta of loss 'huber' must be greater than 0; got 0"),
    "delta without end": (lambda: gp.Loss("huber", delta=math.inf), ValueError,
        "delta of loss 'huber' must be greater than 0; got inf"),
    "delta in words": (lambda: gp.Loss("huber", delta="big"), TypeError, "delta of loss 'huber' must be a number; got 'big'"),
    "quantile": (lambda: gp.Loss("quantile", quantile=1.0), ValueError,
        "quantile of loss 'quantile' must be between 0 and 1; got 1.0"),
    "smoothing": (lambda: gp.Loss("cross_entropy", label_smoothing=1), ValueError,
        "label_smoothing of loss 'cross_entropy' must be at least 0 and below 1; got 1"),
    "NaN": (lambda: gp.Loss("binary_cross_entropy", label_smoothing=math.nan), ValueError,
        "label_smoothing of loss 'binary_cross_entropy' must be at least 0 and below 1; got nan"),
    "a name that is taken": (lambda: gp.Activation("relu", abs, abs), ValueError,
        "name 'relu' belongs to a built-in activation; choose another"),
    "no function": (lambda: gp.Activation("mine", 3, abs), TypeError,
        "phi of activation 'mine' must be a function of one number; got 3"),
    "no derivative": (lambda: gp.Activation("mine", abs, None), TypeError,
        "dphi of activation 'mine' must be a function of one number; got None"),
    "raises": (lambda: gp.Activation("mine", raises, abs), TypeError,
        "phi of activation 'mine' must raise nothing, since compiled loops hear no exceptions; "
        "where it has no value, let it return NaN"),
    "reads": (lambda: gp.Activation("mine", abs, abs, reads="x"), ValueError, "reads must be one of 'g', 'h'; got 'x'"),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLES)
def test_losses_and_activations(name: str) -> None:
    check(TABLES[name])


@pytest.mark.parametrize(("phi", "dphi", "which"), [
    (lambda g: input(g), lambda g: g, "phi"),
    (lambda g: g, lambda g, h: g, "dphi"),
    (lambda g: unknown_name_in_here + g, lambda g: g, "phi"),  # noqa: F821
    (lambda g: [g], lambda g: g, "phi"),
    (lambda g: g, str, "dphi"),
])  # fmt: skip
def test_a_users_function_that_cannot_be_compiled(phi: Any, dphi: Any, which: str) -> None:
    network = gp.Network((2, 2, 1), gp.Activation("mine", phi, dphi))
    message = (
        rf"^{which} of activation 'mine' cannot be compiled: it must be a function of one number in the Python that Numba "
        r"understands \(.*\)$"
    )
    with pytest.raises(TypeError, match=message):
        gp.forward(network, network.initialize(), X)


def test_functions_of_math_and_numpy_are_functions() -> None:
    right = gp.forward(NETWORK, PARAMETERS, X).output
    for phi in (math.tanh, np.tanh):
        network = gp.Network((2, 3, 2), gp.Activation("mine", phi, lambda g: 1 - math.tanh(g) ** 2))
        np.testing.assert_allclose(gp.forward(network, PARAMETERS, X).output, right, rtol=1e-13)


# --- update rules and schedules ------------------------------------------------------------------------------------------

RULES: dict[str, Bad] = {
    "neither": (lambda: update(), ValueError, "give exactly one of learning_rate and optimizer"),
    "both": (lambda: update(learning_rate=0.1, optimizer=gp.SGD()), ValueError,
        "give exactly one of learning_rate and optimizer"),
    "a name": (lambda: update(optimizer="adam"), TypeError,
        "optimizer must be an update rule such as glassprop.Adam(1e-3); got 'adam'"),
    "a class of rules": (lambda: update(optimizer=gp.Adam), TypeError,
        "optimizer must be an update rule such as glassprop.Adam(1e-3); got <class 'glassprop.core.update.Adam'>; "
        "write glassprop.Adam()"),
    "no backward": (lambda: update(back=forward(X), learning_rate=0.1), TypeError,
        "back must be what glassprop.backward returns; got Forward"),
    "a step before the first": (lambda: update(optimizer=gp.Adam(), step=-1), ValueError,
        "step must be a whole number of at least 0; got -1"),
    "half a step": (lambda: update(optimizer=gp.Adam(), step=0.5), ValueError,
        "step must be a whole number of at least 0; got 0.5"),
    "other layers": (lambda: update(parameters=gp.Parameters((2, 2)), learning_rate=0.1), ValueError,
        "back must be of the parameters' layers (2, 2); got (2, 3, 2)"),
    "learning_rate": (lambda: update(learning_rate=0.0), ValueError, "learning_rate must be greater than 0; got 0.0"),
    "learning_rate NaN": (lambda: gp.SGD(math.nan), ValueError, "learning_rate must be greater than 0; got nan"),
    "learning_rate in words": (lambda: gp.Adam("fast"), TypeError,
        "learning_rate must be a number, a schedule or a function of the step; got 'fast'"),
    "factors": (lambda: update(optimizer=gp.SGD(layer_factors=(1.0,))), ValueError,
        "layer_factors must be one for each of the 2 layers; got 1"),
    "factors below 0": (lambda: gp.SGD(layer_factors=(1.0, -1.0)), ValueError,
        "layer_factors of SGD must be at least 0; got (1.0, -1.0)"),
    "a single factor": (lambda: gp.Adam(layer_factors=0.5), TypeError,
        "layer_factors of Adam must be numbers, one for each layer; got 0.5"),
    "momentum": (lambda: gp.SGD(momentum=1.0), ValueError, "momentum of SGD must be ≥ 0 and < 1; got 1.0"),
    "momentum in words": (lambda: gp.SGD(momentum="some"), TypeError, "momentum of SGD must be a number; got 'some'"),
    "beta1": (lambda: gp.Adam(beta1=-0.1), ValueError, "beta1 of Adam must be ≥ 0 and < 1; got -0.1"),
    "beta2": (lambda: gp.AdamW(beta2=1), ValueError, "beta2 of AdamW must be ≥ 0 and < 1; got 1"),
    "epsilon": (lambda: gp.RMSprop(epsilon=0), ValueError, "epsilon of RMSprop must be > 0 and < inf; got 0"),
    "rho": (lambda: gp.RMSprop(rho=math.nan), ValueError, "rho of RMSprop must be ≥ 0 and < 1; got nan"),
    "epsilon of Adagrad": (lambda: gp.Adagrad(epsilon=-1e-3), ValueError,
        "epsilon of Adagrad must be > 0 and < inf; got -0.001"),
    "grow": (lambda: gp.Rprop(grow=0.9), ValueError, "grow of Rprop must be ≥ 1 and < inf; got 0.9"),
    "shrink": (lambda: gp.Rprop(shrink=0), ValueError, "shrink of Rprop must be > 0 and < 1; got 0"),
    "weight_decay": (lambda: gp.SGD(weight_decay=-1), ValueError, "weight_decay of SGD must be ≥ 0 and < inf; got -1"),
    "clip_norm": (lambda: gp.SGD(clip_norm=0), ValueError, "clip_norm of SGD must be > 0 and < inf; got 0"),
    "warmup": (lambda: gp.Cosine(0.1, 10, warmup=10), ValueError,
        "warmup of Cosine must be at least 0 and below steps=10; got 10"),
    "warmup's kind": (lambda: gp.Cosine(0.1, 10, warmup=None), TypeError, "warmup of Cosine must be a number; got None"),
    "final": (lambda: gp.Cosine(0.1, 10, final=0.2), ValueError,
        "final of Cosine must lie between 0 and learning_rate=0.1; got 0.2"),
    "steps": (lambda: gp.OneCycle(0.1, 0), ValueError, "steps of OneCycle must be greater than 0; got 0"),
    "rise": (lambda: gp.OneCycle(0.1, 9, rise=1.5), ValueError, "rise of OneCycle must lie between 0 and 1; got 1.5"),
    "start in words": (lambda: gp.OneCycle(0.1, 9, start="low"), TypeError, "start of OneCycle must be a number; got 'low'"),
    "decay": (lambda: gp.Exponential(0.1, decay=-1), ValueError, "decay of Exponential must be greater than 0; got -1"),
    "decay's kind": (lambda: gp.Exponential(0.1, decay=True), TypeError, "decay of Exponential must be a number; got True"),
    "power": (lambda: gp.InverseScaling(0.1, power=math.inf), ValueError,
        "power of InverseScaling must be greater than 0; got inf"),
    "of a schedule": (lambda: gp.InverseScaling(-0.1), ValueError,
        "learning_rate of InverseScaling must be greater than 0; got -0.1"),
    "a function": (lambda: learning_rates(lambda step: 0.1 - step / 50, 0, 10), ValueError,
        "learning_rate must give a finite number of at least 0 for every step; got -0.01999999999999999 at step 6"),
    "a function's kind": (lambda: learning_rates(lambda step: None, 3, 10), ValueError,
        "learning_rate must give a finite number of at least 0 for every step; got None at step 3"),
    "a function's NaN": (lambda: update(optimizer=gp.SGD(lambda step: math.nan), step=7), ValueError,
        "learning_rate must give a finite number of at least 0 for every step; got nan at step 7"),
}  # fmt: skip


@pytest.mark.parametrize("name", RULES)
def test_rules_and_schedules(name: str) -> None:
    check(RULES[name])


def test_states() -> None:
    size = PARAMETERS.theta.size
    for state, got in (
        (np.zeros((2, 3)), "float64 of (2, 3)"),
        (np.zeros((2, size), np.float32), f"float32 of (2, {size})"),
        ([0.0], "list"),
    ):
        check(
            (lambda state=state: update(optimizer=gp.Adam(), state=state), ValueError,
             f"state must be float64 of shape (2, {size}); got {got}")
        )  # fmt: skip
    for state in (np.zeros((4, size))[::-2], np.zeros((2, size), order="F")):
        check(
            (lambda state=state: update(optimizer=gp.Adam(), state=state), ValueError,
             "state must be contiguous, row by row, and writeable: it is updated in place")
        )  # fmt: skip


def test_what_belongs_together() -> None:
    parameters = PARAMETERS.copy()
    fwd = forward(X, parameters=parameters)
    other = gp.Network((2, 3, 2), "tanh", l2=0.1)
    check(
        (lambda: gp.backward(NETWORK, parameters, X, Y), TypeError, "fwd must be what glassprop.forward returns; got ndarray")
    )
    check((lambda: gp.backward(other, parameters, fwd, Y), ValueError, "fwd must come from the same network"))
    gp.backward(NETWORK, parameters, fwd, Y)
    parameters.W[0][0, 0] += 1
    check((
        lambda: gp.backward(NETWORK, parameters, fwd, Y), ValueError,
        "fwd must come from the same parameters; they have changed since",
    ))  # fmt: skip


def test_cases_are_of_every_loss() -> None:
    assert ", ".join(map(repr, cases.LOSSES)) == LOSSES


def test_clipping_by_hand_goes_by_the_gradient_as_it_is() -> None:
    fwd = gp.forward(NETWORK, PARAMETERS, X)
    back = gp.backward(NETWORK, PARAMETERS, fwd, Y)
    back.gradient.theta[:] *= 100
    after = gp.update(PARAMETERS, back, optimizer=gp.SGD(1.0, clip_norm=1e-3))
    assert np.linalg.norm(after.theta - PARAMETERS.theta) == pytest.approx(1e-3, rel=1e-9)


def test_backward_takes_the_rows_that_forward_was_given() -> None:
    table = np.array(X)
    fwd = gp.forward(NETWORK, PARAMETERS, table)
    wanted = gp.backward(NETWORK, PARAMETERS, fwd, Y)
    table *= 5
    back = gp.backward(NETWORK, PARAMETERS, fwd, Y)
    assert back.loss == wanted.loss
    np.testing.assert_array_equal(back.gradient.theta, wanted.gradient.theta)


def test_parameters_that_are_not_finite_travel() -> None:
    parameters = PARAMETERS.copy()
    parameters.W[0][0, 0], parameters.b[1][1] = np.nan, np.inf
    for other in (copy.deepcopy(parameters), pickle.loads(pickle.dumps(parameters))):
        np.testing.assert_array_equal(other.theta, parameters.theta)


def test_numbers_that_become_infinite_in_single_precision_are_refused() -> None:
    check((
        lambda: gp.Parameters.from_arrays([[[1e300]]], [[0.0]], dtype="float32"), ValueError,
        "W[0] must be finite; it holds NaN or infinity in float32",
    ))  # fmt: skip


@pytest.mark.parametrize("kind", ["float32", "float64"])
def test_weights_that_are_computed_as_zero_are_none(kind: str) -> None:
    weights = np.full(len(X), np.finfo(kind).tiny / 2, kind)
    tiny = {"float32": "1e-38", "float64": "2e-308"}[kind]
    message = f"weights must not all be 0; numbers below {tiny} are computed as 0"
    fwd = forward(X.astype(kind))
    check((lambda: gp.backward(NETWORK, PARAMETERS, fwd, Y, weights), ValueError, message))
    weights[1] = 1
    assert np.isfinite(gp.backward(NETWORK, PARAMETERS, fwd, Y, weights).loss)


def test_an_empty_name_and_an_activation_of_outputs_are_refused_without_hidden_layers() -> None:
    with pytest.raises(ValueError, match=r"^output_activation must be one of"):
        gp.Network((2, 1), output_activation="")
    with pytest.raises(ValueError, match=r"^activation 'softmax' can stand on the output only$"):
        gp.Network((2, 1), activation="softmax")


def test_update_wants_parameters() -> None:
    back = gp.backward(NETWORK, PARAMETERS, gp.forward(NETWORK, PARAMETERS, X), Y)
    check((lambda: gp.update([1], back, 0.1), TypeError, "parameters must be a glassprop.Parameters; got list"))


def test_rules_and_schedules_keep_plain_numbers() -> None:
    """NumPy's are no JSON, in which a recorded run is described."""
    schedule = gp.Cosine(np.float32(0.5), steps=np.int64(100))
    rule = gp.Adam(schedule, beta1=np.float64(0.5), clip_norm=np.int64(2), layer_factors=np.ones(2, np.float32))
    assert json.loads(json.dumps(rule.describe())) == rule.describe()
    assert rule == gp.Adam(gp.Cosine(0.5, steps=100), beta1=0.5, clip_norm=2, layer_factors=(1.0, 1.0))
    assert type(gp.SGD(np.float32(0.5)).learning_rate) is float


@pytest.mark.parametrize("kind", [">f8", "<f8", np.longdouble, ">f4", "<f4"])
def test_bytes_in_any_order_keep_their_precision(kind: Any) -> None:
    network, wide = gp.Network((2, 3, 1)), np.dtype(kind).itemsize >= 8
    X = np.random.default_rng(0).normal(size=(5, 2)).astype(kind)
    parameters = network.initialize(0, dtype="float64" if wide else "float32")
    again = gp.Parameters.from_arrays([W.astype(kind) for W in parameters.W], [b.astype(kind) for b in parameters.b])
    assert again.dtype == parameters.dtype
    output = gp.forward(network, again, X).output
    assert output.dtype == parameters.dtype
    np.testing.assert_array_equal(output, gp.forward(network, parameters, X.astype(parameters.dtype)).output)
    run = gp.train(network, X, X[:, :1], epochs=1, seed=0)
    assert run.parameters.dtype == parameters.dtype
