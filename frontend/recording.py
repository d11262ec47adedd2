"""From user's operands to nodes: coercion, promotion, broadcasting, and the operators' fast path.

Python numbers are weak (NEP 50): they take the tensors' dtype, within its kind. Each becomes a
run-time argument (`node.scalar`), but 0, 1, -1 and 2, which the compiler may use, are constants.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np
from flambeau.compiler import dtype as dt
from flambeau.compiler import node as N
from flambeau.compiler.dtype import DType
from flambeau.compiler.node import Node, Shape, node

from . import realize as door
from . import tracing
from .creation import number, tensor
from .devices import one_device
from .tensor import Tensor, assign, check_axis, default_dtype, derive, mode, read, result

_WEAK = {bool: 1, int: 2, float: 3, complex: 4}


def coerce(name: str, x: Any) -> Any:
    """A Tensor or a Python number from what a user passed. Raises TypeError for other things."""
    if isinstance(x, Tensor) or type(x) in _WEAK:
        return x
    if isinstance(x, np.ndarray | np.generic | list | tuple):
        return tensor(x)
    raise TypeError(f"{name}: expected a tensor, an array or a number, got {type(x).__name__}")


def as_tensor(name: str, x: Any) -> Tensor:
    """A Tensor from what a user passed; Python numbers become 0-d."""
    if isinstance(x, Tensor):
        return x
    found = coerce(name, x)
    return found if isinstance(found, Tensor) else tensor(found)


def as_tensors(name: str, *xs: Any) -> list[Tensor]:
    """`as_tensor` of each; what is no tensor yet goes where the first tensor is."""
    where = next((x.device for x in xs if isinstance(x, Tensor)), None)
    return [x if isinstance(x, Tensor) else tensor(coerce(name, x), None, where) for x in xs]


def common_dtype(name: str, xs: tuple[Any, ...]) -> DType:
    """The promoted dtype of tensors, dtypes and weak Python numbers. Raises ValueError for tensors
    on several devices."""
    found: DType | None = None
    device = ""
    weak = 0
    for x in xs:
        if isinstance(x, Tensor):
            if x._storage.device != device:
                if device:
                    one_device(name, [t for t in xs if isinstance(t, Tensor)])
                device = x._storage.device
            x = x.dtype
        if isinstance(x, DType):
            found = x if found is None else dt.promote(found, x)
        else:
            weak = max(weak, _WEAK[type(x)])
    return _with_weak(found, weak)


def _with_weak(found: DType | None, weak: int) -> DType:
    """The dtype of tensors together with a Python bool (1), int (2), float (3) or complex (4)."""
    if found is None:
        return (dt.bool_, dt.bool_, dt.int64, default_dtype(), default_dtype().complex)[weak]
    if weak == 3 and not found.is_inexact:
        return default_dtype()
    if weak == 4:
        return (found if found.is_inexact else default_dtype()).complex
    return dt.int64 if weak == 2 and found is dt.bool_ else found


def broadcast_shapes(name: str, *shapes: Shape) -> Shape:
    """NumPy's broadcast of shapes. Raises ValueError when they do not fit."""
    found: list[int] = []
    for shape in shapes:
        if len(shape) > len(found):
            found = [1] * (len(shape) - len(found)) + found
        start = len(found) - len(shape)
        for i, extent in enumerate(shape, start):
            if found[i] == 1:
                found[i] = extent
            elif extent not in (1, found[i]):
                listed = " and ".join(str(tuple(s)) for s in shapes)
                raise ValueError(f"{name}: expected shapes that broadcast, got {listed}")
    return tuple(found)


def real_only(name: str, dtype: DType) -> None:
    """Raises TypeError for a complex dtype."""
    if dtype.kind == "c":
        raise TypeError(f"{name}: expected a real dtype, got {dtype.name}")


