"""Classes in answers of Predict: requested by their number, returned with their labels and scores."""

from collections.abc import Sequence

from service.errors import InvalidArgumentError
from service.model.classes import classifies, ranked
from service.model.results import Result
from service.model.tensors import TensorSpec
from service.pb import unroll_pb2 as pb
from service.serving.loaded import LoadedVersion

FIELD = "top_classes"


def classified(count: int, version: LoadedVersion) -> Sequence[TensorSpec]:
    """The outputs whose classes are returned where `count` are requested of each.

    Raises InvalidArgumentError for a negative number, for more classes than an output has, and where no output has any.
    """
    if not count:
        return ()
    if count < 0:
        raise InvalidArgumentError(f"{FIELD}: expected 0 or more, got {count}", field=FIELD)
    found = [spec for spec in version.network.outputs if version.labels_for(spec) or not version.labels]
    found = [spec for spec in found if classifies(spec)]
    if not found:
        raise InvalidArgumentError(f"{FIELD}: no output of the network has an axis of classes", field=FIELD)
    for spec in found:
        most = spec.shape[-1]
        if most is not None and count > most:
            raise InvalidArgumentError(
                f"{FIELD}: output {spec.name} has {most} classes, got {count}",
                field=FIELD, expected=most, actual=count,
            )  # fmt: skip
    return found


def add_classes(
    response: pb.PredictResponse, result: Result, outputs: Sequence[TensorSpec], count: int, version: LoadedVersion
) -> None:
    """Adds the classes of some outputs. Raises LimitExceededError where they would be too many."""
    for spec in outputs:
        found = ranked(result.outputs[spec.name], count, version.labels_for(spec), FIELD)
        added = response.top_classes.add(output=spec.name, shape=found.indices.shape)
        for label, index, score in found:
            added.classes.add(label=label, index=index, score=score)
