"""Is φ′ the slope of φ? For activations that are not built in, at points of their own, whatever the rows of a table visit.

It knows functions of one number. Both are computed by the core, from the kernels that train.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from glassprop.core.activations import ACTIVATIONS, Activation
from glassprop.core.network import Network, Parameters
from glassprop.core.passes import backward, forward

POINTS = 200  # of the pre-activations met, and as many again from -3 to 3
TOLERANCE = 1e-6  # of a slope, relative


def wrong_slopes(network: Network, parameters: Parameters, X: Any) -> list[str]:
    """A sentence for each activation that is not built in, and whose φ′ is not the slope of its φ."""
    fwd = forward(network, parameters.astype(np.float64), np.asarray(X, np.float64))
    findings, seen = [], set()
    for l, activation in enumerate((*network.activations, network.output_activation)):
        if ACTIVATIONS.get(activation.name) is activation or activation in seen:
            continue
        seen.add(activation)
        met = np.quantile(fwd.g[l], np.linspace(0, 1, POINTS))
        finding = _wrong_slope(activation, np.unique(np.concatenate([met, np.linspace(-3, 3, POINTS)])))
        findings += [finding] if finding else []
    return findings


def _wrong_slope(activation: Activation, g: np.ndarray) -> str:
    """What is wrong with an activation's φ′ at the points g, or an empty text. Kinks are left out, as is what is not finite."""
    slope, phi = slope_and_values(activation, g)
    best, uncertainty = np.full(len(g), np.nan), np.full(len(g), np.inf)
    for step in (1e-3, 1e-4, 1e-5):
        s = step * np.maximum(1, np.abs(g))
        (up, down), (up2, down2) = ([slope_and_values(activation, g + d)[1] for d in (h, -h)] for h in (s, s / 2))
        with np.errstate(invalid="ignore", over="ignore"):
            coarse, fine = (up - down) / (2 * s), (up2 - down2) / s
            noise = 8 * np.finfo(float).eps * np.maximum(np.abs(up), np.abs(down)) / s
            # to the left and to the right; of a smooth function they come together as s does
            jump, jump2 = (up + down - 2 * phi) / s, (up2 + down2 - 2 * phi) / (s / 2)
            off = np.abs(fine - coarse) + noise
        off[np.abs(jump2) > np.maximum(0.75 * np.abs(jump), 4 * noise)] = np.inf
        better = off < uncertainty
        best[better], uncertainty[better] = ((4 * fine - coarse) / 3)[better], off[better]
    usable = np.isfinite(slope) & np.isfinite(uncertainty) & (uncertainty < 1e-5 * np.maximum(1, np.abs(best)))
    with np.errstate(invalid="ignore"):
        error = np.where(usable, np.maximum(np.abs(slope - best) - uncertainty, 0), 0) / np.maximum(np.abs(best), 1e-3)
    worst = int(np.argmax(error))
    if error[worst] <= TOLERANCE:
        return ""
    return (
        f"φ′ of activation {activation.name!r} is not the slope of its φ: at g = {g[worst]:.6g} it gives {slope[worst]:.6g}, "
        f"and the slope of φ there is {best[worst]:.6g}"
    )


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
