"""training.data.characters: a text file becomes windows of characters, each with the character that follows."""

import numpy as np
import pytest

from service.errors import InvalidArgumentError
from tests.training.data.tables import load
from training.data import characters
from training.options import Source

TEXT = "The quick brown fox jumps over the lazy dog.\n" * 60


def source(tmp_path, text=TEXT, **options):
    """A text in a file."""
    (tmp_path / "book.txt").write_text(text, encoding="utf-8")
    return Source(data=str(tmp_path / "book.txt"), **options)


def test_what_follows_each_character_is_expected(tmp_path):
    """Every window expects the characters one further on, by their places among the classes."""
    examples, _ = load(source(tmp_path, window=10))
    assert (examples.layout.unit, examples.layout.next_character, examples.layout.window) == ("char", True, 10)
    assert examples.classes == (characters.UNKNOWN, *sorted(set(TEXT)))
    for part in examples.parts.named().values():
        for window, expected in zip(part.inputs(), part.expected(), strict=True):
            following = [examples.classes[place] for place in expected]
            assert "".join(window[1:]) == "".join(following[:-1])


def test_the_end_is_held_out(tmp_path):
    """No character of a part is before one of the part that precedes it, and targets do not reach beyond theirs."""
    examples, _ = load(source(tmp_path, validation=0.2, test=0.1))
    train, validation, test = examples.parts.named().values()
    last = [int(part.target_starts.max()) + part.outputs for part in (train, validation, test)]
    assert last[0] <= round(len(TEXT) * 0.7) <= validation.starts.min()
    assert last[1] <= round(len(TEXT) * 0.9) <= test.starts.min()
    assert last[2] <= len(TEXT)


def test_rare_characters_share_a_place(tmp_path):
    """A vocabulary that is smaller than the alphabet has its most frequent characters, and says so."""
    examples, found = load(source(tmp_path, vocabulary=6))
    assert len(examples.classes) == 6
    assert "e" in examples.classes
    assert found == [f"vocabulary: {len(set(TEXT)) - 5} rare characters are not told apart"]
    assert (examples.parts.train.expected() == 0).any()


def test_a_long_end_is_sampled(tmp_path, monkeypatch):
    """Of a part that is held out no more windows are used than can be measured at once, spread over all of it."""
    monkeypatch.setattr(characters, "MOST_MEASURED", 10 * 40 * 7)
    examples, found = load(source(tmp_path, window=10))
    kinds = len(examples.classes)
    assert len(examples.parts.test) == len(examples.parts.validation) == 10 * 40 * 7 // (10 * kinds)
    assert len(examples.parts.train) > 100
    assert np.ptp(examples.parts.test.starts) > 0.1 * len(TEXT)
    assert sum("evenly spread" in text for text in found) == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff\xfeabc" * 1000, "data: book.txt is not text in UTF-8"),
        (b"abc\0" * 1000, "data: book.txt holds the character 0"),
        (b"", "window: no window of 100 timesteps with horizon 1 is left for train"),
    ],
)
def test_what_is_no_text_is_refused(tmp_path, content, message):
    """Other encodings, bytes 0 and empty files are errors of one line."""
    (tmp_path / "book.txt").write_bytes(content)
    with pytest.raises(InvalidArgumentError) as caught:
        load(Source(data=str(tmp_path / "book.txt")))
    assert caught.value.message.startswith(message)


def test_a_file_that_is_too_long_is_refused(tmp_path, monkeypatch):
    """The number of characters has a limit, which the error names."""
    monkeypatch.setattr(characters, "MOST_CHARACTERS", 1000)
    with pytest.raises(InvalidArgumentError, match="has more than 1000 characters"):
        load(source(tmp_path))
