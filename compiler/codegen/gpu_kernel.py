"""What every GPU kernel is made of: its pointers, its place in the grid, shared memory, shuffles.

A kernel is `void @name(ptr addrspace(1) ...)` with a pointer for each slot that it touches, in the
order of first use. All threads of a warp take part in every shuffle and all of a block in every
barrier: loops around them have the same number of steps for the whole block, and threads without
work of their own repeat another's and store nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from flambeau.compiler import fuse
from flambeau.compiler.codegen.emit import (
    I1,
    I8,
    I32,
    I64,
    Block,
    Function,
    Module,
    Type,
    Value,
    const,
    make_type,
)
from flambeau.compiler.codegen.lower import Layout, Lowering
from flambeau.compiler.dtype import DType
from flambeau.compiler.kernel import Kernel
from flambeau.compiler.target import Target

GLOBAL, SHARED = make_type("ptr addrspace(1)"), make_type("ptr addrspace(3)")
WARP = 32
BLOCK = 256  # threads: with at most 255 registers each they fit on every processor
WAVES = 8  # blocks a multiprocessor that a grid is cut off at
ALL = const(I32, -1)


@dataclass(frozen=True)
class Grid:
    """A finished kernel: symbol<<<blocks, threads>>>(slots)."""

    symbol: str
    blocks: int
    threads: int
    arguments: list[int]


@dataclass
class Scene:
    """What a kernel's generator is told: the plan of slots, and the program's module.

    places: where each slot lies. rough: slots whose address may not be a multiple of 16.
    """

    module: Module
    target: Target
    layout: Layout
    places: list[tuple[str, int]]
    rough: set[int] = field(default_factory=set)
    guarded: bool = False  # stop at once when the error word is set


class GpuFunction:
    """One kernel being written. `entry` is where its body goes."""

    def __init__(self, scene: Scene, symbol: str, threads: int, resident: int = 1) -> None:
        """resident: blocks that a multiprocessor must have registers for."""
        self.scene, self.symbol, self.threads = scene, symbol, threads
        self.module = scene.module
        # without the second number some assemblers spill rather than use more than 128 registers
        attributes = scene.module.attribute_group(
            f'nounwind "nvvm.maxntid"="{threads}" "nvvm.minctasm"="{resident}"')
        self.fn = Function(scene.module, symbol, None, [], attributes, "ptx_kernel")
        self.arguments: list[int] = []
        self.pointers: dict[object, Value] = {}
        self.shared_count = 0
        self.entry = self.fn.entry
        if scene.guarded:
            self._guard()

    def pointer(self, slot: int) -> Value:
        """The kernel's parameter for a slot; slots that are the same memory share one."""
        where = self.scene.places[slot]
        key = slot if where[0] == "moving" else where
        found = self.pointers.get(key)
        if found is None:
            found = Value(GLOBAL, f"%p{slot}")
            align = 1 if slot in self.scene.rough else 16
            self.fn.params.append((found, f"noalias align {align}"))
            self.arguments.append(slot)
            self.pointers[key] = found
        return found

    def _guard(self) -> None:
        """Ends the kernel here if the error word says that an index was out of range."""
        b = self.entry
        stop, go = b.names.fresh("stop"), b.names.fresh("go")
        status = b.load(I64, self.pointer(0), 8)
        b.branch_if(b.cmp("ne", status, const(I64, 0)), stop, go)
        b.label(stop)
        self.fn.ret(b)
        b.label(go)

    def finish(self, blocks: int) -> Grid:
        self.fn.ret(self.entry)
        self.fn.finish()
        return Grid(self.symbol, blocks, self.threads, self.arguments)

    # -- place in the grid -------------------------------------------------------------------
    def register(self, name: str, limit: int) -> Value:
        """A special register (tid.x, ctaid.x ...), known to be below limit."""
        symbol = f"llvm.nvvm.read.ptx.sreg.{name}"
        self.module.declare(symbol, f"declare i32 @{symbol}()")
        return self.entry.value(I32, f"call range(i32 0, {limit}) i32 @{symbol}()")

    def register_of(self, b: Block, name: str) -> Value:
        """A special register that may have any value (lanemask.lt)."""
        symbol = f"llvm.nvvm.read.ptx.sreg.{name}"
        self.module.declare(symbol, f"declare i32 @{symbol}()")
        return b.call(symbol, I32)

    def thread(self) -> Value:
        return self.register("tid.x", self.threads)

    def block(self, blocks: int) -> Value:
        return self.register("ctaid.x", blocks)

    # -- shared memory -----------------------------------------------------------------------
    def shared(self, type: Type, count: int) -> Value:
        """`count` elements of shared memory, 16-byte aligned."""
        name = f"{self.symbol}_shared{self.shared_count}"
        self.shared_count += 1
        self.module.declare(name, f"@{name} = internal addrspace(3) global [{count} x {type}] "
                                  "undef, align 16")
        return Value(SHARED, f"@{name}")

    def barrier(self, b: Block) -> None:
        """All threads of the block meet here and see each other's shared memory."""
        symbol = "llvm.nvvm.barrier.cta.sync.aligned.all"
        self.module.declare(symbol, f"declare void @{symbol}(i32) convergent")
        b.line(f"call void @{symbol}(i32 0)")

    # -- shuffles ----------------------------------------------------------------------------
    def shuffle(self, b: Block, v: Value, kind: str, lane: Value | int) -> Value:
        """v of another lane: kind "bfly" (xor lane), "idx" (that lane), "up" (so many below).

        "up" gives lanes without a source their own value.
        """
        at = const(I32, lane) if isinstance(lane, int) else lane
        if v.type.bits == 64:
            return self._wide_shuffle(b, v, kind, at)
        word = _to_word(b, v)
        symbol = f"llvm.nvvm.shfl.sync.{kind}.i32"
        self.module.declare(symbol, f"declare i32 @{symbol}(i32, i32, i32, i32) convergent")
        clamp = const(I32, 0 if kind == "up" else WARP - 1)
        return _from_word(b, b.call(symbol, I32, ALL, word, at, clamp), v.type)

    def _wide_shuffle(self, b: Block, v: Value, kind: str, at: Value) -> Value:
        whole = v if v.type.scalar == "i64" else b.bitcast(v, "i64")
        low = self.shuffle(b, b.convert("trunc", whole, "i32"), kind, at)
        high = self.shuffle(b, b.convert("trunc", b.lshr(whole, 32), "i32"), kind, at)
        joined = b.or_(b.convert("zext", low, "i64"), b.shl(b.convert("zext", high, "i64"), 32))
        return joined if v.type.scalar == "i64" else b.bitcast(joined, v.type.scalar)


