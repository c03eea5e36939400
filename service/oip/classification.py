"""Classes in the Open Inference Protocol: an output with the parameter `classification` is answered by its classes.

As Triton answers it: BYTES, each element `SCORE:INDEX`, or `SCORE:INDEX:LABEL` where the version has labels, the
largest score first; as many as the parameter says, or as there are.
"""

from typing import Any

from service.errors import InvalidArgumentError
from service.model.classes import Ranked, classifies
from service.model.tensors import TensorSpec

CLASSIFICATION = "classification"


def requested_classes(output: Any, spec: TensorSpec, field: str) -> int:
    """The number of classes that is requested of an output; 0: the output itself is.

    Raises InvalidArgumentError for something else than a number from 1, and for an output without classes.
    """
    if CLASSIFICATION not in output.parameters:
        return 0
    value = output.parameters[CLASSIFICATION]
    kind = value.WhichOneof("parameter_choice")
    place = f"{field}.parameters[{CLASSIFICATION}]"
    count = getattr(value, kind) if kind in ("int64_param", "uint64_param") else None
    if count is None or count < 1:
        got = kind if count is None else count
        raise InvalidArgumentError(f"{place}: expected a number of classes from 1, got {got}", field=place)
    if not classifies(spec):
        raise InvalidArgumentError(f"{place}: {spec.name} has no axis of classes", field=place)
    return int(count)


def elements(found: Ranked) -> list[str]:
    """Classes as the protocol writes them, in row-major order; scores with as many digits as tell them apart."""
    scores = map(str, found.scores.ravel())  # NumPy's numbers, which know their own precision
    return [
        f"{score}:{index}" + (f":{label}" if label else "")
        for score, (label, index, _) in zip(scores, found, strict=True)
    ]
