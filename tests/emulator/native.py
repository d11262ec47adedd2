"""NumPy ufuncs for what NumPy lacks: fused multiply-add and the high half of a 64-bit product.

Each is a loop over lanes in LLVM IR, made a ufunc through NumPy's C interface.
"""

from __future__ import annotations

import ctypes
from functools import cache, lru_cache
from typing import Any

import llvmlite.binding as llvm
import numpy as np

_LOOP = """
define void @{name}(ptr %args, ptr %dims, ptr %steps, ptr %data) {{
entry:
  %n = load i64, ptr %dims
{loads}
  %any = icmp sgt i64 %n, 0
  br i1 %any, label %body, label %done
body:
  %i = phi i64 [ 0, %entry ], [ %next, %body ]
{values}
{work}
  store {type} %r, ptr %at{out}
  %next = add i64 %i, 1
  %more = icmp slt i64 %next, %n
  br i1 %more, label %body, label %done
done:
  ret void
}}
"""
_HIGH = """  %a = {ext} i64 %x0 to i128
  %b = {ext} i64 %x1 to i128
  %p = mul i128 %a, %b
  %h = lshr i128 %p, 64
  %r = trunc i128 %h to i64"""
_FMA = "  %r = call {type} @llvm.fma.{suffix}({type} %x0, {type} %x1, {type} %x2)"
_DECLARED = ("declare float @llvm.fma.f32(float, float, float)\n"
             "declare double @llvm.fma.f64(double, double, double)\n")
FUNCTIONS = {  # LLVM type, NumPy type, operands, the work
    "fma32": ("float", np.float32, 3, _FMA.format(type="float", suffix="f32")),
    "fma64": ("double", np.float64, 3, _FMA.format(type="double", suffix="f64")),
    "high_u64": ("i64", np.uint64, 2, _HIGH.format(ext="zext")),
    "high_s64": ("i64", np.int64, 2, _HIGH.format(ext="sext")),
}
_kept: list[object] = []  # what the ufuncs point into


def _ir(name: str) -> str:
    kind, _, count, work = FUNCTIONS[name]
    loads, values = [], []
    for k in range(count + 1):
        loads += [f"  %pa{k} = getelementptr ptr, ptr %args, i64 {k}",
                  f"  %p{k} = load ptr, ptr %pa{k}",
                  f"  %ps{k} = getelementptr i64, ptr %steps, i64 {k}",
                  f"  %s{k} = load i64, ptr %ps{k}"]
        values += [f"  %o{k} = mul i64 %i, %s{k}",
                   f"  %at{k} = getelementptr i8, ptr %p{k}, i64 %o{k}"]
        if k < count:
            values.append(f"  %x{k} = load {kind}, ptr %at{k}")
    return _LOOP.format(name=name, type=kind, out=count, loads="\n".join(loads),
                        values="\n".join(values), work=work)


@lru_cache(maxsize=1)
def _engine() -> Any:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(), opt=2)
    module = llvm.parse_assembly(_DECLARED + "".join(map(_ir, FUNCTIONS)))
    engine = llvm.create_mcjit_compiler(module, machine)
    engine.finalize_object()
    _kept.append(machine)
    return engine


@cache
def ufunc(name: str) -> Any:
    """The ufunc called `name`: a row of FUNCTIONS."""
    _, kind, count, _ = FUNCTIONS[name]
    capsule = np._core._multiarray_umath._UFUNC_API  # type: ignore[attr-defined]
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    table = ctypes.cast(pointer(capsule, None), ctypes.POINTER(ctypes.c_void_p))
    make = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p,
                             *[ctypes.c_int] * 4, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_int
                             )(table[1])  # PyUFunc_FromFuncAndData
    loops = (ctypes.c_void_p * 1)(_engine().get_function_address(name))
    data = (ctypes.c_void_p * 1)(None)
    types = ctypes.create_string_buffer(bytes([np.dtype(kind).num] * (count + 1)))
    label = ctypes.create_string_buffer(name.encode())
    _kept.extend((loops, data, types, label))
    return make(ctypes.addressof(loops), ctypes.addressof(data), ctypes.addressof(types), 1, count,
                1, -1, ctypes.cast(label, ctypes.c_char_p), None, 0)
