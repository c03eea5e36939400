"""Run by a Python that has MLflow and Keras, and nothing of ours: what the registered versions compute there.

One process, so that TensorFlow is imported once. Takes the folder with `versions.json`; leaves what each way of reading
gave for each version in one file here.
"""

import importlib.util
import json
import socket
import sys
import threading
import urllib.request
from pathlib import Path

import numpy as np

FOLDER = Path(sys.argv[1])


def by_pyfunc(uri, x):
    """`mlflow.pyfunc.load_model`."""
    import mlflow

    return mlflow.pyfunc.load_model(uri).predict(x)


def by_keras(uri, x):
    """`keras.saving.load_model`, compiled as it was saved."""
    import keras
    import mlflow

    folder = Path(mlflow.artifacts.download_artifacts(uri))
    return keras.saving.load_model(folder / "data" / "model.keras")(x, training=False)


def by_command(uri, x):
    """`mlflow models predict`."""
    from mlflow.cli import cli

    Path("input.json").write_text(json.dumps({"inputs": x.tolist()}))
    arguments = ["models", "predict", "--model-uri", uri, "--input-path", "input.json", "--output-path", "output.json"]
    cli([*arguments, "--content-type", "json", "--env-manager", "local"], standalone_mode=False)
    return json.loads(Path("output.json").read_text())["predictions"]


def by_server(uri, x):
    """The application that `mlflow models serve` serves, over HTTP."""
    import mlflow
    import uvicorn
    from mlflow.pyfunc import scoring_server

    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()  # from now on, so that a request waits until it is served
        config = uvicorn.Config(scoring_server.init(mlflow.pyfunc.load_model(uri)), log_level="warning")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        try:
            body = json.dumps({"inputs": x.tolist()}).encode()
            address = f"http://127.0.0.1:{listening.getsockname()[1]}/invocations"
            request = urllib.request.Request(address, body, {"Content-Type": "application/json"})
            with urllib.request.urlopen(request, timeout=60) as response:
                return json.loads(response.read())["predictions"]
        finally:
            server.should_exit = True
            thread.join()


for package in ("registry", "service", "training", "unroll"):
    assert importlib.util.find_spec(package) is None, package
found = {}
for name, number in json.loads((FOLDER / "versions.json").read_text()):
    x = np.load(FOLDER / f"{name}-{number}.npz")["inputs"]
    for way in (by_pyfunc, by_keras, by_command, by_server):
        try:
            found[f"{way.__name__} {name} {number}"] = np.asarray(way(f"models:/{name}/{number}", x), np.float32)
        except Exception as error:
            found[f"{way.__name__} {name} {number}"] = np.asarray(f"{type(error).__name__}: {error}")
np.savez("found.npz", **found)
