"""service.supervisor.port: addresses that are held, and those that are refused."""

import socket

import pytest

from service.supervisor.port import Port


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_held(host):
    """A port is held and shared with workers, and no other server gets it."""
    port = Port(f"{host}:0")
    number = int(port.address.removeprefix(f"{host}:"))
    with pytest.raises(OSError, match=rf"cannot listen on .*:{number}: Address already in use"):
        Port(port.address)
    with socket.socket(socket.AF_INET6 if "[" in host else socket.AF_INET) as worker:
        worker.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        worker.bind((host.strip("[]"), number))
    port.close()
    Port(port.address).close()


@pytest.mark.parametrize(
    "address", ["no.such.host.invalid:1", "192.0.2.1:0", "256.1.1.1:1", "a..b:1", "x" * 300 + ":1"]
)
def test_cannot_be_listened_on(address):
    """An address of no interface of this machine is refused in one line."""
    with pytest.raises(OSError, match=r"^cannot listen on .*") as caught:
        Port(address)
    assert "\n" not in str(caught.value)


def test_path(tmp_path):
    """The path of a unix socket is taken from a server that is gone, not from one that listens or from a file."""
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        with pytest.raises(OSError, match="already in use"):
            Port(f"unix:{path}")
    port = Port(f"unix:{path}")
    assert port.address == f"unix:{path}"
    port.close()
    assert not path.exists()
    path.write_text("")
    with pytest.raises(OSError, match="no socket"):
        Port(f"unix:{path}")
    with pytest.raises(OSError, match="No such file"):
        Port(f"unix:{tmp_path}/none/socket")
