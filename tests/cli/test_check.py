"""``glassprop check``: a table and a verdict, exit code 1 when a gradient is wrong, one line for misuse."""

import json

import pytest

import glassprop as gp
from glassprop.glass.differences import Objective


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    from glassprop.cli import main

    path = tmp_path_factory.mktemp("model") / "diabetes.safetensors"
    main(["train", "sklearn:diabetes", "--layers", "8", "--epochs", "3", "--out", str(path), "--quiet"])
    return path


def test_right_gradients_end_with_0(run, model):
    ended = run("check", model, "sklearn:diabetes")
    assert (ended.code, ended.err) == (0, "")
    assert "100 rows, the first as one batch" in ended.out
    assert "\nright: the largest relative error of 97 entries is " in ended.out


def test_json_is_one_object(run, model):
    ended = run("check", model, "sklearn:diabetes", "--rows", "3,5,8", "--entries", "4", "--json")
    facts = json.loads(ended.out)
    assert ended.code == 0
    assert (facts["passed"], facts["rows"]) == (True, 3)
    assert [tensor["entries"] for tensor in facts["tensors"]] == [4, 4, 4, 1]


def test_how_far_it_is_is_told_where_it_takes_long(run, model, monkeypatch):
    monkeypatch.setattr("glassprop.glass.checked.PATIENCE", 0.0)
    asked = ("check", model, "sklearn:diabetes", "--rows", "0:5", "--entries", "4")
    assert "gradient 13/13" in run(*asked).err
    assert run(*asked, "--json").err == ""


def test_a_wrong_gradient_ends_with_1(run, model, monkeypatch):
    right = Objective.gradient

    def wrong(objective):
        gradient = right(objective)
        gradient.W[1] *= 1.001
        return gradient

    monkeypatch.setattr(Objective, "gradient", wrong)
    ended = run("check", model, "sklearn:diabetes")
    assert ended.code == 1
    assert "- the gradient of W2 is 1.001 times what it should be" in ended.out
    ended = run("check", model, "sklearn:diabetes", "--json")
    assert (ended.code, json.loads(ended.out)["passed"]) == (1, False)


def test_the_rows_are_those_asked_for(run, model):
    from glassprop.tables.reading import read_table

    fitted, table = gp.load(model), read_table("sklearn:diabetes").iloc[10:13]
    X = fitted.preparation.inputs_of(table, "float32")
    Y = (fitted.preparation.truth_of(table) - fitted.preparation.target_mean) / fitted.preparation.target_scale
    loss = gp.check_gradients(fitted.network, fitted.parameters, X, Y.astype("float32"), entries=1).loss
    for given in (("--rows", "10:13"), ("--rows", "12, 10,11")):
        found = json.loads(run("check", model, "sklearn:diabetes", *given, "--json").out)["loss"]
        assert found == pytest.approx(loss, rel=1e-12)
    one = json.loads(run("check", model, "sklearn:diabetes", "--row", "10", "--json").out)
    assert one["rows"] == 1
    assert one["loss"] != pytest.approx(loss, rel=1e-3)


def test_classes_and_a_model_without_a_table(run, tmp_path):
    path, csv = tmp_path / "plain.safetensors", tmp_path / "data.csv"
    network = gp.Network((2, 3, 2), activation="tanh", loss="cross_entropy")
    gp.save(gp.Model(network, network.initialize(0)), path)
    csv.write_text("a,b,class\n0.5,1,0\n-1,2,1\n")
    assert run("check", path, csv).code == 0
    csv.write_text("a,b\n0.5,1\n-1,2\n")
    ended = run("check", path, csv)
    assert ended.code == 2
    assert "this one must hold 2 columns of inputs, then those of the targets; it has 2" in ended.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--entries", "0"), "--entries must be a whole number of at least 1, or all; got '0'"),
        (("--entries", "some"), "--entries must be a whole number"),
        (("--row", "442"), "--row must be from 0 to 441, as the table has 442 rows; got 442"),
        (("--rows", "1,442"), "--rows must be from 0 to 441, as the table has 442 rows; got 442"),
        (("--rows", "9:9"), "--rows FIRST:LAST is without the last, and '9:9' names no row; 9:10 does"),
        (("--rows", ":0"), "--rows FIRST:LAST is without the last, and ':0' names no row; 0:1 does"),
        (("--rows", "a:9"), "--rows must be numbers with commas, or FIRST:LAST without the last; got 'a:9'"),
        (("--rows", "x"), "--rows must be row numbers, with commas between them; got 'x'"),
        (("--row", "1", "--rows", "2"), "give --row or --rows, not both"),
    ],
)
def test_misuse(refused, model, arguments, message):
    assert message in refused("check", model, "sklearn:diabetes", *arguments)


def test_another_table_and_no_model(refused, model, tmp_path):
    assert "target" in refused("check", model, "sklearn:iris")
    assert "no such model" in refused("check", tmp_path / "none.safetensors", "sklearn:iris")
