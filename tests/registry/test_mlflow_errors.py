"""registry.mlflow_errors: what MLflow raises, as errors of ours."""

import pytest

from registry.errors import (
    RegistryConflictError,
    RegistryDeniedError,
    RegistryNotFoundError,
    RegistryUnavailableError,
)
from registry.mlflow_errors import mlflow_errors


def raised(error, not_found=""):
    """What becomes of an error."""
    with pytest.raises(Exception) as caught, mlflow_errors(not_found):  # noqa: PT011 - which one is what is asked
        raise error
    return caught.value


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("RESOURCE_DOES_NOT_EXIST", RegistryNotFoundError),
        ("PERMISSION_DENIED", RegistryDeniedError),
        ("UNAUTHENTICATED", RegistryDeniedError),
        ("INVALID_PARAMETER_VALUE", RegistryDeniedError),
        ("TEMPORARILY_UNAVAILABLE", RegistryUnavailableError),
        ("INTERNAL_ERROR", RegistryUnavailableError),
    ],
)
def test_codes(code, kind):
    """What MLflow answers is known by its code; only what may succeed later is unavailable."""
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import ErrorCode

    error = raised(MlflowException("it\nsays so [SQL", ErrorCode.Value(code)))
    assert type(error) is kind
    assert "\n" not in str(error)


def test_the_sentence_for_what_is_not_there():
    """Who asked says what was not found, in place of MLflow's own words."""
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST

    assert str(raised(MlflowException("x", RESOURCE_DOES_NOT_EXIST), "no model 'm'")) == "no model 'm'"


def test_others():
    """A connection that fails is unavailable; errors of ours pass through, and so do faults."""
    assert type(raised(ConnectionError("refused"))) is RegistryUnavailableError
    for error in (RegistryConflictError("a"), KeyError("b")):
        assert raised(error) is error
