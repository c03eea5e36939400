"""The container of a `.keras` file: a zip with a fixed set of members, read within limits."""

import json
import os
import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from service.errors import CorruptModelError, LimitExceededError, ServiceError, UnsupportedModelError
from service.model.layers.options import shown
from service.model.limits import ReadLimits

CONFIG, WEIGHTS, METADATA = "config.json", "model.weights.h5", "metadata.json"
SIGNATURES = {
    b"\x89HDF\r\n\x1a\n": "an HDF5 file (Keras's old .h5 format, or weights alone): unroll convert writes it as .keras",
    b"\x80\x04": "a pickle",
    b"\x80\x05": "a pickle",
    b"version https://git-lfs": "a pointer of Git LFS, not the file that `git lfs pull` fetches",
}
SIGNATURE_BYTES = max(map(len, SIGNATURES))
ENCRYPTED = 0x1
# The end of a zip: its record, the comment after it, and the record before it in zips of the 64-bit kind.
END_SIGNATURE, END_SIZE, LOCATOR_SIGNATURE, LOCATOR_SIZE = b"PK\5\6", 22, b"PK\6\7", 20
END_REACH = END_SIZE + (1 << 16) + LOCATOR_SIZE
ENTRY_BYTES = 512  # of one entry of the list of members; Keras's take some 60


@contextmanager
def open_model(path: str | os.PathLike[str], limits: ReadLimits) -> Iterator[zipfile.ZipFile]:
    """The zip of a model, its members checked, none of them unpacked.

    Raises CorruptModelError, UnsupportedModelError or LimitExceededError; where a path cannot be opened,
    that stays an OSError.
    """
    with open_regular(path, limits.file_bytes) as file, open_zip(file, limits) as archive:
        yield archive


@contextmanager
def open_regular(path: str | os.PathLike[str], limit: int) -> Iterator[BinaryIO]:
    """A file, once it is known to be one (a pipe or device may never end), and no larger than a limit."""
    # Without O_NONBLOCK the opening of a pipe would wait for a writer.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    status = os.fstat(descriptor)
    if stat.S_ISDIR(status.st_mode):
        os.close(descriptor)
        raise UnsupportedModelError(folder_sentence(Path(path)))
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(status.st_mode):
            raise CorruptModelError("it is not a regular file")
        if status.st_size > limit:
            raise too_large("the file", limit, status.st_size)
        yield file


def folder_sentence(path: Path) -> str:
    """What a folder is that was given where a file is expected, and what to do about it."""
    name = path.resolve().name
    if (path / "saved_model.pb").exists():
        return (
            f"{name} is a TensorFlow SavedModel, a program rather than data: unroll convert {name} new.keras writes "
            "the Keras network in it to a file, where tf_keras is installed"
        )
    if (path / "MLmodel").exists():
        held = next((file.name for kind in ("*.keras", "*.h5") for file in (path / "data").glob(kind)), "")
        return f"{name} is the folder of an MLflow model: give the file in it" + (f", data/{held}" if held else "")
    if (path / CONFIG).exists() and (path / WEIGHTS).exists():
        return f"{name} is a .keras file that was unpacked: zip what is in it, or save the network again"
    return f"{name} is a folder; expected a file"


