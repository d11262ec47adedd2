"""Products: matmul in all ranks, the Torch7 addmm family, outer, kron, cross, triangles.

All of them become `dot` nodes (b, m, k) x (b, k, n) between movement nodes.
"""

from __future__ import annotations

import math
from typing import Any

from flambeau.compiler import dtype as dt
from flambeau.compiler import node as N
from flambeau.compiler.node import Node

from .complexes import conj
from .contracting import dot_node, tensordot
from .creation import constant, number
from .movement import diagonal, moveaxis
from .recording import (
    Operands,
    accepts_dim,
    as_tensor,
    as_tensors,
    broadcast_shapes,
    common_dtype,
    into,
)
from .tensor import Tensor, check_axis, derive, needs_grad, read, result


def _pair(name: str, x: Any, y: Any) -> tuple[Tensor, Tensor, Node, Node]:
    """Two tensors and their nodes in the promoted dtype (bool as int64, to be counted)."""
    a, b = as_tensor(name, x), as_tensor(name, y)
    dtype = common_dtype(name, (a, b))
    wide = dt.int64 if dtype is dt.bool_ else dtype
    return a, b, N.cast(read(a), wide), N.cast(read(b), wide)


def _finish(n: Node, a: Tensor, b: Tensor) -> Tensor:
    if a.dtype is dt.bool_ and b.dtype is dt.bool_:
        n = N.elementwise("ne", n, constant(n.dtype, 0, n.shape))
    return result(n, needs_grad(a, b), a._storage.device)


def matmul(x: Any, other: Any, *, out: Tensor | None = None) -> Tensor:
    """The matrix product of the last two axes; axes before broadcast, vectors count as a row on
    the left and a column on the right. Dtypes promote. NumPy matmul, the operator @.

    Raises ValueError when the inner extents differ or an operand is 0-d.
    """
    a, b, m, n = _pair("matmul", x, other)
    if not m.shape or not n.shape:
        raise ValueError(f"matmul: expected operands with axes, got shapes {a.shape} and {b.shape}")
    if len(m.shape) == 1:
        m = N.reshape(m, (1, *m.shape))
    if len(n.shape) == 1:
        n = N.reshape(n, (*n.shape, 1))
    if m.shape[-1] != n.shape[-2]:
        raise ValueError(f"matmul: expected equal inner extents, got shapes {a.shape} and "
                         f"{b.shape}")
    found = matmul_node(m, n)
    shape = list(found.shape)
    if b.ndim == 1:
        shape.pop()
    if a.ndim == 1:
        shape.pop(-1 if b.ndim == 1 else -2)
    return into("matmul", _finish(N.reshape(found, tuple(shape)), a, b), out)


def matmul_node(m: Node, n: Node) -> Node:
    """(..., i, k) x (..., k, j), leading axes broadcast."""
    rows, inner, columns = m.shape[-2], m.shape[-1], n.shape[-1]
    batch_m, batch_n = m.shape[:-2], n.shape[:-2]
    batch = broadcast_shapes("matmul", batch_m, batch_n)
    if math.prod(batch_n) == 1 and len(batch_n) <= len(batch):  # one matrix: fold the batch in
        flat = N.reshape(m, (1, math.prod(batch_m) * rows, inner))
        found = dot_node(flat, N.reshape(n, (1, inner, columns)))
        return N.reshape(found, (*batch, rows, columns))
    count = math.prod(batch)
    m = N.reshape(N.expand_to(m, (*batch, rows, inner)), (count, rows, inner))
    n = N.reshape(N.expand_to(n, (*batch, inner, columns)), (count, inner, columns))
    return N.reshape(dot_node(m, n), (*batch, rows, columns))


def _ranks(name: str, x: Any, rank: int, y: Any, other_rank: int) -> tuple[Tensor, Tensor]:
    a, b = as_tensor(name, x), as_tensor(name, y)
    if a.ndim != rank or b.ndim != other_rank:
        raise ValueError(f"{name}: expected {rank}-d and {other_rank}-d operands, got shapes "
                         f"{a.shape} and {b.shape}")
    return a, b


def mm(x: Any, other: Any, *, out: Tensor | None = None) -> Tensor:
    """The product of two matrices. Torch7 mm. Raises ValueError for other ranks."""
    return matmul(*_ranks("mm", x, 2, other, 2), out=out)


def bmm(x: Any, other: Any, *, out: Tensor | None = None) -> Tensor:
    """Products of two batches of matrices. Torch7 bmm. Raises ValueError for other ranks."""
    return matmul(*_ranks("bmm", x, 3, other, 3), out=out)


def mv(x: Any, other: Any, *, out: Tensor | None = None) -> Tensor:
    """Matrix times vector. Torch7 mv. Raises ValueError for other ranks."""
    return matmul(*_ranks("mv", x, 2, other, 1), out=out)


