"""Observation of a worker: the observers of its calls, and the samples that it sends to the supervisor."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from service.config import ServerConfig
from service.edge.calls import Observer
from service.edge.methods import Method
from service.observe.calls import AccessLog, Answering, Auditing
from service.observe.counts import CallCounts, access_samples, call_samples
from service.observe.samples import Samples
from service.observe.traces import Traces, hindrance, wanted
from service.serving.host import Host
from service.serving.statistics import InferenceStatistics


class WorkerObservation:
    """The observers of one worker."""

    def __init__(
        self,
        config: ServerConfig,
        audit: Callable[[dict[str, Any]], None],
        trace: Callable[[list[dict[str, Any]]], None],
    ) -> None:
        """`audit` takes a record of each operator call, `trace` what is known of some calls that are traced.

        Raises OSError where the access log cannot be opened.
        """
        self._counts = CallCounts()
        # In this order: what comes last may use what the others add to a call.
        self.observers: Sequence[Observer] = (self._counts, Answering(), Auditing(audit))
        self._traces = Traces(config.address, trace) if wanted() and not hindrance() else None
        if self._traces is not None:
            self.observers = (*self.observers, self._traces)
        if config.access_log:
            self.observers = (*self.observers, AccessLog(config.access_log, config.access_log_sample))

    def close(self) -> None:
        """Sends what is not sent yet of calls that were traced."""
        if self._traces is not None:
            self._traces.close()

    def samples(self, methods: Iterable[Method], host: Host, statistics: InferenceStatistics) -> Samples:
        """Everything that this worker counted, and how it is now."""
        methods = list(methods)
        samples = call_samples(self._counts, methods)
        samples |= access_samples(self._counts, [(m.path, m.role.value) for m in methods])
        samples |= self._counts.refused()
        models = host.snapshot().models
        samples |= statistics.samples([(name, number) for name, model in models.items() for number in model.versions])
        samples["unroll_room_waiting", ()] = float(host.admission.waiting)
        for name, model in models.items():
            for number, version in model.versions.items():
                samples["nv_inference_pending_request_count", (name, number)] = float(version.waiting())
                entry = version.entry
                for alias in [a for a, n in model.entry.aliases.items() if n == number] or [""]:
                    engines = "+".join(dict.fromkeys(entry.engines or ()))
                    origin = entry.origin if entry.origin in ORIGINS else "other"
                    labels = (name, number, alias, entry.digest, version.proof_made_by or "none", engines, origin)
                    samples["unroll_model_info", labels] = 1.0
        return samples


ORIGINS = ("trained", "override", "registered", "other")
