"""NumPy's .npy and .npz files, by NumPy's own description of the format, never with pickles.

bfloat16, which NumPy lacks, is stored as two opaque bytes an element (`V2`): that is how ml_dtypes
arrays are stored by NumPy, so JAX's files read here and ours there.
"""

from __future__ import annotations

import io
import math
import zipfile
from typing import Any

import numpy as np
from flambeau.compiler import dtype as dt
from flambeau.compiler.dtype import DType

from ..tensor import Tensor
from .arrays import bits_of, check_bools, check_named, checked_shape, tensor_of, write_bits
from .source import Source, open_source, refusing, replacing

Elements = tuple[np.ndarray, DType]  # bits, and what they are
MAGIC = b"\x93NUMPY"
ENTRIES = 1 << 16
HEADER = 10_000  # bytes: NumPy's own limit
INFLATED = 64  # times the file, and as many MiB: more is allowed by the caller or not at all
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0}


def load_npy(file: Any, mmap: bool = False) -> Tensor:
    """The array of a .npy file as a tensor.

    mmap: the tensor looks at the file's memory, without a copy, where order and alignment allow;
    writing into it does not change the file. Big-endian and Fortran-ordered files are converted.
    Raises FileError for other bytes, object arrays and dtypes that Flambeau lacks.
    """
    bits, dtype = _read(open_source("npy", file))
    return tensor_of(bits, dtype, mmap)


def save_npy(file: Any, x: Any) -> None:
    """Writes a tensor or array as .npy (version 1.0, row-major). NumPy save."""
    with replacing(file) as out:
        _write(out, x)


def load_npz(file: Any, limit: int | None = None) -> dict[str, Tensor]:
    """The arrays of an .npz file, by name.

    limit: bytes that all entries together may have once they are inflated; 64 MiB and 64 times the
    file unless told. Raises FileError as `load_npy`, and for archives that are encrypted, have
    entries twice or would exceed the limit.
    """
    return {name: tensor_of(bits, dtype) for name, (bits, dtype) in _open(file, limit).items()}


def load_arrays(file: Any) -> dict[str, np.ndarray]:
    """The arrays of an .npz file that we wrote ourselves, as NumPy's, of any length."""
    return {name: bits for name, (bits, _) in _open(file, 1 << 62).items()}


def _open(file: Any, limit: int | None) -> dict[str, Elements]:
    source = open_source("npz", file)
    limit = INFLATED * ((1 << 20) + len(source)) if limit is None else limit
    with refusing(source, "a zip archive of .npy entries"), \
            zipfile.ZipFile(io.BytesIO(source.data)) as archive:
        return _entries(source, archive, limit)


def save_npz(file: Any, tensors: dict[str, Any], compress: bool = False) -> None:
    """Writes tensors or arrays by name as .npz. NumPy savez, or savez_compressed. Raises TypeError
    for what is no dict with names."""
    check_named("save_npz", tensors)
    kind = zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
    with replacing(file) as out, zipfile.ZipFile(out, "w", kind) as archive:
        for name, x in tensors.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as entry:
                _write(entry, x)


# -- reading -------------------------------------------------------------------------------------


def _entries(source: Source, archive: zipfile.ZipFile, limit: int) -> dict[str, Elements]:
    found: dict[str, Elements] = {}
    infos = archive.infolist()
    if len(infos) > ENTRIES:
        raise source.error(f"at most {ENTRIES} entries", len(infos))
    for info in infos:
        name = info.filename.removesuffix(".npy")
        if name in found:
            raise source.error("each name once", f"{name!r} twice", info.header_offset)
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise source.error("entries stored or deflated", f"method {info.compress_type}",
                               info.header_offset)
        # what an entry says of its length is not believed: it is read piece by piece up to it
        if info.file_size > limit:
            raise source.error(f"at most {limit} more bytes once inflated (limit=)",
                               f"{info.file_size} in {name!r}", info.header_offset)
        with archive.open(info) as entry:
            data = entry.read(info.file_size)
        limit -= len(data)
        found[name] = _read(Source("npz", data, f"{source.name}, entry {name!r}"))
    return found


def _read(source: Source) -> Elements:
    if bytes(source.take(6, "magic")) != MAGIC:
        raise source.error("the magic of .npy", bytes(source.data[:6]), 0)
    version = tuple(source.take(2, "version"))
    length = source.unpack("<H" if version == (1, 0) else "<I", "a header's length")
    if version not in ((1, 0), (2, 0), (3, 0)) or length > HEADER:
        raise source.error(f"version 1.0 to 3.0 with a header of at most {HEADER} bytes",
                           f"version {version}, {length} bytes", 6)
    header = bytes(source.take(length, "header"))
    if version == (3, 0):  # as 2.0, in UTF-8: our dtypes have no names, so ASCII is all of it
        version = (2, 0)
    start = len(header).to_bytes(2 if version == (1, 0) else 4, "little")
    with refusing(source, "a header of .npy"):
        shape, fortran, kind = _HEADERS[version](io.BytesIO(start + header), HEADER)
    bits, dtype = _elements(source, tuple(shape), kind)
    if fortran and len(shape) > 1:
        bits = np.ascontiguousarray(bits.reshape(shape[::-1]).transpose())
    return bits.reshape(shape), dtype


def _elements(source: Source, shape: tuple[int, ...], kind: np.dtype) -> Elements:
    if kind.hasobject:
        raise source.error("numbers", f"dtype {kind}: object arrays hold pickles, which are code")
    checked_shape(source, shape, kind.itemsize, source.left)
    if math.prod(shape) * kind.itemsize != source.left:
        raise source.error(f"{math.prod(shape) * kind.itemsize} bytes for {kind} {shape}",
                           f"{source.left}")
    if kind.str in ("|V2", "<V2"):
        return source.array("<u2", math.prod(shape)), dt.bfloat16
    try:
        dtype = dt.from_numpy(kind)
    except TypeError:
        raise source.error("a dtype that Flambeau has", str(kind)) from None
    bits = source.array(kind, math.prod(shape))
    if dtype is dt.bool_:
        return check_bools(source, bits), dtype
    return bits.astype(kind.newbyteorder("="), copy=False), dtype


# -- writing -------------------------------------------------------------------------------------


def _write(out: Any, x: Any) -> None:
    bits, dtype = bits_of("npy", x)
    kind = "|V2" if dtype is dt.bfloat16 else np.lib.format.dtype_to_descr(bits.dtype)
    np.lib.format.write_array_header_1_0(
        out, {"descr": kind, "fortran_order": False, "shape": bits.shape})
    write_bits(out, bits)
