"""A part of the op tests on the emulated CUDA device; `make test-cuda` runs them all."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PART = (  # from each family a few, with few structures to compile
    "elementwise.py::test_where_clamp_lerp_addcmul", "elementwise.py::test_bfloat16",
    "elementwise.py::test_integers_wrap_and_division_by_zero_gives_zero",
    "elementwise.py::test_pow", "products.py::test_torch7_family",
    "products.py::test_matmul_of_views", "convolution.py::test_convolution",
    "indexing.py::test_masks", "indexing.py::test_repeated_places_in_a_write",
    "indexing.py::test_writes_see_the_old_values", "movement.py::test_joins",
    "movement.py::test_unfold", "sorting.py::test_nan_sorts_last_and_ties_are_stable",
    "random.py::test_draws_and_streams_are_independent",
    "complex.py::test_in_place_and_views_share_memory",
    "complex.py::test_compiled_functions_and_state",
    "custom_op.py::test_errors_of_the_body_say_where")


def test_a_part_of_the_op_tests() -> None:
    command = [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider",
               *(f"tests/ops/test_{name}" for name in PART)]
    environment = {**os.environ, "FLAMBEAU_TEST_DEVICE": "cuda-emulated"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]
    found = re.search(r"(\d+) passed", done.stdout)
    assert found is not None and int(found.group(1)) >= len(PART), done.stdout[-1000:]
