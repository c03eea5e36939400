"""Registering files that exist: what Keras saved becomes a version that is proven, or nothing is registered."""

import re
import subprocess
import sys

import keras
import mlflow
import numpy as np
import pytest
from keras import layers

from registry import artifact, mlmodel, tag
from registry.errors import ArtifactRefusedError
from registry.references import parse
from registry.store import Store
from service.convert import conversion
from service.errors import InvalidArgumentError, UnsupportedModelError
from service.model import keras_file
from service.model import proof as proofs
from tests.service.convert import keras2
from training.proving import prove
from training.registering import register, repair

pytestmark = pytest.mark.usefixtures("registry")


def two_inputs():
    """Ids with padding, numbers beside them, two outputs, three recurrent layers."""
    ids, x = keras.Input((None,), dtype="int32", name="ids"), keras.Input((None, 2), name="x")
    words = layers.Embedding(7, 3, mask_zero=True, name="words")(ids)
    read = layers.GRU(3, name="read")(words)
    both = layers.Bidirectional(layers.LSTM(2, return_sequences=True), name="both")(x)
    last = layers.LSTM(2, name="last")(both)
    return keras.Model([x, ids], {"a": layers.Dense(1, name="a")(read), "b": layers.Dense(2, name="b")(last)})


def plain():
    """A recurrent layer and no more."""
    return keras.Sequential([keras.Input((4, 2), name="x"), layers.SimpleRNN(3, name="rnn")])


@pytest.fixture
def saved(tmp_path):
    """Saves a model; gives its file."""

    def save(model):
        model.save(tmp_path / "mine.keras")
        return tmp_path / "mine.keras"

    return save


def files(name, number, folder):
    """The files of a version."""
    return Store().download(name, number, folder / "downloaded")


def test_a_file_becomes_a_version(saved, tmp_path):
    """The version holds the file, byte for byte, and Keras's proof; MLflow loads it and predicts what Keras does."""
    model = plain()
    file = saved(model)
    made = register(file, "plain", alias="champion")
    assert Store().resolve(parse("models:/plain@champion")).number == made.version
    assert Store().version("plain", made.version).tags[tag.KIND] == "registered"
    downloaded = files("plain", made.version, tmp_path)
    assert (downloaded / artifact.KERAS_FILE).read_bytes() == file.read_bytes()
    proof = proofs.load(downloaded / artifact.PROOF_FILE)
    assert proof.made_by == "keras"
    assert np.array_equal(proof.outputs["rnn"], np.asarray(model(proof.inputs["x"])))
    assert proof.states.keys() == {"rnn/hidden_state"}
    x = np.random.default_rng(1).normal(size=(2, 4, 2)).astype(np.float32)
    loaded = mlflow.pyfunc.load_model(f"models:/plain/{made.version}")
    assert np.allclose(loaded.predict(x), np.asarray(model(x)), atol=1e-6)


def test_any_graph_is_proven(saved, tmp_path):
    """Several inputs and outputs, masks and layers of both directions: outputs and the states that can be seen."""
    model = two_inputs()
    rng = np.random.default_rng(2)
    inputs = {
        "ids": np.array([[1, 2, 0, 0], [3, 4, 5, 6]], np.int32),
        "x": rng.normal(size=(2, 4, 2)).astype(np.float32),
    }
    np.savez(tmp_path / "inputs.npz", **inputs)
    made = register(saved(model), "two", proof_from=tmp_path / "inputs.npz")
    assert 0 <= made.parity <= 1
    proof = proofs.load(files("two", made.version, tmp_path) / artifact.PROOF_FILE)
    expected = model([inputs["x"], inputs["ids"]])
    assert all(np.allclose(proof.outputs[name], np.asarray(value), atol=1e-6) for name, value in expected.items())
    assert proof.states.keys() == {"read/hidden_state", "last/hidden_state", "last/cell_state"}
    assert np.array_equal(proof.inputs["ids"], inputs["ids"])
    assert Store().describe("two").aliases == {}


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"x": np.ones((1, 5, 2))}, "takes only"),
        ({"x": np.ones((1, 4, 2)), "y": np.ones(1)}, "no input named 'y'"),
        ({"a": np.array(["text"])}, "x holds"),
        (b"not an archive", "not an .npz file"),
    ],
)
def test_inputs_of_a_proof_that_do_not_fit(saved, tmp_path, arrays, said):
    """Inputs of another shape, name or kind are an error that says so, and nothing is registered."""
    if isinstance(arrays, bytes):
        (tmp_path / "inputs.npz").write_bytes(arrays)
    else:
        np.savez(tmp_path / "inputs.npz", **arrays)
    with pytest.raises(InvalidArgumentError, match=said):
        register(saved(plain()), "never", proof_from=tmp_path / "inputs.npz")
    assert [m for m in mlflow.MlflowClient().search_registered_models() if m.name == "never"] == []


