"""Training: our fit and plain `model.fit`, memory on a long table, and `unroll train` next to bare imports.

Every measurement is a process of its own, so that each traces, imports and starts from nothing.
"""

import json
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import ROOT, Figure, console, environment, machine, middle, python, show, timed

EPOCHS = 2000
PLAIN_SECONDS = 60.0  # after which the plain fit is stopped, and the rest of its epochs calculated
ROUNDS = 3
ROWS, LONG, STEPS_OF_LONG = 20_000, 5_000_000, 3
WINDOW = 48
IMPORTS = "import tensorflow, mlflow"


def main() -> None:
    """Measures and prints."""
    notes = [machine()]
    show("Training", [_fit(notes), _shell(), _windows(), _memory()], notes)


def plain() -> dict[str, float]:
    """Seconds of `model.fit` as Keras's guide has it, and how many epochs were run for that."""
    import keras

    ends: list[float] = []

    class Clock(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
        """Notes when each epoch ends; stops after PLAIN_SECONDS."""

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            """After each epoch."""
            ends.append(time.perf_counter() - begin)
            self.model.stop_training = ends[-1] > PLAIN_SECONDS

    model, inputs, targets = _network()
    begin = time.perf_counter()
    model.fit(inputs, targets, epochs=EPOCHS, verbose=0, callbacks=[Clock()])
    run = len(ends)
    each = (ends[-1] - ends[0]) / (run - 1)  # without the first, which traces
    return {"seconds": ends[-1] + (EPOCHS - run) * each, "epochs": run}


def ours() -> dict[str, float]:
    """Seconds of `training.fitting.fit`, tracing included."""
    from training import fitting

    model, inputs, targets = _network()
    begin = time.perf_counter()
    losses = fitting.fit(model, inputs, targets, EPOCHS, lambda _epoch, _loss: None)
    return {"seconds": time.perf_counter() - begin, "epochs": len(losses)}


def windows_ours() -> dict[str, float]:
    """Windows a second of `training.fitting.fit_windows`, without the first epoch, which traces."""
    from training import fitting
    from training.checkpoints import Checkpoints

    model, examples, scaling, options = _long(ROWS)
    ends: list[float] = []

    def report(_epoch: int, share: float, _progress: object) -> None:
        if share == 0:
            ends.append(time.perf_counter())

    parts = examples.parts
    checkpoints = Checkpoints("benchmark", examples.digest)
    fitting.fit_windows(model, parts.train, parts.validation, scaling, options, checkpoints, report)
    checkpoints.remove()
    return {"rate": len(parts.train) * (len(ends) - 1) / (ends[-1] - ends[0])}


def windows_plain() -> dict[str, float]:
    """The same windows, made beforehand and scaled as there, in Keras's own loop."""
    import keras

    from training import fitting

    model, examples, scaling, options = _long(ROWS)
    ends: list[float] = []

    class Clock(keras.callbacks.Callback):  # type: ignore[misc]  # as above
        """Notes when each epoch ends."""

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            """After each epoch."""
            ends.append(time.perf_counter())

    learner = fitting.learner(model)
    train, held = (
        (part.inputs(), (part.expected() - scaling.offset) / scaling.scale)
        for part in (examples.parts.train, examples.parts.validation)
    )
    learner.fit(
        *train, batch_size=options.batch_size, epochs=options.epochs, validation_data=held, verbose=0,
        callbacks=[Clock()],
    )  # fmt: skip
    return {"rate": len(train[0]) * (len(ends) - 1) / (ends[-1] - ends[0])}


def memory() -> dict[str, float]:
    """Bytes that a process has at most, above what it has once TensorFlow is there, while it fits a long table."""
    import resource

    from training import fitting
    from training.checkpoints import Checkpoints

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    model, examples, scaling, options = _long(LONG)
    steps = iter(range(STEPS_OF_LONG))

    def report(*_: object) -> None:
        if next(steps, None) is None:
            raise InterruptedError

    checkpoints = Checkpoints("benchmark", examples.digest)
    with suppress(InterruptedError):
        fitting.fit_windows(
            model, examples.parts.train, examples.parts.validation, scaling, options, checkpoints, report
        )  # fmt: skip
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"peak": peak * 1024, "more": (peak - before) * 1024, "windows": len(examples.parts.train)}


def _long(rows: int) -> tuple[Any, Any, Any, Any]:
    """A network, its examples from a CSV file of so many rows with four features, its scaling and its options."""
    from training import config, network
    from training import job as jobs
    from training.data import examples as data
    from training.scaling import scaling_of

    with tempfile.TemporaryDirectory(prefix="unroll-bench-") as folder:
        path = Path(folder) / "long.csv"
        _write(path, rows)
        asked = {"data": str(path), "time": "t", "target": "a", "window": WINDOW, "batch-size": 64, "epochs": 4}
        job = config.job_of(asked)
        examples = data.load(job.source, lambda *_: None, lambda _: None)
    options = jobs.headed(job.options, examples)
    scaling = scaling_of(options, examples)
    return network.build(options, WINDOW, len(examples.layout.features), scaling), examples, scaling, options


