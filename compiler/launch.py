"""What a GPU runs: a program as plain data, made by codegen/gpu.py and run by the CUDA device.

`pipeline.build_gpu(request, target)` gives (GpuProgram, LLVM IR); `runtime.jit.ptx` lowers the IR.
Addresses are written as slots, as in `kernel.Program`: slots[i] says where slot i lies, and the
device turns it into a pointer before the run. Slot 0 is the block of scalars in device memory: the
error word (int64, 0 when well), then the packed scalar arguments at the offsets in `scalars`. The
device zeroes the error word and uploads the scalars before the steps and reads the error word
whenever it synchronises. Kernels take pointers and nothing else, so a captured graph of launches is
replayed with other scalars by writing that block anew.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from flambeau.compiler.kernel import Extern, KernelReport
from flambeau.compiler.node import Shape


@dataclass
class Launch:
    """One kernel: `symbol<<<grid, block, shared>>>(pointer of each slot in arguments)`.

    shared: bytes of dynamic shared memory beyond what the module declares itself.
    """

    symbol: str
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    arguments: list[int]
    shared: int = 0
    kind: str = "launch"


@dataclass
class Fill:
    """nbytes from the slot's start become the byte `value`."""

    slot: int
    nbytes: int
    value: int = 0
    kind: str = "fill"


@dataclass
class Copy:
    """nbytes from slot `source` to slot `to`, both on the device; they do not overlap."""

    to: int
    source: int
    nbytes: int
    kind: str = "copy"


@dataclass
class Gemm:
    """A matrix product by cuBLAS: slot `to` gets batch x m x n sums, row after row.

    sizes: batch, m, n, k. layouts: (1 where cuBLAS must turn the operand, elements from line to
    line, elements from product to product); offsets in elements. type: the operands' dtype.
    compute: "float32" (the results' dtype too), "tf32" or "float64".
    """

    a: int
    b: int
    to: int
    sizes: tuple[int, int, int, int]
    a_offset: int
    b_offset: int
    a_layout: tuple[int, int, int]
    b_layout: tuple[int, int, int]
    type: str
    compute: str
    kind: str = "gemm"


@dataclass
class Host:
    """A host routine: wait, copy the operands to the host, run it there, copy the result back.

    When the error word is set the program stops here.
    """

    extern: Extern
    kind: str = "host"


@dataclass
class Repeat:
    """A rolled loop: the host runs `steps` for t = 0 .. count-1 (count -1: until the condition).

    carries: (slot read, slot written, one side, the other side), the sides being arena slots; step
    t reads the first side and writes the second where t is even, the other way round where odd.
    rows: (moving slot, base slot, bytes a row): before step t the moving slot points at row t of
    the base, or at row count-1-t when reverse. condition: a slot with one bool, computed by
    `asking` before each step from the slots read; the loop ends when it is false. results: (to
    slot, carry number, bytes) copied from the side last written (or the first, after no step).
    """

    steps: list[Step]
    count: int
    reverse: bool
    carries: list[tuple[int, int, int, int]]
    rows: list[tuple[int, int, int]]
    results: list[tuple[int, int, int]]
    asking: list[Step] = field(default_factory=list)
    condition: int = -1
    kind: str = "repeat"


Step = Launch | Fill | Copy | Gemm | Host | Repeat


@dataclass
class GpuProgram:
    """Steps in order, and where everything lies.

    slots: ("scalars", 0) | ("input", number) | ("output", number) | ("arena", byte offset) |
    ("moving", 0); the last are set by the Repeat that owns them. Bases must be 256-byte aligned
    (offsets in the arena are multiples of 64). alias[i]: the input whose memory output i takes
    over, or -1; an output with an alias has no slot of its own. errors[word - 1]: the node (place
    in the walk order) that failed and what to say. The other fields are `kernel.Program`'s.
    """

    key: str
    inputs: int
    outputs: list[tuple[str, Shape]]
    alias: list[int]
    scalars: list[tuple[str, int]]
    scalar_bytes: int
    arena_bytes: int
    slots: list[tuple[str, int]]
    steps: list[Step]
    kernels: list[KernelReport]
    errors: list[tuple[int, str, str]]
    stages: list[tuple[str, float]] = field(default_factory=list)
    sizes: list[Any] = field(default_factory=list)  # empty here, as the next two: a GPU's program
    sizes_at: int = 0  # is for one set of sizes
    numbers: list[Any] = field(default_factory=list)


# -- to JSON and back ------------------------------------------------------------------------------

_STEPS: dict[str, Any] = {"launch": Launch, "fill": Fill, "copy": Copy, "gemm": Gemm,
                          "host": Host, "repeat": Repeat}


def from_plain(plain: dict[str, Any]) -> GpuProgram:
    """The program behind `dataclasses.asdict` and a trip through JSON."""
    fields = {k: _frozen(v) for k, v in plain.items() if k not in ("steps", "kernels")}
    fields |= {k: list(v) for k, v in fields.items() if isinstance(v, tuple)}
    return GpuProgram(**fields, steps=[_step(s) for s in plain["steps"]],
                      kernels=[KernelReport(**k) for k in plain["kernels"]])


def _step(plain: dict[str, Any]) -> Step:
    made = {k: _frozen(v) for k, v in plain.items()}
    for name in ("steps", "asking"):
        if name in plain:
            made[name] = [_step(s) for s in plain[name]]
    for name in ("arguments", "carries", "rows", "results"):
        if name in made:
            made[name] = list(made[name])
    if "extern" in plain:
        parts = {k: _frozen(v) for k, v in plain["extern"].items()}
        made["extern"] = Extern(**parts | {"operands": list(parts["operands"])})
    step: Step = _STEPS[plain["kind"]](**made)
    return step


def _frozen(v: Any) -> Any:
    """JSON lists back as tuples."""
    return tuple(map(_frozen, v)) if isinstance(v, list) else v
