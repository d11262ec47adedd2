"""The machine code that follows recipes (recipes.py): programs with LAPACK in them, without Python.

    void fb_chain(ptr table, ptr scalars, ptr arena, ptr chain)

runs a program's entries and, between them, its recipes. chain: the number of recipes, then entry,
recipe, entry, recipe, ..., entry as addresses. Where recipe i fails the status word becomes
-(i + 1) and the rest is left.

A recipe: HEAD words, then its bases (1 and a place in the table, or 0 and an offset in the arena),
then its registers (base, offset, bytes from matrix to matrix), then its steps of WORDS words. Step
by step it is followed for every matrix of the batch; base 0 is the working memory, of which every
chunk of the batch has its own.
"""

from __future__ import annotations

from flambeau.runtime import small_code
from flambeau.runtime.lapack import MOST

# words of a recipe's head, in order
HEAD = ("count", "group", "chunks", "bases", "registers", "scratch", "scratch_at", "single")
WORDS = 32  # of a step: its code, then its arguments
STEPS = ("end", "copy", "clear", "turn32", "turn64", "triangle32", "triangle64", "call", "check",
         "det32", "det64", "slogdet32", "slogdet64", "number32", "number64", *(
             f"small_{name}{bits}" for name in ("det", "slogdet", "solve", "inv", "cholesky")
             for bits in (32, 64)))
LANES = 63  # the register that says how many matrices a step is for, where it is for several


def source(integer: int) -> str:
    """The module; integer: the bits of LAPACK's integers."""
    moves = "".join(f(bits) for f in (_turn, _triangle) for bits in (32, 64))
    reals = "".join(f(bits, real, integer) for f in (_det, _slogdet, _number)
                    for bits, real in ((32, "float"), (64, "double")))
    return "".join([_DECLARED, small_code.source(), moves, reals, _call(), _follow(integer), _RUN,
                    _CHAIN])


def _loop(name: str, before: str, count: str, body: str, after: str) -> str:
    """%name from 0 below count; the body ends in a branch to %name.next."""
    return f"""  br label %{name}.head
{name}.head:
  %{name} = phi i64 [ 0, %{before} ], [ %{name}.up, %{name}.next ]
  %{name}.more = icmp slt i64 %{name}, {count}
  br i1 %{name}.more, label %{name}.body, label %{after}
{name}.body:
{body}{name}.next:
  %{name}.up = add i64 %{name}, 1
  br label %{name}.head
"""


def _turn(bits: int) -> str:
    """Transposes rows x columns into lines of `line` elements; in strips of 8 rows, so that both
    sides are walked by whole cache lines."""
    i = f"i{bits}"
    turn = _loop("column", "strip.body", "%columns", f"""
{_loop("row", "column.body", "%high", f'''  %from.row = add i64 %start, %row
  %from.line = mul i64 %from.row, %columns
  %from.i = add i64 %from.line, %column
  %from = getelementptr {i}, ptr %source, i64 %from.i
  %value = load {i}, ptr %from, align 4
  %to.line = mul i64 %column, %line
  %to.i = add i64 %to.line, %from.row
  %to = getelementptr {i}, ptr %into, i64 %to.i
  store {i} %value, ptr %to, align 4
  br label %row.next
''', "column.next")}""", "strip.next")
    return f"""
define internal void @turn{bits}(ptr %into, ptr noalias %source, i64 %rows, i64 %columns,
                                 i64 %line) {{
entry:
  %more = add i64 %rows, 7
  %strips = sdiv i64 %more, 8
{_loop("strip", "entry", "%strips", f'''  %start = mul i64 %strip, 8
  %left = sub i64 %rows, %start
  %short = icmp slt i64 %left, 8
  %high = select i1 %short, i64 %left, i64 8
{turn}''', "out")}out:
  ret void
}}
"""


