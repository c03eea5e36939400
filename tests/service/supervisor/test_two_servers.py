"""Two servers of one registry: of changes at the same time one wins, and a repeated call is done once."""

import threading
from contextlib import ExitStack

import pytest

from service.client import Client
from service.errors import ConflictError, InvalidArgumentError, ServiceError, TimeLimitError
from tests.service.support import R3_INPUTS, eventually, running

ROUNDS = 6


@pytest.fixture(scope="module")
def two(registry, tmp_path_factory):
    """Two servers of the same model, each with its own cache."""
    registry.register("shared", "r3-1", "champion")
    with ExitStack() as stack:
        yield [
            stack.enter_context(
                running(
                    "models:/shared@champion", cache=tmp_path_factory.mktemp("cache"), env=registry.env, workers=1,
                    poll=0.2,
                )
            )[0]
            for _ in range(2)
        ]  # fmt: skip


@pytest.fixture
def clients(two):
    """A client of each."""
    with Client(two[0].address) as first, Client(two[1].address) as second:
        yield first, second


def at_once(*calls):
    """What calls give that begin at the same time: answers and errors."""
    results, start = [None] * len(calls), threading.Barrier(len(calls))

    def run(i):
        start.wait()
        try:
            results[i] = calls[i]()
        except ServiceError as error:
            results[i] = error

    threads = [threading.Thread(target=run, args=(i,)) for i in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def agreed(clients, number):
    """Waits until both servers serve a version."""
    for client in clients:
        eventually(lambda client=client: client.model().default_version == number and not client.model().stale_reason)


def test_overrides_at_once(clients, registry):
    """Of two overrides through two servers one wins, and the other is ABORTED and leaves no version."""
    for _ in range(ROUNDS):
        current = registry.store.describe("shared").aliases["champion"]
        agreed(clients, current)
        results = at_once(*(
            lambda client=client, value=value, current=current: client.override_weights(
                {"output/bias": [value]}, expected_version=current, reason="at once"
            )
            for value, client in enumerate(clients)
        ))  # fmt: skip
        (won,) = [result for result in results if not isinstance(result, ServiceError)]
        (lost,) = [result for result in results if isinstance(result, ServiceError)]
        assert isinstance(lost, ConflictError)
        assert registry.store.describe("shared").aliases["champion"] == won.version
        found = registry.store._client.search_model_versions("name = 'shared'")
        assert [v.version for v in found if v.tags.get("unroll.base_version") == current] == [int(won.version)]


def test_moves_at_once(clients, registry):
    """Of two moves of an alias from the same version one wins, and the other is ABORTED."""
    numbers = [registry.register("shared", f"r3-{seed}") for seed in (1, 2, 3)]
    registry.store.set_alias("shared", "champion", numbers[0])
    for _ in range(ROUNDS):
        current = registry.store.describe("shared").aliases["champion"]
        agreed(clients, current)
        aims = [number for number in numbers if number != current]
        results = at_once(*(
            lambda client=client, aim=aim, current=current: client.move_alias(aim, expected_version=current)
            for aim, client in zip(aims, clients, strict=True)
        ))  # fmt: skip
        (won,) = [result.version for result in results if not isinstance(result, ServiceError)]
        assert sum(isinstance(result, ConflictError) for result in results) == 1
        assert registry.store.describe("shared").aliases["champion"] == won


def test_an_override_that_is_repeated(clients, registry):
    """A call without an answer is repeated by its request id, at either server: it is done once, and found."""
    first, second = clients
    current = registry.store.describe("shared").aliases["champion"]
    agreed(clients, current)
    asked = {"reason": "once", "expected_version": current, "request_id": "7d1f-ab_9"}
    made = first.override_weights({"output/bias": [3.0]}, **asked)
    for client in (first, second):
        again = client.override_weights({"output/bias": [3.0]}, **asked)
        assert (again.version, again.digest, again.base_version) == (made.version, made.digest, current)
        assert (again.alias, list(again.changed_weights)) == ("champion", ["output/bias"])
    with pytest.raises(InvalidArgumentError, match="another request with this id") as caught:
        first.override_weights({"output/bias": [4.0]}, **asked)
    assert caught.value.field == "request_id"
    first.move_alias(current, expected_version=made.version, reason="undo")
    first.override_weights({"output/bias": [3.0]}, **asked)  # it was done, and undone since: it is not done again
    assert first.predict(R3_INPUTS).version == current
    with pytest.raises(InvalidArgumentError, match="request_id"):
        first.override_weights({"output/bias": [3.0]}, **(asked | {"request_id": "a b"}))


def test_an_override_whose_caller_left(two, clients, registry):
    """An override whose deadline passed takes effect or not; the caller who repeats it finds out, and gets one."""
    current = registry.store.describe("shared").aliases["champion"]
    agreed(clients, current)
    asked = {"reason": "impatient", "expected_version": current, "request_id": "impatient-1"}
    with Client(two[0].address, timeout=0.02) as impatient, pytest.raises(TimeLimitError):
        impatient.override_weights({"output/bias": [5.0]}, **asked)
    made = clients[0].override_weights({"output/bias": [5.0]}, **asked)
    assert registry.store.describe("shared").aliases["champion"] == made.version
    found = registry.store._client.search_model_versions("name = 'shared'")
    assert [str(v.version) for v in found if v.tags.get("unroll.request_id") == "impatient-1"] == [made.version]


def test_a_move_that_is_repeated(clients, registry):
    """A move that is repeated by its request id succeeds; another one that expects the same is ABORTED."""
    current = registry.store.describe("shared").aliases["champion"]
    agreed(clients, current)
    aim = registry.register("shared", "r3-2")
    asked = {"version": aim, "expected_version": current, "request_id": "move-1"}
    clients[0].move_alias(**asked)
    agreed(clients, aim)
    for client in clients:
        assert client.move_alias(**asked).version == aim
    with pytest.raises(ConflictError):
        clients[0].move_alias(aim, expected_version=current)
    with pytest.raises(ConflictError):
        clients[0].move_alias(**(asked | {"request_id": "move-2"}))
