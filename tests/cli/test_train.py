"""glassprop train: from a table to a model, with everything that was decided written down."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest

import cases
import glassprop as gp
from glassprop.tables.model import load
from glassprop.tables.preparation import prepare
from glassprop.tables.reading import read_table

QUICK = ("--layers", "8", "--epochs", "30")


@pytest.fixture
def model(tmp_path):
    return tmp_path / "model.safetensors"


@pytest.fixture
def counts(tmp_path):
    """A CSV file of 300 rows with a count, a price, row weights and an identifier."""
    rng, path = np.random.default_rng(0), tmp_path / "table.csv"
    a, b = rng.normal(size=300), rng.uniform(size=300)
    columns = {"id": [f"r{i}" for i in range(300)], "a": a, "b": b, "w": rng.uniform(size=300)}
    pd.DataFrame(columns | {"count": rng.poisson(np.exp(a / 2)), "price": 100 + 20 * a + b}).to_csv(path, index=False)
    return path


def train(run, *arguments):
    """Train quickly, and give what --json says."""
    ended = run("train", *QUICK, *arguments, "--json")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.count("\n") == 1
    return json.loads(ended.out)


# --- what it says --------------------------------------------------------------------------------------------------------


def test_text(run, model):
    ended = run("train", "sklearn:iris", "--out", model, *QUICK)
    assert ended.code == 0
    for line in (
        "table     sklearn:iris: 150 rows, 4 inputs, target 'target'",
        "task      classification into 3 classes ('setosa', 'versicolor', 'virginica'), as 'target' holds text",
        "rows      120 to train on; 30 held out for scores",
        "network   4-8-3 relu; output softmax; 67 parameters; l2 0.025",
        "scores on test rows          model    baseline   (always 'setosa')",
        f"saved     {model} ({model.stat().st_size:,} bytes)",
    ):
        assert line in ended.out.splitlines()
    assert "epoch 30/30  loss+penalty " in ended.err
    ended = run("train", "sklearn:iris", "--out", model, *QUICK, "--l2", 0)
    assert "epoch 30/30  loss " in ended.err
    assert "\n  loss             " in run("info", model).out


def test_json(run, model):
    said = train(run, "sklearn:breast_cancer", "--out", model)
    assert set(said["metrics"]) == set(said["baseline"]) == {"accuracy", "log_loss", "roc_auc"}
    assert said["metrics"]["accuracy"] > 0.9 > said["baseline"]["accuracy"]
    assert said["baseline"]["roc_auc"] == 0.5
    assert said["rows"] == {"test": 114, "validation": 0, "train": 455}
    assert (said["scored_on"], said["task"], said["epochs"]) == ("test", "classification", 30)
    assert (said["diverged"], said["interrupted"]) == (False, False)


def test_quiet(run, model):
    assert run("train", "sklearn:iris", "--out", model, "--quiet", *QUICK) == (0, "", "")
    assert model.exists()


def test_numbers_to_predict(run, model):
    said = train(run, "sklearn:diabetes", "--out", model)
    assert set(said["metrics"]) == {"rmse", "mae", "r2"}
    assert said["metrics"]["rmse"] < said["baseline"]["rmse"]
    assert said["task"] == "regression"


@pytest.mark.parametrize("unit", [1e-300, 1e300])
def test_numbers_near_the_ends_of_the_range(run, model, tmp_path, unit):
    table, plain = read_table("sklearn:diabetes"), train(run, "sklearn:diabetes", "--out", model)
    table.assign(target=table.target * unit).to_csv(tmp_path / "t.csv", index=False)
    ended = run("train", tmp_path / "t.csv", "-t", "target", "--out", model, *QUICK)
    assert "warning" not in ended.err
    assert f"(always the mean, {load(model).preparation.center:.4g})\n" in ended.out
    scores = load(model).extra["training"]["metrics"]
    assert scores["rmse"] == pytest.approx(plain["metrics"]["rmse"] * unit, rel=1e-3)
    assert scores["r2"] == pytest.approx(plain["metrics"]["r2"], rel=1e-3)


def test_the_scores_are_of_rows_that_were_not_trained_on(run, model):
    said, table = train(run, "sklearn:iris", "--out", model), read_table("sklearn:iris")
    seen = [float(value) for value in load(model).preparation.means]
    everywhere = table.drop(columns="target").mean().to_list()
    assert seen != pytest.approx(everywhere, rel=1e-6)  # standardised without them
    assert said["rows"]["train"] + said["rows"]["test"] == 150


@pytest.mark.parametrize(
    ("fractions", "where"),
    [(("--test", "0"), "train"), (("--test", "0", "--validation", "0.2"), "validation"), (("--test", "0.5"), "test")],
)
def test_where_the_scores_come_from(run, model, fractions, where):
    said = train(run, "sklearn:iris", "--out", model, *fractions)
    assert said["scored_on"] == where
    assert "scores on " in run("train", "sklearn:iris", "--out", model, *fractions, *QUICK).out


@pytest.mark.parametrize("compiles", [False, True])
def test_a_time_that_includes_compiling_says_so(run, model, monkeypatch, compiles):
    monkeypatch.setattr("glassprop.core.stages.will_compile", lambda *given: compiles)
    out = run("train", "sklearn:iris", "--out", model, *QUICK).out
    assert out.count(" s (compiling included)\n") == compiles


def test_weights_are_announced(run, model, counts):
    ended = run("train", counts, "-t", "price", "--ignore", "id", "--weights", "w", "--out", model, *QUICK)
    assert "weights   'w'" in ended.out.splitlines()


# --- what it does --------------------------------------------------------------------------------------------------------


def test_same_seed_same_file(run, model, tmp_path):
    files = []
    for seed in (1, 1, 2):
        train(run, "sklearn:wine", "--out", model, "--seed", seed, "--dropout", 0.2)
        stored = load(model)
        files.append(stored.parameters.theta.tobytes())
    assert files[0] == files[1] != files[2]


def test_every_option_arrives(run, model, counts):
    said = train(
        run, counts, "--target", "price", "--ignore", "id,count", "--weights", "w", "--loss", "huber", "--delta", 2,
        "--layers", "6,5", "--activation", "tanh,gelu", "--dropout", "0,0.1", "--l2", 0.01, "--l1", 0.001,
        "--optimizer", "sgd", "--lr", 0.02, "--momentum", 0.9, "--nesterov", "--weight-decay", 0.001, "--clip-norm", 5,
        "--schedule", "one_cycle", "--batch-size", 20, "--epochs", 7, "--validation", 0.1, "--patience", 3, "--seed", 4,
        "--precision", "float64", "--init", "orthogonal", "--out", model,
    )  # fmt: skip
    stored, optimizer = load(model), said["optimizer"]
    assert stored.network == gp.Network(
        (2, 6, 5, 1), ["tanh", "gelu"], loss=gp.Loss("huber", delta=2.0), l2=0.01, l1=0.001, dropout=[0.0, 0.1]
    )
    assert stored.parameters.dtype == "float64"
    assert stored.preparation.inputs == ("a", "b")
    assert optimizer == {
        "name": "sgd", "momentum": 0.9, "nesterov": True, "weight_decay": 0.001, "clip_norm": 5.0, "layer_factors": None,
        "learning_rate": {
            "name": "OneCycle", "learning_rate": 0.02, "steps": 7 * 11, "start": 0.04, "final": 1e-4, "rise": 0.3,
        },
    }  # fmt: skip
    assert said["rows"] == {"test": 60, "validation": 24, "train": 216}
    for name, value in {"batch_size": 20, "epochs": 7, "patience": 3, "seed": 4, "init": "orthogonal", "weights": "w"}.items():
        assert said[name] == value
    ready = prepare(
        read_table(counts), "price", loss="huber", ignore=["id", "count"], weights="w", validation=0.1, test=0.2, seed=4
    )
    expected = stored.evaluate(read_table(counts).iloc[ready.test.rows], "w")
    assert said["metrics"] == expected != stored.evaluate(read_table(counts).iloc[ready.test.rows])


@pytest.mark.parametrize(
    ("options", "loss"),
    [
        (("--loss", "poisson"), gp.Loss("poisson")),
        (("--loss", "quantile", "--quantile", "0.9"), gp.Loss("quantile", quantile=0.9)),
        (("--quantile", "0.9"), gp.Loss("quantile", quantile=0.9)),
        (("--delta", "0.5"), gp.Loss("huber", delta=0.5)),
        (("--loss", "absolute_error"), gp.Loss("absolute_error")),
    ],
)
def test_losses(run, model, counts, options, loss):
    said = train(run, counts, "--target", "count", "--ignore", "id,price,w", "--out", model, *options)
    assert load(model).network.loss == loss
    extra = {"poisson": "mean_poisson_deviance", "quantile": "mean_pinball_loss"}
    assert set(said["metrics"]) - {"rmse", "mae", "r2"} == {extra[loss.name]} if loss.name in extra else True


@pytest.mark.parametrize("schedule", ["constant", "inverse_scaling", "exponential", "cosine", "one_cycle"])
def test_schedules_end_with_the_epochs(run, model, tmp_path, schedule):
    history = tmp_path / "history.csv"
    train(run, "sklearn:iris", "--out", model, "--schedule", schedule, "--lr", 0.01, "--history", history)
    rates = pd.read_csv(history).learning_rate
    assert len(rates) == 30
    last = {"constant": 1, "inverse_scaling": 120**-0.5, "exponential": 0.01, "cosine": 0, "one_cycle": 1e-4}[schedule]
    assert rates.iloc[-1] / 0.01 == pytest.approx(last, abs=0.001)


def test_stopping(run, model):
    said = train(run, "sklearn:digits", "--out", model, "--patience", 2, "--lr", 0.05)
    assert said["rows"]["validation"] == 144
    assert said["epochs"] < 30
    assert said["best_epoch"] == said["epochs"] - 2
    assert "did not improve for 2 epochs" in said["stopped"]


def test_no_hidden_layer(run, model):
    train(run, "sklearn:iris", "--out", model, "--layers", "none")
    assert load(model).network.layers == (4, 3)


def test_divergence_is_exit_code_1(run, model):
    ended = run("train", "sklearn:diabetes", "--out", model, "--optimizer", "sgd", "--lr", 1e6, "--quiet")
    assert ended.code == 1
    assert ended.err.startswith("glassprop: warning: diverged at step ")
    assert ended.err.count("\n") == 1
    assert np.isfinite(load(model).parameters.theta).all()


def test_ctrl_c_keeps_what_was_learned(run, model):
    train(run, "sklearn:iris", "--out", model)  # compiles
    model.unlink()
    command = [
        sys.executable,
        "-m",
        "glassprop",
        "train",
        "sklearn:iris",
        "--layers",
        "8",
        "--epochs",
        "100000000",
        "--out",
        model,
    ]
    for wait in (1, 4, 16):  # on a busy machine it may not have begun
        child = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        )
        assert child.stdout is not None
        while not child.stdout.readline().startswith("network"):
            assert child.poll() is None
        time.sleep(wait)
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=60)
        reached = re.search(r"interrupted in epoch (\d+)", out)
        if reached and int(reached[1]) > 1000:
            break
    assert child.returncode == 130, err
    assert f"glassprop: interrupted: the model is saved as {model}" in err
    assert f"saved     {model}" in out
    assert "Traceback" not in err
    assert load(model).evaluate(read_table("sklearn:iris"))["accuracy"] > 0.9


# --- columns --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def odd(tmp_path):
    """A CSV file with columns of row numbers, of one value, of weights, and one whose name has spaces, a comma and quotes."""
    rng, path = np.random.default_rng(0), tmp_path / "odd.csv"
    a, b = rng.normal(size=(2, 60))
    columns = {"a": a, "c": 5, "d": 0.1, "w": rng.uniform(size=60), ' "b", too': b, "price": 100 + 20 * a + b}
    pd.DataFrame(columns).to_csv(path)
    return path


def test_columns_of_one_value_and_without_a_name_are_announced(run, model, odd):
    ended = run("train", odd, "-t", "price", "--out", model, *QUICK)
    assert (
        "\nconstant  'c', 'd': the same in all rows trained on, which says nothing to the network (--ignore leaves columns "
        "out)\n"
        "unnamed   'Unnamed: 0': without a name in the file, perhaps row numbers (--ignore leaves columns out)\n"
    ) in ended.out
    ended = run("train", odd, "-t", "price", "--out", model, *QUICK, "--ignore", 'Unnamed: 0," ""b"", too",d,c')
    assert load(model).preparation.inputs == ("a", "w")
    assert "constant" not in ended.out
    assert "unnamed" not in ended.out


def test_weights_of_training_that_are_left_out_of_scores(run, model, odd):
    run("train", odd, "-t", "price", "--weights", "w", "--out", model, *QUICK)
    told = "\nweights   left out, where training used the column 'w' (--weights w)\n"
    assert told in run("evaluate", model, odd).out
    assert "left out" not in run("evaluate", model, odd, "--weights", "w").out
    run("train", odd, "-t", "price", "--ignore", "w", "--out", model, *QUICK)
    assert "left out" not in run("evaluate", model, odd).out


# --- precision -----------------------------------------------------------------------------------------------------------

BF16 = pytest.param("bf16", marks=cases.needs_bfloat16)


@pytest.mark.parametrize("option", ["--precision", "--dtype"])
@pytest.mark.parametrize("precision", ["float32", "float64", BF16])
def test_precisions_are_those_of_python(run, model, precision, option):
    said = train(run, "sklearn:diabetes", option, precision, "--l2", 0, "--schedule", "constant", "--out", model)
    dtype = "float64" if precision == "float64" else "float32"
    ready = prepare(read_table("sklearn:diabetes"), "target", test=0.2, seed=0, dtype=dtype)
    network = gp.Network((10, 8, 1))
    options = {"parameters": network.initialize(0, dtype=dtype), "optimizer": gp.Adam(), "epochs": 30, "seed": 0}
    wanted = gp.train(network, ready.train.X, ready.train.Y, precision=precision, **options)
    stored = load(model)
    assert said["precision"] == precision
    assert stored.parameters.dtype == dtype
    for mine, theirs in zip(stored.parameters.W, wanted.parameters.W, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert f"\n  precision        {precision}\n" in run("info", model).out


def test_a_run_saved_in_python_tells_its_precision(run, model):
    for dtype in ("float32", "float64"):
        gp.save(gp.train(gp.Network((2, 1)), np.eye(2, dtype=dtype), [1.0, 2.0], epochs=1, seed=0), model)
        assert f"\n  precision        {dtype}\n" in run("info", model).out


@cases.needs_bfloat16
def test_a_recorded_run_in_bf16_is_gone_back_to(run, model, tmp_path):
    train(run, "sklearn:diabetes", "--precision", "bf16", "--record", tmp_path / "run", "--out", model)
    step = json.loads(run("replay", tmp_path / "run", "--step", "5", "--json").out)["steps"][0]
    assert step["bfloat16"] is True
    steps = json.loads(run("replay", tmp_path / "run", "--watch", "W1[3,2]", "--json").out)
    assert steps["value"][-1] + steps["change"][-1] == pytest.approx(float(load(model).parameters.W[0][3, 2]), abs=1e-12)


def test_bf16_needs_its_instruction(refused, monkeypatch, model):
    monkeypatch.setattr("glassprop.core.bfloat16.has_bfloat16", lambda: False)
    message = refused("train", "sklearn:iris", "--precision", "bf16", "--out", model)
    assert message.startswith("precision 'bf16' needs a processor with products of bfloat16, AVX-512's (avx512_bf16) or Arm's")
    assert message.endswith(": take 'float32'")


def test_names_of_columns_are_taken_as_they_are(run, model, tmp_path):
    path, rng = tmp_path / "table.csv", np.random.default_rng(0)
    pd.DataFrame(rng.normal(size=(60, 5)), columns=["a", "b, c", " spaced", 'a "quoted" one', "y"]).to_csv(path, index=False)

    def inputs(ignored):
        assert (
            run("train", path, "-t", "y", "--ignore", ignored, "--out", model, "--layers", "4", "--epochs", 1, "-q").code == 0
        )
        return list(load(model).preparation.inputs)

    assert inputs('"b, c", spaced') == ["a", 'a "quoted" one']
    assert inputs(' spaced, a ,"b, c"') == ['a "quoted" one']
    assert inputs('a, "b, c"') == [" spaced", 'a "quoted" one']
    assert inputs('a "quoted" one, a') == ["b, c", " spaced"]
