"""Simplification of movement, indexing, reductions and contractions (laws: see simplify.py).

Broadcasts (`expand`) move towards the root past whatever can be computed before them; so do
reshapes and permutations, where every operand has the same. Slices move the other way, to where
they cut most. Three rules trade nodes for elements: a gather before elementwise ops rather than
after, a one-hot scatter as a comparison, slices of broadcasts.
"""

from __future__ import annotations

import math

from flambeau.compiler import node as N
from flambeau.compiler.algebra import compare, iota, like, mul, neg, where
from flambeau.compiler.fold import constant
from flambeau.compiler.node import Node, Shape, elementwise, reduce_
from flambeau.compiler.rewrite import Rule

# -- elementwise under views: the last of every elementwise op's rules ---------------------------


def broadcast_last(n: Node) -> Node | None:
    """f(expand a, expand b) -> expand(f(a, b)), over the axes where neither has elements."""
    src = n.src
    if not any(s.op == "expand" for s in src):
        return None
    small = [1] * len(n.shape)
    for s in src:
        shape = s.src[0].shape if s.op == "expand" else s.shape
        for i, extent in enumerate(shape):
            if extent != 1:
                small[i] = extent
    target = tuple(small)
    if target == n.shape:
        return None
    before = [N.expand(s.src[0] if s.op == "expand" else s, target) for s in src]
    return N.expand(N.node(n.op, n.dtype, target, tuple(before), n.arg), n.shape)


def view_last(n: Node) -> Node | None:
    """f(reshape a, reshape b) -> reshape(f(a, b)), constants fitted; the same for permute."""
    first: Node | None = None
    for s in n.src:
        if s.op != "reshape" and s.op != "permute":
            if constant(s) is None:
                return None
        elif first is None:
            first = s if constant(s) is None else None
        elif constant(s) is None and not _same_view(s, first):
            return None
    if first is None:
        return None
    shape = first.src[0].shape
    src = tuple([_under(s, shape) for s in n.src])
    inner = N.node(n.op, n.dtype, shape, src, n.arg)
    return N.node(first.op, n.dtype, n.shape, (inner,), first.arg)


def _same_view(a: Node, b: Node) -> bool:
    return a.op == b.op and a.arg == b.arg and a.src[0].shape == b.src[0].shape


def _under(s: Node, shape: Shape) -> Node:
    value = constant(s)
    return s.src[0] if value is None else N.const(s.dtype, value, shape)


# -- views ---------------------------------------------------------------------------------------


def merged_view(n: Node) -> Node | None:
    """Views of one kind in a row as one, identities as none, views of constants as constants."""
    x = n.src[0]
    value = constant(x)
    if value is not None:
        made = N.const(n.dtype, value, n.shape)
    elif n.op == "reshape":
        made = N.reshape(x, n.shape)
    elif n.op == "permute":
        made = N.permute(x, n.arg)
    elif n.op == "expand":
        made = N.expand(x, n.shape)
    else:
        made = N.slice_(x, tuple([s for s, _ in n.arg]), n.shape, tuple([t for _, t in n.arg]))
    return None if made is n else made


def reshape_of_expand(n: Node) -> Node | None:
    """The reshape first, where no run of merged or split axes mixes repeated and other axes."""
    x = n.src[0]
    if x.op != "expand":
        return None
    narrow = x.src[0].shape
    shape: list[int] = []
    for old, new in _groups(x.shape, n.shape):
        if all(narrow[i] == x.shape[i] for i in old):
            shape += [n.shape[j] for j in new]
        elif all(narrow[i] == 1 for i in old):
            shape += [1] * len(new)
        else:
            return None
    return N.expand(N.reshape(x.src[0], tuple(shape)), n.shape)


def _groups(a: Shape, b: Shape) -> list[tuple[list[int], list[int]]]:
    """The shortest runs of axes of a and of b with as many elements each."""
    if 0 in a:
        return [(list(range(len(a))), list(range(len(b))))]
    groups: list[tuple[list[int], list[int]]] = []
    i, j = 0, 0
    while i < len(a) or j < len(b):
        old: list[int] = []
        new: list[int] = []
        left, right = 1, 1
        while not (old or new) or left != right:
            if i < len(a) and (left <= right or j == len(b)):
                left, i = left * a[i], i + 1
                old.append(i - 1)
            else:
                right, j = right * b[j], j + 1
                new.append(j - 1)
        groups.append((old, new))
    return groups


