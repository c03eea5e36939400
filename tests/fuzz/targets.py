"""What is fuzzed of the reader: configs, weights, zips, proofs; where each begins, how it changes, what must hold."""

import copy
import functools
import io
import json
import math
import random
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from service.config import DEFAULT_LIMITS
from service.errors import InvalidArgumentError, LimitExceededError, ModelError
from service.model import cost, keras_config, keras_file
from service.model import proof as proofs
from service.model.activations import ACTIVATIONS
from service.model.layers import LAYERS
from service.model.layers.cells import CELLS
from service.model.layers.operations import AXIS, LIKE, OPERATIONS, UNARY
from service.model.limits import ReadLimits
from service.model.network import Network
from service.model.results import Trace
from service.model.tensors import INPUT_DTYPES, POLICIES, STRING, Array, TensorSpec
from service.model.weights_file import places
from tests.data.hostile import build
from tests.fuzz import h5, old_files

LIMITS = ReadLimits()
SECONDS = 3.0  # of computing for one file at most; following the coverage takes much of it
MESSAGE = 500  # characters of an error at most
TIMESTEPS = 4  # of what is computed, where they are open
ELEMENTS = 10_000  # of inputs up to which a network is tried
FITTING = 100_000  # weights up to which a config gets those it asks for
TRIES = 100  # to make a layer that is read
SHAPES = ([None, 3, 2], [None, None, 2], [None, 3])  # of inputs


class BrokenError(AssertionError):
    """A file that shows a fault of the reader."""


def tensor(name: str, call: int = 0, index: int = 0) -> Any:
    """A tensor as an argument of a call."""
    return build.tensor(name, call, index)


def called(document: Any, *arguments: Any, **named: Any) -> Any:
    """A layer of a functional model, called once."""
    return {
        **document,
        "name": document["config"]["name"],
        "inbound_nodes": [{"args": list(arguments), "kwargs": named}],
    }


def rich() -> Any:
    """The config of a functional model with most of what the reader knows."""
    layer = build.layer
    cell = layer("LSTMCell", "c", units=2)
    return build.functional(
        called(layer("Masking", "m", mask_value=0.5), tensor("x")),
        called(layer("NotEqual", "ne", module="keras.src.ops.numpy"), tensor("x"), 0.5),
        called(layer("Any", "any", module="keras.src.ops.numpy", axis=-1, keepdims=False), tensor("ne")),
        called(layer("LSTM", "l", units=3, return_sequences=True, return_state=True), tensor("m"), mask=tensor("any")),
        called(layer("GRU", "g", units=3, return_sequences=True), tensor("m"), initial_state=tensor("l", 0, 1)),
        called(layer("Multiply", "mul"), [tensor("l"), tensor("g")]),
        called(
            layer(
                "Bidirectional", "bi", layer=layer("SimpleRNN", "s", units=2, return_sequences=True), merge_mode="ave"
            ),
            tensor("mul"),
        ),
        called(layer("TimeDistributed", "td", layer=layer("Dense", "d", units=2)), tensor("bi")),
        called(layer("Conv1D", "conv", filters=2, kernel_size=[2], padding="same"), tensor("td")),
        called(layer("BatchNormalization", "bn", axis=-1), tensor("conv")),
        called(layer("Normalization", "n", axis=[-1], mean=[1.0, 2.0], variance=[1.0, 2.0]), tensor("bn")),
        called(layer("Concatenate", "cat", axis=-1), [tensor("n"), tensor("l")]),
        called(layer("RNN", "rnn", cell=layer("StackedRNNCells", "st", cells=[cell, cell])), tensor("cat")),
        called(
            layer("GetItem", "item", module="keras.src.ops.numpy"), tensor("l"), [{"class_name": "__ellipsis__"}, 0]
        ),
        called(layer("Reshape", "r", target_shape=[3, 1]), tensor("item")),
        called(layer("Flatten", "f"), tensor("r")),
        called(layer("Sequential", "inner", module="keras", layers=[layer("Dense", "i", units=2)]), tensor("f")),
        called(layer("Add", "y"), [tensor("rnn"), tensor("inner")]),
    )


def fitting_weights(config: Any) -> bytes:
    """An H5 file with the weights that a config asks for. Raises what building it raises."""
    wanted = places(keras_config.build(config, LIMITS))
    if weighs(config) > FITTING:
        return build.h5()
    return _weights(tuple(sorted((path, spec.shape, spec.dtype.str) for path, spec in wanted.values())))


