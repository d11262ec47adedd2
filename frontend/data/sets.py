"""The data sets: digits inside the package, MNIST and Fashion-MNIST as idx files."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from importlib import resources
from pathlib import Path

import numpy as np

from .idx import read_idx
from .store import DataError, Remote, Source, file_in, locate

Split = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]

SIZES = (47040016, 60008, 7840016, 10008)
FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte",
         "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


def _remotes(*digests: str) -> tuple[Remote, ...]:
    return tuple(Remote(*row) for row in zip(FILES, digests, SIZES))


MNIST = Source(
    "mnist",
    _remotes("ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
             "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
             "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
             "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"),
    ("https://ossci-datasets.s3.amazonaws.com/mnist/",
     "https://storage.googleapis.com/cvdf-datasets/mnist/"))

FASHION_MNIST = Source(
    "fashion-mnist",
    _remotes("c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
             "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
             "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
             "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"),
    ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",),
    ("/usr/share/datasets/fashion-mnist",))  # Debian's dataset-fashion-mnist


@lru_cache(maxsize=1)
def _packed_digits() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    file = resources.files(__package__).joinpath("digits.npz")
    with file.open("rb") as source, np.load(source, allow_pickle=False) as arrays:
        return arrays["images"], arrays["labels"], arrays["test"]


def digits(raw: bool = False) -> Split:
    """The 1,797 handwritten digits of scikit-learn, 8 x 8: 1,500 to train on, 297 to test.

    Gives (x_train, y_train, x_test, y_test). x: float32 (n, 1, 8, 8), the 17 grey levels divided by
    16; y: int64 (n,). The split is fixed and has the classes in equal parts. raw: the levels as
    uint8. Source and licence: LICENSE-digits.txt beside this file.
    """
    images, labels, test = _packed_digits()
    return _split(images[~test], labels[~test], images[test], labels[test], 16, raw)


def mnist(raw: bool = False, download: bool = True) -> Split:
    """MNIST: 60,000 handwritten digits to train on and 10,000 to test, 28 x 28.

    Gives (x_train, y_train, x_test, y_test). x: float32 (n, 1, 28, 28), bytes divided by 255; y:
    int64 (n,). raw: the bytes as uint8. The idx files are looked for in $FLAMBEAU_DATA/mnist,
    $FLAMBEAU_DATA and the cache folder, else downloaded there and checked. DataError when there is
    no way.
    """
    return _idx(MNIST, raw, download)


def fashion_mnist(raw: bool = False, download: bool = True) -> Split:
    """Fashion-MNIST: ten kinds of clothes in MNIST's format (see `mnist`).

    Also found where Debian's package dataset-fashion-mnist puts it.
    """
    return _idx(FASHION_MNIST, raw, download)


SETS: dict[str, Callable[[], Split]] = {
    "digits": digits, "mnist": mnist, "fashion-mnist": fashion_mnist}
NAMES = tuple(SETS)
CLASSES = {
    "digits": tuple("0123456789"),
    "mnist": tuple("0123456789"),
    "fashion-mnist": ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt",
                      "sneaker", "bag", "boot"),
}


def load(name: str) -> Split:
    """The data set of that name: digits, mnist or fashion-mnist."""
    if name not in SETS:
        raise DataError(f"load: expected one of {', '.join(SETS)}, got {name!r}")
    return SETS[name]()


def _idx(source: Source, raw: bool, download: bool) -> Split:
    folder = locate(source, download)
    train = _pair(folder, FILES[0], FILES[1])
    test = _pair(folder, FILES[2], FILES[3])
    if train[0].shape[1:] != test[0].shape[1:]:
        raise DataError(f"{source.name}: expected training and test images of one size, got "
                        f"{train[0].shape[1:]} and {test[0].shape[1:]} in {folder}")
    return _split(*train, *test, 255, raw)


def _pair(folder: Path, images: str, labels: str) -> tuple[np.ndarray, np.ndarray]:
    """Images (n, height, width) and labels (n,), both uint8."""
    arrays = []
    for name, axes in ((images, 3), (labels, 1)):
        path = file_in(folder, name)
        if path is None:
            raise DataError(f"read_idx: expected {name} in {folder}, got no such file")
        array = read_idx(path)
        if array.ndim != axes or array.dtype != np.uint8:
            raise DataError(f"{path}: expected bytes with {axes} axes, got {array.dtype} of shape "
                            f"{array.shape}")
        arrays.append(array)
    if len(arrays[0]) != len(arrays[1]):
        raise DataError(f"{folder}: expected as many labels as images, got {len(arrays[1])} labels "
                        f"for {len(arrays[0])} images")
    return arrays[0], arrays[1]


def _split(x: np.ndarray, y: np.ndarray, x_test: np.ndarray, y_test: np.ndarray, top: int,
           raw: bool) -> Split:
    return (_pixels(x, top, raw), y.astype(np.int64), _pixels(x_test, top, raw),
            y_test.astype(np.int64))


def _pixels(images: np.ndarray, top: int, raw: bool) -> np.ndarray:
    """(n, h, w) bytes as (n, 1, h, w), scaled to [0, 1] unless raw."""
    images = images[:, None]
    return images if raw else np.multiply(images, np.float32(1 / top), dtype=np.float32)
