"""MLflow's own deployment commands and client, against a whole server."""

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from mlflow.deployments import PredictionsResponse, cli, get_deploy_client
from mlflow.exceptions import MlflowException

from service.edge.status import CODES
from service.mlflow import plugin as mlflow_plugin
from tests.service.support import R3_INPUTS, running

FLOATS = R3_INPUTS.tolist()


@pytest.fixture(scope="module")
def served(registry, tmp_path_factory):
    """A server with the reference network in two versions."""
    registry.register("reference", "r3-1", "champion")
    registry.register("reference", "r3-2", "challenger")
    cache = tmp_path_factory.mktemp("cache")
    with running("models:/reference@champion", cache=cache, env=registry.env, workers=1, poll=0.2) as (server, client):
        yield server.address, client


@pytest.fixture
def deployments(served):
    """What MLflow makes of the target."""
    return get_deploy_client(f"unroll://{served[0]}")


def command(*arguments):
    """Runs `mlflow deployments …`; gives what it prints."""
    done = CliRunner().invoke(cli.commands, list(arguments))
    if done.exception:
        raise done.exception
    return done.output


def test_predict_by_command(served, tmp_path):
    """`mlflow deployments predict`, as a user types it, prints what the server answers."""
    address, client = served
    payload, output = tmp_path / "input.json", tmp_path / "output.json"
    payload.write_text(json.dumps({"inputs": FLOATS}))
    arguments = ["predict", "-t", f"unroll://{address}", "--name", "reference", "-I", str(payload)]
    program = [sys.executable, "-m", "mlflow", "deployments"]  # which finds us by the entry point
    done = subprocess.run([*program, *arguments], capture_output=True, text=True, check=True, cwd=tmp_path)
    answer = json.loads(done.stdout)
    assert (answer["model"], answer["version"]) == ("reference", "1")
    assert np.array_equal(np.float32(answer["predictions"]), client.predict(R3_INPUTS).output)
    assert command(*arguments, "-O", str(output)) == ""
    assert json.loads(output.read_text()) == answer


@pytest.mark.parametrize(
    "payload",
    [
        {"inputs": {"x": FLOATS}},
        {"instances": [{"x": x} for x in FLOATS]},
        {"dataframe_records": [{"x": x} for x in FLOATS]},
        {"dataframe_split": {"columns": ["x"], "data": [[x] for x in FLOATS]}},
    ],
    ids=lambda payload: next(iter(payload)),
)
def test_formats(served, deployments, tmp_path, payload):
    """Each of MLflow's formats gets the same prediction, from a program and from a file."""
    expected = served[1].predict(R3_INPUTS).output
    found = deployments.predict("reference", payload)
    assert isinstance(found, PredictionsResponse)
    assert np.array_equal(found.get_predictions("ndarray", "float32"), expected)
    file = tmp_path / "input.json"
    file.write_text(json.dumps(payload))
    said = command("predict", "-t", f"unroll://{served[0]}", "--name", "reference", "-I", str(file))
    assert json.loads(said) == dict(found)


def test_predict_in_python(served, deployments):
    """Arrays and DataFrames are taken; versions and aliases are named as in MLflow; predictions make a DataFrame."""
    for given in (R3_INPUTS, {"x": R3_INPUTS}, pd.DataFrame({"x": FLOATS})):
        assert deployments.predict("reference", given).get_predictions().shape == (3, 1)
    for name, version in (("reference@challenger", "2"), ("reference/2", "2"), ("reference@champion", "1")):
        found = deployments.predict(name, R3_INPUTS)
        assert found["version"] == version
        expected = served[1].predict(R3_INPUTS, version=version).output
        assert np.array_equal(np.float32(found["predictions"]), expected)


def test_list_and_get(served, deployments):
    """What is served is listed and shown, also by command."""
    (listed,) = deployments.list_deployments()
    assert (listed["name"], listed["alias"], listed["references"]) == (
        "reference", "champion", ["models:/reference@champion"],
    )  # fmt: skip
    shown = deployments.get_deployment("reference")
    assert shown["inputs"] == {"x": "float32 [-1, -1, 2]"}
    assert shown["outputs"] == {"output": "float32 [-1, 1]"}
    assert shown["aliases"] == {"champion": "1", "challenger": "2"}
    target = ("-t", f"unroll://{served[0]}")
    assert "reference" in command("list", *target)
    assert "inputs: {'x': 'float32 [-1, -1, 2]'}" in command("get", *target, "--name", "reference")
    assert "unroll serve" in command("help", "-t", "unroll")


def test_update_moves_the_alias(served, deployments, registry):
    """`update` points the alias at another version, in the registry and in the server, with who expects what."""
    _, client = served
    made = deployments.update_deployment("reference", "models:/reference/2", config={"reason": "better"})
    assert (made["name"], made["alias"], made["version"]) == ("reference", "champion", "2")
    assert registry.store.describe("reference").aliases["champion"] == client.predict(R3_INPUTS).version == "2"
    assert "better" in registry.store.version("reference", "2").tags["unroll.moved.champion"]
    with pytest.raises(MlflowException, match="not at 1") as caught:
        deployments.update_deployment("reference", "models:/reference/1", config={"expected_version": "1"})
    assert caught.value.error_code == "RESOURCE_CONFLICT"
    said = command(
        "update", "-t", f"unroll://{served[0]}", "--name", "reference", "-m", "models:/reference/1",
        "-C", "alias=champion", "-C", "reason=back",
    )  # fmt: skip
    assert "Deployment reference is updated" in said
    assert client.predict(R3_INPUTS).version == "1"
    deployments.update_deployment("reference", "models:/reference@champion", config={"alias": "challenger"})
    assert registry.store.describe("reference").aliases == {"champion": "1", "challenger": "1"}
    deployments.update_deployment("reference", "models:/reference/2", config={"alias": "challenger"})


