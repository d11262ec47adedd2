"""The shortest way to a compiled program: its call written out as Python source, once a variant.

Loops over arguments, state and outputs become plain lines, so that a step on a small net costs a
few microseconds. The function's globals are its `scope`, where a new binding puts new leaves and a
new table. It gives NotImplemented whenever anything needs the long way.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from sys import getrefcount
from typing import Any

from flambeau.compiler import node as nd
from flambeau.runtime import memory

from .counting import HELD, HELD_IN_SCOPE, OWNED
from .tensor import Tensor, result
from .trees import unflatten


def written_out(variant: Any, values: tuple[Any, ...]) -> tuple[Callable[..., Any] | None,
                                                                dict[str, Any]]:
    """`quick` for a bound variant and its scope; None when its arguments need the long way.

    It serves plain computed tensors of this signature while all state is where it was left.
    """
    plain = all(isinstance(v, Tensor) and not v.requires_grad for v in values)
    if not plain or variant.given_back or any(p < 0 for p in variant.fresh_places):
        return None, {}
    names = [f"t{i}" for i in range(len(values))]
    lines = [*_tests(variant, names), "if not acquire(False): return NotImplemented", "try:",
             *_addresses(variant, names), *_call(variant), "finally: release()",
             *(f"w{i}.version += 1" for i in range(len(variant.written))), _return(variant)]
    source = f"def quick({', '.join(names)}):\n" + "\n".join(f"    {x}" for x in lines)
    scope = _scope(variant, values)
    exec(source, scope)
    return scope["quick"], scope


def refresh(variant: Any) -> None:
    """Tells `quick` of a new binding."""
    kept = [memory.allocate(nbytes) for *_, nbytes in variant.new_outs]
    for (slot, *_), made in zip(variant.new_outs, kept):
        variant.table[slot] = made.address
    last: list[Any] = []
    if _single(variant):
        _, dtype, shape, _ = variant.new_outs[0]
        n = nd.buffer(dtype, shape, kept[0])
        r = result(n)
        last = [r, r._storage, n]
    variant.scope |= {"table": variant.table, "table_address": ctypes.addressof(variant.table),
                      "arena": variant.arena(), "block_address": variant.block_address,
                      "kept": kept, "last": last}
    for i, (storage, leaf, _) in enumerate(variant.held):
        variant.scope |= {f"s{i}": storage, f"l{i}": leaf}


def _watched(variant: Any) -> bool:
    """Can all numbers be followed by a look at where they are kept?"""
    return bool(variant.scalars) and all(c.watch is not None for c in variant.scalars)


def _tests(variant: Any, names: list[str]) -> list[str]:
    tests = [f"type({n}) is not Tensor or {n}.shape != shape{i} or {n}.dtype is not dtype{i} "
             f"or {n}._view is not None or {n}._storage.node.op != 'buffer'"
             for i, n in enumerate(names)]
    for i, (_, _, donated) in enumerate(variant.held):
        tests.append(f"s{i}.node is not l{i}" + (
            f" or getrefcount(l{i}) > HELD_IN_SCOPE or l{i}.arg.exported" if donated else ""))
    return [f"if {' or '.join(tests)}: return NotImplemented"] if tests else []


def _addresses(variant: Any, names: list[str]) -> list[str]:
    lines = [f"    table[{i}] = {names[place]}._storage.node.arg.address"
             for i, place in variant.argument_of]
    if _single(variant):  # the last call's result itself, when nobody holds any part of it
        slot, _, _, nbytes = variant.new_outs[0]
        return [*lines, "    r, s, n = last",
                "    if (getrefcount(r) > OWNED or getrefcount(s) > HELD or getrefcount(n) > HELD"
                " or s.node is not n or n.arg.exported or r.grad is not None"
                " or r._view is not None or r._storage is not s or s.requires):",
                f"        n = buffer(out_dtype0, out_shape0, allocate({nbytes}))",
                "        r = result(n)",
                "        s = r._storage",
                "        last[:] = r, s, n",
                f"        table[{slot}] = n.arg.address"]
    for k, (slot, _, _, nbytes) in enumerate(variant.new_outs):
        lines += [f"    m{k} = kept[{k}]",  # the last call's memory, when its result is gone
                  f"    if getrefcount(m{k}) > OWNED:",
                  f"        m{k} = kept[{k}] = allocate({nbytes})",
                  f"        table[{slot}] = m{k}.address"]
    return lines


def _call(variant: Any) -> list[str]:
    count = len(variant.scalars)
    block = "variant.block_address" if count else "block_address"
    lines = []
    if _watched(variant):
        changed = " or ".join(f"d{i}[k{i}] is not seen[{i}]" for i in range(count))
        lines = [f"    if {changed}: variant.look(seen)"]
    elif count:
        lines = [f"    now = [{', '.join(f'c{i}()' for i in range(count))}]",
                 "    if now != variant.packed: variant.pack(now)"]
    lines.append(f"    call(table_address, {block}, arena)")
    return lines + (["    check()"] if variant.executable.program.errors else [])


def _single(variant: Any) -> bool:
    """Is one new tensor all that the function gives?"""
    return variant.spec == 0 and len(variant.new_outs) == 1 == len(variant.fresh_places)


def _return(variant: Any) -> str:
    if _single(variant):
        return "s.version += 1\n    return r"
    made = [f"result(buffer(out_dtype{k}, out_shape{k}, m{k}))" for k in variant.fresh_places]
    return f"return unflatten(spec, [{', '.join(made)}])"


def _scope(variant: Any, values: tuple[Any, ...]) -> dict[str, Any]:
    scope: dict[str, Any] = {
        "Tensor": Tensor, "allocate": memory.allocate, "call": variant.executable.functions[0],
        "acquire": variant.lock.acquire, "release": variant.lock.release, "result": result,
        "buffer": nd.buffer, "unflatten": unflatten, "spec": variant.spec, "variant": variant,
        "check": variant.check, "getrefcount": getrefcount, "OWNED": OWNED, "HELD": HELD,
        "HELD_IN_SCOPE": HELD_IN_SCOPE}
    for i, v in enumerate(values):
        scope |= {f"shape{i}": v.shape, f"dtype{i}": v.dtype}
    scope |= {f"w{i}": storage for i, storage in enumerate(variant.written)}
    scope |= {f"c{i}": scalar.current for i, scalar in enumerate(variant.scalars)}
    if _watched(variant):
        scope["seen"] = [None] * len(variant.scalars)
        for i, scalar in enumerate(variant.scalars):
            scope[f"d{i}"], scope[f"k{i}"] = scalar.watch
    for k, (_, dtype, shape, _) in enumerate(variant.new_outs):
        scope |= {f"out_dtype{k}": dtype, f"out_shape{k}": shape}
    return scope
