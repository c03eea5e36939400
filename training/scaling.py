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
    scale: tuple[float, ...] = (1.0,)  # of each target
    offset: tuple[float, ...] = (0.0,)
    relative: tuple[int, ...] = ()  # the features of the targets, where their differences from the last step are seen


def scaling_of(options: Options, examples: Examples) -> Scaling:
    """The scales of a training part. Raises InvalidArgumentError where `residual` has no target among the features."""
    train, layout = examples.parts.train, examples.layout
    if options.residual:
        unknown = [name for name in layout.predicted if name not in layout.features]
        if layout.classes or unknown:
            raise InvalidArgumentError(
                f"residual: the target {(unknown or [layout.target])[0]!r} has to be a number and among the features",
                field="residual",
            )
        relative = tuple(layout.features.index(name) for name in layout.predicted)
        some = train.some(slice(None, None, 1 + len(train) * train.window // SAMPLED))
        sample, last = some.inputs(), train.values[train.starts + train.window - 1][:, relative]
        sample[..., relative] -= sample[:, -1:, relative]
        changes = train.expected() - (last[:, None] if train.several else last)  # (windows, outputs[, targets])
        return Scaling(sample.reshape(-1, sample.shape[-1]), *_spread(changes, train.several), relative)
    sample = train.values[train.rows()]
    if layout.classes:
        return Scaling(sample)
    return Scaling(sample, *_spread(train.expected(), train.several))


def _spread(values: Array, several: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The standard deviation of each target, or 1 where its values do not differ, and its mean."""
    each = [values[..., i] for i in range(several)] or [values]
    deviations = tuple(float(one.std(dtype=np.float64)) or 1.0 for one in each)
    return deviations, tuple(float(one.mean(dtype=np.float64)) for one in each)
