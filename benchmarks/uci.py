"""Accuracy on five UCI regression sets, over the 20 splits of Gal and Ghahramani 2016, beside what they published.

One network and one protocol for all sets: a hidden layer of 50 ReLU units, X and y standardised on the training rows, batches
of 128, 400 epochs of Adam with a cosine schedule. In each split, L2 penalty and dropout rate are the pair of `CHOICES` with the
smallest loss on a fifth of the training rows; then all training rows are trained on. Test rows are read once, to be predicted.
They too chose their dropout rate in this way, in every split.
"""

from __future__ import annotations

import time
from itertools import product
from pathlib import Path

import numpy as np

import glassprop as gp
from benchmarks.surroundings import data_folder, markdown, say

SETS = {  # published test RMSE and seconds of a split: 400 epochs, then 4000
    "concrete": (5.23, 9, 4.84, 26),
    "kin8nm": (0.0944, 64, 0.0926, 174),
    "naval-propulsion-plant": (0.0062, 95, 0.0058, 253),
    "power-plant": (4.02, 76, 4.00, 199),
    "wine-quality-red": (0.620, 14, 0.613, 38),
}
DIGITS = {"concrete": 2, "kin8nm": 4, "naval-propulsion-plant": 5, "power-plant": 2, "wine-quality-red": 3}
EPOCHS, MANY_EPOCHS, BATCH = 400, 4000, 128
LEARNING_RATE, WARMUP = 0.03, 0.05  # at the top; share of the steps
CHOICES = tuple(product((0.0, 1e-4, 1e-3, 1e-2), (0.0, 0.01)))  # l2, dropout


def fit(
    X: np.ndarray, y: np.ndarray, l2: float, dropout: float, epochs: int, seed: int, held_out: float | None = None
) -> gp.Run:
    """Train once, on all rows or with a fraction of them held out."""
    steps = epochs * -(-round(len(X) * (1 - (held_out or 0))) // BATCH)
    schedule = gp.Cosine(LEARNING_RATE, steps, warmup=int(WARMUP * steps))
    return gp.train(
        gp.Network((X.shape[1], 50, 1), activation="relu", loss="half_squared_error", l2=l2, dropout=dropout),
        X, y, optimizer=gp.Adam(schedule), epochs=epochs, batch_size=BATCH, seed=seed,
        validation=held_out, restore_best=False,
    )  # fmt: skip


def choose(X: np.ndarray, y: np.ndarray, epochs: int, seed: int) -> tuple[float, float]:
    """The choice with the smallest loss on a fifth of the rows, after training on the others."""
    return min(CHOICES, key=lambda choice: fit(X, y, *choice, epochs, seed, held_out=0.2).history.validation_loss[-1])


def run_split(X: np.ndarray, y: np.ndarray, test: np.ndarray, epochs: int, many_epochs: int, seed: int) -> dict[str, float]:
    """Choose, train and predict in one split; test RMSE in the units of y, and seconds."""
    train = ~test
    spread = X[train].std(axis=0)
    X = ((X - X[train].mean(axis=0)) / np.where(spread > 0, spread, 1.0)).astype(np.float32)
    mean, deviation = y[train].mean(), y[train].std()
    standardised = ((y - mean) / deviation).astype(np.float32)

    def rmse(run: gp.Run) -> float:
        return float(np.sqrt(np.mean((run.predict(X[test])[:, 0] * deviation + mean - y[test]) ** 2)))

    begun = time.perf_counter()
    choice = choose(X[train], standardised[train], epochs, seed)
    chosen = time.perf_counter()
    run = fit(X[train], standardised[train], *choice, epochs, seed)
    trained = time.perf_counter()
    result = {"rmse": rmse(run), "seconds": trained - chosen, "choice_seconds": chosen - begun}
    if many_epochs:
        begun = time.perf_counter()
        run = fit(X[train], standardised[train], *choice, many_epochs, seed)
        result |= {"many_seconds": time.perf_counter() - begun, "many_rmse": rmse(run)}
    return result


def run_set(path: Path, splits: int = 20, epochs: int = EPOCHS, many_epochs: int = MANY_EPOCHS) -> dict[str, float]:
    """Means over the splits of one set, and standard errors of the means of the RMSE."""
    table = np.load(path)
    X, y = table["X"].astype(np.float64), table["y"].astype(np.float64)
    for l2, dropout in CHOICES:  # machine code is made before the clock runs
        fit(X[:BATCH], y[:BATCH], l2, dropout, 1, 0, held_out=0.2)
        fit(X[:BATCH].astype(np.float32), y[:BATCH].astype(np.float32), l2, dropout, 1, 0, held_out=0.2)
    results = [run_split(X, y, test, epochs, many_epochs, seed) for seed, test in enumerate(table["is_test"][:splits])]
    figures = {name: float(np.mean([result[name] for result in results])) for name in results[0]}
    for name in [name for name in figures if name.endswith("rmse")]:
        error = np.std([result[name] for result in results], ddof=1) / np.sqrt(len(results)) if len(results) > 1 else 0.0
        figures[f"{name}_error"] = float(error)
    return figures


def measure() -> dict[str, dict[str, float | bool]] | None:
    """Figures of every set, or None where the data are absent."""
    folder = data_folder("uci-regression")
    if folder is None:
        return None
    figures = {}
    for name, (published, _, _, _) in SETS.items():
        figures[name] = found = run_set(folder / f"{name}.npz")
        found["reached"] = found["rmse"] <= published + found["rmse_error"]
        say(f"uci {name}: RMSE {found['rmse']:.5f} ± {found['rmse_error']:.5f}, {found['seconds']:.2f} s a split, "
            f"{found['choice_seconds']:.2f} s for choosing; {MANY_EPOCHS} epochs {found['many_rmse']:.5f}")  # fmt: skip
    return figures


def section(figures: dict[str, dict[str, float]]) -> str:
    """The README's words and table."""
    rows = []
    for name, found in figures.items():
        rmse, seconds, many_rmse, many_seconds = SETS[name]
        digits = DIGITS[name]
        rows.append((
            name,
            f"{rmse} ({seconds} s)",
            f"{found['rmse']:.{digits}f} ± {found['rmse_error']:.{digits}f} ({found['seconds']:.2f} s)",
            f"{found['seconds'] + found['choice_seconds']:.1f} s",
            f"{many_rmse} ({many_seconds} s)",
            f"{found['many_rmse']:.{digits}f} ± {found['many_rmse_error']:.{digits}f} ({found['many_seconds']:.1f} s)",
        ))  # fmt: skip
    header = (
        "UCI set", "400 epochs, published", "400 epochs, glassprop", "with the choice",
        "4000 epochs, published", "4000 epochs, glassprop",
    )  # fmt: skip
    words = (
        "Test RMSE, mean over 20 splits ± standard error (seconds of training a split): one hidden layer of 50 ReLU units, "
        "Adam, batches of 128. Published: Gal and Ghahramani 2016, with Keras and Theano on a machine of 2015. glassprop: a cosine "
        f"schedule with warm-up; L2 and dropout chosen in each split from {len(CHOICES)} pairs on a fifth of its training rows "
        "(at 400 epochs, for both columns), whose cost is in the column \"with the choice\"."
    )  # fmt: skip
    return f"{words}\n\n{markdown(header, rows)}"
