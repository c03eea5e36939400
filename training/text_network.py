"""Networks that read texts: built with their vocabulary inside, and learned on the ids that it gives.

A text goes in as a string. A network of labelled texts looks its words or characters up (TextVectorization); one that
predicts the next character takes a sequence of characters (StringLookup) and answers after each, so that it can be fed
piece by piece. Learning begins behind the lookup, which has nothing to learn.
"""

from typing import Any

import numpy as np

from training import network
from training.backend import keras, tf
from training.data.examples import Examples
from training.data.windows import Windows
from training.options import Options, Source

INPUT, LOOKUP = "text", "vocabulary"
WORDS, CHARACTERS = 20_000, 256  # that a vocabulary has, unless others are asked for
BATCH = 8_192  # strings that are looked up at once
STANDARDIZE = {"word": "lower_and_strip_punctuation", "char": None}
SPLIT = {"word": "whitespace", "char": "character"}


def build(options: Options, source: Source, examples: Examples) -> keras.Model:
    """A compiled network with its initial weights, and the vocabulary of the part to train on.

    Raises as `network.compiled`.
    """
    layout = examples.layout

    def model() -> keras.Model:
        if layout.next_character:
            given = keras.Input((None,), dtype="string", name=INPUT)
            lookup = keras.layers.StringLookup(vocabulary=list(layout.classes[1:]), name=LOOKUP)
        else:
            given = keras.Input((1,), dtype="string", name=INPUT)
            lookup = keras.layers.TextVectorization(
                source.vocabulary or (WORDS if layout.unit == "word" else CHARACTERS),
                standardize=STANDARDIZE[layout.unit],
                split=SPLIT[layout.unit],
                output_sequence_length=layout.window,
                name=LOOKUP,
            )
            texts = examples.parts.train.inputs()[:, 0].tolist()
            lookup.adapt(tf.data.Dataset.from_tensor_slices(texts).batch(BATCH))
        # Behind the end of a text its ids are 0, which says nothing. Of a sequence of characters it is an unknown one.
        padded = not layout.next_character
        embedding = keras.layers.Embedding(
            lookup.vocabulary_size(), options.embedding, mask_zero=padded, name="embedding"
        )
        layers = network.recurrent(options, sequences=layout.next_character)
        classes = len(layout.classes)
        if layout.next_character:  # whoever generates a text chooses a temperature
            layers.append(keras.layers.Dense(classes, activation="softmax", name=network.OUTPUT))
        else:
            layers += network.probabilities(classes)
        return keras.Sequential([given, lookup, embedding, *layers], name="sequential")

    return network.compiled(model, options)


def learner(model: keras.Model, window: int) -> keras.Model:
    """The layers behind the lookup, on ids (batch, window, 1), compiled."""
    ids = keras.Input((window, 1), dtype="int32")
    x = keras.layers.Reshape((window,))(ids)
    for layer in model.layers[1:]:
        x = layer(x)
    made = keras.Model(ids, x, name="learner")
    made.compile(optimizer=model.optimizer, loss=model.loss, jit_compile=False)
    return made


def encoded(model: keras.Model, *parts: Windows) -> list[Windows]:
    """Windows of strings, which share their rows, as windows of the ids that the network looks up."""
    lookup, values = model.get_layer(LOOKUP), parts[0].values
    rows = [_ids(lookup, values[at : at + BATCH]) for at in range(0, len(values), BATCH)]
    ids = np.concatenate(rows)  # (rows, ids of one)
    width = ids.shape[1]
    return [
        Windows(
            ids.reshape(-1, 1), part.targets, part.starts * width, part.target_starts, part.window * width, part.outputs
        )
        for part in parts
    ]


def _ids(lookup: Any, strings: Any) -> Any:
    return np.asarray(lookup(tf.constant(strings.astype(object)))).astype(np.int32)
