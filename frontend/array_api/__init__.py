"""The Python Array API standard, version 2025.12: `flambeau`'s functions in the standard's form.

`x.__array_namespace__()` gives this module, so that libraries written for the standard (SciPy,
scikit-learn) work on tensors. Positional and keyword-only arguments, defaults and results are the
standard's; what it leaves open is Flambeau's: default dtypes, promotion across kinds, laziness.
"""

from __future__ import annotations

from . import creation as _creation
from . import elementwise as _elementwise
from . import fft as fft
from . import linalg as linalg
from . import manipulation as _manipulation
from . import statistics as _statistics
from .creation import *  # noqa: F403
from .elementwise import *  # noqa: F403
from .info import __array_namespace_info__ as __array_namespace_info__
from .manipulation import *  # noqa: F403
from .statistics import *  # noqa: F403

__array_api_version__ = "2025.12"

__all__ = ["__array_api_version__", "__array_namespace_info__", "fft", "linalg"]
for _part in (_creation, _elementwise, _manipulation, _statistics):
    __all__ += _part.__all__
