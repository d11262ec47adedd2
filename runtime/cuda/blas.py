"""cuBLAS, found by ctypes: products too large for a fused kernel to win.

Flambeau needs no CUDA toolkit; where its library is installed (the system's, or the wheel
nvidia-cublas), a program may hold `launch.Gemm` steps. A device has one handle and one workspace;
the workspace is ordered between streams like any other memory.
"""

from __future__ import annotations

import ctypes
import functools
import glob
import os
import sys
import threading
from typing import Any

from flambeau.compiler.launch import Gemm
from flambeau.runtime.cuda import drivers

NAMES = ("libcublas.so.13", "libcublas.so.12", "libcublas.so.11", "cublas64_13.dll",
         "cublas64_12.dll", "cublas64_11.dll")
WORKSPACE = 32 << 20  # bytes; what NVIDIA asks for on its largest devices
TYPES = {"float32": 0, "float64": 1, "float16": 2, "bfloat16": 14}  # cudaDataType
COMPUTE = {"float32": 68, "tf32": 77, "float64": 70}  # cublasComputeType_t
STATUS = {1: "not initialised", 3: "out of memory", 7: "invalid value", 8: "architecture mismatch",
          11: "mapping error", 13: "execution failed", 14: "internal error", 15: "not supported"}

_lock = threading.Lock()


@functools.cache
def _installed() -> Any:
    """The library of this machine, or None."""
    wheels = [found for folder in sys.path for name in NAMES
              for found in glob.glob(os.path.join(folder, "nvidia", "*", "lib", name))]
    for name in (*NAMES, *wheels):
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    return None


def library() -> Any:
    """cuBLAS, or None where there is none; a test's driver brings its own or does without."""
    if drivers.replaced():
        return getattr(drivers.current(), "cublas", None)
    return _installed()


class Blas:
    """cuBLAS on one device."""

    def __init__(self, gpu: Any) -> None:
        self.workspace = gpu.allocate(WORKSPACE)
        self.handle = ctypes.c_void_p()
        with drivers.active(gpu.index):
            call("cublasCreate_v2", ctypes.byref(self.handle))

    def product(self, g: Gemm, a: int, b: int, to: int, stream: Any) -> None:
        """to[i, j] = sum over k of a[i, k] b[k, j] for each of a batch, row after row. The device's
        context is current."""
        batch, m, n, k = g.sizes
        real = ctypes.c_double if g.compute == "float64" else ctypes.c_float
        one, zero = real(1), real(0)
        size = 8 if g.compute == "float64" else 2 if g.type in ("float16", "bfloat16") else 4
        kind, result = TYPES[g.type], TYPES["float64" if g.compute == "float64" else "float32"]
        (turned_a, lead_a, step_a), (turned_b, lead_b, step_b) = g.a_layout, g.b_layout
        integer, wide, pointer = ctypes.c_int, ctypes.c_longlong, ctypes.c_void_p
        with _lock:
            call("cublasSetStream_v2", self.handle, pointer(stream.handle))
            call("cublasSetWorkspace_v2", self.handle, pointer(self.workspace.pointer),
                 ctypes.c_size_t(WORKSPACE))
            # cuBLAS counts columns first: to it, our rows are columns, so b comes before a
            call("cublasGemmStridedBatchedEx", self.handle, integer(turned_b), integer(turned_a),
                 integer(n), integer(m), integer(k), ctypes.byref(one),
                 pointer(b + g.b_offset * size), integer(kind), integer(lead_b), wide(step_b),
                 pointer(a + g.a_offset * size), integer(kind), integer(lead_a), wide(step_a),
                 ctypes.byref(zero), pointer(to), integer(result), integer(n), wide(m * n),
                 integer(batch), integer(COMPUTE[g.compute]), integer(-1))


def call(name: str, *arguments: Any) -> None:
    """A function of cuBLAS. Raises RuntimeError when it does not succeed."""
    status = getattr(library(), name)(*arguments)
    if status:
        raise RuntimeError(f"{name}: expected success, got status {status} "
                           f"({STATUS.get(status, 'unknown')})")
