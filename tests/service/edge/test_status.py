"""service.edge.status: every error has a status, and says no more than it should."""

import inspect

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from service import errors
from service.edge.status import CODES, to_status

ALL = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, errors.ServiceError)]


def test_every_error_has_a_status():
    """Each class that is raised has its own row."""
    assert set(CODES) == set(ALL) - {errors.ServiceError}


@pytest.mark.parametrize("kind", CODES, ids=lambda kind: kind.__name__)
def test_details(kind):
    """Code, sentence, field and facts of an error survive the way to the client."""
    code, message, details = to_status(kind("nine is too many", field="inputs[0]", limit=8, actual=9))
    status = status_pb2.Status.FromString(details)
    assert (code, message) == (CODES[kind], "nine is too many")
    assert (status.code, status.message) == (code.value[0], message)
    info, bad_request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    assert status.details[0].Unpack(info)
    assert (info.reason, info.domain, dict(info.metadata)) == (kind.reason(), "unroll", {"limit": "8", "actual": "9"})
    assert status.details[1].Unpack(bad_request)
    assert bad_request.field_violations[0].field == "inputs[0]"


def test_unknown_error_tells_nothing(caplog):
    """The text of an error that is not ours stays in the log, under the id that the client gets."""
    code, message, details = to_status(RuntimeError("password is swordfish"))
    assert code is grpc.StatusCode.INTERNAL
    assert b"swordfish" not in details
    assert "swordfish" not in message
    incident = message.split()[-1]
    assert incident in caplog.text
    assert "swordfish" in caplog.text
