"""Programs on a GPU: the steps of a `launch.GpuProgram`, walked by the host or replayed as a graph.

Nothing here waits for the device but host routines and loops with a condition. The scalars lie in a
block of device memory, one for each stream, which is written anew when they change. Its first word
is the error word: it stays as a kernel leaves it until somebody waits for the device, who then
raises what it says (`raise_errors`).
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from flambeau.compiler import dtype as dt
from flambeau.compiler.kernel import Extern
from flambeau.compiler.launch import Copy, Fill, Gemm, GpuProgram, Host, Launch, Repeat, Step
from flambeau.runtime import devices, execute, externs
from flambeau.runtime.cuda import drivers, modules, streams
from flambeau.runtime.cuda.graphs import Graphs, Operation
from flambeau.runtime.cuda.streams import Event, Stream

FREE_SHARED = 48 << 10  # bytes of shared memory that a kernel gets without asking

Places = list[int]  # the address behind each slot
# how to tell an error, the block with its word, and what the latest run wrote into new memory
Waiting = tuple[devices.Late | None, Any, "list[weakref.ref[Any]]"]


class Stopped(Exception):
    """The error word was set before a host routine: what follows is left out."""


class Code:
    """What was loaded: the PTX text."""

    def __init__(self, ptx: bytes, cached: str) -> None:
        self.text, self.cached, self.size = ptx, cached, len(ptx)


class Executable:
    """A program loaded on one device. Its `start` is the contract's (devices.py)."""

    simple = False  # the host's native entry cannot run it

    def __init__(self, gpu: Any, program: GpuProgram, ptx: bytes, processor: str, source: str,
                 seconds: float) -> None:
        self.gpu, self.program = gpu, program
        self.code, self.source, self.seconds = Code(ptx, source), source, seconds
        self.scalars = execute.Scalars(program)
        launches = [s for s in every(program.steps) if isinstance(s, Launch)]
        self.functions = _functions(gpu.index, launches, ptx, processor)
        self.products = any(isinstance(s, Gemm) for s in every(program.steps))
        self.graphs = Graphs(gpu.index, launches_of(program.steps))
        self.blocks: dict[Stream, tuple[Any, bytes]] = {}  # scalars in device memory, and which
        self.lock = threading.RLock()
        self.waiting: Waiting | None = None  # to raise what the word says

    def start(self, inputs: Sequence[Any], outputs: Sequence[Any], scalars: Sequence[Any],
              late: devices.Late | None = None) -> None:
        """Runs on these memories, in the order of the current stream; returns at once."""
        here = self.gpu.name
        with self.lock, drivers.active(self.gpu.index):
            stream = streams.current(self.gpu.index)
            inputs = [m if m.device == here else devices.move(m, here) for m in inputs]
            arena = self.gpu.allocate(self.program.arena_bytes) if self.program.arena_bytes else (
                None)
            shared = [arena] if arena else []
            if self.products:
                shared.append(self.gpu.cublas.workspace)
            for m in (*inputs, *outputs, *shared):
                m.use(stream)
            block = self._block(stream, self.scalars.pack(scalars).raw[8:])
            key = (block.pointer, arena.pointer if arena else 0,
                   *(m.pointer for m in inputs), *(m.pointer for m in outputs))
            try:
                at = self._places(key)
                self.graphs.run(key, stream, lambda s: self._walk(list(at), Doing(self, s)),
                                lambda: self._listed(list(at)))
            except execute.ProgramError as error:  # a host routine's
                raise (late(error) if late is not None else error) from None
            if self.program.errors:
                made = [weakref.ref(m) for m, a in zip(outputs, self.program.alias) if a < 0]
                self.waiting = late, block, made
                self.gpu.running.add(self)

    def profile(self, inputs: Sequence[Any], outputs: Sequence[Any], scalars: Sequence[Any]
                ) -> list[tuple[str, float]]:
        """One run with events around every launch: kernels' names and microseconds."""
        marks: list[tuple[str, Event, Event]] = []

        def timed(launch: Launch, go: Callable[[], None], stream: Stream) -> None:
            first, last = Event(self.gpu.index), Event(self.gpu.index)
            first.record(stream)
            go()
            marks.append((launch.symbol, first, last.record(stream)))

        with self.lock, drivers.active(self.gpu.index):
            stream = streams.current(self.gpu.index)
            arena = self.gpu.allocate(self.program.arena_bytes)
            block = self._block(stream, self.scalars.pack(scalars).raw[8:])
            key = (block.pointer, arena.pointer, *(m.pointer for m in (*inputs, *outputs)))
            self._walk(self._places(key), Doing(self, stream, timed))
            stream.synchronize()
            return [(name, first.elapsed_time(last) * 1e3) for name, first, last in marks]

    @property
    def externs(self) -> list[Extern]:
        """The routines that run on the host."""
        return [s.extern for s in every(self.program.steps) if isinstance(s, Host)]

    def registers(self) -> dict[str, tuple[int, int]]:
        """Each kernel's registers and bytes of local memory (spills) a thread, by the driver."""
        return {name: (f.num_regs, f.local_size_bytes) for name, f in self.functions.items()}

    # -- memory --------------------------------------------------------------------------------
    def _block(self, stream: Stream, packed: bytes) -> Any:
        """The stream's scalars in device memory, as they should be."""
        found = self.blocks.get(stream)
        if found is None:
            block = self.gpu.allocate(max(8, self.program.scalar_bytes))
            drivers.current().memset_d8_async(block.pointer, 0, 8, stream.given)
            found = (block, b"")
        block, before = found
        if packed != before:
            self.gpu.staging.to_device(block.pointer + 8, np.frombuffer(packed, np.uint8), stream)
        self.blocks[stream] = (block, packed)
        return block

    def _places(self, key: tuple[int, ...]) -> Places:
        """The address of every slot; 0 for those that a loop moves."""
        block, arena, *rest = key
        count = self.program.inputs
        kinds: dict[str, Callable[[int], int]] = {
            "scalars": lambda place: block, "input": lambda place: rest[place],
            "output": lambda place: rest[count + place], "arena": lambda place: arena + place,
            "moving": lambda place: 0}
        return [kinds[where](place) for where, place in self.program.slots]

    # -- steps ---------------------------------------------------------------------------------
    def _walk(self, at: Places, to: Doing | Listing) -> None:
        try:
            for step in self.program.steps:
                self._step(step, at, to)
        except Stopped:
            pass

    def _listed(self, at: Places) -> list[Operation]:
        """What a run enqueues, for programs that need no host in between."""
        found = Listing()
        self._walk(at, found)
        return found.operations

    def _step(self, step: Step, at: Places, to: Doing | Listing) -> None:
        if isinstance(step, Launch):
            to.launch(step, [at[slot] for slot in step.arguments])
        elif isinstance(step, Copy):
            if step.nbytes:
                to.copy(at[step.to], at[step.source], step.nbytes)
        elif isinstance(step, Fill):
            if step.nbytes:
                to.fill(at[step.slot], step.value, step.nbytes)
        elif isinstance(step, Gemm):
            to.product(self.gpu, step, at[step.a], at[step.b], at[step.to])
        elif isinstance(step, Host):
            assert isinstance(to, Doing)
            self._host(step.extern, at, to.stream)
        else:
            self._repeat(step, at, to)

    def _host(self, e: Extern, at: Places, stream: Stream) -> None:
        if self.program.errors and self.word(at[0], stream):
            raise Stopped
        arrays = []
        for slot, name, shape in e.operands:
            array = np.empty(shape, dt.by_name(name).numpy)
            self.gpu.staging.to_host(array.reshape(-1).view(np.uint8), at[slot], stream)
            arrays.append(array)
        slot, name, shape = e.result
        try:
            result = np.asarray(externs.find(e.name)(e.options, *arrays))
        except Exception as error:
            raise execute.RoutineError(e.place, error) from error
        made = np.ascontiguousarray(result, dt.by_name(name).numpy).reshape(-1).view(np.uint8)
        self.gpu.staging.to_device(at[slot], made, stream)

    def _repeat(self, loop: Repeat, at: Places, to: Doing | Listing) -> None:
        t = 0
        while loop.count < 0 or t < loop.count:
            for read, written, first, second in loop.carries:
                at[read], at[written] = (at[first], at[second])[::-1 if t % 2 else 1]
            row = loop.count - 1 - t if loop.reverse else t
            for moving, base, nbytes in loop.rows:
                at[moving] = at[base] + row * nbytes
            if loop.condition >= 0:
                for step in loop.asking:
                    self._step(step, at, to)
                assert isinstance(to, Doing)
                if not self._true(at[loop.condition], to.stream):
                    break
            for step in loop.steps:
                self._step(step, at, to)
            t += 1
        for place, number, nbytes in loop.results:
            side = loop.carries[number][2 + t % 2]
            if nbytes:
                to.copy(at[place], at[side], nbytes)

    def _true(self, pointer: int, stream: Stream) -> bool:
        found = np.empty(1, np.uint8)
        self.gpu.staging.to_host(found, pointer, stream)
        return bool(found[0])

    # -- errors --------------------------------------------------------------------------------
    def word(self, pointer: int, stream: Stream) -> int:
        """The error word, waited for."""
        found = np.empty(8, np.uint8)
        self.gpu.staging.to_host(found, pointer, stream)
        return int(found.view(np.int64)[0])

    def raise_errors(self, stream: Stream) -> None:
        """Raises what the error words say of the runs so far, and clears them."""
        with self.lock:
            if self.waiting is None:
                return
            (late, _, made), self.waiting = self.waiting, None
            for block, _ in list(self.blocks.values()):
                block.use(stream)
                word = self.word(block.pointer, stream)
                if word:
                    drivers.current().memset_d8_async(block.pointer, 0, 8, stream.given)
                    error = execute.ProgramError(*self.program.errors[word - 1])
                    told = late(error) if late is not None else error
                    for memory in filter(None, (m() for m in made)):
                        memory.failed = told
                    raise told from None


