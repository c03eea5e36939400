"""service.client.messages: arrays and changes of a client as messages."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from service.client.messages import Patch, WeightChange, arrays, change, patch, tensors, to_array, to_tensor
from service.errors import InvalidArgumentError
from service.pb import unroll_pb2 as pb


@given(
    st.sampled_from(["<f4", "<f2"]).flatmap(
        lambda dtype: arrays_of.arrays(
            dtype, arrays_of.array_shapes(max_dims=4, max_side=3), elements={"allow_nan": False}
        )
    )
)
def test_floats_travel_bit_for_bit(array):
    """Single and half precision come back as they went: shape, type and bits."""
    back = to_array(to_tensor(array, "x"))
    assert (back.shape, back.dtype, back.tobytes()) == (array.shape, array.dtype, array.tobytes())


def test_other_numbers_go_as_values():
    """Python's numbers, integers and double precision leave it to the server which type they become."""
    for numbers in ([[1, 2]], np.array([[1, 2]]), np.array([[1.0, 2.0]])):
        message = to_tensor(numbers)
        assert (list(message.values), list(message.shape), message.raw) == ([1, 2], [1, 2], b"")
        assert message.data_type == pb.DATA_TYPE_UNSPECIFIED
    with pytest.raises(InvalidArgumentError, match="send numbers"):
        to_tensor([1j])


def test_inputs_by_name():
    """Several inputs go under their names, and come back under them; a single one needs none."""
    x = np.ones((1, 2), np.float32)
    assert set(arrays(tensors({"a": x, "b": x}))) == {"a", "b"}
    (only,) = tensors(x)
    assert only.name == ""


def test_changes_and_patches():
    """A change and a patch say what they say in Python; a range that is not given is not sent."""
    sent = change(WeightChange("a/kernel", [1.0], "scale", [(0, 1), (0, 0)]))
    assert (sent.weight, sent.operation) == ("a/kernel", pb.WEIGHT_OPERATION_SCALE)
    assert [(r.start, r.stop) for r in sent.ranges] == [(0, 1), (0, 0)]
    sent = patch(Patch("a", "hidden_state", 0.5, "add", units=(1, 3)))
    assert (sent.layer, sent.tensor, sent.operation) == ("a", "hidden_state", pb.PATCH_OPERATION_ADD)
    assert (sent.units.start, sent.units.stop, sent.HasField("timesteps")) == (1, 3, False)
    assert list(sent.value.values) == [0.5]
