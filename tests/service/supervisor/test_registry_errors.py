"""service.supervisor.registry_errors: every error of the registry has its status."""

import grpc
import pytest

from registry import errors as registry
from service.edge.status import CODES
from service.supervisor.registry_errors import ERRORS, registry_errors


def kinds(of):
    return {of}.union(*map(kinds, of.__subclasses__()))


def test_the_table_is_whole():
    """Every error of the registry has a row, and a status."""
    assert ERRORS.keys() == kinds(registry.RegistryError)
    assert {kind for kind, _ in ERRORS.values()} <= CODES.keys()


@pytest.mark.parametrize("error", sorted(kinds(registry.RegistryError), key=lambda kind: kind.__name__))
def test_only_what_may_be_repeated_is_unavailable(error):
    """Clients repeat UNAVAILABLE: it stands for a registry that does not answer, and nothing else."""
    with pytest.raises(ERRORS[error][0], match="what went wrong") as caught, registry_errors():
        raise error("what went wrong")
    unavailable = CODES[type(caught.value)] is grpc.StatusCode.UNAVAILABLE
    assert unavailable == (error is registry.RegistryUnavailableError)
