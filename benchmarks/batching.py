"""Batching of a heavy network: throughput of 32 concurrent callers, compared with one caller.

As it is deployed, with a worker on each core, and on a single one, where nothing but batching can gain.
"""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import grpc
import numpy as np

from benchmarks.common import Figure, console, machine, middle, python, show, timed
from benchmarks.load import Shape, has_h2load, load
from benchmarks.servers import INFER, Place, free_address, request_file, unroll_server
from service.oip.messages import pb

ROUNDS = 7
LOAD_SECONDS = 2
TARGET = 2.5
MODEL = "heavy"
MAKE = (
    "import keras; keras.Sequential([keras.Input((100, 8), name='x'), keras.layers.LSTM(128), keras.layers.Dense(1)])"
    ".save('heavy.keras')"
)
STATISTICS = "/inference.GRPCInferenceService/ModelStatistics"
ONE, MANY = Shape(1, 1, LOAD_SECONDS), Shape(16, 2, LOAD_SECONDS)  # many connections, which spread over the workers


def main() -> None:
    """Measures and prints."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) == 1:
        console.print("One core: server and load have nowhere to be apart. Nothing is measured.")
        return
    with tempfile.TemporaryDirectory(prefix="unroll-bench-") as folder:
        place = Place(Path(folder), cores, cores[:-1], cores[-1])
        console.print("making and registering LSTM(128) + Dense(1) …")
        timed(python("-c", MAKE), place.env, place.folder)
        register = ["register", "heavy.keras", f"--name={MODEL}", "--alias=champion"]
        timed(python("-m", "service.cli", *register), place.env, place.folder)
        notes = [machine(), "each request is one sequence of 100 timesteps"]
        deployed = cores if len(cores) == 2 else place.server_cores
        if deployed is cores:
            notes.append("two cores are too few to keep one for the load: it shares the last with a worker")
        figures = []
        for server_cores, judged in ((deployed, True), (cores[:1], False)):
            figure, note = _measure(place, server_cores, judged=judged)
            figures.append(figure)
            notes.append(note)
        notes.append("one core is not judged: what gRPC takes for a call is not shared by a batch (docs/decisions.md)")
    show("A heavy network: requests/s of 32 at once, relative to one after the other", figures, notes)


def _measure(place: Place, cores: Sequence[int], *, judged: bool) -> tuple[Figure, str]:
    """The figure of a server with a worker on each core, and a note about its batches."""
    workers = "1 worker, on a core of its own" if len(cores) == 1 else f"{len(cores)} workers, each on a core"
    x = np.random.default_rng(0).normal(size=(1, 100, 8)).astype(np.float32)
    request = pb.ModelInferRequest(model_name=MODEL, raw_input_contents=[x.tobytes()])
    request.inputs.add(name="x", datatype="FP32", shape=x.shape)
    file = request_file(place, "infer", request)
    rates: dict[Shape, list[float]] = {ONE: [], MANY: []}
    with unroll_server(place, free_address(), cores, MODEL) as server, grpc.insecure_channel(server.address) as channel:
        infer = channel.unary_unary(INFER, pb.ModelInferRequest.SerializeToString, pb.ModelInferResponse.FromString)
        answer_bytes = infer(request, timeout=30).ByteSize()
        for number in range(ROUNDS + 1):
            console.print(f"{workers}: round {number} of {ROUNDS} …" if number else f"{workers}: warming up …")
            for shape, found in rates.items():
                done = load(server.address + INFER, file, answer_bytes, shape, place.load_core)
                if number:
                    found.append(done.per_second)
        together = _together(channel)
    figure = Figure(
        workers,
        f"{middle(rates[MANY]):,.0f}",
        f"{middle(rates[ONE]):,.0f}",
        [many / one for many, one in zip(rates[MANY], rates[ONE], strict=True)],
        target=TARGET,
        at_least=True,
        judged=judged and has_h2load(),
    )
    return figure, f"{workers}: {together:.0f} sequences in a forward pass, on average over those that share one"


def _together(channel: grpc.Channel) -> float:
    """Sequences in a forward pass, among the passes of more than one, as the server counted."""
    ask = channel.unary_unary(
        STATISTICS, pb.ModelStatisticsRequest.SerializeToString, pb.ModelStatisticsResponse.FromString
    )
    (counted,) = ask(pb.ModelStatisticsRequest(name=MODEL), timeout=30).model_stats
    passes = {batch.batch_size: batch.compute_infer.count for batch in counted.batch_stats if batch.batch_size > 1}
    return sum(size * count for size, count in passes.items()) / max(1, sum(passes.values()))


if __name__ == "__main__":
    main()
