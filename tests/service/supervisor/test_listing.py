"""service.supervisor.listing: the versions that the registry has, of a server that holds few of them in memory."""

import json
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait

import pytest
from typer.testing import CliRunner

from registry import tag
from service import cli
from service.cli import common
from service.errors import InvalidArgumentError, LimitExceededError, NotFoundError
from service.pb import unroll_pb2 as pb
from tests.service.support import running, stopped

GATE = {
    tag.METRIC: "rmse", tag.ERROR: "0.125", tag.BASELINE: "last value", tag.BASELINE_ERROR: "0.5",
    tag.CHAMPION_VERSION: "1", tag.CHAMPION_ERROR: "0.25",
    tag.DECISION: "promoted", tag.DECISION_REASON: "it is better",
}  # fmt: skip


@pytest.fixture(scope="module")
def served(registry, tmp_path_factory):
    """A server of the champion, version 2 of 3; an override of it is version 4."""
    registry.register("reference", "r3-1", "first", **{tag.ACTOR: "<b>ann</b>", tag.REASON: "a first try"})
    registry.register("reference", "r3-2", "champion", **GATE)
    registry.register("reference", "r3-3", **{tag.ERROR: "as good as it gets", tag.METRIC: "rmse"})
    cache = tmp_path_factory.mktemp("cache")
    with running("models:/reference@champion", cache=cache, env=registry.env, workers=1, poll=0.2) as (server, client):
        changed = {"output/bias": [0.5]}
        client.override_weights(changed, expected_version="2", reason="sensor 7 reads low", keep_alias=True)
        yield server, client


@pytest.fixture
def server(served):
    """That server."""
    return served[0]


@pytest.fixture
def client(served):
    """A client of it."""
    return served[1]


def test_all_versions(client):
    """Every version is listed, newest first, with who made it, why, its proof and its figures."""
    found = {version.version: version for version in client.versions()}
    assert list(found) == ["4", "3", "2", "1"]
    assert [list(found[number].aliases) for number in "4321"] == [[], [], ["champion"], ["first"]]
    assert [found[number].loaded for number in "4321"] == [False, False, True, False]
    proofs = [pb.PROOF_DERIVED, pb.PROOF_KERAS, pb.PROOF_KERAS, pb.PROOF_KERAS]
    assert [found[number].proof for number in "4321"] == proofs
    made, trained, first = found["4"], found["2"], found["1"]
    assert (made.origin, made.base_version, made.reason) == (pb.VERSION_ORIGIN_OVERRIDE, "2", "sensor 7 reads low")
    assert (list(made.changed_weights), made.HasField("gate")) == (["output/bias"], False)
    assert (first.actor, first.reason) == ("<b>ann</b>", "a first try")
    assert made.created_time.ToMilliseconds() > trained.created_time.ToMilliseconds() > 0
    assert len(trained.digest) == 64
    gate = trained.gate
    assert (gate.metric, gate.error, gate.baseline, gate.baseline_error) == ("rmse", 0.125, "last value", 0.5)
    assert (gate.champion_version, gate.champion_error, gate.decision) == ("1", 0.25, "promoted")
    assert (found["3"].gate.metric, found["3"].gate.HasField("error")) == ("rmse", False)  # that is no number


def test_the_command(client, monkeypatch):
    """`unroll models versions` shows the newest of them, for people and for scripts."""
    monkeypatch.setattr(common.console, "_width", 200)  # it may have been made where COLUMNS was set
    shown = CliRunner().invoke(cli.app, ["models", "versions", "--address", client.address, "--most", "3"])
    rows = shown.output.splitlines()[3:6]
    assert shown.exit_code == 0, shown.output
    assert [row.split()[0] for row in rows] == ["4", "3", "2"]
    for word in ("override of 2", "sensor 7 reads low", "derived"):
        assert word in rows[0]
    assert "rmse 0.125 (last value: 0.5)" in rows[2]
    listed = CliRunner().invoke(cli.app, ["models", "versions", "--address", client.address, "--json"])
    assert [version["version"] for version in json.loads(listed.output)] == ["4", "3", "2", "1"]


def test_pages(client):
    """A page has as many versions as are asked for, and its token leads to the next, whatever was added meanwhile."""
    ask = client._turn.__next__()[2].ListVersions
    first = ask(pb.ListVersionsRequest(page_size=3))
    assert [version.version for version in first.versions] == ["4", "3", "2"]
    second = ask(pb.ListVersionsRequest(page_size=3, page_token=first.next_page_token))
    assert [version.version for version in second.versions] == ["1"]
    assert second.next_page_token == ""


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"page_size": -1}, InvalidArgumentError),
        ({"page_token": "' or name = 'x"}, InvalidArgumentError),
        ({"model": "none"}, NotFoundError),
    ],
)
def test_wrong_requests(client, fields, error):
    """A size, a token or a model that cannot be is refused before the registry is asked."""
    with pytest.raises(error):
        client._call(2, "ListVersions", pb.ListVersionsRequest(**fields))


def test_few_searches_at_a_time(server, client):
    """While the registry does not answer, a caller waits for two pages; the third is refused at once."""
    with ThreadPoolExecutor(3) as pool:
        with stopped(server.process.pid):
            waiting = [pool.submit(next, client.versions()) for _ in range(3)]
            refused, waiting = wait(waiting, 60, FIRST_COMPLETED)
            with pytest.raises(LimitExceededError, match="searches in the registry of one caller"):
                refused.pop().result()
        assert [call.result(60).version for call in waiting] == ["4", "4"]
