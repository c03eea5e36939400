"""Proofs: inputs with their expected outputs and final states, replayed before a version serves."""

import io
import os
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast

import numpy as np
from numpy.lib import format as npy

from service.errors import CorruptModelError, LimitExceededError, NotSupportedError, ProofError, ServiceError
from service.model.container import check_directory, open_regular
from service.model.limits import ReadLimits
from service.model.network import Network
from service.model.results import Result
from service.model.rounding import sensitivity
from service.model.tensors import STRING, Array

# The largest difference from Keras on a CPU over some hundred random networks (tests/strategies.py), every output of
# every layer, relative to the largest magnitude in the tensor or to 1, whichever is larger; rounded up.
MEASURED = {"float16": 2e-3, "float32": 7e-7, "float64": 2e-15}
# What is allowed: for longer sequences and larger layers than those, and machines whose libraries round otherwise.
MARGIN = 3.0
BOUNDS = {name: bound * MARGIN for name, bound in MEASURED.items()}
# Where a network amplifies rounding beyond that, Keras's own result moves as far with the machine it runs on. There the
# difference from Keras was at most so many times what the results move by when every weight moves by a unit roundoff
# (docs/decisions.md has the networks), and the same margin is allowed.
AMPLIFIED = 10.0
MOST = 100.0  # times BOUNDS: what no two libraries agree on better than that is not proven by a comparison

Forward = Callable[[Mapping[str, Array]], Result]
MadeBy = Literal["keras", "unroll"]
GROUPS = ("inputs", "outputs", "states", "directions", "gradients")


