"""The idx format of MNIST and its kin: one array of numbers in a file, gzipped or not.

    bytes 0, 1   zero
    byte  2      type of the numbers, byte 3 how many axes
    then         the length of each axis (32 bits, big-endian), then the numbers, big-endian

Sizes are checked before memory is asked for, so a damaged header cannot ask for the machine.
"""

from __future__ import annotations

import gzip
import io
import os
import zlib
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from .store import GZIP, DataError

TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
LIMIT = 1 << 34  # bytes of numbers in one file that are still believable
CHUNK = 1 << 20


def read_idx(path: str | os.PathLike[str]) -> np.ndarray:
    """The array in an idx file, in this machine's byte order; gzip is recognised by itself.

    Raises DataError when the file is truncated, too long, or not of this format.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"read_idx: expected an idx file, got {str(path)!r}, which does not exist")
    with open(path, "rb") as raw:
        packed = raw.read(2) == GZIP
        raw.seek(0)
        source = cast(BinaryIO, gzip.GzipFile(fileobj=raw)) if packed else raw
        try:
            return parse_idx(source, str(path))
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise DataError(f"read_idx: {path}: expected whole gzip data, got damage: {error}"
                            ) from None


def parse_idx(source: BinaryIO | bytes, name: str = "idx data") -> np.ndarray:
    """The array in an open file or in bytes that are not compressed."""
    if isinstance(source, bytes):
        source = io.BytesIO(source)
    kind, shape = _header(source, name)
    dtype = np.dtype(kind)
    size = dtype.itemsize
    for length in shape:
        size *= length  # Python integers: no overflow
    if size > LIMIT:
        raise DataError(f"read_idx: {name}: expected at most {LIMIT} bytes, got a header that "
                        f"declares shape {shape}, {size} bytes")
    data = _read(source, size + 1)
    if len(data) != size:
        found = "more" if len(data) > size else f"{len(data)}"
        raise DataError(f"read_idx: {name}: expected {size} bytes of numbers for shape {shape}, "
                        f"got {found}")
    array = np.frombuffer(data, dtype).reshape(shape)
    return array.astype(dtype.newbyteorder("="), copy=False)


def _header(source: BinaryIO, name: str) -> tuple[str, tuple[int, ...]]:
    head = source.read(4)
    if len(head) < 4 or head[:2] != b"\0\0":
        raise DataError(f"read_idx: {name}: expected two zero bytes, a type and a number of axes, "
                        f"got {head!r}")
    kind, axes = head[2], head[3]
    if kind not in TYPES:
        known = ", ".join(f"0x{k:02x}" for k in TYPES)
        raise DataError(f"read_idx: {name}: expected a type of {known}, got 0x{kind:02x}")
    if not 1 <= axes <= 8:
        raise DataError(f"read_idx: {name}: expected 1 to 8 axes, got {axes}")
    lengths = source.read(4 * axes)
    if len(lengths) < 4 * axes:
        raise DataError(f"read_idx: {name}: expected {axes} lengths of axes, got {len(lengths)} "
                        "bytes and the end of the file")
    return TYPES[kind], tuple(int(n) for n in np.frombuffer(lengths, ">u4"))


def _read(source: BinaryIO, size: int) -> bytes:
    """At most `size` bytes, asked for piece by piece: a lying header costs no memory."""
    data = bytearray()
    while len(data) < size:
        piece = source.read(min(CHUNK, size - len(data)))
        if not piece:
            break
        data += piece
    return bytes(data)
