"""Statistics of predictions: requests, sequences and nanoseconds, by model and version."""

import threading
import time
from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from service.errors import CancelledError, LimitExceededError, ServiceError, TimeLimitError, UnavailableError
from service.model.results import Shared
from service.observe.samples import Samples, Value
from service.observe.table import METRICS
from service.snapshot import VersionKey

BATCH_SIZES = 256  # batch sizes counted separately for a version; others count in the totals only
REASONS = ("REJECTED", "CANCELED", "OTHER", "BACKEND")
BATCH_BUCKETS = METRICS["unroll_batch_size"].buckets


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


class InferenceStatistics:
    """The counts of one process."""

    def __init__(self) -> None:
        self._counts: dict[VersionKey, Count] = {}
        self._counting = threading.Lock()  # guards the counts: several threads answer

    def answered(
        self, key: VersionKey, shape: Sequence[int], times: tuple[int, int, int, int], shared: Shared | None = None
    ) -> tuple[Any, ...]:
        """Counts an answer to inputs of such a shape; gives what a call keeps of it, see `service.observe.calls.Done`.

        `times` are those of its begin, of the end of decoding, of computing, and of encoding.

        `shared` is what is known of the forward pass where others may have been in it. A pass is counted by the
        request that leads it, under the sequences in it.
        """
        begin, decoded, computed, end = times
        batch = shape[0]
        rows, leads, waited = (shared.sequences, shared.leads, shared.waited_ns) if shared else (batch, True, 0)
        infer = computed - decoded - waited
        done = (*key, *shape[:2], waited, infer, decoded, computed, shared)
        with self._counting:
            count = self._counts.get(key) or self._counts.setdefault(key, Count())
            count.successes += 1
            count.sequences += batch
            count.queue_ns += waited
            count.input_ns += decoded - begin
            count.infer_ns += infer
            count.output_ns += end - computed
            count.last_ms = time.time_ns() // 1_000_000
            if not leads:
                return done
            count.passes += 1
            numbers = count.batches.get(rows)
            if numbers is None and len(count.batches) < BATCH_SIZES:
                numbers = count.batches[rows] = [0] * 4
            if numbers is not None:
                numbers[0] += 1
                numbers[1] += decoded - begin
                numbers[2] += infer
                numbers[3] += end - computed
        return done

    def failed(self, key: VersionKey, nanoseconds: int, error: Exception) -> None:
        """Counts a request that was not answered."""
        reason = reason_of(error)
        with self._counting:
            count = self._counts.setdefault(key, Count())
            count.failures += 1
            count.failure_ns += nanoseconds
            count.reasons[reason] = count.reasons.get(reason, 0) + 1

    def samples(self, held: Collection[VersionKey]) -> Samples:
        """The counts of the versions held, as metrics."""
        with self._counting:
            return {
                (name, (*key, *labels)): value
                for key in held
                for name, labels, value in _metrics(self._counts.get(key) or Count())
            }

    def to_json(self, held: Collection[VersionKey]) -> list[list[Any]]:
        """The counts of the versions held, for `total`; those of others are forgotten."""
        with self._counting:
            for key in self._counts.keys() - held:
                del self._counts[key]
            return [[*key, asdict(count)] for key, count in self._counts.items()]


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
