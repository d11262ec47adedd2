"""MATLAB's versions 4 to 7: matrices of elements, each with a tag that says its type and length."""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from .arrays import by_name, tensor_of
from .source import Source

MATRIX, COMPRESSED = 14, 15
TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
TEXTS = {16: "utf-8", 17: "utf-16", 18: "utf-32"}
CELL, STRUCT, OBJECT, CHAR, SPARSE = 1, 2, 3, 4, 5
NUMERIC = {6: "float64", 7: "float32", 8: "int8", 9: "uint8", 10: "int16", 11: "uint16",
           12: "int32", 13: "uint32", 14: "int64", 15: "uint64"}
REFUSED = {OBJECT: "an object of a class", 16: "a function, which is code", 17: "an opaque object"}
LOGICAL, COMPLEX = 0x200, 0x800
DEEP = 100
AXES = 32
DENSE = 1 << 24  # elements of a full matrix, and 64 times the file's bytes


@dataclass(frozen=True)
class Options:
    """What `load` was asked for."""

    dense: bool
    squeeze: bool
    limit: int
    names: frozenset[str] | None

    def wants(self, name: str) -> bool:
        """Is this variable asked for?"""
        return self.names is None or name in self.names


# -- values ----------------------------------------------------------------------------------------


def numeric(source: Source, options: Options, array: np.ndarray, shape: tuple[int, ...]) -> Any:
    """A tensor from elements in MATLAB's order, the first axis fastest."""
    dtype = by_name(array.dtype.name)
    if dtype is None:
        raise source.error("a dtype that Flambeau has", array.dtype.name)
    if options.squeeze:
        shape = tuple(e for e in shape if e != 1)
    return tensor_of(np.asarray(array.reshape(shape[::-1]).transpose(), order="C"), dtype)


def text(source: Source, codes: str, shape: tuple[int, ...]) -> Any:
    """A str from characters, MATLAB's units of 16 bits or (SciPy) whole ones; several rows become a
    list of str."""
    rows, columns = shape[0], math.prod(shape[1:])
    if len(codes) != rows * columns:
        units = np.frombuffer(codes.encode("utf-16-le", "surrogatepass"), "<u2")
        codes = "".join(map(chr, units))
    if len(codes) != rows * columns:
        raise source.error(f"{rows * columns} characters", f"{len(codes)}")
    found = [codes[row::rows].encode("utf-16-le", "surrogatepass").decode(
        "utf-16-le", "surrogatepass") for row in range(min(rows, max(len(codes), 1)))]
    return found if rows > 1 else found[0] if found else ""


def nested(items: list[Any], shape: tuple[int, ...]) -> Any:
    """Cells as a list, or as lists by row; items come with the first axis fastest."""
    if (len(shape) == 2 and 1 in shape) or not items:
        return items
    rows = shape[0]
    inner = shape[1:] if len(shape) > 2 else (*shape[1:], 1)
    return [nested(items[row::rows], inner) for row in range(rows)]


def complex_of(source: Source, real: np.ndarray, imaginary: np.ndarray) -> np.ndarray:
    """Two parts as complex numbers: complex64 from float32, else complex128."""
    name = "complex64" if real.dtype == np.float32 else "complex128"
    if by_name(name) is None:
        raise source.error("real numbers, for there is no complex dtype yet", "complex ones")
    made = np.empty(real.shape, name)
    made.real, made.imag = real, imaginary
    return made


