"""Products against NumPy."""

from __future__ import annotations

import flambeau as fb
import numpy as np
import pytest
from cases import ALL, array, check

SHAPES = [
    ((3, 4), (4, 5)), ((4,), (4,)), ((3, 4), (4,)), ((4,), (4, 5)), ((2, 3, 4), (4, 5)),
    ((2, 3, 4), (2, 4, 5)), ((2, 3, 4), (4,)), ((4,), (2, 4, 5)), ((2, 1, 3, 4), (5, 4, 2)),
    ((3, 4), (2, 4, 5)), ((0, 4), (4, 3)), ((3, 0), (0, 2)), ((1, 3, 4), (1, 4, 2)),
    ((1, 1), (1, 1)),
]


@pytest.mark.parametrize("left, right", SHAPES, ids=str)
def test_matmul(left, right):
    for dtype in ALL:
        a, b = array(dtype, left, 1), array(dtype, right, 2)
        expected = a @ b
        tolerance = 5e-2 if dtype == "float16" else 1e-5
        check(fb.tensor(a) @ fb.tensor(b), expected, str(expected.dtype), tolerance)
    check(fb.tensor(a) @ b, expected)
    check(a @ fb.tensor(b), expected)
    check(fb.matmul(fb.tensor(a).float(), fb.tensor(b)), expected, "float64", tolerance=1e-5)


def test_matmul_in_place():
    a = fb.eye(2) * 2
    same = a
    a @= fb.ones(2, 2)
    assert a is same and a.tolist() == [[2, 2], [2, 2]]
    with pytest.raises(ValueError, match=r"matmul: expected a product float32\(2, 2\) for @=, got "
                                         r"float32\(2, 3\)"):
        a @= fb.ones(2, 3)


def test_matmul_of_views():
    a, b = array("float64", (5, 7), 1), array("float64", (5, 6), 2)
    t, u = fb.tensor(a), fb.tensor(b)
    check(t.t() @ u, a.T @ b)
    check(t[::2, 1:].t() @ u[::2], a[::2, 1:].T @ b[::2])
    check(t.t().flip(0) @ u, a.T[::-1] @ b)


def test_torch7_family():
    a, b, m = (array("float64", s, i) for i, s in enumerate(((3, 4), (4, 5), (3, 5))))
    x, y = array("float64", (3,), 4), array("float64", (4,), 5)
    t, u, w = fb.tensor(a), fb.tensor(b), fb.tensor(m)
    check(fb.mm(t, u), a @ b)
    check(fb.mv(t, fb.tensor(y)), a @ y)
    check(fb.dot(fb.tensor(y), fb.tensor(y)), y @ y)
    check(fb.ger(fb.tensor(x), fb.tensor(y)), np.outer(x, y))
    check(fb.addmm(w, t, u), m + a @ b)
    check(fb.addmm(w, t, u, beta=0.5, alpha=2), 0.5 * m + 2 * a @ b)
    check(fb.addmm(w * np.nan, t, u, beta=0), a @ b)
    check(fb.addmv(fb.tensor(x), t, fb.tensor(y), alpha=-1), x - a @ y)
    check(fb.addr(t, fb.tensor(x), fb.tensor(y)), a + np.outer(x, y))
    p, q = array("float64", (2, 3, 4), 6), array("float64", (2, 4, 5), 7)
    check(fb.bmm(fb.tensor(p), fb.tensor(q)), p @ q)
    check(fb.baddbmm(w, fb.tensor(p), fb.tensor(q), beta=2), 2 * m + p @ q)
    check(fb.addbmm(w, fb.tensor(p), fb.tensor(q)), m + (p @ q).sum(0))
    w.addmm_(t, u, alpha=3)
    check(w, m + 3 * a @ b)
    out = fb.zeros(3, 5, dtype=fb.float64)
    assert fb.mm(t, u, out=out) is out
    check(out, a @ b)


def test_numpy_family():
    a, b = array("float64", (2, 3, 4), 1), array("float64", (4, 3, 2), 2)
    t, u = fb.tensor(a), fb.tensor(b)
    check(fb.inner(t, t), np.inner(a, a))
    check(fb.outer(t, u), np.outer(a, b))
    check(fb.vdot(t, u), np.vdot(a, b))
    check(fb.dot(t, u.permute(1, 0, 2)), np.dot(a, b.transpose(1, 0, 2)))
    check(fb.dot(t, fb.tensor(2.0)), a * 2)
    check(fb.tensordot(t, u, 1), np.tensordot(a, b.transpose(0, 1, 2), 1))
    check(fb.tensordot(t, u, ((0, 1), (2, 1))), np.tensordot(a, b, ((0, 1), (2, 1))))
    check(fb.tensordot(t, u, 0), np.tensordot(a, b, 0))
    check(fb.kron(t[0], u[0]), np.kron(a[0], b[0]))
    check(fb.cross(t[:, :, 0], t[:, :, 1]), np.cross(a[:, :, 0], a[:, :, 1]))
    check(fb.cross(t, t + 1, 1), np.cross(a, a + 1, axis=1))


