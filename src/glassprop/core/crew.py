"""How many threads work together: fewer where other processes keep the processors busy.

It knows times, not what they are spent on. The bits are the same for any number of threads, so it may change at any step.
"""

from __future__ import annotations

import math

FIRST_STEPS, GROWTH = 8, 8  # of a run, after which it is judged; and by how much more steps the next window may have
TRIAL = 0.02  # seconds for which a number of threads is tried
LEAST = 0.01  # seconds from which on a number can be judged: starting threads takes a hundredth of that
GAIN = 0.9  # of the time of a step before, that a step may take where a trial has gained
WORKING = 0.8  # of that time, in which threads have a processor where nobody else wants it
FIRST_REST, LONGEST_REST = 0.25, 16.0  # seconds from one trial to the next, twice as many after each that gained nothing


class Crew:
    """How many threads take the next steps of a run, learned from those before.

    Threads that meet at every step wait for the one that does not get a processor; two may then take several times as long
    as one. Where they had less than their time, twice in a row (the system may need a moment to find each a processor), half as
    many are tried, and stay if steps take less time. Now and then twice as many are tried again.

    Parameters
    ----------
    most : int
        Threads to begin with, and at most.

    Attributes
    ----------
    size : int
        Threads for the next steps.
    """

    def __init__(self, most: int) -> None:
        self.most = self.size = most
        self._pace = math.inf  # seconds a step of `size`; while another number is tried, of the one before
        self._before = 0  # that number, or 0
        self._lacking = math.inf  # the pace of the window before, where threads had less than their time in it
        self._rest = self._rested = FIRST_REST
        self._most_steps = FIRST_STEPS  # of the next window: others may come meanwhile
        self._steps, self._seconds, self._worked = 0, 0.0, 0.0  # not yet judged

    def steps(self) -> int:
        """How many steps to take before the next call of `learn`, at most."""
        few = self._most_steps if self.size > 1 else 1 << 62
        return max(1, min(few, int(TRIAL / self._pace))) if self._before else few

    def learn(self, steps: int, seconds: float, worked: float) -> None:
        """Take note of some steps: how long they took, and for how many seconds a processor worked on them."""
        grows = seconds < LEAST / GROWTH or worked >= WORKING * self.size * seconds
        self._most_steps = max(self._most_steps, GROWTH * steps) if grows else FIRST_STEPS
        self._steps, self._seconds, self._worked = self._steps + steps, self._seconds + seconds, self._worked + worked
        pace = self._seconds / max(1, self._steps)
        lacked = self._worked < WORKING * self.size * self._seconds
        if self._before:
            if pace > GAIN * self._pace:
                self.size, pace = self._before, self._pace
                self._rest = min(2 * self._rest, LONGEST_REST)
            else:
                self._rest = FIRST_REST
            self._before, self._rested, self._lacking = 0, 0.0, math.inf
        elif self._seconds < LEAST:
            return
        else:
            self._rested += self._seconds
            other = self.size // 2 if lacked else 2 * self.size
            again = pace if lacked else math.inf
            if (self._lacking < math.inf or not lacked) and self._rested >= self._rest and 1 <= other <= self.most:
                self._before, self.size, pace = self.size, other, min(pace, self._lacking)
            self._lacking = again
        self._pace, self._steps, self._seconds, self._worked = pace, 0, 0.0, 0.0
