"""A rule that acts on every block as soon as its gradient is there leaves the bits that it leaves after the whole gradient."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import cases
import glassprop as gp
from glassprop.core import blocks, layout, plan, workspace
from glassprop.core.arrays import check_targets, check_weights
from glassprop.core.bfloat16 import has_bfloat16
from glassprop.core.jit import PANEL_BYTES
from glassprop.core.threads import share
from glassprop.core.workspace import Workspace


@pytest.fixture(autouse=True)
def any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """At once and in several blocks, and as many threads as are asked for, however small the network."""
    monkeypatch.setattr(layout, "AT_ONCE_FROM", 1)
    monkeypatch.setattr(workspace, "FLOPS_FOR_THREADS", 1e-9)


def trained(
    case: cases.Case, optimizer: Any, at_once: bool, steps: int = 8, batch_size: int = 40, **settings: Any
) -> Workspace:
    """Memory after `steps` steps."""
    theta, rows = case.parameters.theta.copy(), len(case.X)
    Y, weights = check_targets(case.network, case.Y, rows, theta.dtype), check_weights(case.weights, rows, theta.dtype)
    memory = Workspace(
        case.network, theta, case.X, Y, weights, batch_size=batch_size, optimizer=optimizer, steps=steps,
        epochs=-(-steps // -(-rows // batch_size)), seed=3, at_once=at_once, **settings,
    )  # fmt: skip
    memory["rates"][:] = 0.01
    memory.run(0, steps, plan.TRAIN)
    return memory


def same(case: cases.Case, one: Workspace, other: Workspace) -> None:
    for theirs in zip((one["theta"], *one["state"]), (other["theta"], *other["state"]), strict=True):
        ours, others = (case.parameters.with_theta(vector) for vector in theirs)
        for tensor, twin in zip(ours.W + ours.b, others.W + others.b, strict=True):
            np.testing.assert_array_equal(tensor, twin)
    assert one.progress == other.progress
    np.testing.assert_array_equal(one["history"].view(np.float64), other["history"].view(np.float64))


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rule", cases.RULES)
def test_the_same_bits_for_every_rule(rule: str, dtype: str, threads: int) -> None:
    case = cases.case((40, 100, 33, 3), rows=100, activation="relu", dropout=[0.2, 0.0]).of(dtype)
    at_once, after = (trained(case, cases.rules(rule)[0], flag, threads=threads) for flag in (True, False))
    assert (at_once.plan["at_once"][0], after.plan["at_once"][0]) == (1, 0)
    same(case, at_once, after)
    assert not np.array_equal(at_once["gradient"], after["gradient"])  # blocks of dW lay elsewhere


@pytest.mark.parametrize(
    "asked",
    [
        {"l2": 0.01, "l1": 0.001},
        {"loss": "cross_entropy", "weighted": True},
        {"optimizer": gp.AdamW(0.01, weight_decay=0.1, layer_factors=(1.0, 0.5, 2.0))},
        {"as_scikit_learn": True, "l2": 0.01},
        {"paired": True},
    ],
    ids=str,
)
def test_the_same_bits_whatever_is_asked(asked: dict[str, Any]) -> None:
    if asked.get("paired") and not has_bfloat16():
        pytest.skip("this processor has no products of bfloat16")
    asked = dict(asked)
    optimizer = asked.pop("optimizer", gp.Adam(0.01))
    own = {name: asked.pop(name) for name in ("paired", "as_scikit_learn") if name in asked}
    case = cases.case((40, 100, 70, 3), rows=100, activation="relu", **asked).of("float32")
    same(case, *(trained(case, optimizer, flag, **own) for flag in (True, False)))


def test_blocks_of_long_rows_are_smaller() -> None:
    """Rows of W of 128 KB: a block is one piece of them."""
    case = cases.case((30_000, 20, 2), rows=40, activation="relu").of("float32")
    at_once, after = (trained(case, gp.Adam(0.01), flag, steps=3) for flag in (True, False))
    found = {name: at_once.layers[name].tolist() for name in ("piece", "pieces", "block")}
    assert found == {"piece": [0, layout.PIECE_ROWS, 2], "pieces": [0, 3, 1], "block": [0, 1, 1]}
    same(case, at_once, after)


@pytest.mark.parametrize("threads", [1, 2])
def test_small_networks_take_a_thread_s_share_at_once(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    network = gp.Network((64, 100, 10))
    for least, block in ((network.n_parameters, 5 if threads == 1 else 4), (network.n_parameters + 1, -(-13 // threads))):
        monkeypatch.setattr(layout, "AT_ONCE_FROM", least)
        layers = layout.lay_out(network, np.dtype(np.float32), 200, threads=threads).layers
        assert layers["pieces"].tolist() == [0, 13, 1]
        assert layers["block"].tolist() == [0, block, 1]


@pytest.mark.parametrize("by_matrix_unit", [False, True])
@pytest.mark.parametrize("units", [1, 8, 10, 64, 100, 256, 800, 2048])
def test_pieces_and_blocks_fit_the_cache(units: int, by_matrix_unit: bool) -> None:
    most, room = (
        (layout.MATRIX_UNIT_BLOCK_ROWS, layout.MATRIX_UNIT_BLOCK_BYTES)
        if by_matrix_unit
        else (layout.BLOCK_ROWS, layout.BLOCK_BYTES)
    )
    for stride in (16, 64, 256, 2048, 30_000):
        piece = layout.piece_rows(units, stride, by_matrix_unit)
        assert piece * stride >= min(layout.PIECE_NUMBERS, units * stride)
        pieces = -(-units // piece)
        taken = layout.block_pieces(pieces, piece, 4 * stride, by_matrix_unit)
        assert 1 <= taken <= pieces
        assert taken == 1 or (taken * piece <= most and taken * piece * 4 * stride <= room)


@pytest.mark.parametrize("threads", [1, 2, 3, 7, 16, 40])
@pytest.mark.parametrize("layers", [(64, 100, 10), (64, 256, 256, 10), (784, 800, 33)])
def test_every_row_is_one_threads(layers: tuple[int, ...], threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """And what is left over goes to the last in the output layer, to the first in the others."""
    monkeypatch.setattr(blocks, "share", share.py_func)
    table = layout.lay_out(gp.Network(layers), np.dtype(np.float64), 200, threads=threads).layers.view(np.recarray)
    for l in range(1, len(layers)):
        shares = [blocks.own_rows.py_func(table, l, thread, threads) for thread in range(threads)]
        ends = [0, *(end for _, _, end in shares)]
        assert [min(begin, layers[l]) for _, begin, _ in shares] == ends[:-1]
        assert ends[-1] == layers[l]
        counts = [-(-max(0, end - begin) // int(table[l]["piece"])) for _, begin, end in shares]
        assert max(counts) - min(counts) <= 1
        assert counts[-1 if l == len(layers) - 1 else 0] == max(counts)
        assert [first for first, _, _ in shares] == [sum(counts[:thread]) for thread in range(threads)]


def test_clipping_gets_the_whole_gradient() -> None:
    case = cases.case((4, 5, 2), rows=40).of("float32")
    assert not trained(case, gp.SGD(0.1, clip_norm=1.0), True).plan["at_once"][0]


@pytest.mark.parametrize("own", [{}, {"as_scikit_learn": True}])
def test_a_large_penalty_gets_the_whole_gradient(own: dict[str, bool]) -> None:
    """Its memory holds it then, and otherwise no dW. Rows that weigh less make scikit-learn's penalty larger."""
    case = cases.case((40, 100, 3), rows=40, l2=0.05, weighted=True).of("float32")
    case.weights[:] = 1e-3 if own else 1.0
    work = trained(case, gp.SGD(1e-3), True, steps=1, **own)
    assert work["gradient"][: 100 * int(work.layers[1]["stride"])].any() == bool(own)
    assert work["gradient"].any()  # db


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("what", ["gradient", "sum", "bias", "delta", "h", "slope"])
def test_a_step_that_is_refused_changes_nothing(what: str, dtype: str) -> None:
    """Numbers of h and δ that are finite each, and whose products are not; then δ and h themselves; a slope that is NaN."""
    steep = gp.Activation("steep", lambda g: g, lambda g: math.nan if g > 100 else 1.0)
    activation = "tanh" if what == "bias" else "relu"
    case, largest = cases.case((40, 70, 3), rows=400, activation=activation).of(dtype), np.finfo(dtype).max
    if what == "slope":
        case = replace(case, network=gp.Network((40, 70, 3), steep))
    if what == "gradient":
        inputs, target = {"float32": (1e26, 1e15), "float64": (1e200, 1e120)}[dtype]
        case.X[17] *= inputs
        case.parameters.W[0][:] /= inputs
        case.Y[17] = target
    elif what == "sum":  # each product is finite, their sum over rows is not
        inputs, target = {"float32": (4e19, 2e17), "float64": (1e90, 1e65)}[dtype]
        case.X[:] = inputs
        case.parameters.W[0][:] = 0
        case.Y[:] = target
    elif what == "bias":
        case.parameters.W[1][:] = {"float32": 1e37, "float64": 1e160}[dtype]
        for zero in (case.parameters.W[0], *case.parameters.b):
            zero[:] = 0
        case.X[:], case.Y[:] = 1e-30, 1
    elif what == "delta":
        case.parameters.W[1][2] = case.Y[17] = largest
    else:
        case.X[17] = largest if what == "h" else 1e3
    with np.errstate(all="ignore"):
        memory = trained(case, gp.Adam(0.01), True, batch_size=400)
    assert memory.progress["status"][0] == plan.DIVERGED
    assert memory.progress["step"][0] == 0
    np.testing.assert_array_equal(memory["theta"], case.parameters.theta)
    assert not memory["state"].any()
    assert np.isfinite(memory.progress["loss"][0]) == (what in ("gradient", "sum", "bias", "slope"))


