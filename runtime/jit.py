"""Turns LLVM IR text into machine code that can be called, and keeps it.

Owns: the LLVM back end (imported on the first compile), the optimisation pipeline, the loaded code
and its lifetime. `load` looks in memory, then on disk (`cache`), then compiles.

IR may call the C library and libm (found in the process), and the symbols that other files of this
room `provide`: `fb_parallel` (pool), `fb_sgemm`, `fb_dgemm` (blas).

Code is position independent and of the small model: JITLink puts a module's sections side by side
and reaches everything else through a table, so constants cost one instruction to load.
"""

from __future__ import annotations

import ctypes
import importlib
import itertools
import os
import platform
import subprocess
import sys
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from flambeau import compiler
from flambeau.compiler.config import config
from flambeau.compiler.target import Target
from flambeau.runtime import cache, narrow

PIPELINE = "simplify 1, select 2"  # enters the cache key: change it with the passes
KEPT = 256  # loaded modules kept for reuse after their last user let go
PER_LINKER = 64  # modules that share one of LLVM's linkers

Prototype = Callable[[int | None, int | None, int | None], None]
Pointers = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)
HeldPointers = ctypes.PYFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)


class CompileError(RuntimeError):
    """LLVM refused the text, or a symbol it calls does not exist."""


class Code:
    """Loaded machine code. It is unloaded when the last reference goes: hold it while it runs."""

    __slots__ = ("__weakref__", "_tracker", "addresses", "cached", "key", "seconds", "size")

    def __init__(self, key: str, tracker: Any, addresses: dict[str, int]) -> None:
        self.key = key
        self._tracker = tracker
        self.addresses = addresses  # of every exported function and variable
        self.cached = "compiled"  # how the last load found it: memory, disk or compiled
        self.seconds = 0.0  # what that load took
        self.size = 0  # bytes of object code

    def address(self, symbol: str) -> int:
        """Where `symbol` lies; KeyError when the module does not export it."""
        return self.addresses[symbol]

    def function(self, symbol: str) -> Prototype:
        """`void symbol(ptr, ptr, ptr)` as a callable of three addresses (int or None).

        The call releases the GIL; the callable keeps the code loaded.
        """
        entry = Pointers(self.addresses[symbol])
        entry.code = self  # type: ignore[attr-defined]
        return entry


    def held_function(self, symbol: str) -> Prototype:
        """The same, but the call keeps the GIL: nothing else that is Python runs meanwhile."""
        entry = HeldPointers(self.addresses[symbol])
        entry.code = self  # type: ignore[attr-defined]
        return entry


# -- the one door ------------------------------------------------------------------------------

_lock = threading.RLock()  # one compile at a time: LLVM's Python binding has one lock anyway
_loaded: weakref.WeakValueDictionary[str, Code] = weakref.WeakValueDictionary()
_recent: OrderedDict[str, Code] = OrderedDict()
_libraries = itertools.count()

if hasattr(os, "register_at_fork"):  # a child forked in the middle of a compile must not inherit it
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release,
                        after_in_child=_lock.release)


def load(ir: str | Callable[[], str], key: str, target: Target) -> Code:
    """The machine code of a module with LLVM text `ir`, by the structural digest `key`.

    A callable `ir` is called only when neither memory nor disk has the key. `Code.cached` says
    where it was found. Raises CompileError.
    """
    start = time.perf_counter()
    name = cache_name(key, target)
    with _lock:
        code = _loaded.get(name)
        found = "memory"
        if code is None:
            code, found = _load_missing(ir, name, target)
            _loaded[name] = code
        _keep(name, code)
    code.cached, code.seconds = found, time.perf_counter() - start
    return code


def cache_name(key: str, target: Target) -> str:
    """The full key: structure, target, passes, and the versions of everything in between."""
    return cache.digest(key, _versions(), target.triple, target.cpu, target.features)


def forget() -> None:
    """Drops the modules kept in memory for reuse; those in use stay loaded."""
    with _lock:
        _recent.clear()
        for name in list(_loaded):
            _loaded.pop(name, None)


def _keep(name: str, code: Code) -> None:
    _recent[name] = code
    _recent.move_to_end(name)
    if len(_recent) > KEPT:
        _recent.popitem(last=False)


