"""Texts in the Huffman code of HPACK are read as the package `hpack` reads and writes them."""

import pytest
from hpack.exceptions import HPACKDecodingError
from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH
from hpack.huffman_table import decode_huffman
from hypothesis import given, settings
from hypothesis import strategies as st

from service.edge.huffman import decoded

encode = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH).encode


@given(st.binary(max_size=200))
def test_reads_what_is_written(text):
    """Any bytes come back from their code."""
    assert decoded(encode(text)) == text


@settings(max_examples=1000)
@given(st.one_of(st.binary(max_size=12), st.lists(st.sampled_from([0xFF, 0xFE, 0xF8, 0]), max_size=6).map(bytes)))
def test_refuses_what_is_no_code(code):
    """Bytes that are no code, or are padded wrongly, are refused, as the package refuses them."""
    try:
        expected = bytes(decode_huffman(code))
    except HPACKDecodingError:
        with pytest.raises(ValueError, match="not in the code of HPACK"):
            decoded(code)
    else:
        assert decoded(code) == expected
