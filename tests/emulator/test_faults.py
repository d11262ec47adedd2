"""Every trap of the emulator, with the words it is reported in."""

from __future__ import annotations

import numpy as np
import pytest

from emulator import faults
from emulator.machine import Machine
from emulator.snippets import kernel, launch, module, refused, unwritten

THREAD = "ld.param.u64 %d1, [p0]; mov.u32 %r1, %tid.x; mul.wide.u32 %d2, %r1, 4; " \
         "add.u64 %d3, %d1, %d2;"


def fails(kind: type[faults.Fault], words: str, body: str, *arguments: object, declared: str = "",
          block: int = 64, shared: int = 0, parameters: str = "u64") -> faults.Fault:
    """The fault that a kernel, which ptxas accepts, is caught with."""
    text = module(kernel(body, parameters, declared=declared))
    assert refused(text) == ""
    with pytest.raises(kind) as caught:
        launch(text, *arguments, block=block, shared=shared)
    assert words in str(caught.value), str(caught.value)
    assert "kernel k, PTX line" in str(caught.value)
    return caught.value


def zeros(count: int) -> np.ndarray:
    return np.zeros(count, np.uint32)


# -- memory ------------------------------------------------------------------------------------

def test_a_load_past_the_end_names_thread_line_and_allocation() -> None:
    fault = fails(faults.OutOfBounds, "out of bounds: 4 bytes of device memory at 0x7f00000010a0, "
                  "0 bytes past the end of the allocation of 160 bytes at 0x7f0000001000",
                  f"{THREAD}\nld.global.u32 %r2, [%d3];", zeros(40))
    assert fault.place.thread == (40, 0, 0) and fault.place.block == (0, 0, 0)
    assert fault.place.text == "ld.global.u32 %r2, [%d3];"
    assert "thread (40, 0, 0) of block (0, 0, 0)" in str(fault)


def test_the_line_is_the_text_s() -> None:
    text = module(kernel(f"{THREAD}\n\n// a comment\nst.global.u32 [%d3], %r1;"))
    with pytest.raises(faults.OutOfBounds) as caught:
        launch(text, zeros(3))
    line = caught.value.place.line
    assert text.splitlines()[line - 1] == "st.global.u32 [%d3], %r1;"


def test_the_byte_before_an_allocation() -> None:
    fails(faults.OutOfBounds, "out of bounds", f"{THREAD} ld.global.u8 %r2, [%d1+-1];", zeros(4))


def test_a_null_pointer() -> None:
    fails(faults.OutOfBounds, "before every allocation", "mov.u64 %d1, 0; ld.u32 %r1, [%d1];",
          zeros(4))


def test_an_address_of_no_space() -> None:
    fails(faults.OutOfBounds, "expected a valid address, got 0xffff000000000000",
          "mov.u64 %d1, 0xFFFF000000000000; ld.u32 %r1, [%d1];", zeros(4))


def test_use_after_free() -> None:
    machine = Machine(1 << 20, sm=100)
    address = machine.memory.allocate(64)
    assert address is not None and machine.memory.free(address)
    body = f"mov.u64 %d1, {address}; ld.global.u32 %r1, [%d1+8];"
    words = r"use after free: 4 bytes of device memory at .*, byte 8 of the allocation of 64 bytes"
    with pytest.raises(faults.UseAfterFree, match=words + " at .* was freed"):
        launch(module(kernel(body)), zeros(4), machine=machine)


@pytest.mark.parametrize("body, size", [("ld.global.u32 %r2, [%d1+2];", 4),
                                        ("ld.global.v2.u32 {%r2, %r3}, [%d1+4];", 8),
                                        ("st.global.v4.u32 [%d1+8], {%r1, %r1, %r1, %r1};", 16),
                                        ("st.global.u64 [%d1+4], %d2;", 8)])
def test_misaligned_accesses(body: str, size: int) -> None:
    fails(faults.Misaligned, f"expected an address that is a multiple of {size}, got 0x7f00000010",
          THREAD + body, zeros(100))


