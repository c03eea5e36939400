"""Scales of inputs and outputs, computed from the training part alone."""

from dataclasses import dataclass

import numpy as np

from service.errors import InvalidArgumentError
from training.data.examples import Examples
from training.data.windows import Array
from training.options import Options

SAMPLED = 1_000_000  # timesteps, at most, that scales are taken from where each window has its own


@dataclass(frozen=True)
class Scaling:
    """Real units in and out: what is scaled is scaled inside the network."""

    sample: Array  # (rows, features): what the input is normalised by
    scale: float = 1.0  # of the output
    offset: float = 0.0
    relative: int | None = None  # the feature that is seen, and predicted, as its difference from the last timestep


def scaling_of(options: Options, examples: Examples) -> Scaling:
    """The scales of a training part. Raises InvalidArgumentError where `residual` has no target among the features."""
    train, layout = examples.parts.train, examples.layout
    if options.residual:
        if layout.classes or layout.target not in layout.features:
            raise InvalidArgumentError(
                f"residual: the target {layout.target!r} has to be a number and among the features", field="residual"
            )
        feature = layout.features.index(layout.target)
        some = train.some(slice(None, None, 1 + len(train) * train.window // SAMPLED))
        sample, last = some.inputs(), train.values[train.starts + train.window - 1, feature, None]
        sample[..., feature] -= sample[:, -1:, feature]
        changes = train.expected() - last
        return Scaling(
            sample.reshape(-1, sample.shape[-1]), _deviation(changes), float(changes.mean(dtype=np.float64)), feature
        )
    sample = train.values[train.rows()]
    if layout.classes:
        return Scaling(sample)
    targets = train.expected()
    return Scaling(sample, _deviation(targets), float(targets.mean(dtype=np.float64)))


def _deviation(values: Array) -> float:
    """The standard deviation, or 1 where values do not differ."""
    return float(values.std(dtype=np.float64)) or 1.0
