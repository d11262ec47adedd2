"""GPU programs: every kernel as LLVM IR for PTX, and the steps that launch them in order.

The plan of slots, lifetimes and memory taken over is the CPU's (placing.py, memory.py); what
differs is that the host runs the steps: a launch for each kernel, copies, host routines, and a
repeated list of steps for a rolled loop.
"""

from __future__ import annotations

from flambeau.compiler.codegen import gpu_dense, gpu_nest, gpu_order, gpu_scatter
from flambeau.compiler.codegen.dense import Dense
from flambeau.compiler.codegen.emit import I8, I32, Module, const
from flambeau.compiler.codegen.gpu_kernel import BLOCK, GpuFunction, Grid, Scene
from flambeau.compiler.codegen.loops import Loop
from flambeau.compiler.codegen.lower import Layout
from flambeau.compiler.codegen.placing import Placer, Rolled, idle
from flambeau.compiler.codegen.program import describe, kernel_name
from flambeau.compiler.kernel import Extern, Kernel, KernelReport
from flambeau.compiler.launch import Copy, Fill, Host, Launch, Repeat, Step
from flambeau.compiler.node import Node
from flambeau.compiler.ops import CONTRACTIONS, ELEMENTWISE, REDUCTIONS, SCANS
from flambeau.compiler.target import Target

PLANES = frozenset(("real", "imag", "modulus", "conj", "complex"))


class GpuAssembler(Placer):
    """Writes kernels into a module and lists the steps that run them."""

    def __init__(self, module: Module, target: Target, layout: Layout) -> None:
        super().__init__(layout)
        self.module, self.target = module, target
        self.reports: list[KernelReport] = []
        self.rough: set[int] = set()
        self.dense: dict[Kernel, Dense] = {}
        self.names: dict[str, int] = {}
        self.steps: list[Step] = []

    def scratch_of(self, k: Kernel) -> int:
        if k.kind == "contract" and not idle(k):
            self.dense[k] = Dense(k, self.layout, self.target)
            return gpu_dense.plan(self.dense[k].axes, self.target).scratch_bytes
        if k.kind == "scatter":
            return gpu_scatter.scratch_bytes(k.stores[0].home, self.target)
        if k.kind == "extern" and gpu_order.handles(k.homes[0]):
            return gpu_order.scratch_bytes(k.homes[0])
        if k.kind == "loop":
            rolled = self.rolled[k] = Rolled(self, k)
            self.rough |= set(self._moving(rolled))
            return rolled.bytes
        return 0

    def _moving(self, rolled: Rolled) -> list[int]:
        """Slots that step through rows which are no multiple of 16 bytes."""
        loop = rolled.loop
        rows = [*loop.inputs[loop.carries:loop.carries + loop.sequences],
                *(loop.results[i] for i in rolled.stacked)]
        return [rolled.layout.slots[n] for n in rows if n.nbytes % 16]

    def run(self, kernels: list[Kernel], homes: dict[Node, int],
            copies: list[tuple[int, int, int]], failing: set[Kernel]) -> list[Step]:
        """Places and writes everything; copies (to slot, from slot, bytes) end the program.

        failing: kernels that may find an index out of range. If one did, nothing after it
        overwrites an input.
        """
        scratch = self.place(kernels, homes, self.arena)
        failed = False
        for k in kernels:
            overwrites = any(self.slots[self.layout.slots[h]][0] == "input" for h in k.homes)
            self.kernel(k, scratch.get(k), failed and overwrites)
            failed = failed or k in failing
        for i, (to, source, nbytes) in enumerate(copies):
            if failed:
                self.launch(copy_kernel(self.scene(True), f"copy_{i}", to, source, nbytes))
            else:
                self.steps.append(Copy(to, source, nbytes))
        return self.steps

    def scene(self, guarded: bool) -> Scene:
        return Scene(self.module, self.target, self.layout, self.slots, self.rough, guarded)

    def kernel(self, k: Kernel, scratch: int | None, guarded: bool) -> None:
        if k.initial is not None and self.apart(k):
            slots = self.layout.slots
            self.steps.append(Copy(slots[k.homes[0]], slots[k.initial], k.initial.nbytes))
        if k.kind == "extern" and not gpu_order.handles(k.homes[0]):
            self.extern(k)
        elif k.kind == "loop":
            self.steps.append(self.repeat(self.rolled[k], scratch))
        elif not idle(k):
            symbol = self.symbol(k)
            scene = self.scene(guarded)
            if k.kind == "contract":
                called = gpu_dense.product(k, self.dense[k], self.target, scratch)
                if called is not None:
                    self.steps.append(called)
                grids = gpu_dense.generate(scene, k, symbol, self.dense[k], scratch)
            elif k.kind == "scatter":
                nbytes = gpu_scatter.fill_bytes(k.stores[0].home, self.target)
                if nbytes:
                    assert scratch is not None
                    self.steps.append(Fill(scratch, nbytes, 255))
                grids = gpu_scatter.generate(scene, k, symbol, scratch)
            elif k.kind == "extern":
                grids = gpu_order.generate(scene, k.homes[0], symbol, scratch)
            else:
                grids = [gpu_nest.generate(scene, k, symbol)]
            for grid in grids:
                self.launch(grid)
            self.report(k, symbol, max(g.blocks for g in grids))

    def launch(self, grid: Grid) -> None:
        self.steps.append(Launch(grid.symbol, (grid.blocks, 1, 1), (grid.threads, 1, 1),
                                 grid.arguments))

    def extern(self, k: Kernel) -> None:
        n = k.homes[0]
        slots = self.layout.slots
        name, options = n.arg
        operands = [(slots[s], s.dtype.name, s.shape) for s in n.src]
        self.steps.append(Host(Extern(name, options, operands, (slots[n], n.dtype.name, n.shape))))
        self.report(k, name, 0)

    def symbol(self, k: Kernel) -> str:
        base = k.homes[0].arg[0] if k.kind == "extern" else kernel_name(k)
        count = self.names[base] = self.names.get(base, 0) + 1
        return base if count == 1 else f"{base}_{count}"

    def report(self, k: Kernel, symbol: str, blocks: int) -> None:
        made = describe(k, symbol, blocks, None, set(self.layout.slots))
        if k in self.dense:
            p = gpu_dense.plan(self.dense[k].axes, self.target)
            made.flops += p.contraction.flops
            made.detail = f"{p.description}; fused: {made.detail}"
        self.reports.append(made)

    # -- rolled loops ----------------------------------------------------------------------------
    def repeat(self, rolled: Rolled, scratch: int | None) -> Repeat:
        """The loop's steps; its carries start as copies of their sources."""
        loop, outer = rolled.loop, self.layout.slots
        base = rolled.settle(scratch)
        sides = [(self.slot("arena", a + base), self.slot("arena", c + base))
                 for a, c in rolled.pairs]
        for (first, _), src, c in zip(sides, rolled.node.src, loop.carried):
            if c.nbytes:
                self.steps.append(Copy(first, outer[src], c.nbytes))
        first, end = loop.carries, loop.carries + loop.sequences
        inner = rolled.layout.slots
        rows = [(inner[x], outer[src], x.nbytes)
                for x, src in zip(loop.inputs[first:end], rolled.node.src[first:end])]
        rows += [(inner[loop.results[i]], outer[rolled.wanted[i]], loop.results[i].nbytes)
                 for i in rolled.stacked]
        carries = [(inner[x], inner[c], *side)
                   for x, c, side in zip(loop.inputs, loop.carried, sides)]
        results = [(outer[rolled.wanted[i]], i, c.nbytes) for i, c in enumerate(loop.carried)
                   if i in rolled.wanted and c.nbytes]
        condition = rolled.flag if loop.condition is not None else -1
        return Repeat(self.inside(rolled, rolled.kernels), loop.count, loop.reverse, carries, rows,
                      results, self.inside(rolled, rolled.conditions), condition)

    def inside(self, rolled: Rolled, kernels: list[Kernel]) -> list[Step]:
        """The steps of kernels of the loop's body."""
        outer = self.layout, self.steps
        self.layout, self.steps = rolled.layout, []
        for k in kernels:
            self.kernel(k, rolled.scratch.get(k), False)
        made = self.steps
        self.layout, self.steps = outer
        return made


