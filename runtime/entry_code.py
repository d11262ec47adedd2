"""The machine code of the native entry (`entry.py`): LLVM IR that looks into Python's objects.

Between the last call of a Python function and the program's end nothing may run Python code, or
another thread could come in between: `settle` therefore begins anew after every such call.
"""

from __future__ import annotations

from dataclasses import dataclass

RING = 2  # results kept for reuse: the caller still holds the last one while it asks for the next
ATTEMPTS = 64  # after so many calls of Python functions it gives up


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
    version: int
    op: int
    arg: int
    address: int
    exported: int


def _word(name: str, record: str, index: int, kind: str = "ptr") -> str:
    """Loads word `index` of a record."""
    return (f"  %{name}.at = getelementptr i64, ptr %{record}, i64 {index}\n"
            f"  %{name} = load {kind}, ptr %{name}.at\n")


def _slot(name: str, thing: str, offset: int) -> str:
    """Loads a slot of a Python object."""
    return (f"  %{name}.at = getelementptr i8, ptr %{thing}, i64 {offset}\n"
            f"  %{name} = load ptr, ptr %{name}.at\n")


def _each(name: str, count: str, after: str, body: str) -> str:
    """A loop over %name.i below %count, from a block `name.before`; the body goes on at
    %name.next, and the end is %after."""
    return (f"  br label %{name}\n{name}:\n"
            f"  %{name}.i = phi i64 [ 0, %{name}.before ], [ %{name}.up, %{name}.next ]\n"
            f"  %{name}.more = icmp slt i64 %{name}.i, %{count}\n"
            f"  br i1 %{name}.more, label %{name}.body, label %{after}\n"
            f"{name}.body:\n{body}"
            f"{name}.next:\n  %{name}.up = add i64 %{name}.i, 1\n  br label %{name}\n")


def source(layout: Layout, data: int) -> str:
    """The module's text. data: bytes from a record's start to its words.

    record: constants, bound, table, scalars, arena, program, arguments (n, where), states (n,
    where), watched (n, where), outputs (n, where), written (n, where), single, inside, renew, look,
    numbers, check, enter, leave.
    """
    return "\n".join((
        _DECLARATIONS, _number(), _argument(layout), _state(layout), _free(layout), _fits(),
        _moved(), _CALLS, _place(), _settle(), _bump(layout), _kept(), _finish(), _run(),
        _call(data)))


_DECLARATIONS = """
declare ptr @PyDict_GetItem(ptr, ptr)
declare void @PyErr_Fetch(ptr, ptr, ptr)
declare void @PyErr_Restore(ptr, ptr, ptr)
declare void @PyEval_RestoreThread(ptr)
declare ptr @PyEval_SaveThread()
declare double @PyFloat_AsDouble(ptr)
declare i64 @PyLong_AsLongLong(ptr)
declare ptr @PyLong_FromLongLong(i64)
declare ptr @PyObject_CallNoArgs(ptr)
declare ptr @PyObject_CallOneArg(ptr, ptr)
declare i32 @PyObject_IsTrue(ptr)
declare i32 @PyObject_RichCompareBool(ptr, ptr, i32)
declare ptr @PyTuple_New(i64)
declare i32 @PyTuple_SetItem(ptr, i64, ptr)
declare void @Py_DecRef(ptr)
declare void @Py_IncRef(ptr)
"""

def _number() -> str:
    """Is `x` a Python float? Then it is written among the scalars."""
    return f"""
define internal i1 @number(ptr %x, ptr %constants, ptr %scalars, i64 %place, i64 %kind) {{
entry:
  %type.at = getelementptr i64, ptr %x, i64 1
  %type = load ptr, ptr %type.at
{_word("float.type", "constants", 5)}
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


def _argument(o: Layout) -> str:
    """Is `x` what argument `a` must be? Then its address or number is put in its place."""
    return f"""