def _triangle(bits: int) -> str:
    """Copies a triangle of rows x columns from lines of `line` elements, and zeros beside it."""
    i = f"i{bits}"
    triangle = _loop("column", "row.body", "%columns", f"""
  %d = sub i64 %column, %row
  %below = icmp sle i64 %d, 0
  %above = icmp sge i64 %d, 0
  %is.upper = icmp ne i64 %upper, 0
  %kept = select i1 %is.upper, i1 %above, i1 %below
  %from.i = add i64 %from.line, %column
  %from = getelementptr {i}, ptr %source, i64 %from.i
  %value = load {i}, ptr %from, align 4
  %chosen = select i1 %kept, {i} %value, {i} 0
  %to.i = add i64 %to.line, %column
  %to = getelementptr {i}, ptr %into, i64 %to.i
  store {i} %chosen, ptr %to, align 4
  br label %column.next
""", "row.next")
    return f"""
define internal void @triangle{bits}(ptr %into, ptr %source, i64 %rows, i64 %columns, i64 %line,
                                     i64 %upper) {{
entry:
{_loop("row", "entry", "%rows", f'''  %from.line = mul i64 %row, %line
  %to.line = mul i64 %row, %columns
{triangle}''', "out")}out:
  ret void
}}
"""


def _pivot(bits: int, real: str, integer: int) -> str:
    """Element %row of the diagonal of LU factors, as a double, and whether the row was swapped."""
    widen = "" if bits == 64 else "  %d = fpext float %d.n to double\n"
    d = "%d" if bits == 64 else "%d.n"
    return f"""  %at.i = mul i64 %row, %further
  %at = getelementptr {real}, ptr %factors, i64 %at.i
  {d} = load {real}, ptr %at
{widen}  %pivot.at = getelementptr i{integer}, ptr %pivots, i64 %row
  %pivot.l = load i{integer}, ptr %pivot.at
  %pivot = sext i{integer} %pivot.l to i65
  %place = add i64 %row, 1
  %own = sext i64 %place to i65
  %swapped = icmp ne i65 %pivot, %own
"""


def _narrowed(bits: int) -> tuple[str, str]:
    """Code that rounds the double %wide to the real type, and the name of what it gives."""
    if bits == 64:
        return "", "%wide"
    return "  %wide.n = fptrunc double %wide to float\n", "%wide.n"


def _det(bits: int, real: str, integer: int) -> str:
    """The determinant from LU factors and pivots; info says whether a pivot is 0. A product that
    leaves the range of numbers halfway comes back to it: exponents are counted apart."""
    pivot, (narrow, wide) = _pivot(bits, real, integer), _narrowed(bits)
    return f"""
define internal void @det{bits}(ptr %into, ptr %factors, ptr %pivots, ptr %info, i64 %n) {{
entry:
  %exponent = alloca i32
  %product = alloca double
  %power = alloca i64
  %singular.n = load i{integer}, ptr %info
  %singular = icmp ne i{integer} %singular.n, 0
  %first = select i1 %singular, double 0.0, double 1.0
  store double %first, ptr %product
  store i64 0, ptr %power
  %rows = select i1 %singular, i64 0, i64 %n
  %further = add i64 %n, 1
{_loop("row", "entry", "%rows", f'''{pivot}  %opposite = fneg double %d
  %factor = select i1 %swapped, double %opposite, double %d
  %before = load double, ptr %product
  %mantissa = call double @frexp(double %factor, ptr %exponent)
  %e.1 = load i32, ptr %exponent
  %times = fmul double %before, %mantissa
  %scaled = call double @frexp(double %times, ptr %exponent)
  %e.2 = load i32, ptr %exponent
  store double %scaled, ptr %product
  %e.both = add i32 %e.1, %e.2
  %e.wide = sext i32 %e.both to i64
  %power.before = load i64, ptr %power
  %power.now = add i64 %power.before, %e.wide
  store i64 %power.now, ptr %power
  br label %row.next
''', "out")}out:
  %found = load double, ptr %product
  %e.all = load i64, ptr %power
  %e.low = call i64 @llvm.smax.i64(i64 %e.all, i64 -100000)
  %e.high = call i64 @llvm.smin.i64(i64 %e.low, i64 100000)
  %e = trunc i64 %e.high to i32
  %wide = call double @ldexp(double %found, i32 %e)
{narrow}  store {real} {wide}, ptr %into
  ret void
}}
"""


