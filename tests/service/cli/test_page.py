"""service.cli.page: the command, as a process of its own."""

import re
import signal
import subprocess
import sys
import urllib.request

import pytest
import typer
from typer.testing import CliRunner

from service import cli
from service.edge.access import is_loopback


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_page_until_it_is_stopped(unroll, number):
    """It prints its address first, answers there, and ends at once and quietly when it is told to."""
    _, client = unroll
    command = [sys.executable, "-m", "service.cli", "page", "--listen=127.0.0.1:0", f"--address={client.address}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            address = re.fullmatch(
                rf"page of {client.address} on (http://\S+)\?key=\S{{32}}\n", process.stdout.readline()
            )[1]
            with urllib.request.urlopen(f"{address}readyz", timeout=30) as answer:
                assert answer.status == 200
        finally:
            process.send_signal(number)
            assert process.communicate(timeout=60) == ("", "")
    assert process.returncode in (0, -number)


def test_a_port_that_is_taken(unroll):
    """Where it cannot listen, it says so in one line."""
    result = CliRunner().invoke(cli.app, ["page", "--listen", unroll[1].address])
    assert result.exit_code == 1
    assert "cannot listen on" in str(result.exception)


def test_it_listens_on_loopback():
    """Without an address to listen on, only this machine reaches the page."""
    (listen,) = [
        option for option in typer.main.get_command(cli.app).commands["page"].params if option.name == "listen"
    ]
    assert is_loopback(listen.default)


@pytest.mark.parametrize("listen", ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"])
def test_an_address_that_others_reach(unroll, tmp_path, monkeypatch, listen):
    """Where other machines reach the page, it does not start without a key that somebody chose, of some length."""
    _, client = unroll
    monkeypatch.delenv("UNROLL_PAGE_KEY", raising=False)
    command = ["page", "--listen", listen, "--address", client.address]
    result = CliRunner().invoke(cli.app, command)
    assert "needs a key that you choose" in str(result.exception)
    (tmp_path / "key").write_text("short\n")
    result = CliRunner().invoke(cli.app, [*command, "--page-key-file", str(tmp_path / "key")])
    assert "at least 16" in str(result.exception)
