"""Every metric of a server, in one table. The metrics page and docs/observability.md are made from it."""

from dataclasses import dataclass
from enum import Enum


class Kind(Enum):
    """What a metric is, by its name in Prometheus."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"
    UNTYPED = "unknown"  # counts whose names, Triton's, do not end in `_total`


class Merge(Enum):
    """What becomes of the values that several workers have for the same labels."""

    SUM = "sum"  # counts: those of workers that died included
    LIVE = "live"  # the sum over the workers that run
    LARGEST = "largest"  # what all workers should agree on


@dataclass(frozen=True)
class Metric:
    """One row."""

    name: str
    kind: Kind
    labels: tuple[str, ...]
    text: str
    merge: Merge = Merge.SUM
    buckets: tuple[float, ...] = ()  # upper bounds of a histogram, without infinity

    @property
    def of_version(self) -> bool:
        """Whether it leaves the page when the version leaves memory."""
        return {"model", "version"} <= set(self.labels)


SECONDS = (0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
SWAP_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
BATCH_SIZES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 1024.0, 4096.0, 16384.0)

METHOD = ("grpc_type", "grpc_service", "grpc_method")
VERSION = ("model", "version")

_ROWS = (
    # Calls, as go-grpc's middleware names them.
    Metric("grpc_server_started_total", Kind.COUNTER, METHOD, "Calls that began."),
    Metric("grpc_server_handled_total", Kind.COUNTER, (*METHOD, "grpc_code"), "Calls that ended, by status."),
    Metric(
        "grpc_server_handling_seconds", Kind.HISTOGRAM, METHOD, "Seconds from the start of a call to its status.",
        buckets=SECONDS,
    ),
    Metric("grpc_server_msg_received_total", Kind.COUNTER, METHOD, "Messages received."),
    Metric("grpc_server_msg_sent_total", Kind.COUNTER, METHOD, "Messages sent."),
    # Predictions, as Triton names them; Predict, PredictStream and Trace count as ModelInfer does.
    Metric("nv_inference_request_success", Kind.UNTYPED, VERSION, "Requests that were answered."),
    Metric(
        "nv_inference_request_failure", Kind.UNTYPED, (*VERSION, "reason"),
        "Requests that were not: REJECTED (a limit, or not served now), CANCELED (by the caller, or its deadline), "
        "OTHER (the request was wrong), BACKEND (a fault of the server).",
    ),
    Metric("nv_inference_count", Kind.UNTYPED, VERSION, "Sequences that were computed."),
    Metric("nv_inference_exec_count", Kind.UNTYPED, VERSION, "Forward passes; a batch is one."),
    Metric(
        "nv_inference_request_duration_us", Kind.UNTYPED, VERSION,
        "Microseconds of answered requests, from decoding to encoding.",
    ),
    Metric("nv_inference_queue_duration_us", Kind.UNTYPED, VERSION, "Of these, waiting for a batch to begin."),
    Metric("nv_inference_compute_input_duration_us", Kind.UNTYPED, VERSION, "Of these, decoding."),
    Metric("nv_inference_compute_infer_duration_us", Kind.UNTYPED, VERSION, "Of these, computing."),
    Metric("nv_inference_compute_output_duration_us", Kind.UNTYPED, VERSION, "Of these, encoding."),
    Metric(
        "nv_inference_pending_request_count", Kind.GAUGE, VERSION, "Requests that wait for a batch to begin.",
        Merge.LIVE,
    ),
    # What is served.
    Metric(
        "unroll_model_info", Kind.GAUGE, (*VERSION, "alias", "digest", "proof", "engine", "origin"),
        "1 for each version in memory and each alias that points at it; `alias` is empty where none does.",
        Merge.LARGEST,
    ),
    Metric(
        "unroll_model_ready", Kind.GAUGE, VERSION,
        "1 for a version in memory of all workers; 0, with an empty version, for a model of which nothing is loaded.",
        Merge.LARGEST,
    ),
    Metric(
        "unroll_model_stale_seconds", Kind.GAUGE, ("model",),
        "Seconds since the registry last agreed with what is served; 0 while it does.", Merge.LARGEST,
    ),
    Metric(
        "unroll_swap_seconds", Kind.HISTOGRAM, (),
        "Seconds that all workers took to change to another snapshot, loading included.", buckets=SWAP_SECONDS,
    ),
    Metric("unroll_swaps_total", Kind.COUNTER, ("result",), "Changes of what is served: ok, or refused by a worker."),
    Metric(
        "unroll_registry_requests_total", Kind.COUNTER, ("result",),
        "Questions to MLflow: ok, not_found, conflict, unavailable, or error.",
    ),
    Metric(
        "unroll_registry_last_success_timestamp_seconds", Kind.GAUGE, (), "When MLflow last answered; 0: never yet.",
        Merge.LARGEST,
    ),
    Metric(
        "unroll_batch_size", Kind.HISTOGRAM, VERSION, "Sequences in a forward pass.", buckets=BATCH_SIZES
    ),
    # Load and limits.
    Metric("unroll_calls_in_flight", Kind.GAUGE, (), "Calls in progress, streams included.", Merge.LIVE),
    Metric("unroll_streams_open", Kind.GAUGE, (), "Open streams.", Merge.LIVE),
    Metric(
        "unroll_room_waiting", Kind.GAUGE, (), "Large calls that wait until others have computed.", Merge.LIVE
    ),
    Metric(
        "unroll_refused_total", Kind.COUNTER, ("limit",),
        "Calls that a bound refused: computed, open_streams, calls_per_second; queue (an overload); time (the server's "
        "own limits); other.",
    ),
    Metric(
        "unroll_auth_total", Kind.COUNTER, ("result", "role"),
        "Calls by the role they need: ok, unauthenticated (no token, or an unknown one), denied (without the role).",
    ),
    # The processes.
    Metric("unroll_worker_up", Kind.GAUGE, ("worker",), "1 where a worker answered this scrape.", Merge.LARGEST),
    Metric("unroll_worker_restarts_total", Kind.COUNTER, ("worker",), "How often a worker was started again."),
    Metric("process_cpu_seconds_total", Kind.COUNTER, ("worker",), "Processor time; the supervisor is a worker here."),
    Metric("process_resident_memory_bytes", Kind.GAUGE, ("worker",), "Resident memory.", Merge.LARGEST),
    Metric("process_open_fds", Kind.GAUGE, ("worker",), "Open descriptors.", Merge.LARGEST),
    Metric("process_threads", Kind.GAUGE, ("worker",), "Threads.", Merge.LARGEST),
    Metric("process_start_time_seconds", Kind.GAUGE, ("worker",), "Start, in seconds since the epoch.", Merge.LARGEST),
    Metric(
        "unroll_certificate_expiry_timestamp_seconds", Kind.GAUGE, ("file",),
        "When the first certificate of a file expires: `certificate` or `client_authority`.", Merge.LARGEST,
    ),
    Metric(
        "unroll_callers_file_valid", Kind.GAUGE, (),
        "1 while the callers in force are those of the file; 0 where it has an error, and earlier ones hold.",
        Merge.LARGEST,
    ),
    Metric("unroll_build_info", Kind.GAUGE, ("version", "python", "grpc"), "1, with what runs.", Merge.LARGEST),
)  # fmt: skip
METRICS = {metric.name: metric for metric in _ROWS}


def document() -> str:
    """The table of docs/observability.md."""
    rows = ["| metric | type | labels | what it says |", "|---|---|---|---|"]
    for metric in METRICS.values():
        kind = "untyped" if metric.kind is Kind.UNTYPED else metric.kind.value
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        rows.append(f"| `{metric.name}` | {kind} | {labels} | {metric.text} |")
    return "\n".join(rows) + "\n"
