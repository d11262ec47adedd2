"""Graph in, program out. Pure: no user data, no threads, no devices.

`build` is the door. What runs the passes and writes code is loaded when something must really be
compiled: a program found on disk needs none of it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flambeau.compiler.request import Request
    from flambeau.compiler.target import Target


def build(request: Request, target: Target, timed: bool = False) -> tuple[Any, str]:
    """Compiles a request: the program and its LLVM IR (see pipeline.build and build_gpu)."""
    pipeline = importlib.import_module("flambeau.compiler.pipeline")
    if target.kind == "cuda":
        return pipeline.build_gpu(request, target)  # type: ignore[no-any-return]
    return pipeline.build(request, target, timed)  # type: ignore[no-any-return]
