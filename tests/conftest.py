"""Shared set-up: graph checks are on, and tests share an object cache of their own."""

from __future__ import annotations

import os
import tempfile

import pytest

os.environ.setdefault("FLAMBEAU_CACHE", os.path.join(tempfile.gettempdir(), "flambeau-tests"))
os.environ.setdefault("FLAMBEAU_CHECK", "1")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true",
                     help="write the files of tests/golden anew instead of comparing with them")
