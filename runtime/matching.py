"""Is a new graph of the same structure as a known one? Answered in machine code.

Owns: `Pattern`, a numbered graph to compare with, and the walk. A training loop records the same
graph again and again; comparing it costs some 10 ns a node, where numbering it in Python and making
a key costs a hundred times that. The new graph's nodes come out in the pattern's order, so whoever
numbered the known graph needs no walk of the new one.

A node stands for another if op, dtype, shape and arg are equal and the sources stand for the
sources. Two walks are known. For values, a node whose value is known is a leaf, and marks are
looked through. For gradients, values do not count, and a mark is a stop where gradients are wanted
or a living leaf has its token, else looked through.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Hashable, Sequence
from functools import lru_cache
from typing import Any, Generic, Protocol, TypeVar

from flambeau.compiler import dtype as dt
from flambeau.compiler.node import Node, buffer, node
from flambeau.runtime import cache, jit, native
from flambeau.runtime.entry_looks import each, slot, word

LARGEST = 4096  # nodes of a pattern
HINTS, ALIKE = 512, 8  # how many hints are kept, and patterns under each

# what a numbered node is: in a walk for values the first three, for gradients the last three
LEAF, SCALAR, INNER, ANY, STOP = range(5)  # any: a leaf of any kind


class Pattern:
    """A numbered graph. order: its nodes, sources first. outputs: the roots' numbers.

    kinds: what each node is; sources: the numbers of each inner node's sources. gradients: which
    walk. The pattern keeps the ops, dtypes, shapes and args that it compares with, not the nodes.
    """

    def __init__(self, order: Sequence[Node], kinds: Sequence[int],
                 sources: Sequence[Sequence[int]], outputs: Sequence[int], gradients: bool) -> None:
        rows: list[int] = []
        edges: list[int] = []
        self._keep: list[Any] = []
        for n, kind, src in zip(order, kinds, sources):
            parts = (n.op, n.dtype, n.shape, n.arg if kind == INNER else None)
            self._keep.append(parts)
            rows += [kind, *map(id, parts), len(src), len(edges)]
            edges += src
        leaves = [i for i, kind in enumerate(kinds) if kind == LEAF]
        self._parts = [native.words(x) for x in (rows, edges, outputs, leaves)]
        self._record = native.words([
            ctypes.addressof(_constants()), len(order), *map(ctypes.addressof, self._parts),
            len(outputs), len(leaves), int(gradients)])
        code = _code()
        self._record.pattern = self  # type: ignore[attr-defined]  # the function keeps all of it
        self._record.code = code  # type: ignore[attr-defined]
        self.match = native.callable_at(code.address("fb_match"), self._record)


class Matched(Protocol):
    """What `Recent` keeps: anything that has a pattern."""

    @property
    def pattern(self) -> Pattern | None: ...


K = TypeVar("K", bound=Matched)


class Recent(Generic[K]):
    """Known graphs under hints, those that were of use last first.

    A hint is anything that is quick to make of a graph and tells most graphs apart.
    """

    def __init__(self) -> None:
        self._places: dict[Hashable, list[K]] = {}

    def find(self, hint: Hashable, *graph: Any) -> tuple[K, list[Node]] | None:
        """A known graph of the same structure, and the new one's nodes by number."""
        found = self._places.get(hint, ())
        for i, known in enumerate(found):
            nodes = known.pattern.match(*graph)  # type: ignore[union-attr]  # only such are kept
            if nodes is not None:
                if i:
                    self._places[hint] = [known, *found[:i], *found[i + 1:]]
                return known, nodes
        return None

    def add(self, hint: Hashable, known: K) -> None:
        """One more; the one that was of no use for longest may go."""
        self._places[hint] = [known, *self._places.get(hint, ())][:ALIKE]
        if len(self._places) > HINTS:
            self._places.pop(next(iter(self._places)))

    def clear(self) -> None:
        """Forgets all of them."""
        self._places.clear()


def worth_it(order: Sequence[Node]) -> bool:
    """Can a pattern be made of this graph here?"""
    return len(order) <= LARGEST and native.supported()


@lru_cache(maxsize=1)
def _constants() -> Any:
    """Objects that the walk compares with."""
    return native.words([id(x) for x in (None, sys.intern("mark"), sys.intern("buffer"),
                                         sys.intern("scalar"), 0, int)])


@lru_cache(maxsize=1)
def _code() -> jit.Code:
    text = _source()
    return jit.load(text, cache.digest("matching", text), jit.host_target())


