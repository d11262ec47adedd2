"""Writes Python's values as Torch7's objects.

What is one object is written once and referred to by its index after that: tables, tensors and
storages alike.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..creation import tensor
from ..nn import Module
from ..storage import Storage
from ..tensor import Tensor
from . import t7_values as V
from .arrays import bits_of
from .t7_modules import torch_object
from .t7_streams import AsciiOut, BinaryOut
from .t7_values import TorchObject


class Writer:
    """Objects by identity, numbered in the order in which they are met."""

    def __init__(self, out: BinaryOut | AsciiOut) -> None:
        self.out = out
        self.index: dict[int, int] = {}
        self.kept: list[Any] = []  # so that no identity is used twice
        self.arrays: dict[int, Tensor] = {}
        self.modules: dict[int, TorchObject] = {}

    def write(self, x: Any) -> None:
        """Writes one value. Raises TypeError for what Torch7 has no type for."""
        out = self.out
        if x is None:
            out.int(V.NIL)
        elif isinstance(x, bool | np.bool_):
            out.int(V.BOOLEAN)
            out.int(int(x))
        elif isinstance(x, int | float | np.integer | np.floating):
            if float(x) != x and x == x:
                raise ValueError(f"save_t7: expected a number that a double holds, got {x}")
            out.int(V.NUMBER)
            out.double(float(x))
        elif isinstance(x, str | bytes):
            out.int(V.STRING)
            out.string(x if isinstance(x, bytes) else x.encode("utf-8", "surrogateescape"))
        elif isinstance(x, list | tuple | dict):
            self.table(x)
        else:
            self.object(x)

    def begin(self, kind: int, x: Any) -> bool:
        """Writes type and index; True where the object is new."""
        self.out.int(kind)
        known = self.index.get(id(x))
        if known is None:
            self.index[id(x)] = known = len(self.index) + 1
            self.kept.append(x)
            self.out.int(known)
            return True
        self.out.int(known)
        return False

    def table(self, x: Any) -> None:
        if self.begin(V.TABLE, x):
            entries: Any = x.items() if isinstance(x, dict) else enumerate(x, 1)
            pairs = [(k, v) for k, v in entries if v is not None]  # to Lua, nil is not there
            self.out.int(len(pairs))
            for key, value in pairs:
                if key is None or key != key:
                    raise TypeError(f"save_t7: expected keys other than None and NaN, got {key}")
                self.write(key)
                self.write(value)

    def object(self, x: Any) -> None:
        if isinstance(x, np.ndarray):
            if id(x) not in self.arrays:
                self.kept.append(x)
                self.arrays[id(x)] = tensor(x)
            x = self.arrays[id(x)]
        if isinstance(x, Module):
            x = torch_object(x, self.modules)
        if isinstance(x, Tensor):
            if self.begin(V.OBJECT, x):
                self.tensor(x)
        elif isinstance(x, Storage):
            if self.begin(V.OBJECT, x):
                self.storage(x)
        elif isinstance(x, TorchObject):
            if self.begin(V.OBJECT, x):
                self.name(x.name, x.version)
                self.write(x.fields)
        else:
            raise TypeError("save_t7: expected numbers, strings, booleans, tables, tensors or "
                            f"modules, got {type(x).__name__}")

    def name(self, name: str, version: int = 1) -> None:
        if version:
            self.out.string(b"V %d" % version)
        self.out.string(name.encode())

    def tensor(self, t: Tensor) -> None:
        self.name(f"torch.{_type_name(t)}Tensor")
        if t.size == 0:
            self.out.int(0)
            self.out.longs([1])
            self.out.int(V.NIL)
            return
        if any(s < 0 for s in t.stride()):  # Torch7 has none
            t = t.clone()
            self.kept.append(t)
        size, stride = (t.shape, t.stride()) if t.shape else ((1,), (1,))
        self.out.int(len(size))
        self.out.longs(size)
        self.out.longs(stride)
        self.out.longs([t.storage_offset() + 1])
        storage = t.storage()
        if self.begin(V.OBJECT, storage):
            self.storage(storage)

    def storage(self, storage: Any) -> None:
        whole = storage.tensor()
        self.name(f"torch.{_type_name(whole)}Storage")
        bits, _ = bits_of("save_t7", whole)
        self.out.longs([bits.size])
        self.out.data(bits.reshape(-1).view(np.uint8) if bits.dtype == np.bool_
                      else bits.reshape(-1))


def _type_name(t: Tensor) -> str:
    name = V.NAMES.get(t.dtype)
    if name is None:
        raise TypeError(f"save_t7: expected a dtype among {[d.name for d in V.NAMES]}, got "
                        f"{t.dtype.name}; convert it first")
    return name
