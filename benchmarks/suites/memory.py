"""The most memory a training process holds."""

from __future__ import annotations

from peers import nets

from . import TRAINERS, Row

TITLE = "Memory"
ABOUT = "Peak resident memory of a process that trains a net for fifty steps. Bytes."


def rows() -> list[Row]:
    """Each net, small and usual batch."""
    return [Row(f"{name} batch {batch}", (name, batch), how="peak", frameworks=TRAINERS,
                quick=(name, batch) == ("mlp1", 60))
            for batch in (1, 60) for name in nets.NETS]