class Doing:
    """Enqueues a run's operations on a stream. around: does a launch, given it as a function."""

    def __init__(self, executable: Executable, stream: Stream, around: Any = None) -> None:
        self.functions, self.stream, self.around = executable.functions, stream, around

    def launch(self, step: Launch, arguments: list[int]) -> None:
        function, stream = self.functions[step.symbol], self.stream

        def go() -> None:
            function.prepared_async_call(step.grid, step.block, stream.given, *arguments,
                                         shared_size=step.shared)
        if self.around is None:
            go()
        else:
            self.around(step, go, stream)

    def copy(self, to: int, source: int, nbytes: int) -> None:
        drivers.current().memcpy_dtod_async(to, source, nbytes, self.stream.given)

    def product(self, gpu: Any, step: Gemm, a: int, b: int, to: int) -> None:
        gpu.cublas.product(step, a, b, to, self.stream)

    def fill(self, to: int, value: int, nbytes: int) -> None:
        drivers.current().memset_d8_async(to, value, nbytes, self.stream.given)


class Listing:
    """Writes a run's operations down."""

    def __init__(self) -> None:
        self.operations: list[Operation] = []

    def launch(self, step: Launch, arguments: list[int]) -> None:
        self.operations.append(("launch", step.symbol, *arguments))

    def copy(self, to: int, source: int, nbytes: int) -> None:
        self.operations.append(("copy", to, source, nbytes))

    def product(self, gpu: Any, step: Gemm, a: int, b: int, to: int) -> None:
        self.operations.append(("product", a, b, to))

    def fill(self, to: int, value: int, nbytes: int) -> None:
        self.operations.append(("fill", to, value, nbytes))


