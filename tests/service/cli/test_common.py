"""service.cli.common: how every command that asks a server reaches it."""

import io

import pytest
import typer.main
from rich.console import Console
from typer.testing import CliRunner

from service import cli
from service.cli.common import tables
from service.client import Client
from service.errors import InvalidArgumentError
from tests.service.support import Server

OPTIONS = {"--address", "--token", "--token-file", "--ca", "--cert", "--key"}


@pytest.fixture(scope="module")
def guarded(registry, certificates, tmp_path_factory):
    """The address of a server that lets nobody in without a certificate."""
    registry.register("reference", "r3-1", "champion")
    tls = {"tls_certificate": "server.pem", "tls_key": "server.key", "tls_client_ca": "authority.pem"}
    options = {name: certificates / file for name, file in tls.items()}
    cache = tmp_path_factory.mktemp("cache")
    server = Server("models:/reference@champion", cache=cache, env=registry.env, workers=1, **options)
    yield server.address
    server.stop()


def commands():
    """Every command that talks to a server, by its words."""
    app = typer.main.get_command(cli.app)
    groups = [((), app)]
    while groups:
        words, group = groups.pop()
        for name, command in group.commands.items():
            if hasattr(command, "commands"):
                groups.append(((*words, name), command))
            elif any("--token" in parameter.opts for parameter in command.params):
                yield pytest.param(command, id=" ".join((*words, name)))


def run(*words, env=None):
    """Runs the command line in this process."""
    return CliRunner().invoke(cli.app, [str(word) for word in words], env=env)


@pytest.mark.parametrize("command", list(commands()))
def test_every_command_can_reach_every_server(command):
    """Each command that asks a server takes address, token, authorities and certificate, and their variables.

    One that can do without a server asks one only where the command line says so.
    """
    found = {option: parameter for parameter in command.params for option in parameter.opts}
    assert set(found) >= OPTIONS
    variables = {option: f"UNROLL_{option.strip('-').replace('-', '_').upper()}" for option in OPTIONS}
    if not found["--address"].default:
        variables["--address"] = None
    assert {option: found[option].envvar for option in OPTIONS} == variables


def test_a_server_that_asks_for_certificates(guarded, certificates):
    """With a certificate, by options or by variables, commands reach such a server; without one they do not."""
    ca, cert, key = (certificates / name for name in ("authority.pem", "alice.pem", "alice.key"))
    by_options = run("health", "--address", guarded, "--ca", ca, "--cert", cert, "--key", key)
    assert (by_options.exit_code, by_options.output.split()[0]) == (0, "SERVING")
    env = {"UNROLL_CA": str(ca), "UNROLL_CERT": str(cert), "UNROLL_KEY": str(key), "UNROLL_ADDRESS": guarded}
    for words in (["models", "list"], ["models", "show"], ["weights", "show"], ["predict", "[[[1,2],[2,3]]]"]):
        found = run(*words, env=env)
        assert found.exit_code == 0, found.output
    assert run("health", "--address", guarded, "--ca", ca).exit_code != 0


def test_variables_are_read_by_the_client(guarded, certificates, monkeypatch):
    """A client made from the environment, as MLflow's plugin makes it, shows the certificate that is named there."""
    for name, file in (("CA", "authority.pem"), ("CERT", "alice.pem"), ("KEY", "alice.key")):
        monkeypatch.setenv(f"UNROLL_{name}", str(certificates / file))
    with Client.from_environment(guarded) as client:
        assert [model.name for model in client.models()] == ["reference"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cert": "a.pem"}, r"go together, there is only a\.pem"),
        ({"key": "a.key"}, r"go together, there is only a\.key"),
        ({"token": "t", "token_file": "f"}, "one of them"),
        ({"token_file": "/nowhere/token"}, "cannot read /nowhere/token: No such file"),
        ({"ca": "/nowhere/ca.pem"}, r"cannot read /nowhere/ca\.pem"),
        ({"ca": "/dev/null"}, "/dev/null is empty"),
    ],
)
def test_options_that_lead_nowhere(options, message):
    """Half a pair, two tokens, and files that are not there or empty are refused by name."""
    with pytest.raises(InvalidArgumentError, match=message):
        Client.connect("127.0.0.1:1", **options)


@pytest.mark.parametrize("width", [40, 80, 200])
def test_tables_never_cut_a_number(width):
    """Columns that do not fit beside each other stand in further tables, whole and in order."""
    out = Console(width=width, file=io.StringIO())
    columns = [f"1994-{month:02d}-01" for month in range(1, 13)]
    rows = {who: [f"{i}.{who}5" for i in range(12)] for who in ("1234567", "2345678")}
    made = list(tables("rmse by fold", "fold", columns, rows, out))
    for shown in made:
        out.print(shown)
    printed = out.file.getvalue()
    assert printed.split("rmse by fold")[0] == ""
    assert "…" not in printed
    for words in (columns, *rows.values()):
        found = [word for word in printed.split() if word in words]
        assert found == words
    assert len(made) == {40: 6, 80: 3, 200: 1}[width]


def test_help_flows():
    """Each paragraph of a command's help fills its lines; none ends where a line of the source does."""
    for param in commands():
        (command,) = param.values
        for paragraph in command.help.split("\n\n"):
            assert "\n" not in paragraph