def _load_missing(ir: str | Callable[[], str], name: str, target: Target) -> tuple[Code, str]:
    entry = cache.read(name)
    if entry is not None:
        try:
            return _link(name, *entry), "disk"
        except CompileError:  # an object this process cannot link: make a new one
            pass
    header, binary = _compile(ir() if callable(ir) else ir, target)
    code = _link(name, header, binary)
    cache.write(name, header, binary)
    return code, "compiled"


@lru_cache(maxsize=1)
def _versions() -> str:
    """LLVM's version, the passes, and a digest of the compiler's own sources.

    The sources stand in for our version number: an edited code generator never meets its old code.
    """
    llvm = _llvm()
    root = Path(compiler.__file__).parent
    sources = cache.digest(*(p.read_bytes() for p in sorted(root.rglob("*.py"))))
    return f"{llvm.version} {PIPELINE} {sources}"


# -- symbols that IR may call ------------------------------------------------------------------

_providers: dict[str, Callable[[], int]] = {}
_homes = {"fb_parallel": "pool", "fb_sgemm": "blas", "fb_dgemm": "blas"}


def provide(symbol: str, address: Callable[[], int]) -> None:
    """Makes `symbol` callable from IR; `address` is asked when the first module needs it."""
    _providers[symbol] = address


def _resolve(symbol: str) -> int | None:
    """The address of a provided symbol; None leaves it to the process (libc, libm)."""
    if symbol not in _providers and symbol in _homes:
        importlib.import_module(f"flambeau.runtime.{_homes[symbol]}")
    provider = _providers.get(symbol)
    return provider() if provider else None


def _narrow(symbol: str) -> int:
    """The address of one of the conversions to and from 16-bit floats."""
    return _narrow_code().address(symbol)


@lru_cache(maxsize=1)
def _narrow_code() -> Code:
    return load(narrow.SOURCE, cache.digest(narrow.SOURCE), host_target())


for _symbol in narrow.SYMBOLS:
    provide(_symbol, lambda symbol=_symbol: _narrow(symbol))  # type: ignore[misc]


def _in_process(symbol: str) -> bool:
    try:
        return hasattr(ctypes.CDLL(None), symbol)
    except (OSError, TypeError):  # systems where the process is not one library
        return True


# -- LLVM --------------------------------------------------------------------------------------

class _Llvm:
    """llvmlite's binding, started, and the linker that modules share."""

    def __init__(self) -> None:
        import llvmlite
        import llvmlite.binding as binding
        self.binding = binding
        self.version = f"{llvmlite.__version__} {binding.llvm_version_info}"
        binding.initialize_native_target()
        binding.initialize_native_asmprinter()
        # RuntimeDyld, the older linker, wants the large code model and cannot share constants.
        self.jitlink = sys.platform != "win32"
        self._linker: Any = None
        self._linked = 0

    def linker(self) -> Any:
        """The linker for one more module: a new one after every PER_LINKER.

        A linker keeps some 9 KB of every module it has seen, so it has to go with them.
        """
        if self._linked % PER_LINKER == 0:
            self._linker = self.binding.create_lljit_compiler(use_jit_link=self.jitlink,
                                                              suppress_errors=True)
        self._linked += 1
        return self._linker


@lru_cache(maxsize=1)
def _llvm() -> _Llvm:
    return _Llvm()


@lru_cache(maxsize=16)
def _machine(triple: str, cpu: str, features: str) -> Any:
    """LLVM's TargetMachine."""
    llvm = _llvm()
    if triple.startswith("nvptx"):
        llvm.binding.initialize_all_targets()
        llvm.binding.initialize_all_asmprinters()
    model = "small" if llvm.jitlink or triple.startswith("nvptx") else "jitdefault"
    return llvm.binding.Target.from_triple(triple).create_target_machine(
        cpu=cpu, features=features, opt=2, reloc="pic", codemodel=model)


def _parse(ir: str, target: Target) -> Any:
    """The verified module, in an LLVM context of its own so that it leaves nothing behind."""
    binding = _llvm().binding
    try:
        module = binding.parse_assembly(ir, context=binding.create_context())
        module.verify()
    except RuntimeError as error:
        raise CompileError(f"jit: expected valid LLVM IR, got: {str(error).strip()}") from None
    module.triple = target.triple
    module.data_layout = target.data_layout
    return module


