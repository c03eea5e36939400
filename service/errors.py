"""The errors of the service, with messages that a caller can act on. They know no transport.

ServiceError
├── InvalidArgumentError      a field of a request is wrong, whatever the server's state
├── NotFoundError             a model, version, alias, layer or weight that does not exist
├── ConflictError             the thing changed since the caller looked; look again, then repeat
├── NotReadyError             right request, wrong state of the server or of the thing named
├── LimitExceededError        a bound of this server, with the number that exceeded it
├── TimeLimitError            a bound on time: the server's, or the deadline of the call
├── CancelledError            the caller has left before there was an answer
├── UnauthenticatedError      no credentials, or wrong ones
├── PermissionDeniedError     known caller, not allowed
├── UnavailableError          cannot be done now; the same call may succeed later
├── NotSupportedError         something this product does not do
└── ModelError                a model that may not serve
    ├── CorruptModelError     a file that cannot be read as what it claims to be
    ├── UnsupportedModelError a file that asks for what the reader does not support
    └── ProofError            a network that does not reproduce its proof

service.edge.status maps each to a gRPC status; a test holds the two together.
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
        """The name of the error for machines: the class name in capitals, without `Error` (`INVALID_ARGUMENT`)."""
        return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", cls.__name__.removesuffix("Error")).upper()


class InvalidArgumentError(ServiceError):
    """A field of a request is wrong, whatever the server's state."""


class NotFoundError(ServiceError):
    """A model, version, alias, layer or weight that does not exist."""


class ConflictError(ServiceError):
    """The thing changed since the caller looked; look again, then repeat."""


class NotReadyError(ServiceError):
    """Right request, wrong state of the server or of the thing named."""


class LimitExceededError(ServiceError):
    """A bound of this server was exceeded; `details` hold `limit` and `actual`."""


class TimeLimitError(ServiceError):
    """A bound on time was exceeded: the server's, or the deadline of the call."""


class CancelledError(ServiceError):
    """The caller has left before there was an answer, or the call was cancelled on its way."""


class UnauthenticatedError(ServiceError):
    """No credentials, or wrong ones."""


class PermissionDeniedError(ServiceError):
    """A known caller who may not do this."""


class UnavailableError(ServiceError):
    """Cannot be done now; the same call may succeed later."""


class NotSupportedError(ServiceError):
    """Something this product does not do."""


class ModelError(ServiceError):
    """A model that may not serve."""


class CorruptModelError(ModelError):
    """A file that cannot be read as what it claims to be."""


class UnsupportedModelError(ModelError):
    """A file that asks for what the reader does not support; names layer, class and option."""


class ProofError(ModelError):
    """A network that does not reproduce its proof."""


def by_reason(reason: str, default: type[ServiceError] = ServiceError) -> type[ServiceError]:
    """The error with a name for machines, or a default where there is none."""
    known = list(ServiceError.__subclasses__())
    for error in known:  # grows
        known += error.__subclasses__()
    return next((error for error in known if error.reason() == reason), default)
