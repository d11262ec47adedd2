"""Looks into Python's objects in LLVM IR: the questions of the native entry that run no Python.

Is an argument what it must be, does a storage still hold its node, is a kept result nobody's?
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Layout:
    """Where the slots of tensors, storages, nodes and buffers lie, in bytes, and their class."""

    tensor: type
    shape: int
    dtype: int
    view: int
    storage: int
    grad: int
    node: int
    requires: int
    device: int
    version: int
    op: int
    arg: int
    value: int
    address: int
    exported: int


def word(name: str, record: str, index: int, kind: str = "ptr") -> str:
    """Loads word `index` of a record."""
    return (f"  %{name}.at = getelementptr i64, ptr %{record}, i64 {index}\n"
            f"  %{name} = load {kind}, ptr %{name}.at\n")


def slot(name: str, thing: str, offset: int) -> str:
    """Loads a slot of a Python object."""
    return (f"  %{name}.at = getelementptr i8, ptr %{thing}, i64 {offset}\n"
            f"  %{name} = load ptr, ptr %{name}.at\n")


def each(name: str, count: str, after: str, body: str) -> str:
    """A loop over %name.i below %count, from a block `name.before`; the body goes on at
    %name.next, and the end is %after."""
    return (f"  br label %{name}\n{name}:\n"
            f"  %{name}.i = phi i64 [ 0, %{name}.before ], [ %{name}.up, %{name}.next ]\n"
            f"  %{name}.more = icmp slt i64 %{name}.i, %{count}\n"
            f"  br i1 %{name}.more, label %{name}.body, label %{after}\n"
            f"{name}.body:\n{body}"
            f"{name}.next:\n  %{name}.up = add i64 %{name}.i, 1\n  br label %{name}\n")


def number() -> str:
    """Is `x` a Python float? Then it is written among the scalars."""
    return f"""
define internal i1 @number(ptr %x, ptr %constants, ptr %scalars, i64 %place, i64 %kind) {{
entry:
  %type.at = getelementptr i64, ptr %x, i64 1
  %type = load ptr, ptr %type.at
{word("float.type", "constants", 5)}
  %is.float = icmp eq ptr %type, %float.type
  br i1 %is.float, label %number, label %no
number:
  %value = call double @PyFloat_AsDouble(ptr %x)
  %there = getelementptr i8, ptr %scalars, i64 %place
  %narrow = icmp eq i64 %kind, 1
  br i1 %narrow, label %single, label %double
single:
  %value.s = fptrunc double %value to float
  store float %value.s, ptr %there, align 1
  ret i1 true
double:
  store double %value, ptr %there, align 1
  ret i1 true
no:
  ret i1 false
}}"""


def argument(o: Layout) -> str:
    """Is `x` what argument `a` must be? Then its address or number is put in its place."""
    return f"""
