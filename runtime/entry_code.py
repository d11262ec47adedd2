"""The machine code of the native entry (`entry.py`): LLVM IR that looks into Python's objects.

Between the last call of a Python function and the program's end nothing may run Python code, or
another thread could come in between: `settle` therefore begins anew after every such call.
"""

from __future__ import annotations

from flambeau.runtime import entry_looks as looks
from flambeau.runtime.entry_looks import Layout, each, slot, word

RING = 2  # results kept for reuse: the caller still holds the last one while it asks for the next
ATTEMPTS = 64  # after so many calls of Python functions it gives up


def source(layout: Layout, data: int) -> str:
    """The module's text. data: bytes from a record's start to its words.

    record: constants, bound, table, scalars, arena, program, arguments (n, where), states (n,
    where), watched (n, where), outputs (n, where), written (n, where), single, inside, renew, look,
    numbers, check, enter, leave.
    """
    return "\n".join((
        _DECLARATIONS, looks.number(), looks.argument(layout), looks.state(layout),
        looks.free(layout), looks.given(layout), looks.fits(), looks.moved(), _CALLS, _place(),
        _settle(), _bump(layout), _kept(), _finish(), _run(), _call(data)))


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
{word("turn", "o", 1, "i64")}
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
{word("address", "kept", 3, "i64")}
  %place = getelementptr i64, ptr %table, i64 %slot
  store i64 %address, ptr %place
  br label %out.next
"""
    return f"""
define internal i64 @place(ptr %r) {{
entry:
{word("constants", "r", 0)}{word("table", "r", 2)}{word("outs", "r", 12, "i64")}
{word("outputs", "r", 13)}
  br label %out.before
out.before:
{each("out", "outs", "all", body)}
all:
  ret i64 -1
}}"""


def _settle() -> str:
    """Everything before the program runs: 1 go, 0 the long way, -1 an error is set."""
    return f"""
define internal i32 @settle(ptr %r, ptr %args) {{
entry:
{word("inside", "r", 17)}{word("renew", "r", 18)}{word("look", "r", 19)}
{word("numbers", "r", 20)}
  %before = load i64, ptr %inside
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
  %threads = load i64, ptr %inside  ; a Python function may have let another one in
  %alone = icmp eq i64 %threads, %before
  br i1 %alone, label %fitting, label %away
fitting:
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


def _bump(o: Layout) -> str:
    """Raises a storage's version by one."""
    return f"""
define internal void @bump(ptr %storage) {{
entry:
{slot("old", "storage", o.version)}
  %number = call i64 @PyLong_AsLongLong(ptr %old)
  %up = add i64 %number, 1
  %new = call ptr @PyLong_FromLongLong(i64 %up)
  store ptr %new, ptr %old.at
  call void @Py_DecRef(ptr %old)
  ret void
}}"""


def _kept() -> str:
    """Where the present result of an output is kept."""
    return f"""
; What is kept of output k's present result: result, storage, node, address.
define internal ptr @kept(ptr %outputs, i64 %k) {{
entry:
  %o.at = mul i64 %k, {2 + 4 * RING}
  %o = getelementptr i64, ptr %outputs, i64 %o.at
{word("turn", "o", 1, "i64")}
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
{word("storage", "kept", 1)}
  call void @bump(ptr %storage)
  call void @Py_IncRef(ptr %result)
  %mine = getelementptr ptr, ptr %taken, i64 %take.i
  store ptr %result, ptr %mine
  br label %take.next
"""
    hand = """  %item.p = getelementptr ptr, ptr %taken, i64 %item.i
  %item.result = load ptr, ptr %item.p
  %put = call i32 @PyTuple_SetItem(ptr %tuple, i64 %item.i, ptr %item.result)
  br label %item.next
"""
    return f"""
define internal ptr @finish(ptr %r) {{
entry:
{word("scalars", "r", 3)}{word("outs", "r", 12, "i64")}{word("outputs", "r", 13)}
  %taken = alloca ptr, i64 %outs  ; a new tuple may run finalizers, and they the program
{word("written", "r", 14, "i64")}{word("storages", "r", 15)}{word("single", "r", 16, "i64")}
{word("check", "r", 21)}
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
{each("write", "written", "take.before", write)}
take.before:
{each("take", "outs", "handing", take)}
handing:
  %alone = icmp ne i64 %single, 0
  br i1 %alone, label %one, label %many
one:
  %only = load ptr, ptr %taken
  ret ptr %only
many:
  %tuple = call ptr @PyTuple_New(i64 %outs)
  %none = icmp eq ptr %tuple, null
  br i1 %none, label %bad, label %item.before
item.before:
{each("item", "outs", "all", hand)}
all:
  ret ptr %tuple
bad:
  ret ptr null
}}"""


def _run() -> str:
    """The program's call, and a turn around it for a long one."""
    program = (word("table", "r", 2) + word("scalars", "r", 3) + word("arena", "r", 4)
               + word("program", "r", 5))
    return f"""
define internal void @run(ptr %r) {{
entry:
{program}
  call void %program(ptr %table, ptr %scalars, ptr %arena)
  ret void
}}

define internal ptr @take.turn(ptr %r, ptr %args) {{
entry:
{word("constants", "r", 0)}{word("enter", "r", 22)}{word("leave", "r", 23)}
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
{word("not", "constants", 4)}
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
{word("constants", "r", 0)}{word("count", "r", 6, "i64")}{word("inside.p", "r", 17)}
{word("enter", "r", 22)}
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
{word("not", "constants", 4)}
  call void @Py_IncRef(ptr %not)
  ret ptr %not
bad:
  ret ptr null
}}
"""