def test_penalties_and_norms_of_wide_layers_are_added_up_in_double_precision():
    """A million equal numbers: in float32 alone their sum is off by a thousandth."""
    network = gp.Network((200_000, 8), l2=0.5, l1=0.25)
    parameters = gp.Parameters.from_arrays([np.full((200_000, 8), 0.1)], [np.zeros(8)], np.float32)
    X, w = np.zeros((2, 200_000), np.float32), float(np.float32(0.1))
    fwd = gp.forward(network, parameters, X)
    back = gp.backward(network, parameters, fwd, np.zeros((2, 8), np.float32))
    assert back.loss == pytest.approx(1.6e6 * (0.25 * w * w + 0.25 * w), rel=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rows", [97, 513, 1100])
def test_error_terms_put_together_in_rows(rows: int, dtype: str) -> None:
    """For dW, some of the batch's rows after the other; by more threads, and when the rule acts at once, too."""
    case = cases.case((21, 67, 101, 64, 20), rows=rows, activation="tanh").of(dtype)
    strides = layout.lay_out(case.network, np.dtype(dtype), rows).layers["delta_row"]
    assert strides.astype(bool).tolist() == [False, rows > layout.JOINED_ROWS, True, True, True]
    fwd, back = case.passes()
    for h, delta, dW in zip((case.X, *fwd.h), back.delta, back.dW, strict=False):
        h, delta = h.T.astype(np.float64), delta.astype(np.float64) / rows
        assert (np.abs(dW - h @ delta) <= 10 * np.finfo(dtype).eps * (np.abs(h) @ np.abs(delta))).all()
    ours = [trained(case, gp.Adam(0.01), at_once, 2, batch_size=rows, threads=n) for n, at_once in ((1, False), (3, True))]
    same(case, *ours)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_gradient_may_be_read_in_whole_vectors(dtype: str) -> None:
    """As products do that add to what is there, also where a row of the last layer ends."""
    gradient = trained(cases.case((67, 4), rows=600).of(dtype), gp.SGD(0.1), False, 1, batch_size=600)["gradient"]
    ends = [array.ctypes.data + array.nbytes for array in (gradient, gradient.base)]
    assert ends[1] - ends[0] >= PANEL_BYTES


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("last", [9, 37, 70])
def test_a_runs_last_batch_has_the_bits_that_it_has_alone(last: int, dtype: str) -> None:
    """Sums of rows in place of products, with 88 rows for 11 units, are not chosen by the largest batch."""
    case = cases.case((70, 40, 11), rows=110 + last, activation="tanh", l2=0.01).of(dtype)
    run, first = (trained(case, gp.Adam(0.01, clip_norm=0.1), False, steps, batch_size=110) for steps in (2, 1))
    part = case.rows(slice(110, None))
    alone = Workspace(
        case.network, first["theta"].copy(), part.X, check_targets(case.network, part.Y, last, np.dtype(dtype)),
        batch_size=last, optimizer=gp.Adam(0.01, clip_norm=0.1), seed=3,
    )  # fmt: skip
    alone["state"][...] = first["state"]
    alone.set(first_step=1, rates=np.array([0.01]))
    alone.run(1, 2, plan.FORWARD | plan.LOSS | plan.BACKWARD | plan.UPDATE)
    np.testing.assert_array_equal(alone["theta"], run["theta"])
    assert alone.progress["gradient_norm"] == run.progress["gradient_norm"]


@pytest.mark.parametrize("least", [62_770, 62_771])
def test_the_rule_acts_at_once_where_the_gradient_is_taken_in_blocks(least: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the same count: memory holds 66,624 numbers for these 62,770 parameters."""
    monkeypatch.setattr(layout, "AT_ONCE_FROM", least)
    network = gp.Network((512, 120, 10))
    assert network.n_parameters == 62_770
    theta = network.initialize(dtype="float32").theta
    memory = Workspace(network, theta, np.zeros((64, 512), np.float32), batch_size=64, optimizer=gp.Adam(), at_once=True)
    in_blocks = memory.layers[1]["block"] < memory.layers[1]["pieces"]
    assert bool(memory.plan["at_once"][0]) == in_blocks == (least == 62_770)
