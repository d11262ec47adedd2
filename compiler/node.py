"""The one graph node: immutable, interned, weakly held.

`Node(op, dtype, shape, src, arg)`: equal expressions are the same object, so common subexpressions
vanish at birth and everything downstream compares with `is`. The intern table keys sources by
identity and holds nodes weakly; a node's death removes its key before its sources can die.

Scalars are the exception: each Python number is a node of its own, since two numbers that happen
to be equal today must not make one program out of two roles.
"""

from __future__ import annotations

import struct
import weakref
from collections.abc import Callable, Iterable
from typing import Any

from flambeau.compiler import dtype as dt
from flambeau.compiler.dtype import DType

Shape = tuple[int, ...]


class Node:
    """One value of the graph. Make nodes with `node()`; never change one."""

    __slots__ = ("__weakref__", "arg", "dtype", "op", "shape", "src", "value", "where")

    op: str
    dtype: DType
    shape: Shape
    src: tuple[Node, ...]
    arg: Any
    where: tuple[str, int] | None  # user's file and line, for errors that come late
    value: Node | None  # the buffer leaf that holds it, once computed and still wanted as a graph

    @property
    def size(self) -> int:
        """Number of elements."""
        total = 1
        for extent in self.shape:
            total *= extent
        return total

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize

    def __repr__(self) -> str:
        return f"<{self.op} {self.dtype.name}{list(self.shape)}>"


class _Ref(weakref.ref):  # type: ignore[type-arg]
    __slots__ = ("key",)
    key: tuple[Any, ...]


_table: dict[tuple[Any, ...], _Ref] = {}


def _forget(ref: _Ref, table: dict[tuple[Any, ...], _Ref] = _table) -> None:
    if table.get(ref.key) is ref:
        del table[ref.key]


def node(op: str, dtype: DType, shape: Shape, src: tuple[Node, ...] = (), arg: Any = None) -> Node:
    """The interned node with these parts."""
    if len(src) == 2:
        key: tuple[Any, ...] = (op, dtype, shape, arg, id(src[0]), id(src[1]))
    elif len(src) == 1:
        key = (op, dtype, shape, arg, id(src[0]))
    else:
        key = (op, dtype, shape, arg, *map(id, src))
    ref = _table.get(key)
    if ref is not None:
        found = ref()
        if found is not None:
            return found
    made: Node = Node.__new__(Node)
    made.op = op
    made.dtype = dtype
    made.shape = shape
    made.src = src
    made.arg = arg
    made.where = None
    made.value = None
    ref = _Ref(made, _forget)
    ref.key = key
    _table[key] = ref
    return made


def buffer(dtype: DType, shape: Shape, memory: Any) -> Node:
    """A leaf whose values lie in `memory`; not interned, since memory is its own identity."""
    made: Node = Node.__new__(Node)
    made.op = "buffer"
    made.dtype = dtype
    made.shape = shape
    made.src = ()
    made.arg = memory
    made.where = None
    made.value = None
    return made


def fresh(op: str, dtype: DType, shape: Shape, src: tuple[Node, ...], arg: Any) -> Node:
    """A node that is not looked up, for graphs known to have no two equal ones.

    It costs half as much. `request.parametrise` interns whatever is compiled.
    """
    made: Node = Node.__new__(Node)
    made.op = op
    made.dtype = dtype
    made.shape = shape
    made.src = src
    made.arg = arg
    made.where = None
    made.value = None
    return made


def live_nodes() -> int:
    """How many interned nodes are alive: for tests of leaks and for reports."""
    return len(_table)


# -- leaves ------------------------------------------------------------------------------------


class Scalar:
    """A Python number's place in a graph; its identity is the role it plays.

    value: the number. A compiled function asks `current()` at every run, so that a subclass can
    follow a number that changes (a learning rate, the count of random draws). watch: (mapping, key)
    when the number changes only together with that entry's identity, else None.
    """

    __slots__ = ("value",)
    watch: tuple[dict[str, Any], str] | None = None

    def __init__(self, value: float | int | bool) -> None:
        self.value = value

    def current(self) -> float | int | bool:
        return self.value