def test_uninitialised_device_memory() -> None:
    fails(faults.Uninitialised, "uninitialised read: 4 bytes of device memory",
          THREAD + "ld.global.u32 %r2, [%d3];", unwritten(1024))
    text = module(kernel(THREAD + "ld.global.u32 %r2, [%d3];"))
    launch(text, unwritten(1024), machine=Machine(1 << 20, sm=100, strict=False))


def test_uninitialised_shared_memory() -> None:
    fails(faults.Uninitialised, "of shared memory at 0x0 of 256 was never written",
          "mov.u32 %r1, s; ld.shared.u32 %r2, [%r1];", zeros(1), declared=".shared .b32 s[64];")


def test_uninitialised_local_memory() -> None:
    fails(faults.Uninitialised, "of local memory", "mov.u64 %d1, l; ld.local.u32 %r2, [%d1+4];",
          zeros(1), declared=".local .align 8 .b8 l[16];")


def test_shared_memory_ends() -> None:
    shared = "mov.u32 %r1, %tid.x; shl.b32 %r2, %r1, 2; mov.u32 %r3, s; add.u32 %r2, %r2, %r3;"
    fails(faults.OutOfBounds, "out of bounds: 4 bytes of shared memory at 0x80, which has 128",
          shared + "st.shared.u32 [%r2], %r1;", zeros(1), declared=".shared .b32 s[32];")
    text = module(kernel(shared + "st.shared.u32 [%r2], %r1;"),
                  before=".extern .shared .align 16 .b8 s[];")
    assert refused(text) == ""
    launch(text, zeros(1), block=32, shared=128)
    with pytest.raises(faults.OutOfBounds, match="thread \\(31, 0, 0\\)"):
        launch(text, zeros(1), block=32, shared=124)


def test_two_shared_variables_do_not_touch() -> None:
    fails(faults.OutOfBounds, "of shared memory", "mov.u32 %r1, s; st.shared.u32 [%r1+8], %r1;",
          zeros(1), declared=".shared .b32 s[2]; .shared .b32 t[2];", block=1)


def test_constants_are_constant() -> None:
    text = module(kernel("mov.u64 %d1, c; cvta.const.u64 %d2, %d1; mov.u32 %r1, 1; "
                         "st.u32 [%d2], %r1;"), before=".const .align 4 .b32 c[2] = {5, 6};")
    assert refused(text) == ""
    with pytest.raises(faults.ReadOnly, match="write to constants"):
        launch(text, zeros(1))


# -- registers and control flow ----------------------------------------------------------------

def test_a_register_that_one_way_leaves_unwritten() -> None:
    body = THREAD + """
setp.gt.u32 %p1, %r1, 3;
@%p1 bra skip;
mov.u32 %r5, 7;
skip:
st.global.u32 [%d3], %r5;"""
    fault = fails(faults.Uninitialised, "uninitialised read: register %r5 was never written", body,
                  zeros(64))
    assert fault.place.thread == (4, 0, 0)


def test_a_guarded_write_does_not_count_for_the_others() -> None:
    body = THREAD + "setp.lt.u32 %p1, %r1, 5; @%p1 mov.u32 %r5, 7; " \
        "@%p1 st.global.u32 [%d3], %r5;"
    text = module(kernel(body))
    assert launch(text, zeros(8), block=8)[0].tolist() == [7] * 5 + [0] * 3
    fault = fails(faults.Uninitialised, "register %r5", body + "st.global.u32 [%d3], %r5;",
                  zeros(64))
    assert fault.place.thread == (5, 0, 0)


def test_a_loop_without_end() -> None:
    text = module(kernel("mov.u32 %r1, 0; again: add.u32 %r1, %r1, 1; bra again;"))
    with pytest.raises(faults.Runaway, match="runaway loop: expected at most 500 instructions"):
        launch(text, zeros(1), machine=Machine(1 << 20, sm=100, limit=500))


def test_trap() -> None:
    fault = fails(faults.Trapped, "the kernel executed trap",
                  "mov.u32 %r1, %tid.x; setp.eq.u32 %p1, %r1, 9; @%p1 trap;", zeros(1))
    assert fault.place.thread == (9, 0, 0)


