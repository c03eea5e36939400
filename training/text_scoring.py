"""Scores the texts of a table: each row gets the most probable label, and how probable it is."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from service.model.network import Network
from training.data import texts
from training.data.layout import Layout
from training.data.output import predictions
from training.data.strings import Strings
from training.evaluation.errors import predict

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass
class TextStream:
    """Predicts batch after batch of a table of texts, none of which has to do with another."""

    network: Network
    layout: Layout
    gaps: int = 0  # as those of tables with a row for each timestep, which these are not
    filled: int = 0

    def why_nothing(self) -> str:
        """Why no row has a prediction."""
        return f"column {self.layout.text!r} has no text"

    def predict(self, batch: "pa.RecordBatch") -> tuple["pa.RecordBatch", int]:
        """Predictions for the rows of a batch, and how many there are: rows without a text have none."""
        import pyarrow as pa

        layout = self.layout
        found = texts.column_of(batch, layout.text)
        there = np.array([text is not None for text in found], bool)
        rows = np.flatnonzero(there)
        predicted = predict(self.network, Strings(found[:, None], rows, rows, rows, 1, 1)) if len(rows) else None
        columns = {name: batch.column(name) for name in (layout.time, layout.text) if name}
        columns |= predictions(predicted, there, self.network.outputs[0].shape, layout.classes)
        return pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns)), int(there.sum())
