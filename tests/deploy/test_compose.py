"""The deployment for real: images built, containers run, and every one of them killed while clients call.

Needs a Docker engine and Compose; `COMPOSE` names another command than `docker compose`. Prints what it measured.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import threading
import time
import urllib.request

import pytest
import yaml

from service.client import Client, WeightChange
from service.errors import ServiceError
from tests.deploy.conftest import status
from tests.deploy.support import COMPOSE_FILE, ROOT, SEQUENCES, Load
from tests.ports import free_port
from tests.service.support import eventually

pytestmark = [pytest.mark.compose, pytest.mark.timeout(1800)]

PROJECT = "unroll-test"
LARGEST_SERVICE_IMAGE = 450e6  # bytes, unpacked
TRAIN = ["train", "--epochs=200"]


class Stack:
    """The project on this machine's engine, under a name and ports of its own."""

    def __init__(self):
        self.command = [*shlex.split(os.environ.get("COMPOSE", "docker compose")), "--project-name", PROJECT]
        self.ports = {"UNROLL_PORT": str(free_port()), "MLFLOW_PORT": str(free_port()), "PAGE_PORT": str(free_port())}
        self.gateway = f"127.0.0.1:{self.ports['UNROLL_PORT']}"
        self.mlflow = f"http://127.0.0.1:{self.ports['MLFLOW_PORT']}"
        self.page = f"http://127.0.0.1:{self.ports['PAGE_PORT']}"
        self.figures: list[tuple[str, str]] = []

    def compose(self, *arguments, files=(COMPOSE_FILE,), folder=ROOT, check=True, env=None):
        """Runs Compose, with the paths in its files beginning at a folder; gives what it printed."""
        chosen = [word for file in files for word in ("--file", str(file))]
        command = [*self.command, "--project-directory", str(folder), *chosen, *arguments]
        done = subprocess.run(
            command, env=os.environ | self.ports | (env or {}), capture_output=True, text=True, cwd=ROOT, check=False
        )
        if check:
            assert done.returncode == 0, f"{shlex.join(command)}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done.stdout if check else done

    def up(self, *arguments, **options):
        """Starts what does not run, and returns when everything is healthy; gives the seconds it took."""
        begin = time.monotonic()
        self.compose("up", "--detach", *arguments, **options)
        self.wait()
        return time.monotonic() - begin

    def wait(self):
        """Waits until every container that does not end is healthy."""
        eventually(lambda: set(self.states().values()) <= {"healthy", "ended"}, timeout=240)

    def states(self):
        """How each container is, by name."""
        ours = (f"--filter=label=com.docker.compose.{label}" for label in (f"project={PROJECT}", "oneoff=False"))
        names = docker("ps", "--all", "--quiet", *ours).split()
        found = {}
        for container in json.loads(docker("inspect", *names)) if names else ():
            state = container["State"]
            ended = state["Status"] == "exited" and state["ExitCode"] == 0 and "Health" not in state
            found[container["Name"].strip("/")] = (
                "ended" if ended else state["Health"]["Status"] if state["Running"] and "Health" in state else "down"
            )
        return found

    def containers(self, service):
        """Names of the containers of a service, in the order of their numbers."""
        name = re.compile(rf"{PROJECT}[-_]{service}[-_]\d+")
        return sorted(container for container in self.states() if name.fullmatch(container))

    def servers(self):
        """Names of the containers of both services of servers."""
        return self.containers("service") + self.containers("service-b")

    def inside(self, container, *command, **options):
        """Runs a command in a container; gives what it printed."""
        flags = [f"--{name}={value}" for name, value in options.items()]
        return docker("exec", *flags, container, *command)

    def token(self):
        """The operator's, as an operator gets it."""
        return self.inside(self.containers("service")[0], "cat", "/run/secrets/operator/token")

    def in_use(self, gateway=None):
        """How many servers the gateway uses; `gateway` is its container, if that is known."""
        question = (
            "from urllib.request import urlopen; print(urlopen('http://127.0.0.1:9901/clusters').read().decode())"
        )
        text = self.inside(gateway or self.containers("gateway")[0], "python3", "-c", question)
        return len(re.findall(r"^service::[\d.]+:50051::health_flags::healthy$", text, re.MULTILINE))

    def alias(self):
        """Where the registry's alias points, as anybody may ask."""
        url = f"{self.mlflow}/api/2.0/mlflow/registered-models/alias?name=reference&alias=champion"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return json.load(answer)["model_version"]["version"]

    def train(self, *options, **rest):
        """Another training run, in a container of its own."""
        return self.compose("run", "--rm", "--no-deps", "-T", "trainer", *TRAIN, *options, **rest)

    def kill(self, container):
        """Ends everything in a container at once, as the kernel would; the engine was not asked to."""
        subprocess.run(
            ["docker", "exec", "--privileged", "--user=0", container, "sh", "-c", "kill -9 -1"],
            capture_output=True,
            check=False,  # it takes the shell with it
        )

    def measured(self, what, result):
        """Keeps a figure for the table."""
        self.figures.append((what, result))


