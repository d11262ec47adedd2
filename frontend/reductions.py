"""Reductions and scans: sum, mean, var, max, argmax, norm, cumsum and their families.

`axis` is None (all axes), an int or a tuple; `dim` and `keepdim` are accepted for `axis` and
`keepdims`. `max`, `min` and their like give values for `axis=` (NumPy) and, for `dim=`, a pair of
values and indices (Torch7, PyTorch).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from flambeau.compiler import dtype as dt
from flambeau.compiler import node as N
from flambeau.compiler.dtype import DType
from flambeau.compiler.node import Node

from .creation import constant, iota
from .elementwise import floating, inexact, truth
from .recording import accepts_dim, as_tensor, check_axes, into, real_only
from .tensor import Tensor, as_dtype, check_axis, default_dtype, derive, read


class Extreme(NamedTuple):
    """Values along an axis and where they were found (int64)."""

    values: Tensor
    indices: Tensor


def dropped(n: Node, axes: tuple[int, ...], keepdims: bool) -> Node:
    """n without its reduced axes, unless they are kept."""
    if keepdims:
        return n
    return N.reshape(n, tuple(e for i, e in enumerate(n.shape) if i not in axes))


def reduce_node(op: str, n: Node, axes: tuple[int, ...]) -> Node:
    """A reduction; sums and products of 16-bit floats are calculated in float32."""
    if not axes:
        return n
    if op in ("sum", "prod") and n.dtype.compute is not n.dtype:
        return N.cast(N.reduce_(op, N.cast(n, n.dtype.compute), axes), n.dtype)
    return N.reduce_(op, n, axes)


def _count(n: Node, axes: tuple[int, ...]) -> int:
    return math.prod(n.shape[i] for i in axes)


def _accumulating(name: str, x: Any, axis: Any, keepdims: bool, dtype: Any,
                  out: Tensor | None) -> Tensor:
    t = as_tensor(name, x)
    n = read(t)
    axes = check_axes(name, axis, t.ndim)
    n = N.cast(n, _accumulator(n.dtype) if dtype is None else as_dtype(name, dtype))
    return into(name, derive(dropped(reduce_node(name, n, axes), axes, keepdims), t), out)


def _accumulator(dtype: DType) -> DType:
    """int64 for bool and signed integers, uint64 for unsigned ones, as NumPy."""
    if dtype.is_inexact:
        return dtype
    return dt.uint64 if dtype.kind == "u" else dt.int64


@accepts_dim
def sum(x: Any, axis: Any = None, keepdims: bool = False, *, dtype: Any = None,
        out: Tensor | None = None) -> Tensor:
    """The sum over axes. Floats keep their dtype (16-bit ones add in float32); bools and integers
    give int64 (uint64). NumPy and Torch7 sum."""
    return _accumulating("sum", x, axis, keepdims, dtype, out)


@accepts_dim
def prod(x: Any, axis: Any = None, keepdims: bool = False, *, dtype: Any = None,
         out: Tensor | None = None) -> Tensor:
    """The product over axes; dtypes as `sum`. NumPy and Torch7 prod."""
    return _accumulating("prod", x, axis, keepdims, dtype, out)


def mean_node(n: Node, axes: tuple[int, ...]) -> Node:
    """The mean of a floating node, calculated in float32 for the 16-bit floats."""
    wide = N.cast(n, n.dtype.compute)
    total = reduce_node("sum", wide, axes)
    count = constant(wide.dtype, _count(n, axes), total.shape)
    return N.cast(N.elementwise("div", total, count), n.dtype)


@accepts_dim
def mean(x: Any, axis: Any = None, keepdims: bool = False, *, dtype: Any = None,
         out: Tensor | None = None) -> Tensor:
    """The mean over axes; integers give the default dtype, no elements NaN.

    NumPy and Torch7 mean.
    """
    t, n = inexact("mean", x)
    axes = check_axes("mean", axis, t.ndim)
    n = n if dtype is None else N.cast(n, as_dtype("mean", dtype))
    return into("mean", derive(dropped(mean_node(n, axes), axes, keepdims), t), out)


def var_node(n: Node, axes: tuple[int, ...], correction: float) -> Node:
    """The variance of a floating node, in two passes: mean, then squared distances."""
    wide = N.cast(n, n.dtype.compute)
    distance = N.elementwise("sub", wide, N.expand(mean_node(wide, axes), wide.shape))
    total = reduce_node("sum", squared(distance), axes)
    count = max_(0.0, _count(n, axes) - correction)
    found = N.elementwise("div", total, constant(total.dtype, count, total.shape))
    return N.cast(found, n.dtype.real)


def squared(n: Node) -> Node:
    """|n| ** 2, real."""
    if not n.dtype.is_complex:
        return N.elementwise("mul", n, n)
    re, im = (N.elementwise(p, n) for p in ("real", "imag"))
    return N.elementwise("add", N.elementwise("mul", re, re), N.elementwise("mul", im, im))


def max_(a: float, b: float) -> float:
    """The larger number (`max` is the reduction in this file)."""
    return a if a > b else b


def _correction(correction: float | None, ddof: float | None, unbiased: bool | None) -> float:
    if correction is not None:
        return correction
    if ddof is not None:
        return ddof
    return 1.0 if unbiased is None or unbiased else 0.0


@accepts_dim
def var(x: Any, axis: Any = None, keepdims: bool = False, *, correction: float | None = None,
        ddof: float | None = None, unbiased: bool | None = None, out: Tensor | None = None
        ) -> Tensor:
    """The variance over axes, divided by n - 1 as in Torch7 (NumPy's default is n: say
    correction=0, ddof=0 or unbiased=False). Integers give the default dtype."""
    t, n = inexact("var", x)
    axes = check_axes("var", axis, t.ndim)
    found = var_node(n, axes, _correction(correction, ddof, unbiased))
    return into("var", derive(dropped(found, axes, keepdims), t), out)


@accepts_dim
def std(x: Any, axis: Any = None, keepdims: bool = False, *, correction: float | None = None,
        ddof: float | None = None, unbiased: bool | None = None, out: Tensor | None = None
        ) -> Tensor:
    """The standard deviation: the square root of `var`, with its arguments. Torch7 std."""
    t, n = inexact("std", x)
    axes = check_axes("std", axis, t.ndim)
    found = var_node(n, axes, _correction(correction, ddof, unbiased))
    found = N.elementwise("sqrt", found)
    return into("std", derive(dropped(found, axes, keepdims), t), out)


def var_mean(x: Any, axis: Any = None, keepdims: bool = False, **options: Any
             ) -> tuple[Tensor, Tensor]:
    """`var` and `mean` together. PyTorch var_mean."""
    return var(x, axis, keepdims, **options), mean(x, axis, keepdims)


# -- extremes ----------------------------------------------------------------------------------


def _not_empty(name: str, t: Tensor, axes: tuple[int, ...]) -> None:
    if 0 in [t.shape[i] for i in axes]:
        raise ValueError(f"{name}: expected at least one element along the axes, got shape "
                         f"{t.shape}")


def extreme_node(op: str, n: Node, axes: tuple[int, ...]) -> Node:
    """max or min; of bools by or and and, through int8."""
    real_only(op, n.dtype)
    if n.dtype is dt.bool_:
        return N.cast(reduce_node(op, N.cast(n, dt.int8), axes), dt.bool_)
    return reduce_node(op, n, axes)


def arg_node(op: str, n: Node, axis: int) -> Node:
    """argmax or argmin along one axis, which stays."""
    real_only(op, n.dtype)
    n = N.cast(n, dt.int8) if n.dtype is dt.bool_ else n
    return N.reduce_(op, n, (axis,))


def _extreme(op: str, source: str) -> Callable[..., Any]:
    binary = op + "imum"

    def function(x: Any, axis: Any = None, keepdims: bool = False, *, dim: Any = None,
                 keepdim: bool = False, out: Tensor | None = None) -> Any:
        if isinstance(axis, Tensor):  # Torch7's cmax: two tensors
            return getattr(as_tensor(op, x), binary)(axis)
        t = as_tensor(op, x)
        keep = keepdims or keepdim
        axes = check_axes(op, axis if dim is None else dim, t.ndim)
        _not_empty(op, t, axes)
        n = read(t)
        values = derive(dropped(extreme_node(op, n, axes), axes, keep), t)
        if dim is None:
            return into(op, values, out)
        where = derive(dropped(arg_node("arg" + op, n, axes[0]), axes, keep), t)
        return Extreme(values, where.detach())

    function.__name__ = function.__qualname__ = op
    function.__doc__ = (
        f"The {source} over axes; NaN wins. Dtype of x.\n\n`{op}(x, axis)` gives values (NumPy); "
        f"`{op}(x, dim=d)` gives the pair `values, indices` (Torch7 {op}), the first of equals.\n"
        "Raises ValueError when there are no elements.")
    return function


max = _extreme("max", "largest element")
min = _extreme("min", "smallest element")


@accepts_dim
def amax(x: Any, axis: Any = None, keepdims: bool = False, *, out: Tensor | None = None) -> Tensor:
    """The largest element over axes, values only; NaN wins. NumPy amax."""
    return max(x, axis, keepdims, out=out)  # type: ignore[no-any-return]


@accepts_dim
def amin(x: Any, axis: Any = None, keepdims: bool = False, *, out: Tensor | None = None) -> Tensor:
    """The smallest element over axes, values only; NaN wins. NumPy amin."""
    return min(x, axis, keepdims, out=out)  # type: ignore[no-any-return]


def aminmax(x: Any, axis: Any = None, keepdims: bool = False) -> tuple[Tensor, Tensor]:
    """The smallest and the largest element. PyTorch aminmax."""
    return amin(x, axis, keepdims), amax(x, axis, keepdims)


@accepts_dim
def ptp(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """max - min over axes. NumPy ptp."""
    return amax(x, axis, keepdims) - amin(x, axis, keepdims)


def _arg(name: str, x: Any, axis: int | None, keepdims: bool) -> Tensor:
    t = as_tensor(name, x)
    n = read(t)
    if axis is None:
        _not_empty(name, t, tuple(range(t.ndim)))
        found = arg_node(name, N.reshape(n, (n.size,)), 0)
        shape = (1,) * t.ndim if keepdims else ()
        return derive(N.reshape(found, shape), t).detach()
    axis = check_axis(name, axis, t.ndim)
    _not_empty(name, t, (axis,))
    return derive(dropped(arg_node(name, n, axis), (axis,), keepdims), t).detach()


@accepts_dim
def argmax(x: Any, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """Where the largest element is, int64: the first of equals, NaN first; without axis in the
    flattened tensor. NumPy argmax."""
    return _arg("argmax", x, axis, keepdims)


@accepts_dim
def argmin(x: Any, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """Where the smallest element is, int64: the first of equals, NaN first; without axis in the
    flattened tensor. NumPy argmin."""
    return _arg("argmin", x, axis, keepdims)


# -- questions -----------------------------------------------------------------------------------


def _question(op: str, name: str, x: Any, axis: Any, keepdims: bool) -> Tensor:
    t = as_tensor(name, x)
    axes = check_axes(name, axis, t.ndim)
    n = N.cast(truth(read(t)), dt.uint8)
    if 0 in n.shape:
        shape = tuple(1 if i in axes else e for i, e in enumerate(n.shape))
        n = constant(dt.uint8, op == "min", shape)
    else:
        n = reduce_node(op, n, axes)
    return derive(dropped(N.cast(n, dt.bool_), axes, keepdims), t)


@accepts_dim
def any(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """Is any element other than 0? bool. NumPy and Torch7 any."""
    return _question("max", "any", x, axis, keepdims)


@accepts_dim
def all(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """Is every element other than 0? bool. NumPy and Torch7 all."""
    return _question("min", "all", x, axis, keepdims)


@accepts_dim
def count_nonzero(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """How many elements are other than 0, int64. NumPy count_nonzero."""
    t = as_tensor("count_nonzero", x)
    axes = check_axes("count_nonzero", axis, t.ndim)
    n = reduce_node("sum", N.cast(truth(read(t)), dt.int64), axes)
    return derive(dropped(n, axes, keepdims), t)


# -- norms -------------------------------------------------------------------------------------


@accepts_dim
def norm(x: Any, p: Any = 2, axis: Any = None, keepdims: bool = False) -> Tensor:
    """(sum |x|**p) ** (1/p) over axes; p may be inf, -inf, 0 (counts nonzero elements) or "fro".

    Integers give the default dtype. Torch7 norm; NumPy linalg.norm of vectors.
    """
    t, n = inexact("norm", x)
    axes = check_axes("norm", axis, t.ndim)
    found = norm_node(n, 2 if p == "fro" else p, axes)
    return derive(dropped(found, axes, keepdims), t)


def norm_node(n: Node, p: float, axes: tuple[int, ...]) -> Node:
    """The p-norm over axes, which stay."""
    if p == 2:
        return N.elementwise("sqrt", reduce_node("sum", squared(n), axes))
    size = N.elementwise("modulus" if n.dtype.is_complex else "abs", n)
    if p == 0:
        return reduce_node("sum", N.cast(truth(n), size.dtype), axes)
    if p == 1:
        return reduce_node("sum", size, axes)
    if math.isinf(p):
        return reduce_node("max" if p > 0 else "min", size, axes)
    powers = N.elementwise("pow", size, constant(size.dtype, p, n.shape))
    total = reduce_node("sum", powers, axes)
    return N.elementwise("pow", total, constant(size.dtype, 1.0 / p, total.shape))


def dist(x: Any, other: Any, p: float = 2) -> Tensor:
    """The p-norm of x - other. Torch7 dist."""
    return norm(as_tensor("dist", x) - other, p)


# -- softmax family ----------------------------------------------------------------------------


def _top(n: Node, axes: tuple[int, ...]) -> Node:
    """The largest element, as a number that no gradient flows to: it cancels."""
    top = reduce_node("max", n, axes)
    return N.node("mark", top.dtype, top.shape, (top,), 0)


def _shifted(n: Node, axes: tuple[int, ...]) -> Node:
    """x minus its largest element."""
    return N.elementwise("sub", n, N.expand(_top(n, axes), n.shape))


def softmax_node(n: Node, axes: tuple[int, ...]) -> Node:
    """exp(x - max) / sum(exp(x - max)) over axes."""
    e = N.elementwise("exp", _shifted(n, axes))
    return N.elementwise("div", e, N.expand(reduce_node("sum", e, axes), n.shape))


def log_softmax_node(n: Node, axes: tuple[int, ...]) -> Node:
    """x - max - log(sum(exp(x - max))) over axes."""
    shifted = _shifted(n, axes)
    total = reduce_node("sum", N.elementwise("exp", shifted), axes)
    return N.elementwise("sub", shifted, N.expand(N.elementwise("log", total), n.shape))


@accepts_dim
def logsumexp(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """log(sum(exp(x))) over axes, without overflow; -inf for no mass and no elements. SciPy
    logsumexp."""
    t, n = floating("logsumexp", x)
    axes = check_axes("logsumexp", axis, t.ndim)
    if 0 in [t.shape[i] for i in axes]:
        shape = tuple(1 if i in axes else e for i, e in enumerate(t.shape))
        return derive(dropped(constant(n.dtype, -math.inf, shape), axes, keepdims), t)
    wide = N.cast(n, n.dtype.compute)
    top = _top(wide, axes)  # an infinite one would make NaN of the difference
    top = N.elementwise("where", N.elementwise("isinf", top), constant(top.dtype, 0, top.shape),
                        top)
    shifted = N.elementwise("sub", wide, N.expand(top, wide.shape))
    total = reduce_node("sum", N.elementwise("exp", shifted), axes)
    found = N.cast(N.elementwise("add", N.elementwise("log", total), top), n.dtype)
    return derive(dropped(found, axes, keepdims), t)


@accepts_dim
def softmax(x: Any, axis: int = -1, *, dtype: Any = None) -> Tensor:
    """exp(x) / sum(exp(x)) along axis, without overflow. Shape of x. Torch7 nn.SoftMax."""
    return _along("softmax", softmax_node, x, axis, dtype)


@accepts_dim
def log_softmax(x: Any, axis: int = -1, *, dtype: Any = None) -> Tensor:
    """log(softmax(x)) along axis, exact where softmax is small. Torch7 nn.LogSoftMax."""
    return _along("log_softmax", log_softmax_node, x, axis, dtype)


@accepts_dim
def softmin(x: Any, axis: int = -1, *, dtype: Any = None) -> Tensor:
    """softmax(-x) along axis. Torch7 nn.SoftMin."""
    return softmax(-as_tensor("softmin", x), axis, dtype=dtype)


def _along(name: str, build: Callable[[Node, tuple[int, ...]], Node], x: Any, axis: int,
           dtype: Any) -> Tensor:
    t, n = floating(name, x)
    n = n if dtype is None else N.cast(n, as_dtype(name, dtype))
    if 0 in n.shape or not n.shape:
        axis = axis if n.shape else check_axis(name, axis, 1)
        if not n.shape:
            return derive(N.reshape(build(N.reshape(n, (1,)), (0,)), ()), t)
        return derive(n, t)
    axes = check_axes(name, axis, t.ndim)
    return derive(N.cast(build(N.cast(n, n.dtype.compute), axes), n.dtype), t)


# -- scans -------------------------------------------------------------------------------------


def _scan(op: str, x: Any, axis: int | None, dtype: Any, out: Tensor | None) -> Tensor:
    t = as_tensor(op, x)
    n = read(t)
    if axis is None:
        n = N.reshape(n, (n.size,))
        axis = 0
    elif not n.shape:
        check_axis(op, axis, 1)
        n = N.reshape(n, (1,))
        return into(op, derive(N.reshape(_scan_node(op, n, 0, dtype), ()), t), out)
    axis = check_axis(op, axis, len(n.shape))
    return into(op, derive(_scan_node(op, n, axis, dtype), t), out)


def _scan_node(op: str, n: Node, axis: int, dtype: Any) -> Node:
    wanted = _accumulator(n.dtype) if dtype is None else as_dtype(op, dtype)
    wide = N.cast(N.cast(n, wanted), wanted.compute)
    return N.cast(N.node(op, wide.dtype, wide.shape, (wide,), axis), wanted)


@accepts_dim
def cumsum(x: Any, axis: int | None = None, *, dtype: Any = None, out: Tensor | None = None
           ) -> Tensor:
    """Running sums along axis (flattened without); dtypes as `sum`. NumPy and Torch7 cumsum."""
    return _scan("cumsum", x, axis, dtype, out)


@accepts_dim
def cumprod(x: Any, axis: int | None = None, *, dtype: Any = None, out: Tensor | None = None
            ) -> Tensor:
    """Running products along axis (flattened without); dtypes as `sum`. NumPy, Torch7 cumprod."""
    return _scan("cumprod", x, axis, dtype, out)


def _running(op: str, x: Any, axis: int) -> Extreme:
    t = as_tensor(op, x)
    n = read(t)
    real_only(op, n.dtype)
    if n.dtype is dt.bool_:
        n = N.cast(n, dt.int8)
    axis = check_axis(op, axis, len(n.shape))
    values = N.node(op, n.dtype, n.shape, (n,), axis)
    hit = N.elementwise("eq", n, values)
    if n.dtype.is_float:
        hit = N.elementwise("or", hit, N.elementwise("isnan", n))
    place = N.elementwise("where", hit, iota(dt.int64, n.shape, axis),
                          constant(dt.int64, 0, n.shape))
    places = N.node("cummax", dt.int64, n.shape, (place,), axis)
    return Extreme(derive(N.cast(values, t.dtype), t), derive(places, t).detach())


@accepts_dim
def cummax(x: Any, axis: int = 0) -> Extreme:
    """Running maxima along axis and their positions (the last of equals). PyTorch cummax."""
    return _running("cummax", x, axis)


@accepts_dim
def cummin(x: Any, axis: int = 0) -> Extreme:
    """Running minima along axis and their positions (the last of equals). PyTorch cummin."""
    return _running("cummin", x, axis)


# -- ignoring NaN --------------------------------------------------------------------------------


def _without_nan(name: str, x: Any, fill: float) -> tuple[Tensor, Node]:
    t, n = floating(name, x)
    filled = N.elementwise("where", N.elementwise("isnan", n), constant(n.dtype, fill, n.shape), n)
    return t, filled


@accepts_dim
def nansum(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """The sum of the elements that are not NaN. NumPy nansum."""
    t, n = _without_nan("nansum", x, 0.0)
    return sum(derive(n, t), axis, keepdims)


@accepts_dim
def nanprod(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """The product of the elements that are not NaN. NumPy nanprod."""
    t, n = _without_nan("nanprod", x, 1.0)
    return prod(derive(n, t), axis, keepdims)


@accepts_dim
def nanmean(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """The mean of the elements that are not NaN. NumPy nanmean."""
    t, n = floating("nanmean", x)
    kept = derive(N.elementwise("not", N.elementwise("isnan", n)), t)
    count = sum(kept, axis, keepdims, dtype=n.dtype)
    return nansum(t, axis, keepdims) / count


@accepts_dim
def nanmax(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """The largest element that is not NaN (-inf for none). NumPy nanmax."""
    t, n = _without_nan("nanmax", x, -math.inf)
    return amax(derive(n, t), axis, keepdims)


@accepts_dim
def nanmin(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """The smallest element that is not NaN (inf for none). NumPy nanmin."""
    t, n = _without_nan("nanmin", x, math.inf)
    return amin(derive(n, t), axis, keepdims)


def default_float(t: Tensor) -> DType:
    """t's dtype if floating, else the default dtype."""
    return t.dtype if t.dtype.is_float else default_dtype()
