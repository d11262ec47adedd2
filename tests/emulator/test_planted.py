"""Three planted faults, each in a kernel that is right without it, and how they are reported."""

from __future__ import annotations

import numpy as np
import pytest

from emulator import faults
from emulator.snippets import kernel, launch, module, refused

COUNT = 1000

# The sum of each block's 256 elements: in warps by shuffles, then through shared memory.
SUM = """
ld.param.u64 %d1, [p0]; ld.param.u64 %d2, [p1]; ld.param.u32 %r9, [p2];
mov.u32 %r1, %tid.x; mov.u32 %r2, %ctaid.x; mov.u32 %r3, %ntid.x;
mad.lo.u32 %r4, %r2, %r3, %r1;
mov.f32 %f1, 0f00000000;
setp.{BOUND}.u32 %p1, %r4, %r9;
@!%p1 bra summed;
mul.wide.u32 %d3, %r4, 4;
add.u64 %d4, %d1, %d3;
ld.global.f32 %f1, [%d4];
summed:
and.b32 %r5, %r1, 31; shr.u32 %r6, %r1, 5;
mov.u32 %r7, 16;
again:
mov.b32 %r10, %f1;
shfl.sync.bfly.b32 %r11, %r10, %r7, 31, {MASK};
mov.b32 %f2, %r11;
add.f32 %f1, %f1, %f2;
shr.u32 %r7, %r7, 1;
setp.ne.u32 %p2, %r7, 0;
@%p2 bra again;
mov.u32 %r8, parts;
mad.lo.u32 %r12, %r6, 4, %r8;
setp.eq.u32 %p3, %r5, 0;
@%p3 st.shared.f32 [%r12], %f1;
{BARRIER}
setp.ne.u32 %p4, %r1, 0;
@%p4 bra end;
mov.f32 %f3, 0f00000000; mov.u32 %r13, 0;
adding:
mad.lo.u32 %r14, %r13, 4, %r8;
ld.shared.f32 %f4, [%r14];
add.f32 %f3, %f3, %f4;
add.u32 %r13, %r13, 1;
setp.lt.u32 %p5, %r13, 8;
@%p5 bra adding;
mul.wide.u32 %d5, %r2, 4;
add.u64 %d6, %d2, %d5;
st.global.f32 [%d6], %f3;
end:
"""


def sums(bound: str = "lt", mask: str = "-1", barrier: str = "bar.sync 0;") -> np.ndarray:
    body = SUM.replace("{BOUND}", bound).replace("{MASK}", mask).replace("{BARRIER}", barrier)
    text = module(kernel(body, "u64 u64 u32", declared=".shared .align 4 .b8 parts[32];"))
    assert refused(text) == ""
    x = np.arange(COUNT, dtype=np.float32)
    return launch(text, x, np.zeros(4, np.float32), COUNT, grid=4, block=256)[1]


def test_the_kernel_is_right() -> None:
    x = np.zeros(1024, np.float32)
    x[:COUNT] = np.arange(COUNT)
    assert sums().tolist() == x.reshape(4, 256).sum(1).tolist()


def test_a_missing_barrier() -> None:
    with pytest.raises(faults.Race) as caught:
        sums(barrier="")
    message = str(caught.value)
    assert "`ld.shared.f32 %f4, [%r14];`, thread (0, 0, 0) of block (0, 0, 0)" in message
    assert "this read of 4 bytes of shared memory at 0x4 of 32 and the write by thread (32, 0, 0)" \
        in message and "are not ordered by a barrier" in message


def test_a_bound_that_is_off_by_one() -> None:
    with pytest.raises(faults.OutOfBounds) as caught:
        sums(bound="le")
    assert "`ld.global.f32 %f1, [%d4];`, thread (232, 0, 0) of block (3, 0, 0): out of bounds: " \
        "4 bytes of device memory at" in str(caught.value)
    assert "0 bytes past the end of the allocation of 4000 bytes" in str(caught.value)


def test_a_wrong_shuffle_mask() -> None:
    with pytest.raises(faults.WarpDivergence) as caught:
        sums(mask="0x7FFFFFFF")
    assert "thread (31, 0, 0) of block (0, 0, 0): expected a mask that names the thread's own " \
        "lane 31, got 0x7fffffff" in str(caught.value)


# A tile turned over through shared memory, with a cooperative copy in two steps.
TURN = """
ld.param.u64 %d1, [p0]; ld.param.u64 %d2, [p1];
mov.u32 %r1, %tid.x; mov.u32 %r2, %tid.y;
mad.lo.u32 %r3, %r2, 16, %r1;
mad.lo.u32 %r4, %r1, 16, %r2;
mul.wide.u32 %d3, %r3, 16;
add.u64 %d4, %d1, %d3;
add.u64 %d5, %d2, %d3;
mov.u32 %r5, tile;
mad.lo.u32 %r6, %r3, 16, %r5;
mad.lo.u32 %r7, %r4, 16, %r5;
cp.async.cg.shared.global [%r6], [%d4], 16;
cp.async.commit_group;
{WAIT}
bar.sync 0;
ld.shared.v4.b32 {%r10, %r11, %r12, %r13}, [%r7];
st.global.v4.b32 [%d5], {%r10, %r11, %r12, %r13};
"""


def turned(wait: str) -> np.ndarray:
    text = module(kernel(TURN.replace("{WAIT}", wait), "u64 u64",
                         declared=".shared .align 16 .b8 tile[4096];"))
    assert refused(text) == ""
    x = np.arange(1024, dtype=np.uint32)
    return launch(text, x, np.zeros(1024, np.uint32), block=(16, 16))[1]


def test_asynchronous_copies_arrive() -> None:
    want = np.arange(1024, dtype=np.uint32).reshape(16, 16, 4).swapaxes(0, 1)
    assert turned("cp.async.wait_group 0;").tolist() == want.reshape(-1).tolist()
    assert turned("cp.async.wait_all;").tolist() == want.reshape(-1).tolist()


@pytest.mark.parametrize("wait", ["", "cp.async.wait_group 1;"])
def test_a_missing_wait(wait: str) -> None:
    with pytest.raises(faults.Uninitialised, match="of shared memory at 0x0 of 4096 was never"):
        turned(wait)
