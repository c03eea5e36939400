"""Converts TensorFlow's SavedModels by way of `tf_keras`, which loads them, and so runs what is in them."""

import os
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

from service.convert.conversion import Converted, convert
from service.errors import UnsupportedModelError
from service.model.container import open_regular
from service.model.limits import ReadLimits

PROGRAM, KERAS = "saved_model.pb", "keras_metadata.pb"


def is_one(folder: Path) -> bool:
    """Whether a folder is a SavedModel."""
    return folder.is_dir() and (folder / PROGRAM).exists()


def convert_folder(folder: Path, target: Path, limits: ReadLimits = ReadLimits()) -> Converted:  # noqa: B008 - frozen
    """Writes the Keras network in a SavedModel as a `.keras` file of Keras 3.

    Raises UnsupportedModelError where it holds no Keras network, or one with Python code; ModelError as
    `service.convert.conversion.convert`; ModuleNotFoundError without tf_keras.
    """
    if not (folder / KERAS).exists():
        raise UnsupportedModelError(
            f"{folder.name} holds no network of Keras 2 ({KERAS}), only its program: save the network itself with "
            "model.save('model.keras')"
        )
    with open_regular(folder / KERAS, limits.config_bytes) as file:
        if b'"class_name": "Lambda"' in file.read():
            raise UnsupportedModelError(f"{folder.name} holds a Lambda layer: it is Python code, which is never run")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    keras: Any = import_module("tf_keras")
    try:
        model = keras.models.load_model(str(folder), compile=False)
    except Exception as error:  # whatever tf_keras raises, it does not load the folder
        reason = str(error).strip().partition("\n")[0][:300]
        raise UnsupportedModelError(f"tf_keras refuses {folder.name}: {reason}") from error
    if not hasattr(model, "get_config"):
        raise UnsupportedModelError(f"{folder.name} holds no network of Keras")
    with tempfile.TemporaryDirectory(prefix="unroll-") as scratch:
        file_of_it = Path(scratch, "model.h5")
        model.save(file_of_it, include_optimizer=False)
        return convert([file_of_it], target, limits)
