"""Layers that turn words and numbers into ids of categories, and ids into vectors of counts."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from service.model.fingerprint import fingerprint
from service.model.layers.base import Built, Layer, Record, Weights, WeightSpec
from service.model.layers.options import ANY, MAX_EXTENT, Option, choice, flag, integer, optional, size
from service.model.tensors import STRING, Array, DType, Shape, Tensor, Time

INT64, FLOAT32 = np.dtype(np.int64), np.dtype(np.float32)
MAX_TOKEN = 1 << 16  # characters of one word of a vocabulary
MODES = ("one_hot", "multi_hot", "count")
DROPPED = -1  # the id of what is counted nowhere: a masked word


def vocabulary(kinds: type) -> Option:
    """A list of different words or numbers that the config holds; none: it lies in an asset of the file."""

    def parse(value: Any) -> tuple[Any, ...] | None:
        if value is None:
            return None
        if not isinstance(value, list) or not 0 < len(value) <= MAX_EXTENT:
            raise ValueError
        if any(type(word) is not kinds or len(str(word)) > MAX_TOKEN for word in value):
            raise ValueError
        return tuple(value)

    return Option(parse, "a list, or none where the file has it beside the config", None, listed=False)


SPARSE = choice(False, default=False)


class Encoding(Layer):
    """A layer of ids, as they are or counted: one-hot for each id, or with the last axis counted together."""

    AUTOCAST = False
    KEEPS_INTEGERS = True
    PASSES_MASK = False

    @classmethod
    def dtype_of(cls, given: Any) -> Any:
        """Counts are of that type; words and ids of none that layers compute in."""
        name = given.get("config", {}).get("name") if isinstance(given, dict) else given
        return None if name in ("string", "int64") else given

    def depth(self) -> int:
        """How many categories there are."""
        raise NotImplementedError

    def made(self) -> DType:
        """The type of counts."""
        return self.policy.compute

    def encoded(self, x: Tensor, mode: str) -> Tensor:
        """What becomes of ids in that mode."""
        if self.depth() > MAX_EXTENT:
            raise self.unsupported("there are too many categories")
        if mode == "int":
            return Tensor(x.shape, INT64, x.time)
        depth = self.depth()
        if mode == "one_hot":
            shape: Shape = (*x.shape[:-1], depth) if x.rank > 1 and x.shape[-1] == 1 else (*x.shape, depth)
        elif x.rank == 2:
            shape = (x.shape[0], depth)
        else:
            raise self.unsupported(f"output_mode={mode} of an input of {x.rank} axes is not supported")
        return Tensor(shape, self.made(), Time.LATEST if x.time is Time.LATEST else Time.WHOLE)

    def encode(self, ids: Array, mode: str) -> Array:
        """Ids, with DROPPED among them, in that mode. Raises ValueError for one that is no category."""
        if mode == "int":
            return ids
        depth, kind = self.depth(), self.made()
        if ids.size and (ids.max() >= depth or ids.min() < DROPPED):
            raise ValueError(f"an id is not within 0:{depth}")
        if mode == "one_hot":
            if ids.ndim > 1 and ids.shape[-1] == 1:
                ids = ids[..., 0]
            return (ids[..., None] == np.arange(depth)).astype(kind)
        counts = np.zeros((len(ids), depth), np.int64)
        rows, columns = np.nonzero(ids != DROPPED)
        np.add.at(counts, (rows, ids[rows, columns]), 1)
        return (counts > 0 if mode == "multi_hot" else counts).astype(kind)


class Lookup(Encoding):
    """Each word's place in a vocabulary; what is not in it shares ids of its own."""

    WORDS: ClassVar[type]
    COMMON_OPTIONS: ClassVar[Mapping[str, Option]] = {
        "invert": choice(False, default=False),
        "max_tokens": optional(size()),
        "num_oov_indices": integer(0, MAX_EXTENT, 1),
        "output_mode": choice("int", "one_hot", "multi_hot", "count", "tf_idf", default="int"),
        "pad_to_max_tokens": flag(False),
        "sparse": SPARSE,
        "vocabulary_size": ANY,
        "has_input_vocabulary": ANY,
        "idf_weights": ANY,  # the file has those that count among its weights
    }
    TABLE = "vocabulary.txt"

    def load(self, words: Sequence[Any]) -> None:
        """Takes the vocabulary that lies beside the config; once, before anything is built."""
        self.options = {**self.options, "vocabulary": tuple(words)}

    def needs_asset(self) -> bool:
        """Whether the vocabulary lies in a file of its own."""
        return self.options["vocabulary"] is None

    def parse_words(self, lines: Sequence[str]) -> list[Any]:
        """The words in the lines of such a file."""
        return [self.WORDS(line) for line in lines]

    def first_unknown(self) -> int:
        """The id of the first word that is not in the vocabulary: behind that of the mask."""
        return int(self.options["mask_token"] is not None and self.options["output_mode"] == "int")

    def tokens(self) -> tuple[Any, ...]:
        """The vocabulary without the words for masks and unknown ones, which may stand in front."""
        unknown = self.options["num_oov_indices"]
        special = [self.options["mask_token"]] * self.first_unknown() + [self.options["oov_token"]] * unknown
        words = self.options["vocabulary"]
        return words[len(special) :] if list(words[: len(special)]) == special else words

    def depth(self) -> int:
        """All ids, or as many as were planned for."""
        if self.options["pad_to_max_tokens"]:
            return int(self.options["max_tokens"] or 0)
        return self.first_unknown() + int(self.options["num_oov_indices"]) + len(self.tokens())

    def made(self) -> DType:
        """Counts are integers, unless they are weighted."""
        return FLOAT32 if self.options["output_mode"] == "tf_idf" else INT64

    def check(self) -> None:
        """Refuses a vocabulary that Keras refuses."""
        if self.options["vocabulary"] is None:
            raise self.corrupt("it has no vocabulary")
        tokens = self.tokens()
        if not tokens or len(set(tokens)) < len(tokens) or self.options["mask_token"] in tokens:
            raise self.corrupt("its vocabulary is empty, has a word twice, or has that for masks in the middle")
        most = self.options["max_tokens"]
        if (self.options["pad_to_max_tokens"] and most is None) or (most is not None and self.depth() > most):
            raise self.corrupt("its vocabulary is larger than max_tokens")

    def build(self, inputs: Sequence[Tensor]) -> Built:
        """The weights of tf-idf."""
        self.check()
        (x,) = inputs
        return Built((self.encoded(x, self.options["output_mode"]),), self.idf())

    def idf(self) -> tuple[WeightSpec, ...]:
        """A number for each category, with tf_idf."""
        if self.options["output_mode"] != "tf_idf":
            return ()
        return (WeightSpec("idf_weights", (self.depth(),), FLOAT32, "vars/idf_weights"),)

    def workspace(self, inputs: Sequence[Tensor], outputs: Sequence[Tensor], *, traced: bool) -> int:
        """An id for each word, and the counts."""
        return inputs[0].elements + outputs[0].elements

    def prepare(self, weights: Weights) -> Any:
        """The ids of the words, and the weights of tf-idf."""
        begin = self.first_unknown() + self.options["num_oov_indices"]
        return {word: begin + i for i, word in enumerate(self.tokens())}, weights.get("idf_weights")

    def call(self, weights: Any, inputs: Sequence[Array], masks: Sequence[Array | None], record: Record | None) -> Any:
        """Ids, or counts."""
        table, idf = weights
        (x,) = inputs
        ids = np.fromiter(self.ids(table, x.ravel().tolist()), np.int64, x.size).reshape(x.shape)
        return self.counted(ids, idf)

    def counted(self, ids: Array, idf: Array | None) -> Array:
        """Ids as they are to come out."""
        mode = self.options["output_mode"]
        if idf is None:
            return self.encode(ids, mode)
        return (self.encode(ids, "count") * idf).astype(FLOAT32)

    def ids(self, table: Mapping[Any, int], words: Iterable[Any]) -> Iterable[int]:
        """The id of each word. Raises ValueError for an unknown one where there are no ids for these."""
        mask, begin, buckets = self.options["mask_token"], self.first_unknown(), self.options["num_oov_indices"]
        masked = 0 if self.options["output_mode"] == "int" else DROPPED
        for word in words:
            if mask is not None and word == mask:
                yield masked
                continue
            found = table.get(word)
            if found is not None:
                yield found
            elif buckets == 0:
                raise ValueError(f"{word!r} is not in the vocabulary")
            else:
                yield begin + (self.bucket(word, buckets) if buckets > 1 else 0)

    def bucket(self, word: Any, count: int) -> int:
        """Which of the ids for unknown words is this one's."""
        return fingerprint(str(word).encode()) % count