def test_ids_of_chance_are_ids(saved, tmp_path):
    """A network that takes its ids as floats, as Keras makes it unless told otherwise, is proven by ids of chance."""
    read = [layers.Embedding(50, 3, mask_zero=True, name="words"), layers.GRU(3, name="read")]
    made = register(saved(keras.Sequential([keras.Input((None,), name="ids"), *read])), "words")
    proof = proofs.load(files("words", made.version, tmp_path) / artifact.PROOF_FILE)
    ids = proof.inputs["ids"]
    assert ids.dtype == np.float32
    assert np.array_equal(ids, np.clip(ids.astype(int), 0, 49))
    assert len(np.unique(ids)) > 10


class Mine(keras.metrics.Metric):
    """A metric that only this file has."""

    def update_state(self, *_, **__):
        pass

    def result(self):
        return 0.0


def compiled():
    """A model compiled with that metric."""
    model = plain()
    model.compile("adam", "mse", metrics=[Mine(name="mine")])
    model.fit(np.zeros((1, 4, 2)), np.zeros((1, 3)), verbose=0)
    return model


def same_weights(a, b):
    """Whether Keras, who knows nothing of this file's classes, finds the same weights in two files."""
    first, second = keras.saving.load_model(a), keras.saving.load_model(b, compile=False)
    return all(np.array_equal(x, y) for x, y in zip(first.get_weights(), second.get_weights(), strict=True))


def test_a_metric_of_one_s_own_is_left_out(saved, tmp_path):
    """What only the maker of a file has is left out when the file is registered, and said; the weights stay."""
    file = saved(compiled())
    with pytest.raises(TypeError, match="Mine"):
        keras.saving.load_model(file)
    made = register(file, "mine")
    assert any("Mine" in note for note in made.notes)
    version = files("mine", made.version, tmp_path)
    assert same_weights(version / artifact.KERAS_FILE, file)


def test_a_version_that_is_registered_can_be_mended(saved, tmp_path, home):
    """`--repair` makes a version with the same weights, proof and tags; a second time there is nothing to mend."""
    file, network = saved(compiled()), keras_file.read(saved(compiled()))
    proof = tmp_path / "proof.npz"
    prove(file, {"x": np.zeros((1, 4, 2), np.float32)}, network).save(proof)
    directory = tmp_path / "made"
    mlmodel.build(directory, file, proof, {"x": np.zeros((1, 4, 2), np.float32)}, network.inputs, network.outputs)
    store = Store()
    base = store.register("broken", directory, {tag.KIND: "trained", "mine": "kept", f"{tag.MOVED}.champion": "x"})
    store.set_alias("broken", "champion", base.number)
    command = [sys.executable, "-m", "service.cli", "register", "--repair"]
    done = subprocess.run(
        [*command, "models:/broken/1", "--alias", "new"], capture_output=True, text=True, check=True, cwd=home
    )
    assert re.search(r"broken version 2 registered: the weights of version 1, without \S*Mine\n", done.stdout)
    assert store.describe("broken").aliases == {"champion": "1", "new": "2"}
    tags = dict(store.version("broken", "2").tags)
    assert tags.pop(tag.DIGEST) != base.tags[tag.DIGEST]
    assert "Mine" in tags.pop(tag.REASON)
    assert tags == {tag.KIND: "repaired", tag.BASE_VERSION: "1", "mine": "kept"}
    version = files("broken", "2", tmp_path)
    assert same_weights(version / artifact.KERAS_FILE, file)
    assert (version / artifact.PROOF_FILE).read_bytes() == proof.read_bytes()
    again = repair("models:/broken@new")
    assert (again.base, again.version) == ("2", "")
    assert len(mlflow.MlflowClient().search_model_versions("name='broken'")) == 2


def test_a_stateful_file_is_proven_by_as_many_sequences_as_it_takes(saved):
    """A file for batches of one size is registered without inputs of one's own, whoever computes it."""
    gru = layers.GRU(3, stateful=True, name="gru")
    assert register(saved(keras.Sequential([keras.Input(batch_shape=(4, 5, 2)), gru])), "stateful").parity <= 1
    convolving = [layers.ConvLSTM2D(2, 3, stateful=True, name="convolving"), layers.Flatten()]
    model = keras.Sequential([keras.Input(batch_shape=(4, 5, 6, 3, 2)), *convolving])
    assert register(saved(model), "stateful", engine="tensorflow").parity <= 1


def test_inputs_of_chance_that_do_not_fit(saved):
    """Where inputs of chance are none for the network, inputs are asked for."""
    read = [layers.Reshape((3, 2)), layers.Embedding(5, 3, name="words"), layers.Reshape((3, 6)), layers.GRU(3)]
    with pytest.raises(InvalidArgumentError, match=r"give inputs with --proof-from.*words.*is not within 0:5"):
        register(saved(keras.Sequential([keras.Input((6,)), *read])), "never")


def test_an_older_file_is_converted_first():
    """An `.h5` file of Keras 2 becomes a version that Keras 3 proves; tags have its origin and what was rewritten."""
    made = register(keras2.FOLDER / "gates.h5", "old")
    assert made.parity <= 1
    tags = Store().resolve(parse(f"models:/old/{made.version}")).tags
    assert tags[tag.CONVERTED_FROM] == "Keras 2.0.2, .h5"
    assert "hard_sigmoid is Keras 2's" in tags[tag.REWRITTEN]
    assert made.notes[0] == "converted from Keras 2.0.2, .h5:"


