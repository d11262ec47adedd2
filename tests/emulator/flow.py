"""A kernel's instructions with calls expanded, cut into basic blocks, each step decoded once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from emulator import access, convert, floating, integer, warp
from emulator.builder import Builder, Step, expect, operands, parts
from emulator.faults import PtxError, Trapped, Uninitialised
from emulator.parse import (
    Address,
    Function,
    Group,
    Instruction,
    Label,
    Module,
    Negated,
    Operand,
    Register,
    Symbol,
    Variable,
)
from emulator.types import FLOATS, PLAIN, Array

NOTHING = ("membar", "fence", "nanosleep", "brkpt", "griddepcontrol", "discard", "applypriority",
           "pmevent")  # order is kept anyhow
OPS: dict[str, Callable[[Builder, Instruction], Step]] = {
    **integer.OPS, **floating.OPS, **convert.OPS, **access.OPS, **warp.LOCAL}


@dataclass
class Decoded:
    """A step with the registers it reads and writes, and its guard's slot."""

    ins: Instruction
    step: Step
    uses: frozenset[int]
    defs: frozenset[int]
    guarded: bool


@dataclass
class Block:
    """Steps that run one after the other, and how they end.

    kind: next, branch, switch, exit, warp (one warp instruction) or barrier.
    """

    number: int
    decoded: list[Decoded] = field(default_factory=list)
    kind: str = "next"
    ins: Instruction | None = None
    guard: tuple[int, bool] | None = None  # slot, negated
    targets: tuple[int, ...] = ()
    slots: tuple[Any, ...] = ()  # of the ending instruction's operands
    step: Step | None = None
    ends: frozenset[int] = frozenset()  # registers that the end reads
    writes: frozenset[int] = frozenset()  # registers that the end writes
    steps: list[Step] = field(default_factory=list)
    loads: list[int] = field(default_factory=list)  # registers to bring into a frame
    stores: list[int] = field(default_factory=list)  # registers to take out of it


# -- calls expanded ----------------------------------------------------------------------------

@dataclass
class Flat:
    """One kernel without calls."""

    items: list[Instruction | Label] = field(default_factory=list)
    registers: dict[str, str] = field(default_factory=dict)
    variables: dict[str, Variable] = field(default_factory=dict)
    tables: dict[str, tuple[str, ...]] = field(default_factory=dict)
    calls: int = 0


def flatten(module: Module, name: str) -> Flat:
    """The kernel's instructions, with each called function's in place of its call."""
    flat = Flat()
    kernel = module.functions[name]
    passed = {p.name: p.name for p in kernel.params}
    _expand(module, kernel, "", passed, flat, (name,))
    return flat


def _expand(module: Module, function: Function, prefix: str, names: dict[str, str], flat: Flat,
            stack: tuple[str, ...]) -> None:
    names = dict(names)
    for r, type_ in function.registers.items():
        names[r] = prefix + r
        flat.registers[prefix + r] = type_
    for v in function.variables.values():
        names[v.name] = prefix + v.name
        if v.space != "param":
            flat.variables[prefix + v.name] = v
    for item in function.body:
        if isinstance(item, Label):
            names[item.name] = prefix + item.name
    flat.tables |= {prefix + t: tuple(prefix + label for label in labels)
                    for t, labels in function.tables.items()}
    names |= {t: prefix + t for t in function.tables}
    for item in function.body:
        if isinstance(item, Label):
            flat.items.append(Label(names[item.name]))
            continue
        made = _renamed(item, names) if prefix or any(names[n] != n for n in names) else item
        if item.opcode[0] == "call":
            _call(module, made, flat, stack)
        elif item.opcode[0] == "ret" and prefix:
            flat.items.append(Instruction(("bra",), made.guard, (Symbol(f"{prefix}return"),),
                                          item.line, item.text))
        else:
            flat.items.append(made)
    if prefix:
        flat.items.append(Label(f"{prefix}return"))


