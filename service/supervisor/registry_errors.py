"""The table that maps errors of the registry to errors of the service. A test checks that it is complete."""

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


def translated(error: registry.RegistryError) -> errors.ServiceError:
    """The error of the service that stands for one of the registry."""
    kind, text = ERRORS[type(error)]
    field = "version" if kind is errors.NotFoundError else ""
    return kind(text.format(error), field=field)


@contextmanager
def registry_errors() -> Iterator[None]:
    """Turns errors of the registry into errors of the service."""
    try:
        yield
    except registry.RegistryError as error:
        raise translated(error) from error
