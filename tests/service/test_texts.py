"""Networks that read text, from a file of Keras to an answer: registered by the command, served, asked by string.

One of them our reader computes; the other has a layer that only Keras knows (`--engine tensorflow`).
"""

import json

import mlflow
import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.http as triton_http
from mlflow.deployments import get_deploy_client
from typer.testing import CliRunner

from registry.cache import Cache
from service import cli
from service.config import ServerConfig
from service.errors import InvalidArgumentError
from service.supervisor.fetching import Versions
from tests.service.support import entry, serving
from tests.service.web.support import web

LABELS = ("praise", "complaint", "question")
TEXTS = np.array([["A lovely film!"], ["why so long, why?"], ["日本 — ÉTÉ"], [""]], object)
READ, THROUGH_KERAS = "opinions", "convolved"


def networks():
    """Two classifiers of text, by name."""
    from keras import Input, Sequential, layers, utils

    utils.set_random_seed(7)
    words = ["a", "lovely", "film", "why", "so", "long", "日本"]

    def classifier(*between):
        text = layers.TextVectorization(vocabulary=words, output_sequence_length=6, name="words")
        head = layers.Dense(3, activation="softmax", name="opinion")
        return Sequential([Input((1,), dtype="string", name="text"), text, *between, head])

    return {
        READ: classifier(layers.Embedding(9, 4, mask_zero=True), layers.GRU(5)),
        THROUGH_KERAS: classifier(
            layers.Embedding(9, 4), layers.Reshape((6, 4, 1, 1)), layers.ConvLSTM2D(2, (3, 1)), layers.Flatten()
        ),
    }


@pytest.fixture(scope="module")
def expected(registry, tmp_path_factory):
    """What Keras computes of the texts, by model; both models are registered, with labels in a file and in a list."""
    folder = tmp_path_factory.mktemp("texts")
    (folder / "labels.txt").write_text("\n".join(LABELS) + "\n")
    np.savez(folder / "inputs.npz", text=TEXTS.astype(str))
    options = {
        READ: ["--labels", folder / "labels.txt", "--proof-from", folder / "inputs.npz"],
        THROUGH_KERAS: ["--labels", ",".join(LABELS), "--engine", "tensorflow"],
    }
    found = {}
    for name, model in networks().items():
        model.save(folder / f"{name}.keras")
        words = ["register", folder / f"{name}.keras", "--name", name, "--alias", "champion", *options[name]]
        done = CliRunner().invoke(cli.app, [str(word) for word in words], env=registry.env)
        assert done.exit_code == 0, done.output
        assert "registered, proven" in done.output
        found[name] = np.asarray(model(TEXTS))
    return found


@pytest.fixture(scope="module")
def client(expected, registry, tmp_path_factory):
    """A client of a server of both, which have come from the registry and through a trial as in every server."""
    config = ServerConfig(tuple(f"models:/{name}@champion" for name in expected), engine="tensorflow")
    versions = Versions(Cache(tmp_path_factory.mktemp("cache")), config)
    versions.open_store(lambda: registry.store)
    models = [entry(name, "champion", v1=versions.fetch(name, "1")) for name in expected]
    with serving(*models) as (_, client):
        yield client


@pytest.mark.parametrize("name", [READ, THROUGH_KERAS])
def test_our_protocol(client, expected, name):
    """Strings go in as they are, and the classes come out with their labels."""
    for given in (TEXTS, TEXTS.tolist(), TEXTS.astype(str)):
        found = client.predict(given, model=name, top_classes=3)
        np.testing.assert_allclose(found.output, expected[name], atol=1e-6)
    best = [one.label for one in found.classes["opinion"][:, 0]]
    assert best == [LABELS[i] for i in expected[name].argmax(-1)]
    (version,) = client.model(name).versions
    assert tuple(version.data.classes) == LABELS
    assert ("tensorflow" in version.engine) == (name == THROUGH_KERAS)
    with pytest.raises(InvalidArgumentError, match="expected DATA_TYPE_STRING, got DATA_TYPE_FLOAT32"):
        client.predict(np.ones((1, 1), np.float32), model=name)


@pytest.mark.parametrize("name", [READ, THROUGH_KERAS])
def test_the_standard_protocol(client, expected, name):
    """BYTES go in, over gRPC and over HTTP in both forms, and classes come out with their labels."""
    encoded = np.array([[text.encode()] for (text,) in TEXTS], object)
    best = [LABELS[i] for i in expected[name].argmax(-1)]

    def ask(library, standard, **options):
        given = library.InferInput("text", TEXTS.shape, "BYTES")
        given.set_data_from_numpy(encoded, **options)
        plain = library.InferRequestedOutput("opinion")
        found = standard.infer(name, [given], outputs=[plain]).as_numpy("opinion")
        np.testing.assert_allclose(found, expected[name], atol=1e-6)
        wanted = library.InferRequestedOutput("opinion", class_count=1, **options)
        classes = standard.infer(name, [given], outputs=[wanted]).as_numpy("opinion").ravel()
        shown = [one.decode() if isinstance(one, bytes) else one for one in classes]
        assert [one.split(":")[2] for one in shown] == best

    with triton.InferenceServerClient(client.address) as standard:
        ask(triton, standard)
    with web(client) as address, triton_http.InferenceServerClient(address) as standard:
        ask(triton_http, standard, binary_data=True)
        ask(triton_http, standard, binary_data=False)


def test_commands(client, expected):
    """`unroll predict` and MLflow's deployment client take strings."""
    env = {"UNROLL_ADDRESS": client.address, "UNROLL_TOKEN": ""}
    words = ["predict", json.dumps(TEXTS.tolist()), "--model", READ, "--top", "1", "--json"]
    done = CliRunner().invoke(cli.app, words, env=env)
    shown = json.loads(done.output)
    np.testing.assert_allclose(shown["outputs"]["opinion"], expected[READ], atol=1e-6)
    assert shown["classes"]["opinion"][0][0]["label"] == LABELS[expected[READ][0].argmax()]
    found = get_deploy_client(f"unroll://{client.address}").predict(READ, {"inputs": TEXTS.tolist()})
    np.testing.assert_allclose(found["predictions"], expected[READ], atol=1e-6)


@pytest.mark.usefixtures("registry")
@pytest.mark.parametrize("name", [READ, THROUGH_KERAS])
def test_mlflow_opens_the_version(expected, name):
    """MLflow's signature takes a vector of texts, the one form that Keras's `predict` takes, and MLflow predicts."""
    uri = f"models:/{name}@champion"
    signature = mlflow.models.get_model_info(uri).signature
    ((kind, shape),) = [(spec.type, spec.shape) for spec in signature.inputs]
    assert (kind.kind, shape) == ("O", (-1,))
    loaded = mlflow.pyfunc.load_model(uri)
    np.testing.assert_allclose(loaded.predict(TEXTS[:, 0]), expected[name], atol=1e-6)
    assert loaded.predict(loaded.input_example).shape[1] == 3