def encode(dtype: DType, value: complex) -> int:
    """A constant's bits, so that -0.0 is not 0.0 and NaN is NaN. Complex: 64 bits for each part,
    the real one in the low half."""
    if dtype.is_complex:
        z = complex(value)
        low, high = (encode(dt.float64, part) & _WORD for part in (z.real, z.imag))
        return high << 64 | low
    return _encode_real(dtype, value)  # type: ignore[arg-type]


def _encode_real(dtype: DType, value: float | int | bool) -> int:
    if dtype.is_float:
        return struct.unpack("<q", struct.pack("<d", _to_float(value)))[0]  # type: ignore[no-any-return]
    if dtype is dt.bool_:
        return int(bool(value))
    bits = dtype.itemsize * 8
    wrapped = int(value) & ((1 << bits) - 1)
    return wrapped - (1 << bits) if dtype.kind == "i" and wrapped >> (bits - 1) else wrapped


def _to_float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")


_WORD = (1 << 64) - 1


def decode(dtype: DType, bits: int) -> Any:
    """The number behind `encode`'s bits."""
    if dtype.is_complex:
        return complex(*struct.unpack("<2d", bits.to_bytes(16, "little")))
    if dtype.is_float:
        return struct.unpack("<d", struct.pack("<q", bits))[0]  # type: ignore[no-any-return]
    return bool(bits) if dtype is dt.bool_ else bits


def const(dtype: DType, value: complex, shape: Shape = ()) -> Node:
    """A constant known to the compiler, repeated over `shape`."""
    return expand_to(node("const", dtype, (), (), encode(dtype, value)), shape)


def scalar(dtype: DType, value: float | int | bool) -> Node:
    """A number passed to the program at run time (0-d)."""
    return node("scalar", dtype, (), (), Scalar(value))


def is_const(n: Node, value: complex | None = None) -> bool:
    """Is n a constant (behind any broadcast), and this one if a value is given?"""
    found = const_value(n)
    return found is not None and (value is None or found == value)


def const_value(n: Node) -> Any:
    """The number of a constant, seen through broadcasts; None when n is no constant."""
    while n.op in ("expand", "reshape", "permute"):
        n = n.src[0]
    return decode(n.dtype, n.arg) if n.op == "const" else None


# -- movement shorthands (pure, no error messages: the frontend has checked) ----------------------


def reshape(x: Node, shape: Shape) -> Node:
    if x.shape == shape:
        return x
    while x.op == "reshape":
        x = x.src[0]
    return x if x.shape == shape else node("reshape", x.dtype, shape, (x,))


def permute(x: Node, order: tuple[int, ...]) -> Node:
    if order == tuple(range(len(order))):
        return x
    if x.op == "permute":
        inner = x.arg
        return permute(x.src[0], tuple(inner[i] for i in order))
    return node("permute", x.dtype, tuple(x.shape[i] for i in order), (x,), order)


def expand(x: Node, shape: Shape) -> Node:
    """Repeats axes of length 1; ranks agree."""
    if x.shape == shape:
        return x
    if x.op == "expand":
        x = x.src[0]
    return node("expand", x.dtype, shape, (x,))


def expand_to(x: Node, shape: Shape) -> Node:
    """Broadcasts as NumPy does: new axes in front, then axes of length 1 repeat."""
    if x.shape == shape:
        return x
    if len(x.shape) < len(shape):
        x = reshape(x, (1,) * (len(shape) - len(x.shape)) + x.shape)
    return expand(x, shape)


def slice_(x: Node, starts: tuple[int, ...], lengths: Shape, steps: tuple[int, ...]) -> Node:
    """x[start::step] with that many elements on each axis."""
    spec = tuple(zip(starts, steps))
    if lengths == x.shape and all(s == (0, 1) for s in spec):
        return x
    if x.op == "slice":  # a slice of a slice is one slice
        inner = x.arg
        spec = tuple((b + s * t, t * u) for (b, t), (s, u) in zip(inner, spec))
        return node("slice", x.dtype, lengths, (x.src[0],), spec)
    return node("slice", x.dtype, lengths, (x,), spec)


