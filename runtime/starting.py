"""Starts a program on the memory of a graph's leaves, in machine code.

Owns: `starter`. Python's way from a list of nodes to a table of addresses costs more than many a
kernel; this one costs some 10 ns a leaf. The program runs without the GIL.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from flambeau.compiler import dtype as dt
from flambeau.compiler.node import buffer
from flambeau.runtime import cache, jit, memory, native
from flambeau.runtime.entry_looks import each, slot, word


def starter(program: Any, leaves: Sequence[int]) -> Callable[..., Any] | None:
    """start(order, made, scalars, arena): runs a program of one native call on the memory of the
    nodes order[i], i in leaves, and of the buffers made; scalars and arena are addresses.

    Gives None when the program has run, NotImplemented when a leaf's memory is not on this host.
    None in its own place: this Python is not known well enough, or there are host routines in
    Python. An entry does not look at its fourth argument, the chain.
    """
    if not native.supported() or not (program.simple or program.chain):
        return None
    numbers = native.words(leaves)
    function, chain = program.code.address(program.program.entries[0]), 0
    if program.chain is not None:
        function, chain = program.chain.entry, program.chain.record
    record = native.words([id(memory.Buffer), id(NotImplemented), id(None), function, len(leaves),
                           ctypes.addressof(numbers), chain])
    record.keep = (numbers, program, _code())
    return native.callable_at(_code().address("fb_start"), record)


@lru_cache(maxsize=1)
def _code() -> jit.Code:
    text = _source()
    return jit.load(text, cache.digest("starting", text), jit.host_target())


def _leaf(arg: int, address: int) -> str:
    """Puts the address of leaf i's memory into the table."""
    return f"""  %number.p = getelementptr i64, ptr %leaves, i64 %leaf.i
  %number = load i64, ptr %number.p
  %n = call ptr @PyList_GetItem(ptr %order, i64 %number)
{slot("memory", "n", arg)}
  %type.at = getelementptr i64, ptr %memory, i64 1
  %type = load ptr, ptr %type.at
  %here = icmp eq ptr %type, %buffer
  br i1 %here, label %leaf.put, label %other
leaf.put:
{slot("where", "memory", address)}
  %place = call i64 @PyLong_AsLongLong(ptr %where)
  %entry.p = getelementptr i64, ptr %table, i64 %leaf.i
  store i64 %place, ptr %entry.p
  br label %leaf.next
"""


def _output(address: int) -> str:
    """Puts the address of result i's memory behind them."""
    return f"""  %made.b = call ptr @PyList_GetItem(ptr %made, i64 %out.i)
{slot("out.where", "made.b", address)}
  %out.place = call i64 @PyLong_AsLongLong(ptr %out.where)
  %after = add i64 %count, %out.i
  %out.p = getelementptr i64, ptr %table, i64 %after
  store i64 %out.place, ptr %out.p
  br label %out.next
"""


_DECLARATIONS = """
declare void @PyEval_RestoreThread(ptr)
declare ptr @PyEval_SaveThread()
declare ptr @PyList_GetItem(ptr, i64)
declare i64 @PyList_Size(ptr)
declare i64 @PyLong_AsLongLong(ptr)
declare void @Py_IncRef(ptr)
"""


def _source() -> str:
    address = native.offset(memory.allocate(8), "address")
    arg = native.offset(buffer(dt.float32, (), None), "arg")
    return f"""{_DECLARATIONS}
define ptr @fb_start(ptr %self, ptr %args, i64 %n.args) {{
entry:
  %r.at = getelementptr i8, ptr %self, i64 {native.data_offset()}
  %r = load ptr, ptr %r.at
{word("buffer", "r", 0)}{word("other.r", "r", 1)}{word("none", "r", 2)}{word("function", "r", 3)}
{word("count", "r", 4, "i64")}{word("leaves", "r", 5)}{word("chain", "r", 6)}
{word("order", "args", 0)}{word("made", "args", 1)}{word("scalars.n", "args", 2)}
{word("arena.n", "args", 3)}
  %scalars.i = call i64 @PyLong_AsLongLong(ptr %scalars.n)
  %scalars = inttoptr i64 %scalars.i to ptr
  %arena.i = call i64 @PyLong_AsLongLong(ptr %arena.n)
  %arena = inttoptr i64 %arena.i to ptr
  %outs = call i64 @PyList_Size(ptr %made)
  %all = add i64 %count, %outs
  %table = alloca i64, i64 %all
  br label %leaf.before
leaf.before:
{each("leaf", "count", "out.before", _leaf(arg, address))}
out.before:
{each("out", "outs", "go", _output(address))}
go:
  %thread = call ptr @PyEval_SaveThread()
  call void %function(ptr %table, ptr %scalars, ptr %arena, ptr %chain)
  call void @PyEval_RestoreThread(ptr %thread)
  call void @Py_IncRef(ptr %none)
  ret ptr %none
other:
  call void @Py_IncRef(ptr %other.r)
  ret ptr %other.r
}}
"""
