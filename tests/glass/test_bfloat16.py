"""Steps in bfloat16, explained as they were taken: the factors shown make the numbers that the core had in memory."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import cases
import glassprop as gp
from glassprop.core import bfloat16
from glassprop.core.panels import read_panels
from glassprop.glass.explain import _of_run
from glassprop.glass.moment import to_bfloat16
from glassprop.glass.page import page_data

pytestmark = cases.needs_bfloat16
CLOSE = 2e-6  # of the terms of a sum: rounding of float32


def recorded(tmp_path, layers=(3, 7, 5, 3), rows=23, dropout=0.0, weighted=False, epochs=6, **described):
    """A run in bf16, and what it left."""
    case = cases.case(layers, rows=rows, weighted=weighted, dropout=[dropout] * (len(layers) - 2), **described)
    X, Y, weights = case.X.astype("f"), case.Y, case.weights
    rule = gp.Adam(0.01, clip_norm=0.5, weight_decay=0.02)
    given = {"optimizer": rule, "epochs": epochs, "batch_size": 5, "seed": 3, "weights": weights, "precision": "bf16"}
    run = gp.train(case.network, X, Y, record=tmp_path / "run", **given)
    return run, gp.replay(tmp_path / "run", X, Y, weights=weights)


def apart(terms, total):
    """How far a sum is from what was shown, over the size of its terms."""
    terms = np.array([np.ravel(term) for term in terms])
    return np.max(np.abs(terms.sum(0) - np.ravel(total)) / np.abs(terms).sum(0).clip(1e-30))


def assert_adds_up(step):
    for l, layer in enumerate(step.layers):
        for j in range(len(layer.units)):
            terms = [*(layer.factors[:, j] * layer.below), layer.rest[j], layer.biases.old[j]]
            assert apart(terms, layer.g[j]) < CLOSE
        if l < len(step.layers) - 1:
            upper = step.layers[l + 1]
            for j in range(len(layer.units)):
                assert apart([*(upper.factors[j] * upper.delta_factors), layer.rest_above[j]], layer.above[j]) < 1e-12
            kept = 1.0 if layer.kept is None else layer.kept
            size = np.abs(upper.factors) @ np.abs(upper.delta_factors) + np.abs(layer.rest_above)
            assert (
                np.abs(layer.above * layer.slope * kept - layer.delta) <= 2 * CLOSE * size * np.abs(layer.slope * kept)
            ).all()
        assert np.array_equal(layer.weights.share, np.outer(layer.below, layer.delta_factors))
        for tensor in (layer.weights, layer.biases):
            terms = [tensor.share / step.loss.weight_sum, tensor.others / step.loss.weight_sum, tensor.penalty]
            assert apart(terms, tensor.gradient) < CLOSE


@pytest.mark.parametrize(
    "described",
    [
        {"loss": "cross_entropy"},
        {"loss": "half_squared_error", "activation": "silu", "l2": 0.01, "l1": 0.003, "weighted": True},
        {"loss": "huber", "output_activation": "tanh", "dropout": 0.3},
        {"loss": "cross_entropy", "layers": (40, 25, 30, 20), "l2": 0.01, "dropout": 0.2, "weighted": True},
    ],
    ids=["plain", "penalties", "dropout", "large"],
)
def test_the_terms_shown_make_the_numbers_of_the_core(described, tmp_path):
    _, run = recorded(tmp_path, **described)
    for row, step in itertools.product((0, 2), (0, 7, 29)):
        shown = run.explain(step, row).steps[0]
        assert shown.bfloat16
        assert_adds_up(shown)
        first = shown.layers[0]
        unrounded = [*(first.weights.old[:, 0] * shown.x), first.rest[0], first.biases.old[0]]
        assert apart(unrounded, first.g[0]) > 100 * CLOSE  # which is how it would be seen


def test_the_step_is_the_one_that_was_taken(tmp_path):
    run, back = recorded(tmp_path, dropout=0.3, loss="cross_entropy")
    for step in (0, 4, 17):  # 4 is the last of an epoch, with fewer rows
        assert back.moment(step)[0].after.parameters.theta.tobytes() == back.at(step + 1).parameters.theta.tobytes()
    assert back.moment(29)[0].after.parameters.theta.tobytes() == run._theta.tobytes()
    shown = back.explain(17, steps=2).steps
    assert np.array_equal(shown[0].layers[0].weights.new, shown[1].layers[0].weights.old)


def test_rounding_is_that_of_the_numbers_in_memory():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(30, 70)).astype("f")
    X[0, :4] = 1 + 2.0**-8, 1 + 3 * 2.0**-8, 1 + 2.0**-8 + 2.0**-20, -1 - 2.0**-8  # ties, to even
    run = gp.train(gp.Network((70, 3, 1)), X, X[:, :1], epochs=1, batch_size=30, seed=0, precision="bf16", shuffle=False)
    work = next(_of_run(run, None, None, None, None, None, None))[0].passes.work
    layer = work.layers[0]
    pairs = read_panels(work["scratch"], int(layer["h_pairs"]), int(layer["pairs"]), 30).view(np.uint32)
    halves = np.stack([pairs << 16, pairs & np.uint32(0xFFFF0000)]).view(np.float32).reshape(2, 30, -1, 16)
    both = halves.transpose(1, 2, 0, 3).reshape(30, -1)[:, :70]  # 16 units make pairs with the 16 after them
    np.testing.assert_array_equal(to_bfloat16(X), both)
    assert to_bfloat16(X)[0, :4].tolist() == [1, 1 + 2.0**-6, 1 + 2.0**-7, -1]


def test_a_run_is_explained_as_it_would_go_on(tmp_path):
    run, back = recorded(tmp_path, loss="cross_entropy")
    own, replayed = gp.explain(run).steps[0], back.explain(30).steps[0]
    for mine, theirs in zip(own.layers, replayed.layers, strict=True):
        np.testing.assert_array_equal(mine.weights.new, theirs.weights.new)
        np.testing.assert_array_equal(mine.rounded_weights, theirs.rounded_weights)
    given = gp.explain(run, X=run._data.X[:4], Y=run._data.Y[:4]).steps[0]
    assert given.bfloat16
    assert_adds_up(given)
    assert not gp.explain(run.network, run.parameters, run._data.X[:4], run._data.Y[:4]).steps[0].bfloat16


def test_it_is_said_and_shown(tmp_path):
    network, parameters = gp.Network((1, 1)), gp.Parameters.from_arrays([[[1.01]]], [[0.5]], "float32")
    given = {"parameters": parameters, "optimizer": gp.SGD(0.5), "epochs": 1, "seed": 0, "precision": "bf16"}
    gp.train(network, [[3.03]], [1.0], record=tmp_path / "run", **given)
    explanation = gp.replay(tmp_path / "run", np.array([[3.03]], "f"), [1.0]).explain(0)
    text = explanation.to_text(width=250)
    assert "Products are of bfloat16: W, h and δ stand in them rounded to 8 significant bits" in text
    assert "g₁,₁ = W₁,₁,₁ x₁ + b₁,₁ = 1.00781·3.03125 + 0.5 = 3.55493" in text
    assert "= x₁ δ₁,₁ = 3.03125·2.5625 = 7.76758" in text
    assert "W₁,₁,₁ := W₁,₁,₁ − η ∂L/∂W₁,₁,₁ = 1.01000 − 0.5·7.76758" in text
    assert "where bfloat16's 8 bits may put it off by" in text
    assert "1.00781" in page_data(explanation, 6)["steps"][0]["panels"]["e-1-0-0"]
    for form in ("html", "latex", "markdown", "json"):
        assert "1.00781" in explanation.to(form)
    plain = gp.explain(network, parameters, np.array([[3.03]], "f"), [1.0])
    assert "bfloat16" not in plain.to_text()


def test_what_rounding_does_is_not_called_wrong(tmp_path):
    """Residuals near 0 are differences of rounded numbers: here a gradient may be off by a tenth of itself."""
    _, back = recorded(tmp_path, layers=(6, 20, 20, 1), rows=60, epochs=200)
    checks = [back.explain(step).steps[0].check for step in range(5, back.steps, 199)]
    assert all(check.passed for check in checks)
    assert max(check.error for check in checks) > 0.02
    assert all(check.error < check.bfloat16 for check in checks)
    assert sum(check.entries for check in checks) > 0.8 * sum(check.shown for check in checks)


def test_what_is_nothing_but_rounding_is_not_judged():
    """Where the targets are met but for the last places, δ is what rounding has left."""
    X = cases.case((3, 1), rows=8).X.astype("f")
    parameters = gp.Parameters.from_arrays([[[0.3], [-1.1], [0.7]]], [[0.2]], "float32")
    given = {"parameters": parameters, "optimizer": gp.SGD(1e-9), "epochs": 1, "seed": 0}
    run = gp.train(gp.Network((3, 1)), X, X @ parameters.W[0] + parameters.b[0], precision="bf16", **given)
    check = gp.explain(run).steps[0].check
    assert (check.entries, check.wrong) == (0, 0)
    assert check.verdict.startswith("Undecided")


def test_what_the_row_was_promised_is_of_the_same_products():
    """Of a batch of one row without penalty, its loss is the objective."""
    case = cases.case((3, 7, 5, 3), rows=1).of("float32")
    step = gp.explain(gp.train(case.network, case.X, case.Y, epochs=1, seed=0, precision="bf16")).steps[0]
    assert step.row_effect.predicted == pytest.approx(step.batch_effect.predicted, rel=1e-6)


def test_a_wrong_slope_is_told_all_the_same(tmp_path):
    bent = gp.Activation("bent", lambda g: g + g * g / 9, lambda g: 1.3 * (1 + 2 * g / 9))
    run = gp.train(gp.Network((2, 8, 1), bent), np.eye(2, dtype="f"), [1.0, 3.0], epochs=1, seed=0, precision="bf16")
    check = gp.explain(run).steps[0].check
    assert check.bfloat16 < 0.2
    assert not check.passed
    assert "Wrong: " in check.verdict
    assert "where bfloat16's 8 bits may put it off by" in check.verdict


def test_a_processor_without_it_cannot_go_back(tmp_path, monkeypatch):
    run, _ = recorded(tmp_path)
    monkeypatch.setattr(bfloat16, "has_bfloat16", lambda: False)
    with pytest.raises(ValueError, match="precision 'bf16' needs a processor with products of bfloat16"):
        gp.replay(tmp_path / "run", run._data.X, run._data.Y)
