"""Loop nests: one function per "map", "rows" or "scan" kernel, on any number of chunks.

The outer loops walk the kept axes and are what threads share; inside, a "rows" kernel has phases:
each phase is one walk along the reduced axes that feeds the reductions whose operands are known
and stores what is ready. One variable is the vector variable: the innermost of a map, else the
reduced or kept axis along which most memory accesses are contiguous. Its last partial step runs
the same body under a mask.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from flambeau.compiler import dtype as dt
from flambeau.compiler.codegen import access, scalar, vectors
from flambeau.compiler.codegen import index as ix
from flambeau.compiler.codegen.accumulate import Accumulator
from flambeau.compiler.codegen.emit import (
    I64,
    PTR,
    Block,
    Function,
    Module,
    Type,
    Value,
    const,
    make_type,
)
from flambeau.compiler.codegen.lower import Indices, Layout, Lowering, Val
from flambeau.compiler.config import say, wanted
from flambeau.compiler.kernel import Kernel, Store
from flambeau.compiler.node import Node, Shape
from flambeau.compiler.ops import ELEMENTWISE, OPS
from flambeau.compiler.size import hint, unknown
from flambeau.compiler.target import Target

LEFT = 8  # machine operations above which a value is left in memory for a later phase
LIGHT = 8.0  # cost of an element's work below which sums wait for their own last addition
CHUNK_NS = 25_000.0  # work that makes a chunk worth a thread's attention
SERIAL_NS = 40_000.0  # below this a kernel runs in its caller
MAX_CHUNKS = 1024
_UNCOUNTED = frozenset(("iota", "const", "scalar", "reshape", "permute", "expand", "slice"))
UNROLL = 25  # inner walks of no more steps are written out


@dataclass
class Nest:
    """The plan of one kernel's loops."""

    outer: list[ix.Var]
    inner: list[ix.Var]  # reduced or scanned axes, walked once per phase
    space: Indices  # the kernel's own space as indices over these variables
    kept: Indices  # the same with the reduced axes at 0
    shape: Shape
    vec: ix.Var | None = None
    lanes: int = 1
    paired: bool = False  # two rows are walked together, for they read the same
    phases: list[Phase] = field(default_factory=list)
    unit_ns: float = 1.0


@dataclass
class Phase:
    reductions: list[Node] = field(default_factory=list)
    stores: list[Store] = field(default_factory=list)  # of full-space values
    left: list[Store] = field(default_factory=list)  # of values that later phases read there
    after: list[Store] = field(default_factory=list)  # of values over the kept axes


def attributes(module: Module, target: Target) -> str:
    """The attribute group every generated CPU function carries."""
    text = "nounwind"
    if target.vector_bytes == 64:
        text += ' "prefer-vector-width"="512" "min-legal-vector-width"="512"'
    return module.attribute_group(text)


def generate(module: Module, target: Target, layout: Layout, k: Kernel, symbol: str
             ) -> tuple[str, int]:
    """Writes `void @symbol(ptr slots, i64 chunk)`; returns it and its number of chunks."""
    nest = plan(k, layout, target)
    if wanted(4):
        say(f"nest_{symbol}", describe(nest, k), 4)
    fn = Function(module, symbol, None, [("slots", PTR, "noalias"), ("chunk", I64, "")],
                  attributes(module, target), "internal")
    low = Lowering(target, layout, fn.entry, fn[0])
    low.inline = k.computed
    low.vec, low.lanes = nest.vec, nest.lanes
    chunks = Writer(low, nest, k, fn).write()
    fn.finish()
    return symbol, chunks


def turn_flag(module: Module, symbol: str) -> Value:
    """Where it is kept from which end a turning kernel walks next."""
    name = f"{symbol}_turn"
    module.declare(name, f"@{name} = internal global i64 0")
    return Value(PTR, f"@{name}")


def describe(nest: Nest, k: Kernel) -> str:
    """The loops of a nest in words, outermost first."""
    def spell(v: ix.Var) -> str:
        return f"{v.extent}" + (f" by {nest.lanes} lanes" if v is nest.vec else "")

    lines = [f"for {spell(v)}" for v in nest.outer]
    for phase in nest.phases:
        lines += [f"  for {spell(v)} (reduced)" for v in nest.inner]
        lines += [f"    {a.op} of {a.src[0].op}" for a in phase.reductions]
        lines += [f"    store {s.value.op} {list(s.value.shape)}" for s in phase.stores]
        lines += [f"  store {s.value.op} {list(s.value.shape)}" for s in phase.after]
    return "\n".join(lines)


# -- planning --------------------------------------------------------------------------------------


