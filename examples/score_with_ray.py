"""Scores a table through a registered version with Ray Data and MLflow: `unroll score` on a cluster.

    python examples/score_with_ray.py examples/data/sunspots.csv sunspots 22 models:/sunspots@champion scored.parquet

Each worker loads the version with `mlflow.pyfunc`, which runs Keras. Windows are gathered from the table where they are
predicted, so nothing is multiplied by their length. `RAY_ADDRESS` says which cluster; without it Ray starts one here.
"""

import sys
from pathlib import Path

import numpy as np
import ray
from pyarrow import csv, parquet


class Predictor:
    """A registered version in a worker."""

    def __init__(self, reference, values, window):
        import mlflow

        self._model = mlflow.pyfunc.load_model(reference)
        self._values, self._window = values, window

    def __call__(self, batch):
        """Adds predictions to rows that say where their windows end."""
        ends = batch["id"] + self._window - 1
        windows = self._values[ends[:, None] + np.arange(1 - self._window, 1)]
        return {"row": ends, "prediction": self._model.predict(windows)}


def main(table, columns, window, reference, out):
    """Scores a table, and writes the number of each row with what is predicted from the window that ends there."""
    read = parquet.read_table if table.endswith(".parquet") else csv.read_csv
    rows = read(table)
    values = np.stack([rows[name].to_numpy() for name in columns.split(",")], axis=1).astype(np.float32)
    window = int(window)
    ray.init(ignore_reinit_error=True)
    scored = ray.data.range(len(values) - window + 1).map_batches(
        Predictor, fn_constructor_args=(reference, values, window), batch_size=1024, concurrency=1
    )
    found = scored.to_pandas().sort_values("row")
    parquet.write_table(_table(found), Path(out))
    print(f"{len(found)} rows scored, written to {out}")


def _table(found):
    import pyarrow as pa

    return pa.table({"row": found["row"].to_numpy(), "prediction": [np.ravel(p).tolist() for p in found["prediction"]]})


if __name__ == "__main__":
    main(*sys.argv[1:])
