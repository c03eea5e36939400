"""Damaged and malformed files by the thousand: the reader gives a network or a typed error, never anything else."""

import copy
import io
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from service.errors import InvalidArgumentError, LimitExceededError, ModelError
from service.model import graph as graphs
from service.model import keras_file
from service.model.limits import ReadLimits
from service.model.weights_file import places
from tests.data.hostile import build

LIMITS = ReadLimits()
QUICK = settings(
    max_examples=250, derandomize=True, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
)
SOAK = settings(QUICK, max_examples=40_000, derandomize=False, database=None)


def tensor(name, call=0, index=0):
    """A tensor as an argument of a call."""
    return {"class_name": "__keras_tensor__", "config": {"keras_history": [name, call, index]}}


def call(document, *arguments, **named):
    """A layer of a functional model, called once."""
    return {
        **document,
        "name": document["config"]["name"],
        "inbound_nodes": [{"args": list(arguments), "kwargs": named}],
    }


def rich():
    """The config of a functional model with most of what the reader knows."""
    layer = build.layer
    cell = layer("LSTMCell", "c", units=2)
    return build.functional(
        call(layer("Masking", "m", mask_value=0.5), tensor("x")),
        call(layer("NotEqual", "ne", module="keras.src.ops.numpy"), tensor("x"), 0.5),
        call(layer("Any", "any", module="keras.src.ops.numpy", axis=-1, keepdims=False), tensor("ne")),
        call(layer("LSTM", "l", units=3, return_sequences=True, return_state=True), tensor("m"), mask=tensor("any")),
        call(layer("GRU", "g", units=3, return_sequences=True), tensor("m"), initial_state=tensor("l", 0, 1)),
        call(layer("Multiply", "mul"), [tensor("l"), tensor("g")]),
        call(
            layer(
                "Bidirectional", "bi", layer=layer("SimpleRNN", "s", units=2, return_sequences=True), merge_mode="ave"
            ),
            tensor("mul"),
        ),
        call(layer("TimeDistributed", "td", layer=layer("Dense", "d", units=2)), tensor("bi")),
        call(layer("Conv1D", "conv", filters=2, kernel_size=[2], padding="same"), tensor("td")),
        call(layer("BatchNormalization", "bn", axis=-1), tensor("conv")),
        call(layer("Normalization", "n", axis=[-1], mean=[1.0, 2.0], variance=[1.0, 2.0]), tensor("bn")),
        call(layer("Concatenate", "cat", axis=-1), [tensor("n"), tensor("l")]),
        call(layer("RNN", "rnn", cell=layer("StackedRNNCells", "st", cells=[cell, cell])), tensor("cat")),
        call(layer("GetItem", "item", module="keras.src.ops.numpy"), tensor("l"), [{"class_name": "__ellipsis__"}, 0]),
        call(layer("Reshape", "r", target_shape=[3, 1]), tensor("item")),
        call(layer("Flatten", "f"), tensor("r")),
        call(layer("Sequential", "inner", module="keras", layers=[layer("Dense", "i", units=2)]), tensor("f")),
        call(layer("Add", "y"), [tensor("rnn"), tensor("inner")]),
    )


def weights_for(config):
    """An H5 file with the weights that a config asks for."""
    wanted = places(graphs.build(config, LIMITS))
    return build.h5(weights={path: np.ones(spec.shape, spec.dtype) for path, spec in wanted.values()})


def attempt(path):
    """Reads a file and, where that works, computes; passes on only what is not a typed error."""
    try:
        network = keras_file.read(path)
    except (ModelError, LimitExceededError):
        return False
    inputs = {
        spec.name: np.ones([2 if i == 0 else extent or 3 for i, extent in enumerate(spec.shape)], spec.dtype)
        for spec in network.inputs
    }
    if sum(array.size for array in inputs.values()) < 10_000:
        try:
            network.check(inputs)
            network.trace(inputs)
        except InvalidArgumentError:
            pass
    return True