def _builder(machine: Any, speed: int, unroll: bool) -> Any:
    """LLVM's pass builder without vectorisers: our text has its vectors already."""
    binding = _llvm().binding
    options = binding.create_pipeline_tuning_options(speed_level=speed)
    options.loop_vectorization = options.slp_vectorization = options.loop_interleaving = False
    options.loop_unrolling = unroll
    return binding.create_pass_builder(machine, options)


@lru_cache(maxsize=16)
def _cpu_passes(triple: str, cpu: str, features: str) -> tuple[Any, Any]:
    """Passes over the module, then over each function; kept, as llvmlite 0.50 never frees them.

    Vectors, unrolling and most hoisting are the generator's business, so the whole of -O2 would
    take more than half as long again and make the same code.
    """
    inline = _llvm().binding.create_new_module_pass_manager()
    inline.add_always_inliner_pass()
    inline.add_global_dead_code_eliminate_pass()
    builder = _builder(_machine(triple, cpu, features), speed=1, unroll=False)
    return inline, builder.getFunctionPassManager()


def _optimise(module: Any, target: Target) -> Any:
    """Runs the passes; the machine that selects instructions."""
    key = (target.triple, target.cpu, target.features)
    machine = _machine(*key)
    if target.kind == "cuda":  # all of -O3, made anew: LLVM's inliner uses its passes up
        builder = _builder(machine, speed=3, unroll=True)
        builder.getModulePassManager().run(module, builder)
        return machine
    inline, simplify = _cpu_passes(*key)
    builder = _builder(machine, speed=1, unroll=False)
    inline.run(module, builder)
    for function in module.functions:
        if not function.is_declaration:
            simplify.run(function, builder)
    return machine


def _optimised(ir: str, target: Target) -> tuple[Any, Any]:
    module = _parse(ir, target)
    return module, _optimise(module, target)


def optimised_ir(ir: str, target: Target) -> str:
    """The module's text after the passes."""
    return str(_optimised(ir, target)[0])


def assembly(ir: str, target: Target) -> str:
    """The module as assembly (PTX for an nvptx target)."""
    module, machine = _optimised(ir, target)
    return machine.emit_assembly(module)  # type: ignore[no-any-return]


def ptx(ir: str, target: Target) -> str:
    """PTX text for an nvptx target."""
    if target.kind != "cuda":
        raise ValueError(f"ptx: expected a cuda target, got {target.kind} ({target.triple})")
    return assembly(ir, target)


def object_code(ir: str, target: Target) -> bytes:
    """The module as a relocatable object file."""
    module, machine = _optimised(ir, target)
    return machine.emit_object(module)  # type: ignore[no-any-return]


def _compile(ir: str, target: Target) -> tuple[dict[str, Any], bytes]:
    """Header (the names that come in and go out) and object code."""
    module, machine = _optimised(ir, target)
    imports, exports = [], []
    for item in itertools.chain(module.functions, module.global_variables):
        if item.is_declaration:
            if not item.name.startswith("llvm."):
                imports.append(item.name)
        elif item.linkage.name == "external":
            exports.append(item.name)
    if "half" in ir or "bfloat" in ir:  # instruction selection may call these
        imports += [s for s in narrow.SYMBOLS if s not in imports + exports]
    return {"imports": imports, "exports": exports}, machine.emit_object(module)


def _link(name: str, header: dict[str, Any], binary: bytes) -> Code:
    llvm = _llvm()
    linker = llvm.linker()
    library = llvm.binding.JITLibraryBuilder().add_object_img(binary).add_current_process()
    for symbol in header["imports"]:
        address = _resolve(symbol)
        if address is not None:
            library.import_symbol(symbol, address)
    for symbol in header["exports"]:
        library.export_symbol(symbol)
    try:
        tracker = library.link(linker, f"m{next(_libraries)}")
    except RuntimeError as error:
        missing = [s for s in header["imports"] if s not in _providers and not _in_process(s)]
        reason = f"no such symbols: {missing}" if missing else str(error).strip()
        raise CompileError(f"jit: expected a module that links, got {reason}") from None
    tracker.linker = linker  # to be freed after the tracker
    code = Code(name, tracker, {s: tracker[s] for s in header["exports"]})
    code.size = len(binary)
    return code