class Operands:
    """Operands as nodes of one dtype and shape, and what their result inherits."""

    __slots__ = ("device", "dtype", "nodes", "requires", "shape")

    def __init__(self, name: str, xs: tuple[Any, ...], dtype: DType | None = None,
                 const: bool = False) -> None:
        found: DType | None = None
        shape: Shape | None = None
        device = ""
        weak = 0
        requires = False
        clean = []
        for x in xs:
            if not isinstance(x, Tensor):
                kind = _WEAK.get(type(x))
                if kind is not None:
                    clean.append(x)
                    weak = kind if kind > weak else weak
                    continue
                x = coerce(name, x)
            clean.append(x)
            if shape is None:
                found, shape, device = x.dtype, x.shape, x._storage.device
            else:
                if found is not x.dtype:
                    found = dt.promote(found, x.dtype)  # type: ignore[arg-type]
                if shape != x.shape:
                    shape = broadcast_shapes(name, shape, x.shape)
                if device != x._storage.device:
                    device = one_device(name, [t for t in clean if isinstance(t, Tensor)])
            requires = requires or x.requires_grad
        self.dtype = d = dtype if dtype is not None else _with_weak(found, weak)
        self.device = device or "cpu"
        self.requires = requires and mode.grad
        self.shape = shape = () if shape is None else shape
        nodes = []
        for x in clean:
            if isinstance(x, Tensor):
                n = read(x)
                if n.dtype is not d:
                    n = node("cast", d, n.shape, (n,))
                nodes.append(n if n.shape == shape else N.expand_to(n, shape))
            else:
                nodes.append(number(name, x, d, shape, const))
        self.nodes = tuple(nodes)

    def make(self, n: Node) -> Tensor:
        """The result tensor of a node over these operands."""
        return result(n, self.requires, self.device)


def into(name: str, value: Tensor, out: Tensor | None) -> Tensor:
    """value, or `out` with value written into it. Shapes must agree; the dtype is cast within its
    kind or upward, as NumPy's out= does."""
    if out is None:
        return value
    if not isinstance(out, Tensor):
        raise TypeError(f"{name}: expected out to be a tensor, got {type(out).__name__}")
    if out.shape != value.shape:
        raise ValueError(f"{name}: expected out of shape {value.shape}, got {out.shape}")
    check_cast(name, value.dtype, out.dtype)
    return assign(name, out, value)


_ORDER = {"b": 0, "u": 1, "i": 2, "f": 3, "c": 4}


def check_cast(name: str, source: DType, target: DType) -> None:
    """Raises TypeError when a result of dtype source may not be stored as target."""
    if _ORDER[source.kind] > _ORDER[target.kind]:
        raise TypeError(f"{name}: expected a target that holds {source.name}, "
                        f"got {target.name}")


def update(name: str, t: Tensor, value: Tensor) -> Tensor:
    """Stores an operation's result in place of t: the in-place forms."""
    if value.shape != t.shape:
        raise ValueError(f"{name}: expected a result of shape {t.shape}, got {value.shape}")
    check_cast(name, value.dtype, t.dtype)
    return assign(name, t, value)


