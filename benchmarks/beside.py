"""Quick calls beside heavy ones in the same worker: what two callers of a tiny network feel next to six of a large one.

One worker on one core; the callers are a process on the last.
"""

import os
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from benchmarks.common import Figure, console, machine, middle, python, show, timed
from benchmarks.servers import SEQUENCE, Place, free_address, unroll_server
from service.client import Client

HEAVY, QUICK = 6, 2
SECONDS = 15.0
MAKE = (
    "import keras; keras.Sequential([keras.Input((100, 8), name='x'), keras.layers.LSTM(256, return_sequences=True), "
    "keras.layers.LSTM(256), keras.layers.Dense(1)]).save('heavy.keras')"
)


def main() -> None:
    """Measures and prints."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) == 1:
        console.print("One core: server and callers have nowhere to be apart. Nothing is measured.")
        return
    os.sched_setaffinity(0, {cores[-1]})
    with tempfile.TemporaryDirectory(prefix="unroll-bench-") as folder:
        place = Place(Path(folder), cores, cores[:1], cores[-1])
        console.print("registering two versions …")
        timed(python("-m", "service.cli", "train", "--epochs=0", cores=place.all_cores), place.env, place.folder)
        timed(python("-c", MAKE, cores=place.all_cores), place.env, place.folder)
        register = ["register", "heavy.keras", "--name=heavy", "--alias=champion"]
        timed(python("-m", "service.cli", *register, cores=place.all_cores), place.env, place.folder)
        figures, notes = (
            [],
            [machine(), f"{QUICK} callers of the reference network, {HEAVY} of LSTM(256)×2: 32 × 100 steps"],
        )
        for edge in ("http2", "grpcio"):
            with unroll_server(place, free_address(), place.server_cores, "reference,heavy", edge) as server:
                alone, _ = _timings(server.address, 0)
                beside, heavy = _timings(server.address, HEAVY)
                notes.append(
                    f"{edge}: {len(beside):,} quick and {len(heavy)} heavy calls in {SECONDS:g} s, "
                    f"p50 of a heavy one {middle(heavy):.2f} s"
                )
            for name, share, target in (("p50", 50, 10.0), ("p99", 99, 1_000.0)):
                ours, theirs = (sorted(found)[len(found) * share // 100] * 1e3 for found in (beside, alone))
                figures.append(
                    Figure(
                        f"{name} of a quick call, {edge}",
                        f"{ours:.1f} ms",
                        f"{theirs:.1f} ms",
                        [ours],
                        target,
                        unit=" ms",
                    )
                )
    show("Quick calls beside heavy ones, relative to the same without them", figures, notes)


def _timings(address: str, heavy: int) -> tuple[list[float], list[float]]:
    """Seconds of quick and of heavy calls."""
    quick_times: list[float] = []
    heavy_times: list[float] = []
    end = time.monotonic() + SECONDS
    large = np.zeros((32, 100, 8), np.float32)

    def follow(model: str, x: np.ndarray, found: list[float]) -> None:
        with Client(address) as client:
            while time.monotonic() < end:
                begin = time.perf_counter()
                client.predict(x, model=model)
                found.append(time.perf_counter() - begin)

    threads = [threading.Thread(target=follow, args=("reference", SEQUENCE, quick_times)) for _ in range(QUICK)]
    threads += [threading.Thread(target=follow, args=("heavy", large, heavy_times)) for _ in range(heavy)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return quick_times, heavy_times


if __name__ == "__main__":
    main()