def docker(*arguments):
    """Runs docker; gives what it printed."""
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"docker {shlex.join(arguments)}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def stack():
    """The whole, brought up on an engine that has seen nothing of it but images."""
    made = Stack()
    if not shutil.which("docker"):
        pytest.fail("no program docker: these tests need a Docker engine and Compose")
    engine = subprocess.run(["docker", "info"], capture_output=True, text=True, check=False)
    if engine.returncode:
        pytest.fail(f"no Docker engine answers: {engine.stderr.strip().splitlines()[-1]}")
    made.compose("down", "--volumes", "--remove-orphans")
    made.compose("build")
    try:
        made.measured("`up` on an engine with the images and nothing else", f"healthy after {made.up():.0f} s")
        yield made
    except BaseException:
        print(made.compose("logs", "--tail=40", check=False).stdout)
        raise
    finally:
        print("\n| what | measured |\n|---|---|", *(f"| {a} | {b} |" for a, b in made.figures), sep="\n")
        made.compose("down", "--volumes", "--remove-orphans")


@pytest.fixture
def client(stack):
    """An operator's client of the gateway."""
    with Client(stack.gateway, token=stack.token()) as made:
        yield made


def test_it_serves_and_shows(stack, client):
    """A client predicts through the published port, and MLflow's interface shows the version that answers."""
    prediction = client.predict(SEQUENCES)
    assert prediction.output[0, 0] == pytest.approx(10, abs=0.5)
    assert prediction.version == stack.alias() == "1"
    assert status(urllib.request.Request(stack.mlflow)) == 200


def test_the_page(stack):
    """The page is shown to who has its key, and to nobody else; the REST protocol answers beside it."""
    (container,) = stack.containers("page")
    key = stack.inside(container, "cat", "/run/secrets/page/key").strip()
    assert status(urllib.request.Request(f"{stack.page}/?key=wrong")) == 401
    opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
    with opener.open(f"{stack.page}/?key={key}", timeout=10) as answer:
        assert b"<title>" in answer.read()
    with urllib.request.urlopen(f"{stack.page}/v2/models/reference", timeout=10) as answer:
        assert json.load(answer)["name"] == "reference"


def test_images(stack):
    """The serving image is small, without compiler and TensorFlow, and can write nothing but its cache."""
    sizes = {
        name: int(docker("image", "inspect", "--format={{.Size}}", f"unroll-{name}:latest"))
        for name in ("service", "gateway", "registry", "trainer")
    }
    stack.measured("size of images, unpacked", ", ".join(f"{n} {s / 1e6:.0f} MB" for n, s in sizes.items()))
    assert sizes["service"] <= LARGEST_SERVICE_IMAGE
    (container, *_) = stack.containers("service")
    assert stack.inside(container, "id", "-u").strip() == "10001"
    look = (
        "for f in gcc cc g++ make pip; do command -v $f; done; python3 -c 'import tensorflow'; touch /x; touch /cache/x"
    )
    done = subprocess.run(["docker", "exec", container, "sh", "-c", look], capture_output=True, text=True, check=False)
    assert done.stdout == "" or "/opt/unroll" not in done.stdout
    assert "gcc" not in done.stdout
    assert "No module named 'tensorflow'" in done.stderr
    assert "Read-only file system" in done.stderr
    assert done.returncode == 0


