"""Scores held against scikit-learn's."""

import numpy as np
import pytest
from sklearn import metrics as theirs

from glassprop.tables import metrics as ours

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("weights", [None, RNG.uniform(0, 2, 50)], ids=["plain", "weighted"])
@pytest.mark.parametrize("classes", [2, 4])
def test_classification(classes, weights):
    truth = RNG.integers(0, classes, 50)
    probabilities = RNG.dirichlet(np.ones(classes), 50).round(2)  # rounded: ties
    probabilities /= probabilities.sum(1, keepdims=True)
    scores = ours.classification_scores(truth, probabilities, weights)
    labels = list(range(classes))
    assert scores["accuracy"] == pytest.approx(theirs.accuracy_score(truth, probabilities.argmax(1), sample_weight=weights))
    assert scores["log_loss"] == pytest.approx(theirs.log_loss(truth, probabilities, labels=labels, sample_weight=weights))
    assert ("roc_auc" in scores) == (classes == 2)
    if classes == 2:
        assert scores["roc_auc"] == pytest.approx(theirs.roc_auc_score(truth, probabilities[:, 1], sample_weight=weights))


@pytest.mark.parametrize("weights", [None, RNG.uniform(0, 2, 50)], ids=["plain", "weighted"])
def test_regression(weights):
    truth, predicted = RNG.normal(size=50), RNG.normal(size=50)
    scores = ours.regression_scores(truth, predicted, weights)
    assert scores["rmse"] == pytest.approx(theirs.root_mean_squared_error(truth, predicted, sample_weight=weights))
    assert scores["mae"] == pytest.approx(theirs.mean_absolute_error(truth, predicted, sample_weight=weights))
    assert scores["r2"] == pytest.approx(theirs.r2_score(truth, predicted, sample_weight=weights))
    pinball = theirs.mean_pinball_loss(truth, predicted, alpha=0.8, sample_weight=weights)
    assert ours.pinball_loss(truth, predicted, 0.8, weights) == pytest.approx(pinball)
    counts, rates = RNG.poisson(1.5, 50).astype(float), RNG.uniform(0.5, 3, 50)
    deviance = theirs.mean_poisson_deviance(counts, rates, sample_weight=weights)
    assert ours.poisson_deviance(counts, rates, weights) == pytest.approx(deviance)


def test_what_the_rows_do_not_define_is_none():
    assert ours.classification_scores(np.array([1, 1]), np.array([[0.2, 0.8], [0.1, 0.9]]))["roc_auc"] is None
    assert ours.regression_scores(np.ones(3), np.arange(3.0))["r2"] is None


def test_a_class_given_no_chance_costs_what_scikit_learn_says():
    truth, probabilities = np.array([0, 1]), np.array([[0.0, 1.0], [0.5, 0.5]])
    score = ours.classification_scores(truth, probabilities)["log_loss"]
    assert score == pytest.approx(theirs.log_loss(truth, probabilities))


@pytest.mark.parametrize("factor", [2.0**-1000, 2.0**1000], ids=["tiny", "huge"])
def test_scores_of_numbers_whose_squares_are_none(factor):
    truth, predicted = RNG.normal(size=50), RNG.normal(size=50)
    plain, scaled = ours.regression_scores(truth, predicted), ours.regression_scores(truth * factor, predicted * factor)
    assert scaled == {"rmse": plain["rmse"] * factor, "mae": plain["mae"] * factor, "r2": plain["r2"]}
    assert ours.regression_scores(np.zeros(2), np.zeros(2)) == {"rmse": 0.0, "mae": 0.0, "r2": None}


def test_numbers_are_shown_in_little_room():
    shown = {
        1e300: "1e+300",
        -1.60338875e19: "-1.603e+19",
        12345.67: "12,345.7",
        152.1: "152.1",
        1e-300: "1e-300",
        None: "undefined",
    }
    assert {number: ours.short_number(number) for number in shown} == shown
