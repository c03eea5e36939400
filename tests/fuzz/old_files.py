"""How files that are converted are fuzzed: the `.h5` files of Keras 2 as bytes, and the configs in them."""

import functools
import json
import tempfile
from pathlib import Path

import h5py

from service.convert.conversion import convert
from tests.fuzz import h5

FOLDER = Path(__file__).parents[1] / "data" / "keras2"
CONFIG = "model_config"


def read(path: Path) -> None:
    """Converts a file."""
    with tempfile.TemporaryDirectory() as folder:
        convert([path], Path(folder, "new.keras"))


def h5_seeds(_folder: Path) -> list[bytes]:
    """The files of Keras 2."""
    return [path.read_bytes() for path in _files()]


def config_seeds(_folder: Path) -> list[bytes]:
    """The configs in them."""
    return [_config(path).encode() for path in _files()]


def write_config(path: Path, data: bytes) -> None:
    """An `.h5` file with a config, and the weights of the file that has most of its layers."""
    try:
        names = set(_names(json.loads(data)))
    except (ValueError, RecursionError):
        names = set()
    base = max(_files(), key=lambda file: (len(names & _layers(file)), file.name))
    path.write_bytes(base.read_bytes())
    with h5py.File(path, "r+") as file:
        file.attrs[CONFIG] = data.decode("utf-8", "replace").replace("\0", "")


def mutated_h5(data: bytes, most: int, seed: int) -> bytes:
    """As any H5 file; what is too short to be one begins anew from a whole one."""
    whole = data if data.startswith(b"\x89HDF") and len(data) > 1000 else _files()[seed % len(_files())].read_bytes()
    return h5.mutated(whole, most, seed)


@functools.cache
def _files() -> list[Path]:
    """Whole models, in order."""
    return [path for path in sorted(FOLDER.glob("*.h5")) if not path.name.startswith("architecture")]


@functools.cache
def _layers(path: Path) -> frozenset[str]:
    return frozenset(_names(json.loads(_config(path))))


def _config(path: Path) -> str:
    with h5py.File(path) as file:
        return str(file.attrs[CONFIG])


def _names(config: object) -> list[str]:
    """The names of the layers of the outermost model, as far as it is one."""
    whole = config.get("config") if isinstance(config, dict) else None
    layers = whole.get("layers") if isinstance(whole, dict) else whole
    own = [layer.get("config") for layer in layers if isinstance(layer, dict)] if isinstance(layers, list) else []
    return [str(each.get("name")) for each in own if isinstance(each, dict)]
