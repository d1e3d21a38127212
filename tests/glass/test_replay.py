"""replay: every step of a recorded run comes back in every bit, for every rule, with dropout, and nothing else does."""

import json
import os
import re

import numpy as np
import pytest

import cases
import glassprop as gp
from glassprop.core.workspace import Workspace
from glassprop.training import loop as loops
from glassprop.training import record as records

LAYERS = (3, 7, 5, 3)


def data(rows=23, dtype=np.float64, weighted=False):
    case = cases.case(LAYERS, loss="cross_entropy", rows=rows, weighted=weighted)
    return case.X.astype(dtype), case.Y, None if case.weights is None else case.weights.astype(dtype)


@pytest.fixture
def every_step(monkeypatch):
    """What the core had in memory before each step of training, in `every_step[step]`: theta and state."""
    monkeypatch.setattr(loops, "SECONDS_PER_CALL", 1e-9)  # a call for every step
    seen, inner = {}, Workspace.run

    def run(work, first, last, parts):
        if work.arrays["state"] is not None and parts & 8 and parts & 16:
            seen[first] = (work["theta"].copy(), work["state"].copy())
        reached = inner(work, first, last, parts)
        if work.arrays["state"] is not None and parts & 8 and parts & 16:
            seen[reached] = (work["theta"].copy(), work["state"].copy())
        return reached

    monkeypatch.setattr(Workspace, "run", run)
    return seen


def network(**given):
    return gp.Network(LAYERS, activation="silu", loss="cross_entropy", dropout=0.3, l2=0.01, **given)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", cases.RULES)
def test_every_step_comes_back_in_every_bit(name, dtype, every_step, tmp_path, monkeypatch):
    monkeypatch.setattr(records, "SHARE", 1e-12)  # a checkpoint at the start and at the end alone
    rule, _ = cases.rules(name, gp.Cosine(0.02, steps=40), clip_norm=0.5, weight_decay=0.02)
    X, Y, weights = data(dtype=dtype, weighted=True)
    run = gp.train(network(), X, Y, weights=weights, optimizer=rule, epochs=8, batch_size=5, seed=3, record=tmp_path / "run")
    truth = dict(every_step)
    assert sorted(truth) == list(range(41))
    recorded = gp.replay(tmp_path / "run", X, Y, weights=weights)
    assert [records.step_of(path) for path in records.checkpoints(tmp_path / "run")] == [0, 40]
    for step in (0, 1, 4, 5, 17, 23, 39, 40):
        back = recorded.at(step)
        assert back.parameters.theta.tobytes() == truth[step][0].tobytes()
        assert back._checkpoint["state"].tobytes() == truth[step][1].tobytes()
    assert np.array_equal(recorded.at(40).parameters.theta, run.parameters.theta)


@pytest.mark.parametrize("given", [{"validation": 0.2}, {"shuffle": False}, {"batch_size": 100}, {"batch_size": 1}])
def test_other_ways_to_train_come_back_too(given, every_step, tmp_path):
    X, Y, _ = data()
    gp.train(network(), X, Y, optimizer=gp.Adam(0.01), seed=1, record=tmp_path, **({"epochs": 6, "batch_size": 4} | given))
    truth, recorded = dict(every_step), gp.replay(tmp_path, X, Y)
    for step in range(0, recorded.steps + 1, 3):
        assert np.array_equal(recorded.at(step).parameters.theta, truth[step][0])


@pytest.mark.parametrize(
    "precision",
    [
        "float32",
        pytest.param("bf16", marks=cases.needs_bfloat16),
    ],
)
def test_the_precision_asked_for_comes_back(precision, every_step, tmp_path):
    X, Y, _ = data()
    run = gp.train(network(), X, Y, epochs=4, batch_size=5, seed=3, precision=precision, record=tmp_path / "run")
    recorded = gp.replay(tmp_path / "run", X, Y)
    assert recorded.at(7).parameters.theta.tobytes() == every_step[7][0].tobytes()
    assert recorded.at(20).parameters.theta.tobytes() == run.parameters.theta.tobytes()
    assert recorded.explain(7)


def test_from_checkpoints_in_between(every_step, tmp_path, monkeypatch):
    monkeypatch.setattr(records, "SHARE", 1e12)  # a checkpoint after every call, here after every step
    monkeypatch.setattr(records, "MOST", 7)
    X, Y, _ = data()
    gp.train(network(), X, Y, epochs=10, batch_size=5, seed=1, record=tmp_path)
    kept = [records.step_of(path) for path in records.checkpoints(tmp_path)]
    assert (kept[0], kept[-1]) == (0, 50)
    assert 3 < len(kept) <= 8
    recorded = gp.replay(tmp_path, X, Y)
    for step in (3, 26, 49):
        assert np.array_equal(recorded.at(step).parameters.theta, every_step[step][0])


