"""The two spellings of a Torch7 file: binary, with longs of 4 or 8 bytes, and ASCII."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from flambeau.compiler.dtype import DType

from .source import Source

_INTEGER = re.compile(rb"[+-]?[0-9]{1,20}")
_REAL = re.compile(rb"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,4})?|[+-]?(nan|inf)", re.I)
_BLANKS = b" \t\n\r\v\f"
_TOKEN = 100  # bytes: longer ones are no numbers


class Binary:
    """Little-endian numbers; `long` bytes for each size, stride, offset and LongTensor element."""

    def __init__(self, source: Source, long: int) -> None:
        self.source, self.long = source, long

    def int(self, what: str) -> Any:
        return self.source.unpack("<i", what)

    def double(self) -> float:
        return self.source.unpack("<d")  # type: ignore[no-any-return]

    def longs(self, count: Any, what: str) -> list[Any]:
        return self.source.array(f"<i{self.long}", count, what).tolist()

    def string(self, what: str) -> bytes:
        return bytes(self.source.take(self.int(f"the length of {what}"), what))

    def data(self, dtype: DType, count: Any) -> np.ndarray:
        if dtype.name == "int64":
            return self.source.array(f"<i{self.long}", count).astype(np.int64, copy=False)
        return self.source.array(dtype.numpy.newbyteorder("<"), count)


class Ascii:
    """Numbers as text between blanks; strings and bytes as they are, after one end of line."""

    def __init__(self, source: Source) -> None:
        self.source, self.text = source, bytes(source.data)

    def _token(self, form: re.Pattern[bytes], what: str) -> bytes:
        source, text = self.source, self.text
        at = source.at
        while at < len(text) and text[at] in _BLANKS:
            at += 1
        end = at
        while end < len(text) and text[end] not in _BLANKS and end - at <= _TOKEN:
            end += 1
        if end - at > _TOKEN or not form.fullmatch(text, at, end):
            raise source.error(what, text[at:min(end, at + 40)], at)
        source.at = end
        return text[at:end]

    def _end_line(self) -> None:
        if self.text[self.source.at:self.source.at + 1] == b"\n":
            self.source.at += 1

    def int(self, what: str) -> Any:
        token = self._token(_INTEGER, what)
        self._end_line()
        return int(token)

    def double(self) -> float:
        token = self._token(_REAL, "a number")
        self._end_line()
        return float(token)

    def _tokens(self, form: re.Pattern[bytes], count: Any, what: str) -> list[bytes]:
        """Numbers on one line; torn over several they are read one by one."""
        source = self.source
        if 2 * count - 1 > source.left or count < 0:
            raise source.error(f"{count} numbers", f"{source.left} bytes until the end")
        if not count:
            return []
        # looks no further than so many numbers can reach, whatever the file is like behind them
        most = min(len(self.text), source.at + count * _TOKEN)
        end = self.text.find(b"\n", source.at, most)
        end = most if end < 0 and most == len(self.text) else end
        found = self.text[source.at:end].split() if end >= 0 else []
        if len(found) == count and all(len(t) <= _TOKEN and form.fullmatch(t) for t in found):
            source.at = end
        else:
            found = [self._token(form, what) for _ in range(count)]
        self._end_line()
        return found

    def longs(self, count: Any, what: str) -> list[Any]:
        return [int(t) for t in self._tokens(_INTEGER, count, what)]

    def string(self, what: str) -> bytes:
        made = bytes(self.source.take(self.int(f"the length of {what}"), what))
        if made:
            self._end_line()
        return made

    def data(self, dtype: DType, count: Any) -> np.ndarray:
        if dtype.itemsize == 1:
            made = self.source.array(dtype.numpy, count)
            self._end_line()
            return made
        if dtype.is_float:
            tokens = self._tokens(_REAL, count, "a number")
            with np.errstate(over="ignore"):
                return np.array([float(t) for t in tokens], np.float64).astype(dtype.numpy)
        numbers = [int(t) for t in self._tokens(_INTEGER, count, "an integer")]
        limits = np.iinfo(dtype.numpy)
        if numbers and not limits.min <= min(numbers) <= max(numbers) <= limits.max:
            raise self.source.error(f"integers that {dtype.name} holds", f"{min(numbers)} to "
                                    f"{max(numbers)}")
        return np.array(numbers, dtype.numpy)


class BinaryOut:
    """Writes what `Binary` reads."""

    def __init__(self, out: Any, long: int) -> None:
        self.out, self.long = out, long

    def int(self, value: Any) -> None:
        self.out.write(value.to_bytes(4, "little", signed=True))

    def double(self, value: float) -> None:
        self.out.write(np.float64(value).astype("<f8").tobytes())

    def longs(self, values: Any) -> None:
        self.data(np.array(values, np.int64))

    def string(self, value: bytes) -> None:
        self.int(len(value))
        self.out.write(value)

    def data(self, bits: np.ndarray) -> None:
        if bits.dtype == np.int64 and self.long == 4:
            if bits.size and not -(1 << 31) <= bits.min() <= bits.max() < 1 << 31:
                raise ValueError("save_t7: expected integers that longs of 4 bytes hold, got "
                                 f"{bits.min()} to {bits.max()}")
            bits = bits.astype(np.int32)
        self.out.write(bits.astype(bits.dtype.newbyteorder("<"), copy=False).tobytes())


class AsciiOut:
    """Writes what `Ascii` reads, with Torch7's digits: 17 for doubles, 9 for floats."""

    def __init__(self, out: Any) -> None:
        self.out = out

    def _line(self, text: bytes) -> None:
        self.out.write(text + b"\n")

    def int(self, value: Any) -> None:
        self._line(b"%d" % value)

    def double(self, value: float) -> None:
        self._line(b"%.17g" % value)

    def longs(self, values: Any) -> None:
        if len(values):
            self._line(b" ".join(b"%d" % v for v in values))

    def string(self, value: bytes) -> None:
        self.int(len(value))
        if value:
            self._line(value)

    def data(self, bits: np.ndarray) -> None:
        if not bits.size:
            return
        if bits.itemsize == 1:
            self._line(bits.tobytes())
        elif bits.dtype.kind == "f":
            form = b"%.17g" if bits.itemsize == 8 else b"%.9g"
            self._line(b" ".join(form % v for v in bits.tolist()))
        else:
            self.longs(bits.tolist())
