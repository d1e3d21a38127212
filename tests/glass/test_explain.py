"""gp.explain: every number against reference.py, every formula against the number it ends in, every sum against its terms."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator

import numpy as np
import pytest

import cases
import glassprop as gp
import reference as ref
from glassprop.glass import equations as eq
from glassprop.glass.explain import explain_moments
from glassprop.glass.explanation import Step
from glassprop.glass.formula import Equation, Num, settle, work_out
from glassprop.glass.moment import Moment
from glassprop.glass.outline import Lines, outline

TOLERANCE = 1e-12


def every_equation(step: Step) -> Iterator[Equation]:
    """All that is ever shown of the step with numbers."""
    for l, layer in enumerate(step.layers, start=1):
        for j in range(len(layer.units)):
            yield eq.pre_activation(step, l, j)
            yield eq.activation(step, l, j)
            yield from eq.error_terms(step, l, j)
            for i in (*range(len(layer.inputs)), None):
                yield from eq.gradients(step, l, i, j)
                yield from eq.updates(step, l, i, j)
    for o in range(len(step.layers[-1].units)):
        yield eq.loss_term(step, o)
    yield eq.row_loss(step)
    yield eq.objective(step)


def assert_equations_hold(step: Step, tolerance: float = TOLERANCE) -> None:
    """The numbers of every formula, worked out, are the number that it ends in."""
    count = 0
    for equation in every_equation(step):
        *_, (_, shown), (_, value) = equation.parts
        assert isinstance(value, Num)
        if not isinstance(shown, Num) and not _has_letters(shown):
            assert work_out(settle(shown)) == pytest.approx(value.value, rel=tolerance, abs=tolerance), equation
            count += 1
    assert count > 10


def _has_letters(expr) -> bool:
    try:
        work_out(settle(expr))
    except ValueError:
        return True
    return False


def explained(case: cases.Case, row: int = 0, **options) -> Step:
    """One step of a case."""
    return gp.explain(case.network, case.parameters, case.X, case.Y, weights=case.weights, row=row, **options).steps[0]


def assert_step_is_the_references(step: Step, case: cases.Case, rule: ref.Optimizer, state=None) -> None:
    fwd, back = case.reference_passes()
    gradient = ref.Parameters(back.dW, back.db)
    after, _ = ref.update(cases.lists(case.parameters), gradient, rule, state, step.step)
    found = {"objective": cases.difference([step.loss.objective], [back.loss])}
    for l, layer in enumerate(step.layers):
        inputs, units, row = list(layer.inputs), list(layer.units), step.row
        found[f"g{l}"] = cases.difference(layer.g, np.array(fwd.g[l])[row, units])
        found[f"h{l}"] = cases.difference(layer.h, np.array(fwd.h[l])[row, units])
        found[f"delta{l}"] = cases.difference(layer.delta, np.array(back.delta[l])[row, units])
        found[f"dW{l}"] = cases.difference(layer.weights.gradient, np.array(back.dW[l])[np.ix_(inputs, units)])
        found[f"db{l}"] = cases.difference(layer.biases.gradient, np.array(back.db[l])[units])
        found[f"W{l}"] = cases.difference(layer.weights.new, np.array(after.W[l])[np.ix_(inputs, units)])
        found[f"b{l}"] = cases.difference(layer.biases.new, np.array(after.b[l])[units])
    losses = [ref.row_loss(case.twin, g, y)[0] for g, y in zip(fwd.g[-1], case.Y.tolist(), strict=True)]
    found["row"] = cases.difference([step.loss.row], [losses[step.row]])
    assert max(found.values()) < TOLERANCE, found


@pytest.mark.parametrize("loss", cases.LOSSES)
@pytest.mark.parametrize("activation", cases.HIDDEN)
def test_every_activation_and_loss(activation, loss):
    for penalty, weighted in (("none", False), ("both", True)):
        case = cases.case((3, 4, 2), activation=activation, loss=loss, weighted=weighted, **cases.PENALTIES[penalty])
        step = explained(case, row=2, optimizer=gp.SGD(0.1))
        assert_step_is_the_references(step, case, ref.Optimizer("sgd", 0.1))
        assert_equations_hold(step)


@pytest.mark.parametrize(
    ("output", "loss"),
    [("sigmoid", "half_squared_error"), ("tanh", "huber"), ("softplus", "poisson"), ("sigmoid", "cross_entropy"),
     ("exp", "absolute_error"), ("gelu", "quantile")],
)  # fmt: skip
def test_outputs_without_their_own_link(output, loss):
    case = cases.case((3, 4, 3), output_activation=output, loss=loss, weighted=True)
    step = explained(case, row=1, optimizer=gp.SGD(0.1))
    assert step.layers[-1].slope is not None
    assert_step_is_the_references(step, case, ref.Optimizer("sgd", 0.1))
    assert_equations_hold(step)


@pytest.mark.parametrize("rule", cases.RULES)
@pytest.mark.parametrize("steps_before", [0, 3])
def test_every_update_rule(rule, steps_before):
    """Against the reference, with clipping, decay and layer factors, from the start and from a state."""
    case = cases.case((3, 4, 2), l2=0.01)
    shared = {"clip_norm": 0.4, "weight_decay": 0.05, "layer_factors": (0.5, 2.0)}
    mine, twin = cases.rules(rule, gp.Cosine(0.02, steps=9), lambda step: ref.cosine(step, 0.02, 9), **shared)
    parameters, state = case.parameters.copy(), np.zeros((2, case.parameters.theta.size))
    theirs, their_state = cases.lists(parameters), None
    for number in range(steps_before):
        fwd = gp.forward(case.network, parameters, case.X)
        back = gp.backward(case.network, parameters, fwd, case.Y)
        parameters = gp.update(parameters, back, optimizer=mine, state=state, step=number)
        passed = ref.backward(case.twin, theirs, ref.forward(case.twin, theirs, case.X.tolist()), case.Y.tolist())
        theirs, their_state = ref.update(theirs, ref.Parameters(passed.dW, passed.db), twin, their_state, number)
    before = state.copy()
    case = cases.Case(case.network, case.twin, parameters, case.X, case.Y, None)
    step = explained(case, row=1, optimizer=mine, state=state, step=steps_before)
    assert (state == before).all()
    assert step.rule.clips
    assert_step_is_the_references(step, case, twin, their_state)
    assert_equations_hold(step)
    told = [letter for line in eq.updates(step, 1, 0, 0) for letter in [line.parts[0][1].name]]
    assert told[-1] == "W"
    assert set(step.layers[0].weights.after) <= set(told)


SCHEDULES = [
    gp.InverseScaling(0.1, power=0.7), gp.Exponential(0.1, decay=0.5, steps=3), gp.Cosine(0.1, steps=9),
    gp.Cosine(0.1, steps=9, warmup=4, final=0.01),
    gp.OneCycle(0.1, steps=9), gp.OneCycle(0.2, steps=9, start=0.1, final=0.01, rise=0.6),
]  # fmt: skip


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_schedules_are_shown_as_they_act(schedule):
    case = cases.case((2, 2, 1))
    for number in (0, 3, 7, 20):
        step = explained(case, optimizer=gp.SGD(schedule), step=number, check=False)
        shown = eq.schedule(step)
        assert shown.value == schedule(number)
        assert work_out(shown.parts[-2][1]) == pytest.approx(schedule(number), rel=1e-13)
        assert step.layers[0].learning_rate == schedule(number)


def test_the_worked_example_of_the_derivation():
    step = mazur().steps[0]
    assert step.layers[0].g.tolist() == [0.3775, 0.3925]
    np.testing.assert_allclose(step.layers[1].delta, [0.138498561629, -0.038098236517], atol=1e-12)
    np.testing.assert_allclose(step.layers[1].weights.new, [[0.358916479718, 0.511301270239], [0.408666186076, 0.561370121108]])
    effect = step.batch_effect
    np.testing.assert_allclose([effect.before, effect.after], [0.298371108760, 0.280471446791], atol=1e-12)
    gradient = [tensor.gradient for layer in step.layers for tensor in (layer.weights, layer.biases)]
    np.testing.assert_allclose(effect.predicted, -0.5 * sum((part**2).sum() for part in gradient), rtol=1e-13)
    assert step.row_effect.predicted == pytest.approx(effect.predicted, rel=1e-13)


def mazur(**options) -> gp.Explanation:
    network = gp.Network((2, 2, 2), activation="sigmoid", output_activation="sigmoid", loss="half_squared_error")
    W = [[[0.15, 0.25], [0.20, 0.30]], [[0.40, 0.50], [0.45, 0.55]]]
    parameters = gp.Parameters.from_arrays(W, [[0.35, 0.35], [0.60, 0.60]])
    return gp.explain(network, parameters, [[0.05, 0.10]], [[0.01, 0.99]], optimizer=gp.SGD(0.5), **options)


def test_large_layers_are_summarised_and_still_add_up():
    case = cases.case((30, 25, 20, 15), rows=6, loss="cross_entropy", l2=0.01)
    step = explained(case, row=4, neurons=4, optimizer=gp.Adam(0.01))
    assert [len(layer.units) for layer in step.layers] == [4, 4, 4]
    assert not step.whole
    assert_step_is_the_references(step, case, ref.Optimizer("adam", 0.01))
    assert_equations_hold(step)
    _, back = case.passes()
    fwd = gp.forward(case.network, case.parameters, case.X)
    for l, layer in enumerate(step.layers):
        weight = np.abs(fwd.h[l][4] * back.delta[l][4])
        assert set(layer.units) == set(np.argsort(-weight)[:4])
    whole = explained(case, row=4, full=True, optimizer=gp.Adam(0.01))
    assert whole.whole
    assert_equations_hold(whole)


def test_float32_is_explained_in_float32():
    case = cases.case((4, 5, 3), loss="cross_entropy").of("float32")
    step = explained(case, row=1)
    fwd, back = case.passes()
    assert step.dtype == "float32"
    assert (step.layers[1].g == fwd.g[1][1].astype(float)).all()
    assert (step.layers[0].delta == back.delta[0][1].astype(float)).all()
    assert_equations_hold(step, 1e-5)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_row_late_in_a_large_batch(dtype):
    case = cases.case((4, 5, 3), loss="cross_entropy", rows=100, weighted=True, l2=0.1).of(dtype)
    step = explained(case, row=77)
    assert_equations_hold(step, TOLERANCE if dtype == "float64" else 1e-5)
    if dtype == "float64":
        assert_step_is_the_references(step, case, ref.Optimizer("sgd", 0.01))


def test_a_run_is_explained_where_it_goes_on():
    """One step an epoch, so that resuming takes just the step explained; in every bit."""
    case = cases.case((3, 5, 2), rows=9)
    run = gp.train(case.network, case.X, case.Y, optimizer=gp.Adam(0.01), epochs=4, batch_size=9, seed=3)
    step = gp.explain(run, row=2).steps[0]
    further = run.resume(epochs=1)
    assert (step.step, step.rows) == (4, 9)
    assert step.layers[1].weights.new.tolist() == further.parameters.W[1].tolist()
    assert step.loss.objective == further.history.loss[-1]
    assert "row " in step.row_name
    number = int(step.row_name.split()[1])
    assert step.x.tolist() == case.X[number].tolist()
    assert_equations_hold(step)


def test_minibatches_of_a_run_follow_one_another():
    case = cases.case((3, 5, 2), rows=10)
    run = gp.train(case.network, case.X, case.Y, epochs=1, batch_size=4, seed=0)
    explanation = gp.explain(run, steps=3)
    assert [step.rows for step in explanation.steps] == [4, 4, 2]
    assert [step.step for step in explanation.steps] == [3, 4, 5]
    assert (explanation.steps[2].layers[0].weights.new == run.resume(epochs=1).parameters.W[0]).all()


def test_several_steps_by_hand_are_those_of_update():
    case = cases.case((3, 5, 2))
    explanation = gp.explain(case.network, case.parameters, case.X, case.Y, optimizer=gp.Adam(0.05), steps=3)
    parameters, state = case.parameters, np.zeros((2, case.parameters.theta.size))
    for number, step in enumerate(explanation.steps):
        back = gp.backward(case.network, parameters, gp.forward(case.network, parameters, case.X), case.Y)
        assert step.loss.objective == back.loss
        parameters = gp.update(parameters, back, optimizer=gp.Adam(0.05), state=state, step=number)
        assert (step.layers[0].weights.new == parameters.W[0]).all()


def test_dropout_acts_in_a_moment_of_training_as_it_did_there():
    case = cases.case((4, 8, 6, 2), rows=7, dropout=(0.5, 0.3))
    run = gp.train(case.network, case.X, case.Y, optimizer=gp.SGD(0.1), epochs=1, batch_size=7, seed=5, shuffle=False)
    start = case.network.initialize(5)
    moment = Moment(
        case.network, start, case.X, case.Y, None, gp.SGD(0.1), np.zeros((2, start.theta.size)), step=0, seed=5
    )  # fmt: skip
    step = explain_moments(iter([(moment, "", None)]), 1, 3, None, {}, True).steps[0]
    assert step.check.passed
    assert step.dropout == "acts"
    by_hand = explained(case)
    assert by_hand.dropout == "left out"
    assert by_hand.layers[0].kept is None
    assert all((layer.weights.new == W).all() for layer, W in zip(step.layers, run.parameters.W, strict=True))
    assert set(np.round(step.layers[0].kept, 12)) <= {0.0, 2.0}
    assert 0 in step.layers[0].kept
    assert_equations_hold(step)


def test_thousands_of_classes():
    rng = np.random.default_rng(0)
    network = gp.Network((3, 5000), loss=gp.Loss("cross_entropy", label_smoothing=0.1))
    step = gp.explain(network, network.initialize(0), rng.normal(size=(4, 3)), [0, 999, 3, 4], row=1).steps[0]
    assert step.check.passed
    assert_equations_hold(step)


def test_exponentials_beyond_what_numbers_hold():
    network = gp.Network((1, 5), loss="cross_entropy")
    parameters = gp.Parameters.from_arrays([[[800.0, 810.0, 1.0, 2.0, 3.0]]], [np.zeros(5)])
    step = gp.explain(network, parameters, [[1.0]], [0], neurons=2).steps[0]
    assert step.loss.row == pytest.approx(10 + math.log1p(math.exp(-10)), rel=1e-12)
    step = gp.explain(network, parameters, [[-1.0]], [2], neurons=2).steps[0]
    assert step.layers[-1].exponentials == pytest.approx(math.exp(-3), rel=1e-12)
    parameters.W[0][...] = 800
    assert gp.explain(network, parameters, [[1.0]], [0], neurons=2).steps[0].layers[-1].exponentials == np.inf


def test_the_effect_is_that_of_the_whole_step():
    case = cases.case((20, 15, 2), rows=5, l2=0.01, weighted=True)
    step = explained(case, row=3, neurons=2, optimizer=gp.SGD(1e-4))
    for effect in (step.row_effect, step.batch_effect):
        assert effect.change == pytest.approx(effect.predicted, rel=0.01)
    parameters = gp.update(case.parameters, case.passes()[1], optimizer=gp.SGD(1e-4))
    after = cases.Case(case.network, case.twin, parameters, case.X, case.Y, case.weights)
    assert step.batch_effect.after == pytest.approx(after.reference_passes()[1].loss, rel=1e-12)
    rows = ref.forward(case.twin, cases.lists(parameters), case.X.tolist()).g[-1]
    assert step.row_effect.after == pytest.approx(ref.row_loss(case.twin, rows[3], case.Y[3].tolist())[0], rel=1e-12)


def test_what_a_network_with_a_penalty_loses_is_shown_apart():
    case = cases.case((3, 4, 2), l2=0.3, l1=0.1)
    step = explained(case)
    assert step.loss.penalty == pytest.approx(ref.penalty(case.twin, cases.lists(case.parameters)), rel=1e-12)


def test_the_outline_ends_in_numbers():
    for block in outline(mazur()):
        if isinstance(block, Lines):
            assert block.equations


def test_everything_as_plain_data():
    explanation = mazur()
    told = json.loads(explanation.to_json())
    assert told == explanation.as_dict()
    assert told["steps"][0]["layers"][0]["g"] == explanation.steps[0].layers[0].g.tolist()
    assert told["steps"][0]["loss"]["row"] == explanation.steps[0].loss.row


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((), {"row": 1}, "row must be from 0 to 0, the last row of the batch; got 1"),
        ((), {"row": 0.5}, "row must be a whole number; got 0.5"),
        ((), {"neurons": 0}, "neurons must be at least 1; got 0"),
        ((), {"steps": 0}, "steps must be at least 1; got 0"),
        ((), {"step": -1}, "step must be at least 0; got -1"),
        ((), {"optimizer": "adam"}, "optimizer must be an update rule such as glassprop.Adam(1e-3); got 'adam'"),
        ((), {"optimizer": gp.SGD(1.0, layer_factors=(1.0,))}, "layer_factors must be one for each of the 2 layers; got 1"),
        ((), {"input_names": ["a"]}, "input_names must be 2 names; got 1"),
        ((), {"state": np.zeros(3)}, "state must be float64 of shape"),
        ((), {"weights": [1.0, 2.0]}, "weights must be one number for each of the 1 rows"),
        (("parameters",), {}, "parameters must be given with a network"),
        (("Y",), {}, "Y must be given"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, options, message):
    network = gp.Network((2, 2, 1))
    given = {"parameters": network.initialize(0), "X": [[1.0, 2.0]], "Y": [0.5]}
    for name in arguments:
        given[name] = None
    with pytest.raises((TypeError, ValueError)) as error:
        gp.explain(network, **given, **options)
    assert message in str(error.value)


def test_estimators_are_asked_themselves():
    class Estimator:
        def explain(self, *arguments, **named):
            return arguments, named

    arguments, named = gp.explain(Estimator(), X="X", Y="y", row=2, weights="w", optimizer=gp.SGD(0.5), neurons=3)
    assert arguments == ("X", "y", 2)
    assert named["sample_weight"] == "w"
    assert named["optimizer"] == gp.SGD(0.5)
    assert named["neurons"] == 3
    assert not {"state", "step", "input_names"} & set(named)


def test_other_things_are_refused():
    with pytest.raises(TypeError, match=r"model must be a glassprop.Network, with parameters, or a Run; got int"):
        gp.explain(3)
    network = gp.Network((1, 1))
    huge = gp.Parameters.from_arrays([[[1e200]]], [[0.0]])
    with pytest.raises(ValueError, match="the loss is not finite"):
        gp.explain(network, huge, [[1e100]], [0.0])
    run = gp.train(network, [[1.0], [2.0]], [1.0, 2.0], epochs=1, seed=0)
    with pytest.raises(TypeError, match="parameters are the run's own"):
        gp.explain(run, run.parameters)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_an_estimators_rows_are_given_by_name():
    X, y = np.eye(4), np.arange(4.0)
    model = gp.MLPRegressor(hidden_layer_sizes=3, max_iter=1, batch_size=2).fit(X, y)
    with pytest.raises(TypeError, match=r"give X and Y by name: explain\(model, X=X, Y=y\)"):
        gp.explain(model, X, y)


@pytest.mark.parametrize("rule", [gp.Adam(0.1), gp.SGD(0.1), gp.Adam(0.1, clip_norm=1.0)])
def test_a_step_that_is_refused_for_the_square_of_its_gradient(rule):
    network = gp.Network((2, 1), loss="absolute_error")
    given = network, network.initialize(0, dtype="float32"), np.full((1, 2), 1e20, np.float32), np.zeros((1, 1), np.float32)
    if rule == gp.Adam(0.1):
        with pytest.raises(ValueError, match="the step cannot be explained: the square of the gradient is not finite"):
            gp.explain(*given, optimizer=rule)
    else:
        assert np.any(gp.explain(*given, optimizer=rule).steps[0].layers[0].weights.step)
