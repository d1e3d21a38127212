"""diagnose: what is planted in a real fit of a real table is found by its name; twenty healthy fits raise no alarm."""

import json
import math
import warnings
from functools import cache

import numpy as np
import pytest

import glassprop as gp
from glassprop.tables.preparation import prepare
from glassprop.tables.reading import read_table


@cache
def table(name):
    """A table standardised, with a fifth of its rows for validation."""
    ready = prepare(read_table(f"sklearn:{name}"), "target", validation=0.2, seed=0, dtype="float64")
    return ready, ready.train, (ready.validation.X, ready.validation.Y)


def fit(name, hidden, optimizer=None, *, X=None, Y=None, validation=True, epochs=40, network=None, **given):
    ready, train, held = table(name)
    options = {key: given.pop(key) for key in ("activation", "l2", "dropout") if key in given}
    network = network or ready.network(hidden, **options)
    if validation:
        given = {"validation": held, "patience": 15} | given
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", gp.DivergenceWarning)
        return gp.train(
            network,
            train.X if X is None else X,
            train.Y if Y is None else Y,
            optimizer=optimizer,
            epochs=epochs,
            seed=0,
            **given,
        )


HEALTHY = [
    ("iris", (16,), gp.Adam(0.01), {}),
    ("iris", (16, 16), gp.SGD(0.1, momentum=0.9), {"activation": "tanh"}),
    ("iris", (8,), gp.Rprop(0.01), {"batch_size": 1000, "activation": "sigmoid", "epochs": 100}),
    ("iris", (), gp.SGD(0.3), {"epochs": 100}),
    ("wine", (32,), gp.Adam(0.003), {"l2": 0.01}),
    ("wine", (16, 16), gp.RMSprop(0.003), {"activation": "silu"}),
    ("wine", (16,), gp.SGD(0.1), {"activation": "softsign"}),
    ("breast_cancer", (32,), gp.Adam(0.003), {"dropout": 0.2}),
    ("breast_cancer", (32, 32), gp.AdamW(0.001), {"activation": "gelu"}),
    ("breast_cancer", (16,), gp.Adagrad(0.05), {"activation": "elu"}),
    ("breast_cancer", (64, 32), gp.SGD(0.05, momentum=0.9, nesterov=True), {"activation": "leaky_relu"}),
    ("digits", (64,), gp.Adam(0.003), {}),
    ("digits", (64, 64), gp.Adam(gp.Cosine(0.005, steps=1840)), {}),
    ("digits", (64, 32), gp.SGD(0.1), {"activation": "tanh"}),
    ("digits", (64, 64, 64), gp.Adam(0.002), {"dropout": 0.2, "activation": "selu"}),
    ("digits", (50,), gp.SGD(0.5), {"activation": "sigmoid"}),
    ("digits", (32, 32, 32, 32), gp.Adam(0.002), {"activation": "mish"}),
    ("diabetes", (16,), gp.Adam(0.003), {"l2": 0.03}),
    ("diabetes", (8,), gp.SGD(0.02), {"activation": "tanh", "l2": 0.02}),
    ("diabetes", (16, 16), gp.Adam(gp.OneCycle(0.005, steps=440)), {"l2": 0.03}),
]


@pytest.mark.parametrize(("name", "hidden", "optimizer", "given"), HEALTHY)
def test_healthy_fits_raise_no_alarm(name, hidden, optimizer, given):
    found = gp.diagnose(fit(name, hidden, optimizer, **given))
    assert found, found
    assert found.loss < 0.9 * found.baseline, "not a fit at all"
    assert str(found).endswith("nothing is found to be wrong")


def sick(plant):
    """Names of what is found, the table's fits being spoilt by `plant`."""
    return [finding.name for finding in gp.diagnose(plant()).findings]


def vanishing():
    return fit("digits", (32,) * 8, gp.SGD(0.1), activation="sigmoid", epochs=10)


def exploding():
    ready, *_ = table("digits")
    network = ready.network((64,) * 6)
    start = network.initialize(0)
    for W in start.W:
        W *= 4
    return fit("digits", (), gp.SGD(1e-12), network=network, parameters=start, epochs=1)


