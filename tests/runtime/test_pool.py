"""The thread pool: every chunk once, whoever calls, however many threads."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from flambeau.compiler.config import override
from flambeau.runtime import jit, pool
from native_text import PARALLEL, parallel_code


@pytest.fixture(autouse=True)
def threads_as_before() -> Iterator[None]:
    before = pool.num_threads()
    pool._native().always(1)  # otherwise jobs as short as these are the caller's own
    yield
    pool._native().always(0)
    pool.set_num_threads(before)


def jobs(symbol: str, chunks: int, times: int, each: int = 1) -> None:
    counts = np.zeros(chunks + 2, np.int64)
    parallel_code().function(symbol)(counts.ctypes.data, chunks, times)
    assert (counts[:chunks] == times * each).all() and not counts[chunks:].any()


@pytest.mark.parametrize("n", [1, 2, 5])
def test_every_chunk_once(n: int) -> None:
    pool.set_num_threads(n)
    assert pool.num_threads() == n
    for chunks in (1, 2, 3, 17, 1000):
        jobs("run", chunks, 20)
    assert pool.workers() >= n - 1


@pytest.mark.parametrize("n", [1, 2, 5])
def test_every_chunk_once_where_the_pool_chooses(n: int) -> None:
    """Enough jobs to be timed both ways, and two kinds whose records take turns."""
    pool.set_num_threads(n)
    pool._native().always(0)
    for _ in range(50):
        for chunks in (2, 258, 9):
            jobs("run", chunks, 20)
    together(lambda: jobs("run", 13, 3000), 3)


def test_no_chunks() -> None:
    pool.set_num_threads(2)
    jobs("run", 0, 5)


def test_stress_changing_sizes() -> None:
    """10^5 jobs, chunks and threads changing: late workers must touch nothing."""
    rng = np.random.default_rng(0)
    for turn in range(100):
        pool.set_num_threads(int(rng.integers(1, 6)))
        jobs("run", int(rng.integers(1, 40)), 1000)
        assert turn >= 0


def test_nested_runs_serially() -> None:
    for n in (2, 5):
        pool.set_num_threads(n)
        jobs("nest", 31, 300, each=3)


def together(work: Callable[[], None], callers: int) -> None:
    """Runs work on many Python threads at once and passes on the first failure."""
    failures: list[BaseException] = []

    def guarded() -> None:
        try:
            work()
        except BaseException as error:
            failures.append(error)

    members = [threading.Thread(target=guarded) for _ in range(callers)]
    for member in members:
        member.start()
    for member in members:
        member.join(60)
        assert not member.is_alive()
    if failures:
        raise failures[0]


def test_many_callers_at_once() -> None:
    for n in (2, 4):
        pool.set_num_threads(n)
        together(lambda: jobs("run", 13, 3000), 6)
        together(lambda: jobs("nest", 5, 500, each=3), 6)


def test_limit_changes_while_jobs_run() -> None:
    stop = threading.Event()

    def change() -> None:
        n = 1
        while not stop.is_set():
            pool.set_num_threads(n % 5 + 1)
            n += 1

    changer = threading.Thread(target=change)
    changer.start()
    try:
        jobs("run", 9, 20000)
    finally:
        stop.set()
        changer.join()


def test_bad_number_of_threads() -> None:
    for n in (0, -1, 5000):
        with pytest.raises(ValueError, match="expected 1 to 1024 threads"):
            pool.set_num_threads(n)


def test_context_manager() -> None:
    pool.set_num_threads(2)
    with pool.threads(3):
        assert pool.num_threads() == 3
    assert pool.num_threads() == 2


def test_default_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3,2")
    assert pool._default_threads() == 3
    with override(num_threads=4):
        assert pool._default_threads() == 4
    monkeypatch.setenv("OMP_NUM_THREADS", "nonsense")
    assert pool._default_threads() == pool._allowed_cores()


def test_quota(tmp_path: Path) -> None:
    limit = tmp_path / "cpu.max"
    for text, cores in (("150000 100000\n", 2), ("max 100000\n", 0), ("", 0), ("50000 100000", 1)):
        limit.write_text(text)
        assert pool._quota(limit) == cores
    assert pool._quota(tmp_path / "absent") == 0


# -- processes ---------------------------------------------------------------------------------

def in_child(times: int) -> int:
    pool.set_num_threads(2)
    jobs("run", 7, times)
    return pool.workers()


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_multiprocessing(method: str) -> None:
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {method} here")
    pool.set_num_threads(2)
    jobs("run", 7, 100)  # the parent's workers exist
    with multiprocessing.get_context(method).Pool(2) as children:
        assert children.map(in_child, [200] * 4, chunksize=1) == [1] * 4
    jobs("run", 7, 100)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_fork_while_jobs_run() -> None:
    pool.set_num_threads(3)
    worker = threading.Thread(target=lambda: jobs("run", 7, 50000))
    worker.start()
    for _ in range(5):
        child = os.fork()
        if child == 0:
            try:
                in_child(100)
            except BaseException:
                os._exit(1)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
    worker.join()


EXIT = """
import sys, threading, os
sys.path.insert(0, sys.argv[1])
import numpy as np
from native_text import parallel_code
from flambeau.runtime import pool
pool.set_num_threads(4)
counts = np.zeros(16, np.int64)
run = parallel_code().function("run")
run(counts.ctypes.data, 16, 100)
if sys.argv[2] == "busy":
    threading.Thread(target=lambda: [run(counts.ctypes.data, 16, 10000) for _ in range(10**9)],
                     daemon=True).start()
