"""The whole server, as processes: follow the registry, override, take back, refuse, race."""

import os
import re
import signal
import subprocess
import sys
import threading

import numpy as np
import psutil
import pytest

from service.client import Client, WeightChange
from service.errors import (
    ConflictError,
    CorruptModelError,
    InvalidArgumentError,
    LimitExceededError,
    NotFoundError,
    ProofError,
)
from service.pb import unroll_pb2 as pb
from tests.service.support import (
    R2_INPUTS,
    R2_OUTPUT,
    R2_WEIGHTS,
    R3_INPUTS,
    Load,
    Server,
    eventually,
    running,
    stopped,
)

HALF = np.ones(1, np.float16)


@pytest.fixture(scope="module")
def served(registry, tmp_path_factory):
    """A server with two workers: the reference network under an alias, and the linear one."""
    registry.register("reference", "r3-1", "champion")
    registry.register("linear", "r2", "champion")
    with running(
        "models:/reference@champion", "models:/linear@champion",
        cache=tmp_path_factory.mktemp("cache"), env=registry.env, workers=2, poll=0.2,
    ) as (server, client):  # fmt: skip
        yield server, client


def test_a_call_without_a_deadline(served):
    """A client that sets no deadline waits as long as a change takes."""
    server, _ = served
    with Client(server.address, timeout=None) as client:
        assert client.move_alias("1", expected_version="1", model="linear").version == "1"


@pytest.mark.usefixtures("served")
def test_what_a_call_may_compute_is_the_operators_to_say(registry, tmp_path):
    """The bound that a server is started with is that of its workers."""
    one = np.ones((1, 3, 2), np.float32)
    with running("models:/linear@champion", cache=tmp_path, env=registry.env, workers=1, max_computed=9) as (_, client):
        assert client.predict(one).output.shape == (1, 3, 3)
        with pytest.raises(LimitExceededError, match="would make 18 numbers in all layers together, the limit is 9"):
            client.predict(np.repeat(one, 2, axis=0))


def test_an_alias_is_created(served, registry):
    """MoveAlias with no expected version creates an alias; one that exists is not moved so."""
    _, client = served
    before = client.predict(R3_INPUTS, model="reference").version
    moved = client.move_alias(before, model="reference", alias="canary", expected_version="")
    assert (moved.alias, moved.version, moved.previous_version) == ("canary", before, "")
    assert registry.store.describe("reference").aliases["canary"] == before
    assert client.predict(R3_INPUTS, model="reference", version="@canary").version == before
    with pytest.raises(ConflictError, match="canary"):
        client.move_alias(before, model="reference", alias="canary", expected_version="")
    registry.store._client.delete_registered_model_alias("reference", "canary")
    eventually(lambda: "canary" not in client.model("reference").aliases)


def test_override_and_back(served, registry):
    """An override serves when the call returns, on every connection, and is in MLflow; moving back undoes it."""
    server, client = served
    before = client.predict(R3_INPUTS, model="reference")
    made = client.override_weights(
        [WeightChange("output/bias", [1.0], "add")],
        model="reference", expected_version=before.version, reason="a test", actor="ann",
    )  # fmt: skip
    for _ in range(8):  # new connections reach both workers
        with Client(server.address) as other:
            after = other.predict(R3_INPUTS, model="reference")
            assert after.version == made.version
            assert np.allclose(after.output, before.output + 1, atol=1e-6)
    model = client.model("reference")
    assert model.aliases == registry.store.describe("reference").aliases == {"champion": made.version}
    version = next(v for v in model.versions if v.version == made.version)
    assert (version.base_version, version.actor, version.reason) == (before.version, "ann", "a test")
    assert (list(version.changed_weights), version.digest) == (["output/bias"], made.digest)
    assert (version.proof, version.origin) == (pb.PROOF_DERIVED, pb.VERSION_ORIGIN_OVERRIDE)
    tags = registry.store.version("reference", made.version).tags
    assert {tags["unroll.kind"], tags["unroll.base_version"], tags["unroll.reason"]} == {"override", "1", "a test"}

    import mlflow

    described = mlflow.MlflowClient().get_model_version("reference", made.version).description
    assert described.splitlines()[2:] == [
        "- Version 1 with other weights, by ann",
        "- `output/bias`: 1 of 1 values, by +1",
    ]
    foreign = mlflow.pyfunc.load_model("models:/reference@champion")
    assert np.allclose(foreign.predict(R3_INPUTS), after.output, atol=1e-5)

    client.move_alias(before.version, model="reference", expected_version=made.version, reason="undo", actor="bob")
    again = client.predict(R3_INPUTS, model="reference")
    assert again.version == before.version
    assert np.array_equal(again.output, before.output)
    moved = registry.store.version("reference", before.version).tags["unroll.moved.champion"]
    assert moved == f"from version {made.version} by bob: undo"
    # Whoever names the overridden version still gets it, loaded on demand.
    assert np.array_equal(client.predict(R3_INPUTS, model="reference", version=made.version).output, after.output)


