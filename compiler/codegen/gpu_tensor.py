"""The tiled kernel on tensor cores: 16-bit floats, or float32 rounded to tf32, summed in float32.

Lines of both tiles lie along k in shared memory, so that a lane's fragments are single words. Eight
warps share the tile, two down and four across; each multiplies fragments of 16 x 8 (Nvidia's PTX
manual, "Matrix fragments for mma.m16n8k16 and m16n8k8"): in a fragment of C, lane l has columns
2 (l % 4) and the next, of rows l / 4 and l / 4 + 8.
"""

from __future__ import annotations

from dataclasses import dataclass

from flambeau.compiler.codegen.contraction import Operand
from flambeau.compiler.codegen.dense import Strided
from flambeau.compiler.codegen.emit import F32, I32, Block, Value, const, make_type
from flambeau.compiler.codegen.gpu_kernel import WARP
from flambeau.compiler.codegen.gpu_tiled import Plain, Side, Tiled

DOWN, ACROSS = 2, 4  # warps of a block
M, N = 16, 8  # a fragment of C
I16 = make_type("i16")


@dataclass(frozen=True)
class _Rounded(Plain):
    """Loads floats rounded to tf32."""

    def load(self, block: Block, offset: Value, lanes: int, mask: Value | None) -> Value:
        raw = super().load(block, offset, lanes, mask)
        symbol = "llvm.nvvm.f2tf32.rna"
        block.module.declare(symbol, f"declare i32 @{symbol}(float)")
        if lanes == 1:
            return block.call(symbol, I32, raw)
        out = Value(make_type("i32", lanes), "poison")
        for i in range(lanes):
            out = block.insert(out, block.call(symbol, I32, block.extract(raw, i)), i)
        return out


class Tensor(Tiled):
    """The kernel being written."""

    @property
    def packed(self) -> int:
        """Elements of k in a word of shared memory."""
        return 1 if self.plan.unit == "tf32" else 2

    @property
    def pitch(self) -> int:
        """Elements from line to line: the words of eight lines then lie in different banks."""
        return self.tile.k + 4 * self.packed

    along_lines = False

    def operand(self, s: Strided) -> Operand:
        if self.plan.unit == "tf32":
            self.stored = I32
            return _Rounded(self.base_of(s, F32), F32)
        self.stored = I16
        return Plain(self.base_of(s, I16), I16)

    def span(self, extent: int) -> int:
        return extent * self.pitch

    def spot(self, b: Block, side: Side, line: Value, step: Value) -> Value:
        return b.op("add nsw", b.op("mul nsw", line, const(I32, self.pitch)), step)

    # -- the sum -----------------------------------------------------------------------------
    @property
    def fragments(self) -> tuple[int, int]:
        """Fragments of C that a warp has, down and across."""
        return self.tile.m // DOWN // M, self.tile.n // ACROSS // N

    def lanes(self, b: Block) -> tuple[Value, Value, Value, Value]:
        """(warp's place down, across; lane's row of a fragment, its place in the row)."""
        warp = b.op("udiv", self.thread, const(I32, WARP))
        lane = b.op("urem", self.thread, const(I32, WARP))
        return (b.op("udiv", warp, const(I32, ACROSS)), b.op("urem", warp, const(I32, ACROSS)),
                b.op("udiv", lane, const(I32, 4)), b.op("urem", lane, const(I32, 4)))

    def multiply(self, b: Block, rows: Side, columns: Side, buffer: Value, sums: list[Value]
                 ) -> list[Value]:
        down, across, row, place = self.lanes(b)
        high, wide = self.fragments
        sums = list(sums)
        first = self.word_of(b, rows, buffer, down, self.tile.m // DOWN, row, place)
        second = self.word_of(b, columns, buffer, across, self.tile.n // ACROSS, row, place)
        for step in range(0, self.tile.k, 8 * self.packed):
            x = [[self.pair(b, rows, first, i * M + r, step + k) for k in (0, 4 * self.packed)
                  for r in (0, 8)] for i in range(high)]
            y = [[self.pair(b, columns, second, j * N, step + k) for k in (0, 4 * self.packed)]
                 for j in range(wide)]
            for i in range(high):
                for j in range(wide):
                    at = 4 * (i * wide + j)
                    sums[at:at + 4] = self.fragment(b, x[i], y[j], sums[at:at + 4])
        return sums

    def word_of(self, b: Block, s: Side, buffer: Value, warp: Value, lines: int, row: Value,
                place: Value) -> Value:
        """Where the lane's first word of the warp's lines lies, in elements."""
        start = b.op("mul nsw", buffer, const(I32, self.span(s.extent)))
        line = b.op("add nsw", b.op("mul nsw", warp, const(I32, lines)), row)
        along = b.op("mul nsw", place, const(I32, self.packed))
        return b.op("add nsw", start, self.spot(b, s, line, along))

    def pair(self, b: Block, s: Side, first: Value, line: int, step: int) -> Value:
        at = b.op("add nsw", first, const(I32, line * self.pitch + step))
        return b.load(I32, b.gep(s.shared, self.stored, at), 4)

    def fragment(self, b: Block, x: list[Value], y: list[Value], sums: list[Value]) -> list[Value]:
        """sums + x y for one fragment."""
        stem = {"half": "m16n8k16.row.col.f32.f32", "bfloat": "m16n8k16.row.col.bf16",
                "tf32": "m16n8k8.row.col.tf32"}[self.plan.unit]
        words = [*x, *y]
        if self.plan.unit == "half":
            pair = make_type("half", 2)
            words = [b.value(pair, f"bitcast {w} to {pair}") for w in words]
        symbol = f"llvm.nvvm.mma.{stem}"
        kinds = ", ".join(str(v.type) for v in (*words, *sums))
        result = "{ float, float, float, float }"
        b.module.declare(symbol, f"declare {result} @{symbol}({kinds})")
        given = ", ".join(map(str, (*words, *sums)))
        made = b.names.fresh()
        b.line(f"{made} = call {result} @{symbol}({given})")
        return [b.value(F32, f"extractvalue {result} {made}, {i}") for i in range(4)]

    # -- the epilogue ------------------------------------------------------------------------
    @property
    def turns(self) -> tuple[int, int]:
        return self.fragments[0], DOWN * M

    def staged(self, b: Block, sums: list[Value], i: int) -> list[tuple[Value, Value, Value]]:
        down, across, row, place = self.lanes(b)
        _, wide = self.fragments
        line = b.op("add nsw", b.op("mul nsw", down, const(I32, M)), row)
        lower = b.op("add nsw", line, const(I32, 8))
        start = b.op("mul nsw", across, const(I32, self.tile.n // ACROSS))
        start = b.op("add nsw", start, b.op("mul nsw", place, const(I32, 2)))
        out = []
        for j in range(wide):
            for part, v in enumerate(sums[4 * (i * wide + j):4 * (i * wide + j) + 4]):
                column = b.op("add nsw", start, const(I32, j * N + part % 2))
                out.append((lower if part >= 2 else line, column, v))
        return out

    def row(self, b: Block, line: Value, i: int) -> Value:
        warp = b.op("udiv", line, const(I32, M))
        start = b.op("mul nsw", warp, const(I32, self.tile.m // DOWN))
        rest = b.op("add nsw", b.op("urem", line, const(I32, M)), const(I32, i * M))
        return b.op("add nsw", start, rest)
