"""The same loop nests for NVIDIA GPUs: every thread takes positions of the outer space in turn.

A kernel is `void @name(ptr slots, i64 positions)`, a grid-stride loop around the nest's body. One
thread walks a reduced axis by itself; sharing rows among threads is for the CUDA device to add.
"""

from __future__ import annotations

from flambeau.compiler import fuse
from flambeau.compiler.codegen import nest
from flambeau.compiler.codegen.emit import I32, I64, PTR, Block, Function, Module, Value
from flambeau.compiler.codegen.lower import Layout
from flambeau.compiler.codegen.program import kernel_name
from flambeau.compiler.kernel import Kernel
from flambeau.compiler.node import Node
from flambeau.compiler.target import Target

NESTS = ("map", "rows", "scan")


def module_for(roots: list[Node], params: list[Node], target: Target
               ) -> tuple[Module, list[tuple[str, int]]]:
    """A module with one GPU kernel a nest: (module, [(symbol, positions)]).

    roots have been through the graph passes. Contractions, scatters, loops and host routines are
    not nests and are left to the CUDA device: TypeError when there is one.
    """
    kernels = fuse.fuse([r for r in roots if r.size])
    slots: dict[Node, int] = {}
    for n in [*params, *(h for k in kernels for h in k.homes)]:
        slots.setdefault(n, len(slots) + 1)
    layout = Layout(slots, _scalars(kernels), _failing(kernels))
    module = Module("gpu", target.triple, target.data_layout)
    made = []
    for i, k in enumerate(kernels):
        if k.kind not in NESTS:
            raise TypeError(f"gpu: expected loop nests, got a {k.kind} kernel")
        made.append(generate(module, target, layout, k, f"{kernel_name(k)}_{i}"))
    return module, made


def _scalars(kernels: list[Kernel]) -> dict[Node, int]:
    found = {n: 0 for k in kernels for n in k.inlined if n.op == "scalar"}
    return {n: 8 + 8 * i for i, n in enumerate(found)}


def _failing(kernels: list[Kernel]) -> dict[Node, int]:
    found = {n: 0 for k in kernels for n in k.inlined if n.op == "gather"}
    return {n: i + 1 for i, n in enumerate(found)}


def generate(module: Module, target: Target, layout: Layout, k: Kernel, symbol: str
             ) -> tuple[str, int]:
    """Writes the body and the kernel around it; returns its symbol and its positions."""
    body, positions = nest.generate(module, target, layout, k, f"{symbol}_body")
    fn = Function(module, symbol, None, [("slots", PTR, ""), ("positions", I64, "")],
                  nest.attributes(module, target), "ptx_kernel")
    b = fn.entry
    thread, block, threads, blocks = (
        b.convert("zext", _register(module, b, name), "i64")
        for name in ("tid.x", "ctaid.x", "ntid.x", "nctaid.x"))
    first = b.add(b.mul(block, threads), thread)
    loop = nest.Loop(b, first, fn[1], b.mul(blocks, threads), [], False)
    loop.body.call(body, None, fn[0], loop.var)
    loop.finish([])
    fn.ret(b)
    fn.finish()
    return symbol, positions


def _register(module: Module, b: Block, name: str) -> Value:
    symbol = f"llvm.nvvm.read.ptx.sreg.{name}"
    module.declare(symbol, f"declare i32 @{symbol}()")
    return b.call(symbol, I32)