def _slogdet(bits: int, real: str, integer: int) -> str:
    """The determinant's sign and the logarithm of its magnitude."""
    pivot, (narrow, wide) = _pivot(bits, real, integer), _narrowed(bits)
    return f"""
define internal void @slogdet{bits}(ptr %into, ptr %log.into, ptr %factors, ptr %pivots, ptr %info,
                                    i64 %n) {{
entry:
  %sign = alloca {real}
  %total = alloca double
  %singular.n = load i{integer}, ptr %info
  %singular = icmp ne i{integer} %singular.n, 0
  %first = select i1 %singular, {real} 0.0, {real} 1.0
  %log.first = select i1 %singular, double 0xFFF0000000000000, double 0.0
  store {real} %first, ptr %sign
  store double %log.first, ptr %total
  %rows = select i1 %singular, i64 0, i64 %n
  %further = add i64 %n, 1
{_loop("row", "entry", "%rows", f'''{pivot}  %negative = fcmp olt double %d, 0.0
  %turns = xor i1 %negative, %swapped
  %sign.before = load {real}, ptr %sign
  %sign.other = fneg {real} %sign.before
  %sign.now = select i1 %turns, {real} %sign.other, {real} %sign.before
  store {real} %sign.now, ptr %sign
  %size = call double @llvm.fabs.f64(double %d)
  %log = call double @log(double %size)
  %before = load double, ptr %total
  %sum = fadd double %before, %log
  store double %sum, ptr %total
  br label %row.next
''', "out")}out:
  %sign.found = load {real}, ptr %sign
  store {real} %sign.found, ptr %into
  %wide = load double, ptr %total
{narrow}  store {real} {wide}, ptr %log.into
  ret void
}}
"""


def _number(bits: int, real: str, integer: int) -> str:
    """LAPACK's integer as a number."""
    return f"""
define internal void @number{bits}(ptr %into, ptr %source) {{
  %n = load i{integer}, ptr %source
  %value = sitofp i{integer} %n to {real}
  store {real} %value, ptr %into
  ret void
}}
"""


def _word(name: str, place: int) -> str:
    """Argument `place` of a step: itself, or -(i + 1) for what register i holds."""
    return f"""  %{name} = call i64 @word(ptr %step, ptr %registers, i64 {place})
  %{name}.p = inttoptr i64 %{name} to ptr
"""


def _call() -> str:
    """The step that calls a LAPACK routine with MOST arguments, spare ones too."""
    names = [f"a{i}" for i in range(MOST)]
    words = "".join(_word(name, i + 2) for i, name in enumerate(names))
    return f"""
define internal i64 @word(ptr %step, ptr %registers, i64 %place) {{
  %at = getelementptr i64, ptr %step, i64 %place
  %raw = load i64, ptr %at
  %held = icmp slt i64 %raw, 0
  %number = xor i64 %raw, -1
  %number.0 = select i1 %held, i64 %number, i64 0
  %register = getelementptr i64, ptr %registers, i64 %number.0
  %value = load i64, ptr %register
  %found = select i1 %held, i64 %value, i64 %raw
  ret i64 %found
}}
define internal void @routine(ptr %step, ptr %registers) {{
{_word("f", 1)}{words}  call void %f.p({", ".join(f"ptr %{name}.p" for name in names)})
  ret void
}}
"""


# A step's function and its arguments: p address, w number.
_SIGNATURES = {
    "clear": "pw", "copy": "ppw", "turn": "ppwww", "triangle": "ppwwww",
    "det": "ppppw", "slogdet": "pppppw", "number": "pp",
    "small_det": "pppww", "small_slogdet": "ppppww", "small_solve": "ppppwww",
    "small_inv": "pppww", "small_cholesky": "pppwww"}


def _case(name: str) -> str:
    """The block of a step that is a function of its arguments."""
    kinds = _SIGNATURES[name.rstrip("0123456789")]
    words = "".join(_word(f"{name}.{i}", i + 1) for i in range(len(kinds)))
    given = ", ".join(f"ptr %{name}.{i}.p" if k == "p" else f"i64 %{name}.{i}"
                      for i, k in enumerate(kinds))
    what = {"copy": f"@llvm.memcpy.p0.p0.i64({given}, i1 false)",
            "clear": f"@llvm.memset.p0.i64(ptr %{name}.0.p, i8 0, i64 %{name}.1, i1 false)"}
    if name.startswith("small"):
        return f"""{name}:
{words}  %{name}.well = call i1 @{name}({given})
  br i1 %{name}.well, label %next, label %bad
"""
    return f"""{name}:
{words}  call void {what.get(name, f"@{name}({given})")}
  br label %next
"""