def _call(module: Module, ins: Instruction, flat: Flat, stack: tuple[str, ...]) -> None:
    groups = [o.items if isinstance(o, Group) else (o,) for o in ins.operands]
    named = [i for i, o in enumerate(ins.operands)
             if isinstance(o, Symbol) and o.name in module.functions]
    if ins.guard is not None or len(named) != 1 or named[0] > 1 or len(groups) > named[0] + 2:
        raise _at(ins, PtxError("expected an unguarded call of a function of this module"))
    target = groups[named[0]][0]
    assert isinstance(target, Symbol)
    function = module.functions[target.name]
    if target.name in stack:
        raise _at(ins, PtxError(f"expected no recursion, got {' > '.join((*stack, target.name))}"))
    results = groups[0] if named[0] == 1 else ()
    given = groups[named[0] + 1] if len(groups) > named[0] + 1 else ()
    if len(results) != len(function.results) or len(given) != len(function.params):
        raise _at(ins, PtxError(f"expected {len(function.params)} arguments, got {len(given)}"))
    names = {}
    for p, o in zip([*function.params, *function.results], [*given, *results]):
        if not isinstance(o, Symbol) or p.space != "param":
            raise _at(ins, PtxError("expected arguments in .param variables"))
        names[p.name] = o.name
    flat.calls += 1
    _expand(module, function, f"{target.name}#{flat.calls}:", names, flat, (*stack, target.name))


def _renamed(ins: Instruction, names: dict[str, str]) -> Instruction:
    def rename(o: Operand) -> Operand:
        if isinstance(o, Register):
            return Register(names.get(o.name, o.name))
        if isinstance(o, Symbol):
            return Symbol(names.get(o.name, o.name), o.offset)
        if isinstance(o, Address):
            return Address(rename(o.base), o.offset)
        if isinstance(o, Negated):
            return Negated(Register(names.get(o.register.name, o.register.name)))
        if isinstance(o, Group):
            return Group(tuple(rename(i) for i in o.items), o.kind)
        return o
    guard = rename(ins.guard) if ins.guard is not None else None
    return Instruction(ins.opcode, guard, tuple(map(rename, ins.operands)),  # type: ignore[arg-type]
                       ins.line, ins.text)


def _at(ins: Instruction, error: PtxError) -> PtxError:
    return PtxError(f"ptx: line {ins.line} `{ins.text}`: {error}")


# -- decoding ----------------------------------------------------------------------------------

def decode(b: Builder, ins: Instruction) -> Step:
    """The step of an instruction. Raises PtxError for one that is not known."""
    name = ins.opcode[0]
    if name == "trap":
        return _trap(ins)
    if name in NOTHING:
        return lambda v, m: None
    if name in integer.BY_TYPE and ins.opcode[-1] != "s16x2" and ins.opcode[-1] != "u16x2":
        table = floating.BY_TYPE if ins.opcode[-1] in FLOATS else integer.BY_TYPE
        return table[name](b, ins)
    if name in integer.BY_TYPE:
        return integer.BY_TYPE[name](b, ins)
    if name not in OPS:
        raise PtxError(f"expected an instruction that is emulated, got {'.'.join(ins.opcode)}")
    return OPS[name](b, ins)


def _trap(ins: Instruction) -> Step:
    def step(v: list[Array], m: Any) -> None:
        raise m.fault(Trapped, ins, 0, "the kernel executed trap")
    return step


def blocks(b: Builder, flat: Flat) -> list[Block]:
    """The basic blocks, in the order of the text, decoded."""
    made = [Block(0)]
    labels: dict[str, int] = {}
    jumps: list[tuple[Block, Instruction]] = []
    for item in flat.items:
        if isinstance(item, Label):
            if made[-1].decoded or made[-1].kind != "next":
                made.append(Block(len(made)))
            if item.name in labels:
                raise PtxError(f"ptx: expected a new label, got {item.name} again")
            labels[item.name] = len(made) - 1
            continue
        try:
            _add(b, flat, made, jumps, item)
        except PtxError as e:
            raise _at(item, e) from None
    if made[-1].kind == "next":
        made[-1].kind = "exit"
    for block, ins in jumps:
        try:
            block.targets = _targets(flat, ins, labels, block.number)
        except PtxError as e:
            raise _at(ins, e) from None
    _frames(b, made)
    return made