class StringLookup(Lookup):
    """Each word's place in a vocabulary."""

    CLASS = "StringLookup"
    WORDS = str
    TYPES = "O"
    OPTIONS: ClassVar[Mapping[str, Option]] = {
        **Lookup.COMMON_OPTIONS,
        "mask_token": Option(lambda v: _word(v), "a word or none", None),
        "oov_token": Option(lambda v: _word(v), "a word or none", "[UNK]"),
        "encoding": choice("utf-8", default="utf-8"),
        "vocabulary": vocabulary(str),
        "oov_method": ANY,
        "salt": choice(None, default=None),
    }


class IntegerLookup(Lookup):
    """Each integer's place in a vocabulary."""

    CLASS = "IntegerLookup"
    WORDS = int
    TYPES = "i"
    OPTIONS: ClassVar[Mapping[str, Option]] = {
        **Lookup.COMMON_OPTIONS,
        "mask_token": optional(integer(-(2**63), 2**63 - 1)),
        "oov_token": optional(integer(-(2**63), 2**63 - 1)),
        "vocabulary_dtype": choice("int64", default="int64"),
        "vocabulary": vocabulary(int),
        "oov_method": choice("floormod", "farmhash", None, default="floormod"),
        "salt": choice(None, default=None),
    }

    def bucket(self, word: Any, count: int) -> int:
        """By its remainder, or as a word of digits."""
        if self.options["oov_method"] == "farmhash":
            return super().bucket(word, count)
        return int(word) % count


