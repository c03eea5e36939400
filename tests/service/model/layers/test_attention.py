"""Attention beside Keras: with masks, causal, of one head and of several; scores, and what is refused."""

import warnings

import numpy as np
import pytest

from service.errors import UnsupportedModelError
from service.model import keras_file
from service.model.layers.attention import SCORES
from service.model.proof import allowed, difference
from tests.strategies import randomize


def attentions(k, dtype):
    """Some of each class, as functions from query and value to a call."""
    listed = [
        k.Attention(use_scale=True, score_mode="concat", dtype=dtype),
        k.Attention(use_scale=True, dtype=dtype),
        k.AdditiveAttention(dtype=dtype),
    ]
    headed = [
        k.MultiHeadAttention(2, 3, value_dim=5, output_shape=(7,), use_gate=True, dtype=dtype),
        k.MultiHeadAttention(2, 3, dropout=0.1, use_bias=False, sliding_window=2, dtype=dtype),
        k.GroupQueryAttention(3, 4, 2, use_gate=True, dtype=dtype),
        k.GroupQueryAttention(3, 4, 1, dropout=0.1, sliding_window=3, dtype=dtype),
    ]
    return listed, headed


def read(model, path):
    """A Keras model with random weights, saved and read."""
    randomize(model, 3)
    model.save(path / "model.keras")
    return keras_file.read(path / "model.keras")


def compare(model, network, inputs):
    """All outputs are Keras's."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = model(list(inputs.values()))
    found = network.forward(inputs).outputs
    for (name, output), theirs in zip(found.items(), expected, strict=True):
        assert difference(output, np.asarray(theirs), allowed(network)) <= 1, name


@pytest.mark.parametrize("masks", ["none", "carried", "named"])
@pytest.mark.parametrize("dtype", ["float32", "float64", "mixed_float16"])
def test_attention_gives_what_keras_gives(tmp_path, dtype, masks):
    """Outputs, scores and masks of every kind of attention, causal or not; some queries may look nowhere."""
    import keras

    k, ops, plain = keras.layers, keras.ops, dtype.removeprefix("mixed_")
    q, v = keras.Input((5, 4), dtype=plain, name="q"), keras.Input((6, 4), dtype=plain, name="v")
    listed, headed = attentions(k, dtype)
    outputs = []
    for causal in (False, True):
        for layer in attentions(k, dtype)[0] + attentions(k, dtype)[1] if causal else listed + headed:
            # Each on tensors of its own: attention of several heads takes their masks away.
            query, value = (k.Masking(dtype=dtype)(x) if masks == "carried" else x for x in (q, v))
            valid = [ops.any(ops.not_equal(x, 0), axis=-1) for x in (q, v)]
            named = layer.__class__.__name__ not in ("Attention", "AdditiveAttention")
            options = {"use_causal_mask": causal, "return_attention_scores": causal}
            if masks == "named":
                options |= {"query_mask": valid[0], "value_mask": valid[1]} if named else {"mask": valid}
            made = layer(query, value, **options) if named else layer([query, value], **options)
            y, *scores = made if causal else [made]
            outputs += [y, *scores, k.GRU(2, dtype=dtype)(y)]  # which goes by the mask that comes out
    rng = np.random.default_rng(0)
    inputs = {"q": rng.normal(size=(3, 5, 4)).astype(plain), "v": rng.normal(size=(3, 6, 4)).astype(plain)}
    if masks != "none":
        inputs["q"][0, 2:] = inputs["v"][1, 1:3] = inputs["v"][2] = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = keras.Model([q, v], outputs)
        network = read(model, tmp_path)
    compare(model, network, inputs)


def test_a_mask_of_the_call_goes_with_causal_masks_and_windows(tmp_path):
    """`attention_mask` of a call, of truth values, restricts what several heads look at."""
    import keras

    x, mask = keras.Input((5, 4), name="x"), keras.Input((5, 5), name="mask")
    k, may = keras.layers, mask > 0.5
    options = {"attention_mask": may, "use_causal_mask": True}
    outputs = [
        k.MultiHeadAttention(2, 3)(x, x, attention_mask=may),
        k.GroupQueryAttention(3, 4, 2, sliding_window=2)(x, x, x, **options),
        k.MultiHeadAttention(2, 3, dropout=0.5)(x, x, **options),
    ]
    model = keras.Model([x, mask], outputs)
    network = read(model, tmp_path)
    rng = np.random.default_rng(0)
    inputs = {"x": rng.normal(size=(2, 5, 4)), "mask": rng.integers(0, 2, (2, 5, 5))}
    compare(model, network, {name: array.astype(np.float32) for name, array in inputs.items()})


def test_a_trace_shows_the_scores(tmp_path):
    """The weights of the mean, (batch, heads, Tq, Tv), are those that Keras returns; they cannot be fed in pieces."""
    import keras

    x = keras.Input((None, 4), name="x")
    layer = keras.layers.MultiHeadAttention(2, 3, name="heads")
    network = read(keras.Model(x, layer(x, x, use_causal_mask=True)), tmp_path)
    values = np.random.default_rng(0).normal(size=(2, 5, 4)).astype(np.float32)
    (traced,) = network.trace({"x": values}).layers
    _, scores = layer(values, values, use_causal_mask=True, return_attention_scores=True)
    assert difference(traced.tensors[SCORES], np.asarray(scores)) <= 1
    assert not network.streamable
    assert network.not_streamable_reason == (
        "layer heads (MultiHeadAttention) looks back at all timesteps so far, which no state of fixed size holds"
    )


def test_attention_of_several_heads_takes_masks_away_as_keras_does(tmp_path):
    """What Keras computes after MultiHeadAttention finds no mask on its inputs; where that is open, it is refused."""
    import keras

    k = keras.layers
    ids = keras.Input((5,), dtype="int32", name="ids")
    x = k.Embedding(7, 4, mask_zero=True)(ids)
    first = k.MultiHeadAttention(2, 3)(x, x)
    second = k.MultiHeadAttention(2, 3, name="second")(first, x)  # looks at what is masked, too
    third = k.Attention()([second, x])
    model = keras.Model(ids, [third, k.GRU(2)(third)])
    network = read(model, tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        compare(model, network, {"ids": np.array([[1, 2, 0, 0, 3], [0, 0, 4, 5, 6]], np.int32)})
    parallel = keras.Model(ids, k.Concatenate()([k.MultiHeadAttention(2, 3)(x, x), k.Attention(name="b")([x, x])]))
    with pytest.raises(UnsupportedModelError, match="Keras deletes the mask of its input, and nothing says whether b"):
        read(parallel, tmp_path)


def test_inputs_that_do_not_fit_are_refused(tmp_path):
    """Ranks and widths are checked when the file is read, and the error names the layer."""
    import keras

    k = keras.layers
    x = keras.Input((3, 5, 4))
    with pytest.raises(UnsupportedModelError, match=r"\(MultiHeadAttention\): query of shape \(any, 3, 5, 4\)"):
        read(keras.Model(x, k.MultiHeadAttention(2, 3, attention_axes=(1,))(x, x)), tmp_path)
    y = keras.Input((5, 4))
    shared = k.MultiHeadAttention(2, 3)
    twice = keras.Model(y, [shared(y, y), shared(y, y, use_causal_mask=True)])
    with pytest.raises(UnsupportedModelError, match="two calls of it with different arguments"):
        read(twice, tmp_path)
