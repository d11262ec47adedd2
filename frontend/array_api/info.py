"""What this namespace offers: the standard's inspection functions."""

from __future__ import annotations

from typing import Any

import flambeau as fb
from flambeau import DType

_DTYPES = {name: getattr(fb, "bool_" if name == "bool" else name) for name in (
    "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float32",
    "float64", "complex64", "complex128")}


class Info:
    """The result of `__array_namespace_info__`."""

    def capabilities(self) -> dict[str, Any]:
        """What is optional in the standard: boolean masks and shapes that depend on data."""
        return {"boolean indexing": True, "data-dependent shapes": True, "max dimensions": None}

    def default_device(self) -> str:
        """Where tensors are made unless told."""
        return fb.zeros(0).device

    def default_dtypes(self, *, device: Any = None) -> dict[str, DType]:
        """The dtypes of Python numbers."""
        floating = fb.default_dtype()
        return {"real floating": floating, "complex floating": fb.result_type(1j),
                "integral": fb.int64, "indexing": fb.int64}

    def devices(self) -> tuple[str, ...]:
        """The devices that are there."""
        return tuple(dict.fromkeys((self.default_device(), "cpu")))

    def dtypes(self, *, device: Any = None, kind: Any = None) -> dict[str, DType]:
        """The dtypes of a kind (see isdtype), by name."""
        return {name: d for name, d in _DTYPES.items() if kind is None or fb.isdtype(d, kind)}


def __array_namespace_info__() -> Info:
    """Devices, dtypes and capabilities."""
    return Info()
