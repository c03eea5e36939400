"""The files of the deployment agree with each other and with the programs: what one names, another has."""

import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import typer.main

from service import cli
from service.client.connections import SAFE
from service.oip.messages import SERVICE
from service.pb import unroll_pb2
from tests.deploy.support import COMPOSE_FILE, DOCKERFILE, ENVOY_FILE, ROOT, compose, defaults, envoy, routes

PROGRAMS = Path(sys.executable).parent
VARIABLE = re.compile(r"(?<!\$)\$\{(\w+)(?::-([^}]*))?\}")
JOBS = {"secrets", "trainer", "bucket"}  # they end


def services():
    """Each service of the compose file with its name."""
    return [pytest.param(name, service, id=name) for name, service in compose()["services"].items()]


def test_schema():
    """The compose file is one by the published schema."""
    check = [PROGRAMS / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", COMPOSE_FILE]
    subprocess.run(check, check=True, capture_output=True)


@pytest.mark.parametrize("command", [["docker", "compose"], ["docker-compose"]], ids=" ".join)
def test_compose_accepts_it(command):
    """Whatever Compose is on this machine reads it, all profiles included."""
    if (
        not shutil.which(command[0])
        or subprocess.run([*command, "version"], capture_output=True, check=False).returncode
    ):
        pytest.skip(f"{' '.join(command)} is not on this machine")
    config = [*command, "--file", COMPOSE_FILE, "--profile", "observe", "--profile", "s3", "config", "--quiet"]
    done = subprocess.run(config, capture_output=True, text=True, cwd=ROOT, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_variables():
    """Every variable is in .env.example with the default it has, and nothing else is there."""
    used = dict(VARIABLE.findall(COMPOSE_FILE.read_text()))
    listed = dict(
        line.split("=", 1) for line in (ROOT / ".env.example").read_text().splitlines() if re.match(r"\w+=", line)
    )
    assert listed == used


def test_volumes_and_networks():
    """Each volume and network that a service names is declared, and the other way round; mounted files exist."""
    file = compose()
    networks = {network for service in file["services"].values() for network in service.get("networks", ())}
    mounts = {mount.split(":")[0] for service in file["services"].values() for mount in service.get("volumes", ())}
    paths = {mount for mount in mounts if mount.startswith(".")}
    assert networks == set(file["networks"])
    assert mounts - paths == set(file["volumes"])
    assert all((ROOT / path).exists() for path in paths)


def test_who_makes_secrets_may_write_them():
    """Every folder that a volume of secrets is mounted on is in the image, and belongs to its user."""
    made = re.search(r"install -d -o unroll -g unroll ([^\n]*)", DOCKERFILE.read_text())
    mounted = [volume.split(":")[1] for volume in compose()["services"]["secrets"]["volumes"]]
    assert mounted
    assert set(mounted) <= set(made[1].split())


def test_who_reaches_whom():
    """The database is reached by MLflow alone, nothing but the gateway has ports on the host, and those on loopback."""
    file = compose()
    members = {n: {s for s, x in file["services"].items() if n in x.get("networks", ())} for n in file["networks"]}
    assert members["database"] == {"postgres", "mlflow"}
    assert members["storage"] == {"s3", "bucket", "mlflow"}
    assert {name for name, network in file["networks"].items() if not network.get("internal")} == {"edge"}
    core = {name for name, service in file["services"].items() if "profiles" not in service}
    assert members["edge"] & core == {"gateway"}
    assert members["page"] == {"page", "gateway"}
    for name, service in file["services"].items():
        for port in service.get("ports", ()):
            assert defaults(port).startswith("127.0.0.1:"), name
            assert name == "gateway" or "profiles" in service


@pytest.mark.parametrize(("name", "service"), services())
def test_every_service_is_bounded_watched_and_unprivileged(name, service):
    """Limits, restart policy, read-only root file system, no privileges, and a health check unless it ends."""
    assert {"mem_limit", "cpus", "restart"} <= set(service)
    assert service["read_only"]
    assert service["init"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert ("healthcheck" in service) != (name in JOBS)
    for other, how in service.get("depends_on", {}).items():
        ends = other in JOBS
        assert how["condition"] == ("service_completed_successfully" if ends else "service_healthy")


def test_what_lasts_does_not_depend_on_our_code():
    """What has to run on through an upgrade has neither an image with our code nor a dependency that has one."""
    file, changing = compose()["services"], {"service", "service-b", "page", "trainer"}

    def below(name):
        return {name}.union(*(below(other) for other in file[name].get("depends_on", ())))

    for name in ("postgres", "mlflow", "gateway", "secrets"):
        assert not below(name) & changing, name
        assert defaults(file[name]["image"]) != defaults(file["service"]["image"])
    assert below("gateway") == {"gateway"}


def test_servers_are_recreated_one_after_the_other():
    """The two services of servers are alike, neither waits for the other, and the gateway finds both by one name."""
    file = compose()["services"]
    first, second = dict(file["service"]), dict(file["service-b"])
    assert second.pop("networks") == {n: {"aliases": ["service"]} for n in first["networks"]}
    for own in ("networks", "build"):
        first.pop(own)
    assert first == second
    assert not {"service", "service-b"} & set(first["depends_on"])


@pytest.mark.parametrize(("name", "service"), services())
def test_every_image_is_built_or_pinned(name, service):
    """An image is a target of the Dockerfile, built by one service, or has a version that is not `latest`."""
    image = defaults(service["image"])
    built = {defaults(s["image"]): s["build"] for s in compose()["services"].values() if "build" in s}
    if image in built:
        build = built[image]
        assert (ROOT / build["context"] / build["dockerfile"]) == DOCKERFILE
        assert build["target"] == image.removeprefix("unroll-").partition(":")[0]
        assert f" AS {build['target']}\n" in DOCKERFILE.read_text()
        arguments = set(re.findall(r"^ARG (\w+)", DOCKERFILE.read_text(), re.MULTILINE))
        assert set(build["args"]) == arguments
    else:
        assert re.fullmatch(r"[\w./-]+:(v|RELEASE\.)?\d[\w.-]*", image), name


def test_no_secret_is_in_the_files():
    """Passwords, tokens and keys come from the environment, empty by default, or from volumes."""
    for name, service in compose()["services"].items():
        for variable, value in service.get("environment", {}).items():
            if re.search("PASSWORD|TOKEN|SECRET|KEY", variable) and not variable.endswith("_FILE"):
                assert defaults(value) == "", f"{name}: {variable}"


@pytest.mark.parametrize("name", ["service", "trainer"])
def test_commands_are_ours(name):
    """What a container runs is a command of ours with options that it has."""
    file = compose()
    command, *options = [defaults(word) for word in file["services"][name]["command"]]
    found = typer.main.get_command(cli.app).commands[command]
    context = found.make_context(command, [option for option in options if "token-file" not in option])
    assert context.params["if_missing" if name == "trainer" else "wait"]
    known = {switch for parameter in found.params for switch in parameter.opts}
    assert {option.partition("=")[0] for option in options} <= known


def test_probe_of_the_service():
    """The health check of the service is a command of ours."""
    kind, probe = compose()["services"]["service"]["healthcheck"]["test"]
    program, command = shlex.split(probe)[:2]
    assert (kind, program) == ("CMD-SHELL", "unroll")
    assert command in typer.main.get_command(cli.app).commands


def test_image_sources():
    """The Dockerfile copies what exists and .dockerignore lets through, and installs extras that exist."""
    text = DOCKERFILE.read_text()
    let_through = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = set()
    for line in re.findall(r"^COPY (?!--from)(.*) \S+$", text, re.MULTILINE):
        copied |= set(shlex.split(line))
    for source in copied:
        assert (ROOT / source).exists(), source
        assert any(source == known or source.startswith(f"{known}/") for known in let_through), source
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for names in re.findall(r"python3 requirements.py (.*) >", text):
        assert set(names.split()) <= {"dependencies", "$SERVICE_EXTRAS", *extras}


def test_requirements_of_an_image():
    """An image's requirements are those of pyproject.toml, as the lock has them; an extra of ours is what it lists."""
    command = [sys.executable, ROOT / "deploy" / "requirements.py", "dependencies", "train"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    ours = {"unroll-serving[serve,local,tables]", "unroll-serving[page]"}
    assert ours <= {*extras["train"], *extras["serve"]}
    listed = {*project["dependencies"], *(r for e in ("train", "serve", "local", "tables", "page") for r in extras[e])}
    listed -= ours
    lock = dict(re.findall(r"^([\w.-]+)==([^\s;]+)", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
    versions = {re.sub("[-_.]+", "-", name).lower(): version for name, version in lock.items()}
    expected = {f"{name}=={versions[name.lower()]}" for name in (re.split("[<>=]", text)[0] for text in listed)}
    assert set(done.stdout.split("\n")[:-1]) == expected


def test_gateway_configuration():
    """Envoy accepts it, as it is deployed."""
    check = [PROGRAMS / "envoy", "--mode", "validate", "--config-path", ENVOY_FILE]
    done = subprocess.run(check, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "deprecat" not in done.stderr.lower()


def test_gateway_ports():
    """The gateway listens where ports are published, and asks services where they listen; its own port is closed."""
    config, file = envoy(), compose()["services"]
    listening = {
        listener["name"]: listener["address"]["socket_address"]["port_value"]
        for listener in config["static_resources"]["listeners"]
    }
    published = {int(defaults(port).rpartition(":")[2]) for port in file["gateway"]["ports"]}
    assert published == {listening["api"], listening["mlflow"], listening["page"]}
    assert config["admin"]["address"]["socket_address"]["address"] == "127.0.0.1"
    for cluster in config["static_resources"]["clusters"]:
        (group,) = cluster["load_assignment"]["endpoints"]
        (member,) = group["lb_endpoints"]
        place = member["endpoint"]["address"]["socket_address"]
        if cluster["name"] == "admin":
            assert place == config["admin"]["address"]["socket_address"]
        else:
            assert re.search(rf"(:|--port ){place['port_value']}\b", str(file[place["address"]]["command"]))


def passed_by(table, method, path, content_type="application/grpc"):
    """The name of the first of some routes that takes a request."""
    headers = {":method": method, "content-type": content_type}
    for route in table:
        match = route["match"]
        if "safe_regex" in match and not re.fullmatch(match["safe_regex"]["regex"], path):
            continue
        matches = ((headers[h["name"]], h["string_match"]) for h in match.get("headers", ()))
        if all(
            re.fullmatch(m["safe_regex"]["regex"], value)
            if "safe_regex" in m
            else value == m["exact"]
            if "exact" in m
            else value.startswith(m["prefix"])
            for value, m in matches
        ):
            return route["name"]
    return None


def test_only_reads_are_repeated():
    """What the gateway asks another server is what our client repeats; changes are sent again only if never sent."""
    table = routes(envoy(), "api")
    for service in unroll_pb2.DESCRIPTOR.services_by_name.values():
        for method in service.methods:
            safe = method.name in SAFE[service.full_name]
            route = passed_by(table, "POST", f"/{service.full_name}/{method.name}")
            assert route == ("reads" if safe else "others"), method.full_name
    repeated = {
        method.name
        for method in SERVICE.methods
        if passed_by(table, "POST", f"/{SERVICE.full_name}/{method.name}") == "reads"
    }
    assert repeated == {
        "ServerLive", "ServerReady", "ServerMetadata", "ModelReady", "ModelMetadata", "ModelConfig", "ModelStatistics",
        "ModelInfer", "RepositoryIndex",
    }  # fmt: skip
    actions = {route["name"]: route.get("route") for route in table}
    assert actions["others"]["retry_policy"]["retry_on"] == "connect-failure,refused-stream"
    assert "hedge_policy" not in actions["others"]


def test_mlflow_is_read_only():
    """Of all that MLflow's server offers, only reading passes the published port."""
    from mlflow.server import app
    from mlflow.server.handlers import get_endpoints  # the routes of the interface's own server are in `app`

    offered = {(method, path) for path, _, methods in get_endpoints() for method in methods}
    offered |= {(method, str(rule)) for rule in app.url_map.iter_rules() for method in rule.methods}
    table = routes(envoy(), "mlflow")
    passing = {
        re.sub("^/ajax-api", "/api", path)
        for method, path in offered
        if method not in {"GET", "HEAD", "OPTIONS"} and passed_by(table, method, path, "") != "write"
    }
    assert len(offered) > 300
    assert {path.rpartition("/")[2] for path in passing} == {
        "calculate-filter-correlation", "get-latest-versions", "graphql", "search", "search-datasets",
    }  # fmt: skip