def _to_word(b: Block, v: Value) -> Value:
    if v.type.scalar == "float":
        return b.bitcast(v, "i32")
    return v if v.type.bits == 32 else b.convert("zext", v, "i32")


def _from_word(b: Block, word: Value, type: Type) -> Value:
    if type.scalar == "float":
        return b.bitcast(word, "float")
    return word if type.bits == 32 else b.convert("trunc", word, type.scalar)


def stored_type(type: Type) -> Type:
    """How a register value lies in shared memory."""
    return I8 if type == I1 else type


def put(b: Block, v: Value, base: Value, at: Value) -> None:
    """Writes a register value to shared memory."""
    raw = b.convert("zext", v, "i8") if v.type == I1 else v
    b.store(raw, b.gep(base, raw.type, at), raw.type.bits // 8)


def take(b: Block, type: Type, base: Value, at: Value) -> Value:
    """Reads a register value from shared memory."""
    kind = stored_type(type)
    raw = b.load(kind, b.gep(base, kind, at), kind.bits // 8)
    return b.convert("trunc", raw, "i1") if type == I1 else raw


def when(b: Block, condition: Value | None, body: Callable[[Block], None]) -> None:
    """if condition: body; always when there is no condition."""
    if condition is None:
        body(b)
        return
    yes, done = b.names.fresh("when"), b.names.fresh("after")
    b.branch_if(condition, yes, done)
    b.label(yes)
    body(b)
    b.branch(done)
    b.label(done)


class GpuLowering(Lowering):
    """Expressions inside a GPU kernel: pointers are parameters, indices are 32 bits if they can."""

    def __init__(self, made: GpuFunction, word: Type) -> None:
        super().__init__(made.scene.target, made.scene.layout, made.entry, Value(GLOBAL, "null"))
        self.made, self.word = made, word

    def pointer(self, slot: int) -> Value:
        return self.made.pointer(slot)

    def alignment(self, dtype: DType) -> int:
        return dtype.itemsize * self.lanes  # the plan has lanes only where this holds


def words(extents: list[int]) -> Type:
    """The type for indices into arrays with so many elements."""
    return I32 if max(extents, default=0) < 1 << 30 else I64


def extents(scene: Scene, k: Kernel) -> list[int]:
    """Sizes of all that the kernel writes, reads and walks through on the way."""
    met = fuse.reached(k, set(scene.layout.slots))[1]
    return [*(s.home.size for s in k.stores), *(n.size for n in met)]


def unravel(b: Block, flat: Value, extents: list[int]) -> list[Value]:
    """The indices of a flat position (C order); the first is not reduced by its extent."""
    out: list[Value] = []
    for i in range(len(extents) - 1, -1, -1):
        if i == 0:
            out.append(flat)
        elif extents[i] == 1:
            out.append(const(flat.type, 0))
        else:
            size = const(flat.type, extents[i])
            out.append(b.op("urem", flat, size))
            flat = b.op("udiv", flat, size)
    return out[::-1]


def power_of_two(n: int) -> int:
    """The smallest power of two that is at least n."""
    return 1 << max(0, n - 1).bit_length()
