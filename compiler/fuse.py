"""Cuts a graph into kernels: what is computed inline, what is stored, what shares a loop nest.

Walks the graph from its roots. A node that must be in memory starts a kernel; a cheap node is
computed inside every kernel that reads it; an anchor (reduction, scan, contraction) joins the one
kernel that reads it when that kernel walks the same space, so that epilogues, softmax-like row
families and losses become one nest. Kernels over the same space then merge.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from flambeau.compiler import node as nd
from flambeau.compiler.codegen import index as ix
from flambeau.compiler.config import config
from flambeau.compiler.kernel import Kernel, Store
from flambeau.compiler.node import Node, Shape, toposort
from flambeau.compiler.ops import CONTRACTIONS, ELEMENTWISE, MOVEMENT, OPS, REDUCTIONS, SCANS

ROW_LIMIT = 16384  # elements of a row that several phases may walk: it must stay in L1/L2
LONGEST = 200  # values one kernel computes inline; beyond it LLVM's time grows too fast
COSTLY = 8  # machine operations above which a value with several readers is stored

_LEAVES = frozenset(("param", "scalar", "const", "iota"))
_OPAQUE = frozenset(("extern", "scatter", "put", "concat", "loop", "output"))
_ANCHORS = REDUCTIONS | SCANS | CONTRACTIONS
_VIEWS = MOVEMENT - {"pad", "concat"}


def in_memory(n: Node) -> bool:
    """Leaves whose values lie in a buffer."""
    return n.op == "param"


def view_base(n: Node) -> tuple[Node, ix.Index | None, tuple[ix.Var, ...]]:
    """The node under a chain of views, and n's elements' positions in it (None: not affine)."""
    variables = tuple(ix.Var(i, e) for i, e in enumerate(n.shape))
    indices = tuple(map(ix.of, variables))
    while n.op in _VIEWS:
        source = n.src[0]
        indices = ix.movement(n.op, indices, n.shape, source.shape, n.arg)
        n = source
    flat = ix.flatten(indices, n.shape)
    return n, flat if all(isinstance(a, ix.Var) for a, _ in flat.terms) else None, variables


def _needed_in_memory(n: Node) -> Iterable[Node]:
    """The nodes that must be stored because n reads them as memory."""
    if n.op in CONTRACTIONS:
        for s in n.src:
            base, flat, _ = view_base(s)
            yield base if flat is not None and base.op != "const" else s
    elif n.op in ("extern", "loop") or n.op == "scatter":
        yield from n.src
    elif n.op == "put":
        yield n.src[0]
    elif n.op == "gather":
        base, flat, _ = view_base(n.src[0])
        yield base if flat is not None else n.src[0]


class _Fuser:
    def __init__(self, roots: list[Node]) -> None:
        self.roots = roots
        self.order = toposort(roots)
        self.position = {n: i for i, n in enumerate(self.order)}
        self.readers: dict[Node, list[Node]] = {n: [] for n in self.order}
        for n in self.order:
            for s in dict.fromkeys(n.src):
                self.readers[s].append(n)
        self.stored: set[Node] = {r for r in roots if r.op != "param"}
        for n in self.order:
            for s in _needed_in_memory(n):
                if not in_memory(s):
                    self.stored.add(s)
        self.kernels: list[Kernel] = []
        self.loops: dict[Node, Kernel] = {}
        self.inside: dict[Node, list[Kernel]] = {}

    # -- assignment ------------------------------------------------------------------------------
    def run(self) -> list[Kernel]:
        for n in reversed(self.order):
            if n.op == "param":
                continue
            self.assign(n)
        return self.kernels

    def assign(self, n: Node) -> None:
        if n.op == "loop":
            return
        users = self.users(n)
        if n in self.stored or n.op in _OPAQUE:
            self.store(n)
        elif n.op in _ANCHORS:
            if len(users) == 1 and self.absorb(users[0], n):
                self.inside[n] = users
                users[0].inlined.add(n)
            else:
                self.store(n)
        elif len(users) > 1 and n.op not in _LEAVES and self.worth_storing(n):
            self.store(n)
        elif n.op in ELEMENTWISE and any(len(k.inlined) >= LONGEST for k in users):
            self.store(n)  # a chain without end would make a kernel without end
        else:
            self.inside[n] = users
            for k in users:
                k.inlined.add(n)

    def users(self, n: Node) -> list[Kernel]:
        """Kernels that compute n's readers and would compute n inline."""
        found: dict[Kernel, None] = {}
        for reader in self.readers[n]:
            if reader.op in _OPAQUE and not (reader.op in ("put", "concat")
                                             and n in reader.src[-1 if reader.op == "put" else 0:]):
                continue
            for k in self.inside.get(reader, ()):
                found[k] = None
        return list(found)

    def worth_storing(self, n: Node) -> bool:
        return inline_cost(n, self.stored) > COSTLY

    def store(self, n: Node) -> None:
        """Starts the kernel(s) whose result n is."""
        self.stored.add(n)
        if n.op == "concat":
            self.inside[n] = self.concat(n)
            return
        if n.op == "put":
            k = Kernel("map", [Store(n.src[1], n, n.arg)], n.src[1].shape, initial=n.src[0])
        elif n.op == "scatter":
            k = Kernel("scatter", [Store(n, n)], n.src[1].shape, initial=n.src[0])
        elif n.op == "extern":
            k = Kernel(n.op, [Store(n, n)], n.shape)
        elif n.op == "output":
            self.inside[n] = [self.loop(n)]
            return
        else:
            k = Kernel("map", [Store(n, n)], n.shape)
            if n.op in _ANCHORS:
                self.absorb(k, n)
        k.inlined.add(n)
        self.kernels.append(k)
        self.inside[n] = [k]

    def loop(self, n: Node) -> Kernel:
        """The kernel of n's loop, which stores all the outputs that are asked for."""
        k = self.loops.get(n.src[0])
        if k is None:
            k = self.loops[n.src[0]] = Kernel("loop", [], n.src[0].shape)
            self.kernels.append(k)
        k.stores.append(Store(n, n))
        return k

    def concat(self, n: Node) -> list[Kernel]:
        """One region store per part; a few equal parts that are computed share a kernel."""
        made: list[Kernel] = []
        start = 0
        alternating = n.arg == len(n.shape) - 1 and n.shape[-1] == len(n.src)
        equal = len({p.shape for p in n.src}) == 1 and not any(map(in_memory, n.src))
        shared = len(n.src) <= 4 and (alternating or equal)
        for part in filter(lambda p: p.size, n.src):
            region = tuple((start * (i == n.arg), 1) for i in range(len(n.shape)))
            start += part.shape[n.arg]
            if not (shared and made):
                made.append(Kernel("map", [], part.shape))
            made[-1].stores.append(Store(part, n, region))
        self.kernels.extend(made)
        return made

    # -- anchors ---------------------------------------------------------------------------------
    def absorb(self, k: Kernel, n: Node) -> bool:
        """Makes n part of kernel k if k's loops can compute it on their way."""
        if k.kind not in ("map", "rows") or any(
                s.home is not n and s.region is not None for s in k.stores):
            return False
        if n.op in CONTRACTIONS:
            if config.matmul == "blas" and any(s.value is not n for s in k.stores):
                return False
            return k.kind == "map" and (self._adopt(k, n, "contract", n.shape, ())
                                        or self._adopt_turned(k, n))
        if n.op in SCANS:
            return k.kind == "map" and self._adopt(k, n, "scan", n.shape, (n.arg,))
        axes = n.arg
        space = n.src[0].shape
        if k.kind == "rows":
            return (k.space == space and k.axes == axes and self._fits(k, n, space, axes)
                    and self._take(k, n))
        return self._adopt(k, n, "rows", space, axes)

    def _adopt(self, k: Kernel, n: Node, kind: str, space: Shape, axes: tuple[int, ...]) -> bool:
        alone = all(s.value is n for s in k.stores)
        if (kind == "rows" and not alone and any(s.value.size != n.size for s in k.stores)
                and math.prod(space[i] for i in axes) > ROW_LIMIT):
            return False
        if not alone and not self._fits(k, n, space, axes if kind == "rows" else ()):
            return False
        k.kind, k.space, k.axes = kind, space, axes
        return self._take(k, n)

    def _adopt_turned(self, k: Kernel, n: Node) -> bool:
        """A contraction read with its axes in another order: its tiles are stored there at once."""
        shapes = {s.value.shape for s in k.stores}
        if len(shapes) != 1:
            return False
        (shape,) = shapes
        variables = tuple(ix.Var(i, e) for i, e in enumerate(shape))
        turns: set[tuple[int, ...]] = set()
        stack = [(s.value, tuple(map(ix.of, variables))) for s in k.stores]
        seen = set()
        while stack:
            item = stack.pop()
            if item in seen:
                continue
            seen.add(item)
            m, indices = item
            if m is n:
                turns.add(_turn(indices, n.shape, variables))
            elif m in k.inlined:
                found = _operands(m, indices)
                if found is not None:
                    stack.extend(found)
                elif self.reaches(m, n):
                    return False
        if len(turns) != 1 or () in turns:
            return False
        k.kind, k.space, k.turn = "contract", shape, turns.pop()
        return self._take(k, n)

    def _take(self, k: Kernel, n: Node) -> bool:
        k.anchors.insert(0, n)
        return True

    def _fits(self, k: Kernel, n: Node, space: Shape, axes: tuple[int, ...]) -> bool:
        """Is n read only at the loop position itself, from every store and anchor of k?"""
        variables = tuple(ix.of(ix.Var(i, e)) for i, e in enumerate(space))
        kept = tuple(ix.ZERO if i in axes else v for i, v in enumerate(variables))
        full, rows = math.prod(space), math.prod(e for i, e in enumerate(space) if i not in axes)
        wanted = kept if axes else variables
        goal = ix.flatten(wanted, n.shape)
        seen: set[tuple[Node, tuple[ix.Index, ...]]] = set()
        stack: list[tuple[Node, tuple[ix.Index, ...]]] = []
        for s in k.stores:
            if s.value.size == full:
                stack.append((s.value, ix.reshape(variables, space, s.value.shape)))
            elif s.value.size == rows:
                narrow = tuple(1 if i in axes else e for i, e in enumerate(space))
                stack.append((s.value, ix.reshape(kept, narrow, s.value.shape)))
            else:
                return False
        while stack:
            item = stack.pop()
            if item in seen:
                continue
            seen.add(item)
            m, indices = item
            if m is n:
                if ix.flatten(indices, n.shape) != goal:
                    return False
            elif m in k.anchors and m.op in REDUCTIONS:
                stack.append((m.src[0], variables))
            elif m in k.inlined or any(m is s.value for s in k.stores):
                found = _operands(m, indices)
                if found is None:
                    if self.reaches(m, n):
                        return False
                else:
                    stack.extend(found)
        return True

    def reaches(self, m: Node, n: Node) -> bool:
        floor = self.position[n]
        return n in toposort([m], stop=lambda x: self.position[x] <= floor)