def _follow(integer: int) -> str:
    """Follows a recipe for matrices first to last - 1; says whether all went well."""
    simple = [s for s in STEPS if s not in ("end", "call", "check")]
    cases = "\n".join(f"    i64 {i}, label %{name}" for i, name in enumerate(STEPS) if i)
    return f"""
define internal i1 @follow(ptr %recipe, ptr %bases, i64 %first, i64 %last) {{
entry:
  %registers = alloca [64 x i64], align 64
{_heads()}  %over.bases = mul i64 %bases.n, 2
  %registers.at = add i64 %over.bases, {len(HEAD)}
  %over.registers = mul i64 %registers.n, 3
  %steps.at = add i64 %registers.at, %over.registers
  %plan = getelementptr i64, ptr %recipe, i64 %registers.at
  %steps = getelementptr i64, ptr %recipe, i64 %steps.at
  br label %matrix
matrix:
  %i = phi i64 [ %first, %entry ], [ %i.up, %end ]
  %some = icmp slt i64 %i, %last
  br i1 %some, label %fill, label %well
fill:
  %left = sub i64 %last, %i
  %lanes = call i64 @llvm.smin.i64(i64 %left, i64 %group.n)
  %lanes.at = getelementptr i64, ptr %registers, i64 {LANES}
  store i64 %lanes, ptr %lanes.at
{_registers()}go:
  br label %step.head
step.head:
  %step = phi ptr [ %steps, %go ], [ %step.up, %next ]
  %code = load i64, ptr %step
  switch i64 %code, label %end [
{cases}
  ]
{"".join(map(_case, simple))}call:
  call void @routine(ptr %step, ptr %registers)
  br label %next
check:
{_word("check.0", 1)}  %info = load i{integer}, ptr %check.0.p
  %fine = icmp eq i{integer} %info, 0
  br i1 %fine, label %next, label %bad
next:
  %step.up = getelementptr i64, ptr %step, i64 {WORDS}
  br label %step.head
end:
  %i.up = add i64 %i, %group.n
  br label %matrix
well:
  ret i1 true
bad:
  ret i1 false
}}
"""


def _registers() -> str:
    """Fills the registers for matrix %i."""
    return _loop("r", "fill", "%registers.n", '''  %r.words = mul i64 %r, 3
  %r.at = getelementptr i64, ptr %plan, i64 %r.words
  %r.base = load i64, ptr %r.at
  %r.offset.at = getelementptr i64, ptr %r.at, i64 1
  %r.offset = load i64, ptr %r.offset.at
  %r.stride.at = getelementptr i64, ptr %r.at, i64 2
  %r.stride = load i64, ptr %r.stride.at
  %base.at = getelementptr i64, ptr %bases, i64 %r.base
  %base = load i64, ptr %base.at
  %moved = mul i64 %i, %r.stride
  %r.1 = add i64 %base, %r.offset
  %r.2 = add i64 %r.1, %moved
  %r.to = getelementptr i64, ptr %registers, i64 %r
  store i64 %r.2, ptr %r.to
  br label %r.next
''', "go")


def _heads() -> str:
    lines = []
    for i, name in enumerate(HEAD):
        lines += [f"  %{name}.head.at = getelementptr i64, ptr %recipe, i64 {i}",
                  f"  %{name}.n = load i64, ptr %{name}.head.at"]
    return "\n".join(lines) + "\n"


_DECLARED = """
declare void @fb_parallel(ptr, ptr, i64)
declare i64 @fb_pool_threads()
declare void @fb_blas_enter()
declare void @fb_blas_leave()
declare double @frexp(double, ptr)
declare double @ldexp(double, i32)
declare double @log(double)
declare double @llvm.fabs.f64(double)
declare double @llvm.copysign.f64(double, double)
declare i64 @llvm.smax.i64(i64, i64)
declare i64 @llvm.smin.i64(i64, i64)
declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)
declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)
"""

