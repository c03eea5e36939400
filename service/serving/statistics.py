"""Statistics of predictions: requests, sequences and nanoseconds, by model and version."""

import threading
import time
from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from typing import Any

from service.errors import CancelledError, LimitExceededError, ServiceError, TimeLimitError, UnavailableError
from service.model.results import Shared
from service.observe.samples import Samples, Value
from service.observe.table import METRICS

BATCH_SIZES = 256  # batch sizes counted separately for a version; others count in the totals only
REASONS = ("REJECTED", "CANCELED", "OTHER", "BACKEND")
BATCH_BUCKETS = METRICS["unroll_batch_size"].buckets
VersionKey = tuple[str, str]  # model, version number


@dataclass
class Count:
    """What one version has done. Times are nanoseconds in all."""

    successes: int = 0
    failures: int = 0
    passes: int = 0  # forward passes
    failure_ns: int = 0
    queue_ns: int = 0
    input_ns: int = 0
    infer_ns: int = 0
    output_ns: int = 0
    sequences: int = 0
    last_ms: int = 0  # since the epoch
    batches: dict[int, list[int]] = field(default_factory=dict)  # size → forward passes, input, infer, output ns
    reasons: dict[str, int] = field(default_factory=dict)  # of failures

    def add(self, other: "Count") -> None:
        """Adds what another process counted."""
        for name, value in asdict(other).items():
            if name == "last_ms":
                self.last_ms = max(self.last_ms, value)
            elif name not in ("batches", "reasons"):
                setattr(self, name, getattr(self, name) + value)
        for size, numbers in other.batches.items():
            self.batches[size] = [a + b for a, b in zip(self.batches.get(size, [0] * 4), numbers, strict=True)]
        for reason, number in other.reasons.items():
            self.reasons[reason] = self.reasons.get(reason, 0) + number


# Places in a cell.
REQUESTS, SEQUENCES, PASSES, QUEUE, INPUT, INFER, OUTPUT, LAST = range(8)
OTHERS = 0  # the cell of those that are not counted under a batch size
Cells = dict[VersionKey, dict[int, list[int]]]  # by version and batch size


