"""The door to contractions: `plan` chooses how, `generate` writes the code.

A stage is a function `void @name(ptr %slots, i64 %chunk)`: its chunks may run in any order on any
threads, stages run one after the other. What a chunk does depends on the extents and the target
alone, so the bits do not depend on threads.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from flambeau.compiler.codegen import loops, schedule, simple, tiled, unsized
from flambeau.compiler.codegen.contraction import (
    Axis,
    Border,
    Contraction,
    MakeOperands,
    Memory,
    Operand,
    Stage,
    Store,
    size,
)
from flambeau.compiler.codegen.emit import I64, PTR, Block, Function, Module, Value
from flambeau.compiler.codegen.tiled import Scene, Tiling
from flambeau.compiler.size import hint, unknown
from flambeau.compiler.target import Target

__all__ = ["Axis", "Border", "Contraction", "MakeOperands", "Memory", "Operand", "Plan", "Stage",
           "Store", "candidates", "generate", "plan"]


@dataclass(frozen=True)
class Plan:
    """How a contraction will run.

    strategy: empty, simple, outer or inner. cycles: the cost model's estimate for one core, at
    least what it takes to read the operands and write the result once.
    stages: how many parallel loops. scratch_bytes: memory that `make_operands` must give.
    """

    contraction: Contraction
    target: Target
    strategy: str
    cycles: float
    tiling: Tiling | None = None
    unsized: bool = False  # is there a size in it that is not known?

    @property
    def flops(self) -> int:
        return self.contraction.flops

    @property
    def scratch_bytes(self) -> int:
        return self.tiling.scratch[-1] if self.tiling else 0

    @property
    def serial(self) -> bool:
        """Whether the work is too small to share: then it is one stage with one chunk."""
        return self.cycles < schedule.SMALL and not self.unsized

    @property
    def packs_once(self) -> bool:
        """Does it pack an operand that it holds? Its scratch memory must then last."""
        return self.tiling is not None and any(x.once for x in tiled.phases(self.tiling))

    @property
    def stages(self) -> int:
        if self.strategy == "empty":
            return 0
        return 1 if self.serial or not self.tiling else len(tiled.phases(self.tiling))

    @property
    def description(self) -> str:
        """One line for `explain`."""
        b, m, n, k = self.contraction.sizes
        head = f"{self.strategy} contraction, {b} x ({m} x {k}) ({k} x {n})"
        t = self.tiling
        if t is None:
            return head
        rows, columns = ("n", "m") if t.swapped else ("m", "n")
        unit = f"vectors of {t.lanes}" if t.kind == "outer" else "columns"
        packed = " and ".join(f"packed {x}" for x, side in ((rows, t.rows), (columns, t.columns))
                              if side.packing) or "nothing packed"
        return (f"{head}: tile {t.rows.grid.cells} {rows} x {t.columns.grid.cells} {unit} of "
                f"{columns}, {packed}, "
                f"{t.blocks} items of {t.row_tiles} x {t.column_tiles} tiles, "
                f"k {'x'.join(map(str, t.k))} in blocks of {t.k_block}"
                + (f", {t.splits} parts of k" if t.splits > 1 else ""))


def candidates(contraction: Contraction, target: Target) -> list[Plan]:
    """Every plan the cost model compares, cheapest first."""
    found = sorted(schedule.candidates(contraction, target), key=lambda x: x.cycles)
    least = schedule.streaming_cycles(contraction, target)
    return [Plan(contraction, target, x.tiling.kind if x.tiling else "simple",
                 max(x.cycles, least), x.tiling) for x in found]


@lru_cache(maxsize=1024)
def plan(contraction: Contraction, target: Target) -> Plan:
    """The cheapest way by the cost model."""
    if size(contraction.batch) * size(contraction.m) * size(contraction.n) == 0:
        return Plan(contraction, target, "empty", 0.0)
    if size(contraction.k) == 0:
        return Plan(contraction, target, "simple", size(contraction.m) * size(contraction.n))
    if unsized.unsized(contraction):
        best = unsized.candidate(contraction, target)
        kind = best.tiling.kind if best.tiling else "simple"
        return Plan(contraction, target, kind, best.cycles, best.tiling, True)
    return candidates(contraction, target)[0]


@dataclass(frozen=True, slots=True)
class _Part:
    """A parallel loop over items, before it is cut into chunks."""

    name: str
    items: int
    emit: tiled.Emit
    once: bool = False


def generate(p: Plan, module: Module, prefix: str, make_operands: MakeOperands,
             store: Store) -> list[Stage]:
    """Writes the plan's functions into `module`; their symbols start with `prefix`."""
    if p.strategy == "empty":
        return []
    parts = [_Part(x.name, x.items, x.emit, x.once) for x in tiled.phases(p.tiling)] if p.tiling \
        else [_simple(p)]
    write = _Writer(p, module, make_operands, store)
    if not p.serial:
        return [write.function(f"{prefix}_{x.name}", [x], write.grain(x)) for x in parts]
    first = [write.function(f"{prefix}_{x.name}", [x], None) for x in parts if x.once]
    return [*first, write.function(prefix, [x for x in parts if not x.once], None)]


def _simple(p: Plan) -> _Part:
    c = p.contraction
    lanes = p.target.lanes(c.itemsize)
    if not c.n or (c.n[-1].b or 0) not in (0, 1) or c.n[-1].extent == 1:
        lanes = 1
    kernel = simple.Simple(c, lanes, p.target.vector_bytes >= 32)

    def prepare(_: Block, scene: Scene) -> Callable[[Block, Value], None]:
        return lambda block, row: simple.emit_row(block, kernel, row, *scene.operands, scene.store)
    return _Part("rows", size(kernel.row_axes), prepare)


@dataclass(frozen=True, slots=True)
class _Writer:
    """Turns parts into functions."""

    plan: Plan
    module: Module
    make_operands: MakeOperands
    store: Store

    def grain(self, part: _Part) -> int:
        """Items of a chunk of about 30 us; 1 where an item takes longer."""
        share = {"tiles": 1.0, "rows": 1.0}.get(part.name, 0.1)
        cycles = max(1.0, self.plan.cycles * share)
        if unknown(part.items):
            return max(1, int(hint(part.items) * schedule.CHUNK / cycles))
        return min(part.items, max(1, int(part.items * schedule.CHUNK / cycles)))

    def function(self, symbol: str, parts: list[_Part], grain: int | None) -> Stage:
        """One stage: chunks of `grain` items of the one part, or one chunk of all parts in turn."""
        bits = self.plan.target.vector_bytes * 8
        attributes = self.module.attribute_group(f'nounwind "prefer-vector-width"="{bits}"')
        f = Function(self.module, symbol, None, [("slots", PTR, ""), ("chunk", I64, "")],
                     attributes)
        stack = f.entry.child()
        a, b, scratch = self.make_operands(f.entry, f[0])
        scene = Scene((a, b), scratch, self.store, stack)
        for part in parts:
            item = part.emit(f.entry, scene)
            low = loops.ZERO if grain is None else loops.mul(f.entry, f[1], grain)
            high = loops.least(f.entry, loops.add(f.entry, low, grain or part.items), part.items)
            loops.loop(f.entry, low, high, 1, item)
        f.ret(f.entry)
        f.finish()
        chunks = -(-parts[0].items // grain) if grain else 1
        return Stage(symbol, chunks, all(x.once for x in parts))
