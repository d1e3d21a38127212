"""Network, a frozen description, and Parameters, a flat vector with a view for every layer.

It knows shapes and rules, and holds no data: what a batch needs lies in panels.py.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from glassprop.core.activations import ACTIVATIONS, Activation, get_activation
from glassprop.core.initializers import draw_weights
from glassprop.core.jit import PANEL_BYTES
from glassprop.core.losses import Loss, get_loss
from glassprop.errors import is_number, is_whole, names_arguments


def check_layers(layers: Iterable[int]) -> tuple[int, ...]:
    """The layer sizes as a tuple of positive whole numbers, at least an input and an output."""
    try:
        sizes = tuple(layers)
    except TypeError:
        raise TypeError(f"layers must be the sizes (inputs, hidden ..., outputs); got {layers!r}") from None
    if len(sizes) < 2:
        raise ValueError(f"layers must have at least two sizes, inputs and outputs; got {sizes!r}")
    for size in sizes:
        if not is_whole(size):
            raise TypeError(f"layers must be whole numbers; got {size!r} in {sizes!r}")
        if size < 1:
            raise ValueError(f"layers must be at least 1; got {size} in {sizes!r}")
    return tuple(int(size) for size in sizes)


class Network:
    """A multilayer perceptron and the objective it is trained on: everything but its numbers.

    The objective is the weighted mean over rows of the loss of a row (the sum over outputs), plus
    ``l2/2 Σ W² + l1 Σ |W|`` over all weights (not biases).

    Parameters
    ----------
    layers : sequence of int
        (inputs, hidden ..., outputs).
    activation : str or Activation, or a list of one for each hidden layer
        φ of the hidden layers; names are the keys of ``glassprop.ACTIVATIONS``.
    output_activation : str or Activation, optional
        φ of the output. None takes the loss's own link: identity, exp, sigmoid or softmax.
    loss : str or Loss
        One of ``glassprop.LOSSES``, ``Loss(name, option=...)``, or your own, ``Loss(name, value=..., slope=...)``.
    l2, l1 : float
        Penalties, at least 0.
    dropout : float or list of float
        Chance in [0, 1) that a hidden unit is left out of a training step, for all or each hidden layer.

    Raises
    ------
    ValueError, TypeError
        For sizes that are not positive whole numbers, unknown names, an output activation outside the loss's domain, rates out
        of range.

    Examples
    --------
    >>> import glassprop as gp
    >>> gp.Network((2, 8, 1), activation="tanh")
    Network((2, 8, 1), activation='tanh', output_activation='identity', loss='half_squared_error')
    """

    @names_arguments
    def __init__(
        self,
        layers: Sequence[int],
        activation: str | Activation | Sequence[str | Activation] = "relu",
        output_activation: str | Activation | None = None,
        loss: str | Loss = "half_squared_error",
        l2: float = 0.0,
        l1: float = 0.0,
        dropout: float | Sequence[float] = 0.0,
    ) -> None:
        self.layers = check_layers(layers)
        hidden = len(self.layers) - 2
        self.activations = self._check_hidden(activation, hidden)
        self.loss = get_loss(loss)
        self.output_activation = get_activation(
            self.loss.link if output_activation is None else output_activation, "output_activation"
        )
        self._check_output()
        self.l2, self.l1 = (_number(name, value) for name, value in (("l2", l2), ("l1", l1)))
        listed = isinstance(dropout, (list, tuple, np.ndarray))
        rates = list(dropout) if listed else [_number("dropout", dropout, below=1.0)] * hidden  # type: ignore[arg-type]
        if len(rates) != hidden:
            raise ValueError(f"dropout must be one rate or one for each of the {hidden} hidden layers; got {len(rates)}")
        self.dropout = tuple(_number("dropout", rate, below=1.0) for rate in rates)
        self.idle: dict[tuple, list] = {}  # workspaces between two predictions, see passes.outputs_of
        self._frozen = True

    @staticmethod
    def _check_hidden(activation: Any, hidden: int) -> tuple[Activation, ...]:
        listed = not isinstance(activation, (str, Activation)) and isinstance(activation, Sequence)
        names = list(activation) if listed else [activation] * max(hidden, 1)  # a wrong name is one without hidden layers, too
        if listed and len(names) != hidden:
            raise ValueError(f"activation must be one name or one for each of the {hidden} hidden layers; got {len(names)}")
        rows = tuple(get_activation(name) for name in names)
        for row in rows:
            if row.output_only and ACTIVATIONS.get(row.name) is row:
                raise ValueError(f"activation {row.name!r} can stand on the output only")
        return rows[:hidden]

    def _check_output(self) -> None:
        row = self.output_activation
        if self.loss.targets == "distribution" and self.layers[-1] == 1:
            raise ValueError(f"loss {self.loss.name!r} needs at least two outputs; for one use 'binary_cross_entropy'")
        if not self.loss.accepts(row, built_in=ACTIVATIONS.get(row.name) is row):
            valid = [name for name, r in ACTIVATIONS.items() if self.loss.accepts(r, built_in=True)]
            raise ValueError(
                f"output_activation for loss {self.loss.name!r} must be one of {', '.join(map(repr, valid))}; got {row.name!r}"
            )

    def __setattr__(self, name: str, value: object) -> None:
        if getattr(self, "_frozen", False):
            raise AttributeError(f"a Network is frozen; make a new one to change {name}")
        super().__setattr__(name, value)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"idle": {}}  # addresses of memory must never travel to another process

    def __repr__(self) -> str:
        names = [row.name for row in self.activations]
        shown: Any = names[0] if len(set(names)) == 1 else names
        text = f"Network({self.layers}" + (f", activation={shown!r}" if names else "")
        text += f", output_activation={self.output_activation.name!r}"
        text += f", loss={self.loss.name!r}" if self.loss.own or self.loss == Loss(self.loss.name) else f", loss={self.loss!r}"
        for name in ("l2", "l1"):
            text += f", {name}={getattr(self, name):g}" if getattr(self, name) else ""
        return text + (f", dropout={list(self.dropout)}" if any(self.dropout) else "") + ")"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Network) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> tuple:
        return (self.layers, self.activations, self.output_activation, self.loss, self.l2, self.l1, self.dropout)

    @property
    def n_parameters(self) -> int:
        """Number of weights and biases."""
        return sum((a + 1) * b for a, b in pairwise(self.layers))

    @names_arguments
    def initialize(self, seed: int | None = 0, method: str | None = None, dtype: Any = "float64") -> Parameters:
        """Starting weights, with biases of zero.

        Parameters
        ----------
        seed : int or None
            Same seed, same weights, in both precisions up to rounding; None draws a new one.
        method : str, optional
            One of ``glassprop.INITIALIZERS``. None chooses for each layer by its activation: He for relu, leaky_relu, elu,
            gelu, silu, mish and softplus, LeCun for selu, Glorot for the rest and the output (uniform, but normal for selu).
        dtype : dtype
            float64 or float32.

        Examples
        --------
        >>> import glassprop as gp
        >>> gp.Network((2, 8, 1)).initialize(seed=1).W[0].shape
        (2, 8)
        """
        if seed is not None and (not is_whole(seed) or seed < 0):
            raise ValueError(f"seed must be a whole number of at least 0, or None; got {seed!r}")
        rng, parameters = np.random.default_rng(seed), Parameters(self.layers, dtype)
        for W, activation in zip(parameters.W, (*self.activations, self.output_activation), strict=True):
            W[...] = draw_weights(rng, method, activation.name, *W.shape)
        return parameters


def _number(name: str, value: Any, below: float = math.inf) -> float:
    """`value` as a float in [0, below)."""
    if not is_number(value):
        raise TypeError(f"{name} must be a number; got {value!r}")
    if not 0 <= value < below:
        raise ValueError(f"{name} must be at least 0 and {f'below {below:g}' if below < math.inf else 'finite'}; got {value!r}")
    return float(value)


# --- parameters ----------------------------------------------------------------------------------------------------------

ROWS_COPIED = 512  # of W at a time, where rows of one may be columns of the other


def round_up(n: int, multiple: int) -> int:
    """The smallest multiple that is not below n."""
    return -(-n // multiple) * multiple


def panel_columns(dtype: Any) -> int:
    """Numbers in a panel row: 32 in float32, 16 in float64."""
    return PANEL_BYTES // np.dtype(dtype).itemsize


def row_stride(n: int, width: int) -> int:
    """From one row of `n` numbers to the next: `n`, or a panel row more where that is a multiple of 2 KB.

    Rows at such a stride would fall onto the same cache lines (docs/layout.md).
    """
    return n + width if n % (16 * width) == 0 else n


def layer_offsets(layers: Sequence[int], dtype: Any, by_inputs: bool = False) -> list[tuple[int, int, int]]:
    """For each layer (start of W, row stride of W, start of b) in the flat vector, and last its length as a start.

    W_l is stored (fan_out, stride): a row holds the weights into one unit. Or else, of the first layer where it is `by_inputs`,
    (fan_in, stride): those of one input, in whole panel rows. A layer starts on a cache line; what lies between is padding,
    zero.
    """
    width = panel_columns(dtype)
    offsets, at = [], 0
    for l, (fan_in, fan_out) in enumerate(pairwise(layers)):
        turned = by_inputs and l == 0
        stride = round_up(fan_out, width) if turned else row_stride(fan_in, width)
        b = at + (fan_in if turned else fan_out) * stride
        offsets.append((at, stride, b))
        at = round_up(b + fan_out, width)
    return [*offsets, (at, 0, at)]


def aligned_zeros(shape: int | tuple[int, ...], dtype: Any) -> np.ndarray:
    """Zeros that start on a cache line, as vectors want."""
    dtype = np.dtype(dtype)
    count = math.prod(shape) if isinstance(shape, tuple) else shape
    raw = np.zeros(count * dtype.itemsize + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + count * dtype.itemsize].view(dtype).reshape(shape)


class Parameters:
    """Weights and biases of all layers in one flat vector, each with a view of its own shape.

    Parameters
    ----------
    layers : sequence of int
        (inputs, hidden ..., outputs).
    dtype : dtype
        float64 or float32.

    Attributes
    ----------
    W : list of ndarray, (fan_in, fan_out)
        Views: writing to them changes the network. In layer order, from zero.
    b : list of ndarray, (fan_out,)
        Likewise.
    theta : ndarray, one-dimensional
        The vector itself, padding included; padding is zero and must stay so.
    """

    by_inputs = False  # see `ByInputs`

    def __init__(self, layers: Sequence[int], dtype: Any = "float64") -> None:
        self.layers = check_layers(layers)
        try:
            known = np.dtype(dtype) in (np.float32, np.float64)
        except TypeError:
            known = False
        if not known:
            raise ValueError(f"dtype must be float32 or float64; got {dtype!r}")
        offsets = layer_offsets(self.layers, dtype, self.by_inputs)
        self._bind(aligned_zeros(offsets[-1][0], dtype), offsets)

    def _bind(self, theta: np.ndarray, offsets: list[tuple[int, int, int]]) -> None:
        self.theta = theta
        self.W: list[np.ndarray] = []
        self.b: list[np.ndarray] = []
        sizes = pairwise(self.layers)
        for (w, stride, b), (fan_in, fan_out) in zip(offsets, sizes, strict=False):
            rows = theta[w:b].reshape(-1, stride)
            self.W.append(rows[:, :fan_out] if self.by_inputs and not self.b else rows[:, :fan_in].T)
            self.b.append(theta[b : b + fan_out])

    @classmethod
    def from_arrays(cls, W: Sequence[Any], b: Sequence[Any], dtype: Any = None) -> Parameters:
        """Parameters with a copy of the given arrays.

        Parameters
        ----------
        W : sequence of array, (fan_in, fan_out)
        b : sequence of array, (fan_out,)
        dtype : dtype, optional
            None takes float32 where every array is float32, float64 otherwise.

        Raises
        ------
        ValueError
            Where shapes do not follow from one another, or a number is not finite.

        Examples
        --------
        >>> import glassprop as gp
        >>> gp.Parameters.from_arrays([[[1.0], [2.0]]], [[0.5]]).layers
        (2, 1)
        """
        weights, biases = [np.asarray(w) for w in W], [np.asarray(v) for v in b]
        if len(weights) != len(biases) or not weights:
            raise ValueError(f"W and b must have one array for each layer; got {len(weights)} and {len(biases)}")
        for l, (w, v) in enumerate(zip(weights, biases, strict=True)):
            if w.ndim != 2 or v.shape != (w.shape[1],):
                raise ValueError(f"W[{l}] must be (fan_in, fan_out) and b[{l}] (fan_out,); got {w.shape} and {v.shape}")
            if l and w.shape[0] != weights[l - 1].shape[1]:
                raise ValueError(
                    f"W[{l}] must have {weights[l - 1].shape[1]} rows, the outputs of the layer before; got {w.shape[0]}"
                )
            for name, array in ((f"W[{l}]", w), (f"b[{l}]", v)):
                if array.dtype.kind not in "fiu":
                    raise TypeError(f"{name} must hold real numbers; got {array.dtype}")
        if dtype is None:
            dtype = "float32" if all(a.dtype.newbyteorder("=") == np.float32 for a in weights + biases) else "float64"
        result = _parameters_of(weights, biases, dtype)
        for name, arrays in (("W", result.W), ("b", result.b)):
            for l, array in enumerate(arrays):
                if not np.isfinite(array).all():
                    raise ValueError(f"{name}[{l}] must be finite; it holds NaN or infinity in {result.dtype}")
        return result

    @property
    def dtype(self) -> np.dtype:
        """float32 or float64."""
        return self.theta.dtype

    def astype(self, dtype: Any) -> Parameters:
        """A copy in another precision (or the same)."""
        result = type(self)(self.layers, dtype)
        if result.dtype == self.dtype:
            result.theta[:] = self.theta
        else:  # the padding differs
            result._take(self.W, self.b)
        return result

    def _take(self, weights: Sequence[np.ndarray], biases: Sequence[np.ndarray]) -> None:
        """Take over the numbers of these arrays, some rows at a time: they may lie column by column."""
        for mine, theirs in zip(self.W + self.b, [*weights, *biases], strict=True):
            for row in range(0, len(mine), ROWS_COPIED):
                mine[row : row + ROWS_COPIED] = theirs[row : row + ROWS_COPIED]

    def copy(self) -> Parameters:
        """A copy that shares no memory."""
        return self.astype(self.dtype)

    def with_theta(self, theta: np.ndarray) -> Parameters:
        """The same shapes over another vector of the same length, without a copy."""
        result = object.__new__(type(self))
        result.layers = self.layers
        result._bind(theta, layer_offsets(self.layers, theta.dtype, self.by_inputs))
        return result

    def __repr__(self) -> str:
        return f"Parameters({self.layers}, dtype={self.dtype.name!r})"

    def __reduce__(self) -> tuple:
        return (_parameters_of, ([np.array(w) for w in self.W], [np.array(v) for v in self.b], self.dtype.name))


def _parameters_of(weights: Sequence[np.ndarray], biases: Sequence[np.ndarray], dtype: Any) -> Parameters:
    """Parameters with a copy of arrays of fitting shapes, finite or not."""
    result = Parameters((weights[0].shape[0], *(w.shape[1] for w in weights)), dtype)
    with np.errstate(over="ignore"):
        result._take(weights, biases)
    return result


class ByInputs(Parameters):
    """Parameters whose first W lies input by input, as predictions of a sparse table read it. They are not trained.

    Of few rows these need a few rows of Wᵀ, which lie one number here and one number there where W lies unit by unit.
    """

    by_inputs = True

    @classmethod
    def of(cls, parameters: Parameters) -> ByInputs:
        """A copy of other parameters."""
        result = cls(parameters.layers, parameters.dtype)
        result._take(parameters.W, parameters.b)
        return result
