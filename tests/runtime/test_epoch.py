"""The native epoch driver against a Python loop."""

from __future__ import annotations

import numpy as np
import pytest
from flambeau.runtime import epoch, jit, memory, pool
from flambeau.runtime.epoch import Counter, EpochJob, Metric, Stream

# A step on a batch of 4 rows: x is 4 x 16 float32, t is 4 int64; buffers: x, t, loss, hits, total.
# loss = x[0,0] + x[3,15] * counter, hits = t[0] + t[3], total = double loss; state += loss.
STEP = """
define void @entry(ptr %buffers, ptr %scalars, ptr %arena) {
  %x = load ptr, ptr %buffers
  %t.p = getelementptr ptr, ptr %buffers, i64 1
  %t = load ptr, ptr %t.p
  %loss.p = getelementptr ptr, ptr %buffers, i64 2
  %loss = load ptr, ptr %loss.p
  %hits.p = getelementptr ptr, ptr %buffers, i64 3
  %hits = load ptr, ptr %hits.p
  %total.p = getelementptr ptr, ptr %buffers, i64 4
  %total = load ptr, ptr %total.p
  %x0 = load float, ptr %x
  %x1.p = getelementptr float, ptr %x, i64 63
  %x1 = load float, ptr %x1.p
  %n = load i64, ptr %scalars
  %n.f = sitofp i64 %n to float
  %m = fmul float %x1, %n.f
  %l = fadd float %x0, %m
  store float %l, ptr %loss
  %l.d = fpext float %l to double
  store double %l.d, ptr %total
  %t0 = load i64, ptr %t
  %t1.p = getelementptr i64, ptr %t, i64 3
  %t1 = load i64, ptr %t1.p
  %h = add i64 %t0, %t1
  store i64 %h, ptr %hits
  ret void
}
"""
ROWS, BATCH = 403, 4


class Case:
    """Data, outputs and a job over them."""

    def __init__(self, base: int = 0, stop: bool = False, staged: bool = True,
                 shift: int = 0) -> None:
        rng = np.random.default_rng(0)
        self.memory = memory.allocate(ROWS * 64 + shift)
        self.x = self.memory.array(np.uint8, (ROWS * 64 + shift,), True)[shift:].view(
            np.float32).reshape(ROWS, 16)
        self.x[:] = rng.integers(-50, 50, (ROWS, 16))
        self.t = rng.integers(0, 9, ROWS)
        self.out = np.zeros(8)
        at = self.out.ctypes.data
        self.table = np.array([0, 0, at, at + 8, at + 16])
        self.scalars = np.array([0, 0, 0], np.int64)
        self.staging = [memory.allocate(BATCH * 64), memory.allocate(BATCH * 8)]
        one, two = (b.address if staged else 0 for b in self.staging)
        self.job = EpochJob(
            jit.load(STEP, "step", jit.host_target()).address("entry"), self.table.ctypes.data,
            self.scalars.ctypes.data, 0, BATCH,
            [Stream(self.x.ctypes.data, ROWS, 64, 0, one),
             Stream(self.t.ctypes.data, ROWS, 8, 1, two)],
            [Metric(at, "float32", 0.25), Metric(at + 8, "int64"), Metric(at + 16, "float64", 2)],
            [Counter(0), Counter(8, "float64", 0.5), Counter(16, "float32", -1)],
            base=base, stop=stop, align=64 if staged else 1)

    def expected(self, first: int, last: int, order: np.ndarray, base: int = 0,
                 start: int = 0) -> list[float]:
        loss = hits = 0.0
        for step, b in enumerate(range(first, last), start):
            rows = order[base + b * BATCH:][:BATCH]
            x, t = self.x[rows], self.t[rows]
            loss += float(x[0, 0] + x[3, 15] * np.float32(step))
            hits += t[0] + t[3]
        return [0.25 * loss, hits, 2 * loss]


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("base", [0, 3])
@pytest.mark.parametrize("shuffled", [False, True])
@pytest.mark.parametrize("shift", [0, 4])
def test_against_a_loop(threads: int, base: int, shuffled: bool, shift: int) -> None:
    case = Case(base, shift=shift)
    order = np.random.default_rng(1).permutation(ROWS) if shuffled else np.arange(ROWS)
    case.job.permute(order if shuffled else None)
    with pool.threads(threads):
        assert case.job.run(0, 60) is None
        assert case.job.run(60, 100) is None
    np.testing.assert_array_equal(case.job.sums, case.expected(0, 100, order, base))
    assert case.scalars[0] == 100 and case.scalars[1:2].view(np.float64)[0] == 50.0
    assert case.scalars[2:3].view(np.float32)[0] == -100.0


def test_rows_in_order_are_not_copied() -> None:
    case = Case(staged=False)
    assert case.job.run(2, 3) is None
    assert case.table[0] == case.x.ctypes.data + 2 * BATCH * 64
    assert case.table[1] == case.t.ctypes.data + 2 * BATCH * 8
    with pytest.raises(ValueError, match="expected a staging buffer for stream 0"):
        case.job.permute(np.arange(ROWS))


def test_sums_go_on_until_reset() -> None:
    case = Case()
    case.job.run(0, 10)
    case.job.run(0, 10)
    assert case.job.sums[1] == 2 * case.expected(0, 10, np.arange(ROWS))[1]
    case.job.sums[:] = 0
    case.job.run(5, 5)
    assert not case.job.sums.any()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_stops_at_a_metric_that_is_not_finite(bad: float) -> None:
    case = Case(stop=True)
    case.x[17 * BATCH, 0] = bad
    assert case.job.run(0, 100) == 17
    assert case.scalars[0] == 18
    assert case.job.run(18, 100) is None
    go_on = Case(stop=False)
    go_on.x[17 * BATCH, 0] = bad
    assert go_on.job.run(0, 100) is None and not np.isfinite(go_on.job.sums[0])


def test_ranges_are_checked() -> None:
    case = Case()
    case.job.run(0, 100)
    with pytest.raises(IndexError, match="expected batches within 403 rows"):
        case.job.run(0, 101)
    with pytest.raises(IndexError):
        case.job.run(-1, 2)
    for order in (np.array([ROWS]), np.array([-1]), np.zeros((2, 2), np.int64)):
        with pytest.raises(ValueError, match="expected a vector of rows"):
            case.job.permute(order)
    case.job.permute(np.arange(8))
    with pytest.raises(IndexError, match="within 8 rows"):
        case.job.run(0, 3)


def test_big_rows_are_gathered_in_parallel() -> None:
    """Rows beyond a chunk's grain: several chunks and a part of one."""
    rows, row_bytes = 50, 20_000
    data = np.random.default_rng(0).integers(0, 255, (rows, row_bytes), np.uint8)
    staging = memory.allocate(23 * row_bytes)
    table = np.zeros(1, np.int64)
    nothing = "define void @entry(ptr %b, ptr %s, ptr %a) {\n  ret void\n}\n"
    entry = jit.load(nothing, "nothing", jit.host_target()).address("entry")
    job = EpochJob(entry, table.ctypes.data, 0, 0, 23,
                   [Stream(data.ctypes.data, rows, row_bytes, 0, staging.address)])
    order = np.random.default_rng(1).permutation(rows)
    job.permute(order)
    with pool.threads(3):
        job.run(1, 2)
    assert table[0] == staging.address
    got = staging.array(np.uint8, (23, row_bytes))
    np.testing.assert_array_equal(got, data[order[23:46]])


def test_slices_cover_every_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(epoch, "SLICE_SECONDS", 1e-7)
    case = Case()
    assert case.job.run(0, 97) is None
    assert case.scalars[0] == 97
