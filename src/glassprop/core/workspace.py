"""Workspace: the memory of a run, and the call of the compiled entry (step.py) on it.

It knows where things lie, not what is done with them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from glassprop.core.crew import Crew
from glassprop.core.jit import available_threads
from glassprop.core.layout import Layout, lay_out, new_scratch, takes_blocks
from glassprop.core.network import Network, aligned_zeros, panel_columns
from glassprop.core.plan import BATCH, EPOCH, FORWARD, NOTE, PATIENCE_SPENT, PLAN, PROGRESS, RAN
from glassprop.core.quads import quad_kernel
from glassprop.core.sparse import Lines, SparseTable, new_lists, new_turned, room_for_lines
from glassprop.core.stages import last_stages, prepare, stages
from glassprop.core.step import run
from glassprop.core.threads import SLOT, new_team, run_in_threads, waiting_addresses
from glassprop.core.tile import product_kernel, split_product_kernel
from glassprop.core.update import Optimizer

# Operations of a layer, on average, that pay for as many threads as the root of their number: all wait for one another at every
# meeting, and each reads what the others wrote. And those of a step for each thread that has no panel of the batch, only units.
FLOPS_FOR_THREADS, FLOPS_PER_SHARER = 4e5, 9e6
# How many times the former, in all its steps, a call must be worth, or starting threads would take longer than they save.
LEAST_OF_CALL = 250
INFINITY = {4: 0x7F800000, 8: 0x7FF0000000000000}  # its bits, by the bytes of a number: those of all finite ones are less


def useful_threads(network: Network, batch_size: int, width: int, most: int | None) -> int:
    """Threads that a step keeps busy, each with a share that outweighs the meetings: panels of the batch, or units.

    `width` is the number of rows of a panel, and of units that are shared out together.
    """
    flops = 6 * batch_size * network.n_parameters
    of_layer = flops / (len(network.layers) - 1) * panel_columns(np.dtype(np.float32)) / width  # as if in float32
    with_panels = min(-(-batch_size // width), int(math.sqrt(of_layer / FLOPS_FOR_THREADS)))
    with_units = min(-(-max(network.layers[1:]) // width), int(flops // FLOPS_PER_SHARER))
    return max(1, min(available_threads() if most is None else most, max(with_panels, with_units)))


def _new_gradient(size: int, dtype: np.dtype) -> np.ndarray:
    """Zeros; behind them there is a panel row, since products that add to what is there read whole vectors."""
    return aligned_zeros(size + panel_columns(dtype), dtype)[:size]


class Workspace:
    """The memory of a run: arrays by name, and the records through which the compiled entry sees them.

    Parameters
    ----------
    network : Network
    theta : ndarray
        Flat parameters, float32 or float64, which decide the precision; updated in place.
    X : ndarray or SparseTable, (rows, inputs)
    Y : ndarray, (rows, outputs) or (rows, 1), optional
        Without targets this is for predictions alone; those of a sparse X add up rows of Wᵀ of the first layer.
    weights : ndarray, (rows,), optional
        All as `arrays.py` prepares them, in the precision of `theta`.
    batch_size : int
    rows : int, optional
        How many rows an epoch's order names, where that is not all of X.
    optimizer : rule, optional
        None where nothing will be updated.
    validation : (X, Y, weights), optional
    seed : int
        Of dropout.
    order_epochs, steps, epochs : int
        Room for row orders (0: rows in their own order), learning rates and rows of history of one call.
    keep_best, keep_g, output : bool
        Room for the best parameters, for the pre-activations of all layers, for the outputs of all rows.
    threads : int, optional
        As many at most; None: as many as there are processors. How many there will be follows from the work in a step.
    paired : bool
        Steps that update multiply bfloat16; float32 only.
    at_once : bool
        Large networks are updated block by block, so that ``gradient`` holds no whole gradient after a step: for training.
    as_scikit_learn : bool
        The objective of scikit-learn's MLP: penalties divided by the Σ w of the batch at hand. And its bookkeeping, which
        leaves the gradient alone: an epoch's loss is the mean of its batches' by their rows, not by their Σ w; half the
        squared error is the mean over outputs, not the sum; log losses are those of probabilities clipped to [ε, 1 − ε].
    by_inputs : bool
        `theta` is that of a `ByInputs`: for predictions, or for the sums of `GradientSum`.
    columns : SparseTable, optional
        For these, X by columns, see `sparse.sum_columns`.
    in_place : bool
        A dense X is read where it lies, see in_place.py: for predictions alone, and wherever `theta` lies by inputs.
    """

    _lines: Lines | None = None  # of a sparse X, for which there is room
    _worked: Sequence[float] = ()  # seconds of a processor, of each thread in the last call

    def __init__(
        self,
        network: Network,
        theta: np.ndarray,
        X: np.ndarray | SparseTable,
        Y: np.ndarray | None = None,
        weights: np.ndarray | None = None,
        *,
        batch_size: int,
        rows: int | None = None,
        optimizer: Optimizer | None = None,
        validation: tuple[np.ndarray | SparseTable, np.ndarray, np.ndarray | None] | None = None,
        seed: int = 0,
        order_epochs: int = 0,
        steps: int = 1,
        epochs: int = 1,
        keep_best: bool = False,
        keep_g: bool = False,
        output: bool = False,
        threads: int | None = 1,
        paired: bool = False,
        at_once: bool = False,
        as_scikit_learn: bool = False,
        by_inputs: bool = False,
        columns: SparseTable | None = None,
        in_place: bool = False,
    ) -> None:
        dtype, rows, trains = theta.dtype, rows or len(X), Y is not None
        prepare(dtype)
        batch_size, width = min(batch_size, rows), panel_columns(dtype)
        validation_rows = len(validation[0]) if validation else 0
        self.crew = Crew(useful_threads(network, batch_size, width, threads))
        self._flops = 6 * batch_size * network.n_parameters * dtype.itemsize / 4  # of a step, as if in float32
        self.one = dtype.type(1)
        self.plan, self.progress, self.batches = np.zeros(1, PLAN), np.zeros(1, PROGRESS), np.zeros(self.crew.most, BATCH)
        self._plan: Any = dict.fromkeys(PLAN.names or (), 0)  # a field of a NumPy record takes longer to set
        self.progress["best"] = math.inf
        self.arrays: dict[str, np.ndarray | None] = {
            "gradient": _new_gradient(theta.size if optimizer or trains else 0, dtype),
            "state": aligned_zeros((2, theta.size), dtype) if optimizer else None,
            "best": theta.copy() if keep_best else None,
            "order": np.zeros((order_epochs, rows), np.int64) if order_epochs else None,
            "rates": np.zeros(steps),
            "loss_constants": np.array([network.loss.constant]),
            "history": np.zeros(epochs, EPOCH),
            "output": np.zeros((rows, network.layers[-1]), dtype) if output else None,
        }
        self._take_data((X, Y, weights), validation or (None, None, None))
        self.set(**self._given(), theta=theta, theta_size=theta.size)
        self.set(rows=rows, batch_size=batch_size, validation_rows=validation_rows, seed=seed, as_scikit_learn=as_scikit_learn)
        lines = self._room_for_lines(network.layers[0], batch_size, trains and not by_inputs, in_place)
        layout = lay_out(network, dtype, batch_size, keep_g, self.crew.most, paired, lines, trains, by_inputs, in_place)
        self.layers = layout.layers
        self._take_batch(layout, -(-batch_size // width), -(-validation_rows // width), paired)
        if in_place:
            self._take_in_place()
        if lines and self._tables:
            self._take_sparse(network.layers[0], lines, by_inputs or not trains, columns)
        self._take_objective(network, as_scikit_learn)
        if optimizer:
            self._take_optimizer(network, optimizer, at_once, paired)
        self.set(**last_stages(dtype))
        self.plan[0] = tuple(self._plan.values())
        self._plan = self.plan

    def _take_data(self, rows: tuple[Any, Any, Any], held: tuple[Any, Any, Any]) -> None:
        """X, Y and weights of the rows to train on and of those held out, where there are any."""
        self._tables = tuple(
            table for table in (rows[0], held[0]) if isinstance(table, SparseTable)
        )  # given by address, must stay
        if held[0] is not None and len(self._tables) == 1:
            raise TypeError("validation rows must be sparse where X is, and only there")
        for prefix, (X, Y, weights) in (("", rows), ("validation_", held)):
            given = X.addresses() if isinstance(X, SparseTable) else X
            self.arrays |= {f"{prefix}X": given, f"{prefix}Y": Y, f"{prefix}weights": weights}

    def _room_for_lines(self, inputs: int, batch_size: int, trains: bool, in_place: bool) -> Lines | None:
        """Of a sparse X that is trained on; a line where rows of X are not gathered; None where they are."""
        if not (self._tables and trains):
            return Lines(1, 1) if self._tables or in_place else None
        self._lines = room_for_lines(self._tables, batch_size, panel_columns(self.one.dtype)).with_some_more(inputs)
        return self._lines

    def _take_batch(self, layout: Layout, panels: int, validation_panels: int, paired: bool) -> None:
        """The memory of a batch, what threads leave for one another, and the kernels that work on both."""
        dtype = self.one.dtype
        self.set(
            scratch=new_scratch(layout, dtype),
            constants=np.zeros((self.crew.most, 16)),
            sums=np.zeros(2 * max(panels + layout.pieces, validation_panels)),
            largest=aligned_zeros(SLOT * self.crew.most, np.dtype(np.int64)),
            team=new_team(self.crew.most),
            most_panels=panels,
            pieces=layout.pieces,
            product=product_kernel(dtype),
            paired_product=product_kernel(dtype, paired=True) if paired else 0,
            split_product=split_product_kernel() if layout.parts == 3 else 0,
            **stages(dtype),
            **(stages(dtype, "parts") if layout.parts else {}),
        )
        if layout.few_columns:
            self.set(quads=quad_kernel(dtype))
        if layout.in_portions:
            self.set(**stages(dtype, "portions"))
        if layout.in_portions or layout.joins_again:
            self.set(adding_product=product_kernel(dtype, calling=True, adding=True))
        self.set(targets=layout.targets, batch_weights=layout.weights, losses=layout.losses, zero=layout.zero)
        self.set(packed=layout.packed, packed_size=layout.packed_size, constants_stride=16 * 8, **waiting_addresses())
        self.set(delta_pairs=layout.delta_pairs, pairs_of_panel=layout.pairs_of_panel)

    def _take_in_place(self) -> None:
        """The kernels of an X that is read where it lies."""
        dtype = self.one.dtype
        self.set(by_rows=1, adding_product=product_kernel(dtype, calling=True, adding=True), **stages(dtype, "in_place"))

    def _take_sparse(self, inputs: int, lines: tuple[int, int], by_rows: bool, columns: SparseTable | None) -> None:
        """Memory and kernels of a sparse X: lists of lines, or Wᵀ."""
        dtype, panels = self.one.dtype, int(self._plan["most_panels"])
        width = panel_columns(dtype)
        if by_rows:
            self.set(by_rows=1, **stages(dtype, "rows"))
            if not self.layers[1]["by_inputs"]:
                self.set(**new_turned(inputs, int(self.layers[1]["padded"]), panels, self.crew.most, dtype))
            if columns is not None:
                self._tables += (columns,)
                self.set(columns=columns.addresses(), **stages(dtype, "columns"))
        else:
            lists = new_lists(inputs, lines, panels, self.crew.most, width)
            self.set(**lists, **stages(dtype, "sparse"), listed_product=product_kernel(dtype, listed=True))

    def _take_objective(self, network: Network, as_scikit_learn: bool) -> None:
        loss, outputs = network.loss, network.layers[-1]
        distribution = loss.targets == "distribution"

        def by_class(Y: np.ndarray | None) -> bool:
            return distribution and outputs > 1 and Y is not None and Y.shape[1] == 1

        self.set(
            loss=loss.kernel(network.output_activation, self.one.dtype, as_scikit_learn),
            loss_scale=1 / outputs if as_scikit_learn and loss.name == "half_squared_error" else 1.0,
            classes=by_class(self.arrays["Y"]),
            validation_classes=by_class(self.arrays["validation_Y"]),
            keep=1.0 - loss.label_smoothing,
            share=loss.label_smoothing / (outputs if distribution else 2),  # for a yes or no, half the smoothing each
            most_norm=float(np.finfo(np.float64).max),
            l2=network.l2,
            l1=network.l1,
        )

    def _take_optimizer(self, network: Network, optimizer: Optimizer, at_once: bool, paired: bool) -> None:
        dtype = self.one.dtype
        if at_once and takes_blocks(network) and not optimizer.clip_norm:  # clipping needs the whole gradient first
            self.set(at_once=1, calling_product=product_kernel(dtype, paired, calling=True))
        most = optimizer.most_norm(dtype)  # and of all parameters' gradients below a millionth of it, the norm is less
        self.set(most_norm=most, bound=min(1e37 if dtype == np.float32 else 1e140, 1e-6 * most))
        own = optimizer.constants()
        self["constants"][:, 4 : 4 + own.size] = own
        for i, name in enumerate(optimizer.betas):
            self["constants"][:, 8 + i] = math.log(max(getattr(optimizer, name), 1e-300))
        self.set(rule=optimizer.kernel(dtype), weight_decay=optimizer.weight_decay, clip_norm=optimizer.clip_norm or 0.0)
        self.set(
            alike=optimizer.at_rest and not (optimizer.layer_factors or optimizer.weight_decay or self.layers[1]["by_inputs"]),
            rule_vectors=1 + len(optimizer.states),
        )
        for l, factor in enumerate(optimizer.layer_factors or (), start=1):
            self.layers[l]["rate_factor"] = factor

    def __getitem__(self, name: str) -> np.ndarray:
        array = self.arrays[name]
        assert array is not None, name
        return array

    def set(self, **values: float | np.ndarray) -> None:
        """Write into the plan; an array is kept, and its address written."""
        for name, value in values.items():
            if isinstance(value, np.ndarray):
                self.arrays[name] = value
                value = value.ctypes.data
            self._plan[name] = value

    def _given(self) -> dict[str, np.ndarray]:
        """The arrays that are there, by name."""
        return {name: array for name, array in self.arrays.items() if array is not None}

    def let_go(self) -> None:
        """Keep neither rows nor parameters and their state: others are given before the next run."""
        self.arrays |= dict.fromkeys(("X", "Y", "weights", "theta", "state"))
        self._tables = ()

    def met_only_finite_rows(self) -> bool:
        """Whether all numbers of a dense X are finite, of those read where the plan `asks_of_rows`, since this was asked."""
        largest = self["largest"]
        finite = max(largest.tolist()) < INFINITY[self.one.itemsize]
        if not finite:
            largest[:] = 0
        return finite

    def holds(self, X: np.ndarray | SparseTable) -> bool:
        """Whether it can take this table, of as many rows, in place of the one that it was made for."""
        if isinstance(X, np.ndarray) or self._lines is None:
            return isinstance(X, np.ndarray) and self._lines is None
        return self._lines.hold(room_for_lines((X,), int(self.plan["batch_size"][0]), panel_columns(X.dtype)))

    def begin_anew(self, theta: np.ndarray, X: np.ndarray | SparseTable, Y: np.ndarray, weights: np.ndarray | None) -> None:
        """Another run of the same kind, with other parameters and as many rows, where nothing is done yet."""
        self.crew = Crew(self.crew.most)
        self.progress[:] = 0
        self.progress["best"] = math.inf
        self._take_data((X, Y, weights), (None, None, None))
        self.set(**self._given(), theta=theta)

    def note(self, value: float, epochs_done: int) -> bool:
        """Judge an epoch by `value` (lower is better) in place of its loss; True when patience is spent."""
        self.progress["monitored"] = value
        spe = -(-int(self.plan["rows"][0]) // int(self.plan["batch_size"][0]))
        self.run(epochs_done * spe - 1, epochs_done * spe, NOTE)
        return bool(self.progress["status"][0] == PATIENCE_SPENT)

    def run(self, first: int, last: int, stages: int) -> int:
        """Call the compiled entry; see `run`."""
        little = (last - first) * self._flops < LEAST_OF_CALL * FLOPS_FOR_THREADS
        if self.crew.most == 1 or not stages & FORWARD or little:
            return self._run(first, last, stages, 1)
        while True:
            until, begun = min(last, first + self.crew.steps()), time.perf_counter()
            reached = self._run(first, until, stages, self.crew.size)
            self.crew.learn(reached - first, time.perf_counter() - begun, sum(self._worked))
            if reached < until or until == last or self.progress["status"][0] != RAN:
                return reached
            first = reached

    def _run(self, first: int, last: int, stages: int, threads: int) -> int:
        self.plan["threads"] = threads
        self._worked = worked = [0.0] * threads

        def work(thread: int) -> int:
            return int(run(self.plan, self.progress, self.layers, self.batches, first, last, stages, thread, self.one))

        def timed_work(thread: int) -> int:
            begun = time.thread_time()  # not that of the process, in which other runs may be at work
            reached = work(thread)
            worked[thread] = time.thread_time() - begun
            return reached

        call = timed_work if self.crew.most > 1 else work
        return run_in_threads(call, threads, self["team"])
