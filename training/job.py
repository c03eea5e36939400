"""The training job: data, network, fit, proof, registration, alias."""

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from registry import tag
from registry.store import Store
from service.model import keras_file
from service.model import proof as proofs
from service.version import version
from training import config
from training.checkpoints import Progress
from training.data.reference import reference
from training.data.windows import Array
from training.interrupts import interruptible
from training.options import Options, Registration, Source

if TYPE_CHECKING:
    from training.network import Weights


@dataclass(frozen=True)
class Outcome:
    """What a job made."""

    version: str
    losses: list[float]
    before: "Weights"
    after: "Weights"
    inputs: Array
    targets: Array
    predictions: Array
    parity: float  # error of our own network against Keras, as a fraction of what is allowed


class Listener:
    """Hears how a job goes; the command line draws it. This one keeps quiet."""

    def reading(self, done: int, total: int) -> None:
        """So much of the file is read."""

    def found(self, text: str) -> None:
        """Something about the data that its owner should know."""

    def started(self, run_id: str, epochs: int) -> None:
        """The run on people's own data has begun, or goes on; with so many epochs at most."""

    def built(self, summary: str, weights: "Weights") -> None:
        """The network stands, with its initial weights."""

    def progress(self, epoch: int, loss: float) -> None:
        """So many epochs are done; the loss of the last one."""

    def learning(self, epoch: int, share: float, progress: Progress) -> None:
        """On people's own data: so many epochs are done, and that share of the next."""

    def fitted(self, seconds: float) -> None:
        """The network is fitted."""


def run(options: Options, registration: Registration, listener: Listener) -> Outcome:
    """Trains and registers; the alias moves last, and only if everything before it succeeded.

    Raises InvalidArgumentError for options that make no sense, ModelError for a network that the service could not
    serve, RegistryError. An interrupted run is marked KILLED, a failed one FAILED; neither leaves a version.
    """
    dataset = reference()
    with ThreadPoolExecutor(1, "registry") as background:
        # MLflow takes seconds to import and to make a new database; meanwhile TensorFlow is imported.
        opening = background.submit(Store)
        from training import fitting, network, proving

        model = network.build(options, *dataset.inputs.shape[1:])
        targets = network.targets_for(model, dataset, options.chosen_loss)
        store = opening.result()
    experiment = registration.experiment or registration.name
    with (
        store.run(experiment, f"{registration.name} seed {options.seed}", package_tags()) as run,
        temporary_folder() as folder,
        interruptible() as check,
    ):
        run.log_params(options.as_params())
        before = network.weights(model)
        listener.built(network.summary(model), before)
        begin = time.monotonic()
        losses = fitting.fit(model, dataset.inputs, targets, options.epochs, listener.progress)
        listener.fitted(time.monotonic() - begin)
        after = network.weights(model)
        predictions = network.predict(model, dataset.inputs)

        network.save(model, folder / "model.keras")
        proof = proving.proof(model, dataset.inputs)
        proof.save(folder / "proof.npz")
        served = keras_file.read(folder / "model.keras")  # what cannot be served is not registered
        parity = proofs.replay(served, proof)

        if losses:
            run.log_metrics("loss", losses)
            run.log_summary({"final_loss": losses[-1]})
        over_time = {name: layer.over_time for name, layer in proving.states(model, dataset.inputs).items()}
        (folder / "pictures").mkdir()
        config.Job(options, Source(), registration).dump(folder / "pictures" / config.FILE)
        log_pictures(run.log_files, folder / "pictures", losses, before, after, predictions, targets, over_time)
        check()
        version = run.register(
            registration.name,
            folder / "model.keras",
            proof_file=folder / "proof.npz",
            example={network.INPUT: dataset.inputs},
            inputs=served.inputs,
            outputs=served.outputs,
            tags={tag.KIND: "trained"},
        )
        store.set_alias(registration.name, registration.alias, version.number)
    return Outcome(version.number, losses, before, after, dataset.inputs, targets, predictions, parity)


def log_pictures(
    log: Callable[[Path], None],
    folder: Path,
    losses: list[float],
    before: "Weights",
    after: "Weights",
    predictions: Array,
    targets: Array,
    over_time: Mapping[str, Array],
    validation_losses: Sequence[float] = (),
) -> None:
    """Draws the figures of a run and logs them, with the weights as arrays."""
    from training import figures  # matplotlib is slow to import

    drawn = {"weights.png": figures.weights_before_and_after(before, after)}
    if losses:
        drawn["loss.png"] = figures.loss_curve(losses, validation_losses)
    if predictions.shape == targets.shape:
        drawn["predictions.png"] = figures.predictions_against_targets(predictions, targets)
    drawn |= {f"hidden_states_{name}.png": figures.hidden_states(name, states) for name, states in over_time.items()}
    (folder / "figures").mkdir(parents=True)
    (folder / "weights").mkdir()
    for name, figure in drawn.items():
        figure.savefig(folder / "figures" / name, dpi=110)
    for when, weights in (("before", before), ("after", after)):
        arrays = {name.replace("/", "."): value for name, value in weights.items()}
        np.savez(folder / "weights" / f"{when}.npz", allow_pickle=False, **arrays)
    log(folder)


def package_tags() -> dict[str, str]:
    """With which versions of what a run was made."""
    libraries = {f"unroll.{package}": metadata.version(package) for package in ("keras", "tensorflow")}
    return {"unroll.unroll": version(), **libraries}


def temporary_folder() -> "_Folder":
    """A folder that is gone when the block ends."""
    return _Folder(prefix="unroll-")


class _Folder(tempfile.TemporaryDirectory[str]):
    """A temporary folder that is a Path."""

    def __enter__(self) -> Path:  # type: ignore[override]  # a Path instead of a str is the point
        return Path(super().__enter__())
