"""A server in an overload: three times the calls that it can compute, next to as many as it can.

Calls of a network that takes milliseconds are sent at a rate, whether those before them are answered or not, by two
callers: one sends a tenth of what the server can compute, the other all the rest. All calls must be answered or refused
with RESOURCE_EXHAUSTED. What counts is how long those waited that were answered, how many they were, and that the
modest caller is not refused for what the other does.
"""

import asyncio
import itertools
import os
import statistics
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import numpy as np

from benchmarks.common import Figure, console, machine, python, show, timed
from benchmarks.servers import INFER, Place, free_address, unroll_server
from service.oip.messages import pb

ROUNDS = 3
MODEL = "heavy"
MAKE = (
    "import keras; keras.Sequential([keras.Input((100, 8), name='x'), keras.layers.LSTM(512), keras.layers.Dense(1)])"
    ".save('heavy.keras')"
)
SECONDS, SETTLE_SECONDS = 4.0, 3.0  # measured, after so many that are not: an overload is noticed after half a second
TIMES = 3.0  # the capacity
MODEST = 0.1  # of the capacity, sent by one caller
# How they are computed, and how many calls are in flight when the capacity is measured: two batches, where there are
# any. One caller may have no more in an overload than one batch that is computed and two that wait.
ENGINES = {"numpy": ("each sequence alone", 16), "onnxruntime": ("in batches", 64)}


@dataclass
class Outcome:
    """What became of the calls of a load."""

    seconds: list[float] = field(default_factory=list)  # of those that were answered
    refused: list[float] = field(default_factory=list)  # of those that were refused for the overload
    codes: Counter[str] = field(default_factory=Counter)
    modest: Counter[bool] = field(default_factory=Counter)  # of the modest caller: whether they were answered

    def p99(self) -> float:
        """Seconds within which 99 % of the answers came."""
        return statistics.quantiles(self.seconds, n=100)[98]


def main() -> None:
    """Measures and prints."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) == 1:
        console.print("One core: servers and load have nowhere to be apart. Nothing is measured.")
        return
    os.sched_setaffinity(0, {cores[-1]})
    figures, notes = (
        [],
        [machine(), f"one worker on a core, the load on another; {SECONDS:g} s after {SETTLE_SECONDS:g} s"],
    )
    with tempfile.TemporaryDirectory(prefix="unroll-bench-") as folder:
        place = Place(Path(folder), cores, cores[:1], cores[-1])
        console.print("making and registering LSTM(512) + Dense(1) …")
        timed(python("-c", MAKE, cores=cores), place.env, place.folder)
        register = ["register", "heavy.keras", f"--name={MODEL}", "--alias=champion"]
        timed(python("-m", "service.cli", *register, cores=cores), place.env, place.folder)
        for engine, (how, in_flight) in ENGINES.items():
            port = free_address().rpartition(":")[2]
            options = [f"--engine={engine}"]
            address = f"[::]:{port}"
            with unroll_server(place, address, place.server_cores, MODEL, cache=engine, options=options):
                figures += asyncio.run(_measure(port, how, in_flight, notes))
    show("An overload: three times what a server can compute", figures, notes)


async def _measure(port: str, how: str, in_flight: int, notes: list[str]) -> list[Figure]:
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with (
        grpc.aio.insecure_channel(f"127.0.0.1:{port}", options) as one,
        grpc.aio.insecure_channel(f"[::1]:{port}", options) as other,
    ):
        calls = [channel.unary_unary(INFER, pb.ModelInferRequest.SerializeToString) for channel in (one, other)]
        x = np.random.default_rng(0).normal(size=(1, 100, 8)).astype(np.float32)
        request = pb.ModelInferRequest(model_name=MODEL, raw_input_contents=[x.tobytes()])
        request.inputs.add(name="x", datatype="FP32", shape=x.shape)
        capacities, ratios, shares, modest = [], [], [], []
        codes: Counter[str] = Counter()
        for number in range(ROUNDS + 1):
            console.print(f"{how}: round {number} of {ROUNDS} …" if number else f"{how}: warming up …")
            capacity = await _capacity(calls[0], request, in_flight)
            if not number:
                continue
            full = await _send(calls, request, capacity, 1.0)
            over = await _send(calls, request, capacity, TIMES)
            capacities.append(capacity)
            ratios.append((over.p99(), full.p99(), statistics.median(over.refused or [0.0])))
            shares.append(len(over.seconds) / SECONDS / capacity)
            modest.append(over.modest[True] / max(over.modest.total(), 1))
            codes += over.codes
    if set(codes) - {"OK", "RESOURCE_EXHAUSTED"}:
        raise RuntimeError(f"calls were lost: {dict(codes)}")
    early = statistics.median(refused for _, _, refused in ratios) * 1e3
    notes.append(
        f"{how}: {statistics.median(capacities):,.0f} calls/s; of {codes.total():,} calls in overloads {codes['OK']:,} "
        f"were answered, all others refused, after {early:.0f} ms (median); none was lost"
    )
    over99, full99 = (statistics.median(values) * 1e3 for values in list(zip(*ratios, strict=True))[:2])
    return [
        Figure(
            f"p99 of answers, {how}", f"{over99:.0f} ms", f"{full99:.0f} ms", [a / b for a, b, _ in ratios], target=5.0
        ),
        Figure(f"answers/s, {how}", "", "capacity", shares, target=0.7, at_least=True),
        Figure(f"answered of a modest caller, {how}", "", "all", modest, target=0.95, at_least=True),
    ]


async def _capacity(call: "grpc.aio.UnaryUnaryMultiCallable", request: pb.ModelInferRequest, in_flight: int) -> float:
    """Calls a second with so many in flight all the time."""
    end, done = time.perf_counter() + SECONDS / 2, 0

    async def work() -> None:
        nonlocal done
        while time.perf_counter() < end:
            await call(request, timeout=60)
            done += 1

    begin = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(in_flight)))
    return done / (time.perf_counter() - begin)


async def _send(
    calls: "list[grpc.aio.UnaryUnaryMultiCallable]", request: pb.ModelInferRequest, capacity: float, times: float
) -> Outcome:
    """Sends calls at so many times the capacity, evenly spaced, and waits for what becomes of them."""
    outcome, tasks = Outcome(), set()
    begin = time.perf_counter()
    measured_from, end = begin + SETTLE_SECONDS, begin + SETTLE_SECONDS + SECONDS
    modest = round(times / MODEST)  # each so many'th call is the modest caller's

    async def one(number: int) -> None:
        is_modest = number % modest == 0
        sent = time.perf_counter()
        try:
            await calls[is_modest](request, timeout=60)
            code = "OK"
        except grpc.aio.AioRpcError as error:
            code = error.code().name
        if not measured_from <= sent < end:
            return
        (outcome.seconds if code == "OK" else outcome.refused).append(time.perf_counter() - sent)
        outcome.codes[code] += 1
        if is_modest:
            outcome.modest[code == "OK"] += 1

    for number in itertools.count():
        due = begin + number / (capacity * times)
        if due >= end:
            break
        if (pause := due - time.perf_counter()) > 0:
            await asyncio.sleep(pause)
        elif number % 16 == 0:
            await asyncio.sleep(0)
        task = asyncio.ensure_future(one(number))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    await asyncio.gather(*tasks)
    return outcome


if __name__ == "__main__":
    main()
