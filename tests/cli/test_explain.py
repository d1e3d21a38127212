"""glassprop explain: from numbers alone and from a model with a table; forms, files and refusals."""

import json

import pytest

import glassprop as gp
from glassprop.tables.reading import read_table

WEIGHTS = {"W": [[[0.15, 0.25], [0.20, 0.30]], [[0.40, 0.50], [0.45, 0.55]]], "b": [[0.35, 0.35], [0.60, 0.60]]}


@pytest.fixture
def homework(tmp_path):
    """The worked example as it is asked for on the command line."""
    (tmp_path / "w.json").write_text(json.dumps(WEIGHTS))
    return (
        *("explain", "--layers", "2,2,2", "--activation", "sigmoid", "--output-activation", "sigmoid"),
        *("--loss", "half_squared_error", "--weights", tmp_path / "w.json", "--input", ".05,.10", "--target", ".01,.99"),
        *("--learning-rate", "0.5", "--digits", "9"),
    )


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model of the iris table, trained for a moment."""
    from glassprop.cli import main

    path = tmp_path_factory.mktemp("explain") / "iris.safetensors"
    assert main(["train", "sklearn:iris", "--layers", "8,6", "--epochs", "20", "--out", str(path), "--quiet"]) == 0
    return path


def test_homework(run, homework):
    ended = run(*homework)
    assert ended.code == 0
    assert ended.err == ""
    lines = [line.strip() for line in ended.out.splitlines()]
    assert "h₁,₁ = σ(g₁,₁) = 1/(1 + e^(−0.3775)) = 0.593269992" in lines
    assert "W₂,₁,₁ := W₂,₁,₁ − η ∂L/∂W₂,₁,₁ = 0.4 − 0.5·0.0821670406 = 0.358916480" in lines
    assert "\x1b" not in ended.out


def test_json_is_the_explanation_of_the_api(run, homework):
    network = gp.Network((2, 2, 2), activation="sigmoid", output_activation="sigmoid", loss="half_squared_error")
    parameters = gp.Parameters.from_arrays(WEIGHTS["W"], WEIGHTS["b"])
    wanted = gp.explain(network, parameters, [[0.05, 0.10]], [[0.01, 0.99]], optimizer=gp.SGD(0.5)).as_dict()
    told = run(*homework, "--json")
    assert json.loads(told.out) == wanted
    assert told.err == ""


def test_a_check_that_takes_long_shows_how_far_it_is(run, homework, model, monkeypatch):
    from glassprop.glass import checked

    monkeypatch.setattr(checked, "PATIENCE", 0.0)
    assert "gradient 12/12" in run(*homework).err
    assert run(*homework, "--json").err == ""
    assert "gradient 115/115" in run("explain", model, "sklearn:iris").err


def test_a_row_of_a_table(run, model):
    told = json.loads(run("explain", model, "sklearn:iris", "--row", 73, "--optimizer", "adam", "--json").out)["steps"][0]
    fitted, table = gp.load(model), read_table("sklearn:iris")
    output = [told["layers"][-1]["h"][c] for c in range(3)]
    assert output == pytest.approx(fitted.predict_proba(table.iloc[[73]])[0], abs=1e-6)
    assert told["row_name"] == "row 73 of sklearn:iris, standardised"
    assert told["input_names"] == list(fitted.preparation.inputs)
    assert told["loss"]["y"] == [0.0, 1.0, 0.0]
    assert told["dtype"] == "float32"
    assert told["rule"]["name"] == "adam"


def test_a_row_in_its_batch(run, model):
    told = json.loads(run("explain", model, "sklearn:iris", "--row", 73, "--rows", "60:80", "--json").out)["steps"][0]
    alone = json.loads(run("explain", model, "sklearn:iris", "--row", 73, "--json").out)["steps"][0]
    assert (told["row"], told["rows"]) == (13, 20)
    assert told["x"] == alone["x"]
    assert told["loss"]["row"] == pytest.approx(alone["loss"]["row"], rel=1e-5)
    ending = json.loads(run("explain", model, "sklearn:iris", "--rows", "149,5,3", "--json").out)["steps"][0]
    assert (ending["row"], ending["rows"], ending["row_name"]) == (0, 3, "row 149 of sklearn:iris, standardised")


def test_a_number_to_predict(run, tmp_path):
    path = tmp_path / "m.safetensors"
    run("train", "sklearn:diabetes", "--layers", "5", "--epochs", "3", "--out", path, "--quiet")
    told = json.loads(run("explain", path, "sklearn:diabetes", "--row", 5, "--json").out)["steps"][0]
    preparation = gp.load(path).preparation
    truth = read_table("sklearn:diabetes")["target"][5]
    assert told["loss"]["y"] == pytest.approx([(truth - preparation.target_mean) / preparation.target_scale], rel=1e-6)
    assert told["output_names"] == ["target"]


def test_without_weights_the_seed_draws_them(run):
    arguments = ("explain", "--layers", "2,3,2", "--loss", "cross_entropy", "--input", "1,2", "--target", "1", "--json")
    one, same, other = (json.loads(run(*arguments, "--seed", seed).out) for seed in (4, 4, 5))
    assert one == same
    assert one != other
    assert one["steps"][0]["layers"][0]["weights"]["old"] == gp.Network((2, 3, 2), "sigmoid").initialize(4).W[0].tolist()


CLASSES = ("--layers", "2,3,3", "--loss", "cross_entropy", "--input", "1,2")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "--layers must be given; or name a model and a table: glassprop explain MODEL TABLE"),
        (("--layers", "2,1", "--input", "1,2"), "--target must be given"),
        (("--layers", "2,1", "--input", "1", "--target", "1"), "--input must be 2 numbers, as --layers says; got 1"),
        (("--layers", "2,1", "--input", "1,2", "--target", "1,2"), "--target must be 1 number, as --layers says; got 2"),
        (("--layers", "2,1", "--input", "1,x", "--target", "1"), "--input must be numbers, with commas between them; got"),
        (("--layers", "2,1", "--input", "1,nan", "--target", "1"), "--input must be finite numbers, of float64 at most"),
        (("--layers", "2,1", "--input", "1,2", "--target", "1e400"), "--target must be finite numbers, of float64 at most"),
        ((*CLASSES, "--target", "3"), "--target must hold class numbers from 0 to 2 for 3 outputs; got 3"),
        ((*CLASSES, "--target", "0.5"), "--target must hold class numbers from 0 to 2 for 3 outputs; got 0.5"),
        ((*CLASSES, "--target", "1,0"), "--target must be a class number or 3 numbers, as --layers says; got 2"),
        ((*CLASSES, "--target", "1,1,0"), "--target must hold class numbers or rows of probabilities that sum to 1"),
        (("--layers", "2,y", "--input", "1,2", "--target", "1"), "--layers must be whole numbers"),
        (("--layers", "2,3,1", "--activation", "sigmod", "--input", "1,2", "--target", "1"), "did you mean 'sigmoid'?"),
        (
            ("--layers", "2,1", "--loss", "huber", "--quantile", "0.5", "--input", "1,2", "--target", "1"),
            "has no option 'quantile'",
        ),
        (("--layers", "2,1", "--input", "1,2", "--target", "1", "--optimizer", "adm"), "did you mean 'adam'?"),
        (("--layers", "2,1", "--input", "1,2", "--target", "1", "--format", "htm"), "did you mean 'html'?"),
        (("--layers", "2,1", "--input", "1,2", "--target", "1", "--out", "x.pdf"), "--out must end in one of .html, .md"),
        (("--layers", "2,1", "--input", "1,2", "--target", "1", "--digits", "18"), "--digits must be from 1 to 17; got 18"),
        (("--layers", "2,1", "--input", "1,2", "--target", "1", "--row", "0"), "--row goes with a model and a table"),
        (("--layers", "2,1", "--input", "1,2", "--target", "1", "--weights", "nofile.json"), "nofile.json: no such file"),
        (("nomodel", "sklearn:iris"), "nomodel: no such model"),
        (("nomodel",), "a table must be given after the model 'nomodel'"),
        (("nomodel", "sklearn:iris", "--layers", "2,1"), "--layers goes with numbers alone"),
        (("nomodel", "sklearn:iris", "--loss", "huber", "--l2", "0"), "--loss and --l2 go with numbers alone"),
    ],
)  # fmt: skip
def test_refusals(refused, arguments, message):
    assert message in refused("explain", *arguments)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("not json", "not a JSON file"),
        ("[1]", 'must hold {"W": [W1, W2, ...]'),
        ('{"W": [[[1], [2]]], "b": [[0, 0]]}', "b[0] (fan_out,); got (2, 1) and (2,)"),
        ('{"W": [[[1], [2, 3]]], "b": [[0]]}', "w.json: W[0][1] must be as long as W[0][0], 1; it holds 2; it must hold"),
        ('{"W": [[[1], ["x"]]], "b": [[0]]}', 'W[0][1][0] must be a number; it is "x"'),
        ('{"W": [[[1], [2]]], "b": [[true]]}', "b[0][0] must be a number; it is true"),
        ('{"W": [[[1], [2]]], "b": [0]}', "b[0] must be a list; it is 0"),
        ('{"W": [[[1], [2], [3]]], "b": [[0]]}', "its weights are of layers 3,1; --layers says 2,1"),
    ],
)
def test_weights_that_do_not_fit(refused, tmp_path, content, message):
    (tmp_path / "w.json").write_text(content)
    arguments = ("--layers", "2,1", "--input", "1,2", "--target", "1", "--weights", tmp_path / "w.json")
    assert message in refused("explain", *arguments)


def test_the_nearest_name_of_a_weights_file(refused, tmp_path):
    for name in ("mazur.json", "mazu.csv"):
        (tmp_path / name).touch()
    message = refused("explain", "--layers", "2,1", "--input", "1,2", "--target", "1", "--weights", tmp_path / "mazu.json")
    assert message.endswith(f"mazu.json: no such file; did you mean {str(tmp_path / 'mazur.json')!r}?")


def test_rows_that_are_not_there(refused, model):
    assert "--row must be from 0 to 149, as the table has 150 rows; got 150" in refused(
        "explain", model, "sklearn:iris", "--row", 150
    )
    message = refused("explain", model, "sklearn:iris", "--row", 7, "--rows", "0:5")
    assert message == "--row must be one of --rows 0:5; got 7"


def test_a_model_without_a_table(run, tmp_path):
    network = gp.Network((4, 1))
    gp.save(gp.Model(network, network.initialize(0)), tmp_path / "bare.safetensors")
    (tmp_path / "t.csv").write_text("a,b,c,d,y\n1,2,3,4,5\n6,7,8,9,10\n")
    told = json.loads(run("explain", tmp_path / "bare.safetensors", tmp_path / "t.csv", "--row", 1, "--json").out)["steps"][0]
    assert (told["x"], told["loss"]["y"], told["input_names"]) == ([6, 7, 8, 9], [10], list("abcd"))


def test_messages_name_rows_of_the_whole_table(refused, run, tmp_path):
    path, table = tmp_path / "m.safetensors", tmp_path / "t.csv"
    network = gp.Network((2, 1))
    gp.save(gp.Model(network, network.initialize(0, dtype="float32")), path)
    table.write_text("a,b,y\n1,2,3\n1,2,3\n1,None,3\n1e39,2,3\n1,1e400,3\n")
    told = "(counted from 1 below the column names)"
    assert f"('None' is read as missing), the first in row 3 {told}" in refused("explain", path, table, "--row", 2)
    assert f"column 'a' holds a number in row 4 {told} that is too large for a network in float32" in refused(
        "explain", path, table, "--rows", "0,3"
    )
    assert f"column 'b' holds infinity in row 5 {told}, or a number too large" in refused("check", path, table, "--row", 4)
    assert refused("explain", path, table, "--target", "y,b").endswith("2 columns of inputs beside --target y, b; it has 1")
    assert run("explain", path, table, "--row", 1).code == 0


@pytest.mark.parametrize(
    ("form", "ending", "begins"),
    [("text", ".txt", "One training step"), ("markdown", ".md", "# One training step"),
     ("latex", ".tex", "% For pdflatex, run twice"), ("html", ".html", "<!doctype html>"), ("json", ".json", "{")],
)  # fmt: skip
def test_forms_and_files(run, homework, tmp_path, form, ending, begins):
    shown = run(*homework, "--format", form)
    assert shown.code == 0
    assert shown.out.startswith(begins)
    path = tmp_path / f"step{ending}"
    written = run(*homework, "--out", path)
    assert (written.code, written.out) == (0, f"wrote {path}\n")
    assert path.read_text() == shown.out
    other = run(*homework, "--out", tmp_path / "step.dat", "--format", form, "--json")
    assert json.loads(other.out)["steps"]
    assert (tmp_path / "step.dat").read_text() == shown.out


def test_inputs_are_never_replaced(refused, homework, tmp_path):
    message = refused(*homework, "--out", tmp_path / "w.json")
    assert "--out must be another file than --weights" in message
    assert json.loads((tmp_path / "w.json").read_text()) == WEIGHTS


def test_several_steps(run, homework):
    told = json.loads(run(*homework, "--steps", "3", "--json").out)["steps"]
    assert [step["step"] for step in told] == [0, 1, 2]
    assert told[2]["loss"]["row"] < told[0]["loss"]["row"]
