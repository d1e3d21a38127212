"""The ordinary way from a file to predictions, on scikit-learn's table of handwritten digits: ``make demo``.

It writes the table as two CSV files, then does all the rest by the commands anybody would type. Everything goes into the folder
``demo`` under the present one.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

FOLDER = Path("demo")
SEEN, UNSEEN, MODEL = FOLDER / "train.csv", FOLDER / "unseen.csv", FOLDER / "model.safetensors"
HISTORY, CURVE, PREDICTIONS = FOLDER / "history.csv", FOLDER / "loss.png", FOLDER / "predictions.csv"
TARGET = "digit"


def write_tables() -> None:
    """The digits table as a CSV file to train on, and one of rows that stay unseen."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    table = load_digits(as_frame=True).frame.rename(columns={"target": TARGET})
    seen, unseen = train_test_split(table, test_size=0.2, random_state=0, stratify=table[TARGET])
    FOLDER.mkdir(exist_ok=True)
    seen.to_csv(SEEN, index=False)
    unseen.to_csv(UNSEEN, index=False)
    print(
        f"Handwritten digits, a table of scikit-learn: {len(seen)} rows to {SEEN}, {len(unseen)} that stay unseen to {UNSEEN}."
    )
    print(f"A row is an image of 8 x 8 grey values and, to be predicted, the {TARGET} that was written.")


def command(*arguments: object) -> None:
    """Show a command and run it, as if it had been typed."""
    words = [str(argument) for argument in arguments]
    print(f"\n$ glassprop {shlex.join(words)}", flush=True)
    subprocess.run([sys.executable, "-m", "glassprop", *words], check=True)


def show_predictions() -> None:
    """Some predictions beside the truth: the first rows, and those that are wrong."""
    import pandas as pd

    predicted, truth = pd.read_csv(PREDICTIONS), pd.read_csv(UNSEEN)[TARGET]
    wrong = [int(row) for row in truth.index[predicted[TARGET] != truth]]
    print(f"\nThe first five unseen rows, and the {len(wrong)} of {len(truth)} that are wrong:\n")
    print(f"{'row':>5}{'predicted':>11}{'probability':>13}{'truth':>7}")
    for row in [*range(5), *(row for row in wrong if row >= 5)]:
        label = predicted[TARGET][row]
        mark = "" if label == truth[row] else "   <- wrong"
        print(f"{row:>5}{label:>11}{predicted[f'probability_{label}'][row]:>13.3f}{truth[row]:>7}{mark}")


def draw_losses() -> None:
    """Training and validation loss of every epoch, as a picture."""
    import matplotlib

    matplotlib.use("Agg")
    import pandas as pd
    from matplotlib import pyplot

    history = pd.read_csv(HISTORY)
    best = history.validation_loss.idxmin()
    figure, axes = pyplot.subplots(figsize=(7, 4), layout="constrained")
    axes.plot(history.epoch, history.loss, color="#2a6fbb", label="training, with the penalty on weights")
    axes.plot(history.epoch, history.validation_loss, color="#d1603d", label="validation")
    label = f"epoch {history.epoch[best]}: best, and kept"
    axes.plot(history.epoch[best], history.validation_loss[best], "o", color="#d1603d", label=label)
    axes.set(xlabel="epoch", ylabel="cross-entropy", yscale="log", title="Handwritten digits: loss of every epoch")
    axes.grid(alpha=0.25)
    axes.legend(frameon=False)
    figure.savefig(CURVE, dpi=150)


def main() -> None:
    """Run the demonstration."""
    write_tables()
    command("train", SEEN, "--target", TARGET, "--validation", 0.1, "--history", HISTORY, "--out", MODEL)
    command("evaluate", MODEL, UNSEEN)
    command("predict", MODEL, UNSEEN, "--proba", "--out", PREDICTIONS)
    show_predictions()
    draw_losses()
    print("\nWritten:")
    for path, what in {
        SEEN: "rows to train on", UNSEEN: "rows that stayed unseen", MODEL: "the model", HISTORY: "losses of every epoch",
        CURVE: "their picture", PREDICTIONS: "predictions for the unseen rows",
    }.items():  # fmt: skip
        print(f"  {path!s:<26}{what}")
    program = Path(os.path.relpath(Path(sys.executable).with_name("glassprop")))
    name = str(program) if program.exists() else "glassprop"
    print("\nTry next:")
    print(f"  {name} info {MODEL}")
    print(f"  {name} train {SEEN} --target {TARGET} --layers 300 --activation tanh --out {FOLDER / 'other.safetensors'}")
    print(f"  {name} train YOUR.csv --target COLUMN --out {FOLDER / 'yours.safetensors'}")
    print(f"  {name} train --help")


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as error:
        sys.exit(error.returncode)
    except KeyboardInterrupt:
        sys.exit(130)
