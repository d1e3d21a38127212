"""Is φ′ the slope of φ, and the slope of a loss that of its value? For those that are not built in, at points of their own.

It knows functions of one number; a loss is one for every target. All are computed by the core, from the kernels that train.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from glassprop.core.activations import ACTIVATIONS, Activation
from glassprop.core.network import Network, Parameters
from glassprop.core.passes import backward, forward
from glassprop.glass.moment import losses_and_slopes

POINTS = 200  # of the pre-activations met, and as many again from -3 to 3
TOLERANCE = 1e-6  # of a slope, relative


class _Worst(NamedTuple):
    """The point where a slope is farthest from that of its function."""

    point: int
    given: float
    right: float


def wrong_slopes(network: Network, parameters: Parameters, X: Any, Y: np.ndarray) -> list[str]:
    """A sentence for each activation, and for the loss, that is not built in, and whose slope is another function's.

    `Y` is (rows, outputs).
    """
    fwd = forward(network, parameters.astype(np.float64), np.asarray(X, np.float64))
    findings, seen = [], set()
    for l, activation in enumerate((*network.activations, network.output_activation)):
        if ACTIVATIONS.get(activation.name) is activation or activation in seen:
            continue
        seen.add(activation)
        met = np.quantile(fwd.g[l], np.linspace(0, 1, POINTS))
        finding = _wrong_activation(activation, np.unique(np.concatenate([met, np.linspace(-3, 3, POINTS)])))
        findings += [finding] if finding else []
    if network.loss.own:
        finding = _wrong_loss(network, *_outputs(network, fwd.output, Y))
        findings += [finding] if finding else []
    return findings


def _wrong_activation(activation: Activation, g: np.ndarray) -> str:
    """What is wrong with an activation's φ′ at the points g, or an empty text."""
    worst = _wrong_slope(lambda points: slope_and_values(activation, points), g)
    if worst is None:
        return ""
    return (
        f"φ′ of activation {activation.name!r} is not the slope of its φ: at g = {g[worst.point]:.6g} it gives "
        f"{worst.given:.6g}, and the slope of φ there is {worst.right:.6g}"
    )


def _wrong_loss(network: Network, h: np.ndarray, y: np.ndarray) -> str:
    """What is wrong with the slope of the loss at outputs h with targets y, or an empty text."""
    worst = _wrong_slope(lambda points: losses_and_slopes(network.loss, points, y)[::-1], h)
    if worst is None:
        return ""
    return (
        f"the slope of loss {network.loss.name!r} is not that of its value: at h = {h[worst.point]:.6g}, y = "
        f"{y[worst.point]:.6g} it gives {worst.given:.6g}, and the slope of the value there is {worst.right:.6g}"
    )


def _outputs(network: Network, h: np.ndarray, Y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Outputs and their targets: some of those met, and what φ makes of −3 to 3, with targets low, middle and high.

    A loss need not be anything where its output activation never leads.
    """
    some = np.argsort(h, axis=None)[np.unique(np.linspace(0, h.size - 1, POINTS).astype(int))]
    reached = slope_and_values(network.output_activation, np.linspace(-3, 3, POINTS))[1]
    targets = np.quantile(Y, (0.0, 0.5, 1.0))
    return np.concatenate([h.ravel()[some], *[reached] * 3]), np.concatenate([Y.ravel()[some], targets.repeat(POINTS)])


def _wrong_slope(both: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]], points: np.ndarray) -> _Worst | None:
    """Where a slope is not that of its function, of `both` at some points. Kinks are left out, as is what is not finite."""
    slope, value = both(points)
    best, uncertainty = np.full(len(points), np.nan), np.full(len(points), np.inf)
    for step in (1e-3, 1e-4, 1e-5):
        s = step * np.maximum(1, np.abs(points))
        (up, down), (up2, down2) = ([both(points + d)[1] for d in (h, -h)] for h in (s, s / 2))
        with np.errstate(invalid="ignore", over="ignore"):
            coarse, fine = (up - down) / (2 * s), (up2 - down2) / s
            noise = 8 * np.finfo(float).eps * np.maximum(np.abs(up), np.abs(down)) / s
            # to the left and to the right; of a smooth function they come together as s does
            jump, jump2 = (up + down - 2 * value) / s, (up2 + down2 - 2 * value) / (s / 2)
            off = np.abs(fine - coarse) + noise
        off[np.abs(jump2) > np.maximum(0.75 * np.abs(jump), 4 * noise)] = np.inf
        better = off < uncertainty
        best[better], uncertainty[better] = ((4 * fine - coarse) / 3)[better], off[better]
    usable = np.isfinite(slope) & np.isfinite(uncertainty) & (uncertainty < 1e-5 * np.maximum(1, np.abs(best)))
    with np.errstate(invalid="ignore"):
        error = np.where(usable, np.maximum(np.abs(slope - best) - uncertainty, 0), 0) / np.maximum(np.abs(best), 1e-3)
    worst = int(np.argmax(error))
    return _Worst(worst, float(slope[worst]), float(best[worst])) if error[worst] > TOLERANCE else None


def slope_and_values(activation: Activation, g: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """φ′(g) and φ(g) by the core: of a network of one weight, 1, whose targets make ∂L/∂h of every row 1."""
    network = Network((1, 1), output_activation=activation)
    one = Parameters.from_arrays([[[1.0]]], [[0.0]])
    fwd = forward(network, one, g[:, None])
    phi = fwd.output[:, 0]
    finite = np.isfinite(phi)
    target = np.where(finite, phi, 0.0) - 1.0
    back = backward(network, one, fwd, target)
    with np.errstate(invalid="ignore"):
        slope = back.delta[0][:, 0] / (phi - target)  # h − y is 1 but for rounding
    return np.where(finite, slope, np.nan), phi
