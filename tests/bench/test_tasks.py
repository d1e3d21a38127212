"""The tasks' data as it is read from files."""

import gzip

import numpy as np
import pytest

from glassprop.bench import tasks


def test_mnist_is_read_as_rows_from_0_to_1_and_their_classes(tmp_path, monkeypatch):
    folder = tmp_path / "mnist"
    folder.mkdir()
    for which, first in (("train", 0), ("t10k", 9)):
        images = np.full((2, 784), 51, np.uint8)
        images[1, 0] = 255
        (folder / f"{which}-images-idx3-ubyte.gz").write_bytes(gzip.compress(bytes(16) + images.tobytes()))
        (folder / f"{which}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(bytes(8) + bytes([first, 3])))
    monkeypatch.setenv("GLASSPROP_DATA", str(tmp_path))
    assert tasks.missing(tasks.TASKS["mnist"]) == ""
    rows = tasks.load(tasks.TASKS["mnist"])
    assert rows.X.shape == rows.X_test.shape == (2, 784)
    assert rows.X.dtype == np.float32
    assert rows.X[:, 0] == pytest.approx([0.2, 1.0])
    assert (rows.Y.tolist(), rows.Y_test.tolist()) == ([0, 3], [9, 3])
