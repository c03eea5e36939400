"""The store against MLflow itself: a registry in a SQLite file, and one behind a server that keeps the files."""

import http.server
import re
import socket
import sys
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest

from registry import artifact, tag
from registry.cache import MODEL_FILE, PROOF_FILE, Cache
from registry.entries import RegisteredModel
from registry.errors import (
    ArtifactRefusedError,
    RegistryConflictError,
    RegistryDeniedError,
    RegistryError,
    RegistryNotFoundError,
    RegistryUnavailableError,
)
from registry.location import uris
from registry.references import Reference, parse
from registry.run import BATCH
from registry.store import LARGEST_VERSION, Store, ui_command
from service.model import keras_file, proof
from tests.service.support import R2_INPUTS, R3_INPUTS, keep, r2, r3


@pytest.fixture(scope="module", autouse=True)
def early(starting):
    """Lets the server start while the tests that do not need it run."""


@pytest.fixture(scope="module")
def networks(early, tmp_path_factory):  # noqa: ARG001 - see there
    """Keras models by name, each with the folder of its file and proof."""
    root = tmp_path_factory.mktemp("networks")
    made = {"r3": (r3(), R3_INPUTS), "r2": (r2(), R2_INPUTS)}
    for name, (model, inputs) in made.items():
        keep(model, root / name, inputs)
    return {name: (model, inputs, root / name) for name, (model, inputs) in made.items()}


@pytest.fixture
def name(request):
    """A name of the test's own."""
    return re.sub(r"\W", "_", request.node.name)


def register(store, name, network, tags=None):
    """Registers a Keras model within a run, as the training does; gives the version and the run."""
    _, inputs, folder = network
    read = keras_file.read(folder / MODEL_FILE)
    with store.run(name, "run", {}) as run:
        version = run.register(
            name,
            folder / MODEL_FILE,
            proof_file=folder / PROOF_FILE,
            example={"x": inputs},
            inputs=read.inputs,
            outputs=read.outputs,
            tags=tags or {},
        )
    return version, run


def client():
    """MLflow's own client, to see what there is."""
    from mlflow import MlflowClient

    return MlflowClient()


def numbers(name):
    """The versions that MLflow finds under a name."""
    return {str(version.version) for version in client().search_model_versions(f"name = '{name}'")}


def logged_models(experiment):
    """The states of the logged models of an experiment."""
    found = client().search_logged_models([client().get_experiment_by_name(experiment).experiment_id])
    return [str(model.status) for model in found]


# Registering and reading.


def test_a_registered_version_is_found_with_its_tags(place, folder, name):
    """A version is there with the tags it was registered with, the digest of its network, and no alias."""
    store, _ = place
    version = store.register(name, folder(b"network"), {tag.KIND: "trained", "note": "a, b = c"})
    assert (version.name, version.number, version.run_id) == (name, "1", "")
    digest = artifact.digest(folder(b"network") / artifact.KERAS_FILE)
    assert version.tags == {tag.KIND: "trained", "note": "a, b = c", tag.DIGEST: digest}
    assert store.version(name, "1") == version
    assert store.resolve(Reference(name, version="1")) == version
    assert store.describe(name) == RegisteredModel(name, {})
    assert store.register(name, folder(b"another"), {}).number == "2"


def test_what_is_downloaded_is_what_was_registered(place, folder, name, tmp_path):
    """All files come back as they were registered, and the MLmodel says which model it is of."""
    store, _ = place
    made = folder(bytes(range(256)) * 1000, b"proof", **{"requirements.txt": b"keras\n", "empty": b""})
    store.register(name, made, {})
    into = tmp_path / "deep" / "into"
    assert store.download(name, "1", into) == into
    given, found = (
        {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}
        for root in (made, into)
    )
    assert found.pop(artifact.DOWNLOADED)
    assert found == given
    assert artifact.read_mlmodel(into)["model_id"].startswith("m-")
    assert artifact.read_mlmodel(into)["flavors"] == {"keras": {"data": "data"}}


def test_names_that_references_allow_can_be_registered(place, folder, name, tmp_path):
    """A name with dots, spaces, dashes and digits is registered, resolved and downloaded like any other."""
    store, _ = place
    odd = f"{name} 1.0-a.b"
    store.register(odd, folder(), {})
    store.set_alias(odd, "123", "1")
    assert store.resolve(parse(f"models:/{odd}@123")).number == "1"
    assert (store.download(odd, "1", tmp_path / "into") / artifact.KERAS_FILE).read_bytes() == b"network"