def test_recording_changes_no_bit_and_a_run_recorded_may_go_on(tmp_path):
    X, Y, _ = data()
    plain = gp.train(network(), X, Y, epochs=9, batch_size=5, seed=1)
    run = gp.train(network(), X, Y, epochs=5, batch_size=5, seed=1, record=tmp_path).resume(4)
    assert np.array_equal(run.parameters.theta, plain.parameters.theta)
    recorded = gp.replay(tmp_path, X, Y)
    assert (recorded.steps, recorded.epochs) == (45, 9)
    more = recorded.at(17).resume(2)  # from the middle of epoch 4, to the end of epoch 5
    assert np.array_equal(more.parameters.theta, recorded.at(25).parameters.theta)
    assert more.history.loss[:3].tolist() == plain.history.loss[:3].tolist()


def test_a_users_own_activation_and_learning_rate_are_asked_for(tmp_path):
    own = gp.Activation("bent_here", lambda g: ((g * g + 1) ** 0.5 - 1) / 2 + g, lambda g: g / (2 * (g * g + 1) ** 0.5) + 1)
    X, Y, _ = data()
    mine = gp.Network(LAYERS, activation=own, loss="cross_entropy")

    def rate(step):
        return 0.1 / (step + 1)

    run = gp.train(mine, X, Y, optimizer=gp.SGD(rate), epochs=3, seed=0, record=tmp_path)
    with pytest.raises(ValueError, match="uses the activation 'bent_here': give activations="):
        gp.replay(tmp_path, X, Y)
    with pytest.raises(ValueError, match="learning_rate must be given: the run had a function of its author's"):
        gp.replay(tmp_path, X, Y, activations={"bent_here": own})
    recorded = gp.replay(tmp_path, X, Y, activations={"bent_here": own}, learning_rate=rate)
    assert np.array_equal(recorded.at(recorded.steps).parameters.theta, run.parameters.theta)


def test_a_users_own_loss_is_asked_for(tmp_path):
    own = gp.Loss("bent_here", value=lambda h, y: (h - y) ** 4, slope=lambda h, y: 4 * (h - y) ** 3)
    X, Y, _ = data()
    mine = gp.Network((*LAYERS[:-1], 1), activation="tanh", loss=own)
    run = gp.train(mine, X, Y, epochs=3, batch_size=5, seed=0, record=tmp_path)
    with pytest.raises(ValueError, match=r"uses the loss 'bent_here': give losses=\{'bent_here': your glassprop.Loss\}$"):
        gp.replay(tmp_path, X, Y)
    recorded = gp.replay(tmp_path, X, Y, losses={"bent_here": own})
    assert np.array_equal(recorded.at(7).resume(2).parameters.theta, run.parameters.theta)
    assert recorded.explain(7, row=2).steps[0].check.passed


# --- what a step looks like ----------------------------------------------------------------------------------------------


def test_a_step_is_explained_with_its_dropout(every_step, tmp_path):
    X, Y, _ = data()
    gp.train(network(), X, Y, optimizer=gp.Adam(0.01), epochs=4, batch_size=5, seed=1, record=tmp_path)
    recorded = gp.replay(tmp_path, X, Y)
    moment, rows = recorded.moment(7)
    assert moment.drops
    assert np.array_equal(moment.X, X[rows])
    assert np.array_equal(moment.after.parameters.theta, every_step[8][0])
    shown = recorded.explain(7, row=2, steps=2)
    assert len(shown.steps) == 2
    assert f"(row {rows[2]} of the table, in epoch 2)" in " ".join(shown.to_text().split())


def test_one_weight_is_followed_through_every_step(every_step, tmp_path):
    X, Y, _ = data()
    run = gp.train(network(), X, Y, optimizer=gp.SGD(0.1), epochs=4, batch_size=5, seed=1, record=tmp_path)
    recorded = gp.replay(tmp_path, X, Y)
    for name, view in (("W1[2,6]", lambda p: p.W[0][2, 6]), ("b2[4]", lambda p: p.b[1][4])):
        watched = recorded.watch(name)
        truth = [view(run.parameters.with_theta(every_step[step][0])) for step in range(21)]
        assert watched.steps.step.tolist() == list(range(20))
        assert np.array_equal(watched.steps.value, truth[:20])
        assert np.array_equal(watched.steps.change, np.diff(truth))
        assert np.allclose(-0.1 * watched.steps.gradient, watched.steps.change, rtol=1e-9, atol=1e-16)
    part = recorded.watch(" W1[2, 6] ", 7, 9)
    assert np.array_equal(part.steps.value, recorded.watch("W1[2,6]").steps.value[7:9])
    lines = part.to_csv().splitlines()
    assert lines[0] == "step,value,gradient,change,loss"
    assert float(lines[1].split(",")[1]) == part.steps.value[0]
    part.plot().savefig(tmp_path / "part.png")
    assert (tmp_path / "part.png").stat().st_size > 5_000


