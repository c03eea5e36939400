"""service.supervisor.lanes: many versions are fetched side by side, what is asked for first."""

import threading

import pytest

from service.snapshot import VersionEntry
from service.supervisor.lanes import Lanes


class Fetching:
    """Fetches when it is let to; keeps the order in which it began."""

    def __init__(self):
        self.begun = []
        self.gate = threading.Semaphore(0)
        self._beginning = threading.Condition()

    def __call__(self, name, number, *, trial, **_options):  # no version here is tried
        with self._beginning:
            self.begun.append(name)
            self._beginning.notify_all()
        self.gate.acquire()
        if name == "broken":
            raise ValueError(name)
        return VersionEntry(number, name, "/cache")

    def wait_for(self, count):
        with self._beginning:
            assert self._beginning.wait_for(lambda: len(self.begun) >= count, 30)


def test_what_is_asked_for_comes_first():
    """A model that a client asks for overtakes those that wait; the rest keep their order."""
    fetching = Fetching()
    lanes = Lanes(fetching, 1, "test")
    futures = [lanes.want(name, "1") for name in "abcd"]
    fetching.wait_for(1)
    assert lanes.hurry("c") == [futures[2]]
    lanes.want("e", "1", first=True)
    assert lanes.hurry("none") == []
    for _ in range(5):
        fetching.gate.release()
    assert [future.result(30).digest for future in futures] == list("abcd")
    fetching.wait_for(5)
    assert fetching.begun == list("acebd")


def test_as_many_side_by_side_as_there_are_lanes():
    """Two lanes fetch two versions at a time, and no third."""
    fetching = Fetching()
    lanes = Lanes(fetching, 2, "test")
    futures = [lanes.want(name, "1") for name in "abc"]
    fetching.wait_for(2)
    assert sorted(fetching.begun) == ["a", "b"]
    for _ in range(3):
        fetching.gate.release()
    assert {future.result(30).digest for future in futures} == {"a", "b", "c"}


def test_once_for_all_who_want_it():
    """A version that several want is fetched once; one that failed is fetched again when it is wanted again."""
    fetching = Fetching()
    lanes = Lanes(fetching, 2, "test")
    first = lanes.want("broken", "1")
    assert lanes.want("broken", "1") is first
    fetching.gate.release()
    with pytest.raises(ValueError, match="broken"):
        first.result(30)
    assert lanes.want("broken", "1") is not first
    fetching.gate.release()
    fetching.wait_for(2)