def dead():
    ready, *_ = table("digits")
    network = ready.network((64, 64))
    start = network.initialize(0)
    start.b[0][:48] = -30
    return fit("digits", (), gp.Adam(0.003), network=network, parameters=start)


def dead_by_learning_rate():
    return fit("breast_cancer", (64, 64), gp.SGD(3.0), epochs=30)


def saturated():
    ready, *_ = table("digits")
    network = ready.network((64,), activation="sigmoid")
    start = network.initialize(0)
    start.W[0][...] *= 40
    return fit("digits", (), gp.SGD(0.05), network=network, parameters=start, epochs=10)


def rate_too_high():
    return fit("digits", (64,), gp.Adam(0.5), validation=False, epochs=10)


def rate_too_low():
    return fit("digits", (64,), gp.SGD(1e-4), epochs=10)


def unscaled():
    train = table("breast_cancer")[1]
    return fit("breast_cancer", (16,), gp.Adam(0.003), X=train.X * np.r_[1000.0, np.ones(29)], validation=False, epochs=10)


def tiny_inputs():
    return fit("wine", (16,), gp.Adam(0.003), X=table("wine")[1].X * 0.01, validation=False, epochs=10)


def far_inputs():
    return fit("wine", (16,), gp.Adam(0.003), X=table("wine")[1].X + np.r_[2000.0, np.zeros(12)], validation=False, epochs=10)


def target_scale():
    return fit("diabetes", (16,), gp.Adam(0.003), Y=table("diabetes")[1].Y * 1000, validation=False, epochs=10)


def duplicated():
    ready, *_ = table("digits")
    network = ready.network((32, 32), activation="tanh")
    start = network.initialize(0)
    start.W[0][...] = start.W[0][:, :1]
    start.W[1][...] = start.W[1][:, :1]
    start.W[2][...] = start.W[2][:1]
    return fit("digits", (), gp.SGD(0.1), network=network, parameters=start, epochs=5)


def useless():
    network = gp.Network((4, 64, 3), activation="tanh", loss="cross_entropy", l1=0.02)
    rule = gp.Adam(gp.Cosine(0.02, steps=1600))
    return fit("iris", (), rule, network=network, epochs=400, validation=False)


def overfitting():
    train = table("diabetes")[1]
    return fit("diabetes", (128,), gp.Adam(0.01), X=train.X[:80], Y=train.Y[:80], epochs=300, patience=None, restore_best=False)


def divergence():
    train = table("diabetes")[1]
    return fit("diabetes", (16,), gp.SGD(1.0), X=train.X * 50, validation=False, epochs=50)


PLANTED = {
    vanishing: "vanishing gradients",
    exploding: "exploding gradients",
    dead: "dead ReLUs",
    dead_by_learning_rate: "dead ReLUs",
    saturated: "saturated neurons",
    rate_too_high: "learning rate too high",
    rate_too_low: "learning rate too low",
    unscaled: "unscaled inputs",
    tiny_inputs: "unscaled inputs",
    far_inputs: "unscaled inputs",
    target_scale: "target scale",
    duplicated: "duplicated neurons",
    useless: "useless neurons",
    overfitting: "overfitting",
    divergence: "divergence",
}


@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.__name__)
def test_what_is_planted_is_found(plant):
    assert PLANTED[plant] in sick(plant)


def test_most_plants_raise_one_alarm_alone():
    for plant in (
        vanishing,
        dead,
        saturated,
        rate_too_high,
        rate_too_low,
        unscaled,
        duplicated,
        useless,
        overfitting,
    ):
        assert sick(plant) == [PLANTED[plant]]
    assert sick(exploding) == ["exploding gradients", "learning rate too low"]  # it is 1e-12, to leave the weights as they are


@pytest.mark.parametrize("rate", [1e-3, gp.Cosine(1e-3, steps=1920)])
def test_a_table_learnt_by_heart_is_overfitted_and_not_learnt_too_fast(rate):
    names = sick(lambda: fit("diabetes", (64, 64), gp.Adam(rate), epochs=200, patience=None, restore_best=False))
    assert names == ["overfitting"]


