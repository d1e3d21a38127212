"""Who uses a name that another library has, or misspells one, is told ours."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle

import pytest
from sklearn.base import clone

import glassprop as gp
from glassprop.core.schedules import SCHEDULES
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
    callables = (gp.Network, gp.Network.initialize, gp.train, *gp.OPTIMIZERS.values(), *SCHEDULES.values())
    arguments = {name for thing in callables for name in inspect.signature(thing).parameters}
    assert set(ELSEWHERE) <= there | arguments
    for names in ELSEWHERE.values():
        assert not there.intersection(names.split()) - {"softmax"}  # an activation here, a loss elsewhere


# --- arguments -----------------------------------------------------------------------------------------------------------

X, Y = [[1.0, 2.0], [3.0, 4.0]], [1.0, 2.0]
A_RULE = "did you mean 'optimizer', such as optimizer=gp.Adam(learning_rate=0.01)?"

ARGUMENTS = {
    "Adam": (lambda: gp.Adam(lr=1e-3), "'lr'; did you mean 'learning_rate'?"),
    "AdamW": (lambda: gp.AdamW(eps=1e-3), "'eps'; did you mean 'epsilon'?"),
    "SGD": (lambda: gp.SGD(0.1, momentun=0.9), "'momentun'; did you mean 'momentum'?"),
    "Cosine": (lambda: gp.Cosine(0.1, T_max=10), "'T_max'; did you mean 'steps'?"),
    "Network": (lambda: gp.Network((2, 1), activations="tanh"), "'activations'; did you mean 'activation'?"),
    "Network.initialize": (lambda: NETWORK.initialize(random_state=0), "'random_state'; did you mean 'seed'?"),
    "train": (lambda: gp.train(NETWORK, X, Y, epoch=5), "'epoch'; did you mean 'epochs'?"),
    "train, elsewhere": (lambda: gp.train(NETWORK, X, Y, lr=0.1), f"'lr'; {A_RULE}"),
    "train, inside of the rule": (lambda: gp.train(NETWORK, X, Y, learning_rate=0.1), f"'learning_rate'; {A_RULE}"),
    "train, in part": (lambda: gp.train(NETWORK, x=X, Y=Y), "'x'; did you mean 'X'?"),
    "train, unheard of": (lambda: gp.train(NETWORK, X, Y, bananas=3), "'bananas'"),
    "train_many": (lambda: gp.train_many(NETWORK, X, Y, seeds=[0, 1]), "'seeds'; did you mean 'seed'?"),
    "Run.resume": (lambda: gp.train(NETWORK, X, Y, epochs=1).resume(verbose=True), "'verbose'; did you mean 'progress'?"),
    "explain": (lambda: gp.explain(NETWORK, NETWORK.initialize(), X, Y, rows=1), "'rows'; did you mean 'row'?"),
    "check_gradients": (lambda: gp.check_gradients(NETWORK, sample_weight=Y), "'sample_weight'; did you mean 'weights'?"),
    "verify_step": (lambda: gp.verify_step(NETWORK, lr=0.1), f"'lr'; {A_RULE}"),
    "diagnose": (lambda: gp.diagnose(NETWORK, batchsize=3), "'batchsize'; did you mean 'batch_size'?"),
    "replay": (lambda: gp.replay("runs", X, Y, loses={}), "'loses'; did you mean 'losses'?"),
}  # fmt: skip


@pytest.mark.parametrize("name", ARGUMENTS)
def test_arguments_that_are_not_there(name):
    call, message = ARGUMENTS[name]
    with pytest.raises(TypeError) as caught:
        call()
    said = str(caught.value)
    assert said.startswith(f"an argument of {name.split(',')[0]} must be one of '")
    assert said.endswith(f"; got {message}")
    assert "'self'" not in said
    assert caught.value.__suppress_context__


def test_a_range_is_no_list():
    with pytest.raises(ValueError, match=r"such as seed=\[0, 1, 2\]; got none: a range is made one by list\(range\(3\)\)$"):
        gp.train_many(NETWORK, X, Y, seed=range(2))


def test_every_rule_and_schedule_names_its_arguments():
    for maker in (*gp.OPTIMIZERS.values(), *SCHEDULES.values()):
        with pytest.raises(TypeError, match=f"^an argument of {maker.__name__} must be .*; did you mean 'learning_rate'"):
            maker(lr=0.1)


def test_other_type_errors_are_pythons_own():
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'Y'"):
        gp.train(NETWORK, X)
    with pytest.raises(TypeError, match=r"layers must be the sizes"):
        gp.Network(layers=3)


def test_signatures_copies_and_pickles_are_as_without():
    assert list(inspect.signature(gp.SGD).parameters)[:3] == ["learning_rate", "momentum", "nesterov"]
    assert list(inspect.signature(gp.Network).parameters)[:2] == ["layers", "activation"]
    assert "epochs" in inspect.signature(gp.train).parameters
    assert gp.train.__name__ == "train"
    assert "Train a network" in gp.train.__doc__
    assert pickle.loads(pickle.dumps(gp.train)) is gp.train
    rule = gp.Adam(gp.Cosine(0.1, steps=5), beta1=0.8)
    assert pickle.loads(pickle.dumps(rule)) == copy.deepcopy(rule) == rule
    assert dataclasses.replace(rule, beta1=0.7).beta1 == 0.7
    model = clone(gp.MLPRegressor(solver=rule))
    assert model.solver == rule
