"""What a file to convert holds before anything is rewritten: a config, and weights under the names that it has."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from service.model.tensors import Array

Saved = tuple[str, Array]  # a weight, by the name that the file has: lstm_1/kernel:0


@dataclass(frozen=True)
class Source:
    """A config with its weights.

    The weights are either by layer, in the order of Keras's `layer.weights` (whole-model `.h5` files), or by path, in
    the form layers/lstm/cell/vars/0 (files since Keras 2.12).
    """

    document: Any
    keras: str  # the version that wrote it; empty where the file does not say
    by_layer: Mapping[str, Sequence[Saved]] = field(default_factory=dict)
    by_path: Mapping[str, Array] = field(default_factory=dict)
    counted_twice: bool = False  # whether the numbers of folders, as in lstm_2, are those of Keras 2.12 and 2.13

    @property
    def keras_2(self) -> bool:
        """Whether Keras 2 wrote it. A file that does not say so is judged by its config: Keras 3 names modules."""
        if self.keras:
            return not self.keras.startswith("3.")
        return not isinstance(self.document, dict) or "module" not in self.document

    def bias(self, layer: str, inner: str) -> Array | None:
        """The bias of a layer, or of one of that name inside it; None if it has none or is not to be told."""
        biases = [(name.split("/"), array) for name, array in self.by_layer.get(layer, ()) if leaf(name) == "bias"]
        own = [array for path, array in biases if any(part.endswith(inner) for part in path[:-1])]
        return next(iter(own or (array for _, array in biases)), None)


def leaf(name: str) -> str:
    """The last part of the name of a weight: lstm_1/kernel:0 → kernel."""
    return name.rpartition("/")[2].partition(":")[0]
