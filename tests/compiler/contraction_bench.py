"""A bench for contraction kernels: builds, runs, times and checks one, outside any program."""

from __future__ import annotations

import ctypes
import math
import mmap
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from flambeau.compiler.codegen import contract, loops
from flambeau.compiler.codegen.contract import Axis, Contraction, Memory, Plan
from flambeau.compiler.codegen.contraction import SIZES, masked_load, masked_store, size
from flambeau.compiler.codegen.emit import PTR, Block, Function, Module, Value, const, make_type
from flambeau.compiler.config import override
from flambeau.compiler.target import Target
from flambeau.runtime import jit

DTYPES = {"float": np.float32, "double": np.float64, "i32": np.int32, "i64": np.int64,
          "half": np.float16, "bfloat": np.uint16, "i8": np.int8, "i16": np.int16}


# -- shapes ------------------------------------------------------------------------------------

def matmul(m: int, n: int, k: int, form: str = "nn", acc: str = "float") -> Contraction:
    """C-order operands; form: 't' for a transposed A, then for a transposed B."""
    a = (1, m) if form[0] == "t" else (k, 1)
    b = (k, 1) if form[1] == "t" else (1, n)
    return Contraction((), (Axis(m, a[0], 0),), (Axis(n, 0, b[0]),), (Axis(k, a[1], b[1]),), acc)


def conv(batch: int, c: int, size: int, o: int, kernel: int, acc: str = "float", stride: int = 1,
         dilation: int = 1) -> Contraction:
    """Forward: images (batch, c, size, size), weights (o, c, kernel, kernel), no padding."""
    out = (size - (kernel - 1) * dilation - 1) // stride + 1
    area = kernel * kernel
    return Contraction(
        (), (Axis(o, c * area, 0),),
        (Axis(batch, 0, c * size * size), Axis(out, 0, size * stride), Axis(out, 0, stride)),
        (Axis(c, area, size * size), Axis(kernel, kernel, size * dilation),
         Axis(kernel, 1, dilation)), acc)


def conv_weight_gradient(batch: int, c: int, size: int, o: int, kernel: int,
                         acc: str = "float") -> Contraction:
    """Output gradients (batch, o, out, out) and images to (o, c, kernel, kernel)."""
    out = size - kernel + 1
    return Contraction(
        (), (Axis(o, out * out, 0),),
        (Axis(c, 0, size * size), Axis(kernel, 0, size), Axis(kernel, 0, 1)),
        (Axis(batch, o * out * out, c * size * size), Axis(out, out, size), Axis(out, 1, 1)), acc)


def conv_input_gradient(batch: int, c: int, size: int, o: int, kernel: int,
                        acc: str = "float") -> Contraction:
    """Zero-padded output gradients (batch, o, wide, wide) to (batch, c, size, size)."""
    wide = size - kernel + 1 + 2 * (kernel - 1)
    area = kernel * kernel
    return Contraction(
        (), (Axis(c, area, 0),),
        (Axis(batch, 0, o * wide * wide), Axis(size, 0, wide), Axis(size, 0, 1)),
        (Axis(o, c * area, wide * wide), Axis(kernel, -kernel, wide), Axis(kernel, -1, 1)), acc)


# -- kernels ---------------------------------------------------------------------------------------

@dataclass
class Kernel:
    """A compiled contraction: call it with three arrays (flat memory of A, B and C)."""

    plan: Plan
    stages: list[contract.Stage]
    code: Any
    text: str
    scratch: np.ndarray
    origin: tuple[int, int]
    functions: list[Any] = field(default_factory=list)

    def slots(self, a: np.ndarray, b: np.ndarray, out: np.ndarray) -> Any:
        """The pointers; with negative strides A and B start further on."""
        scratch = self.scratch.ctypes.data
        pointers = (a.ctypes.data + self.origin[0] * a.itemsize,
                    b.ctypes.data + self.origin[1] * b.itemsize, out.ctypes.data,
                    scratch + -scratch % 64)
        return (ctypes.c_void_p * 4)(*pointers)

    def __call__(self, a: np.ndarray, b: np.ndarray, out: np.ndarray,
                 order: Callable[[range], Iterable[int]] = iter) -> None:
        slots = self.slots(a, b, out)
        for stage, function in zip(self.stages, self.functions):
            for chunk in order(range(stage.chunks)):
                function(ctypes.addressof(slots), chunk, None)

    def seconds(self, a: np.ndarray, b: np.ndarray, out: np.ndarray, budget: float = 0.1,
                parallel: bool = False) -> float:
        """The best time of one run on one thread (or on the pool)."""
        slots = self.slots(a, b, out)
        run = self.code.function("run_parallel" if parallel else "run")
        return best(lambda times: run(ctypes.addressof(slots), times, None), budget)


