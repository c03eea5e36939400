"""Models of several types, and a server of them, for the tests of the standard protocol."""

import dataclasses

import pytest
import tritonclient.grpc as triton

from service.serving.loaded import MODEL_FILE
from service.snapshot import VersionEntry
from tests.service.support import entry, serving


def saved(folder, model):
    """A Keras model as a version without a proof."""
    folder.mkdir()
    model.save(folder / MODEL_FILE)
    return VersionEntry("0", folder.name, str(folder))


def two_ways():
    """A network with two inputs, one of ids, and two outputs."""
    from keras import Input, Model, layers

    ids, x = Input((None,), dtype="int32", name="ids"), Input((None, 2), name="x")
    both = layers.Concatenate(name="both")([layers.Embedding(10, 3, name="embedding")(ids), x])
    sequence = layers.LSTM(3, return_sequences=True, name="lstm")(both)
    return Model([ids, x], [layers.Dense(2, name="each")(sequence), layers.GRU(2, name="last")(sequence)], name="two")


def typed(dtype):
    """A network that computes in a type."""
    from keras import Input, Sequential, layers

    rnn = layers.SimpleRNN(3, return_sequences=True, dtype=dtype, name="rnn")
    return Sequential([Input((None, 2), dtype=dtype, name="x"), rnn])


def ids(dtype):
    """A network that reads ids of an integer type."""
    from keras import Input, Sequential, layers

    rnn = layers.SimpleRNN(3, name="rnn")
    return Sequential([Input((None,), dtype=dtype, name="ids"), layers.Embedding(10, 3, name="e"), rnn])


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """Keras models by name, as they were saved."""
    root = tmp_path_factory.mktemp("models")
    made = {"two": two_ways(), "int32": ids("int32"), "int64": ids("int64")}
    made |= {dtype: typed(dtype) for dtype in ("float16", "float32", "float64")}
    kept = {name: (model, saved(root / name, model)) for name, model in made.items()}
    model, version = kept["two"]
    return kept | {"two": (model, dataclasses.replace(version, data='{"classes": ["no", "yes"]}'))}


@pytest.fixture(scope="module")
def server(versions, models, edge):  # noqa: ARG001 - it must be there before
    """A server of all of them, the reference network in versions 1 to 3: its host and our own client."""
    reference = entry("reference", "champion", v1=versions["r3-1"], v2=versions["r3-2"], v3=versions["r3-3"])
    others = [entry(name, "champion", v1=version) for name, (_, version) in models.items()]
    with serving(reference, entry("linear", "champion", v1=versions["r2"]), *others) as served:
        yield served


@pytest.fixture(scope="module")
def client(server):
    """The standard client."""
    with triton.InferenceServerClient(server[1].address) as client:
        yield client
