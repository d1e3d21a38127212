"""The records through which compiled code sees a run: what it is, what it has come to, and where its memory lies.

It knows names and types, not what is done with them. The table of layers is in layout.py.
"""

from __future__ import annotations

import numpy as np

# Parts of a step, to be added together.
FORWARD, LOSS, BACKWARD, UPDATE, EPOCHS, NOTE, OUTPUT = 1, 2, 4, 8, 16, 32, 64
TRAIN = FORWARD | LOSS | BACKWARD | UPDATE | EPOCHS  # with NOTE where the core itself watches the loss
# Why a call ended before its last step.
RAN, DIVERGED, PATIENCE_SPENT = 0, 1, 2

#: What a run is, in one record. Arrays are addresses; those that may be absent are 0 then.
PLAN = np.dtype(
    [
        *((name, np.int64) for name in (
            "rows", "batch_size", "validation_rows",
            "classes", "validation_classes",  # 1 where targets are (rows, 1) class numbers for several outputs
            "seed",  # of dropout
            "first_step",  # step of rates[0]
            "first_epoch",  # epoch of order[0] and history[0]
            "earlier_steps",  # done before step 0 on other rows; the rule's t and dropout count them too
            "as_scikit_learn",  # 1: see Workspace
            "patience",  # epochs without improvement after which to stop; 0: never
            "alike",  # 1: the rule may take all parameters in one go, with the padding between layers
            "rule_vectors",  # that the rule reads: θ and its state
            "asks_of_rows",  # 1: whether all numbers of X are finite, of which `largest` tells; for predictions
            "at_once",  # 1: the rule takes a block as soon as its gradient is there, see blocks.gradient
            "do_gather", "do_forward", "do_losses", "do_backward", "do_gradient", "do_update",  # see stages.STAGES
            "loss", "rule", "product",  # other kernels
            "do_pair_input", "do_pair_units", "do_pair_errors", "do_pair_block", "do_rows", "do_columns",  # see parts.py
            "paired_product",  # of pairs of bfloat16 in training steps, or absent
            "split_product",  # of float32 in three parts of bfloat16, for batches of some size, or absent
            "calling_product",  # of gradients where the rule acts at once, of pairs if there are any
            "adding_product", "add_rows", "add_columns",  # of portions of W, or absent; see portions.py and in_place.py
            "quads",  # of a gradient's last few columns, or absent
            "listed_product", "do_collect",  # of a sparse X, or absent; see sparse.py
            "by_rows",  # 1: gathering rows leaves g of the first layer, see sparse.py and in_place.py
            "add_dots",  # of predictions of a single row, or absent; see in_place.py
            "columns",  # address of the addresses of a SparseTable, of X by columns, see sparse.sum_columns
            "turned", "turned_inputs",  # of each thread, Wᵀ of so many inputs, for predictions of a sparse X, or absent
            "theta_size",
            "theta", "gradient",  # (theta_size,)
            "state",  # (2, theta_size)
            "best",  # (theta_size,): theta of the best epoch
            "scratch",
            "X", "Y", "weights",  # (rows, inputs) or a SparseTable's addresses, (rows, outputs or 1), (rows,) or absent
            "validation_X", "validation_Y", "validation_weights",
            "order",  # (epochs, rows) int64 row numbers, or absent: rows in their own order
            "rates",  # float64, learning rate of each step
            "constants", "loss_constants",  # float64, of the rule's and the loss's kernel
            "constants_stride",  # bytes from one thread's constants of the rule to the next one's
            "history",  # (epochs,) EPOCH
            "output",  # (rows, outputs) or absent
            "targets", "batch_weights", "losses", "zero", "packed",  # offsets in scratch, see layout.Layout
            "packed_size",  # of one thread's share
            "delta_pairs", "pairs_of_panel",  # see layout.Layout
            "sums",  # float64, pairs: (loss, weight) of panels, then (squares, penalty) of pieces of the gradient
            "most_panels",  # of a batch
            "pieces",  # of the gradient
            "largest",  # int64, a line for each thread: bits of the largest |h| and |δ| it has met, where that will be asked
            "lines", "line_counts",  # int64, of a sparse X: inputs of every panel's lines, and how many
            "block_lines", "block_table",  # places of the rows of every block's lines, and (first line, lines) of blocks
            "share_lines",  # lines of blocks that one thread has room for
            "seen", "places",  # int64, for finding a panel's lines, of each thread; or what rows meet, see sparse.multiply_rows
            "threads", "team", "give_way", "nap",  # see threads.py
        )),
        *((name, np.float64) for name in (
            "keep", "share",  # label smoothing: y := keep y + share
            "loss_scale",  # of the mean over rows, before the penalty is added; it does not scale the gradient
            "bound",  # below which a gradient is far from overflowing, and so is its square where the rule takes it
            "most_norm",  # of a gradient, where the rule takes squares of it that must not overflow
            "l2", "l1", "weight_decay",
            "clip_norm",  # 0: no clipping
            "tolerance",  # by how much the monitored value must fall to count as improved
        )),
    ],
    align=True,
)  # fmt: skip

#: What a thread is at work on, in one record of its own: rows of a batch, and what is asked of them.
_BATCH = (
    *((name, np.int64) for name in (
        "thread",
        "stages",  # of the step
        "step",  # that dropout goes by; the rule's t is one more
        "parts",  # of bfloat16 in operands of its products, where a layer has as many: 1 or 3, or 0
        "X", "Y", "weights",  # addresses, as in the plan: of the rows to train on, or of those held out
        "classes",  # of Y
        "order",  # of these rows: address of the epoch's, or absent
        "start", "stop",  # places of the batch's rows in it, last exclusive
        "rows", "panels",  # of the whole batch
        "first", "last",  # panels that are this thread's, last exclusive
        "together",  # all panels of the batch where threads may share out units instead, else 0
        "sums",  # address of the (loss, weight) of panel 0
        "at_once",  # 1: the rule takes a block as soon as its gradient is there
    )),
    *((name, np.float64) for name in (
        "scale",  # of the gradient: 1/Σ w
        "rate",  # the learning rate
        "norm",  # of the gradient
    )),
)  # fmt: skip
# Two lines of the cache for each that is used: no thread writes into another's.
BATCH = np.dtype(
    {
        "names": [name for name, _ in _BATCH],
        "formats": [kind for _, kind in _BATCH],
        "offsets": list(range(0, 8 * len(_BATCH), 8)),
        "itemsize": 256,
    }
)

#: What a run has come to, in one record: with parameters and optimizer state, all that continuing needs.
PROGRESS = np.dtype(
    [
        ("step", np.int64),  # steps done
        ("status", np.int64),
        ("loss", np.float64),  # of the last batch, penalty included
        ("gradient_norm", np.float64),
        ("loss_sum", np.float64),  # of the epoch so far
        ("weight_sum", np.float64),
        ("norm_sum", np.float64),
        ("monitored", np.float64),  # value of the last epoch: the validation loss, else the loss; or minus the score
        ("best", np.float64),  # lowest so far
        ("best_epoch", np.int64),  # epochs done when it was reached
        ("stale", np.int64),  # epochs since it fell by more than the tolerance
    ],
    align=True,
)

#: One row of history per epoch, all float64.
EPOCH = np.dtype([(name, np.float64) for name in ("loss", "validation_loss", "learning_rate", "gradient_norm")])