class InferenceStatistics:
    """The counts of one process. Each thread counts answers in cells of its own, so nothing is locked for them."""

    def __init__(self) -> None:
        self._here = threading.local()  # .cells of the thread
        self._threads: list[Cells] = []  # the cells of all threads, those that ended included
        self._failures: dict[VersionKey, Count] = {}
        self._failing = threading.Lock()  # guards the failures

    def answered(
        self, key: VersionKey, shape: Sequence[int], times: tuple[int, int, int, int], shared: Shared | None = None
    ) -> tuple[Any, ...]:
        """Counts an answer to inputs of such a shape; gives what a call keeps of it, see `service.observe.calls.Done`.

        `times` are those of its begin, of the end of decoding, of computing, and of encoding, by `perf_counter_ns`.

        `shared` is what is known of the forward pass where others may have been in it. A pass is counted by the
        request that leads it, under the sequences in it.
        """
        begin, decoded, computed, end = times
        batch = size = shape[0]
        leads, waited = True, 0
        if shared is not None:
            leads, waited = shared.leads, shared.waited_ns
            size = shared.sequences if leads else OTHERS
        infer = computed - decoded - waited
        try:
            cell = self._here.cells[key][size]
        except (AttributeError, KeyError):
            cell = self._cell(key, size)
        cell[REQUESTS] += 1
        cell[SEQUENCES] += batch
        cell[PASSES] += leads
        cell[QUEUE] += waited
        cell[INPUT] += decoded - begin
        cell[INFER] += infer
        cell[OUTPUT] += end - computed
        cell[LAST] = end
        return key, shape, waited, infer, decoded, computed, shared

    def failed(self, key: VersionKey, nanoseconds: int, error: Exception) -> None:
        """Counts a request that was not answered."""
        reason = reason_of(error)
        with self._failing:
            count = self._failures.setdefault(key, Count())
            count.failures += 1
            count.failure_ns += nanoseconds
            count.reasons[reason] = count.reasons.get(reason, 0) + 1

    def samples(self, held: Collection[VersionKey]) -> Samples:
        """The counts of the versions held, as metrics."""
        return {(name, (*key, *labels)): value for key in held for name, labels, value in _metrics(self._count(key))}

    def to_json(self, held: Collection[VersionKey]) -> list[list[Any]]:
        """The counts of the versions held, for `total`; those of others are forgotten."""
        counted: set[VersionKey] = set()
        places: list[dict[VersionKey, Any]] = [self._failures, *self._threads]
        for place in places:
            for key in list(place):
                if key in held:
                    counted.add(key)
                else:
                    place.pop(key, None)
        return [[*key, asdict(self._count(key))] for key in sorted(counted)]

    def _cell(self, key: VersionKey, size: int) -> list[int]:
        """The cell of this thread for a batch size, or that of all others where so many have one."""
        cells: Cells | None = getattr(self._here, "cells", None)
        if cells is None:
            cells = self._here.cells = {}
            self._threads.append(cells)
        sizes = cells.setdefault(key, {})
        return sizes.setdefault(size if size in sizes or len(sizes) < BATCH_SIZES else OTHERS, [0] * (LAST + 1))

    def _count(self, key: VersionKey) -> Count:
        """What all threads did with a version."""
        with self._failing:
            total = deepcopy(self._failures.get(key) or Count())
        for cells in list(self._threads):
            for size, cell in list(cells.get(key, {}).items()):
                requests, sequences, passes, queue, given, infer, output, last = cell
                sized = size != OTHERS and (size in total.batches or len(total.batches) < BATCH_SIZES)
                batches = {size: [passes, given, infer, output]} if sized else {}
                ago = time.perf_counter_ns() - last
                total.add(
                    Count(
                        requests, 0, passes, 0, queue, given, infer, output, sequences,
                        (time.time_ns() - ago) // 1_000_000, batches,
                    )
                )  # fmt: skip
        return total


def total(processes: Iterable[list[list[Any]]]) -> dict[VersionKey, Count]:
    """The counts of several processes, each as `InferenceStatistics.to_json` gave them, put together."""
    counts: dict[VersionKey, Count] = {}
    for process in processes:
        for model, version, numbers in process:
            batches = {int(size): row for size, row in numbers["batches"].items()}  # JSON's keys are text
            counts.setdefault((model, version), Count()).add(Count(**{**numbers, "batches": batches}))
    return counts


def reason_of(error: Exception) -> str:
    """Why a request failed, in the words of Triton's metrics."""
    if isinstance(error, CancelledError | TimeLimitError):
        return "CANCELED"
    if isinstance(error, LimitExceededError | UnavailableError):
        return "REJECTED"
    return "OTHER" if isinstance(error, ServiceError) else "BACKEND"


def _metrics(count: Count) -> Iterator[tuple[str, tuple[str, ...], Value]]:
    """Names of metrics, labels next to model and version, and values."""
    yield "nv_inference_request_success", (), count.successes
    for reason in REASONS:
        yield "nv_inference_request_failure", (reason,), count.reasons.get(reason, 0)
    yield "nv_inference_count", (), count.sequences
    yield "nv_inference_exec_count", (), count.passes
    parts = {"queue": count.queue_ns, "compute_input": count.input_ns, "compute_infer": count.infer_ns}
    parts["compute_output"] = count.output_ns
    for part, nanoseconds in {"request": sum(parts.values()), **parts}.items():
        yield f"nv_inference_{part}_duration_us", (), nanoseconds / 1e3
    sizes = [0.0] * (len(BATCH_BUCKETS) + 2)
    for size, (passes, *_) in count.batches.items():
        sizes[bisect_left(BATCH_BUCKETS, size)] += passes
        sizes[-1] += size * passes
    yield "unroll_batch_size", (), sizes
