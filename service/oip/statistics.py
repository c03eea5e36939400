"""Statistics of the Open Inference Protocol: requests, sequences and nanoseconds, by model and version."""

import threading
import time
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from service.model.results import Shared
from service.oip.messages import pb

BATCH_SIZES = 256  # batch sizes counted separately for a version; others count in the totals only
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

    def add(self, other: "Count") -> None:
        """Adds what another process counted."""
        for name, value in asdict(other).items():
            if name == "last_ms":
                self.last_ms = max(self.last_ms, value)
            elif name != "batches":
                setattr(self, name, getattr(self, name) + value)
        for size, numbers in other.batches.items():
            self.batches[size] = [a + b for a, b in zip(self.batches.get(size, [0] * 4), numbers, strict=True)]

    def message(self, key: VersionKey) -> pb.ModelStatistics:
        """As the protocol writes it."""
        duration, n = pb.StatisticDuration, self.successes
        success_ns = self.queue_ns + self.input_ns + self.infer_ns + self.output_ns
        return pb.ModelStatistics(
            name=key[0],
            version=key[1],
            last_inference=self.last_ms,
            inference_count=self.sequences,
            execution_count=self.passes,
            inference_stats=pb.InferStatistics(
                success=duration(count=n, ns=success_ns),
                fail=duration(count=self.failures, ns=self.failure_ns),
                queue=duration(count=n, ns=self.queue_ns),
                compute_input=duration(count=n, ns=self.input_ns),
                compute_infer=duration(count=n, ns=self.infer_ns),
                compute_output=duration(count=n, ns=self.output_ns),
            ),
            batch_stats=[
                pb.InferBatchStatistics(
                    batch_size=size,
                    compute_input=duration(count=passes, ns=given),
                    compute_infer=duration(count=passes, ns=computed),
                    compute_output=duration(count=passes, ns=written),
                )
                for size, (passes, given, computed, written) in sorted(self.batches.items())
            ],
        )


class InferenceStatistics:
    """The counts of one process."""

    def __init__(self) -> None:
        self._counts: dict[VersionKey, Count] = {}
        self._counting = threading.Lock()  # guards the counts: several threads answer

    def answered(
        self, key: VersionKey, batch: int, times: tuple[int, int, int, int], shared: Shared | None = None
    ) -> None:
        """Counts an answer; `times` are those of its begin, of the end of decoding, of computing, and of encoding.

        `shared` is what is known of the forward pass where others may have been in it. A pass is counted by the
        request that leads it, under the sequences in it.
        """
        begin, decoded, computed, end = times
        rows, leads, waited = (shared.sequences, shared.leads, shared.waited_ns) if shared else (batch, True, 0)
        infer = computed - decoded - waited
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
                return
            count.passes += 1
            numbers = count.batches.get(rows)
            if numbers is None and len(count.batches) < BATCH_SIZES:
                numbers = count.batches[rows] = [0] * 4
            if numbers is not None:
                numbers[0] += 1
                numbers[1] += decoded - begin
                numbers[2] += infer
                numbers[3] += end - computed

    def failed(self, key: VersionKey, nanoseconds: int) -> None:
        """Counts a request that was not answered."""
        with self._counting:
            count = self._counts.setdefault(key, Count())
            count.failures += 1
            count.failure_ns += nanoseconds

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
