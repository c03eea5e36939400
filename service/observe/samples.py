"""Metric values on their way from the processes to the page: plain JSON, merged as the table says."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from service.observe.table import METRICS, Merge

Labels = tuple[str, ...]
Value = float | list[float]  # of a histogram: how many in each bucket, those beyond the last, then the sum of all
SampleKey = tuple[str, Labels]  # name of the metric, values of its labels in their order
Samples = dict[SampleKey, Value]


def to_json(samples: Samples) -> list[Any]:
    """What `from_json` reads."""
    return [[name, labels, value] for (name, labels), value in samples.items()]


def from_json(rows: Iterable[Any]) -> Samples:
    """The samples that `to_json` wrote. Raises KeyError for a metric that the table does not have."""
    return {(METRICS[name].name, tuple(labels)): value for name, labels, value in rows}


def plus(a: Value, b: Value) -> Value:
    """The sum of two values of one metric."""
    if isinstance(a, list) and isinstance(b, list):
        return [x + y for x, y in zip(a, b, strict=True)]
    assert not isinstance(a, list)
    assert not isinstance(b, list)
    return a + b


class Totals:
    """What all workers counted, the dead included: no count of it ever falls."""

    def __init__(self) -> None:
        self._ended: Samples = {}  # what workers had counted that have ended
        self._latest: dict[str, Samples] = {}  # by worker: what it last said

    def said(self, worker: str, samples: Samples) -> None:
        """Keeps what a worker said."""
        self._latest[worker] = samples

    def ended(self, worker: str) -> None:
        """A worker has ended: what it counted stays counted."""
        for key, value in self._latest.pop(worker, {}).items():
            if METRICS[key[0]].merge is Merge.SUM:
                self._ended[key] = plus(self._ended[key], value) if key in self._ended else value

    def merged(self, held: Collection[tuple[str, str]], answering: Collection[str]) -> Samples:
        """One value for each metric and labels.

        `held`: the versions in memory, as model and number; those of others are forgotten. `answering`: the workers
        whose present state counts; what others counted does too.
        """
        for key in [key for key in self._ended if _gone(key, held)]:
            del self._ended[key]
        merged = dict(self._ended)
        for worker, samples in self._latest.items():
            for key, value in samples.items():
                how = METRICS[key[0]].merge
                if _gone(key, held) or (how is not Merge.SUM and worker not in answering):
                    continue
                if key not in merged:
                    merged[key] = value
                elif how is Merge.LARGEST:
                    merged[key] = max(merged[key], value)  # no histogram is merged so
                else:
                    merged[key] = plus(merged[key], value)
        return merged


def _gone(key: SampleKey, held: Collection[tuple[str, str]]) -> bool:
    """Whether it says something of a version that is no longer in memory."""
    metric = METRICS[key[0]]
    return metric.of_version and (key[1][0], key[1][1]) not in held


def by_labels(samples: Samples) -> Mapping[str, list[tuple[Labels, Value]]]:
    """The samples of each metric."""
    found: dict[str, list[tuple[Labels, Value]]] = {}
    for (name, labels), value in sorted(samples.items()):
        found.setdefault(name, []).append((labels, value))
    return found
