"""`flambeau info`: what this installation found, for the user and for bug reports."""

from __future__ import annotations

import argparse
import ctypes
import importlib.util
import os
import platform
from importlib import metadata

import flambeau as fb
from flambeau.compiler.config import FLAGS, config
from flambeau.runtime import blas, cache, jit, pool

PACKAGES = ("llvmlite", "numpy", "networkx", "pillow", "matplotlib", "pycuda", "scipy")
NOTABLE = ("sse4.2", "avx", "avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512vl", "avx512bf16",
           "avx512fp16", "avx512vnni", "amx-tile", "amx-bf16", "neon", "dotprod", "sve", "bf16")


def run(args: argparse.Namespace) -> None:
    """Prints one line for each fact."""
    for name, value in facts():
        print(f"{name:<12} {value}")


def facts() -> list[tuple[str, str]]:
    """Names and values, in the order in which they are printed."""
    target = jit.host_target()
    have = {f[1:] for f in target.features.split(",") if f.startswith("+")}
    return [
        ("flambeau", fb.__version__),
        ("python", f"{platform.python_version()} on {platform.platform()}"),
        ("packages", ", ".join(f"{p} {_version(p)}" for p in PACKAGES)),
        ("target", f"{target.cpu}, {target.triple}, vectors of {8 * target.vector_bytes} bits, "
                   f"{target.registers} registers"),
        ("features", " ".join(f for f in NOTABLE if f in have) or "none of note"),
        ("caches", f"L1 {_bytes(target.l1)}, L2 {_bytes(target.l2)}, L3 {_bytes(target.l3)}"),
        ("threads", f"{pool.num_threads()} of {os.cpu_count()} processors"),
        ("blas", _blas()),
        ("cuda", cuda()),
        ("cache", _cache()),
        *_flags(),
    ]


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "no"


def _bytes(count: int) -> str:
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.3g} {unit}"
        count /= 1024  # type: ignore[assignment]
    return f"{count:.3g} GiB"


def _blas() -> str:
    found = blas.info()
    if not found["found"]:
        return "none found: products run on generated kernels alone"
    return f"{found['config']}, {found['integers']}-bit integers, {found['path']}"


def cuda() -> str:
    """Whether an NVIDIA GPU can be used, or why not."""
    library = "nvcuda.dll" if os.name == "nt" else "libcuda.so.1"
    try:
        driver = ctypes.CDLL(library)
    except OSError:
        return f"no: the NVIDIA driver's {library} is not on this machine"
    count = ctypes.c_int()
    status = driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count))
    if status:
        return f"no: the NVIDIA driver answers with error {status}"
    if not count.value:
        return "no: the NVIDIA driver finds no GPU"
    if importlib.util.find_spec("pycuda") is None:
        return f"no: {count.value} GPU found, but pycuda is missing: pip install 'flambeau[cuda]'"
    return f"driver and pycuda present, {count.value} GPU"


def _cache() -> str:
    found = cache.info()
    if cache.folder() is None:
        return "off"
    return f"{found['folder']}: {found['entries']} entries, {_bytes(found['bytes'])}"


def _flags() -> list[tuple[str, str]]:
    changed = [f"{f.variable}={getattr(config, f.name)}" for f in FLAGS
               if getattr(config, f.name) != f.default]
    return [("flags", ", ".join(changed) or "all at their defaults (docs/flags.md)")]
