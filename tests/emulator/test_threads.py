"""Control flow, barriers, warp instructions and every kind of memory access, against NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from emulator.machine import Machine
from emulator.snippets import kernel, launch, module, refused

TID = """ld.param.u64 %d1, [p0]; mov.u32 %r1, %tid.x; mov.u32 %r20, %ctaid.x; mov.u32 %r21, %ntid.x;
mad.lo.u32 %r22, %r20, %r21, %r1; mul.wide.u32 %d2, %r22, 4; add.u64 %d3, %d1, %d2;
"""


def each(body: str, threads: int = 32, blocks: int = 1, sm: int = 80, declared: str = "",
         before: str = "", x: np.ndarray | None = None) -> np.ndarray:
    """What each thread stores: the body leaves it in %r9. x: the array's values before."""
    text = module(kernel(TID + body + "\nst.global.b32 [%d3], %r9;", declared=declared), sm=sm,
                  before=before)
    assert refused(text, sm) == ""
    held = np.zeros(threads * blocks, np.uint32) if x is None else x
    return launch(text, held, block=threads, grid=blocks)[0]


LANE = np.arange(32)


# -- control flow ------------------------------------------------------------------------------

def test_loops_of_different_lengths() -> None:
    got = each("""mov.u32 %r9, 0; mov.u32 %r2, 0;
again: setp.ge.u32 %p1, %r2, %r1; @%p1 bra done;
add.u32 %r9, %r9, %r2; add.u32 %r2, %r2, 1; bra again;
done:""", threads=100, blocks=3)
    n = np.tile(np.arange(100), 3)
    assert got.tolist() == (n * (n - 1) // 2).tolist()


def test_nested_branches_and_a_break() -> None:
    """The length of each number's Collatz way, cut off at 60."""
    got = each("""add.u32 %r2, %r1, 1; mov.u32 %r9, 0;
again: setp.eq.u32 %p1, %r2, 1; @%p1 bra done;
and.b32 %r3, %r2, 1; setp.eq.u32 %p2, %r3, 0; @%p2 bra even;
mad.lo.u32 %r2, %r2, 3, 1; bra next;
even: shr.u32 %r2, %r2, 1;
next: add.u32 %r9, %r9, 1; setp.lt.u32 %p3, %r9, 60; @%p3 bra again;
done:""", threads=96)

    def way(n: int) -> int:
        count = 0
        while n != 1 and count < 60:
            n, count = (n // 2 if n % 2 == 0 else 3 * n + 1), count + 1
        return count
    assert got.tolist() == [way(n + 1) for n in range(96)]


def test_code_whose_order_is_not_that_of_execution() -> None:
    got = each("""setp.lt.u32 %p1, %r1, 7; @!%p1 bra.uni third;
bra second;
fourth: add.u32 %r9, %r9, 1000; bra end;
third: mov.u32 %r9, 3; bra fourth;
second: mov.u32 %r9, 2; bra fourth;
end:""")
    assert got.tolist() == [1002] * 7 + [1003] * 25


def test_indexed_branches() -> None:
    got = each("""rem.u32 %r2, %r1, 3;
table: .branchtargets a, b, c;
brx.idx %r2, table;
a: mov.u32 %r9, 10; bra end;
b: mov.u32 %r9, 11; bra end;
c: mov.u32 %r9, 12;
end:""")
    assert got.tolist() == (10 + LANE % 3).tolist()


SQUARE = """.func (.param .b32 out) square(.param .b32 x, .param .b32 y)
{ .reg .b32 %r<5>; .reg .pred %p<2>;
ld.param.u32 %r1, [x]; ld.param.u32 %r2, [y];
setp.gt.u32 %p1, %r1, 20; @%p1 bra big;
mul.lo.u32 %r3, %r1, %r2; st.param.b32 [out], %r3; ret;
big: st.param.b32 [out], 7; ret; }"""


def test_functions_are_called_from_several_places() -> None:
    call = """{{ .param .b32 a; .param .b32 b; .param .b32 c;
st.param.b32 [a], {0}; st.param.b32 [b], {0}; call.uni (c), square, (a, b);
ld.param.b32 {1}, [c]; }}"""
    got = each(call.format("%r1", "%r2") + call.format("%r2", "%r9"), before=SQUARE)
    square = [7 if n > 20 else n * n for n in range(500)]
    want = [square[square[n]] for n in range(32)]
    assert got.tolist() == want


def test_threads_and_blocks_in_three_dimensions() -> None:
    body = """ld.param.u64 %d1, [p0]; mov.u32 %r1, %tid.x; mov.u32 %r2, %tid.y; mov.u32 %r3, %tid.z;
mov.u32 %r4, %ctaid.x; mov.u32 %r5, %ctaid.y; mov.u32 %r6, %ctaid.z;
mad.lo.u32 %r7, %r3, 3, %r2; mad.lo.u32 %r7, %r7, 4, %r1;
mad.lo.u32 %r8, %r6, 2, %r5; mad.lo.u32 %r8, %r8, 2, %r4; mad.lo.u32 %r8, %r8, 24, %r7;
mul.wide.u32 %d2, %r8, 4; add.u64 %d3, %d1, %d2; st.global.u32 [%d3], %r8;"""
    text = module(kernel(body))
    assert refused(text) == ""
    got = launch(text, np.zeros(24 * 12, np.uint32), block=(4, 3, 2), grid=(2, 2, 3))[0]
    assert got.tolist() == list(range(24 * 12))


def test_carries() -> None:
    body = """ld.global.u32 %r2, [%d3]; add.cc.u32 %r3, %r2, %r2; addc.u32 %r9, 0, 0;
sub.cc.u32 %r4, %r2, 5; subc.u32 %r5, 0, 0; mad.lo.u32 %r9, %r5, 16, %r9;"""
    x = np.array([0, 4, 5, 1 << 31, (1 << 32) - 1] + [6] * 27, np.uint32)
    wide = x.astype(np.int64)
    want = ((2 * wide >> 32) + 16 * -(wide < 5).astype(np.int64)) & 0xFFFFFFFF
    assert each(body, x=x).tolist() == want.tolist()


# -- barriers ----------------------------------------------------------------------------------

def test_many_blocks_with_barriers_reverse_their_elements() -> None:
    got = each("""mov.u32 %r2, s; mad.lo.u32 %r3, %r1, 4, %r2; st.shared.u32 [%r3], %r22;
bar.sync 0; sub.u32 %r4, 95, %r1; mad.lo.u32 %r5, %r4, 4, %r2; ld.shared.u32 %r9, [%r5];
""", threads=96, blocks=7, declared=".shared .b32 s[96];")
    assert got.tolist() == np.arange(96 * 7).reshape(7, 96)[:, ::-1].reshape(-1).tolist()


def test_a_barrier_inside_a_loop_that_all_leave_together() -> None:
    """A sum over the block by halves."""
    got = each("""mov.u32 %r2, s; mad.lo.u32 %r3, %r1, 4, %r2; st.shared.u32 [%r3], %r1;
mov.u32 %r4, 64;
again: bar.sync 0; setp.ge.u32 %p1, %r1, %r4; @%p1 bra skip;
mad.lo.u32 %r5, %r4, 4, %r3; ld.shared.u32 %r6, [%r5]; ld.shared.u32 %r7, [%r3];
add.u32 %r7, %r7, %r6; st.shared.u32 [%r3], %r7;
skip: shr.u32 %r4, %r4, 1; setp.ne.u32 %p2, %r4, 0; @%p2 bra again;
bar.sync 0; ld.shared.u32 %r9, [%r2];""", threads=128, declared=".shared .b32 s[128];")
    assert set(got.tolist()) == {127 * 64}


def test_named_barriers_of_producers_and_consumers() -> None:
    got = each("""mov.u32 %r2, s; and.b32 %r3, %r1, 31; mad.lo.u32 %r4, %r3, 4, %r2; mov.u32 %r9, 5;
setp.ge.u32 %p1, %r1, 32; @%p1 bra consume;
st.shared.u32 [%r4], %r1; bar.arrive 1, 64; bra end;
consume: bar.sync 1, 64; ld.shared.u32 %r9, [%r4];
end:""", threads=64, declared=".shared .b32 s[32];")
    assert got.tolist() == [5] * 32 + list(range(32))


def test_barriers_that_count() -> None:
    got = each("setp.lt.u32 %p1, %r1, 37; bar.red.popc.u32 %r9, 0, %p1;", threads=64, blocks=3)
    assert set(got.tolist()) == {37}
    got = each("setp.lt.u32 %p1, %r22, 70; bar.red.and.pred %p2, 0, %p1; bar.red.or.pred %p3, 0, "
               "%p1; selp.u32 %r2, 1, 0, %p2; selp.u32 %r3, 2, 0, %p3; add.u32 %r9, %r2, %r3;",
               threads=64, blocks=3)
    assert got.reshape(3, 64)[:, 0].tolist() == [3, 2, 0]


# -- warps -------------------------------------------------------------------------------------

@pytest.mark.parametrize("mode, by, clamp, want", [
    ("up", 3, 0, np.where(LANE >= 3, LANE - 3, LANE)),
    ("down", 5, 31, np.where(LANE <= 26, LANE + 5, LANE)),
    ("bfly", 9, 31, LANE ^ 9), ("idx", 7, 31, np.full(32, 7)),
    ("down", 2, 0x181F, np.where(LANE % 8 < 6, LANE + 2, LANE)),
    ("up", 1, 0x1800, np.where(LANE % 8 > 0, LANE - 1, LANE)),
    ("bfly", 16, 0x101F, np.where(LANE < 16, LANE, LANE ^ 16)),
    ("idx", 2, 0x1C1F, LANE // 4 * 4 + 2)])
def test_shuffles(mode: str, by: int, clamp: int, want: np.ndarray) -> None:
    body = f"shfl.sync.{mode}.b32 %r9|%p1, %r1, {by}, {clamp}, -1;"
    if mode == "bfly" and by == 16:  # the upper half may read the lower, not the other way round
        want = np.where(LANE < 16, LANE, LANE ^ 16)
    got = each(body + "@!%p1 add.u32 %r9, %r9, 1000;")
    inside = want != LANE if mode != "idx" else np.ones(32, bool)
    assert got.tolist() == np.where(inside, want, LANE + 1000).tolist()


def test_half_warps_shuffle_apart() -> None:
    got = each("""setp.lt.u32 %p1, %r1, 16; @%p1 bra low;
shfl.sync.idx.b32 %r9, %r1, 20, 31, 0xFFFF0000; bra end;
low: shfl.sync.idx.b32 %r9, %r1, 3, 31, 0xFFFF;
end:""")
    assert got.tolist() == [3] * 16 + [20] * 16


def test_lanes_wait_for_each_other_at_a_shuffle() -> None:
    got = each("""mov.u32 %r2, %r1; setp.lt.u32 %p1, %r1, 9; @!%p1 bra join;
mov.u32 %r2, 0; mov.u32 %r3, 0;
again: add.u32 %r2, %r2, 10; add.u32 %r3, %r3, 1; setp.lt.u32 %p2, %r3, %r1; @%p2 bra again;
join: shfl.sync.bfly.b32 %r9, %r2, 1, 31, -1;""", threads=64)
    n = np.arange(64)
    values = np.where(n < 9, 10 * np.maximum(n, 1), n)
    assert got.tolist() == values[n ^ 1].tolist()


def test_votes() -> None:
    for code, want in {"vote.sync.ballot.b32 %r9, %p1, -1;": [0x1FFF, 0],
                       "vote.sync.ballot.b32 %r9, !%p1, -1;": [0xFFFFE000, 0xFFFFFFFF],
                       "vote.sync.any.pred %p2, %p1, -1; selp.u32 %r9, 1, 0, %p2;": [1, 0],
                       "vote.sync.all.pred %p2, !%p1, -1; selp.u32 %r9, 1, 0, %p2;": [0, 1],
                       "vote.sync.uni.pred %p2, %p1, -1; selp.u32 %r9, 1, 0, %p2;": [0, 1]}.items():
        got = each("setp.lt.u32 %p1, %r1, 13;" + code, threads=64)
        assert got[::32].tolist() == want and len(set(got[:32].tolist())) == 1, code


def test_active_lanes() -> None:
    got = each("setp.lt.u32 %p1, %r1, 5; @%p1 bra few; activemask.b32 %r9; bra end; "
               "few: activemask.b32 %r9; end:")
    assert got.tolist() == [31] * 5 + [0xFFFFFFE0] * 27


@pytest.mark.parametrize("code, want", [
    ("add.u32", 496), ("min.s32", 0), ("max.u32", 31), ("and.b32", 0), ("or.b32", 31),
    ("xor.b32", 0)])
def test_warp_reductions(code: str, want: int) -> None:
    name, _, type_ = code.partition(".")
    assert set(each(f"redux.sync.{name}.{type_} %r9, %r1, -1;").tolist()) == {want}


def test_matches() -> None:
    got = each("rem.u32 %r2, %r1, 5; match.any.sync.b32 %r9, %r2, -1;")
    want = [sum(1 << j for j in range(32) if j % 5 == i % 5) for i in range(32)]
    assert got.tolist() == want
    got = each("mov.u32 %r2, 4; match.all.sync.b32 %r9|%p1, %r2, -1; @!%p1 mov.u32 %r9, 1;")
    assert set(got.tolist()) == {0xFFFFFFFF}


def test_special_registers() -> None:
    got = each("mov.u32 %r2, %laneid; mov.u32 %r3, %lanemask_lt; popc.b32 %r3, %r3; mov.u32 %r4, "
               "%nctaid.x; mul.lo.u32 %r9, %r2, 100; add.u32 %r9, %r9, %r3; mad.lo.u32 %r9, %r4, "
               "10000, %r9;", threads=64, blocks=2)
    assert got.tolist() == np.tile(20000 + LANE * 101, 4).tolist()


# -- matrices ----------------------------------------------------------------------------------

def test_matrix_product_through_ldmatrix() -> None:
    """C = A B of 16x16 by 16x8 halves: A by ldmatrix.x4, B by ldmatrix.x2.trans."""
    body = """ld.param.u64 %d1, [p0]; ld.param.u64 %d2, [p1]; ld.param.u64 %d3, [p2];
mov.u32 %r1, %tid.x; mov.u32 %r2, sa; mov.u32 %r3, sb;
mul.wide.u32 %d4, %r1, 16; add.u64 %d5, %d1, %d4; ld.global.v4.b32 {%r4, %r5, %r6, %r7}, [%d5];
mad.lo.u32 %r8, %r1, 16, %r2; st.shared.v4.b32 [%r8], {%r4, %r5, %r6, %r7};
mul.wide.u32 %d4, %r1, 8; add.u64 %d5, %d2, %d4; ld.global.v2.b32 {%r4, %r5}, [%d5];
mad.lo.u32 %r8, %r1, 8, %r3; st.shared.v2.b32 [%r8], {%r4, %r5};
bar.sync 0;
and.b32 %r9, %r1, 15; shr.u32 %r10, %r1, 4; shl.b32 %r11, %r9, 5; mad.lo.u32 %r11, %r10, 16, %r11;
add.u32 %r11, %r11, %r2; mad.lo.u32 %r12, %r9, 16, %r3;
ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%r20, %r21, %r22, %r23}, [%r11];
ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%r24, %r25}, [%r12];
mov.b32 %r26, 0;
mma.sync.aligned.m16n8k16.row.col.f32.KIND.KIND.f32 {%r30, %r31, %r32, %r33},
  {%r20, %r21, %r22, %r23}, {%r24, %r25}, {%r26, %r26, %r26, %r26};
shr.u32 %r13, %r1, 2; and.b32 %r14, %r1, 3; shl.b32 %r13, %r13, 5; mad.lo.u32 %r13, %r14, 8, %r13;
cvt.u64.u32 %d6, %r13; add.u64 %d7, %d3, %d6;
st.global.v2.b32 [%d7], {%r30, %r31}; st.global.v2.b32 [%d7+256], {%r32, %r33};"""
    rng = np.random.default_rng(0)
    a, b = rng.integers(-8, 8, (16, 16)), rng.integers(-8, 8, (16, 8))
    shared = ".shared .align 16 .b8 sa[512]; .shared .align 16 .b8 sb[256];"
    for kind in ("f16", "bf16"):
        text = module(kernel(body.replace("KIND", kind), "u64 u64 u64", declared=shared))
        assert refused(text) == ""
        given = [m.astype(np.float16) if kind == "f16" else
                 (m.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16) for m in (a, b)]
        got = launch(text, *given, np.zeros(128, np.float32))[2]
        assert got.reshape(16, 8).tolist() == (a @ b).tolist(), kind


@pytest.mark.parametrize("k", [4, 8])
def test_tf32_products_drop_the_low_bits(k: int) -> None:
    """Lane 4 r + c holds A[r][c], A[r + 8][c] (and four columns on), B[c][r]."""
    rng = np.random.default_rng(k)
    a = rng.standard_normal((16, k)).astype(np.float32)
    b = rng.standard_normal((k, 8)).astype(np.float32)
    r, c = LANE // 4, LANE % 4
    halves = range(k // 4)
    parts = [a[r + 8 * h, c + 4 * j] for j in halves for h in (0, 1)]
    parts += [b[c + 4 * j, r] for j in halves]
    names = [f"%r{i + 1}" for i in range(len(parts))]
    loads = "".join(f"ld.global.b32 {n}, [%d5+{128 * i}];" for i, n in enumerate(names))
    split = 2 * len(halves)
    sources = [names[:split], names[split:]]
    lists = ["{" + ", ".join(s) + "}" if len(s) > 1 else "{" + s[0] + "}" for s in sources]
    body = f"""ld.param.u64 %d1, [p0]; ld.param.u64 %d2, [p1]; mov.u32 %r30, %tid.x;
mul.wide.u32 %d4, %r30, 4; add.u64 %d5, %d1, %d4; {loads} mov.f32 %f9, 0f3F800000;
mma.sync.aligned.m16n8k{k}.row.col.f32.tf32.tf32.f32 {{%f1, %f2, %f3, %f4}}, {lists[0]},
  {lists[1]}, {{%f9, %f9, %f9, %f9}};
mul.wide.u32 %d4, %r30, 16; add.u64 %d6, %d2, %d4;
st.global.v4.f32 [%d6], {{%f1, %f2, %f3, %f4}};"""
    text = module(kernel(body, "u64 u64"))
    assert refused(text) == ""
    got = launch(text, np.concatenate(parts), np.zeros(128, np.float32))[1].reshape(32, 4)

    def cut(m: np.ndarray) -> Any:
        return (m.view(np.uint32) & np.uint32(0xFFFFE000)).view(np.float32).astype(np.float64)
    want = (cut(a) @ cut(b) + 1).astype(np.float32)
    assert got.tolist() == np.stack([want[r, 2 * c], want[r, 2 * c + 1], want[r + 8, 2 * c],
                                     want[r + 8, 2 * c + 1]], 1).tolist()


# -- memory ------------------------------------------------------------------------------------

@pytest.mark.parametrize("count, type_", [(1, "u8"), (1, "s8"), (1, "u16"), (1, "s16"), (2, "u8"),
                                          (4, "u8"), (2, "u16"), (4, "u16"), (2, "u32"), (4, "u32"),
                                          (2, "u64"), (1, "u64")])
@pytest.mark.parametrize("space", ["global", "shared", ""])
def test_loads_and_stores_of_all_widths(count: int, type_: str, space: str) -> None:
    """Elements go through a register (extended where it is wider) and, shared, through memory."""
    size = int(type_[1:]) // 8
    letter = {1: "h", 2: "h", 4: "r", 8: "d"}[size]
    names = [f"%{letter}{i + 10}" for i in range(count)]
    vector = f".v{count}" if count > 1 else ""
    held = "{" + ", ".join(names) + "}" if count > 1 else names[0]
    step = size * count
    body = f"""ld.param.u64 %d1, [p0]; ld.param.u64 %d2, [p1]; mov.u32 %r1, %tid.x;
mul.wide.u32 %d3, %r1, {step}; add.u64 %d4, %d1, %d3; add.u64 %d5, %d2, %d3;
mov.u64 %d6, s; add.u64 %d7, %d6, %d3; cvta.shared.u64 %d8, %d7;
ld.global{vector}.{type_} {held}, [%d4];"""
    if space != "global":
        name, at = (".shared", "%d7") if space else ("", "%d8")
        form = f"{name}{vector}.{type_}"
        body += f"st{form} [{at}], {held}; ld{form} {held}, [{at}];"
    body += f"st.global.cs{vector}.{type_} [%d5], {held};"
    text = module(kernel(body, "u64 u64", declared=f".shared .align 16 .b8 s[{32 * step}];"))
    assert refused(text) == ""
    x = np.random.default_rng(1).integers(0, 256, 32 * step).astype(np.uint8)
    assert launch(text, x, np.zeros_like(x))[1].tolist() == x.tolist()


def test_narrow_loads_are_extended() -> None:
    x = np.array([0x80FF8001] * 32, np.uint32)
    assert set(each("ld.global.s8 %r9, [%d3+3];", x=x).tolist()) == {0xFFFFFF80}
    assert set(each("ld.global.u16 %r9, [%d3+2];", x=x).tolist()) == {0x80FF}
    assert set(each("ld.global.s16 %r9, [%d3+2];", x=x).tolist()) == {0xFFFF80FF}


def test_generic_addresses_reach_every_space() -> None:
    """A quarter of the threads each reads global, shared, local and constant memory."""
    body = """mov.u64 %d10, s; cvta.shared.u64 %d11, %d10;
mov.u64 %d12, l; cvta.local.u64 %d13, %d12;
mov.u64 %d14, c; cvta.const.u64 %d15, %d14; mov.u32 %r2, 22; st.local.u32 [%d12], %r2;
setp.eq.u32 %p1, %r1, 0; @%p1 st.shared.u32 [%d10], 11; bar.sync 0;
and.b32 %r3, %r1, 3; setp.eq.u32 %p2, %r3, 0; selp.b64 %d16, %d3, %d11, %p2;
setp.eq.u32 %p3, %r3, 2; selp.b64 %d16, %d13, %d16, %p3;
setp.eq.u32 %p4, %r3, 3; selp.b64 %d16, %d15, %d16, %p4;
isspacep.local %p5, %d16; ld.u32 %r9, [%d16]; @%p5 add.u32 %r9, %r9, 100;"""
    got = each(body, declared=".shared .b32 s[1]; .local .b32 l[1];",
               before=".const .align 4 .b32 c[1] = {33};", x=np.full(32, 5, np.uint32))
    assert got.tolist() == [5, 11, 122, 33] * 8


def test_device_variables_and_pointers_to_them() -> None:
    before = ".global .align 4 .u32 table[4] = {9, 8, 7, 6}; " \
        ".global .align 8 .u64 where[1] = {table};"
    body = "mov.u64 %d10, where; ld.global.u64 %d11, [%d10]; and.b32 %r2, %r1, 3; " \
        "mul.wide.u32 %d12, %r2, 4; add.u64 %d11, %d11, %d12; ld.global.nc.u32 %r9, [%d11];"
    assert each(body, before=before).tolist() == [9, 8, 7, 6] * 8


def test_packing_registers() -> None:
    got = each("mov.u32 %r8, 5; mov.b64 %d10, {%r1, %r8}; mov.b64 {%r2, %r3}, %d10; "
               "mov.b32 {%h1, %h2}, %r2; mov.b32 %r4, {%h2, %h1}; add.u32 %r9, %r4, %r3;")
    assert got.tolist() == ((LANE << 16) + 5).tolist()


ATOMICS: dict[str, Any] = {
    "add.u32": lambda x: np.uint32(100 + 7 * len(x)), "min.s32": lambda x: np.uint32(0),
    "max.u32": lambda x: np.uint32(max(100, x.max())), "and.b32": lambda x: np.uint32(0),
    "or.b32": lambda x: np.uint32(100 | np.bitwise_or.reduce(x)),
    "xor.b32": lambda x: np.uint32(100 ^ np.bitwise_xor.reduce(x))}


@pytest.mark.parametrize("code", ATOMICS)
@pytest.mark.parametrize("opcode", ["atom", "red"])
def test_atomics_that_meet(code: str, opcode: str) -> None:
    """All threads of three blocks on one word; what they found are all the states in between."""
    given = "7" if code == "add.u32" else "%r1"
    name, _, type_ = code.partition(".")
    to = "%r9, " if opcode == "atom" else ""
    body = f"""ld.param.u64 %d1, [p0]; ld.param.u64 %d9, [p1]; mov.u32 %r1, %tid.x; mov.u32 %r9, 0;
mov.u32 %r2, %ctaid.x; mad.lo.u32 %r3, %r2, 64, %r1; mul.wide.u32 %d2, %r3, 4;
add.u64 %d3, %d9, %d2;
{opcode}.global.{name}.{type_} {to}[%d1], {given}; st.global.u32 [%d3], %r9;"""
    text = module(kernel(body, "u64 u64"))
    assert refused(text) == ""
    word, found = launch(text, np.array([100], np.uint32), np.zeros(192, np.uint32), grid=3,
                         block=64)
    assert word[0] == ATOMICS[code](np.tile(np.arange(64, dtype=np.uint32), 3))
    if code == "add.u32" and opcode == "atom":
        assert sorted(found.tolist()) == list(range(100, 100 + 7 * 192, 7))


@pytest.mark.parametrize("type_, dtype", [("f32", np.float32), ("f64", np.float64)])
def test_atomic_sums_of_floats(type_: str, dtype: type) -> None:
    register = {"f32": "%f1", "f64": "%g1"}[type_]
    body = f"ld.param.u64 %d1, [p0]; mov.u32 %r1, %tid.x; cvt.rn.{type_}.u32 {register}, %r1; " \
        f"red.relaxed.gpu.global.add.{type_} [%d1], {register};"
    text = module(kernel(body))
    assert refused(text) == ""
    assert launch(text, np.array([0.5], dtype), block=64)[0].tolist() == [0.5 + 2016]


def test_a_lock_by_compare_and_swap() -> None:
    """Each thread adds its number by a loop around cas; exch at the end."""
    body = """ld.param.u64 %d1, [p0]; mov.u32 %r1, %tid.x; ld.global.relaxed.gpu.u32 %r2, [%d1];
again: add.u32 %r3, %r2, %r1; atom.global.cas.b32 %r4, [%d1], %r2, %r3;
setp.ne.u32 %p1, %r4, %r2; mov.u32 %r2, %r4; @%p1 bra again;
atom.global.inc.u32 %r5, [%d1+4], 9; atom.global.dec.u32 %r6, [%d1+8], 9;"""
    text = module(kernel(body.replace("ld.global.relaxed.gpu", "ld.relaxed.gpu.global")))
    assert refused(text) == ""
    got = launch(text, np.zeros(3, np.uint32), block=64)[0]
    assert got.tolist() == [2016, 64 % 10, 6]


def test_small_chunks_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    body = TID + "mul.lo.u32 %r9, %r22, 3; st.global.b32 [%d3], %r9;"
    monkeypatch.setattr("emulator.machine.LANES", 256)
    machine = Machine(1 << 20, sm=80)
    got = launch(module(kernel(body)), np.zeros(4096, np.uint32), block=64, grid=64,
                 machine=machine)[0]
    assert got.tolist() == (3 * np.arange(4096)).tolist() and machine.executed >= 4096 * 10
