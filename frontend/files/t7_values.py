"""What Torch7's files hold: the types of tensors and storages, tables, and objects of classes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from flambeau.compiler import dtype as dt
from flambeau.compiler.dtype import DType

NIL, NUMBER, STRING, TABLE, OBJECT, BOOLEAN = 0, 1, 2, 3, 4, 5
FUNCTIONS = (6, 7, 8)

_TYPES = {"Byte": dt.uint8, "Char": dt.int8, "Short": dt.int16, "Int": dt.int32, "Long": dt.int64,
          "Half": dt.float16, "Float": dt.float32, "Double": dt.float64}
NAMES = {dtype: name for name, dtype in _TYPES.items()} | {dt.bool_: "Byte"}


def _classes(kind: str) -> dict[str, DType]:
    """Class names, those of the GPU too, and the dtypes that they become."""
    on_gpu = {f"torch.Cuda{'' if name == 'Float' else name}{kind}": dtype
              for name, dtype in _TYPES.items()}
    return {f"torch.{name}{kind}": dtype for name, dtype in _TYPES.items()} | on_gpu


TENSORS, STORAGES = _classes("Tensor"), _classes("Storage")


@dataclass(eq=False)
class Table:
    """A table as it stands in a file."""

    pairs: list[tuple[Any, Any]] = field(default_factory=list)


@dataclass(eq=False)
class RawStorage:
    """The elements of a storage."""

    dtype: DType
    bits: np.ndarray


@dataclass(eq=False)
class RawTensor:
    """A tensor's geometry, and its storage (None for an empty tensor). offset counts from 0."""

    dtype: DType
    offset: int
    size: tuple[int, ...] = ()
    stride: tuple[int, ...] = ()
    storage: RawStorage | None = None
    class_name: str = ""


class TorchObject:
    """An object of a Torch7 class that Flambeau has no class for: its name and fields, inert.

    fields: a dict (or what the object wrote in place of its fields). version: the class's, as the
    file has it. It prints itself, is written back as it was read, and does nothing else.
    """

    __slots__ = ("__weakref__", "fields", "name", "version")

    def __init__(self, name: str, fields: Any = None, version: int = 1) -> None:
        self.name, self.version = name, version
        self.fields: Any = {} if fields is None else fields

    def __repr__(self) -> str:
        if not isinstance(self.fields, dict):
            return f"TorchObject({self.name}, {type(self.fields).__name__})"
        lines = "".join(f"\n  {key}: {_line(value)}" for key, value in self.fields.items())
        return f"TorchObject({self.name}) {{{lines}\n}}"


def _line(x: Any) -> str:
    """One line, whatever x holds; objects may hold each other in circles."""
    if isinstance(x, TorchObject):
        return f"TorchObject({x.name})"
    if hasattr(x, "dtype") and hasattr(x, "shape"):
        return f"{x.dtype.name} {tuple(x.shape)}"
    if isinstance(x, list | dict):
        return f"{type(x).__name__} of {len(x)}"
    text = repr(x)
    return text if len(text) < 80 else text[:77] + "..."
