"""Compiler policy: flags, the cache on disk, the calling convention of rule kernels, and what only the processor knows: shared
counters, the floating-point mode. The only file that calls the compiler.

It holds no arithmetic of its own beyond reading and shifting pointers.

Three kinds of compiled code exist:

- ``inner`` functions, compiled into whatever calls them, and ``within`` ones, pasted in;
- one ``entry`` (``step.run``), whose machine code serves every network of a precision: memory is handed to it as addresses in a
  record, and `unit`, a 1 of float32 or float64, says what lies there;
- ``kernels``, called by address: one for each stage of a step, compiled once, where Numba would optimise it again in every
  caller; and a small one for each rule of a table (an activation, a loss, an update rule), compiled on first use, so that a
  rule that is not used costs nothing and a user's own rule is a rule like any other.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import platform
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.caching import FunctionCache, IndexDataCacheFile
from numba.core.codegen import get_host_cpu_features
from numba.core.errors import TypingError
from numba.extending import intrinsic

from glassprop.errors import CompileNotice

# "contract" lets a product and a sum become one FMA. Nothing that assumes away NaN or infinity is ever allowed, and
# "reassoc" only where a sum has to be vectorised: it would undo the two-part reductions in elementary.py.
FLAGS = {"contract"}
SUM_FLAGS = {"contract", "reassoc"}

_POLICY: dict[str, Any] = {"error_model": "numpy", "nogil": True}
# Functions without the wrappers by which Python or C would call them, a fifth of the time of compiling: only compiled code may.
_INNER: dict[str, Any] = _POLICY | {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}

inner = numba.njit(**_INNER, fastmath=FLAGS)
inner_sum = numba.njit(**_INNER, fastmath=SUM_FLAGS)


def scalar(function: Callable) -> Any:
    """`function` of a few numbers, compiled into the loop that calls it: a call left standing would keep it from vectors.

    One of `math` or NumPy is known to the compiler and comes back as it is.
    """
    if not inspect.isfunction(function):
        return function
    return numba.njit(**_POLICY, fastmath=FLAGS, forceinline=True)(function)


#: Put in its caller's place before anything is optimised: for a loop that only the function around it can make vectors of, and
#: for what has one caller or is small, since every function by itself costs the compiler about 50 ms.
within = numba.njit(**_INNER, fastmath=FLAGS, inline="always")

#: Bytes of one panel row (panels.py): two AVX-512 vectors, four AVX ones, eight of SSE or NEON.
PANEL_BYTES = 128


@functools.cache
def sources_digest() -> str:
    """Hash of every file of the core. Numba itself looks only at the file of a cached function, not at what it calls."""
    digest = hashlib.sha256(f"{sys.version_info[:2]}{numba.__version__}".encode())
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


class _CoreCache(FunctionCache):
    """Numba's cache on disk, but valid only for exactly these core sources, and keyed by the rule's name."""

    def __init__(self, function: Callable, name: str) -> None:
        super().__init__(function)
        self._rule = name
        self._cache_file = IndexDataCacheFile(
            cache_path=self._cache_path, filename_base=f"{self._impl.filename_base}-{name}", source_stamp=sources_digest()
        )

    def _index_key(self, sig: Any, codegen: Any) -> tuple:
        return (sig, codegen.magic_tuple(), self._rule)


def _enable_cache(dispatcher: Any, function: Callable, name: str) -> None:
    try:
        dispatcher._cache = _CoreCache(function, name)
    except RuntimeError:  # neither the package's folder nor the user's cache folder can be written
        warnings.warn(
            "glassprop cannot write its machine code to disk and compiles again in every process; "
            "set NUMBA_CACHE_DIR to a folder that can be written",
            CompileNotice,
            stacklevel=2,
        )


def entry(function: Callable) -> Any:
    """Compile `function` on its first call, with machine code kept on disk; Python's lock is released while it runs."""
    dispatcher = numba.njit(**_POLICY, fastmath=FLAGS)(function)
    _enable_cache(dispatcher, function, "entry")
    return dispatcher


def must_compile(dispatcher: Any, unit: np.floating) -> bool:
    """Whether the entry's first call with `unit` will have to compile: it is neither in memory nor on disk."""
    kind = numba.typeof(unit)
    known = {signature[-1] for signature in dispatcher.signatures}
    cache = dispatcher._cache
    if kind not in known and isinstance(cache, _CoreCache):
        known |= {key[0][-1] for key in cache._cache_file._load_index()}
    return kind not in known


# --- kernels -----------------------------------------------------------------------------------------------------------

_FLOATS = {"float32": types.float32, "float64": types.float64}
_kernels: list[Any] = []  # keeps their machine code alive


