"""The table that maps errors of the registry to errors of the service. A test checks that it is complete."""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager

from registry import errors as registry
from service import errors

# Exact classes, as in service.edge.status. What a caller can repeat is UNAVAILABLE, and nothing else.
ERRORS: dict[type[registry.RegistryError], tuple[type[errors.ServiceError], str]] = {
    registry.RegistryError: (errors.NotReadyError, "the registry: {}"),
    registry.InvalidReferenceError: (errors.InvalidArgumentError, "{}"),
    registry.RegistryNotFoundError: (errors.NotFoundError, "{}"),
    registry.RegistryConflictError: (errors.ConflictError, "{}"),
    registry.RegistryUnavailableError: (errors.UnavailableError, "the registry does not answer: {}"),
    registry.RegistryDeniedError: (errors.NotReadyError, "the registry refuses this server: {}"),
    registry.CacheError: (errors.LimitExceededError, "{}"),
    registry.ArtifactError: (errors.ModelError, "{}"),
    registry.ArtifactCorruptError: (errors.CorruptModelError, "{}"),
    registry.ArtifactRefusedError: (errors.UnsupportedModelError, "{}"),
}


# What MLflow's and the system's errors say of places that are nobody's business outside: addresses, hosts, ports.
ADDRESS = re.compile(
    r"\b[a-z][a-z0-9+.-]*://\S+|\w+ConnectionPool\(.*?\)|\b(?:\d{1,3}\.){3}\d{1,3}(?::\d+)?", re.IGNORECASE
)
ANSWERED = re.compile(r"MLflow answered \d+")
# What clients read of a registry that does not answer, by words of the HTTP library.
CAUSES = {
    re.compile(r"refused", re.IGNORECASE): "MLflow refuses connections",
    re.compile(r"timed? ?out", re.IGNORECASE): "MLflow does not answer in time",
    re.compile(r"resolve|name or service", re.IGNORECASE): "MLflow's address is unknown",
}
HIDING = (registry.RegistryUnavailableError, registry.RegistryDeniedError)  # their texts come from elsewhere

logger = logging.getLogger(__name__)


def public(error: Exception) -> str:
    """What clients may read of an error: no address of anything. The log is to have the rest."""
    if isinstance(error, registry.RegistryUnavailableError):
        answered = ANSWERED.search(str(error))
        causes = (sentence for words, sentence in CAUSES.items() if words.search(str(error)))
        what = answered[0] if answered else next(causes, "MLflow cannot be reached")
        return f"{what}; the server's log says more"
    return ADDRESS.sub("(an address)", str(error))


def translated(error: registry.RegistryError) -> errors.ServiceError:
    """The error of the service that stands for one of the registry; logs what of it clients may not read."""
    kind, text = ERRORS[type(error)]
    if isinstance(error, HIDING):
        logger.warning("the registry: %s", error)
    field = "version" if kind is errors.NotFoundError else ""
    return kind(text.format(public(error)), field=field)


@contextmanager
def registry_errors() -> Iterator[None]:
    """Turns errors of the registry into errors of the service."""
    try:
        yield
    except registry.RegistryError as error:
        raise translated(error) from error
