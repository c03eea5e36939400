"""The configuration of a job as a YAML file: names are those of the command's options, and the command line wins.

data: measurements.csv
target: level
window: 48
units: [64, 32]
"""

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import yaml

from service.errors import InvalidArgumentError
from training.data.sources import is_uri, stem, suffix
from training.options import FOR_TABLES, FOR_TEXTS, Options, Registration, Source, as_document

REFERENCE_ONLY = ("return-sequences", "dense-units", "dense-activation")  # with a file the target decides
DATA_ONLY = {"residual", "batch_size", "patience", "min_improvement", "gate_folds", *(f.name for f in fields(Source))}
TEXT_ONLY = ("text", "text_unit", "vocabulary", "embedding")
SEQUENCES_HAVE_NO = ("window", "horizon")
BOOK_HAS_NO = ("text", "text_unit", "target", "time", "missing", "task", "delimiter", "decimal", "time_format")
TEXTS_HAVE_NO = (
    "features",
    "group",
    "horizon",
    "season",
    "gaps",
    "calendar",
    "categorical",
    "future",
    "static",
    "group_embedding",
    "duplicates",
    "residual",
    "conformal",
)
FILE = "config.yaml"  # under which a run keeps its own
LARGEST = 1024 * 1024  # bytes of a file
DEFAULTS = as_document(Options(), Source(), Registration())


@dataclass(frozen=True)
class Job:
    """Everything that a job is asked for."""

    options: Options
    source: Source
    registration: Registration

    def document(self) -> dict[str, Any]:
        """Flat, such that `job_of` gives this job again."""
        if not self.source.data:
            return as_document(self.options, self.registration)
        made = as_document(self.source, self.options, self.registration)
        return {name: value for name, value in made.items() if name not in REFERENCE_ONLY}

    def dump(self, path: Path) -> None:
        """Writes the file."""
        path.write_text(yaml.safe_dump(self.document(), sort_keys=False))


def load(path: Path) -> dict[str, Any]:
    """What a file asks for, by the options' names. Raises InvalidArgumentError, OSError."""
    try:
        if path.stat().st_size > LARGEST:
            raise InvalidArgumentError(f"config: {path.name} has more than {LARGEST} bytes", field="config")
        document = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InvalidArgumentError(
            f"config: {path.name} cannot be read: {' '.join(str(error).split())[:300]}", field="config"
        ) from error
    if not isinstance(document, dict):
        raise InvalidArgumentError(f"config: {path.name} is not a mapping of options to values", field="config")
    if (relative := document.get("data")) and not is_uri(str(relative)):
        document["data"] = str(path.parent / str(relative))  # an absolute path stays as it is
    return document


def job_of(document: Mapping[str, Any]) -> Job:
    """The job that a flat document asks for; what it does not say is as the defaults are.

    Raises InvalidArgumentError that names the option.
    """
    values = {name: value_of(name, value) for name, value in document.items()}
    given = {name.replace("-", "_"): value for name, value in values.items()}
    from_file = bool(given.get("data"))
    if from_file:
        for name in REFERENCE_ONLY:
            if name in values:
                raise InvalidArgumentError(f"{name}: with --data the target decides that", field=name)
        given.setdefault("name", _name(stem(given["data"])))

    def pick(kind: type) -> dict[str, Any]:
        return {field.name: given[field.name] for field in fields(kind) if field.name in given}

    def refuse(names: Collection[str], why: str) -> None:
        for name, value in given.items():
            if name in names and value and value != DEFAULTS[name.replace("_", "-")]:
                raise InvalidArgumentError(f"{name}: makes {why}", field=name)

    if not from_file:
        refuse(DATA_ONLY, "sense only with --data")
    source = Source(**pick(Source))
    if not source.unit:
        refuse(TEXT_ONLY, "sense only with --text, or a .txt file")
    else:
        refuse(TEXTS_HAVE_NO, "no sense with texts")
    if suffix(source.data) == ".npz":
        refuse(SEQUENCES_HAVE_NO, "no sense with an .npz file, whose arrays x and y say it")
    if source.is_book:
        refuse(BOOK_HAS_NO, "no sense with a .txt file, of which the next character is learned")
    defaults = (FOR_TEXTS if source.unit else FOR_TABLES) if from_file else Options()
    options = replace(defaults, **pick(Options))
    if source.data and not is_uri(source.data):  # of the same file from any folder, in every record of the run
        source = replace(source, data=os.path.abspath(source.data))
    return Job(options, source, Registration(**pick(Registration)))


def value_of(name: str, value: Any) -> Any:
    """A value in the type of its option. Raises InvalidArgumentError."""
    if name not in DEFAULTS:
        import difflib

        near = difflib.get_close_matches(name, DEFAULTS, 1)
        raise InvalidArgumentError(
            f"config: there is no option {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""), field="config"
        )
    default = DEFAULTS[name]
    if isinstance(default, list):
        items = value if isinstance(value, list | tuple) else str(value).split(",")
        kind: Any = int if name == "units" else str
        items = [item.strip() if isinstance(item, str) else item for item in items]
        return tuple(_scalar(name, item, kind) for item in items if item != "")
    return _scalar(name, value, type(default))


def _scalar(name: str, value: Any, kind: type) -> Any:
    try:
        if kind is bool and not isinstance(value, bool):
            raise ValueError
        if kind is int and isinstance(value, float) and value != int(value):
            raise ValueError
        if value is None or (kind is not str and kind is not bool and isinstance(value, bool)):
            raise ValueError
        if isinstance(value, list | dict):
            raise ValueError
        return kind(value)
    except (ValueError, OverflowError):
        words = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
        raise InvalidArgumentError(f"{name}: expected {words[kind]}, got {value!r}", field=name) from None


def _name(stem: str) -> str:
    """A model's name made of a file's."""
    return "".join(c if c.isascii() and (c.isalnum() or c in "_.-") else "-" for c in stem).strip(".-") or "model"
