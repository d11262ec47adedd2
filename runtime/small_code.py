"""Machine code for batches of small matrices: one matrix in each lane of a vector.

A group of LANES matrices is laid out element by element, lanes innermost, and factored by plain
loops over rows and columns in which every instruction serves all lanes. Rows are exchanged by
selects, as lanes choose different pivots. For matrices so small LAPACK's calls cost more than its
arithmetic.

    i1 @small_det(ptr into, ptr a, ptr scratch, i64 n, i64 lanes)
    i1 @small_slogdet(ptr into, ptr logs, ptr a, ptr scratch, i64 n, i64 lanes)
    i1 @small_solve(ptr into, ptr a, ptr b, ptr scratch, i64 n, i64 k, i64 lanes)
    i1 @small_inv(ptr into, ptr a, ptr scratch, i64 n, i64 lanes)
    i1 @small_cholesky(ptr into, ptr a, ptr scratch, i64 n, i64 upper, i64 lanes)

each with 32 or 64 at the end of its name. Matrices follow each other in memory; `lanes` says how
many there are. False: one of them is singular or not positive definite. Scratch is for two
matrices in all lanes. Steps are those of LAPACK's getf2 and potf2.
"""

from __future__ import annotations

LANES = {32: 16, 64: 8}


def source() -> str:
    """The functions for both precisions."""
    return "".join(_module(bits) for bits in (32, 64))