def test_a_trained_version_belongs_to_its_run(place, networks, name, tmp_path):
    """A version that a run registered names the run, its network is read, and it reproduces its proof."""
    store, _ = place
    version, run = register(store, name, networks["r3"], {tag.KIND: "trained"})
    assert version.run_id == run.run_id
    assert version.created > 1_700_000_000
    path, digest = Cache(tmp_path).fetch(store, version)
    assert digest == version.tags[tag.DIGEST] == artifact.digest(networks["r3"][2] / MODEL_FILE)
    assert proof.replay(keras_file.read(path / MODEL_FILE), proof.load(path / PROOF_FILE)) <= 1


def test_mlflow_itself_loads_what_was_registered(place, networks, name):
    """MLflow's own loader takes a version by its alias, and predicts what our network gives."""
    import mlflow.pyfunc

    store, _ = place
    for network, output in (("r3", "output"), ("r2", "rnn")):
        version, _ = register(store, name, networks[network])
        store.set_alias(name, "champion", version.number)
        loaded = mlflow.pyfunc.load_model(f"models:/{name}@champion")
        _, inputs, folder = networks[network]
        predicted = np.asarray(loaded.predict(inputs))
        assert loaded.metadata.signature.inputs.inputs[0].shape == (-1, -1, 2)
        proof.replay(
            keras_file.read(folder / MODEL_FILE), proof.Proof({"x": inputs}, {output: predicted}, {}, made_by="mlflow")
        )


@pytest.mark.parametrize("flavor", ["keras", "tensorflow"])
def test_versions_that_mlflow_logged_are_read(place, networks, name, flavor, tmp_path):
    """A model that someone logged and registered with MLflow's own flavors is downloaded, read and right."""
    import importlib

    import mlflow

    store, _ = place
    model, _, folder = networks["r3"]
    with mlflow.start_run(experiment_id="0"):
        importlib.import_module(f"mlflow.{flavor}").log_model(
            model, name="model", registered_model_name=name, pip_requirements=[]
        )
    version = store.resolve(Reference(name, version="1"))
    assert tag.DIGEST not in version.tags
    path, _ = Cache(tmp_path).fetch(store, version)
    assert not (path / PROOF_FILE).exists()
    assert proof.replay(keras_file.read(path / MODEL_FILE), proof.load(folder / PROOF_FILE)) <= 1


# Deriving, aliases, deleting.


def test_a_derived_version_is_like_its_base(place, networks, name, tmp_path):
    """A version derived from another has the new network and the base's everything else, in its experiment."""
    store, _ = place
    base, run = register(store, name, networks["r3"])
    other = networks["r2"][2]
    tags = {tag.KIND: "override", tag.BASE_VERSION: base.number}
    derived = store.derive(name, base.number, other / MODEL_FILE, other / PROOF_FILE, tags)

    assert derived.number == "2"
    assert derived.tags == {**tags, tag.DIGEST: artifact.digest(other / MODEL_FILE)}
    assert derived.run_id == ""
    files = store.download(name, derived.number, tmp_path / "derived")
    before = store.download(name, base.number, tmp_path / "base")
    assert (files / PROOF_FILE).read_bytes() == (other / PROOF_FILE).read_bytes()
    for kept in ("requirements.txt", "conda.yaml", "python_env.yaml"):
        assert (files / kept).read_bytes() == (before / kept).read_bytes()
    old, new = artifact.read_mlmodel(before), artifact.read_mlmodel(files)
    assert new["signature"] == old["signature"]
    assert new["model_id"] != old["model_id"]
    assert old["run_id"] == run.run_id
    assert "run_id" not in new
    assert client().get_logged_model(new["model_id"]).experiment_id == run.experiment_id
    assert store.version(name, base.number) == base


def test_a_derived_version_may_have_no_proof(place, folder, name, tmp_path):
    """The proof of the base says nothing of another network, so it is not kept."""
    store, _ = place
    store.register(name, folder(), {})
    other = tmp_path / "other"
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("config.json", "{}")
    store.derive(name, "1", other, None, {})
    files = store.download(name, "2", tmp_path / "into")
    assert (files / artifact.KERAS_FILE).read_bytes() == other.read_bytes()
    assert not (files / PROOF_FILE).exists()


