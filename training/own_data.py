"""The job on people's own data: examples, network, fit, held-out measure, proof, gate, registration, alias."""

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from registry import tag
from registry.cache import MODEL_FILE, Cache
from registry.errors import ArtifactError, RegistryConflictError, RegistryNotFoundError
from registry.references import Reference
from registry.run import Run
from registry.store import Store, VersionInfo
from service.errors import InvalidArgumentError, ServiceError
from service.model import keras_file
from service.model import proof as proofs
from service.model.network import Network
from training import config
from training.checkpoints import Checkpoints, Progress
from training.config import Job
from training.data.examples import Examples, load
from training.data.layout import Layout
from training.data.windows import Array
from training.evaluation.errors import Measured, errors, metric, predict
from training.evaluation.gate import Champion, Decision, compare, decide
from training.evaluation.measure import measure
from training.interrupts import interruptible
from training.job import Listener, log_pictures, package_tags, temporary_folder
from training.options import Options

if TYPE_CHECKING:
    from training.network import Scaling

CHALLENGER = "challenger"  # the alias of what was not promoted
SHOWN = 8  # windows that the proof and the example hold
SAMPLED = 1_000_000  # timesteps, at most, that scales are taken from where each window has its own
DRAWN = 2000  # held-out predictions that are drawn


@dataclass(frozen=True)
class Outcome:
    """What a job made."""

    run_id: str
    name: str
    version: str
    alias: str
    progress: Progress
    measured: Measured
    champion: Champion | None
    decision: Decision
    parity: float  # error of our own network against Keras, as a fraction of what is allowed


def run(job: Job, listener: Listener, *, parent: str = "") -> Outcome:
    """Trains and registers; the alias moves last, and only as the gate decides.

    Raises InvalidArgumentError for options and data that make no sense, ModelError for a network that the service
    could not serve, RegistryError, OSError. An interrupted run is marked KILLED, a failed one FAILED; neither leaves a
    version, and both can be resumed.
    """
    store, examples = _prepared(job, listener)
    with _new_run(store, job, parent) as mlrun:
        return _run(job, listener, store, mlrun, examples)


def attempt(job: Job, parent: str) -> tuple[str, float]:
    """Trains within the run `parent` and registers nothing; gives the run and the error on the validation part."""
    listener = Listener()
    store, examples = _prepared(job, listener)
    with _new_run(store, job, parent) as mlrun, temporary_folder() as folder, interruptible():
        _log_beginning(job, mlrun, examples, folder / "beginning")
        checkpoints = Checkpoints(mlrun.run_id, examples.digest)
        fitted = fit(job.options, examples, checkpoints, listener, folder, mlrun)
        part, classes = examples.parts.validation, len(examples.classes)
        found = errors(predict(fitted.served, part), part.expected(), classes)
        mlrun.log_summary({f"validation_{name}": error for name, error in found.items()})
        checkpoints.remove()
        return mlrun.run_id, found[metric(classes)]


def _new_run(store: Store, job: Job, parent: str = "") -> AbstractContextManager[Run]:
    """A run of the job's experiment, within another one if there is one."""
    name = job.registration.name
    experiment = job.registration.experiment or name
    return store.run(experiment, f"{name} seed {job.options.seed}", package_tags(), parent=parent)


def resume(run_id: str, listener: Listener) -> Outcome:
    """Goes on with a run that was interrupted or killed, from its last checkpoint, as if nothing had been.

    Raises InvalidArgumentError for a run that is finished, and for data that changed meanwhile; and as `run`.
    """
    store = Store()
    with temporary_folder() as folder:
        job = config.job_of(config.load(store.run_file(run_id, config.FILE, folder)))
    if store.run_status(run_id) == "FINISHED":
        raise InvalidArgumentError(f"resume: run {run_id} is finished", field="resume")
    store, examples = _prepared(job, listener, store)
    Checkpoints(run_id, examples.digest).load()  # which refuses data that changed, before the run is touched
    with store.resumed(run_id) as mlrun:
        return _run(job, listener, store, mlrun, examples)


def _prepared(job: Job, listener: Listener, store: Store | None = None) -> tuple[Store, Examples]:
    """The registry and the examples; what is wrong with the data is found before there is a run."""
    with ThreadPoolExecutor(1, "registry") as background:
        # MLflow takes seconds to import; meanwhile the file is read.
        opening = background.submit(Store) if store is None else None
        examples = load(job.source, listener.reading, listener.found)
        return (opening.result() if opening else store), examples  # type: ignore[return-value]


