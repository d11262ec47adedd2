"""The house in order: docs that match the sources, commands that exist, files of a fair size."""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from flambeau.cli.main import make_parser
from flambeau.compiler.config import FLAGS, markdown

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")] + \
    sorted((ROOT / "docs").glob("*.md"))
ROOMS = ("compiler", "runtime", "frontend")
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))

FILE_LINES = 600
FUNCTION_LINES = 60
FILE_BYTES = 256 << 10
LARGER: dict[str, int] = {  # measured and drawn by benchmarks/bench.py
    "benchmarks/results/latest/report.html": 3 << 20,
    "benchmarks/results/latest/elementwise.json": 1 << 19}
SILENT = ("llvmlite", "networkx", "matplotlib", "scipy", "PIL", "pycuda")  # not loaded by import


@cache
def tracked() -> list[Path]:
    """The files of the repository: git's list, or everything where there is no git."""
    try:
        out = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
        return [ROOT / name for name in out.stdout.decode().split("\0")
                if name and (ROOT / name).is_file()]
    except (OSError, subprocess.CalledProcessError):
        folders = [ROOT / f for f in (*ROOMS, "tests", "benchmarks", "examples", "docs")]
        return [p for f in folders for p in f.rglob("*")
                if p.is_file() and "__pycache__" not in p.parts]


def place(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def report(broken: list[str]) -> None:
    assert not broken, "\n" + "\n".join(broken)


# -- docs --------------------------------------------------------------------------------------

def test_every_flag_is_documented() -> None:
    page = (ROOT / "docs" / "flags.md").read_text()
    assert markdown() in page, "docs/flags.md is out of date: run `make docs`"
    report([f"docs/flags.md lacks {f.variable}" for f in FLAGS if f"`{f.variable}`" not in page])


def test_every_flag_in_the_sources_exists() -> None:
    known = {f.variable for f in FLAGS}
    report([f"{place(p)}: {name} is no flag" for p in tracked() if p.suffix in (".py", ".md")
            for name in set(re.findall(r"\bFLAMBEAU_[A-Z_]+\b", p.read_text()))
            if name not in known and not name.startswith("FLAMBEAU_TEST_")])


@pytest.mark.parametrize("page", PAGES, ids=place)
def test_commands_in_docs_exist(page: Path) -> None:
    """Indented lines that call make, flambeau or a script of ours."""
    makefile = (ROOT / "Makefile").read_text()
    for line in re.findall(r"^    (?:\$ )?((?:make|flambeau|python) .*)$", page.read_text(), re.M):
        words = shlex.split(line)
        if words[0] == "make":
            assert re.search(rf"^{words[1]}:", makefile, re.M), f"{line}: no such target"
        elif words[0] == "flambeau":
            make_parser().parse_args(words[1:])
        elif words[1] != "-m":
            assert (ROOT / words[1]).is_file(), f"{line}: no such file"


@pytest.mark.parametrize("page", PAGES, ids=place)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)\)", page.read_text())
    report([f"{place(page)}: {link}" for link in links
            if "://" not in link and not (page.parent / link).exists()])


def test_files_named_in_the_reading_order_exist() -> None:
    """`frontend/tensor.py`, `storage.py`: a bare name lies in the room named before it."""
    text = (ROOT / "docs" / "index.md").read_text().split("## In which order", 1)[1]
    names = re.findall(r"`((?:[\w]+/)*[\w]+\.py)`", text.split("## Pages")[0])
    known = {place(p) for p in tracked()} | {place(p) for p in ROOT.glob("*/**/*.py")}
    report([f"docs/index.md names {n}" for n in names
            if not any(k == n or k.endswith("/" + n) for k in known)])


def blocks(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", page.read_text(), re.M | re.S)


@pytest.mark.parametrize("number", range(len(blocks(ROOT / "README.md"))))
def test_readme_examples_run(number: int) -> None:
    exec(compile(blocks(ROOT / "README.md")[number], f"README example {number}", "exec"), {})


@pytest.mark.parametrize("example", EXAMPLES, ids=place)
def test_examples_run(example: Path, tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, str(example)], cwd=tmp_path, capture_output=True,
                          text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip() and "nan" not in done.stdout.split()


# -- import ------------------------------------------------------------------------------------

def test_import_loads_nothing_heavy() -> None:
    """Not seconds, which a busy machine would decide, but what is loaded."""
    code = ("import sys, flambeau; print(*sorted({m.split('.')[0] for m in sys.modules}), "
            "*(m for m in sys.modules if m.startswith('flambeau.compiler.codegen')))")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found = done.stdout.split()
    report([f"import flambeau loads {m}" for m in found
            if m in SILENT or m.startswith("flambeau.compiler.codegen")])


# -- files -------------------------------------------------------------------------------------

# words that only a machine of ours would say, spelled so that this line is none of them
PRIVATE = re.compile(r"/wor[k]/|/roo[t]/|/hom[e]/\w|/op[t]/|/tm[p]/\w|pyp[i]\.org|pythonhoste[d]")


def test_no_machine_paths() -> None:
    broken = []
    for path in tracked():
        if path.suffix in (".npz", ".png", ".t7"):
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if found := PRIVATE.search(line):
                broken.append(f"{place(path)}:{number}: {found.group()}")
    report(broken)


def test_files_are_of_a_fair_size() -> None:
    broken = []
    for path in tracked():
        if path.stat().st_size > LARGER.get(place(path), FILE_BYTES):
            broken.append(f"{place(path)}: {path.stat().st_size >> 10} KiB")
        if path.suffix == ".py" and place(path).split("/")[0] in ROOMS:
            lines = path.read_text().count("\n")
            if lines > FILE_LINES:
                broken.append(f"{place(path)}: {lines} lines")
    report(broken)


def test_test_files_have_names_of_their_own() -> None:
    """pytest imports test files by their bare names; packages are imported by whole ones."""
    seen: dict[str, str] = {}
    broken = []
    for path in tracked():
        alone = not (path.parent / "__init__.py").exists()
        if path.name.startswith("test_") and path.suffix == ".py" and alone:
            if path.name in seen:
                broken.append(f"{place(path)}: the name of {seen[path.name]}")
            seen[path.name] = place(path)
    report(broken)


def test_functions_are_short() -> None:
    broken = []
    for path in (p for room in ROOMS for p in (ROOT / room).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and node.end_lineno:
                length = node.end_lineno - node.lineno + 1
                if length > FUNCTION_LINES:
                    broken.append(f"{place(path)}:{node.lineno}: {node.name} has {length} lines")
    report(broken)


def test_every_file_says_what_it_owns() -> None:
    report([place(p) for room in ROOMS for p in (ROOT / room).rglob("*.py")
            if p.read_text().strip() and not ast.get_docstring(ast.parse(p.read_text()))])


def test_data_has_its_licence() -> None:
    text = (ROOT / "frontend" / "data" / "LICENSE-digits.txt").read_text()
    assert "CC BY 4.0" in text and "scikit-learn" in text and "UCI" in text
