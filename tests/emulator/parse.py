"""PTX text into functions, variables and instructions. Knows the grammar, not what an opcode
does."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache

from emulator.faults import PtxError


@dataclass(frozen=True)
class Register:
    """%r1, %p3 or a special register such as %tid.x."""

    name: str


@dataclass(frozen=True)
class Immediate:
    """A number as written; its bits depend on the type it is read as."""

    value: int | float
    bits: int = 0  # of an exact float, 0f or 0d: 32 or 64


@dataclass(frozen=True)
class Symbol:
    """A variable, function, label or parameter by name, with a byte offset."""

    name: str
    offset: int = 0


@dataclass(frozen=True)
class Address:
    """[base + offset]."""

    base: Operand
    offset: int


@dataclass(frozen=True)
class Group:
    """{a, b}, (a, b) or p|q: several operands as one."""

    items: tuple[Operand, ...]
    kind: str


@dataclass(frozen=True)
class Negated:
    """!%p."""

    register: Register


Operand = Register | Immediate | Symbol | Address | Group | Negated


@dataclass(frozen=True)
class Instruction:
    """One instruction: its opcode in parts, its guard, its operands, its line."""

    opcode: tuple[str, ...]
    guard: Register | Negated | None
    operands: tuple[Operand, ...]
    line: int
    text: str


@dataclass(frozen=True)
class Label:
    name: str


@dataclass(frozen=True)
class Variable:
    """A declared variable: its space, type, count of elements (-1: open), alignment, value."""

    space: str
    name: str
    type: str
    count: int
    align: int
    values: tuple[int | float | Symbol, ...] = ()
    array: bool = False


@dataclass
class Function:
    """A kernel (entry) or a function: parameters, registers, variables, body."""

    name: str
    entry: bool
    line: int
    params: list[Variable] = field(default_factory=list)
    results: list[Variable] = field(default_factory=list)
    registers: dict[str, str] = field(default_factory=dict)
    variables: dict[str, Variable] = field(default_factory=dict)
    body: list[Instruction | Label] = field(default_factory=list)
    tables: dict[str, tuple[str, ...]] = field(default_factory=dict)  # .branchtargets
    limits: dict[str, tuple[int, ...]] = field(default_factory=dict)  # .maxntid and kin


@dataclass
class Module:
    """A parsed file: version, target, functions and variables."""

    version: str = ""
    target: str = ""
    functions: dict[str, Function] = field(default_factory=dict)
    variables: dict[str, Variable] = field(default_factory=dict)


_NAME = r"[A-Za-z_$%][\w$]*"
_NOISE = re.compile(r"//[^\n]*|/\*.*?\*/", re.S)
_MARK = re.compile(r'[;{}]|"[^"]*"')
_LINE = re.compile(r"\.(version|target|address_size|file|loc)\b")  # no ; at the end
_LABEL = re.compile(rf"\s*({_NAME}):(?!:)")
_INSTRUCTION = re.compile(r"(?:@(!?)(%[\w$]+)\s+)?([a-z][\w.:]*)\s*(.*)\Z", re.S)
_TOKEN = re.compile(r"\s*([\[\]{}(),|!]|[+-]?0[fF][0-9a-fA-F]{8}\b|0[dD][0-9a-fA-F]{16}\b"
                    r"|0[xX][0-9a-fA-F]+U?|-?\d+\.\d*(?:[eE][+-]?\d+)?|-?\d+U?|[+-]"
                    r"|[%A-Za-z_$][\w.$]*)")
_DECLARED = re.compile(
    r"((?:\.(?:visible|weak|extern|common|managed)\s+)*)\.(param|reg|local|shared|global|const)"
    r"((?:\s*\.(?:align\s+\d+|v[24]|[a-z]\w*)(?![\w.]))*)\s*([^=]*)(?:=\s*(.*))?\Z", re.S)
_IGNORED = ("file", "loc", "section", "pragma", "alias")


def parse(text: str) -> Module:
    """The module in a PTX text. Raises PtxError with the line."""
    return _Parser(text).run()


class _Parser:
    """One pass over the statements, with the scopes that braces open."""

    def __init__(self, text: str) -> None:
        blank = _NOISE.sub(lambda m: re.sub(r"[^\n]", " ", m.group()), text)
        self.text = blank
        self.module = Module()
        self.function: Function | None = None
        self.scopes: list[dict[str, str]] = []
        self.scoped = 0
        self.line = 1
        self.counted = 0

    def run(self) -> Module:
        start = 0
        for mark in _MARK.finditer(self.text):
            if mark.end() <= start or mark.group().startswith('"'):
                continue
            pending = self._labels(self.text[start:mark.start()])
            start = mark.start() - len(pending)
            body = pending.strip()
            if mark.group() == ";":
                self._count(mark.start() - len(pending.lstrip()))
                self._statement(body)
            elif mark.group() == "{" and (not body or _opens(body)):
                self._count(mark.start())
                self._open(body)
            elif mark.group() == "}" and not body:
                self._close()
            else:
                continue  # braces inside a statement
            start = mark.end()
        self._labels(self.text[start:])
        if self.function is not None:
            raise self.error("expected }, got the end of the text")
        return self.module

    def error(self, message: str) -> PtxError:
        return PtxError(f"ptx: line {self.line}: {message}")

    def _count(self, position: int) -> None:
        if position > self.counted:
            self.line += self.text.count("\n", self.counted, position)
            self.counted = position

    def _labels(self, text: str) -> str:
        """Takes labels and line directives from the front of a statement."""
        while True:
            plain = text.lstrip()
            if _LINE.match(plain):
                line, _, rest = plain.partition("\n")
                words = line.split(None, 1)
                if words[0] == ".version":
                    self.module.version = words[1].strip()
                elif words[0] == ".target":
                    self.module.target = words[1].strip()
                text = rest
                continue
            found = _LABEL.match(text)
            if found and self.function is not None and not found.group(1).startswith("%"):
                self.function.body.append(Label(found.group(1)))
                text = text[found.end():]
                continue
            return text

    # -- scopes --------------------------------------------------------------------------------

    def _open(self, header: str) -> None:
        if not header:
            if self.function is None:
                raise self.error("expected a function, got {")
            self.scopes.append({})
            self.scoped += 1
        elif self.function is not None:
            raise self.error(f"expected ;, got {header!r}")
        else:
            self.function = _header(header, self.line)
            self.module.functions[self.function.name] = self.function
            self.scopes = [{}]

    def _close(self) -> None:
        if not self.scopes:
            raise self.error("expected a statement, got }")
        self.scopes.pop()
        if not self.scopes:
            self.function = None

    def _resolve(self, name: str) -> str:
        for scope in reversed(self.scopes):
            if name in scope:
                return scope[name]
        return name

    # -- statements ----------------------------------------------------------------------------

    def _statement(self, body: str) -> None:
        if not body:
            return
        if body.startswith("."):
            self._directive(body)
        elif self.function is None:
            raise self.error(f"expected a directive, got {body!r}")
        else:
            self.function.body.append(self._instruction(body))

    def _directive(self, body: str) -> None:
        word = body[1:].split(None, 1)[0]
        if word in _IGNORED:
            return
        if word == "branchtargets" and self.function is not None:
            names = tuple(n.strip() for n in body.split(None, 1)[1].split(","))
            last = self.function.body.pop()
            if not isinstance(last, Label):
                raise self.error("expected a label before .branchtargets, got none")
            self.function.tables[last.name] = names
            return
        if re.search(r"\.(func|entry)\b", body):
            return  # a declaration; the definition follows, or the call finds none
        for variable in _declaration(body, self):
            self._declare(variable)

    def _declare(self, variable: Variable) -> None:
        if self.function is None:
            self.module.variables[variable.name] = variable
            return
        name = variable.name
        if len(self.scopes) > 1:
            scoped = f"{name}@{self.scoped}"
            self.scopes[-1][name] = scoped
            name = scoped
        if variable.space == "reg":
            if name in self.function.registers:
                raise self.error(f"expected a new register, got {variable.name} again")
            self.function.registers[name] = variable.type
        else:
            self.function.variables[name] = Variable(
                variable.space, name, variable.type, variable.count, variable.align,
                variable.values, variable.array)

    def _instruction(self, body: str) -> Instruction:
        found = _INSTRUCTION.match(body)
        if found is None:
            raise self.error(f"expected an instruction, got {body!r}")
        negated, guard, opcode, rest = found.groups()
        register = Register(self._resolve(guard)) if guard else None
        operands = operands_of(rest)
        operands = tuple(self._rename(o) for o in operands)
        held = Negated(register) if register and negated else register
        return Instruction(tuple(opcode.split(".")), held, operands, self.line,
                           " ".join(body.split()) + ";")

    def _rename(self, o: Operand) -> Operand:
        """Names by their scope; a register need not begin with %."""
        if isinstance(o, Register):
            return Register(self._resolve(o.name)) if len(self.scopes) > 1 else o
        if isinstance(o, Symbol):
            name = self._resolve(o.name)
            assert self.function is not None
            return Register(name) if name in self.function.registers else Symbol(name, o.offset)
        if isinstance(o, Address):
            return Address(self._rename(o.base), o.offset)
        if isinstance(o, Group):
            return Group(tuple(self._rename(i) for i in o.items), o.kind)
        return o


def _opens(body: str) -> bool:
    return body.startswith(".") and re.search(r"\.(func|entry)\b", body) is not None


def _header(text: str, line: int) -> Function:
    """`.visible .entry name(params) .maxntid 128` or `.func (results) name(params)`."""
    found = re.match(rf"((?:\.(?:visible|weak|extern)\s+)*)\.(entry|func)\s*(?:\(([^()]*)\)\s*)?"
                     rf"({_NAME})\s*(?:\(([^()]*)\))?(.*)\Z", text, re.S)
    if found is None:
        raise PtxError(f"ptx: line {line}: expected a function, got {text!r}")
    _, kind, results, name, params, rest = found.groups()
    made = Function(name, kind == "entry", line)
    made.params = _params(params, line)
    made.results = _params(results, line)
    for word, values in re.findall(r"\.(\w+)\s*([\d,\s]*)", rest):
        made.limits[word] = tuple(int(v) for v in re.findall(r"\d+", values))
    return made


def _params(text: str | None, line: int) -> list[Variable]:
    made = []
    for part in (text or "").split(","):
        if part.strip():
            cleaned = re.sub(r"\.ptr\b(\s*\.(global|const|local|shared)\b)?(\s*\.align\s+\d+)?", "",
                             part.strip())
            made += _declaration(cleaned, None, line)
    return made


def _declaration(text: str, parser: _Parser | None, line: int = 0) -> list[Variable]:
    found = _DECLARED.match(text)
    if found is None:
        message = f"expected a declaration, got {text!r}"
        raise parser.error(message) if parser else PtxError(f"ptx: line {line}: {message}")
    linkage, space, attributes, names, value = found.groups()
    words = re.findall(r"\.(align\s+\d+|\w+)", attributes)
    align = next((int(w.split()[1]) for w in words if w.startswith("align")), 0)
    kinds = [w for w in words if not w.startswith("align")]
    if len(kinds) != 1:
        raise PtxError(f"ptx: line {parser.line if parser else line}: expected one type, got "
                       f"{text!r}")
    made = []
    for name in names.split(","):
        made += _named(space, kinds[0], align, name.strip(), value, "extern" in linkage)
    return made


def _named(space: str, kind: str, align: int, name: str, value: str | None, outside: bool
           ) -> list[Variable]:
    counted = re.fullmatch(rf"({_NAME})<(\d+)>", name)
    if counted:
        return [Variable(space, f"{counted.group(1)}{i}", kind, 1, align)
                for i in range(int(counted.group(2)))]
    shaped = re.fullmatch(rf"({_NAME})((?:\[\d*\])*)", name)
    if shaped is None:
        raise PtxError(f"ptx: expected a name, got {name!r}")
    count = 1
    for extent in re.findall(r"\[(\d*)\]", shaped.group(2)):
        count = count * int(extent) if extent else -1
    values = tuple(_initial(v) for v in re.findall(r"[^\s{},]+", value or ""))
    if outside and space == "shared":
        count = -1
    return [Variable(space, shaped.group(1), kind, count, align, values, bool(shaped.group(2)))]


def _initial(text: str) -> int | float | Symbol:
    o = operands_of(text)[0]
    if isinstance(o, Immediate):
        return o.value
    if isinstance(o, Symbol):
        return o
    raise PtxError(f"ptx: expected a value, got {text!r}")


# -- operands ----------------------------------------------------------------------------------

@lru_cache(maxsize=65536)
def operands_of(text: str) -> tuple[Operand, ...]:
    """The comma-separated operands of an instruction."""
    tokens = []
    at = 0
    text = text.strip()
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            raise PtxError(f"ptx: expected an operand, got {text[at:]!r}")
        tokens.append(found.group(1))
        at = found.end()
    made: list[Operand] = []
    at = 0
    while at < len(tokens):
        one, at = _operand(tokens, at)
        made.append(one)
        if at < len(tokens):
            if tokens[at] != ",":
                raise PtxError(f"ptx: expected a comma, got {tokens[at]!r} in {text!r}")
            at += 1
    return tuple(made)


def _operand(tokens: list[str], at: int) -> tuple[Operand, int]:
    token = tokens[at]
    if token in "{(":
        close = "}" if token == "{" else ")"
        items = []
        at += 1
        while tokens[at] != close:
            one, at = _operand(tokens, at)
            items.append(one)
            if tokens[at] == ",":
                at += 1
        return Group(tuple(items), token), at + 1
    if token == "[":
        base, at = _operand(tokens, at + 1)
        offset = 0
        while tokens[at] in "+-" or tokens[at][0] == "-":
            sign = -1 if tokens[at] == "-" else 1
            if tokens[at] in "+-":
                at += 1
            offset += sign * int(tokens[at].rstrip("U"), 0)
            at += 1
        if tokens[at] != "]":
            raise PtxError(f"ptx: expected ], got {tokens[at]!r}")
        if isinstance(base, Symbol) and base.offset:
            base, offset = Symbol(base.name), offset + base.offset
        return Address(base, offset), at + 1
    if token == "!":
        return Negated(Register(tokens[at + 1])), at + 2
    one = _atom(token)
    at += 1
    if at < len(tokens) and tokens[at] == "|":
        return Group((one, _atom(tokens[at + 1])), "|"), at + 2
    if isinstance(one, Symbol) and at + 1 < len(tokens) and tokens[at] == "+":
        return Symbol(one.name, int(tokens[at + 1], 0)), at + 2
    return one, at


def _atom(token: str) -> Operand:
    if token[0] == "%" or token == "_":
        return Register(token)
    if re.match(r"0[fF][0-9a-fA-F]{8}\Z", token):
        return Immediate(int(token[2:], 16), 32)
    if re.match(r"0[dD][0-9a-fA-F]{16}\Z", token):
        return Immediate(int(token[2:], 16), 64)
    if re.match(r"[-+\d]", token):
        plain = token.rstrip("U")
        if re.search(r"[.eE]", plain) and not plain.lower().startswith("0x"):
            return Immediate(float(plain))
        return Immediate(int(plain, 0))
    return Symbol(token)
