"""benchmarks/library.py covers every public function that NumPy has too, and asks both the same."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def library() -> Iterator[Any]:
    sys.path.insert(0, str(BENCHMARKS))
    yield importlib.import_module("library")
    sys.path.remove(str(BENCHMARKS))


def test_every_function_that_numpy_has_is_timed(library: Any) -> None:
    functions = importlib.import_module("functions")
    timed = {case.function for name in functions.SECTIONS for case in functions.section(name, 100)}
    known = timed | functions.UNTIMED
    missing = [names for names in functions.counterparts().values()
               if not known & {*names, *(n.removeprefix("linalg.") for n in names)}]
    assert not missing
    assert known - timed == functions.UNTIMED  # none is timed after all


def test_both_sides_give_the_same(library: Any) -> None:
    functions = importlib.import_module("functions")
    found = {c.name: library.differs(c) for c in functions.section("movement", 60)
             if "float32" in c.name}
    assert len(found) > 40 and not any(found.values()), found


def test_rows_and_their_summary(library: Any, tmp_path: Path) -> None:
    options = argparse.Namespace(only="creation", match="zeros float32", size=100, turns=1,
                                 check=False)
    rows = list(library.measure(options))
    assert [r["case"] for r in rows] == ["zeros float32"]
    assert rows[0]["ratio"] > 0 and rows[0]["n"] == 100
    path = tmp_path / "library.json"
    library.write(path, rows)
    library.write(path, rows)  # rows of the same name are replaced
    assert path.read_text().count('"zeros float32"') == 1
    ratios = [dict(rows[0], ratio=r) for r in (0.5, 1.0, 1.07, 1.5)]
    assert library.summary(ratios).splitlines()[-1] == "| all | 4 | 1 | 1 | 2 | 1 | 1.04 |"