def permute_rules(n: Node) -> Node | None:
    """Past an expand; as a reshape when only axes of length 1 move; past a product by exchange."""
    x, order = n.src[0], n.arg
    if x.op == "expand":
        return N.expand(N.permute(x.src[0], order), n.shape)
    moved = [i for i in order if x.shape[i] != 1]
    if moved == sorted(moved):
        return N.reshape(x, n.shape)
    if x.op == "dot" and order == (0, 2, 1):
        a, b = x.src
        if any(s.op == "permute" and s.arg == (0, 2, 1) for s in (a, b)):
            return N.node("dot", n.dtype, n.shape, (N.permute(b, order), N.permute(a, order)))
    return None


def slice_of_expand(n: Node) -> Node | None:
    """Cut first, repeat after."""
    x = n.src[0]
    if x.op != "expand":
        return None
    narrow = x.src[0]
    once = [e == 1 for e in narrow.shape]
    starts = tuple(0 if o else s for o, (s, _) in zip(once, n.arg))
    steps = tuple(1 if o else t for o, (_, t) in zip(once, n.arg))
    lengths = tuple(1 if o else e for o, e in zip(once, n.shape))
    return N.expand(N.slice_(narrow, starts, lengths, steps), n.shape)


def slice_of_concat(n: Node) -> Node | None:
    """A slice inside one part is a slice of that part."""
    x = n.src[0]
    if x.op != "concat" or 0 in n.shape:
        return None
    start, step = n.arg[x.arg]
    low, high = _ends(start, step, n.shape[x.arg])
    begin = 0
    for part in x.src:
        end = begin + part.shape[x.arg]
        if begin <= low and high < end:
            starts = tuple(s - begin if i == x.arg else s for i, (s, _) in enumerate(n.arg))
            return N.slice_(part, starts, n.shape, tuple(t for _, t in n.arg))
        begin = end
    return None


def slice_of_pad(n: Node) -> Node | None:
    """A slice that reads only what was padded, or only the padding."""
    x = n.src[0]
    if x.op != "pad" or 0 in n.shape:
        return None
    spec, fill = x.arg
    inner = x.src[0]
    rows = list(zip(n.arg, n.shape, spec, inner.shape))
    if any(_outside(*row) for row in rows):
        return N.const(n.dtype, N.decode(n.dtype, fill), n.shape)
    places = [_inside(*row) for row in rows]
    found = [p for p in places if p is not None]
    if len(found) < len(places):
        return None
    return N.slice_(inner, tuple(s for s, _ in found), n.shape, tuple(t for _, t in found))


def _ends(start: int, step: int, length: int) -> tuple[int, int]:
    last = start + step * (length - 1)
    return min(start, last), max(start, last)


def _outside(cut: tuple[int, int], length: int, place: tuple[int, int], extent: int) -> bool:
    """Does a slice of this axis miss all that was padded?"""
    low, high = _ends(*cut, length)
    return high < place[0] or low > place[0] + place[1] * (extent - 1)


def _inside(cut: tuple[int, int], length: int, place: tuple[int, int], extent: int
            ) -> tuple[int, int] | None:
    """(start, step) in the padded tensor itself, when the slice meets nothing else."""
    (start, step), (before, between) = cut, place
    low, high = _ends(start, step, length)
    step = step if length > 1 else between
    if low < before or high > before + between * (extent - 1):
        return None
    if (start - before) % between or step % between:
        return None
    return (start - before) // between, step // between


def slice_of_put(n: Node) -> Node | None:
    """Reading what was written, or what was left alone."""
    x = n.src[0]
    if x.op != "put" or 0 in n.shape:
        return None
    base, value = x.src
    if x.arg == n.arg and value.shape == n.shape:
        return value
    for (s, t), length, (u, v), width in zip(n.arg, n.shape, x.arg, value.shape):
        low, high = _ends(s, t, length)
        first, last = _ends(u, v, width)
        if high < first or last < low:
            return N.slice_(base, tuple(s for s, _ in n.arg), n.shape, tuple(t for _, t in n.arg))
    return None


def pad_rules(n: Node) -> Node | None:
    """Padding with what is there, padding nothing, twice, or not at all."""
    x, (spec, fill) = n.src[0], n.arg
    value, filling = constant(x), N.decode(n.dtype, fill)
    if 0 in x.shape or (value is not None and N.encode(n.dtype, value) == fill):
        return N.const(n.dtype, filling, n.shape)
    if x.shape == n.shape:
        return x
    if x.op == "pad" and x.arg[1] == fill:
        both = tuple((b + k * c, k * j) for (b, k), (c, j) in zip(spec, x.arg[0]))
        return N.node("pad", n.dtype, n.shape, (x.src[0],), (both, fill))
    return None


