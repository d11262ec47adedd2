"""The door to contractions on a GPU: writes the tiled kernel that the plan asks for.

When C has few tiles and k is long, k is cut into parts that a second kernel adds in order.
"""

from __future__ import annotations

from flambeau.compiler.codegen.contraction import size
from flambeau.compiler.codegen.dense import Dense
from flambeau.compiler.codegen.emit import I32, Type, const
from flambeau.compiler.codegen.gpu_kernel import (
    BLOCK,
    WAVES,
    GpuFunction,
    GpuLowering,
    Grid,
    Scene,
    extents,
    unravel,
    words,
)
from flambeau.compiler.codegen.gpu_plan import GpuPlan, layouts, plan
from flambeau.compiler.codegen.gpu_tensor import Tensor
from flambeau.compiler.codegen.gpu_tiled import Tiled
from flambeau.compiler.codegen.loops import Loop
from flambeau.compiler.kernel import Kernel
from flambeau.compiler.launch import Gemm
from flambeau.compiler.target import Target

__all__ = ["GpuPlan", "generate", "plan", "product"]


def generate(scene: Scene, k: Kernel, symbol: str, dense: Dense, scratch: int | None
             ) -> list[Grid]:
    """The kernel, or two when k is cut; `scratch` is the slot of the parts' sums."""
    p = plan(dense.axes, scene.target)
    word = words([*extents(scene, k), p.scratch_bytes, size(p.contraction.k) + p.tile.k])
    writer = Tensor if p.unit else Tiled
    if p.library:
        assert scratch is not None
        return [_join(scene, k, symbol, dense, p, word, scratch)]
    if p.splits == 1:
        return [writer(scene, k, symbol, dense, p, word, None).write()]
    assert scratch is not None
    first = writer(scene, k, f"{symbol}_parts", dense, p, word, scratch).write()
    return [first, _join(scene, k, symbol, dense, p, word, scratch)]


def product(k: Kernel, dense: Dense, target: Target, scratch: int | None) -> Gemm | None:
    """The step before the kernel where cuBLAS computes its sums into `scratch`."""
    p = plan(dense.axes, target)
    found = layouts(dense.axes)
    if not p.library or found is None:
        return None
    assert scratch is not None
    names = {"half": "float16", "i16": "bfloat16", "float": "float32", "double": "float64"}
    kind = names[dense.axes.a_scalar]
    wide = "float64" if kind == "float64" else "tf32" if p.unit == "tf32" else "float32"
    slots = dense.layout.slots
    return Gemm(slots[dense.a.node], slots[dense.b.node], scratch, dense.axes.sizes,
                dense.a.offset, dense.b.offset, *found, kind, wide)


def _join(scene: Scene, k: Kernel, symbol: str, dense: Dense, p: GpuPlan, word: Type, scratch: int
          ) -> Grid:
    """Adds the parts of k in order, a thread an element, and runs the epilogue."""
    c = p.contraction
    batches, rows, columns, _ = c.sizes
    total = batches * rows * columns
    blocks = min(-(-total // BLOCK), scene.target.processors * WAVES)
    made = GpuFunction(scene, symbol, BLOCK)
    low = GpuLowering(made, word)
    low.inline = k.computed
    b = made.entry
    at = b.add(b.mul(made.block(blocks), const(I32, BLOCK)), made.thread())
    at = at if word == I32 else b.convert("zext", at, word.scalar)
    loop = Loop(b, at, const(word, total), blocks * BLOCK, [], False)
    body = loop.body
    parts = made.pointer(scratch)
    v = const(c.accumulator, 0)
    for part in range(p.splits):
        where = body.op("add nsw", loop.var, const(word, part * total))
        v = body.add(v, body.load(c.accumulator, body.gep(parts, c.accumulator, where),
                                  c.itemsize))
    batch, m, n = unravel(body, loop.var, [batches, rows, columns])
    dense.store(low, body, unravel(body, batch, [x.extent for x in c.batch]),
                unravel(body, m, [x.extent for x in c.m]),
                unravel(body, n, [x.extent for x in c.n]), v, None)
    loop.finish([])
    return made.finish(blocks)