def dot(x: Any, other: Any, *, out: Tensor | None = None) -> Tensor:
    """The inner product of two vectors (0-d); other ranks as NumPy's dot. Torch7 dot."""
    a, b = as_tensor("dot", x), as_tensor("dot", other)
    if not a.shape or not b.shape:
        return into("dot", a * b, out)
    if b.ndim <= 2:
        return matmul(a, b, out=out)
    return into("dot", tensordot(a, b, ((a.ndim - 1,), (b.ndim - 2,))), out)


def vdot(x: Any, other: Any) -> Tensor:
    """The inner product of flattened tensors, the first one conjugated. NumPy vdot."""
    return matmul(conj(x).reshape(-1), as_tensor("vdot", other).reshape(-1))


@accepts_dim
def vecdot(x: Any, other: Any, axis: int = -1) -> Tensor:
    """Inner products along an axis, other axes broadcast; the first operand is conjugated. NumPy
    vecdot. Raises ValueError when the extents differ."""
    a, b = as_tensor("vecdot", x), as_tensor("vecdot", other)
    i, j = check_axis("vecdot", axis, a.ndim), check_axis("vecdot", axis, b.ndim)
    if a.shape[i] != b.shape[j]:
        raise ValueError(f"vecdot: expected equal extents along axis {axis}, got shapes {a.shape} "
                         f"and {b.shape}")
    left, right = moveaxis(conj(a), i, -1).unsqueeze(-2), moveaxis(b, j, -1).unsqueeze(-1)
    return matmul(left, right)[..., 0, 0]


def inner(x: Any, other: Any) -> Tensor:
    """Sums of products over the last axes. NumPy inner."""
    a, b = as_tensors("inner", x, other)
    return a * b if not a.shape or not b.shape else tensordot(a, b, ((-1,), (-1,)))


def outer(x: Any, other: Any) -> Tensor:
    """All products of the elements of two vectors, (n, m). NumPy outer, Torch7 ger."""
    a, b = as_tensors("outer", x, other)
    return a.reshape(-1, 1) * b.reshape(1, -1)


ger = outer


# -- Torch7's add family -------------------------------------------------------------------------


def _combine(name: str, x: Any, product: Tensor, beta: Any, alpha: Any,
             out: Tensor | None) -> Tensor:
    """beta * x + alpha * product; with beta 0, x's values are not looked at."""
    ops = Operands(name, (x, product))
    if ops.shape != product.shape:
        raise ValueError(f"{name}: expected a tensor that broadcasts to {product.shape}, got "
                         f"{as_tensor(name, x).shape}")
    base, scaled = ops.nodes
    if alpha != 1:
        scaled = N.elementwise("mul", scaled, number(name, alpha, ops.dtype, ops.shape))
    if beta == 0:
        return into(name, ops.make(scaled), out)
    if beta != 1:
        base = N.elementwise("mul", base, number(name, beta, ops.dtype, ops.shape))
    return into(name, ops.make(N.elementwise("add", base, scaled)), out)


def addmm(x: Any, mat1: Any, mat2: Any, *, beta: Any = 1, alpha: Any = 1,
          out: Tensor | None = None) -> Tensor:
    """beta * x + alpha * mat1 @ mat2. Torch7 addmm."""
    return _combine("addmm", x, mm(mat1, mat2), beta, alpha, out)


def addmv(x: Any, mat: Any, vec: Any, *, beta: Any = 1, alpha: Any = 1,
          out: Tensor | None = None) -> Tensor:
    """beta * x + alpha * mat @ vec. Torch7 addmv."""
    return _combine("addmv", x, mv(mat, vec), beta, alpha, out)


def addr(x: Any, vec1: Any, vec2: Any, *, beta: Any = 1, alpha: Any = 1,
         out: Tensor | None = None) -> Tensor:
    """beta * x + alpha * outer(vec1, vec2). Torch7 addr."""
    return _combine("addr", x, outer(vec1, vec2), beta, alpha, out)


def baddbmm(x: Any, batch1: Any, batch2: Any, *, beta: Any = 1, alpha: Any = 1,
            out: Tensor | None = None) -> Tensor:
    """beta * x + alpha * bmm(batch1, batch2). Torch7 baddbmm."""
    return _combine("baddbmm", x, bmm(batch1, batch2), beta, alpha, out)


def addbmm(x: Any, batch1: Any, batch2: Any, *, beta: Any = 1, alpha: Any = 1,
           out: Tensor | None = None) -> Tensor:
    """beta * x + alpha * the sum over the batch of bmm(batch1, batch2). Torch7 addbmm."""
    a, b = _ranks("addbmm", batch1, 3, batch2, 3)
    return _combine("addbmm", x, tensordot(a, b, ((0, 2), (0, 1))), beta, alpha, out)


# -- small ones --------------------------------------------------------------------------------


