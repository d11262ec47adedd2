"""Scatter kernels: value elements combined into indexed places of the home, in C order, serially.

The order is part of the meaning (the last writer wins, sums have one order), so one thread walks
the indices; along the trailing axes, where places are distinct, lanes work side by side.
"""

from __future__ import annotations

from flambeau.compiler.codegen import index as ix
from flambeau.compiler.codegen import scalar
from flambeau.compiler.codegen.emit import (
    I64,
    PTR,
    Block,
    Function,
    Module,
    Value,
    attributes,
    const,
)
from flambeau.compiler.codegen.loops import Loop
from flambeau.compiler.codegen.lower import Layout, Lowering, Val
from flambeau.compiler.kernel import Kernel
from flambeau.compiler.node import Node
from flambeau.compiler.target import Target

_JOIN = {"add": "add", "mul": "mul", "max": "maximum", "min": "minimum"}


def generate(module: Module, target: Target, layout: Layout, k: Kernel, symbol: str
             ) -> tuple[str, int]:
    """Writes `void @symbol(ptr slots, i64 chunk)` with one chunk."""
    n = k.stores[0].home
    value = n.src[1]
    fn = Function(module, symbol, None, [("slots", PTR, "noalias"), ("chunk", I64, "")],
                  attributes(module, target), "internal")
    low = Lowering(target, layout, fn.entry, fn[0])
    variables = [ix.Var(i, e) for i, e in enumerate(value.shape)]
    loops = []
    block = fn.entry
    for v in variables:
        loop = Loop(block, const(I64, 0), const(I64, v.extent), 1, [], True)
        loops.append(loop)
        low.vars[v] = loop.var
        low.open(v.level, loop.body)
        block = loop.body
    element(low, n, tuple(map(ix.of, variables)))
    for loop in reversed(loops):
        loop.finish([])
    fn.ret(fn.entry)
    fn.finish()
    return symbol, 1


def element(low: Lowering, n: Node, indices: tuple[ix.Index, ...]) -> None:
    """Combines the value's element `indices` into its place."""
    flat = place(low, n, indices)
    v = low.value(n.src[1], indices)
    if n.arg != "set":
        b = low.heads[-1]
        kind = scalar.memory(n.dtype)
        address = b.gep(low.pointer(low.layout.slots[n]), kind, low.index(flat).v)
        old = scalar.from_memory(b, n.dtype, b.load(kind, address, n.dtype.itemsize))
        v = Val(join(b, n, old, v.v), len(low.heads) - 2)
    low.store(low.layout.slots[n], n.dtype, flat, v)


def place(low: Lowering, n: Node, indices: tuple[ix.Index, ...]) -> ix.Index:
    """Where in the home the value's element `indices` goes; checks the indices that are read."""
    rank = len(n.src[2].shape)
    return ix.flatten((*leading(low, n, indices), *indices[rank:]), n.shape)


def leading(low: Lowering, n: Node, indices: tuple[ix.Index, ...]) -> tuple[ix.Index, ...]:
    """The indices that are read, checked, along the axes that they index."""
    where = n.src[2:]
    rank = len(where[0].shape)
    found = []
    for axis, w in enumerate(where):
        at = low.checked(n, low.value(w, indices[:rank]), n.shape[axis], None)
        found.append(low.dynamic(at, n.shape[axis]))
    return tuple(found)


def join(b: Block, n: Node, old: Value, v: Value) -> Value:
    """What a place holds after one more value."""
    return scalar.EMIT[_JOIN[n.arg]](b, n, old, v)
