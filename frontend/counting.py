"""How many references an object shows when only we hold it: the guard of in-place updates.

The counts are measured, since Pythons differ in what a call adds.
"""

from __future__ import annotations

from sys import getrefcount


def _count_local() -> int:
    """What getrefcount says of a local variable's object that one other place holds."""
    place = [object()]
    local = place[0]
    return getrefcount(local)


OWNED = _count_local()  # a leaf that its storage alone holds, asked through a local name
HELD = OWNED + 1  # and a binding does