def _operands(m: Node, indices: tuple[ix.Index, ...]
              ) -> list[tuple[Node, tuple[ix.Index, ...]]] | None:
    """Where element `indices` of m reads its operands; None when not by plain index maps."""
    if m.op in ELEMENTWISE or m.op == "mark":
        return [(s, indices) for s in m.src]
    if m.op in _VIEWS:
        return [(m.src[0], ix.movement(m.op, indices, m.shape, m.src[0].shape, m.arg))]
    if m.op in _LEAVES:
        return []
    return None


def _turn(indices: tuple[ix.Index, ...], shape: Shape, variables: tuple[ix.Var, ...]
          ) -> tuple[int, ...]:
    """Which variable stands at each axis when indices are a permutation of them; () if not."""
    free = [v.level for v in variables if v.extent == 1]
    out = []
    for i, extent in zip(indices, shape):
        if extent == 1 and not i.terms and free:
            out.append(free.pop())
        elif len(i.terms) == 1 and i.const == 0 and i.terms[0][1] == 1:
            atom = i.terms[0][0]
            if not isinstance(atom, ix.Var) or atom.extent != extent:
                return ()
            out.append(atom.level)
        else:
            return ()
    return tuple(out) if sorted(out) == list(range(len(variables))) else ()


def inline_cost(n: Node, stored: set[Node]) -> int:
    """Machine operations an element to compute n from what lies in memory (capped)."""
    total, stack, seen = 0, [n], {n}
    while stack and total <= COSTLY:
        m = stack.pop()
        total += OPS[m.op].cost if m.op in ELEMENTWISE else 2 if m.op in ("gather", "pad") else 0
        for s in m.src:
            if s not in seen and s not in stored and s.op not in _ANCHORS and s.op not in _OPAQUE:
                seen.add(s)
                stack.append(s)
    return total


