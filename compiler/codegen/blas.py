"""Products by a BLAS instead of a generated kernel (FLAMBEAU_MATMUL=blas): the second opinion on
speed and values, and the way out should generated code ever fail somewhere."""

from __future__ import annotations

from flambeau.compiler.codegen.dense import Strided
from flambeau.compiler.codegen.emit import (
    F32,
    F64,
    I32,
    I64,
    PTR,
    Function,
    Module,
    Value,
    attributes,
    const,
    make_type,
)
from flambeau.compiler.codegen.loops import Loop
from flambeau.compiler.codegen.lower import Layout
from flambeau.compiler.config import config
from flambeau.compiler.kernel import Kernel
from flambeau.compiler.target import Target

ROW_MAJOR, PLAIN, TRANSPOSED = 101, 111, 112


def serves(k: Kernel, layout: Layout) -> bool:
    """Is this kernel a bare float product whose operands BLAS can read where they lie?"""
    if config.matmul != "blas" or k.kind != "contract" or len(k.stores) != 1:
        return False
    n = k.anchors[0]
    if n.op != "dot" or k.stores[0].value is not n or n.dtype.name not in ("float32", "float64"):
        return False
    stored = set(layout.slots)
    return all(_leading(Strided(s, stored), s.shape) is not None for s in n.src)


def _leading(s: Strided, shape: tuple[int, ...]) -> tuple[int, int] | None:
    """(PLAIN or TRANSPOSED, leading dimension) of a matrix operand; None when it has neither."""
    _, rows, columns = shape
    _, down, along = s.strides
    if (along == 1 or columns == 1) and (down >= columns or rows == 1):
        return PLAIN, max(down, columns)
    if (down == 1 or rows == 1) and (along >= rows or columns == 1):
        return TRANSPOSED, max(along, rows)
    return None


def generate(module: Module, target: Target, layout: Layout, k: Kernel, symbol: str
             ) -> tuple[str, int]:
    """Writes `void @symbol(ptr slots, i64 chunk)`: one call a matrix of the batch."""
    n = k.anchors[0]
    stored = set(layout.slots)
    kind, name = (F32, "fb_sgemm") if n.dtype.name == "float32" else (F64, "fb_dgemm")
    module.declare(name, f"declare void @{name}(i32, i32, i32, i64, i64, i64, {kind}, ptr, i64, "
                         f"ptr, i64, {kind}, ptr, i64)")
    fn = Function(module, symbol, None, [("slots", PTR, "noalias"), ("chunk", I64, "")],
                  attributes(module, target), "internal")
    batch, rows, columns = n.shape
    depth = n.src[0].shape[2]
    loop = Loop(fn.entry, const(I64, 0), const(I64, batch), 1, [], True)
    b = loop.body

    def place(slot: int, offset: int, stride: int) -> Value:
        base = b.load(PTR, b.gep(fn[0], PTR, const(I64, slot)), 8)
        at = b.add(b.mul(loop.var, const(I64, stride)), const(I64, offset))
        return b.gep(base, make_type(kind.scalar), at)

    sides = []
    for s in n.src:
        operand = Strided(s, stored)
        found = _leading(operand, s.shape)
        assert found is not None
        address = place(layout.slots[operand.node], operand.offset, operand.strides[0])
        sides.append((found[0], address, found[1]))
    out = place(layout.slots[k.homes[0]], 0, rows * columns)
    (ta, a, lda), (tb, c, ldb) = sides
    b.call(name, None, const(I32, ROW_MAJOR), const(I32, ta), const(I32, tb), const(I64, rows),
           const(I64, columns), const(I64, depth), const(kind, 1.0), a, const(I64, lda), c,
           const(I64, ldb), const(kind, 0.0), out, const(I64, columns))
    loop.finish([])
    fn.ret(fn.entry)
    fn.finish()
    return symbol, 1