def test_an_alias_moves_only_from_where_it_is_expected(place, folder, name):
    """An alias moves if it points where the caller believes, else nothing changes and the error says where it is."""
    store, _ = place
    for _ in range(2):
        store.register(name, folder(), {})
    with pytest.raises(RegistryConflictError, match=r"points at version \(none\), not at 1"):
        store.move_alias(name, "champion", "2", expected="1")
    store.move_alias(name, "champion", "1", expected="")
    assert store.describe(name).aliases == {"champion": "1"}
    for wrong, said in (("", r"\(none\)"), ("2", "2")):
        with pytest.raises(RegistryConflictError, match=f"points at version 1, not at {said}"):
            store.move_alias(name, "champion", "2", expected=wrong)
    assert store.describe(name).aliases == {"champion": "1"}
    store.move_alias(name, "champion", "2", expected="1")
    assert store.resolve(parse(f"models:/{name}@champion")).number == "2"


def test_tags_of_a_version_are_set_and_replaced(place, folder, name):
    """Tags are added to those there are, and a tag that is set again has the later value."""
    store, _ = place
    store.register(name, folder(), {"a": "1", "b": "1"})
    store.set_tags(name, "1", {"b": "2", f"{tag.MOVED}.champion": "alice: from 3: because = ü"})
    tags = dict(store.version(name, "1").tags)
    assert tags.pop(tag.DIGEST)
    assert tags == {"a": "1", "b": "2", f"{tag.MOVED}.champion": "alice: from 3: because = ü"}


def test_a_version_is_described_anew(place, folder, name):
    """A description replaces the one with which the version was registered."""
    store, _ = place
    made = store.register(name, folder(), {}, description="before")
    store.describe_version(name, made.number, "after")
    assert client().get_model_version(name, made.number).description == "after"


def test_deleting_a_version_removes_its_aliases(place, folder, name, tmp_path):
    """A deleted version is gone with the aliases on it, and other versions with theirs stay."""
    store, _ = place
    for alias in ("old", "champion"):
        store.set_alias(name, alias, store.register(name, folder(), {}).number)
    store.delete_version(name, "2")
    assert store.describe(name).aliases == {"old": "1"}
    assert numbers(name) == {"1"}
    for gone in ("2@", "@champion"):
        with pytest.raises(RegistryNotFoundError):
            store.resolve(Reference(name, gone[:1].strip("@"), gone[1:]))
    with pytest.raises(RegistryNotFoundError):
        store.download(name, "2", tmp_path / "into")
    assert store.register(name, folder(), {}).number == "3"


def test_what_does_not_exist_is_not_found(place, folder, name, tmp_path):
    """Every question about a model, version or alias that is not there is answered by the one typed error."""
    store, _ = place
    calls = [
        lambda n: store.version(n, "7"),
        lambda n: store.resolve(Reference(n, version="7")),
        lambda n: store.resolve(Reference(n, alias="nobody")),
        lambda n: store.download(n, "7", tmp_path / "into"),
        lambda n: store.derive(n, "7", tmp_path / "model", None, {}),
        lambda n: store.move_alias(n, "champion", "7", expected=""),
        lambda n: store.set_alias(n, "champion", "7"),
        lambda n: store.set_tags(n, "7", {"a": "b"}),
        lambda n: store.describe_version(n, "7", "text"),
        lambda n: store.delete_version(n, "7"),
    ]
    store.register(name, folder(), {})
    for call in [*calls, store.describe]:
        with pytest.raises(RegistryNotFoundError, match=r"^no |^version 7 of "):
            call(f"{name}-unknown")
    for call in calls:
        with pytest.raises(RegistryNotFoundError, match=r"^no |^version 7 of "):
            call(name)
    assert store.describe(name).aliases == {}
    assert not (tmp_path / "into").exists()


# Failures.


def test_a_version_whose_upload_fails_does_not_appear(place, folder, name, monkeypatch):
    """Where files cannot be stored there is no version, no alias moves, and no half model is left ready."""
    store, files = place
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
    with store.run(name, "run", {}) as run:
        store.set_alias(name, "champion", store.register(name, folder(), {}, experiment_id=run.experiment_id).number)
    storage = files / run.experiment_id / "models"
    assert storage.is_dir()
    storage.rename(storage.with_name("away"))
    storage.write_text("a file where a folder must be")
    with pytest.raises((RegistryError, OSError)):
        store.register(name, folder(b"other"), {}, experiment_id=run.experiment_id)
    assert numbers(name) == {"1"}
    assert store.describe(name).aliases == {"champion": "1"}
    assert logged_models(name) == ["READY"]

    storage.unlink()
    storage.with_name("away").rename(storage)
    assert store.register(name, folder(b"other"), {}, experiment_id=run.experiment_id).number == "2"


