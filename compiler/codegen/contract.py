"""The door to contractions: `plan` chooses how, `generate` writes the code.

A stage is a function `void @name(ptr %slots, i64 %chunk)`: its chunks may run in any order on any
threads, stages run one after the other. What a chunk does depends on the extents and the target
alone, so the bits do not depend on threads.
"""

from __future__ import annotations

from dataclasses import dataclass

from flambeau.compiler.codegen import loops, simple
from flambeau.compiler.codegen.contraction import (
    Axis, Contraction, MakeOperands, Memory, Operand, Stage, Store)
from flambeau.compiler.codegen.emit import I64, PTR, Function, Module
from flambeau.compiler.target import Target

__all__ = ["Axis", "Contraction", "MakeOperands", "Memory", "Operand", "Plan", "Stage", "Store",
           "generate", "plan"]


@dataclass(frozen=True)
class Plan:
    contraction: Contraction
    target: Target
    strategy: str
    scratch_bytes: int
    stages: int
    flops: int
    description: str
    items: int
    grain: int


def plan(c: Contraction, target: Target) -> Plan:
    b, m, n, k = c.sizes
    rows = b * m * n // max(1, c.n[-1].extent if c.n else 1)
    if b * m * n == 0:
        return Plan(c, target, "empty", 0, 0, 0, "nothing to do", 0, 1)
    cost = b * m * n * max(k, 1) / target.lanes(c.itemsize) * 2
    grain = rows if cost < 200e3 else max(1, int(rows * 100e3 / cost))
    return Plan(c, target, "simple", 0, 1, c.flops, "plain loops", rows, grain)


def generate(p: Plan, module: Module, prefix: str, make_operands: MakeOperands,
             store: Store) -> list[Stage]:
    if p.strategy == "empty":
        return []
    c = p.contraction
    lanes = p.target.lanes(c.itemsize)
    if not c.n or (c.n[-1].b or 0) not in (0, 1) or c.n[-1].extent == 1:
        lanes = 1
    kernel = simple.Simple(c, lanes, p.target.vector_bytes >= 32)
    attributes = module.attribute_group(f'nounwind "prefer-vector-width"="{p.target.vector_bytes * 8}"')
    f = Function(module, prefix, None, [("slots", PTR, ""), ("chunk", I64, "")], attributes)
    block = f.entry
    a, b, _ = make_operands(block, f[0])
    start = loops.mul(block, f[1], p.grain)
    stop = loops.least(block, loops.add(block, start, p.grain), p.items)
    loops.loop(block, start, stop, 1, lambda inner, row: simple.emit_row(inner, kernel, row, a, b, store))
    f.ret(block)
    f.finish()
    return [Stage(prefix, -(-p.items // p.grain))]
