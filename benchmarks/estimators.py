"""Fit times of the estimators beside scikit-learn's, with the same parameters to the same epoch: samples taken in turn.

Run as a program it is the process of one number of threads, which libraries read when they are loaded.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import warnings
from functools import partial

from benchmarks.surroundings import ROOT, THREADS, data_folder, markdown, say

ROUNDS = 5
MOST = 4  # times as many rounds are taken, at most, where the machine is not steady
REST = 0.3  # seconds between samples, in which the other's threads go to sleep: OpenBLAS's take more than 0.05
STREAM = {"rows": 32, "method": "partial_fit"}
CASES = {  # name: (table, what differs from the defaults, epochs, the gain that is aimed at)
    "digits, defaults": ("digits", {}, 50, 5),
    "digits, batch_size=32": ("digits", {"batch_size": 32}, 20, 10),
    "digits, hidden_layer_sizes=(512, 512)": ("digits", {"hidden_layer_sizes": (512, 512)}, 5, 3),
    "digits, cross_val_score of 5 folds": ("digits", {"folds": 5}, 20, 5),
    "digits, early_stopping": ("digits", {"early_stopping": True}, 50, 1),
    "digits, solver='sgd'": ("digits", {"solver": "sgd"}, 50, 1),
    "digits, solver='lbfgs'": ("digits", {"solver": "lbfgs"}, 30, 1),
    "iris, defaults": ("iris", {}, 100, 1),
    "digits, predict of one row 1,000 times": ("digits", {"calls": 1000, "rows": 1}, 5, 1),
    "digits, predict of one row of a data frame 200 times": ("frame", {"calls": 200, "rows": 1}, 5, 1),
    "digits, partial_fit of 32 rows 200 times": ("digits", {"calls": 200} | STREAM, 5, 1),
    "sparse, 1 number in 1,000, partial_fit of 32 rows 20 times": ("sparse-1000", {"calls": 20} | STREAM, 2, 1),
    "sparse, 1 number in 100, defaults": ("sparse-100", {}, 5, 1),
    "sparse, 1 number in 1,000, defaults": ("sparse-1000", {}, 5, 1),
    "sparse, 1 number in 100, solver='lbfgs'": ("sparse-100", {"solver": "lbfgs"}, 5, 1),
    "sparse, 1 number in 100, predict of 4,000 rows 10 times": ("sparse-100", {"calls": 10, "rows": 4000}, 2, 1),
    "sparse, 1 number in 1,000, predict of 100 rows 100 times": ("sparse-1000", {"calls": 100, "rows": 100}, 2, 1),
    "10,000 columns, predict of 300 rows 10 times": ("wide", {"calls": 10, "rows": 300}, 1, 1),
    "California housing, defaults": ("california", {}, 20, 5),
    "California housing, batch_size=32": ("california", {"batch_size": 32}, 5, 10),
    "California housing, hidden_layer_sizes=(512, 512)": ("california", {"hidden_layer_sizes": (512, 512)}, 2, 3),
    "California housing, solver='lbfgs'": ("california", {"solver": "lbfgs"}, 20, 1),
    "California housing, batch_size=20000": ("california", {"batch_size": 20_000}, 20, 1),
    "California housing, cross_val_score of 5 folds": ("california", {"folds": 5}, 5, 5),
}


def measure(cases: tuple[str, ...] = tuple(CASES), rounds: int = ROUNDS) -> dict:
    """Every case on one thread and on all, each number of threads in a process of its own."""
    from glassprop.bench.compare import processors

    lines = []
    for threads in dict.fromkeys((1, processors())):
        environment = os.environ | dict.fromkeys(THREADS, str(threads))
        asked = json.dumps({"cases": cases, "rounds": rounds, "threads": threads})
        command = [sys.executable, "-m", "benchmarks.estimators", asked]
        done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True)
        lines += [json.loads(line) for line in done.stdout.splitlines()]
    return {"lines": lines, "rounds": rounds}


def tables() -> dict:
    """X and y of every table that is there, inputs standardised."""
    import numpy as np
    import pandas
    from scipy.sparse import csr_array, random_array
    from sklearn.datasets import load_digits, load_iris

    found = {"digits": load_digits(return_X_y=True), "iris": load_iris(return_X_y=True)}
    found["frame"] = pandas.DataFrame(found["digits"][0]).rename(columns=str), found["digits"][1]
    rng = np.random.default_rng(0)
    for every in (100, 1000):  # as tables of words are
        X = csr_array(random_array((4000, 10_000), density=1 / every, rng=rng))
        found[f"sparse-{every}"] = X, (X @ rng.standard_normal(10_000) > 0).astype(int)
    X = rng.standard_normal((300, 10_000))
    found["wide"] = X, (X[:, 0] > 0).astype(int)
    folder = data_folder("california-housing")
    if folder is not None:
        rows = np.genfromtxt(folder / "housing.csv", delimiter=",", skip_header=1, usecols=range(9))
        rows = rows[np.isfinite(rows).all(1)]
        found["california"] = (rows[:, :8] - rows[:, :8].mean(0)) / rows[:, :8].std(0), rows[:, 8] / 1e5
    return found


def compare(case: str, table: tuple, rounds: int, threads: int) -> dict:
    """Median seconds of both, and of the gain in each round."""
    from sklearn import neural_network
    from sklearn.model_selection import cross_val_score

    import glassprop as gp
    from benchmarks import pairs

    name, differs, epochs, aim = CASES[case]
    parameters = {key: value for key, value in differs.items() if key not in ("folds", "calls", "rows", "method")} | {
        "max_iter": epochs,
        "random_state": 0,
    }
    kind = "MLPRegressor" if name == "california" else "MLPClassifier"
    both = [getattr(module, kind)(n_iter_no_change=epochs, **parameters) for module in (neural_network, gp)]

    def seconds(model: object) -> float:
        time.sleep(REST)
        begun = time.perf_counter()
        if "folds" in differs:
            cross_val_score(model, *table, cv=differs["folds"])
        elif "calls" in differs:
            X, y = (numbers[: differs["rows"]] for numbers in table)
            given = (X, y) if "method" in differs else (X,)
            for _ in range(differs["calls"]):
                getattr(model, differs.get("method", "predict"))(*given)
        else:
            model.fit(*table)
        return time.perf_counter() - begun

    if "calls" in differs:
        both = [model.fit(*table) for model in both]
    seconds(both[1])  # compiled now
    found = pairs.compare(*(partial(seconds, model) for model in both), threads, rounds, MOST)
    theirs, mine, gain = found.first, found.second, found.gain
    counted = f"{found.rounds} of {found.taken} rounds"
    say(f"estimators: {case}, {threads} threads: {theirs:.3f} s, {mine:.3f} s, × {gain:.1f}, {counted}")
    return {
        "case": case, "threads": threads, "epochs": epochs, "theirs": theirs, "mine": mine, "gain": gain, "aim": aim,
        "rounds": found.rounds,
    }  # fmt: skip


def section(figures: dict) -> str:
    """Words and table."""
    words = (
        f"Seconds of a fit, or of what else is said, median of {figures['rounds']}: float64, the same parameters to the same "
        "epoch (or iteration), samples in turn, rounds beside which the machine was slow left out (where it never was "
        f"steady, fewer than {figures['rounds']} are left); *gain* is the median of each round's. *Aim* is what was set before "
        "measuring."
    )
    rows = [
        (f"{line['case']}, {line['epochs']} epochs", line["threads"], f"{line['theirs']:.3f}", f"{line['mine']:.3f}",
         f"× {line['gain']:.1f}", f"{line['aim']}")
        for line in sorted(figures["lines"], key=lambda line: (line["threads"], list(CASES).index(line["case"])))
    ]  # fmt: skip
    return f"{words}\n\n{markdown(('', 'threads', 'scikit-learn', 'glassprop', 'gain', 'aim'), rows)}"


def statement(figures: dict) -> str:
    """The line under the table."""
    from glassprop.bench.machine import describe_machine, machine_facts

    return f"*{describe_machine(machine_facts(['glassprop', 'sklearn']))}*"


def main() -> None:
    """The process of one number of threads: a line of JSON for each case."""
    asked, found = json.loads(sys.argv[1]), tables()
    warnings.simplefilter("ignore")  # that epochs ran out is what was asked for
    for case in asked["cases"]:
        if CASES[case][0] in found:
            print(json.dumps(compare(case, found[CASES[case][0]], asked["rounds"], asked["threads"])), flush=True)


if __name__ == "__main__":
    main()
