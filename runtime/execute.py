"""Runs programs on host memory: finds or builds the code, fills the tables, calls, checks status.

A program comes from memory, from the disk cache (plan as JSON, code as an object file: no compiler
runs at all), or from the compiler, which the caller passes in as a function.
"""

from __future__ import annotations

import ctypes
import math
import struct
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from flambeau.compiler import dtype as dt
from flambeau.compiler import size
from flambeau.compiler.config import say, wanted
from flambeau.compiler.kernel import Extern, KernelReport, Program
from flambeau.compiler.node import Shape
from flambeau.compiler.target import Target
from flambeau.runtime import cache, devices, externs, jit, memory

_FORMATS = {"bool": "?", "int8": "b", "int16": "h", "int32": "i", "int64": "q", "uint8": "B",
            "uint16": "H", "uint32": "I", "uint64": "Q", "float16": "e", "float32": "f",
            "float64": "d"}

Build = Callable[[], tuple[Program, str]]


class ProgramError(Exception):
    """A value found wrong while the program ran. `place`: the node's number in the request; `kind`:
    the name of the error that the user shall see."""

    def __init__(self, place: int, message: str, kind: str) -> None:
        super().__init__(message)
        self.place, self.kind = place, kind


class RoutineError(ProgramError):
    """A host routine raised `error`."""

    def __init__(self, place: int, error: Exception) -> None:
        super().__init__(place, str(error), type(error).__name__)
        self.error = error


class Executable:
    """A loaded program."""

    general: General | None = None  # what it is an instance of
    n = 0  # and for which size

    def __init__(self, program: Program, code: jit.Code, source: str, seconds: float) -> None:
        self.program, self.code = program, code
        self.source, self.seconds = source, seconds  # "memory" | "disk" | "compiled" | "general"
        self.functions = [code.function(symbol) for symbol in program.entries]
        self.table_type = ctypes.c_void_p * (program.inputs + len(program.outputs) or 1)
        self.scalars = Scalars(program)
        self.simple = len(self.functions) == 1  # no host routine in between
        self.arena_bytes = program.arena_bytes
        self.chain = None if self.simple else externs.chain(
            program, [code.address(symbol) for symbol in program.entries])
        if self.chain is not None:  # nor Python's
            self.arena_bytes = self.chain.arena_bytes
        # nothing to pass but addresses, nothing to check: the status word may be shared
        self.plain = (self.simple and not program.errors and not program.scalars
                      and not program.arena_bytes and not program.sizes)
        self.status = (ctypes.c_char * 8)()
        self.status_address = ctypes.addressof(self.status)

    def run(self, inputs: Sequence[int], outputs: Sequence[int],
            scalars: Sequence[float | int | bool] = ()) -> None:
        """Runs on these addresses. Raises ProgramError when a value was found wrong, or when a host
        routine failed."""
        table = self.table_type(*inputs, *outputs)
        packed = self.scalars.pack(scalars)
        where = ctypes.addressof(packed)
        if self.simple and not self.arena_bytes:
            self.functions[0](ctypes.addressof(table), where, None)
        else:
            arena = memory.allocate(self.arena_bytes)
            if self.chain is not None:
                self.chain.run(ctypes.addressof(table), where, arena.address)
                failed = -_status(packed)
                if failed > 0:
                    ctypes.memset(where, 0, 8)
                    self._pieces(table, where, arena.address, failed)
            else:
                self._pieces(table, where, arena.address)
        self._check(packed)

    def begin(self, start: Callable[..., Any], order: Sequence[Any], made: Sequence[Any],
              scalars: Sequence[float | int | bool]) -> bool:
        """Runs by the short way, see starting.py; False where that cannot be. Raises ProgramError
        when a value was found wrong."""
        packed = self.scalars.pack(scalars)
        bytes_ = self.arena_bytes
        arena = memory.allocate(bytes_) if bytes_ else None
        where = arena.address if arena is not None else 0
        if start(order, made, ctypes.addressof(packed), where) is not None:
            return False
        if self.chain is not None and _status(packed) < 0:
            return False  # the long way knows what to say
        self._check(packed)
        return True

    def _check(self, packed: Any) -> None:
        status = _status(packed) if self.program.errors else 0
        if status:
            raise ProgramError(*self.program.errors[status - 1])

    def start(self, inputs: Sequence[Any], outputs: Sequence[memory.Buffer],
              scalars: Sequence[float | int | bool], late: Callable[[Any], Exception]
              ) -> None:
        """Runs on these memories; inputs that lie on another device are copied here first.

        Raises what `late` makes of a ProgramError.
        """
        try:
            places = [m.address for m in inputs]
        except memory.Elsewhere:
            inputs = [m if m.device == "cpu" else devices.move(m, "cpu") for m in inputs]
            places = [m.address for m in inputs]
        try:
            self.run(places, [m.address for m in outputs], scalars)
        except ProgramError as error:
            raise late(error) from None

    def _pieces(self, table: Any, scalars: int, arena: int, done: int = 0) -> None:
        """Runs entries and host routines in turn, but for the first entries that are done."""
        for i, f in enumerate(self.functions):
            if i >= done:
                f(ctypes.addressof(table), scalars, arena)
            if done - 1 <= i < len(self.program.externs):
                self._extern(self.program.externs[i], table, arena)

    def _extern(self, e: Extern, table: Any, arena: int) -> None:
        views = [self._view(table, arena, *o) for o in (*e.operands, e.result)]
        try:
            externs.run(e.name, e.options, views[-1], *views[:-1])
        except Exception as error:
            raise RoutineError(e.place, error) from error

    def _view(self, table: Any, arena: int, slot: int, name: str, shape: Shape) -> np.ndarray:
        where, place = self.program.slots[slot]
        if where == "arena":
            address = arena + place
        else:
            address = table[place + (self.program.inputs if where == "output" else 0)]
        return array_at(address, dt.by_name(name).numpy, shape)