def copy_kernel(scene: Scene, symbol: str, to: int, source: int, nbytes: int) -> Grid:
    """Copies bytes, unless the error word is set."""
    made = GpuFunction(scene, symbol, BLOCK)
    blocks = min(-(-nbytes // BLOCK), scene.target.processors * 8)
    b = made.entry
    a, c = made.pointer(to), made.pointer(source)
    at = b.add(b.mul(made.block(blocks), const(I32, BLOCK)), made.thread())
    wide = b.convert("zext", at, "i64")
    loop = Loop(b, wide, const(wide.type, nbytes), blocks * BLOCK, [], False)
    v = loop.body.load(I8, loop.body.gep(c, I8, loop.var), 1)
    loop.body.store(v, loop.body.gep(a, I8, loop.var), 1)
    loop.finish([])
    return made.finish(blocks)


# How each op runs on a GPU. "expression": an expression in a kernel (scalar.py has its row);
# "host": declared as a step of the program, never silent (orders: gpu_order.py).
HOW: dict[str, str] = {
    **dict.fromkeys(ELEMENTWISE - PLANES, "expression"),
    **dict.fromkeys(PLANES, "taken apart by the pass split_complex"),
    "buffer": "a pointer", "param": "a pointer", "scalar": "a load from the block of scalars",
    "const": "an immediate", "iota": "the index itself", "mark": "its operand",
    "reshape": "index arithmetic", "permute": "index arithmetic", "expand": "index arithmetic",
    "slice": "index arithmetic", "pad": "index arithmetic and a test",
    "concat": "a store into a region for each part", "put": "a store into a region",
    "gather": "loads with checked indices", "scatter": "gpu_scatter: in order, without atomic sums",
    **dict.fromkeys(REDUCTIONS, "gpu_nest: a thread, team or block a row"),
    **dict.fromkeys(SCANS, "gpu_nest: a thread or block a row"),
    **dict.fromkeys(CONTRACTIONS, "gpu_dense: tiles in shared memory"),
    "sparse_conv": "never made there: its convolution stays dense",
    "extern": "host", "loop": "steps repeated by the host", "output": "steps repeated by the host",
}
