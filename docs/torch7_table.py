"""Writes docs/torch7.md: the guide, and what became of every name of Torch7's tensor library.

docs/torch7_names.txt is the registry; tests/torch7/test_registry.py checks it against the code. A
row is `Torch7 names | names here | remark`. Names here are attributes of `fb`, of Tensor
(`Tensor.x`) or Storage (`Storage.x`). Where nothing of that name is built, the second column is
`-` and the remark says what replaces it.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

PAGE = Path(__file__).parent / "torch7.md"
GUIDE = Path(__file__).parent / "torch7_guide.md"

NAMES = Path(__file__).parent / "torch7_names.txt"


class Row(NamedTuple):
    """Torch7's names, what is built (empty: replaced) and a remark."""

    torch7: str
    ours: tuple[str, ...]
    remark: str


def sections() -> dict[str, list[Row]]:
    """Rows by heading."""
    found: dict[str, list[Row]] = {}
    for line in NAMES.read_text().strip().splitlines():
        if line.startswith("# "):
            rows = found[line[2:]] = []
        elif line:
            torch7, ours, remark = (part.strip() for part in line.split("|"))
            names = () if ours == "-" else tuple(ours.split(", "))
            rows.append(Row(torch7, names, remark))
    return found


def _spelled(name: str) -> str:
    return name if name.startswith(("Tensor.", "Storage.")) else f"fb.{name}"


def page() -> str:
    """The whole page: the guide, then a table for each section."""
    parts = [GUIDE.read_text(), "\n## Every name\n"]
    for title, rows in sections().items():
        parts.append(f"\n### {title}\n\n| Torch7 | here | |\n|---|---|---|\n")
        for row in rows:
            ours = ", ".join(f"`{_spelled(n)}`" for n in row.ours) or "*replaced*"
            parts.append(f"| {row.torch7} | {ours} | {row.remark} |\n")
    return "".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page())
    print("wrote docs/torch7.md")
