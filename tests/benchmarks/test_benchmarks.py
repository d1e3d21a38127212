"""The benchmarks' own tests: figures land between the README's markers only, and the UCI runner runs."""

from __future__ import annotations

import gzip
import json
import re

import numpy as np
import pytest

from benchmarks import __main__ as command
from benchmarks import mnist, readme, surroundings, uci
from glassprop.bench.machine import processor

README = """# title
<!-- figures:accuracy -->
Not measured yet.
<!-- /figures:accuracy -->
between
<!-- figures:startup -->
<!-- /figures:startup -->
end
"""


def write_set(path, rows=60, splits=2):
    """A small regression set in the form of the real ones."""
    draw = np.random.default_rng(0)
    X = np.column_stack([draw.normal(size=(rows, 2)), np.ones(rows)])  # one column is constant, as in a real set
    is_test = np.zeros((splits, rows), bool)
    for split in is_test:
        split[draw.permutation(rows)[:10]] = True
    np.savez(path, X=X, y=100 + 30 * X[:, 0] - 20 * X[:, 1], is_test=is_test)
    return path


def test_figures_go_between_the_markers_only():
    text = readme.inject(README, "accuracy", "uci", "| a |")
    assert "Not measured yet." not in text
    assert text.count("| a |") == 1
    assert text.startswith("# title\n<!-- figures:accuracy -->\n")
    assert text.endswith(README[README.index("<!-- /figures:accuracy -->") :])


def test_same_figures_again_change_nothing():
    once = readme.inject(readme.inject(README, "accuracy", "uci", "| a |"), "accuracy", "mnist", "| b |")
    assert readme.inject(once, "accuracy", "uci", "| a |") == once
    assert readme.inject(once, "accuracy", "mnist", "| b |") == once


def test_a_part_leaves_the_others_figures():
    both = readme.inject(readme.inject(README, "accuracy", "uci", "| a |"), "accuracy", "mnist", r"| \1 |")
    text = readme.inject(both, "accuracy", "uci", "| c |")
    assert "| a |" not in text
    assert r"| \1 |" in text
    assert text.index("| c |") < text.index(r"| \1 |")


@pytest.mark.parametrize("marker", ["<!-- figures:startup -->", "<!-- /figures:startup -->"])
def test_missing_marker_is_an_error(marker):
    with pytest.raises(readme.MissingMarkers, match="figures:startup"):
        readme.inject(README.replace(marker, ""), "startup", "startup", "| a |")


def test_command_stops_before_measuring_where_markers_are_missing(tmp_path, capsys):
    path = tmp_path / "README.md"
    path.write_text("# title\n")
    assert command.main(["startup", "--readme", str(path)]) == 2
    assert "figures:startup" in capsys.readouterr().err
    assert path.read_text() == "# title\n"


def test_command_names_the_parts_there_are(capsys):
    with pytest.raises(SystemExit) as stopped:
        command.main(["sped"])
    assert stopped.value.code == 2
    assert "uci, mnist, startup, speed, linear, rules, many, bfloat16, estimators; got sped" in capsys.readouterr().err


def test_contributing_names_the_parts_there_are():
    text = (surroundings.ROOT / "CONTRIBUTING.md").read_text()
    assert re.findall(r"python -m benchmarks (.+)", text) == [" ".join(command.PARTS)]


def test_absent_data_leave_the_readme_alone(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("GLASSPROP_DATA", str(tmp_path / "nowhere"))
    path = tmp_path / "README.md"
    path.write_text(README)
    assert command.main(["uci", "mnist", "--readme", str(path)]) == 0
    assert path.read_text() == README
    assert "no data: uci-regression/" in capsys.readouterr().err


def test_command_writes_and_prints_the_figures(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "uci-regression"
    folder.mkdir()
    write_set(folder / "concrete.npz")
    monkeypatch.setenv("GLASSPROP_DATA", str(tmp_path))
    monkeypatch.setattr(uci, "SETS", {"concrete": uci.SETS["concrete"]})
    monkeypatch.setattr(uci.run_set, "__defaults__", (2, 2))  # splits, epochs
    path = tmp_path / "README.md"
    path.write_text(README)
    assert command.main(["uci", "--readme", str(path)]) == 0
    text = path.read_text()
    assert "| concrete | 5.23 |" in text
    assert processor() in text
    assert command.main(["uci", "--readme", str(path), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["uci"]["concrete"]["rmse"] > 0
    assert path.read_text() == text


def test_uci_runner_learns_a_small_table(tmp_path):
    found = uci.run_set(write_set(tmp_path / "small.npz"), epochs=200)
    assert len(found["splits"]) == 2
    assert found["rmse"] < 10  # the standard deviation of y is above 30
    assert found["rmse"] == pytest.approx(np.mean([split["rmse"] for split in found["splits"]]))


def test_mnist_is_read_from_its_files_trained_on_and_tested(tmp_path, monkeypatch):
    draw, folder = np.random.default_rng(0), tmp_path / "mnist"
    folder.mkdir()
    for which, rows in (("train", 150), ("t10k", 20)):
        for name, head, shape, most in (("images-idx3", 16, (rows, 784), 256), ("labels-idx1", 8, (rows,), 10)):
            numbers = draw.integers(most, size=shape).astype(np.uint8)
            (folder / f"{which}-{name}-ubyte.gz").write_bytes(gzip.compress(bytes(head) + numbers.tobytes()))
    monkeypatch.setenv("GLASSPROP_DATA", str(tmp_path))
    monkeypatch.setattr(mnist, "NETWORKS", {"784-3-10": ((3, "half_squared_error", 0.0, 0.0, 1e-3, 2), 100.0)})
    found = mnist.measure()["784-3-10"]
    assert len(found["errors"]) == mnist.SEEDS
    assert all(0 <= error <= 100 for error in found["errors"])
    assert found["seconds"] > 0


def test_one_split_of_a_real_set():
    folder = surroundings.data_folder("uci-regression")
    if folder is None:
        pytest.skip("the UCI sets are not here; GLASSPROP_DATA names the folder that holds uci-regression/")
    assert uci.run_set(folder / "concrete.npz", splits=1, epochs=20)["rmse"] < 12  # the standard deviation of y is 16.7
