"""Labels: the names of the classes of a network that is registered from a file."""

from collections.abc import Sequence
from pathlib import Path

from registry import tag
from service.errors import InvalidArgumentError
from service.model.classes import classifies, fit
from service.model.tensors import TensorSpec
from training.data.layout import Layout

LONGEST = 256  # characters of a label
LARGEST_FILE = 1 << 20  # bytes


def read(given: str) -> tuple[str, ...]:
    """Labels from a file with one on each line, or from a text with commas between them.

    Raises InvalidArgumentError where it is neither, and for labels that are empty, too long or not distinct; OSError.
    """
    if "," in given and not _is_file(given):
        found = [label.strip() for label in given.split(",")]
    else:
        found = _lines(Path(given))
    seen: set[str] = set()
    for i, label in enumerate(found, start=1):
        if not 0 < len(label) <= LONGEST:
            raise _wrong(f"number {i} has {len(label)} characters, expected 1 to {LONGEST}")
        if label in seen:
            raise _wrong(f"{label!r} is given twice")
        seen.add(label)
    return tuple(found)


def record(labels: Sequence[str], outputs: Sequence[TensorSpec]) -> str:
    """What is kept with a version that has these labels and outputs.

    Raises InvalidArgumentError where they do not fit, or are too many.
    """
    if not any(fit(labels, spec) for spec in outputs):
        known = "; ".join(f"{spec.name} has {spec.shape[-1]} classes" for spec in outputs if classifies(spec))
        raise _wrong(f"expected one for each class of an output, got {len(labels)}; {known or 'there are no classes'}")
    text = Layout((), "", 0, 0, tuple(labels)).dumps()
    if len(text) > tag.LONGEST_DATA:
        raise _wrong(f"as JSON they have {len(text)} characters, the limit is {tag.LONGEST_DATA}")
    return text


def _is_file(given: str) -> bool:
    try:
        return Path(given).is_file()
    except (OSError, ValueError):  # a list that is too long for a path, or has a NUL in it
        return False


def _lines(path: Path) -> list[str]:
    """The lines of a file, without empty ones at its end."""
    if not _is_file(str(path)):
        raise _wrong(
            f"there is no file {str(path)[:80]!r}; give a file with a label on each line, or labels with commas between"
        )
    if path.stat().st_size > LARGEST_FILE:
        raise _wrong(f"{path.name} has {path.stat().st_size} bytes, the limit is {LARGEST_FILE}")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise _wrong(f"{path.name} is not a text in UTF-8") from None
    return [line.strip() for line in text.rstrip().split("\n")]


def _wrong(what: str) -> InvalidArgumentError:
    return InvalidArgumentError(f"labels: {what}", field="labels")
