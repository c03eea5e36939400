"""Classes: those of an output that have the largest scores, and the labels that name them.

Classes lie along the last axis of an output. The labels of a version name the classes of every output whose last axis
has as many elements.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from service.errors import LimitExceededError
from service.model.network import Network
from service.model.tensors import STRING, Array, TensorSpec

MOST_SCORES = 1 << 22  # elements of an output that are put in order
MOST_CLASSES = 1 << 16  # that are returned of an output

Labels = tuple[str, ...]


@dataclass(frozen=True)
class Ranked:
    """The classes of an output with the largest scores: the largest first, of equal scores the smaller index first."""

    indices: Array  # (batch, …, classes)
    scores: Array  # of the same shape
    labels: Labels  # of all classes of the output; empty: it has none

    def __iter__(self) -> Iterator[tuple[str, int, float]]:
        """Label, index and score of each class, in row-major order."""
        for index, score in zip(self.indices.ravel().tolist(), self.scores.ravel().tolist(), strict=True):
            yield self.labels[index] if self.labels else "", index, score


def ranked(output: Array, count: int, labels: Labels, field: str) -> Ranked:
    """The `count` classes of an output, at most all, that have the largest scores. NaN is the smallest score.

    `field` is what asks for them. Raises LimitExceededError where there are too many scores, or would be classes.
    """
    count = min(count, output.shape[-1])
    rows = output.size // output.shape[-1] if output.size else 0
    for number, limit, what in ((output.size, MOST_SCORES, "scores"), (rows * count, MOST_CLASSES, "classes")):
        if number > limit:
            raise LimitExceededError(
                f"{field}: {number} {what} in one output, the limit is {limit}", field=field, limit=limit, actual=number
            )
    if output.dtype == bool:
        output = output.view(np.int8)
    order = np.argsort(-output.astype(np.float64), axis=-1, kind="stable")[..., :count]
    return Ranked(order, np.take_along_axis(output, order, -1), labels)


def classifies(spec: TensorSpec) -> bool:
    """Whether an output may tell classes apart: it has numbers, and an axis besides the batch."""
    return spec.dtype != STRING and len(spec.shape) > 1


def labels_of(record: str, network: Network) -> Labels:
    """The labels in a version's record of what its outputs mean, which is JSON; empty where none fit an output.

    Anybody may have written that record.
    """
    try:
        labels = tuple(json.loads(record)["classes"]) if record else ()
    except (ValueError, TypeError, KeyError, RecursionError):
        return ()
    known = all(isinstance(label, str) for label in labels) and any(fit(labels, spec) for spec in network.outputs)
    return labels if known else ()


def fit(labels: Sequence[str], spec: TensorSpec) -> bool:
    """Whether labels name the classes of an output."""
    return classifies(spec) and len(labels) == spec.shape[-1]