# -- the machine code --------------------------------------------------------------------------
#
# record: constants, count, rows, edges, outputs, leaves, number of outputs, number of leaves, walk.
# row: kind, op, dtype, shape, arg, number of sources, place of the first among the edges.


def _source() -> str:
    n = node("mark", dt.float32, (), (buffer(dt.float32, (), None),), object())
    at = {name: native.offset(n, name) for name in ("op", "dtype", "shape", "src", "arg", "value")}
    return "\n".join((_DECLARATIONS, _value(at), _through(at), _assign(), _same(at),
                      _sources(at), _walk(), _apart(), _match()))


_DECLARATIONS = """
declare ptr @PyDict_GetItem(ptr, ptr)
declare ptr @PyList_GetItem(ptr, i64)
declare ptr @PyList_New(i64)
declare i32 @PyList_SetItem(ptr, i64, ptr)
declare i64 @PyList_Size(ptr)
declare i32 @PyObject_RichCompareBool(ptr, ptr, i32)
declare void @Py_IncRef(ptr)
declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)
"""


def _value(at: dict[str, int]) -> str:
    """For values: a node's known value, and what is under marks."""
    return f"""
define internal ptr @value(ptr %first, ptr %constants) {{
entry:
{word("none", "constants", 0)}{word("mark", "constants", 1)}
  br label %look
look:
  %n = phi ptr [ %first, %entry ], [ %under, %down ]
{slot("known", "n", at["value"])}
  %missing = icmp eq ptr %known, %none
  br i1 %missing, label %open, label %leaf
leaf:
  ret ptr %known
open:
{slot("op", "n", at["op"])}
  %is.mark = icmp eq ptr %op, %mark
  br i1 %is.mark, label %down, label %found
down:
{slot("src", "n", at["src"])}{slot("under", "src", native.items_offset())}
  br label %look
found:
  ret ptr %n
}}"""


def _through(at: dict[str, int]) -> str:
    """For gradients: what is under marks of others; null for a mark that only Python knows."""
    wanted = """  %w = call ptr @PyList_GetItem(ptr %wanted, i64 %each.i)
  %is.wanted = icmp eq ptr %w, %n
  br i1 %is.wanted, label %found, label %each.next
"""
    return f"""
define internal ptr @through(ptr %first, ptr %constants, ptr %wanted, i64 %count, ptr %living) {{
entry:
{word("mark", "constants", 1)}{word("zero", "constants", 4)}{word("int", "constants", 5)}
  br label %look
look:
  %n = phi ptr [ %first, %entry ], [ %under, %down ]
{slot("op", "n", at["op"])}{slot("token", "n", at["arg"])}
  %is.mark = icmp eq ptr %op, %mark
  %barrier = icmp eq ptr %token, %zero
  %plain = xor i1 %is.mark, true
  %stays = or i1 %plain, %barrier
  br i1 %stays, label %found, label %each.before
each.before:
{each("each", "count", "owner", wanted)}
owner:
  %type.at = getelementptr i64, ptr %token, i64 1
  %type = load ptr, ptr %type.at
  %number = icmp eq ptr %type, %int
  br i1 %number, label %ask, label %unknown
ask:
  %leaf = call ptr @PyDict_GetItem(ptr %living, ptr %token)
  %dead = icmp eq ptr %leaf, null
  br i1 %dead, label %down, label %found
down:
{slot("src", "n", at["src"])}{slot("under", "src", native.items_offset())}
  br label %look
found:
  ret ptr %n
unknown:
  ret ptr null
}}"""


def _assign() -> str:
    """Node number i is n, unless it is another already."""
    return """
define internal i1 @assign(ptr %found, i64 %i, ptr %n) {
entry:
  %at = getelementptr ptr, ptr %found, i64 %i
  %before = load ptr, ptr %at
  %new = icmp eq ptr %before, null
  br i1 %new, label %put, label %compare
put:
  store ptr %n, ptr %at
  %some = icmp ne ptr %n, null
  ret i1 %some
compare:
  %same = icmp eq ptr %before, %n
  ret i1 %same
}"""


