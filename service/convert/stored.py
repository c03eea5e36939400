"""The weights of a converted model, found by the names and the order of the old file, in the form that Keras 3 has."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from service.convert.h5_file import FOLDER
from service.convert.models import AsItIs, Rewritten
from service.convert.source import Saved, Source, leaf
from service.errors import CorruptModelError
from service.model.graph import Graph
from service.model.keras_config import MODELS
from service.model.layers.base import WeightSpec
from service.model.layers.options import shown
from service.model.tensors import Array
from service.model.weights_file import places

# Of a layer that learns, these do not; Keras lists them after all that do.
NOT_TRAINED = {"moving_mean", "moving_variance", "mean", "variance"}
UNUSED = {"count", "seed_generator_state"}  # of a Normalization that was adapted, and of layers that draw numbers
NAMES = {"kernel", "recurrent_kernel", "bias", "gamma", "beta", "embeddings", "alpha", "moving_mean", "moving_variance"}
Wanted = dict[str, tuple[str, WeightSpec]]  # by full name: the place in the new file, and what belongs there
Parts = dict[str, Array]  # of one cell: kernel, recurrent_kernel, bias


def weights(source: Source, graph: Graph, rewritten: AsItIs | Rewritten) -> dict[str, Array]:
    """The weights that a graph asks for, by their places in a `.keras` file; `rewritten` is what it was made of.

    Raises CorruptModelError where weights are missing, or are not those of the config.
    """
    wanted = places(graph)
    found = _by_path(source, wanted) if source.by_path else _by_layer(source, rewritten, wanted)
    for layer, form in rewritten.stored.items():
        _reform(found, layer, form)
    return fitted(found, graph)


def fitted(found: Mapping[str, Array], graph: Graph) -> dict[str, Array]:
    """Weights by full name as those that a graph asks for, by their places in a `.keras` file.

    Raises CorruptModelError for a weight that is missing, or of another shape.
    """
    made: dict[str, Array] = {}
    for name, (place, spec) in places(graph).items():
        array = found.get(name)
        if array is None:
            raise CorruptModelError(f"weight {shown(name)} is missing from the file", weight=name)
        if array.shape != spec.shape or array.dtype.kind != "f":
            raise CorruptModelError(
                f"weight {shown(name)}: the file has {array.dtype} of shape {list(array.shape)}, its config implies "
                f"{spec.dtype.name} of {list(spec.shape)}",
                weight=name,
            )
        with np.errstate(over="ignore"):
            made[place] = array.astype(spec.dtype)
        if not np.isfinite(made[place]).all():
            raise CorruptModelError(f"weight {shown(name)} holds values that are not finite in {spec.dtype.name}")
    return made


def _by_path(source: Source, wanted: Wanted) -> dict[str, Array]:
    arrays, moved = source.by_path, {place: place for place, _ in wanted.values()}
    if source.counted_twice:
        moved, own = _in_order(moved), _in_order(arrays)
        arrays = {own[path]: array for path, array in arrays.items()}
    found = {}
    for name, (place, _) in wanted.items():
        if moved[place] not in arrays:
            raise CorruptModelError(f"weight {shown(name)} is missing from the file, expected at {place}", weight=name)
        found[name] = arrays[moved[place]]
    return found


def _in_order(paths: Iterable[str]) -> dict[str, str]:
    """Paths with the folders of layers numbered by their order alone: lstm, lstm_2 become lstm_0, lstm_1.

    Keras 2.12 and 2.13 counted a layer twice where it has weights (`_layer_checkpoint_dependencies` of
    keras/engine/functional.py in Keras 2.12 lists it so).
    """
    numbers: dict[tuple[str, str], set[int]] = {}
    for _, folder, base, number in (part for path in paths for part in _folders(path)):
        numbers.setdefault((folder, base), set()).add(number)
    ranks = {key: {number: rank for rank, number in enumerate(sorted(some))} for key, some in numbers.items()}
    made = {}
    for path in paths:
        parts = path.split("/")
        for i, folder, base, number in _folders(path):
            parts[i] = f"{base}_{ranks[folder, base][number]}"
        made[path] = "/".join(parts)
    return made


def _folders(path: str) -> Iterator[tuple[int, str, str, int]]:
    """The folders of layers in a path: place, folder above, and the name split into class and number."""
    parts = path.split("/")
    for i, part in enumerate(parts):
        if i and parts[i - 1] == FOLDER:
            base, _, number = part.rpartition("_")
            numbered = bool(base) and number.isdecimal() and len(number) < 9
            yield i, "/".join(parts[:i]), base if numbered else part, int(number) if numbered else 0


def _by_layer(source: Source, rewritten: AsItIs | Rewritten, wanted: Wanted) -> dict[str, Array]:
    """By the order in which Keras lists the weights of each layer; their names must not contradict it."""
    found: dict[str, Array] = {}
    old_names = {new: old for old, new in rewritten.names.items()}
    for layer in rewritten.document["config"]["layers"]:
        own = _own_name(layer)
        expected = list(_listed(layer, "", wanted, frozen=False))
        if not expected:
            continue
        saved = source.by_layer.get(old_names.get(own, own))
        if saved is None:
            raise CorruptModelError(f"the file has no weights of layer {shown(own)}")
        kept = [(name, array) for name, array in saved if leaf(name) not in UNUSED]
        if len(kept) != len(expected):
            raise CorruptModelError(
                f"layer {shown(own)}: the file has {len(kept)} weights of it, its config implies {len(expected)}"
            )
        # As Keras 2 and 3 list them: what is trained first. Failing that, as they stand in the config.
        trained_first = [name for name, fixed in expected if not fixed] + [name for name, fixed in expected if fixed]
        for order in (trained_first, [name for name, _ in expected]):
            if _agrees(order, kept):
                found |= {name: array for name, (_, array) in zip(order, kept, strict=True)}
                break
        else:
            raise CorruptModelError(f"layer {shown(own)}: its weights are not in an order that Keras writes")
    return found


def _agrees(order: Sequence[str], saved: Sequence[Saved]) -> bool:
    """Whether the names that the file has fit the weights that are expected; names of other kinds say nothing."""
    return all(
        leaf(name) == leaf(expected) or not {leaf(name), leaf(expected)} <= NAMES
        for expected, (name, _) in zip(order, saved, strict=True)
    )


def _listed(layer: Any, prefix: str, wanted: Wanted, *, frozen: bool) -> Iterator[tuple[str, bool]]:
    """The full names of the weights of a layer or a model, in order, each with whether training leaves it alone."""
    config = layer["config"]
    full = f"{prefix}{_own_name(layer)}"
    frozen = frozen or config.get("trainable") is False
    if layer["class_name"] in MODELS:
        for inner in config["layers"]:
            yield from _listed(inner, f"{full}/", wanted, frozen=frozen)
        return
    for name in wanted:
        if name.startswith(f"{full}/"):
            yield name, frozen or leaf(name) in NOT_TRAINED


def _own_name(layer: Any) -> str:
    """The name of a layer, as the graph has it, which was made of the same config."""
    return str(layer["config"].get("name", layer.get("name")))


def _reform(found: dict[str, Array], layer: str, form: str) -> None:
    """Weights of a layer that are stored in another form, in Keras 3's."""
    names = {part: f"{layer}/{part}" for part in ("kernel", "recurrent_kernel", "bias")}
    if any(name not in found for name in names.values()):
        raise CorruptModelError(f"layer {shown(layer)}: its weights are not those of a {form}")
    try:
        made = STORED[form]({part: found[name] for part, name in names.items()})
    except ValueError as error:
        raise CorruptModelError(f"layer {shown(layer)}: its weights are not those of a {form}") from error
    found |= {names[part]: array for part, array in made.items()}


def _cudnn(parts: Parts, gates: int) -> Parts:
    """Kernels of cuDNN, each gate's transposed.

    See `preprocess_weights_for_loading` of tf_keras.src.saving.legacy.hdf5_format. The kernel of a gate lies there as
    (units, features) in the memory of a (features, units) array.
    """
    kernel = [gate.T.reshape(gate.shape, order="F") for gate in np.split(parts["kernel"], gates, axis=1)]
    recurrent = [gate.T for gate in np.split(parts["recurrent_kernel"], gates, axis=1)]
    return {"kernel": np.concatenate(kernel, axis=1), "recurrent_kernel": np.concatenate(recurrent, axis=1)}


def _cudnn_lstm(parts: Parts) -> Parts:
    """cuDNN has a bias for the input and one for the recurrence, which are added up."""
    return {**_cudnn(parts, 4), "bias": np.sum(np.split(parts["bias"], 2), axis=0)}


def _cudnn_gru(parts: Parts) -> Parts:
    """The two biases stay apart, since the reset gate comes between them."""
    return {**_cudnn(parts, 3), "bias": parts["bias"].reshape(2, -1)}


STORED = {"CuDNNLSTM": _cudnn_lstm, "CuDNNGRU": _cudnn_gru}