define internal i1 @argument(ptr %a, ptr %x, ptr %constants, ptr %table, ptr %scalars) {{
entry:
  %kind = load i64, ptr %a
{_word("first", "a", 1)}{_word("second", "a", 2)}{_word("place", "a", 3, "i64")}
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
{_word("tensor.type", "constants", 0)}
  %is.tensor = icmp eq ptr %type, %tensor.type
  br i1 %is.tensor, label %plain, label %no
plain:
{_word("none", "constants", 1)}{_slot("view", "x", o.view)}{_slot("dtype", "x", o.dtype)}
{_slot("shape", "x", o.shape)}{_slot("storage", "x", o.storage)}
{_slot("node", "storage", o.node)}{_slot("op", "node", o.op)}{_word("buffer", "constants", 3)}
  %whole = icmp eq ptr %view, %none
  %typed = icmp eq ptr %dtype, %second
  %computed = icmp eq ptr %op, %buffer
  %fine.1 = and i1 %whole, %typed
  %fine = and i1 %fine.1, %computed
  br i1 %fine, label %shaped, label %no
shaped:
  %shape.same = icmp eq ptr %shape, %first
  br i1 %shape.same, label %requires, label %compare
compare:
  %equal = call i32 @PyObject_RichCompareBool(ptr %shape, ptr %first, i32 2)
  %shape.equal = icmp eq i32 %equal, 1
  br i1 %shape.equal, label %requires, label %no
requires:
{_slot("needs", "storage", o.requires)}{_word("false", "constants", 2)}
  %no.gradient = icmp eq ptr %needs, %false
  br i1 %no.gradient, label %wanted, label %no
wanted:
  %used = icmp sge i64 %place, 0
  br i1 %used, label %address, label %yes
address:
{_slot("memory", "node", o.arg)}{_slot("number.of", "memory", o.address)}
  %where = call i64 @PyLong_AsLongLong(ptr %number.of)
  %entry.at = getelementptr i64, ptr %table, i64 %place
  store i64 %where, ptr %entry.at
  br label %yes
yes:
  ret i1 true
no:
  ret i1 false
}}"""


def _state(o: Layout) -> str:
    """Does the storage still hold its node, and nobody else where it will be overwritten?"""
    return f"""
define internal i1 @state(ptr %s, ptr %constants) {{
entry:
  %storage = load ptr, ptr %s
{_word("expected", "s", 1)}{_word("limit", "s", 2, "i64")}{_slot("node", "storage", o.node)}
  %same = icmp eq ptr %node, %expected
  %shared = icmp eq i64 %limit, 0
  %go = xor i1 %shared, true
  %look = and i1 %same, %go
  br i1 %look, label %alone, label %out
alone:
  %count = load i32, ptr %node
  %limit.s = trunc i64 %limit to i32
  %few = icmp sle i32 %count, %limit.s
{_slot("memory", "node", o.arg)}{_slot("exported", "memory", o.exported)}
{_word("false", "constants", 2)}
  %inside = icmp eq ptr %exported, %false
  %fine = and i1 %few, %inside
  ret i1 %fine
out:
  ret i1 %same
}}"""


def _free(o: Layout) -> str:
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
{_word("storage", "kept", 1)}{_word("node", "kept", 2)}{_word("none", "constants", 1)}
{_word("false", "constants", 2)}{_slot("its.storage", "result", o.storage)}
{_slot("view", "result", o.view)}{_slot("grad", "result", o.grad)}
  %s.same = icmp eq ptr %its.storage, %storage
  %whole = icmp eq ptr %view, %none
  %no.grad = icmp eq ptr %grad, %none
  %a = and i1 %s.same, %whole
  %b = and i1 %a, %no.grad
  br i1 %b, label %inner, label %no
inner:
{_slot("its.node", "storage", o.node)}{_slot("needs", "storage", o.requires)}
  %n.same = icmp eq ptr %its.node, %node
  %no.gradient = icmp eq ptr %needs, %false
  %s.count = load i32, ptr %storage
  %s.ours = icmp eq i32 %s.count, 1
  %c = and i1 %n.same, %no.gradient
  %d = and i1 %c, %s.ours
  br i1 %d, label %deepest, label %no
deepest:
{_slot("memory", "node", o.arg)}{_slot("exported", "memory", o.exported)}
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


def _bump(o: Layout) -> str:
    """Raises a storage's version by one."""
    return f"""
define internal void @bump(ptr %storage) {{
entry:
{_slot("old", "storage", o.version)}
  %number = call i64 @PyLong_AsLongLong(ptr %old)
  %up = add i64 %number, 1
  %new = call ptr @PyLong_FromLongLong(i64 %up)
  store ptr %new, ptr %old.at
  call void @Py_DecRef(ptr %old)
  ret void
}}"""


