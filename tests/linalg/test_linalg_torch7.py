"""Every linear algebra case recorded from Torch7 itself, and Torch7's letters."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import flambeau as fb
import numpy as np
import pytest

_DATA = Path(__file__).parent.parent / "data"
CASES = json.loads((_DATA / "torch7_linalg.json").read_text())
_VALUES = np.load(_DATA / "torch7_linalg.npz")


def close(found: np.ndarray, wanted: np.ndarray) -> None:
    rtol = 1e-5 if wanted.dtype == np.float32 else 1e-8
    np.testing.assert_allclose(found, wanted, rtol=rtol, atol=rtol / 10)


def same_columns(found: np.ndarray, wanted: np.ndarray) -> None:
    """Equal but for the signs of columns."""
    signs = np.sign((found * wanted).sum(axis=0))
    close(found * signs, wanted)


def compare(case: Any, args: list[Any], found: list[np.ndarray], wanted: list[np.ndarray]) -> None:
    name = case["name"]
    if name == "gels":
        close(found[0], wanted[0][:args[1].shape[1]])
    elif name == "svd":
        u, s, v = found
        k = s.size
        close(s, wanted[1])
        assert u.shape == wanted[0].shape and v.shape == wanted[2].shape
        close(u[:, :k] * s @ v[:, :k].T, args[0])
        same_columns(u[:, :k], wanted[0][:, :k])
    elif name == "symeig":
        close(found[0], wanted[0])
        if len(wanted) > 1:
            same_columns(found[1], wanted[1])
    elif name == "eig":
        order = [np.lexsort(np.round(e, 6).T) for e in (found[0], wanted[0])]
        close(found[0][order[0]], wanted[0][order[1]])
        if len(wanted) > 1:
            same_columns(found[1], wanted[1])
    elif name == "qr":
        same_columns(found[0], wanted[0])
        close(found[0] @ found[1], args[0])
    elif name == "pstrf":
        close(found[0], wanted[0])
        assert (found[1] == wanted[1] - 1).all()
    else:
        for f, w in zip(found, wanted):
            close(f, w)


@pytest.mark.parametrize("case", CASES, ids=[c["id"] for c in CASES])
def test_recorded(case: Any) -> None:
    args = [_VALUES[a] if isinstance(a, str) and ":" in a else a for a in case["args"]]
    wanted = [_VALUES[r] for r in case["results"]]
    if case["name"] == "ormqr":  # Torch7 read the memory of a row-major a by columns
        args[0] = args[0].reshape(args[0].shape[::-1]).T
    found = getattr(fb, case["name"])(*args)
    results = [found] if isinstance(found, fb.Tensor) else list(found)
    compare(case, args, [t.numpy() for t in results], wanted)


def test_btrifact_and_btrisolve() -> None:
    random = np.random.default_rng(0)
    a, b = random.standard_normal((3, 4, 4)), random.standard_normal((3, 4))
    close(fb.btrisolve(b, *fb.btrifact(a)).numpy(), np.linalg.solve(a, b[..., None])[..., 0])
    close(fb.btrisolve(b[..., None], *fb.btrifact(a)).numpy(), np.linalg.solve(a, b[..., None]))


@pytest.mark.parametrize("call, text", [
    (lambda a: fb.potrf(a, "X"), r"potrf: expected triangle 'U' or 'L', got 'X'"),
    (lambda a: fb.trtrs(a, a, "U", "H"), r"trtrs: expected transpose 'N' or 'T', got 'H'"),
    (lambda a: fb.trtrs(a, a, "U", "N", "1"), r"trtrs: expected diagonal 'N' or 'U', got '1'"),
    (lambda a: fb.svd(a, "N"), r"svd: expected kind 'S' or 'A', got 'N'"),
    (lambda a: fb.symeig(a, "X"), r"symeig: expected vectors 'N' or 'V', got 'X'"),
    (lambda a: fb.eig(a, "X"), r"eig: expected vectors 'N' or 'V', got 'X'"),
    (lambda a: fb.ormqr(a, a[0], a, "X"), r"ormqr: expected side 'L' or 'R', got 'X'"),
    (lambda a: fb.gesv(a[:2], a), r"gesv: expected as many rows in b as in a, got shapes \(3, 3\) "
                                  r"and \(2, 3\)"),
    (lambda a: fb.inverse(a[:2]), r"inverse: expected square matrices"),
])
def test_errors(call: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        call(np.eye(3))


def test_eig_is_of_real_matrices() -> None:
    with pytest.raises(TypeError, match=r"eig: expected a real matrix, got complex128; linal"):
        fb.eig(np.eye(2) + 0j)
