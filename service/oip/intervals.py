"""Prediction intervals in the Open Inference Protocol: requested by a parameter, answered as further outputs.

The parameter `levels`, such as `"80,95"`, adds the outputs `NAME_lower_80`, `NAME_upper_80`, `NAME_lower_95` and
`NAME_upper_95`, each in the shape of the output `NAME`.
"""

from collections.abc import Sequence

from service.errors import InvalidArgumentError
from service.model.intervals import Intervals
from service.model.results import Result
from service.oip.messages import pb
from service.oip.tensors import add_output

LEVELS = "levels"


def requested_levels(request: pb.ModelInferRequest) -> list[float]:
    """The levels in percent that a request names; none: it asks for no intervals. Raises InvalidArgumentError."""
    if not request.parameters or LEVELS not in request.parameters:
        return []
    text = request.parameters[LEVELS].string_param
    try:
        levels = [float(level) for level in text.split(",")]
    except ValueError:
        levels = []
    if not levels:
        raise InvalidArgumentError(
            f"parameters[{LEVELS}]: expected levels in percent as text, such as '80,95', got {text[:40]!r}",
            field=f"parameters[{LEVELS}]",
        )
    return levels


def add_intervals(
    response: pb.ModelInferResponse, result: Result, intervals: Intervals, levels: Sequence[float]
) -> None:
    """Adds the ends of the intervals as outputs."""
    ((name, predicted),) = result.outputs.items()
    for level in levels:
        lower, upper = intervals.around(predicted, level)
        add_output(response, f"{name}_lower_{level:g}", lower)
        add_output(response, f"{name}_upper_{level:g}", upper)
