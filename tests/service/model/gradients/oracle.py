"""What TensorFlow's GradientTape says of a Keras model: the oracle for gradients."""

import warnings

import numpy as np

from service.model.gradients import Tape

# The largest difference from TensorFlow over some hundred random networks, each array relative to its largest
# magnitude or to 1, rounded up; and three times that is allowed, as for the forward pass (service/model/proof.py).
MEASURED = {"float64": 2e-15, "float32": 1e-6}
BOUNDS = {dtype: 3 * bound for dtype, bound in MEASURED.items()}


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


def compare(network, model, x, bound, seed=0):
    """Gradients by the input and by every weight that Keras trains are GradientTape's."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # masks that layers destroy
        y = np.asarray(model(x))
    direction = np.random.default_rng(seed).normal(size=y.shape).astype(y.dtype)
    by_x, by_variables = tape_gradients(model, x, direction)
    (source,), (output,) = network.inputs, network.outputs
    tape = Tape(network, {source.name: x})
    assert relative(tape.outputs[output.name], y) <= bound
    found = tape.backward({output.name: direction})
    if by_x is not None:
        assert found.inputs[source.name].shape == by_x.shape
        assert relative(found.inputs[source.name], by_x) <= bound
    names = trainable(network)
    assert len(names) == len(by_variables)
    for name, (path, expected) in zip(names, by_variables, strict=True):
        if expected is not None and np.isfinite(expected).all():
            actual = found.weights.get(name, np.zeros_like(expected))
            assert relative(actual, expected) <= bound, (name, path)
    return found
