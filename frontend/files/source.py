"""Bytes that come in, and files that go out.

A reader sees a `Source`: bytes with a name and bounds. Whatever is wrong with them is a `FileError`
that says where and what was expected; no reader raises anything else for bad bytes. A file is
written beside its place and renamed into it, so that it is there whole or not at all.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import stat
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

_STRUCTS: dict[str, struct.Struct] = {}


class FileError(ValueError):
    """A file's bytes are not what its format says.

    name: of the file. offset: the byte where reading stopped, or None. The text says what was
    expected and what was found.
    """

    def __init__(self, format: str, name: str, offset: int | None, wanted: str, found: str) -> None:
        place = "" if offset is None else f", byte {offset}"
        super().__init__(f"{format}: {name}{place}: expected {wanted}, got {found}")
        self.name, self.offset, self.wanted, self.found = name, offset, wanted, found


class Source:
    """The bytes of one file, and a place in them. `format` begins the text of its errors.

    Reading beyond the end raises FileError before any memory is asked for.
    """

    def __init__(self, format: str, data: Any, name: str) -> None:
        self.format, self.name = format, name
        self.data = memoryview(data).cast("B")
        self.at = 0

    def __len__(self) -> int:
        return len(self.data)

    @property
    def left(self) -> int:
        """Bytes after the place."""
        return len(self.data) - self.at

    def error(self, wanted: str, found: Any, offset: int | None = None) -> FileError:
        """The error for what stands at the place (or at offset)."""
        text = found if isinstance(found, str) else repr(found)
        if len(text) > 200:
            text = text[:200] + "..."
        return FileError(self.format, self.name, self.at if offset is None else offset, wanted,
                         text)

    def take(self, count: int, what: str = "data") -> memoryview:
        """The next bytes."""
        if not 0 <= count <= self.left:
            raise self.error(f"{count} bytes of {what}", f"{self.left} until the end")
        self.at += count
        return self.data[self.at - count:self.at]

    def unpack(self, form: str, what: str = "a number") -> Any:
        """One number by its `struct` form."""
        known = _STRUCTS.get(form)
        if known is None:
            known = _STRUCTS[form] = struct.Struct(form)
        if known.size > self.left:
            self.take(known.size, what)
        self.at += known.size
        return known.unpack_from(self.data, self.at - known.size)[0]

    def array(self, dtype: Any, count: int, what: str = "elements") -> np.ndarray:
        """The next `count` elements, over the bytes themselves."""
        kind = np.dtype(dtype)
        return np.frombuffer(self.take(count * kind.itemsize, what), kind)

    def inner(self, data: Any) -> Source:
        """Other bytes of the same file, as those of an inflated part."""
        return Source(self.format, data, self.name)


def open_source(format: str, file: Any) -> Source:
    """The bytes of a path, a binary file or a bytes-like object.

    A path is mapped privately: no copy is made before one is needed, and writing into the memory
    does not change the file. Raises OSError where a path cannot be read.
    """
    if isinstance(file, bytes | bytearray | memoryview):
        return Source(format, file, "bytes")
    if hasattr(file, "read"):
        return Source(format, file.read(), str(getattr(file, "name", "stream")))
    with _opened(format, file) as opened:
        if not stat.S_ISREG(os.fstat(opened.fileno()).st_mode):  # a pipe has no map
            return Source(format, opened.read(), os.fspath(file))
        if os.fstat(opened.fileno()).st_size == 0:
            return Source(format, b"", os.fspath(file))
        mapped = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_COPY)
    return Source(format, mapped, os.fspath(file))


def _opened(format: str, file: Any) -> BinaryIO:
    try:
        return open(file, "rb")
    except FileNotFoundError:
        raise FileNotFoundError(errno.ENOENT, f"{format}: expected a file, got a path where there "
                                "is none", os.fspath(file)) from None


@contextlib.contextmanager
def refusing(source: Source, wanted: str) -> Iterator[None]:
    """What another's parser raises over bad bytes, of whatever type, becomes a FileError."""
    try:
        yield
    except FileError:
        raise
    except Exception as error:
        raise source.error(wanted, f"{type(error).__name__}: {error}") from error


@contextlib.contextmanager
def replacing(file: Any) -> Iterator[BinaryIO]:
    """A binary file that takes its place when the block ends well; an open file is written as it
    is."""
    if hasattr(file, "write"):
        yield file
        return
    path = Path(file)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        os.chmod(temporary, _mode(path))
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def _mode(path: Path) -> int:
    """The permissions that the file has, or that a new one would get."""
    with contextlib.suppress(OSError):
        return stat.S_IMODE(path.stat().st_mode)
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask
