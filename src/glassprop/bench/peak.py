"""The machine's peak: how many floating-point operations a second a loop of vector FMAs does that shares and loads nothing.

Beside every sample it tells, too, whether the host gave the machine less than before.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from glassprop.core.jit import entry, host_vector_bytes
from glassprop.core.vectors import fma_of, splat

VECTOR_BYTES = host_vector_bytes()
SUMS = 24 if VECTOR_BYTES == 64 else 12  # independent sums: at least latency × FMAs a cycle, and no more than registers
SECONDS = 0.02  # of a sample, after which clock rates have settled
_ROUNDS = 20_000  # FMAs on every sum in one call: about a tenth of a millisecond


@intrinsic
def _fma_loop(typingctx, out, rounds):
    """Do `rounds` FMAs on each of `SUMS` vectors, x/2 + 1 from out[0] + i on, and write what they add up to into out[0]."""
    number = out.dtype
    lanes = VECTOR_BYTES * 8 // number.bitwidth

    def codegen(context, builder, sig, args):
        vector = ir.VectorType(context.get_value_type(number), lanes)
        multiply_add = fma_of(builder, vector)
        factor, summand = (ir.Constant(vector, [value] * lanes) for value in (0.5, 1.0))
        array = context.make_array(sig.args[0])(context, builder, args[0])
        # from memory: of numbers known to it the compiler leaves out what comes to nothing, 2/2 + 1
        given = splat(builder, builder.load(array.data), vector)
        starts = [builder.fadd(given, ir.Constant(vector, [float(i)] * lanes)) for i in range(SUMS)]
        sums = [cgutils.alloca_once_value(builder, start) for start in starts]
        with cgutils.for_range(builder, args[1]):
            for place in sums:
                builder.store(multiply_add(builder.load(place), factor, summand), place)
        total = builder.load(sums[0])
        for place in sums[1:]:
            total = builder.fadd(total, builder.load(place))
        builder.store(builder.extract_element(total, ir.IntType(32)(0)), array.data)
        return context.get_dummy_value()

    return types.void(out, types.int64), codegen


@entry
def _spin(out, rounds):
    _fma_loop(out, rounds)


def _rate(dtype: Any, seconds: float) -> float:
    """Operations a second of the calling thread, over about `seconds`."""
    out = np.zeros(1, dtype)
    lanes = VECTOR_BYTES // out.itemsize
    calls, begun = 0, time.perf_counter()
    while (passed := time.perf_counter() - begun) < seconds:
        _spin(out, _ROUNDS)
        calls += 1
    return 2 * lanes * SUMS * _ROUNDS * calls / passed


def measure_peak(threads: int = 1, dtype: Any = "float32", seconds: float = SECONDS) -> float:
    """GFLOP/s of `threads` threads at once.

    Examples
    --------
    >>> from glassprop.bench.peak import measure_peak
    >>> measure_peak() > 0.1
    True
    """
    _spin(np.zeros(1, dtype), 1)  # compiled before the clock runs
    if threads == 1:
        return _rate(dtype, seconds) / 1e9
    with ThreadPoolExecutor(threads) as pool:
        return sum(pool.map(lambda _: _rate(dtype, seconds), range(threads))) / 1e9