@pytest.mark.parametrize(
    ("code", "said", "call"),
    [
        ("RESOURCE_DOES_NOT_EXIST", "no model 'other'", lambda d: d.predict("other", R3_INPUTS)),
        ("RESOURCE_DOES_NOT_EXIST", "no model 'other'", lambda d: d.get_deployment("other")),
        ("RESOURCE_DOES_NOT_EXIST", "no alias 'none'", lambda d: d.predict("reference@none", R3_INPUTS)),
        ("INVALID_PARAMETER_VALUE", "name of a model", lambda d: d.predict(None, R3_INPUTS)),
        ("INVALID_PARAMETER_VALUE", "is not a reference", lambda d: d.predict("reference@a@b", R3_INPUTS)),
        ("INVALID_PARAMETER_VALUE", "expected shape", lambda d: d.predict("reference", R3_INPUTS[0])),
        ("INVALID_PARAMETER_VALUE", "expected the input x", lambda d: d.predict("reference", {"y": [1]})),
        ("INVALID_PARAMETER_VALUE", "no endpoints", lambda d: d.predict(inputs=R3_INPUTS, endpoint="e")),
        ("INVALID_PARAMETER_VALUE", "is not a reference", lambda d: d.update_deployment("reference", "runs:/1/model")),
        ("INVALID_PARAMETER_VALUE", "not a version of", lambda d: d.update_deployment("reference", "models:/other/1")),
        (
            "INVALID_PARAMETER_VALUE", "unknown colour",
            lambda d: d.update_deployment("reference", "models:/reference/1", config={"colour": "red"}),
        ),
        (
            "INVALID_PARAMETER_VALUE", "expected keras",
            lambda d: d.update_deployment("reference", "models:/reference/1", flavor="sklearn"),
        ),
        (
            "RESOURCE_DOES_NOT_EXIST", "no alias 'none'",
            lambda d: d.update_deployment("reference", "models:/reference@none"),
        ),
        ("NOT_IMPLEMENTED", "unroll serve", lambda d: d.create_deployment("reference", "models:/reference/1")),
        ("NOT_IMPLEMENTED", "without reference", lambda d: d.delete_deployment("reference")),
        ("NOT_IMPLEMENTED", "unroll serve", lambda _: mlflow_plugin.run_local("reference", "models:/reference/1")),
    ],
)  # fmt: skip
def test_errors(deployments, code, said, call):
    """What goes wrong is MLflow's exception, with its code and our sentence."""
    with pytest.raises(MlflowException, match=said) as caught:
        call(deployments)
    assert caught.value.error_code == code


@pytest.mark.parametrize(
    ("target", "address"),
    [
        ("unroll", "127.0.0.1:50051"),
        ("unroll://server:5", "server:5"),
        ("unroll://server", "server:50051"),
        ("unroll://[::1]:5/", "[::1]:5"),
    ],
)
def test_targets(target, address):
    """A target names a server; what is left out is as everywhere."""
    assert get_deploy_client(target)._client.address == address


@pytest.mark.parametrize("target", ["unroll:/server", "unroll://server:port", "unroll://server:5/path", "unroll://"])
def test_wrong_targets(target):
    """A target that names no server is refused."""
    with pytest.raises(MlflowException, match="expected unroll://HOST:PORT"):
        get_deploy_client(target)


def test_a_server_that_is_not_there(unused_port, monkeypatch):
    """No server, or no file of authorities: MLflow's exception, with what is wrong."""
    with pytest.raises(MlflowException) as caught:
        get_deploy_client(f"unroll://127.0.0.1:{unused_port}").list_deployments()
    assert caught.value.error_code == "TEMPORARILY_UNAVAILABLE"
    monkeypatch.setenv("UNROLL_CA", "/nowhere/ca.pem")
    with pytest.raises(MlflowException, match=r"ca\.pem"):
        get_deploy_client("unroll")


@pytest.fixture
def unused_port():
    """A port that nobody listens on, and nobody else takes."""
    import socket

    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


def test_every_error_has_a_code():
    """Each error of the service has its own row in the table of MLflow's codes, as in that of gRPC's statuses."""
    assert set(mlflow_plugin.MLFLOW_CODES) == set(CODES)


@pytest.mark.usefixtures("served")
def test_update_creates_an_alias(deployments, registry):
    """`update` with an alias that does not exist creates it."""
    made = deployments.update_deployment("reference", "models:/reference/1", config={"alias": "canary"})
    assert (made["alias"], made["version"]) == ("canary", "1")
    assert registry.store.describe("reference").aliases["canary"] == "1"
    registry.store._client.delete_registered_model_alias("reference", "canary")
