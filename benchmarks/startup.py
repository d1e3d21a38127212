"""What a person waits for before training: the import, the first compilation on a machine, and the first fit of a process.

Every figure is of fresh processes. The fit is scikit-learn's digits table, 64-100-10, 10 epochs; reading it is not counted.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from statistics import median

from benchmarks.surroundings import markdown, say

BARS = {"import": 0.5, "first_ever": 8.0, "first_later": 0.5}  # seconds
TIMES, COLD_TIMES = 5, 3

IMPORT = "import time; begun = time.perf_counter(); import {}; print(time.perf_counter() - begun)"
FITS = """
import json, time
from sklearn.datasets import load_digits
import glassprop as gp
X, y = load_digits(return_X_y=True)
network = gp.Network((64, 100, 10), loss="cross_entropy")
seconds = []
for _ in range(2):
    begun = time.perf_counter()
    gp.train(network, X.astype("float32") / 16, y, epochs=10, batch_size=32, seed=0)
    seconds.append(time.perf_counter() - begun)
print(json.dumps(seconds))
"""


def fresh(code: str, cache: str | None = None) -> object:
    """What `code` prints, as JSON, in a process of its own; `cache` is the folder of its machine code, else the usual one."""
    environment = os.environ | ({"NUMBA_CACHE_DIR": cache} if cache else {})
    ended = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    return json.loads(ended.stdout)


def measure() -> dict[str, float | bool]:
    """Median seconds of each wait."""
    with tempfile.TemporaryDirectory() as spare:
        fresh(FITS, spare)  # files are read once, so that what is measured is not the disk
    imports = {modules: [fresh(IMPORT.format(modules)) for _ in range(TIMES)] for modules in ("glassprop", "numpy, numba")}
    cold, warm = [], []
    for _ in range(COLD_TIMES):
        with tempfile.TemporaryDirectory() as cache:
            cold.append(fresh(FITS, cache)[0])
            warm += [fresh(FITS, cache) for _ in range(2)]
    figures = {
        "import": median(imports["glassprop"]),
        "import_numpy_numba": median(imports["numpy, numba"]),
        "first_ever": median(cold),
        "first_later": median(first - second for first, second in warm),
        "second": median(second for _, second in warm),
    }
    figures["reached"] = all(figures[name] < bar for name, bar in BARS.items())
    say("startup: " + ", ".join(f"{name} {seconds:.2f} s" for name, seconds in figures.items() if name != "reached"))
    return figures


def section(figures: dict[str, float]) -> str:
    """The README's words and table."""
    rows = [
        ("`import glassprop`", f"{figures['import']:.2f} s", f"{BARS['import']} s"),
        ("of it numpy and numba", f"{figures['import_numpy_numba']:.2f} s", ""),
        ("first fit ever on a machine: compiles", f"{figures['first_ever']:.1f} s", f"{BARS['first_ever']:.0f} s"),
        ("first fit of a later process, above the second", f"{figures['first_later']:.2f} s", f"{BARS['first_later']} s"),
        ("second fit", f"{figures['second']:.2f} s", ""),
    ]
    words = "Median seconds of fresh processes; a fit is ten epochs of scikit-learn's digits table, 64-100-10."
    return f"{words}\n\n{markdown(('wait', 'glassprop', 'to stay below'), rows)}"