def test_a_converted_file_keeps_its_origin(tmp_path):
    """A file that `unroll convert` wrote says where it is from when it is registered later, too."""
    conversion.convert([keras2.FOLDER / "stateful.h5"], tmp_path / "new.keras")
    made = register(tmp_path / "new.keras", "old")
    assert made.parity <= 1
    tags = Store().resolve(parse(f"models:/old/{made.version}")).tags
    assert tags[tag.CONVERTED_FROM] == "Keras 2.21.0, .h5"


def logged(name, folder, files):
    """A version as MLflow 2 logged it: its files, with what is never to be read beside them."""
    for path, data in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    client = mlflow.MlflowClient()
    client.create_registered_model(name)
    return str(client.create_model_version(name, folder.as_uri()).version)


def test_a_version_of_keras_2_becomes_one_that_is_served(tmp_path):
    """Of an `.h5` version with a pickle beside it, the network alone becomes a new version that says what it is of."""
    files = {
        "MLmodel": b"flavors: {tensorflow: {data: data}}\n",
        "data/model.h5": (keras2.FOLDER / "gates.h5").read_bytes(),
        "data/global_custom_objects.cloudpickle": b"never read",
    }
    number = logged("second", tmp_path / "logged", files)
    made = repair(f"models:/second/{number}", alias="champion")
    found = Store().resolve(parse("models:/second@champion"))
    assert found.number == made.version != number
    assert (found.tags[tag.BASE_VERSION], found.tags[tag.CONVERTED_FROM]) == (number, "Keras 2.0.2, .h5")
    folder = Store().download("second", made.version, tmp_path / "served")
    network = keras_file.read(artifact.keras_file(folder))
    wanted = keras2.numbers("gates.h5", "y")[0]
    np.testing.assert_allclose(keras2.outputs(network, "gates.h5")[0], wanted, atol=1e-6)
    assert not list(folder.rglob("*.cloudpickle"))


def test_a_wrapper_is_unwrapped_where_that_is_asked_for(saved, tmp_path):
    """A `.keras` file inside a wrapper in Python is registered alone, with `unwrap`; code is never downloaded."""
    files = {
        "MLmodel": b"flavors: {python_function: {loader_module: mlflow.pyfunc.model}}\n",
        "python_model.pkl": b"never read",
        "artifacts/net.keras": saved(plain()).read_bytes(),
    }
    number = logged("wrapped", tmp_path / "logged", files)
    with pytest.raises(ArtifactRefusedError, match=r"a wrapper in Python \(python_model.pkl, .* artifacts/net.keras"):
        repair(f"models:/wrapped/{number}")
    made = repair(f"models:/wrapped/{number}", unwrap=True)
    assert made.notes[0] == f"artifacts/net.keras of version {number}, by itself"
    assert Store().files("wrapped", made.version).count("python_model.pkl") == 0


def test_what_cannot_be_served_is_not_registered(saved):
    """A file with a layer that the service does not compute is refused by name, and nothing is registered."""
    model = keras.Sequential([keras.Input((4, 2)), layers.Lambda(lambda x: x, name="strange"), layers.SimpleRNN(2)])
    with pytest.raises(UnsupportedModelError, match="strange"):
        register(saved(model), "never")


def test_what_only_keras_computes_is_registered_where_asked(saved):
    """With the engine tensorflow, a file that the reader does not support is registered, proven; unsafe ones never."""
    convolving = keras.Sequential([keras.Input((4, 5, 5, 1)), layers.ConvLSTM2D(1, 3), layers.Flatten()])
    with pytest.raises(UnsupportedModelError, match=r"ConvLSTM2D.*--engine tensorflow"):
        register(saved(convolving), "never")
    made = register(saved(convolving), "convolving", engine="tensorflow")
    assert made.version == "1"
    assert made.parity <= 1
    assert "through Keras" in made.notes[0]
    words = [layers.Embedding(5, 6), layers.Reshape((4, 3, 2, 1)), layers.ConvLSTM2D(2, 2), layers.Flatten()]
    assert register(saved(keras.Sequential([keras.Input((4,)), *words])), "words", engine="tensorflow").parity <= 1
    unsafe = keras.Sequential([keras.Input((4, 2)), layers.Lambda(lambda x: x), layers.SimpleRNN(2)])
    with pytest.raises(UnsupportedModelError, match="safe mode"):
        register(saved(unsafe), "never", engine="tensorflow")


def test_the_command(saved, home):
    """The command says which version was made, how well it is proven, and what points at it."""
    command = [sys.executable, "-m", "service.cli", "register", str(saved(plain())), "--name", "told", "--alias", "new"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=home)
    assert "told version 1 registered, proven" in done.stdout
    assert "told@new points at it" in done.stdout
    assert done.stderr == ""
    done = subprocess.run([*command[:4], "absent.keras", *command[5:]], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "absent.keras" in done.stderr
    assert len(done.stderr.splitlines()) == 1
