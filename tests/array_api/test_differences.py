"""docs/array_api.md lists the names of the standard that `fb` lacks or gives other parameters."""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path

import flambeau as fb

HERE = Path(__file__).parent
STANDARD = json.loads((HERE / "signatures.json").read_text())
PAGE = (HERE.parents[1] / "docs" / "array_api.md").read_text()


def keywords_missing(name: str, text: str) -> bool:
    """Does `fb`'s function lack a keyword of the standard's?"""
    scope: dict[str, object] = {}
    exec(f"def f({text}): ...", scope)
    wanted = {p.name for p in inspect.signature(scope["f"]).parameters.values()  # type: ignore[arg-type]
              if p.kind is p.KEYWORD_ONLY}
    found = inspect.signature(getattr(fb, name)).parameters.values()
    names = {p.name for p in found}
    return not wanted <= names and not any(p.kind is p.VAR_KEYWORD for p in found)


def test_the_table_names_what_differs() -> None:
    chapters = [c for c in STANDARD if c.endswith("_functions")]
    listed = set(re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE))
    missing = {n for c in chapters for n in STANDARD[c] if not hasattr(fb, n)}
    short = {n for c in chapters for n, text in STANDARD[c].items()
             if hasattr(fb, n) and keywords_missing(n, text)}
    assert missing | short <= listed, sorted((missing | short) - listed)
    assert listed <= {n for c in chapters for n in STANDARD[c]}, listed
