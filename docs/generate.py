#!/usr/bin/env python3
"""Writes the pages of docs/ that come from the sources: flags.md, ops.md, torch7.md.

`make docs` runs it; tests/test_house.py says when a page is out of date.
"""

from __future__ import annotations

from pathlib import Path

import ops_table
import torch7_table
from flambeau.compiler import config

HEAD = """# Flags

Every flag is an environment variable, read once at import, and an attribute of `fb.config`. In
Python, `with flambeau.compiler.config.override(debug=2):` changes flags for a while. The command
`flambeau info` lists those that differ from their defaults.

<!-- Written by docs/generate.py from compiler/config.py: change it there, then `make docs`. -->

"""


def pages() -> dict[str, str]:
    """The text of each generated page, by file name."""
    return {"flags.md": HEAD + config.markdown() + "\n", "ops.md": ops_table.page(),
            "torch7.md": torch7_table.page()}


if __name__ == "__main__":
    for name, text in pages().items():
        Path(__file__).with_name(name).write_text(text, encoding="utf-8")
        print(f"wrote docs/{name}")
