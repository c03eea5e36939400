"""training.data.texts: tables of labelled texts become examples, each text in one part, and mistakes are one line."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from service.errors import InvalidArgumentError
from tests.training.data.tables import load
from training.data import texts
from training.options import Source

ROWS = [(f"text {i} is {'good' if i % 3 else 'bad'}", "yes" if i % 3 else "no") for i in range(200)]


def written(path, rows, header="review,label"):
    """A CSV file of texts in quotes, and labels."""
    quoted = "\n".join('"{}",{}'.format(text.replace('"', '""'), label) for text, label in rows)
    path.write_text(f"{header}\n{quoted}\n")
    return str(path)


def source(data, **options):
    """What is asked for."""
    return Source(data=data, text="review", target=("label",), **options)


def test_each_text_is_in_one_part_and_stays_there(tmp_path):
    """A text's digest decides its part: the same text is never in two parts, and a longer file moves none."""
    doubled = [*ROWS, *ROWS[:50]]
    examples, found = load(source(written(tmp_path / "a.csv", doubled)))
    parts = {name: set(part.inputs()[:, 0]) for name, part in examples.parts.named().items()}
    assert sum(map(len, parts.values())) == len(set().union(*parts.values())) == len(ROWS)
    assert sum(len(part) for part in examples.parts.named().values()) == len(doubled)
    longer, _ = load(source(written(tmp_path / "b.csv", [*doubled, ("another one", "no")])))
    assert parts["test"] <= set(longer.parts.test.inputs()[:, 0])
    assert (examples.classes, examples.layout.text, examples.layout.unit) == (("no", "yes"), "review", "word")
    assert examples.layout.window == 4
    assert found == ["window: the first 4 words of each text; 95 % of the texts have at most 4"]


def test_texts_keep_their_labels(tmp_path):
    """Quotes, commas and lines within a text, and Parquet, change nothing."""
    rows = [(f'{text}, she said "so"\nand left', label) for text, label in ROWS]
    examples, _ = load(source(written(tmp_path / "a.csv", rows)))
    labels = dict(rows)
    for part in examples.parts.named().values():
        for (text,), (place,) in zip(part.inputs(), part.expected(), strict=True):
            assert labels[text] == examples.classes[place]
    table = pa.table({"review": [text for text, _ in rows], "label": [label for _, label in rows]})
    parquet.write_table(table, tmp_path / "a.parquet")
    again, _ = load(source(str(tmp_path / "a.parquet")))
    assert np.array_equal(again.parts.test.inputs(), examples.parts.test.inputs())


def test_with_times_the_latest_texts_are_held_out(tmp_path):
    """A column of times cuts texts as it cuts tables."""
    lines = [f"{i},{text},{label}" for i, (text, label) in enumerate(ROWS)]
    (tmp_path / "a.csv").write_text("\n".join(["when,review,label", *lines]) + "\n")
    examples, _ = load(source(str(tmp_path / "a.csv"), time="when", test=0.1))
    assert examples.parts.test.inputs()[:, 0].tolist() == [text for text, _ in ROWS[180:]]


def test_rows_without_a_text_or_label_are_left_out_where_that_is_asked_for(tmp_path):
    """Missing ones are an error that counts them, or are dropped."""
    rows = ["\n".join(f"{text},{label}" for text, label in ROWS), ",no", "nothing,"]
    (tmp_path / "a.csv").write_text("\n".join(["review,label", *rows]) + "\n")
    with pytest.raises(InvalidArgumentError, match=r"^missing: 2 of 202 rows have no text or no label"):
        load(source(str(tmp_path / "a.csv")))
    examples, found = load(source(str(tmp_path / "a.csv"), missing="drop"))
    assert "2 of 202 rows have no text or no label: left out" in found
    assert sum(len(part) for part in examples.parts.named().values()) == len(ROWS)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"text": "reviews"}, "text: there is no column 'reviews'; there are: review, label"),
        ({"target": ("labels",)}, "target: there is no column 'labels'; did you mean 'label'?"),
        ({"target": ()}, "target: name the one column of the labels"),
        ({"target": ("label", "review")}, "target: name the one column of the labels"),
        ({"text": "label"}, "text: column 'label' has another meaning, too"),
        ({"task": "regression"}, "task: texts can only be classified"),
        ({"missing": "ffill"}, "missing: for texts, error or drop; got ffill"),
        ({"window": 5000}, "window: of a text at most 4096, got 5000"),
        ({"validation": 0.0}, "test: no text is left for validation; there are 200"),
    ],
)
def test_mistakes_are_one_line(tmp_path, options, message):
    """Each names the option and what would fit."""
    asked = {"data": written(tmp_path / "a.csv", ROWS), "text": "review", "target": ("label",)} | options
    with pytest.raises(InvalidArgumentError) as caught:
        load(Source(**asked))
    assert caught.value.message.startswith(message)


def test_labels_are_bounded(tmp_path, monkeypatch):
    """A column of many different values is no column of labels, and numbers are no texts."""
    monkeypatch.setattr(texts, "MOST_CLASSES", 5)
    path = written(tmp_path / "a.csv", [(text, f"label {i}") for i, (text, _) in enumerate(ROWS)])
    with pytest.raises(InvalidArgumentError, match="has 200 different values, which are the classes; the limit is 5"):
        load(source(path))
    numbers = written(tmp_path / "b.csv", [(str(i), "a") for i in range(20)])
    with pytest.raises(InvalidArgumentError, match=r"^text: column 'review' holds int64, not text"):
        load(source(numbers))


def test_the_reviews_of_the_example_are_written_by_its_program(tmp_path):
    """examples/make_reviews.py writes examples/data/reviews.csv, byte by byte."""
    examples = Path(__file__).parents[3] / "examples"
    subprocess.run([sys.executable, examples / "make_reviews.py", tmp_path / "reviews.csv"], check=True, timeout=60)
    assert (tmp_path / "reviews.csv").read_bytes() == (examples / "data" / "reviews.csv").read_bytes()
