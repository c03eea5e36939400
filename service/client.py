"""The Python client: typed, with NumPy arrays in and out. It retries only calls that are safe to repeat."""

import itertools
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import grpc
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2, health_pb2_grpc

from service.edge.status import from_rpc_error
from service.errors import InvalidArgumentError
from service.insight_client import InsightCalls
from service.messages import (
    Array,
    Arrays,
    Inputs,
    LayerTrace,
    Patch,
    WeightChange,
    arrays,
    change,
    patch,
    tensors,
    to_array,
    to_tensor,
)
from service.pb import unroll_pb2 as pb
from service.pb import unroll_pb2_grpc

__all__ = [
    "Client",
    "LayerTrace",
    "Patch",
    "Prediction",
    "StreamPrediction",
    "Trace",
    "WeightChange",
    "to_array",
    "to_tensor",
]

# Reading twice gives the same answer; changing twice does not.
SAFE = {
    "unroll.v1.PredictionService": ["Predict", "Trace"],
    "unroll.v1.InsightService": ["Gradients", "Attribute", "Remember", "FindFixedPoints"],
    "unroll.v1.WeightService": ["GetWeights", "CompareWeights"],
    "unroll.v1.ModelService": ["ListModels", "GetModel"],
}
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


@dataclass(frozen=True)
class Prediction:
    """What a network answered, and which."""

    model: str
    version: str
    outputs: Mapping[str, Array]
    final_state: Mapping[str, Array]  # empty unless asked for
    what_if: bool
    patched: bool

    @property
    def output(self) -> Array:
        """The output of a network that has one. Raises ValueError where there are several."""
        (output,) = self.outputs.values()
        return output


@dataclass(frozen=True)
class StreamPrediction(Prediction):
    """What a network answered after some timesteps of a stream."""

    timesteps: int  # received so far
    version_changed: bool  # whether another version answered before


@dataclass(frozen=True)
class Trace:
    """What happened inside a network."""

    model: str
    version: str
    layers: Mapping[str, LayerTrace]  # by name, in the order of computation
    outputs: Mapping[str, Array]
    what_if: bool
    patched: bool = False
    sums: Sequence[pb.WrittenSum] = ()


