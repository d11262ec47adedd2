"""Along an axis: differences, areas under curves, and running sums of exponentials."""

from __future__ import annotations

from typing import Any

from .creation import full
from .elementwise import floating, logaddexp, logical_xor
from .joining import concatenate
from .loops import scan
from .movement import moveaxis, narrow, reshape
from .recording import accepts_dim, as_tensor, as_tensors
from .tensor import Tensor, check_axis, derive


@accepts_dim
def diff(x: Any, n: int = 1, axis: int = -1, prepend: Any = None, append: Any = None) -> Tensor:
    """x[i + 1] - x[i] along axis, n times (bools: are they different?); values may be put before
    and behind first (not where n is 0). NumPy diff. Raises ValueError for a negative n."""
    t = as_tensor("diff", x)
    axis = check_axis("diff", axis, t.ndim)
    if n < 0:
        raise ValueError(f"diff: expected n of 0 or more, got {n}")
    if n == 0:
        return t
    ends = [None if end is None else _end(t, end, axis) for end in (prepend, append)]
    parts = [p for p in (ends[0], t, ends[1]) if p is not None]
    t = concatenate(parts, axis) if len(parts) > 1 else t
    for _ in range(n):
        count = max(t.shape[axis] - 1, 0)
        if t.shape[axis] == 0:
            return t
        ahead, behind = narrow(t, axis, t.shape[axis] - count, count), narrow(t, axis, 0, count)
        t = logical_xor(ahead, behind) if t.dtype.kind == "b" else ahead - behind
    return t


def _end(t: Tensor, end: Any, axis: int) -> Tensor:
    found = as_tensors("diff", t, end)[1]
    if found.ndim:
        return found
    return found.to(t.dtype).expand((*t.shape[:axis], 1, *t.shape[axis + 1:]))  # type: ignore[no-any-return]


def _cumulative(op: str, x: Any, axis: int | None, dtype: Any, include_initial: bool) -> Tensor:
    name = {"cumsum": "cumulative_sum", "cumprod": "cumulative_prod"}[op]
    t = as_tensor(name, x)
    if axis is None and t.ndim != 1:
        raise ValueError(f"{name}: expected an axis for shape {t.shape}, got none")
    axis = check_axis(name, 0 if axis is None else axis, t.ndim)
    found: Tensor = getattr(t, op)(axis, dtype=dtype)
    if not include_initial:
        return found
    shape = (*t.shape[:axis], 1, *t.shape[axis + 1:])
    first = full(shape, 0 if op == "cumsum" else 1, found.dtype, found.device)
    return concatenate([first, found], axis)  # type: ignore[no-any-return]


@accepts_dim
def cumulative_sum(x: Any, axis: int | None = None, *, dtype: Any = None,
                   include_initial: bool = False) -> Tensor:
    """Running sums along axis, which only a vector may leave out; with a 0 before them if asked.
    NumPy cumulative_sum."""
    return _cumulative("cumsum", x, axis, dtype, include_initial)


@accepts_dim
def cumulative_prod(x: Any, axis: int | None = None, *, dtype: Any = None,
                    include_initial: bool = False) -> Tensor:
    """Running products along axis, which only a vector may leave out; with a 1 before them if
    asked. NumPy cumulative_prod."""
    return _cumulative("cumprod", x, axis, dtype, include_initial)


def ediff1d(x: Any, to_end: Any = None, to_begin: Any = None) -> Tensor:
    """Differences of neighbours in the flattened tensor, with vectors put around. NumPy ediff1d."""
    t = as_tensor("ediff1d", x)
    ends = [[] if v is None else [reshape(as_tensors("ediff1d", t, v)[1], -1)]
            for v in (to_begin, to_end)]
    parts = [*ends[0], diff(reshape(t, -1 if t.size else 0)), *ends[1]]
    return concatenate(parts) if len(parts) > 1 else parts[0]  # type: ignore[no-any-return]


def _areas(name: str, y: Any, x: Any, dx: float, axis: int) -> tuple[Tensor, int]:
    """The areas under the segments of a curve along axis."""
    t, n = floating(name, y)
    t = derive(n, t)
    axis = check_axis(name, axis, t.ndim)
    count = max(t.shape[axis] - 1, 0)
    step: Any = dx
    if x is not None:
        at = as_tensor(name, x)
        step = diff(at) if at.ndim == 1 else diff(at, axis=axis)
        if at.ndim == 1:
            step = step.reshape((1,) * axis + (count,) + (1,) * (t.ndim - axis - 1))
    start = min(1, t.shape[axis])
    return (narrow(t, axis, start, count) + narrow(t, axis, 0, count)) / 2 * step, axis


@accepts_dim
def trapezoid(y: Any, x: Any = None, dx: float = 1.0, axis: int = -1) -> Tensor:
    """The area under y along axis by the trapezoidal rule, at points x or dx apart. Floating.

    NumPy trapezoid.
    """
    areas, axis = _areas("trapezoid", y, x, dx, axis)
    return areas.sum(axis)  # type: ignore[no-any-return]


@accepts_dim
def cumulative_trapezoid(y: Any, x: Any = None, dx: float = 1.0, axis: int = -1) -> Tensor:
    """Running areas of `trapezoid`: one less than y along axis. SciPy cumulative_trapezoid."""
    areas, axis = _areas("cumulative_trapezoid", y, x, dx, axis)
    return areas.cumsum(axis)  # type: ignore[no-any-return]


@accepts_dim
def logcumsumexp(x: Any, axis: int = -1) -> Tensor:
    """log(cumsum(exp(x))) along axis, exact where sums overflow or underflow; one native loop.

    Floating, shape of x. PyTorch logcumsumexp.
    """
    t, n = floating("logcumsumexp", x)
    t = derive(n, t)
    axis = check_axis("logcumsumexp", axis, t.ndim)
    if t.shape[axis] < 2:
        return t.clone()  # type: ignore[no-any-return]
    rows = moveaxis(t, axis, 0)

    def step(total: Tensor, row: Tensor) -> tuple[Tensor, Tensor]:
        total = logaddexp(total, row)
        return total, total

    _, later = scan(step, rows[0], rows[1:])
    return moveaxis(concatenate([rows[:1], later]), 0, axis)
