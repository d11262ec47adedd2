"""docs/torch7_table.py against the code: every name exists, is documented and is tested."""

from __future__ import annotations

import importlib.util
import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import flambeau as fb
import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILT_IN = {"__getitem__", "__setitem__", "__add__", "__mul__", "__repr__", "__version__"}


def table() -> Any:
    place = ROOT / "docs" / "torch7_table.py"
    spec = importlib.util.spec_from_file_location("torch7_table", place)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


TABLE = table()
ROWS = [row for rows in TABLE.sections().values() for row in rows]
NAMES = sorted({name for row in ROWS for name in row.ours})


@cache
def words_of_tests() -> set[str]:
    """Words of test files, and the calls of recorded cases that tests look up by name."""
    recorded = {name for p in (ROOT / "tests" / "data").glob("torch7_*.json")
                for name in re.findall(r'"name": ?"(\w+)"', p.read_text())}
    return recorded | {word for p in (ROOT / "tests").rglob("*.py") if p != Path(__file__)
                       for word in re.findall(r"\w+", p.read_text())}


def found(name: str) -> Any:
    thing: Any = fb
    for part in name.split("."):
        thing = getattr(thing, part)
    return thing


@pytest.mark.parametrize("name", NAMES)
def test_name(name: str) -> None:
    thing = found(name)
    last = name.rsplit(".", 1)[-1]
    if last in BUILT_IN:
        return
    assert not callable(thing) or thing.__doc__, f"{name} has no docstring"
    assert last in words_of_tests(), f"{name} is in no test"


def test_a_row_without_names_says_what_replaces_them() -> None:
    for row in ROWS:
        assert row.ours or row.remark, row.torch7
        assert row.torch7


def test_every_recorded_call_has_a_row() -> None:
    """The names in the values recorded from Torch7, and in its random numbers."""
    listed = {word for row in ROWS for word in re.findall(r"\w+", row.torch7)}
    cases = json.loads((ROOT / "tests" / "data" / "torch7_tensor.json").read_text())["cases"]
    called = {c["name"] for c in cases if c["kind"] == "tensor"}
    called |= {s["method"] for c in cases if c["kind"] == "program" for s in c["program"]}
    assert called <= listed, called - listed


def test_page_is_up_to_date() -> None:
    assert TABLE.PAGE.read_text() == TABLE.page(), "run python docs/torch7_table.py"