def test_who_reaches_whom(stack):
    """The servers reach MLflow and neither the database nor the world; only the gateway has ports, on loopback."""
    (container, *_) = stack.containers("service")
    look = """if True:
        import socket
        for place in (("mlflow", 5000), ("postgres", 5432), ("1.1.1.1", 443)):
            try:
                socket.create_connection(place, timeout=2).close()
                print(place[0])
            except OSError:
                pass
    """
    assert stack.inside(container, "python3", "-c", look).split() == ["mlflow"]
    ports = docker(
        "ps", f"--filter=label=com.docker.compose.project={PROJECT}", "--format={{.Names}} {{.Ports}}"
    ).splitlines()
    published = {line.split()[0]: re.findall(r"(\S+?):\d+->(\d+)", line) for line in ports if "->" in line}
    (gateway,) = stack.containers("gateway")
    assert {name: sorted(found) for name, found in published.items()} == {
        gateway: [("127.0.0.1", "5000"), ("127.0.0.1", "5001"), ("127.0.0.1", "50051")]
    }


def test_training_again_is_served(stack):
    """Another run moves the alias; 5 s later all servers answer with its version, and no call fails."""
    before = stack.alias()
    moved = []

    def watch():
        eventually(lambda: stack.alias() != before, timeout=120)
        moved.append(time.monotonic())

    watcher = threading.Thread(target=watch)
    with Load(stack.gateway) as load:
        watcher.start()
        stack.train("--seed=2")
        watcher.join()
        new = stack.alias()
        eventually(lambda: time.monotonic() > load.last(before) + 3 and new in load.versions())
    assert not load.failures
    seconds = load.last(before) - moved[0]
    stack.measured(
        "training again, under load",
        f"last answer of the old version {seconds:.1f} s after the alias moved; 0 of {len(load.answers)} calls failed",
    )
    assert seconds < 5


def test_an_override_is_served(stack, client):
    """Who names the new version gets it at once from any server, everybody within 3 s, and no call fails."""
    before = client.predict(SEQUENCES)
    with Load(stack.gateway) as load:
        change = WeightChange("output/bias", 1.0, "add")
        begin = time.monotonic()
        made = client.override_weights([change], reason="test", expected_version=before.version)
        end = time.monotonic()
        named = [client.predict(SEQUENCES, version=made.version) for _ in range(30)]
        eventually(lambda: time.monotonic() > load.last(before.version) + 3)
    assert not load.failures
    assert all(answer.output == pytest.approx(before.output + 1) for answer in named)
    seconds = load.last(before.version) - end
    stack.measured(
        "override through the gateway, under load",
        f"returned after {end - begin:.1f} s, by name at once, last answer of the old version "
        f"{max(seconds, 0):.1f} s later; 0 of {len(load.answers)} calls failed",
    )
    assert seconds < 3


def test_scaling(stack):
    """Servers are added and taken away while clients call, and no call fails."""
    with Load(stack.gateway) as load:
        begin = time.monotonic()
        stack.compose("up", "--detach", "--no-recreate", "--scale", "service=3", "service")
        eventually(lambda: stack.in_use() == 4, timeout=120)
        up = time.monotonic() - begin
        load.more(300)
        stack.compose("up", "--detach", "--no-recreate", "--scale", "service=1", "service")
        eventually(lambda: stack.in_use() == 2, timeout=120)
        load.more(300)
    stack.measured(
        "`--scale service=3`, then 1, under load",
        f"4 servers in use after {up:.0f} s; {len(load.failures)} of {len(load.answers)} calls failed",
    )
    assert not load.failures


def newer(folder):
    """A copy of what images are built from, changed as by a release: our code, and a line of pyproject.toml."""
    for name in ("README.md", "LICENSE", "constraints.txt", "pyproject.toml", ".dockerignore"):
        shutil.copy2(ROOT / name, folder)
    for name in ("deploy", "registry", "service", "training", "unroll"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "service" / "__init__.py").write_text('"""A newer version."""\n\nNEWER = True\n')
    with (folder / "pyproject.toml").open("a") as project:
        project.write("# of a newer version\n")


