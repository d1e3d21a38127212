"""Who uses a name that another library has, or misspells one, is told ours."""

from __future__ import annotations

import pytest

import glassprop as gp
from glassprop.errors import ELSEWHERE, nearest

NETWORK = gp.Network((2, 3, 1))

LOSSES = {
    "half_squared_error": "mse MSE MSELoss mean_squared_error MeanSquaredError squared_error",
    "absolute_error": "mae L1 l1_loss L1Loss mean_absolute_error absolute-error",
    "huber": "smooth_l1 SmoothL1Loss HuberLoss",
    "quantile": "pinball pinball_loss",
    "cross_entropy": "CrossEntropyLoss categorical_crossentropy sparse_categorical_crossentropy nll NLLLoss softmax",
    "binary_cross_entropy": "bce BCELoss BCEWithLogitsLoss binary_crossentropy",
    "binary_cross_entropy' or 'cross_entropy": "log_loss logloss",
}
ACTIVATIONS = {"identity": "linear none", "leaky_relu": "leakyrelu LeakyReLU lrelu", "silu": "swish", "sigmoid": "logistic"}
INITIALIZERS = {
    "glorot_uniform": "xavier xavier_uniform glorot",
    "glorot_normal": "xavier_normal",
    "he_uniform": "he kaiming kaiming_uniform HeUniform",
    "he_normal": "kaiming_normal",
    "lecun_uniform": "lecun",
}


def pairs(table):
    return [(ours, name) for ours, names in table.items() for name in names.split()]


@pytest.mark.parametrize(("ours", "name"), pairs(LOSSES))
def test_losses(ours, name):
    with pytest.raises(ValueError, match=rf"^loss must be one of .*; got '{name}'; did you mean '{ours}'\?$"):
        gp.Network((2, 1), loss=name)


@pytest.mark.parametrize(("ours", "name"), pairs(ACTIVATIONS))
def test_activations(ours, name):
    with pytest.raises(ValueError, match=rf"^activation must be one of .*; got '{name}'; did you mean '{ours}'\?$"):
        gp.Network((2, 3, 1), activation=name)


@pytest.mark.parametrize(("ours", "name"), pairs(INITIALIZERS))
def test_initializers(ours, name):
    with pytest.raises(ValueError, match=rf"^method must be one of .*; got '{name}'; did you mean '{ours}'\?$"):
        NETWORK.initialize(method=name)


def test_the_estimators_say_the_same():
    with pytest.raises(ValueError, match=r"Got 'swish' instead\. Did you mean 'silu'\?"):
        gp.MLPClassifier(activation="swish").fit([[0.0], [1.0]], [0, 1])


def test_what_is_like_no_name_gets_no_suggestion():
    for name in ("hinge", "xyzzy", "", "loss", None, 3):
        assert nearest(name, gp.LOSSES) == ""
    assert nearest("irus", ["Iris", "wine"]) == "'Iris'"  # capitals are no difference, in the valid names either


def test_names_from_elsewhere_are_of_things_that_are_there():
    there = {*gp.LOSSES, *gp.ACTIVATIONS, *gp.INITIALIZERS}
    assert set(ELSEWHERE) <= there
    for names in ELSEWHERE.values():
        assert not there.intersection(names.split()) - {"softmax"}  # an activation here, a loss elsewhere
