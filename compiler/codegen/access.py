"""Memory accesses of several lanes: contiguous, masked, gathered, scattered."""

from __future__ import annotations

from flambeau.compiler.codegen.emit import I64, Block, Type, Value, const, make_type


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


def masked_load(b: Block, kind: Type, address: Value, on: Value, align: int) -> Value:
    """Lanes that are off are not touched and read as zero."""
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