def in_place(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The form of `function` that overwrites its first operand and gives it back."""
    name = f"{function.__name__}_"

    @wraps(function)
    def method(self: Tensor, *args: Any, **options: Any) -> Tensor:
        return update(name, self, function(self, *args, **options))

    method.__name__ = method.__qualname__ = name
    method.__doc__ = (f"`{function.__name__}` in place: overwrites this tensor, seen by every view "
                      "of its storage; gives itself.\n\nRaises RuntimeError for a leaf that "
                      "requires grad, ValueError when the result has another shape.")
    return method


# -- operators -----------------------------------------------------------------------------------


def binary_method(op: str, kinds: str, slow: Callable[..., Tensor], swap: bool = False,
                  dtype: DType | None = None) -> Callable[[Tensor, Any], Tensor]:
    """A dunder method: operands of equal dtype (of those kinds) and shape are recorded at once."""

    def method(self: Tensor, other: Any) -> Tensor:
        if isinstance(other, Tensor):
            d = self.dtype
            if d is other.dtype and self.shape == other.shape and d.kind in kinds:
                a = self._storage
                b = other._storage
                if a.device is b.device:
                    if (self._view is None and other._view is None
                            and not a.requires and not b.requires):
                        src = (b.node, a.node) if swap else (a.node, b.node)
                        return result(node(op, dtype or d, self.shape, src), False, a.device)
                    src = (read(other), read(self)) if swap else (read(self), read(other))
                    return result(node(op, dtype or d, self.shape, src),
                                  mode.grad and (self.requires_grad or other.requires_grad),
                                  a.device)
        elif type(other) in _PLAIN and self.dtype.kind == "f" and "f" in kinds and op != "pow":
            return _with_number(op, self, other, swap, dtype)
        elif not isinstance(other, _ACCEPTED):
            return NotImplemented
        return slow(self, other)

    return method


_PLAIN = frozenset((int, float))


def _with_number(op: str, t: Tensor, value: float, first: bool, dtype: DType | None) -> Tensor:
    """A floating tensor and a Python number, which is the first operand or the second."""
    d = t.dtype
    storage = t._storage
    x = storage.node if t._view is None and not storage.requires else read(t)
    y = number(op, value, d, t.shape)
    n = node(op, dtype or d, t.shape, (y, x) if first else (x, y))
    return result(n, mode.grad and t.requires_grad, storage.device)


_ACCEPTED = (bool, int, float, complex, np.ndarray, np.generic, list, tuple)


def reflected(slow: Callable[..., Tensor], op: str = "") -> Callable[[Tensor, Any], Tensor]:
    """The dunder for a foreign left operand; `op` lets floating tensors record numbers at once."""
    def method(self: Tensor, other: Any) -> Tensor:
        if op and type(other) in _PLAIN and self.dtype.kind == "f":
            return _with_number(op, self, other, True, None)
        return slow(other, self) if isinstance(other, _ACCEPTED) else NotImplemented
    return method


def required(name: str, text: str, value: Tensor, ok: Tensor) -> Tensor:
    """value, which raises ValueError(f"{name}: {text}") when it is computed and ok (bool) does not
    hold somewhere; the error names the user's line."""
    n = read(value)
    made = node("require", n.dtype, n.shape, (n, N.expand_to(read(ok), n.shape)), f"{name}: {text}")
    return derive(located(name, made), value)


def of_several(n: Node, partner: Node | None = None) -> Node:
    """n, a host routine's result that several tensors are made of: the first that is computed
    computes it for all, and its partner, from another routine, if that still lives."""
    if n.op == "extern" and n.value is None and not tracing.recording():
        door.several[n] = (lambda: None) if partner is None else weakref.ref(partner)
    return n


def located(name: str, n: Node) -> Node:
    """n with the user's file and line, for a value that turns out to be wrong later."""
    if n.where is None:
        file, line = door.user_frame()
        n.where = (f"{name}, {file}", line)
    return n


# -- axes and keywords ---------------------------------------------------------------------------


def accepts_dim(function: Callable[..., Any]) -> Callable[..., Any]:
    """PyTorch's and Torch7's keywords: `dim` and `dims` for `axis`, `keepdim` for `keepdims`."""
    @wraps(function)
    def wrapper(*args: Any, **options: Any) -> Any:
        if options:
            for given, ours in (("dim", "axis"), ("dims", "axis"), ("keepdim", "keepdims")):
                if given in options:
                    options[ours] = options.pop(given)
        return function(*args, **options)
    return wrapper


def check_axes(name: str, axis: Any, ndim: int) -> tuple[int, ...]:
    """Axes as a sorted tuple of distinct numbers; None means all."""
    if axis is None:
        return tuple(range(ndim))
    given = tuple(axis) if isinstance(axis, tuple | list) else (axis,)
    axes = tuple(sorted(check_axis(name, a, ndim) for a in given))
    if len(set(axes)) != len(axes):
        raise ValueError(f"{name}: expected distinct axes, got {given}")
    return axes

