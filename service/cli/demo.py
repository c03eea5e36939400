"""`unroll demo` and `unroll up`: the whole product on this machine, through the commands that a user would run."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from service.cli.common import console, table
from service.cli.extras import require

MODEL = "reference"
REFERENCE = f"models:/{MODEL}@champion"
SEQUENCES = "[[[1,2],[2,3],[3,4]], [[5,6],[6,7],[7,8]], [[9,10],[10,11],[11,12]]]"
TARGETS = (10, 20, 30)
STOP_SECONDS = 60.0


def demo() -> None:
    """Train, register, serve and predict; then override a weight, and take the override back."""
    require("train", "serve", "local")
    from service.client import Client

    begin = time.monotonic()
    with _step("Train the reference network and register it in MLflow"):
        _run("train", "--name", MODEL)
    with _step("Start the server"):
        server, address = _start_server("127.0.0.1:0")
    try:
        here = ("--address", address)
        with Client(address) as client:
            array = json.loads(SEQUENCES)
            with _step("Predict the three sequences over gRPC"):
                _run("predict", SEQUENCES, *here)
                before = client.predict(array)
            with _step("Show the weights"):
                _run("weights", "show", *here)
            with _step("Override output/bias for all callers: a new version, served when the command returns"):
                _run("weights", "override", "output/bias+=1", "--reason", "demonstration", *here)
                after = client.predict(array)
            with _step("Move the alias back: the first predictions return"):
                _run("models", "move-alias", before.version, "--reason", "end of demonstration", *here)
                again = client.predict(array)
            seen = (("trained", before), ("overridden", after), ("moved back", again))
            predictions = table("target", *(f"{title}\nversion {p.version}" for title, p in seen), title="Predictions")
            for i, target in enumerate(TARGETS):
                predictions.add_row(str(target), *(f"{p.output[i, 0]:.6f}" for p in (before, after, again)))
            console.print(predictions)
            if (before.output != again.output).any():
                raise RuntimeError("the first predictions did not come back")
            _run("models", "list", *here)
    finally:
        with _step("Stop the server"):
            _stop(server)
    console.print(f"\nDone in {time.monotonic() - begin:.0f} s. The runs, figures and versions are in MLflow:")
    console.print(f"  unroll ui     then open http://127.0.0.1:5000/#/models/{MODEL}", highlight=False)
    console.print("To look inside the network, to change it and to watch what happens, on a web page:")
    console.print("  unroll up     then open the address that it prints first", highlight=False)


def up(address: str = "127.0.0.1:50051", ui_port: int = 5000, page_port: int = 5001) -> None:
    """Run the server, its web page and the MLflow UI until Ctrl-C.

    Trains the reference network first if there is no champion.
    """
    require("train", "serve", "local")
    _run("train", "--name", MODEL, "--if-missing")
    ui = subprocess.Popen(_command("ui", "--port", str(ui_port)))  # noqa: S603  # our own command
    try:
        server, address = _start_server(address)
        try:
            with _page(address, page_port) as url:
                console.print(f"\nweb page: {url or 'none'}", highlight=False, soft_wrap=True)
                console.print(
                    f"serving {REFERENCE} on {address}; MLflow on http://127.0.0.1:{ui_port}/#/models; "
                    "press Ctrl-C to stop all of it\n"
                )
                server.wait()
        finally:
            _stop(server)
    except KeyboardInterrupt:
        pass
    finally:
        _stop(ui)


def _command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "service.cli", *arguments]


def _run(*arguments: str) -> None:
    """Runs a command of ours as a user would, and shows it. Raises typer.Exit where it fails."""
    console.print(f"\n[bold]$ unroll {shlex.join(arguments)}", highlight=False)
    status = subprocess.run(_command(*arguments), check=False).returncode  # noqa: S603  # our own command
    if status:
        raise typer.Exit(status)


def _start_server(address: str) -> tuple["subprocess.Popen[str]", str]:
    """Starts a server and returns when it serves, with its address."""
    # What ends us has to end the server too, which takes the hangup of a terminal for a request to reload.
    for number in (signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    arguments = ("serve", "--model", REFERENCE, "--address", address)
    console.print(f"\n[bold]$ unroll {shlex.join(arguments)} &", highlight=False)
    # Its log is read here, and shown to people; a port by number might be another server's.
    env = {"UNROLL_METRICS": "off", **os.environ, "UNROLL_LOG_FORMAT": "text"}
    command = _command(*arguments)
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=env)  # noqa: S603  # our own command
    assert server.stderr is not None
    for line in server.stderr:
        sys.stderr.write(line)
        if found := re.search(r"serving \S+ version \d+ on (\S+)", line):
            _forward(server)
            return server, found[1].rstrip(";")
    raise typer.Exit(server.wait())


@contextmanager
def _page(address: str, port: int) -> Iterator[str]:
    """Runs the web page of a server; gives its address, or nothing where it ended with an error of its own."""
    command = _command("page", "--address", address, "--listen", f"127.0.0.1:{port}")
    page = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603  # our own command
    assert page.stdout is not None
    try:
        yield page.stdout.readline().rpartition(" ")[2].strip()
    finally:
        _stop(page)


def _forward(server: "subprocess.Popen[str]") -> None:
    """Lets what the server logs from now on go where ours goes."""
    lines = server.stderr or ()
    threading.Thread(target=lambda: sys.stderr.writelines(lines), daemon=True).start()


def _stop(process: "subprocess.Popen[str] | subprocess.Popen[bytes]") -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()


@contextmanager
def _step(title: str) -> Iterator[None]:
    """Says what is being done, and what it took."""
    console.rule(f"[bold]{title}", align="left")
    begin = time.monotonic()
    yield
    console.print(f"[dim]({time.monotonic() - begin:.1f} s)[/]\n", highlight=False)
