"""A worker process: serves what the supervisor declares. Imports gRPC, NumPy and h5py, never MLflow or TensorFlow."""

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple

from service import current, logs, records
from service.api.insight import InsightServicer
from service.api.models import ModelServicer
from service.api.prediction import PredictionServicer
from service.api.weights import Asked, WeightServicer
from service.callers import Callers
from service.config import ServerConfig
from service.edge.access import Access, in_force
from service.edge.admin import apart
from service.edge.health import SERVICE as HEALTH
from service.edge.health import Health
from service.edge.methods import Method
from service.edge.reflection import reflection_methods
from service.edge.server import Edge, build_edge
from service.errors import LimitExceededError, ServiceError, UnavailableError
from service.link import HELLO, Link, error_to_dict
from service.observation import WorkerObservation
from service.observe.samples import to_json
from service.oip.inference import inference_methods
from service.oip.messages import POOL
from service.oip.repository import held_versions
from service.serving.host import Host
from service.serving.loaded import LoadedVersion
from service.serving.statistics import InferenceStatistics
from service.serving.threads import result_of
from service.snapshot import Snapshot

SECONDS_WITHOUT_SUPERVISOR = 1.0  # for calls in progress to finish when the supervisor is gone
SPARE_SECONDS = 4.0  # for the rest of a worker's end, before it is forced
STATISTICS_SECONDS = 10.0  # longest wait for what the other workers counted
LOAD_SECONDS = 60.0  # longest wait for a version that a client named
SAY_SECONDS = 0.25  # between two words on health while models are loaded
LOADING_THREADS = 16  # calls that wait for such a version; more of them queue behind each other

CALLERS = "callers"  # what health says of the file of callers

logger = logging.getLogger(__name__)


