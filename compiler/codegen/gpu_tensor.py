"""The tiled kernel on tensor cores: 16-bit floats, or float32 rounded to tf32, summed in float32.

Tiles lie in shared memory as in device memory, along k or along their lines, cut into chunks of 16
bytes; a row's chunks are shuffled by its number, so that eight neighbouring rows of a column of
chunks lie in different banks. Eight warps share the tile, two down and four across; each multiplies
fragments of 16 x 8 (Nvidia's PTX manual, "Matrix fragments for mma.m16n8k16 and m16n8k8"): in a
fragment of C, lane l has columns 2 (l % 4) and the next, of rows l / 4 and l / 4 + 8. Fragments of
A and B are read by ldmatrix, 16 lines and two chunks of k at once; 32-bit elements along lines,
which it cannot turn, word by word.
"""

from __future__ import annotations

from collections.abc import Callable

from flambeau.compiler.codegen import gpu_async
from flambeau.compiler.codegen.contraction import Operand
from flambeau.compiler.codegen.dense import Strided
from flambeau.compiler.codegen.emit import F32, I32, Block, Type, Value, const, make_type
from flambeau.compiler.codegen.gpu_kernel import WARP
from flambeau.compiler.codegen.gpu_tiled import Plain, Side, Tiled

DOWN, ACROSS = 2, 4  # warps of a block
M, N = 16, 8  # a fragment of C
I16 = make_type("i16")


class Tensor(Tiled):
    """The kernel being written."""

    @property
    def stored(self) -> Type:
        return F32 if self.plan.unit == "tf32" else I16

    @property
    def chunk(self) -> int:
        """Elements of 16 bytes."""
        return 128 // self.stored.bits

    def together(self, flat: bool) -> bool:
        return True

    def operand(self, s: Strided) -> Operand:
        return Plain(self.base_of(s, self.stored), self.stored)

    def span(self, extent: int) -> int:
        return extent * self.tile.k

    def row_length(self, side: Side) -> int:
        """Elements of a row in the buffer: a line's steps of k, or a step's lines."""
        return self.tile.k if side.flat else side.extent

    def by_words(self, side: Side) -> bool:
        """Whether ldmatrix cannot read this side."""
        return self.plan.unit == "tf32" and not side.flat

    def shuffled(self, b: Block, side: Side, row: Value) -> Value:
        """What a row's chunk numbers are xored with; the same for row + 8."""
        if self.by_words(side):  # four rows are read at once, two chunks of each
            return b.op("mul nsw", b.op("urem", row, const(I32, 4)), const(I32, 2))
        chunks = self.row_length(side) // self.chunk
        if chunks < 8:  # several rows lie in one line of banks
            row = b.op("udiv", row, const(I32, 8 // chunks))
        return b.op("urem", row, const(I32, min(chunks, 8)))

    def spot(self, b: Block, side: Side, line: Value, step: Value) -> Value:
        row, at = (line, step) if side.flat else (step, line)
        chunk = b.xor(b.op("udiv", at, const(I32, self.chunk)), self.shuffled(b, side, row))
        start = b.op("mul nsw", row, const(I32, self.row_length(side)))
        start = b.op("add nsw", start, b.op("mul nsw", chunk, const(I32, self.chunk)))
        return b.op("add nsw", start, b.op("urem", at, const(I32, self.chunk)))

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
        down, across, _, _ = self.lanes(b)
        high, wide = self.fragments
        sums = list(sums)
        first = self.reader(b, rows, buffer, down, self.tile.m // DOWN, True)
        second = self.reader(b, columns, buffer, across, self.tile.n // ACROSS, False)
        for step in range(self.tile.k // (2 * self.chunk)):
            x = [first(i, step) for i in range(high)]
            y = [second(j, step) for j in range(wide // 2)]
            for i in range(high):
                for j in range(wide):
                    at = 4 * (i * wide + j)
                    pair = y[j // 2][j % 2 * 2:j % 2 * 2 + 2]
                    sums[at:at + 4] = self.fragment(b, x[i], pair, sums[at:at + 4])
        return sums

    def reader(self, b: Block, s: Side, buffer: Value, warp: Value, lines: int, tall: bool
               ) -> Callable[[int, int], list[Value]]:
        """Reads group g of the warp's lines, 16 of them, at step t, two chunks of k.

        Four words, by (8 lines, chunk): (0, 0), (1, 0), (0, 1), (1, 1) if `tall`, as one fragment
        of A has them, else (0, 0), (0, 1), (1, 0), (1, 1): two fragments of B.
        """
        start = b.op("mul nsw", buffer, const(I32, self.span(s.extent)))
        line = b.op("mul nsw", warp, const(I32, lines))
        if self.by_words(s):
            return self.word_reader(b, s, start, line, tall)
        lane = b.op("urem", self.thread, const(I32, WARP))
        row = b.op("urem", lane, const(I32, 8))
        matrix = b.op("udiv", lane, const(I32, 8))
        bits = b.op("urem", matrix, const(I32, 2)), b.op("udiv", matrix, const(I32, 2))
        lower, later = bits if tall else bits[::-1]
        if s.flat:
            row = b.op("add nsw", b.op("add nsw", line, row), b.shl(lower, 3))
            chunk = later
        else:
            row = b.op("add nsw", row, b.shl(later, 3))
            chunk = b.op("add nsw", b.op("udiv", line, const(I32, 8)), lower)
        length = self.row_length(s)
        start = b.op("add nsw", start, b.op("mul nsw", row, const(I32, length)))
        chunk = b.xor(chunk, self.shuffled(b, s, row))

        def read(group: int, step: int) -> list[Value]:
            down, along = (group, step) if s.flat else (step, group)
            at = b.shl(b.xor(chunk, const(I32, 2 * along)), self.chunk.bit_length() - 1)
            at = b.op("add nsw", at, b.op("add nsw", start, const(I32, 16 * down * length)))
            words = gpu_async.matrices(b, b.gep(s.shared, self.stored, at), not s.flat)
            return [self.rounded(b, w) for w in words]
        return read

    def word_reader(self, b: Block, s: Side, start: Value, line: Value, tall: bool
                    ) -> Callable[[int, int], list[Value]]:
        """The same, word by word, from rows along the lines."""
        _, _, row, place = self.lanes(b)
        length = self.row_length(s)
        start = b.op("add nsw", start, b.op("mul nsw", place, const(I32, length)))
        start = b.op("add nsw", start, b.op("urem", row, const(I32, 4)))
        chunk = b.op("add nsw", b.op("udiv", line, const(I32, 4)),
                     b.op("udiv", row, const(I32, 4)))
        chunk = b.xor(chunk, self.shuffled(b, s, place))
        order = [(0, 0), (1, 0), (0, 1), (1, 1)] if tall else [(0, 0), (0, 1), (1, 0), (1, 1)]

        def read(group: int, step: int) -> list[Value]:
            found = []
            for lower, later in order:
                at = b.shl(b.xor(chunk, const(I32, 4 * group + 2 * lower)), 2)
                on = const(I32, (8 * step + 4 * later) * length)
                at = b.op("add nsw", at, b.op("add nsw", start, on))
                found.append(self.rounded(b, b.load(I32, b.gep(s.shared, F32, at), 4)))
            return found
        return read

    def rounded(self, b: Block, v: Value) -> Value:
        """A word as tensor cores want it: floats are rounded to tf32."""
        if self.plan.unit != "tf32":
            return v
        symbol = "llvm.nvvm.f2tf32.rna"
        b.module.declare(symbol, f"declare i32 @{symbol}(float)")
        return b.call(symbol, I32, b.bitcast(v, "float"))

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