# -- merging -------------------------------------------------------------------------------------


def loads(k: Kernel, stored: set[Node]) -> set[Node]:
    """Nodes in memory that kernel k reads."""
    return reached(k, stored)[0]


def reached(k: Kernel, stored: set[Node]) -> tuple[set[Node], set[Node]]:
    """Nodes in memory that kernel k reads, and all that it meets on the way to them."""
    found = set() if k.initial is None else {k.initial}
    stack, own = [s.value for s in k.stores], k.computed
    if k.kind in ("extern", "scatter"):
        stack, own = [s for v in stack for s in v.src], set()
    elif k.kind == "loop":
        stack, own = list(stack[0].src[0].src), set()
    seen: set[Node] = set()
    while stack:
        n = stack.pop()
        if n in seen:
            continue
        seen.add(n)
        if (n.op == "param" or n in stored) and n not in own:
            found.add(n)
            continue
        stack.extend(n.src)
    return found, seen


def merge(kernels: list[Kernel], stored: set[Node]) -> list[Kernel]:
    """Joins kernels that walk the same space and do not wait for each other.

    `kernels` is in dependency order and so is the result.
    """
    writers = _writers(kernels)
    reads = {k: {w for n in loads(k, stored) for w in writers.get(n, ())} - {k} for k in kernels}
    before: dict[Kernel, set[Kernel]] = {}
    for k in kernels:
        before[k] = set().union(*(before[r] | {r} for r in reads[k])) if reads[k] else set()
    out: list[Kernel] = []
    for k in kernels:
        host = next((h for h in reversed(out) if _mergeable(h, k, reads, before, stored)), None)
        if host is None:
            out.append(k)
            continue
        host.stores += k.stores
        host.anchors += [a for a in k.anchors if a not in host.anchors]
        host.inlined |= k.inlined
        if k.kind == "rows":
            host.kind, host.space, host.axes = k.kind, k.space, k.axes
        gained = (before[k] | reads[k]) - {host}
        before[host] |= gained
        for later in kernels:
            if k in before.get(later, ()):
                before[later] = (before[later] - {k}) | {host} | before[host]
            elif host in before.get(later, ()):
                before[later] |= gained
            if k in reads[later]:
                reads[later] = (reads[later] - {k}) | {host}
    return _ordered(out, stored)