def test_upgrading(stack, tmp_path):
    """A newer version, taken the documented way, recreates servers one after the other, and no call fails."""
    before = identities()
    newer(tmp_path)
    stack.compose("build", folder=tmp_path)
    least, (gateway,) = [], stack.containers("gateway")
    with Load(stack.gateway) as load:
        load.more()
        watching = threading.Event()

        def watch():
            while not watching.is_set():
                least.append(stack.in_use(gateway))

        watcher = threading.Thread(target=watch)
        watcher.start()
        begin = time.monotonic()
        for chosen in (["service"], []):
            stack.compose("up", "--detach", "--wait", *chosen)
        seconds = time.monotonic() - begin
        watching.set()
        watcher.join()
        load.more(300)
    after = identities()
    assert not load.failures
    assert min(least) >= 1
    recreated = {name for name in before if before[name] != after[name]}
    assert {re.sub(rf"{PROJECT}[-_](.*)[-_]\d+", r"\1", name) for name in recreated} == {
        "trainer",
        "service",
        "service-b",
        "page",
    }
    for container in stack.servers():
        assert (
            stack.inside(container, "/opt/unroll/bin/python", "-c", "import service; print(service.NEWER)") == "True\n"
        )
    stack.measured(
        "a newer version: `up --detach --wait service`, then `up --detach --wait`, under load",
        f"done after {seconds:.0f} s; 0 of {len(load.answers)} calls failed, longest pause {load.longest_gap():.2f} s",
    )


def identities():
    """What engine and registry call each container of the project: another identity is another container."""
    lines = docker(
        "ps",
        "--all",
        "--no-trunc",
        f"--filter=label=com.docker.compose.project={PROJECT}",
        "--format={{.Names}} {{.ID}}",
    )
    return dict(line.split() for line in lines.splitlines())


def test_a_missing_image_changes_nothing(stack):
    """A profile whose images cannot be pulled ends `up` with their registry, before anything is made or recreated."""
    before = identities()
    nowhere = "127.0.0.1:9"  # a registry that does not answer
    images = {"PROMETHEUS_IMAGE": f"{nowhere}/prometheus:v0", "GRAFANA_IMAGE": f"{nowhere}/grafana:v0"}
    done = stack.compose("--profile", "observe", "up", "--detach", "--wait", check=False, env=images)
    assert done.returncode != 0
    assert nowhere in done.stderr
    assert identities() == before


@pytest.mark.parametrize("service", ["service", "mlflow", "postgres"])
def test_killed(stack, service):
    """A killed container comes back by itself; clients notice nothing, and nothing is lost."""
    before = stack.alias()
    container = stack.containers(service)[0]
    with Load(stack.gateway) as load:
        load.more()
        begin = time.monotonic()
        stack.kill(container)
        eventually(lambda: stack.states()[container] != "healthy")
        eventually(lambda: stack.states()[container] == "healthy", timeout=120)
        seconds = time.monotonic() - begin
        load.more(300)
    stack.wait()
    stack.measured(
        f"`{service}` killed under load",
        f"healthy again after {seconds:.0f} s; {len(load.failures)} of {len(load.answers)} calls failed, "
        f"longest pause {load.longest_gap():.2f} s",
    )
    assert not load.failures
    assert stack.alias() == before


def test_gateway_killed(stack):
    """The one gateway is missed until it is back; a client that repeats what is safe goes on by itself."""
    (container,) = stack.containers("gateway")
    with Load(stack.gateway) as load, Load(stack.gateway, repeating=True) as repeating:
        load.more()
        begin = time.monotonic()
        stack.kill(container)
        eventually(lambda: load.failures)
        eventually(lambda: load.answers[-1].when > load.failures[-1][0], timeout=120)
        load.more(300)
        seconds = next(answer.when for answer in load.answers if answer.when > load.failures[-1][0]) - begin
    stack.wait()
    stack.measured(
        "`gateway` killed under load",
        f"answers again after {seconds:.1f} s; until then callers that repeat nothing saw {len(load.failures)} errors, "
        f"our client {len(repeating.failures)}",
    )


@pytest.mark.parametrize("service", ["service", "mlflow", "postgres"])
def test_hanging(stack, service):
    """A container that is there and does not answer: clients notice no error, and it goes on where it was."""
    container = stack.containers(service)[0]
    with Load(stack.gateway) as load:
        load.more()
        docker("pause", container)
        try:
            if service == "service":
                eventually(lambda: stack.in_use() == 1)
            load.more(2000)
        finally:
            docker("unpause", container)
        load.more()
    eventually(lambda: stack.in_use() == 2)
    stack.wait()
    stack.measured(
        f"`{service}` hangs under load",
        f"{len(load.failures)} of {len(load.answers)} calls failed, longest pause {load.longest_gap():.2f} s",
    )
    assert not load.failures


