"""Many models: 500 small ones in one server, cold, warm and idle, during an alias move, and during overrides.

Registering 500 versions as a training does takes minutes. Here one version folder is made, and copied for each model
with other weights and the proof of these; then each is registered through MLflow's client: a model, a version whose
source is that folder, an alias. Servers cannot tell: digests, proofs and files differ from model to model.
"""

import contextlib
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks.common import Figure, console, environment, machine, middle, python, show
from service.client import Client
from service.errors import UnavailableError

MODELS = int(os.environ.get("UNROLL_BENCH_MODELS", "500"))  # fewer: a quick look
LOOKS, MOVES, CHANGES = 20, 5, 10
POLL_SECONDS = 2.0  # the default
WAIT_SECONDS = 600.0
SERVING = re.compile(r"serving \S+ version \d+ on ([\d.:]+)")
SEQUENCES = np.array([[[1, 2], [2, 3], [3, 4]]], np.float32)


def main() -> None:
    """Measures and prints."""
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
        begin = time.perf_counter()
        store = register(Path(folder), MODELS)
        notes = [machine(), f"{MODELS} models, registered in {time.perf_counter() - begin:.0f} s; small: 33 weights"]
        show("Many models", list(figures(store, Path(folder) / "cache", notes)), notes)


def figures(store: Any, cache: Path, notes: list[str]) -> Iterator[Figure]:
    """Starts servers and measures."""
    names = [name_of(i) for i in range(MODELS)]
    with served(names, cache) as (server, client, began):
        firsts = first_answers(client, names, began)
        used = processor(server)
        yield figure("all models answer, from cold", max(firsts), 60.0, " s")
        notes.append(f"cold: {used:.0f} s of processor in all processes, {used / MODELS * 1000:.0f} ms a model")
        workers = [p.memory_info().rss / 1e6 for p in server.children() if "service.worker" in p.cmdline()]
        notes.append(f"memory: worker {max(workers):.0f} MB, supervisor {server.memory_info().rss / 1e6:.0f} MB")
        yield idle(server, client)
        yield moves(store, client)
        many = change_seconds(server, client)
    yield warm(names, cache, notes)
    with served(names[:1], cache) as (server, client, began):
        first_answers(client, names[:1], began)
        one = change_seconds(server, client)
    shares = [m / o for m, o in zip(many, one, strict=True)]
    cost = f"{middle(many) * 1000:.0f} ms of processor"
    yield Figure("an override among all, relative to one alone", cost, f"{middle(one) * 1000:.0f} ms", shares, 1.5)


