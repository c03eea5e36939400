"""Engines: each gives what the reference gives, keeps the chunk law where it serves, and is chosen by batch size."""

import subprocess
import sys

import numpy as np
import pytest

from service.errors import InvalidArgumentError
from service.model import keras_config, keras_file
from service.model.engines import choice as engines
from service.model.engines import onnx_runtime, scalar
from service.model.engines.choice import OwnEngine
from service.model.limits import ReadLimits
from service.model.proof import Proof, difference
from service.model.results import RawResult, Result
from service.model.weights_file import places
from tests.data.hostile import build
from tests.fuzz.targets import called, tensor

layer = build.layer
X = np.random.default_rng(3).normal(size=(2, 4, 3)).astype(np.float32)


def network(directory, *layers, time=None, features=3):
    """A Sequential of the given layers, its weights random, without Keras."""
    config = build.harmless()
    first = layer("InputLayer", "input", batch_shape=[None, time, features], dtype="float32")
    config["config"]["layers"] = [first, *layers]
    return saved(directory, config)


def saved(directory, config):
    """The network of a config, its weights random, and variances positive."""
    rng, weights = np.random.default_rng(0), {}
    for path, spec in places(keras_config.build(config, ReadLimits())).values():
        value = rng.normal(0, 0.4, spec.shape).astype(spec.dtype)
        weights[path] = np.abs(value) if "variance" in spec.name else value
    build.write(directory / "m.keras", config, build.h5(weights=weights))
    return keras_file.read(directory / "m.keras")


def recurrent(kind, name, units=3, **options):
    """A recurrent layer's config."""
    return layer(kind, name, units=units, **options)


SEQUENCES = {"return_sequences": True}
NETWORKS = {
    "simple": [recurrent("SimpleRNN", "a", 4), layer("Dense", "d", units=1)],
    "simple without bias": [recurrent("SimpleRNN", "a", activation="relu", use_bias=False)],
    "gru": [recurrent("GRU", "a", **SEQUENCES), layer("Dense", "d", units=2, activation="softmax")],
    "gru reset before": [recurrent("GRU", "a", reset_after=False), layer("Dense", "d", units=2, activation="relu")],
    "gru without bias": [recurrent("GRU", "a", use_bias=False, activation="softsign")],
    "lstm": [recurrent("LSTM", "a", **SEQUENCES), layer("Dropout", "o", rate=0.5), recurrent("LSTM", "b", 2)],
    "lstm without bias": [recurrent("LSTM", "a", use_bias=False), layer("Dense", "d", units=2, use_bias=False)],
}
BOTH_WAYS = {
    f"{kind} {mode} {sequences}": [
        layer("Bidirectional", "a", merge_mode=mode, layer=recurrent(kind, "i", return_sequences=sequences)),
        layer("Dense", "d", units=2),
    ]
    for kind, mode, sequences in (
        ("SimpleRNN", "concat", True), ("GRU", "sum", False), ("LSTM", "mul", True), ("LSTM", "concat", False),
    )
}  # fmt: skip
SCALED = [layer("Normalization", "n"), recurrent("GRU", "a"), layer("Dense", "d", units=2)]
NETWORKS |= {
    "scaled": [*SCALED, layer("Rescaling", "s", scale=2.5, offset=-7.0)],
    "scaled by column": [*SCALED, layer("Rescaling", "s", scale=[2.5, -3.0], offset=0.5)],
    "scaled back": [recurrent("LSTM", "a", **SEQUENCES), layer("Normalization", "n", invert=True)],
}
# Between recurrent layers and after them: what ONNX Runtime computes beside.
LSTM = recurrent("LSTM", "a", 4, **SEQUENCES)
AFTER = {
    "convolution": [layer("Conv1D", "c", filters=5, kernel_size=[3], activation="relu"), recurrent("GRU", "e")],
    "convolution same": [layer("Conv1D", "c", filters=4, kernel_size=[4], padding="same", groups=2)],
    "convolution with strides": [layer("Conv1D", "c", filters=4, kernel_size=[3], padding="same", strides=[2])],
    "convolution causal": [layer("Conv1D", "c", filters=4, kernel_size=[2], padding="causal", dilation_rate=[2])],
    "pooling": [layer("MaxPooling1D", "p", pool_size=[2]), recurrent("LSTM", "e")],
    "pooling same": [layer("MaxPooling1D", "p", pool_size=[4], strides=[1], padding="same")],
    "means": [layer("AveragePooling1D", "p", pool_size=[4], strides=[3], padding="same")],
    "mean of all": [layer("GlobalAveragePooling1D", "p")],
    "largest of all": [layer("GlobalMaxPooling1D", "p", keepdims=True)],
    "flattened": [layer("Flatten", "f"), layer("Dense", "d", units=2, activation="silu")],
    "reshaped": [layer("Reshape", "r", target_shape=[3, -1]), recurrent("LSTM", "e")],
    "permuted": [layer("Permute", "p", dims=[2, 1]), recurrent("GRU", "e", **SEQUENCES)],
    "autoencoder": [
        recurrent("LSTM", "b", 2),
        layer("RepeatVector", "r", n=6),
        recurrent("LSTM", "e", **SEQUENCES),
        layer("TimeDistributed", "t", layer=layer("Dense", "i", units=3)),
        layer("TimeDistributed", "u", layer=layer("Softmax", "i", axis=-1)),
        layer("TimeDistributed", "v", layer=layer("Dropout", "i", rate=0.5)),
    ],
    "normalized": [
        layer("BatchNormalization", "n"),
        recurrent("GRU", "e", **SEQUENCES),
        layer("LayerNormalization", "o", epsilon=0.01),
    ],
    "activations": [
        layer("LeakyReLU", "l", negative_slope=0.1),
        layer("ELU", "e", alpha=0.5),
        layer("Softmax", "s"),
        layer("ReLU", "r"),
        *(layer("Activation", f, activation=f) for f in ("leaky_relu", "swish", "selu", "elu", "exponential")),
    ],
    "both ways, mean": [layer("Bidirectional", "b", merge_mode="ave", layer=recurrent("GRU", "i", **SEQUENCES))],
}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(
    ("make", "batch"),
    [(scalar.make, 1), (onnx_runtime.make, 1), (onnx_runtime.make, 4)],
    ids=["scalar", "onnxruntime", "onnxruntime, batch of 4"],
)
def test_an_engine_gives_what_the_reference_gives(tmp_path, name, make, batch):
    """Outputs and final states equal NumPy's within the bound, from zero and from given states."""
    net = network(tmp_path, *NETWORKS[name])
    engine = make(net)
    x = {"input": np.random.default_rng(1).normal(size=(batch, 6, 3)).astype(np.float32)}
    state = {}
    for _ in range(2):
        actual, expected = engine.forward(x, state), net.forward(x, state)
        for ours, theirs in ((actual.outputs, expected.outputs), (actual.final_state, expected.final_state)):
            assert ours.keys() == theirs.keys()
            assert all(difference(ours[key], theirs[key]) <= 1 for key in theirs)
        state = expected.final_state


