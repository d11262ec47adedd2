"""Moving values between the lanes of vectors: transposition and joint sums."""

from __future__ import annotations

from flambeau.compiler.codegen.emit import Block, Value


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


def totals(block: Block, vectors: list[Value]) -> list[tuple[Value, int]]:
    """The sum of each vector's lanes, as (vector, lane) places.

    Vectors are added in pairs while they halve, so n sums cost about 2n operations, not n log.
    """
    lanes = vectors[0].type.lanes
    out: list[tuple[Value, int]] = []
    for start in range(0, len(vectors), lanes):
        part = vectors[start:start + lanes]
        total, weights = _together(block, part, lanes)
        out += [(total, sum(w for s, w in enumerate(weights) if q >> s & 1))
                for q in range(len(part))]
    return out


def _together(block: Block, part: list[Value], lanes: int) -> tuple[Value, list[int]]:
    """One vector with the sums of all of part; weights[s]: lane distance of index bit s."""
    distance, weights = lanes // 2, []
    while len(part) > 1:
        pairs = [part[i:i + 2] for i in range(0, len(part), 2)]
        part = [_pair(block, p, distance, lanes) for p in pairs]
        weights.append(distance)
        distance //= 2
    total = part[0]
    while distance:
        total = block.add(total, block.shuffle(total, total, [x ^ distance for x in range(lanes)]))
        distance //= 2
    return total, weights


def _pair(block: Block, pair: list[Value], distance: int, lanes: int) -> Value:
    a, b = pair[0], pair[-1]
    if len(pair) == 1:
        return block.add(a, block.shuffle(a, a, [x ^ distance for x in range(lanes)]))
    same = [x + (lanes if x & distance else 0) for x in range(lanes)]
    other = [(x ^ distance) + (lanes if x & distance else 0) for x in range(lanes)]
    return block.add(block.shuffle(a, b, same), block.shuffle(a, b, other))


def gather_lanes(block: Block, places: list[tuple[Value, int]]) -> Value:
    """One vector (or scalar) of the given places."""
    if len(places) == 1:
        return block.extract(*places[0])
    vectors = list(dict.fromkeys(v for v, _ in places))
    if len(vectors) <= 2:
        a, b = vectors[0], vectors[-1]
        lanes = a.type.lanes
        return block.shuffle(a, b, [q if v == a else lanes + q for v, q in places])
    out = Value(places[0][0].type.with_lanes(len(places)), "poison")
    for i, place in enumerate(places):
        out = block.insert(out, block.extract(*place), i)
    return out