def _module(bits: int) -> str:
    lanes, real = LANES[bits], "float" if bits == 32 else "double"
    names = {"BITS": str(bits), "REAL": real, "LANES": str(lanes), "VEC": f"<{lanes} x {real}>",
             "INT": f"<{lanes} x i{bits}>", "WIDE": f"<{lanes} x double>",
             "LONG": f"<{lanes} x i64>",
             "MASK": f"<{lanes} x i1>", "MARK": f"f{bits}", "BYTES": str(lanes * bits // 8)}
    text = "".join(f() for f in (_declared, _splats, _load, _store, _factor, _substitute,
                                 _determinant, _determinants, _systems, _cholesky))
    short = bits == 32
    names["SHORTEN"] = "%found = " + ("trunc $LONG %all to $INT" if short
                                      else "bitcast $LONG %all to $INT")
    names["WIDEN"] = "%found = " + ("fpext $VEC %x to $WIDE" if short
                                    else "fadd $VEC %x, splat (double -0.0)")
    names["NARROW"] = "%found = " + ("fptrunc double %x to float" if short
                                     else "fadd double %x, -0.0")
    for word, meaning in reversed(names.items()):
        text = text.replace(f"${word}", meaning)
    return text


def _for(name: str, start: str, end: str, body: str) -> str:
    """%name from start below end; code goes on behind it."""
    return f"""  br label %{name}.pre
{name}.pre:
  br label %{name}.head
{name}.head:
  %{name} = phi i64 [ {start}, %{name}.pre ], [ %{name}.up, %{name}.next ]
  %{name}.more = icmp slt i64 %{name}, {end}
  br i1 %{name}.more, label %{name}.body, label %{name}.out
{name}.body:
{body}  br label %{name}.next
{name}.next:
  %{name}.up = add i64 %{name}, 1
  br label %{name}.head
{name}.out:
"""


def _at(name: str, matrix: str, row: str, column: str, columns: str) -> str:
    """%name.at: where element (row, column) of a group lies."""
    return f"""  %{name}.line = mul i64 {row}, {columns}
  %{name}.i = add i64 %{name}.line, {column}
  %{name}.at = getelementptr $VEC, ptr %{matrix}, i64 %{name}.i
"""


def _get(name: str, matrix: str, row: str, column: str, columns: str = "%n") -> str:
    return _at(name, matrix, row, column, columns) + \
        f"  %{name} = load $VEC, ptr %{name}.at, align 64\n"


def _minus(into: str, factor: str, x: str, y: str) -> str:
    """into = x - factor * y, rounded once."""
    return (f"  %{into}.neg = fneg $VEC %{factor}\n"
            f"  %{into} = call $VEC @llvm.fma.v$LANES$MARK("
            f"$VEC %{into}.neg, $VEC %{y}, $VEC %{x})\n")


def _put(name: str, place: str) -> str:
    return f"  store $VEC %{name}, ptr %{place}.at, align 64\n"


def _declared() -> str:
    return """
declare $VEC @llvm.fma.v$LANES$MARK($VEC, $VEC, $VEC)
declare $VEC @llvm.fabs.v$LANES$MARK($VEC)
declare $VEC @llvm.sqrt.v$LANES$MARK($VEC)
declare i1 @llvm.vector.reduce.or.v$LANESi1($MASK)
"""


def _splats() -> str:
    """A whole number in all lanes; doubles."""
    return """
define internal $INT @splat$BITS(i64 %x) alwaysinline {
  %y = trunc i64 %x to i32
  %z = zext i32 %y to i64
  %wide = insertelement $LONG poison, i64 %z, i64 0
  %all = shufflevector $LONG %wide, $LONG poison, <$LANES x i32> zeroinitializer
  $SHORTEN
  ret $INT %found
}
define internal $WIDE @wide$BITS($VEC %x) alwaysinline {
  $WIDEN
  ret $WIDE %found
}
define internal $REAL @narrow$BITS(double %x) alwaysinline {
  $NARROW
  ret $REAL %found
}
"""


def _load() -> str:
    """rows x columns of every matrix, `line` and `step` elements from row to row and column to
    column, `further` to the next matrix. Lanes without a matrix get the last one."""
    lane = _for("lane", "0", "$LANES", """  %there = icmp slt i64 %lane, %last
  %m = select i1 %there, i64 %lane, i64 %last
  %start = mul i64 %m, %further
  %i.0 = add i64 %start, %row.i
  %i.1 = add i64 %i.0, %column.i
  %from = getelementptr $REAL, ptr %a, i64 %i.1
  %x = load $REAL, ptr %from
  %to = getelementptr $REAL, ptr %cell.at, i64 %lane
  store $REAL %x, ptr %to
""")
    column = _for("column", "0", "%columns", f"""  %column.i = mul i64 %column, %step
{_at("cell", "group", "%row", "%column", "%columns")}{lane}""")
    return f"""
define internal void @load$BITS(ptr noalias %group, ptr noalias %a, i64 %rows, i64 %columns,
                                i64 %line, i64 %step, i64 %further, i64 %lanes) {{
entry:
  %last = sub i64 %lanes, 1
{_for("row", "0", "%rows", "  %row.i = mul i64 %row, %line" + chr(10) + column)}  ret void
}}
"""


def _store() -> str:
    """The way back, without the lanes that have no matrix."""
    column = _for("column", "0", "%columns", f"""  %column.i = mul i64 %column, %step
{_at("cell", "group", "%row", "%column", "%columns")}
  %from = getelementptr $REAL, ptr %cell.at, i64 %lane
  %x = load $REAL, ptr %from
  %i.0 = add i64 %start, %row.i
  %i.1 = add i64 %i.0, %column.i
  %to = getelementptr $REAL, ptr %a, i64 %i.1
  store $REAL %x, ptr %to
""")
    row = _for("row", "0", "%rows", "  %row.i = mul i64 %row, %line\n" + column)
    return f"""
define internal void @store$BITS(ptr noalias %group, ptr noalias %a, i64 %rows, i64 %columns,
                                 i64 %line, i64 %step, i64 %further, i64 %lanes) {{
entry:
{_for("lane", "0", "%lanes", "  %start = mul i64 %lane, %further" + chr(10) + row)}  ret void
}}
"""


def _exchange(name: str, matrix: str, columns: str) -> str:
    """Rows %k and %i of the lanes in %mask change places."""
    body = _get(f"{name}.x", matrix, "%k", f"%{name}", columns) \
        + _get(f"{name}.y", matrix, "%i", f"%{name}", columns) + f"""
  %{name}.up.x = select $MASK %mask, $VEC %{name}.y, $VEC %{name}.x
  %{name}.up.y = select $MASK %mask, $VEC %{name}.x, $VEC %{name}.y
  store $VEC %{name}.up.x, ptr %{name}.x.at, align 64
  store $VEC %{name}.up.y, ptr %{name}.y.at, align 64
"""
    return _for(name, "0", columns, body)


def _search() -> str:
    """The first row with the largest element of column %k, for every lane."""
    return _for("r", "%k.1", "%n", _get("v", "a", "%r", "%k") + """
  %size = call $VEC @llvm.fabs.v$LANES$MARK($VEC %v)
  %best.r = load $VEC, ptr %best, align 64
  %pivot.r = load $INT, ptr %pivot, align 64
  %larger = fcmp ogt $VEC %size, %best.r
  %number = call $INT @splat$BITS(i64 %r)
  %best.new = select $MASK %larger, $VEC %size, $VEC %best.r
  %pivot.new = select $MASK %larger, $INT %number, $INT %pivot.r
  store $VEC %best.new, ptr %best, align 64
  store $INT %pivot.new, ptr %pivot, align 64
""")


def _exchanges() -> str:
    """Every row %i goes where it was chosen, in the lanes that chose it."""
    return _for("i", "%k.1", "%n", f"""  %pivot.i = load $INT, ptr %pivot, align 64
  %own = call $INT @splat$BITS(i64 %i)
  %mask = icmp eq $INT %pivot.i, %own
  %any = call i1 @llvm.vector.reduce.or.v$LANESi1($MASK %mask)
  br i1 %any, label %swap, label %kept
swap:
{_exchange("e", "a", "%n")}{_exchange("f", "b", "%m")}  br label %kept
kept:
""")


def _eliminate() -> str:
    """Row %k times a factor off every row %s below it, in both matrices."""
    rest = _for("j", "%k.1", "%n", _get("x", "a", "%k", "%j") + _get("y", "a", "%s", "%j")
                + _minus("z", "l", "y", "x") + _put("z", "y"))
    along = _for("q", "0", "%m", _get("bx", "b", "%k", "%q", "%m")
                 + _get("by", "b", "%s", "%q", "%m") + _minus("bz", "l", "by", "bx")
                 + _put("bz", "by"))
    return _for("s", "%k.1", "%n", _get("head", "a", "%s", "%k")
                     + "  %l = fdiv $VEC %head, %d\n" + rest + along)


def _factor() -> str:
    """LU with partial pivoting of a group; b (n x m) goes along. Signs of the exchanges, and 0
    in place of the sign's 1 where a pivot is 0 (`regular`)."""
    column = f"""  %k.1 = add i64 %k, 1
{_get("first", "a", "%k", "%k")}  %first.size = call $VEC @llvm.fabs.v$LANES$MARK($VEC %first)
  store $VEC %first.size, ptr %best, align 64
  %self = call $INT @splat$BITS(i64 %k)
  store $INT %self, ptr %pivot, align 64
{_search()}{_exchanges()}  %chosen = load $INT, ptr %pivot, align 64
  %moved = icmp ne $INT %chosen, %self
  %sign.old = load $VEC, ptr %sign, align 64
  %sign.neg = fneg $VEC %sign.old
  %sign.new = select $MASK %moved, $VEC %sign.neg, $VEC %sign.old
  store $VEC %sign.new, ptr %sign, align 64
{_get("d", "a", "%k", "%k")}  %zero = fcmp oeq $VEC %d, zeroinitializer
  %regular.old = load $VEC, ptr %regular, align 64
  %regular.new = select $MASK %zero, $VEC zeroinitializer, $VEC %regular.old
  store $VEC %regular.new, ptr %regular, align 64
{_eliminate()}"""
    return f"""
define internal void @factor$BITS(ptr noalias %a, ptr noalias %b, i64 %n, i64 %m, ptr noalias %sign,
                                  ptr noalias %regular) {{
entry:
  %best = alloca $VEC, align 64
  %pivot = alloca $INT, align 64
  store $VEC splat ($REAL 1.0), ptr %sign, align 64
  store $VEC splat ($REAL 1.0), ptr %regular, align 64
{_for("k", "0", "%n", column)}  ret void
}}
define internal i1 @all_regular$BITS(ptr %regular) alwaysinline {{
  %r = load $VEC, ptr %regular, align 64
  %zero = fcmp oeq $VEC %r, zeroinitializer
  %some = call i1 @llvm.vector.reduce.or.v$LANESi1($MASK %zero)
  %none = xor i1 %some, true
  ret i1 %none
}}
"""


def _substitute() -> str:
    """From the last row to the first: b becomes the solution of U x = b."""
    terms = _for("j", "%i.1", "%n", _get("u", "a", "%i", "%j") + _for(
        "q", "0", "%m", _get("x", "b", "%j", "%q", "%m") + _get("y", "b", "%i", "%q", "%m")
        + _minus("z", "u", "y", "x") + _put("z", "y")))
    divide = _for("p", "0", "%m", _get("w", "b", "%i", "%p", "%m")
                  + "  %found = fdiv $VEC %w, %d\n" + _put("found", "w"))
    return f"""
define internal void @substitute$BITS(ptr noalias %a, ptr noalias %b, i64 %n, i64 %m) {{
entry:
  %n.1 = sub i64 %n, 1
{_for("t", "0", "%n", f'''  %i = sub i64 %n.1, %t
  %i.1 = add i64 %i, 1
{terms}{_get("d", "a", "%i", "%i")}{divide}''')}  ret void
}}
"""


def _determinant() -> str:
    """The signs times the diagonal as mantissa and power of two, lane by lane; mantissa 0 where a
    matrix is singular. Infinity and NaN stay in the mantissa, numbers below the normal are raised
    first. Every mantissa is below 2, so their product stays far from the ends."""
    body = _get("d.r", "a", "%k", "%k") + """  %d = call $WIDE @wide$BITS($VEC %d.r)
  %size = call $WIDE @llvm.fabs.v$LANESf64($WIDE %d)
  %tiny = fcmp olt $WIDE %size, splat (double 0x0010000000000000)
  %raised = fmul $WIDE %d, splat (double 0x4350000000000000)
  %x = select $MASK %tiny, $WIDE %raised, $WIDE %d
  %bits = bitcast $WIDE %x to $LONG
  %e.high = lshr $LONG %bits, splat (i64 52)
  %e.low = and $LONG %e.high, splat (i64 2047)
  %odd = icmp eq $LONG %e.low, splat (i64 2047)
  %m.low = and $LONG %bits, splat (i64 -9218868437227405313)
  %m.bits = or $LONG %m.low, splat (i64 4607182418800017408)
  %m = bitcast $LONG %m.bits to $WIDE
  %m.chosen = select $MASK %odd, $WIDE %x, $WIDE %m
  %e.own = sub $LONG %e.low, splat (i64 1023)
  %e.less = sub $LONG %e.own, splat (i64 54)
  %e.true = select $MASK %tiny, $LONG %e.less, $LONG %e.own
  %e = select $MASK %odd, $LONG zeroinitializer, $LONG %e.true
  %m.old = load $WIDE, ptr %mantissa, align 64
  %m.new = fmul $WIDE %m.old, %m.chosen
  store $WIDE %m.new, ptr %mantissa, align 64
  %e.old = load $LONG, ptr %power, align 64
  %e.new = add $LONG %e.old, %e
  store $LONG %e.new, ptr %power, align 64
"""
    return f"""
define internal void @product$BITS(ptr noalias %a, i64 %n, ptr noalias %sign, ptr noalias %regular,
                                   ptr noalias %mantissa, ptr noalias %power) {{
entry:
  %sign.r = load $VEC, ptr %sign, align 64
  %regular.r = load $VEC, ptr %regular, align 64
  %sign.w = call $WIDE @wide$BITS($VEC %sign.r)
  store $WIDE %sign.w, ptr %mantissa, align 64
  store $LONG zeroinitializer, ptr %power, align 64
{_for("k", "0", "%n", body)}  %singular = fcmp oeq $VEC %regular.r, zeroinitializer
  %m.last = load $WIDE, ptr %mantissa, align 64
  %m.found = select $MASK %singular, $WIDE zeroinitializer, $WIDE %m.last
  store $WIDE %m.found, ptr %mantissa, align 64
  ret void
}}
"""


_STATE = """  %sign = alloca $VEC, align 64
  %regular = alloca $VEC, align 64
  %mantissa = alloca $WIDE, align 64
  %power = alloca $LONG, align 64
  %further = mul i64 %n, %n
  call void @load$BITS(ptr %scratch, ptr %a, i64 %n, i64 %n, i64 %n, i64 1, i64 %further,
                       i64 %lanes)
"""
_PRODUCT = """  call void @factor$BITS(ptr %scratch, ptr %scratch, i64 %n, i64 0, ptr %sign,
                         ptr %regular)
  call void @product$BITS(ptr %scratch, i64 %n, ptr %sign, ptr %regular, ptr %mantissa, ptr %power)
"""
_EACH = """  %m.at = getelementptr double, ptr %mantissa, i64 %lane
  %m = load double, ptr %m.at
  %e.at = getelementptr i64, ptr %power, i64 %lane
  %e.wide = load i64, ptr %e.at
  %to = getelementptr $REAL, ptr %into, i64 %lane
"""


def _determinants() -> str:
    det = _for("lane", "0", "%lanes", _EACH + """  %e = trunc i64 %e.wide to i32
  %scaled = call double @ldexp(double %m, i32 %e)
  %r = call $REAL @narrow$BITS(double %scaled)
  store $REAL %r, ptr %to
""")
    slogdet = _for("lane", "0", "%lanes", _EACH + """  %size = call double @llvm.fabs.f64(double %m)
  %log = call double @log(double %size)
  %e = sitofp i64 %e.wide to double
  %shift = fmul double %e, 0x3FE62E42FEFA39EF
  %both = fadd double %log, %shift
  %r = call $REAL @narrow$BITS(double %both)
  %log.to = getelementptr $REAL, ptr %logs, i64 %lane
  store $REAL %r, ptr %log.to
  %none = fcmp oeq double %m, 0.0
  %side = call double @llvm.copysign.f64(double 1.0, double %m)
  %sign.w = select i1 %none, double 0.0, double %side
  %sign.s = call $REAL @narrow$BITS(double %sign.w)
  store $REAL %sign.s, ptr %to
""")
    return f"""
define internal i1 @small_det$BITS(ptr %into, ptr %a, ptr %scratch, i64 %n, i64 %lanes) {{
entry:
{_STATE}{_PRODUCT}{det}  ret i1 true
}}
define internal i1 @small_slogdet$BITS(ptr %into, ptr %logs, ptr %a, ptr %scratch, i64 %n,
                                       i64 %lanes) {{
entry:
{_STATE}{_PRODUCT}{slogdet}  ret i1 true
}}
"""


def _systems() -> str:
    """solve and inv: b behind a in the scratch memory."""
    b = "  %b = getelementptr $VEC, ptr %scratch, i64 %further\n"
    unit = _for("row", "0", "%n", _for("column", "0", "%n", _at("x", "b", "%row", "%column", "%n")
                + """  %own = icmp eq i64 %row, %column
  %one = select i1 %own, $VEC splat ($REAL 1.0), $VEC zeroinitializer
""" + _put("one", "x")))
    done = """  call void @factor$BITS(ptr %scratch, ptr %b, i64 %n, i64 %k, ptr %sign,
                         ptr %regular)
  call void @substitute$BITS(ptr %scratch, ptr %b, i64 %n, i64 %k)
  call void @store$BITS(ptr %b, ptr %into, i64 %n, i64 %k, i64 %k, i64 1, i64 %across, i64 %lanes)
  %fine = call i1 @all_regular$BITS(ptr %regular)
  ret i1 %fine
"""
    return f"""
define internal i1 @small_solve$BITS(ptr %into, ptr %a, ptr %b.in, ptr %scratch, i64 %n, i64 %k,
                                     i64 %lanes) {{
entry:
{_STATE}{b}  %across = mul i64 %n, %k
  call void @load$BITS(ptr %b, ptr %b.in, i64 %n, i64 %k, i64 %k, i64 1, i64 %across, i64 %lanes)
{done}}}
define internal i1 @small_inv$BITS(ptr %into, ptr %a, ptr %scratch, i64 %n, i64 %lanes) {{
entry:
{_STATE}{b}  %k = add i64 %n, 0
  %across = mul i64 %n, %n
{unit}{done}}}
"""


def _cholesky() -> str:
    """L, row by row below each element of the diagonal; the upper factor is L of the transposed
    matrix, transposed."""
    square = _for("p", "0", "%j", _get("l", "scratch", "%j", "%p")
                  + "  %sum.0 = load $VEC, ptr %sum, align 64\n"
                  + _minus("sum.1", "l", "sum.0", "l")
                  + "  store $VEC %sum.1, ptr %sum, align 64\n")
    inner = _for("q", "0", "%j", _get("x", "scratch", "%i", "%q") + _get("y", "scratch", "%j", "%q")
                 + "  %rest.0 = load $VEC, ptr %sum, align 64\n"
                 + _minus("rest.1", "x", "rest.0", "y")
                 + "  store $VEC %rest.1, ptr %sum, align 64\n")
    below = _for("i", "%j.1", "%n", _get("c", "scratch", "%i", "%j")
                 + "  store $VEC %c, ptr %sum, align 64\n" + inner
                 + """  %rest = load $VEC, ptr %sum, align 64
  %quotient = fdiv $VEC %rest, %root
""" + _put("quotient", "c") + _at("z", "scratch", "%j", "%i", "%n")
                 + "  store $VEC zeroinitializer, ptr %z.at, align 64\n")
    column = f"""  %j.1 = add i64 %j, 1
{_get("d", "scratch", "%j", "%j")}  store $VEC %d, ptr %sum, align 64
{square}  %left = load $VEC, ptr %sum, align 64
  %positive = fcmp ogt $VEC %left, zeroinitializer
  %regular.old = load $VEC, ptr %regular, align 64
  %regular.new = select $MASK %positive, $VEC %regular.old, $VEC zeroinitializer
  store $VEC %regular.new, ptr %regular, align 64
  %root = call $VEC @llvm.sqrt.v$LANES$MARK($VEC %left)
{_put("root", "d")}{below}"""
    return f"""
define internal i1 @small_cholesky$BITS(ptr %into, ptr %a, ptr %scratch, i64 %n, i64 %upper,
                                        i64 %lanes) {{
entry:
  %regular = alloca $VEC, align 64
  %sum = alloca $VEC, align 64
  store $VEC splat ($REAL 1.0), ptr %regular, align 64
  %further = mul i64 %n, %n
  %turned = icmp ne i64 %upper, 0
  %line = select i1 %turned, i64 1, i64 %n
  %step = select i1 %turned, i64 %n, i64 1
  call void @load$BITS(ptr %scratch, ptr %a, i64 %n, i64 %n, i64 %line, i64 %step, i64 %further,
                       i64 %lanes)
{_for("j", "0", "%n", column)}
  call void @store$BITS(ptr %scratch, ptr %into, i64 %n, i64 %n, i64 %line, i64 %step,
                        i64 %further, i64 %lanes)
  %fine = call i1 @all_regular$BITS(ptr %regular)
  ret i1 %fine
}}
"""
