"""One page: is the library there, does it compute, is its import light?"""

from __future__ import annotations

import subprocess
import sys

import flambeau as fb
import numpy as np


def test_an_expression():
    a, b = fb.tensor([[1.0, 2.0], [3.0, 4.0]]), fb.arange(2)
    y = (a * b + 1).relu()
    np.testing.assert_array_equal(y.numpy(), [[1, 3], [1, 5]])


def test_views_share_storage():
    x = fb.zeros(2, 3)
    x.t()[1].fill_(5)
    assert x.tolist() == [[0, 5, 0], [0, 5, 0]]


def test_import_is_light():
    heavy = ("llvmlite", "networkx", "matplotlib", "scipy", "pycuda", "PySide6")
    code = f"import sys, flambeau; print([m for m in {heavy} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_every_public_function_has_a_docstring():
    from flambeau import functional
    missing = [n for n in functional.__all__ if not getattr(functional, n).__doc__]
    assert not missing
    methods = [n for n, m in vars(fb.Tensor).items()
               if callable(m) and not n.startswith("_") and not m.__doc__]
    assert methods == ["cpu"] or not methods
