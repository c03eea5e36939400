"""Files that the reader does not support, computed by Keras where the operator asks for it."""

import numpy as np
import psutil
import pytest

from registry import tag
from service.client import Client, WeightChange
from service.errors import InvalidArgumentError, NotReadyError, NotSupportedError, ProofError, UnsupportedModelError
from service.model.engines.keras import KerasNetwork
from service.model.proof import BOUNDS, Proof, replay
from service.model.tensors import TensorSpec
from service.serving.loaded import MODEL_FILE, load_version
from service.snapshot import VersionEntry
from tests.service.support import R3_INPUTS, Server, entry, running, serving

X = np.random.default_rng(0).normal(size=(2, 4, 6, 2, 1)).astype(np.float32)


def pictures():
    """A network with a layer that the reader does not know."""
    from keras import Input, Sequential, layers

    return Sequential(
        [
            Input((4, 6, 2, 1), name="x"),
            layers.ConvLSTM2D(2, (3, 2), return_sequences=True, name="convolution"),
            layers.TimeDistributed(layers.Flatten(), name="flat"),
            layers.SimpleRNN(3, name="rnn"),
        ]
    )


@pytest.fixture(scope="module")
def unsupported(tmp_path_factory):
    """The model, and a folder as the cache keeps it."""
    folder, model = tmp_path_factory.mktemp("unsupported"), pictures()
    model.save(folder / MODEL_FILE)
    return model, folder


def loaded(folder, engine):
    return load_version("m", VersionEntry("1", "0", str(folder)), require_proof=False, fixed_engine=engine)


def test_only_where_it_is_asked_for(unsupported):
    """Without the engine the file is refused by the name of its layer; with it Keras computes, and that is said."""
    model, folder = unsupported
    with pytest.raises(UnsupportedModelError, match="convolution"):
        loaded(folder, "")
    version = loaded(folder, "tensorflow")
    assert version.engine.name == "tensorflow"
    assert np.allclose(version.forward({"x": X}, {}).outputs["rnn"], np.asarray(model(X)), atol=1e-6)
    assert "Keras" in version.network.notes[0]
    with pytest.raises(InvalidArgumentError, match="expected shape"):
        version.network.check({"x": X[:, :, :5]})


def test_a_proof_is_held_to_the_bound(unsupported):
    """Keras's own weights cannot be changed here to see what rounding does, so a proof is held to the plain bound."""
    model, folder = unsupported
    network, expected = loaded(folder, "tensorflow").network, np.asarray(model(X))

    def shifted(times):
        return Proof({"x": X}, {"rnn": expected + np.float32(times * BOUNDS["float32"])}, {}, "keras")

    assert replay(network, shifted(0.5)) <= 1
    with pytest.raises(ProofError, match="rnn differs"):
        replay(network, shifted(3.0))


def test_what_the_reader_supports_stays_with_it(versions):
    """Where that engine is asked for, files that the reader supports are served as ever."""
    version = loaded(versions["r3-1"].directory, "tensorflow")
    assert version.network.computed_by == "numpy"
    assert "tensorflow" not in version.engine.name


def test_safe_mode_is_on(tmp_path):
    """A file that holds code is refused by Keras's safe mode, with its reason."""
    from keras import Input, Sequential, layers

    model = Sequential([Input((4, 2)), layers.Lambda(lambda x: x + 1, name="code"), layers.SimpleRNN(2)])
    model.save(tmp_path / MODEL_FILE)
    with pytest.raises(UnsupportedModelError, match="Keras, in safe mode, refuses the file"):
        loaded(tmp_path, "tensorflow")


