"""How a layer of Keras 2 is written for Keras 3: a table of rules, each of which changes one thing in a layer's config.

Held to the numbers that Keras 2 itself computes by tests/service/convert.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from service.errors import CorruptModelError, UnsupportedModelError
from service.model.composed import COMPOSED, KERAS2_HARD_SIGMOID
from service.model.layers.options import TRAINING_ONLY, shown
from service.model.tensors import POLICIES, Array


@dataclass
class Old:
    """A layer of an old file, changed in place by one rule after the other."""

    class_name: str
    config: dict[str, Any]
    name: str  # with the models and wrappers around it, as errors and notes have it
    bias: Callable[[], Array | None]  # among its weights, where the file lists them by layer
    weights: str = ""  # how its weights are stored, if not as Keras 3 stores them: a key of `stored.STORED`
    notes: list[str] = field(default_factory=list)  # of the rules that applied

    @property
    def where(self) -> str:
        """The layer as errors name it."""
        return f"layer {shown(self.name)} ({shown(self.class_name)})"

    def refuse(self, message: str) -> UnsupportedModelError:
        """An error that names the layer."""
        return UnsupportedModelError(f"{self.where}: {message}", layer_class=shown(self.class_name))


Rule = Callable[[Old], str | None]  # gives what it did, as a note for people; None where it had nothing to do

CLASSES = {
    "Model": "Functional",
    "BatchNormalizationV1": "BatchNormalization",
    "BatchNormalizationV2": "BatchNormalization",
    "LSTMV1": "LSTM",
    "LSTMV2": "LSTM",
    "GRUV1": "GRU",
    "GRUV2": "GRU",
    "UnifiedLSTM": "LSTM",
    "UnifiedGRU": "GRU",
    "CuDNNLSTM": "LSTM",
    "CuDNNGRU": "GRU",
}
# What Keras 2 wrote and Keras 3 does not know. None of it changes a prediction: values that would are refused first.
DROPPED = {
    "implementation",
    "time_major",
    "input_length",
    "input_dtype",
    "consume_less",
    "batch_input_shape",
    "input_shape",
    "renorm",
    "renorm_clipping",
    "renorm_momentum",
    "virtual_batch_size",
    "fused",
    "num_constants",
    "weights",
    "experimental_autocast",
    "autocast",
    "reverse_state_order",
}
ACTIVATIONS = ("activation", "recurrent_activation")
GATED = {"LSTM", "GRU", "ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D", "LSTMCell", "GRUCell"}


def code_is_refused(old: Old) -> None:
    """Lambda, and what Keras 2 makes of calls of TensorFlow's functions: nothing from a file is executed."""
    if old.class_name == "Lambda":
        raise old.refuse(
            "it is Python code, which is never run; make the network again with a layer of Keras in its place "
            "(Reshape, Rescaling, Permute, …), load these weights into it, and save that"
        )
    if "OpLambda" in old.class_name or old.class_name in {"TensorFlowOpLayer", "ClassMethod", "InstanceProperty"}:
        function = old.config.get("function", old.config.get("attr_name", old.config.get("node_def", "")))
        raise old.refuse(
            f"it calls TensorFlow's function {shown(function, 60)}, which the file only names; make the network again "
            "with a layer of Keras in its place, or in Keras 3 with keras.ops, load these weights into it, and save it"
        )


def what_cannot_be_said_is_refused(old: Old) -> None:
    """Options that would change what is computed, and that Keras 3 does not have."""
    for option, harmless, advice in (
        ("time_major", False, "make it with the batch first"),
        ("num_constants", None, "constants beside the input are not supported"),
        ("ragged", False, "pad its sequences to one length, with a Masking layer or mask_zero"),
        ("sparse", False, "give it dense arrays"),
        ("renorm", False, "batch renormalization is not in Keras 3"),
        ("causal", False, "attention that is causal by an option is not converted"),
    ):
        if old.config.get(option, harmless) not in (harmless, None, False, 0):
            raise old.refuse(f"{option}={shown(old.config[option])} is not supported: {advice}")


