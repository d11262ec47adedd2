"""dot and conv nodes as contractions: axes and strides from the operands' views, and the epilogue.

The contraction generator knows only strided operands and a callback that stores a tile; this file
translates between it and the graph.
"""

from __future__ import annotations

import math
from collections.abc import Container
from functools import cached_property

from flambeau.compiler.codegen import access, contract, scalar
from flambeau.compiler.codegen import index as ix
from flambeau.compiler.codegen.contraction import TURNED
from flambeau.compiler.codegen.emit import I64, Block, Module, Value, const
from flambeau.compiler.codegen.lower import Layout, Lowering, Val
from flambeau.compiler.codegen.nest_plan import home_index
from flambeau.compiler.dtype import DType
from flambeau.compiler.kernel import Kernel
from flambeau.compiler.node import Node
from flambeau.compiler.size import unknown
from flambeau.compiler.target import Target


class Strided:
    """An operand in memory: its slot's node, element offset and a stride for each of its axes."""

    def __init__(self, n: Node, stored: set[Node]) -> None:
        base, flat, variables = _memory_view(n, stored)
        self.node, self.offset = base, flat.const
        self.strides = [flat.coefficient(v) for v in variables]


def _memory_view(n: Node, stored: set[Node]) -> tuple[Node, ix.Index, tuple[ix.Var, ...]]:
    variables = tuple(ix.Var(i, e) for i, e in enumerate(n.shape))
    indices = tuple(map(ix.of, variables))
    while n not in stored and n.op in ("reshape", "permute", "expand", "slice", "mark"):
        if n.op != "mark":
            indices = ix.movement(n.op, indices, n.shape, n.src[0].shape, n.arg)
        n = n.src[0]
    return n, ix.flatten(indices, n.shape), variables


SHORT = 32  # elements of a line below which a tile has the same line of several images


