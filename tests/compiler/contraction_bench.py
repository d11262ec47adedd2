"""A bench for contraction kernels: builds, runs and checks one, outside any program."""

from __future__ import annotations

import ctypes
import itertools
import math
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from flambeau.compiler.codegen import contract, loops
from flambeau.compiler.codegen.contract import Contraction, Memory
from flambeau.compiler.codegen.contraction import SIZES, masked_store, size
from flambeau.compiler.codegen.emit import PTR, Block, Module, Value, make_type
from flambeau.compiler.target import Target
from flambeau.runtime import jit

DTYPES = {"float": np.float32, "double": np.float64, "i32": np.int32, "i64": np.int64,
          "half": np.float16, "bfloat": np.uint16, "i8": np.int8, "i16": np.int16}
_serial = itertools.count()


@dataclass
class Kernel:
    """A compiled contraction: call it with three arrays (flat memory of A, B and C)."""

    plan: Any
    stages: list[contract.Stage]
    code: jit.Code
    text: str
    scratch: np.ndarray
    functions: list[Any] = field(default_factory=list)

    def __call__(self, *arrays: np.ndarray, order: Any = None) -> None:
        slots = self.slots(*arrays)
        for stage, function in zip(self.stages, self.functions):
            chunks = range(stage.chunks)
            for chunk in (order(chunks) if order else chunks):
                function(ctypes.addressof(slots), chunk, None)

    def slots(self, *arrays: np.ndarray) -> Any:
        pointers = [x.ctypes.data for x in arrays] + [self.scratch.ctypes.data]
        return (ctypes.c_void_p * len(pointers))(*pointers)


def c_strides(c: Contraction) -> list[int]:
    """Strides of a C-order result over (batch, m, n)."""
    extents = [x.extent for x in (*c.batch, *c.m, *c.n)]
    return [math.prod(extents[i + 1:]) for i in range(len(extents))]


def build(c: Contraction, target: Target | None = None, plan: Any = None,
          update: float | None = None, epilogue: Any = None) -> Kernel:
    """The kernel with the epilogue C = acc, or C += update * acc in place."""
    target = target or jit.host_target()
    plan = plan or contract.plan(c, target)
    module = Module("contraction", target.triple, target.data_layout)
    strides = c_strides(c)

    def pointer(block: Block, slots: Value, number: int) -> Value:
        return block.load(PTR, block.gep(slots, PTR, loops.index(number)), 8)

    out: dict[str, Value] = {}

    def make_operands(block: Block, slots: Value) -> Any:
        out["c"] = pointer(block, slots, 2)
        return (Memory(pointer(block, slots, 0), c.a_scalar or c.acc, c.acc),
                Memory(pointer(block, slots, 1), c.b_scalar or c.acc, c.acc),
                pointer(block, slots, 3))

    def store(block: Block, batch: list[Value], m: list[Value], n: list[Value], acc: Value,
              mask: Value | None) -> None:
        assert (len(batch), len(m), len(n)) == (len(c.batch), len(c.m), len(c.n))
        offset = loops.dot(block, [*batch, *m, *n], strides)
        address = block.gep(out["c"], make_type(c.acc), offset)
        align = SIZES[c.acc]
        if epilogue:
            acc = epilogue(block, acc)
        if update is not None:
            from flambeau.compiler.codegen.contraction import masked_load
            from flambeau.compiler.codegen.emit import const
            old = block.load(acc.type, address, align) if mask is None else \
                masked_load(block, acc.type, address, align, mask)
            acc = block.muladd(const(acc.type, update), acc, old)
        if mask is None:
            block.store(acc, address, align)
        else:
            masked_store(block, acc, address, align, mask)

    stages = contract.generate(plan, module, "kernel", make_operands, store)
    text = str(module)
    code = jit.load(text, f"contraction bench {next(_serial)} {time.time()}", target)
    kernel = Kernel(plan, stages, code, text, np.zeros(plan.scratch_bytes + 64, np.uint8))
    kernel.functions = [code.function(s.symbol) for s in stages]
    return kernel


def reference(c: Contraction, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The same sum by NumPy, in float64 or int64, flat in C order."""
    axes = (*c.batch, *c.m, *c.n, *c.k)
    extents = [x.extent for x in axes]

    def view(memory: np.ndarray, strides: list[int]) -> np.ndarray:
        origin = sum(-s * (e - 1) for s, e in zip(strides, extents) if s < 0)
        return np.lib.stride_tricks.as_strided(
            memory[origin:], extents, [s * memory.itemsize for s in strides])
    x = view(a, [x.a or 0 for x in axes])
    y = view(b, [x.b or 0 for x in axes])
    k = tuple(range(len(axes) - len(c.k), len(axes)))
    return (x * y).sum(k).reshape(size(c.batch) * size(c.m) * size(c.n))
