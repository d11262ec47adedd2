"""Assembles kernels into one native module: slots, arena, entries, and a report of each kernel.

Every kernel function takes the table of slots, an array of pointers that the entry fills: slot 0
is the scalar arguments, then inputs, outputs and temporaries. A rolled loop is native code in the
entry that moves some slots and calls its body's kernels again. A host routine ends one entry and
begins the next.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from flambeau.compiler import fuse
from flambeau.compiler.codegen import blas, nest, scatter
from flambeau.compiler.codegen.dense import Dense
from flambeau.compiler.codegen.emit import (
    I1,
    I8,
    I32,
    I64,
    PTR,
    Block,
    Function,
    Module,
    Value,
    attributes,
    const,
)
from flambeau.compiler.codegen.lower import Layout
from flambeau.compiler.codegen.placing import Placer, Rolled, idle
from flambeau.compiler.codegen.sparse import SparseConv
from flambeau.compiler.kernel import Extern, Kernel, KernelReport
from flambeau.compiler.node import Node, toposort
from flambeau.compiler.ops import CONTRACTIONS, ELEMENTWISE, OPS
from flambeau.compiler.size import hint, unknown
from flambeau.compiler.target import Target


@dataclass
class Assembled:
    entries: list[str] = field(default_factory=list)
    externs: list[Extern] = field(default_factory=list)
    slots: list[tuple[str, int]] = field(default_factory=list)
    arena_bytes: int = 0
    reports: list[KernelReport] = field(default_factory=list)


class Assembler(Placer):
    """Writes kernels and entries into a module."""

    def __init__(self, module: Module, target: Target, layout: Layout, timed: bool) -> None:
        super().__init__(layout)
        self.module, self.target, self.timed = module, target, timed
        self.result = Assembled(slots=self.slots)
        self.prepared: dict[Kernel, tuple[str, list[tuple[str, int]]]] = {}
        self.dense: dict[Kernel, Dense | SparseConv] = {}
        self.names: dict[str, int] = {}
        self.block: Block
        self.fn: Function
        self.table: Value

    def scratch_of(self, k: Kernel) -> int:
        if k.kind == "contract" and not idle(k):
            sparse = k.anchors[0].op == "sparse_conv"
            self.dense[k] = SparseConv(k, self.layout, self.target) if sparse \
                else Dense(k, self.layout, self.target, self.held)
            return self.dense[k].plan.scratch_bytes
        if k.kind == "loop":
            self.rolled[k] = RolledLoop(self, k)
            return self.rolled[k].bytes
        return 0

    def lasts(self, k: Kernel) -> bool:
        dense = self.dense.get(k)
        return isinstance(dense, Dense) and dense.plan.packs_once

    def prepare(self, k: Kernel, scratch: int | None) -> None:
        """Packs what kernel k, of a loop's body, holds over the steps; the rest waits."""
        symbol = self.symbol(k)
        stages = self.dense[k].generate(self.module, symbol, scratch)
        for s in stages:
            if s.once:
                self.launch(s.symbol, s.chunks)
        self.prepared[k] = symbol, [(s.symbol, s.chunks) for s in stages if not s.once]

    # -- entries ---------------------------------------------------------------------------------
    def open(self) -> None:
        symbol = f"entry{len(self.result.entries)}"
        self.fn = Function(self.module, symbol, None,
                           [("buffers", PTR, "noalias"), ("scalars", PTR, "noalias"),
                            ("arena", PTR, "noalias")], attributes(self.module, self.target))
        self.result.entries.append(symbol)
        self.head = self.fn.entry.child()
        self.block = self.fn.entry.child()
        self.table = Value(PTR, "%slots")

    def close(self) -> None:
        """Fills the table of slots at the entry's start and ends the entry."""
        count = len(self.slots)
        self.head.line(f"%slots = alloca [{count} x ptr], align 64")
        for i, (where, place) in enumerate(self.slots):
            if where == "scalars":
                address = self.fn[1]
            elif where == "arena":
                address = self.head.gep(self.fn[2], I8, const(I64, place))
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
            copies: list[tuple[int, int, int]], failing: set[Kernel]) -> Assembled:
        """Places and writes everything; copies (to slot, from slot, bytes) end the program.

        failing: kernels that may find an index out of range. If one did, nothing after it
        overwrites an input.
        """
        scratch = self.place(kernels, homes, self.arena)
        self.result.arena_bytes = self.arena.bytes
        self.open()
        self.clock()
        checked = True
        for k in kernels:
            if not checked and any(self.slots[self.layout.slots[h]][0] == "input"
                                   for h in k.homes):
                self.stop_if_failed()
                checked = True
            self.kernel(k, scratch.get(k))
            self.clock()
            # what an extern begins is another entry, which knows nothing of the last one's check
            checked = (checked and k not in failing) if k.kind != "extern" else not failing
        if copies and not checked:
            self.stop_if_failed()
        for to, source, nbytes in copies:
            self.copy(to, source, nbytes)
        self.close()
        if self.timed:
            count = len(self.result.reports) + 1
            self.module.declare("fb_clocks", f"@fb_clocks = global [{count} x i64] "
                                             "zeroinitializer")
        return self.result

    def stop_if_failed(self) -> None:
        """Ends the entry here if the status word says that a value was found wrong."""
        b, names = self.block, self.fn.names
        over, on = names.fresh("failed"), names.fresh("fine")
        status = b.load(I64, self.fn[1], 8)
        b.branch_if(b.cmp("ne", status, const(I64, 0)), over, on)
        b.label(over)
        self.fn.ret(b)
        b.label(on)

    def clock(self) -> None:
        """Adds the nanoseconds since the last look to those of the last kernel written."""
        if not self.timed:
            return
        b, place = self.block, len(self.result.reports)
        self.module.declare("clock_gettime", "declare i32 @clock_gettime(i32, ptr)")
        spot = self.head.value(PTR, "alloca [2 x i64], align 8")
        b.call("clock_gettime", I32, const(I32, 1), spot)
        seconds = b.load(I64, spot, 8)
        rest = b.load(I64, b.gep(spot, I64, const(I64, 1)), 8)
        now = b.add(b.mul(seconds, const(I64, 1_000_000_000)), rest)
        last = Value(PTR, "@fb_clocks")
        if place:
            total = b.gep(last, I64, const(I64, place))
            spent = b.sub(now, b.load(I64, last, 8))
            b.store(b.add(b.load(I64, total, 8), spent), total, 8)
        b.store(now, last, 8)

    def kernel(self, k: Kernel, scratch: int | None) -> None:
        if k.initial is not None:
            self.start_from(k)
        if k.kind == "extern":
            self.extern(k)
            return
        if k.kind == "loop":
            self.rolled[k].write(scratch)
            return
        if idle(k):
            return
        symbol, stages = self.prepared.get(k) or (self.symbol(k), [])
        if stages:
            pass  # a loop has packed what these hold
        elif blas.serves(k, self.layout):
            stages = [blas.generate(self.module, self.target, self.layout, k, symbol)]
        elif k.kind == "contract":
            stages = [(s.symbol, s.chunks) for s in
                      self.dense[k].generate(self.module, symbol, scratch)]
        elif k.kind == "scatter":
            stages = [scatter.generate(self.module, self.target, self.layout, k, symbol)]
        else:
            stages = [nest.generate(self.module, self.target, self.layout, k, symbol)]
        if k.turning:
            self.turn_round(symbol)
        for name, chunks in stages:
            self.launch(name, chunks)
        self.report(k, symbol, _most([c for _, c in stages]))

    def turn_round(self, symbol: str) -> None:
        flag = nest.turn_flag(self.module, symbol)
        side = self.block.op("xor", self.block.load(I64, flag, 8), const(I64, 1))
        self.block.store(side, flag, 8)

    def launch(self, symbol: str, chunks: int) -> None:
        if type(chunks) is int and chunks == 1:
            self.block.call(symbol, None, self.table, const(I64, 0))
            return
        self.module.declare("fb_parallel", "declare void @fb_parallel(ptr, ptr, i64)")
        self.block.call("fb_parallel", None, Value(PTR, f"@{symbol}"), self.table,
                        const(I64, chunks))

    def start_from(self, k: Kernel) -> None:
        """The home starts as a copy of `initial`, unless it is the same memory."""
        if self.apart(k):
            assert k.initial is not None
            slots = self.layout.slots
            self.copy(slots[k.homes[0]], slots[k.initial], k.initial.nbytes)

    def copy(self, to: int, source: int, nbytes: int) -> None:
        self.copy_bytes(self.get(to), self.get(source), nbytes)

    def copy_bytes(self, to: Value, source: Value, nbytes: int) -> None:
        self.module.declare("llvm.memcpy.p0.p0.i64",
                            "declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)")
        self.block.call("llvm.memcpy.p0.p0.i64", None, to, source, const(I64, nbytes),
                        Value(I1, "false"))

    def get(self, slot: int) -> Value:
        """The pointer in a slot, at this point of the entry."""
        return self.block.load(PTR, self.block.gep(self.table, PTR, const(I64, slot)), 8)

    def set(self, slot: int, address: Value) -> None:
        self.block.store(address, self.block.gep(self.table, PTR, const(I64, slot)), 8)

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



