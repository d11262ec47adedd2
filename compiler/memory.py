"""Memory planning: which kernel results share the arena, and which outputs take over an input.

A temporary's bytes are free again after its last reader, so a chain of n kernels needs two
temporaries. An output takes over an input's memory (the caller says which may) when every read of
that input comes before, or stands at the same element as, the write.
"""

from __future__ import annotations

from flambeau.compiler.codegen import index as ix
from flambeau.compiler.codegen.nest_plan import home_index, value_indices
from flambeau.compiler.fuse import loads
from flambeau.compiler.kernel import Kernel, Store
from flambeau.compiler.node import Node
from flambeau.compiler.ops import ELEMENTWISE
from flambeau.compiler.size import at_least, hint

ALIGN = 64
ASIDE = 1 << 16  # up to these bytes, what a kernel that may fail overwrites is computed aside
SLACK = 128  # bytes after each temporary that a vector load may touch


class Arena:
    """First-fit placement of blocks with lifetimes."""

    def __init__(self) -> None:
        self.free: list[tuple[int, int]] = []  # (offset, bytes), by offset
        self.bytes = 0

    def take(self, nbytes: int) -> int:
        """Offset of a free block; rounds up to the alignment."""
        want = padded(nbytes)
        for i, (offset, size) in enumerate(self.free):
            if at_least(size, want):
                rest = [(offset + want, size - want)] if at_least(size, want + 1) else []
                self.free[i:i + 1] = rest
                return offset
        offset = self.bytes
        self.bytes += want
        return offset

    def keep(self, nbytes: int) -> int:
        """Offset of a block that nothing shares, before or after."""
        self.bytes += padded(nbytes)
        return self.bytes - padded(nbytes)

    def give(self, offset: int, nbytes: int) -> None:
        """Frees a block, joining its neighbours."""
        self.free.append((offset, padded(nbytes)))
        self.free.sort(key=lambda block: hint(block[0]))
        joined: list[tuple[int, int]] = []
        for start, size in self.free:
            if joined and joined[-1][0] + joined[-1][1] == start:
                joined[-1] = (joined[-1][0], joined[-1][1] + size)
            else:
                joined.append((start, size))
        self.free = joined


def padded(nbytes: int) -> int:
    return (nbytes + SLACK + ALIGN - 1) // ALIGN * ALIGN


def lifetimes(kernels: list[Kernel], stored: set[Node]) -> dict[Node, tuple[int, int]]:
    """First and last kernel that touches each home."""
    life: dict[Node, tuple[int, int]] = {}
    for i, k in enumerate(kernels):
        for n in k.homes:
            life[n] = (life.get(n, (i, i))[0], i)
        for n in loads(k, stored):
            if n in life:
                life[n] = (life[n][0], i)
    return life


# -- taking over an input's memory -----------------------------------------------------------------


def reads_in_place(k: Kernel, store: Store, old: Node, stored: set[Node]) -> bool:
    """Does k read `old` only at the element that `store` is about to overwrite?"""
    if k.kind not in ("map", "rows", "scan", "contract"):
        return old not in loads(k, stored)
    variables = tuple(ix.of(ix.Var(i, e)) for i, e in enumerate(k.space))
    kept = tuple(ix.ZERO if i in k.axes else v for i, v in enumerate(variables))
    axes = k.axes if k.kind == "rows" else ()
    target = home_index(store, value_indices(store.value, k.space, variables, kept, axes))
    stack = [(s.value, value_indices(s.value, k.space, variables, kept, axes)) for s in k.stores]
    own = k.computed
    seen: set[tuple[Node, tuple[ix.Index, ...]]] = set()
    while stack:
        item = stack.pop()
        if item in seen:
            continue
        seen.add(item)
        n, indices = item
        if n is old:
            if ix.flatten(indices, n.shape) != target:
                return False
        elif n.op == "param" or (n in stored and n not in own):
            continue
        elif n in k.anchors:
            if k.kind == "contract":
                if old in _under(n, stored):
                    return False
            else:
                stack.append((n.src[0], variables))
                if k.kind == "rows" and old in _under(n, stored) and len(k.stores) + len(
                        k.anchors) > 2:
                    return False
        elif n.op in ELEMENTWISE or n.op == "mark":
            stack.extend((s, indices) for s in n.src)
        elif n.op in ("reshape", "permute", "expand", "slice"):
            stack.append((n.src[0], ix.movement(n.op, indices, n.shape, n.src[0].shape, n.arg)))
        elif old in _under(n, stored):
            return False
    return True