def _add(b: Builder, flat: Flat, made: list[Block], jumps: list[tuple[Block, Instruction]],
         ins: Instruction) -> None:
    name = ins.opcode[0]
    b.uses, b.defs = set(), set()
    ending = name in ("bra", "brx", "ret", "exit") or name in ("bar", "barrier") \
        or name in warp.OPS
    if not ending:
        guard = _guard(b, ins)
        uses = frozenset(b.uses)
        b.uses = set()
        step = decode(b, ins)
        if guard is not None:
            step = _guarded(b, step, guard, frozenset(b.uses), frozenset(b.defs))
        made[-1].decoded.append(Decoded(ins, step, frozenset(b.uses) | uses, frozenset(b.defs),
                                        guard is not None))
        return
    stands_alone = name in warp.OPS or name in ("bar", "barrier")
    if stands_alone and made[-1].decoded:
        made.append(Block(len(made)))
    block = made[-1]
    block.ins, block.guard = ins, _guard(b, ins)
    if name in ("bra", "brx"):
        jumps.append((block, ins))
        block.kind = "branch" if name == "bra" else "switch"
        if name == "brx":
            expect(parts(ins) in (["idx"], ["idx", "uni"]), ins)
            block.slots = (b.read(operands(ins, 2)[0], "u32"),)
        else:
            expect(parts(ins) in ([], ["uni"]), ins)
    elif name in ("ret", "exit"):
        block.kind = "exit"
    elif name in warp.OPS and not (name == "bar" and ins.opcode[1:2] != ("warp",)):
        block.kind = "warp"
        block.step, mask = warp.OPS[name](b, ins)
        block.slots = (mask,)
    else:
        block.kind = "barrier"
        block.slots, block.step = _barrier(b, ins)
    block.ends, block.writes = frozenset(b.uses), frozenset(b.defs)
    made.append(Block(len(made)))


def _guard(b: Builder, ins: Instruction) -> tuple[int, bool] | None:
    if ins.guard is None:
        return None
    negated = isinstance(ins.guard, Negated)
    register = ins.guard.register if isinstance(ins.guard, Negated) else ins.guard
    return b.read(register, "pred"), negated


def _targets(flat: Flat, ins: Instruction, labels: dict[str, int], number: int
             ) -> tuple[int, ...]:
    last = ins.operands[-1]
    if not isinstance(last, Symbol):
        raise PtxError(f"expected a label, got {last}")
    names = flat.tables.get(last.name, ()) if ins.opcode[0] == "brx" else (last.name,)
    if not names or any(n not in labels for n in names):
        raise PtxError(f"expected a label of this kernel, got {last.name}")
    return tuple(labels[n] for n in names)


def _barrier(b: Builder, ins: Instruction) -> tuple[tuple[int | None, ...], Step | None]:
    """Slots of the barrier's number and count, and the step of a barrier that reduces."""
    words = parts(ins, ("cta", "aligned"))
    if ins.opcode[0] == "barrier":
        expect("cluster" not in words, ins)
    if words and words[0] == "red":
        return _reducing(b, ins, words)
    expect(words in (["sync"], ["arrive"]), ins)
    given = operands(ins, *((1, 2) if words == ["sync"] else (2,)))
    slots = [b.read(o, "u32") for o in given]
    return (slots[0], slots[1] if len(slots) > 1 else None), None


def _reducing(b: Builder, ins: Instruction, words: list[str]
              ) -> tuple[tuple[int | None, ...], Step]:
    expect(words[1:] in (["popc", "u32"], ["and", "pred"], ["or", "pred"]), ins)
    d, number, *rest = operands(ins, 3, 4)
    p = rest[-1]
    negated = isinstance(p, Negated)
    read = b.read(p.register if isinstance(p, Negated) else p, "pred")
    write = b.write(d, words[2])
    count = b.read(rest[0], "u32") if len(rest) == 2 else None
    f = {"popc": np.add, "and": np.minimum, "or": np.maximum}[words[1]]

    def step(v: list[Array], m: Any) -> None:
        held = (np.broadcast_to(v[read], len(m.ids)) ^ negated).astype(np.uint32)
        block = m.block[m.ids]
        first = np.flatnonzero(np.r_[True, block[1:] != block[:-1]])
        totals = f.reduceat(held, first)
        v[write][...] = np.repeat(totals, np.diff(np.r_[first, len(block)]))
    return (b.read(number, "u32"), count), step


