"""Takes complex numbers out of a graph: each complex value becomes two real ones, its planes.

After this pass no node is complex, so fusion, code generation and derivatives of kernels know real
numbers only. In memory a complex element is its real part followed by its imaginary part: a buffer
of complex64[...] is one of float32[..., 2], the memory form, of which the planes are strided views.
Inside a program values travel as planes and are joined where memory is asked for: at results,
carries of loops and operands of host routines.

A complex matrix product is one real product of memory forms, (m, 2k) by (2k, 2n): each row of the
right operand stands there twice, as (re, im) and as (-im, re).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

from flambeau.compiler import dtype as dt
from flambeau.compiler import node as N
from flambeau.compiler.algebra import add, like, neg, sub
from flambeau.compiler.loop import Loop
from flambeau.compiler.node import Node, elementwise
from flambeau.compiler.planes_maths import FORMULAS, divide, multiply, power


class Planes(NamedTuple):
    """A complex value: its real and imaginary part, and its memory form where there is one."""

    re: Node
    im: Node
    memory: Node | None = None


Value = Node | Planes
Rule = Callable[[Node, list[Value]], Value]


def split_complex(roots: list[Node]) -> list[Node]:
    """The roots without complex nodes; a complex root of shape S is given in memory form (*S, 2).
    """
    order = N.toposort(roots)
    if not any(n.dtype.is_complex or n.op == "loop" for n in order):
        return roots
    done: dict[Node, Value] = {}
    for n in order:
        src = [done[s] for s in n.src]
        found = _split(n, src)
        if isinstance(found, Planes):
            for part in found:
                if part is not None and part.where is None:
                    part.where = n.where
        elif found.where is None:
            found.where = n.where
        done[n] = found
    return [joined(done[r]) for r in roots]


def memory_form(n: Node) -> Node:
    """The parameter that stands for n's memory: of its real dtype, with a last axis of 2."""
    if not n.dtype.is_complex:
        return n
    return N.node(n.op, n.dtype.real, (*n.shape, 2), (), n.arg)


def _split(n: Node, src: list[Value]) -> Value:
    if not n.dtype.is_complex and not any(isinstance(s, Planes) for s in src) and n.op != "loop":
        return N.rebuild(n, tuple(src))  # type: ignore[arg-type]
    return RULES[n.op](n, src)


# -- forms -----------------------------------------------------------------------------------------


def of_memory(m: Node) -> Planes:
    """The planes of a memory form."""
    rank = len(m.shape) - 1
    shape = m.shape[:-1]

    def part(i: int) -> Node:
        line = N.slice_(m, (*(0,) * rank, i), (*shape, 1), (1,) * (rank + 1))
        return N.reshape(line, shape)

    return Planes(part(0), part(1), m)


def joined(v: Value) -> Node:
    """A value as it lies in memory."""
    if not isinstance(v, Planes):
        return v
    if v.memory is not None:
        return v.memory
    parts = [N.reshape(p, (*p.shape, 1)) for p in (v.re, v.im)]
    return N.concat(parts, len(v.re.shape))


def _each(n: Node, src: list[Value]) -> Planes:
    """The same op on both planes."""
    re = tuple(s.re if isinstance(s, Planes) else s for s in src)
    im = tuple(s.im if isinstance(s, Planes) else s for s in src)
    kind = n.dtype.real
    return Planes(N.node(n.op, kind, n.shape, re, n.arg), N.node(n.op, kind, n.shape, im, n.arg))


def _pair(v: Value) -> Planes:
    assert isinstance(v, Planes)
    return v


# -- leaves and movement ---------------------------------------------------------------------------


def _leaf(n: Node, src: list[Value]) -> Value:
    if n.op == "param":
        return of_memory(memory_form(n))
    z = N.decode(n.dtype, n.arg)
    return Planes(N.const(n.dtype.real, z.real), N.const(n.dtype.real, z.imag))


def _moved(n: Node, src: list[Value]) -> Value:
    """Movement moves the memory form too, so that what only moves is moved whole."""
    z = _pair(src[0])
    if z.memory is None:
        return _each(n, src)
    m, rank = z.memory, len(n.src[0].shape)
    shape, arg = (*n.shape, 2), n.arg
    if n.op == "permute":
        arg = (*arg, rank)
    elif n.op == "slice":
        arg = (*arg, (0, 1))
    return of_memory(N.node(n.op, m.dtype, shape, (m,), arg))


