"""A few hundred changed files of each format; `fuzz.py` tries any number."""

from __future__ import annotations

import warnings

import fuzz
import pytest


@pytest.mark.parametrize("name", list(fuzz.FORMATS))
def test_changed_files_give_values_or_file_errors(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        count = 250 if name not in fuzz.SHARES else 3
        loaded, _ = fuzz.run(name, count, 7)
    assert loaded < count and (loaded or name in fuzz.SHARES)