@accepts_dim
def trace(x: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Tensor:
    """The sum along a diagonal. NumPy and Torch7 trace."""
    t = as_tensor("trace", x)
    if t.ndim < 2:
        raise ValueError(f"trace: expected at least 2 axes, got shape {t.shape}")
    return diagonal(t, offset, axis1, axis2).sum(-1)  # type: ignore[no-any-return]


def kron(x: Any, other: Any) -> Tensor:
    """The Kronecker product. NumPy kron."""
    a, b = as_tensors("kron", x, other)
    rank = max(a.ndim, b.ndim)
    left, right = ((1,) * (rank - t.ndim) + t.shape for t in (a, b))
    wide = a.reshape(tuple(v for e in left for v in (e, 1)))
    tall = b.reshape(tuple(v for e in right for v in (1, e)))
    return (wide * tall).reshape(  # type: ignore[no-any-return]
        tuple(e * f for e, f in zip(left, right)))


@accepts_dim
def cross(x: Any, other: Any, axis: int = -1) -> Tensor:
    """The cross product of 3-vectors along axis; other axes broadcast. NumPy and Torch7 cross."""
    ops = Operands("cross", (x, other))
    axis = check_axis("cross", axis, len(ops.shape))
    if ops.shape[axis] != 3:
        raise ValueError(f"cross: expected 3 elements along axis {axis}, got shape {ops.shape}")
    a, b = (ops.make(n) for n in ops.nodes)
    one, two = ([t.roll(-k, axis) for t in (a, b)] for k in (1, 2))
    return one[0] * two[1] - two[0] * one[1]


def renorm(x: Any, p: float, dim: int, maxnorm: float) -> Tensor:
    """Slices along dim with a p-norm over maxnorm scaled down to it. Torch7 renorm."""
    t = as_tensor("renorm", x)
    dim = check_axis("renorm", dim, t.ndim)
    axes = tuple(i for i in range(t.ndim) if i != dim)
    size = t.norm(p, axes, keepdims=True)
    scale = (size > maxnorm).where(maxnorm / (size + 1e-7), 1.0)
    return t * scale


def match(x: Any, other: Any, gain: float = 1.0) -> Tensor:
    """gain * squared distances between the rows of two matrices. Torch7 match."""
    a, b = _ranks("match", x, 2, other, 2)
    gap = a.unsqueeze(1) - b.unsqueeze(0)
    return (gap * gap).sum(2) * gain  # type: ignore[no-any-return]


def cdist(x: Any, other: Any, p: float = 2) -> Tensor:
    """p-norms of the differences between rows, (..., n, m). PyTorch cdist."""
    a, b = as_tensor("cdist", x), as_tensor("cdist", other)
    return (a.unsqueeze(-2) - b.unsqueeze(-3)).norm(p, -1)  # type: ignore[no-any-return]


def diag(x: Any, k: int = 0) -> Tensor:
    """A vector's matrix with it on the k-th diagonal, or a matrix's k-th diagonal. A copy.

    NumPy and Torch7 diag.
    """
    t = as_tensor("diag", x)
    if t.ndim == 2:
        return diagonal(t, k)  # type: ignore[no-any-return]
    if t.ndim != 1:
        raise ValueError(f"diag: expected a vector or matrix, got shape {t.shape}")
    return diag_embed(t, k)


def diag_embed(x: Any, offset: int = 0) -> Tensor:
    """Matrices with x's last axis on a diagonal, zeros elsewhere. PyTorch diag_embed."""
    t = as_tensor("diag_embed", x)
    length = t.shape[-1]
    size = length + abs(offset)
    lead = t.shape[:-1]
    if length == 0:
        return derive(constant(t.dtype, 0, (*lead, size, size)), t)
    row, column = max(0, -offset), max(0, offset)
    n = N.pad(read(t), (*(0,) * len(lead), row * size + column), (*lead, size * size), 0,
              (*(1,) * len(lead), size + 1))
    return derive(n, t).reshape((*lead, size, size))


def _triangle(name: str, x: Any, k: int, lower: bool) -> Tensor:
    t = as_tensor(name, x)
    if t.ndim < 2:
        raise ValueError(f"{name}: expected at least 2 axes, got shape {t.shape}")
    n = read(t)
    row = N.node("iota", dt.int64, n.shape, (), t.ndim - 2)
    column = N.node("iota", dt.int64, n.shape, (), t.ndim - 1)
    k = max(-n.shape[-2], min(k, n.shape[-1]))  # further out is no other, and may not fit
    if k:
        row = N.elementwise("add", row, constant(dt.int64, k, n.shape))
    kept = N.elementwise("le", *((column, row) if lower else (row, column)))
    return derive(N.elementwise("where", kept, n, constant(n.dtype, 0, n.shape)), t)


def tril(x: Any, k: int = 0) -> Tensor:
    """The matrix (or matrices) with zeros above the k-th diagonal. NumPy and Torch7 tril."""
    return _triangle("tril", x, k, True)


def triu(x: Any, k: int = 0) -> Tensor:
    """The matrix (or matrices) with zeros below the k-th diagonal. NumPy and Torch7 triu."""
    return _triangle("triu", x, k, False)
