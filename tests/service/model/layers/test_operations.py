"""Operations between layers, each over numbers of every type and truth values: what Keras gives, or refused."""

import warnings

import numpy as np
import pytest

from service.errors import UnsupportedModelError
from service.model import keras_file
from service.model.layers.operations import ARITHMETIC, COMPARISONS, LIKE, OPERATIONS, UNARY

DTYPES = ["float16", "float32", "int64", "bool"]
CONSTANTS = [-1, 0.5, True, -(2**70), 1e30]
SNAKE = {
    "NotEqual": "not_equal", "GreaterEqual": "greater_equal", "LessEqual": "less_equal", "LogicalAnd": "logical_and",
    "LogicalOr": "logical_or", "TrueDivide": "true_divide", "OnesLike": "ones_like", "ZerosLike": "zeros_like",
    "ConvertToTensor": "convert_to_tensor", "TakeAlongAxis": "take_along_axis",
}  # fmt: skip


def cases(keras, x, y, kind):
    """The calls of an operation that are tried: on one tensor, on two, and on one and a number, either way round."""
    ops = keras.ops
    function = getattr(ops, SNAKE.get(kind, kind.lower()), None)
    if kind in UNARY or kind in LIKE:
        yield lambda: function(x)
        if kind in LIKE:
            yield lambda: function(x, dtype="int32")
    elif kind in ARITHMETIC or kind in COMPARISONS:
        yield lambda: function(x, y)
        yield lambda: function(2, x)
        for constant in CONSTANTS:
            yield lambda constant=constant: function(x, constant)
    elif kind == "GetItem":
        yield from (lambda: x[:, -1], lambda: x[..., 0], lambda: x[:, ::-1], lambda: x[:, 1:, :1])
    elif kind == "Concatenate":
        yield from (lambda: ops.concatenate([x, y], axis=-1), lambda: ops.concatenate([x, y], axis=1))
    elif kind == "ExpandDims":
        yield from (lambda: ops.expand_dims(x, 1), lambda: ops.expand_dims(x, -1))
    elif kind == "Squeeze":
        yield lambda: ops.squeeze(x[:, :1], 1)
    elif kind == "Any":
        yield from (lambda: ops.any(x, axis=-1), lambda: ops.any(x, axis=1))
    else:
        yield from array_cases(ops, x, y, kind)


def array_cases(ops, x, y, kind):
    """Those of operations on whole arrays."""
    condition = x if x.dtype == "bool" else x > y
    whole = ops.cast(x, "int32")
    return {
        "Cast": [lambda to=to: ops.cast(x, to) for to in ("float32", "float16", "int32", "bool")],
        "ConvertToTensor": [lambda: ops.convert_to_tensor(x)],
        "Sum": [lambda: ops.sum(x, axis=1), lambda: ops.sum(x, axis=[1, -1], keepdims=True)],
        "Mean": [lambda: ops.mean(x, axis=-1), lambda: ops.mean(x, axis=[2, 1])],
        "Softmax": [lambda: ops.softmax(x), lambda: ops.softmax(x, axis=1)],
        "Cumsum": [lambda: ops.cumsum(x, axis=1), lambda: ops.cumsum(x, axis=-1, dtype="float32")],
        "Reshape": [lambda: ops.reshape(x, (-1, 6)), lambda: ops.reshape(x, (-1, 2, 3, 1))],
        "Transpose": [lambda: ops.transpose(x, (0, 2, 1)), lambda: ops.transpose(x, (0, -2, -1))],
        "Stack": [lambda: ops.stack([x, y], axis=1), lambda: ops.stack([x, y, x], axis=-1)],
        "Take": [
            lambda: ops.take(x, 1, axis=1),
            lambda: ops.take(x, [[0, -1], [1, 2]], axis=1),
            lambda: ops.take(x, np.array([1, 0]), axis=-1),
        ],
        "TakeAlongAxis": [
            lambda: ops.take_along_axis(x, ops.minimum(ops.maximum(whole, -3), 2), axis=1),
            lambda: ops.take_along_axis(x, ops.minimum(ops.maximum(whole, 0), 1)[..., :1], axis=-1),
        ],
        "Where": [lambda: ops.where(condition, x, y), lambda: ops.where(condition, x, 0)],
        "Clip": [lambda: ops.clip(x, -1, 1), lambda: ops.clip(x, 1, -1), lambda: ops.clip(x, -0.5, 1.5)],
        "Matmul": [lambda: ops.matmul(x, ops.transpose(y, (0, 2, 1)))],
        "Einsum": [lambda: ops.einsum("bij,bkj->bik", x, y), lambda: ops.einsum("bij, bkl -> bjl", x, y)],
    }[kind]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", OPERATIONS)
def test_an_operation_gives_what_keras_gives(kind, dtype, tmp_path):
    """Values and type are Keras's; what cannot be so is refused when the file is read, and never for floats."""
    import keras
    import tensorflow as tf

    number = "float32" if dtype == "bool" else dtype
    a, b = (keras.Input((3, 2), dtype=number, name=name) for name in "ab")
    x, y = (a > 0, b > 0) if dtype == "bool" else (a, b)
    rng = np.random.default_rng(0)
    inputs = {name: rng.integers(-3, 4, (2, 3, 2)).astype(number) for name in "ab"}
    computed, refused = 0, []
    for call in cases(keras, x, y, kind):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Keras: division by zero among them
            try:
                model = keras.Model([a, b], [call(), a, b])  # all inputs are used
                expected = np.asarray(model([inputs["a"], inputs["b"]])[0])
            except (ValueError, TypeError, tf.errors.OpError):  # what Keras cannot compute either
                continue
            model.save(tmp_path / "m.keras")
        try:
            network = keras_file.read(tmp_path / "m.keras")
        except UnsupportedModelError as error:
            refused.append(error.message)
            continue
        spec = network.outputs[0]
        actual = network.forward(inputs).outputs[spec.name]
        assert actual.dtype == spec.dtype == expected.dtype
        close = 1e-6 if actual.itemsize > 2 else 2e-3
        np.testing.assert_allclose(actual.astype(float), expected.astype(float), rtol=close)
        computed += 1
    if dtype.startswith("float"):
        assert computed
        assert all("constant" in message for message in refused)
