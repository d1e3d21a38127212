"""evaluate, predict, info, --help and --version; the shape of --json; exit codes."""

import json
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

import glassprop as gp
from glassprop.cli import main
from glassprop.tables.model import Model, load, save
from glassprop.tables.reading import read_table


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A model of breast_cancer."""
    path = tmp_path_factory.mktemp("cli") / "model.safetensors"
    assert main(["train", "sklearn:breast_cancer", "--layers", "8", "--epochs", "30", "--out", str(path), "--quiet"]) == 0
    return path


@pytest.fixture
def bare(tmp_path):
    """A model without a table."""
    network, path = gp.Network((2, 3, 2)), tmp_path / "bare.safetensors"
    save(Model(network, network.initialize(seed=0)), path)
    return path


def test_evaluate(run, trained):
    ended = run("evaluate", trained, "sklearn:breast_cancer")
    assert (ended.code, ended.err) == (0, "")
    lines = ended.out.splitlines()
    assert lines[:2] == [
        f"model     {trained}: classification of 'target'",
        "table     sklearn:breast_cancer: 569 rows: 455 it was trained on; 114 held out for scores",
    ]
    for first, where in ((3, "scores on test rows"), (8, "scores on all rows")):
        assert lines[first] == f"{where:<29}model    baseline   (always 'benign')"
        assert [line.split()[0] for line in lines[first + 1 : first + 4]] == ["accuracy", "log_loss", "roc_auc"]


def test_evaluate_json(run, trained):
    ended = run("evaluate", trained, "sklearn:breast_cancer", "--json")
    said = json.loads(ended.out)
    assert ended.out.count("\n") == 1
    assert list(said) == ["model", "table", "target", "task", "rows", "rows_trained_on", "metrics", "baseline", "held_out"]
    model, table = load(trained), read_table("sklearn:breast_cancer")
    assert said["metrics"] == model.evaluate(table)
    assert (said["rows"], said["rows_trained_on"], said["held_out"]["rows"]) == (569, 455, 114)
    for name in ("metrics", "baseline"):  # what `train` said
        assert said["held_out"][name] == model.extra["training"][name] != said[name]


def test_evaluate_where_rows_were_held_out_for_stopping_or_none(run, tmp_path):
    path, stopping = tmp_path / "m.safetensors", ("--validation", "0.1")
    for fractions, trained, held in (
        (("--test", "0", *stopping), 135, 15), (("--test", "0.2", *stopping), 108, 30), (("--test", "0"), 150, None),
    ):  # fmt: skip
        assert run("train", "sklearn:iris", "--layers", "8", "--epochs", "5", "--out", path, "--quiet", *fractions).code == 0
        said = json.loads(run("evaluate", path, "sklearn:iris", "--json").out)
        assert (said["rows_trained_on"], said["held_out"] and said["held_out"]["rows"]) == (trained, held)
        assert ("scores on validation rows" in run("evaluate", path, "sklearn:iris").out) == (held == 15)


def test_another_table_of_as_many_rows_is_not_taken_for_that_of_the_training(run, trained, tmp_path):
    table = read_table("sklearn:breast_cancer")
    table["mean radius"] *= 1 + 1e-6
    table.to_csv(tmp_path / "t.csv", index=False)
    said = json.loads(run("evaluate", trained, tmp_path / "t.csv", "--json").out)
    assert (said["rows"], said["rows_trained_on"], said["held_out"]) == (569, None, None)
    assert "t.csv: 569 rows\n\nscores  " in run("evaluate", trained, tmp_path / "t.csv").out
    assert "t.csv: 569 rows\n" in run("diagnose", trained, tmp_path / "t.csv").out


def test_a_score_that_is_not_defined(run, trained, tmp_path):
    table = read_table("sklearn:breast_cancer")
    table[table.target == "benign"].to_csv(tmp_path / "t.csv", index=False)
    assert json.loads(run("evaluate", trained, tmp_path / "t.csv", "--json").out)["metrics"]["roc_auc"] is None
    assert "undefined" in run("evaluate", trained, tmp_path / "t.csv").out


def test_predict_to_a_file_without_the_target(run, trained, tmp_path):
    table, source, out = read_table("sklearn:breast_cancer").head(20), tmp_path / "t.csv", tmp_path / "p.csv"
    table.drop(columns="target").to_csv(source, index=False)
    ended = run("predict", trained, source, "--out", out, "--proba")
    assert ended == (0, f"wrote 20 predictions to {out}\n", "")
    predicted = pd.read_csv(out)
    assert list(predicted.columns) == ["target", "probability_benign", "probability_malignant"]
    model = load(trained)
    assert predicted.target.tolist() == model.predict(table).tolist()
    np.testing.assert_allclose(predicted.iloc[:, 1:], model.predict_proba(table), rtol=1e-14)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p.csv", "t.csv"]


def test_predict_to_standard_output(run, trained):
    ended = run("predict", trained, "sklearn:breast_cancer")
    assert ended.out.splitlines()[0] == "target"
    assert len(ended.out.splitlines()) == 570


def test_predict_json(run, trained, tmp_path):
    said = json.loads(run("predict", trained, "sklearn:breast_cancer", "--json").out)
    assert set(said) == {"model", "table", "rows", "predictions"}
    assert len(said["predictions"]["target"]) == said["rows"] == 569
    said = json.loads(run("predict", trained, "sklearn:breast_cancer", "--json", "--out", tmp_path / "p.csv").out)
    assert said["out"] == str(tmp_path / "p.csv")


def test_predict_fails_whole(run, refused, trained, tmp_path):
    out = tmp_path / "p.csv"
    out.write_text("old")
    assert "the table lacks 30 of the 30 columns wanted: 'mean radius', " in refused(
        "predict", trained, "sklearn:iris", "--out", out
    )
    assert out.read_text() == "old"


@pytest.mark.parametrize("command", ["evaluate", "check", "diagnose", "explain"])
def test_a_table_for_another_model(refused, trained, tmp_path, command):
    table = tmp_path / "t.csv"
    table.write_text("5.1,3.5,1\n4.9,3.0,0\n")
    assert refused(command, trained, table) == (
        "the table lacks 31 of the 31 columns wanted: 'target' (the target), 'mean radius', 'mean texture', 'mean perimeter', "
        "'mean area' ...; it has 5.1, 3.5, 1; these look like numbers of a first row: put a line of column names above it"
    )


def test_a_model_without_a_table(run, refused, bare, tmp_path):
    (tmp_path / "t.csv").write_text("a,b\n1,2\n3,4.5\n")
    ended = run("predict", bare, tmp_path / "t.csv")
    assert ended.out.splitlines()[0] == "output_1,output_2"
    assert "saved without a table" in refused("evaluate", bare, tmp_path / "t.csv")
    assert "without names" in run("info", bare).out
    (tmp_path / "t.csv").write_text("y,a,b\n7,1,2\n8,3,4.5\n")
    assert run("predict", bare, tmp_path / "t.csv", "--target", "y") == ended
    assert "must hold 2 columns of inputs; it has 3 (--target names" in refused("predict", bare, tmp_path / "t.csv")


def test_info_of_a_model(run, trained):
    out = run("info", trained).out
    for text in (
        "30-8-2 relu; output softmax",
        "cross_entropy",
        "classification of 'target' (2 classes: benign, malignant)",
        "mean rad",
        "(because 'target' holds text)",
        "  optimizer        adam, learning rate cosine from 0.001 over 450 steps",
        "  patience         none\n",
    ):
        assert text in out
    for text in ("seed", "test 0.2", "train 455", "sklearn:breast_cancer", "accuracy"):
        assert text in out
    assert "\n  loss+penalty     " in out
    said = json.loads(run("info", trained, "--json").out)
    assert said["network"]["layers"] == [30, 8, 2]
    assert said["training"]["seed"] == 0
    assert said["preparation"]["classes"] == ["benign", "malignant"]


def test_info_of_a_table(run, tmp_path):
    (tmp_path / "t.csv").write_text("a,b\n1,x\n3,\n")
    out = run("info", tmp_path / "t.csv").out
    assert "2 rows, 2 columns" in out
    said = json.loads(run("info", tmp_path / "t.csv", "--json").out)
    assert said["rows"] == 2
    assert [(column["name"], column["missing"]) for column in said["columns"]] == [("a", 0), ("b", 1)]


@pytest.mark.parametrize("command", ["train", "evaluate", "predict", "info"])
def test_help_has_an_example(run, command):
    ended = run(command, "--help")
    assert ended.code == 0
    assert f"Example: glassprop {command} " in " ".join(ended.out.split())


def test_help_without_a_command_and_version(run):
    for arguments in ((), ("--help",)):
        ended = run(*arguments)
        assert ended.code == 0
        assert all(command in ended.out for command in ("train", "evaluate", "predict", "info", "check", "diagnose", "replay"))
    assert run("--version") == (0, f"glassprop {gp.__version__}\n", "")


def test_help_has_the_exit_codes(run):
    assert "0 done, 1 diverged or found wrong, 2 misuse, 130 interrupted" in " ".join(run("--help").out.split())


@pytest.mark.parametrize("where", ["glassprop.tables.reading.read_table", "glassprop.training.run.train"])
def test_ctrl_c_before_training(run, monkeypatch, tmp_path, where):
    def interrupt(*given, **named):
        raise KeyboardInterrupt

    monkeypatch.setattr(where, interrupt)
    ended = run("train", "sklearn:iris", "--out", tmp_path / "m", "--quiet")
    assert (ended.code, ended.err.strip()) == (130, "glassprop: error: interrupted")
    assert not (tmp_path / "m").exists()


def test_ctrl_c_while_the_commands_are_imported(run, monkeypatch):
    class Interrupt:
        def find_spec(self, name, path=None, target=None):
            if name == "glassprop.cli.app":
                raise KeyboardInterrupt

    monkeypatch.delitem(sys.modules, "glassprop.cli.app")
    monkeypatch.setattr(sys, "meta_path", [Interrupt(), *sys.meta_path])
    assert run("info", "sklearn:iris") == (130, "", "glassprop: error: interrupted\n")


@pytest.mark.parametrize("given", [(), ("--json",), ("--both",)])
def test_training_comes_to_its_end_where_nobody_reads(tmp_path, given):
    command = [sys.executable, "-m", "glassprop", "train", "sklearn:iris", "--layers", "8", "--epochs", "2", "--out", "m"]
    command += [option for option in given if option != "--both"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONUNBUFFERED": ""}
    reader, writer = os.pipe()
    os.close(reader)
    errors = writer if given == ("--both",) else subprocess.PIPE
    ended = subprocess.run(command, stdout=writer, stderr=errors, text=True, timeout=120, env=environment, cwd=tmp_path)
    os.close(writer)
    assert ended.returncode == 0
    assert "Traceback" not in (ended.stderr or "")
    assert (tmp_path / "m").exists()


@pytest.mark.parametrize("json", [(), ("--json",)])  # found out by a line, and at the end
def test_a_reader_that_has_seen_enough(tmp_path, json):
    (tmp_path / "t.csv").write_text("a,b\n1,2\n")
    command = [sys.executable, "-m", "glassprop", "info", str(tmp_path / "t.csv"), *json]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONUNBUFFERED": ""}
    reader, writer = os.pipe()
    os.close(reader)
    ended = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, timeout=60, env=environment)
    os.close(writer)
    assert (ended.returncode, ended.stderr) == (141, "")
