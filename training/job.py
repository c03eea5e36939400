"""The training job: examples, network, fit, proof, evaluation, gate, registration, alias.

There are two sources of examples, a file and the reference sequences, and one job for both. Of the reference nothing is
held out, so that it is fitted as one batch and neither measured nor compared.
"""

import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from registry import tag
from registry.cache import INTERVALS_FILE, MODEL_FILE, Cache
from registry.entries import VersionInfo
from registry.errors import ArtifactError, RegistryConflictError, RegistryNotFoundError
from registry.references import Reference
from registry.run import Run
from registry.store import Store
from service.errors import InvalidArgumentError, ServiceError
from service.model import keras_file
from service.model import proof as proofs
from service.model.intervals import Intervals, calibrate
from service.model.network import Network
from training import config, describing, recording
from training.checkpoints import Checkpoints, Progress
from training.config import Job
from training.data.examples import Examples, load
from training.data.layout import Layout
from training.data.windows import Array
from training.evaluation import adaptive
from training.evaluation.errors import Measured, errors, metric, named, predict
from training.evaluation.folds import check_count, stretches
from training.evaluation.gate import Champion, Decision, compare, decide
from training.evaluation.measure import by_fold, measure
from training.interrupts import interruptible
from training.options import Options
from training.recording import Fitted, temporary_folder
from training.scaling import Scaling, scaling_of

if TYPE_CHECKING:
    from training.network import Weights

CHALLENGER = "challenger"  # the alias of what was not promoted
SHOWN = 8  # windows that the proof and the example hold
DRAWN = 2000  # predictions that are drawn


@dataclass(frozen=True)
class Outcome:
    """What a job made."""

    run_id: str
    name: str
    version: str
    alias: str
    options: Options
    examples: Examples
    fitted: Fitted
    measured: Measured | None  # None: nothing is held out
    champion: Champion | None
    decision: Decision


class Listener:
    """Hears how a job goes; the command line draws it. This one keeps quiet."""

    def reading(self, done: int, total: int) -> None:
        """So much of the file is read."""

    def found(self, text: str) -> None:
        """Something about the data that its owner should know."""

    def started(self, run_id: str, epochs: int) -> None:
        """The run has begun, or goes on; with so many epochs at most."""

    def built(self, summary: str, weights: "Weights") -> None:
        """The network stands, with its initial weights."""

    def learning(self, epoch: int, share: float, progress: Progress) -> None:
        """So many epochs are done, and that share of the next."""

    def fitted(self, seconds: float) -> None:
        """The network is fitted."""

    def comparing(self, done: int, total: int) -> None:
        """So many forecasts of AutoETS and AutoTheta are made."""


@dataclass(frozen=True)
class _Ready:
    """What a job needs before it has a run: whatever is wrong with options or data is found in making it."""

    job: Job
    store: Store
    examples: Examples
    options: Options  # with the last layer and the loss that the target wants
    scaling: Scaling | None
    model: Any  # Keras's
    targets: Array  # of the training part, in the shape that the loss wants; where something is held out, unused


def run(job: Job, listener: Listener, *, parent: str = "") -> Outcome:
    """Trains and registers; the alias moves last, and only as the gate decides.

    Raises InvalidArgumentError for options and data that make no sense, ModelError for a network that the service
    could not serve, RegistryError, OSError. An interrupted run is marked KILLED, a failed one FAILED; neither leaves a
    version, and both can be resumed.
    """
    ready = _prepare(job, listener)
    with _new_run(ready, parent) as mlrun:
        recording.beginning(job, ready.examples, mlrun)
        return _run(ready, listener, mlrun)


