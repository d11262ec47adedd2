"""Writes LLVM IR as text: typed values, one method per instruction.

Owns: how a type, a constant and an instruction are spelled. Knows nothing of tensors or kernels.

A `Block` is a list of lines that may still grow; a function body is a tree of blocks, printed in
order. That lets code generators hoist: emit into the preheader's block while the loop body is
already half written, with no insertion points to save and restore.

Floating-point instructions carry no fast-math flags: what an instruction gives does not depend on
what stands beside it. Products that are added unrounded are asked for, by `muladd` and `fma`.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from functools import cache

from flambeau.compiler.size import Size
from flambeau.compiler.target import Target


@dataclass(frozen=True, slots=True)
class Type:
    """An LLVM type: `scalar` is i1, i8 ... i64, half, bfloat, float, double or ptr; lanes >= 1."""

    scalar: str
    lanes: int = 1

    def __str__(self) -> str:
        return self.scalar if self.lanes == 1 else f"<{self.lanes} x {self.scalar}>"

    @property
    def is_float(self) -> bool:
        return self.scalar in ("half", "bfloat", "float", "double")

    @property
    def bits(self) -> int:
        """Bits of one lane."""
        return _BITS[self.scalar]

    @property
    def mangled(self) -> str:
        """The suffix LLVM's overloaded intrinsics carry: f32, v16f32, i64 ..."""
        scalar = _MANGLED.get(self.scalar, self.scalar)
        return scalar if self.lanes == 1 else f"v{self.lanes}{scalar}"

    def of(self, scalar: str) -> Type:
        """The same lanes of another scalar type."""
        return make_type(scalar, self.lanes)

    def with_lanes(self, lanes: int) -> Type:
        return make_type(self.scalar, lanes)

    @property
    def mask(self) -> Type:
        """The type of a comparison's result."""
        return make_type("i1", self.lanes)


_BITS = {"i1": 1, "i8": 8, "i16": 16, "i32": 32, "i64": 64, "half": 16, "bfloat": 16, "float": 32,
         "double": 64, "ptr": 64}
_MANGLED = {"half": "f16", "bfloat": "bf16", "float": "f32", "double": "f64", "ptr": "p0"}


@cache
def make_type(scalar: str, lanes: int = 1) -> Type:
    return Type(scalar, lanes)


I1, I8, I32, I64 = (make_type(s) for s in ("i1", "i8", "i32", "i64"))
F32, F64, PTR = (make_type(s) for s in ("float", "double", "ptr"))


@dataclass(frozen=True, slots=True)
class Value:
    """An SSA value or a constant, with its type. `text` is what stands in an operand place."""

    type: Type
    text: str

    def __str__(self) -> str:
        return f"{self.type} {self.text}"


def literal(scalar: str, value: float | int | bool) -> str:
    """The text of a scalar constant; floats by bit pattern, so NaN, inf and -0.0 are exact."""
    if scalar == "i1":
        return "true" if value else "false"
    if scalar == "ptr":
        return "null"
    if scalar == "double":
        return f"0x{struct.unpack('<Q', struct.pack('<d', value))[0]:016X}"
    if scalar == "float":  # LLVM writes a float as the double of the same value
        rounded = struct.unpack("<f", struct.pack("<f", value))[0] if abs(value) < 3.4028236e38 \
            or value != value else (float("inf") if value > 0 else float("-inf"))
        return f"0x{struct.unpack('<Q', struct.pack('<d', rounded))[0]:016X}"
    if scalar in ("half", "bfloat"):
        raise TypeError("emit: 16-bit floats are storage types; make the constant in float")
    return str(int(value))


def const(type: Type, value: float | int | bool | Size) -> Value:
    """The constant `value` in every lane. A Size is read from the program's table of sizes."""
    if isinstance(value, Size):
        return _read_later(type, value)
    text = literal(type.scalar, value)
    return Value(type, text if type.lanes == 1 else f"splat ({type.scalar} {text})")


def _read_later(type: Type, size: Size) -> Value:
    """A name for the size; `Function.finish` writes the load, once at the function's start."""
    return Value(type, f"%size{size.symbol.place(size.terms)}.{type.scalar}.{type.lanes}")