class Dense:
    """One contraction kernel: the plan, and how to write it."""

    def __init__(self, k: Kernel, layout: Layout, target: Target,
                 held: Container[Node] = ()) -> None:
        """held: values that stay the same over many runs."""
        self.k, self.layout, self.target = k, layout, target
        self.node = k.anchors[0]
        stored = set(layout.slots)
        left, right = self.node.src
        if self.node.op == "conv":
            left, right = right, left  # weights are the row operand, the image the column operand
        self.a, self.b = Strided(left, stored), Strided(right, stored)
        self.held = tuple(i for i, s in enumerate((self.a, self.b)) if s.node in held)
        self.axes = self._dot() if self.node.op == "dot" else self._conv()

    @cached_property
    def plan(self) -> contract.Plan:
        """How a CPU runs it."""
        return contract.plan(self.axes, self.target)

    def _dot(self) -> contract.Contraction:
        (sab, sam, sak), (sbb, sbk, sbn) = self.a.strides, self.b.strides
        b, m, k = self.node.src[0].shape
        n = self.node.src[1].shape[2]
        axis = contract.Axis
        return self._contraction((axis(b, sab, sbb),), (axis(m, sam, None),),
                                 (axis(n, None, sbn),), (axis(k, sak, sbk),))

    def _conv(self) -> contract.Contraction:
        geometry = self.node.arg
        x, w = self.node.src
        groups, axis = geometry.groups, contract.Axis
        sw, sx = self.a.strides, self.b.strides
        out = self.node.shape
        per = w.shape[0] // groups
        batch = (axis(groups, sw[0] * per, sx[1] * w.shape[1]),)
        m = (axis(per, sw[0], None),)
        n = [axis(x.shape[0], None, sx[0])]
        k = [axis(w.shape[1], sw[1], sx[1])]
        frame = self._frame()
        short = SHORT if per < SHORT // 2 else SHORT // 4  # few maps: vectors lie along the lines
        self.image = len(out) - 3 if frame and x.shape[0] > 1 and out[-1] <= short else 0
        for i, (stride, dilation) in enumerate(zip(geometry.stride, geometry.dilation), 2):
            border = contract.Border(i - 2 + (i - 2 >= self.image), stride, dilation,
                                     *frame[i - 2]) if frame else None
            n.append(axis(out[i], None, sx[i] * stride))
            k.append(axis(w.shape[i], sw[i], sx[i] * dilation, border))
        n.insert(self.image, n.pop(0))
        return self._contraction(batch, m, tuple(n), tuple(k))

    def _frame(self) -> list[tuple[int, int]]:
        """(zeros before, size) along each axis of an image that is padded with zeros; else []."""
        x, n = self.node.src[0], self.b.node
        if n.op != "pad" or n.shape != x.shape or self.b.offset or self.target.kind != "cpu" or any(
                unknown(e) for e in (*x.shape, *n.src[0].shape)):
            return []
        spec, fill = n.arg
        plain = self.b.strides == [math.prod(x.shape[i + 1:]) for i in range(len(x.shape))]
        if fill or not plain or any(between != 1 for _, between in spec):
            return []
        return [(before, size) for (before, _), size in zip(spec[2:], n.src[0].shape[2:])]

    def _contraction(self, batch: tuple[contract.Axis, ...], m: tuple[contract.Axis, ...],
                     n: tuple[contract.Axis, ...], k: tuple[contract.Axis, ...]
                     ) -> contract.Contraction:
        acc = self.acc = _accumulator(self.node.dtype)
        a, b = (scalar.memory(s.node.dtype).scalar for s in (self.a, self.b))
        turned = any(s.node.op == "mark" and s.node.arg == TURNED for s in (self.a, self.b))
        return contract.Contraction(batch, m, n, k, acc, a, b, held=self.held, along=turned)

    def generate(self, module: Module, symbol: str, scratch: int | None
                 ) -> list[contract.Stage]:
        """Writes the stages; `scratch` is the slot of the plan's scratch memory."""
        low: list[Lowering] = []

        def operands(entry: Block, slots: Value
                     ) -> tuple[contract.Operand, contract.Operand, Value | None]:
            made = Lowering(self.target, self.layout, entry, slots)
            made.inline = self.k.computed
            low.append(made)
            place = made.pointer(scratch) if scratch is not None else None
            return self.operand(made, self.a), self.operand(made, self.b), place

        def store(block: Block, batch: list[Value], m: list[Value], n: list[Value], acc: Value,
                  mask: Value | None) -> None:
            self.store(low[-1], block, batch, m, n, acc, mask)

        return contract.generate(self.plan, module, symbol, operands, store)

    def operand(self, low: Lowering, s: Strided) -> contract.Operand:
        base = low.pointer(self.layout.slots[s.node])
        kind = scalar.memory(s.node.dtype)
        if s.offset:
            base = low.at(-1).gep(base, kind, const(I64, s.offset))
        if s.node.dtype.name in ("bool", "bfloat16"):
            return _Converting(base, s.node.dtype, self.acc)
        return contract.Memory(base, kind.scalar, self.acc, s.node.dtype.kind != "u")

    def _result(self, block: Block, acc: Value) -> Value:
        """The accumulator as a register value of the node's dtype."""
        dtype = self.node.dtype
        if dtype.is_float:
            return scalar.round_to(block, dtype, acc)
        if dtype.name == "bool":
            return block.cmp("ne", acc, const(acc.type, 0))
        want = scalar.register(dtype)
        return acc if acc.type.bits == want.bits else block.convert("trunc", acc, want.scalar)

    def store(self, low: Lowering, block: Block, batch: list[Value], m: list[Value],
               n: list[Value], acc: Value, mask: Value | None) -> None:
        """The epilogue: every stored value at this tile, then the writes."""
        out = self.node.shape
        if self.node.op == "dot":
            values = [batch[0], m[0], n[0]]
        else:
            per = const(m[0].type, out[1] // self.node.arg.groups)
            channel = block.op("add nsw", block.op("mul nsw", batch[0], per), m[0])
            at = [*n]
            values = [at.pop(self.image), channel, *at]
        store_tile(low, block, self.k, values, self._result(block, acc), mask)


def store_tile(low: Lowering, block: Block, k: Kernel, values: list[Value], result: Value,
               mask: Value | None) -> None:
    """Stores what kernel k makes of lanes of its contraction, which begin at index `values`."""
    low.memo = {key: v for key, v in low.memo.items() if v.level < 0}
    node, lanes = k.anchors[0], result.type.lanes
    out = node.shape
    low.open(0, block)
    variables = [ix.Var(0, e) for e in out]
    low.vars = dict(zip(variables, values))
    low.vec, low.lanes = (variables[-1], lanes) if lanes > 1 else (None, 1)
    low.mask = Val(mask, 0) if mask is not None else None
    low.known = {node: Val(result, 0)}
    space = tuple(map(ix.of, variables))
    if k.turn is not None:
        turned = list(space)
        for i, axis in zip(space, k.turn):
            turned[axis] = i
        space, out = tuple(turned), k.space
    ready = []
    for s in k.stores:
        indices = ix.reshape(space, out, s.value.shape)
        ready.append((s, indices, low.value(s.value, indices)))
    for s, indices, v in ready:
        low.store(low.layout.slots[s.home], s.home.dtype, home_index(s, indices), v)


def _accumulator(dtype: DType) -> str:
    """Products are summed in float32 or float64, in 32 or 64 bits for integers."""
    if dtype.is_float:
        return scalar.register(dtype).scalar
    return "i64" if dtype.itemsize == 8 else "i32"


class _Converting:
    """A loader for storage types the generator does not read itself."""

    def __init__(self, base: Value, dtype: DType, acc: str) -> None:
        self.base, self.dtype, self.acc = base, dtype, acc

    def load(self, block: Block, offset: Value, lanes: int, mask: Value | None) -> Value:
        kind = scalar.memory(self.dtype, lanes)
        address = block.gep(self.base, kind.with_lanes(1), offset)
        size = max(1, kind.bits // 8)
        raw = (block.load(kind, address, size) if mask is None
               else access.masked_load(block, kind, address, mask, size))
        v = scalar.from_memory(block, self.dtype, raw)
        return block.convert("zext", v, self.acc) if v.type.scalar == "i1" != self.acc else v
