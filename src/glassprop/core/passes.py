"""forward, backward and update for one batch, each by hand: thin calls of the compiled entry (step.py).

They hold no formulas.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from glassprop.core.arrays import check_finite, check_inputs, check_parameters, check_targets, check_weights, core_inputs
from glassprop.core.crew import Crew
from glassprop.core.jit import available_threads
from glassprop.core.layout import SPLIT_ROWS, layer_parts, reads_in_place
from glassprop.core.network import Network, Parameters, panel_columns, round_up
from glassprop.core.panels import read_panels
from glassprop.core.plan import BACKWARD, FORWARD, LOSS, OUTPUT, UPDATE
from glassprop.core.schedules import learning_rates
from glassprop.core.sparse import SparseTable
from glassprop.core.update import SGD, Optimizer, check_optimizer
from glassprop.core.workspace import Workspace
from glassprop.errors import is_whole

# Operations of a prediction, in float32, from which on starting threads for it pays: about a millisecond of work.
THREADED_FROM = 8e7
NUMBERS_AT_ONCE = 2**20  # of h, for rows of a sparse table that make one batch, or a batch of the usual size
FEW = 2  # rows of a dense table, up to which all rows of a W that lies by inputs are added up, as for those of a sparse one
MOST_IDLE = 8  # workspaces for predictions that a network keeps, at most, of a kind: as many as threads have asked at once
IDLE_BYTES = 2**24  # of scratch memory, up to which one is kept; beyond, making one is little beside the prediction


class Forward:
    """What a forward pass leaves: g and h of every layer.

    Attributes
    ----------
    g, h : list of ndarray, (rows, fan_out)
        Pre-activations and activations, in layer order from zero.
    output : ndarray, (rows, outputs)
        h of the last layer.
    """

    def __init__(self, network: Network, parameters: Parameters, X: np.ndarray, workspace: Workspace) -> None:
        self.network, self.parameters, self.X = network, parameters, X
        self.g, self.h = (
            [read_panels(workspace["scratch"], int(row[name]), int(row["units"]), len(X)) for row in workspace.layers[1:]]
            for name in "gh"
        )
        self.output = self.h[-1]


class Backward:
    """What a backward pass leaves.

    Attributes
    ----------
    loss : float
        The objective: weighted mean over rows of the row's loss, plus the penalty.
    delta : list of ndarray, (rows, fan_out)
        Error terms δ of every row, times the row's weight where weights are given.
    gradient : Parameters
        The gradient of `loss`, in the shape of the parameters.
    dW, db : list of ndarray
        Its views: ``gradient.W`` and ``gradient.b``.
    gradient_norm : float
        Euclidean norm of the whole gradient.
    """

    def __init__(self, fwd: Forward, workspace: Workspace) -> None:
        self.loss = float(workspace.progress["loss"][0])
        self.gradient_norm = float(workspace.progress["gradient_norm"][0])
        self.delta = [
            read_panels(workspace["scratch"], int(row["delta"]), int(row["units"]), len(fwd.X)) for row in workspace.layers[1:]
        ]
        self.gradient = fwd.parameters.with_theta(workspace["gradient"])
        self.dW, self.db = self.gradient.W, self.gradient.b


def forward(network: Network, parameters: Parameters, X: Any) -> Forward:
    """Forward pass of all rows of X as one batch: g_l = W_lᵀ h_{l−1} + b_l, h_l = φ(g_l). Without dropout.

    Parameters
    ----------
    network : Network
    parameters : Parameters
    X : array, (rows, inputs)
        float64 is computed in float64, everything else in float32.

    Returns
    -------
    Forward

    Raises
    ------
    ValueError, TypeError
        Where shapes do not fit, X is empty or not finite.

    Examples
    --------
    >>> import glassprop as gp
    >>> network = gp.Network((2, 1))
    >>> parameters = gp.Parameters.from_arrays([[[1.0], [2.0]]], [[0.5]])
    >>> gp.forward(network, parameters, [[1.0, 1.0]]).output
    array([[3.5]])
    """
    check_parameters(network, parameters)
    X = check_inputs(network, X).copy()  # `backward` must find what was here
    own = parameters.astype(X.dtype)
    workspace = Workspace(network, own.theta, X, batch_size=len(X), keep_g=True)
    workspace.run(0, 1, FORWARD)
    return Forward(network, own, X, workspace)


def backward(network: Network, parameters: Parameters, fwd: Forward, Y: Any, weights: Any = None) -> Backward:
    """Backward pass: δ_L = ∂L/∂h_L ⊙ φ′(g_L), δ_l = (W_{l+1} δ_{l+1}) ⊙ φ′(g_l), ∂L/∂W_l = h_{l−1} δ_lᵀ, ∂L/∂b_l = δ_l.

    Parameters
    ----------
    network : Network
    parameters : Parameters
        Those of the forward pass.
    fwd : Forward
        What `forward` returned.
    Y : array, (rows, outputs) or (rows,)
        Targets; for cross_entropy class numbers, or rows of probabilities.
    weights : array, (rows,), optional
        Row weights.

    Returns
    -------
    Backward

    Raises
    ------
    ValueError, TypeError
        Where targets do not fit the network or the loss, or `fwd` belongs to another network or to other parameters.

    Examples
    --------
    >>> import glassprop as gp
    >>> network = gp.Network((2, 1))
    >>> parameters = gp.Parameters.from_arrays([[[1.0], [2.0]]], [[0.5]])
    >>> back = gp.backward(network, parameters, gp.forward(network, parameters, [[1.0, 1.0]]), [3.0])
    >>> back.loss, back.db[0]
    (0.125, array([0.5]))
    """
    check_parameters(network, parameters)
    if not isinstance(fwd, Forward):
        raise TypeError(f"fwd must be what glassprop.forward returns; got {type(fwd).__name__}")
    if fwd.network != network:
        raise ValueError("fwd must come from the same network")
    if not np.array_equal(parameters.astype(fwd.parameters.dtype).theta, fwd.parameters.theta, equal_nan=True):
        raise ValueError("fwd must come from the same parameters; they have changed since")
    rows, dtype = fwd.X.shape[0], fwd.X.dtype
    Y, weights = check_targets(network, Y, rows, dtype), check_weights(weights, rows, dtype)
    workspace = Workspace(network, fwd.parameters.theta, fwd.X, Y, weights, batch_size=rows, keep_g=True)
    # the forward pass is repeated: of what it left in memory only g and h were kept
    workspace.run(0, 1, FORWARD | LOSS | BACKWARD)
    return Backward(fwd, workspace)


def update(
    parameters: Parameters,
    back: Backward,
    learning_rate: float | None = None,
    optimizer: Optimizer | None = None,
    state: np.ndarray | None = None,
    step: int = 0,
) -> Parameters:
    """New parameters after one step of an update rule; the old ones are left alone.

    Parameters
    ----------
    parameters : Parameters
    back : Backward
        What `backward` returned.
    learning_rate : float, optional
        η of plain gradient descent, W := W − η ∂L/∂W. Give this or `optimizer`.
    optimizer : rule, optional
        Such as ``glassprop.Adam(1e-3)``.
    state : ndarray, (2, parameters.theta.size), optional
        The rule's state, updated in place; None starts at zero and forgets.
    step : int
        Number of the step, from zero, for schedules and Adam's bias correction.

    Raises
    ------
    ValueError
        Where not exactly one of `learning_rate` and `optimizer` is given, or the state is of another shape.

    Examples
    --------
    >>> import glassprop as gp
    >>> network = gp.Network((2, 1))
    >>> parameters = gp.Parameters.from_arrays([[[1.0], [2.0]]], [[0.5]])
    >>> back = gp.backward(network, parameters, gp.forward(network, parameters, [[1.0, 1.0]]), [3.0])
    >>> gp.update(parameters, back, learning_rate=0.5).b[0]
    array([0.25])
    """
    if (learning_rate is None) == (optimizer is None):
        raise ValueError("give exactly one of learning_rate and optimizer")
    rule = SGD(learning_rate) if optimizer is None else optimizer
    check_optimizer(rule)
    if not isinstance(back, Backward):
        raise TypeError(f"back must be what glassprop.backward returns; got {type(back).__name__}")
    if not is_whole(step) or step < 0:
        raise ValueError(f"step must be a whole number of at least 0; got {step!r}")
    if not isinstance(parameters, Parameters):
        raise TypeError(f"parameters must be a glassprop.Parameters; got {type(parameters).__name__}")
    if back.gradient.layers != parameters.layers:
        raise ValueError(f"back must be of the parameters' layers {parameters.layers}; got {back.gradient.layers}")
    new = parameters.astype(back.gradient.dtype)
    check_factors(rule, new.layers)
    workspace = Workspace(Network(parameters.layers), new.theta, np.empty((1, 1), new.dtype), batch_size=1, optimizer=rule)
    workspace.set(
        gradient=back.gradient.theta.copy(), first_step=step, rates=learning_rates(rule.learning_rate, step, step + 1)
    )
    norm = float(np.linalg.norm(back.gradient.theta.astype(np.float64)))
    as_it_was = math.isclose(norm, back.gradient_norm, rel_tol=1000 * np.finfo(new.dtype).eps)
    # the core's to the bit, or that of a gradient which was changed since
    workspace.progress["gradient_norm"] = back.gradient_norm if as_it_was else norm
    if state is not None:
        wanted = workspace["state"].shape
        if not isinstance(state, np.ndarray) or state.shape != wanted or state.dtype != new.dtype:
            got = f"{state.dtype} of {state.shape}" if isinstance(state, np.ndarray) else type(state).__name__
            raise ValueError(f"state must be {new.dtype} of shape {wanted}; got {got}")
        if not (state.flags.c_contiguous and state.flags.writeable):
            raise ValueError("state must be contiguous, row by row, and writeable: it is updated in place")
        workspace.set(state=state)
    workspace.run(step, step + 1, UPDATE)
    return new


def check_factors(optimizer: Optimizer, layers: tuple[int, ...]) -> None:
    """Raise unless the rule's layer factors are one for each layer."""
    if optimizer.layer_factors is not None and len(optimizer.layer_factors) != len(layers) - 1:
        raise ValueError(
            f"layer_factors must be one for each of the {len(layers) - 1} layers; got {len(optimizer.layer_factors)}"
        )