_SIZES = re.compile(r"%size(\d+)\.(i\d+)\.(\d+)")


def bits_const(type: Type, pattern: int) -> Value:
    """The floating constant with this bit pattern (float or double) in every lane."""
    if type.scalar == "float":
        value = struct.unpack("<f", struct.pack("<I", pattern))[0]
    else:
        value = struct.unpack("<d", struct.pack("<Q", pattern))[0]
    return const(type, value)


def vector_const(scalar: str, values: list[int] | list[float]) -> Value:
    """A constant vector, lane by lane."""
    lanes = ", ".join(f"{scalar} {literal(scalar, v)}" for v in values)
    return Value(make_type(scalar, len(values)), f"<{lanes}>")


class Module:
    """One LLVM module: functions, declarations and globals, each once, in order of birth."""

    def __init__(self, name: str, triple: str = "", data_layout: str = "",
                 vector_bytes: int = 0) -> None:
        self.name = name
        self.triple = triple
        self.data_layout = data_layout
        self.declarations: dict[str, str] = {}
        self.definitions: dict[str, str] = {}
        self.metadata: list[str] = []
        self.attributes: dict[str, int] = {}
        self.vector_bytes = vector_bytes  # of a register
        self.sizes_at = 0  # bytes from the block of scalars to the table of sizes

    def declare(self, symbol: str, text: str) -> None:
        """Keeps the line `declare ...` (or a global) for `symbol`."""
        self.declarations[symbol] = text

    def define(self, symbol: str, text: str) -> None:
        """Keeps a whole function's text for `symbol`."""
        self.definitions[symbol] = text

    def attribute_group(self, text: str) -> str:
        """The name (#n) of the attribute group with this text."""
        return f"#{self.attributes.setdefault(text, len(self.attributes))}"

    def __str__(self) -> str:
        head = [f'; {self.name}']
        if self.data_layout:
            head.append(f'target datalayout = "{self.data_layout}"')
        if self.triple:
            head.append(f'target triple = "{self.triple}"')
        groups = [f"attributes #{n} = {{ {text} }}" for text, n in self.attributes.items()]
        declarations = [d for s, d in self.declarations.items() if s not in self.definitions]
        return "\n".join([*head, *declarations, *self.definitions.values(), *groups,
                          *self.metadata]) + "\n"


class Names:
    """Hands out fresh SSA names and labels inside one function."""

    def __init__(self) -> None:
        self.count = 0

    def fresh(self, prefix: str = "%v") -> str:
        self.count += 1
        return f"{prefix}{self.count}"