def _mergeable(host: Kernel, k: Kernel, reads: dict[Kernel, set[Kernel]],
               before: dict[Kernel, set[Kernel]], stored: set[Node]) -> bool:
    """May k's work be done in host's loops?"""
    if config.matmul == "blas" and "contract" in (host.kind, k.kind):
        return False
    if not ({host.kind, k.kind} <= {"map", "rows"}
            or ((host.kind, k.kind) == ("contract", "map") and host in reads[k])):
        return False
    stores = host.stores + k.stores
    if len(stores) > 16 or host.initial is not None or k.initial is not None:
        return False
    if any(s.region is not None for s in stores) and not host.kind == k.kind == "map":
        return False
    if k in before[host] or any(host in before[r] for r in before[k] if r is not host):
        return False
    shape = _common_space(host, k)
    if shape is None or not (loads(host, stored) & loads(k, stored) or host in reads[k]):
        return False
    return _reads_in_place(host, k, *shape, stored)


def _common_space(a: Kernel, b: Kernel) -> tuple[Shape, tuple[int, ...]] | None:
    """The space and reduced axes that both kernels can walk, if there are such."""
    if a.kind == "contract":  # the epilogue may store more than one value
        return (a.space, ()) if math.prod(a.space) == math.prod(b.space) else None
    if a.kind == b.kind == "map":
        return (a.space, ()) if a.space == b.space else None
    rows, other = (a, b) if a.kind == "rows" else (b, a)
    if math.prod(rows.space[i] for i in rows.axes) > ROW_LIMIT:
        return None
    if other.kind == "rows":
        same = other.space == rows.space and other.axes == rows.axes
        return (rows.space, rows.axes) if same else None
    narrow = tuple(1 if i in rows.axes else e for i, e in enumerate(rows.space))
    return (rows.space, rows.axes) if other.space in (rows.space, narrow) else None


