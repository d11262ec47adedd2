"""Loads, stores, atomics and asynchronous copies, in every space and through generic addresses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from emulator import memory
from emulator.builder import Builder, Step, expect, operands, parts
from emulator.faults import Misaligned, OutOfBounds, PtxError
from emulator.memory import Memory
from emulator.parse import Address, Immediate, Instruction, Operand, Register, Symbol
from emulator.types import BITS, NUMPY, SIGNED, Array, constant, from_bf16, narrow

HINTS = ("weak", "relaxed", "acquire", "release", "acq_rel", "volatile", "cta", "cluster", "gpu",
         "sys", "ca", "cg", "cs", "lu", "cv", "wb", "wt", "nc", "unified", "noftz", "sc")
Where = tuple[Memory, Array, Array | None]  # a memory, byte offsets, the lanes (None: all)


def _words(ins: Instruction) -> tuple[str, int, str]:
    """Of ld and st: the space ("" for generic), the vector's length, the type."""
    words = [w for w in parts(ins, HINTS) if ":" not in w]
    space = words.pop(0) if words and words[0] in memory.WINDOWS else ""
    count = int(words.pop(0)[1]) if words and words[0] in ("v2", "v4") else 1
    expect(len(words) == 1 and words[0] in NUMPY and BITS[words[0]] >= 8, ins)
    expect(words[0] not in ("f16", "bf16", "f16x2", "bf16x2", "tf32"), ins)
    expect(count * BITS[words[0]] <= 128, ins)
    return space, count, words[0]


# -- from an address operand to bytes ----------------------------------------------------------

class Locator:
    """Finds the bytes that an address operand means, and blames the lanes whose address is bad."""

    def __init__(self, b: Builder, ins: Instruction, space: str, o: Operand, size: int) -> None:
        self.ins, self.space, self.size = ins, space, size
        self.base, offset = b.address(o)
        self.offset = np.uint64(offset & 0xFFFF_FFFF_FFFF_FFFF)
        self.shared = self._unit(b, "shared") if space in ("", "shared") else 0
        self.local = self._unit(b, "local") if space in ("", "local") else 0
        if space in ("", "shared"):
            b.widths.add(size)

    def _unit(self, b: Builder, name: str) -> int:
        register = b.hidden(f"%{name}_base", 64)
        b.presets[register] = f"%{name}_base"
        b.uses.add(register)
        return b.slot(register, "u64")

    def find(self, v: list[Any], m: Any) -> Iterator[Where]:
        """One entry, or one for each space that a generic address reaches."""
        address = v[self.base] + self.offset
        if address.ndim == 0:
            address = np.full(len(m.ids), address, np.uint64)
        if self.space:
            yield *self._place(v, m, self.space, address, None), None
            return
        if not int(np.bitwise_or.reduce(address)) >> 48:
            yield *self._place(v, m, "global", address, None), None
            return
        windows = memory.place_of_windows(address)
        for number in np.unique(windows):
            lanes = np.flatnonzero(windows == number)
            plain = address[lanes] & np.uint64((1 << 48) - 1)
            if number >= len(memory.SPACES):
                raise m.fault(OutOfBounds, self.ins, int(lanes[0]),
                              f"expected a valid address, got {int(address[lanes[0]]):#x}")
            yield *self._place(v, m, memory.SPACES[number], plain, lanes), lanes

    def _place(self, v: list[Any], m: Any, space: str, address: Array, lanes: Array | None
               ) -> tuple[Memory, Array]:
        if space == "global":
            held, at = m.device, (address - np.uint64(m.device.start)).view(np.int64)
        elif space in ("shared", "local"):
            held = m.shared if space == "shared" else m.local
            base = v[self.shared if space == "shared" else self.local]
            self._within(m, held, address, lanes)
            at = (address + (base if lanes is None else base[lanes])).view(np.int64)
        else:
            held, at = m.const if space == "const" else m.params, address.view(np.int64)
        wrong = memory.misaligned(at, self.size)
        if wrong is not None:
            real = int(address[wrong])
            raise m.fault(Misaligned, self.ins, _lane(lanes, wrong), f"expected an address that is "
                          f"a multiple of {self.size}, got {real:#x} of {space} memory")
        return held, at

    def _within(self, m: Any, held: Any, address: Array, lanes: Array | None) -> None:
        """Shared and local addresses stay in their unit: the next one is another's."""
        wrong = address > np.uint64(held.size - self.size) if held.size >= self.size else \
            np.ones(len(address), bool)
        if wrong.any():
            i = int(np.flatnonzero(wrong)[0])
            raise m.fault(OutOfBounds, self.ins, _lane(lanes, i), "out of bounds: "
                          f"{self.size} bytes of {held.name} memory at {int(address[i]):#x}, which "
                          f"has {held.size}")

    def blame(self, m: Any, held: Memory, at: Array, lanes: Array | None, width: int, writing: bool
              ) -> Exception:
        """The fault of the first lane whose bytes may not be touched so."""
        i, kind, what = held.blame(at, width, writing)
        word = {"OutOfBounds": "out of bounds", "UseAfterFree": "use after free",
                "Uninitialised": "uninitialised read", "ReadOnly": "write to constants"}
        return m.fault(kind, self.ins, _lane(lanes, i), f"{word[kind.__name__]}: {what}")

    def touch(self, m: Any, held: Memory, at: Array, lanes: Array | None, kind: str) -> None:
        if held is m.shared and m.races is not None:
            threads = m.ids if lanes is None else m.ids[lanes]
            m.races.touch(m, self.ins, at, self.size, kind, threads)


