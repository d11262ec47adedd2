"""Moving values between the lanes of vectors: transposition and joint sums."""

from __future__ import annotations

from flambeau.compiler.codegen import loops
from flambeau.compiler.codegen.emit import Block, Type, Value

BLOCK = 4  # lanes and rows of the squares that are transposed in registers


def transpose(block: Block, rows: list[Value]) -> list[Value]:
    """Lane j of row i becomes lane i of row j; as many rows as lanes, a power of two."""
    lanes = len(rows)
    rows, distance = list(rows), lanes // 2
    while distance:
        for i in range(lanes):
            if i & distance:
                continue
            a, b = rows[i], rows[i + distance]
            low = [x if not x & distance else lanes + x - distance for x in range(lanes)]
            high = [x + distance if not x & distance else lanes + x for x in range(lanes)]
            rows[i], rows[i + distance] = block.shuffle(a, b, low), block.shuffle(a, b, high)
        distance //= 2
    return rows


def emit_transpose(block: Block, type: Type, source: Value, from_pitch: int, target: Value,
                   to_pitch: int, rows: Value | int, columns: Value | int) -> None:
    """target[j][i] = source[i][j] in memory, both padded to multiples of BLOCK.

    Small blocks in a loop: as fast as whole registers, whose shuffles take LLVM very long.
    """
    side = min(BLOCK, type.lanes)
    part, one, size = type.with_lanes(side), type.with_lanes(1), type.bits // 8

    def square(inner: Block, i: Value, j: Value) -> None:
        left = inner.gep(source, one, loops.add(inner, loops.mul(inner, i, from_pitch), j))
        right = inner.gep(target, one, loops.add(inner, loops.mul(inner, j, to_pitch), i))
        lines = [inner.load(part, inner.gep(left, one, loops.index(q * from_pitch)), size)
                 for q in range(side)]
        for q, line in enumerate(transpose(inner, lines)):
            inner.store(line, inner.gep(right, one, loops.index(q * to_pitch)), size)
    loops.loop(block, 0, rows, side, lambda inner, i: loops.loop(
        inner, 0, columns, side, lambda deep, j: square(deep, i, j)))


def emit_sums(block: Block, type: Type, source: Value, target: Value, count: int) -> None:
    """target[i] = the sum of the lanes of vector source[i], for count vectors, both padded."""
    side, size = min(BLOCK, type.lanes), type.bits // 8
    part, one = type.with_lanes(side), type.with_lanes(1)

    def few(inner: Block, i: Value) -> None:
        vectors = [inner.load(type, inner.gep(source, type, loops.add(inner, i, q)), size)
                   for q in range(side)]
        columns = transpose(inner, [_narrow(inner, v, side) for v in vectors])
        total = columns[0]
        for column in columns[1:]:
            total = inner.add(total, column)
        assert total.type == part
        inner.store(total, inner.gep(target, one, i), size)
    loops.loop(block, 0, count, side, few)


def _narrow(block: Block, vector: Value, lanes: int) -> Value:
    """Adds halves until `lanes` are left."""
    while vector.type.lanes > lanes:
        half = vector.type.lanes // 2
        vector = block.add(block.shuffle(vector, vector, list(range(half))),
                           block.shuffle(vector, vector, list(range(half, 2 * half))))
    return vector
