"""Every program that tests compile is compiled for GPUs too and assembled by ptxas, not run.

`FLAMBEAU_TEST_DEVICE=ptxas` runs the op tests so, on the CPU. The report (FLAMBEAU_TEST_REPORT, a
JSON file) says what each kernel takes on each architecture.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flambeau import compiler
from flambeau.compiler import pipeline, target
from flambeau.runtime import jit

ARCHITECTURES = (75, 80, 90, 100, 120)


@dataclass
class Use:
    """What ptxas says of a kernel: registers a thread, and bytes."""

    registers: int
    spills: int
    stack: int
    shared: int


class Assembler:
    """ptxas over programs. used: what each kernel takes, by architecture; refused: what went wrong.
    """

    def __init__(self, ptxas: str, folder: Path) -> None:
        self.ptxas, self.folder = ptxas, folder
        self.seen: set[str] = set()
        self.used: dict[int, dict[str, Use]] = {sm: {} for sm in ARCHITECTURES}
        self.refused: list[str] = []

    def program(self, request: Any) -> None:
        """Assembles a request's kernels for every architecture, unless they were met before."""
        for sm in ARCHITECTURES:
            goal = target.nvptx(sm)
            _, ir = pipeline.build_gpu(request, goal)
            digest = hashlib.sha256(ir.encode()).hexdigest()[:12]
            if f"{sm} {digest}" in self.seen or "ptx_kernel" not in ir:
                continue
            self.seen.add(f"{sm} {digest}")
            try:
                found = assemble(self.ptxas, jit.ptx(ir, goal), sm, self.folder)
            except RuntimeError as error:
                self.refused.append(str(error))
                continue
            self.used[sm] |= {f"{digest} {name}": use for name, use in found.items()}

    def report(self) -> dict[str, Any]:
        """Counts, the most registers, and every kernel that spills."""
        rows = {f"sm_{sm}": {"kernels": len(found),
                             "registers": max((u.registers for u in found.values()), default=0),
                             "spilling": {n: u.spills for n, u in found.items() if u.spills}}
                for sm, found in self.used.items()}
        used = {sm: {n: (u.registers, u.spills) for n, u in found.items()}
                for sm, found in self.used.items()}
        return {"rows": rows, "refused": self.refused, "used": used}


def find_ptxas() -> str | None:
    """ptxas from a wheel beside this Python, else from the PATH."""
    for folder in sys.path:
        found = glob.glob(os.path.join(folder, "nvidia", "*", "bin", "ptxas"))
        if found:
            return found[0]
    return shutil.which("ptxas")


def assemble(ptxas: str, ptx: str, sm: int, folder: Path) -> dict[str, Use]:
    """What each kernel takes on an architecture. Raises RuntimeError with ptxas's words."""
    source = folder / "kernels.ptx"
    source.write_text(ptx)
    made = subprocess.run([ptxas, "-v", f"-arch=sm_{sm}", str(source), "-o",
                           str(folder / "kernels.cubin")], capture_output=True, text=True)
    if made.returncode:
        raise RuntimeError(f"ptxas: expected to assemble for sm_{sm}, got: {made.stderr}")
    found = {}
    for part in made.stderr.split("Compiling entry function ")[1:]:
        def number(pattern: str, text: str = part) -> int:
            hit = re.search(pattern, text)
            return int(hit.group(1)) if hit else 0
        found[part.split("'")[1]] = Use(
            number(r"Used (\d+) registers"),
            number(r"(\d+) bytes spill stores") + number(r"(\d+) bytes spill loads"),
            number(r"(\d+) bytes stack"), number(r"(\d+) bytes smem"))
    return found


@contextmanager
def assembling(ptxas: str, report: str | None = None) -> Iterator[Assembler]:
    """While it is open, whatever is compiled is assembled as well. report: a file to write."""
    door: Any = compiler
    build = door.build
    with tempfile.TemporaryDirectory() as folder:
        made = Assembler(ptxas, Path(folder))

        def both(request: Any, goal: Any, timed: bool = False) -> Any:
            made.program(request)
            return build(request, goal, timed)

        door.build = both
        try:
            yield made
        finally:
            door.build = build
            if report:
                Path(report).write_text(json.dumps(made.report(), indent=1) + "\n")
    assert not made.refused, made.refused[0]