def best(run: Callable[[int], Any], budget: float) -> float:
    """Seconds of one round of run(rounds), the best of what fits the budget."""
    run(1)
    start = time.perf_counter()
    run(1)
    rounds = max(1, int(50e-6 / max(time.perf_counter() - start, 1e-7)))
    least, end = math.inf, time.perf_counter() + budget
    while True:
        start = time.perf_counter()
        run(rounds)
        now = time.perf_counter()
        least = min(least, (now - start) / rounds)
        if now > end:
            return least


def build(c: Contraction, target: Target | None = None, plan: Plan | None = None,
          update: float | None = None, drivers: bool = False, prologue: bool = False) -> Kernel:
    """The kernel with the epilogue C = acc, or C += update * acc in place.

    prologue: B's loader adds 1 to each element, masked lanes too. drivers: functions that run it
    all, for timing.
    """
    target = target or jit.host_target()
    plan = plan or contract.plan(c, target)
    module = Module("contraction", target.triple, target.data_layout)
    out: dict[str, Value] = {}

    def pointer(block: Block, slots: Value, number: int) -> Value:
        return block.load(PTR, block.gep(slots, PTR, loops.index(number)), 8)

    def make_operands(block: Block, slots: Value) -> Any:
        out["c"] = pointer(block, slots, 2)
        b = Memory(pointer(block, slots, 1), c.b_scalar or c.acc, c.acc)
        return (Memory(pointer(block, slots, 0), c.a_scalar or c.acc, c.acc),
                PlusOne(b) if prologue else b, pointer(block, slots, 3))

    def store(block: Block, batch: list[Value], m: list[Value], n: list[Value], acc: Value,
              mask: Value | None) -> None:
        assert (len(batch), len(m), len(n)) == (len(c.batch), len(c.m), len(c.n))
        offset = loops.dot(block, [*batch, *m, *n], c_strides(c))
        put(block, block.gep(out["c"], make_type(c.acc), offset), acc, mask, update)

    stages = contract.generate(plan, module, "kernel", make_operands, store)
    if drivers:
        add_drivers(module, stages)
    text = str(module)
    with override(cache="off"):
        code = jit.load(text, text, target)
    kernel = Kernel(plan, stages, code, text, np.full(plan.scratch_bytes + 64, 0xff, np.uint8),
                    (origin((*c.batch, *c.m, *c.k), "a"), origin((*c.batch, *c.n, *c.k), "b")))
    kernel.functions = [code.function(s.symbol) for s in stages]
    return kernel


@dataclass
class PlusOne:
    """A prologue that makes even lanes that are off nonzero."""

    memory: Memory

    def load(self, block: Block, offset: Value, lanes: int, mask: Value | None) -> Value:
        value = self.memory.load(block, offset, lanes, mask)
        return block.add(value, const(value.type, 1))


def put(block: Block, address: Value, acc: Value, mask: Value | None,
        update: float | None) -> None:
    align = SIZES[acc.type.scalar]
    if update is not None:
        old = block.load(acc.type, address, align) if mask is None else \
            masked_load(block, acc.type, address, align, mask)
        acc = block.muladd(const(acc.type, update), acc, old)
    if mask is None:
        block.store(acc, address, align)
    else:
        masked_store(block, acc, address, align, mask)