@pytest.mark.parametrize("name", BOTH_WAYS)
def test_both_directions_go_through_onnx_runtime(tmp_path, name):
    """Bidirectional layers give what NumPy gives, their four kinds of state included."""
    net = network(tmp_path, *BOTH_WAYS[name])
    x = {"input": np.random.default_rng(1).normal(size=(3, 6, 3)).astype(np.float32)}
    actual, expected = onnx_runtime.make(net).forward(x), net.forward(x)
    assert actual.final_state.keys() == expected.final_state.keys()
    for ours, theirs in ((actual.outputs, expected.outputs), (actual.final_state, expected.final_state)):
        assert all(difference(ours[key], theirs[key]) <= 1 for key in theirs)


def same(actual, expected):
    """Whether two results are of the same names, shapes and types, and equal within the bound."""
    pairs = (actual.outputs, expected.outputs), (actual.final_state, expected.final_state)
    return all(a.keys() == b.keys() and all(difference(a[key], b[key]) <= 1 for key in b) for a, b in pairs)


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


def wired(directory, *layers, outputs, inputs=("x",)):
    """A functional model, its weights random; an output is a layer's first, or the one of a number."""
    config = build.functional(
        *layers,
        inputs=[[name, 0, 0] for name in inputs],
        outputs=[[o, 0, 0] if isinstance(o, str) else [o[0], 0, o[1]] for o in outputs],
    )
    return saved(directory, config)


def item(name, below, *parts):
    """`below[parts]` in a functional model."""
    key = [{"class_name": "__slice__", "config": dict(zip(("start", "stop", "step"), part, strict=True))}
           if isinstance(part, tuple) else part for part in parts]  # fmt: skip
    return operation("GetItem", name, below, key)


