"""Moving values between the lanes of vectors: transposition and joint sums."""

from __future__ import annotations

from flambeau.compiler.codegen import loops
from flambeau.compiler.codegen.emit import I64, PTR, Block, Function, Module, Type, Value


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


def totals(block: Block, vectors: list[Value]) -> Value:
    """Lane i of the result is the sum of the lanes of vectors[i]; as many vectors as lanes.

    Vectors are added in pairs while they halve, so n sums cost about 2n operations, not n log n.
    """
    lanes = len(vectors)
    distance = lanes // 2
    while distance:
        same = [x + (lanes if x & distance else 0) for x in range(lanes)]
        other = [(x ^ distance) + (lanes if x & distance else 0) for x in range(lanes)]
        half = len(vectors) // 2
        vectors = [block.add(block.shuffle(a, b, same), block.shuffle(a, b, other))
                   for a, b in zip(vectors[:half], vectors[half:])]
        distance //= 2
    return vectors[0]


def transposer(module: Module, type: Type) -> str:
    """The symbol of void(ptr source, i64 pitch, ptr target, i64 pitch): a square transposed.

    Pitches in elements. One function serves the whole module: inline copies of it would be most of
    a kernel's compile time.
    """
    symbol = f"fb_transpose_{type.mangled}"
    if symbol not in module.definitions:
        f = Function(module, symbol, None, [("source", PTR, ""), ("from", I64, ""),
                                            ("target", PTR, ""), ("to", I64, "")],
                     _attributes(module, type), linkage="internal")
        block, one, size = f.entry, type.with_lanes(1), type.bits // 8
        rows = [block.load(type, block.gep(f[0], one, loops.mul(block, f[1], i)), size)
                for i in range(type.lanes)]
        for i, row in enumerate(transpose(block, rows)):
            block.store(row, block.gep(f[2], one, loops.mul(block, f[3], i)), size)
        f.ret(block)
        f.finish()
    return symbol


def summer(module: Module, type: Type) -> str:
    """The symbol of void(ptr source, ptr target): the lane sums of `lanes` vectors, in a row."""
    symbol = f"fb_lane_sums_{type.mangled}"
    if symbol not in module.definitions:
        f = Function(module, symbol, None, [("source", PTR, ""), ("target", PTR, "")],
                     _attributes(module, type), linkage="internal")
        block, size = f.entry, type.bits // 8
        vectors = [block.load(type, block.gep(f[0], type, loops.index(i)), size)
                   for i in range(type.lanes)]
        block.store(totals(block, vectors), f[1], size)
        f.ret(block)
        f.finish()
    return symbol


def _attributes(module: Module, type: Type) -> str:
    bits = max(128, type.lanes * type.bits)
    return module.attribute_group(f'noinline nounwind "prefer-vector-width"="{bits}"')
