"""Programs that once went wrong, found by random ones."""

from __future__ import annotations

import flambeau as fb
import numpy as np
import pytest
from flambeau.compiler import dtype as dt
from flambeau.compiler import loop as rolled
from flambeau.compiler import node as nd
from flambeau.compiler.config import override
from flambeau.runtime import reference

import tensor_compare
from program_compare import mismatch
from program_generator import leaf


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "int8", "uint8", "int16"])
@pytest.mark.parametrize("columns", [1, 9, 17, 33, 65])
def test_a_tail_of_one_lane_spares_its_neighbour(dtype: str, columns: int) -> None:
    """LLVM writes one lane of a truncated vector in its wide form."""
    x = fb.ones(3, columns).realize()
    narrow = x.to("int32").to(dtype) if dtype[0] in "iu" else x.to(dtype)
    joined = fb.cat([narrow, narrow, fb.full((3, 5), 3.0).to(dtype)], 1)
    want = np.concatenate([np.ones((3, 2 * columns)), np.full((3, 5), 3)], 1)
    assert (joined.float().numpy() == want).all()
    product = fb.cat([x.to(dtype).t() @ x.to(dtype), x.to(dtype).t()], 1).float().numpy()
    assert (product[:, :columns] == 3).all() and (product[:, columns:] == 1).all()


def test_a_joined_value_waits_for_all_its_parts() -> None:
    """Merging kernels forgot all writers of a concat but the last: two waited for each other."""
    with np.errstate(all="ignore"):
        for seed in (1167, 1448):
            assert tensor_compare.gradients(seed) is None
    x = fb.ones(3, 60).realize()
    a = x[:, :51] + 0
    joined = fb.cat([a, a[::-1] * 2, a], 1)
    later = joined[:, 51:102] + a
    total = later.sum(1)
    fb.compute(a, joined, later, total)
    assert total.tolist() == [153] * 3


def test_a_sum_of_infinities_by_zero() -> None:
    x = fb.tensor([1.0, -1.0])
    assert np.isnan(float((x / 0).sum()))


def test_floats_beyond_an_integer_type() -> None:
    x = leaf(np.array([-1.5, 300.2, 3e9, -3e9, np.nan, np.inf, -np.inf, 7.9], np.float32))
    for dtype in (dt.uint8, dt.int8, dt.uint32, dt.int32, dt.int64, dt.uint64):
        assert mismatch([nd.cast(x, dtype)]) is None
    ends = reference.evaluate([nd.cast(x, dt.uint8)])[0]
    assert ends.tolist() == [0, 255, 255, 0, 0, 255, 0, 7]


def test_a_loop_that_reads_nothing_of_a_value() -> None:
    """Values without elements that a loop's body reads have no kernel."""
    x = leaf(np.arange(4))
    stand_in, start = nd.buffer(dt.int64, (), object()), leaf(np.asarray(2))
    empty = nd.slice_(nd.elementwise("add", x, x), (0,), (0,), (1,))
    row = nd.elementwise("add", stand_in, nd.const(dt.int64, 1))
    kept = nd.concat([empty, nd.reshape(stand_in, (1,))], 0)
    made = rolled.close(3, [stand_in], [start], [], [row], [kept])
    assert mismatch(made) is None


def test_constants_written_into_what_wants_gradients() -> None:
    x = fb.ones(3).requires_grad_()
    y = x * 2
    y.view(3, 1).fill_(1)
    assert y.requires_grad and y.numpy().tolist() == [1] * 3
    (y * x).sum().backward()
    assert x.grad.tolist() == [1] * 3


def test_constants_as_state() -> None:
    a, b = fb.zeros(3), fb.zeros(3)
    f = fb.compile(lambda x: a * x + b.add_(1))
    for i in range(3):
        assert f(fb.ones(3)).tolist() == [i + 1] * 3
    assert a.tolist() == [0] * 3 and [s is b._storage for s in f.last.written] == [True]


def test_a_number_is_a_region_too() -> None:
    """Without `simplify`, which removes them, 0-d region writes are kernels."""
    x = leaf(np.asarray(1.5, np.float32))
    put = nd.node("put", dt.float32, (), (x, nd.elementwise("add", x, x)), ())
    with override(skip="simplify,simplify_again"):
        assert mismatch([nd.elementwise("mul", put, nd.const(dt.float32, 3))]) is None
