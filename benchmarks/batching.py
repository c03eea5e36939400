"""A heavy network behind one worker: what it answers to many who ask at once, beside what it answers to one."""

import os
import tempfile
from pathlib import Path

import grpc
import numpy as np

from benchmarks.common import Figure, console, machine, middle, python, show, timed
from benchmarks.load import Shape, has_h2load, load
from benchmarks.serving import PREDICT, Place, free_address, request_file, unroll_server
from service.client import to_tensor
from service.pb import unroll_pb2 as pb

ROUNDS = 7
LOAD_SECONDS = 2
MODEL = "heavy"
MAKE = (
    "import keras; keras.Sequential([keras.Input((100, 8)), keras.layers.LSTM(128), keras.layers.Dense(1)])"
    ".save('heavy.keras')"
)


def main() -> None:
    """Measures and prints."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) == 1:
        console.print("One core: server and load have nowhere to be apart. Nothing is measured.")
        return
    with tempfile.TemporaryDirectory(prefix="unroll-bench-") as folder:
        place = Place(Path(folder), cores, cores[:1], cores[-1])
        console.print("making and registering LSTM(128) + Dense(1) …")
        timed(python("-c", MAKE), place.env, place.folder)
        register = ["register", "heavy.keras", f"--name={MODEL}", "--alias=champion"]
        timed(python("-m", "service.cli", *register), place.env, place.folder)
        notes = [machine(), "one worker on a core of its own; each request is one sequence of 100 timesteps"]
        x = np.random.default_rng(0).normal(size=(1, 100, 8)).astype(np.float32)
        request = pb.PredictRequest(inputs=[to_tensor(x)])
        with unroll_server(place, free_address(), place.server_cores, MODEL) as server:
            figure = _compare(server.address, request_file(place, "predict", request), request, place.load_core)
    show("Requests for a heavy network, batched while it computes", [figure], notes)


def _compare(address: str, file: Path, request: pb.PredictRequest, core: int) -> Figure:
    with grpc.insecure_channel(address) as channel:
        call = channel.unary_unary(PREDICT, pb.PredictRequest.SerializeToString, pb.PredictResponse.FromString)
        answer_bytes = call(request, timeout=30).ByteSize()
    rates: dict[bool, list[float]] = {False: [], True: []}
    for number in range(ROUNDS + 1):
        console.print(f"load, round {number} of {ROUNDS} …" if number else "load, warming up …")
        for many in (False, True):
            shape = Shape(4, 8, LOAD_SECONDS) if many else Shape(1, 1, LOAD_SECONDS)
            done = load(address + PREDICT, file, answer_bytes, shape, core)
            if number:
                rates[many].append(done.per_second)
    return Figure(
        "requests/s, 32 at once beside one after the other",
        f"{middle(rates[True]):,.0f}",
        f"{middle(rates[False]):,.0f}",
        [many / one for many, one in zip(rates[True], rates[False], strict=True)],
        target=2.5,
        at_least=True,
        judged=has_h2load(),
    )


if __name__ == "__main__":
    main()
