"""service.client: what it makes of arrays before anything is sent."""

import numpy as np
import pytest

from service.client import to_tensor
from service.errors import InvalidArgumentError


def test_ragged_lists():
    """Lists of different lengths are refused with a sentence of ours, which names the input."""
    with pytest.raises(InvalidArgumentError, match="x: lists of different lengths do not form an array") as caught:
        to_tensor([[[1, 2], [3, 4]], [[5, 6]]], "x")
    assert caught.value.field == "x"


def test_what_is_neither_number_nor_text():
    """Objects, even among texts, and bytes are refused by their type."""
    for array in ([b"a"], [None], ["a", None], np.array([1j])):
        with pytest.raises(InvalidArgumentError, match="cannot be sent; send numbers or strings"):
            to_tensor(array)
