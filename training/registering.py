"""Registers an existing `.keras` file, or a repaired copy of a registered one.

A file is read as the service reads it, and proven by Keras where Keras is installed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from registry import artifact, description, portable, references, tag
from registry.store import Store
from service.convert import conversion, writer
from service.errors import InvalidArgumentError, UnsupportedModelError
from service.model import proof as proofs
from service.model.check import check
from service.model.engines import keras as keras_network
from service.model.engines.choice import TENSORFLOW, chance
from service.model.network import Network
from service.model.tensors import STRING, type_name
from training import labels as class_labels
from training.recording import temporary_folder

LONGEST_TAG = 4_000  # characters of a value; MLflow keeps 5,000 and more
PROOF_BATCH = 3  # of the random inputs that a proof is made of, where none are given

Arrays = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Registered:
    """What came of a file."""

    version: str
    parity: float | None  # error of our own network against Keras, as a fraction of what is allowed; None: no proof
    notes: tuple[str, ...]  # what a user should know of how it is served


def register(
    file: Path,
    name: str,
    *,
    alias: str = "",
    experiment: str = "",
    proof_from: Path | None = None,
    engine: str = "",
    labels: Sequence[str] = (),
) -> Registered:
    """Registers a file as a version; points an alias at it, if one is named.

    What `service.convert` reads is converted first: `.h5` files, and `.keras` files of Keras 2.

    `proof_from` is an .npz file with an array for each input, by name; a single input needs no name. With the engine
    tensorflow a file is registered, too, that the reader does not support, and Keras computes. `labels` name the
    classes of its outputs.

    Raises ModelError for a file that the service could not serve, or that computes something else here than in Keras;
    InvalidArgumentError for inputs that do not fit, or another engine; RegistryError; OSError for a file that cannot
    be opened.
    """
    if engine not in ("", TENSORFLOW):
        raise InvalidArgumentError(f"no engine {engine!r} to register with; there is {TENSORFLOW}", field="engine")
    with temporary_folder() as folder:
        made_of = _converted(file, folder)
        return _register(made_of, file.name, name, alias, experiment, proof_from, engine, labels=labels)


def _converted(file: Path, folder: Path) -> Path:
    """The file, or what it is converted to in a folder."""
    if not conversion.converts(file):
        return file
    target = folder / f"{file.stem}.keras"
    conversion.convert([file], target)
    return target


def _register(
    file: Path,
    given: str,
    name: str,
    alias: str,
    experiment: str,
    proof_from: Path | None,
    engine: str,
    tags: Mapping[str, str] = MappingProxyType({tag.KIND: "registered"}),
    labels: Sequence[str] = (),
) -> Registered:
    """`register` of a `.keras` file; `given` is the name of the one that it was made of."""
    try:
        network = keras_network.read(file, engine == TENSORFLOW)
    except UnsupportedModelError as error:
        if engine == TENSORFLOW or not check(file).through_keras:
            raise
        hint = f"; with --engine {TENSORFLOW} Keras may compute it, here and in the server"
        raise UnsupportedModelError(f"{error.message}{hint}", **error.details) from error
    if labels:
        tags = {**tags, tag.DATA: class_labels.record(labels, network.outputs)}
    inputs = _given(proof_from, network) if proof_from else chance(network, _batch(network))
    try:
        network.forward(inputs)
    except InvalidArgumentError as error:
        hint = f"{proof_from.name}: " if proof_from else "give inputs with --proof-from: random ones do not fit: "
        raise InvalidArgumentError(f"{hint}{error.message}", field="proof-from") from error
    store = Store()
    with (
        store.run(experiment or name, f"{name} from {given}", {"unroll.file": given}) as run,
        temporary_folder() as folder,
    ):
        stripped = folder / "stripped.keras"
        origin, rewritten = writer.origin(file)
        left_out = portable.strip(file, stripped)
        file = stripped if left_out else file
        parity, proof_file = None, None
        if find_spec("keras") is not None:
            from training.proving import prove  # imports TensorFlow

            proof = prove(file, inputs, network)
            parity = proofs.replay(network, proof)
            proof_file = folder / "proof.npz"
            proof.save(proof_file)
        version = run.register(
            name,
            file,
            proof_file=proof_file,
            example=inputs,
            inputs=network.inputs,
            outputs=network.outputs,
            tags={**tags, **_origin_tags(origin, rewritten)},
            description=description.of_file(given, [f"converted from {origin}", *rewritten] if origin else ()),
        )
        if alias:
            store.set_alias(name, alias, version.number)
    converted = (f"converted from {origin}:", *(f"  {note}" for note in rewritten)) if origin else ()
    return Registered(version.number, parity, (*converted, *network.notes, *_left_out(left_out)))


def _origin_tags(origin: str, rewritten: Sequence[str]) -> dict[str, str]:
    """What a file was converted from, and what was rewritten, as tags of its version."""
    return {tag.CONVERTED_FROM: origin, tag.REWRITTEN: "; ".join(rewritten)[:LONGEST_TAG]} if origin else {}


@dataclass(frozen=True)
class Repaired:
    """What came of a version that only some processes could open."""

    name: str
    base: str  # the version that was mended
    version: str  # the new one, with the same weights; empty where there was nothing to mend
    left_out: tuple[str, ...]
    notes: tuple[str, ...] = ()  # of a version that was converted


def repair(reference: str, *, alias: str = "", engine: str = "", unwrap: bool = False) -> Repaired:
    """Registers a version anew, with the same weights, without what it was compiled with if that is not Keras's own.

    A version that is an `.h5` file, of Keras 2, or has pickles beside its network becomes one that is none of that;
    with `unwrap` also the network inside a wrapper in Python. Only the network's own file is downloaded then.

    Points an alias at the new version, if one is named. Raises ModelError for a file that the service could not serve,
    InvalidReferenceError, RegistryError.
    """
    store = Store()
    base = store.resolve(references.parse(reference))
    with temporary_folder() as folder:
        inner = artifact.to_repair(store.files(base.name, base.number), unwrap=unwrap)
        if inner:
            taken = store.take(base.name, base.number, inner, folder / "base")
            return _registered_anew(base.name, base.number, _converted(taken, folder), inner, alias, engine)
        downloaded = store.download(base.name, base.number, folder / "base")
        file = artifact.keras_file(downloaded)
        if conversion.converts(file):
            made_of = _converted(file, folder)
            return _registered_anew(base.name, base.number, made_of, artifact.KERAS_FILE, alias, engine)
        keras_network.read(file, engine == TENSORFLOW)  # within the bounds that any file is read with
        stripped, proof = folder / "stripped.keras", downloaded / artifact.PROOF_FILE
        left_out = portable.strip(file, stripped)
        if not left_out:
            return Repaired(base.name, base.number, "", ())
        tags = {key: value for key, value in base.tags.items() if not key.startswith(f"{tag.MOVED}.")} | {
            tag.KIND: "repaired",
            tag.BASE_VERSION: base.number,
            tag.REASON: _left_out(left_out)[0],
        }
        kept = proof if proof.exists() else None
        text = description.of_file(f"version {base.number}, with the same weights", [tags[tag.REASON]])
        made = store.derive(base.name, base.number, stripped, kept, tags, same_weights=True, description=text)
    if alias:
        store.set_alias(base.name, alias, made.number)
    return Repaired(base.name, base.number, made.number, left_out)


def _registered_anew(name: str, number: str, file: Path, inner: str, alias: str, engine: str) -> Repaired:
    """A file of a version as a new version, which names the one that it is of."""
    reason = f"{inner} of version {number}, by itself"
    tags = {tag.KIND: "repaired", tag.BASE_VERSION: number, tag.REASON: reason}
    made = _register(file, f"version {number}", name, alias, "", None, engine, tags)
    return Repaired(name, number, made.version, (), (reason, *made.notes))


def _left_out(names: tuple[str, ...]) -> tuple[str, ...]:
    """A sentence about what was left out of a file, if anything was."""
    if not names:
        return ()
    listed = ", ".join(name[:80] for name in names[:10])
    return (f"what the network was compiled with is left out, since it names {listed}, which Keras does not have",)


def _batch(network: Network) -> int:
    """How many sequences a proof has: as many as the file takes at a time, where it says so."""
    return next((spec.shape[0] for spec in network.declared if spec.shape[0]), PROOF_BATCH)


def _given(path: Path, network: Network) -> dict[str, npt.NDArray[Any]]:
    """The arrays of an .npz file as inputs of a network."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (ValueError, EOFError, AttributeError) as error:
        raise InvalidArgumentError(f"{path.name} is not an .npz file of plain arrays", field="proof-from") from error
    if len(arrays) == len(network.inputs) == 1:
        arrays = {network.inputs[0].name: next(iter(arrays.values()))}
    wanted = {spec.name: spec.dtype for spec in network.inputs}
    inputs: dict[str, npt.NDArray[Any]] = {}
    for name, array in arrays.items():
        dtype = wanted.get(name, array.dtype)
        if not _becomes(array.dtype, dtype):
            raise InvalidArgumentError(
                f"{path.name}: {name} holds {array.dtype.name}, expected {type_name(dtype)}", field="proof-from"
            )
        inputs[name] = array.astype(dtype)
    network.check(inputs)
    for spec in network.declared:
        shape = inputs[spec.name].shape
        if any(extent not in (None, actual) for extent, actual in zip(spec.shape, shape, strict=True)):
            raise InvalidArgumentError(
                f"{path.name}: {spec.name} has shape {list(shape)}, but Keras takes only {list(spec.shape)} for this "
                "file, None being any", field="proof-from",
            )  # fmt: skip
    return inputs


def _becomes(given: np.dtype[Any], wanted: np.dtype[Any]) -> bool:
    """Whether arrays of a type are taken for inputs of another: texts and truth values alone for themselves."""
    if wanted == STRING or given.kind == "U":
        return wanted == STRING and given.kind == "U"
    if wanted.kind == "b" or given.kind == "b":
        return wanted == given
    return given.kind in "iuf" and (given.kind, wanted.kind) != ("f", "i")
