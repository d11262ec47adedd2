"""Writes MATLAB's version 5, which 6 and 7 read too; with compressed variables it is version 7."""

from __future__ import annotations

import re
import struct
import zlib
from typing import Any

import numpy as np

from ..tensor import Tensor
from .arrays import bits_of
from .mat_reading import CELL, CHAR, COMPLEX, COMPRESSED, LOGICAL, MATRIX, NUMERIC, STRUCT, TYPES

_CLASSES = {name: number for number, name in NUMERIC.items()}
_FORMS = {np.dtype(form).name: number for number, form in TYPES.items()}
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,62}")
_HEADER = b"MATLAB 5.0 MAT-file, written by Flambeau"


def write_v5(out: Any, variables: dict[str, Any], compress: bool) -> None:
    """Header and variables."""
    out.write(_HEADER.ljust(116) + bytes(8) + b"\x00\x01IM")
    for name, x in variables.items():
        check_name("a variable's name", name)
        data = matrix(name, x, name)
        if compress:
            packed = zlib.compress(data)
            data = struct.pack("<II", COMPRESSED, len(packed)) + packed
        out.write(data)


def check_name(what: str, name: Any) -> None:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(f"mat.save: expected {what} of up to 63 letters, digits and _ that begins "
                         f"with a letter, got {name!r}")


def element(kind: int, data: bytes) -> bytes:
    """An element, padded to 8 bytes."""
    if len(data) >= 1 << 32:
        raise ValueError(f"mat.save: expected variables below 4 GiB, got {len(data)} bytes; "
                         "use another format")
    if 0 < len(data) <= 4:
        return struct.pack("<HH", kind, len(data)) + data.ljust(4, b"\0")
    return struct.pack("<II", kind, len(data)) + data + bytes(-len(data) % 8)


def matrix(name: str, x: Any, path: str) -> bytes:
    """A value as a matrix element. Raises TypeError for what MATLAB has no class for."""
    if isinstance(x, str):
        return _char(name, x)
    if isinstance(x, dict):
        return _struct(name, x, path)
    if isinstance(x, list | tuple):
        parts = [matrix("", v, f"{path}{{{i + 1}}}") for i, v in enumerate(x)]
        return _matrix(name, CELL, 0, (1, len(parts)), b"".join(parts))
    if x is None:
        return _numeric(name, np.zeros((0, 0)), path)
    if isinstance(x, int | float | complex) and not isinstance(x, bool):
        return _numeric(name, np.array(x, complex if isinstance(x, complex) else float), path)
    if isinstance(x, bool | np.generic | np.ndarray | Tensor):
        bits, dtype = bits_of("mat.save", np.asarray(x) if isinstance(x, bool) else x)
        if dtype.name in ("float16", "bfloat16"):
            raise TypeError(f"mat.save: {path}: expected a dtype that MATLAB has, got {dtype.name};"
                            " convert it to float32 first")
        return _numeric(name, bits, path)
    raise TypeError(f"mat.save: {path}: expected tensors, numbers, texts, lists, dicts or None, "
                    f"got {type(x).__name__}")


def _matrix(name: str, kind: int, flags: int, shape: tuple[int, ...], data: bytes) -> bytes:
    if max(shape) >= 1 << 31:
        raise ValueError(f"mat.save: expected extents below 2 ** 31, got {shape}")
    return _tagged(element(6, struct.pack("<II", kind | flags, 0))
                   + element(5, np.array(shape, "<i4").tobytes())
                   + element(1, name.encode("ascii")) + data)


def _tagged(data: bytes) -> bytes:
    if len(data) >= 1 << 32:
        raise ValueError(f"mat.save: expected variables below 4 GiB, got {len(data)} bytes; "
                         "use another format")
    return struct.pack("<II", MATRIX, len(data)) + data


def _numeric(name: str, bits: np.ndarray, path: str) -> bytes:
    shape = bits.shape if bits.ndim > 1 else (bits.size, 1)
    flat = bits.reshape(shape).transpose().reshape(-1)
    if flat.dtype == np.bool_:
        return _matrix(name, _CLASSES["uint8"], LOGICAL, shape, element(2, flat.tobytes()))
    flags, parts = 0, [flat]
    if flat.dtype.kind == "c":
        flags, parts = COMPLEX, [flat.real, flat.imag]
    data = b"".join(element(_FORMS[p.dtype.name], p.astype(p.dtype.newbyteorder("<")).tobytes())
                    for p in parts)
    return _matrix(name, _CLASSES[parts[0].dtype.name], flags, shape, data)


def _char(name: str, x: str) -> bytes:
    units = x.encode("utf-16-le", "surrogatepass")
    shape = (1, len(units) // 2) if units else (0, 0)
    return _matrix(name, CHAR, 0, shape, element(17, units))  # UTF-16


def _struct(name: str, x: dict[str, Any], path: str) -> bytes:
    for field in x:
        check_name(f"a field of {path}", field)
    width = 64
    names = b"".join(field.encode("ascii").ljust(width, b"\0") for field in x)
    values = b"".join(matrix("", v, f"{path}.{k}") for k, v in x.items())
    return _matrix(name, STRUCT, 0, (1, 1), element(5, struct.pack("<i", width))
                   + element(1, names) + values)
