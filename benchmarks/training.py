"""Training: our fit against a plain `model.fit`, and `unroll train` from the shell against bare imports.

Every measurement is a process of its own, so that each traces, imports and starts from nothing.
"""

import json
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.common import ROOT, Figure, console, environment, machine, middle, python, show, timed

EPOCHS = 2000
PLAIN_SECONDS = 60.0  # after which the plain fit is stopped, and the rest of its epochs calculated
ROUNDS = 3
IMPORTS = "import tensorflow, mlflow"


def main() -> None:
    """Measures and prints."""
    notes = [machine()]
    figures = [_fit(notes), _shell()]
    show("Training the reference network", figures, notes)


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
    """Seconds of `training.network.fit`, tracing included."""
    from training import network

    model, inputs, targets = _network()
    begin = time.perf_counter()
    losses = network.fit(model, inputs, targets, EPOCHS, lambda _epoch, _loss: None)
    return {"seconds": time.perf_counter() - begin, "epochs": len(losses)}


def _network() -> tuple[Any, Any, Any]:
    """The reference network, its inputs and its targets."""
    from training import data, network
    from training.options import Options

    dataset, options = data.reference(), Options()
    model = network.build(options, *dataset.inputs.shape[1:])
    return model, dataset.inputs, network.targets_for(model, dataset, options.chosen_loss)


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
