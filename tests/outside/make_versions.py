"""Run by the Python of the installed wheel: makes a version in every way there is, by the commands that a user types.

One process, so that TensorFlow is imported once. Leaves `versions.json`, and inputs and predictions of each version as
our server gives them.
"""

import json
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np

import unroll

NAMES = ("reference", "softmax", "scaled", "residual", "classes", "swept", "resumed", "registered")


def command(*arguments):
    """Runs a command in this process; gives its exit status."""
    from service.cli import app

    return app(list(arguments), standalone_mode=False)


def write_tables():
    """A wave in real units, far from zero, and whether it rises."""
    t = np.arange(240)
    y = 5000 + 300 * np.sin(t / 5) + np.random.default_rng(0).normal(size=t.size)
    way = np.where(np.gradient(y) > 0, "up", "down")
    Path("wave.csv").write_text("t,y\n" + "".join(f"{a},{b:.3f}\n" for a, b in zip(t, y, strict=True)))
    rows = zip(t, y, way, strict=True)
    Path("ways.csv").write_text("t,y,way\n" + "".join(f"{a},{b:.3f},{c}\n" for a, b, c in rows))


def write_file():
    """A file as somebody's own program leaves it: compiled with a metric and a loss that only that program has."""
    import keras

    class Mine(keras.metrics.Metric):
        def update_state(self, *_, **__):
            pass

        def result(self):
            return 0.0

    def my_loss(y, predicted):
        return keras.ops.mean(keras.ops.abs(y - predicted))

    model = keras.Sequential([keras.Input((5, 2), name="x"), keras.layers.GRU(3), keras.layers.Dense(1, name="y")])
    model.compile("adam", my_loss, metrics=[Mine()])
    model.fit(np.ones((4, 5, 2)), np.ones((4, 1)), verbose=0)
    model.save("mine.keras")


def interrupted(*arguments):
    """Trains until Ctrl-C in the second epoch; gives the run."""
    from training.progress import Shown

    learning, runs = Shown.learning, []

    def interrupting(self, epoch, *others):
        learning(self, epoch, *others)
        if epoch == 1:
            runs.append(self.run_id)
            Shown.learning = learning
            signal.raise_signal(signal.SIGINT)

    Shown.learning = interrupting
    status = command(*arguments)
    assert status == 130, status
    return runs[0]


def train():
    """Trains, sweeps, resumes and registers."""
    quick = ("--time", "t", "--window", "6", "--epochs", "3", "--units", "3")
    data = ("--data", str(Path("wave.csv").resolve()), "--target", "y", *quick)
    command("train", "--epochs", "5")
    command("train", "--name", "softmax", "--dense-activation", "softmax", "--dense-units", "3", "--epochs", "5")
    command("train", "--name", "scaled", *data)
    command("train", "--name", "residual", *data, "--residual", "--network", "lstm")
    command("train", "--name", "classes", "--data", "ways.csv", "--target", "way", *quick, "--network", "gru")
    sweep = {"data": "wave.csv", "time": "t", "target": "y", "window": 6, "epochs": 1, "name": "swept"}
    Path("sweep.yaml").write_text(json.dumps({**sweep, "sweep": {"units": [[2], [3]]}}))
    command("sweep", "--config", "sweep.yaml", "--trials", "1")
    command("train", "--resume", interrupted("train", "--name", "resumed", *data))
    write_file()
    command("register", "mine.keras", "--name", "registered")


def serve(server):
    """Overrides a weight, then a weight of that version, and keeps what the server predicts by each version."""
    for line in server.stderr:
        sys.stderr.write(line)
        if found := re.search(r"serving \S+ version \d+ on ([\d.:]+)", line):
            break
    threading.Thread(target=lambda: sys.stderr.writelines(server.stderr), daemon=True).start()
    versions = []
    with unroll.Client(found[1]) as client:
        until = time.monotonic() + 120
        while {model.name for model in client.models() if model.default_version} != set(NAMES):
            assert time.monotonic() < until, "not all models are served"
            time.sleep(0.1)
        change = unroll.WeightChange("output/bias", 0.5, "add")
        for base in ("1", "2"):
            client.override_weights([change], model="reference", expected_version=base, reason="test")
        for name in NAMES:
            for number in ("1", "2", "3") if name == "reference" else ("1",):
                prediction = client.predict(inputs(client, name), model=name, version=number)
                assert prediction.version == number
                np.savez(f"{name}-{number}.npz", inputs=inputs(client, name), expected=prediction.output)
                versions.append((name, number))
    Path("versions.json").write_text(json.dumps(versions))


def inputs(client, name):
    """Three sequences for a model, of numbers like those it learned from."""
    (spec,) = client.model(name).versions[0].inputs
    timesteps = {"reference": 3, "softmax": 3, "registered": 5}.get(name, 6)
    shape = [3, timesteps, spec.shape[2]]
    random = np.random.default_rng(1).normal(size=shape)
    return (random if name in {"reference", "softmax", "registered"} else 5000 + 100 * random).astype(np.float32)


def main():
    """Everything, in order."""
    write_tables()
    train()
    models = [f"--model=models:/{name}/1" for name in NAMES if name != "reference"]
    models += ["--model=models:/reference@champion", "--address=127.0.0.1:0", "--workers=1"]
    server = subprocess.Popen(
        [sys.executable, "-m", "service.cli", "serve", *models], stderr=subprocess.PIPE, text=True
    )
    try:
        serve(server)
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":  # a sweep's processes import this file
    main()
