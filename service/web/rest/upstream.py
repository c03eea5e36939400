"""The server behind the REST protocol: its gRPC service, asked as whoever asks us."""

import itertools
import threading
import time
from collections.abc import Sequence
from typing import Any

import grpc
from google.protobuf import message_factory

from service.client.connections import Connections
from service.edge.status import from_rpc_error
from service.errors import CancelledError, InvalidArgumentError, PermissionDeniedError
from service.oip.messages import SERVICE
from service.pb import unroll_pb2 as pb
from service.web.rest.answers import Asked, Leaving

SECONDS = 60.0  # longest wait for an answer
LOAD_SECONDS = 300.0  # of a method that has a model loaded, by all workers
FORWARDED = ("authorization", "x-request-id", "traceparent", "tracestate")
CONNECTIONS = 2  # a server spreads them over its workers
LOOK_SECONDS = 10.0  # for which it is believed that a server does not trust everybody


class Upstream:
    """Calls methods of the standard service with the headers of a request, and no credentials of this process.

    From any number of threads.
    """

    def __init__(self, client: Connections) -> None:
        """Asks the server of `client`, over connections of its own."""
        self._channels = [client.anonymous_channel() for _ in range(CONNECTIONS)]
        self._turn = itertools.cycle(self._channels)
        self._looking = threading.Lock()  # guards the next
        self._distrusting_until = 0.0  # monotonic seconds

    def call(self, method: str, request: Any, asked: Asked, seconds: float = SECONDS) -> Any:
        """The response of one of the service's methods. Raises the errors of service.errors.

        If the caller leaves, the call is cancelled, so that the server need not compute for nobody.
        """
        headers = []
        for name in FORWARDED:
            if value := asked.headers.get(name):
                if not value.isascii() or not value.isprintable():
                    raise InvalidArgumentError(f"the header {name}: expected printable ASCII")
                headers.append((name, value))
        response_type = message_factory.GetMessageClass(SERVICE.methods_by_name[method].output_type)
        return self._ask(f"/{SERVICE.full_name}/{method}", request, response_type, headers, seconds, asked.leaving)

    def check_distrusting(self) -> None:
        """Raises PermissionDeniedError for a server that trusts everybody who reaches it, since only this machine does.

        What is served to other machines must not hand that trust on.
        """
        with self._looking:
            if time.monotonic() < self._distrusting_until:
                return
            path = "/unroll.v1.ModelService/GetServer"
            found = self._ask(path, pb.GetServerRequest(), pb.GetServerResponse, (), SECONDS, Leaving())
            if found.known_by == "local":
                raise PermissionDeniedError(
                    "the server trusts everybody on its own machine, and other machines reach this address: give the "
                    "server tokens or certificates first"
                )
            self._distrusting_until = time.monotonic() + LOOK_SECONDS

    def close(self) -> None:
        """Closes the connections."""
        for channel in self._channels:
            channel.close()

    def _ask(
        self,
        path: str,
        request: Any,
        response_type: Any,
        headers: Sequence[tuple[str, str]],
        seconds: float,
        leaving: Leaving,
    ) -> Any:
        method = next(self._turn).unary_unary(path, type(request).SerializeToString, response_type.FromString)
        call = method.future(request, timeout=seconds, metadata=tuple(headers))
        leaving.begin(call)
        try:
            return call.result()
        except grpc.FutureCancelledError:
            raise CancelledError("the caller has left") from None
        except grpc.RpcError as error:
            raise from_rpc_error(error) from None