def concat_rules(n: Node) -> Node | None:
    """One part, empty parts, parts that are concats, neighbouring cuts of one tensor."""
    axis, parts = n.arg, n.src
    if len(parts) == 1:
        return parts[0]
    if any(p.shape[axis] == 0 for p in parts):
        kept = [p for p in parts if p.shape[axis]] or parts[:1]
        return N.concat(kept, axis)
    if any(p.op == "concat" and p.arg == axis for p in parts):
        flat: list[Node] = []
        for p in parts:
            flat += p.src if p.op == "concat" and p.arg == axis else (p,)
        return N.concat(flat, axis)
    return _neighbours(n)


def _neighbours(n: Node) -> Node | None:
    axis, first = n.arg, n.src[0]
    if first.op != "slice":
        return None
    start, step = first.arg[axis]
    expected = start
    for p in n.src:
        same = p.op == "slice" and p.src[0] is first.src[0] and all(
            s == t for i, (s, t) in enumerate(zip(p.arg, first.arg)) if i != axis)
        if not same or p.arg[axis] != (expected, step):
            return None
        expected += step * p.shape[axis]
    return N.node("slice", n.dtype, n.shape, (first.src[0],), first.arg)


def add_of_pads(n: Node) -> Node | None:
    """Zero-padded neighbours as one padded concat: the cotangents of cuts of one tensor."""
    parts = _padded_terms(n)
    if parts is None:
        return None
    a, *rest = parts
    differ = {i for b in rest for i, (s, t) in enumerate(zip(a.arg[0], b.arg[0])) if s != t}
    if len(differ) != 1:
        return None
    axis = differ.pop()
    parts.sort(key=lambda p: p.arg[0][axis][0])
    end = parts[0].arg[0][axis][0]
    for p in parts:
        if p.arg[0][axis][0] != end or any(
                e != f for i, (e, f) in enumerate(zip(p.src[0].shape, parts[0].src[0].shape))
                if i != axis):
            return None
        end += p.src[0].shape[axis]
    joined = N.concat([p.src[0] for p in parts], axis)
    return N.pad(joined, tuple(s for s, _ in parts[0].arg[0]), n.shape)


def _padded_terms(n: Node) -> list[Node] | None:
    """The terms of a sum of values padded with zeros; None if there are others, or too many."""
    terms: list[Node] = []
    stack = list(n.src)
    while stack:
        t = stack.pop()
        if t.op == "add" and len(terms) + len(stack) < _TILES:
            stack += t.src
        elif t.op == "pad" and not t.arg[1] and all(k == 1 for _, k in t.arg[0]):
            terms.append(t)
        else:
            return None
    return terms


# -- indexing --------------------------------------------------------------------------------------


def _counts(index: Node, extent: int) -> bool:
    """Is index 0, 1, ..., extent - 1?"""
    while index.op == "reshape" and len(index.shape) == 1:
        index = index.src[0]
    return index.op == "iota" and index.shape == (extent,)


def gather_of_all(n: Node) -> Node | None:
    """x[0, 1, ..., all] -> x."""
    x, *indices = n.src
    return x if len(indices) == 1 and _counts(indices[0], x.shape[0]) else None


_ROW_BY_ROW = frozenset(("add", "sub", "mul", "div", "neg", "log", "cast"))


def gather_first(n: Node) -> Node | None:
    """f(x, expand row)[i, y] -> f(x[i, y], row) for few elements: the loss of a log-softmax.

    All operands but one repeat along every axis that is truly indexed, so that one keeps the bounds
    check; cheap ops only, and never a matrix of parameters (a bias varies along y).
    """
    x, *indices = n.src
    if x.op not in _ROW_BY_ROW or 2 * n.size > x.size:
        return None
    if x.op == "div" and x.src[0].op == "exp":
        return None  # a softmax: its log is to be found whole
    loose = [i for i, index in enumerate(indices) if not _counts(index, x.shape[i])]
    full = [s for s in x.src if not _repeats(s, loose)]
    if len(full) != 1 or not loose:
        return None
    picked = []
    for s in x.src:
        value = constant(s)
        if value is None:
            picked.append(_gathered(s, indices, n.shape))
        else:
            picked.append(N.const(s.dtype, value, n.shape))
    return N.node(x.op, n.dtype, n.shape, tuple(picked), x.arg)


def _repeats(s: Node, axes: list[int]) -> bool:
    if constant(s) is not None:
        return True
    return s.op == "expand" and all(s.src[0].shape[i] == 1 for i in axes)


