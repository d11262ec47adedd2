"""Contractions: C[b, m, n] = sum over k of A[b, m, k] * B[b, k, n], with lists of axes.

Owns: what a contraction is, as plain data, and how its operands are read. An axis carries its
element stride in each operand, so a transposed, strided or batched matrix product and every form of
convolution (an axis of k and one of n may move through the same memory) are one thing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from flambeau.compiler.codegen.emit import Block, Type, Value, const, make_type

SIZES = {"i1": 1, "i8": 1, "i16": 2, "half": 2, "bfloat": 2, "i32": 4, "float": 4, "i64": 8,
         "double": 8}


@dataclass(frozen=True, slots=True)
class Border:
    """Where B is known to be zero, so that nothing is lost by passing over it.

    B's element for step k of this axis and index i of n axis `n` is zero unless
    0 <= i * step + k * dilation - before < size.
    """

    n: int
    step: int
    dilation: int
    before: int
    size: int

    def meets(self, i: int, k: int) -> bool:
        """Is it inside?"""
        return 0 <= i * self.step + k * self.dilation - self.before < self.size


@dataclass(frozen=True, slots=True)
class Axis:
    """`extent` steps; a, b: element strides in A and in B, None or 0 where it does not have it."""

    extent: int
    a: int | None
    b: int | None
    border: Border | None = None  # of a k axis


TURNED = ("turned",)  # the mark's argument


@dataclass(frozen=True, slots=True)
class Contraction:
    """The axes of each family, outermost first, and the scalar types.

    m axes have no stride in B, n axes none in A; batch and k axes may have both, either or neither.
    acc: float, double, i32 or i64. a_scalar, b_scalar: what is stored. a_cost, b_cost: machine
    operations an element that the loader adds (an elementwise prologue); they speak for packing.
    held: operands (0: A, 1: B) that stay the same over many runs, which share their packing.
    along: vectors lie along k, whatever the sizes: an operand was turned for that (thin.line_up).
    """

    batch: tuple[Axis, ...]
    m: tuple[Axis, ...]
    n: tuple[Axis, ...]
    k: tuple[Axis, ...]
    acc: str
    a_scalar: str = ""
    b_scalar: str = ""
    a_cost: int = 0
    b_cost: int = 0
    held: tuple[int, ...] = ()
    along: bool = False

    def __post_init__(self) -> None:
        if any(x.b for x in self.m) or any(x.a for x in self.n):
            raise ValueError(f"contraction: expected m axes only in A and n axes only in B, "
                             f"got m {self.m} and n {self.n}")

    @property
    def sizes(self) -> tuple[int, int, int, int]:
        """Elements of batch, m, n and k."""
        return size(self.batch), size(self.m), size(self.n), size(self.k)

    @property
    def flops(self) -> int:
        return 2 * math.prod(self.sizes)

    @property
    def accumulator(self) -> Type:
        return make_type(self.acc)

    @property
    def itemsize(self) -> int:
        """Bytes of one accumulator."""
        return SIZES[self.acc]


def size(axes: tuple[Axis, ...]) -> int:
    return math.prod(x.extent for x in axes)


class Operand(Protocol):
    """Reads A or B. Lanes step through memory by one element."""

    def load(self, block: Block, offset: Value, lanes: int, mask: Value | None) -> Value:
        """Elements offset, offset + 1, ... as accumulator type; masked lanes may be anything."""
        ...


@dataclass(frozen=True, slots=True)
class Memory:
    """The plain operand: `scalar` elements behind `pointer`, converted to `acc` on load."""

    pointer: Value
    scalar: str
    acc: str
    signed: bool = True
    note: str = ""  # appended to each load, such as ", !alias.scope !1"

    def load(self, block: Block, offset: Value, lanes: int, mask: Value | None) -> Value:
        stored = make_type(self.scalar, lanes)
        address = block.gep(self.pointer, make_type(self.scalar), offset)
        align = SIZES[self.scalar]
        if mask is None:
            raw = block.load(stored, address, align, self.note)
        elif lanes == 1:
            raise ValueError("Memory.load: expected no mask for one lane")
        else:
            raw = masked_load(block, stored, address, align, mask)
        return self._convert(block, raw)

    def _convert(self, block: Block, raw: Value) -> Value:
        if self.scalar == self.acc:
            return raw
        if raw.type.is_float:
            return block.convert("fpext", raw, self.acc)
        if make_type(self.acc).is_float:
            return block.convert("sitofp" if self.signed else "uitofp", raw, self.acc)
        return block.convert("sext" if self.signed else "zext", raw, self.acc)


def masked_load(block: Block, type: Type, address: Value, align: int, mask: Value) -> Value:
    """Lanes of memory; lanes that are off are zero and are not touched."""
    zero = Value(type, "zeroinitializer")
    return block.intrinsic("llvm.masked.load", type, address, const(make_type("i32"), align), mask,
                           zero, suffix=f"{type.mangled}.p0")


def masked_store(block: Block, a: Value, address: Value, align: int, mask: Value) -> None:
    """Stores the lanes that are on."""
    symbol = f"llvm.masked.store.{a.type.mangled}.p0"
    block.module.declare(symbol, f"declare void @{symbol}({a.type}, ptr, i32, {mask.type})")
    block.call(symbol, None, a, address, const(make_type("i32"), align), mask)


MakeOperands = Callable[[Block, Value], tuple[Operand, Operand, Value | None]]
Store = Callable[[Block, list[Value], list[Value], list[Value], Value, "Value | None"], None]


@dataclass(frozen=True, slots=True)
class Stage:
    """One parallel loop: call `symbol(slots, chunk)` for chunk in range(chunks), any order."""

    symbol: str
    chunks: int
    once: bool = False  # packs what the contraction holds: enough before the first of many runs
