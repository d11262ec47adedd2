"""scan and while_loop: values, gradients, nesting, compile time that does not grow."""

from __future__ import annotations

import flambeau as fb
import numpy as np
import pytest
from flambeau import realize as door


def rnn(w: fb.Tensor, xs: fb.Tensor, h: fb.Tensor) -> tuple[fb.Tensor, fb.Tensor]:
    return fb.scan(lambda c, x: ((n := fb.tanh(w @ c + x)), n * 2), h, xs)


def test_scan_values() -> None:
    rng = np.random.default_rng(0)
    w, xs = rng.standard_normal((3, 3)) * 0.3, rng.standard_normal((7, 3))
    last, ys = rnn(fb.tensor(w), fb.tensor(xs), fb.zeros(3, dtype=fb.float64))
    h, want = np.zeros(3), []
    for x in xs:
        h = np.tanh(w @ h + x)
        want.append(2 * h)
    np.testing.assert_allclose(last.numpy(), h, rtol=1e-12)
    np.testing.assert_allclose(ys.numpy(), want, rtol=1e-12)


def test_scan_reverse_length_and_nests() -> None:
    xs = fb.arange(5).float()
    total, seen = fb.scan(lambda c, x: (c + x, c), fb.tensor(0.0), xs, reverse=True)
    assert float(total) == 10 and seen.tolist() == [10, 9, 7, 4, 0]
    (a, b), ys = fb.scan(lambda c, _: ((c[1], c[0] + c[1]), c[0]),
                         (fb.tensor(0), fb.tensor(1)), length=10)
    assert ys.tolist() == [0, 1, 1, 2, 3, 5, 8, 13, 21, 34] and int(a) == 55 and int(b) == 89


