"""Every test of this room has an object cache of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from flambeau.compiler.config import override
from flambeau.runtime import jit


@pytest.fixture(autouse=True)
def cache_folder(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "objects"
    with override(cache=str(folder)):
        jit.forget()
        yield folder
        jit.forget()
