"""Activations that Keras has no name for, and a file writes as a model of layers.

Keras accepts any object of its own in place of the name of an activation, such as a Sequential of layers without
weights. `hard_sigmoid` of Keras 2 is written so: Keras 3 computes another function under that name.
"""

from typing import Any

# Keras 2's hard_sigmoid, clip(x / 5 + 1/2, 0, 1), of keras/activations.py in Keras 2.15. Keras 3's: relu6(x + 3) / 6.
KERAS2_HARD_SIGMOID = "keras2_hard_sigmoid"
SLOPE, MIDDLE = 0.2, 0.5

_DEFAULTS: dict[str, dict[str, Any]] = {
    "Rescaling": {"scale": SLOPE, "offset": MIDDLE},
    "ReLU": {"max_value": 1.0, "negative_slope": 0.0, "threshold": 0.0},
}


def _layer(class_name: str, name: str, **config: Any) -> dict[str, Any]:
    return {
        "module": "keras.layers",
        "class_name": class_name,
        "config": {"name": name, "dtype": "float32", **config},
        "registered_name": None,
    }


# By name: what stands in a config in place of it. Single precision, as the layers that have it must be.
COMPOSED: dict[str, dict[str, Any]] = {
    KERAS2_HARD_SIGMOID: {
        "module": "keras",
        "class_name": "Sequential",
        "config": {
            "name": KERAS2_HARD_SIGMOID,
            "dtype": "float32",
            "layers": [
                _layer("Rescaling", "line", **_DEFAULTS["Rescaling"]),
                _layer("ReLU", "clip", **_DEFAULTS["ReLU"]),
            ],
        },
        "registered_name": None,
    }
}


def recognized(document: Any) -> str:
    """The name of the activation that a model in a config is, whoever wrote it. Raises ValueError for other models."""
    layers = document["config"]["layers"] if document.get("class_name") == "Sequential" else []
    steps = [layer for layer in layers if layer["class_name"] != "InputLayer"]  # which Keras adds
    if [step["class_name"] for step in steps] != list(_DEFAULTS):
        raise ValueError
    for step in (document, *steps):
        if _precision(step["config"].get("dtype", "float32")) != "float32":
            raise ValueError
    for step, wanted in zip(steps, _DEFAULTS.values(), strict=True):
        if any(step["config"].get(option) != value for option, value in wanted.items()):
            raise ValueError
    return KERAS2_HARD_SIGMOID


def _precision(dtype: Any) -> Any:
    return dtype["config"]["name"] if isinstance(dtype, dict) else dtype
