"""The host's side against PyCUDA's true interface: its signatures as recorded from PyCUDA 2026.1,
and, where PyCUDA and a C compiler are installed, PyCUDA itself over a libcuda made of paper."""

from __future__ import annotations

import importlib.util
import inspect
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from emulator.driver import Driver

HERE = Path(__file__).parent
RECORDED = json.loads((HERE / "pycuda.json").read_text())
OURS = {"machine", "number"}  # what tests ask of the stand-in alone
HELPERS = {"note", "names", "handle", "check", "holder", "enqueue", "finish"}


def parameters(f) -> list[str]:
    found = inspect.signature(f).parameters.values()
    return [p.name for p in found if p.name not in ("self", "cls")
            and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]


def public(kind) -> dict[str, object]:
    return {n: getattr(kind, n) for n in dir(kind) if not n.startswith("_")
            and inspect.isroutine(getattr(kind, n))}


def test_functions_of_the_module_are_pycudas() -> None:
    found = {n: f for n, f in public(Driver).items() if n not in HELPERS and not inspect.isclass(f)}
    for name, f in found.items():
        assert name in RECORDED["functions"], f"PyCUDA has no {name}"
        wanted = RECORDED["functions"][name]
        if wanted is not None:
            assert parameters(f) == wanted, name


@pytest.mark.parametrize("name", ["Device", "Context", "Stream", "Event", "Module", "Function",
                                  "DeviceAllocation"])
def test_classes_are_pycudas(name: str) -> None:
    from emulator import driver
    kind, known = getattr(driver, name), RECORDED["classes"][name]
    for method, f in public(kind).items():
        assert method in known, f"PyCUDA's {name} has no {method}"
        if known[method] is not None:
            assert len(parameters(f)) == known[method], f"{name}.{method}"


@pytest.mark.parametrize("name", ["function_attribute", "device_attribute", "event_flags",
                                  "ctx_flags", "jit_option"])
def test_numbers_have_pycudas_names(name: str) -> None:
    assert set(vars(getattr(Driver, name))) <= set(RECORDED["enumerations"][name])


def test_pycuda_itself_takes_every_call(tmp_path: Path) -> None:
    found, compiler = importlib.util.find_spec("pycuda"), shutil.which("cc")
    if found is None or compiler is None or found.origin is None:
        pytest.skip("needs PyCUDA and a C compiler")
    (binary,) = Path(found.origin).parent.glob("_driver*.so")
    source = (HERE / "paper_gpu.c").read_text()
    wanted = {m.decode() for m in re.findall(rb"(?<=\0)cu[A-Z]\w+(?=\0)", binary.read_bytes())}
    rest = sorted(n for n in wanted if f"int {n}(" not in source)
    (tmp_path / "gpu.c").write_text(source + "".join(f"int {n}(void) {{ return 0; }}\n"
                                                     for n in rest))
    # what libcuda has and PyCUDA does not call is named in ctypes: graphs.py
    subprocess.run([compiler, "-shared", "-fPIC", "-w", "-Wl,-soname,libcuda.so.1", "-o",
                    str(tmp_path / "libcuda.so.1"), str(tmp_path / "gpu.c")], check=True)
    made = subprocess.run([sys.executable, str(HERE / "on_paper.py")], capture_output=True,
                          text=True, env={**os.environ, "LD_LIBRARY_PATH": str(tmp_path)})
    assert made.returncode == 0 and "shared done" in made.stdout, made.stdout + made.stderr