def test_files_that_are_missing_in_the_registry_are_not_found(store, folder, name, tmp_path):
    """A version whose files someone removed from the storage is reported as one without files."""
    version = store.register(name, folder(), {})
    location = client().get_logged_model(client().get_model_version(name, version.number).source.split("/")[1])
    stored = tmp_path.joinpath(location.artifact_location.removeprefix("file://"))
    (stored / artifact.KERAS_FILE).unlink()
    with pytest.raises(RegistryError, match=r"no file data/model\.keras"):
        store.download(name, version.number, tmp_path / "into")
    assert not (tmp_path / "into").exists()


def test_what_is_refused_is_not_downloaded(place, folder, name, tmp_path):
    """A version with a pickle in it, or one nested without end, is refused by its listing, and nothing is written."""
    store, _ = place
    store.register(name, folder(**{"model.pkl": b"pickle"}), {})
    nested = folder()
    deep = nested.joinpath(*"abcdefghij")
    deep.mkdir(parents=True)
    (deep / "file").write_bytes(b"")
    store.register(name, nested, {})
    for number, why in (("1", r"model\.pkl is a pickle"), ("2", "nested too deeply")):
        with pytest.raises(ArtifactRefusedError, match=why):
            store.download(name, number, tmp_path / "into")
    assert not (tmp_path / "into").exists()


def test_a_version_that_is_too_large_is_not_downloaded(store, folder, name, tmp_path):
    """A version is refused by the sum of its sizes before a byte of it is fetched."""
    store.register(name, folder(), {})
    location = client().get_logged_model(client().get_model_version(name, "1").source.split("/")[1]).artifact_location
    with tmp_path.joinpath(location.removeprefix("file://"), "data", "sparse").open("wb") as file:
        file.truncate(LARGEST_VERSION)
    with pytest.raises(ArtifactRefusedError, match=r"has \d+ bytes, the limit is 2147483648"):
        store.download(name, "1", tmp_path / "into")
    assert not (tmp_path / "into").exists()


def test_runs_that_begin_together_share_a_dataset(store, name):
    """Runs that name the same file in the same instant, one of which adds it to the registry, all name it."""
    rounds, together = 12, 4
    barrier = threading.Barrier(together)

    def begin(_):
        with store.run(name, "run", {}) as run:
            for number in range(rounds):
                barrier.wait(30)
                run.log_dataset(f"{name}-{number}", "/data/table.csv", "d" * 64, {})
            return run.run_id

    with store.run(name, "first", {}):  # makes the experiment
        pass
    with ThreadPoolExecutor(together) as pool:
        for run_id in pool.map(begin, range(together)):
            assert len(client().get_run(run_id).inputs.dataset_inputs) == rounds


CALLS = {
    "describe": lambda store, _: store.describe("model"),
    "version": lambda store, _: store.version("model", "1"),
    "resolve": lambda store, _: store.resolve(Reference("model", alias="champion")),
    "download": lambda store, folder: store.download("model", "1", folder / "into"),
    "set_alias": lambda store, _: store.set_alias("model", "champion", "1"),
    "set_tags": lambda store, _: store.set_tags("model", "1", {"a": "b"}),
    "describe_version": lambda store, _: store.describe_version("model", "1", "text"),
    "delete_version": lambda store, _: store.delete_version("model", "1"),
    "register": lambda store, folder: store.register("model", folder, {}),
    "run": lambda store, _: store.run("experiment", "run", {}).__enter__(),
}


@contextmanager
def answering(status, body, content_type="application/json"):
    """A server that gives every question one answer; gives its address."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815 - as the library calls them

        def log_message(self, *args):
            """Nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


@pytest.fixture
def remote(monkeypatch):
    """Makes the store of a tracking server, with no second tries."""

    def make(address):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        monkeypatch.delenv("MLFLOW_REGISTRY_URI", raising=False)
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        return Store()

    return make


