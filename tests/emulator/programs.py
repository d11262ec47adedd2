"""GPU programs on an emulated device, without the runtime: exact allocations, nothing cached."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from flambeau.compiler import dtype as dt
from flambeau.compiler import fold, pipeline, request, target
from flambeau.compiler.launch import Copy, Fill, GpuProgram, Host, Launch, Repeat, Step
from flambeau.compiler.node import Node
from flambeau.runtime import externs, jit, reference

from emulator.machine import Geometry, Loaded, Machine
from program_compare import close, tolerance

Array = np.ndarray[Any, Any]


class Run:
    """One program on a machine: its memory, and the addresses of its slots."""

    def __init__(self, machine: Machine, program: GpuProgram, ptx: str, scalars: Sequence[Any]
                 ) -> None:
        self.machine, self.program = machine, program
        self.loaded: Loaded | None = machine.load(ptx) if ".entry" in ptx else None
        self.arena = self.allocate(program.arena_bytes)
        block = bytearray(max(8, program.scalar_bytes))
        for (name, at), value in zip(program.scalars, scalars):
            kind = dt.by_name(name)
            held = fold.to_bfloat16(np.array([value], np.float32)) if kind is dt.bfloat16 else \
                np.array([value]).astype(kind.numpy)
            block[at:at + held.nbytes] = held.tobytes()
        self.scalars = self.upload(np.frombuffer(bytes(block), np.uint8))
        self.places: list[int] = []

    def allocate(self, size: int) -> int:
        address = self.machine.memory.allocate(size)
        assert address is not None, "the emulated device is full"
        return address

    def upload(self, data: Array) -> int:
        raw = np.ascontiguousarray(data).reshape(-1).view(np.uint8)
        address = self.allocate(raw.nbytes)
        self.bytes(address, raw.nbytes)[:] = raw
        self.machine.memory.written(address, raw.nbytes)
        return address

    def bytes(self, address: int, size: int) -> Array:
        """A range of device memory, which must lie in one allocation."""
        span = self.machine.memory.span(address, size)
        assert span is not None, f"{size} bytes at {address:#x} are no part of one allocation"
        return span

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """The outputs, as arrays of bytes. Raises IndexError for an error word, and Fault."""
        p = self.program
        given = [self.upload(a) for a in inputs]
        sizes = [int(np.prod(shape)) * dt.by_name(name).itemsize for name, shape in p.outputs]
        made = [given[a] if a >= 0 else self.allocate(n) for a, n in zip(p.alias, sizes)]
        base = {"scalars": [self.scalars], "input": given, "output": made}
        self.places = [self.arena + i if kind == "arena" else 0 if kind == "moving"
                       else base[kind][i] for kind, i in p.slots]
        for step in p.steps:
            self.step(step)
        word = int(self.bytes(self.scalars, 8).view(np.int64)[0])
        if word:
            raise IndexError(p.errors[word - 1][1])
        return [self.bytes(a, n).copy() for a, n in zip(made, sizes)]

    def step(self, step: Step) -> None:
        at = self.places
        if isinstance(step, Launch):
            assert self.loaded is not None
            data = b"".join(struct.pack("<Q", at[i]) for i in step.arguments)
            self.machine.launch(self.loaded, step.symbol,
                                Geometry(step.grid, step.block, step.shared), data)
        elif isinstance(step, Copy):
            self.copy(at[step.to], at[step.source], step.nbytes)
        elif isinstance(step, Fill):
            self.bytes(at[step.slot], step.nbytes)[:] = step.value
            self.machine.memory.written(at[step.slot], step.nbytes)
        elif isinstance(step, Host):
            self.host(step)
        else:
            assert isinstance(step, Repeat)  # cuBLAS belongs to the driver's stand-in
            self.repeat(step)

    def copy(self, to: int, source: int, size: int) -> None:
        self.bytes(to, size)[:] = self.bytes(source, size)
        self.machine.memory.copy_shadow(to, self.machine.memory, source, size)

    def host(self, step: Host) -> None:
        e = step.extern
        arrays = [self.bytes(self.places[slot], int(np.prod(shape)) * dt.by_name(name).itemsize)
                  .view(dt.by_name(name).numpy).reshape(shape).copy()
                  for slot, name, shape in e.operands]
        slot, name, _ = e.result
        result = np.ascontiguousarray(externs.find(e.name)(e.options, *arrays),
                                      dt.by_name(name).numpy).reshape(-1).view(np.uint8)
        self.bytes(self.places[slot], result.nbytes)[:] = result
        self.machine.memory.written(self.places[slot], result.nbytes)

    def repeat(self, loop: Repeat) -> None:
        at, t = self.places, 0
        while loop.count < 0 or t < loop.count:
            for read, written, first, second in loop.carries:
                at[read], at[written] = (at[first], at[second])[::-1 if t % 2 else 1]
            for moving, base, nbytes in loop.rows:
                at[moving] = at[base] + (loop.count - 1 - t if loop.reverse else t) * nbytes
            if loop.condition >= 0:
                for step in loop.asking:
                    self.step(step)
                if not self.bytes(at[loop.condition], 1)[0]:
                    break
            for step in loop.steps:
                self.step(step)
            t += 1
        for to, number, nbytes in loop.results:
            self.copy(at[to], at[loop.carries[number][2 + t % 2]], nbytes)


@lru_cache(maxsize=4)
def goal(sm: int) -> target.Target:
    return target.nvptx(sm)


def evaluate(roots: list[Node], sm: int = 80, machine: Machine | None = None) -> list[Array]:
    """The roots' values (bytes seen as their dtype) from the emulator.

    Raises Fault, IndexError, and what the compiler raises for an op it cannot write for GPUs.
    """
    asked = request.prepare(roots)
    program, ir = pipeline.build_gpu(asked, goal(sm))
    run = Run(machine or Machine(sm=sm), program, jit.ptx(ir, goal(sm)),
              [s.arg.value for s in asked.scalars])
    values = run.run([_bytes(leaf) for leaf in asked.leaves])
    return [v.view(r.dtype.numpy).reshape(r.shape) for v, r in zip(values, roots)]


def _bytes(leaf: Node) -> Array:
    made: Array = leaf.arg.array(np.uint8, (leaf.nbytes,))
    return made


def mismatch(roots: list[Node], sm: int = 80, machine: Machine | None = None) -> str | None:
    """How the emulator's values differ from the reference device's, or None."""
    rounding = tolerance(roots)
    for r, g, w in zip(roots, evaluate(roots, sm, machine), reference.evaluate(roots)):
        if g.shape != w.shape or not close(g, w, r.dtype, rounding):
            return f"{r!r}: got {g.ravel()[:6]}, expected {w.ravel()[:6]}"
    return None