def test_known_matrix_through_the_wire(served):
    """R2: three arrays set by OverrideWeights give exactly the known matrix."""
    _, client = served
    weights = client.get_weights(model="linear")
    client.override_weights(R2_WEIGHTS, model="linear", expected_digest=weights.digest, reason="set by hand")
    assert np.array_equal(client.predict(R2_INPUTS, model="linear").output, R2_OUTPUT)
    for name, value in client.weights(model="linear").items():
        assert np.array_equal(value, R2_WEIGHTS[name])


def test_override_of_a_slice(served):
    """A slice of a weight is overridden, and only that."""
    _, client = served
    before = client.weights(model="reference")
    current = client.model("reference").default_version
    change = WeightChange("simpleRNN/kernel", [[9.0, 8.0]], "set", [(1, 2), (2, 4)])
    made = client.override_weights([change], model="reference", expected_version=current, reason="slice")
    after = client.weights(model="reference")
    expected = before["simpleRNN/kernel"].copy()
    expected[1:2, 2:4] = [[9, 8]]
    assert np.array_equal(after["simpleRNN/kernel"], expected)
    compared = client.compare_weights(current, made.version, model="reference")
    assert [d.name for d in compared.differences if d.changed] == ["simpleRNN/kernel"]
    client.move_alias(current, model="reference", expected_version=made.version)


def test_keep_alias(served, registry):
    """An override may be registered without being put into service."""
    _, client = served
    current = client.model("reference").default_version
    made = client.override_weights(
        {"output/bias": [5.0]}, model="reference", expected_version=current, reason="later", keep_alias=True
    )
    assert made.alias == ""
    assert registry.store.describe("reference").aliases["champion"] == current
    assert client.predict(R3_INPUTS, model="reference").version == current
    assert client.predict(R3_INPUTS, model="reference", version=made.version).version == made.version


@pytest.mark.parametrize(
    ("fields", "error", "field"),
    [
        ({"changes": []}, InvalidArgumentError, "changes"),
        ({"reason": " "}, InvalidArgumentError, "reason"),
        ({"expected_version": ""}, InvalidArgumentError, "expected_version"),
        ({"expected_version": "99"}, ConflictError, "expected_version"),
        ({"expected_version": "", "expected_digest": "00"}, ConflictError, "expected_digest"),
        ({"changes": [WeightChange("none", 1)]}, InvalidArgumentError, "changes[0].weight"),
        ({"changes": [WeightChange("output/bias", [1, 2])]}, InvalidArgumentError, "changes[0].value.shape"),
        ({"changes": [WeightChange("output/bias", HALF)]}, InvalidArgumentError, "changes[0].value.data_type"),
        ({"changes": [WeightChange("output/bias", [np.nan])]}, InvalidArgumentError, "changes[0].value"),
        ({"alias": "none"}, NotFoundError, "version"),
        ({"model": "none"}, NotFoundError, "model"),
    ],
)  # fmt: skip
def test_refused_overrides(served, registry, fields, error, field):
    """An override that does not fit is refused by field, and leaves no version behind."""
    _, client = served
    count = len(registry.store._client.search_model_versions("name='reference'"))
    current = client.model("reference").default_version
    wanted = {
        "changes": [WeightChange("output/bias", [1.0])], "reason": "r", "model": "reference",
        "expected_version": current,
    } | fields  # fmt: skip
    with pytest.raises(error) as caught:
        client.override_weights(**wanted)
    assert caught.value.field == field
    assert len(registry.store._client.search_model_versions("name='reference'")) == count


