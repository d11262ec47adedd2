"""The functions of cuBLAS that Flambeau calls, by NumPy on the emulated device's memory.

Matrices are read as NVIDIA's manual says: column by column, with a leading dimension.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from flambeau.compiler.fold import from_bfloat16

from emulator import driver, libcuda

TYPES: dict[int, Any] = {0: np.float32, 1: np.float64, 2: np.float16, 14: np.uint16}
INVALID = 7


class Cublas:
    """cuBLAS for a driver. products: the arguments of every product so far, as numbers."""

    def __init__(self, owner: driver.Driver) -> None:
        self.driver = owner
        self.stream = 0
        self.products: list[tuple[int, ...]] = []

    def cublasCreate_v2(self, handle: Any) -> int:
        self.driver.note("cublasCreate_v2")
        handle._obj.value = self.driver.handle()
        return 0

    def cublasSetStream_v2(self, handle: Any, stream: Any) -> int:
        self.stream = libcuda._value(stream)
        return 0

    def cublasSetWorkspace_v2(self, handle: Any, pointer: Any, size: Any) -> int:
        self.driver.holder(libcuda._value(pointer), libcuda._value(size), "cublasSetWorkspace")
        return 0

    def cublasGemmStridedBatchedEx(self, handle: Any, *given: Any) -> int:
        alpha, beta = given[5]._obj.value, given[14]._obj.value
        turn_a, turn_b, m, n, k = (libcuda._value(x) for x in given[:5])
        a = [libcuda._value(x) for x in given[6:10]]
        b = [libcuda._value(x) for x in given[10:14]]
        c = [libcuda._value(x) for x in given[15:19]]
        batch, compute, algorithm = (libcuda._value(x) for x in given[19:22])
        self.driver.note("cublasGemmStridedBatchedEx", stream=self.stream)
        self.products.append((turn_a, turn_b, m, n, k, *a, *b, *c, batch, compute, algorithm))
        shapes = [(k, m) if turn_a else (m, k), (n, k) if turn_b else (k, n), (m, n)]
        if alpha != 1 or beta != 0 or any(x[2] < s[0] for x, s in zip((a, b, c), shapes)):
            return INVALID
        views = [self._matrices(x, batch, s) for x, s in zip((a, b, c), shapes)]

        def run() -> None:
            x, y = (self._wide(v, kind) for v, kind in zip(views, (a[1], b[1])))
            x, y = x.swapaxes(1, 2) if turn_a else x, y.swapaxes(1, 2) if turn_b else y
            views[2][...] = (x.astype(np.float64) @ y.astype(np.float64)).astype(views[2].dtype)
            machine, _ = self.driver.holder(c[0], 1, "product")
            machine.memory.written(c[0], batch * m * n * views[2].itemsize)
        to: Any = libcuda._Handle(self.stream) if self.stream else None
        self.driver.enqueue(to, run)
        return 0

    def _matrices(self, given: list[int], batch: int, shape: tuple[int, int]) -> Any:
        """A batch of matrices, stored by columns, over the device's memory."""
        pointer, kind, lead, step = given
        size = np.dtype(TYPES[kind]).itemsize
        rows, columns = shape
        length = (batch - 1) * step + (columns - 1) * lead + rows
        _, span = self.driver.holder(pointer, length * size, "cublasGemmStridedBatchedEx")
        return np.lib.stride_tricks.as_strided(
            span.view(TYPES[kind]), (batch, rows, columns), (step * size, size, lead * size))

    def _wide(self, v: Any, kind: int) -> Any:
        return from_bfloat16(v.copy()) if kind == 14 else v.copy()
