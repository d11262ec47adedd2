"""The shortest way to a compiled program: its record for the native entry, once a variant.

A call then goes from Python straight to machine code, which looks at the arguments and the state
itself (`runtime/entry.py`) and gives NotImplemented whenever anything needs the long way.
"""

from __future__ import annotations

import ctypes
from typing import Any

from flambeau.compiler import dtype as dt
from flambeau.compiler import node as nd
from flambeau.runtime import entry, entry_looks, memory, native

from .tensor import Tensor, result

LONG = 200e-6  # seconds; a program that takes longer lets other Python threads run meanwhile
FLOPS, BYTES = 20e9, 20e9  # a second, for that estimate

_FLOATS = {dt.float32.name: entry.FLOAT32, dt.float64.name: entry.FLOAT64}


def quick(variant: Any, values: tuple[Any, ...]) -> entry.Entry | None:
    """The entry of a variant bound to these values; None when its calls need the long way."""
    fresh = variant.fresh_places
    whole = sorted(fresh) == list(range(len(variant.new_outs)))
    plain = variant.spec == 0 or variant.spec == (tuple, list(range(len(fresh))))
    arguments = _arguments(variant, values)
    if (arguments is None or LAYOUT is None or not whole or not plain or not fresh
            or fresh != sorted(fresh) or variant.given_back):
        return None
    watched = [s.watch for s, i in zip(variant.scalars, variant.scalar_places)
               if i < 0 and type(s) is not nd.Scalar]  # a plain one keeps its number
    followed = all(w is not None for w in watched)
    calls: dict[str, Any] = {"renew": lambda k: _renew(variant, k)}
    if watched:
        calls["look" if followed else "numbers"] = variant.look if followed else variant.number
    if variant.executable.program.errors:
        calls["check"] = variant.check
    if seconds(variant) > LONG and not variant.keeps_lock:
        calls |= {"enter": variant.turns.enter, "leave": variant.turns.leave}
    function = variant.executable.code.address(variant.executable.program.entries[0])
    return entry.Entry(LAYOUT, function, arguments, watched if followed else (),
                       variant.written, [slot for slot, *_ in variant.new_outs],
                       variant.spec == 0, ctypes.addressof(variant.turns.inside), **calls)


def seconds(variant: Any) -> float:
    """About how long the program takes on one thread."""
    return sum(max(k.flops / FLOPS, k.nbytes / BYTES)
               for k in variant.executable.program.kernels)


def _arguments(variant: Any, values: tuple[Any, ...]) -> list[entry.Argument] | None:
    """What each argument must be, by the values of the first call."""
    slots = {place: i for i, place in variant.argument_of}
    numbers = {place: i for i, place in enumerate(variant.scalar_places) if place >= 0}
    made = []
    for i, v in enumerate(values):
        if isinstance(v, Tensor):
            if type(v) is not Tensor or v.requires_grad:
                return None
            made.append(entry.Argument(entry.TENSOR, v.shape, v.dtype, slots.get(i, -1)))
        elif i in numbers:
            name, offset = variant.executable.program.scalars[numbers[i]]
            if name not in _FLOATS:
                return None
            made.append(entry.Argument(_FLOATS[name], place=offset))
        elif type(v) is float:
            return None  # a number that the program does not read
        else:
            made.append(entry.Argument(entry.CONSTANT, v))
    return made


def _renew(variant: Any, k: int) -> None:
    """A fresh tensor for new output k of the entry."""
    _, dtype, shape, nbytes = variant.new_outs[k]
    block = memory.allocate(nbytes)
    n = nd.buffer(dtype, shape, block)
    t = result(n)
    variant.entry.put(k, t, t._storage, n, block.address)


def _layout() -> entry_looks.Layout:
    """Where this Python keeps the slots of the objects that the entry looks into."""
    block = memory.allocate(8)
    n = nd.buffer(dt.float64, (), block)
    t = result(n)
    found = {name: native.offset(thing, slot) for name, thing, slot in (
        ("shape", t, "shape"), ("dtype", t, "dtype"), ("view", t, "_view"),
        ("storage", t, "_storage"), ("grad", t, "grad"), ("node", t._storage, "node"),
        ("requires", t._storage, "requires"), ("device", t._storage, "device"),
        ("version", t._storage, "version"),
        ("op", n, "op"), ("arg", n, "arg"), ("value", n, "value"), ("address", block, "address"),
        ("exported", block, "exported"))}
    return entry_looks.Layout(tensor=Tensor, **found)


LAYOUT = _layout() if native.supported() else None
