"""What the compiler must know of a machine, as plain data. The runtime finds the facts."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """A processor to generate code for.

    kind: "cpu" or "cuda". cpu: LLVM's processor name ("znver4", "sm_90"). features: LLVM's feature
    string ("+avx2,+fma,..."). vector_bytes: the widest register worth using. registers: vector
    registers a kernel may fill. Cache sizes in bytes, per core (l3: shared). processors: a GPU's
    multiprocessors, for launch sizes. library: when a GPU's products may be cuBLAS's: "" (it is not
    there), "auto" (where that is estimated to be faster) or "always" (where operands allow).
    """

    kind: str
    triple: str
    data_layout: str
    cpu: str
    features: str
    vector_bytes: int = 16
    registers: int = 16
    fma: bool = False
    l1: int = 32 << 10
    l2: int = 1 << 20
    l3: int = 16 << 20
    processors: int = 1
    library: str = ""

    @property
    def sm(self) -> int:
        """Ten times the compute capability of a GPU."""
        return int(self.cpu.removeprefix("sm_").rstrip("af"))

    def lanes(self, itemsize: int) -> int:
        """Elements of `itemsize` bytes in one register."""
        return max(1, self.vector_bytes // itemsize)


def nvptx(sm: int, processors: int = 64) -> Target:
    """An NVIDIA GPU of compute capability sm/10, e.g. 75 or 90, with so many multiprocessors."""
    return Target("cuda", "nvptx64-nvidia-cuda",
                  "e-i64:64-i128:128-v16:16-v32:32-n16:32:64", f"sm_{sm}", "",
                  vector_bytes=4, registers=255, fma=True, processors=processors)