# -- barriers ----------------------------------------------------------------------------------

def test_a_barrier_that_some_threads_have_left() -> None:
    fails(faults.BarrierDivergence, "barrier divergence: expected 64 threads of the block, got: "
          "48 wait here, 16 have exited", "mov.u32 %r1, %tid.x; setp.ge.u32 %p1, %r1, 48; "
          "@%p1 exit; bar.sync 0;", zeros(1))


def test_two_barriers_in_two_branches() -> None:
    body = """mov.u32 %r1, %tid.x; setp.ge.u32 %p1, %r1, 32; @%p1 bra other;
bar.sync 0;
bra.uni end;
other:
bar.sync 0;
end:"""
    fails(faults.BarrierDivergence, "32 wait here, 32 wait at line", body, zeros(1))


# -- races -------------------------------------------------------------------------------------

SHARED = "mov.u32 %r1, %tid.x; shl.b32 %r2, %r1, 2; mov.u32 %r3, s; add.u32 %r2, %r2, %r3;" \
         "xor.b32 %r4, %r1, {0}; shl.b32 %r5, %r4, 2; add.u32 %r5, %r5, %r3;"
DECLARED = ".shared .align 16 .b8 s[512];"


def race(body: str, words: str, distance: int = 32) -> None:
    fails(faults.Race, words, SHARED.format(distance) + body, zeros(1), declared=DECLARED)


def fine(body: str, distance: int = 32, block: int = 64) -> None:
    text = module(kernel(SHARED.format(distance) + body, declared=DECLARED))
    assert refused(text) == ""
    launch(text, zeros(1), block=block)


def test_a_read_of_another_thread_s_write() -> None:
    race("st.shared.u32 [%r2], %r1; ld.shared.u32 %r6, [%r5];",
         "shared race: this read of 4 bytes of shared memory at 0x80 of 512 and the write by "
         "thread (32, 0, 0) in line")
    fine("st.shared.u32 [%r2], %r1; bar.sync 0; ld.shared.u32 %r6, [%r5];")


def test_a_write_of_what_another_thread_read() -> None:
    start = "st.shared.u32 [%r2], %r1; bar.sync 0; ld.shared.u32 %r6, [%r5];"
    race(start + "st.shared.u32 [%r2], %r6;", "and the read by thread")
    fine(start + "bar.sync 0; st.shared.u32 [%r2], %r6;")


def test_two_writes_even_of_one_value() -> None:
    race("st.shared.u32 [%r3], 7;", "this write of 4 bytes of shared memory at 0x0")


def test_a_warp_is_no_barrier_by_itself() -> None:
    both = "st.shared.u32 [%r2], %r1;{0} ld.shared.u32 %r6, [%r5];"
    race(both.format(""), "are not ordered by a barrier", distance=1)
    fine(both.format("bar.warp.sync -1;"), distance=1)
    fine(both.format("shfl.sync.idx.b32 %r7, %r1, 0, 31, -1;"), distance=1)
    race(both.format("bar.warp.sync -1;"), "are not ordered by a barrier", distance=32)


def test_half_a_warp_orders_its_half() -> None:
    masked = "and.b32 %r7, %r1, 16; setp.eq.u32 %p1, %r7, 0; selp.b32 %r8, 0xFFFF, 0xFFFF0000, " \
        "%p1; st.shared.u32 [%r2], %r1; bar.warp.sync %r8; ld.shared.u32 %r6, [%r5];"
    fine(masked, distance=8)
    race(masked, "are not ordered by a barrier", distance=16)


def test_bytes_of_one_word_are_apart() -> None:
    fine("add.u32 %r7, %r3, %r1; st.shared.u8 [%r7], %r1;")