def full(source: Source, options: Options, shape: tuple[int, ...], rows: np.ndarray,
         starts: np.ndarray, values: np.ndarray) -> np.ndarray:
    """A compressed-column matrix as a full one in MATLAB's order, if dense matrices are asked for
    and it is not absurdly large."""
    if not options.dense:
        raise source.error("full matrices, or dense=True", f"a sparse one of shape {shape}")
    if len(shape) != 2 or math.prod(shape) > max(DENSE, 64 * len(source)):
        raise source.error("a matrix of at most 16 million elements", f"shape {shape}")
    starts = starts.astype(np.int64)
    used = int(starts[-1]) if len(starts) else -1
    if len(starts) != shape[1] + 1 or starts[0] != 0 or np.any(np.diff(starts) < 0) or not (
            used <= len(rows) and used <= len(values)):
        raise source.error("rising column starts within the elements", f"{len(starts)} of them")
    rows, values = rows[:used], values[:used]
    if used and not 0 <= rows.min() <= rows.max() < shape[0]:
        raise source.error(f"rows in [0, {shape[0]})", f"{rows.min()} to {rows.max()}")
    made = np.zeros(shape[::-1], values.dtype)
    made[np.repeat(np.arange(shape[1]), np.diff(starts)), rows] = values
    return made.reshape(-1)


# -- version 5 (6 and 7) ---------------------------------------------------------------------------


def read_v5(source: Source, options: Options) -> dict[str, Any]:
    """The variables of a file with a header of 128 bytes."""
    source.take(124)
    order = "<" if bytes(source.data[126:128]) == b"IM" else ">"
    version = source.unpack(order + "H", "a version")
    source.take(2)
    if version >> 8 != 1:
        raise source.error("version 1", hex(version), 124)
    found: dict[str, Any] = {}
    left = options.limit
    while source.left:
        kind, data = _element(source, order)
        if kind == COMPRESSED:
            inside = source.inner(_inflate(source, data, left))
            left -= len(inside)
            kind, data = _element(inside, order)
        if kind != MATRIX:
            raise source.error("a matrix", f"an element of type {kind}")
        name, value = _Matrices(source, order, options).read(source.inner(data), top=True)
        if name in found:
            raise source.error("each name once", f"{name!r} twice")
        if name and options.wants(name):
            found[name] = value
    return found


def _inflate(source: Source, data: Any, limit: int) -> bytes:
    """The contents of a compressed element, if they are no more than the limit."""
    inflating = zlib.decompressobj()
    try:
        made = inflating.decompress(data, max(limit, 1))
    except zlib.error as error:
        raise source.error("compressed data", str(error)) from None
    if not inflating.eof:
        what = "more" if inflating.unconsumed_tail else f"{len(made)} and no end"
        raise source.error(f"at most {limit} bytes once inflated (limit=)", what)
    return made


def _element(source: Source, order: str) -> tuple[int, memoryview]:
    """Type and bytes of the next element; short ones stand inside their tag."""
    kind = source.unpack(order + "I", "a tag")
    if kind >> 16:
        length = kind >> 16
        if length > 4:
            raise source.error("at most 4 bytes in a small element", length)
        return kind & 0xFFFF, source.take(4, "a small element")[:length]
    length = source.unpack(order + "I", "an element's length")
    data = source.take(length, "an element")
    if kind != COMPRESSED:
        source.take(min(-length % 8, source.left))
    return kind, data