define internal i1 @argument(ptr %a, ptr %x, ptr %constants, ptr %table, ptr %scalars) {{
entry:
  %kind = load i64, ptr %a
{word("first", "a", 1)}{word("second", "a", 2)}{word("place", "a", 3, "i64")}
  %type.at = getelementptr i64, ptr %x, i64 1
  %type = load ptr, ptr %type.at
  switch i64 %kind, label %constant [ i64 0, label %tensor  i64 1, label %float
                                      i64 2, label %float ]
constant:
  %same = icmp eq ptr %x, %first
  ret i1 %same
float:
  %number = call i1 @number(ptr %x, ptr %constants, ptr %scalars, i64 %place,
                            i64 %kind)
  ret i1 %number
tensor:
{word("tensor.type", "constants", 0)}
  %is.tensor = icmp eq ptr %type, %tensor.type
  br i1 %is.tensor, label %plain, label %no
plain:
{word("none", "constants", 1)}{slot("view", "x", o.view)}{slot("dtype", "x", o.dtype)}
{slot("shape", "x", o.shape)}{slot("storage", "x", o.storage)}
{slot("node", "storage", o.node)}{slot("op", "node", o.op)}{word("buffer", "constants", 3)}
  %whole = icmp eq ptr %view, %none
  %typed = icmp eq ptr %dtype, %second
  %computed = icmp eq ptr %op, %buffer
{slot("device", "storage", o.device)}{word("host", "constants", 6)}
  %here = icmp eq ptr %device, %host
  %fine.1 = and i1 %whole, %typed
  %fine.2 = and i1 %fine.1, %here
  %fine = and i1 %fine.2, %computed
  br i1 %fine, label %shaped, label %no
shaped:
  %shape.same = icmp eq ptr %shape, %first
  br i1 %shape.same, label %requires, label %compare
compare:
  %equal = call i32 @PyObject_RichCompareBool(ptr %shape, ptr %first, i32 2)
  %shape.equal = icmp eq i32 %equal, 1
  br i1 %shape.equal, label %requires, label %no
requires:
{slot("needs", "storage", o.requires)}{word("false", "constants", 2)}
  %no.gradient = icmp eq ptr %needs, %false
  br i1 %no.gradient, label %wanted, label %no
wanted:
  %used = icmp sge i64 %place, 0
  br i1 %used, label %address, label %yes
address:
{slot("memory", "node", o.arg)}{slot("number.of", "memory", o.address)}
  %where = call i64 @PyLong_AsLongLong(ptr %number.of)
  %entry.at = getelementptr i64, ptr %table, i64 %place
  store i64 %where, ptr %entry.at
  br label %yes
yes:
  ret i1 true
no:
  ret i1 false
}}"""


def state(o: Layout) -> str:
    """Does the storage still hold its node, and nobody else where it will be overwritten?"""
    return f"""
define internal i1 @state(ptr %s, ptr %constants) {{
entry:
  %storage = load ptr, ptr %s
{word("node", "s", 1)}{word("limit", "s", 2, "i64")}
  %nobody = icmp eq ptr %storage, null
  br i1 %nobody, label %count, label %hold
hold:
{slot("its", "storage", o.node)}
  %same = icmp eq ptr %its, %node
  br i1 %same, label %count, label %no
count:
  %references = load i32, ptr %node
  %limit.s = trunc i64 %limit to i32
  %few = icmp sle i32 %references, %limit.s
  %open = icmp eq i64 %limit, 0
  %fine = or i1 %few, %open
  br i1 %fine, label %kind, label %no
kind:
{slot("op", "node", o.op)}{word("buffer", "constants", 3)}{word("none", "constants", 1)}
{word("false", "constants", 2)}
  %leaf = icmp eq ptr %op, %buffer
  br i1 %leaf, label %memory, label %expression
memory:
{slot("block", "node", o.arg)}{slot("exported", "block", o.exported)}
  %inside = icmp eq ptr %exported, %false
  %kept = or i1 %inside, %open
  ret i1 %kept
expression:
{slot("value", "node", o.value)}
  %lazy = icmp eq ptr %value, %none
  ret i1 %lazy
no:
  ret i1 false
}}"""


def free(o: Layout) -> str:
    """Is a kept result nobody's but ours, so that it may be handed out again?"""
    return f"""
define internal i1 @free(ptr %kept, ptr %constants) {{
entry:
  %result = load ptr, ptr %kept
  %some = icmp ne ptr %result, null
  br i1 %some, label %result.there, label %no
result.there:
  %count = load i32, ptr %result
  %ours = icmp eq i32 %count, 1
  br i1 %ours, label %look, label %no
look:
{word("storage", "kept", 1)}{word("node", "kept", 2)}{word("none", "constants", 1)}
{word("false", "constants", 2)}{slot("its.storage", "result", o.storage)}
{slot("view", "result", o.view)}{slot("grad", "result", o.grad)}
  %s.same = icmp eq ptr %its.storage, %storage
  %whole = icmp eq ptr %view, %none
  %no.grad = icmp eq ptr %grad, %none
  %a = and i1 %s.same, %whole
  %b = and i1 %a, %no.grad
  br i1 %b, label %inner, label %no
inner:
{slot("its.node", "storage", o.node)}{slot("needs", "storage", o.requires)}
  %n.same = icmp eq ptr %its.node, %node
  %no.gradient = icmp eq ptr %needs, %false
  %s.count = load i32, ptr %storage
  %s.ours = icmp eq i32 %s.count, 1
  %c = and i1 %n.same, %no.gradient
  %d = and i1 %c, %s.ours
  br i1 %d, label %deepest, label %no
deepest:
{slot("memory", "node", o.arg)}{slot("exported", "memory", o.exported)}
  %n.count = load i32, ptr %node
  %n.ours = icmp eq i32 %n.count, 1
  %m.count = load i32, ptr %memory
  %m.ours = icmp eq i32 %m.count, 1
  %inside = icmp eq ptr %exported, %false
  %e = and i1 %n.ours, %inside
  %f = and i1 %e, %m.ours
  ret i1 %f
no:
  ret i1 false
}}"""


