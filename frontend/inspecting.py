"""Looking inside a compiled program: explain, graph, IR, assembly, profile."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import time
from typing import Any

import numpy as np
from flambeau import compiler
from flambeau.compiler import show
from flambeau.compiler.node import Node
from flambeau.compiler.request import Request, parametrise
from flambeau.compiler.target import Target
from flambeau.runtime import devices, execute, jit, memory

from . import families


class Graph:
    """A program's graph: prints as text; `.networkx()`, `.dot()`, `.svg()` give other forms."""

    def __init__(self, roots: list[Node]) -> None:
        self.roots = roots

    def networkx(self) -> Any:
        """A networkx MultiDiGraph, operands to users, operand numbers on the edges."""
        return show.to_networkx(self.roots)

    def dot(self) -> str:
        """Graphviz source."""
        return show.to_dot(self.roots)

    def svg(self) -> str:
        """A drawing by graphviz's `dot`. Raises RuntimeError where that is not installed."""
        if shutil.which("dot") is None:
            raise RuntimeError("graph: expected graphviz's `dot` on the PATH, got none; "
                               "use .dot() for the source")
        made = subprocess.run(["dot", "-Tsvg"], input=self.dot(), text=True, check=True,
                              capture_output=True)
        return made.stdout

    def _repr_svg_(self) -> str | None:
        return self.svg() if shutil.which("dot") else None

    def __str__(self) -> str:
        return show.text(self.roots)

    __repr__ = __str__


class Profile:
    """Rows (kernel, microseconds, GB/s, GFLOP/s, share); prints as a table."""

    def __init__(self, rows: list[dict[str, Any]], total: float) -> None:
        self.rows, self.total = rows, total

    def __str__(self) -> str:
        lines = [f"{'us':>10} {'share':>6} {'GB/s':>7} {'GFLOP/s':>8}  kernel"]
        for r in sorted(self.rows, key=lambda r: -r["microseconds"]):
            lines.append(f"{r['microseconds']:10.2f} {r['share']:6.1%} {r['gb_per_s']:7.1f} "
                         f"{r['gflop_per_s']:8.1f}  {r['kernel']}")
        lines.append(f"{self.total:10.2f} us a call in all")
        return "\n".join(lines)

    __repr__ = __str__


class Inspected:
    """What can be asked of a program. Needs request, executable, name, seconds and device."""

    request: Request
    executable: Any
    device: str
    name: str
    seconds: float
    reason: str = "first call"
    note: str = ""

    def explain(self) -> str:
        """Signature, where the code came from, and a line a kernel: what it fused, bytes, flops."""
        program = self.executable.program
        leaves = ", ".join(f"{n.dtype.name}{list(n.shape)}" for n in self.request.leaves)
        lines = [f"{self.name}({leaves})",
                 f"  compiled because: {self.reason}",
                 f"  code from {self.executable.source}, {self.seconds * 1e3:.1f} ms in all, "
                 f"{self.executable.code.size / 1024:.0f} KiB of "
                 f"{'machine code' if self.device == 'cpu' else f'PTX on {self.device}'}",
                 f"  {len(program.kernels)} kernels, {program.arena_bytes} bytes of temporaries, "
                 f"{sum(a >= 0 for a in program.alias)} outputs updated in place",
                 *[f"  {line}" for line in (self.note, self._sizes()) if line]]
        for k in program.kernels:
            lines.append(f"    {k.name}: {k.detail} | {k.nbytes} bytes, {k.flops} flops, "
                         f"{k.chunks} {'chunk' if self.device == 'cpu' else 'block'}"
                         f"{'s' if k.chunks != 1 else ''}")
        if self.device != "cpu":
            lines += [f"    {name}: {registers} registers, {local} bytes of local memory a thread"
                      for name, (registers, local) in self.executable.registers().items()]
            lines += [f"    {e.name}: on the host" for e in self.executable.externs]
        return "\n".join(lines)

    def graph(self) -> Graph:
        """The graph as the user wrote it."""
        return Graph(parametrise(self.request)[0])

    def _target(self) -> Target:
        return devices.find(self.device).target()  # type: ignore[no-any-return]

    def _sizes(self) -> str:
        if self.device != "cpu":
            return families.ALONE
        return families.note(self.request, self.executable, self._target())

    def _ir(self) -> str:
        made = self.executable.general if self.device == "cpu" else None
        if made is not None:
            return made.build(False)[1]  # type: ignore[no-any-return]
        return compiler.build(self.request, self._target())[1]

    def llvm_ir(self, optimised: bool = False) -> str:
        """The program's LLVM IR, as generated or as LLVM's passes leave it."""
        text = self._ir()
        return jit.optimised_ir(text, self._target()) if optimised else text

    def asm(self) -> str:
        """The program's assembly for this machine; on a GPU, its PTX."""
        return jit.assembly(self._ir(), self._target())

    def ptx(self) -> str:
        """The program's PTX. Raises RuntimeError for a program of the host."""
        if self.device == "cpu":
            raise RuntimeError(f"ptx: expected a program on a GPU, got {self.name} on the cpu; "
                               "asm() shows its assembly")
        return self.executable.code.text.decode()  # type: ignore[no-any-return]

    def profile(self, seconds: float = 0.2) -> Profile:
        """Times each kernel by itself on scratch data of the right sizes, for `seconds` in all."""
        if self.device == "cpu":
            return profile(self.request, seconds, self.executable)
        return profile_there(self.request, self.executable, devices.find(self.device), seconds)


