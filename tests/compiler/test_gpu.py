"""GPU kernels executed by the emulator and compared with the reference device.

Shapes are picked so that every strategy of the generators runs: tiles of three sizes, parts of k,
threads, teams, columns and blocks for rows, carried scans, and the three ways of a scatter. The
machine has two multiprocessors, so that small arrays count as large.
"""

from __future__ import annotations

import flambeau as fb
import gpu_kernels as gk
import numpy as np
import pytest
from flambeau.compiler import differentiate, pipeline, request, split_scans, target
from flambeau.compiler import dtype as dt
from flambeau.compiler import node as nd
from flambeau.compiler.codegen import gpu_scatter, gpu_sort
from flambeau.compiler.config import override
from flambeau.compiler.dtype import DType
from flambeau.compiler.launch import Launch
from flambeau.compiler.node import Node
from flambeau.runtime import jit, reference
from flambeau.tensor import read

from emulator import access, faults
from emulator import programs as emulated
from emulator.machine import Machine
from program_generator import leaf

TWO = target.nvptx(80, 2)
EVERY = (dt.bool_, dt.int8, dt.int16, dt.int64, dt.uint8, dt.uint16, dt.uint32, dt.uint64,
         dt.float16, dt.bfloat16, dt.float32, dt.float64)


@pytest.fixture(autouse=True)
def two_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(emulated, "goal", lambda sm: target.nvptx(sm, 2))


def agree(*roots: Node, sm: int = 80) -> None:
    wrong = emulated.mismatch(list(roots), sm)
    assert wrong is None, wrong


def names(*roots: Node) -> list[str]:
    program, _ = pipeline.build_gpu(request.prepare(list(roots)), TWO)
    return [k.detail for k in program.kernels]


# -- elementwise -----------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(20000,), (333, 7), (16, 512), (1, 1), ()], ids=str)
def test_elementwise(shape: tuple[int, ...]) -> None:
    x, y = gk.full(*shape), gk.full(*shape)
    h, b = gk.full(*shape, dtype=dt.float16), gk.full(*shape, dtype=dt.bfloat16)
    i, m = gk.full(*shape, dtype=dt.int8), gk.full(*shape, dtype=dt.bool_)
    agree(nd.elementwise("mul", x, nd.elementwise("tanh", y)), nd.elementwise("exp", h),
          nd.elementwise("exp", b), nd.elementwise("mul", i, i), nd.elementwise("where", m, x, y))


def test_views_and_joins() -> None:
    x = gk.full(60, 90)
    one = nd.const(dt.float32, 1, (90, 60))
    agree(nd.elementwise("add", nd.permute(x, (1, 0)), one),
          nd.concat([gk.full(40, 30), gk.full(40, 6)], 1),
          nd.elementwise("exp", nd.slice_(x, (59, 3), (30, 20), (-2, 4))),
          nd.elementwise("exp", nd.pad(x, (2, 3), (70, 200), 1.5, (1, 2))), gk.draws(300))


# -- rows ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape, axes", [
    ((5, 1000), (1,)), ((3, 5000), (1,)), ((300, 37), (1,)), ((300, 37), (0,)), ((40, 33), (0,)),
    ((2, 50, 6, 7), (0, 2)), ((20000,), (0,)), ((4096, 3), (0,)), ((4, 300, 5), (1,)),
    ((2000, 4), (1,)), ((12, 70), (1,))], ids=str)
def test_reductions(shape: tuple[int, ...], axes: tuple[int, ...]) -> None:
    x = gk.full(*shape)
    roots = [nd.reduce_(op, x, axes) for op in ("sum", "max", "prod")]
    if len(axes) == 1:
        roots += [nd.reduce_(op, x, axes) for op in ("argmin", "argmax")]
    agree(*roots)


@pytest.mark.parametrize("dtype", EVERY, ids=lambda d: d.name)
def test_reductions_of_every_dtype(dtype: DType) -> None:
    x = gk.full(7, 130, dtype=dtype)
    agree(*(nd.reduce_(op, x, (axis,)) for op in ("sum", "max", "min", "prod", "argmax", "argmin")
            for axis in (0, 1)))


