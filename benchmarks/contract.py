"""Contraction kernels against OpenBLAS: python benchmarks/contract.py [word ...] [--all] [--pool]

One thread, float32 unless the name says otherwise, best of many runs. `fma` is the peak that a loop
of register multiply-adds reaches on this machine. --all times every candidate plan; --pool runs on
the thread pool; --cpu NAME and --bytes N generate for another processor. OpenBLAS is numpy's, told
to use one thread; convolutions have no counterpart there.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ.pop("OPENBLAS_CORETYPE", None)
sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "compiler"))

import numpy as np
from contraction_bench import (
    DTYPES,
    best,
    build,
    conv,
    conv_input_gradient,
    conv_weight_gradient,
    matmul,
    memory,
)
from flambeau.compiler.codegen import contract
from flambeau.compiler.codegen.contract import Contraction
from flambeau.compiler.codegen.emit import (
    PTR,
    Function,
    Module,
    const,
    make_type,
)
from flambeau.compiler.codegen.loops import fold
from flambeau.compiler.config import override
from flambeau.compiler.target import Target
from flambeau.runtime import jit

Case = tuple[str, Contraction, str]


def cases() -> Iterator[Case]:
    """(name, contraction, form of the matrix product or '')."""
    for batch in (1, 60):
        for i, o in ((784, 10), (784, 500), (500, 10), (1000, 1000), (1000, 10)):
            yield f"linear {batch} {i}-{o} forward", matmul(batch, o, i, "nt"), "nt"
            yield f"linear {batch} {i}-{o} grad-input", matmul(batch, i, o, "nn"), "nn"
            yield f"linear {batch} {i}-{o} grad-weight", matmul(o, i, batch, "tn"), "tn"
    yield "linear64 60 1000-1000 forward", matmul(60, 1000, 1000, "nt", "double"), "nt"
    for batch in (1, 60):
        for name, sizes in (("cnn32", ((32, 5), (14, 5))), ("cnn96", ((96, 7), (30, 7))),
                            ("cnn256", ((256, 7), (50, 7)))):
            for c, o, (size, kernel) in zip((1, 6), (6, 16), sizes):
                case = batch, c, size, o, kernel
                yield f"{name} {batch} {c}-{o} forward", conv(*case), ""
                yield f"{name} {batch} {c}-{o} grad-weight", conv_weight_gradient(*case), ""
                if c > 1:
                    yield f"{name} {batch} {c}-{o} grad-input", conv_input_gradient(*case), ""
    for n in (16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 2048):
        yield f"square {n}", matmul(n, n, n), "nn"
    for form in ("nt", "tn"):
        yield f"square 512 {form}", matmul(512, 512, 512, form), form
    yield "square64 512", matmul(512, 512, 512, "nn", "double"), "nn"
    for c, size in ((64, 56), (128, 28), (256, 14), (512, 7)):
        for batch in (1, 16):
            yield f"resnet {batch} {c} {size}x{size}", conv(batch, c, size + 2, c, 3), ""
    yield "resnet 1 stride 2", conv(1, 64, 58, 128, 3, stride=2), ""


def blas_seconds(c: Contraction, form: str, budget: float) -> float:
    """The same product by numpy."""
    rng, (_, m, n, k) = np.random.default_rng(0), c.sizes
    dtype = DTYPES[c.acc]
    a = rng.standard_normal((k, m) if form[0] == "t" else (m, k)).astype(dtype)
    b = rng.standard_normal((n, k) if form[1] == "t" else (k, n)).astype(dtype)
    a, b = a.T if form[0] == "t" else a, b.T if form[1] == "t" else b
    out = np.empty((m, n), dtype)

    def run(times: int) -> None:
        for _ in range(times):
            np.matmul(a, b, out=out)
    return best(run, budget)


def peak(target: Target) -> float:
    """GFLOP/s of 12 independent chains of multiply-adds in registers."""
    module = Module("peak", target.triple, target.data_layout)
    type = make_type("float", target.lanes(4))
    bits = module.attribute_group(f'"prefer-vector-width"="{target.vector_bytes * 8}"')
    f = Function(module, "peak", None, [("out", PTR, ""), ("x", PTR, ""), ("y", PTR, "")], bits)
    factor = f.entry.splat(f.entry.load(make_type("float"), f[0], 4), type.lanes)
    rounds = 100000
    sums = fold(f.entry, 0, rounds, 1, [const(type, i) for i in range(12)],
                lambda block, _, old: [block.muladd(x, factor, factor) for x in old])
    for i, x in enumerate(sums):
        f.entry.store(x, f.entry.gep(f[0], type, const(make_type("i64"), i)), 4)
    f.ret(f.entry)
    f.finish()
    with override(cache="off"):
        code = jit.load(str(module), str(module), target)
    out = np.zeros(12 * 16, np.float32)
    run = code.function("peak")
    seconds = best(lambda times: [run(out.ctypes.data, None, None) for _ in range(times)], 0.3)
    return 2 * 12 * type.lanes * rounds / seconds / 1e9


def report(case: Case, target: Target, options: argparse.Namespace) -> None:
    name, c, form = case
    plans = contract.candidates(c, target)
    rng = np.random.default_rng(0)
    a, b = memory(c, "a", rng), memory(c, "b", rng)
    out = np.zeros(c.sizes[0] * c.sizes[1] * c.sizes[2], DTYPES[c.acc])
    blas = f"{c.flops / blas_seconds(c, form, options.budget) / 1e9:7.1f}" if form else "      -"
    for plan in plans[:99 if options.all else 1]:
        start = time.process_time()
        kernel = build(c, target, plan, drivers=True)
        compiled = time.process_time() - start
        seconds = kernel.seconds(a, b, out, options.budget, options.pool)
        print(f"{name:31} {blas} {c.flops / seconds / 1e9:7.1f} {seconds * 1e6:9.1f} "
              f"{plan.cycles / 3700:9.1f} {compiled * 1e3:5.0f}  "
              f"{[s.chunks for s in kernel.stages]} {plan.description.split(': ', 1)[-1]}",
              flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("words", nargs="*", help="only cases whose name has all of these")
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--pool", action="store_true")
    parser.add_argument("--cpu", default="")
    parser.add_argument("--bytes", type=int, default=0)
    parser.add_argument("--budget", type=float, default=0.1, help="seconds for each measurement")
    options = parser.parse_args()
    with override(cpu=options.cpu, vector_bytes=options.bytes):
        target = jit.host_target()
    print(f"fma {peak(target):.1f} GFLOP/s, {target.cpu}, {target.vector_bytes} byte vectors")
    print(f"{'':31} {'OpenBLAS':>7} {'GFLOP/s':>6} {'us':>9} {'estimate':>9} {'ms':>5}  plan")
    for case in cases():
        if all(w in case[0] for w in options.words):
            report(case, target, options)


if __name__ == "__main__":
    main()