def kernel(
    body: Callable, name: str, dtype: np.dtype, arguments: str, cached: bool = True, records: dict[str, Any] | None = None
) -> int:
    """Compile the kernel `body` for `dtype` and return its address.

    Parameters
    ----------
    body : callable
        What the arguments mean is the table's affair (activations.py, losses.py, update.py, tile.py, step.py).
    name : str
        Key of the cache on disk, unique among all tables.
    dtype : numpy.dtype
        float32 or float64.
    arguments : str
        A letter for each: ``p``, a pointer to `dtype`; ``u``, a number of `dtype`; ``n``, an int64; ``d``, a float64; ``c``, a
        pointer to float64 constants.
    cached : bool
        False for a user's own functions, whose sources the cache cannot follow.
    records : dict
        More letters: a structured dtype is a record, a list of one a table of records.
    """
    unit = _FLOATS[np.dtype(dtype).name]
    kinds: dict[str, Any] = {
        "p": types.CPointer(unit), "u": unit, "n": types.int64, "d": types.float64, "c": types.CPointer(types.float64)
    }  # fmt: skip
    for letter, record in (records or {}).items():
        several = isinstance(record, list)
        kinds[letter] = types.Array(numba.from_dtype(record[0]), 1, "C") if several else numba.from_dtype(record)
    signature, dispatcher = tuple(kinds[letter] for letter in arguments), inner(body)
    if cached:
        _enable_cache(dispatcher, body, name)
    dispatcher.compile(signature)
    _kernels.append(dispatcher)
    compiled = dispatcher.overloads[signature]
    address = int(compiled.library.get_pointer_to_function(compiled.fndesc.llvm_func_name))
    if not address:
        raise RuntimeError(f"the machine code of kernel {name!r} is not where Numba {numba.__version__} used to leave it")
    return address


_PASSED = (types.Float, types.CPointer, types.Record, types.Array)


@intrinsic
def call_kernel(typingctx, address, arguments):
    """Call the kernel at `address` with a tuple of arguments of exactly its types. Kernels raise and return nothing."""
    kinds = tuple(types.unliteral(kind) for kind in arguments)
    if not all(kind is types.int64 or isinstance(kind, _PASSED) for kind in kinds):
        raise TypingError(f"a kernel takes pointers, records, int64 and floating-point numbers; got {kinds}")
    signature = types.void(types.int64, arguments)

    def codegen(context, builder, sig, args):
        given = tuple(sig.args[1])
        values = [context.cast(builder, builder.extract_value(args[1], i), given[i], kinds[i]) for i in range(len(kinds))]
        pointer = context.call_conv.get_function_type(types.void, kinds).as_pointer()
        context.call_conv.call_function(builder, builder.inttoptr(args[0], pointer), types.void, kinds, values)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def call_system(typingctx, address):
    """Call a function of the operating system that takes nothing."""

    def codegen(context, builder, sig, args):
        builder.call(builder.inttoptr(args[0], ir.FunctionType(ir.VoidType(), []).as_pointer()), [])
        return context.get_dummy_value()

    return types.void(types.int64), codegen


# --- threads -----------------------------------------------------------------------------------------------------------


def available_threads() -> int:
    """Processors that this process may use: Numba's count, which NUMBA_NUM_THREADS sets (as joblib does in its workers)."""
    return int(getattr(numba.config, "NUMBA_NUM_THREADS", 1))


_X86 = platform.machine().lower() in ("x86_64", "amd64")
_ARM = platform.machine().lower() in ("arm64", "aarch64")


def _call(builder, name, result, arguments):
    """Call the LLVM intrinsic `name`."""
    function = ir.FunctionType(result, [value.type for value in arguments])
    return builder.call(cgutils.get_or_insert_function(builder.module, function, name), arguments)


@intrinsic
def count_up(typingctx, address):
    """Add one to the shared int64 at `address`, seen by all threads at once; return what it was."""

    def codegen(context, builder, sig, args):
        pointer = builder.inttoptr(args[0], ir.IntType(64).as_pointer())
        return builder.atomic_rmw("add", pointer, ir.IntType(64)(1), "seq_cst")

    return types.int64(types.int64), codegen


@intrinsic
def shared(typingctx, address):
    """The shared int64 at `address`, with all that its writer had written before."""

    def codegen(context, builder, sig, args):
        return builder.load_atomic(builder.inttoptr(args[0], ir.IntType(64).as_pointer()), "acquire", 8)

    return types.int64(types.int64), codegen


