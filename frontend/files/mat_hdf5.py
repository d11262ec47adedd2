"""MATLAB's version 7.3, which is HDF5: read by h5py in a process of its own.

HDF5's C library may crash on a damaged file, and a file may point at other files of the machine. So
`mat_worker.py` opens it with its memory and time limited, follows no links out of the file, and
sends back plain arrays and a description; a crash there is a FileError here.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from .mat_reading import DEEP, Options, complex_of, full, nested, numeric, text
from .npy import load_arrays
from .source import Source, refusing

MAGIC = b"\x89HDF\r\n\x1a\n"
WORKER = Path(__file__).with_name("mat_worker.py")
SECONDS = 120


def load_hdf5(source: Source, options: Options) -> dict[str, Any]:
    """The variables of a file. Raises ImportError without h5py, FileError otherwise."""
    if importlib.util.find_spec("h5py") is None:
        raise ImportError("mat.load: expected h5py for a file of version 7.3, found none; "
                          "pip install flambeau[mat]")
    with tempfile.TemporaryDirectory() as folder:
        given, made = Path(folder) / "given.mat", Path(folder) / "made.npz"
        given.write_bytes(source.data)
        names = [] if options.names is None else sorted(options.names)
        asked = json.dumps({"limit": options.limit, "seconds": SECONDS, "names": names,
                            "all": options.names is None})
        try:
            done = subprocess.run([sys.executable, str(WORKER), str(given), str(made), asked],
                                  capture_output=True, timeout=2 * SECONDS, check=False)
        except subprocess.TimeoutExpired:
            raise source.error("a file that HDF5 reads in time", f"{2 * SECONDS} s", None) from None
        if done.returncode:
            lines = done.stderr.decode(errors="replace").strip().splitlines()
            raise source.error("a file of version 7.3 that HDF5 reads",
                               lines[-1] if lines else f"its exit by {done.returncode}", None)
        arrays = load_arrays(made)
        tree = json.loads(bytes(arrays["tree"]))
    with refusing(source, "MATLAB's classes in HDF5"):
        return {name: _value(source, options, x, arrays) for name, x in tree.items()}


def _value(source: Source, options: Options, x: dict[str, Any], arrays: dict[str, np.ndarray],
           depth: int = 0) -> Any:
    if depth > DEEP:
        raise source.error(f"cells and structs nested up to {DEEP} deep", "deeper ones", None)

    def of(part: Any) -> Any:
        return _value(source, options, part, arrays, depth + 1)

    shape = tuple(x.get("shape", ()))
    if x["kind"] == "numbers":
        array = arrays[x["real"]].reshape(-1)
        if "imag" in x:
            array = complex_of(source, array, arrays[x["imag"]].reshape(-1))
        return numeric(source, options, array, shape)
    if x["kind"] == "text":
        return text(source, "".join(map(chr, arrays[x["real"]].reshape(-1))), shape)
    if x["kind"] == "cells":
        return nested([of(v) for v in x["items"]], shape)
    if x["kind"] == "struct":
        return {k: of(v) for k, v in x["fields"].items()}
    if x["kind"] == "structs":
        fields = {k: [of(v) for v in items] for k, items in x["fields"].items()}
        items = [dict(zip(fields, values)) for values in zip(*fields.values())]
        return nested(items, shape)
    array = full(source, options, shape, arrays[x["rows"]], arrays[x["starts"]],
                 arrays[x["real"]])
    return numeric(source, options, array, shape)