def test_two_overrides_at_once(served, registry):
    """Of overrides that expect the same version exactly one wins; the others leave nothing behind."""
    server, client = served
    current = client.model("reference").default_version
    count = len(registry.store._client.search_model_versions("name='reference'"))
    results = []
    start = threading.Barrier(4)

    def override(value):
        with Client(server.address) as own:
            start.wait()
            try:
                results.append(
                    own.override_weights(
                        {"output/bias": [value]}, model="reference", expected_version=current, reason="r"
                    )
                )
            except ConflictError as error:
                results.append(error)

    threads = [threading.Thread(target=override, args=(float(value),)) for value in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (won,) = [r for r in results if not isinstance(r, ConflictError)]
    assert client.model("reference").default_version == won.version
    assert len(registry.store._client.search_model_versions("name='reference'")) == count + 1
    client.move_alias(current, model="reference", expected_version=won.version)


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"version": "99"}, NotFoundError),
        ({"version": "champion"}, InvalidArgumentError),
        ({"expected_version": ""}, ConflictError),
        ({"version": "01"}, InvalidArgumentError),
        ({"expected_version": "77"}, ConflictError),
        ({"model": "none"}, NotFoundError),
    ],
)
def test_refused_moves(served, registry, fields, error):
    """An alias does not move to what does not exist, nor from where it does not point."""
    _, client = served
    current = client.model("reference").default_version
    with pytest.raises(error):
        client.move_alias(**({"version": "1", "model": "reference", "expected_version": current} | fields))
    assert registry.store.describe("reference").aliases["champion"] == current


def test_follows_the_alias_under_load(served, registry):
    """An alias moved in MLflow is served soon; no request fails, and every answer is that of the version it names."""
    server, client = served
    number = registry.register("reference", "r3-2")
    current = client.model("reference").default_version
    expected = {v: client.predict(R3_INPUTS, model="reference", version=v).output.tobytes() for v in (current, number)}
    with Load(server.address, R3_INPUTS, model="reference") as load:
        registry.store.set_alias("reference", "champion", number)
        eventually(lambda: load.answers[-1][0] == number)
        registry.store.set_alias("reference", "champion", current)
        eventually(lambda: load.answers[-1][0] == current)
    assert load.failures == []
    assert all(expected[version] == output for version, output in load.answers)


def test_watch(served):
    """A watcher hears at once what is served, and then of each change, why it came about."""
    _, client = served
    current = client.model("linear").default_version
    watch = client.watch("linear")
    first = next(watch)
    assert (first.change, first.model.default_version) == (pb.MODEL_CHANGE_INITIAL, current)
    made = client.override_weights(
        {"rnn/bias": [1, 1, 1]}, model="linear", expected_version=current, reason="r", actor="ann"
    )
    seen = next(watch)
    assert (seen.change, seen.model.default_version) == (pb.MODEL_CHANGE_OVERRIDDEN, made.version)
    assert (seen.previous_version, seen.actor, seen.reason) == (current, "ann", "r")
    client.move_alias(current, model="linear", expected_version=made.version, actor="bob", reason="undo")
    seen = next(watch)
    assert (seen.change, seen.actor, seen.reason) == (pb.MODEL_CHANGE_MOVED_BACK, "bob", "undo")
    watch.close()


def test_corrupted_version_is_refused(served, registry):
    """A version whose file changed after it was registered is refused; the old one serves on, and says why."""
    _, client = served
    current = client.model("reference").default_version
    number = registry.register("reference", "r3-3")
    model = registry.files("reference", number) / "data" / "model.keras"
    model.write_bytes(model.read_bytes()[:-100])
    with pytest.raises(CorruptModelError, match="SHA-256"):
        client.move_alias(number, model="reference", expected_version=current)
    assert registry.store.describe("reference").aliases["champion"] == current
    registry.store.set_alias("reference", "champion", number)
    stale = eventually(lambda: client.model("reference").stale_reason)
    assert "SHA-256" in stale
    assert f"version {current} serves on" in stale
    assert client.predict(R3_INPUTS, model="reference").version == current
    registry.store.set_alias("reference", "champion", current)
    eventually(lambda: not client.model("reference").stale_reason)
    with pytest.raises(CorruptModelError):
        client.predict(R3_INPUTS, model="reference", version=number)