class Block:
    """A growing piece of a function body. `child()` reserves a place in the middle."""

    def __init__(self, module: Module, names: Names) -> None:
        self.module = module
        self.names = names
        self.lines: list[str | Block] = []

    def child(self) -> Block:
        """A new block whose lines will stand here."""
        block = Block(self.module, self.names)
        self.lines.append(block)
        return block

    def flatten(self, out: list[str]) -> None:
        for line in self.lines:
            if isinstance(line, str):
                out.append(line)
            else:
                line.flatten(out)

    # -- raw lines ---------------------------------------------------------------------------
    def line(self, text: str) -> None:
        self.lines.append("  " + text)

    def label(self, name: str) -> None:
        self.lines.append(name + ":")

    def value(self, type: Type, text: str) -> Value:
        name = self.names.fresh()
        self.lines.append(f"  {name} = {text}")
        return Value(type, name)

    # -- arithmetic --------------------------------------------------------------------------
    def op(self, opcode: str, a: Value, b: Value) -> Value:
        """Any two-operand instruction, e.g. op("shl", a, b) or op("add nsw", a, b)."""
        return self.value(a.type, f"{opcode} {a.type} {a.text}, {b.text}")

    def add(self, a: Value, b: Value) -> Value:
        return self.op("fadd" if a.type.is_float else "add", a, b)

    def sub(self, a: Value, b: Value) -> Value:
        return self.op("fsub" if a.type.is_float else "sub", a, b)

    def mul(self, a: Value, b: Value) -> Value:
        return self.op("fmul" if a.type.is_float else "mul", a, b)

    def fdiv(self, a: Value, b: Value) -> Value:
        return self.op("fdiv", a, b)

    def neg(self, a: Value) -> Value:
        if a.type.is_float:
            return self.value(a.type, f"fneg {a.type} {a.text}")
        return self.op("sub", const(a.type, 0), a)

    def and_(self, a: Value, b: Value) -> Value:
        return self.op("and", a, b)

    def or_(self, a: Value, b: Value) -> Value:
        return self.op("or", a, b)

    def xor(self, a: Value, b: Value) -> Value:
        return self.op("xor", a, b)

    def not_(self, a: Value) -> Value:
        return self.op("xor", a, const(a.type, -1 if a.type.scalar != "i1" else True))

    def shl(self, a: Value, count: int) -> Value:
        return self.op("shl", a, const(a.type, count))

    def lshr(self, a: Value, count: int) -> Value:
        return self.op("lshr", a, const(a.type, count))

    def ashr(self, a: Value, count: int) -> Value:
        return self.op("ashr", a, const(a.type, count))

    def fma(self, a: Value, b: Value, c: Value) -> Value:
        """a*b + c, rounded once."""
        return self.intrinsic("llvm.fma", a.type, a, b, c)

    def muladd(self, a: Value, b: Value, c: Value) -> Value:
        """a*b + c, fused where the target can, rounded twice where it cannot."""
        return self.intrinsic("llvm.fmuladd", a.type, a, b, c)

    # -- comparison and choice ---------------------------------------------------------------
    def cmp(self, predicate: str, a: Value, b: Value) -> Value:
        """fcmp/icmp with LLVM's predicate: oeq, olt, uno ... for floats, eq, slt, ult ... else."""
        word = "fcmp" if a.type.is_float else "icmp"
        return self.value(a.type.mask, f"{word} {predicate} {a.type} {a.text}, {b.text}")

    def select(self, mask: Value, yes: Value, no: Value) -> Value:
        if mask.type.lanes != yes.type.lanes:
            mask = self.splat(mask, yes.type.lanes)
        return self.value(yes.type, f"select {mask}, {yes}, {no}")

    # -- conversion --------------------------------------------------------------------------
    def convert(self, opcode: str, a: Value, scalar: str) -> Value:
        """One of LLVM's casts (bitcast, sext, fptosi ...) to the same lanes of `scalar`."""
        to = a.type.of(scalar)
        return self.value(to, f"{opcode} {a} to {to}")

    def bitcast(self, a: Value, scalar: str) -> Value:
        return self.convert("bitcast", a, scalar)

    # -- lanes -------------------------------------------------------------------------------
    def splat(self, a: Value, lanes: int) -> Value:
        if lanes == 1 or a.type.lanes == lanes:
            return a
        to = a.type.with_lanes(lanes)
        if a.text[0] not in "%@":
            return Value(to, f"splat ({a.type} {a.text})")
        one = self.value(to, f"insertelement {to} poison, {a}, i64 0")
        return self.value(to, f"shufflevector {one}, {to} poison, <{lanes} x i32> zeroinitializer")

    def extract(self, a: Value, lane: int) -> Value:
        return self.value(a.type.with_lanes(1), f"extractelement {a}, i64 {lane}")

    def insert(self, vector: Value, a: Value, lane: int) -> Value:
        return self.value(vector.type, f"insertelement {vector}, {a}, i64 {lane}")

    def shuffle(self, a: Value, b: Value, lanes: list[int]) -> Value:
        """The chosen lanes of a followed by b."""
        mask = vector_const("i32", lanes)
        return self.value(a.type.with_lanes(len(lanes)), f"shufflevector {a}, {b}, {mask}")

    def iota(self, scalar: str, lanes: int) -> Value:
        """0, 1, 2 ... as a constant vector."""
        if lanes == 1:
            return const(make_type(scalar), 0)
        return vector_const(scalar, list(range(lanes)))

    # -- memory ------------------------------------------------------------------------------
    def gep(self, base: Value, element: Type, index: Value) -> Value:
        """Address of base[index] with elements of `element` (a scalar or a vector type)."""
        return self.value(base.type, f"getelementptr {element}, {base}, {index}")

    def load(self, type: Type, address: Value, align: int, extra: str = "") -> Value:
        return self.value(type, f"load {type}, {address}, align {align}{extra}")

    def store(self, a: Value, address: Value, align: int, extra: str = "") -> None:
        self.line(f"store {a}, {address}, align {align}{extra}")

    # -- calls -------------------------------------------------------------------------------
    def call(self, symbol: str, result: Type | None, *args: Value, flags: str = "") -> Value:
        """Calls `symbol`; the caller has declared or defined it. result None means void."""
        text = f"call {flags}{result or 'void'} @{symbol}({', '.join(map(str, args))})"
        if result is None:
            self.line(text)
            return Value(I32, "void")
        return self.value(result, text)

    def intrinsic(self, stem: str, result: Type, *args: Value, suffix: str | None = None,
                  flags: str = "") -> Value:
        """Calls an LLVM intrinsic overloaded on `result` (or with the given suffix)."""
        symbol = f"{stem}.{result.mangled if suffix is None else suffix}".rstrip(".")
        if symbol not in self.module.declarations:
            kinds = ", ".join(str(a.type) for a in args)
            self.module.declare(symbol, f"declare {result} @{symbol}({kinds})")
        return self.call(symbol, result, *args, flags=flags)

    # -- control flow ------------------------------------------------------------------------
    def branch(self, label: str) -> None:
        self.line(f"br label %{label}")

    def branch_if(self, condition: Value, yes: str, no: str) -> None:
        self.line(f"br {condition}, label %{yes}, label %{no}")