def test_nan_and_infinity_in_rows() -> None:
    rows = [[1, np.nan, 3, -np.inf] * 50, [0.0, -0.0, 1, 2] * 50, [-np.inf] * 200]
    x = leaf(np.array(rows, np.float32))
    agree(*(nd.reduce_(op, x, (1,)) for op in ("sum", "max", "min", "argmax", "argmin")))


@pytest.mark.parametrize("shape", [(9, 10), (9, 100), (5, 1000), (3, 3000)], ids=str)
def test_rows_of_several_phases(shape: tuple[int, ...]) -> None:
    x = gk.full(*shape)
    mean = nd.elementwise("mul", nd.reduce_("sum", x, (1,)),
                          nd.const(dt.float32, 1 / shape[1], (shape[0], 1)))
    off = nd.elementwise("sub", x, nd.expand(mean, shape))
    spread = nd.reduce_("sum", nd.elementwise("mul", off, off), (1,))
    agree(gk.softmax(x), nd.elementwise("div", off, nd.expand(nd.elementwise("sqrt", spread),
                                                              shape)), spread)


def test_reductions_have_the_same_bits_on_any_grid() -> None:
    """Which blocks run is the machine's matter, what each adds is not."""
    x = gk.full(40, 700)
    found = []
    for processors in (1, 200):
        goal = target.nvptx(80, processors)
        program, ir = pipeline.build_gpu(request.prepare([nd.reduce_("sum", x, (1,))]), goal)
        run = emulated.Run(Machine(sm=80), program, jit.ptx(ir, goal), [])
        found.append(bytes(run.run([x.arg.array(np.uint8, (x.nbytes,))])[0]))
    assert found[0] == found[1]


@pytest.mark.parametrize("op", ["cumsum", "cumprod", "cummax", "cummin"])
def test_scans(op: str) -> None:
    agree(*(gk.scan(op, shape, axis) for shape, axis in (
        ((3, 700), 1), ((300, 20), 0), ((5, 30), 1), ((1000,), 0), ((2, 300, 3), 1))))


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_running_products_are_made_in_order(dtype: str) -> None:
    """No product that begins within a row overflows where what comes before it is zero."""
    large = {"float32": 1e20, "float64": 1e200, "float16": 1e4}[dtype]
    a = np.full((3, 700), large)
    a[0, 0], a[1, 1:3], a[1, 300:], a[2, ::2] = 0, 1 / large, 1 / large, 1 / large
    x = fb.tensor(a).to(dtype=dtype)
    (got,) = emulated.evaluate([read(x.cumprod(1))])
    np.testing.assert_array_equal(got, x.cumprod(1).numpy())
    assert not got[0].any() and np.isfinite(got[2]).all()


def test_scans_of_other_dtypes() -> None:
    agree(*(gk.scan(op, (3, 300), 1, d) for op in ("cumsum", "cummax")
            for d in (dt.float64, dt.float16, dt.bfloat16, dt.int64, dt.bool_, dt.int8)))


