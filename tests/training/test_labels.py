"""training.labels: what may be given as labels, and which outputs they fit."""

import json

import numpy as np
import pytest

from registry import tag
from service.errors import InvalidArgumentError
from service.model.tensors import TensorSpec
from training import labels

OUTPUTS = [
    TensorSpec("scores", np.dtype("f4"), (None, 3)),
    TensorSpec("tags", np.dtype("f4"), (None, None, 2)),
]


def test_a_list_or_a_file(tmp_path):
    """Labels come from a text with commas, or from a file with one on each line, whatever ends its lines."""
    assert labels.read("walk, run,at rest") == ("walk", "run", "at rest")
    for content in (b"walk\nrun\nat rest\n", b"\xef\xbb\xbfwalk\r\nrun \r\n at rest\r\n\r\n", b"walk\nrun\nat rest"):
        (tmp_path / "labels.txt").write_bytes(content)
        assert labels.read(str(tmp_path / "labels.txt")) == ("walk", "run", "at rest")
    (tmp_path / "a,b.txt").write_text("日本, Tokyo\nother\n")
    assert labels.read(str(tmp_path / "a,b.txt")) == ("日本, Tokyo", "other")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"a\n\nb\n", "number 2 has 0 characters, expected 1 to 256"),
        (b"", "number 1 has 0 characters"),
        (b"a\n" + b"b" * 257, "number 2 has 257 characters"),
        (b"a\nb\na\n", "'a' is given twice"),
        (b"\xff\xfe", "labels.txt is not a text in UTF-8"),
        (b"a\n" * (1 << 20), "the limit is 1048576"),
    ],
)
def test_files_that_are_no_labels(tmp_path, content, said):
    """Empty, long and repeated labels, and files that are no lists of labels, are refused with the reason."""
    (tmp_path / "labels.txt").write_bytes(content)
    with pytest.raises(InvalidArgumentError, match=said):
        labels.read(str(tmp_path / "labels.txt"))


def test_neither_list_nor_file(tmp_path):
    """A path that leads nowhere is refused; the error says what may be given."""
    for given in (str(tmp_path / "absent.txt"), str(tmp_path), "alone"):
        with pytest.raises(InvalidArgumentError, match=r"labels: there is no file .*; give a file"):
            labels.read(given)


def test_what_is_kept():
    """Labels that fit an output are kept as classes, without columns of a table."""
    for found in (("a", "b", "c"), ("yes", "no")):
        kept = json.loads(labels.record(found, OUTPUTS))
        assert (tuple(kept["classes"]), kept["features"], kept["window"]) == (found, [], 0)


@pytest.mark.parametrize(
    ("outputs", "said"),
    [
        (OUTPUTS, "expected one for each class of an output, got 4; scores has 3 classes; tags has 2 classes"),
        ([TensorSpec("y", np.dtype("f4"), (None,))], "got 4; there are no classes"),
    ],
)
def test_labels_that_do_not_fit(outputs, said):
    """Another number of labels than an output has classes is refused with the numbers that would do."""
    with pytest.raises(InvalidArgumentError, match=said):
        labels.record(("a", "b", "c", "d"), outputs)


def test_labels_that_are_too_many():
    """Labels that a server would not keep are refused with the limit."""
    many = [f"{i:0200}" for i in range(400)]
    with pytest.raises(InvalidArgumentError, match=f"the limit is {tag.LONGEST_DATA}"):
        labels.record(many, [TensorSpec("y", np.dtype("f4"), (None, 400))])
