"""What a person may get wrong when calling gp.train, and what they are told."""

from __future__ import annotations

import numpy as np
import pytest

import glassprop as gp

X = np.arange(12.0).reshape(6, 2)
Y = np.arange(6.0)
NETWORK = gp.Network((2, 3, 1))
CLASSES = gp.Network((2, 3, 3), loss="cross_entropy")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"X": X[:, :1]}, r"X must have 2 columns, as the network has inputs; got 1"),
        ({"X": X[0]}, r"X must have two dimensions, \(rows, 2\); got shape \(2,\); one row of numbers is written X\[None\]"),
        ({"X": X[:0]}, r"X must have at least one row; it is empty"),
        ({"X": np.where(X == 3, np.nan, X)}, r"X must be finite; it holds NaN in row 1, column 1"),
        ({"X": np.where(X == 4, np.inf, X)}, r"X must be finite; it holds infinity in row 2, column 0"),
        ({"Y": Y[:3]}, r"Y must have as many rows as the inputs, 6; got 3"),
        ({"Y": np.where(Y == 2, np.nan, Y)}, r"Y must be finite; it holds NaN in row 2"),
        ({"Y": np.ones((6, 2))}, r"Y must be of shape \(rows, 1\); got \(6, 2\)"),
        ({"network": CLASSES, "Y": np.ones(6)}, r"Y must hold at least two classes to learn from; all 6 rows are of class 1"),
        ({"network": CLASSES}, r"Y must hold class numbers from 0 to 2 for 3 outputs; got 3"),
        ({"weights": np.ones(5)}, r"weights must be one number for each of the 6 rows; got shape \(5,\)"),
        ({"weights": -np.ones(6)}, r"weights must be at least 0; got -1"),
        ({"weights": np.zeros(6)}, r"weights must not all be 0"),
        ({"weights": np.eye(6)[0], "validation": 0.5}, r"weights must not all be 0 in the rows held out for validation, nor"),
        ({"epochs": 0}, r"epochs must be at least 1; got 0"),
        ({"batch_size": 0}, r"batch_size must be at least 1; got 0"),
        ({"patience": 0}, r"patience must be at least 1; got 0"),
        ({"seed": -1}, r"seed must be a whole number from 0 to 2\*\*63 - 1; got -1"),
        ({"tolerance": -1.0}, r"tolerance must be at least 0; got -1.0"),
        ({"tolerance": "a"}, r"tolerance must be at least 0; got 'a'"),
        ({"validation": np.float32(1.5)}, r"validation must be a fraction between 0 and 1; got 1.5"),
        ({"validation": 1.5}, r"validation must be a fraction between 0 and 1; got 1.5"),
        ({"validation": (X[:, :1], Y)}, r"validation X must have 2 columns"),
        ({"validation": (X, Y[:2])}, r"validation Y must have as many rows as the inputs, 6; got 2"),
        ({"scoring": "accuracy"}, r"scoring needs validation data"),
        ({"scoring": lambda y, p: float("nan"), "validation": 0.5}, r"scoring must give a finite number; .* gave nan"),
        ({"scoring": "roc_auc", "validation": 0.5}, r"scoring 'roc_auc' cannot judge these validation rows: "),
        ({"scoring": "acuracy", "validation": 0.5}, r"scoring must be one of .*; got 'acuracy'; did you mean 'accuracy'\?"),
        (
            {"scoring": lambda y, p: "good", "validation": 0.5},
            r"scoring must give a finite number; .* gave 'good' for the validation rows",
        ),
        (
            {"parameters": gp.Network((3, 1)).initialize()},
            r"parameters must be of the network's layers \(2, 3, 1\); got \(3, 1\)",
        ),
        ({"optimizer": gp.SGD(layer_factors=(1.0,))}, r"layer_factors must be one for each of the 2 layers; got 1"),
        (
            {"optimizer": gp.SGD(lambda step: -1.0)},
            r"learning_rate must give a finite number of at least 0 .*; got -1.0 at step 0",
        ),
    ],
)
def test_values(arguments, message):
    with pytest.raises(ValueError, match=message):
        gp.train(**{"network": NETWORK, "X": X, "Y": Y, "seed": 0, **arguments})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"network": (2, 3, 1)}, r"network must be a glassprop.Network; got tuple"),
        ({"epochs": 1.5}, r"epochs must be a whole number; got 1.5"),
        ({"shuffle": "no"}, r"shuffle must be True or False; got 'no'"),
        ({"restore_best": 0}, r"restore_best must be True or False; got 0"),
        ({"progress": None}, r"progress must be True or False; got None"),
        ({"batch_size": True}, r"batch_size must be a whole number; got True"),
        ({"optimizer": "adam"}, r"optimizer must be an update rule such as glassprop.Adam\(1e-3\); got 'adam'"),
        ({"validation": [X, Y]}, r"validation must be a fraction, \(X, Y\) or \(X, Y, weights\); got list"),
        ({"scoring": 3, "validation": 0.5}, r"scoring must be a scorer's name or a function; got 3"),
        ({"callbacks": [3]}, r"callbacks must be functions of an epoch; got 3"),
        ({"callbacks": 3}, r"callbacks must be functions of an epoch; got 3"),
        ({"parameters": [X]}, r"parameters must be a glassprop.Parameters .*; got list"),
    ],
)
def test_types(arguments, message):
    with pytest.raises(TypeError, match=message):
        gp.train(**{"network": NETWORK, "X": X, "Y": Y, "seed": 0, **arguments})


def test_a_column_of_a_data_frame_is_named():
    import pandas as pd

    frame = pd.DataFrame({"height": [1.0, 2.0, np.nan], "width": [1.0, 2.0, 3.0]})
    with pytest.raises(ValueError, match=r"X must be finite; it holds NaN in row 2, column height"):
        gp.train(NETWORK, frame, [1.0, 2.0, 3.0], seed=0)


def test_resume_checks_epochs():
    run = gp.train(NETWORK, X, Y, epochs=1, seed=0)
    with pytest.raises(ValueError, match="epochs must be at least 1; got 0"):
        run.resume(0)


def test_numbers_too_large_for_float32_are_named() -> None:
    with pytest.raises(ValueError, match=r"X holds 1e\+39 in row 1, column 0, more than float32 can hold"):
        gp.train(gp.Network((1, 1)), np.array([[1.0], [1e39]]), [0.0, 1.0], precision="float32")


def test_how_much_better_a_loss_must_be_is_said() -> None:
    run = gp.train(gp.Network((1, 1)), [[1.0], [2.0]], [0.0, 1.0], epochs=50, seed=0, tolerance=10, patience=2)
    assert run.stopped.startswith("the loss did not improve by more than 10 for 2 epochs")
