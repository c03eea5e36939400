"""grpc.health.v1 as rows of the method table: open to everyone, with its streams bounded like all others."""

import threading
from collections.abc import Iterator, Mapping

from grpc_health.v1 import health_pb2 as pb

from service.edge.methods import Bound, Call, Method, Pool, Role, Row, methods_of
from service.errors import NotFoundError, UnavailableError

SERVICE = pb.DESCRIPTOR.services_by_name["Health"]
LOOK_SECONDS = 1.0  # how often a quiet stream looks whether its client is still there


class Health:
    """What the server says of its health. Any thread may set it."""

    def __init__(self) -> None:
        self._statuses: dict[str, int] = {}
        self._changed = threading.Condition()  # guards the one above, and the next
        self._ending = False

    def methods(self) -> list[Method]:
        """The table of this service."""
        rows = {
            "Check": Row(self.check, Bound.SERVED, Role.ANYONE, Pool.EDGE),
            "List": Row(self.list, Bound.SERVED, Role.ANYONE),
            "Watch": Row(self.watch, Bound.STREAM, Role.ANYONE, Pool.STREAM),
        }
        # List came later than the oldest package that we run with.
        return methods_of(SERVICE, {method.name: rows[method.name] for method in SERVICE.methods})

    def set(self, services: list[str], serving: bool) -> None:
        """Says of services whether they serve; the empty name is the server as a whole."""
        statuses = pb.HealthCheckResponse
        with self._changed:
            if not self._ending:
                self._statuses.update(dict.fromkeys(services, statuses.SERVING if serving else statuses.NOT_SERVING))
            self._changed.notify_all()

    def replace(self, prefix: str, serving: Mapping[str, bool]) -> None:
        """Says of all services whose names begin so whether they serve; of those left out nothing more is known."""
        statuses = pb.HealthCheckResponse
        with self._changed:
            if not self._ending:
                for name in [name for name in self._statuses if name.startswith(prefix)]:
                    if name.removeprefix(prefix) not in serving:
                        del self._statuses[name]
                for name, serves in serving.items():
                    self._statuses[prefix + name] = statuses.SERVING if serves else statuses.NOT_SERVING
            self._changed.notify_all()

    def end(self) -> None:
        """Says NOT_SERVING of all from now on, and ends the streams."""
        with self._changed:
            self._statuses = dict.fromkeys(self._statuses, pb.HealthCheckResponse.NOT_SERVING)
            self._ending = True
            self._changed.notify_all()

    def check(self, request: pb.HealthCheckRequest, _call: Call) -> pb.HealthCheckResponse:
        """Check: NOT_FOUND for a service that nothing was said of."""
        status = self._statuses.get(request.service)
        if status is None:
            raise NotFoundError(f"no service {request.service!r}", field="service")
        return pb.HealthCheckResponse(status=status)

    def list(self, _request: object, _call: Call) -> "pb.HealthListResponse":
        """List: all services."""
        return pb.HealthListResponse(
            statuses={name: pb.HealthCheckResponse(status=status) for name, status in list(self._statuses.items())}
        )

    def watch(self, request: pb.HealthCheckRequest, call: Call) -> Iterator[pb.HealthCheckResponse]:
        """Watch: the status now, then each change; SERVICE_UNKNOWN for a service that nothing was said of yet."""
        said: int | None = None
        while True:
            status, ending = self._news(request.service, said)
            call.check()
            if status != said:
                yield pb.HealthCheckResponse(status=status)
                said = status
            if ending:
                raise UnavailableError("this server is stopping")

    def _news(self, service: str, said: int | None) -> tuple[int, bool]:
        """The status of a service as soon as it is another, or after a moment; and whether the server ends."""
        with self._changed:
            self._changed.wait_for(lambda: self._ending or self._status(service) != said, LOOK_SECONDS)
            return self._status(service), self._ending

    def _status(self, service: str) -> int:
        status: int = self._statuses.get(service, pb.HealthCheckResponse.SERVICE_UNKNOWN)
        return status
