"""On a real GPU: `make test-gpu`. Elsewhere these tests are skipped, with the reason printed."""

from __future__ import annotations

import shutil

import flambeau as fb
import numpy as np
import pytest
import sanitized
from flambeau import nn, optim

pytestmark = [pytest.mark.gpu,
              pytest.mark.skipif(not fb.cuda.is_available(), reason=fb.cuda.why_not() or "none")]
RNG = np.random.default_rng(0)


def test_kernels_of_every_family_agree_with_the_host():
    x = RNG.standard_normal((300, 257)).astype(np.float32)

    def run(device):
        t = fb.tensor(x, device=device)
        return [(t * 0.5).tanh(), t.softmax(1), t.sum(0), t.sum(), t.argmax(1), t.cumsum(1),
                t @ t.t(), t.sort(1).values, t[[3, 1, 4]], t.t()[::2], t.logsumexp(1)]

    for there, here in zip(run("cuda"), run("cpu")):
        np.testing.assert_allclose(there.numpy(), here.numpy(), rtol=2e-5, atol=2e-5)


def test_training_is_the_hosts_and_replayed():
    x = RNG.standard_normal((60, 64)).astype(np.float32)
    y = RNG.integers(0, 10, 60)

    def run(device):
        fb.manual_seed(1)
        model = nn.Sequential(nn.Linear(64, 50), nn.Tanh(), nn.Linear(50, 10), nn.LogSoftMax())
        model.to(device)
        step = model.compile(nn.ClassNLLCriterion(), optim.SGD(model.params(), lr=0.1))
        data = fb.tensor(x, device=device), fb.tensor(y, device=device)
        return [float(step(*data)) for _ in range(20)]

    np.testing.assert_allclose(run("cuda"), run("cpu"), rtol=1e-4)


def test_the_same_bits_every_time():
    x = fb.tensor(RNG.standard_normal(1_000_001).astype(np.float32), device="cuda")
    assert len({float((x * 1.5).sum()) for _ in range(10)}) == 1


def test_many_streams():
    x = fb.rand(1000, 1000, device="cuda").realize()
    made = []
    for _ in range(8):
        with fb.cuda.stream(fb.cuda.Stream()):
            made.append((x * 1.5 + 2.5).realize())
    want = x.numpy() * np.float32(1.5) + np.float32(2.5)
    for t in made:
        np.testing.assert_allclose(t.numpy(), want, rtol=1e-6)


def test_memory_pressure():
    free, _ = fb.cuda.memory_info()
    with pytest.raises(MemoryError, match=r"allocate: expected .* got out of memory"):
        fb.zeros(2 * free, dtype="uint8", device="cuda").realize()
    for _ in range(4):  # each fits only where the one before was
        fb.zeros(int(free * 0.6), dtype="uint8", device="cuda").realize()
    fb.cuda.empty_cache()


@pytest.mark.parametrize("name", ["torch", "cupy"])
def test_memory_is_shared(name):
    other = pytest.importorskip(name)
    x = fb.arange(6, device="cuda").float().reshape(2, 3)
    theirs = other.from_dlpack(x)
    assert theirs.tolist() == x.tolist()
    assert fb.from_dlpack(theirs * 2).tolist() == (x * 2).tolist()
    assert fb.asarray(theirs + 1).tolist() == (x + 1).tolist()


@pytest.mark.parametrize("check", sanitized.CHECKS)
def test_no_faults_by_compute_sanitizer(check):
    tool = shutil.which("compute-sanitizer")
    if tool is None:
        pytest.skip("compute-sanitizer is not installed")
    sanitized.watch(tool, check)