# context: recipe, bases, whether something failed
_RUN = f"""
define internal void @chunk(ptr %context, i64 %number) {{
entry:
  %recipe = load ptr, ptr %context
  %bases.at = getelementptr i64, ptr %context, i64 1
  %bases = load ptr, ptr %bases.at
{_heads()}  %mine = alloca [8 x i64], align 64
  call void @llvm.memcpy.p0.p0.i64(ptr %mine, ptr %bases, i64 64, i1 false)
  %scratch.0 = load i64, ptr %bases
  %further = mul i64 %number, %scratch.n
  %scratch.1 = add i64 %scratch.0, %further
  store i64 %scratch.1, ptr %mine
  %after = add i64 %number, 1
  %whole = add i64 %count.n, %group.n
  %whole.1 = sub i64 %whole, 1
  %groups = sdiv i64 %whole.1, %group.n
  %first.m = mul i64 %groups, %number
  %last.m = mul i64 %groups, %after
  %first.g = sdiv i64 %first.m, %chunks.n
  %last.g = sdiv i64 %last.m, %chunks.n
  %first = mul i64 %first.g, %group.n
  %last.all = mul i64 %last.g, %group.n
  %last = call i64 @llvm.smin.i64(i64 %last.all, i64 %count.n)
  %well = call i1 @follow(ptr %recipe, ptr %mine, i64 %first, i64 %last)
  br i1 %well, label %out, label %bad
bad:
  %failed.at = getelementptr i64, ptr %context, i64 2
  store atomic i64 1, ptr %failed.at monotonic, align 8
  br label %out
out:
  ret void
}}
define internal i1 @run(ptr %recipe, ptr %table, ptr %arena) {{
entry:
  %context = alloca [4 x i64], align 64
  %bases = alloca [8 x i64], align 64
{_heads()}  %arena.i = ptrtoint ptr %arena to i64
  %scratch.i = add i64 %arena.i, %scratch_at.n
  store i64 %scratch.i, ptr %bases
  %places = getelementptr i64, ptr %recipe, i64 {len(HEAD)}
{_loop("b", "entry", "%bases.n", '''  %b.words = mul i64 %b, 2
  %b.at = getelementptr i64, ptr %places, i64 %b.words
  %b.kind = load i64, ptr %b.at
  %b.place.at = getelementptr i64, ptr %b.at, i64 1
  %b.place = load i64, ptr %b.place.at
  %b.listed = icmp ne i64 %b.kind, 0
  %b.to.i = add i64 %b, 1
  %b.to = getelementptr i64, ptr %bases, i64 %b.to.i
  br i1 %b.listed, label %listed, label %inside
listed:
  %b.entry = getelementptr i64, ptr %table, i64 %b.place
  %b.address = load i64, ptr %b.entry
  store i64 %b.address, ptr %b.to
  br label %b.next
inside:
  %b.in = add i64 %arena.i, %b.place
  store i64 %b.in, ptr %b.to
  br label %b.next
''', "ready")}ready:
  store ptr %recipe, ptr %context
  %bases.to = getelementptr i64, ptr %context, i64 1
  store ptr %bases, ptr %bases.to
  %failed.at = getelementptr i64, ptr %context, i64 2
  store i64 0, ptr %failed.at
  %threads = call i64 @fb_pool_threads()
  %alone = icmp slt i64 %threads, 2
  %asked = icmp ne i64 %single.n, 0
  %guarded = or i1 %alone, %asked
  br i1 %guarded, label %enter, label %work
enter:
  call void @fb_blas_enter()
  br label %work
work:
  %many = icmp sgt i64 %chunks.n, 1
  br i1 %many, label %share, label %one
share:
  call void @fb_parallel(ptr @chunk, ptr %context, i64 %chunks.n)
  br label %done
one:
  call void @chunk(ptr %context, i64 0)
  br label %done
done:
  br i1 %guarded, label %leave, label %tell
leave:
  call void @fb_blas_leave()
  br label %tell
tell:
  %failed = load atomic i64, ptr %failed.at monotonic, align 8
  %well = icmp eq i64 %failed, 0
  ret i1 %well
}}
"""

_CHAIN = f"""
define void @fb_chain(ptr %table, ptr %scalars, ptr %arena, ptr %chain) {{
entry:
  %count = load i64, ptr %chain
{_loop("i", "entry", "%count", '''  %i.words = mul i64 %i, 2
  %entry.at = getelementptr ptr, ptr %chain, i64 %i.words
  %f.at = getelementptr ptr, ptr %entry.at, i64 1
  %f = load ptr, ptr %f.at
  call void %f(ptr %table, ptr %scalars, ptr %arena)
  %recipe.at = getelementptr ptr, ptr %entry.at, i64 2
  %recipe = load ptr, ptr %recipe.at
  %well = call i1 @run(ptr %recipe, ptr %table, ptr %arena)
  br i1 %well, label %i.next, label %bad
''', "last")}last:
  %last.words = mul i64 %count, 2
  %last.i = add i64 %last.words, 1
  %last.at = getelementptr ptr, ptr %chain, i64 %last.i
  %last.f = load ptr, ptr %last.at
  call void %last.f(ptr %table, ptr %scalars, ptr %arena)
  ret void
bad:
  %status = xor i64 %i, -1
  store i64 %status, ptr %scalars
  ret void
}}
"""