@pytest.mark.parametrize("healthy", [True, False])
def test_a_number_added_to_a_loss_changes_nothing(healthy):
    """There are losses that go below 0."""
    found = []
    for shift in (0.0, -5.0):
        own = gp.Loss("own", value=lambda h, y, shift=shift: (h - y) ** 2 / 2 + shift, slope=lambda h, y: h - y)
        network = gp.Network((10, 16 if healthy else 128, 1), loss=own, l2=0.03 * healthy)
        given = {} if healthy else {"patience": None, "restore_best": False, "epochs": 200}
        for rate in (0.003, 1e-5, 0.5):
            found.append(gp.diagnose(fit("diabetes", (), gp.Adam(rate), network=network, **given)))
    for one, other in zip(found[:3], found[3:], strict=True):
        assert other.loss - other.baseline == pytest.approx(one.loss - one.baseline, abs=1e-6)
        assert [finding.name for finding in other.findings] == [finding.name for finding in one.findings]
    first = [finding.name for finding in found[0].findings]
    assert first == ([] if healthy else ["overfitting"])
    assert "learning rate too low" in [finding.name for finding in found[1].findings]


def test_counts_are_not_overfitted_because_their_loss_is_below_0():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(600, 4))
    Y = rng.poisson(np.exp(1.5 + X @ [0.3, -0.2, 0.1, 0.0])).astype(float)
    network = gp.Network((4, 16, 1), loss="poisson", l2=0.01)
    found = gp.diagnose(gp.train(network, X, Y, optimizer=gp.Adam(0.003), epochs=60, validation=0.2, patience=15, seed=0))
    assert found.loss < 0
    assert found, found


def test_rows_that_are_harder_to_any_network_are_no_sign_of_overfitting():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(500, 3))
    noise = rng.normal(size=500)
    Y = X[:, 0] + noise * np.where(np.arange(500) < 400, 1, 2)
    network, held = gp.Network((3, 8, 1), activation="tanh", l2=0.01), (X[400:], Y[400:])
    run = gp.train(network, X[:400], Y[:400], optimizer=gp.Adam(0.003), epochs=60, validation=held, patience=15, seed=0)
    found = gp.diagnose(run)
    assert found.facts.validation_loss > 2 * found.loss
    assert found, found


# --- the numbers ---------------------------------------------------------------------------------------------------------


def test_the_facts_of_a_layer_are_those_of_the_passes():
    ready, train, _ = table("wine")
    network = ready.network((8, 5), activation="tanh")
    parameters = network.initialize(3)
    parameters.W[0][:, 2] = parameters.W[0][:, 5]
    parameters.W[1][6] = 0
    found = gp.diagnose(network, parameters, train.X, train.Y)
    fwd = gp.forward(network, parameters, train.X)
    back = gp.backward(network, parameters, fwd, train.Y)
    first = found.layers[0]
    assert first.g_std == pytest.approx(fwd.g[0].std(), rel=1e-12)
    assert first.h_mean == pytest.approx(fwd.h[0].mean(), rel=1e-9)
    assert first.saturated == pytest.approx((1 - fwd.h[0] ** 2 < 0.05).mean(), abs=1e-12)
    assert first.delta == pytest.approx(np.sqrt((back.delta[0] ** 2).sum(1).mean()), rel=1e-12)
    assert first.gradient == pytest.approx(np.sqrt((back.dW[0] ** 2).mean()), rel=1e-12)
    assert (first.duplicates, first.useless, first.dead) == (2 / 8, 1 / 8, 0)
    shares = np.bincount(train.Y.astype(int)) / len(train.Y)
    assert found.baseline == pytest.approx(-(shares * np.log(shares)).sum(), rel=1e-9)
    assert (found.loss, first.update) == (pytest.approx(back.loss, rel=1e-12), None)


