"""`make demo` runs, says what it wrote, and is right about most of what it did not train on."""

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd

DEMO = Path(__file__).parents[2] / "examples" / "demo.py"


def test_demo(tmp_path):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    ended = subprocess.run([sys.executable, DEMO], cwd=tmp_path, capture_output=True, text=True, timeout=240, env=environment)
    assert ended.returncode == 0, ended.stderr
    assert "Traceback" not in ended.stderr
    written = {"train.csv", "unseen.csv", "model.safetensors", "history.csv", "loss.png", "predictions.csv"}
    assert {path.name for path in (tmp_path / "demo").iterdir()} == written
    assert all(name in ended.stdout for name in written)
    predicted, truth = (pd.read_csv(tmp_path / "demo" / name).digit for name in ("predictions.csv", "unseen.csv"))
    assert (predicted == truth).mean() > 0.95