def profile_there(request: Request, executable: Any, device: Any, seconds: float) -> Profile:
    """Runs the program on a GPU with events around every launch and averages over the runs."""
    inputs = [device.allocate(n.nbytes) for n in request.leaves]
    for m in inputs:
        device.copy_in(m, np.zeros(m.nbytes, np.uint8))
    outs = [inputs[a] if a >= 0 else device.allocate(r.nbytes)
            for a, r in zip(executable.program.alias, request.roots)]
    values = [s.arg.value for s in request.scalars]
    totals: dict[str, float] = {}
    runs, end = 0, time.perf_counter() + seconds
    while time.perf_counter() < end or runs < 3:
        for name, microseconds in executable.profile(inputs, outs, values):
            totals[name] = totals.get(name, 0.0) + microseconds
        runs += 1
    known = {k.name: k for k in executable.program.kernels}
    return _rows([(name, known.get(name), t / runs) for name, t in totals.items()])


def _rows(times: list[tuple[str, Any, float]]) -> Profile:
    """The profile of kernels' names, reports (None: part of another's) and microseconds."""
    whole = sum(us for *_, us in times) or 1.0
    rows = [{"kernel": name, "microseconds": us, "share": us / whole,
             "gb_per_s": (k.nbytes if k else 0) / max(us, 1e-3) / 1e3,
             "gflop_per_s": (k.flops if k else 0) / max(us, 1e-3) / 1e3} for name, k, us in times]
    return Profile(rows, whole)


def _timed(request: Request, executable: Any) -> execute.Executable:
    """The program with a clock after every kernel."""
    target = jit.host_target()
    if executable is not None and executable.general is not None:
        return executable.general.timed(target, executable.n)  # type: ignore[no-any-return]
    program, ir = compiler.build(request, target, timed=True)
    code = jit.load(ir, program.key + "-timed", target)
    return execute.Executable(program, code, "compiled", 0.0)


def profile(request: Request, seconds: float, executable: Any = None) -> Profile:
    """Runs the program with a clock after every kernel; the median of the runs, but for the first,
    which meets memory that is not there yet."""
    run = _timed(request, executable)
    program, code = run.program, run.code
    buffers = [memory.allocate(n.nbytes) for n in request.leaves]
    for b in buffers:
        ctypes.memset(b.address, 0, b.nbytes)
    outs = [buffers[a] if a >= 0 else memory.allocate(r.nbytes)
            for a, r in zip(program.alias, request.roots)]
    clocks = (ctypes.c_int64 * (len(program.kernels) + 1)).from_address(
        code.address("fb_clocks"))
    runs: list[list[int]] = []
    end = time.perf_counter() + seconds
    values = [s.arg.value for s in request.scalars]
    while time.perf_counter() < end or len(runs) < 4:
        run.run([b.address for b in buffers], [b.address for b in outs], values)
        runs.append(clocks[1:])  # of all runs; the steps of a loop add up
    steps = np.median(np.diff(runs, axis=0), axis=0)
    return _rows([(k.name, k, float(t) / 1e3) for k, t in zip(program.kernels, steps)])
