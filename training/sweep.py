"""Sweeps: many jobs with different values of the open options, run in parallel; the best goes through the gate."""

import logging
import multiprocessing
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from registry.store import Store
from service.errors import InvalidArgumentError, ServiceError
from training import config, describing
from training.job import Listener
from training.job import Outcome as Trained
from training.job import attempt as attempt_job
from training.job import run as run_job
from training.recording import package_tags

SWEEP = "sweep"  # the key of a config file under which is said what to try

Submit = Callable[[dict[str, Any], str], "Future[SweepTrial]"]


@dataclass(frozen=True)
class Space:
    """What one option may be."""

    option: str
    choices: tuple[Any, ...] = ()  # or, where there are none, a range:
    low: float = 0
    high: float = 0
    log: bool = False

    def suggest(self, trial: Any) -> Any:
        """A value for a trial of Optuna's."""
        if self.choices:
            return self.choices[trial.suggest_categorical(self.option, range(len(self.choices)))]
        if isinstance(config.DEFAULTS[self.option], float):
            return trial.suggest_float(self.option, self.low, self.high, log=self.log)
        return trial.suggest_int(self.option, int(self.low), int(self.high), log=self.log)


@dataclass(frozen=True)
class SweepTrial:
    """A job that was tried."""

    values: Mapping[str, Any]  # of the options that are open
    error: float  # on the validation part, in real units
    run_id: str


@dataclass(frozen=True)
class SweepOutcome:
    """What a sweep gave."""

    trials: list[SweepTrial]  # the best first
    best: Trained


def spaces(document: Mapping[str, Any]) -> tuple[Space, ...]:
    """What is open. Raises InvalidArgumentError for what cannot be tried."""
    found = document.get(SWEEP)
    if not isinstance(found, dict) or not found:
        raise InvalidArgumentError(
            f"config: there is no {SWEEP!r}, a mapping of options to choices, [1, 2], or ranges, {{low: 1, high: 2}}",
            field="config",
        )
    return tuple(_space(option, value) for option, value in found.items())


def _space(option: str, value: Any) -> Space:
    if option not in config.DEFAULTS or option in ("data", "name", "alias", "experiment", "promote"):
        raise InvalidArgumentError(f"config: {option!r} cannot be tried in a sweep", field="config")
    if isinstance(value, list) and value:
        for choice in value:
            config.value_of(option, choice)
        return Space(option, tuple(value))
    default = config.DEFAULTS[option]
    if isinstance(value, dict) and {"low", "high"} <= value.keys() <= {"low", "high", "log"}:
        if type(default) not in (int, float):
            raise InvalidArgumentError(f"config: {option} is not a number; list the choices", field="config")
        low, high = config.value_of(option, value["low"]), config.value_of(option, value["high"])
        if low <= high:
            return Space(option, (), low, high, bool(value.get("log", False)))
    raise InvalidArgumentError(
        f"config: for {option} expected choices, [1, 2], or a range, {{low: 1, high: 2}}; got {value!r}", field="config"
    )


