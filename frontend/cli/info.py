"""`flambeau info`: what this installation found, for the user and for bug reports."""

from __future__ import annotations

import argparse
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
    """The GPUs that can be used, or why there is none."""
    why = fb.cuda.why_not()
    if why:
        return f"no: {why}"
    found = []
    for index in range(fb.cuda.device_count()):
        p, (free, total) = fb.cuda.get_device_properties(index), fb.cuda.memory_info(index)
        found.append(f"cuda:{index} {p.name}, compute capability {p.major}.{p.minor}, "
                     f"{p.multi_processor_count} multiprocessors, {_bytes(free)} of "
                     f"{_bytes(total)} free")
    version = ".".join(map(str, fb.cuda.driver_version()))
    return f"{'; '.join(found)}; PyCUDA for CUDA {version}"


def _cache() -> str:
    found = cache.info()
    if cache.folder() is None:
        return "off"
    return f"{found['folder']}: {found['entries']} entries, {_bytes(found['bytes'])}"


def _flags() -> list[tuple[str, str]]:
    changed = [f"{f.variable}={getattr(config, f.name)}" for f in FLAGS
               if getattr(config, f.name) != f.default]
    return [("flags", ", ".join(changed) or "all at their defaults (docs/flags.md)")]
