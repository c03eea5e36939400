"""Versions with their networks in memory: read from their folders, proven, and ready to compute."""

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from service.config import DEFAULT_LIMITS, Limits
from service.errors import (
    InvalidArgumentError,
    NotFoundError,
    NotReadyError,
    ProofError,
    ServiceError,
    UnavailableError,
)
from service.model import gradient_proof
from service.model import proof as proofs
from service.model.classes import Labels, fit, labels_of
from service.model.engines import keras as keras_network
from service.model.engines.choice import TENSORFLOW, Choice, assemble, select
from service.model.intervals import Intervals, intervals_of
from service.model.network import Network
from service.model.results import Result
from service.model.statistics import WeightStatistics
from service.model.tensors import Array, TensorSpec
from service.serving.batching import Batcher
from service.serving.fast_path import FastPath
from service.serving.forms import Forms
from service.serving.placement import Computes, Placed, short_input_bytes
from service.serving.slots import Slots
from service.snapshot import ModelEntry, VersionEntry, VersionKey

PROOF_FILE = "proof.npz"
MODEL_FILE = "model.keras"
MOST_LEVELS = 16  # prediction intervals in a request

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoadedVersion:
    """A version with its network in memory."""

    model: str
    entry: VersionEntry
    network: Network
    statistics: WeightStatistics
    proof_made_by: str  # keras, unroll, or empty where there is no proof
    proof_error: float  # largest error of the replay, as a fraction of what is allowed
    gradient_error: float | None  # the same of gradients; None where they are not in the proof
    engine: Choice  # what computes predictions and streams; traces and what-ifs are the network's own
    computes: Computes  # by that engine: in batches where that gains, and in a slot where it takes long
    fast_path: FastPath
    intervals: Intervals | None = None  # around its predictions, of a version that was trained to forecast

    @property
    def key(self) -> VersionKey:
        """Its model and number."""
        return self.model, self.entry.number

    def forward(self, inputs: Mapping[str, Array], initial_state: Mapping[str, Array] | None = None) -> Result:
        """Outputs and final states for inputs that `Network.check` accepted. Raises as `Network.forward`."""
        return self.computes.forward(inputs, initial_state)

    def intervals_for(self, levels: Sequence[float], inputs: Mapping[str, Array], *, changed: bool) -> Intervals:
        """The intervals of a request, which hold for the network and the sequences that they were measured with.

        changed: whether weights, values or initial states are changed for this request.

        Raises NotReadyError where the version has none, InvalidArgumentError for a level that it does not have, or a
        request that they do not hold for.
        """
        if self.intervals is None:
            raise NotReadyError(
                f"{self.model} version {self.entry.number} has no prediction intervals; a version has them if it was "
                "trained on a table or file with numeric targets, and not changed since",
                field="levels",
            )
        if changed:
            raise InvalidArgumentError(
                "levels: not together with initial states, what_if or patches: prediction intervals hold for the "
                "network as it was trained",
                field="levels",
            )
        for spec in self.network.declared:
            wanted, given = spec.shape[1:2], inputs[spec.name].shape[1:2]
            if wanted != (None,) and wanted != given:
                raise InvalidArgumentError(
                    f"levels: prediction intervals hold for sequences of {wanted[0]} timesteps, with which the network "
                    f"was trained; got {given[0]}",
                    field="levels", expected=wanted[0], actual=given[0],
                )  # fmt: skip
        if len(levels) > MOST_LEVELS:
            raise InvalidArgumentError(f"levels: expected at most {MOST_LEVELS}, got {len(levels)}", field="levels")
        for level in levels:
            self.intervals.check(level)
        return self.intervals

    @cached_property
    def labels(self) -> Labels:
        """The names of its classes; empty: it has none that fit an output."""
        return labels_of(self.entry.data, self.network)  # of the entry: two versions may have one file

    def labels_for(self, output: TensorSpec) -> Labels:
        """The labels of the classes of an output; empty: it has none."""
        return self.labels if fit(self.labels, output) else ()

    def waiting(self) -> int:
        """How many requests wait for a batch to begin."""
        return self.computes.waiting() if isinstance(self.computes, Batcher) else 0

    def check_streamable(self) -> None:
        """Raises NotReadyError where the network cannot be fed piecewise."""
        if not self.network.streamable:
            raise NotReadyError(
                f"{self.model} version {self.entry.number} cannot be fed piecewise: "
                f"{self.network.not_streamable_reason}"
            )


