"""service.serving.on_demand: what callers may ask of the supervisor, and how often."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from service.errors import LimitExceededError, NotFoundError, UnavailableError
from service.serving import on_demand
from service.serving.on_demand import OnDemand
from tests.service.support import eventually


class Supervisor:
    """Knows no version; answers when it is let, and counts how often it was asked for each."""

    def __init__(self, error=None, *, waits=False):
        self.asked, self._error, self.let = [], error, threading.Event()
        if not waits:
            self.let.set()

    def __call__(self, model, number):
        self.asked.append((model, number))
        assert self.let.wait(60)
        if self._error:
            raise self._error


def test_one_look_up_at_a_time():
    """Many calls that name one version make one look-up, and all have its answer."""
    supervisor = Supervisor(waits=True)
    versions = OnDemand(supervisor)
    with ThreadPoolExecutor(20) as pool:
        calls = [pool.submit(versions.get, "m", "7", str(number)) for number in range(20)]
        eventually(lambda: supervisor.asked)
        supervisor.let.set()
        assert [call.result(20) for call in calls] == [None] * 20
    assert supervisor.asked == [("m", "7")]
    versions.get("m", "7", "")  # it may have been let go of since
    assert len(supervisor.asked) == 2


def test_unknown_versions_are_remembered(monkeypatch):
    """That a version does not exist is remembered for a moment; an outage is not, since it may be over."""
    unknown = Supervisor(NotFoundError("no version 7", field="version"))
    versions = OnDemand(unknown)
    for _ in range(5):
        with pytest.raises(NotFoundError, match="no version 7") as caught:
            versions.get("m", "7", "")
        assert caught.value.field == "version"
    assert len(unknown.asked) == 1
    monkeypatch.setattr(on_demand, "REMEMBERED_SECONDS", 0.0)
    for _ in range(2):
        with pytest.raises(NotFoundError):
            versions.get("m", "8", "")
    assert len(unknown.asked) == 3
    away = Supervisor(UnavailableError("away"))
    versions = OnDemand(away)
    for _ in range(2):
        with pytest.raises(UnavailableError):
            versions.get("m", "7", "")
    assert len(away.asked) == 2


def test_what_is_remembered_is_bounded(monkeypatch):
    """Callers who name ever other versions that do not exist make nothing grow."""
    monkeypatch.setattr(on_demand, "MOST_REMEMBERED", 10)
    versions = OnDemand(Supervisor(NotFoundError("none")))
    for number in range(50):
        with pytest.raises(NotFoundError):
            versions.get("m", str(number), "")
    assert len(versions._failed) == 10
    assert not versions._loading


def test_versions_of_one_caller():
    """One caller has only so many versions loaded at a time, and others theirs meanwhile."""
    supervisor = Supervisor(waits=True)
    versions = OnDemand(supervisor)
    with ThreadPoolExecutor(20) as pool:
        calls = [pool.submit(versions.get, "m", str(n), "a") for n in range(on_demand.MOST_LOADING_OF_ONE)]
        eventually(lambda: len(supervisor.asked) == len(calls))
        with pytest.raises(LimitExceededError, match="versions that are being loaded of one caller"):
            versions.get("m", "99", "a")
        calls.append(pool.submit(versions.get, "m", "99", "b"))
        eventually(lambda: len(supervisor.asked) == len(calls))
        supervisor.let.set()
        for call in calls:
            call.result(20)
