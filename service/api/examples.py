"""GetExamples: sequences of a version's proof, and what training recorded of its inputs."""

import json
import re
from pathlib import Path
from typing import Any

from service.api.codec import add_all, encoding_of
from service.config import Limits
from service.errors import InvalidArgumentError, LimitExceededError
from service.model import proof
from service.pb import unroll_pb2 as pb
from service.serving.loaded import PROOF_FILE, LoadedVersion

# A unit behind a name, as tables have it in their headers: `temperature [K]`, `pressure (hPa)`.
_UNIT = re.compile(r".*\S(?:\s*\[(?P<square>[^\[\]]{1,20})\]|\s+\((?P<round>[^()]{1,20})\))\s*", re.DOTALL)


def examples(version: LoadedVersion, request: pb.GetExamplesRequest, limits: Limits) -> pb.GetExamplesResponse:
    """The response to a request for a version. Reads the proof anew: versions keep none in memory.

    Raises InvalidArgumentError for a negative number of sequences; LimitExceededError for sequences that are too large.
    """
    if request.sequences < 0:
        raise InvalidArgumentError(f"sequences: expected 0 or more, got {request.sequences}", field="sequences")
    encoding = encoding_of(request.encoding)
    response = pb.GetExamplesResponse(model=version.model, version=version.entry.number)
    file = Path(version.entry.directory, PROOF_FILE)
    if version.proof_made_by and file.exists():
        inputs = proof.load(file).inputs
        response.sequences = min(len(array) for array in inputs.values())
        shown = response.sequences if not request.sequences else min(request.sequences, response.sequences)
        largest = max(array[:1].size for array in inputs.values())
        if largest > limits.elements:
            raise LimitExceededError(
                f"sequences: one has {largest} elements, the limit is {limits.elements}",
                field="sequences", limit=limits.elements, actual=largest,
            )  # fmt: skip
        if largest:
            shown = min(shown, limits.elements // largest)
        add_all(response.inputs, {name: array[:shown] for name, array in inputs.items()}, encoding)
    if version.entry.data:
        _describe(response, version.entry.data)
    return response


def _describe(response: pb.GetExamplesResponse, data: str) -> None:
    """Adds what training recorded. Where somebody else wrote the record, as far as it makes sense."""
    try:
        known: dict[str, Any] = json.loads(data)
        names, ranges = list(known["features"]), list(known.get("ranges", ()))
        response.columns.extend(map(_column, names, ranges or [()] * len(names)))
        if known["target"]:  # a version that was registered with labels alone has none
            response.targets.extend(map(_column, known.get("targets") or [known["target"]]))
            response.target.CopyFrom(response.targets[0])
        response.classes.extend(map(str, known.get("classes", ())))
        response.window, response.horizon = known["window"], known["horizon"]
        response.step = known.get("step", 0.0)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        for field in ("columns", "target", "targets", "classes", "window", "horizon", "step"):
            response.ClearField(field)


def _column(name: str, between: Any = ()) -> pb.Column:
    found = _UNIT.fullmatch(name)
    column = pb.Column(name=name, unit=(found["square"] or found["round"]).strip() if found else "")
    if between:
        column.min, column.max = between
    return column
