"""SciPy's functions that declare Array API support give on tensors what they give on NumPy arrays.

`make test` runs the groups in QUICK; FLAMBEAU_TEST_SCIPY=all runs every call in a few minutes.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

QUICK = ("fft", "ndimage", "constants", "cluster", "optimize")
# calls that fail, by the reason (docs/array_api.md)
OTHERWISE = frozenset((
    "signal.sosfilt", "signal.sosfiltfilt", "signal.bode", "signal.group_delay", "signal.invres",
    "signal.invresz", "signal.place_poles", "signal.impulse", "signal.dimpulse",
    "signal.cspline2d", "signal.czt", "signal.decimate", "signal.cont2discrete", "signal.residue",
    "signal.residuez", "signal.unique_roots", "signal.qspline2d", "interpolate.RBFInterpolator"))
MODULES = ("special", "stats", "stats.qmc", "fft", "signal", "signal.windows", "ndimage", "cluster",
           "cluster.vq", "cluster.hierarchy", "integrate", "differentiate", "interpolate", "linalg",
           "optimize", "optimize.elementwise", "constants")


def scope(xp: Any, convert: Any, numbers: dict[str, Any]) -> dict[str, Any]:
    """The names that stand in a call."""
    modules = {name: importlib.import_module(f"scipy.{name}") for name in MODULES}

    def copy_line(i: Any, o: Any) -> None:
        o[...] = i[1:-1]

    def second_difference(inp: Any, axis: int, output: Any, mode: str, cval: float) -> Any:
        return modules["ndimage"].correlate1d(inp, [1, -2, 1], axis, output, mode, cval, 0)

    return {
        **{k: convert(v) for k, v in numbers.items()},
        **{k: v for k, v in modules.items() if "." not in k}, "xp": xp, "np": np,
        "take_mean": lambda x, axis=-1: xp.mean(x, axis=axis), "copy_line": copy_line,
        "uniform": lambda size: convert(np.random.default_rng(1).uniform(size=size)),
        "second_difference": second_difference,
    }


def parts(found: Any) -> Iterator[Any]:
    """The arrays and numbers in a result, which may be an object."""
    if isinstance(found, (tuple, list)):
        for f in found:
            yield from parts(f)
    elif isinstance(found, dict):
        for k in sorted(found):
            yield from parts(found[k])
    elif hasattr(found, "__dict__") and not hasattr(found, "shape"):
        yield from parts({k: v for k, v in vars(found).items() if not callable(v)})
    else:
        yield found


def compare(want: Any, got: Any, tensor: type) -> None:
    mine, theirs = list(parts(got)), list(parts(want))
    assert len(mine) == len(theirs)
    for g, w in zip(mine, theirs):
        if isinstance(w, (np.ndarray, np.generic)):
            assert isinstance(g, tensor), f"expected a tensor, got {type(g).__name__}"
            found = np.asarray(g)
            assert (found.shape, found.dtype) == (w.shape, w.dtype)
        if isinstance(w, (np.ndarray, np.generic, int, float, complex)):
            np.testing.assert_allclose(np.asarray(g), w, rtol=1e-7, atol=1e-9)


def run(groups: list[str]) -> None:
    """Every call of the groups, beside NumPy's; in a process of its own, for SciPy reads
    SCIPY_ARRAY_API when it is imported."""
    import warnings

    import flambeau as fb
    from flambeau import array_api as xp
    from scipy_calls import CALLS, values
    warnings.simplefilter("ignore")
    fb.set_default_dtype(fb.float64)
    numbers, hierarchy = values(), importlib.import_module("scipy.cluster.hierarchy")
    numbers["Z"] = hierarchy.linkage(numbers["dist"], "average")
    numbers["R"] = hierarchy.inconsistent(numbers["Z"])
    numbers["flat"] = hierarchy.fcluster(numbers["Z"], 1.0).astype(np.int32)
    failed = []
    chosen = {k: v for k, v in CALLS.items()
              if (not groups or k.split(".")[0] in groups)}
    for name, call in chosen.items():
        want = eval(call, scope(np, lambda v: v, numbers))
        try:
            compare(want, eval(call, scope(xp, fb.tensor, numbers)), fb.Tensor)
        except Exception as reason:
            failed.append(name)
            if name not in OTHERWISE:
                print(f"{name}: {type(reason).__name__}: {str(reason)[:300]}")
    print(f"{len(chosen) - len(failed)} of {len(chosen)}")
    expected = OTHERWISE & set(chosen)
    gone = expected - set(failed)
    assert set(failed) <= expected, sorted(set(failed) - expected)
    assert not gone, f"these work now: {sorted(gone)}"


def test_calls_give_what_they_give_on_numpy_arrays() -> None:
    scipy = pytest.importorskip("scipy")
    if not scipy.__version__.startswith("1.17."):
        pytest.skip(f"the list of calls is SciPy 1.17's, got {scipy.__version__}")
    groups = () if os.environ.get("FLAMBEAU_TEST_SCIPY") == "all" else QUICK
    made = subprocess.run([sys.executable, __file__, *groups], capture_output=True, text=True,
                          cwd=Path(__file__).parent, env={**os.environ, "SCIPY_ARRAY_API": "1"})
    assert made.returncode == 0, made.stdout + made.stderr[-2000:]


if __name__ == "__main__":
    run(sys.argv[1:])
