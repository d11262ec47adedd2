"""Every op of the table in kernels that the emulator runs and ptxas assembles."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import flambeau as fb
import gpu_kernels as gk
import numpy as np
import pytest
from flambeau.compiler import dtype as dt
from flambeau.compiler import node as nd
from flambeau.compiler.node import Node
from flambeau.compiler.ops import OPS, REDUCTIONS, SCANS
from flambeau.tensor import read

from emulator import programs

ELSEWHERE = {"param": "a buffer in a program's key", "output": "a result of a loop's body",
             "sparse_conv": "never made for GPUs: its convolution stays dense"}


def harmless(roots: list[Node]) -> list[Node]:
    """Without those that stop the program: `elementwise` has one that holds."""
    return [r for r in roots if r.op != "require"]


def elementwise() -> list[Node]:
    x = gk.full(40)
    holds = nd.elementwise("le", x, nd.const(dt.float32, 2, x.shape))
    return [*harmless(gk.everything(dt.float32)), nd.elementwise("bitcast", x, dtype=dt.int32),
            nd.elementwise("require", x, holds, dtype=dt.float32, arg="expected more")]


def integers() -> list[Node]:
    return [*harmless(gk.everything(dt.int32)), gk.draws(40), gk.sample(40, "gamma")]


def places() -> list[Node]:
    x, y = gk.full(6, 10), gk.full(6, 4)
    t, written = fb.tensor(np.eye(5, dtype=np.float32)), fb.tensor(np.ones((5, 5), np.float32))
    written[1:3] = t[0] * 2
    scattered = t + 1
    scattered[[3, 0]] = t[:2] - 1
    turned = nd.slice_(nd.permute(nd.reshape(x, (10, 6)), (1, 0)), (1, 0), (5, 5), (1, 2))
    return [turned, nd.concat([x, y], 1), nd.pad(x, (1, 2), (8, 14), 0, (1, 1)), read(written),
            read(scattered), read(t[[4, 2, 2]]),
            nd.node("mark", x.dtype, x.shape, (x,), ("root", 9)),
            nd.elementwise("mul", y, nd.expand_to(nd.scalar(dt.float32, 2.5), y.shape))]


def rows() -> list[Node]:
    x = gk.full(7, 70)
    return [*(nd.reduce_(op, x, (1,)) for op in sorted(REDUCTIONS)),
            *(gk.scan(op, (3, 70), 1) for op in sorted(SCANS)), gk.softmax(x)]


def products() -> list[Node]:
    return [gk.product(20, 30, 10), gk.convolution((2, 3, 7, 7), (4, 3, 3, 3), 1, 1)]


def the_rest() -> list[Node]:
    t = fb.tensor(np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4))
    c = fb.complex(t, t * t)
    steps, _ = fb.scan(lambda carry, x: (carry * 0.5 + x, carry), fb.zeros(4), t)
    return [read(c.conj().imag), read(c.abs()), read((c * c).real), read(steps),
            read(fb.linalg.inv(t @ t.t() + fb.eye(3)))]


FAMILIES: list[Callable[[], list[Node]]] = [elementwise, integers, places, rows, products, the_rest]


@pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f.__name__)
def test_runs_and_assembles(family: Callable[[], list[Node]], tmp_path: Path) -> None:
    roots = family()
    with np.errstate(all="ignore"):
        assert programs.mismatch(roots) is None
    for sm in (75, 120):
        _, ptx = gk.build(roots, sm)
        assert gk.assemble(ptx, sm, tmp_path)


def test_all_ops_are_there() -> None:
    met = {n.op for family in FAMILIES for n in nd.toposort(family())}
    assert met | set(ELSEWHERE) == set(OPS)
