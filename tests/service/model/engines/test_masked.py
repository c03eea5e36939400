"""Inputs with masked timesteps: they mask what they say, and find an engine that is wrong about masks."""

import numpy as np

from service.model.engines import choice as engines
from service.model.engines import onnx_runtime
from service.model.engines.masked import masked
from tests.data.hostile import build
from tests.service.model.engines.networks import layer, network, recurrent, wired


def test_timesteps_are_masked_at_both_ends_and_everywhere(tmp_path):
    """Some timesteps have the value that masks, the first, the last, and all of a sequence among them."""
    net = network(tmp_path, layer("Masking", "m", mask_value=0.5), recurrent("LSTM", "a"))
    inputs = engines.sample(net, None, 5)
    hidden = (masked(net, inputs)["input"] == 0.5).all(axis=2)
    assert hidden[0, 0]
    assert hidden[-1, -1]
    assert hidden[1].all()
    assert 0.2 < hidden.mean() < 0.9
    assert not (inputs["input"] == 0.5).any()


def test_ids_are_masked_by_zero(tmp_path):
    """An input of ids is masked by 0; other inputs stay as they are."""
    ids = {**layer("InputLayer", "ids", batch_shape=[None, 4], dtype="int32"), "name": "ids", "inbound_nodes": []}
    words = layer("Embedding", "w", input_dim=9, output_dim=2, mask_zero=True)
    net = wired(
        tmp_path, ids, build.wired(words, ("ids", 0, 0)), build.wired(recurrent("GRU", "g"), ("w", 0, 0)),
        build.wired(recurrent("GRU", "h"), ("x", 0, 0)), outputs=["g", "h"], inputs=("ids", "x"),
    )  # fmt: skip
    inputs = engines.sample(net, None, 3)
    found = masked(net, inputs)
    assert (found["ids"][1] == 0).all()
    assert np.array_equal(found["x"], inputs["x"])


def test_without_masks_there_are_none(tmp_path):
    """A network that masks nothing is not tried again."""
    net = network(tmp_path, recurrent("LSTM", "a"))
    assert masked(net, engines.sample(net, None, 2)) is None


def test_an_engine_that_does_not_mask_is_refused(tmp_path):
    """One that gives the right numbers where nothing is masked, and others where something is, does not serve."""
    net = network(tmp_path, layer("Masking", "m"), recurrent("LSTM", "a"))
    careless = onnx_runtime.make(network(tmp_path, recurrent("LSTM", "a")))
    inputs = engines.sample(net, None, 4)
    assert np.array_equal(careless.forward(inputs).outputs["a"], onnx_runtime.make(net).forward(inputs).outputs["a"])
    assert engines.prove(careless, net, inputs) == "differs from NumPy by more than is allowed"
    assert engines.prove(onnx_runtime.make(net), net, inputs) == ""