def check_directory(file: BinaryIO, limits: ReadLimits) -> None:
    """Bounds the zip's list of members before it is parsed: zipfile makes an object of each entry, however many.

    Finds the end record as zipfile does. Raises LimitExceededError, CorruptModelError where there is none.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - END_REACH))
    tail = file.read()
    file.seek(0)
    plain = tail[-END_SIZE:]
    at = (
        len(tail) - END_SIZE
        if plain.startswith(END_SIGNATURE) and plain.endswith(b"\0\0")
        else tail.rfind(END_SIGNATURE)
    )
    if at < 0 or len(tail) < at + END_SIZE:
        raise CorruptModelError("it is not a zip file, or a damaged one")
    length = int.from_bytes(tail[at + 12 : at + 16], "little")
    limit = limits.members * ENTRY_BYTES
    if tail[at - LOCATOR_SIZE : at].startswith(LOCATOR_SIGNATURE) or length > limit:
        raise too_large("the zip's list of members", limit, length)


def read_config(archive: zipfile.ZipFile, limits: ReadLimits) -> Any:
    """The config, parsed, of a file that Keras 3 wrote. Raises as `open_model`."""
    _check_version(archive, limits)
    return parse_json(member(archive, CONFIG, limits.config_bytes))


def _check_version(archive: zipfile.ZipFile, limits: ReadLimits) -> None:
    """Refuses what Keras 2 wrote: Keras 3 cannot open it, so nothing here could be compared with Keras.

    A file that does not say who wrote it is taken at its contents.
    """
    try:
        said = parse_json(member(archive, METADATA, limits.config_bytes))["keras_version"]
    except (KeyError, TypeError, ServiceError):
        return
    if isinstance(said, str) and said.startswith("2."):
        raise UnsupportedModelError(
            f"the file was saved by Keras {shown(said)}; expected Keras 3: unroll convert writes it for Keras 3, "
            "with the numbers of Keras 2"
        )


def open_zip(file: BinaryIO, limits: ReadLimits) -> zipfile.ZipFile:
    """The zip, once its list of members is one that Keras writes."""
    head = file.read(SIGNATURE_BYTES)
    file.seek(0)
    for signature, what in SIGNATURES.items():
        if head.startswith(signature):
            raise UnsupportedModelError(f"this is {what}; expected a .keras file, a zip with {CONFIG} and {WEIGHTS}")
    check_directory(file, limits)
    try:
        archive = zipfile.ZipFile(file)
        names = archive.namelist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError, EOFError, UnicodeDecodeError) as error:
        raise CorruptModelError("it is not a zip file, or a damaged one") from error
    if len(names) > limits.members:
        raise LimitExceededError(
            f"the zip has {len(names)} members, the limit is {limits.members}", limit=limits.members, actual=len(names)
        )
    if len(set(names)) < len(names):
        raise CorruptModelError("the zip has two members of one name")
    for name in names:
        if name in {CONFIG, WEIGHTS, METADATA}:
            continue
        parts = name.split("/")
        if parts[0] != "assets" or ".." in parts or "\\" in name or "\0" in name:
            raise UnsupportedModelError(f"the zip has a member that no supported model has: {name[:80]!r}")
    others = sum(info.file_size for info in archive.infolist() if info.filename not in {CONFIG, WEIGHTS})
    if others > limits.config_bytes:
        raise too_large("what the zip holds besides config and weights", limits.config_bytes, others)
    for name in (CONFIG, WEIGHTS):
        if name not in names:
            raise UnsupportedModelError(f"the zip has no {name}; expected a .keras file with its weights in H5")
    return archive


def member(archive: zipfile.ZipFile, name: str, limit: int) -> bytes:
    """The bytes of a member, never more than its declared size, and that never more than the limit."""
    info = archive.getinfo(name)
    if info.file_size > limit:
        raise too_large(name, limit, info.file_size)
    if info.flag_bits & ENCRYPTED:
        raise UnsupportedModelError(f"{name} is encrypted")
    if info.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
        raise UnsupportedModelError(f"{name} is packed by another method than deflate")
    try:
        with archive.open(info) as file:
            data = file.read(info.file_size + 1)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, RuntimeError, NotImplementedError) as error:
        raise CorruptModelError(f"{name} cannot be unpacked") from error
    if len(data) != info.file_size:
        raise CorruptModelError(f"{name} does not have the size it declares")
    return data


def asset(archive: zipfile.ZipFile, limits: ReadLimits, path: str) -> bytes | None:
    """A file beside the config, by its path under `assets`; None where there is none. Raises as `member`."""
    name = f"assets/{path}"
    return member(archive, name, limits.config_bytes) if name in archive.namelist() else None


def parse_json(data: bytes, name: str = CONFIG) -> Any:
    """A config, with no NaN and no infinity in it."""
    try:
        return json.loads(data.decode("utf-8"), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        raise CorruptModelError(f"{name} is not JSON, or nested too deeply") from error


def too_large(what: str, limit: int, actual: int) -> LimitExceededError:
    """An error about a size."""
    return LimitExceededError(f"{what} has {actual} bytes, the limit is {limit}", limit=limit, actual=actual)


def _no_constant(name: str) -> None:
    raise ValueError(name)
