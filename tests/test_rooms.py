"""The walls of the house, read from the source: who imports whom.

compiler < runtime < frontend; imports point downhill, stand at the top of a file, and form no
circle. What is not tested rots: every project of this field whose import direction went unchecked
lost it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = {"compiler": "flambeau.compiler", "runtime": "flambeau.runtime", "frontend": "flambeau"}

# the compiler's plain data, and what writes LLVM text: all that the runtime may see
DATA = {"node", "ops", "dtype", "kernel", "launch", "target", "config", "loop", "fold",
        "codegen.emit", "size"}
RUNTIME_SEES = {f"flambeau.compiler.{name}" for name in DATA} | {"flambeau.compiler"}

# frontend files that may ask compiler passes or the runtime for something, and nobody else
DOORS = {"realize", "compiled", "quick", "inspecting", "tracing", "training", "autograd",
         "pullback", "postponing", "variant", "families",
         "loops", "system", "eagerly", "devices", "cuda", "foreign", "routines", "cli.info",
         "cli.caching"}
# the frontend's other files build nodes; they see only what nodes are made of
FRONTEND_SEES = {f"flambeau.compiler.{name}" for name in ("node", "ops", "algebra", "dtype",
                                                     "config")}

PACKAGES = ("nn", "optim", "data", "files", "cli")  # they use the public tensor API
# files of the packages that build nodes themselves, each with its reason; the shorter the better
ENGINE = {
    "nn.module": "the base class: backward by differentiation, flat parameters",
    "nn.parameters": "parameters are storages of their own",
    "nn.running": "forward and backward share one run",
    "nn.labels": "labels are checked when they are known",
    "nn.copying": "copies values into fresh storages",
    "nn.linear": "one node for product and transposition",
    "nn.criteria": "log-softmax and its loss are recorded as one expression",
    "nn.normalization": "running statistics are updated with the next forced value",
    "files.arrays": "tensors from bits, and storages whole",
    "optim.optimizer": "updates are lazy, so that a whole step is one program",
    "optim.sgd": "the update is a rule on nodes, shared by class, function and compiled step",
    "optim.adam": "the update is a rule on nodes, shared by class, function and compiled step",
}
PACKAGE_SEES = {"flambeau.compiler.dtype", "flambeau.compiler.config"}

# third-party modules, and the files that may import them ("room/" for a whole room)
THIRD_PARTY = {
    "numpy": ("compiler/dtype.py", "compiler/ops.py", "compiler/fold.py", "runtime/", "frontend/"),
    "llvmlite": ("runtime/jit.py",),
    "networkx": ("compiler/show.py", "compiler/fuse.py", "compiler/memory.py"),
    "PIL": ("frontend/cli/images.py", "frontend/pictures.py"),
    "h5py": ("frontend/files/mat_worker.py", "frontend/files/mat_versions.py"),
    "pycuda": ("runtime/cuda/",),
    "scipy": ("frontend/flat.py",),
    "matplotlib": (),
}

# imports inside functions, each with its reason
LOCAL = {
    ("compiler/check.py", "flambeau.compiler.show"): "printing, only when a law is broken",
    ("compiler/pipeline.py", "flambeau.compiler.show"): "printing, only for FLAMBEAU_DEBUG",
    ("compiler/show.py", "networkx"): "slow to import, wanted by few",
    ("frontend/nn/module.py", "flambeau.nn.copying"): "clone copies, and copies know modules",
    ("runtime/jit.py", "llvmlite"): "LLVM starts with the first compile",
    ("runtime/jit.py", "llvmlite.binding"): "LLVM starts with the first compile",
}


class Import(NamedTuple):
    """One imported module: where, its absolute name, names taken from it, inside a function?"""

    line: int
    module: str
    names: tuple[tuple[str, str], ...]  # (name, alias); () for `import module`
    local: bool
    alias: str = ""


def files() -> list[Path]:
    return sorted(p for room in ROOMS for p in (ROOT / room).rglob("*.py"))


def place(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def module_name(path: Path) -> str:
    room, *rest = path.relative_to(ROOT).with_suffix("").parts
    if rest[-1] == "__init__":
        rest = rest[:-1]
    return ".".join([ROOMS[room], *rest])


MODULES = {module_name(p): p for p in files()}


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


@cache
def imports(path: Path) -> tuple[Import, ...]:
    return tuple(_walk(tree(path), path, False))


def _walk(node: ast.AST, path: Path, local: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            for a in child.names:
                yield Import(child.lineno, a.name, (), local, a.asname or "")
        elif isinstance(child, ast.ImportFrom):
            yield from _from(child, path, local)
        elif isinstance(child, ast.Call) and _loads_by_name(child):
            yield Import(child.lineno, child.args[0].value, (), True)  # type: ignore[attr-defined]
        elif isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            continue
        inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        yield from _walk(child, path, local or inside)


def _loads_by_name(call: ast.Call) -> bool:
    name = ast.unparse(call.func).rsplit(".", 1)[-1]
    return (name in ("import_module", "__import__") and bool(call.args)
            and isinstance(call.args[0], ast.Constant))


def _from(node: ast.ImportFrom, path: Path, local: bool) -> Iterator[Import]:
    base = node.module or ""
    if node.level:
        package = module_name(path) if path.name == "__init__.py" else \
            module_name(path).rpartition(".")[0]
        parts = package.split(".")
        up = parts[:len(parts) - node.level + 1]
        base = ".".join([*up, *([base] if base else [])])
    plain = []
    for a in node.names:
        if f"{base}.{a.name}" in MODULES:  # `from package import module`
            yield Import(node.lineno, f"{base}.{a.name}", (), local, a.asname or a.name)
        else:
            plain.append((a.name, a.asname or a.name))
    if plain:
        yield Import(node.lineno, base, tuple(plain), local)


def own(module: str) -> bool:
    return module == "flambeau" or module.startswith("flambeau.")


def room_of(module: str) -> str:
    for room in ("compiler", "runtime"):
        if module == f"flambeau.{room}" or module.startswith(f"flambeau.{room}."):
            return room
    return "frontend"


def short(path: Path) -> str:
    """A frontend file's name below flambeau: "realize", "nn.module"."""
    return module_name(path).removeprefix("flambeau").removeprefix(".")


