"""An emulated device: its memory, the modules loaded on it, and the launch of kernels."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from emulator import flow, memory
from emulator.builder import Builder
from emulator.chunk import Chunk
from emulator.faults import PtxError
from emulator.memory import ALLOCATED, DeviceMemory
from emulator.parse import Function, Immediate, Module, Symbol, Variable, parse
from emulator.types import BITS, NUMPY, PLAIN, Array, constant, view

LANES = 8192  # threads that run together, if their registers are few
REGISTERS = 1 << 20  # registers of all of them, at most
STATIC_SHARED = 48 << 10  # bytes a kernel may declare
GAP = 64  # bytes that nobody owns between shared or local variables
PARAMETERS = 4096  # bytes of a kernel's parameters


@dataclass(frozen=True)
class Geometry:
    """A launch: blocks, threads of a block, dynamic shared bytes."""

    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    dynamic: int = 0


class Code:
    """A kernel decoded for execution."""

    def __init__(self, loaded: Loaded, name: str) -> None:
        self.name = name
        self.function = loaded.module.functions[name]
        flat = flow.flatten(loaded.module, name)
        self.offsets, self.parameter_bytes = _parameters(self.function)
        variables = {**loaded.module.variables, **flat.variables}
        shared = {n: v for n, v in variables.items() if v.space == "shared"}
        local = {n: v for n, v in variables.items() if v.space == "local"}
        self.shared_layout, at_shared, self.shared_bytes = _layout(shared)
        self.local_layout, at_local, self.local_bytes = _layout(local)
        symbols = dict(loaded.symbols)
        symbols |= {n: ("shared", a) for n, a in at_shared.items()}
        symbols |= {n: ("local", a) for n, a in at_local.items()}
        symbols |= {n: ("param", a) for n, a in self.offsets.items()}
        b = Builder(flat.registers, symbols, loaded.sm)
        self.blocks = flow.blocks(b, flat)
        self.slots, self.bits, self.presets = b.slots, b.bits, b.presets
        self.index, self.names = b.index, b.names
        read = {r for k in self.blocks for d in k.decoded for r in d.uses}
        self.unread = set(range(len(b.bits))) - read.union(*(k.ends for k in self.blocks))
        self.grain = min((1, *b.widths) if not b.widths else b.widths)
        self.instructions = sum(len(k.steps) + (k.ins is not None) for k in self.blocks)
        self._views()

    def _views(self) -> None:
        """For each register its slots, and the slot of its bare bits."""
        self.seen: list[list[tuple[int, str]]] = [[] for _ in self.bits]
        self.template: list[Any] = [None] * len(self.slots)
        for i, s in enumerate(self.slots):
            if s.register < 0:
                self.template[i] = s.value
            else:
                self.seen[s.register].append((i, s.type))
        plain = [PLAIN.get(bits, "pred") for bits in self.bits]
        self.base = [next(i for i, t in seen if t == plain[r])
                     for r, seen in enumerate(self.seen)]

    def frame(self, bits_of: Any, registers: Any) -> list[Any]:
        """Arrays by slot for some registers, whose bits a function gives."""
        made = list(self.template)
        for r in registers:
            base = bits_of(r)
            for slot, type_ in self.seen[r]:
                made[slot] = view(base, type_)
        return made

    @property
    def lanes(self) -> int:
        """How many threads should run together."""
        return max(256, min(LANES, REGISTERS // max(len(self.bits), 1)))


def _parameters(function: Function) -> tuple[dict[str, int], int]:
    offsets, at = {}, 0
    for p in function.params:
        size = BITS[p.type] // 8
        align = p.align or size
        at = -(-at // align) * align
        offsets[p.name] = at
        at += size * max(p.count, 1)
    if at > PARAMETERS:
        raise PtxError(f"ptx: {function.name}: expected at most {PARAMETERS} bytes of parameters, "
                       f"got {at}")
    return offsets, at


def _layout(variables: dict[str, Variable]) -> tuple[Array, dict[str, int], int]:
    """The shadow of one unit, the variables' addresses, and the bytes they need.

    Open (extern) variables come last and share an address; dynamic bytes are appended there.
    """
    at, real = 0, 0
    addresses: dict[str, int] = {}
    spans = []
    for name, v in sorted(variables.items(), key=lambda e: e[1].count < 0):
        size = BITS[v.type] // 8
        align = max(v.align or size, 16)
        at = -(-at // align) * align
        addresses[name] = at
        if v.count >= 0:
            real = -(-real // (v.align or size)) * (v.align or size) + size * v.count
            spans.append((at, size * v.count))
            at += size * v.count + GAP
    open_ = any(v.count < 0 for v in variables.values())
    total = at if open_ else max((a + s for a, s in spans), default=0)
    shadow = np.zeros(total, np.uint8)
    for start, size in spans:
        shadow[start:start + size] = ALLOCATED
    return shadow, addresses, real


class Loaded:
    """A module on a device: its variables have addresses, its kernels are decoded when asked
    for."""

    def __init__(self, machine: Machine, text: str) -> None:
        self.machine = machine
        self.module: Module = parse(text)
        found = re.match(r"sm_(\d+)", self.module.target)
        if found is None or not self.module.version:
            raise PtxError(f"ptx: expected .version and .target sm_NN, got "
                           f"{self.module.version!r} and {self.module.target!r}")
        self.sm = int(found.group(1))
        if self.sm > machine.sm:
            raise PtxError(f"ptx: expected a target up to sm_{machine.sm}, got sm_{self.sm}")
        self.symbols: dict[str, tuple[str, int]] = {}
        self.sizes: dict[str, int] = {}
        self.addresses: list[int] = []
        self._codes: dict[str, Code] = {}
        self._place()

    def _place(self) -> None:
        constants = bytearray()
        held = {n: v for n, v in self.module.variables.items() if v.space in ("global", "const")}
        for name, v in held.items():
            size = BITS[v.type] // 8 * v.count
            self.sizes[name] = size
            if v.space == "const":
                constants += bytes(-len(constants) % max(v.align, 16))
                self.symbols[name] = ("const", len(constants))
                constants += bytes(size)
            else:
                address = self.machine.memory.allocate(size)
                if address is None:
                    raise MemoryError(f"emulator: expected room for {name}, got none")
                self.addresses.append(address)
                self.symbols[name] = ("global", address)
        for name, v in held.items():
            self._fill(v, self._initial(v), constants, self.symbols[name])
        self.constants = memory.fixed("constant", bytes(constants))

    def _fill(self, v: Variable, data: bytes, constants: bytearray, where: tuple[str, int]) -> None:
        space, at = where
        if space == "const":
            constants[at:at + len(data)] = data
            return
        span = self.machine.memory.span(at, self.sizes[v.name])
        assert span is not None
        span[:] = 0
        span[:len(data)] = np.frombuffer(data, np.uint8)
        self.machine.memory.written(at, self.sizes[v.name])

    def _initial(self, v: Variable) -> bytes:
        kind = NUMPY[v.type]
        out = []
        for value in v.values:
            if isinstance(value, Symbol):
                out.append(np.uint64(self.symbols[value.name][1] + value.offset).tobytes())
            else:
                bits = BITS[v.type] if v.type in ("f32", "f64") and isinstance(value, int) else 0
                out.append(constant(Immediate(value, bits), v.type).astype(kind).tobytes())
        return b"".join(out)

    def code(self, name: str) -> Code:
        """The kernel, decoded on the first call. Raises KeyError, PtxError."""
        if name not in self._codes:
            if not self.module.functions[name].entry:
                raise KeyError(name)
            self._codes[name] = Code(self, name)
        return self._codes[name]

    def unload(self) -> None:
        for address in self.addresses:
            self.machine.memory.free(address)
        self.addresses.clear()


class Machine:
    """An emulated device of a compute capability, with `size` bytes of memory.

    strict: reads of device memory that nothing wrote are faults. races: shared memory is watched.
    limit: instructions that one chunk of a launch may issue.
    """

    def __init__(self, size: int = 256 << 20, sm: int = 90, strict: bool = True, races: bool = True,
                 limit: int = 2_000_000, number: int = 0) -> None:
        self.memory = DeviceMemory(size, strict, number)
        self.sm = sm
        self.races = races
        self.limit = limit
        self.issued = 0  # instructions, each once for all the lanes it ran on
        self.executed = 0  # instructions times lanes

    def load(self, text: str) -> Loaded:
        """A module from PTX. Raises PtxError."""
        return Loaded(self, text)

    def launch(self, loaded: Loaded, name: str, geometry: Geometry, parameters: bytes) -> None:
        """Runs a kernel to its end. parameters: packed as PTX lays them out. Raises Fault."""
        code = loaded.code(name)
        threads = int(np.prod(geometry.block))
        blocks = int(np.prod(geometry.grid))
        if len(parameters) != code.parameter_bytes:
            raise ValueError(f"{name}: expected {code.parameter_bytes} bytes of parameters, got "
                             f"{len(parameters)}")
        together = max(1, code.lanes // threads)
        given = memory.fixed("parameter", parameters)
        with np.errstate(all="ignore"):
            for first in range(0, blocks, together):
                count = min(together, blocks - first)
                chunk = Chunk(self, code, geometry, loaded.constants, given, first, count)
                try:
                    chunk.run()
                finally:
                    self.issued += chunk.issued
                    self.executed += chunk.executed
