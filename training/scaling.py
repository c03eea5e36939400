"""Scales of inputs and outputs, computed from the training part alone."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from service.errors import InvalidArgumentError
from training.data.categories import Embedding
from training.data.examples import Examples
from training.data.growing import blocks
from training.data.windows import Ahead, Array, Windows
from training.options import Options

Moments = Any  # a number, or one for each column

SAMPLED = 1_000_000  # timesteps, at most, that scales are taken from where each window has its own


@dataclass(frozen=True)
class Scaling:
    """Real units in and out: what is scaled is scaled inside the network."""

    sample: npt.NDArray[Any]  # (rows, features): the input is normalised by their mean and deviation
    scale: tuple[float, ...] = (1.0,)  # of each target
    offset: tuple[float, ...] = (0.0,)
    relative: tuple[int, ...] = ()  # the features of the targets, where their differences from the last step are seen
    embeddings: Mapping[str, Embedding] = field(default_factory=dict)  # of texts, by the name of the input
    ahead: Ahead | None = None  # what is known of the rows to predict
    ids: int = 0  # of sequences of ids, how many there are; they are embedded, not scaled


def scaling_of(options: Options, examples: Examples) -> Scaling:
    """The scales of a training part. Raises InvalidArgumentError where `residual` has no target among the features."""
    train = examples.parts.train
    embeddings = {}
    if train.categories:
        rows = train.rows()
        embeddings = {name: one.embedding(rows) for name, one in train.categories.items()}
    return replace(_scales(options, examples), embeddings=embeddings, ahead=train.ahead, ids=examples.layout.ids)


def _scales(options: Options, examples: Examples) -> Scaling:
    """The scales of numbers."""
    train, layout = examples.parts.train, examples.layout
    if options.residual:
        unknown = [name for name in layout.predicted if name not in layout.features]
        if layout.classes or unknown:
            raise InvalidArgumentError(
                f"residual: the target {(unknown or [layout.target])[0]!r} has to be a number and among the features",
                field="residual",
            )
        relative = tuple(layout.features.index(name) for name in layout.predicted)
        some = train.some(slice(None, None, 1 + len(train) * train.window // SAMPLED))
        sample = some.inputs()
        sample[..., relative] -= sample[:, -1:, relative]
        return Scaling(sample.reshape(-1, sample.shape[-1]), *_spread(lambda: _changes(train, relative)), relative)
    deviation, mean = _moments(train.seen)
    sample = np.stack([mean - deviation, mean + deviation])
    return Scaling(sample) if layout.classes else Scaling(sample, *_spread(lambda: _by_target(train)))


def _by_target(windows: Windows) -> Iterator[Array]:
    """The targets piece by piece, (any, targets)."""
    for piece in windows.wanted():
        yield piece.reshape(-1, max(1, windows.several))


def _changes(windows: Windows, relative: tuple[int, ...]) -> Iterator[Array]:
    """The targets as differences from the last values of their features, piece by piece, (any, targets)."""
    for block in blocks(len(windows), windows.outputs):
        some = windows.some(block)
        last = some.values[some.starts + some.window - 1][:, None, relative]
        yield (some.expected().reshape(len(some), -1, len(relative)) - last).reshape(-1, len(relative))
        windows.release()


def _spread(pieces: Callable[[], Iterable[Array]]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The standard deviation of each target, or 1 where its values do not differ, and its mean."""
    deviation, mean = _moments(pieces)
    return tuple(float(one) or 1.0 for one in deviation), tuple(float(one) for one in mean)


def _moments(pieces: Callable[[], Iterable[Array]]) -> tuple[Moments, Moments]:
    """Standard deviation and mean of each column of all pieces, each of which is made twice."""

    def mean(values: Callable[[Array], Moments]) -> Moments:
        total: Moments = 0.0
        count = 0
        for piece in pieces():
            total = total + values(piece).sum(axis=0)
            count += len(piece)
        return total / count

    middle = mean(lambda piece: piece.astype(np.float64))
    return np.sqrt(mean(lambda piece: (piece - middle) ** 2)), middle
