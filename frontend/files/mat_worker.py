"""Run as a program by `mat_hdf5`: a MATLAB 7.3 file becomes plain arrays and their description.

    mat_worker.py GIVEN MADE ASKED

It imports nothing of Flambeau. Whatever goes wrong ends it with one line on stderr.
"""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np

NUMERIC = ("double", "single", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64",
           "uint64")
KNOWN = {"double": "float64", "single": "float32"}
DEEP = 100
ITEMS = 1 << 20  # references that a file may hold


class Worker:
    """Arrays by name, and how many bytes and items may still come."""

    def __init__(self, file: Any, limit: int) -> None:
        self.file, self.limit, self.items = file, limit, ITEMS
        self.arrays: dict[str, np.ndarray] = {}

    def keep(self, array: np.ndarray) -> str:
        name = f"a{len(self.arrays)}"
        self.arrays[name] = array
        return name

    def data(self, x: Any) -> np.ndarray:
        """A dataset's elements in MATLAB's order."""
        if x.external or x.is_virtual:
            raise ValueError("a data set in another file")
        self.limit -= x.size * x.dtype.itemsize
        if self.limit < 0:
            raise ValueError(f"more data than allowed (limit=), {x.size} elements")
        return x[()].reshape(-1)

    def value(self, x: Any, depth: int) -> dict[str, Any]:
        self.items -= 1
        if depth > DEEP or self.items < 0:
            raise ValueError("cells and structs nested too deep or too many")
        kind = x.attrs.get("MATLAB_class", b"")
        kind = kind.decode() if isinstance(kind, bytes) else str(kind)
        if isinstance(x, h5py.Group):
            return self.group(x, depth)
        if x.attrs.get("MATLAB_empty", 0):
            return self.empty(x, kind)
        shape = [int(e) for e in x.shape[::-1]]
        if kind == "cell":
            return {"kind": "cells", "shape": shape, "items": self.references(x, depth)}
        if kind == "char":
            return {"kind": "text", "shape": shape, "real": self.keep(self.codes(x))}
        if kind == "logical":
            return {"kind": "numbers", "shape": shape, "real": self.keep(self.data(x) != 0)}
        if kind not in NUMERIC:
            raise ValueError(f"a variable of class {kind or 'unknown'}")
        return {"kind": "numbers", "shape": shape, **self.parts(x, kind)}

    def parts(self, x: Any, kind: str) -> dict[str, str]:
        array, form = self.data(x), KNOWN.get(kind, kind)
        if array.dtype.names == ("real", "imag"):
            return {"real": self.keep(array["real"].astype(form)),
                    "imag": self.keep(array["imag"].astype(form))}
        if array.dtype.kind not in "biuf":
            raise ValueError(f"numbers of dtype {array.dtype}")
        return {"real": self.keep(array.astype(form))}

    def codes(self, x: Any) -> np.ndarray:
        array = self.data(x)
        if array.dtype.kind != "u" or array.dtype.itemsize > 2:
            raise ValueError(f"text of dtype {array.dtype}")
        return array.astype("u2")

    def empty(self, x: Any, kind: str) -> dict[str, Any]:
        """A data set that holds the shape of an empty array."""
        shape = [int(e) for e in self.data(x)]
        if 0 not in shape or min(shape) < 0 or len(shape) > 32:
            raise ValueError(f"an empty array of shape {shape}")
        if kind in ("cell", "struct"):
            return {"kind": "cells", "shape": shape, "items": []}
        if kind == "char":
            return {"kind": "text", "shape": shape, "real": self.keep(np.zeros(0, "u2"))}
        form = "bool" if kind == "logical" else KNOWN.get(kind, kind)
        return {"kind": "numbers", "shape": shape, "real": self.keep(np.zeros(0, form))}

    def references(self, x: Any, depth: int) -> list[Any]:
        if h5py.check_ref_dtype(x.dtype) is not h5py.Reference:
            raise ValueError("a cell without references")
        return [self.value(self.file[r], depth + 1) for r in self.data(x)]

    def group(self, x: Any, depth: int) -> dict[str, Any]:
        if "MATLAB_sparse" in x.attrs:
            return self.sparse(x)
        fields = {name: child(x, name) for name in x}
        arrays = [f for f in fields.values() if isinstance(f, h5py.Dataset)
                  and "MATLAB_class" not in f.attrs and h5py.check_ref_dtype(f.dtype)]
        if fields and len(arrays) == len(fields) and len({f.shape for f in arrays}) == 1:
            return {"kind": "structs", "shape": [int(e) for e in arrays[0].shape[::-1]],
                    "fields": {k: self.references(f, depth) for k, f in fields.items()}}
        return {"kind": "struct", "fields": {k: self.value(f, depth + 1)
                                             for k, f in fields.items()}}

    def sparse(self, x: Any) -> dict[str, Any]:
        starts = self.data(child(x, "jc")).astype("i8")
        found = {"rows": np.zeros(0, "i8"), "real": np.zeros(0)}
        if "ir" in x:
            found = {"rows": self.data(child(x, "ir")).astype("i8"),
                     "real": self.data(child(x, "data"))}
        if found["real"].dtype.kind not in "biuf":
            raise ValueError("a sparse matrix of complex numbers")
        shape = [int(x.attrs["MATLAB_sparse"]), len(starts) - 1]
        return {"kind": "sparse", "shape": shape, "starts": self.keep(starts),
                **{k: self.keep(v) for k, v in found.items()}}


def child(x: Any, name: str) -> Any:
    """What a group holds itself; links to other files and other names are not followed."""
    if not isinstance(x.get(name, getlink=True), h5py.HardLink):
        raise ValueError(f"a link {name!r}, which is not followed")
    return x[name]


def main(given: str, made: str, asked: dict[str, Any]) -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (asked["seconds"], asked["seconds"]))
    if sys.platform == "linux":
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        most = used + 4 * asked["limit"] + (1 << 30)
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    with h5py.File(given, "r") as file:
        worker = Worker(file, asked["limit"])
        tree = {name: worker.value(child(file, name), 0) for name in file
                if name[0] != "#" and (asked["all"] or name in asked["names"])}
    text = np.frombuffer(json.dumps(tree).encode(), np.uint8)
    np.savez(made, tree=text, **worker.arrays)  # type: ignore[arg-type]


if __name__ == "__main__":
    try:
        main(sys.argv[1], sys.argv[2], json.loads(sys.argv[3]))
    except Exception as error:
        sys.exit(f"{type(error).__name__}: {error}")
