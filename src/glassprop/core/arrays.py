"""What a person hands in becomes the arrays that the core takes, or an error that says what is wrong.

It knows shapes and values, not files: text, missing values and categories are the affair of `tables`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from glassprop.core.network import Network, Parameters

_NUMBERED = "classes are numbered by numpy.unique(labels, return_inverse=True)"


def _array(name: str, value: Any, advice: str = "") -> np.ndarray:
    if type(value).__module__.startswith("scipy.sparse"):
        raise TypeError(f"{name} must be a dense array; got a sparse one (call .toarray())")
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{name} must be a rectangular array; its rows differ in length ({error})") from None
    if array.dtype.kind not in "fiub":
        if array.dtype.kind in "cmM":
            raise TypeError(f"{name} must hold {'real ' if array.dtype.kind == 'c' else ''}numbers; got {array.dtype}")
        try:
            array = array.astype(np.float64)
        except (TypeError, ValueError):
            place = next((i for i in np.ndindex(array.shape) if _no_number(array.item(i))), ())
            got = f"{array.item(place)!r} in {_place_of(place, value)}" if place else array.dtype
            raise ValueError(f"{name} must hold numbers; it holds {got}" + (f"; {advice}" if advice else "")) from None
    return array


def _no_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return True
    return False


def check_finite(name: str, array: np.ndarray, given: Any = None) -> np.ndarray:
    """`array`, or an error that says where in it, or in the table that was given, a number is not finite."""
    with np.errstate(invalid="ignore"):
        finite = np.isfinite([array.min(), array.max()]).all()  # NaN is both; a table of truth values would take memory
    if not finite:
        place = tuple(np.argwhere(~np.isfinite(array))[0])
        what = "NaN" if np.isnan(array[place]) else "infinity"
        where = _place_of(place, given)
        was = given[place] if isinstance(given, np.ndarray) and given.shape == array.shape else array[place]
        if given is not None and array.dtype == np.float32 and np.isfinite(was):
            raise ValueError(f"{name} holds {was:g} in {where}, more than float32 can hold: give float64, or smaller numbers")
        raise ValueError(f"{name} must be finite; it holds {what} in {where}: leave such rows out or fill them in first")
    return array


def _place_of(place: tuple, given: Any) -> str:
    """Row and column of an array in words, the column by its name where the table that was given has names."""
    labels = getattr(given, "columns", None)
    return f"row {place[0]}" + "".join(f", column {j if labels is None else labels[j]}" for j in place[1:])


def core_array(array: np.ndarray, dtype: Any) -> np.ndarray:
    """`array` as the core wants it: of `dtype`, contiguous, aligned; copied only where it is not."""
    if type(array) is np.ndarray and array.dtype == dtype and array.flags.c_contiguous and array.flags.aligned:
        return array
    with np.errstate(over="ignore"):  # becomes infinity, and a complaint about that
        return np.require(array, dtype, ["C", "A"])


def check_inputs(network: Network, X: Any, dtype: Any = None, name: str = "X") -> np.ndarray:
    """X as (rows, inputs) of the computing precision: float64 for float64 and wider, else float32, or `dtype`."""
    return check_finite(name, core_inputs(network, X, dtype, name), X)


def core_inputs(network: Network, X: Any, dtype: Any = None, name: str = "X") -> np.ndarray:
    """The same of numbers that need not be finite."""
    array = _array(name, X)
    inputs = network.layers[0]
    if array.ndim != 2:
        hint = f"; one row of numbers is written {name}[None]" if array.ndim == 1 else ""
        raise ValueError(f"{name} must have two dimensions, (rows, {inputs}); got shape {array.shape}{hint}")
    if array.shape[0] == 0:
        raise ValueError(f"{name} must have at least one row; it is empty, of shape {array.shape}")
    if array.shape[1] != inputs:
        raise ValueError(f"{name} must have {inputs} columns, as the network has inputs; got {array.shape[1]}")
    wide = array.dtype.kind == "f" and array.dtype.itemsize >= 8  # in whatever order of bytes, or wider still
    dtype = np.dtype(dtype or (np.float64 if wide else np.float32))
    return core_array(array, dtype)


def check_targets(network: Network, Y: Any, rows: int, dtype: Any, name: str = "Y") -> np.ndarray:
    """Y as (rows, outputs), or (rows, 1) of class numbers for cross_entropy; within the loss's range."""
    array = _array(name, Y, _NUMBERED)
    outputs, kind, loss = network.layers[-1], network.loss.targets, network.loss.name
    if array.ndim == 1:
        array = array[:, None]
    classes = kind == "distribution" and outputs > 1 and array.ndim == 2 and array.shape[1] == 1
    if array.ndim != 2 or (array.shape[1] != outputs and not classes):
        wanted = f"(rows,) of class numbers or (rows, {outputs})" if kind == "distribution" else f"(rows, {outputs})"
        raise ValueError(f"{name} must be of shape {wanted}; got {np.shape(Y)}")
    if array.shape[0] != rows:
        raise ValueError(f"{name} must have as many rows as the inputs, {rows}; got {array.shape[0]}")
    array = check_finite(name, core_array(array, dtype))
    if classes:
        valid = (array >= 0) & (array < outputs) & (array == np.floor(array))
        if not valid.all():
            got = array[~valid][0]
            raise ValueError(f"{name} must hold class numbers from 0 to {outputs - 1} for {outputs} outputs; got {got:g}")
    elif kind == "distribution" and (array.min() < 0 or np.abs(array.sum(1) - 1).max() > 1e-3):
        raise ValueError(f"{name} must hold class numbers or rows of probabilities that sum to 1 for loss {loss!r}")
    elif kind == "nonnegative" and array.min() < 0:
        raise ValueError(f"{name} must be at least 0 for loss {loss!r}; got {array.min():g}")
    elif kind == "unit" and (array.min() < 0 or array.max() > 1):
        got = array.min() if array.min() < 0 else array.max()
        raise ValueError(f"{name} must lie between 0 and 1 for loss {loss!r}; got {got:g}")
    return array


def check_weights(weights: Any, rows: int, dtype: Any, name: str = "weights") -> np.ndarray | None:
    """Row weights as (rows,), at least 0 and not all 0, or None."""
    if weights is None:
        return None
    array = _array(name, weights)
    if array.shape != (rows,):
        raise ValueError(f"{name} must be one number for each of the {rows} rows; got shape {array.shape}")
    array = check_finite(name, core_array(array, dtype))
    if array.min() < 0:
        raise ValueError(f"{name} must be at least 0; got {array.min():g}")
    if weigh_nothing(array):
        small = f"; numbers below {np.finfo(dtype).tiny:.1g} are computed as 0" if array.any() else ""
        raise ValueError(f"{name} must not all be 0{small}")
    return array


def weigh_nothing(weights: np.ndarray) -> bool:
    """Whether all row weights are 0, or what the core takes for it: numbers below the smallest normal one."""
    return not (weights >= np.finfo(weights.dtype).tiny).any()


def check_parameters(network: Network, parameters: Parameters) -> None:
    """Raise unless `parameters` are of the network's shapes."""
    if not isinstance(parameters, Parameters):
        raise TypeError(
            f"parameters must be a glassprop.Parameters (see Parameters.from_arrays); got {type(parameters).__name__}"
        )
    if parameters.layers != network.layers:
        raise ValueError(f"parameters must be of the network's layers {network.layers}; got {parameters.layers}")
