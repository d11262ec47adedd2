"""Expressions inside a nest: from a graph node at a multi-index to LLVM values.

`Lowering.value(node, indices)` walks down elementwise and movement nodes until it meets memory,
writing each instruction at the outermost loop where its operands are known, so loop-invariant work
is hoisted as it is written. One loop variable may be the vector variable: values that depend on it
have W lanes, all others stay scalar until an operation needs them wide.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from flambeau.compiler import dtype as dt
from flambeau.compiler.codegen import access, loops, philox, scalar
from flambeau.compiler.codegen import index as ix
from flambeau.compiler.codegen.emit import (
    I1,
    I64,
    PTR,
    Block,
    Type,
    Value,
    const,
    make_type,
)
from flambeau.compiler.dtype import DType
from flambeau.compiler.node import Node, decode
from flambeau.compiler.ops import ELEMENTWISE
from flambeau.compiler.size import unknown
from flambeau.compiler.target import Target

Indices = tuple[ix.Index, ...]
STRIDED = 8  # widest step between lanes that is loaded as a block and picked apart
_VIEWS = frozenset(("reshape", "permute", "expand", "slice"))


class Val(NamedTuple):
    """A value and the innermost loop level it depends on (-1: none)."""

    v: Value
    level: int


@dataclass
class Layout:
    """Where nodes live: the slot of each node in memory, the offset of each scalar argument."""

    slots: dict[Node, int]
    scalars: dict[Node, int]
    errors: dict[Node, int]  # status codes of nodes that may fail at run time


class Lowering:
    """One kernel function being written."""

    def __init__(self, target: Target, layout: Layout, entry: Block, slots: Value) -> None:
        """entry: a block at the function's start; slots: its pointer to the table of pointers."""
        self.target, self.layout, self.table = target, layout, slots
        self.word = I64  # the type of indices
        self.heads: list[Block] = [entry.child()]  # heads[level + 1]: where that level's go
        self.vars: dict[ix.Var, Value] = {}
        self.vec: ix.Var | None = None
        self.lanes = 1
        self.mask: Val | None = None  # of the vector variable's last, partial step
        self.active = 0  # lanes that are on in it, when known now
        self.known: dict[Node, Val] = {}  # anchors at this position: the nest gives them
        self.written: dict[Node, Node] = {}  # values that an earlier phase left in this home
        self.leaping: ix.Var | None = None  # a loop whose steps are too long for prefetchers
        self.memo: dict[object, Val] = {}
        self.moves: dict[tuple[Node, Indices], Indices] = {}
        self.pointers: dict[int, Value] = {}
        self.stored: set[Node] = set(layout.slots)
        self.inline: set[Node] = set()  # stored nodes this very kernel computes

    # -- places ----------------------------------------------------------------------------------
    def open(self, level: int, block: Block) -> None:
        """From now on what depends on `level` (and no deeper) is written here in `block`."""
        self.heads[level + 1:] = [block.child()]

    def at(self, level: int) -> Block:
        return self.heads[level + 1]

    def forget(self, level: int) -> None:
        """Drops what was computed at this level or deeper: its code is out of scope now."""
        self.memo = {k: v for k, v in self.memo.items() if v.level < level}

    def pointer(self, slot: int) -> Value:
        """The base address of a slot, loaded once at function entry."""
        found = self.pointers.get(slot)
        if found is None:
            b = self.at(-1)
            found = b.load(PTR, b.gep(self.table, PTR, const(I64, slot)), 8)
            self.pointers[slot] = found
        return found

    def wide(self, v: Val) -> Value:
        """v with the kernel's lanes; the splat stands where v does."""
        if v.v.type.lanes == self.lanes or self.lanes == 1:
            return v.v
        key = ("wide", v.v)
        found = self.memo.get(key)
        if found is None:
            found = Val(self.at(v.level).splat(v.v, self.lanes), v.level)
            self.memo[key] = found
        return found.v

    # -- index arithmetic ------------------------------------------------------------------------
    def index(self, index: ix.Index) -> Val:
        """The scalar value of an index, for lane 0 of the vector variable."""
        found = self.memo.get(index)
        if found is not None:
            return found
        parts = sorted(((self.atom(a), k) for a, k in index.terms), key=lambda p: p[0].level)
        total: Val | None = None
        for part, k in parts:
            b = self.at(part.level)
            term = part.v if k == 1 else b.op("mul nsw", part.v, const(self.word, k))
            total = Val(term if total is None else b.op("add nsw", total.v, term), part.level)
        if total is None:
            total = Val(const(self.word, index.const), -1)
        elif index.const:
            b = self.at(total.level)
            total = Val(b.op("add nsw", total.v, const(self.word, index.const)), total.level)
        self.memo[index] = total
        return total

    def atom(self, atom: ix.Atom) -> Val:
        if isinstance(atom, ix.Var):
            return Val(self.vars[atom], atom.level)
        if isinstance(atom, ix.Dynamic):
            return Val(atom.value, atom.level)
        found = self.memo.get(atom)
        if found is None:
            inner = self.index(atom.index)
            found = Val(loops.quotient(self.at(inner.level), inner.v, atom), inner.level)
            self.memo[atom] = found
        return found

    def lane_index(self, index: ix.Index) -> Val:
        """The index of every lane, as a vector (or a scalar when all agree)."""
        if not self.varies(index):
            return self.index(index)
        key = ("lanes", index)
        found = self.memo.get(key)
        if found is not None:
            return found
        assert self.vec is not None
        level = max(self.vec.level, ix.level(index))
        b = self.at(level)
        steady = ix.Index(index.const, tuple((a, k) for a, k in index.terms
                                             if not self._atom_varies(a)))
        total = b.splat(self.index(steady).v, self.lanes)
        for a, k in index.terms:
            if self._atom_varies(a):
                lanes = self._lane_atom(a)
                term = lanes if k == 1 else b.op("mul", lanes, const(lanes.type, k))
                total = b.op("add", total, term)
        found = Val(total, level)
        self.memo[key] = found
        return found

    def _lane_atom(self, atom: ix.Atom) -> Value:
        b = self.at(self.vec.level)  # type: ignore[union-attr]
        if isinstance(atom, ix.Var):
            ramp = b.iota(self.word.scalar, self.lanes)
            return b.op("add", b.splat(self.vars[atom], self.lanes), ramp)
        if isinstance(atom, ix.Dynamic):
            return atom.value  # type: ignore[no-any-return]
        inner = self.lane_index(atom.index)
        return loops.quotient(self.at(inner.level), inner.v, atom)

    def varies(self, index: ix.Index) -> bool:
        """Do lanes differ in this index?"""
        return any(self._atom_varies(a) for a, _ in index.terms)

    def _atom_varies(self, atom: ix.Atom) -> bool:
        if isinstance(atom, ix.Quotient):
            return self.varies(atom.index)
        if isinstance(atom, ix.Dynamic):
            return bool(atom.value.type.lanes > 1)
        return atom is self.vec and self.lanes > 1

    # -- values ----------------------------------------------------------------------------------
    def value(self, n: Node, indices: Indices, mask: Val | None = None) -> Val:
        """Element `indices` of n. Under a mask, lanes that are off hold anything."""
        found = self.known.get(n) or self.memo.get((n, indices, mask))
        if found is not None:
            return found
        stack = [(n, indices, mask)]  # a deep chain must not be a deep recursion
        while stack:
            top = stack[-1]
            if self.known.get(top[0]) or top in self.memo:
                stack.pop()
                continue
            missing = [k for k in self._operands(*top)
                       if not (self.known.get(k[0]) or k in self.memo)]
            if missing:
                stack.extend(missing)
                continue
            self.memo[top] = self._value(*top)
            stack.pop()
        return self.known.get(n) or self.memo[n, indices, mask]

    def _operands(self, n: Node, indices: Indices, mask: Val | None
                  ) -> list[tuple[Node, Indices, Val | None]]:
        """The elements that n's element is computed from, where that is plain."""
        if n.op == "param" or (n in self.stored and n not in self.inline) or n in self.written:
            return []
        if n.op in ELEMENTWISE or n.op == "mark":
            return [(s, indices, mask) for s in n.src]
        if n.op in _VIEWS:
            return [(n.src[0], self.moved(n, indices), mask)]
        return []

    def moved(self, n: Node, indices: Indices) -> Indices:
        found = self.moves.get((n, indices))
        if found is None:
            found = ix.movement(n.op, indices, n.shape, n.src[0].shape, n.arg)
            self.moves[n, indices] = found
        return found

    def _value(self, n: Node, indices: Indices, mask: Val | None) -> Val:
        if n.op == "param" or (n in self.stored and n not in self.inline):
            return self.load(n, ix.flatten(indices, n.shape), mask)
        if n in self.written:
            return self.load(self.written[n], ix.flatten(indices, n.shape), mask)
        if n.op == "const":
            return Val(const(scalar.register(n.dtype), decode(n.dtype, n.arg)), -1)
        if n.op == "scalar":
            return self.argument(n)
        if n.op == "iota":
            return self.iota(n, indices[n.arg])
        if n.op == "mark":
            return self.value(n.src[0], indices, mask)
        if n.op == "require":
            x, ok = (self.value(s, indices, mask) for s in n.src)
            return self.required(n, x, ok, mask)
        if n.op == "philox":
            words = self.random_words(n, indices, mask)
            if words is not None:
                return words
        if n.op in ELEMENTWISE:
            return self.elementwise(n, [self.value(s, indices, mask) for s in n.src])
        if n.op in _VIEWS:
            return self.value(n.src[0], self.moved(n, indices), mask)
        if n.op == "pad":
            return self.pad(n, indices, mask)
        if n.op == "gather":
            return self.gather(n, indices, mask)
        raise AssertionError(f"lower: no value for {n!r} inside a kernel")

    def elementwise(self, n: Node, operands: list[Val]) -> Val:
        level = max(o.level for o in operands)
        lanes = max(o.v.type.lanes for o in operands)
        if lanes > 1:
            return Val(scalar.emit(self.at(level), n, *(self.wide(o) for o in operands)), level)
        return Val(scalar.emit(self.at(level), n, *(o.v for o in operands)), level)

    def argument(self, n: Node) -> Val:
        b = self.at(-1)
        kind = scalar.memory(n.dtype)
        address = b.gep(self.pointer(0), make_type("i8"), const(I64, self.layout.scalars[n]))
        align = 1 if self.target.kind == "cpu" else n.dtype.itemsize
        return Val(scalar.from_memory(b, n.dtype, b.load(kind, address, align)), -1)

    def iota(self, n: Node, index: ix.Index) -> Val:
        at = self.lane_index(index)
        b = self.at(at.level)
        whole = dt.int64 if self.word is I64 else dt.int32
        return Val(scalar.cast(b, whole, n.dtype, at.v), at.level)

    def random_words(self, n: Node, indices: Indices, mask: Val | None) -> Val | None:
        """Random bits for lanes that are neighbours and begin with a block; None where they may
        not."""
        source, per = n.src[0], philox.words_per_block(n)
        draw, key = (self.value(s, indices, mask) for s in n.src[1:])
        while source.op in _VIEWS:
            indices = self.moved(source, indices)
            source = source.src[0]
        if source.op != "iota" or self.lanes % per:
            return None
        flat = indices[source.arg]
        if (self.stride(flat) != 1 or flat.const % per
                or any(k % per for a, k in flat.terms if a is not self.vec)
                or draw.v.type.lanes > 1 or key.v.type.lanes > 1):
            return None
        first = self.index(flat)
        level = max(first.level, draw.level, key.level)
        b = self.at(level)
        at = first.v if self.word is I64 else b.convert("zext", first.v, "i64")
        return Val(philox.deal(b, n, self.lanes, at, draw.v, key.v), level)

    # -- memory ----------------------------------------------------------------------------------
    def load(self, n: Node, flat: ix.Index, mask: Val | None) -> Val:
        base, dtype = self.pointer(self.layout.slots[n]), n.dtype
        if not self.varies(flat):
            return self._load_one(base, dtype, flat, mask)
        stride = self.stride(flat)
        at = self.index(flat) if stride is not None else self.lane_index(flat)
        level = max(at.level, self.vec.level if self.vec else -1, mask.level if mask else -1)
        b = self.at(level)
        masks = [self.wide(m) for m in (mask, self.mask) if m is not None]
        on = masks[0] if len(masks) == 1 else b.and_(*masks) if masks else None
        kind = scalar.memory(dtype, self.lanes)
        if stride == 1:
            if self.leaping and type(n.nbytes) is int and n.nbytes > self.target.l2:
                access.fetch(b, base, at.v, kind, flat.coefficient(self.leaping) * dtype.itemsize)
            raw = access.contiguous(b, base, at.v, kind, on, self.alignment(dtype))
        elif (stride == 2 and n.shape[-1:] == (2,) and mask is None and _even(flat)
              and (self.mask is None or self.active)):
            raw = self._one_of_pairs(n, base, flat, kind, level)
        elif (stride is not None and 1 < stride <= STRIDED and mask is None
              and (self.mask is None or self.active)):
            raw = (self._tiled_load(n, base, flat, kind, stride)
                   or self._strided_load(b, base, at.v, kind, stride))
        elif stride is not None and -STRIDED <= stride < 0 and on is None:
            raw = access.backwards(b, base, at.v, kind, -stride)
        else:
            lanes = at.v if stride is None else self._spread(b, at.v, stride)
            raw = access.gather(b, base, lanes, kind, on)
        return Val(scalar.from_memory(b, dtype, raw), level)

    def alignment(self, dtype: DType) -> int:
        """Bytes at which neighbouring lanes' memory is known to begin."""
        return dtype.itemsize

    def _strided_load(self, b: Block, base: Value, at: Value, kind: Type, stride: int) -> Value:
        """Neighbouring elements in one (masked) load, then the wanted lanes: no gather."""
        active = self.active or self.lanes
        span = kind.with_lanes(access.halvable(self.lanes * stride))
        address = b.gep(base, kind.with_lanes(1), at)
        on = access.lane_mask(span.lanes, range((active - 1) * stride + 1))
        raw = access.masked_load(b, span, address, on, kind.bits // 8)
        return b.shuffle(raw, raw, [i * stride for i in range(self.lanes)])

    def _tiled_load(self, n: Node, base: Value, flat: ix.Index, kind: Type, stride: int
                    ) -> Value | None:
        """Every `stride`-th of the neighbours that whole registers hold, as an element of a tile at
        a constant place has them: the loads serve all places. None where they might lie outside."""
        assert self.vec is not None
        sizes = (self.vec.extent, n.size, flat.const, *(k for _, k in flat.terms))
        if any(unknown(e) for e in sizes):
            return None
        fixed = [(a, k, int(self.vars[a].text)) for a, k in flat.terms if isinstance(a, ix.Var)
                 and a is not self.vec and self.vars[a].text[0] != "%"]
        place = flat.const + sum(k * v for _, k, v in fixed)
        known = {a for a, _, _ in fixed}
        rest = tuple((a, k) for a, k in flat.terms if a not in known)
        whole = ix.Index(place - place % stride, rest)
        count = self.active or self.lanes
        first = self.vec.extent // self.lanes * self.lanes - (0 if self.active else self.lanes)
        others = ix.Index(whole.const, tuple((a, k) for a, k in rest if a is not self.vec))
        low, high = others.bounds()
        if low < 0 or high + stride * (first + count) > n.size:
            return None
        register = min(self.lanes, max(1, self.target.vector_bytes * 8 // kind.bits))
        parts = [self._register(n, base, whole, kind.with_lanes(register), i, count * stride)
                 for i in range(-(-count * stride // register))]
        b = self.at(max(v.level for v in parts))
        wanted = [stride * i + place % stride for i in range(self.lanes)]
        return access.picked(b, [v.v for v in parts], wanted)

    def _register(self, n: Node, base: Value, whole: ix.Index, kind: Type, i: int, count: int
                  ) -> Val:
        """Register number i of `count` elements from `whole` on."""
        key = ("register", n, whole, kind, i)
        found = self.memo.get(key)
        if found is None:
            at = self.index(whole)
            b = self.at(at.level)
            address = b.gep(b.gep(base, kind.with_lanes(1), at.v), kind.with_lanes(1),
                            const(self.word, i * kind.lanes))
            size, left = max(1, kind.bits // 8), count - i * kind.lanes
            raw = b.load(kind, address, size) if left >= kind.lanes else access.masked_load(
                b, kind, address, access.lane_mask(kind.lanes, range(left)), size)
            found = self.memo[key] = Val(raw, at.level)
        return found

    def _one_of_pairs(self, n: Node, base: Value, flat: ix.Index, kind: Type, level: int) -> Value:
        """The first or second elements of pairs, as the parts of complex numbers: one load of whole
        pairs serves both."""
        b, which = self.at(level), flat.const % 2
        whole = flat + -which
        key = ("pairs", n, whole)
        found = self.memo.get(key)
        if found is None:
            span = kind.with_lanes(self.lanes * 2)
            address = b.gep(base, kind.with_lanes(1), self.index(whole).v)
            if self.active:
                on = access.lane_mask(span.lanes, range(self.active * 2))
                found = Val(access.masked_load(b, span, address, on, kind.bits // 8), level)
            else:
                found = Val(b.load(span, address, kind.bits // 8), level)
            self.memo[key] = found
        lanes = [2 * i + which for i in range(self.lanes)]
        return b.shuffle(found.v, found.v, lanes)

    def _strided_store(self, b: Block, base: Value, at: Value, raw: Value, stride: int) -> None:
        """Lanes spread apart, then one masked store."""
        active = self.active or self.lanes
        spread = [i // stride if i % stride == 0 else 0 for i in range(self.lanes * stride)]
        wide = b.shuffle(raw, raw, spread)
        on = access.lane_mask(self.lanes * stride, range(0, active * stride, stride))
        address = b.gep(base, raw.type.with_lanes(1), at)
        access.masked_store(b, wide, address, on, raw.type.bits // 8)

    def _spread(self, b: Block, first: Value, stride: int) -> Value:
        from_zero = b.iota(self.word.scalar, self.lanes)
        offsets = b.op("mul", from_zero, const(from_zero.type, stride))
        return b.op("add", b.splat(first, self.lanes), offsets)

    def stride(self, flat: ix.Index) -> int | None:
        """Elements between neighbouring lanes; None when not constant."""
        if any(self._atom_varies(a) for a, _ in flat.terms if a is not self.vec):
            return None
        return flat.coefficient(self.vec) if self.vec else 0

    def _load_one(self, base: Value, dtype: DType, flat: ix.Index, mask: Val | None) -> Val:
        at = self.index(flat)
        level = at.level
        if mask is not None and mask.v.type.lanes == 1:
            level = max(level, mask.level)
            b = self.at(level)
            at = Val(b.select(mask.v, at.v, const(self.word, 0)), level)
        elif mask is not None:  # lanes differ in the mask only: any valid address will do
            level = max(level, mask.level)
            b = self.at(level)
            some = b.intrinsic("llvm.vector.reduce.or", I1, mask.v, suffix=mask.v.type.mangled)
            at = Val(b.select(some, at.v, const(self.word, 0)), level)
        b = self.at(level)
        kind = scalar.memory(dtype)
        raw = b.load(kind, b.gep(base, kind, at.v), dtype.itemsize)
        return Val(scalar.from_memory(b, dtype, raw), level)

    def store_all(self, items: list[tuple[int, DType, ix.Index, Val]]) -> None:
        """Writes values at their positions; two that alternate in memory in one go."""
        while items:
            (slot, dtype, flat, v), *rest = items
            if (rest and rest[0][0] == slot and rest[0][2] == flat + 1 and self.varies(flat)
                    and self.stride(flat) == 2 and (self.mask is None or self.active)):
                self._store_pairs(slot, dtype, flat, v, rest.pop(0)[3])
            else:
                self.store(slot, dtype, flat, v)
            items = rest

    def _store_pairs(self, slot: int, dtype: DType, flat: ix.Index, first: Val, second: Val
                     ) -> None:
        base, block = self.pointer(slot), self.heads[-1]
        a, b = (scalar.to_memory(block, dtype, self.wide(v)) for v in (first, second))
        both = block.shuffle(a, b, [i // 2 + i % 2 * self.lanes for i in range(2 * self.lanes)])
        address = block.gep(base, both.type.with_lanes(1), self.index(flat).v)
        if self.active:
            on = access.lane_mask(both.type.lanes, range(self.active * 2))
            access.masked_store(block, both, address, on, dtype.itemsize)
        else:
            block.store(both, address, dtype.itemsize)

    def store(self, slot: int, dtype: DType, flat: ix.Index, v: Val) -> None:
        """Writes v at position `flat` of a slot, in the innermost open loop body."""
        base, block = self.pointer(slot), self.heads[-1]
        if not self.varies(flat):
            raw = scalar.to_memory(block, dtype, v.v)
            block.store(raw, block.gep(base, raw.type, self.index(flat).v), dtype.itemsize)
            return
        raw = scalar.to_memory(block, dtype, self.wide(v))
        on = self.mask.v if self.mask else None
        stride = self.stride(flat)
        if stride == 1:
            address = block.gep(base, raw.type.with_lanes(1), self.index(flat).v)
            if on is None:
                block.store(raw, address, self.alignment(dtype))
            else:
                access.masked_store(block, raw, address, on, dtype.itemsize)
            return
        if stride is not None and 1 < stride <= STRIDED and (on is None or self.active):
            self._strided_store(block, base, self.index(flat).v, raw, stride)
            return
        lanes = (self.lane_index(flat).v if stride is None
                 else self._spread(block, self.index(flat).v, stride))
        access.scatter(block, base, lanes, raw, on, dtype.itemsize)

    # -- masked movement -------------------------------------------------------------------------
    def pad(self, n: Node, indices: Indices, mask: Val | None) -> Val:
        spec, fill = n.arg
        source = n.src[0]
        inner: list[ix.Index] = []
        inside: Val | None = None
        for i, (before, between), extent in zip(indices, spec, source.shape):
            moved = i + -before
            q, r = ix.divmod_(moved, between)
            checks = []
            low, high = q.bounds()
            if low < 0 or high >= extent:
                checks.append(("ult", q, extent))
            if r.terms or r.const:
                checks.append(("eq", r, 0))
            for predicate, what, limit in checks:
                at = self.lane_index(what)
                test = Val(self.at(at.level).cmp(predicate, at.v, const(at.v.type, limit)),
                           at.level)
                inside = test if inside is None else self._both(inside, test)
            inner.append(q)
        if inside is None:
            return self.value(source, tuple(inner), mask)
        both = inside if mask is None else self._both(inside, mask)
        v = self.value(source, tuple(inner), both)
        empty = Val(const(scalar.register(n.dtype), decode(n.dtype, fill)), -1)
        return self.elementwise_select(inside, v, empty)

    def elementwise_select(self, m: Val, yes: Val, no: Val) -> Val:
        level = max(m.level, yes.level, no.level)
        if max(x.v.type.lanes for x in (m, yes, no)) > 1:
            values = [self.wide(x) for x in (m, yes, no)]
        else:
            values = [m.v, yes.v, no.v]
        return Val(self.at(level).select(*values), level)

    def _both(self, a: Val, c: Val) -> Val:
        level = max(a.level, c.level)
        if a.v.type.lanes == c.v.type.lanes:
            return Val(self.at(level).and_(a.v, c.v), level)
        return Val(self.at(level).and_(self.wide(a), self.wide(c)), level)

    def gather(self, n: Node, indices: Indices, mask: Val | None) -> Val:
        source, *where = n.src
        rank = len(where[0].shape) if where else 0
        leading: list[ix.Index] = []
        for axis, w in enumerate(where):
            found = self.value(w, indices[:rank], mask)
            found = self.checked(n, found, source.shape[axis], mask)
            leading.append(self.dynamic(found, source.shape[axis]))
        inner = (*leading, *indices[rank:])
        base = source
        while base.op in _VIEWS and not (base in self.stored and base not in self.inline):
            below = base.src[0]
            inner = ix.movement(base.op, inner, base.shape, below.shape, base.arg)
            base = below
        return self.value(base, inner, mask)

    def dynamic(self, at: Val, extent: int) -> ix.Index:
        """The index that is a value in [0, extent)."""
        v = at.v
        if v.type.scalar != self.word.scalar:
            v = self.at(at.level).convert("trunc", v, self.word.scalar)
        return ix.Index(0, ((ix.Dynamic(v, extent, at.level), 1),))

    def checked(self, n: Node, at: Val, extent: int, mask: Val | None) -> Val:
        """at, or 0 with the status word set where it lies outside [0, extent)."""
        level = max(at.level, mask.level if mask else -1)
        if self.mask is not None and at.v.type.lanes > 1:
            level = max(level, self.mask.level)
        b = self.at(level)
        bad = b.cmp("uge", at.v, const(at.v.type, extent))
        for m in (mask, self.mask if at.v.type.lanes > 1 else None):
            if m is not None:
                if m.v.type.lanes > bad.type.lanes:  # uniform index: on when any lane is
                    some = b.intrinsic("llvm.vector.reduce.or", I1, m.v, suffix=m.v.type.mangled)
                    bad = b.and_(bad, some)
                else:
                    bad = b.and_(bad, b.splat(m.v, bad.type.lanes))
        some = bad
        if bad.type.lanes > 1:
            some = b.intrinsic("llvm.vector.reduce.or", I1, bad, suffix=bad.type.mangled)
        self._fail_if(b, some, self.layout.errors[n])
        outside = b.cmp("uge", at.v, const(at.v.type, extent))
        return Val(b.select(outside, const(at.v.type, 0), at.v), level)

    def required(self, n: Node, x: Val, ok: Val, mask: Val | None) -> Val:
        """x, with the status word set where ok does not hold."""
        masks = [m for m in (mask, self.mask if ok.v.type.lanes > 1 else None) if m is not None]
        level = max([x.level, ok.level, *(m.level for m in masks)])
        b = self.at(level)
        bad = b.not_(ok.v)
        for m in masks:
            if m.v.type.lanes > bad.type.lanes:  # the same for all lanes: on when any lane is
                on = b.intrinsic("llvm.vector.reduce.or", I1, m.v, suffix=m.v.type.mangled)
                bad = b.and_(bad, on)
            else:
                bad = b.and_(bad, b.splat(m.v, bad.type.lanes))
        if bad.type.lanes > 1:
            bad = b.intrinsic("llvm.vector.reduce.or", I1, bad, suffix=bad.type.mangled)
        self._fail_if(b, bad, self.layout.errors[n])
        return Val(x.v, level)

    def _fail_if(self, b: Block, bad: Value, code: int) -> None:
        yes, go = b.names.fresh("bad"), b.names.fresh("fine")
        status = self.pointer(0)
        b.branch_if(bad, yes, go)
        b.label(yes)
        b.store(const(I64, code), status, 8)
        b.branch(go)
        b.label(go)


def _even(flat: ix.Index) -> bool:
    """Is the position's parity that of its constant?"""
    return all(k % 2 == 0 for _, k in flat.terms)