def test_atomics_do_not_race_with_atomics() -> None:
    start = "setp.eq.u32 %p1, %r1, 0; @%p1 st.shared.u32 [%r3], 0; bar.sync 0;"
    fine(start + "atom.shared.add.u32 %r6, [%r3], 1; bar.sync 0; ld.shared.u32 %r7, [%r3];")
    race(start + "atom.shared.add.u32 %r6, [%r3], 1; ld.shared.u32 %r7, [%r3];",
         "this read of 4 bytes of shared memory at 0x0 of 512 and a write by other threads")


# -- warps -------------------------------------------------------------------------------------

def test_a_mask_without_the_thread_itself() -> None:
    fault = fails(faults.WarpDivergence, "expected a mask that names the thread's own lane 16, got "
                  "0x0000ffff", "mov.u32 %r1, %tid.x; shfl.sync.down.b32 %r2, %r1, 1, 31, 0xFFFF;",
                  zeros(1))
    assert fault.place.thread == (16, 0, 0)


def test_masks_that_do_not_agree() -> None:
    fails(faults.WarpDivergence, "expected one mask in all lanes it names, got",
          "mov.u32 %r1, %tid.x; setp.lt.u32 %p1, %r1, 8; selp.b32 %r2, 0xFFFFFFFF, 0xFFFFFFFE, %p1;"
          "setp.eq.u32 %p2, %r1, 0; @%p2 mov.b32 %r2, -1; shfl.sync.idx.b32 %r3, %r1, 0, 31, %r2;",
          zeros(1), block=32)


def test_a_named_lane_that_waits_elsewhere() -> None:
    body = """mov.u32 %r1, %tid.x; setp.ge.u32 %p1, %r1, 16; @%p1 bra other;
shfl.sync.bfly.b32 %r2, %r1, 1, 31, -1;
bra.uni end;
other:
bar.warp.sync -1;
end:"""
    fails(faults.WarpDivergence, "expected all lanes that the mask names, but lanes [16, 17, 18",
          body, zeros(1), block=32)


def test_a_shuffle_from_a_lane_that_has_gone() -> None:
    fails(faults.WarpDivergence, "from a lane that does not take part: lane 8 reads lane 24",
          "mov.u32 %r1, %tid.x; setp.ge.u32 %p1, %r1, 24; @%p1 exit;"
          "shfl.sync.bfly.b32 %r2, %r1, 16, 31, -1;", zeros(1), block=32)


def test_matrices_need_whole_warps() -> None:
    registers = "{%r1, %r1, %r1, %r1}, {%r1, %r1, %r1, %r1}, {%r1, %r1}, {%r1, %r1, %r1, %r1}"
    fails(faults.WarpDivergence, "expected all 32 lanes of the warp, got 16", "mov.u32 %r1, 0;"
          f"mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {registers};", zeros(1), block=16)


# -- what is not PTX ---------------------------------------------------------------------------

@pytest.mark.parametrize("body, words", [
    ("add.q32 %r1, %r2, %r3;", "expected a form of add that is emulated, got add.q32"),
    ("frobnicate.u32 %r1, %r2;", "expected an instruction that is emulated, got frobnicate.u32"),
    ("add.s32 %r1, %d2, %r3;", "expected a register for s32, got %d2 of 64 bits"),
    ("add.s32 %r1, %r99, %r3;", "expected a declared register, got %r99"),
    ("add.s32 %r1, %r2;", "expected 3 operands, got 2"),
    ("bra nowhere;", "expected a label of this kernel, got nowhere"),
    ("setp.lo.s32 %p1, %r1, %r2;", "expected a form of setp"),
    ("cvt.f32.s32 %f1, %r1;", "expected a form of cvt"),
    ("add.f32 %f1, %f2, 3;", ""),
])
def test_text_that_is_refused(body: str, words: str) -> None:
    text = module(kernel("mov.u32 %r1, 0; mov.u32 %r2, 0; mov.u32 %r3, 0; mov.f32 %f2, 0f00000000;"
                         + body))
    if not words:
        assert launch(text, zeros(1))
        return
    with pytest.raises(faults.PtxError) as caught:
        launch(text, zeros(1))
    assert words in str(caught.value) and "ptx: line" in str(caught.value)
    assert refused(text) or refused(module(kernel(""))) != ""
