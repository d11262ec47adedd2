"""GPU kernels through ptxas, where it is at hand (the nvidia-cuda-nvcc wheel has one).

Every family is assembled for five architectures; elementwise, reduction, row and product kernels
may spill no register.
"""

from __future__ import annotations

import re
from pathlib import Path

import flambeau as fb
import gpu_kernels as gk
import pytest
from flambeau.compiler import dtype as dt
from flambeau.compiler import node as nd
from flambeau.compiler import pipeline, request, target
from flambeau.compiler.config import override
from flambeau.compiler.dtype import DType
from flambeau.compiler.launch import Fill, Host, Launch, Repeat
from flambeau.compiler.node import Node

from program_generator import Programs

ARCHITECTURES = (75, 80, 90, 100, 120)
REGISTERS = 255


def families() -> list[Node]:
    """Kernels that must not spill."""
    x, y = gk.full(512, 1000), gk.full(512, 1000)
    wide = gk.full(1 << 20)
    return [
        nd.elementwise("mul", x, nd.elementwise("tanh", y)), nd.elementwise("exp", wide),
        nd.reduce_("sum", wide, (0,)), nd.reduce_("sum", x, (0,)), nd.reduce_("max", y, (1,)),
        nd.reduce_("argmin", gk.full(300, 77), (1,)), gk.softmax(gk.full(300, 1000)),
        gk.softmax(gk.full(900, 10)), gk.softmax(gk.full(30, 9000)),
        gk.scan("cumsum", (30, 900), 1), gk.draws(5000),
        gk.product(1024, 1024, 1024), gk.product(500, 300, 200), gk.layer(60, 784, 500),
        gk.update(500, 60, 784), gk.product(300, 200, 100, dt.float64),
        gk.product(256, 256, 256, dt.float16), gk.product(256, 256, 256, dt.bfloat16),
        gk.convolution((60, 16, 14, 14), (32, 16, 5, 5)), gk.product(1, 800, 500),
        gk.scattered("add", (70000,), 60000)]  # sorted by the whole device


@pytest.mark.parametrize("sm", ARCHITECTURES)
def test_no_kernel_spills(sm: int, tmp_path: Path,
                          record_property: pytest.RecordProperty) -> None:
    _, ptx = gk.build(families(), sm)
    assert f".target sm_{sm}" in ptx
    used = gk.assemble(ptx, sm, tmp_path)
    assert len(used) >= 20
    with override(tf32=True):
        turned = gk.full(1, 512, 512), nd.permute(gk.full(1, 512, 512), (0, 2, 1))
        _, ptx = gk.build([nd.node("dot", dt.float32, (1, 512, 512), turned[::step])
                           for step in (1, -1)], sm, 8)
    used |= {f"tf32 {name}": use for name, use in gk.assemble(ptx, sm, tmp_path).items()}
    for name, use in used.items():
        record_property(f"sm_{sm} {name}", str(use))
        assert use.spills == 0 and use.registers <= REGISTERS, (name, use)
        assert use.registers <= 128 or "contract" not in name, (name, use)  # two blocks at once


@pytest.mark.parametrize("sm", ARCHITECTURES)
def test_products_of_8_bytes_do_not_spill(sm: int, tmp_path: Path) -> None:
    """Two blocks a multiprocessor left them 128 registers of the 150 that they take."""
    _, ptx = gk.build([gk.product(3, 4, 5, dt.float64), gk.product(3, 2, 2, dt.int64)], sm)
    used = gk.assemble(ptx, sm, tmp_path)
    assert len(used) == 2 and all(use.spills == 0 for use in used.values()), used


@pytest.mark.parametrize("sm", ARCHITECTURES)
def test_small_tiles_of_odd_lines_do_not_spill(sm: int, tmp_path: Path) -> None:
    """Nor do they where registers come between device memory and shared memory (sm_75)."""
    _, ptx = gk.build([gk.product(70, 200, 5, batch=2)], sm)
    used = gk.assemble(ptx, sm, tmp_path)
    assert len(used) == 2 and all(use.spills == 0 for use in used.values()), used


@pytest.mark.parametrize("sm", (75, 120))
def test_the_other_families(sm: int, tmp_path: Path) -> None:
    roots = [gk.scattered(how, (50, 64), 300, (64,)) for how in ("set", "add", "max")]
    roots += [gk.scattered("add", (7, 9), 500), gk.scattered("set", (70000,), 8, dtype=dt.int64),
              gk.convolution((2, 4, 9, 9), (6, 2, 3, 3), 2, 1, 2, 1, 2),
              gk.product(40, 30, 20, dt.bool_), gk.product(40, 5000, 20, dt.int64),
              nd.concat([gk.full(30, 7), gk.full(30, 90)], 1)]
    _, ptx = gk.build(roots, sm)
    gk.assemble(ptx, sm, tmp_path)


def test_random_programs(tmp_path: Path) -> None:
    for seed in range(8):
        _, ptx = gk.build(Programs(seed).graph(6), 90)
        gk.assemble(ptx, 90, tmp_path)


