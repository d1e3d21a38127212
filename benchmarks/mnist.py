"""Test error on MNIST of the two plain networks of LeCun et al. 1998 and Simard et al. 2003, without augmentation.

Settings were chosen on 10,000 of the 60,000 training rows; ``python -m benchmarks.mnist`` repeats that comparison. The figures
are of networks trained on all 60,000 and tested once.
"""

from __future__ import annotations

import time

import numpy as np

import glassprop as gp
from benchmarks.surroundings import data_folder, markdown, one_thread, say
from glassprop.bench.tasks import read_mnist

BATCH, WARMUP, SEEDS = 128, 0.05, 3
# hidden units, loss, label smoothing, dropout, learning rate at the top, epochs; the published error and the bar are the same
NETWORKS = {
    "784-300-10, half squared error": ((300, "half_squared_error", 0.0, 0.0, 3e-3, 15), 4.7),
    "784-800-10, cross-entropy": ((800, "cross_entropy", 0.1, 0.3, 1e-3, 30), 1.6),
}
CANDIDATES = (
    (300, "half_squared_error", 0.0, 0.0, 1e-3, 15),
    (300, "half_squared_error", 0.0, 0.0, 3e-3, 15),
    (300, "half_squared_error", 0.0, 0.3, 3e-3, 15),
    (800, "cross_entropy", 0.0, 0.0, 1e-3, 30),
    (800, "cross_entropy", 0.0, 0.3, 1e-3, 30),
    (800, "cross_entropy", 0.0, 0.5, 3e-3, 30),
    (800, "cross_entropy", 0.1, 0.3, 1e-3, 30),
    (800, "cross_entropy", 0.1, 0.3, 3e-3, 30),
    (800, "cross_entropy", 0.1, 0.5, 1e-3, 30),
)

Rows = tuple[np.ndarray, np.ndarray]


def fit(rows: Rows, setting: tuple, seed: int, epochs: int | None = None, precision: str | None = None) -> gp.Run:
    """Train one network."""
    X, classes = rows
    hidden, loss, smoothing, dropout, learning_rate, setting_epochs = setting
    epochs = epochs or setting_epochs
    steps = epochs * -(-len(X) // BATCH)
    cross_entropy = loss == "cross_entropy"
    network = gp.Network(
        (784, hidden, 10), dropout=dropout, loss=gp.Loss(loss, label_smoothing=smoothing) if cross_entropy else loss
    )
    Y = classes if cross_entropy else np.eye(10, dtype=np.float32)[classes]
    schedule = gp.Cosine(learning_rate, steps, warmup=int(WARMUP * steps))
    return gp.train(network, X, Y, optimizer=gp.Adam(schedule), epochs=epochs, batch_size=BATCH, seed=seed, precision=precision)


def error(run: gp.Run, rows: Rows) -> float:
    """Per cent of the rows whose class is not the one with the largest output."""
    X, classes = rows
    return float(100 * np.mean(run.predict(X).argmax(axis=1) != classes))


def measure() -> dict[str, dict] | None:
    """Test errors and seconds of both networks, or None where the data are absent."""
    folder = data_folder("mnist")
    if folder is None:
        return None
    train, test = read_mnist(folder, "train"), read_mnist(folder, "t10k")
    figures = {}
    for name, (setting, bar) in NETWORKS.items():
        fit((train[0][:BATCH], train[1][:BATCH]), setting, 0, epochs=1)  # machine code is made before the clock runs
        errors, seconds = [], 0.0
        for seed in range(SEEDS):
            begun = time.perf_counter()
            run = fit(train, setting, seed)
            seconds += (time.perf_counter() - begun) / SEEDS
            errors.append(error(run, test))
        mean = float(np.mean(errors))
        figures[name] = {"error": mean, "errors": errors, "seconds": seconds, "epochs": setting[-1], "reached": mean <= bar}
        say(f"mnist {name}: {mean:.2f} % ({', '.join(f'{e:.2f}' for e in errors)}), {seconds:.1f} s")
    return figures


def section(figures: dict[str, dict]) -> str:
    """The README's words and table."""
    rows = [
        (name, f"{NETWORKS[name][1]} %", f"{found['error']:.2f} %", ", ".join(f"{e:.2f}" for e in found["errors"]),
         found["epochs"], f"{found['seconds']:.0f} s")
        for name, found in figures.items()
    ]  # fmt: skip
    words = (
        "MNIST, test error without augmentation, mean of three seeds. Published: LeCun et al. 1998, Simard et al. 2003. "
        "glassprop: ReLU, Adam with a cosine schedule, batches of 128; in the larger network dropout 0.3 and label smoothing "
        "0.1, chosen on 10,000 training rows."
    )
    header = ("MNIST network", "published", "glassprop", "each seed", "epochs", "seconds of training")
    return f"{words}\n\n{markdown(header, rows)}"


def compare() -> None:
    """Print the validation error of every candidate, trained on 50,000 training rows and judged on the other 10,000."""
    folder = data_folder("mnist")
    if folder is None:
        return
    X, classes = read_mnist(folder, "train")
    order = np.random.default_rng(0).permutation(len(X))
    held, kept = order[:10000], order[10000:]
    for setting in CANDIDATES:
        run = fit((X[kept], classes[kept]), setting, seed=0)
        print(*setting, f"{error(run, (X[held], classes[held])):.2f} %", flush=True)


if __name__ == "__main__":
    one_thread()
    compare()