def _pad(n: Node, src: list[Value]) -> Value:
    spec, bits = n.arg
    fill = N.decode(n.dtype, bits)
    z, kind = _pair(src[0]), n.dtype.real
    re, im = (N.node("pad", kind, n.shape, (plane,), (spec, N.encode(kind, part)))
              for plane, part in ((z.re, fill.real), (z.im, fill.imag)))
    return Planes(re, im)


def _concat(n: Node, src: list[Value]) -> Value:
    parts = [_pair(s).memory for s in src]
    if any(m is None for m in parts):
        return _each(n, src)
    return of_memory(N.concat([m for m in parts if m is not None], n.arg))


def _put(n: Node, src: list[Value]) -> Value:
    base, value = map(_pair, src)
    if base.memory is None:
        return _each(n, src)
    m = base.memory
    for i, plane in enumerate((value.re, value.im)):  # two writes into the memory that is there
        part = N.reshape(plane, (*plane.shape, 1))
        m = N.node("put", m.dtype, m.shape, (m, part), (*n.arg, (i, 1)))
    return of_memory(m)


def _gather(n: Node, src: list[Value]) -> Value:
    z, indices = _pair(src[0]), tuple(map(joined, src[1:]))
    if z.memory is None:
        return _each(n, src)
    return of_memory(N.node("gather", z.memory.dtype, (*n.shape, 2), (z.memory, *indices)))


# -- elementwise -----------------------------------------------------------------------------------


def _formula(n: Node, src: list[Value]) -> Value:
    z = _pair(src[0])
    return Planes(*FORMULAS[n.op](z.re, z.im))


def _cast(n: Node, src: list[Value]) -> Value:
    x = src[0]
    if not isinstance(x, Planes):
        re = N.cast(x, n.dtype.real)
        return Planes(re, like(re, 0))
    if n.dtype.is_complex:
        return Planes(N.cast(x.re, n.dtype.real), N.cast(x.im, n.dtype.real))
    if n.dtype is dt.bool_:
        return elementwise("or", N.cast(x.re, n.dtype), N.cast(x.im, n.dtype))
    return N.cast(x.re, n.dtype)


def _both_parts(op: str, join: str) -> Rule:
    def rule(n: Node, src: list[Value]) -> Value:
        pairs = [_pair(s) for s in src]
        return elementwise(join, elementwise(op, *(p.re for p in pairs)),
                           elementwise(op, *(p.im for p in pairs)))
    return rule


def _mul(n: Node, src: list[Value]) -> Value:
    (a, b, _), (c, d, _) = map(_pair, src)
    return Planes(*multiply((a, b), (c, d)))


def _div(n: Node, src: list[Value]) -> Value:
    (a, b, _), (c, d, _) = map(_pair, src)
    return Planes(*divide((a, b), (c, d)))


def _pow(n: Node, src: list[Value]) -> Value:
    (a, b, _), (c, d, _) = map(_pair, src)
    return Planes(*power((a, b), (c, d)))


def _complex(n: Node, src: list[Value]) -> Value:
    re, im = src
    assert isinstance(re, Node) and isinstance(im, Node)
    return Planes(re, im)


# -- reductions and scans --------------------------------------------------------------------------


def _prod(n: Node, src: list[Value]) -> Value:
    """Axis by axis, halves times halves."""
    z = _pair(src[0])
    a, b = z.re, z.im
    for axis in n.arg:
        while a.shape[axis] > 1:
            extent = a.shape[axis]
            half = extent // 2
            low, high, rest = (_cut((a, b), axis, start, length) for start, length in
                               ((0, half), (half, half), (2 * half, extent - 2 * half)))
            a, b = multiply(low, high)
            if extent % 2:
                a, b = (N.concat(parts, axis) for parts in zip((a, b), rest))
        if a.shape[axis] == 0:
            a, b = (N.const(a.dtype, v, tuple(1 if i == axis else e
                                              for i, e in enumerate(a.shape))) for v in (1, 0))
    return Planes(a, b)


def _cut(z: tuple[Node, Node], axis: int, start: int, length: int) -> tuple[Node, Node]:
    re, im = z
    starts = tuple(start if i == axis else 0 for i in range(len(re.shape)))
    lengths = tuple(length if i == axis else e for i, e in enumerate(re.shape))
    steps = (1,) * len(re.shape)
    return N.slice_(re, starts, lengths, steps), N.slice_(im, starts, lengths, steps)


