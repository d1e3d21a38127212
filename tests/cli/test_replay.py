"""``glassprop train --record`` and ``glassprop replay``: a step explained, a weight followed, a divergence found."""

import csv
import io
import json

import numpy as np
import pytest

import glassprop as gp


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """The folder of a recorded run, beside its model."""
    from glassprop.cli import main

    folder = tmp_path_factory.mktemp("recorded")
    given = ("--layers", "8", "--dropout", "0.2", "--epochs", "6", "--out", str(folder / "model.safetensors"), "--quiet")
    main(["train", "sklearn:breast_cancer", *given, "--record", str(folder / "run")])
    return folder / "run"


@pytest.fixture(scope="module")
def diverged(tmp_path_factory):
    from glassprop.cli import main

    folder = tmp_path_factory.mktemp("diverged")
    given = ("--optimizer", "sgd", "--schedule", "constant", "--lr", "3", "--out", str(folder / "model.safetensors"), "--quiet")
    assert main(["train", "sklearn:diabetes", *given, "--record", str(folder / "run")]) == 1
    return folder / "run"


def test_without_a_step_it_says_what_was_recorded(run, recorded):
    ended = run("replay", recorded)
    assert (ended.code, ended.err) == (0, "")
    assert "of sklearn:breast_cancer, which is unchanged" in ended.out
    assert "0 to 89, 15 in an epoch" in ended.out
    facts = json.loads(run("replay", recorded, "--json").out)
    assert (facts["steps"], facts["epochs"], facts["diverged"]) == (90, 6, False)


def test_a_step_is_explained_with_names_and_the_row_of_the_table(run, recorded):
    from glassprop.tables.preparation import prepare
    from glassprop.tables.reading import read_table

    ended = run("replay", recorded, "--step", "40", "--row", "3")
    assert ended.code == 0
    text = " ".join(ended.out.split())
    assert "Training step 40, counted from 0" in text
    assert "Dropout acts" in text
    assert "mean radius" in text or "worst" in text
    ready = prepare(read_table("sklearn:breast_cancer"), "target", test=0.2)
    _, rows = gp.replay(recorded, ready.train.X, ready.train.Y).moment(40)
    assert f"(row {ready.train.rows[rows[3]]} of the table, in epoch 3)" in text


def test_a_check_that_takes_long_shows_how_far_it_is(run, tmp_path, monkeypatch):
    from glassprop.glass import checked

    given = ("--layers", "4", "--epochs", "1", "--out", tmp_path / "model.safetensors", "--quiet")
    assert run("train", "sklearn:iris", *given, "--record", tmp_path / "run").code == 0
    assert run("replay", tmp_path / "run", "--step", "2").err == ""
    monkeypatch.setattr(checked, "PATIENCE", 0.0)
    assert "gradient 35/35" in run("replay", tmp_path / "run", "--step", "2").err
    assert run("replay", tmp_path / "run", "--step", "2", "--json").err == ""


def test_the_end_is_the_model_that_was_saved(recorded):
    from glassprop.tables.preparation import prepare
    from glassprop.tables.reading import read_table

    ready = prepare(read_table("sklearn:breast_cancer"), "target", test=0.2)
    end, model = gp.replay(recorded, ready.train.X, ready.train.Y).at(90), gp.load(recorded.parent / "model.safetensors")
    assert np.array_equal(end.parameters.theta, model.parameters.theta)


def test_an_explanation_as_a_page(run, recorded, tmp_path):
    ended = run("replay", recorded, "--step", "7", "--steps", "2", "--out", tmp_path / "step.html")
    assert (ended.code, ended.out) == (0, f"wrote {tmp_path / 'step.html'}\n")
    assert "<html" in (tmp_path / "step.html").read_text()[:200]


def test_a_weight_as_csv_json_and_picture(run, recorded, tmp_path):
    ended = run("replay", recorded, "--watch", "W1[3,7]")
    lines = list(csv.DictReader(ended.out.splitlines()))
    assert (ended.code, len(lines)) == (0, 90)
    assert list(lines[0]) == ["step", "value", "gradient", "change", "loss"]
    assert float(lines[1]["value"]) == pytest.approx(float(lines[0]["value"]) + float(lines[0]["change"]), abs=1e-12)
    facts = json.loads(run("replay", recorded, "--watch", "W1[3,7]", "--json").out)
    assert facts["entry"] == "W1[3,7]"
    assert facts["value"] == [float(line["value"]) for line in lines]
    asked = ("--out", tmp_path / "w.csv", "--plot", tmp_path / "w.png")
    assert run("replay", recorded, "--watch", "W1[3,7]", *asked).out.startswith("wrote 90 steps to ")
    assert (tmp_path / "w.csv").read_text() == ended.out
    assert (tmp_path / "w.png").stat().st_size > 5_000


def test_divergence_is_found(run, diverged):
    ended = run("replay", diverged, "--find", "divergence")
    assert ended.code == 0
    assert ended.out.startswith(
        "diverged  diverged at step 3 (epoch 1): the loss, from the outputs of layer 3, ceased to be finite"
    )
    assert ended.out.endswith("--step 2 explains the last step that was taken\n")
    facts = json.loads(run("replay", diverged, "--find", "divergence", "--json").out)
    assert (facts["diverged_at"], facts["step"], facts["loss"][-1]) == (3, [0, 1, 2, 3], None)
    assert run("replay", diverged, "--step", "2").code == 0


