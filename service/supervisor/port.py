"""The port of a server, held by its supervisor while workers come and go."""

import socket


class Port:
    """A port held for the workers: bound and not listening, so that no connection ever ends here."""

    def __init__(self, host: str, number: int) -> None:
        """Port 0 takes a free one. Raises OSError where the port is taken, also by a server that would share it."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            with socket.socket(family) as probe:  # without SO_REUSEPORT: refuses what another server already has
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((host, number))
            self._socket = socket.socket(family)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            self._socket.bind((host, number))
        except OSError as error:
            raise OSError(f"cannot listen on {host}:{number}: {error.strerror or error}") from None
        bound = self._socket.getsockname()[1]
        self.address = f"[{host}]:{bound}" if ":" in host else f"{host}:{bound}"

    def close(self) -> None:
        """Lets the port go."""
        self._socket.close()