class Client(InsightCalls):
    """Talks to one server. Use it in a `with` statement, from any number of threads.

    Every method raises the errors of service.errors.
    """

    def __init__(
        self,
        address: str = "127.0.0.1:50051",
        *,
        token: str = "",
        root_certificates: Path | None = None,
        client_certificate: tuple[Path, Path] | None = None,
        timeout: float | None = 30.0,
        connections: int = 1,
    ) -> None:
        """Connects when it is first used.

        `token` is sent as a bearer token; `root_certificates` (PEM) or `client_certificate`, which is (key, chain),
        switches to TLS, the latter alone with the authorities that gRPC has built in. A server spreads connections,
        not calls, over its workers: a busy client opens several.
        """
        self.address = address
        options = [
            ("grpc.service_config", SERVICE_CONFIG),
            ("grpc.max_receive_message_length", -1),
            ("grpc.max_send_message_length", -1),
            ("grpc.use_local_subchannel_pool", 1),  # else channels to one address share a connection
        ]
        credentials = None
        if root_certificates is not None or client_certificate is not None:
            key, chain = [_read(p) for p in client_certificate] if client_certificate else [None, None]
            roots = _read(root_certificates) if root_certificates else None
            credentials = grpc.ssl_channel_credentials(roots, key, chain)
        self._channels = [
            grpc.secure_channel(address, credentials, options)
            if credentials
            else grpc.insecure_channel(address, options)
            for _ in range(connections)
        ]
        self._turn = itertools.cycle(
            [
                (
                    unroll_pb2_grpc.PredictionServiceStub(channel),
                    unroll_pb2_grpc.WeightServiceStub(channel),
                    unroll_pb2_grpc.ModelServiceStub(channel),
                    unroll_pb2_grpc.InsightServiceStub(channel),
                )
                for channel in self._channels
            ]
        )
        self._metadata = (("authorization", f"Bearer {token}"),) if token else ()
        self._timeout = timeout

    @classmethod
    def connect(
        cls, address: str, *, token: str = "", token_file: str = "", ca: str = "", cert: str = "", key: str = ""
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
        )

    @classmethod
    def from_environment(cls, address: str) -> Self:
        """A client as UNROLL_TOKEN, UNROLL_TOKEN_FILE, UNROLL_CA, UNROLL_CERT and UNROLL_KEY describe it."""
        return cls.connect(
            address,
            **{
                name: os.environ.get(f"UNROLL_{name.upper()}", "")
                for name in ("token", "token_file", "ca", "cert", "key")
            },
        )

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

    def predict(
        self,
        inputs: Inputs,
        *,
        model: str = "",
        version: str = "",
        initial_state: Arrays | None = None,
        return_state: bool = False,
        what_if: Sequence[WeightChange] = (),
        patches: Sequence[Patch] = (),
    ) -> Prediction:
        """The prediction for a batch: an array [batch, timesteps, features], or one for each input by name."""
        request = pb.PredictRequest(
            model=model,
            version=version,
            inputs=tensors(inputs),
            initial_state=tensors(initial_state or {}),
            return_state=return_state,
            what_if=map(change, what_if),
            patches=map(patch, patches),
            encoding=pb.TENSOR_ENCODING_RAW,
        )
        answer = self._call(0, "Predict", request)
        return Prediction(
            answer.model,
            answer.version,
            arrays(answer.outputs),
            arrays(answer.final_state),
            answer.what_if,
            answer.patched,
        )

    def stream(
        self,
        chunks: Iterable[Inputs],
        *,
        model: str = "",
        version: str = "",
        initial_state: Arrays | None = None,
        return_state: bool = False,
        what_if: Sequence[WeightChange] = (),
        patches: Sequence[Patch] = (),
        follow: bool = False,
    ) -> Iterator[StreamPrediction]:
        """Feeds a sequence piece by piece: an answer after each chunk [batch, timesteps, features], as they come.

        The chunks may come from anywhere and at any time; the stream ends with them, or when the loop is left.
        """
        options = pb.StreamOptions(
            model=model,
            version=version,
            initial_state=tensors(initial_state or {}),
            return_state=return_state,
            what_if=map(change, what_if),
            patches=map(patch, patches),
            follow=follow,
            encoding=pb.TENSOR_ENCODING_RAW,
        )
        failures: list[Exception] = []

        def requests() -> Iterator[pb.PredictStreamRequest]:
            yield pb.PredictStreamRequest(options=options)
            try:
                for chunk in chunks:
                    yield pb.PredictStreamRequest(inputs=tensors(chunk))
            except Exception as error:  # grpcio would say no more than that there was one
                failures.append(error)
                raise

        call = next(self._turn)[0].PredictStream(requests(), metadata=self._metadata)
        try:
            for answer in call:
                if answer.outputs:  # the first answer only names the version
                    yield StreamPrediction(
                        answer.model,
                        answer.version,
                        arrays(answer.outputs),
                        arrays(answer.final_state),
                        answer.what_if,
                        answer.patched,
                        answer.timesteps,
                        answer.version_changed,
                    )
        except grpc.RpcError as error:
            raise failures[0] if failures else from_rpc_error(error) from None
        finally:
            call.cancel()

    def trace(
        self,
        inputs: Inputs,
        *,
        model: str = "",
        version: str = "",
        initial_state: Arrays | None = None,
        layers: Sequence[str] = (),
        what_if: Sequence[WeightChange] = (),
        patches: Sequence[Patch] = (),
        sums: Sequence[tuple[str, int, int, int]] = (),
    ) -> Trace:
        """What happens inside a network for a batch: each layer's output, states and gates at every timestep.

        `sums`: pre-activations to write out term by term, each (layer, sequence, timestep, column).
        """
        request = pb.TraceRequest(
            model=model,
            version=version,
            inputs=tensors(inputs),
            initial_state=tensors(initial_state or {}),
            layers=layers,
            sums=[pb.SumRequest(layer=one, sequence=s, timestep=t, column=c) for one, s, t, c in sums],
            what_if=map(change, what_if),
            patches=map(patch, patches),
            encoding=pb.TENSOR_ENCODING_RAW,
        )
        answer: pb.TraceResponse = self._call(0, "Trace", request)
        return Trace(
            answer.model,
            answer.version,
            {layer.layer: LayerTrace(layer.class_name, arrays(layer.tensors)) for layer in answer.layers},
            arrays(answer.outputs),
            answer.what_if,
            answer.patched,
            tuple(answer.sums),
        )

    def weights(self, *, model: str = "", version: str = "", names: Sequence[str] = ()) -> dict[str, Array]:
        """The values of the weights, by name, in Keras's order."""
        answer = self.get_weights(model=model, version=version, names=names, values=True)
        return {weight.name: to_array(weight.value) for weight in answer.weights}

    def get_weights(
        self, *, model: str = "", version: str = "", names: Sequence[str] = (), values: bool = False
    ) -> pb.GetWeightsResponse:
        """The weights with their statistics, and the version and digest they belong to."""
        request = pb.GetWeightsRequest(
            model=model,
            version=version,
            weights=names,
            view=pb.WEIGHT_VIEW_FULL if values else pb.WEIGHT_VIEW_BASIC,
            encoding=pb.TENSOR_ENCODING_RAW,
        )
        answer: pb.GetWeightsResponse = self._call(1, "GetWeights", request)
        return answer

    def compare_weights(
        self, base_version: str, version: str, *, model: str = "", names: Sequence[str] = (), values: bool = False
    ) -> pb.CompareWeightsResponse:
        """What differs between two versions, weight by weight."""
        request = pb.CompareWeightsRequest(
            model=model,
            base_version=base_version,
            version=version,
            weights=names,
            view=pb.WEIGHT_VIEW_FULL if values else pb.WEIGHT_VIEW_BASIC,
            encoding=pb.TENSOR_ENCODING_RAW,
        )
        answer: pb.CompareWeightsResponse = self._call(1, "CompareWeights", request)
        return answer

    def override_weights(
        self,
        changes: Sequence[WeightChange] | Arrays,
        *,
        reason: str,
        expected_version: str = "",
        expected_digest: str = "",
        model: str = "",
        alias: str = "",
        actor: str = "",
        keep_alias: bool = False,
        request_id: str = "",
    ) -> pb.OverrideWeightsResponse:
        """Registers a version with other weights and moves the alias to it; served when this returns.

        `changes` are WeightChanges, or whole weights by name. Give the version or the digest that you looked at.
        A call that got no answer may be repeated with the same `request_id`, such as a UUID: it is done once.
        """
        if isinstance(changes, Mapping):
            changes = [WeightChange(name, value) for name, value in changes.items()]
        request = pb.OverrideWeightsRequest(
            model=model,
            alias=alias,
            changes=map(change, changes),
            expected_version=expected_version,
            expected_digest=expected_digest,
            reason=reason,
            actor=actor,
            keep_alias=keep_alias,
            request_id=request_id,
        )
        answer: pb.OverrideWeightsResponse = self._call(1, "OverrideWeights", request)
        return answer

    def models(self) -> Iterator[pb.Model]:
        """The models that are served, by name."""
        request = pb.ListModelsRequest()
        while True:
            page = self._call(2, "ListModels", request)
            yield from page.models
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def model(self, model: str = "") -> pb.Model:
        """One model."""
        answer: pb.GetModelResponse = self._call(2, "GetModel", pb.GetModelRequest(model=model))
        return answer.model

    def move_alias(
        self,
        version: str,
        *,
        expected_version: str,
        alias: str = "",
        model: str = "",
        reason: str = "",
        actor: str = "",
        request_id: str = "",
    ) -> pb.MoveAliasResponse:
        """Points an alias at another version; served when this returns.

        `expected_version` is the version that it points at now; empty: the alias does not exist yet, and is created.
        For `request_id` see `override_weights`.
        """
        request = pb.MoveAliasRequest(
            model=model,
            alias=alias,
            version=version,
            expected_version=expected_version,
            reason=reason,
            actor=actor,
            request_id=request_id,
        )
        answer: pb.MoveAliasResponse = self._call(2, "MoveAlias", request)
        return answer

    def watch(self, model: str = "") -> Iterator[pb.WatchModelResponse]:
        """The model as it is, then at each change, until the loop is left."""
        call = next(self._turn)[2].WatchModel(pb.WatchModelRequest(model=model), metadata=self._metadata)
        try:
            yield from call
        except grpc.RpcError as error:
            raise from_rpc_error(error) from None
        finally:
            call.cancel()

    def health(self, service: str = "") -> bool:
        """Whether the server, or one service of it, says SERVING. Raises NotFoundError for an unknown service."""
        check = health_pb2_grpc.HealthStub(self._channels[0]).Check
        try:
            answer = check(health_pb2.HealthCheckRequest(service=service), timeout=self._timeout)
        except grpc.RpcError as error:
            raise from_rpc_error(error) from None
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    def _insight(self, method: str, request: Message) -> Any:
        return self._call(3, method, request)

    def _summaries(self, requests: Iterator[pb.SummarizeRequest]) -> Iterator[pb.SummarizeResponse]:
        call = next(self._turn)[3].Summarize(requests, metadata=self._metadata)
        try:
            yield from call
        except grpc.RpcError as error:
            raise from_rpc_error(error) from None
        finally:
            call.cancel()

    def _call(self, service: int, method: str, request: Message) -> Any:  # each caller knows its type
        try:
            return getattr(next(self._turn)[service], method)(request, timeout=self._timeout, metadata=self._metadata)
        except grpc.RpcError as error:
            raise from_rpc_error(error) from None


def _read(file: Path) -> bytes:
    """The bytes of a token, certificate or key. Raises InvalidArgumentError where there are none."""
    try:
        found = file.read_bytes()
    except OSError as error:
        raise InvalidArgumentError(f"cannot read {file}: {error.strerror or error}") from None
    if not found.strip():
        raise InvalidArgumentError(f"{file} is empty")
    return found
