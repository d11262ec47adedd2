"""Row kernels: two rows walked together, and what follows a row's reduction."""

from __future__ import annotations

import flambeau as fb
import numpy as np
import pytest
from flambeau.runtime import pool

RNG = np.random.default_rng(7)


def product(w: fb.Tensor, x: fb.Tensor) -> fb.Tensor:
    return (w * x).sum(-1)


@pytest.mark.parametrize("rows", [1, 3, 4, 5, 6, 37, 500, 501])
@pytest.mark.parametrize("columns", [63, 64, 129, 784])
def test_pairs_of_rows_give_each_row_its_sum(rows: int, columns: int) -> None:
    w = RNG.standard_normal((rows, columns)).astype(np.float32)
    x = RNG.standard_normal(columns).astype(np.float32)
    got = product(fb.tensor(w), fb.tensor(x)).numpy()
    want = w.astype(np.float64) @ x.astype(np.float64)
    scale = np.abs(w.astype(np.float64)) @ np.abs(x.astype(np.float64))
    assert np.all(np.abs(got - want) <= 1e-6 * scale)
    alone = [product(fb.tensor(r.copy()), fb.tensor(x)).numpy() for r in w[:3]]
    assert np.allclose(got[:3], alone, rtol=1e-5, atol=1e-5)


def test_a_row_has_the_same_bits_alone_and_beside_another() -> None:
    w = RNG.standard_normal((257, 784)).astype(np.float32)
    w[1::2] = w[::2][:128]  # neighbours are alike, but for the last
    x = RNG.standard_normal(784).astype(np.float32)
    got = product(fb.tensor(w), fb.tensor(x)).numpy()
    assert np.array_equal(got[1::2], got[::2][:128])
    last = product(fb.tensor(w[::-1].copy()), fb.tensor(x)).numpy()
    assert np.array_equal(last[::-1], got)


def test_pairs_of_rows_for_any_number_of_threads() -> None:
    w = fb.tensor(RNG.standard_normal((4001, 1000)).astype(np.float32))
    x = fb.tensor(RNG.standard_normal(1000).astype(np.float32))
    found = []
    for n in (1, 2, 5):
        with pool.threads(n):
            found.append(product(w, x).numpy().tobytes())
    assert len(set(found)) == 1


def test_pairs_write_what_they_walk_and_read_what_they_wrote() -> None:
    @fb.compile
    def step(w: fb.Tensor, d: fb.Tensor, old: fb.Tensor, new: fb.Tensor
             ) -> tuple[fb.Tensor, fb.Tensor]:
        changed = w - 0.5 * d[:, None] * old
        return changed, (changed * new).sum(1)

    for rows, columns in ((8, 64), (33, 130), (101, 784)):
        w, d, old, new = (RNG.standard_normal(s).astype(np.float32)
                          for s in ((rows, columns), rows, columns, columns))
        changed, sums = step(*map(fb.tensor, (w, d, old, new)))
        want = w - 0.5 * d[:, None].astype(np.float64) * old
        assert np.allclose(changed.numpy(), want, atol=1e-5)
        assert np.allclose(sums.numpy(), want @ new, atol=1e-3)


def test_maxima_and_products_of_pairs() -> None:
    w = RNG.standard_normal((9, 200)).astype(np.float64)
    x = RNG.standard_normal(200)
    w[4, 3] = np.nan
    t = fb.tensor(w) * fb.tensor(x)
    assert np.array_equal(t.max(1).numpy(), (w * x).max(1), equal_nan=True)
    assert np.allclose(t.prod(1).numpy(), (w * x).prod(1), equal_nan=True)


def test_a_costly_epilogue_over_many_rows_is_a_kernel_of_its_own() -> None:
    @fb.compile
    def layer(w: fb.Tensor, x: fb.Tensor, b: fb.Tensor) -> fb.Tensor:
        return ((w * x).sum(1) + b).tanh()

    for rows, kernels in ((8, 1), (200, 2)):
        w, x, b = (RNG.standard_normal(s).astype(np.float32) for s in ((rows, 100), 100, rows))
        got = layer(*map(fb.tensor, (w, x, b)))
        assert np.allclose(got.numpy(), np.tanh(w @ x + b), atol=1e-5)
        assert len(layer.last.executable.program.kernels) == kernels


def test_what_other_phases_of_a_row_need_stays_inside() -> None:
    @fb.compile
    def softmax(x: fb.Tensor) -> tuple[fb.Tensor, fb.Tensor]:
        total = (x - x.max(1, keepdim=True)).exp().sum(1, keepdim=True)
        return (x - total.log()).exp(), total.log()

    x = RNG.standard_normal((64, 50)).astype(np.float32)
    rows, logs = softmax(fb.tensor(x))
    total = np.exp(x - x.max(1, keepdims=True)).sum(1, keepdims=True)
    assert np.allclose(rows.numpy(), np.exp(x - np.log(total)), rtol=1e-4)
    assert np.allclose(logs.numpy(), np.log(total), rtol=1e-5, atol=1e-6)
