"""What TensorFlow's GradientTape says of a Keras model: the oracle for gradients."""

import warnings

import numpy as np


def tape_gradients(model, x, seed):
    """d(Σ seed ∘ output) by the input (None for ids) and by each trainable variable, computed by TensorFlow.

    Variables come as the pair of their path and gradient; None where TensorFlow knows of no influence.
    """
    import tensorflow as tf

    given = tf.constant(x)
    with warnings.catch_warnings(), tf.GradientTape() as tape:
        warnings.simplefilter("ignore")
        tape.watch(given) if x.dtype.kind == "f" else None
        y = model(given, training=False)
        loss = tf.reduce_sum(y * seed)
    by_x, by_variables = tape.gradient(loss, [given, model.trainable_variables])
    return (
        None if by_x is None else dense(by_x),
        [
            (v.path, None if g is None else dense(g))
            for v, g in zip(model.trainable_variables, by_variables, strict=True)
        ],
    )


def dense(gradient):
    """A gradient as an array, also where TensorFlow keeps rows only."""
    import tensorflow as tf

    return np.asarray(tf.convert_to_tensor(gradient))


def trainable(network):
    """Names of the weights that Keras trains, in its order."""
    return [
        f"{layer}/{weight.name}"
        for layer, entry in network.graph.layers.items()
        for weight in entry.weights
        if entry.layer.CLASS != "Normalization" and weight.name not in {"moving_mean", "moving_variance", "vector_u"}
    ]


def relative(actual, expected):
    """The largest difference relative to the largest magnitude of what is expected, or to 1."""
    if not expected.size:
        return 0.0
    finite = np.isfinite(expected)
    scale = max(1.0, float(np.abs(expected[finite]).max(initial=0.0)))
    return float(np.abs(actual.astype(float)[finite] - expected.astype(float)[finite]).max(initial=0.0)) / scale
