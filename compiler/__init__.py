"""Graph in, program out. Pure: no user data, no threads, no devices.

`build` is the door. What runs the passes and writes code is loaded when something must really be
compiled: a program found on disk needs none of it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flambeau.compiler.kernel import Program
    from flambeau.compiler.request import Request
    from flambeau.compiler.target import Target


def build(request: Request, target: Target, timed: bool = False) -> tuple[Program, str]:
    """Compiles a request: the program and its LLVM IR (see pipeline.build)."""
    pipeline = importlib.import_module("flambeau.compiler.pipeline")
    return pipeline.build(request, target, timed)  # type: ignore[no-any-return]