def test_changed_data_are_named(refused, run, tmp_path):
    table, folder = tmp_path / "data.csv", tmp_path / "run"
    rng = np.random.default_rng(0)
    rows = [f"{a:.6f},{b:.6f},{a - b:.6f}" for a, b in rng.normal(size=(50, 2))]
    table.write_text("\n".join(["a,b,y", *rows]) + "\n")
    run("train", table, "--target", "y", "--epochs", "2", "--out", tmp_path / "m.safetensors", "--record", folder, "--quiet")
    assert run("replay", folder, "--step", "1").code == 0
    first = rows[7]
    a, b, y = first.split(",")
    for other, why in (
        (f"9,{b},{y}", "its inputs hold other numbers"),
        (f"{a},{b},9", "its target holds other numbers"),
        ("9,9,9", "its inputs and its target hold other numbers"),
    ):
        rows[7] = other
        table.write_text("\n".join(["a,b,y", *rows]) + "\n")
        assert refused("replay", folder, "--step", "1") == f"{table}: the table has changed: {why}"
    table.rename(tmp_path / "elsewhere.csv")
    assert "data.csv: no such file" in refused("replay", folder)
    rows[7] = first
    turned = [",".join((*reversed(row.split(",")), "more")) for row in ["a,b,y", *rows]]
    table.write_text("\n".join(turned) + "\n")  # columns are found by name
    assert run("replay", folder, "--step", "1", "--table", table).code == 0
    table.write_text("\n".join(row.split(",", 1)[1] for row in ["a,b,y", *rows]) + "\n")
    assert "the table lacks the column 'a'; it has b, y" in refused("replay", folder, "--table", table)
    rows.append("1,2,3")
    table.write_text("\n".join(["a,b,y", *rows]) + "\n")
    assert refused("replay", folder, "--table", table) == f"{table}: the table has changed: it had 50 rows, and has 51"
    rows.pop()
    facts = json.loads((folder / "table.json").read_text())  # of an older version
    (folder / "table.json").write_text(
        json.dumps({name: facts[name] for name in facts if name not in ("rows", "fingerprints")})
    )
    table.write_text("\n".join(["a,b,y", *rows]) + "\n")
    assert run("replay", folder, "--table", table).code == 0
    table.write_text("\n".join(["a,b,y", *rows[1:]]) + "\n")
    assert "the data have changed: X was of shape" in refused("replay", folder, "--table", table)


def test_other_classes_are_named_though_other_rows_are_drawn_by_them(refused, run, tmp_path):
    table, folder = tmp_path / "data.csv", tmp_path / "run"
    rows = [f"{i % 5},{'uv'[i % 2]}" for i in range(40)]
    table.write_text("\n".join(["a,y", *rows]) + "\n")
    run("train", table, "--target", "y", "--epochs", "1", "--out", tmp_path / "m.safetensors", "--record", folder, "--quiet")
    for other in ("v", "w"):
        table.write_text("\n".join(["a,y", rows[0].replace("u", other), *rows[1:]]) + "\n")
        assert refused("replay", folder).endswith("data.csv: the table has changed: its target holds other values")


def test_a_table_from_standard_input_is_asked_for(refused, run, tmp_path, monkeypatch):
    table, folder = tmp_path / "data.csv", tmp_path / "run"
    table.write_text("a,y\n" + "".join(f"{i},{i % 7}.5\n" for i in range(50)))
    with table.open("rb") as file:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(file))
        given = ("--target", "y", "--epochs", "2", "--out", tmp_path / "m.safetensors", "--record", folder, "--quiet")
        assert run("train", "-", *given).code == 0
    assert "its table came from standard input: name a file that holds it by --table" in refused("replay", folder)
    assert run("replay", folder, "--table", table).code == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--step", "91"), "step must be a whole number from 0 to 90, the step that would come after those of the run; got 91"),
        (("--step", "3", "--row", "32"), "row must be from 0 to 31, the last row of the batch; got 32"),
        (("--step", "3", "--watch", "b1[0]"), "give one of --step, --watch and --find; got --step and --watch"),
        (("--watch", "W9[0,0]"), "W9[0,0]: the network has layers 1 to 2"),
        (("--watch", "b1[0]", "--plot", "w.jpg"), "--plot must be a file name that ends in .png, .svg or .pdf"),
        (("--step", "3", "--plot", "w.png"), "--plot goes with --watch"),
        (("--row", "0"), "--row goes with --step, the step to explain"),
        (("--watch", "b1[0]", "--full", "--steps", "1"), "--steps and --full go with --step, the step to explain"),
        (("--find", "divergence", "--format", "html"), "--format goes with --step, the step to explain"),
        (("--out", "x.csv"), "--out goes with --step, --watch or --find"),
        (("--find", "divergense"), "did you mean 'divergence'?"),
        (("--find", "divergence"), "the run did not diverge: 6 epochs done"),
        (("--step", "3", "--format", "htm"), "did you mean 'html'?"),
    ],
)
def test_misuse(refused, recorded, arguments, message):
    assert message in refused("replay", recorded, *arguments)


def test_no_recorded_run(refused, recorded, tmp_path):
    (tmp_path / "runs.csv").touch()
    (tmp_path / "run").mkdir()
    assert refused("replay", tmp_path / "runs").endswith(f"no such recorded run; did you mean {str(tmp_path / 'run')!r}?")
    assert "holds no run that glassprop train --record made" in refused("replay", tmp_path)
    model = tmp_path / "m.safetensors"
    again = refused("train", "sklearn:iris", "--out", model, "--record", recorded, "--quiet")
    assert "holds a recorded run already; choose another folder" in again
    assert not model.exists()
