"""A lock shared by all servers of one registry, for changes that MLflow cannot make atomically.

MLflow has no "set this alias if it points there": it is read, compared and set. Between the two another server may do
the same, and the later one wins. Servers that share a lock take turns, so the second of them sees what the first did.
"""

import hashlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

from registry.errors import InvalidReferenceError, RegistryUnavailableError

Lock = Callable[[str], AbstractContextManager[None]]  # held for a model while its aliases are compared and set

LONGEST_WAIT_SECONDS = 20.0  # for another server, which holds it for some milliseconds
PAUSE_SECONDS = 0.02


def lock_for(registry_uri: str, lock_uri: str = "") -> Lock | None:
    """The lock for a registry: the one named, or a file next to a SQLite database; None: there is none.

    Raises InvalidReferenceError for a lock of a kind that is not known.
    """
    if lock_uri:
        scheme = urlsplit(lock_uri).scheme.partition("+")[0]  # postgresql+psycopg2, as SQLAlchemy has it
        if scheme in {"postgresql", "postgres"}:
            return _postgresql(f"postgresql{lock_uri[lock_uri.index(':') :]}")
        if scheme == "file":
            return _file(Path(unquote(urlsplit(lock_uri).path)))
        raise InvalidReferenceError(f"{lock_uri.partition(':')[0]}: no lock of that kind; expected postgresql or file")
    path = registry_uri.removeprefix("sqlite:///")
    if path != registry_uri and path and not path.startswith((":memory:", "file:")):
        return _file(Path(f"{path.partition('?')[0]}.lock"))
    return None


def no_lock(_model: str) -> AbstractContextManager[None]:
    """In place of a lock where there is none."""
    return _nothing()


@contextmanager
def _nothing() -> Iterator[None]:
    yield


def _file(path: Path) -> Lock:
    """A file that is locked: for processes of one machine. One for all models: it is held for milliseconds."""

    @contextmanager
    def hold(_model: str) -> Iterator[None]:
        import fcntl  # not on every platform

        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise RegistryUnavailableError(f"the registry's lock {path} cannot be opened: {error.strerror}") from error
        try:
            deadline = time.monotonic() + LONGEST_WAIT_SECONDS
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise RegistryUnavailableError("another process holds the registry's lock") from None
                    time.sleep(PAUSE_SECONDS)
            yield
        finally:
            os.close(descriptor)  # which lets the lock go

    return hold


def _postgresql(uri: str) -> Lock:
    """An advisory lock of a PostgreSQL database, one for each model."""

    @contextmanager
    def hold(model: str) -> Iterator[None]:
        try:
            import psycopg
        except ImportError:
            raise RegistryUnavailableError(
                "a lock in PostgreSQL needs psycopg: pip install 'psycopg[binary]'"
            ) from None
        key = int.from_bytes(hashlib.sha256(f"unroll {model}".encode()).digest()[:8], signed=True)
        try:
            with psycopg.connect(uri, connect_timeout=5, autocommit=True) as connection:
                connection.execute(f"SET lock_timeout = '{LONGEST_WAIT_SECONDS:g}s'")
                connection.execute("SELECT pg_advisory_lock(%s)", (key,))
                yield  # the lock ends with the connection, also where this process is killed
        except psycopg.errors.LockNotAvailable:
            raise RegistryUnavailableError("another server holds the registry's lock") from None
        except psycopg.Error as error:
            text = " ".join(str(error).split())
            raise RegistryUnavailableError(f"the registry's lock cannot be taken: {text}") from error

    return hold
