"""Host routines as recipes: what native code does with the matrices of a batch, one by one.

`recipe` writes one for a routine of linear.py or spectral.py, with the same results as theirs. A
program all of whose routines have recipes is one native call (recipe_code.py): it costs LAPACK's
time and no Python's. Matrices are small things by the hundred or few large ones: a batch is cut
into chunks for the pool, a single matrix is left to OpenBLAS's threads. What fails is worked out
again in Python, which knows the words for it.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from flambeau.compiler import dtype as dt
from flambeau.compiler.kernel import Extern
from flambeau.runtime import blas, cache, jit, lapack, native
from flambeau.runtime.linear import gelsd_room
from flambeau.runtime.recipe_code import HEAD, LANES, STEPS, WORDS, source
from flambeau.runtime.small_code import LANES as LANES_OF
from flambeau.runtime.spectral import gesdd_room, heevd_room

SMALL = 16  # up to this extent matrices are factored in the lanes of vectors (small_code.py)
ALONE = 200  # below this extent OpenBLAS's threads cost more than they give
MOST_CHUNKS = 16
SHARED = 200_000  # operations of a batch from which on threads are worth it

Words = list[int]


class _Recipe:
    """A recipe being written."""

    def __init__(self, dtype: Any, count: int, extent: int, operands: Sequence[int]) -> None:
        self.dtype = np.dtype(dtype)
        self.letter, self.item = lapack.letter(dtype), self.dtype.itemsize
        self.count, self.extent = count, extent
        self.whole = np.dtype(lapack.integer()).itemsize
        self.group = 1  # matrices that a step is for
        self.scratch = 0
        self.registers: list[tuple[int, int, int]] = []
        self.steps: list[Words] = []
        self.operands = [self._register(i + 2, 0, nbytes) for i, nbytes in enumerate(operands)]
        self.info = self.room(1, self.whole)
        self.result = 0  # bytes of result that are spoken for

    def _register(self, base: int, offset: int, stride: int) -> int:
        self.registers.append((base, offset, stride))
        return -len(self.registers)

    def room(self, count: int, item: int = 0) -> int:
        """Working memory for `count` elements."""
        start = self.scratch
        self.scratch += -(-max(1, count) * (item or self.item) // 64) * 64
        return self._register(0, start, 0)

    def plane(self, count: int) -> int:
        """The next of the result's planes, of `count` elements for a matrix."""
        start = self.result
        self.result += self.count * count * self.item
        return self._register(1, start, count * self.item)

    def add(self, step: str, *args: int) -> None:
        self.steps.append([STEPS.index(step), *args])

    def bits(self, step: str) -> str:
        return f"{step}{8 * self.item}"

    def small(self, step: str, *args: int, matrices: int = 1) -> bool:
        """A step for as many matrices as a vector has lanes, if they are small; it gets their
        number last, and room for `matrices` of them before the numbers in args."""
        n = self.extent
        if n > SMALL:
            return False
        self.group = LANES_OF[8 * self.item]
        places = [a for a in args if a < 0]
        room = self.room(matrices * n * n * self.group)
        self.add(self.bits(f"small_{step}"), *places, room, *args[len(places):], -(LANES + 1))
        return True

    def turn(self, into: int, source: int, rows: int, columns: int, line: int = 0) -> None:
        """rows x columns, row-major, as columns: `line` elements from one to the next."""
        if columns == 1 or (rows == 1 and line < 2):
            self.copy(into, source, rows * columns)
        else:
            self.add(self.bits("turn"), into, source, rows, columns, line or rows)

    def copy(self, into: int, source: int, count: int) -> None:
        self.add("copy", into, source, count * self.item)

    def triangle(self, into: int, source: int, rows: int, columns: int, line: int, upper: bool
                 ) -> None:
        """A triangle of rows x columns from lines of `line` elements, and zeros beside it."""
        self.add(self.bits("triangle"), into, source, rows, columns, line, int(upper))

    def call(self, routine: str, *args: Any) -> None:
        """Calls LAPACK with registers and constants; `info` comes last by itself."""
        words = [*args, self.info]
        words += [1] * (lapack.MOST - len(words))  # the lengths of texts, where they are hidden
        self.add("call", lapack.address(self.letter + routine), *words)

    def checked(self) -> None:
        self.add("check", self.info)

    def constant(self, value: Any) -> int:
        """Memory that LAPACK reads a number or a letter from."""
        return lapack.constant(value, self.letter)

    def words(self, bases: Sequence[tuple[int, int]], scratch_at: int) -> Words:
        groups = -(-self.count // self.group)
        chunks = 1
        if groups > 1 and self.count * max(self.extent, 2) ** 3 * 4 >= SHARED:
            chunks = min(MOST_CHUNKS, groups)
        single = int(self.count > 1 or self.extent < ALONE)
        head = {"count": self.count, "group": self.group, "chunks": chunks, "bases": len(bases),
                "registers": len(self.registers), "scratch": self.scratch,
                "scratch_at": scratch_at, "single": single}
        steps = [w for s in [*self.steps, [0]] for w in (*s, *[0] * (WORDS - len(s)))]
        return [*(head[name] for name in HEAD), *(w for b in bases for w in b),
                *(w for r in self.registers for w in r), *steps]

    def bytes(self) -> int:
        """Working memory of all chunks."""
        return self.scratch * min(MOST_CHUNKS, max(1, self.count))


Shape = tuple[int, ...]
Writer = Callable[[_Recipe, Any, list[Shape]], None]


# -- the routines: r, options, operands' shapes ----------------------------------------------------

def _solve(r: _Recipe, options: Any, shapes: list[Shape]) -> None:
    n, k = shapes[1][-2:]
    a, b = r.operands
    out = r.plane(n * k)
    if k <= n and r.small("solve", out, a, b, n, k, matrices=2):
        return
    factors, pivots = r.room(n * n), r.room(n, r.whole)
    r.turn(factors, a, n, n)
    x = out if k == 1 else r.room(n * k)
    r.turn(x, b, n, k)
    size = r.constant(n)
    r.call("gesv", size, r.constant(k), factors, size, pivots, x, size)
    r.checked()
    if x != out:
        r.turn(out, x, k, n)


def _inv(r: _Recipe, options: Any, shapes: list[Shape]) -> None:
    """The inverse of the transposed matrix is the transposed inverse: nothing is turned."""
    n = shapes[0][-1]
    out = r.plane(n * n)
    if r.small("inv", out, r.operands[0], n, matrices=2):
        return
    pivots, work = r.room(n, r.whole), r.room(64 * n)
    size = r.constant(n)
    r.copy(out, r.operands[0], n * n)
    r.call("getrf", size, size, out, size, pivots)
    r.checked()
    r.call("getri", size, out, size, pivots, work, r.constant(64 * n))
    r.checked()


def _factored(r: _Recipe, n: int) -> tuple[int, int]:
    """LU factors of the transposed matrix and pivots; the determinant is the same."""
    factors, pivots, size = r.room(n * n), r.room(n, r.whole), r.constant(n)
    r.copy(factors, r.operands[0], n * n)
    r.call("getrf", size, size, factors, size, pivots)
    return factors, pivots


def _det(r: _Recipe, options: Any, shapes: list[Shape]) -> None:
    n = shapes[0][-1]
    out = r.plane(1)
    if not r.small("det", out, r.operands[0], n):
        r.add(r.bits("det"), out, *_factored(r, n), r.info, n)


def _slogdet(r: _Recipe, options: Any, shapes: list[Shape]) -> None:
    n = shapes[0][-1]
    signs, logs = r.plane(1), r.plane(1)
    if not r.small("slogdet", signs, logs, r.operands[0], n):
        r.add(r.bits("slogdet"), signs, logs, *_factored(r, n), r.info, n)


def _cholesky(r: _Recipe, options: Any, shapes: list[Shape]) -> None:
    upper, n = options[1], shapes[0][-1]
    out, size = r.plane(n * n), r.constant(n)
    if r.small("cholesky", out, r.operands[0], n, int(upper)):
        return
    r.triangle(out, r.operands[0], n, n, n, upper)
    r.call("potrf", r.constant("L" if upper else "U"), size, out, size)
    r.checked()


def _lstsq(r: _Recipe, options: Any, shapes: list[Shape]) -> None:
    (m, n), k = shapes[0][-2:], shapes[1][-1]
    deep, small = max(m, n), min(m, n)
    a, b = r.operands
    out, rank, values = r.plane(n * k), r.plane(1), r.plane(small)
    matrix, x, ranks = r.room(m * n), r.room(deep * k), r.room(1, r.whole)
    r.turn(matrix, a, m, n)
    if deep > m:
        r.add("clear", x, deep * k * r.item)
    r.turn(x, b, m, k, deep)
    work, _, whole = gelsd_room(r.dtype.str, m, n, k)
    r.call("gelsd", r.constant(m), r.constant(n), r.constant(k), matrix, r.constant(m), x,
           r.constant(deep), values, r.constant(float(options[1])), ranks, r.room(work),
           r.constant(work), r.room(whole, r.whole))
    r.checked()
    r.add(r.bits("number"), rank, ranks)
    if deep == n:
        r.turn(out, x, k, n)
    else:
        packed = r.room(n * k)
        r.turn(packed, x, k, deep)
        r.copy(out, packed, n * k)


def _qr(r: _Recipe, options: Any, shapes: list[Shape]) -> None:
    (m, n), mode = shapes[0][-2:], options[1]
    small = min(m, n)
    wide = m if mode == "complete" else small
    q, upper = r.plane(0 if mode == "r" else wide * m), r.plane(n * wide)
    packed, tau = r.room(m * max(n, wide)), r.room(small)
    size = 64 * max(m, n)
    work, room = r.room(size), r.constant(size)
    rows = r.constant(m)
    r.turn(packed, r.operands[0], m, n)
    r.call("geqrf", rows, r.constant(n), packed, rows, tau, work, room)
    r.triangle(upper, packed, n, wide, m, False)
    if mode != "r":
        r.copy(q, packed, small * m)
        r.call("orgqr", rows, r.constant(wide), r.constant(small), q, rows, tau, work, room)


def _svd(r: _Recipe, options: Any, shapes: list[Shape]) -> None:
    m, n = shapes[0][-2:]
    small = min(m, n)
    tall, wide = (m, n) if options[1] else (small, small)
    u, s, vh = r.plane(m * tall), r.plane(small), r.plane(wide * n)
    _gesdd(r, "A" if options[1] else "S", m, n, s, vh, u, n, tall)


def _svdvals(r: _Recipe, options: Any, shapes: list[Shape]) -> None:
    m, n = shapes[0][-2:]
    nothing = r.room(1)
    _gesdd(r, "N", m, n, r.plane(min(m, n)), nothing, nothing, 1, 1)


def _gesdd(r: _Recipe, job: str, m: int, n: int, s: int, left: int, right: int, left_line: int,
           right_line: int) -> None:
    """Of the transposed matrix, as in spectral.py."""
    a, size = r.room(m * n), gesdd_room(r.dtype.str, job, n, m)
    r.copy(a, r.operands[0], m * n)
    columns = r.constant(n)
    r.call("gesdd", r.constant(job), columns, r.constant(m), a, columns, s, left,
           r.constant(left_line), right, r.constant(right_line), r.room(size), r.constant(size),
           r.room(8 * min(m, n), r.whole))
    r.checked()


def _eigh(r: _Recipe, options: Any, shapes: list[Shape]) -> None:
    n = shapes[0][-1]
    _syevd(r, "V", options[1], n, r.plane(n), r.plane(n * n))


def _eigvalsh(r: _Recipe, options: Any, shapes: list[Shape]) -> None:
    n = shapes[0][-1]
    _syevd(r, "N", options[1], n, r.plane(n), r.room(n * n))


def _syevd(r: _Recipe, job: str, triangle: str, n: int, values: int, vectors: int) -> None:
    work, _, whole = heevd_room(r.dtype.str, job, n)
    r.copy(vectors, r.operands[0], n * n)
    size = r.constant(n)
    r.call("syevd", r.constant(job), r.constant("U" if triangle == "L" else "L"), size, vectors,
           size, values, r.room(work), r.constant(work), r.room(whole, r.whole),
           r.constant(whole))
    r.checked()


def _eig(r: _Recipe, options: Any, shapes: list[Shape]) -> None:
    n, wanted = shapes[0][-1], options[1]
    real, imaginary, v = r.plane(n), r.plane(n), r.plane(n * n if wanted else 0)
    a, nothing, size = r.room(n * n), r.room(1), 34 * n
    r.turn(a, r.operands[0], n, n)
    columns = r.constant(n)
    r.call("geev", r.constant("N"), r.constant("V" if wanted else "N"), columns, a, columns, real,
           imaginary, nothing, r.constant(1), v if wanted else nothing, columns, r.room(size),
           r.constant(size))
    r.checked()


WRITERS: dict[str, Writer] = {
    "linalg.solve": _solve, "linalg.inv": _inv, "linalg.det": _det, "linalg.slogdet": _slogdet,
    "linalg.cholesky": _cholesky, "linalg.lstsq": _lstsq, "linalg.qr": _qr, "linalg.svd": _svd,
    "linalg.svdvals": _svdvals, "linalg.eigh": _eigh, "linalg.eigvalsh": _eigvalsh,
    "linalg.eig": _eig}


# -- a program's chain -----------------------------------------------------------------------------

class Chain:
    """The recipes of a program: `entry`(table, scalars, arena, `record`) runs all of it.

    arena_bytes: the program's and the recipes' own. Fields are addresses; the chain keeps what
    they point at.
    """

    def __init__(self, program: Any, entries: Sequence[int], recipes: Sequence[tuple[_Recipe, Any]]
                 ) -> None:
        at = -(-program.arena_bytes // 64) * 64
        self.kept = [native.words(r.words(bases, at)) for r, bases in recipes]
        self.arena_bytes = at + max(r.bytes() for r, _ in recipes)
        words = [len(recipes)]
        for entry, recipe in zip(entries, self.kept):
            words += [entry, ctypes.addressof(recipe)]
        self.held = native.words([*words, entries[-1]])
        self.record = ctypes.addressof(self.held)
        self.entry = _code().address("fb_chain")

    def run(self, table: int, scalars: int, arena: int) -> None:
        """Runs on these addresses; the status word is negative where a recipe failed."""
        _run()(table, scalars, arena, self.record)


def chain(program: Any, entries: Sequence[int]) -> Chain | None:
    """The chain of a program with these entries; None where a routine has no recipe."""
    if not program.externs or program.sizes or not blas.available():
        return None
    recipes = []
    for e in program.externs:
        bases = [_base(program, slot) for slot, _, _ in (e.result, *e.operands)]
        r = _written(e) if bases[0] not in bases[1:] else None
        if r is None or _meets(program, e):
            return None
        recipes.append((r, bases))
    return Chain(program, entries, recipes)


def _base(program: Any, slot: int) -> tuple[int, int]:
    where, place = program.slots[slot]
    if where == "arena":
        return 0, place
    return 1, place + (program.inputs if where == "output" else 0)


def _meets(program: Any, e: Extern) -> bool:
    """Whether the result may lie where an operand does: matrices are written one by one."""
    spans = []
    for slot, name, shape in (e.result, *e.operands):
        where, place = program.slots[slot]
        spans.append((where, place, math.prod(shape) * dt.by_name(name).itemsize))
    (where, start, size), *others = spans
    return any(where == w == "arena" and start < at + n and at < start + size
               for w, at, n in others)


def _written(e: Extern) -> _Recipe | None:
    writer = WRITERS.get(e.name)
    shapes = [shape for _, _, shape in e.operands]
    names = {name for _, name, _ in (*e.operands, e.result)}
    if writer is None or len(names) != 1 or 0 in [x for s in shapes for x in s] \
            or len({math.prod(s[:-2]) for s in shapes}) != 1:
        return None
    dtype = dt.by_name(names.pop()).numpy
    if dtype not in (np.float32, np.float64):
        return None
    sizes = [math.prod(s[-2:]) * dtype.itemsize for s in shapes]
    r = _Recipe(dtype, math.prod(shapes[0][:-2]), max(shapes[0][-2:]), sizes)
    try:
        writer(r, e.options, shapes)
    except LookupError:  # a library without the routine: Python says so
        return None
    return r


@lru_cache(maxsize=1)
def _run() -> Any:
    kind = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 4)
    return kind(_code().address("fb_chain"))


@lru_cache(maxsize=1)
def _code() -> jit.Code:
    text = source(8 * np.dtype(lapack.integer()).itemsize)
    return jit.load(text, cache.digest("recipes", text), jit.host_target())