def every(steps: Iterable[Step]) -> Iterable[Step]:
    """All steps, those of loops too."""
    for step in steps:
        yield step
        if isinstance(step, Repeat):
            yield from every(step.steps)
            yield from every(step.asking)


def launches_of(steps: Iterable[Step]) -> int:
    """How many pieces of work a run enqueues; 0 when the host takes part and no graph can be."""
    total = 0
    for step in steps:
        if isinstance(step, Host) or (isinstance(step, Repeat) and step.condition >= 0):
            return 0
        if isinstance(step, Repeat):
            inside = launches_of(step.steps)
            if step.steps and not inside:
                return 0
            total += inside * max(step.count, 0) + len(step.results)
        else:
            total += 1
    return total


def _functions(index: int, launches: list[Launch], ptx: bytes, processor: str) -> dict[str, Any]:
    """The kernels by name, ready for calls with pointers."""
    if not launches:
        return {}
    module = modules.load(index, ptx, processor)
    found: dict[str, Any] = {}
    driver = drivers.current()
    with drivers.active(index):
        for launch in launches:
            if launch.symbol in found:
                continue
            function = module.get_function(launch.symbol)
            function.prepare("P" * len(launch.arguments))
            if launch.shared > FREE_SHARED:
                function.set_attribute(
                    driver.function_attribute.MAX_DYNAMIC_SHARED_SIZE_BYTES, launch.shared)
            found[launch.symbol] = function
    return found