# -- the host ----------------------------------------------------------------------------------

def host_target() -> Target:
    """This machine as a Target; `config.cpu` and `config.vector_bytes` override what it has."""
    return _host_target(config.cpu, config.vector_bytes)


@lru_cache(maxsize=8)
def _host_target(cpu: str, vector_bytes: int) -> Target:
    binding = _llvm().binding
    triple = binding.get_process_triple()
    features = "" if cpu else _host_features()
    if cpu and cpu != binding.get_host_cpu_name():
        _check_processor(triple, cpu)
    cpu = cpu or binding.get_host_cpu_name()
    layout = str(_machine(triple, cpu, features).target_data)
    plain = Target("cpu", triple, layout, cpu, features)
    widest, fused = _probe(plain)
    width = vector_bytes or widest
    many = widest == 64 or not _is_x86(triple)
    l1, l2, l3 = _cache_sizes()
    return Target("cpu", triple, layout, cpu, features, vector_bytes=width,
                  registers=32 if many else 16, fma=fused, l1=l1, l2=l2, l3=l3)


_TRIAL = """
import sys
import llvmlite.binding as b
b.initialize_native_target()
b.initialize_native_asmprinter()
machine = b.Target.from_triple(sys.argv[1]).create_target_machine(cpu=sys.argv[2])
machine.emit_object(b.parse_assembly("define void @f() { ret void }"))
"""


def _check_processor(triple: str, cpu: str) -> None:
    """Raises ValueError for a processor that LLVM does not know or that has no 64 bits: there LLVM
    would end the process, so another one tries."""
    trial = subprocess.run([sys.executable, "-c", _TRIAL, triple, cpu], capture_output=True,
                           text=True, check=False)
    if trial.returncode or "not a recognized processor" in trial.stderr:
        raise ValueError(f"FLAMBEAU_CPU: expected a 64-bit processor by LLVM's name, such as "
                         f"{_llvm().binding.get_host_cpu_name()} (`clang --print-supported-cpus` "
                         f"and `llc -mcpu=help` list them), got {cpu!r}")


def _host_features() -> str:
    try:
        return str(_llvm().binding.get_host_cpu_features().flatten())
    except RuntimeError:  # unknown to LLVM on this system: the processor's name says enough
        return ""


def _is_x86(triple: str) -> bool:
    return triple.startswith(("x86_64", "i386", "i686"))


_PROBE = """
declare <16 x float> @llvm.fma.v16f32(<16 x float>, <16 x float>, <16 x float>)
define <16 x float> @probe(<16 x float> %a, <16 x float> %b, <16 x float> %c)
    "prefer-vector-width"="512" {
  %d = call <16 x float> @llvm.fma.v16f32(<16 x float> %a, <16 x float> %b, <16 x float> %c)
  ret <16 x float> %d
}
"""


def _probe(target: Target) -> tuple[int, bool]:
    """(vector bytes, has fma), read off the code LLVM makes for this processor."""
    if not _is_x86(target.triple):
        return 16, True
    module = _parse(_PROBE, target)
    text = _machine(target.triple, target.cpu, target.features).emit_assembly(module)
    fused = "vfmadd" in text
    if "%zmm" in text:
        return 64, fused
    wide = "%ymm" in text  # without AVX2 integers would be split, so AVX alone counts as narrow
    return (32 if wide and fused else 16), fused


def _cache_sizes() -> tuple[int, int, int]:
    """Bytes of L1 data, L2 and L3, with safe values where the system does not say."""
    sizes = {1: 32 << 10, 2: 1 << 20, 3: 16 << 20}
    if platform.system() != "Linux":
        return sizes[1], sizes[2], sizes[3]
    for index in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*"):
        try:
            kind = (index / "type").read_text().strip()
            text = (index / "size").read_text().strip()
            level = int((index / "level").read_text())
        except (OSError, ValueError):
            continue
        if kind != "Instruction" and level in sizes and text[-1:] in ("K", "M"):
            sizes[level] = int(text[:-1]) << (10 if text[-1] == "K" else 20)
    return sizes[1], sizes[2], sizes[3]
