"""Random bits inside kernels: Philox 4x32-10, one block for four neighbouring 32-bit elements.

Element `index` of a stream is word index mod 4 of block index div 4 (words 2 (index mod 2) and the
next of block index div 2 for 64 bits), so it depends on nothing else: not on lanes, chunks or
neighbours. Where lanes are known to walk whole blocks each block is made once and its words are
dealt to the lanes; elsewhere every lane makes the block it needs and picks its word.
"""

from __future__ import annotations

from flambeau.compiler import dtype as dt
from flambeau.compiler.codegen.emit import Block, Value, const, make_type
from flambeau.compiler.node import Node

FACTORS = (0xD2511F53, 0xCD9E8D57)
STEPS = (0x9E3779B9, 0xBB67AE85)  # the golden ratio and sqrt(3) - 1, as 32-bit fractions
ROUNDS = 10
LOW = 0xFFFFFFFF
STREAM = 48  # a block's number is below 2**48; above it stands the stream's


def blocks(b: Block, counter: list[Value], key: list[Value]) -> list[Value]:
    """Philox 4x32-10 (Salmon et al., 2011): four words of random bits per counter and key.

    Words are the low halves of i64: a product of two is then one instruction on vectors. The high
    halves of the counter and of the result hold anything, those of the key nothing.
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for i in range(ROUNDS):
        if i:
            k0 = _low(b, b.add(k0, const(k0.type, STEPS[0])))
            k1 = _low(b, b.add(k1, const(k1.type, STEPS[1])))
        first = b.mul(_low(b, c0), const(c0.type, FACTORS[0]))
        second = b.mul(_low(b, c2), const(c2.type, FACTORS[1]))
        c0, c1, c2, c3 = (b.xor(b.xor(b.lshr(second, 32), k0), c1), second,
                          b.xor(b.xor(b.lshr(first, 32), k1), c3), first)
    return [c0, c1, c2, c3]


def _low(b: Block, v: Value) -> Value:
    return b.and_(v, const(v.type, LOW))


def pairs(b: Block, number: Value, draw: Value, key: Value, stream: int = 0
          ) -> tuple[Value, Value]:
    """Words (0, 1) and (2, 3), as i64, of the blocks of these numbers (all i64, of equal lanes)."""
    if stream:
        number = b.op("xor", number, const(number.type, stream << STREAM))
    high = b.lshr(draw, 32)
    w0, w1, w2, w3 = blocks(b, [number, b.lshr(number, 32), draw, high],
                            [_low(b, key), b.lshr(key, 32)])
    return b.or_(_low(b, w0), b.shl(w1, 32)), b.or_(_low(b, w2), b.shl(w3, 32))


def emit(b: Block, n: Node, index: Value, draw: Value, key: Value) -> Value:
    """A word of 32 or 64 bits for each index: every lane makes its own block."""
    wide = n.dtype is dt.uint64
    first, second = pairs(b, b.lshr(index, 1 if wide else 2), draw, key, n.arg or 0)

    def odd(bit: int) -> Value:
        picked = b.and_(index, const(index.type, bit))
        return b.cmp("ne", picked, const(index.type, 0))

    word = b.select(odd(1 if wide else 2), second, first)
    if wide:
        return word
    return b.convert("trunc", b.select(odd(1), b.lshr(word, 32), word), "i32")


def deal(b: Block, n: Node, lanes: int, first: Value, draw: Value, key: Value) -> Value:
    """A word for each of `lanes` neighbours from index `first` on, where a block begins."""
    per = words_per_block(n)
    count = lanes // per
    number = b.op("add", b.splat(b.lshr(first, per // 2), count), b.iota("i64", count))
    front, back = pairs(b, number, b.splat(draw, count), b.splat(key, count), n.arg or 0)
    if count == 1:
        words = b.insert(b.splat(front, 2), back, 1)
    else:
        words = b.shuffle(front, back, [i // 2 + count * (i % 2) for i in range(2 * count)])
    if per == 2:
        return words
    to = make_type("i32", lanes)
    return b.value(to, f"bitcast {words} to {to}")


def words_per_block(n: Node) -> int:
    """How many elements a block serves."""
    return 2 if n.dtype is dt.uint64 else 4