def given(o: Layout) -> str:
    """Is a storage that will be overwritten among the arguments too? It would be read too late."""
    body = f"""  %a.at = shl i64 %each.i, 2
  %a = getelementptr i64, ptr %arguments, i64 %a.at
  %kind = load i64, ptr %a
  %tensor = icmp eq i64 %kind, 0
  br i1 %tensor, label %look, label %each.next
look:
  %x.at = getelementptr ptr, ptr %args, i64 %each.i
  %x = load ptr, ptr %x.at
{slot("its", "x", o.storage)}
  %same = icmp eq ptr %its, %storage
  br i1 %same, label %yes, label %each.next
"""
    return f"""
define internal i1 @given(ptr %s, ptr %args, ptr %arguments, i64 %count) {{
entry:
  %storage = load ptr, ptr %s
{word("limit", "s", 2, "i64")}
  %written = icmp ne i64 %limit, 0
  br i1 %written, label %each.before, label %no
each.before:
{each("each", "count", "no", body)}
yes:
  ret i1 true
no:
  ret i1 false
}}"""


def fits() -> str:
    """Are the arguments and the state as the program expects? Puts the addresses in the table."""
    argument = """  %a.at = shl i64 %arg.i, 2
  %a = getelementptr i64, ptr %arguments, i64 %a.at
  %x.at = getelementptr ptr, ptr %args, i64 %arg.i
  %x = load ptr, ptr %x.at
  %fits = call i1 @argument(ptr %a, ptr %x, ptr %constants, ptr %table, ptr %scalars)
  br i1 %fits, label %arg.next, label %no
"""
    state = """  %s.at = mul i64 %state.i, 3
  %s = getelementptr i64, ptr %list, i64 %s.at
  %holds = call i1 @state(ptr %s, ptr %constants)
  br i1 %holds, label %apart, label %no
apart:
  %given = call i1 @given(ptr %s, ptr %args, ptr %arguments, i64 %count)
  br i1 %given, label %no, label %state.next
"""
    return f"""
define internal i1 @fits(ptr %r, ptr %args) {{
entry:
{word("constants", "r", 0)}{word("bound", "r", 1, "i64")}{word("table", "r", 2)}
{word("scalars", "r", 3)}{word("count", "r", 6, "i64")}{word("arguments", "r", 7)}
{word("states", "r", 8, "i64")}{word("list", "r", 9)}
  %still = icmp ne i64 %bound, 0
  br i1 %still, label %arg.before, label %no
arg.before:
{each("arg", "count", "state.before", argument)}
state.before:
{each("state", "states", "yes", state)}
yes:
  ret i1 true
no:
  ret i1 false
}}"""


def moved() -> str:
    """Has any watched number changed since it was packed?"""
    body = f"""  %at = mul i64 %each.i, 3
  %w = getelementptr i64, ptr %watched, i64 %at
  %d = load ptr, ptr %w
{word("key", "w", 1)}{word("seen", "w", 2)}
  %now = call ptr @PyDict_GetItem(ptr %d, ptr %key)
  %same = icmp eq ptr %now, %seen
  br i1 %same, label %each.next, label %yes
"""
    return f"""
define internal i1 @moved(ptr %r) {{
entry:
{word("n", "r", 10, "i64")}{word("watched", "r", 11)}
  br label %each.before
each.before:
{each("each", "n", "no", body)}
yes:
  ret i1 true
no:
  ret i1 false
}}"""
