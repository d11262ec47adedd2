"""Machine code: compile, load, cache, unload."""

from __future__ import annotations

import ctypes
import gc
import os
import subprocess
import sys
import weakref
from pathlib import Path

import numpy as np
import pytest
from flambeau.compiler.config import config, override
from flambeau.compiler.target import nvptx
from flambeau.runtime import cache, jit
from native_text import add_one


def run(code: jit.Code, value: float) -> float:
    data = np.array([value, 0.0])
    code.function("entry")(data.ctypes.data, data.ctypes.data + 8, None)
    return float(data[1])


def fail() -> str:
    raise AssertionError("the text was asked for")


def entry_file(folder: Path) -> Path:
    (file,) = folder.glob("*" + cache.SUFFIX)
    return file


def test_compiles_then_memory_then_disk(cache_folder: Path) -> None:
    target = jit.host_target()
    first = jit.load(add_one, "k", target)
    assert first.cached == "compiled" and run(first, 2.0) == 3.0
    again = jit.load(fail, "k", target)
    assert again is first and again.cached == "memory"
    jit.forget()
    other = jit.load(fail, "k", target)
    assert other is not first and other.cached == "disk" and run(other, 4.0) == 5.0
    assert other.size > 0 and other.seconds > 0 and other.address("entry")
    assert run(first, 2.0) == 3.0


def test_key_holds_target_and_text_key() -> None:
    host = jit.host_target()
    names = {jit.cache_name("a", host), jit.cache_name("b", host)}
    with override(cpu="x86-64"):
        names.add(jit.cache_name("a", jit.host_target()))
    assert len(names) == 3


@pytest.mark.parametrize("damage", [
    lambda data: b"", lambda data: data[:30], lambda data: data[:-1], lambda data: data + b"x",
    lambda data: data[:200] + bytes([data[200] ^ 1]) + data[201:],
    lambda data: b"flambeau object 0\n" + data[18:]], ids=[
        "empty", "head", "short", "long", "bit", "format"])
def test_damaged_entry_is_a_miss(cache_folder: Path, damage: object) -> None:
    target = jit.host_target()
    jit.load(add_one, "k", target)
    file = entry_file(cache_folder)
    good = file.read_bytes()
    file.write_bytes(damage(good))  # type: ignore[operator]
    jit.forget()
    code = jit.load(add_one, "k", target)
    assert code.cached == "compiled" and run(code, 1.0) == 2.0
    assert cache.read(file.stem) is not None  # and mended


def test_entry_under_another_name_is_a_miss(cache_folder: Path) -> None:
    target = jit.host_target()
    jit.load(add_one, "k", target)
    other = cache_folder / (jit.cache_name("other", target) + cache.SUFFIX)
    other.write_bytes(entry_file(cache_folder).read_bytes())
    assert jit.load(add_one(5.0), "other", target).cached == "compiled"


def test_object_that_cannot_be_linked_is_a_miss(cache_folder: Path) -> None:
    target = jit.host_target()
    header = {"imports": [], "exports": ["entry"]}
    cache.write(jit.cache_name("k", target), header, b"not an object")
    code = jit.load(add_one, "k", target)
    assert code.cached == "compiled" and run(code, 1.0) == 2.0


def test_unusable_folder_is_no_cache(tmp_path: Path) -> None:
    occupied = tmp_path / "a file"
    occupied.write_text("")
    for folder in (str(occupied), "/proc/nowhere", "off"):
        with override(cache=folder):
            jit.forget()
            assert jit.load(add_one, "k", jit.host_target()).cached == "compiled"
            assert cache.info()["entries"] == 0


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write")
def test_read_only_folder_still_reads(cache_folder: Path) -> None:
    jit.load(add_one, "k", jit.host_target())
    cache_folder.chmod(0o555)
    jit.forget()
    assert jit.load(fail, "k", jit.host_target()).cached == "disk"
    assert jit.load(add_one, "new", jit.host_target()).cached == "compiled"
    cache_folder.chmod(0o755)


def test_unreadable_entry_is_a_miss(cache_folder: Path) -> None:
    jit.load(add_one, "k", jit.host_target())
    file = entry_file(cache_folder)
    file.unlink()
    file.mkdir()  # opening it fails, for root too
    jit.forget()
    assert jit.load(add_one, "k", jit.host_target()).cached == "compiled"


WRITER = """
import sys
sys.path.insert(0, sys.argv[1])
from native_text import add_one
from flambeau.runtime import cache, jit
for i in range(60):
    jit.forget()
    code = jit.load(add_one(float(i % 4)), f"k{i % 4}", jit.host_target())
    if i % 7 == 0:
        cache.clear()
"""


def test_concurrent_writers(cache_folder: Path) -> None:
    environment = {**os.environ, "FLAMBEAU_CACHE": str(cache_folder)}
    command = [sys.executable, "-c", WRITER, str(Path(__file__).parent)]
    writers = [subprocess.Popen(command, env=environment) for _ in range(2)]
    assert [w.wait(timeout=60) for w in writers] == [0, 0]
    for i in range(4):
        assert run(jit.load(add_one(float(i)), f"k{i}", jit.host_target()), 1.0) == 1.0 + i
    assert not list(cache_folder.glob("*.tmp"))


