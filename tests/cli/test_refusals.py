"""What a person did wrong gets one line, exit code 2, and no traceback."""

import os

import pytest

on_linux = pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="a folder where even root makes no files")
IRIS = ("train", "sklearn:iris", "--out", "OUT")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("trian",), "No such command 'trian'. Did you mean 'train'? (see glassprop --help)"),
        (("train", "sklearn:iris"), "Missing option '--out' / '-o'. (see glassprop train --help)"),
        (("train", "sklearn:iris", "--out", "OUT", "--tarket", "y"), "No such option: --tarket"),
        ((*IRIS, "--epochs", "x"), "Invalid value for '--epochs'"),
        ((*IRIS, "--epochs", "0"), "Invalid value for '--epochs'"),
        ((*IRIS, "--batch-size", "0"), "Invalid value for '--batch-size'"),
        ((*IRIS, "--seed", "-1"), "Invalid value for '--seed'"),
        ((*IRIS, "--patience", "-1"), "Invalid value for '--patience'"),
        (
            (*IRIS, "--patience", "5", "--validation", "0"),
            "--patience needs rows to judge by; give --validation a fraction above 0",
        ),
        ((*IRIS, "--test", "1"), "test must be a fraction, at least 0 and below 1; got 1.0"),
        ((*IRIS, "--layers", "8,x"), "layers must be whole numbers, with commas between them; got '8,x'"),
        ((*IRIS, "--layers", "0"), "layers must be at least 1; got 0 in (4, 0, 3)"),
        ((*IRIS, "--activation", "relo"), "got 'relo'; did you mean 'relu'?"),
        (
            (*IRIS, "--activation", "relu,tanh,relu"),
            "activation must be one name or one for each of the 2 hidden layers; got 3",
        ),
        (
            (*IRIS, "--layers", "32,,16"),
            "layers must be whole numbers, with commas between them; got '32,,16', where one is empty",
        ),
        ((*IRIS, "--layers", "none", "--dropout", "0.1"), "--dropout is of hidden layers, and --layers none leaves none"),
        ((*IRIS, "--layers", "", "--activation", "relu"), "--activation is of hidden layers, and --layers '' leaves none"),
        *(
            (
                (*IRIS, *loss, "--output-activation", "sigmoid"),
                "--output-activation sigmoid does not go with the loss cross_entropy",
            )
            for loss in ((), ("--loss", "cross_entropy"))
        ),
        (
            ("train", "sklearn:diabetes", "--out", "OUT", "--loss", "poisson", "--output-activation", "identity"),
            "--output-activation identity does not go with the loss poisson, whose outputs are those of exp: leave it out",
        ),
        ((*IRIS, "--output-activation", "softmx"), "got 'softmx'; did you mean 'softmax'?"),
        (
            (*IRIS, "--ignore", "a,,b"),
            "--ignore must be names of columns with commas between them; got 'a,,b', where one is empty",
        ),
        (
            (*IRIS, "--ignore", 'a,"b'),
            "--ignore must be names of columns with commas between them, those with commas in quotes, as 'a,\"b, c\"' (",
        ),
        ((*IRIS, "--ignore", "petal width (cm), petal"), "ignore must be a column of the table; got ' petal'; it has"),
        ((*IRIS, "--activation", ""), "activation must be one name or one for each of the 2 hidden layers; got 0"),
        ((*IRIS, "--dropout", "1"), "dropout must be at least 0 and below 1; got 1.0"),
        ((*IRIS, "--dropout", "x"), "dropout must be rates, with commas between them; got 'x'"),
        ((*IRIS, "--l2", "-1"), "l2 must be at least 0"),
        ((*IRIS, "--loss", "hubr"), "got 'hubr'; did you mean 'huber'?"),
        (
            (*IRIS, "--loss", "cross_entropy", "--delta", "1"),
            "--delta goes with the loss huber; the loss is cross_entropy",
        ),
        ((*IRIS, "--label-smoothing", "1"), "label_smoothing of loss 'cross_entropy' must be at least 0 and below 1; got 1.0"),
        ((*IRIS, "--optimizer", "adm"), "got 'adm'; did you mean 'adam'?"),
        ((*IRIS, "--learning-rate", "0"), "--learning-rate must be greater than 0; got 0"),
        ((*IRIS, "--lr", "-1"), "--learning-rate must be greater than 0; got -1"),
        ((*IRIS, "--lr", "nan"), "--learning-rate must be greater than 0; got nan"),
        (
            (*IRIS, "--loss", "half_squared_error", "--label-smoothing", "0.1"),
            "--label-smoothing goes with the cross-entropies; the loss is half_squared_error",
        ),
        ((*IRIS, "--delta", "1"), "--delta goes with the loss huber; 'target' holds text"),
        ((*IRIS, "--quantile", "0.5"), "--quantile goes with the loss quantile; 'target' holds text"),
        (
            ("train", "sklearn:diabetes", "--out", "OUT", "--label-smoothing", "0.1"),
            "--label-smoothing goes with the cross-entropies; 'target' holds 214 different numbers",
        ),
        (("train", "sklearn:iris", "--out", "OUT", "--history", "OUT"), "--history must be another file than --out '"),
        ((*IRIS, "--momentum", "0.9"), "--momentum goes with --optimizer sgd; got 'adam'"),
        ((*IRIS, "--nesterov"), "--nesterov goes with --optimizer sgd; got 'adam'"),
        ((*IRIS, "--clip-norm", "0"), "clip_norm of Adam must be > 0"),
        ((*IRIS, "--schedule", "cosin"), "got 'cosin'; did you mean 'cosine'?"),
        (
            (*IRIS, "--precision", "bf61"),
            "precision must be one of 'float32', 'float64', 'bf16'; got 'bf61'; did you mean 'bf16'?",
        ),
        ((*IRIS, "--init", "zero"), "got 'zero'; did you mean 'zeros'?"),
        ((*IRIS, "--target", "targte"), "target must be a column of the table; got 'targte', did you mean 'target'?"),
        (("train", "sklearn:irs", "--out", "OUT"), "got 'irs'; did you mean 'iris'?"),
        (("train", "nofile.csv", "--target", "y", "--out", "OUT"), "nofile.csv: no such file"),
        (("train", "sklearn:iris", "--out", "no/such/folder/m"), "make it first"),
        (("train", "sklearn:iris", "--out", "."), ".: is a folder; give the name of a file in it"),
        ((*IRIS, "--history", "no/such/folder/h"), "make it first"),
        pytest.param(("train", "sklearn:iris", "--out", "/proc/m"), "/proc/m: may not be written (", marks=on_linux),
        (("evaluate", "nomodel", "sklearn:iris"), "nomodel: no such model"),
        (("predict", "nomodel", "sklearn:iris", "--out", "."), ".: is a folder"),
        (("info", "nomodel.safetensors"), "nomodel.safetensors: no such model"),
        (("info", "nofile.csv"), "nofile.csv: no such file"),
    ],
)
def test_refusals(refused, tmp_path, arguments, message):
    out = tmp_path / "model.safetensors"
    assert message in refused(*(str(out) if argument == "OUT" else argument for argument in arguments))
    assert not out.exists()


