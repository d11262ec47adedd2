"""Data sets as NumPy arrays, and ways to walk them.

`digits()` comes with the package; `mnist()` and `fashion_mnist()` are found on this machine or
downloaded once. Each gives (x_train, y_train, x_test, y_test): images as float32 of shape
(n, 1, height, width) with pixels scaled to [0, 1], bright ink on a dark ground; labels as int64.
"""

from .batches import batches as batches
from .batches import split as split
from .idx import read_idx as read_idx
from .sets import NAMES as NAMES
from .sets import digits as digits
from .sets import fashion_mnist as fashion_mnist
from .sets import load as load
from .sets import mnist as mnist
from .store import DataError as DataError
