"""TextVectorization: text becomes words, and words become ids of a vocabulary or counts."""

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any, ClassVar

import numpy as np

from service.model.layers.base import Built, Record
from service.model.layers.categories import INT64, Lookup, vocabulary
from service.model.layers.options import ANY, MAX_STEPS, Option, choice, integer, optional, size, sizes_of
from service.model.tensors import Array, Shape, Tensor, Time

# What TensorFlow's `lower` changes, and what Keras takes for punctuation: ASCII alone.
LOWER = {ord(c): c.lower() for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}
PUNCTUATION = dict.fromkeys(map(ord, "!\"#$%&()*+,-./:;<=>?@[\\]^_`{|}~'"))
SPACE = " \t\n\v\f\r"  # what TensorFlow splits at
SPACES = str.maketrans(SPACE, " " * len(SPACE))
MAX_NGRAM = 8


class TextVectorization(Lookup):
    """Text in lower case and without punctuation, split at whitespace or into characters, each looked up."""

    CLASS = "TextVectorization"
    WORDS = str
    TYPES = "O"
    OPTIONS: ClassVar[Mapping[str, Option]] = {
        "max_tokens": optional(size()),
        "standardize": choice("lower_and_strip_punctuation", "lower", "strip_punctuation", None),
        "split": choice("whitespace", "character", None),
        "ngrams": Option(lambda v: _ngrams(v), f"none, an integer or a list of them, up to {MAX_NGRAM}", None),
        "output_mode": choice("int", "one_hot", "multi_hot", "count", "tf_idf", default="int"),
        "output_sequence_length": optional(size(high=MAX_STEPS)),
        "pad_to_max_tokens": Lookup.COMMON_OPTIONS["pad_to_max_tokens"],
        "vocabulary": vocabulary(str),
        "idf_weights": ANY,
        "sparse": Lookup.COMMON_OPTIONS["sparse"],
        "ragged": choice(False, default=False),
        "encoding": choice("utf-8", default="utf-8"),
        "vocabulary_size": ANY,
        "has_input_vocabulary": ANY,
    }

    def __init__(self, name: str, policy: Any, options: Mapping[str, Any]) -> None:
        lookup = {"mask_token": "", "oov_token": "[UNK]", "num_oov_indices": 1}
        super().__init__(name, policy, {**options, **lookup})

    def build(self, inputs: Sequence[Tensor]) -> Built:
        """One text for each element of the batch; words of one where they are not split."""
        self.check()
        (x,) = inputs
        o = self.options
        if o["split"] is None:
            if o["ngrams"] is not None or x.rank != 2 or x.shape[1] is None:
                raise self.unsupported("split=None is supported for (batch, words) without ngrams")
        elif x.rank > 2 or (x.rank == 2 and x.shape[1] != 1):
            raise self.unsupported("expected one text for each element of the batch, (batch,) or (batch, 1)")
        if o["output_mode"] == "int":
            length = o["output_sequence_length"] or (x.shape[1] if o["split"] is None else None)
            if length is None:
                raise self.unsupported("output_sequence_length=None is not supported: texts would decide the cost")
            shape: Shape = (None, length)
            return Built((Tensor(shape, INT64, x.time),))
        if o["output_mode"] == "one_hot":
            raise self.unsupported("output_mode=one_hot is not supported")
        return Built((Tensor((None, self.depth()), self.made(), Time.LATEST),), self.idf())

    def words(self, text: str) -> list[str]:
        """The words of a text that is split."""
        text = self.standardized(text)
        found = list(text) if self.options["split"] == "character" else text.translate(SPACES).split(" ")
        found = [word for word in found if word]
        widths = self.options["ngrams"]
        if widths is None:
            return found
        return [" ".join(found[i : i + n]) for n in widths for i in range(len(found) - n + 1)]

    def standardized(self, text: str) -> str:
        """Lower case, and without punctuation, of ASCII."""
        how = self.options["standardize"] or ""
        if "lower" in how:
            text = text.translate(LOWER)
        return text.translate(PUNCTUATION) if "strip" in how else text

    def call(self, weights: Any, inputs: Sequence[Array], masks: Sequence[Array | None], record: Record | None) -> Any:
        """Ids, padded with 0 and cut to length; or counts."""
        table, idf = weights
        texts = inputs[0].reshape(len(inputs[0]), -1).tolist()
        if self.options["split"] is None:
            found = [[self.standardized(word) for word in row] for row in texts]
        else:
            found = [self.words(row[0]) for row in texts]
        counting = self.options["output_mode"] != "int"
        length = max(map(len, found)) if counting else self.options["output_sequence_length"] or len(texts[0])
        ids = np.full((len(found), length), -1 if counting else 0, np.int64)
        for row, words in zip(ids, found, strict=True):
            known = list(self.ids(table, islice(words, length)))
            row[: len(known)] = known
        return self.counted(ids, idf) if counting else ids


def _ngrams(value: Any) -> tuple[int, ...] | None:
    if value is None:
        return None
    if isinstance(value, list):
        return sizes_of(MAX_NGRAM).parse(value) if max(value) <= MAX_NGRAM else _refuse()
    return tuple(range(1, integer(1, MAX_NGRAM).parse(value) + 1))


def _refuse() -> tuple[int, ...]:
    raise ValueError
