"""Embedding and Masking: integers become vectors, and masks begin."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from service.errors import InvalidArgumentError
from service.model.layers.base import Built, Layer, Record, Weights
from service.model.layers.options import ANY, Option, choice, flag, number, size
from service.model.tensors import Array, Tensor


class Embedding(Layer):
    """Row `id` of a table for each id; x (batch, …), y (batch, …, output_dim). With `mask_zero` id 0 is masked."""

    CLASS = "Embedding"
    OPTIONS: ClassVar[Mapping[str, Option]] = {
        "input_dim": size(),
        "output_dim": size(),
        "mask_zero": flag(False),
        "input_length": ANY,
        "lora_rank": choice(None, default=None),
        "lora_alpha": choice(None, default=None),
        "quantization_config": choice(None, default=None),
    }
    AUTOCAST = False
    KEEPS_INTEGERS = True

    def build(self, inputs: Sequence[Tensor]) -> Built:
        """The table."""
        (x,) = inputs
        shape = (self.options["input_dim"], self.options["output_dim"])
        return Built((self.output((*x.shape, shape[1]), x.time),), (self.weight("embeddings", shape, "vars/0"),))

    def prepare(self, weights: Weights) -> Any:
        """The table."""
        return self.cast(weights, "embeddings")

    def call(self, weights: Any, inputs: Sequence[Array], masks: Sequence[Array | None], record: Record | None) -> Any:
        """The output. Raises InvalidArgumentError for an id outside the table."""
        ids = inputs[0] if inputs[0].dtype.kind == "i" else inputs[0].astype(np.int32)
        check_ids(self.where, ids, len(weights))
        return weights[ids]

    def mask(self, inputs: Sequence[Array], masks: Sequence[Array | None]) -> Any:
        """Where the id is not 0."""
        return inputs[0] != 0 if self.options["mask_zero"] else None

    def makes_mask(self) -> bool:
        """With mask_zero."""
        return bool(self.options["mask_zero"])


def check_ids(where: str, ids: Array, count: int) -> None:
    """Raises InvalidArgumentError for an id outside a table of so many rows; NumPy would count from the end below 0."""
    if ids.min() < 0 or ids.max() >= count:
        bad = next(int(i) for i in ids.flat if not 0 <= i < count)
        raise InvalidArgumentError(
            f"{where}: id {bad} is not within 0:{count}", field="inputs", actual=bad, limit=count
        )


class Masking(Layer):
    """Masks the timesteps all of whose features equal a value, and sets them to 0."""

    CLASS = "Masking"
    OPTIONS: ClassVar[Mapping[str, Option]] = {"mask_value": number(0.0)}
    KEEPS_INTEGERS = True

    def build(self, inputs: Sequence[Tensor]) -> Built:
        """Same shape."""
        (x,) = inputs
        self.width(x)
        return Built((self.moved(x, x.shape, x.time),))

    def call(self, weights: Any, inputs: Sequence[Array], masks: Sequence[Array | None], record: Record | None) -> Any:
        """The output."""
        (x,) = inputs
        return np.where(self._valid(x)[..., None], x, x.dtype.type(0))

    def mask(self, inputs: Sequence[Array], masks: Sequence[Array | None]) -> Any:
        """Where a feature differs from the value."""
        return self._valid(inputs[0])

    def makes_mask(self) -> bool:
        """Always."""
        return True

    def _valid(self, x: Array) -> Array:
        if x.dtype.kind == "i":  # which Keras compares with a float as float32
            x = x.astype(np.float32)
        return np.asarray((x != x.dtype.type(self.options["mask_value"])).any(axis=-1))