class Hashing(Encoding):
    """Each word's or integer's bucket by FarmHash's Fingerprint64; bucket 0 is that of `mask_value`, if given."""

    CLASS = "Hashing"
    TYPES = "Oi"
    OPTIONS: ClassVar[Mapping[str, Option]] = {
        "num_bins": size(),
        "mask_value": Option(lambda v: v if type(v) is int else _word(v), "a word, an integer or none", None),
        "salt": choice(None, default=None),
        "output_mode": choice("int", *MODES, default="int"),
        "sparse": SPARSE,
    }

    def depth(self) -> int:
        """The buckets."""
        return int(self.options["num_bins"])

    def build(self, inputs: Sequence[Tensor]) -> Built:
        """No weights."""
        (x,) = inputs
        mask = self.options["mask_value"]
        if mask is not None and isinstance(mask, str) != (x.dtype == STRING):
            raise self.unsupported("mask_value is of another type than the input")
        return Built((self.encoded(x, self.options["output_mode"]),))

    def workspace(self, inputs: Sequence[Tensor], outputs: Sequence[Tensor], *, traced: bool) -> int:
        """A bucket for each word."""
        return inputs[0].elements + outputs[0].elements

    def call(self, weights: Any, inputs: Sequence[Array], masks: Sequence[Array | None], record: Record | None) -> Any:
        """Buckets, or counts."""
        (x,) = inputs
        mask, count = self.options["mask_value"], self.depth()
        kept = int(mask is not None and count > 1)
        found = (
            0 if kept and word == mask else kept + fingerprint(str(word).encode()) % (count - kept)
            for word in x.ravel().tolist()
        )
        ids = np.fromiter(found, np.int64, x.size).reshape(x.shape)
        return self.encode(ids, self.options["output_mode"])


class CategoryEncoding(Encoding):
    """Ids as vectors: one for each, or the ids of the last axis counted together."""

    CLASS = "CategoryEncoding"
    TYPES = "fi"
    OPTIONS: ClassVar[Mapping[str, Option]] = {
        "num_tokens": size(),
        "output_mode": choice(*MODES, default="multi_hot"),
        "sparse": SPARSE,
    }

    def depth(self) -> int:
        """The ids."""
        return int(self.options["num_tokens"])

    def build(self, inputs: Sequence[Tensor]) -> Built:
        """No weights."""
        return Built((self.encoded(inputs[0], self.options["output_mode"]),))

    def workspace(self, inputs: Sequence[Tensor], outputs: Sequence[Tensor], *, traced: bool) -> int:
        """The counts."""
        return outputs[0].elements

    def call(self, weights: Any, inputs: Sequence[Array], masks: Sequence[Array | None], record: Record | None) -> Any:
        """The vectors. Raises ValueError for an id that is none, as Keras does."""
        ids = inputs[0].astype(np.int64)
        if ids.size and ids.min() < 0:
            raise ValueError(f"an id is not within 0:{self.depth()}")
        return self.encode(ids, self.options["output_mode"])


class Discretization(Encoding):
    """The bin that each number falls into, between boundaries."""

    CLASS = "Discretization"
    TYPES = "fi"
    OPTIONS: ClassVar[Mapping[str, Option]] = {
        "bin_boundaries": Option(lambda v: _boundaries(v), "a rising list of numbers"),
        "num_bins": ANY,
        "epsilon": ANY,
        "output_mode": choice("int", *MODES, default="int"),
        "sparse": SPARSE,
    }

    def depth(self) -> int:
        """One more than there are boundaries."""
        return len(self.options["bin_boundaries"]) + 1

    def build(self, inputs: Sequence[Tensor]) -> Built:
        """No weights."""
        (x,) = inputs
        made = self.encoded(x, self.options["output_mode"])
        return Built((Tensor(made.shape, np.dtype(np.int32), made.time) if made.dtype == INT64 else made,))

    def workspace(self, inputs: Sequence[Tensor], outputs: Sequence[Tensor], *, traced: bool) -> int:
        """A bin for each number."""
        return inputs[0].elements + outputs[0].elements

    def call(self, weights: Any, inputs: Sequence[Array], masks: Sequence[Array | None], record: Record | None) -> Any:
        """Bins, or counts; boundaries are compared in single precision."""
        boundaries = np.array(self.options["bin_boundaries"], np.float32)
        bins = np.digitize(inputs[0].astype(np.float32), boundaries)
        mode = self.options["output_mode"]
        return bins.astype(np.int32) if mode == "int" else self.encode(bins, mode)


def _word(value: Any) -> str | None:
    if value is not None and (not isinstance(value, str) or len(value) > MAX_TOKEN):
        raise ValueError
    return value


def _boundaries(value: Any) -> tuple[float, ...]:
    if not isinstance(value, list) or not 0 < len(value) <= MAX_EXTENT:
        raise ValueError
    if any(isinstance(v, bool) or not isinstance(v, int | float) or not np.isfinite(v) for v in value):
        raise ValueError
    if sorted(value) != value:
        raise ValueError
    return tuple(float(v) for v in value)