def _reads_in_place(host: Kernel, k: Kernel, space: Shape, axes: tuple[int, ...],
                    stored: set[Node]) -> bool:
    """Does k read what host stores only at its own loop position?"""
    homes = {s.home for s in host.stores}
    variables = tuple(ix.of(ix.Var(i, e)) for i, e in enumerate(space))
    kept = tuple(ix.ZERO if i in axes else v for i, v in enumerate(variables))
    narrow = tuple(1 if i in axes else e for i, e in enumerate(space))
    full, rows = math.prod(space), math.prod(narrow)

    def own_place(n: Node) -> tuple[ix.Index, ...] | None:
        if n.size == full:
            return ix.reshape(variables, space, n.shape)
        return ix.reshape(kept, narrow, n.shape) if n.size == rows else None

    stack: list[tuple[Node, tuple[ix.Index, ...]]] = []
    for s in k.stores:
        place = own_place(s.value)
        if place is None:
            return False
        stack.append((s.value, place))
    own = k.computed
    seen: set[tuple[Node, tuple[ix.Index, ...]]] = set()
    while stack:
        item = stack.pop()
        if item in seen:
            continue
        seen.add(item)
        n, indices = item
        if n in homes:
            place = own_place(n)
            if place is None or ix.flatten(indices, n.shape) != ix.flatten(place, n.shape):
                return False
        elif n in k.anchors:
            stack.append((n.src[0], variables))
        elif n.op == "param" or (n in stored and n not in own):
            continue
        else:
            found = _operands(n, indices)
            if found is not None:
                stack.extend(found)
            elif homes & set(toposort([n], stop=lambda m: m in homes)):
                return False
    return True


def _writers(kernels: list[Kernel]) -> dict[Node, list[Kernel]]:
    """Who stores into each home: several kernels where parts are joined."""
    found: dict[Node, list[Kernel]] = {}
    for k in kernels:
        for h in k.homes:
            found.setdefault(h, []).append(k)
    return found


def _ordered(kernels: list[Kernel], stored: set[Node]) -> list[Kernel]:
    """Dependency order, stable."""
    writers = _writers(kernels)
    place = {k: i for i, k in enumerate(kernels)}
    begun: set[Kernel] = set()
    done: set[Kernel] = set()
    out: list[Kernel] = []
    stack = [(k, False) for k in reversed(kernels)]
    while stack:
        k, ready = stack.pop()
        if k in done:
            continue
        if ready:
            done.add(k)
            out.append(k)
            continue
        if k in begun:
            raise RuntimeError("fuse: expected an order, got kernels that wait for each other")
        begun.add(k)
        stack.append((k, True))
        first = {w for n in loads(k, stored) for w in writers.get(n, ()) if w is not k} - done
        stack.extend((w, False) for w in sorted(first, key=place.__getitem__, reverse=True))
    return out


def fuse(roots: list[Node]) -> list[Kernel]:
    """The kernels that compute the roots, in an order in which they may run."""
    fuser = _Fuser(roots)
    kernels = _ordered(fuser.run(), fuser.stored)
    return merge(kernels, fuser.stored)


