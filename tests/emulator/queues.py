"""Work on streams, run when somebody waits for it: a graph of what must come before what.

The default stream (handle 0) is CUDA's legacy one: its work comes after all that was queued before
on any stream, and before all that is queued later.
"""

from __future__ import annotations

from collections.abc import Callable


class Work:
    """Something to run once, after other work."""

    def __init__(self, run: Callable[[], None], after: list[Work]) -> None:
        self._run: Callable[[], None] | None = run
        self.after = [w for w in after if not w.done]

    @property
    def done(self) -> bool:
        return self._run is None

    def run(self) -> None:
        """Runs it, and first what comes before."""
        todo: list[Work] = [self]
        while todo:
            work = todo[-1]
            waiting = [w for w in work.after if not w.done]
            if waiting:
                todo += waiting
                continue
            todo.pop()
            run, work._run = work._run, None
            work.after = []
            if run is not None:
                run()


class Queue:
    """The streams of one device."""

    def __init__(self) -> None:
        self._last: dict[int, Work] = {}

    def add(self, handle: int, run: Callable[[], None]) -> Work:
        """Queues work on a stream."""
        after = list(self._last.values()) if handle == 0 else \
            [self._last[h] for h in (handle, 0) if h in self._last]
        self._last[handle] = Work(run, after)
        return self._last[handle]

    def follow(self, handle: int, other: Work | None) -> None:
        """What is queued on the stream from now on comes after other work."""
        if other is not None and not other.done:
            self.add(handle, lambda: None).after.append(other)

    def last(self, handle: int) -> Work | None:
        """The work queued last on a stream."""
        return self._last.get(handle)

    def everything(self) -> Work:
        """Work that comes after all that is queued."""
        return Work(lambda: None, list(self._last.values()))
