"""What follows from a seed alone: keys of dropout, and the order of rows in an epoch.

It knows no generator and no state: every number is a hash of what it is for, so that any step can be gone back to.
"""

from __future__ import annotations

import numpy as np

from glassprop.core.jit import entry, within

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_ORDERS = np.uint64(0x6F7264657273)  # tells orders from dropout


@within
def mix(x):
    """splitmix64 (Steele, Lea and Flood 2014): a well-mixed function of 64 bits."""
    x = x + _GOLDEN
    x = (x ^ (x >> np.uint64(30))) * _MIX_1
    x = (x ^ (x >> np.uint64(27))) * _MIX_2
    return x ^ (x >> np.uint64(31))


@within
def dropout_key(seed, step, l):
    """The key from which the dropout of layer `l` at `step` follows."""
    return mix(mix(mix(np.uint64(seed)) + np.uint64(step)) + np.uint64(l))


@entry
def draw_orders(orders, numbers, seed, first_epoch):
    """Fill ``orders``, (epochs, rows) int64, with `numbers`, (rows,), in the orders of epochs from `first_epoch` on.

    Fisher and Yates's shuffle: from the last place down, the number at place i changes places with one at 0..i, which a
    hash of seed, epoch and i chooses.
    """
    for e in range(len(orders)):
        order, key = orders[e], mix(mix(np.uint64(seed) ^ _ORDERS) + np.uint64(first_epoch + e))
        for i in range(len(order)):
            order[i] = numbers[i]
        for i in range(len(order) - 1, 0, -1):
            unit = np.float64(np.int64(mix(key + np.uint64(i)) >> np.uint64(12))) * 2.0**-52  # in [0, 1)
            j = np.int64(unit * (i + 1))
            order[i], order[j] = order[j], order[i]
