"""Memory accesses of several lanes: contiguous, masked, gathered, scattered."""

from __future__ import annotations

from flambeau.compiler.codegen.emit import I64, Block, Type, Value, const, make_type

LINE = 64  # bytes of a cache line
LEAP = 2048  # bytes between steps that prefetchers do not follow
AHEAD = 32  # such steps that memory is asked for beforehand


def lane_mask(lanes: int, on: range) -> Value:
    """A constant mask."""
    text = ", ".join(f"i1 {'true' if i in on else 'false'}" for i in range(lanes))
    return Value(make_type("i1", lanes), f"<{text}>")


def contiguous(b: Block, base: Value, at: Value, kind: Type, on: Value | None, align: int
               ) -> Value:
    """Neighbours from base[at] on."""
    address = b.gep(base, kind.with_lanes(1), at)
    if on is None:
        return b.load(kind, address, align)
    return masked_load(b, kind, address, on, align)


def halvable(lanes: int) -> int:
    """Enough lanes, a power of two: a masked load comes in halves, which have to be equal."""
    return 1 << (lanes - 1).bit_length()


def backwards(b: Block, base: Value, at: Value, kind: Type, step: int) -> Value:
    """base[at], base[at - step], ...: one load of all that lies between, then the wanted lanes."""
    back = (kind.lanes - 1) * step
    first = b.op("sub", at, const(at.type, back))
    span = kind.with_lanes(halvable(kind.lanes * step) if step > 1 else kind.lanes)
    on = lane_mask(span.lanes, range(back + 1)) if step > 1 else None
    raw = contiguous(b, base, first, span, on, max(1, kind.bits // 8))
    return b.shuffle(raw, raw, [back - i * step for i in range(kind.lanes)])


def _lanes_of(b: Block, mask: Value, start: int, count: int) -> Value:
    """Some neighbouring lanes of a mask."""
    if mask.text.startswith("<"):
        lanes = mask.text[1:-1].split(", ")[start:start + count]
        return Value(mask.type.with_lanes(count), f"<{', '.join(lanes)}>")
    return b.shuffle(mask, mask, list(range(start, start + count)))


def fetch(b: Block, base: Value, at: Value, kind: Type, leap: int) -> None:
    """Asks L2 for the lines of base[at] some leaps of so many bytes on, if these are long.

    An address outside does no harm. Not L1: rows a power of two apart would push each other out.
    """
    if type(leap) is not int or abs(leap) < LEAP:
        return
    symbol, byte = "llvm.prefetch.p0", make_type("i8")
    b.module.declare(symbol, f"declare void @{symbol}(ptr, i32, i32, i32)")
    address = b.gep(base, kind.with_lanes(1), at)
    for line in range(0, kind.with_lanes(1).bits * kind.lanes // 8, LINE):
        place = b.gep(address, byte, const(I64, AHEAD * leap + line))
        b.line(f"call void @{symbol}(ptr {place.text}, i32 0, i32 2, i32 1)")


def masked_load(b: Block, kind: Type, address: Value, on: Value, align: int) -> Value:
    """Lanes that are off are not touched and read as zero.

    With AVX2 in parts of one register: LLVM 20 reads the second of two registers whole where it can
    tell that all its lanes are off.
    """
    half = kind.lanes // 2
    if b.module.vector_bytes == 32 and half and kind.lanes * kind.bits > 256:
        low, high = (masked_load(b, kind.with_lanes(half), b.gep(
            address, kind.with_lanes(1), const(I64, start)), _lanes_of(b, on, start, half), align)
            for start in (0, half))
        return b.shuffle(low, high, list(range(kind.lanes)))
    name = f"llvm.masked.load.{kind.mangled}.p0"
    b.module.declare(name, f"declare {kind} @{name}(ptr, i32, {on.type}, {kind})")
    return b.value(kind, f"call {kind} @{name}({address}, i32 {align}, "
                         f"{on}, {kind} zeroinitializer)")


def masked_store(b: Block, v: Value, address: Value, on: Value, align: int) -> None:
    """Lanes that are off write nothing."""
    if on.text.count("i1 true") == 1:
        # LLVM 20 stores one lane of a truncated vector in its wide form, over its neighbour
        lane = on.text.split(",").index(next(t for t in on.text.split(",") if "true" in t))
        b.store(b.extract(v, lane), b.gep(address, v.type.with_lanes(1), const(I64, lane)), align)
        return
    name = f"llvm.masked.store.{v.type.mangled}.p0"
    b.module.declare(name, f"declare void @{name}({v.type}, ptr, i32, {on.type})")
    b.line(f"call void @{name}({v}, {address}, i32 {align}, {on})")


def _pointers(b: Block, base: Value, lanes: Value, element: Type) -> Value:
    kind = make_type("ptr", lanes.type.lanes)
    return b.value(kind, f"getelementptr {element}, {base}, {lanes}")


def gather(b: Block, base: Value, lanes: Value, kind: Type, on: Value | None) -> Value:
    """base[lane] for each lane that is on."""
    scalar_kind = kind.with_lanes(1)
    where = _pointers(b, base, lanes, scalar_kind)
    on = on or const(lanes.type.mask, True)
    name = f"llvm.masked.gather.{kind.mangled}.{where.type.mangled}"
    b.module.declare(name, f"declare {kind} @{name}({where.type}, i32, {on.type}, {kind})")
    align = max(1, scalar_kind.bits // 8)
    return b.value(kind, f"call {kind} @{name}({where}, i32 {align}, "
                         f"{on}, {kind} zeroinitializer)")


def scatter(b: Block, base: Value, lanes: Value, v: Value, on: Value | None, align: int) -> None:
    """base[lane] = v for each lane that is on."""
    where = _pointers(b, base, lanes, v.type.with_lanes(1))
    on = on or const(lanes.type.mask, True)
    name = f"llvm.masked.scatter.{v.type.mangled}.{where.type.mangled}"
    b.module.declare(name, f"declare void @{name}({v.type}, {where.type}, i32, {on.type})")
    b.line(f"call void @{name}({v}, {where}, i32 {align}, {on})")


def picked(b: Block, parts: list[Value], wanted: list[int]) -> Value:
    """The wanted elements, in rising order, of registers side by side: as many shuffles a register
    of the result as hold some of it, less one. Elements beyond the last register are anything."""
    lanes = parts[0].type.lanes
    pieces = [_picked(b, parts, wanted[i:i + lanes]) for i in range(0, len(wanted), lanes)]
    while len(pieces) > 1:
        pieces = [b.shuffle(x, y, list(range(2 * x.type.lanes)))
                  for x, y in zip(pieces[::2], pieces[1::2])]
    return pieces[0]


def _picked(b: Block, parts: list[Value], wanted: list[int]) -> Value:
    lanes = parts[0].type.lanes
    owner = [min(w // lanes, len(parts) - 1) for w in wanted]
    here = [w % lanes for w in wanted]
    found = parts[owner[0]]
    if owner[0] == owner[-1]:
        return b.shuffle(found, found, here)
    place = here  # where in `found` each element is that has been met
    for k in sorted(set(owner[1:]) - {owner[0]}):
        at = [lanes + h if o == k else p for o, h, p in zip(owner, here, place)]
        found, place = b.shuffle(found, parts[k], at), list(range(lanes))
    return found
