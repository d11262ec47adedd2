"""Graphs for every family of GPU kernel, and their way through LLVM and ptxas."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from flambeau.compiler import dtype as dt
from flambeau.compiler import node as nd
from flambeau.compiler import pipeline, request, target
from flambeau.compiler.codegen.samplers import SAMPLERS
from flambeau.compiler.dtype import DType
from flambeau.compiler.launch import GpuProgram
from flambeau.compiler.node import Node
from flambeau.compiler.ops import ELEMENTWISE, OPS, Conv
from flambeau.runtime import jit

from emulator import assembled
from emulator.assembled import Use, find_ptxas
from program_generator import leaf


def build(roots: list[Node], sm: int, processors: int = 64) -> tuple[GpuProgram, str]:
    """The program and its PTX."""
    goal = target.nvptx(sm, processors)
    program, ir = pipeline.build_gpu(request.prepare(roots), goal)
    return program, jit.ptx(ir, goal)


def assemble(ptx: str, sm: int, folder: Path) -> dict[str, Use]:
    """What each kernel takes on an architecture. Skips without ptxas."""
    ptxas = find_ptxas()
    if ptxas is None:
        pytest.skip("no ptxas: install the test extra")
    return assembled.assemble(ptxas, ptx, sm, folder)


# -- graphs ----------------------------------------------------------------------------------------


def full(*shape: int, dtype: DType = dt.float32) -> Node:
    """A leaf of random numbers."""
    rng = np.random.default_rng(len(shape) + sum(shape))
    if dtype.is_float:
        return leaf(rng.uniform(-1, 1, shape).astype(np.float32), dtype)
    return leaf(rng.integers(0 if dtype.kind != "i" else -3, 4, shape), dtype)


def softmax(x: Node) -> Node:
    top = nd.reduce_("max", x, (1,))
    e = nd.elementwise("exp", nd.elementwise("sub", x, nd.expand(top, x.shape)))
    return nd.elementwise("div", e, nd.expand(nd.reduce_("sum", e, (1,)), x.shape))


def product(m: int, k: int, n: int, dtype: DType = dt.float32, batch: int = 1) -> Node:
    a, b = full(batch, m, k, dtype=dtype), full(batch, k, n, dtype=dtype)
    return nd.node("dot", dtype, (batch, m, n), (a, b))


def layer(m: int, k: int, n: int) -> Node:
    """tanh(x w' + b)."""
    x, w, b = full(1, m, k), full(1, n, k), full(1, 1, n)
    y = nd.node("dot", dt.float32, (1, m, n), (x, nd.permute(w, (0, 2, 1))))
    return nd.elementwise("tanh", nd.elementwise("add", y, nd.expand(b, y.shape)))


def update(m: int, k: int, n: int) -> Node:
    """w - 0.1 x' d."""
    x, d, w = full(1, k, m), full(1, k, n), full(m, n)
    g = nd.node("dot", dt.float32, (1, m, n), (nd.permute(x, (0, 2, 1)), d))
    rate = nd.const(dt.float32, 0.1, (m, n))
    return nd.elementwise("sub", w, nd.elementwise("mul", nd.reshape(g, (m, n)), rate))


def convolution(x: tuple[int, ...], w: tuple[int, ...], stride: int = 1, pad: int = 0,
                dilation: int = 1, spread: int = 1, groups: int = 1, dtype: DType = dt.float32
                ) -> Node:
    rank = len(x) - 2
    g = Conv((stride,) * rank, (pad,) * rank, (pad,) * rank, (dilation,) * rank, (spread,) * rank,
             groups)
    return nd.node("conv", dtype, g.output_shape(x, w), (full(*x, dtype=dtype),
                                                         full(*w, dtype=dtype)), g)


def scattered(how: str, base: tuple[int, ...], indices: int, trailing: tuple[int, ...] = (),
              dtype: DType = dt.float32) -> Node:
    rng = np.random.default_rng(indices)
    axes = len(base) - len(trailing)
    where = [leaf(rng.integers(0, base[i], indices), dt.int64) for i in range(axes)]
    value = full(indices, *trailing, dtype=dtype)
    return nd.node("scatter", dtype, base, (full(*base, dtype=dtype), value, *where), how)


def scan(op: str, shape: tuple[int, ...], axis: int, dtype: DType = dt.float32) -> Node:
    return nd.node(op, dtype, shape, (full(*shape, dtype=dtype),), axis)


def draws(n: int) -> Node:
    """Random bits from Philox."""
    index = nd.node("iota", dt.uint64, (n,), (), 0)
    seed = nd.expand_to(nd.scalar(dt.uint64, 5), (n,))
    return nd.elementwise("philox", index, seed, seed, arg=0)


def sample(n: int, name: str) -> Node:
    """Random numbers by rejection."""
    a, b = (full(n, dtype=dt.float64) for _ in range(2))
    return nd.elementwise("sample", a, b, *draws(n).src, arg=name)


def everything(dtype: DType) -> list[Node]:
    """Every elementwise op that takes the dtype."""
    x, y, m = full(40, dtype=dtype), full(40, dtype=dtype), full(40, dtype=dt.bool_)
    roots = [nd.elementwise("where", m, x, y), nd.cast(x, dt.float64), nd.cast(x, dt.int8),
             nd.elementwise("require", x, m, dtype=dtype, arg="expected more")]
    if dtype is dt.float64:
        roots += [sample(40, name) for name in SAMPLERS]
    for name in sorted(ELEMENTWISE - {"where", "cast", "bitcast", "philox", "require", "sample"}):
        row = OPS[name]
        if row.rule in ("part", "pair") or name == "conj":
            continue  # complex numbers are taken apart by a pass
        if (row.rule == "float" and not dtype.is_float) or (row.rule == "bits" and dtype.is_float):
            continue
        roots.append(nd.elementwise(name, *(x, y)[:row.arity]))
    return roots