def _write(path: Path, rows: int) -> None:
    import pyarrow as pa
    from pyarrow import csv

    noise = np.random.default_rng(0)
    with csv.CSVWriter(path, pa.schema([("t", pa.int64()), *((name, pa.float32()) for name in "abcd")])) as writer:
        for start in range(0, rows, 500_000):
            count = min(500_000, rows - start)
            numbers = [noise.normal(size=count).round(3).astype(np.float32) for _ in "abcd"]
            writer.write(pa.table([np.arange(start, start + count), *numbers], names=["t", *"abcd"]))


def _network() -> tuple[Any, Any, Any]:
    """The reference network, its inputs and its targets."""
    from training import network
    from training.data.reference import reference
    from training.options import Options

    options, train = Options(), reference()[1].train
    model = network.build(options, train.window, train.values.shape[1])
    return model, train.inputs(), network.targets_for(model, train.expected()[:, 0], options.chosen_loss)


def _fit(notes: list[str]) -> Figure:
    """How much faster our fit is."""
    theirs, own = [], []
    for number in range(1, ROUNDS + 1):
        console.print(f"fit, round {number} of {ROUNDS} …")
        theirs.append(_elsewhere("plain"))
        own.append(_elsewhere("ours"))
    fewest = int(min(result["epochs"] for result in theirs))
    if fewest < EPOCHS:
        notes.append(f"the plain fit was stopped after {fewest} epochs; the time of {EPOCHS} is calculated from them")
    return Figure(
        f"{EPOCHS} epochs: plain fit by ours",
        f"{middle(r['seconds'] for r in own):.2f} s",
        f"{middle(r['seconds'] for r in theirs):.1f} s",
        [a["seconds"] / b["seconds"] for a, b in zip(theirs, own, strict=True)],
        target=15,
        at_least=True,
    )


def _windows() -> Figure:
    """How many more windows a second."""
    theirs, own = [], []
    for number in range(1, ROUNDS + 1):
        console.print(f"windows, round {number} of {ROUNDS} …")
        theirs.append(_elsewhere("windows_plain")["rate"])
        own.append(_elsewhere("windows_ours")["rate"])
    return Figure(
        f"windows a second ({WINDOW} timesteps, SimpleRNN(32)): ours by plain fit",
        f"{middle(own):,.0f}",
        f"{middle(theirs):,.0f}",
        [a / b for a, b in zip(own, theirs, strict=True)],
        target=1,
        at_least=True,
    )


def _memory() -> Figure:
    """Peak memory on a long table, by what its windows would take as copies."""
    console.print(f"memory, {LONG:,} rows …")
    found = _elsewhere("memory")
    copies = found["windows"] * WINDOW * 4 * 4  # features, bytes
    return Figure(
        f"peak memory on {LONG:,} rows, above TensorFlow: by copied windows",
        f"{found['more'] / 2**20:,.0f} MiB (in all {found['peak'] / 2**20:,.0f})",
        f"{copies / 2**20:,.0f} MiB",
        [found["more"] / copies],
        target=0.5,
    )


def _elsewhere(function: str) -> dict[str, float]:
    """What a function of this module gives in a process of its own."""
    code = f"import json; from benchmarks import training; print(json.dumps(training.{function}()))"
    done = subprocess.run(python("-c", code), env=environment(), cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])  # type: ignore[no-any-return]


def _shell() -> Figure:
    """How much longer the command takes than what it must import."""
    imports, trains = [], []
    for number in range(ROUNDS + 1):
        console.print(f"unroll train, round {number} of {ROUNDS} …" if number else "unroll train, warming up …")
        imported, trained = timed(python("-c", IMPORTS), environment(), ROOT), _train()
        if number:
            imports.append(imported)
            trains.append(trained)
    return Figure(
        "unroll train by import tensorflow, mlflow",
        f"{middle(trains):.2f} s",
        f"{middle(imports):.2f} s",
        [a / b for a, b in zip(trains, imports, strict=True)],
        target=2.5,
    )


def _train() -> float:
    """Seconds of `unroll train` on a store that does not exist yet."""
    with tempfile.TemporaryDirectory(prefix="unroll-bench-") as folder:
        env = environment(MLFLOW_TRACKING_URI=f"sqlite:///{folder}/mlflow.db")
        return timed(python("-m", "service.cli", "train"), env, Path(folder))


if __name__ == "__main__":
    main()
