"""Saves the files beside it, with whatever Keras runs it; see README.md."""

from pathlib import Path

import keras
import numpy as np
from keras import layers

RNG = np.random.default_rng(0)


def row(*parts):
    """Layers in a row on sequences of six timesteps and three features."""
    return keras.Sequential([keras.Input((6, 3), name="x"), *parts])


def graph():
    """Masks, states wired by hand, slices and arithmetic, two outputs."""
    x = keras.Input((6, 3), name="x")
    sequence, h, c = layers.LSTM(4, return_sequences=True, return_state=True)(layers.Masking()(x))
    second = layers.GRU(4, return_sequences=True, reset_after=False)(sequence, initial_state=h)
    both = layers.Bidirectional(layers.SimpleRNN(2))(layers.Add()([sequence, second]))
    total = layers.Concatenate()([both, h, c]) * 2.0 + 1.0
    return keras.Model(x, [layers.Dense(2)(total), second[:, -1]])


def shared():
    """One layer on two inputs."""
    a, b = keras.Input((6, 3), name="a"), keras.Input((6, 3), name="b")
    rnn = layers.LSTM(3)
    return keras.Model([a, b], layers.Dense(2, activation="softmax")(layers.Multiply()([rnn(a), rnn(b)])))


def ids():
    """Ids, and the mask that they carry."""
    x = keras.Input((6,), dtype="int32", name="x")
    return keras.Model(x, layers.Dense(1)(layers.LSTM(3)(layers.Embedding(9, 4, mask_zero=True)(x))))


def nested():
    """A model inside a model."""
    inside = keras.Input((6, 3))
    inner = keras.Model(inside, layers.LayerNormalization()(layers.GRU(3, return_sequences=True)(inside)))
    x = keras.Input((6, 3), name="x")
    return keras.Model(x, layers.Dense(1)(layers.GlobalMaxPooling1D()(inner(x))))


MODELS = {
    "graph": graph,
    "shared": shared,
    "ids": ids,
    "nested": nested,
    "lstm": lambda: row(
        layers.LSTM(4, return_sequences=True, go_backwards=True, dropout=0.2, recurrent_dropout=0.1, use_bias=False),
        layers.TimeDistributed(layers.Dense(3, activation="relu")),
        layers.LSTM(2, unroll=True, activation="relu", recurrent_activation="hard_sigmoid"),
    ),
    "bidirectional": lambda: row(
        layers.Bidirectional(layers.LSTM(3, return_sequences=True), merge_mode="sum"),
        layers.Bidirectional(layers.GRU(2), backward_layer=layers.GRU(2, go_backwards=True), merge_mode="mul"),
    ),
    "cells": lambda: row(layers.RNN([layers.LSTMCell(3), layers.GRUCell(2)], return_sequences=True), layers.Flatten()),
    "convolution": lambda: row(
        layers.Conv1D(4, 3, padding="causal", dilation_rate=2, activation="swish"),
        layers.BatchNormalization(),
        layers.MaxPooling1D(2),
        layers.GRU(3, kernel_regularizer="l2", bias_constraint="max_norm"),
    ),
    "half": lambda: row(layers.GRU(3, dtype="mixed_float16"), layers.Dense(1)),
}


def main():
    """Writes all of them, with weights of chance."""
    for name, make in MODELS.items():
        model = make()
        weights = [RNG.normal(0, 0.4, w.shape) for w in model.get_weights()]
        variances = ["variance" in weight.path for weight in model.weights]
        model.set_weights([np.abs(w) + 0.5 if is_one else w for w, is_one in zip(weights, variances, strict=True)])
        model.save(Path(__file__).with_name(f"{name}.keras"))


if __name__ == "__main__":
    main()
