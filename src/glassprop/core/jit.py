"""Compiler policy: flags, the calling convention of kernels, what the compiler is told. The only file that calls it.

It holds no arithmetic of its own beyond reading and shifting pointers.

Three kinds of compiled code exist:

- ``inner`` functions, compiled into whatever calls them, and ``within`` ones, pasted in;
- one ``entry`` (``step.run``), whose machine code serves every network of a precision: memory is handed to it as addresses in a
  record, and `one`, a 1 of float32 or float64, says what lies there;
- ``kernels``, called by address: one for each stage of a step, compiled once, where Numba would optimise it again in every
  caller; and a small one for each rule of a table (an activation, a loss, an update rule), compiled on first use, so that a
  rule that is not used costs nothing and a user's own rule is a rule like any other.
"""

from __future__ import annotations

import functools
import gc
import inspect
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core.codegen import JITCodeLibrary, get_host_cpu_features
from numba.core.compiler import Compiler
from numba.core.errors import TypingError
from numba.extending import intrinsic

from glassprop.core.code_files import CoreCache, enable_cache

# "contract" lets a product and a sum become one FMA. Nothing that assumes away NaN or infinity is ever allowed, and
# "reassoc" only where a sum has to be vectorised: it would undo the two-part reductions in elementary.py.
FLAGS = {"contract"}
SUM_FLAGS = {"contract", "reassoc"}


class _Linked(JITCodeLibrary):
    """What a function is compiled to that only compiled functions call: neither optimised nor made machine code by itself.

    Both happen to every function that it is linked into; Numba would do so at every level of calls, and half of a cold start
    would be spent on code that is never run.
    """

    def _optimize_final_module(self) -> None:
        pass

    def _finalize_final_module(self) -> None:
        self._finalize_dynamic_globals()
        self._verify_declare_only_symbols()
        self._finalized = True

    def get_pointer_to_function(self, name: str) -> int:
        self._ensure_finalized()
        return 0  # no machine code, as Numba says it

    @property
    def codegen(self) -> Any:
        return self  # for the one thing that is asked of it when there is no machine code:

    def set_env(self, name: str, environment: Any) -> None:
        """Nothing needs the environment, which serves exceptions and printing."""


class _LinkedCompiler(Compiler):
    def __init__(self, typing: Any, target: Any, library: Any, *rest: Any) -> None:
        super().__init__(typing, target, library or _Linked(target.codegen(), "linked"), *rest)


