"""Modules: PTX loaded into a device, once for each text.

Where NVIDIA's `ptxas` is on the PATH (or under CUDA_HOME), its machine code goes to the disk cache;
elsewhere the driver compiles PTX when it loads it, and keeps a cache of its own.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import subprocess
import tempfile
import threading
from pathlib import Path
from typing import Any

from flambeau.runtime import cache
from flambeau.runtime.cuda import drivers

LIMIT = 1024  # modules kept; the oldest goes first, unless a program still holds it

_loaded: dict[tuple[int, str], Any] = {}
_lock = threading.RLock()


drivers.on_change(_loaded.clear)


def load(index: int, ptx: bytes, processor: str) -> Any:
    """The driver's module of a PTX text on a device.

    Raises RuntimeError with the driver's words when it refuses the text.
    """
    key = (index, cache.digest(ptx, processor))
    with _lock:
        found = _loaded.get(key)
        if found is None:
            found = _load(index, _machine_code(ptx, processor) or ptx + b"\0")
            if len(_loaded) >= LIMIT:
                _loaded.pop(next(iter(_loaded)))
            _loaded[key] = found
    return found


def _load(index: int, data: bytes) -> Any:
    driver = drivers.current()
    try:
        with drivers.active(index):
            return driver.module_from_buffer(data)
    except driver.Error as error:
        words = f"{error} {_complaint(index, data)}".strip()
        raise RuntimeError(f"cuda: expected the driver to load a module, got: {words}") from None


def _complaint(index: int, data: bytes) -> str:
    """What the driver's compiler says of a text it refuses. It is asked only then: PyCUDA cannot
    read the buffer of messages when the driver writes none."""
    said: list[str] = []
    driver = drivers.current()
    with drivers.active(index), contextlib.suppress(driver.Error, UnicodeDecodeError):
        driver.module_from_buffer(data, message_handler=lambda well, info, errors:
                                  said.append(errors))
    return " ".join(said)


def _machine_code(ptx: bytes, processor: str) -> bytes | None:
    """ptxas's output for the text, kept on disk; None where there is no ptxas or it refuses."""
    tool = assembler()
    if tool is None or drivers.replaced():
        return None
    name = "cubin-" + cache.digest(ptx, processor, _version(tool))
    found = cache.read(name)
    if found is not None:
        return found[1] or None
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "kernels.ptx"), Path(folder, "kernels.cubin")
        source.write_bytes(ptx)
        made = subprocess.run([tool, f"-arch={processor}", str(source), "-o", str(target)],
                              capture_output=True)
        code = target.read_bytes() if made.returncode == 0 else b""
    cache.write(name, {}, code)  # a refusal is kept too: the driver, which may be newer, decides
    return code or None


@functools.cache
def assembler() -> str | None:
    """Where ptxas is, or None."""
    home = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH")
    return shutil.which("ptxas") or (shutil.which("ptxas", path=str(Path(home, "bin")))
                                     if home else None)


@functools.cache
def _version(tool: str) -> str:
    return subprocess.run([tool, "--version"], capture_output=True, text=True).stdout