@dataclass(frozen=True)
class Proof:
    """What a network must reproduce."""

    inputs: Mapping[str, Array]
    outputs: Mapping[str, Array]
    states: Mapping[str, Array]  # final ones, by full name
    made_by: MadeBy
    directions: Mapping[str, Array] = field(default_factory=dict)  # by output; see service.model.gradient_proof
    gradients: Mapping[str, Array] = field(default_factory=dict)  # along them; empty where they are not proven

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes an npz file without pickles."""
        arrays = {f"{group}/{name}": _stored(array) for group in GROUPS for name, array in getattr(self, group).items()}
        with Path(path).open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, made_by=np.array(self.made_by), **arrays)


def load(path: str | os.PathLike[str], limits: ReadLimits = ReadLimits()) -> Proof:  # noqa: B008 - frozen
    """A proof from a file; hostile until read.

    Raises ProofError for a file that is not one; LimitExceededError for one that is too large.
    """
    groups: dict[str, dict[str, Array]] = {group: {} for group in GROUPS}
    made_by = ""
    try:
        with open_regular(path, limits.proof_bytes) as file, _open(file, limits) as archive:
            left = limits.proof_bytes
            for info in archive.infolist():
                array = _array(archive, info, left, limits)
                left -= array.nbytes
                group, _, name = info.filename.removesuffix(".npy").partition("/")
                if group == "made_by" and not name and array.shape == ():
                    made_by = str(array)
                elif group in groups and name and array.dtype.kind in "fibU" and name not in groups[group]:
                    groups[group][name] = array.astype(object) if array.dtype.kind == "U" else array
                else:
                    raise ProofError(f"the proof holds {info.filename[:80]!r}, which no proof does")
    except CorruptModelError as error:
        raise ProofError(f"the proof: {error.message}") from error
    except ServiceError:
        raise
    except Exception as error:  # zipfile, zlib, and NumPy's reader of headers, which is a tokenizer: too many to name
        raise ProofError("the proof is damaged") from error
    if made_by not in {"keras", "unroll"} or not groups["inputs"] or not groups["outputs"]:
        raise ProofError("the proof is incomplete")
    return Proof(made_by=cast("MadeBy", made_by), **groups)


def replay(network: Network, proof: Proof, forward: Forward | None = None) -> float:
    """The largest error of a network over its proof, in units of what is allowed: at most 1.

    `forward` is another way to compute the network than its own.

    Raises ProofError for a proof of another network, and for one that this network does not reproduce.
    """
    expected = {"output": proof.outputs, "state": proof.states}
    try:
        network.check(proof.inputs)
        result = (forward or network.forward)(proof.inputs)
    except ServiceError as error:
        raise ProofError(f"the proof does not belong to this network: {error.message}") from error
    tolerance = Tolerance(network, proof.inputs)
    actual = {"output": result.outputs, "state": result.final_state}
    worst = 0.0
    for what, arrays in expected.items():
        for name, array in arrays.items():
            if name not in actual[what]:
                raise ProofError(f"the proof has the {what} {name}, which the network does not have")
            error_here = tolerance.error(name, actual[what][name], array)
            if not error_here <= 1.0:  # NaN too
                raise ProofError(
                    f"{what} {name} differs from the proof by {error_here:.3g} times what is allowed",
                    tensor=name,
                    error=error_here,
                )
            worst = max(worst, error_here)
    missing = network_outputs(network) - proof.outputs.keys()
    if missing:
        raise ProofError(f"the proof lacks the output {min(missing)}")
    return worst


class Tolerance:
    """How far results of a network may lie from others for the same inputs.

    Within `allowed`; or, for a network that amplifies rounding beyond that, as far as rounding carries there. That is
    measured only where it decides.
    """

    def __init__(
        self, network: Network, inputs: Mapping[str, Array], initial_state: Mapping[str, Array] | None = None
    ) -> None:
        self._network, self._inputs, self._initial_state = network, inputs, initial_state
        self._bounds = allowed(network)

    def error(self, name: str, actual: Array, expected: Array) -> float:
        """The difference of an output or final state of that name in units of what is allowed, as `difference`."""
        found = difference(actual, expected, self._bounds)
        if not 1 < found <= MOST:
            return found
        return found / max(
            1.0, min(MOST, MARGIN * AMPLIFIED * self._sensitivity.get(name, 0.0) / unit(expected, self._bounds))
        )

    @cached_property
    def _sensitivity(self) -> Mapping[str, float]:
        try:
            outputs, states = sensitivity(self._network, self._inputs, self._initial_state)
        except NotSupportedError:  # Keras computes it, and shows no weights that could be changed
            return {}
        return {**outputs, **states}


def allowed(network: Network) -> Mapping[str, float]:
    """Bounds by type for the tensors of a network: single precision made of half precision is as good as that."""
    return {name: max(bound, BOUNDS[network.precision]) for name, bound in BOUNDS.items()}


def difference(actual: Array, expected: Array, bounds: Mapping[str, float] = BOUNDS) -> float:
    """The largest difference of two arrays in units of a bound; infinite for another shape or type.

    Values that are not finite must be the same ones.
    """
    if actual.shape != expected.shape or actual.dtype != expected.dtype:
        return float("inf")
    if not expected.size or actual.dtype.kind != "f":
        return 0.0 if np.array_equal(actual, expected) else float("inf")
    finite = np.isfinite(expected)
    if not np.isfinite(actual[finite]).all() or not np.array_equal(actual[~finite], expected[~finite], equal_nan=True):
        return float("inf")
    a, b = actual[finite].astype(np.float64), expected[finite].astype(np.float64)
    return float(np.abs(a - b).max(initial=0.0)) / unit(expected, bounds)


def unit(expected: Array, bounds: Mapping[str, float]) -> float:
    """What a bound is for an array of floats: it is relative to the largest finite number in it, or to 1."""
    largest = np.abs(expected).max(initial=1.0, where=np.isfinite(expected))
    return bounds[expected.dtype.name] * float(largest)


def network_outputs(network: Network) -> set[str]:
    """Names of the outputs."""
    return {spec.name for spec in network.outputs}


def _stored(array: Array) -> Array:
    """An array as the file holds it: texts of one length, since those of any length would be pickles."""
    return array.astype(np.str_) if array.dtype == STRING else array


def _open(file: BinaryIO, limits: ReadLimits) -> zipfile.ZipFile:
    check_directory(file, limits)
    return zipfile.ZipFile(file)


def _array(archive: zipfile.ZipFile, info: zipfile.ZipInfo, left: int, limits: ReadLimits) -> Array:
    """One array, once its header has been seen to declare no more than there is room for, and no objects."""
    if info.file_size > left:
        raise _too_large(info.file_size, limits)
    with archive.open(info) as file:
        data = io.BytesIO(file.read(info.file_size))
    version = npy.read_magic(data)
    reader: Any = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}.get(version)
    if reader is None:
        raise ProofError("the proof holds an array of an unknown format")
    shape, _, dtype = reader(data)
    count = 1
    for extent in shape:
        count *= extent
    if dtype.hasobject or count * dtype.itemsize != info.file_size - data.tell():
        raise ProofError("the proof holds an array of another size than it declares")
    data.seek(0)
    return npy.read_array(data, allow_pickle=False)


def _too_large(size: int, limits: ReadLimits) -> LimitExceededError:
    return LimitExceededError(
        f"the proof has {size} bytes, the limit is {limits.proof_bytes}", limit=limits.proof_bytes, actual=size
    )