@pytest.mark.parametrize(
    ("loss", "best"),
    [("half_squared_error", 0.5 * 2.0), ("absolute_error", 1.2), ("binary_cross_entropy", None), ("poisson", None)],
)
def test_the_best_constant_outputs(loss, best):
    Y = np.array([0.0, 1.0, 2.0, 3.0, 4.0])
    Y = Y > 1 if loss == "binary_cross_entropy" else Y
    network = gp.Network((1, 1), loss=loss)
    found = gp.diagnose(network, network.initialize(0), np.ones((5, 1)) * [[1.0]], Y * 1.0)
    if best is None:
        mean = Y.mean()
        best = mean - mean * np.log(mean) if loss == "poisson" else -(mean * np.log(mean) + (1 - mean) * np.log(1 - mean))
    assert found.baseline == pytest.approx(best, rel=1e-9)


def test_the_step_is_that_of_the_run():
    run = fit("wine", (8,), gp.SGD(0.1), batch_size=1000, validation=False, epochs=3)
    train = table("wine")[1]
    back = gp.backward(run.network, run.parameters, gp.forward(run.network, run.parameters, train.X), train.Y)
    wanted = 0.1 * np.linalg.norm(back.dW[0]) / np.linalg.norm(run.parameters.W[0])
    assert gp.diagnose(run).layers[0].update == pytest.approx(wanted, rel=1e-9)


# --- how it is asked and told --------------------------------------------------------------------------------------------


def test_told_as_text_data_and_picture(tmp_path):
    found = gp.diagnose(vanishing())
    assert "vanishing gradients: from the output down to layer 1, δ shrinks by a factor of" in str(found)
    assert "Try this: use relu or silu" in str(found)
    facts = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert (facts["healthy"], len(facts["layers"]), facts["findings"][0]["name"]) == (False, 9, "vanishing gradients")
    json.dumps(gp.diagnose(divergence()).as_dict(), allow_nan=False)
    found.plot().savefig(tmp_path / "found.png")
    assert (tmp_path / "found.png").stat().st_size > 10_000


def test_every_panel_of_the_picture_shows_something_and_no_legend_lies_on_it():
    run = fit("digits", (32,), gp.Adam(0.003), epochs=3)
    train = table("digits")[1]
    alone = (run.network, run.parameters, train.X, train.Y)
    pictures = {
        "Loss": gp.diagnose(run).plot(),
        "Loss after some steps more": gp.diagnose(*alone, optimizer=run.optimizer).plot(),
        "Neurons that do nothing, or the same": gp.diagnose(*alone).plot(),
    }
    for last, picture in pictures.items():
        picture.canvas.draw()
        assert picture.axes[-1].get_title() == last
        for axes in picture.axes:
            assert axes.get_visible()
            assert axes.has_data()
            assert axes.get_legend().get_window_extent().y0 >= axes.get_window_extent().y1
    assert [len(picture.axes) for picture in pictures.values()] == [4, 4, 3]


def test_the_picture_names_neurons_as_the_table_does():
    found = gp.diagnose(fit("wine", (8,), gp.Adam(0.01), validation=False, epochs=3))
    legend = found.plot().axes[2].get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["dead", "flat", "same", "useless"]
    assert str(found).splitlines()[2].split()[5:9] == ["dead", "flat", "same", "useless"]
    assert {len(line) for line in str(found).splitlines()[2:5]} == {len(str(found).splitlines()[2])}


def test_diagnosing_leaves_a_run_as_it_was():
    run = fit("wine", (8,), gp.Adam(0.01), validation=False, epochs=3)
    before, state = run.parameters.theta.copy(), run._checkpoint["state"].copy()
    gp.diagnose(run)
    assert np.array_equal(run.parameters.theta, before)
    assert np.array_equal(run._checkpoint["state"], state)