def pad(x: Node, before: tuple[int, ...], shape: Shape, fill: complex = 0,
        between: tuple[int, ...] | None = None) -> Node:
    """x set into `shape` filled with `fill`, `before` in from each start, `between` apart."""
    spread = between or (1,) * len(shape)
    if shape == x.shape and not any(before) and all(s == 1 for s in spread):
        return x
    arg = (tuple(zip(before, spread)), encode(x.dtype, fill))
    return node("pad", x.dtype, shape, (x,), arg)


def concat(parts: Iterable[Node], axis: int) -> Node:
    parts = tuple(parts)
    if len(parts) == 1:
        return parts[0]
    first = parts[0]
    total = sum(p.shape[axis] for p in parts)
    shape = (*first.shape[:axis], total, *first.shape[axis + 1:])
    return node("concat", first.dtype, shape, parts, axis)


def elementwise(op: str, *src: Node, dtype: DType | None = None, arg: Any = None) -> Node:
    """An elementwise node; the dtype is operand 0's (bool for comparisons) unless given."""
    if dtype is None:
        if op in _COMPARE:
            dtype = dt.bool_
        else:
            dtype = src[1].dtype if op == "where" else src[0].dtype
            if op in _PARTS:
                dtype = dtype.complex if op == "complex" else dtype.real
    return node(op, dtype, src[0].shape, src, arg)


def product(a: Node, b: Node) -> Node:
    """a * b where the compiler writes a contraction as a sum: floats are added unrounded."""
    return elementwise("mul", a, b, arg="product" if a.dtype.is_float else None)


def is_product(n: Node) -> bool:
    """Was n made by `product`? A product that a user wrote is rounded before it is added."""
    return n.op == "mul" and n.arg == "product"


_COMPARE = frozenset(("eq", "ne", "lt", "le", "isnan", "isinf", "signbit"))
_PARTS = frozenset(("complex", "real", "imag", "modulus"))


def cast(x: Node, dtype: DType) -> Node:
    return x if x.dtype is dtype else node("cast", dtype, x.shape, (x,))


def reduce_(op: str, x: Node, axes: tuple[int, ...]) -> Node:
    """A reduction over `axes`, which stay with length 1. argmax and argmin give int64."""
    if not axes:
        return x
    shape = tuple(1 if i in axes else e for i, e in enumerate(x.shape))
    dtype = dt.int64 if op in ("argmax", "argmin") else x.dtype
    return node(op, dtype, shape, (x,), axes)


# -- walks -------------------------------------------------------------------------------------


def toposort(roots: Iterable[Node], stop: Callable[[Node], bool] | None = None) -> list[Node]:
    """Every node under roots, sources first, each once; does not look below nodes that `stop`."""
    order: list[Node] = []
    seen: set[int] = set()
    stack: list[tuple[Node, bool]] = [(r, False) for r in reversed(list(roots))]
    while stack:
        n, ready = stack.pop()
        if ready:
            order.append(n)
            continue
        if id(n) in seen:
            continue
        seen.add(id(n))
        if not n.src or (stop is not None and stop(n)):
            order.append(n)
            continue
        stack.append((n, True))
        for s in reversed(n.src):
            if id(s) not in seen:
                stack.append((s, False))
    return order


def rebuild(n: Node, src: tuple[Node, ...]) -> Node:
    """n with other sources (of the same dtypes and shapes)."""
    if all(a is b for a, b in zip(n.src, src)):
        return n
    made = node(n.op, n.dtype, n.shape, src, n.arg)
    if made.where is None:
        made.where = n.where
    return made


def substitute(roots: Iterable[Node], replace: dict[Node, Node]) -> list[Node]:
    """The roots with some nodes replaced, everything above rebuilt."""
    roots = list(roots)
    done: dict[Node, Node] = dict(replace)
    for n in toposort(roots, stop=lambda m: m in replace):
        if n not in done:
            done[n] = rebuild(n, tuple(done[s] for s in n.src))
    return [done[r] for r in roots]
