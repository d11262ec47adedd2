"""Reads Torch7's objects: first what the file says, then Python's values from it.

Depth is no danger: nested objects are read by generators on a stack of our own. Nothing is
allocated by what a file promises, only by bytes that are there.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Generator
from typing import Any

import numpy as np

from ..sharing import as_strided
from ..tensor import Tensor
from . import t7_values as V
from .arrays import tensor_of
from .source import Source
from .t7_streams import Ascii, Binary
from .t7_values import RawStorage, RawTensor, Table, TorchObject

_SCALARS = (V.NIL, V.NUMBER, V.STRING, V.BOOLEAN)
_VERSION = re.compile(r"V (\d{1,9})")
_EXACT = 1 << 53
_COPIED = 1 << 24  # elements that overlapping windows may have, and 16 times their storage

Steps = Generator[Any, Any, Any]


def parse(source: Source, stream: Binary | Ascii) -> Any:
    """The one object of a file, as raw values. Raises FileError for anything else."""
    reader = _Reader(source, stream)
    stack: list[Steps] = [reader.object()]
    value: Any = None
    while stack:
        try:
            asked = stack[-1].send(value)
        except StopIteration as done:
            stack.pop()
            value = done.value
        else:
            stack.append(asked)
            value = None
    rest = bytes(source.data[source.at:])
    if rest.strip() if isinstance(stream, Ascii) else rest:
        raise source.error("the end of the file", f"{len(rest)} more bytes")
    return value


class _Reader:
    """Objects by index: one that was read before is the same object."""

    def __init__(self, source: Source, stream: Binary | Ascii) -> None:
        self.source, self.stream = source, stream
        self.seen: dict[int, Any] = {}

    def scalar(self, kind: int) -> Any:
        if kind == V.NUMBER:
            value = self.stream.double()
            whole = value == value and abs(value) <= _EXACT and value == int(value)
            return int(value) if whole and (value or str(value)[0] != "-") else value
        if kind == V.STRING:
            return self.stream.string("a string").decode("utf-8", "surrogateescape")
        if kind == V.BOOLEAN:
            return self.stream.int("a boolean") != 0
        return None

    def object(self) -> Steps:
        at = self.source.at
        kind = self.stream.int("a type from 0 to 8")
        if kind in _SCALARS:
            return self.scalar(kind)
        return (yield self.compound(kind, at))

    def compound(self, kind: int, at: int) -> Steps:
        if kind in V.FUNCTIONS:
            raise self.source.error("data", "a function, which is code and is never loaded", at)
        if kind not in (V.TABLE, V.OBJECT):
            raise self.source.error("a type from 0 to 8", kind, at)
        index = self.stream.int("an object's index")
        if index in self.seen:
            found = self.seen[index]
            if isinstance(found, Table) != (kind == V.TABLE):
                raise self.source.error(f"a {'table' if kind == V.TABLE else 'class'} by index "
                                        f"{index}", type(found).__name__, at)
            return found
        if kind == V.TABLE:
            return (yield self.table(index))
        return (yield self.instance(index))

    def table(self, index: int) -> Steps:
        count = self.stream.int("a table's length")
        if not 0 <= count <= self.source.left:
            raise self.source.error(f"a table of at most {self.source.left} pairs", count)
        made = self.seen[index] = Table()
        for _ in range(count):
            pair = []
            for what in ("a key's type from 0 to 8", "a value's type from 0 to 8"):
                at = self.source.at
                kind = self.stream.int(what)
                pair.append(self.scalar(kind) if kind in _SCALARS
                            else (yield self.compound(kind, at)))
            made.pairs.append((pair[0], pair[1]))
        return made

    def instance(self, index: int) -> Steps:
        name = self.name("a version")
        version = _VERSION.fullmatch(name)
        if version:  # the oldest files have none
            name = self.name("a class")
        if name in V.TENSORS:
            return (yield self.tensor(index, name))
        if name in V.STORAGES:
            dtype = V.STORAGES[name]
            made = self.seen[index] = RawStorage(dtype, self.stream.data(dtype, self.length()))
            return made
        other = self.seen[index] = TorchObject(name, None, int(version[1]) if version else 0)
        other.fields = yield self.object()
        return other

    def name(self, what: str) -> str:
        at = self.source.at
        found = self.stream.string(what)
        if not found.isascii() or not 0 < len(found) < 256:
            raise self.source.error(f"{what}'s name", found, at)
        return found.decode()

    def length(self) -> int:
        count: int = self.stream.longs(1, "a storage's length")[0]
        if not 0 <= count <= self.source.left:
            raise self.source.error("a storage that fits into the file", count)
        return count

    def tensor(self, index: int, name: str) -> Steps:
        source, at = self.source, self.source.at
        ndim = self.stream.int("a number of dimensions")
        if not 0 <= ndim <= 64:
            raise source.error("0 to 64 dimensions", ndim, at)
        size = tuple(self.stream.longs(ndim, "sizes"))
        stride = tuple(self.stream.longs(ndim, "strides"))
        offset = self.stream.longs(1, "an offset")[0] - 1
        made = self.seen[index] = RawTensor(V.TENSORS[name], offset, size, stride, None, name)
        storage = yield self.object()
        if storage is not None and not isinstance(storage, RawStorage):
            raise source.error("a tensor's storage", type(storage).__name__, at)
        made.storage = storage
        _check_geometry(source, made, at)
        return made


def _check_geometry(source: Source, t: RawTensor, at: int) -> None:
    """All elements lie in the storage, and there are not absurdly many of them."""
    if not t.size or 0 in t.size:
        if any(e < 0 for e in t.size):
            raise source.error("sizes of 0 or more", t.size, at)
        return
    length = 0 if t.storage is None else len(t.storage.bits)
    if t.storage is not None and t.storage.dtype is not t.dtype:
        raise source.error(f"a storage of {t.dtype.name}", t.storage.dtype.name, at)
    last = t.offset + sum((e - 1) * s for e, s in zip(t.size, t.stride))
    count = 1
    for extent in t.size:
        count = min(count * max(extent, 1), 1 << 62)
    if min(t.size) < 0 or min(t.stride) < 0 or t.offset < 0 or last >= length or count >= 1 << 48:
        raise source.error(f"elements inside a storage of {length}", f"size {t.size}, stride "
                           f"{t.stride}, offset {t.offset + 1}", at)


# -- Python's values -----------------------------------------------------------------------------


class Settler:
    """Lists, dicts, tensors and objects from raw values; what was one object is one object."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.made: dict[int, Any] = {}
        self.flat: dict[int, Tensor] = {}
        self.todo: list[tuple[Any, Any]] = []

    def settle(self, root: Any) -> Any:
        """The value of a raw value, with all below it."""
        found = self.value(root)
        while self.todo:
            raw, made = self.todo.pop()
            if isinstance(raw, TorchObject):
                made.fields = self.fields(raw.fields)
            elif isinstance(made, list):
                made.extend(self.value(v) for _, v in raw.pairs)
            else:
                self.fill(made, raw)
        return found

    def value(self, raw: Any) -> Any:
        if not isinstance(raw, Table | TorchObject | RawTensor | RawStorage):
            return raw
        if id(raw) in self.made:
            return self.made[id(raw)]
        made: Any
        if isinstance(raw, RawTensor):
            made = self.tensor(raw)
        elif isinstance(raw, RawStorage):
            made = self.whole(raw).storage()
        else:
            made = raw if isinstance(raw, TorchObject) else [] if is_list(raw) else {}
            self.todo.append((raw, made))
        self.made[id(raw)] = made
        return made

    def fields(self, raw: Any) -> Any:
        """An object's fields: always a dict, where they are a table."""
        if not isinstance(raw, Table):
            return self.value(raw)
        if id(raw) not in self.made:
            made: dict[Any, Any] = {}
            self.made[id(raw)] = made
            self.fill(made, raw)
        return self.made[id(raw)]

    def fill(self, made: dict[Any, Any], raw: Table) -> None:
        for key, value in raw.pairs:
            if isinstance(key, Table) or key is None or key != key:
                what = "a table" if isinstance(key, Table) else key
                raise self.source.error("keys that are numbers, strings, booleans or objects", what,
                                        None)
            name = self.value(key)
            if name in made:  # true and 1 are one key to Python
                raise self.source.error("each key once", f"{name!r} twice", None)
            made[name] = self.value(value)

    def whole(self, raw: RawStorage) -> Tensor:
        if id(raw) not in self.flat:
            self.flat[id(raw)] = tensor_of(raw.bits, raw.dtype)
        return self.flat[id(raw)]

    def tensor(self, raw: RawTensor) -> Tensor:
        if raw.storage is None or not raw.size or 0 in raw.size:
            return tensor_of(raw.dtype.numpy.type(0).reshape(1)[:0], raw.dtype)
        with contextlib.suppress(ValueError):  # all lies inside: only windows that overlap are none
            return as_strided(self.whole(raw.storage), raw.size, raw.stride, raw.offset)
        count, length = 1, len(raw.storage.bits)
        for extent in raw.size:
            count *= extent
        if count > max(_COPIED, 16 * length):
            raise self.source.error(f"windows of at most {max(_COPIED, 16 * length)} elements over "
                                    f"a storage of {length}", f"size {raw.size}", None)
        steps = tuple(s * raw.storage.bits.itemsize for s in raw.stride)
        view = np.lib.stride_tricks.as_strided(raw.storage.bits[raw.offset:], raw.size, steps)
        return tensor_of(view, raw.dtype)


def is_list(table: Table) -> bool:
    """Are the keys 1, 2, ..., n in this order (n may be 0)?"""
    return all(type(key) is int and key == i for i, (key, _) in enumerate(table.pairs, 1))