def _fits() -> str:
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
  br i1 %holds, label %state.next, label %no
"""
    return f"""
define internal i1 @fits(ptr %r, ptr %args) {{
entry:
{_word("constants", "r", 0)}{_word("bound", "r", 1, "i64")}{_word("table", "r", 2)}
{_word("scalars", "r", 3)}{_word("count", "r", 6, "i64")}{_word("arguments", "r", 7)}
{_word("states", "r", 8, "i64")}{_word("list", "r", 9)}
  %still = icmp ne i64 %bound, 0
  br i1 %still, label %arg.before, label %no
arg.before:
{_each("arg", "count", "state.before", argument)}
state.before:
{_each("state", "states", "yes", state)}
yes:
  ret i1 true
no:
  ret i1 false
}}"""


def _moved() -> str:
    """Has any watched number changed since it was packed?"""
    body = f"""  %at = mul i64 %each.i, 3
  %w = getelementptr i64, ptr %watched, i64 %at
  %d = load ptr, ptr %w
{_word("key", "w", 1)}{_word("seen", "w", 2)}
  %now = call ptr @PyDict_GetItem(ptr %d, ptr %key)
  %same = icmp eq ptr %now, %seen
  br i1 %same, label %each.next, label %yes
"""
    return f"""
define internal i1 @moved(ptr %r) {{
entry:
{_word("n", "r", 10, "i64")}{_word("watched", "r", 11)}
  br label %each.before
each.before:
{_each("each", "n", "no", body)}
yes:
  ret i1 true
no:
  ret i1 false
}}"""


_CALLS = """
; Calls a Python function that gives nothing, if there is one. False: an error is set.
define internal i1 @ask(ptr %function) {
entry:
  %missing = icmp eq ptr %function, null
  br i1 %missing, label %fine, label %call
call:
  %found = call ptr @PyObject_CallNoArgs(ptr %function)
  %failed = icmp eq ptr %found, null
  br i1 %failed, label %bad, label %drop
drop:
  call void @Py_DecRef(ptr %found)
  br label %fine
fine:
  ret i1 true
bad:
  ret i1 false
}

; Asks for a turn: 1, 0 when somebody else has it, -1 for an error.
define internal i32 @turn(ptr %enter) {
entry:
  %found = call ptr @PyObject_CallNoArgs(ptr %enter)
  %failed = icmp eq ptr %found, null
  br i1 %failed, label %bad, label %look
look:
  %truth = call i32 @PyObject_IsTrue(ptr %found)
  call void @Py_DecRef(ptr %found)
  ret i32 %truth
bad:
  ret i32 -1
}

; Ends a turn; an error that is set stays set.
define internal void @end.turn(ptr %leave) {
entry:
  %type = alloca ptr
  %value = alloca ptr
  %trace = alloca ptr
  call void @PyErr_Fetch(ptr %type, ptr %value, ptr %trace)
  %fine = call i1 @ask(ptr %leave)
  %t = load ptr, ptr %type
  %v = load ptr, ptr %value
  %b = load ptr, ptr %trace
  call void @PyErr_Restore(ptr %t, ptr %v, ptr %b)
  ret void
}

; Asks for a fresh result for output k. False: an error is set.
define internal i1 @renew(ptr %function, i64 %k) {
entry:
  %number = call ptr @PyLong_FromLongLong(i64 %k)
  %made = call ptr @PyObject_CallOneArg(ptr %function, ptr %number)
  call void @Py_DecRef(ptr %number)
  %failed = icmp eq ptr %made, null
  br i1 %failed, label %bad, label %drop
drop:
  call void @Py_DecRef(ptr %made)
  ret i1 true
bad:
  ret i1 false
}
"""


def _place() -> str:
    """Puts a kept result's address in the table for every output; the first that has none free,
    or -1."""
    size = 2 + 4 * RING
    body = f"""  %o.at = mul i64 %out.i, {size}
  %o = getelementptr i64, ptr %outputs, i64 %o.at
  %slot = load i64, ptr %o
{_word("turn", "o", 1, "i64")}
  %other = xor i64 %turn, 1
  %older.at = mul i64 %other, 4
  %older.word = add i64 %older.at, 2
  %older = getelementptr i64, ptr %o, i64 %older.word
  %older.free = call i1 @free(ptr %older, ptr %constants)
  br i1 %older.free, label %take, label %last
