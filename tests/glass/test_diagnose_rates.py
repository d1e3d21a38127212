"""diagnose: a learning rate too low by any number of powers of ten, and networks that are worse than constant outputs."""

import numpy as np
import pytest

import glassprop as gp
from tests.glass.test_diagnose import fit, table


@pytest.mark.parametrize("exponent", [-8, -6, -5, -4, -3])
@pytest.mark.parametrize(("name", "rule", "lower"), [("digits", gp.SGD, 1), ("digits", gp.Adam, 0.01), ("wine", gp.Adam, 0.1)])
def test_a_learning_rate_too_low_by_any_number_of_powers_of_ten_is_found(name, rule, lower, exponent):
    found = gp.diagnose(fit(name, (32,), rule(lower * 10.0**exponent), validation=False, epochs=20))
    assert [finding.name for finding in found.findings] == ["learning rate too low"], found


def test_one_is_said_to_be_too_low_by_as_much_as_it_is():
    facts = gp.diagnose(fit("digits", (32,), gp.SGD(1e-7), validation=False, epochs=10)).findings[0].facts
    assert facts.startswith("with 10,000 times the learning rate 1e-07, a few steps more lower the loss from ")


def test_a_network_worse_than_constant_outputs_has_no_clean_bill():
    ready, train, _ = table("wine")
    network = ready.network((8,))
    start = network.initialize(0)
    found = gp.diagnose(network, start, train.X, train.Y)  # no rule is known, and so no other learning rate is tried
    assert found.loss > found.baseline
    assert [finding.name for finding in found.findings] == ["nothing learnt"]
    assert found.findings[0].facts.startswith(f"the loss is {found.loss:.4g}, and {found.baseline:.4g} with the best constant")


@pytest.mark.parametrize("loss", ["half_squared_error", "absolute_error", "quantile", "cross_entropy", "own"])
def test_the_best_constant_outputs_are_those_of_the_weights(loss):
    """Weights of 3 and 0 are rows that come three times and never."""
    rng = np.random.default_rng(0)
    weights = rng.integers(0, 4, 60).astype(float)
    X, Y = rng.normal(size=(60, 2)), rng.integers(0, 3, 60) if loss == "cross_entropy" else rng.normal(size=60)
    own = gp.Loss("own", value=lambda h, y: (h - y) ** 2 / 2, slope=lambda h, y: h - y)
    network = gp.Network((2, 3 if loss == "cross_entropy" else 1), loss=own if loss == "own" else loss)
    often = np.repeat(np.arange(60), weights.astype(int))
    found = gp.diagnose(network, network.initialize(0), X, Y, weights=weights)
    repeated = gp.diagnose(network, network.initialize(0), X[often], Y[often])
    assert found.baseline == pytest.approx(repeated.baseline, rel=1e-6)
    assert found.loss == pytest.approx(repeated.loss, rel=1e-9)
