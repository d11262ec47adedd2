"""One program for many sizes: the same bits as a program of its own, few compiles, safe laws."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import flambeau as fb
import numpy as np
import pytest
from flambeau import families
from flambeau import realize as door
from flambeau.compiler import dtype as dt
from flambeau.compiler import general, size
from flambeau.compiler import node as nd
from flambeau.compiler.codegen import vectors
from flambeau.compiler.config import override
from flambeau.compiler.request import prepare
from flambeau.compiler.terms import NotGeneral
from flambeau.runtime import jit
from hypothesis import given, settings
from hypothesis import strategies as st

SIZES = (5, 9, 13, 0, 1, 2, 7, 15, 16, 17, 64, 100, 1000, 1025, 33, 96, 130, 500, 128)


@pytest.fixture(autouse=True)
def _from_the_beginning() -> Iterator[None]:
    families.forget()
    door._programs.clear()
    yield
    families.forget()
    door._programs.clear()


def drawn(*shape: int) -> fb.Tensor:
    rng = np.random.default_rng(shape[0] + 1)
    return fb.tensor(rng.normal(size=shape).astype("f"))


def bits(found: Any) -> list[tuple[Any, bytes]]:
    many = found if isinstance(found, tuple | list) else [found]
    return [(t.shape, t.numpy().tobytes()) for t in many]


def sources(f: Any) -> Counter[str]:
    """How many signatures were served by a general program, and how many by one of their own."""
    return Counter("general" if v.executable.general is not None else "own"
                   for v in f.variants.values())


CASES: dict[str, tuple[Callable[..., Any], Callable[[int], tuple[Any, ...]], int]] = {
    "elementwise": (lambda x, y: (x * 2 + 1).tanh() * y, lambda n: (drawn(n), drawn(n)), 13),
    "broadcast": (lambda x, y: (x + y).relu(), lambda n: (drawn(n, 10), drawn(10)), 13),
    "columns": (lambda x, y: x * y, lambda n: (drawn(10, n), drawn(10, 1)), 13),
    "transposed": (lambda x: x.t() * 2 + 1, lambda n: (drawn(n, 10),), 13),
    "rows": (lambda x: x.log_softmax(-1), lambda n: (drawn(n, 10),), 13),
    "rows summed": (lambda x: (x * x).sum(1), lambda n: (drawn(n, 64),), 13),
    "pairs of rows": (lambda x, y: (x * y).sum(1), lambda n: (drawn(n, 64), drawn(64)), 12),
    "rows found": (lambda x: x.argmax(1), lambda n: (drawn(n, 7),), 13),
    "shifted": (lambda x: x[1:] - x[:-1] if x.shape[0] else x, lambda n: (drawn(n, 3),), 12),
    "every second": (lambda x: x[::2] * 2, lambda n: (drawn(n, 3),), 6),
    "joined": (lambda x, y: fb.cat([x, y * 2]), lambda n: (drawn(n, 3), drawn(4, 3)), 13),
    "counted": (lambda x: x * fb.arange(x.shape[0]), lambda n: (drawn(n),), 13),
    "flattened": (lambda x: (x.reshape(-1) * 2).reshape(-1, 2, 3), lambda n: (drawn(n, 6),), 13),
    "columns summed": (lambda x: (x * x).sum(0), lambda n: (drawn(n, 64),), 8),
    "all summed": (lambda x: (x * x).sum(), lambda n: (drawn(n),), 3),
    "mean": (lambda x: x.mean(), lambda n: (drawn(n),), 4),
    "mean of some": (lambda x: (x.log_softmax(-1)[:, 3]).mean(), lambda n: (drawn(n, 10),), 4),
    "long rows": (lambda x: x.softmax(-1), lambda n: (drawn(4, n),), 6),
    "layer": (lambda x, w, b: (x @ w + b).tanh(),
              lambda n: (drawn(n, 64), drawn(64, 48), drawn(48)), 14),
    "product from the left": (lambda x, w: w @ x, lambda n: (drawn(64, n), drawn(48, 64)), 14),
    "products in a batch": (lambda x, y: x @ y, lambda n: (drawn(n, 5, 7), drawn(n, 7, 9)), 14),
    "running": (lambda x: x.cumsum(0), lambda n: (drawn(n, 4),), 12),
}


@pytest.mark.parametrize("name", CASES)
def test_the_same_bits_as_a_program_of_its_own(name: str) -> None:
    fn, make, least = CASES[name]
    f = fb.compile(fn)
    with override(general=3):
        got = {n: bits(f(*make(n))) for n in SIZES}
    assert sources(f)["general"] >= least, f.explain()
    door._programs.clear()
    own = fb.compile(fn, dynamic=False)
    for n in SIZES:
        assert bits(own(*make(n))) == got[n], f"n = {n}"
    assert sources(own) == {"own": len(SIZES)}


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 3000), st.integers(2, 3000), st.integers(2, 3000))
def test_arithmetic_and_decisions_hold_for_all_admitted(hint: int, other: int, third: int) -> None:
    """Random expressions: values, comparisons and quotients are right wherever the laws hold."""
    rng = np.random.default_rng(hint)
    symbol = size.Symbol(hint)
    n = symbol.size()

    def expression(depth: int) -> Any:
        if depth == 0:
            return n if rng.random() < 0.6 else int(rng.integers(0, 40))
        a, b = expression(depth - 1), expression(depth - 1)
        k = int(rng.integers(1, 20))
        return (a + b, a * b, a // k, a % k, a - 3 * b)[rng.integers(5)]

    a, b = expression(3), expression(2)
    try:
        claims = [a < b, a == b, a <= b, bool(a)]
        sure = size.at_least(b, 1)
        quotient = a // b if sure else 0
    except NotGeneral:
        return
    assert size.admits(symbol.facts(), hint)
    plain = json.loads(json.dumps(size.plain([a, b, quotient])))
    for m in (hint, other, third, 2, 3, 64, 99_999):
        if size.admits(symbol.facts(), m):
            x, y, q = size.bound(plain, m)
            assert (x, y) == (size.valued(a, m), size.valued(b, m))
            assert claims == [x < y, x == y, x <= y, bool(x)]
            assert not sure or (y >= 1 and q == x // y)


def test_what_needs_a_number_says_so() -> None:
    n = size.Symbol(37).size()
    for needs in (range, int, [0].__mul__, lambda v: [1, 2][v], lambda v: f"{v:d}" and int(v)):
        with pytest.raises(NotGeneral, match="a number is needed for n"):
            needs(n)
    with pytest.raises(NotGeneral, match="one size is special, 37"):
        assert n == 37
    assert n * 64 // 64 == n and (n - 1) // n == 0 and n % 16 < 16 and n // 16 * 16 <= n
    assert n.symbol.facts() == [2, size.MOST, []]  # all of that is proven: no law
    assert n >= 16 and n != 100
    assert size.spell_facts(n.symbol.facts()) == "16 <= n, n - 100 != 0"


def test_fifty_sizes_compile_three_programs() -> None:
    f = fb.compile(lambda x: (x * 3).log_softmax(-1) + 1)
    with override(general=3):
        for n in range(10, 60):
            f(drawn(n, 12))
    assert sources(f) == {"own": 2, "general": 48}
    codes = {v.executable.code.key for v in f.variants.values()}
    assert len(codes) == 3


def test_a_lazy_loop_over_sizes_compiles_three_programs() -> None:
    with override(general=3):
        fb.compile_report(reset=True)
        for n in range(10, 40):
            x = drawn(n, 5)
            want = np.tanh(x.numpy() * 2) + 1
            np.testing.assert_allclose(((x * 2).tanh() + 1).numpy(), want, rtol=1e-4, atol=1e-6)
    (family,) = [f for f in families._families.values() if len(f.programs) == 1]
    assert len({p.code.key for p in door._programs.values()}) == 3 and family.refused == ""


def test_a_changing_position_is_one_program() -> None:
    x = drawn(50, 4)
    with override(general=3):
        for i in range(2, 30):
            np.testing.assert_array_equal((x[i] * 2).numpy(), x.numpy()[i] * 2)
    assert len({p.code.key for p in door._programs.values()}) == 3


def test_dynamic_says_when() -> None:
    made = {}
    for dynamic in (None, True, False):
        families.forget()
        door._programs.clear()
        f = made[dynamic] = fb.compile(lambda x: x * 2 + 1, dynamic=dynamic)
        with override(general=3):
            for n in (5, 9, 11, 12):
                f(drawn(n))
    assert [sources(made[d])["general"] for d in (None, True, False)] == [2, 3, 0]
    with pytest.raises(TypeError, match="compile: expected dynamic to be None, True or False, "
                                        "got 'x'"):
        fb.compile(lambda x: x, dynamic="x")  # type: ignore[arg-type]


def test_laws_that_fail_get_another_program() -> None:
    f = fb.compile(lambda x: (x * x).sum(1), dynamic=True)
    for n in (300, 310, 400, 600, 700, 10, 12):
        f(drawn(3, n))
    kinds = {v.executable.code.key for v in f.variants.values() if v.executable.general is not None}
    assert sources(f) == {"own": 3, "general": 4} and len(kinds) == 2
    first, *_, last = f.explain().split("\n\n")[1:]
    assert "for every n with 128 <= n <= 511" in first and "dimension 1 of input 0" in first
    assert "here n = 310" in first and "no general program: n = 12: a sum of few elements" in last


def test_two_sizes_that_vary_apart_have_programs_of_their_own() -> None:
    f = fb.compile(lambda x: x * 2 + 1, dynamic=True)
    rng = np.random.default_rng(0)
    for _ in range(12):
        shape = tuple(int(e) for e in rng.integers(3, 60, 2))
        x = drawn(*shape)
        np.testing.assert_array_equal(f(x).numpy(), x.numpy() * 2 + 1)


def test_state_is_kept() -> None:
    w, count = fb.zeros(16), fb.zeros(1)

    @fb.compile
    def step(x: fb.Tensor, rate: float) -> fb.Tensor:
        w.add_((x * rate).sum(0))
        count.add_(1)
        return w * 2

    want = np.zeros(16, "f")
    with override(general=3):
        for n in (30, 40, 50, 60, 31, 32, 50, 33):
            got = step(drawn(n, 16), 0.5)
            want = want + 0.5 * drawn(n, 16).numpy().sum(0, dtype="f8").astype("f")
            np.testing.assert_allclose(got.numpy(), want * 2, rtol=1e-4, atol=1e-4)
    assert count.tolist() == [8.0] and sources(step)["general"] >= 4


def test_gradients() -> None:
    def loss(x: fb.Tensor, w: fb.Tensor) -> fb.Tensor:
        return ((x * w).tanh() ** 2).mean()

    f = fb.compile(fb.value_and_grad(loss, (0, 1)))
    own = fb.compile(fb.value_and_grad(loss, (0, 1)), dynamic=False)
    with override(general=3):
        for n in (30, 40, 50, 60, 33, 500):
            args = drawn(n, 8), drawn(8)
            for a, b in zip(f(*args)[1], own(*args)[1]):
                assert bits(a) == bits(b), n
    assert sources(f)["general"] == 4


def test_attention_and_its_gradients() -> None:
    """Products along the varying size may be summed in another order than by a program of its own;
    both are near the truth."""
    def attention(x: fb.Tensor, w: fb.Tensor) -> fb.Tensor:
        return (((x @ w) @ x.t()).softmax(-1) @ x).tanh().mean()

    f = fb.compile(fb.value_and_grad(attention, (0, 1)), dynamic=True)
    w = drawn(16, 16) / 8
    exact = fb.value_and_grad(attention, (0, 1))
    for n in (70, 75, 33, 90, 127, 66, 130, 200):
        x = drawn(n, 16)
        got, want = f(x, w), exact(x.double(), w.double())
        np.testing.assert_allclose(got[0].numpy(), want[0].numpy(), rtol=1e-4, atol=1e-6)
        for a, b in zip(got[1], want[1]):
            np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-3, atol=1e-6)
    assert sources(f)["general"] >= 6, f.explain()


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_threads(threads: int) -> None:
    f = fb.compile(lambda x: (x * 2).exp().sum(1) + 1, dynamic=True)
    own = fb.compile(lambda x: (x * 2).exp().sum(1) + 1, dynamic=False)
    with fb.threads(threads):
        for n in (3, 5, 3000, 20_000):
            x = drawn(n, 33)
            assert bits(f(x)) == bits(own(x))
    assert sources(f)["general"] == 3


def test_the_disk_cache_holds_one_general_program(tmp_path: Any) -> None:
    made = []
    for sizes in ((5, 9, 11, 12), (6, 20, 300, 15)):
        families.forget()
        door._programs.clear()
        jit.forget()
        f = fb.compile(lambda x: (x * 5).tanh() - 3)
        with override(general=3, cache=str(tmp_path)):
            for n in sizes:
                f(drawn(n))
        variant = f.variants[next(k for k in f.variants if k[0][0][1] == (sizes[2],))]
        made.append((variant.executable.code.key, variant.executable.code.cached))
        del f, variant
    assert made[0][0] == made[1][0] and [c for _, c in made] == ["compiled", "disk"]


def test_errors_name_the_size_at_hand() -> None:
    f = fb.compile(lambda x, i: x[i] * 2, dynamic=True)
    at = fb.tensor([0, 1, 2])
    for n in (5, 9, 11, 12):
        np.testing.assert_array_equal(f(drawn(n, 3), at).numpy(), drawn(n, 3).numpy()[:3] * 2)
    assert sources(f)["general"] == 3
    with pytest.raises(IndexError, match=r"expected indices below 7 along the indexed axes of "
                                         r"\[7, 3\]"):
        f(drawn(7, 3), fb.tensor([0, 1, 7])).numpy()


def test_a_fault_while_generalising_costs_nobody_a_result(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Any:
        raise AttributeError("a fault")

    monkeypatch.setattr(families.general, "raised", broken)
    f = fb.compile(lambda x: x * 2 - 7, dynamic=True)
    with override(check=False):
        for n in (5, 9):
            np.testing.assert_array_equal(f(drawn(n)).numpy(), drawn(n).numpy() * 2 - 7)
    assert "no general program: n = 9: AttributeError: a fault" in f.explain()
    with pytest.raises(AttributeError, match="a fault"), override(check=True):
        f(drawn(11))


def test_looking_inside() -> None:
    f = fb.compile(lambda x: (x * 2).exp(), dynamic=True)
    for n in (5, 9, 11):
        f(drawn(n))
    assert "%size0" in f.llvm_ir() and "map_mul_exp_n" in f.asm()
    assert "map_mul_exp_n" in str(f.profile(seconds=0.001))


def test_axes_that_may_be_empty_fill_no_lanes() -> None:
    assert vectors.filling(0, jit.host_target()) == 0
    for n in range(40):
        x = np.ones((n, 3), np.float32)
        assert np.array_equal(fb.tensor(x).prod(0).numpy(), x.prod(0))




def test_sizes_at_which_blocks_would_be_empty() -> None:
    """The third size asks for a general program; blocks of a long sum leave none for small ones."""
    for n in (10, 100, 500):
        x = np.eye(n) + 0.1
        assert fb.linalg.matrix_norm(fb.tensor(x)).item() == pytest.approx(np.linalg.norm(x))


def test_keys_with_and_without_a_number_are_of_two_families() -> None:
    """An argument of None and one that is an int are not the same structure."""
    def key(arg: Any) -> Any:
        x = nd.node("param", dt.float32, (3,), (), (0,))
        return general.take_apart(prepare([nd.node("exp", dt.float32, (3,), (x,), arg)]))[0]

    assert key(None) != key(5) and key(4) == key(5)


def test_the_size_that_varies_may_change() -> None:
    w = fb.tensor(np.ones((4, 2, 3, 3), np.float32))
    f = fb.compile(lambda x, w: fb.grad(lambda w: fb.conv2d(x, w).square().sum())(w), dynamic=True)
    for shape in [(n, 2, 8, 8) for n in (5, 7, 9)] + [(2, 2, n, n) for n in (5, 7, 9, 3, 16, 17)]:
        x = fb.tensor(np.ones(shape, np.float32))
        windows = shape[0] * (shape[2] - 2) * (shape[3] - 2)
        assert np.array_equal(f(x, w).numpy(), np.full((4, 2, 3, 3), 2 * 18 * windows, np.float32))


def test_templates_that_differ_lay_down_no_laws() -> None:
    for n in (3, 4, 5, 8, 4, 6, 12, 2, 20):
        for m in (2, n, 3):
            x, y = np.ones(n, np.float32), np.arange(m, dtype=np.float32)
            assert np.array_equal(fb.convolve(fb.tensor(x), fb.tensor(y)).numpy(),
                                  np.convolve(x, y))


def test_a_general_product_is_not_for_far_larger_sizes() -> None:
    """Planned at 40, it would serve 2000 at half the speed: another one is made there."""
    f = fb.compile(lambda x, y: x @ y)
    with override(general=3):
        for a in [drawn(n, n) for n in (20, 30, 40, 160, 161)]:
            np.testing.assert_allclose(f(a, a).numpy(), a.numpy().astype("f8") @ a.numpy(),
                                       rtol=0, atol=1e-3)
    assert "<= 160; here n = 40" in f.explain()
    assert "<= 160; here n = 160" in f.explain()
    assert "<= 644; here n = 161" in f.explain()