def test_a_csv_file_needs_a_target(refused, tmp_path):
    (tmp_path / "t.csv").write_text("a,b\n1,2\n")
    message = refused("train", tmp_path / "t.csv", "--out", tmp_path / "m")
    assert message == "--target must name the column to predict; the table has a, b"
    (tmp_path / "t.csv").write_text("1,2\n3,4\n")
    message = refused("train", tmp_path / "t.csv", "--out", tmp_path / "m")
    assert message.endswith("the table has 1, 2; these look like numbers of a first row: put a line of column names above it")


def test_a_table_is_not_a_model(refused, tmp_path):
    (tmp_path / "t.csv").write_text("a,b\n1,2\n")
    message = refused("evaluate", tmp_path / "t.csv", tmp_path / "t.csv")
    assert message == f"{tmp_path / 't.csv'}: not a glassprop model (not a safetensors file)"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train", "t.csv", "-t", "y", "-o", "t.csv"), "--out must be another file than the table 't.csv'"),
        (("train", "t.csv", "-t", "y", "-o", "link.csv"), "--out must be another file than the table 't.csv'"),
        (
            ("train", "t.csv", "-t", "y", "-o", "m", "--history", "./t.csv"),
            "--history must be another file than the table 't.csv'",
        ),
        (("train", "t.csv", "-t", "y", "-o", "new", "--history", "./new"), "--history must be another file than --out 'new'"),
        (("predict", "m", "t.csv", "-o", "t.csv"), "--out must be another file than the table 't.csv'"),
        (("predict", "m", "t.csv", "-o", "m"), "--out must be another file than the model 'm'"),
    ],
)
def test_outputs_never_replace_inputs_or_each_other(refused, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    for name in ("t.csv", "m"):
        (tmp_path / name).write_text("a,y\n1,2\n")
    (tmp_path / "link.csv").symlink_to("t.csv")
    assert refused(*arguments) == message
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.csv", "m", "t.csv"]
    assert (tmp_path / "t.csv").read_text() == (tmp_path / "m").read_text() == "a,y\n1,2\n"


def test_a_table_that_is_too_small(refused, tmp_path):
    (tmp_path / "t.csv").write_text("a,y\n1,0\n2,1\n")
    message = refused("train", tmp_path / "t.csv", "-t", "y", "-o", tmp_path / "m")
    assert message == (
        "1 row is left of 2 to train on, too few to learn from: hold out fewer (--test 0 for none), or give more rows"
    )


def test_a_full_disk(refused, run, tmp_path):
    run("train", "sklearn:iris", "--layers", "8", "--epochs", "1", "--out", tmp_path / "m", "--quiet")
    assert "No space left on device" in refused("predict", tmp_path / "m", "sklearn:iris", "--out", "/dev/full")
