"""Converts a file: reads it, rewrites its config, finds its weights, writes a file of Keras 3, and reads that."""

import os
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from service.convert import h5_file, safetensors, stored, torch_modules, torch_proof, writer
from service.convert.models import AsItIs, Rewritten
from service.convert.source import Source
from service.errors import InvalidArgumentError, ServiceError, UnsupportedModelError
from service.model import keras_config, keras_file
from service.model.container import CONFIG, METADATA, WEIGHTS, member, open_model, parse_json
from service.model.layers.options import shown
from service.model.limits import ReadLimits
from service.model.network import Network

TORCH = "PyTorch, .safetensors"
H5_ENDINGS = (".h5", ".hdf5", ".hdf", ".he5")
H5_SIGNATURE = b"\x89HDF\r\n\x1a\n"


@dataclass(frozen=True)
class Converted:
    """What came of a conversion."""

    network: Network
    origin: str  # what the source was: Keras 2.2.4, .h5
    notes: tuple[str, ...]  # what was rewritten


def convert(
    sources: Sequence[str | os.PathLike[str]],
    target: str | os.PathLike[str],
    limits: ReadLimits = ReadLimits(),  # noqa: B008 - frozen
) -> Converted:
    """Writes what files hold as a `.keras` file of Keras 3, whole or not at all.

    sources: a whole-model `.h5` file, a `.keras` file of Keras 2, or a JSON architecture and a file of its weights.

    Raises ModelError or LimitExceededError as the reader of `.keras` files; InvalidArgumentError for other sources;
    OSError where a file cannot be opened or written.
    """
    source, origin = read(sources, limits)
    return write(source, origin, Path(target), limits)


def convert_torch(
    path: Path,
    like: Path,
    target: Path,
    limits: ReadLimits = ReadLimits(),  # noqa: B008 - frozen
) -> tuple[Converted, float | None]:
    """Writes the weights of a PyTorch network as a `.keras` file; `like` describes its modules.

    Gives the largest difference from PyTorch, in units of what is allowed, where PyTorch is installed; else None.

    Raises InvalidArgumentError for a description that is none, ProofError where the difference is too large; ModelError
    and OSError as `convert`.
    """
    modules, tensors = torch_modules.description(like), safetensors.read(path, limits)
    model = torch_modules.build(modules, tensors)
    graph = keras_config.build(model.document, limits)
    weights = stored.fitted(model.weights, graph)
    unproven = target.with_name(target.name + ".unproven")
    try:
        writer.write(
            unproven, model.document, weights, graph, {"from": TORCH, "rewritten": [f"as {like.name} describes it"]}
        )
        network = keras_file.read(unproven, limits)
        error = torch_proof.compare(network, modules, tensors) if torch_proof.installed() else None
        unproven.replace(target)
    finally:
        unproven.unlink(missing_ok=True)
    return Converted(network, TORCH, ()), error


def write(source: Source, origin: str, target: Path, limits: ReadLimits) -> Converted:
    """Writes a source as a `.keras` file. Raises as `convert`."""
    rewritten = Rewritten(source, limits) if source.keras_2 else AsItIs(source.document)
    graph = keras_config.build(rewritten.document, limits)
    weights = stored.weights(source, graph, rewritten)
    writer.write(target, rewritten.document, weights, graph, {"from": origin, "rewritten": list(rewritten.notes)})
    return Converted(keras_file.read(target, limits), origin, rewritten.notes)


def read(sources: Sequence[str | os.PathLike[str]], limits: ReadLimits) -> tuple[Source, str]:
    """What files hold, and what they are. Raises as `convert`."""
    paths = [Path(path) for path in sources]
    if len(paths) == 1:
        (path,) = paths
        if kind(path) == "keras":
            source = _keras_2(path, limits)
            return source, _origin(source, ".keras")
        if path.suffix == ".json":
            raise InvalidArgumentError(f"{path.name} is an architecture without weights: give its file of weights too")
        source = h5_file.read(path, limits)
        return source, _origin(source, ".h5")
    if len(paths) == 2 and paths[0].suffix == ".json":
        document, keras = architecture(paths[0], limits)
        source = h5_file.read_weights(paths[1], document, keras, limits)
        return source, _origin(source, "JSON and weights")
    raise InvalidArgumentError("expected one .h5 or .keras file, or a .json file and its weights")


def architecture(path: Path, limits: ReadLimits) -> tuple[Any, str]:
    """The config in a JSON file, as `model.to_json()` writes it, and the version of Keras. Raises as `convert`."""
    document = parse_json(h5_file.contents(path, limits.config_bytes), path.name)
    if isinstance(document, str):  # written through json.dump, once more
        document = parse_json(document.encode("utf-8", "replace"), path.name)
    if not isinstance(document, dict) or "class_name" not in document or "config" not in document:
        raise UnsupportedModelError(f"{path.name} is not the architecture of a model, as model.to_json() writes it")
    version = document.get("keras_version")
    return document, version if isinstance(version, str) else ""


def kind(path: Path) -> str:
    """What a file is by its first bytes: h5, keras or another. Raises OSError."""
    head = h5_file.head(path)
    return "h5" if head == H5_SIGNATURE else "keras" if head.startswith(b"PK") else "other"


def converts(path: Path, limits: ReadLimits = ReadLimits()) -> bool:  # noqa: B008 - frozen
    """Whether a file is one that is converted before it is served: an H5 file, or a `.keras` file of Keras 2.

    Raises OSError where it cannot be opened, UnsupportedModelError for a folder.
    """
    found = kind(path)
    if found != "keras":
        return found == "h5"
    try:
        with open_model(path, limits) as archive:
            return _version(archive, limits).startswith("2.")
    except ServiceError:  # whoever reads it says why
        return False


def _keras_2(path: Path, limits: ReadLimits) -> Source:
    with open_model(path, limits) as archive:
        version = _version(archive, limits)
        if not version.startswith("2."):
            raise UnsupportedModelError(
                f"{path.name} was saved by Keras {shown(version) or '3'}, and is served as it is: unroll register"
            )
        document = parse_json(member(archive, CONFIG, limits.config_bytes))
        data = member(archive, WEIGHTS, limits.file_bytes)
    return h5_file.weights(data, document, version, limits)


def _version(archive: zipfile.ZipFile, limits: ReadLimits) -> str:
    if METADATA not in archive.namelist():
        return ""
    said = parse_json(member(archive, METADATA, limits.config_bytes), METADATA)
    version = said.get("keras_version") if isinstance(said, dict) else None
    return version if isinstance(version, str) else ""


def _origin(source: Source, what: str) -> str:
    if source.keras.startswith(("0.", "1.")):
        raise UnsupportedModelError(
            f"the file was saved by Keras {shown(source.keras)}; expected 2 or 3: Keras 2.0 opens it and saves it again"
        )
    version = shown(source.keras, 20) or ("2" if source.keras_2 else "3")
    return f"Keras {version}, {what}"
