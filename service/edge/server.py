"""The edges by name. An edge serves a method table on a socket; nothing above depends on which one it is."""

from collections.abc import Iterable, Sequence
from typing import Protocol

from service.config import ServerConfig, Tls
from service.edge.access import Access
from service.edge.calls import Calls, Observer
from service.edge.methods import Method


class Edge(Protocol):
    """A server for gRPC calls."""

    def bind(self, address: str, tls: Tls | None) -> int:
        """Puts the server on an address and returns the port. Raises OSError where it is taken."""

    def start(self) -> None:
        """Begins to answer."""

    def drain(self, seconds: float) -> None:
        """Lets calls that have begun finish, for so many seconds at most, then stops."""


def build_edge(
    methods: Iterable[Method],
    config: ServerConfig,
    observers: Sequence[Observer] = (),
    access: Access | None = None,
) -> Edge:
    """The edge that the configuration names, not started and on no address, that answers the methods."""
    calls = Calls(config, observers, access)
    if config.edge == "grpcio":
        from service.edge.grpcio import GrpcioEdge

        return GrpcioEdge(methods, config, calls)
    from service.edge.http2_edge import Http2Edge

    return Http2Edge(methods, config, calls)