def class_is_renamed(old: Old) -> str | None:
    """Names that Keras gave its classes for a time, and cuDNN's classes, whose options are fixed."""
    new = CLASSES.get(old.class_name)
    if new is None:
        return None
    if old.class_name.startswith("CuDNN"):
        old.weights = old.class_name
        old.config |= {"activation": "tanh", "recurrent_activation": "sigmoid"}
        if new == "GRU":
            old.config["reset_after"] = True
    note = f"{old.class_name} is written as {new}"
    note += ", its weights in the order that Keras 3 has" if old.weights else ""
    old.class_name = new
    return note


def gates_default_to_hard_sigmoid(old: Old) -> str | None:
    """Where the config says nothing, Keras 2.0 to 2.2 computed gates with hard_sigmoid; Keras 3 takes sigmoid."""
    if old.class_name not in GATED or "recurrent_activation" in old.config:
        return None
    old.config["recurrent_activation"] = "hard_sigmoid"
    return "recurrent_activation is not given, which means hard_sigmoid"


def hard_sigmoid_keeps_its_values(old: Old) -> str | None:
    """Keras 2's hard_sigmoid is another function than Keras 3's of that name."""
    found = [option for option in ACTIVATIONS if old.config.get(option) == "hard_sigmoid"]
    for option in found:
        old.config[option] = COMPOSED[KERAS2_HARD_SIGMOID]
    return "hard_sigmoid is Keras 2's, clip(0.2 x + 0.5, 0, 1), which Keras 3 has no name for" if found else None


def reset_after_by_the_bias(old: Old) -> str | None:
    """A GRU before Keras 2.1.6 does not say where it resets: two biases mean `reset_after`, one or none mean not."""
    if old.class_name not in {"GRU", "GRUCell"} or "reset_after" in old.config:
        return None
    bias = old.bias()
    old.config["reset_after"] = bias is not None and bias.ndim == 2
    return f"reset_after={old.config['reset_after']}, by the shape of the bias"


def axis_is_one(old: Old) -> str | None:
    """tf.keras wrote the axis of a batch normalization as a list of one."""
    axis = old.config.get("axis")
    if old.class_name != "BatchNormalization" or not isinstance(axis, list):
        return None
    if len(axis) != 1:
        raise old.refuse(f"axis={shown(axis)} is not supported; expected one axis")
    old.config["axis"] = axis[0]
    return "axis=[k] of BatchNormalization is k"


def slope_is_renamed(old: Old) -> str | None:
    """LeakyReLU's `alpha` is `negative_slope` in Keras 3; Keras 2's default is 0.3, as is Keras 3's."""
    if old.class_name != "LeakyReLU" or "alpha" not in old.config:
        return None
    slope = old.config.pop("alpha")
    old.config["negative_slope"] = float(slope) if isinstance(slope, int) else slope
    return "alpha of LeakyReLU is negative_slope"


def threshold_is_relus(old: Old) -> str | None:
    """ThresholdedReLU is gone in Keras 3: x where x > theta, else 0, is ReLU with a threshold."""
    if old.class_name != "ThresholdedReLU":
        return None
    old.class_name = "ReLU"
    old.config["threshold"] = old.config.pop("theta", 1.0)
    return "ThresholdedReLU is ReLU with a threshold"


def numbers_are_plain(old: Old) -> None:
    """tf.keras wrote some numbers as arrays: {"class_name": "__numpy__", …} or {"type": "ndarray", "value": x}."""
    for option, value in old.config.items():
        old.config[option] = _plain(value)


def spatial_dropout_has_less(old: Old) -> None:
    """Keras 3's SpatialDropout1D takes no `trainable`, and not the `noise_shape` that it inherited without a use."""
    if old.class_name == "SpatialDropout1D":
        for option in ("noise_shape", "trainable"):
            old.config.pop(option, None)


