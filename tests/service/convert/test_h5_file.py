"""Hostile `.h5` files: refused with a typed error before anything is followed or allocated."""

import io

import h5py
import numpy as np
import pytest

from service.convert import h5_file
from service.errors import CorruptModelError, LimitExceededError, UnsupportedModelError
from service.model.limits import ReadLimits
from tests.service.convert.keras2 import FOLDER

LIMITS = ReadLimits()
GROUP, KERNEL = "model_weights/lstm", "lstm/lstm_cell/kernel:0"


def edited(tmp_path, edit):
    """A harmless file with something done to it."""
    path = tmp_path / "m.h5"
    path.write_bytes((FOLDER / "lstm.h5").read_bytes())
    with h5py.File(path, "r+") as file:
        edit(file)
    return path


def in_place_of_the_kernel(make):
    """A change that puts something in place of a weight."""

    def edit(file):
        group = file[GROUP]
        name = group.attrs["weight_names"][0]
        del group[name]
        make(group, name)

    return edit


def virtual(group, name):
    """A virtual array."""
    layout = h5py.VirtualLayout((2, 12), np.float32)
    layout[:] = h5py.VirtualSource("/etc/hostname", "x", (2, 12))
    group.create_virtual_dataset(name, layout)


def external(group, name):
    """An array whose bytes are in another file."""
    group.create_dataset(name, (2, 12), np.float32, external=[("/etc/hostname", 0, 96)])


EDITS = {
    "soft": (in_place_of_the_kernel(lambda g, n: g.__setitem__(n, h5py.SoftLink("/x"))), "links are not followed"),
    "link": (in_place_of_the_kernel(lambda g, n: g.__setitem__(n, h5py.ExternalLink("o.h5", "/"))), "not followed"),
    "virtual": (in_place_of_the_kernel(virtual), "not stored plainly"),
    "external": (in_place_of_the_kernel(external), "not stored plainly"),
    "packed": (
        in_place_of_the_kernel(lambda g, n: g.create_dataset(n, (9000, 9000), np.float32, compression="gzip")),
        "not stored plainly",
    ),
    "unwritten": (in_place_of_the_kernel(lambda g, n: g.create_dataset(n, (9000, 9000), np.float32)), "does not hold"),
    "texts": (in_place_of_the_kernel(lambda g, n: g.create_dataset(n, data=["a", "b"])), "does not hold numbers"),
    "group": (in_place_of_the_kernel(lambda g, n: g.create_group(n)), "is not an array"),
    "missing": (in_place_of_the_kernel(lambda _g, _n: None), "has no"),
    "infinite": (
        in_place_of_the_kernel(lambda g, n: g.__setitem__(n, np.full((2, 12), np.inf, np.float32))),
        "not finite",
    ),
    "no weights": (lambda f: f.__delitem__("model_weights"), "no group model_weights"),
    "names are numbers": (lambda f: f[GROUP].attrs.create("weight_names", np.arange(4)), "weight_names is not text"),
    "long names": (
        lambda f: f["model_weights"].attrs.create("layer_names", np.zeros(9, "S5000")),
        "layer_names holds what is no name",
    ),
    "no layer": (lambda f: f["model_weights"].attrs.create("layer_names", ["absent"]), "the file has no absent"),
    "up": (lambda f: f["model_weights"].attrs.create("layer_names", ["../x"]), "the file has no"),
    "config": (lambda f: f.attrs.create("model_config", "{"), "is not JSON"),
    "config is a number": (lambda f: f.attrs.create("model_config", 3), "model_config is not text"),
    "deep": (lambda f: f.attrs.create("model_config", "[" * 30_000), "nested too deeply"),
}  # fmt: skip


@pytest.mark.parametrize("name", EDITS)
def test_a_hostile_file_is_refused(tmp_path, name):
    """Links, arrays that are not plainly in the file, and lists of names that are none: each with what it is."""
    edit, said = EDITS[name]
    with pytest.raises(CorruptModelError, match=said):
        h5_file.read(edited(tmp_path, edit), LIMITS)


def test_more_than_the_limits():
    """Layers, bytes and the config have the limits that they have in `.keras` files."""
    for limits in (ReadLimits(layers=1), ReadLimits(file_bytes=1000), ReadLimits(config_bytes=500)):
        with pytest.raises(LimitExceededError):
            h5_file.read(FOLDER / "lstm.h5", limits)


def test_arrays_that_share_their_bytes(tmp_path):
    """One array under many names would take many times the memory that the file has."""

    def edit(file):
        group = file[GROUP]
        group["again0"] = np.ones(100_000, np.float32)
        for number in range(1, 9):
            group[f"again{number}"] = group["again0"]
        group.attrs.create("weight_names", [f"again{number}" for number in range(9)])

    with pytest.raises(CorruptModelError, match=r"declares .* bytes that the file does not hold"):
        h5_file.read(edited(tmp_path, edit), LIMITS)


def test_a_circle_of_groups():
    """Groups that hold each other are walked no further than a limit."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file["layers/dense/vars/0"] = np.ones(3)
        file["layers/dense/layers"] = file["layers"]
        file["layers/dense/again"] = file["layers"]
    with pytest.raises(LimitExceededError, match="groups and arrays"):
        h5_file.weights(buffer.getvalue(), {}, "", LIMITS)


def test_names_in_chunks(tmp_path):
    """A list of names that one attribute has no room for is spread over several, as Keras writes it."""

    def edit(file):
        group = file["model_weights"]
        names = group.attrs["layer_names"]
        del group.attrs["layer_names"]
        for number, name in enumerate(names):
            group.attrs[f"layer_names{number}"] = [name]

    assert h5_file.read(edited(tmp_path, edit), LIMITS).by_layer.keys() >= {"lstm", "lstm_1"}


def test_weights_in_no_form_of_keras():
    """An H5 file of something else is refused with what it holds."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file["features"] = np.ones(3)
    with pytest.raises(UnsupportedModelError, match="no weights as Keras writes them; it holds features"):
        h5_file.weights(buffer.getvalue(), {}, "", LIMITS)


@pytest.mark.parametrize("size", [0, 1, 1 << 63])
def test_a_collection_of_texts_without_an_end(tmp_path, size):
    """A list of texts whose next entry is the same one, which HDF5 would follow for ever, is refused at once."""
    data = bytearray((FOLDER / "lstm.h5").read_bytes())
    place = data.index(b"GCOL") + 16
    data[place : place + 16] = bytes(8) + size.to_bytes(8, "little")  # index 0: the space that is left
    (tmp_path / "m.h5").write_bytes(data)
    with pytest.raises(CorruptModelError, match="a list in it has no end"):
        h5_file.read(tmp_path / "m.h5", LIMITS)
