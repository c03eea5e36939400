"""service.supervisor.registry_errors: every error of the registry has its status."""

import re

import grpc
import pytest

from registry import errors as registry
from service.edge.status import CODES
from service.supervisor.registry_errors import ERRORS, public, registry_errors, translated


def kinds(of):
    return {of}.union(*map(kinds, of.__subclasses__()))


def test_the_table_is_whole():
    """Every error of the registry has a row, and a status."""
    assert ERRORS.keys() == kinds(registry.RegistryError)
    assert {kind for kind, _ in ERRORS.values()} <= CODES.keys()


@pytest.mark.parametrize("error", sorted(kinds(registry.RegistryError), key=lambda kind: kind.__name__))
def test_only_what_may_be_repeated_is_unavailable(error):
    """Clients repeat UNAVAILABLE: it stands for a registry that does not answer, and nothing else."""
    with pytest.raises(ERRORS[error][0], match=r"what went wrong|cannot be reached") as caught, registry_errors():
        raise error("what went wrong")
    unavailable = CODES[type(caught.value)] is grpc.StatusCode.UNAVAILABLE
    assert unavailable == (error is registry.RegistryUnavailableError)


@pytest.mark.parametrize(
    "error",
    [
        registry.RegistryUnavailableError("MLflow answered 500 to http://mlflow.internal:5000/api again and again"),
        registry.RegistryUnavailableError(
            "HTTPConnectionPool(host='mlflow.internal', port=5000): Max retries exceeded with url: /api (Caused by "
            "NameResolutionError(\"Failed to resolve 'mlflow.internal'\"))"
        ),
        registry.RegistryDeniedError("403 Client Error: FORBIDDEN for url: http://mlflow.internal:5000/api/2.0"),
        registry.RegistryError("10.1.2.3:5000 and https://mlflow.internal:5000/x said no"),
    ],
)
def test_clients_learn_no_address(error, caplog):
    """What a client reads of a fault of the registry names no host and no port; the log has it."""
    for text in (public(error), translated(error).message):
        assert not re.search(r"internal|5000|10\.1\.2\.3", text)
        assert text
    if type(error) is not registry.RegistryError:
        assert "5000" in caplog.text