# -- what the text must and must not have ----------------------------------------------------------


def test_neighbours_are_loaded_as_vectors() -> None:
    x = gk.full(1 << 20)
    _, ptx = gk.build([nd.elementwise("mul", x, x)], 80)
    assert "ld.global.nc.v4.b32" in ptx and "st.global.v4.b32" in ptx
    half = gk.full(1 << 20, dtype=dt.float16)
    _, ptx = gk.build([nd.elementwise("mul", half, half)], 80)
    assert re.search(r"ld\.global\.nc\.(v2\.b32|b64|v4\.b16)", ptx)


def test_tiles_are_loaded_as_vectors() -> None:
    _, ptx = gk.build([gk.product(512, 512, 512)], 75)
    assert ptx.count("ld.global.nc.v4.b32") >= 4
    _, ptx = gk.build([gk.product(512, 512, 512, dt.float16)], 80, 8)
    assert ptx.count("cp.async.cg.shared.global") >= 4 and "mma.sync.aligned.m16n8k16" in ptx
    _, ptx = gk.build([gk.product(510, 511, 509)], 75)
    assert "ld.global.nc.v4" not in ptx
    _, ptx = gk.build([gk.product(510, 511, 509)], 80)
    assert "cp.async.ca.shared.global [%r" in ptx and "cp.async.cg" not in ptx


def test_an_odd_row_of_a_view_is_not_loaded_as_vectors() -> None:
    x = nd.slice_(gk.full(1 << 10, 1001), (0, 1), (1 << 10, 1000), (1, 1))
    _, ptx = gk.build([nd.elementwise("mul", x, x)], 80)
    assert ".v4" not in ptx


def test_indices_have_32_bits_where_sizes_allow() -> None:
    x = gk.full(300, 7, 11)
    _, ptx = gk.build([nd.elementwise("add", nd.permute(x, (2, 0, 1)),
                                      nd.const(dt.float32, 1, (11, 300, 7)))], 80)
    assert not re.search(r"(div|rem|mul\.lo)\.[us]64", ptx)


@pytest.mark.parametrize("dtype", (dt.float16, dt.bfloat16, dt.float32, dt.float64, dt.int32),
                         ids=lambda d: d.name)
def test_no_library_is_called(dtype: DType) -> None:
    """Every function of the module is in the module: no libdevice, no libm."""
    _, ptx = gk.build(gk.everything(dtype), 75)
    assert ".extern" not in ptx
    called = set(re.findall(r"call\.uni[^;]*?\b(\w+),\s*\(", ptx))
    assert all(name.startswith("fb_") for name in called), called


# -- steps -----------------------------------------------------------------------------------------


def test_a_scatter_that_sets_starts_from_an_empty_table() -> None:
    program, _ = gk.build([gk.scattered("set", (50, 3), 400, (3,))], 80)
    fill = next(s for s in program.steps if isinstance(s, Fill))
    assert (fill.value, fill.nbytes) == (255, 200)
    assert [type(s).__name__ for s in program.steps] == ["Copy", "Fill", "Launch", "Launch"]


def test_a_host_routine_is_declared() -> None:
    x = gk.full(7, 7)
    power = nd.node("extern", x.dtype, x.shape, (x,), ("linalg.expm", ()))
    program, _ = gk.build([nd.elementwise("add", power, power)], 80)
    host = next(s for s in program.steps if isinstance(s, Host))
    assert host.extern.name == program.kernels[0].name == "linalg.expm"


def test_work_after_a_failure_leaves_inputs_alone() -> None:
    """A kernel that overwrites an input asks the error word first."""
    base, where = gk.full(50), gk.full(90, dtype=dt.int64)
    found = nd.reduce_("sum", nd.node("gather", dt.float32, (90,), (base, where)), (0,))
    new = nd.elementwise("mul", base, nd.elementwise("exp", nd.expand(found, base.shape)))
    goal = target.nvptx(80)
    program, ir = pipeline.build_gpu(request.prepare([new], {new: base}), goal)
    last = program.steps[-1]
    assert isinstance(last, Launch) and 0 in last.arguments and program.alias == [0]
    assert re.search(r"stop\d+:\n  ret void", ir)


def test_grids_follow_the_machine() -> None:
    x = gk.full(1 << 20)
    small, _ = gk.build([nd.elementwise("exp", x)], 80, 2)
    large, _ = gk.build([nd.elementwise("exp", x)], 80, 100)
    grids = [s.grid[0] for p in (small, large) for s in p.steps if isinstance(s, Launch)]
    assert grids[0] == 16 and grids[0] < grids[1] <= 800


def test_a_loop_is_repeated_steps() -> None:
    total, rows = fb.scan(lambda c, x: (c + x, c * x), fb.zeros(5), fb.ones(3, 5))
    program, _ = gk.build([total.storage().node, rows.storage().node], 80)
    loop = next(s for s in program.steps if isinstance(s, Repeat))
    assert loop.count == 3 and len(loop.carries) == 1 and len(loop.rows) == 2
    assert all(isinstance(s, Launch) for s in loop.steps) and len(loop.results) == 1