def _under(n: Node, stored: set[Node]) -> set[Node]:
    """Nodes in memory that n reads."""
    found: set[Node] = set()
    seen: set[Node] = set()
    stack = list(n.src)
    while stack:
        m = stack.pop()
        if m in seen:
            continue
        seen.add(m)
        if m.op == "param" or m in stored:
            found.add(m)
        else:
            stack.extend(m.src)
    return found


def take_over(kernels: list[Kernel], wishes: dict[Node, Node], stored: set[Node],
              failing: set[Kernel]) -> tuple[list[Kernel], dict[Node, Node]]:
    """Reorders kernels so that as many wishes (output -> input) as possible can be granted.

    failing: kernels that may find an index out of range; they come before those that overwrite an
    input, where they can, so that the program can stop with its inputs as they were.
    Returns the new order and the granted wishes.
    """
    writers: dict[Node, list[Kernel]] = {}
    for k in kernels:
        for h in k.homes:
            writers.setdefault(h, []).append(k)
    reads = {k: loads(k, stored) for k in kernels}
    after: dict[Kernel, set[Kernel]] = {
        k: {w for n in reads[k] for w in writers.get(n, ()) if w is not k} for k in kernels}
    granted: dict[Node, Node] = {}
    for new, old in wishes.items():
        if len(writers.get(new, ())) != 1:
            continue
        (writer,) = writers[new]
        store = next(s for s in writer.stores if s.home is new)
        if writer.initial is not None and writer.initial is not old:
            continue
        if writer.kind == "loop" or not (overwrites(writer, old, stored) if writer.initial
                                         else reads_in_place(writer, store, old, stored)):
            continue
        if writer in failing and writer.kind != "scatter" and new.nbytes <= ASIDE:
            continue
        extra = {k for k in kernels if k is not writer and old in reads[k]}
        if any(_reaches(k, writer, after) for k in extra):
            continue
        after[writer] |= extra
        granted[new] = old
    for new in granted:
        (writer,) = writers[new]
        after[writer] |= {k for k in failing if k is not writer and not _reaches(k, writer, after)}
    return _sorted(kernels, after), granted


def walk_back(kernels: list[Kernel], granted: dict[Node, Node], stored: set[Node], l2: int) -> None:
    """Lets updates of state walk from the end when the state is a little too big for the L2 cache.

    What reads a weight first in a step begins at its start, and the update touched it last; when
    the two walk in opposite directions, each finds in cache what the other left there. An update
    that alone touches a weight turns round at every call.
    """
    for k in kernels:
        big = [s.home for s in k.stores if s.home in granted
               and l2 // 4 < hint(s.home.nbytes) < 8 * l2]
        if not big or k.kind not in ("map", "rows"):
            continue
        touched = {n for o in kernels if o is not k for n in loads(o, stored)}
        alone = all(n not in touched and granted[n] not in touched for n in big)
        k.backward, k.turning = not alone, alone


def overwrites(k: Kernel, old: Node, stored: set[Node]) -> bool:
    """May a region write or scatter that starts from `old` happen right in old's memory?"""
    if k.kind != "scatter":
        return reads_in_place(k, k.stores[0], old, stored)
    values = list(k.stores[0].value.src[1:])
    seen: set[Node] = set()
    while values:
        n = values.pop()
        if n is old:
            return False
        if n not in seen and n.op != "param" and n not in stored:
            values.extend(n.src)
        seen.add(n)
    return True


def _reaches(k: Kernel, goal: Kernel, after: dict[Kernel, set[Kernel]]) -> bool:
    """Must `goal` run before k?"""
    stack, seen = [k], {k}
    while stack:
        for p in after[stack.pop()]:
            if p is goal:
                return True
            if p not in seen:
                seen.add(p)
                stack.append(p)
    return False


def _sorted(kernels: list[Kernel], after: dict[Kernel, set[Kernel]]) -> list[Kernel]:
    done: set[Kernel] = set()
    out: list[Kernel] = []
    position = {k: i for i, k in enumerate(kernels)}
    stack = [(k, False) for k in reversed(kernels)]
    while stack:
        k, ready = stack.pop()
        if k in done:
            continue
        if ready:
            done.add(k)
            out.append(k)
            continue
        stack.append((k, True))
        waiting = sorted(after[k] - done, key=lambda p: -position[p])
        stack.extend((p, False) for p in waiting)
    return out
