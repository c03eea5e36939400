"""Text and categories beside Keras, over texts of any characters; vocabularies of the config and of the file."""

import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from service.errors import InvalidArgumentError, UnsupportedModelError
from service.model import keras_file, proof
from service.model.engines.choice import chance
from service.model.fingerprint import fingerprint
from service.model.proof import allowed, difference
from tests.strategies import randomize

WORDS = ["the", "cat", "sat", "on", "mat", "été", "ÉTÉ", "日本", "a", "b", "İ", "ß", "cat sat", "x_y", "it's"]
WEIGHTS = [1.0 + i / 7 for i in range(len(WORDS))]
# Words that are known, punctuation, white space of all kinds, and anything else that UTF-8 can say.
PIECES = st.one_of(
    st.sampled_from([*WORDS, "The", "CAT", "mat.", "!", "-", "'", " ", "\t", "\n", "\x0b", "\x0c", "\x1f", "\x85"]),
    st.sampled_from(["\u00a0", "\u2028", "\u3000", "\u200b", "\0", "ﬀ", "Σ", "ς", "e\u0301", "👩‍👧", "“", "¿"]),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=6),
)
TEXTS = st.lists(st.lists(PIECES, max_size=8).map("".join), min_size=1, max_size=4)
OPTIONS = [
    {"output_sequence_length": 6},
    {"output_sequence_length": 4, "standardize": "lower", "ngrams": 2},
    {"output_sequence_length": 9, "standardize": "strip_punctuation", "split": "character"},
    {"output_sequence_length": 5, "standardize": None, "ngrams": (1, 3)},
    {"output_mode": "multi_hot"},
    {"output_mode": "count", "pad_to_max_tokens": True, "max_tokens": 30},
    {"output_mode": "tf_idf", "ngrams": 2},
]


def read(keras, path, layer, *, dtype="string", width=1):
    """A layer by itself as a model, saved and read."""
    model = keras.Sequential([keras.Input((width,), dtype=dtype, name="x"), layer])
    model.save(path / "model.keras")
    return keras_file.read(path / "model.keras")


def computed(network, values):
    """The output for inputs."""
    (name,), (output,) = [spec.name for spec in network.inputs], network.outputs
    network.check({name: values})
    found = network.forward({name: values}).outputs[output.name]
    assert found.dtype == output.dtype
    return found


@pytest.fixture(scope="module")
def keras():
    """Keras, imported once."""
    import keras

    return keras


@pytest.fixture(scope="module", params=range(len(OPTIONS)))
def vectorized(request, keras, tmp_path_factory):
    """A TextVectorization and what was read of it; every other one with its vocabulary beside the config."""
    options = dict(OPTIONS[request.param])
    weighted = options.get("output_mode") == "tf_idf"
    if request.param % 2 and not weighted:
        layer = keras.layers.TextVectorization(**options)
        layer.adapt(np.array([["the cat sat on the mat"], ["été 日本 x_y it's ÉTÉ"], ["the cat"]], object))
    else:
        layer = keras.layers.TextVectorization(
            **options, vocabulary=WORDS, **({"idf_weights": WEIGHTS} if weighted else {})
        )
    return layer, read(keras, tmp_path_factory.mktemp("text"), layer)


