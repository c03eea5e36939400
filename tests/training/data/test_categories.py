"""training.data.categories: columns of text, and the vocabularies that a network gets of them."""

import numpy as np
import pytest

from service.errors import InvalidArgumentError
from tests.training.data.tables import load, numbers, write
from training.data.categories import Category, check_names, input_name
from training.options import Options, Source
from training.scaling import scaling_of


def test_a_missing_text_is_the_empty_text():
    """A row without a text reads as the empty text, which is no word of a vocabulary."""
    one = Category.of(np.array([1, -1, 0, 1], np.int32), ["b", "a"])
    assert one.texts(np.array([[0, 1], [2, 3]])).tolist() == [["a", ""], ["b", "a"]]
    assert one.embedding(np.ones(4, bool)).words == ("a", "b")
    assert one.embedding(np.arange(4) < 2).words == ("a",)


def test_a_vocabulary_is_that_of_the_part_to_train_on(tmp_path):
    """Texts that first appear in what is held out are no part of the vocabulary."""
    kinds = ["wet", "dry"] * 40 + ["new"] * 20
    path = write(tmp_path / "t.csv", t=range(100), y=numbers(100), kind=kinds)
    source = Source(path, target=("y",), time="t", window=3, categorical=("kind",))
    examples, _ = load(source)
    assert examples.layout.categories == ("kind",)
    embedding = scaling_of(Options(), examples).embeddings["kind"]
    assert (embedding.words, embedding.dimensions) == (("dry", "wet"), 1)
    feeds = examples.parts.test.feeds()
    assert feeds["sequence"].shape == (*feeds["kind"].shape, 1)
    assert feeds["kind"][-1].tolist() == ["new"] * 3


def test_texts_stay_beside_their_rows(tmp_path):
    """Texts follow their rows when a table is sorted, and when rows are left out."""
    times = np.random.default_rng(0).permutation(90)
    y = [round(float(t), 1) if t % 10 else "" for t in times]
    path = write(tmp_path / "t.csv", t=times, y=y, tens=[f"n{t // 10}" for t in times])
    source = Source(path, target=("y",), time="t", window=3, categorical=("tens",), missing="drop")
    train = load(source)[0].parts.train
    feeds = train.feeds()
    tens = np.vectorize(lambda y: f"n{int(y // 10)}")(feeds["sequence"][..., 0])
    assert (tens == feeds["tens"]).all()


@pytest.mark.parametrize(
    ("columns", "options", "message"),
    [
        ({}, {"categorical": ("kidn",)}, "categorical: there is no column 'kidn'; did you mean 'kind'?"),
        ({}, {"categorical": ("y",)}, "categorical: column 'y' is the time, a target or one of the features already"),
        ({"x": numbers(60)}, {"categorical": ("x",)}, "categorical: column 'x' holds double; expected text"),
        ({}, {"categorical": ("only",)}, "categorical: column 'only' is always 'a' in the part to train on"),
        ({}, {"features": ("kind",)}, "features: column 'kind' holds text, or numbers and text; expected numbers; "
         "--categorical takes text"),
        ({}, {"categorical": ("kind",), "group": "kind"}, "categorical: 'kind' distinguishes series; --group"),
        ({}, {"group_embedding": 2}, "group_embedding: name the column of series with --group"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line(tmp_path, columns, options, message):
    """What is no column of texts is refused in one line that names it."""
    path = write(tmp_path / "t.csv", y=numbers(60), kind=["a", "b"] * 30, only=["a"] * 60, **columns)
    with pytest.raises(InvalidArgumentError) as caught:
        load(Source(path, target=("y",), window=3, **options))
    assert caught.value.message.startswith(message)


def test_names_of_inputs():
    """An input has the name of its column in ASCII, and no two have one name."""
    assert (input_name("well id"), input_name("größe"), input_name("°")) == ("well_id", "gr__e", "text")
    with pytest.raises(InvalidArgumentError, match="column 'a b' would be called 'a_b', as another is"):
        check_names(["a_b", "a b"], ["sequence"])
