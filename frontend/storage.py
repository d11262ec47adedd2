"""Storage: one versioned value that any number of tensors look at.

The value is a Node of the storage's own shape. Writes replace the node and raise the version;
computing the value replaces the node by a buffer leaf. `requires` says that the node is an
expression over leaves that want gradients: such an expression is kept when its value is computed.
"""

from __future__ import annotations

from typing import Any

from flambeau.compiler.dtype import DType
from flambeau.compiler.node import Node, is_const


class Storage:
    """The memory behind tensors, as a value that changes.

    node: the current value. version: raised whenever `node` changes. device: where it lives.
    requires: gradients flow through `node`. shared: the NumPy array whose memory this is, or None.
    """

    __slots__ = ("__weakref__", "device", "node", "requires", "shared", "version")

    node: Node
    version: int
    device: str
    requires: bool
    shared: Any

    def __new__(cls, node: Node, device: str = "cpu", requires: bool = False) -> Storage:
        """`Storage(5)` and `Storage([1, 2, 3])` are users' forms: see sharing.py."""
        self = object.__new__(cls)
        self.node = node
        self.version = 0
        self.device = device
        self.requires = requires
        self.shared = None
        return self

    @property
    def shape(self) -> tuple[int, ...]:
        return self.node.shape

    @property
    def dtype(self) -> DType:
        return self.node.dtype

    @property
    def size(self) -> int:
        """Number of elements."""
        return self.node.size

    @property
    def nbytes(self) -> int:
        return self.node.nbytes

    def __len__(self) -> int:
        return self.node.size

    @property
    def leaf(self) -> Node | None:
        """The buffer leaf that holds the value, or None when it is not computed yet."""
        n = self.node
        return n if n.op == "buffer" and n.value is None else n.value

    def install(self, leaf: Node) -> None:
        """The value is computed: `leaf` holds it. The expression stays if gradients need it.

        Whoever watches writes (tracing.py) does not see this one.
        """
        n = _node.__get__(self)
        if n is leaf:
            return
        constant = is_const(n)  # everybody's: nobody's memory stands for it
        if not constant:
            n.value = leaf
        if constant or not self.requires:
            _node.__set__(self, leaf)
            self.version += 1

    def __repr__(self) -> str:
        state = "ready" if self.leaf is not None else "lazy"
        return (f"Storage({self.dtype.name}{list(self.shape)}, {state}, version {self.version}, "
                f"{self.device})")


_node: Any = Storage.__dict__["node"]  # the slot itself
