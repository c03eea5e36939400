"""The address of a server, held by the supervisor while workers come and go."""

import socket
import stat
from contextlib import suppress

from service.config import split_address, unix_path


class Port:
    """An address held for the workers: bound and not listening, so that no connection ever ends here.

    A unix socket cannot be held so: it belongs to the worker that bound its path last, and here is only seen to it
    that no other server has it.
    """

    def __init__(self, address: str) -> None:
        """Port 0 takes a free one.

        Raises InvalidArgumentError for what is no address, OSError where it cannot be listened on or is taken, also by
        a server that would share it.
        """
        self._path = unix_path(address)
        self._socket: socket.socket | None = None
        try:
            if self._path is None:
                address = self._hold(*split_address(address))
            else:
                self._check_path()
        except (OSError, UnicodeError) as error:  # UnicodeError: no name that could be looked up
            self.close()
            raise OSError(f"cannot listen on {address}: {getattr(error, 'strerror', None) or error}") from None
        self.address = address

    def close(self) -> None:
        """Lets it go."""
        if self._socket is not None:
            self._socket.close()
            if self._path is not None:
                self._path.unlink(missing_ok=True)

    def _hold(self, host: str, number: int) -> str:
        """Binds a port; the address with its number."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family) as probe:  # without SO_REUSEPORT: refuses what another server already has
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, number))
        self._socket = socket.socket(family)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._socket.bind((host, number))
        bound = self._socket.getsockname()[1]
        return f"[{host}]:{bound}" if ":" in host else f"{host}:{bound}"

    def _check_path(self) -> None:
        """Takes a path that is free, or has the socket of a server that is gone."""
        assert self._path is not None
        with suppress(FileNotFoundError):
            if not stat.S_ISSOCK(self._path.lstat().st_mode):
                raise FileExistsError(None, "File exists, and is no socket")
            with socket.socket(socket.AF_UNIX) as probe, suppress(ConnectionRefusedError):
                probe.settimeout(1.0)
                probe.connect(str(self._path))
                raise OSError(None, "Address already in use")
            self._path.unlink()
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(self._path))  # shows now whether workers will be able to