@functools.lru_cache(4096)
def _weights(wanted: tuple[tuple[str, tuple[int, ...], str], ...]) -> bytes:
    rng = np.random.default_rng(0)
    return build.h5(weights={path: rng.normal(size=shape).astype(dtype) for path, shape, dtype in wanted})


def attempt(path: Path, read: Callable[[Path], None] | None = None) -> bool:
    """Reads a file (a model, unless `read` says otherwise) and tries it; gives whether that worked.

    Passes on whatever is not a typed error. Raises BrokenError where an error is not fit for a log, a file costs too
    much, or a network breaks a law.
    """
    begin = time.process_time()
    try:
        (read or _read_model)(path)
        taken = True
    except (ModelError, LimitExceededError) as error:
        if not error.message.isprintable() or len(error.message) > MESSAGE:
            raise BrokenError(f"not fit for a log: {error.message!r}") from error
        taken = False
    spent = time.process_time() - begin
    if spent > SECONDS:
        raise BrokenError(f"{spent:.1f} s for one file")
    return taken


def _read_proof(path: Path) -> None:
    """Tries a proof as a server does, with the harmless network."""
    proofs.replay(_harmless_network(), proofs.load(path))


@functools.cache
def _harmless_network() -> Network:
    with tempfile.TemporaryDirectory() as folder:
        build.write(Path(folder, "model.keras"))
        return keras_file.read(Path(folder, "model.keras"))


def _read_model(path: Path) -> None:
    """Tries a network as a server does."""
    network = keras_file.read(path)
    extents = {spec.name: [TIMESTEPS if e is None else e for e in spec.shape[1:]] for spec in network.inputs}
    if sum(map(math.prod, extents.values())) > ELEMENTS:
        return
    rng = np.random.default_rng(0)
    inputs = {
        spec.name: (
            rng.normal(size=(2, *extents[spec.name]))
            if spec.dtype.kind == "f"
            else np.full((2, *extents[spec.name]), "a b" if spec.dtype == STRING else 1)
        ).astype(spec.dtype)
        for spec in network.inputs
    }
    with suppress(InvalidArgumentError):  # whether that is right, `check_demand` says
        if 2 * network.cost(network.shapes(inputs), traced=True) > DEFAULT_LIMITS.computed:  # a server refuses it
            return
    with np.errstate(all="ignore"):  # weights of chance overflow
        try:
            network.check(inputs)
            whole = network.forward(inputs)
            traced = network.trace(inputs)
            if not all(np.array_equal(whole.outputs[n], traced.outputs[n], equal_nan=True) for n in whole.outputs):
                raise BrokenError("a trace has other outputs")
            check_demand(network, inputs, traced)
            for spec in (*network.outputs, *network.states):
                _check_declared(spec, (whole.outputs | whole.final_state)[spec.name])
            if not network.streamable:
                return
            state: dict[str, Any] = {}
            for piece in (slice(0, 1), slice(1, None)):
                if all(array[:, piece].size for array in inputs.values()):
                    part = {name: array[:, piece] for name, array in inputs.items()}
                    state = network.forward(part, state).final_state
        except InvalidArgumentError:  # such as an Embedding asked for a word that it has not; it may be so of a piece
            return
    for name, expected in whole.final_state.items():
        if not np.array_equal(state[name], expected, equal_nan=True):
            raise BrokenError(f"pieces give another {name}")


def check_demand(network: Network, inputs: dict[str, Array], traced: Trace) -> None:
    """Whether what a call computes was known before it. Raises BrokenError."""
    shapes = {name: array.shape[1:] for name, array in inputs.items()}
    try:
        values = cost.known(network.graph, shapes)
    except InvalidArgumentError as error:
        raise BrokenError(f"it would refuse what it computes: {error.message}") from error
    for node, layer in zip(network.graph.nodes, traced.layers, strict=True):
        known, shape = values[node.outputs[0]].shape, layer.tensors["output"].shape
        if known[1:] != shape[1:]:
            raise BrokenError(f"{node.name} gives {shape}, where {known} was to come")
    kept = sum(array[0].size for layer in traced.layers for array in layer.tensors.values())
    if kept > network.cost(network.shapes(inputs), traced=True):
        raise BrokenError("a trace keeps more than it was to keep")


def _check_declared(spec: TensorSpec, value: Array) -> None:
    fits = len(value.shape) == len(spec.shape) and all(
        e in (None, n) for e, n in zip(spec.shape, value.shape, strict=True)
    )
    if not fits or value.dtype != spec.dtype:
        raise BrokenError(f"{value.dtype} of {value.shape} where {spec} is declared")