def add_drivers(module: Module, stages: list[contract.Stage]) -> None:
    """run(slots, times) and run_parallel(slots, times): all stages in order."""
    module.declare("fb_parallel", "declare void @fb_parallel(ptr, ptr, i64)")
    for name in ("run", "run_parallel"):
        f = Function(module, name, None, [("slots", PTR, ""), ("times", PTR, ""),
                                          ("none", PTR, "")])

        def once(block: Block, _: Value, f: Function = f, name: str = name) -> None:
            for s in stages:
                if name == "run_parallel" and s.chunks > 1:
                    block.line(f"call void @fb_parallel(ptr @{s.symbol}, ptr {f[0].text}, "
                               f"i64 {s.chunks})")
                else:
                    loops.loop(block, 0, s.chunks, 1, lambda inner, i, s=s: inner.call(
                        s.symbol, None, f[0], i) and None)
        times = f.entry.value(make_type("i64"), f"ptrtoint ptr {f[1].text} to i64")
        loops.loop(f.entry, 0, times, 1, once)
        f.ret(f.entry)
        f.finish()


# -- data --------------------------------------------------------------------------------------

def c_strides(c: Contraction) -> list[int]:
    """Strides of a C-order result over (batch, m, n)."""
    extents = [x.extent for x in (*c.batch, *c.m, *c.n)]
    return [math.prod(extents[i + 1:]) for i in range(len(extents))]


def origin(axes: tuple[Axis, ...], side: str) -> int:
    """Where element 0 lies when negative strides need room before it."""
    return sum(max(0, -(getattr(x, side) or 0)) * (x.extent - 1) for x in axes if x.extent)


def memory(c: Contraction, side: str, rng: np.random.Generator) -> np.ndarray:
    """Random flat memory that holds A or B exactly, so that stray reads are outside."""
    axes = (*c.batch, *(c.m if side == "a" else c.n), *c.k)
    span = 1 + sum(abs(getattr(x, side) or 0) * (x.extent - 1) for x in axes if x.extent)
    scalar = (c.a_scalar if side == "a" else c.b_scalar) or c.acc
    if scalar == "bfloat":
        values = rng.standard_normal(span).astype(np.float32)
        return (values.view(np.uint32) >> 16).astype(np.uint16)
    if scalar[0] == "i":
        return rng.integers(-9, 9, span).astype(DTYPES[scalar])
    return rng.standard_normal(span).astype(DTYPES[scalar])


def guarded(values: np.ndarray) -> np.ndarray:
    """A copy that ends where readable memory ends."""
    pages = -(-values.nbytes // mmap.PAGESIZE) + 1
    area = mmap.mmap(-1, (pages + 1) * mmap.PAGESIZE)
    bytes_ = np.frombuffer(area, np.uint8)
    libc = ctypes.CDLL(None, use_errno=True)
    end = pages * mmap.PAGESIZE
    assert libc.mprotect(ctypes.c_void_p(bytes_.ctypes.data + end),
                         ctypes.c_size_t(mmap.PAGESIZE), 0) == 0
    copy = bytes_[end - values.nbytes:end].view(values.dtype)
    copy[:] = values
    return copy  # which keeps the area alive


def widened(values: np.ndarray, scalar: str) -> np.ndarray:
    if scalar == "bfloat":
        return (values.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
    return values.astype(np.int64 if scalar[0] == "i" else np.float64)


def reference(c: Contraction, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The same sum by NumPy, in float64 or int64, flat in C order."""
    axes = (*c.batch, *c.m, *c.n, *c.k)
    extents = [x.extent for x in axes]

    def view(values: np.ndarray, side: str, start: int) -> np.ndarray:
        strides = [(getattr(x, side) or 0) * values.itemsize for x in axes]
        return np.lib.stride_tricks.as_strided(values[start:], extents, strides)
    x = view(widened(a, c.a_scalar or c.acc), "a", origin((*c.batch, *c.m, *c.k), "a"))
    y = view(widened(b, c.b_scalar or c.acc), "b", origin((*c.batch, *c.n, *c.k), "b"))
    k = "".join(chr(97 + i) for i in range(len(axes)))
    kept = k[:len(axes) - len(c.k)]
    return np.einsum(f"{k},{k}->{kept}", x, y).reshape(size(c.batch) * size(c.m) * size(c.n))
