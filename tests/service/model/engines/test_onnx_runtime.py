"""The engine that writes ONNX and has ONNX Runtime compute it: what NumPy gives, for every layer that it takes."""

import subprocess
import sys

import numpy as np
import pytest

from service.errors import InvalidArgumentError
from service.model.engines import choice as engines
from service.model.engines import onnx_runtime
from service.model.proof import difference
from tests.data.hostile import build
from tests.fuzz.targets import called, tensor
from tests.service.model.engines.networks import (
    AFTER,
    BOTH_WAYS,
    LSTM,
    NETWORKS,
    SEQUENCES,
    X,
    item,
    layer,
    merged,
    network,
    operation,
    recurrent,
    same,
    wired,
)


@pytest.mark.parametrize("name", BOTH_WAYS)
def test_both_directions_go_through_onnx_runtime(tmp_path, name):
    """Bidirectional layers give what NumPy gives, their four kinds of state included."""
    net = network(tmp_path, *BOTH_WAYS[name])
    x = {"input": np.random.default_rng(1).normal(size=(3, 6, 3)).astype(np.float32)}
    actual, expected = onnx_runtime.make(net).forward(x), net.forward(x)
    assert actual.final_state.keys() == expected.final_state.keys()
    for ours, theirs in ((actual.outputs, expected.outputs), (actual.final_state, expected.final_state)):
        assert all(difference(ours[key], theirs[key]) <= 1 for key in theirs)


@pytest.mark.parametrize("batch", [1, 5])
@pytest.mark.parametrize("name", AFTER)
def test_what_stands_beside_recurrent_layers_goes_through_onnx_runtime(tmp_path, name, batch):
    """Each layer gives what NumPy gives, after a recurrent layer and before one, from zero and from given states."""
    net = network(tmp_path, LSTM, *AFTER[name], time=6)
    engine = onnx_runtime.make(net)
    x = {"input": np.random.default_rng(1).normal(size=(batch, 6, 3)).astype(np.float32)}
    state = {}
    for _ in range(2):
        expected = net.forward(x, state)
        assert same(engine.forward(x, state), expected)
        state = expected.final_state
    assert engines.prove(engine, net, x) == ""


def test_graphs_go_through_onnx_runtime(tmp_path):
    """Branches, merges, operations, slices, a shared layer, several outputs: all as NumPy computes them."""
    every = (None, None, None)
    net = wired(
        tmp_path,
        build.wired(recurrent("GRU", "g", 2, **SEQUENCES), ("x", 0, 0), ("h", 0, 0)),
        item("last", "x", every, (-1, None, None), every),
        merged("Subtract", "relative", "x", "last"),
        operation("Multiply", "h", "x", 0.5),
        merged("Concatenate", "both", ("g", 1), "relative"),
        *(merged(kind, kind.lower(), "x", "g") for kind in ("Add", "Multiply", "Average", "Maximum", "Minimum")),
        merged("Add", "sum", *(kind.lower() for kind in ("Add", "Multiply", "Average", "Maximum", "Minimum"))),
        operation("Exp", "e", "sum"),
        operation("Divide", "half", "e", "h"),
        operation("Negative", "minus", "half"),
        build.wired(recurrent("LSTM", "l", 2), ("both", 0, 0)),
        item("corner", "x", every, -1, (0, 2, None)),
        operation("Subtract", "y", "l", "corner"),
        outputs=["y", "minus", "corner"],
    )
    engine = onnx_runtime.make(net)
    for batch in (1, 4):
        x = {"x": np.random.default_rng(batch).normal(size=(batch, 3, 2)).astype(np.float32) + 3}
        assert same(engine.forward(x), net.forward(x))
    assert {"g/hidden_state", "g/call_1/hidden_state", "l/cell_state"} <= net.forward(x).final_state.keys()


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "int64", "float16"])
def test_ids_go_through_onnx_runtime(tmp_path, dtype):
    """Ids of any type but half find their row, beside another input; one outside the table is NumPy's error."""
    ids = {**layer("InputLayer", "ids", batch_shape=[None, None], dtype=dtype), "name": "ids", "inbound_nodes": []}
    net = wired(
        tmp_path,
        ids,
        build.wired(layer("Embedding", "words", input_dim=9, output_dim=3), ("ids", 0, 0)),
        build.wired(recurrent("LSTM", "l", 2), ("words", 0, 0)),
        build.wired(recurrent("LSTM", "m", 2), ("x", 0, 0)),
        merged("Concatenate", "y", "l", "m"),
        outputs=["y"],
        inputs=("ids", "x"),
    )
    engine = onnx_runtime.make(net)
    if dtype == "float16":
        assert engine is None
        return
    found = engines.chance(net, 4)
    assert found["ids"].dtype == dtype
    assert same(engine.forward(found), net.forward(found))
    for bad in (-1, 9):
        wrong = {**found, "ids": np.full((4, 3), bad, dtype)}
        for computes in (net, engine):
            with pytest.raises(InvalidArgumentError, match=rf"words \(Embedding\): id {bad} is not within 0:9"):
                computes.forward(wrong)


