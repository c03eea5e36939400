"""service.edge.methods: what a call may be asked, and when a handler is not begun."""

import threading
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from service.callers import ALL, Caller, Role
from service.config import ServerConfig
from service.edge.methods import Bound, Call, Lifetime, Method
from service.edge.server import build_edge
from service.errors import CancelledError, TimeLimitError
from service.pb import unroll_pb2 as pb


class Some(Call):
    """A call with a fate of its own."""

    def __init__(self, *, active=True, remaining=None, caller=None):
        self._active, self._remaining, self._caller = active, remaining, caller

    def caller(self):
        return self._caller

    def peer(self):
        return "ipv4:10.0.0.7"

    def remaining(self):
        return self._remaining

    def active(self):
        return self._active

    def metadata(self, key):
        return ""


def test_check():
    """A call is wanted until its caller leaves, its deadline passes, or its stream has lived long enough."""
    Some().check()
    Some(remaining=1.0).check()
    with pytest.raises(CancelledError):
        Some(active=False).check()
    with pytest.raises(TimeLimitError, match="deadline"):
        Some(remaining=0.0).check()
    call = Some()
    call.lifetime = Lifetime(0.0)
    with pytest.raises(TimeLimitError, match="lifetime of 0 s"):
        call.check()


def test_identity():
    """Who shows a certificate is counted by its name; all others, tokens or not, by their address."""
    assert Some(caller=Caller("alice", ALL, "certificate", personal=True)).identity() == "alice"
    assert Some(caller=Caller("operator token", ALL, "token")).identity() == "ipv4:10.0.0.7"


def test_calls_that_nobody_waits_for_are_not_begun(edge):
    """A call whose deadline passed while it waited for a thread is not begun."""
    begun, let = [], threading.Event()

    def handler(request, _call):
        begun.append(request.model)
        assert let.wait(60)
        return pb.GetModelResponse()

    method = Method("/t.S/M", pb.GetModelRequest, pb.GetModelResponse, False, False, handler, Bound.SERVED, Role.ANYONE)
    config = ServerConfig((), unary_threads=1, edge=edge)
    server = build_edge([method], config)
    address = f"127.0.0.1:{server.bind('127.0.0.1:0', None)}"
    server.start()
    try:
        with grpc.insecure_channel(address) as channel, ThreadPoolExecutor(1) as pool:
            ask = channel.unary_unary("/t.S/M", pb.GetModelRequest.SerializeToString, pb.GetModelResponse.FromString)
            first = pool.submit(ask, pb.GetModelRequest(model="first"), timeout=60)
            while not begun:
                threading.Event().wait(0.01)
            with pytest.raises(grpc.RpcError) as caught:
                ask(pb.GetModelRequest(model="late"), timeout=0.2)
            assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            let.set()
            first.result(60)
            ask(pb.GetModelRequest(model="last"), timeout=60)
        assert begun == ["first", "last"]
    finally:
        let.set()
        server.drain(0)