def attempt(job: Job, parent: str) -> tuple[str, float]:
    """Trains within the run `parent` and registers nothing; gives the run and the error on the validation part."""
    ready = _prepare(job, Listener())
    with _new_run(ready, parent) as mlrun, temporary_folder() as folder, interruptible():
        recording.beginning(job, ready.examples, mlrun)
        checkpoints = Checkpoints(mlrun.run_id, ready.examples.digest)
        fitted = _fit(ready, checkpoints, Listener(), folder, mlrun)
        part, classes = ready.examples.parts.validation, len(ready.examples.classes)
        found = errors(predict(fitted.served, part), part.expected(), classes)
        mlrun.log_summary({f"validation_{name}": error for name, error in found.items()})
        checkpoints.remove()
        error = found[metric(ready.examples.layout)]
        return mlrun.run_id, error if math.isfinite(error) else math.inf  # so that errors can be compared


def resume(run_id: str, listener: Listener) -> Outcome:
    """Goes on with a run that was interrupted or killed, from its last checkpoint, as if nothing had been.

    Raises InvalidArgumentError for a run that is finished, and for data that changed meanwhile; and as `run`.
    """
    store = Store()
    with temporary_folder() as folder:
        job = config.job_of(config.load(store.run_file(run_id, config.FILE, folder)))
    if store.run_status(run_id) == "FINISHED":
        raise InvalidArgumentError(f"resume: run {run_id} is finished", field="resume")
    ready = _prepare(job, listener, store)
    Checkpoints(run_id, ready.examples.digest).load()  # which refuses data that changed, before the run is touched
    with store.resumed(run_id) as mlrun:
        return _run(ready, listener, mlrun)


def _new_run(ready: _Ready, parent: str) -> AbstractContextManager[Run]:
    """A run of the job's experiment, within another one if there is one."""
    registration = ready.job.registration
    experiment = registration.experiment or registration.name
    return ready.store.run(experiment, describing.run_name(ready.job), recording.package_tags(), parent=parent)


def _prepare(job: Job, listener: Listener, store: Store | None = None) -> _Ready:
    """Reads the data and builds the network."""
    with ThreadPoolExecutor(1, "registry") as background:
        # MLflow takes seconds to import and to make a new database; meanwhile data is read and TensorFlow imported.
        opening = background.submit(lambda: store or Store())
        examples = load(job.source, listener.reading, listener.found)
        if (folds := job.registration.gate_folds) and examples.held_out:  # what is wrong is said before the fit
            check_count("gate_folds", folds)
            stretches(examples.parts.test, folds)
        if job.source.conformal == "adaptive":
            adaptive.check(examples)
        options = headed(job.options, examples)
        from training import network, text_network

        targets = examples.parts.train.some(slice(0)).expected()
        if examples.layout.unit:
            model = text_network.build(options, job.source, examples)
            return _Ready(job, opening.result(), examples, options, None, model, targets)
        scaling = scaling_of(options, examples) if examples.held_out else None
        model = network.build(options, examples.layout.window, len(examples.layout.features), scaling)
        if not examples.held_out:
            known = examples.parts.train.expected()[:, 0]
            targets = network.targets_for(model, known, options.chosen_loss)
        return _Ready(job, opening.result(), examples, options, scaling, model, targets)


def headed(options: Options, examples: Examples) -> Options:
    """The options with the last layer and the loss that the target of a file wants."""
    if not examples.held_out:
        return options
    classes = len(examples.classes)
    if classes and options.loss not in {"", "sparse_categorical_crossentropy"}:
        raise InvalidArgumentError(
            f"loss: for classes there is sparse_categorical_crossentropy, got {options.loss}", field="loss"
        )
    train = examples.parts.train
    units, activation = (classes, "softmax") if classes else (train.outputs * max(1, train.several), "linear")
    return replace(options, return_sequences=False, dense_units=units, dense_activation=activation)


