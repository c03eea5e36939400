"""service.oip.byte_strings beside the standard client's own reading and writing."""

from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.utils import deserialize_bytes_tensor, serialize_byte_tensor

from service.errors import InvalidArgumentError
from service.oip.byte_strings import pack, unpack

TEXTS = st.lists(st.text(st.characters(codec="utf-8")))


@given(TEXTS)
def test_the_standard_client_agrees(texts):
    """What is packed is what the standard client reads and writes, and unpacks to the same texts."""
    raw = pack(texts)
    assert [one.decode() for one in deserialize_bytes_tensor(raw)] == texts
    assert unpack(raw, "x") == texts
    if texts:
        assert serialize_byte_tensor(np.array([one.encode() for one in texts], object)).item() == raw


@given(st.binary())
def test_any_bytes_are_read_or_refused(raw):
    """Whatever bytes come are texts, or an error of ours."""
    with suppress(InvalidArgumentError):
        assert all(isinstance(text, str) for text in unpack(raw, "inputs[0]"))


def test_damaged_lengths():
    """A length beyond the end of the data is refused."""
    with pytest.raises(InvalidArgumentError, match="beyond the end"):
        unpack(b"\5\0\0\0abc", "x")