@intrinsic
def pause(typingctx):
    """Tell the processor that this thread waits in a loop."""

    def codegen(context, builder, sig, args):
        if _X86:
            _call(builder, "llvm.x86.sse2.pause", ir.VoidType(), [])
        elif _ARM:
            _call(builder, "llvm.aarch64.hint", ir.VoidType(), [ir.IntType(32)(1)])
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic
def float_mode(typingctx):
    """This thread's floating-point mode: rounding, and what becomes of numbers below the smallest normal one."""

    def codegen(context, builder, sig, args):
        if _X86:
            place = builder.alloca(ir.IntType(32))
            _call(builder, "llvm.x86.sse.stmxcsr", ir.VoidType(), [builder.bitcast(place, ir.IntType(8).as_pointer())])
            return builder.zext(builder.load(place), ir.IntType(64))
        if _ARM:
            return _call(builder, "llvm.aarch64.get.fpcr", ir.IntType(64), [])
        return ir.IntType(64)(0)

    return types.int64(), codegen


@intrinsic
def set_float_mode(typingctx, mode):
    """Set what `float_mode` returned."""

    def codegen(context, builder, sig, args):
        if _X86:
            place = builder.alloca(ir.IntType(32))
            builder.store(builder.trunc(args[0], ir.IntType(32)), place)
            _call(builder, "llvm.x86.sse.ldmxcsr", ir.VoidType(), [builder.bitcast(place, ir.IntType(8).as_pointer())])
        elif _ARM:
            _call(builder, "llvm.aarch64.set.fpcr", ir.VoidType(), [args[0]])
        return context.get_dummy_value()

    return types.void(types.int64), codegen


#: Bits of the mode by which numbers below the smallest normal one (1e-38 in float32) become 0, read or written. Arithmetic
#: with them is a hundred times slower on some processors, and the moments of dead units decay into them.
FLUSH = 0x8040 if _X86 else 1 << 24


# --- pointers and typed constants --------------------------------------------------------------------------------------


@intrinsic
def at(typingctx, address, offset, unit):
    """Pointer to element `offset`, of the type of `unit`, of the array whose first element lies at `address`."""
    signature = types.CPointer(unit)(types.int64, types.int64, unit)

    def codegen(context, builder, sig, args):
        base = builder.inttoptr(args[0], context.get_value_type(sig.return_type))
        return builder.gep(base, [args[1]])

    return signature, codegen


@intrinsic
def prefetch(typingctx, pointer):
    """Call for the cache line at `pointer`, which will be read soon."""

    def codegen(context, builder, sig, args):
        number = ir.IntType(32)
        address = builder.bitcast(args[0], ir.IntType(8).as_pointer())
        _call(builder, "llvm.prefetch.p0", ir.VoidType(), [address, number(0), number(3), number(1)])
        return context.get_dummy_value()

    return types.void(pointer), codegen


@intrinsic
def shift(typingctx, pointer, offset):
    """The pointer `offset` elements further."""
    signature = pointer(pointer, types.int64)

    def codegen(context, builder, sig, args):
        return builder.gep(args[0], [args[1]])

    return signature, codegen


@intrinsic
def separate_pointers(typingctx, n):
    """Promise for the kernel that calls this: what its pointers lead to does not overlap. And let it use the widest vectors.

    The compiler would otherwise compare all pointers at the start of every loop, and takes half vectors on some processors.
    """

    def codegen(context, builder, sig, args):
        for argument in builder.function.args:
            if isinstance(argument.type, ir.PointerType) and isinstance(argument.type.pointee, (ir.FloatType, ir.DoubleType)):
                argument.add_attribute("noalias")
        # set.add: llvmlite's own add knows fewer attributes than LLVM
        set.add(builder.function.attributes, f'"prefer-vector-width"="{8 * host_vector_bytes()}"')
        return context.get_dummy_value()

    return types.void(n), codegen


@intrinsic
def panel_width(typingctx, x):
    """Columns of a panel for the type of `x`, number or pointer: 32 in float32, 16 in float64 (to the compiler a constant)."""
    width = PANEL_BYTES * 8 // getattr(x, "dtype", x).bitwidth

    def codegen(context, builder, sig, args):
        return context.get_constant(types.int64, width)

    return types.int64(x), codegen


@intrinsic
def like(typingctx, constant, x):
    """`constant` in the type of `x`: a bare 0.5 would turn float32 arithmetic into float64."""
    kind = types.unliteral(constant)

    def codegen(context, builder, sig, args):
        return context.cast(builder, args[0], sig.args[0], sig.return_type)

    return x(kind, x), codegen


@functools.cache
def host_features() -> frozenset[str]:
    """Features of the processor for which machine code is generated: this machine's, as far as Numba's settings let them be."""
    chosen = getattr(numba.config, "CPU_FEATURES", None)
    names = (get_host_cpu_features() if chosen is None else chosen).split(",")
    return frozenset(name[1:] for name in names if name.startswith("+"))


def host_vector_bytes() -> int:
    """Bytes of the widest vector register for which this machine's code is generated."""
    if "avx512f" in host_features():
        return 64
    return 32 if {"avx2", "fma"} <= host_features() else 16
