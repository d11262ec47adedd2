"""How far training is: a bar that redraws itself on a terminal, one line an epoch elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, TextIO

BLOCKS = " ▏▎▍▌▋▊▉█"
WIDTH = 24


class Progress:
    """Draws on stderr. `batch` serves as fit's progress function."""

    def __init__(self, epochs: int, stream: TextIO | None = None) -> None:
        self.epochs, self.epoch = epochs, 0
        self.stream = stream or sys.stderr
        self.live = self.stream.isatty()

    def start(self, epoch: int) -> None:
        """Begins an epoch, counted from 1."""
        self.epoch = epoch

    def batch(self, state: Mapping[str, Any]) -> None:
        """Shows batch, batches and the loss so far of the running epoch."""
        if self.live:
            self._write(f"\r{self._head()} {bar(state['batch'] / state['batches'])} "
                        f"loss {state['loss']:.4f}\033[K")

    def done(self, row: Mapping[str, float]) -> None:
        """One line for a finished epoch."""
        clear = "\r\033[K" if self.live else ""
        self._write(f"{clear}{self._head()}  loss {row['loss']:.4f}  "
                    f"accuracy {row['accuracy']:7.2%}  test {row['val_accuracy']:7.2%}  "
                    f"{row['examples_per_second']:>10,.0f} examples/s\n")

    def _head(self) -> str:
        width = len(str(self.epochs))
        return f"epoch {self.epoch:{width}}/{self.epochs}"

    def _write(self, text: str) -> None:
        self.stream.write(text)
        self.stream.flush()


def bar(share: float) -> str:
    """A bar of eighths of characters."""
    eighths = round(max(0.0, min(1.0, share)) * WIDTH * 8)
    whole, part = divmod(eighths, 8)
    text = "█" * whole + (BLOCKS[part] if part else "")
    return f"▕{text.ljust(WIDTH)}▏"