def test_failed_proof_is_refused(served, registry):
    """A version that does not compute what Keras computed is refused."""
    _, client = served
    number = registry.register("reference", "r3-3")
    folder = registry.files("reference", number)
    other = registry.files("reference", registry.register("reference", "r3-2"))
    (folder / "proof.npz").write_bytes((other / "proof.npz").read_bytes())
    with pytest.raises(ProofError, match="differs from the proof"):
        client.predict(R3_INPUTS, model="reference", version=number)


def test_alias_deleted(served, registry):
    """When an alias is deleted in MLflow, what it meant serves on, marked stale, until the alias is back."""
    _, client = served
    current = client.model("linear").default_version
    registry.store._client.delete_registered_model_alias("linear", "champion")
    assert "champion" in eventually(lambda: client.model("linear").stale_reason)
    assert client.predict(R2_INPUTS, model="linear").version == current
    registry.store.set_alias("linear", "champion", current)
    eventually(lambda: not client.model("linear").stale_reason)


def test_health_and_reflection(served):
    """Health is told for the server and each service; reflection lists the services."""
    import grpc
    from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

    server, client = served
    with grpc.insecure_channel(server.address) as channel:
        services = set(ProtoReflectionDescriptorDatabase(channel).get_services())
    ours = {"unroll.v1.PredictionService", "unroll.v1.WeightService", "unroll.v1.ModelService"}
    assert services >= ours | {"grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"}
    assert all(client.health(service) for service in ["", *ours])
    with pytest.raises(NotFoundError):
        client.health("none")


def test_many_versions_on_demand(registry, tmp_path):
    """Versions that clients name are loaded, and those unused for longest make room; the default stays."""
    first = registry.register("many", "r3-1", "champion")
    numbers = [registry.register("many", f"r3-{1 + i % 3}") for i in range(10)]
    with running("models:/many@champion", cache=tmp_path, env=registry.env, workers=2) as (_, client):
        for number in numbers:
            assert client.predict(R3_INPUTS, version=number).version == number
        held = {version.version for version in client.model().versions}
        assert len(held) == 9  # the default and eight on demand
        assert {first, numbers[-1]} < held
        assert numbers[0] not in held
        with pytest.raises(NotFoundError, match="no version 99"):
            client.predict(R3_INPUTS, version="99")


def test_a_slow_version_on_demand(registry, tmp_path):
    """While a version that a reader named is long in coming, overrides, moves and aliases in MLflow are followed."""
    first = registry.register("slow", "r3-1", "champion")
    second = registry.register("slow", "r3-2")
    answers = []
    with running("models:/slow@champion", cache=tmp_path, env=registry.env, workers=1, poll=0.2) as (server, client):

        def trial():
            eventually(lambda: not trials())
            asking.start()
            return eventually(trials)

        def trials():
            children = psutil.Process(server.process.pid).children()
            return [child.pid for child in children if "service.supervisor.trial" in child.cmdline()]

        asking = threading.Thread(target=lambda: answers.append(client.predict(R3_INPUTS, version=second).version))
        with stopped(*trial()), Client(server.address) as other:
            made = other.override_weights({"output/bias": [1.0]}, expected_version=first, reason="meanwhile")
            other.move_alias(first, expected_version=made.version)
            registry.store.set_alias("slow", "champion", made.version)
            eventually(lambda: other.predict(R3_INPUTS).version == made.version)
            assert answers == []
        asking.join()
    assert answers == [second]


