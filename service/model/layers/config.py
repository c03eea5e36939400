"""The parts that all objects in a Keras config share: class, name, dtype and shapes."""

from collections.abc import Mapping
from typing import Any

from service.errors import CorruptModelError, UnsupportedModelError
from service.model.composed import COMPOSED
from service.model.layers.options import MAX_EXTENT, shown
from service.model.tensors import POLICIES, Policy, Shape

# What stands next to a layer's own options in its config.
COMMON = {"name", "trainable", "dtype", "batch_input_shape", "input_shape"}


def unwrap(document: Any, what: str) -> tuple[str, str, Mapping[str, Any]]:
    """Name, class and config out of {"class_name": …, "config": {"name": …, …}}.

    Raises CorruptModelError where it is not that, UnsupportedModelError where the class is not Keras's own.
    """
    if not isinstance(document, dict):
        raise CorruptModelError(f"{what}: expected an object, got {shown(document)}")
    class_name, config = document.get("class_name"), document.get("config")
    if not isinstance(class_name, str) or not isinstance(config, dict):
        raise CorruptModelError(f"{what}: expected an object with class_name and config")
    name = config.get("name", document.get("name"))
    if not isinstance(name, str) or not 0 < len(name) <= 256 or not name.isprintable():
        raise CorruptModelError(f"{what}: the name {shown(name)} is not one")
    module, registered = document.get("module"), document.get("registered_name")
    foreign = module is not None and not (
        isinstance(module, str) and (module == "keras" or module.startswith("keras."))
    )
    if foreign or (registered is not None and registered not in (class_name, "Functional", "Sequential")):
        raise UnsupportedModelError(
            f"layer {name} ({shown(class_name)}): a class of {shown(module)} cannot be loaded: "
            "custom layers are code, and nothing from a file is executed; make the network again with layers of Keras "
            "in its place, load the weights into it, and save that",
            layer=name,
            code=True,
            layer_class=shown(class_name),
        )
    return name, class_name, config


def parse_shape(value: Any, where: str) -> Shape:
    """A shape out of a config, its batch axis set free."""
    if not isinstance(value, list) or not value or len(value) > 32:
        raise CorruptModelError(f"{where}: {shown(value)} is not a shape")
    for extent in value:
        if extent is not None and (
            isinstance(extent, bool) or not isinstance(extent, int) or not 0 < extent <= MAX_EXTENT
        ):
            raise CorruptModelError(f"{where}: {shown(value)} is not a shape")
    return (None, *value[1:])


def layer_policy(value: Any, where: str) -> Policy:
    """Keras's dtype policy out of a config: a name, or an object around one."""
    if isinstance(value, dict):
        config = value.get("config")
        value = config.get("name") if isinstance(config, dict) else None
    if value is None:
        value = "float32"
    if not isinstance(value, str) or value not in POLICIES:
        raise UnsupportedModelError(
            f"{where}: dtype={shown(value)} is not supported; expected one of {', '.join(POLICIES)}", option="dtype"
        )
    return POLICIES[value]


def check_composed(options: Mapping[str, Any], policy: Policy, where: str) -> None:
    """Refuses an activation that a file writes as a model of layers where the layer is not in single precision."""
    for option in ("activation", "recurrent_activation"):
        name = options.get(option)
        if isinstance(name, str) and name in COMPOSED and policy.name != "float32":
            raise UnsupportedModelError(
                f"{where}: {option}={name} is not supported in {policy.name}; expected float32", option=option
            )