def _run(ready: _Ready, listener: Listener, mlrun: Run) -> Outcome:
    listener.started(mlrun.run_id, ready.options.epochs)
    examples, registration, store = ready.examples, ready.job.registration, ready.store
    checkpoints = Checkpoints(mlrun.run_id, examples.digest)
    with temporary_folder() as folder, interruptible() as check:
        fitted = _fit(ready, checkpoints, listener, folder, mlrun)
        measured = intervals_file = None
        if examples.held_out:
            source = ready.job.source
            intervals = _intervals(fitted.served, examples, source.conformal)
            measured = measure(fitted.served, examples, source, intervals, fitted.temperature)
            measured = replace(measured, folds=by_fold(fitted.served, examples, source, registration.gate_folds))
            if intervals is not None:
                intervals_file = folder / INTERVALS_FILE
                intervals.save(intervals_file)
        current = _current(store, registration.name, registration.alias)
        champion = None
        if current and measured:
            champion = _compare(store, current, fitted.served, examples, folder, ready.job)
        decision = decide(measured, champion, registration)
        if measured:
            mlrun.log_summary(measured.as_metrics() | _champion_metrics(champion, measured.metric))
            for who, each in measured.folds.items():
                mlrun.log_metrics(f"fold_{who.replace(' ', '_')}_{measured.metric}", each)
        describe = partial(
            describing.version, ready.job, examples, fitted.served.parameter_count, measured, champion, mlrun.run_id
        )
        check()
        version = mlrun.register(
            registration.name,
            fitted.model,
            proof_file=fitted.proof,
            example=fitted.shown,
            inputs=fitted.served.inputs,
            outputs=fitted.served.outputs,
            tags={tag.KIND: "trained", **_data_tags(examples), **_decision_tags(decision, measured, champion)},
            intervals_file=intervals_file,
            description=describe(decision),
            model_description=describing.model(examples, registration.alias),
        )
        try:
            alias, decision = _move(ready, current, decision, version, describe)
        except BaseException:  # Ctrl-C above all
            store.delete_version(version.name, version.number)
            raise
    if measured:
        mlrun.log_table(describing.GATE_FILE, *describing.gate(measured, champion))
    mlrun.describe(describing.run(describe(decision), version.name, version.number))
    checkpoints.remove()
    return Outcome(
        mlrun.run_id,
        registration.name,
        version.number,
        alias,
        ready.options,
        examples,
        fitted,
        measured,
        champion,
        decision,
    )


def _fit(ready: _Ready, checkpoints: Checkpoints, listener: Listener, folder: Path, mlrun: Run) -> Fitted:
    """Fits the network, from a checkpoint if there is one, proves that it can be served, and logs how it went."""
    from training import fitting, network, proving

    model, examples = ready.model, ready.examples
    before = network.weights(model)
    listener.built(network.summary(model), before)
    begin = time.monotonic()
    progress = fitting.fit_examples(
        model, examples, ready.targets, ready.scaling, ready.options, checkpoints, listener.learning
    )
    temperature = network.calibrate(model, examples.parts.validation)
    listener.fitted(time.monotonic() - begin)
    after = network.weights(model)

    network.save(model, folder / "model.keras")
    served = keras_file.read(folder / "model.keras")  # what cannot be served is not registered
    shown = named(served, examples.shown.some(slice(SHOWN)).feeds())
    proof = proving.proof(model, shown, served)
    proof.save(folder / "proof.npz")
    parity = proofs.replay(served, proof)

    drawn = (examples.parts.test if examples.held_out else examples.parts.train).some(slice(DRAWN))
    targets = drawn.expected() if examples.held_out else ready.targets
    fitted = Fitted(
        folder / "model.keras", folder / "proof.npz", served, progress, before, after, shown, predict(served, drawn),
        targets, examples.layout.predicted, temperature, parity,
    )  # fmt: skip
    over_time = {name: layer.over_time for name, layer in proving.states(model, shown).items()}
    recording.fit(mlrun, folder / "pictures", fitted, over_time, drawn if examples.held_out else None)
    return fitted


def _intervals(served: Network, examples: Examples, conformal: str) -> Intervals | None:
    """The prediction intervals of a network that gives numbers, from its errors on the validation part."""
    if examples.classes:
        return None
    validation = examples.parts.validation
    predicted, expected = predict(served, validation), validation.expected()
    plain = calibrate(predicted, expected)
    if plain is None or conformal == "split":
        return plain
    recent = adaptive.of_windows(np.abs(predicted - expected), validation)
    return adaptive.calibrate(plain, predicted, expected, recent)


