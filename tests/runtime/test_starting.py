"""The short way from a graph's leaves to its program: the same values, errors and limits."""

from __future__ import annotations

import flambeau as fb
import numpy as np
import pytest
from flambeau import realize as door
from flambeau.compiler import dtype as dt
from flambeau.compiler.node import buffer
from flambeau.compiler.request import prepare
from flambeau.runtime import execute, memory, native
from flambeau.runtime.starting import starter

pytestmark = pytest.mark.skipif(not native.supported(), reason="a Python that is not looked into")


def thrice(f) -> list[np.ndarray]:  # type: ignore[no-untyped-def]
    """The first run compiles, the second notes the graph, the third goes the short way."""
    return [f().numpy().copy() for _ in range(3)]


def test_plain_programs_numbers_and_temporaries() -> None:
    a, b = np.arange(12.0).reshape(3, 4), np.ones((3, 4))
    t, u = fb.tensor(a), fb.from_numpy(b)  # memory of ours and of NumPy's
    for found in thrice(lambda: t + u):
        np.testing.assert_array_equal(found, a + b)
    for i in (0.5, 7.25):
        for found in thrice(lambda i=i: t * i + u):  # type: ignore[misc]
            np.testing.assert_array_equal(found, a * i + b)
    for found in thrice(lambda: (t @ u.T).sum(0) + t.sum(1)):
        np.testing.assert_array_equal(found, (a @ b.T).sum(0) + a.sum(1))


def test_a_value_found_wrong_names_its_line() -> None:
    t, index = fb.tensor([1.0, 2.0]), fb.tensor([0, 5])
    for _ in range(4):
        with pytest.raises(IndexError, match=r"indices below 2 .*test_starting.py"):
            fb.take(t, index).numpy()


def test_it_leaves_memory_that_is_elsewhere_to_others() -> None:
    class Elsewhere:
        address = 0

    t, u = fb.ones(4).realize(), fb.ones(4).realize()
    request = prepare([(t + u)._storage.node])
    program = door.executable(request)
    assert isinstance(program, execute.Executable)
    start = starter(program, [0, 1])
    assert start is not None
    made = [memory.allocate(16)]
    assert start(request.order, made, program.status_address, 0) is None
    assert made[0].array("float32", (4,)).tolist() == [2.0] * 4
    other = [request.order[0], buffer(dt.float32, (4,), Elsewhere())]
    assert start(other, made, program.status_address, 0) is NotImplemented


def test_programs_with_host_routines_go_the_long_way() -> None:
    t = fb.tensor([3.0, 1.0, 2.0])
    request = prepare([fb.sort(t).values._storage.node])
    assert starter(door.executable(request), [0]) is None
    for found in thrice(lambda: fb.sort(t).values):
        assert found.tolist() == [1.0, 2.0, 3.0]
