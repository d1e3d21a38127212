"""What only the processor knows: counters shared by threads, its pause, its caches, its floating-point mode; and calls of the
operating system.

It knows addresses and instructions, not who uses them.
"""

from __future__ import annotations

import platform
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

X86 = platform.machine().lower() in ("x86_64", "amd64")
ARM = platform.machine().lower() in ("arm64", "aarch64")


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
        if X86:
            _call(builder, "llvm.x86.sse2.pause", ir.VoidType(), [])
        elif ARM:
            _call(builder, "llvm.aarch64.hint", ir.VoidType(), [ir.IntType(32)(1)])
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic
def float_mode(typingctx):
    """This thread's floating-point mode: rounding, and what becomes of numbers below the smallest normal one."""

    def codegen(context, builder, sig, args):
        if X86:
            place = builder.alloca(ir.IntType(32))
            _call(builder, "llvm.x86.sse.stmxcsr", ir.VoidType(), [builder.bitcast(place, ir.IntType(8).as_pointer())])
            return builder.zext(builder.load(place), ir.IntType(64))
        if ARM:
            return _call(builder, "llvm.aarch64.get.fpcr", ir.IntType(64), [])
        return ir.IntType(64)(0)

    return types.int64(), codegen


@intrinsic
def set_float_mode(typingctx, mode):
    """Set what `float_mode` returned."""

    def codegen(context, builder, sig, args):
        if X86:
            place = builder.alloca(ir.IntType(32))
            builder.store(builder.trunc(args[0], ir.IntType(32)), place)
            _call(builder, "llvm.x86.sse.ldmxcsr", ir.VoidType(), [builder.bitcast(place, ir.IntType(8).as_pointer())])
        elif ARM:
            _call(builder, "llvm.aarch64.set.fpcr", ir.VoidType(), [args[0]])
        return context.get_dummy_value()

    return types.void(types.int64), codegen


#: Bits of the mode by which numbers below the smallest normal one (1e-38 in float32) become 0, read or written. Arithmetic
#: with them is a hundred times slower on some processors, and the moments of dead units decay into them.
FLUSH = 0x8040 if X86 else 1 << 24


def call_for(builder, pointer, nearness):
    """Emit a call for the cache line at `pointer`, to the first-level cache with a `nearness` of 3, further away with less."""
    number = ir.IntType(32)
    address = builder.bitcast(pointer, ir.IntType(8).as_pointer())
    _call(builder, "llvm.prefetch.p0", ir.VoidType(), [address, number(0), number(nearness), number(1)])


def _calling(nearness: int, purpose: str) -> Any:
    @intrinsic
    def prefetch(typingctx, pointer):
        def codegen(context, builder, sig, args):
            call_for(builder, args[0], nearness)
            return context.get_dummy_value()

        return types.void(pointer), codegen

    prefetch.__doc__ = f"Call for the cache line at `pointer`, {purpose}."
    return prefetch


prefetch, prefetch_far = _calling(3, "which will be read soon"), _calling(2, "into the second-level cache")


@intrinsic
def call_system(typingctx, address, number):
    """Call a function of the operating system that takes a number, or nothing and so does not look at it."""

    def codegen(context, builder, sig, args):
        kind = ir.FunctionType(ir.VoidType(), [ir.IntType(32)])
        builder.call(builder.inttoptr(args[0], kind.as_pointer()), [builder.trunc(args[1], ir.IntType(32))])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), codegen