def run(
    document: Mapping[str, Any],
    trials: int,
    jobs: int,
    cluster: str,
    listener: Listener,
    tried: Callable[[SweepTrial | str, int], None],
) -> SweepOutcome:
    """Tries so many jobs, so many at a time, and puts the best through the gate; `tried` hears of each, and how many.

    Each trial is a run within the sweep's run, judged on the validation part. The best is then fitted once more, which
    gives the same network on the same kind of machine, and only that one is measured on what is held out.

    Raises InvalidArgumentError, RegistryError, and what the first trial raised if none succeeded.
    """
    open_options = spaces(document)
    fixed = {name: value for name, value in document.items() if name != SWEEP}
    job = config.job_of(fixed)
    if not job.source.data:
        raise InvalidArgumentError("data: a sweep needs a data file", field="data")
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=job.options.seed))
    store, name = Store(), job.registration.name
    with store.run(
        job.registration.experiment or name,
        f"{name}: sweep of {', '.join(s.option for s in open_options)}"[: describing.LONGEST_NAME],
        package_tags(),
    ) as parent:
        parent.log_params({"trials": trials, **{f"sweep.{s.option}": document[SWEEP][s.option] for s in open_options}})
        done: list[SweepTrial] = []
        errors: list[Exception] = []
        with _workers(jobs, cluster) as submit:
            running: dict[Future[SweepTrial], tuple[Any, dict[str, Any]]] = {}
            begun = 0
            while begun < trials or running:
                while begun < trials and len(running) < jobs:
                    asked = study.ask()
                    values = {space.option: space.suggest(asked) for space in open_options}
                    running[submit({**fixed, **values}, parent.run_id)] = asked, values
                    begun += 1
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    asked, values = running.pop(future)
                    try:
                        trial = replace(future.result(), values=values)
                    except ServiceError as error:
                        errors.append(error)
                        study.tell(asked, state=optuna.trial.TrialState.FAIL)
                        tried(error.message, len(done) + len(errors))
                    else:
                        done.append(trial)
                        study.tell(asked, trial.error)
                        tried(trial, len(done) + len(errors))
        if not done:
            raise errors[0]
        done.sort(key=lambda trial: trial.error)
        best = config.job_of({**fixed, **done[0].values})
        parent.log_summary({"best_validation_error": done[0].error, "failed_trials": len(errors)})
        parent.describe(describing.sweep([(trial.values, trial.error) for trial in done]))
        return SweepOutcome(done, run_job(best, listener, parent=parent.run_id))


def attempt(document: dict[str, Any], parent: str) -> SweepTrial:
    """A trial, in a process of its own."""
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")  # trials run side by side
    os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")
    run_id, error = attempt_job(config.job_of(document), parent)
    return SweepTrial({}, error, run_id)


@contextmanager
def _workers(jobs: int, cluster: str) -> Iterator[Submit]:
    """Where trials run: processes here, or tasks on a Ray cluster."""
    if cluster:
        with _ray(cluster) as submit:
            yield submit
        return
    # Spawned, because TensorFlow and MLflow have threads that a fork would lose.
    pool = ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"))
    try:
        yield lambda document, parent: pool.submit(attempt, document, parent)
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _ray(address: str) -> Iterator[Submit]:
    """Tasks on a Ray cluster, one core each; its nodes need Unroll, the data under the same path, and the registry."""
    try:
        import ray
    except ImportError:
        raise InvalidArgumentError("cluster: Ray is not installed; pip install 'unroll-serving[cluster]'") from None
    variables = {name: value for name, value in os.environ.items() if name.startswith(("MLFLOW_", "UNROLL_"))}
    try:
        ray.init(address=address, runtime_env={"env_vars": variables}, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError) as error:
        raise InvalidArgumentError(f"cluster: no Ray cluster at {address}: {error}", field="cluster") from error
    try:
        task = ray.remote(num_cpus=1)(_answer)

        def submit(document: dict[str, Any], parent: str) -> "Future[SweepTrial]":
            inner = task.remote(document, parent).future()
            outer: Future[SweepTrial] = Future()

            def hand_over(finished: "Future[SweepTrial | ServiceError]") -> None:
                try:
                    result = finished.result()
                except Exception as error:  # whatever Ray raises for a task that was lost
                    outer.set_exception(error)
                    return
                if isinstance(result, ServiceError):
                    outer.set_exception(result)
                else:
                    outer.set_result(result)

            inner.add_done_callback(hand_over)
            return outer

        yield submit
    finally:
        ray.shutdown()


def _answer(document: dict[str, Any], parent: str) -> SweepTrial | ServiceError:
    """A trial, or what it raised; Ray would wrap the error otherwise."""
    try:
        return attempt(document, parent)
    except ServiceError as error:
        return error