def package_of(module: str) -> str:
    """The frontend package a module belongs to, or ""."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in PACKAGES else ""


def report(broken: list[str]) -> None:
    assert not broken, "\n" + "\n".join(broken)


def test_every_folder_is_listed_for_packaging() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    listed = text.split("packages = [", 1)[1].split("]", 1)[0]
    folders = {module_name(p) for p in files() if p.name == "__init__.py"}
    report([f"pyproject.toml: packages lacks {name}" for name in sorted(folders)
            if f'"{name}"' not in listed])


def test_no_bare_room() -> None:
    """`import compiler` from the repository's root would load a second copy of every module."""
    paths = [*files(), *(ROOT / "tests").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py"),
             *(ROOT / "examples").rglob("*.py")]
    broken = []
    for path in paths:
        for node in ast.walk(tree(path)):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else \
                [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            broken += [f"{place(path)}:{node.lineno}: import {name}" for name in names  # type: ignore[attr-defined]
                       if name.split(".")[0] in ROOMS]
    report(broken)


def test_compiler_looks_at_nobody() -> None:
    report([f"{place(p)}:{i.line}: the compiler imports {i.module}" for p in files()
            if room_of(module_name(p)) == "compiler" for i in imports(p)
            if own(i.module) and room_of(i.module) != "compiler"])


def test_runtime_sees_the_compilers_data_alone() -> None:
    broken = []
    for path in files():
        if room_of(module_name(path)) != "runtime":
            continue
        for i in imports(path):
            room = room_of(i.module) if own(i.module) else ""
            if (room == "frontend" and i.module != "flambeau") or \
                    (room == "compiler" and i.module not in RUNTIME_SEES):
                broken.append(f"{place(path)}:{i.line}: the runtime imports {i.module}")
    report(broken)


def test_frontend_goes_through_its_doors() -> None:
    broken = []
    for path in files():
        name = short(path)
        if room_of(module_name(path)) != "frontend" or name in DOORS or name in ENGINE:
            continue
        sees = PACKAGE_SEES if package_of(module_name(path)) else FRONTEND_SEES
        for i in imports(path):
            if own(i.module) and room_of(i.module) != "frontend" and i.module not in sees:
                broken.append(f"{place(path)}:{i.line}: imports {i.module}; "
                              f"doors are {', '.join(sorted(DOORS))}")
    report(broken)


def test_engine_files_stay_out_of_runtime_and_passes() -> None:
    allowed = FRONTEND_SEES | PACKAGE_SEES
    report([f"{place(p)}:{i.line}: imports {i.module}" for p in files() if short(p) in ENGINE
            for i in imports(p)
            if own(i.module) and room_of(i.module) != "frontend" and i.module not in allowed])


def test_packages_use_the_public_tensor_api() -> None:
    """Layers, optimisers and commands read like a user's code."""
    flambeau = pytest.importorskip("flambeau")
    broken = []
    for path in files():
        package = package_of(module_name(path))
        if not package or short(path) in {*ENGINE, *DOORS}:
            continue
        for i in imports(path):
            if not own(i.module) or room_of(i.module) != "frontend":
                continue
            if i.module == "flambeau" or package_of(i.module) in PACKAGES:
                continue
            used = i.names or tuple((n, n) for n in _attributes(path, i.alias))
            broken += [f"{place(path)}:{i.line}: {i.module}.{name} is not public: fb.{name} does "
                       "not exist" for name, _ in used if not hasattr(flambeau, name)]
    report(broken)


def _attributes(path: Path, alias: str) -> list[str]:
    """What a file takes from a module that it imported as `alias`."""
    return sorted({n.attr for n in ast.walk(tree(path))
                   if isinstance(n, ast.Attribute) and isinstance(n.value, ast.Name)
                   and n.value.id == alias})


def test_packages_point_one_way() -> None:
    """nn knows nothing of optim, data knows nobody, files knows what it writes, cli knows all; the
    core knows none."""
    allowed = {"": set(), "data": {"data"}, "nn": {"nn"}, "optim": {"optim", "nn"},
               "files": {"files", "nn", "optim"}, "cli": set(PACKAGES)}
    broken = []
    for path in files():
        here = package_of(module_name(path))
        if here == "" and path.name in ("__init__.py", "__main__.py"):
            continue
        for i in imports(path):
            there = package_of(i.module) if own(i.module) else ""
            if there and there not in allowed[here]:
                broken.append(f"{place(path)}:{i.line}: {here or 'the core'} imports {i.module}")
    report(broken)


def test_imports_stand_at_the_top() -> None:
    broken = []
    for path in files():
        for i in imports(path):
            known = own(i.module) or i.module.split(".")[0] in THIRD_PARTY
            by_name = _is_by_name(path, i)
            if i.local and known and not by_name and (place(path), i.module) not in LOCAL:
                broken.append(f"{place(path)}:{i.line}: {i.module} imported inside a function")
    report(broken)


def _is_by_name(path: Path, i: Import) -> bool:
    """importlib.import_module("..."): lazy on purpose, and visible as such."""
    return not any(i.line == n.lineno for n in ast.walk(tree(path))
                   if isinstance(n, ast.Import | ast.ImportFrom))


def test_the_list_of_local_imports_is_true() -> None:
    real = {(place(p), i.module) for p in files() for i in imports(p) if i.local}
    report([f"LOCAL lists {entry}, which is gone" for entry in LOCAL if entry not in real])


def test_third_party_modules_stay_in_their_files() -> None:
    broken = []
    for path in files():
        for i in imports(path):
            allowed = THIRD_PARTY.get(i.module.split(".")[0])
            if allowed is not None and not any(
                    place(path) == a or (a.endswith("/") and place(path).startswith(a))
                    for a in allowed):
                broken.append(f"{place(path)}:{i.line}: imports {i.module}")
    report(broken)


def test_only_known_third_party_modules() -> None:
    standard = __import__("sys").stdlib_module_names
    report([f"{place(p)}:{i.line}: imports {i.module}: add it to THIRD_PARTY with its files"
            for p in files() for i in imports(p)
            if not own(i.module) and i.module.split(".")[0] not in {*standard, *THIRD_PARTY}])


def test_the_list_of_engine_files_is_true() -> None:
    names = {short(p) for p in files()}
    report([f"ENGINE lists {name}, which is gone" for name in ENGINE if name not in names])


def test_no_circles() -> None:
    """Within a room, imports at the top of files form no circle: there is a reading order."""
    graph = {name: {t for i in imports(p) if not i.local for t in _targets(i)} - {name}
             for name, p in MODULES.items()}
    for name in graph:
        graph[name] = {t for t in graph[name] if t.rpartition(".")[0] != name
                       and not name.startswith(t + ".")}  # a package and its own parts
    report([" -> ".join(c) for c in _circles(graph)])


def _targets(i: Import) -> set[str]:
    return {i.module} if i.module in MODULES else set()


def _circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """One circle for each edge that closes one, by depth-first search."""
    state: dict[str, int] = {}
    found: list[list[str]] = []

    def visit(name: str, path: list[str]) -> None:
        state[name] = 1
        for target in sorted(graph.get(name, ())):
            if state.get(target) == 1:
                found.append([*path[path.index(target):], target])
            elif target not in state:
                visit(target, [*path, target])
        state[name] = 2

    for name in sorted(graph):
        if name not in state:
            visit(name, [name])
    return found
