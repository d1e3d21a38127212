"""What a loss does with a panel: losses of rows, and error terms times the rows' weights.

It knows no loss by name but cross-entropy behind a softmax, a function of the whole row. A kernel works on one panel: g, h, y
and delta are (outputs, width), w and losses (width,), n is the number of outputs.
"""

from __future__ import annotations

import numpy as np

from glassprop.core.elementary import larger, log, polynomial, smaller
from glassprop.core.jit import hidden, like, panel_width, scalar, separate_pointers
from glassprop.core.vectors import new_line

_own_epsilon = polynomial(*([float(np.finfo(dtype).eps)] for dtype in ("float32", "float64")))


def clipped(h):
    """A probability held between ε and 1 − ε, the precision's own ε."""
    epsilon, one = _own_epsilon(h), like(1, h)
    h = epsilon if h < epsilon else h
    return one - epsilon if h > one - epsilon else h


clipped = scalar(clipped)


def plain_kernel(value, delta_of):
    """Of functions of (g, h, y, constant). A row without weight, such as those that fill up the last panel, has no slope."""

    def loss_kernel(g, h, y, w, delta, losses, n, constants):
        c = like(constants[0], h[0])
        width = panel_width(h)
        rows = hidden(width)
        for r in range(rows):
            losses[r] = like(0, h[0])
        for o in range(n):
            for r in range(rows):
                i = o * width + r
                losses[r] += value(g[i], h[i], y[i], c)
                delta[i] = w[r] * delta_of(g[i], h[i], y[i], c) if w[r] != like(0, c) else like(0, c)  # 0 · ∞ would be NaN

    return loss_kernel


def own_kernel(value, slope):
    """Of a user's functions of (h, y), whatever kind of number they return; rows without weight as in `plain_kernel`."""

    def loss_kernel(g, h, y, w, delta, losses, n, constants):
        zero = like(0, h[0])
        width = panel_width(h)
        rows = hidden(width)
        for r in range(rows):
            losses[r] = zero
        for o in range(n):
            for r in range(rows):
                i = o * width + r
                delta[i] = value(h[i], y[i])
                losses[r] += delta[i]
                delta[i] = slope(h[i], y[i])
                delta[i] = w[r] * delta[i] if w[r] != zero else zero

    return loss_kernel


def cross_entropy_kernel(clip):
    """Of softmax outputs; where `clip`, the loss is that of probabilities of at least ε."""

    def loss_kernel(g, h, y, w, delta, losses, n, constants):
        """ℓ = Σ_o y_o (log Σ exp(g) − g_o), δ = h Σ y − y, for softmax outputs h: log Σ exp(g − max g) is −log max h."""
        separate_pointers(n)
        width = panel_width(h)
        rows = hidden(width)
        largest = -log(clipped(like(0, h[0])))
        top, most, mass, chosen = new_line(h), new_line(h), new_line(h), new_line(h)
        for r in range(rows):
            top[r], most[r], mass[r], chosen[r] = g[r], h[r], like(0, h[0]), like(0, h[0])
        for o in range(1, n):
            for r in range(rows):
                top[r] = larger(g[o * width + r], top[r])
                most[r] = larger(h[o * width + r], most[r])
        for o in range(n):
            for r in range(rows):
                target = y[o * width + r]
                mass[r] += target
                # 0 times a difference that has overflowed would be NaN
                chosen[r] += target * (g[o * width + r] - top[r]) if target != 0 else like(0, target)
        for r in range(rows):
            loss = -mass[r] * log(most[r]) - chosen[r]
            losses[r] = smaller(loss, largest) if clip else loss
        for o in range(n):
            for r in range(rows):
                i = o * width + r
                delta[i] = w[r] * (h[i] * mass[r] - y[i]) if w[r] != 0 else like(0, h[0])  # 0 · NaN would be NaN

    return loss_kernel
