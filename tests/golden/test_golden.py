"""The compiler's text for small programs, against the files here.

A change of these files is a change of what users' programs become: look at the difference, and when
it is meant, `pytest tests/golden --update-golden`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
NAMES = sorted(p.stem for p in HERE.glob("*.txt"))


@pytest.fixture(scope="session")
def texts() -> dict[str, str]:
    """Every program's text, made in a process that has done nothing else."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("FLAMBEAU_")}
    made = subprocess.run([sys.executable, str(HERE / "programs.py")], capture_output=True,
                          text=True, env={**environment, "FLAMBEAU_CHECK": "1"})
    assert made.returncode == 0, made.stderr
    found: dict[str, str] = json.loads(made.stdout)
    return found


def test_there_is_a_file_for_each_program(texts: dict[str, str],
                                          request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--update-golden"):
        for old in HERE.glob("*.txt"):
            old.unlink()
        for name, text in texts.items():
            (HERE / f"{name}.txt").write_text(text)
        return
    assert sorted(texts) == NAMES, "pytest tests/golden --update-golden"


@pytest.mark.parametrize("name", NAMES)
def test_text(name: str, texts: dict[str, str], request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--update-golden"):
        pytest.skip("files are being written")
    assert texts.get(name) == (HERE / f"{name}.txt").read_text()
