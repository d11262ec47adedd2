"""safetensors: a length, a JSON header, and the tensors' bytes. Reader and writer of our own.

The header names each tensor's dtype, shape and bytes. Reading believes none of it: the tensors must
cover the data without a gap or an overlap, sizes must agree, and names must stand once.
"""

from __future__ import annotations

import json
import math
from typing import Any, NamedTuple

import numpy as np
from flambeau.compiler import dtype as dt
from flambeau.compiler.dtype import DType

from ..tensor import Tensor
from .arrays import bits_of, by_name, check_bools, check_named, checked_shape, tensor_of, write_bits
from .source import Source, open_source, refusing, replacing

HEADER = 100_000_000  # bytes, as the format's own reader has it
CODES = {"bool": "BOOL", "uint8": "U8", "int8": "I8", "int16": "I16", "uint16": "U16",
         "float16": "F16", "bfloat16": "BF16", "int32": "I32", "uint32": "U32", "float32": "F32",
         "complex64": "C64", "float64": "F64", "int64": "I64", "uint64": "U64"}
_BY_CODE = {code: found for name, code in CODES.items() if (found := by_name(name)) is not None}


class Tensors(dict[str, Tensor]):
    """Tensors by name, with the file's `metadata`: texts by name."""

    metadata: dict[str, str]


class Entry(NamedTuple):
    """Where a tensor's bytes lie, from the beginning of the data."""

    dtype: DType
    shape: tuple[int, ...]
    start: int
    end: int


def load_safetensors(file: Any, mmap: bool = False) -> Tensors:
    """The tensors of a .safetensors file, by name in the order of their bytes; `.metadata` has its
    texts.

    mmap: tensors look at the file's memory, without a copy, where alignment allows; writing into
    them does not change the file. Raises FileError for anything that the format does not allow and
    for dtypes that Flambeau lacks.
    """
    return load_source(open_source("safetensors", file), mmap)


def load_source(source: Source, share: bool) -> Tensors:
    """The tensors and texts of an opened file."""
    entries, metadata, base = _header(source)
    found = Tensors()
    found.metadata = metadata
    for name, entry in sorted(entries.items(), key=lambda pair: (pair[1].start, pair[1].end)):
        source.at = base + entry.start
        bits = source.array(entry.dtype.numpy.newbyteorder("<"), math.prod(entry.shape))
        if entry.dtype is dt.bool_:
            bits = check_bools(source, bits)
        bits = bits.astype(entry.dtype.numpy, copy=False).reshape(entry.shape)
        found[name] = tensor_of(bits, entry.dtype, share)
    return found


def save_safetensors(file: Any, tensors: dict[str, Any], metadata: dict[str, str] | None = None
                     ) -> None:
    """Writes tensors or arrays by name, and texts by name.

    Raises TypeError for dtypes that the format lacks and for metadata that is no text.
    """
    check_named("save_safetensors", tensors)
    header: dict[str, Any] = {}
    if metadata:
        for key, value in metadata.items():
            if not isinstance(key, str) or not isinstance(value, str):
                raise TypeError(f"save_safetensors: expected metadata of texts, got {key!r}: "
                                f"{type(value).__name__}")
        header["__metadata__"] = dict(metadata)
    found = [(name, *_named_bits(name, x)) for name, x in tensors.items()]
    # wide elements first, so that every tensor is aligned; the format's own writer does the same
    order = list(CODES)
    found.sort(key=lambda item: (-order.index(item[2].name), item[0]))
    at = 0
    for name, bits, dtype in found:
        header[name] = {"dtype": CODES[dtype.name], "shape": list(bits.shape),
                        "data_offsets": [at, at + bits.nbytes]}
        at += bits.nbytes
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    with replacing(file) as out:
        out.write(len(text).to_bytes(8, "little") + text)
        for _, bits, dtype in found:
            write_bits(out, bits.astype(dtype.numpy.newbyteorder("<"), copy=False))


def _named_bits(name: str, x: Any) -> tuple[np.ndarray, DType]:
    if name == "__metadata__":
        raise TypeError(f"save_safetensors: expected a name for each tensor, got {name!r}")
    bits, dtype = bits_of("save_safetensors", x)
    if dtype.name not in CODES:
        raise TypeError(f"save_safetensors: {name}: expected a dtype among {sorted(CODES)}, got "
                        f"{dtype.name}")
    return bits, dtype


# -- the header ----------------------------------------------------------------------------------


def _header(source: Source) -> tuple[dict[str, Entry], dict[str, str], int]:
    """Entries, metadata, and where the data begin."""
    length = source.unpack("<Q", "a header's length")
    if length > min(HEADER, source.left):
        raise source.error(f"a header of at most {min(HEADER, source.left)} bytes", length, 0)
    text = bytes(source.take(length, "header"))
    if text[:1] != b"{":
        raise source.error("a header that begins with {", text[:20], 8)

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for name, value in pairs:
            if name in made:
                raise source.error("each name once", f"{name!r} twice", 8)
            made[name] = value
        return made

    with refusing(source, "a JSON header"):
        header = json.loads(text.decode("utf-8"), object_pairs_hook=once)
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise source.error("metadata of texts", metadata, 8)
    room = source.left
    entries = {name: _entry(source, name, x, room) for name, x in header.items()}
    _check_cover(source, entries, room)
    return entries, metadata, source.at


def _entry(source: Source, name: str, x: Any, room: int) -> Entry:
    if not isinstance(x, dict) or set(x) != {"dtype", "shape", "data_offsets"}:
        raise source.error(f"dtype, shape and data_offsets of {name!r}", x, 8)
    dtype = _BY_CODE.get(x["dtype"]) if isinstance(x["dtype"], str) else None
    if dtype is None:
        raise source.error(f"a dtype of {name!r} among {sorted(_BY_CODE)}", x["dtype"], 8)
    shape = checked_shape(source, x["shape"], dtype.itemsize, room)
    offsets = x["data_offsets"]
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(
            type(o) is int and 0 <= o <= room for o in offsets):
        raise source.error(f"two offsets of {name!r} in [0, {room}]", offsets, 8)
    start, end = offsets
    if end - start != math.prod(shape) * dtype.itemsize:
        raise source.error(f"{math.prod(shape) * dtype.itemsize} bytes for {name!r}, {dtype.name} "
                           f"{shape}", end - start, 8)
    return Entry(dtype, shape, start, end)


def _check_cover(source: Source, entries: dict[str, Entry], room: int) -> None:
    """The tensors' bytes follow each other from the first byte of the data to the last."""
    at = 0
    for name, entry in sorted(entries.items(), key=lambda pair: (pair[1].start, pair[1].end)):
        if entry.start != at:
            what = "a gap" if entry.start > at else "an overlap"
            raise source.error(f"{name!r} to begin at byte {at} of the data",
                               f"{what}: {entry.start}", 8)
        at = entry.end
    if at != room:
        raise source.error(f"tensors that cover all {room} bytes of the data", at, 8)
