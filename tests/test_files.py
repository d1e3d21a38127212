"""Files are written whole or not at all."""

import itertools
import os
import stat
import threading

import pytest

import glassprop as gp
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


@pytest.fixture
def heard(monkeypatch):
    """What was asked of the system, in order: files and folders flushed, names given."""
    calls, flush, replace = [], os.fsync, os.replace

    def fsync(handle):
        calls.append(("flushed", os.readlink(f"/proc/self/fd/{handle}"), os.fstat(handle).st_size))
        flush(handle)

    def rename(source, target):
        calls.append(("named", str(source), str(target)))
        replace(source, target)

    monkeypatch.setattr(files.os, "fsync", fsync)
    monkeypatch.setattr(files.os, "replace", rename)
    return calls


on_linux = pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="what a handle stands for is looked up in /proc")


@on_linux
def test_data_are_on_the_disk_before_they_have_their_name_and_then_the_name(tmp_path, heard):
    path = tmp_path / "a.bin"
    write_atomically(path, b"12345")
    (flushed, beside, size), (named, source, target), (again, folder, _) = heard
    assert (flushed, named, again) == ("flushed", "named", "flushed")
    assert beside == source != target == str(path)
    assert size == 5  # all of it had left Python's buffer
    assert folder == str(tmp_path)
    heard.clear()
    write_atomically(path, b"1", flush=False)
    assert [call[0] for call in heard] == ["flushed", "named"]


@on_linux
def test_a_recorded_run_is_on_the_disk_when_it_ends(tmp_path, heard):
    folder = tmp_path / "new" / "run"
    gp.train(gp.Network((1, 1)), [[1.0], [2.0]], [1.0, 2.0], epochs=3, record=folder)
    names = [target for what, _, target in heard if what == "named"]
    assert {os.path.basename(name) for name in names} == {path.name for path in folder.iterdir()}
    for before, (what, source, _) in itertools.pairwise(heard):
        assert what != "named" or before[:2] == ("flushed", source)
    first = next(i for i, call in enumerate(heard) if call[2] == str(folder / "step-000000000.safetensors"))
    assert heard[first + 1][:2] == ("flushed", str(folder))  # before training goes on
    assert heard[-1][:2] == ("flushed", str(folder))
    assert heard[0][:2] == ("flushed", str(folder.parent))  # the folder's own name


def test_a_file_system_that_flushes_no_folders_will_do(tmp_path, monkeypatch):
    flush = os.fsync

    def fsync(handle):
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError("invalid argument")
        flush(handle)

    monkeypatch.setattr(files.os, "fsync", fsync)
    write_atomically(tmp_path / "a", b"1")
    monkeypatch.delattr(files.os, "O_DIRECTORY", raising=False)
    write_atomically(tmp_path / "b", b"2")
    assert (tmp_path / "b").read_bytes() == b"2"


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
    said = str(missing_file(tmp_path / "tabel.csv", endings=(".csv",)))
    assert said.endswith(f"no such file; did you mean {str(tmp_path / 'table.csv')!r}?")
    assert str(missing_file("/nowhere/x.csv", "model")) == "/nowhere/x.csv: no such model"


def test_files_whose_names_only_end_alike_are_not_suggested(tmp_path):
    for name in ("iris.safetensors", "iris.csv", "wine.csv"):
        (tmp_path / name).touch()
    every = (".csv", ".safetensors")
    for asked in ("price.safetensors", "titanic.csv", "cat"):
        assert str(missing_file(tmp_path / asked, "model", every)) == f"{tmp_path / asked}: no such model"
    for asked, meant in (("irsi.csv", "iris.csv"), ("irsi.safetensors", "iris.safetensors"), ("wine", "wine.csv")):
        assert str(missing_file(tmp_path / asked, endings=every)).endswith(f"; did you mean {str(tmp_path / meant)!r}?")


def test_only_files_of_the_kind_that_is_missing_are_suggested(tmp_path):
    for name in ("iris.csv", "iris.safetensors"):
        (tmp_path / name).touch()
    (tmp_path / "irises").mkdir()
    for endings, meant in (((".csv",), "iris.csv"), ((".safetensors",), "iris.safetensors"), ((), "irises")):
        for asked in ("irsi", "irsi.csv", "irsi.safetensors"):
            assert str(missing_file(tmp_path / asked, endings=endings)).endswith(f"; did you mean {str(tmp_path / meant)!r}?")
    assert str(missing_file(tmp_path / "irsi.json", endings=(".json",))) == f"{tmp_path / 'irsi.json'}: no such file"


@on_linux
def test_a_place_that_cannot_be_written_is_found_out_before(tmp_path):
    place = "/proc/model.safetensors"  # permissions say that root may
    with pytest.raises(PermissionError, match=rf"^{place}: may not be written \(.*\); choose another place$"):
        check_writable(place)
    with pytest.raises(OSError, match=rf": '{place}'$"):  # by its own name, not by that of the part
        write_atomically(place, b"1")
    check_writable(tmp_path / "new")
    assert list(tmp_path.iterdir()) == []


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
