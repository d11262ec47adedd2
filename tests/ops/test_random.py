"""Random bits and generators: the numbers of a seed, on every path that makes them."""

from __future__ import annotations

import json
from pathlib import Path

import flambeau as fb
import numpy as np
import pytest
import scipy.stats as stats
from flambeau import nn, optim, random
from flambeau.compiler import dtype as dt
from flambeau.compiler.config import override
from flambeau.runtime import pool
from flambeau.tensor import result

RECORDED = json.loads((Path(__file__).parents[1] / "data" / "random.json").read_text())


@pytest.fixture(autouse=True)
def _seed():
    fb.manual_seed(1234)


def bits(shape, seed=5, draw=1, dtype=dt.uint32):
    generator = fb.Generator(seed)
    generator.draws = draw - 1
    return result(random.word_nodes(shape, generator)(dtype))


# -- the stream ----------------------------------------------------------------------------------


@pytest.mark.parametrize("case", RECORDED["philox"])
def test_the_bits_are_those_of_philox(case):
    """Recorded from randomgen 2.5.1: Philox(key=seed, number=4, width=32, counter=(draw << 64) - 1)
    .random_raw(13); it adds 1 to the counter before it makes a block."""
    expected = np.array(case["words"], np.uint32)
    found = bits((13,), case["seed"], case["draw"]).numpy()
    np.testing.assert_array_equal(found, expected)
    pairs = bits((6,), case["seed"], case["draw"], dt.uint64).numpy()
    np.testing.assert_array_equal(pairs.view(np.uint32), expected[:12])


def test_randomgen_agrees():
    randomgen = pytest.importorskip("randomgen")
    source = randomgen.Philox(key=77, number=4, width=32, counter=(9 << 64) - 1)
    np.testing.assert_array_equal(bits((1001,), 77, 9).numpy(), source.random_raw(1001))


@pytest.mark.parametrize("kind", [dt.uint32, dt.uint64])
def test_an_element_does_not_know_how_it_is_computed(kind):
    """Rows of 37 begin inside blocks; views, reductions and odd starts take other lanes."""
    full = bits((40, 37), dtype=kind).numpy()
    np.testing.assert_array_equal(full.ravel(), bits((40 * 37,), dtype=kind).numpy())
    for view in (np.s_[3:9, 5:33], np.s_[:, ::-1], np.s_[::-2, 1::3], np.s_[7], np.s_[:, 4],
                 np.s_[2, 2]):
        np.testing.assert_array_equal(bits((40, 37), dtype=kind)[view].numpy(), full[view])
    np.testing.assert_array_equal(bits((40, 37), dtype=kind).t().contiguous().numpy(), full.T)
    wide = full.astype(np.int64)
    for axis in (0, 1):
        total = bits((40, 37), dtype=kind).to(fb.int64).sum(axis).numpy()
        np.testing.assert_array_equal(total, wide.sum(axis))
    rows = np.array([5, 1, 39])
    np.testing.assert_array_equal(bits((40, 37), dtype=kind).index_select(0, fb.tensor(rows))
                                  .numpy(), full[rows])
    with override(device="reference"):
        np.testing.assert_array_equal(bits((40, 37), dtype=kind).numpy(), full)


def test_the_same_numbers_at_any_thread_count():
    def all_of_them():
        generator = fb.Generator(11)
        return [d.numpy() for d in (generator.randn(100_003), generator.gamma(0.7, 1.0, 50_001),
                                    generator.poisson(30.0, 50_001))]

    before = pool.num_threads()
    try:
        found = []
        for count in (1, 2, 5):
            pool.set_num_threads(count)
            found.append(all_of_them())
    finally:
        pool.set_num_threads(before)
    for other in found[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(found[0], other))


def test_samplers_agree_with_the_reference():
    def all_of_them():
        g = fb.Generator(2)
        shape = fb.tensor(np.linspace(0.1, 40, 300))
        return [g.gamma(shape).numpy(), g.gamma(shape.float()).numpy(), g.poisson(shape).numpy(),
                g.binomial(70.0, shape / 41).numpy(), g.von_mises(0.0, shape).numpy(),
                g.truncated_normal(0.0, 1.0, shape - 20, shape - 15).numpy()]

    found = all_of_them()
    with override(device="reference"):
        expected = all_of_them()
    for a, b in zip(found, expected):
        np.testing.assert_allclose(a, b, rtol=2e-5 if a.dtype == np.float32 else 1e-12)


# -- generators ----------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_numbers():
    first = [fb.rand(5).tolist(), fb.randn(5).tolist(), fb.randperm(5).tolist()]
    fb.manual_seed(1234)
    assert [fb.rand(5).tolist(), fb.randn(5).tolist(), fb.randperm(5).tolist()] == first
    assert fb.rand(5).tolist() != fb.rand(5).tolist()
    assert fb.initial_seed() == 1234 and fb.default_generator.initial_seed() == 1234
    own = fb.Generator(7)
    b = fb.rand(3, generator=own).tolist()
    assert fb.Generator(7).rand(3).tolist() == b
    assert own.seed() == own.initial_seed() != 7 and own.draws == 0
    assert fb.seed() == fb.initial_seed() != 1234
    assert fb.Generator(-1).initial_seed() == 2 ** 64 - 1
    assert repr(fb.Generator(3)) == "Generator(seed=3, draws=0)"


