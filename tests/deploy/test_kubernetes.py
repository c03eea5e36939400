"""The manifests for Kubernetes and KServe: by the schemas, and in agreement with images and gateway."""

import functools
import json
import re
import shutil
import subprocess

import jsonschema
import kubernetes_validate
import pytest
import typer.main
import yaml

from service import cli
from tests.deploy.support import DOCKERFILE, ROOT, compose, envoy

FOLDER = ROOT / "deploy" / "kubernetes"
VERSION = "1.34"
KSERVE = ROOT / "tests" / "data" / "kserve"
OVERLAYS = ("production", "local")


def documents(*folders):
    """The manifests in some folders, with the file they stand in."""
    for folder in folders:
        for path in sorted((FOLDER / folder).glob("*.yaml")):
            if path.name != "kustomization.yaml":
                for document in yaml.safe_load_all(path.read_text()):
                    name = f"{folder}/{path.stem}:{document['kind']}/{document['metadata']['name']}"
                    yield pytest.param(document, id=name)


def found(kind, *folders):
    """The manifests of a kind, by name."""
    values = (parameter.values[0] for parameter in documents(*folders))
    return {document["metadata"]["name"]: document for document in values if document["kind"] == kind}


def pods():
    """Each description of pods that there is, with its labels."""
    for kind in ("Deployment", "Job"):
        for name, document in found(kind, "base", *OVERLAYS).items():
            yield pytest.param(document["spec"]["template"], id=name)


@pytest.mark.parametrize("document", list(documents("base", *OVERLAYS)))
def test_schema(document):
    """Each manifest is one by Kubernetes's schemas, without a field that they do not know."""
    kubernetes_validate.validate(document, VERSION, strict=True)


@pytest.mark.parametrize("folder", ["base", "production", "local", "kserve"])
def test_kustomization_names_its_files(folder):
    """A kustomization lists each file beside it, and nothing that is not there."""
    listed = yaml.safe_load((FOLDER / folder / "kustomization.yaml").read_text())["resources"]
    beside = {path.name for path in (FOLDER / folder).glob("*.yaml")} - {"kustomization.yaml"}
    assert {name for name in listed if not name.startswith("..")} == beside
    for name in listed:
        assert (FOLDER / folder / name).exists()