@dataclass(frozen=True)
class Fitted:
    """A fitted network, as files and as it is served."""

    model: Path
    proof: Path
    served: Network
    progress: Progress
    parity: float


def _run(job: Job, listener: Listener, store: Store, mlrun: Run, examples: Examples) -> Outcome:
    listener.started(mlrun.run_id, job.options.epochs)
    registration, layout, parts = job.registration, examples.layout, examples.parts
    checkpoints = Checkpoints(mlrun.run_id, examples.digest)
    with temporary_folder() as folder, interruptible() as check:
        _log_beginning(job, mlrun, examples, folder / "beginning")
        fitted = fit(job.options, examples, checkpoints, listener, folder, mlrun)
        measured = measure(fitted.served, examples, job.source)
        champion = _champion(store, registration.name, registration.alias, fitted.served, examples, folder / "champion")
        decision = decide(champion, registration)
        mlrun.log_summary(measured.as_metrics() | _champion_metrics(champion, measured.metric))
        check()
        version = mlrun.register(
            registration.name,
            fitted.model,
            proof_file=fitted.proof,
            example={fitted.served.inputs[0].name: parts.validation.some(slice(SHOWN)).inputs()},
            inputs=fitted.served.inputs,
            outputs=fitted.served.outputs,
            tags={
                tag.KIND: "trained",
                tag.DATA: layout.dumps(),
                tag.DATA_DIGEST: examples.digest,
                **_decision_tags(decision, measured, champion),
            },
        )
        try:
            alias, decision = _move(store, job, champion, decision, version)
        except BaseException:  # Ctrl-C above all
            store.delete_version(version.name, version.number)
            raise
    checkpoints.remove()
    return Outcome(
        mlrun.run_id,
        registration.name,
        version.number,
        alias,
        fitted.progress,
        measured,
        champion,
        decision,
        fitted.parity,
    )


def fit(
    options: Options, examples: Examples, checkpoints: Checkpoints, listener: Listener, folder: Path, mlrun: Run
) -> Fitted:
    """Fits a network, from a checkpoint if there is one, proves that it can be served, and logs how it went."""
    from training import fitting, network, proving

    parts, layout = examples.parts, examples.layout
    options = headed(options, examples)
    scaling = scaling_of(options, examples)
    model = network.build(options, layout.window, len(layout.features), scaling)
    before = network.weights(model)
    listener.built(network.summary(model), before)
    begin = time.monotonic()
    progress = fitting.fit_windows(
        model, parts.train, parts.validation, scaling, options, checkpoints, listener.learning
    )
    listener.fitted(time.monotonic() - begin)
    network.save(model, folder / "model.keras")
    shown = parts.validation.some(slice(SHOWN)).inputs()
    proof = proving.proof(model, shown)
    proof.save(folder / "proof.npz")
    served = keras_file.read(folder / "model.keras")  # what cannot be served is not registered
    parity = proofs.replay(served, proof)
    if progress.losses:
        mlrun.log_metrics("loss", progress.losses)
        mlrun.log_metrics("val_loss", progress.validation_losses)
        mlrun.log_summary({"best_epoch": progress.best_epoch, "best_val_loss": progress.best_loss})
    drawn = parts.test.some(slice(DRAWN))
    over_time = {name: layer.over_time for name, layer in proving.states(model, shown).items()}
    predicted, expected = predict(served, drawn), drawn.expected()
    log_pictures(
        mlrun.log_files, folder / "pictures", progress.losses, before, network.weights(model), predicted, expected,
        over_time, progress.validation_losses,
    )  # fmt: skip
    return Fitted(folder / "model.keras", folder / "proof.npz", served, progress, parity)


def headed(options: Options, examples: Examples) -> Options:
    """The options with the last layer and the loss that the target wants."""
    classes = len(examples.classes)
    if classes and options.loss not in {"", "sparse_categorical_crossentropy"}:
        raise InvalidArgumentError(
            f"loss: for classes there is sparse_categorical_crossentropy, got {options.loss}", field="loss"
        )
    units, activation = (classes, "softmax") if classes else (examples.parts.train.outputs, "linear")
    return replace(options, return_sequences=False, dense_units=units, dense_activation=activation)