@settings(
    max_examples=40, derandomize=True, deadline=None, phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
@given(texts=TEXTS)
def test_texts_become_what_keras_makes_of_them(vectorized, texts):
    """Ids and counts of any text, in every mode, are Keras's, to the bit."""
    layer, network = vectorized
    values = np.array(texts, object)[:, None]
    expected = np.asarray(layer(values))
    assert np.array_equal(computed(network, values), expected), texts


@pytest.mark.parametrize("oov", [1, 3])
@pytest.mark.parametrize("mode", ["int", "one_hot", "multi_hot", "count"])
def test_words_are_looked_up_as_keras_looks_them_up(keras, tmp_path, mode, oov):
    """Words known, unknown and masked, in every mode."""
    options = {"output_mode": mode, "num_oov_indices": oov, "mask_token": "b"}
    known = [word for word in WORDS if word != "b"]
    layer = keras.layers.StringLookup(vocabulary=known, **options)
    values = np.array([["cat", "b", "dog"], ["", "日本", "cat" * 40]], object)
    network = read(keras, tmp_path, layer, width=3)
    assert np.array_equal(computed(network, values), np.asarray(layer(values)))
    layer = keras.layers.IntegerLookup(vocabulary=[5, -3, 8], num_oov_indices=oov, output_mode=mode)
    numbers = np.array([[5, 8, 7], [-3, -5, 2**40]])
    network = read(keras, tmp_path, layer, dtype="int64", width=3)
    assert np.array_equal(computed(network, numbers), np.asarray(layer(numbers)))


def test_a_word_that_no_id_is_for_is_refused(keras, tmp_path):
    """With no ids for unknown words, one is an error that names it."""
    network = read(keras, tmp_path, keras.layers.StringLookup(vocabulary=WORDS, num_oov_indices=0))
    with pytest.raises(InvalidArgumentError, match="'dog' is not in the vocabulary"):
        computed(network, np.array([["dog"]], object))


@settings(max_examples=20, derandomize=True, deadline=None, phases=[Phase.generate])
@given(texts=st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=200), min_size=1, max_size=20))
def test_fingerprints_are_those_of_tensorflow(texts):
    """Of texts of every length: FarmHash has a way for each range of these."""
    import tensorflow as tf

    texts += ["x" * n for n in range(0, 260, 7)]
    expected = tf.strings.to_hash_bucket_fast(texts, 2**40 - 87).numpy()
    assert [fingerprint(text.encode()) % (2**40 - 87) for text in texts] == expected.tolist()


@pytest.mark.parametrize("mode", ["int", "one_hot", "multi_hot", "count"])
def test_hashes_bins_and_categories_are_keras_s(keras, tmp_path, mode):
    """Of words, integers and floats, in every mode."""
    k = keras.layers
    values, numbers = np.array([["cat", "b", "日本"]], object), np.array([[1, 2, 1], [0, 4, 3]])
    floats = np.array([[-1.0, 0.1, 0.25], [0.7, 3.5, 0.2]], np.float32)
    cases = [
        (k.Hashing(5, output_mode=mode), "string", values),
        (k.Hashing(5, mask_value="b", output_mode=mode), "string", values),
        (k.Hashing(3, output_mode=mode), "int64", numbers),
        (k.Discretization([0.1, 0.25, 1.5], output_mode=mode), "float32", floats),
    ]
    if mode != "int":
        cases.append((k.CategoryEncoding(5, output_mode=mode), "int64", numbers))
    for layer, dtype, given_values in cases:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = np.asarray(layer(given_values))
            network = read(keras, tmp_path, layer, dtype=dtype, width=3)
        found = computed(network, given_values)
        assert np.array_equal(found, expected), (type(layer).__name__, dtype)


@pytest.fixture(scope="module")
def network_of_text(keras, tmp_path_factory):
    """A network from text to classes, and the file."""
    k, path = keras.layers, tmp_path_factory.mktemp("network") / "model.keras"
    x = keras.Input((1,), dtype="string", name="text")
    words = k.TextVectorization(output_sequence_length=6, vocabulary=WORDS)(x)
    y = k.Dense(3, activation="softmax", name="classes")(k.GRU(4)(k.Embedding(20, 5, mask_zero=True)(words)))
    model = keras.Model(x, y)
    randomize(model, 3)
    model.save(path)
    return model, keras_file.read(path)


def test_a_network_of_text_gives_what_keras_gives(network_of_text, tmp_path):
    """Predictions, traces and weights; a proof holds its texts without pickles, and is replayed."""
    model, network = network_of_text
    texts = np.array([["The cat sat."], ["日本, été!"], [""]], object)
    found = network.forward({"text": texts})
    assert difference(found.outputs["classes"], np.asarray(model(texts)), allowed(network)) <= 1
    trace = network.trace({"text": texts})
    assert trace.layers[0].tensors["output"].tolist()[0][:3] == [2, 3, 4]
    assert network.with_weights({"classes/bias": np.ones(3, np.float32)}).forward({"text": texts}).outputs
    proof.Proof({"text": texts}, found.outputs, found.final_state, "keras").save(tmp_path / "proof.npz")
    kept = proof.load(tmp_path / "proof.npz")
    assert kept.inputs["text"].tolist() == texts.tolist()
    assert proof.replay(network, kept) <= 1
    assert network.forward(chance(network, 3)).outputs["classes"].shape == (3, 3)


def test_text_of_unknown_length_is_refused(keras, tmp_path):
    """How many timesteps a text makes must not depend on the text."""
    with pytest.raises(UnsupportedModelError, match="output_sequence_length=None"):
        read(keras, tmp_path, keras.layers.TextVectorization(vocabulary=WORDS))
