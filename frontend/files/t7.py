"""Torch7's own files: `torch.save` and `torch.load`."""

from __future__ import annotations

from typing import Any

from .source import FileError, Source, open_source, replacing
from .t7_modules import Importer
from .t7_reading import Settler, parse
from .t7_streams import Ascii, AsciiOut, Binary, BinaryOut
from .t7_writing import Writer

FORMATS = ("binary", "ascii", "b32", "b64")


def load_t7(file: Any, format: str | None = None, modules: bool = True) -> Any:
    """The object of a Torch7 file. Torch7 load.

    format: "ascii", "b32" or "b64" (binary with longs of 4 or 8 bytes); found out unless told.
    Tables become lists (keys 1 to n in order, or empty) or dicts, tensors keep sharing storages,
    those of the GPU come to the CPU. modules: nn classes become ours, others an inert
    `TorchObject`; False leaves all of them inert. Raises FileError for bytes that are no such file
    and for functions, which are code.
    """
    source = open_source("load_t7", file)
    raw = _parse(source, format)
    found = Settler(source).settle(raw)
    return Importer(source).replace(found) if modules else found


def save_t7(file: Any, x: Any, format: str = "binary") -> None:
    """Writes x so that Torch7 reads it. Torch7 save.

    x: numbers, strings, booleans, None, lists and dicts of such, tensors (a view's whole storage is
    written), arrays, modules, `TorchObject`s. format: "binary" (or "b64"), "b32", "ascii". Raises
    TypeError for what Torch7 does not have.
    """
    if format not in FORMATS:
        raise ValueError(f"save_t7: expected a format among {FORMATS}, got {format!r}")
    with replacing(file) as out:
        stream = AsciiOut(out) if format == "ascii" else BinaryOut(out, 4 if format == "b32" else 8)
        Writer(stream).write(x)


def _parse(source: Source, format: str | None) -> Any:
    """Tries the spellings that the first byte allows; the error is that of the one that got
    further."""
    if format is None or format == "binary":
        ascii_ = format is None and source.data[:1].tobytes() not in b"\0\1\2\3\4\5\6\7\x08"
        tried = ["ascii"] if ascii_ else ["b64", "b32"]
    elif format in FORMATS:
        tried = [format]
    else:
        raise ValueError(f"load_t7: expected a format among {FORMATS}, got {format!r}")
    errors: list[tuple[int, FileError]] = []
    for spelling in tried:
        source.at = 0
        try:
            return parse(source, Ascii(source) if spelling == "ascii" else
                         Binary(source, 4 if spelling == "b32" else 8))
        except FileError as error:
            errors.append((source.at, error))
    raise max(errors, key=lambda pair: pair[0])[1]
