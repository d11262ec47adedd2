"""The scalar types: names, sizes, families and the promotion lattice (NumPy's NEP 50).

A `DType` is a value: two dtypes are the same object or different types. float16 and bfloat16 are
storage types: kernels load them, compute in float32 and round on the store. complex64 and
complex128 are pairs (real part, imaginary part) of float32 and float64; only graphs know them (see
planes.py).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False, slots=True)
class DType:
    """A scalar type. `kind` is 'b' bool, 'i' signed, 'u' unsigned, 'f' floating, 'c' complex."""

    name: str
    kind: str
    itemsize: int  # bytes
    rank: int  # position in DTYPES: a stable number for keys and tables

    def __repr__(self) -> str:
        return f"flambeau.{self.name}"

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (by_name, (self.name,))

    @property
    def is_float(self) -> bool:
        return self.kind == "f"

    @property
    def is_complex(self) -> bool:
        return self.kind == "c"

    @property
    def is_inexact(self) -> bool:
        """Floating or complex: what gradients flow through."""
        return self.kind in "fc"

    @property
    def real(self) -> DType:
        """The dtype of a complex type's two parts; every other type is its own."""
        return (float32 if self.itemsize == 8 else float64) if self.kind == "c" else self

    @property
    def complex(self) -> DType:
        """The complex type that holds this one's values: complex64 for floats up to float32."""
        if self.kind == "c":
            return self
        return complex64 if self.kind == "f" and self.itemsize <= 4 else complex128

    @property
    def is_integer(self) -> bool:
        return self.kind in "iu"

    @property
    def numpy(self) -> np.dtype:
        """The NumPy dtype that holds the same bits (uint16 for bfloat16, which NumPy lacks)."""
        return _NUMPY[self.rank]

    @property
    def dtype(self) -> np.dtype:
        """The NumPy dtype of the same values, which np.dtype(flambeau.float32) finds here. Raises
        AttributeError for bfloat16."""
        if self.name == "bfloat16":
            raise AttributeError("dtype: expected a dtype of NumPy's, got bfloat16")
        return self.numpy

    @property
    def compute(self) -> DType:
        """The dtype in which kernels calculate: float32 for the 16-bit floats, else itself."""
        return float32 if self.kind == "f" and self.itemsize == 2 else self


bool_ = DType("bool", "b", 1, 0)
int8 = DType("int8", "i", 1, 1)
int16 = DType("int16", "i", 2, 2)
int32 = DType("int32", "i", 4, 3)
int64 = DType("int64", "i", 8, 4)
uint8 = DType("uint8", "u", 1, 5)
uint16 = DType("uint16", "u", 2, 6)
uint32 = DType("uint32", "u", 4, 7)
uint64 = DType("uint64", "u", 8, 8)
float16 = DType("float16", "f", 2, 9)
bfloat16 = DType("bfloat16", "f", 2, 10)
float32 = DType("float32", "f", 4, 11)
float64 = DType("float64", "f", 8, 12)
complex64 = DType("complex64", "c", 8, 13)
complex128 = DType("complex128", "c", 16, 14)

DTYPES = (bool_, int8, int16, int32, int64, uint8, uint16, uint32, uint64,
          float16, bfloat16, float32, float64, complex64, complex128)
_BY_NAME = {d.name: d for d in DTYPES}
_NUMPY = tuple(np.dtype("uint16" if d is bfloat16 else d.name) for d in DTYPES)
_FROM_NUMPY = {np.dtype(d.name): d for d in DTYPES if d is not bfloat16}


def by_name(name: str) -> DType:
    """The dtype called `name`; KeyError when there is none."""
    return _BY_NAME[name]


def from_numpy(dtype: object) -> DType:
    """The dtype of a NumPy dtype (or anything `np.dtype` takes).

    Raises TypeError when Flambeau has no such type.
    """
    key = np.dtype(dtype)  # type: ignore[call-overload]
    found = _FROM_NUMPY.get(key.newbyteorder("="))
    if found is None:
        raise TypeError(f"dtype: Flambeau has no tensor of NumPy dtype {key}")
    return found


def _promote(a: DType, b: DType) -> DType:
    if a is b:
        return a
    if bfloat16 in (a, b):  # NumPy has no bfloat16: as float16 towards integers, float32 beside it
        other = b if a is bfloat16 else a
        if other is float16:
            return float32
        return other if other.is_inexact else bfloat16
    return from_numpy(np.promote_types(a.numpy, b.numpy))


_PROMOTE = tuple(tuple(_promote(a, b) for b in DTYPES) for a in DTYPES)


def promote(a: DType, b: DType) -> DType:
    """The type that holds both: NumPy's `promote_types`, with bfloat16 beside float16."""
    return _PROMOTE[a.rank][b.rank]
