"""By which road a file comes to be served: as it is, converted, through Keras, or not at all; and why."""

import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from service.convert import conversion
from service.convert.models import AsItIs, Rewritten
from service.convert.source import Source
from service.errors import ServiceError, UnsupportedModelError
from service.model import keras_config
from service.model.check import Report, check
from service.model.limits import ReadLimits

FILES = 1_000  # of a folder that are looked at
LOOKED_AT = 20_000  # names in folders
ENDINGS = (".keras", ".json", *conversion.H5_ENDINGS)


class Road(StrEnum):
    """How a file comes to be served."""

    SERVED = "as it is"
    CONVERT = "convert"
    THROUGH_KERAS = "--engine tensorflow"
    NOT = "not"


@dataclass(frozen=True)
class Found:
    """What is known of a file."""

    path: Path
    road: Road
    reasons: tuple[str, ...]  # why it is not served as it is; for a file that is converted, what is rewritten
    command: str = ""  # that goes that road
    report: Report | None = None  # of the file, or of what it is converted to


def find(path: Path, limits: ReadLimits = ReadLimits()) -> Found:  # noqa: B008 - frozen
    """The road of one file, or of a SavedModel. Raises OSError where it cannot be opened."""
    if path.is_dir() and (path / "saved_model.pb").exists():
        return Found(
            path, Road.CONVERT, ("a TensorFlow SavedModel; needs tf_keras",), f"unroll convert {path} new.keras"
        )
    if path.suffix == ".json":
        return _architecture(path, limits)
    if not conversion.converts(path, limits):
        report = check(path, limits)
        road = Road.SERVED if report.supported else Road.THROUGH_KERAS if report.through_keras else Road.NOT
        option = " --engine tensorflow" if road is Road.THROUGH_KERAS else ""
        command = f"unroll register {path}{option} --name NAME" if road is not Road.NOT else ""
        return Found(path, road, report.reasons, command, report)
    try:
        with tempfile.TemporaryDirectory(prefix="unroll-") as folder:
            target = Path(folder, f"{path.stem}.keras")
            made = conversion.convert([path], target, limits)
            return Found(path, Road.CONVERT, made.notes, f"unroll register {path} --name NAME", check(target, limits))
    except ServiceError as error:
        if "weights" in error.details:
            reason = "weights, which need their architecture"
            return Found(path, Road.CONVERT, (reason,), f"unroll convert MODEL.json {path} new.keras")
        return Found(path, Road.NOT, (error.message,))


def find_all(path: Path, limits: ReadLimits = ReadLimits()) -> Iterator[Found]:  # noqa: B008 - frozen
    """The roads of all model files in a folder, by name; a file that cannot be opened has none."""
    for file in sorted(_files(path)):
        try:
            yield find(file, limits)
        except (OSError, ServiceError) as error:
            yield Found(file, Road.NOT, (str(error),))


def _files(folder: Path) -> list[Path]:
    """What may be models in a folder and below; links are not followed."""
    found: list[Path] = []
    seen = 0
    for parent, folders, names in os.walk(folder):
        seen += len(names) + len(folders)
        if len(found) > FILES or seen > LOOKED_AT:
            raise UnsupportedModelError(f"{folder} holds more than {FILES} models or {LOOKED_AT} files")
        if "saved_model.pb" in names:
            found.append(Path(parent))
            folders.clear()
        else:
            found += [Path(parent, name) for name in names if name.endswith(ENDINGS)]
    return found


def _architecture(path: Path, limits: ReadLimits) -> Found:
    """A config in JSON, which becomes a model with its weights."""
    try:
        document, keras = conversion.architecture(path, limits)
        source = Source(document, keras)
        rewritten = Rewritten(source, limits) if source.keras_2 else AsItIs(document)
        keras_config.build(rewritten.document, limits)
    except ServiceError as error:
        return Found(path, Road.NOT, (error.message,))
    reason = "an architecture, which needs its file of weights"
    return Found(path, Road.CONVERT, (reason,), f"unroll convert {path} WEIGHTS.h5 new.keras")
