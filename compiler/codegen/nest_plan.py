"""The plan of a loop nest: its loops, the variable that has the vectors, and its phases.

The outer loops walk the kept axes and are what threads share; inside, a "rows" kernel has phases:
each phase is one walk along the reduced axes that feeds the reductions whose operands are known
and stores what is ready. One variable is the vector variable: the innermost of a map, else the
reduced or kept axis along which most memory accesses are contiguous. `nest.py` writes the plan
as code, `gpu_nest.py` for GPUs.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from flambeau.compiler import dtype as dt
from flambeau.compiler.codegen import index as ix
from flambeau.compiler.codegen import vectors
from flambeau.compiler.codegen.lower import Indices, Layout
from flambeau.compiler.kernel import Kernel, Store
from flambeau.compiler.node import Node, Shape
from flambeau.compiler.ops import ELEMENTWISE, OPS
from flambeau.compiler.size import hint, unknown
from flambeau.compiler.target import Target

LEFT = 8  # machine operations above which a value is left in memory for a later phase
LIGHT = 8.0  # cost of an element's work below which sums wait for their own last addition
_UNCOUNTED = frozenset(("iota", "const", "scalar", "reshape", "permute", "expand", "slice"))


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
            total *= 1.0 if reduced else _revisiting(touched, draft[id(g)], value)
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
        folds = nest.vec in nest.inner
        far = (cost <= 6 and bool(k.axes) and not folds and not sizes and target.registers > 16
               and math.prod(shape) * itemsize > target.l3)
        nest.lanes = vectors.count(nest.vec.extent, folds, cost, itemsize, target, bool(k.axes),
                                   far)
    lanes = min(target.lanes(itemsize), nest.lanes) if nest.vec else 1
    per_element = cost * 0.4 / lanes + 0.15 * itemsize / 4 * (1 + len(touched) / 2)
    nest.unit_ns = per_element * (1 if nest.vec else 2)
    nest.paired = target.kind == "cpu" and _shares(k, layout, nest)
    return nest


def _revisiting(touched: list[_Access], v: ix.Var, value: Callable[[int], int]) -> float:
    return min((vectors.revisiting(a.flat, v, value) for a in touched if a.weight == 2),
               default=1.0)


def _shares(k: Kernel, layout: Layout, nest: Nest) -> bool:
    """Do neighbouring rows read something in common, as in the product of a matrix and a vector?
    Walking two together then loads it once."""
    if not (k.kind == "rows" and nest.outer and len(nest.phases) == 1
            and nest.vec is not None and nest.inner == [nest.vec]):
        return False
    row, vec = nest.outer[-1], nest.vec
    work = walking(k, layout, nest, nest.phases[0])
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


def walking(k: Kernel, layout: Layout, nest: Nest, phase: Phase) -> float:
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