def split_reductions(roots: list[Node], block: int = ROW_LIMIT, few: int = 64) -> list[Node]:
    """Cuts long reductions with few results into fixed blocks, combined by a second reduction.

    The cut depends on shapes alone, so the bits do not depend on the number of threads; blocks
    also bound the error of long float sums.
    """
    replace: dict[Node, Node] = {}
    for n in toposort(roots):
        if n.op not in ("sum", "prod", "max", "min"):
            continue
        source = n.src[0]
        length = math.prod(source.shape[i] for i in n.arg)
        if length <= block or n.size > few * max(1, length // block):
            continue
        replace[n] = _split(n, block)
    if not replace:
        return roots
    done: dict[Node, Node] = {}
    for n in toposort(roots):
        src = tuple(done[s] for s in n.src)
        if n in replace:
            done[n] = _split(nd.node(n.op, n.dtype, n.shape, src, n.arg), block)
        else:
            done[n] = nd.rebuild(n, src)
    return [done[r] for r in roots]


def _split(n: Node, block: int) -> Node:
    source = n.src[0]
    axis = max(n.arg, key=lambda i: (source.shape[i] > 1, -i) if source.shape[i] >= 2 else (0, -i))
    extent = source.shape[axis]
    inner = math.prod(source.shape[i] for i in n.arg if i != axis)
    piece = max(1, block // inner)
    if piece >= extent:
        return n
    count, rest = divmod(extent, piece)
    parts = []
    if count:
        main = _cut(source, axis, 0, count * piece)
        shape = (*source.shape[:axis], count, piece, *source.shape[axis + 1:])
        axes = [axis + 1, *(i + 1 if i > axis else i for i in n.arg if i != axis)]
        partial = nd.reduce_(n.op, nd.reshape(main, shape), tuple(sorted(axes)))
        last = nd.reduce_(n.op, partial, (axis,))
        parts.append(nd.reshape(last, n.shape))
    if rest:
        tail = nd.reduce_(n.op, _cut(source, axis, count * piece, rest), n.arg)
        parts.append(tail)
    if len(parts) == 1:
        return parts[0]
    join = {"sum": "add", "prod": "mul", "max": "maximum", "min": "minimum"}[n.op]
    return nd.elementwise(join, *parts)


def _cut(x: Node, axis: int, start: int, length: int) -> Node:
    starts = tuple(start if i == axis else 0 for i in range(len(x.shape)))
    lengths = tuple(length if i == axis else e for i, e in enumerate(x.shape))
    return nd.slice_(x, starts, lengths, (1,) * len(x.shape))


def turn_products(roots: list[Node]) -> list[Node]:
    """A product that is only read transposed is computed transposed: (a b)' = b' a'.

    Strides make operands' transposes free, and the update of a weight then stands right where its
    gradient is computed, so that the two become one kernel.
    """
    order = toposort(roots)
    readers: dict[Node, set[Node]] = {n: set() for n in order}
    for n in order:
        for s in n.src:
            readers[s].add(n)
    done: dict[Node, Node] = {}
    kept = set(roots)
    for n in order:
        dot = _transposed_product(n, readers, kept)
        if dot is None:
            done[n] = nd.rebuild(n, tuple(done[s] for s in n.src))
            continue
        a, b = (nd.permute(done[s], (0, 2, 1)) for s in dot.src)
        shape = (dot.shape[0], dot.shape[2], dot.shape[1])
        done[n] = nd.reshape(nd.node("dot", dot.dtype, shape, (b, a)), n.shape)
    return [done[r] for r in roots]


def _transposed_product(n: Node, readers: dict[Node, set[Node]], kept: set[Node]) -> Node | None:
    """The dot whose two last axes n swaps, when nobody else reads it."""
    if n.op != "permute":
        return None
    m = n.src[0]
    flat = m.op == "reshape" and len(m.shape) == 2 and m.src[0].shape == (1, *m.shape)
    if n.arg != ((1, 0) if flat else (0, 2, 1)):
        return None
    chain = [m, m.src[0]] if flat else [m]
    if chain[-1].op != "dot" or any(len(readers[c]) > 1 or c in kept for c in chain):
        return None
    return chain[-1]
