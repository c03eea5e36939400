"""Backtests: what the network of a job, and its baselines, would have forecast in the past; by rolling origin.

Nothing that is held out is touched, so that options can be chosen by a backtest and then judged on the held-out part.
"""

import math
from dataclasses import dataclass

import numpy as np

from registry.run import Run
from registry.store import Store
from service.errors import InvalidArgumentError
from service.model import keras_file
from service.model.network import Network
from training import describing, recording
from training.checkpoints import Checkpoints
from training.config import Job
from training.data import sources
from training.data.examples import Examples, load
from training.data.times import text
from training.data.windows import Windows
from training.evaluation.accuracy import scales
from training.evaluation.backtested import Backtested, Errors, FoldForecasts
from training.evaluation.baselines import Predicted, forecasts
from training.evaluation.errors import NETWORK, predict
from training.evaluation.folds import Folds, RollingOrigin
from training.evaluation.statistical import MOST_SERIES, Statistical
from training.interrupts import interruptible
from training.job import Listener, headed
from training.options import Options
from training.recording import package_tags, temporary_folder
from training.scaling import scaling_of

TABLE, PICTURE = "errors.json", "backtest.png"
RESOLUTION = 85  # of the picture, which is then as wide as MLflow shows it in a description


@dataclass(frozen=True)
class Plan:
    """What a backtest is asked for beside its job."""

    folds: int
    stride: int = 0  # steps from one origin to the next; 0: such that folds are as long as the held-out part
    refit: bool = False  # whether the network is fitted anew for each fold, or once before the first
    statsforecast: bool = False  # whether AutoETS and AutoTheta are among the baselines


@dataclass(frozen=True)
class Outcome:
    """What a backtest found."""

    run_id: str
    options: Options
    folds: Folds
    found: Backtested


def run(job: Job, plan: Plan, listener: Listener) -> Outcome:
    """Fits, forecasts and records, in a run with a run for each fold within it; registers nothing.

    Raises InvalidArgumentError for options and data that make no sense, ModelError, RegistryError, OSError.
    """
    source = job.source
    if not source.data or source.text or source.is_book or sources.suffix(source.data) == ".npz":
        raise InvalidArgumentError("data: a backtest needs a table, whose rows follow each other", field="data")
    rolling = RollingOrigin(plan.folds, plan.stride, max(1, job.source.horizon))
    examples = load(job.source, listener.reading, listener.found, rolling.before(0))
    folds = rolling.folds
    assert folds is not None
    options = headed(job.options, examples)
    _check(plan, examples)
    store, name = Store(), job.registration.name
    experiment = job.registration.experiment or name
    made: list[FoldForecasts] = []
    with (
        store.run(experiment, describing.run_name(job, "backtest"), package_tags()) as parent,
        interruptible() as check,
    ):
        recording.beginning(job, examples, parent)
        parent.log_params({"folds": plan.folds, "stride": folds.stride, "refit": plan.refit})
        judge = None if plan.refit else _Judge(job, plan, options, examples, parent, listener)
        for fold, origin in enumerate(folds.origins):
            check()
            with store.run(experiment, f"fold {fold + 1}, from {text(origin)}", {}, parent=parent.run_id) as child:
                child.log_params({"fold": fold + 1, "origin": text(origin), "refit": plan.refit})
                if plan.refit and fold:
                    examples = load(job.source, listener.reading, lambda _: None, rolling.before(fold))
                own = judge or _Judge(job, plan, options, examples, child, listener)
                forecast = own.forecast(folds, fold)
                if not forecast:
                    listener.found(f"fold {fold + 1}, from {text(origin)}: no series has a forecast in it")
                    continue
                made += forecast
                one = Backtested.of(examples.layout, folds.origins, forecast)
                child.log_summary(as_metrics(one.errors()))
                listener.found(f"fold {fold + 1}, from {text(origin)}: {_line(one)}")
        if not made:
            raise InvalidArgumentError("folds: no fold has a forecast in it", field="folds")
        found = Backtested.of(examples.layout, folds.origins, made)
        parent.log_summary(as_metrics(found.errors()))
        parent.log_table(TABLE, *found.as_rows())
        with temporary_folder() as folder:
            from training.evaluation.picture import draw

            draw(found, name).savefig(folder / PICTURE, dpi=RESOLUTION)
            parent.log_files(folder)
        parent.describe(describing.backtest(job, examples, found, PICTURE, parent.run_id))
    return Outcome(parent.run_id, options, folds, found)


