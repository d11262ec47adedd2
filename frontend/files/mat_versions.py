"""Writes MATLAB's other versions: 4, which is matrices and text alone, and 7.3, which is HDF5."""

from __future__ import annotations

import importlib
import io
import struct
from typing import Any

import numpy as np

from ..tensor import Tensor
from .arrays import bits_of
from .mat_writing import check_name

_V4_FORMS = {"float64": 0, "float32": 1, "int32": 2, "int16": 3, "uint16": 4, "uint8": 5}
_HEAD = b"MATLAB 7.3 MAT-file, written by Flambeau"
_TYPES = (int, float, complex, np.generic, np.ndarray, Tensor)


def _numbers(x: Any, path: str) -> np.ndarray:
    """A value's elements of at least two axes. Raises TypeError for what MATLAB lacks."""
    if not isinstance(x, _TYPES):
        raise TypeError(f"mat.save: {path}: expected tensors, numbers, texts, lists, dicts or "
                        f"None, got {type(x).__name__}")
    if isinstance(x, int | float | complex):
        x = np.array(x, np.bool_ if isinstance(x, bool) else
                     complex if isinstance(x, complex) else float)
    bits, dtype = bits_of("mat.save", x)
    if dtype.name in ("float16", "bfloat16"):
        raise TypeError(f"mat.save: {path}: expected a dtype that MATLAB has, got {dtype.name};"
                        " convert it to float32 first")
    return bits if bits.ndim > 1 else bits.reshape(bits.size, 1)


def write_v4(out: Any, variables: dict[str, Any]) -> None:
    """Matrices of numbers and texts, one after the other; bools become uint8.

    Raises TypeError for cells, structs and dtypes that version 4 lacks, ValueError for more axes.
    """
    for name, x in variables.items():
        check_name("a variable's name", name)
        text = isinstance(x, str)
        if text:
            array = np.array([[ord(c) for c in x]], np.uint16).reshape(1, -1)
        else:
            array = _numbers(np.zeros((0, 0)) if x is None else x, name)
            array = array.astype(np.uint8) if array.dtype == np.bool_ else array
        parts = [array.real, array.imag] if array.dtype.kind == "c" else [array]
        form = _V4_FORMS.get(parts[0].dtype.name)
        if form is None:
            raise TypeError(f"mat.save: {name}: expected a dtype of version 4 "
                            f"({', '.join(_V4_FORMS)}), got {parts[0].dtype.name}")
        if array.ndim != 2:
            raise ValueError(f"mat.save: {name}: expected up to two axes in version 4, got shape "
                             f"{array.shape}")
        out.write(struct.pack("<5i", 10 * form + text, *array.shape, len(parts) - 1,
                              len(name) + 1) + name.encode("ascii") + b"\0")
        for part in parts:
            out.write(part.T.astype(part.dtype.newbyteorder("<")).tobytes())


def write_v73(out: Any, variables: dict[str, Any]) -> None:
    """An HDF5 file as MATLAB lays it out. Raises ImportError without h5py."""
    try:
        h5py: Any = importlib.import_module("h5py")
    except ImportError:
        raise ImportError("mat.save: expected h5py for a file of version 7.3, found none; "
                          "pip install flambeau[mat]") from None
    made = io.BytesIO()
    with h5py.File(made, "w", userblock_size=512) as file:
        writer = Writer(h5py, file)
        for name, x in variables.items():
            check_name("a variable's name", name)
            writer.put(file, name, x, name)
    made.seek(0)
    made.write(_HEAD.ljust(124) + b"\x00\x02IM")
    out.write(made.getbuffer())


class Writer:
    """One file of version 7.3: cells are references into the group `#refs#`."""

    def __init__(self, h5py: Any, file: Any) -> None:
        self.h5py, self.file, self.count = h5py, file, 0

    def put(self, group: Any, name: str, x: Any, path: str) -> Any:
        """Writes a value as group[name]; gives the HDF5 object."""
        if isinstance(x, dict):
            made = group.create_group(name)
            for field, value in x.items():
                check_name(f"a field of {path}", field)
                self.put(made, field, value, f"{path}.{field}")
            return self.of_class(made, "struct")
        if isinstance(x, str):
            units = np.frombuffer(x.encode("utf-16-le", "surrogatepass"), np.uint16)
            made = self.array(group, name, units.reshape(1, -1), "char")
            made.attrs["MATLAB_int_decode"] = np.int32(2)
            return made
        if isinstance(x, list | tuple):
            return self.cells(group, name, x, path)
        array = _numbers(np.zeros((0, 0)) if x is None else x, path)
        if array.dtype == np.bool_:
            made = self.array(group, name, array.astype(np.uint8), "logical")
            made.attrs["MATLAB_int_decode"] = np.int32(1)
            return made
        kind = {"f": "double", "c": "double"}.get(array.dtype.kind, array.dtype.name)
        if array.real.dtype.name == "float32":
            kind = "single"
        if array.dtype.kind == "c":
            pair = np.dtype([("real", array.real.dtype), ("imag", array.real.dtype)])
            array = np.ascontiguousarray(array).view(pair)
        return self.array(group, name, array, kind)

    def cells(self, group: Any, name: str, items: Any, path: str) -> Any:
        """A row of references to values in `#refs#`."""
        store = self.file.require_group("#refs#")
        found = np.empty((len(items), 1), self.h5py.ref_dtype)
        for i, value in enumerate(items):
            self.count += 1
            found[i, 0] = self.put(store, f"r{self.count}", value, f"{path}{{{i + 1}}}").ref
        if not items:
            return self.array(group, name, np.zeros((0, 0)), "cell")
        return self.of_class(group.create_dataset(name, data=found), "cell")

    def array(self, group: Any, name: str, array: np.ndarray, kind: str) -> Any:
        """A data set with the axes turned round, as HDF5 lists MATLAB's; of an empty array, its
        shape."""
        if not array.size:
            made = group.create_dataset(name, data=np.array(array.shape, np.uint64))
            made.attrs["MATLAB_empty"] = np.uint8(1)
        else:
            made = group.create_dataset(name, data=array.transpose())
        return self.of_class(made, kind)

    def of_class(self, made: Any, kind: str) -> Any:
        made.attrs["MATLAB_class"] = np.bytes_(kind)
        return made