JSON = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-3, 9),
        st.sampled_from([2**31, 2**63, -(2**70), 1e308, -0.5, 1 << 24]),
        st.text(max_size=4),
        st.sampled_from(
            ["LSTM", "GRU", "Dense", "Bidirectional", "TimeDistributed", "Embedding", "keras.src.ops.numpy", "x", "l",
             "channels_first", "same", "causal", "float16", "int32", "softmax", "glu", "Flatten", "Permute", "PReLU",
             "__numpy__", "__slice__", "__keras_tensor__", "Functional", "Sequential", "InputLayer", "Add", "Dot"]
        ),
    ),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.sampled_from(["class_name", "config", "name", "layers"]), inner),
    max_leaves=6,
)  # fmt: skip


def spots(value, path=()):
    """The path of each value inside a config."""
    if path:
        yield path
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield from spots(child, (*path, key))


def edited(config, edits):
    """A config with some places replaced, removed, or overwritten by another place."""
    config = copy.deepcopy(config)
    for kind, where, other, value in edits:
        paths = list(spots(config))
        if not paths:
            break
        path, source = paths[where % len(paths)], paths[other % len(paths)]
        place = config
        for key in path[:-1]:
            place = place[key]
        if kind == "remove":
            del place[path[-1]]
        elif kind == "copy":
            found = config
            for key in source:
                found = found[key]
            place[path[-1]] = copy.deepcopy(found)
        else:
            place[path[-1]] = value
    return config


EDITS = st.lists(
    st.tuples(
        st.sampled_from(["replace", "replace", "remove", "copy"]), st.integers(0, 9999), st.integers(0, 9999), JSON
    ),
    min_size=1, max_size=4,
)  # fmt: skip
BYTES = st.lists(
    st.tuples(
        st.floats(0, 1, exclude_max=True),
        st.one_of(st.integers(0, 255), st.sampled_from([0, 1, 127, 128, 255])),
        st.integers(1, 8),
    ),
    min_size=1, max_size=6,
)  # fmt: skip


def damaged(data, edits):
    """Bytes with some runs overwritten."""
    data = bytearray(data)
    for where, value, length in edits:
        start = int(where * len(data))
        data[start : start + length] = bytes([value]) * len(data[start : start + length])
    return bytes(data)


@pytest.fixture(scope="module")
def base():
    """A rich config, and its weights."""
    return rich(), weights_for(rich())


def check_config(directory, base, edits):
    """A config with places changed."""
    build.write(directory / "m.keras", edited(base[0], edits), base[1])
    attempt(directory / "m.keras")


def check_weights(directory, base, edits):
    """An H5 file with bytes changed, in a zip that is whole."""
    build.write(directory / "m.keras", base[0], damaged(base[1], edits))
    attempt(directory / "m.keras")


def check_zip(directory, base, edits):
    """A zip with bytes changed."""
    buffer = io.BytesIO()
    build.write(buffer, base[0], base[1], compress=zipfile.ZIP_DEFLATED)
    (directory / "m.keras").write_bytes(damaged(buffer.getvalue(), edits))
    attempt(directory / "m.keras")


def test_the_rich_file_is_read(base, tmp_path):
    """What the fuzz starts from is itself accepted, and computes."""
    build.write(tmp_path / "m.keras", *base)
    assert attempt(tmp_path / "m.keras")


CHECKS = [(check_config, EDITS), (check_weights, BYTES), (check_zip, BYTES)]


@pytest.mark.parametrize(("check", "edits"), CHECKS, ids=lambda value: getattr(value, "__name__", ""))
def test_fuzzed_files_give_typed_errors(base, tmp_path, check, edits):
    """Some hundred files changed at random are read, or refused with a typed error."""
    QUICK(given(changes=edits)(lambda changes: check(tmp_path, base, changes)))()


@pytest.mark.soak
@pytest.mark.timeout(7200)
@pytest.mark.parametrize(("check", "edits"), CHECKS, ids=lambda value: getattr(value, "__name__", ""))
def test_fuzzed_files_give_typed_errors_for_long(base, tmp_path, check, edits):
    """The same for 120,000 files, never the same ones."""
    SOAK(given(changes=edits)(lambda changes: check(tmp_path, base, changes)))()
