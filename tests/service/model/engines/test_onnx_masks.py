"""Masked networks in ONNX Runtime: for every mask what NumPy gives, which other tests compare with Keras."""

import itertools

import numpy as np
import pytest

from service.model.engines import choice as engines
from service.model.engines import onnx_runtime
from tests.data.hostile import build
from tests.fuzz.targets import called, tensor
from tests.service.model.engines.networks import (
    MASKED,
    MASKING,
    SEQUENCES,
    layer,
    merged,
    network,
    operation,
    recurrent,
    same,
    wired,
)

TIMESTEPS = 5
EVERY = np.array(list(itertools.product([False, True], repeat=TIMESTEPS)))  # mask of five timesteps, none and all too


def with_masks(masks, features=3):
    """A sequence for each mask, zero where it is False."""
    x = np.random.default_rng(1).normal(size=(*masks.shape, features))
    return np.where(masks[..., None], x, 0).astype(np.float32)


def agree(net, inputs):
    """Whether the engine gives what NumPy gives, from zero and from the states so reached."""
    engine, state = onnx_runtime.make(net), {}
    for _ in range(2):
        expected = net.forward(inputs, state)
        if not same(engine.forward(inputs, state), expected):
            return False
        state = expected.final_state
    return True


@pytest.mark.parametrize("name", MASKED)
def test_every_mask_goes_through_onnx_runtime(tmp_path, name):
    """Outputs and states for all masks of five timesteps in one batch, and for each of them alone."""
    net = network(tmp_path, MASKING, *MASKED[name], time=TIMESTEPS)
    x = with_masks(EVERY)
    assert agree(net, {"input": x})
    for i in (0, 1, 9, 16, 31):
        assert agree(net, {"input": x[i : i + 1]})


@pytest.mark.parametrize("dtype", ["int32", "int64", "float32"])
def test_ids_of_zero_are_masked(tmp_path, dtype):
    """With `mask_zero` id 0 is masked, whatever the type of the ids."""
    ids = {**layer("InputLayer", "ids", batch_shape=[None, None], dtype=dtype), "name": "ids", "inbound_nodes": []}
    net = wired(
        tmp_path,
        ids,
        build.wired(layer("Embedding", "words", input_dim=9, output_dim=3, mask_zero=True), ("ids", 0, 0)),
        build.wired(recurrent("LSTM", "l", 2), ("words", 0, 0)),
        build.wired(recurrent("LSTM", "n", 2), ("x", 0, 0)),
        merged("Concatenate", "y", "l", "n"),
        outputs=["y"],
        inputs=("ids", "x"),
    )
    given = np.where(EVERY, np.random.default_rng(0).integers(1, 9, EVERY.shape), 0).astype(dtype)
    assert agree(net, {"ids": given, "x": np.ones((len(given), 3, 2), np.float32)})


@pytest.mark.parametrize("sequences", [False, True])
def test_masks_that_the_graph_names(tmp_path, sequences):
    """A mask that Keras writes into the graph as operations holds, for states that the graph hands on, too."""
    states = [tensor("encoder", 0, i) for i in (1, 2)]
    decoder = recurrent("LSTM", "decoder", 4, return_sequences=sequences)
    net = wired(
        tmp_path,
        build.wired(MASKING, ("x", 0, 0)),
        operation("NotEqual", "differs", "x", 0.0),
        called(layer("Any", "any", module="keras.src.ops.numpy", axis=-1, keepdims=False), tensor("differs")),
        called(recurrent("LSTM", "encoder", 4, return_state=True), tensor("m"), mask=tensor("any")),
        called(decoder, tensor("m"), mask=tensor("any"), initial_state=states),
        called(recurrent("GRU", "bare", 4, **SEQUENCES), tensor("m"), initial_state=states[:1]),
        build.wired(recurrent("GRU", "last", 2), ("bare", 0, 0)),
        outputs=["decoder", "last"],
    )
    masks = np.array(list(itertools.product([False, True], repeat=3)))
    assert agree(net, {"x": with_masks(masks, 2)})


def test_what_joins_masks_is_left_to_numpy(tmp_path):
    """Several values with masks, or one with a mask and one without, are not covered; what has lost its mask is."""
    masked = [
        build.wired(MASKING, ("x", 0, 0)),
        build.wired(recurrent("LSTM", "a", 2, **SEQUENCES), ("m", 0, 0)),
        build.wired(recurrent("LSTM", "l", 2), ("m", 0, 0)),
        build.wired(recurrent("LSTM", "n", 2), ("x", 0, 0)),
    ]
    for below, covered in (("a", "m"), False), (("a", "x"), False), (("l", "n"), True):
        net = wired(tmp_path, *masked, merged("Add", "y", *below), outputs=["y"])
        assert (onnx_runtime.make(net) is not None) == covered
        assert not covered or agree(net, {"x": with_masks(EVERY, 2)})


def test_masked_networks_are_batched(tmp_path):
    """A heavy masked network serves from ONNX Runtime, in pieces and batched across requests, to the same bits."""
    net = network(tmp_path, MASKING, recurrent("LSTM", "a", 32, **SEQUENCES), recurrent("GRU", "b", 8))
    choice = engines.select(net, fixed="onnxruntime")
    assert choice.name == "onnxruntime, batching"
    assert all(not timing.refused for timing in choice.timings)