def operation(kind, name, *arguments):
    """An operation on tensors, by name, and what else it takes."""
    given = [tensor(a) if isinstance(a, str) else a for a in arguments]
    return called(layer(kind, name, module="keras.src.ops.numpy"), *given)


def merged(kind, name, *below):
    """A layer of several inputs: names, or the call of a layer of which there are several."""
    return called(layer(kind, name), [tensor(*b) if isinstance(b, tuple) else tensor(b) for b in below])


def test_what_makes_much_is_tried_with_few(tmp_path):
    """Engines are tried with as many sequences as make no more than a call should, and never with fewer than two."""
    for features, sequences in ((5, 32), (50, 3), (200, 2)):
        found = engines.sample(saved(tmp_path, build.multiplying(features)), None, engines.MANY)
        assert found["x"].shape == (sequences, features)


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


@pytest.mark.parametrize("name", NETWORKS)
def test_the_scalar_engine_keeps_the_chunk_law(tmp_path, name):
    """Fed timestep by timestep, the scalar engine gives the bits of one call."""
    net = network(tmp_path, *NETWORKS[name])
    x = {"input": np.random.default_rng(1).normal(size=(1, 9, 3)).astype(np.float32)}
    assert engines.prove(scalar.make(net), net, x) == ""


@pytest.mark.parametrize("name", NETWORKS)
def test_from_bytes_to_bytes_the_scalar_engine_gives_the_same_bits(tmp_path, name):
    """One sequence of any length as raw bytes gives shape and bytes of what it gives as an array."""
    engine = scalar.make(network(tmp_path, *NETWORKS[name]))
    for timesteps in (1, 2, 17):
        x = np.random.default_rng(timesteps).normal(size=(1, timesteps, 3)).astype(np.float32)
        (expected,) = engine.forward({"input": x}).outputs.values()
        assert engine.forward_raw(x.tobytes(), x.shape) == RawResult(expected.shape, expected.tobytes())


@pytest.mark.parametrize(
    ("raw", "shape"),
    [
        (np.ones((1, 4, 3), "<f4").tobytes(), shape)
        for shape in (
            [],
            [12],
            [4, 3],
            [2, 2, 3],
            [1, 3, 3],
            [1, 3, 4],
            [1, -4, -3],
            [1, 0, 3],
            [1, 4, 3, 1],
            [0, 4, 3],
        )
    ]
    + [(b"", (1, 0, 3)), (b"", (0, 0, 3)), (b"123", (1, 4, 3))]
    + [(np.full((1, 4, 3), bad, "<f4").tobytes(), (1, 4, 3)) for bad in (np.nan, np.inf, -np.inf)],
)
def test_bytes_that_are_not_a_sequence_are_left_to_others(tmp_path, raw, shape):
    """Another shape or length, nothing at all, or numbers that are not finite: the scalar engine declines."""
    assert scalar.make(network(tmp_path, *NETWORKS["simple"])).forward_raw(raw, shape) is None


@pytest.mark.parametrize("engine", ["numpy", "onnxruntime"])
def test_from_bytes_to_bytes_any_engine_gives_the_same_bits(tmp_path, engine):
    """One sequence as raw bytes gives shape and bytes of what it gives as an array, and only where it is one."""
    choice = engines.assemble(network(tmp_path, *NETWORKS["lstm"]), None, engine, engine)
    x = np.random.default_rng(0).normal(size=(1, 7, 3)).astype(np.float32)
    expected = choice.forward({"input": x}).outputs["b"]
    assert choice.forward_raw(x.tobytes(), x.shape) == RawResult(expected.shape, expected.tobytes())
    for wrong in (x[0], x[:, :0], x[:, :, :2], np.vstack([x, x]), np.full_like(x, np.nan), np.full_like(x, np.inf)):
        assert choice.forward_raw(wrong.tobytes(), wrong.shape) is None
    assert choice.forward_raw(x.tobytes(), (1, 3, 7)) is None


def test_an_overflow_is_infinity_as_in_single_precision(tmp_path):
    """Where the state outgrows single precision, the scalar engine answers what NumPy does."""
    net = network(tmp_path, recurrent("SimpleRNN", "a", activation="relu"), layer("Dense", "d", units=2))
    net = net.with_weights({"a/recurrent_kernel": np.full((3, 3), 2, np.float32)})
    engine = scalar.make(net)
    x = {"input": np.full((1, 4, 3), 3e38, np.float32)}
    actual, expected = engine.forward(x), net.forward(x)
    assert not np.isfinite(expected.outputs["d"]).all()
    assert np.array_equal(actual.outputs["d"], expected.outputs["d"], equal_nan=True)
    found = engine.forward_raw(x["input"].tobytes(), (1, 4, 3))
    assert np.array_equal(np.frombuffer(found.raw, "<f4"), expected.outputs["d"][0], equal_nan=True)