def plan(k: Kernel, layout: Layout, target: Target) -> Nest:
    """Chooses loops, coalesces them, picks the vector variable and its lanes."""
    shape = k.space if k.axes else _refined(k)
    groups = [i in k.axes for i in range(len(shape))]
    first = [ix.Var(i, e) for i, e in enumerate(shape)]
    touched = list(accesses(k, layout, tuple(map(ix.of, first)), shape, k.axes))
    joined = _coalesce(first, groups, touched)
    return _arrange(k, layout, target, shape, joined)


def _refined(k: Kernel) -> Shape:
    """The common refinement of the shapes under a map kernel, so that reshapes split nothing."""
    size = math.prod(k.space)
    cuts = {1, size}
    for n in k.inlined | {s.value for s in k.stores}:
        if n.size == size:
            step = 1
            for e in reversed(n.shape):
                step *= e
                cuts.add(step)
    ordered = sorted(cuts, key=hint)
    own = set()
    step = 1
    for e in reversed(k.space):
        step *= e
        own.add(step)
    kept = [1]
    for c in ordered[1:]:
        if _divides(kept[-1], c) and all(_divides(c, o) for o in own if hint(o) > hint(c)):
            kept.append(c)
    if any(o not in kept for o in own):
        return k.space
    return tuple(b // a for a, b in reversed(list(itertools.pairwise(kept)))) or k.space


def _divides(a: int, b: int) -> bool:
    """Is b known to be a multiple of a?"""
    rest = b % a
    return type(rest) is int and rest == 0


@dataclass
class _Access:
    flat: ix.Index
    weight: float  # 0: not memory, only restricts coalescing
    rows: int = 1  # elements of a row for which this access happens once, and so counts little


def accesses(k: Kernel, layout: Layout, variables: Indices, shape: Shape,
              axes: tuple[int, ...]) -> list[_Access]:
    """Every memory position and bare index the kernel's body computes."""
    found: list[_Access] = []
    kept = tuple(ix.ZERO if i in axes else v for i, v in enumerate(variables))
    inline = k.computed
    stack: list[tuple[Node, Indices]] = []
    for s in k.stores:
        indices = value_indices(s.value, shape, variables, kept, axes)
        rows = 1 if s.value.size == math.prod(shape) else math.prod(shape[i] for i in axes)
        found.append(_Access(home_index(s, indices), 2, max(rows, 1)))
        stack.append((s.value, indices))
    seen: set[tuple[Node, Indices]] = set()
    while stack:
        item = stack.pop()
        if item in seen:
            continue
        seen.add(item)
        n, indices = item
        if n.op == "param" or (n in layout.slots and n not in inline):
            found.append(_Access(ix.flatten(indices, n.shape), 1))
        elif n in k.anchors:
            stack.append((n.src[0], variables))
        elif n.op in ELEMENTWISE or n.op == "mark":
            stack.extend((s, indices) for s in n.src)
        elif n.op in ("reshape", "permute", "expand", "slice"):
            stack.append((n.src[0],
                          ix.movement(n.op, indices, n.shape, n.src[0].shape, n.arg)))
        elif n.op == "iota":
            found.append(_Access(indices[n.arg], 0))
        elif n.op == "pad":
            inner = []
            for i, (before, between), extent in zip(indices, n.arg[0], n.src[0].shape):
                q, r = ix.divmod_(i + -before, between)
                low, high = q.bounds()
                if r.terms or low < 0 or high >= extent:
                    found.append(_Access(i, 0))
                inner.append(q)
            stack.append((n.src[0], tuple(inner)))
        elif n.op == "gather":
            rank = len(n.src[1].shape)
            stack.extend((w, indices[:rank]) for w in n.src[1:])
            rest = n.src[0].shape[len(n.src) - 1:]
            found.append(_Access(ix.flatten(indices[rank:], rest), 1))
    return found


def value_indices(n: Node, shape: Shape, variables: Indices, kept: Indices,
                  axes: tuple[int, ...]) -> Indices:
    """The multi-index of a stored value at the nest's position."""
    if n.size == math.prod(shape):
        return ix.reshape(variables, shape, n.shape)
    narrow = tuple(1 if i in axes else e for i, e in enumerate(shape))
    return ix.reshape(kept, narrow, n.shape)


def home_index(s: Store, indices: Indices) -> ix.Index:
    """Where in its home a store writes."""
    if s.region is None:
        return ix.flatten(indices, s.value.shape)
    moved = tuple(i * step + start for i, (start, step) in zip(indices, s.region))
    return ix.flatten(moved, s.home.shape)


def _coalesce(variables: list[ix.Var], reduced: list[bool], accesses: list[_Access]
              ) -> list[list[int]]:
    """Groups of neighbouring axes that every access walks as if they were one."""
    opaque: set[ix.Atom] = set()
    for a in accesses:
        for atom, _ in a.flat.terms:
            if not isinstance(atom, ix.Var):
                opaque.update(v for v in variables if ix.inside(atom, v))
    groups: list[list[int]] = []
    for i, v in enumerate(variables):
        if v.extent == 1:
            continue
        if groups:
            last = variables[groups[-1][-1]]
            if (reduced[groups[-1][-1]] == reduced[i] and v not in opaque and last not in opaque
                    and all(a.flat.coefficient(last) == a.flat.coefficient(v) * v.extent
                            for a in accesses)):
                groups[-1].append(i)
                continue
        groups.append([i])
    return groups


def _arrange(k: Kernel, layout: Layout, target: Target, shape: Shape,
             groups: list[list[int]]) -> Nest:
    """Orders the joined axes into outer and inner loops with the vector variable last."""
    reduced = [g for g in groups if g[0] in k.axes]
    kept = [g for g in groups if g[0] not in k.axes]
    extents = {id(g): math.prod(shape[i] for i in g) for g in groups}
    draft = {id(g): ix.Var(0, extents[id(g)]) for g in groups}
    probe = _indices(shape, groups, draft)
    touched = [a for a in accesses(k, layout, probe, shape, k.axes) if a.weight]
    choices = kept if k.kind == "scan" else kept + reduced

    def weight(a: _Access, length: int) -> float:
        """What stays the same along a row is read once."""
        once = a.weight == 1 and reduced and not any(
            ix.depends(a.flat, draft[id(g)]) for g in reduced)
        return a.weight / length if once else a.weight

    def choose(value: Callable[[int], int]) -> list[int] | None:
        """The axis for the vectors when the sizes have these values."""
        length = math.prod(value(extents[id(g)]) for g in reduced)
        score, most = {}, {}
        for g in choices:
            ease = [vectors.ease(a.flat, draft[id(g)], value) for a in touched]
            total = sum(weight(a, length) / value(a.rows) * e for a, e in zip(touched, ease))
            share = vectors.joining(length, target) if g in reduced else 1.0
            score[id(g)] = total * share * vectors.filling(value(extents[id(g)]), target)
            most[id(g)] = max(ease, default=0)
        best = max(choices, key=lambda g: (score[id(g)], g in reduced), default=None)
        few = best is not None and (value(extents[id(best)]) < 2 or (
            score[id(best)] < 0.3 and most[id(best)] < vectors.LEAST))
        return None if few else best

    sizes: list[Any] = [e for e in (*extents.values(), *(a.rows for a in touched)) if unknown(e)]
    best = choose(vectors.same) if not sizes else vectors.settled(choose, sizes[0], bool(reduced))
    if best is not None and best in kept:
        kept = [g for g in kept if g is not best] + [best]
    elif best is not None:
        reduced = [g for g in reduced if g is not best] + [best]
    ordered = kept + reduced
    final = {id(g): ix.Var(i, extents[id(g)]) for i, g in enumerate(ordered)}
    space = _indices(shape, groups, final)
    narrow = tuple(ix.ZERO if i in k.axes else v for i, v in enumerate(space))
    nest = Nest([final[id(g)] for g in kept], [final[id(g)] for g in reduced], space, narrow, shape)
    nest.vec = final[id(best)] if best is not None else None
    nest.phases = _phases(k, nest)
    if target.kind == "cpu" and k.kind == "rows":
        _leave(k, layout, nest)
    cost, itemsize = _cost(k, layout)
    if nest.vec is not None:
        nest.lanes = vectors.count(nest.vec.extent, nest.vec in nest.inner, cost, itemsize, target,
                                   bool(k.axes))
    lanes = min(target.lanes(itemsize), nest.lanes) if nest.vec else 1
    per_element = cost * 0.4 / lanes + 0.15 * itemsize / 4 * (1 + len(touched) / 2)
    nest.unit_ns = per_element * (1 if nest.vec else 2)
    nest.paired = target.kind == "cpu" and _shares(k, layout, nest)
    return nest


def _shares(k: Kernel, layout: Layout, nest: Nest) -> bool:
    """Do neighbouring rows read something in common, as in the product of a matrix and a vector?
    Walking two together then loads it once."""
    if not (k.kind == "rows" and nest.outer and len(nest.phases) == 1
            and nest.vec is not None and nest.inner == [nest.vec]):
        return False
    row, vec = nest.outer[-1], nest.vec
    work = _walking(k, layout, nest, nest.phases[0])
    if row.extent < 4 or vec.extent < 4 * nest.lanes or work > LIGHT:
        return False
    walked = [a.flat for a in accesses(k, layout, nest.space, nest.shape, k.axes)
              if a.weight and a.flat.coefficient(vec) == 1]
    return len(walked) <= 6 and not all(ix.depends(flat, row) for flat in walked)


def _indices(shape: Shape, groups: list[list[int]], variables: dict[int, ix.Var]) -> Indices:
    """The space's indices when each group of axes is one variable."""
    out = [ix.ZERO] * len(shape)
    for g in groups:
        whole = ix.of(variables[id(g)])
        for i, part in zip(g, ix.split(whole, tuple(shape[i] for i in g))):
            out[i] = part
    return tuple(out)


def _cost(k: Kernel, layout: Layout) -> tuple[int, int]:
    """(machine operations an element, bytes of the widest type computed with)."""
    total, itemsize, seen = 0, 1, set()
    stack = [s.value for s in k.stores]
    inline = k.computed
    while stack:
        n = stack.pop()
        if n in seen:
            continue
        seen.add(n)
        if n.dtype is not dt.bool_ and n.op not in _UNCOUNTED:
            itemsize = max(itemsize, n.dtype.compute.itemsize)
        if n.op == "param" or (n in layout.slots and n not in inline):
            continue
        total += OPS[n.op].cost
        stack.extend(n.src[:1] if n.op == "gather" else n.src)
    return total, itemsize


def _phases(k: Kernel, nest: Nest) -> list[Phase]:
    """Reductions and stores by the number of reductions they wait for."""
    depth: dict[Node, int] = {}

    def measure(root: Node) -> int:
        stack = [root]
        while stack:
            n = stack[-1]
            if n in depth:
                stack.pop()
                continue
            if n not in walked:
                depth[n] = 0
                stack.pop()
                continue
            waiting = [s for s in n.src if s not in depth]
            if waiting:
                stack.extend(waiting)
                continue
            below = max((depth[s] for s in n.src), default=0)
            depth[n] = below + (1 if n in k.anchors else 0)
            stack.pop()
        return depth[root]

    walked = k.inlined | k.computed
    inner_size = math.prod(v.extent for v in nest.inner)
    phases: dict[int, Phase] = {}
    for a in k.anchors:
        phases.setdefault(measure(a) - 1, Phase()).reductions.append(a)
    full = math.prod(nest.shape)
    for s in k.stores:
        level = measure(s.value)
        wide = s.value.size == full and (inner_size > 1 or not k.axes)
        if k.kind == "scan":
            phases.setdefault(max(0, level - 1), Phase()).stores.append(s)
        elif wide:
            phases.setdefault(level, Phase()).stores.append(s)
        else:
            phases.setdefault(max(0, level - 1), Phase()).after.append(s)
    return [phases[i] for i in sorted(phases)]


def _leave(k: Kernel, layout: Layout, nest: Nest) -> None:
    """What one phase works out and a later one needs again waits where the later phase's result
    will be: the exponentials of a softmax are computed once, in the row that they end in."""
    placed = list(layout.slots.values())
    moved = _moved(k, layout)
    for i, phase in enumerate(nest.phases):
        for s in phase.stores:
            if s.region is not None or s.home is not s.value or placed.count(
                    layout.slots[s.home]) > 1:
                continue  # the home's old value may be read until the end
            later = _inlined(k, layout, [s.value])
            for before in nest.phases[:i]:
                ready = _inlined(k, layout, [n.src[0] for n in before.reductions])
                found = [n for n in later if n in ready and n not in moved
                         and n.shape == s.home.shape and OPS[n.op].cost > LEFT
                         and n.dtype is s.home.dtype is n.dtype.compute]
                if found and not before.left:
                    before.left.append(Store(found[0], s.home))
                    break


def _moved(k: Kernel, layout: Layout) -> set[Node]:
    """What is read at other places than its own, behind views."""
    views = [n for n in k.inlined if n.op not in ELEMENTWISE and n not in k.anchors]
    stack = [s for n in views for s in n.src]
    found: set[Node] = set()
    while stack:
        n = stack.pop()
        if n not in found and n not in k.anchors and not (
                n in layout.slots and n not in k.computed):
            found.add(n)
            stack.extend(n.src)
    return found


def _inlined(k: Kernel, layout: Layout, roots: list[Node]) -> dict[Node, None]:
    """What is computed on the way to roots at the same place, without their reductions."""
    found: dict[Node, None] = {}
    stack = list(roots)
    while stack:
        n = stack.pop()
        if n in found or (n in layout.slots and n not in k.computed):
            continue
        if n.op in ELEMENTWISE:
            found[n] = None
            stack.extend(n.src)
    return found


def _walking(k: Kernel, layout: Layout, nest: Nest, phase: Phase) -> float:
    """Machine operations an element in a phase's walk; what a row computes once is not counted."""
    inner = math.prod(v.extent for v in nest.inner)
    stack = [s.value for s in phase.stores] + [n.src[0] for n in phase.reductions]
    cost, seen = 0.0, set(k.anchors)
    while stack:
        n = stack.pop()
        if n in seen or (n in layout.slots and n not in k.computed):
            continue
        seen.add(n)
        if n.size % inner == 0 and n.op not in _UNCOUNTED:
            cost += OPS[n.op].cost
        stack.extend(n.src)
    return cost


# -- writing ---------------------------------------------------------------------------------------


class Loop:
    """A counted loop begin, begin+step ... < end, entered only if it has work."""

    def __init__(self, b: Block, begin: Value, end: Value, step: int | Value,
                 carried: list[tuple[Type, Value]], sure: bool) -> None:
        self.outside, self.end, self.step = b, end, step
        self.names = [b.names.fresh(p) for p in ("pre", "loop", "latch", "done")]
        pre, head, _, done = self.names
        self.guard = None
        if not sure:
            self.guard = b.names.fresh("guard")
            b.branch(self.guard)
            b.label(self.guard)
            b.branch_if(b.cmp("slt", begin, end), pre, done)
        else:
            b.branch(pre)
        b.label(pre)
        b.branch(head)
        b.label(head)
        self.phis = b.child()
        self.var = Value(begin.type, b.names.fresh("%i"))
        self.carried = [Value(t, b.names.fresh("%acc")) for t, _ in carried]
        self.initial = [v for _, v in carried]
        self.begin = begin
        self.body = b.child()

    def finish(self, following: list[Value]) -> list[Value]:
        """Closes the loop; returns the carried values after it."""
        b, (pre, head, latch, done) = self.outside, self.names
        b.branch(latch)
        b.label(latch)
        step = const(self.begin.type, self.step) if isinstance(self.step, int) else self.step
        after = b.op("add nsw", self.var, step)
        b.branch_if(b.cmp("slt", after, self.end), head, done)
        pairs = [(self.var, self.begin, after), *zip(self.carried, self.initial, following)]
        for v, start, then in pairs:
            self.phis.line(f"{v.text} = phi {v.type} [ {start.text}, %{pre} ], "
                           f"[ {then.text}, %{latch} ]")
        b.label(done)
        if self.guard is None:
            return following
        out = []
        for start, then in zip(self.initial, following):
            name = b.names.fresh()
            b.line(f"{name} = phi {then.type} [ {start.text}, %{self.guard} ], "
                   f"[ {then.text}, %{latch} ]")
            out.append(Value(then.type, name))
        return out


class Row(NamedTuple):
    """Where a walk stands: the kernel's space as indices, and the same with reduced axes at 0."""

    space: Indices
    kept: Indices


class Writer:
    """Writes one nest into its function."""

    def __init__(self, low: Lowering, nest: Nest, k: Kernel, fn: Function) -> None:
        self.low, self.nest, self.k, self.fn = low, nest, k, fn
        self.deepest = len(nest.outer) - 1  # level of the phases
        self.together = [Row(nest.space, nest.kept)]  # those walked together

    def write(self) -> int:
        """Emits the loops; returns the number of chunks."""
        fn, nest = self.fn, self.nest
        shared, chunks, grain = self._share()
        b = fn.entry
        if not nest.outer:
            self.phases(b)
        elif type(chunks) is int and chunks == 1:
            self._outer(b, 0)
        elif len(shared) == 1:
            begin, end = self._range(b, grain, shared[0].extent)
            self._level(b, 0, begin, end, sure=True)
        else:
            self._flat(b, shared, grain)
        fn.ret(b)
        return chunks

    def _share(self) -> tuple[list[ix.Var], int, int]:
        """(outermost variables the threads share, chunks, elements of them a chunk)."""
        nest = self.nest
        total = nest.unit_ns * math.prod(v.extent for v in nest.outer + nest.inner)
        total *= max(1, len(nest.phases))
        open_ = [v for v in nest.outer + nest.inner if unknown(v.extent)]
        if not nest.outer or (total < SERIAL_NS and not open_):
            return [], 1, 0
        wanted = min(MAX_CHUNKS, max(2, int(total / CHUNK_NS)))
        shared: list[ix.Var] = []
        extent = 1
        for v in nest.outer:
            if v is nest.vec and shared:
                break
            shared.append(v)
            extent *= v.extent
            if hint(extent) >= wanted and not any(w in open_ for w in nest.outer[len(shared):]):
                break
        grain = -(-extent // wanted)
        if unknown(extent):  # chunks of equal work, however many
            grain = max(1, int(CHUNK_NS / (total / hint(extent))))
        unit = nest.lanes if shared[-1] is nest.vec else 2 if nest.paired else 1
        grain = -(-grain // unit) * unit
        return shared, -(-extent // grain), grain

    def _range(self, b: Block, grain: int, extent: int) -> tuple[Value, Value]:
        chunk = self.fn[1]
        if self.k.backward or self.k.turning:
            other = b.op("sub nsw", const(I64, -(-extent // grain) - 1), chunk)
            chunk = other if self.k.backward else b.select(self._turn(b), other, chunk)
        begin = b.op("mul nsw", chunk, const(I64, grain))
        end = b.op("add nsw", begin, const(I64, grain))
        end = b.intrinsic("llvm.smin", I64, end, const(I64, extent))
        return begin, end

    def _turn(self, b: Block) -> Value:
        """Is it the turn of the far end? The entry counts the calls (program.py)."""
        flag = turn_flag(self.fn.module, self.fn.symbol)
        return b.cmp("ne", b.load(I64, flag, 8), const(I64, 0))

    def _flat(self, b: Block, shared: list[ix.Var], grain: int) -> None:
        """One loop over the flattened outermost variables."""
        extents = tuple(v.extent for v in shared)
        begin, end = self._range(b, grain, math.prod(extents))
        loop = Loop(b, begin, end, 1, [], True)
        rest = self._turned(loop, begin, end, 1)
        for i, v in enumerate(shared):
            step = const(I64, math.prod(extents[i + 1:]))
            self.low.vars[v] = loop.body.op("udiv", rest, step) if i + 1 < len(shared) else rest
            rest = loop.body.op("urem", rest, step)
        for v in shared:
            self.low.open(v.level, loop.body)
        self._outer(loop.body, len(shared))
        loop.finish([])
        self.low.forget(0)

    def _outer(self, b: Block, level: int) -> None:
        """Loops from `level` inwards over all their values."""
        if level == len(self.nest.outer):
            self.phases(b)
            return
        v = self.nest.outer[level]
        self._level(b, level, const(I64, 0), const(I64, v.extent), sure=True)

    def _level(self, b: Block, level: int, begin: Value, end: Value, sure: bool) -> None:
        v = self.nest.outer[level]
        if v is self.nest.vec:
            self._vector(b, v, begin, end, lambda body: self._outer(body, level + 1))
        elif self.nest.paired and level == self.deepest:
            self._pairs(b, v, begin, end)
        else:
            self._each(b, v, begin, end, sure)

    def _each(self, b: Block, v: ix.Var, begin: Value, end: Value, sure: bool) -> None:
        loop = Loop(b, begin, end, 1, [], sure)
        at = self._turned(loop, begin, end, 1) if v.level == 0 else loop.var
        self.enter(v, at, loop.body)
        self._outer(loop.body, v.level + 1)
        loop.finish([])
        self.low.forget(v.level)

    def _pairs(self, b: Block, v: ix.Var, begin: Value, end: Value) -> None:
        """Two rows at a time, then the odd one. Chunks begin at even rows."""
        second = ix.Var(v.level, v.extent)
        odd = unknown(v.extent) or v.extent % 2 == 1
        stop = b.op("and", end, const(I64, -2)) if odd else end
        loop = Loop(b, begin, stop, 2, [], not odd)
        at = self._turned(loop, begin, stop, 2) if v.level == 0 else loop.var
        self.enter(v, at, loop.body)
        self.low.vars[second] = loop.body.op("add nsw", at, const(I64, 1))
        space, kept = (tuple(ix.substitute(i, v, second) for i in part)
                       for part in self.together[0])
        self.together.append(Row(space, kept))
        self._outer(loop.body, v.level + 1)
        self.together.pop()
        loop.finish([])
        self.low.forget(v.level)
        if odd:
            self._each(b, v, stop, end, False)

    def _turned(self, loop: Loop, begin: Value, end: Value, step: int) -> Value:
        """The outermost variable's value: the counter, or its mirror image when walking back."""
        if not self.k.backward:
            return loop.var
        both = loop.body.op("add nsw", begin, end)
        last = loop.body.op("sub nsw", both, const(I64, step))
        return loop.body.op("sub nsw", last, loop.var)

    def enter(self, v: ix.Var, value: Value, body: Block) -> None:
        self.low.vars[v] = value
        self.low.open(v.level, body)

    def _vector(self, b: Block, v: ix.Var, begin: Value, end: Value,
                body: Callable[[Block], None]) -> None:
        """Whole vectors in a loop, then the masked rest."""
        lanes = self.nest.lanes
        whole = v.extent // lanes * lanes
        free = unknown(v.extent)
        known = begin.text == "0" and end.text == const(I64, v.extent).text
        if free or whole:
            stop = const(I64, whole) if known else b.intrinsic(
                "llvm.smin", I64, end, const(I64, whole))
            loop = Loop(b, begin, stop, lanes, [], known and not free)
            at = self._turned(loop, begin, stop, lanes) if v.level == 0 else loop.var
            self.enter(v, at, loop.body)
            body(loop.body)
            loop.finish([])
            self.low.forget(v.level)
        if free or v.extent % lanes:
            self._rest(b, v, whole, end, known, body)

    def _rest(self, b: Block, v: ix.Var, whole: int, end: Value, known: bool,
              body: Callable[[Block], None]) -> None:
        skip = b.names.fresh("end")
        asks = [] if known else [b.cmp("eq", end, const(I64, v.extent))]
        if unknown(v.extent):
            asks.append(b.cmp("slt", const(I64, whole), const(I64, v.extent)))
        if asks:
            go = b.names.fresh("rest")
            b.branch_if(asks[0] if len(asks) == 1 else b.and_(*asks), go, skip)
            b.label(go)
        self.enter(v, const(I64, whole), b.child())
        self._partial(v, v.extent - whole)
        body(b)
        self._whole()
        self.low.forget(v.level)
        if asks:
            b.branch(skip)
            b.label(skip)

    def _partial(self, v: ix.Var, active: int) -> None:
        """From here on only the first lanes count."""
        if unknown(active):
            b, lanes = self.low.at(-1), self.nest.lanes
            on = b.cmp("ult", b.iota("i64", lanes), const(make_type("i64", lanes), active))
            self.low.mask = Val(on, v.level)
            return
        self.low.active = active
        self.low.mask = Val(access.lane_mask(self.nest.lanes, range(active)), v.level)

    def _whole(self) -> None:
        self.low.mask, self.low.active = None, 0

    # -- phases ----------------------------------------------------------------------------------
    def phases(self, b: Block) -> None:
        for phase in self.nest.phases:
            self.low.open(self.deepest, b)
            if self.k.kind == "scan":
                self.scan(b, phase)
                continue
            known: list[dict[Node, Val]] = [{} for _ in self.together]
            if self.k.axes and (phase.reductions or phase.stores):
                known = self.reduce(b, phase)
            else:
                self.stores(b, phase.stores, self.together[0])
            if phase.after:
                self.low.open(self.deepest, b)
            for row, results in zip(self.together, known):
                self.low.known.update(results)
                self.after(b, phase.after, row)
            self.low.written |= {s.value: s.home for s in phase.left}
        self.low.known.clear()
        self.low.written.clear()

    def after(self, b: Block, stores: list[Store], row: Row) -> None:
        """Stores of values over the kept axes."""
        self.stores(b, stores, row)

    def stores(self, b: Block, stores: list[Store], row: Row) -> None:
        """Computes the values of this position, then writes them all."""
        nest = self.nest
        ready = []
        for s in stores:
            indices = value_indices(s.value, nest.shape, row.space, row.kept, self.k.axes)
            ready.append((s, indices, self.low.value(s.value, indices)))
        slots = self.low.layout.slots
        self.low.store_all([(slots[s.home], s.home.dtype, home_index(s, indices), v)
                            for s, indices, v in ready])

    def reduce(self, b: Block, phase: Phase) -> list[dict[Node, Val]]:
        """One walk along the reduced axes: accumulates, and stores what is ready. Returns each
        row's results."""
        nest = self.nest
        folds = nest.vec is not None and nest.vec in nest.inner
        accumulators = [Accumulator(n, self.low, folds)
                        for _ in self.together for n in phase.reductions]
        state = [v for a in accumulators for v in a.start()]
        state = self.walk(b, 0, phase, accumulators, state)
        self.low.open(self.deepest, b)
        results = []
        for a in accumulators:
            count = len(a.types)
            mine, state = state[:count], state[count:]
            results.append((a.node, Val(a.result(self.low.at(self.deepest), mine), self.deepest)))
        each = len(phase.reductions)
        return [dict(results[i * each:(i + 1) * each]) for i in range(len(self.together))]

    def walk(self, b: Block, depth: int, phase: Phase, accumulators: list[Accumulator],
              state: list[Value]) -> list[Value]:
        nest, low = self.nest, self.low
        if depth == len(nest.inner):
            return self.step(b, phase, accumulators, state)
        v = nest.inner[depth]
        if v is not nest.vec and math.prod(w.extent for w in nest.inner[depth:]) <= UNROLL:
            for i in range(v.extent):
                self.enter(v, const(low.word, i), b)
                state = self.walk(b, depth + 1, phase, accumulators, state)
                low.forget(v.level)
            return state
        lanes = nest.lanes if v is nest.vec else 1
        whole = v.extent // lanes * lanes
        if unknown(v.extent) or whole:
            first = 0
            if depth + 1 == len(nest.inner) and accumulators:
                first, state = self.abreast(b, v, lanes, phase, accumulators, state)
            state = self.along(b, v, first, whole, lanes, depth, phase, accumulators, state)
        if lanes > 1 and (unknown(v.extent) or v.extent % lanes):
            self.enter(v, const(low.word, whole), b.child())
            self._partial(v, v.extent - whole)
            state = self.walk(b, depth + 1, phase, accumulators, state)
            self._whole()
            low.forget(v.level)
        return state

    def along(self, b: Block, v: ix.Var, first: int, whole: int, lanes: int, depth: int,
              phase: Phase, accumulators: list[Accumulator], state: list[Value]) -> list[Value]:
        """The loop over one reduced axis, from `first` to the last whole vector."""
        low = self.low
        free = unknown(whole)
        if not free and first == whole:
            return state
        loop = Loop(b, const(low.word, first), const(low.word, whole), lanes,
                    [(s.type, s) for s in state], not free)
        self.enter(v, loop.var, loop.body)
        after = self.walk(loop.body, depth + 1, phase, accumulators, loop.carried)
        state = loop.finish(after)
        low.forget(v.level)
        return state

    def abreast(self, b: Block, v: ix.Var, lanes: int, phase: Phase,
                accumulators: list[Accumulator], state: list[Value]) -> tuple[int, list[Value]]:
        """Several states side by side, since one would wait for itself: an addition takes four
        times as long to give its sum as to make room for the next. Returns where they end."""
        low, ways = self.low, self.ways(phase)
        stop = v.extent // (ways * lanes) * ways * lanes
        if ways == 1 or stop < 2 * ways * lanes:
            return 0, state
        count = len(state)
        others = [s for _ in range(ways - 1) for a in accumulators for s in a.start()]
        loop = Loop(b, const(low.word, 0), const(low.word, stop), ways * lanes,
                    [(s.type, s) for s in [*state, *others]], True)
        after: list[Value] = []
        for i in range(ways):
            at = loop.body.op("add nsw", loop.var, const(low.word, i * lanes)) if i else loop.var
            self.enter(v, at, loop.body)
            after += self.step(loop.body, phase, accumulators,
                               loop.carried[i * count:(i + 1) * count])
            low.forget(v.level)
        parts = loop.finish(after)
        states = [parts[i * count:(i + 1) * count] for i in range(ways)]
        while len(states) > 1:
            states = [self.joined(b, accumulators, x, y)
                      for x, y in zip(states[::2], states[1::2])]
        return stop, states[0]

    def ways(self, phase: Phase) -> int:
        """How many states side by side: one where an element's work takes longer than a sum."""
        cost = _walking(self.k, self.low.layout, self.nest, phase)
        ways = 4 if cost <= LIGHT else 2 if cost <= 2 * LIGHT else 1
        return max(1, ways // 2) if self.nest.paired else ways

    def joined(self, b: Block, accumulators: list[Accumulator], x: list[Value], y: list[Value]
             ) -> list[Value]:
        """The joint state of all accumulators."""
        out: list[Value] = []
        for a in accumulators:
            n = len(a.types)
            out += a.meet(b, x[:n], y[:n])
            x, y = x[n:], y[n:]
        return out

    def step(self, b: Block, phase: Phase, accumulators: list[Accumulator],
              state: list[Value]) -> list[Value]:
        out: list[Value] = []
        each = len(phase.reductions)
        for i, row in enumerate(self.together):
            self.stores(b, [*phase.left, *phase.stores], row)
            of_row = accumulators[i * each:(i + 1) * each]
            values = [self.low.value(a.node.src[0], row.space) for a in of_row]
            place = self.low.heads[-1]
            for a, v in zip(of_row, values):
                count = len(a.types)
                mine, state = state[:count], state[count:]
                out += a.update(place, mine, v, self.position(a, place, row))
        return out

    def position(self, a: Accumulator, place: Block, row: Row) -> Value | None:
        if not a.indexed:
            return None
        at = self.low.lane_index(row.space[a.node.arg[0]])
        if a.lanes > 1 and at.v.type.lanes == 1:
            return place.splat(at.v, a.lanes)
        return at.v

    # -- scans -----------------------------------------------------------------------------------
    def scan(self, b: Block, phase: Phase) -> None:
        """One serial walk along the scanned axis with a running value."""
        nest, low = self.nest, self.low
        (n,) = phase.reductions
        accumulator = Accumulator(n, low, False)
        v = nest.inner[0] if nest.inner else None
        state = accumulator.start()
        if v is None:
            first = low.value(n.src[0], nest.space)
            low.known[n] = first
            self.stores(b, phase.stores, self.together[0])
            return
        loop = Loop(b, const(low.word, 0), const(low.word, v.extent), 1,
                    [(s.type, s) for s in state], True)
        self.enter(v, loop.var, loop.body)
        operand = low.value(n.src[0], nest.space)
        after = accumulator.update(low.heads[-1], loop.carried, operand, None)
        low.known[n] = Val(scalar.round_to(low.heads[-1], n.dtype, after[0]), v.level)
        self.stores(loop.body, phase.stores, self.together[0])
        loop.finish(after)
        low.forget(v.level)
