"""PTX written by hand for tests: modules from a body, ptxas's opinion, launches with arrays."""

from __future__ import annotations

import glob
import os
import shutil
import struct
import subprocess
import sys
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from emulator.machine import Geometry, Loaded, Machine

Array = np.ndarray[Any, Any]
REGISTERS = (".reg .pred %p<10>; .reg .b16 %h<20>; .reg .b32 %r<40>; .reg .b64 %d<40>; "
             ".reg .f32 %f<20>; .reg .f64 %g<20>;")


def module(*kernels: str, sm: int = 80, version: str = "8.0", before: str = "") -> str:
    """A module of kernels made by `kernel`."""
    return (f".version {version}\n.target sm_{sm}\n.address_size 64\n{before}\n"
            + "\n".join(kernels))


def kernel(body: str, parameters: str = "u64", name: str = "k", declared: str = "") -> str:
    """A kernel; parameter i is `[pi]`."""
    listed = ", ".join(f".param .{t} p{i}" for i, t in enumerate(parameters.split()))
    return f".visible .entry {name}({listed})\n{{\n{REGISTERS}\n{declared}\n{body}\nret;\n}}"


@lru_cache(maxsize=1)
def ptxas() -> str | None:
    """ptxas from a wheel beside this Python, else from the PATH."""
    for folder in sys.path:
        found = glob.glob(os.path.join(folder, "nvidia", "*", "bin", "ptxas"))
        if found:
            return found[0]
    return shutil.which("ptxas")


def refused(text: str, sm: int = 80) -> str:
    """What ptxas has against a text; "" when nothing, or when there is no ptxas."""
    tool = ptxas()
    if tool is None:
        return ""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "k.ptx")
        source.write_text(text)
        made = subprocess.run([tool, f"-arch=sm_{sm}", str(source), "-o", os.devnull],
                              capture_output=True, text=True)
    return "" if made.returncode == 0 else made.stderr or made.stdout or "ptxas failed"


def launch(text: str | Loaded, *arguments: Any, grid: Any = 1, block: Any = 32, shared: int = 0,
           name: str = "k", machine: Machine | None = None) -> list[Array]:
    """Runs a kernel; arrays are copied to the device and come back, numbers are passed as they are.

    An array of dtype object stands for memory that nobody has written: its size in bytes.
    """
    machine = machine or Machine(16 << 20, sm=100)
    loaded = machine.load(text) if isinstance(text, str) else text
    data, held = bytearray(), []
    for a in arguments:
        if isinstance(a, np.ndarray):
            size = int(a) if a.dtype == object else a.nbytes
            address = machine.memory.allocate(size)
            assert address is not None
            span = machine.memory.span(address, size)
            assert span is not None
            if a.dtype != object:
                span[:] = np.ascontiguousarray(a).reshape(-1).view(np.uint8)
                machine.memory.written(address, size)
            held.append((address, span, a))
            a = np.uint64(address)
        raw = a.tobytes() if isinstance(a, np.generic) else struct.pack("<I", a)
        data += bytes(-len(data) % len(raw)) + raw
    machine.launch(loaded, name, Geometry(three(grid), three(block), shared), bytes(data))
    made = [span.view(np.uint8 if a.dtype == object else a.dtype).copy() for _, span, a in held]
    for address, _, _ in held:
        machine.memory.free(address)
    return made


def three(shape: Any) -> tuple[int, int, int]:
    full = (*(shape if isinstance(shape, tuple) else (shape,)), 1, 1)[:3]
    return full[0], full[1], full[2]


def unwritten(size: int) -> Array:
    """Device memory for `launch` that holds nothing."""
    return np.array(size, object)