def test_what_an_engine_does_not_cover_is_left_to_numpy(tmp_path):
    """Masks, other directions, other options and types: both engines decline, and NumPy serves."""
    for layers in (
        [layer("Masking", "m"), recurrent("LSTM", "a")],
        [recurrent("LSTM", "a", go_backwards=True, return_sequences=True)],
        [recurrent("GRU", "a", activation="mish")],
        [recurrent("LSTM", "a", dtype="float64")],
        [recurrent("LSTM", "a", **SEQUENCES), layer("LayerNormalization", "n", scale=False)],
        [recurrent("LSTM", "a", **SEQUENCES), layer("MaxPooling1D", "p")],  # of too few timesteps it would make nothing
        [layer("Conv1D", "c", filters=2, kernel_size=[1], padding="same", strides=[2]), recurrent("LSTM", "a")],
        [layer("TimeDistributed", "t", layer=layer("Flatten", "f")), recurrent("LSTM", "a")],
        [layer("RNN", "a", cell=layer("StackedRNNCells", "s", cells=[recurrent("GRUCell", "b")]))],
    ):
        net = network(tmp_path, *layers)
        assert scalar.make(net) is None
        assert onnx_runtime.make(net) is None
        assert engines.select(net).name == "numpy"


def test_a_light_network_does_not_import_onnx_runtime(tmp_path):
    """Choosing engines for a light network leaves ONNX Runtime alone: its memory is for heavy ones."""
    network(tmp_path, *NETWORKS["simple"], time=1)
    code = (
        "import sys; from service.model import engines, keras_file;"
        "engines.HEAVY = 1e9; engines.KINDS['onnxruntime'] = engines.Kind(engines.onnx_runtime.make, (1, 32), 1e9);"
        "engines.select(keras_file.read(sys.argv[1])); print('onnxruntime' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "m.keras")], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"


def test_a_fixed_engine_serves_where_it_can(tmp_path):
    """A name fixes the engine; one that does not exist, or cannot compute the network, is an error."""
    net = network(tmp_path, *NETWORKS["gru"])
    assert engines.select(net, fixed="numpy").name == "numpy"
    assert engines.select(net, fixed="scalar").name == "scalar (batch 1), numpy"
    with pytest.raises(InvalidArgumentError, match="no engine"):
        engines.select(net, fixed="abacus")
    masked = network(tmp_path, layer("Masking", "m"), recurrent("LSTM", "a"))
    with pytest.raises(InvalidArgumentError, match="cannot compute"):
        engines.select(masked, fixed="onnxruntime")


def test_the_proof_decides(tmp_path):
    """The inputs of the proof are what engines are compared on, at both batch sizes."""
    net = network(tmp_path, *NETWORKS["lstm"])
    x = {"input": np.random.default_rng(1).normal(size=(3, 5, 3)).astype(np.float32)}
    result = net.forward(x)
    proof = Proof(x, result.outputs, result.final_state, "unroll")
    assert engines.sample(net, proof, 1)["input"].tobytes() == x["input"][:1].tobytes()
    assert engines.sample(net, proof, 32)["input"].shape == (32, 5, 3)
    reference = OwnEngine(net)
    for batch in (1, 32):
        assert engines.prove(reference, net, engines.sample(net, proof, batch), proof) == ""
    wrong = Proof(x, {name: value + 1 for name, value in result.outputs.items()}, {}, "unroll")
    assert "differs from the proof" in engines.prove(reference, net, engines.sample(net, wrong, 1), wrong)
    choice = engines.select(net, proof)
    for batch in (1, 2):
        given = engines.sample(net, None, batch)
        (name,) = net.forward(given).outputs
        assert difference(choice.forward(given).outputs[name], net.forward(given).outputs[name]) <= 1


@pytest.mark.parametrize(
    ("declared", "kernel", "timed"), [(None, 3, 20), (None, 30, 100), (None, 5000, 1000), (250, 3, 250)]
)
def test_inputs_of_chance_are_long_enough(tmp_path, declared, kernel, timed):
    """Engines are chosen on as many timesteps as the file has, or a convolution needs; where none do, NumPy serves."""
    layers = [layer("Conv1D", "c", filters=4, kernel_size=[kernel]), recurrent("LSTM", "a", 4)]
    net = network(tmp_path, *layers, time=declared)
    assert engines.sample(net, None, 2)["input"].shape == (2, timed, 3)
    choice = engines.select(net, fixed="numpy")
    assert choice.name == "numpy"
    assert bool(choice.timings) == (kernel < timed)


def test_a_long_sequence_is_timed_by_its_beginning(tmp_path):
    """Of a file made for many timesteps some are enough to choose engines by, where they may come in pieces."""
    net = network(tmp_path, *NETWORKS["lstm"], time=5000)
    assert engines.sample(net, None, 2)["input"].shape == (2, engines.MOST_TIMESTEPS, 3)


def test_an_engine_that_cannot_be_made_does_not_keep_a_version_from_serving(tmp_path, monkeypatch, caplog):
    """Where making an engine fails the others serve, and the failure is said beside the timings."""

    def make(network):
        raise AttributeError(network.name)

    monkeypatch.setitem(engines.KINDS, "broken", engines.Kind(make, (1, 32)))
    net = network(tmp_path, *NETWORKS["simple"])
    choice = engines.select(net)
    x = {"input": np.ones((2, 3, 3), np.float32)}
    assert difference(choice.forward(x).outputs["d"], net.forward(x).outputs["d"]) <= 1
    assert [t.refused for t in choice.timings if t.engine == "broken"] == ["failed: AttributeError"] * 2
    assert "Traceback" in caplog.text
    assert "AttributeError" in caplog.text


def test_another_engine_has_to_be_clearly_quicker(tmp_path):
    """An engine serves in place of the one that serves otherwise only if it takes less than a share of its time."""
    net = network(tmp_path, *NETWORKS["lstm"])
    numpy, onnx = both = OwnEngine(net), onnx_runtime.make(net)
    for taken, gain, instead_of_numpy, instead_of_onnx in (
        ((100, 50), 0.9, onnx, onnx),
        ((100, 95), 0.9, numpy, onnx),
        ((95, 100), 0.9, numpy, onnx),
        ((80, 100), 0.9, numpy, numpy),
        ((80, 100), 0.7, numpy, onnx),
        ((50, 100), 0.7, numpy, numpy),
    ):
        assert engines.fastest(both, taken, numpy, gain) is instead_of_numpy
        assert engines.fastest(both, taken, onnx, gain) is instead_of_onnx


def test_engines_chosen_elsewhere_are_put_together_by_name(tmp_path):
    """The named engines compute, proven anew at both batch sizes; one that cannot compute the network is an error."""
    net = network(tmp_path, *NETWORKS["gru"])
    assert engines.assemble(net, None, "scalar", "onnxruntime").name == "scalar (batch 1), onnxruntime"
    assert engines.assemble(net, None, "numpy", "numpy").name == "numpy"
    for name in ("abacus", "onnxruntime"):
        masked = network(tmp_path, layer("Masking", "m"), recurrent("LSTM", "a"))
        with pytest.raises(InvalidArgumentError, match="cannot compute"):
            engines.assemble(masked, None, "numpy", name)


class Wrong:
    """An engine that is wrong in one way."""

    name = "wrong"

    def __init__(self, net, way):
        self.net, self.way = net, way

    def forward(self, inputs, initial_state=None):
        result = self.net.forward(inputs, None if self.way == "forgets" else initial_state)
        if self.way == "fails":
            raise RuntimeError
        shift = {"off": 1e-3, "bits": 1e-9 * inputs["input"].shape[1]}.get(self.way, 0.0)
        return Result(
            {k: (v.astype(np.float64) * (1 + shift * 60)).astype(np.float32) for k, v in result.outputs.items()},
            result.final_state,
        )


@pytest.mark.parametrize(
    ("way", "reason"),
    [
        ("off", "more than is allowed"),
        ("forgets", "more than is allowed"),
        ("fails", "RuntimeError"),
        ("bits", "other bits"),
    ],
)
def test_a_wrong_engine_does_not_serve(tmp_path, way, reason):
    """An engine that is off, forgets states, fails, or gives other bits for pieces is refused, and the reason said."""
    net = network(tmp_path, *NETWORKS["gru"])
    x = {"input": np.random.default_rng(1).normal(size=(1, 9, 3)).astype(np.float32)}
    assert engines.prove(OwnEngine(net), net, x) == ""
    assert reason in engines.prove(Wrong(net, way), net, x)