def _guarded(b: Builder, step: Step, guard: tuple[int, bool], uses: frozenset[int],
             defs: frozenset[int]) -> Step:
    """The step for the lanes whose guard holds."""
    slot, negated = guard

    def run(v: list[Any], m: Any) -> None:
        held = ~v[slot] if negated else v[slot]
        if held.all():
            step(v, m)
        elif held.any():
            lanes = np.flatnonzero(held)
            small = m.code.frame(lambda r: v[m.code.base[r]][lanes], uses | defs)
            outer, m.ids = m.ids, m.ids[lanes]
            step(small, m)
            m.ids = outer
            for r in defs:
                v[m.code.base[r]][lanes] = small[m.code.base[r]]
    return run


# -- which registers a block needs, and which may lack a value ---------------------------------

def successors(block: Block) -> tuple[int, ...]:
    """The numbers of the blocks that may follow."""
    if block.kind == "exit":
        return (block.number + 1,) if block.guard else ()
    if block.kind in ("branch", "switch"):
        return (*block.targets, block.number + 1) if block.guard else block.targets
    return (block.number + 1,)


def _frames(b: Builder, made: list[Block]) -> None:
    doubtful = _doubtful(b, made)
    for r in doubtful:
        flag = b.hidden(f"written {b.names[r]}", 1)
        b.presets[flag] = 0
        b.slot(flag, "pred")
    for block in made:
        if doubtful:
            block.decoded = [_tracked(b, d, doubtful) for d in block.decoded]
        known: set[int] = set()
        needed: set[int] = set()
        written: set[int] = set()
        for d in block.decoded:
            needed |= d.uses - known
            if d.guarded:
                needed |= d.defs - known
            else:
                known |= d.defs
            written |= d.defs
        needed |= block.ends - known
        if block.guard:
            needed |= block.writes
        block.steps = [d.step for d in block.decoded]
        block.loads = sorted(needed)
        block.stores = sorted(written | block.writes)
    for r in range(len(b.names)):
        b.slot(r, PLAIN.get(b.bits[r], "pred"))


def _doubtful(b: Builder, made: list[Block]) -> set[int]:
    """Registers that some path reads before it writes them: forward data flow over bit sets."""
    preset = sum(1 << r for r in b.presets)
    everything = (1 << len(b.names)) - 1
    given = [everything] * len(made)
    given[0] = preset
    todo = [0]
    out: dict[int, int] = {}
    while todo:
        i = todo.pop()
        block = made[i]
        state = given[i]
        for d in block.decoded:
            if not d.guarded:
                state |= sum(1 << r for r in d.defs)
        if block.guard is None:
            state |= sum(1 << r for r in block.writes)
        if out.get(i) == state:
            continue
        out[i] = state
        for s in successors(block):
            if given[s] & state != given[s] or s not in out:
                given[s] &= state
                todo.append(s)
    found: set[int] = set()
    for i in out:
        state = given[i]
        for d in made[i].decoded:
            found |= {r for r in d.uses if not state >> r & 1}
            if not d.guarded:
                state |= sum(1 << r for r in d.defs)
        found |= {r for r in made[i].ends if not state >> r & 1}
    return found


def _tracked(b: Builder, d: Decoded, doubtful: set[int]) -> Decoded:
    """A step that also checks and notes which registers have a value."""
    reads = [(r, b.index[f"written {b.names[r]}"]) for r in d.uses & doubtful]
    notes = [b.index[f"written {b.names[r]}"] for r in d.defs & doubtful]
    if not reads and not notes:
        return d
    checks = [(b.slot(flag, "pred"), b.names[r]) for r, flag in reads]
    marks = [b.slot(flag, "pred") for flag in notes]
    guard = _guard(b, d.ins)

    def step(v: list[Any], m: Any) -> None:
        for slot, name in checks:
            missing = ~v[slot]
            if guard is not None and name != _guard_name(d.ins):
                missing = missing & (v[guard[0]] ^ guard[1])
            if missing.any():
                raise m.fault(Uninitialised, d.ins, int(np.flatnonzero(missing)[0]),
                              f"uninitialised read: register {name} was never written")
        d.step(v, m)
        for slot in marks:
            v[slot][...] |= True if guard is None else v[guard[0]] ^ guard[1]
    flags = frozenset(f for _, f in reads) | frozenset(notes)
    return Decoded(d.ins, step, d.uses | flags, d.defs | frozenset(notes), d.guarded)


def _guard_name(ins: Instruction) -> str:
    guard = ins.guard.register if isinstance(ins.guard, Negated) else ins.guard
    return guard.name if guard else ""