def dtype_is_a_name(old: Old) -> None:
    """A policy is written as its name, which both understand; an Embedding's type, once, was that of its ids."""
    dtype = old.config.pop("dtype", None)
    if isinstance(dtype, Mapping):
        config = dtype.get("config")
        dtype = config.get("name") if isinstance(config, Mapping) else None
    if old.class_name == "InputLayer":
        old.config["dtype"] = dtype or "float32"
    elif isinstance(dtype, str) and not (old.class_name == "Embedding" and dtype not in POLICIES):
        old.config["dtype"] = dtype


def shape_is_renamed(old: Old) -> None:
    """An InputLayer's batch_input_shape is batch_shape."""
    if old.class_name != "InputLayer":
        return
    shape = old.config.get("batch_input_shape", old.config.get("batch_shape"))
    old.config = {"name": old.config.get("name"), "dtype": old.config["dtype"], "batch_shape": shape}


def what_is_for_training_is_dropped(old: Old) -> str | None:
    """Initializers, regularizers and constraints, and options of Keras 2 that no prediction depends on."""
    dropped = [key for key in old.config if key in TRAINING_ONLY and key != "seed"]
    for key in [*dropped, *(key for key in old.config if key in DROPPED)]:
        old.config.pop(key)
    return "initializers, regularizers and constraints are dropped" if dropped else None


RULES: tuple[Rule, ...] = (
    code_is_refused,
    what_cannot_be_said_is_refused,
    numbers_are_plain,
    class_is_renamed,
    gates_default_to_hard_sigmoid,
    hard_sigmoid_keeps_its_values,
    reset_after_by_the_bias,
    axis_is_one,
    slope_is_renamed,
    threshold_is_relus,
    spatial_dropout_has_less,
    dtype_is_a_name,
    shape_is_renamed,
    what_is_for_training_is_dropped,
)


def apply(old: Old) -> None:
    """All rules, in order. Raises UnsupportedModelError for what has no equal in Keras 3."""
    for rule in RULES:
        note = rule(old)
        if note:
            old.notes.append(note)


def _plain(value: Any) -> Any:
    """A number out of what NumPy's was written as."""
    if isinstance(value, dict) and value.get("type") == "ndarray":
        value = value.get("value")
    elif isinstance(value, dict) and value.get("class_name") == "__numpy__":
        config = value.get("config")
        value = config.get("value") if isinstance(config, dict) else None
    return value


def opened(document: Any, what: str) -> tuple[str, dict[str, Any], str]:
    """Class, a copy of the config, and name, out of {"class_name": …, "config": …}.

    Raises CorruptModelError where it is not that, UnsupportedModelError for a class that is not Keras's own.
    """
    if not isinstance(document, dict) or not isinstance(document.get("class_name"), str):
        raise CorruptModelError(f"{what}: expected an object with class_name and config, got {shown(document)}")
    class_name, config = document["class_name"], document.get("config")
    if isinstance(config, list):  # of a Sequential before Keras 2.2.3
        config = {"layers": config}
    if not isinstance(config, dict):
        raise CorruptModelError(f"{what}: expected an object with class_name and config")
    name = config.get("name", document.get("name"))
    module, registered = document.get("module"), document.get("registered_name")
    keras = module is None or str(module).partition(".")[0] in {"keras", "tf_keras"}
    if ">" in class_name or not keras or registered not in (None, class_name, "Functional", "Sequential"):
        raise UnsupportedModelError(
            f"layer {shown(name)} ({shown(class_name)}): it is a custom class, whose code is not in the file; make the "
            "network again with layers of Keras, load these weights into it, and save that",
            layer_class=shown(class_name),
        )
    if name is not None and not (isinstance(name, str) and 0 < len(name) <= 256 and name.isprintable()):
        raise CorruptModelError(f"{what}: the name {shown(name)} is not one")
    return class_name, dict(config), name or ""
