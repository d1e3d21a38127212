"""Several threads in one run: which share is whose, where they meet, and how they are started.

It knows counts, not what is computed. Everything is shared out by place, panels of rows or lots of units. A thread that is done
with its share takes what others have not come to; but every number is computed by one thread in one order, whichever that is:
the bits are the same for any number of threads.
"""

from __future__ import annotations

import ctypes
import functools
import os
import threading
from collections.abc import Callable
from contextlib import suppress

import numpy as np

from glassprop.core.jit import ZERO, at, inner, stay_apart, within
from glassprop.core.processor import call_system, count_up, pause, shared

# Pauses before a waiting thread offers its processor to others, and before it sleeps, half a millisecond later: then another
# process keeps the one that it waits for from running, and the system moves that one to a processor that is free.
SPINS, YIELDS = 200, 2000
NAP_MICROSECONDS = 20
SLOT = 8  # of int64, a line of the cache: from one thread's place in shared memory to the next one's
# Places in the team's memory: who has come, whether somebody never will, and how much of each thread's share has been taken.
MEETING, LEFT, TAKEN = 0, SLOT, 2 * SLOT


def new_team(threads: int) -> np.ndarray:
    """What up to so many threads know of one another."""
    return np.zeros(TAKEN + SLOT * threads, np.int64)


@functools.cache
def waiting_addresses() -> dict[str, int]:
    """Addresses of the system's functions that give the rest of a time slice away, and that sleep for some microseconds."""
    if os.name == "nt":  # it knows milliseconds at the least
        give_way = nap = ctypes.windll.kernel32.SwitchToThread  # type: ignore[attr-defined]
    else:
        give_way, nap = ctypes.CDLL(None).sched_yield, ctypes.CDLL(None).usleep
    return {"give_way": ctypes.cast(give_way, ctypes.c_void_p).value or 0, "nap": ctypes.cast(nap, ctypes.c_void_p).value or 0}


@within
def share(count, thread, threads, early=0):
    """First and last (exclusive) of `count` things that are this thread's; what is left over goes to the last threads.

    With `early` = threads - 1 it goes to the first ones.
    """
    if threads == 1:  # two divisions less of a small network's step, each of some ten cycles
        return ZERO, count
    return (count * thread + early) // threads, (count * (thread + 1) + early) // threads


@within
def share_units(units, thread, threads, width):
    """First and last (exclusive) of the units that are this thread's, in whole squares of P and Q."""
    first, last = share((units + width - 1) // width, thread, threads)
    return first * width, min(last * width, units)


@within
def take(plan, owner):
    """Number of the first lot of `owner`'s share that nobody has taken."""
    return count_up(plan.team + 8 * (TAKEN + SLOT * owner))


@within
def owner_in_turn(turn, thread, threads):
    """Whose share a thread takes lots of: its own first, then those of the threads after it."""
    return thread + turn if thread + turn < threads else thread + turn - threads


@inner
def take_units(plan, units, size, width, thread, turn):
    """First of the units to take next, `size` of them, last (exclusive) of the share that they are of, and whose turn that is.

    It is the first share in turn that has any left; where none has, first and last are not in order.
    """
    stay_apart(units)
    while True:
        first, last = share_units(units, owner_in_turn(turn, thread, plan.threads), plan.threads, width)
        first += size * take(plan, owner_in_turn(turn, thread, plan.threads))
        if first < last or turn == plan.threads - 1:
            return first, last, turn
        turn += 1


@inner
def _wait(plan, everybody):
    """Wait until so many have come to meetings; False where one of them never will."""
    stay_apart(everybody)
    spins = 0
    while shared(plan.team + 8 * MEETING) < everybody:
        if shared(plan.team + 8 * LEFT) != 0:
            return False
        pause()
        spins += 1
        if spins > YIELDS:
            call_system(plan.nap, NAP_MICROSECONDS)
        elif spins > SPINS:
            call_system(plan.give_way, 0)
    return True


@inner
def meet(plan):
    """Wait until all threads have come here; False where one of them never will."""
    if plan.threads == 1:
        return True
    ticket = count_up(plan.team + 8 * MEETING)
    return _wait(plan, (ticket // plan.threads + 1) * plan.threads)


@within
def meet_at_the_end(plan, thread):
    """Wait until all lots are done, then count this thread's share as not taken: another meeting goes before the next lots."""
    meet(plan)
    if plan.threads > 1:
        at(plan.team, TAKEN + SLOT * thread, thread)[0] = 0


@functools.cache
def _processor_number() -> Callable[[], int] | None:
    """A function that tells on which processor the calling thread runs; None where the system lets no thread choose."""
    return getattr(ctypes.CDLL(None), "sched_getcpu", None) if hasattr(os, "sched_setaffinity") else None


def part(taken: set[int]) -> None:
    """Move the calling thread away from the processors that others of its team run on, if it is on one, and name its own.

    Afterwards it may run where it might before. Linux may start a thread on the processor of the one that starts it; that one
    waits for it meanwhile, and may wake up beside it; and they are left together for longer than a short run takes.
    """
    number = _processor_number()
    if number is None:
        return
    if number() in taken:
        with suppress(OSError):  # a system that does not permit it
            allowed = os.sched_getaffinity(0)
            if others := allowed - taken:
                try:
                    os.sched_setaffinity(0, others)
                finally:  # whatever comes, Ctrl-C included
                    os.sched_setaffinity(0, allowed)
    taken.add(number())


def run_in_threads(function: Callable[[int], int], threads: int, team: np.ndarray) -> int:
    """Call ``function(thread)`` in each of `threads` threads, 0 being this one; return what that one returned.

    What is raised in another thread is raised here.
    """
    if threads == 1:
        return function(0)
    team[:] = 0
    raised: list[BaseException] = []

    taken: set[int] = set()

    def guarded(thread: int) -> None:
        try:
            part(taken)
            function(thread)
        except BaseException as error:
            team[LEFT] = 1
            raised.append(error)

    others = [threading.Thread(target=guarded, args=(thread,), daemon=True) for thread in range(1, threads)]
    try:
        for other in others:
            other.start()
        part(taken)
        result = function(0)
    except BaseException:
        team[LEFT] = 1  # before this thread has met the others, or after the last time
        raise
    finally:
        for other in others:
            if other.ident is not None:
                other.join()
    if raised:
        raise raised[0]
    return result