if sys.argv[2] == "raise":
    raise SystemExit(3)
"""


@pytest.mark.parametrize("how, status", [("plain", 0), ("busy", 0), ("raise", 3)])
def test_exit_does_not_hang(how: str, status: int, cache_folder: Path) -> None:
    command = [sys.executable, "-c", EXIT, str(Path(__file__).parent), how]
    environment = {**os.environ, "FLAMBEAU_CACHE": str(cache_folder)}
    assert subprocess.run(command, timeout=30, env=environment).returncode == status


# -- the portable form -------------------------------------------------------------------------

def test_mutex_form_in_another_process(cache_folder: Path) -> None:
    """The form for systems without futex, in a process whose pool is made of it."""
    script = f"""
import numpy as np, os, threading, time
from flambeau.runtime import jit, pool
source = pool.source
pool.source = lambda triple: source(triple, futex=False)
code = jit.load({PARALLEL!r}, "k", jit.host_target())
def work(times):
    counts = np.zeros(9, np.int64)
    code.function("run")(counts.ctypes.data, 9, times)
    assert (counts == times).all(), counts
for n in (2, 4, 1, 3):
    pool.set_num_threads(n)
    work(2000)
    time.sleep(0.01)
    work(1)
members = [threading.Thread(target=work, args=(2000,)) for _ in range(4)]
[m.start() for m in members]
[m.join() for m in members]
assert "pthread_cond_wait" in pool.source(jit.host_target().triple)
if os.fork() == 0:
    work(1000)
    os._exit(0)
assert os.wait()[1] == 0
"""
    if sys.platform == "win32":
        pytest.skip("no pthreads here")
    subprocess.run([sys.executable, "-W", "ignore", "-c", script], check=True, timeout=60,
                   env={**os.environ, "FLAMBEAU_CACHE": str(cache_folder)})


def test_sources_for_other_systems_compile() -> None:
    triples = ("x86_64-unknown-linux-gnu", "x86_64-pc-windows-msvc", "x86_64-apple-darwin")
    for triple in triples:
        text = pool.source(triple)
        assert "fb_parallel" in jit.optimised_ir(text, jit.host_target())
    assert "aarch64.hint" in pool.source("aarch64-unknown-linux-gnu")
    assert "i64 98," in pool.source("aarch64-unknown-linux-gnu")