def _lane(lanes: Array | None, i: int) -> int:
    return i if lanes is None else int(lanes[i])


# -- loads and stores --------------------------------------------------------------------------

def ld(b: Builder, ins: Instruction) -> Step:
    space, count, type_ = _words(ins)
    d, source = operands(ins, 2)
    targets = b.items(d, count)
    passed = _passed(b, space, source, count, type_)
    if passed:
        return _copy(b, passed, [(p, t) for p, t in zip(passed, targets)], type_, loading=True)
    writes = [_loaded(b, o, type_) for o in targets]
    names = [b.index.get(o.name, -1) if isinstance(o, Register) else -1 for o in targets]
    bytes_ = BITS[type_] // 8
    where = Locator(b, ins, space, source, bytes_ * count)
    kind = NUMPY[type_]

    def step(v: list[Any], m: Any) -> None:
        for held, at, lanes in where.find(v, m):
            for i, w in enumerate(writes):
                values, fine = held.read(at + i * bytes_ if i else at, bytes_)
                if not fine and (i == 0 or names[i] not in m.code.unread):
                    raise where.blame(m, held, at + i * bytes_, lanes, bytes_, False)
                if lanes is None:
                    v[w][...] = values.view(kind)
                else:
                    v[w][lanes] = values.view(kind)
            where.touch(m, held, at, lanes, "read")
    return step


def _loaded(b: Builder, o: Operand, type_: str) -> int:
    """Where a loaded value goes: a wider register gets it extended."""
    if isinstance(o, Register) and o.name != "_":
        bits = b.bits[b.register(o.name)]
        if bits > BITS[type_]:
            return b.write(o, f"{'s' if type_ in SIGNED else 'u'}{bits}")
    return b.write(o, type_)


def st(b: Builder, ins: Instruction) -> Step:
    space, count, type_ = _words(ins)
    target, x = operands(ins, 2)
    sources = b.items(x, count)
    passed = _passed(b, space, target, count, type_)
    if passed:
        return _copy(b, passed, list(zip(passed, sources)), type_, loading=False)
    expect(space not in ("const", "param"), ins)
    reads = [_stored(b, o, type_) for o in sources]
    bytes_ = BITS[type_] // 8
    where = Locator(b, ins, space, target, bytes_ * count)

    def step(v: list[Any], m: Any) -> None:
        for held, at, lanes in where.find(v, m):
            for i, r in enumerate(reads):
                values = v[r]
                if lanes is not None and values.ndim:
                    values = values[lanes]
                if not held.write(at + i * bytes_ if i else at, values, bytes_):
                    raise where.blame(m, held, at + i * bytes_, lanes, bytes_, True)
            where.touch(m, held, at, lanes, "write")
    return step


def _stored(b: Builder, o: Operand, type_: str) -> int:
    plain = f"u{BITS[type_]}"
    if isinstance(o, Immediate):
        return b.constant(constant(o, type_).view(NUMPY[plain]))
    return b.read(o, plain, exact=False)


def _passed(b: Builder, space: str, o: Operand, count: int, type_: str) -> list[int]:
    """The hidden registers of a function's parameter, when the address is one."""
    if space != "param" or not isinstance(o, Address) or not isinstance(o.base, Symbol) or \
            o.base.name in b.symbols:
        return []
    bytes_ = BITS[type_] // 8
    start = o.base.offset + o.offset
    return [b.hidden(f"{o.base.name}+{start + i * bytes_}:{bytes_}", 8 * bytes_)
            for i in range(count)]