# What places of a config are overwritten with: values at the edge of sense, and words that mean something.
NUMBERS = (0, 1, 2, 3, -1, 9, 2**31, 2**63, -(2**70), 1 << 24, 1e308, -0.5, 0.5, 1e-3)
WORDS = (
    *LAYERS, *CELLS, *OPERATIONS, *ACTIVATIONS, *POLICIES, *INPUT_DTYPES, "Functional", "Sequential", "InputLayer",
    "__keras_tensor__", "__numpy__", "__slice__", "__ellipsis__", "__tuple__", "DTypePolicy", "keras.layers", "keras",
    "keras.src.ops.numpy", "channels_last", "channels_first", "same", "valid", "causal", "sum", "mul", "concat", "ave",
    "x", "y", "l", "os", "system", "\n", "\x1b[2J", "é", "",
)  # fmt: skip
INNER = (
    build.layer("SimpleRNN", "s", units=2, return_sequences=True),
    build.layer("Dense", "d", units=2),
    build.layer("GRUCell", "g", units=2),
    build.layer("StackedRNNCells", "st", cells=[build.layer("LSTMCell", "c", units=2)] * 2),
)
INDICES: tuple[Any, ...] = (
    {"class_name": "__ellipsis__", "config": {}}, [{"class_name": "__ellipsis__", "config": {}}, -1],
    *([{"class_name": "__slice__", "config": dict.fromkeys(("start", "stop", "step"))}, index] for index in (0, -1, {
        "class_name": "__slice__", "config": {"start": 1, "stop": None, "step": -1}})),
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, False, *NUMBERS, *WORDS, [], {}, [1], [2], [-1], [1, 2], [3, 2], [2, 1], [None, 3, 2], [0, 1], [[0, 1]],
    ["a", "b"],
    *INNER,
)  # fmt: skip