# "_nrt": Numba's counting of references to arrays costs a tenth of a small network's step, and is no use where nothing is
# allocated; a user's own function may.
# Without the wrappers by which Python or C would call a function: only compiled code may call what is not an entry.
_POLICY: dict[str, Any] = {"error_model": "numpy", "nogil": True, "_nrt": False}
_KERNEL: dict[str, Any] = _POLICY | {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
_INNER: dict[str, Any] = _KERNEL | {"pipeline_class": _LinkedCompiler}

inner = numba.njit(**_INNER, fastmath=FLAGS, forceinline=True)
inner_sum = numba.njit(**_INNER, fastmath=SUM_FLAGS, forceinline=True)


def scalar(function: Callable) -> Any:
    """`function` of a few numbers, compiled into the loop that calls it: a call left standing would keep it from vectors.

    One of `math` or NumPy is known to the compiler and comes back as it is.
    """
    if not inspect.isfunction(function):
        return function
    return numba.njit(**_INNER | {"_nrt": True}, fastmath=FLAGS, forceinline=True)(function)


def own_scalar(function: Callable) -> Any:
    """`scalar` for a user's own: NaN where it fails, since compiled loops hear no exceptions."""
    if inspect.isfunction(function):
        function = numba.njit(**_INNER | {"_nrt": True, "boundscheck": True}, fastmath=FLAGS, forceinline=True)(function)

    def value_or_nan(*numbers):
        try:
            value = like(function(*numbers), numbers[0])
        except Exception:
            value = like(np.nan, numbers[0])
        return value

    return scalar(value_or_nan)


#: Put in its caller's place before anything is optimised: for a loop that only the function around it can make vectors of, and
#: for what has one caller or is small, since every function by itself costs the compiler about 50 ms.
within = numba.njit(**_INNER, fastmath=FLAGS, inline="always")

#: Bytes of one panel row (panels.py): two AVX-512 vectors, four AVX ones, eight of SSE or NEON.
PANEL_BYTES = 128


def entry(function: Callable) -> Any:
    """Compile `function` on its first call, with machine code kept on disk; Python's lock is released while it runs."""
    dispatcher = numba.njit(**_POLICY, fastmath=FLAGS)(function)
    enable_cache(dispatcher, function, "entry")
    return dispatcher


def _signature(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(numba.typeof(argument) for argument in arguments)


def must_compile(dispatcher: Any, *arguments: Any) -> bool:
    """Whether the entry's first call with such arguments will have to compile: it is neither in memory nor on disk."""
    signature = _signature(arguments)
    if signature in dispatcher.signatures:
        return False
    return not (keeps_code(dispatcher) and dispatcher._cache.holds(signature, dispatcher.targetctx))


def keeps_code(dispatcher: Any) -> bool:
    """Whether what is compiled will be kept on disk."""
    return isinstance(dispatcher._cache, CoreCache)


@contextmanager
def _nothing_collected() -> Iterator[None]:
    """Without Python's search for garbage: the compiler's objects are so many that it would take a tenth of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Hold Ctrl-C back until the block has ended: raised inside LLVM it would leave the compiler halfway, for good.

    Python hears it in the main thread alone; in others there is nothing to hold back.
    """
    heard = signal.getsignal(signal.SIGINT) if threading.current_thread() is threading.main_thread() else None
    if not callable(heard):  # another thread, or the system's own way of ending or going on
        yield
        return
    held: list[tuple[int, Any]] = []
    signal.signal(signal.SIGINT, lambda number, frame: held.append((number, frame)))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, heard)
        if held:
            heard(*held[0])  # KeyboardInterrupt, where nobody has put anything else in its place


def compile_entry(dispatcher: Any, *arguments: Any) -> None:
    """Compile the entry for such arguments, or take its machine code from disk."""
    with _undisturbed(), _nothing_collected():
        dispatcher.compile(_signature(arguments))


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
    one = _FLOATS[np.dtype(dtype).name]
    kinds: dict[str, Any] = {
        "p": types.CPointer(one), "u": one, "n": types.int64, "d": types.float64, "c": types.CPointer(types.float64)
    }  # fmt: skip
    for letter, record in (records or {}).items():
        several = isinstance(record, list)
        kinds[letter] = types.Array(numba.from_dtype(record[0]), 1, "C") if several else numba.from_dtype(record)
    signature = tuple(kinds[letter] for letter in arguments)
    dispatcher = numba.njit(**_KERNEL | {"_nrt": not cached}, fastmath=FLAGS)(body)
    if cached:
        enable_cache(dispatcher, body, name)
    with _undisturbed(), _nothing_collected():
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


# --- pointers and typed constants --------------------------------------------------------------------------------------

# numba: an int64 that is a variable, not a literal type, keeps helpers from being compiled once more for each literal
ZERO, ONE = np.int64(0), np.int64(1)


@intrinsic
def at(typingctx, address, offset, one):
    """Pointer to element `offset`, of the type of `one`, of the array whose first element lies at `address`."""
    signature = types.CPointer(one)(types.int64, types.int64, one)

    def codegen(context, builder, sig, args):
        base = builder.inttoptr(args[0], context.get_value_type(sig.return_type))
        return builder.gep(base, [args[1]])

    return signature, codegen


@intrinsic
def shift(typingctx, pointer, offset):
    """The pointer `offset` elements further."""
    signature = pointer(pointer, types.int64)

    def codegen(context, builder, sig, args):
        return builder.gep(args[0], [args[1]])

    return signature, codegen


def _widen(function):
    """Let a function of LLVM use the widest vectors: the compiler takes half ones on some processors."""
    # set.add: llvmlite's own add knows fewer attributes than LLVM
    set.add(function.attributes, f'"prefer-vector-width"="{8 * host_vector_bytes()}"')


@intrinsic
def widest_vectors(typingctx, n):
    """Let the kernel that calls this, and what is pasted into it, use the widest vectors."""

    def codegen(context, builder, sig, args):
        _widen(builder.function)
        return context.get_dummy_value()

    return types.void(n), codegen


@intrinsic
def stay_apart(typingctx, n):
    """Let the function that calls this be called, not pasted in: what few networks need would take registers from all."""

    def codegen(context, builder, sig, args):
        builder.function.attributes.discard("alwaysinline")
        builder.function.attributes.add("noinline")
        return context.get_dummy_value()

    return types.void(n), codegen


@intrinsic
def separate_pointers(typingctx, n):
    """Promise for the kernel that calls this: what its pointers lead to does not overlap. And let it use the widest vectors.

    The compiler would otherwise compare all pointers at the start of every loop.
    """

    def codegen(context, builder, sig, args):
        for argument in builder.function.args:
            if isinstance(argument.type, ir.PointerType) and isinstance(argument.type.pointee, (ir.FloatType, ir.DoubleType)):
                argument.add_attribute("noalias")
        _widen(builder.function)
        return context.get_dummy_value()

    return types.void(n), codegen


@intrinsic
def panel_width(typingctx, x):
    """Columns of a panel for the type of `x`, number or pointer: 32 in float32, 16 in float64 (to the compiler a constant)."""
    width = PANEL_BYTES * 8 // getattr(x, "dtype", x).bitwidth

    def codegen(context, builder, sig, args):
        return context.get_constant(types.int64, width)

    return types.int64(x), codegen


def hide(builder, number, stay=False):
    """An int64 of which the compiler's optimiser knows nothing; where it is to `stay`, it is not found in advance, either."""
    word = ir.IntType(64)
    return builder.asm(ir.FunctionType(word, [word]), "", "=r,0", [number], stay)


@intrinsic
def hidden(typingctx, number):
    """`number`, of which the compiler's optimiser knows nothing.

    For a loop that it is not to make vectors of, or that it would unroll, since it is as long as a panel is wide, before that
    could become vectors.
    """

    def codegen(context, builder, sig, args):
        return hide(builder, args[0])

    return types.int64(types.int64), codegen


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


def available_threads() -> int:
    """Processors that this process may use: Numba's count, which NUMBA_NUM_THREADS sets (as joblib does in its workers)."""
    return int(getattr(numba.config, "NUMBA_NUM_THREADS", 1))