@pytest.mark.parametrize("equation, shapes", [
    ("ij,jk->ik", ((2, 3), (3, 4))), ("ij,jk", ((2, 3), (3, 4))), ("ij->ji", ((2, 3),)),
    ("ij->", ((2, 3),)), ("ij->i", ((2, 3),)), ("ii->i", ((3, 3),)), ("ii", ((3, 3),)),
    ("iij->j", ((3, 3, 2),)), ("bij,bjk->bik", ((2, 3, 4), (2, 4, 5))),
    ("bhqd,bhkd->bhqk", ((2, 2, 3, 4), (2, 2, 5, 4))), ("i,j->ij", ((2,), (3,))),
    ("ij,ij->ij", ((2, 3), (2, 3))), ("ij,ij->", ((2, 3), (2, 3))), ("i,i", ((3,), (3,))),
    ("...ij,...jk->...ik", ((2, 3, 4), (4, 5))), ("...i->...", ((2, 3),)),
    ("b...,b->...", ((2, 3, 4), (2,))), ("ij,jk,kl->il", ((2, 3), (3, 4), (4, 5))),
    ("abc,cd,be->ade", ((2, 3, 4), (4, 5), (3, 6))), ("ij,kl->ijkl", ((2, 3), (2, 2))),
    ("ji,jk->ki", ((3, 2), (3, 4))), ("aab,bc->ac", ((2, 2, 3), (3, 4))),
    ("ij,j->i", ((2, 3), (1,))), ("i,ij,j->", ((2,), (2, 3), (3,)))], ids=str)
def test_einsum(equation, shapes):
    arrays = [array("float64", s, i) for i, s in enumerate(shapes)]
    tensors = [fb.tensor(a) for a in arrays]
    if equation == "ij,j->i":
        arrays[1] = np.broadcast_to(arrays[1], (3,))
    check(fb.einsum(equation, *tensors), np.einsum(equation, *arrays), tolerance=1e-12)


def test_renorm_match_cdist():
    a = array("float64", (4, 3), 1)
    t = fb.tensor(a)
    size = np.linalg.norm(a, axis=1, keepdims=True)
    check(fb.renorm(t, 2, 0, 1.0), np.where(size > 1, a / (size + 1e-7), a))
    gap = a[:, None] - a[None]
    check(fb.match(t, t, 2), 2 * (gap ** 2).sum(2))
    check(fb.cdist(t, t, 1), abs(gap).sum(2))


@pytest.mark.parametrize("dtype, limit", [("float32", 1e-5), ("float64", 1e-14)])
@pytest.mark.parametrize("m, k, n", [(61, 130, 3), (30, 128, 12), (5, 200, 70), (40, 65, 2)])
def test_a_large_matrix_and_few_columns(m, k, n, dtype, limit):
    """The few are copied so that vectors lie along k; views, batches and epilogues too."""
    rng = np.random.default_rng(m)
    a, b = rng.standard_normal((m, k)).astype(dtype), rng.standard_normal((k, n)).astype(dtype)
    wide = rng.standard_normal((2 * k, 2 * n)).astype(dtype)
    pile = rng.standard_normal((2, m, k)).astype(dtype)
    p, q, s = fb.tensor(a), fb.tensor(b), fb.tensor(pile)
    cases = [(a, b, p, q), (a, b, p, fb.tensor(b.T.copy()).T), (a, b, fb.tensor(a.T.copy()).T, q),
             (a[::-1], b[:, ::-1], p.flip(0), q.flip(1)),
             (a, wide[::2, ::2], p, fb.tensor(wide)[::2, ::2]), (pile, b, s, q),
             (pile, np.stack([b, -b]), s, fb.stack([q, -q]))]
    for x, y, t, u in cases:
        expected = x.astype(np.longdouble) @ y.astype(np.longdouble)
        for found in (t @ u, (u.mT @ t.mT).mT, fb.compile(lambda x, y: x @ y)(t, u)):
            np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=limit * k)
        np.testing.assert_allclose(((t @ u) * 2 + 1).numpy(), expected * 2 + 1, rtol=0,
                                   atol=3 * limit * k)
    a[3, 5] = np.nan
    assert np.isnan((fb.tensor(a) @ fb.tensor(b)).numpy()).sum() == n
