"""explain: one training step, or several, with every number, from whatever a person has in hand.

It checks what was given and finds the moment to explain; trace.py reads the numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from glassprop.core.arrays import check_inputs, check_targets, check_weights
from glassprop.core.network import Network, Parameters
from glassprop.core.passes import check_factors
from glassprop.core.update import SGD, Optimizer, check_optimizer
from glassprop.errors import is_whole, names_arguments
from glassprop.glass.checked import with_check
from glassprop.glass.explanation import Explanation, Step
from glassprop.glass.moment import Moment, check_by_name, network_of
from glassprop.glass.trace import choose, trace
from glassprop.training.data import RowOrder
from glassprop.training.run import Run

Moments = Iterator[tuple[Moment, str, np.ndarray | None]]


@names_arguments
def explain(
    model: Any,
    parameters: Parameters | None = None,
    X: Any = None,
    Y: Any = None,
    *,
    optimizer: Optimizer | None = None,
    row: int = 0,
    weights: Any = None,
    state: np.ndarray | None = None,
    step: int | None = None,
    steps: int = 1,
    neurons: int = 10,
    full: bool = False,
    check: bool = True,
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
    row_name: str = "",
    progress: bool = False,
) -> Explanation:
    """One training step as a person would work it by hand: forward, loss, backward, update, and what it did.

    All numbers are those that the compiled core leaves in memory when it takes the step.

    Parameters
    ----------
    model : Network, Run, Model or fitted estimator
        A network goes with `parameters`. Of a run the step that would come next is explained, with its rows, the rule and the
        rule's state, unless X and Y are given.
    parameters : Parameters, optional
    X : array, (rows, inputs)
        The batch of the step: float64 is computed in float64, everything else in float32.
    Y : array, (rows, outputs), or (rows,)
    optimizer : update rule, optional
        None is the run's own, else plain gradient descent, ``SGD()``.
    row : int
        The row of the batch whose calculation is shown, from zero.
    weights : array, (rows,), optional
        Row weights.
    state : ndarray, (2, parameters.theta.size), optional
        The rule's state before the step, as `update` takes it; None is zero. Not changed.
    step : int, optional
        Number of the step, from zero, for schedules and bias correction.
    steps : int
        Explain so many steps, one after another: on the same rows, or of a run on those that would come.
    neurons : int
        Of layers with more neurons show only so many, those with the largest |h δ| for this row, with totals of the rest.
    full : bool
        Show all: text and pages of it are for networks of some thousand parameters (a page takes 3 kB for each), JSON for any.
    check : bool
        Set central differences beside the gradients that are shown: beside all of them, or where that is too much, as with
        `full` in large networks, beside the largest, as many as some 6·10¹² floating-point operations allow: about a minute.
    input_names, output_names : sequence of str, optional
        What inputs and outputs stand for.
    row_name : str
        Where the row comes from, as it is to be printed.
    progress : bool
        Show a progress bar on standard error where the check takes more than a second.

    Returns
    -------
    Explanation

    Raises
    ------
    ValueError, TypeError
        Where arguments do not fit one another, or the step's numbers are not finite.

    Notes
    -----
    Dropout is left out. Of a run in bf16 the factors of products are shown as they were rounded. Formulas: docs/derivation.md.

    Examples
    --------
    >>> import glassprop as gp
    >>> network = gp.Network((2, 2, 2), activation="sigmoid", output_activation="sigmoid", loss="half_squared_error")
    >>> parameters = gp.Parameters.from_arrays([[[.15, .25], [.20, .30]], [[.40, .50], [.45, .55]]], [[.35, .35], [.60, .60]])
    >>> explanation = gp.explain(network, parameters, [[.05, .10]], [[.01, .99]], optimizer=gp.SGD(0.5))
    >>> explanation.steps[0].layers[0].g
    array([0.3775, 0.3925])
    >>> print(explanation.to_text(digits=9).splitlines()[9].strip())
    g₁,₁ = W₁,₁,₁ x₁ + W₁,₂,₁ x₂ + b₁,₁ = 0.15·0.05 + 0.2·0.1 + 0.35 = 0.3775
    """
    steps, neurons = _whole("steps", steps, 1), _whole("neurons", neurons, 1)
    names = {"input_names": input_names, "output_names": output_names, "row_name": row_name}
    if hasattr(model, "explain"):  # an estimator, which has its own ways to read X and y
        check_by_name("explain", parameters, X, Y)
        given = {"optimizer": optimizer, "state": state, "step": step, "input_names": input_names, "output_names": output_names}
        shown = {"steps": steps, "neurons": neurons, "full": full, "check": check, "row_name": row_name}
        shown["progress"] = progress
        options = {name: value for name, value in given.items() if value is not None}
        return model.explain(X, Y, row, sample_weight=weights, **shown, **options)
    if isinstance(model, Run):
        if parameters is not None:
            raise TypeError("parameters are the run's own; give a network to explain others")
        moments = _of_run(model, X, Y, weights, optimizer, state, step)
    else:
        network, own = network_of(model, parameters)
        moments = _by_hand(network, own, X, Y, weights, optimizer, state, step)
    return explain_moments(moments, steps, row, None if full else neurons, names, check, progress)


def explain_moments(
    moments: Moments, steps: int, row: int, most: int | None, names: dict[str, Any], check: bool, progress: bool = False
) -> Explanation:
    """Explain so many of the moments, each given with a text about its rows and their numbers in a table (or None).

    The neurons to show are chosen at the first.
    """
    traced: list[Step] = []
    chosen = None
    for moment, about, numbers in moments:
        row = _whole("row", row, 0, len(moment.X) - 1)
        moment.check()
        for name, count in (("input_names", moment.network.layers[0]), ("output_names", moment.network.layers[-1])):
            if names.get(name) is not None and len(names[name]) != count:
                raise ValueError(f"{name} must be {count} names; got {len(names[name])}")
        chosen = chosen or choose(moment, row, most)
        where = about.format(row if numbers is None else numbers[row]) or names.get("row_name", "")
        step = trace(moment, row, chosen, {"input_names": None, "output_names": None} | names | {"row_name": where})
        traced.append(with_check(moment, step, progress) if check else step)
        if len(traced) == steps:
            break
    return Explanation(tuple(traced))


def _by_hand(
    network: Network, parameters: Parameters, X: Any, Y: Any, weights: Any, optimizer: Any, state: Any, step: int | None,
    paired: bool = False,
) -> Moments:  # fmt: skip
    if X is None or Y is None:
        raise TypeError(f"{'X' if X is None else 'Y'} must be given: the rows of the step, with their targets")
    X = check_inputs(network, X)
    own, rule = parameters.astype(X.dtype), _check_rule(network, SGD() if optimizer is None else optimizer)
    moment = Moment(
        network, own, X, check_targets(network, Y, len(X), X.dtype), check_weights(weights, len(X), X.dtype), rule,
        _check_state(state, own), 0 if step is None else _whole("step", step, 0), None, paired,
    )  # fmt: skip
    while True:
        yield moment, "", None
        moment = moment.following


def _of_run(run: Run, X: Any, Y: Any, weights: Any, optimizer: Any, state: Any, step: int | None) -> Moments:
    """The steps that the run would take next, without dropout; or, with X and Y, such steps on other rows."""
    settings, data, checkpoint = run._settings, run._data, run._checkpoint
    last, paired = run.parameters.with_theta(run._theta), settings.precision == "bf16"
    rule = settings.optimizer if optimizer is None else optimizer
    if step is None:
        step = int(checkpoint["progress"]["step"][0]) if checkpoint else 0
    if state is None and rule is settings.optimizer and checkpoint:
        state = checkpoint["state"]
    if X is not None or Y is not None:
        given = X if X is None else check_inputs(run.network, X, last.dtype)
        yield from _by_hand(run.network, last, given, Y, weights, rule, state, step, paired)
        return
    if weights is not None:
        raise TypeError("weights go with X and Y; the run has its own")
    order = RowOrder(data, settings.seed, settings.shuffle)
    batch, per_epoch = settings.batch_size, -(-data.rows // settings.batch_size)
    parameters, rule, state = last, _check_rule(run.network, rule), _check_state(state, last)
    while True:
        epoch, within = divmod(step, per_epoch)
        rows = order.of(epoch)[within * batch : (within + 1) * batch]
        own_weights = None if data.weights is None else data.weights[rows]
        moment = Moment(run.network, parameters, data.X[rows], data.Y[rows], own_weights, rule, state, step, None, paired)
        yield moment, f"row {{}} of the training table, in the next minibatch of epoch {epoch + 1}", rows
        parameters, state, step = moment.after.parameters, moment.after.state, step + 1


def _check_rule(network: Network, rule: Any) -> Optimizer:
    check_optimizer(rule)
    check_factors(rule, network.layers)
    return rule


def _check_state(state: Any, parameters: Parameters) -> np.ndarray:
    shape = (2, parameters.theta.size)
    if state is None:
        return np.zeros(shape, parameters.dtype)
    if not isinstance(state, np.ndarray) or state.shape != shape or state.dtype != parameters.dtype:
        got = f"{state.dtype} of {state.shape}" if isinstance(state, np.ndarray) else type(state).__name__
        raise ValueError(f"state must be {parameters.dtype} of shape {shape}; got {got}")
    return state


def _whole(name: str, value: Any, least: int, most: int | None = None) -> int:
    if not is_whole(value):
        raise TypeError(f"{name} must be a whole number; got {value!r}")
    if value < least or (most is not None and value > most):
        wanted = f"at least {least}" if most is None else f"from {least} to {most}, the last row of the batch"
        raise ValueError(f"{name} must be {wanted}; got {value}")
    return int(value)