@pytest.mark.parametrize(
    ("arguments", "given", "error", "message"),
    [
        (("relu",), {}, TypeError, "model must be a glassprop.Network, with parameters, or a Run; got str"),
        (("network",), {}, TypeError, "parameters must be given with a network"),
        (("network", "parameters", [[1.0]]), {}, ValueError, "Y must be given: a run alone has its own rows"),
        (("network", "parameters", [[1.0]], [1.0, 2.0]), {}, ValueError, "Y must have as many rows as the inputs, 1; got 2"),
        (("network", "parameters", [[1.0]], [1.0]), {"optimizer": "adam"}, TypeError, "optimizer must be an update rule"),
        (("network", "parameters", [[1.0]], [1.0]), {"batch_size": 0}, ValueError, "batch_size must be a whole number"),
        (("network", "parameters", [[1.0]], [1.0]), {"validation": 0.2}, TypeError, r"validation must be \(X, Y\)"),
        (("run",), {"X": [[1.0]]}, ValueError, "X must not be given beside a run, which has its own"),
    ],
)
def test_refusals(arguments, given, error, message):
    network = gp.Network((1, 1))
    things = {"network": network, "parameters": network.initialize(0)}
    if arguments[0] == "run":
        things["run"] = gp.train(network, [[1.0], [2.0]], [1.0, 2.0], epochs=1, seed=0)
    with pytest.raises(error, match=message):
        gp.diagnose(*(things.get(a, a) if isinstance(a, str) else a for a in arguments), **given)


@pytest.mark.parametrize("rate", [0.01, gp.Cosine(0.01, steps=9), gp.OneCycle(0.1, steps=5), gp.Exponential(0.1, decay=0.5)])
@pytest.mark.parametrize("make", gp.OPTIMIZERS.values())
def test_rules_come_back_from_their_description(make, rate):
    from glassprop.training.described import optimizer_of

    rule = make(rate, clip_norm=0.5, layer_factors=(1.0, 0.5))
    assert optimizer_of(json.loads(json.dumps(rule.describe()))) == rule
    own = make(lambda step: 0.1)
    assert optimizer_of(own.describe()) is None
    assert optimizer_of(own.describe(), learning_rate=0.2) == make(0.2)


@pytest.mark.parametrize(
    ("loss", "output", "value", "slope"),
    [
        ("half_squared_error", None, lambda h, y: (h - y) ** 2 / 2, lambda h, y: h - y),
        ("absolute_error", None, lambda h, y: abs(h - y), lambda h, y: math.copysign(1.0, h - y) if h != y else 0.0),
        ("poisson", "exp", lambda h, y: h - y * math.log(h), lambda h, y: 1 - y / h),
    ],
)
def test_a_loss_of_ones_own_is_diagnosed_as_a_built_in_one(loss, output, value, slope):
    Y = np.abs(np.random.default_rng(0).normal(3, 1, (200, 2)))
    X = np.log(Y) @ np.random.default_rng(1).normal(size=(2, 3))
    own, found = gp.Loss("own", value=value, slope=slope), []
    for each in (own, loss):
        network = gp.Network((3, 8, 2), "tanh", output, each)
        found.append(gp.diagnose(gp.train(network, X, Y, optimizer=gp.Adam(0.01), epochs=30, seed=0)))
    mine, built_in = found
    assert mine.baseline == pytest.approx(built_in.baseline, rel=1e-3)
    assert [finding.name for finding in mine.findings] == [finding.name for finding in built_in.findings]


def test_a_loss_of_ones_own_that_no_constant_outputs_have_raises_no_alarm_by_it():
    own = gp.Loss("own", value=lambda h, y: math.sqrt(h * h - 1), slope=lambda h, y: h / math.sqrt(h * h - 1))
    network, parameters = gp.Network((1, 1), loss=own), gp.Parameters.from_arrays([[[1.0]]], [[3.0]])
    X = np.random.default_rng(0).uniform(-1, 1, (100, 1))
    found = gp.diagnose(network, parameters, X, 0.9 * X[:, 0], optimizer=gp.SGD(1e-3))
    assert found.baseline == np.inf
    assert found.as_dict()["baseline"] is None
    assert found, found


def test_a_single_row_says_nothing():
    network = gp.Network((2, 3, 1))
    with pytest.raises(ValueError, match="X must have at least two rows"):
        gp.diagnose(network, network.initialize(0), [[1.0, 2.0]], [1.0])


def test_wide_numbers_stand_apart():
    network = gp.Network((1, 1))
    parameters = gp.Parameters.from_arrays([[[-130.0]]], [[-130.0]])
    found = gp.diagnose(network, parameters, [[-30.0], [30.0], [1.0]], [0.0, 1.0, 2.0])
    assert " -1.7e+02 ± 3.2e+03 -1.7e+02 ± 3.2e+03 " in str(found)
