"""Machine code on disk: what was compiled from exactly these sources of the core, for this processor. It compiles nothing."""

from __future__ import annotations

import hashlib
import inspect
import pickle
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
from numba.core.caching import FunctionCache, IndexDataCacheFile

from glassprop.errors import CompileNotice

CANNOT_WRITE = (
    "glassprop cannot write its machine code to disk and compiles again in every process; "
    "set NUMBA_CACHE_DIR to a folder that can be written"
)


CORE = Path(__file__).parent


def _sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _stamp(of: str, code: bytes) -> bytes:
    return f"{_sha(of.encode() + code)}\n".encode()


def _sources() -> str:
    """Hash of every file of the core. Numba itself looks only at the file of a cached function, not at what it calls."""
    digest = hashlib.sha256(f"{sys.version_info[:2]}{numba.__version__}".encode())
    for path in sorted(CORE.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


#: Taken as the core is imported: code of files that are edited later, while this process runs, must not pass for theirs.
SOURCES = _sources()


class CodeFiles(IndexDataCacheFile):
    """Machine code on disk, a file for each signature, which says itself what it was compiled from and for.

    Numba's index of numbered files lets two processes that compile at the same time give one number to two signatures.
    """

    def __init__(self, folder: str, base: str, sources: str = SOURCES) -> None:
        super().__init__(cache_path=folder, filename_base=base, source_stamp=sources)
        self._base, self._sources = base, sources

    def _place(self, key: tuple) -> tuple[str, str]:
        """The file of a signature, and what its code is of: the first line is a hash of that and of the code."""
        text = repr(key)
        return f"{self._base}.{_sha(text.encode())[:16]}.nbc", self._sources + text

    def _code(self, key: tuple) -> bytes | None:
        """What was saved, whole and for this key; else None."""
        name, of = self._place(key)
        try:
            with open(self._data_path(name), "rb") as file:
                stamp, code = file.readline(), file.read()
        except OSError:  # not there, or replaced just now
            return None
        return code if stamp == _stamp(of, code) else None

    def holds(self, key: tuple) -> bool:
        return self._code(key) is not None

    def load(self, key: tuple) -> Any:
        code = self._code(key)
        return None if code is None else pickle.loads(code)

    def save(self, key: tuple, data: Any) -> None:
        name, of = self._place(key)
        code = self._dump(data)
        try:
            with self._open_for_write(self._data_path(name)) as file:
                file.write(_stamp(of, code) + code)
        except OSError:  # a full disk: the code is in memory
            warnings.warn(CANNOT_WRITE, CompileNotice, stacklevel=2)


class CoreCache(FunctionCache):
    """Numba's cache on disk, but valid only for exactly these sources of core and function, and keyed by the rule's name."""

    def __init__(self, function: Callable, name: str) -> None:
        super().__init__(function)
        self._rule = name
        own = Path(inspect.getfile(function))
        sources = SOURCES if own.parent == CORE else SOURCES + _sha(own.read_bytes())
        self._cache_file = CodeFiles(self._cache_path, f"{self._impl.filename_base}-{name}", sources)

    def _index_key(self, sig: Any, codegen: Any) -> tuple:
        return (sig, codegen.magic_tuple(), self._rule)

    def holds(self, sig: Any, target_context: Any) -> bool:
        return self._cache_file.holds(self._index_key(sig, target_context.codegen()))


def enable_cache(dispatcher: Any, function: Callable, name: str) -> None:
    try:
        dispatcher._cache = CoreCache(function, name)
    except RuntimeError:  # neither the package's folder nor the user's cache folder can be written
        warnings.warn(CANNOT_WRITE, CompileNotice, stacklevel=2)