def array_at(address: int, dtype: np.dtype, shape: Shape) -> np.ndarray:
    """A NumPy view of raw memory; the caller keeps it alive."""
    count = math.prod(shape)
    if count == 0:
        return np.empty(shape, dtype)
    raw = (ctypes.c_char * (count * dtype.itemsize)).from_address(address)
    return np.ndarray(shape, dtype, memoryview(raw))


def _status(packed: Any) -> int:
    """The status word in front of the scalars."""
    return int.from_bytes(packed[:8], "little", signed=True)


class Scalars:
    """Packs scalar arguments behind a zero status word."""

    def __init__(self, program: Any) -> None:
        spec, at = "<q", 8
        self.places: list[tuple[str, int]] = []
        self.convert: list[Callable[[Any], Any]] = []
        for name, offset in program.scalars:
            spec += "x" * (offset - at)
            d = dt.by_name(name)
            letter = "H" if d is dt.bfloat16 else _FORMATS[name]
            spec += letter
            self.places.append(("<" + letter, offset))
            at = offset + d.itemsize
            self.convert.append(_converter(d))
        self.packer = struct.Struct(spec)
        self.type = ctypes.c_char * max(8, program.scalar_bytes)
        self.sizes = struct.pack(f"<{len(program.sizes)}q", *program.sizes)
        self.sizes_at = program.sizes_at
        self.numbers = tuple([1 / n if word == "over" else n for word, n in program.numbers])

    def pack(self, values: Sequence[Any]) -> Any:
        block = self.type()
        if self.sizes:
            block[self.sizes_at:self.sizes_at + len(self.sizes)] = self.sizes
        for i, number in enumerate(self.numbers, len(self.places) - len(self.numbers)):
            self.put(block, i, number)
        self.pack_into(block, values)
        return block

    def pack_into(self, block: Any, values: Sequence[Any]) -> None:
        if values:
            given = (*values, *self.numbers) if self.numbers else values
            self.packer.pack_into(block, 0, 0, *[f(v) for f, v in zip(self.convert, given)])

    def put(self, block: Any, i: int, value: Any) -> None:
        """Writes scalar i alone."""
        letter, offset = self.places[i]
        struct.pack_into(letter, block, offset, self.convert[i](value))


def _converter(d: dt.DType) -> Callable[[Any], Any]:
    if d is dt.bfloat16:
        return _bfloat_bits
    if d.is_float:
        return lambda v: float(d.numpy.type(v))
    if d is dt.bool_:
        return bool
    bits, signed = d.itemsize * 8, d.kind == "i"

    def wrap(v: Any) -> int:
        v = int(v) & ((1 << bits) - 1)
        return v - (1 << bits) if signed and v >> (bits - 1) else v
    return wrap