def _same(at: dict[str, int]) -> str:
    """Does a node look like a row: kind, dtype, shape, and for inner nodes op and arg?"""
    return f"""
define internal i1 @equal(ptr %a, ptr %b) {{
entry:
  %same = icmp eq ptr %a, %b
  br i1 %same, label %yes, label %compare
compare:
  %found = call i32 @PyObject_RichCompareBool(ptr %a, ptr %b, i32 2)
  %equal = icmp eq i32 %found, 1
  ret i1 %equal
yes:
  ret i1 true
}}

define internal i1 @same(ptr %n, ptr %row, ptr %constants) {{
entry:
  %kind = load i64, ptr %row
{word("row.op", "row", 1)}{word("row.dtype", "row", 2)}{word("row.shape", "row", 3)}
{word("row.arg", "row", 4)}{word("mark", "constants", 1)}{word("buffer", "constants", 2)}
{word("scalar", "constants", 3)}{word("zero", "constants", 4)}
{slot("op", "n", at["op"])}{slot("dtype", "n", at["dtype"])}{slot("shape", "n", at["shape"])}
{slot("arg", "n", at["arg"])}
  %typed = icmp eq ptr %dtype, %row.dtype
  br i1 %typed, label %sized, label %no
sized:
  %shaped = call i1 @equal(ptr %shape, ptr %row.shape)
  br i1 %shaped, label %judge, label %no
judge:
  switch i64 %kind, label %inner [ i64 {LEAF}, label %leaf  i64 {SCALAR}, label %number
                                   i64 {ANY}, label %any    i64 {STOP}, label %stop ]
leaf:
  %is.buffer = icmp eq ptr %op, %buffer
  ret i1 %is.buffer
number:
  %is.scalar = icmp eq ptr %op, %scalar
  ret i1 %is.scalar
any:
  %buffer.too = icmp eq ptr %op, %buffer
  %scalar.too = icmp eq ptr %op, %scalar
  %either = or i1 %buffer.too, %scalar.too
  ret i1 %either
stop:
  %is.mark = icmp eq ptr %op, %mark
  %not.barrier = icmp ne ptr %arg, %zero
  %stops = and i1 %is.mark, %not.barrier
  ret i1 %stops
inner:
  %op.same = icmp eq ptr %op, %row.op
  br i1 %op.same, label %arguments, label %no
arguments:
  %arg.same = call i1 @equal(ptr %arg, ptr %row.arg)
  ret i1 %arg.same
no:
  ret i1 false
}}"""


def _sources(at: dict[str, int]) -> str:
    """Gives an inner node's sources their numbers; false where that cannot be."""
    body = f"""  %item.at = mul i64 %each.i, 8
  %item.place = add i64 %item.at, {native.items_offset()}
  %item.p = getelementptr i8, ptr %src, i64 %item.place
  %item = load ptr, ptr %item.p
  %place = add i64 %first, %each.i
  %number.p = getelementptr i64, ptr %edges, i64 %place
  %number = load i64, ptr %number.p
  %seen = call ptr @seen(ptr %r, ptr %item, ptr %wanted, i64 %wants, ptr %living)
  %fits = call i1 @assign(ptr %found, i64 %number, ptr %seen)
  br i1 %fits, label %each.next, label %no
"""
    return f"""
define internal ptr @seen(ptr %r, ptr %n, ptr %wanted, i64 %wants, ptr %living) {{
entry:
{word("constants", "r", 0)}{word("gradients", "r", 8, "i64")}
  %back = icmp ne i64 %gradients, 0
  br i1 %back, label %marks, label %values
marks:
  %m = call ptr @through(ptr %n, ptr %constants, ptr %wanted, i64 %wants, ptr %living)
  ret ptr %m
values:
  %v = call ptr @value(ptr %n, ptr %constants)
  ret ptr %v
}}

define internal i1 @sources(ptr %r, ptr %n, ptr %row, ptr %found, ptr %wanted, i64 %wants,
                            ptr %living) {{
entry:
{word("edges", "r", 3)}{word("count", "row", 5, "i64")}{word("first", "row", 6, "i64")}
  %empty = icmp eq i64 %count, 0
  br i1 %empty, label %yes, label %some
some:
{slot("src", "n", at["src"])}
  %size.at = getelementptr i64, ptr %src, i64 2
  %size = load i64, ptr %size.at
  %as.many = icmp eq i64 %size, %count
  br i1 %as.many, label %each.before, label %no
each.before:
{each("each", "count", "yes", body)}
yes:
  ret i1 true
no:
  ret i1 false
}}"""


