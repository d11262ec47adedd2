"""Copies from device memory to shared memory that run while a kernel calculates (from sm_80 on),
and matrices of shared memory as tensor cores want them.

A copy is under way from `copy` on and has arrived, for the thread that asked for it, after a `wait`
that its group is too old for; after a barrier behind that wait, for the block.
"""

from __future__ import annotations

from flambeau.compiler.codegen.emit import I32, Block, Value, const

SIZES = (4, 8, 16)  # bytes that a thread copies at once


def copy(b: Block, to: Value, source: Value, nbytes: int, inside: Value | None) -> None:
    """nbytes from global to shared memory, aligned so; zeros where not `inside`, unread."""
    cache = "cg" if nbytes == 16 else "ca"
    symbol = f"llvm.nvvm.cp.async.{cache}.shared.global.{nbytes}"
    kinds = "ptr addrspace(3), ptr addrspace(1)"
    if inside is None:
        b.module.declare(symbol, f"declare void @{symbol}({kinds})")
        b.call(symbol, None, to, source)
        return
    b.module.declare(f"{symbol}.s", f"declare void @{symbol}.s({kinds}, i32)")
    taken = b.select(inside, const(I32, nbytes), const(I32, 0))
    b.call(f"{symbol}.s", None, to, source, taken)


def commit(b: Block) -> None:
    """What the thread has asked for since the last commit is a group."""
    symbol = "llvm.nvvm.cp.async.commit.group"
    b.module.declare(symbol, f"declare void @{symbol}()")
    b.call(symbol, None)


def wait(b: Block, left: int) -> None:
    """Until all but the thread's last `left` groups have arrived."""
    symbol = "llvm.nvvm.cp.async.wait.group"
    b.module.declare(symbol, f"declare void @{symbol}(i32)")
    b.call(symbol, None, const(I32, left))


def matrices(b: Block, address: Value, turned: bool) -> list[Value]:
    """Four matrices of 8 x 16 bytes; lanes 8 i to 8 i + 7 give the addresses of matrix i's rows.

    Lane l gets word l % 4 of row l / 4 of each; `turned` (16-bit elements): elements 2 (l % 4) and
    the next of column l / 4.
    """
    form = "x4.trans" if turned else "x4"
    symbol = f"llvm.nvvm.ldmatrix.sync.aligned.m8n8.{form}.b16.p3"
    result = "{ i32, i32, i32, i32 }"
    b.module.declare(symbol, f"declare {result} @{symbol}(ptr addrspace(3))")
    made = b.names.fresh()
    b.line(f"{made} = call {result} @{symbol}({address})")
    return [b.value(I32, f"extractvalue {result} {made}, {i}") for i in range(4)]