class RolledLoop(Rolled):
    """A loop kernel as native code: the steps run in the entry."""

    writer: Assembler

    def write(self, slot: int | None) -> None:
        """Writes the loop at this point of the entry; `slot`: the working memory's."""
        writer, loop = self.writer, self.loop
        base = self.settle(slot)
        arena = writer.fn[2]
        b = writer.block
        sides = [[b.gep(arena, I8, const(I64, place + base)) for place in pair]
                 for pair in self.pairs]
        for (into, _), src, c in zip(sides, self.node.src, loop.carried):
            if c.nbytes:
                writer.copy_bytes(into, writer.get(self.outer.slots[src]), c.nbytes)
        rows = self._rows()
        writer.layout = self.layout
        for k in self.kernels:
            if writer.lasts(k):
                writer.prepare(k, self.scratch.get(k))
        last = self._steps(sides, rows)
        writer.layout = self.outer
        for i, side in enumerate(last):
            if i in self.wanted and loop.carried[i].nbytes:
                to = writer.get(self.outer.slots[self.wanted[i]])
                writer.copy_bytes(to, side, loop.carried[i].nbytes)

    def _rows(self) -> list[tuple[int, Value, int]]:
        """(slot to move, base address, bytes a row) of sequences and stacked outputs."""
        loop, writer = self.loop, self.writer
        found = []
        first, end = loop.carries, loop.carries + loop.sequences
        for x, src in zip(loop.inputs[first:end], self.node.src[first:end]):
            found.append((self.layout.slots[x], writer.get(self.outer.slots[src]), x.nbytes))
        for i in self.stacked:
            r = loop.results[i]
            base = writer.get(self.outer.slots[self.wanted[i]])
            found.append((self.layout.slots[r], base, r.nbytes))
        return found

    def _steps(self, sides: list[list[Value]], rows: list[tuple[int, Value, int]]) -> list[Value]:
        """The native loop; returns where the last carries lie."""
        writer, loop = self.writer, self.loop
        b = writer.block
        names = writer.fn.names
        head, body, latch, done = (names.fresh(p) for p in ("while", "step", "next", "over"))
        start = names.fresh("start")
        b.branch(start)
        b.label(start)
        b.branch(head)
        b.label(head)
        phis = b.child()
        t = Value(I64, names.fresh("%t"))
        now = [Value(PTR, names.fresh("%now")) for _ in sides]
        then = [Value(PTR, names.fresh("%then")) for _ in sides]
        for i in range(loop.carries):
            writer.set(self.layout.slots[loop.inputs[i]], now[i])
        go = b.cmp("ult", t, const(I64, loop.count))  # a limit of -1 is as good as none
        if loop.condition is not None:
            go = self._ask(go)
        b.branch_if(go, body, done)
        b.label(body)
        for i in range(loop.carries):
            writer.set(self.layout.slots[loop.carried[i]], then[i])
        at = b.sub(const(I64, loop.count - 1), t) if loop.reverse else t
        for slot, base, nbytes in rows:
            writer.set(slot, b.gep(base, I8, b.mul(at, const(I64, nbytes))))
        self._launch(self.kernels)
        b.branch(latch)
        b.label(latch)
        after = b.add(t, const(I64, 1))
        b.branch(head)
        phis.line(f"{t.text} = phi i64 [ 0, %{start} ], [ {after.text}, %{latch} ]")
        for n, m, (a, c) in zip(now, then, sides):
            phis.line(f"{n.text} = phi ptr [ {a.text}, %{start} ], [ {m.text}, %{latch} ]")
            phis.line(f"{m.text} = phi ptr [ {c.text}, %{start} ], [ {n.text}, %{latch} ]")
        b.label(done)
        return now

    def _ask(self, go: Value) -> Value:
        """The while condition, computed from the carries as they are now."""
        writer = self.writer
        self._launch(self.conditions)
        b = writer.block
        flag = b.load(I8, writer.get(self.flag), 1)
        return b.and_(go, b.cmp("ne", flag, const(I8, 0)))

    def _launch(self, kernels: list[Kernel]) -> None:
        for k in kernels:
            self.writer.kernel(k, self.scratch.get(k))
            self.writer.clock()



