"""Assembles kernels into one native module: slots, arena, entries, and a report of each kernel.

Every kernel function takes the table of slots, an array of pointers that the entry fills: slot 0
is the scalar arguments, then inputs, outputs and temporaries. A rolled loop is native code in the
entry that moves some slots and calls its body's kernels again. A host routine ends one entry and
begins the next.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from flambeau.compiler import memory
from flambeau.compiler.codegen import nest, scatter
from flambeau.compiler.codegen.dense import Dense
from flambeau.compiler.codegen.emit import I64, PTR, Block, Function, Module, Value, const
from flambeau.compiler.codegen.lower import Layout
from flambeau.compiler.kernel import Extern, Kernel, KernelReport
from flambeau.compiler.node import Node, toposort
from flambeau.compiler.ops import ELEMENTWISE, OPS
from flambeau.compiler.target import Target


@dataclass
class Assembled:
    entries: list[str] = field(default_factory=list)
    externs: list[Extern] = field(default_factory=list)
    slots: list[tuple[str, int]] = field(default_factory=list)
    arena_bytes: int = 0
    reports: list[KernelReport] = field(default_factory=list)


class Assembler:
    """Writes kernels and entries into a module."""

    def __init__(self, module: Module, target: Target, layout: Layout) -> None:
        self.module, self.target, self.layout = module, target, layout
        self.result = Assembled(slots=[("scalars", 0)])
        self.dense: dict[Kernel, Dense] = {}
        self.names: dict[str, int] = {}
        self.arena = memory.Arena()
        self.block: Block
        self.fn: Function
        self.table: Value

    # -- slots -----------------------------------------------------------------------------------
    def slot(self, where: str, place: int) -> int:
        self.result.slots.append((where, place))
        return len(self.result.slots) - 1

    def place(self, kernels: list[Kernel], homes: dict[Node, int]) -> dict[Kernel, int]:
        """Gives every stored node a slot; returns the scratch slot of the kernels that need one.

        homes: nodes that have a slot already (inputs, outputs).
        """
        slots = self.layout.slots
        slots.update(homes)
        stored = set(slots) | {h for k in kernels for h in k.homes}
        life = memory.lifetimes(kernels, stored)
        ends: dict[int, list[Node]] = {}
        scratch: dict[Kernel, int] = {}
        for n, (_, last) in life.items():
            if n not in homes:
                ends.setdefault(last, []).append(n)
        for i, k in enumerate(kernels):
            for n in k.homes:
                if n not in slots:
                    inherited = self._inherit(k, n, life, i, homes)
                    place = self.arena.take(n.nbytes) if inherited is None else inherited
                    slots[n] = self.slot("arena", place)
            need = self._scratch(k)
            if need:
                offset = self.arena.take(need)
                scratch[k] = self.slot("arena", offset)
                self.arena.give(offset, need)
            for n in ends.get(i, ()):
                where, offset = self.result.slots[slots[n]]
                if where == "arena" and n not in self._given:
                    self.arena.give(offset, n.nbytes)
        self.result.arena_bytes = max(self.result.arena_bytes, self.arena.bytes)
        return scratch

    _given: set[Node]

    def _inherit(self, k: Kernel, n: Node, life: dict[Node, tuple[int, int]], i: int,
                 homes: dict[Node, int]) -> int | None:
        """A region write into a temporary that dies here happens in place."""
        old = k.initial
        if old is None or old in homes or old not in life or life[old][1] != i:
            return None
        if self.result.slots[self.layout.slots[old]][0] != "arena" or old.nbytes != n.nbytes:
            return None
        if not memory.reads_in_place(memory._without_initial(k), k.stores[0], old,
                                     set(self.layout.slots) | set(life)):
            return None
        self._given.add(old)
        return self.result.slots[self.layout.slots[old]][1]

    def _scratch(self, k: Kernel) -> int:
        if k.kind != "contract":
            return 0
        self.dense[k] = Dense(k, self.layout, self.target)
        return self.dense[k].plan.scratch_bytes

    # -- entries ---------------------------------------------------------------------------------
    def open(self) -> None:
        symbol = f"entry{len(self.result.entries)}"
        self.fn = Function(self.module, symbol, None,
                           [("buffers", PTR, "noalias"), ("scalars", PTR, "noalias"),
                            ("arena", PTR, "noalias")], nest.attributes(self.module, self.target))
        self.result.entries.append(symbol)
        self.head = self.fn.entry.child()
        self.block = self.fn.entry.child()
        self.table = Value(PTR, "%slots")

    def close(self) -> None:
        """Fills the table of slots at the entry's start and ends the entry."""
        count = len(self.result.slots)
        self.head.line(f"%slots = alloca [{count} x ptr], align 64")
        for i, (where, place) in enumerate(self.result.slots):
            if where == "scalars":
                address = self.fn[1]
            elif where == "arena":
                address = self.head.gep(self.fn[2], _I8, const(I64, place))
            elif where == "moving":
                continue
            else:
                number = place + (self.inputs if where == "output" else 0)
                address = self.head.load(PTR, self.head.gep(self.fn[0], PTR, const(I64, number)),
                                         8)
            self.head.store(address, self.head.gep(self.table, PTR, const(I64, i)), 8)
        self.fn.ret(self.block)
        self.fn.finish()

    inputs = 0

    def run(self, kernels: list[Kernel], homes: dict[Node, int],
            copies: list[tuple[int, int, int]]) -> Assembled:
        """Places and writes everything; copies (to slot, from slot, bytes) end the program."""
        self._given = set()
        scratch = self.place(kernels, homes)
        self.open()
        for k in kernels:
            self.kernel(k, scratch.get(k))
        for to, source, nbytes in copies:
            self.copy(to, source, nbytes)
        self.close()
        return self.result

    def kernel(self, k: Kernel, scratch: int | None) -> None:
        if k.initial is not None:
            self.start_from(k)
        if k.kind == "extern":
            self.extern(k)
            return
        symbol = self.symbol(k)
        if k.kind == "contract":
            stages = [(s.symbol, s.chunks) for s in
                      self.dense[k].generate(self.module, symbol, scratch)]
        elif k.kind == "scatter":
            stages = [scatter.generate(self.module, self.target, self.layout, k, symbol)]
        else:
            stages = [nest.generate(self.module, self.target, self.layout, k, symbol)]
        for name, chunks in stages:
            self.launch(name, chunks)
        self.report(k, symbol, max((c for _, c in stages), default=0))

    def launch(self, symbol: str, chunks: int) -> None:
        if chunks == 1:
            self.block.call(symbol, None, self.table, const(I64, 0))
            return
        self.module.declare("fb_parallel", "declare void @fb_parallel(ptr, ptr, i64)")
        self.block.call("fb_parallel", None, Value(PTR, f"@{symbol}"), self.table,
                        const(I64, chunks))

    def start_from(self, k: Kernel) -> None:
        """The home starts as a copy of `initial`, unless it is the same memory."""
        assert k.initial is not None
        slots = self.layout.slots
        to, source = slots[k.homes[0]], slots[k.initial]
        if self.result.slots[to] != self.result.slots[source] and k.initial.nbytes:
            self.copy(to, source, k.initial.nbytes)

    def copy(self, to: int, source: int, nbytes: int) -> None:
        b = self.block
        self.module.declare("llvm.memcpy.p0.p0.i64",
                            "declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)")
        a, c = (b.load(PTR, b.gep(self.table, PTR, const(I64, i)), 8) for i in (to, source))
        b.call("llvm.memcpy.p0.p0.i64", None, a, c, const(I64, nbytes), Value(_I1, "false"))

    def extern(self, k: Kernel) -> None:
        n = k.homes[0]
        slots = self.layout.slots
        name, options = n.arg
        operands = [(slots[s], s.dtype.name, s.shape) for s in n.src]
        self.result.externs.append(
            Extern(name, options, operands, (slots[n], n.dtype.name, n.shape)))
        self.report(k, name, 0)
        self.close()
        self.open()

    def symbol(self, k: Kernel) -> str:
        base = kernel_name(k)
        count = self.names[base] = self.names.get(base, 0) + 1
        return base if count == 1 else f"{base}_{count}"

    def report(self, k: Kernel, symbol: str, chunks: int) -> None:
        self.result.reports.append(describe(k, symbol, chunks, self.dense.get(k),
                                            set(self.layout.slots)))


