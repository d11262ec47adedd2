"""MATLAB's .mat files: `fb.mat.load`, `fb.mat.save` (mattorch's names).

Versions 4 to 7 are read by our own reader, because scipy's was not written against hostile bytes;
7.3, which is HDF5, by h5py in a process of its own (see `mat_hdf5`). Shapes are MATLAB's, elements
row-major as everywhere here, so `A(i, j)` is `a[i - 1, j - 1]`; mattorch reversed the axes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..tensor import Tensor
from .arrays import bits_of
from .mat_hdf5 import MAGIC, load_hdf5
from .mat_reading import Options, read_v4, read_v5
from .mat_versions import write_v4, write_v73
from .mat_writing import write_v5
from .source import open_source, replacing


def load(file: Any, names: list[str] | None = None, dense: bool = False, squeeze: bool = False,
         limit: int | None = None) -> dict[str, Any]:
    """The variables of a .mat file by name, versions 4 to 7.3 (mattorch load).

    Numeric arrays become tensors of at least two axes, logical ones bool, complex ones complex;
    text a str (several rows: a list of str), cells lists (by rows if there are several), a struct a
    dict (an array of them: a list), an empty array a tensor of shape (0, 0). names: only these.
    dense: sparse matrices become full ones, else they are refused. squeeze: axes of length 1 are
    dropped. limit: bytes after inflating; 64 MiB and 64 times the file unless told. Raises
    FileError for bytes that are no such file and for functions and objects of classes.
    """
    source = open_source("mat", file)
    if limit is None:
        limit = 64 * ((1 << 20) + len(source))
    options = Options(dense, squeeze, limit, None if names is None else frozenset(names))
    head = bytes(source.data[:128])
    if not head:
        raise source.error("a .mat file", "an empty one", 0)
    if MAGIC in (head[:8], bytes(source.data[512:520])):
        return load_hdf5(source, options)
    if len(head) == 128 and head[126:128] in (b"IM", b"MI"):
        return read_v5(source, options)
    return read_v4(source, options)


def save(file: Any, variables: Any, compress: bool = False, version: str | float | None = None
         ) -> None:
    """Writes variables by name as version 5 (6 to MATLAB), or 7 with compress (mattorch save,
    saveTable); or as version "4", matrices and text alone, or "7.3", which is HDF5 and needs h5py.

    variables: a dict, or one tensor, which becomes `x`. Tensors and arrays become arrays (1-d ones
    a column, 0-d ones 1 x 1), numbers double, bools logical, str char, lists cells, dicts structs,
    None an empty array. Raises TypeError for other things and dtypes that MATLAB lacks, ValueError
    for names that are none to MATLAB and for another version.
    """
    wanted = ("7" if compress else "5") if version is None else str(version)
    if wanted not in ("4", "5", "6", "7", "7.3"):
        raise ValueError(f"mat.save: expected version 4, 5, 6, 7 or 7.3, got {version!r}")
    if not isinstance(variables, dict):
        variables = {"x": variables}
    with replacing(file) as out:
        if wanted == "4":
            write_v4(out, variables)
        elif wanted == "7.3":
            write_v73(out, variables)
        else:
            write_v5(out, variables, compress or wanted == "7")


save_table = save


def save_ascii(file: Any, x: Any) -> None:
    """Writes a tensor of up to two axes as text that MATLAB's `load -ascii` reads (mattorch
    saveAscii). Raises ValueError for more axes."""
    bits, dtype = bits_of("save_ascii", x.float() if isinstance(x, Tensor)
                          and x.dtype.name == "bfloat16" else x)
    if bits.ndim > 2 or dtype.kind == "c":
        raise ValueError(f"save_ascii: expected real numbers of up to two axes, got {dtype.name} "
                         f"{bits.shape}")
    with replacing(file) as out:
        np.savetxt(out, np.atleast_2d(bits), "%.17g")


__all__ = ["load", "save", "save_ascii", "save_table"]