def predict(network: Network, parameters: Parameters, X: Any, batch_size: int = 512, threads: int | None = None) -> np.ndarray:
    """The outputs h_L of all rows of X, (rows, outputs), a batch at a time, by as many threads as pay, at most `threads`."""
    check_parameters(network, parameters)
    ready = core_inputs(network, X)
    return outputs_of(network, parameters, ready, batch_size, threads, refuse=partial(check_finite, "X", ready, X))


def threads_pay(network: Network, X: np.ndarray | SparseTable) -> bool:
    """Whether starting threads for a forward pass of all rows pays."""
    products = len(X) * network.n_parameters
    if isinstance(X, SparseTable):
        products -= (len(X) * X.inputs - X.values.size) * network.layers[1]
    return 2 * products * X.dtype.itemsize / 4 >= THREADED_FROM


def _rows_of_batch(
    network: Network, X: np.ndarray | SparseTable, most: int, threads: int | None, by_inputs: bool, in_place: bool
) -> tuple[int, int]:
    """Rows of a batch, at most `most` unless W is turned around for it, and rows that its memory has room for."""
    if isinstance(X, SparseTable):
        if not by_inputs:  # W is turned around for every batch
            rows = min(len(X), X.rows_for_turning(), NUMBERS_AT_ONCE // sum(network.layers[1:]))
            most = max(most, 1 << rows.bit_length())
            return most, most
    elif len(X) <= panel_columns(X.dtype):  # one is taken otherwise than some, and than more
        most = min(most, panel_columns(X.dtype) if len(X) > 1 else 1)
    else:  # memory that may be kept, in whole panels: one at least for each thread
        width, layers = panel_columns(X.dtype), network.layers
        numbers = 3 * sum(round_up(units, width) for units in layers[1:]) + (0 if in_place else layers[0])
        if any(layer_parts(network, X.dtype, SPLIT_ROWS, paired=False, sparse=by_inputs)):  # Q, and h in three parts twice
            numbers += layers[0] + 3 * max(layers)
        panels = IDLE_BYTES // (numbers * width * X.dtype.itemsize)
        most = min(most, max(panels, 1 if threads == 1 else available_threads()) * width)
    # a single smaller batch may be shared out otherwise; as powers of two, few kinds of memory are kept
    return most, most if threads == 1 else min(most, 1 << (len(X) - 1).bit_length())


def outputs_of(
    network: Network,
    parameters: Parameters,
    X: np.ndarray | SparseTable,
    batch_size: int = 512,
    threads: int | None = None,
    g: np.ndarray | None = None,
    refuse: Callable[[], object] | None = None,
) -> np.ndarray:
    """The same for an X of the core's, in its precision; `g`, (rows, outputs), is filled with g_L where it is given.

    Where a dense X has not been checked yet, `refuse` is called if it holds a number that is not finite: the core takes note of
    that while it reads. To look for it in advance would be to read all of X twice, up to a sixth of the time (Zen 5).

    Several threads may ask at once. Making a workspace takes longer than predicting some rows: the network keeps the idle ones.
    """
    columns = X.shape[1] if isinstance(X, np.ndarray) else X.inputs
    if columns != network.layers[0]:
        raise ValueError(f"X must have {network.layers[0]} columns, as the network has inputs; got {columns}")
    own = parameters if parameters.dtype == X.dtype and parameters.theta.flags.c_contiguous else parameters.astype(X.dtype)
    output = np.empty((len(X), network.layers[-1]), X.dtype)
    if not threads_pay(network, X):
        threads = 1
    if own.by_inputs and len(X) <= FEW and isinstance(X, np.ndarray):
        if refuse is not None and not np.isfinite(X).all():
            refuse()
        X, refuse = SparseTable.of(X), None
    by_inputs, sparse = own.by_inputs, isinstance(X, SparseTable)
    in_place = not sparse and (by_inputs or reads_in_place(network, X.dtype, len(X), batch_size))
    batch_size, room = _rows_of_batch(network, X, batch_size, threads, by_inputs, in_place)
    kind = X.dtype.char, batch_size, threads, room, by_inputs, in_place, sparse
    idle = network.idle.setdefault(kind, [])
    try:
        work = idle.pop()
    except IndexError:  # none is idle
        work = Workspace(
            network, own.theta, X, batch_size=room, rows=room, threads=threads, by_inputs=by_inputs, in_place=in_place
        )
        work.set(asks_of_rows=1)
    work.crew = Crew(work.crew.most)  # who wanted the processors at the last prediction says nothing of this one
    work.plan["rows"], work.plan["theta"] = len(X), own.theta.ctypes.data
    work.plan["output"] = output.ctypes.data
    work.set(X=X if isinstance(X, np.ndarray) else X.addresses())
    batches = -(-len(X) // batch_size)
    for batch in range(batches if g is not None else 1):  # g is gone when the next batch comes
        work.run(batch, batches if g is None else batch + 1, FORWARD | OUTPUT)
        if g is not None:
            part = g[batch * batch_size : (batch + 1) * batch_size]
            part[...] = read_panels(work["scratch"], int(work.layers[-1]["g"]), network.layers[-1], len(part))
    finite = work.met_only_finite_rows()
    if len(idle) < MOST_IDLE and work["scratch"].nbytes <= IDLE_BYTES:
        work.let_go()
        idle.append(work)
    if refuse is not None and not finite:
        refuse()
    return output