_I8 = scatter.scalar.make_type("i8")
_I1 = scatter.scalar.make_type("i1")


def kernel_name(k: Kernel) -> str:
    """A name that spells the kernel's structure: its ops, then its space."""
    ops: dict[str, None] = {}
    nodes = set(k.anchors) | {s.value for s in k.stores} | k.inlined
    for n in toposort([s.value for s in k.stores], stop=lambda m: m not in nodes):
        if n in nodes and (n.op in ELEMENTWISE or n in k.anchors or n.op in ("gather", "pad")):
            ops[n.op] = None
    words = "_".join(list(ops)[:6]) or "copy"
    space = "x".join(map(str, k.space)) or "1"
    return f"{k.kind}_{words}_{space}"


def describe(k: Kernel, symbol: str, chunks: int, dense: Dense | None,
             stored: set[Node]) -> KernelReport:
    """Bytes moved, operations and a line of words for explain()."""
    from flambeau.compiler.fuse import loads
    moved = sum(n.nbytes for n in loads(k, stored))
    moved += sum(s.value.nbytes for s in k.stores)
    size = 1
    for e in k.space:
        size *= e
    nodes = [n for n in k.inlined | set(k.anchors) if n.op in ELEMENTWISE or n in k.anchors]
    flops = sum(n.size if n.op in ELEMENTWISE else size for n in nodes
                if n.op not in ("dot", "conv") and OPS[n.op].cost)
    detail = ", ".join(dict.fromkeys(n.op for n in nodes))
    if dense is not None:
        flops += dense.plan.flops
        detail = f"{dense.plan.description}; fused: {detail}"
    return KernelReport(symbol, k.kind, detail, moved, flops, chunks)