def _most(chunks: list[int]) -> int:
    return max(chunks, key=hint, default=0)


def kernel_name(k: Kernel) -> str:
    """A name that spells the kernel's structure: its ops, then its space."""
    ops: dict[str, None] = {}
    nodes = set(k.anchors) | {s.value for s in k.stores} | k.inlined
    for n in toposort([s.value for s in k.stores], stop=lambda m: m not in nodes):
        if n in nodes and (n.op in ELEMENTWISE or n in k.anchors or n.op in ("gather", "pad")):
            ops[n.op] = None
    words = "_".join(list(ops)[:6]) or "copy"
    space = "x".join("n" if unknown(e) else str(e) for e in k.space) or "1"
    return f"{k.kind}_{words}_{space}"


def describe(k: Kernel, symbol: str, chunks: int, dense: Dense | SparseConv | None,
             stored: set[Node]) -> KernelReport:
    """Bytes moved, operations and a line of words for explain()."""
    moved = sum(n.nbytes for n in fuse.loads(k, stored))
    moved += sum(s.value.nbytes for s in k.stores)
    size = 1
    for e in k.space:
        size *= e
    inside = k.inlined | set(k.anchors)
    nodes = [n for n in toposort([s.value for s in k.stores], stop=lambda m: m not in inside)
             if n in inside and (n.op in ELEMENTWISE or n in k.anchors)]
    flops = sum(n.size if n.op in ELEMENTWISE else size for n in nodes
                if n.op not in CONTRACTIONS and OPS[n.op].cost)
    detail = ", ".join(dict.fromkeys(n.op for n in nodes))
    if dense is not None:
        flops += dense.plan.flops
        detail = f"{dense.plan.description}; fused: {detail}"
    return KernelReport(symbol, k.kind, detail, moved, flops, chunks)
