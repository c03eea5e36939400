"""service.client.connections: how soon a client finds a server that comes back."""

import socket
import threading

import grpc

from service.client import Client
from tests.service.support import eventually


def test_a_server_that_is_away_is_asked_for_again_and_again():
    """However often a connection fails, the next attempt follows soon: the seventh comes long before gRPC's own."""
    attempts = []
    with socket.create_server(("127.0.0.1", 0)) as away:

        def accept():
            while True:
                try:
                    connection, _ = away.accept()
                except OSError:
                    return
                attempts.append(connection.close())

        threading.Thread(target=accept, daemon=True).start()
        with Client(f"127.0.0.1:{away.getsockname()[1]}") as client:
            ready = grpc.channel_ready_future(client._channels[0])
            eventually(lambda: len(attempts) >= 7, timeout=20)  # with gRPC's own pauses: after 26 s
            ready.cancel()
        away.shutdown(socket.SHUT_RDWR)