@pytest.mark.parametrize("folder", OVERLAYS)
def test_kustomize_builds_it(folder):
    """What kustomize makes of an overlay is valid, images and patches included; where there is kubectl."""
    if not shutil.which("kubectl"):
        pytest.skip("kubectl is not on this machine")
    done = subprocess.run(["kubectl", "kustomize", FOLDER / folder], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    for document in yaml.safe_load_all(done.stdout):
        kubernetes_validate.validate(document, VERSION, strict=True)


@pytest.mark.parametrize("pod", list(pods()))
def test_pods_are_unprivileged(pod):
    """No root, no privileges, nothing written outside volumes, no token of the cluster, and resources asked for."""
    spec = pod["spec"]
    assert spec["securityContext"]["runAsNonRoot"]
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not spec["automountServiceAccountToken"]
    for container in spec["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {"requests", "limits"} <= set(container["resources"])
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        assert mounted == {volume["name"] for volume in spec["volumes"]}


@pytest.mark.parametrize("pod", list(pods()))
def test_pods_run_our_images(pod):
    """Images are targets of the Dockerfile, and probes and services name ports that are there."""
    (container,) = pod["spec"]["containers"]
    target = container["image"].removeprefix("unroll-")
    assert f" AS {target}\n" in DOCKERFILE.read_text()
    ports = {port["name"]: port["containerPort"] for port in container.get("ports", ())}
    for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
        for how in ("grpc", "tcpSocket", "httpGet"):
            if how in container.get(kind, {}):
                port = container[kind][how]["port"]
                assert port in ports or port in ports.values()


def test_what_selects_finds():
    """Services, budgets, autoscalers and network policies mean pods that there are."""
    labels = [parameter.values[0]["metadata"]["labels"] for parameter in pods()]
    names = {found["app.kubernetes.io/name"] for found in labels}
    everything = [parameter.values[0] for parameter in documents("base", *OVERLAYS)]
    selected = set(
        re.findall(r"'app.kubernetes.io/name': '(\w+)'", str([d["spec"] for d in everything if "spec" in d]))
    )
    assert selected == names
    for document in found("HorizontalPodAutoscaler", "base").values():
        target = document["spec"]["scaleTargetRef"]
        assert target["name"] in found(target["kind"], "base")
    for name, document in found("Service", "base", "local").items():
        (pod,) = (p.values[0] for p in pods() if p.values[0]["metadata"]["labels"] == document["spec"]["selector"])
        ports = {port["name"] for port in pod["spec"]["containers"][0]["ports"]}
        assert {port["targetPort"] for port in document["spec"]["ports"]} <= ports, name


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_names_the_gateway_asks(overlay):
    """The gateway finds a Service by each name that it asks, on that port, and its own ports are published."""
    here = found("Service", "base", overlay)
    listening = {
        x["name"]: x["address"]["socket_address"]["port_value"] for x in envoy()["static_resources"]["listeners"]
    }
    published = {listening[name] for name in ("api", "mlflow", "page")}
    assert {port["port"] for port in here["gateway"]["spec"]["ports"]} == published
    policy = found("NetworkPolicy", "base")["gateway"]["spec"]
    assert published <= {port["port"] for rule in policy["ingress"] for port in rule["ports"]}
    for cluster in envoy()["static_resources"]["clusters"]:
        (group,) = cluster["load_assignment"]["endpoints"]
        place = group["lb_endpoints"][0]["endpoint"]["address"]["socket_address"]
        if cluster["name"] != "admin":
            spec = here[place["address"]]["spec"]
            assert spec.get("type") == "ExternalName" or place["port_value"] in {p["port"] for p in spec["ports"]}


@pytest.mark.parametrize("name", ["service", "page"])
def test_it_is_started_as_in_compose(name):
    """Servers and page have their options of the compose file; what the pod refers to is generated or explained."""
    pod = found("Deployment", "base")[name]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    ours = {option.partition("=")[0] for option in compose()["services"][name]["command"]}
    # A file locks the servers of one machine; with PostgreSQL as the registry's database an overlay names that.
    assert {option.partition("=")[0] for option in container["args"]} == ours - {"--registry-lock"}
    base = yaml.safe_load((FOLDER / "base" / "kustomization.yaml").read_text())
    generated = {g["name"]: dict(x.split("=", 1) for x in g["literals"]) for g in base["configMapGenerator"]}
    assert set(re.findall(r"\$\((\w+)\)", str(container["args"]))) <= set(generated["unroll"])
    secrets = {volume["secret"]["secretName"] for volume in pod["volumes"] if "secret" in volume}
    for overlay in OVERLAYS:
        text = (FOLDER / overlay / "kustomization.yaml").read_text()
        assert all(secret in text for secret in secrets), overlay


@functools.cache
def kserve_schema(kind):
    """The fields of a kind of KServe, closed against all others."""

    def closed(schema):
        if isinstance(schema, list):
            return [closed(part) for part in schema]
        if not isinstance(schema, dict):
            return schema
        made = {key: closed(part) for key, part in schema.items()}
        if isinstance(schema.get("properties"), dict) and "x-kubernetes-preserve-unknown-fields" not in schema:
            made["additionalProperties"] = False
        if schema.get("x-kubernetes-int-or-string"):
            made.pop("anyOf", None)
            made.pop("type", None)
        return made

    return closed(json.loads((KSERVE / f"{kind}.json").read_text()))


@pytest.mark.parametrize("document", list(documents("kserve")))
def test_kserve_fields(document):
    """KServe's manifests have only fields that KServe knows, with values that it takes."""
    schema = kserve_schema(document["kind"])
    jsonschema.validate(document, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**document, "spec": {**document["spec"], "surprise": 1}}, schema)


def test_kserve_service_fits_its_runtime():
    """The InferenceService names the runtime, a format and a protocol of it; together they make a command of ours."""
    runtime = found("ClusterServingRuntime", "kserve")["unroll"]["spec"]
    model = found("InferenceService", "kserve")["reference"]["spec"]["predictor"]["model"]
    assert model["runtime"] == "unroll"
    assert model["modelFormat"] in [{k: f[k] for k in ("name", "version")} for f in runtime["supportedModelFormats"]]
    assert model["protocolVersion"] in runtime["protocolVersions"]
    (container,) = runtime["containers"]
    command, *options = [*container["args"], *model["args"]]
    serve = typer.main.get_command(cli.app).commands[command]
    context = serve.make_context(command, [option for option in options if "token-file" not in option])
    assert context.params["model"] == ["models:/reference@champion"]
    assert {port["containerPort"] for port in container["ports"]} == {50051}
    assert {mount["name"] for mount in container["volumeMounts"]} == {v["name"] for v in runtime["volumes"]}
