"""``glassprop diagnose``: layers and findings, exit code 1 when something is wrong, a picture on request."""

import json

import pytest


@pytest.fixture(scope="module")
def healthy(tmp_path_factory):
    from glassprop.cli import main

    path = tmp_path_factory.mktemp("model") / "cancer.safetensors"
    main(["train", "sklearn:breast_cancer", "--layers", "16", "--epochs", "60", "--out", str(path), "--quiet"])
    return path


def test_a_healthy_model_ends_with_0(run, healthy):
    ended = run("diagnose", healthy, "sklearn:breast_cancer")
    assert (ended.code, ended.err) == (0, "")
    assert "sklearn:breast_cancer: 455 rows it was trained on, 114 held out then" in ended.out
    assert ended.out.endswith("nothing is found to be wrong\n")


def test_a_sick_one_ends_with_1_as_text_and_json(run, tmp_path):
    path = tmp_path / "digits.safetensors"
    layers = ",".join(["32"] * 8)
    run(
        "train",
        "sklearn:digits",
        "--layers",
        layers,
        "--activation",
        "sigmoid",
        "--optimizer",
        "sgd",
        "--epochs",
        "3",
        "--out",
        path,
    )
    ended = run("diagnose", path, "sklearn:digits")
    assert ended.code == 1
    assert "vanishing gradients: " in ended.out
    ended = run("diagnose", path, "sklearn:digits", "--json")
    facts = json.loads(ended.out)
    assert (ended.code, facts["healthy"], facts["findings"][0]["name"]) == (1, False, "vanishing gradients")


def test_a_model_whose_training_diverged_is_told_of_that(run, tmp_path):
    model = tmp_path / "m.safetensors"
    given = ("--optimizer", "sgd", "--schedule", "constant", "--lr", "50", "--epochs", "3", "--out", model, "--quiet")
    assert run("train", "sklearn:diabetes", *given).code == 1
    ended = run("diagnose", model, "sklearn:diabetes")
    assert ended.code == 1
    assert "divergence: diverged at step" in ended.out


def test_another_table_is_not_split(run, healthy, tmp_path):
    from glassprop.tables.reading import read_table

    read_table("sklearn:breast_cancer").iloc[:200].to_csv(tmp_path / "part.csv", index=False)
    facts = json.loads(run("diagnose", healthy, tmp_path / "part.csv", "--json").out)
    assert (facts["rows"], facts["validation_loss"]) == (200, None)


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_a_picture(run, healthy, tmp_path, ending):
    ended = run("diagnose", healthy, "sklearn:breast_cancer", "--plot", tmp_path / f"layers.{ending}")
    assert ended.out.endswith(f"wrote {tmp_path / f'layers.{ending}'}\n")
    assert (tmp_path / f"layers.{ending}").stat().st_size > 5_000


def test_misuse(refused, healthy, tmp_path):
    asked = ("diagnose", healthy, "sklearn:breast_cancer", "--plot")
    assert "--plot must be a file name that ends in .png, .svg or .pdf" in refused(*asked, tmp_path / "layers.jpg")
    assert "there is no folder" in refused(*asked, tmp_path / "none" / "layers.png")
    assert "no such model" in refused("diagnose", tmp_path / "none.safetensors", "sklearn:iris")
