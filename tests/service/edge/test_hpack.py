"""Header blocks are read as RFC 7541 says, and as the package `hpack` reads and writes them."""

import pytest
from hpack import Decoder as Oracle
from hpack import Encoder, HPACKError
from hpack.struct import NeverIndexedHeaderTuple
from hpack.table import HeaderTable
from hypothesis import given, settings
from hypothesis import strategies as st

from service.edge.hpack import Decoder, HpackError, OversizedError

# RFC 7541, appendix C.3 to C.6: blocks that follow each other on one connection, without and with the Huffman code.
REQUESTS = [
    [(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/"), (b":authority", b"www.example.com")],
    [
        (b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/"), (b":authority", b"www.example.com"),
        (b"cache-control", b"no-cache"),
    ],
    [
        (b":method", b"GET"), (b":scheme", b"https"), (b":path", b"/index.html"), (b":authority", b"www.example.com"),
        (b"custom-key", b"custom-value"),
    ],
]  # fmt: skip
PLAIN = [
    "828684410f7777772e6578616d706c652e636f6d", "828684be58086e6f2d6361636865",
    "828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565",
]  # fmt: skip
IN_CODE = [
    "828684418cf1e3c2e5f23a6ba0ab90f4ff", "828684be5886a8eb10649cbf",
    "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf",
]  # fmt: skip

text = st.one_of(st.binary(max_size=80), st.text("abc-0123456789", max_size=80).map(str.encode))
fields = st.lists(
    st.builds(
        lambda name, value, kind: kind(name, value),
        st.one_of(st.sampled_from([b":path", b"te", b"user-agent", b"x-id"]), text),
        text,
        st.sampled_from([lambda *field: field, NeverIndexedHeaderTuple]),
    ),
    max_size=12,
)


def outcome(read, block):
    """The fields that a decoder finds; None where it finds a fault."""
    try:
        return [tuple(field) for field in read(block)]
    except (HpackError, HPACKError, IndexError):
        return None


@pytest.mark.parametrize("blocks", [PLAIN, IN_CODE], ids=["plain", "huffman"])
def test_examples(blocks):
    """The examples of the RFC mean what it says."""
    decoder = Decoder(4096)
    assert [decoder.decode(bytes.fromhex(block)) for block in blocks] == REQUESTS


def test_static_table():
    """Each field that everybody knows has its index."""
    known = HeaderTable.STATIC_TABLE
    assert Decoder(65_536).decode(bytes(0x80 | index for index in range(1, len(known) + 1))) == list(known)


@given(st.lists(st.tuples(fields, st.booleans()), max_size=6), st.lists(st.integers(0, 4096), max_size=6))
def test_blocks_of_an_encoder(blocks, sizes):
    """What an encoder writes is read, block after block, whatever table it uses."""
    encoder, decoder = Encoder(), Decoder(1 << 20)
    for number, (block, huffman) in enumerate(blocks):
        if number < len(sizes):
            encoder.header_table_size = sizes[number]
        assert decoder.decode(encoder.encode(block, huffman=huffman)) == [tuple(field) for field in block]


@settings(max_examples=400)
@given(
    st.lists(st.one_of(st.binary(max_size=40), fields.map(lambda block: Encoder().encode(block))), max_size=4),
    st.data(),
)
def test_hostile_blocks(blocks, data):
    """Any bytes mean what they mean to the package, or are refused by both."""
    decoder, oracle = Decoder(1 << 20), Oracle(1 << 20)
    for block in blocks:
        if block and data.draw(st.booleans()):
            at = data.draw(st.integers(0, len(block) - 1))
            block = block[:at] + bytes((data.draw(st.integers(0, 255)),)) + block[at + 1 :]
        found = outcome(decoder.decode, block)
        assert found == outcome(lambda block: oracle.decode(block, raw=True), block)
        if found is None:
            break


FAULTS = [
    "80", "c0", "ff80808080808001", "7fffffffffffff01", "40", "4003", "400361", "0001618166", "0001", "8220", "3fe21f",
]  # fmt: skip


@pytest.mark.parametrize("block", FAULTS)
def test_faults(block):
    """Indices without a field, numbers too large, ends within a field, and wrong sizes of the table are refused."""
    with pytest.raises(HpackError):
        Decoder(4096).decode(bytes.fromhex(block))


def test_changes_are_counted():
    """Whether the table has changed can be seen, so that what blocks mean can be kept until it does."""
    decoder, seen = Decoder(4096), []
    for block in ("82", "0001610162", "1001610162", "4001610162", "be", "20"):
        decoder.decode(bytes.fromhex(block))
        seen.append(decoder.changes)
    assert seen == [0, 0, 0, 1, 1, 2]


def test_bombs_are_not_unpacked():
    """A block that names one large field again and again is refused before that has taken memory."""
    large = b"\x40\x01a\x7f\x81\x1e" + b"x" * 4000
    with pytest.raises(OversizedError, match="more than 16384 bytes"):
        Decoder(16_384).decode(large + b"\xbe" * 10_000)
