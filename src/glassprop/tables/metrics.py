"""Scores of predictions, by scikit-learn's names and definitions.

Written out here because importing scikit-learn's takes longer than most training runs; the tests hold the two together.
"""

from __future__ import annotations

import numpy as np

Scores = dict[str, float | None]


def classification_scores(truth: np.ndarray, probabilities: np.ndarray, weights: np.ndarray | None = None) -> Scores:
    """accuracy, log_loss, and for two classes roc_auc (None where only one of them occurs).

    Parameters
    ----------
    truth : ndarray of int, (rows,)
        Class numbers.
    probabilities : ndarray, (rows, classes)
    weights : ndarray, (rows,), optional
    """
    chosen = np.clip(probabilities[np.arange(len(truth)), truth], np.finfo(np.float64).eps, 1.0)
    scores: Scores = {
        "accuracy": _mean(probabilities.argmax(1) == truth, weights),
        "log_loss": _mean(-np.log(chosen), weights),
    }
    if probabilities.shape[1] == 2:
        scores["roc_auc"] = roc_auc(truth == 1, probabilities[:, 1], weights)
    return scores


def regression_scores(truth: np.ndarray, predicted: np.ndarray, weights: np.ndarray | None = None) -> Scores:
    """rmse, mae, and r2 (None where the truth is constant)."""
    unit = _unit(truth, predicted)
    truth, error = truth / unit, predicted / unit - truth / unit
    squared, spread = _mean(error**2, weights), _mean((truth - _mean(truth, weights)) ** 2, weights)
    return {
        "rmse": float(np.sqrt(squared)) * unit,
        "mae": _mean(np.abs(error), weights) * unit,
        "r2": 1 - squared / spread if spread > 0 else None,
    }


def pinball_loss(truth: np.ndarray, predicted: np.ndarray, quantile: float, weights: np.ndarray | None = None) -> float:
    """scikit-learn's mean_pinball_loss."""
    above = truth - predicted
    return _mean(np.maximum(quantile * above, (quantile - 1) * above), weights)


def poisson_deviance(truth: np.ndarray, predicted: np.ndarray, weights: np.ndarray | None = None) -> float:
    """scikit-learn's mean_poisson_deviance."""
    safe = np.where(truth > 0, truth, 1.0)
    return _mean(2 * (np.where(truth > 0, truth * np.log(safe / predicted), 0.0) - truth + predicted), weights)


def roc_auc(positive: np.ndarray, score: np.ndarray, weights: np.ndarray | None = None) -> float | None:
    """Chance that a positive row scores higher than a negative one, ties counting half."""
    w = np.ones(len(score)) if weights is None else weights
    levels, place = np.unique(score, return_inverse=True)
    up = np.bincount(place, w * positive, len(levels))
    down = np.bincount(place, w * ~positive, len(levels))
    total = up.sum() * down.sum()
    return float((up * (np.cumsum(down) - down / 2)).sum() / total) if total > 0 else None


def best_constant(truth: np.ndarray, quantile: float | None = None, weights: np.ndarray | None = None) -> float:
    """The number that answers best without a look at any input: the mean, or the quantile that is asked for."""
    if quantile is None:
        return _mean(truth, weights)
    return float(np.quantile(truth, quantile, weights=weights, method="inverted_cdf"))  # no other method takes weights


def constant_name(quantile: float | None = None) -> str:
    """What `best_constant` is called."""
    return "the mean" if quantile is None else f"the {quantile:g} quantile"


def short_number(value: float | None) -> str:
    """A number as tables of scores show it."""
    if value is None:
        return "undefined"
    return f"{value:,.1f}" if 1e3 <= abs(value) < 1e8 else f"{value:.4g}"


def _unit(*numbers: np.ndarray) -> float:
    """About the largest magnitude, a power of two: in it squares of huge numbers are finite, those of tiny ones not zero.

    Dividing by it rounds nothing.
    """
    largest = max(float(np.abs(each).max(initial=0.0)) for each in numbers)
    return float(np.ldexp(1.0, np.frexp(largest)[1] - 1))


def _mean(values: np.ndarray, weights: np.ndarray | None) -> float:
    return float(np.average(values, weights=weights))
