"""The Keras engine, for files that our reader does not support. Used only if the operator asks for it.

Only then is TensorFlow imported, which takes seconds and hundreds of megabytes; nothing else that serves does that.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from service.errors import InvalidArgumentError, NotSupportedError, UnsupportedModelError
from service.model import keras_file
from service.model.engines.choice import TENSORFLOW
from service.model.layers.patch import Patch
from service.model.network import SOME, LayerCall, LayerInfo, Network
from service.model.results import Result, Trace
from service.model.tensors import STRING, Array, TensorSpec

ENGINE = "tensorflow"
REASON = "it is served through Keras, which shows neither its weights nor its states here"


def read(path: Path, through_keras: bool) -> Network:
    """The network of a file. What our reader does not support is computed by Keras where that is asked for.

    Raises ModelError as `keras_file.read`, and where Keras cannot compute it either.
    """
    try:
        return keras_file.read(path)
    except UnsupportedModelError:
        if not through_keras:
            raise
        return KerasNetwork(path)


def load(path: Path) -> Any:
    """Keras's model of a file, with its safe mode on, which runs no code of the file. It keeps no state between calls.

    Raises UnsupportedModelError where Keras refuses the file.
    """
    import keras

    try:
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # whatever Keras raises, it does not compute the file
        reason = _first_line(error)
        if "safe_mode" in str(error):  # Keras advises to turn it off, which nobody can here
            reason = "it holds Python code (a Lambda), which is never run"
        raise UnsupportedModelError(f"Keras, in safe mode, refuses the file: {reason}") from error
    # A stateful layer begins where its last call ended, regardless of who made that call.
    for layer in model._flatten_layers(include_self=False):  # those within wrappers and models too
        if getattr(layer, "stateful", False):
            layer.stateful = False
    return model


class KerasNetwork(Network):
    """What `Network` is to callers, but for what Keras does not show: states, traces, and changes of weights."""

    computed_by = TENSORFLOW

    def __init__(self, path: Path) -> None:
        """Loads a file with Keras's safe mode on, which runs no code of the file.

        Raises UnsupportedModelError where TensorFlow is not installed, or Keras refuses the file.
        """
        try:
            import keras
            import tensorflow as tf
        except ImportError:
            raise UnsupportedModelError("the engine tensorflow needs TensorFlow, which is not installed") from None
        model = load(path)
        self._model, self._call = model, tf.function(model, reduce_retracing=True)
        self.name = model.name
        self.inputs = tuple(_spec(tensor.name, tensor) for tensor in model.inputs)
        names = getattr(model, "output_names", [model.layers[-1].name])  # a Sequential has none
        self.outputs = tuple(_spec(name, tensor) for name, tensor in zip(names, model.outputs, strict=True))
        self.declared, self.states = self.inputs, ()
        self.layers = tuple(
            LayerInfo(
                layer.name,
                type(layer).__name__,
                tuple(keras.tree.flatten(layer.output)[0].shape),
                layer.count_params(),
                (),
            )
            for layer in model.layers
        )
        self.parameter_count = model.count_params()
        self.precision = _precision(model)
        self.vocabulary = {
            tensor.name: layer.input_dim
            for layer in model.layers
            for tensor in model.inputs
            if isinstance(layer, keras.layers.Embedding) and layer.input is tensor
        }
        self.words = {spec.name: _words(model, spec.name) for spec in self.inputs if spec.dtype == STRING}
        self.streamable, self.not_streamable_reason = False, REASON
        self.notes = (f"the reader does not support this file, so {REASON}",)
        self._inputs = {spec.name: spec for spec in self.inputs}
        self._states: dict[str, TensorSpec] = {}

    @property
    def weights(self) -> NoReturn:  # type: ignore[override]  # there are none to be seen
        """Raises NotSupportedError."""
        raise NotSupportedError(REASON)

    @property
    def graph(self) -> NoReturn:  # type: ignore[override]  # Keras keeps it
        """Raises NotSupportedError."""
        raise NotSupportedError(REASON)

    def cost(self, shapes: tuple[tuple[int, ...], ...], *, traced: bool = False) -> int:
        """Nothing: Keras does not say beforehand."""
        return 0

    def forward(self, inputs: Mapping[str, Array], initial_state: Mapping[str, Array] | None = None) -> Result:
        """As `Network.forward`."""
        arrays: Any = [_given(inputs[spec.name]) for spec in self.inputs]
        given = arrays if len(arrays) > 1 else arrays[0]
        try:
            try:
                found = self._call(given, training=False)
            except Exception:  # some layers want to know each extent, and a graph leaves open what varies
                found = self._model(given, training=False)
        except Exception as error:  # Keras has no one class for numbers that a layer cannot take
            raise InvalidArgumentError(f"inputs: Keras refuses them: {_first_line(error)}", field="inputs") from error
        import keras

        arrays = map(_found, keras.tree.flatten(found))
        return Result({spec.name: array for spec, array in zip(self.outputs, arrays, strict=True)}, {})

    def trace(
        self,
        inputs: Mapping[str, Array],
        initial_state: Mapping[str, Array] | None = None,
        layers: Collection[str] | None = None,
        check: Callable[[], None] | None = None,
        patches: Sequence[Patch] = (),
    ) -> Trace:
        """Raises NotSupportedError."""
        raise NotSupportedError(REASON)

    def patched(
        self, inputs: Mapping[str, Array], initial_state: Mapping[str, Array] | None, patches: Sequence[Patch]
    ) -> Result:
        """Raises NotSupportedError."""
        raise NotSupportedError(REASON)

    def record(
        self,
        inputs: Mapping[str, Array],
        initial_state: Mapping[str, Array] | None = None,
        patches: Sequence[Patch] = (),
        check: Callable[[], None] | None = None,
    ) -> tuple[Result, list[LayerCall]]:
        """Raises NotSupportedError."""
        raise NotSupportedError(REASON)

    def with_weights(self, changes: Mapping[str, Array]) -> Network:
        """Raises NotSupportedError."""
        raise NotSupportedError(REASON)


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:300]


def _precision(model: Any) -> str:
    kinds = [_dtype(layer.compute_dtype) for layer in model.layers]
    floats = [kind for kind in kinds if kind.kind == "f"]
    return min(floats, key=lambda kind: kind.itemsize).name if floats else "float64"


def _words(model: Any, name: str) -> tuple[Sequence[str], int]:
    """As `Network.words`, of one input."""
    import keras

    known: list[str] = []
    count = 1
    for layer in model.layers:
        reads = layer is not model and any(tensor.name == name for tensor in keras.tree.flatten(layer.input))
        if reads and isinstance(layer, keras.layers.TextVectorization | keras.layers.StringLookup):
            known += layer.get_vocabulary(include_special_tokens=False)[:SOME]
            count = SOME if isinstance(layer, keras.layers.TextVectorization) else count
    return known or ["word"], count


def _spec(name: str, tensor: Any) -> TensorSpec:
    return TensorSpec(name, _dtype(tensor.dtype), tuple(tensor.shape))


def _dtype(name: str) -> np.dtype[Any]:
    """NumPy's type of what Keras calls by a name."""
    return STRING if name == "string" else np.dtype(name)


def _given(array: Array) -> Any:
    """An input as Keras takes it."""
    if array.dtype != STRING:
        return array
    import tensorflow as tf

    return tf.constant(array, tf.string)


def _found(tensor: Any) -> Array:
    """What Keras gave as an array; texts are bytes there."""
    array = np.asarray(tensor)
    if array.dtype != STRING:
        return array
    texts = np.empty(array.size, STRING)
    texts[:] = [text.decode(errors="replace") for text in array.ravel()]
    return texts.reshape(array.shape)
