"""gRPC over HTTP/2, as bytes."""

from hypothesis import given
from hypothesis import strategies as st

from service.edge.grpc_protocol import OK, success, trailers

texts = st.text(st.characters(codec="utf-8"), max_size=200)
fields = st.tuples(st.sampled_from(["x-request-id", "server-timing", "x-bytes-bin"]), texts | st.binary(max_size=200))


@given(st.lists(fields, max_size=40), st.sampled_from([0, 100, 1_000, 100_000]))
def test_the_quick_way_writes_the_same_trailers(extra, most):
    """The block of a successful answer is that of any other with its status and metadata, however it is made."""
    assert success(extra, most) == trailers(OK, "", b"", extra, most)
