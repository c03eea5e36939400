"""One text, of whose characters the next one is learned. It is cut at two places: what is held out is its end."""

import itertools
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np

from service.errors import InvalidArgumentError
from training.data.layout import Layout
from training.data.strings import Strings
from training.data.windows import Parts
from training.options import Source

UNKNOWN = "[UNK]"  # stands for all characters that the vocabulary does not have
USUAL_WINDOW = 100
MOST_READ = 4_096
MOST_CHARACTERS = 2**25  # of a file
MOST_MEASURED = 2**25  # probabilities that are computed at once for a part that is held out
KINDS = 256  # characters in a vocabulary, unless others are asked for
MOST_KINDS = 4_096  # which is what a tag of a version holds


def read(path: Path, source: Source, note: Callable[[str], None]) -> tuple[Layout, Parts]:
    """Windows of characters with the characters that follow each of them, and the vocabulary as classes.

    The vocabulary is that of the part to train on; of more characters than it may have, the most frequent ones.

    Raises InvalidArgumentError, OSError.
    """
    window = source.window or USUAL_WINDOW
    if window > MOST_READ:
        raise InvalidArgumentError(f"window: of a text at most {MOST_READ}, got {window}", field="window")
    kinds = source.vocabulary or KINDS
    if kinds > MOST_KINDS:
        raise InvalidArgumentError(f"vocabulary: at most {MOST_KINDS} characters, got {kinds}", field="vocabulary")
    text = _text(path)
    cuts = [round(len(text) * share) for share in (1 - source.validation - source.test, 1 - source.test)]
    ends = [0, *cuts, len(text)]
    counts = Counter(text[: cuts[0]])
    classes = (UNKNOWN, *sorted(character for character, _ in counts.most_common(kinds - 1)))
    if rare := len(counts) - len(classes) + 1:
        note(f"vocabulary: {rare} rare characters are not told apart")
    codes = np.frombuffer(text.encode("utf-32-le"), "<u4")
    places = np.zeros(int(codes.max(initial=0)) + 1, np.int32)
    places[[ord(character) for character in classes[1:]]] = np.arange(1, len(classes))
    ids, characters = places[codes], codes.view("<U1")
    most = max(1, MOST_MEASURED // (window * len(classes)))
    parts = []
    for begin, end in itertools.pairwise(ends):
        starts = np.arange(begin, end - window, window, dtype=np.int64)
        if begin and len(starts) > most:
            note(f"{len(starts)} windows are held out for one purpose: {most} of them, evenly spread, are used")
            starts = starts[np.linspace(0, len(starts) - 1, most).astype(np.int64)]
        parts.append(Strings(characters[:, None], ids, starts, starts + 1, window, window))
    return Layout((), "", window, 1, classes, unit=source.unit), Parts(*parts)


def _text(path: Path) -> str:
    """The characters of a file. Raises InvalidArgumentError for what is not UTF-8, or too long; OSError."""
    if not path.is_file():
        raise InvalidArgumentError(f"data: there is no file {path}", field="data")
    if path.stat().st_size > 4 * MOST_CHARACTERS:
        raise InvalidArgumentError(f"data: {path.name} has more than {MOST_CHARACTERS} characters", field="data")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidArgumentError(
            f"data: {path.name} is not text in UTF-8: {error.reason} at byte {error.start}", field="data"
        ) from error
    if len(text) > MOST_CHARACTERS:
        raise InvalidArgumentError(f"data: {path.name} has more than {MOST_CHARACTERS} characters", field="data")
    if "\0" in text:
        raise InvalidArgumentError(f"data: {path.name} holds the character 0, so it is not text", field="data")
    return text
