"""The table that maps domain errors to gRPC statuses and back, with google.rpc error details."""

import logging
import uuid
from typing import Any

import grpc
from google.protobuf import any_pb2
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from service import errors
from service.logs import RateLimit

DETAILS_KEY = "grpc-status-details-bin"  # where gRPC libraries of every language look for a google.rpc.Status
DOMAIN = "unroll"  # of google.rpc.ErrorInfo
# Bytes of texts in a status. Clients refuse trailers above 8 KiB, and see RESOURCE_EXHAUSTED in place of the status; a
# text travels up to three times, as three bytes each where it is not ASCII.
LONGEST_MESSAGE = 1_000
LONGEST_DETAIL = 200
MOST_DETAILS = 8

logger = logging.getLogger(__name__)
logger.addFilter(RateLimit())  # clients decide how often something goes wrong

# Exact classes, so that a new error cannot be forgotten: it has a row, or the test that compares fails.
CODES: dict[type[errors.ServiceError], grpc.StatusCode] = {
    errors.InvalidArgumentError: grpc.StatusCode.INVALID_ARGUMENT,
    errors.NotFoundError: grpc.StatusCode.NOT_FOUND,
    errors.ConflictError: grpc.StatusCode.ABORTED,
    errors.NotReadyError: grpc.StatusCode.FAILED_PRECONDITION,
    errors.LimitExceededError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.TimeLimitError: grpc.StatusCode.DEADLINE_EXCEEDED,
    errors.CancelledError: grpc.StatusCode.CANCELLED,
    errors.UnauthenticatedError: grpc.StatusCode.UNAUTHENTICATED,
    errors.PermissionDeniedError: grpc.StatusCode.PERMISSION_DENIED,
    errors.UnavailableError: grpc.StatusCode.UNAVAILABLE,
    errors.NotSupportedError: grpc.StatusCode.UNIMPLEMENTED,
    errors.ModelError: grpc.StatusCode.FAILED_PRECONDITION,
    errors.CorruptModelError: grpc.StatusCode.FAILED_PRECONDITION,
    errors.UnsupportedModelError: grpc.StatusCode.FAILED_PRECONDITION,
    errors.ProofError: grpc.StatusCode.FAILED_PRECONDITION,
}
# What a status means when it carries no details of ours: from gRPC itself, or from a proxy.
BY_CODE: dict[grpc.StatusCode, type[errors.ServiceError]] = {
    code: error for error, code in reversed(CODES.items()) if not issubclass(error, errors.ModelError)
}


def to_status(error: Exception, request_id: str = "") -> tuple[grpc.StatusCode, str, bytes]:
    """What a client gets for an error: code, text, and the bytes of a google.rpc.Status, with the id of the call.

    An error that is not a ServiceError is a fault of ours: its text may hold anything, so the client gets a fixed
    sentence with an id, and the log gets the trace under the same id.
    """
    if isinstance(error, errors.ServiceError):
        code, message = CODES[type(error)], shortened(error.message, LONGEST_MESSAGE)
        details = {key: shortened(value, LONGEST_DETAIL) for key, value in list(error.details.items())[:MOST_DETAILS]}
        info = error_details_pb2.ErrorInfo(reason=type(error).reason(), domain=DOMAIN, metadata=details)
        violation, retry = shortened(error.field, LONGEST_DETAIL), isinstance(error, errors.UnavailableError)
    else:
        incident = request_id or uuid.uuid4().hex[:12]
        logger.error("internal error %s", incident, exc_info=error)
        code, message = grpc.StatusCode.INTERNAL, f"internal error; the server's log has it under {incident}"
        info = error_details_pb2.ErrorInfo(reason="INTERNAL", domain=DOMAIN, metadata={"incident": incident})
        violation, retry = "", False
    status = status_pb2.Status(code=code.value[0], message=message)
    _add(status, info)
    if request_id:
        _add(status, error_details_pb2.RequestInfo(request_id=request_id))
    if violation:
        bad_request = error_details_pb2.BadRequest()
        bad_request.field_violations.add(field=violation, description=message)
        _add(status, bad_request)
    if retry:
        retry_info = error_details_pb2.RetryInfo()
        retry_info.retry_delay.FromMilliseconds(200)
        _add(status, retry_info)
    return code, message, status.SerializeToString()


def shortened(text: str, most: int) -> str:
    """The beginning of a text, within so many bytes of UTF-8."""
    if len(text) * 4 <= most or len(data := text.encode(errors="replace")) <= most:
        return text
    return data[: most - 3].decode(errors="ignore") + "…"


def from_rpc_error(error: Any) -> errors.ServiceError:
    """The domain error behind a failed call; `error` is what grpcio raises, both a grpc.RpcError and a grpc.Call."""
    code, message = error.code(), error.details() or error.code().name
    kind, field, details = BY_CODE.get(code, errors.ServiceError), "", {}
    for key, value in error.trailing_metadata() or ():
        if key != DETAILS_KEY:
            continue
        for detail in _details(value):
            if isinstance(detail, error_details_pb2.ErrorInfo) and detail.domain == DOMAIN:
                kind, details = errors.by_reason(detail.reason, kind), dict(detail.metadata)
            elif isinstance(detail, error_details_pb2.BadRequest) and detail.field_violations:
                field = detail.field_violations[0].field
    return kind(message, field=field, **details)


def _add(
    status: status_pb2.Status,
    detail: error_details_pb2.ErrorInfo
    | error_details_pb2.BadRequest
    | error_details_pb2.RetryInfo
    | error_details_pb2.RequestInfo,
) -> None:
    packed = any_pb2.Any()
    packed.Pack(detail)
    status.details.append(packed)


def _details(value: bytes) -> list[error_details_pb2.ErrorInfo | error_details_pb2.BadRequest]:
    """The details that we read; a peer's undecodable bytes are no details."""
    try:
        status = status_pb2.Status.FromString(value)
        found = []
        for packed in status.details:
            for kind in (error_details_pb2.ErrorInfo, error_details_pb2.BadRequest):
                detail = kind()
                if packed.Unpack(detail):
                    found.append(detail)
    except DecodeError:
        return []
    return found