def _copy(b: Builder, passed: list[int], pairs: list[tuple[int, Operand]], type_: str,
          loading: bool) -> Step:
    """Parameters of functions are registers: the call is expanded in place."""
    moves = []
    for register, o in pairs:
        if loading:
            b.uses.add(register)
            moves.append((_loaded(b, o, type_), b.slot(register, type_)))
        else:
            b.defs.add(register)
            moves.append((b.slot(register, f"u{BITS[type_]}"), _stored(b, o, type_)))

    def step(v: list[Any], m: Any) -> None:
        for to, source in moves:
            np.copyto(v[to], v[source])
    return step


# -- atomics -----------------------------------------------------------------------------------

def _wrap_increment(old: Array, limit: Array) -> Array:
    return np.where(old >= limit, np.uint32(0), old + np.uint32(1))


def _wrap_decrement(old: Array, limit: Array) -> Array:
    return np.where((old == 0) | (old > limit), limit, old - np.uint32(1))


UPDATES: dict[str, Callable[..., Any]] = {
    "add": np.add, "min": np.minimum, "max": np.maximum, "and": np.bitwise_and,
    "or": np.bitwise_or, "xor": np.bitwise_xor, "exch": lambda old, new: new,
    "cas": lambda old, expected, new: np.where(old == expected, new, old),
    "inc": _wrap_increment, "dec": _wrap_decrement}
TYPES = {"add": ("u32", "s32", "u64", "f16", "f16x2", "bf16", "bf16x2", "f32", "f64"),
         "min": ("u32", "s32", "u64", "s64"), "max": ("u32", "s32", "u64", "s64"),
         "and": ("b32", "b64"), "or": ("b32", "b64"), "xor": ("b32", "b64"),
         "exch": ("b32", "b64"), "cas": ("b16", "b32", "b64"), "inc": ("u32",), "dec": ("u32",)}


def _update(name: str, type_: str) -> Callable[..., Any]:
    f = UPDATES[name]
    if type_ in ("bf16", "bf16x2"):
        return lambda old, x: narrow(from_bf16(old) + from_bf16(x), type_)
    return f


def rounds(at: Array) -> Iterator[Array]:
    """The lanes in groups whose addresses are distinct, in the order of the lanes."""
    order = np.argsort(at, kind="stable")
    held = at[order]
    first = np.r_[True, held[1:] != held[:-1]]
    if first.all():
        yield np.arange(len(at))
        return
    start = np.maximum.accumulate(np.where(first, np.arange(len(at)), 0))
    rank = np.arange(len(at)) - start
    for k in range(int(rank.max()) + 1):
        yield order[rank == k]


def atom(b: Builder, ins: Instruction) -> Step:
    """atom and red: one lane after the other where addresses meet."""
    words = [w for w in parts(ins, HINTS) if ":" not in w]
    space = words.pop(0) if words and words[0] in ("global", "shared") else ""
    expect(len(words) == 2 and words[0] in UPDATES and words[1] in TYPES[words[0]], ins)
    name, type_ = words
    keeps = ins.opcode[0] == "atom"
    expect(keeps or name not in ("exch", "cas"), ins)
    given = list(operands(ins, 1 + keeps + (2 if name == "cas" else 1)))
    d = given.pop(0) if keeps else None
    bytes_ = BITS[type_] // 8
    where = Locator(b, ins, space, given.pop(0), bytes_)
    plain = {"f16x2": "u32", "bf16x2": "u32"}.get(type_, f"u{8 * bytes_}")
    reads = [b.read(o, f"u{8 * bytes_}") if not isinstance(o, Immediate)
             else b.constant(constant(o, type_).view(NUMPY[plain])) for o in given]
    write = b.write(d, plain) if d is not None else None
    f = _update(name, type_)

    def step(v: list[Any], m: Any) -> None:
        for held, at, lanes in where.find(v, m):
            args = [np.broadcast_to(v[r], len(m.ids)) for r in reads]
            args = args if lanes is None else [a[lanes] for a in args]
            old = _serial(where, m, held, at, lanes, args, (f, type_, bytes_))
            if write is not None:
                v[write][slice(None) if lanes is None else lanes] = old
            where.touch(m, held, at, lanes, "atomic")
    return step


def _serial(where: Locator, m: Any, held: Memory, at: Array, lanes: Array | None,
            args: list[Array], what: tuple[Callable[..., Any], str, int]) -> Array:
    """Reads, updates and writes each lane's element; what the lanes found there."""
    f, type_, bytes_ = what
    kind = NUMPY[type_]
    found = np.empty(len(at), f"u{bytes_}")
    for lot in rounds(at):
        old, fine = held.read(at[lot], bytes_)
        if not fine:
            raise where.blame(m, held, at[lot], lot if lanes is None else lanes[lot], bytes_, False)
        new = f(old.view(kind), *(np.ascontiguousarray(a[lot]).view(kind) for a in args))
        fine = held.write(at[lot], np.ascontiguousarray(new, kind).view(f"u{bytes_}"), bytes_)
        if not fine:
            raise where.blame(m, held, at[lot], lot if lanes is None else lanes[lot], bytes_, True)
        found[lot] = old
    return found


