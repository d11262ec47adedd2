"""Results lie where their operands do, also those that are made of constants: every public function
that takes one of these lists of arguments on the host is asked on the GPU, then for gradients."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterator
from typing import Any

import flambeau as fb
import numpy as np
import pytest
from flambeau import fft

V = np.linspace(0.1, 0.9, 4, dtype=np.float32)
M = np.eye(4, dtype=np.float32) * 5 + V + V[:, None]
I, B = np.array([0, 2, 1, 3]), np.array([True, False, True, True])
NONE = np.zeros((0, 0), np.float32)
ARGUMENTS: list[tuple[Any, ...]] = [
    (V,), (M,), (I,), (B,), (NONE,), (V, V), (M, M), (M, V), (V, I), (B, V), (NONE, NONE), (V, 2),
    (M, 1), (M, 2, 1), (V, 0, I), (M, 0, I, M), (B, V, V), (V, V, V), (M, M, V), (V, I, 1.5),
    (M, I, 1, 0), (V, 1, 2), (M, 0, 1, 2), ([V, V],), (V, [V, V]), (V, "mean"), (V, I, V, "sum"),
    (M, 0, I[None].repeat(4, 0), M, "amax"), (V, 0.1, 0.2)]
LOCAL = {"as_tensor", "call", "derive", "floating", "inexact", "constant", "read", "arange"}
SHAPES = {"zeros", "ones", "empty", "rand", "randn", "randperm", "indices", "full", "dropout_mask"}


def functions(room: Any, names: list[str]) -> list[tuple[str, Any]]:
    """Those that a list of tensors may be given to; in-place ones mirror the others."""
    found = [(n, getattr(room, n)) for n in names if not n.startswith("_") and n not in SHAPES]
    return [(n, f) for n, f in found if inspect.isroutine(f) and not n.endswith("_")
            and n not in ("cuda", "cpu", "numpy", "compile", "save", *LOCAL)]


ROOMS = {"fb": functions(fb, dir(fb)), "linalg": functions(fb.linalg, dir(fb.linalg)),
         "fft": functions(fft, dir(fft)), "Tensor": functions(fb.Tensor, dir(fb.Tensor))}


def tensors(values: Any) -> Iterator[fb.Tensor]:
    if isinstance(values, fb.Tensor):
        yield values
    elif isinstance(values, list | tuple):
        for v in values:
            yield from tensors(v)


def placed(arguments: Any, device: str, requires: bool = False) -> list[Any]:
    """The arguments with their arrays as tensors on a device."""
    def one(a: Any) -> Any:
        if isinstance(a, list):
            return [one(x) for x in a]
        if not isinstance(a, np.ndarray):
            return a
        return fb.tensor(a, device=device, requires_grad=requires and a.dtype.kind == "f")
    return [one(a) for a in arguments]


def worked(function: Any, arguments: list[Any]) -> Any:
    """The result, or None where the arguments do not suit."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return function(*arguments)
    except Exception:
        return None


@pytest.mark.parametrize("room", ROOMS)
def test_every_function(driver: Any, room: str) -> None:
    asked = 0
    for name, function in ROOMS[room]:
        for arguments in ARGUMENTS:
            if not list(tensors(worked(function, placed(arguments, "cpu")))):
                continue
            asked += 1
            got = function(*placed(arguments, "cuda"))
            assert {t.device for t in tensors(got)} == {"cuda:0"}, (name, arguments)
    assert asked > {"fb": 1500, "linalg": 140, "fft": 60, "Tensor": 1000}[room]


@pytest.mark.parametrize("room", ("linalg", "fft"))
def test_gradients_of_host_routines(driver: Any, room: str) -> None:
    asked = 0
    for name, function in ROOMS[room]:
        for arguments in ARGUMENTS[:9]:
            if name == "geqrf":  # has no derivative
                continue
            given = placed(arguments, "cuda", requires=True)
            smooth = [t for t in tensors(worked(function, given)) if t.requires_grad
                      and t.dtype.is_inexact]
            for t in smooth[:1]:
                asked += 1
                (fb.view_as_real(t) if t.dtype.is_complex else t).sum().backward()
                gradients = [x.grad for x in tensors(given) if x.grad is not None]
                assert gradients and all(g.device == "cuda:0" for g in gradients), name
    assert asked > 20