class _Matrices:
    """Matrices, which may hold matrices."""

    def __init__(self, source: Source, order: str, options: Options) -> None:
        self.source, self.order, self.options = source, order, options
        self.depth = 0

    def read(self, part: Source, top: bool = False) -> tuple[str, Any]:
        """Name and value; the name alone (and None) of a variable that is not asked for."""
        self.depth += 1
        if self.depth > DEEP:
            raise self.error(f"cells and structs nested up to {DEEP} deep", "deeper ones")
        if not part.left:
            return "", self.numbers(np.zeros(0), (0, 0))
        flags = self.array(part, "u4", "array flags")
        shape = tuple(self.array(part, "i4", "dimensions").tolist())
        name = bytes(self.array(part, "i1", "a name")).decode("latin-1")
        if len(flags) != 2 or not 2 <= len(shape) <= AXES or min(shape) < 0:
            raise self.error("flags and 2 to 32 dimensions of 0 or more", shape)
        value = None
        if not top or self.options.wants(name):
            value = self.value(part, int(flags[0]), shape)
        self.depth -= 1
        return name, value

    def error(self, wanted: str, found: Any) -> Exception:
        return self.source.error(wanted, found)

    def value(self, part: Source, flags: int, shape: tuple[int, ...]) -> Any:
        kind = flags & 0xFF
        if kind in NUMERIC:
            return self.numbers(self.elements(part, flags, NUMERIC[kind], math.prod(shape)), shape)
        if kind == CHAR:
            return text(self.source, self.characters(part), shape)
        if kind == CELL:
            return nested(self.matrices(part, math.prod(shape)), shape)
        if kind == STRUCT:
            return self.struct(part, shape)
        if kind == SPARSE:
            rows, starts = self.array(part, "i4", "rows"), self.array(part, "i4", "column starts")
            values = self.elements(part, flags, "float64", None)
            return self.numbers(full(self.source, self.options, shape, rows, starts, values), shape)
        raise self.error("numbers, text, cells or structs", REFUSED.get(kind, f"class {kind}"))

    def numbers(self, array: np.ndarray, shape: tuple[int, ...]) -> Any:
        return numeric(self.source, self.options, array, shape)

    def array(self, part: Source, wanted: str | None, what: str) -> np.ndarray:
        """An element of numbers, of any type unless one is wanted."""
        kind, data = _element(part, self.order)
        form = TYPES.get(kind)
        if form is None or (wanted is not None and (form[1] != wanted[1] or form[0] == "f")):
            raise self.error(what, f"an element of type {kind}")
        if len(data) % int(form[1]):
            raise self.error(f"whole numbers of {form[1]} bytes", f"{len(data)} bytes")
        return np.frombuffer(data, self.order + form)

    def elements(self, part: Source, flags: int, name: str, wanted: int | None) -> np.ndarray:
        """Numbers as the matrix's class, which may be stored as a smaller type."""
        parts = [self.array(part, None, "numbers")]
        if flags & COMPLEX:
            parts.append(self.array(part, None, "imaginary numbers"))
        if len({len(p) for p in parts} | ({wanted} if wanted is not None else set())) != 1:
            raise self.error(f"{wanted} elements", [len(p) for p in parts])
        with np.errstate(invalid="ignore", over="ignore"):
            parts = [p.astype(name) for p in parts]
        if flags & COMPLEX:
            return complex_of(self.source, *parts)
        return parts[0] != 0 if flags & LOGICAL else parts[0]

    def characters(self, part: Source) -> str:
        kind, data = _element(part, self.order)
        if kind == 4:  # 16 bits a character
            kind = 17
        name = TEXTS.get(kind)
        if name is None:
            if kind not in (1, 2):
                raise self.error("text", f"an element of type {kind}")
            return bytes(data).decode("latin-1")
        if name != "utf-8":
            name += "-le" if self.order == "<" else "-be"
        if name.startswith("utf-16"):  # each unit is a character to MATLAB
            return "".join(map(chr, np.frombuffer(data[:len(data) // 2 * 2], self.order + "u2")))
        try:
            return bytes(data).decode(name)
        except UnicodeDecodeError as error:
            raise self.error(f"text in {name}", str(error)) from None

    def matrices(self, part: Source, number: int) -> list[Any]:
        """That many matrices, one after the other."""
        if number * 8 > part.left:
            raise self.error(f"{number} matrices", f"{part.left} bytes")
        found = []
        for _ in range(number):
            kind, data = _element(part, self.order)
            if kind != MATRIX:
                raise self.error("a matrix", f"an element of type {kind}")
            found.append(self.read(self.source.inner(data))[1])
        return found

    def struct(self, part: Source, shape: tuple[int, ...]) -> Any:
        lengths = self.array(part, "i4", "the length of field names")
        raw = bytes(self.array(part, "i1", "field names"))
        length = int(lengths[0]) if len(lengths) == 1 else 0
        if not 0 < length <= 1024 or len(raw) % length:
            raise self.error("field names of one length", f"{len(raw)} bytes")
        names = [raw[i:i + length].split(b"\0")[0].decode("latin-1")
                 for i in range(0, len(raw), length)]
        if len(set(names)) != len(names):
            raise self.error("each field once", names)
        number = math.prod(shape)
        if not names and number > 1 << 16:
            raise self.error("at most 65536 structs without fields", number)
        values = self.matrices(part, number * len(names))
        items = [dict(zip(names, values[i * len(names):(i + 1) * len(names)]))
                 for i in range(number)]
        return items[0] if number == 1 else nested(items, shape)


# -- version 4 -------------------------------------------------------------------------------------

_V4 = ("f8", "f4", "i4", "i2", "u2", "u1")


def read_v4(source: Source, options: Options) -> dict[str, Any]:
    """The variables of a file without a header: each has its type as a decimal number."""
    found: dict[str, Any] = {}
    while source.left:
        at = source.at
        order = "<" if 0 <= source.unpack("<i", "a type") < 5000 else ">"
        source.at = at
        kind, rows, columns, imaginary, length = (source.unpack(order + "i") for _ in range(5))
        machine, zero, form, use = kind // 1000, kind // 100 % 10, kind // 10 % 10, kind % 10
        if not 0 <= kind < 5000 or machine > 1 or zero or form > 5 or use > 2:
            raise source.error("a .mat file", f"type {kind}", at)
        if min(rows, columns) < 0 or imaginary not in (0, 1) or not 0 < length <= 256:
            raise source.error("sizes of 0 or more and a name", (rows, columns, length), at)
        name = bytes(source.take(length, "a name")).split(b"\0")[0].decode("latin-1")
        if name in found:
            raise source.error("each name once", f"{name!r} twice", at)
        parts = [source.array(order + _V4[form], rows * columns)
                 for _ in range(1 + (imaginary if use != 2 else 0))]
        if options.wants(name):
            found[name] = _v4_value(source, options, parts, (rows, columns), use)
    return found


def _v4_value(source: Source, options: Options, parts: list[np.ndarray], shape: tuple[int, int],
              use: int) -> Any:
    with np.errstate(invalid="ignore", over="ignore"):
        if use == 1:
            codes = parts[0].astype(np.uint16)
            return text(source, "".join(map(chr, codes)), shape)
        if use == 2:
            return _v4_sparse(source, options, parts[0].reshape(shape[::-1]))
    native = [p.astype(p.dtype.newbyteorder("=")) for p in parts]
    array = complex_of(source, *native) if len(native) == 2 else native[0]
    return numeric(source, options, array, shape)


def _v4_sparse(source: Source, options: Options, columns: np.ndarray) -> Any:
    """Rows (i, j, value), the last of which says the shape."""
    if columns.shape[0] != 3 or not columns.shape[1]:
        raise source.error("rows of (i, j, value)", f"shape {columns.shape[::-1]}")
    with np.errstate(invalid="ignore", over="ignore"):
        i, j = columns[0].astype(np.int64), columns[1].astype(np.int64)
    shape = (int(i[-1]), int(j[-1]))
    i, j, values = i[:-1] - 1, j[:-1] - 1, columns[2][:-1].astype(np.float64)
    if min(shape) < 0 or max(shape) >= 1 << 31 or (i < 0).any() or (j < 0).any() or (
            j >= shape[1]).any():
        raise source.error(f"positions inside {shape}", "others")
    order = np.argsort(j, kind="stable")
    if not options.dense or shape[1] > max(DENSE, len(source)):
        raise source.error("full matrices, or dense=True", f"a sparse one of shape {shape}")
    starts = np.concatenate([[0], np.cumsum(np.bincount(j, minlength=shape[1]))])
    array = full(source, options, shape, i[order], starts, values[order])
    return numeric(source, options, array, shape)