def _bfloat_bits(v: float) -> int:
    bits = int(np.float32(v).view(np.uint32))
    if v != v:
        return 0x7FC0
    return (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16 & 0xFFFF


# -- finding programs ------------------------------------------------------------------------------


def load(digest: str, build: Build, target: Target) -> Executable:
    """The executable of a structure: from disk, else from `build()`."""
    start = time.perf_counter()
    name = "plan-" + jit.cache_name(digest, target)
    made: list[str] = []

    def compiled() -> Program:
        program, ir = build()
        made.append(ir)
        if wanted(6):
            say("assembly", jit.assembly(ir, target), 6)
        return program

    found = cache.read(name)
    program = _from_plain(found[0]) if found else None
    if program is None:
        program = compiled()
        cache.write(name, _to_plain(program), b"")

    def text() -> str:
        if not made:
            compiled()
        return made[0]

    code = jit.load(text, digest, target)
    source = "compiled" if made else code.cached
    return Executable(program, code, source, time.perf_counter() - start)


class General:
    """A loaded program for many sizes: `facts` say which, `at` makes it a program for one of them.

    plan: the program as plain data with expressions in place of numbers (compiler/size.py).
    build: makes program, text and facts again, for those who look inside.
    """

    def __init__(self, plan: dict[str, Any], code: jit.Code, build: BuildGeneral) -> None:
        self.plan, self.code, self.build = plan, code, build
        self.facts = plan["facts"]

    def serves(self, n: int) -> bool:
        """Is it for this n? Where n is a number in the formula, powers of two are not served: of
        them algebra knows more (a division is a product), and a sum may be cut otherwise."""
        numbers = size.bound(self.plan["numbers"], n)
        return size.admits(self.facts, n) and all(v & (v - 1) for _, v in numbers)

    def at(self, n: int) -> Executable:
        """The program for one n that it serves."""
        start = time.perf_counter()
        fields = {k: v for k, v in self.plan.items() if k not in ("facts", "code")}
        program = _from_plain(size.bound(fields, n))
        assert program is not None
        made = Executable(program, self.code, "general", time.perf_counter() - start)
        made.general, made.n = self, n
        return made

    def timed(self, target: Target, n: int) -> Executable:
        """The program for one n with a clock after every kernel."""
        program, ir, _ = self.build(True)
        bound = _from_plain(size.bound(size.plain(_to_plain(program)), n))
        assert bound is not None
        return Executable(bound, jit.load(ir, cache.digest(ir), target), "compiled", 0.0)


BuildGeneral = Callable[[bool], tuple[Program, str, Any]]  # with clocks?


def load_general(digest: str, build: BuildGeneral, target: Target, n: int) -> General | None:
    """The general program of a structure: from disk, else from `build`, which gives the program,
    its text and its facts. None where what lies on disk is not for this n."""
    name = "general-" + jit.cache_name(digest, target)
    found = cache.read(name)
    if found is not None and "facts" in found[0]:
        plan = found[0]
        if not size.admits(plan["facts"], n):
            return None
        try:
            return General(plan, jit.load(_not_there, plan["code"], target), build)
        except FileNotFoundError:  # the plan alone: another process may have made another one
            pass
    program, ir, facts = build(False)
    # what is chosen by the size at hand is in the code: it has a name of its own
    code = cache.digest(digest, ir)
    plan = {**size.plain(_to_plain(program)), "facts": facts, "code": code}
    general = General(plan, jit.load(ir, code, target), build)
    cache.write(name, plan, b"")
    return general


def _not_there() -> str:
    raise FileNotFoundError


def _to_plain(program: Program) -> dict[str, Any]:
    return asdict(program)


def _from_plain(plain: dict[str, Any]) -> Program | None:
    try:
        fields = {k: _tuples(v) for k, v in plain.items() if k not in ("kernels", "externs")}
        kernels = [KernelReport(**k) for k in plain["kernels"]]
        external = [Extern(**{k: _tuples(v) for k, v in e.items()}) for e in plain["externs"]]
        return Program(kernels=kernels, externs=external, **fields)
    except (KeyError, TypeError):
        return None


def _tuples(v: Any) -> Any:
    """JSON lists back as tuples."""
    return tuple(map(_tuples, v)) if isinstance(v, list) else v
