"""The files of the deployment as data, and callers that repeat nothing, so that every failure of a gateway shows."""

import re
import threading
import time
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

import grpc
import numpy as np
import yaml

from service.client import to_array, to_tensor
from service.client.connections import SERVICE_CONFIG
from service.pb import unroll_pb2 as pb
from service.pb import unroll_pb2_grpc
from tests.service.support import eventually

ROOT = Path(__file__).parent.parent.parent
COMPOSE_FILE = ROOT / "docker-compose.yml"
ENVOY_FILE = ROOT / "deploy" / "gateway" / "envoy.yaml"
DOCKERFILE = ROOT / "deploy" / "Dockerfile"
SEQUENCES = np.array([[[1, 2], [2, 3], [3, 4]]], np.float32)


def compose():
    """The compose file, variables unresolved."""
    return yaml.safe_load(COMPOSE_FILE.read_text())


def envoy():
    """The configuration of the gateway."""
    return yaml.safe_load(ENVOY_FILE.read_text())


def routes(config, listener):
    """The routes of a listener, in the order in which Envoy tries them."""
    (found,) = (x for x in config["static_resources"]["listeners"] if x["name"] == listener)
    manager = found["filter_chains"][0]["filters"][0]["typed_config"]
    return manager["route_config"]["virtual_hosts"][0]["routes"]


def defaults(text):
    """A text of the compose file as it is where no variable is set."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", str(text))


def replaced(text, replacements):
    """A text with other words in it; fails where one does not stand there."""
    for old, new in replacements.items():
        assert old in text, f"{old} is not in {text}"
        text = text.replace(old, new)
    return text


@dataclass(frozen=True)
class Answer:
    """A call that was answered, and when, in monotonic seconds."""

    when: float
    version: str
    output: float


class Load:
    """Callers that predict without pause while a block runs; those `repeating` try again, as our client does."""

    def __init__(self, address, threads=3, *, repeating=False):
        self.answers: list[Answer] = []
        self.failures: list[tuple[float, str]] = []  # when, and what it said
        self._channel = partial(channel, address, repeating=repeating)
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(threads)]

    def _run(self):
        request = pb.PredictRequest(inputs=[to_tensor(SEQUENCES)])
        with self._channel() as made:
            stub = unroll_pb2_grpc.PredictionServiceStub(made)
            while not self._stop.is_set():
                try:
                    answer = stub.Predict(request, timeout=20)
                except grpc.RpcError as error:
                    self.failures.append((time.monotonic(), f"{error.code().name}: {error.details()}"))
                    self._stop.wait(0.05)
                else:
                    output = float(to_array(answer.outputs[0])[0, 0])
                    self.answers.append(Answer(time.monotonic(), answer.version, output))

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        eventually(lambda: self.answers or self.failures)
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def more(self, count=100):
        """Waits until so many more calls were answered."""
        enough = len(self.answers) + count
        eventually(lambda: len(self.answers) >= enough, timeout=120)

    def versions(self):
        """The versions that answered."""
        return {answer.version for answer in self.answers}

    def last(self, version):
        """When a version last answered, in monotonic seconds."""
        return max(answer.when for answer in self.answers if answer.version == version)

    def longest_gap(self):
        """The longest time without an answer, in seconds."""
        times = [answer.when for answer in self.answers]
        return max((later - earlier for earlier, later in pairwise(sorted(times))), default=0.0)


def channel(address, *, repeating):
    """A channel with a connection of its own; it repeats what our client repeats, or nothing."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    if repeating:
        return grpc.insecure_channel(address, [*options, ("grpc.service_config", SERVICE_CONFIG)])
    return grpc.insecure_channel(address, [*options, ("grpc.enable_retries", 0)])