def test_servers_start_without_the_registry(stack, client):
    """While MLflow is away a server that starts serves what it last served."""
    before = client.predict(SEQUENCES)
    (mlflow,) = stack.containers("mlflow")
    docker("stop", mlflow)
    try:
        docker("restart", *stack.servers())
        eventually(lambda: stack.in_use() == 2, timeout=60)
        assert client.predict(SEQUENCES).output == before.output
        change = WeightChange("output/bias", 1.0, "add")
        with pytest.raises(ServiceError):
            client.override_weights([change], reason="test", expected_version=before.version)
    finally:
        docker("start", mlflow)
    stack.wait()
    eventually(lambda: not client.model().stale_reason)


def test_stopped_and_started(stack, client):
    """After all is stopped and started, the same version answers as before, the overrides still explained."""
    before, model = client.predict(SEQUENCES), client.model()
    stack.compose("stop")
    stack.measured("`stop`, then `up`", f"healthy after {stack.up():.0f} s, the same version in service")
    after = client.predict(SEQUENCES)
    assert (after.version, after.output) == (before.version, before.output)
    assert [v.reason for v in client.model().versions] == [v.reason for v in model.versions]


def test_files_have_no_room(stack, client, tmp_path):
    """With no room for files nothing is registered, and the error says so; what is served goes on, and room ends it."""
    before = client.predict(SEQUENCES)
    change = [WeightChange("output/bias", 1.0, "add")]
    room = {"type": "tmpfs", "device": "tmpfs", "o": "size=64m,uid=10001,gid=10001"}
    small = tmp_path / "small.yml"
    small.write_text(yaml.safe_dump({"volumes": {"artifacts": {"name": f"{PROJECT}_small", "driver_opts": room}}}))
    mlflow = ("up", "--detach", "--no-deps", "--force-recreate", "mlflow")
    stack.compose(*mlflow, files=(COMPOSE_FILE, small))
    try:
        stack.wait()
        (container,) = stack.containers("mlflow")
        full = f"docker run --rm --volume={PROJECT}_artifacts:/artifacts:ro --entrypoint=tar unroll-registry"
        into = f"docker exec --interactive {container} tar"
        subprocess.run(f"{full} -C /artifacts -c . | {into} -C /artifacts -x", shell=True, check=True)
        with Load(stack.gateway) as load:
            fill = "dd if=/dev/zero of=/artifacts/fill bs=64k; df /artifacts | tail -1"
            assert "100%" in stack.inside(container, "sh", "-c", fill)
            refused = stack.train("--seed=3", check=False)
            assert refused.returncode != 0
            with pytest.raises(ServiceError) as error:
                client.override_weights(change, reason="test", expected_version=before.version)
            assert stack.alias() == before.version
            begin = time.monotonic()
            stack.inside(container, "rm", "/artifacts/fill")
            client.override_weights(change, reason="test", expected_version=before.version)
            seconds = time.monotonic() - begin
            client.move_alias(before.version, expected_version=stack.alias(), reason="test")
        assert not load.failures
        last = [line for line in (refused.stdout + refused.stderr).splitlines() if line.startswith("unroll: ")]
        assert "MLflow answered 500 to http://mlflow:5000/" in last[-1]
        assert "MLflow answered 500; the server's log says more" in str(error.value)
        stack.measured(
            "no room on the volume of files",
            f"training ends with “{last[-1]}”, an override with “{error.value}”; the alias stays, 0 of "
            f"{len(load.answers)} calls failed; with room again an override took {seconds:.1f} s",
        )
    finally:
        stack.compose(*mlflow)
        docker("volume", "rm", f"{PROJECT}_small")
    stack.wait()


def test_a_container_is_the_same_as_the_lock(stack):
    """What the serving image holds are the versions of constraints.txt."""
    lock = set(re.findall(r"^(\S+)==(\S+)", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
    listing = "from importlib.metadata import distributions as d; print(*(f'{x.name}=={x.version}' for x in d()))"
    found = stack.inside(stack.containers("service")[0], "/opt/unroll/bin/python", "-c", listing).split()
    held = {(re.sub(r"[-_.]+", "-", name).lower(), version) for name, version in (item.split("==") for item in found)}
    assert {name for name, _ in held - lock} == {"unroll-serving"}