# -- asynchronous copies -----------------------------------------------------------------------

def cp(b: Builder, ins: Instruction) -> Step:
    """cp.async: the bytes arrive when the thread waits, not before, so a missing wait is seen."""
    words = [w for w in parts(ins) if ":" not in w]
    expect(b.sm >= 80 and words[:1] == ["async"], ins)
    if words[1:] == ["commit_group"]:
        return lambda v, m: m.copies.commit(m.ids)
    if words[1:] == ["wait_all"]:
        return lambda v, m: m.copies.wait(m, m.ids, 0, True)
    if words[1:] == ["wait_group"]:
        (left,) = operands(ins, 1)
        expect(isinstance(left, Immediate), ins)
        return lambda v, m: m.copies.wait(m, m.ids, int(left.value), False)  # type: ignore[union-attr]
    expect(words[1:] in (["ca", "shared", "global"], ["cg", "shared", "global"]), ins)
    return _async(b, ins, words[1])


def _async(b: Builder, ins: Instruction, cache: str) -> Step:
    to, source, size, *rest = operands(ins, 3, 4)
    sizes = (16,) if cache == "cg" else (4, 8, 16)
    if not isinstance(size, Immediate) or size.value not in sizes:
        raise PtxError(f"expected a size of 16 bytes (or, with .ca, 4 or 8), got {size}")
    bytes_ = int(size.value)
    target = Locator(b, ins, "shared", to, bytes_)
    origin = Locator(b, ins, "global", source, bytes_)
    taken = b.read(rest[0], "u32") if rest else None

    def step(v: list[Any], m: Any) -> None:
        ((held, at, _),) = target.find(v, m)
        ((device, start, _),) = origin.find(v, m)
        count = np.broadcast_to(v[taken], len(at)) if taken is not None else \
            np.full(len(at), bytes_, np.uint32)
        values = np.zeros((len(at), bytes_), np.uint8)
        for i in range(bytes_):
            lanes = np.flatnonzero(count > i)
            got, fine = device.read(start[lanes] + i, 1)
            if not fine:
                raise origin.blame(m, device, start[lanes] + i, lanes, 1, False)
            values[lanes, i] = got
        width = min(bytes_, 8)
        for i in range(0, bytes_, width):
            if not held.write(at + i, np.zeros(len(at), f"u{width}"), width):
                raise target.blame(m, held, at + i, None, width, True)
            held.forget(at + i, width)
        target.touch(m, held, at, None, "write")
        m.copies.start(ins, m.ids, at, values)
    return step


class Copies:
    """The copies under way in a chunk, by thread and group."""

    def __init__(self, threads: int) -> None:
        self.group = np.zeros(threads, np.int64)
        self.pending: list[tuple[Instruction, Array, Array, Array, Array]] = []

    def start(self, ins: Instruction, threads: Array, at: Array, values: Array) -> None:
        self.pending.append((ins, threads, self.group[threads], at, values))

    def commit(self, threads: Array) -> None:
        self.group[threads] += 1

    def wait(self, m: Any, threads: Array, left: int, everything: bool) -> None:
        """The threads' copies arrive, except those of their last `left` groups."""
        waiting = np.zeros(len(self.group), bool)
        waiting[threads] = True
        still = []
        for ins, owners, group, at, values in self.pending:
            limit = self.group[owners] - left + everything
            done = waiting[owners] & (group < limit)
            self._arrive(m, ins, owners[done], at[done], values[done])
            rest = ~done
            if rest.any():
                still.append((ins, owners[rest], group[rest], at[rest], values[rest]))
        self.pending = still

    def _arrive(self, m: Any, ins: Instruction, threads: Array, at: Array, values: Array) -> None:
        for i in range(values.shape[1]):
            m.shared.write(at + i, values[:, i], 1)
        if len(at) and m.races is not None:
            m.races.touch(m, ins, at, values.shape[1], "write", threads)


def prefetch(b: Builder, ins: Instruction) -> Step:
    return lambda v, m: None


OPS = {"ld": ld, "ldu": ld, "st": st, "atom": atom, "red": atom, "cp": cp, "prefetch": prefetch,
       "prefetchu": prefetch}
