"""Versions made by the installed wheel are standard MLflow models: anyone with MLflow and Keras computes the same."""

import json
import urllib.request

import numpy as np
import pytest

from tests.outside.environments import ROOT
from tests.ports import free_port
from tests.service.support import eventually

HERE = ROOT / "tests" / "outside"
VERSIONS = [("reference", "1"), ("reference", "2"), ("reference", "3")] + [
    (name, "1") for name in ("softmax", "scaled", "residual", "classes", "swept", "resumed", "registered")
]
WAYS = ("by_pyfunc", "by_keras", "by_command", "by_server")
pytestmark = pytest.mark.timeout(900)  # of a busy machine; a minute or two of a quiet one


@pytest.fixture(scope="module")
def made(installed):
    """The folder where the wheel's commands made versions, with what our server predicts by each."""
    installed.run(HERE / "make_versions.py")
    return installed.folder


@pytest.fixture(scope="module")
def store(made):
    """Where the versions are registered, as MLflow's users name it."""
    return {"MLFLOW_TRACKING_URI": f"sqlite:///{made}/mlflow.db"}


@pytest.fixture(scope="module")
def serving(made, bare, store):  # noqa: ARG001 - they must be there
    """`mlflow models serve`, which starts slowly, of the version trained first and of an override of an override."""
    servers = {}
    try:
        for number in ("1", "3"):
            port = free_port()
            arguments = ("--model-uri", f"models:/reference/{number}", "--port", port, "--env-manager", "local")
            servers[number] = port, bare.start("-m", "mlflow", "models", "serve", *arguments, **store)
        yield servers
    finally:
        for _, process in servers.values():
            process.terminate()
        for _, process in servers.values():
            process.wait(60)


@pytest.fixture(scope="module")
def found(made, bare, store, serving):  # noqa: ARG001 - they start meanwhile
    """What each way of reading gave for each version, where nothing of ours is installed."""
    bare.run(HERE / "read_versions.py", made, **store)
    return dict(np.load(bare.folder / "found.npz"))


def same(actual, made, name, number):
    """Whether predictions are those of our server, as far as rounding goes."""
    expected = np.load(made / f"{name}-{number}.npz")["expected"]
    assert actual.dtype.kind == "f", actual
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("name", "number"), VERSIONS, ids=map("-".join, VERSIONS))
def test_a_version_is_read_anywhere(made, found, way, name, number):
    """However a version came to be, whatever of MLflow's and Keras's reads it elsewhere gives our server's numbers."""
    same(found[f"{way} {name} {number}"], made, name, number)


@pytest.mark.parametrize("number", ["1", "3"])
def test_mlflow_serves_a_version(made, serving, number):
    """`mlflow models serve` answers with our server's numbers."""
    port, process = serving[number]

    def answers():
        assert process.poll() is None, process.log.read_text()
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=5) as response:
                return response.status == 200
        except OSError:
            return False

    eventually(answers, timeout=240)
    x = np.load(made / f"reference-{number}.npz")["inputs"]
    body = json.dumps({"inputs": x.tolist()}).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}/invocations", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as response:
        same(np.asarray(json.loads(response.read())["predictions"]), made, "reference", number)
