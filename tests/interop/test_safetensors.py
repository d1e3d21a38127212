"""Model files: round trips to the bit, and a clear word about every file that is not one."""

import json
import re
import struct

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import glassprop as gp
from glassprop.interop import safetensors as module
from glassprop.interop.safetensors import is_safetensors, read_model, write_model

NETWORKS = [
    gp.Network((3, 2)),
    gp.Network((3, 5, 4, 1), ["tanh", "gelu"], loss=gp.Loss("huber", delta=2.5), l2=0.01, l1=0.002, dropout=[0.1, 0.25]),
    gp.Network((2, 4, 3), "selu", loss=gp.Loss("cross_entropy", label_smoothing=0.1)),
    gp.Network((2, 4, 1), "mish", output_activation="softplus", loss="poisson"),
    gp.Network((2, 4, 1), loss=gp.Loss("quantile", quantile=0.9)),
]


@pytest.fixture
def saved(tmp_path):
    """A model file and its network."""
    network, path = gp.Network((2, 3, 1), "tanh"), tmp_path / "model.safetensors"
    write_model(path, network, network.initialize(seed=1))
    return path, network


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("network", NETWORKS, ids=str)
def test_round_trip(tmp_path, network, dtype):
    path, parameters = tmp_path / "m", network.initialize(seed=3, dtype=dtype)
    for b in parameters.b:
        b[:] = np.arange(len(b))
    extra = {"text": "ä ∂", "numbers": [1, 2.5, None, True], "nested": {"a": []}}
    write_model(path, network, parameters, extra)
    stored = read_model(path)
    assert stored.network == network
    assert repr(stored.network) == repr(network)
    assert stored.extra == extra
    assert stored.parameters.dtype == dtype
    assert stored.parameters.theta.tobytes() == parameters.theta.tobytes()


def test_the_tensors_are_readable_by_anybody(saved):
    path, network = saved
    tensors = load_file(path)
    assert {name: value.shape for name, value in tensors.items()} == {"W1": (2, 3), "b1": (3,), "W2": (3, 1), "b2": (1,)}
    np.testing.assert_array_equal(tensors["W1"], network.initialize(seed=1).W[0])
    assert is_safetensors(path)


def test_numpy_in_extra_becomes_plain(tmp_path):
    network = gp.Network((1, 1))
    write_model(tmp_path / "m", network, network.initialize(), {"a": np.float32(0.5), "b": np.arange(3), "c": np.bool_(True)})
    assert read_model(tmp_path / "m").extra == {"a": 0.5, "b": [0, 1, 2], "c": True}


def test_extra_that_json_cannot_hold(tmp_path):
    network = gp.Network((1, 1))
    with pytest.raises(TypeError, match="extra must hold what JSON can; got set"):
        write_model(tmp_path / "m", network, network.initialize(), {"a": {1}})
    with pytest.raises(ValueError, match=r"extra must hold what JSON can: .*not JSON compliant"):
        write_model(tmp_path / "m", network, network.initialize(), {"a": float("nan")})
    assert not (tmp_path / "m").exists()


def test_parameters_of_another_network(tmp_path):
    with pytest.raises(ValueError, match="parameters must be of the network's layers"):
        write_model(tmp_path / "m", gp.Network((1, 1)), gp.Network((1, 2)).initialize())


def test_a_users_activation_is_handed_in_again(tmp_path):
    bent = gp.Activation("bent", lambda g: g * g, lambda g: 2 * g)
    network, path = gp.Network((2, 3, 1), bent), tmp_path / "m"
    write_model(path, network, network.initialize())
    with pytest.raises(ValueError, match=r"m: uses the activation 'bent', which is not built in.*activations=\{'bent': your"):
        read_model(path)
    assert read_model(path, {"bent": bent}).network == network


def test_a_users_loss_is_handed_in_again(tmp_path):
    own = gp.Loss("own", value=lambda h, y: (h - y) ** 4, slope=lambda h, y: 4 * (h - y) ** 3)
    network, path = gp.Network((2, 3, 1), loss=own), tmp_path / "m"
    write_model(path, network, network.initialize())
    with pytest.raises(
        ValueError, match=r"m: uses the loss 'own', which is not built in.*losses=\{'own': your glassprop.Loss\}"
    ):
        read_model(path)
    assert read_model(path, losses={"own": own}).network == network


