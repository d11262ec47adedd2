"""Every program that tests run is compiled for GPUs too and assembled by ptxas, not run there.

`FLAMBEAU_TEST_DEVICE=ptxas` runs the op tests so, on the CPU. What a kernel takes is kept on disk
by its text without its name, so each is assembled once; several go to ptxas in one module, in a
thread beside the tests. Each process writes what it met to a file in the folder
FLAMBEAU_TEST_REPORT, and `ptxas_report.py` adds those up.
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
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from flambeau import realize
from flambeau.compiler import pipeline, target
from flambeau.runtime import jit
from llvmlite import binding

ARCHITECTURES = (75, 80, 90, 100, 120)
TOGETHER = 16  # kernels that ptxas gets in one module
_NAMED = re.compile(r"(?:\.func\s+(?:\([^)]*\)\s*)?|\.(?:global|const|shared)\b[^=\[;]*?)"
                    r"([\w$]+)\s*(?:\(|\[|=|;)")
_ENTRY = re.compile(r"\.entry\s+([\w$]+)")


@dataclass(frozen=True)
class Use:
    """What ptxas says of a kernel: registers a thread, and bytes."""

    registers: int
    spills: int
    stack: int
    shared: int


@dataclass(frozen=True)
class Piece:
    """A kernel alone: its text under a name made of the text, and what of the module it needs."""

    name: str  # as the compiler spells it
    digest: str
    text: str
    needs: tuple[tuple[str, str], ...]  # names and texts


@dataclass
class Batch:
    """Kernels that go to ptxas together."""

    header: str
    needs: dict[str, str] = field(default_factory=dict)
    pieces: list[Piece] = field(default_factory=list)

    def takes(self, piece: Piece) -> bool:
        """May it join, or does one name mean two things?"""
        return all(self.needs.get(name, text) == text for name, text in piece.needs)

    def text(self) -> str:
        return "\n".join([self.header, *self.needs.values(), *(p.text for p in self.pieces)])


# -- a module in pieces ------------------------------------------------------------------------

def items(ptx: str) -> tuple[str, list[str]]:
    """A module's first lines, and its functions, kernels and variables one by one."""
    header: list[str] = []
    found: list[str] = []
    held: list[str] = []
    for line in ptx.splitlines():
        if line.startswith((".version", ".target", ".address_size")):
            header.append(line)
        elif not line.strip() or line.strip().startswith("//"):
            continue
        else:
            held.append(line)
            body = "{" in held  # of a function; a variable's braces stand in its line
            if line == "}" or (line.endswith(";") and not body):
                found.append("\n".join(held))
                held = []
    assert not held, held[:3]
    return "\n".join(header), found


def pieces(ptx: str) -> tuple[str, list[Piece]]:
    """The header and each kernel of a module with all that it needs."""
    header, found = items(ptx)
    others: dict[str, str] = {}
    for text in found:
        hit = _NAMED.search(text)
        if not _ENTRY.search(text.split("\n{")[0]):
            assert hit is not None, text[:200]
            others[hit.group(1)] = others.get(hit.group(1), "") + text + "\n"
    made = []
    for text in found:
        hit = _ENTRY.search(text.split("\n{")[0])
        if hit is None:
            continue
        needs = {n: others[n] for n in _reached(text, others)}
        name, mark = hit.group(1), "\0"
        plain = [t.replace(name, mark) for t in (*needs.values(), text)]
        digest = hashlib.sha256("\n".join(plain).encode()).hexdigest()[:24]
        own = [(n.replace(name, f"k_{digest}"), t.replace(mark, f"k_{digest}"))
               for n, t in zip(needs, plain)]
        made.append(Piece(name, digest, plain[-1].replace(mark, f"k_{digest}"), tuple(own)))
    return header, made


def _reached(text: str, others: dict[str, str]) -> list[str]:
    """The names of what a text needs, in the module's order."""
    seen: set[str] = set()
    todo = [text]
    while todo:
        new = set(re.findall(r"[\w$]+", todo.pop())) & others.keys() - seen
        seen |= new
        todo += [others[n] for n in new]
    return [n for n in others if n in seen]


# -- ptxas -------------------------------------------------------------------------------------

def find_ptxas() -> str | None:
    """ptxas from a wheel beside this Python, else from the PATH."""
    for folder in sys.path:
        found = glob.glob(os.path.join(folder, "nvidia", "*", "bin", "ptxas"))
        if found:
            return found[0]
    return shutil.which("ptxas")


def assemble(ptxas: str, ptx: str, sm: int, folder: Path) -> dict[str, Use]:
    """What each kernel takes on an architecture. Raises RuntimeError with ptxas's words."""
    with tempfile.TemporaryDirectory(dir=folder) as own:
        source = Path(own, "kernels.ptx")
        source.write_text(ptx)
        made = subprocess.run([ptxas, "-v", f"-arch=sm_{sm}", str(source), "-o",
                               str(Path(own, "kernels.cubin"))], capture_output=True, text=True)
    if made.returncode:
        raise RuntimeError(f"ptxas: expected to assemble for sm_{sm}, got: {made.stderr}")
    found = {}
    for part in made.stderr.split("Compiling entry function ")[1:]:
        def numbers(pattern: str, text: str = part) -> list[int]:
            return [int(n) for n in re.findall(pattern, text)]
        found[part.split("'")[1]] = Use(
            max(numbers(r"Used (\d+) registers"), default=0),
            sum(numbers(r"(\d+) bytes spill (?:stores|loads)")),
            max(numbers(r"(\d+) bytes stack"), default=0),
            max(numbers(r"(\d+) bytes smem"), default=0))
    return found


