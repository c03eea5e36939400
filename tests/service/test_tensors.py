"""service.tensors: arrays out of messages are checked before anything is computed."""

import numpy as np
import pytest

from service.config import Limits
from service.errors import InvalidArgumentError, LimitExceededError
from service.tensors import check_extents, checked_shape, finite, from_raw, from_values

F4, I4 = np.dtype("<f4"), np.dtype("<i4")


def test_shapes():
    """A shape is refused for a negative extent, too many axes, and more elements than the limit, by its field."""
    limits = Limits(elements=24)
    assert checked_shape([2, 3, 4], "x", limits) == (2, 3, 4)
    assert checked_shape([], "x", limits) == ()
    for shape in ([-1, 2], [1] * 33):
        with pytest.raises(InvalidArgumentError) as caught:
            checked_shape(shape, "x", limits)
        assert caught.value.field == "x.shape"
    with pytest.raises(LimitExceededError, match="asks for 25 elements, the limit is 24"):
        checked_shape([5, 5], "x", limits)


def test_bytes_are_viewed():
    """Raw bytes become an array without a copy, and only where their number fits the shape."""
    raw = np.arange(6, dtype=F4).tobytes()
    array = from_raw(raw, (2, 3), F4, "x")
    assert array.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert not array.flags.owndata
    with pytest.raises(InvalidArgumentError, match="needs 24 bytes of raw, got 20"):
        from_raw(raw[4:], (2, 3), F4, "x")


def test_values_have_to_fit_the_type():
    """Numbers that the type does not hold are refused; fractions are no integers."""
    assert from_values([1, 2], (2,), I4, "x").dtype == I4
    assert from_values([1, 0], (2,), np.dtype("?"), "x").tolist() == [True, False]
    for values, dtype in (([1.5], I4), ([2**40], I4), ([1e300], F4), ([float("nan")], F4), ([2], np.dtype("?"))):
        with pytest.raises(InvalidArgumentError):
            from_values(values, (1,), dtype, "x")
    with pytest.raises(InvalidArgumentError, match="needs 2 values, got 1"):
        from_values([1.0], (2,), F4, "x")


@pytest.mark.parametrize("size", [4, 1000])
def test_the_first_number_that_is_not_finite_is_named(size):
    """NaN and infinity are refused with their place; large finite numbers whose sum overflows are not."""
    large = np.full(size, np.finfo(F4).max, F4)
    assert finite(large, "x") is large
    large[3] = -np.inf
    with pytest.raises(InvalidArgumentError, match=r"x: element \[3\] is -inf"):
        finite(large, "x")


def test_extents():
    """More sequences or timesteps than one call may have are refused with the number and the limit."""
    limits = Limits(batch=4, timesteps=8)
    check_extents({"x": np.zeros((4, 8, 3))}, limits)
    for shape, message in (((5, 8, 3), "5 sequences"), ((4, 9, 3), "9 timesteps")):
        with pytest.raises(LimitExceededError, match=message):
            check_extents({"x": np.zeros(shape)}, limits)
