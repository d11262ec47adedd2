"""The pages of docs/: their code runs, and what they list is all there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from flambeau.compiler import pipeline

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = ("lazy", "training", "cuda", "custom_ops", "random", "torch7")


@pytest.mark.parametrize("page", PAGES)
def test_code_runs(page: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = (DOCS / f"{page}.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    assert blocks
    scope: dict[str, object] = {"__name__": page}
    for block in blocks:  # one after the other, as a reader would
        exec(compile(block, f"docs/{page}.md", "exec"), scope)


def test_the_compiler_page_names_every_file_and_pass() -> None:
    text = (DOCS / "compiler.md").read_text()
    named = set(re.findall(r"^\| `([\w.]+)` \|", text, re.MULTILINE))
    there = {p.name for p in (ROOT / "compiler").rglob("*.py")}
    assert named == there
    assert [n for n, _ in pipeline.PASSES if f"`{n}`" not in text] == []


def test_links_lead_somewhere() -> None:
    broken = []
    for page in DOCS.glob("*.md"):
        for link in re.findall(r"\]\(([^)#]+)", page.read_text()):
            if "://" not in link and not (DOCS / link).exists():
                broken.append(f"{page.name}: {link}")
    assert not broken
