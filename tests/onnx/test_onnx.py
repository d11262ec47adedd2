"""onnx's node test cases, by operator, and the page that lists them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

onnx = pytest.importorskip("onnx", reason="the package onnx, which brings the cases, is missing")

import outcomes as o  # noqa: E402
from importer import OPERATORS  # noqa: E402

PAGE = Path(__file__).resolve().parents[2] / "docs" / "onnx.md"
WHOLE = os.environ.get("FLAMBEAU_TEST_ONNX") == "all"  # every case on the CPU too, as test-onnx


def failures(names: list[str], device: str) -> str:
    """The cases that went wrong, with their errors."""
    found = {n: o.outcome(n, device) for n in names}
    return "\n".join(f"{n}: {text}" for n, text in found.items()
                     if bool(text) != (n in o.DIFFERENT))


def of_operator(name: str) -> list[str]:
    return [c.name for c in o.plain() if c.operators[0] == name and o.expressible(c)]


@pytest.mark.parametrize("name", sorted(OPERATORS))
def test_operator(name: str) -> None:
    """Every case on the reference device; on the CPU the first, or all."""
    mine = of_operator(name)
    problems = failures(mine, "reference")
    assert not problems, problems
    problems = failures(mine if WHOLE else mine[:1], "cpu")
    assert not problems, problems


def test_operators_written_out() -> None:
    written = [c.name for c in o.cases() if "_expanded" in c.name and o.expressible(c)]
    problems = failures(written, "reference")
    assert not problems, problems


def test_every_operator_is_covered_or_left_out_with_a_reason() -> None:
    seen = {c.operators[0] for c in o.plain()}
    assert not seen - set(OPERATORS) - set(o.LEFT_OUT)
    assert not set(OPERATORS) & set(o.LEFT_OUT)


def test_the_page_says_what_passes(request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--update-golden"):
        PAGE.write_text(o.page(), encoding="utf-8")
    text = PAGE.read_text(encoding="utf-8")
    if f"With onnx {onnx.__version__}:" in text:  # another version has other cases
        assert o.page() == text, "docs/onnx.md is out of date: pytest tests/onnx --update-golden"
