"""The files of the deployment as data, and callers that repeat nothing, so that every failure of a gateway shows."""

import re
import threading
from pathlib import Path

import grpc
import numpy as np
import yaml

from service.client import to_array, to_tensor
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


class Load:
    """Callers that predict without pause while a block runs, and never repeat a call."""

    def __init__(self, address, threads=3):
        self.answers, self.failures = [], []  # (version, output); errors
        self._address = address
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(threads)]

    def _run(self):
        request = pb.PredictRequest(inputs=[to_tensor(SEQUENCES)])
        with plain_channel(self._address) as channel:
            stub = unroll_pb2_grpc.PredictionServiceStub(channel)
            while not self._stop.is_set():
                try:
                    answer = stub.Predict(request, timeout=20)
                except grpc.RpcError as error:
                    self.failures.append(f"{error.code().name}: {error.details()}")
                    self._stop.wait(0.05)
                else:
                    self.answers.append((answer.version, float(to_array(answer.outputs[0])[0, 0])))

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
        eventually(lambda: len(self.answers) >= enough, timeout=60)


def plain_channel(address):
    """A channel that repeats nothing and shares its connection with no other."""
    return grpc.insecure_channel(address, [("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", 1)])