def test_the_step_that_diverged_is_found(tmp_path):
    X, _, _ = data(60)
    wild = gp.Network((3, 8, 1))
    with pytest.warns(gp.DivergenceWarning) as caught:
        run = gp.train(wild, 5 * X, X[:, :1], optimizer=gp.SGD(0.5), epochs=500, batch_size=10, seed=0, record=tmp_path)
    step = int(str(caught[0].message).split("step ")[1].split()[0])
    recorded = gp.replay(tmp_path, 5 * X, X[:, :1])
    assert (recorded.diverged, recorded.steps, recorded.stopped) == (True, step, run.stopped)
    rows = recorded.divergence()
    assert rows.step[-1] == step
    assert not np.isfinite([rows.loss[-1], rows.gradient_norm[-1]]).all()
    assert np.isfinite(rows.loss[:-1]).all()
    assert np.array_equal(recorded.at(step).parameters.theta, run._theta)
    assert recorded.at(step).predict(X).shape == (60, 1)


def test_a_run_that_did_not_diverge_says_so(tmp_path):
    X, Y, _ = data()
    gp.train(network(), X, Y, epochs=2, seed=0, record=tmp_path)
    with pytest.raises(ValueError, match="the run did not diverge: 2 epochs done"):
        gp.replay(tmp_path, X, Y).divergence()


# --- what is on disk, and refusals ---------------------------------------------------------------------------------------


@pytest.fixture
def recorded(tmp_path):
    X, Y, _ = data()
    gp.train(network(), X, Y, epochs=3, batch_size=5, seed=0, record=tmp_path / "runs" / "first")
    return tmp_path / "runs" / "first", X, Y


def test_a_folder_holds_data_alone(recorded):
    folder, *_ = recorded
    assert {path.suffix for path in folder.iterdir()} == {".json", ".safetensors"}
    facts = json.loads((folder / "run.json").read_text())
    assert facts["network"]["layers"] == list(LAYERS)
    assert facts["optimizer"]["name"] == "adam"


def test_a_run_that_was_broken_off_comes_back_to_its_last_checkpoint(recorded):
    """As a power cut leaves it: how it ended has not been written."""
    folder, X, Y = recorded
    whole = gp.replay(folder, X, Y).at(15)
    facts = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(facts | {"steps": 0, "epochs": 0, "stopped": ""}))
    (folder / "history.safetensors").unlink()
    broken = gp.replay(folder, X, Y)
    assert (broken.steps, broken.epochs) == (15, 3)
    assert broken.stopped == "broken off; its last checkpoint is that of step 15"
    run = broken.at(15)
    np.testing.assert_array_equal(run.parameters.theta, whole.parameters.theta)
    assert run.history.epoch.tolist() == [1, 2, 3]
    assert np.isnan(run.history.loss).all()
    np.testing.assert_array_equal(run.resume(epochs=2).parameters.theta, whole.resume(epochs=2).parameters.theta)


def test_changed_data_are_said_to_have_changed(recorded):
    folder, X, Y = recorded
    other = X.copy()
    other[4, 1] += 1e-9
    with pytest.raises(ValueError, match="the data have changed: X holds other numbers than when the run was recorded"):
        gp.replay(folder, other, Y)
    with pytest.raises(ValueError, match=r"the data have changed: X was of shape \(23, 3\), and is of \(22, 3\)"):
        gp.replay(folder, X[1:], Y[1:])
    with pytest.raises(ValueError, match="the data have changed: Y holds other numbers"):
        gp.replay(folder, X, np.roll(Y, 1))
    with pytest.raises(ValueError, match="weights: the run had none"):
        gp.replay(folder, X, Y, weights=np.ones(len(X)))


def test_where_nothing_can_be_recorded(recorded, tmp_path):
    folder, X, Y = recorded
    with pytest.raises(ValueError, match="holds a recorded run already; choose another folder, or remove it first"):
        gp.train(network(), X, Y, epochs=1, record=folder)
    with pytest.raises(TypeError, match="record must be the path of a folder; got bool"):
        gp.train(network(), X, Y, epochs=1, record=True)
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="record must be a folder"):
        gp.train(network(), X, Y, epochs=1, record=tmp_path / "file")


