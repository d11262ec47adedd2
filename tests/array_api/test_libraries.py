"""Other people's code on the namespace: array-api-strict's dtypes, SciPy, scikit-learn."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys

import flambeau as fb
import flambeau.array_api as xp
import pytest

BOTH = ("add", "subtract", "multiply", "divide", "pow", "atan2", "floor_divide", "remainder",
        "maximum", "equal", "less", "bitwise_and", "bitwise_left_shift", "logical_or", "hypot")
ONE = ("abs", "sqrt", "exp", "floor", "sign", "isnan", "real", "conj", "bitwise_invert",
       "logical_not", "square", "negative")
REDUCED = ("sum", "prod", "mean", "max", "argmin", "all", "var", "count_nonzero", "cumulative_sum",
           "sort", "argsort")
DTYPES = ("bool", "int8", "int32", "int64", "uint8", "uint64", "float32", "float64", "complex64",
          "complex128")


def test_dtypes_are_those_of_the_strict_namespace() -> None:
    """What the standard allows gives the standard's dtype; nothing is computed here."""
    strict = pytest.importorskip("array_api_strict")
    calls = [(name, pair) for name in BOTH for pair in itertools.product(DTYPES, DTYPES)]
    calls += [(name, (d,)) for name in ONE + REDUCED for d in DTYPES]
    tried = 0
    for name, dtypes in calls:
        operands = [strict.ones((2,), dtype=getattr(strict, d)) for d in dtypes]
        try:
            want = str(getattr(strict, name)(*operands).dtype).rpartition(".")[2]
        except TypeError:
            continue  # left open by the standard
        found = getattr(xp, name)(*(xp.ones((2,), dtype=getattr(xp, d)) for d in dtypes))
        assert found.dtype.name == want, (name, dtypes)
        tried += 1
    assert tried > 400


SCIPY = """
import numpy as np, flambeau as fb
from scipy import cluster, fft, ndimage, signal, special, stats
import scipy.cluster.vq, scipy.integrate
a = np.random.default_rng(0).normal(size=(12, 4))
for f in (special.erf, special.logsumexp, lambda t: special.softmax(t, axis=1),
          stats.zscore, stats.skew, lambda t: stats.ttest_1samp(t, 0.0).pvalue,
          lambda t: stats.pearsonr(t[:, 0], t[:, 1]).statistic,
          fft.rfft2, lambda t: signal.fftconvolve(t, t[:3]), signal.detrend,
          lambda t: ndimage.gaussian_filter(t, 1.0), cluster.vq.whiten,
          lambda t: scipy.integrate.trapezoid(t, axis=0)):
    found = f(fb.tensor(a))
    assert isinstance(found, fb.Tensor), f
    np.testing.assert_allclose(found.numpy(), f(a), rtol=1e-10, atol=1e-12)
print("fine")
"""
SKLEARN = """
import warnings
import numpy as np, flambeau as fb
from sklearn import config_context
from sklearn.decomposition import PCA
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.preprocessing import StandardScaler
warnings.simplefilter("ignore")
a = np.random.default_rng(0).normal(size=(30, 4))
y = a @ np.arange(4.0)
for f in (lambda x, y: PCA(2, svd_solver="full").fit(x).transform(x),
          lambda x, y: Ridge(solver="svd").fit(x, y).predict(x),
          lambda x, y: LinearRegression().fit(x, y).predict(x),
          lambda x, y: StandardScaler().fit_transform(x)):
    with config_context(array_api_dispatch=True):
        found = f(fb.tensor(a), fb.tensor(y))
    assert isinstance(found, fb.Tensor)
    np.testing.assert_allclose(found.numpy(), f(a, y), rtol=1e-9, atol=1e-10)
print("fine")
"""


@pytest.mark.parametrize(("package", "program"), [("scipy", SCIPY), ("sklearn", SKLEARN)])
def test_libraries_that_ask_for_the_namespace(package: str, program: str) -> None:
    """In a process of its own: SciPy reads its switch when it is imported."""
    pytest.importorskip(package)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True,
                          env={**os.environ, "SCIPY_ARRAY_API": "1"}, timeout=300)
    assert done.stdout == "fine\n", done.stderr[-2000:]


def test_compat_knows_tensors() -> None:
    compat = pytest.importorskip("array_api_compat")
    x = xp.ones(3)
    assert compat.is_array_api_obj(x) and compat.array_namespace(x) is xp
    assert compat.size(x) == 3 and compat.device(x) == "cpu" and compat.is_writeable_array(x)
    assert isinstance(compat.to_device(x, "cpu"), fb.Tensor)
