"""service.model.tensors: which networks go from bytes to bytes, and for which shapes."""

import numpy as np
import pytest

from service.model.tensors import RawSequence, Tensor, TensorSpec

F4 = np.dtype("<f4")


def raw(shape=(None, None, 2), dtype=F4, outputs=1):
    """Of a network with an input of this shape and type."""
    made = [TensorSpec(f"y{i}", F4, (None, 1)) for i in range(outputs)]
    return RawSequence([TensorSpec("x", np.dtype(dtype), shape)], made)


def test_networks_that_go_from_bytes_to_bytes():
    """One input of sequences and one output, in single precision; nothing else."""
    assert raw().possible
    for other in (raw((None, 2)), raw(dtype="<f8"), raw(outputs=2), raw((None, 3, None))):
        assert not other.possible
        assert not other.takes((1, 3, 2))


@pytest.mark.parametrize("shape", [(2, 3, 2), (1, 3, 3), (1, 0, 2), (3, 2), (1, 6)])
def test_other_shapes(shape):
    """Only one sequence of some timesteps with the right number of features is taken."""
    assert raw().takes((1, 3, 2))
    assert not raw().takes(shape)


def test_a_fixed_number_of_timesteps():
    """A network for three timesteps takes no two."""
    assert raw((None, 3, 2)).takes((1, 3, 2))
    assert not raw((None, 3, 2)).takes((1, 2, 2))


def test_numbers_have_to_be_finite():
    """Any number of sequences are read at once; one NaN among them, and none is."""
    x = np.arange(12, dtype=F4).reshape(2, 3, 2)
    assert np.array_equal(RawSequence.numbers(x.tobytes(), (3, 2)), x)
    x[1, 2, 0] = np.nan
    assert RawSequence.numbers(x.tobytes(), (3, 2)) is None


def test_elements_of_a_sequence():
    """Elements are counted without the batch; an open extent counts as one."""
    assert Tensor((None, 5, 3), F4).elements == 15
    assert Tensor((None, None, 3), F4).elements == 3
