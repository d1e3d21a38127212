"""A network and its parameters as one safetensors file: tensors W1, b1, W2 ..., and the description as JSON in the metadata.

It holds data, never code: nothing in a file is executed, and a user's own activation or loss is handed in again on reading.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from glassprop.core.activations import Activation
from glassprop.core.arrays import check_parameters
from glassprop.core.losses import Loss
from glassprop.core.network import Network, Parameters
from glassprop.files import missing_file, write_atomically
from glassprop.training.described import UnknownOwn, describe_network, network_of

#: Raised by one whenever an older glassprop could misread a file.
FORMAT_VERSION = 1


class StoredModel(NamedTuple):
    """What a model file holds."""

    network: Network
    parameters: Parameters
    extra: dict[str, Any]  # whatever was put beside them
    tensors: dict[str, np.ndarray]  # and the arrays beside W1, b1 ...


def write_model(
    path: str | os.PathLike[str],
    network: Network,
    parameters: Parameters,
    extra: Mapping[str, Any] | None = None,
    tensors: Mapping[str, np.ndarray] | None = None,
) -> None:
    """Write a model as one safetensors file, whole or not at all.

    Parameters
    ----------
    path : path
        An existing file is replaced.
    network : Network
    parameters : Parameters
        Stored in their own precision as W1, b1, W2 ..., (fan_in, fan_out) and (fan_out,).
    extra : mapping, optional
        Anything JSON can hold (NumPy's numbers and arrays too), given back on reading.
    tensors : mapping of str to array, optional
        Arrays by other names than W1, b1, W2 ..., given back on reading.

    Raises
    ------
    TypeError, ValueError
        Where `extra` holds what JSON cannot, or parameters and network do not fit.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import glassprop as gp
    >>> from glassprop.interop.safetensors import read_model, write_model
    >>> network, path = gp.Network((2, 3, 1)), Path(tempfile.mkdtemp(), "model.safetensors")
    >>> write_model(path, network, network.initialize(seed=0), {"note": "hello"})
    >>> read_model(path).extra
    {'note': 'hello'}
    """
    from safetensors.numpy import save

    check_parameters(network, parameters)
    try:
        description = json.dumps(
            describe_network(network) | {"extra": extra or {}}, allow_nan=False, default=_plain, ensure_ascii=False
        )
    except ValueError as error:  # NaN, infinity, or a dict in itself
        raise ValueError(f"extra must hold what JSON can: {error}") from None
    held = {name: np.ascontiguousarray(array) for name, array in (tensors or {}).items()}
    for l, (W, b) in enumerate(zip(parameters.W, parameters.b, strict=True), 1):
        held[f"W{l}"], held[f"b{l}"] = np.ascontiguousarray(W), np.ascontiguousarray(b)
    metadata = {"format": "glassprop", "format_version": str(FORMAT_VERSION), "model": description}
    write_atomically(path, save(held, metadata))


def read_model(
    path: str | os.PathLike[str],
    activations: Mapping[str, Activation] | None = None,
    losses: Mapping[str, Loss] | None = None,
) -> StoredModel:
    """Read what `write_model` wrote.

    Parameters
    ----------
    path : path
    activations : mapping of str to Activation, optional
        Your own activations by name: a file holds their names, not their code.
    losses : mapping of str to Loss, optional
        Your own losses, likewise.

    Raises
    ------
    FileNotFoundError
        Where there is no such file.
    TypeError
        Where `activations` or `losses` is anything else.
    ValueError
        Where the file is no model of glassprop, is damaged or of a newer format, or an activation or a loss is not given.
    """
    _check_own("activations", activations, Activation)
    _check_own("losses", losses, Loss)
    metadata, tensors = _read_tensors(path)
    if metadata.get("format") != "glassprop" or "model" not in metadata:
        raise _not_a_model(path, "a safetensors file, but not written by glassprop")
    version = metadata.get("format_version", "")
    if not version.isdecimal():
        raise _not_a_model(path, f"its format version is {version!r}")
    if int(version) > FORMAT_VERSION:
        raise ValueError(
            f"{os.fspath(path)}: written by a newer glassprop (model format {version}, this one reads up to {FORMAT_VERSION}): "
            "upgrade glassprop"
        )
    try:
        description = json.loads(metadata["model"])
        network = network_of(description, activations, losses)
        parameters = _build_parameters(network, tensors)
        extra = dict(description["extra"])
    except UnknownOwn as error:
        what, argument = error.hint
        raise ValueError(
            f"{os.fspath(path)}: uses {what}, which is not built in, and a file holds no code: load it in Python with "
            f"{argument}"
        ) from None
    except KeyError as error:
        raise _not_a_model(path, f"it lacks {error}") from None
    except (ValueError, TypeError, AttributeError) as error:
        raise _not_a_model(path, str(error)) from None
    own = {f"{letter}{l}" for letter in "Wb" for l in range(1, len(network.layers))}
    return StoredModel(network, parameters, extra, {name: array for name, array in tensors.items() if name not in own})


def is_safetensors(path: str | os.PathLike[str]) -> bool:
    """Whether the file at `path` starts as a safetensors file does: a length of eight bytes, then JSON."""
    try:
        with open(path, "rb") as file:
            return file.read(9)[8:] == b"{"
    except OSError:
        return False


# --- inside --------------------------------------------------------------------------------------------------------------


def _check_own(argument: str, given: object, kind: type) -> None:
    wanted = f"{argument} must be a dict of names and glassprop.{kind.__name__}"
    if given is None:
        return
    if not isinstance(given, Mapping):
        raise TypeError(f"{wanted}; got {type(given).__name__}")
    for name, value in given.items():
        if not (isinstance(name, str) and isinstance(value, kind)):
            raise TypeError(f"{wanted}; got {type(value).__name__} for {name!r}")


def _not_a_model(path: str | os.PathLike[str], why: str) -> ValueError:
    return ValueError(f"{os.fspath(path)}: not a glassprop model ({' '.join(why.split())})")


def _read_tensors(path: str | os.PathLike[str]) -> tuple[dict[str, str], dict[str, np.ndarray]]:
    from safetensors import SafetensorError, safe_open

    if not Path(path).exists():
        raise missing_file(path, "model", (".safetensors",))
    if Path(path).is_dir():
        raise _not_a_model(path, "a folder")
    if not os.access(path, os.R_OK):
        raise PermissionError(f"{os.fspath(path)}: may not be read")
    if not is_safetensors(path):
        raise _not_a_model(path, "not a safetensors file")
    try:
        with safe_open(os.fspath(path), framework="numpy") as file:
            return dict(file.metadata() or {}), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise _not_a_model(path, f"damaged or cut short: {error}") from None
    except (TypeError, AttributeError, KeyError) as error:  # a kind of number that NumPy lacks
        raise _not_a_model(path, f"its tensors cannot be read: {error}") from None


def _build_parameters(network: Network, tensors: dict[str, np.ndarray]) -> Parameters:
    W: list[np.ndarray] = []
    b: list[np.ndarray] = []
    for l, sizes in enumerate(zip(network.layers, network.layers[1:], strict=False), 1):
        for name, shape, into in ((f"W{l}", sizes, W), (f"b{l}", sizes[1:], b)):
            if name not in tensors:
                raise ValueError(f"it lacks the tensor {name}")
            if tensors[name].shape != shape or tensors[name].dtype not in (np.float32, np.float64):
                got = f"{tensors[name].dtype} of {tensors[name].shape}"
                raise ValueError(f"the tensor {name} must be float32 or float64 of {shape}; it is {got}")
            into.append(tensors[name])
    return Parameters.from_arrays(W, b)


def _plain(value: object) -> object:
    """NumPy's numbers and arrays as JSON's."""
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    raise TypeError(f"extra must hold what JSON can; got {type(value).__name__}")
