"""Networks made by Keras and kept in folders as the cache keeps them, and servers that serve them for real."""

import dataclasses
import hashlib
import itertools
import os
import re
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import psutil

from registry import tag
from registry.store import Store
from service.api.insight import InsightServicer
from service.api.models import ModelServicer
from service.api.prediction import PredictionServicer
from service.api.weights import WeightServicer
from service.client import Client
from service.config import DEFAULT_EDGE, Limits, ServerConfig
from service.edge.health import Health
from service.edge.reflection import reflection_methods
from service.edge.server import build_edge
from service.model import keras_file, proof
from service.oip.inference import inference_methods
from service.oip.messages import POOL
from service.serving.host import Host
from service.serving.loaded import MODEL_FILE, PROOF_FILE
from service.snapshot import ModelEntry, Snapshot

R3_INPUTS = np.array([[[1, 2], [2, 3], [3, 4]], [[5, 6], [6, 7], [7, 8]], [[9, 10], [10, 11], [11, 12]]], np.float32)
R2_INPUTS = np.array([[[1, 3], [1, 1], [2, 3]]], np.float32)
R2_WEIGHTS = {
    "rnn/kernel": np.array([[1, 0, 2], [2, 1, 3]], np.float32),
    "rnn/recurrent_kernel": np.array([[1, 2, 1], [1, 0, 1], [0, 1, 0]], np.float32),
    "rnn/bias": np.array([0, 0, 1], np.float32),
}
WORDS = ["the", "cat", "sat", "日本"]
TEXTS = np.array([["The cat!"], ["日本 sat"], [""]], object)
R2_OUTPUT = np.array([[[7, 3, 12], [13, 27, 16], [48, 45, 54]]], np.float32)


def r3(seed=0):
    """The reference network, not trained, with biases that are not zero."""
    import keras

    keras.utils.set_random_seed(seed)
    bias = keras.initializers.RandomUniform(-1, 1, seed=seed)
    return keras.Sequential(
        [
            keras.Input((3, 2), name="x"),
            keras.layers.SimpleRNN(4, name="simpleRNN", bias_initializer=bias),
            keras.layers.Dense(1, name="output", bias_initializer=bias),
        ]
    )


def r2():
    """The linear network whose answer is known exactly; its weights are still those of chance."""
    import keras

    keras.utils.set_random_seed(0)
    rnn = keras.layers.SimpleRNN(3, activation=None, return_sequences=True, name="rnn")
    return keras.Sequential([keras.Input((3, 2), name="x"), rnn])


def keep(model, folder, inputs):
    """Saves a Keras model with its proof, as a version lies in the cache; gives the digest of the file."""
    folder.mkdir()
    model.save(folder / MODEL_FILE)
    outputs = {model.layers[-1].name: np.asarray(model(inputs))}
    proof.Proof({"x": inputs}, outputs, {}, "keras").save(folder / PROOF_FILE)
    return hashlib.sha256((folder / MODEL_FILE).read_bytes()).hexdigest()


def entry(name, alias, **numbered):
    """A model with versions under numbers v1, v2 …; the alias means the first."""
    versions = {key[1:]: dataclasses.replace(version, number=key[1:]) for key, version in numbered.items()}
    first = next(iter(versions))
    return ModelEntry(name, (f"models:/{name}@{alias}",), first, alias, {alias: first}, versions)


edges = [DEFAULT_EDGE]  # the one that servers of tests have; the fixture `edge` puts others here


@contextmanager
def serving(*models, limits=None, load=None, observers=(), **config):
    """A host with these models behind a real gRPC server in this process: gives the host and a client.

    `load` gets versions that a client names, as for `Host`; `observers` hear of calls.
    """
    config = ServerConfig(
        tuple(ref for m in models for ref in m.references), limits=limits or Limits(), edge=edges[-1], **config
    )
    host = Host(load=load, limits=config.limits)
    show(host, *models)
    edge = build_edge(all_methods(host, config.limits), config, observers)
    port = edge.bind("127.0.0.1:0", config.tls)
    edge.start()
    try:
        with Client(f"127.0.0.1:{port}") as client:
            yield host, client
    finally:
        edge.drain(0)


def all_methods(host, limits):
    """The table of a worker, without a supervisor: what needs one is tested with one."""
    health = Health()
    health.set([""], True)
    methods = [
        *PredictionServicer(host, limits).methods(),
        *InsightServicer(host, limits).methods(),
        *WeightServicer(host, limits, None).methods(),
        *ModelServicer(host, None).methods(),
        *inference_methods(host, limits),
        *health.methods(),
    ]
    return methods + reflection_methods(sorted({method.path.split("/")[1] for method in methods}), POOL)


def show(host, *models):
    """Puts models into service, as the supervisor does."""
    generation = host.snapshot().generation + 1
    host.prepare(Snapshot(generation, {model.name: model for model in models}))
    host.commit(generation)


