"""What the emulator raises: a kernel's faults, each with its place, and PTX it does not accept."""

from __future__ import annotations

from dataclasses import dataclass


class PtxError(ValueError):
    """The text is not PTX, or not PTX that the emulator knows."""


@dataclass(frozen=True)
class Place:
    """Where a thread was: the kernel, its PTX line and text, the thread and its block."""

    kernel: str
    line: int
    text: str
    thread: tuple[int, int, int]
    block: tuple[int, int, int]

    def __str__(self) -> str:
        return (f"kernel {self.kernel}, PTX line {self.line} `{self.text}`, thread {self.thread} "
                f"of block {self.block}")


class Fault(RuntimeError):
    """A kernel did what it must not; `place` says where."""

    def __init__(self, message: str, place: Place) -> None:
        super().__init__(f"{place}: {message}")
        self.place = place


class OutOfBounds(Fault):
    """An access outside every allocation of its memory."""


class UseAfterFree(Fault):
    """An access to device memory that was given back."""


class Misaligned(Fault):
    """An address that is no multiple of the access's size."""


class Uninitialised(Fault):
    """A read of a register or of memory that nothing has written."""


class ReadOnly(Fault):
    """A write to constant memory."""


class Race(Fault):
    """Two threads of a block touch the same shared bytes, one writes, and nothing orders them."""


class BarrierDivergence(Fault):
    """A barrier that some threads of the block do not reach."""


class WarpDivergence(Fault):
    """A warp instruction whose mask names lanes that do not take part, or lacks one that does."""


class Runaway(Fault):
    """More instructions than the machine's limit."""


class Trapped(Fault):
    """The kernel executed `trap`."""


class Unspecified(Fault):
    """An operand whose meaning the PTX manual leaves undefined."""