def test_numbers_that_do_not_fit_are_the_error_that_numpy_gives(tmp_path):
    """What ONNX Runtime cannot compute is told by the layer that it does not fit."""
    net = network(tmp_path, layer("Reshape", "r", target_shape=[-1, 2]), recurrent("LSTM", "a"))
    engine = onnx_runtime.make(net)
    assert same(engine.forward({"input": X[:, :2]}), net.forward({"input": X[:, :2]}))
    with pytest.raises(InvalidArgumentError, match=r"layer r \(Reshape\): the inputs do not fit it"):
        engine.forward({"input": X[:, :3]})


def test_pieces_beside_an_input_without_timesteps(tmp_path):
    """Where one input comes in pieces and another is there whole, each piece is asked with all of the other."""
    fixed = {**layer("InputLayer", "k", batch_shape=[None, 50], dtype="float32"), "name": "k", "inbound_nodes": []}
    net = wired(
        tmp_path,
        fixed,
        build.wired(recurrent("GRU", "g", 4), ("x", 0, 0)),
        merged("Concatenate", "y", "g", "k"),
        outputs=["y"],
        inputs=("x", "k"),
    )
    assert net.streamable
    assert engines.prove(onnx_runtime.make(net), net, engines.chance(net, 1)) == ""


def test_pieces_of_an_output_of_three_axes_that_is_no_sequence(tmp_path):
    """What a network gives once, whatever its shape, is compared with what it gives for the last piece."""
    net = network(tmp_path, recurrent("LSTM", "a", 6), layer("Reshape", "r", target_shape=[1, 6]))
    assert net.streamable
    assert engines.prove(onnx_runtime.make(net), net, engines.chance(net, 1)) == ""


@pytest.mark.parametrize("kind", ["SimpleRNN", "GRU", "LSTM", "Bidirectional"])
def test_states_that_the_graph_hands_on_go_through_onnx_runtime(tmp_path, kind):
    """An encoder's final states start a decoder, and are outputs themselves: as NumPy has it, and never in pieces."""
    count = {"LSTM": 2, "Bidirectional": 4}.get(kind, 1)

    def make(name, **options):
        if kind == "Bidirectional":
            return layer(kind, name, layer=recurrent("LSTM", "i", 4, return_state=True, **options))
        return recurrent(kind, name, 4, return_state=True, **options)

    handed = [("encoder", 1 + i) for i in range(count)]
    net = wired(
        tmp_path,
        build.wired(make("encoder"), ("x", 0, 0)),
        called(make("decoder", **SEQUENCES), tensor("x"), initial_state=[tensor(o, 0, i) for o, i in handed]),
        build.wired(layer("TimeDistributed", "y", layer=layer("Dense", "d", units=2)), ("decoder", 0, 0)),
        outputs=["y", *handed, ("decoder", count)],
    )
    engine = onnx_runtime.make(net)
    assert len(net.states) == count
    state = {}
    for batch in (3, 3):
        x = {"x": np.random.default_rng(0).normal(size=(batch, 3, 2)).astype(np.float32)}
        expected = net.forward(x, state)
        assert same(engine.forward(x, state), expected)
        state = expected.final_state
    assert "starts from states that the graph gives it" in net.not_streamable_reason or kind == "Bidirectional"
    assert not net.streamable


def test_a_light_network_does_not_import_onnx_runtime(tmp_path):
    """Choosing engines for a light network leaves ONNX Runtime alone: its memory is for heavy ones."""
    network(tmp_path, *NETWORKS["simple"], time=1)
    code = (
        "import sys; from service.model import keras_file; from service.model.engines import choice as engines;"
        "engines.HEAVY = 1e9; engines.KINDS['onnxruntime'] = engines.Kind(engines.onnx_runtime.make, (1, 32), 1e9);"
        "engines.select(keras_file.read(sys.argv[1])); print('onnxruntime' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "m.keras")], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"