def test_folder_follows_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with override(cache=""):
        assert cache.folder() == tmp_path / "flambeau"
    with override(cache="off"):
        assert cache.folder() is None


def test_trim_drops_the_oldest(cache_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for i in range(4):
        cache.write(f"e{i}", {}, bytes(1000))
        os.utime(cache_folder / f"e{i}{cache.SUFFIX}", (i, i))
    monkeypatch.setattr(cache, "LIMIT", 1500)
    monkeypatch.setattr(cache, "_trimmed", False)
    cache.write("new", {}, bytes(10))
    assert {p.stem for p in cache.entries()} == {"e3", "new"}  # an entry is 1000 bytes and a head


def test_code_unloads_and_functions_keep_it() -> None:
    code = jit.load(add_one, "k", jit.host_target())
    watch = weakref.ref(code)
    function = code.function("entry")
    jit.forget()
    del code
    gc.collect()
    assert watch() is not None
    data = np.array([1.0, 0.0])
    function(data.ctypes.data, data.ctypes.data + 8, None)
    assert data[1] == 2.0
    del function
    assert watch() is None


def test_many_modules_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Address space and linkers go with the modules."""
    monkeypatch.setattr(jit, "KEPT", 4)
    target = jit.host_target()
    linkers = weakref.WeakSet()
    with override(cache="off"):
        for i in range(300):
            code = jit.load(add_one(float(i)), f"k{i}", target)
            linkers.add(code._tracker.linker)
            assert run(code, 1.0) == 1.0 + i
    gc.collect()
    assert len(linkers) <= 2 and len(jit._loaded) <= 4


def test_bad_text_and_missing_symbols() -> None:
    target = jit.host_target()
    with pytest.raises(jit.CompileError, match="expected valid LLVM IR"):
        jit.load("define void @f() { ret i32 0 }", "bad", target)
    missing = "declare void @no_such_symbol_here()\ndefine void @entry() {\n" \
              "  call void @no_such_symbol_here()\n  ret void\n}\n"
    with pytest.raises(jit.CompileError, match="no_such_symbol_here"):
        jit.load(missing, "missing", target)
    with pytest.raises(KeyError):
        jit.load(add_one, "k", target).address("nothing")


def test_provided_symbol_and_libc() -> None:
    called = []
    callback = ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_double)(
        lambda x: called.append(x) or 2 * x)
    jit.provide("test_double", lambda: ctypes.cast(callback, ctypes.c_void_p).value or 0)
    text = """
declare double @test_double(double)
declare double @cos(double)
declare ptr @memcpy(ptr, ptr, i64)
define void @entry(ptr %x, ptr %y, ptr %z) {
  %c = call ptr @memcpy(ptr %y, ptr %x, i64 8)
  %a = load double, ptr %y
  %b = call double @test_double(double %a)
  %d = call double @cos(double %b)
  store double %d, ptr %y
  ret void
}
"""
    for found in ("compiled", "disk"):
        jit.forget()
        code = jit.load(text, "k", jit.host_target())
        assert code.cached == found
        assert run(code, 0.25) == np.cos(0.5)
    assert called == [0.25, 0.25]


INLINED = """
define internal double @twice(double %x) alwaysinline {
  %y = fadd double %x, %x
  ret double %y
}
define double @entry(double %x) {
  %a = alloca double
  store double %x, ptr %a
  %b = load double, ptr %a
  %c = call double @twice(double %b)
  ret double %c
}
"""


def test_optimised_text_is_inlined_and_clean() -> None:
    text = jit.optimised_ir(INLINED, jit.host_target())
    assert "call" not in text and "alloca" not in text and "twice" not in text
    assert "ret" in jit.assembly(INLINED, jit.host_target())
    assert len(jit.object_code(INLINED, jit.host_target())) > 100


WIDE = """
define void @entry(ptr %x, ptr %y, ptr %z) "prefer-vector-width"="512" {
  %a = load <16 x float>, ptr %x, align 4
  %b = fadd <16 x float> %a, splat (float 1.5)
  store <16 x float> %b, ptr %y, align 4
  ret void
}
"""


@pytest.mark.parametrize("cpu, width, registers, fma, word, absent", [
    ("x86-64", 16, 16, False, "addps", "ymm"), ("x86-64-v3", 32, 16, True, "ymm", "zmm"),
    ("x86-64-v4", 64, 32, True, "zmm", "xmm")])
def test_processors(cpu: str, width: int, registers: int, fma: bool, word: str,
                    absent: str) -> None:
    if not jit._is_x86(jit.host_target().triple):
        pytest.skip("an x86 test")
    with override(cpu=cpu):
        target = jit.host_target()
    assert (target.vector_bytes, target.registers, target.fma) == (width, registers, fma)
    text = jit.assembly(WIDE, target)
    assert word in text and absent not in text
    if target.vector_bytes <= config_width():
        data = np.arange(32, dtype=np.float32)
        code = jit.load(WIDE, "wide", target)
        code.function("entry")(data.ctypes.data, data.ctypes.data + 64, None)
        assert np.array_equal(data[16:], np.arange(16, dtype=np.float32) + 1.5)


def config_width() -> int:
    with override(cpu="", vector_bytes=0):
        return jit.host_target().vector_bytes


NARROW = """
define void @entry(ptr %x, ptr %y, ptr %z) {
entry:
  br label %loop
loop:
  %i = phi i64 [ 0, %entry ], [ %n, %loop ]
  %p = getelementptr FROM, ptr %x, i64 %i
  %q = getelementptr TO, ptr %y, i64 %i
  %a = load FROM, ptr %p
  %b = WORD FROM %a to TO
  store TO %b, ptr %q
  %n = add i64 %i, 1
  %more = icmp ult i64 %n, COUNT
  br i1 %more, label %loop, label %out
out:
  ret void
}
"""


def convert(data: np.ndarray, source: str, to: str, out: type, cpu: str) -> np.ndarray:
    """The data converted one by one on a processor that may have no instruction for it."""
    word = "fpext" if source == "half" else "fptrunc"
    text = NARROW.replace("FROM", source).replace("TO", to).replace("WORD", word).replace(
        "COUNT", str(data.size))
    with override(cpu=cpu):
        code = jit.load(text, f"{source} {to} {data.size}", jit.host_target())
    result = np.zeros(data.size, out)
    code.function("entry")(data.ctypes.data, result.ctypes.data, None)
    return result


@pytest.mark.parametrize("cpu", ["", "x86-64"])
def test_sixteen_bit_floats_without_instructions(cpu: str) -> None:
    if cpu and not jit._is_x86(jit.host_target().triple):
        pytest.skip("an x86 test")
    halves = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    wide = convert(halves, "half", "float", np.float32, cpu)
    np.testing.assert_array_equal(wide, halves.astype(np.float32))
    finite = wide[np.isfinite(wide)]
    between = (finite * np.float32(1 + 2 ** -11)).astype(np.float32)  # ties and near them
    rng = np.random.default_rng(0)
    some = rng.integers(0, 1 << 32, 100_000, np.uint64).astype(np.uint32).view(np.float32)
    floats = np.concatenate([wide, between, some])
    with np.errstate(all="ignore"):
        doubles = np.concatenate([floats, floats], dtype=np.float64)
        doubles[floats.size:] *= rng.choice([1 + 2.0 ** -40, 1 - 2.0 ** -40], floats.size)
    with np.errstate(all="ignore"):
        for name, data in (("float", floats), ("double", doubles)):
            np.testing.assert_array_equal(convert(data, name, "half", np.float16, cpu),
                                          data.astype(np.float16))
    numbers = floats[~np.isnan(floats)]
    bits = numbers.view(np.uint32).astype(np.uint64)
    expected = ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)
    got = convert(numbers, "float", "bfloat", np.uint16, cpu)
    normal = np.abs(numbers) >= 2.0 ** -126  # AVX-512's own instruction flushes what is smaller
    np.testing.assert_array_equal(got[normal], expected[normal])


def test_vector_bytes_override() -> None:
    assert config.vector_bytes == 0
    with override(vector_bytes=16):
        assert jit.host_target().vector_bytes == 16
    host = jit.host_target()
    assert host is jit.host_target()
    assert host.l1 >= 8 << 10 and host.l2 >= host.l1 and host.l3 >= 1 << 20


def test_ptx() -> None:
    text = """
define ptx_kernel void @kernel(ptr addrspace(1) %x) {
  %i = call i32 @llvm.nvvm.read.ptx.sreg.tid.x()
  %p = getelementptr float, ptr addrspace(1) %x, i32 %i
  %a = load float, ptr addrspace(1) %p
  %b = fadd float %a, 1.0
  store float %b, ptr addrspace(1) %p
  ret void
}
declare i32 @llvm.nvvm.read.ptx.sreg.tid.x()
"""
    for sm in (75, 90, 75, 90):
        out = jit.ptx(text, nvptx(sm))
        assert f".target sm_{sm}" in out and ".visible .entry kernel" in out
    with pytest.raises(ValueError, match="expected a cuda target"):
        jit.ptx(text, jit.host_target())


IMPORT = """
import os, sys
import numpy
before = set(os.listdir("/proc/self/task")) if sys.platform == "linux" else set()
from flambeau.runtime import blas, epoch, jit, memory, pool
assert not [m for m in sys.modules if m.startswith("llvmlite")]
if before:
    assert set(os.listdir("/proc/self/task")) == before
"""


def test_import_starts_neither_llvm_nor_threads() -> None:
    subprocess.run([sys.executable, "-c", IMPORT], check=True, timeout=60)