def warm(names: list[str], cache: Path, notes: list[str]) -> Figure:
    """Seconds from a warm start to the first answer, of a model that is loaded first, in the middle, and last."""
    firsts, used = [], []
    for name in (names[0], names[MODELS // 2], names[-1]):
        address = f"127.0.0.1:{free_port()}"  # known before the server says that it serves
        with started(names, cache, address) as (process, _), Client(address) as client:
            began, server = time.perf_counter(), psutil.Process(process.pid)
            firsts += first_answers(client, [name], began)
            used.append(processor(server))
            others = first_answers(client, names, began)
    cost = f"{middle(used):.1f} s of processor in all processes by then; every model has answered after"
    notes.append(f"warm: {cost} {max(others):.1f} s")
    return Figure("first answer of any model, warm start", f"{max(firsts):.2f} s", "", firsts, 3.0, unit=" s")


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def figure(what: str, value: float, target: float, unit: str) -> Figure:
    """One that was measured once."""
    return Figure(what, f"{value:.2f}{unit}", "", [value], target, unit=unit)


def name_of(i: int) -> str:
    """The name of a model."""
    return f"model-{i:03}"


def register(folder: Path, count: int) -> Any:
    """Registers models, each with a version of its own; gives the store."""
    import keras

    from registry import artifact, mlmodel, tag
    from registry.store import Store
    from service.model import keras_file, proof

    layers = [keras.Input((3, 2), name="x"), keras.layers.SimpleRNN(4), keras.layers.Dense(1, name="output")]
    keras.Sequential(layers).save(folder / "base.keras")
    network = keras_file.read(folder / "base.keras")

    def prove(file: Path, into: Path) -> None:
        result = keras_file.read(file).forward({"x": SEQUENCES})
        proof.Proof({"x": SEQUENCES}, result.outputs, result.final_state, "unroll").save(into)

    prove(folder / "base.keras", folder / "proof.npz")
    files = folder / "base.keras", folder / "proof.npz"
    mlmodel.build(folder / "base", *files, {"x": SEQUENCES}, network.inputs, network.outputs)
    store = Store()
    client = store._client
    for i in range(count):
        made = folder / "files" / name_of(i)
        shutil.copytree(folder / "base", made)
        weights = {"output/bias": np.array([i], np.float32)}
        keras_file.rewrite(folder / "base.keras", made / artifact.KERAS_FILE, weights)
        prove(made / artifact.KERAS_FILE, made / artifact.PROOF_FILE)
        tags = {tag.DIGEST: artifact.digest(made / artifact.KERAS_FILE), tag.KIND: "trained"}
        client.create_registered_model(name_of(i))
        client.create_model_version(name_of(i), str(made), tags=tags, await_creation_for=0)
        store.set_alias(name_of(i), "champion", "1")
    return store


@contextlib.contextmanager
def started(names: list[str], cache: Path, address: str) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """A server with two workers that has just been started, and its log."""
    flags = [f"--model=models:/{name}@champion" for name in names]
    command = python(
        "-m", "service.cli", "serve", f"--cache={cache}", "--workers=2", f"--address={address}", "--metrics=off", *flags
    )
    log = cache.parent / "log"
    with log.open("w") as file:
        process = subprocess.Popen(command, env=environment(), stderr=file)
    try:
        yield process, log
    finally:
        process.terminate()
        process.wait(60)


@contextlib.contextmanager
def served(names: list[str], cache: Path) -> Iterator[tuple[psutil.Process, Client, float]]:
    """A server that serves something, a client of it, and when it was started."""
    began = time.perf_counter()
    with started(names, cache, "127.0.0.1:0") as (process, log):
        while not (serving := SERVING.search(log.read_text())):
            if process.poll() is not None or time.perf_counter() > began + WAIT_SECONDS:
                raise RuntimeError(f"the server does not serve:\n{log.read_text()}")
            time.sleep(0.05)
        with Client(serving[1]) as client:
            yield psutil.Process(process.pid), client, began


def first_answers(client: Client, names: list[str], began: float) -> list[float]:
    """Seconds from the start of the server to the first answer of each model, asked for in the order of names."""
    seconds = []
    for name in names:
        while True:
            try:
                client.predict(SEQUENCES, model=name)
            except UnavailableError:  # not loaded yet, or the server has not started yet
                if time.perf_counter() > began + WAIT_SECONDS:
                    raise
                time.sleep(0.01)
            else:
                seconds.append(time.perf_counter() - began)
                break
    return seconds


def processor(server: psutil.Process) -> float:
    """Seconds of processor of a server and all its processes, also of those that ended."""
    used = server.cpu_times()
    total: float = used.user + used.system + used.children_user + used.children_system
    for child in server.children():
        with contextlib.suppress(psutil.NoSuchProcess):
            used = child.cpu_times()
            total += used.user + used.system + used.children_user + used.children_system
    return total


def idle(server: psutil.Process, client: Client) -> Figure:
    """Seconds of processor that the supervisor takes for a look."""
    name = name_of(0)

    def own() -> float:
        used = server.cpu_times()
        return float(used.user + used.system)

    def next_look(after: int) -> int:
        deadline = time.perf_counter() + WAIT_SECONDS
        while (confirmed := client.model(name).confirmed_time.ToNanoseconds()) == after:
            if time.perf_counter() > deadline:
                raise RuntimeError("the server does not look at its registry")
            time.sleep(0.02)
        return int(confirmed)

    seconds, last = [], next_look(next_look(0))
    for _ in range(LOOKS):
        before = own()
        last = next_look(last)
        seconds.append(own() - before)
    mean = sum(seconds) / len(seconds)
    return Figure("processor of a look, nothing new", f"{mean:.3f} s", "", [mean], 0.1, unit=" s")


def moves(store: Any, client: Client) -> Figure:
    """Seconds from a move of an alias in MLflow to the first answer of the version that it points at."""
    seconds = []
    for i in range(MOVES):
        name = name_of(MODELS // 2 + i)
        source = store._client.get_model_version(name_of(i), "1")
        store._client.create_model_version(name, source.source, tags=source.tags, await_creation_for=0)
        time.sleep(POLL_SECONDS * i / MOVES)  # somewhere between two looks
        store.set_alias(name, "champion", "2")
        begin = time.perf_counter()
        while client.predict(SEQUENCES, model=name).version != "2":
            if time.perf_counter() > begin + WAIT_SECONDS:
                raise RuntimeError(f"the alias of {name} is not followed")
            time.sleep(0.02)
        seconds.append(time.perf_counter() - begin)
    return Figure("an alias move is followed", f"{middle(seconds):.2f} s", "", seconds, 3.0, unit=" s")


def change_seconds(server: psutil.Process, client: Client) -> list[float]:
    """Seconds of processor of all processes for overrides of one model."""
    seconds = []
    for i in range(CHANGES):
        current = client.model(name_of(0)).default_version
        before = processor(server)
        client.override_weights(
            {"output/bias": [float(i)]}, model=name_of(0), expected_version=current, reason="measured"
        )
        seconds.append(processor(server) - before)
    return seconds


if __name__ == "__main__":
    console.print(f"{MODELS} models")
    main()