@dataclass(frozen=True)
class LoadedModel:
    """A model with its versions in memory; of a worker that has just begun, perhaps not all that the entry names."""

    entry: ModelEntry
    versions: Mapping[str, LoadedVersion]


@dataclass(frozen=True)
class LoadedSnapshot:
    """A snapshot with its versions in memory."""

    generation: int
    models: Mapping[str, LoadedModel]
    forms: defaultdict[str, Forms] = field(default_factory=lambda: defaultdict(Forms), init=False, compare=False)
    """Of requests that it has answered, by protocol."""

    def model(self, name: str) -> LoadedModel:
        """The model of that name; the only one, if the name is empty. Raises NotFoundError, InvalidArgumentError."""
        if name:
            model = self.models.get(name)
            if model is None:
                raise NotFoundError(f"no model {name!r} is served here", field="model")
            return model
        if len(self.models) == 1:
            return next(iter(self.models.values()))
        if not self.models:
            raise UnavailableError("nothing is served yet")
        raise InvalidArgumentError(
            f"model: the server has several models, name one of {', '.join(sorted(self.models))}", field="model"
        )


def load_version(
    model: str,
    entry: VersionEntry,
    *,
    require_proof: bool,
    fixed_engine: str = "",
    limits: Limits = DEFAULT_LIMITS,
    slots: Slots | None = None,
) -> LoadedVersion:
    """Reads a version from its folder, replays its proof, and puts together the engines that compute it.

    Engines that the entry names are taken; else they are chosen by measurement, or `fixed_engine` is. The engine
    tensorflow is for files that our reader does not support, and is never taken unless it is fixed.

    Raises ModelError (one of its kinds) where the file cannot be read, is not supported, or fails its proof;
    ProofError also where a proof is required and there is none; InvalidArgumentError for an engine that does not fit.
    """
    directory = Path(entry.directory)
    try:
        network = keras_network.read(directory / MODEL_FILE, TENSORFLOW in (fixed_engine, *(entry.engines or ())))
        proof, error, gradient_error = None, 0.0, None
        if (directory / PROOF_FILE).exists():
            proof = proofs.load(directory / PROOF_FILE)
            error = proofs.replay(network, proof)
            gradient_error = gradient_proof.replay(network, proof)
            if gradient_error is not None and gradient_error > 1:
                logger.warning(
                    "version %s of %s: its gradients differ from the proof by %.3g times what is allowed",
                    entry.number, model, gradient_error,
                )  # fmt: skip
        elif require_proof:
            raise ProofError("it has no proof, and this server requires one")
        engine = assemble(network, proof, *entry.engines) if entry.engines else select(network, proof, fixed_engine)
        slots = slots or Slots(1)
        computes: Computes
        if engine.batches:
            computes = Batcher(engine, limits.computed, slots, limits.overload_seconds)
        else:
            computes = Placed(engine, short_input_bytes(engine, proof), slots)
        return LoadedVersion(
            model=model,
            entry=entry,
            network=network,
            statistics=WeightStatistics(network),
            proof_made_by=proof.made_by if proof else "",
            proof_error=error,
            gradient_error=gradient_error,
            engine=engine,
            computes=computes,
            fast_path=FastPath(network, computes, limits),
            intervals=intervals_of(directory, network),
        )
    except ServiceError as error_of_version:
        message = f"version {entry.number} of {model}: {error_of_version.message}"
        raise type(error_of_version)(message, **error_of_version.details) from error_of_version
