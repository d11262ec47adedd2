"""The nests as PTX: assembled by ptxas where it is at hand (the nvidia-cuda-nvcc wheel has one)."""

from __future__ import annotations

import glob
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from flambeau.compiler import dtype as dt
from flambeau.compiler import node as nd
from flambeau.compiler import pipeline, request, target
from flambeau.compiler.node import Node
from flambeau.runtime import jit

from program_generator import Programs, leaf


def find_ptxas() -> str | None:
    """ptxas from a wheel beside this Python, else from the PATH."""
    for folder in sys.path:
        found = glob.glob(os.path.join(folder, "nvidia", "*", "bin", "ptxas"))
        if found:
            return found[0]
    return shutil.which("ptxas")


def ptx_of(roots: list[Node], sm: int) -> str:
    goal = target.nvptx(sm)
    _, ir = pipeline.build_gpu(request.prepare(roots), goal)
    return jit.ptx(ir, goal)


def assemble(ptx: str, sm: int, folder: Path) -> None:
    ptxas = find_ptxas()
    if ptxas is None:
        pytest.skip("no ptxas: install the test extra")
    source = folder / "kernel.ptx"
    source.write_text(ptx)
    command = [ptxas, f"-arch=sm_{sm}", str(source), "-o", str(folder / "kernel.cubin")]
    made = subprocess.run(command, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr


@pytest.mark.parametrize("sm", [75, 90])
def test_elementwise_and_reductions(sm: int, tmp_path: Path) -> None:
    x = leaf(np.ones((33, 70), np.float32))
    e = nd.elementwise("tanh", nd.elementwise("mul", x, x))
    total = nd.reduce_("sum", e, (0, 1))
    rows = nd.reduce_("max", e, (1,))
    soft = nd.elementwise("exp", nd.elementwise("sub", x, nd.expand(rows, x.shape)))
    scan = nd.node("cumsum", dt.float32, x.shape, (x,), 1)
    ptx = ptx_of([e, total, soft, scan, nd.reduce_("argmax", x, (0,))], sm)
    assert f".target sm_{sm}" in ptx and ptx.count(".entry") >= 4
    assemble(ptx, sm, tmp_path)


@pytest.mark.parametrize("sm", [75, 90])
def test_random_programs(sm: int, tmp_path: Path) -> None:
    for seed in range(12):
        programs = Programs(seed)
        roots = programs.graph(6)
        assemble(ptx_of(roots, sm), sm, tmp_path)
