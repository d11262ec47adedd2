"""Values asked for piece by piece from one growing graph are not calculated from its beginning."""

from __future__ import annotations

import flambeau as fb
import numpy as np
from flambeau.compiler.node import toposort


def grown(x: fb.Tensor, rounds: int) -> tuple[fb.Tensor, list[int]]:
    """Each round builds on values of the last that nobody asks for; and its graphs' nodes."""
    state, sizes = x, []
    for _ in range(rounds):
        for _ in range(12):
            state = fb.tanh(state * 1.25) - state * 0.5
        sizes.append(len(toposort([state._storage.node], lambda n: n.value is not None)))
        assert bool((state < 10).all()) and float((state * 2).sum()) < 1e9
    return state, sizes


def test_graphs_of_values_on_the_way_stay_short() -> None:
    """Pins that SciPy's jacobian took minutes: every question began from the beginning."""
    start = np.linspace(-1, 1, 7)
    state, sizes = grown(fb.tensor(start), 8)
    assert max(sizes) <= 2 * sizes[0]
    want = start
    for _ in range(8 * 12):
        want = np.tanh(want * 1.25) - want * 0.5
    np.testing.assert_allclose(state.numpy(), want, rtol=1e-12)


def test_what_is_kept_keeps_its_derivative() -> None:
    x = fb.tensor(np.linspace(-1, 1, 5), requires_grad=True)
    y = x
    for _ in range(20):
        y = fb.tanh(y * 1.25) - y * 0.5
    first, second = (y * 2).sum(), (y * 3).sum()
    assert abs(float(second) - 1.5 * float(first)) < 1e-12
    (y * y).sum().backward()
    z = fb.tensor(np.linspace(-1, 1, 5), requires_grad=True)
    w = z
    for _ in range(20):
        w = fb.tanh(w * 1.25) - w * 0.5
    (w * w).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), z.grad.numpy(), rtol=1e-12)
