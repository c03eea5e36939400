"""What training logs to an MLflow run: options, data, curves, figures and weights."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from registry.run import Run
from service.model.network import Network
from service.version import version
from training import config
from training.checkpoints import Progress
from training.config import Job
from training.data.examples import Examples
from training.data.windows import Array, Windows

if TYPE_CHECKING:
    from training.network import Weights


@dataclass(frozen=True)
class Fitted:
    """A fitted network, as files and as it is served."""

    model: Path
    proof: Path
    served: Network
    progress: Progress
    before: "Weights"
    after: "Weights"
    shown: Mapping[str, Array]  # inputs of the proof and of the example
    predictions: Array  # what it gives for examples that are held out, or, where none are, for those it learned from
    targets: Array
    columns: tuple[str, ...]  # that are predicted
    temperature: float | None  # of its probabilities, by which they are calibrated; None: it has none
    parity: float  # error of our own network against Keras, as a fraction of what is allowed


def beginning(job: Job, examples: Examples, mlrun: Run) -> None:
    """Logs what ran and on what, before the fit, so that a run that dies can be resumed; the file comes last.

    Once for a run: MLflow refuses parameters that change.
    """
    params = job.options.as_params()
    if examples.data:
        params = params | job.source.as_params() | {"min_improvement": job.registration.min_improvement}
        counts = {f"{name}_windows": len(part) for name, part in examples.parts.named().items()}
        profile = {
            "sha256": examples.digest, "timesteps": examples.timesteps, **counts, "findings": examples.findings
        }  # fmt: skip
        mlrun.log_dataset(examples.name, examples.data, examples.digest, profile)
    mlrun.log_params(params | {"promote": job.registration.promote})
    with temporary_folder() as folder:
        job.dump(folder / config.FILE)
        mlrun.log_files(folder)


def fit(
    mlrun: Run, folder: Path, fitted: Fitted, over_time: Mapping[str, Array], held_out: Windows | None = None
) -> None:
    """The curves, the figures, and the weights before and after as arrays.

    `held_out` are the windows of the predictions, where these are of held-out data.
    """
    from training import figures  # matplotlib is slow to import

    progress = fitted.progress
    if progress.losses:
        mlrun.log_metrics("loss", progress.losses)
        mlrun.log_summary({"final_loss": progress.losses[-1]})
    if progress.validation_losses:
        mlrun.log_metrics("val_loss", progress.validation_losses)
        mlrun.log_summary({"best_epoch": progress.best_epoch, "best_val_loss": progress.best_loss})
    drawn = {"weights.png": figures.weights_before_and_after(fitted.before, fitted.after)}
    if progress.losses:
        drawn["loss.png"] = figures.loss_curve(progress.losses, progress.validation_losses)
    if fitted.predictions.shape == fitted.targets.shape:
        drawn["predictions.png"] = figures.predictions_against_targets(
            fitted.predictions, fitted.targets, fitted.columns
        )
        if held_out is not None:
            drawn["predictions_over_time.png"] = figures.predictions_over_time(
                fitted.predictions, fitted.targets, held_out, fitted.columns
            )
    drawn |= {f"hidden_states_{name}.png": figures.hidden_states(name, states) for name, states in over_time.items()}
    (folder / "figures").mkdir(parents=True)
    (folder / "weights").mkdir()
    for name, figure in drawn.items():
        figure.savefig(folder / "figures" / name, dpi=110)
    for when, weights in (("before", fitted.before), ("after", fitted.after)):
        arrays = {name.replace("/", "."): value for name, value in weights.items()}
        np.savez(folder / "weights" / f"{when}.npz", allow_pickle=False, **arrays)
    mlrun.log_files(folder)


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