def scaling_of(options: Options, examples: Examples) -> "Scaling":
    """What the training part, and nothing else, says of the scales."""
    from training.network import Scaling

    train, layout = examples.parts.train, examples.layout
    if options.residual:
        if layout.classes or layout.target not in layout.features:
            raise InvalidArgumentError(
                f"residual: the target {layout.target!r} has to be a number and among the features", field="residual"
            )
        feature = layout.features.index(layout.target)
        some = train.some(slice(None, None, 1 + len(train) * train.window // SAMPLED))
        sample, last = some.inputs(), train.values[train.starts + train.window - 1, feature, None]
        sample[..., feature] -= sample[:, -1:, feature]
        changes = train.expected() - last
        return Scaling(
            sample.reshape(-1, sample.shape[-1]), _deviation(changes), float(changes.mean(dtype=np.float64)), feature
        )
    sample = train.values[train.rows()]
    if layout.classes:
        return Scaling(sample)
    targets = train.expected()
    return Scaling(sample, _deviation(targets), float(targets.mean(dtype=np.float64)))


def _deviation(values: Array) -> float:
    """The standard deviation, or 1 where values do not differ."""
    return float(values.std(dtype=np.float64)) or 1.0


def _log_beginning(job: Job, mlrun: Run, examples: Examples, folder: Path) -> None:
    """What ran and on what: logged before the fit, so that a run that dies can be resumed."""
    folder.mkdir()
    job.dump(folder / config.FILE)
    mlrun.log_files(folder)
    chosen = {"promote": job.registration.promote, "min_improvement": job.registration.min_improvement}
    mlrun.log_params(job.options.as_params() | job.source.as_params() | chosen)
    counts = {f"{name}_windows": len(part) for name, part in examples.parts.named().items()}
    profile = {"sha256": examples.digest, "timesteps": examples.timesteps, **counts, "findings": examples.findings}
    mlrun.log_dataset(examples.name, examples.path, examples.digest, profile)


def _champion(
    store: Store, name: str, alias: str, network: Network, examples: Examples, folder: Path
) -> Champion | None:
    """How the version that the alias points at does on the same held-out data; None if there is no such version."""
    try:
        version = store.resolve(Reference(name, alias=alias))
    except RegistryNotFoundError:
        return None
    try:
        path, _ = Cache(folder).fetch(store, version)
        served = keras_file.read(path / MODEL_FILE)
        known = Layout.loads(text) if (text := version.tags.get(tag.DATA)) else None
        return compare(network, examples.layout, served, known, version.number, examples.parts.test)
    except (ServiceError, ArtifactError) as error:
        return Champion(version.number, None, None, str(error))


def _champion_metrics(champion: Champion | None, metric: str) -> dict[str, float]:
    return {f"champion_{metric}": champion.error} if champion and champion.error is not None else {}


def _decision_tags(decision: Decision, measured: Measured, champion: Champion | None) -> dict[str, str]:
    tags = {
        tag.DECISION: "promoted" if decision.promoted else CHALLENGER,
        tag.DECISION_REASON: decision.reason,
        tag.METRIC: measured.metric,
        tag.ERROR: f"{measured.network[measured.metric]:.9g}",
    }
    if champion is not None:
        tags[tag.CHAMPION_VERSION] = champion.version
        if champion.error is not None:
            tags[tag.CHAMPION_ERROR] = f"{champion.error:.9g}"
    return tags


def _move(
    store: Store, job: Job, champion: Champion | None, decision: Decision, version: VersionInfo
) -> tuple[str, Decision]:
    """Points the alias that was decided on at the version; `challenger` too if somebody moved the other meanwhile."""
    name, alias = job.registration.name, job.registration.alias
    if decision.promoted:
        try:
            store.move_alias(name, alias, version.number, expected=champion.version if champion else "")
        except RegistryConflictError as error:
            decision = Decision(False, f"somebody else was faster: {error}")
            store.set_tags(
                name,
                version.number,
                {tag.DECISION: CHALLENGER, tag.DECISION_REASON: decision.reason},
            )
        else:
            return alias, decision
    store.set_alias(name, CHALLENGER, version.number)
    return CHALLENGER, decision