# --- files that are not models -------------------------------------------------------------------------------------------


def _complaint(path):
    """The one line that says why the file is no model."""
    with pytest.raises(ValueError, match=re.escape(str(path)) + ": ") as caught:
        read_model(path)
    text = str(caught.value)
    assert "\n" not in text
    return text.removeprefix(f"{path}: ")


def test_no_file(tmp_path, saved):
    with pytest.raises(FileNotFoundError, match=r"modle.safetensors: no such model; did you mean '.*model.safetensors'\?"):
        read_model(tmp_path / "modle.safetensors")


@pytest.mark.parametrize("content", [b"", b"a,b\n1,2\n", b"\x80\x04pickle"])
def test_another_kind_of_file(tmp_path, content):
    path = tmp_path / "m"
    path.write_bytes(content)
    assert _complaint(path) == "not a glassprop model (not a safetensors file)"
    assert not is_safetensors(path)


def test_a_folder(tmp_path):
    assert _complaint(tmp_path) == "not a glassprop model (a folder)"


def test_every_truncation(saved, tmp_path):
    whole, path = saved[0].read_bytes(), tmp_path / "cut"
    for length in [*range(9, len(whole), 37), len(whole) - 1]:
        path.write_bytes(whole[:length])
        assert _complaint(path).startswith("not a glassprop model (damaged or cut short: ")


def test_other_safetensors(tmp_path):
    save_file({"x": np.zeros(3)}, tmp_path / "m")
    assert _complaint(tmp_path / "m") == "not a glassprop model (a safetensors file, but not written by glassprop)"
    save_file({"x": np.zeros(3)}, tmp_path / "m", {"format": "pt"})
    assert _complaint(tmp_path / "m") == "not a glassprop model (a safetensors file, but not written by glassprop)"


def test_numbers_that_numpy_lacks(tmp_path):
    header = json.dumps({"x": {"dtype": "F8_E4M3", "shape": [2], "data_offsets": [0, 2]}}).encode()
    (tmp_path / "m").write_bytes(struct.pack("<Q", len(header)) + header + b"\0\0")
    assert _complaint(tmp_path / "m").startswith("not a glassprop model (")


def test_a_newer_format(saved, monkeypatch):
    path, network = saved
    monkeypatch.setattr(module, "FORMAT_VERSION", 7)
    write_model(path, network, network.initialize())
    monkeypatch.undo()
    assert _complaint(path) == "written by a newer glassprop (model format 7, this one reads up to 1): upgrade glassprop"


def _change(path, metadata=None, tensors=None, **description):
    """Write the file again with some of it changed; None leaves a tensor out."""
    held = load_file(path) | (tensors or {})
    about = {
        "layers": [2, 3, 1],
        "activations": ["tanh"],
        "output_activation": "identity",
        "loss": {"name": "half_squared_error"},
        "l2": 0.0,
        "l1": 0.0,
        "dropout": [0.0],
        "extra": {},
    } | description
    texts = {"format": "glassprop", "format_version": "1", "model": json.dumps(about)} | (metadata or {})
    save_file({name: value for name, value in held.items() if value is not None}, path, texts)


def test_the_changes_below_start_from_a_good_file(saved):
    path, network = saved
    _change(path)
    assert read_model(path).network == network


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"metadata": {"format_version": "x"}}, "its format version is 'x'"),
        ({"metadata": {"model": "{"}}, "Expecting property name"),
        ({"metadata": {"model": "{}"}}, "it lacks 'loss'"),
        ({"metadata": {"model": "[]"}}, "list indices must be integers"),
        ({"layers": [2, 0, 1]}, "layers must be at least 1"),
        ({"layers": [2, 4, 1]}, "the tensor W1 must be float32 or float64 of (2, 4); it is float64 of (2, 3)"),
        ({"loss": {"name": "huber", "delta": 0}}, "delta of loss 'huber' must be greater than 0"),
        ({"tensors": {"b2": None}}, "it lacks the tensor b2"),
        ({"tensors": {"W1": np.zeros((2, 3), np.int64)}}, "it is int64 of (2, 3)"),
        ({"tensors": {"W1": np.full((2, 3), np.nan)}}, "W[0] must be finite"),
    ],
)
def test_damaged_content(saved, change, why):
    _change(saved[0], **change)
    text = _complaint(saved[0])
    assert text.startswith("not a glassprop model (")
    assert why in text
