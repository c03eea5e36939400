"""Ports for servers that tests start by number, or stop and start again."""

import random
import socket


def free_port():
    """A port that nothing listens on, and that the system gives to nobody who does not ask for it by number.

    A server binds it seconds after it is chosen. One that the system chose could by then be the port of anybody's
    connection: it comes from the range that connections get theirs from.
    """
    with open("/proc/sys/net/ipv4/ip_local_port_range") as file:
        lowest, highest = map(int, file.read().split())
    ports = range(10000, 65536)
    ports = [port for port in ports if not lowest <= port <= highest] or ports
    for port in random.SystemRandom().sample(ports, 100):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("of 100 ports none is free")