class Server:
    """`unroll serve` as a process of its own, on a free port, with what it logs."""

    def __init__(self, *models, cache, env, **options):
        named = {f"--{name.replace('_', '-')}": value for name, value in options.items()}
        flags = [name if value is True else f"{name}={value}" for name, value in named.items()]
        command = [sys.executable, "-m", "service.cli", "serve", f"--cache={cache}", *flags]
        command += [f"--model={model}" for model in models]
        self.log = []
        env = {**os.environ, "UNROLL_ADDRESS": "127.0.0.1:0", "UNROLL_EDGE": edges[-1], **env}
        self.process = subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True)
        self._line = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        for line in self.process.stderr:
            with self._line:
                self.log.append(line)
                self._line.notify_all()
        with self._line:
            self.process.wait()
            self._line.notify_all()

    def logged(self, pattern, count=1, timeout=120):
        """Waits until so many lines match; gives the last match. Fails if the server ends before."""

        def found():
            return [m for m in (re.search(pattern, line) for line in list(self.log)) if m]

        with self._line:
            self._line.wait_for(lambda: len(found()) >= count or self.process.returncode is not None, timeout)
        matches = found()
        assert len(matches) >= count, f"not logged: {pattern}\n{''.join(self.log)}"
        return matches[count - 1]

    @property
    def address(self):
        return self.logged(r"serving \S+ version \d+ on ([\d.:]+)", timeout=150)[1]

    def workers(self):
        """Process ids of the workers."""
        return [child.pid for child in psutil.Process(self.process.pid).children()]

    def stop(self):
        """Ends it as an operator would; gives the exit status."""
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait(60)
        self._reader.join(10)
        self.process.stderr.close()
        return self.process.returncode


@contextmanager
def running(*models, cache, env, **options):
    """A server process that serves, and a client of it."""
    server = Server(*models, cache=cache, env=env, **options)
    try:
        with Client(server.address) as client:
            eventually(client.health)
            yield server, client
    finally:
        server.stop()


def eventually(condition, timeout=120):
    """Waits until a condition holds, asking again and again; gives what it gave."""
    deadline = time.monotonic() + timeout
    while not (result := condition()):
        assert time.monotonic() < deadline, "it did not happen"
        threading.Event().wait(0.02)
    return result


@contextmanager
def stopped(*pids):
    """Processes that do nothing while a block runs, as if they hung."""
    processes = [psutil.Process(pid) for pid in pids]
    try:
        for process in processes:
            process.suspend()
        for process in processes:  # a signal is obeyed only when its process has a turn
            eventually(lambda process=process: process.status() == psutil.STATUS_STOPPED)
        yield
    finally:
        for process in processes:
            with suppress(psutil.NoSuchProcess):  # a worker that hangs is replaced after some seconds
                process.resume()


class Load:
    """Clients that predict without pause while a block runs; keeps their answers and failures."""

    def __init__(self, address, inputs, *, model="", threads=3):
        self.answers, self.failures = [], []
        self._address, self._inputs, self._model = address, inputs, model
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(threads)]

    def _run(self):
        with Client(self._address) as client:
            while not self._stop.is_set():
                try:
                    answer = client.predict(self._inputs, model=self._model)
                except Exception as error:
                    self.failures.append(error)
                    self._stop.wait(0.05)
                else:
                    self.answers.append((answer.version, answer.output.tobytes()))

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        eventually(lambda: self.answers)
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def versions(self):
        """The versions that answered, without repetitions in a row."""
        return [version for version, _ in itertools.groupby(version for version, _ in self.answers)]


class Registry:
    """A real MLflow registry with the versions of this module's fixtures in it."""

    def __init__(self, uri, versions):
        self.env = {"MLFLOW_TRACKING_URI": uri}
        self.store = Store()
        self._versions = dict(versions)

    def add(self, version, entry):
        """A further version that may be registered."""
        self._versions[version] = entry

    def register(self, name, version, alias=None, **tags):
        """Registers a version by its name among those known here; gives its number."""
        folder = Path(self._versions[version].directory)
        network = keras_file.read(folder / MODEL_FILE)
        with self.store.run("tests", version, {}) as run:
            info = run.register(
                name,
                folder / MODEL_FILE,
                proof_file=folder / PROOF_FILE,
                example=dict(proof.load(folder / PROOF_FILE).inputs),
                inputs=network.inputs,
                outputs=network.outputs,
                tags={tag.KIND: "trained", **tags},
            )
        if alias:
            self.store.set_alias(name, alias, info.number)
        return info.number

    def files(self, name, number):
        """Where the files of a version lie in the registry's own storage."""
        from mlflow import MlflowClient

        client = MlflowClient()
        source = client.get_model_version(name, number).source
        location = client.get_logged_model(source.removeprefix("models:/")).artifact_location
        return Path(location.removeprefix("file://"))
