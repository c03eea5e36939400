"""Windows over rows of text: whole texts, of which each is a window, or the characters of one text."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from training.data.windows import SEQUENCE, Windows


@dataclass(frozen=True)
class Strings(Windows):
    """Windows whose rows are strings, (rows, 1)."""

    values: npt.NDArray[Any]

    def inputs(self) -> npt.NDArray[Any]:
        """All inputs as Python's strings, (windows, strings)."""
        gathered: npt.NDArray[Any] = self.values[self.starts[:, None] + np.arange(self.window), 0].astype(object)
        return gathered

    def feeds(self) -> dict[str, npt.NDArray[Any]]:
        """What the one input of a network gets."""
        return {SEQUENCE: self.inputs()}

    def reaching_back(self, window: int) -> tuple[Windows, Any]:
        """These: a network reads texts of any length as they are."""
        return self, slice(None)
