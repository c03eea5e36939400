"""What `pip install` brings: with each extra a command works, or says in one line which extra it needs."""

import json
import re
import subprocess
import sys
import tomllib
import zipfile

import pytest

from service.cli.extras import EXTRAS
from service.version import DISTRIBUTION
from tests.outside.environments import PACKAGES, ROOT, Environment, sources

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
# Every command, with what it takes at least; and the extra that it asks for where only the client is installed.
COMMANDS = {
    "train": ([], "train"),
    "train --data": (["absent.csv", "--time", "t", "--target", "y"], "train"),
    "sweep": (["--config", "absent.yaml"], "train"),
    "demo": ([], "train"),
    "up": ([], "train"),
    "ui": ([], "local"),
    "serve": (["--model", "models:/a@b"], "serve"),
    "page": ([], "page"),
    "register": (["absent.keras", "--name", "a"], "serve"),
    "register --repair": (["models:/a/1"], "serve"),
    "check": (["absent.keras"], "serve"),
    "convert": (["absent.h5", "new.keras"], "serve"),
    "token new": (["a", "--role", "predict"], "serve"),
    "backtest": (["--config", "absent.yaml"], "train"),
    "score": (["--data", "absent.csv", "--model", "models:/a@b", "--out", "out.csv"], "serve"),
    "forecast": (["--data", "absent.csv", "--model", "models:/a@b"], "tables"),
    "generate": (["--model", "models:/a@b", "--prompt", "a"], "serve"),
}
ASKING = {  # those that ask a server: here there is none
    "predict": ["[[[1]]]"],
    "trace": ["[[[1]]]"],
    "explain": ["[[[1]]]"],
    "memory": ["[[[1]]]"],
    "health": [],
    "models list": [],
    "models show": [],
    "weights show": [],
}
NOBODY = "127.0.0.1:1"


def environment(wheel, folder, *extras):
    """An environment with the wheel and what these extras bring."""
    made = Environment(folder)
    made.install(wheel)
    made.link(*extras)
    return made


@pytest.fixture(scope="module")
def client_only(wheel, tmp_path_factory):
    """What `pip install` brings without extras."""
    return environment(wheel, tmp_path_factory.mktemp("client"))


@pytest.fixture(scope="module")
def serving(wheel, tmp_path_factory):
    """What the extra `serve` brings."""
    return environment(wheel, tmp_path_factory.mktemp("serve"), "serve")


def run(environment, commands):
    """Runs commands; gives exit status and standard error of each."""
    printed = environment.run(ROOT / "tests/outside/run_commands.py", json.dumps(commands), UNROLL_ADDRESS=NOBODY)
    return json.loads(printed.splitlines()[-1])


def test_a_command_works_or_names_its_extra(client_only):
    """With the client alone, every command that needs more ends with one line that names the extra."""
    commands = [[*name.split(), *arguments] for name, (arguments, _) in COMMANDS.items()]
    asking = [[*name.split(), *arguments] for name, arguments in ASKING.items()]
    found = run(client_only, [*commands, *asking, ["--version"], ["--help"]])
    for (name, (_, extra)), (status, written) in zip(COMMANDS.items(), found, strict=False):
        assert status == 1, name
        assert re.fullmatch(rf"unroll: this needs .* installed: pip install '{DISTRIBUTION}\[{extra}\]'\n", written), (
            name
        )
    for name, (status, written) in zip(ASKING, found[len(commands) :], strict=False):
        assert status == 1, name
        assert re.fullmatch(r"unroll: .*connect.*\n", written), (name, written)
    assert found[-2:] == [[0, ""], [0, ""]]


def test_every_command_is_tried(client_only):
    """The list above has every command that there is but for those of a group that ask a server alike."""
    printed = client_only.run("-c", "from service.cli import app; print(*[c.name or c.callback.__name__ for c in "
                              "app.registered_commands], *[g.name for g in app.registered_groups])")  # fmt: skip
    assert set(printed.split()) == {name.split()[0] for name in (*COMMANDS, *ASKING)}


def test_the_client_is_light(client_only):
    """`import unroll` gives the client and its version, and imports gRPC, protobuf and NumPy alone."""
    code = (
        "import sys, unroll; print(unroll.__version__, unroll.Client.__name__, *{m.split('.')[0] for m in sys.modules})"
    )
    version, name, *modules = client_only.run("-c", code).split()
    assert (version, name) == (PROJECT["version"], "Client")
    assert not {"typer", "rich", "h5py", "yaml", "mlflow", "keras", "training"} & set(modules)


def test_a_registry_in_a_file_asks_for_its_extra(serving):
    """With the small MLflow, what needs a registry in a file says so in one line, and what needs none works."""
    commands = [["serve", "--model", "models:/a@b"], ["register", "--repair", "models:/a/1"], ["check", "absent.keras"]]
    found = run(serving, [*commands, ["score", "--data", "x", "--model", "models:/a@b", "--out", "y"], ["train"]])
    for status, written in found[:2]:
        assert status == 1
        assert re.fullmatch(r"unroll: a registry in a database \(sqlite\) needs .* the extra `local`; .*\n", written)
    assert re.fullmatch(r"unroll: .*absent\.keras.*\n", found[2][1])
    assert found[3][1].endswith(f"pip install '{DISTRIBUTION}[tables]'\n")
    assert found[4][1].endswith(f"pip install '{DISTRIBUTION}[train]'\n")


def test_the_wheel_is_complete(wheel):
    """The wheel holds our packages and nothing else, its licence, and the metadata that an index shows."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        info = f"unroll_serving-{PROJECT['version']}.dist-info"
        metadata = archive.read(f"{info}/METADATA").decode()
        assert archive.read(f"{info}/licenses/LICENSE") == (ROOT / "LICENSE").read_bytes()
    assert {name.partition("/")[0] for name in names} == {*PACKAGES, info}
    for line in ("License-Expression: Apache-2.0", "Description-Content-Type: text/markdown", "Classifier: "):
        assert line in metadata
    names = {name for name in names if not name.startswith(info)}
    assert names == {name for name in sources() if name.partition("/")[0] in PACKAGES}


def test_extras_are_those_of_the_distribution():
    """Each extra that a command names exists, and its modules are what it brings and the client alone does not."""
    assert EXTRAS.keys() <= PROJECT["optional-dependencies"].keys()
    code = "import sys, importlib.metadata as m; print(*[k for k, v in m.packages_distributions().items()])"
    known = set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())
    for extra, modules in EXTRAS.items():
        if extra not in ("baselines", "cluster", "convert", "torch"):  # not installed for tests
            assert set(modules) <= known, extra
