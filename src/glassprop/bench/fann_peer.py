"""FANN at a task, by ctypes. It knows neither Adam nor ReLU nor minibatches: plain gradient steps, clipped linear units.

A minibatch is a table of pointers to rows, so that nothing is copied; every one is an "epoch" of FANN.
"""

from __future__ import annotations

import ctypes
import ctypes.util
from typing import TYPE_CHECKING

import numpy as np

from glassprop.bench.peers import Peer

if TYPE_CHECKING:
    from glassprop.bench.tasks import Rows, Start, Task

TRAIN_BATCH, LINEAR, LINEAR_PIECE = 1, 0, 13  # numbers in fann_data.h


class _Table(ctypes.Structure):
    """``struct fann_train_data`` of FANN 2.2."""

    _fields_ = (
        ("errno_f", ctypes.c_int), ("error_log", ctypes.c_void_p), ("errstr", ctypes.c_char_p),
        ("num_data", ctypes.c_uint), ("num_input", ctypes.c_uint), ("num_output", ctypes.c_uint),
        ("input", ctypes.c_void_p), ("output", ctypes.c_void_p),
    )  # fmt: skip


class Fann(Peer):
    """Gradient descent with FANN's own batch training."""

    def __init__(self, task: Task, rows: Rows, threads: int) -> None:
        super().__init__(task, rows, threads)
        self.fann = ctypes.CDLL(ctypes.util.find_library("floatfann"))
        self.fann.fann_create_standard_array.restype = ctypes.c_void_p
        self.fann.fann_train_epoch.argtypes = (ctypes.c_void_p, ctypes.POINTER(_Table))
        self.fann.fann_train_epoch.restype = ctypes.c_float
        sizes = (ctypes.c_uint * len(task.layers))(*task.layers)
        self.network = ctypes.c_void_p(self.fann.fann_create_standard_array(len(sizes), sizes))
        self.fann.fann_set_training_algorithm(self.network, TRAIN_BATCH)
        self.fann.fann_set_activation_function_hidden(self.network, LINEAR_PIECE)
        self.fann.fann_set_activation_function_output(self.network, LINEAR)
        self.fann.fann_set_train_error_function(self.network, 0)
        self.fann.fann_set_learning_rate(self.network, ctypes.c_float(1e-3))

    def restart(self, start: Start) -> None:
        self.fann.fann_randomize_weights(self.network, ctypes.c_float(-0.1), ctypes.c_float(0.1))

    def train_epoch(self, order: np.ndarray) -> float:
        tables = [array.ctypes.data + order.astype(np.uint64) * np.uint64(array.strides[0]) for array in self.rows[:2]]
        ins, outs = (table.ctypes.data for table in tables)
        batch, (inputs, *_, outputs) = self.task.batch, self.task.layers
        table = _Table(0, None, None, batch, inputs, outputs)
        network, train, reference = self.network, self.fann.fann_train_epoch, ctypes.byref(table)
        loss = 0.0
        for first in range(0, len(order) - batch + 1, batch):
            table.input, table.output = ins + 8 * first, outs + 8 * first
            loss = train(network, reference)
        return loss
