"""The client's connections to one server: credentials, channels, and which calls are repeated."""

import itertools
import json
import os
from collections.abc import Generator, Iterable, Iterator
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import grpc
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2, health_pb2_grpc

from service.edge.status import from_rpc_error
from service.errors import InvalidArgumentError
from service.pb import unroll_pb2_grpc

# Reading twice gives the same answer; changing twice does not.
SAFE = {
    "inference.GRPCInferenceService": [
        "ServerLive", "ServerReady", "ServerMetadata", "ModelReady", "ModelMetadata", "ModelConfig", "ModelStatistics",
        "ModelInfer", "RepositoryIndex",
    ],
    "unroll.v1.PredictionService": ["Predict", "Trace"],
    "unroll.v1.InsightService": ["Gradients", "Attribute", "Remember", "FindFixedPoints"],
    "unroll.v1.WeightService": ["GetWeights", "CompareWeights"],
    "unroll.v1.ModelService": ["ListModels", "GetModel", "ListVersions", "GetExamples", "GetServer"],
}  # fmt: skip
RETRY_POLICY = {
    "maxAttempts": 5,
    "initialBackoff": "0.1s",
    "maxBackoff": "2s",
    "backoffMultiplier": 2,
    # CANCELLED by a server that stops, of calls that it received and did not begin. One cancelled here is not repeated.
    "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"],
}
SERVICE_CONFIG = json.dumps(
    {
        "methodConfig": [
            {"name": [{"service": s, "method": m} for s, ms in SAFE.items() for m in ms], "retryPolicy": RETRY_POLICY}
        ]
    }
)


class Connections:
    """The connections to one server, by turns for each call. From any number of threads."""

    def __init__(
        self,
        address: str = "127.0.0.1:50051",
        *,
        token: str = "",
        root_certificates: Path | None = None,
        client_certificate: tuple[Path, Path] | None = None,
        timeout: float | None = 30.0,
        connections: int = 1,
        admin_address: str = "",
    ) -> None:
        """Connects when it is first used.

        `token` is sent as a bearer token; `root_certificates` (PEM) or `client_certificate`, which is (key, chain),
        switches to TLS, the latter alone with the authorities that gRPC has built in. A server spreads connections,
        not calls, over its workers: a busy client opens several. `admin_address` is where overrides and alias moves go,
        for a server that has a second address for them.
        """
        self.address = address
        options = [
            ("grpc.service_config", SERVICE_CONFIG),
            ("grpc.max_receive_message_length", -1),
            ("grpc.max_send_message_length", -1),
            ("grpc.use_local_subchannel_pool", 1),  # else channels to one address share a connection
            # A server that was away is found this soon, however long it was; gRPC's own pauses grow to two minutes.
            ("grpc.initial_reconnect_backoff_ms", 200),
            ("grpc.max_reconnect_backoff_ms", 2000),
        ]
        own, nobody = None, None
        if root_certificates is not None or client_certificate is not None:
            key, chain = [_read(p) for p in client_certificate] if client_certificate else [None, None]
            roots = _read(root_certificates) if root_certificates else None
            own, nobody = grpc.ssl_channel_credentials(roots, key, chain), grpc.ssl_channel_credentials(roots)

        def channel(address: str, credentials: grpc.ChannelCredentials | None = own) -> grpc.Channel:
            if credentials:
                return grpc.secure_channel(address, credentials, options)
            return grpc.insecure_channel(address, options)

        self._anonymous_channel = partial(channel, address, nobody)
        self._channels = [channel(address) for _ in range(connections)]
        self._turn = itertools.cycle(list(map(_stubs, self._channels)))
        self._admin = self._turn
        if admin_address:
            self._channels.append(channel(admin_address))
            self._admin = itertools.cycle([_stubs(self._channels[-1])])
        self._metadata = (("authorization", f"Bearer {token}"),) if token else ()
        self._timeout = timeout

    @classmethod
    def connect(
        cls,
        address: str,
        *,
        token: str = "",
        token_file: str = "",
        ca: str = "",
        cert: str = "",
        key: str = "",
        admin_address: str = "",
    ) -> Self:
        """A client as command-line options or UNROLL_* variables describe it: texts and names of files, or empty.

        Raises InvalidArgumentError for options that do not go together, or a file that cannot be read or is empty.
        """
        if token and token_file:
            raise InvalidArgumentError("token and token file: give one of them")
        if bool(cert) != bool(key):
            raise InvalidArgumentError(f"a certificate and its key go together, there is only {cert or key}")
        if token_file:
            token = _read(Path(token_file)).decode(errors="replace").strip()
        return cls(
            address,
            token=token,
            root_certificates=Path(ca) if ca else None,
            client_certificate=(Path(key), Path(cert)) if cert else None,
            admin_address=admin_address,
        )

    @classmethod
    def from_environment(cls, address: str) -> Self:
        """A client as UNROLL_TOKEN, …_TOKEN_FILE, …_CA, …_CERT, …_KEY and …_ADMIN_ADDRESS describe it."""
        return cls.connect(
            address,
            **{
                name: os.environ.get(f"UNROLL_{name.upper()}", "")
                for name in ("token", "token_file", "ca", "cert", "key", "admin_address")
            },
        )

    def anonymous_channel(self) -> grpc.Channel:
        """A new channel to the same server that shows neither the token nor the certificate. Whoever asks closes it."""
        return self._anonymous_channel()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections."""
        for channel in self._channels:
            channel.close()

    def health(self, service: str = "") -> bool:
        """Whether the server, or one service of it, says SERVING. Raises NotFoundError for an unknown service."""
        check = health_pb2_grpc.HealthStub(self._channels[0]).Check
        try:
            answer = check(health_pb2.HealthCheckRequest(service=service), timeout=self._timeout)
        except grpc.RpcError as error:
            raise from_rpc_error(error) from None
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    def _call(self, service: int, method: str, request: Message, *, operates: bool = False) -> Any:
        stubs = next(self._admin if operates else self._turn)
        try:
            return getattr(stubs[service], method)(request, timeout=self._timeout, metadata=self._metadata)
        except grpc.RpcError as error:
            raise from_rpc_error(error) from None

    def _answers(self, service: int, method: str, requests: Message | Iterable[Message]) -> Generator[Any, None, None]:
        """The answers of a stream, until the loop is left; raises what `requests` raises, too."""
        failures: list[Exception] = []

        def watched(requests: Iterable[Message]) -> Iterator[Message]:
            try:
                yield from requests
            except Exception as error:  # grpcio would say no more than that there was one
                failures.append(error)
                raise

        sent = requests if isinstance(requests, Message) else watched(requests)
        call = getattr(next(self._turn)[service], method)(sent, metadata=self._metadata)
        try:
            yield from call
        except grpc.RpcError as error:
            raise failures[0] if failures else from_rpc_error(error) from None
        finally:
            call.cancel()


def _stubs(channel: grpc.Channel) -> tuple[Any, ...]:  # generated stubs have no types
    return (
        unroll_pb2_grpc.PredictionServiceStub(channel),
        unroll_pb2_grpc.WeightServiceStub(channel),
        unroll_pb2_grpc.ModelServiceStub(channel),
        unroll_pb2_grpc.InsightServiceStub(channel),
    )


def _read(file: Path) -> bytes:
    """The bytes of a token, certificate or key. Raises InvalidArgumentError where there are none."""
    try:
        found = file.read_bytes()
    except OSError as error:
        raise InvalidArgumentError(f"cannot read {file}: {error.strerror or error}") from None
    if not found.strip():
        raise InvalidArgumentError(f"{file} is empty")
    return found