def test_while_loop() -> None:
    n, steps = fb.while_loop(lambda c: c[0] != 1,
                             lambda c: (fb.where(c[0] % 2 == 0, c[0] // 2, 3 * c[0] + 1), c[1] + 1),
                             (fb.tensor(27), fb.tensor(0)))
    assert int(n) == 1 and int(steps) == 111
    limited = fb.while_loop(lambda c: c > 0, lambda c: c + 1, fb.tensor(1), limit=10)
    assert int(limited) == 11


def test_scan_gradient_matches_finite_differences() -> None:
    rng = np.random.default_rng(1)
    args = [fb.tensor(rng.standard_normal(s) * 0.5) for s in ((3, 3), (4, 3), (3,))]

    def loss(w: fb.Tensor, xs: fb.Tensor, h: fb.Tensor) -> fb.Tensor:
        last, ys = rnn(w, xs, h)
        return (last * last).sum() + ys.sum()

    assert fb.gradcheck(loss, args)
    assert fb.gradcheck(loss, args, order=2)


def test_scan_of_scan() -> None:
    def row(c: fb.Tensor, x: fb.Tensor) -> tuple[fb.Tensor, fb.Tensor]:
        return fb.scan(lambda s, e: (s + e, s), c, x)

    total, parts = fb.scan(row, fb.tensor(0.0), fb.arange(6).reshape(2, 3).float())
    assert float(total) == 15 and parts.tolist() == [[0, 0, 1], [3, 6, 10]]


def test_long_loop_is_one_small_program() -> None:
    w = fb.ones(4, 4) * 0.1
    kernels = []
    for steps in (2, 200):
        f = fb.compile(lambda xs: rnn(w, xs, fb.zeros(4))[0])
        f(fb.ones(steps, 4))
        kernels.append(len(f.last.executable.program.kernels))
    assert kernels[0] == kernels[1]


def test_errors() -> None:
    with pytest.raises(ValueError, match="expected carry 0 to stay float32"):
        fb.scan(lambda c, x: (c.double(), None), fb.tensor(0.0), fb.ones(3))
    with pytest.raises(ValueError, match="expected one length"):
        fb.scan(lambda c, x: (c, None), fb.tensor(0.0))
    with pytest.raises(TypeError, match="expected cond to give one bool"):
        fb.while_loop(lambda c: c, lambda c: c, fb.tensor(1.0))
    x = fb.tensor(1.0).requires_grad_()
    y = fb.while_loop(lambda c: c < 100, lambda c: c * 2, x * 1)
    assert float(y) == 128 and door is not None


def test_bodies_may_write_what_is_theirs() -> None:
    def body(c: fb.Tensor, x: fb.Tensor) -> tuple[fb.Tensor, fb.Tensor]:
        t = fb.zeros(3)
        t[1:] += x[1:]
        c.add_(t)
        x[0] = 5
        return c, x

    xs = fb.ones(4, 3)
    c, ys = fb.scan(body, fb.zeros(3), xs)
    assert c.tolist() == [0, 4, 4] and ys.tolist() == [[5, 1, 1]] * 4
    assert xs.tolist() == [[1] * 3] * 4


@pytest.mark.parametrize("wrap", [lambda f: f, fb.compile])
def test_writes_to_the_outside_are_refused(wrap: object) -> None:
    w = fb.ones(3)
    run = wrap(lambda xs: fb.scan(lambda c, x: (c + w.add_(x), c), fb.zeros(3), xs)[0])
    with pytest.raises(RuntimeError, match=r"scan: .* write to float32 \(3,\) from outside"):
        run(fb.ones(4, 3))
    assert w.tolist() == [1] * 3


def test_a_part_of_a_carry_is_written() -> None:
    """A region write in a body starts from the old carry, which lies elsewhere."""
    def body(c: fb.Tensor, x: fb.Tensor) -> tuple[fb.Tensor, None]:
        d = c.clone()
        d[1] = x
        return d, None

    assert fb.scan(body, fb.tensor([1.0, 2, 3]), fb.ones(2))[0].tolist() == [1, 1, 3]


def test_no_steps() -> None:
    c, ys = fb.scan(lambda c, x: (c + x, c * 2), fb.ones(3), fb.ones(0, 3))
    assert c.tolist() == [1] * 3 and ys.shape == (0, 3) and ys.tolist() == []
    slope = fb.grad(lambda w: fb.scan(lambda c, x: (c * w + x, c), fb.ones(3) * w,
                                      fb.ones(0, 3))[0].sum())(fb.tensor(2.0))
    assert float(slope) == 3
    assert int(fb.while_loop(lambda c: c < 3, lambda c: c + 1, fb.tensor(0), limit=0)) == 0


def test_random_numbers_are_new_in_every_step() -> None:
    w = fb.ones(4).requires_grad_()

    def body(c: fb.Tensor, x: fb.Tensor) -> tuple[fb.Tensor, fb.Tensor]:
        mask = (fb.rand(4) < 0.5).float()
        return c + w * mask * x, mask

    c, masks = fb.scan(body, fb.zeros(4), fb.arange(1, 41).float())
    c.sum().backward()
    fb.compute(c, masks, w.grad)
    assert len(set(map(tuple, masks.tolist()))) > 8
    np.testing.assert_allclose(w.grad.numpy(), (masks.numpy() * np.arange(1, 41)[:, None]).sum(0))
    inner = lambda c, x: (c, fb.rand(1))  # noqa: E731
    nested = fb.scan(lambda c, x: (c, fb.scan(inner, c, length=3)[1]), fb.tensor(0.0), length=2)[1]
    assert len(set(nested.reshape(-1).tolist())) == 6
    draw = fb.compile(lambda: fb.scan(inner, fb.tensor(0.0), length=2)[1])
    assert draw().tolist() != draw().tolist()


@pytest.mark.parametrize("run, kind, text", [
    (lambda x: fb.scan(lambda c, r: c + r, x[0], x), ValueError,
     r"scan: expected a body that gives \(carry, y\), got Tensor"),
    (lambda x: fb.scan(lambda c, r: (c, print(c)), x[0], x), RuntimeError, "only records"),
    (lambda x: fb.scan(lambda c, r: (c + r.numpy(), c), x[0], x), RuntimeError, "only records"),
    (lambda x: fb.scan(lambda c, r: (c, r), x[0], x, length=9), ValueError,
     "scan: expected one length from xs and length, got 4, 9"),
    (lambda x: fb.while_loop(lambda c: c.sum(), lambda c: c, x), TypeError,
     r"while_loop: expected cond to give one bool, got float32 \(\)"),
    (lambda x: fb.while_loop(lambda c: c.sum() < 9, lambda c: c + 1, x.requires_grad_()
                             ).sum().backward(), TypeError, "while_loop: expected no derivative"),
])
def test_messages(run: object, kind: type, text: str) -> None:
    with pytest.raises(kind, match=text):
        run(fb.ones(4, 3))


def test_a_scan_inside_a_scan_beside_other_temporaries() -> None:
    """The inner loop's memory lies inside the outer one's, wherever that begins."""
    rng = np.random.default_rng(0)
    x, h, w = (rng.normal(size=s) for s in ((5, 4, 3), (3,), (3, 3)))

    def run(xs: fb.Tensor, start: fb.Tensor, w: fb.Tensor) -> tuple[fb.Tensor, fb.Tensor]:
        lives_on = (w @ w).tanh() @ w

        def inner(c: fb.Tensor, row: fb.Tensor) -> tuple[fb.Tensor, fb.Tensor]:
            c = (c @ w + row).tanh()
            return c, c * 2

        def outer(c: fb.Tensor, block: fb.Tensor) -> tuple[fb.Tensor, fb.Tensor]:
            c, ys = fb.scan(inner, c, block)
            c = c @ lives_on
            return c, ys.sum(0) + c

        c, ys = fb.scan(outer, start, xs)
        return c @ lives_on, ys

    lives_on, sums = np.tanh(w @ w) @ w, []
    c = h
    for block in x:
        total = np.zeros(3)
        for row in block:
            c = np.tanh(c @ w + row)
            total += 2 * c
        c = c @ lives_on
        sums.append(total + c)
    last, ys = fb.compile(run)(fb.tensor(x), fb.tensor(h), fb.tensor(w))
    np.testing.assert_allclose(last.numpy(), c @ lives_on, rtol=1e-9)
    np.testing.assert_allclose(ys.numpy(), sums, rtol=1e-9)