def test_what_is_no_recorded_run(recorded, tmp_path):
    folder, X, Y = recorded
    with pytest.raises(FileNotFoundError, match="no such recorded run; did you mean"):
        gp.replay(folder.parent / "frist", X, Y)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="not a recorded run"):
        gp.replay(tmp_path / "empty", X, Y)
    text = (folder / "run.json").read_text()
    for spoilt, message in (
        (text[:50], "its run.json is damaged"),
        ("[]", "not a recorded run of glassprop"),
        (text.replace('"format_version": 2', '"format_version": 99'), "recorded in format 99"),
        (text.replace('"seed"', '"sead"'), "its run.json is damaged"),
        (text.replace('"silu"', '"silly"'), "uses the activation 'silly'"),
    ):
        (folder / "run.json").write_text(spoilt)
        with pytest.raises(ValueError, match=message):
            gp.replay(folder, X, Y)
    (folder / "run.json").write_text(text)
    checkpoint = records.checkpoints(folder)[0]
    checkpoint.write_bytes(checkpoint.read_bytes()[:100])
    with pytest.raises(ValueError, match="damaged or cut short"):
        gp.replay(folder, X, Y).at(1)
    os.remove(checkpoint)
    with pytest.raises(ValueError, match="its first checkpoint is missing"):
        gp.replay(folder, X, Y)


@pytest.mark.parametrize("step", [-1, 16, 1.5, True])
def test_steps_that_are_not_there(recorded, step):
    folder, X, Y = recorded
    with pytest.raises(
        ValueError, match="step must be a whole number from 0 to 15, the step that would come after those of the run"
    ):
        gp.replay(folder, X, Y).at(step)


def test_a_step_after_the_last_is_said_not_to_have_been_taken(recorded):
    folder, X, Y = recorded
    run = gp.replay(folder, X, Y)
    names = [step.row_name for step in run.explain(14, steps=3).steps]
    assert ["did not take" in name for name in names] == [False, True, True]
    assert names[1].endswith(f"of the table, in epoch {15 // run.steps_per_epoch + 1}, in a step that the run did not take")
    assert names[1] in " ".join(run.explain(15).to_text().split())


def test_what_was_watched_is_written_where_pandas_would(recorded, tmp_path):
    folder, X, Y = recorded
    watched = gp.replay(folder, X, Y).watch("b1[0]")
    assert watched.to_csv(tmp_path / "b.csv") is None
    assert (tmp_path / "b.csv").read_text() == watched.to_csv()
    assert watched.to_csv().startswith("step,value,gradient,change,loss\n0,")


def test_a_folder_is_not_said_to_be_meant_as_a_file(recorded, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "steps.csv").write_text("a")
    with pytest.raises(FileNotFoundError, match=r"stepz: no such recorded run$"):
        gp.replay("stepz", *recorded[1:])
    (tmp_path / "steps").mkdir()
    with pytest.raises(FileNotFoundError, match=r"stepz: no such recorded run; did you mean 'steps'\?"):
        gp.replay("stepz", *recorded[1:])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("W4[0,0]", "W4.*: the network has layers 1 to 3"),
        ("W1[3,0]", r'W1 is of shape \(3, 7\), entries from 0; the last is "W1\[2,6\]"$'),
        ("W1[0]", r'W1 is of shape \(3, 7\), entries from 0; the last is "W1\[2,6\]"$'),
        ("b1[7]", r'b1 is of shape \(7,\), entries from 0; the last is "b1\[6\]"$'),
        *(
            (name, r'the entry must be written as "W1\[2,6\]" or "b1\[6\]", layers from 1, entries from 0; got')
            for name in ("w1", "W1", "W1[2][6]", "W1(2,6)", "W[2,6]", "W1[-1,0]", 3)
        ),
    ],
)
def test_entries_that_are_not_there(recorded, name, message):
    folder, X, Y = recorded
    with pytest.raises(ValueError, match=message) as caught:
        gp.replay(folder, X, Y).watch(name)
    for example in re.findall('"(.*?)"', str(caught.value)):  # which can be taken as it is
        assert len(gp.replay(folder, X, Y).watch(example, 0, 1).steps) == 1
    with pytest.raises(ValueError, match="last must be greater than first, 3; got 3"):
        gp.replay(folder, X, Y).watch("b1[0]", 3, 3)


def test_checkpoints_take_a_hundredth_of_the_time(tmp_path, monkeypatch):
    """By a clock that is a second further whenever it is read: a checkpoint takes one, then a hundred readings pass."""
    from types import SimpleNamespace

    readings = iter(range(10_000))
    monkeypatch.setattr(records, "time", SimpleNamespace(perf_counter=lambda: float(next(readings))))
    monkeypatch.setattr(loops, "SECONDS_PER_CALL", 1e-9)  # a call for every step
    X, Y, _ = data()
    gp.train(network(), X, Y, epochs=100, batch_size=5, seed=0, record=tmp_path)
    kept = [records.step_of(path) for path in records.checkpoints(tmp_path)]
    assert 99 <= np.diff(kept[:-1]).min() <= np.diff(kept[:-1]).max() <= 103