def spots(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of each value inside a config."""
    if path:
        yield path
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield from spots(child, (*path, key))


def at(config: Any, path: tuple[Any, ...]) -> Any:
    """The value at a path."""
    for key in path:
        config = config[key]
    return config


def edited(config: Any, edits: list[tuple[str, int, int, Any]]) -> Any:
    """A config with some places replaced, removed, or overwritten by another place."""
    config = copy.deepcopy(config)
    for kind, where, other, value in edits:
        paths = list(spots(config))
        if not paths:
            break
        path, source = paths[where % len(paths)], paths[other % len(paths)]
        place = at(config, path[:-1])
        if kind == "remove":
            del place[path[-1]]
        elif kind == "copy":
            place[path[-1]] = copy.deepcopy(at(config, source))
        else:
            place[path[-1]] = value
    return config


def layer_of_chance(rng: random.Random) -> Any:
    """A layer of a class that is read, with options that its rules accept."""
    class_name = rng.choice(sorted(LAYERS))
    config = {}
    for name, option in LAYERS[class_name].OPTIONS.items():
        for _ in range(TRIES):
            value = rng.choice(VALUES)
            try:
                option.parse(value)
            except (ValueError, TypeError, OverflowError):
                continue
            config[name] = value
            break
    kept = {name: value for name, value in config.items() if rng.random() < 0.7}
    return build.layer(class_name, f"z{rng.randrange(100)}", **kept)


# Operations on whole arrays: options and arguments that they take, of a tensor of three axes.
ARRAY: dict[str, Callable[[Any, random.Random], tuple[dict[str, Any], tuple[Any, ...]]]] = {
    **dict.fromkeys(
        ("Cast", "ConvertToTensor"), lambda x, rng: ({"dtype": rng.choice(("float16", "int32", "bool"))}, (x,))
    ),
    "Sum": lambda x, rng: ({"axis": rng.choice(([1], [-1], [1, 2])), "keepdims": True}, (x,)),
    "Mean": lambda x, rng: ({"axis": rng.choice(([1], [-1], [1, 2]))}, (x,)),
    **dict.fromkeys(("Softmax", "Cumsum"), lambda x, rng: ({"axis": rng.choice((1, 2, -1))}, (x,))),
    "Reshape": lambda x, rng: ({"newshape": rng.choice(([-1, 6], [-1, 2, 3]))}, (x,)),
    "Transpose": lambda x, _: ({"axes": [0, 2, 1]}, (x,)),
    "Stack": lambda x, rng: ({"axis": rng.choice((1, -1))}, ([x, tensor("x")],)),
    "Take": lambda x, rng: ({"axis": rng.choice((1, -1))}, (x, rng.choice((0, -1, [0, 1], [[1, 0]])))),
    "Clip": lambda x, _: ({"x_min": -0.5, "x_max": 1}, (x,)),
    "Matmul": lambda x, _: ({}, (x, tensor("x"))),
    "Einsum": lambda x, rng: ({"subscripts": rng.choice(("bij,bkj->bik", "bij,bkl->bjl"))}, (x, tensor("x"))),
    "Where": lambda x, rng: ({}, (x, x, rng.choice((x, 0, 0.5)))),
    "TakeAlongAxis": lambda x, rng: ({"axis": rng.choice((1, -1))}, (x, tensor("x"))),
}


def operation_of_chance(rng: random.Random, below: str) -> Any:
    """An operation, called on a tensor, and where it wants that on another, a number or an index."""
    kind, one, options = rng.choice(OPERATIONS), tensor(below), {}
    arguments: tuple[Any, ...] = (one,)
    if kind in AXIS:
        options = {} if kind == "GetItem" else {"axis": rng.choice((1, 2, -1))}
        arguments = {"GetItem": (one, rng.choice(INDICES)), "Concatenate": ([one, tensor("x")],)}.get(kind, arguments)
    elif kind in ARRAY:
        options, arguments = ARRAY[kind](one, rng)
    elif kind in LIKE:
        options = rng.choice(({}, {"dtype": rng.choice(("bool", "float16", "int32"))}))
    elif kind not in UNARY:
        arguments = rng.choice(((one, one), (one, tensor("x")), (one, rng.choice(NUMBERS)), (0.5, one)))
    module = "keras.src.ops.nn" if kind in {"Relu", "Sigmoid", "Softmax"} else "keras.src.ops.numpy"
    return called(build.layer(kind, f"z{rng.randrange(100)}", module=module, **options), *arguments)


def mutated_config(data: bytes, most: int, seed: int) -> bytes:
    """A config changed as a config: values for values, layers added, options set, places copied or removed."""
    rng = random.Random(seed)
    try:
        config = json.loads(data)
        for _ in range(rng.choice((1, 1, 2, 4))):
            config = _step(config, rng)
        found = json.dumps(config).encode()
    except (ValueError, RecursionError):  # no JSON, or too deep to be changed
        found = json.dumps(_step(rng.choice((rich, build.harmless))(), rng)).encode()
    return found if len(found) <= most else data


def _step(config: Any, rng: random.Random) -> Any:
    lists = [path for path in spots(config) if path[-1] == "layers" and isinstance(at(config, path), list)]
    if lists and rng.random() < 0.3:
        config = copy.deepcopy(config)
        layers = at(config, rng.choice(lists))
        fresh = layer_of_chance(rng)
        if (
            layers and isinstance(layers[-1], dict) and "inbound_nodes" in layers[-1]
        ):  # a functional model: put it on top
            below = str(layers[-1].get("name"))
            fresh = called(fresh, tensor(below)) if rng.random() < 0.6 else operation_of_chance(rng, below)
            model = at(config, ("config",)) if isinstance(config, dict) else None
            if isinstance(model, dict):
                model["output_layers"] = [[fresh["name"], 0, 0]]
        layers.insert(len(layers) if rng.random() < 0.7 else rng.randrange(len(layers) + 1), fresh)
        return config
    kind = rng.choice(("replace", "replace", "remove", "copy", "option"))
    if kind == "option":
        documents = [path for path in spots(config) if path[-1] == "config" and isinstance(at(config, path), dict)]
        if documents:
            path = rng.choice(documents)
            class_name = at(config, path[:-1]).get("class_name")
            options = sorted(LAYERS[class_name].OPTIONS) if isinstance(class_name, str) and class_name in LAYERS else []
            if options:
                config = copy.deepcopy(config)
                at(config, path)[rng.choice(options)] = rng.choice(VALUES)
                return config
        kind = "replace"
    return edited(config, [(kind, rng.randrange(1 << 16), rng.randrange(1 << 16), rng.choice(VALUES))])


def one_of_each() -> list[Any]:
    """Models that are read, with one layer or operation each, of every class as far as chance finds it, and weights."""
    rng, found = random.Random(0), {}
    for _ in range(TRIES * len(LAYERS)):
        layer, operation = layer_of_chance(rng), operation_of_chance(rng, "x")
        alone = build.harmless()
        alone["config"]["layers"] = [
            build.layer("InputLayer", "x", batch_shape=rng.choice(SHAPES), dtype=rng.choice(sorted(INPUT_DTYPES))),
            layer,
        ]
        merging = build.functional(called(layer, [tensor("x"), tensor("x")]), outputs=[[layer["config"]["name"], 0, 0]])
        between = build.functional(operation, outputs=[[operation["name"], 0, 0]])
        for last, config in ((layer, alone), (layer, merging), (operation, between)):
            key = last["module"], last["class_name"]
            if key not in found and fits(config):
                found[key] = config
    for _ in range(TRIES * len(LAYERS)):  # what takes rows of positions, or frames, at each timestep
        layer = layer_of_chance(rng)
        rows = build.harmless()
        rows["config"]["layers"] = [build.layer("InputLayer", "x", batch_shape=[None, None, 3, 2]), layer]
        key = layer["module"], layer["class_name"]
        if key not in found and fits(rows):
            found[key] = rows
    return list(found.values())


def fits(config: Any) -> bool:
    """Whether the reader takes a config, and it asks for no more weights than it gets, nor makes more numbers."""
    if not is_read(config) or weighs(config) > FITTING:
        return False
    return all(value.elements <= FITTING for value in keras_config.build(config, LIMITS).values)


def weighs(config: Any) -> int:
    """How many weights a config asks for. Raises what building it raises."""
    return sum(math.prod(spec.shape) for _, spec in places(keras_config.build(config, LIMITS)).values())


def is_read(config: Any) -> bool:
    """Whether the reader takes a config."""
    try:
        keras_config.build(config, LIMITS)
    except (ModelError, LimitExceededError):
        return False
    return True


@dataclass(frozen=True)
class Target:
    """A part of a file that is fuzzed, in a file that is otherwise whole."""

    seeds: Callable[[Path], list[bytes]]  # where it begins; may write into a folder
    write: Callable[[Path, bytes], None]  # the file with this part
    mutate: Callable[[bytes, int, int], bytes] | None = None  # data, most bytes, seed; None: bytes for bytes
    read: Callable[[Path], None] | None = None  # what reads the file; None: the reader of models

    def run(self, path: Path, data: bytes) -> bool:
        """Writes and reads the file, as `attempt`."""
        self.write(path, data)
        return attempt(path, self.read)


def _write_config(path: Path, data: bytes) -> None:
    try:
        weights = fitting_weights(json.loads(data))
    except (ValueError, RecursionError, ModelError, LimitExceededError):
        weights = build.h5()
    build.write(path, data, weights)


@functools.cache
def _rich_weights() -> bytes:
    return fitting_weights(rich())


def _write_weights(path: Path, data: bytes) -> None:
    build.write(path, build.harmless(), data)


def _write_whole(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def _members(folder: Path, name: str) -> list[bytes]:
    """One member of each hostile file that has it."""
    found = []
    for path in build.build_all(folder).values():
        if zipfile.is_zipfile(path):
            try:
                with zipfile.ZipFile(path) as archive:
                    found.append(archive.read(name))
            except Exception:  # what makes it hostile
                continue
    return found


def _config_seeds(folder: Path) -> list[bytes]:
    own = [rich(), build.harmless(), *one_of_each()]
    return [json.dumps(config).encode() for config in own] + _members(folder, "config.json")


def _weights_seeds(folder: Path) -> list[bytes]:
    return [*h5.seeds(), *_members(folder, "model.weights.h5")]


def _zip_seeds(folder: Path) -> list[bytes]:
    own = []
    for packing in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        buffer = io.BytesIO()
        build.write(buffer, rich(), _rich_weights(), compress=packing)
        own.append(buffer.getvalue())
    return own + [path.read_bytes() for path in build.build_all(folder).values()]


def _proof_seeds(_folder: Path) -> list[bytes]:
    """Arrays as files, such as may be the inputs of a proof."""
    found = []
    for array in (
        np.ones((2, TIMESTEPS, 2), np.float32),
        np.ones((2, 3, 2), ">f8"),
        np.zeros((0, 3), "i4"),
        np.array("x"),
    ):
        buffer = io.BytesIO()
        np.save(buffer, np.asfortranarray(array))
        found.append(buffer.getvalue())
    return found


def _write_proof(path: Path, data: bytes) -> None:
    """A proof of the harmless network, whose inputs are these."""
    x = {"input": np.ones((2, TIMESTEPS, 2), np.float32)}
    proofs.Proof({}, _harmless_network().forward(x).outputs, {}, "keras").save(path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("inputs/input.npy", data)


TARGETS = {
    "config": Target(_config_seeds, _write_config, mutated_config),
    "weights": Target(_weights_seeds, _write_weights, h5.mutated),
    "zip": Target(_zip_seeds, _write_whole),
    "proof": Target(_proof_seeds, _write_proof, read=_read_proof),
    "old-h5": Target(old_files.h5_seeds, _write_whole, old_files.mutated_h5, old_files.read),
    "old-config": Target(old_files.config_seeds, old_files.write_config, mutated_config, old_files.read),
}
