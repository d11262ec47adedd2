"""Names of devices: from what a user writes to the one string that storages carry.

A canonical name is "cpu" or "cuda:N". Equal names are one object, so that operators compare with
`is`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from flambeau.compiler import node as N
from flambeau.compiler.config import config
from flambeau.compiler.node import Node
from flambeau.runtime import devices

HOST = sys.intern("cpu")


def resolve(name: str, device: Any = None) -> str:
    """The canonical name of what a user called a device: None (the default device), "cpu", "cuda"
    (the current GPU), "cuda:1", or an object with such a name as str().

    name: who asks. Raises ValueError for other names, RuntimeError when the device is not there.
    """
    if device is None:
        if config.device in ("cpu", "reference", "null"):
            return HOST
        device = config.device
    text = str(device)
    if text == "cpu":
        return HOST
    kind, colon, number = text.partition(":")
    if kind != "cuda" or (colon and not number.isdecimal()):
        raise ValueError(f"{name}: expected device 'cpu', 'cuda' or 'cuda:N', got {text!r}")
    index = devices.kind("cuda").check(name, int(number) if colon else None)
    return sys.intern(f"cuda:{index}")


def one_device(name: str, things: Iterable[Any]) -> str:
    """The device of tensors or storages; single numbers in the host's memory go with any.

    name: who asks. Raises ValueError when there are several.
    """
    found = ""
    for thing in things:
        device = thing.device
        if device != found and (device != HOST or thing.shape):
            if found:
                raise ValueError(f"{name}: expected tensors on one device, got {found} and "
                                 f"{device}; use .to() or .cuda()")
            found = device
    return found or HOST


def bound(n: Node, device: str) -> Node:
    """A node made of constants and counts, as a value on a device.

    Equal nodes are one, and a computed value is noted on its node; so values that two devices
    compute must differ as nodes.
    """
    if device == "cpu":
        return n
    return N.node("mark", n.dtype, n.shape, (n,), ("on", device))
