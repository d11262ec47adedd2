"""Is a graph legal? Every law of the op table, tested node by node.

`check` runs between passes when FLAMBEAU_CHECK is set: a pass that breaks a law is named at once,
with the neighbourhood of the bad node printed, instead of crashing three passes later.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from flambeau.compiler import dtype as dt
from flambeau.compiler.dtype import DType
from flambeau.compiler.node import Node, Scalar, Shape, toposort
from flambeau.compiler.ops import COMPLEX, OPS, Conv, Sparse
from flambeau.compiler.size import Size


class IllegalGraph(AssertionError):
    """A pass made a node that breaks the law of its op."""


def check(roots: Iterable[Node], stage: str = "graph") -> None:
    """Raises IllegalGraph, naming the stage, when a node under roots is not legal."""
    for n in toposort(list(roots)):
        try:
            fault = _fault(n)
        except (TypeError, ValueError, IndexError, AttributeError, KeyError) as error:
            fault = f"expected an arg of the op's form, got {n.arg!r} ({error})"
        if fault is not None:
            from flambeau.compiler.show import neighbourhood

            made = f"\nmade at {n.where[0]}:{n.where[1]}" if n.where else ""
            raise IllegalGraph(f"after {stage}: {n.op}: {fault}{made}\n{neighbourhood(n)}")


def _fault(n: Node) -> str | None:
    row = OPS.get(n.op)
    if row is None:
        return "expected an op of the table"
    if any(type(e) not in (int, Size) or e < 0 for e in n.shape):
        return f"expected extents of 0 or more, got {n.shape}"
    if row.arity >= 0 and len(n.src) != row.arity:
        return f"expected {row.arity} operands, got {len(n.src)}"
    if row.family not in ("leaf", "movement") and n.op not in COMPLEX and any(
            s.dtype.is_complex for s in n.src):
        return "expected real operands, got complex ones"
    return _dtype_fault(n, row.rule) or _LAWS.get(n.op, _elementwise)(n)


# -- dtypes --------------------------------------------------------------------------------------


def _dtype_fault(n: Node, rule: str) -> str | None:
    if rule == "given":
        return None
    first = n.src[1] if rule == "same1" else n.src[0]
    result: DType = dt.bool_ if rule == "compare" else first.dtype
    if rule in ("part", "pair"):
        if first.dtype.is_complex is not (rule == "part") or not first.dtype.is_inexact:
            return f"expected a {'complex' if rule == 'part' else 'floating'} operand, got " \
                   f"{first.dtype.name}"
        result = first.dtype.real if rule == "part" else first.dtype.complex
    if n.dtype is not result:
        return f"expected dtype {result.name}, got {n.dtype.name}"
    values = n.src[1:] if rule == "same1" else n.src
    if any(s.dtype is not first.dtype for s in values):
        return f"expected operands of one dtype, got {', '.join(s.dtype.name for s in values)}"
    if rule == "same1" and n.src[0].dtype is not dt.bool_:
        return f"expected a bool condition, got {n.src[0].dtype.name}"
    if rule == "float" and not n.dtype.is_inexact:
        return f"expected a floating dtype, got {n.dtype.name}"
    if rule == "bits" and n.dtype.is_inexact:
        return f"expected bool or integers, got {n.dtype.name}"
    return None


def _expected(shape: Any, n: Node) -> str | None:
    return None if n.shape == tuple(shape) else f"expected shape {tuple(shape)}, got {n.shape}"


# -- one law a family ----------------------------------------------------------------------------


def _elementwise(n: Node) -> str | None:
    for s in n.src:
        if s.shape != n.shape:
            return f"expected operands of shape {n.shape}, got {[s.shape for s in n.src]}"
    if n.op == "bitcast" and n.dtype.itemsize != n.src[0].dtype.itemsize:
        return f"expected dtypes of one size, got {n.src[0].dtype.name} and {n.dtype.name}"
    if n.op == "require" and (n.src[0].dtype, n.src[1].dtype) != (n.dtype, dt.bool_):
        return f"expected {n.dtype.name} and bool, got {[s.dtype.name for s in n.src]}"
    if n.op == "sample":
        kinds = (n.dtype, n.dtype, dt.uint64, dt.uint64, dt.uint64)
        if n.dtype not in (dt.float32, dt.float64) or kinds != tuple(s.dtype for s in n.src):
            return "expected two float32 or float64 parameters and three uint64"
    if n.op == "philox":
        bad = n.dtype not in (dt.uint32, dt.uint64) or any(s.dtype is not dt.uint64 for s in n.src)
        return "expected uint64 operands, and uint32 or uint64 words" if bad else None
    return None


def _leaf(n: Node) -> str | None:
    if n.op == "const":
        if type(n.arg) is not int:
            return f"expected the bits of a number, got {n.arg!r}"
        return _expected((), n)
    if n.op == "scalar":
        return _expected((), n) if isinstance(n.arg, Scalar) else "expected a Scalar"
    if n.op == "iota" and not 0 <= n.arg < len(n.shape):
        return f"expected an axis of {n.shape}, got {n.arg}"
    return None


def _reshape(n: Node) -> str | None:
    x = n.src[0]
    return None if x.size == n.size else f"expected {x.size} elements of {x.shape}, got {n.shape}"


def _permute(n: Node) -> str | None:
    x = n.src[0]
    if sorted(n.arg) != list(range(len(x.shape))):
        return f"expected an order of {len(x.shape)} axes, got {n.arg}"
    return _expected([x.shape[i] for i in n.arg], n)


def _expand(n: Node) -> str | None:
    x = n.src[0]
    fits = len(x.shape) == len(n.shape) and all(
        a in (1, b) for a, b in zip(x.shape, n.shape))
    return None if fits else f"expected axes of length 1 to repeat, got {x.shape} to {n.shape}"


def _region(spec: Any, lengths: Shape, whole: Shape) -> str | None:
    """Does start + i * step stay inside on every axis?"""
    if not len(spec) == len(lengths) == len(whole):
        return f"expected one (start, step) for each axis of {whole}, got {spec}"
    for axis, ((start, step), length, extent) in enumerate(zip(spec, lengths, whole)):
        if length == 0:
            continue
        last = start + step * (length - 1)
        if not (0 <= start < extent and 0 <= last < extent) or (step == 0 and length > 1):
            return (f"expected {length} distinct places inside [0, {extent}) on axis {axis}, got "
                    f"{start} with step {step}")
    return None


def _slice(n: Node) -> str | None:
    return _region(n.arg, n.shape, n.src[0].shape)


def _pad(n: Node) -> str | None:
    spec, fill = n.arg
    if any(between < 1 for _, between in spec) or type(fill) is not int:
        return f"expected elements at least 1 apart and fill bits, got {n.arg}"
    return _region(spec, n.src[0].shape, n.shape)


def _concat(n: Node) -> str | None:
    if not n.src or not 0 <= n.arg < len(n.shape):
        return f"expected parts along an axis of {n.shape}, got {len(n.src)} along {n.arg}"
    for s in n.src:
        if len(s.shape) != len(n.shape) or any(
                a != b for i, (a, b) in enumerate(zip(s.shape, n.shape)) if i != n.arg):
            return f"expected parts that differ along axis {n.arg}, got {s.shape} in {n.shape}"
    total = sum(s.shape[n.arg] for s in n.src)
    return _expected((*n.shape[:n.arg], total, *n.shape[n.arg + 1:]), n)


def _indices(n: Node, indices: tuple[Node, ...], whole: Shape) -> str | None:
    if not 0 < len(indices) <= len(whole):
        return f"expected 1 to {len(whole)} indices, got {len(indices)}"
    for i in indices:
        if i.dtype is not dt.int64 or i.shape != indices[0].shape:
            return f"expected int64 indices of one shape, got {[repr(i) for i in indices]}"
    return None


def _gather(n: Node) -> str | None:
    x, *indices = n.src
    if n.dtype is not x.dtype:
        return f"expected dtype {x.dtype.name}, got {n.dtype.name}"
    bad = _indices(n, tuple(indices), x.shape)
    return bad or _expected(indices[0].shape + x.shape[len(indices):], n)


def _scatter(n: Node) -> str | None:
    base, value, *indices = n.src
    if n.arg not in ("set", "add", "mul", "max", "min"):
        return f"expected set, add, mul, max or min, got {n.arg!r}"
    if n.dtype is not base.dtype or value.dtype is not base.dtype:
        return f"expected dtype {base.dtype.name}, got {value.dtype.name} and {n.dtype.name}"
    bad = _indices(n, tuple(indices), base.shape)
    if bad:
        return bad
    wanted = indices[0].shape + base.shape[len(indices):]
    if value.shape != wanted:
        return f"expected a value of shape {wanted}, got {value.shape}"
    return _expected(base.shape, n)


def _put(n: Node) -> str | None:
    base, value = n.src
    return _expected(base.shape, n) or _region(n.arg, value.shape, base.shape)


def _reduction(n: Node) -> str | None:
    x, axes = n.src[0], n.arg
    if len(set(axes)) != len(axes) or any(not 0 <= a < len(x.shape) for a in axes):
        return f"expected distinct axes of {x.shape}, got {axes}"
    if n.op in ("argmax", "argmin") and (len(axes) != 1 or n.dtype is not dt.int64):
        return f"expected one axis and int64, got {axes} and {n.dtype.name}"
    return _expected([1 if i in axes else e for i, e in enumerate(x.shape)], n)


def _scan(n: Node) -> str | None:
    if not 0 <= n.arg < len(n.shape):
        return f"expected an axis of {n.shape}, got {n.arg}"
    return _expected(n.src[0].shape, n)


def _dot(n: Node) -> str | None:
    a, b = n.src
    if len(a.shape) != 3 or len(b.shape) != 3 or a.shape[0] != b.shape[0] \
            or a.shape[2] != b.shape[1]:
        return f"expected (b, m, k) and (b, k, n), got {a.shape} and {b.shape}"
    return _expected((a.shape[0], a.shape[1], b.shape[2]), n)


def _conv(n: Node) -> str | None:
    (x, w), g = n.src, n.arg
    rank = len(x.shape) - 2
    if not isinstance(g, Conv) or rank < 1 or len(w.shape) != rank + 2:
        return f"expected a Conv over (n, c, x...) and (o, c, k...), got {x.shape} and {w.shape}"
    fields = (g.stride, g.before, g.after, g.dilation, g.input_dilation)
    if any(len(f) != rank for f in fields) or min(g.stride + g.dilation + g.input_dilation) < 1:
        return f"expected {rank} positive strides and dilations, got {g}"
    if g.groups < 1 or x.shape[1] != w.shape[1] * g.groups or w.shape[0] % g.groups:
        return f"expected channels in {g.groups} groups, got {x.shape} and {w.shape}"
    return _expected(g.output_shape(x.shape, w.shape), n)


def _sparse_conv(n: Node) -> str | None:
    (other, value, place), g = n.src, n.arg
    if not isinstance(g, Sparse) or g.of not in ("weight", "input"):
        return f"expected a Sparse, got {g}"
    if value.shape != place.shape or any(len(s.shape) != 4 for s in (*n.src, n)):
        return f"expected 4 axes, got {[s.shape for s in n.src]} and {n.shape}"
    x, w = (other, n) if g.of == "weight" else (n, other)
    fits = (x.shape[0], w.shape[0], w.shape[1]) == (*value.shape[:2], x.shape[1])
    return None if fits else (f"expected (n, c, ...), (o, c, ...) and (n, o, ...), got {x.shape}, "
                              f"{w.shape} and {value.shape}")


def _output(n: Node) -> str | None:
    return None if n.src[0].op == "loop" else f"expected a loop, got {n.src[0].op}"


def _anything(n: Node) -> str | None:
    return None


_LAWS: dict[str, Callable[[Node], str | None]] = {
    **dict.fromkeys(("buffer", "param", "scalar", "const", "iota"), _leaf),
    "reshape": _reshape, "permute": _permute, "expand": _expand, "slice": _slice, "pad": _pad,
    "concat": _concat, "gather": _gather, "scatter": _scatter, "put": _put,
    **dict.fromkeys(("sum", "prod", "max", "min", "argmax", "argmin"), _reduction),
    **dict.fromkeys(("cumsum", "cumprod", "cummax", "cummin"), _scan),
    "dot": _dot, "conv": _conv, "sparse_conv": _sparse_conv,
    "extern": _anything, "loop": _anything, "output": _output,
}
