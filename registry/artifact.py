"""A version folder: MLflow's layout of a Keras model, with a proof next to it. Reads only what it needs."""

import hashlib
import json
import re
import shutil
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from registry.errors import ArtifactCorruptError, ArtifactRefusedError

MLMODEL = "MLmodel"
KERAS_FILE = "data/model.keras"  # in both of MLflow's Keras layouts
H5_FILE = "data/model.h5"  # in MLflow 2's layout of Keras 2
H5 = (".h5", ".hdf5")
PROOF_FILE = "proof.npz"
INTERVALS_FILE = "intervals.json"  # prediction intervals, of a version that was trained to forecast
DOWNLOADED = "registered_model_meta"  # MLflow writes name and number of a version next to what it downloads
FLAVORS = ("keras", "tensorflow")
PICKLES = (".pickle", ".pkl", ".cloudpickle", ".joblib", ".pt", ".pth")
METADATA = "metadata.json"  # in the .keras file: which Keras wrote it
LARGEST_METADATA = 1 << 16  # bytes
LARGEST_MLMODEL = 256 * 1024  # bytes; MLflow writes a few thousand, and PyYAML takes 12 s for a million


class _Loader(yaml.SafeLoader):
    """Plain data without merge keys (`<<`): nested ones multiply until memory is full, and MLflow writes none."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Called for every mapping before it is made."""
        if any(key.tag == "tag:yaml.org,2002:merge" for key, _ in node.value):
            raise yaml.constructor.ConstructorError(None, None, "merge keys are not read", node.start_mark)
        super().flatten_mapping(node)


def keras_version(keras_file: Path) -> str:
    """The version of Keras that wrote a file, as the file says; it goes into lists of requirements.

    Raises ArtifactCorruptError where the file does not say it, or says something else.
    """
    try:
        with zipfile.ZipFile(keras_file) as archive, archive.open(METADATA) as file:
            said = json.loads(file.read(LARGEST_METADATA))["keras_version"]
    except (KeyError, TypeError, ValueError, RecursionError, OSError, zipfile.BadZipFile, zlib.error, RuntimeError):
        said = None  # RuntimeError: encrypted, or packed by a method that is not known
    if not isinstance(said, str) or not re.fullmatch(r"\d+(\.\w{1,20}){1,5}", said, re.ASCII):
        raise ArtifactCorruptError(f"{METADATA} in the file does not name the version of Keras that wrote it")
    return said


def check_files(paths: Iterable[str]) -> None:
    """Refuses a version by the names of its files, before anything of it is downloaded.

    Raises ArtifactRefusedError for pickles, `.h5` and SavedModel; ArtifactCorruptError where files are missing.
    """
    names = set(paths)
    # First what the version is, then what lies beside it.
    for name in sorted(names):
        if name.endswith(H5):
            raise ArtifactRefusedError(
                f"{name} is in Keras's old H5 format, which is not served; unroll register --repair "
                "models:/NAME/VERSION converts it into a new version"
            )
    for name in sorted(names):
        if name.endswith("saved_model.pb"):
            raise ArtifactRefusedError(
                f"{name} is a TensorFlow SavedModel, which is not served; unroll convert FOLDER new.keras writes the "
                "network in it to a file, where tf_keras is installed"
            )
    for name in sorted(names):
        if name.endswith(PICKLES):
            held = [other for other in sorted(names) if other.endswith(".keras")][:1]
            around = (
                f"; unroll register --repair models:/NAME/VERSION --unwrap registers {held[0]} alone" if held else ""
            )
            raise ArtifactRefusedError(
                f"{name} is a pickle: reading it would execute its content, so it is never read{around}"
            )
    for name in (MLMODEL, KERAS_FILE):
        if name not in names:
            raise ArtifactCorruptError(f"the version has no file {name}; is it a Keras model?")


def to_repair(paths: Iterable[str], *, unwrap: bool) -> str:
    """The one file of a version that is to be registered anew: "" where the version is served, or mended, as a whole.

    A version may be an `.h5` file, have pickles beside its network, or be a wrapper in Python around one, whose code
    may do anything before and after: what the network gives alone is registered only with `unwrap`.

    Raises ArtifactRefusedError for other kinds.
    """
    names = set(paths)
    own = next((name for name in (KERAS_FILE, H5_FILE) if name in names), "")
    if own:
        return "" if own == KERAS_FILE and not any(name.endswith((*PICKLES, *H5)) for name in names) else own
    held = sorted(name for name in names if name.endswith((".keras", *H5)))
    if not held:
        check_files(names)
    if not unwrap:
        code = next((name for name in sorted(names) if name.endswith(PICKLES)), "its code")
        raise ArtifactRefusedError(
            f"the version is a wrapper in Python ({code}, which is never run) around {', '.join(held)[:200]}: what it "
            "does besides is not known; --unwrap registers the network alone"
        )
    if len(held) != 1:
        raise ArtifactRefusedError(
            f"the version holds {len(held)} networks, {', '.join(held)[:200]}: which one is open"
        )
    return held[0]


def keras_file(directory: Path) -> Path:
    """The `.keras` file of a downloaded version.

    Raises ArtifactRefusedError where it is not a Keras model in a layout that is read, ArtifactCorruptError where it
    is damaged.
    """
    root = directory.resolve()
    for path in directory.rglob("*"):
        if path.is_symlink() or not path.resolve().is_relative_to(root):
            raise ArtifactRefusedError(f"{path.name} is a link, and links are not followed")
    check_files(path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file())
    flavors = read_mlmodel(directory).get("flavors")
    if not isinstance(flavors, dict) or not any(flavor in flavors for flavor in FLAVORS):
        named = ", ".join(sorted(map(str, flavors)))[:200] if isinstance(flavors, dict) else "none"
        raise ArtifactRefusedError(f"the version has the flavors {named}; expected {' or '.join(FLAVORS)}")
    return directory / KERAS_FILE


def read_mlmodel(directory: Path) -> dict[str, Any]:
    """What the MLmodel file says. Raises ArtifactCorruptError."""
    path = directory / MLMODEL
    try:
        if path.stat().st_size > LARGEST_MLMODEL:
            raise ArtifactCorruptError(f"{MLMODEL} has {path.stat().st_size} bytes, the limit is {LARGEST_MLMODEL}")
        content = yaml.load(path.read_bytes(), _Loader)  # noqa: S506 - it is a SafeLoader
    except ArtifactCorruptError:
        raise
    except Exception as error:  # for some values PyYAML raises whatever int(), datetime() or its own slips raise
        raise ArtifactCorruptError(f"{MLMODEL} cannot be read: {type(error).__name__}") from error
    if not isinstance(content, dict):
        raise ArtifactCorruptError(f"{MLMODEL} is not a mapping")
    return content


def digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def derive(base: Path, into: Path, model: Path, proof: Path | None, *, same_weights: bool = False) -> Path:
    """A version folder like `base` (signature, example, requirements), with another network and proof; gives `into`.

    Prediction intervals hold for the weights that they were measured with: others have none.
    """
    left_out = [DOWNLOADED] if same_weights else [DOWNLOADED, INTERVALS_FILE]
    shutil.copytree(base, into, ignore=shutil.ignore_patterns(*left_out))
    shutil.copyfile(model, into / KERAS_FILE)
    (into / PROOF_FILE).unlink(missing_ok=True)
    if proof is not None:
        shutil.copyfile(proof, into / PROOF_FILE)
    return into