def as_metrics(errors: Errors) -> dict[str, float]:
    """Flat, for the record of a run; what is not finite is left out."""
    return {
        f"{who.replace(' ', '_')}_{name}": value
        for who, figures in errors.items()
        for name, value in figures.items()
        if math.isfinite(value)
    }


def _check(plan: Plan, examples: Examples) -> None:
    """Raises InvalidArgumentError where AutoETS and AutoTheta are asked for what they cannot forecast."""
    if not plan.statsforecast:
        return
    if examples.classes:
        raise InvalidArgumentError(
            "statsforecast: AutoETS and AutoTheta forecast numbers, not classes", field="statsforecast"
        )
    timeline = examples.parts.test.timeline
    if timeline is not None and len(timeline.names) > MOST_SERIES:
        raise InvalidArgumentError(
            f"statsforecast: models are fitted to at most {MOST_SERIES} series; the table has {len(timeline.names)}",
            field="statsforecast",
        )


def _line(found: Backtested) -> str:
    """The network's error and the best baseline's."""
    errors = {who: figures[found.metric] for who, figures in found.errors().items()}
    own = errors.pop(NETWORK)
    best = min(errors, key=lambda who: errors[who])
    return f"{found.metric} {own:.5g}, {best} {errors[best]:.5g}"


class _Judge:
    """A fitted network and its baselines, all of which know what lies before one origin."""

    def __init__(
        self, job: Job, plan: Plan, options: Options, examples: Examples, run: Run, listener: Listener
    ) -> None:
        self._examples, self._season, self._listener = examples, job.source.season, listener
        self._network = _fit(options, examples, run, listener)
        self._statistical = [Statistical(self._season, listener.found) for _ in examples.layout.predicted]
        self._compare = plan.statsforecast

    def forecast(self, folds: Folds, fold: int) -> list[FoldForecasts]:
        """The forecasts of a fold, for each target; none where no window lies in it."""
        every = folds.windows(fold, self._examples.parts.test)
        if not len(every):
            return []
        answers = predict(self._network, every)
        if not every.several:
            return [self._beside(fold, 0, self._examples, every, answers)]
        return [
            self._beside(fold, i, self._examples.of_target(i), every.of_target(i), answers[..., i])
            for i in range(every.several)
        ]

    def _beside(
        self, fold: int, target: int, examples: Examples, windows: Windows, answers: Predicted
    ) -> FoldForecasts:
        """The network's forecasts of one target, with those of the baselines."""
        train, timeline = examples.parts.train, windows.timeline
        assert timeline is not None
        predicted = {NETWORK: answers, **forecasts(train, windows, self._season, len(examples.classes))}
        if self._compare:
            predicted |= self._statistical[target].forecasts(windows, self._listener.comparing)
        scale = np.full(len(windows), np.nan)
        if not examples.classes:
            scale = scales(train, self._season)[timeline.series[windows.starts]]
        return FoldForecasts(fold, target, windows, predicted, scale)


def _fit(options: Options, examples: Examples, mlrun: Run, listener: Listener) -> Network:
    """A network fitted to the training part, as it would be served."""
    from training import fitting, network

    layout, train = examples.layout, examples.parts.train
    scaling = scaling_of(options, examples)
    model = network.build(options, layout.window, len(layout.features), scaling)
    checkpoints = Checkpoints(mlrun.run_id, examples.digest)
    listener.started(mlrun.run_id, options.epochs)
    progress = fitting.fit_examples(
        model, examples, train.some(slice(0)).expected(), scaling, options, checkpoints, listener.learning
    )  # fmt: skip
    checkpoints.remove()
    mlrun.log_metrics("loss", progress.losses)
    mlrun.log_metrics("val_loss", progress.validation_losses)
    with temporary_folder() as folder:
        network.save(model, folder / "model.keras")
        return keras_file.read(folder / "model.keras")
