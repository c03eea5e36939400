"""Header blocks: what is kept of them changes nothing that they mean, and has a bound."""

from hpack import Encoder
from hypothesis import given
from hypothesis import strategies as st

from service.edge import grpc_protocol as grpc
from service.edge.headers import MALFORMED, REMEMBERED_BYTES, TRAILERS, HeaderBlocks, Varying

REQUEST = [
    (b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/s/m"), (b":authority", b"h"),
    (b"content-type", b"application/grpc"), (b"te", b"trailers"),
]  # fmt: skip
OTHERS = st.one_of(
    st.sampled_from([(b":path", b"/s/n"), (b"grpc-encoding", b"br"), (b"x-large", b"a" * 4_500), (b"Upper", b"1")]),
    st.tuples(
        st.sampled_from([b"x-a", *sorted(grpc.VARYING)]), st.sampled_from([b"", b"1", b"1S", b"20m", b"\xe9", b"a\nb"])
    ),
)


def understood(meaning):
    """A meaning that can be compared."""
    if meaning in (MALFORMED, TRAILERS):
        return meaning
    return (
        meaning.path, meaning.timeout, dict(meaning.metadata), meaning.encoding, meaning.http_status,
        str(meaning.error),
    )  # fmt: skip


@given(st.lists(st.tuples(st.integers(0, 6), st.lists(OTHERS, max_size=4), st.booleans()), min_size=1, max_size=6))
def test_what_is_kept_of_other_headers(requests):
    """A request means the same whether its varying headers are read apart from the others, which are kept, or not."""
    encoder = Encoder()
    apart, whole = HeaderBlocks(grpc.interpret, Varying(grpc.VARYING, grpc.with_headers)), HeaderBlocks(grpc.interpret)
    for place, others, trailers in requests:
        headers = others if trailers else [*REQUEST[:place], *others, *REQUEST[place:]]
        block = encoder.encode(headers)
        assert understood(apart.decode(block)) == understood(whole.decode(block))


def test_what_is_kept_has_a_bound():
    """However many large blocks a peer sends, with and without varying headers, little is kept of them."""
    blocks = HeaderBlocks(grpc.interpret, Varying(grpc.VARYING, grpc.with_headers))
    for i in range(200):
        name = b"x-a" if i % 2 else b"x-request-id"
        block = b"".join(b"\0" + _text(n) + _text(v) for n, v in (*REQUEST, (name, b"%d" % i * 4_000)))
        assert blocks.decode(block).path == "/s/m"
        kept = [*blocks.known, *(value for key in blocks.usual for _, value in key)]
        assert sum(map(len, kept)) <= 2 * REMEMBERED_BYTES


def _text(text):
    return (bytes([len(text)]) if len(text) < 127 else grpc._length(len(text))) + text