last:
  %last.at = mul i64 %turn, 4
  %last.word = add i64 %last.at, 2
  %latest = getelementptr i64, ptr %o, i64 %last.word
  %last.free = call i1 @free(ptr %latest, ptr %constants)
  br i1 %last.free, label %take, label %none
none:
  ret i64 %out.i
take:
  %kept = phi ptr [ %older, %out.body ], [ %latest, %last ]
  %now = phi i64 [ %other, %out.body ], [ %turn, %last ]
  store i64 %now, ptr %turn.at
{_word("address", "kept", 3, "i64")}
  %place = getelementptr i64, ptr %table, i64 %slot
  store i64 %address, ptr %place
  br label %out.next
"""
    return f"""
define internal i64 @place(ptr %r) {{
entry:
{_word("constants", "r", 0)}{_word("table", "r", 2)}{_word("outs", "r", 12, "i64")}
{_word("outputs", "r", 13)}
  br label %out.before
out.before:
{_each("out", "outs", "all", body)}
all:
  ret i64 -1
}}"""


def _settle() -> str:
    """Everything before the program runs: 1 go, 0 the long way, -1 an error is set."""
    return f"""
define internal i32 @settle(ptr %r, ptr %args) {{
entry:
{_word("renew", "r", 18)}{_word("look", "r", 19)}{_word("numbers", "r", 20)}
  %counts = icmp ne ptr %numbers, null
  br i1 %counts, label %first, label %head
first:
  %fits.first = call i1 @fits(ptr %r, ptr %args)
  br i1 %fits.first, label %number, label %away
number:
  %numbered = call i1 @ask(ptr %numbers)
  br i1 %numbered, label %head, label %bad
head:
  %tries = phi i64 [ 0, %entry ], [ 0, %number ], [ %up, %again ]
  %fits = call i1 @fits(ptr %r, ptr %args)
  br i1 %fits, label %watch, label %away
watch:
  %moved = call i1 @moved(ptr %r)
  br i1 %moved, label %looking, label %placing
looking:
  %looked = call i1 @ask(ptr %look)
  br i1 %looked, label %again, label %bad
placing:
  %missing = call i64 @place(ptr %r)
  %all = icmp slt i64 %missing, 0
  br i1 %all, label %go, label %more
more:
  %made = call i1 @renew(ptr %renew, i64 %missing)
  br i1 %made, label %again, label %bad
again:
  %up = add i64 %tries, 1
  %patient = icmp slt i64 %up, {ATTEMPTS}
  br i1 %patient, label %head, label %away
go:
  ret i32 1
away:
  ret i32 0
bad:
  ret i32 -1
}}"""


def _kept() -> str:
    """Where the present result of an output is kept."""
    return f"""
; What is kept of output k's present result: result, storage, node, address.
define internal ptr @kept(ptr %outputs, i64 %k) {{
entry:
  %o.at = mul i64 %k, {2 + 4 * RING}
  %o = getelementptr i64, ptr %outputs, i64 %o.at
{_word("turn", "o", 1, "i64")}
  %word.0 = mul i64 %turn, 4
  %word = add i64 %word.0, 2
  %kept = getelementptr i64, ptr %o, i64 %word
  ret ptr %kept
}}"""


def _finish() -> str:
    """After the program: raised versions and the results, or null when an error is set."""
    write = """  %w.p = getelementptr ptr, ptr %storages, i64 %write.i
  %w = load ptr, ptr %w.p
  call void @bump(ptr %w)
  br label %write.next
"""
    take = f"""  %kept = call ptr @kept(ptr %outputs, i64 %take.i)
  %result = load ptr, ptr %kept
{_word("storage", "kept", 1)}
  call void @bump(ptr %storage)
  call void @Py_IncRef(ptr %result)
  store ptr %result, ptr %first
  br label %take.next
