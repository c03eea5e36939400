"""Batching: heavy requests that arrive together are computed together, to the bits they have alone."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from service.config import DEFAULT_LIMITS
from service.errors import InvalidArgumentError
from service.model.engines import choice as engines
from service.model.engines import onnx_runtime
from service.model.engines.choice import Choice
from service.serving.batching import Batcher
from service.serving.slots import Slots
from tests.service.model.engines.test_choice import SEQUENCES, layer, network, recurrent


@pytest.fixture(scope="module")
def heavy(tmp_path_factory):
    """Two layers of LSTM and a Dense one, computed by ONNX Runtime."""
    layers = [recurrent("LSTM", "a", 48, **SEQUENCES), recurrent("LSTM", "b", 32), layer("Dense", "d", units=3)]
    net = network(tmp_path_factory.mktemp("heavy"), *layers)
    return net, engines.assemble(net, None, "onnxruntime", "onnxruntime")


class Held:
    """An engine that computes when it is let, and remembers how many sequences it was given at a time."""

    name = "held"

    def __init__(self, engine):
        self._engine = engine
        self.let = threading.Event()
        self.began = threading.Semaphore(0)
        self.sizes = []

    def forward(self, inputs, state=None):
        self.sizes.append(len(inputs["input"]))
        self.began.release()
        assert self.let.wait(20)
        if np.isnan(inputs["input"]).any():
            raise InvalidArgumentError("not this one")
        return self._engine.forward(inputs, state)


def held(net, engine, most=DEFAULT_LIMITS.computed):
    """A batcher over an engine that waits."""
    one = Held(engine)
    return one, Batcher(Choice(net, one, one, (), batches=True), most, Slots(1))


def arrived(batcher, count):
    """Waits until so many wait for their batch."""
    while batcher.waiting() < count:
        threading.Event().wait(0.001)


def test_a_heavy_network_batches_and_a_light_one_does_not(heavy, tmp_path):
    """Batching is chosen where ONNX Runtime serves, and said; networks for plain numbers or NumPy go without."""
    net, choice = heavy
    assert choice.batches
    assert choice.name == "onnxruntime, batching"
    light = network(tmp_path, recurrent("SimpleRNN", "a", 4), layer("Dense", "d", units=1))
    assert not engines.select(light).batches
    assert not engines.assemble(net, None, "numpy", "onnxruntime").batches


def test_who_comes_meanwhile_is_the_next_batch(heavy):
    """The first is computed alone, those who arrive meanwhile together; each gets the bits of its own."""
    net, choice = heavy
    one, batcher = held(net, choice)
    rng = np.random.default_rng(0)
    xs = [rng.normal(size=(1 + i % 3, 20, 3)).astype(np.float32) for i in range(12)]
    with ThreadPoolExecutor(12) as pool:
        futures = [pool.submit(batcher.forward, {"input": xs[0]})]
        one.began.acquire()
        futures += [pool.submit(batcher.forward, {"input": x}) for x in xs[1:]]
        arrived(batcher, 11)
        one.let.set()
        results = [future.result(20) for future in futures]
    assert one.sizes == [1, sum(map(len, xs[1:]))]
    assert [result.shared.sequences for result in results] == [1] + [one.sizes[1]] * 11
    assert [results[0].shared.leads, sum(result.shared.leads for result in results[1:])] == [True, 1]
    assert all(result.shared.waited_ns > 0 for result in results[1:])
    for x, result in zip(xs, results, strict=True):
        alone = choice.forward({"input": x})
        assert result.outputs["d"].tobytes() == alone.outputs["d"].tobytes()
        for name, state in alone.final_state.items():
            assert result.final_state[name].tobytes() == state.tobytes()


def test_only_what_agrees_goes_together(heavy):
    """Other lengths and other given states make other batches, none larger than the bound; the order is kept."""
    net, choice = heavy
    one, batcher = held(net, choice)
    rng = np.random.default_rng(0)
    state = {spec.name: rng.normal(size=(1, spec.shape[1])).astype(np.float32) for spec in net.states}
    calls = [(8, {}), (8, {}), (5, {}), (8, state), (8, {}), (5, {}), (8, state)]
    calls = [(rng.normal(size=(1, length, 3)).astype(np.float32), given) for length, given in calls]
    calls += [(rng.normal(size=(20, 8, 3)).astype(np.float32), {}) for _ in range(2)]
    with ThreadPoolExecutor(10) as pool:
        futures = [pool.submit(batcher.forward, {"input": calls[0][0]})]
        one.began.acquire()
        for x, given in calls[1:]:
            waiting = batcher.waiting()
            futures.append(pool.submit(batcher.forward, {"input": x}, given))
            arrived(batcher, waiting + 1)
        one.let.set()
        results = [future.result(20) for future in futures]
    # Alone; two of 8 and one of the large ones; two of 5; two with states; the other large one.
    assert one.sizes == [1, 22, 2, 2, 20]
    for (x, given), result in zip(calls, results, strict=True):
        assert result.outputs["d"].tobytes() == choice.forward({"input": x}, given).outputs["d"].tobytes()


def test_a_batch_computes_no_more_than_a_call_may(heavy):
    """Where sequences are so long that few make as much as the server allows, so few go together."""
    net, choice = heavy
    one, batcher = held(net, choice, most=3 * net.cost(((8, 3),)) + 1)
    x = np.ones((1, 8, 3), np.float32)
    with ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(batcher.forward, {"input": x})]
        one.began.acquire()
        futures += [pool.submit(batcher.forward, {"input": x}) for _ in range(7)]
        arrived(batcher, 7)
        one.let.set()
        for future in futures:
            future.result(20)
    assert one.sizes == [1, 3, 3, 1]


def test_one_that_fails_fails_alone(heavy):
    """An error of one request is its own; those in its batch are answered, and so are those who come after."""
    net, choice = heavy
    one, batcher = held(net, choice)
    good, bad = np.ones((1, 4, 3), np.float32), np.full((1, 4, 3), np.nan, np.float32)
    with ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(batcher.forward, {"input": good})]
        one.began.acquire()
        for i, x in enumerate((good, bad, good)):
            futures.append(pool.submit(batcher.forward, {"input": x}))
            arrived(batcher, i + 1)
        one.let.set()
        with pytest.raises(InvalidArgumentError, match="not this one"):
            futures[2].result(20)
        expected = choice.forward({"input": good}).outputs["d"].tobytes()
        assert all(futures[i].result(20).outputs["d"].tobytes() == expected for i in (0, 1, 3))
    assert batcher.forward({"input": good}).outputs["d"].tobytes() == expected


def test_calls_that_arrive_while_a_batch_computes_are_one(heavy):
    """However many come meanwhile, they are computed in batches of the usual size, to the bits of their own."""
    net, choice = heavy
    one, batcher = held(net, choice)
    xs = [np.random.default_rng(i).normal(size=(1, 8, 3)).astype(np.float32) for i in range(41)]
    with ThreadPoolExecutor(41) as pool:
        futures = [pool.submit(batcher.prepare(xs[0].shape), xs[0].tobytes())]
        one.began.acquire()
        futures += [pool.submit(batcher.prepare(x.shape), x.tobytes()) for x in xs[1:]]
        arrived(batcher, 40)
        one.let.set()
        results = [future.result(20) for future in futures]
    assert one.sizes == [1, 32, 8]
    for x, (raw, _) in zip(xs, results, strict=True):
        alone = choice.forward({"input": x}).outputs["d"]
        assert raw == alone.tobytes()


def test_bytes_go_with_arrays(heavy):
    """A sequence as bytes and one as an array, with the states asked for, are computed together."""
    net, choice = heavy
    one, batcher = held(net, choice)
    x = np.random.default_rng(0).normal(size=(3, 8, 3)).astype(np.float32)
    with ThreadPoolExecutor(3) as pool:
        futures = [pool.submit(batcher.forward, {"input": x[:1]})]
        one.began.acquire()
        for i, call in enumerate(
            (lambda: batcher.prepare((1, 8, 3))(x[1:2].tobytes()), lambda: batcher.forward({"input": x[2:]}))
        ):
            futures.append(pool.submit(call))
            arrived(batcher, i + 1)
        one.let.set()
        _, (raw, _), array = [future.result(20) for future in futures]
    assert one.sizes == [1, 2]
    expected = choice.forward({"input": x[1:]})
    assert raw == expected.outputs["d"][0].tobytes()
    for name, state in array.final_state.items():
        assert np.array_equal(state, expected.final_state[name][1:])


def test_bytes_that_are_not_finite_leave_the_batch(heavy):
    """A sequence with NaN in it is left to others, and those who came with it are one batch all the same."""
    net, choice = heavy
    one, batcher = held(net, choice)
    xs = [np.random.default_rng(i).normal(size=(1, 8, 3)).astype(np.float32) for i in range(5)]
    xs[2][0, 3, 1] = np.nan
    with ThreadPoolExecutor(6) as pool:
        futures = [pool.submit(batcher.forward, {"input": xs[0]})]
        one.began.acquire()
        for i, x in enumerate(xs):
            futures.append(pool.submit(batcher.prepare(x.shape), x.tobytes()))
            arrived(batcher, i + 1)
        one.let.set()
        _, *results = [future.result(20) for future in futures]
    assert one.sizes == [1, 4]
    assert results.pop(2) is None
    assert [shared.leads for _, shared in results] == [True, False, False, False]
    for x, (raw, _) in zip([*xs[:2], *xs[3:]], results, strict=True):
        assert raw == choice.forward({"input": x}).outputs["d"].tobytes()


@pytest.mark.parametrize("shape", [(1, 3, 4), (2, 4, 3), (1, 0, 3)])
def test_other_shapes_are_left_to_others(heavy, shape):
    """What is not one sequence for the network does not go from bytes to bytes."""
    assert held(*heavy)[1].prepare(shape) is None


def test_a_sequence_that_is_not_finite_is_left_to_others(heavy):
    """Of bytes with a number that is not finite nothing is computed."""
    one, batcher = held(*heavy)
    assert batcher.prepare((1, 4, 3))(np.full((1, 4, 3), np.inf, "<f4").tobytes()) is None
    assert one.sizes == []


def test_rows_that_depend_on_the_batch_are_not_batched(heavy):
    """An engine whose bits depend on what is batched together is not used for batching."""
    net, _ = heavy

    made = onnx_runtime.make(net)

    class Uneven:
        name = made.name

        def forward(self, inputs, initial_state=None):
            result = made.forward(inputs, initial_state)
            for array in result.outputs.values():
                array *= np.float32(1 + 1e-6 * len(array))
            return result

    uneven = Uneven()
    assert engines._batches(made, made, net)
    assert not engines._batches(uneven, uneven, net)