@pytest.mark.parametrize("op", ["cumsum", "cumprod", "cummax", "cummin"])
def test_long_scans_are_cut_into_pieces(op: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole and odd pieces, pieces of pieces, any axis; floats' products stay one block's."""
    monkeypatch.setattr(split_scans, "PIECE", 128)
    kinds = (dt.float32, dt.float16, dt.int64) if op != "cumprod" else (dt.int64, dt.uint8)
    roots = [gk.scan(op, (2, 300), 1, d) for d in kinds]
    assert sum("scan" in k.kind for k in pipeline.build_gpu(
        request.prepare(roots[:1]), TWO)[0].kernels) == 2
    agree(*roots, gk.scan(op, (300, 3), 0, dt.int32), gk.scan(op, (128 * 300,), 0, dt.int64))
    assert len(names(gk.scan("cumprod", (2, 300), 1))) == 1


@pytest.mark.parametrize("op", ["cumsum", "cummax", "cummin"])
def test_nan_and_infinity_in_long_scans(op: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(split_scans, "PIECE", 128)
    x = np.random.default_rng(0).normal(size=(4, 700)).astype(np.float32)
    x[0, 300], x[1, 200], x[2, 130:132] = np.nan, np.inf, (np.inf, -np.inf)
    x[3] = -0.0
    agree(nd.node(op, dt.float32, x.shape, (leaf(x),), 1))


# -- products --------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch, m, k, n, said", [
    (1, 20, 40, 30, "blocks of 32 x 32"), (1, 33, 40, 70, "blocks of 64 x 64"),
    (2, 64, 17, 64, "blocks of 64 x 64"),
    (1, 250, 24, 260, "blocks of 128 x 128"), (1, 30, 400, 20, "parts of k"),
    (1, 1, 100, 300, "sum"), (1, 300, 100, 1, "sum"), (1, 50, 1, 60, "mul")], ids=str)
def test_products(batch: int, m: int, k: int, n: int, said: str) -> None:
    root = gk.product(m, k, n, batch=batch)
    assert said in names(root)[0]
    agree(root)


@pytest.mark.parametrize("dtype", EVERY, ids=lambda d: d.name)
def test_products_of_every_dtype(dtype: DType) -> None:
    agree(gk.product(35, 50, 33, dtype))


@pytest.mark.parametrize("dtype", (dt.float16, dt.bfloat16), ids=lambda d: d.name)
def test_products_on_tensor_cores(dtype: DType) -> None:
    roots = [gk.product(250, 40, 260, dtype), gk.product(64, 33, 70, dtype, 2),
             gk.convolution((2, 16, 9, 9), (24, 16, 3, 3), dtype=dtype)]
    unit = "half" if dtype is dt.float16 else "bfloat"
    assert all(f"{unit} tensor cores" in d for d in names(*roots))
    assert "tensor" not in pipeline.build_gpu(request.prepare(roots), target.nvptx(75))[
        0].kernels[0].detail
    agree(*roots)


def turned(m: int, k: int, n: int, how: str, dtype: DType = dt.float32) -> Node:
    """A product whose operands lie along k or along their lines: how is two of n (plain), t."""
    def operand(rows: int, columns: int, turn: str) -> Node:
        if turn == "n":
            return gk.full(1, rows, columns, dtype=dtype)
        return nd.permute(gk.full(1, columns, rows, dtype=dtype), (0, 2, 1))
    return nd.node("dot", dtype, (1, m, n), (operand(m, k, how[0]), operand(k, n, how[1])))


@pytest.mark.parametrize("how", ["nn", "nt", "tn", "tt"])
def test_tiles_come_by_asynchronous_copies(how: str) -> None:
    """Any way the operands lie, k with a rest, k cut; both tiles, odd lines, single elements."""
    agree(turned(130, 72, 136, how), turned(30, 200, 35, how), turned(40, 50, 36, how, dt.float64),
          turned(144, 104, 136, how, dt.float16), turned(33, 200, 35, how, dt.bfloat16))
    with override(tf32=True):
        wide = [turned(m, k, n, how) for m, k, n in ((144, 56, 136), (33, 90, 35))]
        for root, found in zip(wide, emulated.evaluate(wide)):
            assert np.abs(found - reference.evaluate([root])[0]).max() < 100 * 2.0 ** -11
    agree(turned(70, 40, 33, how), sm=75)


def halves(cut: tuple[str, str] = ("", "")) -> float:
    """A product of 16-bit floats whose PTX is changed: how far it is from right."""
    root = turned(64, 200, 64, "nt", dt.float16)
    asked = request.prepare([root])
    program, ir = pipeline.build_gpu(asked, TWO)
    ptx = jit.ptx(ir, TWO)
    assert "cp.async.cg.shared.global" in ptx and "ldmatrix.sync.aligned.m8n8.x4" in ptx
    assert cut[0] in ptx
    run = emulated.Run(Machine(sm=80), program, ptx.replace(*cut) if cut[0] else ptx, [])
    (found,) = run.run([n.arg.array(np.uint8, (n.nbytes,)) for n in asked.leaves])
    off = found.view(np.float16).reshape(root.shape) - reference.evaluate([root])[0]
    return float(np.abs(off).max())


def test_a_wait_or_barrier_left_out_of_a_product_is_caught() -> None:
    assert halves() < 1e-2
    with pytest.raises(faults.Uninitialised, match=r"of shared memory at .* was never written"):
        halves(("cp.async.wait_group \t2", "cp.async.wait_group \t3"))
    with pytest.raises(faults.Race, match="are not ordered by a barrier"):
        halves(("bar.sync \t0;", ""))


@pytest.mark.parametrize("how", ["nn", "tt"])
def test_matrices_are_read_without_bank_conflicts(how: str, monkeypatch: pytest.MonkeyPatch
                                                  ) -> None:
    """The eight rows of a matrix lie in eight different parts of the banks' 128 bytes."""
    seen = []
    touch = access.Locator.touch

    def watch(self: access.Locator, m: object, held: object, at: np.ndarray, *rest: object
              ) -> None:
        if self.ins.opcode[0] == "ldmatrix":
            parts = np.sort(at.reshape(-1, 8) % 128 // 16, 1)
            seen.append((parts == np.arange(8)).all())
        touch(self, m, held, at, *rest)  # type: ignore[arg-type]
    monkeypatch.setattr(access.Locator, "touch", watch)
    agree(turned(130, 40, 130, how, dt.float16), turned(64, 40, 64, how, dt.float16))
    assert len(seen) > 8 and all(seen)


def test_tf32_is_asked_for_and_rounds_to_eleven_bits() -> None:
    root = gk.product(70, 50, 90)
    exact = reference.evaluate([root])[0]
    with override(tf32=True):
        assert "tf32 tensor cores" in names(root)[0]
        (found,) = emulated.evaluate([root])
    off = np.abs(found - exact).max()
    assert 1e-5 < off < 50 * 2.0 ** -11
    agree(root)


def test_what_is_fused_with_a_product() -> None:
    roots = [gk.layer(60, 30, 50), gk.update(50, 30, 40)]
    assert all("fused" in d for d in names(*roots))
    agree(*roots)


@pytest.mark.parametrize("x, w, options", [
    ((2, 3, 17), (8, 3, 5), {}), ((3, 4, 12, 13), (8, 4, 3, 3), {"pad": 1}),
    ((2, 4, 12, 13), (8, 2, 3, 5), {"groups": 2, "stride": 2, "pad": 2, "dilation": 2}),
    ((1, 2, 6, 7, 8), (4, 2, 3, 2, 3), {"pad": 1, "spread": 2}),
    ((2, 3, 9, 9), (8, 3, 3, 3), {"dtype": dt.bfloat16})], ids=str)
def test_convolutions(x: tuple[int, ...], w: tuple[int, ...], options: dict[str, int]) -> None:
    agree(gk.convolution(x, w, **options))  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", (dt.float32, dt.float16), ids=lambda d: d.name)
def test_a_convolution_and_both_its_gradients_are_staged(dtype: DType) -> None:
    """The same kernel over other strides: tiles by asynchronous copies where words allow."""
    y = gk.convolution((4, 16, 12, 12), (24, 16, 3, 3), stride=2, pad=1, dtype=dtype)
    grads = differentiate.gradients([y], [gk.full(*y.shape, dtype=dtype)], y.src)
    roots = [y, *grads]
    program, ir = pipeline.build_gpu(request.prepare(roots), TWO)
    dense = [k for k in program.kernels if "tiled contraction" in k.detail]
    assert len(dense) == 3 and all("stages" in k.detail for k in dense)
    assert "cp.async" in ir
    agree(*roots)


# -- scatters --------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["set", "add", "mul", "max", "min"])
def test_scatters(how: str) -> None:
    agree(gk.scattered(how, (50,), 300), gk.scattered(how, (20, 3), 200, (3,)),
          gk.scattered(how, (20, 40), 90, (40,)), gk.scattered(how, (7, 8, 5), 70, (5,)),
          gk.scattered(how, (30, 600), 20, (600,)))


@pytest.mark.parametrize("way", ["walk", "search", "sorted"])
def test_every_way_to_combine(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ways a scatter may run, whatever their times; sorted also beyond shared memory."""
    monkeypatch.setattr(gpu_scatter, "strategy", lambda n, goal: way)
    agree(gk.scattered("add", (50,), 300), gk.scattered("max", (20, 3), 700, (3,)),
          gk.scattered("add", (7, 8, 5), 70, (5,), dt.float16), gk.scattered("min", (1,), 530),
          gk.scattered("mul", (20, 3), 60, (3,)))
    monkeypatch.setattr(gpu_sort, "IN_SHARED", 64)
    agree(gk.scattered("add", (50,), 1100, dtype=dt.int64))


def test_many_keys_are_sorted_by_the_whole_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """By radix: several tiles, two and four rounds, the sums of equals in the order of indices."""
    monkeypatch.setattr(gpu_scatter, "strategy", lambda n, goal: "sorted")
    few, many = gk.scattered("add", (50,), 5000), gk.scattered("max", (300, 250), 4500)
    program, ir = pipeline.build_gpu(request.prepare([few]), TWO)
    launches = [s for s in program.steps if isinstance(s, Launch)]
    assert [s.grid[0] for s in launches[1:4]] == [3, gpu_sort.DIGITS, 3] and len(launches) == 8
    assert "vote.ballot" in ir
    agree(few, many)


def test_the_way_follows_the_sizes() -> None:
    goal = target.nvptx(80, 100)
    found = [gpu_scatter.strategy(gk.scattered(how, base, count, rest), goal) for how, base, count,
             rest in (("add", (9000, 800), 20, (800,)), ("add", (10,), 5000, ()),
                      ("add", (3000, 8), 4000, (8,)), ("set", (3000, 8), 4000, (8,)))]
    assert found == ["walk", "search", "sorted", "owners"]


@pytest.mark.parametrize("dtype", EVERY, ids=lambda d: d.name)
def test_scatters_of_every_dtype(dtype: DType) -> None:
    agree(*(gk.scattered(how, (10,), 100, dtype=dtype) for how in ("set", "add", "max")))


@pytest.mark.parametrize("how", ["set", "add", "gather"])
def test_an_index_out_of_range_is_an_error(how: str) -> None:
    where = leaf(np.array([0, 3, 99] * 30), dt.int64)
    if how == "gather":
        root = nd.node("gather", dt.float32, (90,), (gk.full(50), where))
    else:
        root = nd.node("scatter", dt.float32, (50,), (gk.full(50), gk.full(90), where), how)
    with pytest.raises(IndexError, match=f"{root.op}: expected indices below 50 along"):
        emulated.evaluate([root])


def test_an_input_survives_a_failure() -> None:
    """The update of a donated input is skipped when an index before it was out of range."""
    base, where = gk.full(50), leaf(np.array([0, 3, 99] * 30), dt.int64)
    found = nd.reduce_("sum", nd.node("gather", dt.float32, (90,), (base, where)), (0,))
    new = nd.elementwise("mul", base, nd.elementwise("exp", nd.expand(found, base.shape)))
    asked = request.prepare([new], {new: base})
    program, ir = pipeline.build_gpu(asked, TWO)
    machine = Machine(sm=80)
    run = emulated.Run(machine, program, jit.ptx(ir, TWO), [])
    given = [n.arg.array(np.uint8, (n.nbytes,)) for n in asked.leaves]
    with pytest.raises(IndexError):
        run.run(given)
    held = run.bytes(run.places[program.slots.index(("input", asked.leaves.index(base)))], 200)
    assert bytes(held) == bytes(given[asked.leaves.index(base)])
    assert reference.evaluate([base])[0].shape == (50,)
