"""Gradients of networks by backpropagation. Each file of layers has a file of the same name here."""

from service.model.gradients import (  # noqa: F401  # they register themselves
    attention,
    categories,
    conv_lstm,
    convolution,
    dense,
    einsum,
    elementwise,
    embedding,
    frames,
    merge,
    normalization,
    operations,
    recurrent,
    separable,
    shape,
    wrappers,
)
from service.model.gradients.base import has_gradient
from service.model.gradients.tape import Gradients, Tape

__all__ = ["Gradients", "Tape", "has_gradient"]
