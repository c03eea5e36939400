"""The errors of the service, with messages that a caller can act on. They know no transport.

ServiceError
├── InvalidArgumentError      a field of a request is wrong, whatever the server's state
├── NotFoundError             a model, version, alias, layer or weight that does not exist
├── ConflictError             it changed since the caller read it; read it again, then retry
├── NotReadyError             a valid request, but the server or the named object is in the wrong state
├── LimitExceededError        a limit of this server, with the number that exceeded it
├── TimeLimitError            a time limit: the server's, or the deadline of the call
├── CancelledError            the caller left before there was a response
├── UnauthenticatedError      no credentials, or wrong ones
├── PermissionDeniedError     known caller, not allowed
├── UnavailableError          cannot be done now; the same call may succeed later
├── NotSupportedError         something that Unroll does not support
└── ModelError                a model that may not serve
    ├── CorruptModelError     a file that cannot be read as what it claims to be
    ├── UnsupportedModelError a file with something that the reader does not support
    └── ProofError            a network that does not reproduce its proof

service.edge.status maps each to a gRPC status; a test checks that none is missing.
"""

import re


class ServiceError(Exception):
    """Base of all; `message` is one sentence for the caller, free of internals."""

    def __init__(self, message: str, *, field: str = "", **details: object) -> None:
        super().__init__(message)
        self.message = message
        # The path of the request field at fault, as the proto names it (`inputs[0].shape`); empty if none is.
        self.field = field
        # Machine-readable facts, for ErrorInfo metadata: expected=…, actual=…, limit=….
        self.details = {key: str(value) for key, value in details.items()}

    @classmethod
    def reason(cls) -> str:
        """The machine-readable name of the error: the class name in capitals, without `Error` (`INVALID_ARGUMENT`)."""
        return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", cls.__name__.removesuffix("Error")).upper()


class InvalidArgumentError(ServiceError):
    """A field of a request is wrong, whatever the server's state."""


class NotFoundError(ServiceError):
    """A model, version, alias, layer or weight that does not exist."""


class ConflictError(ServiceError):
    """It changed since the caller read it; read it again, then retry."""


class NotReadyError(ServiceError):
    """A valid request, but the server or the named object is in the wrong state."""


class LimitExceededError(ServiceError):
    """A limit of this server was exceeded; `details` hold `limit` and `actual`."""


class TimeLimitError(ServiceError):
    """A time limit was exceeded: the server's, or the deadline of the call."""


class CancelledError(ServiceError):
    """The caller left before there was a response, or the call was cancelled."""


class UnauthenticatedError(ServiceError):
    """No credentials, or wrong ones."""


class PermissionDeniedError(ServiceError):
    """A known caller who may not do this."""


class UnavailableError(ServiceError):
    """Cannot be done now; the same call may succeed later."""


class NotSupportedError(ServiceError):
    """Something that Unroll does not support."""


class ModelError(ServiceError):
    """A model that may not serve."""


class CorruptModelError(ModelError):
    """A file that cannot be read as what it claims to be."""


class UnsupportedModelError(ModelError):
    """A file with something that the reader does not support; names layer, class and option."""


class ProofError(ModelError):
    """A network that does not reproduce its proof."""


def by_reason(reason: str, default: type[ServiceError] = ServiceError) -> type[ServiceError]:
    """The error class with this machine-readable name, or a default."""
    known = list(ServiceError.__subclasses__())
    for error in known:  # grows
        known += error.__subclasses__()
    return next((error for error in known if error.reason() == reason), default)
