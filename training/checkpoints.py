"""Checkpoints of a fit on disk: enough to resume after a kill with the same result."""

import json
import os
import shutil
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from service.errors import InvalidArgumentError

STATE = "state.npz"


@dataclass
class Progress:
    """How far a fit is, and what its best epoch was."""

    epoch: int = 0  # epochs done
    best_epoch: int = 0
    best_loss: float = float("inf")
    losses: list[float] = field(default_factory=list)
    validation_losses: list[float] = field(default_factory=list)


@dataclass
class State:
    """A fit after an epoch: its progress, all variables as they are, and the weights as they were at their best."""

    progress: Progress
    variables: Sequence[npt.NDArray[Any]]
    best: Sequence[npt.NDArray[Any]]


class Checkpoints:
    """The folder of one run on certain data."""

    def __init__(self, run_id: str, data: str) -> None:
        """`data` is the digest of what is learned from."""
        self.folder = root() / run_id
        self._data = data

    def save(self, state: State) -> None:
        """Writes the state; what was there before stays until it is whole."""
        self.folder.mkdir(parents=True, exist_ok=True)
        arrays = {f"variable{i}": array for i, array in enumerate(state.variables)}
        arrays |= {f"best{i}": array for i, array in enumerate(state.best)}
        arrays["progress"] = np.array(json.dumps(asdict(state.progress)))
        unfinished = self.folder / f"{STATE}.part"
        with unfinished.open("wb") as file:
            np.savez(file, allow_pickle=False, data=np.array(self._data), **arrays)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(self.folder / STATE)

    def load(self) -> State | None:
        """The state that was written last; None if there is none.

        Raises InvalidArgumentError for a damaged file, and for one of other data.
        """
        try:
            with (self.folder / STATE).open("rb") as file, np.load(file, allow_pickle=False) as archive:
                if str(archive["data"]) != self._data:
                    raise InvalidArgumentError("resume: the data has changed since the run began", field="resume")
                progress = Progress(**json.loads(str(archive["progress"])))

                def arrays(kind: str) -> list[npt.NDArray[Any]]:
                    count = sum(name.startswith(kind) for name in archive.files)
                    return [archive[f"{kind}{i}"] for i in range(count)]

                return State(progress, arrays("variable"), arrays("best"))
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
            raise InvalidArgumentError(f"resume: {self.folder / STATE} is damaged", field="resume") from error

    def remove(self) -> None:
        """The run is finished: nothing will be resumed."""
        shutil.rmtree(self.folder, ignore_errors=True)


def root() -> Path:
    """The folder of all checkpoints."""
    return Path(os.environ.get("UNROLL_CHECKPOINTS") or "~/.cache/unroll/checkpoints").expanduser()
