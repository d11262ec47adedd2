"""Orders on a GPU, executed by the emulator and compared with the reference device: by a block for
each row and by the whole device, every dtype, NaN, infinities, zeros of both signs, equals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gpu_kernels as gk
import numpy as np
import pytest
from flambeau.compiler import dtype as dt
from flambeau.compiler import node as nd
from flambeau.compiler import pipeline, request, target
from flambeau.compiler.codegen import gpu_order
from flambeau.compiler.dtype import DType
from flambeau.compiler.launch import Host, Launch
from flambeau.compiler.node import Node

from emulator import programs as emulated
from program_generator import leaf

PLAIN = (dt.int8, dt.int16, dt.int32, dt.int64, dt.uint8, dt.uint16, dt.uint32, dt.uint64,
         dt.float32, dt.float64)  # what host routines take, too


@pytest.fixture(autouse=True)
def two_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(emulated, "goal", lambda sm: target.nvptx(sm, 2))


def agree(*roots: Node) -> None:
    program, _ = pipeline.build_gpu(request.prepare(list(roots)), target.nvptx(80, 2))
    assert not [s for s in program.steps if isinstance(s, Host)]
    wrong = emulated.mismatch(list(roots))
    assert wrong is None, wrong


def routine(name: str, dtype: DType, shape: tuple[int, ...], options: Any, *src: Node) -> Node:
    return nd.node("extern", dtype, shape, src, (name, options))


def order(x: Node, axis: int, descending: bool = False) -> Node:
    return routine("argsort", dt.int64, x.shape, (axis, descending), x)


def numbers(*shape: int, dtype: DType = dt.float32) -> Node:
    """Many equals, both ends of the dtype, and what only floats have."""
    rng = np.random.default_rng(sum(shape))
    if not dtype.is_float:
        ends = np.iinfo(dtype.numpy)
        x = rng.integers(0, 5, shape).astype(dtype.numpy)
        x.flat[::7], x.flat[3::11] = ends.max, ends.min
        return leaf(x, dtype)
    x = rng.integers(-3, 4, shape) * rng.choice([1.0, 1e-30], shape)
    x.flat[::7], x.flat[::11], x.flat[::13], x.flat[1::17] = np.nan, -np.inf, -0.0, np.inf
    x.flat[2::19] = -np.nan
    return leaf(x.astype(dtype.numpy), dtype)


@pytest.mark.parametrize("dtype", PLAIN, ids=lambda d: d.name)
def test_orders_of_every_dtype(dtype: DType, monkeypatch: pytest.MonkeyPatch) -> None:
    few = numbers(3, 40, dtype=dtype)
    agree(order(few, 1), order(few, 1, True))
    if dtype in (dt.int8, dt.uint16, dt.int64, dt.float32, dt.float64):  # by the whole device
        monkeypatch.setattr(gpu_order, "IN_BLOCK", 16)
        agree(order(few, 1, dtype in (dt.float64, dt.int8)))


@pytest.mark.parametrize("shape, axis", [((1,), 0), ((2, 1, 3), 1), ((5, 600), 1), ((70, 3), 0),
                                         ((2, 33, 5), 1), ((4, 16), 1)], ids=str)
def test_a_block_sorts_a_row(shape: tuple[int, ...], axis: int) -> None:
    agree(order(numbers(*shape), axis), order(numbers(*shape), axis, True))


def test_the_whole_device_sorts_long_rows() -> None:
    """Several tiles, one row and several, along any axis; launches do not depend on values."""
    root = order(numbers(2, 2300), 1)
    program, _ = pipeline.build_gpu(request.prepare([root]), target.nvptx(80, 2))
    launches = [s for s in program.steps if isinstance(s, Launch)]
    assert len(launches) == 1 + 3 * 4 + 1 + 3 * 2 + 1 == len(program.steps)
    agree(root, order(numbers(2300, dtype=dt.int16), 0, True))


def test_values_and_statistics_are_made_from_the_order() -> None:
    x, whole = numbers(4, 90), numbers(4, 90, dtype=dt.int32)
    agree(routine("sort", dt.float32, x.shape, (1, False), x),
          routine("sort", dt.int32, x.shape, (0, True), whole), order(x, 1))
    agree(*(routine("topk", dt.int64, (4, 7), (1, 7, largest), v) for largest in (True, False)
            for v in (x, whole)), routine("kth", dt.int64, (4, 1), (1, 50), x),
          routine("kth", dt.int64, (4, 1), (1, 89), x),
          routine("kth", dt.int64, (1, 90), (0, 2), whole))


@pytest.mark.parametrize("side", ["left", "right"])
def test_places_in_sorted_rows(side: str) -> None:
    lines = np.sort(np.random.default_rng(0).integers(-9, 9, (3, 37)), 1).astype(np.float32)
    lines[:, 30:] = np.nan
    wanted = numbers(3, 20)
    line, rows = leaf(lines[0]), leaf(lines)
    one = leaf(np.arange(5) * 2, dt.int64)
    agree(routine("searchsorted", dt.int64, (3, 20), side, line, wanted),
          routine("searchsorted", dt.int64, (3, 20), side, rows, wanted),
          routine("searchsorted", dt.int64, (70,), side, one,
                  leaf(np.arange(70) - 30, dt.int64)))


@pytest.mark.parametrize("sm", (75, 80, 90, 100, 120))
def test_no_order_spills(sm: int, tmp_path: Path) -> None:
    roots = [order(numbers(5, 600), 1), order(numbers(2, 2300, dtype=dt.float64), 1),
             routine("searchsorted", dt.int64, (40,), "left", numbers(90), numbers(40))]
    _, ptx = gk.build(roots, sm)
    used = gk.assemble(ptx, sm, tmp_path)
    assert len(used) > 20 and all(use.spills == 0 for use in used.values())