@pytest.mark.parametrize("call", CALLS)
def test_a_server_that_is_not_there_is_unavailable(remote, folder, call):
    """Where nothing answers, every call says that the registry is unavailable."""
    with socket.socket() as bound:  # bound, but it does not listen
        bound.bind(("127.0.0.1", 0))
        store = remote(f"http://127.0.0.1:{bound.getsockname()[1]}")
        with pytest.raises(RegistryUnavailableError) as caught:
            CALLS[call](store, folder())
    assert "\n" not in str(caught.value)
    assert 0 < len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (500, b'{"error_code": "INTERNAL_ERROR", "message": "down"}', RegistryUnavailableError),
        (503, b"<html>try later</html>", RegistryUnavailableError),
        (502, b"", RegistryUnavailableError),
        (429, b"slow down", RegistryUnavailableError),
        (200, b"<html>log in here</html>", RegistryUnavailableError),
        (200, b"[1, 2]", RegistryUnavailableError),
        (200, b'{"registered_model": 7, "model_version": 7, "experiment": 7, "run": 7}', RegistryUnavailableError),
        (401, b'{"error_code": "UNAUTHENTICATED", "message": "who?"}', RegistryDeniedError),
        (403, b'{"error_code": "PERMISSION_DENIED", "message": "no"}', RegistryDeniedError),
        (401, b"You are not authenticated.", RegistryDeniedError),
        (403, b"Permission denied", RegistryDeniedError),
    ],
)
def test_answers_of_a_server_become_typed_errors(remote, folder, status, body, expected):
    """A server that fails, or talks nonsense, is unavailable; one that refuses us denies; every call tells alike."""
    with answering(status, body) as address:
        store = remote(address)
        for call in CALLS.values():
            with pytest.raises(expected) as caught:
                call(store, folder())
            assert "\n" not in str(caught.value)


# Runs.


def test_a_run_holds_what_was_logged(place, name, tmp_path):
    """A run that ends well is finished, and has its parameters, every point of its curve, its figures and files."""
    store, _ = place
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "loss.png").write_bytes(b"picture")
    curve = [1 / (step + 1) for step in range(BATCH + 5)]
    with store.run(name, "a run", {"tag": "value"}) as run:
        run.log_params({"units": 4, "activation": "tanh", "return_sequences": False})
        run.log_metrics("loss", curve)
        run.log_summary({"final_loss": curve[-1], "seconds": 2})
        run.log_files(tmp_path)

    found = client().get_run(run.run_id)
    assert (found.info.status, found.info.run_name, found.data.tags["tag"]) == ("FINISHED", "a run", "value")
    assert found.data.params == {"units": "4", "activation": "tanh", "return_sequences": "False"}
    assert found.data.metrics == {"loss": curve[-1], "final_loss": curve[-1], "seconds": 2}
    history = client().get_metric_history(run.run_id, "loss")
    assert sorted((point.step, point.value) for point in history) == list(enumerate(curve))
    assert [entry.path for entry in client().list_artifacts(run.run_id, "figures")] == ["figures/loss.png"]


def test_runs_of_one_experiment_share_it(place, name):
    """An experiment is made by its first run and used by the next."""
    store, _ = place
    ids = set()
    for _ in range(2):
        with store.run(name, "run", {}) as run:
            ids.add(run.experiment_id)
    assert ids == {client().get_experiment_by_name(name).experiment_id}


@pytest.mark.parametrize(
    ("error", "status"), [(KeyboardInterrupt, "KILLED"), (ValueError, "FAILED"), (RegistryConflictError, "FAILED")]
)
def test_a_run_that_ends_early_says_how(store, name, error, status):
    """A run that is interrupted is marked as killed, one that raises as failed, and the error goes on."""
    with pytest.raises(error), store.run(name, "run", {}) as run:
        raise error
    assert client().get_run(run.run_id).info.status == status


# Settings.


def test_the_store_is_where_mlflows_variables_say(monkeypatch):
    """Tracking and registry are taken from MLflow's variables, and are one local file where they say nothing."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("MLFLOW_REGISTRY_URI", raising=False)
    assert uris() == ("sqlite:///mlflow.db", "sqlite:///mlflow.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://a")
    assert uris() == ("http://a", "http://a")
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", "http://b")
    assert uris() == ("http://a", "http://b")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    assert uris() == ("sqlite:///mlflow.db", "http://b")


def test_the_interface_is_mlflows_own(monkeypatch):
    """The command for the interface starts MLflow on the store, unless a server shows it already."""
    monkeypatch.delenv("MLFLOW_REGISTRY_URI", raising=False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///here.db")
    command = ui_command("127.0.0.1", 5001)
    assert command[:4] == [sys.executable, "-m", "mlflow", "server"]
    options = dict(zip(command[4::2], command[5::2], strict=True))
    assert (options["--host"], options["--port"]) == ("127.0.0.1", "5001")
    assert options["--backend-store-uri"] == options["--registry-store-uri"] == "sqlite:///here.db"
    for address in ("http://server:5000", "https://server"):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        with pytest.raises(RegistryError, match=f"open {address}"):
            ui_command("127.0.0.1", 5001)
