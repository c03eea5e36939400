"""Whether a `.keras` file opens wherever Keras is installed: it must refer to nothing outside Keras.

Keras looks up every class and function that a file names. One that it does not know ends `keras.saving.load_model`, and
with it MLflow's own loaders, in every process that did not define it. Files made by a training script often name such
things in what they were compiled with, a metric or a loss, which no prediction needs.
"""

import json
import shutil
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from registry.errors import ArtifactCorruptError, ArtifactRefusedError

CONFIG = "config.json"
COMPILED = "compile_config"  # what a model was compiled with: optimizer, loss, metrics
LARGEST_CONFIG = 8 << 20  # bytes, as the reader of files allows
LARGEST_MEMBER = 2 << 30  # bytes; no version is larger
PACKAGES = {"keras", "keras_hub", "keras_cv", "keras_nlp"}  # which Keras imports by itself
SHOWN = 10  # names in an error
# Functions of Keras that its files name without saying where they are from.
FUNCTIONS = {
    "celu", "elu", "exponential", "gelu", "glu", "hard_shrink", "hard_sigmoid", "hard_silu", "hard_tanh",
    "leaky_relu", "linear", "log_sigmoid", "log_softmax", "mish", "relu", "relu6", "selu", "sigmoid", "silu",
    "soft_shrink", "softmax", "softplus", "softsign", "sparse_plus", "sparse_sigmoid", "sparsemax",
    "squareplus", "tanh", "tanh_shrink", "threshold", "binary_accuracy", "binary_crossentropy",
    "binary_focal_crossentropy", "categorical_accuracy", "categorical_crossentropy",
    "categorical_focal_crossentropy", "categorical_generalized_cross_entropy", "categorical_hinge", "circle",
    "concordance_correlation", "cosine_similarity", "ctc", "dice", "hinge", "huber", "kl_divergence",
    "log_cosh", "mean_absolute_error", "mean_absolute_percentage_error", "mean_squared_error",
    "mean_squared_logarithmic_error", "pearson_correlation", "poisson", "sparse_categorical_accuracy",
    "sparse_categorical_crossentropy", "sparse_top_k_categorical_accuracy", "squared_hinge",
    "top_k_categorical_accuracy", "tversky",
}  # fmt: skip


def check(keras_file: Path) -> None:
    """Raises ArtifactRefusedError for a file that names what Keras does not have, ArtifactCorruptError if damaged."""
    if found := sorted(set(_foreign(_config(keras_file)))):
        named = ", ".join(name[:80] for name in found[:SHOWN])
        raise ArtifactRefusedError(f"the file names {named}, which Keras does not have: no other process could open it")


def strip(source: Path, target: Path) -> tuple[str, ...]:
    """Writes `source` to `target` without what it was compiled with, where that names what Keras does not have.

    Everything else stays as it is. Gives the names that were left out; where there are none, nothing is written.
    Raises ArtifactCorruptError for a damaged file.
    """
    config, found = _config(source), set[str]()
    for node in _mappings(config):
        if COMPILED in node and (names := set(_foreign(node[COMPILED]))):
            found |= names
            del node[COMPILED]
    if found:
        try:
            with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
                for info in old.infolist():
                    _copy(old, new, info, json.dumps(config).encode() if info.filename == CONFIG else None)
        except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, RuntimeError, NotImplementedError) as error:
            raise ArtifactCorruptError("the model file cannot be unpacked") from error
    return tuple(sorted(found))


def _copy(old: zipfile.ZipFile, new: zipfile.ZipFile, info: zipfile.ZipInfo, changed: bytes | None) -> None:
    """Copies a member in pieces, or writes other bytes in its place."""
    if changed is not None:
        new.writestr(info, changed)
        return
    if info.file_size > LARGEST_MEMBER:
        raise ArtifactCorruptError(f"{info.filename[:80]} has {info.file_size} bytes, the limit is {LARGEST_MEMBER}")
    written = zipfile.ZipInfo(info.filename, info.date_time)
    written.compress_type, written.external_attr, written.file_size = (
        info.compress_type,
        info.external_attr,
        info.file_size,
    )
    with old.open(info) as source, new.open(written, "w") as target:
        shutil.copyfileobj(source, target, 1 << 20)


def _config(keras_file: Path) -> Any:
    """The config of a file, parsed. Raises ArtifactCorruptError."""
    try:
        with zipfile.ZipFile(keras_file) as archive, archive.open(CONFIG) as file:
            data = file.read(LARGEST_CONFIG + 1)
        if len(data) > LARGEST_CONFIG:
            raise ArtifactCorruptError(f"{CONFIG} is larger than {LARGEST_CONFIG} bytes")
        return json.loads(data)
    except (KeyError, ValueError, RecursionError, zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
        # RuntimeError: encrypted, or packed by a method that is not known
        raise ArtifactCorruptError(f"the file is not a .keras file, or {CONFIG} in it is damaged") from error


def _foreign(document: Any) -> Iterator[str]:
    """The names of what a config needs and Keras does not have."""
    for node in _mappings(document):
        name, module, registered = node.get("class_name"), node.get("module"), node.get("registered_name")
        if name == "__lambda__":
            yield "a lambda"
        elif not isinstance(name, str):
            continue
        elif module == "builtins" and name == "function":
            if (function := str(node.get("config"))) not in FUNCTIONS:
                yield function
        elif module is not None:
            if str(module).partition(".")[0] not in PACKAGES:
                yield f"{module}.{name}"
        elif registered is not None:  # only what is not Keras's own is found by it
            yield str(registered)


def _mappings(document: Any) -> Iterator[dict[str, Any]]:
    """All mappings of a JSON document, however deep."""
    waiting = [document]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            yield node
            waiting += node.values()
        elif isinstance(node, list):
            waiting += node