def test_states_are_bytes():
    state = fb.get_rng_state()
    assert type(state) is bytes and len(state) == 16 and fb.get_rng_state() == state
    a = fb.rand(3).tolist()
    fb.set_rng_state(state)
    assert fb.rand(3).tolist() == a
    generator = fb.Generator(9)
    generator.rand(2)
    held = fb.tensor(np.frombuffer(generator.get_state(), np.uint8))
    a = generator.rand(3).tolist()
    generator.set_state(held)
    assert generator.rand(3).tolist() == a


@pytest.mark.parametrize("state, text", [
    (b"123", "set_state: expected 16 bytes, got 3"),
    (np.zeros(16), "set_state: expected 16 bytes, got 128 of float64"),
])
def test_what_is_no_state(state, text):
    with pytest.raises(ValueError, match=text):
        fb.Generator(0).set_state(state)


def test_seeds_are_integers():
    with pytest.raises(TypeError, match="manual_seed: expected an integer, got str"):
        fb.manual_seed("a")
    with pytest.raises(ValueError, match="split: expected a count of 0 or more, got -1"):
        fb.Generator(0).split(-1)


def test_split_gives_independent_streams():
    parent = fb.Generator(3)
    children = [*parent.split(3), parent.fork()]
    assert parent.draws == 2
    again = fb.Generator(3)
    assert [g.key for g in again.split(3)] == [g.key for g in children[:3]]
    lines = np.array([g.randn(4000).numpy() for g in (parent, *children)])
    spread = np.corrcoef(lines) - np.eye(len(lines))
    assert np.abs(spread).max() < 4.5 / np.sqrt(4000)


def test_draws_and_streams_are_independent():
    """Of one generator: neighbouring elements, draws and seeds; and the two words of a normal."""
    generator = fb.Generator(1)
    lines = [generator.rand(20_000).numpy() for _ in range(3)]
    lines += [fb.Generator(seed).rand(20_000).numpy() for seed in (2, 3)]
    lines += [lines[0][[*range(k, 20_000), *range(k)]] for k in (1, 2, 3, 4, 16)]
    words = random.word_nodes((20_000,), fb.Generator(1))
    lines += [result(words(dt.uint32, s)).numpy() * 2.0 ** -32 for s in (1, 2)]
    correlation = np.corrcoef(np.array(lines, np.float64)) - np.eye(len(lines))
    assert np.abs(correlation).max() < 4.5 / np.sqrt(20_000)
    cells = np.floor(np.array(lines[:2]) * 16).astype(int)
    assert stats.chisquare(np.bincount(cells[0] * 16 + cells[1], minlength=256)).pvalue > 1e-3
    near = np.floor(lines[0][:-1] * 16).astype(int)
    after = np.floor(lines[0][1:] * 16).astype(int)
    assert stats.chisquare(np.bincount(near * 16 + after, minlength=256)).pvalue > 1e-3


def test_every_bit_is_fair():
    words = bits((30_000,), 99).numpy()
    ones = np.unpackbits(words.view(np.uint8)).reshape(-1, 32).sum(0, dtype=np.int64)
    assert np.abs(ones - 15_000).max() < 4.5 * np.sqrt(30_000 / 4)


# -- lazily, compiled, in loops, in fit ------------------------------------------------------------


def test_a_lazy_draw_keeps_its_numbers():
    t = fb.rand(4)
    u = t + 0
    fb.rand(4)
    assert u.tolist() == t.tolist()


def test_a_compiled_function_draws_anew_and_as_if_it_were_not():
    generator = fb.Generator(21)
    step = fb.compile(lambda: generator.rand(5) + generator.randn(5))
    found = [step().tolist() for _ in range(3)]
    generator.manual_seed(21)
    expected = [(generator.rand(5) + generator.randn(5)).tolist() for _ in range(3)]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    state = generator.get_state()
    later = step().tolist()
    generator.set_state(state)
    assert step().tolist() == later not in found


def test_steps_of_a_scan_differ_and_repeat():
    def walk():
        body = lambda c, x: (c + fb.rand(3), fb.rand(3))  # noqa: E731
        return fb.scan(body, fb.zeros(3), fb.arange(6).float())

    fb.manual_seed(4)
    total, rows = (t.numpy() for t in walk())
    assert len(np.unique(rows)) == 18 and len(np.unique(total)) == 3
    fb.manual_seed(4)
    assert np.array_equal(walk()[1].numpy(), rows)


def test_fit_repeats_with_its_seed():
    x, y = np.ones((12, 4), np.float32), np.arange(12) % 3

    def train():
        fb.manual_seed(8)
        model = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 3), nn.LogSoftMax())
        step = model.compile(nn.ClassNLLCriterion(), optim.SGD(model, lr=0.1))
        return [epoch["loss"] for epoch in step.fit(x, y, batch_size=4, epochs=3)]

    first = train()
    assert train() == first and len(set(first)) == 3
