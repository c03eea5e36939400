"""Proofs: kept without pickles, hostile until read, and replayed before a network serves."""

import io
import zipfile

import numpy as np
import pytest

from service.errors import LimitExceededError, ProofError
from service.model import keras_file, proof
from service.model.limits import ReadLimits
from service.model.proof import BOUNDS, Proof, difference, load, replay
from tests.data.hostile import build


@pytest.fixture
def network(tmp_path):
    """The harmless network, its weights small enough that nothing saturates."""
    build.write(
        tmp_path / "m.keras", weights=build.h5(weights={k: v * np.float32(0.1) for k, v in build.WEIGHTS.items()})
    )
    return keras_file.read(tmp_path / "m.keras")


@pytest.fixture
def good(network):
    """A proof of it."""
    x = {"input": np.random.default_rng(0).normal(size=(2, 3, 2)).astype(np.float32)}
    result = network.forward(x)
    return Proof(x, result.outputs, result.final_state, "keras")


def test_a_proof_survives_its_file(network, good, tmp_path):
    """What is loaded is what was saved, names with slashes included, and the network reproduces it exactly."""
    good.save(tmp_path / "proof.npz")
    loaded = load(tmp_path / "proof.npz")
    assert loaded.made_by == "keras"
    for group in ("inputs", "outputs", "states"):
        before, after = getattr(good, group), getattr(loaded, group)
        assert before.keys() == after.keys()
        assert all(before[name].tobytes() == after[name].tobytes() for name in before)
    assert replay(network, loaded) == 0


def test_an_error_is_told_in_units_of_the_bound(network, good):
    """Half the bound passes and is told as half; twice the bound is refused, and the tensor named."""
    name, value = "output", good.outputs["output"]
    for times, passes in ((0.5, True), (2.0, False)):
        shifted = Proof(good.inputs, {name: value + np.float32(times * BOUNDS["float32"])}, good.states, "keras")
        if passes:
            assert replay(network, shifted) == pytest.approx(0.5, abs=0.1)
        else:
            with pytest.raises(ProofError, match="output output differs"):
                replay(network, shifted)


@pytest.mark.parametrize("group", ["outputs", "states"])
def test_a_network_with_other_weights_fails_the_proof(network, good, group):
    """A changed weight shows in the outputs, and in the states."""
    changes = {"outputs": {"output/bias": np.float32([9])}, "states": {"rnn/bias": np.full(4, 0.2, np.float32)}}
    with pytest.raises(ProofError):
        replay(network.with_weights(changes[group]), good)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"inputs": {"input": np.zeros((1, 3, 5), np.float32)}}, "does not belong to this network"),
        ({"outputs": {"other": np.zeros((2, 1), np.float32)}}, "does not have"),
        ({"outputs": {}}, "lacks the output"),
        ({"outputs": {"output": np.zeros((3, 1), np.float32)}}, "differs"),
        ({"outputs": {"output": np.full((2, 1), np.nan, np.float32)}}, "differs"),
    ],
)
def test_a_proof_of_another_network_is_refused(network, good, change, message):
    """Other inputs, other or missing outputs, other shapes and NaN are a ProofError."""
    with pytest.raises(ProofError, match=message):
        replay(network, Proof(**{**vars(good), **change}))


def test_values_that_are_not_finite_must_be_the_same():
    """NaN equals NaN and infinity its like, and nothing else."""
    nan, one = np.float32([np.nan, 1, np.inf]), np.float32([1, 1, np.inf])
    assert difference(nan, nan) == 0
    assert difference(one, nan) == float("inf")
    assert difference(nan, one) == float("inf")
    assert difference(-one, one) == float("inf")


def npz(**arrays):
    """The bytes of an npz file."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def bomb():
    """A few kilobytes that declare to be 256 MiB of zeros."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("inputs/x.npy", "w") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (1 << 26,)})
        for _ in range(256):
            file.write(bytes(1 << 20))
    return buffer.getvalue()


def lying():
    """A header that declares more than there is."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive, archive.open("inputs/x.npy", "w") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (1 << 40,)})
    return buffer.getvalue()


def endless():
    """A header whose braces are never closed, which NumPy's reader meets with an error of the tokenizer."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("inputs/x.npy", b"\x93NUMPY\x01\x00\x10\x00" + b"{'descr': '<f4',\n")
    return buffer.getvalue()


HOSTILE = {
    "empty": b"",
    "no zip": b"PK\x03\x04 and no more",
    "a pickle": b"\x80\x04cos\nsystem\n(S'true'\ntR.",
    "objects": npz(**{"inputs/x": np.array([{}], object), "outputs/y": np.zeros(1), "made_by": np.array("keras")}),
    "another name": npz(
        **{"inputs/x": np.zeros(1), "outputs/y": np.zeros(1), "made_by": np.array("keras"), "code": np.zeros(1)}
    ),
    "no maker": npz(**{"inputs/x": np.zeros(1), "outputs/y": np.zeros(1)}),
    "another maker": npz(**{"inputs/x": np.zeros(1), "outputs/y": np.zeros(1), "made_by": np.array("me")}),
    "no outputs": npz(**{"inputs/x": np.zeros(1), "made_by": np.array("keras")}),
    "bytes": npz(**{"inputs/x": np.array(b"text"), "outputs/y": np.zeros(1), "made_by": np.array("keras")}),
    "a header that lies": lying(),
    "a header without an end": endless(),
    "a bomb": bomb(),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_proof_is_refused(tmp_path, name):
    """What is no proof is a ProofError, and what is too large a LimitExceededError, whatever it claims to be."""
    path = tmp_path / "proof.npz"
    path.write_bytes(HOSTILE[name])
    with pytest.raises(LimitExceededError if name == "a bomb" else ProofError):
        load(path)


def test_a_proof_beyond_the_limit_is_refused(good, tmp_path):
    """The limit holds for the file and for what is in it."""
    good.save(tmp_path / "proof.npz")
    with pytest.raises(LimitExceededError):
        load(tmp_path / "proof.npz", ReadLimits(proof_bytes=100))
    assert proof.MARGIN > 1
