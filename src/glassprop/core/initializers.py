"""Table of starting weights.

Standard deviations: Glorot and Bengio 2010, He et al. 2015, LeCun et al. 1998 (Efficient BackProp); orthogonal: Saxe et al.
2014. It knows shapes, not data. Biases start at zero.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from glassprop.errors import unknown_name

_Draw = Callable[[np.random.Generator, int, int], np.ndarray]


def _uniform(variance: Callable[[int, int], float]) -> _Draw:
    def draw(rng: np.random.Generator, fan_in: int, fan_out: int) -> np.ndarray:
        bound = math.sqrt(3 * variance(fan_in, fan_out))
        return rng.uniform(-bound, bound, (fan_in, fan_out))

    return draw


def _normal(variance: Callable[[int, int], float]) -> _Draw:
    return lambda rng, fan_in, fan_out: rng.normal(0.0, math.sqrt(variance(fan_in, fan_out)), (fan_in, fan_out))


def _glorot(fan_in: int, fan_out: int) -> float:
    return 2 / (fan_in + fan_out)


def _he(fan_in: int, fan_out: int) -> float:
    return 2 / fan_in


def _lecun(fan_in: int, fan_out: int) -> float:
    return 1 / fan_in


def _orthogonal(rng: np.random.Generator, fan_in: int, fan_out: int) -> np.ndarray:
    q, r = np.linalg.qr(rng.normal(size=(max(fan_in, fan_out), min(fan_in, fan_out))))
    q *= np.where(np.diag(r) < 0, -1.0, 1.0)  # makes the draw uniform over orthogonal matrices
    return q if fan_in >= fan_out else q.T


#: Every way to draw the weights of a layer (fan_in, fan_out), by name.
INITIALIZERS: dict[str, _Draw] = {
    "glorot_uniform": _uniform(_glorot),
    "glorot_normal": _normal(_glorot),
    "he_uniform": _uniform(_he),
    "he_normal": _normal(_he),
    "lecun_uniform": _uniform(_lecun),
    "lecun_normal": _normal(_lecun),
    "orthogonal": _orthogonal,
    "zeros": lambda rng, fan_in, fan_out: np.zeros((fan_in, fan_out)),
}

# By activation where no method is named; the rest take Glorot.
_BY_ACTIVATION = dict.fromkeys(("relu", "leaky_relu", "elu", "gelu", "silu", "mish", "softplus"), "he_uniform")
_BY_ACTIVATION["selu"] = "lecun_normal"


def draw_weights(rng: np.random.Generator, method: str | None, activation: str, fan_in: int, fan_out: int) -> np.ndarray:
    """Weights (fan_in, fan_out) of a layer with `activation`, by `method` or, for None, by the activation.

    Raises
    ------
    ValueError
        For a method that is not in the table.
    """
    if method is not None and method not in INITIALIZERS:
        raise unknown_name("method", method, INITIALIZERS)
    return INITIALIZERS[method or _BY_ACTIVATION.get(activation, "glorot_uniform")](rng, fan_in, fan_out)
