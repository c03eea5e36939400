"""The recent errors that a request of adaptive prediction intervals carries."""

import numpy as np

from service.errors import InvalidArgumentError, NotReadyError
from service.model.intervals import Scale
from service.pb import unroll_pb2 as pb
from service.serving.loaded import LoadedVersion

FIELD = "recent_errors"


def recent_errors(request: pb.PredictRequest, version: LoadedVersion, batch: int) -> Scale:
    """As an array, (batch,) or (batch, targets).

    Raises InvalidArgumentError for numbers that make no sense, NotReadyError where the intervals are not adaptive.
    """
    if not request.levels:
        raise InvalidArgumentError(f"{FIELD}: only together with levels", field=FIELD)
    intervals = version.intervals
    if intervals is None or intervals.adaptive is None:
        raise NotReadyError(
            f"{FIELD}: the prediction intervals of {version.model} version {version.entry.number} are not adaptive; "
            "unroll train --conformal adaptive makes versions with such ones",
            field=FIELD,
        )
    for level in request.levels:
        intervals.check(level, scaled=True)
    shape = (batch, *intervals.adaptive.floor.shape)
    wanted = int(np.prod(shape))
    if len(request.recent_errors) != wanted:
        each = f", {shape[1]} targets for each of {batch} sequences" if shape[1:] else ", one for each sequence"
        raise InvalidArgumentError(
            f"{FIELD}: expected {wanted} numbers{each}; got {len(request.recent_errors)}",
            field=FIELD, expected=wanted, actual=len(request.recent_errors),
        )  # fmt: skip
    found = np.array(request.recent_errors, np.float64)
    wrong = np.flatnonzero(~(np.isfinite(found) & (found > 0)))
    if len(wrong):
        raise InvalidArgumentError(
            f"{FIELD}[{wrong[0]}]: expected a positive finite number, got {found[wrong[0]]:g}", field=FIELD
        )
    return found.reshape(shape)
