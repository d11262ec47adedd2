"""GPU programs are plain data: they survive JSON."""

from __future__ import annotations

import json
from dataclasses import asdict

from flambeau.compiler import launch
from flambeau.compiler.kernel import Extern, KernelReport


def test_a_program_survives_json() -> None:
    inside: list[launch.Step] = [launch.Launch("body", (4, 1, 1), (128, 1, 1), [0, 5, 6])]
    steps: list[launch.Step] = [
        launch.Copy(3, 1, 64), launch.Fill(3, 16, 255),
        launch.Repeat(inside, 3, True, [(5, 6, 7, 8)], [(9, 1, 16)], [(2, 0, 16)]),
        launch.Host(Extern("argsort", (0, False), [(1, "float32", (4, 4))], (2, "int64", (4, 4))))]
    program = launch.GpuProgram(
        "key", 1, [("int64", (4, 4))], [-1], [("float32", 8)], 12, 1024,
        [("scalars", 0), ("input", 0), ("output", 0), ("arena", 0)], steps,
        [KernelReport("body", "map", "add", 64, 16, 4)], [(3, "gather: expected ...")])
    back = launch.from_plain(json.loads(json.dumps(asdict(program))))
    assert back == program and isinstance(back.steps[2], launch.Repeat)