def test_a_model_that_a_client_asks_for(registry, tmp_path):
    """A model whose version was refused answers with the reason, and a status that no client repeats."""
    number = registry.register("refused", "r3-1", "champion")
    model = registry.files("refused", number) / "data" / "model.keras"
    model.write_bytes(model.read_bytes()[:-100])
    registry.register("fine", "r3-2", "champion")
    server = Server(
        "models:/fine@champion", "models:/refused@champion", cache=tmp_path, env=registry.env, workers=1, wait=True
    )
    try:
        with Client(server.address) as client:
            eventually(lambda: "SHA-256" in client.model("refused").stale_reason)
            with pytest.raises(CorruptModelError, match="SHA-256"):
                client.predict(R3_INPUTS, model="refused")
            assert client.predict(R3_INPUTS, model="fine").version == "1"
    finally:
        server.stop()


# What goes wrong at the start, each in one line.


def failed_start(tmp_path, env, *arguments):
    command = [sys.executable, "-m", "service.cli", "serve", f"--cache={tmp_path}", *arguments]
    done = subprocess.run(command, env={**os.environ, **env}, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    return done.stderr.strip().splitlines()[-1]


def test_unknown_model(registry, tmp_path):
    """A model that is not in the registry is one line and an exit status."""
    line = failed_start(tmp_path, registry.env, "--model=models:/none@champion", "--address=127.0.0.1:0")
    assert line == "unroll: no model none in the registry"


@pytest.mark.usefixtures("served")  # which registers the others
@pytest.mark.parametrize("names", [("absent", "reference", "linear"), ("reference", "absent", "linear")])
def test_one_model_that_is_missing(registry, tmp_path, names):
    """Where one of three models is not in the registry, the start fails; or the others serve, where it may wait."""
    models = [f"models:/{name}@champion" for name in names]
    flags = [f"--model={model}" for model in models]
    line = failed_start(tmp_path / "a", registry.env, *flags, "--address=127.0.0.1:0")
    assert line == "unroll: no model absent in the registry"
    server = Server(*models, cache=tmp_path / "b", env=registry.env, workers=1, wait=True)
    try:
        with Client(server.address) as client:
            present = [name for name in names if name != "absent"]
            eventually(lambda: all(client.model(name).default_version for name in present))
            before = client.model("linear").confirmed_time.ToNanoseconds()
            eventually(lambda: client.model("linear").confirmed_time.ToNanoseconds() > before)  # another look
            assert client.predict(R2_INPUTS, model="linear").output.shape == (1, 3, 3)
            assert [client.model(name).stale_reason for name in present] == ["", ""]
            assert "no model absent in the registry" in client.model("absent").stale_reason
            assert not client.health()
    finally:
        server.stop()


def test_malformed_reference(registry, tmp_path):
    """A reference that is none is one line and an exit status."""
    line = failed_start(tmp_path, registry.env, "--model=reference", "--address=127.0.0.1:0")
    assert line.startswith("unroll: 'reference' is not a reference")


def test_registry_unreachable(tmp_path):
    """A registry that does not answer, with nothing in the cache, is one line and an exit status."""
    env = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    line = failed_start(tmp_path, env, "--model=models:/reference@champion", "--address=127.0.0.1:0")
    assert line.startswith("unroll: ")
    assert "127.0.0.1" in line


def test_port_in_use(served, registry, tmp_path):
    """A port that another server listens on is refused, though the two could share it."""
    server, _ = served
    line = failed_start(tmp_path, registry.env, "--model=models:/reference@champion", f"--address={server.address}")
    assert line == f"unroll: cannot listen on {server.address}: Address already in use"


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (["--address=:51105"], r"unroll: address ':51105': it names no host; .*"),
        (["--address=::1:51106"], r"unroll: address '::1:51106': an IPv6 host stands in brackets, \[::1\]:51106"),
        (["--address=unix:/no/such/folder/socket"], r"unroll: cannot listen on unix:/no/such/.*: No such file .*"),
        (["--address=unix:/tmp/a", "--workers=2"], r"unroll: a unix socket has one worker: .*"),
        (["--address=no.such.host.invalid:1"], r"unroll: cannot listen on no.such.host.invalid:1: .*"),
        (["--address=127.0.0.1:0", "--webhook=:51107"], r"unroll: address ':51107': it names no host; .*"),
        (["--address=127.0.0.1:0", "--tls-certificate=/no", "--tls-key=/no"], r"unroll: certificate /no and .*"),
        (["--address=127.0.0.1:0", "--operator-token-file=/dev/null"], r"unroll: /dev/null is empty"),
    ],
)  # fmt: skip
def test_wrong_flags(tmp_path, flags, line):
    """What cannot be listened on or read is one line and an exit status, before any process is started."""
    command = [sys.executable, "-m", "service.cli", "serve", f"--cache={tmp_path}", "--model=models:/none@champion"]
    env = {**os.environ, "UNROLL_WEBHOOK_SECRET": "s"}
    done = subprocess.run([*command, *flags], env=env, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert re.fullmatch(line, done.stderr.strip())


# Crashes and the end.


def test_killed_worker_comes_back(served):
    """A worker that is killed is started again with what the others serve, while those answer."""
    server, client = served
    with Load(server.address, R3_INPUTS, model="reference") as load:
        before = eventually(lambda: len(server.workers()) == 2 and server.workers())
        os.kill(before[0], signal.SIGKILL)
        eventually(lambda: len(server.workers()) == 2 and before[0] not in server.workers())
        # It serves only when it joined; then a change waits for it too.
        current = client.model("linear").default_version
        made = client.override_weights({"rnn/bias": [2, 2, 2]}, model="linear", expected_version=current, reason="r")
        for _ in range(8):
            with Client(server.address) as other:
                assert other.predict(R2_INPUTS, model="linear").version == made.version
    assert load.failures == []


def test_drain(registry, tmp_path):
    """On SIGTERM the calls that were accepted are answered, and the server ends with status 0."""
    registry.register("drain", "r3-1", "champion")
    with running("models:/drain@champion", cache=tmp_path, env=registry.env, workers=1) as (server, _):
        with Client(server.address) as client:
            steps = client.stream(iter([R3_INPUTS]))
            next(steps)
            stub = next(client._turn)[0]
            x = np.ones((2000, 60, 2), np.float32)
            tensor = pb.Tensor(shape=x.shape, raw=x.tobytes())
            stub_calls = [stub.Predict.future(pb.PredictRequest(inputs=[tensor])) for _ in range(20)]
            assert stub_calls[0].result(30).version == "1"
            server.process.terminate()
            assert [call.result(60).version for call in stub_calls] == ["1"] * 20
        assert server.stop() == 0


def test_no_call_is_lost_at_a_drain(registry, tmp_path):
    """Of callers that call without pause and repeat nothing, none is cancelled when a server ends or its workers do."""
    import grpc

    registry.register("drain", "r3-1", "champion")
    request = pb.PredictRequest(inputs=[pb.Tensor(shape=R3_INPUTS.shape, raw=R3_INPUTS.tobytes())])
    options = [("grpc.use_local_subchannel_pool", 1)]  # a connection for each; no policy of repeating
    answered, failed = [], []

    def call(address):
        with grpc.insecure_channel(address, options=options) as channel:
            predict = channel.unary_unary(
                "/unroll.v1.PredictionService/Predict",
                pb.PredictRequest.SerializeToString,
                pb.PredictResponse.FromString,
            )
            while not failed:
                try:
                    answered.append(predict(request, timeout=60).version)
                except grpc.RpcError as error:
                    if error.code() is grpc.StatusCode.UNAVAILABLE and "connect" in error.details():
                        return  # nobody is there any more
                    failed.append(error)

    with running("models:/drain@champion", cache=tmp_path, env=registry.env, workers=2) as (server, _):
        callers = [threading.Thread(target=call, args=(server.address,)) for _ in range(24)]
        for caller in callers:
            caller.start()
        eventually(lambda: len(answered) > 200)
        server.process.send_signal(signal.SIGHUP)  # replaces the workers: each drains
        server.logged("reloaded: all workers are new", timeout=120)
        so_far = len(answered)
        eventually(lambda: len(answered) > so_far + 200)
        server.process.terminate()
        for caller in callers:
            caller.join(60)
        assert failed == []
        assert server.stop() == 0