def _cumprod(n: Node, src: list[Value]) -> Value:
    """Each element times the one 1, 2, 4, ... before it: a logarithm of steps."""
    z = _pair(src[0])
    a, b, axis = z.re, z.im, n.arg
    extent, step = n.shape[axis], 1
    while step < extent:
        re, im = _cut((a, b), axis, 0, extent - step)
        before = tuple(step if i == axis else 0 for i in range(len(n.shape)))
        a, b = multiply((a, b), (N.pad(re, before, n.shape, 1), N.pad(im, before, n.shape, 0)))
        step *= 2
    return Planes(a, b)


# -- contractions ----------------------------------------------------------------------------------


def _dot(n: Node, src: list[Value]) -> Value:
    """(b, m, 2k) x (b, 2k, 2n): the left operand and the result are memory forms."""
    a, b = map(_pair, src)
    batch, rows, inner = a.re.shape
    columns = b.re.shape[2]
    left = N.reshape(joined(a), (batch, rows, 2 * inner))
    shape = (batch, inner, 1, columns, 1)
    re, im, minus = (N.reshape(p, shape) for p in (b.re, b.im, neg(b.im)))
    first, second = N.concat((re, im), 4), N.concat((minus, re), 4)
    right = N.reshape(N.concat((first, second), 2), (batch, 2 * inner, 2 * columns))
    found = N.node("dot", n.dtype.real, (batch, rows, 2 * columns), (left, right))
    return of_memory(N.reshape(found, (*n.shape, 2)))


def _conv(n: Node, src: list[Value]) -> Value:
    (a, b, _), (c, d, _) = map(_pair, src)

    def conv(x: Node, w: Node) -> Node:
        return N.node("conv", n.dtype.real, n.shape, (x, w), n.arg)

    return Planes(sub(conv(a, c), conv(b, d)), add(conv(a, d), conv(b, c)))


# -- the rest --------------------------------------------------------------------------------------


def _extern(n: Node, src: list[Value]) -> Value:
    name, options, shape = routine(n)
    found = N.node("extern", n.dtype.real, shape, tuple(map(joined, src)), (name, options))
    return of_memory(found) if n.dtype.is_complex else found


def routine(n: Node) -> tuple[str, object, N.Shape]:
    """Name, options and result's shape of the routine that runs for an extern: where numbers are
    complex it is "packed", which gives complex arrays to the one that was meant."""
    flags = tuple(s.dtype.is_complex for s in n.src)
    if not n.dtype.is_complex and not any(flags):
        return (*n.arg, n.shape)
    return "packed", (*n.arg, flags), (*n.shape, 2) if n.dtype.is_complex else n.shape


def _loop(n: Node, src: list[Value]) -> Value:
    loop: Loop = n.arg
    results = split_complex(list(loop.results))
    condition = None if loop.condition is None else split_complex([loop.condition])[0]
    made = replace(loop, inputs=tuple(map(memory_form, loop.inputs)),
                   carried=tuple(results[:loop.carries]), stacked=tuple(results[loop.carries:]),
                   condition=condition)
    return N.node("loop", n.dtype, n.shape, tuple(map(joined, src)), made)


def _output(n: Node, src: list[Value]) -> Value:
    loop = src[0]
    assert isinstance(loop, Node)
    if not n.dtype.is_complex:
        return N.node("output", n.dtype, n.shape, (loop,), n.arg)
    return of_memory(N.node("output", n.dtype.real, (*n.shape, 2), (loop,), n.arg))


def _conj(n: Node, src: list[Value]) -> Value:
    z = _pair(src[0])
    return Planes(z.re, neg(z.im))


RULES: dict[str, Rule] = {
    "param": _leaf, "const": _leaf,
    **dict.fromkeys(("reshape", "permute", "expand", "slice"), _moved),
    "pad": _pad, "concat": _concat, "gather": _gather, "scatter": _each, "put": _put,
    **dict.fromkeys(FORMULAS, _formula),
    **dict.fromkeys(("neg", "add", "sub", "where", "sum", "cumsum"), _each),
    "mul": _mul, "div": _div, "pow": _pow, "cast": _cast, "conj": _conj, "complex": _complex,
    "real": lambda n, src: _pair(src[0]).re,
    "imag": lambda n, src: _pair(src[0]).im,
    "modulus": lambda n, src: elementwise("hypot", _pair(src[0]).re, _pair(src[0]).im),
    "isnan": _both_parts("isnan", "or"), "isinf": _both_parts("isinf", "or"),
    "eq": _both_parts("eq", "and"), "ne": _both_parts("ne", "or"),
    "prod": _prod, "cumprod": _cumprod, "dot": _dot, "conv": _conv,
    "extern": _extern, "loop": _loop, "output": _output,
    "mark": lambda n, src: src[0],
}