def _walk() -> str:
    """From the outputs down: every number gets a node that looks like its row, or false."""
    output = """  %root = call ptr @PyList_GetItem(ptr %roots, i64 %out.i)
  %number.p = getelementptr i64, ptr %outputs, i64 %out.i
  %number = load i64, ptr %number.p
  %seen = call ptr @seen(ptr %r, ptr %root, ptr %wanted, i64 %wants, ptr %living)
  %fits = call i1 @assign(ptr %found, i64 %number, ptr %seen)
  br i1 %fits, label %out.next, label %no
"""
    node = """  %down = sub i64 %count, %each.i
  %i = sub i64 %down, 1
  %n.p = getelementptr ptr, ptr %found, i64 %i
  %n = load ptr, ptr %n.p
  %row.at = mul i64 %i, 7
  %row = getelementptr i64, ptr %rows, i64 %row.at
  %reached = icmp ne ptr %n, null
  br i1 %reached, label %look, label %no
look:
  %alike = call i1 @same(ptr %n, ptr %row, ptr %constants)
  br i1 %alike, label %deeper, label %no
deeper:
  %below = call i1 @sources(ptr %r, ptr %n, ptr %row, ptr %found, ptr %wanted, i64 %wants,
                            ptr %living)
  br i1 %below, label %each.next, label %no
"""
    return f"""
define internal i1 @walk(ptr %r, ptr %roots, ptr %wanted, i64 %wants, ptr %living, ptr %found) {{
entry:
{word("constants", "r", 0)}{word("count", "r", 1, "i64")}{word("rows", "r", 2)}
{word("outputs", "r", 4)}{word("outs", "r", 6, "i64")}
  br label %out.before
out.before:
{each("out", "outs", "each.before", output)}
each.before:
{each("each", "count", "yes", node)}
yes:
  ret i1 true
no:
  ret i1 false
}}"""


def _apart() -> str:
    """Are the leaves different nodes? Else memory that is taken over might be read twice."""
    inner = """  %b.p = getelementptr i64, ptr %leaves, i64 %second.i
  %b.number = load i64, ptr %b.p
  %b.at = getelementptr ptr, ptr %found, i64 %b.number
  %b = load ptr, ptr %b.at
  %twice = icmp eq ptr %a, %b
  br i1 %twice, label %no, label %second.next
"""
    outer = f"""  %a.p = getelementptr i64, ptr %leaves, i64 %first.i
  %a.number = load i64, ptr %a.p
  %a.at = getelementptr ptr, ptr %found, i64 %a.number
  %a = load ptr, ptr %a.at
  br label %second.before
second.before:
{each("second", "first.i", "first.next", inner)}"""
    return f"""
define internal i1 @apart(ptr %r, ptr %found) {{
entry:
{word("leaves", "r", 5)}{word("count", "r", 7, "i64")}
  br label %first.before
first.before:
{each("first", "count", "yes", outer)}
yes:
  ret i1 true
no:
  ret i1 false
}}"""


def _match() -> str:
    """match(roots[, wanted, living]): the nodes in the pattern's order, or None."""
    body = """  %n.p = getelementptr ptr, ptr %found, i64 %each.i
  %n = load ptr, ptr %n.p
  call void @Py_IncRef(ptr %n)
  %put = call i32 @PyList_SetItem(ptr %list, i64 %each.i, ptr %n)
  br label %each.next
"""
    return f"""
define ptr @fb_match(ptr %self, ptr %args, i64 %n.args) {{
entry:
  %r.at = getelementptr i8, ptr %self, i64 {native.data_offset()}
  %r = load ptr, ptr %r.at
{word("constants", "r", 0)}{word("count", "r", 1, "i64")}{word("outs", "r", 6, "i64")}
{word("roots", "args", 0)}
  %bytes = mul i64 %count, 8
  %found = alloca ptr, i64 %count
  call void @llvm.memset.p0.i64(ptr %found, i8 0, i64 %bytes, i1 false)
  %given = call i64 @PyList_Size(ptr %roots)
  %as.many = icmp eq i64 %given, %outs
  br i1 %as.many, label %kind, label %other
kind:
  %gradients = icmp eq i64 %n.args, 3
  br i1 %gradients, label %more, label %go
more:
{word("wanted", "args", 1)}{word("living", "args", 2)}
  %wants = call i64 @PyList_Size(ptr %wanted)
  br label %go
go:
  %w = phi ptr [ null, %kind ], [ %wanted, %more ]
  %k = phi i64 [ 0, %kind ], [ %wants, %more ]
  %l = phi ptr [ null, %kind ], [ %living, %more ]
  %alike = call i1 @walk(ptr %r, ptr %roots, ptr %w, i64 %k, ptr %l, ptr %found)
  br i1 %alike, label %check, label %other
check:
  %fine = call i1 @apart(ptr %r, ptr %found)
  br i1 %fine, label %make, label %other
make:
  %list = call ptr @PyList_New(i64 %count)
  %failed = icmp eq ptr %list, null
  br i1 %failed, label %bad, label %each.before
each.before:
{each("each", "count", "done", body)}
done:
  ret ptr %list
other:
{word("none", "constants", 0)}
  call void @Py_IncRef(ptr %none)
  ret ptr %none
bad:
  ret ptr null
}}
"""
