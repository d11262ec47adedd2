"""The elementary functions: every bound, every special value, every width, and PTX.

A screen in long double (or SciPy's double) picks the worst of many thousand points; mpmath decides
about those and a few random ones.
"""

from __future__ import annotations

import ctypes
import functools
import math
import shutil
import subprocess

import llvmlite.binding as llvm
import mpmath
import numpy as np
import pytest
import scipy.special
from flambeau.compiler.codegen import maths, philox
from flambeau.compiler.codegen.emit import I64, PTR, Function, Module, Type, Value, const, make_type

DTYPES = {"float": np.float32, "double": np.float64}
LANES = {"float": 16, "double": 8}
WIDE = np.longdouble
NAMES = list(maths.FUNCTIONS)
both = pytest.mark.parametrize("scalar", ["float", "double"])
each = pytest.mark.parametrize("name", NAMES)


# -- the harness: a function over arrays -----------------------------------------------------------
def loop_over(module: Module, symbol: str, type: Type, sources: int, targets: int, body) -> None:
    """symbol(pointers to the sources, then to the targets, n): body on every `lanes` elements."""
    params = [(f"p{i}", PTR, "") for i in range(sources + targets)] + [("n", I64, "")]
    function = Function(module, symbol, None, params)
    block, scalar, index = function.entry, type.with_lanes(1), Value(I64, "%i")
    block.branch("loop")
    block.label("loop")
    head = block.child()
    places = [block.gep(function[i], scalar, index) for i in range(sources + targets)]
    results = body(block, [block.load(type, p, type.bits // 8) for p in places[:sources]])
    for result, place in zip(results, places[sources:]):
        block.store(result, place, type.bits // 8)
    following = block.add(index, const(I64, type.lanes))
    # a body may have made blocks of its own: ours ends in one with a name
    block.branch("next")
    block.label("next")
    head.line(f"%i = phi i64 [ 0, %entry ], [ {following.text}, %next ]")
    block.branch_if(block.cmp("ult", following, function[sources + targets]), "loop", "done")
    block.label("done")
    function.ret(block)
    function.finish()


def function_module(module: Module, name: str, type: Type) -> None:
    loop_over(module, f"run_{name}_{type.mangled}", type, maths.FUNCTIONS[name], 1,
              lambda block, args: [maths.call(block, name, *args)])


def host_machine() -> llvm.TargetMachine:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    target = llvm.Target.from_default_triple()
    return target.create_target_machine(cpu=llvm.get_host_cpu_name(), opt=2,
                                        features=llvm.get_host_cpu_features().flatten())


_engines = []


def jit(module: Module, symbol: str, pointers: int):
    machine = host_machine()
    parsed = llvm.parse_assembly(str(module))
    parsed.verify()
    builder = llvm.create_pass_builder(machine, llvm.PipelineTuningOptions(speed_level=2))
    builder.getModulePassManager().run(parsed, builder)
    engine = llvm.create_mcjit_compiler(parsed, machine)
    engine.finalize_object()
    _engines.append((engine, builder))
    kind = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * pointers, ctypes.c_int64)
    return kind(engine.get_function_address(symbol))


@functools.cache
def compiled(name: str, scalar: str, lanes: int):
    """The function over arrays, `lanes` elements at a time."""
    module, type = Module(name), make_type(scalar, lanes)
    function_module(module, name, type)
    run = jit(module, f"run_{name}_{type.mangled}", maths.FUNCTIONS[name] + 1)

    def apply(*args: np.ndarray) -> np.ndarray:
        count = -(-args[0].size // lanes) * lanes
        padded = [np.concatenate([a, np.ones(count - a.size, a.dtype)]) for a in args]
        out = np.empty(count, padded[0].dtype)
        run(*[a.ctypes.data for a in padded], out.ctypes.data, count)
        return out[:args[0].size]
    return apply


def evaluate(name: str, scalar: str, *args) -> np.ndarray:
    """The vector variant's result, after checking that one lane gives the same bits."""
    args = [np.ascontiguousarray(a, DTYPES[scalar]) for a in args]
    y = compiled(name, scalar, LANES[scalar])(*args)
    one = compiled(name, scalar, 1)(*args)
    bits = np.uint32 if scalar == "float" else np.uint64
    same = (y.view(bits) == one.view(bits)) | (np.isnan(y) & np.isnan(one))
    assert same.all(), f"{name}: one lane differs at {[a[~same][:3] for a in args]}"
    return y


# -- references ------------------------------------------------------------------------------------
def log1p_exp(a):
    return np.log1p(np.exp(-a))


def logaddexp(a, b):
    equal = a == b
    gap = np.where(equal, 0, np.abs(a - np.where(equal, 0, b)))
    return np.where(a > b, a, b) + log1p_exp(np.where(np.isnan(a + b) & ~equal, a - b, gap))


def sigmoid(x):
    e = np.exp(-np.abs(x))
    return np.where(x < 0, e, 1) / (1 + e)


SCREEN = {
    "sigmoid": sigmoid, "softplus": lambda x: np.where(x > 0, x, 0) + log1p_exp(np.abs(x)),
    "logaddexp": logaddexp, "rsqrt": lambda x: 1 / np.sqrt(x), "pow": np.power,
    "asin": np.arcsin, "acos": np.arccos, "atan": np.arctan, "atan2": np.arctan2,
    "asinh": np.arcsinh, "acosh": np.arccosh, "atanh": np.arctanh,
    "erf": scipy.special.erf, "erfc": scipy.special.erfc, "lgamma": scipy.special.gammaln,
    "digamma": scipy.special.digamma,
}
DOUBLE_ONLY = ("erf", "erfc", "lgamma", "digamma")

def c_fmod(x: mpmath.mpf, y: mpmath.mpf) -> mpmath.mpf:
    """The C library's, which is exact."""
    return mpmath.mpf(math.fmod(float(x), float(y)))


EXACT = {
    "exp2": lambda x: mpmath.power(2, x), "sigmoid": lambda x: 1 / (1 + mpmath.exp(-x)),
    "softplus": lambda x: max(x, 0) + mpmath.log1p(mpmath.exp(-abs(x))), "fmod": c_fmod,
    "logaddexp": lambda a, b: max(a, b) + mpmath.log1p(mpmath.exp(-abs(a - b))),
    "log2": lambda x: mpmath.log(x, 2), "rsqrt": lambda x: 1 / mpmath.sqrt(x),
    "pow": mpmath.power, "cbrt": lambda x: mpmath.sign(x) * mpmath.cbrt(abs(x)),
    "lgamma": lambda x: mpmath.log(abs(mpmath.gamma(x))) if x < 0 else mpmath.loggamma(x).real,
}


def screen(name: str, *args: np.ndarray) -> np.ndarray:
    """A reference of a few digits more (for double's special functions: as many)."""
    wide = np.float64 if name in DOUBLE_ONLY or name == "fmod" else WIDE
    with np.errstate(all="ignore"):
        return SCREEN.get(name, getattr(np, name, None))(*[a.astype(wide) for a in args])


def unit(y: np.ndarray, scalar: str) -> np.ndarray:
    """The unit in the last place of y, in long double."""
    digits, least = (24, -149) if scalar == "float" else (53, -1074)
    _, exponent = np.frexp(y)
    return np.ldexp(WIDE(1), np.maximum(exponent - digits, least))


def scale_of(name: str, args: list, y):
    """The number whose unit measures the error: the result but where it is a difference."""
    if name == "logaddexp":
        return max(abs(y), abs(max(args)), mpmath.log1p(mpmath.exp(-abs(args[0] - args[1]))))
    if name == "lgamma" and args[0] < 0:
        return max(abs(y), abs(EXACT["lgamma"](-args[0])), 1)
    if name == "digamma" and args[0] < 0:
        return max(abs(y), abs(mpmath.pi / mpmath.tan(mpmath.pi * args[0])), 1)
    return abs(y)


def exact_error(name: str, scalar: str, args: list[float], got: float) -> float:
    """The error of one result in ulp, by mpmath; an overflow counts as the power of two above."""
    digits, least, top = (24, -149, 128) if scalar == "float" else (53, -1074, 1024)
    with mpmath.workprec(200):
        numbers = [mpmath.mpf(float(a)) for a in args]
        y = EXACT.get(name, getattr(mpmath, name, None))(*numbers)
        limit = mpmath.mpf(2) ** top
        y = max(-limit, min(limit, y))
        mine = mpmath.mpf(float(got)) if math.isfinite(got) else math.copysign(1, got) * limit
        _, exponent = mpmath.frexp(scale_of(name, numbers, y))
        ulp = mpmath.ldexp(1, min(max(exponent - digits, least), top - digits))
        return float(abs(mine - y) / ulp)


# -- arguments -------------------------------------------------------------------------------------
COUNT = 3000


def patterns(scalar: str, rng: np.random.Generator) -> np.ndarray:
    bits = np.uint32 if scalar == "float" else np.uint64
    return rng.integers(0, np.iinfo(bits).max, COUNT, bits).view(DTYPES[scalar])


def arguments(scalar: str, rng: np.random.Generator) -> np.ndarray:
    """All exponents, near 0, near 1, near the ends of exp's range, near multiples of pi/2."""
    sign = rng.choice([-1, 1], COUNT)
    digits, edges = (23, (88, 104, 128, 150)) if scalar == "float" else (52, (709, 745, 1024, 1075))
    spread = 2.0 ** rng.uniform(-digits, 2, COUNT)
    parts = [rng.uniform(-2, 2, COUNT), rng.uniform(-30, 30, COUNT), sign * (1 + spread),
             sign * 2.0 ** rng.uniform(-40, 40, COUNT), rng.uniform(0.5, 12, COUNT),
             sign * (rng.choice(edges, COUNT) + rng.uniform(-1, 1, COUNT)),
             sign * np.rint(2.0 ** rng.uniform(0, 50, COUNT)) * (math.pi / 2),
             sign * np.rint(2.0 ** rng.uniform(0, 16, COUNT)) * (math.pi / 2)]
    return np.concatenate([patterns(scalar, rng), *(p.astype(DTYPES[scalar]) for p in parts)])


def pairs(name: str, scalar: str, rng: np.random.Generator) -> list[np.ndarray]:
    """Any two numbers, two of like size, and for pow exponents that keep the result finite."""
    top = 80 if scalar == "float" else 700
    base = 2.0 ** rng.uniform(-top, top, COUNT)
    near_one = 1 + 2.0 ** rng.uniform(-20, -1, COUNT) * rng.choice([-1, 1], COUNT)
    goal = rng.uniform(-1.1 * top, 1.1 * top, COUNT)
    if name == "pow":
        parts = [(base, goal / np.log(base)), (near_one, goal / np.log(near_one)),
                 (-rng.uniform(0, 9, COUNT), np.rint(rng.uniform(-40, 40, COUNT)))]
    else:
        sizes = 2.0 ** rng.uniform(-20, 20, (2, COUNT))
        parts = [(base * rng.choice([-1, 1], COUNT), base * sizes[0]), (sizes[0], -sizes[1]),
                 (-sizes[0], -sizes[1])]
    parts += [tuple(rng.normal(size=(2, COUNT))), (patterns(scalar, rng), patterns(scalar, rng))]
    return [np.concatenate([p[i].astype(DTYPES[scalar]) for p in parts]) for i in (0, 1)]


@each
@both
def test_bounds(name: str, scalar: str) -> None:
    """No error above the stated bound; zeros, infinities and NaN where the reference has them."""
    rng = np.random.default_rng(7)
    args = pairs(name, scalar, rng) if maths.FUNCTIONS[name] == 2 else [arguments(scalar, rng)]
    if name in ("lgamma", "digamma"):  # mpmath and SciPy are slow or lost at large negative ones
        args = [args[0][(args[0] > -30) & ~((args[0] < 0) & (args[0] > -1e-300))]]
    y, reference = evaluate(name, scalar, *args), screen(name, *args)
    assert (np.isnan(y) == np.isnan(reference)).all()
    with np.errstate(all="ignore"):
        rounded = reference.astype(DTYPES[scalar])
        error = np.abs(y - reference) / unit(reference, scalar)
    equal = (y == rounded) & ((y == 0) | ~np.isfinite(y)) | np.isnan(y)
    error = np.where(equal, 0, np.where(np.isfinite(error), error, 1e30))
    chosen = np.concatenate([np.argsort(-error)[:15], rng.integers(0, y.size, 25)])
    for i in chosen:
        point = [float(a[i]) for a in args]
        if not equal[i] and math.isfinite(point[0]):
            error_there = exact_error(name, scalar, point, y[i])
            assert error_there <= bound_at(name, scalar, point[0]), (point, y[i], error_there)


def bound_at(name: str, scalar: str, x: float) -> float:
    table = maths.BOUNDS_BELOW_0 if x < 0 and name in maths.BOUNDS_BELOW_0 else maths.BOUNDS
    return table[name][scalar == "double"]


def test_bounds_are_good_enough() -> None:
    assert set(maths.BOUNDS) == set(maths.FUNCTIONS)
    for name, (single, double) in maths.BOUNDS.items():
        assert single <= 2.0 and double <= 4.0, name


# -- special values --------------------------------------------------------------------------------
INF, NAN = math.inf, math.nan
SPECIAL = {  # arguments, then results; NaN gives NaN everywhere and is added to all
    "exp": ([0, -0.0, INF, -INF], [1, 1, INF, 0]),
    "exp2": ([0, -0.0, INF, -INF, 10, -3], [1, 1, INF, 0, 1024, 0.125]),
    "expm1": ([0, -0.0, INF, -INF], [0, -0.0, INF, -1]),
    "sigmoid": ([0, -0.0, INF, -INF], [0.5, 0.5, 1, 0]),
    "softplus": ([INF, -INF, 1000], [INF, 0, 1000]),
    "tanh": ([0, -0.0, INF, -INF, 50], [0, -0.0, 1, -1, 1]),
    "sinh": ([0, -0.0, INF, -INF], [0, -0.0, INF, -INF]),
    "cosh": ([0, -0.0, INF, -INF], [1, 1, INF, INF]),
    "log": ([0, -0.0, 1, INF, -1, -INF], [-INF, -INF, 0, INF, NAN, NAN]),
    "log2": ([0, -0.0, 1, INF, -1, -INF, 8], [-INF, -INF, 0, INF, NAN, NAN, 3]),
    "log10": ([0, -0.0, 1, INF, -1, -INF, 1000], [-INF, -INF, 0, INF, NAN, NAN, 3]),
    "log1p": ([0, -0.0, -1, INF, -2, -INF], [0, -0.0, -INF, INF, NAN, NAN]),
    "sin": ([0, -0.0, INF, -INF], [0, -0.0, NAN, NAN]),
    "cos": ([0, -0.0, INF, -INF], [1, 1, NAN, NAN]),
    "tan": ([0, -0.0, INF, -INF], [0, -0.0, NAN, NAN]),
    "asin": ([0, -0.0, 1.5, -1.5, INF], [0, -0.0, NAN, NAN, NAN]),
    "acos": ([1, 1.5, -1.5, INF], [0, NAN, NAN, NAN]),
    "atan": ([0, -0.0, INF, -INF], [0, -0.0, math.pi / 2, -math.pi / 2]),
    "asinh": ([0, -0.0, INF, -INF], [0, -0.0, INF, -INF]),
    "acosh": ([1, INF, 0.5, -2, -INF], [0, INF, NAN, NAN, NAN]),
    "atanh": ([0, -0.0, 1, -1, 2, -INF], [0, -0.0, INF, -INF, NAN, NAN]),
    "erf": ([0, -0.0, INF, -INF], [0, -0.0, 1, -1]),
    "erfc": ([0, -0.0, INF, -INF, 1000], [1, 1, 0, 2, 0]),
    "lgamma": ([0, -0.0, 1, 2, INF, -INF, -3], [INF, INF, 0, 0, INF, INF, INF]),
    "digamma": ([0, -0.0, INF, -INF, -3], [-INF, INF, INF, NAN, NAN]),
    "cbrt": ([0, -0.0, INF, -INF, 27, -8], [0, -0.0, INF, -INF, 3, -2]),
    "rsqrt": ([0, -0.0, INF, -INF, -1, 4], [INF, -INF, 0, NAN, NAN, 0.5]),
}


def assert_same(got: np.ndarray, want: np.ndarray, where: object) -> None:
    np.testing.assert_array_equal(got, want, err_msg=str(where))
    sure = ~np.isnan(want)
    np.testing.assert_array_equal(np.signbit(got[sure]), np.signbit(want[sure]), str(where))


@pytest.mark.parametrize("name", [n for n in NAMES if maths.FUNCTIONS[n] == 1])
@both
def test_special_values(name: str, scalar: str) -> None:
    args, want = SPECIAL[name]
    y = evaluate(name, scalar, [*args, NAN])
    assert_same(y, np.array([*want, NAN], DTYPES[scalar]), (name, args))


ODD_IN_THE_SMALL = ("expm1", "log1p", "sin", "tan", "asin", "atan", "sinh", "tanh", "asinh",
                    "atanh")


@pytest.mark.parametrize("name", ODD_IN_THE_SMALL)
@both
def test_denormals_pass(name: str, scalar: str) -> None:
    """A function like x near 0 returns a denormal unharmed."""
    least = np.finfo(DTYPES[scalar]).smallest_subnormal
    x = np.array([least, 3 * least, 12345 * least, np.finfo(DTYPES[scalar]).tiny])
    assert_same(evaluate(name, scalar, [*x, *-x]), np.array([*x, *-x], DTYPES[scalar]), name)


CORNERS = np.array([0.0, -0.0, INF, -INF, NAN, 1, -1, 2, -2, 3, -3, 0.5, -0.5, -2.5, 1e30, -1e30])


@pytest.mark.parametrize("name", ["atan2", "hypot", "fmod", "pow", "logaddexp"])
@both
def test_special_pairs(name: str, scalar: str) -> None:
    """All pairs of corner cases against NumPy's double precision, which is C99's."""
    a, b = (c.ravel().astype(DTYPES[scalar]) for c in np.meshgrid(CORNERS, CORNERS))
    y = evaluate(name, scalar, a, b)
    with np.errstate(all="ignore"):
        numpy_name = {"pow": "power", "atan2": "arctan2"}.get(name, name)
        want = getattr(np, numpy_name)(a.astype(np.float64), b.astype(np.float64))
        want = want.astype(DTYPES[scalar])
    ordinary = np.isfinite(want) & (want != 0)
    tolerance = 0 if name == "fmod" else 2 * np.spacing(np.abs(want[ordinary]))
    assert (np.abs(y[ordinary] - want[ordinary]) <= tolerance).all()
    assert_same(y[~ordinary], want[~ordinary], name)


def test_pow_by_the_standard() -> None:
    """C99 F.9.4.4, line by line."""
    table = [
        (0, -3, INF), (-0.0, -3, -INF), (0, -2, INF), (-0.0, -2, INF), (-0.0, -2.5, INF),
        (0, 3, 0), (-0.0, 3, -0.0), (-0.0, 2, 0), (-0.0, 2.5, 0), (-1, INF, 1), (-1, -INF, 1),
        (1, NAN, 1), (1, INF, 1), (NAN, 0, 1), (NAN, -0.0, 1), (INF, 0, 1), (-2, 0.5, NAN),
        (0.5, -INF, INF), (-0.5, -INF, INF), (2, -INF, 0), (-2, -INF, 0), (0.5, INF, 0),
        (2, INF, INF), (-2, INF, INF), (-INF, -3, -0.0), (-INF, -2, 0), (-INF, -2.5, 0),
        (-INF, 3, -INF), (-INF, 2, INF), (-INF, 2.5, INF), (INF, -1, 0), (INF, 1, INF),
        (NAN, 1, NAN), (2, NAN, NAN), (-1, NAN, NAN), (0, INF, 0), (0, -INF, INF), (3, 4, 81),
        (10, 2, 100), (-3, 3, -27), (2, 100, 2.0 ** 100), (7, 1, 7), (4, 0.5, 2)]
    x, y, want = np.array(table).T
    for scalar in DTYPES:
        assert_same(evaluate("pow", scalar, x, y), want.astype(DTYPES[scalar]), table)


# -- other widths and machines ---------------------------------------------------------------------
@pytest.mark.parametrize("lanes", [2, 4, 32])
def test_other_widths(lanes: int) -> None:
    x = arguments("float", np.random.default_rng(1))
    for name in ("tanh", "sin", "log1p"):
        np.testing.assert_array_equal(compiled(name, "float", lanes)(x), evaluate(name, "float", x))


def test_each_function_is_written_once() -> None:
    module, type = Module("once"), make_type("float", 4)
    loop_over(module, "f", type, 1, 1,
              lambda block, args: [maths.call(block, "exp", maths.call(block, "exp", args[0]))])
    assert str(module).count("define internal") == 1


def test_wrong_calls_are_refused() -> None:
    block = Function(Module("wrong"), "f", None, []).entry
    with pytest.raises(KeyError, match="no function"):
        maths.call(block, "sine", const(make_type("float"), 1.0))
    with pytest.raises(TypeError, match="expected 2"):
        maths.call(block, "pow", const(make_type("float"), 1.0))
    with pytest.raises(TypeError, match="float or double"):
        maths.call(block, "exp", const(make_type("i32"), 1))


def test_ptx(tmp_path) -> None:
    """Every function assembles for a GPU, and calls nothing outside the module."""
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    module = Module("ptx", "nvptx64-nvidia-cuda")
    for name in NAMES:
        for scalar in DTYPES:
            function_module(module, name, make_type(scalar))
    target = llvm.Target.from_triple("nvptx64-nvidia-cuda")
    machine = target.create_target_machine(cpu="sm_75", features="+ptx63", opt=2)
    parsed = llvm.parse_assembly(str(module))
    builder = llvm.create_pass_builder(machine, llvm.PipelineTuningOptions(speed_level=2))
    builder.getModulePassManager().run(parsed, builder)
    ptx = machine.emit_assembly(parsed)
    for word in (".extern", ".approx", ".ftz"):
        assert word not in ptx
    if shutil.which("ptxas"):
        (tmp_path / "maths.ptx").write_text(ptx)
        done = subprocess.run(["ptxas", "-arch=sm_75", "-O1", "-c", "maths.ptx", "-o", "maths.o"],
                              cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


# -- Philox ----------------------------------------------------------------------------------------
PHILOX = [  # Random123's known answers: counter, key, result
    ([0] * 4, [0] * 2, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
    ([0xFFFFFFFF] * 4, [0xFFFFFFFF] * 2, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
    ([0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344], [0xA4093822, 0x299F31D0],
     [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1])]


@pytest.mark.parametrize("lanes", [1, 4])
def test_philox(lanes: int) -> None:
    module = Module("philox")
    loop_over(module, "run", make_type("i64", lanes), 6, 4,
              lambda block, a: philox.blocks(block, a[:4], a[4:]))
    run = jit(module, "run", 10)
    for counter, key, want in PHILOX:
        words = np.repeat(np.array([*counter, *key], np.uint64)[:, None], lanes, axis=1).copy()
        out = np.zeros((4, lanes), np.uint64)
        run(*[row.ctypes.data for row in (*words, *out)], lanes)
        np.testing.assert_array_equal(out.astype(np.uint32),
                                      np.repeat(np.array(want)[:, None], lanes, axis=1))
