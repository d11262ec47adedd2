# ruff: noqa: E501
"""The texts of the tensor's errors: what was expected, what was given, which op."""

from __future__ import annotations

import re

import flambeau as fb
import numpy as np
import pytest

T = fb.zeros(2, 3)
CASES = [
    # shapes
    (lambda: T + fb.zeros(4), ValueError,
     "add: expected shapes that broadcast, got (2, 3) and (4,)"),
    (lambda: T @ T, ValueError, "matmul: expected equal inner extents, got shapes (2, 3) and "
                                "(2, 3)"),
    (lambda: fb.matmul(T, fb.tensor(1.0)), ValueError, "matmul: expected operands with axes"),
    (lambda: fb.mm(T, fb.zeros(3)), ValueError,
     "mm: expected 2-d and 2-d operands, got shapes (2, 3) and (3,)"),
    (lambda: T.reshape(4, -1), ValueError, "reshape: expected a shape for 6 elements, got (4, -1)"),
    (lambda: T.view(5), ValueError, "view: expected a shape for 6 elements, got (5,) for a tensor "
                                    "of shape (2, 3)"),
    (lambda: T.t().view(6), ValueError, "view: expected a layout that shows shape (6,)"),
    (lambda: T.expand(2, 4), ValueError, "expand: expected shapes that broadcast"),
    (lambda: T.expand(3), ValueError, "expand: expected a shape that (2, 3) broadcasts to, got (3,)"),
    (lambda: fb.cat([T, fb.zeros(2, 4)]), ValueError,
     "concatenate: expected shapes equal but for axis 0, got (2, 3), (2, 4)"),
    (lambda: fb.stack([T, fb.zeros(2)]), ValueError, "stack: expected equal shapes, got (2, 3), (2,)"),
    (lambda: fb.cat([]), ValueError, "concatenate: expected at least one tensor, got none"),
    (lambda: T.copy_(fb.zeros(4)), ValueError, "copy_: expected shapes that broadcast"),
    (lambda: T.add_(fb.zeros(4, 2, 3)), ValueError,
     "add_: expected a result of shape (2, 3), got (4, 2, 3)"),
    (lambda: fb.exp(T, out=fb.zeros(3)), ValueError, "exp: expected out of shape (2, 3), got (3,)"),
    (lambda: T.t().t().permute(0, 0), ValueError, "permute: expected each of 2 axes once"),
    (lambda: fb.zeros(2, -1), ValueError, "zeros: expected extents of 0 or more, got (2, -1)"),
    (lambda: fb.einsum("ij,jk", T), ValueError, "einsum: expected 2 operands"),
    (lambda: fb.einsum("ij,ik->jk", T, fb.zeros(4, 3)), ValueError,
     "einsum: expected one extent for label 'i' of 'ij,ik->jk', got 2 and 4"),
    (lambda: fb.conv2d(fb.zeros(1, 2, 5, 5), fb.zeros(3, 4, 3, 3)), ValueError,
     "conv2d: expected 4 input channels"),
    (lambda: fb.conv2d(fb.zeros(1, 2, 2, 2), fb.zeros(3, 2, 3, 3)), ValueError,
     "conv2d: expected an input at least as large as the kernel"),
    (lambda: fb.max_pool2d(fb.zeros(1, 4, 4), 2, padding=2), ValueError,
     "max_pool2d: expected padding of at most half the kernel (2, 2), got (2, 2)"),
    (lambda: fb.pad(T, (4, 0), "reflect"), ValueError, "pad: expected widths up to 2 for reflect on "
                                                       "axis 1 of shape (2, 3), got (4, 0)"),
    (lambda: fb.zeros(0).max(), ValueError, "max: expected at least one element along the axes"),
    (lambda: T.split([1, 2]), ValueError, "split: expected sizes that sum to 2, got [1, 2]"),
    (lambda: fb.tensor([[1, 2], [3]]), ValueError, "tensor: expected nested lists of equal lengths"),
    # axes and indices
    (lambda: T.sum(2), IndexError, "sum: expected an axis in [-2, 2), got 2"),
    (lambda: T.sum((0, 0)), ValueError, "sum: expected distinct axes, got (0, 0)"),
    (lambda: T.unsqueeze(4), IndexError, "unsqueeze: expected an axis in [-3, 3), got 4"),
    (lambda: T[2], IndexError, "getitem: expected an index in [-2, 2) for axis 0 of shape (2, 3), "
                               "got 2"),
    (lambda: T[0, -4], IndexError, "getitem: expected an index in [-3, 3) for axis 1 of shape (2, 3), "
                                   "got -4"),
    (lambda: T[0, 0, 0], IndexError, "getitem: expected at most 2 indices for shape (2, 3), got 3"),
    (lambda: T[[0, 5]], IndexError, "getitem: expected an index in [-2, 2) for axis 0"),
    (lambda: T[..., ...], IndexError, "getitem: expected at most one Ellipsis"),
    (lambda: T[1.5], IndexError, "getitem: expected integers or bools as indices"),
    (lambda: T[fb.zeros(2)], IndexError, "getitem: expected integers or bools as indices, got float32"),
    (lambda: T[fb.ones(3, dtype=bool)], IndexError, "getitem: expected a mask of shape (2,), got (3,)"),
    (lambda: T.narrow(0, 1, 2), IndexError, "narrow: expected a range inside axis 0 of shape (2, 3)"),
    (lambda: T.select(1, 3), IndexError, "select: expected an index in [-3, 3) for axis 1"),
    (lambda: T.index_select(0, [2]), IndexError, "take: expected indices in [-2, 2), got 2"),
    (lambda: fb.tensor(1.0)[0], IndexError, "getitem: expected at most 0 indices for shape ()"),
    # dtypes
    (lambda: T & T, TypeError, "bitwise_and: expected bool or integers, got float32"),
    (lambda: ~T, TypeError, "invert: expected bool or integers, got float32"),
    (lambda: -fb.ones(2, dtype=bool), TypeError, "neg: expected a number dtype, got bool"),
    (lambda: fb.ones(2, dtype=bool) - fb.ones(2, dtype=bool), TypeError,
     "sub: expected a number dtype, got bool"),
    (lambda: fb.arange(2).add_(1.5), TypeError, "add_: expected a target that holds float32, got int64"),
    (lambda: fb.exp(T, out=fb.arange(6).view(2, 3)), TypeError, "exp: expected a target that holds"),
    (lambda: fb.zeros(2, dtype="float8"), TypeError, "zeros: expected a dtype, got 'float8'"),
    (lambda: fb.tensor(["a"]), TypeError, "tensor: expected numbers, got list"),
    (lambda: fb.tensor("one"), TypeError, "tensor: expected numbers, got str"),
    (lambda: fb.exp("a"), TypeError, "exp: expected a tensor, an array or a number, got str"),
    (lambda: T + "a", TypeError, "unsupported operand type(s) for +"),
    (lambda: fb.randn(2, dtype=fb.int32), TypeError, "randn: expected a floating dtype, got int32"),
    (lambda: fb.arange(3).normal_(), TypeError, "normal_: expected a floating dtype, got int64"),
    (lambda: fb.one_hot(T), TypeError, "one_hot: expected integers, got float32"),
    (lambda: T.gather(0, T), TypeError, "gather: expected integer indices, got float32"),
    # values
    (lambda: fb.ones(2, dtype=fb.uint8) + 300, OverflowError,
     "add: expected an integer that uint8 holds, got 300"),
    (lambda: fb.arange(3) ** -1, ValueError, "pow: expected an exponent of 0 or more for int64, got -1"),
    (lambda: bool(T), ValueError, "bool: expected a tensor of one element, got shape (2, 3); use any() "
                                  "or all()"),
    (lambda: float(T), ValueError, "float: expected a tensor of one element, got shape (2, 3)"),
    (lambda: T.item(), ValueError, "item: expected a tensor of one element, got shape (2, 3)"),
    (lambda: [1][fb.tensor(0.0)], TypeError, "index: expected one integer, got float32 ()"),
    (lambda: len(fb.tensor(1)), TypeError, "len: expected at least one axis, got a 0-d tensor"),
    (lambda: T.clamp(), ValueError, "clamp: expected min or max, got neither"),
    (lambda: T.topk(4), ValueError, "topk: expected k up to 3, got 4"),
    (lambda: fb.arange(0, 3, 0), ValueError, "arange: expected a step other than 0, got 0"),
    (lambda: fb.randint(3, 3), ValueError, "randint: expected low < high, got 3 and 3"),
    (lambda: fb.bernoulli(1.5, 2), ValueError, "bernoulli: expected a probability in [0, 1], got 1.5"),
    (lambda: T.to("cuda:x"), ValueError, "to: expected device 'cpu', 'cuda' or 'cuda:N', got 'cuda:x'"),
    # writes
    (lambda: T.expand(4, 2, 3).add_(1), ValueError,
     "add_: expected elements of their own, got an expanded view of shape (4, 2, 3)"),
    (lambda: T.__setitem__(0, fb.zeros(2)), ValueError,
     "setitem: expected shapes that broadcast, got (2,) and (3,)"),
    (lambda: T.__setitem__(5, 0), IndexError, "getitem: expected an index in [-2, 2)"),
    (lambda: fb.ones(2, requires_grad=True).add_(1), RuntimeError,
     "add_: expected a tensor that may change in place, got a leaf that requires grad; write inside "
     "`with fb.no_grad():`"),
    (lambda: fb.no_such_name, AttributeError, "flambeau: no name 'no_such_name'"),
]


@pytest.mark.parametrize("number", range(len(CASES)))
def test_message(number):
    run, kind, text = CASES[number]
    with pytest.raises(kind, match=re.escape(text)):
        run()


def test_late_index_errors_name_the_users_line():
    index = fb.tensor([0, 1]) * 7
    found = T[index]
    assert found._storage.node.where[0].endswith("test_tensor_errors.py")
    with pytest.raises(IndexError):
        found.numpy()


def test_failed_writes_change_nothing():
    t = fb.zeros(3)
    with pytest.raises(ValueError):
        t[:2] = np.zeros(5)
    assert t.tolist() == [0, 0, 0]


def test_two_axes_exchanged_and_bools_clamped() -> None:
    with pytest.raises(IndexError, match=r"transpose: expected an axis in \[-2, 2\), got 5"):
        fb.zeros(2, 3).transpose(0, 5)
    with pytest.raises(IndexError, match=r"swapaxes: expected an axis in \[-2, 2\), got 5"):
        fb.zeros(2, 3).swapaxes(0, 5)
    with pytest.raises(TypeError, match="relu6: expected numbers, got bool"):
        fb.relu6(fb.tensor([True]))
