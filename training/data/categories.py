"""Columns of text as inputs of a network: a text at each timestep, looked up and embedded inside the network."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from service.errors import InvalidArgumentError
from training.data.growing import blocks, release

if TYPE_CHECKING:
    import pyarrow as pa

MOST_WORDS = 50_000  # different texts of a column
LARGEST_EMBEDDING = 16  # dimensions, where nobody asked for others

Texts = npt.NDArray[Any]  # objects, all of them str
Codes = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Category:
    """The texts of the rows of a column; a missing one is the empty text."""

    codes: Codes  # (rows,): places in `words`
    words: Texts  # those of the column, and at the end the empty text for what is missing
    dimensions: int = 0  # of its embedding; 0: as many as suit

    @staticmethod
    def of(codes: Codes, words: Sequence[str], dimensions: int = 0) -> "Category":
        """The category of codes that are places in `words`, or -1; those become places of the empty text."""
        for rows in blocks(len(codes)):
            codes[rows][codes[rows] < 0] = len(words)
            release(codes)
        return Category(codes, np.array([*words, ""], object), dimensions)

    def texts(self, rows: Any) -> Texts:
        """The texts of some rows, in the shape of `rows`."""
        found: Texts = self.words[self.codes[rows]]
        return found

    def places(self, rows: npt.NDArray[np.bool_]) -> Codes:
        """The places of the texts that chosen rows hold, each once."""
        found: Codes = np.empty(0, np.int32)
        for block in blocks(len(self.codes)):
            found = np.union1d(found, self.codes[block][rows[block]]).astype(np.int32)
            release(self.codes)
        return found

    def embedding(self, rows: npt.NDArray[np.bool_]) -> "Embedding":
        """How the texts that chosen rows hold are looked up and embedded."""
        words = tuple(sorted({str(word) for word in self.words[self.places(rows)]} - {""}))
        return Embedding(words, self.dimensions or min(LARGEST_EMBEDDING, max(1, round(len(words) ** 0.5))))


@dataclass(frozen=True)
class Embedding:
    """A vocabulary, and how many numbers stand for each of its words, and for all others together."""

    words: tuple[str, ...]
    dimensions: int


def texts(found: "pa.Schema", names: Sequence[str]) -> list[str]:
    """Those of some columns that hold text."""
    from pyarrow import types

    kinds = (types.is_string, types.is_large_string, types.is_dictionary)
    return [name for name in names if any(kind(found.field(name).type) for kind in kinds)]


def check(found: "pa.Schema", names: Sequence[str], used: Collection[str]) -> None:
    """Raises InvalidArgumentError for columns that are used otherwise, or hold neither text nor whole numbers."""
    from pyarrow import types

    for name in names:
        kind = found.field(name).type
        if name in used:
            raise InvalidArgumentError(
                f"categorical: column {name!r} is the time, a target or one of the features already",
                field="categorical",
            )
        if not (texts(found, [name]) or types.is_boolean(kind) or types.is_integer(kind)):
            raise InvalidArgumentError(
                f"categorical: column {name!r} holds {kind}; expected text, truth values or whole numbers",
                field="categorical",
            )


def input_name(column: str) -> str:
    """The name of a column's input: ASCII letters, digits and `_.-`, as Keras takes them in every place."""
    return re.sub(r"^[^A-Za-z0-9]+", "", re.sub(r"[^A-Za-z0-9_.-]", "_", column)) or "text"


def check_names(columns: Sequence[str], taken: Sequence[str]) -> None:
    """Raises InvalidArgumentError for columns whose inputs would have one name, or one that is taken."""
    names = [*taken]
    for column in columns:
        if (name := input_name(column)) in names:
            raise InvalidArgumentError(
                f"categorical: the input of column {column!r} would be called {name!r}, as another is; rename the "
                "column",
                field="categorical",
            )
        names.append(name)