class Function:
    """One function under construction: `entry` is its first block."""

    def __init__(self, module: Module, symbol: str, result: Type | None,
                 params: list[tuple[str, Type, str]], attributes: str = "",
                 linkage: str = "") -> None:
        """params are (name, type, attributes) triples, e.g. ("x", PTR, "noalias nocapture")."""
        self.module, self.symbol, self.result = module, symbol, result
        self.linkage, self.attributes = linkage, attributes
        self.params = [(Value(t, f"%{n}"), a) for n, t, a in params]
        self.names = Names()
        self.entry = Block(module, self.names)

    def __getitem__(self, index: int) -> Value:
        return self.params[index][0]

    def ret(self, block: Block, a: Value | None = None) -> None:
        block.line("ret void" if a is None else f"ret {a}")

    def finish(self) -> None:
        """Prints the function into its module."""
        lines: list[str] = []
        self.entry.flatten(lines)
        params = ", ".join(f"{v.type} {a + ' ' if a else ''}{v.text}" for v, a in self.params)
        head = (f"define {self.linkage + ' ' if self.linkage else ''}{self.result or 'void'} "
                f"@{self.symbol}({params}) {self.attributes}").rstrip()
        body = "\n".join(lines)
        sizes = sorted(set(_SIZES.findall(body)))
        loads = self._size_loads(sizes) if sizes else ""
        self.module.define(self.symbol, f"{head} {{\nentry:\n{loads}{body}\n}}")

    def _size_loads(self, sizes: list[tuple[str, str, str]]) -> str:
        """The text that reads sizes from behind the scalars: a parameter, or the first slot."""
        b = Block(self.module, self.names)
        at = next((v for v, _ in self.params if v.text == "%scalars"), None)
        if at is None:
            at = b.load(PTR, self[0], 8)
        for number, scalar, lanes in sizes:
            place = self.module.sizes_at + 8 * int(number)
            v = b.load(I64, b.gep(at, I8, const(I64, place)), 8)
            if scalar != "i64":
                v = b.convert("trunc", v, scalar)
            name, one = f"%size{number}.{scalar}.{lanes}", v
            if lanes == "1":
                b.line(f"{name} = add {v}, 0")
                continue
            to = one.type.with_lanes(int(lanes))
            first = b.value(to, f"insertelement {to} poison, {one}, i64 0")
            b.line(f"{name} = shufflevector {first}, {to} poison, <{lanes} x i32> zeroinitializer")
        out: list[str] = []
        b.flatten(out)
        return "\n".join(out) + "\n"


def attributes(module: Module, target: Target) -> str:
    """The attribute group every generated CPU function carries."""
    text = "nounwind"
    if target.vector_bytes == 64:
        text += ' "prefer-vector-width"="512" "min-legal-vector-width"="512"'
    return module.attribute_group(text)
