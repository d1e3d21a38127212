"""Files are written whole or not at all."""

import os
import stat
import threading

import pytest

from glassprop import files
from glassprop.files import check_apart, check_writable, missing_file, write_atomically


def test_a_new_file_and_a_replaced_one(tmp_path):
    path = tmp_path / "a.bin"
    write_atomically(path, b"one")
    write_atomically(str(path), b"two")
    assert path.read_bytes() == b"two"
    assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]


def test_what_fails_leaves_the_old_file_and_nothing_beside_it(tmp_path, monkeypatch):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(files.os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]


def test_links_are_followed_and_permissions_kept(tmp_path):
    real, link = tmp_path / "real", tmp_path / "link"
    real.write_bytes(b"old")
    real.chmod(0o640)
    link.symlink_to(real)
    write_atomically(link, b"new")
    assert link.is_symlink()
    assert real.read_bytes() == b"new"
    assert stat.S_IMODE(real.stat().st_mode) == 0o640


def test_a_pipe_is_written_to_and_stays(tmp_path):
    path, got = tmp_path / "pipe", []
    os.mkfifo(path)
    reader = threading.Thread(target=lambda: got.append(path.read_bytes()))
    reader.start()
    write_atomically(path, b"through")
    reader.join(10)
    assert got == [b"through"]
    assert stat.S_ISFIFO(path.stat().st_mode)


def test_complaints(tmp_path):
    with pytest.raises(IsADirectoryError, match="is a folder; give the name of a file in it"):
        check_writable(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*; make it first"):
        check_writable(tmp_path / "no" / "a")
    (tmp_path / "table.csv").touch()
    assert str(missing_file(tmp_path / "tabel.csv")).endswith(f"no such file; did you mean {str(tmp_path / 'table.csv')!r}?")
    assert str(missing_file("/nowhere/x.csv", "model")) == "/nowhere/x.csv: no such model"


def test_files_that_are_one_and_the_same(tmp_path):
    (tmp_path / "a").write_text("x")
    (tmp_path / "hard").hardlink_to(tmp_path / "a")
    for name in ("a", "hard", "../" + tmp_path.name + "/a"):
        with pytest.raises(ValueError, match=r"^--out must be another file than the table '.*a'$"):
            check_apart({"--out": tmp_path / name}, {"the table": tmp_path / "a"})
    with pytest.raises(ValueError, match=r"^--history must be another file than --out 'new'$"):
        check_apart({"--out": "new", "--history": "./new"}, {"the table": "a"})
    check_apart({"--out": tmp_path / "b", "--history": None}, {"the table": tmp_path / "a"})
    check_apart({"--out": "/dev/null", "--history": "/dev/null"}, {"the table": "a"})