class Kept:
    """What was learnt before, in a file of lines: kernels by architecture and digest, and which
    kernels a program has."""

    def __init__(self, ptxas: str, folder: Path) -> None:
        version = subprocess.run([ptxas, "--version"], capture_output=True, text=True).stdout
        stamp = f"{version} {binding.llvm_version_info}"
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / f"{hashlib.sha256(stamp.encode()).hexdigest()[:12]}.jsonl"
        self.uses: dict[tuple[int, str], Use] = {}
        self.programs: dict[tuple[int, str], list[tuple[str, str]]] = {}
        for line in self.path.read_text().splitlines() if self.path.exists() else ():
            self._take(*json.loads(line))

    def _take(self, kind: str, sm: int, digest: str, value: Any) -> None:
        if kind == "use":
            self.uses[sm, digest] = Use(*value)
        else:
            self.programs[sm, digest] = [(name, piece) for name, piece in value]

    def put(self, kind: str, sm: int, digest: str, value: Any) -> None:
        self._take(kind, sm, digest, value)
        with self.path.open("a") as file:
            file.write(json.dumps([kind, sm, digest, value]) + "\n")


class Assembler:
    """ptxas over programs. met: the kernels of this run; refused: what went wrong."""

    def __init__(self, ptxas: str, folder: Path) -> None:
        self.ptxas, self.folder = ptxas, folder
        self.kept = Kept(ptxas, Path(tempfile.gettempdir(), "flambeau-ptxas"))
        self.seen: set[Any] = set()
        self.met: dict[tuple[int, str], str] = {}  # names by architecture and digest
        self.batches: dict[int, Batch] = {}
        self.sent: set[tuple[int, str]] = set()
        self.pool = ThreadPoolExecutor(1)
        self.running: list[tuple[int, Batch, Future[dict[str, Use]]]] = []
        self.refused: list[str] = []

    def program(self, request: Any) -> None:
        """Assembles a request's kernels for every architecture, unless they were met before."""
        if request.key in self.seen:
            return
        self.seen.add(request.key)
        for sm in ARCHITECTURES:
            goal = target.nvptx(sm)
            _, ir = pipeline.build_gpu(request, goal)
            if "ptx_kernel" not in ir:
                continue
            digest = hashlib.sha256(re.sub("program [0-9a-f]+", "", ir).encode()).hexdigest()[:24]
            known = self.kept.programs.get((sm, digest))
            if known is None or any((sm, d) not in self.kept.uses for _, d in known):
                known = self._lowered(sm, digest, jit.ptx(ir, goal))
            for name, piece in known:
                self.met.setdefault((sm, piece), name)

    def _lowered(self, sm: int, digest: str, ptx: str) -> list[tuple[str, str]]:
        header, found = pieces(ptx)
        for piece in found:
            key = sm, piece.digest
            if key in self.kept.uses or key in self.sent:
                continue
            self.sent.add(key)
            batch = self.batches.get(sm)
            if batch is not None and not batch.takes(piece):
                self._send(sm)
                batch = None
            if batch is None:
                batch = self.batches[sm] = Batch(header)
            batch.needs |= dict(piece.needs)
            batch.pieces.append(piece)
            if len(batch.pieces) >= TOGETHER:
                self._send(sm)
        made = [(p.name, p.digest) for p in found]
        self.kept.put("program", sm, digest, made)
        return made

    def _send(self, sm: int) -> None:
        batch = self.batches.pop(sm)
        work = self.pool.submit(assemble, self.ptxas, batch.text(), sm, self.folder)
        self.running.append((sm, batch, work))
        self._receive(wait=False)

    def _receive(self, wait: bool) -> None:
        """Takes what ptxas has said; a module that it refuses goes to it again kernel by kernel."""
        left = []
        for sm, batch, work in self.running:
            if not wait and not work.done():
                left.append((sm, batch, work))
                continue
            try:
                found = work.result()
            except RuntimeError as error:
                if len(batch.pieces) == 1:
                    self.refused.append(f"{batch.pieces[0].name}: {error}")
                    continue
                for piece in batch.pieces:
                    self.batches[sm] = Batch(batch.header, dict(piece.needs), [piece])
                    one = self.batches.pop(sm)
                    left.append((sm, one, self.pool.submit(assemble, self.ptxas, one.text(), sm,
                                                           self.folder)))
                continue
            for name, use in found.items():
                self.kept.put("use", sm, name.removeprefix("k_"), list(asdict(use).values()))
        self.running = left

    def finish(self) -> None:
        """Until every kernel is assembled."""
        for sm in list(self.batches):
            self._send(sm)
        while self.running:
            self._receive(wait=True)
        self.pool.shutdown()

    def report(self) -> dict[str, Any]:
        """Each kernel that was met: architecture, digest, name and what it takes."""
        rows = [[sm, digest, name, *asdict(self.kept.uses[sm, digest]).values()]
                for (sm, digest), name in self.met.items() if (sm, digest) in self.kept.uses]
        return {"kernels": rows, "refused": self.refused}


@contextmanager
def assembling(ptxas: str, report: str | None = None) -> Iterator[Assembler]:
    """While it is open, whatever is run is assembled as well. report: a folder for a file."""
    door: Any = realize
    executable = door.executable
    with tempfile.TemporaryDirectory() as folder:
        made = Assembler(ptxas, Path(folder))

        def both(request: Any, *rest: Any, **options: Any) -> Any:
            made.program(request)
            return executable(request, *rest, **options)

        door.executable = both
        try:
            yield made
        finally:
            door.executable = executable
            made.finish()
            if report:
                Path(report).mkdir(parents=True, exist_ok=True)
                Path(report, f"{os.getpid()}.json").write_text(json.dumps(made.report()) + "\n")
    assert report or not made.refused, made.refused[0]