class SupervisorClient:
    """The supervisor, as its workers see it: calls over the link. Overrides, Supervisor and Models of the servicers."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._loading = ThreadPoolExecutor(LOADING_THREADS, "loading")

    def load(self, model: str, number: str) -> None:
        """Gets a version that a client named into the snapshot."""
        asked = {"model": model, "number": number}
        # Quick calls come here too, and others must get through meanwhile: their threads are not to wait.
        result_of(self._loading.submit(self._load, asked, current.call()))

    def _load(self, asked: dict[str, str], call: Any) -> None:
        with current.running(call):
            self._link.call("load", asked, timeout=LOAD_SECONDS)

    def override(
        self, version: LoadedVersion, alias: str, weights: bytes, *, asked: Asked, timeout: float | None
    ) -> tuple[str, str]:
        """Registers other weights, and waits for all workers; gives number and digest of the new version."""
        fields = {
            "model": version.model,
            "alias": alias,
            "base": version.entry.number,
            "digest": version.entry.digest,
            **vars(asked),
        }
        result, _ = self._link.call("override", fields, weights, timeout)
        return result["version"], result["digest"]

    def made(self, model: str, alias: str, *, asked: Asked, timeout: float | None) -> dict[str, Any]:
        """What an earlier call with the same id made, as fields of an answer; empty if nothing."""
        result, _ = self._link.call("made", {"model": model, "alias": alias, **vars(asked)}, timeout=timeout)
        return result

    def move_alias(
        self,
        model: str,
        alias: str,
        number: str,
        expected: str,
        *,
        actor: str,
        reason: str,
        timeout: float | None,
        request_id: str = "",
    ) -> None:
        """Moves an alias in the registry, and waits for all workers."""
        fields = {
            "model": model,
            "alias": alias,
            "number": number,
            "expected": expected,
            "actor": actor,
            "reason": reason,
            "request_id": request_id,
        }
        self._link.call("move_alias", fields, timeout=timeout)

    def versions(self, model: str, *, before: str, size: int, timeout: float) -> tuple[list[dict[str, Any]], bool]:
        """A page of the versions that the registry has of a model, and whether there are more."""
        asked = {"model": model, "before": before, "size": size}
        result, _ = self._link.call("versions", asked, timeout=timeout)
        return result["versions"], result["more"]

    def statistics(self) -> list[list[list[Any]]]:
        """What each worker counted."""
        result, _ = self._link.call("statistics", {}, timeout=STATISTICS_SECONDS)
        return list(result["workers"])

    def serve(self, model: str, *, alias: str, number: str, timeout: float | None) -> None:
        """Has a registered model served, and waits for all workers."""
        self._link.call("serve", {"model": model, "alias": alias, "number": number}, timeout=timeout)

    def drop(self, model: str, timeout: float | None) -> None:
        """Has a model served no longer, and waits for all workers."""
        self._link.call("drop", {"model": model}, timeout=timeout)


class Address(NamedTuple):
    """One of the addresses on which a worker answers."""

    address: str
    access: Access
    edge: Edge


class Worker:
    """One worker: a host, a server, and the link that says what to serve."""

    def __init__(self, link: Link, config: ServerConfig) -> None:
        self._link = link
        self._config = config
        supervisor = SupervisorClient(link)
        self._statistics = InferenceStatistics()
        self._host = Host(require_proof=config.require_proof, load=supervisor.load, limits=config.limits)
        methods: list[Method] = [
            *PredictionServicer(self._host, config.limits, self._statistics).methods(),
            *InsightServicer(self._host, config.limits).methods(),
            *WeightServicer(self._host, config.limits, supervisor).methods(),
            *ModelServicer(self._host, supervisor).methods(),
            *inference_methods(self._host, config.limits, supervisor, self._statistics),
        ]
        self._services = sorted({method.path.split("/")[1] for method in methods})
        self._health = Health()
        methods += [*self._health.methods(), *reflection_methods([*self._services, HEALTH.full_name], POOL)]
        self._methods = methods
        self._observation = WorkerObservation(
            config, lambda record: link.send("audit", record), lambda calls: link.send("traced", {"calls": calls})
        )
        first, admin = apart(methods) if config.admin_address else (methods, [])
        self._addresses = [self._address(first, config)]
        if admin:
            self._addresses.append(self._address(admin, replace(config, address=config.admin_address)))
        if config.callers is not None:
            self._put_in_force(config.callers)
        self._listening = False
        self._health_said = 0.0  # when health was last said; monotonic seconds
        self._loaded = False  # whether all of a snapshot was in memory once, and the supervisor knows
        self._snapshot = self._prepared = Snapshot()  # what is served, and what was last asked for
        self._declared: SimpleQueue[tuple[str, dict[str, Any], bytes]] = SimpleQueue()  # frames for the main thread

    def _address(self, methods: list[Method], config: ServerConfig) -> "Address":
        """Answers these methods on the address of the configuration, as soon as it is bound."""
        access = Access(config, only_model=self._only_model)
        return Address(config.address, access, build_edge(methods, config, self._observation.observers, access))

    def run(self) -> float:
        """Follows the supervisor until it says drain or is gone; gives the seconds that calls in progress have."""
        threading.Thread(target=self._read, name="link", daemon=True).start()
        while True:
            try:
                kind, fields, body = self._declared.get(timeout=self._host.pause())
            except Empty:
                self._load_next()
                continue
            if kind == "drain":
                return float(fields["seconds"])
            self._follow(kind, fields, body)

    def drain(self, seconds: float) -> None:
        """Says NOT_SERVING, lets what arrived before finish, then stops."""
        self._health.end()
        self._host.end()
        with ThreadPoolExecutor(len(self._addresses), "drain") as pool:
            list(pool.map(lambda one: one.edge.drain(seconds), self._addresses))
        counted = self._answer("metrics")
        if isinstance(counted, dict):
            with suppress(OSError):  # the supervisor is gone
                self._link.send("counted", counted)
        self._observation.close()

    def _read(self) -> None:
        """Reads the link for as long as this process lives.

        In a thread of its own, in which nothing takes long: the supervisor kills a worker that does not answer its
        pings, and loading a version may take minutes.
        """
        try:
            while True:
                kind, fields, body = self._link.receive()
                if kind == "ping":
                    self._link.send("pong")
                elif kind == "reply":
                    self._link.answered(fields, body)
                elif kind == "call":
                    self._link.reply(fields["number"], self._answer(fields["operation"]))
                elif kind == "callers":
                    self._put_in_force(records.from_json(body, Callers))
                elif kind == "confirmed":
                    self._host.confirmed = fields["models"]
                    now = time.monotonic()
                    used = [[*key, now - when] for key, when in list(self._host.last_used.items())]
                    self._link.send("used", {"versions": used})
                else:
                    self._declared.put((kind, fields, body))
        except (EOFError, OSError):
            logger.error("the supervisor is gone; this worker stops")
        except Exception:
            logger.exception("the link to the supervisor failed; this worker stops")
        self._link.close()
        self._declared.put(("drain", {"seconds": SECONDS_WITHOUT_SUPERVISOR}, b""))
        time.sleep(SECONDS_WITHOUT_SUPERVISOR + SPARE_SECONDS)
        os._exit(1)  # the main thread did not come to it: a version loads, or something hangs

    def _answer(self, operation: str) -> dict[str, Any] | ServiceError:
        """What this worker counted: for the statistics of a protocol, or for the page of metrics."""
        try:
            if operation == "metrics":
                return {"samples": to_json(self._observation.samples(self._methods, self._host, self._statistics))}
            return {"counts": self._statistics.to_json(held_versions(self._host))}
        except Exception:
            logger.exception("cannot report statistics")
            return UnavailableError("a worker failed to report its statistics; its log has the details")

    def _put_in_force(self, callers: Callers) -> None:
        for one in self._addresses:
            one.access.update(in_force(self._config, callers))
        self._health.set([CALLERS], callers.valid)

    def _only_model(self) -> str:
        """The name of the model that is served, if it is the only one."""
        models = self._host.snapshot().models
        return next(iter(models)) if len(models) == 1 else ""

    def _follow(self, kind: str, fields: dict[str, Any], body: bytes) -> None:
        if kind == "prepare":
            self._prepare(self._snapshot.changed(body.decode()))
        elif kind == "commit":
            self._host.commit(fields["generation"])
            self._snapshot = self._prepared
            self._say_health()
            self._link.send("committed", {"generation": fields["generation"]})
            self._note_loaded()
        elif kind == "listen":
            self._listen()
        elif kind == "abort":
            self._host.abort()

    def _prepare(self, snapshot: Snapshot) -> None:
        first = not self._snapshot.generation
        self._prepared = snapshot
        error = _refusal(self._host.adopt if first else self._host.prepare, snapshot)
        self._link.send("prepared", {"generation": snapshot.generation, "error": error})

    def _load_next(self) -> None:
        """Loads one version of the first snapshot. Frames of the supervisor come between any two."""
        error = _refusal(self._host.load_next)
        if error is not None:
            self._link.send("refused", {"error": error})
        self._note_loaded()
        if not self._loaded and time.monotonic() - self._health_said >= SAY_SECONDS:
            self._say_health()

    def _note_loaded(self) -> None:
        """Once all of a snapshot is in memory, listens and says so."""
        if not self._loaded and self._host.complete():
            self._loaded = True
            self._say_health()
            self._listen()
            self._link.send("loaded")

    def _listen(self) -> None:
        """Takes connections from now on: not before there is a snapshot, or they could not be served."""
        if not self._listening:
            for one in self._addresses:
                one.edge.bind(one.address, self._config.tls)
                one.edge.start()
            self._listening = True

    def _say_health(self) -> None:
        """SERVING when every model that was asked for answers, else NOT_SERVING."""
        self._health_said = time.monotonic()
        self._health.set(["", *self._services], self._host.ready())
        models = self._host.snapshot().models
        self._health.replace("models/", {name: m.entry.default_version in m.versions for name, m in models.items()})


def _refusal(load: Callable[..., None], *arguments: Any) -> dict[str, Any] | None:
    """Loads something; why that failed, as a frame says it."""
    try:
        load(*arguments)
    except ServiceError as error:
        return error_to_dict(error)
    except MemoryError:
        return error_to_dict(LimitExceededError("not enough memory to load it"))
    except Exception:
        logger.exception("cannot load what is to be served")
        return error_to_dict(UnavailableError("a worker failed to load it; its log has the details"))
    return None


class _Terminated(BaseException):  # not an error, so that nothing takes it for one while a version loads
    """SIGTERM."""


def _terminate(_signal: int, _frame: object) -> None:
    raise _Terminated


def main() -> None:
    """Runs a worker on the link whose file descriptor is the first argument."""
    # Ctrl-C, and the end of a terminal, reach the whole process group; the supervisor decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _terminate)
    status = 1
    try:
        link = Link(Connection(int(sys.argv[1])))
        _, fields, _ = link.receive()
        if fields["core"] is not None:
            os.sched_setaffinity(0, {fields["core"]})
        config = records.from_json(fields["config"], ServerConfig)
        logs.configure(fields["name"], fields["log_level"], config.log_format)
        worker = Worker(link, config)
        link.send("hello", {"generation": HELLO})
        try:
            seconds = worker.run()
        except _Terminated:
            seconds = config.drain_seconds
        worker.drain(seconds)
        status = 0
    except OSError as error:
        logger.error("%s", error)
    except Exception:
        logger.exception("this worker ends")
    finally:
        # Threads of clients' streams may still hang in gRPC; what had to finish has finished.
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    main()
