"""Files that are either written whole or left as they were, and the wording of complaints about paths.

It knows bytes, not what they mean.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path


def missing_file(path: str | os.PathLike[str], what: str = "file", endings: tuple[str, ...] = ()) -> FileNotFoundError:
    """The error for a file that is not there, with the nearest name in its folder.

    Parameters
    ----------
    path : path
    what : str
        What was looked for.
    endings : tuple of str
        Of the files that it could be; none where it is a folder.
    """
    folder, ending = Path(path).parent, Path(path).suffix
    try:
        # compared without endings, which make all names alike; of files with one stem, that with this ending is last
        files = sorted(folder.iterdir(), key=lambda file: (file.suffix == ending, file.name))
    except OSError:
        files = []
    there = {file.stem: file for file in files if (file.suffix in endings if endings else file.is_dir())}
    near = difflib.get_close_matches(Path(path).stem, there, n=1)
    return FileNotFoundError(
        f"{os.fspath(path)}: no such {what}" + (f"; did you mean {str(there[near[0]])!r}?" if near else "")
    )


def check_writable(path: str | os.PathLike[str]) -> None:
    """Raise unless a file can be written at `path`: before long work, not after it."""
    target = _checked_place(path)
    if target.exists() and not target.is_file():
        if not os.access(target, os.W_OK):
            raise PermissionError(f"{os.fspath(path)}: may not be written; choose another place")
        return
    beside = _beside(target)
    try:
        beside.touch()  # permissions do not tell all: not of /proc, nor of a file system that is read only
        beside.unlink()
    except OSError as error:
        raise PermissionError(f"{os.fspath(path)}: may not be written ({error.strerror}); choose another place") from None


def _checked_place(path: str | os.PathLike[str]) -> Path:
    """Where links lead; raises for a folder, or where there is none to write in."""
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise IsADirectoryError(f"{os.fspath(path)}: is a folder; give the name of a file in it")
    if not target.parent.is_dir():
        raise FileNotFoundError(f"{os.fspath(path)}: there is no folder {str(target.parent)!r}; make it first")
    return target


def _beside(target: Path) -> Path:
    return target.with_name(f".{target.name}.{os.getpid()}.part")


def check_apart(written: Mapping[str, str | os.PathLike[str] | None], read: Mapping[str, str | os.PathLike[str]]) -> None:
    """Raise where a file to be written is one that is read, or another that is written.

    Parameters
    ----------
    written : mapping of str to path
        By what they are called in the message, as ``--out``; None is passed over.
    read : mapping of str to path
        As ``the table``.
    """
    taken = dict(read)
    for name, path in written.items():
        if path is None:
            continue
        for other, place in taken.items():
            if _same_file(path, place):
                raise ValueError(f"{name} must be another file than {other} {os.fspath(place)!r}")
        taken[name] = path


def _same_file(one: str | os.PathLike[str], other: str | os.PathLike[str]) -> bool:
    first, second = Path(os.path.realpath(one)), Path(os.path.realpath(other))
    if not (first.exists() and second.exists()):
        return first == second
    return first.is_file() and first.samefile(second)  # a terminal, a pipe or /dev/null may be named twice


def write_atomically(path: str | os.PathLike[str], data: bytes, flush: bool = True) -> None:
    """Write `data` beside `path`, then rename: whoever reads sees the old file or the new one, never a part.

    A power cut leaves no part either: the data are on the disk before the file has its name. The name is, when this returns,
    unless `flush` is false, which leaves `flush_folder` to the caller, once for several files. Links are followed, and what is
    not a file (a pipe, a terminal) is written to as it is.
    """
    target = _checked_place(path)
    try:
        if target.exists() and not target.is_file():
            target.write_bytes(data)
            return
        _replace(target, data)
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, os.fspath(path)) from None  # not the name of the part
    if flush:
        flush_folder(target.parent)


def _replace(target: Path, data: bytes) -> None:
    beside = _beside(target)
    try:
        with open(beside, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if target.exists():
            os.chmod(beside, target.stat().st_mode & 0o7777)
        os.replace(beside, target)
    finally:
        beside.unlink(missing_ok=True)


def flush_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk, where the system can: POSIX."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    with suppress(OSError):  # not every file system takes it, and the file is in place
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
