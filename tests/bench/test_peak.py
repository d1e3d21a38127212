"""The loop of FMAs: it really does them, and says how many a second."""

import numba
import numpy as np
import pytest

from glassprop.bench import peak


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_loop_does_its_fmas(dtype):
    out = np.zeros(1, dtype)
    peak._spin(out, 3)  # i, then three times x/2 + 1
    assert out[0] == pytest.approx(sum(2 + (i - 2) / 8 for i in range(peak.SUMS)))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_no_fma_is_left_out_by_the_compiler(dtype):
    loop = numba.njit(peak._spin.py_func)
    loop(np.zeros(1, dtype), 1)
    code = loop.inspect_llvm(loop.signatures[0])  # rounds may have been unrolled
    fmas = sum("call" in line and "llvm.fma" in line for line in code.splitlines())
    assert fmas
    assert fmas % peak.SUMS == 0


@pytest.mark.parametrize("threads", [1, 2])
def test_a_rate_above_what_python_could_do(threads):
    assert peak.measure_peak(threads, seconds=0.002) > 0.5