def test_a_server_without_a_look_inside(unsupported, registry, tmp_path):
    """Such a version predicts what Keras does; traces, streams, weights and changes of them say why there are none."""
    model, folder = unsupported
    with registry.store.run("tests", "pictures", {}) as run:
        run.register(
            "pictures",
            folder / MODEL_FILE,
            proof_file=None,
            example={"x": X},
            inputs=[TensorSpec("x", np.dtype("f4"), (None, 4, 6, 2, 1))],
            outputs=[TensorSpec("rnn", np.dtype("f4"), (None, 3))],
            tags={tag.KIND: "registered"},
        )
    registry.store.set_alias("pictures", "champion", "1")
    registry.register("reference", "r3-1", "champion")
    models, options = ("models:/pictures@champion", "models:/reference@champion"), {"env": registry.env, "workers": 1}
    refusing = Server(*models, cache=tmp_path / "a", **options)
    refusing.process.wait(60)
    assert refusing.logged("version 1 of pictures is refused: .*convolution")
    refusing.stop()
    with running(*models, cache=tmp_path / "b", engine="tensorflow", **options) as (server, client):
        answer = client.predict(X, model="pictures")
        assert np.allclose(answer.output, np.asarray(model(X)), atol=1e-6)
        (version,) = client.model("pictures").versions
        assert (version.engine, version.streamable) == ("tensorflow", False)
        assert [layer.class_name for layer in version.layers] == ["ConvLSTM2D", "TimeDistributed", "SimpleRNN"]
        assert list(version.layers[-1].output_shape) == [-1, 3]
        for call in (
            lambda: client.trace(X, model="pictures"),
            lambda: client.get_weights(model="pictures"),
            lambda: client.predict(X, model="pictures", what_if=[WeightChange("rnn/bias", [1, 2, 3])]),
            lambda: client.override_weights(
                [WeightChange("rnn/bias", [1, 2, 3])], model="pictures", expected_version="1", reason="none"
            ),
        ):
            with pytest.raises(NotSupportedError, match="served through Keras"):
                call()
        with pytest.raises(NotReadyError, match="served through Keras"):
            list(client.stream([X], model="pictures"))
        assert client.predict(R3_INPUTS, model="reference").output.shape == (3, 1)
        assert client.get_weights(model="reference").weights
        assert len(psutil.Process(server.process.pid).children()) == 1


def stateful():
    """Layers that carry a state from call to call, alone, in a wrapper, and in a model within the model."""
    from keras import Input, Sequential, layers

    inner = Sequential(
        [Input(batch_shape=(1, 4, 8)), layers.GRU(3, stateful=True, return_sequences=True)], name="inner"
    )
    return Sequential(
        [
            Input(batch_shape=(1, 4, 6, 2, 1), name="x"),
            layers.ConvLSTM2D(2, (3, 2), stateful=True, return_sequences=True, name="convolution"),
            layers.TimeDistributed(layers.Flatten()),
            inner,
            layers.Bidirectional(layers.LSTM(2, stateful=True), name="both"),
        ]
    )


def test_no_state_goes_from_one_caller_to_the_next(tmp_path):
    """Two callers of a stateful file get the same answer to the same question, however often either asked before."""
    model = stateful()
    model.save(tmp_path / MODEL_FILE)
    x = X[:1]
    expected = np.asarray(model(x))
    assert not np.allclose(np.asarray(model(x)), expected, atol=1e-4)  # as Keras does it, the state stays
    version = VersionEntry("1", "0", str(tmp_path), engines=("tensorflow", "tensorflow"))
    with serving(entry("stateful", "champion", v1=version)) as (_, client), Client(client.address) as other:
        answers = [caller.predict(x).output for caller in (client, client, other, client)]
    assert np.allclose(answers[0], expected, atol=1e-6)
    for answer in answers[1:]:
        assert np.array_equal(answer, answers[0])


def test_sequences_of_any_length(tmp_path):
    """A layer that wants to know each extent computes sequences of other lengths than the first, as Keras does."""
    from keras import Input, Sequential, layers

    counted = layers.CategoryEncoding(num_tokens=5, output_mode="count")
    model = Sequential([Input((None,), dtype="int32", name="x"), counted, layers.Dense(2)])
    model.save(tmp_path / "m.keras")
    network = KerasNetwork(tmp_path / "m.keras")
    for length in (3, 4, 7):
        ids = np.random.default_rng(length).integers(0, 5, (2, length)).astype(np.int32)
        (found,) = network.forward({"x": ids}).outputs.values()
        np.testing.assert_allclose(found, model(ids), atol=1e-6)


def test_boolean_inputs(tmp_path):
    """An input of truth values is taken by a network that Keras computes."""
    from keras import Input, Model, layers

    x = Input((3,), dtype="bool", name="x")
    model = Model(x, layers.Dense(2)(layers.Rescaling(1.0)(x)))
    model.save(tmp_path / "m.keras")
    network = KerasNetwork(tmp_path / "m.keras")
    given = np.array([[True, False, True]])
    network.check({"x": given})
    (found,) = network.forward({"x": given}).outputs.values()
    np.testing.assert_allclose(found, model(given), atol=1e-6)