"""
    hand = """  %item.kept = call ptr @kept(ptr %outputs, i64 %item.i)
  %item.result = load ptr, ptr %item.kept
  %put = call i32 @PyTuple_SetItem(ptr %tuple, i64 %item.i, ptr %item.result)
  br label %item.next
"""
    return f"""
define internal ptr @finish(ptr %r) {{
entry:
  %first = alloca ptr
{_word("scalars", "r", 3)}{_word("outs", "r", 12, "i64")}{_word("outputs", "r", 13)}
{_word("written", "r", 14, "i64")}{_word("storages", "r", 15)}{_word("single", "r", 16, "i64")}
{_word("check", "r", 21)}
  %checks = icmp ne ptr %check, null
  br i1 %checks, label %status, label %write.before
status:
  %word = load i64, ptr %scalars
  %well = icmp eq i64 %word, 0
  br i1 %well, label %write.before, label %complain
complain:
  %fine = call i1 @ask(ptr %check)
  br label %bad
write.before:
{_each("write", "written", "take.before", write)}
take.before:
{_each("take", "outs", "handing", take)}
handing:
  %alone = icmp ne i64 %single, 0
  br i1 %alone, label %one, label %many
one:
  %only = load ptr, ptr %first
  ret ptr %only
many:
  %tuple = call ptr @PyTuple_New(i64 %outs)
  %none = icmp eq ptr %tuple, null
  br i1 %none, label %bad, label %item.before
item.before:
{_each("item", "outs", "all", hand)}
all:
  ret ptr %tuple
bad:
  ret ptr null
}}"""


def _run() -> str:
    """The program's call, and a turn around it for a long one."""
    program = (_word("table", "r", 2) + _word("scalars", "r", 3) + _word("arena", "r", 4)
               + _word("program", "r", 5))
    return f"""
define internal void @run(ptr %r) {{
entry:
{program}
  call void %program(ptr %table, ptr %scalars, ptr %arena)
  ret void
}}

define internal ptr @take.turn(ptr %r, ptr %args) {{
entry:
{_word("constants", "r", 0)}{_word("enter", "r", 22)}{_word("leave", "r", 23)}
  %entered = call i32 @turn(ptr %enter)
  switch i32 %entered, label %bad [ i32 1, label %inside  i32 0, label %away ]
inside:
  %ready = call i32 @settle(ptr %r, ptr %args)
  switch i32 %ready, label %leave.bad [ i32 1, label %go  i32 0, label %leave.away ]
go:
  %thread = call ptr @PyEval_SaveThread()
  call void @run(ptr %r)
  call void @PyEval_RestoreThread(ptr %thread)
  %found = call ptr @finish(ptr %r)
  call void @end.turn(ptr %leave)
  ret ptr %found
leave.away:
  call void @end.turn(ptr %leave)
  br label %away
leave.bad:
  call void @end.turn(ptr %leave)
  br label %bad
away:
{_word("not", "constants", 4)}
  call void @Py_IncRef(ptr %not)
  ret ptr %not
bad:
  ret ptr null
}}"""


def _call(data: int) -> str:
    """The function that Python calls."""
    return f"""
define ptr @fb_call(ptr %self, ptr %args, i64 %n) {{
entry:
  %r.at = getelementptr i8, ptr %self, i64 {data}
  %r = load ptr, ptr %r.at
{_word("constants", "r", 0)}{_word("count", "r", 6, "i64")}{_word("inside.p", "r", 17)}
{_word("enter", "r", 22)}
  %right = icmp eq i64 %n, %count
  %inside = load i64, ptr %inside.p
  %quiet = icmp eq i64 %inside, 0
  %may = and i1 %right, %quiet
  br i1 %may, label %turns, label %away
turns:
  %short = icmp eq ptr %enter, null
  br i1 %short, label %settling, label %long
settling:
  %ready = call i32 @settle(ptr %r, ptr %args)
  switch i32 %ready, label %bad [ i32 1, label %go  i32 0, label %away ]
go:
  call void @run(ptr %r)
  %found = call ptr @finish(ptr %r)
  ret ptr %found
long:
  %later = call ptr @take.turn(ptr %r, ptr %args)
  ret ptr %later
away:
{_word("not", "constants", 4)}
  call void @Py_IncRef(ptr %not)
  ret ptr %not
bad:
  ret ptr null
}}
"""