def _gathered(s: Node, indices: list[Node], shape: Shape) -> Node:
    if s.op != "expand":
        return N.node("gather", s.dtype, shape, (s, *indices))
    narrow = s.src[0]
    k, places = len(indices), indices[0].shape
    rest = narrow.shape[k:]
    kept = [i for i in range(k) if narrow.shape[i] == s.shape[i]]
    source = N.reshape(narrow, tuple(narrow.shape[i] for i in kept) + rest)
    if not kept:
        wide = N.reshape(source, (1,) * len(places) + rest)
    else:
        used = tuple(indices[i] for i in kept)
        wide = N.node("gather", s.dtype, places + rest, (source, *used))
    return N.expand(wide, shape)


def scatter_of_nothing(n: Node) -> Node | None:
    return n.src[0] if n.src[1].size == 0 else None


def one_hot(n: Node) -> Node | None:
    """zeros[0.., y] = v -> where(column == y, v, 0), which fuses; rows count 0, 1, ....

    An index out of bounds then selects nothing, where the scatter would refuse: its gather, from
    whose cotangent the pattern stems, has refused already.
    """
    base, value, *indices = n.src
    if n.arg not in ("set", "add") or not N.is_const(base, 0) or len(indices) != 2:
        return None
    rows, columns = indices
    if len(base.shape) != 2 or len(columns.shape) != 1 or not _counts(rows, base.shape[0]):
        return None
    tall = (base.shape[0], 1)
    hit = compare("eq", iota(base.shape, 1), N.expand(N.reshape(columns, tall), base.shape))
    return where(hit, N.expand(N.reshape(value, tall), base.shape), like(base, 0))


def add_of_scatter(n: Node) -> Node | None:
    """x + (zeros with additions) -> x with additions."""
    for s, other in (n.src, n.src[::-1]):
        if s.op == "scatter" and s.arg == "add" and N.is_const(s.src[0], 0):
            return N.node("scatter", n.dtype, n.shape, (other, *s.src[1:]), "add")
    return None


def put_rules(n: Node) -> Node | None:
    """Over everything, nothing, the same place, its own value; into a constant as padding."""
    base, value = n.src
    if value.size == 0:
        return base
    if value.shape == base.shape and all(s == (0, 1) for s in n.arg):
        return value
    if base.op == "put" and base.arg == n.arg and base.src[1].shape == value.shape:
        return N.node("put", n.dtype, n.shape, (base.src[0], value), n.arg)
    if value.op == "slice" and value.src[0] is base and value.arg == n.arg:
        return base
    fill = constant(base)
    if fill is not None and all(t > 0 for _, t in n.arg):
        before, between = tuple(s for s, _ in n.arg), tuple(t for _, t in n.arg)
        return N.pad(value, before, n.shape, fill, between)
    return None


_TILES = 256  # pieces of a vector that are looked for


def put_tiles(n: Node) -> Node | None:
    """Writes that cover a vector piece by piece are its concatenation: flat parameters."""
    if len(n.shape) != 1 or n.src[0].op not in ("put", "pad"):
        return None
    pieces: dict[int, Node] = {}
    left, m = n.shape[0], n
    while left > 0 and m.op in ("put", "pad") and len(pieces) < _TILES:
        ((start, step),) = m.arg if m.op == "put" else m.arg[0]  # padding: the first write
        value = m.src[-1]
        if step != 1 or not value.size:
            return None
        if start not in pieces:
            pieces[start] = value
            left -= value.size
        elif pieces[start].size != value.size:
            return None
        if m.op == "pad":
            break
        m = m.src[0]
    if left:
        return None
    at = 0
    for start in sorted(pieces):
        if start != at:
            return None
        at += pieces[start].size
    return N.concat([pieces[start] for start in sorted(pieces)], 0)


# -- reductions and scans --------------------------------------------------------------------------


def reduce_of_ones(n: Node) -> Node | None:
    """Axes of length 1 need no reduction."""
    x = n.src[0]
    axes = tuple([i for i in n.arg if x.shape[i] != 1])
    if len(axes) == len(n.arg):
        return None
    return reduce_(n.op, x, axes) if axes else x


def arg_of_ones(n: Node) -> Node | None:
    return like(n, 0) if n.src[0].shape[n.arg[0]] == 1 else None


def scan_of_ones(n: Node) -> Node | None:
    x = n.src[0]
    return x if x.shape and x.shape[n.arg] == 1 else None


