"""What decoding an instruction needs: registers and constants by slot, addresses of variables.

A step is a function of v and m: v is a list of arrays, one a slot, a lane per running thread; m is
the chunk (run.Chunk). A slot is a register seen as one type, or a constant.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from emulator.faults import PtxError
from emulator.parse import Address, Group, Immediate, Instruction, Operand, Register, Symbol
from emulator.types import BITS, PLAIN, Array, constant

Step = Callable[[list[Any], Any], Any]

SPECIAL = {f"%{name}.{axis}": "u32" for name in ("tid", "ntid", "ctaid", "nctaid")
           for axis in "xyz"} | {
    f"%{name}": "u32" for name in ("laneid", "warpid", "nwarpid", "smid", "nsmid", "clock",
                                   "dynamic_smem_size", "total_smem_size", "lanemask_eq",
                                   "lanemask_lt", "lanemask_le", "lanemask_gt", "lanemask_ge")} | {
    "%clock64": "u64", "%globaltimer": "u64", "%gridid": "u64"}


@dataclass(frozen=True)
class Slot:
    """Where a slot's array comes from: a register seen as a type, or a constant."""

    register: int  # -1: a constant
    type: str
    value: Array | None = None


class Builder:
    """The registers and slots of one kernel, filled while its instructions are decoded."""

    def __init__(self, types: dict[str, str], symbols: dict[str, tuple[str, int]],
                 sm: int) -> None:
        self.types = types
        self.symbols = symbols  # variables: space, address within it
        self.sm = sm
        self.names: list[str] = []
        self.index: dict[str, int] = {}
        self.bits: list[int] = []
        self.slots: list[Slot] = []
        self._slot: dict[object, int] = {}
        self.presets: dict[int, str | int] = {}  # registers set at the start: special, or a value
        self.uses: set[int] = set()  # of the instruction in hand
        self.defs: set[int] = set()
        self.widths: set[int] = set()  # of accesses that may touch shared memory

    # -- registers -----------------------------------------------------------------------------

    def register(self, name: str) -> int:
        """The number of a register. Raises PtxError when it is not declared."""
        if name in self.index:
            return self.index[name]
        type_ = SPECIAL.get(name) or self.types.get(name)
        if type_ is None:
            raise PtxError(f"expected a declared register, got {name}")
        if BITS[type_] == 8:
            type_ = "b8"
        made = self._new(name, BITS[type_])
        if name in SPECIAL:
            self.presets[made] = name
        return made

    def _new(self, name: str, bits: int) -> int:
        self.index[name] = len(self.names)
        self.names.append(name)
        self.bits.append(bits)
        return self.index[name]

    def hidden(self, name: str, bits: int) -> int:
        """A register of the emulator's own, such as the carry."""
        return self.index[name] if name in self.index else self._new(name, bits)

    def held(self, value: int, bits: int) -> int:
        """A register that holds a value from the start."""
        name = f"={value}:{bits}"
        if name not in self.index:
            self.presets[self._new(name, bits)] = value
        return self.index[name]

    def slot(self, register: int, type_: str) -> int:
        key = (register, "b8" if type_ == "u8" else type_)
        if key not in self._slot:
            self._slot[key] = len(self.slots)
            self.slots.append(Slot(register, type_))
        return self._slot[key]

    def constant(self, value: Array) -> int:
        key = (value.dtype.str, value.tobytes())
        if key not in self._slot:
            self._slot[key] = len(self.slots)
            self.slots.append(Slot(-1, "", value))
        return self._slot[key]

    # -- operands ------------------------------------------------------------------------------

    def read(self, o: Operand, type_: str, exact: bool = True) -> int:
        """The slot of an operand that is read as the type; wider registers when not exact."""
        if isinstance(o, Register):
            i = self.register(o.name)
            self._check(o, i, type_, exact)
            self.uses.add(i)
            return self.slot(i, type_)
        if isinstance(o, Immediate):
            if type_ in ("f16x2", "bf16x2"):
                i = self.held(int(constant(o, "b32")), 32)
                self.uses.add(i)
                return self.slot(i, type_)
            return self.constant(constant(o, type_))
        if isinstance(o, Symbol):
            return self.constant(np.asarray(self.address_of(o), f"u{BITS[type_] // 8}"))
        raise PtxError(f"expected a register or a constant, got {o}")

    def write(self, o: Operand, type_: str, exact: bool = True) -> int:
        """The slot of a destination; `_` is one that nobody reads."""
        if not isinstance(o, Register) or o.name in SPECIAL:
            raise PtxError(f"expected a register to write, got {o}")
        i = self.hidden(f"_{type_}", BITS[type_]) if o.name == "_" else self.register(o.name)
        self._check(o, i, type_, exact or o.name == "_")
        self.defs.add(i)
        return self.slot(i, type_)

    def _check(self, o: Register, i: int, type_: str, exact: bool) -> None:
        wanted, got = BITS[type_], self.bits[i]
        if wanted != got and (exact or wanted > got or 1 in (wanted, got)):
            raise PtxError(f"expected a register for {type_}, got {o.name} of {got} bits")

    def plain(self, o: Operand) -> int:
        """A register's destination slot as bits, whatever its width."""
        if not isinstance(o, Register):
            raise PtxError(f"expected a register, got {o}")
        i = self.register(o.name)
        return self.write(o, PLAIN.get(self.bits[i], "pred"))

    def address_of(self, o: Symbol) -> int:
        if o.name not in self.symbols:
            raise PtxError(f"expected a variable, got {o.name}")
        return self.symbols[o.name][1] + o.offset

    def address(self, o: Operand) -> tuple[int, int]:
        """An address operand as the slot of its base and a byte offset."""
        if not isinstance(o, Address):
            raise PtxError(f"expected an address, got {o}")
        base = o.base
        if isinstance(base, Register):
            i = self.register(base.name)
            if self.bits[i] not in (32, 64):
                raise PtxError(f"expected an address of 32 or 64 bits, got {base.name}")
            self.uses.add(i)
            return self.slot(i, f"u{self.bits[i]}"), o.offset
        return self.read(base, "u64"), o.offset

    def items(self, o: Operand, count: int) -> tuple[Operand, ...]:
        """The parts of a vector operand, or the operand itself when count is 1."""
        if count == 1:
            return o.items if isinstance(o, Group) and len(o.items) == 1 else (o,)
        if not isinstance(o, Group) or len(o.items) != count:
            raise PtxError(f"expected a vector of {count}, got {o}")
        return o.items


def parts(ins: Instruction, allowed: tuple[str, ...] = ()) -> list[str]:
    """An opcode's parts after its name, less those `allowed` ones that change nothing."""
    return [p for p in ins.opcode[1:] if p not in allowed]


def operands(ins: Instruction, *counts: int) -> tuple[Operand, ...]:
    """The operands. Raises PtxError when there are more or fewer than `counts`."""
    if len(ins.operands) not in counts:
        raise PtxError(f"expected {counts[0]} operands, got {len(ins.operands)}")
    return ins.operands


def expect(condition: bool, ins: Instruction) -> None:
    """Raises PtxError for a form of the opcode that PTX has not, or that is not emulated."""
    if not condition:
        raise PtxError(f"expected a form of {ins.opcode[0]} that is emulated, got "
                       f"{'.'.join(ins.opcode)}")
