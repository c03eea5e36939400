"""Translation of MLflow's exceptions into the errors of the registry package."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from registry.errors import RegistryDeniedError, RegistryError, RegistryNotFoundError, RegistryUnavailableError

_GIVEN_UP = re.compile(r"API request to (?P<url>\S+) failed .*too many (?P<status>\d+) error responses", re.DOTALL)
_NOT_FOUND = {"RESOURCE_DOES_NOT_EXIST", "NOT_FOUND"}
_DENIED = {"PERMISSION_DENIED", "UNAUTHENTICATED", "CUSTOMER_UNAUTHORIZED", "INVALID_PARAMETER_VALUE", "BAD_REQUEST"}


@contextmanager
def mlflow_errors(not_found: str = "") -> Iterator[None]:
    """Turns what MLflow raises into RegistryError; `not_found` is the sentence for what does not exist."""
    import requests
    from mlflow.exceptions import MlflowException

    try:
        yield
    except RegistryError:
        raise
    except MlflowException as error:
        text = _sentence(error)
        if error.error_code in _NOT_FOUND:
            raise RegistryNotFoundError(not_found or text) from error
        if error.error_code in _DENIED:
            raise RegistryDeniedError(text) from error
        raise RegistryUnavailableError(text) from error
    except (requests.RequestException, ConnectionError, TimeoutError) as error:
        raise RegistryUnavailableError(_sentence(error)) from error
    except Exception as error:
        if type(error).__module__.partition(".")[0] in {"sqlalchemy", "urllib3", "google"}:  # google.protobuf: answers
            raise RegistryUnavailableError(_sentence(error)) from error
        raise


def _sentence(error: Exception) -> str:
    """An error's text in one line, without the SQL and the hints that some carry behind it."""
    if found := _GIVEN_UP.search(str(error)):
        return f"MLflow answered {found['status']} to {found['url']} again and again; its own log says why"
    return " ".join(str(error).partition("\n[SQL")[0].split())[:600]