def reduce_of_expand(n: Node) -> Node | None:
    """sum(expand x) -> x times the count, max(expand x) -> x, over the repeated axes."""
    x = n.src[0]
    if x.op != "expand" or n.op == "prod" or 0 in x.shape:
        return None
    narrow = x.src[0]
    repeated = [i for i in n.arg if narrow.shape[i] == 1 and x.shape[i] != 1]
    if not repeated:
        return None
    shape = tuple([1 if i in repeated else e for i, e in enumerate(x.shape)])
    axes = tuple([i for i in n.arg if i not in repeated])
    inner = N.expand(narrow, shape)
    reduced = reduce_(n.op, inner, axes) if axes else inner
    if n.op != "sum" or n.dtype.kind == "b":
        return reduced
    return mul(reduced, like(n, math.prod([x.shape[i] for i in repeated])))


def reduce_twice(n: Node) -> Node | None:
    """sum(sum x) -> one sum over both sets of axes; max, min and prod alike.

    Not over a reshape: so look the blocks that split_reductions cuts, and means to keep.
    """
    x = n.src[0]
    if x.op != n.op or x.src[0].op == "reshape":
        return None
    return reduce_(n.op, x.src[0], tuple(sorted({*n.arg, *x.arg})))


def reduce_of_view(n: Node) -> Node | None:
    """Of a permutation: permuted after; of everything in a reshape: everything of its source."""
    x = n.src[0]
    if x.op == "permute":
        axes = tuple(sorted([x.arg[i] for i in n.arg]))
        return N.permute(reduce_(n.op, x.src[0], axes), x.arg)
    if x.op == "reshape" and n.size == 1 and x.size > 1:
        inner = x.src[0]
        return N.reshape(reduce_(n.op, inner, tuple(range(len(inner.shape)))), n.shape)
    return None


def scale_after_sum(n: Node) -> Node | None:
    """sum(-x) -> -sum(x), sum(x * c) -> sum(x) * c, sum(x / c) -> sum(x) / c for a constant c.

    Not for 16-bit floats, whose sums would overflow, nor for a c that is 0, not finite, or known
    only at run time, when it may be either: 1 / 0 - 2 / 0 is NaN, and (1 - 2) / 0 is not.
    """
    x = n.src[0]
    if n.dtype.kind == "b" or (n.dtype.is_float and n.dtype.itemsize == 2):
        return None
    if x.op == "neg":
        return neg(reduce_("sum", x.src[0], n.arg))
    if x.op == "mul" or x.op == "div":
        a, b = x.src
        c = _one_number(b, n.shape)
        if c is None and x.op == "mul":
            a, b = b, a
            c = _one_number(b, n.shape)
        if c is not None:
            return elementwise(x.op, reduce_("sum", a, n.arg), c)
    return None


def _one_number(c: Node, shape: Shape) -> Node | None:
    if c.op != "expand" or c.src[0].size != 1:
        return None
    value = constant(c)
    if not value or not math.isfinite(value):
        return None
    return N.expand(c.src[0], shape)


# -- contractions ----------------------------------------------------------------------------------


def outer_product(n: Node) -> Node | None:
    """A product over one term is a broadcast multiplication, which fuses with what follows."""
    a, b = n.src
    return mul(N.expand(a, n.shape), N.expand(b, n.shape)) if a.shape[2] == 1 else None


def one_matrix_for_all(n: Node) -> Node | None:
    """A batch times one repeated matrix is one taller product."""
    a, b = n.src
    batch, rows, inner = a.shape
    if batch == 1 or b.op != "expand" or b.src[0].shape[0] != 1:
        return None
    if b.src[0].shape[1:] != b.shape[1:]:
        return None
    tall = N.reshape(a, (1, batch * rows, inner))
    product = N.node("dot", n.dtype, (1, batch * rows, n.shape[2]), (tall, b.src[0]))
    return N.reshape(product, n.shape)


_REDUCE: tuple[Rule, ...] = (reduce_of_ones, reduce_twice, reduce_of_expand, reduce_of_view)

SHAPES: dict[str, tuple[Rule, ...]] = {
    "add": (add_of_pads, add_of_scatter),
    "reshape": (merged_view, reshape_of_expand),
    "permute": (merged_view, permute_rules),
    "expand": (merged_view,),
    "slice": (merged_view, slice_of_expand, slice_of_concat, slice_of_pad, slice_of_put),
    "pad": (pad_rules,),
    "concat": (concat_rules,),
    "gather": (gather_of_all, gather_first),
    "scatter": (scatter_of_nothing, one_hot),
    "put": (put_rules, put_tiles),
    "sum": (*_REDUCE, scale_after_sum), "prod": _REDUCE, "max": _REDUCE, "min": _REDUCE,
    "argmax": (arg_of_ones,), "argmin": (arg_of_ones,),
    "cumsum": (scan_of_ones,), "cumprod": (scan_of_ones,),
    "cummax": (scan_of_ones,), "cummin": (scan_of_ones,),
    "dot": (outer_product, one_matrix_for_all),
}