# The gate and the registry.


def _current(store: Store, name: str, alias: str) -> VersionInfo | None:
    """The version that the alias points at; None if there is none."""
    try:
        return store.resolve(Reference(name, alias=alias))
    except RegistryNotFoundError:
        return None


def _compare(
    store: Store, version: VersionInfo, network: Network, examples: Examples, folder: Path, job: Job
) -> Champion:
    """How the version that the alias points at does on the same held-out data."""
    try:
        path, _ = Cache(folder / "champion").fetch(store, version)
        served = keras_file.read(path / MODEL_FILE)
        known = Layout.loads(text) if (text := version.tags.get(tag.DATA)) else None
        known = known if known and known.has_columns else None
        test = examples.parts.test
        for part in examples.parts.named().values():  # the table may be read once more
            part.release()
        if test.timeline is not None:
            test.timeline.release()
        folds = stretches(test, job.registration.gate_folds) if job.registration.gate_folds else ()
        return compare(network, examples.layout, served, known, version.number, test, folds, job.source)
    except (ServiceError, ArtifactError) as error:
        return Champion(version.number, None, None, str(error))


def _champion_metrics(champion: Champion | None, metric: str) -> dict[str, float]:
    return {f"champion_{metric}": champion.error} if champion and champion.error is not None else {}


def _data_tags(examples: Examples) -> dict[str, str]:
    """What inputs and outputs mean, and which file they come from."""
    if not examples.data:
        return {}
    return {tag.DATA: examples.layout.dumps(), tag.DATA_DIGEST: examples.digest}


def _decision_tags(decision: Decision, measured: Measured | None, champion: Champion | None) -> dict[str, str]:
    tags = {
        tag.DECISION: "promoted" if decision.promoted else CHALLENGER,
        tag.DECISION_REASON: decision.reason,
    }
    if measured is not None:
        tags |= {tag.METRIC: measured.metric, tag.ERROR: f"{measured.network[measured.metric]:.9g}"}
        best = min(measured.baselines, key=lambda name: measured.baselines[name][measured.metric])
        tags |= {tag.BASELINE: best, tag.BASELINE_ERROR: f"{measured.baselines[best][measured.metric]:.9g}"}
        tags |= {f"{tag.COVERAGE}.{level:g}": f"{share:.4f}" for level, share in measured.coverage.items()}
        scaled = measured.adaptive_coverage
        tags |= {f"{tag.ADAPTIVE_COVERAGE}.{level:g}": f"{share:.4f}" for level, share in scaled.items()}
        if measured.temperature is not None:
            tags |= {
                tag.TEMPERATURE: f"{measured.temperature:.6g}",
                tag.CALIBRATION_ERROR: f"{measured.network['calibration_error']:.6g}",
                tag.UNCALIBRATED_ERROR: f"{measured.uncalibrated['calibration_error']:.6g}",
            }
    if champion is not None:
        tags[tag.CHAMPION_VERSION] = champion.version
        if champion.error is not None:
            tags[tag.CHAMPION_ERROR] = f"{champion.error:.9g}"
    return tags


def _move(
    ready: _Ready,
    current: VersionInfo | None,
    decision: Decision,
    version: VersionInfo,
    describe: Callable[[Decision], str],
) -> tuple[str, Decision]:
    """Points the alias that was decided on at the version; `challenger` too if somebody moved the other meanwhile."""
    store, name, alias = ready.store, ready.job.registration.name, ready.job.registration.alias
    if decision.promoted:
        try:
            store.move_alias(name, alias, version.number, expected=current.number if current else "")
        except RegistryConflictError as error:
            decision = Decision(False, f"somebody else was faster: {error}")
            store.set_tags(
                name, version.number, {tag.DECISION: CHALLENGER, tag.DECISION_REASON: decision.reason}
            )  # fmt: skip
            store.describe_version(name, version.number, describe(decision))
        else:
            return alias, decision
    store.set_alias(name, CHALLENGER, version.number)
    return CHALLENGER, decision
